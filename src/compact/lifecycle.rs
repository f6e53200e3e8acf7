//! The life of one venue's compactor: wait for the log, resume, work, and start over from the last durable state
//! when something fails.
//!
//! There is no error handling in the middle of a part. Whatever fails (a full disk, an I/O error), memory is
//! thrown away and the session starts like after a crash: that path is the one every other test exercises too.
//! Only what trying again cannot cure ends the worker, and the other logs go on: a ledger that does not balance,
//! another compactor, evidence that is missing ([`EvidenceMissing`]).

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;
use wal_format::{AckError, Lineage, ReadError, SegmentInfo, error_chain};

use super::abandoned;
use super::archive;
use super::error::CompactError;
use super::missing::EvidenceMissing;
use super::place::Place;
use super::resume::{self, Decision, Evidence, Start};
use super::session::{Ended, LogSession};
use super::settings::write_settings_at;
use super::worker::{CompactWorker, VenueOutcome};
use crate::failpoint;
use crate::repair::range::MissingRange;
use capture::LAKE_READER;
use fold::Mode;
use fold::dedupe::FetchedIds;
use fold::gather::{Continuation, Gatherer, LogKind};
use fold::source::{AckStore, LiveLog, LocalAck};
use lake::hash::hex;
use lake::{Hour, PartManifest};
use ops::clock;
use ops::compactor::Activity;
use ops::health::Reason;
use ops::supervise::{self, Task};
use ship::ChunkLog;

/// First pause after a failure; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause after a failure.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Gaps of parts of this age are recalled after a start, hours.
const RECALL_HOURS: i64 = 48;
/// How often a drain starts over for what that cures: each time it quarantines a damaged piece, or finds more
/// published.
const AGAIN_MAX: u32 = 5;
/// Between two looks for a log that is not there yet.
const LOG_POLL: Duration = Duration::from_millis(200);

impl CompactWorker {
    /// Works on a thread of its own. What it did is reported when it ends, also by a panic.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self) -> Result<oneshot::Receiver<Result<VenueOutcome, CompactError>>, CompactError> {
        let name = self.name();
        let (done, result) = oneshot::channel();
        let work = move || {
            let ended = supervise::catch(|| self.run()).unwrap_or_else(|panicked| Err(panicked.into()));
            // Nobody listens only when the whole call was dropped.
            let _ = done.send(ended);
        };
        let thread = std::thread::Builder::new().name(format!("compact-{name}"));
        thread.spawn(work).map_err(|source| CompactError::Thread { which: format!("of {name}"), source })?;
        Ok(result)
    }

    /// Works until asked to stop (follow) or until the log is worked off (drain).
    ///
    /// # Errors
    /// In follow mode only what trying again cannot cure; in drain mode the first failure, and when it was asked to
    /// stop before the end.
    pub fn run(&self) -> Result<VenueOutcome, CompactError> {
        let mut outcome = VenueOutcome::default();
        let mut pause = RETRY_FIRST;
        let mut again = 0;
        loop {
            let failed_before = outcome.failed_at;
            let err = match self.watched_session(&mut outcome) {
                Ok(()) => {
                    self.show(Activity::Stopped, outcome.note.clone());
                    return Ok(outcome);
                }
                Err(err) => err,
            };
            if err.stopped() {
                self.show(Activity::Stopped, Some(error_chain(&err)));
                return Err(CompactError::Of { id: self.id, source: Box::new(err) });
            }
            // The next start quarantines a damaged piece, or goes on after what another copy published, and reads the
            // log again.
            if self.mode == Mode::Drain && err.starting_over_cures() && again < AGAIN_MAX {
                again += 1;
                tracing::warn!(venue = %self.id, error = %error_chain(&err), "starting over");
                continue;
            }
            if self.mode == Mode::Drain || !err.is_curable() {
                self.show(Activity::Failed, Some(error_chain(&err)));
                self.status.conditions().clear(Reason::StartingOver, &self.name());
                tracing::error!(venue = %self.id, error = %error_chain(&err), "the compactor of this venue stopped");
                return Err(CompactError::Of { id: self.id, source: Box::new(err) });
            }
            // What was read again up to where it failed before is no progress.
            if failed_before.is_some() && outcome.failed_at.is_none() {
                pause = RETRY_FIRST;
            }
            outcome.failed_at = Some(outcome.failed_at.unwrap_or_default().max(outcome.read_to));
            self.status.conditions().raise(
                Reason::StartingOver,
                &self.name(),
                format!("compacting failed, and what it failed at is not stored yet: {}", error_chain(&err)),
            );
            tracing::warn!(
                venue = %self.id, error = %error_chain(&err), wait_ms = pause.as_millis() as u64,
                "compacting failed, starting over from the last durable state"
            );
            self.show(Activity::Retrying, Some(error_chain(&err)));
            self.update(|s| s.retries += 1);
            if !self.sleep(pause) {
                return Ok(outcome);
            }
            self.status.supervisor().again(Task::Compact, &self.name());
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Sleeps; false when asked to stop meanwhile.
    fn sleep(&self, pause: Duration) -> bool {
        let until = clock::now().mono_ns + pause.as_nanos() as u64;
        while clock::now().mono_ns < until {
            if self.shutdown.requested() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20).min(pause));
        }
        !self.shutdown.requested()
    }

    fn show(&self, activity: Activity, reason: Option<String>) {
        self.update(|s| {
            s.activity = activity;
            s.reason = reason;
        });
    }

    /// A session; its panic is reported at once, and then an error like others: nothing of its memory is used again.
    fn watched_session(&self, outcome: &mut VenueOutcome) -> Result<(), CompactError> {
        self.status.supervisor().attempt(Task::Compact, &self.name(), || self.session(outcome))?
    }

    fn session(&self, outcome: &mut VenueOutcome) -> Result<(), CompactError> {
        let Some(lineage) = self.wait_for_log(outcome)? else { return Ok(()) };
        let uuid = lineage.log_uuid();
        let dir = self.dir();
        let opened = match self.chunks.clone() {
            Some(chunks) => LocalAck::of_remote(&dir, LAKE_READER, move || chunks.lineage()),
            None => {
                self.refuse_strangers(&dir, uuid)?;
                LocalAck::open(&dir, LAKE_READER)
            }
        };
        let mut ack =
            opened.map_err(|err| CompactError::Place { reader: LAKE_READER, source: Box::new(held(err, &dir)) })?;
        if self.chunks.is_none() {
            archive::clean_up(&self.cfg, &dir, &uuid);
        }
        let place = Place::new(&self.lake, self.id.as_str(), lineage).at(&dir);
        let waiting = self.abandoned(Some(&place))?;
        let stored = ack.acked().map_err(|err| err.to_string());
        let mut evidence = resume::gather(&place, stored)?;
        for remark in &evidence.remarks {
            tracing::warn!(venue = %self.id, "{remark}");
        }
        let decision = resume::decide(&evidence)?;
        let position = decision.start.position();
        self.rebuild_or_stop(&place, &dir, &decision, &mut evidence)?;
        for line in resume::clean(&place, &evidence, &decision.start)? {
            tracing::warn!(venue = %self.id, "{line}");
        }
        let acked = decision.store_ack.or(evidence.ack).unwrap_or(decision.published);
        let newest = evidence.newest.take().map(|newest| newest.key);
        drop(evidence);
        self.recall(&place)?;
        if decision.store_ack.is_some() {
            // Also back from what was acknowledged and is not in the lake.
            let at = ack.checkpoint(uuid, acked);
            at.and_then(|at| ack.take_back(&at, "resume")).map_err(CompactError::step("store the ack"))?;
        }
        failpoint::hit("resume.after_ack");
        let gatherer = self.gatherer(&decision.start)?;
        let from_beginning = matches!(decision.start, Start::Beginning);
        let mut session = LogSession::new(self, place, uuid, Box::new(ack), gatherer, acked, newest, outcome);
        let ended = match self.chunks.clone() {
            Some(chunks) => session.run(ChunkLog::follow(chunks, position), from_beginning)?,
            None => session.run(LiveLog::open(&dir, position)?, from_beginning)?,
        };
        match (ended, self.mode, waiting) {
            (Ended::Stopped, Mode::Drain, _) => Err(CompactError::Stopped { name: self.name() }),
            // All of this log is published, and that is not all there is to publish.
            (Ended::Drained, _, Some(missing)) => Err(missing.into()),
            _ => Ok(()),
        }
    }

    /// What waits in staging of a log that was here ([`super::abandoned`]), reported; nothing when its loss is
    /// accepted.
    fn abandoned(&self, log: Option<&Place>) -> Result<Option<EvidenceMissing>, CompactError> {
        // Both logs of a venue stage under its name; each is looked for in its own directory.
        let (lake, dir) = (self.lake.work(), self.dir());
        let mut found = abandoned::find(lake, self.id.as_str(), &dir, log)?;
        if self.accept_loss {
            abandoned::give_up(lake, &std::mem::take(&mut found))?;
        }
        let missing = abandoned::missing(&found, &dir, &self.name());
        let conditions = self.status.conditions();
        conditions.set(Reason::EvidenceMissing, &self.name(), missing.as_ref().map(ToString::to_string));
        Ok(missing)
    }

    /// An EPOCH of another log would make all that is here strangers, and leave it lying.
    fn refuse_strangers(&self, dir: &Path, log_uuid: [u8; 16]) -> Result<(), CompactError> {
        let segments = wal_format::list_segments(dir).map_err(CompactError::at("list", dir))?;
        let recorded = |s: &&SegmentInfo| s.footer.as_ref().is_none_or(|f| f.records > 0) && s.log_uuid.is_some();
        let others: Vec<&SegmentInfo> =
            segments.iter().filter(recorded).filter(|s| s.log_uuid != Some(log_uuid)).collect();
        let own = segments.iter().filter(recorded).any(|s| s.log_uuid == Some(log_uuid));
        match others.first().and_then(|s| s.log_uuid).filter(|_| !own) {
            Some(other) => Err(EvidenceMissing::Strangers {
                log: hex(&log_uuid),
                other: hex(&other),
                count: others.len(),
                dir: dir.display().to_string(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// More was acknowledged, or lies in the lake, than manifests and staging account for: what the log still has is
    /// published again; what it has not stops it, unless the loss was accepted.
    fn rebuild_or_stop(
        &self,
        place: &Place,
        dir: &Path,
        decision: &Decision,
        evidence: &mut Evidence,
    ) -> Result<(), CompactError> {
        let at = decision.start.position();
        // What a state builds on is in pieces: files of its own part need nothing of the log.
        let accounted = match &decision.start {
            Start::Inside(state) => evidence.orphans_are_of(&state.part(place)),
            _ => evidence.orphans.is_empty(),
        };
        if decision.beyond.is_none() && accounted {
            return Ok(());
        }
        let holds = match self.chunks.clone() {
            Some(chunks) => resume::source_holds(ChunkLog::recorded(chunks, at), dir, at),
            None => resume::log_holds(dir, at),
        };
        if holds? {
            if let Some(acked) = decision.beyond {
                tracing::warn!(venue = %self.id, acked = %acked.seq, at = %at.seq,
                    "the lake holds less than was acknowledged; the log still has all of it, which is published again");
            }
            return Ok(());
        }
        let (lake, log) = (place.lake.to_string(), self.name());
        let missing = match (decision.beyond, evidence.orphans.as_slice()) {
            (_, [first, others @ ..]) => EvidenceMissing::Orphans {
                path: place.lake.place(first).display().to_string(),
                others: others.len(),
                log,
            },
            (Some(acked), []) => EvidenceMissing::Acknowledged { acked: acked.seq, at: at.seq, lake, log },
            (None, []) => return Ok(()),
        };
        if !self.accept_loss {
            return Err(missing.into());
        }
        tracing::error!(venue = %self.id, "going on because of --accept-loss, the next manifest records the lost range: {missing}");
        if let Some(to) = resume::quarantine_orphans(place, evidence)? {
            tracing::warn!(venue = %self.id, to = %to.display(), "quarantined files that no manifest names");
        }
        Ok(())
    }

    /// What manifests of the last days say about gaps: those of this log wait again unless they were requested.
    fn recall(&self, place: &Place) -> Result<(), CompactError> {
        let Some(repair_queue) = &self.repair_queue else { return Ok(()) };
        let since = Hour::of_ns(clock::wall_ns()).0 - RECALL_HOURS;
        for (part, found) in lake::find::manifests(&place.lake, &place.venue)? {
            if part.hour.0 < since || !place.owns(&part) {
                continue;
            }
            let manifest = match PartManifest::load(&place.lake, &found.key) {
                Ok(manifest) => manifest,
                Err(err) => {
                    tracing::warn!(venue = %self.id, error = %error_chain(&err), "gaps that this manifest names are not requested");
                    continue;
                }
            };
            manifest.repairs.iter().for_each(|r| repair_queue.was_done(r));
            manifest.gaps.iter().filter_map(MissingRange::of).for_each(|h| repair_queue.want(h));
        }
        Ok(())
    }

    fn gatherer(&self, start: &Start) -> Result<Gatherer, CompactError> {
        let settings = write_settings_at(&self.cfg.lake, self.status.pressure().level());
        match start {
            Start::Beginning => Ok(Gatherer::new(self.venue, self.kind, settings, &Continuation::default())?),
            Start::Behind { continuation, .. } => Gatherer::new(self.venue, self.kind, settings, continuation)
                .map_err(CompactError::step("go on after the newest manifest")),
            Start::Inside(state) => state
                .restore(self.venue, self.kind, settings)
                .map_err(CompactError::step("restore the state of the open part")),
        }
    }

    /// Whose log it is, once there is one. `None` when asked to stop before, or when draining and there is none.
    fn wait_for_log(&self, outcome: &mut VenueOutcome) -> Result<Option<Lineage>, CompactError> {
        if let Some(chunks) = &self.chunks {
            return Ok(Some(chunks.learn().map_err(CompactError::step("ask the store of the chunks"))?));
        }
        let dir = self.dir();
        // Looked for once a wait, when it is known that there is one: states are large, and nobody adds to these.
        let mut looked = false;
        loop {
            if dir.is_dir() {
                let lineage = wal_format::lineage(&dir).map_err(CompactError::at("identify the log in", &dir))?;
                if let Some(lineage) = lineage {
                    return Ok(Some(lineage));
                }
            }
            let foreign: Vec<String> = match wal_format::list_segments(&dir) {
                Ok(segments) => {
                    segments.iter().filter(|s| s.unreadable()).map(|s| s.path.display().to_string()).collect()
                }
                Err(ReadError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Vec::new(),
                Err(err) => return Err(CompactError::at("list", &dir)(err)),
            };
            let why = if foreign.is_empty() {
                format!("there is no log of {} yet in {}", self.id, dir.display())
            } else {
                format!(
                    "there is no log of {} yet: {} is named like a segment but is none",
                    self.id,
                    foreign.join(", ")
                )
            };
            let waiting = if std::mem::replace(&mut looked, true) { None } else { self.abandoned(None)? };
            if self.mode == Mode::Drain {
                if let Some(missing) = waiting {
                    return Err(missing.into());
                }
                if !foreign.is_empty() {
                    return Err(CompactError::NoLog { why });
                }
                if self.kind == LogKind::Collected {
                    outcome.note = Some(format!("{why}: nothing to do"));
                }
                return Ok(None);
            }
            match self.kind {
                LogKind::Collected => self.show(Activity::WaitingForLog, Some(why)),
                // Nothing was ever repaired: the usual case.
                LogKind::Repairs => {
                    if let Some(repair_queue) = self.repair_queue.as_ref().filter(|_| foreign.is_empty()) {
                        repair_queue.ready(FetchedIds::default());
                    }
                }
            }
            if !self.sleep(LOG_POLL) {
                return Ok(None);
            }
        }
    }
}

fn held(err: AckError, dir: &std::path::Path) -> CompactError {
    match err {
        err @ AckError::ReaderHeld { .. } => CompactError::Running { place: format!("{} ({err})", dir.display()) },
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fold::account::Imbalance;
    use lake::Table;

    #[test]
    fn a_ledger_that_does_not_balance_ends_the_worker_and_a_full_disk_does_not() {
        let publish = |err| CompactError::hour::<CompactError>("publish", Hour(7))(err);
        let bad = Imbalance::Rows { table: Table::Trades, counted: 2, in_file: 1 };
        assert!(!publish(bad.into()).is_curable());
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(publish(CompactError::file("write", Path::new("piece"))(full)).is_curable());
    }
}
