//! Decoded rows, before they are columns.
//!
//! One frame becomes rows of one table. Rows own nothing: symbols and other rare texts are interned, prices are
//! exact integers, times are µs since 1970-01-01 UTC. Common columns (`ts_recv`, `seq`, `conn` ...) belong to the
//! record, not to the frame, so they are not here.

use super::Channel;
use super::number::Num;
use super::symbol::{Interner, Symbol, SymbolId};
use crate::Listing;

/// Taker (aggressor) side; of a liquidation, the side of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

impl Side {
    /// The name stored in the lake.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// A single trade.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Time of the match, µs.
    pub ts_trade_us: Option<i64>,
    /// Numeric trade id.
    pub id: Option<i64>,
    /// Trade id of venues that send text.
    pub id_str: Option<Box<str>>,
    /// Price in quote units.
    pub price: Num,
    /// Amount in the unit the venue sends.
    pub amount: Num,
    /// Taker side.
    pub side: Side,
    /// The venue's own trade type (USD-M `X`).
    pub kind: Option<SymbolId>,
}

/// An aggregated trade.
#[derive(Clone, Debug, PartialEq)]
pub struct AggTrade {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Time of the match, µs.
    pub ts_trade_us: i64,
    /// Aggregate id.
    pub agg_id: i64,
    /// First trade id of the aggregate.
    pub first_id: i64,
    /// Last trade id of the aggregate.
    pub last_id: i64,
    /// Price.
    pub price: Num,
    /// Amount.
    pub amount: Num,
    /// Taker side.
    pub side: Side,
}

/// Best bid and ask.
#[derive(Clone, Debug, PartialEq)]
pub struct BookTicker {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs; Binance spot sends none.
    pub ts_event_us: Option<i64>,
    /// Order book update id.
    pub update_id: Option<i64>,
    /// Best bid price; `None` for an empty side.
    pub bid_price: Option<Num>,
    /// Amount at the best bid.
    pub bid_amount: Option<Num>,
    /// Best ask price.
    pub ask_price: Option<Num>,
    /// Amount at the best ask.
    pub ask_amount: Option<Num>,
}

/// One depth message; its levels are `Rows::levels[first_level .. first_level + level_count]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthUpdate {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// First update id in the message.
    pub first_update_id: Option<i64>,
    /// Final update id in the message.
    pub final_update_id: Option<i64>,
    /// Final update id of the message before (USD-M `pu`).
    pub prev_update_id: Option<i64>,
    /// True for a whole book, false for changes.
    pub is_snapshot: bool,
    /// Index of the first level in [`Rows::levels`].
    pub first_level: u32,
    /// Number of levels; 0 is possible (an update that changes nothing).
    pub level_count: u32,
}

impl DepthUpdate {
    /// Changes without a time, ids or levels.
    pub fn of(symbol: SymbolId) -> Self {
        Self {
            symbol,
            ts_event_us: None,
            first_update_id: None,
            final_update_id: None,
            prev_update_id: None,
            is_snapshot: false,
            first_level: 0,
            level_count: 0,
        }
    }
}

/// One price level of a [`DepthUpdate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// True for a bid.
    pub bid: bool,
    /// 0-based index in its side as sent.
    pub level: i32,
    /// Price.
    pub price: Num,
    /// New absolute amount; 0 deletes the level.
    pub amount: Num,
}

/// Mark price and funding of a perpetual.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkPrice {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Mark price.
    pub mark_price: Option<Num>,
    /// Index price.
    pub index_price: Option<Num>,
    /// Estimated settle price.
    pub settle_price: Option<Num>,
    /// Funding rate as a fraction.
    pub funding_rate: Option<Num>,
    /// Next funding time, µs.
    pub next_funding_us: Option<i64>,
}

/// A forced order.
#[derive(Clone, Debug, PartialEq)]
pub struct Liquidation {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Side of the forced order, where the venue says it.
    pub side: Option<Side>,
    /// Order price.
    pub price: Num,
    /// Average fill price.
    pub avg_price: Option<Num>,
    /// Order amount.
    pub amount: Num,
    /// Filled amount.
    pub filled: Option<Num>,
    /// The venue's own status word; on Gate the sign of the size, whose meaning is documented nowhere.
    pub status: Option<SymbolId>,
}

/// 24 h statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticker {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Open, high, low, last, volume, quote volume of the last 24 h.
    pub open: Option<Num>,
    /// Highest price.
    pub high: Option<Num>,
    /// Lowest price.
    pub low: Option<Num>,
    /// Last price.
    pub last: Option<Num>,
    /// Base volume.
    pub volume: Option<Num>,
    /// Quote volume.
    pub quote_volume: Option<Num>,
    /// Number of trades.
    pub count: Option<i64>,
}

/// What a venue says of a candle, over a stream or over REST.
#[derive(Clone, Debug, PartialEq)]
pub struct Candle {
    /// Open time, µs.
    pub open_time_us: i64,
    /// Open price.
    pub open: Num,
    /// High price.
    pub high: Num,
    /// Low price.
    pub low: Num,
    /// Close price.
    pub close: Num,
    /// Base volume, or in the unit of `amount` of the trades; Gate spot sent none until 2022.
    pub volume: Option<Num>,
    /// Quote volume.
    pub quote_volume: Option<Num>,
    /// Number of trades.
    pub trade_count: Option<i64>,
    /// Taker buy base volume.
    pub taker_buy_volume: Option<Num>,
    /// Taker buy quote volume.
    pub taker_buy_quote_volume: Option<Num>,
}

impl Candle {
    /// One without a number of trades and without taker volumes; `prices`: open, high, low, close.
    pub fn of(
        open_time_us: i64,
        [open, high, low, close]: [Num; 4],
        volume: Option<Num>,
        quote_volume: Option<Num>,
    ) -> Self {
        let (trade_count, taker_buy_volume, taker_buy_quote_volume) = (None, None, None);
        Self {
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
        }
    }

    /// Open, high, low, close.
    pub fn prices(&self) -> [Num; 4] {
        [self.open, self.high, self.low, self.close]
    }
}

/// A candle as a stream of the venue sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct VenueKline {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Exchange event time, µs.
    pub ts_event_us: Option<i64>,
    /// Interval name (`1m`).
    pub interval: SymbolId,
    /// Close time, µs.
    pub close_time_us: i64,
    /// The candle.
    pub candle: Candle,
    /// First trade id; `None` where the venue sends none or -1.
    pub first_trade_id: Option<i64>,
    /// Last trade id.
    pub last_trade_id: Option<i64>,
    /// True on the closing message.
    pub is_final: bool,
}

/// Unknown fields, types and enum values met while decoding: counted, never fatal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drift {
    /// What was unknown (for example `field depthUpdate.zz`) with how often, and one sample frame prefix.
    pub items: std::collections::BTreeMap<String, DriftItem>,
}

/// One kind of drift.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DriftItem {
    /// Times seen.
    pub count: u64,
    /// First 200 bytes of the first frame that showed it, lossy UTF-8.
    pub sample: String,
}

impl Drift {
    /// Most distinct items kept; the rest is counted under one name, so hostile input cannot grow memory.
    pub(crate) const MAX_ITEMS: usize = 256;

    /// Counts one occurrence of `what` seen in `frame`.
    pub fn note(&mut self, what: &str, frame: &[u8]) {
        let key = if self.items.len() >= Self::MAX_ITEMS && !self.items.contains_key(what) { "other" } else { what };
        let item = self.items.entry(key.to_owned()).or_default();
        item.count += 1;
        if item.sample.is_empty() {
            item.sample = String::from_utf8_lossy(frame.get(..frame.len().min(200)).unwrap_or(frame)).into_owned();
        }
    }
}

/// Items of a frame that did not decode, while the rest of it became rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejects {
    /// How many items.
    pub count: u64,
    /// What is wrong with them; of the first few.
    pub why: String,
    /// Their symbols; `None` for one whose symbol is not known.
    pub symbols: Vec<Option<SymbolId>>,
    /// The items as sent, where the whole frame is too large to be kept for their sake; else empty.
    pub kept: String,
}

impl Rejects {
    /// Bytes of [`Rejects::why`].
    const WHY_MAX: usize = 600;
    /// Entries of [`Rejects::symbols`]; more of them are one unknown.
    const SYMBOLS_MAX: usize = 256;

    /// True when all of the frame became rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts an item.
    pub fn note(&mut self, symbol: Option<SymbolId>, why: &str) {
        self.count += 1;
        if self.why.len() < Self::WHY_MAX {
            let separator = if self.why.is_empty() { "" } else { "; " };
            self.why.push_str(separator);
            self.why.extend(why.chars().take(Self::WHY_MAX / 2));
        }
        let symbol = if self.symbols.len() < Self::SYMBOLS_MAX { symbol } else { None };
        if !self.symbols.contains(&symbol) {
            self.symbols.push(symbol);
        }
    }

    /// Why the frame is kept beside its rows.
    pub fn reason(&self) -> String {
        format!("decoded in part, {} left out: {}", self.count, self.why)
    }

    fn clear(&mut self) {
        self.count = 0;
        self.why.clear();
        self.symbols.clear();
        self.kept.clear();
    }
}

/// Accessors common to all streamed rows.
pub trait RowKind {
    /// The channel that brings it.
    const CHANNEL: Channel;
    /// Interned symbol.
    fn symbol(&self) -> SymbolId;
    /// Exchange event time, us.
    fn ts_event_us(&self) -> Option<i64>;
    /// Time of what happened, us: the match of a trade, else the event.
    fn time_us(&self) -> Option<i64> {
        self.ts_event_us()
    }
    /// First and last id that it stands for, where the venue numbers such rows: they show what is missing.
    fn ids(&self) -> Option<(i64, i64)> {
        None
    }
    /// The id before those, where the venue sends it.
    fn prev_id(&self) -> Option<i64> {
        None
    }
    /// First and last id of the trades in it, where it is made of trades that have ids of their own.
    fn trade_ids(&self) -> Option<(i64, i64)> {
        None
    }
    /// A (part of a) snapshot, not an incremental change.
    fn is_snapshot(&self) -> bool {
        false
    }
}

/// `Trade in Trades, ..`: a kind of row and its channel; in braces what differs from the others.
macro_rules! kinds {
    ($($kind:ident in $channel:ident { $($own:item)* })+) => {$(
        impl RowKind for $kind {
            const CHANNEL: Channel = Channel::$channel;

            #[inline]
            fn symbol(&self) -> SymbolId {
                self.symbol
            }

            #[inline]
            fn ts_event_us(&self) -> Option<i64> {
                self.ts_event_us
            }

            $($own)*
        }
    )+};
}

kinds! {
    Trade in Trades {
        #[inline]
        fn time_us(&self) -> Option<i64> {
            self.ts_trade_us.or(self.ts_event_us)
        }
        #[inline]
        fn ids(&self) -> Option<(i64, i64)> {
            self.id.map(|id| (id, id))
        }
    }
    AggTrade in AggTrades {
        #[inline]
        fn time_us(&self) -> Option<i64> {
            Some(self.ts_trade_us)
        }
        #[inline]
        fn ids(&self) -> Option<(i64, i64)> {
            Some((self.agg_id, self.agg_id))
        }
        #[inline]
        fn trade_ids(&self) -> Option<(i64, i64)> {
            Some((self.first_id, self.last_id))
        }
    }
    DepthUpdate in Depth {
        // A whole book stands for no change.
        #[inline]
        fn ids(&self) -> Option<(i64, i64)> {
            self.final_update_id.filter(|_| !self.is_snapshot).map(|id| (self.first_update_id.unwrap_or(id), id))
        }
        #[inline]
        fn prev_id(&self) -> Option<i64> {
            self.prev_update_id
        }
        #[inline]
        fn is_snapshot(&self) -> bool {
            self.is_snapshot
        }
    }
    BookTicker in BookTicker {
        #[inline]
        fn ids(&self) -> Option<(i64, i64)> {
            self.update_id.map(|id| (id, id))
        }
    }
    MarkPrice in MarkPrice {}
    Liquidation in Liquidations {}
    Ticker in Tickers {}
    VenueKline in VenueKlines {}
}

/// `each_kind!(rows, of => expression)`, or `mut rows`: the expression for every kind of row that sockets bring, with `of`
/// as the vector of that kind. Their order is that of the marks of a frame (`venue::gap`) and of the rows in it.
#[macro_export]
macro_rules! each_kind {
    (mut $rows:expr, $of:ident => $do:expr) => { $crate::each_kind!(@each mut_of $rows, $of, $do) };
    (@each $by:ident $rows:expr, $of:ident, $do:expr) => {
        $crate::each_kind!(
            @each $by $rows, $of, $do,
            trades agg_trades depth book_tickers mark_prices liquidations tickers venue_klines
        )
    };
    (@each $by:ident $rows:expr, $of:ident, $do:expr, $($field:ident)+) => {
        $({
            let $of = $crate::each_kind!(@$by $rows, $field);
            $do;
        })+
    };
    (@mut_of $rows:expr, $field:ident) => { &mut $rows.$field };
    (@of $rows:expr, $field:ident) => { &$rows.$field };
    ($rows:expr, $of:ident => $do:expr) => { $crate::each_kind!(@each of $rows, $of, $do) };
}

/// All rows of the frames decoded since the last [`Rows::clear`].
#[derive(Default)]
pub struct Rows {
    /// Symbols and other interned texts; survives `clear`.
    pub symbols: Interner,
    /// Table `trades`.
    pub trades: Vec<Trade>,
    /// Table `agg_trades`.
    pub agg_trades: Vec<AggTrade>,
    /// Table `book_ticker`.
    pub book_tickers: Vec<BookTicker>,
    /// Messages of table `depth`.
    pub depth: Vec<DepthUpdate>,
    /// Levels of table `depth`.
    pub levels: Vec<Level>,
    /// Table `mark_price`.
    pub mark_prices: Vec<MarkPrice>,
    /// Table `liquidations`.
    pub liquidations: Vec<Liquidation>,
    /// Table `tickers`.
    pub tickers: Vec<Ticker>,
    /// Table `venue_klines`.
    pub venue_klines: Vec<VenueKline>,
    /// Table `symbols`.
    pub listings: Vec<Symbol>,
    /// Items of the frame that did not decode.
    pub rejects: Rejects,
    /// What was unknown; survives `clear`, the owner takes it.
    pub drift: Drift,
}

impl Rows {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops all rows, keeps symbols and drift.
    pub fn clear(&mut self) {
        each_kind!(mut self, rows => rows.clear());
        self.levels.clear();
        self.listings.clear();
        self.rejects.clear();
    }

    /// Row counts of each kind, for [`Rows::rollback_to`].
    pub fn checkpoint(&self) -> [usize; 10] {
        let mut counts = [self.levels.len(), self.listings.len(), 0, 0, 0, 0, 0, 0, 0, 0];
        let mut kinds = counts.iter_mut().skip(2);
        each_kind!(self, rows => if let Some(count) = kinds.next() {
            *count = rows.len();
        });
        counts
    }

    /// Drops the rows added since `checkpoint`.
    pub fn rollback_to(&mut self, checkpoint: [usize; 10]) {
        let [levels, listings, kinds @ ..] = checkpoint;
        self.levels.truncate(levels);
        self.listings.truncate(listings);
        let mut kinds = kinds.into_iter();
        each_kind!(mut self, rows => rows.truncate(kinds.next().unwrap_or_default()));
    }

    /// Adds the rows and rejects of a listing.
    pub fn add_listing(&mut self, listing: Listing) {
        self.listings.extend(listing.symbols);
        for entry in listing.rejects {
            let name = entry.name.unwrap_or_else(|| "an entry without a name".to_owned());
            self.rejects.note(None, &format!("{name}: {}", entry.why));
            self.rejects.kept.push_str(if self.rejects.kept.is_empty() { "[" } else { "," });
            self.rejects.kept.push_str(&entry.raw);
        }
        if !self.rejects.kept.is_empty() {
            self.rejects.kept.push(']');
        }
    }

    /// Rejects rows with a non-nullable number that does not fit DECIMAL(38, 18).
    pub fn drop_decimal_overflow(&mut self) {
        let fits = |n: Num| n.to_decimal18().is_some();
        let Self { symbols, trades, agg_trades, depth, levels, liquidations, venue_klines, rejects, .. } = self;
        let mut leave = |symbol: SymbolId, keep: bool| {
            if !keep {
                let why = format!("{}: a number has more than 20 digits before its point", symbols.name(symbol));
                rejects.note(Some(symbol), &why);
            }
            keep
        };
        trades.retain(|r| leave(r.symbol, fits(r.price) && fits(r.amount)));
        agg_trades.retain(|r| leave(r.symbol, fits(r.price) && fits(r.amount)));
        liquidations.retain(|r| leave(r.symbol, fits(r.price) && fits(r.amount)));
        venue_klines.retain(|r| leave(r.symbol, r.candle.prices().into_iter().all(fits)));
        depth.retain(|r| {
            let first = r.first_level as usize;
            let own = levels.get(first..first + r.level_count as usize).unwrap_or_default();
            leave(r.symbol, own.iter().all(|l| fits(l.price) && fits(l.amount)))
        });
    }

    /// Gives back the memory of all rows, keeps symbols and drift.
    pub fn release(&mut self) {
        let (symbols, drift) = (std::mem::take(&mut self.symbols), std::mem::take(&mut self.drift));
        *self = Self { symbols, drift, ..Self::default() };
    }

    /// Number of lake rows held (levels count, depth messages do not).
    pub fn len(&self) -> usize {
        let mut rows = self.levels.len() + self.listings.len();
        each_kind!(self, of => rows += of.len());
        rows - self.depth.len()
    }

    /// True when no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Rows of this channel (possibly none).
    Rows(Channel),
    /// A listing: rows of `symbols`.
    Symbols,
    /// An acknowledgement, error, pong or system notice: no rows.
    Control,
}
