//! A real server does what every store does.
#![allow(clippy::unwrap_used)]

use ::lake::conformance::CASES;
use ::lake::{Body, LakeError, LakeStore};

use crate::faults::Faults;
use crate::weed::Weed;
use crate::{S3Place, remote};

#[test]
fn an_s3_store_does_what_every_store_does_in_one_request_and_in_parts() {
    let Some(weed) = Weed::start() else { return };
    let settings = weed.settings(&weed.endpoint());
    for (n, (name, case)) in CASES.iter().enumerate() {
        println!("{name}");
        for parts in [false, true] {
            let work = tempfile::tempdir().unwrap();
            let place = S3Place::parse(&format!("s3://lake/case-{n}-{parts}")).unwrap();
            let (store, _) = remote(&place, &settings).unwrap();
            case(&if parts { store.in_parts_above(0) } else { store }, work.path());
        }
    }
}

/// Of three requests one is cut, refused or delayed, or carried out without an answer.
#[test]
fn a_bad_way_to_the_store_changes_nothing_of_what_it_does() {
    let Some(weed) = Weed::start() else { return };
    let seed = std::env::var("TAPEDECK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(ops::clock::wall_ns);
    println!("seed {seed} (replay with TAPEDECK_SEED={seed})");
    let faults = Faults::before(&weed.endpoint(), 33, seed);
    let settings = weed.settings(&faults.endpoint());
    for (n, (name, case)) in CASES.iter().enumerate() {
        // A thousand requests more say nothing more.
        if *name == "more_than_a_page_is_listed_whole" {
            continue;
        }
        println!("{name}");
        let work = tempfile::tempdir().unwrap();
        let place = S3Place::parse(&format!("s3://lake/bad-{n}")).unwrap();
        let (store, _) = remote(&place, &settings).unwrap();
        case(&if n % 2 == 0 { store } else { store.in_parts_above(0) }, work.path());
    }
    println!("{:?}", faults.counts);
    let lost = faults.counts.lost.load(std::sync::atomic::Ordering::Relaxed);
    assert!(lost > 20, "only {lost} answers were lost");
}

#[test]
fn a_long_file_goes_up_in_parts_once_and_the_same_bytes_are_taken_for_it() {
    let Some(weed) = Weed::start() else { return };
    let place = S3Place::parse("s3://lake/long").unwrap();
    let (store, _) = remote(&place, &weed.settings(&weed.endpoint())).unwrap();
    let store = store.in_parts_above(6 << 20).in_parts_of(5 << 20);
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("file");
    let bytes: Vec<u8> = (0..(13_u32 << 20)).map(|n| (n % 251) as u8).collect();
    let put = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        store.put_new("t/long", Body::File(&file))
    };
    put(&bytes).unwrap();
    assert!(!file.exists());
    assert_eq!(store.get("t/long").unwrap().unwrap().all(u64::MAX).unwrap(), bytes);
    // Sent again by somebody whose answer was lost.
    put(&bytes).unwrap();
    let other = put(&bytes[1..]).unwrap_err();
    assert!(matches!(other, LakeError::Exists { .. }) && file.exists(), "{other}");
    assert_eq!(store.list("", None, None).unwrap().len(), 1);
    assert_eq!(store.sweep(i64::MAX).unwrap(), 0, "an upload is removed when it was copied");
}
