//! Decoded rows into the buffers of their tables, with what the ids say about each row.
//!
//! The only loop that runs once per row: a few stores and two comparisons. Rows that came before are left out here.
//! Everything named (symbols of gaps, event details) is made only when there is something to report.

use serde_json::json;

use super::account::Account;
use super::dedupe::{Carrier, Dedupe};
use super::ids::{FORGET_HOURS, IdGap, IdLedger, News};
use super::kind::Kind;
use super::part::OpenPart;
use lake::manifest::Gap;
use lake::table::Event;
use lake::{Common, Table};
use model::{Channel, Interner, Rows, each_kind};
use venue::gap::RowMark;

/// Moves the rows of one frame into the buffers of `part`, without those that came before. `common.flags` holds
/// what the record says; `from` how a frame of a socket came. Returns a bit per table (`1 << table`) that got some.
pub(crate) fn frame(
    common: &Common,
    from: Option<Carrier>,
    rows: &Rows,
    ids: &mut IdLedger,
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
    let mut route = Route { common, rows, part, marks: ids.marks.iter(), row: 0, touched: 0, late: false };
    each_kind!(rows, of => route.kind(of));
    let (touched, late) = (route.touched, route.late);
    if late {
        filled(rows, &ids.marks, part);
    }
    touched
}

/// The rows of one frame on their way.
struct Route<'a> {
    common: &'a Common,
    rows: &'a Rows,
    part: &'a mut OpenPart,
    marks: std::slice::Iter<'a, RowMark>,
    /// `row_in_frame` of the next one.
    row: i32,
    /// A bit per table that got rows.
    touched: u32,
    /// Ids of some came late.
    late: bool,
}

impl Route<'_> {
    #[inline]
    fn kind<K: Kind>(&mut self, of: &[K]) {
        if of.is_empty() {
            return;
        }
        let ts_recv_us = self.common.ts_recv_ns / 1_000;
        let (buffer, account) = self.part.buffer_and_account(K::TABLE);
        let (mut kept, mut removed) = (0, 0);
        for r in of {
            let mark = self.marks.next().copied().unwrap_or_default();
            let rows = r.rows(self.rows);
            if mark.duplicate {
                removed += rows as u64;
            } else {
                let c = Common { flags: self.common.flags | mark.flags, ..*self.common };
                r.push(self.rows, &c, self.row, buffer);
                kept += rows as u64;
                self.late |= mark.late;
                account.delay.add(ts_recv_us, r.ts_event_us());
            }
            self.row += rows as i32;
        }
        if removed > 0 {
            account.duplicates(K::TABLE, removed);
        }
        account.rows(K::TABLE, kept);
        self.touched |= 1 << K::TABLE as u32;
    }
}

/// Ids that came late: the gaps that reported them missing are smaller.
#[cold]
fn filled(rows: &Rows, marks: &[RowMark], part: &mut OpenPart) {
    let mut marks = marks.iter().copied();
    each_kind!(rows, of => filled_by(of, &rows.symbols, &mut marks, &mut part.account));
}

fn filled_by<K: Kind>(of: &[K], symbols: &Interner, marks: &mut impl Iterator<Item = RowMark>, account: &mut Account) {
    for r in of {
        let mark = marks.next().unwrap_or_default();
        if let Some((first, last)) = r.ids().filter(|_| mark.late && !mark.duplicate) {
            account.filled(K::CHANNEL, symbols.name(r.symbol()), first, last, mark.new);
        }
    }
}

/// What ids say besides gaps, as rows of `events`; odd ids only as drift: `odd` is called for each.
#[cold]
pub(crate) fn report_news(
    common: &Common,
    news: &[News],
    symbols: &Interner,
    part: &mut OpenPart,
    odd: &mut impl FnMut(&str, &str),
) {
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

/// Gaps that stayed open become rows of `events` and entries of the manifest.
#[cold]
pub(crate) fn report_gaps(common: &Common, gaps: &[IdGap], symbols: &Interner, part: &mut OpenPart) {
    for gap in gaps {
        let (channel, symbol) = (gap.channel.as_str(), symbols.name(gap.symbol));
        let detail = json!({
            "cause": gap.cause, "channel": channel, "from": gap.from, "symbol": symbol, "to": gap.to,
            "after_us": gap.after_us, "before_us": gap.before_us,
        })
        .to_string();
        part.event(common, &Event { symbol: Some(gap.symbol), ts_event_us: None, kind: "gap", detail: &detail });
        part.account.gap(Gap {
            channel: channel.to_owned(),
            symbol: symbol.to_owned(),
            from_id: gap.from,
            to_id: gap.to,
            cause: gap.cause.to_owned(),
            after_us: gap.after_us,
            before_us: gap.before_us,
            filled: 0,
        });
    }
}
