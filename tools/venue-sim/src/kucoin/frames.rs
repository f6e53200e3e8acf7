//! The text of generated KuCoin frames, key by key as the "WebSocket API" pages of 2026 show them. Decides nothing.

use std::fmt::Write;

use crate::binance::Market;
use crate::generate::Candle;
use crate::seeded::{Change, Deal, Ids, PRICE_PLACES, Say, Scene, Topic};
use crate::text::{array, decimal, wide};

/// The topic under which something of a symbol is sent.
pub(crate) fn stream(market: Market, topic: Topic, symbol: &str) -> Option<String> {
    let (prefix, suffix) = match (market, topic) {
        (Market::Spot, Topic::Trades) => ("/market/match", ""),
        (Market::Spot, Topic::Top) => ("/spotMarket/level1", ""),
        (Market::Spot, Topic::Depth) => ("/market/level2", ""),
        (Market::Spot, Topic::Candles) => ("/market/candles", "_1min"),
        (Market::Spot, Topic::Stats) => ("/market/snapshot", ""),
        (Market::Spot, Topic::LastTicker) => ("/market/ticker", ""),
        (Market::Spot, Topic::Depth5) => ("/spotMarket/level2Depth5", ""),
        (Market::Spot, Topic::Depth50) => ("/spotMarket/level2Depth50", ""),
        (Market::Usdm, Topic::Trades) => ("/contractMarket/execution", ""),
        (Market::Usdm, Topic::Top) => ("/contractMarket/tickerV2", ""),
        (Market::Usdm, Topic::Depth) => ("/contractMarket/level2", ""),
        (Market::Usdm, Topic::Mark | Topic::Funding) => ("/contract/instrument", ""),
        (Market::Usdm, Topic::Candles) => ("/contractMarket/limitCandle", "_1min"),
        (Market::Usdm, Topic::Stats) => ("/contractMarket/snapshot", ""),
        (Market::Usdm, Topic::Depth5) => ("/contractMarket/level2Depth5", ""),
        (Market::Usdm, Topic::Depth50) => ("/contractMarket/level2Depth50", ""),
        _ => return None,
    };
    Some(format!("{prefix}:{symbol}{suffix}"))
}

/// What stands for the sequence of a trade: the engine counts orders too.
pub(crate) fn trade_sequence(deal: &Deal) -> i64 {
    deal.id * 3
}

/// The trade id: hexadecimal on spot, the sequence on futures.
pub(crate) fn trade_id(market: Market, deal: &Deal) -> String {
    match market {
        Market::Spot => format!("67a1c0de{:016x}", deal.wide_id),
        Market::Usdm | Market::Coinm => trade_sequence(deal).to_string(),
    }
}

/// `buy` or `sell`.
pub(crate) fn side(deal: &Deal) -> &'static str {
    if deal.sell { "sell" } else { "buy" }
}

/// What a frame says after its topic.
struct Said {
    topic: Topic,
    subject: &'static str,
    /// The number beside the data, on futures.
    sn: Option<i64>,
    data: String,
    ids: Ids,
}

impl Said {
    fn of(topic: Topic, subject: &'static str, data: String) -> Self {
        Self { topic, subject, sn: None, data, ids: None }
    }
}

/// Appends a frame.
pub(crate) fn write(scene: &Scene<'_>, say: &Say, out: &mut Vec<u8>) -> Ids {
    let said = match say {
        Say::Trades(deals) => trade(scene, &deals.first().copied().unwrap_or_default()),
        Say::Top { amounts } => top(scene, *amounts),
        Say::Depth { first, changes } => depth(scene, *first, changes),
        Say::Candle { candle, .. } => candle_of(scene, candle),
        Say::Stats { .. } => stats(scene),
        Say::LastTicker { last, amounts } => last_ticker(scene, last, *amounts),
        Say::Levels { count } => levels(scene, *count),
        Say::Mark { offset, .. } => {
            let (mark, index) = (scene.price(scene.stand.price + offset), scene.price(scene.stand.price));
            let now = scene.now_ms;
            let data = format!(r#"{{"markPrice":{mark},"indexPrice":{index},"granularity":1000,"timestamp":{now}}}"#);
            Said::of(Topic::Mark, "mark.index.price", data)
        }
        Say::Funding { rate } => {
            let (rate, now) = (decimal(*rate, 6, 6), scene.now_ms);
            let data = format!(r#"{{"granularity":60000,"fundingRate":{rate},"timestamp":{now}}}"#);
            Said::of(Topic::Funding, "funding.rate", data)
        }
        // There is no stream of them.
        Say::Liquidation { .. } => return None,
    };
    let Said { topic, subject, sn, data, ids } = said;
    let topic = stream(scene.rules, topic, scene.symbol).unwrap_or_default();
    let sn = sn.map(|sn| format!(r#","sn":{sn}"#)).unwrap_or_default();
    let frame = format!(r#"{{"topic":"{topic}","type":"message","subject":"{subject}"{sn},"data":{data}}}"#);
    out.extend_from_slice(frame.as_bytes());
    ids
}

fn trade(scene: &Scene<'_>, deal: &Deal) -> Said {
    let Scene { rules, symbol, .. } = *scene;
    let (sequence, id, side) = (trade_sequence(deal), trade_id(rules, deal), side(deal));
    let (price, size, time) = (scene.price(deal.price), scene.amount(deal.amount), deal.time_ns);
    let said = if rules == Market::Spot {
        let data = format!(
            r#"{{"makerOrderId":"67a1c0de00000000000000aa","price":"{price}","sequence":"{sequence}","side":"{side}","size":"{size}","symbol":"{symbol}","takerOrderId":"67a1c0de00000000000000bb","time":"{time}","tradeId":"{id}","type":"match"}}"#
        );
        Said::of(Topic::Trades, "trade.l3match", data)
    } else {
        let data = format!(
            r#"{{"symbol":"{symbol}","sequence":{sequence},"side":"{side}","size":{},"price":"{price}","takerOrderId":"137974138147991552","makerOrderId":"137972015297474560","tradeId":"{id}","ts":{time}}}"#,
            deal.amount
        );
        Said { sn: Some(sequence), ..Said::of(Topic::Trades, "match", data) }
    };
    Said { ids: Some((sequence, sequence)), ..said }
}

fn top(scene: &Scene<'_>, amounts: [i64; 2]) -> Said {
    let [bid, ask] = scene.best().map(|price| scene.price(price));
    if scene.rules == Market::Spot {
        let [ask_size, bid_size] = amounts.map(|amount| scene.amount(amount));
        let now = scene.now_ms;
        let data = format!(r#"{{"asks":["{ask}","{ask_size}"],"bids":["{bid}","{bid_size}"],"timestamp":{now}}}"#);
        return Said::of(Topic::Top, "level1", data);
    }
    let ([ask_size, bid_size], symbol) = (amounts, scene.symbol);
    let (id, now) = (scene.stand.book_id, scene.now_ns);
    let data = format!(
        r#"{{"symbol":"{symbol}","sequence":{id},"bestBidSize":{bid_size},"bestBidPrice":"{bid}","bestAskPrice":"{ask}","bestAskSize":{ask_size},"ts":{now}}}"#
    );
    Said { sn: Some(id), ids: Some((id, id)), ..Said::of(Topic::Top, "tickerV2", data) }
}

fn depth(scene: &Scene<'_>, first: i64, changes: &[Change]) -> Said {
    let now = scene.now_ms;
    if scene.rules != Market::Spot {
        let change = changes.first().copied().unwrap_or(Change { bid: true, price: 0, amount: 0 });
        let (price, side, amount) = (scene.price(change.price), if change.bid { "buy" } else { "sell" }, change.amount);
        let data = format!(r#"{{"sequence":{first},"change":"{price},{side},{amount}","timestamp":{now}}}"#);
        return Said { sn: Some(first), ids: Some((first, first)), ..Said::of(Topic::Depth, "level2", data) };
    }
    let side = |bids| {
        let of_side = changes.iter().zip(first..).filter(|(change, _)| change.bid == bids);
        array(of_side, |text, (change, id)| {
            let amount = if change.amount == 0 { "0".to_owned() } else { scene.amount(change.amount) };
            let _ = write!(text, r#"["{}","{amount}","{id}"]"#, scene.price(change.price));
        })
    };
    let (asks, bids, symbol, last) = (side(false), side(true), scene.symbol, first + changes.len() as i64 - 1);
    let data = format!(
        r#"{{"changes":{{"asks":{asks},"bids":{bids}}},"sequenceEnd":{last},"sequenceStart":{first},"symbol":"{symbol}","time":{now}}}"#
    );
    Said { ids: Some((first, last)), ..Said::of(Topic::Depth, "trade.l2update", data) }
}

fn candle_of(scene: &Scene<'_>, candle: &Candle) -> Said {
    let (symbol, now, start_s) = (scene.symbol, scene.now_ns, candle.open_ms / 1_000);
    let [open, high, low, close] = candle.prices.map(|price| scene.price(price));
    let places = scene.places + PRICE_PLACES;
    let (amount, quote) = (wide(candle.amount, scene.places, scene.places), wide(candle.quote, places, places));
    let data = format!(
        r#"{{"symbol":"{symbol}","candles":["{start_s}","{open}","{close}","{high}","{low}","{amount}","{quote}"],"time":{now}}}"#
    );
    let spot = scene.rules == Market::Spot;
    Said::of(Topic::Candles, if spot { "trade.candles.update" } else { "candle.stick" }, data)
}

fn stats(scene: &Scene<'_>) -> Said {
    let Scene { symbol, stand, now_ms, now_ns, .. } = *scene;
    let [price, high, low, open] = [0, 500, -500, 125].map(|away| scene.price(stand.price + away));
    if scene.rules != Market::Spot {
        let data = format!(
            r#"{{"symbol":"{symbol}","volume":58142.397,"turnover":1766775651.62,"lastPrice":{price},"lowPrice":{low},"highPrice":{high},"priceChgPct":-0.0125,"priceChg":-1.25,"ts":{now_ns}}}"#
        );
        return Said::of(Topic::Stats, "snapshot.24h", data);
    }
    let (base, quote) = symbol.split_once('-').unwrap_or((symbol, "USDT"));
    let ([bid, ask], id) = (scene.best().map(|price| scene.price(price)), stand.book_id);
    let data = format!(
        r#"{{"sequence":"{id}","data":{{"averagePrice":{price},"baseCurrency":"{base}","board":1,"buy":{bid},"changePrice":-1.25,"changeRate":-0.0125,"close":{price},"datetime":{now_ms},"high":{high},"lastTradedPrice":{price},"low":{low},"market":"USDS","open":{open},"quoteCurrency":"{quote}","sell":{ask},"symbol":"{symbol}","symbolCode":"{symbol}","trading":true,"vol":5132.25,"volValue":1250000.5}}}}"#
    );
    Said::of(Topic::Stats, "trade.snapshot", data)
}

fn last_ticker(scene: &Scene<'_>, last: &Deal, amounts: [i64; 2]) -> Said {
    let ([bid, ask], id, now) = (scene.best().map(|price| scene.price(price)), scene.stand.book_id, scene.now_ms);
    let [ask_size, bid_size] = amounts.map(|amount| scene.amount(amount));
    let (price, size) = (scene.price(last.price), scene.amount(last.amount));
    let data = format!(
        r#"{{"bestAsk":"{ask}","bestAskSize":"{ask_size}","bestBid":"{bid}","bestBidSize":"{bid_size}","price":"{price}","sequence":"{id}","size":"{size}","time":{now}}}"#
    );
    Said { ids: Some((id, id)), ..Said::of(Topic::LastTicker, "trade.ticker", data) }
}

fn levels(scene: &Scene<'_>, count: usize) -> Said {
    let (spot, stand, now) = (scene.rules == Market::Spot, scene.stand, scene.now_ms);
    let level = |text: &mut String, (price, amount): (&i64, &i64)| {
        let amount = if spot { format!(r#""{}""#, scene.amount(*amount)) } else { amount.to_string() };
        let _ = write!(text, r#"["{}",{amount}]"#, scene.price(*price));
    };
    let asks = array(stand.asks.iter().take(count), level);
    let bids = array(stand.bids.iter().rev().take(count), level);
    let more = if spot { String::new() } else { format!(r#","sequence":{},"ts":{now}"#, stand.book_id) };
    let data = format!(r#"{{"asks":{asks},"bids":{bids}{more},"timestamp":{now}}}"#);
    Said::of(if count == 5 { Topic::Depth5 } else { Topic::Depth50 }, "level2", data)
}
