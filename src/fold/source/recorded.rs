//! What is left of a log: retained segments, archived ones, the one that is written just now, as far as they go. Repairs
//! nothing, waits for nothing: whatever cannot be read is lost, and after the last record is the end.

use std::path::Path;
use std::time::Duration;

use wal_format::{Advance, Incarnation, LogReader, Position, ReaderOptions, SegmentDirs};

use super::seam::{LOOKS, RecordSource, SourceError, Step};

/// See the module.
pub struct RecordedLog {
    reader: LogReader,
}

impl RecordedLog {
    /// Opens what lies on `stored` at `from`.
    ///
    /// # Errors
    /// When its directory is none.
    pub fn open(stored: &SegmentDirs, from: Position) -> Result<Self, SourceError> {
        let archive = stored.archive().map(Path::to_path_buf);
        let options = ReaderOptions { follow_damaged: true, archive, ..ReaderOptions::default() };
        let open = LogReader::open(stored.dir(), from, options);
        let reader = open.map_err(|source| SourceError::Open { dir: stored.dir().to_owned(), source })?;
        Ok(RecordedLog { reader })
    }
}

impl RecordSource for RecordedLog {
    fn next(&mut self) -> Result<Step<'_>, SourceError> {
        let mut looks = 0;
        let found = loop {
            match self.reader.advance()? {
                Advance::AwaitRepair(_) => self.reader.skip_damaged(),
                Advance::Tail if looks < LOOKS => looks += 1,
                found => break found,
            }
        };
        Ok(match self.reader.lend(&found) {
            wal_format::Step::Record(record) => Step::Record(record),
            wal_format::Step::Lost(lost) => Step::Lost(lost),
            wal_format::Step::Tail | wal_format::Step::AwaitRepair { .. } => Step::End,
        })
    }

    fn position(&self) -> Position {
        self.reader.position()
    }

    fn incarnation_of(&self, epoch: u32) -> Incarnation {
        self.reader.incarnation_of(epoch)
    }

    fn wait(&mut self, _: Duration) {}
}
