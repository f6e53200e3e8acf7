//! Steps of a reader into the bytes of a chunk.

use std::fmt;

use wal_format::{Incarnation, LostRange, Position, RecordRef, Run, Seq};

use super::body::{LOST_BYTES, PLACE_BYTES, RECORD_BYTES, put_lost, put_place, put_record};
use super::{BODY_BYTES_MAX, ChunkHeader, HEAD_BYTES, MAGIC, PackError, VERSION, after_record, is_venue};

/// Compresses bodies; kept from chunk to chunk, for its tables are large.
pub struct Packer(zstd::bulk::Compressor<'static>);

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// One of zstd level `level`.
    ///
    /// # Errors
    /// When there is no memory for it, or no such level.
    pub fn new(level: i32) -> Result<Self, PackError> {
        Ok(Self(zstd::bulk::Compressor::new(level).map_err(PackError::Compress)?))
    }
}

/// A chunk as it is put into the store.
#[derive(Debug)]
pub struct PackedChunk {
    /// What it says of itself; its name.
    pub header: ChunkHeader,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its body before it was compressed; the next chunk may have the memory.
    pub body: Vec<u8>,
}

/// A chunk that is being filled: steps of one run, as a reader of its log gives them.
#[derive(Debug)]
pub struct ChunkWriter {
    venue: String,
    log_uuid: [u8; 16],
    start: Position,
    /// First and last seq, once there is a step.
    range: Option<(Seq, Seq)>,
    ts_ns: Option<(u64, u64)>,
    records: u32,
    lost: u32,
    position: Position,
    body: Vec<u8>,
}

impl ChunkWriter {
    /// One of the log `log_uuid` in a directory called `venue`, which begins at `start`, the position of the reader. It
    /// takes the memory of `body`, which is emptied.
    ///
    /// # Errors
    /// When the venue's name can be in no header.
    pub fn new(venue: &str, log_uuid: [u8; 16], start: Position, mut body: Vec<u8>) -> Result<Self, PackError> {
        if !is_venue(venue.as_bytes()) {
            return Err(PackError::Venue(venue.to_owned()));
        }
        body.clear();
        let venue = venue.to_owned();
        Ok(Self { venue, log_uuid, start, range: None, ts_ns: None, records: 0, lost: 0, position: start, body })
    }

    /// Whether nothing is in it yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// Bytes of its body so far.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Its last seq so far.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.range.map(|(_, last)| last)
    }

    /// The position of the reader after its last step.
    #[must_use]
    pub fn end(&self) -> Position {
        self.position
    }

    /// Whether a step with this seq is of its run: one of another run begins the next chunk.
    #[must_use]
    pub fn takes(&self, seq: Seq) -> bool {
        self.range.is_none_or(|(first, _)| first.epoch() == seq.epoch())
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// When it is not the next one, or there is no room; nothing is added then.
    pub fn record(&mut self, record: &RecordRef<'_>) -> Result<(), PackError> {
        self.check(record.seq)?;
        self.check_place(record)?;
        let payload_bytes = u32::try_from(record.payload.len()).map_err(|_| PackError::TooLong)?;
        self.room(RECORD_BYTES.saturating_add(record.payload.len()))?;
        self.go(record.position);
        put_record(&mut self.body, record, payload_bytes);
        self.position = after_record(record.position, record.payload.len());
        self.go(record.next);
        let first = self.ts_ns.map_or(record.ts_recv_ns, |(first, _)| first);
        self.ts_ns = Some((first, record.ts_recv_ns));
        self.records = self.records.saturating_add(1);
        self.range = Some((self.range.map_or(record.seq, |(first, _)| first), record.seq));
        Ok(())
    }

    /// Adds the next lost range; `next` is the position of the reader after it.
    ///
    /// # Errors
    /// As [`ChunkWriter::record`].
    pub fn lost(&mut self, lost: &LostRange, next: Position) -> Result<(), PackError> {
        self.check(lost.from)?;
        self.room(LOST_BYTES)?;
        put_lost(&mut self.body, lost);
        self.position.seq = lost.to.next();
        self.go(next);
        self.lost = self.lost.saturating_add(1);
        self.range = Some((self.range.map_or(lost.from, |(first, _)| first), lost.to));
        Ok(())
    }

    /// The chunk, of the run with this incarnation. `None` when nothing is in it.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub fn finish(self, incarnation: Incarnation, packer: &mut Packer) -> Result<Option<PackedChunk>, PackError> {
        let Some((first, last)) = self.range else { return Ok(None) };
        let packed = packer.0.compress(&self.body).map_err(PackError::Compress)?;
        let header = ChunkHeader {
            venue: self.venue,
            log_uuid: self.log_uuid,
            run: Run { epoch: first.epoch(), incarnation },
            first,
            last,
            start: self.start,
            ts_ns: self.ts_ns,
            records: self.records,
            lost: self.lost,
            body_bytes: u32::try_from(self.body.len()).map_err(|_| PackError::TooLong)?,
            body_crc: crc32fast::hash(&self.body),
        };
        let bytes = encode(&header, &packed)?;
        Ok(Some(PackedChunk { header, bytes, body: self.body }))
    }

    /// Whether a step with this seq follows.
    fn check(&self, seq: Seq) -> Result<(), PackError> {
        let Some((first, last)) = self.range else { return Ok(()) };
        let (epoch, expected) = (first.epoch(), last.next());
        if seq != expected || seq.epoch() != epoch {
            return Err(PackError::Order { got: seq, epoch, expected });
        }
        Ok(())
    }

    /// A record lies where the reader was, by its number.
    fn check_place(&self, record: &RecordRef<'_>) -> Result<(), PackError> {
        let expected = record.position.seq;
        if expected == record.seq {
            return Ok(());
        }
        Err(PackError::Order { got: record.seq, epoch: expected.epoch(), expected })
    }

    /// Whether an entry of so many bytes has room, with a place before and after it.
    fn room(&self, bytes: usize) -> Result<(), PackError> {
        let end = self.body.len().saturating_add(bytes).saturating_add(2 * PLACE_BYTES);
        if end > BODY_BYTES_MAX { Err(PackError::TooLong) } else { Ok(()) }
    }

    /// The reader is at `at` now.
    fn go(&mut self, at: Position) {
        if self.position != at {
            put_place(&mut self.body, at);
            self.position = at;
        }
    }
}

/// Header and packed body as the bytes of the object.
pub(super) fn encode(header: &ChunkHeader, packed: &[u8]) -> Result<Vec<u8>, PackError> {
    let venue = header.venue.as_bytes();
    let packed_bytes = u32::try_from(packed.len()).map_err(|_| PackError::TooLong)?;
    let venue_bytes = u8::try_from(venue.len()).map_err(|_| PackError::Venue(header.venue.clone()))?;
    let mut out = Vec::with_capacity(HEAD_BYTES + venue.len() + packed.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    // The checksum follows when all it covers is there.
    out.extend_from_slice(&[venue_bytes, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&header.log_uuid);
    let (first_ts_ns, last_ts_ns) = header.ts_ns.unwrap_or((u64::MAX, u64::MAX));
    let start = header.start;
    let words = [
        header.run.incarnation.0, header.first.0, header.last.0, start.segment.0, start.offset, start.seq.0,
        first_ts_ns, last_ts_ns,
    ];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let words = [header.records, header.lost, header.body_bytes, header.body_crc, packed_bytes, 0];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out.extend_from_slice(venue);
    out.extend_from_slice(packed);
    let crc = crc32fast::hash(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}
