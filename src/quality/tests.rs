//! Sums over made-up manifests, against numbers worked out by hand.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use lake::manifest::{ClockError, Gap, IdRange};
use lake::{Body, Lake, WriteSettings};

const LOG: &str = "0badcafe000000000000000000000000";
const REPAIR_LOG: &str = "feedbeef000000000000000000000000";

fn hour(text: &str) -> Hour {
    let (day, hh) = text.split_once('T').unwrap();
    Hour::parse(day, hh).unwrap()
}

fn publish(lake: &Path, log: &str, at: &str, first_seq: u64, change: impl FnOnce(&mut PartManifest)) {
    let mut m = PartManifest::new(log.into(), "binance-usdm".into(), at.into(), WriteSettings::default());
    change(&mut m);
    let (venue, log8) = ("binance-usdm".into(), log[..8].to_owned());
    let part = lake::Part { venue, hour: hour(at), log8, incarnation: 0, first_seq };
    Lake::open(lake).replace(&part.manifest(), Body::Bytes(&m.to_json().unwrap()), None).unwrap();
}

fn gap(from_id: i64, to_id: i64, filled: u64) -> Gap {
    let (channel, symbol, cause) = ("trades".into(), "BTCUSDT".into(), "connection".into());
    Gap { channel, symbol, from_id, to_id, cause, after_us: Some(1_723_161_600_123_000), before_us: None, filled }
}

fn ids(symbol: &str, present: u64, missing: u64, filled: u64) -> IdRange {
    let (channel, symbol) = ("trades".into(), symbol.into());
    IdRange { channel, symbol, first: 1, last: 100, present, missing, filled, duplicates: 2 }
}

/// Two hours with gaps, repairs of both in the hour after.
fn lake(dir: &Path) {
    publish(dir, LOG, "2024-08-09T00", 1, |m| {
        m.records = BTreeMap::from([("data".into(), 95), ("conn_close".into(), 1)]);
        m.frames = 96;
        m.channels.insert("trades".into(), FrameCounts { decoded: 93, control: 2, undecodable: 1, in_part: 0 });
        m.rows = BTreeMap::from([(Table::Trades, 93)]);
        m.gaps = vec![gap(10, 19, 3), gap(50, 54, 0)];
        m.ids = vec![ids("BTCUSDT", 88, 15, 3), ids("ETHUSDT", 50, 0, 0)];
        m.clock = ClockError {
            count: 4,
            min_us: -7,
            max_us: 90_000,
            mean_us: 0,
            sum_us: 0,
            steps: vec![(0, 1), (1_023, 2), (98_303, 1)],
        };
        m.lines = vec![Line { frames: 90, first: 60, ahead: 30, advantage_us: 200 }];
    });
    publish(dir, LOG, "2024-08-09T01", 100, |m| {
        m.records = BTreeMap::from([("data".into(), 10)]);
        m.frames = 10;
        m.channels.insert("trades".into(), FrameCounts { decoded: 10, control: 0, undecodable: 0, in_part: 0 });
        m.rows = BTreeMap::from([(Table::Trades, 10)]);
        m.ids = vec![ids("BTCUSDT", 10, 0, 0)];
        m.lines = vec![Line { frames: 10, first: 10, ahead: 10, advantage_us: 400 }];
    });
    publish(dir, REPAIR_LOG, "2024-08-09T02", 1, |m| {
        let repair = |from_id, to_id, rows, why: Option<&str>| Repair {
            channel: "trades".into(),
            symbol: "BTCUSDT".into(),
            from_id,
            to_id,
            rows,
            why: why.map(str::to_owned),
        };
        m.records = BTreeMap::from([("rest".into(), 2), ("event".into(), 2)]);
        m.frames = 2;
        m.rows = BTreeMap::from([(Table::Trades, 9)]);
        m.repairs = vec![repair(10, 19, 7, None), repair(50, 54, 2, Some("the venue has no more"))];
        m.ids = vec![ids("BTCUSDT", 9, 0, 0)];
    });
}

fn asked(dir: &Path, by: By, hours: i64) -> Vec<Quality> {
    let from = hour("2024-08-09T00");
    report(&Lake::open(dir), &Query { venues: Vec::new(), from, to: Hour(from.0 + hours), by }).unwrap()
}

#[test]
fn gaps_are_joined_with_repairs_of_later_hours_and_every_id_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    let all = asked(dir.path(), By::Hour, 1);
    assert_eq!(all.len(), 1, "only the hours asked for");
    let q = &all[0];
    assert_eq!((q.venue.as_str(), q.span.as_str(), q.parts), ("binance-usdm", "2024-08-09T00", 1));
    // 15 missing, 3 came late; 7 and 2 were fetched: 3 are missing for good.
    let worst = q.worst().unwrap();
    assert_eq!((worst.expected, worst.missing, worst.lacking(), worst.gaps), (88 + 12 + 50, 12, 3, 2));
    assert_eq!((q.symbols[0].symbol.as_str(), q.symbols[0].lacking()), ("BTCUSDT", 3), "the worst comes first");
    assert_eq!(q.holes[0].lacking(), 0);
    assert_eq!((q.holes[1].lacking(), q.holes[1].why.as_deref()), (3, Some("the venue has no more")));
    let text = q.to_string();
    assert!(text.contains("98.000000 % of 150 ids; 2 gaps, 12 ids missing, 9 fetched again, 3 missing"), "{text}");
    assert!(
        text.contains("50..54 after 2024-08-09T00:00:00.123Z, cause connection: 2 fetched again, 3 missing"),
        "{text}"
    );
    assert!(text.contains("96 frames = 93 decoded + 2 control + 1 undecodable"), "{text}");
}

#[test]
fn a_day_is_the_sum_of_its_hours_and_of_what_was_fetched_in_it() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    let all = asked(dir.path(), By::Day, 24);
    assert_eq!(all.len(), 1);
    let q = &all[0];
    assert_eq!((q.span.as_str(), q.parts, q.frames), ("2024-08-09", 3, 108));
    let worst = q.worst().unwrap();
    let sums = (worst.expected, worst.missing, worst.lacking());
    assert_eq!(sums, (88 + 12 + 50 + 10, 12, 3), "rows of repairs are no ids of the stream");
    assert_eq!((q.rows[&Table::Trades], q.fetched_rows), (112, 9));
    assert_eq!(q.lines, [Line { frames: 100, first: 70, ahead: 40, advantage_us: 250 }]);
}

/// A fifth of the trades is missing; depth and best prices are as they should be.
fn mixed(dir: &Path, depth_gaps: usize) {
    publish(dir, LOG, "2024-08-09T00", 1, |m| {
        m.records = BTreeMap::from([("data".into(), 1_500), ("conn_close".into(), 5)]);
        m.planned_closes = 3;
        m.frames = 1_500;
        let counted = |decoded| FrameCounts { decoded, control: 0, undecodable: 0, in_part: 0 };
        m.channels = BTreeMap::from([
            ("trades".into(), counted(800)),
            ("agg_trades".into(), counted(100)),
            ("depth".into(), counted(500)),
            ("book_ticker".into(), counted(100)),
        ]);
        m.ids = vec![ids("BTCUSDT", 800, 200, 0), ids("BTCUSDT", 500_000, 0, 0), ids("BTCUSDT", 100, 0, 0)];
        m.ids[1].channel = "depth".into();
        m.ids[2].channel = "agg_trades".into();
        m.gaps = (0..depth_gaps as i64).map(|n| gap(n * 1_000, n * 1_000 + 99, 0)).collect();
        m.gaps.iter_mut().for_each(|g| g.channel = "depth".into());
    });
}

#[test]
fn the_headline_is_the_least_complete_channel_and_no_unit_is_added_to_another() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path(), 0);
    let q = &asked(dir.path(), By::Hour, 1)[0];
    let text = q.to_string();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("binance-usdm 2024-08-09T00  80.000000 % of 1000 ids") && first.ends_with("(trades)"),
        "{text}"
    );
    let by_name: Vec<(&str, Judged, u64)> =
        q.channels.iter().map(|c| (c.channel.as_str(), c.judged, c.messages)).collect();
    let expected = [
        ("trades", Judged::Ids, 800),
        ("agg_trades", Judged::Ids, 100),
        ("depth", Judged::Gaps, 500),
        ("book_ticker", Judged::Not, 100),
    ];
    assert_eq!(by_name, expected);
    assert!(text.contains("depth          0 gaps in 500 messages"), "{text}");
    assert!(text.contains("book_ticker    not judged, 100 messages"), "{text}");
    let shown = page("t", std::slice::from_ref(q));
    assert!(shown.contains("80.000000 %") && shown.contains("class=\"bad\"") && !shown.contains("500000"), "{shown}");
    assert!(!text.contains("500000") && !text.contains("501000"), "{text}");
}

#[test]
fn gaps_of_depth_are_reported_beside_the_headline_and_make_no_recording_whole() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path(), 3);
    let q = &asked(dir.path(), By::Hour, 1)[0];
    let text = q.to_string();
    assert!(text.lines().next().unwrap().contains("; 3 gaps in depth (trades)"), "{text}");
    assert!(text.contains("depth          3 gaps in 500 messages"), "{text}");
    assert!(!q.is_whole());
    let json = serde_json::to_value(q).unwrap();
    assert_eq!((&json["channels"][2]["judged"], &json["channels"][2]["expected"]), (&"gaps".into(), &0.into()));
}

#[test]
fn a_venue_without_ids_is_not_judged_instead_of_complete() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), LOG, "2024-08-09T00", 1, |m| {
        m.channels.insert("mark_price".into(), FrameCounts { decoded: 9, control: 0, undecodable: 0, in_part: 0 });
    });
    let q = &asked(dir.path(), By::Hour, 1)[0];
    assert!(q.to_string().starts_with("binance-usdm 2024-08-09T00  not judged: no ids came\n"), "{q}");
    assert!(!page("t", std::slice::from_ref(q)).contains("class=\"ok\""));
    assert_eq!(Judged::of("kucoin-spot", "trades", true), Judged::Not, "its trades have no ids that continue");
    assert_eq!(Judged::of("gate-spot", "trades", true), Judged::Ids);
}

#[test]
fn planned_rotations_and_stops_are_no_lost_connections() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path(), 0);
    let q = &asked(dir.path(), By::Hour, 1)[0];
    assert_eq!((q.disconnects, q.planned_ends), (2, 3));
    assert!(q.to_string().contains("2 connections lost, 3 ended as planned"), "{q}");
}

#[test]
fn a_report_looks_at_no_other_day_and_reads_no_manifest_twice() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    // Whoever lists these fails: they are files.
    let venue = dir.path().join("_manifests/exchange=binance-usdm");
    for day in ["2020-01-01", "2024-08-08", "2024-08-12"] {
        std::fs::write(venue.join(format!("date={day}")), "").unwrap();
    }
    let reports = Reports::default();
    let from = hour("2024-08-09T00");
    let query = Query { venues: Vec::new(), from, to: Hour(from.0 + 24), by: By::Day };
    let first = reports.report(&Lake::open(dir.path()), &query).unwrap();
    assert_eq!(reports.kept().0, 3);
    // What is not read again is not missed; what is another file is read.
    assert_eq!(reports.report(&Lake::open(dir.path()), &query).unwrap(), first);
    let found = lake::find::manifests_between(&Lake::open(dir.path()), "binance-usdm", from, query.to).unwrap();
    let path = dir.path().join(&found[0].1.key);
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(reports.report(&Lake::open(dir.path()), &query).unwrap()[0].unaccounted.len(), 1);
    assert!(reports.kept().1 > 0);
}

#[test]
fn delays_are_reported_by_the_step_they_lie_in_and_none_beyond_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    let q = &asked(dir.path(), By::Hour, 1)[0];
    let d = &q.delay;
    assert_eq!((d.rows, d.min_us, d.p50_us, d.p99_us, d.max_us), (4, -7, 1_023, 90_000, 90_000));
}

#[test]
fn nearly_complete_is_never_rounded_to_complete() {
    assert_eq!(text::percent(999_999_999, 1_000_000_000), "99.999999 %");
    assert_eq!(text::percent(999_999_999_999, 1_000_000_000_000), "99.999999 %");
    assert_eq!(text::percent(7, 7), "100 %");
    assert_eq!(text::percent(0, 0), "-");
}

#[test]
fn names_in_the_page_are_text_and_never_markup() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    let mut all = asked(dir.path(), By::Hour, 1);
    all[0].symbols[0].symbol = "<script>\"&".into();
    all[0].channels[0].channel = "<script>".into();
    let page = page("Quality", &all);
    assert!(page.contains("&lt;script&gt;&quot;&amp;") && !page.contains("<script"), "{page}");
    assert!(page.contains("the venue has no more"));
    assert!(super::page("Quality", &[]).contains("Nothing was published"));
}

#[test]
fn a_manifest_that_cannot_be_read_is_reported_with_its_path_and_the_others_still_count() {
    let dir = tempfile::tempdir().unwrap();
    lake(dir.path());
    let found = lake::find::manifests(&Lake::open(dir.path()), "binance-usdm").unwrap();
    let path = dir.path().join(&found[0].1.key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let all = asked(dir.path(), By::Day, 24);
    assert_eq!((all[0].parts, all[0].frames), (2, 12));
    assert!(all[0].unaccounted[0].contains(path.to_str().unwrap()), "{all:?}");
    assert!(all[0].to_string().contains("NOT IN THESE NUMBERS"));
    assert!(page("t", &all).contains("class=\"bad\">Not in these numbers"));
    // In a range of its own it is not nothing.
    assert_eq!(asked(dir.path(), By::Hour, 1).len(), 1);
}
