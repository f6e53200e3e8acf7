//! Chunks of logs that are not needed any more: those that manifests in the lake cover, of hours that ended `[ship] keep_h`
//! ago. What no manifest covers stays, however old it is; `[wal] archive = "s3"` keeps all.

use std::sync::Arc;

use crate::error::CompactError;
use crate::evidence::Coverage;
use crate::place::Place;
use crate::settings::Config;
use crate::worker::log_name;
use capture::Archive;
use fold::gather::LogKind;
use lake::{Hour, Lake, LakeStore};
use model::VenueId;
use ship::Chunks;
use wal_format::Seq;

/// The most that one sweep deletes: a lake that answers wrongly has lost this much when the first line about it is in the log.
const DELETED_MAX: usize = 5_000;

/// Deletes chunks of every log that is shipped from here or read from a store; the number of those that went.
///
/// # Errors
/// When the lake or a store cannot be listed, or a chunk cannot be deleted.
pub(crate) fn sweep(cfg: &Config, lake: &Lake, wall_ns: u64) -> Result<usize, CompactError> {
    if cfg.capture.wal.archive == Archive::S3 {
        return Ok(0);
    }
    let mut deleted = 0_usize;
    for id in cfg.capture.venues.keys().copied() {
        let stores = cfg.sources.get(&id).into_iter().chain(&cfg.shipped);
        for store in stores {
            for kind in [LogKind::Collected, LogKind::Repairs] {
                deleted = deleted.saturating_add(of_log(cfg, lake, id, kind, store, wall_ns)?);
            }
        }
    }
    Ok(deleted)
}

fn of_log(
    cfg: &Config,
    lake: &Lake,
    id: VenueId,
    kind: LogKind,
    store: &Arc<dyn LakeStore>,
    wall_ns: u64,
) -> Result<usize, CompactError> {
    let failed = || CompactError::step("look for chunks that may go");
    let mut deleted = 0_usize;
    for chunks in Chunks::of_venue(store, &log_name(id, kind)).map_err(failed())? {
        let names = chunks.list(Seq(0)).map_err(failed())?;
        let (Some(first), Some(last)) = (names.first(), names.last()) else { continue };
        let begins_ns = match chunks.get(*first) {
            Ok(Some(chunk)) => chunk.header().ts_ns.map(|(first_ns, _)| first_ns),
            Ok(None) => None,
            // What covers it is looked for among all manifests.
            Err(err) => {
                tracing::warn!(log = %chunks.place().display(), error = %wal_format::error_chain(&err), "the oldest chunk cannot be read");
                None
            }
        };
        let until =
            Hour(Hour::of_ns(wall_ns).0.saturating_sub(i64::try_from(cfg.capture.ship.keep_h).unwrap_or(i64::MAX)));
        let place = Place::new(lake, id.as_str(), chunks.learn().map_err(failed())?);
        let since = Hour::of_ns(begins_ns.unwrap_or(0));
        let coverage = Coverage::load_until(&place, since, Some(until), last.last.get()).map_err(failed())?;
        let may_go = names.iter().take_while(|name| coverage.covers(name.first.get(), name.last.get()));
        for name in may_go.take(DELETED_MAX) {
            chunks.delete(*name).map_err(failed())?;
            deleted = deleted.saturating_add(1);
        }
    }
    Ok(deleted)
}
