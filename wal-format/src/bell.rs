//! The bell: how a reader that sleeps at the tail hears of the next record, in this process or another.
//!
//! ```text
//!  CONTROL page   | .. | waiting: u32 | rings: u32 | ..
//!
//!  reader: ticket = rings; waiting = 1; fence; look again; still nothing -> futex wait (rings == ticket)
//!  writer: append .. append; waiting != 0? -> waiting = 0; rings += 1; futex wake all
//! ```
//!
//! Ringing is the owner's business, after a burst of appends: an append itself makes no system call. The
//! reader stores and fences before its last look, the writer does not fence between its last commit and its
//! look at `waiting`, because a fence would cost as much as half an append. So a ring can be missed in a
//! window of nanoseconds; that is why a sleep is always bounded and the bell is a hint, like all of CONTROL.
//! A reader that may not write the page has no bell and polls with [`crate::Backoff`] alone.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use crate::control::BELL_OFFSET;
use crate::layout::{BLOCK_BYTES, CONTROL_FILE};
use crate::regular;
use crate::step::Backoff;
use crate::sys::Window;

const WAITING: usize = BELL_OFFSET;
const RINGS: usize = BELL_OFFSET + 4;

/// The writer's end. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Notifier {
    window: Arc<Window>,
}

impl Notifier {
    pub(crate) fn new(window: Arc<Window>) -> Self {
        Notifier { window }
    }

    /// Wakes the readers that sleep at the tail, if any does; else costs one load.
    #[inline]
    pub fn notify(&self) {
        if let Some(waiting) = self.window.half_word(WAITING)
            && waiting.load(Ordering::Relaxed) != 0
        {
            self.wake(waiting);
        }
    }

    #[cold]
    fn wake(&self, waiting: &AtomicU32) {
        waiting.store(0, Ordering::Relaxed);
        if let Some(rings) = self.window.half_word(RINGS) {
            rings.fetch_add(1, Ordering::Release);
            // Fails only for a bad address.
            let _ = futex::wake(rings, futex::Flags::empty(), u32::MAX >> 1);
        }
    }
}

/// A reader's end.
pub struct Bell {
    window: Window,
}

/// What [`Bell::arm`] returns: the number of rings before the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Bell {
    /// The bell of the log in `dir`; `None` while there is no CONTROL page or when it may not be written.
    #[must_use]
    pub fn open(dir: &Path) -> Option<Bell> {
        let file = regular::open_as(OpenOptions::new().read(true).write(true), &dir.join(CONTROL_FILE)).ok()?;
        Some(Bell { window: Window::map(&file, BLOCK_BYTES).ok()? })
    }

    /// Asks to be woken. Look for a record once more between this and [`Bell::wait`].
    #[must_use]
    pub fn arm(&self) -> Ticket {
        let rings = self.window.half_word(RINGS).map_or(0, |w| w.load(Ordering::Acquire));
        if let Some(waiting) = self.window.half_word(WAITING) {
            waiting.store(1, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        Ticket(rings)
    }

    /// Sleeps until the bell rings, a signal comes or `most` has passed.
    pub fn wait(&self, ticket: Ticket, most: Duration) {
        let Some(rings) = self.window.half_word(RINGS) else {
            return std::thread::sleep(most);
        };
        let timeout = rustix::time::Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        // Rung already, timed out or interrupted: in every case the caller looks again.
        let _ = futex::wait(rings, futex::Flags::empty(), ticket.0, Some(&timeout));
    }
}

/// How a blocking reader waits at the tail: by the bell where there is one, by polling else, and by short naps
/// on a feed so busy that waking for every burst would cost both sides more than it gains.
pub struct Waiter {
    dir: PathBuf,
    bell: Option<Bell>,
    ticket: Option<Ticket>,
    backoff: Backoff,
    /// Records since `since`, which is at most [`RATE_OVER`] ago when looked at.
    records: u32,
    since: Instant,
    busy: bool,
}

/// The bell is a hint: no sleep is longer.
const LONGEST: Duration = Duration::from_millis(5);
/// Over how long the rate is measured.
const RATE_OVER: Duration = Duration::from_millis(2);
/// Records per millisecond from which on a reader naps instead of asking to be woken.
const BUSY_PER_MS: u128 = 40;
/// A nap; the kernel's timer slack makes it about twice as long.
const NAP: Duration = Duration::from_micros(50);

impl Waiter {
    /// For the log in `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Waiter {
            dir: dir.to_owned(),
            bell: Bell::open(dir),
            ticket: None,
            backoff: Backoff::new(),
            records: 0,
            since: Instant::now(),
            busy: false,
        }
    }

    /// A record was read. Reads no clock.
    #[inline]
    pub fn progressed(&mut self) {
        self.records = self.records.saturating_add(1);
        self.ticket = None;
        self.backoff.reset();
    }

    /// To be called at each [`crate::Step::Tail`]; sleeps at most `most`. May return at once, to have the reader
    /// look once more before it sleeps.
    pub fn pause(&mut self, most: Duration) {
        let elapsed = self.since.elapsed();
        if elapsed >= RATE_OVER {
            self.busy = u128::from(self.records) > elapsed.as_millis() * BUSY_PER_MS;
            (self.records, self.since) = (0, Instant::now());
        }
        if self.busy {
            return std::thread::sleep(NAP.min(most));
        }
        if self.bell.is_none() {
            self.bell = Bell::open(&self.dir);
        }
        match (&self.bell, self.ticket.take()) {
            (Some(bell), None) => self.ticket = Some(bell.arm()),
            (Some(bell), Some(ticket)) => bell.wait(ticket, LONGEST.min(most)),
            (None, _) => std::thread::sleep(self.backoff.pause().min(most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::record::ClockPair;
    use crate::storage::OsStorage;

    fn control(dir: &Path) -> Control {
        Control::open(&OsStorage, dir, 1, [0; 16], ClockPair::default()).0
    }

    #[test]
    fn a_ring_after_the_ticket_ends_the_wait_and_one_before_it_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Bell::open(dir.path()).is_none(), "no page, no bell");
        let notifier = Notifier::new(control(dir.path()).window());
        let bell = Bell::open(dir.path()).unwrap();
        let ticket = bell.arm();
        notifier.notify();
        // Returns at once, or this test never ends.
        bell.wait(ticket, Duration::from_secs(3_600));
        assert_ne!(bell.arm(), ticket);
    }

    #[test]
    fn a_sleeping_reader_is_woken_from_another_thread() {
        let dir = tempfile::tempdir().unwrap();
        let notifier = Notifier::new(control(dir.path()).window());
        let bell = Bell::open(dir.path()).unwrap();
        let waiting = |bell: &Bell| bell.window.half_word(WAITING).unwrap().load(Ordering::Relaxed);
        std::thread::scope(|s| {
            s.spawn(|| {
                let ticket = bell.arm();
                bell.wait(ticket, Duration::from_secs(3_600));
            });
            while waiting(&bell) == 0 {
                std::thread::yield_now();
            }
            notifier.notify();
        });
        assert_eq!(waiting(&bell), 0, "nobody waits, so the next append wakes nobody");
    }

    #[test]
    fn a_ring_that_never_comes_ends_with_the_time_limit() {
        let dir = tempfile::tempdir().unwrap();
        let _control = control(dir.path());
        let bell = Bell::open(dir.path()).unwrap();
        let ticket = bell.arm();
        bell.wait(ticket, Duration::from_millis(1));
    }
}
