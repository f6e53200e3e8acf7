//! A lake that is no directory: rows go there, are proved there and are gone on from there, as in one that is.

use lake::{Body, Hour};

use super::*;
use crate::chain::verify as verify_chain;

impl Bed {
    /// Compacts the log into `lake`, to its end or to the failpoint `at`.
    fn compact_into(&self, lake: &Lake, at: &str) {
        let worker = Worker { lake: lake.clone(), ..self.worker(Mode::Drain, Bed::eager) };
        armed_for(at, 1, || worker.run().unwrap());
    }
}

#[test]
fn a_lake_in_an_object_store_has_what_one_in_a_directory_has_and_proves_it() {
    let local = three_hours(4_000);
    let bed = local.copy_of_log();
    local.drain();
    let lake = Lake::in_memory(&bed.lake());
    bed.compact_into(&lake, "never");
    assert_eq!(diff_trees(&local.at(), &lake).unwrap(), []);
    assert_eq!(bed.at().list("", None, None).unwrap(), [], "nothing was published beside it");
    assert!(bed.no_staging_left());
    let left = |bed: &Bed| wal_format::list_segments(&bed.wal()).unwrap().len();
    assert_eq!(left(&bed), left(&local), "segments go by what it holds");
    let proof = verify_chain(&lake, None, &[]).unwrap();
    assert!(proof.is_clean() && proof.chains.len() == 1, "{proof}");
    let query = quality::Query {
        venues: Vec::new(),
        from: Hour::of_ns(T0 - HOUR),
        to: Hour::of_ns(T0 + 9 * HOUR),
        by: quality::By::Day,
    };
    assert_eq!(quality::report(&lake, &query).unwrap(), quality::report(&local.at(), &query).unwrap());
    // Whoever alters it is found out.
    let key = lake.list("trades", None, None).unwrap().remove(0).key;
    let mut bytes = lake.read(&key).unwrap();
    bytes[100] ^= 1;
    lake.replace(&key, Body::Bytes(&bytes), None).unwrap();
    assert_eq!(verify_chain(&lake, None, &[]).unwrap().fault_count(), 1);
}

#[test]
fn a_kill_at_any_step_of_publishing_leaves_the_same_objects() {
    let local = three_hours(1_000);
    let log = local.copy_of_log();
    local.drain();
    for point in
        ["before_part", "after_rename_trades", "before_manifest", "after_manifest", "after_ack", "after_retire"]
    {
        let bed = log.copy_of_log();
        let lake = Lake::in_memory(&bed.lake());
        bed.compact_into(&lake, &format!("publish.{point}"));
        bed.compact_into(&lake, "never");
        assert_eq!(diff_trees(&local.at(), &lake).unwrap(), [], "{point}");
        assert!(verify_chain(&lake, None, &[]).unwrap().is_clean(), "{point}");
    }
}
