//! The lake again from the log, or the proof that it is the same.
//!
//! A replay is the same fold over records as the live path ([`super::gather::Gatherer`]), with the same cuts: hours
//! cut by themselves, and where an hour was drained half way its manifest says where. Nothing is written but below
//! `out`, no ack is taken, no segment deleted, no damage repaired.
//!
//! `verify` takes each published part for itself: its range, its settings and the continuation of the part before
//! come from the manifests, its rows from the log. Files and manifest must come out byte for byte.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use wal_format::{LogReader, LossReason, Position, ReaderOptions, Shelf, Step};

use super::archive;
use super::chain;
use super::gather::{Continuation, Gatherer, LogKind, missing_beginning};
use super::hash::hex;
use super::publish::{Cut, Published, publish};
use super::resume::{manifests, remove_staging};
use super::stage::{Place, stage_full, to_position};
use super::worker::write_settings;
use crate::config::Config;
use crate::lake::{Difference, Hour, LakeFormat, Manifest, Part, Table, WriteSettings, diff_trees};
use crate::venue::{self, Venue, VenueId};

/// Looks at the end of a log before it counts as the end: the reader asks the directory ever more rarely.
const END_LOOKS: u32 = 8;

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
}

/// What became of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Rebuilt, not compared.
    Rebuilt,
    /// Every byte is the same.
    Equal,
    /// Every row is the same; another version of the program wrote other bytes.
    EqualRows,
    /// Something differs.
    Different,
    /// The log no longer holds all of it.
    NotCheckable,
}

/// One part.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    /// Venue word.
    pub venue: String,
    /// `YYYY-MM-DDTHH`.
    pub hour: String,
    /// `<log>-<first seq>`.
    pub part: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Rows rebuilt.
    pub rows: u64,
    /// Why, or what differs.
    pub details: Vec<String>,
}

/// What a replay did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every part, by venue and log order.
    pub parts: Vec<PartReport>,
    /// Things worth a line that are no part.
    pub notes: Vec<String>,
}

impl Report {
    fn count(&self, wanted: &[Verdict]) -> usize {
        self.parts.iter().filter(|p| wanted.contains(&p.verdict)).count()
    }

    /// Parts compared.
    pub fn checked(&self) -> usize {
        self.count(&[Verdict::Equal, Verdict::EqualRows, Verdict::Different])
    }

    /// Parts that differ.
    pub fn different(&self) -> usize {
        self.count(&[Verdict::Different])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.parts {
            let word = match p.verdict {
                Verdict::Rebuilt => "rebuilt",
                Verdict::Equal => "equal",
                Verdict::EqualRows => "equal rows, other bytes",
                Verdict::Different => "DIFFERENT",
                Verdict::NotCheckable => "not checkable",
            };
            writeln!(f, "{} {} {}  {word}, {} rows", p.venue, p.hour, p.part, p.rows)?;
            for d in &p.details {
                writeln!(f, "    {d}")?;
            }
        }
        for n in &self.notes {
            writeln!(f, "{n}")?;
        }
        let rebuilt = self.count(&[Verdict::Rebuilt]);
        if rebuilt > 0 {
            let rows: u64 = self.parts.iter().map(|p| p.rows).sum();
            writeln!(f, "{rebuilt} parts rebuilt, {rows} rows")?;
        }
        let gone = self.count(&[Verdict::NotCheckable]);
        if self.checked() + gone > 0 {
            writeln!(
                f,
                "{} parts checked: {} equal, {} different; {gone} not checkable because the log no longer holds them",
                self.checked(),
                self.count(&[Verdict::Equal, Verdict::EqualRows]),
                self.different()
            )?;
        } else if rebuilt == 0 {
            writeln!(f, "nothing to replay: there is no log or no part in this range")?;
        }
        Ok(())
    }
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
    let ids: Vec<VenueId> =
        if args.venues.is_empty() { cfg.venues.keys().copied().collect() } else { args.venues.clone() };
    for id in ids {
        let venue = venue::venue(id).with_context(|| format!("venue {id} is not in this version"))?;
        for (kind, dir) in [(LogKind::Collected, cfg.wal_dir(id)), (LogKind::Repairs, cfg.repair_dir(id))] {
            let found = shelves(cfg, &dir)?;
            if found.is_empty() && kind == LogKind::Collected {
                report.notes.push(format!("{id}: there is no log in {}", dir.display()));
            }
            for (uuid, shelf, first_segment) in found {
                let log = Log {
                    venue,
                    kind,
                    shelf,
                    name: hex(&uuid),
                    first_segment,
                    settings: write_settings(cfg),
                    from: args.from_ns.map(Hour::of_ns),
                    to_ns: args.to_ns,
                    damage: RefCell::default(),
                };
                let parts = published(&cfg.lake.dir, &log)?;
                if args.verify {
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

/// The logs that ever stood in `dir`, by uuid: the one that stands there now, with its archived segments, and earlier
/// ones of which only the archive is left. With each where its segments lie and the first of them.
pub(crate) fn shelves(cfg: &Config, dir: &Path) -> anyhow::Result<Vec<([u8; 16], Shelf, u64)>> {
    let mut found = Vec::new();
    let mut add = |shelf: Shelf| -> anyhow::Result<Option<[u8; 16]>> {
        let segments = shelf.list().with_context(|| format!("list {}", shelf.dir().display()))?;
        let Some(uuid) = segments.iter().find_map(|s| s.log_uuid) else { return Ok(None) };
        found.push((uuid, shelf, segments.first().map_or(0, |s| s.id.0)));
        Ok(Some(uuid))
    };
    let live = wal_format::list_segments(dir).with_context(|| format!("list {}", dir.display()))?;
    let uuid = live.iter().find_map(|s| s.log_uuid);
    let archive = uuid.map(|uuid| archive::dir_of(cfg, dir, &uuid));
    add(Shelf::with_archive(dir, archive.as_deref()))?;
    let root = cfg.archive_root().join(dir.file_name().unwrap_or_default());
    let mut others: Vec<PathBuf> = match std::fs::read_dir(&root) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>())
            .with_context(|| format!("list {}", root.display()))?,
    };
    others.retain(|path| path.is_dir() && Some(path) != archive.as_ref());
    others.sort();
    for path in others {
        add(Shelf::new(&path))?;
    }
    Ok(found)
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

/// A part that the lake has.
struct Known {
    part: Part,
    manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    sha256: String,
}

struct Log {
    venue: &'static dyn Venue,
    kind: LogKind,
    shelf: Shelf,
    name: String,
    first_segment: u64,
    settings: WriteSettings,
    from: Option<Hour>,
    to_ns: Option<u64>,
    /// Damage that the archive suffered after it was written, in the part being read.
    damage: RefCell<Vec<String>>,
}

/// Where a part of a replay ends.
enum End {
    /// There, and why (a manifest says so).
    At(Position, Cut),
    /// Where its hour ends.
    Hour,
}

/// Where the part of `m` ends.
fn ends(m: &Manifest) -> End {
    End::At(to_position(m.end), if m.ends_log { Cut::Log } else { Cut::Hour })
}

/// What stopped a pass over a part.
enum Stopped {
    /// The part is complete; the next one, if any, begins with the record not taken.
    Complete(Option<Published>),
    /// The log ends.
    LogEnd(Option<Published>),
}

impl Log {
    fn place(&self, lake: &Path) -> Place {
        Place { lake: lake.to_owned(), venue: self.venue.id().to_string(), log: self.name.clone() }
    }

    fn wanted(&self, hour: Hour) -> bool {
        self.from.is_none_or(|from| hour >= from) && self.to_ns.is_none_or(|to| hour.start_ns() < to)
    }

    fn reader(&self, from: Position) -> anyhow::Result<LogReader> {
        let options = ReaderOptions {
            follow_damaged: true,
            archive: self.shelf.archive().map(Path::to_path_buf),
            ..ReaderOptions::default()
        };
        let dir = self.shelf.dir();
        LogReader::open(dir, from, options).with_context(|| format!("open the log {}", dir.display()))
    }

    /// Gathers one part from where `reader` stands and publishes it below `place`, if its hour is wanted.
    fn part(
        &self,
        reader: &mut LogReader,
        gatherer: &mut Gatherer,
        place: &Place,
        end: &End,
        beginning: &mut bool,
    ) -> anyhow::Result<Stopped> {
        let mut looks = 0;
        loop {
            if let End::At(end, cut) = end
                && reader.position().seq >= end.seq
            {
                return Ok(Stopped::Complete(self.close(gatherer, place, *end, *cut)?));
            }
            let at = reader.position();
            match reader.next().context("read the log")? {
                Step::Record(record) => {
                    looks = 0;
                    if gatherer.part.is_none()
                        && self.to_ns.is_some_and(|to| gatherer.hour_of(&record).start_ns() >= to)
                    {
                        return Ok(Stopped::LogEnd(None));
                    }
                    let begins_next = match end {
                        End::At(end, _) => record.seq >= end.seq,
                        End::Hour => gatherer.ends_before(&record),
                    };
                    if begins_next {
                        let here = record.position;
                        let (end, cut) = if let End::At(end, cut) = end { (*end, *cut) } else { (here, Cut::Hour) };
                        // The record opens the next part: that pass reads it again.
                        *reader = self.reader(here)?;
                        return Ok(Stopped::Complete(self.close(gatherer, place, end, cut)?));
                    }
                    if std::mem::take(beginning)
                        && let Some(lost) = missing_beginning(&record)
                    {
                        gatherer.lost(&lost);
                    }
                    let touched = gatherer.record(&record);
                    stage_full(place, gatherer, touched)?;
                }
                Step::Lost(lost) => {
                    looks = 0;
                    if lost.reason == LossReason::ArchiveFrame {
                        self.damage.borrow_mut().push(lost.to_string());
                    }
                    if let End::At(end, cut) = end
                        && lost.from >= end.seq
                    {
                        *reader = self.reader(at)?;
                        return Ok(Stopped::Complete(self.close(gatherer, place, *end, *cut)?));
                    }
                    gatherer.lost(&lost);
                }
                Step::AwaitRepair { .. } => reader.skip_damaged(),
                Step::Tail if looks < END_LOOKS => looks += 1,
                Step::Tail => return Ok(Stopped::LogEnd(self.close(gatherer, place, at, Cut::Log)?)),
            }
        }
    }

    fn close(
        &self,
        gatherer: &mut Gatherer,
        place: &Place,
        end: Position,
        cut: Cut,
    ) -> anyhow::Result<Option<Published>> {
        let Some(open) = &gatherer.part else { return Ok(None) };
        let part = place.part_of(open);
        let published = if self.wanted(open.hour) {
            publish(place, gatherer, end, cut).with_context(|| format!("publish hour {}", part.hour))?
        } else {
            gatherer.close();
            None
        };
        remove_staging(place, &part)?;
        Ok(published)
    }

    /// Rebuilds everything wanted below `out`.
    fn rebuild(&self, parts: &[Known], out: &Path, report: &mut Report) -> anyhow::Result<()> {
        let place = self.place(out);
        // Parts whose beginning is gone from the log cannot be rebuilt; the first whole one follows on the last of them.
        let gone = parts.iter().take_while(|known| known.manifest.first.segment < self.first_segment).count();
        let (mut gatherer, from) = match gone.checked_sub(1).and_then(|i| parts.get(i)) {
            Some(before) => (self.after(before, self.settings.clone())?, to_position(before.manifest.end)),
            None => (
                Gatherer::new(self.venue, self.kind, self.settings.clone(), &Continuation::default())?,
                Position::START,
            ),
        };
        if gone > 0 {
            report.notes.push(format!(
                "{}: {gone} published parts are no longer wholly in the log and were not rebuilt",
                place.venue
            ));
        }
        let mut beginning = gone == 0;
        let mut reader = self.reader(from)?;
        let mut cuts = parts.iter().skip(gone);
        loop {
            let next = cuts.next();
            if let Some(known) = next {
                gatherer.set_settings(known.manifest.settings.clone());
            } else {
                gatherer.set_settings(self.settings.clone());
            }
            let end = next.map_or(End::Hour, |known| ends(&known.manifest));
            let stopped = self.part(&mut reader, &mut gatherer, &place, &end, &mut beginning)?;
            let (published, last) = match stopped {
                Stopped::Complete(p) => (p, false),
                Stopped::LogEnd(p) => (p, true),
            };
            let damage: Vec<String> = self.damage.borrow_mut().drain(..).collect();
            match (&published, next) {
                (Some(p), _) => report.parts.push(part_report(p.part.clone(), Verdict::Rebuilt, p.rows(), damage)),
                // Left out: what follows is chained to what the lake has of it.
                (None, Some(known)) => gatherer.chain_to(known.sha256.clone()),
                (None, None) => {}
            }
            if last {
                return Ok(());
            }
        }
    }

    fn after(&self, before: &Known, settings: WriteSettings) -> anyhow::Result<Gatherer> {
        let continuation: Continuation = serde_json::from_value(before.manifest.continuation.clone())
            .with_context(|| format!("read the continuation of the manifest of {}", before.manifest.hour))?;
        let continuation = Continuation { previous_sha256: Some(before.sha256.clone()), ..continuation };
        Gatherer::new(self.venue, self.kind, settings, &continuation).context("go on behind a manifest")
    }

    /// Rebuilds every published part that the log still holds and compares.
    fn verify(&self, lake: &Path, parts: &[Known], out: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
        let scratch = lake.join(".staging").join(format!("replay-{}-{}", self.venue.id(), std::process::id()));
        let rebuilt = out.map_or_else(|| scratch.join("rebuilt"), Path::to_owned);
        let mut before: Option<&Known> = None;
        for known in parts {
            let part = &known.part;
            if self.wanted(part.hour) {
                let result = self.verify_part(lake, known, before, &rebuilt, &scratch);
                let _ = std::fs::remove_dir_all(&scratch);
                report.parts.push(result.with_context(|| format!("verify hour {}", part.hour))?);
            }
            before = Some(known);
        }
        Ok(())
    }

    fn verify_part(
        &self,
        lake: &Path,
        Known { part, manifest, .. }: &Known,
        before: Option<&Known>,
        rebuilt: &Path,
        scratch: &Path,
    ) -> anyhow::Result<PartReport> {
        let mut details = Vec::new();
        self.damage.borrow_mut().clear();
        if let Some(b) = before {
            details.extend(seam(&b.manifest, manifest));
        }
        if manifest.first.segment < self.first_segment {
            let why = format!("segment {} is no longer in the log", manifest.first.segment);
            let verdict = if details.is_empty() { Verdict::NotCheckable } else { Verdict::Different };
            return Ok(part_report(part.clone(), verdict, 0, [details, vec![why]].concat()));
        }
        let first = to_position(manifest.first);
        if before.is_none() && first.seq.counter() != 0 && manifest.lost.is_empty() {
            let why = "the manifest of the part before it is missing".to_owned();
            return Ok(part_report(part.clone(), Verdict::NotCheckable, 0, vec![why]));
        }
        let removed = chain::removed(lake)?;
        if let Some(file) = manifest.files.iter().find(|f| removed.contains(&f.path) && !lake.join(&f.path).exists()) {
            let why = format!("its files were removed by retention ({} is listed as removed)", file.path);
            let verdict = if details.is_empty() { Verdict::NotCheckable } else { Verdict::Different };
            return Ok(part_report(part.clone(), verdict, 0, [details, vec![why]].concat()));
        }
        let settings = manifest.settings.clone();
        let mut gatherer = match before {
            Some(b) => self.after(b, settings)?,
            None => Gatherer::new(self.venue, self.kind, settings, &Continuation::default())?,
        };
        // Losses before the first record belong to the part: they are found by reading from where the last one ended.
        let leading_loss = manifest.lost.iter().any(|l| l.from_seq < manifest.first.seq);
        let from = match before {
            _ if !leading_loss => first,
            Some(b) => to_position(b.manifest.end),
            None => Position::START,
        };
        let mut beginning = before.is_none() && leading_loss;
        let place = self.place(rebuilt);
        let mut reader = self.reader(from)?;
        let end = ends(manifest);
        let stopped = self.part(&mut reader, &mut gatherer, &place, &end, &mut beginning)?;
        let published = match stopped {
            Stopped::Complete(p) | Stopped::LogEnd(p) => p,
        };
        let rows = published.as_ref().map_or(0, Published::rows);
        // A tree that holds only this part, so that missing and extra files of it show too.
        let (a, b) = (scratch.join("lake"), scratch.join("again"));
        link_part(lake, part, manifest.settings.format, &a)?;
        link_part(rebuilt, part, manifest.settings.format, &b)?;
        let differences = diff_trees(&a, &b)?;
        let other_version = manifest.settings.version != self.settings.version;
        let only_bytes = |d: &Difference| match d {
            Difference::Bytes(_) => other_version,
            // The manifest names the files' hashes.
            Difference::Other(path) => other_version && path.extension().is_some_and(|e| e == "json"),
            _ => false,
        };
        let verdict = if details.is_empty() && differences.is_empty() {
            Verdict::Equal
        } else if details.is_empty() && differences.iter().all(only_bytes) {
            Verdict::EqualRows
        } else {
            Verdict::Different
        };
        details.extend(differences.iter().map(ToString::to_string));
        details.extend(self.damage.borrow().iter().map(|lost| format!("the archive of the log is damaged: {lost}")));
        Ok(part_report(part.clone(), verdict, rows, details))
    }
}

/// What is wrong between two neighbouring parts.
fn seam(before: &Manifest, m: &Manifest) -> Option<String> {
    let (end, first) = (to_position(before.end).seq, to_position(m.first).seq);
    if first < end {
        return Some(format!(
            "overlaps the part before it: that one ends before seq {end}, this one begins at {first}"
        ));
    }
    let told = m.lost.iter().chain(&before.lost).any(|l| l.from_seq <= end.0 && l.to_seq >= end.0);
    if first > end && first.epoch() == end.epoch() && !told {
        return Some(format!("records from seq {end} to before {first} are in no part"));
    }
    None
}

fn part_report(part: Part, verdict: Verdict, rows: u64, details: Vec<String>) -> PartReport {
    PartReport {
        hour: part.hour.to_string(),
        part: format!("{}-{:016x}", part.log8, part.first_seq),
        venue: part.venue,
        verdict,
        rows,
        details,
    }
}

/// A tree below `to` with links to all files of one part of a lake.
fn link_part(lake: &Path, part: &Part, format: LakeFormat, to: &Path) -> anyhow::Result<()> {
    let lake = std::path::absolute(lake).with_context(|| format!("find {}", lake.display()))?;
    let files = Table::ALL.iter().map(|t| (part.file_as(&lake, *t, format), part.file_as(to, *t, format)));
    for (source, link) in files.chain([(part.manifest(&lake), part.manifest(to))]) {
        if !source.exists() {
            continue;
        }
        if let Some(dir) = link.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        std::os::unix::fs::symlink(&source, &link).with_context(|| format!("link {}", link.display()))?;
    }
    Ok(())
}
