//! `[wal] archive = "zstd"` through the real binaries: what was collected is in the log or in its archive, whatever is
//! killed when; the lake is the one without an archive; replay proves it from both places; and the text formats of the
//! lake survive the same kills.

use std::path::{Path, PathBuf};

use lake::{Lake, diff_trees};
use wal_format::{LogReader, Position, ReaderOptions, SegmentDirs, Step};

use crate::support::logs::{copy_tree, frames, record};
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, both, free_port, run, seed, tapedeck, wait_until};

/// The archive of the only log of a venue below `data`.
fn archive_of(data: &Path, venue: &str) -> Option<PathBuf> {
    let root = data.join("archive").join(venue);
    std::fs::read_dir(root).ok()?.flatten().map(|e| e.path()).find(|p| p.is_dir())
}

/// Names in the archive, temporary ones too.
fn names(dir: Option<&Path>) -> Vec<String> {
    let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every record of a log and its archive: seq and payload.
fn records(data: &Path, venue: &str) -> Vec<(u64, Vec<u8>)> {
    let options = ReaderOptions { archive: archive_of(data, venue), follow_damaged: true, ..ReaderOptions::default() };
    let mut reader = LogReader::open(&data.join("wal").join(venue), Position::START, options).unwrap();
    let mut all = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Record(r) => all.push((r.seq.get(), r.payload.to_vec())),
            Step::Tail => return all,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_collected_is_archived_behind_the_readers_and_replay_proves_it_from_the_archive() {
    let seed = seed("collected_and_archived");
    let root = tempfile::tempdir().unwrap();
    let exchange = Exchange::start(market("binance-spot", 4_000, Some(30_000), seed));
    let channels = ["trades", "agg_trades", "book_ticker", "depth"];
    let symbols = ["BTCUSDT", "ETHUSDT", "币安*"];
    let config =
        write_config_for(root.path(), &exchange, "binance-spot", &symbols, &channels, "connect_stagger_ms = 0\n");
    let text = std::fs::read_to_string(&config).unwrap();
    let wal =
        "segment_mib = 1\nretention_hours = 0\narchive = \"zstd\"\narchive_level = 1\n[lake]\nack_interval_s = 1\n";
    std::fs::write(&config, text.replace("segment_mib = 4\nretention_hours = 8760\n", wal)).unwrap();
    let data = root.path().join("data");
    let collector = Service::start("collector", &config, &[]);
    let compactor = Service::start("compactor", &config, &[]);
    wait_until("everything was played", || {
        let log = data.join("wal/binance-spot");
        wal_format::control::read(&log).is_some_and(|c| c.committed.seq.counter() >= 30_000)
    });
    collector.stop();
    compactor.stop();
    exchange.stop();
    let all = records(&data, "binance-spot");
    assert!(all.len() > 30_000, "{} records", all.len());
    let config = config.to_str().unwrap();
    // The hour is open, or was closed a moment ago: what is only staged lets nothing go.
    let out = run(&["compactor", "--drain", "--config", config]);
    assert!(out.status.success(), "{}", both(&out));
    assert_eq!(records(&data, "binance-spot"), all, "archiving changed nothing");
    let archive = archive_of(&data, "binance-spot").unwrap();
    let listed = names(Some(&archive));
    assert!(listed.len() >= 3 && listed.iter().all(|n| n.ends_with(".wal.zst")), "{listed:?}");
    let live = SegmentDirs::new(&data.join("wal/binance-spot")).list().unwrap();
    assert!(live.iter().filter(|s| s.sealed).count() <= 2, "sealed and passed segments are gone");
    let out = run(&["replay", "--verify", "--config", config]);
    assert!(out.status.success() && both(&out).contains(" 0 different"), "{}", both(&out));
    assert!(!both(&out).contains("1 not checkable"), "{}", both(&out));
}

fn configured(dir: &Path, wal: &str, lake: &str) -> PathBuf {
    let path = dir.join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\n{wal}[lake]\nrow_group_rows = 2000\nbatch_rows = 64\nack_interval_s = 1\n{lake}[klines.source]\nbinance-spot = \"none\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.binance-spot]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\n",
        dir.join("data").display().to_string(),
        free_port(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn drain(config: &Path, point: &str) -> std::process::Output {
    tapedeck()
        .args(["compactor", "--drain", "--config"])
        .arg(config)
        .envs((!point.is_empty()).then_some(("TAPEDECK_FAILPOINT", point)))
        .output()
        .unwrap()
}

/// Drains a copy of `log` killed at every point of `points`, and drains again; `check` sees each end.
#[cfg(debug_assertions)]
fn killed(log: &Path, root: &Path, wal: &str, lake: &str, points: &[String], check: &dyn Fn(&Path, &str)) -> usize {
    use std::os::unix::process::ExitStatusExt;
    let mut met = 0;
    for point in points {
        let dir = root.join("killed");
        copy_tree(log, &dir);
        let config = configured(&dir, wal, lake);
        let out = drain(&config, point);
        let dead = out.status.signal() == Some(9);
        assert!(dead || out.status.success(), "{point}: {}", both(&out));
        met += usize::from(dead);
        let out = drain(&config, "");
        assert!(out.status.success(), "after {point}: {}", both(&out));
        check(&dir.join("data"), point);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    met
}

#[cfg(debug_assertions)]
#[test]
fn the_real_compactor_killed_at_every_step_of_archiving_loses_nothing_and_leaves_no_orphan() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    let mut some = frames("binance-spot/hft-btcusdt_20240808.zst");
    some.truncate(12_000);
    record(&log.join("data/wal/binance-spot"), &some, 2, 1 << 20);
    let all = records(&log.join("data"), "binance-spot");
    let clean = root.path().join("clean");
    copy_tree(&log, &clean);
    let wal = "archive = \"zstd\"\n";
    let out = drain(&configured(&clean, wal, ""), "");
    assert!(out.status.success(), "{}", both(&out));
    let archived = names(archive_of(&clean.join("data"), "binance-spot").as_deref());
    assert!(archived.len() >= 2, "{archived:?}");
    let points: Vec<String> =
        ["before_pack", "after_frame", "after_sync", "after_proof", "after_publish", "after_unlink"]
            .iter()
            .flat_map(|p| [format!("archive.{p}"), format!("archive.{p}:2")])
            .collect();
    let met = killed(&log, root.path(), wal, "", &points, &|data, point| {
        assert_eq!(records(data, "binance-spot"), all, "{point}");
        assert_eq!(names(archive_of(data, "binance-spot").as_deref()), archived, "{point}");
        assert_eq!(
            diff_trees(&Lake::open(&clean.join("data/lake")), &Lake::open(&data.join("lake"))).unwrap(),
            [],
            "{point}"
        );
    });
    assert_eq!(met, points.len());
}

#[cfg(debug_assertions)]
#[test]
fn a_text_lake_killed_at_every_step_of_publishing_is_the_one_of_a_clean_run() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    let mut some = frames("binance-spot/hft-btcusdt_20240808.zst");
    some.truncate(4_000);
    record(&log.join("data/wal/binance-spot"), &some, 2, 1 << 20);
    let points: Vec<String> = [
        "before_join_trades", "after_join_trades", "after_rename_trades", "before_manifest", "after_manifest",
        "after_ack",
    ]
    .iter()
    .map(|p| format!("publish.{p}"))
    .collect();
    for format in ["jsonl", "csv"] {
        let lake = format!("format = {format:?}\n");
        let clean = root.path().join(format!("clean-{format}"));
        copy_tree(&log, &clean);
        let config = configured(&clean, "retention_hours = 8760\n", &lake);
        let out = drain(&config, "");
        assert!(out.status.success(), "{}", both(&out));
        let out = run(&["replay", "--verify", "--config", config.to_str().unwrap()]);
        assert!(out.status.success() && both(&out).contains(" 0 different"), "{}", both(&out));
        let met = killed(&log, root.path(), "", &lake, &points, &|data, point| {
            assert_eq!(
                diff_trees(&Lake::open(&clean.join("data/lake")), &Lake::open(&data.join("lake"))).unwrap(),
                [],
                "{format} {point}"
            );
        });
        assert_eq!(met, points.len());
    }
}
