//! Trades, best prices, mark prices and statistics: the data of a frame to rows, field by field.
//!
//! Each function shows the data as KuCoin sends it. Trade ids are texts, and the sequence of a trade is a counter
//! that it shares with orders: it says nothing about missing trades, so it is not kept.

use super::super::message::{MessageName, Raw, Result};
use super::book;
use super::candle::candle;
use super::field::{Context, int, intern, opt_time, time};
use super::market::Market;
use super::topic::Topic;
use model::row::{BookTicker, MarkPrice, Side, Ticker, Trade};
use model::{Channel, Num};

/// What the envelope of a frame says about its data.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) topic: &'a Topic<'a>,
    pub(super) subject: &'a str,
}

/// Rows of the data of a frame; false when the subject is unknown.
pub(super) fn decode(cx: &mut Context<'_, '_>, channel: Channel, about: About<'_>, data: &str) -> Result<bool> {
    let symbol = about.topic.rest;
    match (cx.market, channel, about.subject) {
        (Market::Spot, Channel::Trades, "trade.l3match") | (Market::Futures, Channel::Trades, "match") => {
            trade(cx, symbol, data)?;
        }
        (Market::Spot, Channel::BookTicker, "level1") => level1(cx, symbol, data)?,
        (Market::Spot, Channel::BookTicker, subject) if about.topic.prefix == "/market/ticker" => {
            match (subject, symbol) {
                ("trade.ticker", _) => best(cx, symbol, data)?,
                (symbol, "all") => best(cx, symbol, data)?,
                _ => return Ok(false),
            }
        }
        (Market::Futures, Channel::BookTicker, "tickerV2") => best(cx, symbol, data)?,
        (Market::Spot, Channel::Depth, "trade.l2update") => book::spot_changes(cx, symbol, data)?,
        (Market::Futures, Channel::Depth, "level2") => book::futures_change(cx, symbol, data)?,
        (Market::Futures, Channel::MarkPrice, "mark.index.price" | "funding.rate") => mark_price(cx, symbol, data)?,
        (Market::Spot, Channel::Tickers, "trade.snapshot") => spot_ticker(cx, symbol, data)?,
        (Market::Futures, Channel::Tickers, "snapshot.24h") => futures_ticker(cx, symbol, data)?,
        (Market::Spot, Channel::VenueKlines, "trade.candles.update" | "trade.candles.add")
        | (Market::Futures, Channel::VenueKlines, "candle.stick") => candle(cx, symbol, data)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Spot `{"makerOrderId":..,"price":"57659.6","sequence":"1614503482134","side":"buy","size":"0.00013064",`
/// `"symbol":"BTC-USDT","takerOrderId":..,"time":"1616362370760468781","tradeId":"6057bb..","type":"match"}`;
/// futures sends `ts` for `time`, counts `size` in lots, and adds user ids.
fn trade(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("match");
    let keys = [
        "symbol", "tradeId", "price", "size", "side", "time", "ts", "sequence", "type", "makerOrderId", "takerOrderId",
        "makerUserId", "takerUserId",
    ];
    let [named, id, price, size, side, at, ts, ..] = cx.fields(OF.0, data, &keys)?;
    let side = match &*OF.word("side", side)? {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return OF.wrong("side"),
    };
    let row = Trade {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: None,
        ts_trade_us: Some(time(OF, "time", at.or(ts))?),
        id: None,
        id_str: Some(OF.word("tradeId", id)?.into()),
        price: OF.num("price", price)?,
        amount: OF.num("size", size)?,
        side,
        kind: None,
    };
    cx.rows.trades.push(row);
    Ok(())
}

/// `{"asks":["90446.1","0.2"],"bids":["90446","0.5"],"timestamp":1767682674903}`; an empty side is an empty array.
fn level1(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("level1");
    let [asks, bids, at] = cx.fields(OF.0, data, &["asks", "bids", "timestamp"])?;
    let (ask_price, ask_amount) = pair(OF, "asks", asks)?;
    let (bid_price, bid_amount) = pair(OF, "bids", bids)?;
    let row = BookTicker {
        symbol: intern(cx, OF, None, symbol)?,
        ts_event_us: opt_time(OF, "timestamp", at)?,
        update_id: None,
        bid_price,
        bid_amount,
        ask_price,
        ask_amount,
    };
    cx.rows.book_tickers.push(row);
    Ok(())
}

fn pair(of: MessageName, field: &'static str, raw: Raw<'_>) -> Result<(Option<Num>, Option<Num>)> {
    let Some(raw) = raw else {
        return Ok((None, None));
    };
    let [price, amount] = of.elements(field, raw)?;
    if price.is_some() != amount.is_some() {
        return of.wrong(field);
    }
    Ok((of.opt_num(field, price)?, of.opt_num(field, amount)?))
}

/// Futures `{"symbol":"XBTUSDTM","sequence":1643185147205,"bestBidSize":20074,"bestBidPrice":"31766.0",`
/// `"bestAskPrice":"31767.0","ts":1654032807465857723,"bestAskSize":1187}`; the older spot form is
/// `{"sequence":"1630218274617","bestAsk":..,"bestAskSize":..,"bestBid":..,"bestBidSize":..,"price":..,"size":..,`
/// `"time":1654032320677}`.
fn best(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("ticker");
    let keys = [
        "symbol", "sequence", "bestBidPrice", "bestBid", "bestBidSize", "bestAskPrice", "bestAsk", "bestAskSize", "ts",
        "time", "Time", "price", "size",
    ];
    let [named, sequence, bid_price, bid, bid_amount, ask_price, ask, ask_amount, ts, at, ..] =
        cx.fields(OF.0, data, &keys)?;
    let row = BookTicker {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: opt_time(OF, "time", ts.or(at))?,
        update_id: Some(int(OF, "sequence", sequence)?),
        bid_price: OF.opt_num("bestBid", bid_price.or(bid))?,
        bid_amount: OF.opt_num("bestBidSize", bid_amount)?,
        ask_price: OF.opt_num("bestAsk", ask_price.or(ask))?,
        ask_amount: OF.opt_num("bestAskSize", ask_amount)?,
    };
    cx.rows.book_tickers.push(row);
    Ok(())
}

/// `{"markPrice":39610.11,"indexPrice":39615.44,"granularity":1000,"timestamp":1706068801000}` every second and
/// `{"granularity":60000,"fundingRate":0.000032,["period":1,]"timestamp":1706068800000}` every minute: a row each.
fn mark_price(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("instrument");
    let keys = ["symbol", "markPrice", "indexPrice", "fundingRate", "timestamp", "granularity", "period"];
    let [named, mark, index, rate, at, ..] = cx.fields(OF.0, data, &keys)?;
    if mark.is_none() && index.is_none() && rate.is_none() {
        return OF.wrong("markPrice");
    }
    let row = MarkPrice {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: Some(time(OF, "timestamp", at)?),
        mark_price: OF.opt_num("markPrice", mark)?,
        index_price: OF.opt_num("indexPrice", index)?,
        settle_price: None,
        funding_rate: OF.opt_num("fundingRate", rate)?,
        next_funding_us: None,
    };
    cx.rows.mark_prices.push(row);
    Ok(())
}

/// `{"sequence":"1630306486588","data":{"symbol":"BTC-USDT","open":31610.0,"high":31901.4,"low":29299.9,`
/// `"close":29920.1,"lastTradedPrice":29920.1,"vol":21637.26,"volValue":657871182.64,"datetime":1654165082007,..}}`
fn spot_ticker(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("trade.snapshot");
    let [_, inner] = cx.fields(OF.0, data, &["sequence", "data"])?;
    let Some(inner) = inner else {
        return OF.wrong("data");
    };
    #[rustfmt::skip]
    let keys = [
        "symbol", "open", "high", "low", "lastTradedPrice", "close", "vol", "volValue", "datetime",
        "averagePrice", "askSize", "baseCurrency", "bidSize", "board", "buy", "changePrice", "changeRate", "lastSize",
        "makerCoefficient", "makerFeeRate", "marginTrade", "mark", "market", "marketChange1h", "marketChange24h",
        "marketChange4h", "markets", "quoteCurrency", "sell", "siteTypes", "sort", "symbolCode", "takerCoefficient",
        "takerFeeRate", "trading", "sequence",
    ];
    let [named, open, high, low, last, close, volume, quote, at, ..] = cx.fields(OF.0, inner, &keys)?;
    let row = Ticker {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: opt_time(OF, "datetime", at)?,
        open: OF.opt_num("open", open)?,
        high: OF.opt_num("high", high)?,
        low: OF.opt_num("low", low)?,
        last: OF.opt_num("lastTradedPrice", last.or(close))?,
        volume: OF.opt_num("vol", volume)?,
        quote_volume: OF.opt_num("volValue", quote)?,
        count: None,
    };
    cx.rows.tickers.push(row);
    Ok(())
}

/// `{"symbol":"XBTUSDTM","volume":58142.397,"turnover":1766775651.6259518,"lastPrice":29926,"lowPrice":29288.0,`
/// `"highPrice":31891.0,["price24HoursBefore":31583,]"priceChgPct":-0.0524,"priceChg":-1657,["fundingRate":..,]`
/// `"ts":1654165885016336830}`
fn futures_ticker(cx: &mut Context<'_, '_>, symbol: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("snapshot.24h");
    let keys = [
        "symbol", "price24HoursBefore", "highPrice", "lowPrice", "lastPrice", "volume", "turnover", "ts",
        "priceChgPct", "priceChg", "fundingRate",
    ];
    let [named, open, high, low, last, volume, quote, at, ..] = cx.fields(OF.0, data, &keys)?;
    let row = Ticker {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: opt_time(OF, "ts", at)?,
        open: OF.opt_num("price24HoursBefore", open)?,
        high: OF.opt_num("highPrice", high)?,
        low: OF.opt_num("lowPrice", low)?,
        last: OF.opt_num("lastPrice", last)?,
        volume: OF.opt_num("volume", volume)?,
        quote_volume: OF.opt_num("turnover", quote)?,
        count: None,
    };
    cx.rows.tickers.push(row);
    Ok(())
}
