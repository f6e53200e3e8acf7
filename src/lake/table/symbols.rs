//! Table `symbols`: the venue's listing, per hour and on change.

use crate::column::columns;
use crate::table::row;
use model::{Symbol, SymbolId};

columns! {
    /// Columns of `symbols`. `contract_size` is null where one unit of `amount` is one base unit.
    Symbols of r: Listed<'_> {
        base: Text = &r.entry.base;
        quote: Text = &r.entry.quote;
        status: Text = &r.entry.status;
        listing_time: TimeUs or null = r.entry.listing_time_ms.and_then(|ms| ms.checked_mul(1_000));
        tick_size: Number or null = r.entry.tick_size;
        lot_size: Number or null = r.entry.lot_size;
        contract_size: Number or null = r.entry.contract_size;
        kind: Text = r.entry.kind.as_str();
    }
}

row!(r: Listed<'_> => Symbols, symbol: Some(r.symbol), ts_event: None);

/// A row of `symbols`.
pub struct Listed<'a> {
    /// Its interned name.
    pub symbol: SymbolId,
    /// What the venue lists.
    pub entry: &'a Symbol,
}
