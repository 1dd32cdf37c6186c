//! How long `weir up` takes to say `ready`, in an empty folder with the engine on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::world::ANY_PORT;
use crate::ingest::report::Spread;
use crate::process::Server;

const STARTS: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Seconds, over a few starts.
///
/// # Errors
/// If it does not start.
pub(super) async fn measure(
    parent: &Path,
    settings: &[(String, String)],
) -> anyhow::Result<Spread> {
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        seconds.push(start(parent, settings).await?.as_secs_f64());
    }
    Ok(Spread::of(seconds))
}

async fn start(parent: &Path, settings: &[(String, String)]) -> anyhow::Result<Duration> {
    let folder = tempfile::Builder::new()
        .prefix("weir-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("make a folder in {}", parent.display()))?;
    let mut settings = settings.to_vec();
    let listen = ["BROKER", "ENGINE", "INGEST", "SINK", "QUERY"];
    settings.extend(listen.map(|part| (format!("WEIR_{part}__LISTEN"), ANY_PORT.to_owned())));
    let begin = Instant::now();
    let mut up = Server::start("up", folder.path(), &["up"], &settings)?;
    let give_up_at = begin + READY_WITHIN;
    while !up.log().lines().any(|line| line == "ready") {
        up.check_alive()?;
        if Instant::now() > give_up_at {
            bail!(
                "weir up is not ready after {READY_WITHIN:?}:\n{}",
                up.log_tail()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    let took = begin.elapsed();
    drop(up);
    // Its engine sees that it is alone, and may write until it has ended.
    let remove_until = Instant::now() + ENDS_WITHIN;
    while std::fs::remove_dir_all(folder.path()).is_err() && Instant::now() < remove_until {
        tokio::time::sleep(POLL).await;
    }
    Ok(took)
}
