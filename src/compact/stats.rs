//! The lines a person reads: once a minute what each log gave, once a day what the day brought.
//!
//! Both have the target [`ops::telemetry::STATS`] and hold what came since the line before, not totals.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use ops::clock::{self, date};
use ops::compactor::{CompactorStatus, Snapshot, VenueStatus};
use ops::shutdown::Shutdown;
use ops::telemetry::STATS;

const EVERY: Duration = Duration::from_secs(60);
const DAY_NS: u64 = 86_400_000_000_000;

/// Logs until `shutdown`.
pub async fn run(status: Arc<CompactorStatus>, shutdown: Shutdown) {
    let mut minute = status.snapshot();
    let mut day = (clock::wall_ns() / DAY_NS, minute.clone());
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let now = status.snapshot();
        for (log, v) in &now.venues {
            // A repair log that does not exist says nothing.
            if v.of_repairs && v.records == 0 {
                continue;
            }
            let d = since(&minute, log, v);
            info!(target: STATS, log, records = d.records, rows = d.rows, files = d.files, parts = d.parts,
                lag_ms = v.lag_ms, lag_bytes = v.lag_bytes, buffered_mib = v.buffered_bytes >> 20,
                staged_pieces = v.staged_pieces, gaps = d.gaps, "compacted, last minute");
        }
        let today = clock::wall_ns() / DAY_NS;
        if today != day.0 {
            for (log, v) in now.venues.iter().filter(|(_, v)| v.records > 0) {
                let d = since(&day.1, log, v);
                info!(target: STATS, log, day = %date(day.0), records = d.records, rows = d.rows, files = d.files,
                    parts = d.parts, gaps = d.gaps, repaired = d.repaired, unrepaired = d.unrepaired,
                    undecodable = d.undecodable, lost_ranges = d.lost_ranges, retries = d.retries, "day");
            }
            day = (today, now.clone());
        }
        minute = now;
    }
}

/// What came between two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    records: u64,
    rows: u64,
    files: u64,
    parts: u64,
    gaps: u64,
    repaired: u64,
    unrepaired: u64,
    undecodable: u64,
    lost_ranges: u64,
    retries: u64,
}

fn since(before: &Snapshot, log: &str, now: &VenueStatus) -> Came {
    let none = VenueStatus::default();
    let b = before.venues.get(log).unwrap_or(&none);
    // Counters of a part that is gathered again after a failure go back.
    let came = |get: fn(&VenueStatus) -> u64| get(now).saturating_sub(get(b));
    Came {
        records: came(|v| v.records),
        rows: came(|v| v.rows_total),
        files: came(|v| v.files_published),
        parts: came(|v| v.parts_published),
        gaps: came(|v| v.gaps),
        repaired: came(|v| v.repaired),
        unrepaired: came(|v| v.unrepaired),
        undecodable: came(|v| v.undecodable),
        lost_ranges: came(|v| v.lost_ranges),
        retries: came(|v| v.retries),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_line_holds_what_came_since_and_never_less_than_nothing() {
        let at = |records, rows_total| VenueStatus { records, rows_total, ..VenueStatus::default() };
        let before =
            Snapshot { venues: BTreeMap::from([("a".to_owned(), at(10, 100))]), memory: None, conditions: Vec::new() };
        assert_eq!(since(&before, "a", &at(15, 90)), Came { records: 5, rows: 0, ..Came::default() });
        assert_eq!(since(&before, "b", &at(3, 4)), Came { records: 3, rows: 4, ..Came::default() });
    }
}
