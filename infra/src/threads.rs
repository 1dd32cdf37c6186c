//! A runtime of its own for a service that must not share one.

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Runs what `begin` makes on `threads` threads that do nothing else. One thread is cheaper than
/// it looks: its tasks wake each other without a word to the kernel.
///
/// # Errors
/// That of the service; or if there can be no such thread, or it panics.
pub async fn run_apart<F>(
    name: &'static str,
    threads: usize,
    begin: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut builder = match threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads.max(1))
        .thread_name(name)
        .enable_all()
        .build()
        .with_context(|| format!("make a runtime for {name}"))?;
    let (ended, outcome) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let outcome = runtime.block_on(begin());
            // Whoever waited has gone, and the process with it.
            let _ = ended.send(outcome);
        })
        .with_context(|| format!("start a thread for {name}"))?;
    outcome
        .await
        .with_context(|| format!("the thread of {name} panicked"))?
}
