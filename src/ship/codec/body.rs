//! Entries of a body, and the walk over them.

use wal_format::{LostRange, LostReason, Position, RecordRef, Run, SegmentId, Seq};

use super::{ChunkError, after_record};

pub(super) const RECORD: u8 = 1;
pub(super) const PLACE: u8 = 2;
pub(super) const LOST: u8 = 3;
/// Bytes of a record's entry in front of its payload.
pub(super) const RECORD_BYTES: usize = 20;
pub(super) const PLACE_BYTES: usize = 32;
pub(super) const LOST_BYTES: usize = 48;
const EXACT: u8 = 1;
const BELOW_DURABLE: u8 = 2;

/// One step of whoever reads a chunk.
#[derive(Clone, Debug)]
pub enum ChunkStep<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// A lost range, and the position of the reader after it.
    Lost(LostRange, Position),
}

/// Reasons as they are stored: never renumber, never reuse.
const REASONS: [(u8, LostReason); 7] = [
    (1, LostReason::Hole),
    (2, LostReason::Damage),
    (3, LostReason::UncleanEnd),
    (4, LostReason::MissingSegment),
    (5, LostReason::ArchiveFrame),
    (6, LostReason::Unreadable),
    (7, LostReason::Unreachable),
];

pub(super) fn put_record(out: &mut Vec<u8>, record: &RecordRef<'_>, payload_bytes: u32) {
    let mut head = [0; RECORD_BYTES];
    [head[0], head[1], head[2]] = [RECORD, record.kind_raw, record.flags];
    head[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    head[8..16].copy_from_slice(&record.ts_recv_ns.to_le_bytes());
    head[16..].copy_from_slice(&record.conn.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(record.payload);
}

pub(super) fn put_place(out: &mut Vec<u8>, at: Position) {
    out.extend_from_slice(&[PLACE, 0, 0, 0, 0, 0, 0, 0]);
    [at.segment.0, at.offset, at.seq.0].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

pub(super) fn put_lost(out: &mut Vec<u8>, lost: &LostRange) {
    let reason = REASONS.iter().find(|(_, reason)| *reason == lost.reason).map_or(0, |(number, _)| *number);
    let flags = if lost.exact { EXACT } else { 0 } | if lost.below_durable { BELOW_DURABLE } else { 0 };
    out.extend_from_slice(&[LOST, reason, flags, 0, 0, 0, 0, 0]);
    let words = [lost.from.0, lost.to.0, lost.segment.0, lost.offset, lost.bytes];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Where somebody who reads a body is. Knows the rule of the order of seqs; the bytes are handed in.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Byte of the next entry.
    at: usize,
    pub(super) position: Position,
    pub(super) expected: Seq,
    run: Run,
}

impl Walk {
    pub(super) fn new(start: Position, first: Seq, run: Run) -> Self {
        Self { at: 0, position: start, expected: first, run }
    }

    /// Whether the body of so many bytes is at its end.
    pub(super) fn is_done(&self, body_bytes: usize) -> bool {
        self.at >= body_bytes
    }

    /// The next step; `None` at the end of the body. The position is the one after it, places that follow included.
    pub(super) fn next<'a>(&mut self, body: &'a [u8]) -> Result<Option<ChunkStep<'a>>, ChunkError> {
        self.places(body)?;
        let at = self.at;
        let wrong = |what| ChunkError::Body { at, what };
        let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
        let step = match rest.first() {
            Some(&RECORD) => {
                let Some((head, rest)) = rest.split_first_chunk::<RECORD_BYTES>() else {
                    return Err(wrong("the head of a record is cut"));
                };
                let [_, kind_raw, flags, zero, l0, l1, l2, l3, ts @ .., c0, c1, c2, c3] = *head;
                let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
                let payload = rest.get(..payload_bytes).ok_or_else(|| wrong("the payload of a record is cut"))?;
                if zero != 0 {
                    return Err(wrong("reserved byte of a record is not zero"));
                }
                let position = self.position;
                if position.seq != self.expected || position.seq.epoch() != self.run.epoch {
                    return Err(wrong("a record has not the seq that is expected"));
                }
                self.at = at.saturating_add(RECORD_BYTES).saturating_add(payload_bytes);
                self.position = after_record(position, payload_bytes);
                self.expected = self.position.seq;
                self.places(body)?;
                ChunkStep::Record(RecordRef {
                    position,
                    next: self.position,
                    seq: position.seq,
                    ts_recv_ns: u64::from_le_bytes(ts),
                    conn: u32::from_le_bytes([c0, c1, c2, c3]),
                    kind_raw,
                    flags,
                    payload,
                })
            }
            Some(&LOST) => {
                let lost = lost(rest).ok_or_else(|| wrong("a lost range cannot be read"))?;
                if lost.from != self.expected || lost.to < lost.from {
                    return Err(wrong("a lost range does not begin at the seq that is expected, or ends before it"));
                }
                self.at = at.saturating_add(LOST_BYTES);
                self.expected = lost.to.next();
                self.position.seq = self.expected;
                self.places(body)?;
                ChunkStep::Lost(lost, self.position)
            }
            _ => return Err(wrong("an entry is of no known kind")),
        };
        Ok(Some(step))
    }

    /// Takes the places that stand here.
    fn places(&mut self, body: &[u8]) -> Result<(), ChunkError> {
        while body.get(self.at) == Some(&PLACE) {
            let at = self.at;
            let place =
                body.get(at..).and_then(place).ok_or(ChunkError::Body { at, what: "a place cannot be read" })?;
            self.position = place;
            self.at = at.saturating_add(PLACE_BYTES);
        }
        Ok(())
    }
}

/// Word `n` after the first 8 bytes of an entry.
fn word(entry: &[u8], n: usize) -> Option<u64> {
    let (words, _) = entry.get(8..)?.as_chunks::<8>();
    words.get(n).map(|word| u64::from_le_bytes(*word))
}

fn place(entry: &[u8]) -> Option<Position> {
    let zero = entry.get(1..8)?.iter().all(|b| *b == 0);
    let (segment, offset, seq) = (word(entry, 0)?, word(entry, 1)?, word(entry, 2)?);
    zero.then_some(Position { segment: SegmentId(segment), offset, seq: Seq(seq) })
}

fn lost(entry: &[u8]) -> Option<LostRange> {
    let [_, reason, flags, zero @ ..] = *entry.first_chunk::<8>()?;
    let (_, reason) = *REASONS.iter().find(|(number, _)| *number == reason)?;
    let good = zero == [0; 5] && flags & !(EXACT | BELOW_DURABLE) == 0;
    let lost = LostRange {
        from: Seq(word(entry, 0)?),
        to: Seq(word(entry, 1)?),
        exact: flags & EXACT != 0,
        segment: SegmentId(word(entry, 2)?),
        offset: word(entry, 3)?,
        bytes: word(entry, 4)?,
        reason,
        below_durable: flags & BELOW_DURABLE != 0,
    };
    good.then_some(lost)
}
