//! What the fold needs of each kind of row, in one place: its table, what identifies it, how it is pushed. What
//! it says of itself is [`RowKind`]'s, the order of the kinds that of [`model::each_kind`].

use crate::dedupe::key::{self, RowKey};
use lake::{Common, Table, TableBuffer};
use model::Rows;
use model::row::{
    AggTrade, BookTicker, DepthUpdate, Level, Liquidation, MarkPrice, RowKind, Ticker, Trade, VenueKline,
};

/// A kind of row that sockets bring.
pub(crate) trait Kind: RowKind {
    /// Where its rows go.
    const TABLE: Table;
    /// What it is known by among the rows of its stream; `rows` are those of its frame.
    fn key(&self, rows: &Rows) -> RowKey;
    /// How many rows of the lake it is.
    fn rows(&self, rows: &Rows) -> usize;
    /// Appends it, with `row_in_frame` from this one on.
    fn push(&self, rows: &Rows, record: &Common, row_in_frame: i32, to: &mut TableBuffer);
}

macro_rules! kinds {
    ($($kind:ident in $table:ident: |$r:ident, $rows:ident| $key:expr;)+) => {$(
        impl Kind for $kind {
            const TABLE: Table = Table::$table;

            #[inline]
            fn key(&self, $rows: &Rows) -> RowKey {
                let $r = self;
                let _ = $rows; // only some kinds need names
                $key
            }

            #[inline]
            fn rows(&self, _: &Rows) -> usize {
                1
            }

            #[inline]
            fn push(&self, _: &Rows, record: &Common, row_in_frame: i32, to: &mut TableBuffer) {
                to.push(record, row_in_frame, self);
            }
        }
    )+};
}

kinds! {
    Trade in Trades: |r, rows| key::trade(r, &rows.symbols);
    AggTrade in AggTrades: |r, rows| key::agg_trade(r);
    BookTicker in BookTicker: |r, rows| key::book_ticker(r);
    MarkPrice in MarkPrice: |r, rows| key::mark_price(r);
    Liquidation in Liquidations: |r, rows| key::liquidation(r, &rows.symbols);
    Ticker in Tickers: |r, rows| key::ticker(r);
    VenueKline in VenueKlines: |r, rows| key::venue_kline(r, &rows.symbols);
}

/// A message of a book is as many rows as it has levels.
impl Kind for DepthUpdate {
    const TABLE: Table = Table::Depth;

    #[inline]
    fn key(&self, rows: &Rows) -> RowKey {
        key::depth(self, levels(self, rows))
    }

    #[inline]
    fn rows(&self, rows: &Rows) -> usize {
        levels(self, rows).len()
    }

    #[inline]
    fn push(&self, rows: &Rows, record: &Common, row_in_frame: i32, to: &mut TableBuffer) {
        to.push_depth(record, row_in_frame, self, levels(self, rows));
    }
}

#[inline]
fn levels<'r>(update: &DepthUpdate, rows: &'r Rows) -> &'r [Level] {
    let first = update.first_level as usize;
    rows.levels.get(first..first + update.level_count as usize).unwrap_or_default()
}
