//! What is known of every file of the archive: where it is, what it was, what became of it. One row per file, in a
//! file of SQLite or on a Postgres server that several downloaders share.
//!
//! ```text
//!             offer                 lease                 finish
//!   (listing) -----> queued ----------------> leased ---------------> here
//!                      ^                        | fail, release, lease ran out
//!                      +------------------------+---- too many failures ---> dead
//! ```
//! A file of the archive that changed there (etag, size, checksum) is queued again, and what it was goes into its
//! history. A `here` row whose `sha256` is not its `cleaned_sha256` wants cleaning.

mod export;
mod file;
mod queue;
mod read;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use export::FOLDER as EXPORTS;
pub(crate) use export::{export_days, sweep};
pub use file::{FileRow, Former, Listed, State};
pub use queue::{Done, Failed, Lease, Offer, Offered, Pending, Queue, Room, Run, Scope};
pub use read::MirrorManifest;

pub(super) use store::difference;

use crate::error::Result;
use sql::{Postgres, Sqlite};

/// Opens a manifest, making the schema where it is missing: `sqlite:<file>` (relative to `dir`) or `postgres://...`.
///
/// # Errors
/// For another scheme, an unreachable database, or a schema of a newer version.
pub fn open(url: &str, dir: &Path) -> Result<Box<dyn Queue>> {
    Ok(match sql::Place::of(url, dir, "this")? {
        sql::Place::Sqlite(file) => Box::new(store::Store::open(Sqlite::open(&file)?)?),
        sql::Place::Postgres(url) => Box::new(store::Store::open(Postgres::open(&url, Some(schema::LOCK))?)?),
    })
}
