//! Why a byte of a segment is what it is, in plain sentences: valid, and as part of what; or damaged, and how that shows.
//!
//! Reads one segment from its nearest proven place on and judges every rule of `FORMAT.md` section 4 by itself, so
//! that the first rule that fails can be named with the numbers that break it. Never writes.

use std::path::Path;

use crate::archive::{self, ArchiveFault};
use crate::checksum;
use crate::layout::{DATA_START, RECORD_ALIGN, RECORD_HEADER_BYTES, RECORD_SEQ_OFFSET, align_record};
use crate::read::id_of_file;
use crate::read_error::ReadError;
use crate::record::{Kind, RecordHeader, SegmentId, Seq, committed_len};
use crate::source::{Admission, Check, Proof, Source};

const CHUNK_BYTES: usize = 1 << 20;

/// What is at a byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The segment.
    pub segment: SegmentId,
    /// The byte in question.
    pub offset: u64,
    /// It is what the format wants there.
    pub valid: bool,
    /// The record that holds it, if one does.
    pub seq: Option<Seq>,
    /// Where that record, or the damage, begins.
    pub from: u64,
    /// First byte after it, where that is known.
    pub to: Option<u64>,
    /// Why, one sentence each.
    pub sentences: Vec<String>,
}

impl Explanation {
    fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }
}

/// Explains byte `offset` of the segment file at `path`, plain or archived.
///
/// # Errors
/// [`ReadError`] when the file cannot be read, is of a newer version, or is no segment.
pub fn explain(path: &Path, offset: u64) -> Result<Explanation, ReadError> {
    let id = id_of_file(path)?;
    let not_a_segment = || ReadError::NotASegment { path: path.to_path_buf() };
    let mut source = Source::open_path(path, id, CHUNK_BYTES)?.ok_or_else(not_a_segment)?;
    let mut out =
        Explanation { segment: id, offset, valid: false, seq: None, from: offset, to: None, sentences: Vec::new() };
    if source.is_archived() {
        let frame = archive::layout::frame_of(source.file_bytes(), offset);
        out.say(format!("The segment is archived; frame {frame} of the archive holds this byte."));
        let mut unreadable = false;
        for fault in source.archive_faults()? {
            out.say(format!("The archive is damaged: {fault}."));
            unreadable |= match fault {
                ArchiveFault::Table { .. } => false,
                ArchiveFault::Frame { frame: bad, .. } => bad == frame,
                ArchiveFault::Missing { frame: first, .. } => frame >= first,
            };
        }
        if unreadable {
            out.say("So this byte cannot be read.");
            return Ok(out);
        }
        source.read_damage_as_zeros();
    }
    match source.admit()? {
        Admission::Identified { .. } => {}
        Admission::Misnamed(_) => {
            out.say("The header is whole but names another segment: the file was copied or renamed, and nothing in it is believed.");
            return Ok(out);
        }
        Admission::Unreadable => return Err(not_a_segment()),
    }
    let limit = source.data_end();
    if offset >= source.file_bytes() {
        out.say(format!("The segment has {} bytes; there is no byte {offset}.", source.file_bytes()));
    } else if offset < DATA_START {
        header(&source, &mut out);
    } else if offset >= limit {
        footer(&mut source, &mut out)?;
    } else {
        record(&mut source, &mut out, limit)?;
    }
    Ok(out)
}

fn header(source: &Source, out: &mut Explanation) {
    (out.from, out.to) = (0, Some(DATA_START));
    match (source.header(), source.proof()) {
        (Some(header), _) => {
            out.valid = true;
            out.say(format!(
                "It is in the header block, whose checksum holds: epoch {}, {} bytes, written by {}.",
                header.epoch, header.segment_bytes, header.writer_version
            ));
        }
        (None, Some(Proof::Footer)) => out.say(
            "It is in the header block, whose magic, length or checksum is wrong; the footer still says how to read the records.",
        ),
        _ => out.say(
            "It is in the header block, whose magic, length or checksum is wrong, and there is no footer; two records in a row gave the start value of their checksums away.",
        ),
    }
}

fn footer(source: &mut Source, out: &mut Explanation) -> Result<(), ReadError> {
    (out.from, out.to) = (source.data_end(), Some(source.file_bytes()));
    if let Some(footer) = source.footer()? {
        out.valid = true;
        let (records, end) = (footer.records, footer.end_offset);
        let by = footer.sealed_by;
        out.say(format!(
            "It is in the room of the footer, which is whole: {records} records end at byte {end}, sealed by {by:?}."
        ));
    } else if source.has_footer()? {
        out.say("It is in the room of the footer, whose checksum does not hold or which belongs to another segment. It is rebuilt from the records.");
    } else {
        out.say("It is in the room of the footer, and there is none: the segment is open, waits for its sync, or its writer was killed.");
    }
    Ok(())
}

fn record(source: &mut Source, out: &mut Explanation, limit: u64) -> Result<(), ReadError> {
    let end = source.footer()?.map(|f| f.end_offset);
    let mut least = Seq::new(source.epoch().unwrap_or(0), 0);
    // The index names record starts; one that fails is simply not started from.
    let mut at = DATA_START;
    let known = source.footer()?.map(|f| f.index.clone()).unwrap_or_default();
    if let Some(entry) = known.iter().rev().find(|e| e.offset <= out.offset)
        && matches!(source.check(entry.offset)?, Check::Valid(_))
    {
        at = entry.offset;
    }
    loop {
        let offset = out.offset;
        match source.check(at)? {
            Check::Valid(info) if at + info.total_bytes <= offset => {
                least = info.seq.next();
                if source.seal(at, &info).is_some() {
                    at += info.total_bytes;
                    break;
                }
                at += info.total_bytes;
            }
            Check::Valid(info) => {
                (out.seq, out.from, out.to) = (Some(info.seq), at, Some(at + info.total_bytes));
                let kind = Kind::from_raw(info.kind_raw).map_or("of an unknown kind", Kind::as_str);
                if info.kind_raw == Kind::Hole as u8 {
                    out.say(format!("Recovery wrote a HOLE of {} bytes at {at} over damage; it begins with what was to be record {}.", info.total_bytes, info.seq));
                    return Ok(());
                }
                out.valid = true;
                let inside = offset - at;
                let place = if inside < RECORD_HEADER_BYTES as u64 {
                    format!("byte {inside} of the header")
                } else if inside < RECORD_HEADER_BYTES as u64 + info.payload_bytes {
                    format!("byte {} of the {} of the payload", inside - RECORD_HEADER_BYTES as u64, info.payload_bytes)
                } else {
                    "padding after the payload".to_owned()
                };
                out.say(format!(
                    "It is {place} of record {} ({kind}, connection {}), which begins at {at} and whose checksum holds.",
                    info.seq, info.conn
                ));
                return Ok(());
            }
            Check::Empty if end.is_some_and(|end| at >= end) => break,
            check => {
                let island = source.scan(at + RECORD_ALIGN as u64, end.unwrap_or(u64::MAX), least)?;
                if island.is_none() && end.is_none() && matches!(check, Check::Empty) {
                    break;
                }
                if let Some(next) = island.filter(|next| *next <= offset) {
                    at = next;
                    continue;
                }
                return damage(source, out, at, island, limit, least);
            }
        }
    }
    // After everything that was written.
    out.from = at;
    let mut byte = [0];
    source.read_exact_at(&mut byte, out.offset)?;
    out.valid = byte == [0];
    out.to = Some(limit);
    let why = if end.is_some() { "the segment was sealed" } else { "no record was committed" };
    out.say(if out.valid {
        format!("The records end at {at}, where {why}; from there to the footer every byte has to be zero, and this one is.")
    } else {
        format!("The records end at {at}, where {why}; this byte is {:#04x} and should be zero: a later write, or the rest of an append that was cut off.", byte[0])
    });
    Ok(())
}

/// Names the first rule that the bytes at `at` break.
fn damage(
    source: &mut Source,
    out: &mut Explanation,
    at: u64,
    island: Option<u64>,
    limit: u64,
    least: Seq,
) -> Result<(), ReadError> {
    (out.from, out.to) = (at, island);
    out.say(format!("A record should begin at {at}, number {least}, and none does."));
    let mut head = [0; RECORD_HEADER_BYTES];
    if !source.read_exact_at(&mut head, at)? {
        out.say("The file ends there.");
        return Ok(());
    }
    let header = RecordHeader::decode(&head);
    let word = header.commit;
    let why = match committed_len(word) {
        _ if word == 0 => "Its commit word is 0, which says that nothing was ever committed here, but records follow or the footer knows of more: the page was lost or zeroed.".to_owned(),
        Err(_) => format!("Its commit word is {word:#010x}: bit 31 must be set, bits 26 to 30 clear and the length at least {RECORD_HEADER_BYTES}."),
        Ok(len) if align_record(len) as u64 > limit.saturating_sub(at) => {
            format!("Its commit word says {len} bytes, but only {} are left before the footer.", limit.saturating_sub(at))
        }
        Ok(_) if header.reserved != 0 => format!("Its reserved bytes are {:#06x} and must be zero.", header.reserved),
        Ok(_) if source.epoch().is_some_and(|epoch| header.seq.epoch() != epoch) => {
            format!("It calls itself {}, which is not of this segment's epoch {}.", header.seq, source.epoch().unwrap_or(0))
        }
        Ok(len) => checksum_says(source, at, align_record(len), &header)?,
    };
    out.say(why);
    out.say(match island {
        Some(next) => format!("The next valid record begins at {next}; the {} bytes before it are lost.", next - at),
        None => "No valid record follows in this segment.".to_owned(),
    });
    Ok(())
}

fn checksum_says(source: &Source, at: u64, total: usize, header: &RecordHeader) -> Result<String, ReadError> {
    let mut bytes = vec![0; total];
    source.read_exact_at(&mut bytes, at)?;
    let covered = if header.kind_raw == Kind::Hole as u8 { RECORD_HEADER_BYTES } else { total };
    let rest = bytes.get(RECORD_SEQ_OFFSET..covered).unwrap_or(&[]);
    let got = checksum::record(source.crc_initial().unwrap_or(0), header.commit, rest);
    Ok(if got == header.crc {
        format!("It is whole and calls itself {}, which comes before what was read already: an old record.", header.seq)
    } else {
        format!(
            "Its checksum is {:#010x}, its bytes give {got:#010x}: at least one bit of the {total} bytes changed, or they were written for another segment.",
            header.crc
        )
    })
}
