//! The writer's promises: numbering, rolls, clocks, epochs, exclusion, durability, full disks.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wal_format::{
    Append, AppendError, ClockPair, FooterSummary, Kind, LogOptions, LogReader, LogWriter, OpenError, Position,
    ReaderOptions, ReceiveClock, SealedBy, Seq, Step, SyncPolicy, flags, layout, list_segments, segment,
};

const T0: u64 = 1_800_000_000_000_000_000;
const SMALL: u64 = 64 * 1024;

/// A clock that tests set by hand.
#[derive(Clone)]
struct Hands {
    wall: Arc<AtomicU64>,
    mono: Arc<AtomicU64>,
}

impl Hands {
    fn new() -> Self {
        Hands { wall: Arc::new(AtomicU64::new(T0)), mono: Arc::new(AtomicU64::new(1_000)) }
    }

    fn pass(&self, wall_ns: u64, mono_ns: u64) {
        self.wall.fetch_add(wall_ns, Ordering::Relaxed);
        self.mono.fetch_add(mono_ns, Ordering::Relaxed);
    }

    fn clock(&self) -> Arc<dyn Fn() -> ClockPair + Send + Sync> {
        let hands = self.clone();
        Arc::new(move || ClockPair {
            wall_ns: hands.wall.load(Ordering::Relaxed),
            mono_ns: hands.mono.load(Ordering::Relaxed),
        })
    }
}

fn options(hands: &Hands) -> LogOptions {
    let mut options = LogOptions::new(hands.clock());
    options.segment_bytes = SMALL;
    options.sync = SyncPolicy::Never;
    options
}

fn data(ts_recv_ns: u64, payload: &[u8]) -> Append<'_> {
    Append { ts_recv_ns, conn: 3, kind: Kind::Data, flags: 0, payload }
}

struct Got {
    position: Position,
    seq: Seq,
    ts: u64,
    kind: Kind,
    flags: u8,
    payload: Vec<u8>,
}

fn read_all(dir: &Path) -> Vec<Got> {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let mut got = Vec::new();
    let mut tails = 0;
    while tails < 4 {
        match reader.next().unwrap() {
            Step::Record(r) => {
                tails = 0;
                got.push(Got {
                    position: r.position,
                    seq: r.seq,
                    ts: r.ts_recv_ns,
                    kind: r.kind().unwrap(),
                    flags: r.flags,
                    payload: r.payload.to_vec(),
                });
            }
            Step::Tail => tails += 1,
            other => panic!("{other:?}"),
        }
    }
    got
}

fn kinds(got: &[Got], kind: Kind) -> Vec<&Got> {
    got.iter().filter(|g| g.kind == kind).collect()
}

fn footer(path: &Path) -> Option<FooterSummary> {
    let bytes = std::fs::read(path).unwrap();
    let at = layout::footer_offset(bytes.len() as u64) as usize;
    FooterSummary::decode(&bytes[at..]).ok()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn records_are_numbered_without_a_gap_over_many_rolls_and_read_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    let mut sent = Vec::new();
    for n in 0..2_000_u64 {
        let payload = vec![n as u8; (n % 400) as usize];
        sent.push(writer.append(&data(T0 + n, &payload)).unwrap());
    }
    let rolls = writer.stats().rolls.get();
    assert!(rolls >= 8, "{rolls}");
    writer.close().unwrap();
    let got = read_all(dir.path());
    for (n, pair) in got.windows(2).enumerate() {
        assert_eq!(pair[1].seq, pair[0].seq.next(), "after record {n}");
        assert!(pair[1].ts >= pair[0].ts);
    }
    let frames = kinds(&got, Kind::Data);
    assert_eq!(frames.iter().map(|g| g.seq).collect::<Vec<_>>(), sent);
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.payload, vec![n as u8; n % 400]);
    }
    // Every segment begins with a clock and ends with a seal.
    assert_eq!(kinds(&got, Kind::Seal).len() as u64, rolls + 1);
    assert_eq!(kinds(&got, Kind::Clock).len() as u64, rolls + 1);
}

#[test]
fn a_record_that_exactly_fills_a_segment_stays_and_one_byte_more_rolls() {
    for more in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let hands = Hands::new();
        let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
        let first = writer.segment();
        let limit = layout::footer_offset(SMALL) - layout::SEAL_BYTES;
        let at = read_all(dir.path()).last().map(|g| g.position.offset + layout::record_bytes(g.payload.len()) as u64);
        let room = (limit - at.unwrap()) as usize - layout::RECORD_HEADER_BYTES;
        writer.append(&data(T0, &vec![1; room + more])).unwrap();
        assert_eq!(writer.segment() == first, more == 0);
        writer.append(&data(T0, b"next")).unwrap();
        assert!(writer.segment() > first);
        writer.close().unwrap();
        assert_eq!(kinds(&read_all(dir.path()), Kind::Data).len(), 2);
    }
}

#[test]
fn an_oversized_payload_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut options = options(&hands);
    options.max_payload_bytes = 1000;
    let max = options.payload_bytes_max();
    assert_eq!(max, 1000);
    let mut writer = LogWriter::open(dir.path(), options.clone()).unwrap();
    let before = writer.last_seq();
    match writer.append(&data(T0, &[0; 1001])) {
        Err(AppendError::TooLarge { bytes, max }) => assert_eq!((bytes, max), (1001, 1000)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(writer.append_rest(T0, 1, b"{}", &[0; 995]), Err(AppendError::TooLarge { .. })));
    assert_eq!(writer.append(&data(T0, &[0; 1000])).unwrap(), before.next());
    writer.append_rest(T0, 1, b"{}", &[7; 994]).unwrap();
    writer.close().unwrap();
    let got = read_all(dir.path());
    let rest = &kinds(&got, Kind::Rest)[0].payload;
    assert_eq!(&rest[..6], b"\x02\0\0\0{}");
    assert_eq!(rest.len(), 1000);
}

#[test]
fn the_longest_payload_a_segment_can_hold_fits_a_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let options = options(&hands);
    let max = options.payload_bytes_max();
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    for _ in 0..3 {
        writer.append(&data(T0, &vec![9; max])).unwrap();
    }
    assert!(matches!(writer.append(&data(T0, &vec![9; max + 1])), Err(AppendError::TooLarge { .. })));
    writer.close().unwrap();
    assert_eq!(kinds(&read_all(dir.path()), Kind::Data).len(), 3);
}

#[test]
fn a_receive_time_that_goes_back_is_raised_and_flagged() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    for ts in [T0 + 100, T0 + 50, T0 + 100, T0 + 101] {
        writer.append(&data(ts, b"x")).unwrap();
    }
    assert_eq!(writer.stats().clamped.get(), 1);
    writer.close().unwrap();
    let got = read_all(dir.path());
    let seen: Vec<_> = kinds(&got, Kind::Data).iter().map(|g| (g.ts - T0, g.flags & flags::CLAMPED != 0)).collect();
    assert_eq!(seen, [(100, false), (100, true), (100, false), (101, false)]);
}

#[test]
fn clock_records_come_every_ten_seconds_of_receive_time_and_on_steps_of_the_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    let clocks = || kinds(&read_all(dir.path()), Kind::Clock).len();
    assert_eq!(clocks(), 1);
    writer.append(&data(T0 + 9_999_999_999, b"x")).unwrap();
    assert_eq!(clocks(), 1);
    writer.append(&data(T0 + 10_000_000_000, b"x")).unwrap();
    assert_eq!(clocks(), 2);

    hands.pass(1_000_000_000, 1_000_000_000);
    writer.tick().unwrap();
    assert_eq!(clocks(), 2, "clocks that agree");
    hands.pass(1_049_000_000, 1_000_000_000);
    writer.tick().unwrap();
    assert_eq!(clocks(), 2, "a step of 49 ms");
    hands.pass(1_000_000_000, 1_100_000_000);
    writer.tick().unwrap();
    assert_eq!(clocks(), 3, "51 ms back in sum");
    hands.pass(3_600_000_000_000, 1_000_000);
    writer.tick().unwrap();
    assert_eq!(clocks(), 4, "an hour ahead");
    hands.pass(10_000_000_000, 10_000_000_000);
    writer.tick().unwrap();
    assert_eq!(clocks(), 5, "ten quiet seconds");
    let got = read_all(dir.path());
    let last = ClockPair::decode(&kinds(&got, Kind::Clock)[4].payload).unwrap();
    assert_eq!(last, hands.clock()());
}

#[test]
fn each_start_is_a_new_epoch_that_says_how_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut uuids = Vec::new();
    for run in 1..=4_u64 {
        hands.pass(5_000_000_000, 5_000_000_000);
        let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
        assert_eq!(u64::from(writer.epoch()), run);
        uuids.push(writer.log_uuid());
        let now = hands.clock()().wall_ns;
        writer.append(&data(now, b"x")).unwrap();
        if run % 2 == 1 {
            writer.close().unwrap();
        }
    }
    uuids.dedup();
    assert_eq!(uuids.len(), 1);
    wal_format::repair(dir.path()).unwrap();
    let got = read_all(dir.path());
    let starts: Vec<String> =
        kinds(&got, Kind::EpochStart).iter().map(|g| String::from_utf8(g.payload.clone()).unwrap()).collect();
    assert_eq!(starts.len(), 4);
    assert!(starts[0].contains(r#""previous_epoch":null,"previous_end":"none""#));
    assert!(starts[1].contains(r#""previous_epoch":1,"previous_end":"clean""#));
    assert!(starts[1].contains(r#""downtime_ns":5000000000,"downtime_from":"close""#));
    assert!(starts[2].contains(r#""previous_epoch":2,"previous_end":"unclean""#));
    assert!(starts[3].contains(r#""previous_epoch":3,"previous_end":"clean""#));
    for start in kinds(&got, Kind::EpochStart) {
        assert_eq!(start.seq.counter(), 0);
    }
}

#[test]
fn receive_times_go_on_from_the_run_before_although_the_clock_was_set_back_between_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    for step in [0, 1] {
        let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
        writer.append(&data(T0 + 5_000 - step * 3_000, b"x")).unwrap();
        hands.wall.fetch_sub(3_600_000_000_000, Ordering::Relaxed);
        writer.close().unwrap();
    }
    let got = read_all(dir.path());
    assert!(got.windows(2).all(|pair| pair[0].ts <= pair[1].ts));
    let last = kinds(&got, Kind::Data)[1];
    assert_eq!((last.ts, last.flags & flags::CLAMPED), (T0 + 5_000, flags::CLAMPED));
}

#[test]
fn receive_times_stay_distinct_while_the_wall_clock_is_days_ahead_and_back_and_over_a_restart_beyond_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let days = 2 * 24 * 3_600_000_000_000;
    for run in 0..3 {
        let receive = Arc::new(ReceiveClock::new(hands.clock()()));
        let mut options = options(&hands);
        options.receive = Some(Arc::clone(&receive));
        let mut writer = LogWriter::open(dir.path(), options).unwrap();
        let mut append = |seconds| {
            for _ in 0..seconds {
                hands.pass(1_000_000_000, 1_000_000_000);
                writer.tick().unwrap();
                writer.append(&data(receive.at(hands.clock()().mono_ns), b"x")).unwrap();
            }
        };
        append(2);
        // A moment first; then long enough to be believed, and taken back between the runs.
        hands.wall.fetch_add(days, Ordering::Relaxed);
        append(if run == 0 { 1 } else { 20 });
        hands.wall.fetch_sub(days, Ordering::Relaxed);
        append(2);
        writer.close().unwrap();
    }
    let got = read_all(dir.path());
    assert!(got.windows(2).all(|pair| pair[0].ts <= pair[1].ts), "times of a log never decrease");
    let frames: Vec<u64> = kinds(&got, Kind::Data).iter().map(|g| g.ts).collect();
    assert!(frames.windows(2).all(|pair| pair[0] < pair[1]), "no two frames have one time: {frames:?}");
    assert_eq!(frames[..5], [1, 2, 3, 4, 5].map(|s| T0 + s * 1_000_000_000), "a moment reaches no receive time");
    let clocks = kinds(&got, Kind::Clock);
    let clocks: Vec<u64> = clocks.iter().map(|g| ClockPair::decode(&g.payload).unwrap().wall_ns - T0).collect();
    assert!(
        clocks[..4].iter().any(|wall| *wall > days),
        "and a CLOCK record says what the wall clock said: {clocks:?}"
    );
}

#[test]
fn a_dropped_writer_loses_nothing_and_the_next_one_goes_on_in_a_fresh_segment() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut last = 0;
    for run in 0..3_u8 {
        let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
        assert!(writer.segment().0 > last);
        for n in 0..300_u64 {
            writer.append(&data(T0 + n, &[run; 300])).unwrap();
        }
        last = writer.segment().0;
        drop(writer);
    }
    wal_format::repair(dir.path()).unwrap();
    let got = read_all(dir.path());
    let frames = kinds(&got, Kind::Data);
    assert_eq!(frames.len(), 900);
    assert!(frames.iter().enumerate().all(|(n, g)| g.payload == [(n / 300) as u8; 300]));
}

#[test]
fn a_writer_starts_while_another_process_repairs_and_takes_none_of_the_files_that_one_may_be_at() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    writer.append(&data(T0, b"before")).unwrap();
    while writer.stats().ready.get() < 2 {
        std::thread::yield_now();
    }
    let (tail, stats) = (writer.segment(), writer.stats());
    drop(writer);
    let before: Vec<_> = list_segments(dir.path()).unwrap().iter().map(|s| s.id).collect();
    assert!(before.len() >= 3 && stats.reused.get() == 0);

    let repair = wal_format::lock::LogLock::take_for_repair(dir.path()).unwrap();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    writer.append(&data(T0 + 1, b"after")).unwrap();
    assert!(before.iter().all(|id| writer.segment() > *id));
    let now: Vec<_> = list_segments(dir.path()).unwrap().iter().map(|s| s.id).collect();
    assert!(before.iter().all(|id| now.contains(id)), "prepared segments stay what they are: {before:?}, {now:?}");
    let sealed = || list_segments(dir.path()).unwrap().iter().any(|s| s.id == tail && s.sealed);
    assert!(!sealed(), "the other one has not come to it yet");
    drop(repair);
    // The writer's own repair does what is left.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while !sealed() {
        assert!(std::time::Instant::now() < end, "ten minutes later still: !sealed()");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    writer.close().unwrap();
    let got = read_all(dir.path());
    assert_eq!(kinds(&got, Kind::Data).iter().map(|g| &g.payload[..]).collect::<Vec<_>>(), [&b"before"[..], b"after"]);
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let first = LogWriter::open(dir.path(), options(&hands)).unwrap();
    match LogWriter::open(dir.path(), options(&hands)) {
        Err(OpenError::LockHeld { path, pid, .. }) => {
            assert_eq!(path, dir.path().join("LOCK"));
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    drop(first);
    LogWriter::open(dir.path(), options(&hands)).unwrap();
}

#[test]
fn prepared_segments_of_an_earlier_run_are_taken_over_under_new_ids() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let options = options(&hands);
    let writer = LogWriter::open(dir.path(), options.clone()).unwrap();
    eventually("two ready segments", || writer.stats().ready.get() == 2);
    drop(writer);
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.contains(".wal"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names().len(), 3);
    let writer = LogWriter::open(dir.path(), options).unwrap();
    eventually("two ready segments again", || writer.stats().ready.get() == 2);
    assert_eq!(writer.stats().reused.get(), 2);
    assert!(writer.segment().0 > 3, "ids are not used twice");
    assert_eq!(names().len(), 4);
    writer.close().unwrap();
}

#[test]
fn foreign_files_are_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let lookalike = dir.path().join("00000000000000000007.wal");
    std::fs::write(&lookalike, vec![b'z'; SMALL as usize]).unwrap();
    let mut options = options(&hands);
    options.repair_tails = false;
    let writer = LogWriter::open(dir.path(), options.clone()).unwrap();
    assert!(writer.warnings().iter().any(|w| w.contains("notes.txt")));
    assert_eq!(writer.segment().0, 8);
    writer.close().unwrap();
    assert_eq!(std::fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    assert_eq!(std::fs::read(&lookalike).unwrap(), vec![b'z'; SMALL as usize]);

    std::fs::remove_file(dir.path().join("CONTROL")).unwrap();
    std::fs::create_dir(dir.path().join("CONTROL")).unwrap();
    assert!(matches!(
        LogWriter::open(dir.path(), options),
        Err(OpenError::ForeignFile { path }) if path.ends_with("CONTROL")
    ));
}

#[test]
fn a_closed_segment_has_a_footer_that_says_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    for n in 0..100 {
        writer.append(&data(T0 + n, b"0123456789")).unwrap();
    }
    let id = writer.segment();
    let last = writer.last_seq();
    writer.close().unwrap();
    let path = segment::path(dir.path(), id);
    let footer = footer(&path).unwrap();
    assert_eq!(footer.first_seq, Some(Seq::new(1, 0)));
    assert_eq!(footer.last_seq, Some(last.next()), "the SEAL counts");
    assert_eq!(footer.records, 103);
    let frames = footer.counts.iter().find(|c| c.kind == Kind::Data as u8);
    assert_eq!(frames.map(|c| (c.records, c.payload_bytes)), Some((100, 1000)));
    assert!(footer.synced && footer.clean_end);
    assert_eq!(footer.sealed_by, SealedBy::Writer);
    let bytes = std::fs::read(&path).unwrap();
    let area = &bytes[layout::DATA_START as usize..footer.end_offset as usize];
    assert_eq!(footer.data_crc, wal_format::checksum::plain(&[area]));
    assert_eq!(&area[area.len() - 24..][..8], &(id.0 + 1).to_le_bytes());
}

#[test]
fn policy_interval_makes_records_durable_without_further_appends_and_says_so_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut options = options(&hands);
    options.sync = SyncPolicy::Interval { interval_ms: 5, bytes: 1 << 20 };
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let seq = writer.append(&data(T0, b"x")).unwrap();
    let handle = writer.sync_handle();
    eventually("the record is durable", || handle.durable() >= seq);
    let durable = handle.durable();
    writer.append(&data(T0, b"y")).unwrap();
    let got = read_all(dir.path());
    let notes = kinds(&got, Kind::Sync);
    let noted = u64::from_le_bytes(notes[0].payload.clone().try_into().unwrap());
    assert!(noted <= durable.get() && noted > 0);
    // An idle log comes to rest: ticks do not append SYNC records for ever.
    for _ in 0..5 {
        eventually("all durable", || handle.durable() == writer.last_seq());
        writer.tick().unwrap();
    }
    let quiet = writer.last_seq();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(10));
        writer.tick().unwrap();
    }
    assert_eq!(writer.last_seq(), quiet);
}

#[test]
fn policy_every_answers_each_waiter_and_shares_syncs_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut options = options(&hands);
    options.sync = SyncPolicy::Every;
    let writer = std::sync::Mutex::new(LogWriter::open(dir.path(), options).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (seq, handle) = {
                        let mut writer = writer.lock().unwrap();
                        (writer.append(&data(T0, b"x")).unwrap(), writer.sync_handle())
                    };
                    handle.wait_durable(seq).unwrap();
                    // Whoever was answered finds the same answer everywhere, other processes too.
                    assert!(handle.durable() >= seq);
                    assert!(wal_format::control::read(dir.path()).unwrap().durable >= seq);
                }
            });
        }
    });
    let writer = writer.into_inner().unwrap();
    assert!(writer.stats().syncs.get() > 0);
    let handle = writer.sync_handle();
    writer.close().unwrap();
    assert!(handle.wait_durable(Seq(u64::MAX)).is_err());
}

#[test]
fn a_segment_that_was_deleted_while_it_is_written_is_never_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    let seq = writer.append(&data(T0, b"safe")).unwrap();
    writer.sync_handle().wait_durable(seq).unwrap();
    std::fs::remove_file(segment::path(dir.path(), wal_format::SegmentId(1))).unwrap();
    let seq = writer.append(&data(T0, b"nobody can ever read this")).unwrap();
    let err = writer.sync_handle().wait_durable(seq).unwrap_err();
    assert!(err.to_string().contains("was deleted while it was written"), "{err}");
    assert!(writer.sync_handle().durable() < seq);
}

#[test]
fn policy_never_syncs_only_when_asked_and_policy_roll_only_sealed_segments() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut writer = LogWriter::open(dir.path(), options(&hands)).unwrap();
    while writer.stats().rolls.get() < 2 {
        writer.append(&data(T0, &[0; 5000])).unwrap();
    }
    eventually("footers", || writer.stats().footers.get() == 2);
    assert_eq!(writer.sync_handle().durable(), Seq(0));
    let first = segment::path(dir.path(), wal_format::SegmentId(1));
    assert!(!footer(&first).unwrap().synced);
    let last = writer.last_seq();
    writer.sync_handle().wait_durable(last).unwrap();
    drop(writer);

    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&hands);
    options.sync = SyncPolicy::Roll;
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let mut last_of_first = Seq(0);
    while writer.stats().rolls.get() < 1 {
        last_of_first = writer.last_seq();
        writer.append(&data(T0, &[0; 5000])).unwrap();
    }
    let handle = writer.sync_handle();
    eventually("the sealed segment is durable", || handle.durable() > last_of_first);
    eventually("its footer", || writer.stats().footers.get() == 1);
    assert_eq!(handle.durable(), last_of_first.next(), "up to its SEAL");
    let first = segment::path(dir.path(), wal_format::SegmentId(1));
    assert!(footer(&first).unwrap().synced);
}
