//! What the compactor is doing, for `/v1/status`, `/health`, `/metrics` and `tapedeck status`.
//!
//! Each worker owns one [`VenueStatus`] and overwrites it about ten times a second; readers take a copy under a
//! short std mutex (nothing blocks while it is held).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::exposition::{Exposition, Value};
use crate::health::{Condition, Conditions, Health, Reason};
use crate::memory::{MemoryReport, Pressure};
use crate::supervise::Supervisor;
use crate::values;

/// What a worker is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Not started yet.
    #[default]
    Starting,
    /// There is no log yet.
    WaitingForLog,
    /// Reading a backlog.
    CatchingUp,
    /// At the end of the log.
    AtTail,
    /// In front of a crash tail that another process has to repair.
    AwaitingRepair,
    /// Publishing a part.
    Publishing,
    /// Something failed; it will be tried again.
    Retrying,
    /// Stopped on an error that trying again does not cure.
    Failed,
    /// Finished (drained or shut down).
    Stopped,
}

/// The last part that was published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPublish {
    /// `YYYY-MM-DDTHH`.
    pub hour: String,
    /// Name shared by its files: `<log>-<first seq>`.
    pub part: String,
    /// Files, the manifest not counted.
    pub files: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// When, ns since 1970-01-01 UTC.
    pub at_ns: u64,
}

/// One venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VenueStatus {
    /// What the worker is at.
    pub activity: Activity,
    /// Why it is not simply reading: what it waits for, or the error.
    pub reason: Option<String>,
    /// The log's uuid in hex, once known.
    pub log_uuid: Option<String>,
    /// Position of the next record to handle, `segment@offset seq`.
    pub position: Option<String>,
    /// Records handled since the start of the process, all kinds.
    pub records: u64,
    /// Data and REST records handled since the start of the process.
    pub frames: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Frames that became rows (possibly none).
    pub decoded: u64,
    /// Frames without rows by nature.
    pub control: u64,
    /// Frames kept in table `frames`, those of which a part became rows included.
    pub undecodable: u64,
    /// Rows of all tables since the start of the process.
    pub rows_total: u64,
    /// Rows per table since the start of the process.
    pub rows: BTreeMap<String, u64>,
    /// Gaps in ids that stayed open, since the start of the process.
    pub gaps: u64,
    /// Rows removed because they were there, since the start of the process.
    pub repeated: u64,
    /// Keys of rows that two lines bring, forgotten before their time: rows may stand twice.
    #[serde(default)]
    pub evicted_keys: u64,
    /// Ranges of the log that could not be read, since the start of the process.
    pub lost_ranges: u64,
    /// Bytes between this reader and the collector's committed position.
    pub lag_bytes: u64,
    /// Age of the last record handled while a backlog remains; 0 at the end of the log. ms.
    pub lag_ms: u64,
    /// Receive time of the last record handled, ns since 1970-01-01 UTC.
    pub last_record_ns: u64,
    /// The hour that is being gathered, `YYYY-MM-DDTHH`.
    pub open_hour: Option<String>,
    /// Records in it so far.
    pub open_records: u64,
    /// Rows held in memory.
    pub buffered_rows: u64,
    /// Estimated bytes of them.
    pub buffered_bytes: u64,
    /// Staged pieces of the open part.
    pub staged_pieces: u64,
    /// Parts published since the start of the process.
    pub parts_published: u64,
    /// Files in them, manifests not counted.
    #[serde(default)]
    pub files_published: u64,
    /// The last of them.
    pub last_publish: Option<LastPublish>,
    /// Acknowledged position: everything before it is published.
    pub acked: Option<String>,
    /// When it was last stored, at a publish or a checkpoint, ns since 1970-01-01 UTC; 0 = not yet by this process.
    pub acked_at_ns: u64,
    /// Segment files of the log.
    pub segments_on_disk: u64,
    /// Segments deleted since the start of the process.
    pub segments_retired: u64,
    /// Segments that every reader has passed and that stay because no manifest covers them.
    #[serde(default)]
    pub segments_held: u64,
    /// Why.
    #[serde(default)]
    pub held_reason: Option<String>,
    /// Those of them that were archived.
    #[serde(default)]
    pub segments_archived: u64,
    /// Bytes of their archives.
    #[serde(default)]
    pub archive_bytes: u64,
    /// Time spent on archiving, ms.
    #[serde(default)]
    pub archive_ms: u64,
    /// A collector holds the log's lock.
    pub writer_alive: bool,
    /// Errors that were survived by starting over from the last durable state.
    pub retries: u64,
    /// A log of repairs: most of the time it has no writer, and it may not exist.
    #[serde(default)]
    pub of_repairs: bool,
    /// Gaps that wait for their repair.
    #[serde(default)]
    pub repairs_waiting: u64,
    /// Gaps fetched completely since the start of the process.
    #[serde(default)]
    pub repaired: u64,
    /// Gaps given up since the start of the process.
    #[serde(default)]
    pub unrepaired: u64,
    /// Rows fetched for gaps since the start of the process.
    #[serde(default)]
    pub repaired_rows: u64,
}

/// A copy of everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By venue name; logs of repairs as `<venue>.repair`.
    pub venues: BTreeMap<String, VenueStatus>,
    /// Memory of the process.
    #[serde(default)]
    pub memory: Option<MemoryReport>,
    /// What is wrong now.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// The place where workers write and the endpoint reads.
#[derive(Debug, Default)]
pub struct CompactorStatus {
    inner: Mutex<Snapshot>,
    pressure: Pressure,
    supervisor: Supervisor,
    health: OnceLock<Arc<Health>>,
    accept_loss: OnceLock<Vec<String>>,
}

/// Age of the last handled record from which a backlog is a problem, ms.
const LAG_PROBLEM_MS: u64 = 300_000;

impl CompactorStatus {
    /// Of a process whose memory is watched.
    pub fn new(pressure: Pressure) -> Self {
        Self::supervised(pressure, Supervisor::default())
    }

    /// [`CompactorStatus::new`] of a service whose tasks `supervisor` watches.
    pub fn supervised(pressure: Pressure, supervisor: Supervisor) -> Self {
        Self { pressure, supervisor, ..Self::default() }
    }

    /// Logs by name that go on where what was acknowledged is gone; set once, by the command line.
    pub fn accept_loss_of(&self, logs: Vec<String>) {
        // Nobody sets it a second time.
        let _ = self.accept_loss.set(logs);
    }

    /// True when the log of this name goes on where what was acknowledged is gone.
    pub fn accepts_loss(&self, log: &str) -> bool {
        self.accept_loss.get().is_some_and(|logs| logs.iter().any(|l| l == log))
    }

    /// Who looks at the disk; set once.
    pub fn watched_by(&self, health: Arc<Health>) {
        let _ = self.health.set(health);
    }

    /// What is wrong now in this process.
    pub fn conditions(&self) -> &Conditions {
        self.supervisor.conditions()
    }

    /// Who watches the tasks of this process.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// How tight the process's memory is.
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// A copy of everything.
    pub fn snapshot(&self) -> Snapshot {
        let venues = self.lock().venues.clone();
        Snapshot { venues, memory: Some(self.pressure.report()), conditions: self.conditions().list() }
    }

    /// Changes the entry of one log: a venue name, or `<venue>.repair`.
    pub fn update(&self, log: &str, change: impl FnOnce(&mut VenueStatus)) {
        let mut all = self.lock();
        if let Some(v) = all.venues.get_mut(log) {
            change(v);
        } else {
            change(all.venues.entry(log.to_owned()).or_default());
        }
    }

    /// One sentence per reason why a venue is not followed as it should be; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        // A failure is reported by its condition, also while the log is read again.
        let is_reported = |name: &str| self.conditions().text(Reason::StartingOver, name).is_some();
        let once = |(name, v): (&String, &VenueStatus)| {
            let problem = v.problem().filter(|_| v.activity != Activity::Retrying || !is_reported(name));
            problem.map(|p| format!("{name}: {p}"))
        };
        let mut all: Vec<String> = self.lock().venues.iter().filter_map(once).collect();
        all.extend(self.conditions().problems());
        all.extend(self.pressure.problems());
        all.extend(self.health.get().map(|h| h.problems()).unwrap_or_default());
        all
    }

    /// Everything for Prometheus.
    pub fn expose(&self, out: &mut Exposition) {
        let snapshot = self.snapshot();
        snapshot.expose(out);
        self.conditions().expose(out);
        self.supervisor.expose(out);
        if let Some(health) = self.health.get() {
            health.expose(out);
        }
        if let Some(memory) = snapshot.memory {
            memory.expose(out);
        }
    }

    /// A worker that panicked while holding the lock leaves a readable status behind.
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VenueStatus {
    /// Why this venue is not followed as it should be.
    pub fn problem(&self) -> Option<String> {
        let reason = || self.reason.clone().unwrap_or_else(|| "no reason is known".into());
        match self.activity {
            Activity::WaitingForLog | Activity::AwaitingRepair => Some(reason()),
            Activity::Failed => Some(format!("stopped: {}", reason())),
            Activity::Retrying => Some(format!("failed and will be tried again: {}", reason())),
            Activity::Starting | Activity::Stopped => None,
            Activity::CatchingUp | Activity::AtTail | Activity::Publishing => {
                if !self.writer_alive && !self.of_repairs {
                    Some("no collector is writing this log".into())
                } else if self.lag_ms > LAG_PROBLEM_MS {
                    Some(format!("{} s behind the collector", self.lag_ms / 1_000))
                } else {
                    self.held_reason.clone()
                }
            }
        }
    }
}

impl Snapshot {
    fn expose(&self, out: &mut Exposition) {
        type Get = fn(&VenueStatus) -> Value;
        let mut one = |name: &str, help, get: Get| {
            let all = self.venues.iter().map(|(venue, v)| ([("venue", venue)], get(v)));
            out.series(format!("tapedeck_compactor_{name}"), help, all);
        };
        values!(one, v:
            "records_total", "Log records handled. Stops when the collector or this venue stops." => v.records;
            "frames_total", "Data and REST records handled." => v.frames;
            "payload_bytes_total", "Bytes of the frames handled." => v.payload_bytes;
            "frames_decoded_total", "Frames that became rows." => v.decoded;
            "frames_control_total", "Acknowledgements and notices." => v.control;
            "frames_undecodable_total", "Frames kept in table frames, as a whole or for a part. A rise means the venue changed its format." => v.undecodable;
            "gaps_total", "Gaps in the venue's ids. A rise means rows are missing." => v.gaps;
            "dedupe_evicted_keys_total", "Dedupe window too small: keys forgotten early, rows of two lines may stand twice." => v.evicted_keys;
            "repeated_rows_total", "Rows removed: two connections brought them." => v.repeated;
            "repairs_waiting", "Gaps that wait for their repair over REST." => v.repairs_waiting;
            "repaired_total", "Gaps fetched completely over REST." => v.repaired;
            "unrepaired_total", "Gaps that REST could not fill." => v.unrepaired;
            "repaired_rows_total", "Rows fetched over REST." => v.repaired_rows;
            "lost_ranges_total", "Ranges of the log that could not be read. Must stay 0." => v.lost_ranges;
            "lag_bytes", "Log bytes not handled yet." => v.lag_bytes;
            "lag_seconds", "Age of the last record handled while a backlog remains." => v.lag_ms as f64 / 1e3;
            "buffered_rows", "Rows in memory." => v.buffered_rows;
            "buffered_bytes", "Estimated bytes of the rows in memory." => v.buffered_bytes;
            "staged_pieces", "Staged pieces of the open hour." => v.staged_pieces;
            "parts_published_total", "Hours (or shares of hours) published." => v.parts_published;
            "files_published_total", "Files in them." => v.files_published;
            "last_record_timestamp_seconds", "Receive time of the last record handled." => v.last_record_ns / 1_000_000_000;
            "acked_timestamp_seconds", "When the ack was last stored; 0 = not yet." => v.acked_at_ns / 1_000_000_000;
            "segments", "Segment files on disk. A steady rise means they are not released." => v.segments_on_disk;
            "segments_retired_total", "Segments deleted." => v.segments_retired;
            "segments_held", "Segments that every reader has passed and that no readable manifest covers. Must stay 0." => v.segments_held;
            "segments_archived_total", "Segments archived before they were deleted." => v.segments_archived;
            "archive_bytes_total", "Bytes of archives written." => v.archive_bytes;
            "retries_total", "Errors survived by starting over from the last durable state." => v.retries;
            "up", "1 while this venue is followed as it should be." => u64::from(v.problem().is_none());
        );
        let rows = self.venues.iter().flat_map(|(venue, v)| {
            v.rows.iter().map(move |(table, rows)| ([("venue", venue), ("table", table)], *rows))
        });
        out.series("tapedeck_compactor_rows_total", "Rows per table.", rows);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exposition;
    use model::VenueId;

    #[test]
    fn a_status_survives_json_so_that_other_processes_can_show_it() {
        let status = CompactorStatus::default();
        status.update(VenueId::BinanceSpot.as_str(), |v| {
            v.activity = Activity::AwaitingRepair;
            v.reason = Some("segment 3".into());
        });
        let text = serde_json::to_string(&status.snapshot()).unwrap();
        assert!(text.contains("awaiting_repair"), "{text}");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), status.snapshot());
        assert_eq!(status.problems(), ["binance-spot: segment 3"]);
    }

    #[test]
    fn a_followed_log_without_collector_or_with_a_long_lag_is_a_problem_and_a_fresh_one_is_not() {
        let fresh = VenueStatus { activity: Activity::AtTail, writer_alive: true, ..VenueStatus::default() };
        assert_eq!(fresh.problem(), None);
        assert!(VenueStatus { writer_alive: false, ..fresh.clone() }.problem().is_some());
        let late = VenueStatus { lag_ms: 301_000, activity: Activity::CatchingUp, ..fresh };
        assert!(late.problem().unwrap().contains("301 s"));
    }

    #[test]
    fn metrics_carry_the_venue_and_the_table() {
        let status = CompactorStatus::default();
        status.update(VenueId::BinanceUsdm.as_str(), |v| {
            v.frames = 7;
            v.rows.insert("trades".into(), 5);
        });
        let text = exposition::text(|out| status.expose(out));
        assert!(text.contains("tapedeck_compactor_frames_total{venue=\"binance-usdm\"} 7\n"), "{text}");
        assert!(text.contains("tapedeck_compactor_rows_total{venue=\"binance-usdm\",table=\"trades\"} 5\n"), "{text}");
    }
}
