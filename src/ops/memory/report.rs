//! What is said about memory: one [`MemoryReport`], as JSON in `/v1/status`, as text for people, as Prometheus metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::parts::{Held, Holding};
use super::sample::Stall;
use crate::exposition::Exposition;
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
pub struct MemoryReport {
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

impl MemoryReport {
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

    /// For Prometheus.
    pub fn expose(&self, out: &mut Exposition) {
        out.one(
            "tapedeck_memory_level",
            "0 normal, 1 elevated, 2 critical: work is given up from 1 on, never capture.",
            self.level as usize,
        );
        let p = &self.process;
        out.series(
            "tapedeck_memory_resident_bytes",
            "Resident memory by kind; file is page cache of the mapped log.",
            [("anonymous", p.anonymous), ("file", p.file), ("shared", p.shared)].map(|(kind, n)| ([("kind", kind)], n)),
        );
        out.one(
            "tapedeck_memory_own_bytes",
            "Memory that nobody but this process can free: what limits kill for.",
            p.own(),
        );
        out.one("tapedeck_memory_threads", "Threads of the process; a steady rise is a leak.", p.threads);
        for (name, help, get) in [
            ("limit_bytes", "Each limit over this process.", (|l| l.limit_bytes) as fn(&Limit) -> u64),
            ("limit_used_bytes", "What is used of each limit and cannot be given back.", |l| l.used_bytes),
            ("limit_cache_bytes", "Clean page cache inside each limit, given back when needed.", |l| l.cache_bytes),
        ] {
            let limits = self.limits.iter().map(|l| ([("limit", &l.name)], get(l)));
            out.series(format!("tapedeck_memory_{name}"), help, limits);
        }
        if let Some(s) = self.stall {
            out.series(
                "tapedeck_memory_stall_ratio",
                "Share of the last 10 s in which some or all tasks waited for memory.",
                [("some", s.some), ("all", s.full)].map(|(tasks, percent)| ([("tasks", tasks)], percent / 100.0)),
            );
        }
        out.series(
            "tapedeck_memory_part_bytes",
            "Estimate of what each part holds.",
            self.parts.iter().map(|(name, part)| ([("part", name.as_str()), ("held", part.held.as_str())], part.bytes)),
        );
        out.one(
            "tapedeck_memory_unaccounted_bytes",
            "Own memory that no part accounts for; a steady rise is a leak.",
            self.unaccounted_bytes,
        );
        out.series(
            "tapedeck_memory_level_changes_total",
            "Changes to each level.",
            Level::ALL.map(|level| ([("level", level)], self.changes.get(&level).copied().unwrap_or(0))),
        );
        out.series(
            "tapedeck_memory_sheds_total",
            "Times work was given up for memory, by what.",
            self.sheds.iter().map(|(what, n)| ([("what", what)], *n)),
        );
    }
}
