//! The footer of a sealed segment: a summary that can be rebuilt from the records, and the proof
//! that they are on disk.
//!
//! It is at `layout::footer_offset`, which the SEAL record repeats, and is written by the
//! syncer after the data range is durable (`synced` set), or by recovery. It is never evidence
//! against the records: whoever doubts it walks them.

use crate::layout::{FOOTER_HOLES_MAX, FOOTER_MAGIC, FOOTER_VERSION, INDEX_STRIDE_BYTES, footer_room};
use crate::prelude::{self, PreludeError};
use crate::record::{SegmentId, Seq};

/// Records of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedKindCount, derive(Debug))]
pub struct KindCount {
    /// Records.
    pub records: u64,
    /// Sum of their payloads, in bytes.
    pub payload_bytes: u64,
    /// The kind byte.
    pub kind: u8,
}

/// One entry of the sparse index: the first record at or after each 256 KiB of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedIndexEntry, derive(Debug))]
pub struct IndexEntry {
    /// Its number.
    pub seq: u64,
    /// Its receive time.
    pub ts_recv_ns: u64,
    /// Where it starts in the file.
    pub offset: u64,
}

/// A range that recovery found unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedHoleEntry, derive(Debug))]
pub struct HoleEntry {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// First lost seq.
    pub from: u64,
    /// Last lost seq, inclusive; below `from` if no seq is missing.
    pub to: u64,
}

/// Who closed a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SealedBy {
    /// Its own writer.
    Writer = 1,
    /// Recovery, after the writer died.
    Recovery = 2,
}

/// Body of version 1, as stored.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedFooterV1)]
struct FooterV1 {
    log_uuid: [u8; 16],
    boot_id: [u8; 16],
    segment_id: u64,
    next_segment: u64,
    first_seq: u64,
    last_seq: u64,
    first_ts_ns: u64,
    last_ts_ns: u64,
    records: u64,
    data_end: u64,
    holes_total: u64,
    epoch: u32,
    crc_initial: u32,
    data_crc: u32,
    sealed_by: u8,
    synced: u8,
    clean_end: u8,
    counts: Vec<KindCount>,
    index: Vec<IndexEntry>,
    holes: Vec<HoleEntry>,
}

/// What a footer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterSummary {
    /// Identity of the log.
    pub log_uuid: [u8; 16],
    /// The machine run in which the footer was written; zero if unknown.
    pub boot_id: [u8; 16],
    /// This segment.
    pub segment: SegmentId,
    /// The segment to read next; see `clean_end`.
    pub next: SegmentId,
    /// The run of the writer that owned the segment.
    pub epoch: u32,
    /// First record; `None` in a segment without records before its SEAL written by recovery.
    pub first_seq: Option<Seq>,
    /// Last record, the SEAL included.
    pub last_seq: Option<Seq>,
    /// Receive time of the first record.
    pub first_ts_ns: u64,
    /// Receive time of the last record.
    pub last_ts_ns: u64,
    /// Records, SEAL included.
    pub records: u64,
    /// First byte after the SEAL record.
    pub end_offset: u64,
    /// Start value of the record checksums: lets records be read though the header is lost.
    pub crc_initial: u32,
    /// CRC-32/IEEE over all bytes from the data start to `end_offset`.
    pub data_crc: u32,
    /// Who closed it.
    pub sealed_by: SealedBy,
    /// The data was on disk before the footer was written.
    pub synced: bool,
    /// The writer closed the log here: no segment is promised to follow.
    pub clean_end: bool,
    /// Records per kind byte.
    pub counts: Vec<KindCount>,
    /// Sparse index.
    pub index: Vec<IndexEntry>,
    /// The first HOLE spans, at most 64.
    pub holes: Vec<HoleEntry>,
    /// How many HOLE spans there are in all.
    pub holes_total: u64,
}

impl FooterSummary {
    /// Prelude and body; what follows up to the end of the file stays zero.
    ///
    /// `None` if it does not fit the room of a segment of this length, which an index with the
    /// usual stride and 16 kinds always does.
    #[must_use]
    pub fn encode(&self, segment_bytes: u64) -> Option<Vec<u8>> {
        let mut holes = self.holes.clone();
        holes.truncate(FOOTER_HOLES_MAX);
        let body = FooterV1 {
            log_uuid: self.log_uuid,
            boot_id: self.boot_id,
            segment_id: self.segment.0,
            next_segment: self.next.0,
            first_seq: self.first_seq.map_or(u64::MAX, Seq::get),
            last_seq: self.last_seq.map_or(u64::MAX, Seq::get),
            first_ts_ns: self.first_ts_ns,
            last_ts_ns: self.last_ts_ns,
            records: self.records,
            data_end: self.end_offset,
            holes_total: self.holes_total.max(self.holes.len() as u64),
            epoch: self.epoch,
            crc_initial: self.crc_initial,
            data_crc: self.data_crc,
            sealed_by: self.sealed_by as u8,
            synced: u8::from(self.synced),
            clean_end: u8::from(self.clean_end),
            counts: self.counts.clone(),
            index: self.index.clone(),
            holes,
        };
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(&body).ok()?;
        let room = usize::try_from(footer_room(segment_bytes)).ok()?;
        prelude::encode(FOOTER_MAGIC, FOOTER_VERSION, &body, room)
    }

    /// Reads a footer from the bytes at the footer's place.
    ///
    /// # Errors
    /// [`PreludeError`] says what is wrong; [`PreludeError::Zero`] if there never was one.
    pub fn decode(bytes: &[u8]) -> Result<Self, PreludeError> {
        let (_, body) = prelude::decode(FOOTER_MAGIC, FOOTER_VERSION, bytes)?;
        let footer =
            rkyv::from_bytes::<FooterV1, rkyv::rancor::Error>(&body).map_err(|e| PreludeError::Body(e.to_string()))?;
        let sealed_by = match footer.sealed_by {
            1 => SealedBy::Writer,
            2 => SealedBy::Recovery,
            other => return Err(PreludeError::Body(format!("sealed_by holds {other}"))),
        };
        let seq = |raw: u64| (raw != u64::MAX).then_some(Seq(raw));
        Ok(FooterSummary {
            log_uuid: footer.log_uuid,
            boot_id: footer.boot_id,
            segment: SegmentId(footer.segment_id),
            next: SegmentId(footer.next_segment),
            epoch: footer.epoch,
            first_seq: seq(footer.first_seq),
            last_seq: seq(footer.last_seq),
            first_ts_ns: footer.first_ts_ns,
            last_ts_ns: footer.last_ts_ns,
            records: footer.records,
            end_offset: footer.data_end,
            crc_initial: footer.crc_initial,
            data_crc: footer.data_crc,
            sealed_by,
            synced: footer.synced == 1,
            clean_end: footer.clean_end == 1,
            counts: footer.counts,
            index: footer.index,
            holes: footer.holes,
            holes_total: footer.holes_total,
        })
    }

    /// Bytes that [`FooterSummary::decode`] used of `bytes`: prelude and body.
    #[must_use]
    pub fn encoded_len(bytes: &[u8]) -> usize {
        prelude::encoded_len(bytes)
    }
}

/// Kinds listed in a footer: 64 entries of 24 bytes leave the fixed room with space to spare.
const KINDS_STORED_MAX: usize = 64;

/// Kinds up to this number are counted without a search.
const KINDS_DIRECT: usize = 32;

/// Collects a footer record by record, in log order: used by the writer as it appends and by
/// recovery as it walks.
#[derive(Clone, Debug)]
pub struct FooterBuilder {
    direct: [KindCount; KINDS_DIRECT],
    other: Vec<KindCount>,
    index: Vec<IndexEntry>,
    index_due: u64,
    first: Option<(Seq, u64)>,
    last: Option<(Seq, u64)>,
    records: u64,
    holes: Vec<HoleEntry>,
    holes_total: u64,
}

/// What a footer says beside the records themselves.
#[derive(Clone, Copy, Debug)]
pub struct FooterFacts {
    /// Identity of the log.
    pub log_uuid: [u8; 16],
    /// The machine run; zero if unknown.
    pub boot_id: [u8; 16],
    /// The segment.
    pub segment: SegmentId,
    /// The segment named by the SEAL record.
    pub next: SegmentId,
    /// The run of the writer that owned the segment.
    pub epoch: u32,
    /// First byte after the SEAL record.
    pub end_offset: u64,
    /// Start value of the record checksums.
    pub crc_initial: u32,
    /// CRC-32/IEEE over all bytes from the data start to `end_offset`.
    pub data_crc: u32,
    /// Who closes it.
    pub sealed_by: SealedBy,
    /// The data is on disk.
    pub synced: bool,
    /// The SEAL says that the writer closed the log.
    pub clean_end: bool,
}

impl FooterBuilder {
    /// Nothing collected yet; room for the index of a segment of this length is taken now, so
    /// that [`FooterBuilder::record`] does not allocate.
    #[must_use]
    pub fn new(segment_bytes: u64) -> Self {
        let entries = usize::try_from(segment_bytes / INDEX_STRIDE_BYTES + 1).unwrap_or(0);
        FooterBuilder {
            direct: std::array::from_fn(|kind| KindCount { records: 0, payload_bytes: 0, kind: kind as u8 }),
            other: Vec::new(),
            index: Vec::with_capacity(entries),
            index_due: 0,
            first: None,
            last: None,
            records: 0,
            holes: Vec::new(),
            holes_total: 0,
        }
    }

    /// Takes note of a record that starts at `offset` of the segment.
    #[inline]
    pub fn record(&mut self, offset: u64, seq: Seq, ts_recv_ns: u64, kind_raw: u8, payload_bytes: u64) {
        let count = match self.direct.get_mut(usize::from(kind_raw)) {
            Some(count) => count,
            None => other_kind(&mut self.other, kind_raw),
        };
        count.records += 1;
        count.payload_bytes += payload_bytes;
        self.records += 1;
        if self.first.is_none() {
            self.first = Some((seq, ts_recv_ns));
        }
        self.last = Some((seq, ts_recv_ns));
        if offset >= self.index_due {
            self.index.push(IndexEntry { seq: seq.get(), ts_recv_ns, offset });
            self.index_due = (offset / INDEX_STRIDE_BYTES + 1) * INDEX_STRIDE_BYTES;
        }
    }

    /// Takes note of a damaged range.
    pub fn hole(&mut self, hole: HoleEntry) {
        self.holes_total += 1;
        if self.holes.len() < FOOTER_HOLES_MAX {
            self.holes.push(hole);
        }
    }

    /// Records taken note of so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The last record taken note of: seq and receive time.
    #[must_use]
    pub fn last(&self) -> Option<(Seq, u64)> {
        self.last
    }

    /// The footer of what was collected.
    #[must_use]
    pub fn finish(self, facts: &FooterFacts) -> FooterSummary {
        let mut counts: Vec<KindCount> =
            self.direct.into_iter().chain(self.other).filter(|count| count.records != 0).collect();
        // Kinds of newer versions beyond what fits are still in `records`.
        counts.truncate(KINDS_STORED_MAX);
        FooterSummary {
            log_uuid: facts.log_uuid,
            boot_id: facts.boot_id,
            segment: facts.segment,
            next: facts.next,
            epoch: facts.epoch,
            first_seq: self.first.map(|(seq, _)| seq),
            last_seq: self.last.map(|(seq, _)| seq),
            first_ts_ns: self.first.map_or(0, |(_, ts)| ts),
            last_ts_ns: self.last.map_or(0, |(_, ts)| ts),
            records: self.records,
            end_offset: facts.end_offset,
            crc_initial: facts.crc_initial,
            data_crc: facts.data_crc,
            sealed_by: facts.sealed_by,
            synced: facts.synced,
            clean_end: facts.clean_end,
            counts,
            index: self.index,
            holes: self.holes,
            holes_total: self.holes_total,
        }
    }
}

#[cold]
fn other_kind(other: &mut Vec<KindCount>, kind: u8) -> &mut KindCount {
    let at = match other.iter().position(|count| count.kind == kind) {
        Some(at) => at,
        None => {
            other.push(KindCount { records: 0, payload_bytes: 0, kind });
            other.len() - 1
        }
    };
    &mut other[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN};

    fn full(segment_bytes: u64) -> FooterSummary {
        FooterSummary {
            log_uuid: [1; 16],
            boot_id: [2; 16],
            segment: SegmentId(4),
            next: SegmentId(5),
            epoch: 2,
            first_seq: Some(Seq::new(2, 10)),
            last_seq: Some(Seq::new(2, 99)),
            first_ts_ns: 1,
            last_ts_ns: 2,
            records: 90,
            end_offset: 40_000,
            crc_initial: 77,
            data_crc: 78,
            sealed_by: SealedBy::Writer,
            synced: true,
            clean_end: false,
            counts: (0..=255)
                .map(|kind| KindCount { records: 1, payload_bytes: 2, kind })
                .take(KINDS_STORED_MAX)
                .collect(),
            index: (0..segment_bytes / INDEX_STRIDE_BYTES + 1)
                .map(|n| IndexEntry { seq: n, ts_recv_ns: n, offset: n })
                .collect(),
            holes: (0..FOOTER_HOLES_MAX as u64).map(|n| HoleEntry { offset: n, bytes: 64, from: n, to: n }).collect(),
            holes_total: 64,
        }
    }

    #[test]
    fn the_fullest_footer_fits_its_room_in_segments_of_every_size() {
        for bytes in [SEGMENT_BYTES_MIN, 1 << 20, SEGMENT_BYTES_DEFAULT, 1 << 30] {
            let footer = full(bytes);
            let encoded = footer.encode(bytes).unwrap();
            assert_eq!(FooterSummary::decode(&encoded), Ok(footer));
            assert_eq!(FooterSummary::encoded_len(&encoded), encoded.len());
        }
    }

    #[test]
    fn every_flipped_bit_of_a_footer_is_detected() {
        let mut footer = full(SEGMENT_BYTES_MIN);
        footer.holes.truncate(2);
        let mut bytes = footer.encode(SEGMENT_BYTES_MIN).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FooterSummary::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn an_unwritten_footer_is_distinguished_from_a_damaged_one() {
        assert_eq!(FooterSummary::decode(&[0; 8192]), Err(PreludeError::Zero));
        assert!(matches!(FooterSummary::decode(&[1; 8192]), Err(PreludeError::Magic { .. })));
    }

    #[test]
    fn a_builder_counts_per_kind_and_indexes_every_256_kib() {
        let mut builder = FooterBuilder::new(1 << 20);
        for n in 0..1000_u64 {
            let kind = if n % 10 == 0 { 200 } else { 1 };
            builder.record(4096 + n * 1000, Seq::new(1, n), n, kind, 8);
        }
        let footer = builder.finish(&FooterFacts {
            log_uuid: [1; 16],
            boot_id: [0; 16],
            segment: SegmentId(1),
            next: SegmentId(2),
            epoch: 1,
            end_offset: 1_004_096,
            crc_initial: 0,
            data_crc: 0,
            sealed_by: SealedBy::Recovery,
            synced: false,
            clean_end: false,
        });
        assert_eq!(footer.records, 1000);
        let kinds: Vec<_> = footer.counts.iter().map(|c| (c.kind, c.records)).collect();
        assert_eq!(kinds, [(1, 900), (200, 100)]);
        assert_eq!(footer.index.len(), 4);
        assert_eq!(footer.index[1].offset / INDEX_STRIDE_BYTES, 1);
        assert_eq!(footer.last_seq, Some(Seq::new(1, 999)));
    }

    #[test]
    fn a_segment_without_records_has_no_first_and_last() {
        let mut footer = full(SEGMENT_BYTES_MIN);
        footer.first_seq = None;
        footer.last_seq = None;
        let bytes = footer.encode(SEGMENT_BYTES_MIN).unwrap();
        assert_eq!(FooterSummary::decode(&bytes), Ok(footer));
    }
}
