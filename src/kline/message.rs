//! What goes to the worker of the candles and what comes back: items of a log, jobs, changes for the database, updates
//! for subscribers.

use super::recent::RecentTrades;
use model::interval::Interval;
use model::kline::{KlineData, Tick};
use model::unit::Unit;

/// One thing in the order of its log.
#[derive(Clone, Debug)]
pub enum Item {
    /// A trade.
    Tick(Tick),
    /// The venue's time passed the end of a minute: bars of all symbols of this feed that end by then close.
    Clock {
        /// Number of the feed.
        feed: u32,
        /// The venue's time, us.
        now_us: i64,
    },
    /// Trades of a symbol are missing between two times, us.
    Gap {
        /// Registry index.
        symbol_index: u32,
        /// Last trade before, us.
        from_us: i64,
        /// First trade after, us.
        to_us: i64,
        /// Nothing was traded since: what the last price was nobody knows, and bars without a trade are marked too.
        unsettled: bool,
    },
    /// Nothing is missing in these bars any more.
    Repaired {
        /// Registry index.
        symbol_index: u32,
        /// Interval.
        interval: Interval,
        /// Open time of the first one, us.
        from_us: i64,
        /// Open time of the last one, us.
        to_us: i64,
    },
    /// What was traded in a bar before recording began; see `KlineGenerator::prepend`.
    Seed {
        /// Registry index.
        symbol_index: u32,
        /// Interval.
        interval: Interval,
        /// The candle up to the first recorded trade; boxed, because trades are small and far more.
        bar: Box<KlineData>,
    },
    /// Bars as the database has them, oldest first, before anything else of that symbol.
    Restore {
        /// Registry index.
        symbol_index: u32,
        /// Feed that owns the symbol.
        feed: u32,
        /// Interval.
        interval: Interval,
        /// The newest ones.
        bars: Vec<KlineData>,
        /// The last bar with trades before them, when the first of them has none; boxed, because trades are small.
        before: Option<Box<KlineData>>,
        /// They are not as they are stored.
        corrected: bool,
    },
    /// What a unit of its amounts is worth, from the next trade on.
    Unit {
        /// Registry index.
        symbol_index: u32,
        /// Of the newest listing.
        unit: Unit,
    },
    /// A feed restarts at its last checkpoint: its symbols are empty until they are restored.
    Reset {
        /// Number of the feed.
        feed: u32,
    },
    /// The venue's listing says that a symbol does not trade, or does again; see `KlineGenerator::halt`.
    Halt {
        /// Registry index.
        symbol_index: u32,
        /// It does not.
        halted: bool,
    },
    /// The trades before it came with one record, received at this time.
    Received {
        /// Wall time, ns since epoch.
        ns: u64,
        /// How many.
        trades: u32,
    },
    /// A symbol of a feed, so that its bars close by the feed's clock.
    Own {
        /// Registry index.
        symbol_index: u32,
        /// Number of the feed.
        feed: u32,
    },
}

/// Sets or clears the gap flag of stored bars that are not in memory any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Registry index.
    pub symbol_index: u32,
    /// Interval.
    pub interval: Interval,
    /// First instant of the gap, us.
    pub from_us: i64,
    /// Last instant of the gap, us.
    pub to_us: i64,
    /// Bars that open at or after this are in memory and come as bars; us.
    pub before_us: i64,
    /// True: trades are missing. False: they are all there now.
    pub gap: bool,
}

/// A trade of a bar that is not in memory any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldTrade {
    /// Interval of the bar.
    pub interval: Interval,
    /// Open time of the bar, us.
    pub open_time_us: i64,
    /// The trade.
    pub tick: Tick,
    /// What its amount is worth.
    pub unit: Unit,
    /// Bars that open at or after this are in memory and come as bars; us.
    pub before_us: i64,
}

/// What a database must store to be as far as a place in the log.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// Bars that changed: the newest state of each.
    pub bars: Vec<(u32, Interval, KlineData)>,
    /// Trades of bars that are not in memory any more: add them to the stored ones.
    pub old: Vec<OldTrade>,
    /// Gap flags of bars that are not in memory any more.
    pub marks: Vec<Mark>,
}

/// A message to the worker.
pub enum CandleJob {
    /// Items of a log in their order.
    Batch(Vec<Item>),
    /// Everything of this feed sent before is applied: hand over what changed since the last checkpoint.
    Checkpoint {
        /// Number of the feed.
        feed: u32,
        /// Where it goes.
        reply: Box<dyn FnOnce(Dirty) + Send>,
    },
    /// Show all symbols to readers of the whole.
    Swap,
    /// From now on at most so many of the most recent trades of a symbol are kept.
    KeepRecent(usize),
    /// End.
    Stop,
    /// The bars of a symbol that are in memory, oldest first: closed ones and the open one.
    Kept {
        /// Registry index.
        symbol_index: u32,
        /// Interval.
        interval: Interval,
        /// Where they go.
        reply: Box<dyn FnOnce(Vec<KlineData>) + Send>,
    },
    /// The most recent trades of a symbol.
    Recent {
        /// Registry index.
        symbol_index: u32,
        /// Where they go.
        reply: Box<dyn FnOnce(RecentTrades) + Send>,
    },
}

/// What subscribers hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Registry index.
    pub symbol_index: u32,
    /// Interval.
    pub interval: Interval,
    /// The bar now.
    pub bar: KlineData,
    /// Closed or revised just now; false for the state of an open bar.
    pub event: bool,
}
