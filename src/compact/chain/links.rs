//! Manifests of one log into chains, by who names whom. Pure.

use std::collections::{BTreeMap, HashMap};

use super::files::Checked;
use super::report::Chain;
use super::snapshot::Link;

/// The chains of one log; `links` by hour and first seq. Each part is in one of them.
pub(super) fn follow(links: &[&Link], checked: &BTreeMap<String, Checked>) -> Vec<Chain> {
    let by_name: HashMap<&str, usize> =
        links.iter().enumerate().flat_map(|(i, link)| link.names().map(move |name| (name, i))).collect();
    let mut chains: Vec<Chain> = Vec::new();
    // The last part of each chain.
    let mut tails: Vec<usize> = Vec::new();
    // Of each run of the log the part that reaches farthest.
    let mut farthest: HashMap<u64, usize> = HashMap::new();
    for (i, link) in links.iter().enumerate() {
        let what = link.what();
        // A manifest never names a later one.
        let before = link.previous.as_deref().map(|name| by_name.get(name).copied().filter(|before| *before < i));
        let mut fault = None;
        let at = match before {
            Some(Some(before)) => match tails.iter().position(|tail| *tail == before) {
                Some(at) => at,
                None => begin(&mut chains, link, links.get(before).map(|l| l.what())),
            },
            None if chains.is_empty() => begin(&mut chains, link, None),
            // Another run of the log, of which nothing was published before.
            None if link.incarnation != 0 && links.iter().take(i).all(|l| l.incarnation != link.incarnation) => {
                begin(&mut chains, link, Some("its beginning".to_owned()))
            }
            None => {
                fault = Some(format!("{what}: it names no manifest before it"));
                chains.len() - 1
            }
            Some(None) if chains.is_empty() => {
                fault = Some(format!("{what}: the manifest before it is gone"));
                begin(&mut chains, link, None)
            }
            Some(None) => {
                // Of several chains the one that ends where this part begins.
                let ends_here = |tail: &usize| links.get(*tail).is_some_and(|l| l.range.1 == link.range.0);
                let at = tails.iter().rposition(ends_here).unwrap_or(chains.len() - 1);
                let why = "it was published after another manifest than the one there is";
                let (named, head) = (link.previous.as_deref().unwrap_or_default(), &chains[at].head);
                fault = Some(format!("{what}: {why} ({named}, not {head})"));
                at
            }
        };
        match tails.get_mut(at) {
            Some(tail) => *tail = i,
            None => tails.push(i),
        }
        let Some(chain) = chains.get_mut(at) else { continue };
        chain.faults.extend(fault);
        let other = farthest.get(&link.incarnation).and_then(|other| links.get(*other));
        chain.faults.extend(other.and_then(|other| overlap(other, link)));
        if other.is_none_or(|other| other.range.1 < link.range.1) {
            farthest.insert(link.incarnation, i);
        }
        add(chain, link, checked.get(&link.sha256));
    }
    chains
}

fn begin(chains: &mut Vec<Chain>, link: &Link, forked_behind: Option<String>) -> usize {
    let (venue, log, first_hour) = (link.part.venue.clone(), link.log.clone(), link.hour.clone());
    chains.push(Chain { venue, log, first_hour, forked_behind, ..Chain::default() });
    chains.len() - 1
}

fn add(chain: &mut Chain, link: &Link, checked: Option<&Checked>) {
    chain.parts += 1;
    chain.last_hour.clone_from(&link.hour);
    chain.head.clone_from(&link.sha256);
    chain.rebuilt += u64::from(link.rebuilt);
    chain.rewritten += u64::from(link.revision > 0 && !link.rebuilt);
    let what = link.what();
    if link.supersedes.len() != link.revision as usize {
        let n = link.supersedes.len();
        chain.faults.push(format!("{what}: revision {} replaces {n} manifests", link.revision));
    }
    chain.faults.extend(link.imbalance.as_ref().map(|why| format!("{what}: {why}")));
    let Some(checked) = checked else { return };
    (chain.files, chain.bytes) = (chain.files + checked.files, chain.bytes + checked.bytes);
    chain.removed += checked.removed;
    chain.faults.extend(checked.faults.iter().cloned());
}

/// Records of the same run of the log that are in an earlier part too: rows that are in the lake twice.
fn overlap(other: &Link, link: &Link) -> Option<String> {
    let (from, end) = (other.range.0.max(link.range.0), other.range.1.min(link.range.1));
    (from < end)
        .then(|| format!("{}: records from seq {from} to before {end} are in {} too", link.what(), other.what()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use lake::{Hour, Part};

    /// A part of a run, from one seq to another, after one of another name.
    fn link(name: &str, behind: Option<&str>, incarnation: u64, range: (u64, u64)) -> Link {
        let part = Part {
            venue: "binance-spot".into(),
            hour: Hour(7),
            log8: "0badcafe".into(),
            incarnation: 0,
            first_seq: range.0,
        };
        Link {
            key: format!("{name}.json"),
            log: "0badcafe".into(),
            hour: "h".into(),
            sha256: name.into(),
            previous: behind.map(str::to_owned),
            supersedes: Vec::new(),
            revision: 0,
            rebuilt: false,
            range,
            incarnation,
            account_sha256: String::new(),
            imbalance: None,
            files: Vec::new(),
            part,
        }
    }

    fn followed(links: &[Link]) -> Vec<Chain> {
        follow(&links.iter().collect::<Vec<_>>(), &BTreeMap::new())
    }

    #[test]
    fn a_restored_log_is_a_second_chain_and_no_fault() {
        let links = [
            link("a1", None, 1, (0, 10)),
            link("a2", Some("a1"), 1, (10, 20)),
            // Restored from a backup of after the first part; goes on in a run of its own.
            link("b2", Some("a1"), 2, (15, 30)),
            link("a3", Some("a2"), 1, (20, 40)),
            link("b3", Some("b2"), 2, (30, 50)),
            // A clone from before anything was published.
            link("c1", None, 3, (12, 90)),
        ];
        let chains = followed(&links);
        let shape: Vec<_> = chains.iter().map(|c| (c.head.as_str(), c.parts, c.forked_behind.is_some())).collect();
        assert_eq!(shape, [("a3", 3, false), ("b3", 2, true), ("c1", 1, true)]);
        assert!(chains.iter().all(|c| c.faults.is_empty()), "{chains:?}");
    }

    #[test]
    fn a_missing_link_and_records_in_two_parts_are_faults_in_a_fork_too() {
        let links = [
            link("a1", None, 1, (0, 10)),
            link("a2", Some("a1"), 1, (10, 20)),
            link("b2", Some("a1"), 2, (10, 30)),
            link("a4", Some("a3"), 1, (20, 40)),
            link("b3", Some("b2"), 1, (5, 50)),
        ];
        let chains = followed(&links);
        assert_eq!(chains.len(), 2);
        assert!(chains[0].faults[0].contains("after another manifest"), "{chains:?}");
        assert!(chains[1].faults.iter().any(|f| f.contains("are in")), "{chains:?}");
        // A run of version 1 that begins twice cannot be distinguished from one whose beginning was taken out.
        let links = [link("a1", None, 0, (0, 10)), link("b1", None, 0, (10, 20))];
        assert!(followed(&links)[0].faults[0].contains("names no manifest before it"));
    }
}
