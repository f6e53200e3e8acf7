//! Fuzz target: a log of one segment whose bytes are anybody's. Reading, verifying and repairing it must end, with
//! an answer, and after a repair there is nothing left to wait for.
//!
//! The first byte chooses how the file comes about: the bytes as they are; whole records with valid checksums and
//! hostile fields; or a segment that a writer wrote, with bytes changed.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use wal_format::header::SegmentHeader;
use wal_format::layout::{COMMIT_MARK, DATA_START, RECORD_HEADER_BYTES, SEGMENT_BYTES_MIN};
use wal_format::record::{self, RecordHeader};
use wal_format::{Incarnation, 
    Append, Clock, ClockPair, Kind, LogOptions, LogReader, LogWriter, Position, ReaderOptions, Seal, SegmentId, Seq,
    Step,
};

/// Steps that no file of this size can have.
const STEPS: usize = 10_000;

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::temp_dir().join(format!("tapedeck-fuzz-segment-{}", std::process::id())))
}

fn clock() -> Clock {
    Arc::new(|| ClockPair { wall_ns: 1_700_000_000_000_000_000, mono_ns: 5 })
}

/// A segment as a writer leaves it: records of every kind it writes, sealed, with a footer.
fn written() -> &'static [u8] {
    static WRITTEN: OnceLock<Vec<u8>> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let dir = folder().with_extension("template");
        let mut options = LogOptions::new(clock());
        options.segment_bytes = SEGMENT_BYTES_MIN;
        let mut writer = LogWriter::open(&dir, options).expect("a writer in an empty folder");
        for i in 0..60_u64 {
            let payload = vec![b'x'; (i as usize * 7) % 200];
            let record = Append { ts_recv_ns: i, conn: 1, kind: Kind::Data, flags: (i % 2) as u8, payload: &payload };
            writer.append(&record).expect("room for small records");
        }
        writer.append_rest(7, 1, b"{\"channel\":\"symbols\"}", b"{}").expect("room for a body");
        writer.close().expect("a clean end");
        let first = wal_format::list_segments(&dir).expect("segments").remove(0);
        let bytes = std::fs::read(wal_format::segment::path(&dir, first.id)).expect("the segment");
        let _ = std::fs::remove_dir_all(&dir);
        bytes
    })
}

/// The written segment with bytes changed: offset u16, byte, and so on; a last odd byte cuts the file.
fn changed(data: &[u8]) -> Vec<u8> {
    let mut bytes = written().to_vec();
    let mut chunks = data.chunks_exact(3);
    for c in &mut chunks {
        let at = usize::from(u16::from_le_bytes([c[0], c[1]])) % bytes.len();
        bytes[at] ^= c[2];
    }
    if let [cut] = chunks.remainder() {
        bytes.truncate(bytes.len() * usize::from(*cut) / 255);
    }
    bytes
}

/// A valid header and records with valid checksums, their fields from `data`; what is left over stands after them.
fn records(mut data: &[u8]) -> Vec<u8> {
    let header = SegmentHeader {
        log_uuid: [7; 16],
        segment: SegmentId(1),
        epoch: 1,
        incarnation: Incarnation(0xf0f0_0000_0000_0001),
        salt: 99,
        segment_bytes: SEGMENT_BYTES_MIN,
        created: ClockPair { wall_ns: 1, mono_ns: 1 },
        boot_id: [9; 16],
        writer_version: "fuzz".to_owned(),
    };
    let mut out = header.encode();
    let mut seq = 0_u64;
    while let [kind, flags, length, step, conn, reserved, rest @ ..] = data {
        let (payload, after) = rest.split_at(usize::from(*length).min(rest.len()));
        data = after;
        seq = match step {
            255 => u64::MAX,
            254 => 0,
            step => seq.wrapping_add(u64::from(step % 8)),
        };
        let fields = RecordHeader {
            commit: COMMIT_MARK | (RECORD_HEADER_BYTES + payload.len()) as u32,
            crc: 0,
            seq: Seq(seq),
            ts_recv_ns: if *reserved > 250 { u64::MAX } else { seq % (1 << 60) },
            conn: u32::from(*conn),
            kind_raw: *kind,
            flags: *flags,
            reserved: if *reserved == 1 { 1 } else { 0 },
        };
        if out.len() + payload.len() + 100 > SEGMENT_BYTES_MIN as usize {
            break;
        }
        record::encode_into(&mut out, header.crc_initial(), fields, payload);
    }
    out.extend_from_slice(&data[..data.len().min(SEGMENT_BYTES_MIN as usize - out.len())]);
    out.resize(SEGMENT_BYTES_MIN as usize, 0);
    out
}

/// Reads to the tail; true when nothing had to be waited for.
fn read(mut reader: LogReader, bytes: usize) -> bool {
    for _ in 0..STEPS {
        match reader.next() {
            Ok(Step::Record(r)) => {
                assert!(r.payload.len() <= bytes);
                if let Some(rest) = r.rest() {
                    assert!(rest.meta.len() + rest.body.len() <= r.payload.len());
                }
                let _ = (r.kind(), Seal::decode(r.payload), ClockPair::decode(r.payload));
            }
            Ok(Step::Lost(lost)) => {
                let _ = (lost.count(), lost.reason.as_str());
            }
            Ok(Step::Tail) => return true,
            Ok(Step::AwaitRepair { .. }) => return false,
            Err(_) => return true,
        }
    }
    panic!("no end after {STEPS} steps");
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let bytes = match mode % 3 {
        0 => data.to_vec(),
        1 => records(data),
        _ => changed(data),
    };
    let dir = folder();
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("a folder");
    let path = wal_format::segment::path(dir, SegmentId(1));
    std::fs::write(&path, &bytes).expect("a file");
    let options = |follow_damaged| ReaderOptions { follow_damaged, chunk_bytes: 4096 };
    if let Ok(reader) = LogReader::open_file(&path, options(true)) {
        read(reader, bytes.len());
    }
    for follow_damaged in [true, false] {
        let reader = LogReader::open(dir, Position::START, options(follow_damaged)).expect("a folder is a log");
        read(reader, bytes.len());
    }
    let inside = Position { segment: SegmentId(1), offset: DATA_START + 40, seq: Seq(3) };
    read(LogReader::open(dir, inside, options(true)).expect("a folder is a log"), bytes.len());
    let _ = wal_format::verify::verify_file(&path, true);
    let _ = (wal_format::list_segments(dir), wal_format::log_state(dir));
    if wal_format::repair(dir).is_ok() {
        let reader = LogReader::open(dir, Position::START, options(false)).expect("a folder is a log");
        assert!(read(reader, bytes.len()), "repaired, and still to be repaired");
    }
});
