//! How long archived segments and published hours stay: by age, by size, and by what the disk has left.
//!
//! ```text
//!  archive/<venue>/<log>/*.wal.zst   oldest first   too old, over the size, or the disk too full -> unlinked
//!  lake: hours of a venue            oldest first   the same -> told in _manifests/removed.jsonl, then unlinked
//! ```
//!
//! Only what every reader has acked is ever in an archive, and only published files are looked at, so nothing that
//! somebody waits for can go. The newest part of each log stays whatever the limits say, manifests stay for ever, and a
//! file that a manifest names is listed durably as removed before it goes: a verification tells retention from
//! loss. When the disk is short, archived segments go before hours of the lake. Every deletion is logged with its reason.
//!
//! Never touches the log, staged files, or venues that are not configured here: another compactor may own them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wal_format::{Shelf, durable};

use super::chain::REMOVED;
use super::resume::manifests;
use super::stage::list;
use crate::config::Config;
use crate::lake::{Manifest, Part};
use crate::{clock, host};

const HOUR_NS: u64 = 3_600_000_000_000;
const GIB: u64 = 1 << 30;

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
    /// Its bytes.
    pub bytes: u64,
    /// It stays, whatever the limits say.
    pub stays: bool,
}

/// Removes the oldest of `items` until the limits hold. `free` tells the free bytes of their disk, `remove` removes
/// one; what it refuses stays and is not tried again.
pub fn trim<T>(
    mut items: Vec<Item<T>>,
    limits: Limits,
    now_ns: u64,
    free: &dyn Fn() -> Option<u64>,
    remove: &mut dyn FnMut(&Item<T>, Why) -> bool,
) -> usize {
    items.sort_by_key(|item| item.newest_ns);
    let mut total: u64 = items.iter().map(|item| item.bytes).sum();
    let mut removed = 0;
    for item in items.iter().filter(|item| !item.stays) {
        let age = now_ns.saturating_sub(item.newest_ns) / HOUR_NS;
        let short = || free().filter(|free| limits.free_bytes > 0 && *free < limits.free_bytes);
        let why = if limits.hours > 0 && age >= limits.hours {
            Why::Age(limits.hours)
        } else if limits.bytes > 0 && total > limits.bytes {
            Why::Size(total)
        } else if let Some(free) = short() {
            Why::Disk(free)
        } else {
            // All later ones are younger, and nothing else changes from one to the next.
            break;
        };
        if remove(item, why) {
            total = total.saturating_sub(item.bytes);
            removed += 1;
        }
    }
    removed
}

/// What one sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Archived segments.
    pub segments: usize,
    /// Parts of the lake.
    pub parts: usize,
}

/// Keeps the limits; remembers what it learnt about files that never change.
pub struct Keeper {
    archived: HashMap<PathBuf, (u64, u64)>,
    free: fn(&Path) -> Option<u64>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self::with_disk(|path| Some(host::disk(path)?.free_bytes))
    }
}

impl Keeper {
    /// A keeper that asks `free` for the free bytes of the disk that holds a path.
    pub fn with_disk(free: fn(&Path) -> Option<u64>) -> Self {
        Self { archived: HashMap::new(), free }
    }

    /// Removes what the limits of `cfg` do not allow. Trouble with one file is logged and leaves it.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn sweep(&mut self, cfg: &Config, now_ns: u64) -> anyhow::Result<Swept> {
        let free_bytes = cfg.min_free_gib.saturating_mul(GIB);
        let bytes = |gib: u64| gib.saturating_mul(GIB);
        let archive =
            Limits { hours: cfg.wal.archive_retention_hours, bytes: bytes(cfg.wal.archive_max_gib), free_bytes };
        let lake = Limits { hours: cfg.lake.retention_hours, bytes: bytes(cfg.lake.max_gib), free_bytes };
        let mut swept = Swept::default();
        if archive.any() {
            swept.segments = self.sweep_archive(cfg, archive, now_ns)?;
        }
        if lake.any() {
            swept.parts = self.sweep_lake(cfg, lake, now_ns)?;
        }
        Ok(swept)
    }

    fn sweep_archive(&mut self, cfg: &Config, limits: Limits, now_ns: u64) -> anyhow::Result<usize> {
        let mut items = Vec::new();
        let mut known = HashMap::new();
        for venue in cfg.venues.keys() {
            for log in [cfg.wal_dir(*venue), cfg.repair_dir(*venue)] {
                let root = cfg.archive_root().join(log.file_name().unwrap_or_default());
                for dir in list(&root)?.into_iter().filter(|dir| dir.is_dir()) {
                    for (path, fact) in self.facts(&dir)? {
                        known.insert(path.clone(), fact);
                        items.push(Item { what: path, newest_ns: fact.0, bytes: fact.1, stays: false });
                    }
                }
            }
        }
        self.archived = known;
        let root = cfg.archive_root();
        let free = || (self.free)(&root);
        Ok(trim(items, limits, now_ns, &free, &mut |item, why| {
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
    fn facts(&self, dir: &Path) -> anyhow::Result<Vec<(PathBuf, (u64, u64))>> {
        let mut facts = Vec::new();
        let shelf = Shelf::new(dir);
        let paths: Vec<PathBuf> = shelf
            .ids()
            .with_context(|| format!("list {}", dir.display()))?
            .into_iter()
            .map(|id| wal_format::archive::path(dir, id))
            .collect();
        if paths.iter().all(|path| self.archived.contains_key(path)) {
            return Ok(paths.iter().filter_map(|path| self.archived.get_key_value(path)).map(owned).collect());
        }
        for info in shelf.list().with_context(|| format!("list {}", dir.display()))? {
            // One that cannot be read is left for a person.
            if let Some(footer) = info.footer.filter(|_| info.archived) {
                facts.push((info.path, (footer.last_ts_ns, info.bytes)));
            }
        }
        Ok(facts)
    }

    fn sweep_lake(&mut self, cfg: &Config, limits: Limits, now_ns: u64) -> anyhow::Result<usize> {
        let lake = &cfg.lake.dir;
        let mut items = Vec::new();
        for venue in cfg.venues.keys() {
            let parts = manifests(lake, venue.as_str())?;
            let mut newest: BTreeMap<String, u64> = BTreeMap::new();
            for (part, _) in &parts {
                let seq = newest.entry(part.log8.clone()).or_default();
                *seq = part.first_seq.max(*seq);
            }
            for (part, path) in parts {
                // One that cannot be read is told about by those who need it.
                let Ok(manifest) = Manifest::load(&path) else { continue };
                let files: Vec<PathBuf> =
                    manifest.files.iter().map(|f| lake.join(&f.path)).filter(|p| p.exists()).collect();
                if files.is_empty() {
                    continue;
                }
                items.push(Item {
                    newest_ns: part.hour.end_ns(),
                    bytes: manifest.files.iter().map(|f| f.bytes).sum(),
                    stays: newest.get(&part.log8) == Some(&part.first_seq),
                    what: (part, files),
                });
            }
        }
        let free = || (self.free)(lake);
        Ok(trim(items, limits, now_ns, &free, &mut |item, why| {
            let (part, files) = &item.what;
            match remove_part(lake, part, files, why) {
                Ok(()) => {
                    tracing::info!(
                        venue = %part.venue, hour = %part.hour, files = files.len(), bytes = item.bytes, %why,
                        "hour of the lake deleted, its manifest stays"
                    );
                    true
                }
                Err(err) => {
                    tracing::warn!(venue = %part.venue, hour = %part.hour, error = %format!("{err:#}"),
                        "cannot delete an hour of the lake");
                    false
                }
            }
        }))
    }
}

fn owned(entry: (&PathBuf, &(u64, u64))) -> (PathBuf, (u64, u64)) {
    (entry.0.clone(), *entry.1)
}

/// Lists the files of a part as removed, then removes them and directories that are empty by that.
fn remove_part(lake: &Path, part: &Part, files: &[PathBuf], why: Why) -> anyhow::Result<()> {
    let mut lines = String::new();
    for file in files {
        let path = file.strip_prefix(lake).unwrap_or(file);
        let path = path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let line = serde_json::json!({
            "path": path, "hour": part.hour.to_string(), "why": why.to_string(), "at_ns": clock::wall_ns(),
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let list = lake.join("_manifests").join(REMOVED);
    durable::append_lines(&list, lines.as_bytes()).with_context(|| format!("write {}", list.display()))?;
    for file in files {
        durable::remove_file(file).with_context(|| format!("delete {}", file.display()))?;
        // Hour, date and exchange; what still holds something stays.
        for dir in file.ancestors().skip(1).take(3) {
            if std::fs::remove_dir(dir).is_err() {
                durable::sync_dir(dir).with_context(|| format!("sync {}", dir.display()))?;
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item<u32>> {
        (1..=5).map(|n| Item { what: n, newest_ns: u64::from(n) * HOUR_NS, bytes: 10, stays: n == 5 }).collect()
    }

    fn gone(limits: Limits, now_h: u64, free: u64) -> Vec<(u32, Why)> {
        let mut gone = Vec::new();
        let left = std::cell::Cell::new(free);
        trim(items(), limits, now_h * HOUR_NS, &|| Some(left.get()), &mut |item, why| {
            gone.push((item.what, why));
            left.set(left.get() + item.bytes);
            true
        });
        gone
    }

    #[test]
    fn the_oldest_go_until_age_size_and_disk_are_as_wanted_and_what_stays_stays() {
        let none = Limits::default();
        assert!(gone(none, 1_000, 0).is_empty());
        assert_eq!(gone(Limits { hours: 3, ..none }, 5, 0), [(1, Why::Age(3)), (2, Why::Age(3))]);
        assert_eq!(gone(Limits { bytes: 35, ..none }, 5, 0), [(1, Why::Size(50)), (2, Why::Size(40))]);
        assert_eq!(gone(Limits { free_bytes: 25, ..none }, 5, 8), [(1, Why::Disk(8)), (2, Why::Disk(18))]);
        assert_eq!(gone(Limits { bytes: 1, ..none }, 5, 0).len(), 4, "the newest part of a log stays");
        assert_eq!(gone(Limits { hours: 1, ..none }, 1_000, 0).len(), 4);
    }

    #[test]
    fn what_cannot_be_removed_does_not_count_as_removed() {
        let limits = Limits { bytes: 35, ..Limits::default() };
        let mut asked = Vec::new();
        let n = trim(items(), limits, 0, &|| None, &mut |item, _| {
            asked.push(item.what);
            item.what != 1
        });
        assert_eq!((n, asked), (2, vec![1, 2, 3]));
    }
}
