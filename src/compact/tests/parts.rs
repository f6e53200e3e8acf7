//! `[lake] part_minutes`: an hour in several parts, split by the log and the setting alone.

use super::*;
use crate::chain::verify as verify_chain;
use lake::Hour;

const MINUTE: u64 = HOUR / 60;

fn keeping(minutes: u64) -> impl Fn(&mut Config) {
    move |cfg| {
        cfg.lake.part_minutes = minutes;
        cfg.capture.wal.retention_hours = 24 * 365 * 50;
    }
}

impl Bed {
    /// Minutes of each part's setting, in log order.
    fn part_minutes(&self) -> Vec<u64> {
        self.manifests().iter().map(|(_, m)| m.settings.part_minutes).collect()
    }
}

#[test]
fn parts_end_at_the_configured_minutes_below_the_path_of_their_hour_and_everything_proves_them() {
    let bed = three_hours(1_200);
    let whole = bed.copy_of_log();
    whole.drain();
    bed.worker(Mode::Drain, keeping(15)).run().unwrap();
    let manifests = bed.manifests();
    let hours: Vec<&str> = manifests.iter().map(|(_, m)| m.hour.as_str()).collect();
    let of_hour = |hour: &str| hours.iter().filter(|h| **h == hour).count();
    assert_eq!(
        ["2024-08-08T23", "2024-08-09T00", "2024-08-09T01", "2024-08-09T02"].map(of_hour),
        [2, 4, 4, 2],
        "{hours:?}"
    );
    assert!(bed.part_minutes().iter().all(|minutes| *minutes == 15));
    for pair in manifests.windows(2) {
        assert_eq!(pair[0].1.end.seq, pair[1].1.first.seq, "parts tile the log");
        assert_eq!(pair[0].0.hour, Hour::parse(&pair[0].1.hour[..10], &pair[0].1.hour[11..]).unwrap());
    }
    for table in [Table::Trades, Table::Depth, Table::BookTicker, Table::Frames] {
        assert_eq!(bed.keys(table), whole.keys(table), "{table}: the rows of whole hours");
    }
    // A gap on a boundary is reported once, as in whole hours.
    let gaps = |bed: &Bed| {
        let mut gaps: Vec<_> = bed.manifests().into_iter().flat_map(|(_, m)| m.gaps).collect();
        gaps.sort_by_key(|g| (g.symbol.clone(), g.from_id));
        gaps.into_iter().map(|g| (g.symbol, g.channel, g.from_id, g.to_id, g.cause)).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&bed), gaps(&whole));
    // So is the report of how complete each hour is, but for how many parts it covers.
    let quality = |bed: &Bed| {
        let (from, to) = (manifests[0].0.hour, manifests[11].0.hour.next());
        let query = quality::Query { venues: Vec::new(), from, to, by: quality::By::Hour };
        let mut hours = quality::report(&bed.at(), &query).unwrap();
        let parts: Vec<u64> = hours.iter_mut().map(|hour| std::mem::take(&mut hour.parts)).collect();
        (hours, parts)
    };
    let ((hours, parts), (expected, whole_parts)) = (quality(&bed), quality(&whole));
    assert_eq!((parts, whole_parts), (vec![2, 4, 4, 2], vec![1; 4]));
    for (hour, expected) in hours.iter().zip(&expected) {
        assert_eq!((&hour.span, hour.frames, &hour.rows), (&expected.span, expected.frames, &expected.rows));
        assert_eq!((&hour.symbols, hour.hole_count), (&expected.symbols, expected.hole_count), "{}", hour.span);
    }
    let report = verify_chain(&bed.at(), None, &[]).unwrap();
    assert!(report.is_clean(), "{report}");
    // Neither the proof nor a rebuilding depends on what is configured today.
    bed.verify(12);
    let out = bed.root.path().join("again");
    replay(&bed.cfg(), &bed.at(), &ReplayArgs { out: Some(out.clone()), ..ReplayArgs::default() }).unwrap();
    let differences = diff_trees(&bed.at(), &Lake::open(&out)).unwrap();
    assert!(differences.is_empty(), "{differences:?}");
    let report = replay(&bed.cfg(), &bed.at(), &ReplayArgs { rewrite: true, ..ReplayArgs::default() }).unwrap();
    assert_eq!((report.rewritten(), report.different(), report.checked()), (0, 0, 12), "{report}");
}

#[test]
fn restarts_inside_parts_of_ten_minutes_give_the_bytes_of_one_clean_run() {
    let clean = three_hours(900);
    let again = clean.copy_of_log();
    clean.worker(Mode::Drain, keeping(10)).run().unwrap();
    assert_eq!(clean.manifests().len(), 18);
    for at in [1, 47, 48, 49, 50, 51, 130, 257] {
        let eager = again.worker(Mode::Drain, |cfg| {
            keeping(10)(cfg);
            Bed::eager(cfg);
        });
        assert!(armed_for("session.record", at, || eager.run().unwrap()).is_none());
    }
    again.worker(Mode::Drain, keeping(10)).run().unwrap();
    assert_same(&clean, &again, "restarted");
}

#[test]
fn a_part_that_was_begun_keeps_its_length_when_the_setting_changes() {
    let bed = three_hours(1_200);
    // In the middle of the part from 00:00 to 00:20; about as many CLOCK records as frames.
    let eager = bed.worker(Mode::Drain, |cfg| {
        keeping(20)(cfg);
        Bed::eager(cfg);
    });
    assert!(armed_for("session.record", 480, || eager.run().unwrap()).is_none());
    assert_eq!(bed.part_minutes(), [20, 20], "23:30 to 23:40 and on to midnight are published, one part is open");
    bed.worker(Mode::Drain, keeping(60)).run().unwrap();
    // The rest of that hour, and two hours more.
    assert_eq!(bed.part_minutes(), [20, 20, 20, 60, 60, 60]);
    bed.verify(6);
}

#[test]
fn a_clock_that_goes_back_inside_a_part_ends_none() {
    let bed = Bed::new();
    let put = |minutes: &[u64], first_id: u64| {
        let mut log = Log::open(&bed.wal(), T0 + minutes[0] * MINUTE);
        for (minute, id) in minutes.iter().zip(first_id..) {
            log.text(T0 + minute * MINUTE, &trade("BTCUSDT", id, T0 / 1_000_000));
        }
        log.writer.close().unwrap();
    };
    put(&[1, 16, 17], 1);
    put(&[3, 18, 29, 31], 4);
    bed.worker(Mode::Drain, keeping(15)).run().unwrap();
    let trades: Vec<u64> = bed.manifests().iter().map(|(_, m)| m.rows[&Table::Trades]).collect();
    assert_eq!(trades, [1, 5, 1], "00:00 to 00:15, to 00:30 in spite of the step, and after it");
    bed.verify(3);
}
