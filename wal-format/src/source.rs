//! The bytes of one segment, however they are reached: a read buffer over the file for anything
//! that is finished or damaged, the mapping for the live tail.
//!
//! Sealed segments are read through `pread`, so an I/O error is a value and not a signal, and the
//! page cache is the only other copy. The mapping is used for exactly one thing: to see a commit
//! word the moment it is stored and to lend out the published bytes behind it.
//!
//! Owns the file handle, the mapping and the buffer of one segment; knows nothing of the log
//! around it. Never writes.

use std::path::{Path, PathBuf};

use crate::archive::ArchiveFault;
use crate::body::Body;
use crate::checksum;
use crate::footer::FooterSummary;
use crate::header::{HeaderError, SegmentHeader};
use crate::infer;
use crate::layout::{
    BLOCK_BYTES, DATA_START, FOOTER_MAGIC, RECORD_ALIGN, RECORD_CRC_OFFSET, RECORD_HEADER_BYTES, RECORD_SEQ_OFFSET,
    align_record, footer_offset, footer_room, is_segment_length,
};
use crate::prelude::PreludeError;
use crate::read_error::ReadError;
use crate::record::{self, Kind, RecordHeader, Seal, SegmentId, Seq};
use crate::scan::{self, Expect};
use crate::segment;
use crate::sys::ReadMap;

/// The parts of a valid record that a reader needs once its bytes are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordInfo {
    pub seq: Seq,
    pub ts_recv_ns: u64,
    pub conn: u32,
    pub kind_raw: u8,
    pub flags: u8,
    pub payload_bytes: u64,
    /// Header, payload and padding.
    pub total_bytes: u64,
}

/// What stands at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// A record, checksum good.
    Valid(RecordInfo),
    /// Commit word 0, or no room for a record before the end of the data area.
    Empty,
    /// Bytes that are no record.
    Invalid,
}

/// What the header block says, or what had to stand in for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Identified {
        log_uuid: Option<[u8; 16]>,
        epoch: Option<u32>,
    },
    /// A good header that names another segment: a copy, or a file under a wrong name.
    Foreign,
    /// Header and footer damaged, and the records give no start value either.
    Unreadable,
}

/// Where the checksum start value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Header,
    Footer,
    Records,
}

struct Identity {
    proof: Proof,
    log_uuid: Option<[u8; 16]>,
    epoch: Option<u32>,
    crc_initial: u32,
    /// End of the area in which records may stand.
    data_limit: u64,
}

/// How far into the data a start value is looked for when header and footer are gone.
const INFER_REACH_BYTES: u64 = 64 * 1024;

/// How many plausible headers are tried for it. Each costs one slow pass over its record.
const INFER_TRIES_MAX: u32 = 64;

pub(crate) struct Source {
    id: SegmentId,
    path: PathBuf,
    body: Body,
    file_bytes: u64,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
    buffer_len: usize,
    map: Option<ReadMap>,
    identity: Option<Identity>,
    header: Option<SegmentHeader>,
    footer: Option<FooterSummary>,
    false_bytes: u64,
}

impl Source {
    /// Opens the file of segment `id` in `dir`; `None` if there is none.
    pub fn open(dir: &Path, id: SegmentId, chunk_bytes: usize) -> Result<Option<Source>, ReadError> {
        Self::open_path(&segment::path(dir, id), id, chunk_bytes)
    }

    /// Opens a segment file wherever it lies.
    pub fn open_path(path: &Path, id: SegmentId, chunk_bytes: usize) -> Result<Option<Source>, ReadError> {
        let Some(body) = Body::open(path)? else {
            return Ok(None);
        };
        let mut source = Source {
            id,
            path: path.to_path_buf(),
            body,
            file_bytes: 0,
            chunk_bytes: chunk_bytes.max(4096),
            buffer: Vec::new(),
            buffer_at: 0,
            buffer_len: 0,
            map: None,
            identity: None,
            header: None,
            footer: None,
            false_bytes: 0,
        };
        source.measure()?;
        Ok(Some(source))
    }

    fn measure(&mut self) -> Result<(), ReadError> {
        self.file_bytes = self.body.len()?;
        Ok(())
    }

    /// Whether it is an archived segment: finished, and never to be mapped or waited for.
    pub fn is_archived(&self) -> bool {
        self.body.archive().is_some()
    }

    /// Length of the file on disk: of the archive, where it is one.
    pub fn stored_bytes(&self) -> u64 {
        self.body.stored_bytes()
    }

    /// Every fault of an archive, in order; inflates all of it.
    pub fn archive_faults(&self) -> Result<Vec<ArchiveFault>, ReadError> {
        self.body.faults()
    }

    /// From now on damaged frames of an archive read as zeros.
    pub fn read_damage_as_zeros(&mut self) {
        if let Some(archive) = self.body.archive() {
            archive.read_damage_as_zeros();
        }
        self.forget();
    }

    /// Frames inflated and archive bytes read so far.
    pub fn cost(&self) -> (u64, u64) {
        self.body.archive().map_or((0, 0), |archive| (archive.cost().frames, archive.cost().bytes))
    }

    pub fn id(&self) -> SegmentId {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where records must end: the data area, or the file if that was cut short.
    pub fn data_end(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.data_limit.min(self.file_bytes))
    }

    pub fn epoch(&self) -> Option<u32> {
        self.identity.as_ref().and_then(|identity| identity.epoch)
    }

    /// Drops what was buffered, and looks at the file's length again.
    pub fn forget(&mut self) {
        self.buffer_len = 0;
        // A failed stat leaves the old length: the next read reports the real trouble.
        let _ = self.measure();
    }

    /// Goes on by `pread` only.
    pub fn unmap(&mut self) {
        self.map = None;
    }

    /// Maps the file read-only, to see new records without system calls. An archive grows no more and is not mapped.
    pub fn map_live(&mut self) -> Result<(), ReadError> {
        if self.is_archived() {
            return Ok(());
        }
        let map = ReadMap::new(self.body.file(), self.data_end()).map_err(|source| ReadError::Io {
            path: self.path.clone(),
            offset: 0,
            source,
        })?;
        self.map = Some(map);
        Ok(())
    }

    /// Makes `offset .. offset + len` available in the buffer. False if the file ends before.
    fn load(&mut self, offset: u64, len: usize) -> Result<bool, ReadError> {
        let end = offset.saturating_add(len as u64);
        if offset >= self.buffer_at && end <= self.buffer_at + self.buffer_len as u64 {
            return Ok(true);
        }
        if end > self.file_bytes {
            return Ok(false);
        }
        let want = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX).min(len.max(self.chunk_bytes));
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        self.buffer_len = 0;
        self.buffer_at = offset;
        while self.buffer_len < want {
            let at = offset + self.buffer_len as u64;
            let Some(space) = self.buffer.get_mut(self.buffer_len..want) else {
                break;
            };
            match self.body.read_at(space, at) {
                Ok(0) => break,
                Ok(n) => self.buffer_len += n,
                // What was wanted is there; the trouble lies in the read-ahead.
                Err(_) if self.buffer_len >= len => break,
                Err(err) => return Err(err),
            }
            // One frame at a time: what lies behind it may never be asked for.
            if self.buffer_len >= len && self.body.archive().is_some() {
                break;
            }
        }
        Ok(self.buffer_len >= len)
    }

    /// The buffered bytes from `offset` on, at most `len`.
    fn buffered(&self, offset: u64, len: usize) -> &[u8] {
        let start = offset.checked_sub(self.buffer_at).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.buffer
            .get(..self.buffer_len)
            .and_then(|bytes| bytes.get(start..))
            .map_or(&[], |bytes| bytes.get(..len).unwrap_or(bytes))
    }

    /// The commit word at `offset`, as it is now: never a buffered zero. 0 past the end.
    pub fn commit_word(&mut self, offset: u64) -> Result<u32, ReadError> {
        if let Some(map) = &self.map {
            return Ok(map.commit_word(offset).unwrap_or(0));
        }
        if let Some(word) = self.buffered(offset, 4).first_chunk::<4>() {
            let word = u32::from_le_bytes(*word);
            if word != 0 {
                return Ok(word);
            }
        }
        let mut word = [0_u8; 4];
        if !self.body.read_exact_at(&mut word, offset)? {
            return Ok(0);
        }
        let word = u32::from_le_bytes(word);
        if word != 0 {
            // The buffer is older than this word.
            self.buffer_len = 0;
        }
        Ok(word)
    }
}

impl Source {
    /// Reads the header block and finds out how to check the records: by the header, by the
    /// footer's copy of the start value, or by the records themselves.
    ///
    /// To be called only after a first commit word was seen (or to judge a finished file): the
    /// header of a prepared segment may still be replaced before that.
    pub fn admit(&mut self) -> Result<Admission, ReadError> {
        self.identity = None;
        self.footer = None;
        self.header = None;
        let mut block = vec![0; BLOCK_BYTES as usize];
        let decoded = match self.read_exact_at(&mut block, 0) {
            Ok(true) => SegmentHeader::decode(&block),
            Ok(false) => Err(PreludeError::Damaged.into()),
            // A block that cannot be read is a damaged block: the footer may still do.
            Err(_) => Err(PreludeError::Damaged.into()),
        };
        match decoded {
            Ok(header) => {
                if header.segment != self.id {
                    return Ok(Admission::Foreign);
                }
                self.identity = Some(Identity {
                    proof: Proof::Header,
                    log_uuid: Some(header.log_uuid),
                    epoch: Some(header.epoch),
                    crc_initial: header.crc_initial(),
                    data_limit: header.data_limit(),
                });
                self.header = Some(header);
            }
            Err(HeaderError::Prelude(PreludeError::NewerVersion { got, newest })) => {
                return Err(ReadError::NewerVersion { path: self.path.clone(), got, newest });
            }
            Err(_) => {
                self.identity = self.identity_of_footer()?;
                if self.identity.is_none() {
                    self.identity = self.identity_of_records();
                }
            }
        }
        Ok(match &self.identity {
            Some(identity) => Admission::Identified { log_uuid: identity.log_uuid, epoch: identity.epoch },
            None => Admission::Unreadable,
        })
    }

    /// The id that header or footer claim, if one of them is valid.
    pub fn claimed_id(&self) -> Result<Option<SegmentId>, ReadError> {
        let mut block = vec![0; BLOCK_BYTES as usize];
        if self.read_exact_at(&mut block, 0)?
            && let Ok(header) = SegmentHeader::decode(&block)
        {
            return Ok(Some(header.segment));
        }
        if !is_segment_length(self.file_bytes) {
            return Ok(None);
        }
        let footer = self.read_footer(footer_offset(self.file_bytes))?;
        Ok(footer.map(|footer| footer.segment))
    }

    /// Whether both are the same file on disk.
    pub fn same_file(&self, other: &Source) -> bool {
        self.body.same_file(&other.body)
    }

    /// The header, if it is valid and was read by `admit`.
    pub fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// How the records can be checked, once `admit` found a way.
    pub fn proof(&self) -> Option<Proof> {
        self.identity.as_ref().map(|identity| identity.proof)
    }

    /// Start value of the record checksums, once known.
    pub fn crc_initial(&self) -> Option<u32> {
        self.identity.as_ref().map(|identity| identity.crc_initial)
    }

    fn identity_of_footer(&mut self) -> Result<Option<Identity>, ReadError> {
        if !is_segment_length(self.file_bytes) {
            return Ok(None);
        }
        let limit = footer_offset(self.file_bytes);
        let Some(footer) = self.read_footer(limit)? else {
            return Ok(None);
        };
        if footer.segment != self.id || footer.end_offset > limit {
            return Ok(None);
        }
        let identity = Identity {
            proof: Proof::Footer,
            log_uuid: Some(footer.log_uuid),
            epoch: Some(footer.epoch),
            crc_initial: footer.crc_initial,
            data_limit: limit,
        };
        self.footer = Some(footer);
        Ok(Some(identity))
    }

    /// Two records in a row that agree on a start value prove it (see `infer`).
    fn identity_of_records(&mut self) -> Option<Identity> {
        if !is_segment_length(self.file_bytes) {
            return None;
        }
        let limit = footer_offset(self.file_bytes);
        let mut tries = 0;
        let mut at = DATA_START;
        while tries < INFER_TRIES_MAX && at < limit.min(DATA_START + INFER_REACH_BYTES) {
            if let Some((first, epoch, after)) = self.implied_start(at, limit) {
                tries += 1;
                if let Some((second, same, _)) = self.implied_start(after, limit)
                    && first == second
                    && epoch == same
                {
                    return Some(Identity {
                        proof: Proof::Records,
                        log_uuid: None,
                        epoch: Some(epoch),
                        crc_initial: first,
                        data_limit: limit,
                    });
                }
            }
            at += RECORD_ALIGN as u64;
        }
        None
    }

    /// Start value and epoch that the record at `at` would have, and where the next one starts.
    fn implied_start(&mut self, at: u64, limit: u64) -> Option<(u32, u32, u64)> {
        if at + RECORD_HEADER_BYTES as u64 > limit || !self.load(at, RECORD_HEADER_BYTES).ok()? {
            return None;
        }
        let header = RecordHeader::decode(self.buffered(at, RECORD_HEADER_BYTES).first_chunk()?);
        let total = align_record(record::committed_len(header.commit).ok()?);
        let after = at + total as u64;
        if header.reserved != 0 || after > limit {
            return None;
        }
        let covered = if header.kind_raw == Kind::Hole as u8 { RECORD_HEADER_BYTES } else { total };
        if !self.load(at, covered).ok()? {
            return None;
        }
        let rest = self.buffered(at, covered).get(RECORD_SEQ_OFFSET..)?;
        let start = infer::initial_of(header.crc, &[&header.commit.to_le_bytes(), rest]);
        debug_assert_eq!(RECORD_CRC_OFFSET, 4);
        Some((start, header.seq.epoch(), after))
    }

    /// The footer, if there is a valid one that fits this segment. Looks again while there is
    /// none: the syncer or recovery may just have written it.
    pub fn footer(&mut self) -> Result<Option<&FooterSummary>, ReadError> {
        if self.footer.is_none()
            && let Some(identity) = &self.identity
        {
            let (limit, initial) = (identity.data_limit, identity.crc_initial);
            let (log_uuid, epoch) = (identity.log_uuid, identity.epoch);
            // A footer that cannot be read is as good as none.
            let footer = self.read_footer(limit).unwrap_or(None);
            self.footer = footer.filter(|footer| {
                footer.segment == self.id
                    && footer.crc_initial == initial
                    && log_uuid.is_none_or(|uuid| uuid == footer.log_uuid)
                    && epoch.is_none_or(|epoch| epoch == footer.epoch)
                    && (DATA_START..=limit).contains(&footer.end_offset)
            });
        }
        Ok(self.footer.as_ref())
    }

    /// Whether the place of the footer, as far as the file's length tells it, begins like one.
    pub fn has_footer(&self) -> Result<bool, ReadError> {
        let mut magic = [0; FOOTER_MAGIC.len()];
        Ok(is_segment_length(self.file_bytes)
            && self.read_exact_at(&mut magic, footer_offset(self.file_bytes))?
            && magic == FOOTER_MAGIC)
    }

    fn read_footer(&self, at: u64) -> Result<Option<FooterSummary>, ReadError> {
        let mut magic = [0; FOOTER_MAGIC.len()];
        if !self.read_exact_at(&mut magic, at)? || magic != FOOTER_MAGIC {
            return Ok(None);
        }
        let room = self.file_bytes.saturating_sub(at);
        let most = footer_room(crate::layout::SEGMENT_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(room.min(most)).unwrap_or(0)];
        if !self.read_exact_at(&mut bytes, at)? {
            return Ok(None);
        }
        match FooterSummary::decode(&bytes) {
            Ok(footer) => Ok(Some(footer)),
            Err(PreludeError::NewerVersion { got, newest }) => {
                Err(ReadError::NewerVersion { path: self.path.clone(), got, newest })
            }
            Err(_) => Ok(None),
        }
    }

    /// Fills `out` from the file. False if the file ends before.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<bool, ReadError> {
        self.body.read_exact_at(out, offset)
    }
}

impl Source {
    /// The buffered payload of a record that `check` just found valid.
    pub fn payload(&self, offset: u64, info: &RecordInfo) -> &[u8] {
        let at = offset + RECORD_HEADER_BYTES as u64;
        let len = usize::try_from(info.payload_bytes).unwrap_or(0);
        match &self.map {
            Some(map) => map.published(at, len).unwrap_or(&[]),
            None => self.buffered(at, len),
        }
    }

    /// The content of a SEAL record that `check` just found valid.
    pub fn seal(&self, offset: u64, info: &RecordInfo) -> Option<Seal> {
        if info.kind_raw != Kind::Seal as u8 {
            return None;
        }
        Seal::decode(self.payload(offset, info))
    }

    /// Judges what stands at `offset`. Its payload can be borrowed until the next call.
    pub fn check(&mut self, offset: u64) -> Result<Check, ReadError> {
        let Some((epoch, crc_initial)) = self.identity.as_ref().map(|i| (i.epoch, i.crc_initial)) else {
            return Ok(Check::Invalid);
        };
        let room = self.data_end().saturating_sub(offset);
        if !offset.is_multiple_of(RECORD_ALIGN as u64) {
            return Ok(Check::Invalid);
        }
        if room < RECORD_HEADER_BYTES as u64 {
            return Ok(Check::Empty);
        }
        let word = self.commit_word(offset)?;
        if word == 0 {
            return Ok(Check::Empty);
        }
        let Ok(len) = record::committed_len(word) else {
            return Ok(Check::Invalid);
        };
        let total = align_record(len);
        if total as u64 > room {
            return Ok(Check::Invalid);
        }
        let header = match self.bytes_at(offset, RECORD_HEADER_BYTES)?.first_chunk() {
            Some(head) => RecordHeader::decode(head),
            None => return Ok(Check::Invalid),
        };
        if header.commit != word || header.reserved != 0 {
            return Ok(Check::Invalid);
        }
        if epoch.is_some_and(|epoch| header.seq.epoch() != epoch) {
            return Ok(Check::Invalid);
        }
        // A hole lies over bytes nobody vouches for: its header alone is covered, and they need
        // not even be read.
        let covered = if header.kind_raw == Kind::Hole as u8 { RECORD_HEADER_BYTES } else { total };
        let bytes = self.bytes_at(offset, covered)?;
        let Some(rest) = bytes.get(RECORD_SEQ_OFFSET..) else {
            return Ok(Check::Invalid);
        };
        if bytes.len() < covered || checksum::record(crc_initial, word, rest) != header.crc {
            return Ok(Check::Invalid);
        }
        Ok(Check::Valid(RecordInfo {
            seq: header.seq,
            ts_recv_ns: header.ts_recv_ns,
            conn: header.conn,
            kind_raw: header.kind_raw,
            flags: header.flags,
            payload_bytes: (len - RECORD_HEADER_BYTES) as u64,
            total_bytes: total as u64,
        }))
    }

    /// Up to `len` bytes from `offset` on, of a record whose commit word was seen.
    fn bytes_at(&mut self, offset: u64, len: usize) -> Result<&[u8], ReadError> {
        if self.map.is_some() {
            return Ok(self.map.as_ref().and_then(|map| map.published(offset, len)).unwrap_or(&[]));
        }
        self.load(offset, len)?;
        Ok(self.buffered(offset, len))
    }

    /// The first valid record at or after `from` and before `limit` whose seq is at least
    /// `least`. Blocks that cannot be read are stepped over.
    pub fn scan(&mut self, from: u64, limit: u64, least: Seq) -> Result<Option<u64>, ReadError> {
        let end = limit.min(self.data_end());
        let expect = Expect { least, epoch: self.epoch() };
        let mut at = from.next_multiple_of(RECORD_ALIGN as u64);
        self.map = None;
        while at + RECORD_HEADER_BYTES as u64 <= end {
            match self.load(at, RECORD_HEADER_BYTES) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(_) => {
                    at = (at + 1).next_multiple_of(BLOCK_BYTES);
                    continue;
                }
            }
            let room = end - at;
            let window = self.buffered(at, usize::try_from(room).unwrap_or(usize::MAX));
            let Some(index) = scan::candidate(window, room, &expect) else {
                // A header may straddle the window's end.
                let done = window.len().saturating_sub(RECORD_HEADER_BYTES - RECORD_ALIGN);
                at += (done as u64).next_multiple_of(RECORD_ALIGN as u64).max(8);
                continue;
            };
            at += index as u64;
            match self.try_candidate(at) {
                Ok(true) => return Ok(Some(at)),
                Ok(false) | Err(_) => at += RECORD_ALIGN as u64,
            }
        }
        Ok(None)
    }

    fn try_candidate(&mut self, at: u64) -> Result<bool, ReadError> {
        let len = record::committed_len(self.commit_word(at)?).unwrap_or(0) as u64;
        if self.false_bytes > scan::FALSE_BYTES_MAX && len > scan::SHORT_BYTES {
            return Ok(false);
        }
        if matches!(self.check(at)?, Check::Valid(_)) {
            return Ok(true);
        }
        self.false_bytes = self.false_bytes.saturating_add(len);
        Ok(false)
    }
}
