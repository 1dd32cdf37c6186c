//! The broker alone, for the tests that kill it: `broker DIR ADDRESS`, its address on stdout.

use std::path::PathBuf;

use embedded_broker::{Broker, Config};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(address)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: broker DIR ADDRESS");
    };
    let config = Config {
        data_dir: PathBuf::from(directory),
        listen: address.parse()?,
        ..Config::default()
    };
    let broker = Broker::bind(config).await?;
    #[expect(clippy::print_stdout, reason = "the test reads it")]
    {
        println!("{}", broker.local_addr());
    }
    broker.run(CancellationToken::new()).await
}
