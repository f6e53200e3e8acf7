//! Order books: changes of the socket, whole books of the socket and of REST.
//!
//! Levels are `["p","q"]` on spot and `{"p":"..","s":..}` on futures; within a side of changes they are in no
//! order. A message whose sides are both empty still moves the update id on.

use super::super::json;
use super::super::message::{MessageName, Raw, Result};
use super::field::opt_time;
use super::messages::Cx;
use model::row::DepthUpdate;
use model::symbol::SymbolId;

/// `{"t":1606294781123,["e":"depthUpdate","E":1606294781,]"s":"BTC_USDT","U":48776301,"u":48776306,"b":[..],`
/// `"a":[..][,"l":"100"][,"full":true]}`.
///
/// With `full` the levels are the book as a whole, which takes the place of the one before. It becomes two
/// messages: changes `U..u` without levels, so that the ids continue (or their gap shows), and the book.
pub(super) fn update(cx: &mut Cx<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("order_book_update");
    let keys = ["t", "s", "U", "u", "b", "a", "full", "e", "E", "l"];
    let [time, s, first, last, bids, asks, full, ..] = cx.fields(OF.0, data, &keys)?;
    let symbol = OF.word("s", s)?;
    let changes = DepthUpdate {
        ts_event_us: opt_time(OF, "t", time)?,
        first_update_id: Some(OF.int("U", first)?),
        final_update_id: Some(OF.int("u", last)?),
        first_level: u32::try_from(cx.rows.levels.len()).unwrap_or(u32::MAX),
        ..DepthUpdate::of(cx.rows.symbols.intern(&symbol))
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
    const OF: MessageName = MessageName("order_book");
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
        ts_event_us,
        first_update_id: id,
        final_update_id: id,
        is_snapshot: true,
        ..DepthUpdate::of(symbol)
    };
    push(cx, OF, ("bids", bids), ("asks", asks), row)
}

/// A book of the venue, of which a side that is absent (or `null`) is empty.
fn push<'a>(cx: &mut Cx<'_, '_>, of: MessageName, bids: Side<'a>, asks: Side<'a>, row: DepthUpdate) -> Result<()> {
    let side = |(field, raw): Side<'a>| (field, raw.or(Some("[]")));
    cx.book(of, side(bids), side(asks), row, &mut |cx, field, entry| {
        let [price, amount] = if json::is_array(entry) {
            of.elements_and(field, entry, &mut |_| cx.drift("field order_book level.2"))?
        } else {
            cx.fields("order_book level", entry, &["p", "s"])?
        };
        Ok(Some((of.num(field, price)?, of.num(field, amount)?)))
    })
}

type Side<'a> = (&'static str, Raw<'a>);
