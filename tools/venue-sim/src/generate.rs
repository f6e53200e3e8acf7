//! A seeded market: symbols by channels in the venue's exact frame shapes, with ids that keep every rule and known totals.
//!
//! One market event is a taker order (1-3 trades at one price, then the aggregate over exactly those trades), a book ticker, a depth
//! update, a mark price, a liquidation or a candle. Prices walk at random; the candle of a symbol is the fold of its trades. The same
//! seed and settings give the same frames; times are those of sending unless [`Market::start_ms`] is set. Nothing here sleeps.
//!
//! Shapes are those of 2026 (USD-M with `st`, `ps`, `nq`, `ap`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::binance::Market as Rules;
use crate::config::Market;
use crate::report::wall_ns;
use crate::restamp::push_int;
use crate::script::StreamInfo;
use crate::venue::{Batch, BatchFrame};

/// Channels in the order of their slots in [`Symbol::streams`].
const CHANNELS: [&str; 7] =
    ["trades", "agg_trades", "book_ticker", "depth", "mark_price", "liquidations", "venue_klines"];
const TRADES: usize = 0;
const AGG: usize = 1;
const TOP: usize = 2;
const DEPTH: usize = 3;
const MARK: usize = 4;
const FORCE: usize = 5;
const KLINE: usize = 6;

/// How often each channel is chosen, in hundredths; a taker order stands for the first two.
const WEIGHTS: [u32; 7] = [24, 0, 50, 20, 3, 1, 2];

/// Decimals of prices and amounts as printed, and those that are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimals {
    pub price: usize,
    pub amount: usize,
    pub tick: usize,
    pub lot: usize,
}

impl Decimals {
    pub fn of(rules: Rules) -> Decimals {
        match rules {
            Rules::Spot => Decimals { price: 8, amount: 8, tick: 2, lot: 5 },
            Rules::Usdm => Decimals { price: 2, amount: 3, tick: 2, lot: 3 },
        }
    }
}

/// The generated market's latest state, read by REST.
#[derive(Debug)]
pub(crate) struct Stall {
    pub symbols: Vec<String>,
    pub decimals: Decimals,
    /// Last depth id and best bid in ticks, by symbol.
    latest: Vec<(AtomicI64, AtomicI64)>,
}

impl Stall {
    /// Last depth id and best bid.
    pub fn latest(&self, symbol: &str) -> Option<(i64, i64)> {
        let index = self.symbols.iter().position(|have| have == symbol)?;
        let (id, bid) = self.latest.get(index)?;
        Some((id.load(Ordering::Acquire), bid.load(Ordering::Acquire)))
    }
}

struct Symbol {
    upper: String,
    /// Stream index per channel and the constant text before the data value.
    streams: [Option<(u32, Vec<u8>)>; 7],
    price: i64,
    trade_id: i64,
    agg_id: i64,
    /// First trade id that no aggregate covers yet.
    agg_from: i64,
    update_id: i64,
    depth_id: i64,
    candle: Candle,
}

#[derive(Clone, Default)]
struct Candle {
    open_ms: i64,
    first_id: i64,
    last_id: i64,
    prices: [i64; 4],
    amount: i128,
    quote: i128,
    taker_amount: i128,
    taker_quote: i128,
    count: i64,
}

/// Frames already decided, not yet written.
enum Queued {
    Trade { symbol: usize, id: i64, price: i64, amount: i64, maker: bool },
    Agg { symbol: usize, first: i64, last: i64, price: i64, amount: i64, maker: bool },
    Kline { symbol: usize, candle: Candle, closed: bool },
}

/// Makes frames one by one.
pub(crate) struct Generator {
    rules: Rules,
    decimals: Decimals,
    rng: ChaCha8Rng,
    symbols: Vec<Symbol>,
    /// With the time at which they were decided.
    queue: VecDeque<(i64, Queued)>,
    /// Channel by hundredth.
    wheel: Vec<usize>,
    made: u64,
    total: Option<u64>,
    start_ms: Option<i64>,
    frames_per_s: u64,
    now_ms: i64,
    stall: Arc<Stall>,
}

impl Generator {
    /// A market for one venue; `share` of `shares` venues that split rate and total.
    pub fn new(rules: Rules, market: &Market, seed: u64, share: u64, shares: u64) -> (Generator, Vec<StreamInfo>) {
        let decimals = Decimals::of(rules);
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(share));
        let mut streams = Vec::new();
        let mut symbols = Vec::new();
        let has = |channel: usize| {
            let sold = !(rules == Rules::Spot && (channel == MARK || channel == FORCE));
            sold && market.channels.iter().any(|wanted| Some(wanted.as_str()) == CHANNELS.get(channel).copied())
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
        let stall = Arc::new(Stall {
            symbols: symbols.iter().map(|symbol| symbol.upper.clone()).collect(),
            decimals,
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
                stall,
            },
            streams,
        )
    }

    /// What REST reads.
    pub fn stall(&self) -> Arc<Stall> {
        self.stall.clone()
    }

    /// Frames per second at the recorded pace.
    pub fn frames_per_s(&self) -> u64 {
        self.frames_per_s
    }

    /// Fixes the time of the first frame.
    pub fn begin(&mut self, now_ms: i64) {
        self.now_ms = self.start_ms.unwrap_or(now_ms);
    }

    /// Frames made so far, `None` when the total is reached.
    pub fn made(&self) -> Option<u64> {
        (self.total.is_none_or(|total| self.made < total)).then_some(self.made)
    }

    /// Appends the next frame.
    pub fn next(&mut self, batch: &mut Batch) {
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

    fn event(&mut self, out: &mut Vec<u8>) -> Written {
        let symbol = self.rng.random_range(0..self.symbols.len());
        let channel = self.wheel[self.rng.random_range(0..self.wheel.len())];
        let step = self.rng.random_range(-3..=3);
        if let Some(state) = self.symbols.get_mut(symbol) {
            state.price = (state.price + step).max(1_000);
            if let Some((_, bid)) = self.stall.latest.get(symbol) {
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
        for &amount in amounts.iter().take(count) {
            state.trade_id += 1;
            sum += amount;
            if state.candle.count == 0 {
                state.candle.first_id = state.trade_id;
                state.candle.prices = [price; 4];
            }
            state.candle.add(state.trade_id, price, amount, maker);
            if state.streams[TRADES].is_some() {
                self.queue
                    .push_back((now_ms, Queued::Trade { symbol: index, id: state.trade_id, price, amount, maker }));
            }
        }
        if state.streams[AGG].is_some() {
            let (first, last) = (state.agg_from, state.trade_id);
            self.queue.push_back((now_ms, Queued::Agg { symbol: index, first, last, price, amount: sum, maker }));
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

    fn write_queued(&mut self, now: i64, queued: Queued, out: &mut Vec<u8>) -> Written {
        let (usdm, d) = (self.rules == Rules::Usdm, self.decimals);
        match queued {
            Queued::Trade { symbol, id, price, amount, maker } => {
                let mut text = Text::head(out, self.symbols.get(symbol), TRADES);
                text.put(r#"{"e":"trade","E":"#).int(now);
                if usdm {
                    text.put(r#","T":"#).int(now);
                }
                text.put(r#","s":""#).put(name(&self.symbols, symbol)).put(r#"","t":"#).int(id);
                text.put(r#","p":""#).dec(price, d.tick, d.price).put(r#"","q":""#).dec(amount, d.lot, d.amount);
                if usdm {
                    text.put(r#"","X":"MARKET","m":"#).bool(maker).put(r#","st":1}}"#);
                } else {
                    text.put(r#"","T":"#).int(now).put(r#","m":"#).bool(maker).put(r#","M":true}}"#);
                }
                text.done(Some((id, id)))
            }
            Queued::Agg { symbol, first, last, price, amount, maker } => {
                let id = match self.symbols.get_mut(symbol) {
                    Some(state) => {
                        state.agg_id += 1;
                        state.agg_id
                    }
                    None => 0,
                };
                let mut text = Text::head(out, self.symbols.get(symbol), AGG);
                let name = name(&self.symbols, symbol);
                text.put(r#"{"e":"aggTrade","E":"#).int(now);
                if usdm {
                    text.put(r#","a":"#).int(id).put(r#","s":""#).put(name).put(r#"","p":""#);
                } else {
                    text.put(r#","s":""#).put(name).put(r#"","a":"#).int(id).put(r#","p":""#);
                }
                text.dec(price, d.tick, d.price).put(r#"","q":""#).dec(amount, d.lot, d.amount).put("\"");
                if usdm {
                    text.put(r#","nq":""#).dec(amount, d.lot, d.amount).put("\"");
                }
                text.put(r#","f":"#)
                    .int(first)
                    .put(r#","l":"#)
                    .int(last)
                    .put(r#","T":"#)
                    .int(now)
                    .put(r#","m":"#)
                    .bool(maker);
                text.put(if usdm { r#","st":1}}"# } else { r#","M":true}}"# });
                text.done(Some((id, id)))
            }
            Queued::Kline { symbol, candle, closed } => {
                let event_ms = if closed { candle.open_ms + 60_000 } else { now };
                let mut text = Text::head(out, self.symbols.get(symbol), KLINE);
                let name = name(&self.symbols, symbol);
                text.put(r#"{"e":"kline","E":"#).int(event_ms).put(r#","s":""#).put(name);
                text.put(r#"","k":{"t":"#).int(candle.open_ms).put(r#","T":"#).int(candle.open_ms + 59_999);
                text.put(r#","s":""#)
                    .put(name)
                    .put(r#"","i":"1m","f":"#)
                    .int(candle.first_id)
                    .put(r#","L":"#)
                    .int(candle.last_id);
                let [open, high, low, close] = candle.prices;
                for (key, price) in
                    [(r#","o":""#, open), (r#"","c":""#, close), (r#"","h":""#, high), (r#"","l":""#, low)]
                {
                    text.put(key).dec(price, d.tick, d.price);
                }
                text.put(r#"","v":""#).wide(candle.amount, d.lot, d.amount).put(r#"","n":"#).int(candle.count);
                text.put(r#","x":"#).bool(closed).put(r#","q":""#).wide(
                    candle.quote,
                    d.tick + d.lot,
                    (d.tick + d.lot).max(d.price),
                );
                text.put(r#"","V":""#).wide(candle.taker_amount, d.lot, d.amount);
                text.put(r#"","Q":""#)
                    .wide(candle.taker_quote, d.tick + d.lot, (d.tick + d.lot).max(d.price))
                    .put(r#"","B":"0"}}}"#);
                text.done(None)
            }
        }
    }

    fn write_top(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, usdm, d) = (self.now_ms, self.rules == Rules::Usdm, self.decimals);
        let amounts: [i64; 2] = [(); 2].map(|()| self.rng.random_range(1..2_000_000));
        let step = self.rng.random_range(1..20);
        let (id, price) = match self.symbols.get_mut(symbol) {
            Some(state) => {
                state.update_id += step;
                (state.update_id, state.price)
            }
            None => (0, 0),
        };
        let mut text = Text::head(out, self.symbols.get(symbol), TOP);
        let name = name(&self.symbols, symbol);
        text.put(if usdm { r#"{"e":"bookTicker","u":"# } else { r#"{"u":"# }).int(id).put(r#","s":""#).put(name);
        if usdm {
            text.put(r#"","ps":""#).put(name);
        }
        text.put(r#"","b":""#).dec(price - 1, d.tick, d.price).put(r#"","B":""#).dec(amounts[0], d.lot, d.amount);
        text.put(r#"","a":""#).dec(price, d.tick, d.price).put(r#"","A":""#).dec(amounts[1], d.lot, d.amount);
        if usdm {
            text.put(r#"","T":"#).int(now).put(r#","E":"#).int(now).put(r#","st":1}}"#);
        } else {
            text.put(r#""}}"#);
        }
        text.done(Some((id, id)))
    }

    fn write_depth(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, usdm, d) = (self.now_ms, self.rules == Rules::Usdm, self.decimals);
        let counts = [self.rng.random_range(0..12), self.rng.random_range(1..12)];
        let step = self.rng.random_range(1..60);
        let (first, last, before, price) = match self.symbols.get_mut(symbol) {
            Some(state) => {
                let before = state.depth_id;
                state.depth_id = state.update_id.max(before) + step;
                state.update_id = state.depth_id;
                (before + 1, state.depth_id, before, state.price)
            }
            None => (0, 0, 0, 0),
        };
        if let Some((id, _)) = self.stall.latest.get(symbol) {
            id.store(last, Ordering::Release);
        }
        let mut text = Text::head(out, self.symbols.get(symbol), DEPTH);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"depthUpdate","E":"#).int(now);
        if usdm {
            text.put(r#","T":"#)
                .int(now)
                .put(r#","s":""#)
                .put(name)
                .put(r#"","ps":""#)
                .put(name)
                .put(r#"","st":1,"U":"#);
        } else {
            text.put(r#","s":""#).put(name).put(r#"","U":"#);
        }
        text.int(first).put(r#","u":"#).int(last);
        if usdm {
            text.put(r#","pu":"#).int(before);
        }
        for (side, key) in [r#","b":["#, r#"],"a":["#].into_iter().enumerate() {
            text.put(key);
            for level in 0..counts.get(side).copied().unwrap_or(0) {
                let away = level * 7 + self.rng.random_range(0..7);
                let amount = if self.rng.random_bool(0.3) { 0 } else { self.rng.random_range(1..3_000_000) };
                let price = if side == 0 { (price - 1 - away).max(1) } else { price + away };
                text.put(if level == 0 { r#"[""# } else { r#",[""# });
                text.dec(price, d.tick, d.price).put(r#"",""#).dec(amount, d.lot, d.amount).put(r#""]"#);
            }
        }
        text.put("]}}");
        text.done(Some((first, last)))
    }

    fn write_mark(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let now = self.now_ms;
        let rate = self.rng.random_range(-30_000..60_000);
        let price = self.symbols.get(symbol).map_or(0, |state| state.price).saturating_mul(1_000_000);
        let noise = self.rng.random_range(-500_000..500_000);
        let mut text = Text::head(out, self.symbols.get(symbol), MARK);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"markPriceUpdate","E":"#).int(now).put(r#","s":""#).put(name);
        let prices = [(r#"","p":""#, noise), (r#"","ap":""#, noise / 2), (r#"","i":""#, 0), (r#"","P":""#, -noise)];
        for (key, offset) in prices {
            text.put(key).dec(price + offset, 8, 8);
        }
        let funding_ms = (now.div_euclid(28_800_000) + 1) * 28_800_000;
        text.put(r#"","r":""#).dec(rate, 8, 8).put(r#"","T":"#).int(funding_ms).put(r#","st":1}}"#);
        text.done(None)
    }

    fn write_force(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, d) = (self.now_ms, self.decimals);
        let amount = self.rng.random_range(1..500_000);
        let sell = self.rng.random_bool(0.5);
        let price = self.symbols.get(symbol).map_or(0, |state| state.price);
        let mut text = Text::head(out, self.symbols.get(symbol), FORCE);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"forceOrder","E":"#).int(now).put(r#","o":{"s":""#).put(name);
        text.put(r#"","S":""#)
            .put(if sell { "SELL" } else { "BUY" })
            .put(r#"","o":"LIMIT","f":"IOC","q":""#)
            .dec(amount, d.lot, d.amount);
        text.put(r#"","p":""#).dec(price, d.tick, d.price).put(r#"","ap":""#).dec(price + 1, d.tick, d.price);
        text.put(r#"","X":"FILLED","l":""#).dec(amount, d.lot, d.amount).put(r#"","z":""#).dec(amount, d.lot, d.amount);
        text.put(r#"","T":"#).int(now - 1).put(r#","ps":""#).put(name).put(r#"","st":1}}}"#);
        text.done(None)
    }
}

impl Candle {
    fn add(&mut self, id: i64, price: i64, amount: i64, maker: bool) {
        let [_, high, low, close] = &mut self.prices;
        (*high, *low, *close) = ((*high).max(price), (*low).min(price), price);
        let quote = i128::from(price) * i128::from(amount);
        self.last_id = id;
        self.count += 1;
        self.amount += i128::from(amount);
        self.quote += quote;
        if !maker {
            self.taker_amount += i128::from(amount);
            self.taker_quote += quote;
        }
    }
}

fn name(symbols: &[Symbol], symbol: usize) -> &str {
    symbols.get(symbol).map_or("", |state| state.upper.as_str())
}

/// Stream, bytes before the data value, first and last id.
type Written = (u32, u32, Option<(i64, i64)>);

/// Writes one frame.
struct Text<'a> {
    out: &'a mut Vec<u8>,
    stream: u32,
    head_bytes: u32,
}

impl<'a> Text<'a> {
    fn head(out: &'a mut Vec<u8>, symbol: Option<&Symbol>, channel: usize) -> Text<'a> {
        let slot = symbol.and_then(|symbol| symbol.streams.get(channel)?.as_ref());
        let (stream, head) = slot.map_or((0, &[] as &[u8]), |(stream, head)| (*stream, head.as_slice()));
        out.extend_from_slice(head);
        Text { out, stream, head_bytes: head.len() as u32 }
    }

    fn put(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    fn int(&mut self, value: i64) -> &mut Self {
        push_int(self.out, value);
        self
    }

    fn bool(&mut self, value: bool) -> &mut Self {
        self.put(if value { "true" } else { "false" })
    }

    /// `mantissa` with `scale` decimals, printed with `places`.
    fn dec(&mut self, mantissa: i64, scale: usize, places: usize) -> &mut Self {
        let unit = 10_i64.pow(scale as u32);
        if mantissa < 0 {
            self.out.push(b'-');
        }
        let value = mantissa.unsigned_abs() as i64;
        push_int(self.out, value / unit);
        if places > 0 {
            self.out.push(b'.');
        }
        let mut fraction = value % unit;
        let mut unit = unit;
        for place in 0..places {
            if place < scale {
                unit /= 10;
                self.out.push(b'0' + (fraction / unit) as u8);
                fraction %= unit;
            } else {
                self.out.push(b'0');
            }
        }
        self
    }

    /// As [`Text::dec`] for sums that may pass 64 bits.
    fn wide(&mut self, mantissa: i128, scale: usize, places: usize) -> &mut Self {
        let unit = 10_i128.pow(scale as u32);
        let fraction = format!("{:0width$}", mantissa % unit, width = scale);
        let text = format!("{}.{fraction:0<places$}", mantissa / unit);
        self.put(&text)
    }

    fn done(&mut self, ids: Option<(i64, i64)>) -> Written {
        (self.stream, self.head_bytes, ids)
    }
}

/// A decimal text: `mantissa` with `scale` decimals, printed with `places`.
pub(crate) fn decimal(mantissa: i64, scale: usize, places: usize) -> String {
    let mut out = Vec::new();
    Text { out: &mut out, stream: 0, head_bytes: 0 }.dec(mantissa, scale, places);
    String::from_utf8_lossy(&out).into_owned()
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
        let (mut generator, streams) = Generator::new(rules, &market(total), 7, 0, 1);
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
        for rules in [Rules::Spot, Rules::Usdm] {
            let (frames, _) = run(rules, 20_000);
            assert_eq!(frames.len(), 20_000);
            let mut last: HashMap<String, Value> = HashMap::new();
            for (stream, data) in frames {
                if let Some(before) = last.get(&stream) {
                    let (int, was) =
                        (|key: &str| data[key].as_i64().unwrap(), |key: &str| before[key].as_i64().unwrap());
                    match stream.split_once('@').unwrap().1 {
                        "trade" => assert_eq!(int("t"), was("t") + 1),
                        "aggTrade" => assert_eq!((int("a"), int("f")), (was("a") + 1, was("l") + 1)),
                        "bookTicker" => assert!(int("u") > was("u")),
                        "depth@100ms" if rules == Rules::Usdm => assert_eq!(int("pu"), was("u")),
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

    #[test]
    fn decimals_print_with_the_places_of_the_venue() {
        assert_eq!(decimal(6_183_763, 2, 8), "61837.63000000");
        assert_eq!(decimal(5, 3, 3), "0.005");
        assert_eq!(decimal(-12_345, 8, 8), "-0.00012345");
    }
}
