//! The bytes of a chunk into its steps.

use wal_format::{Incarnation, Position, Run, SegmentId, Seq};

use super::body::{ChunkStep, Walk};
use super::{BODY_BYTES_MAX, ChunkError, ChunkHeader, HEAD_BYTES, MAGIC, VERSION, is_venue};

/// A chunk of which every byte was checked.
#[derive(Debug)]
pub struct Chunk {
    header: ChunkHeader,
    body: Vec<u8>,
    walk: Walk,
    end: Position,
}

impl Chunk {
    /// Checks all of a chunk: checksums, lengths, every entry, the order of its numbers.
    ///
    /// # Errors
    /// Says what is wrong with it; nothing of it may be believed then.
    pub fn open(bytes: &[u8]) -> Result<Chunk, ChunkError> {
        let (header, packed) = header(bytes)?;
        let body_bytes = header.body_bytes as usize;
        let body =
            zstd::bulk::decompress(packed, body_bytes).map_err(|err| ChunkError::Inflate { what: err.to_string() })?;
        if body.len() != body_bytes {
            return Err(ChunkError::Length { expected: body_bytes as u64, got: body.len() as u64 });
        }
        let crc = crc32fast::hash(&body);
        if crc != header.body_crc {
            return Err(ChunkError::Checksum { of: "body", expected: header.body_crc, got: crc });
        }
        let start = Walk::new(header.start, header.first, header.run);
        let mut walk = start.clone();
        let (mut records, mut lost, mut ts_ns) = (0_u32, 0_u32, None);
        while let Some(step) = walk.next(&body)? {
            match step {
                ChunkStep::Record(record) => {
                    records = records.saturating_add(1);
                    let first = ts_ns.map_or(record.ts_recv_ns, |(first, _)| first);
                    ts_ns = Some((first, record.ts_recv_ns));
                }
                ChunkStep::Lost(..) => lost = lost.saturating_add(1),
            }
        }
        let at = body.len();
        if records.saturating_add(lost) == 0 || walk.expected != header.last.next() {
            return Err(ChunkError::Body { at, what: "it ends before or after the last seq that the header names" });
        }
        if (records, lost, ts_ns) != (header.records, header.lost, header.ts_ns) {
            return Err(ChunkError::Body { at, what: "counts or times are not those of the header" });
        }
        let end = walk.position;
        Ok(Chunk { header, body, walk: start, end })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &ChunkHeader {
        &self.header
    }

    /// The position of the log's reader after its last step.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The position of the log's reader here.
    #[must_use]
    pub fn position(&self) -> Position {
        self.walk.position
    }

    /// The next step; `None` at its end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<ChunkStep<'_>> {
        // All of it was walked once.
        self.walk.next(&self.body).ok().flatten()
    }

    /// Whether all its steps were taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.walk.is_done(self.body.len())
    }

    /// Passes over the steps that lie before `seq` as a whole.
    pub fn skip_to(&mut self, seq: Seq) {
        loop {
            let before = self.walk.clone();
            let last = match self.next() {
                Some(ChunkStep::Record(record)) => record.seq,
                Some(ChunkStep::Lost(lost, _)) => lost.to,
                None => return,
            };
            if last >= seq {
                self.walk = before;
                return;
            }
        }
    }

    /// Its content, to be compared with another one's.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// The header of a chunk and its packed body, the checksum of both good.
fn header(bytes: &[u8]) -> Result<(ChunkHeader, &[u8]), ChunkError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(ChunkError::Magic);
    }
    let too_short = |expected: usize| ChunkError::Length { expected: expected as u64, got: bytes.len() as u64 };
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| too_short(HEAD_BYTES))?;
    let version = u16::from_le_bytes([head[8], head[9]]);
    match version {
        VERSION => {}
        0 => return Err(ChunkError::Header { at: 8, what: "there is no version 0" }),
        found => return Err(ChunkError::Newer { found }),
    }
    let (words, _) = head.as_chunks::<8>();
    let long = |at: usize| words.get(at / 8).map_or(0, |word| u64::from_le_bytes(*word));
    let (words, _) = head.as_chunks::<4>();
    let short = |at: usize| words.get(at / 4).map_or(0, |word| u32::from_le_bytes(*word));
    let (venue_bytes, packed_bytes) = (usize::from(head[10]), short(112) as usize);
    let expected = HEAD_BYTES.saturating_add(venue_bytes).saturating_add(packed_bytes);
    if bytes.len() != expected {
        return Err(too_short(expected));
    }
    let mut crc = crc32fast::Hasher::new();
    for part in [bytes.get(..12).unwrap_or_default(), &[0; 4], bytes.get(16..).unwrap_or_default()] {
        crc.update(part);
    }
    let crc = crc.finalize();
    if crc != short(12) {
        return Err(ChunkError::Checksum { of: "chunk", expected: short(12), got: crc });
    }
    let (venue, packed) = rest.split_at_checked(venue_bytes).ok_or_else(|| too_short(expected))?;
    let wrong = |at, what| ChunkError::Header { at, what };
    if !is_venue(venue) {
        return Err(wrong(HEAD_BYTES, "the venue is no name of a log"));
    }
    if head[11] != 0 || short(116) != 0 {
        return Err(wrong(11, "a reserved byte is not zero"));
    }
    let (first, last) = (Seq(long(40)), Seq(long(48)));
    if last < first {
        return Err(wrong(48, "the last seq is before the first"));
    }
    if short(104) as usize > BODY_BYTES_MAX {
        return Err(wrong(104, "the body would be longer than any is"));
    }
    let mut log_uuid = [0; 16];
    log_uuid.copy_from_slice(&head[16..32]);
    let ts_ns = (short(96) > 0).then(|| (long(80), long(88)));
    let header = ChunkHeader {
        venue: String::from_utf8_lossy(venue).into_owned(),
        log_uuid,
        run: Run { epoch: first.epoch(), incarnation: Incarnation(long(32)) },
        first,
        last,
        start: Position { segment: SegmentId(long(56)), offset: long(64), seq: Seq(long(72)) },
        ts_ns,
        records: short(96),
        lost: short(100),
        body_bytes: short(104),
        body_crc: short(108),
    };
    Ok((header, packed))
}
