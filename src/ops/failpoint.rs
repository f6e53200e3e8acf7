//! Places at which a test may kill the process; who has such places names them.
//!
//! In debug builds and with the cargo feature `failpoints`, `TAPEDECK_FAILPOINT=<name>` or `<name>:<n>` makes the
//! process send itself SIGKILL the first or n-th time it comes by; in every other build [`hit`] is nothing at all.
//!
//! `TAPEDECK_PANIC=<name>` or `<name>:<n>` makes it panic there instead, n times: see [`crate::rehearsal`].
//!
//! Unit tests arm a point for their own thread instead (`armed_for`): it unwinds, which loses everything that
//! was only in memory, as a kill does.

/// Comes by the point `name`.
#[inline]
pub fn hit(name: &str) {
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    armed::come_by(name);
    #[cfg(not(any(debug_assertions, feature = "failpoints")))]
    let _ = name; // nobody can arm it
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("TAPEDECK_FAILPOINT").ok().filter(|t| !t.is_empty())?;
                let (name, n) = match text.split_once(':') {
                    Some((name, n)) => (name.to_owned(), n.parse().unwrap_or(1)),
                    None => (text, 1),
                };
                Some(Armed { name, left: AtomicU64::new(n) })
            })
            .as_ref()
    }

    pub(super) fn come_by(name: &str) {
        static PANIC: OnceLock<Option<crate::rehearsal::Rehearsal>> = OnceLock::new();
        super::in_test::come_by(name);
        if let Some(rehearsal) = PANIC.get_or_init(crate::rehearsal::Rehearsal::of_environment) {
            rehearsal.come_by(name, "");
        }
        let Some(armed) = armed() else { return };
        if armed.name == name && armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Does not return; if it does, see below.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // SIGKILL to oneself does not return; if it ever did, dying otherwise would hide it.
            std::process::abort();
        }
    }
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
pub use in_test::{Killed, armed_for};

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod in_test {
    use std::cell::RefCell;

    thread_local! {
        static ARMED: RefCell<Option<(String, u64)>> = const { RefCell::new(None) };
    }

    /// What an armed point unwinds with.
    pub struct Killed;

    pub(super) fn come_by(name: &str) {
        let kill = ARMED.with_borrow_mut(|armed| match armed {
            Some((at, left)) if at == name => {
                *left -= 1;
                *left == 0 && armed.take().is_some()
            }
            _ => false,
        });
        if kill {
            std::panic::resume_unwind(Box::new(Killed));
        }
    }

    /// Runs `work` with the point `name` armed at its `n`-th hit; `None` when it was hit.
    pub fn armed_for<T>(name: &str, n: u64, work: impl FnOnce() -> T) -> Option<T> {
        ARMED.set(Some((name.to_owned(), n)));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        ARMED.set(None);
        match result {
            Ok(value) => Some(value),
            Err(cause) if cause.is::<Killed>() => None,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }
}
