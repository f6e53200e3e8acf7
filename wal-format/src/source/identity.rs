//! What is known of a segment once its header, its footer or its records said whose it is.

use crate::incarnation::Incarnation;
use crate::record::SegmentId;

/// What the header block says, or what had to replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Identified {
        log_uuid: Option<[u8; 16]>,
        epoch: Option<u32>,
        /// Known from the header alone.
        incarnation: Option<Incarnation>,
    },
    /// A good header that names another segment: a copy, or a file under a wrong name.
    Misnamed(SegmentId),
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

pub(super) struct Identity {
    pub(super) proof: Proof,
    pub(super) log_uuid: Option<[u8; 16]>,
    pub(super) epoch: Option<u32>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) crc_initial: u32,
    /// End of the area in which records may be.
    pub(super) data_limit: u64,
}
