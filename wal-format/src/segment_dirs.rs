//! Where the segments of one log are found: in its directory, plain or archived, and in one more directory for
//! archives.
//!
//! The same segment may lie in both forms for a moment, between the publishing of its archive and its own unlink; it is
//! listed once, and the plain one is read. Plain files are looked for first, so a segment that is archived
//! between two looks is found by the second. Never writes.

use std::path::{Path, PathBuf};

use crate::archive;
use crate::directory::{io_error, names};
use crate::lineage::Lineage;
use crate::read_error::{ReadError, StateError};
use crate::record::SegmentId;
use crate::segment;
use crate::source::Source;

/// The places of one log's segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentDirs {
    dir: PathBuf,
    archive: Option<PathBuf>,
}

impl SegmentDirs {
    /// The log in `dir`, with its archived segments where they lie in `dir` too.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        SegmentDirs { dir: dir.to_path_buf(), archive: None }
    }

    /// The log in `dir`, and the archived segments of the same log in `archive`.
    #[must_use]
    pub fn with_archive(dir: &Path, archive: Option<&Path>) -> Self {
        SegmentDirs { dir: dir.to_path_buf(), archive: archive.map(Path::to_path_buf) }
    }

    /// The directory of the log itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The second directory, if there is one.
    #[must_use]
    pub fn archive(&self) -> Option<&Path> {
        self.archive.as_deref()
    }

    /// Ids of all segments, ascending, each once. None if no directory exists.
    ///
    /// # Errors
    /// [`StateError`] when a directory cannot be listed.
    pub fn ids(&self) -> Result<Vec<SegmentId>, StateError> {
        let mut ids = Vec::new();
        for dir in std::iter::once(&self.dir).chain(&self.archive) {
            let names = names(dir).map_err(|e| io_error(dir, e))?;
            ids.extend(
                names.iter().filter_map(|n| segment::parse_file_name(n).or_else(|| archive::parse_file_name(n))),
            );
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Opens a segment where it is found first; `None` if it is nowhere.
    pub(crate) fn open(&self, id: SegmentId, chunk_bytes: usize) -> Result<Option<Source>, ReadError> {
        let mut failed = None;
        for path in self.places(id) {
            match Source::open_path(&path, id, chunk_bytes) {
                Ok(None) => {}
                Ok(source) => return Ok(source),
                // Its other form may do; else this is why it cannot be read.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The name under which there is something, for a message.
    pub(crate) fn place(&self, id: SegmentId) -> PathBuf {
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        self.places(id).find(there).unwrap_or_else(|| segment::path(&self.dir, id))
    }

    /// As [`SegmentDirs::open`], but a file that is not of the log of `lineage` does not hide one that is. If there is none
    /// of its own, the first is opened: who reads it says why it is passed by.
    pub(crate) fn open_own(
        &self,
        id: SegmentId,
        chunk_bytes: usize,
        lineage: Option<&Lineage>,
    ) -> Result<Option<Source>, ReadError> {
        let (mut first, mut failed) = (None, None);
        for path in self.places(id) {
            let opened = Source::open_path(&path, id, chunk_bytes).and_then(|source| {
                let Some(mut source) = source else { return Ok(None) };
                let foreign = lineage.map_or(Ok(None), |lineage| lineage.foreign(&mut source))?;
                Ok(Some((source, foreign.is_some())))
            });
            match opened {
                Ok(None) => {}
                Ok(Some((source, false))) => return Ok(Some(source)),
                Ok(Some((source, true))) => first = first.or(Some(source)),
                // Its other form may do; else this is why it cannot be read.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(first), Err)
    }

    /// Where the file of a segment may lie, in order of preference.
    fn places(&self, id: SegmentId) -> impl Iterator<Item = PathBuf> + '_ {
        let here = [segment::path(&self.dir, id), archive::path(&self.dir, id)];
        let there = self.archive.iter().flat_map(move |dir| [archive::path(dir, id), segment::path(dir, id)]);
        here.into_iter().chain(there)
    }
}
