//! The lake again from the log, or the proof that it is the same.
//!
//! A replay is the same fold over records as the live path ([`super::gather::Gatherer`]), with the same parts: hours
//! end them by themselves, and where an hour was drained half way its manifest says where. Nothing is written but below
//! `out` (but for `rewrite`), no ack is taken, no segment deleted, no damage repaired. Segments that are still to be
//! read are held meanwhile ([`wal_format::Hold`]): services beside it may publish and delete as they do.
//!
//! `verify` takes each published part for itself: its range, its settings and the continuation of the part before
//! come from the manifests, its rows from the log. Files and manifest must come out byte for byte; what does not is
//! looked at again while nobody changes the lake. `rewrite` does the same and rewrites the parts whose rows came
//! out otherwise.

mod absent;
mod pass;
pub mod repair;
mod report;
pub mod rewrite;
mod scratch;
mod verify;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use wal_format::{Hold, SegmentInfo};

use self::pass::{PublishedPart, ReplayLog};
use self::report::unreadable_part;
pub use self::report::{PartReport, ReplayReport, Verdict};
use super::error::CompactError;
use super::settings::write_settings;
use crate::settings::Config;
use fold::gather::LogKind;
use fold::stored_logs::stored_logs;
use lake::find::manifests;
use lake::hash::hex;
use lake::lock::PATIENCE;
use lake::{Hour, Lake, LakeLock, Part, PartManifest};
use model::VenueId;
use venue::{self, Venue};

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
    /// Compare with the lake.
    pub verify: bool,
    /// Rewrite parts of the lake whose rows come out different from the published ones.
    pub rewrite: bool,
    /// Also those that would have fewer rows of a table than were published.
    pub fewer_rows: bool,
}

impl ReplayArgs {
    fn purpose(&self) -> &'static str {
        match (self.rewrite, self.verify) {
            (true, _) => "replay --rewrite",
            (_, true) => "replay --verify",
            _ => "replay --out",
        }
    }
}

/// Rebuilds, or verifies what `lake` has.
///
/// # Errors
/// When `out` is in use, a log or file cannot be read, or a rebuilt part does not balance. A difference is not an
/// error: it is in the report.
pub fn replay(cfg: &Config, lake: &Lake, args: &ReplayArgs) -> Result<ReplayReport, CompactError> {
    if let Some(out) = &args.out {
        refuse_used(out)?;
    }
    let mut report = ReplayReport::default();
    // From the first reading to the last swap: nobody takes what is half made for the rest of a crash.
    let _rewriting = match args.rewrite {
        true => Some(LakeLock::rewrite(lake.work(), args.purpose(), PATIENCE)?),
        false => None,
    };
    if args.rewrite {
        report.notes.extend(rewrite::finish_held(lake)?);
    } else if args.verify {
        report.notes.extend(rewrite::finish(lake)?);
    }
    let ids: Vec<VenueId> =
        if args.venues.is_empty() { cfg.capture.venues.keys().copied().collect() } else { args.venues.clone() };
    for id in ids {
        let venue = venue::venue(id);
        for (kind, dir) in
            [(LogKind::Collected, cfg.capture.wal_dir(id)), (LogKind::Repairs, cfg.capture.repair_dir(id))]
        {
            // Before anything is listed: what is listed stays.
            let holds = match fold::hold(&cfg.capture.archive_root(), &dir, args.purpose()) {
                Ok(holds) => holds,
                // A log that can only be read, such as a mounted backup: nobody deletes from it.
                Err(err) if !args.rewrite => {
                    report.notes.push(wal_format::error_chain(&err));
                    Vec::new()
                }
                Err(err) => return Err(err.into()),
            };
            let logs = logs_of(cfg, venue, kind, &dir, args, &holds)?;
            if logs.is_empty() && kind == LogKind::Collected {
                report.notes.push(format!("{id}: there is no log in {}", dir.display()));
            }
            for log in logs {
                log.needs(log.first_segment);
                let PublishedParts { mut parts, unreadable } = published(lake, &log)?;
                let all = parts.len();
                parts.retain(|known| log.had(&known.manifest));
                if parts.len() < all {
                    let n = all - parts.len();
                    report.notes.push(format!("{id}: {n} parts are of another copy of this log and cannot be checked"));
                }
                for (part, why) in unreadable.iter().filter(|(part, _)| log.wanted(part.hour)) {
                    report.parts.push(unreadable_part(part, why));
                }
                if args.rewrite {
                    log.rewrite(lake, parts, &mut report)?;
                } else if args.verify {
                    log.absent(lake, &parts, &unreadable, &mut report)?;
                    log.verify(lake, parts, args.out.as_deref(), &mut report)?;
                } else if let Some(out) = &args.out {
                    let unknown: Vec<u64> = unreadable.iter().map(|(part, _)| part.first_seq).collect();
                    log.rebuild(&parts, &unknown, out, &mut report)?;
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
fn refuse_used(out: &Path) -> Result<(), CompactError> {
    match std::fs::read_dir(out) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(CompactError::file("look at", out)(err)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(CompactError::NotEmpty { dir: out.to_owned() }),
        },
    }
}

/// The logs that were ever in `dir`.
fn logs_of<'h>(
    cfg: &Config,
    venue: &'static Venue,
    kind: LogKind,
    dir: &Path,
    args: &ReplayArgs,
    holds: &'h [Hold],
) -> Result<Vec<ReplayLog<'h>>, CompactError> {
    let mut logs = Vec::new();
    for (uuid, stored, first_segment) in stored_logs(&cfg.capture.archive_root(), dir)? {
        let segments = stored.list().map_err(CompactError::at("list", stored.dir()))?;
        let own = segments.iter().filter(|s| s.foreign.is_none()).filter_map(SegmentInfo::run);
        logs.push(ReplayLog {
            venue,
            kind,
            runs: own.map(|run| (run.epoch, run.incarnation)).collect(),
            stored,
            dir: dir.to_owned(),
            name: hex(&uuid),
            first_segment,
            settings: write_settings(&cfg.lake),
            from: args.from_ns.map(Hour::of_ns),
            to_ns: args.to_ns,
            fewer_rows: args.fewer_rows,
            holds,
            damage: RefCell::default(),
        });
    }
    Ok(logs)
}

/// What the lake has of a log.
struct PublishedParts {
    /// In log order.
    parts: Vec<PublishedPart>,
    /// Parts of a log of this name whose manifest cannot be read, and why.
    unreadable: Vec<(Part, String)>,
}

/// The manifests of this log in the lake.
fn published(lake: &Lake, log: &ReplayLog) -> Result<PublishedParts, CompactError> {
    let mut found = PublishedParts { parts: Vec::new(), unreadable: Vec::new() };
    for (part, at) in manifests(lake, log.venue.id().as_str())? {
        if !log.name.starts_with(&part.log8) {
            continue;
        }
        match PartManifest::load_hashed(lake, &at.key) {
            Ok((manifest, sha256)) if manifest.log == log.name => {
                found.parts.push(PublishedPart { part, manifest, sha256 });
            }
            // Another log whose uuid begins alike.
            Ok(_) => {}
            Err(err) => found.unreadable.push((part, err.to_string())),
        }
    }
    found.parts.sort_by_key(|known| known.part.first_seq);
    Ok(found)
}
