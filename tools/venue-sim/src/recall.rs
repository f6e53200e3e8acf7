//! What REST of a venue that plays a recording knows: the recorded listing, and per symbol its book, its newest trades and minutes, as far
//! as they were played.
//!
//! Bounded: a book is as large as the venue keeps it, trades and minutes are the newest ones. A book starts from the recorded snapshot,
//! is that body byte for byte until a later change was played, and then the snapshot with the changes. A snapshot that was requested
//! while changes already came is behind some of them: those are kept until it comes. After a gap the next snapshot makes it whole.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Mutex;

use serde_json::Value;

use crate::book::{Change, Live, View};
use crate::candles::mantissa;
use crate::generate::Candle;
use crate::history::{TRADE_CHANNELS, Trade};
use crate::report::lock;
use crate::script::StreamInfo;
use crate::slots::{Shape, shape_of};
use crate::tape::{Event, Kind, Row, Want, minute_of};

/// Trades and aggregates kept per symbol: a page of the venue's.
const ROWS_MAX: usize = 1_000;
/// Minutes kept per symbol: a page of the venue's.
const MINUTES_MAX: usize = 1_500;
/// Changes kept for a book that is not whole.
const CHANGES_MAX: usize = 256;
/// Listings kept, by path.
const LISTINGS_MAX: usize = 16;

/// One symbol.
#[derive(Default)]
struct RecalledSymbol {
    book: Live,
    /// Body of the snapshot while nothing later was played.
    body: Option<Vec<u8>>,
    /// Changes since the book was whole last.
    waiting: VecDeque<Change>,
    trades: VecDeque<Row>,
    aggs: VecDeque<Row>,
    foreign: VecDeque<Trade>,
    minutes: VecDeque<Candle>,
    /// Most decimals of prices and amounts.
    places: (usize, usize),
}

#[derive(Default)]
struct Inner {
    clock_ns: i64,
    listings: HashMap<String, Vec<u8>>,
    listed: BTreeSet<String>,
    symbols: HashMap<String, RecalledSymbol>,
}

/// See the file's own description.
pub(crate) struct Recall {
    /// Times are those of sending.
    restamped: bool,
    inner: Mutex<Inner>,
}

fn push<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(item);
}

fn places(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

impl Recall {
    pub fn new(restamped: bool) -> Recall {
        Recall { restamped, inner: Mutex::default() }
    }

    /// Everything up to this receive time was played.
    pub fn at(&self, recv_ns: i64) {
        lock(&self.inner).clock_ns = recv_ns;
    }

    /// The venue's time, ms: that of the recording unless it is restamped.
    pub fn now_ms(&self, wall_ms: i64) -> i64 {
        if self.restamped { wall_ms } else { lock(&self.inner).clock_ns.div_euclid(1_000_000) }
    }

    /// A new loop: books and trades begin again.
    pub fn restart(&self) {
        lock(&self.inner).symbols.clear();
    }

    /// The venue's listing under a path.
    pub fn listing(&self, path: &str, body: &[u8]) {
        let mut inner = lock(&self.inner);
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            let rows = value.get("symbols").or_else(|| value.get("data")).unwrap_or(&value);
            let name = |row: &Value| {
                ["symbol", "id", "name"].into_iter().find_map(|key| row.get(key)?.as_str().map(str::to_owned))
            };
            inner.listed.extend(rows.as_array().into_iter().flatten().filter_map(name));
        }
        if inner.listings.len() < LISTINGS_MAX || inner.listings.contains_key(path) {
            inner.listings.insert(path.to_owned(), body.to_vec());
        }
    }

    /// The recorded listing that answers a request of this path.
    pub fn listing_of(&self, path: &str) -> Option<Vec<u8>> {
        let inner = lock(&self.inner);
        inner.listings.iter().find(|(recorded, _)| recorded.ends_with(path)).map(|(_, body)| body.clone())
    }

    /// Symbols listed or played, with the decimals seen of their prices and amounts.
    pub fn symbols(&self) -> Vec<(String, (usize, usize))> {
        let inner = lock(&self.inner);
        let names: BTreeSet<&String> = inner.listed.iter().chain(inner.symbols.keys()).collect();
        let places = |name: &String| inner.symbols.get(name).map_or((2, 4), |known| known.places);
        names.into_iter().map(|name| (name.clone(), places(name))).collect()
    }

    /// Whether a symbol was listed or played.
    pub fn has(&self, symbol: &str) -> bool {
        let inner = lock(&self.inner);
        inner.listed.contains(symbol) || inner.symbols.contains_key(symbol)
    }

    /// A recorded snapshot; `shift` moves its id to those of this loop.
    pub fn snapshot(&self, symbol: &str, body: &[u8], shift: i64) {
        let mut inner = lock(&self.inner);
        let known = inner.symbols.entry(symbol.to_owned()).or_default();
        let Some(book) = Live::of_snapshot(body, shift) else { return };
        if known.book.is_whole() && known.book.last_id() >= book.last_id() {
            return;
        }
        known.book = book;
        known.body = (shift == 0 && !self.restamped).then(|| body.to_vec());
        for change in std::mem::take(&mut known.waiting) {
            if known.book.apply(change) {
                known.body = None;
            }
        }
    }

    /// A frame was played: its event, or the whole of it where `foreign` (KuCoin, Gate).
    pub fn frame(&self, stream: &StreamInfo, foreign: bool, data: &[u8]) {
        if stream.is_depth() {
            let mut inner = lock(&self.inner);
            let RecalledSymbol { book, body, waiting, .. } = inner.symbols.entry(stream.symbol.clone()).or_default();
            let Some(change) = Change::of(foreign, data, book.last_id()) else { return };
            if !(book.is_whole() && book.goes_on_with(&change)) {
                push(waiting, change.clone(), CHANGES_MAX);
            }
            if book.apply(change) {
                *body = None;
            }
        } else if foreign {
            if TRADE_CHANNELS.contains(&stream.channel()) {
                let mut inner = lock(&self.inner);
                let known = inner.symbols.entry(stream.symbol.clone()).or_default();
                for trade in crate::history::parsed(data) {
                    let seen = (places(&trade.price), places(&trade.amount));
                    known.places = (known.places.0.max(seen.0), known.places.1.max(seen.1));
                    push(&mut known.foreign, trade, ROWS_MAX);
                }
            }
        } else if let shape @ (Shape::Trade | Shape::AggTrade) = shape_of(stream.channel()) {
            let Ok(event) = serde_json::from_slice::<Event>(data) else { return };
            let row = event.row();
            let mut inner = lock(&self.inner);
            let known = inner.symbols.entry(stream.symbol.clone()).or_default();
            known.places = (known.places.0.max(places(&row.price)), known.places.1.max(places(&row.amount)));
            if shape == Shape::Trade {
                // Candles of single trades from the first one on.
                if known.trades.is_empty() {
                    known.minutes.clear();
                }
                known.minute(&row);
                push(&mut known.trades, row, ROWS_MAX);
            } else {
                if known.trades.is_empty() {
                    known.minute(&row);
                }
                push(&mut known.aggs, row, ROWS_MAX);
            }
        }
    }

    /// The depth answer of a symbol of Binance.
    pub fn depth(&self, symbol: &str, limit: usize) -> Option<Vec<u8>> {
        let inner = lock(&self.inner);
        let known = inner.symbols.get(symbol)?;
        match &known.body {
            Some(body) if limit >= known.book.levels() => Some(body.clone()),
            _ => known.book.body(limit),
        }
    }

    /// The book of a symbol of KuCoin or Gate.
    pub fn view(&self, symbol: &str) -> Option<View> {
        lock(&self.inner).symbols.get(symbol)?.book.view()
    }

    /// Trades or aggregates of a symbol of Binance, oldest first.
    pub fn rows(&self, symbol: &str, kind: Kind, want: Want, limit: usize) -> Vec<Row> {
        let inner = lock(&self.inner);
        let Some(known) = inner.symbols.get(symbol) else { return Vec::new() };
        let ring = if kind == Kind::Trade { &known.trades } else { &known.aggs };
        let fits = |row: &&Row| match want {
            Want::Newest => true,
            Want::From(id) => row.id >= id,
            Want::Since(start, end) => (start..=end).contains(&row.time_ms),
            Want::Until(end) => row.time_ms <= end,
        };
        let chosen: Vec<&Row> = ring.iter().filter(fits).collect();
        let skip = match want {
            Want::Newest | Want::Until(_) => chosen.len().saturating_sub(limit),
            Want::From(_) | Want::Since(..) => 0,
        };
        chosen.into_iter().skip(skip).take(limit).cloned().collect()
    }

    /// Trades of a symbol of KuCoin or Gate, oldest first.
    pub fn trades(&self, symbol: &str) -> Vec<Trade> {
        lock(&self.inner).symbols.get(symbol).map_or_else(Vec::new, |known| known.foreign.iter().cloned().collect())
    }

    /// Minutes with a trade, oldest first, and the decimals printed.
    pub fn minutes(&self, symbol: &str) -> (Vec<Candle>, (usize, usize)) {
        let inner = lock(&self.inner);
        let of = |known: &RecalledSymbol| (known.minutes.iter().cloned().collect(), known.places);
        inner.symbols.get(symbol).map_or_else(Default::default, of)
    }
}

impl RecalledSymbol {
    /// Adds a trade or aggregate to its minute. A price of zero is no trade of the market.
    fn minute(&mut self, row: &Row) {
        let (Some(price), Some(amount)) = (mantissa(&row.price), mantissa(&row.amount)) else { return };
        if price <= 0 {
            return;
        }
        let open_ms = minute_of(row.time_ms);
        if self.minutes.back().is_none_or(|last| last.open_ms < open_ms) {
            push(&mut self.minutes, Candle { open_ms, ..Candle::default() }, MINUTES_MAX);
        }
        if let Some(minute) = self.minutes.iter_mut().rev().find(|minute| minute.open_ms == open_ms) {
            minute.add(row.id, price, amount, row.maker);
            minute.count += if row.last > 0 { row.last - row.first } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn played(recall: &Recall, name: &str, data: &str) {
        recall.frame(&StreamInfo::of(name), false, data.as_bytes());
    }

    fn text(recall: &Recall) -> String {
        String::from_utf8(recall.depth("X", 100).unwrap()).unwrap()
    }

    fn change(first: i64, last: i64, price: &str) -> String {
        format!(r#"{{"e":"depthUpdate","E":1,"s":"X","U":{first},"u":{last},"b":[["{price}","1"]],"a":[]}}"#)
    }

    #[test]
    fn a_snapshot_is_given_as_recorded_until_a_later_change_was_played() {
        let recall = Recall::new(false);
        let body = r#"{"lastUpdateId":10,"bids":[["5.0","2"]],"asks":[["6.0","1"]]}"#;
        recall.snapshot("X", body.as_bytes(), 0);
        played(&recall, "x@depth@100ms", &change(8, 10, "4.0"));
        assert_eq!(text(&recall), body, "the snapshot has that already");
        played(&recall, "x@depth@100ms", &change(11, 12, "4.0"));
        assert_eq!(text(&recall), r#"{"lastUpdateId":12,"bids":[["5.0","2"],["4.0","1"]],"asks":[["6.0","1"]]}"#);
    }

    #[test]
    fn changes_that_came_before_their_snapshot_are_in_the_book_and_a_gap_waits_for_the_next_one() {
        let recall = Recall::new(false);
        played(&recall, "x@depth", &change(9, 11, "1.0"));
        played(&recall, "x@depth", &change(12, 13, "2.0"));
        recall.snapshot("X", br#"{"lastUpdateId":11,"bids":[["5.0","2"]],"asks":[]}"#, 0);
        assert_eq!(text(&recall), r#"{"lastUpdateId":13,"bids":[["5.0","2"],["2.0","1"]],"asks":[]}"#);
        played(&recall, "x@depth", &change(20, 21, "3.0"));
        recall.snapshot("X", br#"{"lastUpdateId":20,"bids":[["7.0","1"]],"asks":[]}"#, 0);
        assert_eq!(text(&recall), r#"{"lastUpdateId":21,"bids":[["7.0","1"],["3.0","1"]],"asks":[]}"#);
    }

    #[test]
    fn trades_are_given_back_by_id_and_make_minutes_and_only_the_newest_are_kept() {
        let recall = Recall::new(false);
        for id in 0..1_500_i64 {
            let at = 60_000 * 100 + id * 100;
            let event = format!(r#"{{"e":"trade","s":"X","t":{id},"p":"1.50","q":"2","T":{at},"m":false}}"#);
            played(&recall, "x@trade", &event);
        }
        let ids = |want, limit| recall.rows("X", Kind::Trade, want, limit).iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(Want::From(1_498), 9), [1_498, 1_499]);
        assert_eq!(ids(Want::Newest, 1), [1_499]);
        assert_eq!(ids(Want::From(0), 1), [500], "older ones are forgotten");
        let (minutes, places) = recall.minutes("X");
        assert_eq!((minutes.iter().map(|m| m.count).collect::<Vec<_>>(), places), (vec![600, 600, 300], (2, 0)));
    }

    #[test]
    fn a_listing_answers_under_the_end_of_its_path_and_names_the_symbols() {
        let recall = Recall::new(false);
        recall.listing("/binance-spot/api/v3/exchangeInfo", br#"{"symbols":[{"symbol":"X"}]}"#);
        assert!(recall.has("X") && !recall.has("Y"));
        assert_eq!(recall.listing_of("/api/v3/exchangeInfo").unwrap(), br#"{"symbols":[{"symbol":"X"}]}"#);
        assert_eq!(recall.listing_of("/api/v3/depth"), None);
    }
}
