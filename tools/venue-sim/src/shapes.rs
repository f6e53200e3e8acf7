//! The exact text of every generated frame, field by field in the venue's order. Decides nothing: what to say is `generate`'s.
//!
//! Shapes are those of 2026 (futures with `st`, `ps`, `ap`, USD-M with `nq`).

use std::sync::atomic::Ordering;

use rand::RngExt as _;

use crate::binance::Market as Rules;
use crate::generate::{AGG, DEPTH, FORCE, Generator, KLINE, MARK, Queued, Symbol, TOP, TRADES, Written};
use crate::text::Text;

impl Generator {
    /// The family of futures that a row is of.
    fn family(&self) -> &'static str {
        if self.rules == Rules::Coinm { r#","st":2"# } else { r#","st":1"# }
    }

    pub(crate) fn write_queued(&mut self, now: i64, queued: Queued, out: &mut Vec<u8>) -> Written {
        let (futures, d) = (self.rules != Rules::Spot, self.decimals);
        match queued {
            Queued::Trade { symbol, id, price, amount, maker } => {
                let (mut text, frame) = head(out, self.symbols.get(symbol), TRADES);
                text.put(r#"{"e":"trade","E":"#).int(now);
                if futures {
                    text.put(r#","T":"#).int(now);
                }
                text.put(r#","s":""#).put(name(&self.symbols, symbol)).put(r#"","t":"#).int(id);
                text.put(r#","p":""#)
                    .dec(price, d.tick_decimals, d.price)
                    .put(r#"","q":""#)
                    .dec(amount, d.lot_decimals, d.amount);
                if futures {
                    text.put(r#"","X":"MARKET","m":"#).bool(maker).put(self.family()).put("}}");
                } else {
                    text.put(r#"","T":"#).int(now).put(r#","m":"#).bool(maker).put(r#","M":true}}"#);
                }
                done(frame, Some((id, id)))
            }
            Queued::Agg { symbol, id, first, last, price, amount, maker } => {
                let (mut text, frame) = head(out, self.symbols.get(symbol), AGG);
                let name = name(&self.symbols, symbol);
                text.put(r#"{"e":"aggTrade","E":"#).int(now);
                if futures {
                    text.put(r#","a":"#).int(id).put(r#","s":""#).put(name).put(r#"","p":""#);
                } else {
                    text.put(r#","s":""#).put(name).put(r#"","a":"#).int(id).put(r#","p":""#);
                }
                text.dec(price, d.tick_decimals, d.price)
                    .put(r#"","q":""#)
                    .dec(amount, d.lot_decimals, d.amount)
                    .put("\"");
                if self.rules == Rules::Usdm {
                    text.put(r#","nq":""#).dec(amount, d.lot_decimals, d.amount).put("\"");
                }
                text.put(r#","f":"#)
                    .int(first)
                    .put(r#","l":"#)
                    .int(last)
                    .put(r#","T":"#)
                    .int(now)
                    .put(r#","m":"#)
                    .bool(maker);
                text.put(if futures { self.family() } else { r#","M":true"# }).put("}}");
                done(frame, Some((id, id)))
            }
            Queued::Kline { symbol, candle, closed } => {
                let event_ms = if closed { candle.open_ms + 60_000 } else { now };
                let (mut text, frame) = head(out, self.symbols.get(symbol), KLINE);
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
                    text.put(key).dec(price, d.tick_decimals, d.price);
                }
                text.put(r#"","v":""#).wide(candle.amount, d.lot_decimals, d.amount).put(r#"","n":"#).int(candle.count);
                let ([worth, taker_worth], places) =
                    candle.quote_or_base_volume(self.rules, name, d.tick_decimals, d.lot_decimals);
                text.put(r#","x":"#).bool(closed).put(r#","q":""#).wide(worth, places, places.max(d.price));
                text.put(r#"","V":""#).wide(candle.taker_amount, d.lot_decimals, d.amount);
                text.put(r#"","Q":""#).wide(taker_worth, places, places.max(d.price)).put(r#"","B":"0"}}}"#);
                done(frame, None)
            }
        }
    }

    pub(crate) fn write_top(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, futures, d) = (self.now_ms, self.rules != Rules::Spot, self.decimals);
        let amounts: [i64; 2] = [(); 2].map(|()| self.rng.random_range(1..2_000_000));
        let step = self.rng.random_range(1..20);
        let (id, price) = match self.symbols.get_mut(symbol) {
            Some(state) => {
                state.update_id += step;
                (state.update_id, state.price)
            }
            None => (0, 0),
        };
        let (mut text, frame) = head(out, self.symbols.get(symbol), TOP);
        let name = name(&self.symbols, symbol);
        text.put(if futures { r#"{"e":"bookTicker","u":"# } else { r#"{"u":"# }).int(id).put(r#","s":""#).put(name);
        if futures {
            text.put(r#"","ps":""#).put(self.rules.pair(name));
        }
        text.put(r#"","b":""#)
            .dec(price - 1, d.tick_decimals, d.price)
            .put(r#"","B":""#)
            .dec(amounts[0], d.lot_decimals, d.amount);
        text.put(r#"","a":""#)
            .dec(price, d.tick_decimals, d.price)
            .put(r#"","A":""#)
            .dec(amounts[1], d.lot_decimals, d.amount);
        if futures {
            text.put(r#"","T":"#).int(now).put(r#","E":"#).int(now).put(self.family()).put("}}");
        } else {
            text.put(r#""}}"#);
        }
        done(frame, Some((id, id)))
    }

    pub(crate) fn write_depth(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, futures, d) = (self.now_ms, self.rules != Rules::Spot, self.decimals);
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
        if let Some((id, _)) = self.market_state.latest.get(symbol) {
            id.store(last, Ordering::Release);
        }
        let (mut text, frame) = head(out, self.symbols.get(symbol), DEPTH);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"depthUpdate","E":"#).int(now);
        if futures {
            text.put(r#","T":"#)
                .int(now)
                .put(r#","s":""#)
                .put(name)
                .put(r#"","ps":""#)
                .put(self.rules.pair(name))
                .put("\"")
                .put(self.family())
                .put(r#","U":"#);
        } else {
            text.put(r#","s":""#).put(name).put(r#"","U":"#);
        }
        text.int(first).put(r#","u":"#).int(last);
        if futures {
            text.put(r#","pu":"#).int(before);
        }
        for (side, key) in [r#","b":["#, r#"],"a":["#].into_iter().enumerate() {
            text.put(key);
            for level in 0..counts.get(side).copied().unwrap_or(0) {
                let away = level * 7 + self.rng.random_range(0..7);
                let amount = if self.rng.random_bool(0.3) { 0 } else { self.rng.random_range(1..3_000_000) };
                let price = if side == 0 { (price - 1 - away).max(1) } else { price + away };
                text.put(if level == 0 { r#"[""# } else { r#",[""# });
                text.dec(price, d.tick_decimals, d.price)
                    .put(r#"",""#)
                    .dec(amount, d.lot_decimals, d.amount)
                    .put(r#""]"#);
            }
        }
        text.put("]}}");
        done(frame, Some((first, last)))
    }

    pub(crate) fn write_mark(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let now = self.now_ms;
        let rate = self.rng.random_range(-30_000..60_000);
        let price = self.symbols.get(symbol).map_or(0, |state| state.price).saturating_mul(1_000_000);
        let noise = self.rng.random_range(-500_000..500_000);
        let (mut text, frame) = head(out, self.symbols.get(symbol), MARK);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"markPriceUpdate","E":"#).int(now).put(r#","s":""#).put(name);
        let prices = [(r#"","p":""#, noise), (r#"","ap":""#, noise / 2), (r#"","i":""#, 0), (r#"","P":""#, -noise)];
        for (key, offset) in prices {
            text.put(key).dec(price + offset, 8, 8);
        }
        let funding_ms = (now.div_euclid(28_800_000) + 1) * 28_800_000;
        text.put(r#"","r":""#).dec(rate, 8, 8).put(r#"","T":"#).int(funding_ms).put(self.family()).put("}}");
        done(frame, None)
    }

    pub(crate) fn write_force(&mut self, symbol: usize, out: &mut Vec<u8>) -> Written {
        let (now, d) = (self.now_ms, self.decimals);
        let amount = self.rng.random_range(1..500_000);
        let sell = self.rng.random_bool(0.5);
        let price = self.symbols.get(symbol).map_or(0, |state| state.price);
        let (mut text, frame) = head(out, self.symbols.get(symbol), FORCE);
        let name = name(&self.symbols, symbol);
        text.put(r#"{"e":"forceOrder","E":"#).int(now).put(r#","o":{"s":""#).put(name);
        text.put(r#"","S":""#)
            .put(if sell { "SELL" } else { "BUY" })
            .put(r#"","o":"LIMIT","f":"IOC","q":""#)
            .dec(amount, d.lot_decimals, d.amount);
        text.put(r#"","p":""#).dec(price, d.tick_decimals, d.price).put(r#"","ap":""#).dec(
            price + 1,
            d.tick_decimals,
            d.price,
        );
        text.put(r#"","X":"FILLED","l":""#)
            .dec(amount, d.lot_decimals, d.amount)
            .put(r#"","z":""#)
            .dec(amount, d.lot_decimals, d.amount);
        text.put(r#"","T":"#)
            .int(now - 1)
            .put(r#","ps":""#)
            .put(self.rules.pair(name))
            .put("\"")
            .put(self.family())
            .put("}}}");
        done(frame, None)
    }
}

fn name(symbols: &[Symbol], symbol: usize) -> &str {
    symbols.get(symbol).map_or("", |state| state.upper.as_str())
}

/// Begins a frame of a symbol's channel; gives its stream and the bytes before the data value.
fn head<'a>(out: &'a mut Vec<u8>, symbol: Option<&Symbol>, channel: usize) -> (Text<'a>, (u32, u32)) {
    let slot = symbol.and_then(|symbol| symbol.streams.get(channel)?.as_ref());
    let (stream, head) = slot.map_or((0, &[] as &[u8]), |(stream, head)| (*stream, head.as_slice()));
    out.extend_from_slice(head);
    (Text(out), (stream, head.len() as u32))
}

fn done((stream, head_bytes): (u32, u32), ids: Option<(i64, i64)>) -> Written {
    (stream, head_bytes, ids)
}
