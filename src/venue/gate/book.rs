//! Order books: changes of the socket, whole books of the socket and of REST.
//!
//! Levels are `["p","q"]` on spot and `{"p":"..","s":..}` on futures; within a side of changes they are in no
//! order. A message whose sides are both empty still moves the update id on.

use super::super::json;
use super::super::message::{Of, Raw, Result};
use super::field::opt_time;
use super::messages::Cx;
use model::row::{DepthUpdate, Level};
use model::symbol::SymbolId;

/// `{"t":1606294781123,["e":"depthUpdate","E":1606294781,]"s":"BTC_USDT","U":48776301,"u":48776306,"b":[..],`
/// `"a":[..][,"l":"100"][,"full":true]}`.
///
/// With `full` the levels are the book as a whole, which takes the place of the one before. It becomes two
/// messages: changes `U..u` without levels, so that the ids continue (or their hole shows), and the book.
pub(super) fn update(cx: &mut Cx<'_, '_>, data: &str) -> Result<()> {
    const OF: Of = Of("order_book_update");
    let keys = ["t", "s", "U", "u", "b", "a", "full", "e", "E", "l"];
    let [time, s, first, last, bids, asks, full, ..] = cx.fields(OF.0, data, &keys)?;
    let symbol = OF.word("s", s)?;
    let changes = DepthUpdate {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: opt_time(OF, "t", time)?,
        first_update_id: Some(OF.int("U", first)?),
        final_update_id: Some(OF.int("u", last)?),
        prev_update_id: None,
        is_snapshot: false,
        first_level: u32::try_from(cx.rows.levels.len()).unwrap_or(u32::MAX),
        level_count: 0,
    };
    if !(full.is_some() && OF.flag("full", full)?) {
        return push(cx, OF, ("b", bids), ("a", asks), changes);
    }
    let book = DepthUpdate { first_update_id: changes.final_update_id, is_snapshot: true, ..changes.clone() };
    cx.rows.depth.push(changes);
    push(cx, OF, ("b", bids), ("a", asks), book)
}

/// `{"t":ms,"lastUpdateId":..,"s":"BTC_USDT","l":"20","bids":[..],"asks":[..]}` (spot socket),
/// `{"t":ms,"id":..,"contract":"BTC_USDT","l":"20","asks":[..],"bids":[..]}` (futures socket), and
/// `{"id":..,"current":ms or s,"update":ms or s,"asks":[..],"bids":[..]}` (REST, where `symbol` comes from the
/// request and `id` is missing without `with_id`).
pub(super) fn whole(cx: &mut Cx<'_, '_>, data: &str, symbol: Option<&str>) -> Result<()> {
    const OF: Of = Of("order_book");
    let keys = ["t", "current", "update", "id", "lastUpdateId", "s", "contract", "bids", "asks", "l"];
    let [time, current, update, id, last, s, contract, bids, asks, _] = cx.fields(OF.0, data, &keys)?;
    let symbol: SymbolId = match symbol {
        Some(symbol) => cx.rows.symbols.intern(symbol),
        None => cx.rows.symbols.intern(&OF.word("s", s.or(contract))?),
    };
    let ts_event_us = match (time, current) {
        (Some(_), _) => opt_time(OF, "t", time)?,
        (None, Some(_)) => opt_time(OF, "current", current)?,
        (None, None) => opt_time(OF, "update", update)?,
    };
    let id = id.or(last).map(|raw| OF.int("id", Some(raw))).transpose()?;
    let row = DepthUpdate {
        symbol,
        ts_event_us,
        first_update_id: id,
        final_update_id: id,
        prev_update_id: None,
        is_snapshot: true,
        first_level: 0,
        level_count: 0,
    };
    push(cx, OF, ("bids", bids), ("asks", asks), row)
}

type Side<'a> = (&'static str, Raw<'a>);

/// Pushes the levels of both sides, then `row`, which learns where they are.
fn push(cx: &mut Cx<'_, '_>, of: Of, bids: Side<'_>, asks: Side<'_>, mut row: DepthUpdate) -> Result<()> {
    let start = cx.rows.levels.len();
    side(cx, of, bids, true)?;
    side(cx, of, asks, false)?;
    let count = cx.rows.levels.len() - start;
    let (Ok(start), Ok(count)) = (u32::try_from(start), u32::try_from(count)) else {
        return of.wrong("levels: too many");
    };
    row.first_level = start;
    row.level_count = count;
    cx.rows.depth.push(row);
    Ok(())
}

/// The levels of a side; one that is absent (or `null`) is empty.
fn side(cx: &mut Cx<'_, '_>, of: Of, (field, raw): Side<'_>, bid: bool) -> Result<()> {
    let Some(raw) = raw else { return Ok(()) };
    if !json::is_array(raw) {
        return of.wrong(field);
    }
    let mut level = 0_i32;
    json::array(raw, &mut |entry| {
        let (price, amount) = if json::is_array(entry) { pair(cx, entry)? } else { named(cx, entry)? };
        cx.rows.levels.push(Level { bid, level, price: of.num(field, price)?, amount: of.num(field, amount)? });
        level = level.saturating_add(1);
        Ok(())
    })
}

/// `["p","q"]`.
fn pair<'a>(cx: &mut Cx<'_, '_>, entry: &'a str) -> Result<(Raw<'a>, Raw<'a>)> {
    let mut parts: [Raw<'a>; 2] = [None; 2];
    let mut n = 0_usize;
    json::array(entry, &mut |part| {
        match parts.get_mut(n) {
            Some(slot) => *slot = Some(part),
            None => cx.drift("field order_book level.2"),
        }
        n += 1;
        Ok(())
    })?;
    let [price, amount] = parts;
    Ok((price, amount))
}

/// `{"p":"..","s":..}`.
fn named<'a>(cx: &mut Cx<'_, '_>, entry: &'a str) -> Result<(Raw<'a>, Raw<'a>)> {
    let [price, size] = cx.fields("order_book level", entry, &["p", "s"])?;
    Ok((price, size))
}
