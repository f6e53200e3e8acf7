//! What a consumer of a log has safe elsewhere, remembered: it holds back the deletion of what lies after it.
//!
//! An acknowledgement only ever moves on. That a consumer has less than it said (its database was restored from a backup, its
//! lake lost a manifest) is another matter, with a call of its own: what it reads again may be gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wal_format::{Ack, AckError, AckFile, Checkpoint, Incarnation, Lineage, Position};

use super::seam::SourceError;

/// The acknowledgement of one consumer.
pub trait AckStore: Send {
    /// What is remembered; `None` if nothing ever was acknowledged.
    ///
    /// # Errors
    /// When what is remembered cannot be read: it lets nothing go, and the next one replaces it.
    fn acked(&self) -> Result<Option<Ack>, SourceError>;

    /// `position` of the log `log_uuid`, with the run that it is of.
    ///
    /// # Errors
    /// When the log cannot be identified.
    fn checkpoint(&self, log_uuid: [u8; 16], position: Position) -> Result<Checkpoint, SourceError>;

    /// Everything before `at` is safe elsewhere. A place before what is remembered of this log changes only the note.
    /// Durable on return.
    ///
    /// # Errors
    /// When it cannot be stored; what is remembered still is.
    fn ack(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError>;

    /// Only what lies before `at` is safe elsewhere, whatever was acknowledged.
    ///
    /// # Errors
    /// As [`AckStore::ack`].
    fn take_back(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError>;
}

fn ack_of(at: &Checkpoint, note: &str) -> Ack {
    let Checkpoint { log_uuid, incarnation, position } = *at;
    Ack { log_uuid, incarnation, position, generation: 0, note: note.to_owned() }
}

/// The place that `at` must not go back after: that of `stored`, if it is a later one of the same log.
fn later<'a>(stored: &'a Ack, at: &Checkpoint) -> Option<&'a Ack> {
    Some(stored).filter(|stored| stored.log_uuid == at.log_uuid && stored.position.seq > at.position.seq)
}

/// In the log's own directory, held for this process alone.
pub struct LocalAck {
    dir: PathBuf,
    file: AckFile,
    /// Whose log it is, where that is not in `dir`.
    elsewhere: Option<Whose>,
}

/// Says whose log it is, as far as its runs are known by now.
type Whose = Arc<dyn Fn() -> Lineage + Send + Sync>;

impl LocalAck {
    /// Takes the place of `consumer` in the log in `dir`.
    ///
    /// # Errors
    /// [`AckError::ReaderHeld`] while another process has it.
    pub fn open(dir: &Path, consumer: &str) -> Result<Self, AckError> {
        Ok(Self { dir: dir.to_owned(), file: AckFile::open(dir, consumer)?, elsewhere: None })
    }

    /// Takes the place of `consumer` of a log whose files are elsewhere, and whose it is says `whose`; it is remembered in
    /// the local directory `dir`.
    ///
    /// # Errors
    /// As [`LocalAck::open`].
    pub fn of_remote(
        dir: &Path,
        consumer: &str,
        whose: impl Fn() -> Lineage + Send + Sync + 'static,
    ) -> Result<Self, AckError> {
        Ok(Self { elsewhere: Some(Arc::new(whose)), ..Self::open(dir, consumer)? })
    }

    fn lineage(&self) -> Result<Option<Lineage>, AckError> {
        if let Some(whose) = &self.elsewhere {
            return Ok(Some(whose()));
        }
        wal_format::lineage(&self.dir).map_err(|source| AckError::Lineage { path: self.file.path().to_owned(), source })
    }

    /// Whether what is stored speaks of the log as it is. One of another copy is replaced, whatever its position.
    fn is_of_this_log(&self, stored: &Ack) -> Result<bool, AckError> {
        Ok(self.lineage()?.is_some_and(|lineage| lineage.check(&Checkpoint::from(stored)).is_ok()))
    }
}

impl AckStore for LocalAck {
    fn acked(&self) -> Result<Option<Ack>, SourceError> {
        Ok(self.file.load()?)
    }

    fn checkpoint(&self, log_uuid: [u8; 16], position: Position) -> Result<Checkpoint, SourceError> {
        let incarnation = self.lineage()?.and_then(|lineage| lineage.incarnation_of(position.seq.epoch()));
        Ok(Checkpoint { log_uuid, incarnation: incarnation.unwrap_or_default(), position })
    }

    fn ack(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError> {
        let stored = self.file.load().ok().flatten();
        let at = match stored.as_ref().and_then(|stored| later(stored, at)) {
            Some(later) if self.is_of_this_log(later)? => Checkpoint::from(later),
            _ => *at,
        };
        self.take_back(&at, note)
    }

    fn take_back(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError> {
        Ok(self.file.store(&ack_of(at, note))?)
    }
}

/// In memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryAck {
    stored: Arc<Mutex<Option<Ack>>>,
}

impl AckStore for MemoryAck {
    fn acked(&self) -> Result<Option<Ack>, SourceError> {
        Ok(self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn checkpoint(&self, log_uuid: [u8; 16], position: Position) -> Result<Checkpoint, SourceError> {
        Ok(Checkpoint { log_uuid, incarnation: Incarnation::VERSION_1, position })
    }

    fn ack(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError> {
        let stored = self.acked()?;
        let at = stored.as_ref().and_then(|stored| later(stored, at)).map_or(*at, Checkpoint::from);
        self.take_back(&at, note)
    }

    fn take_back(&mut self, at: &Checkpoint, note: &str) -> Result<(), SourceError> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = stored.as_ref().map_or(0, |ack| ack.generation) + 1;
        *stored = Some(Ack { generation, ..ack_of(at, note) });
        Ok(())
    }
}
