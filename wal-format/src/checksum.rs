//! The record checksum: CRC-32/IEEE (reflected polynomial 0xEDB88320, as in zlib and PNG; **not**
//! CRC-32C), continued from a start value that follows from the segment's random salt.
//!
//! Covered, in this order: the commit word's value (4 bytes, little-endian), then the record from
//! byte 8 on: rest of the header, payload, padding. Two properties follow:
//! - the length is covered although it is stored last;
//! - a byte-identical record of another segment fails, because its start value differs (a CRC is
//!   linear in it). So nothing stale can come back to life, without chaining records.
//!
//! Pure; reads and writes nothing.

use crc32fast::Hasher;

/// The start value of a segment's record checksums: both halves of the salt folded together.
#[must_use]
pub const fn initial(salt: u64) -> u32 {
    (salt as u32) ^ ((salt >> 32) as u32)
}

/// The checksum of a record: `commit` is the value of the commit word, `rest` the record from
/// byte 8 on, padding included. `initial` comes from [`initial`].
#[must_use]
pub fn record(initial: u32, commit: u32, rest: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(initial);
    hasher.update(&commit.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// The checksum of bytes that are already in the covered order.
#[must_use]
#[inline]
pub fn covered(initial: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(initial);
    hasher.update(bytes);
    hasher.finalize()
}

/// Plain CRC-32/IEEE over several pieces, for preludes, slots and whole data areas.
#[must_use]
pub fn plain(pieces: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomial_is_the_one_of_zlib() {
        assert_eq!(plain(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(plain(&[b"1234", b"56789"]), 0xCBF4_3926);
    }

    #[test]
    fn a_different_salt_gives_a_different_checksum_over_the_same_bytes() {
        let one = record(initial(1), 0x8000_0020, &[0; 24]);
        let two = record(initial(2), 0x8000_0020, &[0; 24]);
        assert_ne!(one, two);
    }

    #[test]
    fn commit_value_and_rest_are_one_stream_of_bytes() {
        let mut bytes = 0x8000_0028_u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[7; 32]);
        assert_eq!(record(99, 0x8000_0028, &bytes[4..]), covered(99, &bytes));
    }
}
