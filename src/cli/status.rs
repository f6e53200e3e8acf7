//! `tapedeck status`: what runs, how far behind, how much disk; every stream with its age, and why one does not
//! flow. Takes no lock and slows no process.

use std::fmt::Write;

use serde::Deserialize;
use wal_format::plain::line;

use super::config_arg::{ConfigArg, load, need_venues};
use super::output::print_out;
use super::runtime::runtime;
use api::outside::{self, LogStatus, StatusError};
use config::Config;
use config::room::LogRoom;
use ops::compactor::Snapshot;
use ops::health::Condition;
use ops::host;
use ops::memory::MemoryReport;
use ops::status::VenueStatus;

/// Arguments of `tapedeck status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Leave out the streams that flow.
    #[arg(long)]
    brief: bool,
    /// Only the memory of both services: limits, levels, and what each part holds.
    #[arg(long)]
    memory: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    need_venues(&cfg, &args.config.config)?;
    if args.memory {
        return memory(&cfg, args.json);
    }
    let logs: Vec<LogStatus> = cfg.capture.venues.keys().map(|v| outside::log_status(&cfg.capture, *v)).collect();
    let free = host::disk(&cfg.capture.data_dir).map(|d| d.free_bytes);
    let room = LogRoom::of(&cfg);
    let (compactor, collectors, wrong, breaks) = runtime()?.block_on(async {
        (
            outside::compactor(&cfg.api).await,
            outside::by_venue(outside::collectors(&cfg.capture).await),
            outside::problems(&cfg.capture, &cfg.api).await,
            outside::candle_breaks(&cfg.api).await,
        )
    });
    if args.json {
        let collectors: Vec<&VenueStatus> = collectors.values().collect();
        let all = serde_json::json!({
            "logs": logs, "disk_free_bytes": free, "log_room": room, "wrong": wrong, "candle_breaks": breaks,
            "compactor": compactor.as_ref().ok(), "compactor_unknown": compactor.as_ref().err().map(ToString::to_string),
            "collector": collectors,
        });
        return print_out(&format!("{all}\n"));
    }
    let mut text = String::new();
    for (l, venue) in logs.iter().zip(cfg.capture.venues.keys()) {
        let unacked = l.unacked_bytes.map_or_else(|| "unknown".to_owned(), |b| format!("{:.1} MiB", mib(b)));
        writeln!(
            text,
            "{:<18} collector {:<8} {} segments, {:.0} MiB{}, not yet acked {unacked}{}",
            l.venue,
            if l.collector_running { "running" } else { "stopped" },
            l.segments,
            mib(l.segment_bytes),
            match l.spilled_segments {
                0 => String::new(),
                n => format!(" ({n} of them in wal.spill_dirs)"),
            },
            l.problem.as_ref().map_or_else(String::new, |p| format!("  [{}]", line(p))),
        )?;
        match collectors.get(venue) {
            Some(status) => streams(&mut text, status, args.brief)?,
            None if l.collector_running => {
                writeln!(text, "  the collector does not say how its streams are (no answer to /v1/status)")?;
            }
            None => {}
        }
    }
    match &compactor {
        Ok(status) => {
            let at = http_doors::reachable(cfg.api.listen);
            writeln!(text, "compactor          running at http://{at}  {}", summary(status))?;
            lasting(&mut text, status)?;
        }
        Err(unknown) => writeln!(text, "compactor          {}", line(&unknown.to_string()))?,
    }
    if let Some(free) = free {
        writeln!(
            text,
            "disk               {:.1} GiB free at {}",
            free as f64 / f64::from(1 << 30),
            cfg.capture.data_dir.display()
        )?;
    }
    if let Some(room) = &room {
        let hours = room.hours().map_or_else(|| "?".into(), |hours| hours.to_string());
        writeln!(text, "log                room for {hours} hours: {}", room.text())?;
    }
    for (venue, why) in &breaks {
        writeln!(text, "candles            {}: {}", line(venue), line(why))?;
    }
    for (service, problems) in &wrong {
        for problem in problems {
            writeln!(text, "{service:<18} WRONG: {}", line(problem))?;
        }
    }
    print_out(&text)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn summary(status: &serde_json::Value) -> String {
    let venues = status.get("venues").and_then(|v| v.as_object());
    venues.map_or_else(String::new, |v| {
        v.iter()
            .map(|(name, s)| {
                let lag = s.get("lag_ms").and_then(serde_json::Value::as_u64);
                format!("{}: lag {} ms", line(name), lag.map_or_else(|| "?".into(), |ms| ms.to_string()))
            })
            .collect::<Vec<_>>()
            .join(", ")
    })
}

/// What lasts and is no fault: a fault has a line of its own.
fn lasting(text: &mut String, status: &serde_json::Value) -> std::fmt::Result {
    let conditions = status.get("conditions").and_then(|c| Vec::<Condition>::deserialize(c).ok()).unwrap_or_default();
    conditions.iter().filter(|c| !c.red).try_for_each(|c| {
        writeln!(text, "  {} {}: {}", line(&c.of), c.reason.as_str().replace('_', " "), line(&c.text))
    })
}

/// Every connection and every stream with its age, and why something does not flow.
fn streams(text: &mut String, status: &VenueStatus, brief: bool) -> std::fmt::Result {
    if let Some(failed) = &status.failed {
        writeln!(text, "  records nothing: {}", line(failed))?;
    }
    if let Some(banned) = &status.banned {
        writeln!(text, "  banned: {}", line(banned))?;
    }
    if status.connections.is_empty() {
        let why = status.no_listing.as_deref().unwrap_or("it has not come yet");
        writeln!(text, "  no connection yet; the listing of symbols: {}", line(why))?;
    }
    for c in &status.connections {
        let flowing = c.streams.iter().filter(|s| s.why.is_none()).count();
        writeln!(
            text,
            "  connection {}.{}: {flowing} of {} streams flow{}",
            c.slot,
            c.line,
            c.streams.len(),
            c.why.as_ref().map_or_else(String::new, |why| format!("  [{}]", line(why))),
        )?;
        // What is wrong stands first.
        let (wrong, well): (Vec<_>, Vec<_>) = c.streams.iter().partition(|s| s.why.is_some());
        for s in wrong.into_iter().chain(well.into_iter().filter(|_| !brief)) {
            let why = s.why.as_ref().filter(|_| c.why.is_none() || s.why != c.why);
            let why = why.map_or_else(String::new, |why| format!("  [{}]", line(why)));
            writeln!(text, "    {:<32} {:>9}{why}", line(&s.stream), age(s.age_ms))?;
        }
    }
    Ok(())
}

/// How long ago, for people.
fn age(ms: Option<u64>) -> String {
    match ms {
        None => "never".to_owned(),
        Some(ms) if ms < 60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        Some(ms) if ms < 3_600_000 => format!("{}.{} min", ms / 60_000, ms % 60_000 / 6_000),
        Some(ms) => format!("{}.{} h", ms / 3_600_000, ms % 3_600_000 / 360_000),
    }
}

/// What the running services say about their memory. Each venue may have a collector of its own.
fn memory(cfg: &Config, json: bool) -> anyhow::Result<()> {
    let (collectors, asked) =
        runtime()?.block_on(async { (outside::collectors(&cfg.capture).await, outside::compactor(&cfg.api).await) });
    let collectors: Vec<MemoryReport> = collectors.into_iter().filter_map(|c| c.memory).collect();
    let compactor = asked.clone().ok().and_then(|all| serde_json::from_value::<Snapshot>(all).ok()?.memory);
    let silent = [
        ("collector", collectors.is_empty().then_some(StatusError::Unreachable(cfg.collector.listen))),
        ("compactor", asked.err()),
    ];
    let reports: Vec<MemoryReport> = collectors.into_iter().chain(compactor).collect();
    if json {
        return print_out(&format!("{}\n", serde_json::json!({ "memory": reports })));
    }
    anyhow::ensure!(
        !reports.is_empty(),
        "no service says how its memory is\n  where: /v1/status of collector and compactor\n  fix:   start them, or check [collector] listen and [api] listen"
    );
    let mut text: String = reports.iter().map(MemoryReport::text).collect();
    for (service, unknown) in silent.iter().filter_map(|(service, unknown)| Some((service, unknown.as_ref()?))) {
        writeln!(text, "{service:<10} {}", line(&unknown.to_string()))?;
    }
    print_out(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_in_the_unit_that_fits() {
        let ages = [None, Some(0), Some(59_940), Some(60_000), Some(3_599_999), Some(5_400_000)].map(age);
        assert_eq!(ages, ["never", "0.0 s", "59.9 s", "1.0 min", "59.9 min", "1.5 h"]);
    }

    #[test]
    fn nothing_that_a_venue_or_a_service_says_leaves_its_line_or_acts_upon_the_terminal() {
        let evil = "NEW\nbinance-usdm       collector running  all fine\u{1b}[2J\u{9b}H\r";
        let json = serde_json::json!({
            "venue": "binance-spot", "failed": evil, "no_listing": evil, "counts": collect::metrics::Counts::default(),
            "connections": [{"slot": 0, "line": 1, "conn": 3, "state": "live", "why": evil, "streams": [
                {"stream": evil, "frames": 0, "last_ns": 0, "age_ms": null, "why": format!("{evil}!")},
            ]}],
        });
        let mut status: VenueStatus = serde_json::from_value(json).expect("the test's own JSON fits");
        let mut text = String::new();
        streams(&mut text, &status, false).expect("writing to a String");
        status.connections.clear();
        streams(&mut text, &status, false).expect("writing to a String");
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
        assert!(text.lines().all(|l| l.starts_with("  ")), "{text}");
    }

    #[test]
    fn a_ban_of_the_compactor_is_reported_and_what_is_red_has_a_line_of_its_own() {
        let of = |reason: &str, red: bool| serde_json::json!({"reason": reason, "of": "gate-spot", "red": red, "since_ns": 1, "text": "until\n9"});
        let status = serde_json::json!({ "conditions": [of("banned", false), of("repair_failing", true)] });
        let mut text = String::new();
        lasting(&mut text, &status).expect("writing to a String");
        assert!(text.starts_with("  gate-spot banned: until") && text.lines().count() == 1, "{text}");
        lasting(&mut text, &serde_json::json!({"conditions": 7})).expect("writing to a String");
    }

    #[test]
    fn a_stream_that_does_not_flow_stands_first_and_says_why() {
        let json = serde_json::json!({
            "venue": "binance-spot", "failed": null, "no_listing": null, "counts": collect::metrics::Counts::default(),
            "connections": [{"slot": 0, "line": 1, "conn": 3, "state": "live", "why": null, "streams": [
                {"stream": "a@trade", "frames": 7, "last_ns": 5, "age_ms": 200, "why": null},
                {"stream": "b@trade", "frames": 0, "last_ns": 0, "age_ms": null, "why": "acknowledged, but nothing came"},
            ]}],
        });
        let status: VenueStatus = serde_json::from_value(json).expect("the test's own JSON fits");
        let mut text = String::new();
        streams(&mut text, &status, false).expect("writing to a String");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  connection 0.1: 1 of 2 streams flow");
        assert!(lines[1].contains("b@trade") && lines[1].contains("never") && lines[1].contains("[acknowledged"));
        assert!(lines[2].contains("a@trade") && lines[2].contains("0.2 s") && !lines[2].contains('['));
        let mut brief = String::new();
        streams(&mut brief, &status, true).expect("writing to a String");
        assert!(!brief.contains("a@trade"));
    }
}
