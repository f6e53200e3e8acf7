//! Two downloaders that share one queue on Postgres and one mirror. One is killed, or stopped and woken up again; the
//! archive's own account says what was fetched: no byte that had reached the disk comes a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::cluster::Cluster;
use crate::support::history::Mirror;
use crate::support::s3::{Archive, Seen, noise, sha256};
use crate::support::{Dice, runs, seed, wait_until};

const WHAT: [&str; 4] = ["--market", "um", "--kind", "aggTrades"];
const FILES: usize = 60;

/// A process that does not outlive its test, stopped or not.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn ends_well(&mut self, mirror: &Mirror) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(mirror.dir.path().join("log")).unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What happens to the first of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Killed,
    /// Stopped, and woken up when the other one has done everything.
    Late,
    /// Stopped, and woken up while the other one is at the files that it took over.
    Early,
}

/// What lay on the disk of a file that the first one had leased.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Had {
    Nothing,
    Part(usize),
    All,
}

struct Round {
    archive: Archive,
    a: Mirror,
    b: Mirror,
    client: postgres::Client,
    /// All requests for files so far.
    seen: Vec<Seen>,
    begun: Vec<String>,
}

impl Round {
    fn new(cluster: &mut Cluster) -> Round {
        let url = cluster.database();
        let archive = Archive::start();
        for i in 0..FILES as u64 {
            let symbol = ["BTCUSDT", "ETHUSDT", "\u{5e01}USDT"][(i % 3) as usize];
            let day = i / 3 + 1;
            let key = format!("data/futures/um/daily/aggTrades/{symbol}/{symbol}-aggTrades-2024-01-{day:02}.zip");
            archive.put(&key, noise(i, 2_000 + (i as usize * 7_919) % 90_000));
        }
        archive.pages_of(7);
        archive.slow(2 << 10, Duration::from_millis(8));
        let settings = |node: &str| {
            format!("manifest = {url:?}\nnode = \"{node}\"\nlease_s = 6\ndownload_workers = 3\nstall_timeout_s = 60")
        };
        let a = Mirror::new(&archive, &settings("a"));
        let b = a.also("b", &archive, &settings("b"));
        let client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        Round { archive, a, b, client, seen: Vec::new(), begun: Vec::new() }
    }

    /// Paths of rows with this condition.
    fn paths(&mut self, condition: &str) -> BTreeSet<String> {
        let sql = format!("SELECT path FROM history_files WHERE {condition}");
        self.client.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the archive has noted the end of every request.
    fn settle(&mut self) {
        let archive = self.archive.clone();
        wait_until("all answers have ended", || {
            self.begun.extend(archive.begun());
            self.seen.extend(archive.zips());
            self.begun.len() == self.seen.len()
        });
    }

    fn file(&self, key: &str) -> PathBuf {
        self.a.root().join("data.binance.vision").join(key)
    }

    /// What lies here of a file.
    fn had(&self, key: &str) -> Had {
        let (dest, size) = (self.file(key), self.archive.file(key).len());
        if dest.exists() {
            return Had::All;
        }
        let name = dest.file_name().unwrap().to_str().unwrap().to_owned();
        let entries = std::fs::read_dir(dest.parent().unwrap()).into_iter().flatten().flatten();
        let partial = |found: &str| found.starts_with(&format!("{name}.")) && found.ends_with(".partial");
        let parts = entries.filter(|e| partial(&e.file_name().to_string_lossy()));
        match parts.map(|e| e.metadata().unwrap().len() as usize).max() {
            None | Some(0) => Had::Nothing,
            Some(n) if n == size => Had::All,
            Some(n) => Had::Part(n),
        }
    }
}

/// One round; answers how many files were taken over, and how many of them from somewhere in the middle, and the bytes
/// that were on their way when the first one ended.
fn round(cluster: &mut Cluster, dice: &mut Dice, fate: Fate) -> (usize, usize, usize) {
    let mut r = Round::new(cluster);
    r.archive.hold(true);
    let mut first = Running(r.a.start(&WHAT));
    let mut second = Running(r.b.start(&WHAT));
    let both = "SELECT COUNT(DISTINCT split_part(split_part(holder, '#', 2), '-', 1)) FROM history_files \
                WHERE state = 'leased'";
    // Either may be first to make the table.
    let client = &mut r.client;
    wait_until("both wait for files", || client.query_one(both, &[]).is_ok_and(|row| row.get::<_, i64>(0) == 2));
    r.archive.hold(false);
    let least = 2 + dice.below(12) as usize;
    wait_until("some files are here", || r.a.tree().keys().filter(|k| k.ends_with(".zip")).count() >= least);
    std::thread::sleep(Duration::from_millis(dice.below(120)));
    match fate {
        Fate::Killed => {
            first.0.kill().unwrap();
            first.0.wait().unwrap();
        }
        // One that is stopped in the middle of a transaction holds the other one up for half a minute.
        Fate::Late | Fate::Early => loop {
            first.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(100));
            let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                        AND state LIKE 'idle in transaction%'";
            // Twice, for the other one may be between two statements.
            let open = |client: &mut postgres::Client| client.query_one(open, &[]).unwrap().get::<_, i64>(0) > 0;
            if !open(&mut r.client) || !open(&mut r.client) {
                break;
            }
            first.signal(Signal::CONT);
            std::thread::sleep(Duration::from_millis(30));
        },
    }
    // A word that was under way to the database when the process ended may still arrive there; a lease cannot run out
    // as soon as that.
    std::thread::sleep(Duration::from_millis(300));
    let mine = format!("holder LIKE '%#{}-%'", &sha256(b"a")[..8]);
    let leased = r.paths(&format!("state = 'leased' AND {mine}"));
    let had: BTreeMap<String, Had> = leased.iter().map(|key| (key.clone(), r.had(key))).collect();
    assert_eq!(r.paths(&format!("state = 'leased' AND {mine}")), leased, "the machine was too slow for this test");
    assert!(leased.len() <= 3, "{leased:?}");
    if fate == Fate::Early && !leased.is_empty() {
        wait_until("something is taken over", || !r.paths("attempts > 1").is_empty());
        first.signal(Signal::CONT);
    }
    second.ends_well(&r.b);
    if fate == Fate::Late {
        r.begun.extend(r.archive.begun());
        first.signal(Signal::CONT);
    }
    if fate != Fate::Killed {
        first.signal(Signal::CONT);
        first.ends_well(&r.a);
        if fate == Fate::Late {
            // What it was about to ask for when it fell asleep it asks for when it wakes up, and keeps none of it.
            let asked = r.archive.begun();
            let about_to = |key: &String| matches!(had.get(key), Some(Had::Nothing));
            assert!(asked.len() <= leased.len() && asked.iter().all(about_to), "{asked:?} {leased:?}");
            r.begun.extend(asked);
        }
    }
    r.settle();

    // The manifest: everything is here, in the one mirror; only what the first one had leased was leased twice.
    assert_eq!(r.paths("state = 'here'").len(), FILES);
    let holders = r.client.query("SELECT DISTINCT holder FROM history_files", &[]).unwrap();
    let holders: Vec<String> = holders.iter().map(|row| row.get(0)).collect();
    assert!(holders.len() == 1 && !holders[0].contains('#'), "{holders:?}");
    let taken = r.paths("attempts > 1");
    // One that wakes up early keeps what nobody had taken yet.
    let right = if fate == Fate::Early { taken.is_subset(&leased) } else { taken == leased };
    assert!(right, "what the first one had leased was taken over, and nothing else: {leased:?}, {taken:?}");
    // The tree: as if nothing had happened.
    r.a.holds_exactly(&r.archive, &r.archive.keys());
    // The archive: what had reached the disk came once.
    let (mut resumed, mut in_flight) = (0, 0);
    for key in r.archive.keys() {
        let size = r.archive.file(&key).len();
        let mut asked: Vec<&Seen> = r.seen.iter().filter(|s| s.key == key).collect();
        let had = had.get(&key).copied().filter(|_| taken.contains(&key));
        if let (Fate::Early, Some(had)) = (fate, had) {
            // Awake again it went on with what was under way until it heard that the file is not its own any more: the
            // other one found at least what had been here, and maybe all.
            let n = if let Had::Part(n) = had { n } else { 0 };
            let from = |s: &Seen| s.range.as_ref().map(|r| r["bytes=".len()..r.len() - 1].parse::<usize>().unwrap());
            let later: Vec<usize> = asked.iter().filter_map(|s| from(s)).collect();
            assert!(later.len() <= 1 && later.iter().all(|from| *from >= n), "{key} had {had:?}: {asked:?}");
            assert!(asked.len() - later.len() <= 2, "{key} had {had:?}: {asked:?}");
            assert!(asked.iter().any(|s| s.whole && from(s).unwrap_or(0) + s.sent == size), "{key}: {asked:?}");
            resumed += later.len();
            continue;
        }
        let last = match had {
            Some(Had::Part(n)) => Some((Some(format!("bytes={n}-")), 206, size - n)),
            None | Some(Had::Nothing) => Some((None, 200, size)),
            Some(Had::All) => None,
        };
        if let Some((range, status, sent)) = last {
            let fits = |s: &&&Seen| (&s.range, s.status, s.sent, s.whole) == (&range, status, sent, true);
            let at = asked.iter().rposition(|s| fits(&s));
            let at = at.unwrap_or_else(|| panic!("{key}, {size} bytes, had {had:?}: {asked:?}"));
            asked.remove(at);
            resumed += usize::from(range.is_some());
        }
        // What is left is the request of the first one, and only where it had begun.
        match had {
            None => assert!(asked.is_empty(), "{key} came twice: {asked:?}"),
            Some(had) => {
                let n = match had {
                    Had::Nothing => 0,
                    Had::Part(n) => n,
                    Had::All => size,
                };
                let begun = asked.iter().filter(|s| s.range.is_none()).count();
                assert!(begun == asked.len() && begun >= usize::from(n > 0), "{key} had {had:?}: {asked:?}");
                assert!(begun <= 1, "{key} had {had:?}: {asked:?}");
                let sent = asked.iter().map(|s| s.sent).max().unwrap_or(0);
                assert!(sent >= n, "{key} had {had:?}: {asked:?}");
                in_flight += sent - n;
            }
        }
    }
    let runs = r.client.query("SELECT outcome, summary FROM history_runs ORDER BY id", &[]).unwrap();
    let told: Vec<serde_json::Value> = runs
        .iter()
        .filter(|row| row.get::<_, Option<String>>(0).is_some())
        .map(|row| serde_json::from_str(&row.get::<_, String>(1)).unwrap())
        .collect();
    let sum = |name: &str| told.iter().map(|s| s[name].as_u64().unwrap()).sum::<u64>() as usize;
    if fate == Fate::Killed {
        assert!(told.len() == 1 && sum("ok") + sum("proven") >= taken.len(), "{told:?}");
    } else {
        assert_eq!((told.len(), sum("ok") + sum("proven"), sum("lost")), (2, FILES, taken.len()), "{told:?}");
    }
    // Whoever comes later finds nothing to do.
    let again = r.a.download(&WHAT);
    assert_eq!((again.code, &again.summary["skipped"]), (Some(0), &FILES.into()), "{}", again.text);
    assert_eq!(r.archive.begun(), [""; 0]);
    r.a.holds_exactly(&r.archive, &r.archive.keys());
    (taken.len(), resumed, in_flight)
}

fn rounds(name: &str, fates: &[Fate]) {
    let Some(mut cluster) = Cluster::start() else {
        eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
        return;
    };
    let mut dice = Dice::new(seed(name));
    let (mut all, n) = ([0; 3], runs(10).div_ceil(10).max(fates.len()));
    for i in 0..n {
        let fate = fates[i % fates.len()];
        let (taken, resumed, in_flight) = round(&mut cluster, &mut dice, fate);
        println!("{name} {i}: {fate:?}, {taken} taken over, {resumed} in the middle, {in_flight} bytes on their way");
        all = [all[0] + taken, all[1] + resumed, all[2] + in_flight];
    }
    println!(
        "{name}: {n} rounds, {} files taken over, {} in the middle, {} bytes on their way",
        all[0], all[1], all[2]
    );
}

#[test]
fn of_two_downloaders_on_one_mirror_one_is_killed_and_no_byte_that_reached_the_disk_comes_again() {
    rounds("shared_mirror_killed", &[Fate::Killed]);
}

#[test]
fn of_two_downloaders_on_one_mirror_one_sleeps_past_its_leases_and_spoils_nothing_when_it_wakes_up() {
    rounds("shared_mirror_asleep", &[Fate::Late, Fate::Early]);
}

#[test]
fn a_selection_must_fit_on_the_disks_of_all_mirrors_of_a_shared_manifest_together() {
    let Some(mut cluster) = Cluster::start() else {
        eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
        return;
    };
    let url = cluster.database();
    let archive = Archive::start();
    for day in 1..=3 {
        for symbol in ["BTCUSDT", "ETHUSDT"] {
            let key = format!("data/spot/daily/trades/{symbol}/{symbol}-trades-2024-01-{day:02}.zip");
            archive.put(&key, noise(day, 50_000));
        }
    }
    let full = Mirror::new(&archive, &format!("manifest = {url:?}\nnode = \"full\"\nmin_free_mib = 1073741824"));
    let run = full.download(&["--kind", "trades", "--market", "spot"]);
    // On a busy machine the first file is asked for before the whole selection is known: its answer is as good.
    let said = ["the selection needs", "the next file needs"].iter().any(|why| run.text.contains(why));
    assert!(run.code == Some(1) && said, "{}", run.text);
    assert!(archive.begun().is_empty() && full.tree().is_empty());
    // Another mirror has room: the whole is no reason to stop any more, the next file on this disk is.
    let roomy = Mirror::new(&archive, &format!("manifest = {url:?}\nnode = \"roomy\""));
    let run = roomy.download(&["--kind", "trades", "--market", "spot", "--symbols", "ETHUSDT"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &3.into()), "{}", run.text);
    let run = full.download(&["--kind", "trades", "--market", "spot"]);
    assert!(run.code == Some(1) && run.text.contains("the next file needs"), "{}", run.text);
    assert!(full.tree().is_empty());
    let run = roomy.download(&["--kind", "trades", "--market", "spot"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &3.into()), "{}", run.text);
    roomy.holds_exactly(&archive, &archive.keys());
}
