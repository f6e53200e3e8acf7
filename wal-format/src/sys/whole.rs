//! A whole file as bytes, without a copy on the heap: the kernel reads its pages when they are looked at, and takes them
//! back when memory is short. For files that are complete and that nobody writes to any more: staged parts on their way
//! into an object store.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// A file that is complete, in memory as far as it was looked at.
#[derive(Debug)]
pub struct WholeFile(Option<Mmap>);

impl WholeFile {
    /// Maps all of `file`, which nobody changes or shortens while it is mapped: an own temporary file.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 {
            // The kernel maps nothing of no length.
            return Ok(Self(None));
        }
        // SAFETY:
        // - in bounds: `len` is the file's length;
        // - alive: the mapping is owned by the value and unmapped only when that is dropped;
        // - no race: the file is complete and private to its maker, which writes it no more (said to the caller). One that
        //   somebody else shortens raises SIGBUS, which ends the process and says so (`bus`).
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self(Some(map)))
    }
}

impl AsRef<[u8]> for WholeFile {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_bytes_of_a_file_are_there_and_none_of_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, 4_096, 100_000] {
            let (path, bytes) = (dir.path().join("whole"), vec![7; len]);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(WholeFile::map(&File::open(&path).unwrap()).unwrap().as_ref(), bytes);
        }
    }
}
