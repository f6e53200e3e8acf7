//! Looks at directories and disks that come again every second or minute: one after the other, on one thread.
//!
//! On the runtime's blocking threads a busy moment makes two of them overlap; the runtime then starts another thread,
//! and looks that come more often than idle threads end keep it for ever. Here the number of threads stands from the
//! first look on, so that a rise of it means something.

use std::panic::AssertUnwindSafe;
use std::sync::{OnceLock, mpsc};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` on the thread and gives its answer; `None` when it panicked, or when there is no thread.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move || {
        // Nobody waits any more: the service stops.
        let _ = reply.send(work());
    });
    queue()?.send(job).ok()?;
    answer.await.ok()
}

/// Everybody waits for an answer before asking again: no more jobs than askers are ever in it.
fn queue() -> Option<&'static mpsc::Sender<Job>> {
    static QUEUE: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("chores".into()).spawn(move || {
            for job in queue {
                // The panic was told by its hook; whoever asked hears that there is no answer.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            }
        });
        match thread {
            Ok(_) => Some(jobs),
            Err(err) => {
                tracing::error!(error = %err, "no thread for looks at disks and directories: nothing comes of them");
                None
            }
        }
    });
    queue.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_askers_are_answered_by_one_thread_which_outlives_a_panic() {
        let asks = (0..50).map(|_| tokio::spawn(run(|| std::thread::current().id())));
        let mut threads = std::collections::HashSet::new();
        for ask in asks {
            threads.insert(ask.await.ok().flatten());
        }
        assert_eq!(threads.len(), 1, "{threads:?}");
        assert!(!threads.contains(&None));
        assert_eq!(run(|| -> u8 { panic!("as a test") }).await, None);
        assert_eq!(run(|| 7).await, Some(7));
    }
}
