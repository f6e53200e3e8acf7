//! Rows of the socket and of REST, field by field, except order books.
//!
//! Each function shows the message as the venue sends it; fields in brackets are those of some years or of one
//! market only. Spot and futures share a function where they share a shape.

use super::super::message::{Context, MessageName, Raw, Result};
use super::field::{opt_int, opt_time, signed};
use super::market::Market;
use model::row::{BookTicker, Candle, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline};

pub(super) type Cx<'f, 'r> = Context<'f, 'r, Market>;

/// When the frame around a row was sent, us.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) us: Option<i64>,
}

/// A trade of either market, from the socket or (without [`Sent`]) from REST.
pub(super) fn trade(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    match cx.market {
        Market::Spot => spot_trade(cx, data, sent),
        Market::Futures => futures_trade(cx, data, sent),
    }
}

/// `{"id":309143071,["id_market":9981,]"create_time":1606292218,"create_time_ms":"1606292218213.4578",`
/// `"side":"sell","currency_pair":"BTC_USDT","amount":"16.47","price":"0.47"[,"range":"..","stock":..,"money":..,`
/// `"trade_mode":..]}`; REST has `sequence_id` for `id_market`. That id counts the trades of the market, `id` those
/// of all markets.
fn spot_trade(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    const OF: MessageName = MessageName("spot trade");
    let keys = [
        "id", "id_market", "sequence_id", "create_time", "create_time_ms", "side", "currency_pair", "amount", "price",
        "range", "stock", "money", "trade_mode", "role", "order_id", "fee", "fee_currency", "point_fee", "gt_fee",
        "text", "amend_text",
    ];
    let [id, id_market, sequence_id, seconds, ms, side, symbol, amount, price, ..] = cx.fields(OF.0, data, &keys)?;
    let side = match OF.word("side", side)?.as_ref() {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return OF.wrong("side"),
    };
    let symbol = OF.word("currency_pair", symbol)?;
    let row = Trade {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: sent.us,
        ts_trade_us: Some(trade_time(OF, seconds, ms)?),
        id: match opt_int(OF, "id_market", id_market)? {
            None => opt_int(OF, "sequence_id", sequence_id)?,
            id => id,
        }
        .filter(|id| *id > 0),
        id_str: match OF.id("id", id)? {
            (Some(id), _) => Some(id.to_string().into()),
            (None, digits) => digits,
        },
        price: OF.num("price", price)?,
        amount: OF.num("amount", amount)?,
        side,
        kind: None,
    };
    cx.rows.trades.push(row);
    Ok(())
}

/// `{"contract":"BTC_USDT","size":"-108","id":27753479,"create_time":1545136464,["create_time_ms":1545136464123,]`
/// `"price":"96.4"[,"is_internal":true]}`; the sign of `size` is the taker's side. Internal trades (takeover of a
/// liquidation, auto-deleveraging) are not in the venue's candles: their type is `internal`.
fn futures_trade(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    const OF: MessageName = MessageName("futures trade");
    let keys = ["id", "create_time", "create_time_ms", "contract", "size", "price", "is_internal"];
    let [id, seconds, ms, symbol, size, price, internal] = cx.fields(OF.0, data, &keys)?;
    let internal = internal.is_some() && OF.flag("is_internal", internal)?;
    let symbol = OF.word("contract", symbol)?;
    let (side, amount) = signed(OF, "size", size)?;
    let (id, id_str) = OF.id("id", id)?;
    let row = Trade {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: sent.us,
        ts_trade_us: Some(trade_time(OF, seconds, ms)?),
        id,
        id_str,
        price: OF.num("price", price)?,
        amount,
        side,
        kind: internal.then(|| cx.rows.symbols.intern("internal")),
    };
    cx.rows.trades.push(row);
    Ok(())
}

/// `create_time_ms`, or `create_time` where there is no other (futures in 2020).
fn trade_time(of: MessageName, seconds: Raw<'_>, ms: Raw<'_>) -> Result<i64> {
    let time = match opt_time(of, "create_time_ms", ms)? {
        None => opt_time(of, "create_time", seconds)?,
        exact => exact,
    };
    time.map_or_else(|| of.wrong("create_time_ms"), Ok)
}

/// `{"t":1654029559473,"u":6765708346,"s":"BTC_USDT","b":"31738.93","B":"2.3039","a":"31738.94","A":"0.335"}`; an
/// empty side has an empty price.
pub(super) fn book_ticker(cx: &mut Cx<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("book_ticker");
    let [time, u, s, bid, bid_amount, ask, ask_amount] = cx.fields(OF.0, data, &["t", "u", "s", "b", "B", "a", "A"])?;
    let symbol = OF.word("s", s)?;
    let (bid_price, ask_price) = (OF.opt_num("b", bid)?, OF.opt_num("a", ask)?);
    let row = BookTicker {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: opt_time(OF, "t", time)?,
        update_id: Some(OF.int("u", u)?),
        bid_price,
        bid_amount: OF.opt_num("B", bid_amount)?.filter(|_| bid_price.is_some()),
        ask_price,
        ask_amount: OF.opt_num("A", ask_amount)?.filter(|_| ask_price.is_some()),
    };
    cx.rows.book_tickers.push(row);
    Ok(())
}

/// A ticker of either market. That of a contract is a row of `mark_price` too.
pub(super) fn ticker(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    match cx.market {
        Market::Spot => spot_ticker(cx, data, sent),
        Market::Futures => futures_ticker(cx, data, sent),
    }
}

/// `{"currency_pair":"OMG_USDT","last":"7.915","lowest_ask":"7.927","highest_bid":"7.899",`
/// `"change_percentage":"5.85","base_volume":"27799.83","quote_volume":"215375.1","high_24h":"8.44",`
/// `"low_24h":"7.364"}`, and for leveraged tokens `etf_*`.
fn spot_ticker(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    const OF: MessageName = MessageName("spot ticker");
    let keys = [
        "currency_pair", "last", "base_volume", "quote_volume", "high_24h", "low_24h", "lowest_ask", "lowest_size",
        "highest_bid", "highest_size", "change_percentage", "change_utc0", "change_utc8", "etf_net_value",
        "etf_pre_net_value", "etf_pre_timestamp", "etf_leverage",
    ];
    let [symbol, last, volume, quote_volume, high, low, ..] = cx.fields(OF.0, data, &keys)?;
    let symbol = OF.word("currency_pair", symbol)?;
    let row = Ticker {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: sent.us,
        open: None,
        high: OF.opt_num("high_24h", high)?,
        low: OF.opt_num("low_24h", low)?,
        last: OF.opt_num("last", last)?,
        volume: OF.opt_num("base_volume", volume)?,
        quote_volume: OF.opt_num("quote_volume", quote_volume)?,
        count: None,
    };
    cx.rows.tickers.push(row);
    Ok(())
}

/// `{"contract":"BTC_USDT","last":"23160.2","change_percentage":"-1.3","total_size":"153482780",`
/// `"volume_24h":"155496714","volume_24h_base":"15549","volume_24h_quote":"360157621","volume_24h_settle":"..",`
/// `"mark_price":"23175.64","funding_rate":"0.0001","funding_rate_indicative":"0.0001","index_price":"23173.35",`
/// `"low_24h":"23018.3","high_24h":"23589.2"[,"funding_next_apply":s,"t":ms]}`; dated contracts have
/// `settle_price`, `basis_rate` and `basis_value` for funding. `volume_24h` counts contracts.
fn futures_ticker(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    const OF: MessageName = MessageName("futures ticker");
    let keys = [
        "contract",
        "t",
        "last",
        "high_24h",
        "low_24h",
        "volume_24h",
        "volume_24h_quote",
        "mark_price",
        "index_price",
        "settle_price",
        "funding_rate",
        "funding_next_apply",
        "change_percentage",
        "change_price",
        "change_utc0",
        "change_utc8",
        "change_utc0_price",
        "change_utc8_price",
        "change_from",
        "price_type",
        "total_size",
        "volume_24h_base",
        "volume_24h_settle",
        "volume_24h_btc",
        "volume_24h_usd",
        "quanto_base_rate",
        "funding_rate_indicative",
        "funding_interval",
        "funding_offset",
        "funding_cap_ratio",
        "lowest_ask",
        "lowest_size",
        "highest_bid",
        "highest_size",
        "basis_rate",
        "basis_value",
    ];
    let [symbol, time, last, high, low, volume, quote, mark, index, settle, rate, next, ..] =
        cx.fields(OF.0, data, &keys)?;
    let symbol = cx.rows.symbols.intern(&OF.word("contract", symbol)?);
    let ts_event_us = opt_time(OF, "t", time)?.or(sent.us);
    let row = Ticker {
        symbol,
        ts_event_us,
        open: None,
        high: OF.opt_num("high_24h", high)?,
        low: OF.opt_num("low_24h", low)?,
        last: OF.opt_num("last", last)?,
        volume: OF.opt_num("volume_24h", volume)?,
        quote_volume: OF.opt_num("volume_24h_quote", quote)?,
        count: None,
    };
    let mark = MarkPrice {
        symbol,
        ts_event_us,
        mark_price: OF.opt_num("mark_price", mark)?,
        index_price: OF.opt_num("index_price", index)?,
        settle_price: OF.opt_num("settle_price", settle)?.filter(|p| !p.is_zero()),
        funding_rate: OF.opt_num("funding_rate", rate)?,
        next_funding_us: opt_time(OF, "funding_next_apply", next)?,
    };
    cx.rows.tickers.push(row);
    if mark.mark_price.is_some() || mark.index_price.is_some() || mark.funding_rate.is_some() {
        cx.rows.mark_prices.push(mark);
    }
    Ok(())
}

/// `{"t":"1662803040","v":"3272.187909","c":"21342.41","h":"21352.26","l":"21342.41","o":"21352.26",`
/// `"n":"1m_BTC_USDT"[,"a":"0.1533"][,"w":true]}`. On spot `v` is the quote volume and `a` (not before 2022) the
/// base volume; on futures `v` counts contracts and `a` is the same in base units. The venue says that the
/// message with `w` true may be missing.
pub(super) fn candle(cx: &mut Cx<'_, '_>, data: &str, sent: Sent) -> Result<()> {
    const OF: MessageName = MessageName("candlestick");
    let [time, v, close, high, low, open, name, base, closed] =
        cx.fields(OF.0, data, &["t", "v", "c", "h", "l", "o", "n", "a", "w"])?;
    let name = OF.word("n", name)?;
    let parts = name.split_once('_').filter(|(_, symbol)| !symbol.is_empty());
    let length = parts.and_then(|(interval, _)| length_us(interval));
    let (Some((interval, symbol)), Some(length)) = (parts, length) else { return OF.wrong("n") };
    let open_time = opt_time(OF, "t", time)?.map_or_else(|| OF.wrong("t"), Ok)?;
    let (volume, quote_volume) = match cx.market {
        Market::Spot => (OF.opt_num("a", base)?, Some(OF.num("v", v)?)),
        Market::Futures => (Some(OF.num("v", v)?), None),
    };
    let prices = [OF.num("o", open)?, OF.num("h", high)?, OF.num("l", low)?, OF.num("c", close)?];
    let row = VenueKline {
        symbol: cx.rows.symbols.intern(symbol),
        ts_event_us: sent.us,
        interval: cx.rows.symbols.intern(interval),
        close_time_us: open_time.checked_add(length - 1_000).map_or_else(|| OF.wrong("t"), Ok)?,
        candle: Candle::of(open_time, prices, volume, quote_volume),
        first_trade_id: None,
        last_trade_id: None,
        is_final: closed.is_some() && OF.flag("w", closed)?,
    };
    cx.rows.venue_klines.push(row);
    Ok(())
}

/// The length of a candle: `10s`, `1m`, `4h`, `1d`, `1w`.
fn length_us(interval: &str) -> Option<i64> {
    let unit = match interval.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let count: i64 = interval.get(..interval.len() - 1)?.parse().ok()?;
    (1..=1_000).contains(&count).then(|| count * unit * 1_000_000)
}

/// `{"price":"215.1","size":"-124.5","time":1541486601123,"contract":"BTC_USDT"}`; the field was `time_ms` until
/// 2026, the price a number, and one object may come instead of a list. What the sign of `size` means is documented
/// nowhere (gateio/WebSocket-API#132), so the row has no side, and its status says the sign.
pub(super) fn liquidation(cx: &mut Cx<'_, '_>, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("public_liquidates");
    let [price, size, time, time_ms, symbol] =
        cx.fields(OF.0, data, &["price", "size", "time", "time_ms", "contract"])?;
    let (sign, amount) = signed(OF, "size", size)?;
    let sign = if sign == Side::Sell { "size_negative" } else { "size_positive" };
    let symbol = OF.word("contract", symbol)?;
    let row = Liquidation {
        symbol: cx.rows.symbols.intern(&symbol),
        ts_event_us: match opt_time(OF, "time_ms", time_ms)? {
            None => opt_time(OF, "time", time)?,
            exact => exact,
        },
        side: None,
        price: OF.num("price", price)?,
        avg_price: None,
        amount,
        filled: None,
        status: Some(cx.rows.symbols.intern(sign)),
    };
    cx.rows.liquidations.push(row);
    Ok(())
}
