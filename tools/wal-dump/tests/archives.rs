//! `wal-dump` over archived segments, and the commands that answer a person: lag, explain, salvage, bench.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../../wal-format/tests/support/build.rs"]
mod build;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use build::SegmentBuilder;
use wal_format::archive::pack;
use wal_format::{
    Ack, AckFile, Append, ClockPair, Kind, LogOptions, LogWriter, Position, SegmentId, Seq, list_segments,
};

/// 2026-11-21T12:03:00Z.
const NOON: u64 = 1_795_262_580_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn dump(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_wal-dump")).args(args).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A data directory with a closed log of some segments: ten frames a second of two symbols for a minute, a connection that
/// breaks at 12:03:07 and is replaced two seconds later.
fn data() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data/wal/binance-spot");
    let now = Arc::new(AtomicU64::new(NOON));
    let mut options = LogOptions::new({
        let now = now.clone();
        Arc::new(move || {
            let wall_ns = now.load(Ordering::Relaxed);
            // The wall clock jumps by three seconds at 12:03:20.
            let mono_ns = wall_ns - NOON - if wall_ns >= NOON + 20 * SECOND { 3 * SECOND } else { 0 };
            ClockPair { wall_ns, mono_ns }
        })
    });
    options.segment_bytes = 64 * 1024;
    let mut log = LogWriter::open(&dir, options).unwrap();
    let mut put = |ts_recv_ns, conn, kind, payload: &str| {
        now.store(ts_recv_ns, Ordering::Relaxed);
        log.append(&Append { ts_recv_ns, conn, kind, flags: 0, payload: payload.as_bytes() }).unwrap();
    };
    put(NOON, 1, Kind::ConnOpen, r#"{"url":"wss://x/stream","streams":2}"#);
    for tenth in 0..600 {
        let ts = NOON + tenth * SECOND / 10 + 1;
        match tenth {
            70 => put(ts, 1, Kind::ConnClose, r#"{"code":1006,"reason":"reset by peer"}"#),
            90 => put(ts, 2, Kind::ConnOpen, r#"{"url":"wss://x/stream","streams":2}"#),
            71..90 => {}
            n => {
                let symbol = if n % 2 == 0 { "BTCUSDT" } else { "ETHUSDT" };
                let text = format!(r#"{{"s":"{symbol}","t":{n},"pad":"{}"}}"#, "x".repeat(400));
                put(ts, if n < 70 { 1 } else { 2 }, Kind::Data, &text);
            }
        }
    }
    log.close().unwrap();
    (root, dir)
}

/// Moves all but the newest sealed segment to the archive, as the compactor does; the archive's directory.
fn archive(data: &Path, dir: &Path) -> PathBuf {
    let segments = list_segments(dir).unwrap();
    let uuid = segments[0].log_uuid.unwrap();
    let log8: String = uuid.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let to = data.join("data/archive/binance-spot").join(log8);
    let sealed: Vec<_> = segments.iter().filter(|s| s.sealed).collect();
    for segment in &sealed[..sealed.len() - 1] {
        pack(&segment.path, &to, 3, &mut |_| {}).unwrap();
        std::fs::remove_file(&segment.path).unwrap();
    }
    to
}

#[test]
fn every_command_reads_archives_like_segments() {
    let (root, dir) = data();
    let before = dump(&["dump", "--json", text(&dir)]);
    assert_eq!(before.0, 0);
    let first = list_segments(&dir).unwrap()[0].path.clone();
    let one = dump(&["dump", text(&first)]);
    let kept = archive(root.path(), &dir);
    let file = kept.join("00000000000000000001.wal.zst");
    assert_eq!(dump(&["dump", text(&file)]), one);
    let with = ["--archive", text(&kept), text(&dir)];
    let both = |command: &[&str]| dump(&[command, &with[..]].concat());
    assert_eq!(both(&["dump", "--json"]), before);
    assert_eq!(both(&["holes"]), (0, String::new(), String::new()));
    let (code, said, _) = both(&["verify", "--deep"]);
    assert!(code == 0 && said.contains(": clean"), "{said}");
    let (_, listed, _) = both(&["ls"]);
    assert!(listed.matches("archived").count() > 1 && listed.contains("sealed"), "{listed}");
    let (code, said, _) = dump(&["stat", text(&kept)]);
    assert!(code == 0 && said.contains(" sealed, 0 open") && !said.contains(" 0 sealed"), "{said}");
    // Without the second directory the beginning is simply not there; with both kinds in one it is.
    assert!(dump(&["dump", "--json", text(&dir)]).1.len() < before.1.len());
    for entry in std::fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(dump(&["dump", "--json", text(&dir)]), before);
    // By time and by number, out of the middle of an archive.
    let (code, some, _) =
        dump(&["dump", "--kind", "data", "--from", "2026-11-21T12:03:02Z", "--limit", "2", text(&kept)]);
    assert!(code == 0 && some.lines().count() == 2 && some.contains("12:03:02.000000001Z"), "{some}");
    let (code, some, _) = dump(&["dump", "--from", "1:30", "--to", "1:32", text(&kept)]);
    assert!(code == 0 && some.lines().count() == 2 && some.starts_with("1:30 "), "{some}");
}

#[test]
fn a_damaged_archive_names_its_frame_and_the_exit_code_says_that_something_is_lost() {
    let (root, dir) = data();
    let kept = archive(root.path(), &dir);
    let file = kept.join("00000000000000000002.wal.zst");
    let good = std::fs::read(&file).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 2;
    std::fs::write(&file, &bytes).unwrap();
    let (code, said, _) = dump(&["verify", text(&file)]);
    assert!(code == 3 && said.contains("frame 1 of 3") && said.contains("is damaged"), "{code} {said}");
    let (code, said, _) = dump(&["holes", text(&kept)]);
    assert!(code == 3 && said.contains("archive_frame 1"), "{code} {said}");
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let (code, said, _) = dump(&["verify", text(&file)]);
    assert!(code >= 2 && said.contains("the file is truncated at byte"), "{code} {said}");
    let (code, said, _) = dump(&["explain", &format!("{}@5000", text(&file))]);
    assert!(code == 2 && said.contains("frame 1 of the archive"), "{code} {said}");
}

#[test]
fn explain_says_what_happened_at_a_moment_from_the_log_or_its_archive() {
    let (root, dir) = data();
    let ask = |place: &Path, more: &[&str]| {
        dump(&[&["explain", "--at", "2026-11-21T12:03:07", "--symbol", "btcusdt", text(place)], more].concat())
    };
    let live = ask(&dir, &[]);
    let (code, said, errors) = &live;
    assert_eq!(*code, 0, "{said}{errors}");
    for part in [
        "12:03:07.000  Connection 1 closed: code 1006, reason reset by peer.",
        "12:03:09.000  Connection 2 opened: streams 2, url wss://x/stream.",
        "btcusdt: the longest silence was 2.4",
        "on connections 1, 2",
        "No record of the log is missing here.",
        "Frames around the moment:",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!said.contains("ETHUSDT"), "{said}");
    // The same answer when the segments went to the archive, found by itself, from the data directory too.
    archive(root.path(), &dir);
    assert_eq!(&ask(&dir, &[]), &live);
    assert_eq!(&ask(&root.path().join("data"), &[]), &live);
    let (_, json, _) = ask(&dir, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["of_symbol"]["conns"], serde_json::json!([1, 2]));
    // The clock record after the jump is in reach of 12:03:25.
    let (_, said, _) = dump(&["explain", "--at", "2026-11-21T12:03:25", text(&dir)]);
    assert!(
        said.contains("The wall clock stepped by +3.0") || said.contains("The wall clock stepped by -3.0"),
        "{said}"
    );
    let (code, said, _) = dump(&["explain", "--at", "2026-11-22T00:00:00Z", text(&dir)]);
    assert!(code == 0 && said.contains("the log ends at 2026-11-21T12:03:5"), "{said}");
    assert_eq!(dump(&["explain", "--at", "noon", text(&dir)]).0, 4);
}

#[test]
fn explain_names_the_rule_that_a_byte_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.record(Kind::EpochStart, b"{}");
    let at: Vec<usize> = (0..9).map(|n| one.data(format!("frame {n}").as_bytes())).collect();
    one.seal(2);
    let good = one.bytes.clone();
    let file = dir.path().join("00000000000000000001.wal");
    let ask = |change: &dyn Fn(&mut Vec<u8>), offset: usize| {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&file, &bytes).unwrap();
        dump(&["explain", &format!("{}@{offset}", text(&file))])
    };
    let (code, said, _) = ask(&|_| {}, at[3] + 33);
    assert!(code == 0 && said.contains("byte 1 of the 7 of the payload of record 1:4"), "{said}");
    assert!(ask(&|_| {}, 100).1.contains("in the header block, whose checksum holds"));
    assert!(ask(&|_| {}, 30_000).1.contains("every byte has to be zero, and this one is"));
    let (code, said, _) = ask(&|b| b[at[3] + 34] ^= 1, at[3] + 34);
    assert!(code == 2 && said.contains("Its checksum is") && said.contains(&format!("begins at {}", at[4])), "{said}");
    assert!(ask(&|b| b[at[3] + 3] = 0x85, at[3]).1.contains("bits 26 to 30 clear"));
    assert!(ask(&|b| b[at[3] + 2] = 0x7f, at[3]).1.contains("are left before the footer"));
    assert!(ask(&|b| b[at[3] + 30] = 1, at[3]).1.contains("reserved bytes"));
    assert!(ask(&|b| b[at[3]..at[4]].fill(0), at[3]).1.contains("commit word is 0"));
    assert!(ask(&|b| b[30_000] = 7, 30_000).1.contains("should be zero"));
    assert_eq!(dump(&["explain", text(&file)]).0, 4);
}

#[test]
fn lag_says_who_holds_a_segment_and_why() {
    let (_root, dir) = data();
    let segments = list_segments(&dir).unwrap();
    let (uuid, sealed) = (segments[0].log_uuid.unwrap(), segments.iter().filter(|s| s.sealed).count());
    assert!(sealed >= 4);
    let store = |reader: &str, segment: u64| {
        let footer = segments[segment as usize - 1].footer.clone().unwrap();
        let entry = footer.index[0];
        let position = Position { segment: SegmentId(segment), offset: entry.offset, seq: Seq(entry.seq) };
        let incarnation = segments[0].incarnation.unwrap();
        let ack = Ack { log_uuid: uuid, incarnation, position, generation: 0, note: "published".into() };
        AckFile::open(&dir, reader).unwrap().store(&ack).unwrap();
    };
    store("lake", 4);
    store("klines", 2);
    let (code, said, _) = dump(&["lag", text(&dir)]);
    assert_eq!(code, 0, "{said}");
    let line = |id: usize| said.lines().find(|l| l.starts_with(&format!("segment {id} "))).unwrap().to_owned();
    assert!(line(1).contains("passed by every reader; waits for the compactor"), "{said}");
    assert!(line(2).contains("held by klines (it is inside at byte") && !line(2).contains("lake"), "{said}");
    assert!(line(3).contains("held by klines (it is in segment 2"), "{said}");
    assert!(line(4).contains("klines") && line(4).contains("lake"), "{said}");
    assert!(said.contains("klines: ") && said.contains(" s behind") && said.contains("published"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&dump(&["lag", "--json", text(&dir)]).1).unwrap();
    assert_eq!(json["segments"][1]["held_by"], serde_json::json!(["klines"]));
    assert!(json["readers"][0]["bytes_behind"].as_u64() > json["readers"][1]["bytes_behind"].as_u64());
    assert!(json["readers"][0]["seconds_behind"].as_f64().unwrap() > 1.0);
}

#[test]
fn salvage_writes_a_whole_log_of_what_is_left_and_nothing_without_out() {
    let (root, dir) = data();
    let kept = archive(root.path(), &dir);
    let whole = dump(&["dump", "--kind", "data", "--raw", "--archive", text(&kept), text(&dir)]).1;
    // One archive loses a frame, one its end; a segment its header and a record.
    let damage = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    damage(&kept.join("00000000000000000002.wal.zst"), &|b| b.truncate(b.len() - 40));
    let newest = list_segments(&dir).unwrap().into_iter().rfind(|s| s.sealed).unwrap().path;
    damage(&newest, &|b| {
        b[..64].fill(0xff);
        b[6_000] ^= 8;
    });
    let (code, said, _) = dump(&["salvage", "--archive", text(&kept), text(&dir)]);
    assert!(code == 3 && said.contains("nothing was written"), "{said}");
    let out = root.path().join("saved");
    let (code, said, errors) = dump(&["salvage", "--archive", text(&kept), "--out", text(&out), text(&dir)]);
    assert!(code >= 2 && said.contains("was damaged") && said.contains("segments repaired"), "{code} {said}{errors}");
    let saved = dump(&["dump", "--kind", "data", "--raw", text(&out)]);
    let mut rest = whole.lines();
    assert!(saved.1.lines().all(|line| rest.any(|w| w == line)), "a frame that was never there");
    let (kept_frames, all_frames) = (saved.1.lines().count(), whole.lines().count());
    assert!(kept_frames + 1 >= all_frames - 1 && kept_frames < all_frames, "{kept_frames} of {all_frames}");
    // What was written is a log without a torn end, and its lost ranges are written down.
    let (code, said, _) = dump(&["verify", "--deep", text(&out)]);
    assert!((code == 2 || code == 3) && said.contains("a HOLE of"), "{code} {said}");
    let (code, _, errors) = dump(&["salvage", "--out", text(&out), text(&dir)]);
    assert!(code == 4 && errors.contains("saved"), "{errors}");
}

#[test]
fn bench_measures_reading_verifying_and_compressing() {
    let (_root, dir) = data();
    let (code, said, _) = dump(&["bench", "--seconds", "1", "--level", "1", "--json", text(&dir)]);
    assert_eq!(code, 0);
    let rows: Vec<serde_json::Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let what: Vec<&str> = rows.iter().map(|r| r["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["read", "verify --deep", "zstd 1"]);
    assert!(rows[0]["records"].as_u64() > Some(500) && rows[2]["ratio"].as_f64() > Some(2.0), "{said}");
}
