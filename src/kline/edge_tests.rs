//! Times and symbols at their edges, through the feed and the fold: weeks, leap seconds, clocks that are set or wrong,
//! silence, first trades, and symbols that go and come back.
#![allow(clippy::unwrap_used)]

use wal_format::ClockPair;

use super::tests::{Chain, SECOND, agg};
use super::*;
use crate::message::CandleJob;
use model::VenueId;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, GAP, KlineData};

/// A whole minute, hour and four hours, s since epoch: 2027-01-15 08:00 UTC.
const T0: u64 = 1_800_000_000;

fn chain() -> Chain {
    Chain::new(VenueId::BinanceUsdm, Channel::AggTrades)
}

/// Receive time, ns, of a second after [`T0`]; and the venue's, ms.
fn at(s: u64) -> u64 {
    (T0 + s) * SECOND
}

fn ms(s: u64) -> u64 {
    (T0 + s) * 1_000
}

/// A CLOCK record: our clock reads `wall_s` after [`T0`], `mono_s` after boot; received at `recv_s`.
fn clock(chain: &mut Chain, recv_s: u64, wall_s: i64, mono_s: u64) {
    let wall_ns = u64::try_from(T0 as i64 + wall_s).unwrap() * SECOND;
    let pair = ClockPair { wall_ns, mono_ns: mono_s * SECOND };
    chain.record(Kind::Clock, 0, at(recv_s), &pair.encode());
}

/// Open times, minutes after [`T0`].
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
fn a_second_that_comes_twice_loses_no_trade_and_makes_no_gap() {
    // Unix time has no 23:59:60: a venue sends the second before midnight twice, or the one after it, or lets its
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
            chain.worker.handle(CandleJob::Batch(vec![Item::Reset { feed: 0 }]));
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
    // Set back by an hour: the log's times stop, its CLOCK records show it.
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
        // A quarter of a second is the margin: a bar closes with the next record after it.
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
        let requested = chain.feed.take_seeds().len();
        for interval in Interval::ALL {
            let items = chain.items.clone();
            let bars = chain.bars("BTCUSDT", interval);
            chain.worker.handle(CandleJob::Batch(vec![Item::Reset { feed: 0 }]));
            chain.items = items;
            assert_eq!(bars.values().next().unwrap().flags & GAP != 0, marked, "{interval} from id {first}");
        }
        assert_eq!(requested, usize::from(marked), "from id {first}");
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
        chain.feed = CandleFeed::new(v, Channel::AggTrades, 0, vec!["*".into()], registry, state).unwrap();
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

/// A trade of some symbol of USD-M.
fn trade(chain: &mut Chain, symbol: &str, recv_s: u64, id: i64, ts_ms: u64, price: i64) {
    let stream = symbol.to_lowercase();
    let frame = format!(
        r#"{{"stream":"{stream}@aggTrade","data":{{"e":"aggTrade","E":{ts_ms},"a":{id},"s":"{symbol}","p":"{price}","q":"1","f":{id},"l":{id},"T":{ts_ms},"m":false}}}}"#
    );
    chain.frame(at(recv_s), &frame);
}

/// Minutes of a symbol by open time after [`T0`]: trades in it, and whether it is final.
type Minutes = BTreeMap<i64, (u64, bool)>;

/// What changed since the last look, of AUSDT and of BUSDT.
fn minutes(chain: &mut Chain) -> [Minutes; 2] {
    chain.worker.handle(CandleJob::Batch(std::mem::take(&mut chain.items)));
    let (out, got) = std::sync::mpsc::channel();
    chain.worker.handle(CandleJob::Checkpoint { feed: 0, reply: Box::new(move |d| out.send(d).unwrap()) });
    let bars = got.recv().unwrap().bars;
    ["AUSDT", "BUSDT"].map(|symbol| {
        let index = chain.registry.index(VenueId::BinanceUsdm.as_str(), symbol);
        let of = bars.iter().filter(|(s, i, _)| Some(*s) == index && *i == Interval::M1);
        of.map(|(.., b)| (b.open_time_us / MINUTE_US - T0 as i64 / 60, (b.trade_count, b.flags & FINAL != 0))).collect()
    })
}

#[test]
fn one_trade_of_a_time_that_has_not_come_closes_no_bar_of_any_symbol_and_is_a_trade_of_that_time() {
    // As the first trade of all, in the middle, and again and again.
    for (ahead_s, which) in
        [6, 90, 600, 3_000, 3_500].into_iter().flat_map(|a| [[0, 0], [7, 7], [7, 12]].map(|which| (a, which)))
    {
        let case = format!("{ahead_s} s ahead: {which:?}");
        let mut chain = chain();
        let mut id = 0;
        for s in 0..20 {
            id += 1;
            let early = (which[0]..=which[1]).contains(&s);
            trade(&mut chain, "AUSDT", s * 10, id, ms(s * 10 + if early { ahead_s } else { 0 }), 100 + s as i64);
            trade(&mut chain, "BUSDT", s * 10 + 3, id, ms(s * 10 + 3), 200);
        }
        for bars in minutes(&mut chain) {
            assert_eq!(bars.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{case}");
            assert_eq!(bars.values().filter(|(_, closed)| *closed).count(), 3, "{case}");
        }
        assert_eq!((chain.feed.skipped().early > 0, chain.feed.skipped().absurd), (true, 0), "{case}");
        // Until its time has come, over a restart too.
        let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
        let (v, registry) = (chain.feed.venue, chain.registry.clone());
        chain.feed = CandleFeed::new(v, Channel::AggTrades, 0, vec!["*".into()], registry, state).unwrap();
        let mut count: BTreeMap<i64, u64> = BTreeMap::new();
        for s in (200..7_200).step_by(10) {
            clock(&mut chain, s, s as i64, 100 + s);
            let [a, _] = minutes(&mut chain);
            count.extend(a.into_iter().map(|(minute, (n, _))| (minute, n)));
        }
        for s in which[0]..=which[1] {
            let minute = ((s * 10 + ahead_s) / 60) as i64;
            assert!(minute < 4 || count[&minute] > 0, "{case}: {count:?}");
        }
        assert_eq!(chain.feed.skipped().absurd, 0, "{case}");
    }
}

#[test]
fn a_symbol_that_is_always_ahead_moves_nobody_elses_time() {
    let mut chain = chain();
    for s in 0..100 {
        trade(&mut chain, "AUSDT", s, s as i64 + 1, ms(s + 1_800), 100);
        trade(&mut chain, "AUSDT", s, s as i64 + 1_001, ms(s + 1_800), 100);
        trade(&mut chain, "BUSDT", s, s as i64 + 1, ms(s), 100);
    }
    let [_, b] = minutes(&mut chain);
    assert_eq!(b.into_iter().collect::<Vec<_>>(), [(0, (60, true)), (1, (40, false))]);
    assert!(chain.feed.venue_now_us().unwrap() < (T0 as i64 + 100) * 1_000_000);
}

#[test]
fn what_all_symbols_say_for_ten_seconds_is_the_venues_time_and_there_is_a_way_back() {
    let mut chain = chain();
    let now_s = |chain: &Chain| chain.feed.venue_now_us().unwrap() / 1_000_000 - T0 as i64;
    for s in 0..10 {
        trade(&mut chain, "AUSDT", s, s as i64 + 1, ms(s), 100);
        trade(&mut chain, "BUSDT", s, s as i64 + 1, ms(s), 100);
    }
    // The venue's clock is ahead by ten minutes now.
    for s in 10..40 {
        trade(&mut chain, "AUSDT", s, s as i64 + 1, ms(s + 600), 100);
        trade(&mut chain, "BUSDT", s, s as i64 + 1, ms(s + 600), 100);
        let believed = now_s(&chain) > 600;
        assert_eq!(believed, s > 20, "after {s} s");
    }
    // It was put right.
    for s in 40..60 {
        trade(&mut chain, "AUSDT", s, s as i64 + 1, ms(s), 100);
        trade(&mut chain, "BUSDT", s, s as i64 + 1, ms(s), 100);
    }
    assert!((57..=60).contains(&now_s(&chain)), "{}", now_s(&chain));
    // No trade is lost on the way, whichever minute it is of.
    let [a, _] = minutes(&mut chain);
    let all: u64 = a.values().map(|(n, _)| n).sum();
    assert_eq!((all, chain.feed.skipped().absurd), (60, 0));
}

#[test]
fn one_trade_of_another_time_is_not_believed_because_none_comes_behind_it() {
    // Of the only symbol that trades; the two clocks agree, or are ten minutes apart.
    for skew in [0, 600] {
        let mut chain = chain();
        for n in 0..3 {
            trade(&mut chain, "AUSDT", n * 10, n as i64 + 1, ms(n * 10 + skew), 100);
        }
        trade(&mut chain, "AUSDT", 40, 4, ms(1_600 + skew), 100);
        for s in (45..400).step_by(5) {
            clock(&mut chain, s, s as i64, 100 + s);
        }
        trade(&mut chain, "AUSDT", 400, 5, ms(400 + skew), 100);
        clock(&mut chain, 405, 405, 505);
        let [a, _] = minutes(&mut chain);
        let first = skew as i64 / 60;
        assert_eq!(a.keys().copied().collect::<Vec<_>>(), (first..=first + 6).collect::<Vec<_>>(), "skew {skew}");
        assert!(chain.feed.venue_now_us().unwrap() < (T0 as i64 + 405 + skew as i64) * 1_000_000, "skew {skew}");
    }
}

#[test]
fn a_trade_of_tomorrow_is_counted_as_absurd_and_the_bar_that_may_lack_it_is_marked() {
    let mut chain = chain();
    trade(&mut chain, "AUSDT", 1, 1, ms(1), 100);
    trade(&mut chain, "AUSDT", 70, 2, ms(70 + 86_400), 100);
    trade(&mut chain, "AUSDT", 71, 3, ms(71), 100);
    trade(&mut chain, "AUSDT", 130, 4, ms(130), 100);
    let bars = chain.bars("AUSDT", Interval::M1);
    assert_eq!(bars.values().map(|b| b.flags & GAP != 0).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(chain.feed.skipped().absurd, 1);
}

#[test]
fn an_odd_id_marks_bars_only_until_the_ids_behind_it_show_that_nothing_is_missing() {
    let mut chain = chain();
    for id in 1..=5 {
        trade(&mut chain, "AUSDT", id, id as i64, ms(id), 100);
    }
    trade(&mut chain, "AUSDT", 6, 9_000_000, ms(6), 100);
    let marked = |chain: &mut Chain| chain.bars("AUSDT", Interval::M1).values().any(|b| b.flags & GAP != 0);
    assert!(marked(&mut chain), "nobody knows yet");
    for id in 6..=1_010 {
        trade(&mut chain, "AUSDT", 7, id, ms(7), 100);
    }
    assert!(!marked(&mut chain));
}

#[test]
fn what_is_no_trade_of_a_candle_ends_a_gap_and_fills_one_all_the_same() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::Trades);
    let say = |chain: &mut Chain, s: u64, id: i64, kind: &str| {
        let (ts, frame_at) = (ms(s), at(s));
        chain.frame(
            frame_at,
            &format!(
                r#"{{"stream":"ausdt@trade","data":{{"e":"trade","E":{ts},"T":{ts},"s":"AUSDT","t":{id},"p":"1","q":"1","X":"{kind}","m":false}}}}"#
            ),
        );
    };
    say(&mut chain, 10, 1, "MARKET");
    // 2 is missing; after it comes one of the insurance fund.
    say(&mut chain, 70, 3, "INSURANCE_FUND");
    say(&mut chain, 190, 4, "MARKET");
    let mut flags = || chain.bars("AUSDT", Interval::M1).values().map(|b| b.flags & GAP != 0).collect::<Vec<_>>();
    assert_eq!(flags(), [true, true, true, false], "missing is what was traded before it, and the price after it");
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::Trades);
    say(&mut chain, 10, 1, "MARKET");
    say(&mut chain, 70, 3, "MARKET");
    say(&mut chain, 71, 2, "ADL");
    assert!(
        chain.bars("AUSDT", Interval::M1).values().all(|b| b.flags & GAP == 0),
        "it is there, and no trade of ours"
    );
}

#[test]
fn only_binance_calls_a_trade_at_the_market_so_and_other_words_are_no_reason_to_leave_one_out() {
    use venue::venue;
    for (id, out, inside) in [
        (VenueId::BinanceUsdm, vec!["INSURANCE_FUND", "ADL", "NA", "SOMETHING_NEW"], vec!["MARKET"]),
        (VenueId::GateFutures, vec!["internal"], vec!["block", "MARKET"]),
        (VenueId::GateSpot, vec![], vec!["block"]),
        (VenueId::KucoinSpot, vec![], vec!["match", "MARKET"]),
        (VenueId::KucoinFutures, vec![], vec!["match", "MARKET"]),
    ] {
        assert!(out.iter().all(|kind| venue(id).spec.is_off_book(kind)), "{id}");
        assert!(!inside.iter().any(|kind| venue(id).spec.is_off_book(kind)), "{id}");
    }
}

/// A frame of trades on one of KuCoin's markets.
fn kucoin(topic: &str, symbol: &str, n: u64, s: u64, price: &str, size: &str) -> String {
    let (ns, subject) = (at(s), if topic.starts_with("/market") { "trade.l3match" } else { "match" });
    format!(
        r#"{{"type":"message","topic":"{topic}:{symbol}","subject":"{subject}","data":{{"price":"{price}","sequence":"{n}","side":"buy","size":"{size}","symbol":"{symbol}","time":"{ns}","ts":{ns},"tradeId":"{symbol}{n}","type":"match"}}}}"#
    )
}

#[test]
fn a_gap_marks_the_symbols_and_the_channel_that_it_names_and_a_later_one_takes_none_of_its_marks() {
    const TOPIC: &str = "/market/match";
    let mut chain = Chain::new(VenueId::KucoinSpot, Channel::Trades);
    for (n, symbol) in [(1, "A-B"), (2, "C-D"), (3, "E-F")] {
        chain.frame(at(1), &kucoin(TOPIC, symbol, n, 1, "1", "1"));
    }
    chain.record(Kind::Clock, 0, at(200), &[0; 16]);
    let gap = |chain: &mut Chain, from: u64, to: u64, streams: &str| {
        let text = format!(r#"{{"reason":"lost","from_ns":{},"to_ns":{},"streams":[{streams}]}}"#, at(from), at(to));
        chain.record(Kind::Gap, 1, at(to), text.as_bytes());
    };
    gap(&mut chain, 210, 260, r#""/market/match:A-B","/market/match:E-F""#);
    gap(&mut chain, 330, 390, r#""/market/match:A-B","/market/level2:C-D""#);
    // A restart after both.
    let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
    let (v, registry) = (chain.feed.venue, chain.registry.clone());
    chain.feed = CandleFeed::new(v, Channel::Trades, 0, vec!["*".into()], registry, state).unwrap();
    chain.feed.resume(&mut chain.items);
    for (n, symbol) in [(4, "A-B"), (5, "C-D"), (6, "E-F")] {
        chain.frame(at(490), &kucoin(TOPIC, symbol, n, 490, "2", "1"));
    }
    let items = chain.items.clone();
    let mut marked = |symbol: &str| -> Vec<i64> {
        chain.items.clone_from(&items);
        let bars = chain.bars(symbol, Interval::M1);
        chain.worker.handle(CandleJob::Batch(vec![Item::Reset { feed: 0 }]));
        bars.into_iter().filter(|(_, b)| b.flags & GAP != 0).map(|(us, _)| us / MINUTE_US - T0 as i64 / 60).collect()
    };
    // The first minute lacks its first trades. Up to the next trade nobody knows the price.
    assert_eq!(marked("A-B"), [0, 3, 4, 5, 6, 7], "it is named twice");
    assert_eq!(marked("C-D"), [0], "only its book is named");
    assert_eq!(marked("E-F"), [0, 3, 4, 5, 6, 7]);
}

#[test]
fn a_gap_that_is_reported_behind_the_first_trade_that_ended_it_marks_all_of_it() {
    const TOPIC: &str = "/market/match";
    let mut chain = Chain::new(VenueId::KucoinSpot, Channel::Trades);
    chain.frame(at(1), &kucoin(TOPIC, "A-B", 1, 1, "1", "1"));
    chain.frame(at(130), &kucoin(TOPIC, "A-B", 2, 130, "1", "1"));
    chain.frame(at(370), &kucoin(TOPIC, "A-B", 3, 370, "1", "1"));
    let text =
        format!(r#"{{"reason":"silent","from_ns":{},"to_ns":{},"streams":["/market/match:A-B"]}}"#, at(130), at(370));
    chain.record(Kind::Gap, 1, at(371), text.as_bytes());
    chain.frame(at(490), &kucoin(TOPIC, "A-B", 4, 490, "1", "1"));
    let marked: Vec<bool> = chain.bars("A-B", Interval::M1).values().map(|b| b.flags & GAP != 0).collect();
    assert_eq!(
        marked,
        [true, false, true, true, true, true, true, false, false],
        "the first one lacks its first trades"
    );
}

#[test]
fn a_frame_of_trades_that_cannot_be_read_marks_its_symbol_where_no_ids_tell_what_is_missing() {
    const TOPIC: &str = "/market/match";
    let mut chain = Chain::new(VenueId::KucoinSpot, Channel::Trades);
    for (n, symbol) in [(1, "A-B"), (2, "C-D")] {
        chain.frame(at(1), &kucoin(TOPIC, symbol, n, 1, "1", "1"));
    }
    chain.frame(at(130), &kucoin(TOPIC, "A-B", 3, 130, "not a price", "1"));
    for (n, symbol) in [(4, "A-B"), (5, "C-D")] {
        chain.frame(at(131), &kucoin(TOPIC, symbol, n, 131, "1", "1"));
    }
    let items = chain.items.clone();
    let mut flags = |symbol: &str| -> Vec<bool> {
        chain.items.clone_from(&items);
        let bars = chain.bars(symbol, Interval::M1);
        chain.worker.handle(CandleJob::Batch(vec![Item::Reset { feed: 0 }]));
        bars.values().map(|b| b.flags & GAP != 0).collect()
    };
    assert_eq!(flags("A-B"), [true, false, true]);
    assert_eq!(flags("C-D"), [true, false, false]);
}

/// A listing of contracts of KuCoin: name, size, inverse.
fn contracts(chain: &mut Chain, s: u64, list: &[(&str, &str, bool)]) {
    let entry = |(name, size, inverse): &(&str, &str, bool)| {
        format!(
            r#"{{"symbol":"{name}","type":"FFWCSX","firstOpenDate":1585555200000,"expireDate":null,"baseCurrency":"XBT","quoteCurrency":"USDT","lotSize":1,"tickSize":0.1,"multiplier":{size},"isInverse":{inverse},"status":"Open"}}"#
        )
    };
    let list: Vec<String> = list.iter().map(entry).collect();
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(format!(r#"{{"code":"200000","data":[{}]}}"#, list.join(",")).as_bytes());
    chain.record(Kind::Rest, 0, at(s), &payload);
}

#[test]
fn quote_volumes_of_contracts_are_multiplied_out_and_unknown_while_nobody_knows_their_size() {
    const TOPIC: &str = "/contractMarket/execution";
    let text = |bar: &KlineData| {
        let (p, a) = (u32::from(bar.price_scale), u32::from(bar.amount_scale));
        let decimal = model::kline::decimal;
        (decimal(bar.volume, a, 0), decimal(bar.quote_volume, p + a, 0), decimal(bar.taker_buy_quote_volume, p + a, 0))
    };
    for (symbol, size, inverse, quote) in [
        // 3 contracts at 90,000.5, twice.
        ("XBTUSDTM", "0.001", false, "540.003"),
        ("1000BONKUSDTM", "100.0", false, "54000300"),
        ("XBTUSDM", "-1.0", true, "6"),
    ] {
        let mut chain = Chain::new(VenueId::KucoinFutures, Channel::Trades);
        contracts(&mut chain, 0, &[(symbol, size, inverse)]);
        for n in 1..=2 {
            chain.frame(at(n), &kucoin(TOPIC, symbol, n, n, "90000.5", "3"));
        }
        let bar = *chain.bars(symbol, Interval::M1).values().next().unwrap();
        assert_eq!(text(&bar), ("6".into(), quote.into(), quote.into()), "{symbol}");
        assert_eq!(bar.flags & model::kline::SPARSE, 0, "{symbol}");
    }
    // No listing has come: not wrong, but missing, and said so.
    let mut chain = Chain::new(VenueId::KucoinFutures, Channel::Trades);
    chain.frame(at(1), &kucoin(TOPIC, "XBTUSDTM", 1, 1, "90000.5", "3"));
    let bar = *chain.bars("XBTUSDTM", Interval::M1).values().next().unwrap();
    assert_eq!((text(&bar).1.as_str(), bar.flags & model::kline::SPARSE != 0), ("0", true));
    contracts(&mut chain, 2, &[("XBTUSDTM", "0.001", false)]);
    chain.frame(at(61), &kucoin(TOPIC, "XBTUSDTM", 2, 61, "90000.5", "3"));
    let bar = chain.bars("XBTUSDTM", Interval::M1).pop_last().unwrap().1;
    assert_eq!((text(&bar).1.as_str(), bar.flags & model::kline::SPARSE != 0), ("270.0015", false));
}

/// A listing of one contract of Gate.
fn gate_listing(chain: &mut Chain, s: u64, more: &str) {
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    let body = format!(
        r#"[{{"name":"BTC_USDT","type":"direct","quanto_multiplier":"0.0001","order_price_round":"0.1","mark_price_round":"0.01","order_size_min":1,"create_time":1546905600,{more}}}]"#
    );
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(body.as_bytes());
    chain.record(Kind::Rest, 0, at(s), &payload);
}

fn gate_trade(chain: &mut Chain, s: u64, id: i64, more: &str) {
    let (ms, sec) = (ms(s), ms(s) / 1_000);
    chain.frame(
        at(s),
        &format!(
            r#"{{"time":{sec},"time_ms":{ms},"channel":"futures.trades","event":"update","result":[{{"contract":"BTC_USDT","size":"-5","id":{id},"create_time":{sec},"create_time_ms":{ms},"price":"60000.5"{more}}}]}}"#
        ),
    );
}

#[test]
fn silence_behind_the_listed_end_of_a_contract_makes_no_bars() {
    // Ends in the middle of minute 5, and with minute 4; listed before or after it; our log goes on, or stops
    // over the end, and after a restart.
    for (end_s, last) in [(330, 5), (300, 4)] {
        for (listed_s, quiet) in [(0, 0..0), (0, 120..900), (0, 200..5_000), (400, 0..0)] {
            let case = format!("ends at {end_s} s, listed at {listed_s} s, nothing heard in {quiet:?}");
            let end = format!(r#""in_delisting":true,"status":"delisting","delisted_time":{}"#, T0 + end_s);
            let mut chain = Chain::new(VenueId::GateFutures, Channel::Trades);
            let first = if listed_s == 0 { end.as_str() } else { r#""status":"trading""# };
            gate_listing(&mut chain, 0, first);
            clock(&mut chain, 0, 0, 100);
            gate_trade(&mut chain, 1, 1, "");
            let play = |chain: &mut Chain, from: u64, to: u64| {
                for s in (from..to).step_by(10).filter(|s| !quiet.contains(s)) {
                    clock(chain, s, s as i64, 100 + s);
                }
            };
            play(&mut chain, 10, 400);
            if listed_s > 0 {
                gate_listing(&mut chain, listed_s, &end);
            }
            play(&mut chain, 400, 7_200);
            let last = if listed_s > 0 { 6 } else { last };
            let bars = chain.bars("BTC_USDT", Interval::M1);
            assert_eq!(opens(&bars), (0..=last).collect::<Vec<_>>(), "{case}");
            assert_eq!(closed(&bars), bars.len(), "{case}: none is open");
            // A restart opens none either, nor does the same listing again.
            let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
            let (v, registry) = (chain.feed.venue, chain.registry.clone());
            chain.feed = CandleFeed::new(v, Channel::Trades, 0, vec!["*".into()], registry, state).unwrap();
            assert!(chain.feed.is_silent("BTC_USDT"), "{case}");
            gate_listing(&mut chain, 7_200, &end);
            play(&mut chain, 7_210, 7_500);
            assert!(chain.bars("BTC_USDT", Interval::M1).is_empty(), "{case}");
            // What trades all the same has its bar.
            gate_trade(&mut chain, 7_501, 2, "");
            play(&mut chain, 7_510, 7_700);
            assert_eq!(opens(&chain.bars("BTC_USDT", Interval::M1)), [125], "{case}");
            // The end was put off.
            gate_listing(&mut chain, 7_700, r#""status":"trading""#);
            gate_trade(&mut chain, 7_701, 3, "");
            play(&mut chain, 7_710, 7_900);
            assert_eq!(opens(&chain.bars("BTC_USDT", Interval::M1)), [128, 129, 130, 131], "{case}");
        }
    }
}

#[test]
fn gates_contracts_are_multiplied_out_and_its_internal_trades_left_out() {
    let mut chain = Chain::new(VenueId::GateFutures, Channel::Trades);
    gate_listing(&mut chain, 0, r#""in_delisting":false,"status":"trading""#);
    for (id, internal) in [(1, ""), (2, r#","is_internal":true"#), (3, "")] {
        gate_trade(&mut chain, 1, id, internal);
    }
    let bar = *chain.bars("BTC_USDT", Interval::M1).values().next().unwrap();
    let quote = u32::from(bar.price_scale) + u32::from(bar.amount_scale);
    assert_eq!(model::kline::decimal(bar.quote_volume, quote, 0), "60.0005");
    assert_eq!((bar.trade_count, bar.flags & GAP, chain.feed.skipped().off_book), (2, 0, 1));
}

#[test]
fn contracts_of_binance_coinm_are_worth_their_size_in_dollars_whatever_the_price() {
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    // Price, contracts, whether the taker sold.
    type Rows = &'static [(&'static str, i64, bool)];
    let btc: Rows = &[("58570.1", 58, true), ("29285.05", 2, false)];
    let eth: Rows = &[("1786.56", 401_601, false)];
    for (symbol, size, rows, expected) in
        [("BTCUSD_PERP", 100, btc, ["60", "6000", "200"]), ("ETHUSD_PERP", 10, eth, ["401601", "4016010", "4016010"])]
    {
        let mut chain = Chain::new(VenueId::BinanceCoinm, Channel::AggTrades);
        let body = format!(
            r#"{{"symbols":[{{"symbol":"{symbol}","contractStatus":"TRADING","contractSize":{size},"contractType":"PERPETUAL","baseAsset":"A","quoteAsset":"USD","filters":[]}}]}}"#
        );
        let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
        payload.extend_from_slice(meta.as_bytes());
        payload.extend_from_slice(body.as_bytes());
        chain.record(Kind::Rest, 0, at(0), &payload);
        for (id, (price, contracts, taker_sold)) in (1..).zip(rows) {
            let (stream, ms) = (symbol.to_lowercase(), ms(1));
            chain.frame(
                at(1),
                &format!(
                    r#"{{"stream":"{stream}@aggTrade","data":{{"e":"aggTrade","E":{ms},"a":{id},"s":"{symbol}","p":"{price}","q":"{contracts}","f":{id},"l":{id},"T":{ms},"m":{taker_sold},"st":2}}}}"#
                ),
            );
        }
        let bar = *chain.bars(symbol, Interval::M1).values().next().unwrap();
        let (amounts, quotes) = (u32::from(bar.amount_scale), u32::from(bar.price_scale + bar.amount_scale));
        let sums = [(bar.volume, amounts), (bar.quote_volume, quotes), (bar.taker_buy_quote_volume, quotes)];
        assert_eq!(sums.map(|(sum, scale)| model::kline::decimal(sum, scale, 0)), expected, "{symbol}");
        assert_eq!(bar.flags & model::kline::SPARSE, 0, "{symbol}");
    }
}
