//! The venue's time, by its trades and by our clock, whoever of the two was set.

use serde::{Deserialize, Serialize};
use wal_format::ClockPair;

use super::{Feed, MINUTE_US};
use crate::kline::message::Item;

/// Bars of other symbols close this long after the first trade behind their end, by the venue's time: trades of
/// different symbols come over different connections and are not in order to the millisecond.
const EVIDENCE_MARGIN_US: i64 = 10_000;
/// A log has a CLOCK record at least this often; whatever is received longer after the last one was received by another
/// clock.
const CLOCK_EVERY_US: i64 = 11_000_000;
/// Our clock was set when it moved by more than this against the time since boot.
const STEP_US: i64 = 50_000;

/// Our clock as of a CLOCK record, us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    pub(super) wall_us: i64,
    pub(super) mono_us: i64,
    /// All its steps so far: what is to be taken off for a time without steps.
    pub(super) stepped_us: i64,
}

impl Feed {
    /// A CLOCK record: was our clock set since the one before? Returns the wall time it tells, us.
    #[cold]
    pub(super) fn clock(&mut self, payload: &[u8]) -> Option<i64> {
        let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
        let pair = ClockPair::decode(payload).filter(|pair| pair.wall_ns > 0)?;
        let (wall_us, mono_us) = (us(pair.wall_ns), us(pair.mono_ns));
        let stepped_us = self.state.clock.map_or(0, |last| {
            let step = (wall_us - last.wall_us) - (mono_us - last.mono_us);
            // A smaller time since boot is another boot's, which tells nothing.
            let is_step = mono_us >= last.mono_us && step.abs() > STEP_US;
            last.stepped_us + if is_step { step } else { 0 }
        });
        self.state.clock = Some(Clock { wall_us, mono_us, stepped_us });
        Some(wall_us)
    }

    /// The receive time without the steps of our clock; `None` when the clock was set since the last CLOCK record (a
    /// log's times never go back, so behind a step back they stand still).
    #[inline]
    pub(super) fn steady(&self, recv_us: i64) -> Option<i64> {
        let Some(clock) = self.state.clock else { return Some(recv_us) };
        let since_us = recv_us.saturating_sub(clock.wall_us);
        (-CLOCK_EVERY_US..=CLOCK_EVERY_US).contains(&since_us).then(|| recv_us.saturating_sub(clock.stepped_us))
    }

    /// The venue's time is at least this; bars that end before close.
    #[inline]
    pub(super) fn evidence(&mut self, now_us: i64, out: &mut Vec<Item>) {
        if self.state.venue_now_us.is_some_and(|known| now_us <= known) {
            return;
        }
        self.state.venue_now_us = Some(now_us);
        let minute = now_us.div_euclid(MINUTE_US);
        if self.state.minute.is_some_and(|m| minute > m) {
            out.push(Item::Clock { feed: self.number, now_us: minute * MINUTE_US });
        }
        self.state.minute = Some(minute);
    }

    /// What a trade says of the venue's time. Repairs are old and say nothing.
    #[inline]
    pub(super) fn clock_by(&mut self, ts_us: i64, recv_us: i64, live: bool, out: &mut Vec<Item>) {
        if !live {
            return;
        }
        self.evidence(ts_us.saturating_sub(EVIDENCE_MARGIN_US), out);
        let Some(now_us) = self.steady(recv_us) else { return };
        let sample = now_us.saturating_sub(ts_us);
        let offset = match self.state.offset_us {
            // Back towards what is usual after an outlier, or a clock that was set.
            Some(known) if sample > known => known.saturating_add(sample.saturating_sub(known) / 1_000),
            _ => sample,
        };
        self.state.offset_us = Some(offset);
    }
}
