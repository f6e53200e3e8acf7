//! REST depth answers that agree with the frames played so far.
//!
//! The base is the snapshot that the recorder wrote in line. As long as no later depth frame was played, and nothing is restamped or
//! cut to fewer levels, the answer is that body byte for byte; afterwards the played frames are applied to it, so that a client that
//! buffers frames and then asks finds `lastUpdateId` inside what it buffered. A symbol without a recorded snapshot starts from an
//! empty book at the id before its first frame.
//!
//! In the second and later loops ids are whole, prices start again from the base.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::restamp::{Spans, Warp};
use crate::script::Timeline;
use crate::slots::{Bound, Slot, SlotKind, number_after};

/// Order books by symbol, built as far as they were requested.
pub(crate) type Books = HashMap<String, Book>;

/// Price as text with its order.
type Side = BTreeMap<i128, (String, String)>;

/// One book at one position of the timeline.
#[derive(Debug, Default)]
pub(crate) struct Book {
    round: u64,
    index: usize,
    bids: Side,
    asks: Side,
    /// As recorded, without the loop's shift.
    last_id: i64,
    event_ms: Option<i64>,
    transaction_ms: Option<i64>,
    applied: u64,
}

#[derive(Clone, Default, Deserialize)]
struct Levels {
    #[serde(alias = "bids", default)]
    b: Vec<[String; 2]>,
    #[serde(alias = "asks", default)]
    a: Vec<[String; 2]>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<i64>,
    u: Option<i64>,
    #[serde(rename = "U")]
    first: Option<i64>,
    /// The last id of the change before, where the venue sends it.
    pu: Option<i64>,
    #[serde(rename = "E")]
    event_ms: Option<i64>,
    #[serde(rename = "T")]
    transaction_ms: Option<i64>,
}

/// The book of a symbol of KuCoin or Gate, best prices first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub id: i64,
    pub bids: Vec<(String, String)>,
    pub asks: Vec<(String, String)>,
}

/// The book of a symbol of KuCoin or Gate after `index` frames of loop `round`.
pub(crate) fn view(
    books: &mut Books,
    timeline: &Timeline,
    symbol: &str,
    position: (u64, usize),
    warp: Option<&Warp>,
) -> Option<View> {
    let book = at(books, timeline, symbol, position)?;
    let shift = if warp.is_some() { shift(&timeline.spans, timeline, symbol, position.0) } else { 0 };
    Some(View {
        id: book.last_id + shift,
        bids: book.bids.values().rev().cloned().collect(),
        asks: book.asks.values().cloned().collect(),
    })
}

/// The book of a symbol, brought to a position.
fn at<'b>(
    books: &'b mut Books,
    timeline: &Timeline,
    symbol: &str,
    (round, index): (u64, usize),
) -> Option<&'b mut Book> {
    let is_usable = books.get(symbol).is_some_and(|book| book.round == round && book.index <= index);
    if !is_usable {
        books.insert(symbol.to_owned(), base(timeline, symbol, round)?);
    }
    let book = books.get_mut(symbol)?;
    book.advance(timeline, symbol, index);
    Some(book)
}

/// The levels of a frame or REST answer of KuCoin or Gate; of a change with an id of its own only when it is later than `after`.
fn foreign_levels(bytes: &[u8], after: i64) -> Option<Levels> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let body = value.get("result").or_else(|| value.get("data")).unwrap_or(&value);
    let sides = body.get("changes").unwrap_or(body);
    let number = |key: &str| {
        let value = body.get(key)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    };
    let id = ["sequenceEnd", "u", "id", "sequence"].into_iter().find_map(number)?;
    let first = ["sequenceStart", "U"].into_iter().find_map(number);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let side = |names: [&str; 2]| {
        let mut levels = Vec::new();
        for level in names.into_iter().find_map(|name| sides.get(name)?.as_array()).into_iter().flatten() {
            let (price, amount) = match level {
                Value::Array(parts) => (parts.first(), parts.get(1)),
                other => (other.get("p"), other.get("s")),
            };
            let own = level.get(2).and_then(|own| own.as_str()?.parse::<i64>().ok());
            if let (Some(price), Some(amount)) = (price, amount)
                && text(price) != "0"
                && own.is_none_or(|own| own > after)
            {
                levels.push((own, [text(price), text(amount)]));
            }
        }
        levels.sort_by_key(|(own, _)| *own);
        levels.into_iter().map(|(_, level)| level).collect()
    };
    Some(Levels {
        b: side(["b", "bids"]),
        a: side(["a", "asks"]),
        last_update_id: Some(id),
        u: Some(id),
        first,
        ..Levels::default()
    })
}

/// Prices and amounts of a book frame of KuCoin or Gate.
pub(crate) fn level_texts(frame: &[u8]) -> Vec<(String, String)> {
    let levels = foreign_levels(frame, i64::MIN).unwrap_or_default();
    levels.b.into_iter().chain(levels.a).map(|[price, amount]| (price, amount)).collect()
}

/// The depth answer of a symbol after `index` frames of loop `round`, `None` for a symbol without depth frames and snapshot.
pub(crate) fn depth(
    books: &mut Books,
    timeline: &Timeline,
    symbol: &str,
    limit: usize,
    position: (u64, usize),
    warp: Option<&Warp>,
) -> Option<Vec<u8>> {
    let round = position.0;
    let book = at(books, timeline, symbol, position)?;
    if book.applied == 0
        && warp.is_none()
        && limit >= book.bids.len().max(book.asks.len())
        && let Some(recorded) = timeline.books.get(symbol)
    {
        return Some(recorded.body.clone());
    }
    let shift = if warp.is_some() { shift(&timeline.spans, timeline, symbol, round) } else { 0 };
    let at = |ms: Option<i64>| ms.map(|ms| warp.map_or(ms, |warp| warp.at(ms, round)));
    Some(body(book.last_id + shift, at(book.event_ms), at(book.transaction_ms), &book.bids, &book.asks, limit))
}

/// A change of a book as a frame carries it.
#[derive(Clone)]
pub(crate) struct Change(Levels);

impl Change {
    /// Reads a frame's event, or the whole frame of KuCoin or Gate, of which levels that `after` has already are left out.
    pub fn of(foreign: bool, data: &[u8], after: i64) -> Option<Change> {
        let levels = if foreign { foreign_levels(data, after) } else { serde_json::from_slice(data).ok() };
        levels.filter(|levels| levels.u.is_some()).map(Change)
    }
}

/// A book that is brought on frame by frame, whose frames are not kept.
#[derive(Debug, Default)]
pub(crate) struct Live {
    book: Book,
    /// It began with a snapshot and nothing is missing since.
    whole: bool,
    /// Anything was applied.
    is_known: bool,
}

impl Live {
    /// The book of a snapshot, its id moved on by `shift`.
    pub fn of_snapshot(body: &[u8], shift: i64) -> Option<Live> {
        let of_binance = serde_json::from_slice(body).ok().filter(|levels: &Levels| levels.last_update_id.is_some());
        let levels = of_binance.or_else(|| foreign_levels(body, i64::MIN))?;
        let mut book = Book { last_id: levels.last_update_id?.saturating_add(shift), ..Book::default() };
        (book.event_ms, book.transaction_ms) = (levels.event_ms, levels.transaction_ms);
        book.set(levels.b, levels.a);
        Some(Live { book, whole: true, is_known: true })
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn last_id(&self) -> i64 {
        if self.is_known { self.book.last_id } else { i64::MIN }
    }

    /// Levels of the longer side.
    pub fn levels(&self) -> usize {
        self.book.bids.len().max(self.book.asks.len())
    }

    /// Whether nothing is missing between the book and a change.
    pub fn goes_on_with(&self, Change(levels): &Change) -> bool {
        match (levels.pu, levels.first) {
            // The first change after a snapshot may begin before it.
            (Some(before), _) => before <= self.book.last_id,
            (None, Some(first)) => first <= self.book.last_id.saturating_add(1),
            (None, None) => true,
        }
    }

    /// Applies a change; false when the book has it already.
    pub fn apply(&mut self, change: Change) -> bool {
        let follows = self.goes_on_with(&change);
        let Change(levels) = change;
        let Some(last) = levels.u.filter(|&last| last > self.last_id()) else { return false };
        if !self.is_known {
            (self.book.event_ms, self.book.transaction_ms) = (levels.event_ms, levels.transaction_ms);
        }
        self.whole &= follows;
        self.is_known = true;
        self.book.last_id = last;
        let keep = |old: Option<i64>, new: Option<i64>| if old.is_some() { new } else { None };
        self.book.event_ms = keep(self.book.event_ms, levels.event_ms);
        self.book.transaction_ms = keep(self.book.transaction_ms, levels.transaction_ms);
        self.book.set(levels.b, levels.a);
        true
    }

    /// The depth answer of Binance.
    pub fn body(&self, limit: usize) -> Option<Vec<u8>> {
        let Book { last_id, event_ms, transaction_ms, bids, asks, .. } = &self.book;
        self.is_known.then(|| body(*last_id, *event_ms, *transaction_ms, bids, asks, limit))
    }

    /// The book for KuCoin and Gate.
    pub fn view(&self) -> Option<View> {
        self.is_known.then(|| View {
            id: self.book.last_id,
            bids: self.book.bids.values().rev().cloned().collect(),
            asks: self.book.asks.values().cloned().collect(),
        })
    }
}

fn shift(spans: &Spans, timeline: &Timeline, symbol: &str, round: u64) -> i64 {
    spans.depth_of(timeline, symbol).unwrap_or(0).saturating_mul(i64::try_from(round).unwrap_or(i64::MAX))
}

fn base(timeline: &Timeline, symbol: &str, round: u64) -> Option<Book> {
    let mut book = Book { round, ..Book::default() };
    if let Some(recorded) = timeline.books.get(symbol) {
        let of_binance =
            serde_json::from_slice(&recorded.body).ok().filter(|levels: &Levels| levels.last_update_id.is_some());
        let levels = of_binance.or_else(|| foreign_levels(&recorded.body, i64::MIN))?;
        book.last_id = levels.last_update_id?;
        (book.event_ms, book.transaction_ms) = (levels.event_ms, levels.transaction_ms);
        book.set(levels.b, levels.a);
        return Some(book);
    }
    let first = timeline.frames.iter().find(|frame| is_depth_of(timeline, frame.stream, symbol))?;
    let id = |key: &[u8]| number_after(timeline.data(first), key);
    let slot =
        || timeline.slots(first).iter().find(|slot| matches!(slot.kind, SlotKind::Id(Bound::First | Bound::Only)));
    let before = |first: i64| first - 1;
    book.last_id =
        id(br#""pu":"#).or_else(|| id(br#""U":"#).map(before)).or_else(|| slot().map(|slot| before(slot.value)))?;
    (book.event_ms, book.transaction_ms) = (id(br#""E":"#), id(br#""T":"#));
    Some(book)
}

fn is_depth_of(timeline: &Timeline, stream: u32, symbol: &str) -> bool {
    timeline.streams.get(stream as usize).is_some_and(|info| info.is_depth() && info.symbol == symbol)
}

impl Book {
    fn advance(&mut self, timeline: &Timeline, symbol: &str, index: usize) {
        for frame in timeline.frames.get(self.index..index).unwrap_or(&[]) {
            if !is_depth_of(timeline, frame.stream, symbol) {
                continue;
            }
            let is_last = |slot: &&Slot| matches!(slot.kind, SlotKind::Id(Bound::Last | Bound::Only));
            let last = timeline.slots(frame).iter().find(is_last);
            if last.is_none_or(|slot| slot.value <= self.last_id) {
                continue;
            }
            let levels = match frame.head_bytes {
                0 => foreign_levels(timeline.bytes(frame), self.last_id),
                _ => serde_json::from_slice::<Levels>(timeline.data(frame)).ok(),
            };
            if let Some(levels) = levels {
                self.last_id = levels.u.unwrap_or(self.last_id);
                (self.event_ms, self.transaction_ms) = (
                    levels.event_ms.filter(|_| self.event_ms.is_some()),
                    levels.transaction_ms.filter(|_| self.transaction_ms.is_some()),
                );
                self.applied += 1;
                self.set(levels.b, levels.a);
            }
        }
        self.index = self.index.max(index);
    }

    fn set(&mut self, bids: Vec<[String; 2]>, asks: Vec<[String; 2]>) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for [price, amount] in levels {
                let Some(key) = order(&price) else { continue };
                if amount.bytes().all(|byte| byte == b'0' || byte == b'.') {
                    side.remove(&key);
                } else {
                    side.insert(key, (price, amount));
                }
            }
        }
    }
}

/// A decimal text as an integer of 12 places, to sort by.
fn order(price: &str) -> Option<i128> {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    let mut value: i128 = whole.parse().ok()?;
    for place in 0..12 {
        let digit = fraction.as_bytes().get(place).copied().unwrap_or(b'0');
        value = value * 10 + i128::from(digit.checked_sub(b'0')?);
    }
    Some(value)
}

fn body(
    last_id: i64,
    event_ms: Option<i64>,
    transaction_ms: Option<i64>,
    bids: &Side,
    asks: &Side,
    limit: usize,
) -> Vec<u8> {
    let list = |levels: &mut dyn Iterator<Item = &(String, String)>| {
        levels.take(limit).map(|(price, amount)| format!(r#"["{price}","{amount}"]"#)).collect::<Vec<_>>().join(",")
    };
    let times = match (event_ms, transaction_ms) {
        (Some(event), Some(transaction)) => format!(r#""E":{event},"T":{transaction},"#),
        _ => String::new(),
    };
    format!(
        r#"{{"lastUpdateId":{last_id},{times}"bids":[{}],"asks":[{}]}}"#,
        list(&mut bids.values().rev()),
        list(&mut asks.values())
    )
    .into_bytes()
}

/// A book around a price, for a generated market.
pub(crate) fn synthetic(
    last_id: i64,
    time_ms: Option<i64>,
    best_bid: i64,
    decimals: (usize, usize),
    limit: usize,
) -> Vec<u8> {
    let mut bids = Side::new();
    let mut asks = Side::new();
    let amount = crate::text::decimal(1_000, decimals.1.min(3), decimals.1);
    for level in 0..20 {
        for (side, price) in [(&mut bids, best_bid - level), (&mut asks, best_bid + 1 + level)] {
            if price > 0 {
                side.insert(i128::from(price), (crate::text::decimal(price, 2, decimals.0), amount.clone()));
            }
        }
    }
    body(last_id, time_ms, time_ms, &bids, &asks, limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const T0: i64 = 1_723_161_254_000_000_000;

    fn timeline() -> Timeline {
        let base = r#"{"lastUpdateId":12,"bids":[["10.10","1.0"],["9.00","2.0"]],"asks":[["10.20","3.0"]]}"#;
        let frame = |first: i64, last: i64, bids: &str| {
            format!(
                r#"{{"stream":"x@depth@100ms","data":{{"e":"depthUpdate","E":1723161255001,"s":"X","U":{first},"u":{last},"b":{bids},"a":[]}}}}"#
            )
        };
        let text = [
            format!("{T0} {base}\n"),
            format!("{} {}\n", T0 + 1, frame(8, 12, r#"[["10.10","7.0"]]"#)),
            format!("{} {}\n", T0 + 2, frame(13, 20, r#"[["9.00","0.0"],["10.15","4.0"]]"#)),
        ]
        .concat();
        Timeline::from_texts(&[text.as_bytes()]).unwrap()
    }

    fn text(timeline: &Timeline, position: (u64, usize), limit: usize, warp: Option<&Warp>) -> String {
        String::from_utf8(depth(&mut Books::new(), timeline, "X", limit, position, warp).unwrap()).unwrap()
    }

    #[test]
    fn the_recorded_body_is_answered_byte_for_byte_until_a_later_frame_is_played() {
        let timeline = timeline();
        let recorded = String::from_utf8(timeline.books["X"].body.clone()).unwrap();
        assert_eq!(text(&timeline, (0, 0), 1000, None), recorded);
        assert_eq!(
            text(&timeline, (0, 1), 1000, None),
            recorded,
            "a frame that the snapshot holds already changes nothing"
        );
        let after = r#"{"lastUpdateId":20,"bids":[["10.15","4.0"],["10.10","1.0"]],"asks":[["10.20","3.0"]]}"#;
        assert_eq!(text(&timeline, (0, 2), 1000, None), after);
    }

    #[test]
    fn a_limit_cuts_both_sides_at_the_best_prices() {
        let cut = r#"{"lastUpdateId":12,"bids":[["10.10","1.0"]],"asks":[["10.20","3.0"]]}"#;
        assert_eq!(text(&timeline(), (0, 0), 1, None), cut);
    }

    #[test]
    fn a_later_loop_shifts_the_id_with_the_frames() {
        let timeline = timeline();
        let warp = Warp { start_ms: 0, base_ms: 0, factor: 1.0, loop_ms: 1.0 };
        // Span of the depth ids: 20 - 8 + 1.
        assert!(text(&timeline, (2, 0), 1000, Some(&warp)).starts_with(r#"{"lastUpdateId":38,"#));
    }

    #[test]
    fn a_symbol_without_a_snapshot_starts_just_before_its_first_frame() {
        let line = format!(
            r#"{T0} {{"stream":"x@depth@0ms","data":{{"e":"depthUpdate","E":5,"T":4,"s":"X","U":9,"u":12,"pu":7,"b":[["1.0","2.0"]],"a":[]}}}}"#
        );
        let timeline = Timeline::from_texts(&[line.as_bytes()]).unwrap();
        assert_eq!(text(&timeline, (0, 0), 10, None), r#"{"lastUpdateId":7,"E":5,"T":4,"bids":[],"asks":[]}"#);
    }
}
