//! What a repair of a log says, in the log lines of both services: nothing of it is dropped, and what lasts is not said at
//! every attempt.
//!
//! Several readers of one process stand before the same tail and try one after the other; a sentence about one log is
//! reported once, and again every ten minutes while it stays true.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use wal_format::RepairReport;

use crate::clock;

/// What lasts is reported again after this, ns.
const TELL_AGAIN_NS: u64 = 600_000_000_000;

static REPORTED: Mutex<Reported> = Mutex::new(Reported(BTreeMap::new()));

/// Reports what a repair of the log in `dir` could not do, what it moved, and what the disk lost.
pub fn report_repair(dir: &Path, report: &RepairReport) {
    for failure in &report.failures {
        if failure.passed {
            warn(dir, &format!("{failure}; every reader has passed it"));
        } else {
            error(dir, &failure.to_string());
        }
    }
    for path in &report.quarantined {
        tracing::warn!(log = %dir.display(), path = %path.display(),
            "a file that is no segment of this log, or cannot be read as one, was moved to quarantine");
    }
    if let Some((announced, missing)) = report.lost_below_durable {
        tracing::error!(log = %dir.display(), %announced, first_missing = %missing,
            "records are lost that the disk had answered for: it, or its file system, does not keep its promises");
    }
}

/// An error line about the log in `dir`, unless it was reported lately.
pub fn error(dir: &Path, what: &str) {
    if is_news(dir, what) {
        tracing::error!(log = %dir.display(), "{what}");
    }
}

/// A warning about the log in `dir`, unless it was reported lately.
pub fn warn(dir: &Path, what: &str) {
    if is_news(dir, what) {
        tracing::warn!(log = %dir.display(), "{what}");
    }
}

fn is_news(dir: &Path, what: &str) -> bool {
    REPORTED.lock().unwrap_or_else(PoisonError::into_inner).is_news(dir, what, clock::now().mono_ns)
}

/// What was reported of which log, and when.
struct Reported(BTreeMap<(PathBuf, String), u64>);

impl Reported {
    fn is_news(&mut self, dir: &Path, what: &str, now_ns: u64) -> bool {
        self.0.retain(|_, at| now_ns.saturating_sub(*at) < TELL_AGAIN_NS);
        let key = (dir.to_owned(), what.to_owned());
        !self.0.contains_key(&key) && self.0.insert(key, now_ns).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_reported_once_of_each_log_and_again_after_ten_minutes() {
        const S: u64 = 1_000_000_000;
        let mut reported = Reported(BTreeMap::new());
        let mut is_news = |dir: &str, what, at| reported.is_news(Path::new(dir), what, at);
        assert!(is_news("a", "x", 0));
        assert!(is_news("b", "x", 1));
        assert!(is_news("a", "y", 1));
        assert!((1..600).all(|s| !is_news("a", "x", s * S)));
        assert!(is_news("a", "x", 601 * S));
        assert!(!is_news("a", "x", 602 * S));
    }
}
