//! Rows of one table and one hour part, in log order, until they are a row group.
//!
//! [`TableBuffer`] gathers, [`RowsChunk`] is what leaves it.
//!
//! The key of a row is (seq, row_in_frame); keys must grow strictly from push to push. Debug builds assert it,
//! joins of staged files check it.

mod many;

pub use many::{Deal, Many};

use super::column::NULL_WORD;
use super::rows::Filled;
use super::rows::{RowsChunk, resolve_words, take_inexact};
use super::table::{
    AggTrades, BookDepth, BookDepths, BookTickers, CommonColumns, Depths, Event, Events, FrameRow, Frames, FundingRate,
    FundingRates, Kline, Klines, Liquidations, MarkPrices, Metrics, MetricsRows, Symbols, Table, Tickers, Trades,
};
use super::{Numeric, flags};
use model::row::{AggTrade, BookTicker, DepthUpdate, Level, Liquidation, MarkPrice, Ticker, Trade, VenueKline};
use model::{Interner, Symbol, SymbolId};

/// What the record, not the frame, says about a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Receive time, ns since 1970-01-01 UTC.
    pub ts_recv_ns: i64,
    /// Record sequence in its log.
    pub seq: i64,
    /// Connection ordinal.
    pub conn: i32,
    /// Bits of [`super::flags`]; INEXACT is added by the buffer.
    pub flags: i32,
}

/// The columns of one table beyond the common ones.
#[derive(Debug)]
enum Body {
    Trades(Trades),
    AggTrades(AggTrades),
    BookTickers(BookTickers),
    Depths(Depths),
    MarkPrices(MarkPrices),
    Liquidations(Liquidations),
    Tickers(Tickers),
    Klines(Klines),
    Symbols(Symbols),
    Events(Events),
    Frames(Frames),
    BookDepths(BookDepths),
    Metrics(MetricsRows),
    FundingRates(FundingRates),
}

macro_rules! each_body {
    ($self:expr, $b:ident => $e:expr) => {
        match $self {
            Body::Trades($b) => $e,
            Body::AggTrades($b) => $e,
            Body::BookTickers($b) => $e,
            Body::Depths($b) => $e,
            Body::MarkPrices($b) => $e,
            Body::Liquidations($b) => $e,
            Body::Tickers($b) => $e,
            Body::Klines($b) => $e,
            Body::Symbols($b) => $e,
            Body::Events($b) => $e,
            Body::Frames($b) => $e,
            Body::BookDepths($b) => $e,
            Body::Metrics($b) => $e,
            Body::FundingRates($b) => $e,
        }
    };
}

/// Gathers the rows of one table.
#[derive(Debug)]
pub struct TableBuffer {
    table: Table,
    numeric: Numeric,
    common: CommonColumns,
    body: Body,
    /// Row of each inexact value, once per value; rare.
    inexact_rows: Vec<u32>,
}

impl TableBuffer {
    /// An empty buffer.
    pub fn new(table: Table, numeric: Numeric) -> Self {
        let body = match table {
            Table::Trades => Body::Trades(Trades::new(numeric)),
            Table::AggTrades => Body::AggTrades(AggTrades::new(numeric)),
            Table::BookTicker => Body::BookTickers(BookTickers::new(numeric)),
            Table::Depth => Body::Depths(Depths::new(numeric)),
            Table::MarkPrice => Body::MarkPrices(MarkPrices::new(numeric)),
            Table::Liquidations => Body::Liquidations(Liquidations::new(numeric)),
            Table::Tickers => Body::Tickers(Tickers::new(numeric)),
            Table::Klines
            | Table::VenueKlines
            | Table::MarkPriceKlines
            | Table::IndexPriceKlines
            | Table::PremiumIndexKlines => Body::Klines(Klines::new(numeric)),
            Table::Symbols => Body::Symbols(Symbols::new(numeric)),
            Table::Events => Body::Events(Events::new(numeric)),
            Table::Frames => Body::Frames(Frames::new(numeric)),
            Table::BookDepth => Body::BookDepths(BookDepths::new(numeric)),
            Table::Metrics => Body::Metrics(MetricsRows::new(numeric)),
            Table::FundingRate => Body::FundingRates(FundingRates::new(numeric)),
        };
        Self { table, numeric, common: CommonColumns::new(numeric), body, inexact_rows: Vec::new() }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.common.seq.0.len()
    }

    /// True when no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the values held; the vectors may have reserved up to twice as much.
    pub fn bytes_estimate(&self) -> usize {
        self.common.bytes_held() + each_body!(&self.body, b => b.bytes_held())
    }

    /// Bytes of the texts of the first `n` rows: what makes rows of unequal size.
    #[inline]
    pub fn text_bytes(&self, n: usize) -> usize {
        self.common.text_bytes(n) + each_body!(&self.body, b => b.text_bytes(n))
    }

    /// How many rows complete a row group of `group_rows` of which `filled` is there already, if there are so many.
    #[inline]
    pub fn full(&self, filled: Filled, group_rows: usize) -> Option<usize> {
        filled.completed_by(self.len(), group_rows, |n| self.text_bytes(n))
    }

    /// Values held that a double cannot carry; always 0 with [`Numeric::Decimal`].
    pub fn inexact(&self) -> u64 {
        self.inexact_rows.len() as u64
    }

    /// Takes the first `n` rows (all, if there are fewer), in log order. `interner` is the one that gave the
    /// symbols and words of the rows.
    ///
    /// # Panics
    /// When a row holds a word of another interner.
    pub fn take_first(&mut self, n: usize, interner: &Interner) -> RowsChunk {
        let n = n.min(self.len());
        let mut columns = Vec::with_capacity(25);
        self.common.take(n, &mut columns);
        each_body!(&mut self.body, b => b.take(n, &mut columns));
        let words = resolve_words(&mut columns, interner);
        RowsChunk {
            table: self.table,
            numeric: self.numeric,
            rows: n,
            columns,
            words,
            inexact_rows: take_inexact(&mut self.inexact_rows, n),
        }
    }

    /// Gives the memory of a chunk that is written back to its buffer: saves a page fault for every 4 KiB of
    /// the next rows. A chunk of another table, or a buffer that holds rows again, lets it go.
    pub fn recycle(&mut self, used: RowsChunk) {
        if used.table == self.table && used.numeric == self.numeric && self.is_empty() {
            let mut columns = used.columns.into_iter();
            self.common.recycle(&mut columns);
            each_body!(&mut self.body, b => b.recycle(&mut columns));
        }
    }

    #[inline]
    fn push_common(&mut self, c: &Common, row_in_frame: i32, symbol: u32, ts_event: Option<i64>, inexact: u32) {
        debug_assert!(
            self.common.seq.0.last().is_none_or(|last| {
                (*last, self.common.row_in_frame.0.last().copied()) < (c.seq, Some(row_in_frame))
            }),
            "rows must be pushed in log order: seq {} row {row_in_frame}",
            c.seq
        );
        let mut bits = c.flags;
        if inexact != 0 {
            bits |= flags::INEXACT;
            let row = self.len() as u32;
            self.inexact_rows.extend(std::iter::repeat_n(row, inexact as usize));
        }
        self.common.symbol.push(symbol);
        self.common.ts_event.push_opt(ts_event);
        self.common.ts_recv_ns.push(c.ts_recv_ns);
        self.common.seq.push(c.seq);
        self.common.row_in_frame.push(row_in_frame);
        self.common.conn.push(c.conn);
        self.common.flags.push(bits);
    }

    #[cold]
    fn wrong_table(&self, row: &str) -> ! {
        panic!("a row of {row} was pushed to a buffer of {}", self.table)
    }
}

macro_rules! push_row {
    ($(#[$doc:meta])* $name:ident, $row:ty, $variant:ident) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// When the buffer is of another table.
        #[inline]
        pub fn $name(&mut self, c: &Common, row_in_frame: i32, r: &$row) {
            let Body::$variant(b) = &mut self.body else {
                self.wrong_table(stringify!($variant))
            };
            let inexact = b.push(r);
            self.push_common(c, row_in_frame, r.symbol.0, r.ts_event_us, inexact);
        }
    };
}

impl TableBuffer {
    push_row!(
        /// Appends a row of `trades`.
        push_trade, Trade, Trades
    );
    push_row!(
        /// Appends a row of `agg_trades`.
        push_agg_trade, AggTrade, AggTrades
    );
    push_row!(
        /// Appends a row of `book_ticker`.
        push_book_ticker, BookTicker, BookTickers
    );
    push_row!(
        /// Appends a row of `mark_price`.
        push_mark_price, MarkPrice, MarkPrices
    );
    push_row!(
        /// Appends a row of `liquidations`.
        push_liquidation, Liquidation, Liquidations
    );
    push_row!(
        /// Appends a row of `tickers`.
        push_ticker, Ticker, Tickers
    );
    push_row!(
        /// Appends a row of `book_depth`.
        push_book_depth, BookDepth, BookDepths
    );
    push_row!(
        /// Appends a row of `metrics`.
        push_metrics, Metrics, Metrics
    );
    push_row!(
        /// Appends a row of `funding_rate`.
        push_funding_rate, FundingRate, FundingRates
    );

    /// Appends one row per level of a depth message, `row_in_frame` counting up from `first_row_in_frame`.
    /// Returns the number of rows: a message without levels has none. A snapshot is flagged SNAPSHOT.
    ///
    /// # Panics
    /// When the buffer is of another table.
    #[inline]
    pub fn push_depth(&mut self, c: &Common, first_row_in_frame: i32, r: &DepthUpdate, levels: &[Level]) -> usize {
        let mut c = *c;
        if r.is_snapshot {
            c.flags |= flags::SNAPSHOT;
        }
        let last = levels.len().wrapping_sub(1);
        for (i, level) in levels.iter().enumerate() {
            let Body::Depths(b) = &mut self.body else { self.wrong_table("depth") };
            let inexact = b.push(r, level, i == last);
            self.push_common(&c, first_row_in_frame + i as i32, r.symbol.0, r.ts_event_us, inexact);
        }
        levels.len()
    }

    /// Appends a row of `venue_klines`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_venue_kline(&mut self, c: &Common, row_in_frame: i32, r: &VenueKline) {
        let Body::Klines(b) = &mut self.body else { self.wrong_table("venue_klines") };
        let inexact = b.push(r, "venue", 0);
        self.push_common(c, row_in_frame, r.symbol.0, r.ts_event_us, inexact);
    }

    /// Appends a candle of the exchange's archive, to any table of candles; its source is `archive`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_archive_kline(&mut self, c: &Common, row_in_frame: i32, r: &VenueKline) {
        let Body::Klines(b) = &mut self.body else { self.wrong_table("candles") };
        let inexact = b.push(r, "archive", 0);
        self.push_common(c, row_in_frame, r.symbol.0, r.ts_event_us, inexact);
    }

    /// Appends a row of `klines`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_kline(&mut self, c: &Common, row_in_frame: i32, r: &Kline) {
        let Body::Klines(b) = &mut self.body else { self.wrong_table("klines") };
        let inexact = b.push(&r.bar, r.source, r.revision);
        self.push_common(c, row_in_frame, r.bar.symbol.0, r.bar.ts_event_us, inexact);
    }

    /// Appends a row of `symbols`; `symbol` is the interned `r.name`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_symbol(&mut self, c: &Common, row_in_frame: i32, symbol: SymbolId, r: &Symbol) {
        let Body::Symbols(b) = &mut self.body else { self.wrong_table("symbols") };
        let inexact = b.push(r);
        self.push_common(c, row_in_frame, symbol.0, None, inexact);
    }

    /// Appends a row of `events`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_event(&mut self, c: &Common, row_in_frame: i32, r: &Event<'_>) {
        let Body::Events(b) = &mut self.body else { self.wrong_table("events") };
        let inexact = b.push(r);
        let symbol = r.symbol.map_or(NULL_WORD, |s| s.0);
        self.push_common(c, row_in_frame, symbol, r.ts_event_us, inexact);
    }

    /// Appends a row of `frames`.
    ///
    /// # Panics
    /// When the buffer is of another table.
    pub fn push_frame(&mut self, c: &Common, row_in_frame: i32, r: &FrameRow<'_>) {
        let Body::Frames(b) = &mut self.body else { self.wrong_table("frames") };
        let inexact = b.push(r);
        let symbol = r.symbol.map_or(NULL_WORD, |s| s.0);
        self.push_common(c, row_in_frame, symbol, None, inexact);
    }
}
