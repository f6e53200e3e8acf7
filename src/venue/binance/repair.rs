//! Trades that were never delivered: the request for them by id, and its answer to rows.
//!
//! ```text
//! spot   GET /api/v3/historicalTrades?symbol=&fromId=&limit=   weight 25, public
//!        [{"id":28457,"price":"4.00","qty":"12.00","quoteQty":"48.00","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]
//! spot   GET /api/v3/aggTrades?symbol=&fromId=&limit=          weight 4
//! USD-M  GET /fapi/v1/aggTrades?symbol=&fromId=&limit=         weight 20; COIN-M /dapi/v1
//!        [{"a":26129,"p":"0.01","q":"4.70","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true,"nq":"4.70"}]
//! ```
//! Rows come oldest first from `fromId`, at most 1000, without the symbol: the meta beside the body names it. A
//! body may hold more than was requested; rows outside the meta's `fill` are dropped here.
//!
//! USD-M and COIN-M have `historicalTrades` too, but only for a user's API key, for the last month, and without the trades
//! that their `trade` stream marks other than `MARKET`: what comes back would not be what is missing.

use super::super::message::{percent_encode, utf8};
use super::super::{DecodeError, Missing, RestRequest};
use super::field::{Context, MessageName, Result};
use super::market::Market;
use super::messages::aggregate;
use model::row::{AggTrade, Trade};
use model::{Channel, Fill, RestMeta, Rows, SymbolId};

/// Rows of one answer, on every one of these endpoints.
const PAGE: i64 = 1000;

/// Requests the first page of what is missing; the owner of the gap moves `missing.from` on. `missing.page` says
/// nothing here.
pub(super) fn request(market: Market, missing: &Missing<'_>) -> Option<RestRequest> {
    let (path, weight) = match (market, missing.channel) {
        (Market::Spot, Channel::Trades) => ("historicalTrades", 25),
        (Market::Spot, Channel::AggTrades) => ("aggTrades", 4),
        (Market::Usdm | Market::Coinm, Channel::AggTrades) => ("aggTrades", 20),
        _ => return None,
    };
    let api = market.api();
    let Missing { channel, symbol, from, to, .. } = *missing;
    if from < 0 || from > to || symbol.is_empty() {
        return None;
    }
    let fill = Fill { from, to: to.min(from.saturating_add(PAGE - 1)) };
    let limit = fill.to - fill.from + 1;
    let path = format!("{api}/{path}?symbol={}&fromId={from}&limit={limit}", percent_encode(symbol));
    Some(RestRequest { fill: Some(fill), ..RestRequest::of(channel.as_str(), Some(symbol), path, weight) })
}

/// Rows of an answer.
pub(super) fn decode(market: Market, channel: Channel, body: &[u8], meta: &RestMeta, rows: &mut Rows) -> Result<()> {
    let symbol = meta.symbol.as_deref().filter(|s| !s.is_empty());
    let symbol = symbol.ok_or(DecodeError::Field { message: "trades", field: "symbol of the request" })?;
    let symbol = rows.symbols.intern(symbol);
    let wanted = |id| meta.fill.is_none_or(|fill| fill.holds(id));
    let mut cx = Context::new(market, body, rows);
    cx.items(utf8(body)?, &mut |cx, entry| match channel {
        Channel::AggTrades => {
            let row = agg_trade(cx, entry, symbol)?;
            if wanted(row.agg_id) {
                cx.rows.agg_trades.push(row);
            }
            Ok(())
        }
        _ => {
            let (id, row) = trade(cx, entry, symbol)?;
            if wanted(id) {
                cx.rows.trades.push(row);
            }
            Ok(())
        }
    })
}

fn trade(cx: &mut Context<'_, '_>, entry: &str, symbol: SymbolId) -> Result<(i64, Trade)> {
    const OF: MessageName = MessageName("historicalTrades");
    let keys = ["id", "price", "qty", "time", "isBuyerMaker", "quoteQty", "isBestMatch", "isRPITrade"];
    let [id, price, qty, time, m, ..] = cx.fields(OF.0, entry, &keys)?;
    let id = OF.int("id", id)?;
    let row = Trade {
        symbol,
        ts_event_us: None,
        ts_trade_us: Some(OF.time("time", time)?),
        id: Some(id),
        id_str: None,
        price: OF.num("price", price)?,
        amount: OF.num("qty", qty)?,
        side: OF.taker(m)?,
        kind: None,
    };
    Ok((id, row))
}

fn agg_trade(cx: &mut Context<'_, '_>, entry: &str, symbol: SymbolId) -> Result<AggTrade> {
    const OF: MessageName = MessageName("aggTrades");
    let [a, p, q, f, l, time, m, ..] = cx.fields(OF.0, entry, &["a", "p", "q", "f", "l", "T", "m", "M", "nq"])?;
    aggregate(OF, symbol, None, [a, p, q, f, l, time, m])
}
