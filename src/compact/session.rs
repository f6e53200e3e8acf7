//! One run over a log from a resume position on: read, gather, stage, cut, publish, acknowledge, retire.
//!
//! The order inside a cut and inside a publish is the exactly-once promise; the failpoints stand between its
//! steps. What the wall clock decides (when to cut, when to stage an idle table) never changes a published byte.

use std::time::Duration;

use anyhow::Context;
use wal_format::{AckFile, Position, SegmentId, Step};

use super::Mode;
use super::account::Account;
use super::failpoint::fail_point;
use super::gather::{Gatherer, LogKind, missing_beginning};
use super::publish::{Cut, publish};
use super::resume::remove_staging;
use super::retire::{Keep, consumers, retire};
use super::snapshots::SnapshotRequests;
use super::stage::{Place, remove_older_states, stage_all, stage_full, stage_table, write_state};
use super::status::{Activity, LastPublish};
use super::tail::{Tail, repair_if_free};
use super::worker::{VenueOutcome, Worker, store_ack, write_settings_at};
use crate::clock;
use crate::lake::{Table, WriteSettings};
use crate::memory::{Level, Part};
use crate::repair::desk::Hole;
use crate::venue::Channel;

/// Between two updates of the status, and between two looks at memory and idle tables, ns.
const STATUS_NS: u64 = 100_000_000;
/// Between two looks at the log's own state (lock, segments), ns.
const LOG_STATE_NS: u64 = 1_000_000_000;
/// A dead collector's hour is closed this long after its end, ns: a restart in the same minute finds it open.
const GRACE_NS: u64 = 5_000_000_000;
/// Consecutive looks without a record before a drain believes in the end: the reader asks the directory on
/// the first, second and fourth look.
const DRAIN_LOOKS: u32 = 8;

/// Why a session ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop; everything is staged and acknowledged.
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
    /// In front of a crash tail.
    Await(SegmentId),
    /// The position to which a drain works.
    Reached(Position),
}

/// One run over a log.
pub struct Session<'a> {
    worker: &'a Worker,
    place: Place,
    log_uuid: [u8; 16],
    ack: AckFile,
    gatherer: Gatherer,
    outcome: &'a mut VenueOutcome,
    /// Position of the last ack.
    acked: Position,
    cut_ns: u64,
    status_ns: u64,
    house_ns: u64,
    log_state_ns: u64,
    writer_alive: bool,
    last_ts_recv_ns: u64,
    /// Tables that got rows since the last housekeeping.
    touched: u32,
    /// What this process counted before the open part.
    done: Counts,
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
    /// The first record tells whether the log still begins with its beginning.
    check_first: bool,
    /// The end of the log was seen once.
    was_at_end: bool,
    snapshots: SnapshotRequests,
}

/// Counters shown in the status.
#[derive(Clone, Copy, Default)]
struct Counts {
    records: u64,
    frames: u64,
    payload_bytes: u64,
    decoded: u64,
    control: u64,
    undecodable: u64,
    gaps: u64,
    repeated: u64,
    lost: u64,
    rows: [u64; Table::ALL.len()],
}

impl Counts {
    fn of(a: &Account) -> Self {
        let t = a.totals();
        Self {
            records: a.records,
            frames: a.frames,
            payload_bytes: a.payload_bytes,
            decoded: t.decoded,
            control: t.control,
            undecodable: t.undecodable,
            gaps: a.gap_count,
            repeated: a.repeated,
            lost: a.lost_count,
            rows: std::array::from_fn(|i| Table::ALL.get(i).map_or(0, |t| a.rows_of(*t))),
        }
    }

    fn zip(self, o: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            records: f(self.records, o.records),
            frames: f(self.frames, o.frames),
            payload_bytes: f(self.payload_bytes, o.payload_bytes),
            decoded: f(self.decoded, o.decoded),
            control: f(self.control, o.control),
            undecodable: f(self.undecodable, o.undecodable),
            gaps: f(self.gaps, o.gaps),
            repeated: f(self.repeated, o.repeated),
            lost: f(self.lost, o.lost),
            rows: std::array::from_fn(|i| f(self.rows[i], o.rows[i])),
        }
    }
}

impl<'a> Session<'a> {
    /// A session that goes on at `acked` with `gatherer`.
    pub fn new(
        worker: &'a Worker,
        place: Place,
        log_uuid: [u8; 16],
        ack: AckFile,
        gatherer: Gatherer,
        acked: Position,
        outcome: &'a mut VenueOutcome,
    ) -> Self {
        let venues = worker.cfg.venues.len().max(1) as u64;
        // What a resumed part holds already was counted by an earlier process: start below zero by it.
        let resumed = gatherer.part.as_ref().map_or_else(Counts::default, |p| Counts::of(&p.account));
        let now = clock::now().mono_ns;
        Self {
            place,
            log_uuid,
            ack,
            gatherer,
            outcome,
            acked,
            cut_ns: now,
            status_ns: 0,
            house_ns: 0,
            log_state_ns: 0,
            writer_alive: false,
            last_ts_recv_ns: 0,
            touched: 0,
            done: Counts::default().zip(resumed, u64::wrapping_sub),
            // Half of the limit for rows: encoding and the rest of the process share the other half.
            level: Level::Normal,
            keys_held: worker.status.pressure().part("recent_keys"),
            rows_held: worker.status.pressure().part("row_buffers"),
            publish_held: worker.status.pressure().part("publishing"),
            buffered_bytes_max: (worker.cfg.memory.limit_mib << 20) / 2 / venues,
            open_tables_max: (worker.cfg.lake.max_open_writers as u64 / venues).max(1) as usize,
            check_first: false,
            was_at_end: false,
            snapshots: SnapshotRequests::new(worker.cfg.wal_dir(worker.id)),
            worker,
        }
    }

    /// Works until asked to stop or drained.
    ///
    /// # Errors
    /// Anything; the caller starts over from the last durable state.
    pub fn run(&mut self, from: Position, from_beginning: bool) -> anyhow::Result<Ended> {
        self.check_first = from_beginning;
        self.recall();
        let dir = self.worker.dir();
        let mut tail = Tail::open(&dir, from)?;
        let limit = match self.worker.mode {
            Mode::Follow => None,
            Mode::Drain if repair_if_free(&dir)? => None,
            Mode::Drain => wal_format::control::read(&dir).map(|c| c.committed),
        };
        let mut quiet_looks = 0_u32;
        // The log was repaired since the last record: what it ends with now is its end.
        let mut repaired = false;
        loop {
            let now = clock::now();
            if self.worker.shutdown.requested() {
                self.cut(tail.reader.position())?;
                self.show(Activity::Stopped, None, &tail, now.mono_ns, true);
                return Ok(Ended::Stopped);
            }
            let batch = self.batch(&mut tail, limit)?;
            match batch {
                Batch::More => {
                    tail.progressed();
                    quiet_looks = 0;
                    repaired = false;
                    self.show(Activity::CatchingUp, None, &tail, now.mono_ns, false);
                }
                Batch::Reached(end) => return self.drained(end, &tail),
                Batch::Tail => {
                    self.read_to_the_end();
                    quiet_looks += 1;
                    if self.worker.mode == Mode::Drain && quiet_looks >= DRAIN_LOOKS {
                        return self.drained(tail.reader.position(), &tail);
                    }
                    self.show(Activity::AtTail, None, &tail, now.mono_ns, false);
                    if repaired && quiet_looks >= DRAIN_LOOKS {
                        self.publish(tail.reader.position(), Cut::Log)?;
                        repaired = false;
                    } else if !repaired && self.hour_is_over(now.wall_ns) && repair_if_free(&dir)? {
                        repaired = true;
                        quiet_looks = 0;
                    }
                    tail.pause(Duration::from_millis(5));
                }
                Batch::Await(segment) => match tail.await_repair(segment)? {
                    None => quiet_looks = 0,
                    Some(why) => {
                        self.show(Activity::AwaitingRepair, Some(why), &tail, now.mono_ns, false);
                        tail.pause(Duration::from_millis(5));
                    }
                },
            }
            self.housekeep(tail.reader.position(), now.mono_ns)?;
        }
    }

    /// What the open part knows about holes, from before a restart.
    fn recall(&mut self) {
        if self.worker.mode == Mode::Follow && self.worker.kind == LogKind::Collected {
            // From now on they are kept.
            self.gatherer.take_told();
        }
        let (Some(desk), Some(part)) = (&self.worker.desk, &self.gatherer.part) else { return };
        part.account.repairs.iter().for_each(|r| desk.was_done(r));
        part.account.gaps.iter().filter_map(Hole::of).for_each(|h| desk.want(h));
    }

    /// Holes that stayed open: trades for the repairer, books for the collector.
    #[cold]
    fn holes(&mut self) {
        let now_us = (clock::wall_ns() / 1_000) as i64;
        for hole in self.gatherer.take_told() {
            let symbol = self.gatherer.symbol(hole.symbol);
            match hole.channel {
                Channel::Depth => self.snapshots.want(symbol, hole.before_us, now_us),
                Channel::Trades | Channel::AggTrades if hole.cause != "trades_skipped" => {
                    let Some(desk) = &self.worker.desk else { continue };
                    desk.want(Hole {
                        channel: hole.channel,
                        symbol: symbol.to_owned(),
                        from: hole.from,
                        to: hole.to,
                        after_us: hole.after_us,
                        before_us: hole.before_us,
                    });
                }
                _ => {}
            }
        }
    }

    /// The log of repairs was read to its end: all that was asked for is known.
    fn read_to_the_end(&mut self) {
        if self.worker.kind == LogKind::Collected || std::mem::replace(&mut self.was_at_end, true) {
            return;
        }
        let Some(desk) = &self.worker.desk else { return };
        if let Some(part) = &self.gatherer.part {
            part.account.repairs.iter().for_each(|r| desk.was_done(r));
        }
        desk.ready();
    }

    /// Looks how tight memory is. What that changes of the files holds for parts that begin from now on.
    fn feel(&mut self) {
        let level = self.worker.status.pressure().level();
        if level != self.level {
            self.level = level;
            self.gatherer.set_settings(write_settings_at(&self.worker.cfg, level));
        }
    }

    /// Handles up to `batch_rows` records.
    fn batch(&mut self, tail: &mut Tail, limit: Option<Position>) -> anyhow::Result<Batch> {
        self.feel();
        let mut handled = 0_u64;
        let mut ended = Batch::More;
        for _ in 0..self.level.batch_rows(self.worker.cfg.lake.batch_rows) {
            match tail.reader.next().context("read the log")? {
                Step::Record(record) => {
                    if limit.is_some_and(|limit| record.position >= limit) {
                        ended = Batch::Reached(record.position);
                        break;
                    }
                    if std::mem::take(&mut self.check_first)
                        && let Some(lost) = missing_beginning(&record)
                    {
                        tracing::error!(venue = %self.worker.id, first = %record.seq,
                            "the lake holds nothing of this log, and the log no longer has its first records");
                        self.gatherer.lost(&lost);
                    }
                    if self.gatherer.ends_before(&record) {
                        self.publish(record.position, Cut::Hour)?;
                    }
                    fail_point!("session.record");
                    let touched = self.gatherer.record(&record);
                    if self.gatherer.has_told() {
                        self.holes();
                    }
                    self.last_ts_recv_ns = record.ts_recv_ns;
                    self.touched |= touched;
                    stage_full(&self.place, &mut self.gatherer, touched)?;
                    handled += 1;
                }
                Step::Lost(lost) => {
                    tracing::error!(venue = %self.worker.id, segment = lost.segment.0, offset = lost.offset,
                        from = %lost.from, to = %lost.to, exact = lost.exact, reason = lost.reason.as_str(),
                        "a segment of the log has bytes that are no records; wal-dump holes tells more, unreadable files are kept in quarantine/");
                    self.gatherer.lost(&lost);
                    handled += 1;
                }
                Step::Tail => {
                    ended = Batch::Tail;
                    break;
                }
                Step::AwaitRepair { segment } => {
                    ended = Batch::Await(segment);
                    break;
                }
            }
        }
        self.outcome.records += handled;
        // Records came before the quiet: pauses start short again.
        if handled > 0 && !matches!(ended, Batch::Reached(_)) {
            return Ok(Batch::More);
        }
        Ok(ended)
    }

    /// The open part's hour is over by the wall clock and no collector is there to say so.
    fn hour_is_over(&self, wall_ns: u64) -> bool {
        !self.writer_alive
            && self.log_state_ns != 0
            && self.gatherer.part.as_ref().is_some_and(|p| wall_ns >= p.hour.end_ns().saturating_add(GRACE_NS))
    }

    fn drained(&mut self, end: Position, tail: &Tail) -> anyhow::Result<Ended> {
        // A loss at the very end stays unacknowledged until a part can tell it.
        self.publish(end, Cut::Log)?;
        self.retire();
        self.show(Activity::Stopped, None, tail, clock::now().mono_ns, true);
        Ok(Ended::Drained)
    }

    /// Publishes the open part, if there is one, and everything that follows from that.
    fn publish(&mut self, end: Position, cut: Cut) -> anyhow::Result<()> {
        let Some(open) = self.gatherer.part.as_ref() else { return Ok(()) };
        let counts = Counts::of(&open.account);
        let hour = open.hour;
        self.worker.update(|s| s.activity = Activity::Publishing);
        self.publish_held.set(publish_bytes(&open.settings));
        let done = publish(&self.place, &mut self.gatherer, end, cut).with_context(|| format!("publish hour {hour}"));
        self.publish_held.set(0);
        let Some(published) = done? else { return Ok(()) };
        if self.gatherer.has_told() {
            self.holes();
        }
        if let Some(desk) = &self.worker.desk {
            published.manifest.repairs.iter().for_each(|r| desk.was_done(r));
        }
        self.acknowledge(end, &format!("published {hour}"))?;
        fail_point!("publish.after_ack");
        remove_staging(&self.place, &published.part)?;
        fail_point!("publish.after_staging_removed");
        self.retire();
        fail_point!("publish.after_retire");
        self.done = self.done.zip(counts, u64::wrapping_add);
        self.cut_ns = clock::now().mono_ns;
        self.outcome.parts += 1;
        self.outcome.rows += published.rows();
        let last = LastPublish {
            hour: hour.to_string(),
            part: format!("{}-{:016x}", published.part.log8, published.part.first_seq),
            files: published.manifest.files.len() as u64,
            rows: published.rows(),
            bytes: published.bytes(),
            at_ns: clock::wall_ns(),
        };
        tracing::info!(venue = %self.worker.id, hour = %hour, rows = last.rows, bytes = last.bytes, files = last.files,
            "published");
        self.worker.update(|s| {
            s.parts_published += 1;
            s.files_published += last.files;
            s.last_publish = Some(last);
        });
        Ok(())
    }

    /// Makes everything up to `position` durable and acknowledges it.
    fn cut(&mut self, position: Position) -> anyhow::Result<()> {
        self.cut_ns = clock::now().mono_ns;
        if self.gatherer.part.is_none() || position == self.acked {
            return Ok(());
        }
        fail_point!("cut.before_pieces");
        stage_all(&self.place, &mut self.gatherer)?;
        fail_point!("cut.before_state");
        write_state(&self.place, &mut self.gatherer, position)?;
        fail_point!("cut.after_state");
        self.acknowledge(position, "staged")?;
        fail_point!("cut.after_ack");
        if let Some(part) = &self.gatherer.part {
            remove_older_states(&self.place, part, position)?;
        }
        fail_point!("cut.after_old_states_removed");
        self.retire();
        fail_point!("cut.after_retire");
        Ok(())
    }

    fn acknowledge(&mut self, position: Position, note: &str) -> anyhow::Result<()> {
        if position == self.acked {
            return Ok(());
        }
        store_ack(&mut self.ack, self.log_uuid, position, note)?;
        self.acked = position;
        self.worker.update(|s| {
            s.acked = Some(show_position(position));
            s.acked_at_ns = clock::wall_ns();
        });
        Ok(())
    }

    /// Deletes what may go. A failure is told and tried again at the next ack: nothing depends on it.
    fn retire(&mut self) {
        let lost_from = self.gatherer.part.as_ref().and_then(|p| p.account.lost.iter().map(|l| l.segment).min());
        let keep = Keep {
            retention_hours: self.worker.cfg.wal.retention_hours,
            now_ns: clock::wall_ns(),
            lost_from: lost_from.map(SegmentId),
        };
        let required = consumers(&self.worker.cfg, self.worker.id);
        match retire(&self.worker.cfg, &self.worker.dir(), required, keep, self.worker.archiver.as_deref()) {
            Ok(0) => {}
            Ok(n) => {
                self.outcome.segments_retired += n as u64;
                self.worker.update(|s| s.segments_retired += n as u64);
                tracing::info!(venue = %self.worker.id, segments = n, "retired");
            }
            Err(err) => {
                tracing::warn!(venue = %self.worker.id, error = %format!("{err:#}"), "cannot retire segments");
            }
        }
    }

    /// What the clock and the memory bound ask for.
    fn housekeep(&mut self, position: Position, now_ns: u64) -> anyhow::Result<()> {
        let lake = &self.worker.cfg.lake;
        let touched = std::mem::take(&mut self.touched);
        let Some(part) = self.gatherer.part.as_mut() else { return Ok(()) };
        let mut left = touched;
        while left != 0 {
            if let Some(t) = part.tables.get_mut(left.trailing_zeros() as usize) {
                t.touched_ns = now_ns;
            }
            left &= left - 1;
        }
        if now_ns.saturating_sub(self.cut_ns) >= lake.ack_interval_s.saturating_mul(1_000_000_000) {
            return self.cut(position);
        }
        if now_ns.saturating_sub(self.house_ns) < STATUS_NS {
            return Ok(());
        }
        self.house_ns = now_ns;
        if part.buffered().1 > self.level.buffered_bytes(self.buffered_bytes_max) {
            tracing::debug!(venue = %self.worker.id, "staging early: the rows in memory reached their bound");
            if self.level > Level::Normal {
                self.worker.status.pressure().shed("rows_staged_early");
            }
            return self.cut(position);
        }
        let idle_ns = self.level.idle_stage_s(lake.idle_stage_s).saturating_mul(1_000_000_000);
        let mut open: Vec<(u64, Table)> = Table::ALL
            .iter()
            .zip(&part.tables)
            .filter(|(_, t)| t.buffered() > 0)
            .map(|(table, t)| (t.touched_ns, *table))
            .collect();
        open.sort_unstable();
        let over = open.len().saturating_sub(self.open_tables_max);
        for (i, (touched_ns, table)) in open.into_iter().enumerate() {
            if i < over || now_ns.saturating_sub(touched_ns) >= idle_ns {
                stage_table(&self.place, &mut self.gatherer, table)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, activity: Activity, reason: Option<String>, tail: &Tail, now_ns: u64, force: bool) {
        if !force && now_ns.saturating_sub(self.status_ns) < STATUS_NS {
            return;
        }
        self.status_ns = now_ns;
        let mut segments = None;
        let mut lag_bytes = None;
        let position = tail.reader.position();
        let due = force || self.log_state_ns == 0 || now_ns.saturating_sub(self.log_state_ns) >= LOG_STATE_NS;
        if due && let Ok(state) = wal_format::log_state(&self.worker.dir()) {
            self.log_state_ns = now_ns;
            self.writer_alive = state.writer_alive;
            segments = Some(state.segments.len() as u64);
            lag_bytes = wal_format::control::read(&self.worker.dir())
                .map(|c| wal_format::bytes_between(&state.segments, position, c.committed));
        }
        let part = self.gatherer.part.as_ref();
        let counts = part.map_or(self.done, |p| self.done.zip(Counts::of(&p.account), u64::wrapping_add));
        let (rows, bytes) = part.map_or((0, 0), |p| p.buffered());
        self.rows_held.set(bytes);
        self.keys_held.set(self.gatherer.recent_keys_bytes());
        let lag_ms = match activity {
            Activity::AtTail | Activity::Stopped => 0,
            _ => clock::wall_ns().saturating_sub(self.last_ts_recv_ns) / 1_000_000,
        };
        let repairs = self.worker.desk.as_ref().filter(|_| self.worker.kind == LogKind::Collected).map(|d| d.counts());
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

/// What joining one table holds at most: two row groups of rows and their pages ([`crate::lake::join_pieces`]).
fn publish_bytes(settings: &WriteSettings) -> u64 {
    const ROW_BYTES: u64 = 120;
    settings.row_group_rows as u64 * ROW_BYTES * 2
}

fn show_position(p: Position) -> String {
    format!("{}@{} {}", p.segment, p.offset, p.seq)
}
