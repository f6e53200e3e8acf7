//! The ids that a log of repairs holds of the hole in work: ranges, so that a hole of any size is known as a whole.
//!
//! A hole that is begun anew is asked for behind them, and a row of one of them came before, also when its content is
//! remembered no more. They are forgotten when the hole ends: a venue may count anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use model::Channel;

/// Ranges of one symbol; ids that would need more are not noted, and may be fetched twice.
const RANGES_MAX: usize = 10_000;

/// Channel word -> symbol -> ids that were fetched, both ends included, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FetchedIds(BTreeMap<String, BTreeMap<String, Vec<(i64, i64)>>>);

impl FetchedIds {
    /// The ids of one symbol and channel.
    pub fn of(&self, channel: Channel, symbol: &str) -> &[(i64, i64)] {
        self.0.get(channel.as_str()).and_then(|symbols| symbols.get(symbol)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn holds(&self, channel: Channel, symbol: &str, id: i64) -> bool {
        let ranges = self.of(channel, symbol);
        ranges.get(ranges.partition_point(|(_, to)| *to < id)).is_some_and(|(from, _)| *from <= id)
    }

    pub(super) fn add(&mut self, channel: Channel, symbol: &str, id: i64) {
        if self.of(channel, symbol).is_empty() {
            self.0.entry(channel.as_str().to_owned()).or_default().insert(symbol.to_owned(), vec![(id, id)]);
            return;
        }
        let ranges = self.0.get_mut(channel.as_str()).and_then(|symbols| symbols.get_mut(symbol));
        let Some(ranges) = ranges else { return };
        // The first range that does not end more than one before it.
        let at = ranges.partition_point(|(_, to)| to.saturating_add(1) < id);
        match ranges.get(at).copied() {
            Some((from, to)) if from.saturating_sub(1) <= id => {
                let joined = ranges.get(at + 1).filter(|(next, _)| id.saturating_add(1) == *next).map(|(_, end)| *end);
                if joined.is_some() {
                    ranges.remove(at + 1);
                }
                if let Some(range) = ranges.get_mut(at) {
                    *range = (from.min(id), joined.unwrap_or(to.max(id)));
                }
            }
            _ if ranges.len() < RANGES_MAX => ranges.insert(at, (id, id)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_added_and_nothing_else(ids in prop::collection::vec(0..60_i64, 0..80)) {
            let (mut fetched, mut all) = (FetchedIds::default(), BTreeSet::new());
            for id in ids {
                fetched.add(Channel::Trades, "X", id);
                all.insert(id);
                let held: BTreeSet<i64> = (-1..61).filter(|id| fetched.holds(Channel::Trades, "X", *id)).collect();
                prop_assert_eq!(&held, &all);
                let apart = fetched.of(Channel::Trades, "X").windows(2).all(|w| w[0].1 + 1 < w[1].0);
                prop_assert!(apart, "{:?}", fetched);
            }
        }
    }
}
