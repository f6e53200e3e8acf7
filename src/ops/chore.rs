//! Looks at directories and disks that come again every second or minute: one after the other, on one thread.
//!
//! On the runtime's blocking threads a busy moment makes two of them overlap; the runtime then starts another thread,
//! and looks that come more often than idle threads end keep it for ever. Here the number of threads stands from the
//! first look on, so that a rise of it means something.

use std::sync::{OnceLock, mpsc};

use tokio::sync::oneshot;

use crate::supervise;

type Chore = Box<dyn FnOnce() + Send>;

/// Runs `work` on the thread and gives its answer; its panic is the caller's.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(queue) = queue() else { return supervise::blocking(work).await };
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move || {
        // Nobody waits any more: the service stops.
        let _ = reply.send(supervise::catch(work));
    });
    queue.send(job).expect("the thread takes jobs as long as the process lives");
    match answer.await.expect("every job is answered") {
        Ok(value) => value,
        Err(panicked) => std::panic::resume_unwind(Box::new(panicked)),
    }
}

/// Everybody waits for an answer before asking again: no more jobs than askers are ever in it.
fn queue() -> Option<&'static mpsc::Sender<Chore>> {
    static QUEUE: OnceLock<Option<mpsc::Sender<Chore>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Chore>();
        let thread = std::thread::Builder::new().name("chores".into()).spawn(move || {
            // No job panics: each catches what it runs.
            queue.into_iter().for_each(|job| job());
        });
        match thread {
            Ok(_) => Some(jobs),
            Err(err) => {
                tracing::warn!(error = %err, "cannot start the thread for disk checks; the runtime's threads do them");
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
            threads.insert(ask.await.ok());
        }
        assert_eq!(threads.len(), 1, "{threads:?}");
        assert!(!threads.contains(&None));
        let panics = async { run(|| -> u8 { panic!("as a test") }).await };
        let panicked = supervise::Supervisor::default().once(supervise::Task::Disks, "", panics).await;
        assert!(panicked.is_err_and(|p| p.message == "as a test" && p.place.starts_with("src/ops/chore.rs:")));
        assert_eq!(run(|| 7).await, 7);
    }
}
