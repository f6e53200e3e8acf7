//! The tracker against a model that remembers every id.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;

use super::ids::MAX_GAPS;
use super::*;
use crate::{Frame, FrameKind, venue};
use model::row::{Side, Trade};
use model::{Num, VenueId};

fn tracker(id: VenueId) -> GapTracker {
    GapTracker::new(venue(id))
}

fn trade(t: &mut GapTracker, id: i64) -> Seen {
    t.observe("BTCUSDT", Channel::Trades, Ids::one(id))
}

fn depth(t: &mut GapTracker, first: i64, last: i64, prev: Option<i64>) -> Seen {
    t.observe("BTCUSDT", Channel::Depth, Ids { first, last, prev, trades: None })
}

#[test]
fn trades_count_by_one() {
    let mut t = tracker(VenueId::BinanceSpot);
    assert_eq!(trade(&mut t, 10), Seen::First);
    assert_eq!(trade(&mut t, 11), Seen::Continuous);
    assert_eq!(trade(&mut t, 11), Seen::Duplicate);
    assert_eq!(trade(&mut t, 15), Seen::Gap { expected: 12, got: 15 });
    assert_eq!(trade(&mut t, 10), Seen::Duplicate);
    assert_eq!(trade(&mut t, 13), Seen::OutOfOrder);
    assert_eq!(trade(&mut t, 13), Seen::Duplicate);
    assert_eq!(trade(&mut t, 9), Seen::OutOfOrder);
    assert_eq!(trade(&mut t, 16), Seen::Continuous);
    assert_eq!(t.ids("BTCUSDT", Channel::Trades).unwrap().run.holes, [(12, 12), (14, 14)]);
    assert_eq!(t.observe("ETHUSDT", Channel::Trades, Ids::one(99)), Seen::First);
}

#[test]
fn spot_aggregates_must_continue_their_trades_and_usdm_ones_need_not() {
    let agg = |id, first, last| Ids { trades: Some((first, last)), ..Ids::one(id) };
    for (id, third) in [
        (VenueId::BinanceSpot, Seen::TradesSkipped { expected: 106, got: 108 }),
        (VenueId::BinanceUsdm, Seen::Continuous),
    ] {
        let mut t = tracker(id);
        let mut next = |ids| t.observe("X", Channel::AggTrades, ids);
        assert_eq!(next(agg(1, 100, 103)), Seen::First);
        assert_eq!(next(agg(2, 104, 105)), Seen::Continuous);
        assert_eq!(next(agg(3, 108, 108)), third);
        assert_eq!(next(agg(4, 109, 110)), Seen::Continuous);
        assert_eq!(next(agg(6, 115, 116)), Seen::Gap { expected: 5, got: 6 });
        assert_eq!(next(agg(6, 115, 116)), Seen::Duplicate);
        assert_eq!(next(agg(7, 117, 117)), Seen::Continuous);
    }
}

#[test]
fn spot_depth_continues_by_first_and_final_id() {
    let mut t = tracker(VenueId::BinanceSpot);
    assert_eq!(depth(&mut t, 5, 9, None), Seen::First);
    assert_eq!(depth(&mut t, 10, 10, None), Seen::Continuous);
    assert_eq!(depth(&mut t, 14, 20, None), Seen::Gap { expected: 11, got: 14 });
    assert_eq!(depth(&mut t, 14, 20, None), Seen::Duplicate);
    assert_eq!(depth(&mut t, 11, 13, None), Seen::OutOfOrder);
    assert_eq!(depth(&mut t, 11, 13, None), Seen::Duplicate);
    // Another connection may cut its batches elsewhere: something new came, nothing is missing.
    assert_eq!(depth(&mut t, 18, 25, None), Seen::Continuous);
    assert_eq!(depth(&mut t, 26, 26, None), Seen::Continuous);
}

#[test]
fn usdm_depth_continues_by_the_previous_final_id() {
    let mut t = tracker(VenueId::BinanceUsdm);
    assert_eq!(depth(&mut t, 157, 160, Some(149)), Seen::First);
    assert_eq!(depth(&mut t, 171, 180, Some(160)), Seen::Continuous);
    assert_eq!(depth(&mut t, 215, 220, Some(210)), Seen::Gap { expected: 180, got: 210 });
    assert_eq!(depth(&mut t, 195, 210, Some(190)), Seen::OutOfOrder);
    assert_eq!(depth(&mut t, 185, 190, Some(180)), Seen::OutOfOrder);
    assert_eq!(depth(&mut t, 195, 210, Some(190)), Seen::Duplicate);
    assert_eq!(depth(&mut t, 215, 220, Some(210)), Seen::Duplicate);
    assert_eq!(depth(&mut t, 221, 230, Some(220)), Seen::Continuous);
    assert!(t.ids("BTCUSDT", Channel::Depth).unwrap().run.holes.is_empty());
}

#[test]
fn a_venue_that_counts_anew_loses_no_trade() {
    let mut t = tracker(VenueId::BinanceSpot);
    assert_eq!(trade(&mut t, 5_000_000), Seen::First);
    assert_eq!(trade(&mut t, 1), Seen::OutOfOrder);
    assert_eq!(trade(&mut t, 2), Seen::Continuous);
    assert_eq!(trade(&mut t, 3), Seen::Restarted { from: 5_000_000, to: 1 });
    assert_eq!(trade(&mut t, 4), Seen::Continuous);
    // A late one of the count before fills nothing here, and three of them bring it back.
    assert_eq!(trade(&mut t, 5_000_001), Seen::Continuous);
    assert_eq!(trade(&mut t, 5), Seen::Continuous);
    assert_eq!(trade(&mut t, 5_000_002), Seen::Restarted { from: 5, to: 5_000_002 });
}

#[test]
fn a_new_count_shows_long_before_its_ids_are_far() {
    let mut t = tracker(VenueId::BinanceSpot);
    (1..=100).for_each(|id| {
        trade(&mut t, id);
    });
    assert_eq!([1, 2].map(|id| trade(&mut t, id)), [Seen::Duplicate; 2]);
    assert_eq!(trade(&mut t, 3), Seen::Restarted { from: 100, to: 1 });
    assert_eq!(trade(&mut t, 5), Seen::Gap { expected: 4, got: 5 });
    // A venue that only repeats itself is back soon, and nothing is missing.
    let mut t = tracker(VenueId::BinanceSpot);
    (1..=100).for_each(|id| {
        trade(&mut t, id);
    });
    let seen: Vec<Seen> = (50..=60).chain(101..=104).map(|id| trade(&mut t, id)).collect();
    assert!(!seen.iter().any(|s| matches!(s, Seen::Gap { .. })), "{seen:?}");
    assert_eq!(t.open("BTCUSDT", Channel::Trades, 1, 104), Some(vec![]));
}

/// Trades with an id and a time each, as one frame.
fn trades(ids: impl IntoIterator<Item = (i64, i64)>) -> Rows {
    let mut rows = Rows::new();
    let symbol = rows.symbols.intern("BTCUSDT");
    rows.trades.extend(ids.into_iter().map(|(id, us)| Trade {
        symbol,
        ts_event_us: None,
        ts_trade_us: Some(us),
        id: Some(id),
        id_str: None,
        price: Num::default(),
        amount: Num::default(),
        side: Side::Buy,
        kind: None,
    }));
    rows
}

/// What a tracker says of rows after which the last one known is of `last_us`; `None`: they were fetched.
fn judged(t: &mut GapTracker, rows: &Rows, last_us: Option<i64>) -> (Vec<RowMark>, Vec<Seen>) {
    let (mut marks, mut seen) = (Vec::new(), Vec::new());
    let mut on_gap = |e: GapEvent<'_>| seen.push(e.seen);
    match last_us {
        Some(us) => t.observe_new_rows(rows, &mut marks, |_, _| Some(us), &mut on_gap),
        None => t.observe_fetched_rows(rows, &mut marks, &mut on_gap),
    }
    (marks, seen)
}

#[test]
fn a_line_that_stalls_and_brings_old_trades_again_is_no_venue_that_counts_anew() {
    let mut t = tracker(VenueId::BinanceSpot);
    judged(&mut t, &trades((1..=100).map(|id| (id, id))), Some(0));
    let before = t.state();
    for id in 20..=90 {
        let (marks, seen) = judged(&mut t, &trades([(id, id)]), Some(100));
        assert!(marks[0].again && marks[0].new == 0 && seen.is_empty(), "{id}: {marks:?} {seen:?}");
    }
    assert_eq!(t.state(), before);
    // The same ids, of trades that happened later.
    let (_, seen) = judged(&mut t, &trades((1..=3).map(|id| (id, 100 + id))), Some(100));
    assert_eq!(seen.last(), Some(&Seen::Restarted { from: 100, to: 1 }));
}

#[test]
fn trades_fetched_again_are_those_of_before_and_no_venue_that_counts_anew() {
    let mut t = tracker(VenueId::BinanceSpot);
    judged(&mut t, &trades([1, 2, 30].map(|id| (id, id))), Some(0));
    for again in [false, true] {
        let (marks, seen) = judged(&mut t, &trades((3..=20).map(|id| (id, id))), None);
        assert!(marks.iter().all(|m| m.again == again && m.late != again), "{marks:?}");
        assert_eq!(seen, []);
        assert_eq!(t.open("BTCUSDT", Channel::Trades, 1, 30), Some(vec![(21, 29)]));
    }
    // Those of the count before fill its gaps, whatever the venue counts now.
    judged(&mut t, &trades((1..=27).map(|id| (id, 100 + id))), Some(30));
    for again in [false, true] {
        let (marks, seen) = judged(&mut t, &trades((21..=29).map(|id| (id, id))), None);
        assert!(marks.iter().all(|m| m.again == again && m.late != again), "{marks:?}");
        assert_eq!(seen, []);
    }
    assert_eq!(t.ids("BTCUSDT", Channel::Trades).unwrap().run.last, 27);
}

#[test]
fn a_quiet_book_of_a_venue_that_counts_all_books_together_may_jump() {
    let mut t = tracker(VenueId::BinanceUsdm);
    assert_eq!(depth(&mut t, 157, 160, Some(149)), Seen::First);
    assert_eq!(depth(&mut t, 900_000_000, 900_000_007, Some(160)), Seen::Continuous);
    assert_eq!(depth(&mut t, 1_900_000_000, 1_900_000_007, Some(900_000_007)), Seen::Continuous);
    let gap = Seen::Gap { expected: 1_900_000_007, got: 1_905_000_000 };
    assert_eq!(depth(&mut t, 1_910_000_000, 1_910_000_007, Some(1_905_000_000)), gap);
    // The message that was missing comes late, over the other line.
    assert_eq!(depth(&mut t, 1_904_000_000, 1_905_000_000, Some(1_900_000_007)), Seen::Continuous);
    assert_eq!(depth(&mut t, 1_920_000_000, 1_920_000_007, Some(1_910_000_007)), Seen::Continuous);
    assert_eq!(depth(&mut t, 1_930_000_000, 1_930_000_007, Some(1_920_000_007)), Seen::Believed);
    assert!(t.ids("BTCUSDT", Channel::Depth).unwrap().run.holes.is_empty());
}

#[test]
fn no_id_whatever_makes_the_true_ones_repeats() {
    for odd in [i64::MIN, -1, 0, 7, 50_000_000, i64::MAX] {
        let mut t = tracker(VenueId::BinanceSpot);
        trade(&mut t, 10_000_000);
        for id in 10_000_001..10_000_050 {
            trade(&mut t, odd);
            let seen = trade(&mut t, id);
            assert_eq!(seen, Seen::Continuous, "{id} after {odd}");
        }
    }
}

#[test]
fn forgotten_gaps_never_make_a_repeat_of_an_unseen_id() {
    let mut t = tracker(VenueId::BinanceSpot);
    for id in (0..1000).map(|i| i * 2) {
        trade(&mut t, id);
    }
    assert!(t.ids("BTCUSDT", Channel::Trades).unwrap().run.holes.len() <= MAX_GAPS);
    for id in (0..999).map(|i| i * 2 + 1) {
        assert_eq!(trade(&mut t, id), Seen::OutOfOrder, "{id}");
    }
}

#[test]
fn extreme_ids_do_not_overflow() {
    for id in [VenueId::BinanceSpot, VenueId::BinanceUsdm] {
        let mut t = tracker(id);
        let extremes = [i64::MIN, -1, 0, 1, i64::MAX];
        for a in extremes {
            for b in extremes {
                for c in extremes {
                    trade(&mut t, a);
                    depth(&mut t, a, b, Some(c));
                    depth(&mut t, a, b, None);
                    t.observe("X", Channel::AggTrades, Ids { trades: Some((b, c)), ..Ids::one(a) });
                }
            }
        }
    }
}

#[test]
fn decoded_frames_get_their_marks_and_snapshots_take_no_part() {
    let usdm = venue(VenueId::BinanceUsdm);
    let mut t = GapTracker::new(usdm);
    let mut events = Vec::new();
    let mut step = |kind: &str, first: i64, last: i64, prev: i64| {
        let frame = format!(
            r#"{{"stream":"btcusdt@{kind}","data":{{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":{first},"u":{last},"pu":{prev},"b":[["1","2"],["0.5","1"]],"a":[]}}}}"#
        );
        // A new interner for every frame: the tracker must not confuse its numbers.
        let mut rows = Rows::new();
        rows.symbols.intern(&format!("OTHER{first}"));
        let frame = Frame { kind: FrameKind::Text, payload: frame.as_bytes(), rest: None };
        usdm.frames.decode(&frame, &mut rows).unwrap();
        let mut marks = vec![RowMark { flags: 9, ..RowMark::default() }; 9];
        t.observe_rows(&rows, &mut marks, &mut |e| {
            events.push((e.symbol.to_owned(), e.channel, e.seen, e.row, e.ids, e.missing));
        });
        marks.iter().map(|m| (m.flags, m.again)).collect::<Vec<_>>()
    };
    let mark = |flags, duplicate| vec![(flags, duplicate)];
    assert_eq!(step("depth@100ms", 5, 9, 4), mark(0, false));
    assert_eq!(step("depth20", 100, 200, 99), mark(SNAPSHOT, false));
    assert_eq!(step("depth@100ms", 12, 14, 9), mark(0, false));
    assert_eq!(step("depth@100ms", 12, 14, 9), mark(OUT_OF_ORDER, true));
    assert_eq!(step("depth@0ms", 30, 31, 29), mark(GAP_BEFORE, false));
    assert_eq!(step("depth@0ms", 20, 22, 19), mark(OUT_OF_ORDER, false));
    let gap = Seen::Gap { expected: 14, got: 29 };
    assert_eq!(events, [("BTCUSDT".to_owned(), Channel::Depth, gap, 0, Some((15, 29)), 15)]);
}

#[test]
fn state_is_stored_in_an_order_of_its_own_and_continues() {
    let spot = venue(VenueId::BinanceSpot);
    let fill = |symbols: &[&str]| {
        let mut t = GapTracker::new(spot);
        for s in symbols {
            for id in [1, 2, 9] {
                t.observe(s, Channel::Trades, Ids::one(id));
                t.observe(s, Channel::AggTrades, Ids { trades: Some((id, id)), ..Ids::one(id) });
            }
        }
        serde_json::to_string(&t.state()).unwrap()
    };
    let stored = fill(&["B", "A币", "C"]);
    assert_eq!(stored, fill(&["C", "A币", "B"]));
    let state: GapState = serde_json::from_str(&stored).unwrap();
    let mut t = GapTracker::restore(spot, &state).unwrap();
    assert_eq!(t.state(), state);
    assert_eq!(t.observe("A币", Channel::Trades, Ids::one(10)), Seen::Continuous);
    assert_eq!(t.observe("A币", Channel::Trades, Ids::one(5)), Seen::OutOfOrder);
    let strange = stored.replace("\"trades\"", "\"tirades\"");
    assert!(GapTracker::restore(spot, &serde_json::from_str(&strange).unwrap()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn single_ids_are_judged_as_by_one_who_remembers_all(ids in prop::collection::vec(0..60_i64, 1..80)) {
        let mut t = tracker(VenueId::BinanceSpot);
        let mut all = HashSet::new();
        let mut highest = None;
        let mut again = Vec::new();
        for id in ids {
            // Three in a row that were all there: the venue restarts its count, which one who remembers all does not know.
            let is_next = again.last().is_none_or(|last| id == last + 1);
            match all.contains(&id) {
                true if is_next => again.push(id),
                true => again = vec![id],
                false => {}
            }
            if again.len() > 2 {
                break;
            }
            let expected = match highest {
                None => Seen::First,
                _ if all.contains(&id) => Seen::Duplicate,
                Some(h) if id < h => Seen::OutOfOrder,
                Some(h) if id == h + 1 => Seen::Continuous,
                Some(h) => Seen::Gap { expected: h + 1, got: id },
            };
            prop_assert_eq!(trade(&mut t, id), expected);
            all.insert(id);
            highest = highest.max(Some(id));
            // Stored and restored at any moment, nothing changes.
            t = GapTracker::restore(venue(VenueId::BinanceSpot), &t.state()).unwrap();
        }
    }

    #[test]
    fn depth_batches_are_judged_as_by_one_who_remembers_all(
        batches in prop::collection::vec((0..60_i64, 0..6_i64), 1..60),
    ) {
        let mut t = tracker(VenueId::BinanceSpot);
        let mut all = HashSet::new();
        let mut repeats = 0;
        let mut highest = None;
        for (first, more) in batches {
            let last = first + more;
            let new = (first..=last).any(|id| !all.contains(&id));
            // Nor here.
            repeats += usize::from(!new);
            if repeats > 2 {
                break;
            }
            let seen = depth(&mut t, first, last, None);
            let expected = match highest {
                None => Seen::First,
                Some(h) if last <= h && !new => Seen::Duplicate,
                Some(h) if last <= h => Seen::OutOfOrder,
                Some(h) if first <= h + 1 => Seen::Continuous,
                Some(h) => Seen::Gap { expected: h + 1, got: first },
            };
            prop_assert_eq!(seen, expected);
            all.extend(first..=last);
            highest = highest.max(Some(last));
        }
    }
}
