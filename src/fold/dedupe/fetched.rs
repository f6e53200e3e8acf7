//! The ids that a repair log holds of the gaps in work: ranges, so that a gap of any size is known as a whole.
//!
//! A gap that is started again is requested after them, and a row of one of them came before, also when its content is
//! no longer remembered. They are forgotten when their gap ends: a venue may restart its count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use lake::manifest::Repair;
use model::Channel;

/// Ranges of one symbol; ids that would need more are not noted, and may be fetched twice.
const RANGES_MAX: usize = 10_000;

/// Channel name -> symbol -> ids that were fetched, both ends included, in order and apart from each other.
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

    /// The gap that ended with `repair` is not in work any more; others may be.
    pub fn end(&mut self, repair: &Repair) {
        let Some(symbols) = self.0.get_mut(&repair.channel) else { return };
        let Some(ranges) = symbols.get_mut(&repair.symbol) else { return };
        let (first, last) = (repair.from_id, repair.to_id);
        let outside = |(from, to): (i64, i64)| {
            let (before, behind) = ((from, to.min(first.saturating_sub(1))), (from.max(last.saturating_add(1)), to));
            [before, behind].into_iter().filter(|(from, to)| from <= to)
        };
        *ranges = std::mem::take(ranges).into_iter().flat_map(outside).collect();
        if ranges.is_empty() {
            symbols.remove(&repair.symbol);
        }
        if symbols.is_empty() {
            self.0.remove(&repair.channel);
        }
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

    #[test]
    fn the_end_of_a_gap_forgets_its_ids_and_keeps_those_of_others_in_work() {
        let mut fetched = FetchedIds::default();
        (0..20).for_each(|id| fetched.add(Channel::Trades, "X", id));
        fetched.add(Channel::Trades, "Y", 5);
        let of = |symbol: &str, from_id, to_id| Repair {
            channel: "trades".to_owned(),
            symbol: symbol.to_owned(),
            from_id,
            to_id,
            rows: 0,
            why: None,
        };
        fetched.end(&of("X", 5, 9));
        assert_eq!(fetched.of(Channel::Trades, "X"), [(0, 4), (10, 19)]);
        assert_eq!(fetched.of(Channel::Trades, "Y"), [(5, 5)]);
        fetched.end(&of("X", 0, 30));
        fetched.end(&of("Y", i64::MIN, i64::MAX));
        assert!(fetched.is_empty());
    }

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
