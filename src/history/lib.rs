//! Binance's historical data (data.binance.vision), mirrored file by file and turned into the lake's tables.
//!
//! ```text
//!  listing --> manifest (one row per file) --> workers --> mirror: <dir>/data.binance.vision/data/...zip
//!                    ^                                        |
//!                    +---- cleaned, verified -----------------+
//! ```
//! - [`market`], [`path`], [`select`]: names of the archive, and which of them are meant.
//! - [`list`]: what the archive has; [`download`]: from there into the mirror.
//! - [`manifest`]: what is known of every file, in SQLite or Postgres; the queue of downloads.
//! - [`Mirror`]: the folder; [`download_error`]: why a file could not be had, and what to do.
//! - [`clean`], [`stats`], [`known`]: files to rows of the lake, what they are, which defects are known.
//!
//! A file under its final name is whole and is what its `.CHECKSUM` says. Never touches the log.
#![forbid(unsafe_code)]

pub mod clean;
pub mod download;
pub mod download_error;
mod error;
mod known;
pub mod list;
pub mod manifest;
pub mod market;
mod mirror;
mod path;
mod select;
mod settings;
pub mod stats;
pub mod verify;

pub use error::HistoryError;
pub use market::{BarInterval, Kind, Market, Period};
pub use mirror::Mirror;
pub use path::{ArchivePath, SeriesPath};
pub use select::{Selection, Symbols};
pub use settings::{FilePer, Settings};
