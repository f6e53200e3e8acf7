//! Bars, feed state and positions in one transaction, and then the acks. Writing is another thread's work.

use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use wal_format::{Ack, AckFile};

use super::reading::Reading;
use crate::clock;
use crate::compact::failpoint::fail_point;
use crate::kline::db::{CandleDb, Checkpoint};
use crate::kline::message::{Dirty, Job};

/// What the database thread is to do.
pub(in crate::kline) struct Commit {
    checkpoint: Checkpoint,
    acks: Arc<Mutex<Acks>>,
    done: SyncSender<anyhow::Result<()>>,
}

/// The acks of one feed's logs.
#[derive(Default)]
pub(super) struct Acks {
    pub main: Option<AckFile>,
    pub repair: Option<AckFile>,
}

/// Writes checkpoints until all feeds are gone.
pub(in crate::kline) fn write(mut db: Box<dyn CandleDb>, commits: &Receiver<Commit>) {
    while let Ok(Commit { checkpoint, acks, done }) = commits.recv() {
        fail_point!("klines.before_commit");
        let result = db.commit(&checkpoint).context("store candles").and_then(|_| {
            fail_point!("klines.after_commit");
            let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
            for log in &checkpoint.logs {
                let file = if log.log == "main" { acks.main.as_mut() } else { acks.repair.as_mut() };
                let Some(file) = file else { continue };
                let ack = Ack {
                    log_uuid: log.log_uuid,
                    position: log.position,
                    generation: 0,
                    note: "candles stored".to_owned(),
                };
                file.store(&ack).context("store the ack")?;
            }
            Ok(())
        });
        fail_point!("klines.after_ack");
        // Nobody listens only when the feed has ended.
        let _ = done.send(result);
    }
}

impl Reading<'_> {
    /// Gathers what changed and gives it to the database thread.
    pub(super) fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.hand_over();
        let (out, answer) = mpsc::sync_channel::<Dirty>(1);
        let feed = self.consumer.number;
        let reply = Box::new(move |dirty| {
            // Nobody listens only when this thread is gone.
            let _ = out.send(dirty);
        });
        let asked = self.consumer.hub.job(Job::Checkpoint { feed, reply });
        let dirty = answer.recv().ok().filter(|_| asked).context("the thread that makes the candles ended")?;
        let all = self.consumer.hub.registry().all();
        let registry = (0_u32..).zip(all).skip(self.registered).collect::<Vec<_>>();
        let bars = dirty.bars.len() as u64;
        let checkpoint = Checkpoint {
            feed: self.consumer.id.to_string(),
            logs: self.places(),
            state: serde_json::to_string(&self.feed.state()).context("write the state of the feed as JSON")?,
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
        }
        Ok(())
    }

    /// Looks whether the checkpoint was written.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let Some((result, bars)) = &self.pending else { return Ok(()) };
        match result.try_recv() {
            Ok(done) => {
                let bars = *bars;
                self.pending = None;
                done?;
                self.committed(bars);
                Ok(())
            }
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => anyhow::bail!("the database thread ended"),
        }
    }

    pub(super) fn committed(&self, bars: u64) {
        self.consumer.hub.feed(self.consumer.id, |f| {
            f.checkpoints += 1;
            f.bars_stored += bars;
            f.committed_ns = clock::now().wall_ns;
        });
    }

    /// The last checkpoint, waited for.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        for last in [false, true] {
            if let Some((result, bars)) = self.pending.take() {
                result.recv().context("the database thread ended")??;
                self.committed(bars);
            }
            if !last {
                self.checkpoint()?;
            }
        }
        Ok(())
    }
}
