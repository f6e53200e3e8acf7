//! Logs made byte by byte, without a writer: every state a crash can leave, on demand.

use std::path::{Path, PathBuf};

use wal_format::header::SegmentHeader;
use wal_format::layout::{DATA_START, footer_offset};
use wal_format::record::{self, RecordHeader};
use wal_format::{ClockPair, Incarnation, Kind, Seal, SegmentId, Seq};

pub const SEGMENT_BYTES: u64 = 64 * 1024;
pub const UUID: [u8; 16] = [0x7A; 16];
/// That of every run made here.
pub const INCARNATION: Incarnation = Incarnation(0xcafe_0000_0000_0001);

/// One segment in memory, to be changed at will and then written.
pub struct SegmentBuilder {
    pub id: u64,
    pub epoch: u32,
    pub bytes: Vec<u8>,
    /// Where the next record goes.
    pub at: usize,
    pub counter: u64,
    pub initial: u32,
}

impl SegmentBuilder {
    pub fn new(id: u64, epoch: u32, counter: u64) -> Self {
        Self::of_boot(id, epoch, counter, [0xB0; 16])
    }

    pub fn of_boot(id: u64, epoch: u32, counter: u64, boot_id: [u8; 16]) -> Self {
        let header = SegmentHeader {
            log_uuid: UUID,
            segment: SegmentId(id),
            epoch,
            incarnation: INCARNATION,
            salt: id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(epoch),
            segment_bytes: SEGMENT_BYTES,
            created: ClockPair::default(),
            boot_id,
            writer_version: "test".into(),
        };
        let mut bytes = header.encode();
        bytes.resize(SEGMENT_BYTES as usize, 0);
        SegmentBuilder { id, epoch, bytes, at: DATA_START as usize, counter, initial: header.crc_initial() }
    }

    pub fn seq(&self) -> Seq {
        Seq::new(self.epoch, self.counter)
    }

    fn put(&mut self, seq: Seq, kind: Kind, payload: &[u8]) -> usize {
        let header = RecordHeader::new(seq, seq.0, 1, kind, 0, payload.len()).unwrap();
        let mut out = Vec::new();
        assert!(record::encode_into(&mut out, self.initial, header, payload));
        let at = self.at;
        self.bytes[at..at + out.len()].copy_from_slice(&out);
        self.at += out.len();
        at
    }

    /// With a DATA record of each text.
    pub fn with(mut self, texts: &[&str]) -> Self {
        for text in texts {
            self.data(text.as_bytes());
        }
        self
    }

    /// With a SEAL that leads to segment `next`.
    pub fn sealed(mut self, next: u64) -> Self {
        self.seal(next);
        self
    }

    /// Appends a record; returns its offset.
    pub fn record(&mut self, kind: Kind, payload: &[u8]) -> usize {
        let seq = self.seq();
        self.counter += 1;
        self.put(seq, kind, payload)
    }

    pub fn data(&mut self, payload: &[u8]) -> usize {
        self.record(Kind::Data, payload)
    }

    /// Records that were appended and then lost with the page cache: room, and a jump in seq.
    pub fn lost(&mut self, records: u64, bytes: usize) {
        self.counter += records;
        self.at += bytes;
    }

    pub fn seal(&mut self, next: u64) -> usize {
        let seal = Seal {
            next: SegmentId(next),
            footer_offset: footer_offset(SEGMENT_BYTES),
            by_recovery: false,
            clean_end: false,
            below_durable: false,
        };
        self.record(Kind::Seal, &seal.encode())
    }

    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join(format!("{:020}.wal", self.id));
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }
}
