//! Whether the log has records after a position: asked at every poll of an idle tail, so it has to be cheap.
//!
//! Listing a directory for each poll would cost more than the records. Names only change when
//! the directory's modification time does, so one `stat` and one 4-byte read per ready
//! segment answer the question; about 1 us. The time stamp of a change can be one clock tick old,
//! so a listing is only trusted once the same stamp was seen again 20 ms later.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::layout::DATA_START;
use crate::lineage::{Foreign, Lineage};
use crate::read_error::ReadError;
use crate::record::SegmentId;
use crate::segment_dirs::SegmentDirs;
use crate::source::Source;

/// Coarser than any clock tick of the kernel (10 ms at most).
const STAMP_GRAIN: Duration = Duration::from_millis(20);

/// Modification times of the two directories.
type Stamp = ((i64, i64), (i64, i64));

/// Open segments in front of a reader. Drop it when the reader moves.
#[derive(Default)]
pub(crate) struct Watch {
    listing: Option<Listing>,
    foreign: Vec<(PathBuf, Foreign)>,
    /// The names were read since this was last asked.
    listed: bool,
}

struct Listing {
    from: SegmentId,
    stamp: Stamp,
    at: Instant,
    /// Any later change of names will show in the stamp.
    settled: bool,
    /// Segments from `from` on, ascending, up to the first one that had a record.
    ahead: Vec<Source>,
    /// The lowest one among them that cannot be opened or read. Nothing in the stamp says when it can.
    unreachable: Option<(SegmentId, ReadError)>,
}

/// Segments up to the first one with a record, and the lowest one that could not be opened or read.
type Listed = (Vec<Source>, Option<(SegmentId, ReadError)>);

/// What lies ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// The lowest segment without a first record, if it comes before `used`.
    pub unused: Option<SegmentId>,
    /// The lowest segment with one.
    pub used: Option<SegmentId>,
    /// The lowest segment that cannot be opened or read, if it comes before `used`. Whether it has records is not
    /// known.
    pub unreachable: Option<SegmentId>,
}

impl Watch {
    /// Looks at the segments of `dirs` from `from` on.
    pub fn look(&mut self, dirs: &SegmentDirs, from: SegmentId, lineage: Option<&Lineage>) -> Result<Ahead, ReadError> {
        let stamp = (stamp(dirs.dir())?, dirs.archive().map_or(Ok((0, 0)), stamp)?);
        let now = Instant::now();
        let known = self.listing.take().filter(|old| old.from == from && old.stamp == stamp);
        self.listing = Some(match known {
            Some(old) if old.settled && old.unreachable.is_none() => old,
            // The names are read once more after the grain has passed; from then on any change
            // gives another stamp.
            Some(old) => {
                let (ahead, unreachable) = self.list(dirs, from, lineage)?;
                Listing { settled: now.duration_since(old.at) >= STAMP_GRAIN, ahead, unreachable, ..old }
            }
            None => {
                let (ahead, unreachable) = self.list(dirs, from, lineage)?;
                Listing { from, stamp, at: now, settled: false, ahead, unreachable }
            }
        });
        let mut ahead = Ahead::default();
        let Some(listing) = &mut self.listing else { return Ok(ahead) };
        for source in &mut listing.ahead {
            if used(source)? {
                ahead.used = Some(source.id());
                break;
            }
            ahead.unused = ahead.unused.or(Some(source.id()));
        }
        let unreachable = listing.unreachable.as_ref().map(|(id, _)| *id);
        ahead.unreachable = unreachable.filter(|id| ahead.used.is_none_or(|used| *id < used));
        Ok(ahead)
    }

    /// Whether names may have changed since this was last asked.
    pub fn take_listed(&mut self) -> bool {
        std::mem::take(&mut self.listed)
    }

    /// What was met and is not the log's, since this was last asked.
    pub fn take_foreign(&mut self) -> Vec<(PathBuf, Foreign)> {
        std::mem::take(&mut self.foreign)
    }

    /// Why [`Ahead::unreachable`] cannot be read. The next look starts over.
    pub fn why_unreachable(&mut self) -> Option<ReadError> {
        self.listing.take()?.unreachable.map(|(_, error)| error)
    }

    fn list(&mut self, dirs: &SegmentDirs, from: SegmentId, lineage: Option<&Lineage>) -> Result<Listed, ReadError> {
        self.listed = true;
        let (mut ahead, mut unreachable) = (Vec::new(), None);
        for id in dirs.ids()?.into_iter().filter(|id| *id >= from) {
            let opened = dirs.open_own(id, DATA_START as usize, lineage).and_then(|source| {
                let Some(mut source) = source else { return Ok(None) };
                let foreign = lineage.map_or(Ok(None), |lineage| lineage.foreign(&mut source))?;
                let used = used(&mut source)?;
                Ok(Some((source, foreign, used)))
            });
            match opened {
                Ok(None) => {}
                Ok(Some((source, Some(why), _))) => self.foreign.push((source.path().to_path_buf(), why)),
                Ok(Some((source, None, used))) => {
                    ahead.push(source);
                    if used {
                        break;
                    }
                }
                // No segment of ours is a FIFO or a device: there is nothing to wait for. Repair names it.
                Err(error) if error.is_refused() => {}
                Err(error) if error.is_unreachable() => unreachable = unreachable.or(Some((id, error))),
                Err(error) => return Err(error),
            }
        }
        Ok((ahead, unreachable))
    }
}

fn stamp(dir: &Path) -> Result<(i64, i64), ReadError> {
    match std::fs::metadata(dir) {
        Ok(meta) => Ok((meta.mtime(), meta.mtime_nsec())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        Err(source) => Err(ReadError::Io { path: dir.to_path_buf(), offset: 0, source }),
    }
}

/// Whether a segment has records. An archived one has: no other is archived.
fn used(source: &mut Source) -> Result<bool, ReadError> {
    Ok(source.is_archived() || source.commit_word(DATA_START)? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, id: u64, first: u8) {
        let mut bytes = vec![0; 8192];
        bytes[DATA_START as usize] = first;
        std::fs::write(crate::segment::path(dir, SegmentId(id)), bytes).unwrap();
    }

    fn ahead(unused: Option<u64>, used: Option<u64>) -> Ahead {
        Ahead { unused: unused.map(SegmentId), used: used.map(SegmentId), unreachable: None }
    }

    #[test]
    fn a_segment_that_cannot_be_opened_is_named_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let gone = tempfile::tempdir().unwrap();
        file(dir.path(), 4, 1);
        std::os::unix::fs::symlink(
            crate::segment::path(gone.path(), SegmentId(3)),
            crate::segment::path(dir.path(), SegmentId(3)),
        )
        .unwrap();
        let mut watch = Watch::default();
        let mut look = || watch.look(&SegmentDirs::new(dir.path()), SegmentId(1), None).unwrap();
        for _ in 0..3 {
            assert_eq!(look(), Ahead { unreachable: Some(SegmentId(3)), ..ahead(None, Some(4)) });
            // Old enough for the stamp alone to be trusted: the disk that comes back does not change it.
            std::thread::sleep(STAMP_GRAIN);
        }
        file(gone.path(), 3, 1);
        assert_eq!(look(), ahead(None, Some(3)));
    }

    #[test]
    fn every_change_of_names_and_first_records_is_seen_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::default();
        let mut look = |from| watch.look(&SegmentDirs::new(dir.path()), SegmentId(from), None).unwrap();
        assert_eq!(look(1), ahead(None, None));
        for round in 0..3 {
            let id = 10 + round * 10;
            file(dir.path(), id, 0);
            assert_eq!(look(id), ahead(Some(id), None));
            file(dir.path(), id + 1, 1);
            assert_eq!(look(id), ahead(Some(id), Some(id + 1)));
            file(dir.path(), id, 1);
            assert_eq!(look(id), ahead(None, Some(id)));
            // Old enough for the stamp alone to be trusted.
            std::thread::sleep(STAMP_GRAIN);
            assert_eq!(look(id), ahead(None, Some(id)));
            assert_eq!(look(id), ahead(None, Some(id)));
            std::fs::remove_file(crate::segment::path(dir.path(), SegmentId(id))).unwrap();
            assert_eq!(look(id), ahead(None, Some(id + 1)));
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_has_nothing_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("later");
        let mut watch = Watch::default();
        assert_eq!(watch.look(&SegmentDirs::new(&missing), SegmentId(0), None).unwrap(), ahead(None, None));
        std::fs::create_dir(&missing).unwrap();
        file(&missing, 1, 1);
        assert_eq!(watch.look(&SegmentDirs::new(&missing), SegmentId(0), None).unwrap(), ahead(None, Some(1)));
    }
}
