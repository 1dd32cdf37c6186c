//! One token for the whole process: cancelled by SIGINT or SIGTERM, awaited by every loop.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Cancels the returned token at the first SIGINT or SIGTERM. A second one ends the process at
/// once, for a person who does not want to wait for a clean end.
///
/// # Errors
/// If the signal handlers cannot be installed.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Owned by the process: it lives exactly as long.
    tokio::spawn(async move {
        for nth in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if nth > 1 {
                warn!("asked twice: stopping at once");
                std::process::exit(130);
            }
            info!("shutting down: finishing what was begun");
            cancelled.cancel();
        }
    });
    Ok(token)
}
