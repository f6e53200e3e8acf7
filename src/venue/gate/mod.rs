//! Gate v4: what spot and USDT futures share.
//!
//! ```text
//!  spot.rs, futures.rs   what tells the markets apart: channels, hosts, quirks
//!  market.rs, venue.rs   which of the two something is about; the venue that both of them are
//!  plan.rs               wants -> sockets, subscribe messages, REST requests
//!  control.rs, scan.rs   acknowledgements, refusals, notices, whose stream a frame is
//!  listing.rs            currency pairs and contracts -> symbols
//!  decode.rs             a stored frame -> rows, by the files below
//!  messages.rs, book.rs  frames -> rows
//!  field.rs              times, ids and sizes as Gate writes them
//!  rest.rs               stored REST bodies -> rows
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
mod venue;

#[cfg(test)]
mod tests;
