//! The compactor is killed at random instants and at every step of staging and publishing; what it has published in
//! the end is exactly what an undisturbed run publishes from the same log, byte for byte.

use std::path::{Path, PathBuf};

use lake::{Lake, diff_trees};

use crate::support::logs::{copy_tree, frames, record};
use crate::support::{Dice, Service, both, free_port, runs, seed, tapedeck, wait_until};

/// A data directory with a recorded log over three hours, a configuration, and a lake made without disturbance.
pub(super) struct World {
    _root: tempfile::TempDir,
    /// Data directory with the log and nothing else; copied for each run.
    log: PathBuf,
    pub(super) reference: PathBuf,
    pub(super) root: PathBuf,
}

fn config(dir: &Path) -> PathBuf {
    let path = dir.join("tape.toml");
    // Small row groups and short intervals, so that every run stages and cuts many times.
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nretention_hours = 8760\n[lake]\nrow_group_rows = 2000\nbatch_rows = 64\nack_interval_s = 1\nidle_stage_s = 1\n[klines]\nseed = false\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.binance-spot]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\n",
        dir.join("data").display().to_string(),
        free_port(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub(super) fn drain(config: &Path, env: &[(&str, &str)]) -> std::process::Output {
    tapedeck().args(["compactor", "--drain", "--config"]).arg(config).envs(env.iter().copied()).output().unwrap()
}

impl World {
    pub(super) fn new(frame_count: usize) -> World {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_path_buf();
        let mut all = frames("binance-spot/hft-btcusdt_20240808.zst");
        all.truncate(frame_count);
        // One frame that does not decode: it must survive every kill as well.
        all.insert(frame_count / 2, b"{\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",\"p\":".to_vec());
        let log = dir.join("log");
        record(&log.join("data/wal/binance-spot"), &all, 3, 1 << 20);
        let clean = dir.join("clean");
        copy_tree(&log, &clean);
        let out = drain(&config(&clean), &[]);
        assert!(out.status.success(), "{}", both(&out));
        World { reference: clean.join("data/lake"), log, root: dir, _root: root }
    }

    /// A fresh copy of the log with its own configuration.
    pub(super) fn copy(&self, name: &str) -> (PathBuf, PathBuf) {
        let dir = self.root.join(name);
        copy_tree(&self.log, &dir);
        (config(&dir), dir.join("data/lake"))
    }

    #[track_caller]
    fn assert_same(&self, lake: &Path, what: &str) {
        let differences = diff_trees(&Lake::open(&self.reference), &Lake::open(lake)).unwrap();
        assert!(differences.is_empty(), "{what}: {differences:?}");
    }
}

#[test]
fn a_killed_compactor_publishes_exactly_what_an_undisturbed_one_does() {
    killed_compactor();
}

fn killed_compactor() {
    let mut dice = Dice::new(seed("killed_compactor"));
    let world = World::new(20_000);
    let kills = runs(8);
    let mut done = 0;
    let mut round = 0;
    while done < kills {
        round += 1;
        let (config, lake) = world.copy(&format!("kill-{round}"));
        // A few kills on the same directory, so that a later one meets what the earlier ones left.
        for _ in 0..4.min(kills - done) {
            let service = Service::start("compactor", &config, &[]);
            std::thread::sleep(std::time::Duration::from_millis(dice.below(1_500)));
            service.kill();
            done += 1;
        }
        let out = drain(&config, &[]);
        assert!(out.status.success(), "round {round}: {}", both(&out));
        world.assert_same(&lake, &format!("round {round}"));
        std::fs::remove_dir_all(world.root.join(format!("kill-{round}"))).unwrap();
    }
    println!("killed {done} times, every lake equal to the reference byte for byte");
}

/// Needs the kill points compiled in: they are in debug builds and in none that is released.
#[cfg(debug_assertions)]
#[test]
fn every_step_of_publishing_survives_a_kill() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::new(6_000);
    let mut met = 0;
    for point in compact::failpoint::list() {
        let (config, lake) = world.copy("point");
        let out = drain(&config, &[("TAPEDECK_FAILPOINT", &point)]);
        let killed = out.status.signal() == Some(9);
        // Points of tables that this log has no rows for are not met.
        assert!(killed || out.status.success(), "{point}: {}", both(&out));
        met += usize::from(killed);
        let out = drain(&config, &[]);
        assert!(out.status.success(), "after {point}: {}", both(&out));
        world.assert_same(&lake, &point);
        std::fs::remove_dir_all(world.root.join("point")).unwrap();
    }
    println!("{met} points met");
    assert!(met >= 20, "only {met} kill points were met");
}

#[test]
fn acks_and_staging_may_be_deleted_and_the_lake_goes_on_without_a_row_twice() {
    let world = World::new(12_000);
    let (config, lake) = world.copy("lost-acks");
    let service = Service::start("compactor", &config, &[]);
    wait_until("something is published", || lake.join("_manifests").exists());
    service.kill();
    let _ = std::fs::remove_dir_all(world.root.join("lost-acks/data/wal/binance-spot/acks"));
    let _ = std::fs::remove_dir_all(lake.join(".staging"));
    let out = drain(&config, &[]);
    assert!(out.status.success(), "{}", both(&out));
    world.assert_same(&lake, "after acks and staging were deleted");
}

#[test]
fn a_second_compactor_on_the_same_logs_is_refused() {
    let world = World::new(2_000);
    let (config_path, _) = world.copy("second");
    let _first = Service::start("compactor", &config_path, &[]);
    let lock = world.root.join("second/data/wal/binance-spot/acks");
    wait_until("the first compactor holds its ack", || lock.exists());
    let mut refused = None;
    wait_until("the second compactor is refused", || {
        let out = drain(&config_path, &[("TAPEDECK__API__LISTEN", "\"127.0.0.1:0\"")]);
        let said = both(&out);
        let is = !out.status.success() && said.contains("lake");
        refused = Some(said);
        is
    });
    println!("{}", refused.unwrap());
}
