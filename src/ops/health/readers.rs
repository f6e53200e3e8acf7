//! Whether a log is read off: a reader that stores no ack while the log grows is not there.

use std::collections::BTreeMap;

use wal_format::{LogState, Position, bytes_between};

use crate::exposition::Exposition;
use model::VenueId;

/// One reader of one log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reader {
    /// Where its ack stands, and how often it was stored: a reader shows by storing it again that it lives, though
    /// what it may acknowledge comes once an hour.
    acked: (Position, u64),
    /// Committed and not acknowledged.
    unacked_bytes: u64,
    /// Since when that ack was not stored while there was more, monotonic ns.
    still_since: u64,
}

/// The readers of one log that have to pass it before segments may go.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    required: &'static [&'static str],
    patience_ns: u64,
    seen: BTreeMap<&'static str, Reader>,
}

impl Readers {
    pub(super) fn new(required: &'static [&'static str], patience_ns: u64) -> Self {
        Self { required, patience_ns, seen: BTreeMap::new() }
    }

    pub(super) fn look(&mut self, state: &LogState, now_ns: u64) {
        let Some(committed) = state.control.as_ref().map(|c| c.committed) else { return };
        for name in self.required {
            let ack = state.acks.iter().find(|a| a.reader == *name).and_then(|a| a.ack.as_ref().ok()?.as_ref());
            let acked = ack.map_or((Position::START, 0), |a| (a.position, a.generation));
            self.one(name, acked, bytes_between(&state.segments, acked.0, committed), now_ns);
        }
    }

    fn one(&mut self, name: &'static str, acked: (Position, u64), unacked_bytes: u64, now_ns: u64) {
        let before = self.seen.get(name);
        let still_since = match before {
            Some(b) if b.acked == acked && b.unacked_bytes > 0 => b.still_since,
            _ => now_ns,
        };
        self.seen.insert(name, Reader { acked, unacked_bytes, still_since });
    }

    pub(super) fn problems(&self, now_ns: u64) -> Vec<String> {
        let still = |r: &Reader| now_ns.saturating_sub(r.still_since);
        let late = self.seen.iter().filter(|(_, r)| r.unacked_bytes > 0 && still(r) > self.patience_ns);
        late.map(|(name, r)| {
            format!(
                "reader {name} has stored no ack for {} min, {} MiB of the log wait for it: is the compactor running?",
                still(r) / 60_000_000_000,
                r.unacked_bytes >> 20
            )
        })
        .collect()
    }
}

/// Of all venues.
pub(super) fn expose(out: &mut Exposition, logs: &[(VenueId, Readers)], now_ns: u64) {
    let mut one = |name: &str, help, get: &dyn Fn(&Reader) -> u64| {
        let of = |(id, readers): &'_ (VenueId, Readers)| {
            let seen = readers.seen.iter().map(|(reader, r)| ([("venue", id.as_str()), ("reader", *reader)], get(r)));
            seen.collect::<Vec<_>>()
        };
        out.series(format!("tapedeck_log_{name}"), help, logs.iter().flat_map(of));
    };
    one("unacked_bytes", "Bytes of the log that a reader has not acknowledged; segments stay until it has.", &|r| {
        r.unacked_bytes
    });
    one("ack_age_seconds", "How long a reader has stored no ack while the log had more.", &|r| {
        if r.unacked_bytes == 0 { 0 } else { now_ns.saturating_sub(r.still_since) / 1_000_000_000 }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_reader_that_stands_still_while_the_log_grows_is_a_problem_and_one_at_the_end_is_not() {
        let mut r = Readers::new(&["lake"], 900 * S);
        let stored = |offset, times| (Position { offset, ..Position::START }, times);
        let at = |offset| stored(offset, 1);
        r.one("lake", at(100), 5, 0);
        r.one("lake", at(100), 9 << 20, 900 * S);
        assert!(r.problems(900 * S).is_empty());
        let reported = r.problems(960 * S);
        assert!(reported.len() == 1 && reported[0].contains("16 min, 9 MiB"), "{reported:?}");
        r.one("lake", at(200), 3, 961 * S);
        assert!(r.problems(1_800 * S).is_empty());
        // All read; then nothing for hours, then a first record: the wait begins with it.
        r.one("lake", at(203), 0, 970 * S);
        r.one("lake", at(203), 7, 9_000 * S);
        assert!(r.problems(9_010 * S).is_empty());
        // A reader that stages for an hour before it may acknowledge more stores the same ack again.
        r.one("lake", stored(203, 2), 9, 9_901 * S);
        assert!(r.problems(10_801 * S).is_empty());
        r.one("lake", stored(203, 2), 9, 10_802 * S);
        assert_eq!(r.problems(10_802 * S).len(), 1);
    }
}
