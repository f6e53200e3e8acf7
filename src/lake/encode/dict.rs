//! Distinct values of a column, sorted, with each value's index.
//!
//! Sorted, because the values of one symbol then have near indices whose high byte zstd sees repeat, and because
//! the smallest and largest index of a page give its statistics. `None` when a dictionary would not pay: more
//! than 65,536 distinct values, or fewer than two values for each entry.

use hashbrown::HashTable;

/// A fixed-width value of a dictionary.
pub(crate) trait Key: Copy + Ord {
    fn hash(self) -> u64;
}

/// Odd, without structure: spreads the high bits of decimal doubles.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Key for u64 {
    #[inline]
    fn hash(self) -> u64 {
        let h = (self ^ (self >> 32)).wrapping_mul(MIX);
        h ^ (h >> 29)
    }
}

impl Key for i128 {
    #[inline]
    fn hash(self) -> u64 {
        ((self as u64) ^ ((self >> 64) as u64).rotate_left(31)).hash()
    }
}

/// Memory kept from column to column, and the result: for each input value the index of its entry.
#[derive(Default)]
pub(crate) struct Scratch {
    pub indices: Vec<u32>,
    slots: Vec<u32>,
    rank: Vec<u32>,
}

const MAX_ENTRIES: usize = 65_536;

fn worth(distinct: usize, values: usize) -> bool {
    distinct <= MAX_ENTRIES && distinct <= values / 2 + 8
}

/// The sorted dictionary of fixed-width values; `scratch.indices` then point into it.
pub(crate) fn distinct<T: Key>(values: &[T], scratch: &mut Scratch) -> Option<Vec<T>> {
    let Scratch { indices, slots, rank } = scratch;
    slots.clear();
    slots.resize(4_096, FREE);
    indices.clear();
    let mut uniques: Vec<T> = Vec::new();
    // Rows come symbol by symbol, so the next value is most often one of the last few hundred.
    let mut recent: [Option<(T, u32)>; RECENT] = [None; RECENT];
    for &v in values {
        let hash = v.hash();
        let near = &mut recent[hash as usize >> 7 & (RECENT - 1)];
        let index = match near {
            Some((value, index)) if *value == v => *index,
            _ => {
                let index = find_or_add(v, hash, slots, &mut uniques);
                if uniques.len() > MAX_ENTRIES {
                    return None;
                }
                *near = Some((v, index));
                index
            }
        };
        indices.push(index);
    }
    if !worth(uniques.len(), values.len()) {
        return None;
    }
    Some(sort(uniques, rank, indices))
}

/// Sorts the entries and lets the indices follow.
fn sort<T: Ord>(uniques: Vec<T>, rank: &mut Vec<u32>, indices: &mut [u32]) -> Vec<T> {
    let mut sorted: Vec<(T, u32)> = uniques.into_iter().zip(0..).collect();
    sorted.sort_unstable();
    rank.clear();
    rank.resize(sorted.len(), 0);
    for (r, (_, i)) in sorted.iter().enumerate() {
        rank[*i as usize] = r as u32;
    }
    for i in indices {
        *i = rank[*i as usize];
    }
    sorted.into_iter().map(|(v, _)| v).collect()
}

const FREE: u32 = u32::MAX;
const RECENT: usize = 512;

/// Open addressing over indices into the unique values; a power of two of slots, at most half full.
#[inline]
fn find_or_add<T: Key>(v: T, hash: u64, slots: &mut Vec<u32>, uniques: &mut Vec<T>) -> u32 {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    loop {
        let slot = slots[at];
        if slot == FREE {
            break;
        }
        if uniques[slot as usize] == v {
            return slot;
        }
        at = (at + 1) & mask;
    }
    let index = uniques.len() as u32;
    uniques.push(v);
    slots[at] = index;
    if uniques.len() * 2 > slots.len() {
        grow(slots, uniques);
    }
    index
}

#[cold]
fn grow<T: Key>(slots: &mut Vec<u32>, uniques: &[T]) {
    let wanted = slots.len() * 4;
    slots.clear();
    slots.resize(wanted, FREE);
    let mask = wanted - 1;
    for (i, v) in uniques.iter().enumerate() {
        let mut at = v.hash() as usize & mask;
        while slots[at] != FREE {
            at = (at + 1) & mask;
        }
        slots[at] = i as u32;
    }
}

/// The sorted dictionary of byte strings, and each value's index; also `None` when the entries pass 1 MiB.
pub(crate) fn distinct_texts<'a>(values: &[&'a [u8]]) -> Option<(Vec<&'a [u8]>, Vec<u32>)> {
    use std::hash::BuildHasher;
    const MAX_BYTES: usize = 1 << 20;
    let hasher = foldhash::fast::FixedState::default();
    let mut table: HashTable<u32> = HashTable::new();
    let mut uniques: Vec<&[u8]> = Vec::new();
    let mut indices = Vec::with_capacity(values.len());
    let mut bytes = 0;
    for v in values {
        let hash = hasher.hash_one(*v);
        let entry = table.find(hash, |i| uniques.get(*i as usize) == Some(v));
        let index = match entry {
            Some(i) => *i,
            None => {
                let i = uniques.len() as u32;
                bytes += v.len() + 4;
                if uniques.len() >= MAX_ENTRIES || bytes > MAX_BYTES {
                    return None;
                }
                uniques.push(v);
                table
                    .insert_unique(hash, i, |i| hasher.hash_one(uniques.get(*i as usize).copied().unwrap_or_default()));
                i
            }
        };
        indices.push(index);
    }
    if !worth(uniques.len(), values.len()) {
        return None;
    }
    let entries = sort(uniques, &mut Vec::new(), &mut indices);
    Some((entries, indices))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn indices_give_the_values_back_and_the_dictionary_is_sorted(
            values in prop::collection::vec(0_u64..50, 100..20_000)
        ) {
            let mut s = Scratch::default();
            let entries = distinct(&values, &mut s).unwrap();
            prop_assert!(entries.is_sorted_by(|a, b| a < b));
            let back: Vec<u64> = s.indices.iter().map(|i| entries[*i as usize]).collect();
            prop_assert_eq!(back, values);
        }
    }

    #[test]
    fn growing_keeps_every_value_and_memory_can_be_used_again() {
        let mut s = Scratch::default();
        for n in [60_000_u64, 100, 30_000] {
            let values: Vec<u64> = (0..n).flat_map(|v| [v * 7_919, v * 7_919]).collect();
            let entries = distinct(&values, &mut s).unwrap();
            assert_eq!(entries.len() as u64, n);
            assert_eq!(s.indices.len(), values.len());
            assert!(values.iter().zip(&s.indices).all(|(v, i)| entries[*i as usize] == *v));
        }
    }

    #[test]
    fn values_that_hardly_repeat_get_no_dictionary() {
        let mut s = Scratch::default();
        let values: Vec<u64> = (0..1_000).collect();
        assert!(distinct(&values, &mut s).is_none());
        let many: Vec<i128> = (0..70_000).flat_map(|v| [v, v, v]).collect();
        assert!(distinct(&many, &mut s).is_none());
    }

    #[test]
    fn texts_share_the_rules() {
        let words: Vec<&[u8]> = [b"NEW".as_slice(), b"FILLED", b"NEW"].repeat(20);
        let (entries, indices) = distinct_texts(&words).unwrap();
        assert_eq!(entries, [b"FILLED".as_slice(), b"NEW"]);
        assert_eq!(indices.get(..3).unwrap(), [1, 0, 1]);
    }
}
