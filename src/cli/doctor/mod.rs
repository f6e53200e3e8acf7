//! `tapedeck doctor`: whether this machine is fit to record: limits, clock, disk, memory, kernel, ports. Changes
//! nothing but one file of its own below the data directory, which it removes.

mod checks;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use self::checks::{Finding, Verdict};
use super::config_arg::{ConfigArg, load};
use super::output::print_out;
use super::runtime::runtime;
use config::{Config, Problem, check, places, room};
use ops::clock;
use ops::memory::sample::Places;

/// Arguments of `tapedeck doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    fit: bool,
    findings: &'a [Finding],
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    let findings = examine(&cfg);
    let bad = findings.iter().filter(|f| f.verdict == Verdict::Bad).count();
    if args.json {
        print_out(&format!("{}\n", serde_json::to_string(&Answer { fit: bad == 0, findings: &findings })?))?;
    } else {
        print_out(&findings.iter().map(Finding::text).collect::<String>())?;
    }
    anyhow::ensure!(bad == 0, "{bad} of {} checks say that recording here would fail or lose data", findings.len());
    Ok(())
}

/// Everything, in the order of what matters.
fn examine(cfg: &Config) -> Vec<Finding> {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str, field: usize| text(path)?.split_whitespace().nth(field)?.parse::<u64>().ok();
    let mut all = disk_room(cfg);
    all.extend(found("directories", places::check(cfg), "on one file system where files are moved, and writable"));
    all.extend(found("largest frame", places::largest_frame(cfg), "a segment takes every frame that may come"));
    if cfg.lake.is_remote() {
        let well = "it answers, our keys may write, conditions on writes hold, its clock and ours agree";
        all.extend(found("object store", super::config::store_problems(cfg), well));
    }
    all.push(checks::file_system(nearest_type(&cfg.capture.data_dir)));
    all.push(match sync_times(&cfg.capture.data_dir) {
        Ok(times) => checks::sync(&times),
        Err(err) => Finding::bad(
            "disk writes",
            format!("cannot write and sync a file below {}: {err}", cfg.capture.data_dir.display()),
            "name a data.dir that this user may write to".into(),
        ),
    });
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    all.push(checks::open_files(files, cfg.capture.connections_estimate(), cfg.capture.venues.len()));
    all.push(checks::clock_source(text("/sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref()));
    all.push(checks::time_service(&processes()));
    let limit = Places::find().limit_bytes().map(|b| b >> 20);
    all.push(checks::memory(
        limit,
        cfg.memory.limit_mib,
        check::compactor_estimate_mib(cfg.capture.venues.len() as u64, cfg.lake.row_group_rows as u64),
    ));
    all.push(checks::pressure_information(Path::new("/proc/pressure/memory").exists()));
    all.push(checks::receive_buffer(
        number("/proc/sys/net/core/rmem_max", 0),
        number("/proc/sys/net/ipv4/tcp_rmem", 2),
        net::dial::RECV_BUFFER_BYTES as u64,
    ));
    for (what, listen) in [("[collector] listen", cfg.collector.listen), ("[api] listen", cfg.api.listen)] {
        // Bound and let go at once: nothing is served.
        let taken = std::net::TcpListener::bind(listen).err().map(|err| err.to_string());
        let ours = taken.is_some() && runtime().is_ok_and(|rt| rt.block_on(api::outside::is_ours(&cfg.api, listen)));
        all.push(checks::port(what, listen, taken, ours));
    }
    all.extend(
        cfg.capture
            .warnings()
            .into_iter()
            .map(|w| Finding::unwise("settings", format!("{}: {}", w.key, w.what), w.fix)),
    );
    all
}

/// One finding for each problem, or that all is well.
fn found(what: &'static str, problems: impl IntoIterator<Item = Problem>, well: &str) -> Vec<Finding> {
    let bad: Vec<Finding> = problems.into_iter().map(|p| Finding::bad(what, p.what, p.fix)).collect();
    if bad.is_empty() { vec![Finding::ok(what, well)] } else { bad }
}

/// Room for the first segments, and for the log until the part made from it is published.
fn disk_room(cfg: &Config) -> Vec<Finding> {
    const WHAT: &str = "disk room";
    let (short, unwise) = room::of_a_part(cfg);
    if let Some(warning) = unwise {
        return vec![Finding::unwise(WHAT, warning.what, warning.fix)];
    }
    let well = room::LogRoom::of(cfg).map_or_else(|| "no venue is recorded".to_owned(), |room| room.text());
    found(WHAT, room::first(cfg).into_iter().chain(short), &well)
}

/// The type of the file system that holds `dir` or its nearest parent, as statfs numbers it.
fn nearest_type(dir: &Path) -> Option<u64> {
    let existing = dir.ancestors().find(|p| p.exists()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statfs(existing).ok().map(|s| s.f_type as u64)
}

/// How long it takes to write and sync 4 KiB, a few times.
fn sync_times(data_dir: &Path) -> std::io::Result<Vec<Duration>> {
    let dir = data_dir.ancestors().find(|p| p.is_dir()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let mut file = std::fs::File::options().create_new(true).write(true).open(&path)?;
    let mut measure = || -> std::io::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..16 {
            let before = clock::now().mono_ns;
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
            times.push(Duration::from_nanos(clock::now().mono_ns.saturating_sub(before)));
        }
        Ok(times)
    };
    let times = measure();
    std::fs::remove_file(&path)?;
    times
}

/// Names of the running processes.
fn processes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| std::fs::read_to_string(e.path().join("comm")).ok());
    names.map(|n| n.trim().to_owned()).collect()
}
