//! What recovery writes into a segment, in an order in which a reader beside it sees old bytes or whole records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::layout::{RECORD_ALIGN, RECORD_BYTES_MAX, RECORD_CRC_OFFSET, RECORD_HEADER_BYTES};
use crate::record::{self, Kind, RecordHeader, Seal, Seq, flags};
use crate::walk;
use crate::walk::HoleSpan;

/// Writes a record's bytes so that a reader who looks meanwhile sees bytes that are no record, an unwritten place, or the
/// whole record: its commit word last. The word that is there is left until then: it shows whoever finds this
/// interrupted that a record was here.
fn write_record(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let (commit, rest) = bytes.split_at(RECORD_CRC_OFFSET);
    step()?;
    file.write_all_at(rest, at + RECORD_CRC_OFFSET as u64)?;
    step()?;
    file.write_all_at(commit, at)
}

/// Before each write of a repair: tests end it here, as a kill does.
#[cfg(not(any(test, feature = "sim")))]
pub(super) fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(any(test, feature = "sim"))]
thread_local! {
    static STEPS_LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

#[cfg(any(test, feature = "sim"))]
pub(super) fn step() -> io::Result<()> {
    match STEPS_LEFT.get() {
        None => Ok(()),
        Some(0) => Err(io::Error::other("killed here by a test")),
        Some(left) => {
            STEPS_LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// Repairs on this thread make `steps` more writes and fail at the next one, with everything before it in place, as if
/// the process had been killed there; `None` = as many as they want. For tests.
#[cfg(any(test, feature = "sim"))]
pub fn die_after(steps: Option<u32>) {
    STEPS_LEFT.set(steps);
}

fn impossible() -> io::Error {
    io::Error::other("a record of recovery does not fit the format")
}

/// One HOLE record over the span, or several if it is longer than a record can be.
pub(super) fn write_hole(file: &File, initial: u32, ts: u64, hole: &HoleSpan) -> io::Result<()> {
    // The rest after a full-length record must itself have room for a header.
    let longest = (RECORD_BYTES_MAX - 2 * RECORD_HEADER_BYTES) as u64 & !(RECORD_ALIGN as u64 - 1);
    let (mut at, mut left) = (hole.offset, hole.bytes);
    let mut pieces = Vec::new();
    while left > 0 {
        let mut piece = left.min(longest);
        if left > piece && left - piece < RECORD_HEADER_BYTES as u64 {
            piece -= RECORD_HEADER_BYTES as u64;
        }
        pieces.push((at, piece));
        at += piece;
        left -= piece;
    }
    // Last piece first: whatever a crash leaves, the first one still leads to valid records.
    for (at, bytes) in pieces.into_iter().rev() {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let flags = if hole.below_durable { flags::DURABLE_LOST } else { 0 };
        let head = record::encode_hole(initial, hole.from, ts, flags, bytes).ok_or_else(impossible)?;
        write_record(file, at, &head)?;
    }
    Ok(())
}

pub(super) fn write_seal(file: &File, initial: u32, ts: u64, seq: Seq, at: u64, seal: &Seal) -> io::Result<()> {
    let payload = seal.encode();
    let mut bytes = Vec::new();
    let fits = RecordHeader::new(seq, ts, 0, Kind::Seal, 0, payload.len())
        .is_some_and(|header| record::encode_into(&mut bytes, initial, header, &payload));
    if !fits {
        return Err(impossible());
    }
    write_record(file, at, &bytes)
}

/// Overwrites `from..to` with zeros.
pub(super) fn wipe(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; walk::CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        step()?;
        file.write_all_at(zeros.get(..len).unwrap_or(&[]), at)?;
        at += len as u64;
    }
    Ok(())
}

/// Plain CRC-32 of a byte range, as footers store it.
pub(super) fn crc_of(file: &File, from: u64, to: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; walk::CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..step).unwrap_or(&mut []);
        file.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += step as u64;
    }
    Ok(hasher.finalize())
}
