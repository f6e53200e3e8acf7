//! Manifests that cannot be read or are gone, made again (`tapedeck verify --repair`).
//!
//! ```text
//!  the log still has the part  --> folded again: the very bytes, or the account with the files that are there
//!  only the files are left     --> their footers: which log, from which record to which, how many rows
//! ```
//!
//! Data files are read and never touched; a copy of the broken manifest is quarantined ([`crate::quarantine`]) before
//! another one takes its place, under the lake's lock. A manifest that does not come out byte for byte names in
//! `supersedes` the SHA-256 by which the part after it knows it, so the chain holds, and says in `rebuilt` what it was
//! made of and what nobody knows any more. The next part then starts its ids again and reports that as an event.
//!
//! Left alone: files after the newest manifest while the log still has their records (the compactor publishes them
//! when it starts), and parts of which nothing is left.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use sha2::Digest;
use wal_format::{LostReason, Position, Run, Seq, durable};

use super::pass::{End, PublishedPart, ReplayLog, Stopped};
use super::scratch::Scratch;
use super::{ReplayArgs, logs_of, rewrite};
use crate::chain;
use crate::error::CompactError;
use crate::place::{to_log_position, to_position};
use crate::publish::PartEnd;
use crate::quarantine::quarantine_files;
use crate::settings::Config;
use crate::settings::write_settings;
use fold::gather::{Continuation, Gatherer, LogKind};
use fold::source::{RecordSource, Step};
use lake::find::{manifests, venues};
use lake::hash::{hash_all, hex, sha256_hex};
use lake::lock::PATIENCE;
use lake::manifest::{FrameCounts, LogPosition, ManifestFile, Rebuilt, RebuiltFrom, runs_to_write};
use lake::read::{TableFile, key};
use lake::{
    Body, Lake, LakeError, LakeFormat, LakeLock, Numeric, Part, PartManifest, SchemaVersion, Table, WriteSettings,
};
use model::VenueId;

/// What became of one broken manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repaired {
    /// Below the lake.
    pub manifest: String,
    /// Why it had to be rebuilt.
    pub was: String,
    /// What it was made of; `None` when it was not rebuilt.
    pub from: Option<RebuiltFrom>,
    /// It is byte for byte the one that was published.
    pub exact: bool,
    /// What is not known any more, or why it was not rebuilt.
    pub notes: Vec<String>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.from, self.exact) {
            (None, _) => "NOT REBUILT",
            (Some(_), true) => "rebuilt from the log, byte for byte as it was published",
            (Some(RebuiltFrom::Log), false) => "rebuilt from the log",
            (Some(RebuiltFrom::Files), false) => "rebuilt from the footers of its files",
        };
        writeln!(f, "{}: {what} (it was: {})", self.manifest, self.was)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "    {note}"))
    }
}

/// A part without a usable manifest.
struct Broken {
    part: Part,
    /// What is wrong with the manifest.
    was: String,
    /// Nothing but that a newer program wrote it.
    newer: bool,
    /// Its bytes, if there are any.
    bytes: Option<Vec<u8>>,
    files: Vec<PublishedFile>,
}

/// A published file of such a part.
struct PublishedFile {
    file: ManifestFile,
    format: LakeFormat,
    /// What a Parquet file says.
    footer: Option<Footer>,
}

/// What all files of a part say in their footers.
#[derive(Clone, PartialEq)]
struct Footer {
    log: String,
    first_seq: u64,
    end_seq: u64,
    /// Digest of the account they were published with.
    account_sha256: String,
    writer: String,
    settings: String,
}

/// Rebuilds every manifest of `lake` that cannot be read or is gone.
///
/// # Errors
/// When a directory cannot be listed, a file or the log cannot be read, or the lake is in use for too long. What was
/// rebuilt until then stays.
pub fn repair(cfg: &Config, lake: &Lake, only: Option<VenueId>) -> Result<Vec<Repaired>, CompactError> {
    let _rewriting = LakeLock::rewrite(lake.work(), "verify --repair", PATIENCE)?;
    rewrite::finish_held(lake)?;
    let mut done = Vec::new();
    for word in venues(lake)? {
        let Ok(id) = word.parse::<VenueId>() else { continue };
        if only.is_some_and(|only| only != id) {
            continue;
        }
        // One repaired manifest says where the next one begins.
        let all = broken_parts(lake, id.as_str())?;
        for (i, broken) in all.iter().enumerate() {
            let later = all.iter().skip(i + 1).map(|b| &b.part).find(|part| part.log8 == broken.part.log8);
            done.push(repair_one(cfg, lake, id, broken, later)?);
        }
    }
    Ok(done)
}

/// A usable manifest, or why it is none. `Err` when the disk does not answer.
fn usable(lake: &Lake, key: &str) -> Result<Result<(PartManifest, String), LakeError>, CompactError> {
    match PartManifest::load_proven(lake, key) {
        Ok(loaded) => Ok(Ok(loaded)),
        // The disk may answer again.
        Err(err @ LakeError::Io { .. }) => Err(err.into()),
        Err(err) => Ok(Err(err)),
    }
}

/// The bytes of a manifest; `None` where there is none.
fn bytes_of(lake: &Lake, key: &str) -> Result<Option<Vec<u8>>, LakeError> {
    if lake.has(key)? { lake.read(key).map(Some) } else { Ok(None) }
}

/// Parts of a venue whose manifest cannot be read, or whose files are named by none, in log order.
fn broken_parts(lake: &Lake, venue: &str) -> Result<Vec<Broken>, CompactError> {
    let lock = LakeLock::shared(lake.work(), "verify --repair", PATIENCE)?;
    let mut broken: BTreeMap<(i64, u64, String), (Part, String, bool)> = BTreeMap::new();
    let mut add = |part: Part, was: String, newer: bool| {
        broken.entry((part.hour.0, part.first_seq, part.manifest())).or_insert((part, was, newer));
    };
    for (part, at) in manifests(lake, venue)? {
        if let Err(why) = usable(lake, &at.key)? {
            add(part, why.to_string(), matches!(why, LakeError::Newer { .. }));
        }
    }
    for path in chain::unnamed(lake, venue)? {
        if let Some((Some(_), part)) = Part::from_path(Path::new(&path))
            && !lake.has(&part.manifest())?
        {
            add(part, "no manifest names its files".to_owned(), false);
        }
    }
    drop(lock);
    broken
        .into_values()
        .map(|(part, was, newer)| {
            let bytes = bytes_of(lake, &part.manifest())?;
            Ok(Broken { files: published(lake, &part)?, part, was, newer, bytes })
        })
        .collect()
}

/// The files of a part that are in the lake, by path.
fn published(lake: &Lake, part: &Part) -> Result<Vec<PublishedFile>, CompactError> {
    let mut found = Vec::new();
    for (table, format) in Table::ALL.iter().flat_map(|table| LakeFormat::ALL.map(|format| (*table, format))) {
        let path = part.file_as(table, format);
        let Some(object) = lake.get(&path)? else { continue };
        let place = lake.place(&path);
        let read = object.reader(0).and_then(hash_all);
        let (hash, bytes) = read.map_err(CompactError::file("read", &place))?;
        let (rows, footer) = match format {
            // A damaged one says as little as text.
            LakeFormat::Parquet => match TableFile::of(&place, object) {
                Ok(parquet) => (parquet.rows(), footer(&parquet)),
                Err(_) => (0, None),
            },
            LakeFormat::Jsonl | LakeFormat::Csv => (0, None),
        };
        let file = ManifestFile { table, path, bytes, rows, sha256: hex(&hash.finalize()) };
        found.push(PublishedFile { file, format, footer });
    }
    found.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    Ok(found)
}

fn footer(file: &TableFile) -> Option<Footer> {
    let text = |key: &str| file.key_value(key).map(str::to_owned);
    Some(Footer {
        log: text("log")?,
        first_seq: text("first_seq")?.parse().ok()?,
        end_seq: text("end_seq")?.parse().ok()?,
        account_sha256: text("manifest_sha256")?,
        writer: text("writer")?,
        // Apart from small groups of some tables, it is the same for all.
        settings: text(key::SETTINGS)?,
    })
}

impl Broken {
    /// What the files agree about.
    fn footer(&self) -> Result<Option<&Footer>, String> {
        let mut all = self.files.iter().filter_map(|f| f.footer.as_ref());
        let Some(first) = all.next() else { return Ok(None) };
        let same = |a: &Footer, b: &Footer| {
            (&a.log, a.first_seq, a.end_seq, &a.account_sha256) == (&b.log, b.first_seq, b.end_seq, &b.account_sha256)
        };
        match all.all(|other| same(first, other)) && first.first_seq == self.part.first_seq {
            true => Ok(Some(first)),
            false => Err("its files were not published together".to_owned()),
        }
    }

    /// Settings it may have been published with, the likeliest first: those of its neighbours, or the configured ones,
    /// with what its files say.
    fn settings(&self, cfg: &Config, beside: &Neighbours) -> Vec<WriteSettings> {
        let before = beside.before.as_ref().map(|k| k.manifest.settings.clone());
        let next = beside.next.as_ref().map(|m| m.settings.clone());
        let mut all: Vec<WriteSettings> = Vec::new();
        for base in before.into_iter().chain(next).chain([write_settings(&cfg.lake)]) {
            let settings = self.with_footers(base);
            if !all.contains(&settings) {
                all.push(settings);
            }
        }
        all
    }

    fn with_footers(&self, mut settings: WriteSettings) -> WriteSettings {
        if let Some(file) = self.files.first() {
            settings.format = file.format;
        }
        if self.files.iter().any(|published| published.footer.is_some()) {
            // It is written only where it is another one.
            settings.schema_version = SchemaVersion::FIRST;
        }
        for published in &self.files {
            let Some(footer) = &published.footer else { continue };
            if let Some(version) = footer.writer.strip_prefix("tapedeck ") {
                version.clone_into(&mut settings.version);
            }
            for (name, value) in footer.settings.split(' ').filter_map(|word| word.split_once('=')) {
                let number = value.parse::<usize>().ok();
                match (name, number) {
                    // Some tables have smaller groups: the largest is what was set.
                    ("row_group_rows", Some(n)) if settings.group_rows(published.file.table) != n => {
                        settings.row_group_rows = n;
                    }
                    ("page_rows", Some(n)) => settings.page_rows = n,
                    ("schema_version", _) => {
                        settings.schema_version = value.parse().unwrap_or(settings.schema_version);
                    }
                    ("zstd_level", Some(n)) => settings.zstd_level = i32::try_from(n).unwrap_or(settings.zstd_level),
                    ("numeric", _) if value == Numeric::Decimal.as_str() => settings.numeric = Numeric::Decimal,
                    ("numeric", _) if value == Numeric::Double.as_str() => settings.numeric = Numeric::Double,
                    _ => {}
                }
            }
        }
        settings
    }

    /// Whether `made` is, as far as anything beside it shows, the manifest that was published.
    fn is_exactly(
        &self,
        made: &PartManifest,
        footer: Option<&Footer>,
        beside: &Neighbours,
    ) -> Result<bool, CompactError> {
        let digest = made.digest()?;
        let sha256 = sha256_hex(&made.to_json()?);
        let same = |(a, b): (&ManifestFile, &PublishedFile)| (&a.path, &a.sha256) == (&b.file.path, &b.file.sha256);
        Ok(footer.is_none_or(|f| f.account_sha256 == digest)
            && beside.expected.as_ref().is_none_or(|expected| *expected == sha256)
            && made.files.len() == self.files.len()
            && made.files.iter().zip(&self.files).all(same))
    }

    fn named(&self) -> Vec<ManifestFile> {
        self.files.iter().map(|published| published.file.clone()).collect()
    }
}

/// The usable manifests beside a broken one.
struct Neighbours {
    /// The one before it.
    before: Option<PublishedPart>,
    /// The first one after it.
    next: Option<PartManifest>,
    /// By what SHA-256 the one after it knows it.
    expected: Option<String>,
    /// Nothing usable was published after it.
    newest: bool,
}

/// `later`: the next part that is broken too.
fn neighbours(
    lake: &Lake,
    broken: &Broken,
    later: Option<&Part>,
    log: Option<&str>,
) -> Result<Neighbours, CompactError> {
    let mut all: Vec<PublishedPart> = Vec::new();
    for (part, at) in manifests(lake, &broken.part.venue)? {
        if part.log8 != broken.part.log8 || part == broken.part {
            continue;
        }
        if let Ok((manifest, sha256)) = usable(lake, &at.key)?
            && log.is_none_or(|log| manifest.log == log)
        {
            all.push(PublishedPart { part, manifest, sha256 });
        }
    }
    let first = broken.part.first_seq;
    let before = all.iter().rposition(|k| k.manifest.end.seq <= first);
    // Whoever follows it names something that is not there.
    let there = |name: &String| all.iter().any(|k| k.sha256 == *name || k.manifest.supersedes.contains(name));
    let behind = |k: &&PublishedPart| k.manifest.first.seq > first;
    let follows = |k: &&PublishedPart| k.manifest.previous_sha256.as_ref().is_some_and(|name| !there(name));
    let next = all.iter().filter(behind).find(follows).or_else(|| all.iter().find(behind));
    let newest = next.is_none();
    // What follows a later broken part says nothing of this one.
    let next = next.filter(|next| later.is_none_or(|later| next.manifest.first.seq <= later.first_seq));
    Ok(Neighbours {
        newest,
        expected: next.and_then(|k| k.manifest.previous_sha256.clone()).filter(|name| !there(name)),
        next: next.map(|k| k.manifest.clone()),
        before: before.map(|at| all.swap_remove(at)),
    })
}

fn repair_one(
    cfg: &Config,
    lake: &Lake,
    id: VenueId,
    broken: &Broken,
    later: Option<&Part>,
) -> Result<Repaired, CompactError> {
    let mut repaired = Repaired {
        manifest: broken.part.manifest(),
        was: broken.was.clone(),
        from: None,
        exact: false,
        notes: Vec::new(),
    };
    if broken.newer {
        repaired.notes.push("it is left alone: the version of tapedeck that wrote it can read it".to_owned());
        return Ok(repaired);
    }
    let footer = match broken.footer() {
        Ok(footer) => footer,
        Err(why) => {
            repaired.notes.push(why);
            return Ok(repaired);
        }
    };
    let beside = neighbours(lake, broken, later, footer.map(|f| f.log.as_str()))?;
    let (made, exact) = match from_log(cfg, lake, id, broken, footer, &beside, &mut repaired.notes)? {
        FromLog::Made(made, exact) => (*made, exact),
        FromLog::Waits => {
            repaired
                .notes
                .push("the log still has all of it: the compactor publishes it again when it starts".to_owned());
            return Ok(repaired);
        }
        FromLog::Nothing => match from_files(cfg, id, broken, footer, &beside, &mut repaired.notes)? {
            Some(made) => (made, false),
            None => return Ok(repaired),
        },
    };
    repaired.from = made.rebuilt.as_ref().map(|r| r.from).or(Some(RebuiltFrom::Log));
    repaired.exact = exact;
    repaired.notes.extend(made.rebuilt.iter().flat_map(|r| r.unknown.clone()));
    if let Err(why) = put(lake, broken, &made)? {
        (repaired.from, repaired.exact, repaired.notes) = (None, false, vec![why]);
    }
    Ok(repaired)
}

/// What the log gives for a part.
enum FromLog {
    /// Its manifest, and whether it is the very one that was published.
    Made(Box<PartManifest>, bool),
    /// Nobody knew of the part yet, and the compactor makes the same when it starts.
    Waits,
    /// The log does not have it, or has other rows than the files.
    Nothing,
}

/// The account from the log, with the files that are there.
fn from_log(
    cfg: &Config,
    lake: &Lake,
    id: VenueId,
    broken: &Broken,
    footer: Option<&Footer>,
    beside: &Neighbours,
    notes: &mut Vec<String>,
) -> Result<FromLog, CompactError> {
    let args = ReplayArgs::default();
    for (kind, dir) in [(LogKind::Collected, cfg.capture.wal_dir(id)), (LogKind::Repairs, cfg.capture.repair_dir(id))] {
        let holds = fold::hold(&cfg.capture.archive_root(), &dir, "verify --repair")?;
        for log in logs_of(cfg, venue::venue(id), kind, &dir, &args, &holds)? {
            let ours = footer.map_or_else(|| log.name.starts_with(&broken.part.log8), |f| f.log == log.name);
            if !ours || !has(&log, beside.before.as_ref(), broken.part.first_seq)? {
                continue;
            }
            if broken.bytes.is_none() && beside.newest {
                return Ok(FromLog::Waits);
            }
            let scratch = Scratch::new(lake.work())?;
            let mut whole = None;
            let settings = broken.settings(cfg, beside);
            let ways = settings.iter().flat_map(|s| ends(footer, beside).into_iter().map(move |end| (s, end)));
            for (settings, end) in ways {
                let made = fold(&log, broken, beside, settings.clone(), &end, scratch.empty()?)?;
                let Some(made) = made else { continue };
                if broken.is_exactly(&made, footer, beside)? {
                    return Ok(FromLog::Made(Box::new(made), true));
                }
                let fits = broken.files.iter().all(|f| f.footer.is_some())
                    && PartManifest { files: broken.named(), ..made.clone() }.check().is_ok();
                if fits && whole.is_none() {
                    whole = Some(made);
                }
            }
            match whole {
                Some(made) => {
                    let made = replacement(made, RebuiltFrom::Log, broken, footer, beside);
                    return Ok(FromLog::Made(Box::new(made), false));
                }
                None => notes.push("the log gives other rows than its files hold".to_owned()),
            }
        }
    }
    Ok(FromLog::Nothing)
}

/// Whether the log has everything after the part before, or its own beginning.
fn has(log: &ReplayLog<'_>, before: Option<&PublishedPart>, first_seq: u64) -> Result<bool, CompactError> {
    let mut reader = log.reader(before.map_or(Position::START, |k| to_position(k.manifest.end)))?;
    loop {
        match reader.next().map_err(CompactError::step("read the log"))? {
            Step::Record(record) => {
                let seq = record.seq.0;
                return Ok(seq == first_seq || before.is_some() && seq < first_seq);
            }
            Step::Lost(lost) if lost.reason == LostReason::MissingSegment => return Ok(false),
            Step::Lost(_) => {}
            Step::Tail | Step::Blocked { .. } | Step::End => return Ok(false),
        }
    }
}

/// Where the part may have ended, the likeliest first.
fn ends(footer: Option<&Footer>, beside: &Neighbours) -> Vec<End> {
    let next = beside.next.as_ref().map(|m| m.first);
    match (footer.map(|f| f.end_seq), next) {
        (Some(end), Some(first)) if first.seq == end => {
            vec![End::At(to_position(first), PartEnd::Hour), End::Seq(Seq(end), PartEnd::Log)]
        }
        (Some(end), _) => vec![End::Seq(Seq(end), PartEnd::Hour), End::Seq(Seq(end), PartEnd::Log)],
        (None, Some(first)) => vec![End::At(to_position(first), PartEnd::Hour), End::Seq(Seq(first.seq), PartEnd::Log)],
        (None, None) => vec![End::Hour],
    }
}

/// The part once more; `None` when another one comes out.
fn fold(
    log: &ReplayLog<'_>,
    broken: &Broken,
    beside: &Neighbours,
    settings: WriteSettings,
    end: &End,
    scratch: &Path,
) -> Result<Option<PartManifest>, CompactError> {
    let (mut gatherer, from) = match &beside.before {
        Some(before) => (log.after(before, settings)?, to_position(before.manifest.end)),
        None => (Gatherer::new(log.venue, log.kind, settings, &Continuation::default())?, Position::START),
    };
    let mut beginning = beside.before.is_none();
    let mut reader = log.reader(from)?;
    let place = log.place(Lake::open(scratch));
    let stopped = log.part(&mut reader, &mut gatherer, &place, end, &mut beginning)?;
    let (Stopped::Complete(made) | Stopped::LogEnd(made)) = stopped;
    Ok(made.filter(|made| made.part == broken.part).map(|made| made.manifest))
}

/// The account from the footers of the files alone.
fn from_files(
    cfg: &Config,
    id: VenueId,
    broken: &Broken,
    footer: Option<&Footer>,
    beside: &Neighbours,
    notes: &mut Vec<String>,
) -> Result<Option<PartManifest>, CompactError> {
    let Some(footer) = footer else {
        notes.push(match broken.files.as_slice() {
            [] => "neither its records nor its files are there".to_owned(),
            _ => "its records are gone and text files do not say what they are".to_owned(),
        });
        return Ok(None);
    };
    if broken.files.iter().any(|f| f.footer.is_none()) {
        notes.push("some of its files do not say what they are".to_owned());
        return Ok(None);
    }
    let part = &broken.part;
    let settings = broken.settings(cfg, beside).into_iter().next().unwrap_or_else(|| write_settings(&cfg.lake));
    let mut m = PartManifest::new(footer.log.clone(), part.venue.clone(), part.hour.to_string(), settings);
    m.first = LogPosition { seq: footer.first_seq, ..LogPosition::default() };
    if let Some(before) = beside.before.as_ref().filter(|k| k.manifest.end.seq == footer.first_seq) {
        m.first = before.manifest.end;
    }
    m.epochs = runs_to_write(&runs(cfg, id, footer)?);
    m.end = match beside.next.as_ref().filter(|next| next.first.seq == footer.end_seq) {
        Some(next) => next.first,
        None => locate(cfg, id, &footer.log, footer.end_seq)?,
    };
    for published in &broken.files {
        *m.rows.entry(published.file.table).or_default() += published.file.rows;
    }
    if let Some(rows) = m.rows.get(&Table::Frames).copied() {
        m.frames = rows;
        m.channels.insert("unknown".to_owned(), FrameCounts { undecodable: rows, ..FrameCounts::default() });
    }
    let continuation = Continuation {
        hour: Some(part.hour.0),
        previous_sha256: beside.before.as_ref().map(|k| k.sha256.clone()),
        forgotten: Some(format!("the manifest of {} was rebuilt from its files", part.hour)),
        ..Continuation::default()
    };
    m.continuation =
        serde_json::to_value(&continuation).map_err(CompactError::step("write the continuation as JSON"))?;
    Ok(Some(replacement(m, RebuiltFrom::Files, broken, Some(footer), beside)))
}

/// The runs of the log that wrote the records of a part, as far as the log remembers.
fn runs(cfg: &Config, id: VenueId, footer: &Footer) -> Result<Vec<Run>, CompactError> {
    let (first, last) = (Seq(footer.first_seq).epoch(), Seq(footer.end_seq.saturating_sub(1)).epoch());
    for dir in [cfg.capture.wal_dir(id), cfg.capture.repair_dir(id)] {
        let lineage = wal_format::lineage(&dir).map_err(CompactError::at("look at the log", &dir))?;
        if let Some(lineage) = lineage.filter(|lineage| hex(&lineage.log_uuid()) == footer.log) {
            return Ok(lineage.runs().filter(|run| (first..=last.max(first)).contains(&run.epoch)).collect());
        }
    }
    Ok(Vec::new())
}

/// `m` in the place of the manifest that is lost.
fn replacement(
    mut m: PartManifest,
    from: RebuiltFrom,
    broken: &Broken,
    footer: Option<&Footer>,
    beside: &Neighbours,
) -> PartManifest {
    let unknown: &[&str] = match from {
        RebuiltFrom::Log => &[],
        RebuiltFrom::Files => &[
            "how many frames came and what became of those that decoded",
            "gaps, ids and lost ranges",
            "what the compactor remembered after it: ids start again in the next part, which reports it as an event",
        ],
    };
    m.files = broken.named();
    m.previous_sha256 = beside.before.as_ref().map(|k| k.sha256.clone());
    m.supersedes = beside.expected.iter().cloned().collect();
    m.revision = u32::from(beside.expected.is_some());
    m.rebuilt = Some(Rebuilt {
        from,
        account_sha256: footer.map(|f| f.account_sha256.clone()),
        unknown: unknown.iter().map(|what| (*what).to_owned()).collect(),
    });
    m
}

/// Where the record `seq` of a log is, as far as anything shows.
fn locate(cfg: &Config, id: VenueId, log: &str, seq: u64) -> Result<LogPosition, CompactError> {
    let args = ReplayArgs::default();
    for (kind, dir) in [(LogKind::Collected, cfg.capture.wal_dir(id)), (LogKind::Repairs, cfg.capture.repair_dir(id))] {
        let logs = logs_of(cfg, venue::venue(id), kind, &dir, &args, &[])?;
        let Some(log) = logs.into_iter().find(|l| l.name == log) else { continue };
        let segments = log.stored.list().map_err(CompactError::at("list", log.stored.dir()))?;
        let holds = segments.iter().rev().find(|s| s.first_seq().is_some_and(|first| first.0 <= seq));
        let from = holds.map_or(Position::START, |s| Position { segment: s.id, ..Position::START });
        let mut reader = log.reader(from)?;
        loop {
            let at = reader.position();
            match reader.next().map_err(CompactError::step("read the log"))? {
                Step::Record(record) if record.seq.0 >= seq => {
                    return Ok(LogPosition { seq, ..to_log_position(record.position) });
                }
                Step::Record(_) | Step::Lost(_) => {}
                Step::Tail | Step::Blocked { .. } | Step::End => return Ok(LogPosition { seq, ..to_log_position(at) }),
            }
        }
    }
    Ok(LogPosition { seq, ..LogPosition::default() })
}

/// Puts the manifest in its place, unless somebody else did; what was there is kept.
fn put(lake: &Lake, broken: &Broken, made: &PartManifest) -> Result<Result<(), String>, CompactError> {
    let key = broken.part.manifest();
    let _lock = LakeLock::exclusive(lake.work(), "verify --repair", PATIENCE)?;
    let there = lake.head(&key)?;
    if bytes_of(lake, &key)? != broken.bytes {
        return Ok(Err("another process changed it meanwhile".to_owned()));
    }
    if let Some(bytes) = &broken.bytes {
        // A copy: at no time is there no manifest, which a compactor would take for a part that was never published.
        let name = format!("{}-{}", broken.part.venue, broken.part.stem());
        let staging = lake.work().join(".staging");
        let copy = staging.join(format!("{name}.json"));
        durable::create_dir_all(&staging).map_err(CompactError::file("create the staging directory", &staging))?;
        durable::write_file(&copy, bytes).map_err(CompactError::file("write", &copy))?;
        quarantine_files(lake.work(), &name, &[copy])?;
    }
    let json = made.to_json()?;
    match there {
        Some(there) => lake.replace(&key, Body::Bytes(&json), Some(&there.version))?,
        None => lake.put_new(&key, Body::Bytes(&json))?,
    }
    Ok(Ok(()))
}
