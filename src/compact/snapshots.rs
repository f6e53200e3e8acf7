//! A gap in the changes of a book makes it unknown: a fresh one is requested from the collector.
//!
//! The request is a file, `wal/<venue>/requests/snapshot-<symbol>`, percent-encoded; the collector takes it away
//! when it requests the book. It depends on nothing and nothing depends on it: a request that is lost costs a book
//! that stays unknown until the next snapshot, which a reader sees by the gap.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ops::telemetry::RateLimited;
use venue::message::percent_encode;

/// Between two requests for one symbol, us.
const EVERY_US: i64 = 60_000_000;
/// An older gap is history: a book of today does not close it, us.
const FRESH_US: i64 = 300_000_000;
/// Symbols remembered.
const SYMBOLS_MAX: usize = 10_000;

static FAILED: RateLimited = RateLimited::new(Duration::from_secs(60));

/// Requests to the collector of one venue.
pub(crate) struct SnapshotRequests {
    dir: PathBuf,
    /// The collector is on this machine.
    is_here: bool,
    /// Symbol -> time of its last request, us.
    asked: HashMap<String, i64>,
}

impl SnapshotRequests {
    /// Requests below the venue's log in `wal_dir`; none where the collector is on another machine.
    pub fn new(wal_dir: PathBuf, is_here: bool) -> Self {
        Self { dir: wal_dir.join("requests"), is_here, asked: HashMap::new() }
    }

    /// The book of `symbol` has a gap that ends with a message of `before_us`.
    pub fn want(&mut self, symbol: &str, before_us: Option<i64>, now_us: i64) {
        let is_old = before_us.is_some_and(|t| now_us.saturating_sub(t) > FRESH_US);
        if is_old || !self.is_here || self.asked.get(symbol).is_some_and(|t| now_us.saturating_sub(*t) < EVERY_US) {
            return;
        }
        if self.asked.len() >= SYMBOLS_MAX {
            self.asked.clear();
        }
        self.asked.insert(symbol.to_owned(), now_us);
        let path = self.dir.join(format!("snapshot-{}", percent_encode(symbol)));
        let written = std::fs::create_dir_all(&self.dir).and_then(|()| std::fs::write(&path, b""));
        if let Err(err) = written
            && FAILED.allow().is_some()
        {
            tracing::warn!(file = %path.display(), error = %err, "cannot ask the collector for an order book");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_symbol_is_asked_for_once_a_minute_and_never_for_an_old_hole() {
        let root = tempfile::tempdir().unwrap();
        let mut requests = SnapshotRequests::new(root.path().to_owned(), true);
        let file = root.path().join("requests/snapshot-%E5%B8%81USDT");
        let now = 1_000_000_000_000;
        requests.want("\u{5e01}USDT", Some(now - FRESH_US - 1), now);
        assert!(!file.exists());
        for (at, there) in [(now, true), (now + EVERY_US - 1, false), (now + EVERY_US, true)] {
            requests.want("\u{5e01}USDT", Some(at), at);
            assert_eq!(file.exists(), there);
            let _ = std::fs::remove_file(&file);
        }
        requests.want("../../x", None, now);
        assert!(root.path().join("requests/snapshot-..%2F..%2Fx").exists(), "no symbol leads out of the directory");
    }
}
