//! Order books: changes of both markets and whole books of REST. Judges no sequence.
//!
//! An entry with price 0 only advances the sequence: it gives no level, but the message keeps its ids. Entries of
//! one message stay in the order sent, which is the order to apply them in.

use super::super::book::Read;
use super::super::message::{MessageName, Result};
use super::field::{Context, int, opt_time};
use model::row::{DepthUpdate, Level};
use model::{Num, SymbolId};

/// A message without levels yet.
fn message(symbol: SymbolId, first: i64, last: i64, is_snapshot: bool) -> DepthUpdate {
    let (first_update_id, final_update_id) = (Some(first), Some(last));
    DepthUpdate { first_update_id, final_update_id, is_snapshot, ..DepthUpdate::of(symbol) }
}

/// Spot: `{"changes":{"asks":[["0.014868","6.2437","2339568792"]],"bids":[]},"sequenceStart":2339568792,`
/// `"sequenceEnd":2339568792,"symbol":"LINK-BTC","time":1767682674904}`; `time` is missing until 2022.
pub(super) fn spot_changes(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("trade.l2update");
    let keys = ["changes", "sequenceStart", "sequenceEnd", "symbol", "time"];
    let [changes, first, last, named, time] = cx.fields(OF.0, data, &keys)?;
    let Some(changes) = changes else {
        return OF.wrong("changes");
    };
    let named = named.map(|_| OF.word("symbol", named)).transpose()?;
    let (first, last) = (int(OF, "sequenceStart", first)?, int(OF, "sequenceEnd", last)?);
    if first > last {
        return OF.wrong("sequenceStart");
    }
    let symbol = cx.rows.symbols.intern(named.as_deref().unwrap_or(symbol));
    let row = DepthUpdate { ts_event_us: opt_time(OF, "time", time)?, ..message(symbol, first, last, false) };
    let [asks, bids] = cx.fields("trade.l2update.changes", changes, &["asks", "bids"])?;
    cx.book(OF, ("bids", bids), ("asks", asks), row, &mut |cx, field, entry| level(cx, OF, field, entry))
}

/// Futures: `{"sequence":1705411242392,"change":"0.2166,sell,0","timestamp":1705708800009}`, one change a frame.
pub(super) fn futures_change(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("level2");
    let [sequence, change, time, named] = cx.fields(OF.0, data, &["sequence", "change", "timestamp", "symbol"])?;
    let named = named.map(|_| OF.word("symbol", named)).transpose()?;
    let sequence = int(OF, "sequence", sequence)?;
    let change = OF.word("change", change)?;
    let mut parts = change.split(',');
    let (Some(price), Some(side), Some(amount), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return OF.wrong("change");
    };
    let bid = match side {
        "buy" => true,
        "sell" => false,
        _ => return OF.wrong("change"),
    };
    let number = |text: &str| Num::parse(text.as_bytes()).or_else(|_| OF.wrong("change"));
    let level = Level { bid, level: 0, price: number(price)?, amount: number(amount)? };
    let symbol = cx.rows.symbols.intern(named.as_deref().unwrap_or(symbol));
    let row =
        DepthUpdate { ts_event_us: opt_time(OF, "timestamp", time)?, ..message(symbol, sequence, sequence, false) };
    let start = cx.rows.levels.len();
    if !level.price.is_zero() {
        cx.rows.levels.push(level);
    }
    cx.with_levels(OF, start, row)
}

/// A REST book. Spot `{"time":1654325095225,"sequence":"1630423725254","bids":[["29701.4","1.12"]],"asks":[..]}`,
/// futures `{"symbol":"XBTUSDTM","sequence":1645045405918,"asks":[[29641.0,30109]],"bids":[..],"ts":..}`.
pub(super) fn whole(cx: &mut Context<'_, '_>, data: &str, symbol: &str) -> Result<()> {
    const OF: MessageName = MessageName("depth snapshot");
    let [sequence, bids, asks, time, ts, _] =
        cx.fields(OF.0, data, &["sequence", "bids", "asks", "time", "ts", "symbol"])?;
    let sequence = int(OF, "sequence", sequence)?;
    let symbol = cx.rows.symbols.intern(symbol);
    let row =
        DepthUpdate { ts_event_us: opt_time(OF, "time", time.or(ts))?, ..message(symbol, sequence, sequence, true) };
    cx.book(OF, ("bids", bids), ("asks", asks), row, &mut |cx, field, entry| level(cx, OF, field, entry))
}

/// Price, amount, and in changes the sequence.
fn level(cx: &mut Context<'_, '_>, of: MessageName, field: &'static str, entry: &str) -> Read {
    let [price, amount, _] = of.elements_and::<3>(field, entry, &mut |_| cx.drift("field book entry.3"))?;
    let (price, amount) = (of.num(field, price)?, of.num(field, amount)?);
    Ok((!price.is_zero()).then_some((price, amount)))
}
