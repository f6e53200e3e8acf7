//! Cleaning: files of the archive to tables of the lake, month by month and symbol by symbol.
//!
//! ```text
//!  zip --inflate--> CSV --lines--> rows --merge, sort--> unique rows in order --> Parquet --> lake
//!                             \--> rejected, with line number and reason              \--> record, stats.json
//! ```
//! In the order the data flows: `zip` (one CSV out of one zip), `input` (bytes to rows), `line`, `value`, `row`
//! (one line to one row, by kind), `quarantine` (what is none), `merge` (several files to one order), `tally` (what the
//! rows are), `write` (rows to files), [`mod@unit`] (one month), `lost` (what it would take away), [`plan`] (which months), [`mod@run`] (all of them).
//!
//! Never holds a whole file, never uses a row of a file that is damaged, never reads a clock: the same files and
//! settings give the same bytes. Every line is a row, a duplicate, a sentinel or rejected; that is checked.
//! A row that the month before has too (`edge`) is a duplicate.

pub mod candles;
mod edge;
pub mod input;
mod layout;
mod line;
mod lost;
pub(crate) mod merge;
pub mod pack;
pub mod place;
pub mod plan;
mod quarantine;
pub mod record;
mod row;
pub mod run;
pub mod tally;
pub mod unit;
pub mod value;
mod why;
mod write;
pub mod zip;

pub use place::{Series, Unit};
pub use record::Record;
pub use run::{CleanJob, Summary, run};
pub use why::Why;
