//! What every store does, whatever it is made of. A further one is a line in [`every_store`].
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::{Body, LakeStore, LocalStore, Meta, RemoteStore};
use crate::LakeError;
use crate::hash::sha256_hex;
use crate::object::Object;

/// Symbols as venues spell them, and what somebody may call a file.
const ODD: [&str; 8] =
    ["BTC-USDT", "1000000MOG%2FUSDT", "币安人生USDT", "a b", "x'y\"z", "p+q=r&s", "~(t)[u]{v}", "UPPER_lower.csv.zst"];

/// Runs `case` on an empty one of each, with a directory for local files.
fn every_store(case: impl Fn(&dyn LakeStore, &Path)) {
    // Memory where there is some: thousands of fsyncs would be the whole running time otherwise.
    let dir = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let file_system =
        |at: &TempDir| Arc::new(LocalFileSystem::new_with_prefix(at.path()).unwrap().with_automatic_cleanup(true));
    let remote = |store| RemoteStore::new(store, "test://lake/").unwrap();
    let (a, b, c) = (dir(), dir(), dir());
    let stores: [(&str, Box<dyn LakeStore>); 5] = [
        ("local", Box::new(LocalStore::new(a.path().join("lake")))),
        ("memory", Box::new(remote(Arc::new(InMemory::new())))),
        ("memory, all in parts", Box::new(remote(Arc::new(InMemory::new())).in_parts_above(3))),
        ("file system", Box::new(remote(file_system(&b)))),
        ("file system, all in parts", Box::new(remote(file_system(&c)).in_parts_above(3))),
    ];
    for (name, store) in stores {
        println!("{name}");
        case(&*store, dir().path());
    }
}

fn put(store: &dyn LakeStore, key: &str, text: &str) {
    store.put_new(key, Body::Bytes(text.as_bytes())).unwrap();
}

fn text(store: &dyn LakeStore, key: &str) -> String {
    String::from_utf8(store.read(key).unwrap()).unwrap()
}

fn keys(listed: Vec<Meta>) -> Vec<String> {
    listed.into_iter().map(|meta| meta.key).collect()
}

fn all(store: &dyn LakeStore) -> Vec<String> {
    keys(store.list("", None, None).unwrap())
}

/// A complete local file.
fn staged(work: &Path, text: &str) -> std::path::PathBuf {
    std::fs::create_dir_all(work).unwrap();
    let tmp = work.join("staged.tmp");
    std::fs::write(&tmp, text).unwrap();
    tmp
}

#[test]
fn what_is_put_is_there_whole_with_its_length_and_the_local_file_is_gone() {
    every_store(|store, work| {
        let tmp = staged(work, "rows of trades");
        store.put_new("trades/exchange=x/date=2024-08-09/hour=00/a.parquet", Body::File(&tmp)).unwrap();
        put(store, "_manifests/a.json", "manifest");
        assert!(!tmp.exists());
        assert_eq!(text(store, "trades/exchange=x/date=2024-08-09/hour=00/a.parquet"), "rows of trades");
        assert_eq!(store.head("_manifests/a.json").unwrap().unwrap().bytes, 8);
        assert_eq!(all(store).len(), 2);
    });
}

#[test]
fn a_key_that_is_taken_is_not_put_to_and_what_is_there_stays() {
    every_store(|store, work| {
        put(store, "a/b", "first");
        let tmp = staged(work, "second");
        for body in [Body::Bytes(b"second"), Body::File(&tmp)] {
            let err = store.put_new("a/b", body).unwrap_err();
            assert!(matches!(&err, LakeError::Exists { path } if *path == store.place("a/b")), "{err}");
        }
        assert_eq!(text(store, "a/b"), "first");
        assert!(tmp.exists(), "what was not taken is still the caller's");
        assert_eq!(all(store), ["a/b"]);
    });
}

#[test]
fn of_those_who_put_under_one_key_at_the_same_time_one_succeeds_and_it_is_its_bytes_that_are_there() {
    every_store(|store, work| {
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
    });
}

#[test]
fn the_same_bytes_are_published_as_often_as_anybody_likes_and_others_never() {
    every_store(|store, work| {
        for _ in 0..3 {
            store.publish("a", Body::File(&staged(work, "rows")), &sha256_hex(b"rows")).unwrap();
        }
        let err = store.publish("a", Body::Bytes(b"other rows"), &sha256_hex(b"other rows")).unwrap_err();
        assert!(matches!(err, LakeError::Exists { .. }), "{err}");
        assert_eq!(text(store, "a"), "rows");
    });
}

#[test]
fn any_range_is_read_and_what_lies_beyond_the_end_is_left_out() {
    every_store(|store, work| {
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
    });
}

#[test]
fn a_large_object_is_read_in_ranges_and_never_as_a_mix_of_two() {
    let store = RemoteStore::new(Arc::new(InMemory::new()), "test://lake").unwrap();
    let (old, new) = (vec![1_u8; 9 << 20], vec![2_u8; 9 << 20]);
    store.put_new("large", Body::Bytes(&old)).unwrap();
    let object = store.get("large").unwrap().unwrap();
    assert!(matches!(object, Object::Remote(_)));
    assert_eq!(object.all(u64::MAX).unwrap(), old);
    store.replace("large", Body::Bytes(&new), None).unwrap();
    assert!(object.range(0..10).is_err(), "another object took its place");
    assert_eq!(store.get("large").unwrap().unwrap().range(0..1).unwrap(), [2].as_slice());
}

#[test]
fn what_is_open_stays_what_it_was_or_says_that_it_is_not() {
    every_store(|store, work| {
        put(store, "a", "old bytes");
        let open = store.get("a").unwrap().unwrap();
        store.replace("a", Body::File(&staged(work, "new bytes")), None).unwrap();
        assert!(open.range(0..9).map_or(true, |bytes| bytes == "old bytes"));
        store.delete("a").unwrap();
        assert!(open.range(0..9).map_or(true, |bytes| bytes == "old bytes"));
    });
}

#[test]
fn a_list_is_in_the_order_of_keys_and_holds_the_span_that_was_asked_for() {
    every_store(|store, _| {
        let mut expected = BTreeSet::new();
        for venue in ["x", "x-sbe", "y"] {
            for hour in 0..30 {
                let key =
                    format!("t/exchange={venue}/date=2024-08-{:02}/hour={:02}/a.parquet", 9 + hour / 24, hour % 24);
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
    });
}

#[test]
fn more_than_a_page_is_listed_whole() {
    every_store(|store, _| {
        // Stores answer with a thousand at a time.
        (0..1_100).for_each(|n| put(store, &format!("p/{n:04}"), ""));
        let listed = store.list("p", None, None).unwrap();
        assert_eq!(listed.len(), 1_100);
        assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    });
}

#[test]
fn what_is_not_there_is_deleted_without_a_word_and_folders_go_with_their_last_object() {
    every_store(|store, _| {
        store.delete("a/b/c").unwrap();
        put(store, "t/x/y/1", "");
        put(store, "t/x/2", "");
        store.delete("t/x/y/1").unwrap();
        store.delete("t/x/y/1").unwrap();
        assert_eq!((all(store), store.folders("t/x").unwrap()), (vec!["t/x/2".to_owned()], vec![]));
        assert!(store.head("t/x/y/1").unwrap().is_none() && store.get("t/x/y/1").unwrap().is_none());
        put(store, "t/x/y/1", "again");
        assert_eq!(text(store, "t/x/y/1"), "again");
    });
}

#[test]
fn odd_symbols_are_names_like_others_and_no_key_leads_out_of_the_lake() {
    every_store(|store, _| {
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
    });
}

#[test]
fn an_object_is_replaced_in_one_step_and_only_as_the_one_that_was_seen() {
    every_store(|store, work| {
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
    });
}

#[test]
fn lines_are_added_whole_even_behind_a_torn_one() {
    every_store(|store, _| {
        store.append("_manifests/removed.jsonl", b"one\n").unwrap();
        store.append("_manifests/removed.jsonl", b"two\nthree\n").unwrap();
        assert_eq!(text(store, "_manifests/removed.jsonl"), "one\ntwo\nthree\n");
        put(store, "torn", "on");
        store.append("torn", b"two\n").unwrap();
        assert_eq!(text(store, "torn"), "on\ntwo\n");
    });
}

#[test]
fn what_is_taken_out_is_a_local_file_and_no_object() {
    every_store(|store, work| {
        put(store, "t/a", "rows");
        std::fs::create_dir_all(work).unwrap();
        let to = work.join("aside");
        store.take_out("t/a", &to).unwrap();
        assert_eq!((std::fs::read_to_string(&to).unwrap(), all(store)), ("rows".to_owned(), vec![]));
        assert!(store.take_out("t/a", &work.join("none")).is_err());
    });
}

#[test]
fn what_is_not_there_is_named_with_its_place() {
    every_store(|store, work| {
        let err = store.read("a/b").unwrap_err().to_string();
        assert!(err.starts_with("cannot read ") && err.contains("a/b"), "{err}");
        let none = work.join("none");
        assert!(store.put_new("a/b", Body::File(&none)).is_err());
        assert!(!store.has("a/b").unwrap() && all(store).is_empty());
    });
}

/// Files as a crash leaves them: written in part, or whole and not published.
#[test]
fn what_a_crash_left_half_made_is_never_listed_and_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let local = LocalStore::new(dir.path());
    put(&local, "t/h/a", "whole");
    for name in [".b.17-0.tmp", ".lock"] {
        std::fs::write(dir.path().join("t/h").join(name), "ha").unwrap();
    }
    std::fs::create_dir_all(dir.path().join(".staging/x")).unwrap();
    std::fs::write(dir.path().join(".staging/x/piece.parquet"), "half").unwrap();
    assert_eq!((all(&local), local.folders("").unwrap()), (vec!["t/h/a".to_owned()], vec!["t".to_owned()]));
    put(&local, "t/h/b", "whole");
    // Of an upload in parts all but the copy is done.
    let memory = Arc::new(InMemory::new());
    let remote = RemoteStore::new(memory.clone(), "test://lake").unwrap();
    put(&remote, "t/h/a", "whole");
    let raw: Arc<dyn object_store::ObjectStore> = memory;
    let at = "_tmp/0123".into();
    let uploaded = object_store::ObjectStoreExt::put(&*raw, &at, "half".into());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(uploaded).unwrap();
    assert_eq!((all(&remote), remote.folders("").unwrap()), (vec!["t/h/a".to_owned()], vec!["t".to_owned()]));
    put(&remote, "t/h/b", "whole");
}

#[test]
fn a_version_that_is_not_there_any_more_is_not_replaced_and_the_file_stays_the_callers() {
    every_store(|store, work| {
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
    });
}

#[test]
fn deleting_takes_one_object_and_nothing_that_begins_like_it() {
    every_store(|store, _| {
        for key in ["t/x", "t/xy", "t/x.z", "u/y/a"] {
            put(store, key, key);
        }
        store.delete("t/x").unwrap();
        // A folder is no object: fine, or refused.
        drop(store.delete("u/y"));
        assert_eq!(all(store), ["t/x.z", "t/xy", "u/y/a"]);
    });
}

#[test]
fn a_store_may_go_on_a_thread_that_runs_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = RemoteStore::new(Arc::new(InMemory::new()), "test://lake").unwrap();
    put(&store, "a", "a");
    runtime.block_on(async { drop(store) });
}

#[test]
fn no_folder_leads_out_of_the_lake() {
    every_store(|store, _| {
        put(store, "t/x", "x");
        for folder in ["..", "../x", "/t", "t/", "t//x", ".staging"] {
            for err in [store.list(folder, None, None).err(), store.folders(folder).err()] {
                assert!(matches!(err, Some(LakeError::Key { .. })), "{folder}: {err:?}");
            }
        }
    });
}
