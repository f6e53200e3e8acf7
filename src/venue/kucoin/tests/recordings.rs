//! A whole recording: every frame decodes, the books continue, the candles are those of the trades.

use std::collections::BTreeMap;

use super::super::super::gap::{GAP_BEFORE, GapTracker};
use super::*;
use model::Num;

#[test]
fn every_recorded_frame_decodes_or_is_control() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let frames = recorded();
    let mut rows = Rows::new();
    for payload in &frames {
        rows.clear();
        let name = match of(Market::Spot).frames.decode(&text(payload), &mut rows) {
            Ok(decoded) => format!("{decoded:?}"),
            Err(e) => format!("undecodable: {e}"),
        };
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(rows.drift.items, BTreeMap::new());
    let expected = [
        ("Control", 14),
        ("Rows(BookTicker)", 557),
        ("Rows(Depth)", 3176),
        ("Rows(Trades)", 5),
        ("Rows(VenueKlines)", 2),
    ];
    assert_eq!(counts, expected.map(|(k, n)| (k.to_owned(), n)).into());
    assert_eq!(counts.values().sum::<usize>(), frames.len());
}

/// Gaps in the order books, and the index of the depth message after the first one.
fn gaps<'a>(market: Market, frames: impl Iterator<Item = &'a [u8]>) -> (usize, usize, usize) {
    let mut rows = Rows::new();
    let mut marks = Vec::new();
    let mut tracker = GapTracker::new(of(market));
    let (mut gaps, mut repeats, mut marked) = (0, 0, 0);
    for payload in frames {
        rows.clear();
        of(market).frames.decode(&text(payload), &mut rows).unwrap();
        tracker.observe_rows(&rows, &mut marks, &mut |_| gaps += 1);
        repeats += marks.iter().filter(|m| m.again).count();
        marked += marks.iter().filter(|m| m.flags & GAP_BEFORE != 0).count();
    }
    (gaps, repeats, marked)
}

#[test]
fn recorded_books_continue_without_a_gap_and_one_lost_frame_is_one_gap() {
    let frames = recorded();
    let all = || frames.iter().map(Vec::as_slice);
    assert_eq!(gaps(Market::Spot, all()), (0, 0, 0));
    let is_change = |f: &&[u8]| f.windows(13).any(|w| w == b"sequenceStart");
    // In the middle of a book: a later frame of the same symbol must follow.
    let lost = all().filter(is_change).nth(100).unwrap();
    assert_eq!(gaps(Market::Spot, all().filter(|f| *f != lost)), (1, 0, 1));
}

#[test]
fn a_frame_that_begins_inside_the_one_before_is_no_gap_and_one_that_skips_is() {
    let change = |first: i64, last: i64| {
        format!(
            r#"{{"topic":"/market/level2:A-B","type":"message","subject":"trade.l2update","data":{{"changes":{{"asks":[["1","2","{last}"]],"bids":[]}},"sequenceStart":{first},"sequenceEnd":{last},"symbol":"A-B","time":1663747970273}}}}"#
        )
    };
    let played = |ids: &[(i64, i64)]| {
        let frames: Vec<String> = ids.iter().map(|(first, last)| change(*first, *last)).collect();
        gaps(Market::Spot, frames.iter().map(String::as_bytes))
    };
    assert_eq!(played(&[(1, 5), (6, 6), (7, 9)]), (0, 0, 0));
    assert_eq!(played(&[(1, 5), (4, 8), (9, 9)]), (0, 0, 0));
    assert_eq!(played(&[(1, 5), (7, 8)]), (1, 0, 1));
    assert_eq!(played(&[(1, 5), (3, 4), (6, 6)]), (0, 1, 0));
    let futures = |sequence: i64| {
        format!(
            r#"{{"topic":"/contractMarket/level2:AM","type":"message","subject":"level2","sn":{sequence},"data":{{"sequence":{sequence},"change":"0,buy,0","timestamp":1663747970273}}}}"#
        )
    };
    let frames = [7, 8, 10, 11].map(futures);
    // Entries of price 0 give no level, yet their sequence counts.
    assert_eq!(gaps(Market::Futures, frames.iter().map(String::as_bytes)), (1, 0, 1));
}

#[test]
fn candles_of_the_recording_are_those_of_its_trades() {
    let mut rows = Rows::new();
    for payload in recorded() {
        of(Market::Spot).frames.decode(&text(&payload), &mut rows).unwrap();
    }
    let id = rows.symbols.intern("BCHSV-USDT");
    let mut checked = 0;
    let exact = |n: Num| (n.mantissa * 10_i128.pow(18 - u32::from(n.scale)), n);
    for row in rows.venue_klines.iter().filter(|k| k.symbol == id) {
        let candle = &row.candle;
        let inside = |t: &&model::row::Trade| {
            t.symbol == id
                && (candle.open_time_us..=row.close_time_us).contains(&t.ts_trade_us.unwrap())
                && t.ts_trade_us <= row.ts_event_us
        };
        let trades: Vec<_> = rows.trades.iter().filter(inside).collect();
        assert!(!trades.is_empty());
        let price = |n: Num| exact(n).0;
        assert_eq!(price(candle.open), price(trades[0].price));
        assert_eq!(price(candle.close), price(trades[trades.len() - 1].price));
        assert_eq!(price(candle.high), trades.iter().map(|t| price(t.price)).max().unwrap());
        assert_eq!(price(candle.low), trades.iter().map(|t| price(t.price)).min().unwrap());
        assert_eq!(price(candle.volume.unwrap()), trades.iter().map(|t| price(t.amount)).sum::<i128>());
        // Price times amount has at most 11 decimals here.
        let product = |t: &model::row::Trade| {
            let scale = 18 - u32::from(t.price.scale) - u32::from(t.amount.scale);
            t.price.mantissa * t.amount.mantissa * 10_i128.pow(scale)
        };
        assert_eq!(price(candle.quote_volume.unwrap()), trades.iter().map(|t| product(t)).sum::<i128>());
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn recorded_books_of_rest_decode_and_failed_requests_do_not() {
    let bodies = bodies("kucoin-spot/cryptofeed-KUCOIN.http.0.0.level2.zst");
    assert_eq!(bodies.len(), 9);
    for (url, body) in bodies {
        let symbol = url.split_once("symbol=").unwrap().1;
        let mut meta = meta("depth_snapshot", symbol);
        let mut rows = Rows::new();
        let frame = Frame { kind: FrameKind::Rest, payload: body.as_bytes(), rest: Some(&meta) };
        let decoded = of(Market::Spot).frames.decode(&frame, &mut rows);
        assert_eq!(decoded, Ok(Decoded::Rows(model::Channel::DepthSnapshot)));
        assert_eq!(rows.symbols.name(rows.depth[0].symbol), symbol);
        assert!(rows.depth[0].is_snapshot && rows.levels.len() > 20);
        assert_eq!(rows.depth[0].level_count as usize, rows.levels.len());
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        let sent = ["bids", "asks"].map(|side| value["data"][side].as_array().unwrap().len());
        assert_eq!(sent.iter().sum::<usize>(), rows.levels.len());
        meta.status = 429;
        let frame = Frame { kind: FrameKind::Rest, payload: body.as_bytes(), rest: Some(&meta) };
        assert_eq!(of(Market::Spot).frames.decode(&frame, &mut rows), Err(DecodeError::HttpStatus(429)));
    }
}
