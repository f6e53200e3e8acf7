//! The lake again from the log, or the proof that it is the same.
//!
//! A replay is the same fold over records as the live path ([`super::gather::Gatherer`]), with the same cuts: hours
//! cut by themselves, and where an hour was drained half way its manifest says where. Nothing is written but below
//! `out` (but for `rewrite`), no ack is taken, no segment deleted, no damage repaired.
//!
//! `verify` takes each published part for itself: its range, its settings and the continuation of the part before
//! come from the manifests, its rows from the log. Files and manifest must come out byte for byte. `rewrite` does
//! the same and publishes the parts anew whose rows came out otherwise.

pub mod rewrite;
mod verify;

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use wal_format::{LogReader, LossReason, Position, ReaderOptions, SegmentInfo, Shelf, Step};

use super::archive;
use super::gather::{Continuation, Gatherer, LogKind, Revision, missing_beginning};
use super::hash::hex;
use super::publish::{Cut, Published, publish};
use super::resume::{manifests, remove_staging};
use super::stage::{Place, stage_full, to_position};
use super::worker::write_settings;
use crate::config::Config;
use crate::lake::{Hour, Manifest, Part, WriteSettings};
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
    /// Publish parts of the configured lake anew whose rows come out otherwise than they were published.
    pub rewrite: bool,
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
    /// Its rows came out otherwise and were published anew.
    Rewritten,
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
        self.count(&[Verdict::Equal, Verdict::EqualRows, Verdict::Rewritten, Verdict::Different])
    }

    /// Parts published anew.
    pub fn rewritten(&self) -> usize {
        self.count(&[Verdict::Rewritten])
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
                Verdict::Rewritten => "rewritten",
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
                self.different() + self.rewritten()
            )?;
            if self.rewritten() > 0 {
                writeln!(f, "{} parts were published anew", self.rewritten())?;
            }
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

/// The logs that ever stood in `dir`, oldest first, each with where reading has to begin so that nothing received from
/// `from_ns` on is missed.
///
/// # Errors
/// When a directory or a segment cannot be read.
pub(crate) fn tapes(cfg: &Config, dir: &Path, from_ns: u64) -> anyhow::Result<Vec<(Shelf, Position)>> {
    let mut found = Vec::new();
    for (_, shelf, _) in shelves(cfg, dir)? {
        let segments = shelf.list().with_context(|| format!("list {}", shelf.dir().display()))?;
        let ends_before = |s: &SegmentInfo| s.footer.as_ref().is_some_and(|f| f.last_ts_ns < from_ns);
        let skipped = segments.iter().take_while(|s| ends_before(s)).count();
        let Some(first) = segments.get(skipped) else { continue };
        let start = if skipped == 0 { Position::START } else { Position { segment: first.id, ..Position::START } };
        // A segment without a footer is of the run that writes just now, or of one that was killed.
        found.push((first.footer.as_ref().map_or(u64::MAX, |f| f.first_ts_ns), shelf, start));
    }
    found.sort_by_key(|(begins, ..)| *begins);
    Ok(found.into_iter().map(|(_, shelf, start)| (shelf, start)).collect())
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
                gatherer.revise(Revision::of(&known.manifest));
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
