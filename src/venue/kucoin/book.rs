//! Order books: changes of both markets and whole books of REST. Judges no sequence.
//!
//! An entry with price 0 only advances the sequence: it gives no level, but the message keeps its ids. Entries of
//! one message stay in the order sent, which is the order to apply them in.

use super::super::json;
use super::super::message::Of;
use super::super::message::Raw;
use super::super::message::Result;
use super::field::Context;
use super::field::{int, opt_time};

use model::Num;
use model::row::{DepthUpdate, Level};

/// A message without levels yet.
fn message(symbol: model::SymbolId, first: i64, last: i64, is_snapshot: bool) -> DepthUpdate {
    DepthUpdate {
        symbol,
        ts_event_us: None,
        first_update_id: Some(first),
        final_update_id: Some(last),
        prev_update_id: None,
        is_snapshot,
        first_level: 0,
        level_count: 0,
    }
}

/// Spot: `{"changes":{"asks":[["0.014868","6.2437","2339568792"]],"bids":[]},"sequenceStart":2339568792,`
/// `"sequenceEnd":2339568792,"symbol":"LINK-BTC","time":1767682674904}`; `time` is missing until 2022.
pub(super) fn spot_changes(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: Of = Of("trade.l2update");
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
    let mut row = DepthUpdate { ts_event_us: opt_time(OF, "time", time)?, ..message(symbol, first, last, false) };
    let [asks, bids] = cx.fields("trade.l2update.changes", changes, &["asks", "bids"])?;
    levels(cx, OF, ("bids", bids), ("asks", asks), &mut row)?;
    cx.rows.depth.push(row);
    Ok(())
}

/// Futures: `{"sequence":1705411242392,"change":"0.2166,sell,0","timestamp":1705708800009}`, one change a frame.
pub(super) fn futures_change(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: Of = Of("level2");
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
    let mut row =
        DepthUpdate { ts_event_us: opt_time(OF, "timestamp", time)?, ..message(symbol, sequence, sequence, false) };
    let start = cx.rows.levels.len();
    if !level.price.is_zero() {
        cx.rows.levels.push(level);
    }
    place(cx, OF, start, &mut row)?;
    cx.rows.depth.push(row);
    Ok(())
}

/// A REST book. Spot `{"time":1654325095225,"sequence":"1630423725254","bids":[["29701.4","1.12"]],"asks":[..]}`,
/// futures `{"symbol":"XBTUSDTM","sequence":1645045405918,"asks":[[29641.0,30109]],"bids":[..],"ts":..}`.
pub(super) fn whole(cx: &mut Context<'_, '_>, data: &str, symbol: &str) -> Result<()> {
    const OF: Of = Of("depth snapshot");
    let [sequence, bids, asks, time, ts, _] =
        cx.fields(OF.0, data, &["sequence", "bids", "asks", "time", "ts", "symbol"])?;
    let sequence = int(OF, "sequence", sequence)?;
    let symbol = cx.rows.symbols.intern(symbol);
    let mut row =
        DepthUpdate { ts_event_us: opt_time(OF, "time", time.or(ts))?, ..message(symbol, sequence, sequence, true) };
    levels(cx, OF, ("bids", bids), ("asks", asks), &mut row)?;
    cx.rows.depth.push(row);
    Ok(())
}

/// Both sides of a book; `row` learns where its levels are.
fn levels(
    cx: &mut Context<'_, '_>,
    of: Of,
    bids: (&'static str, Raw<'_>),
    asks: (&'static str, Raw<'_>),
    row: &mut DepthUpdate,
) -> Result<()> {
    let start = cx.rows.levels.len();
    side(cx, of, bids, true)?;
    side(cx, of, asks, false)?;
    place(cx, of, start, row)
}

fn place(cx: &Context<'_, '_>, of: Of, start: usize, row: &mut DepthUpdate) -> Result<()> {
    match (u32::try_from(start), u32::try_from(cx.rows.levels.len() - start)) {
        (Ok(start), Ok(count)) => {
            row.first_level = start;
            row.level_count = count;
            Ok(())
        }
        _ => of.wrong("levels: too many"),
    }
}

fn side(cx: &mut Context<'_, '_>, of: Of, (field, raw): (&'static str, Raw<'_>), bid: bool) -> Result<()> {
    let Some(raw) = raw.filter(|r| json::is_array(r)) else {
        return of.wrong(field);
    };
    let mut index = 0_i32;
    json::array(raw, &mut |entry| {
        if !json::is_array(entry) {
            return of.wrong(field);
        }
        // Price, amount, and in changes the sequence.
        let mut parts: [Raw<'_>; 3] = [None; 3];
        let mut n = 0_usize;
        json::array(entry, &mut |part| {
            match parts.get_mut(n) {
                Some(slot) => *slot = Some(part),
                None => cx.drift("field book entry.3"),
            }
            n += 1;
            Ok(())
        })?;
        let level = Level { bid, level: index, price: of.num(field, parts[0])?, amount: of.num(field, parts[1])? };
        if !level.price.is_zero() {
            cx.rows.levels.push(level);
        }
        index = index.saturating_add(1);
        Ok(())
    })
}
