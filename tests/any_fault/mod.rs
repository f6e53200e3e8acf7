//! A list of faults, each applied to a data directory of the real services, and what must hold afterwards ([`judge`]).
//!
//! `TAPEDECK_FAULT=text` runs the faults whose name contains the text and prints what the services said;
//! `TAPEDECK_FAULTS=all` runs the whole list (tests/campaigns/faults.sh), the suite runs a share of it that changes with
//! the seed and contains every kind.

mod calls;
mod files_list;
mod judge;
mod services;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::calls::Disturbance;
use self::files_list::Fault;
use self::judge::{Survey, judge, seqs};
use self::world::{AFTER, ALL, Data, FIRST, Worlds};
use crate::support::{Dice, both, seed};

/// Faults of files that the suite draws; the campaign draws all. One in fifteen finds nothing that it could damage, and at
/// least 80 must have been applied, whatever the seed.
const IN_THE_SUITE: usize = 105;
/// Disturbances of a running collector that the suite makes.
const SERVICES_IN_THE_SUITE: usize = 6;
/// Disturbances of a drain that the suite makes.
const DISTURBED_IN_THE_SUITE: usize = 30;

/// Applies one fault and says what is wrong afterwards; `None` when there was nothing to apply it to.
fn run(worlds: &Worlds, fault: &Fault, seq_of: &judge::SeqOf, loud: bool) -> Option<Vec<String>> {
    let data = Data::copy_of(&worlds.base);
    if !(fault.apply)(worlds, &data) {
        return None;
    }
    let mut wrong = Vec::new();
    let after_fault = Survey::of(&data.dir);
    let last = if fault.forgets { FIRST } else { ALL };
    let wanted: BTreeSet<i64> = (1..=last).collect();
    let out = data.drain();
    if loud {
        println!("--- {}: drain {}\n{}", fault.name, out.status, both(&out));
    }
    let now = Survey::of(&data.dir);
    let verified = data.verify();
    if fault.for_verify {
        // What was published is not what it was: the lake's own rows are the fault, only the rest is judged.
        if verified.status.success() && !same_lake(&now, &wanted) {
            wrong.push("published rows were damaged and verify says nothing".to_owned());
        }
    } else {
        wrong.extend(judge(&after_fault, &now, &out, &wanted, seq_of));
        if fault.heals && !(out.status.success() && same_lake(&now, &wanted)) {
            wrong.push(format!("the log holds all of it, and it is not made good: {}", both(&out).trim()));
        }
        if loud {
            println!("verify {}\n{}", verified.status, both(&verified));
        }
    }
    // The writer comes first: whatever happened, it records again or says why not.
    match data.record_more() {
        Err(why) if why.trim().is_empty() => wrong.push("the writer does not start and does not say why".to_owned()),
        Err(why) => {
            if loud {
                println!("writer refused: {why}");
            }
        }
        Ok(()) => {
            let before = Survey::of(&data.dir);
            let wanted: BTreeSet<i64> = (1..=ALL + AFTER).collect();
            let again = data.drain();
            if loud {
                println!("drained again {}\n{}", again.status, both(&again));
            }
            if !fault.for_verify {
                let second = judge(&before, &Survey::of(&data.dir), &again, &wanted, seq_of);
                wrong.extend(second.into_iter().map(|w| format!("after more was recorded: {w}")));
            }
        }
    }
    Some(wrong)
}

/// Every wanted trade is in the lake once although the fault touched it.
fn same_lake(now: &Survey, wanted: &BTreeSet<i64>) -> bool {
    wanted.iter().all(|id| now.lake.get(id) == Some(&1))
}

/// Drains disturbed, then as usual: what is in the lake in the end is all of it, once.
fn disturbed(worlds: &Worlds, disturbance: &Disturbance, seq_of: &judge::SeqOf, loud: bool) -> Vec<String> {
    let data = Data::copy_of(&worlds.base);
    let before = Survey::of(&data.dir);
    let wanted: BTreeSet<i64> = (1..=ALL).collect();
    let out = disturbance.drain(&data);
    if loud {
        println!("--- {}: drain {}\n{}", disturbance.name, out.status, both(&out));
    }
    let mut wrong = judge(&before, &Survey::of(&data.dir), &out, &wanted, seq_of);
    if disturbance.kills() {
        wrong.retain(|w| !w.starts_with("hung or was killed") && !w.starts_with("did not end well"));
    }
    let again = data.drain();
    if loud {
        println!("drained again {}\n{}", again.status, both(&again));
    }
    let now = Survey::of(&data.dir);
    wrong.extend(judge(&before, &now, &again, &wanted, seq_of).into_iter().map(|w| format!("undisturbed: {w}")));
    if !again.status.success() {
        wrong.push(format!("the drain after it does not end well: {}", both(&again).trim()));
    }
    let missing = wanted.iter().filter(|id| !now.lake.contains_key(id)).count();
    if missing > 0 {
        wrong.push(format!("{missing} trades are not in the lake although nothing was damaged"));
    }
    let verified = data.verify();
    if !verified.status.success() {
        wrong.push(format!("verify: {}", both(&verified).trim()));
    }
    wrong
}

#[test]
fn after_any_fault_of_a_file_rows_are_exact_or_the_loss_is_told_and_nothing_uncovered_is_deleted() {
    let seed = seed("faults_of_files");
    let worlds = Worlds::make();
    let whole = Data::copy_of(&worlds.base);
    let mut seq_of = seqs(&Data::copy_of(&worlds.older));
    seq_of.extend(seqs(&whole));
    let name = |f: &Fault| f.name.clone();
    let list = chosen(files_list::all(), name, seed, IN_THE_SUITE);
    all_hold(&list, name, 80, |fault, loud| run(&worlds, fault, &seq_of, loud));
}

#[test]
fn after_any_disturbance_of_a_drain_every_row_is_in_the_lake_once() {
    let seed = seed("disturbed_drains");
    let worlds = Worlds::make();
    let mut seq_of = seqs(&Data::copy_of(&worlds.older));
    seq_of.extend(seqs(&Data::copy_of(&worlds.base)));
    let name = |d: &Disturbance| d.name.clone();
    let list = chosen(calls::all(), name, seed, DISTURBED_IN_THE_SUITE);
    all_hold(&list, name, DISTURBED_IN_THE_SUITE.min(20), |d, loud| Some(disturbed(&worlds, d, &seq_of, loud)));
}

/// What this run applies: the named ones, all, or a share that the seed chooses.
fn chosen<T>(mut list: Vec<T>, name: impl Fn(&T) -> String, seed: u64, share: usize) -> Vec<T> {
    if let Ok(only) = std::env::var("TAPEDECK_FAULT") {
        list.retain(|f| name(f).contains(only.as_str()));
        return list;
    }
    if !std::env::var("TAPEDECK_FAULTS").is_ok_and(|v| v == "all") {
        let mut dice = Dice::new(seed);
        while list.len() > share {
            let at = dice.below(list.len() as u64) as usize;
            list.swap_remove(at);
        }
    }
    list
}

/// Applies all of `list`, two at a time, and fails with what is wrong.
fn all_hold<T: Sync>(
    list: &[T],
    name: impl Fn(&T) -> String + Sync,
    at_least: usize,
    apply: impl Fn(&T, bool) -> Option<Vec<String>> + Sync,
) {
    let only = std::env::var("TAPEDECK_FAULT").is_ok();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(String, Option<Vec<String>>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let wrong = apply(fault, only);
                    if let Some(wrong) = wrong.as_ref().filter(|w| !w.is_empty()) {
                        println!("FALLS {}: {}", name(fault), wrong.join("; "));
                    }
                    results.lock().unwrap().push((name(fault), wrong));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let applied = results.iter().filter(|(_, w)| w.is_some()).count();
    let bad = results.iter().filter(|(_, w)| w.as_ref().is_some_and(|w| !w.is_empty())).count();
    println!("{applied} applied, {} hold", applied - bad);
    assert!(bad == 0, "{bad} of {applied} do harm");
    assert!(only || applied >= at_least, "only {applied} could be applied");
}

#[test]
fn after_any_disturbance_of_a_running_collector_ids_are_exact_or_told_and_it_records_again() {
    let seed = seed("disturbed_collector");
    let name = |d: &(String, services::Disturbance)| d.0.clone();
    let list = chosen(services::all(), name, seed, SERVICES_IN_THE_SUITE);
    all_hold(&list, name, 3, |d, loud| services::run_one(&d.1, seed, loud));
}
