//! The text of generated Gate frames, key by key as the WebSocket v4 pages of 2026 show them. Decides nothing.
//!
//! Sizes of contracts are written as decimal texts; `sizes` turns them into integers where a connection requests those.

use std::fmt::Write;

use crate::binance::Market;
use crate::generate::Candle;
use crate::seeded::{Change, Deal, Ids, PRICE_PLACES, Say, Scene, Topic};
use crate::text::{array, decimal, wide};

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
    let (topic, result, ids) = match say {
        Say::Trades(deals) => trades(scene, deals),
        Say::Top { amounts } => top(scene, *amounts),
        Say::Depth { first, changes } => depth(scene, *first, changes),
        Say::Liquidation { amount, sell } => {
            let (price, now, symbol) = (scene.price(scene.stand.price), scene.now_ms, scene.symbol);
            let size = scene.amount(if *sell { -amount } else { *amount });
            let result = format!(r#"[{{"price":"{price}","size":"{size}","time":{now},"contract":"{symbol}"}}]"#);
            (Topic::Liquidations, result, None)
        }
        Say::Candle { candle, closed } => candlestick(scene, candle, *closed),
        Say::Stats { rate } | Say::Mark { rate, .. } | Say::Funding { rate } => stats(scene, *rate),
        Say::LastTicker { .. } | Say::Levels { .. } => (Topic::Stats, "null".to_owned(), None),
    };
    let (name, ms, s) =
        (stream(scene.rules, topic, scene.symbol).unwrap_or_default(), scene.now_ms, scene.now_ms / 1_000);
    let channel = name.split(' ').next().unwrap_or("");
    let frame = format!(r#"{{"time":{s},"time_ms":{ms},"channel":"{channel}","event":"update","result":{result}}}"#);
    out.extend_from_slice(frame.as_bytes());
    ids
}

/// Topic, value of `result`, ids.
type Said = (Topic, String, Ids);

fn trades(scene: &Scene<'_>, deals: &[Deal]) -> Said {
    let symbol = scene.symbol;
    if scene.rules == Market::Spot {
        let deal = deals.first().copied().unwrap_or_default();
        let Deal { id, wide_id, price, amount, time_ns, sell } = deal;
        let (s, ms) = (time_ns / 1_000_000_000, decimal(time_ns / 1_000, 3, 3));
        let (price, amount, side) = (scene.price(price), scene.amount(amount), if sell { "sell" } else { "buy" });
        let result = format!(
            r#"{{"id":{wide_id},"id_market":{id},"create_time":{s},"create_time_ms":"{ms}","side":"{side}","currency_pair":"{symbol}","amount":"{amount}","price":"{price}","range":"{id}-{id}"}}"#
        );
        return (Topic::Trades, result, Some((id, id)));
    }
    let all = array(deals, |text, deal| {
        let (s, ms, id) = (deal.time_ns / 1_000_000_000, deal.time_ns / 1_000_000, deal.id);
        let (size, price) = (scene.amount(signed(deal)), scene.price(deal.price));
        let _ = write!(
            text,
            r#"{{"contract":"{symbol}","size":"{size}","id":{id},"create_time":{s},"create_time_ms":{ms},"price":"{price}"}}"#
        );
    });
    let ids = deals.first().zip(deals.last()).map(|(first, last)| (first.id, last.id));
    (Topic::Trades, all, ids)
}

fn top(scene: &Scene<'_>, amounts: [i64; 2]) -> Said {
    let [bid, ask] = scene.best().map(|price| scene.price(price));
    let [bid_size, ask_size] = amounts.map(|amount| scene.amount(amount));
    let (now, id, symbol) = (scene.now_ms, scene.stand.book_id, scene.symbol);
    let result =
        format!(r#"{{"t":{now},"u":{id},"s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}"#);
    (Topic::Top, result, Some((id, id)))
}

fn depth(scene: &Scene<'_>, first: i64, changes: &[Change]) -> Said {
    let (spot, symbol, now, last) =
        (scene.rules == Market::Spot, scene.symbol, scene.now_ms, first + changes.len() as i64 - 1);
    let side = |bids| {
        array(changes.iter().filter(|change| change.bid == bids), |text, change| {
            let price = scene.price(change.price);
            let size = if change.amount == 0 { "0".to_owned() } else { scene.amount(change.amount) };
            let _ = if spot {
                write!(text, r#"["{price}","{size}"]"#)
            } else {
                write!(text, r#"{{"p":"{price}","s":"{size}"}}"#)
            };
        })
    };
    let event = if spot { format!(r#","e":"depthUpdate","E":{}"#, now / 1_000) } else { String::new() };
    let (bids, asks) = (side(true), side(false));
    let result =
        format!(r#"{{"t":{now}{event},"s":"{symbol}","U":{first},"u":{last},"b":{bids},"a":{asks},"l":"100"}}"#);
    (Topic::Depth, result, Some((first, last)))
}

fn candlestick(scene: &Scene<'_>, candle: &Candle, closed: bool) -> Said {
    let (symbol, places, start_s) = (scene.symbol, scene.places, candle.open_ms / 1_000);
    let [open, high, low, close] = candle.prices.map(|price| scene.price(price));
    let (amount, quote_places) = (wide(candle.amount, places, places), places + PRICE_PLACES);
    let behind = format!(
        r#""c":"{close}","h":"{high}","l":"{low}","o":"{open}","n":"1m_{symbol}","a":"{amount}","w":{closed}}}"#
    );
    let result = if scene.rules == Market::Spot {
        let quote = wide(candle.quote, quote_places, quote_places);
        format!(r#"{{"t":"{start_s}","v":"{quote}",{behind}"#)
    } else {
        format!(r#"[{{"t":{start_s},"v":"{amount}",{behind}]"#)
    };
    (Topic::Candles, result, None)
}

fn stats(scene: &Scene<'_>, rate: i64) -> Said {
    let (symbol, now, last) = (scene.symbol, scene.now_ms, scene.stand.price);
    let [price, high, low, mark] = [0, 500, -500, rate % 40].map(|away| scene.price(last + away));
    let result = if scene.rules == Market::Spot {
        let [bid, ask] = scene.best().map(|price| scene.price(price));
        format!(
            r#"{{"currency_pair":"{symbol}","last":"{price}","lowest_ask":"{ask}","highest_bid":"{bid}","change_percentage":"-1.25","base_volume":"5132.25","quote_volume":"1250000.5","high_24h":"{high}","low_24h":"{low}"}}"#
        )
    } else {
        let (rate, next_s) = (decimal(rate, 6, 6), (now.div_euclid(28_800_000) + 1) * 28_800);
        format!(
            r#"[{{"contract":"{symbol}","last":"{price}","change_percentage":"-1.25","total_size":"417015","volume_24h":"1327595","volume_24h_base":"13275","volume_24h_quote":"3251280","volume_24h_settle":"3251280","mark_price":"{mark}","funding_rate":"{rate}","funding_rate_indicative":"{rate}","index_price":"{price}","quanto_base_rate":"","low_24h":"{low}","high_24h":"{high}","funding_interval":28800,"funding_next_apply":{next_s},"t":{now}}}]"#
        )
    };
    (Topic::Stats, result, None)
}
