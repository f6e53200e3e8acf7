//! One run over a log from a resume position on: read, gather, stage, checkpoint, publish, acknowledge, retire.
//!
//! Reading is here; what is durable when, in `checkpoint`; what is reported, in `show`. What the wall clock decides
//! (when to checkpoint, when to stage an idle table) never changes a published byte.

mod checkpoint;
mod counts;
mod show;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use wal_format::{Position, Run, error_chain};

use self::counts::PartCounts;
use super::error::CompactError;
use super::missing::EvidenceMissing;
use super::place::Place;
use super::publish::PartEnd;
use super::settings::write_settings_at;
use super::snapshots::SnapshotRequests;
use super::stage::stage_full;
use super::worker::{CompactWorker, VenueOutcome};
use crate::failpoint;
use crate::repair::range::MissingRange;
use fold::Mode;
use fold::gather::{Gatherer, LogKind, missing_beginning};
use fold::source::{AckStore, LOOKS, RecordSource, Settled, SourceError, Step};
use model::Channel;
use ops::clock;
use ops::compactor::Activity;
use ops::health::Reason;
use ops::log_repairs;
use ops::memory::{Level, Part};

/// Between two updates of the status, and between two looks at memory and idle tables, ns.
const STATUS_NS: u64 = 100_000_000;
/// Between two looks at the log's own state (lock, segments), ns.
const LOG_STATE_NS: u64 = 1_000_000_000;
/// A dead collector's part is closed this long after its end, ns: a restart in the same minute finds it open.
const GRACE_NS: u64 = 5_000_000_000;
/// Pause in front of what cannot be read: nothing rings for it.
const OBSTACLE_PAUSE: Duration = Duration::from_millis(50);

/// Why a session ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop; everything is staged.
    Stopped,
    /// The log was worked off and published.
    Drained,
}

/// What a batch of records ended with.
enum Batch {
    /// There may be more at once.
    More,
    /// The end of the log.
    Tail,
    /// In front of something that has to be repaired: why, and whether that failed.
    Blocked(String, bool),
    /// In front of a file that cannot be opened or read.
    Unreachable(SourceError),
    /// The position to which a drain works.
    Reached(Position),
    /// Nothing will come any more.
    Ended,
}

/// One run over a log.
pub struct LogSession<'a> {
    worker: &'a CompactWorker,
    place: Place,
    log_uuid: [u8; 16],
    ack: Box<dyn AckStore>,
    gatherer: Gatherer,
    outcome: &'a mut VenueOutcome,
    /// The stored ack.
    acked: Position,
    /// Position of the last state, or the end of the last part.
    safe: Position,
    /// The key of the newest manifest: a lake without it is not the one that was begun with.
    newest: Option<String>,
    /// When the last checkpoint ended, and how long it took.
    checkpoint_ns: u64,
    checkpoint_took_ns: u64,
    status_ns: u64,
    house_ns: u64,
    log_state_ns: u64,
    repair_state_ns: u64,
    writer_alive: bool,
    last_ts_recv_ns: u64,
    /// Tables that got rows since the last housekeeping.
    touched: u32,
    /// What this process counted before the open part.
    done: PartCounts,
    buffered_bytes_max: u64,
    /// What memory was last seen to be.
    level: Level,
    /// What recent keys of two lines hold.
    keys_held: Part,
    /// What the rows in memory hold.
    rows_held: Part,
    /// What a publish holds meanwhile.
    publish_held: Part,
    open_tables_max: usize,
    /// The first record shows whether the log still begins with its beginning.
    check_first: bool,
    /// The end of the log was seen once.
    was_at_end: bool,
    snapshots: SnapshotRequests,
    /// Why segments were last seen to be held, logged once.
    held: Option<String>,
    /// Files in the log's directory that are not the log's, logged once.
    foreign: BTreeSet<PathBuf>,
}

impl<'a> LogSession<'a> {
    /// A session that goes on with `gatherer`; `acked` is the stored ack, `newest` the key of the newest manifest.
    #[expect(clippy::too_many_arguments, reason = "what one start of a log found, each thing once")]
    pub fn new(
        worker: &'a CompactWorker,
        place: Place,
        log_uuid: [u8; 16],
        ack: Box<dyn AckStore>,
        gatherer: Gatherer,
        acked: Position,
        newest: Option<String>,
        outcome: &'a mut VenueOutcome,
    ) -> Self {
        let venues = worker.cfg.capture.venues.len().max(1) as u64;
        // What a resumed part holds already was counted by an earlier process: start below zero by it.
        let resumed = gatherer.part.as_ref().map_or_else(PartCounts::default, |p| PartCounts::of(&p.account));
        let now = clock::now().mono_ns;
        Self {
            place,
            log_uuid,
            ack,
            gatherer,
            outcome,
            acked,
            safe: acked,
            newest,
            checkpoint_ns: now,
            checkpoint_took_ns: 0,
            status_ns: 0,
            house_ns: 0,
            log_state_ns: 0,
            repair_state_ns: 0,
            writer_alive: false,
            last_ts_recv_ns: 0,
            touched: 0,
            done: PartCounts::default().zip(resumed, u64::wrapping_sub),
            level: Level::Normal,
            keys_held: worker.status.pressure().part("recent_keys"),
            rows_held: worker.status.pressure().part("row_buffers"),
            publish_held: worker.status.pressure().part("publishing"),
            // Half of the limit for rows: encoding and the rest of the process share the other half.
            buffered_bytes_max: (worker.cfg.memory.limit_mib << 20) / 2 / venues,
            open_tables_max: (worker.cfg.lake.max_open_writers as u64 / venues).max(1) as usize,
            check_first: false,
            was_at_end: false,
            snapshots: SnapshotRequests::new(worker.cfg.capture.wal_dir(worker.id), worker.chunks.is_none()),
            held: None,
            foreign: BTreeSet::new(),
            worker,
        }
    }

    /// Works until asked to stop or drained.
    ///
    /// # Errors
    /// Anything; the caller starts over from the last durable state.
    pub fn run<S: RecordSource>(&mut self, mut source: S, from_beginning: bool) -> Result<Ended, CompactError> {
        self.check_first = from_beginning;
        self.safe = source.position();
        self.recall();
        let limit = match self.worker.mode {
            Mode::Follow => None,
            Mode::Drain if source.settle() != Settled::Written => None,
            Mode::Drain => source.committed(),
        };
        let mut quiet_looks = 0_u32;
        // The log was repaired since the last record: what it ends with now is its end.
        let mut repaired = false;
        loop {
            let now = clock::now();
            let here = source.position();
            if self.worker.shutdown.requested() {
                self.checkpoint(here)?;
                self.show(Activity::Stopped, None, here, now.mono_ns, true);
                return Ok(Ended::Stopped);
            }
            self.report_unrepaired(&mut source, now.mono_ns);
            let batch = self.batch(&mut source, limit);
            let here = source.position();
            self.outcome.read_to = here.seq;
            let batch = batch?;
            match batch {
                Batch::More => {
                    source.progressed();
                    quiet_looks = 0;
                    repaired = false;
                    self.show(Activity::CatchingUp, None, here, now.mono_ns, false);
                }
                Batch::Reached(end) => return self.drained(end, here),
                Batch::Ended => return self.drained(here, here),
                Batch::Tail => {
                    self.read_to_the_end();
                    quiet_looks += 1;
                    if self.worker.mode == Mode::Drain && quiet_looks >= LOOKS {
                        return self.drained(here, here);
                    }
                    self.show(Activity::AtTail, None, here, now.mono_ns, false);
                    if repaired && quiet_looks >= LOOKS {
                        self.publish(here, PartEnd::Log)?;
                        repaired = false;
                    } else if !repaired && self.part_is_over(now.wall_ns) && source.settle() == Settled::Done {
                        repaired = true;
                        quiet_looks = 0;
                    }
                    source.wait(Duration::from_millis(5));
                }
                Batch::Blocked(why, true) if self.worker.mode == Mode::Drain => {
                    return self.stuck(here, CompactError::Blocked(why));
                }
                Batch::Blocked(why, _) => self.wait(Activity::AwaitingRepair, why, here, now.mono_ns),
                Batch::Unreachable(err) => {
                    let err = CompactError::step("read the log")(err);
                    if self.worker.mode == Mode::Drain {
                        return self.stuck(here, err);
                    }
                    let why = error_chain(&err);
                    let dir = self.worker.dir();
                    log_repairs::error(&dir, &format!("{why}; this log waits for it, nothing after it is read"));
                    self.wait(Activity::Retrying, why, here, now.mono_ns);
                }
            }
            for passed in source.take_passed_by() {
                tracing::warn!(venue = %self.worker.id, file = %passed.what, why = %passed.why,
                    "a file in the log's directory is not the log's: it is neither read nor deleted");
            }
            self.housekeep(source.position(), now.mono_ns)?;
        }
    }

    /// Waits in front of something that a person has to look at, and shows it.
    fn wait(&mut self, activity: Activity, why: String, here: Position, now_ns: u64) {
        self.show(activity, Some(why), here, now_ns, false);
        std::thread::sleep(OBSTACLE_PAUSE);
    }

    /// A drain cannot get on: what is before the obstacle is published, and the rest is an error.
    fn stuck(&mut self, here: Position, why: CompactError) -> Result<Ended, CompactError> {
        self.publish(here, PartEnd::Log)?;
        Err(why)
    }

    /// A tail that cannot be repaired keeps `/health` red, wherever reading is by now.
    fn report_unrepaired(&mut self, source: &mut impl RecordSource, now_ns: u64) {
        if now_ns.saturating_sub(self.repair_state_ns) < LOG_STATE_NS {
            return;
        }
        self.repair_state_ns = now_ns;
        self.worker.status.conditions().set(Reason::RepairFailing, &self.worker.name(), source.unrepaired());
    }

    /// What the open part knows about gaps, from before a restart.
    fn recall(&mut self) {
        if self.worker.mode == Mode::Follow && self.worker.kind == LogKind::Collected {
            // From now on they are kept.
            self.gatherer.take_reported_gaps();
        }
        let (Some(repair_queue), Some(part)) = (&self.worker.repair_queue, &self.gatherer.part) else { return };
        part.account.repairs.iter().for_each(|r| repair_queue.was_done(r));
        part.account.gaps.iter().filter_map(MissingRange::of).for_each(|h| repair_queue.want(h));
    }

    /// Passes on gaps that stayed open: trades to the repairer, order books to the collector.
    #[cold]
    fn pass_on_gaps(&mut self) {
        let now_us = (clock::wall_ns() / 1_000) as i64;
        for gap in self.gatherer.take_reported_gaps() {
            let symbol = self.gatherer.symbol(gap.symbol);
            match gap.channel {
                Channel::Depth => self.snapshots.want(symbol, gap.before_us, now_us),
                Channel::Trades | Channel::AggTrades if gap.cause != "trades_skipped" => {
                    let Some(repair_queue) = &self.worker.repair_queue else { continue };
                    repair_queue.want(MissingRange {
                        channel: gap.channel,
                        symbol: symbol.to_owned(),
                        from: gap.from,
                        to: gap.to,
                        after_us: gap.after_us,
                        before_us: gap.before_us,
                    });
                }
                _ => {}
            }
        }
    }

    /// The repair log was read to its end: all that was requested is known.
    fn read_to_the_end(&mut self) {
        if self.worker.kind == LogKind::Collected || std::mem::replace(&mut self.was_at_end, true) {
            return;
        }
        let Some(repair_queue) = &self.worker.repair_queue else { return };
        if let Some(part) = &self.gatherer.part {
            part.account.repairs.iter().for_each(|r| repair_queue.was_done(r));
        }
        repair_queue.ready(self.gatherer.fetched_ids().clone());
    }

    /// Looks how tight memory is. What that changes of the files holds for parts that begin from now on.
    fn follow_memory_level(&mut self) {
        let level = self.worker.status.pressure().level();
        if level != self.level {
            self.level = level;
            self.gatherer.set_settings(write_settings_at(&self.worker.cfg.lake, level));
        }
    }

    /// Handles up to `batch_rows` records.
    fn batch<S: RecordSource>(&mut self, source: &mut S, limit: Option<Position>) -> Result<Batch, CompactError> {
        self.follow_memory_level();
        let mut handled = 0_u64;
        let mut ended = Batch::More;
        for _ in 0..self.level.batch_rows(self.worker.cfg.lake.batch_rows) {
            let step = match source.next() {
                Err(err) if err.is_unreachable() => {
                    ended = Batch::Unreachable(err);
                    break;
                }
                step => step.map_err(CompactError::step("read the log"))?,
            };
            match step {
                Step::Record(record) => {
                    if limit.is_some_and(|limit| record.position >= limit) {
                        ended = Batch::Reached(record.position);
                        break;
                    }
                    if std::mem::take(&mut self.check_first)
                        && let Some(lost) = missing_beginning(&record)
                    {
                        let (lake, log) = (self.place.lake.to_string(), self.worker.name());
                        let missing = EvidenceMissing::Beginning { first: record.seq, lake, log };
                        if !self.worker.accept_loss {
                            return Err(missing.into());
                        }
                        tracing::error!(venue = %self.worker.id,
                            "going on because of --accept-loss, the next manifest records the lost range: {missing}");
                        self.gatherer.lost(&lost);
                    }
                    if self.gatherer.ends_before(&record) {
                        self.publish(record.position, PartEnd::Hour)?;
                    }
                    failpoint::hit("session.record");
                    let touched = self.gatherer.record(&record);
                    self.last_ts_recv_ns = record.ts_recv_ns;
                    if let Some(epoch) = self.gatherer.unnamed_run() {
                        self.gatherer.name_run(Run { epoch, incarnation: source.incarnation_of(epoch) });
                    }
                    if self.gatherer.has_reported_gaps() {
                        self.pass_on_gaps();
                    }
                    self.touched |= touched;
                    stage_full(&self.place, &mut self.gatherer, touched)?;
                    handled += 1;
                }
                Step::Lost(lost) => {
                    // Why the log does not begin at its beginning is reported with it.
                    self.check_first = false;
                    tracing::error!(venue = %self.worker.id, segment = lost.segment.0, offset = lost.offset,
                        from = %lost.from, to = %lost.to, exact = lost.exact, reason = lost.reason.as_str(),
                        below_durable = lost.below_durable,
                        "a segment of the log has bytes that are no records; see wal-dump holes, unreadable files are kept in quarantine/");
                    self.gatherer.lost(&lost);
                    handled += 1;
                }
                Step::Tail => {
                    ended = Batch::Tail;
                    break;
                }
                Step::End => {
                    ended = Batch::Ended;
                    break;
                }
                Step::Blocked { why, stuck } => {
                    ended = Batch::Blocked(why, stuck);
                    break;
                }
            }
        }
        self.outcome.records += handled;
        // Records came before the quiet: pauses start short again.
        if handled > 0 && !matches!(ended, Batch::Reached(_) | Batch::Unreachable(_)) {
            return Ok(Batch::More);
        }
        Ok(ended)
    }

    /// The open part is over by the wall clock and no collector is there to say so.
    fn part_is_over(&self, wall_ns: u64) -> bool {
        !self.writer_alive
            && self.log_state_ns != 0
            && self.gatherer.part.as_ref().is_some_and(|p| wall_ns >= p.ends_ns.saturating_add(GRACE_NS))
    }

    fn drained(&mut self, end: Position, here: Position) -> Result<Ended, CompactError> {
        // A range lost at the very end stays unacknowledged until a part can record it.
        self.publish(end, PartEnd::Log)?;
        self.retire();
        self.show(Activity::Stopped, None, here, clock::now().mono_ns, true);
        Ok(Ended::Drained)
    }
}
