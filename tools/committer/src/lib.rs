//! The committer: gives the files of a Tapedeck lake to the tables of an Iceberg catalog, every row once.
//!
//! ```text
//!  manifests of the lake --outbox--> parts that `hours` does not have --decide--> one commit per table --> one of `hours`
//!                                                                         ^              |
//!                                                                         +--- load again, after every answer that is
//!                                                                              lost or refused because others came first
//! ```
//!
//! Nothing is remembered between two runs but in the catalog: which files a table has, its position
//! ([`table`]), and the table `hours` ([`hours`]). Whatever dies when, the next look at these three decides the same. Two committers
//! of one catalog do each other's work again, and no harm: a commit names the snapshot that it was decided upon.
//!
//! Data files are the lake's own: nothing here writes, moves or deletes one.
#![forbid(unsafe_code)]

pub mod check;
pub mod commit;
pub mod config;
mod data_file;
mod decide;
pub mod error;
pub mod expire;
pub mod hours;
pub mod outbox;
pub mod place;
pub mod rest;
pub mod round;
pub mod schema;
pub mod table;

use config::Config;
use error::CommitterError;
use place::Places;
use rest::Catalog;
pub use table::Session;

/// Opens the lake and the catalog that a configuration names.
///
/// # Errors
/// When a credential is missing, or the catalog cannot be asked.
pub fn open(cfg: &Config) -> Result<Session, CommitterError> {
    open_as(cfg, None)
}

/// [`open`] with a credential (`key:secret`) that does not come from the environment.
///
/// # Errors
/// As [`open`].
pub fn open_as(cfg: &Config, credential: Option<&str>) -> Result<Session, CommitterError> {
    let failed = |err: std::io::Error| CommitterError::unfit(format!("the working directory is not known: {err}"));
    let lake_uri = cfg.lake_uri().map_err(failed)?;
    let places = Places::new(cfg.store.clone());
    let lake = places.lake(&lake_uri)?;
    let catalog = Catalog::connect(&cfg.catalog, &cfg.store, credential)?;
    catalog.make_namespace()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|err| CommitterError::unfit(format!("begin a runtime: {err}")))?;
    Ok(Session { catalog, places, lake, lake_uri, numeric: cfg.lake.numeric, runtime })
}
