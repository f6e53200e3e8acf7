//! Connections that end at random points: with an overlap or two lines nothing is missing and nothing is there
//! twice; with one line and an abrupt end every missing id is told, and trades are fetched again over REST.

use std::time::{Duration, Instant};

use tapedeck::lake::Table;
use venue_sim::{Action, Ending, Fault};

use crate::support::lake::Lake;
use crate::support::venue::{Exchange, market, write_config};
use crate::support::{Dice, Service, both, run, runs, seed, wait_until};

const VENUE: &str = "binance-spot";

/// A world in which a market plays, a collector records it and a compactor follows.
struct World {
    root: tempfile::TempDir,
    exchange: Exchange,
    config: std::path::PathBuf,
    collector: Option<Service>,
    compactor: Option<Service>,
}

/// Tables whose ids count by one.
const COUNTED: [(Table, &str, &str); 2] = [(Table::Trades, "id", "trades"), (Table::AggTrades, "agg_id", "agg_trades")];

impl World {
    fn start(lines: u32, frames_per_s: u64, seed: u64) -> World {
        let root = tempfile::tempdir().unwrap();
        let exchange = Exchange::start(market(VENUE, frames_per_s, None, seed));
        // The weight of many holes within a minute; the simulator does not enforce its own here.
        let extra = format!("lines = {lines}\nrest_weight_per_window = 1000000\n[lake]\nack_interval_s = 1\n");
        let config = write_config(root.path(), &exchange, VENUE, &extra);
        let collector = Some(Service::start("collector", &config, &[]));
        let compactor = Some(Service::start("compactor", &config, &[]));
        let world = World { root, exchange, config, collector, compactor };
        world.wait_for_connections(lines as usize);
        world
    }

    /// Connections that are open and have delivered, with what they delivered.
    fn open(&self) -> Vec<(u32, u64)> {
        let report = self.exchange.sim.report();
        let of_venue = report.venues.get(VENUE).map(|v| v.connections.clone()).unwrap_or_default();
        let open = of_venue.iter().filter(|c| c.closed_ns.is_none() && c.frames_sent > 0);
        open.map(|c| (c.number, c.frames_sent)).collect()
    }

    /// Waits until `n` connections deliver at the same time.
    fn wait_for_connections(&self, n: usize) {
        wait_until("all lines deliver", || {
            let before = self.open();
            if before.len() < n {
                return false;
            }
            std::thread::sleep(Duration::from_millis(150));
            let now = self.open();
            before.iter().filter(|(id, sent)| now.iter().any(|(i, s)| i == id && s > sent)).count() >= n
        });
    }

    fn status(&self) -> serde_json::Value {
        let out = run(&["status", "--json", "--config", self.config.to_str().unwrap()]);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        all["compactor"]["venues"][VENUE].clone()
    }

    /// Lets the market play for a while, so that the last hole has settled; then stops everything in order and
    /// publishes. With `repairs` it waits until no hole is left to repair.
    fn end(mut self, repairs: bool) -> (tempfile::TempDir, Lake) {
        let until = Instant::now() + Duration::from_secs(5);
        wait_until("the last hole settles", || Instant::now() >= until);
        self.collector.take().unwrap().stop();
        let mut quiet = 0;
        wait_until("everything told is repaired", || {
            let s = self.status();
            let done = s["lag_bytes"] == 0 && (!repairs || (s["repairs_waiting"] == 0 && s["repaired"] != 0));
            quiet = if done { quiet + 1 } else { 0 };
            quiet >= 5
        });
        self.compactor.take().unwrap().stop();
        let out = run(&["compactor", "--drain", "--config", self.config.to_str().unwrap()]);
        assert!(out.status.success(), "{}", both(&out));
        let out = run(&["replay", "--verify", "--config", self.config.to_str().unwrap()]);
        assert!(out.status.success() && both(&out).contains(" 0 different"), "{}", both(&out));
        self.exchange.stop();
        let lake = Lake::open(&self.root.path().join("data/lake"), VENUE);
        (self.root, lake)
    }
}

fn assert_whole(lake: &Lake) {
    for (table, column, channel) in COUNTED {
        let ids = lake.ids(table, column, None);
        assert_eq!(ids.len(), 3, "{channel}: all symbols have rows");
        assert!(Lake::missing(&ids).is_empty(), "{channel}: {:?} of {:?}", Lake::missing(&ids), lake.gaps(channel));
    }
}

#[test]
fn an_abrupt_end_of_the_only_line_is_told_and_repaired() {
    abrupt_ends_of_one_line();
}

fn abrupt_ends_of_one_line() {
    let mut dice = Dice::new(seed("abrupt_ends_of_one_line"));
    let world = World::start(1, 300, dice.below(1 << 40));
    for _ in 0..runs(3) {
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        world.exchange.sim.fault(Fault::now(Action::Cut { half_frame: dice.below(2) == 0 }).on_venue(VENUE));
        std::thread::sleep(Duration::from_millis(50));
        world.wait_for_connections(1);
    }
    let (_root, lake) = world.end(true);
    let mut repaired = 0;
    for (table, column, channel) in COUNTED {
        // What the sockets brought has holes, all of them told ...
        let heard = lake.ids(table, column, Some(false));
        let missing = Lake::missing(&heard);
        assert!(!missing.is_empty(), "{channel}: the ends cost nothing, so nothing was shown");
        lake.assert_explained(channel, &missing);
        repaired += lake.ids(table, column, Some(true)).values().map(|ids| ids.len()).sum::<usize>();
    }
    // ... and what was fetched fills them.
    assert_whole(&lake);
    assert!(lake.repairs().iter().all(|r| r.why.is_none()), "{:?}", lake.repairs());
    let told = COUNTED.iter().map(|(_, _, c)| lake.gaps(c).len()).sum::<usize>();
    assert_eq!(lake.repairs().len(), told, "one repair for each gap");
    assert_eq!(lake.repairs().iter().map(|r| r.rows).sum::<u64>(), repaired as u64, "each row once");
    println!("{told} gaps told and repaired with {repaired} rows");
}

#[test]
fn an_announced_end_leaves_no_id_missing_and_none_twice() {
    announced_ends();
}

fn announced_ends() {
    let mut dice = Dice::new(seed("announced_ends"));
    let world = World::start(1, 300, dice.below(1 << 40));
    let ends = runs(3) as u32;
    for _ in 0..ends {
        let endings = Ending::ALL.to_vec();
        world.exchange.sim.fault(Fault::now(Action::RandomCloses {
            count: 1,
            over_frames: Some(100),
            over_ms: None,
            endings,
            notice_share: 1.0,
            notice_ms: 5_000,
            seed: dice.below(1 << 40),
        }));
        let before = world.open();
        wait_until("another connection took over", || {
            let now = world.open();
            now.len() == 1 && before.iter().all(|(id, _)| now.iter().all(|(n, _)| n != id))
        });
        world.wait_for_connections(1);
    }
    let (_root, lake) = world.end(false);
    assert_whole(&lake);
    for (_, _, channel) in COUNTED {
        assert!(lake.gaps(channel).is_empty(), "{:?}", lake.gaps(channel));
    }
    assert!(lake.gaps("depth").is_empty(), "{:?}", lake.gaps("depth"));
    // The overlap is as short as the collector can make it: often no row comes twice.
    println!("{ends} announced ends, {} rows came twice and stand once", lake.duplicates());
}

#[test]
fn with_two_lines_an_abrupt_end_of_one_costs_nothing() {
    abrupt_ends_with_two_lines();
}

fn abrupt_ends_with_two_lines() {
    let mut dice = Dice::new(seed("abrupt_ends_with_two_lines"));
    let world = World::start(2, 300, dice.below(1 << 40));
    let ends = runs(3);
    for _ in 0..ends {
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        let open = world.open();
        let (number, _) = open[dice.below(open.len() as u64) as usize];
        let cut = Action::Cut { half_frame: dice.below(2) == 0 };
        world.exchange.sim.fault(Fault { conn: Some(number), ..Fault::now(cut).on_venue(VENUE) });
        wait_until("it is cut", || world.open().iter().all(|(n, _)| *n != number));
        world.wait_for_connections(2);
    }
    let (_root, lake) = world.end(false);
    assert_whole(&lake);
    for channel in ["trades", "agg_trades", "depth"] {
        assert!(lake.gaps(channel).is_empty(), "{:?}", lake.gaps(channel));
    }
    // Book tickers have no rule, but each of them has an id.
    assert!(lake.ids(Table::BookTicker, "update_id", None).values().flatten().all(|(_, n)| *n == 1));
    let lines = lake.lines();
    assert!(lines.len() == 2 && lines.iter().all(|l| l.first > 0 && l.first < l.frames), "{lines:?}");
    println!("{ends} ends with two lines, {} rows came twice; {lines:?}", lake.duplicates());
}

#[test]
fn a_kill_of_the_compactor_in_the_middle_of_repairs_makes_none_of_them_twice() {
    let mut dice = Dice::new(seed("killed_repairs"));
    let mut world = World::start(1, 300, dice.below(1 << 40));
    for _ in 0..runs(3) {
        world.exchange.sim.fault(Fault::now(Action::Cut { half_frame: true }).on_venue(VENUE));
        std::thread::sleep(Duration::from_millis(50));
        world.wait_for_connections(1);
        // Holes settle after three seconds: somewhere around there.
        std::thread::sleep(Duration::from_millis(2_500 + dice.below(1_500)));
        world.compactor.take().unwrap().kill();
        world.compactor = Some(Service::start("compactor", &world.config, &[]));
    }
    let (_root, lake) = world.end(false);
    let waits = |lake: &Lake| lake.repairs().iter().any(|r| r.why.is_some());
    assert!(!waits(&lake), "{:?}", lake.repairs());
    assert_whole(&lake);
}
