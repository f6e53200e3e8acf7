//! Binance spot as SBE, from the exchange's sockets to the lake: the key is shown, every binary frame becomes rows,
//! and no id is missing.

use lake::Table;
use wal_format::Kind;

use crate::support::lake::Lake;
use crate::support::log::read_all;
use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, both, run, wait_until};

const VENUE: &str = "binance-spot-sbe";
const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "币安人生USDT"];

#[test]
fn a_binary_market_is_in_the_lake_without_a_hole() {
    let root = tempfile::tempdir().unwrap();
    let mut sim = market(VENUE, 2_000, Some(6_000), 11);
    sim.start_when = venue_sim::StartWhen::Settled { streams: 9, quiet_ms: 200 };
    let exchange = Exchange::start(sim);
    let channels = ["trades", "book_ticker", "depth", "depth_snapshot"];
    let extra = "api_key_env = \"TAPEDECK_TEST_KEY\"\nconnect_stagger_ms = 0\n";
    let config = write_config_for(root.path(), &exchange, VENUE, &SYMBOLS, &channels, extra);
    let collector = Service::start("collector", &config, &[("TAPEDECK_TEST_KEY", "a key")]);
    wait_until("the market was played", || exchange.sim.finished());
    let log = root.path().join("data/wal").join(VENUE);
    let committed = || wal_format::control::read(&log).map(|c| (c.committed.segment, c.committed.offset));
    let mut last = None;
    wait_until("the log stops growing", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = committed();
        std::mem::replace(&mut last, now) == now && now.is_some()
    });
    collector.stop();
    exchange.stop();

    let (records, lost) = read_all(&log);
    assert_eq!(lost, 0);
    // A header of schema 1 starts with a block length below 256; texts are answers to requests.
    let frames = records.iter().filter(|r| r.kind == Some(Kind::Data));
    let (binary, text): (Vec<_>, Vec<_>) = frames.partition(|r| r.payload.get(4..6) == Some(&[1, 0]));
    assert!(binary.len() > 2_000, "{} binary frames", binary.len());
    assert!(text.iter().all(|r| r.payload.starts_with(br#"{"result":null"#)));
    assert!(!records.iter().any(|r| r.payload.windows(5).any(|w| w == b"a key")), "the key is in the log");

    let out = run(&["compactor", "--drain", "--config", config.to_str().unwrap()]);
    assert!(out.status.success(), "{}", both(&out));
    let lake = Lake::open(&root.path().join("data/lake"), VENUE);
    let ids = lake.ids(Table::Trades, "id", None);
    assert_eq!(ids.keys().map(String::as_str).collect::<Vec<_>>(), SYMBOLS);
    assert!(Lake::missing(&ids).is_empty());
    for channel in ["trades", "depth"] {
        assert!(lake.gaps(channel).is_empty(), "{:?}", lake.gaps(channel));
    }
    for table in [Table::BookTicker, Table::Depth] {
        assert!(lake.manifests.iter().flat_map(|m| &m.files).any(|f| f.table == table && f.rows > 100), "{table:?}");
    }
    for m in &lake.manifests {
        assert!(m.drift.is_empty(), "{:?}", m.drift);
        assert!(m.files.iter().all(|f| f.table != Table::Frames), "frames that were not understood");
    }
}
