//! What the parent process asks of the child: one line of JSON on its standard input. That
//! stays open for as long as the child is to live. Nothing of it is in arguments or in the
//! environment, which others may read. Standard input, output and error are sockets: a pipe could
//! be opened again, by `SELECT file('/proc/self/fd/0')`, which would then wait for as long.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::{Limits, User};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) library: PathBuf,
    /// Absolute.
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_host: IpAddr,
    pub(crate) http_port: u16,
    /// None: taken by somebody else.
    pub(crate) native_port: Option<u16>,
    /// False: as on a kernel without Landlock.
    pub(crate) landlock: bool,
    pub(crate) database: String,
    pub(crate) service: User,
    pub(crate) reader: User,
    pub(crate) limits: Limits,
}

/// What the child prints once it listens, on a line of its own.
pub(crate) const READY: &str = "the engine listens";
