//! The ports that an engine is to open. ClickHouse cannot report a port that the system chose, so
//! a free one is chosen here; should somebody take it meanwhile, the start is tried again.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use tracing::warn;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) http: SocketAddr,
    /// None where it is taken: the engine goes on without it.
    pub(crate) native: Option<SocketAddr>,
}

impl Ports {
    /// Free ones. Port 0 stands for any.
    pub(crate) fn choose(listen: SocketAddr, native_port: u16) -> anyhow::Result<Self> {
        let mut native = listen;
        native.set_port(native_port);
        // Both held until both are known, or the second could be given the first's.
        let http = TcpListener::bind(listen).with_context(|| {
            format!(
                "ClickHouse cannot listen on {listen}: stop what listens there, or set engine.listen to another address"
            )
        })?;
        let native = match TcpListener::bind(native) {
            Ok(free) => Some(free),
            Err(error) => {
                warn!(
                    "ClickHouse's native protocol is left out, {native} cannot be used ({error}): set engine.native_port to another port"
                );
                None
            }
        };
        Ok(Self {
            http: http.local_addr()?,
            native: native.map(|free| free.local_addr()).transpose()?,
        })
    }
}
