//! Tests of seeds: a made-up market whose trades and candles are all known, recorded from some trade on.
#![allow(clippy::unwrap_used)]

use super::*;
use fold::candles::generator::KlineGenerator;
use model::VenueId;
use venue::{RestRequest, venue};

/// 2024-08-05 00:00 UTC, a Monday.
const T0: i64 = 1_722_816_000_000_000;
const MIN: i64 = 60_000_000;

/// Trades of a market that was listed on Tuesday: one every few minutes until Thursday 05:17, then 2,300 in a minute.
fn market() -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    let mut ts = T0 + 30 * 60 * MIN;
    let busy = T0 + (3 * 1_440 + 5 * 60 + 17) * MIN;
    for n in 0..6_000_i64 {
        ticks.push(Tick {
            symbol_index: 0,
            ts_us: ts,
            price: Num { mantissa: (10_000 + (n * 7_919) % 997).into(), scale: 2 },
            amount: Num { mantissa: (1 + n % 13).into(), scale: 3 },
            first_id: 1_000 + n,
            last_id: 1_000 + n,
            agg_id: -1,
            count: 1,
            taker_buy: n % 3 == 0,
        });
        ts += if ts < busy { (1 + n % 5) * MIN + 1_000 } else { 20_000 };
    }
    ticks
}

struct Fake {
    trades: Vec<Tick>,
    requests: u32,
    /// Leaves this trade out.
    without: Option<i64>,
}

fn number(path: &str, name: &str) -> i64 {
    path.split(['?', '&']).find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap()
}

impl Fake {
    fn klines(&self, path: &str) -> String {
        let word = path.split_once("interval=").unwrap().1.split('&').next().unwrap();
        let interval = Interval::parse(word).unwrap();
        let (start, end) = (number(path, "startTime") * 1000, number(path, "endTime") * 1000);
        let text = |v: i128, scale: u32| model::kline::decimal(v, scale, 0);
        let mut rows = Vec::new();
        let mut open = start;
        while open <= end && (rows.len() as i64) < number(path, "limit") {
            let inside = self.trades.iter().filter(|t| interval.open_of(t.ts_us) == open);
            let before = self.trades.iter().rfind(|t| t.ts_us < open);
            let bar = inside
                .fold(KlineData { open_time_us: open, ..KlineData::default() }, |b, t| b.with(t, Unit::Base).unwrap());
            let bar = match (bar.trade_count, before) {
                (0, None) => {
                    open = interval.next(open);
                    continue;
                }
                (0, Some(t)) => KlineData::flat(open, t.price.mantissa as i64, 2, 3),
                _ => bar,
            };
            rows.push(format!(
                "[{},\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",0,\"{}\",{},\"{}\",\"{}\",\"0\"]",
                open / 1000,
                text(bar.open.into(), 2),
                text(bar.high.into(), 2),
                text(bar.low.into(), 2),
                text(bar.close.into(), 2),
                text(bar.volume, 3),
                text(bar.quote_volume, 5),
                bar.trade_count,
                text(bar.taker_buy_volume, 3),
                text(bar.taker_buy_quote_volume, 5)
            ));
            open = interval.next(open);
        }
        format!("[{}]", rows.join(","))
    }

    fn trades(&self, path: &str) -> String {
        let (from, limit) = (number(path, "fromId"), number(path, "limit"));
        let rows = self.trades.iter().filter(|t| (from..from + limit).contains(&t.first_id));
        let rows: Vec<String> = rows
            .filter(|t| self.without != Some(t.first_id))
            .map(|t| {
                format!(
                    "{{\"id\":{},\"price\":\"{}\",\"qty\":\"{}\",\"quoteQty\":\"1\",\"time\":{},\"isBuyerMaker\":{},\
                     \"isBestMatch\":true}}",
                    t.first_id,
                    t.price,
                    t.amount,
                    t.ts_us / 1000,
                    !t.taker_buy
                )
            })
            .collect();
        format!("[{}]", rows.join(","))
    }
}

impl VenueClient for Fake {
    async fn send(&mut self, request: &RestRequest) -> Result<Vec<u8>, RequestError> {
        self.requests += 1;
        let path = &request.path_and_query;
        let text = if path.contains("/klines") { self.klines(path) } else { self.trades(path) };
        Ok(text.into_bytes())
    }
}

fn seed(fake: &mut Fake, first: &Tick) -> Result<Vec<(Interval, KlineData)>, RequestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = First { row_id: first.first_id, trade_id: first.first_id, ts_us: first.ts_us };
    let venue = venue(VenueId::BinanceSpot);
    runtime.block_on(seeds(fake, venue, Channel::Trades, "BTCUSDT", &first, Unit::Base))
}

fn fold(ticks: &[Tick]) -> KlineGenerator {
    let mut g = KlineGenerator::new();
    ticks.iter().for_each(|t| {
        g.apply(t, &mut Vec::new()).unwrap();
    });
    g
}

#[test]
fn seeded_bars_are_those_of_a_recording_from_the_first_trade_ever() {
    let trades = market();
    // In the middle of the busy minute, at its first trade, on a quiet day, and at the first trade ever.
    let busy = trades.windows(2).position(|w| w[1].ts_us - w[0].ts_us == 20_000).unwrap() + 1;
    for first in [busy + 1_800, busy + 1_000, busy, 700, 1, 0] {
        let mut fake = Fake { trades: trades.clone(), requests: 0, without: None };
        let seeds = seed(&mut fake, &trades[first]).unwrap();
        // Some trades came during the requests, the others come later.
        let now = first + 150;
        let mut ours = fold(&trades[first..now]);
        for (interval, part) in seeds {
            ours.prepend(interval, part, &mut Vec::new());
        }
        for tick in &trades[now..now + 20] {
            ours.apply(tick, &mut Vec::new()).unwrap();
        }
        let all = fold(&trades[..now + 20]);
        for (interval, (got, want)) in Interval::ALL.into_iter().zip(ours.open_bars().iter().zip(all.open_bars())) {
            let got = KlineData { flags: got.flags & !SEEDED, ..*got };
            assert_eq!(got, *want, "{interval}, recorded from trade {first}");
        }
    }
}

#[test]
fn a_gap_in_the_trades_gives_no_seed_rather_than_a_wrong_one() {
    let trades = market();
    let busy = trades.windows(2).position(|w| w[1].ts_us - w[0].ts_us == 20_000).unwrap() + 1;
    let first = trades[busy + 1_500];
    let mut fake = Fake { trades: trades.clone(), requests: 0, without: Some(first.first_id - 1_200) };
    assert!(seed(&mut fake, &first).is_err());
    fake.without = None;
    fake.requests = 0;
    let seeds = seed(&mut fake, &first).unwrap();
    assert_eq!(seeds.len(), Interval::COUNT);
    assert!(fake.requests <= 3 + 3, "days, hours, minutes, and the pages of trades: {}", fake.requests);
}

#[test]
fn a_part_joins_a_bar_that_closed_meanwhile_and_no_bar_that_it_does_not_touch() {
    let trades = market();
    let first = 700;
    let mut fake = Fake { trades: trades.clone(), requests: 0, without: None };
    let seeds = seed(&mut fake, &trades[first]).unwrap();
    let day = |g: &KlineGenerator| g.open_bars()[Interval::D1.index()];
    let until = trades.iter().position(|t| t.ts_us >= Interval::D1.next(Interval::D1.open_of(trades[first].ts_us)));
    let mut ours = fold(&trades[first..=until.unwrap()]);
    let next_day = day(&ours);
    let part = seeds.iter().find(|(i, _)| *i == Interval::D1).unwrap().1;
    let mut events = Vec::new();
    assert!(!ours.prepend(Interval::D1, part, &mut events), "the open day is another one");
    assert_eq!(day(&ours), next_day);
    let [fold::candles::BarEvent { what: fold::candles::What::Revised(bar), .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    let whole = fold(&trades[..until.unwrap()]);
    assert_eq!((bar.volume, bar.open, bar.revision), (day(&whole).volume, day(&whole).open, 1));
    // Given again, or with a gap between: nothing changes.
    events.clear();
    ours.prepend(Interval::D1, part, &mut events);
    let week = seeds.iter().find(|(i, _)| *i == Interval::W1).unwrap().1;
    let before = *ours.open_bars();
    assert!(!ours.prepend(Interval::W1, KlineData { last_trade_id: week.last_trade_id - 1, ..week }, &mut events));
    assert_eq!((events.len(), *ours.open_bars()), (0, before));
}
