//! The CONTROL page: what the running writer says about itself, for status tools and lag.
//!
//! 4 KiB of little-endian u64 words, each stored and loaded on its own as an atomic. A reader may
//! see words of different instants, a killed writer leaves it as it was, and a full disk can keep
//! it from existing at all. So it is a hint, never evidence: recovery uses it only as a lower
//! bound to complain about ("seq 900 was announced durable, the log ends at 850").

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{BLOCK_BYTES, CONTROL_FILE};
use crate::record::{ClockPair, Position, SegmentId, Seq};
use crate::storage::Storage;
use crate::sys::{ReadMap, Window};

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
}

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
    /// When the writer last gave a sign of life, about once a second.
    pub heartbeat: ClockPair,
    /// Failed syncs.
    pub sync_errors: u64,
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
}

/// Reads the page of the log in `dir`; `None` if there is none or it is not one.
#[must_use]
pub fn read(dir: &Path) -> Option<ControlState> {
    let file = File::open(dir.join(CONTROL_FILE)).ok()?;
    let map = ReadMap::new(&file, BLOCK_BYTES).ok()?;
    decode(|word| map.load_word(word as usize * 8).unwrap_or(0))
}

fn decode(load: impl Fn(Word) -> u64) -> Option<ControlState> {
    if load(Word::Magic) != CONTROL_MAGIC {
        return None;
    }
    let mut boot_id = [0; 16];
    boot_id[..8].copy_from_slice(&load(Word::BootIdLow).to_le_bytes());
    boot_id[8..].copy_from_slice(&load(Word::BootIdHigh).to_le_bytes());
    Some(ControlState {
        pid: u32::try_from(load(Word::Pid)).ok()?,
        boot_id,
        epoch: u32::try_from(load(Word::Epoch)).ok()?,
        committed: Position {
            segment: SegmentId(load(Word::CommittedSegment)),
            offset: load(Word::CommittedOffset),
            seq: Seq(load(Word::CommittedSeq)),
        },
        committed_ts_ns: load(Word::CommittedTs),
        durable_end: Position {
            segment: SegmentId(load(Word::DurableSegment)),
            offset: load(Word::DurableOffset),
            seq: Seq(load(Word::DurableSeq)),
        },
        durable: Seq(load(Word::DurableSeq)),
        previous_durable: Seq(load(Word::PreviousDurableSeq)),
        heartbeat: ClockPair { wall_ns: load(Word::HeartbeatWall), mono_ns: load(Word::HeartbeatMono) },
        sync_errors: load(Word::SyncErrors),
        roll_stalls: load(Word::RollStalls),
        closed: load(Word::Closed) != 0,
    })
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
        let before = decode(|word| control.load(word));
        control.store(Word::Magic, 0);
        for word in 1..=Word::PreviousDurableSeq as usize {
            if let Some(word) = control.window.word(word * 8) {
                word.store(0, Ordering::Relaxed);
            }
        }
        let previous = before.map_or(Seq(0), |b| b.durable.max(b.previous_durable));
        control.store(Word::PreviousDurableSeq, previous.get());
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

    fn load(&self, word: Word) -> u64 {
        self.word(word).map_or(0, |word| u64::from_le(word.load(Ordering::Relaxed)))
    }

    /// A record was committed in the active segment.
    #[inline]
    pub fn committed(&self, end: u64, seq: Seq, ts_recv_ns: u64) {
        self.store(Word::CommittedOffset, end);
        self.store(Word::CommittedSeq, seq.get());
        self.store(Word::CommittedTs, ts_recv_ns);
    }

    /// The writer moved to another segment.
    pub fn active(&self, segment: SegmentId) {
        self.store(Word::CommittedOffset, 0);
        self.store(Word::CommittedSegment, segment.0);
    }

    /// Everything before `end` is on disk.
    pub fn durable(&self, end: Position) {
        self.store(Word::DurableSegment, end.segment.0);
        self.store(Word::DurableOffset, end.offset);
        self.store(Word::DurableSeq, end.seq.get());
    }

    /// Still alive.
    pub fn heartbeat(&self, now: ClockPair) {
        self.store(Word::HeartbeatWall, now.wall_ns);
        self.store(Word::HeartbeatMono, now.mono_ns);
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
        control.active(SegmentId(4));
        control.committed(5000, Seq::new(7, 3), 99);
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
    fn a_page_that_cannot_be_made_is_replaced_by_memory() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let (control, before) = Control::open(&OsStorage, &missing, 1, [0; 16], NOW);
        assert_eq!(before, None);
        control.closed();
        assert_eq!(read(&missing), None);
    }
}
