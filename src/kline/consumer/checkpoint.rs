//! Bars, feed state and positions of one moment, gathered for one transaction, and whether it was written.

use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use super::commit::Commit;
use super::reading::Reading;
use crate::db::Checkpoint;
use crate::error::KlineError;
use crate::message::{CandleJob, Dirty};
use fold::source::RecordSource;
use ops::clock;
use ops::health::Reason;

/// A database that has not stored a checkpoint for so long is reported.
const PATIENCE: Duration = Duration::from_secs(30);
/// A session that stores something after so long has passed what an earlier one failed at.
const TRUSTED: Duration = Duration::from_secs(60);

impl<S: RecordSource> Reading<'_, S> {
    /// Gathers what changed and gives it to the database thread.
    pub(super) fn checkpoint(&mut self) -> Result<(), KlineError> {
        self.hand_over();
        let (out, answer) = mpsc::sync_channel::<Dirty>(1);
        let feed = self.consumer.number;
        let reply = Box::new(move |dirty| {
            // Nobody listens only when this thread is gone.
            let _ = out.send(dirty);
        });
        let sent = self.consumer.hub.job(CandleJob::Checkpoint { feed, reply });
        let dirty = answer.recv().ok().filter(|_| sent).ok_or(KlineError::BarsEnded)?;
        let all = self.consumer.hub.registry().all();
        let registry = (0_u32..).zip(all).skip(self.registered).collect::<Vec<_>>();
        let bars = dirty.bars.len() as u64;
        let checkpoint = Checkpoint {
            feed: self.consumer.id.to_string(),
            since: Some(self.serial),
            logs: self.places(),
            state: serde_json::to_string(&self.feed.state()).map_err(KlineError::WriteState)?,
            registry,
            bars: dirty.bars,
            old: dirty.old,
            marks: dirty.marks,
        };
        self.registered += checkpoint.registry.len();
        let (done, result) = mpsc::sync_channel(1);
        let commit = Commit { checkpoint, acks: Arc::clone(&self.acks), done };
        if self.consumer.commits.send(commit).is_ok() {
            self.pending = Some((result, bars));
            self.requested_at = Instant::now();
        }
        Ok(())
    }

    /// Looks whether the checkpoint was written.
    pub(super) fn settle(&mut self) -> Result<(), KlineError> {
        let Some((result, bars)) = &self.pending else { return Ok(()) };
        match result.try_recv() {
            Ok(done) => {
                let bars = *bars;
                self.pending = None;
                self.serial = done?;
                self.committed(bars);
                Ok(())
            }
            Err(TryRecvError::Empty) => {
                if self.requested_at.elapsed() > PATIENCE {
                    let what = format!("the database has not stored the candles for {} s", PATIENCE.as_secs());
                    let conditions = self.consumer.supervisor.conditions();
                    conditions.raise(Reason::StartingOver, &self.consumer.condition(), what);
                }
                Ok(())
            }
            Err(TryRecvError::Disconnected) => Err(KlineError::DatabaseEnded(None)),
        }
    }

    pub(super) fn committed(&self, bars: u64) {
        if self.started.elapsed() > TRUSTED {
            self.consumer.supervisor.conditions().clear(Reason::StartingOver, &self.consumer.condition());
        }
        self.consumer.hub.feed(self.consumer.id, |f| {
            f.checkpoints += 1;
            f.bars_stored += bars;
            f.committed_ns = clock::now().wall_ns;
        });
    }

    /// The last checkpoint, waited for.
    pub(super) fn finish(&mut self) -> Result<(), KlineError> {
        self.nothing_followed();
        for last in [false, true] {
            if let Some((result, bars)) = self.pending.take() {
                self.serial = result.recv().map_err(|err| KlineError::DatabaseEnded(Some(err)))??;
                self.committed(bars);
            }
            if !last {
                self.checkpoint()?;
            }
        }
        Ok(())
    }
}
