//! Candles over REST: `klines` and `uiKlines` of spot, USD-M and COIN-M, folded from the trades played so far.
//!
//! Parameters, weights, the row's twelve values and error bodies are those of the "Market Data endpoints" pages of both markets: open
//! times between `startTime` and `endTime` inclusive, the first ones from `startTime` on, else the newest. The open candle is the last
//! row. Minutes without a trade are flat at the close before; before its first trade a symbol has no candle. Left out: `timeZone`, and the
//! intervals of seconds, three days and months. Assumed, because no document says it: a `limit` above the maximum is cut to it.

use std::fmt::Write as _;

use crate::binance::Market;
use crate::generate::Candle;
use crate::http::Answer;
use crate::report::lock;
use crate::rest::{error, has_symbol};
use crate::tape::{Kind, Row, Want, minute_of, rows};
use crate::venue::{Material, Venue};

const MINUTE_MS: i64 = 60_000;
/// 1970-01-05, the first Monday.
const MONDAY_MS: i64 = 4 * 1_440 * MINUTE_MS;
/// Decimals that a recorded price or amount has at most.
const PLACES: usize = 8;

/// Length, ms, and the time from which it counts.
fn interval(word: &str) -> Option<(i64, i64)> {
    let minutes = match word {
        "1m" => 1,
        "3m" => 3,
        "5m" => 5,
        "15m" => 15,
        "30m" => 30,
        "1h" => 60,
        "2h" => 120,
        "4h" => 240,
        "6h" => 360,
        "8h" => 480,
        "12h" => 720,
        "1d" => 1_440,
        "1w" => return Some((7 * 1_440 * MINUTE_MS, MONDAY_MS)),
        _ => return None,
    };
    Some((minutes * MINUTE_MS, 0))
}

/// Weight and answer of a path below the venue's prefix, `None` when it is not about candles.
pub(crate) fn answer<'q>(venue: &Venue, path: &str, get: &dyn Fn(&str) -> Option<&'q str>) -> Option<(u32, Answer)> {
    let spot = venue.market == Market::Spot;
    if path != "/klines" && !(spot && path == "/uiKlines") {
        return None;
    }
    let asked = get("limit").and_then(|limit| limit.parse::<u32>().ok()).unwrap_or(500);
    let weight = match (spot, asked) {
        (true, _) => 2,
        (false, ..100) => 1,
        (false, ..500) => 2,
        (false, ..=1_000) => 5,
        (false, _) => 10,
    };
    Some((weight, page(venue, get, if spot { 1_000 } else { 1_500 }).unwrap_or_else(|refusal| refusal)))
}

fn page<'q>(venue: &Venue, get: &dyn Fn(&str) -> Option<&'q str>, most: usize) -> Result<Answer, Answer> {
    let mandatory = |name: &str| {
        let msg = format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed.");
        get(name).ok_or_else(|| error(400, -1102, &msg))
    };
    let number = |name: &str| match get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => {
            let msg = format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.");
            Err(error(400, -1100, &msg))
        }
    };
    let symbol = mandatory("symbol")?;
    let (len, anchor) = interval(mandatory("interval")?).ok_or_else(|| error(400, -1120, "Invalid interval."))?;
    let limit = match number("limit")? {
        None => 500,
        Some(0) => return Err(error(400, -1130, "Data sent for parameter 'limit' is not valid.")),
        Some(limit) => usize::try_from(limit).unwrap_or(most).min(most),
    };
    let (start, end) = (number("startTime")?, number("endTime")?);
    if !has_symbol(venue, symbol) {
        return Err(error(400, -1121, "Invalid symbol."));
    }
    let known = venue.spec.klines;
    let (days_max, from_the_start) = (known.and_then(|k| k.days_max), known.is_none_or(|k| k.from_the_start));
    if let (Some(days), Some((start, end))) = (days_max, start.zip(end))
        && end.saturating_sub(start) > i64::from(days) * 1_440 * MINUTE_MS
    {
        return Err(error(400, -1128, "Combination of optional parameters invalid."));
    }
    let (minutes, tick, lot, places) = minutes(venue, symbol);
    let candles = fold(&minutes, len, anchor);
    let inside = |c: &&Candle| start.is_none_or(|s| c.open_ms >= s) && end.is_none_or(|e| c.open_ms <= e);
    let mut chosen: Vec<&Candle> = candles.iter().filter(inside).collect();
    if start.is_none() || !from_the_start {
        chosen.drain(..chosen.len().saturating_sub(limit));
    }
    chosen.truncate(limit);
    let mut body = "[".to_owned();
    for (index, c) in chosen.into_iter().enumerate() {
        let price = |value: i64| fixed(value.into(), tick, places.0);
        let [open, high, low, close] = c.prices.map(price);
        let amount = |value: i128| fixed(value, lot, places.1);
        let ([worth, taker_worth], decimals) = c.quote_or_base_volume(venue.market, symbol, tick, lot);
        let quote_or_base_text = |value: i128| fixed(value, decimals, places.0);
        let _ = write!(
            body,
            r#"{}[{},"{open}","{high}","{low}","{close}","{}",{},"{}",{},"{}","{}","0"]"#,
            if index > 0 { "," } else { "" },
            c.open_ms,
            amount(c.amount),
            c.open_ms + len - 1,
            quote_or_base_text(worth),
            c.count,
            amount(c.taker_amount),
            quote_or_base_text(taker_worth),
        );
    }
    body.push(']');
    Ok(Answer::json(200, body))
}

/// Minutes with a trade, oldest first; decimals of price and amount, and those that are printed at least.
fn minutes(venue: &Venue, symbol: &str) -> (Vec<Candle>, usize, usize, (usize, usize)) {
    match &venue.material {
        Material::Generated(market_state) => {
            let d = market_state.decimals;
            let at = market_state.symbols.iter().position(|have| have == symbol);
            let tape = at.and_then(|at| market_state.tapes.get(at)).map(lock);
            let minutes = tape.map_or_else(Vec::new, |tape| tape.minutes().cloned().collect());
            (minutes, d.tick_decimals, d.lot_decimals, (d.price, d.amount))
        }
        Material::SeededMarket(_) => (Vec::new(), 0, 0, (0, 0)),
        Material::Recording(recall) => {
            let (minutes, places) = recall.minutes(symbol);
            (minutes, PLACES, PLACES, places)
        }
        Material::Recorded(_) => {
            let all = |kind| rows(venue, symbol, kind, Want::From(0), usize::MAX);
            let trades = all(Kind::Trade);
            let trades = if trades.is_empty() { all(Kind::Agg) } else { trades };
            let (price, amount) = (longest(trades.iter().map(|r| &r.price)), longest(trades.iter().map(|r| &r.amount)));
            (recorded(&trades), PLACES, PLACES, (price, amount))
        }
    }
}

/// Most decimals among texts.
fn longest<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.map(|text| text.split_once('.').map_or(0, |(_, fraction)| fraction.len())).max().unwrap_or(0)
}

/// A recorded number in units of the last of [`PLACES`] decimals.
pub(crate) fn mantissa(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<PLACES$}").parse().ok()
}

/// The minutes of recorded trades. A price of zero is no trade of the market (USD-M's insurance fund and ADL).
fn recorded(rows: &[Row]) -> Vec<Candle> {
    let mut minutes: Vec<Candle> = Vec::new();
    for row in rows {
        let (Some(price), Some(amount)) = (mantissa(&row.price), mantissa(&row.amount)) else { continue };
        if price <= 0 {
            continue;
        }
        let trades = if row.last > 0 { row.last - row.first + 1 } else { 1 };
        let open_ms = minute_of(row.time_ms);
        if minutes.last().is_none_or(|last| last.open_ms != open_ms) {
            minutes.push(Candle { open_ms, ..Candle::default() });
        }
        if let Some(last) = minutes.last_mut() {
            last.add(row.id, price, amount, row.maker);
            last.count += trades - 1;
        }
    }
    minutes
}

/// Candles of `len` ms counted from `anchor`, flat ones between those with a trade.
fn fold(minutes: &[Candle], len: i64, anchor: i64) -> Vec<Candle> {
    let mut candles: Vec<Candle> = Vec::new();
    for minute in minutes {
        let open_ms = (minute.open_ms - anchor).div_euclid(len) * len + anchor;
        while let Some(last) = candles.last().filter(|last| last.open_ms + len < open_ms) {
            let [.., close] = last.prices;
            let flat = Candle { open_ms: last.open_ms + len, prices: [close; 4], ..Candle::default() };
            candles.push(flat);
        }
        match candles.last_mut().filter(|last| last.open_ms == open_ms) {
            Some(last) => {
                let ([_, high, low, close], [_, h, l, c]) = (&mut last.prices, minute.prices);
                (*high, *low, *close) = ((*high).max(h), (*low).min(l), c);
                last.count += minute.count;
                last.amount += minute.amount;
                last.quote += minute.quote;
                last.taker_amount += minute.taker_amount;
                last.taker_quote += minute.taker_quote;
                last.base_volume[0] += minute.base_volume[0];
                last.base_volume[1] += minute.base_volume[1];
            }
            None => candles.push(Candle { open_ms, ..minute.clone() }),
        }
    }
    candles
}

/// `mantissa` with `scale` decimals, printed with `places`, or with more where they are needed.
fn fixed(mantissa: i128, scale: usize, places: usize) -> String {
    let unit = 10_i128.pow(u32::try_from(scale).unwrap_or(0));
    let fraction = format!("{:0scale$}", mantissa % unit);
    let fraction = if scale == 0 { "" } else { fraction.trim_end_matches('0') };
    if places == 0 && fraction.is_empty() {
        return (mantissa / unit).to_string();
    }
    format!("{}.{fraction:0<places$}", mantissa / unit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(id: i64, time_ms: i64, price: &str, amount: &str, maker: bool) -> Row {
        Row { id, price: price.into(), amount: amount.into(), time_ms, maker, ..Row::default() }
    }

    #[test]
    fn trades_become_candles_with_flat_ones_between_and_weeks_begin_on_mondays() {
        // 1970-01-04, a Sunday, 23:58.
        let sunday = MONDAY_MS - 2 * MINUTE_MS;
        let rows = [
            row(1, sunday, "2.50", "3", false),
            row(2, sunday + 59_999, "2.40", "1.5", true),
            row(3, MONDAY_MS, "9", "1", false),
            row(4, MONDAY_MS, "0", "1", false),
        ];
        let minutes = recorded(&rows);
        let opens = |candles: &[Candle]| candles.iter().map(|c| c.open_ms).collect::<Vec<_>>();
        let whole = fold(&minutes, MINUTE_MS, 0);
        assert_eq!(opens(&whole), [sunday, sunday + MINUTE_MS, MONDAY_MS]);
        assert_eq!((whole[1].prices, whole[1].count), ([240_000_000; 4], 0));
        let first = &whole[0];
        assert_eq!((first.prices, first.count), ([250_000_000, 250_000_000, 240_000_000, 240_000_000], 2));
        assert_eq!(fixed(first.quote, 16, 8), "11.10000000");
        assert_eq!(fixed(first.taker_amount, 8, 1), "3.0");
        let (len, anchor) = interval("1w").unwrap();
        assert_eq!(opens(&fold(&minutes, len, anchor)), [MONDAY_MS - len, MONDAY_MS]);
        assert!(interval("1M").is_none() && interval("7m").is_none());
    }

    #[test]
    fn numbers_print_with_the_venues_places_and_never_lose_a_digit() {
        assert_eq!(fixed(6_183_763, 2, 8), "61837.63000000");
        assert_eq!(fixed(1, 16, 8), "0.0000000000000001");
        assert_eq!(fixed(1_500, 3, 0), "1.5");
        assert_eq!(fixed(12, 0, 0), "12");
        assert_eq!(fixed(0, 3, 2), "0.00");
    }
}
