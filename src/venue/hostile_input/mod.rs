//! What every venue must survive: malformed bytes. For the suite and for the fuzz targets in `tests/fuzz`;
//! no part of a shipped program.
//!
//! An input is one byte that chooses the venue, one that says what the bytes are, and the bytes.

use super::gap::GapTracker;
use super::{DecodeError, Frame, FrameKind, StreamKey, Venue, venue};
use model::{Decoded, Fill, Num, RestMeta, Rows, SymbolId, VenueId};

#[cfg(test)]
mod tests;

/// What the bytes of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A listing, a token, or the body of a request on the channel of this word.
    Body(&'static str),
}

impl What {
    /// Every one; the second byte of an input is an index into these.
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Binary,
        Self::Body("symbols"),
        Self::Body("token"),
        Self::Body("depth_snapshot"),
        Self::Body("trades"),
        Self::Body("agg_trades"),
        Self::Body("mark_price"),
        Self::Body(""),
    ];
}

/// The input that gives `bytes` to `id`.
pub fn input(id: VenueId, what: What, bytes: &[u8]) -> Vec<u8> {
    let index = |found: Option<usize>| found.and_then(|i| u8::try_from(i).ok()).unwrap_or_default();
    let mut input = vec![index(VenueId::ALL.iter().position(|v| *v == id))];
    input.push(index(What::ALL.iter().position(|w| *w == what)));
    input.extend_from_slice(bytes);
    input
}

/// Gives an input to all that its venue does with bytes from outside.
///
/// # Panics
/// When an answer breaks what its type promises, which is what callers look for.
pub fn exercise(input: &[u8]) -> Option<Result<Decoded, DecodeError>> {
    let (first, rest) = input.split_first()?;
    let (second, bytes) = rest.split_first()?;
    let venue = venue(*VenueId::ALL.get(usize::from(*first) % VenueId::ALL.len())?);
    let what = *What::ALL.get(usize::from(*second) % What::ALL.len())?;
    messages(venue, bytes, what == What::Binary);
    let fill = (*second >= 128).then_some(Fill { from: 100, to: 10_000_000_000 });
    let status = if *second % 64 == 63 { 429 } else { 200 };
    let (kind, channel) = match what {
        What::Text => (FrameKind::Text, ""),
        What::Binary => (FrameKind::Binary, ""),
        What::Body(channel) => (FrameKind::Rest, channel),
    };
    let symbol = (channel != "symbols").then(|| "BTCUSDT".to_owned());
    let meta = RestMeta { channel: channel.to_owned(), symbol, url: "https://venue.test/".to_owned(), status, fill };
    let frame = Frame { kind, payload: bytes, rest: (kind == FrameKind::Rest).then_some(&meta) };
    Some(decode(venue, &frame))
}

/// The cheap looks of the collector.
fn messages(venue: &Venue, bytes: &[u8], binary: bool) {
    if let Some(key) = venue.frames.stream_of(bytes, binary) {
        assert!(!key.channel.is_empty() && key.channel.len() + key.symbol.len() <= bytes.len().max(64));
        let _ = venue.frames.channel_of(key);
    }
    let _ = venue.frames.channel_of(StreamKey::name(bytes));
    let _ = venue.frames.control(bytes);
    bounded(venue.rest.parse_listing(bytes).err());
    bounded(venue.streams.parse_token(bytes).err());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (channel, symbol) = venue.streams.stream_key(text);
        let _ = venue.frames.channel_of(StreamKey { channel: &channel, symbol: &symbol });
        let _ = venue.streams.redacted(text);
    }
}

fn decode(venue: &Venue, frame: &Frame<'_>) -> Result<Decoded, DecodeError> {
    let mut rows = Rows::new();
    let result = venue.frames.decode(frame, &mut rows);
    bounded(result.as_ref().err().cloned());
    assert!(rows.drift.items.len() <= 257 && rows.drift.items.keys().all(|k| k.len() <= 300));
    if result.is_ok() {
        assert!(rows.len() <= frame.payload.len(), "{} rows of {} bytes", rows.len(), frame.payload.len());
        sound(&rows);
        assert!(rows.rejects.count <= frame.payload.len() as u64 && rows.rejects.reason().len() <= 4_000);
        let mut tracker = GapTracker::new(venue);
        for _ in 0..2 {
            tracker.observe_rows(&rows, &mut Vec::new(), &mut |_| ());
        }
    }
    let mut again = Rows::new();
    assert_eq!(venue.frames.decode(frame, &mut again), result, "twice the same bytes");
    assert_eq!((again.len(), again.symbols.len()), (rows.len(), rows.symbols.len()), "twice the same bytes");
    result
}

/// Reasons go into the lake: a hostile frame may not make them long.
fn bounded(error: Option<DecodeError>) {
    if let Some(error) = error {
        let text = error.to_string();
        assert!(text.len() <= 1200, "a reason of {} bytes", text.len());
    }
}

/// What the writers of the lake rely on.
fn sound(rows: &Rows) {
    for update in &rows.depth {
        let end = u64::from(update.first_level) + u64::from(update.level_count);
        assert!(end <= rows.levels.len() as u64, "levels {update:?} of {}", rows.levels.len());
    }
    for id in (0..).map(SymbolId).take(rows.symbols.len()) {
        assert!(rows.symbols.name(id).len() <= 1024, "a symbol of {} bytes", rows.symbols.name(id).len());
    }
    let number = |n: Num| {
        assert!(n.scale <= 38 && n.mantissa.unsigned_abs() < 10_u128.pow(38), "{n:?}");
        assert!(n.to_f64().is_finite());
        let _ = (n.to_decimal18(), n.survives_f64(), n.normalized(), n.to_string());
    };
    numbers(rows).into_iter().for_each(number);
}

/// Every number of the rows.
pub(super) fn numbers(rows: &Rows) -> Vec<Num> {
    let mut all: Vec<Num> = Vec::new();
    rows.trades.iter().for_each(|t| all.extend([t.price, t.amount]));
    rows.agg_trades.iter().for_each(|t| all.extend([t.price, t.amount]));
    rows.levels.iter().for_each(|l| all.extend([l.price, l.amount]));
    let mut known = |numbers: &[Option<Num>]| all.extend(numbers.iter().flatten());
    rows.book_tickers.iter().for_each(|b| known(&[b.bid_price, b.bid_amount, b.ask_price, b.ask_amount]));
    rows.mark_prices.iter().for_each(|m| known(&[m.mark_price, m.index_price, m.settle_price, m.funding_rate]));
    rows.liquidations.iter().for_each(|l| known(&[Some(l.price), l.avg_price, Some(l.amount), l.filled]));
    rows.tickers.iter().for_each(|t| known(&[t.open, t.high, t.low, t.last, t.volume, t.quote_volume]));
    for k in rows.venue_klines.iter().map(|k| &k.candle) {
        known(&k.prices().map(Some));
        known(&[k.volume, k.quote_volume, k.taker_buy_volume, k.taker_buy_quote_volume]);
    }
    rows.listings.iter().for_each(|s| known(&[s.tick_size, s.lot_size, s.contract_size]));
    all
}
