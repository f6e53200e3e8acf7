//! Reviewed frames and the rows they must become.
//!
//! The expected lines of recorded frames in `golden.txt` (see `venue::reviewed`) were written by a second
//! implementation (Python `json` and `decimal`) and compared with the frames by eye.

use std::fmt::Write;

use super::super::super::reviewed::{Golden, blocks, i, n};
use super::*;
use model::{Channel, SymbolId};

/// All blocks of the file.
pub(super) fn goldens() -> Vec<Golden<Market>> {
    blocks(include_str!("golden.txt"), &[("spot", Market::Spot), ("futures", Market::Futures)])
}

/// Rows as the lines of `golden.txt`; asserts that what KuCoin never sends is never there.
fn lines(result: &Result<Decoded, DecodeError>, rows: &Rows) -> Vec<String> {
    let mut out = Vec::new();
    match result {
        // The position depends on the version of the parser; what was wrong does not.
        Err(e) => out.push(format!("error {}", e.to_string().split(" at line ").next().unwrap())),
        Ok(Decoded::Control) => out.push("control".to_owned()),
        Ok(_) => data_lines(rows, &mut out),
    }
    out.extend(rows.drift.items.iter().map(|(what, item)| format!("drift {what} {}", item.count)));
    out
}

fn data_lines(rows: &Rows, out: &mut Vec<String>) {
    let name = |id: SymbolId| rows.symbols.name(id);
    assert!(rows.agg_trades.is_empty() && rows.liquidations.is_empty());
    for r in &rows.trades {
        assert_eq!((r.id, r.ts_event_us, r.kind), (None, None, None));
        let (id, side) = (r.id_str.as_deref().unwrap(), r.side.as_str());
        let (symbol, time) = (name(r.symbol), r.ts_trade_us.unwrap());
        out.push(format!("trade {symbol} time={time} id={id} price={} amount={} {side}", r.price, r.amount));
    }
    for r in &rows.book_tickers {
        let (symbol, event, id) = (name(r.symbol), i(r.ts_event_us), i(r.update_id));
        let (bp, bq, ap, aq) = (n(r.bid_price), n(r.bid_amount), n(r.ask_price), n(r.ask_amount));
        out.push(format!("book_ticker {symbol} event={event} id={id} bid={bp}x{bq} ask={ap}x{aq}"));
    }
    for r in &rows.depth {
        assert_eq!(r.prev_update_id, None);
        let (symbol, event) = (name(r.symbol), i(r.ts_event_us));
        let (first, last) = (i(r.first_update_id), i(r.final_update_id));
        let what = if r.is_snapshot { "snapshot" } else { "changes" };
        out.push(format!("depth {symbol} event={event} ids={first}..{last} {what}"));
        let from = r.first_level as usize;
        for l in &rows.levels[from..from + r.level_count as usize] {
            let side = if l.bid { "bid" } else { "ask" };
            out.push(format!("{side} {} {} {}", l.level, l.price, l.amount));
        }
    }
    for r in &rows.mark_prices {
        assert_eq!((r.settle_price, r.next_funding_us), (None, None));
        let (symbol, event) = (name(r.symbol), i(r.ts_event_us));
        let (mark, index, rate) = (n(r.mark_price), n(r.index_price), n(r.funding_rate));
        out.push(format!("mark_price {symbol} event={event} mark={mark} index={index} rate={rate}"));
    }
    for r in &rows.tickers {
        assert_eq!(r.count, None);
        let (symbol, event) = (name(r.symbol), i(r.ts_event_us));
        let (open, high, low, last) = (n(r.open), n(r.high), n(r.low), n(r.last));
        let (volume, quote) = (n(r.volume), n(r.quote_volume));
        out.push(format!(
            "ticker {symbol} event={event} open={open} high={high} low={low} last={last} volume={volume} quote={quote}"
        ));
    }
    for r in &rows.venue_klines {
        let k = &r.candle;
        assert_eq!((k.trade_count, k.taker_buy_volume, r.first_trade_id), (None, None, None));
        let mut line = String::new();
        let (symbol, event, interval) = (name(r.symbol), i(r.ts_event_us), name(r.interval));
        let state = if r.is_final { "final" } else { "open" };
        write!(line, "kline {symbol} event={event} {interval} {}..{}", k.open_time_us, r.close_time_us).unwrap();
        write!(line, " o={} h={} l={} c={}", k.open, k.high, k.low, k.close).unwrap();
        write!(line, " volume={} quote={} {state}", n(k.volume), n(k.quote_volume)).unwrap();
        out.push(line);
    }
}

/// What a frame becomes in the market of a block.
pub(super) fn lines_of(golden: &Golden<Market>, frame: &Frame<'_>) -> Vec<String> {
    let mut rows = Rows::new();
    let result = of(golden.market).frames.decode(frame, &mut rows);
    lines(&result, &rows)
}

#[test]
fn every_reviewed_frame_becomes_the_expected_rows() {
    for golden in goldens() {
        assert_eq!(lines_of(&golden, &golden.as_frame()), golden.expected, "{}", golden.frame);
        let binary = Frame { kind: FrameKind::Binary, ..golden.as_frame() };
        if golden.rest.is_none() {
            assert_eq!(lines_of(&golden, &binary), golden.expected);
        }
    }
}

#[test]
fn every_channel_of_both_markets_has_a_reviewed_frame() {
    for market in [Market::Spot, Market::Futures] {
        for channel in of(market).spec.channels {
            let found = goldens().iter().filter(|g| g.market == market).any(|g| {
                let decoded = of(market).frames.decode(&g.as_frame(), &mut Rows::new());
                decoded == Ok(Decoded::Rows(*channel))
            });
            assert!(found, "{market:?} {channel}");
        }
    }
}

#[test]
fn the_stream_of_every_reviewed_data_frame_is_its_topic_and_names_its_channel() {
    let mut found = 0;
    for golden in goldens().iter().filter(|g| g.rest.is_none()) {
        let venue = of(golden.market);
        let decoded = venue.frames.decode(&golden.as_frame(), &mut Rows::new());
        let key = venue.frames.stream_of(golden.frame.as_bytes(), false);
        assert_eq!(key.is_none(), decoded == Ok(Decoded::Control), "{}", golden.frame);
        assert_eq!(venue.frames.control(golden.frame.as_bytes()).is_some(), key.is_none(), "{}", golden.frame);
        if let (Some(key), Ok(Decoded::Rows(channel))) = (key, decoded) {
            assert_eq!(venue.frames.channel_of(key), Some(channel));
            let value: serde_json::Value = serde_json::from_str(golden.frame).unwrap();
            assert_eq!(key.channel, value["topic"].as_str().unwrap().as_bytes());
            assert_eq!(venue.streams.stream_key(value["topic"].as_str().unwrap()).0, key.channel);
            found += 1;
        }
    }
    assert!(found >= 25, "{found}");
    assert_eq!(Channel::ALL.len(), 9);
}
