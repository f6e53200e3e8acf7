//! What tells a row from the others of its stream: the venue's id and its content, or, without an id, all it says.
//!
//! Content is what happened: price, amount, side, levels, the time of the trade. When the venue sent it is none, where
//! an id tells rows apart: two of its servers may differ in that. Interned texts count as their text.
//!
//! The hash is written out here (FNV-1a with a final mix), because keys are saved and must mean the same in the
//! next version. Symbols are no part of it: [`RowKey::of_stream`] adds them.

use lake::manifest::Repair;
use model::row::{AggTrade, BookTicker, DepthUpdate, Level, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline};
use model::{Interner, Num, SymbolId};

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
        let mantissa = n.mantissa;
        let key = self.int(mantissa as i64).int(i64::from(n.scale));
        // Keys of numbers that a word holds are those of before there were others.
        if i64::try_from(mantissa).is_ok() { key } else { key.int((mantissa >> 64) as i64) }
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

/// What a row is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowKey {
    /// The id, or all the row says.
    pub(super) id: u64,
    /// What else it says; 0 without an id.
    pub(super) content: u32,
    /// It has an id of the venue: the same one is the same row, when the content is.
    pub(super) numbered: bool,
}

impl RowKey {
    fn numbered(id: u64, content: Key) -> Self {
        // 0 is what rows without an id have.
        Self { id, content: (content.done() >> 32) as u32 | 1, numbered: true }
    }

    fn whole(id: Key) -> Self {
        Self { id: id.done(), content: 0, numbered: false }
    }

    /// The key among those of all streams.
    pub(super) fn of_stream(self, stream: u64) -> Self {
        Self { id: Key(stream).int(self.id as i64).done(), ..self }
    }

    /// That of a row with the id of another one, but not its content.
    pub(super) fn of_other_content(self) -> Self {
        Self { id: Key(self.id).int(i64::from(self.content)).done(), ..self }
    }
}

/// What version 1 knew a row by: its id alone.
pub(super) fn older(id: u64) -> RowKey {
    RowKey { id, content: 0, numbered: true }
}

/// What tells a stream from the others.
pub(super) fn stream(table: &str, symbol: &str) -> u64 {
    Key::new().text(table).text(symbol).done()
}

/// What tells one end of a repair from the others.
pub(super) fn repair(r: &Repair) -> RowKey {
    let id = stream(&r.channel, &r.symbol);
    RowKey::whole(Key(id).int(r.from_id).int(r.to_id).int(r.rows as i64).text(r.why.as_deref().unwrap_or_default()))
}

fn number(id: i64) -> u64 {
    Key::new().int(id).done()
}

pub(super) fn trade(r: &Trade, words: &Interner) -> RowKey {
    let id = match (r.id, &r.id_str) {
        (Some(id), _) => number(id),
        (None, Some(id)) => Key::new().text(id).done(),
        (None, None) => {
            return RowKey::whole(
                Key::new()
                    .opt(r.ts_event_us)
                    .opt(r.ts_trade_us)
                    .num(r.price)
                    .num(r.amount)
                    .side(r.side)
                    .word(r.kind, words),
            );
        }
    };
    RowKey::numbered(id, Key::new().opt(r.ts_trade_us).num(r.price).num(r.amount).side(r.side).word(r.kind, words))
}

pub(super) fn agg_trade(r: &AggTrade) -> RowKey {
    let content = Key::new().int(r.ts_trade_us).int(r.first_id).int(r.last_id).num(r.price).num(r.amount).side(r.side);
    RowKey::numbered(number(r.agg_id), content)
}

/// The ids of the message and its levels; a message without ids, and a book, by all it says.
pub(super) fn depth(r: &DepthUpdate, levels: &[Level]) -> RowKey {
    let with = |key: Key| levels.iter().fold(key, |key, l| key.int(i64::from(l.bid)).num(l.price).num(l.amount));
    let ids = Key::new().opt(r.first_update_id).opt(r.final_update_id);
    if r.final_update_id.is_some() && !r.is_snapshot {
        return RowKey::numbered(ids.done(), with(Key::new().opt(r.prev_update_id)));
    }
    RowKey::whole(with(ids.opt(r.ts_event_us)))
}

pub(super) fn book_ticker(r: &BookTicker) -> RowKey {
    let with = |key: Key| key.opt_num(r.bid_price).opt_num(r.bid_amount).opt_num(r.ask_price).opt_num(r.ask_amount);
    match r.update_id {
        Some(id) => RowKey::numbered(number(id), with(Key::new())),
        None => RowKey::whole(with(Key::new().opt(r.ts_event_us))),
    }
}

pub(super) fn mark_price(r: &MarkPrice) -> RowKey {
    let key = Key::new()
        .opt(r.ts_event_us)
        .opt_num(r.mark_price)
        .opt_num(r.index_price)
        .opt_num(r.settle_price)
        .opt_num(r.funding_rate)
        .opt(r.next_funding_us);
    RowKey::whole(key)
}

pub(super) fn liquidation(r: &Liquidation, words: &Interner) -> RowKey {
    let key = Key::new()
        .opt(r.ts_event_us)
        .text(r.side.map_or("", Side::as_str))
        .num(r.price)
        .opt_num(r.avg_price)
        .num(r.amount)
        .opt_num(r.filled)
        .word(r.status, words);
    RowKey::whole(key)
}

pub(super) fn ticker(r: &Ticker) -> RowKey {
    let key = Key::new()
        .opt(r.ts_event_us)
        .opt_num(r.open)
        .opt_num(r.high)
        .opt_num(r.low)
        .opt_num(r.last)
        .opt_num(r.volume)
        .opt_num(r.quote_volume)
        .opt(r.count);
    RowKey::whole(key)
}

pub(super) fn venue_kline(r: &VenueKline, words: &Interner) -> RowKey {
    let key = Key::new()
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
        .opt_num(r.quote_volume)
        .opt_num(r.taker_buy_volume)
        .opt_num(r.taker_buy_quote_volume)
        .opt(r.first_trade_id)
        .opt(r.last_trade_id);
    RowKey::whole(key)
}
