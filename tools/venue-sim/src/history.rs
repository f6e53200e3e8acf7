//! What REST of KuCoin and Gate says of a venue: its symbols, the book of one, the trades of one. The same for recorded and generated
//! venues, never more than was played. How it is worded is the exchanges' own.

use serde_json::Value;

use crate::binance::Market;
use crate::book::View;
use crate::listing::Standing;
use crate::protocol::Exchange;
use crate::report::lock;
use crate::restamp::{Warp, render};
use crate::script::Timeline;
use crate::seeded::PRICE_PLACES;
use crate::text::decimal;
use crate::venue::{Material, Venue};

/// Frames looked at for the places of a recorded symbol.
const PROBED_FRAMES: usize = 5_000;

/// Channels of trades.
pub(crate) const TRADE_CHANNELS: [&str; 4] =
    ["/market/match", "/contractMarket/execution", "spot.trades", "futures.trades"];

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub symbol: String,
    pub trading: bool,
    /// When it was listed, ms since 1970; 0 = long ago.
    pub since_ms: i64,
    pub price_places: usize,
    pub amount_places: usize,
}

/// One trade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trade {
    /// The id that is consecutive per symbol, where the exchange sends one.
    pub id: i64,
    /// The exchange's other name of it.
    pub name: String,
    pub price: String,
    /// Without a sign.
    pub amount: String,
    pub time_ns: i64,
    pub sell: bool,
}

/// Symbols that are listed now, sorted, with a few that never play when the configuration wants them.
pub(crate) fn listed(venue: &Venue) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut add = |symbol: &str, trading: bool, price_places, amount_places| {
        let (trading, since_ms) = match venue.listings.standing(symbol) {
            Some((Standing::Absent, _)) => return,
            Some((standing, since_ms)) => (standing == Standing::Trading, since_ms),
            None => (trading, 0),
        };
        all.push(Listed { symbol: symbol.to_owned(), trading, since_ms, price_places, amount_places });
    };
    if venue.extra_symbols {
        let amount_places = if venue.market == Market::Spot { 4 } else { 0 };
        for (name, trading) in extras(venue) {
            add(name, trading, PRICE_PLACES, amount_places);
        }
    }
    match &venue.material {
        Material::SeededMarket(seeded) => {
            for (symbol, &places) in seeded.symbols.iter().zip(&seeded.places) {
                add(symbol, true, PRICE_PLACES, places);
            }
        }
        Material::Recorded(timeline) => {
            for symbol in timeline.symbols() {
                let (price_places, amount_places) = probed(timeline, &symbol);
                add(&symbol, true, price_places, amount_places);
            }
        }
        Material::Recording(recall) => {
            for (symbol, (price_places, amount_places)) in recall.symbols() {
                add(&symbol, true, price_places, amount_places);
            }
        }
        Material::Generated(_) => {}
    }
    all.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    all.dedup_by(|a, b| a.symbol == b.symbol);
    all
}

/// Symbols beside those that play: halted, quiet, not ASCII.
fn extras(venue: &Venue) -> [(&'static str, bool); 3] {
    match (venue.exchange, venue.market) {
        (Exchange::Kucoin, Market::Spot) => {
            [("HALTED-USDT", false), ("QUIET-EUR", true), ("\u{5e01}\u{5b89}\u{4eba}\u{751f}-USDT", true)]
        }
        (Exchange::Kucoin, Market::Usdm) => {
            [("HALTEDUSDTM", false), ("QUIETUSDTM", true), ("\u{5e01}\u{5b89}\u{4eba}\u{751f}USDTM", true)]
        }
        _ => [("HALTED_USDT", false), ("QUIET_USDT", true), ("\u{5e01}\u{5b89}\u{4eba}\u{751f}_USDT", true)],
    }
}

/// The longest fractions of prices and amounts in the recorded books of a symbol.
fn probed(timeline: &Timeline, symbol: &str) -> (usize, usize) {
    let mut places = (0, 0);
    let is_depth = |stream: u32| {
        timeline.streams.get(stream as usize).is_some_and(|info| info.is_depth() && info.symbol == symbol)
    };
    for frame in timeline.frames.iter().take(PROBED_FRAMES).filter(|frame| is_depth(frame.stream)) {
        for (price, amount) in crate::book::level_texts(timeline.bytes(frame)) {
            let fraction = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            places = (places.0.max(fraction(&price)), places.1.max(fraction(&amount)));
        }
    }
    places
}

/// The book of a symbol as far as it was played; `None` for one that has none.
pub(crate) fn book(venue: &Venue, symbol: &str, now_ms: i64) -> Option<View> {
    match &venue.material {
        Material::Recorded(timeline) => {
            let (position, warp) = position(venue, timeline, now_ms);
            crate::book::view(&mut lock(&venue.books), timeline, symbol, position, warp.as_ref())
        }
        Material::SeededMarket(seeded) => {
            let index = seeded.find(symbol)?;
            let (stand, places) = (lock(seeded.stands.get(index)?), seeded.places.get(index).copied()?);
            let level = |(price, amount): (&i64, &i64)| {
                (decimal(*price, PRICE_PLACES, PRICE_PLACES), decimal(*amount, places, places))
            };
            Some(View {
                id: stand.book_id,
                bids: stand.bids.iter().rev().map(level).collect(),
                asks: stand.asks.iter().map(level).collect(),
            })
        }
        Material::Recording(recall) => recall.view(symbol),
        Material::Generated(_) => None,
    }
}

fn position(venue: &Venue, timeline: &Timeline, now_ms: i64) -> ((u64, usize), Option<Warp>) {
    let progress = lock(&venue.progress);
    let warp = progress.warp.or_else(|| venue.restamp.then(|| Warp::starting(timeline, now_ms)));
    ((progress.round, progress.index), warp)
}

/// The trades of a symbol that were played, oldest first.
pub(crate) fn trades(venue: &Venue, symbol: &str, now_ms: i64) -> Vec<Trade> {
    match &venue.material {
        Material::Recorded(timeline) => recorded(venue, timeline, symbol, now_ms),
        Material::SeededMarket(seeded) => {
            let Some(index) = seeded.find(symbol) else { return Vec::new() };
            let places = seeded.places.get(index).copied().unwrap_or(0);
            let Some(stand) = seeded.stands.get(index) else { return Vec::new() };
            let stand = lock(stand);
            let trade = |deal: &crate::seeded::Deal| Trade {
                id: match venue.exchange {
                    Exchange::Kucoin => crate::kucoin::frames::trade_sequence(deal),
                    _ => deal.id,
                },
                name: match venue.exchange {
                    Exchange::Kucoin => crate::kucoin::frames::trade_id(venue.market, deal),
                    _ => deal.wide_id.to_string(),
                },
                price: decimal(deal.price, PRICE_PLACES, PRICE_PLACES),
                amount: decimal(deal.amount, places, places),
                time_ns: deal.time_ns,
                sell: deal.sell,
            };
            stand.deals.iter().map(trade).collect()
        }
        Material::Recording(recall) => recall.trades(symbol),
        Material::Generated(_) => Vec::new(),
    }
}

/// A candle: open time in s; open, high, low, close; amount and turnover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub open_s: i64,
    pub prices: [String; 4],
    pub amount: String,
    pub turnover: String,
}

/// Candles of `len_s` with open times `from_s..=to_s`, folded from the trades that are remembered, oldest first; times without a
/// trade have none.
pub(crate) fn bars(venue: &Venue, symbol: &str, len_s: i64, (from_s, to_s): (i64, i64), now_ms: i64) -> Vec<Bar> {
    /// Decimals of every text here, at most.
    const PLACES: usize = 8;
    let parse = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{:0<PLACES$}", fraction.get(..PLACES.min(fraction.len())).unwrap_or(""));
        digits.parse::<i128>().unwrap_or(0)
    };
    let unit = 10_i128.pow(PLACES as u32);
    let text = |value: i128| format!("{}.{:0PLACES$}", value / unit, value % unit);
    let mut all = trades(venue, symbol, now_ms);
    all.sort_by_key(|trade| trade.time_ns);
    let mut bars: Vec<(i64, [i128; 4], i128, i128)> = Vec::new();
    for trade in &all {
        let open_s = trade.time_ns.div_euclid(1_000_000_000 * len_s.max(1)) * len_s.max(1);
        if !(from_s..=to_s).contains(&open_s) {
            continue;
        }
        let (price, amount) = (parse(&trade.price), parse(&trade.amount));
        if bars.last().is_none_or(|bar| bar.0 != open_s) {
            bars.push((open_s, [price; 4], 0, 0));
        }
        if let Some((_, [_, high, low, close], sum, turnover)) = bars.last_mut() {
            (*high, *low, *close) = (price.max(*high), price.min(*low), price);
            *sum += amount;
            *turnover += price * amount / unit;
        }
    }
    let bar = |(open_s, prices, amount, turnover): (i64, [i128; 4], i128, i128)| Bar {
        open_s,
        prices: prices.map(text),
        amount: text(amount),
        turnover: text(turnover),
    };
    bars.into_iter().map(bar).collect()
}

fn recorded(venue: &Venue, timeline: &Timeline, symbol: &str, now_ms: i64) -> Vec<Trade> {
    let is_wanted =
        |info: &crate::script::StreamInfo| info.symbol == symbol && TRADE_CHANNELS.contains(&info.channel());
    let Some(stream) = timeline.streams.iter().position(is_wanted) else { return Vec::new() };
    let ((round, index), warp) = position(venue, timeline, now_ms);
    let frames = timeline.frames_of(stream);
    // Without restamping every loop repeats the same trades.
    let loops = if warp.is_some() { 0..=round } else { round..=round };
    let mut trades = Vec::new();
    for at in loops {
        for &frame in frames.iter().filter(|&&frame| at < round || (frame as usize) < index) {
            let Some(frame) = timeline.frames.get(frame as usize) else { continue };
            let mut bytes = Vec::new();
            render(timeline, frame, at, warp.as_ref(), &mut bytes);
            trades.extend(parsed(&bytes));
        }
    }
    trades
}

/// The trades of a frame.
pub(crate) fn parsed(frame: &[u8]) -> Vec<Trade> {
    let Ok(value) = serde_json::from_slice::<Value>(frame) else { return Vec::new() };
    let body = value.get("result").or_else(|| value.get("data"));
    let rows = match body {
        Some(Value::Array(rows)) => rows.iter().collect(),
        Some(row) => vec![row],
        None => Vec::new(),
    };
    rows.into_iter().map(row).collect()
}

fn row(row: &Value) -> Trade {
    let text = |key: &str| row.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let first = |keys: &[&str]| keys.iter().find_map(|key| text(key)).unwrap_or_default();
    let amount = first(&["size", "amount"]);
    let time_ns = match (text("time").or_else(|| text("ts")), text("create_time_ms")) {
        (Some(ns), _) => ns.parse().unwrap_or(0),
        (None, Some(ms)) => {
            let (whole, fraction) = ms.split_once('.').unwrap_or((&ms, ""));
            let places = format!("{fraction:0<6}");
            let ns = places.get(..6).and_then(|ns| ns.parse::<i64>().ok()).unwrap_or(0);
            whole.parse::<i64>().unwrap_or(0).saturating_mul(1_000_000) + ns
        }
        (None, None) => first(&["create_time"]).parse::<i64>().unwrap_or(0).saturating_mul(1_000_000_000),
    };
    Trade {
        id: first(&["id_market", "sequence", "id"]).parse().unwrap_or(0),
        name: first(&["tradeId", "id"]),
        price: first(&["price"]),
        sell: text("side").map_or(amount.starts_with('-'), |side| side == "sell"),
        amount: amount.trim_start_matches('-').to_owned(),
        time_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_trade_keeps_its_texts_and_both_ids() {
        let frame = br#"{"time":1,"channel":"spot.trades","event":"update","result":{"id":816995772,"create_time":1619093543,"create_time_ms":"1619093543708.2642","side":"sell","currency_pair":"DIS_USDT","amount":"0.2010000000","price":"121.5800000000"}}"#;
        let trade = Trade {
            id: 816_995_772,
            name: "816995772".to_owned(),
            price: "121.5800000000".to_owned(),
            amount: "0.2010000000".to_owned(),
            time_ns: 1_619_093_543_708_264_200,
            sell: true,
        };
        assert_eq!(parsed(frame), [trade]);
    }

    #[test]
    fn a_contract_trade_is_sold_when_its_size_is_negative() {
        let frame =
            br#"{"result":[{"size":-90,"id":3,"create_time_ms":7,"price":0.836},{"size":5,"id":4,"price":"1"}]}"#;
        let found: Vec<_> = parsed(frame).into_iter().map(|trade| (trade.id, trade.amount, trade.sell)).collect();
        assert_eq!(found, [(3, "90".to_owned(), true), (4, "5".to_owned(), false)]);
    }
}
