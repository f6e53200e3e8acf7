//! A finished part into the lake: join, check, rename, and the manifest last.
//!
//! ```text
//!  pieces + rows in memory --join--> hidden files --all checks--> publish each --> publish the manifest
//!                                                                                  (this is the commit)
//! ```
//!
//! Until the manifest is there the part counts as not published: the next start removes what was renamed of it, gathers
//! the rest again and publishes the same names with the same bytes. Once it is there, everything staged for the part is
//! rubbish. A name that is taken by something else stops the log: nothing is overwritten.
//! If the ledger does not balance nothing is published and nothing may be retired.

use std::path::{Path, PathBuf};

use sha2::Digest;
use wal_format::Position;

use super::error::CompactError;
use super::evidence::Coverage;
use super::missing::EvidenceMissing;
use super::place::{Place, to_log_position};
use crate::failpoint;
use fold::account::{Imbalance, LISTED_MAX};
use fold::gather::Gatherer;
use lake::hash::{hash_all, hex, sha256_hex};
use lake::lock::{LakeLock, PATIENCE};
use lake::manifest::{ManifestFile, runs_to_write};
use lake::{
    Body, FileInfo, Hour, LakeError, LakeFormat, Part, PartManifest, PieceFile, Table, join_pieces, staged_path,
    staging_dir, write_text,
};
use model::row::DriftItem;
use wal_format::{durable, regular};

/// Why a part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartEnd {
    /// The next record is of another hour, or after a boundary inside it: young gaps wait in the next part.
    Hour,
    /// The log ends, as far as anybody knows: nothing will fill a gap.
    Log,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The part.
    pub part: Part,
    /// Its account.
    pub manifest: PartManifest,
}

impl Published {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.manifest.rows.values().sum()
    }

    /// Bytes of all files, the manifest not counted.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|f| f.bytes).sum()
    }
}

/// Publishes the open part of `gatherer`, which ends before `end`, and closes it. `None` when no part is open.
///
/// # Errors
/// [`CompactError::Imbalance`] (not curable by trying again) or whatever went wrong with a file; the part then has to be
/// gathered again from its last state.
pub fn publish(
    place: &Place,
    gatherer: &mut Gatherer,
    end: Position,
    part_end: PartEnd,
) -> Result<Option<Published>, CompactError> {
    failpoint::hit("publish.before_part");
    if part_end == PartEnd::Log {
        gatherer.finish();
    }
    let Some(mut manifest) = account(place, gatherer, end, part_end)? else { return Ok(None) };
    let digest = manifest.digest()?;
    let Some((open, symbols)) = gatherer.part_and_symbols() else { return Ok(None) };
    let part = place.part_of(open);
    let key_values = key_values(&manifest, &digest);
    let dir = staging_dir(place.lake.work(), &part);
    durable::create_dir_all(&dir).map_err(CompactError::file("create", &dir))?;
    let mut joined: Vec<(Table, PathBuf, FileInfo)> = Vec::new();
    for table in Table::ALL.iter().copied() {
        let settings = open.settings.clone();
        let of_table = &mut open.tables[table as usize];
        let tail = of_table.buffer.as_mut().filter(|b| !b.is_empty()).map(|b| b.take_first(usize::MAX, symbols));
        of_table.buffer = None;
        if tail.is_none() && of_table.pieces().is_empty() {
            open.account.check_rows(table, 0)?;
            continue;
        }
        failpoint::hit_table("publish.before_join", table);
        let pieces: Vec<PieceFile> = of_table
            .pieces()
            .iter()
            .map(|p| PieceFile { path: staged_path(place.lake.work(), &part, table, p.index), crc32: p.crc32 })
            .collect();
        let tmp = dir.join(format!("{table}.joined.tmp"));
        let info = join_pieces(&tmp, table, &pieces, tail, &settings, &key_values)
            .map_err(|source| CompactError::Join { table, hour: part.hour, source })?;
        open.account.check_rows(table, info.rows)?;
        failpoint::hit_table("publish.after_join", table);
        let (tmp, info) = match settings.format {
            LakeFormat::Parquet => (tmp, info),
            format => {
                let text = dir.join(format!("{table}.text.tmp"));
                check_joined(&tmp, &info)?;
                let info = write_text(&tmp, &text, format, settings.zstd_level)
                    .map_err(|source| CompactError::AsText { table, hour: part.hour, source })?;
                open.account.check_rows(table, info.rows)?;
                (text, info)
            }
        };
        joined.push((table, tmp, info));
    }
    // What takes long is done: on disk before the lake is locked, so that others wait for names only.
    for (_, tmp, _) in &joined {
        durable::sync_file(tmp).map_err(CompactError::file("sync", tmp))?;
    }
    let _lock =
        LakeLock::exclusive(place.lake.work(), &format!("publishes {} of {}", part.hour, part.venue), PATIENCE)?;
    refuse_twice(place, &manifest)?;
    for (table, tmp, info) in joined {
        let path = part.file_as(table, manifest.settings.format);
        put(place, &part, &path, Body::File(&tmp), &info.sha256)?;
        failpoint::hit_table("publish.after_rename", table);
        manifest.files.push(ManifestFile { table, path, bytes: info.bytes, rows: info.rows, sha256: info.sha256 });
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.check()?;
    are_there(place, &manifest)?;
    failpoint::hit("publish.before_manifest");
    let json = manifest.to_json()?;
    let sha256 = sha256_hex(&json);
    put(place, &part, &part.manifest(), Body::Bytes(&json), &sha256)?;
    failpoint::hit("publish.after_manifest");
    gatherer.close();
    gatherer.chain_to(sha256);
    Ok(Some(Published { part, manifest }))
}

/// Another copy of this log (a clone, or the one that a backup is of) may have published records of this part since it
/// was begun: both copies hold them. They are there once, and stay so.
fn refuse_twice(place: &Place, manifest: &PartManifest) -> Result<(), CompactError> {
    let hour = Hour::from_text(&manifest.hour).ok_or(CompactError::Internal("the hour of the part"))?;
    let (first, end) = (manifest.first.seq, manifest.end.seq);
    match Coverage::load(place, hour, end)?.touches(first, end) {
        true => Err(CompactError::PublishedMeanwhile { first, end }),
        false => Ok(()),
    }
}

/// What is under a name already must be what is published under it: nothing of another copy of the log, and nothing
/// that somebody put there, is overwritten. What an interrupted publish left is gone by now ([`super::resume`]).
fn put(place: &Place, part: &Part, key: &str, body: Body<'_>, sha256: &str) -> Result<(), CompactError> {
    match place.lake.publish(key, body, sha256) {
        Err(LakeError::Exists { path }) if place.lake.local().is_none() && !place.lake.has(&part.manifest())? => {
            Err(CompactError::PublishedDifferently { path: path.display().to_string() })
        }
        Err(LakeError::Exists { path }) => Err(EvidenceMissing::Taken { path: path.display().to_string() }.into()),
        put => Ok(put?),
    }
}

/// Where other machines work on the lake: that nobody took away meanwhile what the manifest is about to name, as somebody
/// would who thought that this publish was dead.
fn are_there(place: &Place, manifest: &PartManifest) -> Result<(), CompactError> {
    if place.lake.local().is_some() {
        return Ok(());
    }
    for file in &manifest.files {
        if place.lake.head(&file.path)?.is_none_or(|there| there.bytes != file.bytes) {
            return Err(LakeError::Changed { path: place.lake.place(&file.path) }.into());
        }
    }
    Ok(())
}

/// The joined file is read again to be written as text: it must still be what was joined.
fn check_joined(path: &Path, info: &FileInfo) -> Result<(), CompactError> {
    let file = regular::open(path).map_err(CompactError::file("open", path))?;
    let (sum, bytes) = hash_all(file).map_err(CompactError::file("read", path))?;
    if (bytes, hex(&sum.finalize())) != (info.bytes, info.sha256.clone()) {
        let what = "it is not what was joined a moment ago".to_owned();
        return Err(LakeError::Damaged { path: path.to_owned(), what }.into());
    }
    Ok(())
}

/// The manifest of the open part without its files.
fn account(
    place: &Place,
    gatherer: &mut Gatherer,
    end: Position,
    part_end: PartEnd,
) -> Result<Option<PartManifest>, CompactError> {
    let continuation = gatherer.continuation();
    let ids = gatherer.id_ranges();
    let revision = gatherer.revision().clone();
    let mut drift = gatherer.decoder().rows.drift.items.clone();
    let Some(open) = gatherer.part.as_ref() else { return Ok(None) };
    let ledger = &open.account;
    ledger.check()?;
    for (listed, count, what) in
        [(ledger.gaps.len(), ledger.gap_count, "gaps"), (ledger.lost.len(), ledger.lost_count, "lost ranges")]
    {
        if count > listed as u64 {
            let item = DriftItem { count: count - listed as u64, sample: String::new() };
            drift.insert(format!("{what} beyond the first {LISTED_MAX}, not listed"), item);
        }
    }
    if ledger.evicted_keys > 0 {
        let item = DriftItem { count: ledger.evicted_keys, sample: String::new() };
        drift.insert("dedupe window too small: keys evicted early".to_owned(), item);
    }
    for (table, of_table) in Table::ALL.iter().zip(&open.tables) {
        let held = of_table.staged() + of_table.buffered() as u64;
        if held != ledger.rows_of(*table) {
            return Err(Imbalance::Rows { table: *table, counted: ledger.rows_of(*table), in_file: held }.into());
        }
    }
    let mut m = PartManifest::new(place.log.clone(), place.venue.clone(), open.hour.to_string(), open.settings.clone());
    m.previous_sha256.clone_from(&continuation.previous_sha256);
    (m.revision, m.supersedes) = (revision.number, revision.supersedes);
    m.first = to_log_position(open.first);
    m.end = to_log_position(end);
    m.epochs = runs_to_write(&open.runs);
    m.records = ledger.by_kind();
    m.planned_closes = ledger.planned_closes;
    m.frames = ledger.frames;
    m.channels = ledger.by_channel();
    m.rows = ledger.rows_by_table();
    m.inexact_values =
        Table::ALL.iter().zip(&open.tables).map(|(table, t)| (*table, t.inexact())).filter(|(_, n)| *n > 0).collect();
    m.duplicates = ledger.duplicates_by_table();
    m.lines = ledger.lines.lines();
    m.gaps.clone_from(&ledger.gaps);
    m.ends_log = part_end == PartEnd::Log;
    m.repairs.clone_from(&ledger.repairs);
    m.ids = ids;
    m.clock = ledger.delay.clock_error();
    m.payload_sha256 = open.hash.hex();
    m.drift = drift;
    m.lost.clone_from(&ledger.lost);
    m.continuation =
        serde_json::to_value(&continuation).map_err(CompactError::step("write the continuation as JSON"))?;
    Ok(Some(m))
}

/// What every file says about where it comes from.
fn key_values(m: &PartManifest, digest: &str) -> Vec<(String, String)> {
    [
        ("log", m.log.clone()),
        ("venue", m.venue.clone()),
        ("hour", m.hour.clone()),
        ("first_seq", m.first.seq.to_string()),
        ("end_seq", m.end.seq.to_string()),
        ("manifest_sha256", digest.to_owned()),
        ("writer", m.writer.clone()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .to_vec()
}
