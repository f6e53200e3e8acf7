//! What must hold after any fault, whatever the services made of it.
//!
//! 1. No trade stands in the lake twice, and none with another price or amount.
//! 2. A drain that ends well has every trade in the lake, or tells that it is missing: as a gap of ids or a lost range.
//! 3. What is told as lost is not in the lake.
//! 4. Nothing that could still be read somewhere after the fault is gone: it is in the lake, in a log file, in a staged or
//!    set-aside piece.
//! 5. A segment that was deleted is covered by a manifest that can be read: its trades are in the lake.
//!
//! A drain that does not end well must say why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use lake::{PartManifest, Table};

use super::world::{Data, files, ids_in_logs_of, ids_of};
use crate::support::both;

/// What is where.
pub struct Survey {
    /// Trades in published files that a readable manifest names: id -> how often.
    pub lake: BTreeMap<i64, u32>,
    /// Of them those with another value than they were recorded with.
    wrong: BTreeSet<i64>,
    /// Trades in published files that no readable manifest names.
    unnamed: BTreeSet<i64>,
    /// Trades in pieces, staged or set aside.
    pieces: BTreeSet<i64>,
    /// Trades in log files, wherever they were moved.
    logs: BTreeSet<i64>,
    /// By log file name.
    segments: BTreeMap<String, BTreeSet<i64>>,
    /// Ids that manifests tell as missing: gaps, and lost ranges (by the seq of the record, see [`told`]).
    gaps: BTreeSet<i64>,
    /// Lost ranges: from seq, to seq, reason.
    pub lost: Vec<(u64, u64, String)>,
}

impl Survey {
    pub fn of(dir: &Path) -> Survey {
        let lake_dir = dir.join("lake");
        let mut named: BTreeSet<PathBuf> = BTreeSet::new();
        let mut gaps = BTreeSet::new();
        let mut lost = Vec::new();
        for path in
            files(&lake_dir.join("_manifests")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"))
        {
            let Some(m) = std::fs::read(&path).ok().and_then(|bytes| PartManifest::parse(&bytes).ok()) else {
                continue;
            };
            named.extend(m.files.iter().filter(|f| f.table == Table::Trades).map(|f| lake_dir.join(&f.path)));
            for g in m.gaps.iter().filter(|g| g.to_id - g.from_id < 10_000_000) {
                gaps.extend(g.from_id..=g.to_id);
            }
            lost.extend(m.lost.iter().map(|l| (l.from_seq, l.to_seq, l.reason.clone())));
        }
        let (mut lake, mut wrong, mut unnamed, mut pieces) =
            (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for path in files(&lake_dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == "parquet")) {
            let Some(ids) = ids_of(&path) else { continue };
            if named.contains(&path) {
                for (id, (n, bad)) in ids {
                    *lake.entry(id).or_insert(0) += n;
                    if bad {
                        wrong.insert(id);
                    }
                }
            } else if path.starts_with(lake_dir.join("trades")) {
                unnamed.extend(ids.into_keys());
            } else {
                pieces.extend(ids.into_keys());
            }
        }
        let mut segments = BTreeMap::new();
        let mut logs = BTreeSet::new();
        for path in files(dir) {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if !name.contains(".wal") {
                continue;
            }
            let one = ids_in_logs_of(&path);
            logs.extend(one.iter().copied());
            segments.insert(path.display().to_string(), one);
        }
        Survey { lake, wrong, unnamed, pieces, logs, segments, gaps, lost }
    }

    /// Everything that can be read somewhere.
    fn available(&self) -> BTreeSet<i64> {
        self.lake.keys().chain(&self.unnamed).chain(&self.pieces).chain(&self.logs).copied().collect()
    }
}

/// Where an id's record stands in the log, for lost ranges: known from the undisturbed world.
pub type SeqOf = BTreeMap<i64, u64>;

/// What is wrong after a drain; empty when everything holds. `wanted`: the ids that were recorded.
pub fn judge(after_fault: &Survey, now: &Survey, out: &Output, wanted: &BTreeSet<i64>, seq_of: &SeqOf) -> Vec<String> {
    let mut wrong = Vec::new();
    let well = out.status.success();
    let some = |ids: &BTreeSet<i64>| {
        let first: Vec<_> = ids.iter().take(3).collect();
        format!("{} trades, {first:?}...", ids.len())
    };
    let twice: BTreeSet<i64> = now.lake.iter().filter(|(_, n)| **n > 1).map(|(id, _)| *id).collect();
    if !twice.is_empty() {
        wrong.push(format!("stand twice: {}", some(&twice)));
    }
    if !now.wrong.is_empty() {
        wrong.push(format!("with other values: {}", some(&now.wrong)));
    }
    let told = |id: &i64| {
        now.gaps.contains(id)
            || seq_of.get(id).is_some_and(|seq| now.lost.iter().any(|(from, to, _)| from <= seq && seq <= to))
    };
    if well {
        let untold: BTreeSet<i64> =
            wanted.iter().filter(|id| !now.lake.contains_key(id) && !told(id)).copied().collect();
        if !untold.is_empty() {
            wrong.push(format!("ended well, and nothing tells of the missing: {}", some(&untold)));
        }
    } else if both(out).trim().is_empty() {
        wrong.push("did not end well and does not say why".to_owned());
    }
    if out.status.code().is_none() {
        wrong.push(format!("hung or was killed: {}", out.status));
    }
    let falsely: BTreeSet<i64> = now
        .lake
        .keys()
        .filter(|id| seq_of.get(id).is_some_and(|seq| now.lost.iter().any(|(from, to, _)| from <= seq && seq <= to)))
        .copied()
        .collect();
    if !falsely.is_empty() {
        wrong.push(format!("told as lost, and in the lake: {}", some(&falsely)));
    }
    let gone: BTreeSet<i64> = after_fault.available().difference(&now.available()).copied().collect();
    if !gone.is_empty() {
        wrong.push(format!("could be read after the fault and is nowhere now: {}", some(&gone)));
    }
    // By content, not by name: a segment may be moved, archived or set aside.
    for (segment, ids) in &after_fault.segments {
        let left: BTreeSet<i64> =
            ids.iter().filter(|id| !now.logs.contains(id) && !now.lake.contains_key(id)).copied().collect();
        if !left.is_empty() {
            wrong.push(format!("{segment} was deleted and no readable manifest covers {}", some(&left)));
        }
    }
    wrong
}

/// Where each trade's record stands, read from a whole log.
pub fn seqs(data: &Data) -> SeqOf {
    let (records, _) = crate::support::log::read_all(&data.log());
    records
        .iter()
        .filter_map(|r| {
            let at = memchr::memmem::find(&r.payload, b"\"t\":")? + 4;
            let rest = &r.payload[at..];
            let end = rest.iter().position(|b| !b.is_ascii_digit())?;
            Some((std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?, r.seq))
        })
        .collect()
}
