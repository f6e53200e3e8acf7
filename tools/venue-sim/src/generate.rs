//! A seeded market: symbols by channels in the venue's exact frame shapes, with ids that keep every rule and known totals.
//!
//! One market event is a taker order (1-3 trades at one price, then the aggregate over exactly those trades), a book ticker, a depth
//! update, a mark price, a liquidation or a candle. Prices walk at random; the candle of a symbol is the fold of its trades. The same
//! seed and settings give the same frames; times are those of sending unless [`Market::start_ms`] is set. Nothing here sleeps.
//! How a frame is written is `shapes`'.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::binance::Market as Rules;
use crate::config::{Market, SimConfig};
use crate::listing::Listings;
use crate::report::{lock, wall_ns};
use crate::script::StreamInfo;
use crate::tape::{Deal, Tape};
use crate::venue::{Batch, BatchFrame};

/// Channels in the order of their slots in [`Symbol::streams`].
const CHANNELS: [&str; 7] =
    ["trades", "agg_trades", "book_ticker", "depth", "mark_price", "liquidations", "venue_klines"];
pub(crate) const TRADES: usize = 0;
pub(crate) const AGG: usize = 1;
pub(crate) const TOP: usize = 2;
pub(crate) const DEPTH: usize = 3;
pub(crate) const MARK: usize = 4;
pub(crate) const FORCE: usize = 5;
pub(crate) const KLINE: usize = 6;

/// How often each channel is chosen, in hundredths; a taker order stands for the first two.
const WEIGHTS: [u32; 7] = [24, 0, 50, 20, 3, 1, 2];

/// Decimals of prices and amounts as printed, and those that are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimals {
    pub price: usize,
    pub amount: usize,
    pub tick_decimals: usize,
    pub lot_decimals: usize,
}

impl Decimals {
    pub fn of(rules: Rules) -> Decimals {
        match rules {
            Rules::Spot => Decimals { price: 8, amount: 8, tick_decimals: 2, lot_decimals: 5 },
            Rules::Usdm => Decimals { price: 2, amount: 3, tick_decimals: 2, lot_decimals: 3 },
            Rules::Coinm => Decimals { price: 1, amount: 0, tick_decimals: 1, lot_decimals: 0 },
        }
    }
}

/// The generated market's latest state, read by REST.
#[derive(Debug)]
pub(crate) struct MarketState {
    pub symbols: Vec<String>,
    pub decimals: Decimals,
    /// Last depth id and best bid in ticks, by symbol.
    pub latest: Vec<(AtomicI64, AtomicI64)>,
    /// What was traded, by symbol.
    pub tapes: Vec<std::sync::Mutex<Tape>>,
}

impl MarketState {
    /// Last depth id and best bid.
    pub fn latest(&self, symbol: &str) -> Option<(i64, i64)> {
        let index = self.symbols.iter().position(|have| have == symbol)?;
        let (id, bid) = self.latest.get(index)?;
        Some((id.load(Ordering::Acquire), bid.load(Ordering::Acquire)))
    }
}

/// One symbol's state.
pub(crate) struct Symbol {
    pub upper: String,
    /// Stream index per channel and the constant text before the data value.
    pub streams: [Option<(u32, Vec<u8>)>; 7],
    pub price: i64,
    pub trade_id: i64,
    pub agg_id: i64,
    /// First trade id that no aggregate covers yet.
    pub agg_from: i64,
    pub update_id: i64,
    pub depth_id: i64,
    pub candle: Candle,
}

/// The candle of one minute, in ticks and lots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candle {
    pub open_ms: i64,
    pub first_id: i64,
    pub last_id: i64,
    pub prices: [i64; 4],
    pub amount: i128,
    pub quote: i128,
    pub taker_amount: i128,
    pub taker_quote: i128,
    /// Amounts over prices, of all trades and of buying takers, in [`BASE_VOLUME_SCALE`]s of a lot per tick: what contracts of one unit are
    /// worth in the base asset.
    pub base_volume: [i128; 2],
    pub count: i64,
}

/// Parts of a base asset that are counted.
pub(crate) const BASE_VOLUME_SCALE: i128 = 1_000_000_000_000;

/// Frames already decided, not yet written.
pub(crate) enum Queued {
    Trade { symbol: usize, id: i64, price: i64, amount: i64, maker: bool },
    Agg { symbol: usize, id: i64, first: i64, last: i64, price: i64, amount: i64, maker: bool },
    Kline { symbol: usize, candle: Candle, closed: bool },
}

/// What makes the frames of a venue one by one.
pub(crate) trait FrameGenerator: Send {
    /// Fixes the time of the first frame.
    fn begin(&mut self, now_ms: i64);
    /// Frames made so far, `None` when the total is reached.
    fn made(&self) -> Option<u64>;
    /// Appends the next frame.
    fn next(&mut self, batch: &mut Batch);
    /// Frames per second at the recorded pace.
    fn frames_per_s(&self) -> u64;
    /// Time of the last frame, ms.
    fn now_ms(&self) -> i64;
    /// Whether the next frame is another trade of the taker order of the last one.
    fn goes_on(&self) -> bool {
        false
    }
}

/// Makes frames of Binance.
pub(crate) struct Generator {
    pub rules: Rules,
    pub decimals: Decimals,
    pub rng: ChaCha8Rng,
    pub symbols: Vec<Symbol>,
    /// With the time at which they were decided.
    queue: VecDeque<(i64, Queued)>,
    /// Channel by hundredth.
    wheel: Vec<usize>,
    made: u64,
    total: Option<u64>,
    start_ms: Option<i64>,
    frames_per_s: u64,
    pub now_ms: i64,
    pub market_state: Arc<MarketState>,
    pub listings: Arc<Listings>,
}

impl Generator {
    /// A market for one venue; `share` of `shares` venues that split rate and total.
    pub fn new(
        rules: Rules,
        market: &Market,
        config: &SimConfig,
        share: u64,
        shares: u64,
    ) -> (Generator, Vec<StreamInfo>) {
        let decimals = Decimals::of(rules);
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed.wrapping_add(share));
        let mut streams = Vec::new();
        let mut symbols = Vec::new();
        let has = |channel: usize| {
            let is_offered = !(rules == Rules::Spot && (channel == MARK || channel == FORCE));
            is_offered && market.channels.iter().any(|wanted| Some(wanted.as_str()) == CHANNELS.get(channel).copied())
        };
        for name in &market.symbols {
            let upper = name.to_uppercase();
            let lower = name.to_lowercase();
            let names = ["trade", "aggTrade", "bookTicker", "depth@100ms", "markPrice@1s", "forceOrder", "kline_1m"];
            let mut index = 0;
            let slots = names.map(|channel| {
                let slot = has(index).then(|| {
                    let stream = format!("{lower}@{channel}");
                    let head = format!(r#"{{"stream":"{stream}","data":"#).into_bytes();
                    streams.push(StreamInfo::of(&stream));
                    (streams.len() as u32 - 1, head)
                });
                index += 1;
                slot
            });
            let update_id = rng.random_range(1_000_000_000..9_000_000_000);
            let trade_id = rng.random_range(1_000_000..5_000_000_000);
            symbols.push(Symbol {
                upper,
                streams: slots,
                price: rng.random_range(10_000..9_000_000),
                trade_id,
                agg_id: rng.random_range(1_000_000..3_000_000_000),
                agg_from: trade_id + 1,
                update_id,
                depth_id: update_id,
                candle: Candle::default(),
            });
        }
        let mut wheel = Vec::new();
        for (channel, &weight) in WEIGHTS.iter().enumerate() {
            if has(channel) || (channel == TRADES && has(AGG)) {
                wheel.extend(std::iter::repeat_n(channel, weight as usize));
            }
        }
        let split = |value: u64| value / shares + u64::from(share < value % shares);
        let market_state = Arc::new(MarketState {
            symbols: symbols.iter().map(|symbol| symbol.upper.clone()).collect(),
            decimals,
            tapes: Tape::of(symbols.len(), config.trades_kept),
            latest: symbols.iter().map(|s| (AtomicI64::new(s.depth_id), AtomicI64::new(s.price))).collect(),
        });
        let total = if wheel.is_empty() || symbols.is_empty() { Some(0) } else { market.total_frames.map(split) };
        let frames_per_s = split(market.frames_per_s).max(1);
        let start_ms = market.start_ms;
        let queue = VecDeque::new();
        (
            Generator {
                rules,
                decimals,
                rng,
                symbols,
                queue,
                wheel,
                made: 0,
                total,
                start_ms,
                frames_per_s,
                now_ms: 0,
                market_state,
                listings: Arc::default(),
            },
            streams,
        )
    }

    /// What REST reads.
    pub fn market_state(&self) -> Arc<MarketState> {
        self.market_state.clone()
    }
}

impl FrameGenerator for Generator {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Asked only where trades have neither aggregates nor candles beside them.
    fn goes_on(&self) -> bool {
        matches!(self.queue.front(), Some((_, Queued::Trade { .. })))
    }

    fn frames_per_s(&self) -> u64 {
        self.frames_per_s
    }

    fn begin(&mut self, now_ms: i64) {
        self.now_ms = self.start_ms.unwrap_or(now_ms);
    }

    fn made(&self) -> Option<u64> {
        (self.total.is_none_or(|total| self.made < total)).then_some(self.made)
    }

    fn next(&mut self, batch: &mut Batch) {
        self.now_ms = match self.start_ms {
            Some(start_ms) => start_ms + (self.made as i64).saturating_mul(1000) / self.frames_per_s as i64,
            // One look at the clock per few frames: it costs as much as a small frame.
            None if self.made.is_multiple_of(8) => (wall_ns() / 1_000_000) as i64,
            None => self.now_ms,
        };
        self.made += 1;
        let out = &mut batch.bytes;
        let start = out.len();
        let (stream, head_bytes, ids) = match self.queue.pop_front() {
            Some((at_ms, queued)) => self.write_queued(at_ms, queued, out),
            None => self.event(out),
        };
        batch.frames.push(BatchFrame { stream, start: start as u32, end: batch.bytes.len() as u32, head_bytes, ids });
    }
}

impl Generator {
    fn event(&mut self, out: &mut Vec<u8>) -> Written {
        let symbol = self.rng.random_range(0..self.symbols.len());
        // Instead of one that does not trade, the next that does.
        let symbol = (symbol..self.symbols.len())
            .chain(0..symbol)
            .find(|&symbol| self.listings.trades(symbol))
            .unwrap_or(symbol);
        let channel = self.wheel[self.rng.random_range(0..self.wheel.len())];
        let step = self.rng.random_range(-3..=3);
        if let Some(state) = self.symbols.get_mut(symbol) {
            state.price = (state.price + step).max(1_000);
            if let Some((_, bid)) = self.market_state.latest.get(symbol) {
                bid.store(state.price - 1, Ordering::Release);
            }
        }
        match channel {
            TRADES => {
                self.taker_order(symbol);
                match self.queue.pop_front() {
                    Some((at_ms, queued)) => self.write_queued(at_ms, queued, out),
                    None => self.write_top(symbol, out),
                }
            }
            DEPTH => self.write_depth(symbol, out),
            MARK => self.write_mark(symbol, out),
            FORCE => self.write_force(symbol, out),
            KLINE => {
                let candle = self.current_candle(symbol);
                self.write_queued(self.now_ms, Queued::Kline { symbol, candle, closed: false }, out)
            }
            _ => self.write_top(symbol, out),
        }
    }

    /// Decides one taker order: its trades, the aggregate over them, and the closing frame of a candle that it ends.
    fn taker_order(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let count = self.rng.random_range(1..=3);
        let maker = self.rng.random_bool(0.5);
        let amounts: [i64; 3] = [(); 3].map(|()| self.rng.random_range(1..200_000));
        let Some(state) = self.symbols.get_mut(index) else { return };
        let price = state.price;
        let open_ms = now_ms.div_euclid(60_000) * 60_000;
        if state.candle.open_ms != open_ms {
            if state.candle.count > 0 && state.streams[KLINE].is_some() {
                self.queue
                    .push_back((now_ms, Queued::Kline { symbol: index, candle: state.candle.clone(), closed: true }));
            }
            state.candle = Candle { open_ms, prices: [price; 4], first_id: state.trade_id + 1, ..Candle::default() };
        }
        let mut sum = 0;
        let mut tape = self.market_state.tapes.get(index).map(lock);
        for &amount in amounts.iter().take(count) {
            state.trade_id += 1;
            sum += amount;
            state.candle.add(state.trade_id, price, amount, maker);
            let id = state.trade_id;
            if let Some(tape) = &mut tape {
                tape.trade(Deal { id, first: id, last: id, price, amount, time_ms: now_ms, maker });
            }
            if state.streams[TRADES].is_some() {
                self.queue
                    .push_back((now_ms, Queued::Trade { symbol: index, id: state.trade_id, price, amount, maker }));
            }
        }
        let (first, last) = (state.agg_from, state.trade_id);
        state.agg_id += 1;
        let id = state.agg_id;
        if state.streams[AGG].is_some() {
            self.queue.push_back((now_ms, Queued::Agg { symbol: index, id, first, last, price, amount: sum, maker }));
        }
        if let Some(tape) = &mut tape {
            tape.agg(Deal { id, first, last, price, amount: sum, time_ms: now_ms, maker });
        }
        state.agg_from = state.trade_id + 1;
    }

    fn current_candle(&self, symbol: usize) -> Candle {
        let open_ms = self.now_ms.div_euclid(60_000) * 60_000;
        match self.symbols.get(symbol) {
            Some(state) if state.candle.open_ms == open_ms => state.candle.clone(),
            Some(state) => Candle { open_ms, prices: [state.price; 4], first_id: -1, last_id: -1, ..Candle::default() },
            None => Candle::default(),
        }
    }
}

/// Stream, bytes before the data value, first and last id.
pub(crate) type Written = (u32, u32, Option<(i64, i64)>);

impl Candle {
    pub(crate) fn add(&mut self, id: i64, price: i64, amount: i64, maker: bool) {
        if self.count == 0 {
            (self.first_id, self.prices) = (id, [price; 4]);
        }
        let [_, high, low, close] = &mut self.prices;
        (*high, *low, *close) = ((*high).max(price), (*low).min(price), price);
        let quote = i128::from(price) * i128::from(amount);
        let base_volume = i128::from(amount) * BASE_VOLUME_SCALE / i128::from(price.max(1));
        self.last_id = id;
        self.count += 1;
        self.amount += i128::from(amount);
        self.quote += quote;
        self.base_volume[0] += base_volume;
        if !maker {
            self.taker_amount += i128::from(amount);
            self.taker_quote += quote;
            self.base_volume[1] += base_volume;
        }
    }
}

impl Candle {
    /// The second volume in candles of a market: the quote volume, or on COIN-M one in the base asset, with its decimals;
    /// of all trades, and of buying takers.
    pub(crate) fn quote_or_base_volume(
        &self,
        rules: Rules,
        symbol: &str,
        tick: usize,
        lot: usize,
    ) -> ([i128; 2], usize) {
        match rules {
            Rules::Spot | Rules::Usdm => ([self.quote, self.taker_quote], tick + lot),
            Rules::Coinm => {
                let unit = 10_i128.pow(8 + u32::try_from(tick).unwrap_or(0));
                let in_base = |base_volume: i128| {
                    base_volume.saturating_mul(rules.contract_size(symbol)).saturating_mul(unit) / BASE_VOLUME_SCALE
                };
                (self.base_volume.map(in_base), 8 + lot)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;
    use std::collections::HashMap;

    fn market(total: u64) -> Market {
        Market {
            symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()],
            channels: CHANNELS.iter().map(|c| (*c).to_owned()).collect(),
            frames_per_s: 100,
            total_frames: Some(total),
            start_ms: Some(1_800_000_000_000),
        }
    }

    fn run(rules: Rules, total: u64) -> (Vec<(String, Value)>, Vec<u8>) {
        let (mut generator, streams) = {
            let config = SimConfig { seed: 7, ..SimConfig::generated(&[], market(total)) };
            Generator::new(rules, &market(total), &config, 0, 1)
        };
        let mut batch = Batch::default();
        generator.begin(0);
        while generator.made().is_some() {
            generator.next(&mut batch);
        }
        let frames = batch
            .frames
            .iter()
            .map(|frame| {
                let value: Value = serde_json::from_slice(batch.combined(frame)).unwrap();
                let data: Value = serde_json::from_slice(batch.data(frame)).unwrap();
                assert_eq!(value["data"], data);
                assert_eq!(value["stream"], streams[frame.stream as usize].name);
                (value["stream"].as_str().unwrap().to_owned(), data)
            })
            .collect();
        (frames, batch.bytes)
    }

    #[test]
    fn ids_are_continuous_by_every_rule_on_both_markets() {
        for rules in [Rules::Spot, Rules::Usdm, Rules::Coinm] {
            let (frames, _) = run(rules, 20_000);
            assert_eq!(frames.len(), 20_000);
            let mut last: HashMap<String, Value> = HashMap::new();
            for (stream, data) in frames {
                let family = data["st"].as_i64().or(data["o"]["st"].as_i64());
                let own = if rules == Rules::Coinm { 2 } else { 1 };
                assert!(family.is_none_or(|family| family == own), "a row of another market: {data}");
                if let Some(before) = last.get(&stream) {
                    let (int, was) =
                        (|key: &str| data[key].as_i64().unwrap(), |key: &str| before[key].as_i64().unwrap());
                    match stream.split_once('@').unwrap().1 {
                        "trade" => assert_eq!(int("t"), was("t") + 1),
                        "aggTrade" => assert_eq!((int("a"), int("f")), (was("a") + 1, was("l") + 1)),
                        "bookTicker" => assert!(int("u") > was("u")),
                        "depth@100ms" if rules != Rules::Spot => assert_eq!(int("pu"), was("u")),
                        "depth@100ms" => assert_eq!(int("U"), was("u") + 1),
                        _ => {}
                    }
                }
                last.insert(stream, data);
            }
            assert_eq!(last.len(), if rules == Rules::Spot { 10 } else { 14 }, "every channel of both symbols appears");
        }
    }

    #[test]
    fn candles_of_contracts_are_worth_coins_and_others_their_price() {
        // Prices of one decimal: 206 contracts of 100 USD at 10,000.0 are 2.06 base_volume, those of 10 USD a tenth.
        let mut candle = Candle::default();
        candle.add(1, 100_000, 119, false);
        candle.add(2, 100_000, 87, true);
        assert_eq!(candle.quote_or_base_volume(Rules::Coinm, "BTCUSD_PERP", 1, 0), ([206_000_000, 119_000_000], 8));
        assert_eq!(candle.quote_or_base_volume(Rules::Coinm, "ETHUSD_PERP", 1, 0), ([20_600_000, 11_900_000], 8));
        assert_eq!(candle.quote_or_base_volume(Rules::Usdm, "BTCUSDT", 1, 0), ([20_600_000, 11_900_000], 1));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(run(Rules::Usdm, 2_000).1, run(Rules::Usdm, 2_000).1);
    }

    #[test]
    fn a_closed_candle_is_the_fold_of_its_trades() {
        // 100 frames/s: 20,000 frames are 200 s, so at least two whole minutes per symbol.
        let (frames, _) = run(Rules::Spot, 20_000);
        let mut checked = 0;
        let amount = |value: &Value| -> i128 { value.as_str().unwrap().replace('.', "").parse().unwrap() };
        for (stream, data) in
            frames.iter().filter(|(stream, data)| stream.ends_with("kline_1m") && data["k"]["x"] == true)
        {
            let k = &data["k"];
            let trades: Vec<&Value> = frames
                .iter()
                .filter(|(name, _)| *name == stream.replace("kline_1m", "trade"))
                .map(|(_, trade)| trade)
                .filter(|trade| (k["f"].as_i64()..=k["L"].as_i64()).contains(&trade["t"].as_i64()))
                .collect();
            assert_eq!(k["n"].as_u64().unwrap(), trades.len() as u64);
            assert_eq!(amount(&k["v"]), trades.iter().map(|t| amount(&t["q"])).sum::<i128>());
            assert_eq!(amount(&k["h"]), trades.iter().map(|t| amount(&t["p"])).max().unwrap());
            assert_eq!((&k["o"], &k["c"]), (&trades[0]["p"], &trades[trades.len() - 1]["p"]));
            checked += 1;
        }
        assert!(checked >= 4, "{checked}");
    }
}
