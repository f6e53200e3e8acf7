//! Gate v4: what spot and USDT futures share.
//!
//! ```text
//!  spot.rs, futures.rs   the markets: their facts and quirks
//!  market.rs             which of the two something is about; its names of channels
//!  plan.rs               wants -> sockets, subscribe messages
//!  control.rs, scan.rs   acknowledgements, refusals, notices, whose stream a frame is
//!  listing.rs            currency pairs and contracts -> symbols
//!  decode.rs             a stored frame -> rows, by the files below
//!  messages.rs, book.rs  frames -> rows
//!  field.rs              times, ids and sizes as Gate writes them
//!  rest.rs, klines.rs    REST requests; stored bodies -> rows, candles
//! ```
//!
//! Every frame is `{"time":..,"time_ms":..,"channel":"spot.trades","event":"update","result":..}`; futures put
//! their rows into an array. Facts are those of Gate's documentation, "Spot WebSocket v4", "Futures WebSocket
//! v4" and "API v4", and of the recordings in `tests/data`.

mod book;
mod control;
mod decode;
mod field;
pub mod futures;
mod klines;
mod listing;
mod market;
mod messages;
mod plan;
mod rest;
mod scan;
pub mod spot;

#[cfg(test)]
mod tests;
