//! The file of a segment, plain or archived, as the same bytes.
//!
//! A plain file is read through `pread`, an archive through the frame that holds the bytes. Which of the two a file is,
//! its name says, and for any other name its first bytes. Never writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::archive::{ARCHIVE_SUFFIX, ArchiveFault, Unpacker, ZSTD_MAGIC};
use crate::layout::SEGMENT_SUFFIX;
use crate::read_error::ReadError;
use crate::regular;
use crate::spill;
use crate::sys::alloc;

pub(crate) struct Body {
    path: PathBuf,
    kind: Form,
}

enum Form {
    Plain(File),
    Archived(Box<Unpacker>),
}

impl Body {
    /// Opens a file; `None` if there is none.
    pub fn open(path: &Path) -> Result<Option<Body>, ReadError> {
        let io = |source| ReadError::Io { path: path.to_path_buf(), offset: 0, source };
        let file = match regular::open(path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // Its name goes before the file does: this one was not deleted.
                return match spill::target(path) {
                    Some(behind) => Err(io(io::Error::other(format!(
                        "it leads to {}, which is not there: is that disk mounted?",
                        behind.display()
                    )))),
                    None => Ok(None),
                };
            }
            Err(err) => return Err(io(err)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let archived = if name.ends_with(SEGMENT_SUFFIX) {
            false
        } else {
            let mut magic = [0; ZSTD_MAGIC.len()];
            name.ends_with(ARCHIVE_SUFFIX) || (file.read_exact_at(&mut magic, 0).is_ok() && magic == ZSTD_MAGIC)
        };
        let kind = if archived { Form::Archived(Box::new(Unpacker::new(path, file)?)) } else { Form::Plain(file) };
        Ok(Some(Body { path: path.to_path_buf(), kind }))
    }

    /// The archive, if it is one.
    pub fn archive(&self) -> Option<&Unpacker> {
        match &self.kind {
            Form::Plain(_) => None,
            Form::Archived(unpacker) => Some(unpacker),
        }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        match &self.kind {
            Form::Plain(file) => file,
            Form::Archived(unpacker) => unpacker.file(),
        }
    }

    /// Length of the segment in bytes.
    pub fn len(&self) -> Result<u64, ReadError> {
        match &self.kind {
            Form::Plain(file) => Ok(file.metadata().map_err(|e| self.io(0, e))?.len()),
            Form::Archived(unpacker) => Ok(unpacker.len()),
        }
    }

    /// Length of the file in bytes; 0 if the system does not say.
    pub fn stored_bytes(&self) -> u64 {
        self.file().metadata().map_or(0, |meta| meta.len())
    }

    /// Whether both are the same file on disk.
    pub fn same_file(&self, other: &Body) -> bool {
        match (self.file().metadata(), other.file().metadata()) {
            (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
            _ => false,
        }
    }

    /// What is wrong with the archive as a whole; empty for a plain file.
    pub fn faults(&self) -> Result<Vec<ArchiveFault>, ReadError> {
        self.archive().map_or_else(|| Ok(Vec::new()), Unpacker::faults)
    }

    /// Reads some bytes from `offset` on; 0 at the end.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        match &self.kind {
            Form::Plain(file) => loop {
                match file.read_at(out, offset) {
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    read => return read.map_err(|e| self.io(offset, e)),
                }
            },
            Form::Archived(unpacker) => unpacker.read_at(out, offset),
        }
    }

    /// Fills `out`. False if the segment ends before.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<bool, ReadError> {
        let mut done = 0;
        while let Some(space) = out.get_mut(done..).filter(|space| !space.is_empty()) {
            match self.read_at(space, offset + done as u64)? {
                0 => return Ok(false),
                n => done += n,
            }
        }
        Ok(true)
    }

    /// The ranges of `from..to` that may hold anything but zeros, ascending. What was reserved and never written costs
    /// no reading; where the file system does not know, and in an archive, it is all one range.
    pub fn data_ranges(&self, from: u64, to: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        let Form::Plain(file) = &self.kind else { return Ok(vec![(from, to)]) };
        alloc::data_ranges(file, from, to).map_err(|e| self.io(from, e))
    }

    fn io(&self, offset: u64, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), offset, source }
    }
}
