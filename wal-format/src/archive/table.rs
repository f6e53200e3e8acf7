//! The seek table of zstd's seekable format: where each frame lies in the file. Bytes in, bytes out.
//!
//! Layout and constants are those of the document "Zstandard Seekable Format", version 0.1.0, in
//! facebook/zstd (contrib/seekable_format): a skippable frame whose last nine bytes say how to read it from the end.
//! Every entry carries a checksum; it is the low half of XXH64 over the frame's input, which is also the content
//! checksum that ends the frame itself (RFC 8878 section 3.1.1), so it is copied and never computed here.

/// Magic of the skippable frame that holds the table.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last four bytes of the file.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Every entry has a checksum.
const DESCRIPTOR: u8 = 0x80;
/// Compressed size, decompressed size, checksum.
const ENTRY_BYTES: usize = 12;
/// Magic and length before the entries.
const HEAD_BYTES: usize = 8;
/// Number of frames, descriptor, magic.
pub(super) const TAIL_BYTES: usize = 9;

/// One frame as the table describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bytes in the file.
    pub packed: u32,
    /// Bytes of the segment.
    pub plain: u32,
    /// As it also is in the last four bytes of the frame.
    pub checksum: u32,
}

/// The table as the bytes that end the file.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let body = entries.len() * ENTRY_BYTES + TAIL_BYTES;
    let mut out = Vec::with_capacity(HEAD_BYTES + body);
    out.extend(SKIPPABLE_MAGIC.to_le_bytes());
    out.extend(u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
    for entry in entries {
        out.extend(entry.packed.to_le_bytes());
        out.extend(entry.plain.to_le_bytes());
        out.extend(entry.checksum.to_le_bytes());
    }
    out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.push(DESCRIPTOR);
    out.extend(SEEKABLE_MAGIC.to_le_bytes());
    out
}

/// Length of the whole table by the last nine bytes of a file.
pub(super) fn whole_len(tail: &[u8; TAIL_BYTES]) -> Result<u64, &'static str> {
    let [n0, n1, n2, n3, descriptor, magic @ ..] = *tail;
    if u32::from_le_bytes(magic) != SEEKABLE_MAGIC {
        return Err("the file does not end with the mark of a seek table");
    }
    if descriptor != DESCRIPTOR {
        return Err("the seek table has no checksums or reserved bits set");
    }
    let frames = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
    Ok(HEAD_BYTES as u64 + frames * ENTRY_BYTES as u64 + TAIL_BYTES as u64)
}

/// The entries of a whole table.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
    let body = bytes.len().checked_sub(HEAD_BYTES + TAIL_BYTES).ok_or("the seek table is too short")?;
    if word(0) != Some(SKIPPABLE_MAGIC) {
        return Err("the seek table does not begin where it should");
    }
    if word(4).map(|n| n as usize) != Some(bytes.len() - HEAD_BYTES) || !body.is_multiple_of(ENTRY_BYTES) {
        return Err("the seek table names another length");
    }
    let entries = bytes.get(HEAD_BYTES..HEAD_BYTES + body).unwrap_or(&[]);
    Ok(entries
        .chunks_exact(ENTRY_BYTES)
        .filter_map(|e| {
            let word = |at: usize| e.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
            Some(Entry { packed: word(0)?, plain: word(4)?, checksum: word(8)? })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_back_from_its_last_nine_bytes_and_every_flipped_bit_in_its_frame_is_noticed() {
        let entries: Vec<Entry> =
            (0..5).map(|n| Entry { packed: n * 7 + 20, plain: n + 1, checksum: n ^ 99 }).collect();
        let bytes = encode(&entries);
        let tail = bytes.last_chunk::<TAIL_BYTES>().unwrap();
        assert_eq!(whole_len(tail), Ok(bytes.len() as u64));
        assert_eq!(decode(&bytes).unwrap(), entries);
        for at in (0..8).chain(bytes.len() - TAIL_BYTES..bytes.len()) {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let len = whole_len(bad.last_chunk().unwrap());
                assert!(len != Ok(bytes.len() as u64) || decode(&bad).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
