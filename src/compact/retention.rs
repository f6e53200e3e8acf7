//! How long archived segments and published hours stay: by age, by size, and by what the disk has left.
//!
//! ```text
//!  archive/<venue>/<log>/*.wal.zst   oldest first   too old, over the size, or the disk too full -> unlinked
//!  lake: hours of a venue            oldest first   the same -> noted in _manifests/removed.jsonl, then unlinked
//! ```
//!
//! Only what every reader has acked is ever in an archive, and only published files are looked at, so nothing that
//! a consumer waits for can go. The newest part and the newest archived segment of each log stay whatever the limits say,
//! manifests stay for ever, and a file that a manifest names is listed durably as removed before it goes: a verification
//! distinguishes retention from lost data. When the disk is short, archived segments go before hours of the lake. Every
//! deletion is logged with its reason.
//!
//! A clock that is wrong deletes nothing: age is counted back from the newest record there is of the venue, or from the
//! wall clock where that is behind it. A venue that is recorded no more therefore keeps its last hours. And no sweep
//! deletes more than a share of what there is ([`cap`]): whatever was set or measured wrong, there is time to see it.
//!
//! Looking costs little: a manifest is read once, by the process, and what is older than the newest day is listed once
//! an hour.
//!
//! Never touches the log, staged files, or venues that are not configured here: another compactor may own them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use wal_format::{SegmentDirs, durable, error_chain};

use super::chain::REMOVED;
use super::error::CompactError;
use crate::settings::Config;
use lake::find::manifests_since;
use lake::lock::PATIENCE;
use lake::work::list;
use lake::{Hour, Lake, LakeError, LakeLock, PartManifest, Version};
use ops::{clock, host};

const HOUR_NS: u64 = 3_600_000_000_000;
const GIB: u64 = 1 << 30;

/// Archived segments: newest record, ns, and bytes.
type Facts = Vec<(PathBuf, (u64, u64))>;

/// Limits of one kind of thing; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Hours since the newest record in it.
    pub hours: u64,
    /// Bytes of all together.
    pub bytes: u64,
    /// Free bytes that the disk should keep.
    pub free_bytes: u64,
}

impl Limits {
    fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its newest record is older than this many hours.
    Age(u64),
    /// All together were this many bytes, more than allowed.
    Size(u64),
    /// The disk had this many free bytes, fewer than it should keep.
    Disk(u64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(hours) => write!(f, "older than {hours} h"),
            Self::Size(bytes) => write!(f, "all together had {} MiB, more than allowed", bytes >> 20),
            Self::Disk(bytes) => write!(f, "the disk had {} MiB free, fewer than it should keep", bytes >> 20),
        }
    }
}

/// Something that may go as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<T> {
    /// What it is.
    pub what: T,
    /// Its newest record, ns since 1970-01-01 UTC.
    pub newest_ns: u64,
    /// How old that is, see [`now`]; ns.
    pub age_ns: u64,
    /// Its bytes.
    pub bytes: u64,
    /// It stays, whatever the limits say.
    pub stays: bool,
}

/// The most that one sweep deletes of `items` things: a tenth, at most 500. At a sweep a minute a year of hours of ten
/// logs goes within three hours where it should, and a lake that should not has lost a tenth when the first line about
/// it is in the log.
pub fn cap(items: usize) -> usize {
    (items / 10).clamp(1, 500)
}

/// What [`trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Removed items.
    pub removed: usize,
    /// The limits do not hold yet: the rest is for later sweeps.
    pub capped: bool,
}

/// What age is counted back from: the newest of what there is, or the wall clock where that is behind it. A clock that
/// is ahead makes nothing old.
pub fn now(newest_ns: Option<u64>, wall_ns: u64) -> u64 {
    newest_ns.unwrap_or(0).min(wall_ns)
}

/// Removes the oldest of `items` until the limits hold, or [`cap`] of them are gone. `free` returns the free bytes of
/// their disk, `remove` removes one; what it refuses stays and is not tried again.
pub fn trim<T>(
    mut items: Vec<Item<T>>,
    limits: Limits,
    free: &dyn Fn() -> Option<u64>,
    remove: &mut dyn FnMut(&Item<T>, Why) -> bool,
) -> Trimmed {
    items.sort_by_key(|item| item.newest_ns);
    let cap = cap(items.len());
    let mut trimmed = Trimmed::default();
    let mut total: u64 = items.iter().map(|item| item.bytes).sum();
    // Read again only when something went: there may be a hundred thousand items.
    let short = || if limits.free_bytes > 0 { free().filter(|free| *free < limits.free_bytes) } else { None };
    let mut too_full = short();
    for item in items.iter().filter(|item| !item.stays) {
        let why = if limits.hours > 0 && item.age_ns / HOUR_NS >= limits.hours {
            Why::Age(limits.hours)
        } else if limits.bytes > 0 && total > limits.bytes {
            Why::Size(total)
        } else if let Some(free) = too_full {
            Why::Disk(free)
        } else {
            // A later one may be older by the newest record of its own venue.
            continue;
        };
        if trimmed.removed == cap {
            trimmed.capped = true;
            break;
        }
        if remove(item, why) {
            total = total.saturating_sub(item.bytes);
            trimmed.removed += 1;
            too_full = short();
        }
    }
    trimmed
}

/// What one sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Archived segments.
    pub segments: usize,
    /// Parts of the lake.
    pub parts: usize,
    /// Manifests that were read for it.
    pub read: usize,
    /// More has to go than one sweep may delete.
    pub capped: bool,
}

/// Between two sweeps that list everything, in sweeps: the others list the newest day and the one before.
const LIST_ALL_EVERY: u32 = 60;

/// Keeps the limits; remembers what it learnt about files that never change.
pub struct RetentionSweeper {
    archived: HashMap<PathBuf, (u64, u64)>,
    /// By venue name.
    lakes: BTreeMap<String, KnownVenue>,
    sweeps: u32,
    /// Looks for what uploads left: counted apart, as they are made whatever the limits are.
    looks: u32,
    free: fn(&Path) -> Option<u64>,
}

/// What is known of the parts of one venue: as little as gives age, size and the newest, for there are many.
#[derive(Default)]
struct KnownVenue {
    /// By the key of the manifest.
    parts: BTreeMap<String, KnownPart>,
}

struct KnownPart {
    hour: Hour,
    /// Of the manifest: one that was rewritten has another.
    version: Version,
    /// Bytes of its files; 0 when nothing is left of them, or the manifest cannot be read.
    bytes: u64,
    /// The manifest and those it replaces, by the first digits of their SHA-256.
    names: Vec<u64>,
    /// The one before it.
    previous: Option<u64>,
}

impl Default for RetentionSweeper {
    fn default() -> Self {
        Self::with_disk(|path| Some(host::disk(path)?.free_bytes))
    }
}

impl RetentionSweeper {
    /// A sweeper that reads the free bytes with `free` of the disk that holds a path.
    pub fn with_disk(free: fn(&Path) -> Option<u64>) -> Self {
        Self { archived: HashMap::new(), lakes: BTreeMap::new(), sweeps: 0, looks: 0, free }
    }

    /// Removes what the limits of `cfg` do not allow of the archive and of `lake`; `wall_ns` is the wall clock. Trouble
    /// with one file is logged and leaves it.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn sweep(&mut self, cfg: &Config, lake: &Lake, wall_ns: u64) -> Result<Swept, CompactError> {
        let free_bytes = cfg.capture.min_free_gib.saturating_mul(GIB);
        let bytes = |gib: u64| gib.saturating_mul(GIB);
        let archive = Limits {
            hours: cfg.capture.wal.archive_retention_hours,
            bytes: bytes(cfg.capture.wal.archive_max_gib),
            free_bytes,
        };
        let published = Limits { hours: cfg.lake.retention_hours, bytes: bytes(cfg.lake.max_gib), free_bytes };
        let mut swept = Swept::default();
        if self.looks.is_multiple_of(LIST_ALL_EVERY) {
            let uploads = lake.sweep(i64::try_from(wall_ns / 1_000_000).unwrap_or(i64::MAX))?;
            if uploads > 0 {
                tracing::info!(uploads, "removed what uploads left that ended half-way");
            }
        }
        self.looks = self.looks.wrapping_add(1);
        if archive.any() {
            let trimmed = self.sweep_archive(cfg, archive, wall_ns)?;
            (swept.segments, swept.capped) = (trimmed.removed, trimmed.capped);
        }
        if published.any() {
            let all = self.sweeps.is_multiple_of(LIST_ALL_EVERY);
            self.sweeps = self.sweeps.wrapping_add(1);
            for venue in cfg.capture.venues.keys() {
                let known = self.lakes.entry(venue.to_string()).or_default();
                swept.read += known.look(lake, venue.as_str(), all)?;
            }
            let trimmed = self.sweep_lake(lake, published, wall_ns);
            swept.parts = trimmed.removed;
            swept.capped |= trimmed.capped;
        }
        if swept.capped {
            tracing::warn!(
                segments = swept.segments,
                parts = swept.parts,
                "more has to go than one look may delete: the rest goes at the next ones, a tenth each; if that is not meant, stop the compactor and look at its retention settings and at the clock"
            );
        }
        Ok(swept)
    }

    fn sweep_archive(&mut self, cfg: &Config, limits: Limits, wall_ns: u64) -> Result<Trimmed, CompactError> {
        let mut items = Vec::new();
        let mut known = HashMap::new();
        for venue in cfg.capture.venues.keys() {
            let mut of_venue = Vec::new();
            for log in [cfg.capture.wal_dir(*venue), cfg.capture.repair_dir(*venue)] {
                let root = cfg.capture.archive_root().join(log.file_name().unwrap_or_default());
                // Somebody reads it again: all of it stays meanwhile.
                let holds = wal_format::holds(&root).map_err(CompactError::file("look for holds of", &root))?;
                for dir in list(&root)?.into_iter().filter(|dir| dir.is_dir()) {
                    let facts = self.facts(&dir)?;
                    let newest = facts.iter().map(|(_, fact)| fact.0).max();
                    for (path, fact) in facts {
                        known.insert(path.clone(), fact);
                        of_venue.push((path, fact, !holds.is_empty() || Some(fact.0) == newest));
                    }
                }
            }
            let now_ns = now(of_venue.iter().map(|(_, fact, _)| fact.0).max(), wall_ns);
            items.extend(of_venue.into_iter().map(|(what, (newest_ns, bytes), stays)| Item {
                what,
                newest_ns,
                age_ns: now_ns.saturating_sub(newest_ns),
                bytes,
                stays,
            }));
        }
        self.archived = known;
        let root = cfg.capture.archive_root();
        let free = || (self.free)(&root);
        Ok(trim(items, limits, &free, &mut |item, why| {
            let gone =
                durable::remove_file(&item.what).and_then(|()| item.what.parent().map_or(Ok(()), durable::sync_dir));
            match gone {
                Ok(()) => {
                    tracing::info!(segment = %item.what.display(), bytes = item.bytes, %why, "archived segment deleted");
                    true
                }
                Err(err) => {
                    tracing::warn!(segment = %item.what.display(), error = %err, "cannot delete an archived segment");
                    false
                }
            }
        }))
    }

    /// Newest record and size of every archived segment in `dir`.
    fn facts(&self, dir: &Path) -> Result<Facts, CompactError> {
        let mut facts = Vec::new();
        let stored = SegmentDirs::new(dir);
        let paths: Vec<PathBuf> = stored
            .ids()
            .map_err(CompactError::at("list", dir))?
            .into_iter()
            .map(|id| wal_format::archive::path(dir, id))
            .collect();
        if paths.iter().all(|path| self.archived.contains_key(path)) {
            return Ok(paths.iter().filter_map(|path| self.archived.get_key_value(path)).map(owned).collect());
        }
        for info in stored.list().map_err(CompactError::at("list", dir))? {
            // One that cannot be read is left for a person.
            if let Some(footer) = info.footer.filter(|_| info.archived) {
                facts.push((info.path, (footer.last_ts_ns, info.bytes)));
            }
        }
        Ok(facts)
    }

    fn sweep_lake(&mut self, lake: &Lake, limits: Limits, wall_ns: u64) -> Trimmed {
        let items: Vec<Item<String>> = self.lakes.values().flat_map(|venue| venue.items(wall_ns)).collect();
        // Elsewhere nothing that goes gives room to a disk of ours.
        let free = || lake.local().and_then(self.free);
        let mut gone = Vec::new();
        let trimmed = trim(items, limits, &free, &mut |item, why| match remove_part(lake, &item.what, why) {
            Ok(files) => {
                tracing::info!(manifest = %lake.place(&item.what).display(), files, bytes = item.bytes, %why,
                    "hour of the lake deleted, its manifest stays");
                gone.push(item.what.clone());
                true
            }
            Err(err) => {
                tracing::warn!(manifest = %lake.place(&item.what).display(), error = %error_chain(&err),
                    "cannot delete an hour of the lake");
                false
            }
        });
        for key in gone {
            self.lakes.values_mut().filter_map(|venue| venue.parts.get_mut(&key)).for_each(|part| part.bytes = 0);
        }
        trimmed
    }
}

impl KnownVenue {
    /// Lists the manifests, `all` of them or those of the newest day and the one before, and reads what is new; how
    /// many that were.
    fn look(&mut self, lake: &Lake, venue: &str, all: bool) -> Result<usize, CompactError> {
        let newest = self.parts.values().map(|part| part.hour.0).max().filter(|_| !all);
        let mut read = 0;
        for (part, found) in manifests_since(lake, venue, Hour(newest.map_or(i64::MIN, |newest| newest - 24)))? {
            if self.parts.get(&found.key).is_some_and(|known| known.version == found.version) {
                continue;
            }
            read += 1;
            match KnownPart::read(lake, part.hour, &found.key, found.version) {
                Ok(known) => drop(self.parts.insert(found.key, known)),
                Err(err) => {
                    tracing::warn!(manifest = %lake.place(&found.key).display(), error = %error_chain(&err),
                        "cannot look at an hour of the lake, it is looked at again");
                }
            }
        }
        Ok(read)
    }

    fn items(&self, wall_ns: u64) -> Vec<Item<String>> {
        let now_ns = now(self.parts.values().map(|part| part.hour.end_ns()).max(), wall_ns);
        let followed: HashSet<u64> = self.parts.values().filter_map(|part| part.previous).collect();
        let there = self.parts.iter().filter(|(_, part)| part.bytes > 0);
        let item = |(key, part): (&String, &KnownPart)| {
            let newest_ns = part.hour.end_ns();
            Item {
                what: key.clone(),
                newest_ns,
                age_ns: now_ns.saturating_sub(newest_ns),
                bytes: part.bytes,
                // The newest of its log, of each copy of the log.
                stays: !part.names.iter().any(|name| followed.contains(name)),
            }
        };
        there.map(item).collect()
    }
}

impl KnownPart {
    /// A damaged one is reported by those who need it; what it names stays.
    ///
    /// # Errors
    /// When the disk does not answer: it may do so again.
    fn read(lake: &Lake, hour: Hour, key: &str, version: Version) -> Result<Self, LakeError> {
        let (m, sha256) = match PartManifest::load_hashed(lake, key) {
            Ok(loaded) => loaded,
            Err(err @ LakeError::Io { .. }) => return Err(err),
            Err(_) => return Ok(Self { hour, version, bytes: 0, names: Vec::new(), previous: None }),
        };
        let mut bytes = 0_u64;
        for file in &m.files {
            if lake.has(&file.path)? {
                bytes = bytes.saturating_add(file.bytes);
            }
        }
        let short = |sha256: &String| u64::from_str_radix(sha256.get(..16)?, 16).ok();
        Ok(Self {
            hour,
            version,
            bytes,
            names: std::iter::once(&sha256).chain(&m.supersedes).filter_map(short).collect(),
            previous: m.previous_sha256.as_ref().and_then(short),
        })
    }
}

fn owned(entry: (&PathBuf, &(u64, u64))) -> (PathBuf, (u64, u64)) {
    (entry.0.clone(), *entry.1)
}

/// Lists the files that are left of a part as removed, then removes them and directories that are empty by that; how
/// many files that were.
fn remove_part(lake: &Lake, manifest: &str, why: Why) -> Result<usize, CompactError> {
    let _lock = LakeLock::exclusive(lake.work(), "retention removes an hour", PATIENCE)?;
    let named = PartManifest::load(lake, manifest)?;
    let mut files = Vec::new();
    for file in &named.files {
        if lake.has(&file.path)? {
            files.push(file.path.as_str());
        }
    }
    let mut lines = String::new();
    for path in &files {
        let line = serde_json::json!({
            "path": path, "hour": named.hour, "why": why.to_string(), "at_ns": clock::wall_ns(),
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lake.append(REMOVED, lines.as_bytes())?;
    for path in &files {
        lake.delete(path)?;
    }
    Ok(files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` things, one an hour, the newest stays.
    fn items(n: u32, wall_h: u64) -> Vec<Item<u32>> {
        let now_ns = now(Some(u64::from(n) * HOUR_NS), wall_h * HOUR_NS);
        let item = |i: u32| {
            let newest_ns = u64::from(i) * HOUR_NS;
            Item { what: i, newest_ns, age_ns: now_ns.saturating_sub(newest_ns), bytes: 10, stays: i == n }
        };
        (1..=n).map(item).collect()
    }

    /// What goes of five things in as many sweeps as it takes, and how many are needed.
    fn gone(limits: Limits, wall_h: u64, free: u64) -> (Vec<(u32, Why)>, usize) {
        let mut gone: Vec<(u32, Why)> = Vec::new();
        let left = std::cell::Cell::new(free);
        for sweeps in 1.. {
            let mut there = items(5, wall_h);
            there.retain(|item| gone.iter().all(|(what, _)| *what != item.what));
            let trimmed = trim(there, limits, &|| Some(left.get()), &mut |item, why| {
                gone.push((item.what, why));
                left.set(left.get() + item.bytes);
                true
            });
            assert!(trimmed.removed <= 1);
            if !trimmed.capped {
                return (gone, sweeps);
            }
        }
        unreachable!()
    }

    #[test]
    fn the_oldest_go_until_age_size_and_disk_are_as_wanted_and_what_stays_stays() {
        let none = Limits::default();
        assert!(gone(none, 1_000, 0).0.is_empty());
        assert_eq!(gone(Limits { hours: 3, ..none }, 5, 0).0, [(1, Why::Age(3)), (2, Why::Age(3))]);
        assert_eq!(gone(Limits { bytes: 35, ..none }, 5, 0).0, [(1, Why::Size(50)), (2, Why::Size(40))]);
        assert_eq!(gone(Limits { free_bytes: 25, ..none }, 5, 8).0, [(1, Why::Disk(8)), (2, Why::Disk(18))]);
        assert_eq!(gone(Limits { bytes: 1, ..none }, 5, 0).0.len(), 4, "the newest part of a log stays");
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nothing_old_and_one_that_is_behind_keeps() {
        let limits = Limits { hours: 3, ..Limits::default() };
        assert_eq!(gone(limits, 1_000_000, 0), gone(limits, 5, 0));
        assert!(gone(limits, 3, 0).0.is_empty());
    }

    #[test]
    fn one_sweep_deletes_a_tenth_at_most_and_the_next_ones_go_on() {
        let limits = Limits { bytes: 1, ..Limits::default() };
        assert_eq!(gone(limits, 5, 0).1, 4, "one each of five");
        let mut n = 0;
        let trimmed = trim(items(10_000, 1), limits, &|| None, &mut |_, _| {
            n += 1;
            true
        });
        assert_eq!((trimmed, n), (Trimmed { removed: 500, capped: true }, 500));
        assert_eq!((cap(0), cap(9), cap(200), cap(1_000_000)), (1, 1, 20, 500));
    }

    #[test]
    fn what_cannot_be_removed_does_not_count_as_removed() {
        let limits = Limits { bytes: 375, ..Limits::default() };
        let mut asked = Vec::new();
        let trimmed = trim(items(40, 0), limits, &|| None, &mut |item, _| {
            asked.push(item.what);
            item.what != 1
        });
        assert_eq!((trimmed.removed, asked), (3, vec![1, 2, 3, 4]));
    }
}
