//! `wal-dump` as a user meets it: exit codes, shapes of output, manners, plain errors.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[allow(dead_code)]
#[path = "../../../wal-format/tests/support/build.rs"]
mod build;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use build::SegmentBuilder;
use wal_format::{Ack, AckFile, Append, ClockPair, Kind, LogOptions, LogWriter, Position, SegmentId, Seq, repair};

fn dump(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wal-dump")).args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// Two segments: the first sealed, the second open.
fn open_log(dir: &Path) -> (SegmentBuilder, SegmentBuilder) {
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.record(Kind::EpochStart, b"{}");
    for n in 0..20 {
        one.data(format!("{{\"stream\":\"btcusdt@trade\",\"n\":{n}}}").as_bytes());
    }
    one.seal(2);
    one.write(dir);
    let mut two = SegmentBuilder::new(2, 1, one.counter);
    two.data(b"last");
    two.write(dir);
    (one, two)
}

/// The same, closed by recovery.
fn sealed_log(dir: &Path) -> (SegmentBuilder, SegmentBuilder) {
    let built = open_log(dir);
    repair(dir).unwrap();
    built
}

fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_file())
        .map(|e| {
            let modified = e.metadata().unwrap().modified().unwrap();
            (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn exit_codes_distinguish_clean_from_open_from_damaged_from_lost_from_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    assert_eq!(code(&dump(&["verify", "--deep", log])), 0);
    assert_eq!(code(&dump(&["holes", log])), 0);

    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    open_log(dir.path());
    let open = dump(&["verify", log]);
    assert_eq!(code(&open), 1, "{}", stdout(&open));

    // Damage before the seal was proven durable: lost records.
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    let (mut one, _) = open_log(dir.path());
    one.bytes[4400] ^= 1;
    one.write(dir.path());
    let lost = dump(&["verify", log]);
    assert_eq!(code(&lost), 2, "{}", stdout(&lost));
    assert!(stdout(&lost).contains("records lost: 1:"), "{}", stdout(&lost));
    let listed = dump(&["holes", log]);
    assert_eq!(code(&listed), 2);
    assert_eq!(stdout(&listed).lines().count(), 1, "{}", stdout(&listed));

    // Damage after it: lost records that were durable.
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    let file = dir.path().join("00000000000000000001.wal");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4400] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let lost = dump(&["verify", log]);
    assert_eq!(code(&lost), 3, "{}", stdout(&lost));
    assert!(stdout(&lost).contains("LOST"));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000000000000000001.wal"), vec![7; 65536]).unwrap();
    assert_eq!(code(&dump(&["verify", path(dir.path())])), 4);
    assert_eq!(code(&dump(&["verify", "/nowhere/at/all"])), 4);
    assert_eq!(code(&dump(&["no-such-command"])), 4);
    assert_eq!(code(&dump(&["--help"])), 0);
}

#[test]
fn nothing_is_ever_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, _) = open_log(dir.path());
    one.bytes[5000] ^= 1;
    one.write(dir.path());
    let before = snapshot(dir.path());
    let log = path(dir.path());
    for args in [
        &["stat", log][..],
        &["ls", log],
        &["verify", "--deep", log],
        &["dump", log],
        &["holes", log],
        &["follow", "--all", "--limit", "5", log],
    ] {
        dump(args);
    }
    assert!(before == snapshot(dir.path()));
}

#[test]
fn dump_chooses_by_seq_time_conn_kind_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    let lines = |args: &[&str]| {
        let output = dump(&[&["dump", log], args].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&[]).len(), 23);
    assert_eq!(lines(&["--kind", "data"]).len(), 21);
    assert_eq!(lines(&["--kind", "data", "--kind", "epoch_start"]).len(), 22);
    assert_eq!(lines(&["--limit", "4"]).len(), 4);
    assert_eq!(lines(&["--conn", "9"]).len(), 0);
    let some = lines(&["--from", "1:5", "--to", "1:8"]);
    assert_eq!(some.len(), 3);
    assert!(some[0].starts_with("1:5 ") && some[0].contains("btcusdt@trade"), "{}", some[0]);
    // The second segment is found by the footers, not by walking the first.
    assert_eq!(lines(&["--from", "1:22"]).len(), 1);
    // Receive time equals the seq in these logs.
    let at = Seq::new(1, 20).get();
    let time =
        format!("1970-01-01T00:{:02}:{:02}.{:09}Z", at / 60_000_000_000, at / 1_000_000_000 % 60, at % 1_000_000_000);
    assert_eq!(lines(&["--from", &time]).len(), 3);
}

#[test]
fn raw_is_the_payload_json_is_one_object_per_line_hex_shows_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    let raw = dump(&["dump", "--raw", "--kind", "data", "--limit", "1", log]);
    assert_eq!(raw.stdout, b"{\"stream\":\"btcusdt@trade\",\"n\":0}\n");
    let json = dump(&["dump", "--json", "--from", "1:1", "--limit", "1", log]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["seq"], Seq::new(1, 1).get());
    assert_eq!(value["kind"], "data");
    assert_eq!(value["payload"], "{\"stream\":\"btcusdt@trade\",\"n\":0}");
    let hex = dump(&["dump", "--hex", "--from", "1:1", "--limit", "1", log]);
    assert!(stdout(&hex).contains("  00000000  7b 22 73 74"), "{}", stdout(&hex));
    assert_ne!(code(&dump(&["dump", "--raw", "--hex", log])), 0);
}

#[test]
fn one_file_is_enough_even_a_damaged_one_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, _) = open_log(dir.path());
    one.bytes[..64].fill(0xFF);
    one.bytes[4300] ^= 0x10;
    let file = dir.path().join("rescued.bin");
    std::fs::write(&file, &one.bytes).unwrap();
    let output = dump(&["dump", "--kind", "data", path(&file)]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stdout(&output).contains("\"n\":19"));
    assert!(stdout(&output).contains("lost 1:"));
    assert_eq!(code(&dump(&["verify", path(&file)])), 2);
    std::fs::write(&file, b"#!/bin/sh").unwrap();
    let output = dump(&["dump", path(&file)]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("is not a segment"), "{}", stderr(&output));
    assert!(stderr(&output).contains("fix: "), "{}", stderr(&output));
}

#[test]
fn wrong_paths_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("binance-spot");
    std::fs::create_dir(&inside).unwrap();
    open_log(&inside);
    let output = dump(&["stat", path(dir.path())]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("is not a log"));
    assert!(stderr(&output).contains(path(&inside)), "{}", stderr(&output));
    let output = dump(&["dump", "--kind", "dta", path(&inside)]);
    assert!(stderr(&output).contains("there is no kind dta"), "{}", stderr(&output));
    assert_eq!(code(&dump(&["dump", "--from", "yesterday", path(&inside)])), 4);
}

#[test]
fn a_newer_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, _) = open_log(dir.path());
    one.bytes[8] = 7;
    let file = one.write(dir.path());
    for target in [path(dir.path()), path(&file)] {
        let output = dump(&["dump", target]);
        assert_eq!(code(&output), 4);
        assert!(stderr(&output).contains("newer"), "{}", stderr(&output));
    }
}

#[test]
fn stat_and_ls_report_segments_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    SegmentBuilder::new(3, 2, 0).write(dir.path());
    AckFile::open(dir.path(), "lake")
        .unwrap()
        .store(&Ack {
            log_uuid: build::UUID,
            incarnation: build::INCARNATION,
            position: Position { segment: SegmentId(2), offset: 4096, seq: Seq::new(1, 22) },
            generation: 0,
            note: String::new(),
        })
        .unwrap();
    let text = stdout(&dump(&["stat", log]));
    assert!(text.contains("2 sealed, 0 open, 1 ready"), "{text}");
    assert!(text.contains("lake: segment 2 offset 4096 seq 1:22"), "{text}");
    assert!(text.contains("writer    none"), "{text}");
    assert!(text.contains(&format!("newest    run 2 ({})", build::INCARNATION)), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&dump(&["stat", "--json", log]).stdout).unwrap();
    assert_eq!(json["segments"]["sealed"], 2);
    assert_eq!(json["writer_alive"], false);
    let ls = stdout(&dump(&["ls", log]));
    assert_eq!(ls.lines().count(), 4, "{ls}");
    assert!(ls.lines().nth(1).unwrap().contains("sealed"), "{ls}");
    assert!(ls.lines().nth(1).unwrap().contains(" cafe "), "{ls}");
    let first = dump(&["ls", "--json", log]).stdout;
    let first: serde_json::Value = serde_json::from_slice(first.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["records"], 22);
    assert_eq!(first["next"], 2);
    assert_eq!(first["incarnation"], build::INCARNATION.to_string());
}

#[test]
fn stat_and_ls_name_what_is_not_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    SegmentBuilder::new(1, 1, 0).with(&["a copy"]).sealed(2).write(dir.path());
    std::fs::rename(dir.path().join(format!("{:020}.wal", 1)), dir.path().join(format!("{:020}.wal", 9))).unwrap();
    let stat = dump(&["stat", log]);
    assert!(stdout(&stat).contains("9.wal: its header names segment 1: it was copied or renamed"), "{}", stdout(&stat));
    assert_ne!(stat.status.code(), Some(0));
    assert!(stdout(&dump(&["ls", log])).lines().last().unwrap().contains("foreign"));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = SegmentBuilder::new(1, 1, 0);
    while one.at < 40_000 {
        one.data(&[b'x'; 900]);
    }
    one.write(dir.path());
    for n in 2..6 {
        std::fs::copy(dir.path().join("00000000000000000001.wal"), dir.path().join(format!("{n}"))).unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_wal-dump"))
        .args(["dump", "--hex", path(dir.path())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{errors}");
    assert_eq!(errors, "");
}

#[test]
fn follow_prints_what_is_appended_later() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut two) = open_log(dir.path());
    let mut child = Command::new(env!("CARGO_BIN_EXE_wal-dump"))
        .args(["follow", "--raw", "--all", "--kind", "data", "--limit", "22", path(dir.path())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Vec<String> = lines.by_ref().take(21).map(Result::unwrap).collect();
    assert_eq!(first[20], "last");
    two.data(b"appended later");
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("00000000000000000002.wal")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &two.bytes[4096..], 4096).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "appended later");
    assert!(child.wait().unwrap().success());
}

#[test]
fn beside_a_live_writer_everything_works_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    let now = std::sync::atomic::AtomicU64::new(1_800_000_000_000_000_000);
    let mut options = LogOptions::new(std::sync::Arc::new(move || {
        let wall_ns = now.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
        ClockPair { wall_ns, mono_ns: wall_ns }
    }));
    options.segment_bytes = 64 * 1024;
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let mut append = |n: u64| {
        let payload = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(400));
        let ts_recv_ns = 1_800_000_001_000_000_000 + n;
        let record = Append { ts_recv_ns, conn: 3, kind: Kind::Data, flags: 0, payload: payload.as_bytes() };
        writer.append(&record).unwrap()
    };
    for n in 0..400 {
        append(n);
    }
    let stat = stdout(&dump(&["stat", log]));
    assert!(stat.contains(&format!("writer    pid {}, epoch 1", std::process::id())), "{stat}");
    assert!(stat.contains("committed 1:"), "{stat}");
    let verify = dump(&["verify", "--deep", log]);
    assert_eq!(code(&verify), 1, "{}", stdout(&verify));
    let newest = append(400);
    let last = dump(&["dump", "--json", "--conn", "3", "--from", &newest.to_string(), log]);
    let value: serde_json::Value = serde_json::from_slice(&last.stdout).unwrap();
    assert_eq!(value["seq"], newest.get());
    let by_time = dump(&["dump", "--raw", "--conn", "3", "--from", "2027-01-15T08:00:01.000000399Z", log]);
    assert_eq!(stdout(&by_time).lines().count(), 2);
    writer.close().unwrap();
    let verify = dump(&["verify", "--deep", log]);
    assert_eq!(code(&verify), 0, "{}", stdout(&verify));
    assert!(stdout(&dump(&["stat", log])).contains("was closed about"));
}

#[test]
fn what_is_no_file_or_cannot_be_reached_is_named_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    sealed_log(dir.path());
    let fifo = dir.path().join(format!("{:020}.wal", 98));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/not/mounted", dir.path().join(format!("{:020}.wal", 99))).unwrap();
    for args in [&["stat"][..], &["stat", "--json"], &["ls"], &["ls", "--json"], &["verify"], &["verify", "--json"]] {
        let said = dump(&[args, &[log]].concat());
        let text = stdout(&said);
        assert_eq!(code(&said), 4, "{args:?}: {text}");
        assert!(text.contains("a FIFO") && text.contains("is that disk mounted?"), "{args:?}: {text}");
    }
    let said = stdout(&dump(&["lag", log]));
    assert!(said.contains("a FIFO"), "{said}");
    // Nothing says what they held, so a reader that waits for nothing says that something may be missing there.
    let lost = dump(&["holes", log]);
    assert_eq!(code(&lost), 2, "{}", stderr(&lost));
    assert!(stdout(&lost).contains("unreachable"), "{}", stdout(&lost));
    for command in ["verify", "dump", "salvage"] {
        let said = dump(&[command, path(&fifo)]);
        assert_eq!(code(&said), 4);
        assert!(stderr(&said).contains("a FIFO"), "{command}: {}", stderr(&said));
    }
    let out = dir.path().join("saved");
    let said = dump(&["salvage", "--out", path(&out), log]);
    assert!(stdout(&said).contains("cannot be reached"), "{} {}", stdout(&said), stderr(&said));
    assert_eq!(code(&dump(&["holes", path(&out)])), 0, "what could be read was saved");
}

#[test]
fn verify_reports_what_epoch_control_and_acks_say_and_what_is_wrong_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = path(dir.path());
    let options = || {
        let mut options =
            LogOptions::new(std::sync::Arc::new(|| ClockPair { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 }));
        options.segment_bytes = 64 << 10;
        options
    };
    let mut writer = LogWriter::open(dir.path(), options()).unwrap();
    for n in 0..20_u64 {
        writer
            .append(&Append {
                ts_recv_ns: 1_800_000_000_000_000_000 + n,
                conn: 1,
                kind: Kind::Data,
                flags: 0,
                payload: b"x",
            })
            .unwrap();
    }
    let (uuid, last) = (writer.log_uuid(), writer.last_seq());
    let (segment, next) = (writer.segment(), Seq(last.get() + 2));
    writer.close().unwrap();
    let incarnation = wal_format::lineage(dir.path()).unwrap().unwrap().incarnation_of(1).unwrap();
    let ack = |seq: Seq, log_uuid: [u8; 16]| {
        let mut file = AckFile::open(dir.path(), "lake").unwrap();
        let position = Position { segment: SegmentId(segment.0 + 1), offset: 4096, seq };
        file.store(&Ack { log_uuid, incarnation, position, generation: 0, note: String::new() }).unwrap();
    };
    ack(next, uuid);
    let clean = dump(&["verify", log]);
    let text = stdout(&clean);
    assert_eq!(code(&clean), 0, "{text}");
    for says in ["EPOCH", "epoch 1, closed at", "CONTROL", "committed", "lake.ack", "generation 1, empty"] {
        assert!(text.contains(says), "{says}: {text}");
    }

    let expect = |exit: i32, what: &str| {
        let said = dump(&["verify", log]);
        assert!(stdout(&said).contains(what), "{what}: {}", stdout(&said));
        assert_eq!(code(&said), exit, "{}", stdout(&said));
        let json = stdout(&dump(&["verify", "--json", log]));
        assert!(json.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{json}");
        assert!(json.contains(what), "{json}");
    };
    // Beyond the log's end, of another log, a damaged slot.
    ack(Seq(next.get() + 5), uuid);
    expect(2, "was acknowledged, the log ends before");
    ack(next, [9; 16]);
    expect(4, "it is of another log");
    ack(next, uuid);
    let whole = std::fs::read(dir.path().join("acks/lake.ack")).unwrap();
    let mut torn = whole.clone();
    torn[40] ^= 1;
    std::fs::write(dir.path().join("acks/lake.ack"), torn).unwrap();
    expect(2, "the slot is damaged");
    std::fs::write(dir.path().join("acks/lake.ack"), whole).unwrap();
    expect(0, "clean");
    let epoch = std::fs::read(dir.path().join("EPOCH")).unwrap();
    std::fs::write(dir.path().join("EPOCH"), vec![7; epoch.len()]).unwrap();
    expect(4, "both slots");
    std::fs::write(dir.path().join("EPOCH"), &epoch).unwrap();
    std::fs::write(dir.path().join("CONTROL"), vec![7; 4096]).unwrap();
    expect(2, "no page of this format");
    std::fs::remove_file(dir.path().join("CONTROL")).unwrap();
    expect(0, "clean");
    // The log was closed in order, and its last record is gone: it was known to be on disk.
    let path = dir.path().join(format!("{:020}.wal", segment.0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192..].fill(0);
    let tail = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[tail & !7..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    expect(3, "the log was closed at");
}
