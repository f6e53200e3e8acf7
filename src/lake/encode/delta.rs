//! DELTA_BINARY_PACKED with widths of whole bytes.
//!
//! Layout (Parquet format, Encodings.md): block size, miniblocks per block, value count as varints, first value as
//! zigzag varint; then per block of 128 deltas the smallest delta (zigzag varint), 4 bit widths, 4 miniblocks of
//! 32 deltas above the smallest, little endian. A width may be any number of bits that fits; here 0, 8, 16 ...

const BLOCK: usize = 128;
const MINI: usize = 32;
const MINIS: usize = BLOCK / MINI;

/// Appends an unsigned LEB128 number.
#[inline]
pub(crate) fn varint(mut v: u64, out: &mut Vec<u8>) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

#[inline]
fn zigzag(v: i64, out: &mut Vec<u8>) {
    varint(((v << 1) ^ (v >> 63)) as u64, out);
}

fn header(count: usize, first: i64, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIS as u64, out);
    varint(count as u64, out);
    zigzag(first, out);
}

/// Appends `values` as INT64. True when they are known to ascend: the first one is the smallest, the last the largest.
pub(crate) fn delta64(values: &[i64], out: &mut Vec<u8>) -> bool {
    let Some((first, rest)) = values.split_first() else {
        header(0, 0, out);
        return true;
    };
    header(values.len(), *first, out);
    let mut deltas = [0_i64; BLOCK];
    // A difference of two numbers that are not negative cannot wrap, so where no sign is set, nothing descends.
    let mut signs = *first;
    for (block, before) in rest.chunks(BLOCK).zip(values.chunks(BLOCK)) {
        for ((d, v), b) in deltas.iter_mut().zip(block).zip(before) {
            *d = v.wrapping_sub(*b);
            signs |= *d | *v;
        }
        let deltas = deltas.get(..block.len()).unwrap_or(&deltas);
        let min = deltas.iter().copied().min().unwrap_or_default();
        zigzag(min, out);
        pack_block(deltas, out, |d| d.wrapping_sub(min) as u64);
    }
    signs >= 0
}

/// Appends `values` as INT32: differences wrap at 32 bits, as the format wants.
pub(crate) fn delta32(values: &[i32], out: &mut Vec<u8>) {
    let Some((first, rest)) = values.split_first() else {
        header(0, 0, out);
        return;
    };
    header(values.len(), i64::from(*first), out);
    let mut before = *first;
    let mut deltas = [0_i64; BLOCK];
    for block in rest.chunks(BLOCK) {
        let mut min = i32::MAX;
        for (d, v) in deltas.iter_mut().zip(block) {
            let delta = v.wrapping_sub(before);
            *d = i64::from(delta);
            before = *v;
            min = min.min(delta);
        }
        zigzag(i64::from(min), out);
        pack_block(deltas.get(..block.len()).unwrap_or(&deltas), out, |d| {
            u64::from((d as i32).wrapping_sub(min) as u32)
        });
    }
}

/// Widths and miniblocks of one block. Miniblocks without a delta have width 0 and no bytes; the last one is
/// padded with zeros.
#[inline]
fn pack_block(deltas: &[i64], out: &mut Vec<u8>, above: impl Fn(i64) -> u64) {
    let widths_at = out.len();
    out.extend_from_slice(&[0; MINIS]);
    for (m, mini) in deltas.chunks(MINI).enumerate() {
        let bits = mini.iter().fold(0_u64, |a, d| a | above(*d));
        let bytes = (64 - bits.leading_zeros() as usize).div_ceil(8);
        if let Some(w) = out.get_mut(widths_at + m) {
            *w = (bytes * 8) as u8;
        }
        let start = out.len();
        // Eight bytes are stored for each value and overlap; the surplus is cut off.
        out.resize(start + MINI * bytes + 8, 0);
        if let Some(room) = out.get_mut(start..) {
            match bytes {
                0 => {}
                1 => room.iter_mut().zip(mini).for_each(|(slot, d)| *slot = above(*d) as u8),
                2 => store(mini, room, 2, &above),
                3 => store(mini, room, 3, &above),
                n => store(mini, room, n, &above),
            }
        }
        out.truncate(start + MINI * bytes);
    }
}

#[inline(always)]
fn store(mini: &[i64], room: &mut [u8], bytes: usize, above: impl Fn(i64) -> u64) {
    let mut at = 0;
    for d in mini {
        if let Some(slot) = room.get_mut(at..at + 8) {
            slot.copy_from_slice(&above(*d).to_le_bytes());
        }
        at += bytes;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read_varint(b: &mut &[u8]) -> u64 {
        let mut v = 0;
        let mut shift = 0;
        loop {
            let x = b[0];
            *b = &b[1..];
            v |= u64::from(x & 0x7f) << shift;
            if x < 0x80 {
                return v;
            }
            shift += 7;
        }
    }

    fn read_zigzag(b: &mut &[u8]) -> i64 {
        let v = read_varint(b);
        ((v >> 1) as i64) ^ -((v & 1) as i64)
    }

    /// A decoder written from the format page, for any width.
    fn decode(mut b: &[u8], bits32: bool) -> Vec<i64> {
        assert_eq!(read_varint(&mut b), 128);
        assert_eq!(read_varint(&mut b), 4);
        let count = read_varint(&mut b) as usize;
        let mut last = read_zigzag(&mut b);
        let mut out = vec![];
        if count == 0 {
            return out;
        }
        out.push(last);
        while out.len() < count {
            let min = read_zigzag(&mut b);
            let widths = b[..4].to_vec();
            b = &b[4..];
            for w in widths {
                if out.len() == count {
                    assert_eq!(w, 0, "unneeded miniblocks have no bytes");
                    continue;
                }
                assert!(!bits32 || w <= 32);
                let w = w as usize;
                let body = &b[..32 * w / 8];
                for k in 0..32 {
                    let mut v = 0_u64;
                    for bit in 0..w {
                        let at = k * w + bit;
                        v |= u64::from(body[at / 8] >> (at % 8) & 1) << bit;
                    }
                    if out.len() < count {
                        last = last.wrapping_add(min).wrapping_add(v as i64);
                        if bits32 {
                            last = i64::from(last as i32);
                        }
                        out.push(last);
                    }
                }
                b = &b[32 * w / 8..];
            }
        }
        assert!(b.is_empty());
        out
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in prop::collection::vec(prop_oneof![any::<i64>(), 0_i64..2000, Just(i64::MIN), Just(i64::MAX)], 0..400)) {
            let mut out = vec![];
            let ascend = delta64(&values, &mut out);
            prop_assert!(!ascend || values.is_sorted());
            prop_assert_eq!(decode(&out, false), values);
        }

        #[test]
        fn any_32_bit_values_come_back(values in prop::collection::vec(prop_oneof![any::<i32>(), 0_i32..9], 0..400)) {
            let mut out = vec![];
            delta32(&values, &mut out);
            prop_assert_eq!(decode(&out, true), values.iter().map(|v| i64::from(*v)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn values_that_ascend_are_known_to() {
        let ascend = |values: &[i64]| delta64(values, &mut vec![]);
        assert!(ascend(&(0..1_000).map(|v| v * 3).collect::<Vec<_>>()) && ascend(&[7; 300]) && ascend(&[5]));
        assert!(!ascend(&[1, 2, 1]) && !ascend(&[i64::MAX, i64::MIN]) && !ascend(&[i64::MIN, i64::MAX]));
    }

    #[test]
    fn a_constant_column_takes_five_bytes_a_block() {
        let mut out = vec![];
        delta32(&[7; 1 + 10 * 128], &mut out);
        assert_eq!(out.len(), 6 + 10 * 5);
    }
}
