//! The generator against a fold that knows everything beforehand, and single cases a person can check.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use model::Num;
use model::kline::{FOREIGN, NO_ID};

const MIN: i64 = 60_000_000;
/// A Monday, 00:00 UTC.
const MONDAY: i64 = 1_722_816_000_000_000;

fn tick(ts_us: i64, id: i64, price: i64, amount: i64, taker_buy: bool) -> Tick {
    Tick {
        symbol_index: 0,
        ts_us,
        price: Num { mantissa: price.into(), scale: 2 },
        amount: Num { mantissa: amount.into(), scale: 3 },
        first_id: id,
        last_id: id,
        agg_id: NO_ID,
        count: 1,
        taker_buy,
    }
}

/// All bars of the events and the open bars, newest state last.
#[derive(Default)]
struct Reported(BTreeMap<(Interval, i64), KlineData>);

impl Reported {
    fn hear(&mut self, events: &mut Vec<BarEvent>) {
        for event in events.drain(..) {
            match event.what {
                What::Closed(bar) => {
                    let before = self.0.insert((event.interval, bar.open_time_us), bar);
                    assert!(before.is_none(), "closed twice: {bar:?}");
                }
                What::Revised(bar) => {
                    let before = self.0.insert((event.interval, bar.open_time_us), bar).unwrap();
                    assert_eq!(bar.revision, before.revision + 1);
                }
                What::Old { open_time_us, tick, .. } => {
                    let bar = self.0.get_mut(&(event.interval, open_time_us)).unwrap();
                    bar.add(&Scaled::of(&tick, bar.price_scale, bar.amount_scale, Unit::Base).unwrap());
                }
            }
        }
    }
}

/// Open, high, low, close, volume, quote volume, trades, taker buy volume.
type Plain = (i64, i64, i64, i64, i128, i128, u64, i128);

/// Candles of a set of trades, computed the slow way: bucket by time, order by id.
fn reference(ticks: &[Tick], interval: Interval) -> BTreeMap<i64, Plain> {
    let mut sorted: Vec<&Tick> = ticks.iter().collect();
    sorted.sort_by_key(|t| t.first_id);
    let mut bars = BTreeMap::new();
    for t in sorted {
        let p = t.price.mantissa as i64;
        let a = t.amount.mantissa;
        let bar = bars.entry(interval.open_of(t.ts_us)).or_insert((p, p, p, p, 0, 0, 0, 0));
        (bar.1, bar.2, bar.3) = (bar.1.max(p), bar.2.min(p), p);
        bar.4 += a;
        bar.5 += a * i128::from(p);
        bar.6 += 1;
        bar.7 += if t.taker_buy { a } else { 0 };
    }
    bars
}

proptest! {
    #[test]
    fn late_shuffled_and_batched_trades_give_the_candles_of_the_sorted_ones(
        steps in prop::collection::vec((0_i64..400_000_000, 1_i64..10_000, 1_i64..1_000, any::<bool>()), 1..200),
        swaps in prop::collection::vec((0_usize..200, 1_usize..30), 0..20),
    ) {
        let mut ts = MONDAY + 17;
        let mut ticks = Vec::new();
        for (i, (step, price, amount, buy)) in steps.iter().enumerate() {
            ts += step;
            ticks.push(tick(ts, i as i64, *price, *amount, *buy));
        }
        let mut arrival = ticks.clone();
        for (from, by) in swaps {
            // The first trade stays first: a bar before the first one seen is nobody's.
            let (a, b) = (1 + from % arrival.len(), 1 + from % arrival.len() + by);
            if b < arrival.len() {
                let late = arrival.remove(a);
                arrival.insert(b - 1, late);
            }
        }
        let (mut g, mut reported, mut events) = (KlineGenerator::new(), Reported::default(), Vec::new());
        for t in &arrival {
            g.apply(t, &mut events).unwrap();
            reported.hear(&mut events);
        }
        for (i, bar) in g.open_bars().iter().enumerate() {
            reported.0.insert((Interval::ALL[i], bar.open_time_us), *bar);
        }
        for interval in Interval::ALL {
            let want = reference(&ticks, interval);
            let got: BTreeMap<i64, _> = reported.0.iter()
                .filter(|((i, _), bar)| *i == interval && bar.trade_count > 0)
                .map(|((_, open), b)| (*open, (b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.trade_count, b.taker_buy_volume)))
                .collect();
            prop_assert_eq!(&got, &want, "{}", interval);
            // Between the first and the last bar none is missing.
            let opens: Vec<i64> = reported.0.keys().filter(|(i, _)| *i == interval).map(|(_, o)| *o).collect();
            prop_assert!(opens.windows(2).all(|w| w[1] - w[0] == interval.len_us()));
        }
    }
}

#[test]
fn what_a_symbol_holds_is_taken_at_its_first_closed_bar_and_does_not_grow() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY + 5, 1, 700, 10, true), &mut events).unwrap();
    for minutes in [1, 2, 119, 120, 121, 700] {
        g.close_until(MONDAY + minutes * MIN, &mut events);
        let rings = g.closed.each_ref();
        assert_eq!(rings[0].len(), KEPT[0].min(minutes as usize));
        for (ring, kept) in rings.iter().zip(KEPT) {
            assert_eq!(ring.capacity(), if ring.is_empty() { 0 } else { kept }, "after {minutes} minutes");
        }
    }
}

#[test]
fn silence_gives_flat_bars_at_the_close_before() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY + 5, 1, 700, 10, true), &mut events).unwrap();
    assert!(!g.close_until(MONDAY + MIN - 1, &mut events), "not yet");
    assert!(g.close_until(MONDAY + 3 * MIN, &mut events));
    let closed: Vec<KlineData> = events
        .iter()
        .filter(|e| e.interval == Interval::M1)
        .map(|e| match e.what {
            What::Closed(bar) => bar,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(closed.len(), 3);
    assert_eq!((closed[2].open, closed[2].close, closed[2].volume, closed[2].trade_count), (700, 700, 0, 0));
    assert!(is_flat(&closed[2]) && closed[2].is_final() && closed[2].first_trade_id == NO_ID);
    let open = g.open_bars()[0];
    assert_eq!((open.open_time_us, open.close), (MONDAY + 3 * MIN, 700));
    g.apply(&tick(MONDAY + 3 * MIN, 2, 650, 10, true), &mut events).unwrap();
    let open = g.open_bars()[0];
    assert_eq!((open.open, open.high, open.flags & FLAT), (650, 650, 0), "the first trade is the open");
}

#[test]
fn a_silence_longer_than_anybody_can_vouch_for_leaves_a_gap() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY, 1, 700, 10, true), &mut events).unwrap();
    g.apply(&tick(MONDAY + 3_000 * MIN, 2, 800, 10, true), &mut events).unwrap();
    assert_eq!(g.open_bars()[0].open_time_us, MONDAY + 3_000 * MIN);
    assert!(events.iter().filter(|e| e.interval == Interval::M1).count() <= 2);
    assert_eq!(events.iter().filter(|e| e.interval == Interval::H1).count(), 50);
}

#[test]
fn a_gap_marks_open_closed_and_flat_bars_until_it_is_repaired() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY + 1, 1, 700, 10, true), &mut events).unwrap();
    g.close_until(MONDAY + MIN, &mut events);
    events.clear();
    // Known only now: trades between 30 s and 2 min 30 s are missing.
    g.gap(MONDAY + MIN / 2, MONDAY + 5 * MIN / 2, false, &mut events);
    assert!(
        events.iter().any(|e| matches!(e.what, What::Revised(b) if b.flags & GAP != 0 && b.open_time_us == MONDAY))
    );
    g.apply(&tick(MONDAY + 5 * MIN / 2, 9, 710, 10, true), &mut events).unwrap();
    let flagged = |events: &[BarEvent]| {
        events
            .iter()
            .filter(|e| e.interval == Interval::M1)
            .filter(|e| matches!(e.what, What::Closed(b) if b.flags & GAP != 0))
            .count()
    };
    assert_eq!(flagged(&events), 1, "the minute between is closed with the mark");
    assert!(g.open_bars().iter().all(|b| b.flags & GAP != 0));
    events.clear();
    for interval in Interval::ALL {
        let open = |us| interval.open_of(MONDAY + us);
        g.repaired(interval, open(MIN / 2), open(5 * MIN / 2), &mut events);
    }
    assert!(g.open_bars().iter().all(|b| b.flags & GAP == 0));
    assert!(events.iter().all(|e| matches!(e.what, What::Revised(b) if b.flags & GAP == 0)) && !events.is_empty());
    g.close_until(MONDAY + 4 * MIN, &mut events);
    assert!(!g.open_bars().iter().any(|b| b.flags & GAP != 0));
}

#[test]
fn trades_that_the_seeded_bar_holds_already_are_left_out_of_it_and_of_nothing_else() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    let seed = KlineData {
        open: 500,
        high: 900,
        low: 400,
        close: 700,
        volume: 5_000,
        quote_volume: 3_500_000,
        trade_count: 40,
        first_trade_id: 1,
        last_trade_id: 40,
        ..KlineData::flat(MONDAY, 500, 2, 3)
    };
    g.seed(Interval::D1, KlineData { flags: 0, ..seed });
    for id in 39..=42 {
        g.apply(&tick(MONDAY + 10 * MIN, id, 1_000, 100, true), &mut events).unwrap();
    }
    let (minute, day) = (g.open_bars()[0], g.open_bars()[Interval::D1.index()]);
    assert_eq!((minute.trade_count, minute.first_trade_id), (4, 39));
    assert_eq!((day.trade_count, day.open, day.high, day.close), (42, 500, 1_000, 1_000));
    assert_eq!((day.first_trade_id, day.last_trade_id, day.flags & SEEDED), (1, 42, SEEDED));
}

#[test]
fn restored_bars_go_on_as_if_nothing_had_happened() {
    let ticks: Vec<Tick> =
        (0..300).map(|i| tick(MONDAY + i * 7_000_000, i, 700 + i % 13, 10 + i, i % 3 == 0)).collect();
    let (mut whole, mut all) = (KlineGenerator::new(), Vec::new());
    for t in &ticks {
        whole.apply(t, &mut all).unwrap();
    }
    let (mut first, mut events) = (KlineGenerator::new(), Vec::new());
    for t in &ticks[..123] {
        first.apply(t, &mut events).unwrap();
    }
    let mut second = KlineGenerator::new();
    for interval in Interval::ALL {
        let closed = events.iter().filter(|e| e.interval == interval).filter_map(|e| match e.what {
            What::Closed(bar) => Some(bar),
            _ => None,
        });
        second.restore(interval, closed.chain([first.open_bars()[interval.index()]]), None);
    }
    for t in &ticks[123..] {
        second.apply(t, &mut events).unwrap();
    }
    assert_eq!(second.open_bars(), whole.open_bars());
    assert_eq!(events, all);
}

#[test]
fn a_trade_with_more_decimals_refines_all_bars_and_one_with_too_many_is_refused_whole() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY, 1, 700, 10, true), &mut events).unwrap();
    let finer = Tick { price: Num { mantissa: 70_001, scale: 4 }, ..tick(MONDAY + 1, 2, 0, 10, true) };
    g.apply(&finer, &mut events).unwrap();
    assert_eq!((g.open_bars()[0].open, g.open_bars()[0].high, g.open_bars()[0].price_scale), (70_000, 70_001, 4));
    let before = g.clone();
    let absurd = Tick { price: Num { mantissa: i64::MAX.into(), scale: 18 }, ..finer };
    let _ = g.apply(&absurd, &mut events);
    let too_wide = Tick { price: Num { mantissa: i64::MAX.into(), scale: 0 }, ..finer };
    assert_eq!(g.apply(&too_wide, &mut events), Err(TooManyDigits));
    assert_eq!(before.open_bars()[0].trade_count, 2);
}

#[test]
fn a_trade_older_than_all_kept_bars_is_handed_on() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY, 1, 700, 10, true), &mut events).unwrap();
    g.close_until(MONDAY + 200 * MIN, &mut events);
    events.clear();
    g.apply(&tick(MONDAY + 3, 2, 710, 10, true), &mut events).unwrap();
    let old: Vec<_> = events.iter().filter(|e| matches!(e.what, What::Old { .. })).map(|e| e.interval).collect();
    assert_eq!(old, [Interval::M1, Interval::M5]);
    assert!(events.iter().any(|e| e.interval == Interval::H1 && matches!(e.what, What::Revised(b) if b.revision == 1)));
}

#[test]
fn flat_bars_behind_a_late_trade_go_on_at_its_price_wherever_its_bar_is() {
    // Its bar is kept, or so old that the database has it.
    for silence in [5, 200] {
        let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
        g.apply(&tick(MONDAY + 5, 1, 700, 10, true), &mut events).unwrap();
        g.close_until(MONDAY + silence * MIN, &mut events);
        events.clear();
        g.apply(&tick(MONDAY + 2 * MIN, 2, 800, 10, true), &mut events).unwrap();
        assert!(
            g.kept(Interval::M1).filter(|b| is_flat(b) && b.open_time_us > MONDAY + 2 * MIN).all(|b| b.open == 800)
        );
        let revised = events.iter().filter(|e| e.interval == Interval::M1 && matches!(e.what, What::Revised(_)));
        assert_eq!(revised.count() as i64, if silence == 5 { 3 } else { 120 }, "each of them is reported");
        assert_eq!(g.open_bars()[0].close, 800);
        // An earlier one changes nothing of that.
        g.apply(&tick(MONDAY + MIN, 1, 600, 10, true), &mut events).unwrap();
        assert_eq!(g.open_bars()[0].close, 800, "after {silence} minutes");
        // The next trade is its own.
        g.apply(&tick(MONDAY + silence * MIN, 3, 900, 10, true), &mut events).unwrap();
        g.apply(&tick(MONDAY + 3 * MIN, 2, 850, 10, true), &mut events).unwrap();
        assert_eq!((g.open_bars()[0].open, g.open_bars()[0].close), (900, 900));
    }
}

#[test]
fn a_late_trade_of_a_halted_symbol_revises_its_closed_bar_and_opens_none() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY + 5, 1, 700, 10, true), &mut events).unwrap();
    g.halt(true);
    g.close_until(MONDAY + 10 * MIN, &mut events);
    events.clear();
    g.apply(&tick(MONDAY + 6, 2, 710, 10, true), &mut events).unwrap();
    assert!(g.open_bars()[0].is_empty());
    assert!(matches!(events[0].what, What::Revised(b) if (b.trade_count, b.close, b.revision) == (2, 710, 1)));
}

#[test]
fn a_bar_that_somebody_else_made_gets_no_trade_no_mark_and_no_seed_and_the_next_one_goes_on_at_its_close() {
    let foreign = KlineData { trade_count: 9, flags: FINAL | FOREIGN, ..KlineData::flat(MONDAY + MIN, 705, 2, 3) };
    let ours = KlineData { flags: FINAL, ..KlineData::flat(MONDAY, 700, 2, 3) };
    let mut g = KlineGenerator::new();
    g.restore(Interval::M1, [ours, foreign], None);
    let mut events = Vec::new();
    // The log goes on inside of it.
    g.apply(&tick(MONDAY + MIN + 30, 5, 999, 10, true), &mut events).unwrap();
    g.gap(MONDAY + MIN, MONDAY + MIN + 40, false, &mut events);
    assert!(!g.prepend(
        Interval::M1,
        KlineData { trade_count: 1, ..KlineData::flat(MONDAY + MIN, 1, 2, 3) },
        &mut events
    ));
    assert!(g.kept(Interval::M1).eq([&ours, &foreign]) && g.open_bars()[0].is_empty());
    assert!(!events.iter().any(|e| e.interval == Interval::M1), "{events:?}");
    g.close_until(MONDAY + 3 * MIN, &mut events);
    let closes: Vec<i64> = g.kept(Interval::M1).map(|b| b.close).collect();
    assert_eq!(closes, [700, 705, 705, 705]);
    assert_eq!(g.open_bars()[0].open_time_us, MONDAY + 3 * MIN);
}

#[test]
fn a_late_trade_of_somebody_elses_bar_moves_flat_bars_to_its_close_also_when_memory_has_it_no_more() {
    let foreign = KlineData { trade_count: 9, flags: FINAL | FOREIGN, ..KlineData::flat(MONDAY + MIN, 705, 2, 3) };
    // Made without the trades that the other one has.
    let flats = (2..110).map(|m| KlineData { flags: FINAL | FLAT, ..KlineData::flat(MONDAY + m * MIN, 700, 2, 3) });
    for restored in [true, false] {
        let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
        if restored {
            g.restore(Interval::M1, flats.clone(), Some(&foreign));
        } else {
            g.restore(Interval::M1, [foreign].into_iter().chain(flats.clone()), None);
        }
        g.close_until(MONDAY + 200 * MIN, &mut events);
        assert!(g.kept(Interval::M1).all(|b| b.open_time_us > MONDAY + MIN && b.close == 700));
        // With more digits than any before.
        let late = Tick { price: Num { mantissa: 9_999, scale: 3 }, ..tick(MONDAY + MIN + 30, 5, 999, 10, true) };
        g.apply(&late, &mut events).unwrap();
        assert!(g.kept(Interval::M1).all(|b| (b.close, b.price_scale) == (7_050, 3)), "restored: {restored}");
    }
}

#[test]
fn bars_that_lack_a_trade_with_too_many_digits_are_marked() {
    let (mut g, mut events) = (KlineGenerator::new(), Vec::new());
    g.apply(&tick(MONDAY, 1, 700, 10, true), &mut events).unwrap();
    let too_wide = Tick { price: Num { mantissa: i128::from(i64::MAX), scale: 0 }, ..tick(MONDAY + 1, 2, 0, 10, true) };
    assert_eq!(g.apply(&too_wide, &mut events), Err(TooManyDigits));
    assert!(g.open_bars().iter().all(|b| b.flags & GAP != 0 && b.trade_count == 1));
}
