//! What a session shows of itself: what it counted, and how far it is.

use wal_format::Position;

use super::counts::PartCounts;
use super::{LOG_STATE_NS, LogSession, STATUS_NS};
use fold::gather::LogKind;
use lake::{Hour, Table};
use ops::clock;
use ops::compactor::Activity;
use ops::health::Reason;

/// The longest part.
const HOUR_NS: u64 = 3_600_000_000_000;
/// Two clocks that are set by the network differ by less.
const AHEAD_NS: u64 = 60_000_000_000;

impl LogSession<'_> {
    /// What it does at `position`.
    pub(super) fn show(
        &mut self,
        activity: Activity,
        reason: Option<String>,
        position: Position,
        now_ns: u64,
        force: bool,
    ) {
        if !force && now_ns.saturating_sub(self.status_ns) < STATUS_NS {
            return;
        }
        self.status_ns = now_ns;
        let mut segments = None;
        let mut lag_bytes = None;
        let due = force || self.log_state_ns == 0 || now_ns.saturating_sub(self.log_state_ns) >= LOG_STATE_NS;
        if due && let Ok(state) = wal_format::log_state(&self.worker.dir()) {
            self.log_state_ns = now_ns;
            self.writer_alive = state.writer_alive;
            segments = Some(state.segments.len() as u64);
            for (path, why) in state.segments.iter().filter_map(|s| Some((&s.path, s.foreign.as_ref()?))) {
                if self.foreign.insert(path.clone()) {
                    tracing::warn!(
                        venue = %self.worker.id, file = %path.display(), why = %why,
                        "a segment in the log's directory is not of this log: it is not read and not deleted, the next start of the collector moves it to quarantine/");
                }
            }
            lag_bytes = wal_format::control::read(&self.worker.dir())
                .map(|c| wal_format::bytes_between(&state.segments, position, c.committed));
        }
        let ahead = self.clock_ahead(clock::wall_ns());
        self.worker.status.conditions().set(Reason::ClockAhead, &self.worker.name(), ahead);
        let part = self.gatherer.part.as_ref();
        let counts = part.map_or(self.done, |p| self.done.zip(PartCounts::of(&p.account), u64::wrapping_add));
        let (rows, bytes) = part.map_or((0, 0), |p| p.buffered());
        self.rows_held.set(bytes);
        self.keys_held.set(self.gatherer.recent_keys_bytes());
        let lag_ms = match activity {
            Activity::AtTail | Activity::Stopped => 0,
            _ => clock::wall_ns().saturating_sub(self.last_ts_recv_ns) / 1_000_000,
        };
        let repairs =
            self.worker.repair_queue.as_ref().filter(|_| self.worker.kind == LogKind::Collected).map(|d| d.counts());
        self.worker.update(|s| {
            s.activity = activity;
            s.reason = reason;
            s.log_uuid.get_or_insert_with(|| self.place.log.clone());
            s.position = Some(show_position(position));
            s.records = counts.records;
            s.frames = counts.frames;
            s.payload_bytes = counts.payload_bytes;
            s.decoded = counts.decoded;
            s.control = counts.control;
            s.undecodable = counts.undecodable;
            s.gaps = counts.gaps;
            s.repeated = counts.repeated;
            if counts.evicted_keys > s.evicted_keys {
                tracing::warn!(venue = %self.worker.id, keys = counts.evicted_keys,
                    "dedupe window too small: keys were evicted early, rows of two lines may be there twice");
            }
            s.evicted_keys = counts.evicted_keys;
            s.lost_ranges = counts.lost;
            s.rows_total = counts.rows.iter().sum();
            for (table, n) in Table::ALL.iter().zip(counts.rows).filter(|(_, n)| *n > 0) {
                s.rows.insert(table.to_string(), n);
            }
            s.lag_ms = if self.last_ts_recv_ns == 0 { 0 } else { lag_ms };
            s.last_record_ns = self.last_ts_recv_ns;
            s.lag_bytes = lag_bytes.unwrap_or(s.lag_bytes);
            s.segments_on_disk = segments.unwrap_or(s.segments_on_disk);
            s.writer_alive = self.writer_alive;
            if let Some(c) = repairs {
                (s.repairs_waiting, s.repaired, s.unrepaired) = (c.waiting, c.repaired, c.unrepaired);
                s.repaired_rows = c.rows;
            }
            s.open_hour = part.map(|p| p.hour.to_string());
            s.open_records = part.map_or(0, |p| p.account.records);
            s.buffered_rows = rows;
            s.buffered_bytes = bytes;
            s.staged_pieces = part.map_or(0, |p| p.tables.iter().map(|t| t.pieces().len() as u64).sum());
        });
    }
}

impl LogSession<'_> {
    /// What to report of a log whose records, or whose open part, are of a time that has not come.
    fn clock_ahead(&self, wall_ns: u64) -> Option<String> {
        let cure = "look at the clock of the collector's machine; to go on at once, stop the collector, run `tapedeck compactor --drain`, and move this log's directory away: the next start begins a new one";
        let part = self.gatherer.part.as_ref();
        if let Some(part) = part.filter(|p| p.ends_ns > wall_ns.saturating_add(HOUR_NS + AHEAD_NS)) {
            return Some(format!(
                "the open part is of {}, for the clock was ahead when it was begun: nothing is published and no gap is reported before {}; {cure}",
                part.hour,
                Hour::of_ns(part.ends_ns)
            ));
        }
        (self.last_ts_recv_ns > wall_ns.saturating_add(AHEAD_NS)).then(|| {
            let ahead_s = self.last_ts_recv_ns.saturating_sub(wall_ns) / 1_000_000_000;
            let hour = Hour::of_ns(self.last_ts_recv_ns);
            format!("receive times are {ahead_s} s ahead of the wall clock: rows go to hour {hour}; {cure}")
        })
    }
}

pub(super) fn show_position(p: Position) -> String {
    format!("{}@{} {}", p.segment, p.offset, p.seq)
}
