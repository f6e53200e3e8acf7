//! What every store does, whatever it is made of: the cases that each implementation is asked, here and where others
//! are made (`src/s3`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use super::{Body, LakeStore, Meta};
use crate::LakeError;
use crate::hash::sha256_hex;

/// A case, on an empty store, with a directory for local files.
pub type Case = fn(&dyn LakeStore, &Path);

/// All of them, by name.
pub const CASES: &[(&str, Case)] = &[
    (
        "what_is_put_is_there_whole_with_its_length_and_the_local_file_is_gone",
        what_is_put_is_there_whole_with_its_length_and_the_local_file_is_gone,
    ),
    (
        "a_key_that_is_taken_is_not_put_to_and_what_is_there_stays",
        a_key_that_is_taken_is_not_put_to_and_what_is_there_stays,
    ),
    (
        "of_those_who_put_under_one_key_at_the_same_time_one_succeeds_and_it_is_its_bytes_that_are_there",
        of_those_who_put_under_one_key_at_the_same_time_one_succeeds_and_it_is_its_bytes_that_are_there,
    ),
    (
        "the_same_bytes_are_published_as_often_as_anybody_likes_and_others_never",
        the_same_bytes_are_published_as_often_as_anybody_likes_and_others_never,
    ),
    (
        "any_range_is_read_and_what_lies_beyond_the_end_is_left_out",
        any_range_is_read_and_what_lies_beyond_the_end_is_left_out,
    ),
    ("what_is_open_stays_what_it_was_or_says_that_it_is_not", what_is_open_stays_what_it_was_or_says_that_it_is_not),
    (
        "a_list_is_in_the_order_of_keys_and_holds_the_span_that_was_asked_for",
        a_list_is_in_the_order_of_keys_and_holds_the_span_that_was_asked_for,
    ),
    ("more_than_a_page_is_listed_whole", more_than_a_page_is_listed_whole),
    (
        "what_is_not_there_is_deleted_without_a_word_and_folders_go_with_their_last_object",
        what_is_not_there_is_deleted_without_a_word_and_folders_go_with_their_last_object,
    ),
    (
        "odd_symbols_are_names_like_others_and_no_key_leads_out_of_the_lake",
        odd_symbols_are_names_like_others_and_no_key_leads_out_of_the_lake,
    ),
    (
        "an_object_is_replaced_in_one_step_and_only_as_the_one_that_was_seen",
        an_object_is_replaced_in_one_step_and_only_as_the_one_that_was_seen,
    ),
    ("lines_are_added_whole_even_behind_a_torn_one", lines_are_added_whole_even_behind_a_torn_one),
    ("what_is_taken_out_is_a_local_file_and_no_object", what_is_taken_out_is_a_local_file_and_no_object),
    ("what_is_not_there_is_named_with_its_place", what_is_not_there_is_named_with_its_place),
    (
        "a_version_that_is_not_there_any_more_is_not_replaced_and_the_file_stays_the_callers",
        a_version_that_is_not_there_any_more_is_not_replaced_and_the_file_stays_the_callers,
    ),
    (
        "deleting_takes_one_object_and_nothing_that_begins_like_it",
        deleting_takes_one_object_and_nothing_that_begins_like_it,
    ),
    ("no_folder_leads_out_of_the_lake", no_folder_leads_out_of_the_lake),
];

/// Symbols as venues spell them, and what somebody may call a file.
const ODD: [&str; 8] =
    ["BTC-USDT", "1000000MOG%2FUSDT", "币安人生USDT", "a b", "x'y\"z", "p+q=r&s", "~(t)[u]{v}", "UPPER_lower.csv.zst"];

pub(super) fn put(store: &dyn LakeStore, key: &str, text: &str) {
    store.put_new(key, Body::Bytes(text.as_bytes())).unwrap();
}

pub(super) fn text(store: &dyn LakeStore, key: &str) -> String {
    String::from_utf8(store.read(key).unwrap()).unwrap()
}

fn keys(listed: Vec<Meta>) -> Vec<String> {
    listed.into_iter().map(|meta| meta.key).collect()
}

pub(super) fn all(store: &dyn LakeStore) -> Vec<String> {
    keys(store.list("", None, None).unwrap())
}

/// A complete local file.
fn staged(work: &Path, text: &str) -> std::path::PathBuf {
    std::fs::create_dir_all(work).unwrap();
    let tmp = work.join("staged.tmp");
    std::fs::write(&tmp, text).unwrap();
    tmp
}

fn what_is_put_is_there_whole_with_its_length_and_the_local_file_is_gone(store: &dyn LakeStore, work: &Path) {
    let tmp = staged(work, "rows of trades");
    store.put_new("trades/exchange=x/date=2024-08-09/hour=00/a.parquet", Body::File(&tmp)).unwrap();
    put(store, "_manifests/a.json", "manifest");
    assert!(!tmp.exists());
    assert_eq!(text(store, "trades/exchange=x/date=2024-08-09/hour=00/a.parquet"), "rows of trades");
    assert_eq!(store.head("_manifests/a.json").unwrap().unwrap().bytes, 8);
    assert_eq!(all(store).len(), 2);
}

fn a_key_that_is_taken_is_not_put_to_and_what_is_there_stays(store: &dyn LakeStore, work: &Path) {
    put(store, "a/b", "first");
    let tmp = staged(work, "second");
    for body in [Body::Bytes(b"second"), Body::File(&tmp)] {
        let err = store.put_new("a/b", body).unwrap_err();
        assert!(matches!(&err, LakeError::Exists { path } if *path == store.place("a/b")), "{err}");
    }
    assert_eq!(text(store, "a/b"), "first");
    assert!(tmp.exists(), "what was not taken is still the caller's");
    assert_eq!(all(store), ["a/b"]);
}

fn of_those_who_put_under_one_key_at_the_same_time_one_succeeds_and_it_is_its_bytes_that_are_there(
    store: &dyn LakeStore,
    work: &Path,
) {
    for round in 0..8 {
        let key = format!("race/{round}");
        let files: Vec<_> = (0..4).map(|n| staged(&work.join(n.to_string()), &n.to_string().repeat(100))).collect();
        let put = &|n: usize| store.put_new(&key, Body::File(&files[n])).is_ok().then_some(n);
        let won: Vec<usize> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|n| s.spawn(move || put(n))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1);
        assert_eq!(text(store, &key), won[0].to_string().repeat(100));
    }
    assert_eq!(all(store).len(), 8);
}

fn the_same_bytes_are_published_as_often_as_anybody_likes_and_others_never(store: &dyn LakeStore, work: &Path) {
    for _ in 0..3 {
        store.publish("a", Body::File(&staged(work, "rows")), &sha256_hex(b"rows")).unwrap();
    }
    let err = store.publish("a", Body::Bytes(b"other rows"), &sha256_hex(b"other rows")).unwrap_err();
    assert!(matches!(err, LakeError::Exists { .. }), "{err}");
    assert_eq!(text(store, "a"), "rows");
}

fn any_range_is_read_and_what_lies_beyond_the_end_is_left_out(store: &dyn LakeStore, work: &Path) {
    let long: String = (0..100_u8).map(|n| char::from(b'a' + n % 23)).collect();
    store.put_new("long", Body::File(&staged(work, &long))).unwrap();
    let object = store.get("long").unwrap().unwrap();
    let size = object.size();
    for (start, end) in
        [(0, 0), (0, 1), (7, 90), (size - 1, size), (size - 3, size + 9), (size, size + 1), (size + 5, u64::MAX)]
    {
        let (from, to) = (start.min(size) as usize, end.min(size) as usize);
        assert_eq!(object.range(start..end).unwrap(), &long.as_bytes()[from..to], "{start}..{end}");
    }
    assert_eq!(object.all(size).unwrap(), &long.as_bytes()[..size as usize]);
    assert!(object.all(size - 1).unwrap_err().to_string().contains("has at most"));
    put(store, "empty", "");
    assert_eq!(store.get("empty").unwrap().unwrap().range(0..9).unwrap(), "");
}

fn what_is_open_stays_what_it_was_or_says_that_it_is_not(store: &dyn LakeStore, work: &Path) {
    put(store, "a", "old bytes");
    let open = store.get("a").unwrap().unwrap();
    store.replace("a", Body::File(&staged(work, "new bytes")), None).unwrap();
    assert!(open.range(0..9).map_or(true, |bytes| bytes == "old bytes"));
    store.delete("a").unwrap();
    assert!(open.range(0..9).map_or(true, |bytes| bytes == "old bytes"));
}

fn a_list_is_in_the_order_of_keys_and_holds_the_span_that_was_asked_for(store: &dyn LakeStore, _: &Path) {
    let mut expected = BTreeSet::new();
    for venue in ["x", "x-sbe", "y"] {
        for hour in 0..30 {
            let key = format!("t/exchange={venue}/date=2024-08-{:02}/hour={:02}/a.parquet", 9 + hour / 24, hour % 24);
            put(store, &key, "");
            expected.insert(key);
        }
    }
    assert_eq!(all(store), expected.iter().cloned().collect::<Vec<_>>());
    let of_x: Vec<String> = expected.iter().filter(|key| key.contains("=x/")).cloned().collect();
    let list = |from, until| keys(store.list("t/exchange=x", from, until).unwrap());
    assert_eq!(list(None, None), of_x, "not those of x-sbe");
    let from = "t/exchange=x/date=2024-08-09/hour=22";
    let until = "t/exchange=x/date=2024-08-10/hour=02";
    assert_eq!(list(Some(from), Some(until)), of_x[22..26]);
    assert_eq!(list(Some(&of_x[3]), Some(&of_x[5])), of_x[3..5], "from a key on, and before one");
    assert_eq!(list(Some(until), Some(from)), [""; 0]);
    assert_eq!(keys(store.list("nothing", None, None).unwrap()), [""; 0]);
    assert_eq!(store.folders("t").unwrap(), ["exchange=x", "exchange=x-sbe", "exchange=y"]);
    assert_eq!(store.folders("t/exchange=y").unwrap(), ["date=2024-08-09", "date=2024-08-10"]);
    assert_eq!(store.folders("nothing").unwrap(), [""; 0]);
}

fn more_than_a_page_is_listed_whole(store: &dyn LakeStore, _: &Path) {
    // Stores answer with a thousand at a time.
    (0..1_100).for_each(|n| put(store, &format!("p/{n:04}"), ""));
    let listed = store.list("p", None, None).unwrap();
    assert_eq!(listed.len(), 1_100);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
}

fn what_is_not_there_is_deleted_without_a_word_and_folders_go_with_their_last_object(store: &dyn LakeStore, _: &Path) {
    store.delete("a/b/c").unwrap();
    put(store, "t/x/y/1", "");
    put(store, "t/x/2", "");
    store.delete("t/x/y/1").unwrap();
    store.delete("t/x/y/1").unwrap();
    assert_eq!(all(store), ["t/x/2"]);
    // SeaweedFS shows an empty one for a while.
    assert!(store.folders("t/x").unwrap().iter().all(|left| left == "y"));
    assert!(store.head("t/x/y/1").unwrap().is_none() && store.get("t/x/y/1").unwrap().is_none());
    put(store, "t/x/y/1", "again");
    assert_eq!(text(store, "t/x/y/1"), "again");
}

fn odd_symbols_are_names_like_others_and_no_key_leads_out_of_the_lake(store: &dyn LakeStore, _: &Path) {
    let expected: BTreeSet<String> = ODD.iter().map(|name| format!("t/{name}/{name}")).collect();
    expected.iter().for_each(|key| put(store, key, key));
    assert_eq!(all(store), expected.iter().cloned().collect::<Vec<_>>());
    expected.iter().for_each(|key| assert_eq!(text(store, key), *key));
    assert_eq!(store.folders("t").unwrap().len(), ODD.len());
    expected.iter().for_each(|key| store.delete(key).unwrap());
    for key in ["", "/a", "a/", "a//b", "../a", "a/../../b", "a/./b", ".lock", "a/.b", "a\nb"] {
        let err = store.put_new(key, Body::Bytes(b"")).unwrap_err();
        assert!(matches!(err, LakeError::Key { .. }), "{key:?}: {err}");
        assert!(store.get(key).is_err() && store.head(key).is_err() && store.delete(key).is_err(), "{key:?}");
    }
    assert_eq!(all(store), [""; 0]);
}

fn an_object_is_replaced_in_one_step_and_only_as_the_one_that_was_seen(store: &dyn LakeStore, work: &Path) {
    store.replace("a", Body::Bytes(b"one"), None).unwrap();
    let one = store.head("a").unwrap().unwrap().version;
    store.replace("a", Body::File(&staged(work, "second")), Some(&one)).unwrap();
    let tmp = staged(work, "third");
    for body in [Body::Bytes(b"third"), Body::File(&tmp)] {
        let err = store.replace("a", body, Some(&one)).unwrap_err();
        assert!(matches!(err, LakeError::Changed { .. }), "{err}");
    }
    assert_eq!((text(store, "a"), all(store)), ("second".to_owned(), vec!["a".to_owned()]));
    assert_ne!(store.head("a").unwrap().unwrap().version, one);
    assert_eq!(store.list("", None, None).unwrap()[0], store.head("a").unwrap().unwrap());
}

fn lines_are_added_whole_even_behind_a_torn_one(store: &dyn LakeStore, _: &Path) {
    store.append("_manifests/removed.jsonl", b"one\n").unwrap();
    store.append("_manifests/removed.jsonl", b"two\nthree\n").unwrap();
    assert_eq!(text(store, "_manifests/removed.jsonl"), "one\ntwo\nthree\n");
    put(store, "torn", "on");
    store.append("torn", b"two\n").unwrap();
    assert_eq!(text(store, "torn"), "on\ntwo\n");
}

fn what_is_taken_out_is_a_local_file_and_no_object(store: &dyn LakeStore, work: &Path) {
    put(store, "t/a", "rows");
    std::fs::create_dir_all(work).unwrap();
    let to = work.join("aside");
    store.take_out("t/a", &to).unwrap();
    assert_eq!((wal_format::regular::read_to_string(&to, 1 << 10).unwrap(), all(store)), ("rows".to_owned(), vec![]));
    assert!(store.take_out("t/a", &work.join("none")).is_err());
}

fn what_is_not_there_is_named_with_its_place(store: &dyn LakeStore, work: &Path) {
    let err = store.read("a/b").unwrap_err().to_string();
    assert!(err.starts_with("cannot read ") && err.contains("a/b"), "{err}");
    let none = work.join("none");
    assert!(store.put_new("a/b", Body::File(&none)).is_err());
    assert!(!store.has("a/b").unwrap() && all(store).is_empty());
}

fn a_version_that_is_not_there_any_more_is_not_replaced_and_the_file_stays_the_callers(
    store: &dyn LakeStore,
    work: &Path,
) {
    put(store, "a", "aaaa");
    let seen = store.head("a").unwrap().unwrap().version;
    // Of the same length, and then none at all.
    store.replace("a", Body::Bytes(b"bbbb"), None).unwrap();
    for there in [Some("bbbb"), None] {
        let tmp = staged(work, "cccc");
        let err = store.replace("a", Body::File(&tmp), Some(&seen)).unwrap_err();
        assert!(matches!(err, LakeError::Changed { .. }), "{err}");
        assert!(tmp.exists(), "what was refused is still the caller's");
        assert_eq!(store.get("a").unwrap().is_some(), there.is_some(), "what was deleted does not come back");
        assert_eq!(store.head("a").unwrap().map(|_| text(store, "a")).as_deref(), there);
        store.delete("a").unwrap();
    }
    let tmp = staged(work, "dddd");
    store.replace("a", Body::File(&tmp), None).unwrap();
    assert!(!tmp.exists(), "what was put is gone");
}

fn deleting_takes_one_object_and_nothing_that_begins_like_it(store: &dyn LakeStore, _: &Path) {
    for key in ["t/x", "t/xy", "t/x.z", "u/y/a"] {
        put(store, key, key);
    }
    store.delete("t/x").unwrap();
    // A folder is no object: fine, or refused.
    drop(store.delete("u/y"));
    assert_eq!(all(store), ["t/x.z", "t/xy", "u/y/a"]);
}

fn no_folder_leads_out_of_the_lake(store: &dyn LakeStore, _: &Path) {
    put(store, "t/x", "x");
    for folder in ["..", "../x", "/t", "t/", "t//x", ".staging"] {
        for err in [store.list(folder, None, None).err(), store.folders(folder).err()] {
            assert!(matches!(err, Some(LakeError::Key { .. })), "{folder}: {err:?}");
        }
    }
}
