//! The trait itself, and its types.

use std::path::PathBuf;
use std::time::Duration;

use wal_format::{AckError, Incarnation, LostRange, OpenError, Position, ReadError, RecordRef};

/// Consecutive looks at the end without a record before a reader that drains believes in it: a reader of files asks
/// the directory ever more rarely, on the first, second and fourth look.
pub const LOOKS: u32 = 8;

/// One step of a source.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The next record.
    Record(RecordRef<'a>),
    /// Records that cannot be read; reading goes on after them.
    Lost(LostRange),
    /// Nothing further yet: [`RecordSource::wait`], and ask again.
    Tail,
    /// Nothing further, ever.
    End,
    /// Reading cannot go on before what comes next is repaired; ask again after a pause.
    Blocked {
        /// What it waits for, to show.
        why: String,
        /// It cannot be repaired at present, or was not in time.
        stuck: bool,
    },
}

/// What came of [`RecordSource::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// No writer: what the source ends with now is its end.
    Done,
    /// It has a writer.
    Written,
    /// It could not be done, or failed just now and was not tried again.
    Failed,
}

/// Something that lies among the records and is none of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedBy {
    /// The file.
    pub what: String,
    /// Why it is not read.
    pub why: String,
}

/// Records in the order in which they were written. See the module.
pub trait RecordSource: Send {
    /// The next step. Never waits for who writes.
    ///
    /// # Errors
    /// When something cannot be read; the source stays where it is.
    fn next(&mut self) -> Result<Step<'_>, SourceError>;

    /// Where the next record starts: everything before it was returned or reported as lost.
    fn position(&self) -> Position;

    /// Which run of the writer an epoch was; 0 for one of format version 1.
    fn incarnation_of(&self, epoch: u32) -> Incarnation;

    /// To be called at a [`Step::Tail`]: waits until there may be more, at most `most`. May return early.
    fn wait(&mut self, most: Duration);

    /// What was read last was dealt with: the next wait may be short again.
    fn progressed(&mut self) {}

    /// Up to where there are records by now, if that is known without reading them: compare its segment and offset.
    fn committed(&self) -> Option<Position> {
        None
    }

    /// Sees to it that the end of a source without a writer is its end: what a dead writer left is repaired.
    fn settle(&mut self) -> Settled {
        Settled::Done
    }

    /// Why something in it is not repaired, if that is so, whether reading goes on or not.
    fn unrepaired(&mut self) -> Option<String> {
        None
    }

    /// What was passed by since this was last asked, each once.
    fn take_passed_by(&mut self) -> Vec<PassedBy> {
        Vec::new()
    }
}

impl<S: RecordSource + ?Sized> RecordSource for Box<S> {
    fn next(&mut self) -> Result<Step<'_>, SourceError> {
        (**self).next()
    }

    fn position(&self) -> Position {
        (**self).position()
    }

    fn incarnation_of(&self, epoch: u32) -> Incarnation {
        (**self).incarnation_of(epoch)
    }

    fn wait(&mut self, most: Duration) {
        (**self).wait(most);
    }
}

/// A source or an acknowledgement failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened.
    #[error("open the log {}", dir.display())]
    Open {
        /// Where it should be.
        dir: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was acknowledged cannot be read or stored.
    #[error(transparent)]
    Ack(#[from] AckError),
}

impl SourceError {
    /// Whether something could not be reached, so that nothing is known of what is in it: it may come back.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, SourceError::Read(err) if err.is_unreachable())
    }
}
