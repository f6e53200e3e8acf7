//! What is asked of a manifest by those who download nothing.

use super::file::FileRow;
use crate::error::Result;
use crate::path::ArchivePath;
use crate::select::Selection;

/// What cleaning, verifying and status ask of a manifest. Calls may block on the disk or the network.
pub trait MirrorManifest: Send {
    /// Calls `each` with the rows of a selection, in the order of their paths, a bounded number in memory at a time.
    ///
    /// # Errors
    /// When the database cannot be read, and the first error of `each`.
    fn for_each(&mut self, selection: &Selection, each: &mut dyn FnMut(FileRow) -> Result<()>) -> Result<()>;

    /// One row.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn get(&mut self, path: &ArchivePath) -> Result<Option<FileRow>>;

    /// The files of a selection that are here and whose present bytes were not cleaned yet, in order of their paths.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn needs_cleaning(&mut self, selection: &Selection) -> Result<Vec<FileRow>> {
        let mut rows = Vec::new();
        self.for_each(selection, &mut |row| {
            if row.needs_cleaning() {
                rows.push(row);
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Says that the bytes with this SHA-256 were cleaned, and what came of it. False when the file has other bytes
    /// meanwhile: it then still wants cleaning.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn mark_cleaned(&mut self, path: &ArchivePath, sha256: &str, outcome: &serde_json::Value) -> Result<bool>;
}
