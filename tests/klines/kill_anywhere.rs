//! The compactor is killed at random instants and at every step of a checkpoint while it works off the logs of three
//! venues; the candles, symbols, positions and the memory of the feeds are in the end those of a run that nobody
//! disturbed. On SQLite, and on Postgres where it is installed.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use crate::support::candles::{Place, Server, Stored};
use crate::support::logs::copy_tree;
use crate::support::{Dice, Service, both, free_port, market, run, runs, seed, tapedeck, wait_until};

/// Logs over a day and a half, and what an undisturbed run makes of them.
struct World {
    _root: tempfile::TempDir,
    root: PathBuf,
    log: PathBuf,
    clean: Stored,
    server: Option<Server>,
}

/// One copy of the logs with a configuration and a database.
struct Copy {
    dir: PathBuf,
    config: PathBuf,
    place: Place,
}

fn drain(config: &Path, failpoint: &str) -> Output {
    tapedeck()
        .args(["compactor", "--drain", "--config"])
        .arg(config)
        .env("TAPEDECK_FAILPOINT", failpoint)
        .output()
        .unwrap()
}

impl World {
    fn new(seed: u64, trades: usize, server: Option<Server>) -> World {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_path_buf();
        let log = dir.join("log");
        market::record(&log.join("data/wal"), seed, trades);
        let mut world = World { _root: root, root: dir, log, clean: Stored::default(), server };
        let copy = world.copy("clean");
        let out = drain(&copy.config, "");
        assert!(out.status.success(), "{}", both(&out));
        world.clean = copy.place.read();
        copy.remove();
        world
    }

    fn copy(&mut self, name: &str) -> Copy {
        let dir = self.root.join(name);
        copy_tree(&self.log, &dir);
        let place = match &mut self.server {
            Some(server) => server.place(),
            None => Place::File(dir.join("data/klines.db")),
        };
        let mut text = format!(
            "[data]\ndir = {:?}\n[wal]\nretention_hours = 8760\n[lake]\nack_interval_s = 1\n[klines]\n\
             flush_interval_s = 1\nseed = false\ndatabase = {:?}\n[api]\nlisten = \"127.0.0.1:{}\"\n",
            dir.join("data").display().to_string(),
            place.url(),
            free_port(),
        );
        for (venue, channel, _) in market::VENUES {
            text.push_str(&format!(
                "[venues.{venue}]\nsymbols = [\"*\"]\nchannels = [{channel:?}]\nrepair = false\n\
                 rest_url = \"http://127.0.0.1:9\"\n"
            ));
        }
        let config = dir.join("tape.toml");
        std::fs::write(&config, text).unwrap();
        Copy { dir, config, place }
    }

    #[track_caller]
    fn assert_same(&self, got: &Stored, what: &str) {
        assert_eq!(got.symbols, self.clean.symbols, "{what}: symbols");
        let differ: Vec<_> = self.clean.bars.iter().filter(|b| !got.bars.contains(b)).take(5).collect();
        let instead: Vec<_> = got.bars.iter().filter(|b| !self.clean.bars.contains(b)).take(5).collect();
        assert!(got.bars == self.clean.bars, "{what}: expected {differ:#?}\nfound {instead:#?}");
        assert_eq!(got.positions, self.clean.positions, "{what}: positions");
        assert_eq!(got.states, self.clean.states, "{what}: what feeds remember");
    }
}

impl Copy {
    fn remove(self) {
        std::fs::remove_dir_all(self.dir).unwrap();
    }
}

/// Kills at random instants, a few on each copy, so that a later one meets what the earlier ones left.
fn kill_at_random(seed: u64, trades: usize, kills: usize, server: Option<Server>) {
    let mut dice = Dice::new(seed);
    let mut world = World::new(seed, trades, server);
    let (mut done, mut early, mut advanced, mut round) = (0, 0, 0, 0);
    while done < kills {
        round += 1;
        let copy = world.copy(&format!("kill-{round}"));
        for _ in 0..5.min(kills - done) {
            let before = copy.place.positions();
            let service = Service::start("compactor", &copy.config, &[]);
            // In turn somewhere after a checkpoint, in the start, and right after a checkpoint: a few kills are one
            // of each, whatever the dice say.
            if done % 3 != 1 {
                wait_until("a checkpoint is stored", || copy.place.positions() != before);
            }
            if done % 3 != 2 {
                std::thread::sleep(Duration::from_millis(dice.below(1_500)));
            }
            service.kill();
            let after = copy.place.positions();
            done += 1;
            advanced += usize::from(after != before);
            early += usize::from(after != world.clean.positions);
            if after == world.clean.positions {
                break;
            }
        }
        let out = drain(&copy.config, "");
        assert!(out.status.success(), "round {round}: {}", both(&out));
        world.assert_same(&copy.place.read(), &format!("round {round}"));
        copy.remove();
    }
    println!(
        "killed {done} times, {early} times before the end of the logs and {advanced} times after a new checkpoint; \
         {round} databases with {} bars each equal to the undisturbed one",
        world.clean.bars.len()
    );
    // A fast machine is through with the logs before many a kill; a few kills say nothing about shares.
    let enough = if done < 50 { early > 0 } else { early * 4 > done };
    assert!(enough && advanced > 0, "{early} of {done} kills hit a feed at work, {advanced} after a checkpoint");
}

#[test]
fn a_killed_compactor_stores_the_candles_of_an_undisturbed_one() {
    kill_at_random(seed("killed_candles"), 15_000, runs(8), None);
}

#[test]
fn a_killed_compactor_stores_the_same_candles_on_a_server() {
    let Some(server) = Server::start() else {
        println!("skipped: no initdb and postgres here (Debian package postgresql)");
        return;
    };
    println!("server in {}", server.dir().display());
    kill_at_random(seed("killed_candles_on_a_server"), 15_000, runs(4), Some(server));
}

/// Needs the kill points compiled in: they are in debug builds and in none that is released.
#[cfg(debug_assertions)]
#[test]
fn every_step_of_a_checkpoint_survives_a_kill() {
    use std::os::unix::process::ExitStatusExt;
    let mut world = World::new(5, 6_000, None);
    for point in compact::failpoint::list().iter().filter(|p| p.starts_with("klines.")) {
        let copy = world.copy("point");
        // The first checkpoint of any venue, then later ones, each on what the kill before has left.
        for n in [1, 3] {
            let out = drain(&copy.config, &format!("{point}:{n}"));
            let killed = out.status.signal() == Some(9);
            assert!(killed || (n > 1 && out.status.success()), "{point}:{n}: {}", both(&out));
        }
        let out = drain(&copy.config, "");
        assert!(out.status.success(), "after {point}: {}", both(&out));
        world.assert_same(&copy.place.read(), point);
        copy.remove();
    }
}

#[test]
fn a_restored_and_a_deleted_database_are_told_and_come_back_whole_from_a_whole_log() {
    let mut world = World::new(seed("restored_candles"), 15_000, None);
    let copy = world.copy("restored");
    let data = copy.dir.join("data");
    let files = || ["klines.db", "klines.db-wal", "klines.db-shm"].map(|name| data.join(name));
    let service = Service::start("compactor", &copy.config, &[]);
    wait_until("a checkpoint is stored", || !copy.place.positions().is_empty());
    service.kill();
    let old = files().map(|file| std::fs::read(file).ok());
    let is_old = copy.place.positions() != world.clean.positions;
    let out = drain(&copy.config, "");
    assert!(out.status.success(), "{}", both(&out));
    world.assert_same(&copy.place.read(), "drained");
    for (file, bytes) in files().iter().zip(old) {
        std::fs::remove_file(file).unwrap_or_default();
        bytes.into_iter().for_each(|bytes| std::fs::write(file, bytes).unwrap());
    }
    let out = drain(&copy.config, "");
    let said = both(&out);
    // A feed that had stored nothing by then is none of that database.
    let told = said.contains("database_restored") || said.contains("database_deleted");
    assert!(out.status.success() && told == is_old, "{said}");
    world.assert_same(&copy.place.read(), "restored");
    let delete = || files().iter().for_each(|file| std::fs::remove_file(file).unwrap_or_default());
    delete();
    let out = drain(&copy.config, "");
    let said = both(&out);
    assert!(out.status.success() && said.contains("database_deleted"), "{said}");
    world.assert_same(&copy.place.read(), "deleted");
    // The service says it for as long as it runs.
    delete();
    let service = Service::start("compactor", &copy.config, &[]);
    let mut said = String::new();
    wait_until("status names it", || {
        said = both(&run(&["status", "--config", &copy.config.display().to_string()]));
        market::VENUES.iter().all(|(venue, ..)| said.contains(&format!("candles            {venue}: candles were ack")))
    });
    assert!(said.contains("it was deleted or emptied") && said.contains("the log still has the next record"), "{said}");
    service.stop();
}
