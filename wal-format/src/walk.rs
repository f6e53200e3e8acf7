//! One segment from its first record to its end, over damage: what is valid, what is not, and
//! the counts that a footer needs.
//!
//! Read-only. Recovery walks a segment before it writes to it, `verify` walks it to judge it.

use crate::footer::{FooterSummary, HoleEntry, IndexEntry, KindCount, SealedBy};
use crate::layout::{
    DATA_START, FOOTER_HOLES_MAX, INDEX_STRIDE_BYTES, RECORD_HEADER_BYTES, SEAL_PAYLOAD_BYTES, SEGMENT_BYTES_MAX,
};
use crate::read_error::{ReadError, RepairError};
use crate::record::{Kind, Seal, SegmentId, Seq, flags};
use crate::repair::Mode;
use crate::source::{Check, RecordInfo, Source};

/// Bytes that a walk, and what follows it, reads or writes at a time.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// A footer has room for this many kinds.
const FOOTER_KINDS_MAX: usize = 16;

/// Damaged bytes under HOLE records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoleSpan {
    /// First damaged byte in the segment.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// The seq expected there.
    pub from: Seq,
    /// The last lost seq, if a record after the damage gives it; below `from` if none is lost.
    pub to: Option<Seq>,
    /// What is lost here had been reported durable.
    pub below_durable: bool,
}

/// One damaged range of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DamagedSpan {
    pub span: HoleSpan,
    /// A HOLE record already covers it.
    pub written: bool,
}

/// What a walk found.
#[derive(Default)]
pub(crate) struct Walk {
    /// Valid records, HOLE and SEAL not counted.
    pub records: u64,
    /// First and last valid record: seq and receive time.
    pub first: Option<(Seq, u64)>,
    pub last: Option<(Seq, u64)>,
    pub counts: Vec<KindCount>,
    pub index: Vec<IndexEntry>,
    /// Damage inside the data, in order: under HOLE records already, or still open.
    pub damaged: Vec<DamagedSpan>,
    /// Where the last valid record ends.
    pub end: u64,
    /// A SEAL is at `end` (before it was counted): its content, total length, seq and receive time.
    pub seal: Option<(Seal, u64, Seq, u64)>,
    /// Records that the SEAL of recovery says were between the last one and it, without a trace in between.
    pub cut: Option<HoleSpan>,
    /// First byte after the last one that is not zero, if any is after `end`.
    pub noise_end: Option<u64>,
    /// The highest seq that a SYNC record calls durable.
    pub durable: Option<Seq>,
    /// The commit word at `end` is not 0: a record was committed there and is damaged.
    pub committed_noise: bool,
}

/// Walks the whole data area, over damage too. `carry` is the seq that the segment before led to
/// expect, if it is known.
///
/// # Errors
/// What the file system reports, and in [`Mode::Strict`] the first damage.
pub(crate) fn walk(source: &mut Source, carry: Option<Seq>, mode: Mode) -> Result<Walk, RepairError> {
    let epoch = source.epoch();
    let mut walk = Walk::default();
    let start = Seq::new(epoch.unwrap_or(0), 0);
    let mut expected = carry.filter(|c| Some(c.epoch()) == epoch).unwrap_or(start);
    let mut at = DATA_START;
    loop {
        let found = match source.check(at)? {
            Check::Valid(info) if info.seq >= expected => Some(info),
            _ => None,
        };
        if let Some(info) = found {
            if info.kind_raw == Kind::Hole as u8 {
                let below_durable = info.flags & flags::DURABLE_LOST != 0;
                walk.gap(
                    HoleSpan { offset: at, bytes: info.total_bytes, from: expected, to: None, below_durable },
                    true,
                );
            } else {
                let seal = source.seal(at, &info);
                walk.ends_before(at, info.seq, expected, seal.as_ref());
                if let Some(seal) = seal {
                    walk.end = at;
                    walk.seal = Some((seal, info.total_bytes, info.seq, info.ts_recv_ns));
                    return Ok(walk);
                }
                walk.count(at, &info);
                if info.kind_raw == Kind::Sync as u8
                    && let Some(seq) = source.payload(at, &info).first_chunk::<8>()
                {
                    walk.durable = walk.durable.max(Some(Seq(u64::from_le_bytes(*seq))));
                }
                expected = info.seq.next();
            }
            at += info.total_bytes;
            continue;
        }
        // A lost record took at least a header.
        let resume = at + RECORD_HEADER_BYTES as u64;
        let island = source.scan(resume, u64::MAX, expected)?;
        if island.is_some() {
            // Beside a live writer the place may have been filled meanwhile: records are published
            // in order, so whatever is before the island is visible by now.
            source.forget();
            if matches!(source.check(at)?, Check::Valid(info) if info.seq >= expected) {
                continue;
            }
        }
        match island {
            Some(island) if mode != Mode::Prefix => {
                if mode == Mode::Strict {
                    return Err(RepairError::Damaged { path: source.path().to_path_buf(), offset: at });
                }
                let span = HoleSpan { offset: at, bytes: island - at, from: expected, to: None, below_durable: false };
                walk.gap(span, false);
                at = island;
            }
            _ => {
                walk.end = at;
                walk.committed_noise = source.commit_word(at)? != 0;
                walk.noise_end = last_byte(source, at, source.data_end())?;
                return Ok(walk);
            }
        }
    }
}

/// First byte after the last one in `from..to` that is not zero; `None` if all are.
pub(crate) fn last_byte(source: &Source, from: u64, to: u64) -> Result<Option<u64>, ReadError> {
    // What lies after the longest segment is none of its bytes: a file of any length costs no more than that.
    let to = to.min(source.file_bytes()).min(SEGMENT_BYTES_MAX);
    let mut buffer = vec![0; 256 * 1024];
    for (first, mut end) in source.data_ranges(from, to)?.into_iter().rev() {
        while end > first {
            let start = end.saturating_sub(buffer.len() as u64).max(first);
            let len = usize::try_from(end - start).unwrap_or(0);
            let piece = buffer.get_mut(..len).unwrap_or(&mut []);
            if !source.read_exact_at(piece, start)? {
                return Ok(None);
            }
            if let Some(last) = last_nonzero(piece) {
                return Ok(Some(start + last as u64 + 1));
            }
            end = start;
        }
    }
    Ok(None)
}

/// Index of the last byte that is not zero. A hundred megabytes of zeros lie after the records of a young segment: they
/// are looked at a block at a time, which the compiler does with vectors.
fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    for block in bytes.rchunks(4096) {
        end -= block.len();
        if block.iter().fold(0, |all, byte| all | byte) != 0 {
            return block.iter().rposition(|byte| *byte != 0).map(|at| end + at);
        }
    }
    None
}

impl Walk {
    fn gap(&mut self, span: HoleSpan, written: bool) {
        // Chained HOLE records are one span.
        if let Some(last) = self.damaged.last_mut()
            && last.written == written
            && last.span.offset + last.span.bytes == span.offset
            && last.span.from == span.from
        {
            last.span.bytes += span.bytes;
            last.span.below_durable |= span.below_durable;
            return;
        }
        self.damaged.push(DamagedSpan { span, written });
    }

    /// The record `seq` shows where a lost range before it ends. The SEAL of recovery only does where its number is not the
    /// one expected: then it is the one after the last record that is known to have been there.
    fn ends_before(&mut self, at: u64, seq: Seq, expected: Seq, seal: Option<&Seal>) {
        let by_recovery = seal.is_some_and(|seal| seal.by_recovery);
        let below_durable = seal.is_some_and(|seal| seal.below_durable);
        if by_recovery && seq <= expected {
            return;
        }
        let to = Some(Seq(seq.0.saturating_sub(1)));
        let mut open = false;
        // Spans of several pieces, some written and some not, begin with the same number.
        for gap in self.damaged.iter_mut().rev().take_while(|gap| gap.span.to.is_none()) {
            gap.span.to = to;
            gap.span.below_durable |= below_durable;
            open = true;
        }
        if by_recovery && !open {
            self.cut = Some(HoleSpan { offset: at, bytes: 0, from: expected, to, below_durable });
        }
    }

    fn count(&mut self, at: u64, info: &RecordInfo) {
        self.records += 1;
        self.first.get_or_insert((info.seq, info.ts_recv_ns));
        self.last = Some((info.seq, info.ts_recv_ns));
        tally(&mut self.counts, info.kind_raw, info.payload_bytes);
        let stride = (at - DATA_START) / INDEX_STRIDE_BYTES;
        let last = self.index.last().map(|entry| (entry.offset - DATA_START) / INDEX_STRIDE_BYTES);
        if last.is_none_or(|last| stride > last) {
            self.index.push(IndexEntry { seq: info.seq.0, ts_recv_ns: info.ts_recv_ns, offset: at });
        }
    }

    /// The footer that these records deserve.
    pub fn summary(&self, facts: &FooterInput<'_>) -> FooterSummary {
        let mut records = self.records;
        let mut last = self.last;
        let mut counts = self.counts.clone();
        if !facts.seal.by_recovery {
            records += 1;
            last = Some((facts.seal_seq, facts.ts));
            tally(&mut counts, Kind::Seal as u8, SEAL_PAYLOAD_BYTES as u64);
        }
        counts.sort_by_key(|count| count.kind);
        counts.truncate(FOOTER_KINDS_MAX);
        let first = self.first.or(last);
        let holes = facts
            .holes
            .iter()
            .take(FOOTER_HOLES_MAX)
            .map(|hole| HoleEntry {
                offset: hole.offset,
                bytes: hole.bytes,
                from: hole.from.0,
                to: hole.to.unwrap_or(hole.from).0,
            })
            .collect();
        FooterSummary {
            log_uuid: facts.log_uuid,
            boot_id: facts.boot_id,
            segment: facts.id,
            next: facts.seal.next,
            epoch: facts.epoch,
            first_seq: first.map(|(seq, _)| seq),
            last_seq: last.map(|(seq, _)| seq),
            first_ts_ns: first.map_or(0, |(_, ts)| ts),
            last_ts_ns: last.map_or(0, |(_, ts)| ts),
            records,
            end_offset: facts.end,
            crc_initial: facts.initial,
            data_crc: facts.data_crc,
            sealed_by: if facts.seal.by_recovery { SealedBy::Recovery } else { SealedBy::Writer },
            synced: true,
            clean_end: facts.seal.clean_end,
            counts,
            index: self.index.clone(),
            holes,
            holes_total: facts.holes.len() as u64,
        }
    }
}

/// What a footer says besides the walk's own counts.
pub(crate) struct FooterInput<'a> {
    pub log_uuid: [u8; 16],
    pub boot_id: [u8; 16],
    pub id: SegmentId,
    pub epoch: u32,
    pub initial: u32,
    pub end: u64,
    pub seal: Seal,
    pub seal_seq: Seq,
    pub ts: u64,
    pub holes: &'a [HoleSpan],
    pub data_crc: u32,
}

fn tally(counts: &mut Vec<KindCount>, kind: u8, payload_bytes: u64) {
    match counts.iter_mut().find(|count| count.kind == kind) {
        Some(count) => {
            count.records += 1;
            count.payload_bytes += payload_bytes;
        }
        None => counts.push(KindCount { records: 1, payload_bytes, kind }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_last_byte_is_found_wherever_it_is_and_holes_cost_no_reading() {
        let bytes = |len: usize, at: Option<usize>| {
            let mut bytes = vec![0; len];
            at.map(|at| bytes.get_mut(at).map(|b| *b = 1));
            bytes
        };
        for len in [0, 1, 4095, 4096, 4097, 20_000] {
            assert_eq!(last_nonzero(&bytes(len, None)), None);
            for at in [0, 1, 4095, 4096, 4097, 8192, 19_999].into_iter().filter(|at| *at < len) {
                assert_eq!(last_nonzero(&bytes(len, Some(at))), Some(at), "{at} of {len}");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = crate::segment::path(dir.path(), SegmentId(1));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let last =
            || last_byte(&Source::open_path(&path, SegmentId(1), 1 << 16).unwrap().unwrap(), 8192, 64 << 20).unwrap();
        assert_eq!(last(), None);
        file.write_all_at(b"x", 100).unwrap();
        assert_eq!(last(), None, "it lies before");
        for at in [8192, 1 << 20, (64 << 20) - 1] {
            file.write_all_at(b"x", at).unwrap();
            assert_eq!(last(), Some(at + 1));
        }
        file.write_all_at(&[0], (64 << 20) - 1).unwrap();
        assert_eq!(last(), Some((1 << 20) + 1), "zeros that were written are zeros");
    }
}
