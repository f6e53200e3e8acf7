//! The same tests on both databases: SQLite always, Postgres on a throw-away server where its programs are.
#![allow(clippy::unwrap_used)]

mod cases;
mod doubt;

use std::path::Path;

use wal_format::{Incarnation, Position};

use super::*;
use crate::message::OldTrade;
use crate::registry::Registered;
use model::Num;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, GAP, KlineData, NO_ID, Tick};
use model::unit::Unit;

const MIN: i64 = 60_000_000;

/// A database of a test.
struct Place<'a> {
    url: String,
    dir: &'a Path,
}

impl Place<'_> {
    fn open(&self) -> Box<dyn CandleDb> {
        open(&self.url, self.dir).unwrap()
    }

    /// Runs statements behind the program's back.
    fn run(&self, sql: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
        match self.url.strip_prefix("sqlite:") {
            Some(file) => Ok(rusqlite::Connection::open(self.dir.join(file))?.execute_batch(sql)?),
            None => Ok(::postgres::Client::connect(&self.url, ::postgres::NoTls)?.batch_execute(sql)?),
        }
    }
}

macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod sqlite_file {
            $(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::cases::$case(&super::Place { url: "sqlite:klines.db".to_owned(), dir: dir.path() });
            })+
        }

        #[test]
        fn a_postgres_server_passes_what_the_file_passes() {
            let Some(mut cluster) = sql::cluster::Cluster::start() else {
                eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
                return;
            };
            $({
                eprintln!("postgres: {}", stringify!($case));
                let url = cluster.database();
                cases::$case(&Place { url, dir: cluster.dir() });
            })+
        }
    };
}

suite!(
    a_checkpoint_reads_back_whole_after_a_restart,
    a_commit_that_fails_leaves_nothing,
    the_last_state_of_a_bar_is_stored_and_queries_take_either_end,
    trades_of_bars_out_of_memory_are_added_to_the_stored_ones,
    a_mark_flags_stored_bars_but_none_that_is_in_memory,
    history_fills_missing_bars_and_gaps_and_nothing_else,
    our_bars_win_over_the_venues_unless_they_have_a_gap,
    silence_of_ours_takes_no_candle_of_the_venues_place,
    flat_bars_behind_an_old_trade_go_on_at_its_close,
    flat_bars_go_on_at_the_last_of_the_old_trades_of_one_checkpoint_in_whatever_order_they_came,
    old_trades_make_the_same_bars_and_revisions_however_checkpoints_part_them,
    two_processes_cannot_store_the_same_feed,
    people_read_sums_and_times_with_plain_sql,
    a_newer_schema_is_refused,
    a_database_of_version_1_is_taken_over_with_places_of_runs_without_incarnation,
    a_feed_that_lost_its_row_or_its_places_says_what_is_left,
    the_last_bar_with_a_trade_before_a_time_is_found_behind_any_silence,
    what_there_is_comes_in_the_order_of_the_key,
    a_database_that_is_not_there_is_not_made_by_a_reader,
    readers_do_not_wait_for_a_writer,
    a_task_of_a_runtime_opens_writes_and_leaves_it,
);

fn symbol(name: &str) -> Registered {
    Registered { venue: "binance-spot".to_owned(), symbol: name.to_owned(), listing_time_ms: Some(7) }
}

/// A final bar of one trade of 0.5 at `price`.
fn bar(minute: i64, price: i64) -> KlineData {
    KlineData {
        open_time_us: minute * MIN,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: 50,
        quote_volume: i128::from(price) * 50,
        taker_buy_volume: 0,
        taker_buy_quote_volume: 0,
        trade_count: 1,
        first_trade_id: minute * 10,
        last_trade_id: minute * 10,
        revision: 0,
        flags: FINAL,
        price_scale: 2,
        amount_scale: 2,
    }
}

fn tick(minute: i64, id: i64, price: &str, amount: &str) -> Tick {
    Tick {
        symbol_index: 0,
        ts_us: minute * MIN + 1,
        price: Num::parse(price.as_bytes()).unwrap(),
        amount: Num::parse(amount.as_bytes()).unwrap(),
        first_id: id,
        last_id: id,
        agg_id: NO_ID,
        count: 1,
        taker_buy: true,
    }
}

/// A trade whose bar is in no memory.
fn old(tick: Tick) -> OldTrade {
    let open_time_us = Interval::M1.open_of(tick.ts_us);
    OldTrade { interval: Interval::M1, open_time_us, tick, unit: Unit::Base, before_us: i64::MAX }
}

fn position(n: u64) -> Position {
    Position { segment: wal_format::SegmentId(n), offset: n * 100, seq: wal_format::Seq(u64::MAX - n) }
}

/// A checkpoint of the feed `binance-spot` with these minutes of symbol 0.
fn checkpoint(n: u64, bars: impl IntoIterator<Item = KlineData>) -> Checkpoint {
    Checkpoint {
        feed: "binance-spot".to_owned(),
        logs: vec![
            SavedPosition {
                log: "main".to_owned(),
                log_uuid: [0xfe; 16],
                incarnation: Incarnation(0xfedc_0000_0000_0000 + n),
                position: position(n),
            },
            SavedPosition {
                log: "repair".to_owned(),
                log_uuid: [1; 16],
                incarnation: Incarnation::VERSION_1,
                position: Position::START,
            },
        ],
        state: serde_json::json!({ "n": n, "clock": "it's" }).to_string(),
        registry: vec![(0, symbol("BTCUSDT"))],
        bars: bars.into_iter().map(|b| (0, Interval::M1, b)).collect(),
        ..Checkpoint::default()
    }
}

fn minutes(db: &mut dyn CandleDb) -> Vec<KlineData> {
    db.newest("binance-spot", "BTCUSDT", Interval::M1, 1_000).unwrap()
}

fn named(bar: KlineData) -> NamedBar {
    NamedBar { venue: "binance-spot".to_owned(), symbol: "BTCUSDT".to_owned(), interval: Interval::M1, bar }
}
