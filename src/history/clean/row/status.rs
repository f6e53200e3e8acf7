//! The words that the archive has for the status of a liquidated order.

/// Status words of an order, as the exchange's API documentation lists them.
pub(super) const STATUS: [&str; 8] =
    ["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH", "NEW_ADL"];
