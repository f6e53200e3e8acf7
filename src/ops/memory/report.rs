//! What is said about memory: one [`Report`], as JSON in `/v1/status`, as text for people, as Prometheus metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::parts::{Held, Holding};
use super::sample::Stall;
use crate::host::Process;

/// One limit and how much of it is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// `memory.limit_mib`, `machine`, or the cgroup's directory.
    pub name: String,
    /// Bytes.
    pub limit_bytes: u64,
    /// What cannot be given back, bytes.
    pub used_bytes: u64,
    /// Clean page cache that counts in it and is given back when needed, bytes.
    pub cache_bytes: u64,
    /// `used_bytes` of `limit_bytes`, percent.
    pub used_percent: f64,
}

/// Memory of one process at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `collector`, `compactor`.
    pub service: String,
    /// How tight it is.
    pub level: Level,
    /// Since when, ns since 1970-01-01 UTC.
    pub since_ns: u64,
    /// Where the levels begin, percent.
    pub elevated_percent: u64,
    /// See `elevated_percent`.
    pub critical_percent: u64,
    /// Every limit over this process, the nearest to being reached first.
    pub limits: Vec<Limit>,
    /// This process.
    pub process: Process,
    /// Who waits for memory; `None` where the kernel does not say.
    pub stall: Option<Stall>,
    /// Estimates of what each part holds.
    pub parts: BTreeMap<String, Holding>,
    /// Own memory that no part accounts for: code's data, fragments, stacks; bytes.
    pub unaccounted_bytes: u64,
    /// Changes to each level since the start.
    pub changes: BTreeMap<Level, u64>,
    /// What was given up how many times since the start.
    pub sheds: BTreeMap<String, u64>,
    /// Sentences for people who should do something.
    pub alarms: Vec<String>,
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!(
            "{:<10} {}, own {:.1} MiB, resident {:.1} MiB of which {:.1} MiB are mapped files (page cache), {} threads",
            self.service,
            self.level,
            mib(self.process.own()),
            mib(self.process.resident()),
            mib(self.process.file),
            self.process.threads,
        ));
        for l in &self.limits {
            line(format!(
                "  limit {:<40} {:>8.1} of {:>8.1} MiB  {:>5.1} %  (and {:.1} MiB of page cache)",
                l.name,
                mib(l.used_bytes),
                mib(l.limit_bytes),
                l.used_percent,
                mib(l.cache_bytes),
            ));
        }
        line(format!("  levels: elevated from {} %, critical from {} %", self.elevated_percent, self.critical_percent));
        match self.stall {
            Some(s) => line(format!("  waited for memory, last 10 s: some {:.2} %, all {:.2} %", s.some, s.full)),
            None => line("  this kernel does not say who waits for memory".to_owned()),
        }
        for (name, part) in &self.parts {
            let where_ = if part.held == Held::Mapped { "  (mapped)" } else { "" };
            line(format!("  part  {name:<40} {:>8.1} MiB{where_}", mib(part.bytes)));
        }
        line(format!("  part  {:<40} {:>8.1} MiB", "unaccounted", mib(self.unaccounted_bytes)));
        let changes: Vec<String> = self.changes.iter().map(|(l, n)| format!("{l} {n}")).collect();
        if !changes.is_empty() {
            line(format!("  changes since the start: {}", changes.join(", ")));
        }
        let sheds: Vec<String> = self.sheds.iter().map(|(what, n)| format!("{what} {n}")).collect();
        if !sheds.is_empty() {
            line(format!("  given up since the start: {}", sheds.join(", ")));
        }
        for alarm in &self.alarms {
            line(format!("  ALARM {alarm}"));
        }
        out
    }

    /// Prometheus text.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP tapedeck_memory_{name} {help}\n# TYPE tapedeck_memory_{name} {kind}");
        };
        let label = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        head(
            &mut out,
            "level",
            "gauge",
            "0 normal, 1 elevated, 2 critical: work is given up from 1 on, never capture.",
        );
        let _ = writeln!(out, "tapedeck_memory_level {}", self.level as u8);
        head(&mut out, "resident_bytes", "gauge", "Resident memory by kind; file is page cache of the mapped log.");
        let p = &self.process;
        for (kind, bytes) in [("anonymous", p.anonymous), ("file", p.file), ("shared", p.shared)] {
            let _ = writeln!(out, "tapedeck_memory_resident_bytes{{kind=\"{kind}\"}} {bytes}");
        }
        head(&mut out, "own_bytes", "gauge", "Memory that nobody but this process can free: what limits kill for.");
        let _ = writeln!(out, "tapedeck_memory_own_bytes {}", p.own());
        head(&mut out, "threads", "gauge", "Threads of the process; a steady rise is a leak.");
        let _ = writeln!(out, "tapedeck_memory_threads {}", p.threads);
        for (name, help, get) in [
            ("limit_bytes", "Each limit over this process.", (|l| l.limit_bytes) as fn(&Limit) -> u64),
            ("limit_used_bytes", "What is used of each limit and cannot be given back.", |l| l.used_bytes),
            ("limit_cache_bytes", "Clean page cache inside each limit, given back when needed.", |l| l.cache_bytes),
        ] {
            head(&mut out, name, "gauge", help);
            for l in &self.limits {
                let _ = writeln!(out, "tapedeck_memory_{name}{{limit=\"{}\"}} {}", label(&l.name), get(l));
            }
        }
        if let Some(s) = self.stall {
            head(
                &mut out,
                "stall_ratio",
                "gauge",
                "Share of the last 10 s in which some or all tasks waited for memory.",
            );
            let _ = writeln!(out, "tapedeck_memory_stall_ratio{{tasks=\"some\"}} {:.4}", s.some / 100.0);
            let _ = writeln!(out, "tapedeck_memory_stall_ratio{{tasks=\"all\"}} {:.4}", s.full / 100.0);
        }
        head(&mut out, "part_bytes", "gauge", "Estimate of what each part holds.");
        for (name, part) in &self.parts {
            let held = part.held.as_str();
            let _ = writeln!(out, "tapedeck_memory_part_bytes{{part=\"{name}\",held=\"{held}\"}} {}", part.bytes);
        }
        head(&mut out, "unaccounted_bytes", "gauge", "Own memory that no part accounts for; a steady rise is a leak.");
        let _ = writeln!(out, "tapedeck_memory_unaccounted_bytes {}", self.unaccounted_bytes);
        head(&mut out, "level_changes_total", "counter", "Changes to each level.");
        for level in Level::ALL {
            let n = self.changes.get(&level).copied().unwrap_or(0);
            let _ = writeln!(out, "tapedeck_memory_level_changes_total{{level=\"{level}\"}} {n}");
        }
        head(&mut out, "sheds_total", "counter", "Times work was given up for memory, by what.");
        for (what, n) in &self.sheds {
            let _ = writeln!(out, "tapedeck_memory_sheds_total{{what=\"{what}\"}} {n}");
        }
        out
    }
}
