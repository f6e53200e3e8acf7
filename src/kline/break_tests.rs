//! A database, a log or a source that is not the one that the candles were stored with: its cost is reported and marked,
//! and nothing is counted twice.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::*;
use crate::hub::BreakReport;
use model::kline::{GAP, KlineData};

const SECOND: u64 = 1_000_000_000;
/// 2024-08-08 00:00 UTC.
const START: u64 = 1_723_075_200 * SECOND;
const VENUE: VenueId = VenueId::BinanceUsdm;

/// A data directory with candles of one symbol that has a trade every second, whose id is the second.
struct Bed {
    dir: tempfile::TempDir,
    cfg: Arc<Config>,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cfg = config(dir.path());
        Self { dir, cfg }
    }

    /// What an undisturbed run makes of these trades.
    fn clean(trades: RangeInclusive<u64>) -> BTreeMap<(Interval, i64), KlineData> {
        let bed = Self::new();
        bed.record(trades);
        bed.drain();
        bed.bars()
    }

    fn wal(&self) -> PathBuf {
        self.cfg.capture.wal_dir(VENUE)
    }

    /// One run of a collector; each trade as a trade and as an aggregate.
    fn record(&self, trades: RangeInclusive<u64>) {
        let now = Arc::new(AtomicU64::new(START + trades.start() * SECOND));
        let mut log = log_at(&self.cfg, &now);
        for id in trades {
            let ts_recv_ns = START + id * SECOND;
            now.store(ts_recv_ns, Ordering::Relaxed);
            let (ms, price) = (ts_recv_ns / 1_000_000, 100 + id % 7);
            for frame in [
                format!(
                    r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"BTCUSDT","t":{id},"p":"{price}","q":"1","X":"MARKET","m":false}}}}"#
                ),
                format!(
                    r#"{{"stream":"btcusdt@aggTrade","data":{{"e":"aggTrade","E":{ms},"a":{id},"s":"BTCUSDT","p":"{price}","q":"1","f":{id},"l":{id},"T":{ms},"m":false}}}}"#
                ),
            ] {
                let payload = frame.as_bytes();
                log.append(&Append { ts_recv_ns, conn: 1, kind: Kind::Data, flags: 0, payload }).unwrap();
            }
        }
        log.close().unwrap();
    }

    /// Works the log off, and returns what was reported.
    fn drain(&self) -> Vec<BreakReport> {
        let service = KlineService::start(&self.cfg, Mode::Drain, &Shutdown::new()).unwrap().unwrap();
        let hub = Arc::clone(service.hub());
        service.join().unwrap();
        hub.stats().feeds[VENUE.as_str()].told.clone()
    }

    fn bars(&self) -> BTreeMap<(Interval, i64), KlineData> {
        let mut db = open_reader(self.cfg.klines.database.reveal(), &self.cfg.capture.data_dir).unwrap();
        let of = |interval| {
            let query = HistoryQuery::of(VENUE.as_str(), "BTCUSDT", interval, 10_000);
            db.query(&query).unwrap().into_iter().map(move |bar| ((interval, bar.open_time_us), bar))
        };
        Interval::ALL.into_iter().flat_map(of).collect()
    }

    /// Stores the venue's candles, as `klines backfill` does: all that are over.
    fn backfill(&self, official: &BTreeMap<(Interval, i64), KlineData>, gaps: bool) {
        let named = |((interval, _), bar): (&(Interval, i64), &KlineData)| NamedBar {
            venue: VENUE.to_string(),
            symbol: "BTCUSDT".into(),
            interval: *interval,
            bar: KlineData { first_trade_id: -1, last_trade_id: -1, ..*bar },
        };
        let bars: Vec<NamedBar> = official.iter().filter(|(_, bar)| bar.is_final()).map(named).collect();
        let mut database = db::open(self.cfg.klines.database.reveal(), &self.cfg.capture.data_dir).unwrap();
        database.put_history(&bars, Source::Official, gaps).unwrap();
    }

    fn trades(&self) -> u64 {
        self.bars().iter().filter(|((interval, _), _)| *interval == Interval::W1).map(|(_, bar)| bar.trade_count).sum()
    }

    fn sql(&self, statement: &str) {
        rusqlite::Connection::open(self.cfg.capture.data_dir.join("klines.db"))
            .unwrap()
            .execute_batch(statement)
            .unwrap();
    }

    /// The files of the database, kept elsewhere.
    fn database(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = ["klines.db", "klines.db-wal", "klines.db-shm"].map(|name| self.cfg.capture.data_dir.join(name));
        files.into_iter().filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect()
    }

    fn delete_database(&self) {
        self.database().iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    }

    fn restore_database(&self, files: &[(PathBuf, Vec<u8>)]) {
        self.delete_database();
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }

    fn acked(&self) -> wal_format::Position {
        let state = wal_format::log_state(&self.wal()).unwrap();
        let ack = state.acks.iter().find(|a| a.reader == capture::KLINES_READER).unwrap();
        ack.ack.as_ref().unwrap().as_ref().unwrap().position
    }

    /// Deletes a sealed segment of a run, and returns the seconds whose trades it held.
    fn lose_segment(&self, run: u32, nth: usize) -> RangeInclusive<u64> {
        let segments = wal_format::list_segments(&self.wal()).unwrap();
        let of_run = |s: &&wal_format::SegmentInfo| s.footer.as_ref().is_some_and(|f| f.epoch == run);
        let segment = segments.iter().filter(of_run).nth(nth).unwrap();
        let footer = segment.footer.as_ref().unwrap();
        let second = |ns: u64| (ns - START) / SECOND;
        let lost = second(footer.first_ts_ns)..=second(footer.last_ts_ns);
        std::fs::remove_file(&segment.path).unwrap();
        lost
    }
}

/// Exactly one break was reported: its reason, and these words.
#[track_caller]
fn reported_once(reports: &[BreakReport], reason: &str, words: &[&str]) {
    assert_eq!(reports.iter().map(|t| t.reason).collect::<Vec<_>>(), [reason], "{reports:?}");
    words.iter().for_each(|word| assert!(reports[0].text.contains(word), "{word}: {reports:?}"));
}

fn minute(second: u64) -> i64 {
    Interval::M1.open_of((START / 1_000 + second * 1_000_000) as i64)
}

fn marked(bar: &KlineData) -> bool {
    bar.flags & GAP != 0
}

#[test]
fn a_deleted_database_is_made_again_from_a_whole_log_and_that_is_reported() {
    let bed = Bed::new();
    bed.record(1..=3_000);
    assert!(bed.drain().is_empty(), "the first start reports nothing");
    assert!(bed.drain().is_empty(), "nor does one that goes on");
    let before = bed.bars();
    bed.delete_database();
    reported_once(&bed.drain(), "database_deleted", &["still has the next record"]);
    assert_eq!(bed.bars(), before);
    // Emptied, but for the bars: none of them is gone on with, or their trades would count twice.
    bed.sql("DELETE FROM feeds; DELETE FROM positions;");
    reported_once(&bed.drain(), "database_deleted", &["still has the next record"]);
    let counts = |bars: &BTreeMap<_, KlineData>| bars.iter().map(|(k, b)| (*k, b.trade_count)).collect::<Vec<_>>();
    assert_eq!(counts(&bed.bars()), counts(&before));
}

#[test]
fn a_deleted_database_whose_trades_are_gone_from_the_log_begins_with_marked_bars_and_the_way_out() {
    let bed = Bed::new();
    bed.record(1..=6_000);
    bed.drain();
    bed.delete_database();
    let lost = bed.lose_segment(1, 0);
    reported_once(&bed.drain(), "database_deleted", &["is not in the log any more", "marked", "klines backfill"]);
    let (clean, bars) = (Bed::clean(1..=6_000), bed.bars());
    for interval in Interval::ALL {
        let first = bars.iter().find(|((i, _), _)| *i == interval).map(|(_, bar)| bar);
        assert!(first.is_some_and(marked), "{interval}: {first:?}");
    }
    assert_eq!(bed.trades(), 6_000 - lost.end());
    let whole: Vec<_> = bars.iter().filter(|(_, bar)| !marked(bar)).collect();
    assert!(whole.len() > 20, "{}", whole.len());
    assert!(whole.into_iter().all(|(key, bar)| clean.get(key) == Some(bar)), "what is not marked is whole");
}

#[test]
fn what_was_acknowledged_beyond_the_database_is_taken_back_before_anything_else_happens() {
    let bed = Bed::new();
    bed.record(1..=2_000);
    bed.drain();
    let (old, at) = (bed.database(), bed.acked());
    let hold = || {
        let mut database = db::open(bed.cfg.klines.database.reveal(), &bed.cfg.capture.data_dir).unwrap();
        consumer::hold_back(&bed.cfg.capture, VENUE, database.as_mut()).unwrap();
    };
    hold();
    assert_eq!(bed.acked(), at, "a database that reaches as far takes nothing back");
    bed.record(2_001..=3_000);
    bed.drain();
    assert!(bed.acked().seq > at.seq);
    bed.restore_database(&old);
    hold();
    assert_eq!(bed.acked(), at);
    bed.delete_database();
    hold();
    assert_eq!(bed.acked(), wal_format::Position::START, "nothing may go");
}

#[test]
fn a_restored_database_reads_again_what_the_log_has_and_marks_what_it_has_no_more() {
    let bed = Bed::new();
    bed.record(1..=3_000);
    bed.drain();
    let old = bed.database();
    bed.record(3_001..=12_000);
    bed.drain();
    let clean = bed.bars();
    bed.restore_database(&old);
    reported_once(&bed.drain(), "database_restored", &["restored from a backup", "still has the next record"]);
    assert_eq!(bed.bars(), clean);
    bed.restore_database(&old);
    let lost = bed.lose_segment(2, 1);
    let reports = bed.drain();
    assert_eq!(reports.iter().map(|t| t.reason).collect::<Vec<_>>(), ["database_restored", "log_lost"], "{reports:?}");
    reported_once(&reports[1..], "log_lost", &["lost 2:", "marked", "klines backfill"]);
    let bars = bed.bars();
    let whole: Vec<_> = bars.iter().filter(|(_, bar)| !marked(bar)).collect();
    assert!(whole.into_iter().all(|(key, bar)| clean.get(key) == Some(bar)), "what is not marked is whole");
    for second in lost.clone().step_by(60) {
        assert!(bars.get(&(Interval::M1, minute(second))).is_some_and(marked), "second {second} of {lost:?}");
    }
    assert!(!bars.get(&(Interval::M1, minute(lost.start() - 120))).is_some_and(marked));
}

#[test]
fn rows_that_belong_together_and_are_missing_count_nothing_twice() {
    for (statement, marks) in [
        ("DELETE FROM positions", false),
        ("DELETE FROM feeds", true),
        ("DELETE FROM symbols_index", false),
        ("DELETE FROM klines WHERE \"interval\" IN ('1d', '1w')", true),
    ] {
        let bed = Bed::new();
        bed.record(1..=3_030);
        bed.drain();
        bed.sql(statement);
        bed.record(3_031..=5_000);
        let reports = bed.drain();
        match statement {
            "DELETE FROM symbols_index" => assert!(reports.is_empty(), "its places are found by name: {reports:?}"),
            _ => reported_once(&reports, "rows_missing", &["the database"]),
        }
        let bars = bed.bars();
        let day = bars[&(Interval::D1, Interval::D1.open_of(minute(0)))];
        let seam = bars[&(Interval::M1, minute(3_031))];
        assert!(marked(&seam) == marks, "{statement}: {seam:?}");
        let of =
            |interval: Interval| bars.iter().filter(|((i, _), _)| *i == interval).map(|(_, b)| b.trade_count).sum();
        let counts: Vec<u64> = vec![of(Interval::M1), of(Interval::H1), of(Interval::D1)];
        let gone = if statement.contains("klines") { 3_030 } else { 0 };
        assert_eq!(counts, [5_000, 5_000, 5_000 - gone], "{statement}");
        assert!(gone == 0 || marked(&day), "{statement}: {day:?}");
        assert!(
            bars.range((Interval::M1, minute(3_100))..(Interval::M5, 0)).all(|(_, bar)| !marked(bar)),
            "{statement}"
        );
    }
}

#[test]
fn bars_made_half_of_trades_and_half_of_aggregates_are_marked_and_count_nothing_twice() {
    let bed = Bed::new();
    bed.record(1..=3_030);
    assert!(bed.cfg.capture.candles.values().all(|channel| channel.to_string() == "trades"));
    bed.drain();
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\n[klines]\nflush_interval_s = 1\nseed = false\n[venues.binance-usdm]\nsymbols = [\"*\"]\nchannels = [\"trades\", \"agg_trades\"]\n",
        bed.dir.path().display().to_string()
    );
    let bed = Bed { cfg: read(&text), ..bed };
    bed.record(3_061..=5_000);
    reported_once(&bed.drain(), "source_changed", &["agg_trades from now on", "made of trades", "klines backfill"]);
    assert!(bed.drain().is_empty(), "reported once");
    let bars = bed.bars();
    for (interval, bar) in Interval::ALL.into_iter().flat_map(|i| {
        bars.range((i, i64::MIN)..=(i, minute(3_061))).next_back().map(|((interval, _), bar)| (*interval, *bar))
    }) {
        assert!(marked(&bar), "{interval}: {bar:?}");
    }
    assert!(marked(&bars[&(Interval::M1, minute(3_030))]), "the bar of the last trade before");
    for second in [60, 120, 2_940, 3_180, 4_920] {
        let bar = bars[&(Interval::M1, minute(second))];
        assert!(!marked(&bar) && bar.trade_count == 60, "second {second}: {bar:?}");
    }
    assert_eq!(bed.trades(), 5_000 - 30);
}

#[test]
fn a_log_that_was_restored_or_replaced_beside_its_candles_counts_nothing_twice() {
    let bed = Bed::new();
    bed.record(1..=1_000);
    let copy = bed.dir.path().join("copy");
    copy_flat(&bed.wal(), &copy);
    bed.record(1_001..=2_000);
    bed.drain();
    std::fs::remove_dir_all(bed.wal()).unwrap();
    copy_flat(&copy, &bed.wal());
    bed.record(2_001..=3_000);
    reported_once(&bed.drain(), "log_restored", &["restored from a backup or is a clone", "marked"]);
    assert_eq!(bed.trades(), 3_000, "the second thousand is in the candles and not in the log");
    std::fs::remove_dir_all(bed.wal()).unwrap();
    bed.record(3_001..=4_000);
    reported_once(&bed.drain(), "log_replaced", &["it is of log"]);
    assert_eq!(bed.trades(), 4_000);
    assert!(!bed.bars().values().any(marked), "the ids say that nothing is missing");
}

fn copy_flat(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_database_that_is_deleted_while_it_is_written_is_an_error_and_not_a_success() {
    let bed = Bed::new();
    bed.record(1..=10);
    bed.drain();
    let mut database = db::open(bed.cfg.klines.database.reveal(), &bed.cfg.capture.data_dir).unwrap();
    let empty = Checkpoint { feed: "gate-spot".into(), ..Checkpoint::default() };
    database.commit(&empty).unwrap();
    bed.delete_database();
    let said = wal_format::error_chain(&database.commit(&empty).unwrap_err());
    assert!(said.contains("was deleted or replaced while it was in use"), "{said}");
}

#[test]
fn candles_that_were_backfilled_while_the_compactor_was_down_count_no_trade_twice() {
    let plain = |bars: &BTreeMap<_, KlineData>| -> Vec<_> {
        bars.iter().map(|(k, b)| (*k, b.trade_count, b.volume, b.quote_volume, b.open, b.close, marked(b))).collect()
    };
    let clean = Bed::clean(1..=9_000);
    for gaps in [false, true] {
        let bed = Bed::new();
        bed.record(1..=3_030);
        bed.drain();
        bed.record(3_031..=9_000);
        bed.backfill(&clean, gaps);
        bed.drain();
        assert_eq!(plain(&bed.bars()), plain(&clean), "open and marked ones replaced: {gaps}");
        bed.record(9_001..=9_600);
        bed.drain();
        assert_eq!(plain(&bed.bars()), plain(&Bed::clean(1..=9_600)), "open and marked ones replaced: {gaps}");
    }
}

#[test]
fn the_venues_candle_that_was_stored_in_place_of_a_marked_one_is_served_and_stays() {
    let bed = Bed::new();
    bed.record(1..=1_000);
    bed.record(1_100..=1_400);
    let shutdown = Shutdown::new();
    let service = KlineService::start(&bed.cfg, Mode::Follow, &shutdown).unwrap().unwrap();
    let hub = Arc::clone(service.hub());
    let query = HistoryQuery {
        start_us: Some(minute(1_050)),
        end_us: Some(minute(1_050)),
        ..HistoryQuery::of(VENUE.as_str(), "BTCUSDT", Interval::M1, 1)
    };
    let until = Instant::now() + Duration::from_secs(60);
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait("the marked bar is stored", &|| bed.bars().get(&(Interval::M1, minute(1_050))).is_some_and(marked));
    bed.backfill(&Bed::clean(1..=1_400), true);
    let served = || hub.history_with_source(&query).unwrap()[0];
    assert_eq!((served().source, served().bar.trade_count, marked(&served().bar)), (Source::Official, 60, false));
    let stored = hub.stats().feeds[VENUE.as_str()].checkpoints;
    bed.record(1_401..=1_500);
    wait("it goes on", &|| hub.stats().feeds[VENUE.as_str()].checkpoints > stored + 1);
    assert_eq!(served().source, Source::Official);
    shutdown.trigger();
    service.join().unwrap();
    assert_eq!(bed.bars()[&(Interval::M1, minute(1_050))].trade_count, 60);
}
