//! Reviewed frames and the rows they must become.
//!
//! The expected lines in `golden.txt` (see `venue::reviewed`) were written by a second implementation (Python `json`
//! and `decimal`) and read by eye, so both would have to be wrong in the same way.

use std::fmt::Write;

use super::super::super::reviewed::{Golden, blocks};
use super::*;

/// All blocks of the file.
pub(super) fn goldens() -> Vec<Golden<Market>> {
    blocks(include_str!("golden.txt"), &[("spot", Market::Spot), ("futures", Market::Futures)])
}

/// What may be missing, as text.
struct Opt<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Opt<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Rows as the lines of `golden.txt`.
fn lines(result: &Result<Decoded, DecodeError>, rows: &Rows) -> Vec<String> {
    let mut out = String::new();
    match result {
        Err(e) => {
            // The position depends on the version of the parser; what was wrong does not.
            let e = e.to_string();
            writeln!(out, "error {}", e.split(" at line ").next().unwrap()).unwrap();
        }
        Ok(Decoded::Control) => out.push_str("control\n"),
        Ok(_) => write_rows(&mut out, rows).unwrap(),
    }
    for (what, item) in &rows.drift.items {
        writeln!(out, "drift {what} {}", item.count).unwrap();
    }
    out.lines().map(str::to_owned).collect()
}

fn write_rows(out: &mut String, rows: &Rows) -> std::fmt::Result {
    let name = |id| rows.symbols.name(id);
    for r in &rows.trades {
        let (event, time, id, id_str) = (Opt(r.ts_event_us), Opt(r.ts_trade_us), Opt(r.id), Opt(r.id_str.as_ref()));
        write!(out, "trade {} event={event} time={time} id={id} str={id_str} price={} ", name(r.symbol), r.price)?;
        writeln!(out, "amount={} {} type={}", r.amount, r.side.as_str(), Opt(r.kind.map(name)))?;
    }
    for r in &rows.book_tickers {
        write!(out, "book_ticker {} event={} id={}", name(r.symbol), Opt(r.ts_event_us), Opt(r.update_id))?;
        write!(out, " bid={}x{}", Opt(r.bid_price), Opt(r.bid_amount))?;
        writeln!(out, " ask={}x{}", Opt(r.ask_price), Opt(r.ask_amount))?;
    }
    for r in &rows.depth {
        let (first, last, prev) = (Opt(r.first_update_id), Opt(r.final_update_id), Opt(r.prev_update_id));
        let kind = if r.is_snapshot { "snapshot" } else { "changes" };
        write!(out, "depth {} event={} first={first} ", name(r.symbol), Opt(r.ts_event_us))?;
        writeln!(out, "final={last} prev={prev} {kind} levels={}", r.level_count)?;
        let start = r.first_level as usize;
        for l in &rows.levels[start..start + r.level_count as usize] {
            let side = if l.bid { "bid" } else { "ask" };
            writeln!(out, "  {side} {} {}x{}", l.level, l.price, l.amount)?;
        }
    }
    for r in &rows.mark_prices {
        write!(out, "mark_price {} event={} mark={} ", name(r.symbol), Opt(r.ts_event_us), Opt(r.mark_price))?;
        write!(out, "index={} settle={} ", Opt(r.index_price), Opt(r.settle_price))?;
        writeln!(out, "rate={} next={}", Opt(r.funding_rate), Opt(r.next_funding_us))?;
    }
    for r in &rows.liquidations {
        let (event, side) = (Opt(r.ts_event_us), Opt(r.status.map(name)));
        assert_eq!(r.side, None, "nobody says what the sign means");
        writeln!(out, "liquidation {} event={event} {side} price={} amount={}", name(r.symbol), r.price, r.amount)?;
        assert!(r.avg_price.is_none() && r.filled.is_none());
    }
    for r in &rows.tickers {
        write!(out, "ticker {} event={} open={} ", name(r.symbol), Opt(r.ts_event_us), Opt(r.open))?;
        write!(out, "high={} low={} last={} ", Opt(r.high), Opt(r.low), Opt(r.last))?;
        writeln!(out, "volume={} quote={} count={}", Opt(r.volume), Opt(r.quote_volume), Opt(r.count))?;
    }
    for r in &rows.venue_klines {
        let (symbol, event, interval) = (name(r.symbol), Opt(r.ts_event_us), name(r.interval));
        write!(out, "kline {symbol} event={event} {interval} {}..{} ", r.candle.open_time_us, r.close_time_us)?;
        let k = &r.candle;
        write!(out, "o={} h={} l={} c={} ", k.open, k.high, k.low, k.close)?;
        let state = if r.is_final { "final" } else { "open" };
        writeln!(out, "volume={} quote={} {state}", Opt(k.volume), Opt(k.quote_volume))?;
    }
    assert!(rows.agg_trades.is_empty());
    Ok(())
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
    }
}

#[test]
fn every_channel_of_both_markets_has_a_reviewed_frame() {
    for market in MARKETS {
        for channel in of(market).spec.channels {
            let found = goldens().iter().filter(|g| g.market == market).any(|g| {
                let mut rows = Rows::new();
                let decoded = of(market).frames.decode(&g.as_frame(), &mut rows);
                match channel {
                    // Rows of two tables in one frame; the frame goes by the ticker.
                    Channel::MarkPrice => {
                        decoded == Ok(Decoded::Rows(Channel::Tickers)) && !rows.mark_prices.is_empty()
                    }
                    channel => decoded == Ok(Decoded::Rows(*channel)),
                }
            });
            assert!(found, "{market:?} {channel}");
        }
    }
}

#[test]
fn a_number_with_more_digits_before_its_point_than_one_holds_is_refused() {
    let frame = r#"{"time":1,"channel":"futures.trades","event":"update","result":[{"size":"1","id":1,"create_time":1,"price":"123456789012345678901234567890123456789.5","contract":"A_B"}]}"#;
    let refused = of(Market::Futures).frames.decode(&text(frame.as_bytes()), &mut Rows::new()).unwrap_err();
    assert!(matches!(refused, DecodeError::Number { message: "futures trade", field: "price", .. }), "{refused}");
}

#[test]
fn the_sign_of_a_size_is_the_side_and_zero_is_none() {
    let trade = |size: &str| {
        let frame = format!(
            r#"{{"time":1,"channel":"futures.trades","event":"update","result":[{{"size":{size},"id":1,"create_time":1,"price":1,"contract":"A_B"}}]}}"#
        );
        let mut rows = Rows::new();
        let result = of(Market::Futures).frames.decode(&text(frame.as_bytes()), &mut rows);
        result.map(|_| (rows.trades[0].side.as_str(), rows.trades[0].amount.to_string()))
    };
    for (size, side, amount) in
        [("7", "buy", "7"), ("-7", "sell", "7"), (r#""0.5""#, "buy", "0.5"), (r#""-0.50""#, "sell", "0.5")]
    {
        assert_eq!(trade(size), Ok((side, amount.to_owned())), "{size}");
    }
    for size in ["0", r#""0.0""#, r#""""#, "null", r#""x""#, "true"] {
        assert!(trade(size).is_err(), "{size}");
    }
}
