//! The lake again from the log, or the proof that it is the same.
//!
//! A replay is the same fold over records as the live path ([`super::gather::Gatherer`]), with the same cuts: hours
//! cut by themselves, and where an hour was drained half way its manifest says where. Nothing is written but below
//! `out` (but for `rewrite`), no ack is taken, no segment deleted, no damage repaired.
//!
//! `verify` takes each published part for itself: its range, its settings and the continuation of the part before
//! come from the manifests, its rows from the log. Files and manifest must come out byte for byte. `rewrite` does
//! the same and publishes the parts anew whose rows came out otherwise.

mod pass;
mod report;
pub mod rewrite;
mod shelves;
mod verify;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wal_format::SegmentInfo;

use self::pass::{Known, Log};
pub use self::report::{PartReport, Report, Verdict};
pub(crate) use self::shelves::{shelves, tapes};
use super::gather::LogKind;
use super::hash::hex;
use super::resume::manifests;
use super::worker::write_settings;
use crate::config::Config;
use crate::lake::{Hour, Manifest};
use crate::venue::{self, VenueId};

/// What to replay.
#[derive(Clone, Debug, Default)]
pub struct ReplayArgs {
    /// Only these; empty = all configured.
    pub venues: Vec<VenueId>,
    /// Hours that end after this receive time, ns since 1970-01-01 UTC.
    pub from_ns: Option<u64>,
    /// Hours that begin before this receive time, ns.
    pub to_ns: Option<u64>,
    /// Where the rebuilt lake goes; may be left out with `verify`.
    pub out: Option<PathBuf>,
    /// Compare with the configured lake.
    pub verify: bool,
    /// Publish parts of the configured lake anew whose rows come out otherwise than they were published.
    pub rewrite: bool,
}

/// Rebuilds or verifies.
///
/// # Errors
/// When `out` is in use, a log or file cannot be read, or a rebuilt part does not balance. A difference is not an
/// error: it is in the report.
pub fn replay(cfg: &Config, args: &ReplayArgs) -> anyhow::Result<Report> {
    if let Some(out) = &args.out {
        refuse_used(out)?;
    }
    let mut report = Report::default();
    if args.verify || args.rewrite {
        report.notes.extend(rewrite::finish(&cfg.lake.dir)?);
    }
    let ids: Vec<VenueId> =
        if args.venues.is_empty() { cfg.venues.keys().copied().collect() } else { args.venues.clone() };
    for id in ids {
        let venue = venue::venue(id);
        for (kind, dir) in [(LogKind::Collected, cfg.wal_dir(id)), (LogKind::Repairs, cfg.repair_dir(id))] {
            let found = shelves(cfg, &dir)?;
            if found.is_empty() && kind == LogKind::Collected {
                report.notes.push(format!("{id}: there is no log in {}", dir.display()));
            }
            for (uuid, shelf, first_segment) in found {
                let segments = shelf.list().with_context(|| format!("list {}", shelf.dir().display()))?;
                let own = segments.iter().filter(|s| s.foreign.is_none()).filter_map(SegmentInfo::run);
                let log = Log {
                    venue,
                    kind,
                    runs: own.map(|run| (run.epoch, run.incarnation)).collect(),
                    shelf,
                    name: hex(&uuid),
                    first_segment,
                    settings: write_settings(cfg),
                    from: args.from_ns.map(Hour::of_ns),
                    to_ns: args.to_ns,
                    damage: RefCell::default(),
                };
                let mut parts = published(&cfg.lake.dir, &log)?;
                let all = parts.len();
                parts.retain(|known| log.had(&known.manifest));
                if parts.len() < all {
                    let n = all - parts.len();
                    report.notes.push(format!("{id}: {n} parts are of another copy of this log and cannot be checked"));
                }
                if args.rewrite {
                    log.rewrite(&cfg.lake.dir, parts, &mut report)?;
                } else if args.verify {
                    log.verify(&cfg.lake.dir, &parts, args.out.as_deref(), &mut report)?;
                } else if let Some(out) = &args.out {
                    log.rebuild(&parts, out, &mut report)?;
                }
            }
        }
    }
    if let Some(out) = &args.out {
        // Empty by now; what is not empty stays for a person to see.
        let _ = std::fs::remove_dir(out.join(".staging"));
    }
    Ok(report)
}

/// Rebuilding over an existing lake would mix two truths.
fn refuse_used(out: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(out) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err).with_context(|| format!("look at {}", out.display())),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => anyhow::bail!(
                "the output directory is not empty\n  where: {}\n  fix:   name a directory that does not exist or is empty",
                out.display()
            ),
        },
    }
}

/// The manifests of this log in the lake, in log order.
fn published(lake: &Path, log: &Log) -> anyhow::Result<Vec<Known>> {
    let mut found = Vec::new();
    for (part, path) in manifests(lake, log.venue.id().as_str())? {
        if !log.name.starts_with(&part.log8) {
            continue;
        }
        let (manifest, sha256) = Manifest::load_hashed(&path).with_context(|| format!("read {}", path.display()))?;
        if manifest.log == log.name {
            found.push(Known { part, manifest, sha256 });
        }
    }
    found.sort_by_key(|known| known.part.first_seq);
    Ok(found)
}
