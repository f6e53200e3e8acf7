//! Table `symbols`: the venue's listing, per hour and on change.

use crate::column::{Kind, NULL_I64, Spec, columns};
use model::Symbol;

columns! {
    /// Columns of `symbols`. `contract_size` is null where one unit of `amount` is one base unit.
    Symbols {
        base: Texts = Spec::new("base", Kind::Text),
        quote: Texts = Spec::new("quote", Kind::Text),
        status: Texts = Spec::new("status", Kind::Text),
        listing_time: Int64s = Spec::new("listing_time", Kind::TimeUs).null(),
        tick_size: Numbers = Spec::new("tick_size", Kind::Number).null(),
        lot_size: Numbers = Spec::new("lot_size", Kind::Number).null(),
        contract_size: Numbers = Spec::new("contract_size", Kind::Number).null(),
        kind: Texts = Spec::new("kind", Kind::Text),
    }
}

impl Symbols {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &Symbol) -> u32 {
        self.base.push(r.base.as_bytes());
        self.quote.push(r.quote.as_bytes());
        self.status.push(r.status.as_bytes());
        self.listing_time.push(r.listing_time_ms.and_then(|ms| ms.checked_mul(1_000)).unwrap_or(NULL_I64));
        self.kind.push(r.kind.as_str().as_bytes());
        self.tick_size.push_opt(r.tick_size)
            + self.lot_size.push_opt(r.lot_size)
            + self.contract_size.push_opt(r.contract_size)
    }
}
