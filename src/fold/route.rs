//! Decoded rows into the buffers of their tables, with what the ids say about each row.
//!
//! The only loop that runs once per row: a few stores and two comparisons. Rows that came before are left out here.
//! Everything named (symbols of gaps, event details) is made only when there is something to tell.

use serde_json::json;

use super::dedupe::{Carrier, Dedupe};
use super::ids::{FORGET_HOURS, Hole, IdBook, News};
use super::part::OpenPart;
use lake::manifest::Gap;
use lake::table::Event;
use lake::{Common, Table};
use model::{Channel, Interner, Rows};
use venue::gap::RowMark;

/// Moves the rows of one frame into the buffers of `part`, without those that came before. `common.flags` holds
/// what the record says; `from` how a frame of a socket came. Returns a bit per table (`1 << table`) that got some.
pub fn frame(
    common: &Common,
    from: Option<Carrier>,
    rows: &Rows,
    ids: &mut IdBook,
    dedupe: &mut Dedupe,
    part: &mut OpenPart,
    again: &mut Vec<(Table, String)>,
) -> u32 {
    match from {
        Some(from) => dedupe.arrive(from, rows, &mut ids.marks, &mut part.account.lines),
        None => dedupe.fetched(rows, &mut ids.marks, again),
    }
    ids.judge(dedupe.now_ns(), rows);
    if let Some(from) = from {
        dedupe.settle(from, rows, &mut ids.marks, &mut part.account.lines, again);
    }
    part.account.evicted_keys += dedupe.take_evicted();
    ids.note(common.seq as u64, rows);
    let ts_recv_us = common.ts_recv_ns / 1_000;
    let mut row = 0_i32;
    let mut touched = 0_u32;
    let mut late = false;
    let mut marks = ids.marks.iter();
    let mut next_mark = || marks.next().copied().unwrap_or_default();
    macro_rules! table {
        ($field:ident, $table:ident) => {
            if !rows.$field.is_empty() {
                let (buffer, account) = part.buffer_and_account(Table::$table);
                let mut kept = 0_u64;
                for r in &rows.$field {
                    let mark: RowMark = next_mark();
                    if !mark.duplicate {
                        let c = Common { flags: common.flags | mark.flags, ..*common };
                        buffer.push(&c, row, r);
                        kept += 1;
                        late |= mark.late;
                        account.delay.add(ts_recv_us, r.ts_event_us);
                    }
                    row += 1;
                }
                let all = rows.$field.len() as u64;
                if kept < all {
                    account.duplicates(Table::$table, all - kept);
                }
                account.rows(Table::$table, kept);
                touched |= 1 << Table::$table as u32;
            }
        };
    }
    table!(trades, Trades);
    table!(agg_trades, AggTrades);
    if !rows.depth.is_empty() {
        let (buffer, account) = part.buffer_and_account(Table::Depth);
        let (mut kept, mut removed) = (0, 0);
        for r in &rows.depth {
            let mark = next_mark();
            let first = r.first_level as usize;
            let levels = rows.levels.get(first..first + r.level_count as usize).unwrap_or_default();
            if mark.duplicate {
                removed += levels.len() as u64;
                row += levels.len() as i32;
                continue;
            }
            let c = Common { flags: common.flags | mark.flags, ..*common };
            let pushed = buffer.push_depth(&c, row, r, levels);
            row += pushed as i32;
            kept += pushed as u64;
            late |= mark.late;
            account.delay.add(ts_recv_us, r.ts_event_us);
        }
        if removed > 0 {
            account.duplicates(Table::Depth, removed);
        }
        account.rows(Table::Depth, kept);
        touched |= 1 << Table::Depth as u32;
    }
    table!(book_tickers, BookTicker);
    table!(mark_prices, MarkPrice);
    table!(liquidations, Liquidations);
    table!(tickers, Tickers);
    table!(venue_klines, VenueKlines);
    if late {
        filled(rows, &ids.marks, part);
    }
    touched
}

/// Ids that came late: the gaps that told them missing are smaller.
#[cold]
fn filled(rows: &Rows, marks: &[RowMark], part: &mut OpenPart) {
    let mut marks = marks.iter().copied();
    let mut fill = |channel, symbol, ids: Option<(i64, i64)>| {
        let mark = marks.next().unwrap_or_default();
        if let Some((first, last)) = ids.filter(|_| mark.late && !mark.duplicate) {
            part.account.filled(channel, rows.symbols.name(symbol), first, last, mark.new);
        }
    };
    rows.trades.iter().for_each(|r| fill(Channel::Trades, r.symbol, r.id.map(|id| (id, id))));
    rows.agg_trades.iter().for_each(|r| fill(Channel::AggTrades, r.symbol, Some((r.agg_id, r.agg_id))));
    for r in &rows.depth {
        fill(Channel::Depth, r.symbol, r.final_update_id.map(|id| (r.first_update_id.unwrap_or(id), id)));
    }
}

/// What ids say besides holes, as rows of `events`; odd ids only as drift: `odd` is called for each.
#[cold]
pub fn tell(common: &Common, news: &[News], symbols: &Interner, part: &mut OpenPart, odd: &mut impl FnMut(&str, &str)) {
    let mut event = |channel: Channel, symbol, kind: &str, detail: serde_json::Value| {
        let mut detail = detail;
        detail["channel"] = channel.as_str().into();
        detail["symbol"] = symbols.name(symbol).into();
        let detail = detail.to_string();
        part.event(common, &Event { symbol: Some(symbol), ts_event_us: None, kind, detail: &detail });
    };
    for n in news {
        match *n {
            News::Restarted { channel, symbol, from, to } => {
                event(channel, symbol, "ids_restarted", json!({ "from": from, "to": to }));
            }
            News::Forgotten { channel, symbol, last } => {
                event(channel, symbol, "ids_forgotten", json!({ "last": last, "after_hours": FORGET_HOURS }));
            }
            News::Odd { channel, symbol, id } => {
                odd(channel.as_str(), &format!("{} {id}", symbols.name(symbol)));
            }
        }
    }
}

/// Holes that stayed open become rows of `events` and entries of the manifest.
#[cold]
pub fn report(common: &Common, holes: &[Hole], symbols: &Interner, part: &mut OpenPart) {
    for hole in holes {
        let (channel, symbol) = (hole.channel.as_str(), symbols.name(hole.symbol));
        let detail = json!({
            "cause": hole.cause, "channel": channel, "from": hole.from, "symbol": symbol, "to": hole.to,
            "after_us": hole.after_us, "before_us": hole.before_us,
        })
        .to_string();
        part.event(common, &Event { symbol: Some(hole.symbol), ts_event_us: None, kind: "gap", detail: &detail });
        part.account.gap(Gap {
            channel: channel.to_owned(),
            symbol: symbol.to_owned(),
            from_id: hole.from,
            to_id: hole.to,
            cause: hole.cause.to_owned(),
            after_us: hole.after_us,
            before_us: hole.before_us,
            filled: 0,
        });
    }
}
