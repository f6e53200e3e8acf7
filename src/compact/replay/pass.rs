//! One log of a replay, folded part by part with the part boundaries of the live path.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wal_format::{Hold, Incarnation, LostReason, Position, Run, SegmentDirs, SegmentId, Seq};

use super::report::{ReplayReport, Verdict, part_report};
use crate::error::CompactError;
use crate::place::{Place, to_position};
use crate::publish::{PartEnd, Published, publish};
use crate::resume::remove_staging;
use crate::stage::stage_full;
use fold::gather::{Continuation, Gatherer, LogKind, Revision, missing_beginning};
use fold::source::{RecordSource, RecordedLog, SourceError, Step};
use lake::{Hour, Lake, Part, PartManifest, WriteSettings};
use venue::Venue;

/// A part that the lake has.
pub(super) struct PublishedPart {
    pub part: Part,
    pub manifest: PartManifest,
    /// SHA-256 of the manifest's bytes.
    pub sha256: String,
}

pub(super) struct ReplayLog<'h> {
    pub venue: &'static Venue,
    pub kind: LogKind,
    pub stored: SegmentDirs,
    /// Where the log is written.
    pub dir: PathBuf,
    pub name: String,
    pub first_segment: u64,
    /// Runs that its segments are of: parts of other ones were published by another copy of the log.
    pub runs: BTreeMap<u32, Incarnation>,
    pub settings: WriteSettings,
    pub from: Option<Hour>,
    pub to_ns: Option<u64>,
    /// A rewrite may publish fewer rows than there were.
    pub fewer_rows: bool,
    /// Segments that are still to be read stay.
    pub holds: &'h [Hold],
    /// Damage that the archive suffered after it was written, in the part being read.
    pub damage: RefCell<Vec<String>>,
}

/// Where a part of a replay ends.
pub(super) enum End {
    /// There, and why (a manifest says so).
    At(Position, PartEnd),
    /// Before the record of this seq, wherever it is.
    Seq(Seq, PartEnd),
    /// Where its hour ends, at the latest there: the next part that is known begins.
    Before(Position),
    /// Where its hour ends.
    Hour,
}

/// Where the part of `m` ends.
pub(super) fn ends(m: &PartManifest) -> End {
    End::At(to_position(m.end), if m.ends_log { PartEnd::Log } else { PartEnd::Hour })
}

/// What stopped a pass over a part.
pub(super) enum Stopped {
    /// The part is complete; the next one, if any, begins with the record not taken.
    Complete(Option<Published>),
    /// The log ends.
    LogEnd(Option<Published>),
}

impl ReplayLog<'_> {
    /// Segments before `segment` are needed no longer.
    pub(super) fn needs(&self, segment: u64) {
        for hold in self.holds {
            // What is not let go is held longer than needed, until the end.
            let _ = hold.advance(SegmentId(segment));
        }
    }

    pub(super) fn place(&self, lake: Lake) -> Place {
        // Names and accounts follow from the records alone.
        Place { lake, venue: self.venue.id().to_string(), log: self.name.clone(), lineage: None, wal: None }
    }

    /// False for a part of another copy of the log: this one cannot give it again.
    pub(super) fn had(&self, m: &PartManifest) -> bool {
        m.runs().iter().all(|run| self.runs.get(&run.epoch).is_none_or(|known| *known == run.incarnation))
    }

    pub(super) fn wanted(&self, hour: Hour) -> bool {
        self.from.is_none_or(|from| hour >= from) && self.to_ns.is_none_or(|to| hour.start_ns() < to)
    }

    pub(super) fn reader(&self, from: Position) -> Result<Box<dyn RecordSource>, SourceError> {
        Ok(Box::new(RecordedLog::open(&self.stored, from)?))
    }

    /// Gathers one part from the position of `reader` and publishes it below `place`, if its hour is wanted.
    pub(super) fn part(
        &self,
        reader: &mut Box<dyn RecordSource>,
        gatherer: &mut Gatherer,
        place: &Place,
        end: &End,
        beginning: &mut bool,
    ) -> Result<Stopped, CompactError> {
        loop {
            if let End::At(end, part_end) = end
                && reader.position().seq >= end.seq
            {
                return Ok(Stopped::Complete(self.close(gatherer, place, *end, *part_end)?));
            }
            let at = reader.position();
            if let End::Seq(end, PartEnd::Log) = end
                && at.seq >= *end
            {
                return Ok(Stopped::Complete(self.close(gatherer, place, at, PartEnd::Log)?));
            }
            match reader.next().map_err(CompactError::step("read the log"))? {
                Step::Record(record) => {
                    if gatherer.part.is_none()
                        && self.to_ns.is_some_and(|to| gatherer.hour_of(&record).start_ns() >= to)
                    {
                        return Ok(Stopped::LogEnd(None));
                    }
                    let begins_next = match end {
                        End::At(end, _) => record.seq >= end.seq,
                        End::Seq(end, _) => record.seq >= *end,
                        End::Before(end) => record.seq >= end.seq || gatherer.ends_before(&record),
                        End::Hour => gatherer.ends_before(&record),
                    };
                    if begins_next {
                        let here = record.position;
                        let (end, part_end) = match end {
                            End::At(end, part_end) => (*end, *part_end),
                            End::Seq(_, part_end) => (here, *part_end),
                            End::Before(_) | End::Hour => (here, PartEnd::Hour),
                        };
                        // The record opens the next part: that pass reads it again.
                        *reader = self.reader(here)?;
                        return Ok(Stopped::Complete(self.close(gatherer, place, end, part_end)?));
                    }
                    if std::mem::take(beginning)
                        && let Some(lost) = missing_beginning(&record)
                    {
                        gatherer.lost(&lost);
                    }
                    let touched = gatherer.record(&record);
                    if let Some(epoch) = gatherer.unnamed_run() {
                        gatherer.name_run(Run { epoch, incarnation: reader.incarnation_of(epoch) });
                    }
                    stage_full(place, gatherer, touched)?;
                }
                Step::Lost(lost) => {
                    if lost.reason == LostReason::ArchiveFrame {
                        self.damage.borrow_mut().push(lost.to_string());
                    }
                    if let End::At(end, part_end) = end
                        && lost.from >= end.seq
                    {
                        *reader = self.reader(at)?;
                        return Ok(Stopped::Complete(self.close(gatherer, place, *end, *part_end)?));
                    }
                    gatherer.lost(&lost);
                }
                // Who only looks back waits for nothing.
                Step::Tail | Step::Blocked { .. } | Step::End => {
                    let at = reader.position();
                    return Ok(Stopped::LogEnd(self.close(gatherer, place, at, PartEnd::Log)?));
                }
            }
        }
    }

    fn close(
        &self,
        gatherer: &mut Gatherer,
        place: &Place,
        end: Position,
        part_end: PartEnd,
    ) -> Result<Option<Published>, CompactError> {
        let Some(open) = &gatherer.part else { return Ok(None) };
        let part = place.part_of(open);
        let published = if self.wanted(open.hour) {
            publish(place, gatherer, end, part_end).map_err(CompactError::hour("publish", part.hour))?
        } else {
            gatherer.close();
            None
        };
        remove_staging(place, &part)?;
        Ok(published)
    }

    /// Rebuilds everything wanted below `out`. `unknown`: first seqs of parts of which only the name is known; they are
    /// ended at hours alone.
    pub(super) fn rebuild(
        &self,
        parts: &[PublishedPart],
        unknown: &[u64],
        out: &Path,
        report: &mut ReplayReport,
    ) -> Result<(), CompactError> {
        let place = self.place(Lake::open(out));
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
        let mut following = parts.iter().skip(gone).peekable();
        loop {
            let at = reader.position();
            self.needs(at.segment.0);
            let first = following.peek().map(|known| to_position(known.manifest.first));
            let between = first.filter(|first| unknown.iter().any(|seq| (at.seq.0..first.seq.0).contains(seq)));
            let next = if between.is_some() { None } else { following.next() };
            if let Some(known) = next {
                gatherer.set_settings(known.manifest.settings.clone());
                gatherer.revise(Revision::of(&known.manifest));
            } else {
                gatherer.set_settings(self.settings.clone());
            }
            let end = match (next, between) {
                (Some(known), _) => ends(&known.manifest),
                (None, Some(first)) => End::Before(first),
                (None, None) => End::Hour,
            };
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

    pub(super) fn after(&self, before: &PublishedPart, settings: WriteSettings) -> Result<Gatherer, CompactError> {
        let continuation: Continuation = serde_json::from_value(before.manifest.continuation.clone())
            .map_err(|source| CompactError::Continuation { of: before.manifest.hour.clone(), source })?;
        let continuation = Continuation { previous_sha256: Some(before.sha256.clone()), ..continuation };
        Gatherer::new(self.venue, self.kind, settings, &continuation)
            .map_err(CompactError::step("go on after a manifest"))
    }
}
