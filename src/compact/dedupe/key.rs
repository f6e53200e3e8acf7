//! What tells a row from the others of its stream: the venue's id where it sends one, else all it says.
//!
//! The hash is written out here (FNV-1a with a final mix), because keys are saved and must mean the same in the
//! next version. Symbols are not part of it: keys are kept per symbol. Interned texts count as their text.

use crate::venue::row::{BookTicker, DepthUpdate, Level, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline};
use crate::venue::{Interner, Num, SymbolId};

struct Key(u64);

impl Key {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, b: u8) {
        self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn int(mut self, n: i64) -> Self {
        // A word at a time: the final mix spreads it.
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
        self
    }

    fn opt(self, n: Option<i64>) -> Self {
        match n {
            Some(n) => self.int(1).int(n),
            None => self.int(0),
        }
    }

    fn num(self, n: Num) -> Self {
        self.int(n.mantissa).int(i64::from(n.scale))
    }

    fn opt_num(self, n: Option<Num>) -> Self {
        match n {
            Some(n) => self.int(1).num(n),
            None => self.int(0),
        }
    }

    fn text(mut self, text: &str) -> Self {
        text.bytes().for_each(|b| self.byte(b));
        self.int(text.len() as i64)
    }

    fn word(self, id: Option<SymbolId>, words: &Interner) -> Self {
        self.text(id.map_or("", |id| words.name(id)))
    }

    fn side(self, side: Side) -> Self {
        self.text(side.as_str())
    }

    fn done(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

/// A row that its number names.
pub(super) fn number(id: i64) -> u64 {
    Key::new().int(id).done()
}

pub(super) fn trade(r: &Trade, words: &Interner) -> u64 {
    match (r.id, &r.id_str) {
        (Some(id), _) => number(id),
        (None, Some(id)) => Key::new().text(id).done(),
        (None, None) => Key::new()
            .opt(r.ts_event_us)
            .opt(r.ts_trade_us)
            .num(r.price)
            .num(r.amount)
            .side(r.side)
            .word(r.kind, words)
            .done(),
    }
}

/// The ids of the message; a message without ids, and a book, by all it says.
pub(super) fn depth(r: &DepthUpdate, levels: &[Level]) -> u64 {
    let key = Key::new().opt(r.first_update_id).opt(r.final_update_id);
    if r.final_update_id.is_some() && !r.is_snapshot {
        return key.done();
    }
    let key = key.opt(r.ts_event_us);
    levels.iter().fold(key, |key, l| key.int(i64::from(l.bid)).num(l.price).num(l.amount)).done()
}

pub(super) fn book_ticker(r: &BookTicker) -> u64 {
    match r.update_id {
        Some(id) => number(id),
        None => Key::new()
            .opt(r.ts_event_us)
            .opt_num(r.bid_price)
            .opt_num(r.bid_amount)
            .opt_num(r.ask_price)
            .opt_num(r.ask_amount)
            .done(),
    }
}

pub(super) fn mark_price(r: &MarkPrice) -> u64 {
    Key::new()
        .opt(r.ts_event_us)
        .opt_num(r.mark_price)
        .opt_num(r.index_price)
        .opt_num(r.settle_price)
        .opt_num(r.funding_rate)
        .opt(r.next_funding_us)
        .done()
}

pub(super) fn liquidation(r: &Liquidation, words: &Interner) -> u64 {
    Key::new()
        .opt(r.ts_event_us)
        .side(r.side)
        .num(r.price)
        .opt_num(r.avg_price)
        .num(r.amount)
        .opt_num(r.filled)
        .word(r.status, words)
        .done()
}

pub(super) fn ticker(r: &Ticker) -> u64 {
    Key::new()
        .opt(r.ts_event_us)
        .opt_num(r.open)
        .opt_num(r.high)
        .opt_num(r.low)
        .opt_num(r.last)
        .opt_num(r.volume)
        .opt_num(r.quote_volume)
        .opt(r.count)
        .done()
}

pub(super) fn venue_kline(r: &VenueKline, words: &Interner) -> u64 {
    Key::new()
        .opt(r.ts_event_us)
        .word(Some(r.interval), words)
        .int(r.open_time_us)
        .int(r.close_time_us)
        .num(r.open)
        .num(r.high)
        .num(r.low)
        .num(r.close)
        .opt_num(r.volume)
        .opt(r.trade_count)
        .int(i64::from(r.is_final))
        .done()
}
