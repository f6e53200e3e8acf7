//! Files of every released format version are kept in `tests/data` and must open for ever.
//!
//! `tests/data/v1` and `tests/data/v2` are each a log of three segments: epoch 1 rolled once and was closed, epoch 2 was
//! dropped in the middle, as a kill leaves it. `expected.txt` is what a reader gets out of it.
//! Made once by the ignored test at the end; never made again for a version that was released.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wal_format::header::SegmentHeader;
use wal_format::record::{self, RecordHeader};
use wal_format::{
    Ack, AckFile, Append, ClockPair, FooterSummary, Kind, LogOptions, LogReader, LogWriter, Position, ReaderOptions,
    SegmentId, Seq, Step, SyncPolicy, epoch, flags, layout,
};

const VERSIONS: [u16; 2] = [1, 2];

fn golden(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/v{version}"))
}

fn dump(dir: &Path) -> String {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let (mut out, mut tails) = (String::new(), 0);
    while tails < 4 {
        match reader.next().unwrap() {
            Step::Record(r) => {
                tails = 0;
                let payload = r.payload.escape_ascii().to_string();
                let (position, kind) = (r.position, r.kind().unwrap());
                let conn = r.conn;
                writeln!(out, "{position} {} {conn} {kind} {} {payload}", r.ts_recv_ns, r.flags).unwrap();
            }
            Step::Lost(lost) => writeln!(out, "{lost}").unwrap(),
            Step::Tail => tails += 1,
            Step::AwaitRepair { segment } => panic!("segment {segment} awaits repair"),
        }
    }
    out
}

/// The segment files, oldest first.
fn segments(version: u16) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(golden(version))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn a_log_of_every_version_reads_as_it_did_when_it_was_written() {
    for version in VERSIONS {
        let expected = std::fs::read_to_string(golden(version).join("expected.txt")).unwrap();
        assert_eq!(dump(&golden(version)), expected);
        for kind in Kind::ALL {
            if kind != Kind::Hole {
                assert!(expected.contains(&format!(" {kind} ")), "no {kind} in the golden log");
            }
        }
    }
}

#[test]
fn every_structure_of_every_version_is_written_today_as_it_was_then() {
    for version in VERSIONS {
        let segments = segments(version);
        assert_eq!(segments.len(), 3);
        for (id, bytes) in (1..).zip(segments) {
            assert_eq!(bytes[8], version as u8, "the header of a run of version {version}");
            written_as_then(id, &bytes);
        }
    }
}

fn written_as_then(id: u64, bytes: &[u8]) {
    let header = SegmentHeader::decode(bytes).unwrap();
    assert_eq!(header.encode(), bytes[..4096], "header of segment {id}");
    let limit = header.data_limit() as usize;
    let mut at = layout::DATA_START as usize;
    let mut records = 0;
    while let Ok(read) = record::check(&bytes[at..limit], header.crc_initial()) {
        let total = read.total_bytes();
        let payload = &bytes[at + 32..at + 32 + read.payload_bytes()];
        let kind = Kind::from_raw(read.kind_raw).unwrap();
        let again = RecordHeader::new(read.seq, read.ts_recv_ns, read.conn, kind, read.flags, payload.len());
        let mut encoded = Vec::new();
        assert!(record::encode_into(&mut encoded, header.crc_initial(), again.unwrap(), payload));
        assert_eq!(encoded, bytes[at..at + total], "record at {at} of segment {id}");
        at += total;
        records += 1;
    }
    assert!(records > 5, "segment {id} has {records} records");
    match FooterSummary::decode(&bytes[limit..]) {
        Ok(footer) => {
            assert_eq!(footer.end_offset as usize, at);
            let encoded = footer.encode(header.segment_bytes).unwrap();
            assert_eq!(encoded, bytes[limit..limit + encoded.len()], "footer of segment {id}");
        }
        Err(_) => assert_eq!(id, 3, "only the last segment has no footer"),
    }
}

#[test]
fn the_bytes_of_a_record_stand_where_the_format_page_says() {
    // Written out by hand from FORMAT.md, so that code and page cannot drift apart together.
    let bytes = &segments(1)[0];
    let salt = SegmentHeader::decode(bytes).unwrap().salt;
    let first = &bytes[4096..];
    let word = |at: usize| u32::from_le_bytes(first[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    let commit = word(0);
    assert_eq!(commit >> 26, 0b10_0000, "bit 31 set, bits 26 to 30 clear");
    let len = (commit & 0x03FF_FFFF) as usize;
    assert_eq!(long(8), 1 << 40, "epoch 1, counter 0");
    assert_eq!(long(16), 1_800_000_000_000_000_000);
    assert_eq!((word(24), first[28], first[29]), (0, 6, 0), "conn 0, kind EPOCH_START, no flags");
    assert_eq!((first[30], first[31]), (0, 0));
    let padded = len.next_multiple_of(8);
    assert!(first[len..padded].iter().all(|b| *b == 0));
    // The checksum bit by bit, from its definition.
    let mut crc = !((salt as u32) ^ (salt >> 32) as u32);
    for byte in commit.to_le_bytes().iter().chain(&first[8..padded]) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    assert_eq!(word(4), !crc);
}

#[test]
fn the_bytes_of_the_state_of_version_2_stand_where_the_format_page_says() {
    let long = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let bytes = &segments(2)[2];
    let header = SegmentHeader::decode(bytes).unwrap();
    // The text `golden "1"` is longer than 8 bytes and comes first.
    assert_eq!(&bytes[32..42], b"golden \"1\"");
    let body = &bytes[48..];
    assert_eq!(&body[..16], &header.log_uuid);
    assert_eq!(&body[16..32], &header.boot_id);
    assert_eq!((long(body, 32), long(body, 40), long(body, 48)), (4, header.incarnation.0, header.salt));
    assert_eq!((long(body, 56), long(body, 64)), (65536, 4096));
    assert_eq!((long(body, 72), long(body, 80)), (header.created.wall_ns, header.created.mono_ns));
    assert_eq!((word(body, 88), body[92]), (2, 1));

    let file = std::fs::read(golden(2).join("EPOCH")).unwrap();
    let state = epoch::read(&golden(2)).unwrap().unwrap();
    let slot = file.chunks(4096).max_by_key(|slot| long(slot, 16)).unwrap();
    assert_eq!((&slot[..8], slot[8]), (&b"TDSLOT\r\n"[..], 2));
    for (n, run) in state.runs.iter().enumerate() {
        assert_eq!((long(slot, 32 + 16 * n), word(slot, 40 + 16 * n)), (run.incarnation.0, run.epoch));
    }
    assert_eq!(state.runs.len(), 2);
    let body = &slot[64..];
    assert_eq!(&body[..16], &state.log_uuid);
    assert_eq!(&body[16..32], &state.boot_id);
    assert_eq!((long(body, 32), long(body, 40)), (state.next_segment.0, state.started_wall_ns));
    assert_eq!((word(body, 64), body[68], word(body, 76)), (2, 0, 2));
    assert_eq!(word(body, 72) as i32, -(32 + 72), "back to the first run");

    let file = std::fs::read(golden(2).join("acks/lake.ack")).unwrap();
    let slot = file.chunks(4096).max_by_key(|slot| long(slot, 16)).unwrap();
    assert_eq!(slot[8], 2);
    let body = &slot[32..];
    assert_eq!(&body[..16], &header.log_uuid);
    assert_eq!(long(body, 16), state.runs[0].incarnation.0);
    assert_eq!((long(body, 24), long(body, 32), long(body, 40)), (1, 5000, Seq::new(1, 9).0));
    assert_eq!(&body[48..54], b"golden");
}

#[test]
fn acks_of_every_version_are_read() {
    for version in VERSIONS {
        // Opening takes a lock file beside it, so a copy is opened.
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("acks")).unwrap();
        std::fs::copy(golden(version).join("acks/lake.ack"), dir.path().join("acks/lake.ack")).unwrap();
        let ack = AckFile::open(dir.path(), "lake").unwrap().load().unwrap().unwrap();
        assert_eq!(ack.position, Position { segment: SegmentId(1), offset: 5000, seq: Seq::new(1, 9) });
        assert_eq!((ack.note.as_str(), ack.generation), ("golden", 2));
        let header = SegmentHeader::decode(&segments(version)[0]).unwrap();
        assert_eq!((ack.log_uuid, ack.incarnation), (header.log_uuid, header.incarnation));
        assert_eq!(ack.incarnation.is_version_1(), version == 1);
    }
}

#[test]
#[ignore = "writes the golden log of a new format version; set GOLDEN_DIR"]
fn write_the_golden_log() {
    let dir = PathBuf::from(std::env::var("GOLDEN_DIR").expect("GOLDEN_DIR names an empty directory"));
    let ticks = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ticks);
    let mut options = LogOptions::new(Arc::new(move || {
        let ms = clock.fetch_add(1, Ordering::Relaxed);
        ClockPair { wall_ns: 1_800_000_000_000_000_000 + ms * 1_000_000, mono_ns: 1_000_000_000 + ms * 1_000_000 }
    }));
    options.segment_bytes = 64 * 1024;
    options.sync = SyncPolicy::Never;
    options.writer_version = "golden \"1\"".to_owned();
    let salts = Arc::new(AtomicU64::new(0x0123_4567_89AB_CDEF));
    options.entropy = Arc::new(move || salts.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed));
    options.ready_segments = 1;
    for (epoch, rounds) in [(1, 120), (2, 3)] {
        let mut writer = LogWriter::open(&dir, options.clone()).unwrap();
        for n in 0..rounds {
            let kinds = [Kind::ConnOpen, Kind::Subscribe, Kind::Data, Kind::Gap, Kind::Event, Kind::ConnClose];
            for (step, kind) in kinds.into_iter().enumerate() {
                let payload = match kind {
                    Kind::Data => vec![b'a' + n as u8 % 26; 100 + n as usize],
                    _ => format!("{{\"n\":{n}}}").into_bytes(),
                };
                let ts_recv_ns = 1_800_000_000_100_000_000 + epoch * 10_000_000 + n * 1000 - step as u64;
                let flags = if kind == Kind::Data { flags::BINARY } else { 0 };
                writer.append(&Append { ts_recv_ns, conn: n as u32, kind, flags, payload: &payload }).unwrap();
            }
            let ts_recv_ns = 1_800_000_000_100_000_000 + epoch * 10_000_000 + n * 1000 + 500;
            writer.append_rest(ts_recv_ns, 7, b"{\"status\":200}", b"[1,2]").unwrap();
            if n % 50 == 5 {
                let last = writer.last_seq();
                writer.sync_handle().wait_durable(last).unwrap();
            }
        }
        if epoch == 1 {
            let mut ack = AckFile::open(&dir, "lake").unwrap();
            for offset in [4096, 5000] {
                let position = Position { segment: SegmentId(1), offset, seq: Seq::new(1, 9) };
                let note = "golden".to_owned();
                let incarnation = writer.incarnation();
                let ack_of_run = Ack { log_uuid: writer.log_uuid(), incarnation, position, generation: 0, note };
                ack.store(&ack_of_run).unwrap();
            }
            writer.close().unwrap();
        }
    }
    std::fs::write(dir.join("expected.txt"), dump(&dir)).unwrap();
}
