//! The text of generated KuCoin frames, key by key as the "WebSocket API" pages of 2026 show them. Decides nothing.

use crate::binance::Market;
use crate::seeded::{Change, Deal, Ids, PRICE_PLACES, Say, Scene, Topic};
use crate::text::Text;

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

/// Appends a frame.
pub(crate) fn write(scene: &Scene<'_>, say: &Say, out: &mut Vec<u8>) -> Ids {
    let spot = scene.rules == Market::Spot;
    let symbol = scene.symbol;
    let mut text = Text(out);
    let topic = |topic| stream(scene.rules, topic, symbol).unwrap_or_default();
    let open = |text: &mut Text<'_>, name: String, subject: &str, sn: Option<i64>| {
        text.put(r#"{"topic":""#).put(&name).put(r#"","type":"message","subject":""#).put(subject).put("\"");
        if let Some(sn) = sn {
            text.put(r#","sn":"#).int(sn);
        }
        text.put(r#","data":"#);
    };
    let stand = scene.stand;
    let (bid, ask) = (
        stand.bids.last_key_value().map_or(stand.price - 1, |(price, _)| *price),
        stand.asks.first_key_value().map_or(stand.price + 1, |(price, _)| *price),
    );
    let ids = match say {
        Say::Trades(deals) => {
            let deal = deals.first().copied().unwrap_or_default();
            let (sequence, id) = (trade_sequence(&deal), trade_id(scene.rules, &deal));
            if spot {
                open(&mut text, topic(Topic::Trades), "trade.l3match", None);
                text.put(r#"{"makerOrderId":"67a1c0de00000000000000aa","price":""#).dec(
                    deal.price,
                    PRICE_PLACES,
                    PRICE_PLACES,
                );
                text.put(r#"","sequence":""#).int(sequence).put(r#"","side":""#).put(side(&deal));
                text.put(r#"","size":""#)
                    .dec(deal.amount, scene.places, scene.places)
                    .put(r#"","symbol":""#)
                    .put(symbol);
                text.put(r#"","takerOrderId":"67a1c0de00000000000000bb","time":""#).int(deal.time_ns);
                text.put(r#"","tradeId":""#).put(&id).put(r#"","type":"match"}"#);
            } else {
                open(&mut text, topic(Topic::Trades), "match", Some(sequence));
                text.put(r#"{"symbol":""#).put(symbol).put(r#"","sequence":"#).int(sequence).put(r#","side":""#);
                text.put(side(&deal)).put(r#"","size":"#).int(deal.amount).put(r#","price":""#);
                text.dec(deal.price, PRICE_PLACES, PRICE_PLACES)
                    .put(r#"","takerOrderId":"137974138147991552","makerOrderId":"137972015297474560","tradeId":""#);
                text.put(&id).put(r#"","ts":"#).int(deal.time_ns).put("}");
            }
            Some((sequence, sequence))
        }
        Say::Top { amounts } if spot => {
            open(&mut text, topic(Topic::Top), "level1", None);
            for (key, price, amount) in [(r#"{"asks":[""#, ask, amounts[0]), (r#","bids":[""#, bid, amounts[1])] {
                text.put(key).dec(price, PRICE_PLACES, PRICE_PLACES).put(r#"",""#);
                text.dec(amount, scene.places, scene.places).put(r#""]"#);
            }
            text.put(r#","timestamp":"#).int(scene.now_ms).put("}");
            None
        }
        Say::Top { amounts } => {
            open(&mut text, topic(Topic::Top), "tickerV2", Some(stand.book_id));
            text.put(r#"{"symbol":""#).put(symbol).put(r#"","sequence":"#).int(stand.book_id);
            text.put(r#","bestBidSize":"#).int(amounts[1]).put(r#","bestBidPrice":""#).dec(
                bid,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#"","bestAskPrice":""#)
                .dec(ask, PRICE_PLACES, PRICE_PLACES)
                .put(r#"","bestAskSize":"#)
                .int(amounts[0]);
            text.put(r#","ts":"#).int(scene.now_ns).put("}");
            Some((stand.book_id, stand.book_id))
        }
        Say::Depth { first, changes } if spot => {
            open(&mut text, topic(Topic::Depth), "trade.l2update", None);
            let last = first + changes.len() as i64 - 1;
            text.put(r#"{"changes":{"asks":["#);
            levels(&mut text, scene, *first, changes, false);
            text.put(r#"],"bids":["#);
            levels(&mut text, scene, *first, changes, true);
            text.put(r#"]},"sequenceEnd":"#).int(last).put(r#","sequenceStart":"#).int(*first).put(r#","symbol":""#);
            text.put(symbol).put(r#"","time":"#).int(scene.now_ms).put("}");
            Some((*first, last))
        }
        Say::Depth { first, changes } => {
            open(&mut text, topic(Topic::Depth), "level2", Some(*first));
            let change = changes.first().copied().unwrap_or(Change { bid: true, price: 0, amount: 0 });
            text.put(r#"{"sequence":"#).int(*first).put(r#","change":""#).dec(change.price, PRICE_PLACES, PRICE_PLACES);
            text.put(if change.bid { ",buy," } else { ",sell," }).int(change.amount);
            text.put(r#"","timestamp":"#).int(scene.now_ms).put("}");
            Some((*first, *first))
        }
        Say::Mark { offset, .. } => {
            open(&mut text, topic(Topic::Mark), "mark.index.price", None);
            text.put(r#"{"markPrice":"#).dec(stand.price + offset, PRICE_PLACES, PRICE_PLACES).put(r#","indexPrice":"#);
            text.dec(stand.price, PRICE_PLACES, PRICE_PLACES)
                .put(r#","granularity":1000,"timestamp":"#)
                .int(scene.now_ms)
                .put("}");
            None
        }
        Say::Funding { rate } => {
            open(&mut text, topic(Topic::Funding), "funding.rate", None);
            text.put(r#"{"granularity":60000,"fundingRate":"#)
                .dec(*rate, 6, 6)
                .put(r#","timestamp":"#)
                .int(scene.now_ms)
                .put("}");
            None
        }
        Say::Candle { candle, .. } => {
            open(&mut text, topic(Topic::Candles), if spot { "trade.candles.update" } else { "candle.stick" }, None);
            let [start, high, low, close] = candle.prices;
            text.put(r#"{"symbol":""#).put(symbol).put(r#"","candles":[""#).int(candle.open_ms / 1_000);
            for price in [start, close, high, low] {
                text.put(r#"",""#).dec(price, PRICE_PLACES, PRICE_PLACES);
            }
            text.put(r#"",""#).wide(candle.amount, scene.places, scene.places).put(r#"",""#);
            let places = scene.places + PRICE_PLACES;
            text.wide(candle.quote, places, places).put(r#""],"time":"#).int(scene.now_ns).put("}");
            None
        }
        Say::Stats { .. } if spot => {
            open(&mut text, topic(Topic::Stats), "trade.snapshot", None);
            let (base, quote) = symbol.split_once('-').unwrap_or((symbol, "USDT"));
            text.put(r#"{"sequence":""#).int(stand.book_id).put(r#"","data":{"averagePrice":"#).dec(
                stand.price,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","baseCurrency":""#).put(base).put(r#"","board":1,"buy":"#).dec(
                bid,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","changePrice":-1.25,"changeRate":-0.0125,"close":"#).dec(
                stand.price,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","datetime":"#).int(scene.now_ms).put(r#","high":"#).dec(
                stand.price + 500,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","lastTradedPrice":"#).dec(stand.price, PRICE_PLACES, PRICE_PLACES).put(r#","low":"#);
            text.dec(stand.price - 500, PRICE_PLACES, PRICE_PLACES).put(r#","market":"USDS","open":"#).dec(
                stand.price + 125,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","quoteCurrency":""#).put(quote).put(r#"","sell":"#).dec(ask, PRICE_PLACES, PRICE_PLACES);
            text.put(r#","symbol":""#).put(symbol).put(r#"","symbolCode":""#).put(symbol);
            text.put(r#"","trading":true,"vol":5132.25,"volValue":1250000.5}}"#);
            None
        }
        Say::Stats { .. } => {
            open(&mut text, topic(Topic::Stats), "snapshot.24h", None);
            text.put(r#"{"symbol":""#).put(symbol).put(r#"","volume":58142.397,"turnover":1766775651.62,"lastPrice":"#);
            text.dec(stand.price, PRICE_PLACES, PRICE_PLACES).put(r#","lowPrice":"#).dec(
                stand.price - 500,
                PRICE_PLACES,
                PRICE_PLACES,
            );
            text.put(r#","highPrice":"#)
                .dec(stand.price + 500, PRICE_PLACES, PRICE_PLACES)
                .put(r#","priceChgPct":-0.0125,"priceChg":-1.25,"ts":"#);
            text.int(scene.now_ns).put("}");
            None
        }
        Say::LastTicker { last, amounts } => {
            open(&mut text, topic(Topic::LastTicker), "trade.ticker", None);
            text.put(r#"{"bestAsk":""#).dec(ask, PRICE_PLACES, PRICE_PLACES).put(r#"","bestAskSize":""#).dec(
                amounts[0],
                scene.places,
                scene.places,
            );
            text.put(r#"","bestBid":""#).dec(bid, PRICE_PLACES, PRICE_PLACES).put(r#"","bestBidSize":""#).dec(
                amounts[1],
                scene.places,
                scene.places,
            );
            text.put(r#"","price":""#)
                .dec(last.price, PRICE_PLACES, PRICE_PLACES)
                .put(r#"","sequence":""#)
                .int(stand.book_id);
            text.put(r#"","size":""#)
                .dec(last.amount, scene.places, scene.places)
                .put(r#"","time":"#)
                .int(scene.now_ms)
                .put("}");
            Some((stand.book_id, stand.book_id))
        }
        Say::Levels { count } => {
            open(&mut text, topic(if *count == 5 { Topic::Depth5 } else { Topic::Depth50 }), "level2", None);
            text.put(r#"{"asks":["#);
            top_levels(&mut text, scene, &mut stand.asks.iter().take(*count));
            text.put(r#"],"bids":["#);
            top_levels(&mut text, scene, &mut stand.bids.iter().rev().take(*count));
            text.put("]");
            if !spot {
                text.put(r#","sequence":"#).int(stand.book_id).put(r#","ts":"#).int(scene.now_ms);
            }
            text.put(r#","timestamp":"#).int(scene.now_ms).put("}");
            None
        }
        Say::Liquidation { .. } => None,
    };
    text.put("}");
    ids
}

fn levels(text: &mut Text<'_>, scene: &Scene<'_>, first: i64, changes: &[Change], bids: bool) {
    let mut is_first = true;
    for (index, change) in changes.iter().enumerate().filter(|(_, change)| change.bid == bids) {
        text.put(if is_first { r#"[""# } else { r#",[""# }).dec(change.price, PRICE_PLACES, PRICE_PLACES).put(r#"",""#);
        if change.amount == 0 {
            text.put("0");
        } else {
            text.dec(change.amount, scene.places, scene.places);
        }
        text.put(r#"",""#).int(first + index as i64).put(r#""]"#);
        is_first = false;
    }
}

fn top_levels(text: &mut Text<'_>, scene: &Scene<'_>, levels: &mut dyn Iterator<Item = (&i64, &i64)>) {
    for (index, (price, amount)) in levels.enumerate() {
        text.put(if index == 0 { r#"[""# } else { r#",[""# }).dec(*price, PRICE_PLACES, PRICE_PLACES);
        if scene.rules == Market::Spot {
            text.put(r#"",""#).dec(*amount, scene.places, scene.places).put(r#""]"#);
        } else {
            text.put(r#"","#).int(*amount).put("]");
        }
    }
}
