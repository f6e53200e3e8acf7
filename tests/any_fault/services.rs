//! Disturbances of a running collector and compactor beside a simulated exchange: errors of system calls that come once or
//! last, a truncated live segment, panics of tasks, a clock that jumps.
//!
//! Afterwards: every id that the exchange sent is in the lake once, or a gap tells it; while it lasted the collector
//! recorded on, or was red, or ended with a code; without the disturbance it records again.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lake::Table;

use crate::support::lake::Lake;
use crate::support::venue::{Exchange, market};
use crate::support::{Service, both, free_port, http, run, wait_until};

const VENUE: &str = "binance-spot";
const FRAMES: u64 = 6_000;

/// What is done to the collector while it records.
pub enum Disturbance {
    /// strace: calls, error, when.
    Calls(&'static str, &'static str, &'static str),
    /// This task panics.
    Panic(String),
    /// The wall clock of the process is this many seconds ahead for a second, then right again.
    Clock(i64),
    /// The segment that is written to is cut to nothing.
    Truncated,
    /// SIGKILL.
    Killed,
    /// Stopped for three seconds (SIGSTOP), then let go.
    Frozen,
}

pub fn all() -> Vec<(String, Disturbance)> {
    use Disturbance::{Calls, Clock, Frozen, Killed, Panic, Truncated};
    let calls = [
        ("msync", "EIO", "3"),
        ("msync", "EIO", "3+"),
        ("fallocate", "ENOSPC", "5"),
        ("fallocate", "ENOSPC", "5+"),
        ("mmap", "ENOMEM", "120+"),
        ("openat", "EMFILE", "90+"),
        ("pwrite64", "EIO", "8+"),
        ("fsync,fdatasync", "EIO", "6"),
        ("fsync,fdatasync", "EIO", "6+"),
        ("rename,renameat,renameat2", "EIO", "1+"),
        ("unlink,unlinkat", "EACCES", "1+"),
    ];
    let mut list: Vec<(String, Disturbance)> = calls
        .into_iter()
        .map(|(call, error, when)| {
            let lasting = if when.ends_with('+') { "lasting" } else { "one" };
            let name = format!("collector: {lasting} {error} of {}", call.split(',').next().unwrap_or(call));
            (name, Calls(call, error, when))
        })
        .collect();
    list.push(("collector: the clock is two days ahead for a second".into(), Clock(172_800)));
    list.push(("collector: the clock is an hour back for a second".into(), Clock(-3_600)));
    list.push(("collector: its live segment is truncated".into(), Truncated));
    list.push(("collector: killed".into(), Killed));
    list.push(("collector: frozen for three seconds".into(), Frozen));
    if cfg!(debug_assertions) {
        for task in ops::supervise::Task::ALL.iter().map(|t| t.name()) {
            list.push((format!("collector: a panic of {task}"), Panic(task.to_owned())));
        }
    }
    list
}

/// A data directory, its exchange and its configuration.
struct Bed {
    root: tempfile::TempDir,
    exchange: Exchange,
    config: PathBuf,
    health: String,
}

impl Bed {
    fn new(seed: u64) -> Bed {
        let root = tempfile::tempdir().unwrap();
        let exchange = Exchange::start(market(VENUE, 1_500, Some(FRAMES), seed));
        let health = format!("127.0.0.1:{}", free_port());
        let config = root.path().join("tape.toml");
        let text = format!(
            "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\nready_segments = 1\n[lake]\nack_interval_s = 1\n[klines]\nsource = {{ binance-spot = \"trades\" }}\nseed = false\n[collector]\nlisten = \"{health}\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.{VENUE}]\nsymbols = [\"BTCUSDT\", \"ETHUSDT\", \"币安*\"]\nchannels = [\"trades\", \"agg_trades\", \"book_ticker\", \"depth\"]\nconnect_stagger_ms = 0\nrepair = false\nrest_url = {:?}\nws_url = {:?}\n",
            root.path().join("data").display().to_string(),
            free_port(),
            exchange.sim.rest_url(VENUE),
            exchange.sim.ws_url(VENUE),
        );
        std::fs::write(&config, text).unwrap();
        Bed { root, exchange, config, health }
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("data/wal").join(VENUE)
    }

    fn committed(&self) -> u64 {
        wal_format::control::read(&self.log()).map_or(0, |c| c.committed.seq.get())
    }
}

/// Shifts CLOCK_REALTIME of the process by the seconds that a file names.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, ts);
    if (id == CLOCK_REALTIME && rc == 0) {
        static long shift; static time_t looked; struct timespec mono; real(CLOCK_MONOTONIC, &mono);
        if (mono.tv_sec * 10 + mono.tv_nsec / 100000000 != looked) {
            looked = mono.tv_sec * 10 + mono.tv_nsec / 100000000;
            FILE *f = fopen(getenv("SHIFT_FILE"), "r"); if (f) { if (fscanf(f, "%ld", &shift) != 1) shift = 0; fclose(f); }
        }
        ts->tv_sec += shift;
    }
    return rc;
}
"#;

fn shim(dir: &Path) -> Option<PathBuf> {
    let (source, object) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(&source).arg("-ldl").status();
    made.is_ok_and(|s| s.success()).then_some(object)
}

/// Disturbs a recording and says what is wrong afterwards; `None` when this machine cannot.
pub fn run_one(disturbance: &Disturbance, seed: u64, loud: bool) -> Option<Vec<String>> {
    let mut wrong = Vec::new();
    let bed = Bed::new(seed);
    let shift_file = bed.root.path().join("shift");
    std::fs::write(&shift_file, "0").unwrap();
    let mut command = match disturbance {
        Disturbance::Calls(call, error, when) => {
            if !super::calls::has_strace() {
                return None;
            }
            let mut c = Command::new("strace");
            // -D: the collector is our child, not strace's.
            c.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"])
                .arg(format!("trace={call}"))
                .arg("-e")
                .arg(format!("inject={call}:error={error}:when={when}"))
                .arg(env!("CARGO_BIN_EXE_tapedeck"));
            c
        }
        Disturbance::Panic(task) => {
            let mut c = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
            c.env("TAPEDECK_PANIC", task);
            c
        }
        Disturbance::Clock(_) => {
            let mut c = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
            c.env("LD_PRELOAD", shim(bed.root.path())?).env("SHIFT_FILE", &shift_file);
            c
        }
        _ => Command::new(env!("CARGO_BIN_EXE_tapedeck")),
    };
    let said = bed.root.path().join("collector.log");
    let log = std::fs::File::create(&said).unwrap();
    command.args(["collector", "--config"]).arg(&bed.config).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    let mut service = Service { child: command.spawn().unwrap(), log: said.clone() };
    let mut done = false;
    let (mut red, mut ended) = (false, None);
    let began = Instant::now();
    let mut last = (0, Instant::now());
    // Until everything was sent and the log is quiet, or the collector has ended.
    while began.elapsed() < Duration::from_secs(60) {
        if let Some(status) = service.child.try_wait().unwrap() {
            ended = Some(status);
            break;
        }
        red |= http::get(&bed.health, "/health").is_some_and(|(code, _)| code == 503);
        let now = bed.committed();
        if now != last.0 {
            last = (now, Instant::now());
        }
        if !done && now & 0xFF_FFFF_FFFF > 1_500 {
            done = true;
            match disturbance {
                Disturbance::Clock(by) => {
                    std::fs::write(&shift_file, by.to_string()).unwrap();
                    std::thread::sleep(Duration::from_secs(1));
                    std::fs::write(&shift_file, "0").unwrap();
                }
                Disturbance::Truncated => truncate_live(&bed.log()),
                Disturbance::Killed => kill(&service.child, rustix::process::Signal::KILL),
                Disturbance::Frozen => {
                    kill(&service.child, rustix::process::Signal::STOP);
                    std::thread::sleep(Duration::from_secs(3));
                    kill(&service.child, rustix::process::Signal::CONT);
                }
                _ => {}
            }
        }
        let quiet = last.1.elapsed() > Duration::from_secs(if red { 4 } else { 2 });
        if bed.exchange.sim.finished() && quiet {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if ended.is_none() {
        kill(&service.child, rustix::process::Signal::TERM);
        let asked = Instant::now();
        loop {
            if let Some(status) = service.child.try_wait().unwrap() {
                ended = Some(status);
                break;
            }
            if asked.elapsed() > Duration::from_secs(30) {
                wrong.push("does not end when asked to".to_owned());
                kill(&service.child, rustix::process::Signal::KILL);
                service.child.wait().unwrap();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let text = std::fs::read_to_string(&said).unwrap_or_default();
    if loud {
        println!("ended {ended:?}, red {red}, committed {}\n{text}", bed.committed());
    }
    let well = ended.is_some_and(|s| s.success());
    if !well && text.trim().is_empty() && !matches!(disturbance, Disturbance::Killed) {
        wrong.push(format!("ended with {ended:?} and does not say why"));
    }
    if bed.committed() == 0 && well && !red {
        wrong.push("nothing was recorded, and it was green".to_owned());
    }
    // It records again without the disturbance: a new run of the writer, and frames of the exchange or its listing.
    let before = bed.committed() >> 40;
    let again = Service::start("collector", &bed.config, &[]);
    wait_until("the collector records again", || {
        bed.committed() >> 40 > before && bed.committed() & 0xFF_FFFF_FFFF > 2
    });
    again.stop();
    let sent = bed.exchange.stop();
    let out = run(&["compactor", "--drain", "--config", bed.config.to_str().unwrap()]);
    if !out.status.success() {
        wrong.push(format!("the drain does not end well: {}", both(&out).trim()));
        return Some(wrong);
    }
    let lake = Lake::open(&bed.root.path().join("data/lake"), VENUE);
    for (table, channel, column) in [(Table::Trades, "trades", "id"), (Table::AggTrades, "agg_trades", "agg_id")] {
        let ids = lake.ids(table, column, None);
        for (symbol, ids) in &ids {
            let twice = ids.values().filter(|n| **n != 1).count();
            if twice > 0 {
                wrong.push(format!("{twice} {channel} of {symbol} stand twice"));
            }
            let (Some(first), Some(last)) = (ids.keys().next(), ids.keys().last()) else { continue };
            let told: std::collections::BTreeSet<i64> =
                lake.gaps(channel).iter().filter(|g| g.symbol == *symbol).flat_map(|g| g.from_id..=g.to_id).collect();
            let untold = (*first..=*last).filter(|id| !ids.contains_key(id) && !told.contains(id)).count();
            let falsely = told.iter().filter(|id| ids.contains_key(id)).count();
            if untold > 0 || falsely > 0 {
                wrong.push(format!("{channel} of {symbol}: {untold} missing untold, {falsely} told and there"));
            }
        }
    }
    let rows: u64 = lake.manifests.iter().map(|m| m.frames).sum();
    if loud {
        println!("sent {} frames, in the lake {rows}", sent.totals.frames_sent);
    }
    // Frames that never reached the log are a loss that somebody must have been able to see.
    let decoded: u64 = lake.manifests.iter().flat_map(|m| m.channels.values()).map(|c| c.decoded).sum();
    if decoded + 50 < sent.totals.frames_sent && well && !red && lake.gaps("trades").is_empty() {
        wrong.push(format!("{decoded} of {} frames, and it was green all the time", sent.totals.frames_sent));
    }
    let verified = run(&["verify", "--config", bed.config.to_str().unwrap()]);
    if !verified.status.success() {
        wrong.push(format!("verify: {}", both(&verified).trim()));
    }
    Some(wrong)
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    // It may have ended by itself a moment ago.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
}

fn truncate_live(log: &Path) {
    let Some(control) = wal_format::control::read(log) else { return };
    let path = log.join(format!("{:020}.wal", control.committed.segment.0));
    if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
        file.set_len(4096).unwrap();
    }
}
