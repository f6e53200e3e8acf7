//! The clock that receive times are read from: the wall clock's time, the monotonic clock's manners.
//!
//! ```text
//!  receive time = monotonic time + offset
//!  offset: wall - monotonic at the start; another one only when the wall clock has shown it for STEP_BELIEVED
//!    forward   taken over at once: times jump to the wall clock
//!    backward  times run on, a little slower, until the wall clock has come up to them
//! ```
//!
//! So a wall clock that is two days ahead for a second, and then right again, reaches no receive time; one that is
//! set back by an hour pins none: times stay distinct, never decrease, and their distances are right to one
//! sixteenth. What the wall clock said meanwhile is in the CLOCK records: the wall time in one, less its own
//! receive time, is how far the times around it are from the wall clock.
//!
//! One of these per process: times of all its logs can be compared with each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::ClockPair;
use crate::together;

/// How long (by the monotonic clock) a wall clock must show a step before it is believed. A wrong answer of a time
/// server is put right within seconds; a machine that slept shows its step for good.
pub const STEP_BELIEVED_NS: u64 = 10_000_000_000;
/// Less than this is the time between two readings, not a step.
const NOT_A_STEP_NS: u64 = 1_000_000;
/// Readings that are no further apart are of the same step.
const SAME_STEP_NS: u64 = 50_000_000;
/// While times are ahead of the wall clock they gain this fraction less than the monotonic clock: an hour is made up
/// for in 16 hours, a second in 16 seconds, and no distance between two frames is wrong by more.
const SLOWER_BY: u64 = 16;
/// Looks at a line that is being changed before its lock is waited for.
const LOOKS: u32 = 100;

/// Receive times as a function of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// Receive time less monotonic time, before `ahead_ns` is made up for.
    offset_ns: i64,
    /// From this monotonic time on ...
    from_mono_ns: u64,
    /// ... times go slower until they have lost this much.
    ahead_ns: u64,
}

impl Line {
    #[inline]
    fn at(&self, mono_ns: u64) -> u64 {
        let lost = self.ahead_ns.min(mono_ns.saturating_sub(self.from_mono_ns) / SLOWER_BY);
        mono_ns.saturating_add_signed(self.offset_ns).saturating_sub(lost)
    }

    /// From `mono_ns` on from time `from_ns` towards `wall_ns`, which is earlier or the same.
    fn run_on(from_ns: u64, wall_ns: u64, mono_ns: u64) -> Self {
        Line {
            offset_ns: difference(from_ns, mono_ns),
            from_mono_ns: mono_ns,
            ahead_ns: from_ns.saturating_sub(wall_ns),
        }
    }
}

#[derive(Debug)]
struct Rule {
    line: Line,
    /// Wall less monotonic time, as believed.
    believed_ns: i64,
    /// Another difference, as last shown, and since when.
    shown: Option<(i64, u64)>,
}

/// See the head of this file. Cheap to read from any thread.
#[derive(Debug)]
pub struct ReceiveClock {
    /// [`Line`], as words that are changed as one; the last counts the changes.
    begin: AtomicU64,
    words: [AtomicU64; 3],
    changes: AtomicU64,
    rule: Mutex<Rule>,
}

impl ReceiveClock {
    /// Starts at the wall clock of `now`.
    #[must_use]
    pub fn new(now: ClockPair) -> Self {
        let believed_ns = difference(now.wall_ns, now.mono_ns);
        let clock = ReceiveClock {
            begin: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            changes: AtomicU64::new(0),
            rule: Mutex::new(Rule {
                line: Line { offset_ns: believed_ns, from_mono_ns: 0, ahead_ns: 0 },
                believed_ns,
                shown: None,
            }),
        };
        clock.publish(&clock.lock());
        clock
    }

    /// The receive time at this monotonic time; never less than an earlier one.
    #[inline]
    #[must_use]
    pub fn at(&self, mono_ns: u64) -> u64 {
        for _ in 0..LOOKS {
            let begin = || self.begin.load(Ordering::Relaxed);
            let line = || {
                let [offset, from, ahead] = &self.words;
                Line {
                    offset_ns: offset.load(Ordering::Relaxed).cast_signed(),
                    from_mono_ns: from.load(Ordering::Relaxed),
                    ahead_ns: ahead.load(Ordering::Relaxed),
                }
            };
            if let Some(line) = together::look(begin, line, |order| self.changes.load(order)) {
                return line.at(mono_ns);
            }
            std::hint::spin_loop();
        }
        // Whoever changes it holds the lock, and was kept from its core in the middle.
        self.lock().line.at(mono_ns)
    }

    /// What both clocks show now; to be called about once a second.
    pub fn observe(&self, now: ClockPair) {
        let mut rule = self.lock();
        let shown_ns = difference(now.wall_ns, now.mono_ns);
        if shown_ns.abs_diff(rule.believed_ns) <= NOT_A_STEP_NS {
            rule.shown = None;
            return;
        }
        let since = match rule.shown {
            Some((before, since)) if before.abs_diff(shown_ns) <= SAME_STEP_NS => since,
            _ => now.mono_ns,
        };
        rule.shown = Some((shown_ns, since));
        if now.mono_ns.saturating_sub(since) >= STEP_BELIEVED_NS {
            rule.shown = None;
            rule.believed_ns = shown_ns;
            rule.line = Line::run_on(rule.line.at(now.mono_ns).max(now.wall_ns), now.wall_ns, now.mono_ns);
            self.publish(&rule);
        }
    }

    /// Times go on from `ts_ns` if they are not beyond it already: a log's times do not go back over a restart.
    pub fn not_before(&self, ts_ns: u64, now: ClockPair) {
        let mut rule = self.lock();
        if ts_ns > rule.line.at(now.mono_ns) {
            let wall_ns = now.mono_ns.saturating_add_signed(rule.believed_ns);
            rule.line = Line::run_on(ts_ns, wall_ns, now.mono_ns);
            self.publish(&rule);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rule> {
        // Short sections of plain moves: a panic in one leaves nothing half done.
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the line to [`ReceiveClock::at`]. The rule's lock is held: one thread changes.
    fn publish(&self, rule: &MutexGuard<'_, Rule>) {
        let Line { offset_ns, from_mono_ns, ahead_ns } = rule.line;
        let n = self.changes.load(Ordering::Relaxed).wrapping_add(1);
        let words = || {
            for (word, value) in self.words.iter().zip([offset_ns.cast_unsigned(), from_mono_ns, ahead_ns]) {
                word.store(value, Ordering::Relaxed);
            }
        };
        together::change(n, |n| self.begin.store(n, Ordering::Relaxed), words, |n, order| self.changes.store(n, order));
    }
}

/// `a - b`, for times of this and the next centuries.
fn difference(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600 * SECOND;
    const T0: u64 = 1_900_000_000 * SECOND;

    /// Looks once a second for `seconds` at a wall clock that is `off_ns` from the truth; returns the times.
    fn run(clock: &ReceiveClock, mono_s: &mut u64, seconds: u64, off_ns: i64) -> Vec<u64> {
        (0..seconds)
            .map(|_| {
                *mono_s += 1;
                let mono_ns = *mono_s * SECOND;
                clock.observe(ClockPair { wall_ns: (T0 + mono_ns).saturating_add_signed(off_ns), mono_ns });
                clock.at(mono_ns)
            })
            .collect()
    }

    fn clock() -> ReceiveClock {
        ReceiveClock::new(ClockPair { wall_ns: T0, mono_ns: 0 })
    }

    #[test]
    fn a_wall_clock_that_is_two_days_off_for_a_moment_reaches_no_receive_time() {
        for off in [48 * HOUR as i64, -48 * HOUR as i64] {
            let (clock, mut mono) = (clock(), 0);
            let mut times = run(&clock, &mut mono, 3, 0);
            times.extend(run(&clock, &mut mono, 9, off));
            times.extend(run(&clock, &mut mono, 3, 0));
            assert_eq!(times, (1..=15).map(|s| T0 + s * SECOND).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_step_forward_that_lasts_is_followed() {
        let (clock, mut mono) = (clock(), 0);
        let times = run(&clock, &mut mono, 20, HOUR as i64);
        assert_eq!(times[5], T0 + 6 * SECOND);
        assert_eq!(times[19], T0 + HOUR + 20 * SECOND);
    }

    #[test]
    fn after_a_step_back_times_run_on_distinct_and_come_down_to_the_wall_clock() {
        let (clock, mut mono) = (clock(), 0);
        let times = run(&clock, &mut mono, 17 * 3_600, -(HOUR as i64));
        assert!(times.windows(2).all(|w| (SECOND * 15 / 16..=SECOND).contains(&(w[1] - w[0]))), "distances");
        assert_eq!(times.last(), Some(&(T0 + 16 * HOUR)), "the wall clock's time");
    }

    #[test]
    fn a_step_forward_that_was_believed_and_then_taken_back_pins_nothing() {
        let (clock, mut mono) = (clock(), 0);
        run(&clock, &mut mono, 60, 48 * HOUR as i64);
        let times = run(&clock, &mut mono, 3_600, 0);
        assert!(times.windows(2).all(|w| w[1] - w[0] >= SECOND * 15 / 16));
    }

    #[test]
    fn a_log_that_is_ahead_at_the_start_is_gone_on_with_from_there() {
        let clock = clock();
        clock.not_before(T0 + 48 * HOUR, ClockPair { wall_ns: T0, mono_ns: 0 });
        assert_eq!(clock.at(0), T0 + 48 * HOUR);
        assert_eq!(clock.at(16 * SECOND), T0 + 48 * HOUR + 15 * SECOND);
        clock.not_before(T0, ClockPair { wall_ns: T0, mono_ns: 0 });
        assert_eq!(clock.at(16 * SECOND), T0 + 48 * HOUR + 15 * SECOND, "another log's past holds nobody back");
    }

    #[test]
    fn a_wall_clock_that_steps_again_and_again_is_not_believed_in_between() {
        let (clock, mut mono) = (clock(), 0);
        for n in 0..20 {
            run(&clock, &mut mono, 5, n * HOUR as i64);
        }
        assert_eq!(clock.at(100 * SECOND), T0 + 100 * SECOND);
    }

    proptest::proptest! {
        #[test]
        fn times_never_decrease_whatever_the_wall_clock_says(
            steps in proptest::collection::vec((0_u64..30, -1_000_000_000_000_i64..1_000_000_000_000), 1..40)
        ) {
            let (clock, mut mono, mut last) = (clock(), 0, 0);
            for (seconds, off) in steps {
                for time in run(&clock, &mut mono, seconds, off) {
                    proptest::prop_assert!(time > last);
                    last = time;
                }
            }
        }
    }

    #[test]
    fn a_time_that_is_read_while_the_line_changes_is_of_one_line() {
        let clock = clock();
        std::thread::scope(|s| {
            let reader = s.spawn(|| {
                for _ in 0..100_000 {
                    let time = clock.at(0);
                    // Lines of this test give whole hours at 0.
                    assert!((time - T0).is_multiple_of(HOUR), "{time}");
                }
            });
            for n in 1..1_000 {
                clock.not_before(T0 + n * HOUR, ClockPair { wall_ns: T0, mono_ns: 0 });
            }
            reader.join().unwrap();
        });
    }
}
