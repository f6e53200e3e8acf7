//! Seeds of bars that were open when recording of a symbol began: the venue's candles up to the last whole
//! minute before the first recorded trade, and the single trades between that minute and the first recorded one.
//!
//! ```text
//!  week        day       hour    minute    first recorded trade f
//!   |--- 1d ----|-- 1h ---|-- 1m --|-- trades --|=========== the log ===========>
//!                                   ids .. f-1   f
//! ```
//! No trade counts twice and none is missing: candles end where a minute ends, the trades of the broken minute are
//! requested by id, without a gap, and end right before `f`. When anything does not fit, there is no seed: a bar
//! that is marked is better than a wrong one.
//!
//! Supported where trades can be requested by id and candles have all nine fields
//! ([`VenueSpec::seeding`](venue::VenueSpec::seeding)); elsewhere the first bars stay marked.

use serde::{Deserialize, Serialize};

use super::official::{self, SETTLE_US, VenueClient};
use super::request_error::RequestError;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, KlineData, NO_ID, SEEDED, Tick};
use model::row::{AggTrade, Side, Trade};
use model::unit::Unit;
use model::{Channel, Num, Rows};
use venue::gap::count as ids;
use venue::{Continuity, Frame, FrameKind, KlinesQuery, Missing, Venue};

/// Pages of trades requested backwards from the first recorded one; a minute with more is not seeded.
const PAGES_MAX: u32 = 100;
/// Ids of one page.
const PAGE: i64 = 1_000;

/// The first recorded row of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Its own id: the trade's, or the aggregate's.
    pub row_id: i64,
    /// Id of the first trade in it.
    pub trade_id: i64,
    /// Its time, us.
    pub ts_us: i64,
}

/// From this time on the candles before the first trade are settled, us.
pub fn ready_at_us(first: &First) -> i64 {
    Interval::M1.open_of(first.ts_us) + SETTLE_US
}

/// Seeds of the bars that were open at the first recorded trade, in `unit` of its amounts, ready for
/// [`fold::candles::KlineGenerator::prepend`]: each ends with the trade before it. An interval in whose bar
/// nothing was traded before has none.
///
/// # Errors
/// When the venue does not answer, or its answers leave a gap.
pub async fn seeds(
    client: &mut impl VenueClient,
    venue: &Venue,
    source: Channel,
    symbol: &str,
    first: &First,
    unit: Unit,
) -> Result<Vec<(Interval, KlineData)>, RequestError> {
    if !venue.spec.seeding.contains(&source) {
        return Err(RequestError::NoSeeds { venue: venue.id().as_str(), source_channel: source });
    }
    if unit == Unit::Unknown {
        return Err(RequestError::UnknownUnit(symbol.to_owned()));
    }
    let open = |interval: Interval| interval.open_of(first.ts_us);
    let (week, day, hour, minute) = (open(Interval::W1), open(Interval::D1), open(Interval::H1), open(Interval::M1));
    let mut parts = Vec::new();
    for (interval, from, until) in [(Interval::D1, week, day), (Interval::H1, day, hour), (Interval::M1, hour, minute)]
    {
        if from < until {
            parts.extend(whole(client, venue, symbol, interval, (from, until), unit).await?);
        }
    }
    let trades = broken_minute(client, venue, source, symbol, first, !parts.is_empty()).await?;
    let mut seeds = Vec::new();
    for interval in Interval::ALL {
        let from = open(interval);
        let mut bar: Option<KlineData> = None;
        for part in parts.iter().filter(|p| p.open_time_us >= from && p.flags & FLAT == 0) {
            bar = Some(match bar {
                None => KlineData { open_time_us: from, ..*part },
                Some(bar) => bar.joined(part).ok_or(RequestError::Digits("candles", "one"))?,
            });
        }
        for tick in &trades {
            let bar_now = bar.unwrap_or(KlineData { open_time_us: from, ..KlineData::default() });
            bar = Some(bar_now.with(tick, unit).ok_or(RequestError::Digits("a trade", "a candle"))?);
        }
        if let Some(bar) = bar {
            let last = first.trade_id.saturating_sub(1);
            let count = i64::try_from(bar.trade_count)?;
            let flags = bar.flags & !FINAL | SEEDED;
            // Where ids have no gaps the number of trades gives the first one.
            let first_trade_id =
                if unbroken(venue, source) { last.saturating_sub(count).saturating_add(1) } else { NO_ID };
            seeds.push((interval, KlineData { first_trade_id, last_trade_id: last, flags, ..bar }));
        }
    }
    Ok(seeds)
}

/// True where every trade id is in a row: USD-M's aggregates leave some out.
fn unbroken(venue: &Venue, source: Channel) -> bool {
    matches!(venue.spec.continuity(source), Continuity::TradeId | Continuity::AggIdAndTrades)
}

/// All candles of `interval` from `from` up to `until`.
async fn whole(
    client: &mut impl VenueClient,
    venue: &Venue,
    symbol: &str,
    interval: Interval,
    (from, until): (i64, i64),
    unit: Unit,
) -> Result<Vec<KlineData>, RequestError> {
    let n = (until - from) / interval.len_us();
    let (last_us, limit) = (until - interval.len_us(), u32::try_from(n)?);
    let query = KlinesQuery { symbol, interval, first_us: from, last_us, limit };
    let rows = official::fetch(client, venue, &query).await?;
    // Before its listing a symbol has no candles; after it, it has all of them.
    if let Some(row) = rows.first() {
        let due = (until - row.open_time_us) / interval.len_us();
        if rows.len() as i64 != due {
            return Err(RequestError::TooFew { got: rows.len(), due, interval, symbol: symbol.to_owned() });
        }
    }
    rows.iter().map(|row| official::bar(row, unit).ok_or(RequestError::Digits("a candle", "one"))).collect()
}

/// The trades of the minute up to the first recorded one, oldest first. `traded_before`: the market is older than
/// the minute, so trades from before it must turn up.
async fn broken_minute(
    client: &mut impl VenueClient,
    venue: &Venue,
    source: Channel,
    symbol: &str,
    first: &First,
    traded_before: bool,
) -> Result<Vec<Tick>, RequestError> {
    let minute = Interval::M1.open_of(first.ts_us);
    let mut newest_first: Vec<Tick> = Vec::new();
    let mut to = first.row_id.saturating_sub(1);
    let mut behind = first.trade_id;
    for _ in 0..PAGES_MAX {
        if to < 0 {
            newest_first.reverse();
            return Ok(newest_first);
        }
        let from = (to - PAGE + 1).max(0);
        let missing =
            Missing { channel: source, symbol, from, to, after_us: None, before_us: Some(first.ts_us), page: 0 };
        let request = venue.repair_request(&missing).ok_or(RequestError::NoTrades)?;
        let body = client.send(&request).await?;
        let meta = request.meta(String::new(), 200);
        let mut rows = Rows::new();
        venue
            .frames
            .decode(&Frame { kind: FrameKind::Rest, payload: &body, rest: Some(&meta) }, &mut rows)
            .map_err(|source| RequestError::NotTrades { symbol: symbol.to_owned(), source })?;
        if !rows.rejects.is_empty() {
            return Err(RequestError::OddTrade { symbol: symbol.to_owned(), why: rows.rejects.why.to_string() });
        }
        let mut page = ticks(source, &rows)?;
        page.sort_by_key(|(row_id, _)| *row_id);
        for (row_id, tick) in page.into_iter().rev() {
            let fits = row_id == to && (tick.last_id.checked_add(1) == Some(behind) || !unbroken(venue, source));
            if !fits {
                return Err(RequestError::Missing { symbol: symbol.to_owned(), side: "after", id: row_id });
            }
            if tick.ts_us < minute {
                newest_first.reverse();
                return Ok(newest_first);
            }
            (to, behind) = (to - 1, tick.first_id);
            newest_first.push(tick);
        }
        if to >= from {
            if traded_before {
                return Err(RequestError::Missing { symbol: symbol.to_owned(), side: "up to", id: to });
            }
            // The first trade ever.
            newest_first.reverse();
            return Ok(newest_first);
        }
    }
    Err(RequestError::TooMany(symbol.to_owned()))
}

/// The rows with their own ids.
fn ticks(source: Channel, rows: &Rows) -> Result<Vec<(i64, Tick)>, RequestError> {
    let tick = |ts_us, price: Num, amount: Num, first_id, last_id, side| -> Result<Tick, RequestError> {
        let count = u32::try_from(ids(first_id, last_id))?;
        let taker_buy = side == Side::Buy;
        Ok(Tick { symbol_index: 0, ts_us, price, amount, first_id, last_id, agg_id: NO_ID, count, taker_buy })
    };
    if source == Channel::AggTrades {
        let of = |r: &AggTrade| Ok((r.agg_id, tick(r.ts_trade_us, r.price, r.amount, r.first_id, r.last_id, r.side)?));
        return rows.agg_trades.iter().map(of).collect();
    }
    let of = |r: &Trade| {
        let id = r.id.ok_or(RequestError::Lacks("an id"))?;
        let ts_us = r.ts_trade_us.ok_or(RequestError::Lacks("a time"))?;
        Ok((id, tick(ts_us, r.price, r.amount, id, id, r.side)?))
    };
    rows.trades.iter().map(of).collect()
}

#[cfg(test)]
#[path = "seed_tests.rs"]
mod tests;
