//! Whose segment it is and how its records are checked: by the header, by the footer, or by the records themselves.

use super::Source;
use super::identity::{Admission, Identity, Proof};
use crate::footer::FooterSummary;
use crate::header::{HeaderError, SegmentHeader};
use crate::infer;
use crate::layout::{
    BLOCK_BYTES, DATA_START, FOOTER_MAGIC, RECORD_ALIGN, RECORD_CRC_OFFSET, RECORD_HEADER_BYTES, RECORD_SEQ_OFFSET,
    align_record, footer_offset, footer_room, is_segment_length,
};
use crate::prelude::PreludeError;
use crate::read_error::ReadError;
use crate::record::{self, Kind, RecordHeader, SegmentId};

/// How far into the data a start value is looked for when header and footer are gone.
const INFER_REACH_BYTES: u64 = 64 * 1024;

/// How many plausible headers are tried for it. Each costs one slow pass over its record.
const INFER_TRIES_MAX: u32 = 64;

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
        let mut unread = None;
        let decoded = match self.read_exact_at(&mut block, 0) {
            Ok(true) => SegmentHeader::decode(&block),
            Ok(false) => Err(PreludeError::Damaged.into()),
            // A block that cannot be read is a damaged block: the footer may still do.
            Err(error) => {
                // A damaged frame of an archive stays one.
                unread = Some(error).filter(ReadError::is_retryable);
                Err(PreludeError::Damaged.into())
            }
        };
        match decoded {
            Ok(header) => {
                if header.segment != self.id {
                    return Ok(Admission::Misnamed(header.segment));
                }
                self.identity = Some(Identity {
                    proof: Proof::Header,
                    log_uuid: Some(header.log_uuid),
                    epoch: Some(header.epoch),
                    incarnation: Some(header.incarnation),
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
        if self.identity.is_none()
            && let Some(error) = unread
        {
            // A disk that gives nothing back may do so later: nothing is judged by that.
            return Err(error);
        }
        Ok(match &self.identity {
            Some(identity) => Admission::Identified {
                log_uuid: identity.log_uuid,
                epoch: identity.epoch,
                incarnation: identity.incarnation,
            },
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
            incarnation: None,
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
                        incarnation: None,
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

    /// Whether the place of the footer, as far as the file's length gives it, begins like one.
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
}
