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
    let changes = values.windows(2).filter(|w| w[0] != w[1]).count();
    if (changes + 1) * (2 + value_bytes) <= packed_bytes {
        runs(values, value_bytes, out);
    } else {
        varint((groups as u64) << 1 | 1, out);
        pack(values, width, groups, out);
    }
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
        16 => out.extend(values.iter().flat_map(|v| (*v as u16).to_le_bytes())),
        8 => out.extend(values.iter().map(|v| *v as u8)),
        _ => {
            let per_byte = 8 / usize::from(width);
            out.extend(values.chunks(per_byte).map(|c| {
                c.iter()
                    .enumerate()
                    .fold(0_u8, |b, (i, v)| b | (*v as u8) << (i * usize::from(width)))
            }));
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
        assert_eq!(
            out.len(),
            3 * 3,
            "three runs are smaller than a padded group"
        );
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
