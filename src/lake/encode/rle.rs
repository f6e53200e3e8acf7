//! The hybrid of runs and packed values that Parquet uses for levels and dictionary indices.
//!
//! A page is written either as runs only or as one packed stretch, whichever is smaller: mixing the two gains
//! nothing after zstd. Widths are 1, 2, 4, 8 or 16 bits.

use super::delta::varint;

/// The width in bits used for indices below `distinct`; `None` above 2^16.
pub(crate) fn index_width(distinct: usize) -> Option<u8> {
    match distinct {
        0..=2 => Some(1),
        3..=4 => Some(2),
        5..=16 => Some(4),
        17..=256 => Some(8),
        257..=65_536 => Some(16),
        _ => None,
    }
}

/// Appends `values` (all below `2^width`).
pub(crate) fn hybrid(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    let packed_bytes = 3 + groups * usize::from(width);
    let value_bytes = usize::from(width).div_ceil(8);
    let changes = values.iter().zip(values.iter().skip(1)).filter(|(a, b)| a != b).count();
    if (changes + 1) * (2 + value_bytes) <= packed_bytes {
        runs(values, value_bytes, out);
    } else {
        varint((groups as u64) << 1 | 1, out);
        pack(values, width, groups, out);
    }
}

/// Appends booleans as values of one bit.
pub(crate) fn bits(values: &[bool], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|v| v == first) {
        bit_run(*first, values.len(), out);
        return;
    }
    varint((values.len().div_ceil(8) as u64) << 1 | 1, out);
    pack_bits(values, out);
}

/// Appends one value of one bit, `count` times.
pub(crate) fn bit_run(value: bool, count: usize, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.push(u8::from(value));
}

/// Appends booleans, eight to a byte, lowest bit first.
pub(crate) fn pack_bits(values: &[bool], out: &mut Vec<u8>) {
    let byte = |c: &[bool]| c.iter().enumerate().fold(0_u8, |b, (i, v)| b | u8::from(*v) << i);
    out.extend(values.chunks(8).map(byte));
}

fn runs(values: &[u32], value_bytes: usize, out: &mut Vec<u8>) {
    for run in values.chunk_by(|a, b| a == b) {
        varint((run.len() as u64) << 1, out);
        let value = run.first().copied().unwrap_or_default().to_le_bytes();
        out.extend_from_slice(value.get(..value_bytes).unwrap_or(&value));
    }
}

fn pack(values: &[u32], width: u8, groups: usize, out: &mut Vec<u8>) {
    let end = out.len() + groups * usize::from(width);
    match width {
        16 => {
            let start = out.len();
            out.resize(end, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            for (slot, v) in room.chunks_exact_mut(2).zip(values) {
                slot.copy_from_slice(&(*v as u16).to_le_bytes());
            }
        }
        8 => out.extend(values.iter().map(|v| *v as u8)),
        _ => {
            let per_byte = 8 / usize::from(width);
            out.extend(
                values
                    .chunks(per_byte)
                    .map(|c| c.iter().enumerate().fold(0_u8, |b, (i, v)| b | (*v as u8) << (i * usize::from(width)))),
            );
        }
    }
    out.resize(end, 0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn long_runs_are_runs_and_mixed_values_are_packed() {
        let mut out = vec![];
        hybrid(&[1; 1000], 1, &mut out);
        assert_eq!(out, [0xd0, 0x0f, 1], "run of 1000 of value 1");
        out.clear();
        hybrid(&[1, 0, 1, 1, 0, 0, 0, 1, 1], 1, &mut out);
        assert_eq!(out, [2 << 1 | 1, 0b1000_1101, 1], "two groups, padded");
        out.clear();
        hybrid(&[3, 700, 3], 16, &mut out);
        assert_eq!(out.len(), 3 * 3, "three runs are smaller than a padded group");
    }

    #[test]
    fn widths_hold_their_indices() {
        for n in [1_usize, 2, 3, 4, 5, 16, 17, 256, 257, 65_536] {
            let w = index_width(n).unwrap();
            assert!(n as u64 - 1 < 1 << w);
        }
        assert_eq!(index_width(65_537), None);
    }
}
