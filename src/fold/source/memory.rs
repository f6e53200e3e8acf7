//! A log in memory: records given by value. For tests of those who read, and for the proof that a [`RecordSource`] needs no
//! files.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wal_format::{Append, Incarnation, LostRange, LostReason, OwnedRecord, Position, SegmentId, Seq};

use super::seam::{RecordSource, SourceError, Step};

/// A record or a lost range. Readers share the records instead of copying them.
#[derive(Clone)]
enum Entry {
    Record(Arc<OwnedRecord>),
    Lost(LostRange),
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts records into a [`MemoryLog`]. Clones write and read the same one.
#[derive(Clone)]
pub struct MemoryWriter {
    shared: Arc<Shared>,
    next: Position,
}

impl Default for MemoryWriter {
    fn default() -> Self {
        // As the first run of a log of files does it.
        let next = Position { segment: SegmentId(1), offset: 0, seq: Seq::new(1, 0) };
        Self { shared: Arc::default(), next }
    }
}

impl MemoryWriter {
    /// Appends a record.
    pub fn append(&mut self, record: &Append<'_>) -> Seq {
        let Append { ts_recv_ns, conn, kind, flags, payload } = *record;
        let (position, kind_raw) = (self.next, kind as u8);
        let offset = position.offset.saturating_add(payload.len() as u64).saturating_add(1);
        self.next = Position { offset, seq: position.seq.next(), ..position };
        let (next, payload) = (self.next, payload.to_vec());
        let record = OwnedRecord { position, next, seq: position.seq, ts_recv_ns, conn, kind_raw, flags, payload };
        self.push(Entry::Record(Arc::new(record)));
        position.seq
    }

    /// The next `records` were written and cannot be read.
    pub fn lose(&mut self, records: u64, reason: LostReason) {
        let Position { segment, offset, seq: from } = self.next;
        let Some(more) = records.checked_sub(1) else { return };
        let to = Seq(from.get().saturating_add(more));
        self.next.seq = to.next();
        let lost = LostRange { from, to, exact: true, segment, offset, bytes: 0, reason, below_durable: false };
        self.push(Entry::Lost(lost));
    }

    /// Nothing comes after what is there.
    pub fn end(&self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
    }

    /// A reader that begins at `from`.
    #[must_use]
    pub fn read(&self, from: Position) -> MemoryLog {
        MemoryLog { shared: Arc::clone(&self.shared), at: 0, position: from, lent: None }
    }

    fn push(&self, entry: Entry) {
        self.shared.state().entries.push(entry);
        self.shared.changed.notify_all();
    }
}

/// Reads what a [`MemoryWriter`] wrote.
pub struct MemoryLog {
    shared: Arc<Shared>,
    at: usize,
    position: Position,
    /// What the last step borrows.
    lent: Option<Arc<OwnedRecord>>,
}

impl RecordSource for MemoryLog {
    fn next(&mut self) -> Result<Step<'_>, SourceError> {
        let state = self.shared.state();
        let from = self.position.seq;
        loop {
            let Some(entry) = state.entries.get(self.at) else {
                return Ok(if state.ended { Step::End } else { Step::Tail });
            };
            self.at += 1;
            match entry {
                Entry::Record(record) if record.seq >= from => {
                    self.position = record.next;
                    return Ok(Step::Record(self.lent.insert(Arc::clone(record)).borrowed()));
                }
                Entry::Lost(lost) if lost.to >= from => {
                    let lost = LostRange { from: lost.from.max(from), ..*lost };
                    self.position = Position { segment: lost.segment, offset: lost.offset, seq: lost.to.next() };
                    return Ok(Step::Lost(lost));
                }
                // It was read before this reader was opened.
                Entry::Record(_) | Entry::Lost(_) => {}
            }
        }
    }

    fn position(&self) -> Position {
        self.position
    }

    fn incarnation_of(&self, _: u32) -> Incarnation {
        Incarnation::VERSION_1
    }

    fn wait(&mut self, most: Duration) {
        let quiet = |state: &mut State| state.entries.len() <= self.at && !state.ended;
        drop(self.shared.changed.wait_timeout_while(self.shared.state(), most, quiet));
    }

    fn committed(&self) -> Option<Position> {
        match self.shared.state().entries.last()? {
            Entry::Record(record) => Some(record.next),
            Entry::Lost(lost) => Some(Position { segment: lost.segment, offset: lost.offset, seq: lost.to.next() }),
        }
    }
}
