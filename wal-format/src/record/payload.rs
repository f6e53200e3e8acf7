//! The payloads that are numbers and no JSON.

use super::SegmentId;
use crate::layout::{SEAL_BY_RECOVERY, SEAL_CLEAN_END, SEAL_DURABLE_LOST, SEAL_PAYLOAD_BYTES};

/// Wall and monotonic time read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPair {
    /// Nanoseconds since 1970-01-01 UTC.
    pub wall_ns: u64,
    /// Nanoseconds of the machine's monotonic clock.
    pub mono_ns: u64,
}

impl ClockPair {
    /// As the payload of a CLOCK record.
    #[must_use]
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.wall_ns.to_le_bytes());
        bytes[8..].copy_from_slice(&self.mono_ns.to_le_bytes());
        bytes
    }

    /// From the payload of a CLOCK record.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(ClockPair {
            wall_ns: u64::from_le_bytes(*payload.first_chunk()?),
            mono_ns: u64::from_le_bytes(*payload.get(8..)?.first_chunk()?),
        })
    }
}

/// Payload of a SEAL record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The segment to read next. After a clean end: the lowest id it may have.
    pub next: SegmentId,
    /// Where the footer is or will be.
    pub footer_offset: u64,
    /// Recovery wrote it, after the writer died.
    pub by_recovery: bool,
    /// The writer closed the log: `next` is not promised to exist.
    pub clean_end: bool,
    /// By recovery: of the records lost before it, some had been announced as durable.
    pub below_durable: bool,
}

impl Seal {
    /// As the payload of a SEAL record.
    #[must_use]
    pub fn encode(&self) -> [u8; SEAL_PAYLOAD_BYTES] {
        let mut flags = 0;
        if self.by_recovery {
            flags |= SEAL_BY_RECOVERY;
        }
        if self.clean_end {
            flags |= SEAL_CLEAN_END;
        }
        if self.below_durable {
            flags |= SEAL_DURABLE_LOST;
        }
        let mut bytes = [0; SEAL_PAYLOAD_BYTES];
        bytes[..8].copy_from_slice(&self.next.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    /// From the payload of a SEAL record; `None` if it is too short.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let flags = u32::from_le_bytes(*payload.get(16..)?.first_chunk()?);
        Some(Seal {
            next: SegmentId(u64::from_le_bytes(*payload.first_chunk()?)),
            footer_offset: u64::from_le_bytes(*payload.get(8..)?.first_chunk()?),
            by_recovery: flags & SEAL_BY_RECOVERY != 0,
            clean_end: flags & SEAL_CLEAN_END != 0,
            below_durable: flags & SEAL_DURABLE_LOST != 0,
        })
    }
}
