//! Named places at which a test may kill the process, one for each instruction boundary that matters to the
//! exactly-once promise.
//!
//! In debug builds and with the cargo feature `failpoints`, `TAPEDECK_FAILPOINT=<name>` or `<name>:<n>` makes the
//! process send itself SIGKILL the first or n-th time it comes by; in every other build the macro is nothing at
//! all. Points inside the publishing of a table carry its name, such as `publish.after_rename_trades`.
//!
//! `TAPEDECK_PANIC=<name>` or `<name>:<n>` makes it panic there instead, n times: see [`crate::supervise`].
//!
//! Unit tests arm a point for their own thread instead (`armed_for`): it unwinds, which loses everything that
//! was only in memory, as a kill does.

/// Points that exist once.
const PLAIN: &[&str] = &[
    "session.record",
    "resume.before_cleanup",
    "resume.after_cleanup",
    "resume.after_ack",
    "stage.before_piece",
    "stage.after_piece_written",
    "stage.after_piece_published",
    "cut.before_pieces",
    "cut.before_state",
    "cut.after_state",
    "cut.after_ack",
    "cut.after_old_states_removed",
    "cut.after_retire",
    "archive.before_pack",
    "archive.after_frame",
    "archive.after_sync",
    "archive.after_proof",
    "archive.after_publish",
    "archive.after_unlink",
    "publish.before_part",
    "publish.before_manifest",
    "publish.after_manifest",
    "publish.after_ack",
    "publish.after_staging_removed",
    "publish.after_retire",
    "klines.before_commit",
    "klines.in_commit",
    "klines.after_commit",
    "klines.after_ack",
];

/// Points of a part that is published anew.
const REWRITE: &[&str] =
    &["rewrite.after_commit", "rewrite.after_file", "rewrite.before_manifest", "rewrite.after_manifest"];

/// Points that exist once per table that has rows.
const PER_TABLE: &[&str] = &["publish.before_join", "publish.after_join", "publish.after_rename"];

/// The points of `replay --rewrite` alone, beside those of publishing.
pub fn rewrite_list() -> &'static [&'static str] {
    REWRITE
}

/// Every other name that [`hit`] and [`hit_table`] know.
pub fn list() -> Vec<String> {
    let tables = crate::lake::Table::ALL;
    PLAIN
        .iter()
        .map(|p| (*p).to_owned())
        .chain(PER_TABLE.iter().flat_map(|p| tables.iter().map(move |t| format!("{p}_{t}"))))
        .collect()
}

/// Comes by the point `name`.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn hit(name: &str) {
    debug_assert!(PLAIN.contains(&name) || REWRITE.contains(&name), "{name} is not in the list of failpoints");
    armed::come_by(name);
}

/// Comes by the point `prefix` of one table.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn hit_table(prefix: &str, table: crate::lake::Table) {
    debug_assert!(PER_TABLE.contains(&prefix), "{prefix} is not in the list of failpoints");
    armed::come_by(&format!("{prefix}_{table}"));
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
        static PANIC: OnceLock<Option<crate::supervise::Rehearsal>> = OnceLock::new();
        #[cfg(test)]
        super::in_test::come_by(name);
        if let Some(rehearsal) = PANIC.get_or_init(crate::supervise::Rehearsal::of_environment) {
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

#[cfg(test)]
pub(crate) use in_test::{Killed, armed_for};

#[cfg(test)]
mod in_test {
    use std::cell::RefCell;

    thread_local! {
        static ARMED: RefCell<Option<(String, u64)>> = const { RefCell::new(None) };
    }

    /// What an armed point unwinds with.
    pub(crate) struct Killed;

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
    pub(crate) fn armed_for<T>(name: &str, n: u64, work: impl FnOnce() -> T) -> Option<T> {
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

/// `fail_point!("name")` or `fail_point!("prefix", table)`.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(any(debug_assertions, feature = "failpoints"))]
        $crate::compact::failpoint::hit($name);
    };
    ($prefix:literal, $table:expr) => {
        #[cfg(any(debug_assertions, feature = "failpoints"))]
        $crate::compact::failpoint::hit_table($prefix, $table);
    };
}
pub(crate) use fail_point;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let mut all = list();
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n);
        assert!(all.iter().any(|p| p == "publish.after_rename_trades"));
    }
}
