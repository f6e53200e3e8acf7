//! Gaps, their causes and counts, and that a saved ledger goes on as before.
#![allow(clippy::unwrap_used)]

use super::pending::SETTLE_NS;
use super::*;
use model::row::{DepthUpdate, Side, Trade};
use model::{Num, VenueId};
use venue::venue;

fn rows_with(ids: &[i64]) -> Rows {
    let mut rows = Rows::new();
    rows.symbols.intern("OTHER");
    let symbol = rows.symbols.intern("BTCUSDT");
    rows.trades = ids
        .iter()
        .map(|id| Trade {
            symbol,
            ts_event_us: None,
            ts_trade_us: Some(id * 10),
            id: Some(*id),
            id_str: None,
            price: Num::default(),
            amount: Num::default(),
            side: Side::Buy,
            kind: None,
        })
        .collect();
    rows
}

fn ledger(id: VenueId, repairs: bool) -> IdLedger {
    IdLedger::load(venue(id), &SavedIds::default(), &mut Interner::new(), repairs, 7).unwrap()
}

fn frame(b: &mut IdLedger, seq: u64, rows: &Rows) {
    b.marks.clear();
    b.judge(seq, rows);
    b.note(seq, rows);
}

fn reported(b: &mut IdLedger, rows: &Rows) -> Vec<(i64, i64, &'static str)> {
    b.settle(u64::MAX, false, &rows.symbols).iter().map(|g| (g.from, g.to, g.cause)).collect()
}

#[test]
fn a_gap_after_a_disconnect_is_ours_until_the_symbol_was_seen_again() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    frame(&mut b, 1, &rows_with(&[100]));
    b.disturbed(2);
    frame(&mut b, 3, &rows_with(&[110]));
    frame(&mut b, 4, &rows_with(&[120]));
    frame(&mut b, 5, &rows_with(&[121]));
    let gaps = b.settle(u64::MAX, false, &rows_with(&[]).symbols);
    let all: Vec<_> = gaps.iter().map(|g| (g.from, g.to, g.cause, g.after_us, g.before_us)).collect();
    assert_eq!(
        all,
        [(101, 109, "connection", Some(1_000), Some(1_100)), (111, 119, "venue", Some(1_100), Some(1_200))]
    );
}

#[test]
fn a_gap_is_reported_after_its_time_and_only_as_far_as_it_is_open_then() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    let rows = rows_with(&[]);
    frame(&mut b, 1, &rows_with(&[100, 110, 113]));
    frame(&mut b, 2, &rows_with(&[111, 112, 104]));
    assert!(!b.is_due(1 + SETTLE_NS - 1));
    assert!(b.is_due(1 + SETTLE_NS));
    assert_eq!(reported(&mut b, &rows), [(101, 103, "venue"), (105, 109, "venue")]);
    assert!(reported(&mut b, &rows).is_empty(), "once is enough");
    // What comes later still is counted.
    frame(&mut b, 3, &rows_with(&[101]));
    let again = rows_with(&[101]);
    b.marks = vec![RowMark { duplicate: true, ..RowMark::default() }];
    b.judge(4, &again);
    b.note(4, &again);
    let r = b.ranges(&rows.symbols).remove(0);
    assert_eq!((r.present, r.missing, r.filled, r.duplicates), (7, 11, 4, 1), "{r:?}");
    assert_eq!((r.first, r.last), (100, 113));
}

#[test]
fn ids_that_come_below_the_first_one_open_the_gap_between() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    frame(&mut b, 1, &rows_with(&[100, 95]));
    assert_eq!(reported(&mut b, &rows_with(&[])), [(96, 99, "venue")]);
}

#[test]
fn a_log_of_repairs_has_no_gaps_whatever_the_order_of_its_ids() {
    let mut b = ledger(VenueId::BinanceSpot, true);
    for ids in [[100, 200], [9_000_000, 150], [100, 3]] {
        frame(&mut b, 1, &rows_with(&ids));
        assert!(b.marks.is_empty());
    }
    assert!(reported(&mut b, &rows_with(&[])).is_empty() && !b.has_news());
    assert_eq!(b.ranges(&rows_with(&[]).symbols).remove(0).present, 6);
}

#[test]
fn missing_depth_ids_are_named_by_the_rule_of_the_market() {
    let depth = |first, last, prev| {
        let mut rows = rows_with(&[]);
        rows.depth.push(DepthUpdate {
            symbol: SymbolId(1),
            ts_event_us: None,
            first_update_id: Some(first),
            final_update_id: Some(last),
            prev_update_id: prev,
            is_snapshot: false,
            first_level: 0,
            level_count: 0,
        });
        rows
    };
    let mut b = ledger(VenueId::BinanceSpot, false);
    frame(&mut b, 1, &depth(10, 12, None));
    frame(&mut b, 2, &depth(20, 22, None));
    assert_eq!(reported(&mut b, &rows_with(&[])), [(13, 19, "venue")]);
    let r = b.ranges(&rows_with(&[]).symbols).remove(0);
    assert_eq!((r.present, r.missing), (6, 7));
    let mut b = ledger(VenueId::BinanceUsdm, false);
    frame(&mut b, 1, &depth(10, 12, Some(9)));
    frame(&mut b, 2, &depth(50, 60, Some(12)));
    assert!(reported(&mut b, &rows_with(&[])).is_empty(), "ids between are not ours to count");
    frame(&mut b, 3, &depth(90, 92, Some(75)));
    assert_eq!(reported(&mut b, &rows_with(&[])), [(61, 75, "venue")]);
}

#[test]
fn a_book_saved_and_loaded_under_other_symbol_numbers_goes_on_as_before() {
    let rows = rows_with(&[100, 102]);
    let mut b = ledger(VenueId::BinanceSpot, false);
    frame(&mut b, 7, &rows);
    b.disturbed(8);
    let text = serde_json::to_string(&(b.save(&rows.symbols), b.ranges(&rows.symbols))).unwrap();
    let (saved, ranges): (SavedIds, Vec<IdRange>) = serde_json::from_str(&text).unwrap();
    assert_eq!(ranges.first().map(|r| (r.symbol.as_str(), r.first, r.last)), Some(("BTCUSDT", 100, 102)));
    let mut rows = Rows::new();
    let symbol = rows.symbols.intern("BTCUSDT");
    let mut again = IdLedger::load(venue(VenueId::BinanceSpot), &saved, &mut rows.symbols, false, 7).unwrap();
    again.load_ranges(&ranges, &mut rows.symbols);
    let mut next = rows_with(&[105]);
    next.symbols = rows.symbols;
    next.trades.iter_mut().for_each(|t| t.symbol = symbol);
    frame(&mut again, 9, &next);
    assert_eq!(reported(&mut again, &next), [(101, 101, "venue"), (103, 104, "connection")]);
    let r = again.ranges(&next.symbols).remove(0);
    assert_eq!((r.first, r.last, r.present, r.missing), (100, 105, 3, 3));
    again.new_part();
    assert!(again.ranges(&next.symbols).is_empty());
}

#[test]
fn what_was_not_wanted_for_a_while_is_no_gap_and_a_gap_of_before_is_reported_still() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    for (seq, id) in [(1, 100), (2, 105)] {
        frame(&mut b, seq, &rows_with(&[id]));
    }
    b.forget("BTCUSDT", Channel::Depth);
    b.forget("NOBODY", Channel::Trades);
    b.forget("BTCUSDT", Channel::Trades);
    for (seq, id) in [(4, 900), (5, 901), (6, 903)] {
        frame(&mut b, seq, &rows_with(&[id]));
    }
    assert_eq!(reported(&mut b, &rows_with(&[])), [(101, 104, "venue"), (902, 902, "venue")]);
}

fn news(b: &mut IdLedger) -> Vec<News> {
    b.take_news(&rows_with(&[]).symbols)
}

const BTC: SymbolId = SymbolId(1);

#[test]
fn ids_that_begin_again_are_an_event_and_no_gap_of_millions() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    let channel = Channel::Trades;
    frame(&mut b, 1, &rows_with(&[4_999_999, 5_000_000, 1]));
    assert_eq!(news(&mut b), [News::Odd { channel, symbol: BTC, id: 1 }]);
    frame(&mut b, 2, &rows_with(&[2, 3, 4, 6]));
    assert_eq!(news(&mut b), [News::Restarted { channel, symbol: BTC, from: 5_000_000, to: 1 }]);
    assert_eq!(reported(&mut b, &rows_with(&[])), [(5, 5, "venue")]);
    let r = b.ranges(&rows_with(&[]).symbols).remove(0);
    assert_eq!((r.present, r.missing), (7, 1), "{r:?}");
}

#[test]
fn the_beginning_of_a_new_count_that_was_not_seen_is_its_gap() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    frame(&mut b, 1, &rows_with(&[5_000_000]));
    b.disturbed(2);
    frame(&mut b, 3, &rows_with(&[4, 5, 6, 2]));
    assert_eq!(reported(&mut b, &rows_with(&[])), [(1, 1, "ids_restarted"), (3, 3, "ids_restarted")]);
    let r = b.ranges(&rows_with(&[]).symbols).remove(0);
    assert_eq!((r.present, r.missing, r.filled), (5, 3, 1), "{r:?}");
}

#[test]
fn a_single_odd_id_makes_neither_a_gap_nor_repeats_of_what_follows() {
    for odd in [9_000_000_000, 12] {
        let mut b = ledger(VenueId::BinanceSpot, false);
        frame(&mut b, 1, &rows_with(&[5_000_000, odd]));
        for id in 5_000_001..5_000_100 {
            frame(&mut b, 2, &rows_with(&[id]));
            assert!(!b.marks[0].again && b.marks[0].flags == 0, "{id}");
        }
        frame(&mut b, 3, &rows_with(&[5_000_102]));
        assert_eq!(reported(&mut b, &rows_with(&[])), [(5_000_100, 5_000_101, "venue")]);
        assert!(b.settle(u64::MAX, true, &rows_with(&[]).symbols).is_empty());
        assert!(matches!(news(&mut b)[..], [News::Odd { id, .. }] if id == odd));
        let r = b.ranges(&rows_with(&[]).symbols).remove(0);
        assert_eq!((r.last, r.present, r.missing), (5_000_102, 102, 2), "{r:?}");
    }
}

#[test]
fn a_jump_that_goes_on_is_a_gap_reported_once_with_its_times_and_cause() {
    for save in [false, true] {
        let mut b = ledger(VenueId::BinanceSpot, false);
        let mut rows = rows_with(&[]);
        frame(&mut b, 1, &rows_with(&[100]));
        b.disturbed(2);
        frame(&mut b, 3, &rows_with(&[9_000_000]));
        assert!(reported(&mut b, &rows).is_empty(), "nobody knows yet");
        // A row of the second line, late.
        frame(&mut b, 4, &rows_with(&[103]));
        assert_eq!(reported(&mut b, &rows), [(101, 102, "connection")]);
        if save {
            let saved = serde_json::to_string(&b.save(&rows.symbols)).unwrap();
            rows.symbols = Interner::new();
            rows.symbols.intern("OTHER");
            let saved = serde_json::from_str(&saved).unwrap();
            b = IdLedger::load(venue(VenueId::BinanceSpot), &saved, &mut rows.symbols, false, 7).unwrap();
        }
        frame(&mut b, 5, &rows_with(&[9_000_001, 9_000_002, 9_000_003]));
        let gaps = b.settle(u64::MAX, false, &rows.symbols);
        let all: Vec<_> = gaps.iter().map(|g| (g.from, g.to, g.cause, g.after_us, g.before_us)).collect();
        assert_eq!(all, [(104, 8_999_999, "connection", Some(1_000), Some(90_000_000))]);
        assert!(reported(&mut b, &rows).is_empty());
    }
}

#[test]
fn a_symbol_without_a_row_for_a_month_leaves_the_book_and_that_is_told() {
    let mut b = ledger(VenueId::BinanceSpot, false);
    let symbols = rows_with(&[]).symbols;
    b.enter(100);
    frame(&mut b, 1, &rows_with(&[5, 9]));
    assert_eq!(b.settle(u64::MAX, false, &symbols).len(), 1);
    b.new_part();
    b.enter(100 + FORGET_HOURS);
    assert!(!b.has_news() && b.save(&symbols) != SavedIds::default());
    b.enter(101 + FORGET_HOURS);
    assert_eq!(news(&mut b), [News::Forgotten { channel: Channel::Trades, symbol: BTC, last: 9 }]);
    assert_eq!(b.save(&symbols), SavedIds::default());
    // It starts again.
    frame(&mut b, 2, &rows_with(&[50]));
    assert_eq!((b.marks[0].flags, reported(&mut b, &rows_with(&[])).len()), (0, 0));
}
