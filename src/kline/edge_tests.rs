//! Times and symbols at their edges, through the feed and the fold: weeks, leap seconds, clocks that are set or wrong,
//! silence, first trades, and symbols that go and come back.
#![allow(clippy::unwrap_used)]

use wal_format::ClockPair;

use super::tests::{Chain, SECOND, agg};
use super::*;
use crate::kline::data::{FINAL, FLAT, GAP, KlineData};
use crate::kline::interval::Interval;
use crate::kline::message::Job;
use crate::venue::VenueId;

/// A whole minute, hour and four hours, s since epoch: 2027-01-15 08:00 UTC.
const T0: u64 = 1_800_000_000;

fn chain() -> Chain {
    Chain::new(VenueId::BinanceUsdm, Channel::AggTrades)
}

/// Receive time, ns, of a second behind [`T0`]; and the venue's, ms.
fn at(s: u64) -> u64 {
    (T0 + s) * SECOND
}

fn ms(s: u64) -> u64 {
    (T0 + s) * 1_000
}

/// A CLOCK record: our clock tells `wall_s` behind [`T0`], `mono_s` after boot; received at `recv_s`.
fn clock(chain: &mut Chain, recv_s: u64, wall_s: i64, mono_s: u64) {
    let wall_ns = u64::try_from(T0 as i64 + wall_s).unwrap() * SECOND;
    let pair = ClockPair { wall_ns, mono_ns: mono_s * SECOND };
    chain.record(Kind::Clock, 0, at(recv_s), &pair.encode());
}

/// Open times, minutes behind [`T0`].
fn opens(bars: &BTreeMap<i64, KlineData>) -> Vec<i64> {
    bars.keys().map(|us| us / MINUTE_US - T0 as i64 / 60).collect()
}

/// Final ones.
fn closed(bars: &BTreeMap<i64, KlineData>) -> usize {
    bars.values().filter(|b| b.flags & FINAL != 0).count()
}

/// A listing of BTCUSDT with this status, none of it without one.
fn listing(chain: &mut Chain, s: u64, status: Option<&str>) {
    let entry = |name: &str, status: &str| {
        format!(
            r#"{{"symbol":"{name}","status":"{status}","baseAsset":"B","quoteAsset":"USDT","contractType":"PERPETUAL","onboardDate":1,"filters":[]}}"#
        )
    };
    let entries: Vec<String> =
        status.iter().map(|word| entry("BTCUSDT", word)).chain([entry("ETHUSDT", "TRADING")]).collect();
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(format!(r#"{{"symbols":[{}]}}"#, entries.join(",")).as_bytes());
    chain.record(Kind::Rest, 0, at(s), &payload);
}

#[test]
fn weeks_begin_on_monday_at_midnight_utc() {
    let mut chain = chain();
    // 2027-01-18, a Monday.
    let monday = 1_800_230_400_000;
    for (id, ms) in [(1, monday - 1), (2, monday), (3, monday + 6 * 86_400_000), (4, monday + 7 * 86_400_000)] {
        chain.frame(ms * 1_000_000, &agg(id, ms, "100"));
    }
    let weeks = chain.bars("BTCUSDT", Interval::W1);
    let week = 7 * 86_400_000_000;
    let monday = monday as i64 * 1_000;
    assert_eq!(weeks.keys().copied().collect::<Vec<_>>(), [monday - week, monday, monday + week]);
    assert_eq!(weeks.values().map(|b| b.trade_count).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn a_second_that_comes_twice_loses_no_trade_and_makes_no_hole() {
    // Unix time has no 23:59:60: a venue tells the second before midnight twice, or the one after it, or lets its
    // clock go back over midnight. By ids, as they came.
    let midnight = 1_800_057_600_000_u64;
    assert_eq!(midnight % 86_400_000, 0);
    type Case = (&'static [i64], [u64; 2], [i64; 2]);
    let cases: [Case; 3] = [
        (&[-800, -200, -900, -100, 100], [4, 1], [4, 5]),
        (&[-100, 500, 900, 200, 800], [1, 4], [1, 5]),
        (&[-100, 900, -50, 100, 950], [2, 3], [3, 5]),
    ];
    for (times, counts, closes) in cases {
        let mut chain = chain();
        for (id, ms) in (1..).zip(times) {
            let ts = (midnight as i64 + ms) as u64;
            // Our clock runs on.
            chain.frame((midnight + id as u64 * 300) * 1_000_000, &agg(id, ts, &format!("{id}")));
        }
        for interval in [Interval::M1, Interval::D1] {
            let bars = chain.items.clone();
            let got = chain.bars("BTCUSDT", interval);
            chain.items = bars;
            chain.worker.handle(Job::Batch(vec![Item::Reset { feed: 0 }]));
            assert_eq!(got.values().map(|b| b.trade_count).collect::<Vec<_>>(), counts, "{interval} {times:?}");
            assert_eq!(got.values().map(|b| b.close).collect::<Vec<_>>(), closes, "{interval} {times:?}");
            assert!(got.values().all(|b| b.flags & GAP == 0), "{interval} {times:?}");
        }
        assert_eq!((chain.feed.skipped().absurd, chain.feed.skipped().repeated), (0, 0));
    }
}

#[test]
fn our_clock_set_forward_closes_no_bar_of_a_silent_market_before_its_time() {
    let mut chain = chain();
    clock(&mut chain, 0, 0, 100);
    chain.frame(at(1), &agg(1, ms(1), "100"));
    clock(&mut chain, 10, 10, 110);
    // Set by an hour: what is received next says so, and a second later the log.
    chain.record(Kind::Data, 1, at(3_612), b"{}");
    assert_eq!(closed(&chain.bars("BTCUSDT", Interval::M1)), 0);
    clock(&mut chain, 3_613, 3_613, 113);
    chain.record(Kind::Data, 1, at(3_659), b"{}");
    assert_eq!(closed(&chain.bars("BTCUSDT", Interval::M1)), 0, "the 59th second");
    clock(&mut chain, 3_661, 3_661, 161);
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert_eq!((closed(&bars), opens(&bars)), (1, vec![0, 1]));
    chain.frame(at(3_665), &agg(2, ms(65), "101"));
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert!(bars.values().all(|b| b.revision == 0) && opens(&bars) == [1], "{bars:?}");
}

#[test]
fn our_clock_set_back_leaves_bars_of_a_silent_market_closing_in_time() {
    let mut chain = chain();
    clock(&mut chain, 0, 0, 100);
    chain.frame(at(1), &agg(1, ms(1), "100"));
    clock(&mut chain, 10, 10, 110);
    // Set back by an hour: the log's times stand still, its CLOCK records tell.
    clock(&mut chain, 11, 11 - 3_600, 111);
    for s in [21, 31, 41, 51] {
        chain.record(Kind::Data, 1, at(11), b"{}");
        clock(&mut chain, 11, s - 3_600, 100 + s as u64);
    }
    assert_eq!(closed(&chain.bars("BTCUSDT", Interval::M1)), 0);
    clock(&mut chain, 11, 61 - 3_600, 161);
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert_eq!((closed(&bars), opens(&bars)), (1, vec![0, 1]));
    chain.frame(at(11), &agg(2, ms(65), "101"));
    clock(&mut chain, 11, 121 - 3_600, 221);
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert_eq!((closed(&bars), opens(&bars)), (1, vec![1, 2]), "closed in time the next time too");
    assert_eq!(chain.feed.skipped().absurd, 0);
}

#[test]
fn a_venues_clock_that_is_ahead_or_behind_decides_where_its_bars_begin_and_end() {
    for skew in [-86_400_i64, -420, -2, 2, 420, 86_400] {
        let mut chain = chain();
        let venue_ms = |s: u64| (ms(s) as i64 + skew * 1_000) as u64;
        clock(&mut chain, 0, 0, 100);
        chain.frame(at(3), &agg(1, venue_ms(3), "100"));
        chain.frame(at(8), &agg(2, venue_ms(8), "101"));
        // Nothing more: the last whole minute of the venue ends within the next sixty seconds of ours.
        for s in (10..=70).step_by(10) {
            clock(&mut chain, s, s as i64, 100 + s);
        }
        let bars = chain.bars("BTCUSDT", Interval::M1);
        let first = (ms(3) as i64 + skew * 1_000) / 60_000;
        assert_eq!(bars.keys().next().unwrap() / MINUTE_US, first, "skew {skew} s");
        assert!(closed(&bars) == bars.len() - 1 && (2..=3).contains(&bars.len()), "skew {skew} s: {bars:?}");
        assert_eq!(bars.values().map(|b| b.trade_count).sum::<u64>(), 2);
        assert_eq!(chain.feed.skipped().absurd, 0, "skew {skew} s");
    }
}

#[test]
fn an_hour_of_silence_is_flat_bars_at_the_close_before_closed_in_time() {
    let mut chain = chain();
    clock(&mut chain, 0, 0, 100);
    chain.frame(at(1), &agg(1, ms(1), "100"));
    chain.frame(at(30), &agg(2, ms(30), "107"));
    let mut so_far = 0;
    let mut all = BTreeMap::new();
    for s in (35..3_660).step_by(5) {
        clock(&mut chain, s, s as i64, 100 + s);
        let bars = chain.bars("BTCUSDT", Interval::M1);
        so_far += closed(&bars);
        all.extend(bars);
        // A quarter of a second is the margin: a bar closes with the next record behind it.
        assert_eq!(so_far as u64, (s - 1) / 60, "after {s} s");
    }
    assert_eq!(opens(&all), (0..=60).collect::<Vec<_>>());
    let quiet = all.values().skip(1);
    assert!(quiet.clone().all(|b| b.flags & (FLAT | GAP) == FLAT && b.revision == 0));
    assert!(quiet.clone().all(|b| [b.open, b.high, b.low, b.close] == [107; 4] && b.volume == 0 && b.trade_count == 0));
    chain.frame(at(3_670), &agg(3, ms(3_670), "90"));
    let last = chain.bars("BTCUSDT", Interval::M1).pop_last().unwrap().1;
    assert_eq!((last.open, last.trade_count, last.flags & (FLAT | GAP)), (90, 1, 0));
    let hours = chain.bars("BTCUSDT", Interval::H1);
    assert!(hours.values().all(|b| b.flags & GAP == 0));
}

#[test]
fn the_first_trade_ever_of_a_symbol_leaves_no_mark_and_nothing_to_ask_for() {
    for (first, marked) in [(0, false), (1, false), (2, true)] {
        let mut chain = chain();
        chain.frame(at(5), &agg(first, ms(5), "100"));
        chain.frame(at(70), &agg(first + 1, ms(70), "101"));
        let asked = chain.feed.take_seeds().len();
        for interval in Interval::ALL {
            let items = chain.items.clone();
            let bars = chain.bars("BTCUSDT", interval);
            chain.worker.handle(Job::Batch(vec![Item::Reset { feed: 0 }]));
            chain.items = items;
            assert_eq!(bars.values().next().unwrap().flags & GAP != 0, marked, "{interval} from id {first}");
        }
        assert_eq!(asked, usize::from(marked), "from id {first}");
    }
}

#[test]
fn a_symbol_that_is_delisted_or_halted_gets_no_bars_of_silence_until_it_trades_again() {
    for gone in [None, Some("SETTLING")] {
        let mut chain = chain();
        listing(&mut chain, 0, Some("TRADING"));
        clock(&mut chain, 0, 0, 100);
        chain.frame(at(1), &agg(1, ms(1), "100"));
        let play = |chain: &mut Chain, from: u64, to: u64| {
            for s in (from..to).step_by(10) {
                clock(chain, s, s as i64, 100 + s);
            }
        };
        play(&mut chain, 10, 130);
        listing(&mut chain, 130, gone);
        // Trades that were on their way.
        chain.frame(at(131), &agg(2, ms(131), "105"));
        play(&mut chain, 140, 7_300);
        let bars = chain.bars("BTCUSDT", Interval::M1);
        assert_eq!((opens(&bars), closed(&bars)), (vec![0, 1, 2], 3), "{gone:?}: it ends with the open minute");
        // A restart in between does not open any either.
        let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
        let (v, registry) = (chain.feed.venue, chain.registry.clone());
        chain.feed = Feed::new(v, Channel::AggTrades, 0, vec!["*".into()], registry, state).unwrap();
        listing(&mut chain, 7_300, gone);
        play(&mut chain, 7_310, 10_000);
        assert!(chain.bars("BTCUSDT", Interval::M1).is_empty(), "{gone:?}");
        listing(&mut chain, 10_000, Some("TRADING"));
        play(&mut chain, 10_010, 10_200);
        assert!(chain.bars("BTCUSDT", Interval::M1).is_empty(), "{gone:?}: listed again, not traded yet");
        chain.frame(at(10_201), &agg(3, ms(10_201), "200"));
        play(&mut chain, 10_210, 10_400);
        let bars = chain.bars("BTCUSDT", Interval::M1);
        assert_eq!(opens(&bars), [170, 171, 172, 173], "{gone:?}: silence is flat again");
        assert!(bars.values().all(|b| b.flags & GAP == 0 && b.close == 200));
    }
}
