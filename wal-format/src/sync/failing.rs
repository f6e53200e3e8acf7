//! What to do about a disk that refuses to sync: when to try it, and when to leave the frozen segment for a fresh one.
//!
//! ```text
//!  sync fails -> segment frozen -> roll, if syncs worked before -> fresh segment -> its sync fails -> frozen
//!                                                     probe after 1 s, 2 s, ... 10 s <-+  filled to its end
//!  probe (sync of what came since, which claims nothing) works -> roll -> fresh segment -> sync works -> over
//! ```
//!
//! Each roll takes a whole segment from the disk, so a sick disk must not become a full one: while syncs fail a segment
//! is left only when it is full, or when a probe says that the disk works again. A disk that says so and fails again
//! costs one segment each time, at pauses that double up to ten minutes.

use std::time::{Duration, Instant};

/// Between a failure and the first probe; doubled by each probe that fails ...
const PROBE_FIRST: Duration = Duration::from_secs(1);
/// ... up to this.
const PROBE_MOST: Duration = Duration::from_secs(10);
/// Between two rolls of segments that are not full; doubled by each of them ...
const ROLL_FIRST: Duration = Duration::from_secs(1);
/// ... up to this. So long without a failure, and the next one is a first one again.
const ROLL_MOST: Duration = Duration::from_secs(600);

/// Of one log.
#[derive(Debug)]
pub(super) struct Failing {
    /// When the frozen segment is to be tried again.
    probe_at: Instant,
    probe_pause: Duration,
    /// Not before this is a segment left that is not full.
    roll_at: Instant,
    roll_pause: Duration,
    /// Since when syncs work; `None` from a failure to the next one that does.
    works_since: Option<Instant>,
}

impl Failing {
    pub fn new(now: Instant) -> Self {
        Failing {
            probe_at: now,
            probe_pause: PROBE_FIRST,
            roll_at: now,
            roll_pause: ROLL_FIRST,
            works_since: Some(now),
        }
    }

    /// A sync of a segment failed, which is frozen from now on. Whether to leave it.
    pub fn failed(&mut self, now: Instant) -> bool {
        let worked = self.works_since.take();
        if worked.is_some_and(|since| now.duration_since(since) >= ROLL_MOST) {
            (self.roll_at, self.roll_pause) = (now, ROLL_FIRST);
        }
        self.probe_at = now + self.probe_pause;
        worked.is_some() && self.roll(now)
    }

    /// A sync worked in a segment that is not frozen.
    pub fn worked(&mut self, now: Instant) {
        self.works_since.get_or_insert(now);
    }

    /// Whether the frozen segment is to be tried.
    pub fn probe(&self, now: Instant) -> bool {
        now >= self.probe_at
    }

    /// It was tried. Whether to leave it.
    pub fn probed(&mut self, works: bool, now: Instant) -> bool {
        if works {
            self.probe_pause = PROBE_FIRST;
        } else {
            self.probe_pause = (self.probe_pause * 2).min(PROBE_MOST);
        }
        self.probe_at = now + self.probe_pause;
        works && self.roll(now)
    }

    fn roll(&mut self, now: Instant) -> bool {
        let may = now >= self.roll_at;
        if may {
            self.roll_at = now + self.roll_pause;
            self.roll_pause = (self.roll_pause * 2).min(ROLL_MOST);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn a_disk_that_never_works_again_costs_one_segment_however_long_it_lasts() {
        let start = Instant::now();
        let mut failing = Failing::new(start);
        let mut rolls = u32::from(failing.failed(start));
        // The fresh one fails too, and stays.
        rolls += u32::from(failing.failed(start + TICK));
        let mut probes = 0;
        for n in 2..36_000 {
            let now = start + TICK * n;
            if failing.probe(now) {
                probes += 1;
                rolls += u32::from(failing.probed(false, now));
            }
        }
        assert_eq!(rolls, 1);
        assert!((350..=365).contains(&probes), "every ten seconds of an hour: {probes}");
    }

    #[test]
    fn a_disk_that_works_again_is_believed_within_seconds() {
        let start = Instant::now();
        let mut failing = Failing::new(start);
        assert!(failing.failed(start));
        assert!(!failing.failed(start + TICK));
        let mut now = start + TICK;
        while !failing.probe(now) {
            now += TICK;
        }
        assert!(failing.probed(true, now));
        assert!(now - start <= PROBE_FIRST + TICK * 2);
    }

    #[test]
    fn a_disk_that_says_it_works_and_fails_again_costs_ever_fewer_segments() {
        let start = Instant::now();
        let mut failing = Failing::new(start);
        let mut rolls = 0;
        let mut frozen = false;
        for n in 0..24 * 36_000 {
            let now = start + TICK * n;
            let leave = if !frozen {
                frozen = true;
                failing.failed(now)
            } else {
                failing.probe(now) && failing.probed(true, now)
            };
            if leave {
                rolls += 1;
                frozen = false;
            }
        }
        assert!((100..=160).contains(&rolls), "about six an hour: {rolls}");
    }
}
