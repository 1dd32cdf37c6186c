//! The process' limit on open files, which sockets count against.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to what the system grants, and says how many of `connections` fit below
/// it. A quarter stays free: for Kafka's connections, logs and spools, without which a connection
/// is worth nothing.
pub(super) fn allow(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // A shell's soft limit of 1024 is for programs that still call select(2).
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    match limit.map(usize::try_from) {
        Some(Ok(files)) => connections.min(files / 4 * 3),
        _ => connections,
    }
}
