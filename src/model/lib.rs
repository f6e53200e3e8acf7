//! Types that every crate shares: venue, channel, symbol, number, rows of the lake's tables, candle, and what records of
//! the log say in JSON. No I/O, no clock, no threads.
#![forbid(unsafe_code)]

mod ban;
pub mod interval;
pub mod kline;
mod listing;
mod names;
pub mod number;
pub mod record;
mod rest;
pub mod row;
pub mod select;
pub mod symbol;
pub mod unit;
mod word;

pub use ban::{Ban, Throttling, UsedWeight};
pub use interval::Interval;
pub use kline::{KlineData, Tick};
pub use listing::{Listing, RejectedEntry};
pub use names::{Channel, UnknownName, VenueId};
pub use number::Num;
pub use rest::{Fill, Method, RestMeta, RestRequest};
pub use row::{Decoded, Rows};
pub use select::{is_exact, select};
pub use symbol::{Interner, Symbol, SymbolId, SymbolKind};
pub use unit::Unit;

/// One message of any venue, and one answer over REST, may be this large; also the largest record of the log. Bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
