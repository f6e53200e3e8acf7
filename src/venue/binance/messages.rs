//! Messages to rows, field by field, from JSON in any order.
//!
//! Each function shows the message as the venue sends it; fields in brackets are those of some years or of one
//! market only. The struct of the fields is the row itself (see `row.rs`).

use super::super::book::Read;
use super::field::{Context, MessageName, Raw, Result};
use super::market::Market;
use model::SymbolId;
use model::row::{AggTrade, BookTicker, Candle, DepthUpdate, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline};

/// `{"e":"trade","E":..,["T":..,]"s":"BTCUSDT","t":12345,"p":"0.001","q":"100",["b":..,"a":..,]["X":"MARKET",]`
/// `["T":..,]"m":true,["M":true]["st":1]}`
pub(super) fn trade(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("trade");
    let keys = ["E", "s", "t", "p", "q", "T", "m", "X", "st", "e", "M", "b", "a", "ps"];
    let [event, s, id, p, q, time, m, kind, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let kind = kind.map(|_| OF.word("X", kind)).transpose()?;
    let symbol = OF.word("s", s)?;
    let (id, id_str) = OF.id("t", id)?;
    let row = Trade {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        ts_trade_us: Some(OF.time("T", time)?),
        id,
        id_str,
        price: OF.num("p", p)?,
        amount: OF.num("q", q)?,
        side: OF.taker(m)?,
        kind: kind.map(|k| cx.rows.symbols.intern(&k)),
    };
    cx.rows.trades.push(row);
    Ok(())
}

/// `{"e":"aggTrade","E":..,"s":"BTCUSDT","a":164325,"p":"0.001","q":"100",["nq":"100",]"f":100,"l":105,"T":..,`
/// `"m":true,["M":true]["st":1]}`
pub(super) fn agg_trade(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("aggTrade");
    let keys = ["E", "s", "a", "p", "q", "f", "l", "T", "m", "st", "e", "M", "nq", "ps"];
    let [event, s, a, p, q, f, l, time, m, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let symbol = OF.word("s", s)?;
    let symbol = cx.rows.symbols.intern(&symbol);
    let row = aggregate(OF, symbol, OF.opt_time("E", event)?, [a, p, q, f, l, time, m])?;
    cx.rows.agg_trades.push(row);
    Ok(())
}

/// The fields that aggregates of the stream and of REST share.
pub(super) fn aggregate(
    of: MessageName,
    symbol: SymbolId,
    ts_event_us: Option<i64>,
    [a, p, q, f, l, time, m]: [Raw<'_>; 7],
) -> Result<AggTrade> {
    Ok(AggTrade {
        symbol,
        ts_event_us,
        ts_trade_us: of.time("T", time)?,
        agg_id: of.int("a", a)?,
        first_id: of.int("f", f)?,
        last_id: of.int("l", l)?,
        price: of.num("p", p)?,
        amount: of.num("q", q)?,
        side: of.taker(m)?,
    })
}

/// `{["e":"bookTicker",]"u":400900217,"s":"BNBUSDT",["ps":..,]"b":"25.35","B":"31.21","a":"25.36","A":"40.66",`
/// `["T":..,"E":..,"st":1]}`
pub(super) fn book_ticker(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("bookTicker");
    let keys = ["E", "u", "s", "b", "B", "a", "A", "st", "e", "T", "ps"];
    let [event, u, s, bid, bid_amount, ask, ask_amount, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let symbol = OF.word("s", s)?;
    let row = BookTicker {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        update_id: Some(OF.int("u", u)?),
        bid_price: OF.opt_num("b", bid)?,
        bid_amount: OF.opt_num("B", bid_amount)?,
        ask_price: OF.opt_num("a", ask)?,
        ask_amount: OF.opt_num("A", ask_amount)?,
    };
    cx.rows.book_tickers.push(row);
    Ok(())
}

/// `{"e":"depthUpdate","E":..,["T":..,]"s":"BTCUSDT",["ps":..,"st":1,]"U":157,"u":160,["pu":149,]`
/// `"b":[["p","q"]],"a":[["p","q"]]}`
pub(super) fn depth(cx: &mut Context<'_, '_>, data: &str, is_snapshot: bool) -> Result<()> {
    const OF: MessageName = MessageName("depthUpdate");
    let keys = ["E", "s", "U", "u", "pu", "b", "a", "st", "e", "T", "ps"];
    let [event, s, first, last, prev, bids, asks, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let symbol = OF.word("s", s)?;
    let row = DepthUpdate {
        ts_event_us: OF.opt_time("E", event)?,
        first_update_id: Some(OF.int("U", first)?),
        final_update_id: Some(OF.int("u", last)?),
        prev_update_id: OF.opt_int("pu", prev)?,
        is_snapshot,
        ..DepthUpdate::of(cx.rows.symbols.intern(&symbol))
    };
    cx.book(OF, ("b", bids), ("a", asks), row, &mut |cx, field, entry| level(cx, OF, field, entry))
}

/// `{"lastUpdateId":160,["E":..,"T":..,]"bids":[["p","q"]],"asks":[["p","q"]]}`: partial depth of spot and the
/// REST bodies of both markets. The symbol is not in there.
pub(super) fn whole_book(cx: &mut Context<'_, '_>, data: &str, symbol: &str) -> Result<()> {
    const OF: MessageName = MessageName("depth snapshot");
    let keys = ["lastUpdateId", "E", "bids", "asks", "T", "symbol", "pair"];
    let [last, event, bids, asks, ..] = cx.fields(OF.0, data, &keys)?;
    let last = OF.int("lastUpdateId", last)?;
    let row = DepthUpdate {
        ts_event_us: OF.opt_time("E", event)?,
        first_update_id: Some(last),
        final_update_id: Some(last),
        is_snapshot: true,
        ..DepthUpdate::of(cx.rows.symbols.intern(symbol))
    };
    cx.book(OF, ("bids", bids), ("asks", asks), row, &mut |cx, field, entry| level(cx, OF, field, entry))
}

/// `["p","q"]`; until 2019 every level ended with an empty array.
fn level(cx: &mut Context<'_, '_>, of: MessageName, field: &'static str, entry: &str) -> Read {
    let mut strange = false;
    let [price, amount] = of.elements_and(field, entry, &mut |more| strange |= more != "[]")?;
    if strange {
        cx.drift("field depth level.2");
    }
    Ok(Some((of.num(field, price)?, of.num(field, amount)?)))
}

/// `{"e":"markPriceUpdate","E":..,"s":"BTCUSDT","p":"mark",["ap":"average",]"i":"index","P":"settle","r":"0.0003",`
/// `"T":next funding,["st":1]}`; `T` is 0 and `r` may be empty where there is no funding.
pub(super) fn mark_price(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("markPriceUpdate");
    let keys = ["E", "s", "p", "i", "P", "r", "T", "st", "e", "ap", "ps"];
    let [event, s, p, index, settle, rate, next, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let symbol = OF.word("s", s)?;
    let row = MarkPrice {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        mark_price: Some(OF.num("p", p)?),
        index_price: OF.opt_num("i", index)?,
        settle_price: OF.opt_num("P", settle)?,
        funding_rate: OF.opt_num("r", rate)?,
        next_funding_us: OF.opt_time("T", next)?.filter(|t| *t != 0),
    };
    cx.rows.mark_prices.push(row);
    Ok(())
}

/// `{"e":"forceOrder","E":..,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910",`
/// `"ap":"9910","X":"FILLED","l":"0.014","z":"0.014","T":..,["ps":..,"st":1]}}`
pub(super) fn force_order(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("forceOrder");
    let [event, order, outer_st, ..] = cx.fields(OF.0, data, &["E", "o", "st", "e", "ps"])?;
    let Some(order) = order else {
        return OF.wrong("o");
    };
    let keys = ["s", "S", "q", "p", "ap", "X", "z", "st", "o", "f", "l", "T", "ps"];
    let [s, side, q, p, avg, status, filled, st, ..] = cx.fields("forceOrder.o", order, &keys)?;
    if !OF.ours(cx, st.or(outer_st))? {
        return Ok(());
    }
    let side = match OF.word("S", side)?.as_ref() {
        "BUY" => Side::Buy,
        "SELL" => Side::Sell,
        _ => return OF.wrong("S"),
    };
    let status = status.map(|_| OF.word("X", status)).transpose()?;
    let symbol = OF.word("s", s)?;
    let row = Liquidation {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        side: Some(side),
        price: OF.num("p", p)?,
        avg_price: OF.opt_num("ap", avg)?,
        amount: OF.num("q", q)?,
        filled: OF.opt_num("z", filled)?,
        status: status.map(|x| cx.rows.symbols.intern(&x)),
    };
    cx.rows.liquidations.push(row);
    Ok(())
}

/// `{"e":"24hrTicker","E":..,"s":..,"p":..,"P":..,"w":..,"x":..,"c":"last","Q":..,"b":..,"B":..,"a":..,"A":..,`
/// `"o":..,"h":..,"l":..,"v":..,"q":..,"O":..,"C":..,"F":..,"L":..,"n":count}`; the mini form has
/// `E s c o h l v q` only. On COIN-M `q` is no quote volume but one in the base asset.
pub(super) fn ticker(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("24hrTicker");
    let keys = [
        "E", "s", "o", "h", "l", "c", "v", "q", "n", "st", "e", "p", "P", "w", "x", "Q", "b", "B", "a", "A", "O", "C",
        "F", "L", "ps",
    ];
    let [event, s, open, high, low, last, volume, quote, count, st, ..] = cx.fields(OF.0, data, &keys)?;
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let symbol = OF.word("s", s)?;
    let row = Ticker {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        open: OF.opt_num("o", open)?,
        high: OF.opt_num("h", high)?,
        low: OF.opt_num("l", low)?,
        last: Some(OF.num("c", last)?),
        volume: OF.opt_num("v", volume)?,
        quote_volume: OF.opt_num("q", quote)?.filter(|_| cx.market != Market::Coinm),
        count: OF.opt_int("n", count)?,
    };
    cx.rows.tickers.push(row);
    Ok(())
}

/// `{"e":"kline","E":..,"s":"BTCUSDT","k":{"t":open,"T":close,"s":..,"i":"1m","f":first id,"L":last id,"o":"",`
/// `"c":"","h":"","l":"","v":"","n":0,"x":false,"q":"","V":taker base,"Q":taker quote,"B":"0"}}`; on COIN-M `q` and `Q` are no
/// quote volumes but in the base asset.
pub(super) fn kline(cx: &mut Context<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("kline");
    let [event, s, candle, st, ..] = cx.fields(OF.0, data, &["E", "s", "k", "st", "e", "ps"])?;
    let Some(candle) = candle else {
        return OF.wrong("k");
    };
    if !OF.ours(cx, st)? {
        return Ok(());
    }
    let keys = ["t", "T", "i", "f", "L", "o", "c", "h", "l", "v", "n", "x", "q", "V", "Q", "s", "B"];
    let [open_time, close_time, interval, first, last, o, c, h, l, v, n, x, q, taker, taker_quote, ..] =
        cx.fields("kline.k", candle, &keys)?;
    let symbol = OF.word("s", s)?;
    let interval = OF.word("i", interval)?;
    let row = VenueKline {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: OF.opt_time("E", event)?,
        interval: cx.rows.symbols.intern(&interval),
        candle: Candle {
            open_time_us: OF.time("t", open_time)?,
            open: OF.num("o", o)?,
            high: OF.num("h", h)?,
            low: OF.num("l", l)?,
            close: OF.num("c", c)?,
            volume: Some(OF.num("v", v)?),
            quote_volume: OF.opt_num("q", q)?.filter(|_| cx.market != Market::Coinm),
            trade_count: OF.opt_int("n", n)?,
            taker_buy_volume: OF.opt_num("V", taker)?,
            taker_buy_quote_volume: OF.opt_num("Q", taker_quote)?.filter(|_| cx.market != Market::Coinm),
        },
        close_time_us: OF.time("T", close_time)?,
        first_trade_id: OF.opt_int("f", first)?.filter(|id| *id >= 0),
        last_trade_id: OF.opt_int("L", last)?.filter(|id| *id >= 0),
        is_final: OF.flag("x", x)?,
    };
    cx.rows.venue_klines.push(row);
    Ok(())
}
