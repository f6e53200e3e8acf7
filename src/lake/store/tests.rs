//! The stores that are made here do what every store does (`conformance.rs`), and what is only of some of them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::conformance::{CASES, all, put};
use super::remote::before;
use super::{Body, LakeStore, LocalStore, RemoteStore};
use crate::object::Object;

/// Asks an empty store of each case all of them.
fn keeps_every_promise(make: impl Fn(&Path) -> Box<dyn LakeStore>) {
    // Memory where there is some: thousands of fsyncs would be the whole running time otherwise.
    let dir = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (name, case) in CASES {
        println!("{name}");
        let (at, work) = (dir(), dir());
        case(&*make(at.path()), work.path());
    }
}

fn remote(store: impl ObjectStore) -> RemoteStore {
    RemoteStore::new(Arc::new(store), "test://lake/").unwrap()
}

fn file_system(at: &Path) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(at).unwrap().with_automatic_cleanup(true)
}

#[test]
fn a_directory_does_what_every_store_does() {
    keeps_every_promise(|at| Box::new(LocalStore::new(at.join("lake"))));
}

#[test]
fn an_object_store_does_what_every_store_does_in_one_request_and_in_parts() {
    keeps_every_promise(|_| Box::new(remote(InMemory::new()).marked()));
    keeps_every_promise(|_| Box::new(remote(InMemory::new()).marked().in_parts_above(3).in_parts_of(3)));
    keeps_every_promise(|at| Box::new(remote(file_system(at))));
    keeps_every_promise(|at| Box::new(remote(file_system(at)).in_parts_above(3).in_parts_of(3)));
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
fn a_store_may_go_on_a_thread_that_runs_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = RemoteStore::new(Arc::new(InMemory::new()), "test://lake").unwrap();
    put(&store, "a", "a");
    runtime.block_on(async { drop(store) });
}

#[test]
fn a_list_starts_before_what_it_begins_with_and_at_no_folder() {
    for (from, expected) in [
        ("t/x/hour=22", Some("t/x/hour=21~")),
        ("t/x/hour=20/", Some("t/x/hour=2")),
        ("t/x/a.parquet", Some("t/x/a.parques~")),
        ("t/0", None),
        ("", None),
    ] {
        assert_eq!(before(from).as_deref(), expected);
        assert!(before(from).is_none_or(|before| before.as_str() < from));
    }
}
