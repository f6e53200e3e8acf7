//! The ledger of one part: what was in the log range and what became of it.
//!
//! Counting happens per record in plain integers; the maps with names are made when a checkpoint or a manifest needs
//! them. [`Account::check`] asserts the identities that make "every frame is accounted for" more than a wish.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wal_format::{Kind, LostRange};

use lake::Table;
use lake::manifest::{ClockError, FrameCounts, Gap, Line, LostRecords, Repair};
use model::Channel;

/// Gaps and lost ranges written out one by one; beyond it they are only counted (as drift), so that a broken feed
/// cannot grow a manifest without bound.
pub const LISTED_MAX: usize = 100_000;

/// Index of listings among the frame counts, after the channels.
const SYMBOLS: usize = Channel::ALL.len();
/// Index of frames of no known channel.
const OTHER: usize = SYMBOLS + 1;
/// Number of frame counts.
const FRAME_COUNTS: usize = OTHER + 1;

/// Receive time minus event time over the rows that have both, µs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    count: u64,
    min_us: i64,
    max_us: i64,
    sum_us: i64,
    /// Rows by [`step_of`] their delay; as long as it needs to be.
    #[serde(default)]
    steps: Vec<u64>,
}

/// The step of a delay: 0 for 0 and below, then four of equal width to each power of two.
#[inline]
fn step_of(us: i64) -> usize {
    match u64::try_from(us) {
        Ok(us @ 1..) if us < 4 => us as usize,
        Ok(us @ 4..) => {
            let power = us.ilog2() as usize;
            (power - 1) * 4 + (us >> (power - 2)) as usize % 4
        }
        _ => 0,
    }
}

/// The largest delay of a step, µs.
fn end_of_step(step: usize) -> i64 {
    match step {
        0..4 => step as i64,
        _ => {
            let (power, quarter) = (step / 4 + 1, step as i64 % 4);
            ((5 + quarter) << (power - 2)) - 1
        }
    }
}

impl Delay {
    /// Counts one row.
    #[inline]
    pub fn add(&mut self, ts_recv_us: i64, ts_event_us: Option<i64>) {
        let Some(event) = ts_event_us else { return };
        let us = ts_recv_us.saturating_sub(event);
        if self.count == 0 {
            (self.min_us, self.max_us) = (us, us);
        }
        self.count += 1;
        self.min_us = self.min_us.min(us);
        self.max_us = self.max_us.max(us);
        self.sum_us = self.sum_us.saturating_add(us);
        let step = step_of(us);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, 0);
        }
        if let Some(n) = self.steps.get_mut(step) {
            *n += 1;
        }
    }

    /// As the manifest states it.
    pub fn clock_error(&self) -> ClockError {
        ClockError {
            count: self.count,
            min_us: self.min_us,
            max_us: self.max_us,
            mean_us: if self.count == 0 { 0 } else { self.sum_us.div_euclid(self.count as i64) },
            sum_us: self.sum_us,
            steps: self.steps.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (end_of_step(i), *n)).collect(),
        }
    }
}

/// Everything counted in one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Records of all kinds.
    pub records: u64,
    /// Records by kind byte.
    kinds: Vec<u64>,
    /// Connections that ended as planned.
    #[serde(default)]
    pub planned_closes: u64,
    /// Data and Rest records.
    pub frames: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// What became of frames: by channel in the order of [`Channel::ALL`], then listings, then all others.
    channels: [FrameCounts; FRAME_COUNTS],
    /// By table, in the order of [`Table::ALL`].
    rows: [u64; Table::ALL.len()],
    /// Rows that were removed because they were there already.
    pub repeated: u64,
    /// Of them by table, in the order of [`Table::ALL`].
    duplicates: [u64; Table::ALL.len()],
    /// Keys of rows that were forgotten before their time, for want of room: the rows may be there twice.
    #[serde(default)]
    pub evicted_keys: u64,
    /// What the lines brought.
    pub lines: LineCounts,
    /// Gaps in ids, all of them.
    pub gap_count: u64,
    /// The first [`LISTED_MAX`] of them.
    pub gaps: Vec<Gap>,
    /// Gaps requested over REST; the first [`LISTED_MAX`] of them.
    pub repairs: Vec<Repair>,
    /// Unreadable ranges, all of them.
    pub lost_count: u64,
    /// The first [`LISTED_MAX`] of them.
    pub lost: Vec<LostRecords>,
    /// Venue clock against ours.
    pub delay: Delay,
    /// Receive time of the last record, ns.
    pub last_ts_recv_ns: u64,
    /// Its seq.
    pub last_seq: u64,
}

/// What each of two lines brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts([LineCount; 2]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LineCount {
    frames: u64,
    first: u64,
    ahead: u64,
    ahead_ns: u64,
}

impl LineCounts {
    /// A frame with rows came over `line`; `first`: at least one of them was new.
    #[inline]
    pub fn frame(&mut self, line: u8, first: bool) {
        let count = &mut self.0[usize::from(line > 0)];
        count.frames += 1;
        count.first += u64::from(first);
    }

    /// A row came `by_ns` later than over `line`.
    pub(crate) fn advantage(&mut self, line: u8, by_ns: u64) {
        let count = &mut self.0[usize::from(line > 0)];
        count.ahead += 1;
        count.ahead_ns = count.ahead_ns.saturating_add(by_ns);
    }

    /// As the manifest states it: up to the last line that brought a frame.
    pub fn lines(&self) -> Vec<Line> {
        let used = self.0.iter().rposition(|c| c.frames > 0).map_or(0, |i| i + 1);
        let line = |c: &LineCount| Line {
            frames: c.frames,
            first: c.first,
            ahead: c.ahead,
            advantage_us: c.ahead_ns.checked_div(c.ahead).unwrap_or(0) / 1_000,
        };
        self.0.iter().take(used).map(line).collect()
    }
}

/// An identity that does not hold: a defect of this program, never of the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// frames != decoded + control + undecodable, or rows of `frames` != undecodable + decoded in part.
    #[error(
        "the frames of this part do not add up: {frames} frames, but {decoded} decoded + {control} control + {undecodable} undecodable, and {kept} rows of frames for {undecodable} + {in_part} decoded in part"
    )]
    Frames {
        /// Data and Rest records.
        frames: u64,
        /// With rows.
        decoded: u64,
        /// Without rows by nature.
        control: u64,
        /// Did not decode.
        undecodable: u64,
        /// Of those decoded, not as a whole.
        in_part: u64,
        /// Rows of table `frames`.
        kept: u64,
    },
    /// Rows counted while routing differ from rows that are in the files.
    #[error("the rows of {table} do not add up: {counted} were decoded, {in_file} are in the file")]
    Rows {
        /// Which table.
        table: Table,
        /// Counted while routing.
        counted: u64,
        /// In the file.
        in_file: u64,
    },
}

impl Account {
    /// Counts a record of any kind.
    #[inline]
    pub fn record(&mut self, kind_raw: u8, seq: u64, ts_recv_ns: u64) {
        self.records += 1;
        self.last_seq = seq;
        self.last_ts_recv_ns = ts_recv_ns;
        let kind = usize::from(kind_raw);
        if self.kinds.len() <= kind {
            self.kinds.resize(kind + 1, 0);
        }
        if let Some(n) = self.kinds.get_mut(kind) {
            *n += 1;
        }
    }

    /// Counts rows of `table`.
    #[inline]
    pub fn rows(&mut self, table: Table, n: u64) {
        if let Some(rows) = self.rows.get_mut(table as usize) {
            *rows += n;
        }
    }

    /// Counts rows of `table` that were removed.
    #[cold]
    pub fn duplicates(&mut self, table: Table, n: u64) {
        self.repeated += n;
        if let Some(rows) = self.duplicates.get_mut(table as usize) {
            *rows += n;
        }
    }

    /// Removed rows of every table that has some.
    pub fn duplicates_by_table(&self) -> BTreeMap<Table, u64> {
        Table::ALL.iter().zip(self.duplicates).filter(|(_, n)| *n > 0).map(|(t, n)| (*t, n)).collect()
    }

    /// Notes that `n` ids from `first` to `last` came late; the gap that reported them missing, if it is of this
    /// part, is that much smaller.
    #[cold]
    pub fn filled(&mut self, channel: Channel, symbol: &str, first: i64, last: i64, n: u64) {
        const LOOK_BACK: usize = 4_096;
        let of_it =
            |g: &&mut Gap| g.channel == channel.as_str() && g.symbol == symbol && g.from_id <= last && g.to_id >= first;
        if let Some(gap) = self.gaps.iter_mut().rev().take(LOOK_BACK).find(of_it) {
            gap.filled = gap.filled.saturating_add(n);
        }
    }

    /// Counts a frame of `channel` that became rows.
    #[inline]
    pub fn decoded(&mut self, channel: Channel) {
        if let Some(c) = self.channels.get_mut(channel as usize) {
            c.decoded += 1;
        }
    }

    /// Notes that a frame just counted as decoded is a row of `frames` as well, because not all of it became rows.
    #[cold]
    pub fn in_part(&mut self, channel: Option<Channel>) {
        let index = channel.map_or(SYMBOLS, |c| c as usize);
        if let Some(c) = self.channels.get_mut(index) {
            c.in_part += 1;
        }
    }

    /// Counts a listing.
    pub fn listing(&mut self) {
        self.channels[SYMBOLS].decoded += 1;
    }

    /// Counts a frame without rows by nature.
    pub fn control(&mut self) {
        self.channels[OTHER].control += 1;
    }

    /// Counts a frame that did not decode. `channel` is a name that may be none of ours.
    pub fn undecodable(&mut self, channel: &str) {
        let index = match channel.parse::<Channel>() {
            Ok(c) => c as usize,
            Err(_) if channel == "symbols" => SYMBOLS,
            Err(_) => OTHER,
        };
        if let Some(c) = self.channels.get_mut(index) {
            c.undecodable += 1;
        }
    }

    /// Notes a gap in ids.
    pub fn gap(&mut self, gap: Gap) {
        self.gap_count += 1;
        if self.gaps.len() < LISTED_MAX {
            self.gaps.push(gap);
        }
    }

    /// Notes a gap that was requested over REST.
    pub fn repaired(&mut self, repair: Repair) {
        if self.repairs.len() < LISTED_MAX {
            self.repairs.push(repair);
        }
    }

    /// Notes an unreadable range.
    pub fn lost(&mut self, lost: &LostRange) {
        self.lost_count += 1;
        if self.lost.len() < LISTED_MAX {
            let reason = lost.reason.as_str();
            self.lost.push(LostRecords {
                from_seq: lost.from.0,
                to_seq: lost.to.0,
                segment: lost.segment.0,
                reason: if lost.exact { reason.to_owned() } else { format!("{reason}, extent unknown") },
                below_durable: lost.below_durable,
            });
        }
    }

    /// Rows of `table`.
    pub fn rows_of(&self, table: Table) -> u64 {
        self.rows.get(table as usize).copied().unwrap_or(0)
    }

    /// Rows of every table that has some.
    pub fn rows_by_table(&self) -> BTreeMap<Table, u64> {
        Table::ALL.iter().map(|t| (*t, self.rows_of(*t))).filter(|(_, n)| *n > 0).collect()
    }

    /// What became of the frames of every channel that has some.
    pub fn by_channel(&self) -> BTreeMap<String, FrameCounts> {
        Channel::ALL
            .iter()
            .map(|c| c.as_str())
            .chain(["symbols", "other"])
            .zip(&self.channels)
            .filter(|(_, c)| **c != FrameCounts::default())
            .map(|(word, c)| (word.to_owned(), *c))
            .collect()
    }

    /// Sum over all channels.
    pub fn totals(&self) -> FrameCounts {
        self.channels.iter().fold(FrameCounts::default(), |a, c| FrameCounts {
            decoded: a.decoded + c.decoded,
            control: a.control + c.control,
            undecodable: a.undecodable + c.undecodable,
            in_part: a.in_part + c.in_part,
        })
    }

    /// Records by the name of their kind; kinds of newer versions as `kind_<n>`.
    pub fn by_kind(&self) -> BTreeMap<String, u64> {
        (0_u8..=u8::MAX).zip(&self.kinds).filter(|(_, n)| **n > 0).map(|(raw, n)| (kind_word(raw), *n)).collect()
    }

    /// Asserts that every frame is accounted for.
    ///
    /// # Errors
    /// [`Imbalance::Frames`].
    pub fn check(&self) -> Result<(), Imbalance> {
        let t = self.totals();
        let kept = t.undecodable + t.in_part == self.rows_of(Table::Frames) && t.in_part <= t.decoded;
        if t.decoded + t.control + t.undecodable == self.frames && kept {
            return Ok(());
        }
        Err(Imbalance::Frames {
            frames: self.frames,
            decoded: t.decoded,
            control: t.control,
            undecodable: t.undecodable,
            in_part: t.in_part,
            kept: self.rows_of(Table::Frames),
        })
    }

    /// Asserts that a table's file holds the rows that were counted.
    ///
    /// # Errors
    /// [`Imbalance::Rows`].
    pub fn check_rows(&self, table: Table, in_file: u64) -> Result<(), Imbalance> {
        let counted = self.rows_of(table);
        if counted == in_file { Ok(()) } else { Err(Imbalance::Rows { table, counted, in_file }) }
    }
}

/// The name of a record kind.
fn kind_word(raw: u8) -> String {
    match Kind::from_raw(raw) {
        Some(Kind::Data) => "data",
        Some(Kind::ConnOpen) => "conn_open",
        Some(Kind::ConnClose) => "conn_close",
        Some(Kind::Subscribe) => "subscribe",
        Some(Kind::Clock) => "clock",
        Some(Kind::EpochStart) => "epoch_start",
        Some(Kind::Sync) => "sync",
        Some(Kind::Gap) => "gap",
        Some(Kind::Hole) => "hole",
        Some(Kind::Seal) => "seal",
        Some(Kind::Rest) => "rest",
        Some(Kind::Event) => "event",
        None => return format!("kind_{raw}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_frame_that_was_counted_nowhere_is_an_imbalance_that_names_the_numbers() {
        let mut a = Account { frames: 3, ..Account::default() };
        a.decoded(Channel::Trades);
        a.control();
        a.undecodable("trades");
        a.rows(Table::Frames, 1);
        a.check().unwrap();
        a.frames = 4;
        let text = a.check().unwrap_err().to_string();
        assert!(text.contains("4 frames") && text.contains("1 undecodable"), "{text}");
    }

    #[test]
    fn a_file_with_a_row_too_few_is_an_imbalance() {
        let mut a = Account::default();
        a.rows(Table::Trades, 5);
        a.check_rows(Table::Trades, 5).unwrap();
        assert!(a.check_rows(Table::Trades, 4).unwrap_err().to_string().contains("trades"));
    }

    #[test]
    fn delays_keep_smallest_largest_mean_and_how_many_were_how_late() {
        let mut d = Delay::default();
        for us in [-5, 3, -1, 1_000, 1_001, 70_000] {
            d.add(1_000_000 + us, Some(1_000_000));
        }
        d.add(7, None);
        let c = d.clock_error();
        assert_eq!((c.count, c.min_us, c.max_us, c.mean_us), (6, -5, 70_000, 11_999));
        assert_eq!(c.steps, [(0, 2), (3, 1), (1_023, 2), (81_919, 1)]);
    }

    #[test]
    fn every_delay_lies_in_its_step_and_steps_are_a_quarter_wide() {
        let mut last = (0, 0);
        for us in (0..5_000).chain((12..62).flat_map(|p| [(1_i64 << p) - 1, 1 << p, (1 << p) + 1, (1 << p) * 3 / 2])) {
            let step = step_of(us);
            assert!(us <= end_of_step(step), "{us} in step {step}, which ends at {}", end_of_step(step));
            assert!(step == 0 || us > end_of_step(step - 1), "{us} in step {step}");
            last = last.max((step, us));
        }
        assert!(last.0 < 250, "{last:?}");
        assert_eq!(step_of(i64::MIN), 0);
    }

    #[test]
    fn an_account_survives_json_and_unknown_kinds_keep_their_number() {
        let mut a = Account::default();
        a.record(1, 7, 100);
        a.record(200, 8, 101);
        a.decoded(Channel::Depth);
        a.undecodable("made_up");
        a.rows(Table::Depth, 3);
        a.delay.add(10, Some(13));
        a.delay.add(10, None);
        let again: Account = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        assert_eq!(again, a);
        assert_eq!(again.by_kind().get("kind_200"), Some(&1));
        assert_eq!(again.by_kind().get("data"), Some(&1));
        assert_eq!(again.by_channel().get("other").map(|c| c.undecodable), Some(1));
        assert_eq!(again.delay.clock_error().mean_us, -3);
        assert_eq!(again.last_ts_recv_ns, 101);
    }
}
