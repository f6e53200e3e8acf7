//! What identifies a row in its stream: the venue's id and its content, or, without an id, all it says.
//!
//! Content is what happened: price, amount, side, levels, the time of the trade. When the venue sent it is none, where
//! an id distinguishes rows: two of its servers may differ in that. Interned texts count as their text.
//!
//! The hash is written out here (FNV-1a with a final mix), because keys are saved and must mean the same in the
//! next version. Symbols are no part of it: [`RowKey::of_stream`] adds them.

use lake::manifest::Repair;
use model::row::{
    AggTrade, BookTicker, Candle, DepthUpdate, Level, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline,
};
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
pub(crate) struct RowKey {
    /// The id, or all the row says.
    pub(crate) id: u64,
    /// What else it says; 0 without an id.
    pub(crate) content: u32,
    /// It has an id of the venue: the same one is the same row, when the content is.
    pub(crate) numbered: bool,
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
    pub(crate) fn of_stream(self, stream: u64) -> Self {
        Self { id: Key(stream).int(self.id as i64).done(), ..self }
    }

    /// That of a row with the id of another one, but not its content.
    pub(crate) fn of_other_content(self) -> Self {
        Self { id: Key(self.id).int(i64::from(self.content)).done(), ..self }
    }
}

/// What version 1 knew a row by: its id alone.
pub(crate) fn older(id: u64) -> RowKey {
    RowKey { id, content: 0, numbered: true }
}

/// What identifies a stream.
pub(crate) fn stream(table: &str, symbol: &str) -> u64 {
    Key::new().text(table).text(symbol).done()
}

/// What identifies one end of a repair.
pub(crate) fn repair(r: &Repair) -> RowKey {
    let id = stream(&r.channel, &r.symbol);
    RowKey::whole(Key(id).int(r.from_id).int(r.to_id).int(r.rows as i64).text(r.why.as_deref().unwrap_or_default()))
}

fn number(id: i64) -> u64 {
    Key::new().int(id).done()
}

// Rows are taken apart by name, so that a new field does not compile until it is in the key or said not to be (`_`).

pub(crate) fn trade(r: &Trade, words: &Interner) -> RowKey {
    let Trade { symbol: _, ts_event_us, ts_trade_us, id, id_str, price, amount, side, kind } = r;
    let what = |key: Key| key.opt(*ts_trade_us).num(*price).num(*amount).side(*side).word(*kind, words);
    let id = match (id, id_str) {
        (Some(id), _) => number(*id),
        (None, Some(id)) => Key::new().text(id).done(),
        (None, None) => return RowKey::whole(what(Key::new().opt(*ts_event_us))),
    };
    RowKey::numbered(id, what(Key::new()))
}

pub(crate) fn agg_trade(r: &AggTrade) -> RowKey {
    let AggTrade { symbol: _, ts_event_us: _, ts_trade_us, agg_id, first_id, last_id, price, amount, side } = r;
    let content = Key::new().int(*ts_trade_us).int(*first_id).int(*last_id).num(*price).num(*amount).side(*side);
    RowKey::numbered(number(*agg_id), content)
}

/// The ids of the message and its levels; a message without ids, and a book, by all it says.
pub(crate) fn depth(r: &DepthUpdate, levels: &[Level]) -> RowKey {
    let DepthUpdate {
        symbol: _,
        ts_event_us,
        first_update_id,
        final_update_id,
        prev_update_id,
        is_snapshot,
        first_level: _,
        level_count: _,
    } = r;
    let with = |key: Key| {
        levels
            .iter()
            .fold(key, |key, Level { bid, level: _, price, amount }| key.int(i64::from(*bid)).num(*price).num(*amount))
    };
    let ids = Key::new().opt(*first_update_id).opt(*final_update_id);
    if final_update_id.is_some() && !is_snapshot {
        return RowKey::numbered(ids.done(), with(Key::new().opt(*prev_update_id)));
    }
    RowKey::whole(with(ids.opt(*ts_event_us)))
}

pub(crate) fn book_ticker(r: &BookTicker) -> RowKey {
    let BookTicker { symbol: _, ts_event_us, update_id, bid_price, bid_amount, ask_price, ask_amount } = r;
    let with = |key: Key| key.opt_num(*bid_price).opt_num(*bid_amount).opt_num(*ask_price).opt_num(*ask_amount);
    match update_id {
        Some(id) => RowKey::numbered(number(*id), with(Key::new())),
        None => RowKey::whole(with(Key::new().opt(*ts_event_us))),
    }
}

pub(crate) fn mark_price(r: &MarkPrice) -> RowKey {
    let MarkPrice { symbol: _, ts_event_us, mark_price, index_price, settle_price, funding_rate, next_funding_us } = r;
    let key = Key::new()
        .opt(*ts_event_us)
        .opt_num(*mark_price)
        .opt_num(*index_price)
        .opt_num(*settle_price)
        .opt_num(*funding_rate)
        .opt(*next_funding_us);
    RowKey::whole(key)
}

pub(crate) fn liquidation(r: &Liquidation, words: &Interner) -> RowKey {
    let Liquidation { symbol: _, ts_event_us, side, price, avg_price, amount, filled, status } = r;
    let key = Key::new()
        .opt(*ts_event_us)
        .text(side.map_or("", Side::as_str))
        .num(*price)
        .opt_num(*avg_price)
        .num(*amount)
        .opt_num(*filled)
        .word(*status, words);
    RowKey::whole(key)
}

pub(crate) fn ticker(r: &Ticker) -> RowKey {
    let Ticker { symbol: _, ts_event_us, open, high, low, last, volume, quote_volume, count } = r;
    let key = Key::new()
        .opt(*ts_event_us)
        .opt_num(*open)
        .opt_num(*high)
        .opt_num(*low)
        .opt_num(*last)
        .opt_num(*volume)
        .opt_num(*quote_volume)
        .opt(*count);
    RowKey::whole(key)
}

pub(crate) fn venue_kline(r: &VenueKline, words: &Interner) -> RowKey {
    let VenueKline { symbol: _, ts_event_us, interval, close_time_us, candle, first_trade_id, last_trade_id, is_final } =
        r;
    let Candle {
        open_time_us,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        taker_buy_volume,
        taker_buy_quote_volume,
    } = candle;
    let key = Key::new()
        .opt(*ts_event_us)
        .word(Some(*interval), words)
        .int(*open_time_us)
        .int(*close_time_us)
        .num(*open)
        .num(*high)
        .num(*low)
        .num(*close)
        .opt_num(*volume)
        .opt(*trade_count)
        .int(i64::from(*is_final))
        .opt_num(*quote_volume)
        .opt_num(*taker_buy_volume)
        .opt_num(*taker_buy_quote_volume)
        .opt(*first_trade_id)
        .opt(*last_trade_id);
    RowKey::whole(key)
}
