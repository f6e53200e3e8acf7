//! The lines a person reads: once a minute what the writer of a venue did, once a day what the day brought.
//!
//! Both have the target [`ops::telemetry::STATS`] and hold what came since the line before, not totals.

use tracing::{info, warn};

use super::metrics::VenueMetrics;
use model::VenueId;
use ops::clock::date;
use ops::hist::Counted;
use ops::status::{ConnState, Counts};
use ops::telemetry::STATS;

/// Between two lines, s.
pub(super) const EVERY_S: u64 = 60;
const DAY_NS: u64 = 86_400_000_000_000;

/// Everything at the last line.
#[derive(Debug)]
pub(super) struct StatsReporter {
    counts: Counts,
    appends: Counted,
    syncs: u64,
    sync_ns: u64,
    stalls: u64,
    spilled: u64,
    /// Days since 1970-01-01 UTC, and the counters when it began.
    day: (u64, Counts),
}

/// What one minute brought.
#[derive(Debug, PartialEq, Eq)]
struct Minute {
    frames: u64,
    bytes: u64,
    append_p99_us: Option<u64>,
    syncs: u64,
    sync_mean_us: u64,
    stalls: u64,
    disconnects: u64,
}

impl StatsReporter {
    pub(super) fn new(m: &VenueMetrics, wall_ns: u64) -> StatsReporter {
        let counts = m.counts();
        let mut reporter = StatsReporter {
            day: (wall_ns / DAY_NS, counts.clone()),
            counts,
            appends: m.appends.counted(),
            syncs: 0,
            sync_ns: 0,
            stalls: 0,
            spilled: 0,
        };
        reporter.minute(m);
        reporter
    }

    fn minute(&mut self, m: &VenueMetrics) -> Minute {
        let (counts, appends) = (m.counts(), m.appends.counted());
        let (syncs, sync_ns, stalls) =
            m.writer_stats().map_or((0, 0, 0), |s| (s.syncs.get(), s.sync_total_ns.get(), s.stalls_1ms.get()));
        let new_syncs = syncs.saturating_sub(self.syncs);
        let minute = Minute {
            frames: counts.frames - self.counts.frames,
            bytes: counts.bytes - self.counts.bytes,
            append_p99_us: appends.since(&self.appends).quantile_ns(990).map(|ns| ns.div_ceil(1_000)),
            syncs: new_syncs,
            sync_mean_us: sync_ns.saturating_sub(self.sync_ns) / new_syncs.max(1) / 1_000,
            stalls: stalls.saturating_sub(self.stalls),
            disconnects: counts.disconnects - self.counts.disconnects,
        };
        (self.counts, self.appends, self.syncs, self.sync_ns, self.stalls) = (counts, appends, syncs, sync_ns, stalls);
        minute
    }

    /// A minute is over.
    pub(super) fn report(&mut self, venue: VenueId, m: &VenueMetrics, wall_ns: u64) {
        let t = self.minute(m);
        let live = m.connections_in(ConnState::Live);
        info!(target: STATS, %venue, frames = t.frames, bytes = t.bytes, frames_per_s = t.frames / EVERY_S,
            append_p99_us = t.append_p99_us, syncs = t.syncs, sync_mean_us = t.sync_mean_us, stalls_1ms = t.stalls,
            disconnects = t.disconnects, live_connections = live, "writer, last minute");
        let spilled = m.writer_stats().map_or(0, |s| s.spilled.get());
        if spilled > self.spilled {
            warn!(%venue, segments = spilled - self.spilled,
                "the log goes on in wal.spill_dirs: its own disk is full or fails");
            self.spilled = spilled;
        }
        let day = wall_ns / DAY_NS;
        if day != self.day.0 {
            let (c, b) = (&self.counts, &self.day.1);
            info!(target: STATS, %venue, day = %date(self.day.0), frames = c.frames - b.frames, bytes = c.bytes - b.bytes,
                connects = c.connects - b.connects, disconnects = c.disconnects - b.disconnects,
                rotations = c.rotations - b.rotations, silent_streams = c.silent_streams - b.silent_streams,
                venue_errors = c.refused - b.refused, rest_errors = c.rest_errors - b.rest_errors,
                log_errors = c.log_errors - b.log_errors, "day");
            self.day = (day, self.counts.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_what_came_since_the_line_before() {
        let m = VenueMetrics::default();
        m.frames.add(7);
        let mut reporter = StatsReporter::new(&m, 0);
        m.frames.add(5);
        m.bytes.add(50);
        m.disconnects.add(1);
        m.appends.record(1_500, 1);
        let want = Minute {
            frames: 5,
            bytes: 50,
            append_p99_us: Some(2),
            syncs: 0,
            sync_mean_us: 0,
            stalls: 0,
            disconnects: 1,
        };
        assert_eq!(reporter.minute(&m), want);
        let nothing = Minute { frames: 0, bytes: 0, append_p99_us: None, disconnects: 0, ..want };
        assert_eq!(reporter.minute(&m), nothing);
    }

    #[test]
    fn a_day_is_reported_once_when_it_is_over() {
        let m = VenueMetrics::default();
        let mut reporter = StatsReporter::new(&m, DAY_NS - 1);
        m.frames.add(3);
        reporter.report(VenueId::GateSpot, &m, DAY_NS - 1);
        assert_eq!((reporter.day.0, reporter.day.1.frames), (0, 0));
        reporter.report(VenueId::GateSpot, &m, DAY_NS);
        assert_eq!((reporter.day.0, reporter.day.1.frames), (1, 3));
        assert_eq!(date(20_778), "2026-11-21");
    }
}
