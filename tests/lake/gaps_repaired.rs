//! Connections that end at random points: with an overlap or two lines nothing is missing and nothing is there
//! twice; with one line and an abrupt end every missing id is told, and trades are fetched again over REST.

use std::time::{Duration, Instant};

use lake::Table;
use venue_sim::{Action, ConnReport, Ending, Fault, Market, SimConfig, StartWhen};

use crate::support::lake::Lake;
use crate::support::venue::{Exchange, write_config_for};
use crate::support::{Dice, Service, both, run, runs, seed, wait_until};

/// What plays and is recorded.
#[derive(Clone, Copy)]
struct Of {
    venue: &'static str,
    symbols: [&'static str; 3],
    channels: &'static [&'static str],
    /// Tables whose ids count by one: table, column, channel.
    counted: &'static [(Table, &'static str, &'static str)],
}

/// Asked for what is missing by id.
const BINANCE: Of = Of {
    venue: "binance-spot",
    symbols: ["BTCUSDT", "ETHUSDT", "币安人生USDT"],
    channels: &["trades", "agg_trades", "book_ticker", "depth"],
    counted: &[(Table::Trades, "id", "trades"), (Table::AggTrades, "agg_id", "agg_trades")],
};

/// Asked for what is missing by time and page.
const GATE: Of = Of {
    venue: "gate-spot",
    symbols: ["BTC_USDT", "ETH_USDT", "SOL_USDT"],
    channels: &["trades", "book_ticker", "depth"],
    counted: &[(Table::Trades, "id", "trades")],
};

/// As [`GATE`], in contracts, parts of contracts too.
const GATE_FUTURES: Of = Of { venue: "gate-futures", ..GATE };

/// A world in which a market plays, a collector records it and a compactor follows.
struct World {
    root: tempfile::TempDir,
    exchange: Exchange,
    config: std::path::PathBuf,
    collector: Option<Service>,
    compactor: Option<Service>,
    connections: usize,
    of: Of,
}

impl World {
    fn start(of: Of, lines: usize, per_connection: usize, seed: u64) -> World {
        let root = tempfile::tempdir().unwrap();
        let streams = of.symbols.len() * of.channels.len();
        let mut sim = SimConfig::generated(
            &[of.venue],
            Market {
                symbols: of.symbols.map(str::to_owned).to_vec(),
                channels: of.channels.iter().map(|c| (*c).to_owned()).collect(),
                frames_per_s: 400,
                total_frames: None,
                start_ms: None,
            },
        );
        sim.start_when = StartWhen::Settled { streams, quiet_ms: 200 };
        sim.seed = seed;
        let exchange = Exchange::start(sim);
        // The weight of many holes within a minute; the simulator does not enforce its own here. With a connection
        // for each stream those that were cut come back ever later, and the others go on meanwhile.
        let extra = format!(
            "lines = {lines}\nconnect_stagger_ms = 0\nconnects_per_5_min = 100000\nstreams_per_connection = {per_connection}\nrest_weight_per_window = 1000000\n[lake]\nack_interval_s = 1\n"
        );
        let channels: Vec<&str> = of.channels.iter().copied().chain(["depth_snapshot"]).collect();
        let config = write_config_for(root.path(), &exchange, of.venue, &of.symbols, &channels, &extra);
        let collector = Some(Service::start("collector", &config, &[]));
        let compactor = Some(Service::start("compactor", &config, &[]));
        let connections = lines * streams / per_connection;
        let world = World { root, exchange, config, collector, compactor, connections, of };
        world.wait_for_all();
        world
    }

    /// Connections that are open and have delivered.
    fn open(&self) -> Vec<ConnReport> {
        let report = self.exchange.sim.report();
        let of_venue = report.venues.get(self.of.venue).map(|v| v.connections.clone()).unwrap_or_default();
        of_venue.into_iter().filter(|c| c.closed_ns.is_none() && c.frames_sent > 0).collect()
    }

    /// Waits until every connection there should be delivers.
    fn wait_for_all(&self) {
        let mut first: Vec<ConnReport> = Vec::new();
        wait_until("all connections deliver", || {
            let now = self.open();
            let go_on = |c: &&ConnReport| first.iter().any(|f| f.number == c.number && f.frames_sent < c.frames_sent);
            let delivering = now.iter().filter(go_on).count();
            first.retain(|f| now.iter().any(|c| c.number == f.number));
            for c in now {
                if first.iter().all(|f| f.number != c.number) {
                    first.push(c);
                }
            }
            delivering >= self.connections
        });
    }

    /// Cuts a connection drawn from those that `may` be, and waits until it is gone.
    fn cut(&self, dice: &mut Dice, may: impl Fn(&ConnReport, &[ConnReport]) -> bool) {
        let mut drawn = None;
        wait_until("a connection may be cut", || {
            let open = self.open();
            let of: Vec<u32> = open.iter().filter(|c| may(c, &open)).map(|c| c.number).collect();
            drawn = (!of.is_empty()).then(|| of[dice.below(of.len() as u64) as usize]);
            drawn.is_some()
        });
        let action = Action::Cut { half_frame: dice.below(2) == 0 };
        self.exchange.sim.fault(Fault { conn: drawn, ..Fault::now(action).on_venue(self.of.venue) });
        wait_until("it is cut", || self.open().iter().all(|c| Some(c.number) != drawn));
    }

    fn status(&self) -> serde_json::Value {
        let out = run(&["status", "--json", "--config", self.config.to_str().unwrap()]);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        all["compactor"]["venues"][self.of.venue].clone()
    }

    /// Lets the market play for a while, so that the last hole has settled; then stops everything in order and
    /// publishes. With `repairs` it waits until no hole is left to repair.
    fn end(mut self, repairs: bool) -> (tempfile::TempDir, Lake) {
        self.wait_for_all();
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
        let lake = Lake::open(&self.root.path().join("data/lake"), self.of.venue);
        (self.root, lake)
    }
}

fn assert_whole(of: Of, lake: &Lake) {
    for (table, column, channel) in of.counted {
        let ids = lake.ids(*table, column, None);
        assert_eq!(ids.len(), 3, "{channel}: all symbols have rows");
        assert!(Lake::missing(&ids).is_empty(), "{channel}: {:?} of {:?}", Lake::missing(&ids), lake.gaps(channel));
    }
}

#[test]
fn an_abrupt_end_of_the_only_line_is_told_and_repaired_by_id() {
    abrupt_ends_of_one_line(BINANCE);
}

#[test]
fn parts_of_contracts_are_fetched_again_with_their_sizes() {
    abrupt_ends_of_one_line(GATE_FUTURES);
}

#[test]
fn an_abrupt_end_of_the_only_line_is_told_and_repaired_by_time() {
    abrupt_ends_of_one_line(GATE);
}

fn abrupt_ends_of_one_line(of: Of) {
    let mut dice = Dice::new(seed("abrupt_ends_of_one_line"));
    let world = World::start(of, 1, 1, dice.below(1 << 40));
    let ends = runs(8);
    for _ in 0..ends {
        std::thread::sleep(Duration::from_millis(dice.below(200)));
        // Of those that carry what can be repaired; the tables below are theirs.
        world.cut(&mut dice, |c, _| c.streams.keys().any(|s| s.to_lowercase().contains("trade")));
    }
    let (_root, lake) = world.end(true);
    let (mut repaired, mut lost) = (0, 0);
    for (table, column, channel) in of.counted {
        // What the sockets brought has holes, all of them told ...
        let heard = lake.ids(*table, column, Some(false));
        let missing = Lake::missing(&heard);
        lost += missing.len();
        lake.assert_explained(channel, &missing);
        repaired += lake.ids(*table, column, Some(true)).values().map(|ids| ids.len()).sum::<usize>();
    }
    assert!(lost > 0, "the ends cost nothing, so nothing was shown");
    // ... and what was fetched fills them.
    assert_whole(of, &lake);
    assert!(lake.repairs().iter().all(|r| r.why.is_none()), "{:?}", lake.repairs());
    let told = of.counted.iter().map(|(_, _, c)| lake.gaps(c).len()).sum::<usize>();
    assert_eq!(lake.repairs().len(), told, "one repair for each gap");
    assert_eq!(lake.repairs().iter().map(|r| r.rows).sum::<u64>(), repaired as u64, "each row once");
    println!("{ends} abrupt ends, {told} gaps of trades and aggregates told and repaired with {repaired} rows");
}

#[test]
fn an_announced_end_leaves_no_id_missing_and_none_twice() {
    announced_ends();
}

fn announced_ends() {
    let mut dice = Dice::new(seed("announced_ends"));
    let world = World::start(BINANCE, 1, 12, dice.below(1 << 40));
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
            now.len() == 1 && before.iter().all(|b| now.iter().all(|n| n.number != b.number))
        });
        world.wait_for_all();
    }
    let (_root, lake) = world.end(false);
    assert_whole(BINANCE, &lake);
    for (_, _, channel) in BINANCE.counted {
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
    let world = World::start(BINANCE, 2, 1, dice.below(1 << 40));
    let ends = runs(8);
    for _ in 0..ends {
        std::thread::sleep(Duration::from_millis(dice.below(200)));
        // Only what the other line carries at this moment.
        world.cut(&mut dice, |c, open| {
            let shares = |o: &&ConnReport| o.number != c.number && o.streams.keys().eq(c.streams.keys());
            open.iter().any(|o| shares(&o))
        });
    }
    let (_root, lake) = world.end(false);
    assert_whole(BINANCE, &lake);
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
    let mut world = World::start(BINANCE, 1, 1, dice.below(1 << 40));
    for _ in 0..runs(3) {
        world.cut(&mut dice, |_, _| true);
        world.cut(&mut dice, |_, _| true);
        world.wait_for_all();
        // Holes settle after three seconds: somewhere around there.
        std::thread::sleep(Duration::from_millis(2_500 + dice.below(1_500)));
        world.compactor.take().unwrap().kill();
        world.compactor = Some(Service::start("compactor", &world.config, &[]));
    }
    let (_root, lake) = world.end(false);
    let waits = |lake: &Lake| lake.repairs().iter().any(|r| r.why.is_some());
    assert!(!waits(&lake), "{:?}", lake.repairs());
    assert_whole(BINANCE, &lake);
}
