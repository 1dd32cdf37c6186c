//! `weir key`: a fresh write key, and what to put where.

use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The site it is for.
    #[arg(long, default_value = "my-site", value_name = "ID")]
    site_id: event::SiteId,
    /// For servers, good from anywhere; otherwise for pages, where everybody can read it.
    #[arg(long)]
    secret: bool,
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) fn print(options: &Options) {
    let (prefix, list) = if options.secret {
        ("ws", "secret_keys")
    } else {
        ("wp", "public_keys")
    };
    // Two random UUIDs: 244 bits that nobody can guess, from the system's generator.
    let key = format!(
        "{prefix}_{}{}",
        Uuid::new_v4().simple(),
        Uuid::new_v4().simple()
    );
    println!(
        "# The key, which is kept nowhere: send it as `Authorization: Bearer <key>`.
# {key}

# In the file of ingest.keys.file; in weir.toml the first line is [[ingest.keys.sites]].
[[sites]]
site_id = \"{}\"
{list} = [\"{}\"]",
        options.site_id,
        ingest::key_hash(&key),
    );
}
