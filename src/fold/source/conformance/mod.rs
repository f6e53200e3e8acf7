//! What is asked of every source, whoever makes one: see the promises in the module. For tests.
#![allow(clippy::unwrap_used, reason = "of a test, which ends there")]

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wal_format::{Append, Kind, LogOptions, LogWriter, Position, Seq};

use super::{LOOKS, RecordSource, Step};
use ops::clock;

/// Enough for several segments.
pub const RECORDS: u64 = 40;
/// One in the middle, in a segment that is neither the first nor the last.
pub const MIDDLE: u64 = 20;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wound {
    /// The record in the middle was damaged.
    Damage,
    /// A part around the middle is gone.
    Gap,
}

/// A log of `RECORDS` records to which no more comes, and sources over it.
pub trait Made: Sized {
    /// One with this wound.
    fn new(wound: Option<Wound>) -> Self;
    /// A source that begins at `from`.
    fn open(&self, from: Position) -> Box<dyn RecordSource>;
    /// It may be written to again: its end is a tail for ever.
    const GOES_ON: bool = false;
}

/// Does not compress, and identifies the record.
pub fn payload(n: u64) -> Vec<u8> {
    let mut word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let random = (0..600).flat_map(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    n.to_le_bytes().into_iter().chain(random).collect()
}

pub(super) fn append<'a>(n: u64, payload: &'a [u8]) -> Append<'a> {
    Append { ts_recv_ns: 1_723_070_000_000_000_000 + n, conn: 1, kind: Kind::Data, flags: 0, payload }
}

pub(super) fn writer(dir: &Path) -> LogWriter {
    let mut options = LogOptions::new(Arc::new(clock::now));
    options.segment_bytes = 64 << 10;
    LogWriter::open(dir, options).unwrap()
}

/// A log of files in order, or with a wound; the folder that goes with its handle, and the log in it.
pub fn written(wound: Option<Wound>) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let mut log = writer(&dir);
    for n in 0..RECORDS {
        log.append(&append(n, &payload(n))).unwrap();
    }
    log.close().unwrap();
    let bytes = payload(MIDDLE);
    let read = |path: &Path| wal_format::regular::read(path, u64::MAX).unwrap();
    let at = |path: &Path| read(path).windows(bytes.len()).position(|w| w == bytes);
    let segments = wal_format::list_segments(&dir).unwrap();
    let (path, at) = segments.iter().find_map(|s| Some((s.path.clone(), at(&s.path)?))).unwrap();
    assert!(path != segments[0].path && segments.iter().filter(|s| s.path > path).count() > 1);
    match wound {
        None => {}
        Some(Wound::Gap) => std::fs::remove_file(&path).unwrap(),
        Some(Wound::Damage) => damage(&path, at + 100),
    }
    (root, dir)
}

/// Changes a byte of a file.
pub fn damage(path: &Path, at: usize) {
    let mut bytes = wal_format::regular::read(path, u64::MAX).unwrap();
    bytes[at] ^= 0x55;
    std::fs::write(path, bytes).unwrap();
}

/// What a source said, up to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Seq, and which of our records it is.
    Record(Seq, Option<u64>),
    /// First and last one.
    Lost(Seq, Seq),
}

/// Reads to the end; with each step the position after it.
pub fn read(source: &mut dyn RecordSource, goes_on: bool) -> Vec<(Said, Position)> {
    let mut said = Vec::new();
    let mut quiet = 0;
    loop {
        let now = match source.next().unwrap() {
            Step::Record(record) => {
                assert_eq!(record.seq, record.position.seq);
                let known = record.payload.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
                let ours = known.filter(|n| record.kind() == Some(Kind::Data) && record.payload == payload(*n));
                let (step, next) = (Said::Record(record.seq, ours), record.next);
                assert_eq!(source.position(), next, "where the next one starts");
                step
            }
            Step::Lost(lost) => {
                assert!(lost.exact, "{lost}");
                Said::Lost(lost.from, lost.to)
            }
            Step::End => {
                assert!(!goes_on && matches!(source.next().unwrap(), Step::End), "an end is one for ever");
                return said;
            }
            Step::Tail => {
                assert!(goes_on, "whoever has nothing further says so");
                quiet += 1;
                if quiet > LOOKS {
                    return said;
                }
                source.wait(Duration::from_millis(1));
                continue;
            }
            Step::Blocked { why, .. } => panic!("{why}"),
        };
        quiet = 0;
        said.push((now, source.position()));
    }
}

/// From the first seq on each is returned or reported as lost, once and in order.
fn assert_whole(said: &[(Said, Position)]) {
    let mut next = None;
    for (said, position) in said {
        let (from, to) = match said {
            Said::Record(seq, _) => (*seq, *seq),
            Said::Lost(from, to) => (*from, *to),
        };
        assert_eq!(from, next.unwrap_or(from), "{said:?}");
        next = Some(to.next());
        assert_eq!(Some(position.seq), next, "{said:?}");
    }
}

/// The numbers of our records among them.
pub fn ours(said: &[(Said, Position)]) -> Vec<u64> {
    said.iter().filter_map(|(said, _)| if let Said::Record(_, n) = said { *n } else { None }).collect()
}

/// All that is asked.
pub fn all<M: Made>() {
    let made = M::new(None);
    let said = read(made.open(Position::START).as_mut(), M::GOES_ON);
    assert_whole(&said);
    assert_eq!(ours(&said), (0..RECORDS).collect::<Vec<_>>(), "each once, in order");
    assert!(said.iter().all(|(said, _)| matches!(said, Said::Record(..))), "nothing is lost: {said:?}");
    for (at, (_, position)) in said.iter().enumerate() {
        let again = read(made.open(*position).as_mut(), M::GOES_ON);
        assert_eq!(again, said[at + 1..], "from {position:?}");
        // The seq decides: a hint that leads to the wrong place costs a search.
        let hint = Position { seq: position.seq, ..Position::START };
        if at % 10 == 0 {
            assert_eq!(read(made.open(hint).as_mut(), M::GOES_ON), again, "from {hint:?}");
        }
    }
    for wound in [Wound::Damage, Wound::Gap] {
        let made = M::new(Some(wound));
        let said = read(made.open(Position::START).as_mut(), M::GOES_ON);
        assert_whole(&said);
        let lost: Vec<usize> =
            said.iter().enumerate().filter(|(_, (said, _))| matches!(said, Said::Lost(..))).map(|(at, _)| at).collect();
        assert_eq!(lost.len(), 1, "{wound:?} is reported once: {said:?}");
        let read_all = ours(&said);
        assert!(!read_all.contains(&MIDDLE) && read_all.len() >= 20, "{wound:?}: {read_all:?}");
        assert!(read_all.contains(&0) && read_all.contains(&(RECORDS - 1)), "reading goes on after it");
        // A second reader gets the same report.
        let before = said[lost[0] - 1].1;
        assert_eq!(read(made.open(before).as_mut(), M::GOES_ON), said[lost[0]..], "{wound:?}");
    }
}
