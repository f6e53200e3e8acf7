//! Reviewed frames and the rows they must become.
//!
//! The expected lines of recorded frames in `golden.txt` (see `venue::reviewed`) were written by a second
//! implementation (Python `json` and `decimal`), so both would have to be wrong in the same way.

use std::fmt::Write;

use super::super::super::reviewed::{Golden, blocks, i, n};
use super::*;
use model::row::Side;

/// All blocks of the file.
pub(super) fn goldens() -> Vec<Golden<Market>> {
    blocks(include_str!("golden.txt"), &[("spot", Market::Spot), ("usdm", Market::Usdm), ("coinm", Market::Coinm)])
}

fn s(side: Side) -> &'static str {
    side.as_str()
}

/// Rows as the lines of `golden.txt`.
fn lines(result: &Result<Decoded, DecodeError>, rows: &Rows) -> Vec<String> {
    let mut out = String::new();
    let name = |id| rows.symbols.name(id);
    let word = |id: Option<_>| id.map_or("-", name);
    match result {
        Err(e) => {
            // The position depends on the version of the parser; what was wrong does not.
            let e = e.to_string();
            let e = e.split(" at line ").next().unwrap();
            writeln!(out, "error {e}").unwrap();
        }
        Ok(Decoded::Control) => writeln!(out, "control").unwrap(),
        Ok(Decoded::Rows(c)) if rows.is_empty() && rows.drift.items.is_empty() && rows.depth.is_empty() => {
            writeln!(out, "(no rows) {c}").unwrap();
        }
        Ok(_) => {}
    }
    for r in rows.trades.iter().filter(|_| result.is_ok()) {
        let (symbol, kind) = (name(r.symbol), word(r.kind));
        let (event, time, id) = (i(r.ts_event_us), i(r.ts_trade_us), i(r.id));
        writeln!(
            out,
            "trade {symbol} event={event} time={time} id={id} price={} amount={} {} type={kind}",
            r.price,
            r.amount,
            s(r.side)
        )
        .unwrap();
    }
    for r in &rows.agg_trades {
        let (symbol, event, time) = (name(r.symbol), i(r.ts_event_us), r.ts_trade_us);
        let (id, first, last) = (r.agg_id, r.first_id, r.last_id);
        writeln!(
            out,
            "agg_trade {symbol} event={event} time={time} id={id} first={first} last={last} price={} amount={} {}",
            r.price,
            r.amount,
            s(r.side)
        )
        .unwrap();
    }
    for r in &rows.book_tickers {
        let (symbol, event, id) = (name(r.symbol), i(r.ts_event_us), i(r.update_id));
        let (bp, bq, ap, aq) = (n(r.bid_price), n(r.bid_amount), n(r.ask_price), n(r.ask_amount));
        writeln!(out, "book_ticker {symbol} event={event} id={id} bid={bp}x{bq} ask={ap}x{aq}").unwrap();
    }
    for r in &rows.depth {
        let (symbol, event) = (name(r.symbol), i(r.ts_event_us));
        let (first, last, prev) = (i(r.first_update_id), i(r.final_update_id), i(r.prev_update_id));
        let kind = if r.is_snapshot { "snapshot" } else { "changes" };
        writeln!(
            out,
            "depth {symbol} event={event} first={first} final={last} prev={prev} {kind} levels={}",
            r.level_count
        )
        .unwrap();
        let start = r.first_level as usize;
        for l in &rows.levels[start..start + r.level_count as usize] {
            let side = if l.bid { "bid" } else { "ask" };
            writeln!(out, "  {side} {} {}x{}", l.level, l.price, l.amount).unwrap();
        }
    }
    for r in &rows.mark_prices {
        let (symbol, event, next) = (name(r.symbol), i(r.ts_event_us), i(r.next_funding_us));
        let (mark, index, settle) = (n(r.mark_price), n(r.index_price), n(r.settle_price));
        writeln!(
            out,
            "mark_price {symbol} event={event} mark={mark} index={index} settle={settle} rate={} next={next}",
            n(r.funding_rate)
        )
        .unwrap();
    }
    for r in &rows.liquidations {
        let (symbol, event, side) = (name(r.symbol), i(r.ts_event_us), r.side.map_or("-", s));
        let (avg, filled, status) = (n(r.avg_price), n(r.filled), word(r.status));
        writeln!(
            out,
            "liquidation {symbol} event={event} {side} price={} avg={avg} amount={} filled={filled} status={status}",
            r.price, r.amount
        )
        .unwrap();
    }
    for r in &rows.tickers {
        let (symbol, event, count) = (name(r.symbol), i(r.ts_event_us), i(r.count));
        let (open, high, low, last) = (n(r.open), n(r.high), n(r.low), n(r.last));
        let (volume, quote) = (n(r.volume), n(r.quote_volume));
        writeln!(out, "ticker {symbol} event={event} open={open} high={high} low={low} last={last} volume={volume} quote={quote} count={count}").unwrap();
    }
    for r in &rows.venue_klines {
        let (symbol, event, interval) = (name(r.symbol), i(r.ts_event_us), name(r.interval));
        let k = &r.candle;
        let (from, to) = (k.open_time_us, r.close_time_us);
        let (volume, quote, count) = (n(k.volume), n(k.quote_volume), i(k.trade_count));
        let (taker, taker_quote) = (n(k.taker_buy_volume), n(k.taker_buy_quote_volume));
        let (first, last) = (i(r.first_trade_id), i(r.last_trade_id));
        let state = if r.is_final { "final" } else { "open" };
        writeln!(out, "kline {symbol} event={event} {interval} {from}..{to} o={} h={} l={} c={} volume={volume} quote={quote} count={count} taker={taker} taker_quote={taker_quote} ids={first}..{last} {state}", k.open, k.high, k.low, k.close).unwrap();
    }
    for (what, item) in &rows.drift.items {
        writeln!(out, "drift {what} {}", item.count).unwrap();
    }
    out.lines().map(str::to_owned).collect()
}

/// What a frame becomes in the market of a block.
pub(super) fn lines_of(golden: &Golden<Market>, frame: &Frame<'_>) -> Vec<String> {
    let mut rows = Rows::new();
    let result = of(golden.market).frames.decode(frame, &mut rows);
    lines(&result, &rows)
}

#[test]
fn every_reviewed_frame_becomes_the_expected_rows_by_both_paths() {
    for golden in goldens() {
        assert_eq!(lines_of(&golden, &golden.as_frame()), golden.expected, "{}", golden.frame);
        if golden.rest.is_none() {
            both(golden.market, golden.frame.as_bytes());
        }
    }
}

#[test]
fn every_channel_of_both_markets_has_a_reviewed_frame() {
    for market in [Market::Spot, Market::Usdm] {
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
fn whole_rest_books_decode_and_failed_requests_do_not() {
    for (market, file) in [
        (Market::Spot, "binance-spot/cryptofeed-BINANCE.http.0.0.depth.zst"),
        (Market::Usdm, "binance-usdm/cryptofeed-BINANCE_FUTURES.http.0.0.depth.zst"),
    ] {
        let bytes = data(file);
        let mut bodies = 0;
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let body = &line[line.windows(2).position(|w| w == b": ").unwrap() + 2..];
            let mut meta = depth_meta("NKNUSDT");
            let mut rows = Rows::new();
            let frame = Frame { kind: FrameKind::Rest, payload: body, rest: Some(&meta) };
            let decoded = of(market).frames.decode(&frame, &mut rows);
            assert_eq!(decoded, Ok(Decoded::Rows(model::Channel::DepthSnapshot)));
            assert!(rows.depth[0].is_snapshot && rows.levels.len() > 100);
            assert_eq!(rows.depth[0].level_count as usize, rows.levels.len());
            meta.status = 429;
            let frame = Frame { kind: FrameKind::Rest, payload: body, rest: Some(&meta) };
            assert_eq!(of(market).frames.decode(&frame, &mut rows), Err(DecodeError::HttpStatus(429)));
            bodies += 1;
        }
        assert_eq!(bodies, 4);
    }
}
