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

/// Sorted distinct values and, for each input value, the index of its value.
pub(crate) struct Dictionary<T> {
    pub values: Vec<T>,
    pub indices: Vec<u32>,
}

const MAX_ENTRIES: usize = 65_536;

fn worth(distinct: usize, values: usize) -> bool {
    distinct <= MAX_ENTRIES && distinct <= values / 2 + 8
}

/// The dictionary of fixed-width values.
pub(crate) fn distinct<T: Key>(values: &[T]) -> Option<Dictionary<T>> {
    let mut table = Table::new();
    let mut uniques: Vec<T> = Vec::new();
    let mut indices: Vec<u32> = Vec::with_capacity(values.len());
    let mut last: Option<(T, u32)> = None;
    for &v in values {
        let index = match last {
            Some((value, index)) if value == v => index,
            _ => table.index(v, &mut uniques),
        };
        if uniques.len() > MAX_ENTRIES {
            return None;
        }
        last = Some((v, index));
        indices.push(index);
    }
    if !worth(uniques.len(), values.len()) {
        return None;
    }
    let mut sorted: Vec<(T, u32)> = uniques.into_iter().zip(0..).collect();
    sorted.sort_unstable_by_key(|(v, _)| *v);
    let mut rank = vec![0_u32; sorted.len()];
    for (r, (_, i)) in sorted.iter().enumerate() {
        if let Some(slot) = rank.get_mut(*i as usize) {
            *slot = r as u32;
        }
    }
    for i in &mut indices {
        *i = rank.get(*i as usize).copied().unwrap_or_default();
    }
    Some(Dictionary {
        values: sorted.into_iter().map(|(v, _)| v).collect(),
        indices,
    })
}

/// Open addressing over indices into the unique values; a power of two of slots, at most half full.
struct Table {
    slots: Vec<u32>,
    used: usize,
}

const FREE: u32 = u32::MAX;

impl Table {
    fn new() -> Self {
        Self {
            slots: vec![FREE; 4096],
            used: 0,
        }
    }

    #[inline]
    fn index<T: Key>(&mut self, v: T, uniques: &mut Vec<T>) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = v.hash() as usize & mask;
        loop {
            // `at` is masked, slots are a power of two.
            let slot = self.slots[at];
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
        self.slots[at] = index;
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow(uniques);
        }
        index
    }

    #[cold]
    fn grow<T: Key>(&mut self, uniques: &[T]) {
        let mut slots = vec![FREE; self.slots.len() * 4];
        let mask = slots.len() - 1;
        for (i, v) in uniques.iter().enumerate() {
            let mut at = v.hash() as usize & mask;
            while slots[at] != FREE {
                at = (at + 1) & mask;
            }
            slots[at] = i as u32;
        }
        self.slots = slots;
    }
}

/// The dictionary of byte strings; also `None` when its entries together pass 1 MiB.
pub(crate) fn distinct_texts<'a>(values: &[&'a [u8]]) -> Option<Dictionary<&'a [u8]>> {
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
                table.insert_unique(hash, i, |i| {
                    hasher.hash_one(uniques.get(*i as usize).copied().unwrap_or_default())
                });
                i
            }
        };
        indices.push(index);
    }
    if !worth(uniques.len(), values.len()) {
        return None;
    }
    let mut sorted: Vec<(&[u8], u32)> = uniques.into_iter().zip(0..).collect();
    sorted.sort_unstable();
    let mut rank = vec![0_u32; sorted.len()];
    for (r, (_, i)) in sorted.iter().enumerate() {
        if let Some(slot) = rank.get_mut(*i as usize) {
            *slot = r as u32;
        }
    }
    for i in &mut indices {
        *i = rank.get(*i as usize).copied().unwrap_or_default();
    }
    Some(Dictionary {
        values: sorted.into_iter().map(|(v, _)| v).collect(),
        indices,
    })
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
            let d = distinct(&values).unwrap();
            prop_assert!(d.values.is_sorted_by(|a, b| a < b));
            let back: Vec<u64> = d.indices.iter().map(|i| d.values[*i as usize]).collect();
            prop_assert_eq!(back, values);
        }
    }

    #[test]
    fn growing_keeps_every_value() {
        let values: Vec<u64> = (0..60_000_u64)
            .flat_map(|v| [v * 7_919, v * 7_919])
            .collect();
        let d = distinct(&values).unwrap();
        assert_eq!(d.values.len(), 60_000);
        assert!(
            values
                .iter()
                .zip(&d.indices)
                .all(|(v, i)| d.values[*i as usize] == *v)
        );
    }

    #[test]
    fn values_that_hardly_repeat_get_no_dictionary() {
        let values: Vec<u64> = (0..1_000).collect();
        assert!(distinct(&values).is_none());
        let many: Vec<i128> = (0..70_000).flat_map(|v| [v, v, v]).collect();
        assert!(distinct(&many).is_none());
    }

    #[test]
    fn texts_share_the_rules() {
        let words: Vec<&[u8]> = [b"NEW".as_slice(), b"FILLED", b"NEW"].repeat(20);
        let d = distinct_texts(&words).unwrap();
        assert_eq!(d.values, [b"FILLED".as_slice(), b"NEW"]);
        assert_eq!(d.indices.get(..3).unwrap(), [1, 0, 1]);
    }
}
