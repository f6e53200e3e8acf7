//! KuCoin, classic protocol: what spot and futures share.
//!
//! ```text
//!  spot.rs, futures.rs   the markets: their facts and quirks
//!  market.rs             which of the two something is about
//!  topic.rs              channels <-> topics, whose topic a frame is
//!  plan.rs               wants -> sockets, subscribe messages
//!  token.rs              the token every connection needs, and its URL
//!  control.rs            welcome, pong, acknowledgements, refusals
//!  listing.rs            symbols and contracts
//!  decode.rs             a stored frame -> rows, by the files below
//!  envelope.rs, rest.rs  the envelope of REST bodies; stored bodies -> rows
//!  messages.rs, candle.rs, book.rs, field.rs   data of a frame -> rows
//! ```
//!
//! Facts are those of KuCoin's documentation (<https://www.kucoin.com/docs-new>) and of recorded frames. Frames come
//! with their keys in several orders and numbers come as numbers or as texts, so there is one decoder that takes
//! any valid JSON; what it refuses is kept as undecodable.

mod book;
mod candle;
mod control;
mod decode;
mod envelope;
mod field;
pub mod futures;
mod klines;
mod listing;
mod market;
mod messages;
mod plan;
mod rest;
pub mod spot;
mod token;
mod topic;

#[cfg(test)]
mod tests;
