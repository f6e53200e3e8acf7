//! Writing is another thread's work: one transaction, and then the acks.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::db::{CandleDb, Checkpoint};
use crate::error::KlineError;
use fold::source::{AckStore, LocalAck};
use ops::failpoint;

/// What the database thread is to do.
pub(crate) struct Commit {
    pub(super) checkpoint: Checkpoint,
    pub(super) acks: Arc<Mutex<Acks>>,
    /// Hears the number of the checkpoint.
    pub(super) done: SyncSender<Result<i64, KlineError>>,
}

/// The acks of one feed's logs.
#[derive(Default)]
pub(super) struct Acks {
    pub main: Option<LocalAck>,
    pub repair: Option<LocalAck>,
}

/// Writes checkpoints until all feeds are gone.
pub(crate) fn write(mut db: Box<dyn CandleDb>, commits: &Receiver<Commit>) {
    while let Ok(Commit { checkpoint, acks, done }) = commits.recv() {
        failpoint::hit("klines.before_commit");
        let result = db.commit(&checkpoint).map_err(KlineError::Store).and_then(|did| {
            failpoint::hit("klines.after_commit");
            let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
            for log in &checkpoint.logs {
                let file = if log.log == "main" { acks.main.as_mut() } else { acks.repair.as_mut() };
                let Some(file) = file else { continue };
                // Also back: a database that was put in the place of this one holds less than was acknowledged.
                file.take_back(&log.checkpoint(), "candles stored").map_err(KlineError::Ack)?;
            }
            Ok(did.serial)
        });
        failpoint::hit("klines.after_ack");
        // Nobody listens only when the feed has ended.
        let _ = done.send(result);
    }
}
