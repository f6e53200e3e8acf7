//! The venue's time: our steady clock less the distance between the two, of which most symbols' last trades agree.
//!
//! ```text
//!  each live trade --> vote of its symbol: steady receive time - trade time      at most 15 symbols, one vote each
//!  median of the votes: within 5 s of what is believed  -> what is believed follows it, slowly
//!                       the two clocks are right        -> believed at once: the way back from whatever was believed
//!                       else                            -> believed when most votes say so still after 10 s; while
//!                                                          nothing is believed, when none said otherwise for 10 s
//! ```
//! So no trade, and no symbol among several, moves the time of the others. While nothing is believed, as when a recording
//! is played fast, the venue's time is the time of the trades that half of the voters have passed.
//!
//! A trade that is further ahead of all that than [`AHEAD_US`] waits, and is a trade of its own time as soon as that has
//! come; one that is hours ahead is damaged. Example: one trade of A says 12:50 at noon. At 12:50 it is in the candle of
//! 12:50, and until then nowhere; B's candles never hear of it.

use wal_format::ClockPair;

use super::vote::{Clock, Doubt, EarlyTrade, Vote, When};
use super::{CandleFeed, MINUTE_US};
use crate::message::Item;
use model::SymbolId;
use model::kline::Tick;

/// Bars close this long after their end by our clock: what was traded in them is there by then.
const TIMER_MARGIN_US: i64 = 250_000;
/// Two samples this near say the same of the clocks, and a trade this far ahead of the venue's time is not early.
const AHEAD_US: i64 = 5_000_000;
/// A trade this far ahead of all clocks is damaged, not early.
const FUTURE_US: i64 = 3_600_000_000;
/// A different time that most symbols agree on is believed after this time.
const BELIEF_US: i64 = 10_000_000;
/// Symbols that vote.
const VOTERS: usize = 15;
/// Between two counts of the votes.
const COUNT_US: i64 = 100_000;
/// Part of the distance to the median that is gone at each count.
const FOLLOW: i64 = 8;
/// Trades that wait at most.
const EARLY_MAX: usize = 65_536;
/// A log has a CLOCK record at least this often; whatever is received longer after the last one was received by another
/// clock.
const CLOCK_EVERY_US: i64 = 11_000_000;
/// Our clock was set when it moved by more than this against the time since boot.
const STEP_US: i64 = 50_000;

fn near(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= AHEAD_US.unsigned_abs()
}

impl CandleFeed {
    /// A CLOCK record: was our clock set since the one before? Returns its wall time, us.
    #[cold]
    pub(super) fn clock(&mut self, payload: &[u8]) -> Option<i64> {
        let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
        let pair = ClockPair::decode(payload).filter(|pair| pair.wall_ns > 0)?;
        let (wall_us, mono_us) = (us(pair.wall_ns), us(pair.mono_ns));
        let stepped_us = self.state.clock.map_or(0, |last| {
            let step = (wall_us - last.wall_us) - (mono_us - last.mono_us);
            // A smaller time since boot is another boot's, which shows nothing.
            let is_step = mono_us >= last.mono_us && step.abs() > STEP_US;
            last.stepped_us + if is_step { step } else { 0 }
        });
        self.state.clock = Some(Clock { wall_us, mono_us, stepped_us });
        Some(wall_us)
    }

    /// The receive time without the steps of our clock; `None` when the clock was set since the last CLOCK record (a
    /// log's times never go back, so after a step back they stop).
    #[inline]
    pub(super) fn steady(&self, recv_us: i64) -> Option<i64> {
        let Some(clock) = self.state.clock else { return Some(recv_us) };
        let since_us = recv_us.saturating_sub(clock.wall_us);
        (-CLOCK_EVERY_US..=CLOCK_EVERY_US).contains(&since_us).then(|| recv_us.saturating_sub(clock.stepped_us))
    }

    /// Our receive time as the venue's, us.
    pub(super) fn venue_time(&self, recv_us: i64) -> i64 {
        let stepped_us = self.state.clock.map_or(0, |clock| clock.stepped_us);
        recv_us.saturating_sub(stepped_us).saturating_sub(self.state.offset_us.unwrap_or(0))
    }

    /// A record was received at `recv_us`; the venue's time is what our clock says of it.
    #[inline]
    pub(super) fn report_time(&mut self, recv_us: i64, out: &mut Vec<Item>) {
        let Some(steady_us) = self.steady(recv_us) else { return };
        if self.state.offset_us.is_none()
            && let Some(doubt) = self.state.doubt
            && steady_us.saturating_sub(doubt.since_us) >= BELIEF_US
        {
            self.believe(doubt.offset_us, steady_us, out);
        } else if let Some(offset_us) = self.state.offset_us {
            self.passed(steady_us.saturating_sub(offset_us).saturating_sub(TIMER_MARGIN_US), out);
        }
    }

    /// The venue's time is at least this; bars that end before close.
    #[inline]
    fn passed(&mut self, now_us: i64, out: &mut Vec<Item>) {
        if self.state.venue_now_us.is_none_or(|known| now_us > known) {
            self.set_time(now_us, out);
        }
    }

    #[inline]
    fn set_time(&mut self, now_us: i64, out: &mut Vec<Item>) {
        self.state.venue_now_us = Some(now_us);
        let minute = now_us.div_euclid(MINUTE_US);
        if self.next_end_us <= minute * MINUTE_US && self.state.minute.is_none_or(|m| minute > m) {
            self.end(minute * MINUTE_US, out);
        }
        if self.state.minute.is_some_and(|m| minute > m) {
            out.push(Item::Clock { feed: self.number, now_us: minute * MINUTE_US });
        }
        self.state.minute = Some(minute);
    }

    /// The two clocks are so far apart, whatever was believed before: the venue's time may go back.
    #[cold]
    fn believe(&mut self, offset_us: i64, steady_us: i64, out: &mut Vec<Item>) {
        self.state.offset_us = Some(offset_us);
        self.state.doubt = None;
        self.set_time(steady_us.saturating_sub(offset_us).saturating_sub(TIMER_MARGIN_US), out);
    }

    /// What a live trade says of the venue's time.
    #[inline]
    pub(super) fn vote(&mut self, symbol: SymbolId, ts_us: i64, recv_us: i64, out: &mut Vec<Item>) {
        let Some(steady_us) = self.steady(recv_us) else { return };
        let vote = Vote { symbol, offset_us: steady_us.saturating_sub(ts_us), ts_us };
        match self.votes.iter_mut().find(|v| v.symbol == symbol) {
            Some(last) => *last = vote,
            None => {
                if self.votes.len() >= VOTERS {
                    self.votes.remove(0);
                }
                self.votes.push(vote);
            }
        }
        let since_us = steady_us.saturating_sub(self.state.counted_us);
        if self.state.offset_us.is_none() || self.state.doubt.is_some() || !(0..COUNT_US).contains(&since_us) {
            self.state.counted_us = steady_us;
            self.count(steady_us, recv_us, out);
        }
    }

    /// What most of the votes say. Of two in the middle the one is right that our own clock bears out, or that was
    /// believed before.
    fn count(&mut self, steady_us: i64, recv_us: i64, out: &mut Vec<Item>) {
        let mut offsets = [0_i64; VOTERS];
        let n = self.votes.len().min(VOTERS);
        for (slot, vote) in offsets.iter_mut().zip(&self.votes) {
            *slot = vote.offset_us;
        }
        let Some(offsets) = offsets.get_mut(..n) else { return };
        offsets.sort_unstable();
        let Some(middle) = offsets.get(n.saturating_sub(1) / 2..=n / 2) else { return };
        // Both clocks are right.
        let right = |offset_us: i64| near(offset_us, steady_us.saturating_sub(recv_us));
        let distance =
            |offset_us: &i64| (!right(*offset_us), self.state.offset_us.map_or(0, |o| o.abs_diff(*offset_us)));
        let Some(median_us) = middle.iter().copied().min_by_key(distance) else { return };
        match self.state.offset_us {
            Some(offset_us) if near(median_us, offset_us) => {
                self.state.offset_us = Some(offset_us + (median_us - offset_us) / FOLLOW);
                self.state.doubt = None;
            }
            _ if right(median_us) => self.believe(median_us, steady_us, out),
            offset_us => {
                let agree = offsets.iter().filter(|offset| near(**offset, median_us)).count() * 2 > n;
                if !agree && offset_us.is_some_and(right) {
                    // Nobody agrees with anybody: what our own clock bears out holds.
                    self.state.doubt = None;
                    return;
                }
                let doubt = self.state.doubt.filter(|doubt| agree && near(doubt.offset_us, median_us));
                let since_us = doubt.map_or(steady_us, |doubt| doubt.since_us);
                if steady_us.saturating_sub(since_us) >= BELIEF_US {
                    // By a vote, not by the time that went by without one: for want of others a single trade would be believed.
                    return self.believe(median_us, steady_us, out);
                }
                self.state.doubt = Some(Doubt { since_us, offset_us: median_us });
                // As long as nobody knows how the clocks run against each other, trades set the time, no later than ours.
                let mut times = [0_i64; VOTERS];
                for (slot, vote) in times.iter_mut().zip(&self.votes) {
                    *slot = vote.ts_us;
                }
                if let Some((_, passed, _)) = times.get_mut(..n).map(|t| t.select_nth_unstable((n - 1) / 2))
                    && *passed <= recv_us.saturating_add(AHEAD_US)
                {
                    let passed_us = *passed;
                    self.passed(passed_us, out);
                }
            }
        }
    }

    /// The latest time that has come at the venue, us.
    fn come_us(&self, recv_us: i64) -> i64 {
        let known_us = self.state.venue_now_us.unwrap_or(i64::MIN);
        let clocks_us = self.steady(recv_us).map_or(i64::MIN, |steady_us| {
            self.state.offset_us.map_or(i64::MIN, |offset_us| steady_us.saturating_sub(offset_us))
        });
        let believed_us = known_us.max(clocks_us);
        if self.state.doubt.is_none() && clocks_us != i64::MIN {
            return believed_us;
        }
        // Receive times follow a step of the wall clock late, after a machine slept: what a CLOCK record says counts too.
        let clock_us = self.state.clock.map_or(i64::MIN, |clock| clock.wall_us);
        believed_us.max(recv_us).max(clock_us)
    }

    /// Whether the time of a trade has come.
    #[inline]
    pub(super) fn when(&self, ts_us: i64, recv_us: i64) -> When {
        // Nothing was traded before 1970.
        if ts_us <= 0 {
            return When::Never(self.come_us(recv_us));
        }
        // Most of them.
        if self.state.venue_now_us.is_some_and(|now_us| ts_us <= now_us.saturating_add(AHEAD_US)) {
            return When::Now;
        }
        let come_us = self.come_us(recv_us);
        let ahead_us = ts_us.saturating_sub(come_us);
        match ahead_us {
            ..=AHEAD_US => When::Now,
            // Without a trade before nobody knows how far the two clocks are apart.
            _ if ahead_us > FUTURE_US && self.state.offset_us.is_some() => When::Never(come_us),
            _ if self.state.early.len() >= EARLY_MAX => When::Never(come_us),
            _ => When::Later(come_us),
        }
    }

    /// Keeps a trade until its time has come.
    #[cold]
    pub(super) fn wait(&mut self, symbol: SymbolId, tick: &Tick) {
        let early = EarlyTrade::of(self.decoder.rows.symbols.name(symbol), tick);
        let at = self.state.early.partition_point(|e| e.ts_us <= early.ts_us);
        self.state.early.insert(at, early);
    }

    /// Trades whose time has come.
    #[inline]
    pub(super) fn due(&mut self, recv_us: i64) -> Vec<EarlyTrade> {
        let Some(first) = self.state.early.first() else { return Vec::new() };
        let until_us = self.come_us(recv_us).saturating_add(AHEAD_US);
        if first.ts_us > until_us {
            return Vec::new();
        }
        let due = self.state.early.partition_point(|e| e.ts_us <= until_us);
        self.state.early.drain(..due).collect()
    }
}
