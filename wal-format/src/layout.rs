//! Every offset, size, cap, version and magic of the format. `FORMAT.md` is the normative text; this
//! file is its mirror in code, with asserts on what the pictures claim.
//!
//! No logic beyond arithmetic on sizes; no other file of the crate contains a byte position.
//!
//! ```text
//!  segment file
//!  0            4096                                    footer_offset          segment_bytes
//!  | header block | records ... SEAL | zeros           | footer room           |
//!                 DATA_START          ^ data_limit = footer_offset; SEAL always fits before it
//! ```

/// The newest version of the header block: 2 names the incarnation of the run.
pub const HEADER_VERSION: u16 = 2;
/// The newest version of the footer.
pub const FOOTER_VERSION: u16 = 1;
/// The newest version of the body of EPOCH: 2 names the incarnations of the runs.
pub const EPOCH_VERSION: u16 = 2;
/// The newest version of the body of an ack: 2 names the incarnation of the run it speaks about.
pub const ACK_VERSION: u16 = 2;
/// EPOCH remembers at most this many runs, the newest ones: 16 bytes each fill most of a slot.
pub const EPOCH_RUNS_MAX: usize = 200;

/// Every block that is replaced or written as a whole has this size and alignment, in bytes.
pub const BLOCK_BYTES: u64 = 4096;

/// The first record of a segment starts here; the header block lies before it.
pub const DATA_START: u64 = BLOCK_BYTES;

/// Default length of a segment file.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;
/// Shortest segment that a writer accepts. Tests roll over quickly with it.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Longest segment: offsets stay below 2^31, so a 32-bit reader can map one.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

// ---- words in front of a versioned body (header block, footer) -------------------

/// First eight bytes of a segment. The line ends catch a text-mode copy.
pub const SEGMENT_MAGIC: [u8; 8] = *b"TDSEG\r\n\x1a";
/// First eight bytes of a footer.
pub const FOOTER_MAGIC: [u8; 8] = *b"TDFOOT\r\n";

/// Magic, 8 bytes.
pub const PRELUDE_MAGIC_OFFSET: usize = 0;
/// Format version, u16.
pub const PRELUDE_VERSION_OFFSET: usize = PRELUDE_MAGIC_OFFSET + 8;
/// Reserved, zero, u16.
pub const PRELUDE_RESERVED_OFFSET: usize = PRELUDE_VERSION_OFFSET + 2;
/// Length of the body in bytes, u32.
pub const PRELUDE_BODY_LEN_OFFSET: usize = PRELUDE_RESERVED_OFFSET + 2;
/// CRC-32/IEEE over prelude (this word taken as zero) and body, u32.
pub const PRELUDE_CRC_OFFSET: usize = PRELUDE_BODY_LEN_OFFSET + 4;
/// [`ENDIAN_MARK`], u32.
pub const PRELUDE_ENDIAN_OFFSET: usize = PRELUDE_CRC_OFFSET + 4;
/// The body starts here, at a multiple of 8.
pub const PRELUDE_BYTES: usize = 32;
/// Reads as this value in little-endian order.
pub const ENDIAN_MARK: u32 = 0x0102_0304;

// ---- record ----------------------------------------------------------------------------------

/// Commit word, u32: 0 = not written, else [`COMMIT_MARK`] | length of header and payload.
pub const RECORD_COMMIT_OFFSET: usize = 0;
/// Checksum, u32.
pub const RECORD_CRC_OFFSET: usize = RECORD_COMMIT_OFFSET + 4;
/// Sequence number, u64.
pub const RECORD_SEQ_OFFSET: usize = RECORD_CRC_OFFSET + 4;
/// Receive time, ns since 1970-01-01 UTC, u64.
pub const RECORD_TS_OFFSET: usize = RECORD_SEQ_OFFSET + 8;
/// Connection ordinal, u32.
pub const RECORD_CONN_OFFSET: usize = RECORD_TS_OFFSET + 8;
/// Kind, u8.
pub const RECORD_KIND_OFFSET: usize = RECORD_CONN_OFFSET + 4;
/// Flags, u8.
pub const RECORD_FLAGS_OFFSET: usize = RECORD_KIND_OFFSET + 1;
/// Reserved, zero, u16.
pub const RECORD_RESERVED_OFFSET: usize = RECORD_FLAGS_OFFSET + 1;
/// Length of a record header; the payload follows.
pub const RECORD_HEADER_BYTES: usize = RECORD_RESERVED_OFFSET + 2;
/// Records start at multiples of this.
pub const RECORD_ALIGN: usize = 8;

/// Set in the commit word of every written record.
pub const COMMIT_MARK: u32 = 1 << 31;
/// The length inside a commit word.
pub const COMMIT_LENGTH_MASK: u32 = (1 << 26) - 1;
/// Longest record (header and payload) that the format can hold.
pub const RECORD_BYTES_MAX: usize = COMMIT_LENGTH_MASK as usize;
/// Default cap on a payload: also the limit to give a WebSocket client.
pub const PAYLOAD_BYTES_DEFAULT: u32 = 16 * 1024 * 1024;

/// Payload of a CLOCK record: wall ns u64, mono ns u64.
pub const CLOCK_PAYLOAD_BYTES: usize = 16;
/// Payload of a SYNC record: durable seq u64.
pub const SYNC_PAYLOAD_BYTES: usize = 8;
/// Payload of a SEAL record: next segment u64, footer offset u64, flags u32, reserved u32.
pub const SEAL_PAYLOAD_BYTES: usize = 24;
/// SEAL flag: written by recovery, not by the log's own writer.
pub const SEAL_BY_RECOVERY: u32 = 1;
/// SEAL flag: the writer closed the log here; no segment is promised to follow.
pub const SEAL_CLEAN_END: u32 = 2;
/// SEAL flag, by recovery: records between the last one that can be read and the SEAL's own number had been announced as
/// durable.
pub const SEAL_DURABLE_LOST: u32 = 4;
/// Room that the SEAL record takes.
pub const SEAL_BYTES: u64 = record_bytes(SEAL_PAYLOAD_BYTES) as u64;

// ---- footer ----------------------------------------------------------------------------------

/// The footer's sparse index has one entry per this many bytes of data.
pub const INDEX_STRIDE_BYTES: u64 = 256 * 1024;
/// The footer lists at most this many HOLE spans; `holes_total` says if there were more.
pub const FOOTER_HOLES_MAX: usize = 64;
/// Room for prelude, fixed fields, counts per kind and HOLE spans.
const FOOTER_FIXED_BYTES: u64 = 2 * BLOCK_BYTES;
/// Room for one index entry.
const FOOTER_INDEX_ENTRY_BYTES: u64 = 24;

// ---- file names ------------------------------------------------------------------------------

/// Suffix of a segment.
pub const SEGMENT_SUFFIX: &str = ".wal";
/// Suffix of a file in preparation; nothing but its creator looks inside.
pub const TMP_SUFFIX: &str = ".tmp";
/// Held by the writer and by a repair through a shared flock; see [`crate::lock`].
pub const LOCK_FILE: &str = "LOCK";
/// Held by the writer through an exclusive flock.
pub const WRITER_LOCK_FILE: &str = "WRITER";
/// Held by a repair through an exclusive flock.
pub const REPAIR_LOCK_FILE: &str = "REPAIR";
/// Two-slot file: identity of the log, last epoch, first unused segment id.
pub const EPOCH_FILE: &str = "EPOCH";
/// Status page of the running writer.
pub const CONTROL_FILE: &str = "CONTROL";
/// Two-slot ack files of the readers, and their locks.
pub const ACKS_DIR: &str = "acks";
/// Files that recovery moved out of the way.
pub const QUARANTINE_DIR: &str = "quarantine";

/// Rounds up to the record alignment.
#[must_use]
pub const fn align_record(bytes: usize) -> usize {
    bytes.next_multiple_of(RECORD_ALIGN)
}

/// Space that a record with this payload takes: header, payload, padding.
#[must_use]
pub const fn record_bytes(payload_bytes: usize) -> usize {
    align_record(RECORD_HEADER_BYTES + payload_bytes)
}

/// Room at the end of a segment that belongs to its footer, a multiple of a block.
#[must_use]
pub const fn footer_room(segment_bytes: u64) -> u64 {
    let entries = segment_bytes / INDEX_STRIDE_BYTES + 1;
    (FOOTER_FIXED_BYTES + entries * FOOTER_INDEX_ENTRY_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// Where the footer of a segment of this length is: also the end of the area in which
/// records may be.
#[must_use]
pub const fn footer_offset(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_sub(footer_room(segment_bytes))
}

/// Whether a file of this length can be a segment at all.
#[must_use]
pub const fn is_segment_length(bytes: u64) -> bool {
    bytes >= SEGMENT_BYTES_MIN && bytes <= SEGMENT_BYTES_MAX && bytes.is_multiple_of(BLOCK_BYTES)
}

const _: () = assert!(RECORD_HEADER_BYTES == 32);
const _: () = assert!(RECORD_SEQ_OFFSET.is_multiple_of(8) && RECORD_TS_OFFSET.is_multiple_of(8));
const _: () = assert!(RECORD_CONN_OFFSET == 24 && RECORD_KIND_OFFSET == 28);
const _: () = assert!(PRELUDE_ENDIAN_OFFSET + 4 <= PRELUDE_BYTES);
const _: () = assert!(PRELUDE_BYTES.is_multiple_of(16));
const _: () = assert!(DATA_START.is_multiple_of(RECORD_ALIGN as u64));
const _: () = assert!(RECORD_BYTES_MAX < 64 * 1024 * 1024);
const _: () = assert!(SEAL_BYTES == 56);
// A shortest segment still has most of its room for records.
const _: () = assert!(footer_offset(SEGMENT_BYTES_MIN) - DATA_START >= 48 * 1024 - BLOCK_BYTES);
const _: () = assert!(footer_offset(SEGMENT_BYTES_DEFAULT).is_multiple_of(BLOCK_BYTES));
