//! The text of generated Gate frames, key by key as the WebSocket v4 pages of 2026 show them. Decides nothing.
//!
//! Sizes of contracts are written as decimal texts; `sizes` turns them into integers where a connection asks for those.

use crate::binance::Market;
use crate::seeded::{Change, Deal, Ids, PRICE_PLACES, Say, Scene, Topic};
use crate::text::Text;

/// Channel and symbol under which something of a symbol is sent.
pub(crate) fn stream(market: Market, topic: Topic, symbol: &str) -> Option<String> {
    let word = match topic {
        Topic::Trades => "trades",
        Topic::Top => "book_ticker",
        Topic::Depth => "order_book_update",
        Topic::Candles => "candlesticks",
        Topic::Stats => "tickers",
        Topic::Liquidations if market == Market::Usdm => "public_liquidates",
        _ => return None,
    };
    Some(format!("{}.{word} {symbol}", super::prefix(market)))
}

/// Signed size of a contract trade: the sign is the taker's side.
pub(crate) fn signed(deal: &Deal) -> i64 {
    if deal.sell { -deal.amount } else { deal.amount }
}

/// Appends a frame.
pub(crate) fn write(scene: &Scene<'_>, say: &Say, out: &mut Vec<u8>) -> Ids {
    let spot = scene.rules == Market::Spot;
    let Scene { symbol, stand, now_ms, places, .. } = *scene;
    let topic = match say {
        Say::Trades(_) => Topic::Trades,
        Say::Top { .. } => Topic::Top,
        Say::Depth { .. } => Topic::Depth,
        Say::Candle { .. } => Topic::Candles,
        Say::Liquidation { .. } => Topic::Liquidations,
        _ => Topic::Stats,
    };
    let name = stream(scene.rules, topic, symbol).unwrap_or_default();
    let channel = name.split(' ').next().unwrap_or("");
    let mut text = Text(out);
    text.put(r#"{"time":"#).int(now_ms / 1_000).put(r#","time_ms":"#).int(now_ms).put(r#","channel":""#).put(channel);
    text.put(r#"","event":"update","result":"#);
    let (bid, ask) = (
        stand.bids.last_key_value().map_or(stand.price - 1, |(price, _)| *price),
        stand.asks.first_key_value().map_or(stand.price + 1, |(price, _)| *price),
    );
    let ids = match say {
        Say::Trades(deals) if spot => {
            let deal = deals.first().copied().unwrap_or_default();
            text.put(r#"{"id":"#).int(deal.wide_id).put(r#","id_market":"#).int(deal.id);
            text.put(r#","create_time":"#).int(deal.time_ns / 1_000_000_000).put(r#","create_time_ms":""#);
            text.dec(deal.time_ns / 1_000, 3, 3).put(r#"","side":""#).put(if deal.sell { "sell" } else { "buy" });
            text.put(r#"","currency_pair":""#).put(symbol).put(r#"","amount":""#).dec(deal.amount, places, places);
            text.put(r#"","price":""#).dec(deal.price, PRICE_PLACES, PRICE_PLACES).put(r#"","range":""#);
            text.int(deal.id).put("-").int(deal.id).put(r#""}"#);
            Some((deal.id, deal.id))
        }
        Say::Trades(deals) => {
            for (index, deal) in deals.iter().enumerate() {
                text.put(if index == 0 { r#"[{"contract":""# } else { r#",{"contract":""# }).put(symbol);
                text.put(r#"","size":""#).dec(signed(deal), places, places).put(r#"","id":"#).int(deal.id);
                text.put(r#","create_time":"#).int(deal.time_ns / 1_000_000_000).put(r#","create_time_ms":"#);
                text.int(deal.time_ns / 1_000_000)
                    .put(r#","price":""#)
                    .dec(deal.price, PRICE_PLACES, PRICE_PLACES)
                    .put(r#""}"#);
            }
            text.put("]");
            deals.first().zip(deals.last()).map(|(first, last)| (first.id, last.id))
        }
        Say::Top { amounts } => {
            text.put(r#"{"t":"#).int(now_ms).put(r#","u":"#).int(stand.book_id).put(r#","s":""#).put(symbol);
            text.put(r#"","b":""#)
                .dec(bid, PRICE_PLACES, PRICE_PLACES)
                .put(r#"","B":""#)
                .dec(amounts[0], places, places);
            text.put(r#"","a":""#)
                .dec(ask, PRICE_PLACES, PRICE_PLACES)
                .put(r#"","A":""#)
                .dec(amounts[1], places, places)
                .put(r#""}"#);
            Some((stand.book_id, stand.book_id))
        }
        Say::Depth { first, changes } => {
            let last = first + changes.len() as i64 - 1;
            text.put(r#"{"t":"#).int(now_ms);
            if spot {
                text.put(r#","e":"depthUpdate","E":"#).int(now_ms / 1_000);
            }
            text.put(r#","s":""#).put(symbol).put(r#"","U":"#).int(*first).put(r#","u":"#).int(last).put(r#","b":["#);
            levels(&mut text, scene, changes, true);
            text.put(r#"],"a":["#);
            levels(&mut text, scene, changes, false);
            text.put(r#"],"l":"100"}"#);
            Some((*first, last))
        }
        Say::Liquidation { amount, sell } => {
            text.put(r#"[{"price":""#).dec(stand.price, PRICE_PLACES, PRICE_PLACES).put(r#"","size":""#);
            text.dec(if *sell { -amount } else { *amount }, places, places).put(r#"","time":"#).int(now_ms);
            text.put(r#","contract":""#).put(symbol).put(r#""}]"#);
            None
        }
        Say::Candle { candle, closed } => {
            let [open, high, low, close] = candle.prices;
            if spot {
                text.put(r#"{"t":""#).int(candle.open_ms / 1_000).put(r#"","v":""#);
                text.wide(candle.quote, places + PRICE_PLACES, places + PRICE_PLACES).put("\"");
            } else {
                text.put(r#"[{"t":"#)
                    .int(candle.open_ms / 1_000)
                    .put(r#","v":""#)
                    .wide(candle.amount, places, places)
                    .put("\"");
            }
            for (key, price) in [(r#","c":""#, close), (r#"","h":""#, high), (r#"","l":""#, low), (r#"","o":""#, open)]
            {
                text.put(key).dec(price, PRICE_PLACES, PRICE_PLACES);
            }
            text.put(r#"","n":"1m_"#).put(symbol).put(r#"","a":""#).wide(candle.amount, places, places);
            text.put(r#"","w":"#).bool(*closed).put(if spot { "}" } else { "}]" });
            None
        }
        Say::Stats { rate } | Say::Mark { rate, .. } | Say::Funding { rate } => {
            let price = stand.price;
            if spot {
                text.put(r#"{"currency_pair":""#).put(symbol).put(r#"","last":""#).dec(
                    price,
                    PRICE_PLACES,
                    PRICE_PLACES,
                );
                text.put(r#"","lowest_ask":""#).dec(ask, PRICE_PLACES, PRICE_PLACES).put(r#"","highest_bid":""#).dec(
                    bid,
                    PRICE_PLACES,
                    PRICE_PLACES,
                );
                text.put(
                    r#"","change_percentage":"-1.25","base_volume":"5132.25","quote_volume":"1250000.5","high_24h":""#,
                );
                text.dec(price + 500, PRICE_PLACES, PRICE_PLACES)
                    .put(r#"","low_24h":""#)
                    .dec(price - 500, PRICE_PLACES, PRICE_PLACES)
                    .put(r#""}"#);
            } else {
                text.put(r#"[{"contract":""#).put(symbol).put(r#"","last":""#).dec(price, PRICE_PLACES, PRICE_PLACES);
                text.put(r#"","change_percentage":"-1.25","total_size":"417015","volume_24h":"1327595","volume_24h_base":"13275","volume_24h_quote":"3251280","volume_24h_settle":"3251280","mark_price":""#);
                text.dec(price + rate % 40, PRICE_PLACES, PRICE_PLACES).put(r#"","funding_rate":""#).dec(*rate, 6, 6);
                text.put(r#"","funding_rate_indicative":""#).dec(*rate, 6, 6).put(r#"","index_price":""#).dec(
                    price,
                    PRICE_PLACES,
                    PRICE_PLACES,
                );
                let next_s = (now_ms.div_euclid(28_800_000) + 1) * 28_800;
                text.put(r#"","quanto_base_rate":"","low_24h":""#)
                    .dec(price - 500, PRICE_PLACES, PRICE_PLACES)
                    .put(r#"","high_24h":""#);
                text.dec(price + 500, PRICE_PLACES, PRICE_PLACES)
                    .put(r#"","funding_interval":28800,"funding_next_apply":"#)
                    .int(next_s);
                text.put(r#","t":"#).int(now_ms).put("}]");
            }
            None
        }
        Say::LastTicker { .. } | Say::Levels { .. } => {
            text.put("null");
            None
        }
    };
    text.put("}");
    ids
}

fn levels(text: &mut Text<'_>, scene: &Scene<'_>, changes: &[Change], bids: bool) {
    let (open, middle, close) =
        if scene.rules == Market::Spot { (r#"[""#, r#"",""#, r#""]"#) } else { (r#"{"p":""#, r#"","s":""#, r#""}"#) };
    for (index, change) in changes.iter().filter(|change| change.bid == bids).enumerate() {
        text.put(if index == 0 { "" } else { "," }).put(open).dec(change.price, PRICE_PLACES, PRICE_PLACES).put(middle);
        if change.amount == 0 {
            text.put("0");
        } else {
            text.dec(change.amount, scene.places, scene.places);
        }
        text.put(close);
    }
}
