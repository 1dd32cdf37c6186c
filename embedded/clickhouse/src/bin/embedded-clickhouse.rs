//! The embedded engine alone: `embedded-clickhouse '{"data_dir": ".., "listen": ".."}'`. Prints its
//! address once it answers. The tests run it as the process that can be killed.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use embedded_clickhouse::{Config, Server};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let config = std::env::args().nth(1).unwrap_or_else(|| "{}".into());
    let config = parse(&config).context("read the configuration")?;
    let server = Server::open(config).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", server.local_addr())?;
    stdout.flush()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(stop_on_signal(shutdown.clone()));
    server.run(shutdown).await
}

/// The section as it is configured, and beside it what a caller puts there.
fn parse(config: &str) -> anyhow::Result<Config> {
    let mut section: serde_json::Map<String, serde_json::Value> = serde_json::from_str(config)?;
    let mut take = |name: &str| {
        let value = section.remove(name)?;
        value.as_str().map(str::to_owned)
    };
    let (library, user, password) = (take("library"), take("user"), take("password"));
    let database = take("database");
    let mut config: Config = serde_json::from_value(section.into())?;
    config.library = library.map(Into::into);
    config.user = user.unwrap_or(config.user);
    config.password = password.map(Into::into);
    config.database = database.unwrap_or(config.database);
    Ok(config)
}

async fn stop_on_signal(shutdown: CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
    shutdown.cancel();
}
