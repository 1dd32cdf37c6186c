//! `weir key`: a fresh key, and the lines of weir.toml that let it in.

use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The site it is for; `*` with --read: all sites.
    #[arg(long, default_value = "my-site", value_name = "ID")]
    site_id: String,
    #[command(flatten)]
    kinds: Kinds,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Kinds {
    /// A write key for pages, where everybody can read it (the default).
    #[arg(long)]
    public: bool,
    /// A write key for servers, good from anywhere.
    #[arg(long)]
    secret: bool,
    /// A key to read figures with, by the API and on the dashboard.
    #[arg(long)]
    read: bool,
}

/// The name that stands for all sites, to read them.
const ALL: &str = "*";

/// # Errors
/// If the site is none.
#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) fn print(options: &Options) -> anyhow::Result<()> {
    print!("{}", lines(options)?);
    Ok(())
}

fn lines(Options { site_id, kinds }: &Options) -> anyhow::Result<String> {
    if !(kinds.read && site_id == ALL) {
        event::SiteId::new(site_id.as_str())?;
    }
    Ok(if kinds.read {
        let key = fresh("wr");
        let hash = ingest::key_hash(&key);
        format!(
            r#"# The key, which is kept nowhere: enter it on the dashboard, or send it as
# `Authorization: Bearer <key>`.
# {key}

# In weir.toml; a site that is listed already gets the hash into its read_keys.
[[query.keys]]
site_id = "{site_id}"
read_keys = ["{hash}"]
"#
        )
    } else if kinds.secret {
        let key = fresh("ws");
        let hash = ingest::key_hash(&key);
        format!(
            r#"# The key, which is kept nowhere: servers send it as `Authorization: Bearer <key>`.
# {key}

# In weir.toml; in the file of ingest.keys.file the first line is [[sites]]. A site that is listed
# already gets the hash into its secret_keys.
[[ingest.keys.sites]]
site_id = "{site_id}"
secret_keys = ["{hash}"]
"#
        )
    } else {
        let key = fresh("wp");
        format!(
            r#"# The key, for pages: everybody can read it there, so it is listed as it is.
# {key}

# In weir.toml; in the file of ingest.keys.file the first line is [[sites]]. A site that is listed
# already gets the key into its public_keys.
[[ingest.keys.sites]]
site_id = "{site_id}"
# Where its pages are; without this line, anywhere.
# origins = ["https://{site_id}"]
public_keys = ["{key}"]
"#
        )
    })
}

/// Two random UUIDs: 244 bits that nobody can guess, from the system's generator.
fn fresh(prefix: &str) -> String {
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    format!("{prefix}_{}{}", first.simple(), second.simple())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = ["key"].iter().chain(arguments);
        Command::try_parse_from(arguments).map(|command| command.options)
    }

    fn made(arguments: &[&str]) -> String {
        lines(&options(arguments).unwrap()).unwrap()
    }

    /// The key that the comment shows.
    fn key<'l>(lines: &'l str, prefix: &str) -> &'l str {
        let mut words = lines.split_whitespace();
        words.find(|word| word.starts_with(prefix)).unwrap()
    }

    #[test]
    fn a_public_key_is_listed_as_it_is_and_others_as_their_hash() {
        let public = made(&[]);
        assert!(public.contains(&format!("public_keys = [\"{}\"]", key(&public, "wp_"))));
        for (kind, prefix, list) in [
            ("--secret", "ws_", "secret_keys"),
            ("--read", "wr_", "read_keys"),
        ] {
            let lines = made(&[kind]);
            let key = key(&lines, prefix);
            let listed = format!("{list} = [\"{}\"]", ingest::key_hash(key));
            assert!(lines.contains(&listed), "{lines}");
            assert_eq!(lines.matches(key).count(), 1, "{lines}");
        }
    }

    #[test]
    fn each_key_is_another_one() {
        let (one, other) = (made(&["--read"]), made(&["--read"]));
        assert_ne!(key(&one, "wr_"), key(&other, "wr_"));
    }

    #[test]
    fn a_key_is_of_one_kind() {
        assert!(options(&["--public", "--secret"]).is_err());
        assert!(options(&["--secret", "--read"]).is_err());
        assert!(made(&["--public"]).contains("public_keys"));
    }

    #[test]
    fn all_sites_can_be_read_and_not_written() {
        assert!(made(&["--read", "--site-id", "*"]).contains("site_id = \"*\""));
        for arguments in [&["--site-id", "*"][..], &["--read", "--site-id", "a b"]] {
            let refused = lines(&options(arguments).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("site_id"), "{refused}");
        }
    }
}
