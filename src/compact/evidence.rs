//! What the manifests on disk prove about a log: which of its records are published.
//!
//! ```text
//!   manifest 1 [0, 90)  <--sha256--  manifest 2 [90, 200)      manifest 4 [310, 400)
//!   `----------- covered: [0, 200) -----------'                `- [310, 400) -'
//! ```
//!
//! Manifests count only as they lie there now: readable, unaltered ([`PartManifest::load_proven`]) and of this very
//! log. Two that are linked (the later one names the SHA-256 of the earlier one, or of one that it replaces)
//! cover everything from the first record of the one to the end of the other, also what no part has records of: what a
//! log lost between two parts is recorded by the later one. Where a manifest is damaged or gone the range ends.
//!
//! Of a manifest that another copy of the log published (the log was restored from a backup, or is a clone) counts what
//! both copies hold: its runs up to the last common one ([`Place::own_end`]).
//!
//! Names carry hour and first seq of their part, so that only manifests around the segments in question are read.

use std::collections::BTreeMap;

use super::place::Place;
use lake::find::manifests_since;
use lake::{Hour, LakeError, Part, PartManifest};

/// The published ranges of a log around some of its records.
#[derive(Debug, Default)]
pub struct Coverage {
    /// First seq and the first one after, ascending.
    ranges: Vec<(u64, u64)>,
    /// Manifests that are not evidence, with the reason.
    pub unusable: Vec<String>,
}

impl Coverage {
    /// What the lake says about the records from hour `since` on, up to `last`.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub fn load(place: &Place, since: Hour, last: u64) -> Result<Self, LakeError> {
        Self::load_until(place, since, None, last)
    }

    /// [`Coverage::load`] by manifests of hours before `until` alone.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub fn load_until(place: &Place, since: Hour, until: Option<Hour>, last: u64) -> Result<Self, LakeError> {
        // The hour of a part is never before that of its records.
        let mut parts = manifests_since(&place.lake, &place.venue, since)?;
        let is_early = |part: &Part| until.is_none_or(|until| part.hour < until);
        parts.retain(|(part, _)| place.owns(part) && part.first_seq <= last && is_early(part));
        parts.sort_by_key(|(part, _)| part.first_seq);
        let mut coverage = Self::default();
        // By the SHA-256 that the next one may name: the range it goes on with.
        let mut links: BTreeMap<String, usize> = BTreeMap::new();
        for (_, found) in parts {
            match PartManifest::load_proven(&place.lake, &found.key) {
                Ok((m, sha256)) if place.is_of(&m) => {
                    let Some(end) = place.own_end(&m) else { continue };
                    let known = m.previous_sha256.as_ref().and_then(|previous| links.get(previous).copied());
                    let range = coverage.add(known, m.first.seq, end.seq.get());
                    links.extend(std::iter::once(sha256).chain(m.supersedes).map(|sha256| (sha256, range)));
                }
                Ok((m, _)) => {
                    let path = place.lake.place(&found.key);
                    coverage.unusable.push(format!("{} is of the log {}", path.display(), m.log));
                }
                Err(err) => coverage.unusable.push(err.to_string()),
            }
        }
        Ok(coverage)
    }

    /// Adds a manifest after the range that it is linked to, if any; returns its range.
    fn add(&mut self, linked: Option<usize>, first: u64, end: u64) -> usize {
        match linked.and_then(|at| Some((at, self.ranges.get_mut(at)?))) {
            Some((at, range)) => {
                range.1 = range.1.max(end);
                at
            }
            None => {
                self.ranges.push((first, end));
                self.ranges.len() - 1
            }
        }
    }

    /// True when a record from `first` up to `end` is published already.
    pub fn touches(&self, first: u64, end: u64) -> bool {
        self.ranges.iter().any(|(from, to)| *from < end && first < *to)
    }

    /// True when every record from `first` to `last` is published.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        self.ranges.iter().any(|(from, end)| *from <= first && last < *end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lake::manifest::LogPosition;
    use lake::{Body, Lake, WriteSettings};
    use std::path::Path;
    use wal_format::Seq;

    fn place(lake: &Path) -> Place {
        let (venue, log) = ("binance-spot".to_owned(), "ab".repeat(16));
        Place { lake: Lake::open(lake), venue, log, lineage: None, wal: None }
    }

    /// Publishes an account of [first, end) and returns its SHA-256.
    fn publish(lake: &Path, first: u64, end: u64, previous: Option<&str>) -> String {
        let place = place(lake);
        let hour = Hour(first as i64);
        let settings = WriteSettings::default();
        let mut m = PartManifest::new(place.log.clone(), place.venue.clone(), hour.to_string(), settings);
        m.first = LogPosition { seq: first, ..LogPosition::default() };
        m.end = LogPosition { seq: end, ..LogPosition::default() };
        m.previous_sha256 = previous.map(str::to_owned);
        let part = place.part(hour, Seq(first), &[]);
        let json = m.to_json().unwrap();
        place.lake.put_new(&part.manifest(), Body::Bytes(&json)).unwrap();
        lake::hash::sha256_hex(&json)
    }

    #[test]
    fn linked_manifests_cover_what_lies_between_them_and_a_missing_or_damaged_one_ends_the_range() {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path();
        let one = publish(lake, 0, 90, None);
        let two = publish(lake, 95, 200, Some(&one));
        let three = publish(lake, 200, 310, Some(&two));
        publish(lake, 310, 400, Some(&three));
        let all = || Coverage::load(&place(lake), Hour(0), 1_000).unwrap();
        assert!(all().covers(0, 399) && all().covers(89, 95) && !all().covers(390, 400));
        // Only what is needed is read, and what lies before it still counts.
        assert!(Coverage::load(&place(lake), Hour(200), 260).unwrap().covers(250, 260));
        let third = lake.join(place(lake).part(Hour(200), Seq(200), &[]).manifest());
        let good = std::fs::read(&third).unwrap();
        std::fs::remove_file(&third).unwrap();
        assert!(all().covers(0, 199) && all().covers(310, 399));
        assert!(!all().covers(199, 200) && !all().covers(300, 310));
        let mut bad = good.clone();
        let at = good.len() / 3;
        bad[at] ^= 1;
        std::fs::write(&third, bad).unwrap();
        let coverage = all();
        assert!(!coverage.covers(200, 200) && coverage.covers(310, 399));
        assert_eq!(coverage.unusable.len(), 1, "{:?}", coverage.unusable);
        std::fs::write(&third, good).unwrap();
        assert!(all().covers(0, 399));
    }

    #[test]
    fn manifests_that_are_not_linked_cover_nothing_between_them() {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), 0, 90, None);
        publish(dir.path(), 90, 200, Some("0123"));
        let coverage = Coverage::load(&place(dir.path()), Hour(0), 300).unwrap();
        assert!(coverage.covers(0, 89) && coverage.covers(90, 199) && !coverage.covers(80, 95));
    }
}
