//! Candles from trades: exact, revised by late trades, readable while they change.
//!
//! ```text
//!  trades of the log --> Tick --> KlineGenerator (one per symbol) --+--> LatestSlots          one symbol, at once
//!                                                                    +--> DoubleBuffered store  all, at every swap
//!                                                                    +--> events: closed, revised
//! ```
//! - [`actor`]: one per symbol, handed trades in batches; [`message`]: what goes to their worker and comes back.
//! - [`fold::candles`]: the fold of one symbol into bars ([`model::kline`]); [`registry`]: which symbol has which place.
//! - [`recent`]: the last trades of a symbol, and whether an answer made of them is whole.
//! - [`feed`]: one venue's log as ticks, gaps and clock.
//! - [`official`]: the venue's own candles; [`backfill`] fills gaps with them, [`compare`] looks for differences;
//!   [`archive`]: those of the exchange's archive.
//! - [`seed`]: seeds of bars that were open when recording began; `seeder` requests them beside the feed.
//! - `stats`: what the candles did and how long trades took to be visible, a line every minute.
//! - [`export`]: bars to files. [`store`]: what readers see; [`db`]: what outlives the process.
#![forbid(unsafe_code)]

mod actor;
pub mod archive;
pub mod backfill;
mod by_symbol;
pub mod client;
pub mod compare;
mod consumer;
pub mod db;
mod error;
pub mod export;
mod feed;
pub mod hub;
mod message;
mod nightly;
pub mod official;
mod pushed;
pub mod recent;
mod registry;
pub mod replay;
mod request_error;
mod seed;
mod seeder;
mod service;
mod settings;
mod stats;
mod store;
#[cfg(test)]
mod tape_tests;
mod touched;

pub use actor::{CandleWorker, Shown, Totals};
pub use error::KlineError;
pub use feed::{CandleFeed, FeedState};
pub use hub::{KlineHub, KlineStats, Pushed};
pub use message::{CandleJob, Dirty, Item, OldTrade, Update};
pub use nightly::nightly;
pub use registry::{Facts, Registered, SymbolPeriodRegistry};
pub use request_error::{Costs, RequestError, SeriesError};
pub use service::KlineService;
pub use settings::{Config, Settings};
pub use store::{DoubleBufferedKlineStore, FlatKlineStore, LatestSlots};
