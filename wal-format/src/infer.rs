//! Running CRC-32/IEEE backwards: which start value leads to this checksum over these bytes?
//!
//! The start value of every record checksum comes from the segment's salt, and the salt is
//! in the header block. A header lost to a bad sector would take the whole segment with it, if
//! the records could not name the start value themselves: each step of a CRC is invertible, so
//! one record gives one candidate, and a second record that gives the same candidate confirms
//! it (a chance of 2^-32 per pair otherwise).
//!
//! Pure; reads nothing.

/// The reflected polynomial of CRC-32/IEEE.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// One forward step per byte value.
const FORWARD: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// Which forward step produced a register with this top byte. The top bytes of [`FORWARD`] are
/// all different, which is what makes the CRC invertible.
const BACKWARD: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[(FORWARD[byte] >> 24) as usize] = byte as u8;
        byte += 1;
    }
    table
};

/// The value `init` for which `crc32fast::Hasher::new_with_initial(init)`, updated with all of
/// `parts` in order, finalizes to `crc`.
#[must_use]
pub fn initial_of(crc: u32, parts: &[&[u8]]) -> u32 {
    let mut register = !crc;
    for part in parts.iter().rev() {
        for byte in part.iter().rev() {
            let index = BACKWARD[(register >> 24) as usize];
            register = ((register ^ FORWARD[index as usize]) << 8) | u32::from(index ^ byte);
        }
    }
    !register
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_start_value_is_found_again_from_checksum_and_bytes(
            init: u32,
            first in proptest::collection::vec(any::<u8>(), 0..64),
            second in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut hasher = crc32fast::Hasher::new_with_initial(init);
            hasher.update(&first);
            hasher.update(&second);
            prop_assert_eq!(initial_of(hasher.finalize(), &[&first, &second]), init);
        }
    }

    #[test]
    fn every_top_byte_of_the_table_occurs_once() {
        let mut seen = [false; 256];
        for value in FORWARD {
            let top = (value >> 24) as usize;
            assert!(!seen[top]);
            seen[top] = true;
        }
    }
}
