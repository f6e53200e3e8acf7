//! Recorded frames become the exchange's own candles, digit for digit; and what goes wrong on the way.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;
use std::sync::mpsc;

use wal_format::{Position, Seq};

use super::*;
use crate::actor::{CandleWorker, Shown};
use crate::message::CandleJob;
use crate::store::{DoubleBufferedKlineStore, LatestSlots};
use model::VenueId;
use model::interval::Interval;
use model::kline::{GAP, KlineData, SEEDED, decimal};
use venue::venue;

/// A feed and the worker behind it.
pub(super) struct Chain {
    pub feed: CandleFeed,
    pub worker: CandleWorker,
    pub registry: Arc<SymbolPeriodRegistry>,
    seq: u64,
    pub items: Vec<Item>,
}

impl Chain {
    pub fn new(id: VenueId, source: Channel) -> Self {
        let registry = Arc::new(SymbolPeriodRegistry::new());
        let feed =
            CandleFeed::new(venue(id), source, 0, vec!["*".into()], registry.clone(), FeedState::default()).unwrap();
        let shown = Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) };
        Self { feed, worker: CandleWorker::new(shown), registry, seq: 0, items: Vec::new() }
    }

    pub fn record(&mut self, kind: Kind, conn: u32, ts_recv_ns: u64, payload: &[u8]) {
        let record = RecordRef {
            position: Position::START,
            next: Position::START,
            seq: Seq(self.seq),
            ts_recv_ns,
            conn,
            kind_raw: kind as u8,
            flags: 0,
            payload,
        };
        self.seq += 1;
        self.feed.record(&record, &mut self.items);
    }

    pub fn frame(&mut self, ts_recv_ns: u64, payload: &str) {
        self.record(Kind::Data, 1, ts_recv_ns, payload.as_bytes());
    }

    /// Newest state of every bar of a symbol so far.
    pub fn bars(&mut self, symbol: &str, interval: Interval) -> BTreeMap<i64, KlineData> {
        self.worker.handle(CandleJob::Batch(std::mem::take(&mut self.items)));
        let (out, got) = mpsc::channel();
        self.worker.handle(CandleJob::Checkpoint { feed: 0, reply: Box::new(move |d| out.send(d).unwrap()) });
        let index = self.registry.index(self.feed.venue.id().as_str(), symbol).unwrap();
        let of_symbol =
            |(s, i, bar): (u32, Interval, KlineData)| (s == index && i == interval).then_some((bar.open_time_us, bar));
        got.recv().unwrap().bars.into_iter().filter_map(of_symbol).collect()
    }
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    if name.ends_with(".zst") {
        zstd::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
        return text;
    }
    String::from_utf8(bytes).unwrap()
}

/// Nine fields as the exchange prints them: o h l c, volume, quote volume, count, taker buy volumes.
fn printed(bar: &KlineData) -> String {
    let (p, a) = (u32::from(bar.price_scale), u32::from(bar.amount_scale));
    let price = |v: i64| decimal(v.into(), p, 0);
    [
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        decimal(bar.volume, a, 0),
        decimal(bar.quote_volume, p + a, 0),
        bar.trade_count.to_string(),
        decimal(bar.taker_buy_volume, a, 0),
        decimal(bar.taker_buy_quote_volume, p + a, 0),
    ]
    .join(",")
}

/// The same of an official row, trailing zeros dropped.
fn official(csv: &str) -> BTreeMap<i64, String> {
    let plain = |text: &str| match text.split_once('.') {
        Some((whole, part)) if !part.trim_end_matches('0').is_empty() => {
            format!("{whole}.{}", part.trim_end_matches('0'))
        }
        Some((whole, _)) => whole.to_owned(),
        None => text.to_owned(),
    };
    csv.lines()
        .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| {
            let f: Vec<&str> = line.split(',').collect();
            let nine = [f[1], f[2], f[3], f[4], f[5], f[7], f[8], f[9], f[10]];
            (f[0].parse::<i64>().unwrap() * 1000, nine.map(plain).join(","))
        })
        .collect()
}

/// Compares all bars but the first and the last, which the recording cuts; returns how many.
fn compare(bars: &BTreeMap<i64, KlineData>, official: &BTreeMap<i64, String>) -> usize {
    let inner: Vec<_> = bars.iter().skip(1).take(bars.len().saturating_sub(2)).collect();
    for (open, bar) in &inner {
        assert_eq!(Some(&printed(bar)), official.get(*open), "bar {open}");
        assert_eq!(bar.flags & GAP, 0);
    }
    inner.len()
}

fn play_lines(chain: &mut Chain, text: &str) {
    for line in text.lines() {
        let Some((ts, frame)) = line.split_once(' ') else { continue };
        if frame.starts_with(r#"{"stream""#) {
            chain.frame(ts.parse().unwrap(), frame);
        }
    }
}

#[test]
fn recorded_usdm_trades_give_the_official_minutes_digit_for_digit() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::Trades);
    play_lines(&mut chain, &data("binance-usdm/hft-btcusdt_20240808.zst"));
    let bars = chain.bars("BTCUSDT", Interval::M1);
    let official = official(&data("crosscheck/usdm-BTCUSDT-1m-2024-08-08T2340_2024-08-09T0005.official.csv"));
    assert_eq!(compare(&bars, &official), 5);
    assert_eq!(chain.feed.skipped().repeated, 0);
}

#[test]
fn recorded_spot_trades_over_two_files_give_the_official_five_minutes() {
    let mut chain = Chain::new(VenueId::BinanceSpot, Channel::Trades);
    for day in ["08", "09"] {
        play_lines(&mut chain, &data(&format!("binance-spot/hft-btcusdt_202408{day}.zst")));
    }
    let bars = chain.bars("BTCUSDT", Interval::M5);
    let official = official(&data("crosscheck/spot-BTCUSDT-5m-2024-08-08T2345_2024-08-09T0015.official.csv"));
    assert_eq!(compare(&bars, &official), 2);
}

#[test]
fn off_book_and_zero_trades_stay_out_of_the_candles() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::Trades);
    let csv = data("binance-usdm/lasota-trade_stream_usd_m_futures_trxusdt_04-03-2025.csv.zst");
    for line in csv.lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        let kind = if f[10].is_empty() { "NA" } else { f[10] };
        let frame = format!(
            r#"{{"stream":"trxusdt@trade","data":{{"e":"trade","E":{},"T":{},"s":"TRXUSDT","t":{},"p":"{}","q":"{}","X":"{kind}","m":{}}}}}"#,
            f[3],
            f[4],
            f[6],
            f[7],
            f[8],
            f[9] == "1"
        );
        chain.frame(f[0].parse::<u64>().unwrap() * 1_000_000, &frame);
    }
    let bars = chain.bars("TRXUSDT", Interval::M1);
    let official = official(&data("crosscheck/usdm-TRXUSDT-1m-2025-03-03T2355_2025-03-04T0017.official.csv"));
    assert_eq!(compare(&bars, &official), 15);
    assert_eq!(chain.feed.skipped().off_book, 1);
}

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn agg(id: i64, ts_ms: u64, price: &str) -> String {
    format!(
        r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{ts_ms},"a":{id},"s":"BTCUSDT","p":"{price}","q":"1","f":{id},"l":{id},"T":{ts_ms},"m":false}}}}"#
    )
}

#[test]
fn a_gap_marks_its_bars_until_the_repairers_rows_have_filled_it() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| 1_800_000_000 * SECOND + s * SECOND;
    let ms = |s: u64| 1_800_000_000_000 + s * 1000;
    // The first trade ever of this symbol: nothing is missing before it.
    chain.frame(at(0), &agg(1, ms(0), "100"));
    for id in 2..=10 {
        chain.frame(at(5), &agg(id, ms(5), "100"));
    }
    chain.frame(at(70), &agg(13, ms(70), "103"));
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert!(bars.len() == 2 && bars.values().all(|b| b.flags & GAP != 0), "{bars:?}");
    let meta = r#"{"channel":"agg_trades","symbol":"BTCUSDT","url":"u","status":200,"fill":{"from":11,"to":12}}"#;
    for (id, s) in [(11, 20), (12, 69)] {
        let body = format!(r#"[{{"a":{id},"p":"150","q":"1","f":{id},"l":{id},"T":{},"m":true}}]"#, ms(s));
        let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
        payload.extend_from_slice(meta.as_bytes());
        payload.extend_from_slice(body.as_bytes());
        chain.record(Kind::Rest, 9, at(80), &payload);
    }
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert!(bars.values().all(|b| b.flags & GAP == 0), "{bars:?}");
    let counts: Vec<u64> = bars.values().map(|b| b.trade_count).collect();
    assert_eq!(counts, [11, 2]);
    assert!(bars.values().next().unwrap().revision > 0, "a closed bar that changed says so");
}

#[test]
fn bars_in_which_recording_began_are_marked_and_the_next_ones_are_not() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| 1_800_000_000_000 + s * 1000;
    for (id, s) in [(10, 5), (11, 61), (14, 70)] {
        chain.frame(at(s), &agg(id, ms(s), "100"));
    }
    let meta = r#"{"channel":"agg_trades","symbol":"BTCUSDT","url":"u","status":200,"fill":{"from":12,"to":13}}"#;
    let row = |id: i64| format!(r#"{{"a":{id},"p":"1","q":"1","f":{id},"l":{id},"T":{},"m":true}}"#, ms(65));
    let body = format!("[{},{}]", row(12), row(13));
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(body.as_bytes());
    chain.record(Kind::Rest, 9, at(80), &payload);
    let flags = |bars: BTreeMap<i64, KlineData>| bars.values().map(|b| b.flags & GAP).collect::<Vec<_>>();
    assert_eq!(
        flags(chain.bars("BTCUSDT", Interval::M1)),
        [GAP, 0],
        "the second gap was filled, the first minute is incomplete"
    );
    chain.frame(at(90), &agg(15, ms(90), "1"));
    assert_eq!(flags(chain.bars("BTCUSDT", Interval::D1)), [GAP]);
}

#[test]
fn a_filled_gap_touches_only_bars_that_no_other_gap_does() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| (1_800_000_000 + s) * 1_000;
    // The first trade ever; then a gap each minute.
    for n in 0..100 {
        chain.frame(at(n * 60), &agg(2 * n as i64 + 1, ms(n * 60), "100"));
    }
    let before = chain.items.len();
    // Of minute 50 the missing one, and then a late one that fills nothing else.
    chain.frame(at(5_990), &agg(100, ms(49 * 60 + 30), "100"));
    let gaps: Vec<&Item> =
        chain.items[before..].iter().filter(|i| !matches!(i, Item::Tick(_) | Item::Clock { .. })).collect();
    // Its minutes have other gaps at their other ends, and so has every longer bar.
    assert!(gaps.is_empty(), "{gaps:?}");
    chain.frame(at(5_991), &agg(102, ms(50 * 60 + 30), "100"));
    let bars = chain.bars("BTCUSDT", Interval::M1);
    let whole: Vec<i64> = bars.values().filter(|b| b.flags & GAP == 0).map(|b| b.open_time_us / MINUTE_US).collect();
    assert_eq!(whole, [30_000_000 + 50], "the minute between the two is whole, those beside it are not");
}

#[test]
fn a_trade_that_two_connections_bring_counts_once() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let base = 1_800_000_000 * SECOND;
    for (conn, id) in [(1, 10), (2, 10), (2, 11), (1, 11), (1, 12)] {
        let frame = agg(id, 1_800_000_000_000, "100");
        chain.record(Kind::Data, conn, base, frame.as_bytes());
    }
    assert_eq!(chain.bars("BTCUSDT", Interval::D1).values().next().unwrap().trade_count, 3);
    assert_eq!(chain.feed.skipped().repeated, 2);
}

#[test]
fn bars_of_a_silent_market_close_by_the_clock_whichever_clock_is_wrong() {
    for skew_ms in [0_i64, 5 * 3_600_000, -5 * 3_600_000] {
        let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
        let venue_ms = |s: u64| (1_800_000_000_000 + s as i64 * 1000 + skew_ms) as u64;
        let at = |s: u64| (1_800_000_000 + s) * SECOND;
        chain.frame(at(5), &agg(10, venue_ms(5), "100"));
        chain.record(Kind::Clock, 0, at(59), &[0; 16]);
        assert_eq!(chain.bars("BTCUSDT", Interval::M1).len(), 1, "skew {skew_ms}");
        chain.record(Kind::Clock, 0, at(61), &[0; 16]);
        chain.record(Kind::Clock, 0, at(3 * 3600 + 1), &[0; 16]);
        let bars = chain.bars("BTCUSDT", Interval::M1);
        assert_eq!(bars.len(), 181, "skew {skew_ms}: closed ones, then the open one");
        assert_eq!(chain.feed.skipped().absurd, 0);
    }
}

#[test]
fn a_trade_of_next_year_moves_nothing() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let base = 1_800_000_000 * SECOND;
    chain.frame(base, &agg(10, 1_800_000_000_000, "100"));
    chain.frame(base + 1, &agg(11, 1_900_000_000_000, "900"));
    chain.frame(base + 2, &agg(12, 1_800_000_000_001, "101"));
    let bars = chain.bars("BTCUSDT", Interval::M1);
    assert_eq!(bars.len(), 1);
    assert_eq!(bars.values().next().unwrap().high, 101);
    assert_eq!(chain.feed.skipped().absurd, 1);
}

#[test]
fn trades_of_today_follow_a_recording_of_years_ago_over_a_bounded_number_of_bars() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| (1_800_000_000 + s) * 1_000;
    let years = 2 * 365 * 86_400_000;
    chain.frame(at(0), &agg(10, ms(0) - years, "100"));
    chain.frame(at(1), &agg(11, ms(90) - years, "101"));
    chain.frame(at(2), &agg(12, ms(2), "200"));
    chain.frame(at(63), &agg(13, ms(63), "201"));
    assert_eq!(chain.feed.skipped().absurd, 0);
    let items = chain.items.clone();
    let minutes = chain.bars("BTCUSDT", Interval::M1);
    let opens: Vec<i64> = minutes.keys().map(|us| us / MINUTE_US).collect();
    let (then, now) = ((ms(0) - years) as i64 / 60_000, ms(0) as i64 / 60_000);
    // Before the silence, after it, and none of the million minutes between.
    assert_eq!(opens, [then, then + 1, now, now + 1]);
    for interval in Interval::ALL {
        chain.items.clone_from(&items);
        chain.worker = CandleWorker::new(Shown {
            latest: Arc::new(LatestSlots::new()),
            whole: Arc::new(DoubleBufferedKlineStore::new()),
        });
        let bars = chain.bars("BTCUSDT", interval);
        assert!(bars.len() < 1_600, "{interval}: {}", bars.len());
        assert_eq!(bars.values().map(|b| b.trade_count).sum::<u64>(), 4, "{interval}");
    }
}

#[test]
fn our_clock_may_be_set_by_hours_and_no_trade_is_absurd() {
    for step in [-5_i64, 5] {
        let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
        let ms = |s: u64| 1_800_000_000_000 + s * 1000;
        let at = |s: u64, hours: i64| ((1_800_000_000 + s as i64 + hours * 3_600) as u64) * SECOND;
        for (id, s, hours) in [(10, 0, 0), (11, 1, 0), (12, 2, step), (13, 3, step), (14, 70, step), (15, 71, 0)] {
            chain.frame(at(s, hours), &agg(id, ms(s), "100"));
        }
        assert_eq!(chain.feed.skipped().absurd, 0, "set by {step} hours");
        let bars = chain.bars("BTCUSDT", Interval::H1);
        assert_eq!(bars.values().map(|b| b.trade_count).sum::<u64>(), 6);
    }
}

#[test]
fn an_interruption_without_ids_is_reported_again_after_a_restart() {
    let mut chain = Chain::new(VenueId::KucoinSpot, Channel::Trades);
    let base = 1_800_000_000 * SECOND;
    let frame = r#"{"type":"message","topic":"/market/match:A-B","subject":"trade.l3match","data":{"makerOrderId":"m","price":"1","sequence":"1","side":"buy","size":"1","symbol":"A-B","takerOrderId":"t","time":"1800000000000000000","tradeId":"a","type":"match"}}"#;
    chain.frame(base, frame);
    chain.items.clear();
    chain.feed.resume(&mut chain.items);
    assert!(chain.items.is_empty(), "{:?}", chain.items);
    chain.record(Kind::EpochStart, 0, base + 300 * SECOND, b"{}");
    let gap = |items: &[Item]| {
        items
            .iter()
            .find_map(|i| if let Item::Gap { from_us, to_us, .. } = i { Some((*from_us, *to_us)) } else { None })
    };
    let found = gap(&chain.items).unwrap();
    assert_eq!(found.1 - found.0, 300_000_000);
    let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
    let (v, registry) = (chain.feed.venue, chain.registry.clone());
    let feed = CandleFeed::new(v, Channel::Trades, 0, vec!["*".into()], registry, state).unwrap();
    let mut again = Vec::new();
    feed.resume(&mut again);
    assert_eq!(gap(&again), Some(found));
}

#[test]
fn a_trade_without_an_id_that_cannot_be_read_marks_the_bars_of_its_symbol_only() {
    let base = 1_800_000_000_u64;
    let frame = |symbol: &str, second: u64, price: &str| {
        format!(
            r#"{{"type":"message","topic":"/market/match:{symbol}","subject":"trade.l3match","data":{{"makerOrderId":"m","price":{price},"sequence":"1","side":"buy","size":"1","symbol":"{symbol}","takerOrderId":"t","time":"{}","tradeId":"{second}","type":"match"}}}}"#,
            (base + second) * SECOND
        )
    };
    let one = "\"1\"";
    let frames =
        [("A-B", 0, one), ("C-D", 0, one), ("A-B", 70, "null"), ("A-B", 80, one), ("C-D", 80, one), ("C-D", 150, one)];
    let marked = |symbol: &str| {
        let mut chain = Chain::new(VenueId::KucoinSpot, Channel::Trades);
        for (symbol, second, price) in frames {
            chain.frame((base + second) * SECOND, &frame(symbol, second, price));
        }
        let minute = |s: u64| Interval::M1.open_of((base + s) as i64 * 1_000_000);
        chain.bars(symbol, Interval::M1).get(&minute(70)).map(|b| b.flags & GAP != 0)
    };
    assert_eq!((marked("A-B"), marked("C-D")), (Some(true), Some(false)));
}

#[test]
fn a_feed_saved_at_any_record_goes_on_as_if_nothing_had_happened() {
    let text = data("binance-usdm/cryptofeed-BINANCE_FUTURES.ws.1.0.zst");
    let frames: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|l| {
            let (ts, frame) = l.split_once(": ")?;
            Some(((ts.parse::<f64>().ok()? * 1e9) as u64, frame))
        })
        .collect();
    let run = |restart: Option<usize>| {
        let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
        for (i, (ts, frame)) in frames.iter().enumerate() {
            if Some(i) == restart {
                let text = serde_json::to_string(&chain.feed.state()).unwrap();
                let state = serde_json::from_str(&text).unwrap();
                let (v, registry) = (chain.feed.venue, chain.registry.clone());
                chain.feed = CandleFeed::new(v, Channel::AggTrades, 0, vec!["*".into()], registry, state).unwrap();
            }
            // Leave some out, so that there are gaps to remember.
            if i % 17 != 0 {
                chain.frame(*ts, frame);
            }
        }
        format!("{:?}", chain.items)
    };
    let whole = run(None);
    assert!(whole.contains("Gap"), "the test must have gaps");
    for restart in (1..frames.len()).step_by(97) {
        assert_eq!(run(Some(restart)), whole, "restarted at {restart}");
    }
}

#[test]
fn a_symbol_that_no_listing_announced_belongs_to_the_feed_that_met_it() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    chain.frame(1_800_000_000 * SECOND, &agg(10, 1_800_000_000_000, "100"));
    chain.frame(1_800_000_001 * SECOND, &agg(11, 1_800_000_000_500, "100"));
    let owned = chain.items.iter().filter(|i| matches!(i, Item::Own { symbol_index: 0, feed: 0 })).count();
    let first_tick = chain.items.iter().position(|i| matches!(i, Item::Tick(_))).unwrap();
    let own = chain.items.iter().position(|i| matches!(i, Item::Own { .. })).unwrap();
    assert!(owned == 1 && own < first_tick, "{:?}", chain.items);
}

/// A part of a bar that ends with trade `last`: one trade of 50 for 2.
fn part(interval: Interval, ts_ms: u64, last: i64) -> (Interval, KlineData) {
    let open = interval.open_of(ts_ms as i64 * 1000);
    let mut bar = KlineData { open_time_us: open, ..KlineData::default() };
    (bar.open, bar.high, bar.low, bar.close) = (50, 50, 50, 50);
    (bar.volume, bar.quote_volume, bar.trade_count) = (2, 100, 1);
    (bar.first_trade_id, bar.last_trade_id) = (last, last);
    (interval, bar)
}

#[test]
fn the_beginning_of_first_bars_is_asked_for_once_the_venues_candles_are_settled_and_again_after_a_restart() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| 1_800_000_000_000 + s * 1000;
    chain.frame(at(5), &agg(10, ms(5), "100"));
    assert_eq!(chain.feed.take_seeds(), [], "the minute before is not settled");
    chain.frame(at(61), &agg(11, ms(61), "100"));
    let first = First { row_id: 10, trade_id: 10, ts_us: ms(5) as i64 * 1000 };
    assert_eq!(chain.feed.take_seeds(), [("BTCUSDT".to_owned(), first)]);
    assert_eq!(chain.feed.take_seeds(), [], "once");
    let state = serde_json::from_str(&serde_json::to_string(&chain.feed.state()).unwrap()).unwrap();
    let v = chain.feed.venue;
    chain.feed = CandleFeed::new(v, Channel::AggTrades, 0, vec!["*".into()], chain.registry.clone(), state).unwrap();
    assert_eq!(chain.feed.take_seeds(), [("BTCUSDT".to_owned(), first)], "nobody answered before the restart");
    let mut out = Vec::new();
    chain.feed.seeded("BTCUSDT", &first, &[], &mut out);
    assert_eq!(out.len(), Interval::COUNT);
    let state = chain.feed.state();
    chain.feed = CandleFeed::new(v, Channel::AggTrades, 0, vec!["*".into()], chain.registry.clone(), state).unwrap();
    assert_eq!(chain.feed.take_seeds(), [], "answered once, never requested again");
    chain.frame(at(99), &agg(12, ms(99), "100"));
    assert_eq!(chain.feed.take_seeds(), []);
}

#[test]
fn a_seed_begins_the_bars_it_fits_and_takes_their_mark_but_not_that_of_another_gap() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| 1_800_000_000_000 + s * 1000;
    for (id, s) in [(10, 5), (11, 61), (14, 130)] {
        chain.frame(at(s), &agg(id, ms(s), "100"));
    }
    let [(symbol, first)] = chain.feed.take_seeds().try_into().unwrap();
    // The minute began with the first recorded trade; a part of another trade fits no bar.
    let seeds = [part(Interval::H1, ms(5), 9), part(Interval::D1, ms(5), 9), part(Interval::W1, ms(5), 8)];
    let Chain { feed, items, .. } = &mut chain;
    feed.seeded(&symbol, &first, &seeds, items);
    let minutes: Vec<u16> = chain.bars("BTCUSDT", Interval::M1).values().map(|b| b.flags & (GAP | SEEDED)).collect();
    assert_eq!(minutes, [0, GAP, GAP], "12 and 13 are missing between the second and the third");
    chain.frame(at(131), &agg(15, ms(131), "100"));
    let mut of = |interval| chain.bars("BTCUSDT", interval).into_values().next();
    assert!(of(Interval::H1).is_none_or(|b| b.flags & GAP != 0));
    let repaired = r#"{"channel":"agg_trades","symbol":"BTCUSDT","url":"u","status":200,"fill":{"from":12,"to":13}}"#;
    let row = |id: i64| format!(r#"{{"a":{id},"p":"1","q":"1","f":{id},"l":{id},"T":{},"m":true}}"#, ms(65));
    let mut payload = u32::try_from(repaired.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(repaired.as_bytes());
    payload.extend_from_slice(format!("[{},{}]", row(12), row(13)).as_bytes());
    chain.record(Kind::Rest, 9, at(140), &payload);
    chain.worker.handle(CandleJob::Batch(std::mem::take(&mut chain.items)));
    let (out, got) = mpsc::channel();
    chain.worker.handle(CandleJob::Checkpoint { feed: 0, reply: Box::new(move |d| out.send(d).unwrap()) });
    let bars = got.recv().unwrap().bars;
    let last = |interval| bars.iter().rfind(|(_, i, _)| *i == interval).unwrap().2;
    let (hour, day, week) = (last(Interval::H1), last(Interval::D1), last(Interval::W1));
    assert_eq!((hour.flags & (GAP | SEEDED), hour.trade_count, hour.open), (SEEDED, 7, 50));
    assert_eq!((day.flags & (GAP | SEEDED), day.trade_count, day.volume), (SEEDED, 7, 8));
    assert_eq!((week.flags & SEEDED, week.trade_count), (0, 6), "8 does not end right before 10");
}

#[test]
fn a_row_right_before_the_first_one_that_comes_late_is_the_first_one() {
    let mut chain = Chain::new(VenueId::BinanceUsdm, Channel::AggTrades);
    let at = |s: u64| (1_800_000_000 + s) * SECOND;
    let ms = |s: u64| 1_800_000_000_000 + s * 1000;
    chain.record(Kind::Data, 1, at(5), agg(10, ms(5), "100").as_bytes());
    chain.frame(at(70), &agg(11, ms(70), "100"));
    let [(_, before)] = chain.feed.take_seeds().try_into().unwrap();
    chain.record(Kind::Data, 2, at(71), agg(9, ms(4), "90").as_bytes());
    let mut out = Vec::new();
    chain.feed.seeded("BTCUSDT", &before, &[part(Interval::D1, ms(5), 9)], &mut out);
    assert!(out.is_empty(), "9 would count twice");
    let [(_, now)] = chain.feed.take_seeds().try_into().unwrap();
    assert_eq!((now.row_id, now.trade_id, now.ts_us), (9, 9, ms(4) as i64 * 1000));
}

#[test]
fn a_symbol_that_is_recorded_no_more_gets_no_bars_and_those_at_both_ends_are_marked() {
    const MIN_MS: i64 = 60_000;
    let t0 = 1_795_167_000_000 - 1_795_167_000_000 % (1_440 * MIN_MS) + 600 * MIN_MS;
    let trade = |symbol: &str, id: i64, ts_ms: i64| {
        let lower = symbol.to_lowercase();
        format!(
            r#"{{"stream":"{lower}@trade","data":{{"e":"trade","E":{ts_ms},"s":"{symbol}","t":{id},"p":"2.0","q":"1.0","T":{ts_ms},"m":true,"M":true}}}}"#
        )
    };
    let ns = |ms: i64| u64::try_from(ms).unwrap() * 1_000_000;
    let say = |chain: &mut Chain, symbol: &str, id: i64, ts_ms: i64| chain.frame(ns(ts_ms), &trade(symbol, id, ts_ms));
    let mut saved = String::new();
    let mut play = || {
        let mut chain = Chain::new(VenueId::BinanceSpot, Channel::Trades);
        for minute in 0..5 {
            say(&mut chain, "AUSDT", minute, t0 + minute * MIN_MS);
            say(&mut chain, "BUSDT", minute, t0 + minute * MIN_MS + 1);
        }
        let event =
            br#"{"kind":"unsubscribed","detail":{"channels":{"trades":["AUSDT","NEVERUSDT"],"depth":["BUSDT"]}}}"#;
        chain.record(Kind::Event, 0, ns(t0 + 4 * MIN_MS + 30_000), event);
        saved = serde_json::to_string(&chain.feed.state()).unwrap();
        assert!(chain.feed.is_unrecorded("AUSDT") && !chain.feed.is_unrecorded("BUSDT"));
        for minute in [5, 9, 15, 40] {
            say(&mut chain, "BUSDT", minute, t0 + minute * MIN_MS);
        }
        say(&mut chain, "AUSDT", 700, t0 + 40 * MIN_MS + 5_000);
        say(&mut chain, "AUSDT", 701, t0 + 41 * MIN_MS + 5_000);
        say(&mut chain, "BUSDT", 41, t0 + 42 * MIN_MS + 1_000);
        chain
    };
    let minute_of = |us: i64| (us / 1_000 - t0) / MIN_MS;
    let bars = play().bars("AUSDT", Interval::M1);
    let (minutes, marked): (Vec<i64>, Vec<bool>) =
        bars.iter().map(|(us, bar)| (minute_of(*us), bar.flags & GAP != 0)).unzip();
    assert_eq!(minutes, [0, 1, 2, 3, 4, 40, 41, 42]);
    assert_eq!(marked, [false, false, false, false, true, true, false, false]);
    let hour = &play().bars("AUSDT", Interval::H1)[&(t0 * 1_000)];
    assert!(hour.flags & GAP != 0);
    assert_eq!(play().bars("BUSDT", Interval::M1).len(), 43, "every minute of the other one, flat ones too");
    let again: FeedState = serde_json::from_str(&saved).unwrap();
    assert!(again.unrecorded.contains_key("AUSDT"), "over a restart too");
}
