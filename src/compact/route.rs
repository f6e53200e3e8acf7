//! Decoded rows into the buffers of their tables, with what the ids say about each row.
//!
//! The only loop that runs once per row: a few stores and two comparisons. Everything named (symbols of gaps,
//! event details) is made only when there is something to tell.

use serde_json::json;

use super::ids::IdBook;
use super::part::OpenPart;
use crate::lake::manifest::Gap;
use crate::lake::table::Event;
use crate::lake::{Common, Table};
use crate::venue::Rows;
use crate::venue::gap::RowMark;

/// Moves the rows of one frame into the buffers of `part`. `common.flags` holds what the record says.
/// Returns a bit per table (`1 << table`) that got some.
pub fn frame(common: &Common, rows: &Rows, ids: &mut IdBook, part: &mut OpenPart) -> u32 {
    ids.frame(common.seq as u64, rows);
    let ts_recv_us = common.ts_recv_ns / 1_000;
    let mut row = 0_i32;
    let mut touched = 0_u32;
    let mut repeated = 0_u64;
    macro_rules! table {
        ($field:ident, $table:ident, $push:ident, $marks:expr) => {
            if !rows.$field.is_empty() {
                let (buffer, account) = part.buffer_and_account(Table::$table);
                for (r, mark) in rows.$field.iter().zip($marks) {
                    let mark: RowMark = mark;
                    let c = Common { flags: common.flags | mark.flags, ..*common };
                    buffer.$push(&c, row, r);
                    row += 1;
                    repeated += u64::from(mark.duplicate);
                    account.delay.add(ts_recv_us, r.ts_event_us);
                }
                account.rows(Table::$table, rows.$field.len() as u64);
                touched |= 1 << Table::$table as u32;
            }
        };
    }
    let unmarked = || std::iter::repeat(RowMark::default());
    table!(trades, Trades, push_trade, ids.marks.iter().copied());
    table!(agg_trades, AggTrades, push_agg_trade, ids.marks.iter().copied());
    table!(book_tickers, BookTicker, push_book_ticker, unmarked());
    table!(mark_prices, MarkPrice, push_mark_price, unmarked());
    table!(liquidations, Liquidations, push_liquidation, unmarked());
    table!(tickers, Tickers, push_ticker, unmarked());
    table!(venue_klines, VenueKlines, push_venue_kline, unmarked());
    if !rows.depth.is_empty() {
        let before = row;
        let (buffer, account) = part.buffer_and_account(Table::Depth);
        for (r, mark) in rows.depth.iter().zip(&ids.marks) {
            let first = r.first_level as usize;
            let levels = rows.levels.get(first..first + r.level_count as usize).unwrap_or_default();
            let c = Common { flags: common.flags | mark.flags, ..*common };
            row += buffer.push_depth(&c, row, r, levels) as i32;
            repeated += u64::from(mark.duplicate);
            account.delay.add(ts_recv_us, r.ts_event_us);
        }
        account.rows(Table::Depth, (row - before) as u64);
        touched |= 1 << Table::Depth as u32;
    }
    part.account.repeated += repeated;
    if !ids.holes.is_empty() {
        report(common, rows, ids, part);
        touched |= 1 << Table::Events as u32;
    }
    touched
}

/// Holes become rows of `events` and entries of the manifest.
#[cold]
fn report(common: &Common, rows: &Rows, ids: &mut IdBook, part: &mut OpenPart) {
    for hole in ids.holes.drain(..) {
        let (channel, symbol) = (hole.channel.as_str(), rows.symbols.name(hole.symbol));
        let detail = json!({
            "cause": hole.cause, "channel": channel, "from": hole.from, "symbol": symbol, "to": hole.to,
        })
        .to_string();
        part.event(common, &Event { symbol: Some(hole.symbol), ts_event_us: None, kind: "gap", detail: &detail });
        part.account.gap(Gap {
            channel: channel.to_owned(),
            symbol: symbol.to_owned(),
            from_id: hole.from,
            to_id: hole.to,
            cause: hole.cause.to_owned(),
            repaired: 0,
        });
    }
}
