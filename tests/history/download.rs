//! From an S3-shaped archive into the mirror: byte-exact files prove themselves, nothing comes twice, uploads that
//! replace files are noticed, both versions of listing and any letters work.

use std::time::Duration;

use crate::support::history::Mirror;
use crate::support::s3::{Archive, Fault, noise, sha256};
use crate::support::{both, recordings, run, wait_until};

const DAY_1: &str = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip";
const DAY_3: &str = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-03.zip";

/// The two byte-exact files of the exchange with the checksums that it published.
fn official() -> Archive {
    let archive = Archive::start();
    for key in [DAY_1, DAY_3] {
        let file = recordings().join("archive").join(key.rsplit('/').next().unwrap());
        archive.put_alone(key, std::fs::read(&file).unwrap());
        archive.put_alone(&format!("{key}.CHECKSUM"), std::fs::read(file.with_extension("zip.CHECKSUM")).unwrap());
    }
    archive
}

/// Days and a month of trades of a symbol.
fn trades(archive: &Archive, symbol: &str) -> Vec<String> {
    let mut keys = vec![format!("data/spot/monthly/trades/{symbol}/{symbol}-trades-2024-01.zip")];
    for day in ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02"] {
        keys.push(format!("data/spot/daily/trades/{symbol}/{symbol}-trades-{day}.zip"));
    }
    for (n, key) in keys.iter().enumerate() {
        archive.put(key, noise(n as u64 + 1, 10_000 + n));
    }
    keys.sort();
    keys
}

#[test]
fn byte_exact_files_of_the_exchange_agree_with_their_published_checksums_and_come_once() {
    let archive = official();
    let mirror = Mirror::new(&archive, "");
    let first = mirror.download(&["--market", "spot", "--kind", "klines", "--symbols", "BTCUSDT", "--interval", "1m"]);
    assert_eq!(first.code, Some(0), "{}", first.text);
    assert_eq!((&first.summary["ok"], &first.summary["listed"]), (&2.into(), &2.into()), "{}", first.text);
    mirror.holds_exactly(&archive, &[DAY_1.to_owned(), DAY_3.to_owned()]);
    let zips = archive.zips();
    assert!(zips.len() == 2 && zips.iter().all(|z| z.whole), "{zips:?}");
    let again = mirror.download(&["--market", "spot", "--kind", "klines"]);
    assert_eq!((again.code, &again.summary["skipped"], &again.summary["ok"]), (Some(0), &2.into(), &0.into()));
    assert_eq!(archive.seen(), [], "not even a checksum is asked for again");
    let listed = mirror.json(&["list", "--market", "spot", "--kind", "klines"]);
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(listed[..2].iter().all(|l| l["standing"] == "here" && l["has_checksum"] == true), "{listed:?}");
    let status = &mirror.json(&["status"])[0];
    assert_eq!(status["states"]["here"]["files"], 2);
    assert_eq!(status["runs"][0]["outcome"], "done");
    let exports: Vec<_> = std::fs::read_dir(mirror.root().join("manifests")).unwrap().flatten().collect();
    let export = exports.iter().find(|e| e.file_name().to_string_lossy().starts_with("download_2")).unwrap();
    let text = std::fs::read_to_string(export.path()).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["path"], DAY_1);
    assert_eq!(rows[0]["sha256"], rows[0]["published_sha256"]);
    assert_eq!(rows[0]["sha256"], sha256(&archive.file(DAY_1)).as_str());
    let metrics = std::fs::read_to_string(mirror.root().join("manifests/download.prom")).unwrap();
    assert!(metrics.contains("tapedeck_history_download_files{result=\"skipped\"} 2\n"), "{metrics}");
}

#[test]
fn both_versions_of_listing_with_small_pages_find_the_same_files_in_any_letters() {
    let symbols = ["BTCUSDT", "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT", "1000SHIBUSDT", "X+Y Z"];
    let mut trees = Vec::new();
    for version in [1, 2] {
        let archive = Archive::start();
        for symbol in symbols {
            trades(&archive, symbol);
        }
        archive.put_alone("data/spot/daily/trades/BTCUSDT/readme.txt", "strange");
        archive.pages_of(3);
        let mirror = Mirror::new(&archive, &format!("list_version = {version}"));
        let run = mirror.download(&["--kind", "trades", "--period", "daily,monthly"]);
        assert_eq!(run.code, Some(0), "{}", run.text);
        mirror.holds_exactly(&archive, &archive.keys().into_iter().filter(|k| k.ends_with(".zip")).collect::<Vec<_>>());
        let listings = archive.listings();
        let goes_on = if version == 1 { "marker=" } else { "continuation-token=" };
        assert!(listings.iter().filter(|q| q.contains(goes_on)).count() >= 10, "{listings:?}");
        trees.push(mirror.tree());
    }
    assert!(trees[0] == trees[1] && trees[0].len() == 4 * 5 * 2);
}

#[test]
fn left_open_the_period_is_monthly_where_there_is_one_and_daily_for_the_rest() {
    let archive = Archive::start();
    let keys = trades(&archive, "BTCUSDT");
    let mirror = Mirror::new(&archive, "");
    assert_eq!(mirror.download(&["--kind", "trades"]).summary["ok"], 3);
    let wanted: Vec<String> = keys.iter().filter(|k| k.contains("2024-02") || k.contains("monthly")).cloned().collect();
    mirror.holds_exactly(&archive, &wanted);
    // A part of a month comes as days, and from the first asked day on the listing is not read from its beginning.
    let part = Mirror::new(&archive, "");
    archive.listings();
    assert_eq!(part.download(&["--kind", "trades", "--from", "2024-01-31", "--symbols", "BTC*"]).summary["ok"], 3);
    part.holds_exactly(
        &archive,
        &keys.iter().filter(|k| k.contains("daily") && !k.contains("01-30")).cloned().collect::<Vec<_>>(),
    );
    assert!(archive.listings().iter().any(|q| q.contains("marker=") && q.contains("2024%2D01%2D31")));
}

#[test]
fn a_file_that_is_uploaded_again_is_noticed_fetched_and_remembered_and_no_other_is() {
    let archive = Archive::start();
    let keys = trades(&archive, "BTCUSDT");
    let mirror = Mirror::new(&archive, "");
    let all = ["--kind", "trades", "--period", "daily,monthly"];
    mirror.download(&all);
    archive.zips();
    let old = sha256(&archive.file(&keys[1]));
    archive.put(&keys[1], noise(99, 10_001));
    let listed = mirror.json(&[&["list"], &all[..]].concat());
    let differing: Vec<_> = listed.iter().filter(|l| l["standing"] == "differs").collect();
    assert_eq!(differing.len(), 1);
    assert_eq!((&differing[0]["path"], &differing[0]["differs"]), (&keys[1].as_str().into(), &"etag".into()));
    let run = mirror.download(&all);
    assert_eq!(
        (&run.summary["changed"], &run.summary["ok"], &run.summary["skipped"]),
        (&1.into(), &1.into(), &4.into())
    );
    assert_eq!(archive.zips().len(), 1);
    mirror.holds_exactly(&archive, &keys);
    let row = rows(&mirror).into_iter().find(|r| r["path"] == keys[1].as_str()).unwrap();
    assert_eq!((&row["history"][0]["what"], &row["history"][0]["sha256"]), (&"etag".into(), &old.as_str().into()));
    // Only the checksum's file changes: the bytes here are proven again, not fetched.
    let line = format!("{}  {}\n\n", sha256(&archive.file(&keys[2])), keys[2].rsplit('/').next().unwrap());
    archive.put_alone(&format!("{}.CHECKSUM", keys[2]), line);
    let run = mirror.download(&all);
    assert_eq!((&run.summary["proven"], &run.summary["ok"]), (&1.into(), &0.into()), "{}", run.text);
    assert_eq!(archive.zips().len(), 0);
    mirror.holds_exactly(&archive, &keys);
    // Somebody takes a file away here: it comes back.
    std::fs::remove_file(mirror.root().join("data.binance.vision").join(&keys[0])).unwrap();
    assert_eq!(mirror.download(&all).summary["ok"], 1);
    mirror.holds_exactly(&archive, &keys);
}

#[test]
fn what_the_archive_withdrew_is_listed_as_gone_whether_a_period_is_given_or_not() {
    let archive = Archive::start();
    let (kept, all_gone) = (trades(&archive, "BTCUSDT"), trades(&archive, "ETHUSDT"));
    let mirror = Mirror::new(&archive, "");
    mirror.download(&["--kind", "trades"]);
    archive.withdraw(&kept[3]);
    all_gone.iter().for_each(|key| archive.withdraw(key));
    for period in [&[][..], &["--period", "daily,monthly"]] {
        let listed = mirror.json(&[&["list", "--kind", "trades", "--only", "gone"], period].concat());
        let mut gone: Vec<&str> = listed.iter().filter_map(|l| l["path"].as_str()).collect();
        gone.sort_unstable();
        // Of January its own file was fetched, not its days.
        let mut expected = [&kept[3], &all_gone[2], &all_gone[3], &all_gone[4]];
        expected.sort_unstable();
        assert_eq!(gone, expected, "{period:?}");
    }
}

/// The rows of the export.
fn rows(mirror: &Mirror) -> Vec<serde_json::Value> {
    let folder = std::fs::read_dir(mirror.root().join("manifests")).unwrap();
    let texts = folder.flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".jsonl"));
    texts
        .flat_map(|e| std::fs::read_to_string(e.path()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|l| serde_json::from_str(&l).unwrap())
        .collect()
}

#[test]
fn listing_and_dry_runs_change_nothing_and_wrong_words_are_usage_errors() {
    let archive = Archive::start();
    trades(&archive, "BTCUSDT");
    let mirror = Mirror::new(&archive, "");
    let dry = mirror.json(&["download", "--dry-run", "--kind", "trades"]);
    assert_eq!(dry.last().unwrap()["dry_run"]["files"], 3);
    assert!(dry[0]["standing"] == "missing" && archive.seen().is_empty() && mirror.tree().is_empty());
    let out = mirror.history(&["list", "--kind", "trades", "--only", "missing"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.lines().count() == 3 && text.starts_with("missing\t"), "{text}");
    assert_eq!(mirror.json(&["status"])[0]["states"]["queued"]["files"], 0);
    for args in [
        &["list", "--market", "usdm"][..],
        &["list", "--period", "weekly"],
        &["list", "--kind", "candles"],
        &["list", "--interval", "7m"],
        &["list", "--from", "2024-13-01"],
        &["list", "--from", "2024-02-01", "--to", "2024-01-01"],
        &["list", "--symbols", "[x"],
        &["list", "--market", "spot", "--kind", "metrics"],
        &["list", "--only", "lost"],
        &["download", "--speed", "9"],
    ] {
        let out = mirror.history(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", both(&out));
    }
    let nowhere = run(&["history", "status", "--config", "no-such-file.toml"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn a_download_that_is_stopped_says_so_and_resumes_in_the_middle_of_the_file() {
    let archive = Archive::start();
    let key = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-01.zip".to_owned();
    archive.put(&key, noise(5, 600_000));
    archive.slow(10_000, Duration::from_millis(20));
    let mirror = Mirror::new(&archive, "");
    let mut child = mirror.start(&["--kind", "trades"]);
    let partial = || {
        let folder = mirror.root().join("data.binance.vision/data/spot/daily/trades/BTCUSDT");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|e| e.file_name().to_string_lossy().ends_with(".partial"))
            .map(|e| e.metadata().unwrap().len())
            .max()
    };
    wait_until("some of the file is here", || partial().is_some_and(|n| n > 50_000));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let had = partial().unwrap();
    let status = &mirror.json(&["status"])[0];
    assert_eq!((&status["states"]["queued"]["files"], &status["runs"][0]["outcome"]), (&1.into(), &"stopped".into()));
    archive.slow(16 << 10, Duration::ZERO);
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!(run.code, Some(0), "{}", run.text);
    // The request that was cut may be noted late; it had no range.
    let resumed: Vec<_> = archive.zips().into_iter().filter(|z| z.range.is_some()).collect();
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    assert_eq!((resumed[0].status, resumed[0].range.clone()), (206, Some(format!("bytes={had}-"))));
    mirror.holds_exactly(&archive, &[key]);
}

#[test]
fn one_mirror_has_one_download_and_a_full_disk_is_foreseen() {
    let archive = Archive::start();
    trades(&archive, "BTCUSDT");
    archive.slow(500, Duration::from_millis(50));
    let mirror = Mirror::new(&archive, "");
    let mut child = mirror.start(&["--kind", "trades"]);
    wait_until("the first one works", || !archive.listings().is_empty());
    let second = mirror.download(&["--kind", "trades"]);
    assert_eq!(second.code, Some(1));
    assert!(second.text.contains("another download works in"), "{}", second.text);
    child.kill().unwrap();
    child.wait().unwrap();
    let full = Mirror::new(&archive, "min_free_mib = 1073741824");
    let refused = full.download(&["--kind", "trades"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.text.contains("must stay free") && full.tree().is_empty(), "{}", refused.text);
}

#[test]
fn a_server_of_files_without_tags_or_checksums_still_gives_whole_files() {
    let archive = Archive::start();
    archive.without_tags();
    let key = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip";
    archive.put_alone(key, noise(3, 40_000));
    archive.fault(key, [Fault::ResetAfter(20_000)]);
    let mirror = Mirror::new(&archive, "");
    let run = mirror.download(&["--market", "um", "--kind", "fundingRate"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &1.into()), "{}", run.text);
    assert!(archive.zips().iter().all(|z| z.range.is_none()), "without a tag nothing is joined");
    assert_eq!(mirror.tree().len(), 1);
    assert!(mirror.tree()[key] == archive.file(key));
    assert_eq!(mirror.json(&["status"])[0]["without_checksum"], 1);
}

#[test]
fn a_key_that_is_not_understood_is_told_listed_and_counted() {
    let archive = Archive::start();
    let keys = trades(&archive, "BTCUSDT");
    let strange = [
        "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-30.csv.gz",
        "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-20240131.zip",
        "data/spot/daily/trades/BTCUSDT/old/",
        "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-29.zip.CHECKSUM",
        "data/spot/daily/trades/list\u{1b}[31m.txt",
        "data/spot/daily/rpiTrades/",
    ];
    for key in strange {
        let file = if key.ends_with('/') { format!("{key}x.zip") } else { key.to_owned() };
        archive.put_alone(&file, "12345");
    }
    let mirror = Mirror::new(&archive, "");
    let lines = mirror.json(&["list", "--market", "spot"]);
    let unknown: Vec<&str> =
        lines.iter().filter(|l| l["standing"] == "unknown").map(|l| l["path"].as_str().unwrap()).collect();
    for key in strange {
        assert!(unknown.contains(&key), "{key}: {unknown:?}");
    }
    assert_eq!((unknown.len(), &lines.last().unwrap()["summary"]["unknown"]["files"]), (strange.len(), &6.into()));
    let plain = mirror.history(&["list", "--market", "spot", "--kind", "trades", "--only", "unknown"]);
    let text = both(&plain);
    assert!(text.contains("unknown\t5\tdata/spot/daily/trades/BTCUSDT/BTCUSDT-trades-20240131.zip"), "{text}");
    assert!(text.contains("5 names of the archive are not understood") && !text.contains('\u{1b}'), "{text:?}");
    let run = mirror.download(&["--market", "spot"]);
    assert_eq!((run.code, &run.summary["unknown"]), (Some(0), &6.into()), "{}", run.text);
    assert!(run.text.contains("unknown\tdata/spot/daily/rpiTrades/"), "{}", run.text);
    assert_eq!(run.summary["ok"], 3);
    assert!(keys.len() > 3);
    let metrics = std::fs::read_to_string(mirror.root().join("manifests/download.prom")).unwrap();
    assert!(metrics.contains("tapedeck_history_download_unknown_keys 6\n"), "{metrics}");
}

#[test]
fn a_listing_whose_pages_lead_back_to_each_other_is_given_up_with_its_name() {
    for version in [1, 2] {
        let archive = Archive::start();
        trades(&archive, "BTCUSDT");
        archive.goes_round();
        let mirror = Mirror::new(&archive, &format!("list_version = {version}"));
        let args = ["--market", "spot", "--kind", "trades", "--period", "daily", "--symbols", "BTCUSDT"];
        let out = mirror.history(&[&["list"], &args[..]].concat());
        assert_eq!(out.status.code(), Some(1), "{}", both(&out));
        let text = both(&out);
        assert!(
            text.contains("cannot list data/spot/daily/trades/BTCUSDT/") && text.contains("does not end"),
            "{text}"
        );
        let run = mirror.download(&args);
        assert_eq!((run.code, &run.summary["unlisted"]), (Some(1), &1.into()), "{}", run.text);
        assert!(archive.listings().len() <= 8, "asked on and on");
    }
}
