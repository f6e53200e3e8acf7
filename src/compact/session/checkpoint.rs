//! Published, then acknowledged, then deleted: staging, publishing, and what the clock and the memory bound require.
//!
//! The order of the steps inside [`LogSession::checkpoint`] and [`LogSession::publish`] is the exactly-once promise;
//! the failpoints lie between them. Only [`LogSession::publish`] moves the ack: what is staged is a cache and lets
//! nothing go.

use wal_format::{Position, Seq, error_chain};

use super::counts::PartCounts;
use super::show::show_position;
use super::{LogSession, STATUS_NS};
use crate::error::CompactError;
use crate::failpoint;
use crate::publish::{PartEnd, publish};
use crate::resume::remove_staging;
use crate::retire::retire;
use crate::stage::{remove_older_states, stage_all, stage_table, write_state};
use lake::{GROUP_TEXT_BYTES, Table, WriteSettings};
use ops::clock;
use ops::compactor::{Activity, LastPublish};
use ops::health::Reason;
use ops::memory::Level;

/// Between two checkpoints the log is read for at least so many times as long as the last one took.
const CHECKPOINT_PAUSES: u64 = 4;

impl LogSession<'_> {
    /// Publishes the open part, if there is one, and everything that follows from that.
    pub(super) fn publish(&mut self, end: Position, part_end: PartEnd) -> Result<(), CompactError> {
        let Some(open) = self.gatherer.part.as_ref() else { return Ok(()) };
        let counts = PartCounts::of(&open.account);
        let hour = open.hour;
        // A disk that was unmounted meanwhile leaves an empty directory, which is no new lake.
        let lake = &self.place.lake;
        if let Some(newest) = &self.newest
            && !lake.has(newest)?
        {
            return Err(CompactError::LakeGone { manifest: lake.place(newest) });
        }
        self.worker.update(|s| s.activity = Activity::Publishing);
        self.publish_held.set(publish_bytes(&open.settings));
        let done = publish(&self.place, &mut self.gatherer, end, part_end).map_err(CompactError::hour("publish", hour));
        self.publish_held.set(0);
        let Some(published) = done? else { return Ok(()) };
        if self.gatherer.has_reported_gaps() {
            self.pass_on_gaps();
        }
        if let Some(repair_queue) = &self.worker.repair_queue {
            published.manifest.repairs.iter().for_each(|r| repair_queue.was_done(r));
        }
        self.acknowledge(end, &format!("published {hour}"))?;
        self.safe = end;
        self.stored(end.seq.next());
        self.newest = Some(published.part.manifest());
        failpoint::hit("publish.after_ack");
        remove_staging(&self.place, &published.part)?;
        failpoint::hit("publish.after_staging_removed");
        self.retire();
        failpoint::hit("publish.after_retire");
        self.done = self.done.zip(counts, u64::wrapping_add);
        self.checkpoint_ns = clock::now().mono_ns;
        self.outcome.parts += 1;
        self.outcome.rows += published.rows();
        let last = LastPublish {
            hour: hour.to_string(),
            part: published.part.stem(),
            files: published.manifest.files.len() as u64,
            rows: published.rows(),
            bytes: published.bytes(),
            at_ns: clock::wall_ns(),
        };
        tracing::info!(venue = %self.worker.id, hour = %hour, rows = last.rows, bytes = last.bytes, files = last.files,
            "published");
        self.worker.update(|s| {
            s.parts_published += 1;
            s.files_published += last.files;
            s.last_publish = Some(last);
        });
        Ok(())
    }

    /// Makes everything up to `position` durable, so that a restart goes on from here.
    pub(super) fn checkpoint(&mut self, position: Position) -> Result<(), CompactError> {
        let from_ns = clock::now().mono_ns;
        let done = self.checkpoint_now(position);
        self.checkpoint_ns = clock::now().mono_ns;
        self.checkpoint_took_ns = self.checkpoint_ns.saturating_sub(from_ns);
        done
    }

    fn checkpoint_now(&mut self, position: Position) -> Result<(), CompactError> {
        if self.gatherer.part.is_none() || position == self.safe {
            return Ok(());
        }
        failpoint::hit("cut.before_pieces");
        stage_all(&self.place, &mut self.gatherer)?;
        failpoint::hit("cut.before_state");
        write_state(&self.place, &mut self.gatherer, position)?;
        self.safe = position;
        failpoint::hit("cut.after_state");
        // Where it was: a sign of life for whoever watches the readers of the log.
        self.acknowledge(self.acked, &format!("staged up to {}", position.seq))?;
        self.stored(position.seq);
        failpoint::hit("cut.after_ack");
        if let Some(part) = &self.gatherer.part {
            remove_older_states(&self.place, part)?;
        }
        failpoint::hit("cut.after_old_states_removed");
        // Another reader may have passed what is published by now.
        self.retire();
        failpoint::hit("cut.after_retire");
        Ok(())
    }

    /// All before `end` is stored: what failed there before has worked.
    fn stored(&mut self, end: Seq) {
        if self.outcome.failed_at.is_some_and(|failed| failed < end) {
            self.outcome.failed_at = None;
            self.worker.status.conditions().clear(Reason::StartingOver, &self.worker.name());
        }
    }

    pub(super) fn acknowledge(&mut self, position: Position, note: &str) -> Result<(), CompactError> {
        let at = self.ack.checkpoint(self.log_uuid, position);
        at.and_then(|at| self.ack.ack(&at, note)).map_err(CompactError::step("store the ack"))?;
        self.acked = position;
        self.worker.update(|s| {
            s.acked = Some(show_position(position));
            s.acked_at_ns = clock::wall_ns();
        });
        Ok(())
    }

    /// Deletes what may go. A failure is logged and tried again at the next ack: nothing depends on it.
    pub(super) fn retire(&mut self) {
        let worker = self.worker;
        if worker.chunks.is_some() {
            // Its segments are on another machine; chunks go with age.
            return;
        }
        match retire(&worker.cfg, &worker.lake, worker.id, &worker.dir(), worker.archiver.as_deref()) {
            Ok(retired) => {
                let n = retired.segments as u64;
                self.outcome.segments_retired += n;
                worker.update(|s| {
                    s.segments_retired += n;
                    s.segments_held = retired.held as u64;
                    s.held_reason.clone_from(&retired.reason);
                });
                if n > 0 {
                    tracing::info!(venue = %worker.id, segments = n, "retired");
                }
                if let Some(reason) = retired.reason.as_ref().filter(|_| retired.reason != self.held) {
                    tracing::warn!(venue = %worker.id, segments = retired.held, "{reason}");
                }
                self.held = retired.reason;
            }
            Err(err) => {
                tracing::warn!(venue = %self.worker.id, error = %error_chain(&err), "cannot retire segments");
            }
        }
    }

    /// What the clock and the memory bound require.
    pub(super) fn housekeep(&mut self, position: Position, now_ns: u64) -> Result<(), CompactError> {
        let lake = &self.worker.cfg.lake;
        let touched = std::mem::take(&mut self.touched);
        let Some(part) = self.gatherer.part.as_mut() else { return Ok(()) };
        let mut left = touched;
        while left != 0 {
            if let Some(t) = part.tables.get_mut(left.trailing_zeros() as usize) {
                t.touched_ns = now_ns;
            }
            left &= left - 1;
        }
        if is_due(now_ns.saturating_sub(self.checkpoint_ns), lake.ack_interval_s, self.checkpoint_took_ns) {
            return self.checkpoint(position);
        }
        if now_ns.saturating_sub(self.house_ns) < STATUS_NS {
            return Ok(());
        }
        self.house_ns = now_ns;
        if part.buffered().1 > self.level.buffered_bytes(self.buffered_bytes_max) {
            tracing::debug!(venue = %self.worker.id, "staging early: the rows in memory reached their bound");
            if self.level > Level::Normal {
                self.worker.status.pressure().shed("rows_staged_early");
            }
            return self.checkpoint(position);
        }
        let idle_ns = self.level.idle_stage_s(lake.idle_stage_s).saturating_mul(1_000_000_000);
        let mut open: Vec<(u64, Table)> = Table::ALL
            .iter()
            .zip(&part.tables)
            .filter(|(_, t)| t.buffered() > 0)
            .map(|(table, t)| (t.touched_ns, *table))
            .collect();
        open.sort_unstable();
        let over = open.len().saturating_sub(self.open_tables_max);
        for (i, (touched_ns, table)) in open.into_iter().enumerate() {
            if i < over || now_ns.saturating_sub(touched_ns) >= idle_ns {
                stage_table(&self.place, &mut self.gatherer, table)?;
            }
        }
        Ok(())
    }
}

/// Whether another checkpoint is due, so long after the last one ended. On a disk that takes longer than the interval
/// nothing would be read between one and the next: the log would run away. An interval of 0 is a checkpoint after every
/// batch, whatever it costs.
fn is_due(since_ns: u64, interval_s: u64, took_ns: u64) -> bool {
    interval_s == 0
        || since_ns >= interval_s.saturating_mul(1_000_000_000).max(took_ns.saturating_mul(CHECKPOINT_PAUSES))
}

/// What joining one table holds at most: two row groups of rows and their pages ([`lake::join_pieces`]), of
/// rows of numbers or of texts.
fn publish_bytes(settings: &WriteSettings) -> u64 {
    const ROW_BYTES: u64 = 120;
    (settings.row_group_rows as u64 * ROW_BYTES).max(GROUP_TEXT_BYTES as u64) * 2
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn checkpoints_that_take_longer_than_their_interval_leave_four_fifths_of_the_time_to_read() {
        const S: u64 = 1_000_000_000;
        assert!(is_due(S, 1, S / 10));
        assert!(!is_due(S - 1, 1, S / 10));
        assert!(!is_due(3 * S, 1, S), "a second of work, four of reading");
        assert!(is_due(4 * S, 1, S));
        assert!(is_due(0, 0, S));
        assert!(is_due(u64::MAX, u64::MAX, u64::MAX));
    }
}
