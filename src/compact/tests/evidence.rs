//! What may be believed and what may go: manifests on disk alone let segments go; what is damaged is quarantined,
//! reported, and made again from the log; what neither lake nor log holds stops the log until a person has looked.

use wal_format::{Ack, Position};

use super::*;
use crate::missing::EvidenceMissing;
use crate::stage::{PartState, is_state};
use lake::work::list;

impl Bed {
    /// Reads `records` with a checkpoint at every look at the clock, and dies.
    fn killed_after(&self, records: u64) {
        let worker = self.worker(Mode::Drain, |c| {
            Bed::eager(c);
            c.lake.batch_rows = 50;
        });
        assert!(armed_for("session.record", records, || worker.run().unwrap()).is_none(), "it was to die");
    }

    fn segments(&self) -> usize {
        wal_format::list_segments(&self.wal()).unwrap().len()
    }

    /// Files in the one staging directory there is.
    fn staged(&self) -> Vec<PathBuf> {
        let dirs = list(&self.lake().join(".staging")).unwrap();
        assert_eq!(dirs.len(), 1, "{dirs:?}");
        list(&dirs[0]).unwrap()
    }

    fn states(&self) -> Vec<PathBuf> {
        self.staged().into_iter().filter(|p| is_state(p)).collect()
    }

    /// Names of everything that was quarantined.
    fn quarantined(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in list(&self.lake().join(".set-aside")).unwrap() {
            names.extend(list(&dir).unwrap().iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()));
        }
        names
    }

    /// The stored ack, set to `position` first if there is one.
    fn ack(&self, position: Option<Position>) -> Position {
        let mut file = AckFile::open(&self.wal(), LAKE_READER).unwrap();
        let ack = file.load().unwrap().unwrap();
        if let Some(position) = position {
            file.store(&Ack { position, ..ack }).unwrap();
        }
        file.load().unwrap().unwrap().position
    }

    fn stuck(&self) -> EvidenceMissing {
        let there = || (self.segments(), resume::manifests(&self.at(), "binance-spot").unwrap().len());
        let before = there();
        let err = self.worker(Mode::Drain, |_| {}).run().unwrap_err();
        assert_eq!(before, there(), "nothing is deleted or published: {err:?}");
        assert!(wal_format::error_chain(&err).contains("fix:"), "{err:?}");
        err.evidence().unwrap().clone()
    }

    /// Goes on although something is missing.
    fn drain_with_loss(&self) {
        CompactWorker { accept_loss: true, ..self.worker(Mode::Drain, |_| {}) }.run().unwrap();
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Gives a state file another body, with the SHA-256 that belongs to it.
fn rewrite_state(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let body = change(text.split_once('\n').unwrap().1.to_owned());
    std::fs::write(path, format!("{}\n{body}", lake::hash::sha256_hex(body.as_bytes()))).unwrap();
}

#[test]
fn what_is_staged_lets_no_segment_go_and_is_not_acknowledged() {
    let bed = three_hours(6_000);
    let before = bed.segments();
    bed.killed_after(900);
    assert!(bed.manifests().is_empty() && bed.states().len() == 2, "two generations of state, nothing published");
    assert_eq!(bed.ack(None), Position::START);
    assert_eq!(bed.segments(), before);
    bed.drain();
    assert!(bed.segments() < before);
}

#[test]
fn whatever_happens_to_states_and_pieces_every_row_is_published_once_and_what_was_damaged_is_quarantined() {
    let clean = three_hours(3_000);
    let log = clean.copy_of_log();
    clean.drain();
    type Damage = (&'static str, fn(&Bed), &'static [&'static str]);
    let damages: [Damage; 8] = [
        ("newest state", |bed| flip(bed.states().last().unwrap(), 900), &["state-"]),
        ("both states", |bed| bed.states().iter().for_each(|s| flip(s, 900)), &["state-", "trades."]),
        (
            "a later version",
            |bed| {
                let newer = |body: String| body.replacen("\"version\":2", "\"version\":3", 1);
                bed.states().iter().for_each(|s| rewrite_state(s, newer));
            },
            &["state-", "trades."],
        ),
        (
            "a later schema",
            |bed| {
                let newer = |body: String| body.replacen("\"numeric\":", "\"schema_version\":9,\"numeric\":", 1);
                bed.states().iter().for_each(|s| rewrite_state(s, newer));
            },
            &["state-", "trades."],
        ),
        (
            "another log's states",
            |bed| {
                let of = |body: String| {
                    let (front, rest) = body.split_once("\"log\":\"").unwrap();
                    format!("{front}\"log\":\"{}{}", "00", &rest[2..])
                };
                bed.states().iter().for_each(|s| rewrite_state(s, of));
            },
            &["state-", "trades."],
        ),
        (
            "a piece",
            |bed| flip(bed.staged().iter().find(|p| p.ends_with("trades.000000.parquet")).unwrap(), 4_321),
            &["state-", "trades.000000"],
        ),
        (
            "a missing piece",
            |bed| std::fs::remove_file(bed.states()[0].with_file_name("trades.000000.parquet")).unwrap(),
            &["state-"],
        ),
        ("no state", |bed| bed.states().iter().for_each(|s| std::fs::remove_file(s).unwrap()), &[]),
    ];
    for (what, damage, expected) in damages {
        let bed = log.copy_of_log();
        bed.killed_after(1_100);
        damage(&bed);
        bed.drain();
        assert_same(&clean, &bed, what);
        let quarantined = bed.quarantined();
        for name in expected {
            assert!(quarantined.iter().any(|a| a.starts_with(name)), "{what}: {name} is not in {quarantined:?}");
        }
        assert_eq!(quarantined.is_empty(), expected.is_empty(), "{what}: {quarantined:?}");
        assert!(bed.no_staging_left(), "{what}");
    }
}

#[test]
fn the_state_before_a_damaged_one_is_gone_on_from() {
    let bed = three_hours(3_000);
    bed.killed_after(1_100);
    let older = PartState::parse(&std::fs::read(&bed.states()[0]).unwrap()).unwrap();
    flip(&bed.states()[1], 77);
    let outcome = bed.drain();
    let all: u64 = bed.manifests().iter().flat_map(|(_, m)| m.records.values()).sum();
    assert!(outcome.records < all - 500, "only what came after the older state is read again: {}", outcome.records);
    assert!(older.position.seq > 500);
}

#[test]
fn a_piece_that_is_damaged_while_the_service_runs_is_found_before_anything_is_published() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    fill(&mut log, T0, 1, 800, 1);
    let keep = |c: &mut Config| {
        Bed::eager(c);
        c.capture.wal.retention_hours = 24 * 365 * 50;
    };
    let worker = bed.worker(Mode::Follow, keep);
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let venue = || status.snapshot().venues.get("binance-spot").cloned().unwrap_or_default();
    wait_for(|| venue().activity == Activity::AtTail && venue().buffered_rows == 0 && venue().records > 800);
    let pieces: Vec<PathBuf> =
        bed.staged().into_iter().filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect();
    flip(&pieces[pieces.len() / 2], 1_500);
    fill(&mut log, T0 + HOUR, 1, 100, 10_000);
    wait_for(|| venue().parts_published >= 1);
    shutdown.trigger();
    thread.join().unwrap();
    assert!(venue().retries >= 1, "it started over");
    log.writer.close().unwrap();
    let again = bed.copy_of_log();
    bed.drain();
    again.drain();
    assert_same(&again, &bed, "made again from the log");
    assert!(!bed.quarantined().is_empty());
}

#[test]
fn a_staged_position_of_version_1_is_taken_over_with_its_ack_beyond_the_manifest_and_its_segments_gone() {
    let clean = three_hours(6_000);
    let bed = clean.copy_of_log();
    let damaged = clean.copy_of_log();
    clean.drain();
    for bed in [&bed, &damaged] {
        bed.killed_after(1_900);
        let path = bed.states().last().unwrap().clone();
        let state = PartState::parse(&std::fs::read(&path).unwrap()).unwrap();
        // As version 1 left it: one state, pieces without a sum, the ack at the state, nothing before it.
        for older in bed.states().iter().filter(|p| **p != path) {
            std::fs::remove_file(older).unwrap();
        }
        rewrite_state(&path, |body| {
            let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
            for pieces in value["pieces"].as_object_mut().unwrap().values_mut() {
                pieces.as_array_mut().unwrap().iter_mut().for_each(|p| {
                    p.as_object_mut().unwrap().remove("crc32").unwrap();
                });
            }
            value.to_string()
        });
        let at = place::to_position(state.position);
        assert!(at.segment.0 > 2, "too little was staged for this test");
        bed.ack(Some(at));
        for segment in wal_format::list_segments(&bed.wal()).unwrap().iter().filter(|s| s.id < at.segment) {
            std::fs::remove_file(&segment.path).unwrap();
        }
    }
    bed.drain();
    assert_same(&clean, &bed, "taken over in the middle of an hour");
    // The same with a damaged state: the rows are nowhere else, so nothing goes on by itself.
    flip(damaged.states().last().unwrap(), 500);
    let pieces = damaged.staged().len();
    assert!(matches!(damaged.stuck(), EvidenceMissing::Acknowledged { .. }));
    assert_eq!(damaged.staged().len(), pieces, "and everything lies where it lay");
    damaged.drain_with_loss();
    let lost: Vec<_> = damaged.manifests().into_iter().flat_map(|(_, m)| m.lost).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(damaged.quarantined().len() >= pieces, "the pieces are still there");
}

#[test]
fn a_lake_that_is_not_there_stops_the_log_until_it_is_back_or_the_loss_is_accepted() {
    let bed = three_hours(6_000);
    bed.drain();
    let lake = bed.root.path().join("unmounted");
    for acked in [true, false] {
        std::fs::rename(bed.lake(), &lake).unwrap();
        let acks = bed.wal().join("acks");
        if !acked {
            std::fs::remove_dir_all(&acks).unwrap();
        }
        match bed.stuck() {
            EvidenceMissing::Acknowledged { .. } if acked => {}
            EvidenceMissing::Beginning { .. } if !acked => {}
            other => panic!("acked {acked}: {other}"),
        }
        let _ = std::fs::remove_dir_all(bed.lake());
        std::fs::rename(&lake, bed.lake()).unwrap();
        assert_eq!(bed.drain().parts, 0, "it is back, and nothing is to do");
    }
    std::fs::remove_dir_all(bed.lake()).unwrap();
    bed.drain_with_loss();
    let lost: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.lost).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].from_seq, 0);
    assert!(bed.keys(Table::Events).contains_key(&(0, 0)), "a gap row is at the first lost seq");
}

#[test]
fn an_altered_manifest_holds_its_segments_and_the_newest_one_stops_the_log() {
    let bed = three_hours(6_000);
    // Somebody else still reads: nothing goes before the damage is done.
    bed.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let paths: Vec<PathBuf> = bed.manifests().iter().map(|(part, _)| bed.lake().join(part.manifest())).collect();
    let second = std::fs::read(&paths[1]).unwrap();
    // A digit of a number: it still reads as a manifest.
    let text = String::from_utf8(second.clone()).unwrap();
    let frames = text.find("\"frames\": ").unwrap() + "\"frames\": ".len();
    flip(&paths[1], frames);
    let before = bed.segments();
    let worker = bed.worker(Mode::Drain, |_| {});
    let status = worker.status.clone();
    let outcome = worker.run().unwrap();
    assert!(outcome.segments_retired > 0, "what the first one covers goes");
    let held = bed.segments();
    assert!(held > 4 && held < before, "{held} of {before}");
    let shown = status.snapshot().venues["binance-spot"].clone();
    assert!(shown.segments_held > 0 && shown.held_reason.is_some_and(|r| r.contains("altered")));
    // The same when it is gone.
    std::fs::remove_file(&paths[1]).unwrap();
    assert_eq!(bed.drain().segments_retired, 0);
    std::fs::write(&paths[1], second).unwrap();
    assert!(bed.drain().segments_retired > 0, "it is back");
    // The newest.
    let newest = std::fs::read(paths.last().unwrap()).unwrap();
    flip(paths.last().unwrap(), newest.len() / 2);
    assert!(matches!(bed.stuck(), EvidenceMissing::Manifest { .. }));
    std::fs::write(paths.last().unwrap(), newest).unwrap();
    assert_eq!(bed.drain().parts, 0);
}

#[test]
fn an_archive_is_made_and_the_segment_stays_when_its_manifest_went_meanwhile() {
    let bed = three_hours(6_000);
    bed.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    let first = wal_format::list_segments(&bed.wal()).unwrap().remove(0);
    let cfg = bed.cfg();
    let job = crate::archive::ArchiveJob {
        venue: VenueId::BinanceSpot,
        log: "binance-spot".into(),
        to: fold::stored_logs::archive_dir(&cfg.capture.archive_root(), &bed.wal(), &first.log_uuid.unwrap()),
        segment: first.path.clone(),
        level: 1,
    };
    let path = bed.lake().join(bed.manifests()[0].0.manifest());
    let manifest = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let why = crate::archive::archive_one(&cfg, &bed.at(), &job).unwrap_err().to_string();
    assert!(why.contains("may not go") && first.path.exists(), "{why}");
    std::fs::write(&path, manifest).unwrap();
    crate::archive::archive_one(&cfg, &bed.at(), &job).unwrap();
    assert!(!first.path.exists());
}

#[test]
fn a_log_that_is_stuck_is_red_and_the_worker_does_not_try_again() {
    let bed = three_hours(6_000);
    bed.drain();
    std::fs::remove_dir_all(bed.lake()).unwrap();
    let worker = bed.worker(Mode::Follow, |_| {});
    let status = worker.status.clone();
    assert!(worker.run().unwrap_err().evidence().is_some());
    let problems = status.problems();
    assert!(problems.len() == 1 && problems[0].contains("--accept-loss"), "{problems:?}");
}

/// Trades of BTCUSDT, a second apart.
fn trades(log: &mut Log, from_ns: u64, ids: std::ops::Range<u64>) {
    for (i, id) in ids.enumerate() {
        log.text(from_ns + i as u64 * 1_000_000_000, &trade("BTCUSDT", id, from_ns / 1_000_000));
    }
}

/// Rows of `trades` over all parts.
fn trade_rows(bed: &Bed) -> u64 {
    bed.manifests().iter().filter_map(|(_, m)| m.rows.get(&Table::Trades)).sum()
}

#[test]
fn a_log_restored_from_a_backup_publishes_what_is_new_and_leaves_what_the_other_copy_published() {
    // In the hour that both have a share of, and in the one after it.
    for hours_later in [0, 1] {
        let bed = Bed::new();
        let mut log = Log::open(&bed.wal(), T0);
        trades(&mut log, T0, 0..10);
        log.writer.close().unwrap();
        let backup = bed.root.path().join("backup");
        copy_tree(&bed.wal(), &backup);
        let later = T0 + hours_later * HOUR + HOUR / 2;
        let mut log = Log::open(&bed.wal(), later);
        trades(&mut log, later, 10..30);
        log.writer.close().unwrap();
        bed.drain();
        let before: Vec<(Part, Vec<u8>)> = bed
            .manifests()
            .into_iter()
            .map(|(p, _)| (p.clone(), std::fs::read(bed.lake().join(p.manifest())).unwrap()))
            .collect();
        std::fs::remove_dir_all(bed.wal()).unwrap();
        copy_tree(&backup, &bed.wal());
        let mut log = Log::open(&bed.wal(), later);
        trades(&mut log, later, 100..150);
        log.writer.close().unwrap();
        bed.drain();
        assert_eq!(trade_rows(&bed), 10 + 20 + 50, "{hours_later} hours later");
        for (part, bytes) in &before {
            assert_eq!(std::fs::read(bed.lake().join(part.manifest())).unwrap(), *bytes, "{part:?}");
        }
        assert_eq!(bed.drain().parts, 0);
        assert!(wal_format::list_segments(&bed.wal()).unwrap().iter().all(|s| s.foreign.is_none()));
    }
}

#[test]
fn two_clones_at_once_publish_what_both_hold_once_and_what_each_recorded_itself() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    trades(&mut log, T0, 0..10);
    log.writer.close().unwrap();
    let clone = bed.copy_of_log();
    let mut of_clone = Log::open(&clone.wal(), T0 + HOUR / 4);
    trades(&mut of_clone, T0 + HOUR / 4, 100..150);
    let worker = clone.worker(Mode::Follow, |c| c.lake.dir = bed.lake());
    let (status, shutdown) = (worker.status.clone(), worker.shutdown.clone());
    let thread = std::thread::spawn(move || worker.run().unwrap());
    let venue = || status.snapshot().venues.get("binance-spot").cloned().unwrap_or_default();
    wait_for(|| venue().activity == Activity::AtTail && venue().records >= 60);
    // The clone holds the common rows in memory; the other one publishes them, split elsewhere.
    let mut log = Log::open(&bed.wal(), T0 + HOUR / 3);
    trades(&mut log, T0 + HOUR / 3, 10..30);
    log.writer.close().unwrap();
    bed.drain();
    assert_eq!(trade_rows(&bed), 10 + 20);
    trades(&mut of_clone, T0 + HOUR, 150..151);
    wait_for(|| venue().parts_published >= 1);
    shutdown.trigger();
    thread.join().unwrap();
    assert_eq!(trade_rows(&bed), 10 + 20 + 50, "{:?}", venue());
    assert!(venue().retries >= 1, "it gathered again without what is published: {:?}", venue());
}

#[test]
fn what_another_log_staged_waits_for_it_when_the_log_folder_was_replaced() {
    let bed = three_hours(2_000);
    let clean = bed.copy_of_log();
    clean.drain();
    bed.killed_after(400);
    let staged = bed.staged();
    let away = bed.root.path().join("away");
    std::fs::rename(bed.wal(), &away).unwrap();
    let mut log = Log::open(&bed.wal(), T0);
    trades(&mut log, T0, 0..40);
    log.writer.close().unwrap();
    let err = bed.worker(Mode::Drain, |_| {}).run().unwrap_err();
    let abandoned = matches!(err.evidence(), Some(EvidenceMissing::Abandoned { .. }));
    assert!(abandoned, "all of the new log is published, and that is not all there is: {err:?}");
    assert_eq!(trade_rows(&bed), 40);
    assert!(staged.iter().all(|path| path.exists()), "it is neither used nor removed");
    std::fs::remove_dir_all(bed.wal()).unwrap();
    assert!(matches!(bed.stuck(), EvidenceMissing::Abandoned { .. }), "no log at all is not nothing to do");
    std::fs::rename(&away, bed.wal()).unwrap();
    bed.drain();
    assert_eq!(trade_rows(&bed), 40 + trade_rows(&clean));
}

#[test]
fn an_epoch_file_of_another_log_stops_the_log_instead_of_making_strangers_of_all_of_it() {
    let bed = three_hours(2_000);
    let stranger = three_hours(300);
    let own = bed.wal().join("away");
    std::fs::rename(bed.wal().join("EPOCH"), &own).unwrap();
    std::fs::copy(stranger.wal().join("EPOCH"), bed.wal().join("EPOCH")).unwrap();
    let before = wal_format::list_segments(&bed.wal()).unwrap().len();
    assert!(matches!(bed.stuck(), EvidenceMissing::Strangers { .. }));
    assert_eq!(wal_format::list_segments(&bed.wal()).unwrap().len(), before);
    std::fs::rename(own, bed.wal().join("EPOCH")).unwrap();
    bed.drain();
    assert!(trade_rows(&bed) > 0);
}

#[test]
fn a_first_run_that_never_had_a_segment_is_no_lost_beginning() {
    let bed = Bed::new();
    std::fs::create_dir_all(bed.wal()).unwrap();
    // The name of the first segment is taken by a directory: it cannot be made, and the epoch is used up.
    let blocked = bed.wal().join("00000000000000000001.wal");
    std::fs::create_dir(&blocked).unwrap();
    let mut options = LogOptions::new(Arc::new(|| ClockPair { wall_ns: T0, mono_ns: 1 }));
    options.segment_bytes = 64 << 10;
    assert!(LogWriter::open(&bed.wal(), options).is_err());
    std::fs::remove_dir(&blocked).unwrap();
    let mut log = Log::open(&bed.wal(), T0);
    trades(&mut log, T0, 0..40);
    log.writer.close().unwrap();
    bed.drain();
    assert_eq!(trade_rows(&bed), 40);
    assert!(bed.manifests().iter().all(|(_, m)| m.lost.is_empty()));
}

#[test]
fn a_strangers_segment_is_neither_read_nor_deleted_and_nothing_of_the_log_is_lost_by_it() {
    let bed = three_hours(6_000);
    bed.drain();
    let before = trade_rows(&bed);
    let mut log = Log::open(&bed.wal(), T0 + 4 * HOUR);
    trades(&mut log, T0 + 4 * HOUR, 0..50);
    log.writer.close().unwrap();
    let stranger = three_hours(300);
    let first = wal_format::list_segments(&stranger.wal()).unwrap().remove(0).path;
    let bytes = std::fs::read(&first).unwrap();
    // Under an id that the log retired: below all that it has.
    let there = bed.wal().join(first.file_name().unwrap());
    assert!(!there.exists());
    std::fs::write(&there, &bytes).unwrap();
    bed.drain();
    assert_eq!(trade_rows(&bed), before + 50);
    let mut places = list(&bed.wal().join("quarantine")).unwrap();
    places.push(there);
    let kept = |p: &PathBuf| std::fs::read(p).is_ok_and(|found| found == bytes);
    assert!(places.iter().any(kept), "it is kept for a person: {places:?}");
}

#[test]
fn files_behind_the_newest_manifest_are_removed_if_the_log_gives_them_again_and_stop_it_if_not() {
    let bed = three_hours(6_000);
    let (kept, clean) = (bed.copy_of_log(), bed.copy_of_log());
    bed.drain();
    clean.drain();
    kept.worker(Mode::Drain, |c| c.capture.wal.retention_hours = 24 * 365 * 50).run().unwrap();
    for bed in [&bed, &kept] {
        let newest = bed.lake().join(bed.manifests().last().unwrap().0.manifest());
        std::fs::remove_file(newest).unwrap();
        std::fs::remove_dir_all(bed.wal().join("acks")).unwrap();
    }
    let files = || bed.keys(Table::Trades).len();
    let before = files();
    assert!(matches!(bed.stuck(), EvidenceMissing::Orphans { .. }));
    assert_eq!(files(), before);
    assert_eq!(kept.drain().parts, 1);
    assert_same(&clean, &kept, "rebuilt");
    bed.drain_with_loss();
    assert!(bed.quarantined().iter().any(|name| name.ends_with(".parquet")), "{:?}", bed.quarantined());
    assert_eq!(bed.drain().parts, 0);
}

#[test]
fn a_publish_that_was_killed_before_its_manifest_leaves_no_file_of_another_format() {
    let clean = three_hours(1_000);
    let bed = clean.copy_of_log();
    let csv = |c: &mut Config| c.lake.format = lake::LakeFormat::Csv;
    clean.worker(Mode::Drain, csv).run().unwrap();
    assert!(armed_for("publish.after_rename_trades", 1, || bed.drain()).is_none());
    bed.worker(Mode::Drain, csv).run().unwrap();
    assert_same(&clean, &bed, "only one format");
}

#[test]
fn a_name_that_is_taken_by_something_else_is_not_overwritten_and_stops_the_log() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    trades(&mut log, T0, 0..40);
    let worker = bed.worker(Mode::Follow, Bed::eager);
    let status = worker.status.clone();
    let thread = std::thread::spawn(move || worker.run());
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.staged_pieces > 0));
    let part = lake::path::parse_staging_dir(bed.staged()[0].parent().unwrap()).unwrap();
    let file = bed.lake().join(part.file(Table::Trades));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "somebody else's").unwrap();
    trades(&mut log, T0 + HOUR, 40..50);
    let err = thread.join().unwrap().unwrap_err();
    assert!(matches!(err.evidence(), Some(EvidenceMissing::Taken { .. })), "{err:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody else's");
    assert!(bed.manifests().is_empty() && status.problems().len() == 1);
    drop(log);
}

#[test]
fn a_lake_that_is_unmounted_while_the_service_runs_is_not_started_again() {
    let bed = three_hours(6_000);
    bed.drain();
    let before = bed.segments();
    let mut log = Log::open(&bed.wal(), T0 + 4 * HOUR);
    trades(&mut log, T0 + 4 * HOUR, 0..40);
    let worker = bed.worker(Mode::Follow, |_| {});
    let status = worker.status.clone();
    let thread = std::thread::spawn(move || worker.run());
    wait_for(|| status.snapshot().venues.get("binance-spot").is_some_and(|v| v.buffered_rows >= 40));
    let away = bed.root.path().join("unmounted");
    std::fs::rename(bed.lake(), &away).unwrap();
    std::fs::create_dir(bed.lake()).unwrap();
    trades(&mut log, T0 + 5 * HOUR, 40..50);
    let err = thread.join().unwrap().unwrap_err();
    assert!(matches!(err.evidence(), Some(EvidenceMissing::Acknowledged { .. })), "{err:?}");
    assert!(bed.manifests().is_empty() && bed.keys(Table::Trades).is_empty(), "nothing was published beside the lake");
    assert!(bed.segments() >= before && status.problems().len() == 1);
    std::fs::remove_dir_all(bed.lake()).unwrap();
    std::fs::rename(&away, bed.lake()).unwrap();
    log.writer.close().unwrap();
    bed.drain();
    let rows: u64 = bed.manifests().iter().rev().take(2).filter_map(|(_, m)| m.rows.get(&Table::Trades)).sum();
    assert_eq!(rows, 50);
}
