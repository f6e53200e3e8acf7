//! Round trips, hostile bytes, and one chunk that is kept for ever.
#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use wal_format::layout::DATA_START;
use wal_format::{Incarnation, Kind, LostRange, LostReason, OwnedRecord, Position, RecordRef, SegmentId, Seq};

use super::body::{put_lost, put_place, put_record};
use super::encode::encode;
use super::*;

/// What a test puts in.
#[derive(Clone, Debug)]
enum Put {
    Record {
        payload: Vec<u8>,
        kind_raw: u8,
        flags: u8,
        conn: u32,
        more_ns: u32,
    },
    /// The record before it was the last of its segment.
    Roll,
    Lost {
        records: u16,
        reason: LostReason,
        bytes: u32,
        moves: bool,
        below_durable: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Got {
    Record { at: Position, next: Position, seq: Seq, ts: u64, conn: u32, kind_raw: u8, flags: u8, payload: Vec<u8> },
    Lost(LostRange, Position),
}

fn got(record: &RecordRef<'_>) -> Got {
    Got::Record {
        at: record.position,
        next: record.next,
        seq: record.seq,
        ts: record.ts_recv_ns,
        conn: record.conn,
        kind_raw: record.kind_raw,
        flags: record.flags,
        payload: record.payload.to_vec(),
    }
}

const INCARNATION: Incarnation = Incarnation(0xabcd_0000_1234_5678);

fn writer(start: Position) -> ChunkWriter {
    ChunkWriter::new("binance-spot", [7; 16], start, Vec::new()).unwrap()
}

/// Steps as a reader of a log gives them, each with the position after it.
fn steps(puts: &[Put], start: Position) -> Vec<Got> {
    let (mut at, mut ts, mut steps) = (start, 1_700_000_000_000_000_000, Vec::new());
    for (n, put) in puts.iter().enumerate() {
        match put {
            Put::Roll => {
                if let Some(Got::Record { next, .. }) = steps.last_mut() {
                    *next = Position { segment: SegmentId(next.segment.0 + 1), offset: DATA_START, ..*next };
                    at = *next;
                }
            }
            Put::Record { payload, kind_raw, flags, conn, more_ns } => {
                ts += u64::from(*more_ns);
                let next = after_record(at, payload.len());
                steps.push(Got::Record {
                    at,
                    next,
                    seq: at.seq,
                    ts,
                    conn: *conn,
                    kind_raw: *kind_raw,
                    flags: *flags,
                    payload: payload.clone(),
                });
                at = next;
            }
            Put::Lost { records, reason, bytes, moves, below_durable } => {
                let exact = n + 1 < puts.len();
                let lost = LostRange {
                    from: at.seq,
                    to: Seq(at.seq.0 + if exact { u64::from(*records) } else { 0 }),
                    exact,
                    segment: at.segment,
                    offset: at.offset,
                    bytes: u64::from(*bytes),
                    reason: *reason,
                    below_durable: *below_durable,
                };
                let offset = if *moves { at.offset + u64::from(*bytes) } else { at.offset };
                at = Position { offset, seq: lost.to.next(), ..at };
                steps.push(Got::Lost(lost, at));
            }
        }
    }
    steps
}

fn pack(steps: &[Got], start: Position) -> Option<(ChunkHeader, Vec<u8>)> {
    let mut writer = writer(start);
    for step in steps {
        match step {
            Got::Record { at, next, seq, ts, conn, kind_raw, flags, payload } => {
                let record = OwnedRecord {
                    position: *at,
                    next: *next,
                    seq: *seq,
                    ts_recv_ns: *ts,
                    conn: *conn,
                    kind_raw: *kind_raw,
                    flags: *flags,
                    payload: payload.clone(),
                };
                writer.record(&record.borrowed()).unwrap();
            }
            Got::Lost(lost, next) => writer.lost(lost, *next).unwrap(),
        }
    }
    let done = writer.finish(INCARNATION, &mut Packer::new(1).unwrap()).unwrap()?;
    Some((done.header, done.bytes))
}

fn read(chunk: &mut Chunk) -> Vec<Got> {
    let mut steps = Vec::new();
    loop {
        let step = match chunk.next() {
            Some(ChunkStep::Record(record)) => got(&record),
            Some(ChunkStep::Lost(lost, next)) => Got::Lost(lost, next),
            None => return steps,
        };
        if let Got::Record { next, .. } = &step {
            assert_eq!(*next, chunk.position());
        }
        steps.push(step);
    }
}

fn put() -> impl Strategy<Value = Put> {
    let record = (vec(any::<u8>(), 0..200), any::<u8>(), any::<u8>(), any::<u32>(), any::<u32>());
    let reasons = prop_oneof![
        Just(LostReason::Hole),
        Just(LostReason::Damage),
        Just(LostReason::UncleanEnd),
        Just(LostReason::MissingSegment),
        Just(LostReason::ArchiveFrame),
        Just(LostReason::Unreadable),
        Just(LostReason::Unreachable),
    ];
    prop_oneof![
        8 => record.prop_map(|(payload, kind_raw, flags, conn, more_ns)| {
            Put::Record { payload, kind_raw, flags, conn, more_ns }
        }),
        1 => Just(Put::Roll),
        1 => (any::<u16>(), reasons, any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
            |(records, reason, bytes, moves, below_durable)| Put::Lost { records, reason, bytes, moves, below_durable }
        ),
    ]
}

fn sample() -> (ChunkHeader, Vec<u8>, Vec<Got>) {
    let payload = br#"{"e":"trade","s":"BTCUSDT","t":1}"#.to_vec();
    let record = |n: u32| Put::Record { payload: payload.clone(), kind_raw: 1, flags: 0, conn: n, more_ns: n };
    let lost = Put::Lost { records: 3, reason: LostReason::Hole, bytes: 64, moves: true, below_durable: true };
    let start = Position { segment: SegmentId(3), offset: DATA_START, seq: Seq::new(2, 10) };
    let steps = steps(&[record(1), record(2), Put::Roll, record(3), lost, record(4)], start);
    let (header, bytes) = pack(&steps, start).unwrap();
    (header, bytes, steps)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_put_into_a_chunk_comes_out_of_it_with_every_position(
        puts in vec(put(), 1..60), counter in 0_u64..1 << 39, hint in any::<bool>(),
    ) {
        let start = Position { segment: SegmentId(9), offset: DATA_START, seq: Seq::new(4, counter) };
        let steps = steps(&puts, start);
        // A reader that begins at the beginning is nowhere until it has read a record.
        let begin = if hint { start } else { Position::START };
        let Some((header, bytes)) = pack(&steps, begin) else {
            prop_assert!(steps.is_empty());
            return Ok(());
        };
        let mut chunk = Chunk::open(&bytes).unwrap();
        prop_assert_eq!(chunk.header(), &header);
        prop_assert_eq!(header.name().to_string().parse::<ChunkName>().unwrap(), header.name());
        prop_assert_eq!(chunk.position(), begin);
        prop_assert_eq!(&read(&mut chunk), &steps);
        prop_assert_eq!(chunk.position(), chunk.end());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..400), keep in 0_usize..200) {
        let (_, good, _) = sample();
        let begun: Vec<u8> = good.iter().take(keep).copied().chain(bytes.iter().copied()).collect();
        prop_assert!(Chunk::open(&begun).is_err());
    }

    #[test]
    fn a_body_of_any_bytes_with_good_checksums_is_read_in_order_or_refused(
        bytes in vec(any::<u8>(), 0..300), entries in vec(0_u8..4, 0..6), first in any::<u64>(), span in 0_u64..9,
    ) {
        let mut body = Vec::new();
        let at = Position { segment: SegmentId(1), offset: 4096, seq: Seq(first) };
        for entry in entries {
            match entry {
                1 => {
                    let record = RecordRef {
                        position: at, next: at, seq: at.seq, ts_recv_ns: 1, conn: 0, kind_raw: 1, flags: 0, payload: b"x",
                    };
                    // Longer than it is, at times.
                    put_record(&mut body, &record, bytes.first().map_or(1, |b| u32::from(*b)));
                }
                2 => put_place(&mut body, at),
                3 => put_lost(&mut body, &LostRange {
                    from: Seq(first), to: Seq(first.saturating_add(span)), exact: true, segment: SegmentId(1),
                    offset: 0, bytes: 0, reason: LostReason::Damage, below_durable: false,
                }),
                _ => body.extend_from_slice(&bytes),
            }
        }
        let (header, ..) = sample();
        let header = ChunkHeader {
            first: Seq(first), last: Seq(first.saturating_add(span)),
            body_bytes: body.len() as u32, body_crc: crc32fast::hash(&body), ..header
        };
        let packed = zstd::bulk::compress(&body, 1).unwrap();
        if let Ok(mut chunk) = Chunk::open(&encode(&header, &packed).unwrap()) {
            let mut expected = chunk.header().first;
            for step in read(&mut chunk) {
                let (from, to) = match step {
                    Got::Record { seq, .. } => (seq, seq),
                    Got::Lost(lost, _) => (lost.from, lost.to),
                };
                prop_assert_eq!(from, expected);
                expected = to.next();
            }
        }
    }
}

#[test]
fn a_chunk_with_any_byte_changed_missing_or_added_is_refused() {
    let (_, good, _) = sample();
    Chunk::open(&good).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Chunk::open(&bad).is_err(), "byte {at}");
        assert!(Chunk::open(&good[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(
        Chunk::open(&[good.as_slice(), b"x"].concat()).unwrap_err(),
        ChunkError::Length { expected: good.len() as u64, got: good.len() as u64 + 1 }
    );
    let mut newer = good;
    newer[8] = 2;
    assert_eq!(Chunk::open(&newer).unwrap_err(), ChunkError::Newer { found: 2 }, "by name, whatever else is there");
}

#[test]
fn a_body_that_says_it_is_larger_than_it_is_or_than_any_is_refused_before_it_is_inflated() {
    let (header, ..) = sample();
    let packed = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    let tell = |body_bytes| {
        let header = ChunkHeader { body_bytes, ..header.clone() };
        Chunk::open(&encode(&header, &packed).unwrap()).unwrap_err()
    };
    assert!(matches!(tell(1 << 10), ChunkError::Inflate { .. }));
    assert!(matches!(tell(2 << 20), ChunkError::Length { .. }));
    assert!(matches!(tell(u32::MAX), ChunkError::Header { at: 104, .. }));
}

#[test]
fn steps_that_do_not_follow_or_are_of_another_run_are_not_taken() {
    let (_, _, steps) = sample();
    let record = |seq| OwnedRecord {
        position: Position { segment: SegmentId(1), offset: DATA_START, seq },
        next: Position { segment: SegmentId(1), offset: DATA_START + 32, seq: seq.next() },
        seq,
        ts_recv_ns: 1,
        conn: 0,
        kind_raw: Kind::Data as u8,
        flags: 0,
        payload: Vec::new(),
    };
    assert_eq!(steps.len(), 5);
    let mut writer = writer(Position::START);
    writer.record(&record(Seq::new(1, 5)).borrowed()).unwrap();
    for wrong in [Seq::new(1, 5), Seq::new(1, 7), Seq::new(2, 0)] {
        assert!(matches!(writer.record(&record(wrong).borrowed()), Err(PackError::Order { got, .. }) if got == wrong));
    }
    assert!(writer.takes(Seq::new(1, 6)) && !writer.takes(Seq::new(2, 0)));
    let name = |venue: &str| ChunkWriter::new(venue, [7; 16], Position::START, Vec::new());
    for bad in ["", "a/b", "..", ".x", "Binance", &"x".repeat(65)] {
        assert!(matches!(name(bad), Err(PackError::Venue(_))), "{bad:?}");
    }
}

#[test]
fn names_are_in_the_order_of_the_log_and_nothing_else_is_one() {
    let name = |a, b| ChunkName { first: Seq(a), last: Seq(b) }.to_string();
    assert_eq!(name(1 << 40, (1 << 40) + 255), "0000010000000000-00000100000000ff.tdc");
    assert!(name(9, 10) < name(16, 16) && name(16, 20) < name(1 << 40, 1 << 40));
    for bad in [
        "0000010000000000-00000100000000ff",
        "0000010000000000-00000100000000FF.tdc",
        "10000000000-100000000ff.tdc",
        "0000010000000001-0000010000000000.tdc",
        "+000010000000000-0000010000000001.tdc",
        "runs",
    ] {
        assert!(bad.parse::<ChunkName>().is_err(), "{bad}");
    }
    assert_eq!(folder("gate-spot", &[0xab; 16]), format!("wal/gate-spot/{}", "ab".repeat(16)));
    assert_eq!(run_key("f", 26), "f/runs/0000001a");
}

/// The bytes of version 1, written once: a chunk that was put must be readable for ever.
#[test]
fn the_chunk_of_version_1_that_was_kept_is_still_read() {
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chunks/v1.tdc");
    let (header, _, steps) = sample();
    let bytes = std::fs::read(&kept).unwrap();
    let mut chunk = Chunk::open(&bytes).unwrap();
    assert_eq!(chunk.header(), &header);
    assert_eq!(read(&mut chunk), steps);
    assert_eq!(bytes[..HEAD_BYTES][40..48], Seq::new(2, 10).0.to_le_bytes(), "as FORMAT.md draws it");
}

/// Makes the kept chunk where there is none: `cargo test -p tapedeck-ship make_the_kept_chunk -- --ignored`.
#[test]
#[ignore = "writes tests/data"]
fn make_the_kept_chunk() {
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chunks/v1.tdc");
    if !kept.exists() {
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(kept, sample().1).unwrap();
    }
}
