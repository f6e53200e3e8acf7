//! What both databases must do; each case gets an empty one.

use super::*;

pub(super) fn a_file_goes_from_listed_to_here_and_reads_back_whole(place: &Place<'_>) {
    let mut q = place.open();
    let symbol = "\u{5e01}\u{5b89}'\"USDT";
    let path = format!("data/futures/um/monthly/klines/{symbol}/1mo/{symbol}-1mo-2024-02.zip");
    let file = Listed { etag: None, checksum_tag: None, size: u64::from(u32::MAX) * 9, ..listed(&path) };
    assert_eq!(offer(q.as_mut(), "a", std::slice::from_ref(&file)), [Offered::New]);
    let row = q.get(&file.path).unwrap().unwrap();
    assert_eq!((&row.listed, row.state), (&file, State::Queued));
    assert!(row.url.starts_with("https://h/p/data/futures/um/monthly/klines/%E5%B8%81%E5%AE%89%27%22USDT/1mo/"));
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    assert_eq!((lease.row.state, lease.row.attempts), (State::Leased, 1));
    assert!(q.holds(&lease).unwrap());
    assert!(q.lease("a", &all(), 60).unwrap().is_none(), "there is only one");
    assert_eq!(offer(q.as_mut(), "a", std::slice::from_ref(&file)), [Offered::Waiting]);
    assert!(q.finish(&lease, &done("s1")).unwrap());
    drop(q);
    let row = place.open().get(&file.path).unwrap().unwrap();
    assert_eq!((row.state, row.holder.as_deref(), row.sha256.as_deref()), (State::Here, Some("a"), Some("s1")));
    assert!(row.finished_us.unwrap() >= row.started_us.unwrap() && row.started_us.unwrap() >= row.listed_us);
    assert_eq!((row.listed.size, row.listed.etag.as_deref(), row.failures), (1_000, Some("tag"), 0));
    assert_eq!(place.open().pending(&all()).unwrap(), Pending::default());
    let json = serde_json::to_value(&row).unwrap();
    assert_eq!(json["path"], path.as_str());
}

pub(super) fn two_holders_never_get_the_same_file_and_share_all_of_them(place: &Place<'_>) {
    offer(place.open().as_mut(), "a", &days("BTCUSDT", 30));
    let work = |holder: &'static str| {
        let mut q = place.open();
        move || {
            let mut got = Vec::new();
            while let Some(lease) = q.lease(holder, &all(), 60).unwrap() {
                got.push(lease.row.listed.path.clone());
                assert!(q.finish(&lease, &done("s")).unwrap());
            }
            got
        }
    };
    let (a, b, c) = (work("a"), work("b"), work("a"));
    let mut got = std::thread::scope(|s| {
        let threads = [s.spawn(a), s.spawn(b), s.spawn(c)];
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    got.sort();
    assert_eq!(got, days("BTCUSDT", 30).into_iter().map(|l| l.path).collect::<Vec<_>>());
}

pub(super) fn a_lease_that_ran_out_is_anybodys_and_its_old_holder_changes_nothing(place: &Place<'_>) {
    let mut q = place.open();
    offer(q.as_mut(), "a", &days("BTCUSDT", 1));
    let old = q.lease("a", &all(), 60).unwrap().unwrap();
    assert!(q.lease("b", &all(), 60).unwrap().is_none());
    place.run("UPDATE history_files SET lease_until = 1");
    let new = q.lease("b", &all(), 60).unwrap().unwrap();
    assert_eq!(new.row.attempts, 2);
    assert!(!q.holds(&old).unwrap());
    assert!(!q.finish(&old, &done("old")).unwrap());
    let failed = Failed { error: "x".into(), failures: 1, wait_us: 0, dead: true };
    assert!(!q.fail(&old, &failed).unwrap());
    q.release(&old).unwrap();
    assert!(q.finish(&new, &done("new")).unwrap());
    assert!(q.finish(&new, &done("new")).unwrap(), "its answer may have been lost");
    assert!(!q.finish(&old, &done("old")).unwrap());
    let row = q.get(&new.row.listed.path).unwrap().unwrap();
    assert_eq!((row.sha256.as_deref(), row.holder.as_deref()), (Some("new"), Some("b")));
    // The same holder again: another attempt is another lease.
    offer(q.as_mut(), "a", &days("ETHUSDT", 1));
    let first = q.lease("a", &all(), 60).unwrap().unwrap();
    place.run("UPDATE history_files SET lease_until = 1 WHERE state = 'leased'");
    let second = q.lease("a", &all(), 60).unwrap().unwrap();
    assert!(!q.finish(&first, &done("first")).unwrap() && q.holds(&second).unwrap());
}

pub(super) fn a_renewed_lease_stays_and_a_killed_holder_gets_its_files_back_at_once(place: &Place<'_>) {
    let mut q = place.open();
    offer(q.as_mut(), "a", &days("BTCUSDT", 3));
    let one = q.lease("a", &all(), 60).unwrap().unwrap();
    let other = q.lease("b", &all(), 60).unwrap().unwrap();
    place.run("UPDATE history_files SET lease_until = 1 WHERE state = 'leased'");
    assert!(q.keep(&one, 60).unwrap());
    assert!(q.lease("c", &all(), 60).unwrap().is_some_and(|l| l.row.listed.path == other.row.listed.path));
    assert!(!q.keep(&other, 60).unwrap(), "lost is lost");
    let other = q.lease("b#n-1", &all(), 60).unwrap().unwrap();
    assert_eq!(q.recover("a").unwrap(), std::slice::from_ref(&one.row.listed.path));
    assert!(!q.holds(&one).unwrap());
    assert!(q.holds(&other).unwrap(), "another holder's lease is its own until somebody takes it");
    assert_eq!(q.pending(&all()).unwrap(), Pending { queued: 1, leased: 2 });
    assert!(q.recover("a").unwrap().is_empty() && q.recover("b#m-").unwrap().is_empty());
    assert_eq!(q.recover("b#n-").unwrap(), std::slice::from_ref(&other.row.listed.path));
}

pub(super) fn failures_wait_then_die_and_come_back_only_when_asked_or_changed(place: &Place<'_>) {
    let mut q = place.open();
    let mut files = days("BTCUSDT", 2);
    offer(q.as_mut(), "a", &files);
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    let failed = Failed { error: "reset".into(), failures: 1, wait_us: 60_000_000, dead: false };
    assert!(q.fail(&lease, &failed).unwrap());
    let next = q.lease("a", &all(), 60).unwrap().unwrap();
    assert_ne!(next.row.listed.path, lease.row.listed.path);
    q.release(&next).unwrap();
    let next = q.lease("a", &all(), 60).unwrap().unwrap();
    assert!(q.finish(&next, &Done { etag: next.row.listed.etag.clone(), ..done("s") }).unwrap());
    assert!(q.lease("a", &all(), 60).unwrap().is_none(), "the failed one waits");
    place.run("UPDATE history_files SET not_before = 0");
    let again = q.lease("a", &all(), 60).unwrap().unwrap();
    assert_eq!((again.row.failures, again.row.attempts), (1, 2));
    assert_eq!(again.row.last_error.as_deref(), Some("reset"));
    let dead = Failed { error: "HTTP status 404".into(), failures: 2, wait_us: 0, dead: true };
    assert!(q.fail(&again, &dead).unwrap());
    assert_eq!(q.pending(&all()).unwrap(), Pending::default());
    assert_eq!(offer(q.as_mut(), "a", &files), [Offered::Dead, Offered::Here]);
    let revive = Offer { base_url: "https://h", holder: "a", retry_dead: true, is_there: &|_| true };
    assert_eq!(q.offer(&files, &revive).unwrap(), [Offered::Revived, Offered::Here]);
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    assert_eq!(lease.row.failures, 0);
    assert!(q.fail(&lease, &dead).unwrap());
    files[0].etag = Some("other".into());
    assert_eq!(offer(q.as_mut(), "a", &files)[0], Offered::Revived, "the archive has another file now");
}

pub(super) fn an_upload_that_replaces_a_file_is_noticed_by_tag_size_or_checksum(place: &Place<'_>) {
    let mut q = place.open();
    let mut file = Listed { etag: Some("tag".into()), ..days("BTCUSDT", 1).remove(0) };
    let mut expect = 0;
    let mut change = |q: &mut dyn Queue, file: &Listed, what: &str, sha256: &str| {
        assert_eq!(offer(q, "a", std::slice::from_ref(file))[0], Offered::Changed, "{what}");
        let lease = q.lease("a", &all(), 60).unwrap().unwrap();
        let done = Done { etag: file.etag.clone(), size: file.size, ..done(sha256) };
        assert!(q.finish(&lease, &done).unwrap());
        expect += 1;
        let row = q.get(&file.path).unwrap().unwrap();
        assert_eq!((row.history.len(), row.history.last().unwrap().what.as_str()), (expect, what));
        assert_eq!(offer(q, "a", std::slice::from_ref(file))[0], Offered::Here);
        row
    };
    assert_eq!(offer(q.as_mut(), "a", std::slice::from_ref(&file))[0], Offered::New);
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    assert!(q.finish(&lease, &done("s1")).unwrap());
    file.etag = Some("tag2".into());
    let row = change(q.as_mut(), &file, "etag", "s2");
    assert_eq!((row.history[0].etag.as_deref(), row.history[0].sha256.as_deref()), (Some("tag"), Some("s1")));
    file.size = 7;
    change(q.as_mut(), &file, "size", "s3");
    file.checksum_tag = Some("c2".into());
    change(q.as_mut(), &file, "checksum", "s3");
    file.last_modified = "2025-01-01T00:00:00.000Z".into();
    assert_eq!(offer(q.as_mut(), "a", std::slice::from_ref(&file))[0], Offered::Here, "the same tag is the same file");
    // A listing without tags is judged by times.
    file.etag = None;
    change(q.as_mut(), &file, "last_modified", "s4");
    assert_eq!(q.get(&file.path).unwrap().unwrap().history.len(), 4);
}

pub(super) fn a_file_that_somebody_took_away_is_queued_again_by_its_own_holder_only(place: &Place<'_>) {
    let mut q = place.open();
    let files = days("BTCUSDT", 1);
    offer(q.as_mut(), "a", &files);
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    q.finish(&lease, &Done { etag: files[0].etag.clone(), ..done("s") }).unwrap();
    let gone = |holder| Offer { base_url: "https://h", holder, retry_dead: false, is_there: &|_| false };
    assert_eq!(q.offer(&files, &gone("b")).unwrap(), [Offered::Here], "it lies with a");
    assert_eq!(q.offer(&files, &gone("a")).unwrap(), [Offered::Vanished]);
    assert_eq!(q.pending(&all()).unwrap().queued, 1);
}

pub(super) fn cleaned_means_these_bytes_and_no_others(place: &Place<'_>) {
    let mut q = place.open();
    let files = days("BTCUSDT", 2);
    offer(q.as_mut(), "a", &files);
    let selection = Selection::default();
    assert!(q.needs_cleaning(&selection).unwrap().is_empty(), "nothing is here");
    while let Some(lease) = q.lease("a", &all(), 60).unwrap() {
        q.finish(&lease, &Done { etag: lease.row.listed.etag.clone(), ..done("s1") }).unwrap();
    }
    let path = &files[0].path;
    let outcome = serde_json::json!({ "rows": 3, "note": "it's" });
    assert!(!q.mark_cleaned(path, "other", &outcome).unwrap());
    assert!(q.mark_cleaned(path, "s1", &outcome).unwrap());
    let wanting: Vec<_> = q.needs_cleaning(&selection).unwrap().into_iter().map(|r| r.listed.path).collect();
    assert_eq!(wanting, [files[1].path.clone()]);
    let row = q.get(path).unwrap().unwrap();
    assert_eq!((row.cleaned, row.cleaned_sha256.as_deref()), (Some(outcome), Some("s1")));
    // Uploaded again: wants cleaning once more.
    let changed = Listed { etag: Some("new".into()), ..files[0].clone() };
    offer(q.as_mut(), "a", std::slice::from_ref(&changed));
    let lease = q.lease("a", &all(), 60).unwrap().unwrap();
    q.finish(&lease, &Done { etag: changed.etag, ..done("s2") }).unwrap();
    assert_eq!(q.needs_cleaning(&selection).unwrap().len(), 2);
}

pub(super) fn a_selection_sees_its_files_in_order_over_many_pages(place: &Place<'_>) {
    let mut q = place.open();
    let symbols: Vec<String> = (0..60).map(|n| format!("A{n:02}USDT")).collect();
    for symbol in &symbols {
        offer(q.as_mut(), "a", &days(symbol, 20));
    }
    let seen = |q: &mut dyn Queue, selection: &Selection| {
        let mut paths = Vec::new();
        q.for_each(selection, &mut |row| {
            paths.push(row.listed.path.to_string());
            Ok(())
        })
        .unwrap();
        assert!(paths.is_sorted());
        paths.len()
    };
    assert_eq!(seen(q.as_mut(), &Selection::default()), 1_200);
    let s = Selection { symbols: Symbols::new(["A?1*", "A02USDT"]).unwrap(), ..Selection::default() };
    assert_eq!(seen(q.as_mut(), &s), 7 * 20);
    let s = Selection {
        symbols: Symbols::new(["A02USDT"]).unwrap(),
        from: Some("2024-01-05".parse().unwrap()),
        to: Some("2024-01-06".parse().unwrap()),
        ..Selection::default()
    };
    assert_eq!(seen(q.as_mut(), &s), 2);
    assert!(q.for_each(&s, &mut |_| Err(HistoryError::Missing("stop"))).is_err());
}

pub(super) fn a_lease_stays_inside_its_scope(place: &Place<'_>) {
    let mut q = place.open();
    offer(q.as_mut(), "a", &days("BTCUSDT", 3));
    offer(q.as_mut(), "a", &days("ETHUSDT", 3));
    offer(q.as_mut(), "a", &[listed("data/spot/monthly/klines/ETHUSDT/1m/ETHUSDT-1m-2024-01.zip")]);
    let nothing = Scope { symbols: Some(Default::default()), ..all() };
    assert!(q.lease("a", &nothing, 60).unwrap().is_none());
    let scope = Scope {
        symbols: Some(["ETHUSDT".to_owned()].into()),
        intervals: [crate::BarInterval::M5].into(),
        from: Some("2024-01-02".parse().unwrap()),
        ..all()
    };
    assert_eq!(q.pending(&scope).unwrap().queued, 2);
    let mut got = Vec::new();
    while let Some(lease) = q.lease("a", &scope, 60).unwrap() {
        got.push(lease.row.listed.path.name());
    }
    assert_eq!(got, ["ETHUSDT-trades-2024-01-02.zip", "ETHUSDT-trades-2024-01-03.zip"]);
    assert_eq!(q.pending(&all()).unwrap(), Pending { queued: 5, leased: 2 });
}

pub(super) fn runs_and_the_days_they_finished_files_on_are_reported(place: &Place<'_>) {
    let mut q = place.open();
    let id = q.begin_run("a", "download").unwrap();
    let other = q.begin_run("b", "download").unwrap();
    assert_ne!(id, other);
    q.end_run(id, "done", &serde_json::json!({ "ok": 2 })).unwrap();
    let runs = q.runs(5).unwrap();
    assert_eq!((runs.len(), runs[0].id, runs[0].finished_us), (2, other, None));
    assert_eq!((runs[1].outcome.as_deref(), runs[1].summary.as_ref().unwrap()["ok"].as_i64()), (Some("done"), Some(2)));
    offer(q.as_mut(), "a", &days("BTCUSDT", 3));
    for holder in ["a", "a", "b"] {
        let lease = q.lease(holder, &all(), 60).unwrap().unwrap();
        q.finish(&lease, &done("s")).unwrap();
    }
    place.run("UPDATE history_files SET finished_at = 1704153600000000 WHERE path LIKE '%-01.zip'");
    let mirror = tempfile::tempdir().unwrap();
    let (first, last) = ("2024-01-01".parse().unwrap(), "2024-01-03".parse().unwrap());
    let files = export_days(q.as_mut(), ("a", "w"), mirror.path(), first, last).unwrap();
    assert_eq!(files, [mirror.path().join("manifests/download_2024-01-02.jsonl")]);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains("BTCUSDT-trades-2024-01-01.zip") && text.lines().count() == 1, "{text}");
    assert_eq!(std::fs::read_dir(mirror.path().join("manifests")).unwrap().count(), 1, "no temporary is left");
    export_days(q.as_mut(), ("a", "w"), mirror.path(), first, last).unwrap();
    assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), text, "the same bytes");
}

pub(super) fn what_is_left_and_the_room_of_other_mirrors_are_reported(place: &Place<'_>) {
    let mut q = place.open();
    offer(q.as_mut(), "a", &days("BTCUSDT", 3));
    offer(q.as_mut(), "a", &days("ETHUSDT", 2));
    let lease = q.lease("a#w", &all(), 60).unwrap().unwrap();
    assert_eq!(q.room("a", 7, &all()).unwrap(), Room { left_bytes: 5_000, elsewhere_bytes: 0 });
    assert!(q.finish(&lease, &done("s")).unwrap());
    let row = q.get(&lease.row.listed.path).unwrap().unwrap();
    assert_eq!(row.holder.as_deref(), Some("a"), "the mirror has it, whoever of its downloaders brought it");
    assert_eq!(q.room("b", 20, &all()).unwrap(), Room { left_bytes: 4_000, elsewhere_bytes: 7 });
    let scope = Scope { symbols: Some(["ETHUSDT".to_owned()].into()), ..all() };
    assert_eq!(q.room("a", 8, &scope).unwrap(), Room { left_bytes: 2_000, elsewhere_bytes: 20 });
    place.run("UPDATE history_mirrors SET seen_at = 1 WHERE name = 'b'");
    assert_eq!(q.room("a", 8, &scope).unwrap().elsewhere_bytes, 0, "it was not seen for long");
}

pub(super) fn a_newer_schema_is_refused(place: &Place<'_>) {
    drop(place.open());
    place.run("UPDATE history_schema SET version = 99");
    let error = open(&place.url, place.dir).err().unwrap();
    assert!(wal_format::error_chain(&error).contains("newer program"), "{error:?}");
}
