//! The only line is cut again and again: bars with a hole are marked, the repairer fetches the trades, and then the
//! bars are those of the venue, digit for digit, and no mark is left.

use std::time::Duration;

use model::Interval;
use venue_sim::{Action, Fault, Pace};

use super::seeded::{VENUES, gaps, markets, recorder, stored};
use crate::support::venue::Exchange;
use crate::support::{Service, both, run, seed, wait_until};

#[test]
fn bars_with_a_hole_are_corrected_and_unmarked_by_the_trades_that_were_fetched_again() {
    let root = tempfile::tempdir().unwrap();
    let mut sim = markets(4, None);
    sim.pace = Pace::Times(60.0);
    sim.seed = seed("bars_with_a_hole") % (1 << 40);
    let exchange = Exchange::start(sim);
    let config = recorder(root.path(), &exchange);
    let collector = Service::start("collector", &config, &[]);
    let compactor = Service::start("compactor", &config, &[]);
    wait_until("there are candles", || stored(&config, Interval::M1).iter().all(|n| *n > 2));
    wait_until("the first bars have their beginning", || gaps(&config) == Some(0));
    let mut marked = 0;
    for half_frame in [false, true] {
        for (venue, ..) in VENUES {
            assert!(exchange.sim.fault(Fault::now(Action::Cut { half_frame }).on_venue(venue)) > 0);
        }
        wait_until("bars are marked", || {
            let now = gaps(&config).unwrap_or(0);
            marked = marked.max(now);
            now > 0
        });
        wait_until("no bar is marked any more", || gaps(&config) == Some(0));
    }
    // Whole minutes after the last gap, on all venues.
    let before = stored(&config, Interval::M1);
    wait_until("the market goes on", || stored(&config, Interval::M1).iter().zip(&before).all(|(now, n)| *now > n + 2));
    collector.stop();
    std::thread::sleep(Duration::from_secs(1));
    compactor.stop();
    let path = config.to_str().unwrap();
    let days = ["--from", "2024-08-06", "--to", "2024-08-08", "--json"];
    let compare = run(&[&["klines", "compare", "--config", path, "--interval", "1m,5m"][..], &days].concat());
    assert!(compare.status.success(), "{}", both(&compare));
    let told: serde_json::Value = serde_json::from_slice(&compare.stdout).unwrap();
    let count = |name: &str| told.as_array().unwrap().iter().map(|r| r[name].as_u64().unwrap()).sum::<u64>();
    // Left out: the open bar of each series.
    assert_eq!((count("different"), count("left_out")), (0, told.as_array().unwrap().len() as u64), "{told}");
    assert!(count("compared") > 40, "{told}");
    println!("{marked} bars were marked at once; {} are the venue's", count("compared"));
    exchange.stop();
}
