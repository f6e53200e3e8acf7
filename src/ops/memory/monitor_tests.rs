//! What changes and what stays, with samples that are made up.

#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use super::super::cgroup::Usage;
use super::*;
use crate::host::{Machine, Process};

const S: u64 = 1_000_000_000;

fn settings(own_limit: bool) -> Settings {
    Settings { limit_mib: 100, own_limit, elevated_percent: 75, critical_percent: 85 }
}

fn own(mib: u64) -> Sample {
    let process = Process { anonymous: mib << 20, file: 4 << 30, ..Process::default() };
    let machine = Some(Machine { total_bytes: 200 << 20, available_bytes: 100 << 20 });
    Sample { process, machine, ..Sample::default() }
}

#[test]
fn a_change_is_counted_sent_to_listeners_and_dated_and_a_level_that_stays_is_not() {
    let pressure = Pressure::watched(&settings(true), "compactor");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    pressure.on_change(move |c| lock(&sink).push(c.clone()));
    for (s, mib) in [(1, 10), (2, 80), (3, 82), (4, 90)] {
        pressure.observe(&own(mib), s * 1_000, s * S);
    }
    let heard = lock(&heard);
    let steps: Vec<(Level, Level, u64)> = heard.iter().map(|c| (c.from, c.to, c.at_ns)).collect();
    assert_eq!(
        steps,
        [(Level::Normal, Level::Elevated, 2_000), (Level::Elevated, Level::Critical, 4_000)],
        "4 GiB of mapped log are page cache and no pressure"
    );
    assert_eq!(pressure.level(), Level::Critical);
    let detail = heard[1].detail();
    assert_eq!((detail["to"].as_str(), detail["used_percent"].as_f64()), (Some("critical"), Some(90.0)));
    assert_eq!(detail["limit"], "memory.limit_mib");
    let report = pressure.report();
    assert_eq!(report.since_ns, 4_000);
    assert_eq!(report.changes, BTreeMap::from([(Level::Elevated, 1), (Level::Critical, 1)]));
}

#[test]
fn a_configured_limit_stands_for_the_machine_and_a_cgroup_always_counts() {
    let configured = Pressure::watched(&settings(true), "");
    configured.observe(&own(10), 0, 0);
    let names = |p: &Pressure| p.report().limits.into_iter().map(|l| (l.name, l.used_percent)).collect::<Vec<_>>();
    assert_eq!(names(&configured), [("memory.limit_mib".to_owned(), 10.0)]);
    let found = Pressure::watched(&settings(false), "");
    let mut sample = own(10);
    sample.cgroups.push(Usage {
        dir: PathBuf::from("/cg/a"),
        limit_bytes: 1_000,
        current_bytes: 990,
        held_bytes: 800,
        cache_bytes: 190,
    });
    found.observe(&sample, 0, 0);
    assert_eq!(names(&found), [("/cg/a".to_owned(), 80.0), ("machine".to_owned(), 50.0)]);
    assert_eq!(found.level(), Level::Elevated);
}

#[test]
fn critical_for_a_minute_is_an_alarm_and_ends_with_it() {
    let pressure = Pressure::watched(&settings(true), "");
    pressure.observe(&own(90), 0, 0);
    pressure.observe(&own(90), 0, 59 * S);
    assert!(pressure.problems().is_empty());
    pressure.observe(&own(90), 0, 60 * S);
    assert!(pressure.problems()[0].contains("90 MiB of 100 MiB"), "{:?}", pressure.problems());
    pressure.observe(&own(10), 0, 61 * S);
    pressure.observe(&own(10), 0, 91 * S);
    assert!(pressure.problems().is_empty());
}

#[test]
fn what_no_part_accounts_for_is_shown_and_mapped_parts_do_not_count_as_own() {
    let pressure = Pressure::watched(&settings(true), "collector");
    pressure.observe(&own(50), 0, 0);
    let rows = pressure.part("row_buffers");
    rows.set(20 << 20);
    pressure.probe("log", Held::Mapped, || 4 << 30);
    pressure.shed("batch");
    pressure.shed("batch");
    let report = pressure.report();
    assert_eq!(report.unaccounted_bytes, 30 << 20);
    let text = crate::exposition::text(|out| report.expose(out));
    for line in [
        "tapedeck_memory_level 0",
        "tapedeck_memory_part_bytes{part=\"row_buffers\",held=\"own\"} 20971520",
        "tapedeck_memory_part_bytes{part=\"log\",held=\"mapped\"} 4294967296",
        "tapedeck_memory_sheds_total{what=\"batch\"} 2",
        "tapedeck_memory_unaccounted_bytes 31457280",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    for words in ["collector  normal", "row_buffers", "unaccounted", "batch 2"] {
        assert!(report.text().contains(words), "{words}: {}", report.text());
    }
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<MemoryReport>(&json).unwrap(), report);
}

#[test]
fn a_started_monitor_knows_this_process_and_ends_when_dropped() {
    let (monitor, pressure) =
        MemoryMonitor::start(&settings(false), "test", &crate::supervise::Supervisor::default()).unwrap();
    assert!(pressure.report().process.anonymous > 0);
    assert!(!pressure.report().limits.is_empty());
    drop(monitor);
    assert_eq!(Arc::strong_count(&pressure.0), 1);
}
