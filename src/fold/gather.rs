//! Records to rows: the fold that every part of the lake is.
//!
//! ```text
//!  record --> hour? --> decode --> came before? --> table buffers --(full group)--> staged pieces
//!                                     +--> account, payload hash, id ledger
//! ```
//!
//! [`Gatherer`] is everything the rows of a log depend on besides the log: it is a fold over records, knows no
//! files and no clock, and gives the same rows whatever the restarts in between. What it must remember beyond a
//! part is its [`Continuation`].

use serde::{Deserialize, Serialize};
use serde_json::json;
use wal_format::{Kind, LostRange, LostReason, RecordRef, Run, SegmentId, Seq, record};

use super::decode::{FrameDecoder, Undecodable, Verdict, encoding_of};
use super::dedupe::{Carrier, Dedupe, FetchedIds, SavedDedupe};
use super::hour::{HourClock, part_end_ns};
use super::ids::{IdGap, IdLedger, SavedIds};
use super::part::OpenPart;
use super::records::{clock_step, epoch_detail, event_kind, repair, silent};
use super::route;
use lake::manifest::IdRange;
use lake::table::{Event, FrameRow, Listed};
use lake::{Common, Hour, Numeric, PartManifest, Table, WriteSettings, flags};
use model::record::{UNSUBSCRIBED_EVENT, is_planned_close, parse_unsubscribed};
use model::row::{Drift, Rejects};
use model::{Channel, UnknownName};
use venue::Venue;

/// What has to be remembered from one part to the next. Part of the manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Continuation {
    /// Hour of the last record.
    pub hour: Option<i64>,
    /// Wall minus monotonic time of the last clock record of the running epoch, ns.
    pub clock_offset_ns: Option<i64>,
    /// The ids seen last.
    pub ids: SavedIds,
    /// Open connections, and recent keys while two of them carry the same streams.
    #[serde(default)]
    pub dedupe: SavedDedupe,
    /// SHA-256 of the manifest published last, lower-case hex; in a manifest that is the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_sha256: Option<String>,
    /// Why nothing is remembered that was known before; the next part reports it as an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<String>,
}

/// How often a part was published again, and instead of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// 0 = as it was published first.
    pub number: u32,
    /// SHA-256 of the manifests it replaces, the newest first.
    pub supersedes: Vec<String>,
}

impl Revision {
    /// That of a published part.
    pub fn of(manifest: &PartManifest) -> Self {
        Self { number: manifest.revision, supersedes: manifest.supersedes.clone() }
    }

    /// The one after that of `manifest`, whose bytes have this SHA-256.
    pub fn after(manifest: &PartManifest, sha256: &str) -> Self {
        let mut supersedes = vec![sha256.to_owned()];
        supersedes.extend_from_slice(&manifest.supersedes);
        Self { number: manifest.revision + 1, supersedes }
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    /// What a collector heard.
    #[default]
    Collected,
    /// What a repairer fetched for gaps of it: ids here and there, no order, no gaps of its own.
    Repairs,
}

/// Folds the records of one log into parts.
pub struct Gatherer {
    kind: LogKind,
    decoder: FrameDecoder,
    ids: IdLedger,
    dedupe: Dedupe,
    hours: HourClock,
    clock_offset_ns: Option<i64>,
    settings: WriteSettings,
    /// Lost ranges met while no part was open: they belong to the next one.
    lost_before: Vec<LostRange>,
    /// Rows of the record in work that stay although a row with their id is there.
    again: Vec<(Table, String)>,
    /// Symbols at which the interner is made again: those that came and went are left out then.
    symbols_max: usize,
    /// Gaps reported since the last [`Gatherer::take_reported_gaps`]; `None` before the first call.
    reported: Option<Vec<IdGap>>,
    /// SHA-256 of the manifest published last.
    previous_sha256: Option<String>,
    /// Why nothing is remembered, until that is reported.
    forgotten: Option<String>,
    /// That of the open part.
    revision: Revision,
    /// The run that the last record was of.
    run: Option<Run>,
    /// The run that nobody has named yet ([`Gatherer::unnamed_run`]).
    unnamed: Option<u32>,
    /// The part being gathered, if any.
    pub part: Option<OpenPart>,
}

/// Gaps kept for [`Gatherer::take_reported_gaps`]; those beyond it are only in the manifest.
const REPORTED_MAX: usize = 10_000;
/// Texts that the interner may hold in any case.
const SYMBOLS_MIN: usize = 10_000;
/// Lost ranges kept until a part begins that can report them; further ones widen the last one.
const LOST_BEFORE_MAX: usize = 1_000;

impl Gatherer {
    /// Starts after `continuation`; `settings` are those of parts that begin from now on.
    ///
    /// # Errors
    /// When the continuation names a channel this version does not know.
    pub fn new(
        venue: &'static Venue,
        kind: LogKind,
        settings: WriteSettings,
        continuation: &Continuation,
    ) -> Result<Self, UnknownName> {
        let mut decoder = FrameDecoder::new(venue);
        let repairs = kind == LogKind::Repairs;
        let hour = continuation.hour.unwrap_or_default();
        let ids = IdLedger::load(venue, &continuation.ids, &mut decoder.rows.symbols, repairs, hour)?;
        let mut dedupe = Dedupe::load(&continuation.dedupe, &mut decoder.rows.symbols);
        if repairs {
            dedupe = dedupe.of_repairs();
        }
        Ok(Self {
            symbols_max: (2 * decoder.rows.symbols.len()).max(SYMBOLS_MIN),
            kind,
            decoder,
            ids,
            dedupe,
            again: Vec::new(),
            reported: None,
            hours: HourClock::after(continuation.hour.map(Hour)),
            clock_offset_ns: continuation.clock_offset_ns,
            settings,
            lost_before: Vec::new(),
            previous_sha256: continuation.previous_sha256.clone(),
            forgotten: continuation.forgotten.clone(),
            revision: Revision::default(),
            run: None,
            unnamed: None,
            part: None,
        })
    }

    /// Memory held by the recent keys of streams that come over two connections, bytes.
    pub fn recent_keys_bytes(&self) -> u64 {
        self.dedupe.bytes()
    }

    /// What a later run needs to go on from here.
    pub fn continuation(&self) -> Continuation {
        Continuation {
            hour: self.hours.hour().map(|h| h.0),
            clock_offset_ns: self.clock_offset_ns,
            ids: self.ids.save(&self.decoder.rows.symbols),
            dedupe: self.dedupe.save(&self.decoder.rows.symbols),
            previous_sha256: self.previous_sha256.clone(),
            forgotten: self.forgotten.clone(),
        }
    }

    /// What a repair log holds of the gap in work.
    pub fn fetched_ids(&self) -> &FetchedIds {
        self.dedupe.fetched_ids()
    }

    /// True when [`Gatherer::take_reported_gaps`] has something.
    #[inline]
    pub fn has_reported_gaps(&self) -> bool {
        self.reported.as_ref().is_some_and(|gaps| !gaps.is_empty())
    }

    /// The gaps reported since the last call, which stayed open; from the first call on they are kept for the next.
    pub fn take_reported_gaps(&mut self) -> Vec<IdGap> {
        self.reported.replace(Vec::new()).unwrap_or_default()
    }

    /// The name of an interned symbol.
    pub fn symbol(&self, id: model::SymbolId) -> &str {
        self.decoder.rows.symbols.name(id)
    }

    /// Reports what waited: the log ends here.
    pub fn finish(&mut self) {
        let Some(part) = self.part.as_ref() else { return };
        let common = Common {
            ts_recv_ns: part.account.last_ts_recv_ns as i64,
            seq: part.account.last_seq as i64,
            conn: 0,
            flags: 0,
        };
        self.settle(&common, true);
    }

    #[cold]
    fn settle(&mut self, common: &Common, all: bool) -> u32 {
        let gaps = self.ids.settle(self.dedupe.now_ns(), all, &self.decoder.rows.symbols);
        let Some(part) = self.part.as_mut().filter(|_| !gaps.is_empty()) else { return 0 };
        route::report_gaps(common, &gaps, &self.decoder.rows.symbols, part);
        if let Some(reported) = self.reported.as_mut().filter(|gaps| gaps.len() < REPORTED_MAX) {
            reported.extend(gaps);
        }
        1 << Table::Events as u32
    }

    /// The interner of all buffered rows, the id ledger and the drift noted in the open part.
    pub fn decoder(&mut self) -> &mut FrameDecoder {
        &mut self.decoder
    }

    /// First and last ids of the open part.
    pub fn id_ranges(&self) -> Vec<IdRange> {
        self.ids.ranges(&self.decoder.rows.symbols)
    }

    /// Puts saved ids of the open part back.
    pub fn load_id_ranges(&mut self, ranges: &[IdRange]) {
        self.ids.load_ranges(ranges, &mut self.decoder.rows.symbols);
    }

    /// The open part and the interner its rows refer to.
    pub fn part_and_symbols(&mut self) -> Option<(&mut OpenPart, &model::Interner)> {
        self.part.as_mut().map(|p| (p, &self.decoder.rows.symbols))
    }

    /// Settings of parts that begin from now on.
    pub fn set_settings(&mut self, settings: WriteSettings) {
        self.settings = settings;
    }

    /// The hour of `record`, which is the next one.
    pub fn hour_of(&self, record: &RecordRef<'_>) -> Hour {
        self.hours.hour_of(record.ts_recv_ns)
    }

    /// True when `record` opens the next part: the open one has to be closed before [`Gatherer::record`].
    #[inline]
    pub fn ends_before(&self, record: &RecordRef<'_>) -> bool {
        self.part.as_ref().is_some_and(|p| record.ts_recv_ns >= p.ends_ns)
    }

    /// The part closed last was published with the manifest of this SHA-256: the next one is chained to it.
    pub fn chain_to(&mut self, manifest_sha256: String) {
        self.previous_sha256 = Some(manifest_sha256);
    }

    /// The epoch of the record just taken, if it is the first one of its run that is seen here: before anything else
    /// [`Gatherer::name_run`] has to be given which run that is.
    #[inline]
    pub fn unnamed_run(&self) -> Option<u32> {
        self.unnamed
    }

    /// Names the run of the record just taken.
    #[cold]
    pub fn name_run(&mut self, run: Run) {
        (self.run, self.unnamed) = (Some(run), None);
        if let Some(part) = &mut self.part {
            part.enter(run);
        }
    }

    /// The open part, or the next one, is published again.
    pub fn revise(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// The revision of the open part.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Forgets the open part: it is published.
    pub fn close(&mut self) {
        self.revision = Revision::default();
        self.part = None;
        self.ids.new_part();
        self.decoder.rows.drift = Drift::default();
    }

    /// Between two parts: texts of symbols that came and went are no longer held.
    #[cold]
    fn renew_symbols(&mut self) {
        let continuation = self.continuation();
        let venue = self.decoder.venue();
        // What was just saved names nothing that this version does not know.
        if let Ok(renewed) = Self::new(venue, self.kind, self.settings.clone(), &continuation) {
            self.symbols_max = renewed.symbols_max;
            (self.decoder, self.ids, self.dedupe) = (renewed.decoder, renewed.ids, renewed.dedupe);
        }
    }

    /// A range of the log that cannot be read.
    pub fn lost(&mut self, lost: &LostRange) {
        self.ids.disturbed(lost.from.0);
        // An epoch whose end is missing says nothing about the clock of the next one.
        match &mut self.part {
            Some(part) => note_lost(part, lost),
            None if self.lost_before.len() < LOST_BEFORE_MAX => self.lost_before.push(*lost),
            None => {
                if let Some(last) = self.lost_before.last_mut() {
                    (last.to, last.exact) = (last.to.max(lost.to), false);
                    last.bytes = last.bytes.saturating_add(lost.bytes);
                }
            }
        }
    }

    /// Takes the next record. Returns a bit per table (`1 << table`) that got rows.
    pub fn record(&mut self, record: &RecordRef<'_>) -> u32 {
        let hour = self.hours.hour_of(record.ts_recv_ns);
        self.hours.advance(hour);
        if self.part.is_none() {
            if self.decoder.rows.symbols.len() > self.symbols_max && !self.has_reported_gaps() {
                self.renew_symbols();
            }
            let ends_ns = part_end_ns(hour, record.ts_recv_ns, self.settings.part_minutes);
            let mut part = OpenPart::new(hour, record.position, ends_ns, self.settings.clone());
            part.account.last_ts_recv_ns = record.ts_recv_ns;
            part.runs.extend(self.run.filter(|run| run.epoch == record.seq.epoch()));
            for lost in self.lost_before.drain(..) {
                note_lost(&mut part, &lost);
            }
            self.part = Some(part);
        }
        if self.run.is_none_or(|run| run.epoch != record.seq.epoch()) {
            self.unnamed = Some(record.seq.epoch());
        }
        self.dedupe.record(record.ts_recv_ns);
        self.ids.enter(hour.0);
        let mut common = Common {
            ts_recv_ns: record.ts_recv_ns as i64,
            seq: record.seq.0 as i64,
            conn: record.conn as i32,
            flags: 0,
        };
        let mut reported =
            if self.ids.is_due(self.dedupe.now_ns()) { self.settle(&Common { conn: 0, ..common }, false) } else { 0 };
        if self.forgotten.is_some() {
            reported |= self.report_forgotten(&common);
        }
        if self.ids.has_news() {
            reported |= self.report_news(&Common { conn: 0, ..common });
        }
        let Some(part) = self.part.as_mut() else { return 0 };
        part.account.record(record.kind_raw, record.seq.0, record.ts_recv_ns);
        let is_close = record.kind() == Some(Kind::ConnClose);
        part.account.planned_closes += u64::from(is_close && is_planned_close(record.payload));
        let touched = match record.kind() {
            Some(Kind::Data | Kind::Rest) => {
                part.account.frames += 1;
                part.account.payload_bytes += record.payload.len() as u64;
                part.hash.update(record.payload);
                if record.flags & record::flags::SECOND_LINE != 0 {
                    common.flags |= flags::SECOND_LINE;
                }
                let line = u8::from(common.flags & flags::SECOND_LINE != 0);
                let from = (record.kind() == Some(Kind::Data)).then_some(Carrier { conn: record.conn, line });
                match self.decoder.decode(record) {
                    Verdict::Rows(channel) => {
                        if part.settings.numeric == Numeric::Decimal {
                            self.decoder.rows.drop_decimal_overflow();
                        }
                        part.account.decoded(channel);
                        if !self.decoder.rows.rejects.is_empty() {
                            reported |= in_part(part, &common, record, &self.decoder.rows.rejects, Some(channel));
                            // A body that was fetched explains no id that is missing later.
                            if from.is_some() {
                                self.ids.unread(Some(channel), &self.decoder.rows.rejects.symbols, record.seq.0);
                            }
                        }
                        if self.decoder.backfilled {
                            common.flags |= flags::BACKFILLED;
                        }
                        let (rows, again) = (&self.decoder.rows, &mut self.again);
                        route::frame(&common, from, rows, &mut self.ids, &mut self.dedupe, part, again)
                    }
                    Verdict::Symbols => {
                        part.account.listing();
                        if !self.decoder.rows.rejects.is_empty() {
                            reported |= in_part(part, &common, record, &self.decoder.rows.rejects, None);
                        }
                        listing(part, &common, &mut self.decoder.rows)
                    }
                    Verdict::Control => {
                        part.account.control();
                        0
                    }
                    Verdict::Undecodable(why) => {
                        if record.kind() == Some(Kind::Data) {
                            self.ids.unread(why.channel.parse().ok(), &[why.symbol], record.seq.0);
                        }
                        undecodable(part, &common, record, &why)
                    }
                }
            }
            Some(kind) => self.other(kind, record, &common),
            None => 0,
        };
        if self.ids.has_news() || !self.again.is_empty() {
            reported |= self.report_news(&Common { conn: 0, flags: 0, ..common });
        }
        touched | reported
    }

    /// Ids and connections are those of a log that begins: whoever reads the rows has to know.
    #[cold]
    fn report_forgotten(&mut self, common: &Common) -> u32 {
        let (Some(cause), Some(part)) = (self.forgotten.take(), self.part.as_mut()) else { return 0 };
        let detail =
            json!({ "cause": cause, "note": "ids begin anew; a gap or a repeat across this point is not seen" });
        let common = Common { conn: 0, ..*common };
        let detail = detail.to_string();
        part.event(&common, &Event { symbol: None, ts_event_us: None, kind: "continuation_lost", detail: &detail });
        1 << Table::Events as u32
    }

    /// What ids and contents said of the record, besides gaps.
    #[cold]
    fn report_news(&mut self, common: &Common) -> u32 {
        let Self { ids, decoder, part, again, .. } = self;
        let news = ids.take_news(&decoder.rows.symbols);
        let Some(part) = part.as_mut() else { return 0 };
        let rows = &mut decoder.rows;
        let drift = &mut rows.drift;
        route::report_news(common, &news, &rows.symbols, part, &mut |channel, sample| {
            drift.note(&format!("id far from those before: {channel}"), sample.as_bytes());
        });
        for (table, symbol) in again.drain(..) {
            drift.note(&format!("same id, not the same row: {table}"), symbol.as_bytes());
        }
        1 << Table::Events as u32
    }

    #[cold]
    fn other(&mut self, kind: Kind, record: &RecordRef<'_>, common: &Common) -> u32 {
        let Some(part) = self.part.as_mut() else { return 0 };
        let text = || String::from_utf8_lossy(record.payload).into_owned();
        let mut symbol = None;
        let (kind, detail) = match kind {
            Kind::ConnOpen => {
                self.dedupe.opened(record.conn, record.payload);
                ("connect".to_owned(), text())
            }
            Kind::ConnClose => {
                self.dedupe.closed(record.conn);
                self.ids.disturbed(record.seq.0);
                ("disconnect".to_owned(), text())
            }
            Kind::Subscribe => {
                self.dedupe.subscribed(record.conn);
                ("subscribe".to_owned(), text())
            }
            Kind::Gap => {
                self.ids.disturbed(record.seq.0);
                ("gap".to_owned(), text())
            }
            Kind::Event => {
                let (kind, detail) = event_kind(record.payload);
                match kind.as_str() {
                    UNSUBSCRIBED_EVENT => {
                        for (channel, symbol) in parse_unsubscribed(record.payload) {
                            self.ids.forget(&symbol, channel);
                        }
                    }
                    "stream_silent" => silent(&mut self.decoder.rows.drift, &detail),
                    "repaired" | "unrepaired" => {
                        if let Some(repair) = repair(&detail) {
                            symbol = Some(self.decoder.rows.symbols.intern(&repair.symbol));
                            if self.dedupe.repaired(&repair) {
                                part.account.repaired(repair);
                            }
                        }
                    }
                    _ => {}
                }
                (kind, detail)
            }
            Kind::EpochStart => {
                self.dedupe.restart();
                self.ids.disturbed(record.seq.0);
                self.clock_offset_ns = None;
                ("epoch".to_owned(), epoch_detail(record))
            }
            Kind::Clock => match clock_step(&mut self.clock_offset_ns, record.payload) {
                Some(step_ns) => ("clock".to_owned(), json!({ "step_ns": step_ns }).to_string()),
                None => return 0,
            },
            Kind::Data | Kind::Rest | Kind::Sync | Kind::Hole | Kind::Seal => return 0,
        };
        part.event(common, &Event { symbol, ts_event_us: None, kind: &kind, detail: &detail });
        1 << Table::Events as u32
    }
}

/// The first record a fresh lake meets: what is missing before it, if it is not the log's first.
pub fn missing_beginning(record: &RecordRef<'_>) -> Option<LostRange> {
    // A run that could not make its first segment, or was killed before it had one, leaves behind an epoch and at
    // most one segment id; one that recorded had prepared the next segment too, and has used more ids than epochs.
    let first_of_all = record.position.segment.0 <= u64::from(record.seq.epoch());
    if record.seq.counter() == 0 && (record.seq.epoch() <= 1 || first_of_all) {
        return None;
    }
    Some(LostRange {
        from: Seq(0),
        to: Seq(record.seq.0.saturating_sub(1)),
        exact: false,
        segment: SegmentId(0),
        offset: 0,
        bytes: 0,
        reason: LostReason::MissingSegment,
        below_durable: false,
    })
}

/// The row that reports a lost range is at the first lost seq.
fn note_lost(part: &mut OpenPart, lost: &LostRange) {
    part.account.lost(lost);
    let common = Common {
        ts_recv_ns: part.account.last_ts_recv_ns as i64,
        seq: lost.from.0 as i64,
        conn: 0,
        flags: flags::GAP_BEFORE,
    };
    let mut detail = json!({
        "cause": "log", "reason": lost.reason.as_str(), "from_seq": lost.from.0, "to_seq": lost.to.0,
        "exact": lost.exact, "segment": lost.segment.0, "offset": lost.offset, "bytes": lost.bytes,
    });
    if lost.below_durable {
        detail["below_durable"] = true.into();
    }
    let detail = detail.to_string();
    part.event(&common, &Event { symbol: None, ts_event_us: None, kind: "gap", detail: &detail });
}

#[cold]
fn listing(part: &mut OpenPart, common: &Common, rows: &mut model::Rows) -> u32 {
    let buffer = part.buffer(Table::Symbols);
    for (row, symbol) in (0_i32..).zip(&rows.listings) {
        let id = rows.symbols.intern(&symbol.name);
        buffer.push(common, row, &Listed { symbol: id, entry: symbol });
    }
    part.account.rows(Table::Symbols, rows.listings.len() as u64);
    1 << Table::Symbols as u32
}

/// A frame that is rows, and a row of `frames` because of what of it is not.
#[cold]
fn in_part(part: &mut OpenPart, common: &Common, frame: &RecordRef<'_>, of: &Rejects, channel: Option<Channel>) -> u32 {
    part.account.in_part(channel);
    let payload = match (of.kept.as_bytes(), frame.rest()) {
        ([], Some(rest)) => rest.body,
        ([], None) => frame.payload,
        (kept, _) => kept,
    };
    let row = FrameRow {
        symbol: if let [symbol] = of.symbols[..] { symbol } else { None },
        channel: Some(channel.map_or("symbols", Channel::as_str)),
        encoding: encoding_of(frame),
        payload,
        reason: &of.reason(),
    };
    part.buffer(Table::Frames).push(common, 0, &row);
    part.account.rows(Table::Frames, 1);
    1 << Table::Frames as u32
}

#[cold]
fn undecodable(part: &mut OpenPart, common: &Common, record: &RecordRef<'_>, why: &Undecodable) -> u32 {
    part.account.undecodable(&why.channel);
    let channel = (why.channel != "unknown").then_some(why.channel.as_str());
    let payload = match record.rest() {
        Some(rest) => rest.body,
        None => record.payload,
    };
    part.buffer(Table::Frames).push(
        common,
        0,
        &FrameRow { symbol: why.symbol, channel, encoding: why.encoding, payload, reason: &why.reason },
    );
    part.account.rows(Table::Frames, 1);
    1 << Table::Frames as u32
}
