//! Snapshots that other processes ask for: the compactor finds a hole in the depth updates of a symbol and wants
//! a fresh book behind it.
//!
//! A wish is an empty file `requests/snapshot-<symbol, percent-encoded>` in the log's directory. It is removed
//! when it is taken, and asking twice is asking once. Taken once a second; never waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, warn};

use super::feed::Feed;
use crate::telemetry::RateLimited;
use crate::venue::Channel;

/// Directory of wishes in the log's directory.
pub const REQUESTS_DIR: &str = "requests";
/// Name of a wish for a snapshot, before the symbol.
pub const SNAPSHOT_PREFIX: &str = "snapshot-";
/// Wishes taken at a time; the others stay for the next second.
const TAKEN_MAX: usize = 1_000;

static STUCK: RateLimited = RateLimited::new(Duration::from_secs(60));

/// Takes wishes until the venue is to stop.
pub(super) async fn run(feed: &Feed) {
    let wanted = feed.config.channels.contains(&Channel::DepthSnapshot);
    while !feed.pause(Duration::from_secs(1)).await {
        let dir = feed.requests.clone();
        let Ok(symbols) = tokio::task::spawn_blocking(move || take(&dir)).await else { return };
        if !symbols.is_empty() && wanted {
            debug!(venue = %feed.id, count = symbols.len(), "order books are wanted");
            feed.snapshots.want(symbols.iter().map(String::as_str));
        }
    }
}

/// The symbols that are wished for in `dir`; their files are gone afterwards.
fn take(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut symbols = Vec::new();
    for path in entries.flatten().take(TAKEN_MAX).map(|e| e.path()) {
        let Some(symbol) = symbol_of(&path) else { continue };
        match std::fs::remove_file(&path) {
            Ok(()) => symbols.push(symbol),
            // Taken anyway it would be taken every second.
            Err(err) => stuck(path, &err),
        }
    }
    symbols
}

fn stuck(path: PathBuf, err: &std::io::Error) {
    if let Some(suppressed) = STUCK.allow() {
        warn!(path = %path.display(), error = %err, suppressed, "cannot remove a request; it is not followed");
    }
}

fn symbol_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix(SNAPSHOT_PREFIX)?;
    percent_decode(name).filter(|s| !s.is_empty())
}

/// The text behind percent-encoding; `None` when it is none.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wish_is_taken_once_and_what_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(&dir.path().join("nowhere")).is_empty());
        for name in ["snapshot-BTCUSDT", "snapshot-%E5%B8%81%E5%AE%89USDT", "snapshot-", "snapshot-%E5", "note"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut taken = take(dir.path());
        taken.sort();
        assert_eq!(taken, ["BTCUSDT", "币安USDT"]);
        assert!(take(dir.path()).is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
