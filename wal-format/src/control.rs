//! The CONTROL page: what the running writer says about itself, for status tools and lag.
//!
//! 4 KiB of little-endian u64 words, each an atomic. Words that belong together (a position and its receive time;
//! the durable position; the heartbeat) are changed and read as one, see [`crate::together`]. A killed writer leaves
//! the page as it was, in the middle of a change too, and a full disk can keep it from existing at all. So it is a
//! hint, never evidence: recovery uses it only as a lower bound to complain about ("seq 900 was announced durable,
//! the log ends at 850").

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::layout::{BLOCK_BYTES, CONTROL_FILE};
use crate::record::{ClockPair, Position, SegmentId, Seq};
use crate::regular;
use crate::storage::Storage;
use crate::sys::{ReadMap, Window};
use crate::together;

/// First word of the page: "TDCTL\r\n" and format 1.
const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"TDCTL\r\n\x01");

/// The words of the page, in disk order.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Word {
    Magic,
    Pid,
    BootIdLow,
    BootIdHigh,
    Epoch,
    CommittedSegment,
    CommittedOffset,
    CommittedSeq,
    CommittedTs,
    DurableSegment,
    DurableOffset,
    DurableSeq,
    HeartbeatWall,
    HeartbeatMono,
    SyncErrors,
    RollStalls,
    Closed,
    PreviousDurableSeq,
    /// Two 4-byte words: see [`crate::bell`].
    Bell,
    /// The number of the change that is being made to the four `Committed` words; `CommittedSeq` when it is done.
    /// Like the two below 0 on a page of version 1.
    CommittedBegin,
    /// As above, of the `Durable` words; `DurableSeq` when it is done.
    DurableBegin,
    /// As above, of the `Heartbeat` words; `HeartbeatMono` when it is done.
    HeartbeatBegin,
    /// Since when syncs fail, ns since 1970-01-01 UTC; 0 while they do not.
    SyncFailingSince,
    /// The last record that any writer before this one committed.
    PreviousCommittedSeq,
}

/// Words that are changed as one: the first is stored before the others, the last after them.
#[derive(Clone, Copy)]
struct Group {
    begin: Word,
    end: Word,
}

const COMMITTED: Group = Group { begin: Word::CommittedBegin, end: Word::CommittedSeq };
const DURABLE: Group = Group { begin: Word::DurableBegin, end: Word::DurableSeq };
const HEARTBEAT: Group = Group { begin: Word::HeartbeatBegin, end: Word::HeartbeatMono };

/// Looks at words that are being changed before they are taken as they are. A change takes nanoseconds; a writer
/// that was killed or stopped in the middle of one never ends it.
const LOOKS: u32 = 64;
/// The last of these looks are this far apart: longer than a thread is kept from its core as a rule.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
const PAUSED_LOOKS: u32 = 100;
/// Looks at a page that nobody changes any more, so that an opening writer waits for no dead one: words of version 1
/// want two that agree.
const STILL_LOOKS: u32 = 2;

/// Offset of the bell's words in the page.
pub(crate) const BELL_OFFSET: usize = Word::Bell as usize * 8;

/// What a CONTROL page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// Process id of the writer.
    pub pid: u32,
    /// The machine run it lives or lived in.
    pub boot_id: [u8; 16],
    /// Its epoch.
    pub epoch: u32,
    /// End of the last committed record, and that record's seq.
    pub committed: Position,
    /// Receive time of the last committed record.
    pub committed_ts_ns: u64,
    /// Where the durable part ends.
    pub durable_end: Position,
    /// Everything up to this seq is on disk; `Seq(0)` if nothing of this epoch is yet.
    pub durable: Seq,
    /// What the writer before this one announced as durable; `Seq(0)` if nothing.
    pub previous_durable: Seq,
    /// The last record that the writer before this one committed; `Seq(0)` if it is not known.
    pub previous_committed: Seq,
    /// When the writer last gave a sign of life, about once a second.
    pub heartbeat: ClockPair,
    /// Failed syncs.
    pub sync_errors: u64,
    /// Since when syncs fail, ns since 1970-01-01 UTC; `None` while they do not.
    pub sync_failing_since_ns: Option<u64>,
    /// Times that an append had to wait for a segment to be allocated.
    pub roll_stalls: u64,
    /// The writer closed the log.
    pub closed: bool,
}

impl ControlState {
    /// What was announced as durable in this epoch, by the writer of the page or the one before;
    /// `None` if this page knows nothing of that epoch.
    #[must_use]
    pub fn durable_of(&self, epoch: u32) -> Option<Seq> {
        [self.durable, self.previous_durable].into_iter().find(|seq| *seq != Seq(0) && seq.epoch() == epoch)
    }

    /// The last record that was committed in this epoch, by the writer of the page or the one before; `None` if this
    /// page knows nothing of that epoch.
    #[must_use]
    pub fn committed_of(&self, epoch: u32) -> Option<Seq> {
        [self.committed.seq, self.previous_committed].into_iter().find(|seq| *seq != Seq(0) && seq.epoch() == epoch)
    }
}

/// Reads the page of the log in `dir`; `None` if there is none or it is not one.
///
/// Positions are those of one instant, except where a writer was killed or stopped between two stores of one: then
/// they are at most one record, or one roll, apart, and never before the true position.
#[must_use]
pub fn read(dir: &Path) -> Option<ControlState> {
    let file = regular::open(&dir.join(CONTROL_FILE)).ok()?;
    let map = ReadMap::new(&file, BLOCK_BYTES).ok()?;
    decode(LOOKS + PAUSED_LOOKS, |word, order| map.load_word(word as usize * 8, order).unwrap_or(0))
}

/// What the writer before left, for the one that opens the log.
pub(crate) fn left(storage: &dyn Storage, dir: &Path) -> Option<ControlState> {
    let mut page = vec![0; BLOCK_BYTES as usize];
    storage.open(&dir.join(CONTROL_FILE)).ok()?.read_exact_at(&mut page, 0).ok()?;
    decode(STILL_LOOKS, |word, _| {
        let bytes = page.get(word as usize * 8..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    })
}

/// `looks`: how often words that are not settled are looked at before they are taken as they are.
fn decode(looks: u32, load: impl Fn(Word, Ordering) -> u64) -> Option<ControlState> {
    let word = |word| load(word, Ordering::Relaxed);
    if word(Word::Magic) != CONTROL_MAGIC {
        return None;
    }
    let mut boot_id = [0; 16];
    boot_id[..8].copy_from_slice(&word(Word::BootIdLow).to_le_bytes());
    boot_id[8..].copy_from_slice(&word(Word::BootIdHigh).to_le_bytes());
    let place = |segment, offset, seq| Position {
        segment: SegmentId(word(segment)),
        offset: word(offset),
        seq: Seq(word(seq)),
    };
    let committed =
        || (place(Word::CommittedSegment, Word::CommittedOffset, Word::CommittedSeq), word(Word::CommittedTs));
    // A writer of version 1 stores an offset of 0 before it names the next segment.
    let (committed, committed_ts_ns) =
        settled(looks, &load, COMMITTED, committed, |(at, _)| at.offset != 0 || at.seq == Seq(0));
    let durable_end =
        settled(looks, &load, DURABLE, || place(Word::DurableSegment, Word::DurableOffset, Word::DurableSeq), |_| true);
    let heartbeat = || ClockPair { wall_ns: word(Word::HeartbeatWall), mono_ns: word(Word::HeartbeatMono) };
    let heartbeat = settled(looks, &load, HEARTBEAT, heartbeat, |_| true);
    Some(ControlState {
        pid: u32::try_from(word(Word::Pid)).ok()?,
        boot_id,
        epoch: u32::try_from(word(Word::Epoch)).ok()?,
        committed,
        committed_ts_ns,
        durable_end,
        durable: durable_end.seq,
        previous_durable: Seq(word(Word::PreviousDurableSeq)),
        previous_committed: Seq(word(Word::PreviousCommittedSeq)),
        heartbeat,
        sync_errors: word(Word::SyncErrors),
        sync_failing_since_ns: Some(word(Word::SyncFailingSince)).filter(|since| *since != 0),
        roll_stalls: word(Word::RollStalls),
        closed: word(Word::Closed) != 0,
    })
}

/// What `words` sees once all of it is of one change and `whole`. Patience is bounded: then it is taken as it is.
///
/// A writer of version 1 marks no changes: its words are taken when they stay the same over two looks.
fn settled<T: PartialEq>(
    looks: u32,
    load: &impl Fn(Word, Ordering) -> u64,
    group: Group,
    words: impl Fn() -> T,
    whole: impl Fn(&T) -> bool,
) -> T {
    let begin = || load(group.begin, Ordering::Relaxed);
    let mut before = None;
    for n in 0..looks {
        let one = together::look(begin, &words, |order| load(group.end, order));
        let seen = one.or_else(|| (begin() == 0).then(&words).filter(|seen| before.as_ref() == Some(seen)));
        if let Some(seen) = seen.filter(&whole) {
            return seen;
        }
        before = Some(words());
        if n >= LOOKS {
            std::thread::sleep(LOOK_PAUSE);
        } else {
            std::thread::yield_now();
        }
    }
    words()
}

/// The writer's side of the page. Falls back to memory of its own where the file cannot be made:
/// a hint is not worth refusing to record.
pub(crate) struct Control {
    window: Arc<Window>,
}

impl Control {
    /// Opens or creates the page and introduces the new writer. Also returns what the writer
    /// before left there.
    pub fn open(
        storage: &dyn Storage,
        dir: &Path,
        epoch: u32,
        boot_id: [u8; 16],
        now: ClockPair,
    ) -> (Self, Option<ControlState>) {
        let path = dir.join(CONTROL_FILE);
        let window = storage
            .open_or_create(&path)
            .and_then(|file| {
                file.allocate(BLOCK_BYTES)?;
                file.map(BLOCK_BYTES)
            })
            .unwrap_or_else(|_| Arc::new(Window::memory(BLOCK_BYTES)));
        let control = Control { window };
        let load = |word, order| control.word(word).map_or(0, |word| u64::from_le(word.load(order)));
        // The writer before is gone: the caller holds the lock.
        let before = decode(STILL_LOOKS, load);
        control.store(Word::Magic, 0);
        // The bell stays: readers may be asleep at it.
        for word in (1..Word::Bell as usize).chain(Word::CommittedBegin as usize..=Word::SyncFailingSince as usize) {
            if let Some(word) = control.window.word(word * 8) {
                word.store(0, Ordering::Relaxed);
            }
        }
        let previous = before.map_or(Seq(0), |b| b.durable.max(b.previous_durable));
        control.store(Word::PreviousDurableSeq, previous.get());
        let committed = before.map_or(Seq(0), |b| b.committed.seq.max(b.previous_committed));
        control.store(Word::PreviousCommittedSeq, committed.get());
        control.store(Word::Pid, u64::from(std::process::id()));
        let (low, high) = boot_id.split_at(8);
        for (word, half) in [(Word::BootIdLow, low), (Word::BootIdHigh, high)] {
            let half = half.first_chunk().copied().unwrap_or_default();
            control.store(word, u64::from_le_bytes(half));
        }
        control.store(Word::Epoch, u64::from(epoch));
        control.heartbeat(now);
        if let Some(word) = control.word(Word::Magic) {
            word.store(CONTROL_MAGIC.to_le(), Ordering::Release);
        }
        (control, before)
    }

    /// The page itself.
    pub fn window(&self) -> Arc<Window> {
        Arc::clone(&self.window)
    }

    #[inline]
    fn word(&self, word: Word) -> Option<&AtomicU64> {
        self.window.word(word as usize * 8)
    }

    #[inline]
    fn store(&self, word: Word, value: u64) {
        if let Some(word) = self.word(word) {
            word.store(value.to_le(), Ordering::Relaxed);
        }
    }

    /// Changes the words of `group` as one; `n` is what its last word will be.
    #[inline]
    fn change(&self, group: Group, n: u64, words: impl FnOnce()) {
        together::change(
            n,
            |n| self.store(group.begin, n),
            words,
            |n, order| {
                if let Some(word) = self.word(group.end) {
                    word.store(n.to_le(), order);
                }
            },
        );
    }

    /// A record was committed: where it ends, its number and receive time.
    #[inline]
    pub fn committed(&self, end: Position, ts_recv_ns: u64) {
        self.change(COMMITTED, end.seq.get(), || {
            self.store(Word::CommittedSegment, end.segment.0);
            self.store(Word::CommittedOffset, end.offset);
            self.store(Word::CommittedTs, ts_recv_ns);
        });
    }

    /// Everything before `end` is on disk.
    pub fn durable(&self, end: Position) {
        self.change(DURABLE, end.seq.get(), || {
            self.store(Word::DurableSegment, end.segment.0);
            self.store(Word::DurableOffset, end.offset);
        });
    }

    /// Still alive.
    pub fn heartbeat(&self, now: ClockPair) {
        self.change(HEARTBEAT, now.mono_ns, || self.store(Word::HeartbeatWall, now.wall_ns));
    }

    /// Since when syncs fail; `None` when they work again.
    pub fn sync_failing(&self, since_wall_ns: Option<u64>) {
        self.store(Word::SyncFailingSince, since_wall_ns.unwrap_or(0));
    }

    pub fn sync_errors(&self, count: u64) {
        self.store(Word::SyncErrors, count);
    }

    pub fn roll_stalls(&self, count: u64) {
        self.store(Word::RollStalls, count);
    }

    /// The log was closed in order.
    pub fn closed(&self) {
        self.store(Word::Closed, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::OsStorage;

    const NOW: ClockPair = ClockPair { wall_ns: 10, mono_ns: 20 };

    #[test]
    fn what_the_writer_says_is_what_a_tool_reads() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let (control, before) = Control::open(&OsStorage, dir.path(), 7, [9; 16], NOW);
        assert_eq!(before, None);
        control.committed(Position { segment: SegmentId(4), offset: 5000, seq: Seq::new(7, 3) }, 99);
        let end = Position { segment: SegmentId(4), offset: 4800, seq: Seq::new(7, 2) };
        control.durable(end);
        let state = read(dir.path()).unwrap();
        assert_eq!((state.epoch, state.boot_id), (7, [9; 16]));
        assert_eq!(state.committed.to_string(), "4@5000 (7:3)");
        assert_eq!((state.durable_end, state.durable), (end, Seq::new(7, 2)));
        assert_eq!((state.heartbeat, state.closed), (NOW, false));
        assert_eq!(state.pid, std::process::id());
    }

    #[test]
    fn a_new_writer_remembers_what_the_one_before_announced_as_durable() {
        let dir = tempfile::tempdir().unwrap();
        for epoch in 1..=3 {
            let (control, _) = Control::open(&OsStorage, dir.path(), epoch, [0; 16], NOW);
            if epoch == 1 {
                control.durable(Position { seq: Seq::new(1, 50), ..Position::START });
            }
        }
        let state = read(dir.path()).unwrap();
        assert_eq!(state.durable, Seq(0));
        assert_eq!(state.durable_of(1), Some(Seq::new(1, 50)));
        assert_eq!(state.durable_of(2), None);
    }

    #[test]
    fn the_segment_that_is_named_is_the_one_of_the_offset_and_of_the_seq() {
        let dir = tempfile::tempdir().unwrap();
        let (control, _) = Control::open(&OsStorage, dir.path(), 1, [0; 16], NOW);
        // Segments of ten records: seq n ends at (n % 10 + 1) * 100 in segment n / 10 + 1.
        let place =
            |n: u64| Position { segment: SegmentId(n / 10 + 1), offset: (n % 10 + 1) * 100, seq: Seq::new(1, n) };
        control.committed(place(0), 0);
        control.durable(place(0));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                for n in 1..=200_000 {
                    control.committed(place(n), n * 7);
                    control.durable(place(n));
                }
                done.store(true, Ordering::Release);
            });
            let mut looks = 0;
            while !done.load(Ordering::Acquire) || looks == 0 {
                let state = read(dir.path()).unwrap();
                let n = state.committed.seq.counter();
                assert_eq!((state.committed, state.committed_ts_ns), (place(n), n * 7));
                assert_eq!(state.durable_end, place(state.durable_end.seq.counter()));
                looks += 1;
            }
        });
    }

    /// A writer of version 1 knows nothing of groups: the words after the bell are 0.
    #[test]
    fn a_page_of_version_1_is_read_and_its_roll_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (control, _) = Control::open(&OsStorage, dir.path(), 1, [0; 16], NOW);
        let end = Position { segment: SegmentId(3), offset: 900, seq: Seq::new(1, 8) };
        control.committed(end, 5);
        control.store(Word::CommittedBegin, 0);
        assert_eq!(read(dir.path()).unwrap().committed, end);
        control.store(Word::CommittedOffset, 0);
        std::thread::scope(|s| {
            s.spawn(|| {
                std::thread::sleep(LOOK_PAUSE);
                control.store(Word::CommittedSegment, 4);
                control.store(Word::CommittedOffset, 4200);
            });
            let seen = read(dir.path()).unwrap().committed;
            // Where its writer stops in the middle for longer than that, what is there is taken.
            assert!(seen.offset == 4200 || seen.offset == 0, "{seen}");
        });
        assert_eq!(read(dir.path()).unwrap().committed.to_string(), "4@4200 (1:8)");
    }

    #[test]
    fn a_writer_killed_in_the_middle_of_a_change_leaves_a_page_that_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (control, _) = Control::open(&OsStorage, dir.path(), 1, [0; 16], NOW);
        control.committed(Position { segment: SegmentId(1), offset: 900, seq: Seq::new(1, 8) }, 5);
        control.store(Word::CommittedBegin, Seq::new(1, 9).get());
        control.store(Word::CommittedOffset, 940);
        assert_eq!(read(dir.path()).unwrap().committed.to_string(), "1@940 (1:8)");
        let (_, before) = Control::open(&OsStorage, dir.path(), 2, [0; 16], NOW);
        assert_eq!(before.unwrap().committed_ts_ns, 5);
    }

    #[test]
    fn a_page_that_cannot_be_made_is_replaced_by_memory() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let (control, before) = Control::open(&OsStorage, &missing, 1, [0; 16], NOW);
        assert_eq!(before, None);
        control.closed();
        assert_eq!(read(&missing), None);
    }
}
