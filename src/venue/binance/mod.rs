//! Binance JSON markets: what spot, USD-M and COIN-M share.
//!
//! ```text
//!  spot.rs, usdm.rs, coinm.rs, spot_sbe.rs   the markets: their facts, names of streams, quirks
//!  market.rs          which of the JSON ones something is about
//!  plan.rs, stream.rs wants -> sockets, subscribe messages; what the name of a stream tells
//!  control.rs         acknowledgements, refusals, serverShutdown, whose stream a frame is
//!  listing.rs         exchangeInfo -> symbols
//!  decode.rs          a stored frame -> rows, by the files below
//!  fast.rs, scan.rs   frames in the documented key order -> rows, byte by byte
//!  general.rs, messages.rs, field.rs   the same rows from any valid JSON, or the reason why not
//!  rest.rs, repair.rs REST requests, those for missing trades; stored bodies -> rows
//!  klines.rs          candles over REST
//!  sbe/               binary frames of spot -> rows
//! ```
//!
//! A frame goes to `fast` first; whatever it does not recognise goes to `general`, which alone decides that a
//! frame is bad. Both give the same rows; `tests/property.rs` holds them to it.

pub mod coinm;
mod control;
mod decode;
mod fast;
mod field;
mod general;
mod klines;
mod listing;
mod market;
mod messages;
mod plan;
mod repair;
mod rest;
mod rules;
mod sbe;
mod scan;
pub mod spot;
pub mod spot_sbe;
mod stream;
pub mod usdm;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use sbe::samples as binary_samples;
