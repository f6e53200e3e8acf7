//! Downloads that are killed, and several on one queue with a mirror each: the same tree, the same bytes, nothing whole
//! comes twice. Several that share a mirror too are in `shared`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::history::Mirror;
use crate::support::s3::{Archive, noise};
use crate::support::{Dice, runs, seed, wait_until};

/// `n` files of three symbols, sent slowly enough to be killed in the middle.
fn archive(n: u64) -> Archive {
    let archive = Archive::start();
    for i in 0..n {
        let symbol = ["BTCUSDT", "ETHUSDT", "\u{5e01}USDT"][(i % 3) as usize];
        let key = format!("data/futures/um/daily/aggTrades/{symbol}/{symbol}-aggTrades-2024-01-{:02}.zip", i / 3 + 1);
        archive.put(&key, noise(i, 2_000 + (i as usize * 7_919) % 90_000));
    }
    archive.pages_of(7);
    archive.slow(4 << 10, Duration::from_millis(1));
    archive
}

const WHAT: [&str; 4] = ["--market", "um", "--kind", "aggTrades"];

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Files under their final names.
fn whole(mirror: &Mirror) -> BTreeSet<String> {
    mirror.tree().into_keys().filter(|k| k.ends_with(".zip")).collect()
}

#[test]
fn a_killed_download_goes_on_where_it_was_and_asks_for_no_whole_file_again() {
    let mut dice = Dice::new(seed("killed_download"));
    let kills = runs(10);
    let archive = archive(45);
    let size: usize = archive.keys().iter().map(|k| archive.file(k).len()).sum();
    let (mut killed, mut rounds, mut sent) = (0, 0, 0);
    while killed < kills {
        let mirror = Mirror::new(&archive, "download_workers = 4");
        drop((archive.seen(), archive.begun()));
        let mut had = BTreeSet::new();
        rounds += 1;
        let mut asked = |had: &BTreeSet<String>| {
            sent += archive.zips().iter().map(|z| z.sent).sum::<usize>();
            let again: Vec<String> = archive.begun().into_iter().filter(|key| had.contains(key)).collect();
            assert!(again.is_empty(), "these were here whole: {again:?}");
        };
        // From the first instruction to the end of the run.
        let mut at = dice.below(60);
        while killed < kills {
            let child = mirror.start(&WHAT);
            std::thread::sleep(Duration::from_millis(at));
            end(child);
            killed += 1;
            asked(&had);
            had = whole(&mirror);
            if had.len() == 45 {
                break;
            }
            at = dice.below(600);
        }
        let run = mirror.download(&WHAT);
        assert_eq!(run.code, Some(0), "{}", run.text);
        asked(&had);
        mirror.holds_exactly(&archive, &archive.keys());
        no_orphans(&mirror);
        assert_eq!(mirror.json(&["status"])[0]["states"]["here"]["files"], 45);
    }
    println!("{killed} kills in {rounds} rounds; {} bytes sent for {} bytes of files", sent, size * rounds);
}

/// Nothing but what belongs there lies in the mirror's folder.
fn no_orphans(mirror: &Mirror) {
    for folder in [mirror.root(), mirror.root().join("manifests")] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = ["data.binance.vision", "manifests", ".download.lock", ".mirror", "download.prom"]
                .contains(&&*name)
                || name.starts_with("manifest.db")
                || (name.starts_with("download_") && name.ends_with(".jsonl"));
            assert!(known, "{name} is left over");
        }
    }
}

#[test]
fn two_downloaders_share_one_postgres_queue_and_one_that_is_killed_costs_nothing() {
    let Some(mut cluster) = Cluster::start() else {
        eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
        return;
    };
    let mut dice = Dice::new(seed("two_downloaders"));
    for round in 0..runs(10).div_ceil(10) {
        let url = cluster.database();
        let archive = archive(60);
        let settings = |node: &str| {
            format!("manifest = {url:?}\nnode = \"{node}\"\nlease_s = 4\ndownload_workers = 3\nstall_timeout_s = 60")
        };
        let (a, b) = (Mirror::new(&archive, &settings("a")), Mirror::new(&archive, &settings("b")));
        archive.slow(2 << 10, Duration::from_millis(8));
        archive.hold(true);
        let (first, mut second) = (a.start(&WHAT), b.start(&WHAT));
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let both = "SELECT COUNT(DISTINCT split_part(holder, '#', 1)) FROM history_files WHERE state = 'leased'";
        // Either may be first to make the table.
        wait_until("both wait for files", || client.query_one(both, &[]).is_ok_and(|row| row.get::<_, i64>(0) == 2));
        archive.hold(false);
        let least = 2 + dice.below(8) as usize;
        wait_until("both have some", || whole(&a).len() >= least && whole(&b).len() >= least);
        end(first);
        // What the killed one had leased: only these may come twice.
        let rows = client.query("SELECT path FROM history_files WHERE state = 'leased' AND holder LIKE 'a:%'", &[]);
        let leased: BTreeSet<String> = rows.unwrap().iter().map(|r| r.get(0)).collect();
        assert!(leased.len() <= 3, "{leased:?}");
        let status = second.wait().unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(b.dir.path().join("log")).unwrap());
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for zip in archive.zips().into_iter().filter(|z| z.whole) {
            *times.entry(zip.key).or_default() += 1;
        }
        let twice: Vec<&String> = times.iter().filter(|(_, n)| **n > 1).map(|(k, _)| k).collect();
        assert!(twice.iter().all(|k| leased.contains(*k)), "{twice:?} came twice, {leased:?} were leased");
        let rows = client.query("SELECT path, state, holder FROM history_files ORDER BY path", &[]).unwrap();
        assert_eq!(rows.len(), 60);
        let (trees, mut shares) = ((a.tree(), b.tree()), [0, 0]);
        for row in &rows {
            let (path, state, holder): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(state, "here", "{path}");
            let of_a = holder.starts_with("a:");
            shares[usize::from(!of_a)] += 1;
            let tree = if of_a { &trees.0 } else { &trees.1 };
            assert!(tree.get(&path) == Some(&archive.file(&path)), "{path} is not with {holder}");
            assert!(tree.contains_key(&format!("{path}.CHECKSUM")), "{path}");
        }
        // A file that had its name, and whose row did not say so yet, went to the other one.
        assert!(shares[0] + leased.len() >= least && shares[1] >= least, "{shares:?}, at least {least}");
        archive.begun();
        // The killed one comes back: nothing is left to do, and what it left is swept.
        let run = a.download(&WHAT);
        assert_eq!(
            (run.code, &run.summary["ok"], &run.summary["skipped"]),
            (Some(0), &0.into(), &60.into()),
            "{}",
            run.text
        );
        assert!(archive.begun().is_empty());
        let left: Vec<String> =
            a.tree().into_keys().filter(|k| !k.ends_with(".zip") && !k.ends_with(".CHECKSUM")).collect();
        assert!(left.is_empty(), "{left:?}");
        println!("round {round}: shares {shares:?}, {} leased when killed, {} came twice", leased.len(), twice.len());
    }
}

#[test]
fn a_database_server_that_cuts_every_connection_now_and_then_ends_no_download() {
    let Some(mut cluster) = Cluster::start() else {
        eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
        return;
    };
    let url = cluster.database();
    let archive = archive(45);
    archive.slow(2 << 10, Duration::from_millis(5));
    let mirror = Mirror::new(&archive, &format!("manifest = {url:?}\ndownload_workers = 3\nstall_timeout_s = 60"));
    let mut child = mirror.start(&WHAT);
    let mut cuts = 0;
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        // The first files say that the start is over: a start without a database is an error.
        if !whole(&mirror).is_empty() {
            cuts += client.query(cut, &[]).unwrap().len();
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    assert!(status.success(), "{}", std::fs::read_to_string(mirror.dir.path().join("log")).unwrap());
    assert!(cuts > 1, "{cuts}");
    mirror.holds_exactly(&archive, &archive.keys());
    let here = client.query_one("SELECT COUNT(*) FROM history_files WHERE state = 'here'", &[]).unwrap();
    assert_eq!(here.get::<_, i64>(0), 45);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for key in archive.begun() {
        *times.entry(key).or_default() += 1;
    }
    assert!(times.values().all(|n| *n == 1), "{times:?}");
}
