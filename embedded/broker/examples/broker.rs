//! A broker of its own: `cargo run -p embedded-broker --example broker -- DIR [ADDRESS]`. It prints
//! its address once it is open, and ends well when its standard input does.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use embedded_broker::{Broker, Config};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let data_dir: PathBuf = arguments.next().context("name a directory")?.into();
    let listen: SocketAddr = arguments
        .next()
        .map_or(Ok(Config::default().listen), |address| address.parse())?;
    let config = Config {
        data_dir,
        listen,
        segment_bytes: 1 << 20,
        lock_wait: Duration::from_secs(1),
        ..Config::default()
    };
    let broker = Broker::bind(config).await?;
    writeln!(std::io::stdout(), "{}", broker.local_addr())?;

    let shutdown = CancellationToken::new();
    let stopped = shutdown.clone();
    std::thread::spawn(move || {
        // Ends with whoever started it, however that one ends.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopped.cancel();
    });
    broker.run(shutdown).await
}
