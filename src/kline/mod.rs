//! Candles from trades: exact, revised by late trades, readable while they change.
//!
//! ```text
//!  trades of the log --> Tick --> KlineGenerator (one per symbol) --+--> LatestSlots          one symbol, at once
//!                                                                    +--> DoubleBuffered store  all, at every swap
//!                                                                    +--> events: closed, revised
//! ```
//! - [`interval`]: where bars open and close; [`data`]: one bar in exact integers.
//! - [`actor`]: one per symbol, handed trades in batches; [`message`]: what goes to their worker and comes back.
//! - [`generator`]: the fold of one symbol (`run`: many trades at once); [`registry`]: which symbol has which place.
//! - [`recent`]: the last trades of a symbol, and whether an answer made of them is whole.
//! - [`feed`]: one venue's log as ticks, gaps and clock.
//! - [`official`]: the venue's own candles; [`backfill`] fills holes with them, [`compare`] looks for differences;
//!   [`archive`]: those of the exchange's archive.
//! - [`seed`]: the beginning of bars that were open when recording began; `seeder` asks for it beside the feed.
//! - [`mod@unit`]: what a contract is worth.
//! - [`latency`] and `stats`: how long trades took to be visible, and a line about it every minute.
//! - [`export`]: bars to files. [`store`]: what readers see; [`db`]: what outlives the process.

pub mod actor;
pub mod archive;
pub(crate) mod asker;
pub mod backfill;
pub mod compare;
mod consumer;
pub mod data;
pub mod db;
pub mod export;
pub mod feed;
pub mod generator;
mod held;
pub mod hub;
pub mod interval;
pub mod latency;
pub mod message;
mod nightly;
pub mod official;
pub mod recent;
pub mod registry;
pub mod replay;
mod run;
pub mod seed;
mod seeder;
mod service;
mod stats;
pub mod store;
#[cfg(test)]
mod tape_tests;
mod touched;
pub mod unit;

pub use actor::{KlineActor, Shown, Totals, Worker};
pub use data::{KlineData, Tick};
pub use feed::{Feed, FeedState};
pub use generator::{BarEvent, KEPT, KlineGenerator, What};
pub use hub::{KlineHub, KlineStats, Pushed};
pub use interval::Interval;
pub use message::{Dirty, Item, Job, OldTrade, Update};
pub use nightly::nightly;
pub use registry::{Facts, Registered, SymbolPeriodRegistry};
pub use service::KlineService;
pub use store::{DoubleBufferedKlineStore, FlatKlineStore, LatestSlots};
pub use unit::Unit;
