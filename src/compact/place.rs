//! Which log rows come from and where they go: what is a log's own, what it calls its parts, and where it lies.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use wal_format::{Incarnation, KnownRun, Lineage, Position, Run, SegmentId, Seq};

use fold::part::OpenPart;
use lake::hash::hex;
use lake::manifest::LogPosition;
use lake::{Hour, Lake, Part, PartManifest};
use ops::host;

/// Which log the rows come from and where they go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The lake.
    pub lake: Lake,
    /// Venue name.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// The runs that the log had: what they do not have is of another copy of it. `None` = it does not matter whose it
    /// is.
    pub lineage: Option<Lineage>,
    /// Where the log lies, for states ([`super::abandoned`]).
    pub wal: Option<String>,
}

impl Place {
    /// The place of this log.
    pub fn new(lake: &Lake, venue: &str, lineage: Lineage) -> Self {
        let log = hex(&lineage.log_uuid());
        Self { lake: lake.clone(), venue: venue.to_owned(), log, lineage: Some(lineage), wal: None }
    }

    /// This place, with where its log lies.
    pub fn at(self, dir: &Path) -> Self {
        Self { wal: Some(Here::of(self.lake.work(), dir).to_string()), ..self }
    }

    /// True when the name of `part` is one that this log gives.
    pub fn owns(&self, part: &Part) -> bool {
        let epoch = Seq(part.first_seq).epoch();
        part.venue == self.venue
            && part.log8 == self.log8()
            && self.lineage.as_ref().is_none_or(|lineage| match lineage.incarnation_of(epoch) {
                Some(known) => short(known) == part.incarnation,
                // Too old to be remembered.
                None => epoch <= lineage.newest(),
            })
    }

    /// True when `manifest` is of this log or of another copy of it.
    pub fn is_of(&self, manifest: &PartManifest) -> bool {
        manifest.log == self.log && manifest.venue == self.venue
    }

    /// True when the log had all of `runs`.
    pub fn had(&self, runs: &[Run]) -> bool {
        self.lineage.as_ref().is_none_or(|lineage| runs.iter().all(|run| lineage.knows(*run) != KnownRun::No))
    }

    /// Up to where the records of `manifest` are this log's: its end, or the end of the last run that both
    /// copies of the log had. `None` when they share none.
    pub fn own_end(&self, manifest: &PartManifest) -> Option<Position> {
        let (end, runs) = (to_position(manifest.end), manifest.runs());
        let Some(lineage) = &self.lineage else { return Some(end) };
        // The first record of a run that this log never had is none of its places, though all before it is.
        let is_here = end.seq.counter() > 0 || lineage.incarnation_of(end.seq.epoch()).is_some();
        if self.had(&runs) && is_here {
            return Some(end);
        }
        let common = lineage.last_common(&runs)?;
        Some(Position { seq: Seq::new(common.epoch, Seq::COUNTER_MAX), ..Position::START })
    }

    /// First 8 hex digits of the log's uuid.
    pub fn log8(&self) -> String {
        self.log.chars().take(8).collect()
    }

    /// The name of the part from `first_seq` on, a record of the first of `runs`.
    pub fn part(&self, hour: Hour, first_seq: Seq, runs: &[Run]) -> Part {
        let incarnation = runs.first().map_or(0, |run| short(run.incarnation));
        Part { venue: self.venue.clone(), hour, log8: self.log8(), incarnation, first_seq: first_seq.0 }
    }

    /// The name of `open`.
    pub fn part_of(&self, open: &OpenPart) -> Part {
        self.part(open.hour, open.first.seq, &open.runs)
    }
}

/// An incarnation as names carry it.
fn short(incarnation: Incarnation) -> u16 {
    (incarnation.0 >> 48) as u16
}

/// A position as the manifest and the state write it.
pub fn to_log_position(p: Position) -> LogPosition {
    LogPosition { segment: p.segment.0, offset: p.offset, seq: p.seq.0 }
}

/// And back.
pub fn to_position(p: LogPosition) -> Position {
    Position { segment: SegmentId(p.segment), offset: p.offset, seq: Seq(p.seq) }
}

/// Where a log lies, as a state writes it: the machine, and the way there from the lake, so that a data directory that
/// is moved as a whole takes its logs along. A lake that shares nothing but the root with it is named by the log's full
/// path.
#[derive(Clone, Debug)]
pub struct Here {
    host: String,
    way: PathBuf,
    /// The log's directory is on the lake's file system: whoever sees the lake there sees that log, whatever he is
    /// called. A new container has another host name each time.
    with_lake: bool,
}

impl Here {
    /// Where the log in `dir` lies, seen from `lake`.
    pub fn of(lake: &Path, dir: &Path) -> Self {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (lake, dir) = (whole(lake), whole(dir));
        let shared = lake.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
        let with_lake = shared > 1 && device(&dir).is_some_and(|of_log| device(&lake) == Some(of_log));
        let way = match shared {
            0 | 1 => dir,
            _ => {
                let up = lake.components().skip(shared).map(|_| Component::ParentDir);
                up.chain(dir.components().skip(shared)).collect()
            }
        };
        Self { host: host::name(), way, with_lake }
    }

    /// Whether a state that says `wal` means this place.
    pub fn is(&self, wal: &str) -> bool {
        wal.split_once(':')
            .is_some_and(|(host, way)| (self.with_lake || host == self.host) && way == self.way.display().to_string())
    }
}

impl fmt::Display for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.way.display())
    }
}

/// The file system of `path`, or of what of it is there: a log's directory that is gone was to be where its parent is.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|at| at.metadata().ok()).map(|found| found.dev())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_data_directory_that_moves_takes_its_logs_along_and_two_logs_have_two_places() {
        let root = tempfile::tempdir().unwrap();
        let made = |data: &str, log: &str| {
            let (lake, dir) = (root.path().join(data).join("lake"), root.path().join(data).join("wal").join(log));
            std::fs::create_dir_all(&lake).unwrap();
            std::fs::create_dir_all(&dir).unwrap();
            Here::of(&lake, &dir)
        };
        assert!(made("here", "gate-spot").is(&made("there", "gate-spot").to_string()));
        assert!(!made("here", "gate-spot").is(&made("here", "gate-spot.repair").to_string()));
        let apart = Here::of(Path::new("/srv/lake"), Path::new("/var/wal/gate-spot")).to_string();
        assert!(apart.ends_with(":/var/wal/gate-spot"), "{apart}");
    }

    #[test]
    fn a_machine_by_another_name_knows_its_log_where_that_lies_with_the_lake() {
        let root = tempfile::tempdir().unwrap();
        let (lake, dir) = (root.path().join("lake"), root.path().join("wal/gate-spot"));
        std::fs::create_dir_all(&lake).unwrap();
        // The log's folder is gone with all that was in it.
        let here = Here::of(&lake, &dir);
        assert!(here.is("another-container:../wal/gate-spot"));
        assert!(!here.is("another-container:../wal/gate-futures"));
        // A lake that several machines write to, each with a disk of its own below the same path.
        let apart = Here { with_lake: false, ..here };
        assert!(!apart.is("another-machine:../wal/gate-spot") && apart.is(&apart.to_string()));
    }
}
