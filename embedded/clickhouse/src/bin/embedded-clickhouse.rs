//! The embedded engine alone: `embedded-clickhouse '{"data_dir": "..", "listen": ".."}'`. Prints its
//! addresses once it answers. The tests run it as the process that can be killed. Without arguments
//! it is the child that becomes the engine.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use embedded_clickhouse::{Config, Program, Server, serve};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let Some(config) = std::env::args().nth(1) else {
        serve();
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: &str) -> anyhow::Result<()> {
    let config = parse(config).context("read the configuration")?;
    let program = Program {
        path: std::env::current_exe()?,
        arguments: Vec::new(),
    };
    let server = Server::start(config, program).await?;
    let mut stdout = std::io::stdout();
    let native = server
        .native()
        .map_or("none".to_owned(), |address| address.to_string());
    writeln!(stdout, "{} {native}", server.http())?;
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
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    shutdown.cancel();
}
