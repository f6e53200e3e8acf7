//! The 32 words-and-marks in front of every versioned body: magic, version, length, checksum.
//!
//! Order of trust when reading: magic, then version (so that a newer file is named as newer and
//! nothing else is believed), then length, then checksum, and only then does rkyv see a byte, in
//! an aligned copy of our own. Never reads a file itself.

use rkyv::util::AlignedVec;

use crate::checksum;
use crate::layout::{
    ENDIAN_MARK, PRELUDE_BODY_LEN_OFFSET, PRELUDE_BYTES, PRELUDE_CRC_OFFSET, PRELUDE_ENDIAN_OFFSET,
    PRELUDE_MAGIC_OFFSET, PRELUDE_RESERVED_OFFSET, PRELUDE_VERSION_OFFSET,
};

/// Why a prelude or its body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreludeError {
    /// Nothing was ever written here.
    #[error("all bytes are zero")]
    Zero,
    /// Other bytes than the magic.
    #[error("the magic is {got:02x?}, expected {expected:02x?}")]
    Magic {
        /// Of this kind of structure.
        expected: [u8; 8],
        /// As stored.
        got: [u8; 8],
    },
    /// Written by a newer version of the format.
    #[error("format version {got} is newer than {newest}, the newest this program reads")]
    NewerVersion {
        /// As stored.
        got: u16,
        /// The newest that can be read.
        newest: u16,
    },
    /// The body's length or the fixed words are impossible.
    #[error("the prelude is damaged")]
    Damaged,
    /// The checksum differs.
    #[error("the checksum is {got:08x}, expected {expected:08x}")]
    Checksum {
        /// As computed.
        expected: u32,
        /// As stored.
        got: u32,
    },
    /// The checksum is right and the body still makes no sense.
    #[error("the body cannot be read: {0}")]
    Body(String),
}

/// Prelude and body, which is of `version`, as one run of bytes no longer than `room`; `None` if it does not fit.
pub(crate) fn encode(magic: [u8; 8], version: u16, body: &[u8], room: usize) -> Option<Vec<u8>> {
    if PRELUDE_BYTES + body.len() > room {
        return None;
    }
    let mut bytes = vec![0; PRELUDE_BYTES];
    bytes[PRELUDE_MAGIC_OFFSET..PRELUDE_VERSION_OFFSET].copy_from_slice(&magic);
    bytes[PRELUDE_VERSION_OFFSET..PRELUDE_RESERVED_OFFSET].copy_from_slice(&version.to_le_bytes());
    bytes[PRELUDE_BODY_LEN_OFFSET..PRELUDE_CRC_OFFSET].copy_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    bytes[PRELUDE_ENDIAN_OFFSET..PRELUDE_ENDIAN_OFFSET + 4].copy_from_slice(&ENDIAN_MARK.to_le_bytes());
    let crc = checksum::plain(&[&bytes, body]);
    bytes[PRELUDE_CRC_OFFSET..PRELUDE_ENDIAN_OFFSET].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The body after a valid prelude, copied into aligned memory, and its version, from 1 to `newest`.
pub(crate) fn decode(magic: [u8; 8], newest: u16, bytes: &[u8]) -> Result<(u16, AlignedVec), PreludeError> {
    let Some(prelude) = bytes.first_chunk::<PRELUDE_BYTES>() else {
        return Err(PreludeError::Damaged);
    };
    let mut got = [0; 8];
    got.copy_from_slice(&prelude[PRELUDE_MAGIC_OFFSET..PRELUDE_VERSION_OFFSET]);
    if got != magic {
        if prelude.iter().all(|b| *b == 0) {
            return Err(PreludeError::Zero);
        }
        return Err(PreludeError::Magic { expected: magic, got });
    }
    let u16_at = |at: usize| u16::from_le_bytes([prelude[at], prelude[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let version = u16_at(PRELUDE_VERSION_OFFSET);
    if version > newest {
        return Err(PreludeError::NewerVersion { got: version, newest });
    }
    let body_len = u32_at(PRELUDE_BODY_LEN_OFFSET) as usize;
    let body = bytes.get(PRELUDE_BYTES..).and_then(|rest| rest.get(..body_len));
    let Some(body) = body else {
        return Err(PreludeError::Damaged);
    };
    let got = u32_at(PRELUDE_CRC_OFFSET);
    let mut zeroed = *prelude;
    zeroed[PRELUDE_CRC_OFFSET..PRELUDE_ENDIAN_OFFSET].fill(0);
    let expected = checksum::plain(&[&zeroed, body]);
    if got != expected {
        return Err(PreludeError::Checksum { expected, got });
    }
    if version == 0 || u32_at(PRELUDE_ENDIAN_OFFSET) != ENDIAN_MARK {
        return Err(PreludeError::Damaged);
    }
    let mut aligned = AlignedVec::with_capacity(body.len());
    aligned.extend_from_slice(body);
    Ok((version, aligned))
}

/// The length of prelude and body together, from a prelude that [`decode`] accepted.
pub(crate) fn encoded_len(bytes: &[u8]) -> usize {
    bytes
        .get(PRELUDE_BODY_LEN_OFFSET..)
        .and_then(|b| b.first_chunk::<4>())
        .map_or(0, |b| PRELUDE_BYTES + u32::from_le_bytes(*b) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"testtest";

    #[test]
    fn a_body_reads_back_and_every_flipped_bit_is_detected() {
        let mut bytes = encode(MAGIC, 2, b"the body", 4096).unwrap();
        let (version, body) = decode(MAGIC, 2, &bytes).unwrap();
        assert_eq!((version, body.as_slice()), (2, &b"the body"[..]));
        assert_eq!(encoded_len(&bytes), bytes.len());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(MAGIC, 2, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_newer_version_is_named_before_anything_else_is_believed() {
        let mut bytes = encode(MAGIC, 1, b"", 4096).unwrap();
        bytes[8] = 2;
        assert_eq!(decode(MAGIC, 1, &bytes).err(), Some(PreludeError::NewerVersion { got: 2, newest: 1 }));
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused() {
        assert_eq!(encode(MAGIC, 1, &[0; 100], 131), None);
        assert_eq!(decode(MAGIC, 1, &[0; 64]).err(), Some(PreludeError::Zero));
        assert_eq!(decode(MAGIC, 1, &[0; 3]).err(), Some(PreludeError::Damaged));
    }
}
