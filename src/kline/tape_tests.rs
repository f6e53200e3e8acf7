//! The candles of generated tapes against a flat recomputation that knows the whole market: trades that are early, late,
//! doubled, missing and fetched again, candles of the venue stored in between, restarts and kills between any two records.
//!
//! Checked: every bar from the first trade to the venue's time is stored, and none else; one that has no mark is the
//! market's, digit for digit; one that has holds what was delivered; and a bar is marked when and only when a gap touches
//! it and nobody stored the venue's own in its place.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wal_format::{Kind, Position, RecordRef, Seq};

use super::consumer::restore;
use super::db::{self, CandleDb, Checkpoint, HistoryQuery, NamedBar, Source, StoredBar};
use super::store::{DoubleBufferedKlineStore, LatestSlots};
use super::{CandleFeed, CandleJob, CandleWorker, FeedState, Item, Shown, SymbolPeriodRegistry};
use model::Interval;
use model::kline::{FINAL, FLAT, GAP, KlineData, NO_ID, SPARSE};
use model::{Channel, VenueId};
use venue::venue;

const MS: i64 = 1_000;
const SECOND: i64 = 1_000 * MS;
const MINUTE: i64 = 60 * SECOND;
/// 2027-01-15 08:00 UTC.
const T0: i64 = 1_800_000_000 * SECOND;
/// Fixed decimals: prices have one, amounts three.
const SCALES: (u8, u8) = (1, 3);

/// One record of a log, and which one of the two it is in.
#[derive(Clone, Debug)]
struct Record {
    recv_us: i64,
    kind: Kind,
    conn: u32,
    payload: Vec<u8>,
    repair: bool,
}

/// A trade of the market.
#[derive(Clone, Copy, Debug)]
struct Deal {
    ts_us: i64,
    price: i64,
    amount: i64,
    buy: bool,
    /// It reaches the candles, sooner or later.
    comes: bool,
}

/// Nine fields.
type Plain = (i64, i64, i64, i64, i128, i128, u64, i128, i128);

fn plain(bar: &KlineData) -> Plain {
    let bar = bar.rescaled(bar.price_scale.max(SCALES.0), bar.amount_scale.max(6)).unwrap();
    let (b, by) = (bar, 10_i64.pow(u32::from(bar.price_scale - SCALES.0)));
    let down = |v: i128, to: u32| v / 10_i128.pow(u32::from(bar.amount_scale) + u32::from(bar.price_scale) - to);
    let amount = |v: i128| v / 10_i128.pow(u32::from(bar.amount_scale) - 6);
    (
        b.open / by,
        b.high / by,
        b.low / by,
        b.close / by,
        amount(b.volume),
        down(b.quote_volume, 7),
        b.trade_count,
        amount(b.taker_buy_volume),
        down(b.taker_buy_quote_volume, 7),
    )
}

/// The bars of trades in the order of their ids, flat ones between them, up to `now_us`. `size`: thousandths of the base
/// that an amount of one is worth.
fn recompute(deals: &[Deal], interval: Interval, now_us: i64, size: i128) -> BTreeMap<i64, Plain> {
    let mut bars: BTreeMap<i64, Plain> = BTreeMap::new();
    for d in deals {
        // At six and seven decimals.
        let amount = i128::from(d.amount) * 1_000;
        let quote = i128::from(d.price) * i128::from(d.amount) * size;
        let (p, bought) = (d.price, i128::from(d.buy));
        let bar = bars.entry(interval.open_of(d.ts_us)).or_insert((p, p, p, p, 0, 0, 0, 0, 0));
        (bar.1, bar.2, bar.3) = (bar.1.max(p), bar.2.min(p), p);
        (bar.4, bar.5, bar.6) = (bar.4 + amount, bar.5 + quote, bar.6 + 1);
        (bar.7, bar.8) = (bar.7 + bought * amount, bar.8 + bought * quote);
    }
    let Some((first, _)) = bars.first_key_value() else { return bars };
    let (mut open, mut close) = (*first, 0);
    while open <= now_us {
        close = bars.entry(open).or_insert((close, close, close, close, 0, 0, 0, 0, 0)).3;
        open = interval.next(open);
    }
    bars
}

/// What happens between two records.
#[derive(Clone, Copy, Debug)]
enum Op {
    Checkpoint,
    /// The process restarts: with its last checkpoint, or with the one before.
    Restart {
        stored: bool,
    },
    /// The venue's candles of a time are stored, as far as they are settled by a clock that may be ahead of the log.
    Backfill {
        from: u16,
        minutes: u16,
        ahead: u16,
        gaps: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Checkpoint),
        any::<bool>().prop_map(|stored| Op::Restart { stored }),
        (0_u16..1_000, 1_u16..400, 0_u16..300, any::<bool>()).prop_map(|(from, minutes, ahead, gaps)| Op::Backfill {
            from,
            minutes,
            ahead,
            gaps
        }),
    ]
}

/// The market, and what is known of it at the end.
struct World {
    venue: VenueId,
    tape: Vec<Record>,
    /// By symbol, in the order of ids.
    deals: BTreeMap<&'static str, Vec<Deal>>,
    /// Times that lack trades, us: of the trades before and after.
    gaps: BTreeMap<&'static str, Vec<(i64, i64)>>,
    /// No ids show what the last price before a gap's end was: flat bars up to the next trade are marked.
    nameless: bool,
    size: i128,
}

impl World {
    fn end_us(&self) -> i64 {
        self.tape.last().unwrap().recv_us
    }

    fn market(&self, symbol: &str, interval: Interval, until_us: i64) -> BTreeMap<i64, Plain> {
        recompute(&self.deals[symbol], interval, until_us, self.size)
    }
}

/// The candles of one venue, without threads.
struct Machine<'a> {
    world: &'a World,
    _dir: tempfile::TempDir,
    db: Box<dyn CandleDb>,
    registry: Arc<SymbolPeriodRegistry>,
    feed: CandleFeed,
    worker: CandleWorker,
    items: Vec<Item>,
    registered: usize,
    serial: i64,
    at: usize,
    stored_at: usize,
}

fn worker() -> CandleWorker {
    let (latest, whole) = (Arc::new(LatestSlots::new()), Arc::new(DoubleBufferedKlineStore::new()));
    CandleWorker::new(Shown { latest, whole })
}

impl<'a> Machine<'a> {
    fn new(world: &'a World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = db::open("sqlite:k.db", dir.path()).unwrap();
        let registry = Arc::new(SymbolPeriodRegistry::new());
        let feed = Self::feed(world, &registry, FeedState::default());
        let (items, at, stored_at) = (Vec::new(), 0, 0);
        let _dir = dir;
        Self { world, _dir, db, registry, feed, worker: worker(), items, registered: 0, serial: 0, at, stored_at }
    }

    fn feed(world: &World, registry: &Arc<SymbolPeriodRegistry>, state: FeedState) -> CandleFeed {
        CandleFeed::new(venue(world.venue), Channel::Trades, 0, vec!["*".into()], Arc::clone(registry), state).unwrap()
    }

    fn restart(&mut self) {
        let Some(saved) = self.db.load_feed(self.world.venue.as_str()).unwrap() else {
            let (world, at) = (self.world, 0);
            *self = Self { at, ..Self::new(world) };
            return;
        };
        let stored = self.db.load_registry().unwrap();
        self.registered = stored.len();
        self.registry = Arc::new(SymbolPeriodRegistry::load(stored));
        self.feed = Self::feed(self.world, &self.registry, serde_json::from_str(&saved.state).unwrap());
        (self.serial, self.at, self.worker) = (saved.serial, self.stored_at, worker());
        self.items = vec![Item::Reset { feed: 0 }];
        for (symbol_index, entry) in (0_u32..).zip(self.registry.all()) {
            self.items.push(Item::Own { symbol_index, feed: 0 });
            self.items.push(Item::Unit { symbol_index, unit: self.feed.unit(&entry.symbol) });
            let place = (0, symbol_index, &entry);
            let lacking = restore(self.db.as_mut(), &self.feed, place, &mut self.items).unwrap();
            assert!(!lacking, "the bar of the last trade of {} is stored with it", entry.symbol);
        }
        self.feed.resume(&mut self.items);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.worker.handle(CandleJob::Batch(std::mem::take(&mut self.items)));
        self.worker.report_changes(|_, _| ());
    }

    fn play(&mut self, to: usize) {
        while self.at < to {
            let record = &self.world.tape[self.at];
            let position = Position { seq: Seq(self.at as u64), ..Position::START };
            let read = RecordRef {
                position,
                next: position,
                seq: position.seq,
                ts_recv_ns: (record.recv_us * 1_000).unsigned_abs(),
                conn: record.conn,
                kind_raw: record.kind as u8,
                flags: 0,
                payload: &record.payload,
            };
            match record.repair {
                true => self.feed.repair(&read, &mut self.items),
                false => self.feed.record(&read, &mut self.items),
            }
            self.at += 1;
            if self.items.len() > 50 {
                self.hand_over();
            }
        }
        self.hand_over();
    }

    fn checkpoint(&mut self) {
        let (out, got) = mpsc::channel();
        self.worker.handle(CandleJob::Checkpoint { feed: 0, reply: Box::new(move |d| out.send(d).unwrap()) });
        let dirty = got.recv().unwrap();
        let registry: Vec<_> = (0_u32..).zip(self.registry.all()).skip(self.registered).collect();
        self.registered += registry.len();
        let checkpoint = Checkpoint {
            feed: self.world.venue.to_string(),
            since: Some(self.serial),
            logs: Vec::new(),
            state: serde_json::to_string(&self.feed.state()).unwrap(),
            registry,
            bars: dirty.bars,
            old: dirty.old,
            marks: dirty.marks,
        };
        self.serial = self.db.commit(&checkpoint).unwrap().serial;
        self.stored_at = self.at;
    }

    /// As `klines backfill` does it, of all symbols and intervals.
    fn backfill(&mut self, from_us: i64, to_us: i64, gaps: bool) {
        for symbol in self.world.deals.keys() {
            for interval in Interval::ALL {
                let settled = |open: i64| interval.next(open) <= to_us;
                let bars: Vec<NamedBar> = self
                    .world
                    .market(symbol, interval, to_us)
                    .into_iter()
                    .filter(|(open, _)| *open >= from_us && settled(*open))
                    .map(|(open_time_us, p)| NamedBar {
                        venue: self.world.venue.to_string(),
                        symbol: (*symbol).to_owned(),
                        interval,
                        bar: official(open_time_us, p),
                    })
                    .collect();
                self.db.put_history(&bars, Source::Official, gaps).unwrap();
            }
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Checkpoint => self.checkpoint(),
            Op::Restart { stored } => {
                if stored {
                    self.checkpoint();
                }
                self.restart();
            }
            Op::Backfill { from, minutes, ahead, gaps } => {
                let now_us = self.world.tape[self.at.min(self.world.tape.len() - 1)].recv_us;
                let from_us = T0 + (now_us - T0) / 1_000 * i64::from(from);
                let clock_us = (now_us + i64::from(ahead) * MINUTE).min(self.world.end_us());
                self.backfill(from_us, (from_us + i64::from(minutes) * MINUTE).min(clock_us - MINUTE), gaps);
            }
        }
    }

    fn stored(&mut self, symbol: &str, interval: Interval) -> BTreeMap<i64, StoredBar> {
        let query = HistoryQuery::of(self.world.venue.as_str(), symbol, interval, 100_000);
        self.db.stored(&query).unwrap().into_iter().map(|b| (b.bar.open_time_us, b)).collect()
    }

    /// See the file.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let world = self.world;
        for (symbol, deals) in &world.deals {
            let delivered: Vec<Deal> = deals.iter().filter(|d| d.comes).copied().collect();
            for interval in Interval::ALL {
                // Half a minute after the last whole one: no margin matters.
                let market = world.market(symbol, interval, world.end_us());
                let ours = recompute(&delivered, interval, world.end_us(), world.size);
                let stored = self.stored(symbol, interval);
                let name = format!("{symbol} {interval}");
                prop_assert_eq!(
                    stored.keys().collect::<BTreeSet<_>>(),
                    market.keys().collect::<BTreeSet<_>>(),
                    "{}",
                    &name
                );
                for (open, StoredBar { bar, source }) in &stored {
                    let at = format!("{name} {} min {source:?} {bar:?}", (open - T0) / MINUTE);
                    let touches = |h: &(i64, i64)| interval.open_of(h.0) <= *open && *open <= interval.open_of(h.1);
                    let silent = |h: &(i64, i64)| {
                        let next =
                            delivered.iter().find(|d| d.ts_us > h.1).map_or(i64::MAX, |d| interval.open_of(d.ts_us));
                        world.nameless && h.0 < h.1 && *open > h.1 && *open < next
                    };
                    let lacks = *source == Source::Live && world.gaps[symbol].iter().any(|h| touches(h) || silent(h));
                    prop_assert_eq!(bar.flags & GAP != 0, lacks, "{}: {:?}", &at, &world.gaps[symbol]);
                    if !lacks {
                        prop_assert_eq!(plain(bar), market[open], "{}", &at);
                    } else if ours[open].6 > 0 {
                        prop_assert_eq!(plain(bar), ours[open], "{}", &at);
                    }
                    prop_assert_eq!(bar.flags & FLAT != 0, bar.trade_count == 0, "{}", &at);
                    prop_assert_eq!(bar.is_final(), interval.next(*open) <= world.end_us(), "{}", &at);
                    prop_assert_eq!(bar.flags & SPARSE, 0, "{}", &at);
                }
            }
        }
        Ok(())
    }

    fn whole(world: &'a World, ops: &[(u16, Op)]) -> Result<(), TestCaseError> {
        let mut machine = Self::new(world);
        let mut ops: Vec<_> = ops.to_vec();
        ops.sort_by_key(|(at, _)| *at);
        for (at, op) in ops {
            machine.play(world.tape.len() * usize::from(at) / 1_000);
            machine.run(op);
        }
        machine.finish()
    }

    /// All stored bars after the whole tape.
    fn in_the_end(world: &'a World, ops: &[(u16, Op)]) -> Vec<BTreeMap<i64, StoredBar>> {
        let mut machine = Self::new(world);
        let mut ops: Vec<_> = ops.iter().filter(|(_, op)| !matches!(op, Op::Backfill { .. })).copied().collect();
        ops.sort_by_key(|(at, _)| *at);
        for (at, op) in ops {
            machine.play(world.tape.len() * usize::from(at) / 1_000);
            machine.run(op);
        }
        machine.play(world.tape.len());
        machine.checkpoint();
        let series = world.deals.keys().flat_map(|symbol| Interval::ALL.map(|interval| (symbol, interval)));
        series.map(|(symbol, interval)| machine.stored(symbol, interval)).collect()
    }

    /// Up to what was received so long after the tape's begin.
    fn play_until(&mut self, us: i64) {
        self.play(self.world.tape.partition_point(|record| record.recv_us <= T0 + us));
    }

    fn finish(&mut self) -> Result<(), TestCaseError> {
        self.play(self.world.tape.len());
        self.checkpoint();
        self.check()?;
        self.restart();
        self.checkpoint();
        self.check()
    }
}

fn official(open_time_us: i64, p: Plain) -> KlineData {
    KlineData {
        open_time_us,
        open: p.0,
        high: p.1,
        low: p.2,
        close: p.3,
        volume: p.4,
        quote_volume: p.5,
        trade_count: p.6,
        taker_buy_volume: p.7,
        taker_buy_quote_volume: p.8,
        first_trade_id: NO_ID,
        last_trade_id: NO_ID,
        revision: 0,
        flags: FINAL | if p.6 == 0 { FLAT } else { 0 },
        price_scale: SCALES.0,
        amount_scale: 6,
    }
}

/// How a trade reaches the log.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Prompt,
    /// Over two connections, the second of which is so many seconds behind.
    Twice(i64),
    /// So many minutes late.
    Late(i64),
    Lost,
    /// Fetched so many minutes later.
    Fetched(i64),
    /// Fetched so many minutes later, and once more by a repair that began again.
    Refetched(i64),
    /// Fetched so many minutes later, and then it comes after all.
    FetchedAndLate(i64),
    /// Its time is so many minutes ahead.
    Early(i64),
    /// Not at the market: in no candle.
    OffBook,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Prompt),
        2 => prop_oneof![Just(0_i64), 25_i64..100].prop_map(Fate::Twice),
        2 => (0_i64..20).prop_map(Fate::Late),
        1 => (100_i64..300).prop_map(Fate::Late),
        2 => Just(Fate::Lost),
        2 => (0_i64..30).prop_map(Fate::Fetched),
        1 => (60_i64..300).prop_map(Fate::Fetched),
        1 => (0_i64..30).prop_map(Fate::Refetched),
        1 => (0_i64..30).prop_map(Fate::FetchedAndLate),
        2 => (1_i64..55).prop_map(Fate::Early),
        1 => Just(Fate::OffBook),
    ]
}

/// Milliseconds since the trade before, price, amount, bought, fate.
type Step = (i64, i64, i64, bool, Fate);

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![6 => 0_i64..90_000, 1 => 0_i64..1_800_000];
    (pause, 1_i64..999, 1_i64..99, any::<bool>(), fate())
}

/// Many times one fate or several in a row of the same: a line that stalls and a repair that begins again bring many.
fn tape(stretches: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![4 => Just(1), 1 => 2..9_usize];
    prop::collection::vec((step(), len), stretches)
        .prop_map(|stretches| stretches.into_iter().flat_map(|(step, len)| std::iter::repeat_n(step, len)).collect())
}

/// A tape of USD-M trades of two symbols.
fn numbered(symbols: [(&'static str, &[Step], bool); 2]) -> World {
    let mut world = World {
        venue: VenueId::BinanceUsdm,
        tape: Vec::new(),
        deals: BTreeMap::new(),
        gaps: BTreeMap::new(),
        nameless: false,
        size: 1_000,
    };
    let say = |recv_us: i64, conn: u32, payload: String| Record {
        recv_us,
        kind: Kind::Data,
        conn,
        payload: payload.into_bytes(),
        repair: false,
    };
    for (n, (symbol, steps, begun)) in (0_i64..).zip(symbols) {
        let mut ts_us = T0 + n * 7 * SECOND;
        // Only the first trade ever of a symbol has nothing before it.
        let first_id = if begun { 5_000 } else { 1 };
        let (mut deals, mut missing) = (Vec::new(), BTreeSet::new());
        let fate_of = |k: usize| {
            let early = |k: usize| matches!(steps.get(k), Some((.., Fate::Early(_))));
            let missing = |k: usize| !matches!(steps[k].4, Fate::Prompt | Fate::Twice(_) | Fate::Early(_));
            let beside = (k.saturating_sub(2)..=k + 2).any(|j| j != k && j >= 2 && j + 2 < steps.len() && early(j));
            match steps[k].4 {
                // The ends are there, and so is what is next to a trade of another time.
                _ if k < 2 || k + 2 >= steps.len() || beside => Fate::Prompt,
                // A gap that ends with no trade leaves the price after it unknown, also once it is filled.
                Fate::OffBook if missing(k - 1) || missing(k + 1) => Fate::Prompt,
                fate => fate,
            }
        };
        for (k, (pause_ms, price, amount, buy, _)) in steps.iter().enumerate() {
            ts_us += pause_ms * MS;
            let id = first_id + k as i64;
            let fate = fate_of(k);
            let stamp_us = match fate {
                Fate::Early(minutes) => ts_us + minutes * MINUTE,
                _ => ts_us,
            };
            let recv_us = ts_us + (30 + id * 7 % 40) * MS;
            let lower = symbol.to_lowercase();
            let (ms, a) = (stamp_us / MS, format!("0.{amount:03}"));
            let p = format!("{}.{}", price / 10, price % 10);
            let kind = if matches!(fate, Fate::OffBook) { "INSURANCE_FUND" } else { "MARKET" };
            let frame = format!(
                r#"{{"stream":"{lower}@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"{symbol}","t":{id},"p":"{p}","q":"{a}","X":"{kind}","m":{}}}}}"#,
                !buy
            );
            match fate {
                Fate::Prompt | Fate::Early(_) | Fate::OffBook => world.tape.push(say(recv_us, 1, frame)),
                Fate::Twice(seconds) => {
                    world.tape.push(say(recv_us, 1, frame.clone()));
                    world.tape.push(say(recv_us + seconds * SECOND + 3 * MS, 2, frame));
                }
                Fate::Late(minutes) => world.tape.push(say(recv_us + minutes * MINUTE + 9 * SECOND, 1, frame)),
                Fate::Lost => {}
                Fate::Fetched(minutes) | Fate::Refetched(minutes) | Fate::FetchedAndLate(minutes) => {
                    let meta = format!(
                        r#"{{"channel":"trades","symbol":"{symbol}","url":"u","status":200,"fill":{{"from":{id},"to":{id}}}}}"#
                    );
                    let body = format!(
                        r#"[{{"id":{id},"price":"{p}","qty":"{a}","quoteQty":"0","time":{ms},"isBuyerMaker":{}}}]"#,
                        !buy
                    );
                    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
                    payload.extend_from_slice(meta.as_bytes());
                    payload.extend_from_slice(body.as_bytes());
                    let recv_us = recv_us + minutes * MINUTE + 11 * SECOND;
                    let fetched = Record { recv_us, kind: Kind::Rest, conn: 9, payload, repair: true };
                    match fate {
                        Fate::Refetched(_) => {
                            world.tape.push(Record { recv_us: recv_us + 200 * MINUTE, ..fetched.clone() });
                        }
                        Fate::FetchedAndLate(_) => world.tape.push(say(recv_us + 200 * MINUTE, 1, frame)),
                        _ => {}
                    }
                    world.tape.push(fetched);
                }
            }
            let comes = !matches!(fate, Fate::Lost);
            if !comes {
                missing.insert(id);
            }
            if !matches!(fate, Fate::OffBook) {
                let (ts_us, price, amount, buy) = (stamp_us, *price, *amount, *buy);
                deals.push(Deal { ts_us, price, amount, buy, comes });
            }
        }
        // By the ids on both sides, and the time of the trade there; one of another time is never beside a gap.
        let mut gaps = Vec::new();
        let mut time_of = BTreeMap::new();
        let mut ts = T0 + n * 7 * SECOND;
        for (k, (pause_ms, ..)) in steps.iter().enumerate() {
            ts += pause_ms * MS;
            time_of.insert(first_id + k as i64, ts);
        }
        for id in &missing {
            let before = (first_id..*id).rev().find(|i| !missing.contains(i)).unwrap();
            let behind = (*id..).find(|i| !missing.contains(i)).unwrap();
            gaps.push((time_of[&before], time_of[&behind]));
        }
        if begun {
            gaps.push((deals[0].ts_us, deals[0].ts_us));
        }
        world.deals.insert(symbol, deals);
        world.gaps.insert(symbol, gaps);
    }
    finish(&mut world);
    world
}

/// Puts the tape in order, with our clock on it, and an end at which every time has come.
fn finish(world: &mut World) {
    let last = world.tape.iter().map(|r| r.recv_us).max().unwrap();
    let end_us = (last + 70 * MINUTE) / MINUTE * MINUTE + 30 * SECOND;
    let mut at = T0;
    while at <= end_us {
        let (kind, conn, payload) = (Kind::Clock, 0, vec![0; 16]);
        world.tape.push(Record { recv_us: at, kind, conn, payload, repair: false });
        at += 15 * SECOND;
    }
    world.tape.sort_by_key(|r| r.recv_us);
}

fn ops() -> impl Strategy<Value = Vec<(u16, Op)>> {
    prop::collection::vec((0_u16..1_000, op()), 0..12)
}

/// The suite plays the same tapes each time. `PROPTEST_CASES=5000` plays so many others, or with `PROPTEST_RNG_SEED` those
/// of a run before; one that fails is printed and kept in `proptest-regressions/`.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases, rng_seed: RngSeed::Fixed(20_261_130), ..default },
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn candles_of_any_tape_are_those_of_a_flat_recomputation_and_their_marks_are_exact(
        a in tape(8..50),
        b in tape(8..30),
        begun in any::<bool>(),
        ops in ops(),
    ) {
        let world = numbered([("AUSDT", &a, false), ("BUSDT", &b, begun)]);
        Machine::whole(&world, &ops)?;
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn bars_and_their_revisions_are_the_same_wherever_checkpoints_fall_and_whenever_it_is_killed(
        a in tape(8..50),
        b in tape(8..30),
        begun in any::<bool>(),
        ops in ops(),
    ) {
        let world = numbered([("AUSDT", &a, false), ("BUSDT", &b, begun)]);
        prop_assert_eq!(Machine::in_the_end(&world, &ops), Machine::in_the_end(&world, &[]));
    }
}

/// So many trades every 20 s from the second one of the tape on, and some of them of another fate.
fn steps(n: usize, fates: &[(usize, Fate)]) -> Vec<Step> {
    let fate = |k: usize| fates.iter().find(|(at, _)| *at == k).map_or(Fate::Prompt, |(_, fate)| *fate);
    (0..n).map(|k| (if k == 0 { 2_000 } else { 20_000 }, 100 + k as i64, 1 + k as i64, k % 2 == 0, fate(k))).collect()
}

#[test]
fn trades_fetched_hours_later_revise_their_bars_as_often_with_one_checkpoint_as_with_two_and_a_kill() {
    // Minutes 2 and 3 had no trade until those of them came, one after the other.
    let fates: Vec<_> = (6..12).map(|k| (k, Fate::Fetched(200))).collect();
    let world = numbered([("AUSDT", &steps(40, &fates), false), ("BUSDT", &steps(40, &[]), true)]);
    let at = |from: usize| world.tape.iter().skip(from).position(|record| record.repair).unwrap() + from;
    let (first, mut all) = (at(0), Vec::new());
    for kill in [false, true] {
        for stop in first..first + 30 {
            let mut machine = Machine::new(&world);
            machine.play(stop);
            machine.checkpoint();
            if kill {
                machine.play(stop + 3);
                machine.restart();
            }
            machine.play(world.tape.len());
            machine.checkpoint();
            all.push((kill, stop - first, machine.stored("AUSDT", Interval::M1)));
        }
    }
    let whole = &Machine::in_the_end(&world, &[])[0];
    assert!(whole.values().any(|stored| stored.bar.revision > 3), "flat ones moved before they had trades: {whole:?}");
    for (kill, stop, bars) in &all {
        assert_eq!(bars, whole, "stored after record {stop}, killed: {kill}");
    }
}

#[test]
fn a_kill_forgets_no_trade_that_came_ahead_of_the_venues_time() {
    // It is of 5:02 and came with the record of 5:00, by when the venue's time is 4:59.7; the venue's own bar of minute 5
    // is already where that one is to be stored.
    let early = steps(40, &[(6, Fate::Early(3))]);
    let world = numbered([("AUSDT", &early, false), ("BUSDT", &steps(40, &[]), true)]);
    let mut machine = Machine::new(&world);
    machine.play_until(60 * SECOND);
    machine.backfill(T0, T0 + 9 * MINUTE, false);
    machine.play_until(300 * SECOND);
    machine.checkpoint();
    machine.play_until(400 * SECOND);
    machine.restart();
    machine.finish().unwrap();
}

/// Milliseconds since the trade before, price, amount, bought; then whether its connection is lost for so many minutes.
type NamelessTrade = (i64, i64, i64, bool, Option<i64>);

fn nameless_trade() -> impl Strategy<Value = NamelessTrade> {
    let pause = prop_oneof![6 => 0_i64..90_000, 1 => 0_i64..1_800_000];
    (pause, 1_i64..999, 1_i64..99, any::<bool>(), prop::option::weighted(0.15, 0_i64..9))
}

/// A tape of KuCoin contracts, whose trades have no ids: only the GAP records show what may be missing.
fn nameless(symbols: [(&'static str, &[NamelessTrade]); 2], restarts: &[u16]) -> World {
    let mut world = World {
        venue: VenueId::KucoinFutures,
        tape: Vec::new(),
        deals: BTreeMap::new(),
        gaps: BTreeMap::new(),
        // 0.001 of the base a contract.
        nameless: true,
        size: 1,
    };
    let entry = |symbol: &str| {
        format!(
            r#"{{"symbol":"{symbol}","type":"FFWCSX","firstOpenDate":1585555200000,"expireDate":null,"baseCurrency":"{}","quoteCurrency":"USDT","lotSize":1,"tickSize":0.1,"multiplier":0.001,"isInverse":false,"status":"Open"}}"#,
            &symbol[..1]
        )
    };
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    let list = symbols.map(|(symbol, _)| entry(symbol)).join(",");
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(format!(r#"{{"code":"200000","data":[{list}]}}"#).as_bytes());
    world.tape.push(Record { recv_us: T0 - SECOND, kind: Kind::Rest, conn: 0, payload, repair: false });
    let mut last_us = T0;
    for (n, (symbol, trades)) in (0_i64..).zip(symbols) {
        let mut ts_us = T0 + n * 7 * SECOND;
        let (mut deals, mut gaps) = (Vec::new(), Vec::new());
        // From when to when it was received that nothing was.
        let mut blind = (i64::MIN, i64::MIN);
        for (k, (pause_ms, price, amount, buy, lost)) in trades.iter().enumerate() {
            ts_us += pause_ms * MS;
            let comes = !(blind.0..=blind.1).contains(&(ts_us + 40 * MS));
            deals.push(Deal { ts_us, price: *price, amount: *amount, buy: *buy, comes });
            if comes {
                let (ns, p) = (ts_us * 1_000, format!("{}.{}", price / 10, price % 10));
                let frame = format!(
                    r#"{{"topic":"/contractMarket/execution:{symbol}","type":"message","subject":"match","sn":{k},"data":{{"symbol":"{symbol}","sequence":{k},"side":"{}","size":"0.{amount:03}","price":"{p}","takerOrderId":"t","makerOrderId":"m","tradeId":"{symbol}{k}","ts":{ns}}}}}"#,
                    if *buy { "buy" } else { "sell" }
                );
                let record = |recv_us, conn| Record {
                    recv_us,
                    kind: Kind::Data,
                    conn,
                    payload: frame.clone().into_bytes(),
                    repair: false,
                };
                world.tape.push(record(ts_us + 40 * MS, 1 + n as u32));
                if k % 5 == 1 {
                    world.tape.push(record(ts_us + 45 * MS, 11 + n as u32));
                }
            }
            if let (Some(minutes), true) = (lost, comes) {
                // From the middle of a minute to one, for margins not to matter.
                let from_us = blind.1.max((ts_us + MINUTE) / MINUTE * MINUTE) / MINUTE * MINUTE + 20 * SECOND;
                let blind_us = from_us + minutes * MINUTE + 20 * SECOND;
                if from_us <= blind.1 {
                    continue;
                }
                blind = (from_us, blind_us);
                // As the venue's time: a trade is on its way for 40 ms.
                gaps.push((blind.0 - 40 * MS, blind.1 - 40 * MS));
                let gap = format!(
                    r#"{{"reason":"lost","from_ns":{},"to_ns":{},"streams":["/contractMarket/level2:{symbol}","/contractMarket/execution:{symbol}","/contractMarket/level2:{}"]}}"#,
                    from_us * 1_000,
                    blind_us * 1_000,
                    symbols[1 - n as usize].0
                );
                let (kind, conn, payload) = (Kind::Gap, 1, gap.into_bytes());
                world.tape.push(Record { recv_us: blind_us, kind, conn, payload, repair: false });
            }
        }
        last_us = last_us.max(ts_us);
        gaps.push((deals[0].ts_us, deals[0].ts_us));
        world.deals.insert(symbol, deals);
        world.gaps.insert(symbol, gaps);
    }
    // The collector was down: nobody knows of whom something is missing.
    for at in restarts {
        let at_us = (T0 + (last_us - T0) / 1_000 * i64::from(*at)) / MINUTE * MINUTE + 30 * SECOND;
        if world.tape.iter().any(|r| r.recv_us.abs_diff(at_us) < 16_000_000 && r.kind != Kind::Clock)
            || at_us < T0 + MINUTE
        {
            continue;
        }
        let (kind, conn, payload) = (Kind::EpochStart, 0, b"{}".to_vec());
        world.tape.push(Record { recv_us: at_us, kind, conn, payload, repair: false });
        for (symbol, gaps) in &mut world.gaps {
            if world.deals[symbol][0].ts_us < at_us {
                gaps.push((at_us - 15 * SECOND, at_us));
            }
        }
    }
    finish(&mut world);
    world
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn candles_without_ids_are_marked_where_a_gap_names_their_symbol_and_nowhere_else(
        a in prop::collection::vec(nameless_trade(), 8..60),
        b in prop::collection::vec(nameless_trade(), 8..30),
        restarts in prop::collection::vec(0_u16..1_000, 0..3),
        ops in ops(),
    ) {
        let world = nameless([("AUSDTM", &a), ("BUSDTM", &b)], &restarts);
        Machine::whole(&world, &ops)?;
    }
}
