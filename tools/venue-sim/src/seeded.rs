//! A seeded market of KuCoin or Gate: trades, best prices, books, candles and statistics with continuing ids, and what REST reads of it.
//!
//! The book of a symbol is real: every change that is played is applied to it, so a snapshot and the changes after its id give the
//! book of any later moment. It is never crossed: levels that the price passed go first. The same seed and settings give the same
//! frames; times are those of sending unless `start_ms` is set. How a frame is written is `kucoin::frames`' and `gate::frames`'.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::binance::Market as Rules;
use crate::config::{Market, SimConfig};
use crate::generate::{Candle, FrameGenerator};
use crate::listing::Listings;
use crate::protocol::Exchange;
use crate::report::{lock, wall_ns};
use crate::script::StreamInfo;
use crate::text::decimal;
use crate::venue::{Batch, BatchFrame};

/// Decimals of prices; a tick is one unit of the last.
pub(crate) const PRICE_PLACES: usize = 2;

/// Levels of a side that a book keeps at least and at most.
const LEVELS: std::ops::Range<usize> = 12..90;

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Trades,
    Top,
    Depth,
    Mark,
    Funding,
    Liquidations,
    Candles,
    Stats,
    /// KuCoin spot's `/market/ticker`.
    LastTicker,
    Depth5,
    Depth50,
}

/// Configured channel, what it plays, and how often of a hundred events it is chosen.
const CHANNELS: [(&str, Topic, u32); 11] = [
    ("trades", Topic::Trades, 24),
    ("book_ticker", Topic::Top, 34),
    ("depth", Topic::Depth, 28),
    ("mark_price", Topic::Mark, 4),
    ("mark_price", Topic::Funding, 1),
    ("liquidations", Topic::Liquidations, 2),
    ("venue_klines", Topic::Candles, 3),
    ("tickers", Topic::Stats, 4),
    ("ticker", Topic::LastTicker, 6),
    ("depth5", Topic::Depth5, 4),
    ("depth50", Topic::Depth50, 4),
];

/// One trade. Prices in ticks, amounts in lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deal {
    /// Consecutive per symbol.
    pub id: i64,
    /// Increasing over symbols, with gaps.
    pub wide_id: i64,
    pub price: i64,
    pub amount: i64,
    pub time_ns: i64,
    /// The taker sold.
    pub sell: bool,
}

/// What REST reads of one symbol.
#[derive(Debug, Default)]
pub(crate) struct Stand {
    pub book_id: i64,
    pub bids: BTreeMap<i64, i64>,
    pub asks: BTreeMap<i64, i64>,
    pub price: i64,
    pub time_ms: i64,
    pub deals: VecDeque<Deal>,
}

/// What REST reads of a market.
#[derive(Debug)]
pub(crate) struct SeededMarket {
    pub symbols: Vec<String>,
    /// Decimals of the amounts of each symbol.
    pub places: Vec<usize>,
    pub stands: Vec<Mutex<Stand>>,
}

impl SeededMarket {
    /// The place of a symbol.
    pub fn find(&self, symbol: &str) -> Option<usize> {
        self.symbols.iter().position(|have| have == symbol)
    }
}

/// One change of a book; amount 0 removes the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub bid: bool,
    pub price: i64,
    pub amount: i64,
}

/// What a frame says.
pub(crate) enum Say {
    Trades(Vec<Deal>),
    Top { amounts: [i64; 2] },
    Depth { first: i64, changes: Vec<Change> },
    Mark { offset: i64, rate: i64 },
    Funding { rate: i64 },
    Liquidation { amount: i64, sell: bool },
    Candle { candle: Candle, closed: bool },
    Stats { rate: i64 },
    LastTicker { last: Deal, amounts: [i64; 2] },
    Levels { count: usize },
}

/// One symbol and one frame of it, for the writers.
pub(crate) struct Scene<'a> {
    pub rules: Rules,
    pub symbol: &'a str,
    pub places: usize,
    pub stand: &'a Stand,
    pub now_ms: i64,
    pub now_ns: i64,
}

impl Scene<'_> {
    /// A price as text.
    pub fn price(&self, price: i64) -> String {
        decimal(price, PRICE_PLACES, PRICE_PLACES)
    }

    /// An amount as text.
    pub fn amount(&self, amount: i64) -> String {
        decimal(amount, self.places, self.places)
    }

    /// Best bid and ask.
    pub fn best(&self) -> [i64; 2] {
        let Stand { bids, asks, price, .. } = self.stand;
        [bids.last_key_value().map_or(price - 1, |(p, _)| *p), asks.first_key_value().map_or(price + 1, |(p, _)| *p)]
    }
}

/// Ids of a frame.
pub(crate) type Ids = Option<(i64, i64)>;

struct Symbol {
    /// Stream by place in [`CHANNELS`].
    streams: Vec<Option<u32>>,
    deal_id: i64,
    candle: Candle,
    last: Deal,
}

/// Makes the frames.
pub(crate) struct FloorGenerator {
    exchange: Exchange,
    rules: Rules,
    rng: ChaCha8Rng,
    symbols: Vec<Symbol>,
    wheel: Vec<usize>,
    queue: VecDeque<(usize, usize, Say)>,
    wide_id: i64,
    made: u64,
    total: Option<u64>,
    start_ms: Option<i64>,
    frames_per_s: u64,
    now_ms: i64,
    kept: usize,
    seeded: Arc<SeededMarket>,
    pub listings: Arc<Listings>,
}

fn stream_name(exchange: Exchange, rules: Rules, topic: Topic, symbol: &str) -> Option<String> {
    match exchange {
        Exchange::Kucoin => crate::kucoin::frames::stream(rules, topic, symbol),
        Exchange::Gate => crate::gate::frames::stream(rules, topic, symbol),
        Exchange::Binance | Exchange::BinanceSbe => None,
    }
}

impl FloorGenerator {
    /// A market for one venue; `share` of `shares` venues that split rate and total.
    pub fn new(
        (exchange, rules): (Exchange, Rules),
        market: &Market,
        config: &SimConfig,
        share: u64,
        shares: u64,
    ) -> (FloorGenerator, Arc<SeededMarket>, Vec<StreamInfo>) {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed.wrapping_add(share));
        let mut streams: Vec<StreamInfo> = Vec::new();
        let mut symbols = Vec::new();
        let mut stands = Vec::new();
        let mut wheel = Vec::new();
        for name in &market.symbols {
            let slots = CHANNELS.map(|(channel, topic, _)| {
                // Mark prices of Gate are in its tickers.
                let wanted = |channel: &str| market.channels.iter().any(|wanted| wanted == channel);
                let is_wanted = wanted(channel)
                    || (exchange == Exchange::Gate
                        && rules == Rules::Usdm
                        && topic == Topic::Stats
                        && wanted("mark_price"));
                let stream = stream_name(exchange, rules, topic, name).filter(|_| is_wanted)?;
                let known = streams.iter().position(|have| have.name == stream);
                let index = known.unwrap_or_else(|| {
                    streams.push(StreamInfo::of(&stream));
                    streams.len() - 1
                });
                Some(index as u32)
            });
            for (channel, slot) in slots.iter().enumerate() {
                if slot.is_some() && symbols.is_empty() {
                    let weight = CHANNELS.get(channel).map_or(0, |(_, _, weight)| *weight);
                    wheel.extend(std::iter::repeat_n(channel, weight as usize));
                }
            }
            let price = rng.random_range(10_000..9_000_000);
            let side = |rng: &mut ChaCha8Rng, step: i64| -> BTreeMap<i64, i64> {
                (0..20).map(|level| (price + step * (1 + 2 * level), rng.random_range(1..2_000))).collect()
            };
            stands.push(Mutex::new(Stand {
                book_id: rng.random_range(1_000_000..9_000_000_000),
                bids: side(&mut rng, -1),
                asks: side(&mut rng, 1),
                price,
                ..Stand::default()
            }));
            symbols.push(Symbol {
                streams: slots.to_vec(),
                deal_id: rng.random_range(1_000_000..5_000_000_000),
                candle: Candle::default(),
                last: Deal { price, amount: 1, ..Deal::default() },
            });
        }
        let split = |value: u64| value / shares + u64::from(share < value % shares);
        // Contracts are counted whole, but every second of Gate's may be cut to tenths.
        let places = (0..symbols.len()).map(|index| match (exchange, rules) {
            (_, Rules::Spot) => 4,
            (Exchange::Gate, Rules::Usdm) => index % 2,
            _ => 0,
        });
        let seeded = Arc::new(SeededMarket { symbols: market.symbols.clone(), places: places.collect(), stands });
        let total = if wheel.is_empty() { Some(0) } else { market.total_frames.map(split) };
        let maker = FloorGenerator {
            exchange,
            rules,
            wide_id: rng.random_range(100_000_000..900_000_000),
            rng,
            symbols,
            wheel,
            queue: VecDeque::new(),
            made: 0,
            total,
            start_ms: market.start_ms,
            frames_per_s: split(market.frames_per_s).max(1),
            now_ms: 0,
            kept: config.trades_kept.max(1),
            seeded: seeded.clone(),
            listings: Arc::default(),
        };
        (maker, seeded, streams)
    }

    /// Decides the next frame: symbol, channel, words.
    fn decide(&mut self) -> (usize, usize, Say) {
        let symbol = self.rng.random_range(0..self.symbols.len());
        let symbol =
            (symbol..self.symbols.len()).chain(0..symbol).find(|&at| self.listings.trades(at)).unwrap_or(symbol);
        let channel = self.wheel.get(self.rng.random_range(0..self.wheel.len())).copied().unwrap_or(0);
        let step = self.rng.random_range(-3..=3);
        let seeded = self.seeded.clone();
        let Some(stand) = seeded.stands.get(symbol) else { return (symbol, channel, Say::Levels { count: 5 }) };
        let mut stand = lock(stand);
        stand.price = (stand.price + step).max(1_000);
        stand.time_ms = self.now_ms;
        let amounts = [(); 2].map(|()| self.rng.random_range(1..2_000));
        let topic = CHANNELS.get(channel).map_or(Topic::Top, |(_, topic, _)| *topic);
        let say = match topic {
            Topic::Trades => self.taker_order(symbol, channel, stand.price),
            Topic::Top => Say::Top { amounts },
            Topic::Depth => {
                let changes = self.changes(&stand);
                Say::Depth { first: stand.book_id + 1, changes }
            }
            Topic::Mark => Say::Mark { offset: self.rng.random_range(-50..50), rate: self.rng.random_range(-300..600) },
            Topic::Funding => Say::Funding { rate: self.rng.random_range(-300..600) },
            Topic::Liquidations => Say::Liquidation { amount: amounts[0], sell: amounts[1] % 2 == 0 },
            Topic::Candles => Say::Candle { candle: self.present_candle(symbol, stand.price), closed: false },
            Topic::Stats => Say::Stats { rate: self.rng.random_range(-300..600) },
            Topic::LastTicker => {
                let last = self.symbols.get(symbol).map(|state| state.last).unwrap_or_default();
                Say::LastTicker { last, amounts }
            }
            Topic::Depth5 => Say::Levels { count: 5 },
            Topic::Depth50 => Say::Levels { count: 50 },
        };
        (symbol, channel, say)
    }

    /// The changes of one book frame, each of which leaves the book uncrossed in the end.
    fn changes(&mut self, stand: &Stand) -> Vec<Change> {
        let price = stand.price;
        let passed_bids = stand.bids.range(price..).map(|(&price, _)| Change { bid: true, price, amount: 0 });
        let passed_asks = stand.asks.range(..=price).map(|(&price, _)| Change { bid: false, price, amount: 0 });
        let mut changes: Vec<Change> = passed_bids.chain(passed_asks).collect();
        // KuCoin futures send one change per frame.
        let single = (self.exchange, self.rules) == (Exchange::Kucoin, Rules::Usdm);
        if single && !changes.is_empty() {
            changes.truncate(1);
            return changes;
        }
        for _ in 0..if single { 1 } else { self.rng.random_range(1..8) } {
            let bid = self.rng.random_bool(0.5);
            let side = if bid { &stand.bids } else { &stand.asks };
            let goes = side.len() >= LEVELS.end || (side.len() > LEVELS.start && self.rng.random_bool(0.3));
            let away = 1 + self.rng.random_range(0..60);
            let amount = self.rng.random_range(1..3_000);
            let change = if goes {
                let index = self.rng.random_range(0..side.len());
                side.keys().nth(index).map(|&price| Change { bid, price, amount: 0 })
            } else {
                let price = if bid { (price - away).max(1) } else { price + away };
                Some(Change { bid, price, amount })
            };
            let is_new = |change: &Change| !changes.iter().any(|c| (c.bid, c.price) == (change.bid, change.price));
            changes.extend(change.filter(is_new));
        }
        if changes.is_empty() {
            changes.push(Change { bid: true, price: (price - 1).max(1), amount: self.rng.random_range(1..3_000) });
        }
        changes
    }

    /// One taker order of 1 to 3 trades; protocols of one trade per frame get the others in frames of their own.
    fn taker_order(&mut self, symbol: usize, channel: usize, price: i64) -> Say {
        let count = self.rng.random_range(1..=3);
        let sell = self.rng.random_bool(0.5);
        let (now_ms, open_ms) = (self.now_ms, self.now_ms.div_euclid(60_000) * 60_000);
        let mut deals = Vec::new();
        for index in 0..count {
            let amount = self.rng.random_range(1..2_000);
            self.wide_id += self.rng.random_range(1..5);
            let Some(state) = self.symbols.get_mut(symbol) else { break };
            state.deal_id += 1;
            let time_ns = now_ms * 1_000_000 + state.deal_id.rem_euclid(997) * 1_000 + index;
            let deal = Deal { id: state.deal_id, wide_id: self.wide_id, price, amount, time_ns, sell };
            if state.candle.open_ms != open_ms {
                let candles = CHANNELS.iter().position(|(_, topic, _)| *topic == Topic::Candles);
                if let Some(channel) =
                    candles.filter(|&at| state.candle.count > 0 && state.streams.get(at).is_some_and(Option::is_some))
                {
                    self.queue.push_back((symbol, channel, Say::Candle { candle: state.candle.clone(), closed: true }));
                }
                state.candle = Candle { open_ms, prices: [price; 4], first_id: deal.id, ..Candle::default() };
            }
            state.candle.add(deal.id, price, amount, sell);
            state.last = deal;
            deals.push(deal);
        }
        if (self.exchange, self.rules) == (Exchange::Gate, Rules::Usdm) {
            return Say::Trades(deals);
        }
        let mut deals = deals.into_iter();
        let first = deals.next().into_iter().collect();
        self.queue.extend(deals.map(|deal| (symbol, channel, Say::Trades(vec![deal]))));
        Say::Trades(first)
    }

    fn present_candle(&self, symbol: usize, price: i64) -> Candle {
        let open_ms = self.now_ms.div_euclid(60_000) * 60_000;
        match self.symbols.get(symbol) {
            Some(state) if state.candle.open_ms == open_ms => state.candle.clone(),
            _ => Candle { open_ms, prices: [price; 4], ..Candle::default() },
        }
    }

    /// Makes what is said true for REST.
    fn apply(&self, say: &Say, stand: &mut Stand) {
        match say {
            Say::Trades(deals) => {
                for &deal in deals {
                    while stand.deals.len() >= self.kept {
                        stand.deals.pop_front();
                    }
                    stand.deals.push_back(deal);
                }
            }
            Say::Depth { first, changes } => {
                stand.book_id = first + changes.len() as i64 - 1;
                for change in changes {
                    let side = if change.bid { &mut stand.bids } else { &mut stand.asks };
                    if change.amount == 0 {
                        side.remove(&change.price);
                    } else {
                        side.insert(change.price, change.amount);
                    }
                }
            }
            _ => {}
        }
    }
}

impl FrameGenerator for FloorGenerator {
    fn begin(&mut self, now_ms: i64) {
        self.now_ms = self.start_ms.unwrap_or(now_ms);
    }

    fn made(&self) -> Option<u64> {
        (self.total.is_none_or(|total| self.made < total)).then_some(self.made)
    }

    fn frames_per_s(&self) -> u64 {
        self.frames_per_s
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn next(&mut self, batch: &mut Batch) {
        self.now_ms = match self.start_ms {
            Some(start_ms) => start_ms + (self.made as i64).saturating_mul(1_000) / self.frames_per_s as i64,
            None if self.made.is_multiple_of(8) => (wall_ns() / 1_000_000) as i64,
            None => self.now_ms,
        };
        self.made += 1;
        let (symbol, channel, say) = match self.queue.pop_front() {
            Some(queued) => queued,
            None => self.decide(),
        };
        let seeded = self.seeded.clone();
        let Some(stand) = seeded.stands.get(symbol) else { return };
        let mut stand = lock(stand);
        self.apply(&say, &mut stand);
        let scene = Scene {
            rules: self.rules,
            symbol: seeded.symbols.get(symbol).map_or("", String::as_str),
            places: seeded.places.get(symbol).copied().unwrap_or(0),
            stand: &stand,
            now_ms: self.now_ms,
            now_ns: self.now_ms * 1_000_000 + (self.made % 1_000) as i64 * 1_000,
        };
        let start = batch.bytes.len() as u32;
        let ids = match self.exchange {
            Exchange::Kucoin => crate::kucoin::frames::write(&scene, &say, &mut batch.bytes),
            Exchange::Gate => crate::gate::frames::write(&scene, &say, &mut batch.bytes),
            Exchange::Binance | Exchange::BinanceSbe => None,
        };
        let stream = self.symbols.get(symbol).and_then(|state| *state.streams.get(channel)?).unwrap_or(0);
        let end = batch.bytes.len() as u32;
        batch.frames.push(BatchFrame { stream, start, end, head_bytes: 0, ids });
    }
}
