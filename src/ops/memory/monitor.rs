//! The monitor of a process: a thread that looks once a second, and the [`Pressure`] any thread may ask.
//!
//! Asking is one relaxed load. The monitor never blocks; listeners to changes are called on its
//! thread and must be quick. Without `/proc` there are no readings and the level stays normal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use settings::value::int;
use settings::{KeyProblem, Section};
use tracing::{error, warn};

use super::level::{Gauge, Level, Reading, Thresholds};
use super::parts::{Held, Part, Parts};
use super::report::{Limit, MemoryReport};
use super::sample::{Places, Sample};
use crate::clock;
use crate::shutdown::Shutdown;
use crate::supervise::{Supervisor, Task};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Critical for this long is an alarm, ns.
const ALARM_AFTER_NS: u64 = 60_000_000_000;

/// Section `[memory]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Limit, MiB; the cgroup's or the machine's when it was 0.
    #[serde(deserialize_with = "int::<0, { 1 << 24 }, _, _>")]
    pub limit_mib: u64,
    /// True when the limit was written, false when it was found.
    #[serde(skip)]
    pub own_limit: bool,
    /// Elevated from this percentage.
    #[serde(deserialize_with = "int::<1, 99, _, _>")]
    pub elevated_percent: u64,
    /// Critical from this percentage.
    #[serde(deserialize_with = "int::<1, 100, _, _>")]
    pub critical_percent: u64,
}

impl Section for Settings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        self.own_limit = self.limit_mib != 0;
        if !self.own_limit {
            self.limit_mib = super::found_limit_mib();
        }
        let (elevated, critical) = (self.elevated_percent, self.critical_percent);
        let what = || format!("{elevated} is not below memory.critical_percent ({critical})");
        let problem = (elevated >= critical).then(|| KeyProblem::new("elevated_percent", what(), "write 75 and 85"));
        problem.into_iter().collect()
    }
}

/// The level of the process changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `collector`, `compactor`.
    pub service: String,
    /// Before.
    pub from: Level,
    /// From now on.
    pub to: Level,
    /// When, ns since 1970-01-01 UTC.
    pub at_ns: u64,
    /// The limit that is nearest to being reached.
    pub nearest: Limit,
    /// Share of the last 10 s in which every task waited for memory, percent.
    pub stall_percent: f64,
    /// Own memory of the process, bytes.
    pub own_bytes: u64,
}

impl Change {
    /// The facts of the `pressure` event.
    pub fn detail(&self) -> Value {
        json!({
            "service": self.service, "from": self.from, "to": self.to, "at_ns": self.at_ns,
            "limit": self.nearest.name, "limit_bytes": self.nearest.limit_bytes,
            "used_bytes": self.nearest.used_bytes, "used_percent": self.nearest.used_percent,
            "stall_percent": self.stall_percent, "own_bytes": self.own_bytes,
        })
    }
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

struct State {
    gauge: Gauge,
    /// Without parts and sheds, which are added when asked.
    report: MemoryReport,
    critical_since: Option<u64>,
}

struct Inner {
    level: AtomicU8,
    parts: Parts,
    settings: Settings,
    state: Mutex<State>,
    sheds: Mutex<BTreeMap<&'static str, u64>>,
    listeners: Mutex<Vec<Listener>>,
}

/// How tight memory is, for tasks that can do with less. Cheap to clone and to ask.
#[derive(Clone)]
pub struct Pressure(Arc<Inner>);

impl std::fmt::Debug for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pressure").field(&self.level()).finish()
    }
}

impl Default for Pressure {
    /// Normal, without a monitor: for one-off commands and tests.
    fn default() -> Self {
        Self::fixed(Level::Normal)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pressure {
    /// A constant level.
    pub fn fixed(level: Level) -> Pressure {
        let memory = Settings { limit_mib: 0, own_limit: false, elevated_percent: 75, critical_percent: 85 };
        let pressure = Pressure::watched(&memory, "");
        pressure.0.level.store(level as u8, Ordering::Relaxed);
        lock(&pressure.0.state).report.level = level;
        pressure
    }

    /// Of a process whose samples the caller passes in ([`Pressure::observe`]).
    pub fn watched(settings: &Settings, service: &str) -> Pressure {
        let (elevated, critical) = (settings.elevated_percent, settings.critical_percent);
        let report = MemoryReport {
            service: service.to_owned(),
            since_ns: clock::wall_ns(),
            elevated_percent: elevated,
            critical_percent: critical,
            ..MemoryReport::default()
        };
        let gauge = Gauge::new(Thresholds { elevated: elevated as f64, critical: critical as f64 });
        Pressure(Arc::new(Inner {
            level: AtomicU8::new(Level::Normal as u8),
            parts: Parts::default(),
            settings: settings.clone(),
            state: Mutex::new(State { gauge, report, critical_since: None }),
            sheds: Mutex::default(),
            listeners: Mutex::default(),
        }))
    }

    /// How tight memory is now.
    #[inline]
    pub fn level(&self) -> Level {
        match self.0.level.load(Ordering::Relaxed) {
            0 => Level::Normal,
            1 => Level::Elevated,
            _ => Level::Critical,
        }
    }

    /// A part of the process that will say how much it holds on its heap.
    pub fn part(&self, name: &'static str) -> Part {
        self.0.parts.part(name, Held::Own)
    }

    /// A part that is computed when asked; `probe` must not wait.
    pub fn probe(&self, name: &'static str, held: Held, probe: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.parts.probe(name, held, probe);
    }

    /// Counts that `what` was given up once.
    pub fn shed(&self, what: &'static str) {
        *lock(&self.0.sheds).entry(what).or_default() += 1;
    }

    /// `listener` hears of every change from now on, on the monitor's thread.
    pub fn on_change(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        lock(&self.0.listeners).push(Box::new(listener));
    }

    /// Everything now.
    pub fn report(&self) -> MemoryReport {
        let mut report = lock(&self.0.state).report.clone();
        report.parts = self.0.parts.totals();
        let accounted: u64 = report.parts.values().filter(|p| p.held == Held::Own).map(|p| p.bytes).sum();
        report.unaccounted_bytes = report.process.own().saturating_sub(accounted);
        report.sheds = lock(&self.0.sheds).iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
        report
    }

    /// One sentence per reason why an operator should act on memory.
    pub fn problems(&self) -> Vec<String> {
        lock(&self.0.state).report.alarms.clone()
    }

    /// Takes a sample in; notifies listeners when the level changes. The monitor does; tests provoke levels with it.
    pub fn observe(&self, sample: &Sample, wall_ns: u64, mono_ns: u64) {
        let limits = limits(sample, &self.0.settings);
        let nearest = limits.first().cloned().unwrap_or_default();
        let stall_percent = sample.stall.map_or(0.0, |s| s.full);
        let mut state = lock(&self.0.state);
        let from = state.gauge.level();
        let to = state.gauge.read(Reading { used_percent: nearest.used_percent, stall_percent }, mono_ns);
        state.critical_since = match to {
            Level::Critical => Some(state.critical_since.unwrap_or(mono_ns)),
            _ => None,
        };
        let critical_ns = state.critical_since.map_or(0, |since| mono_ns.saturating_sub(since));
        let report = &mut state.report;
        (report.level, report.process, report.stall) = (to, sample.process, sample.stall);
        report.limits = limits;
        report.alarms = alarms(critical_ns, &nearest);
        if from != to {
            report.since_ns = wall_ns;
            *report.changes.entry(to).or_default() += 1;
        }
        let service = report.service.clone();
        drop(state);
        self.0.level.store(to as u8, Ordering::Relaxed);
        if from != to {
            let own_bytes = sample.process.own();
            let change = Change { service, from, to, at_ns: wall_ns, nearest, stall_percent, own_bytes };
            log_change(&change);
            lock(&self.0.listeners).iter().for_each(|listener| listener(&change));
        }
    }
}

fn log_change(c: &Change) {
    let (percent, limit) = (c.nearest.used_percent, &c.nearest.name);
    let (used_mib, limit_mib) = (c.nearest.used_bytes >> 20, c.nearest.limit_bytes >> 20);
    let (from, to, stall) = (c.from, c.to, c.stall_percent);
    if to == Level::Critical {
        error!(%from, %to, percent, limit, used_mib, limit_mib, stall, "memory is nearly used up; everything but capture is slowed down");
    } else {
        warn!(%from, %to, percent, limit, used_mib, limit_mib, stall, "the pressure on memory changed");
    }
}

fn alarms(critical_ns: u64, nearest: &Limit) -> Vec<String> {
    if critical_ns < ALARM_AFTER_NS {
        return Vec::new();
    }
    vec![format!(
        "memory has been critical for {} s: {} MiB of {} MiB ({}) cannot be given back; raise the limit, or record and compact less",
        critical_ns / 1_000_000_000,
        nearest.used_bytes >> 20,
        nearest.limit_bytes >> 20,
        nearest.name
    )]
}

/// Every limit over the process, the nearest to being reached first. A limit that is configured stands for the
/// machine; cgroups always count, because they kill.
fn limits(sample: &Sample, settings: &Settings) -> Vec<Limit> {
    let percent = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 * 100.0 / limit as f64 };
    let limit = |name: String, limit_bytes: u64, used_bytes: u64, cache_bytes: u64| Limit {
        name,
        limit_bytes,
        used_bytes,
        cache_bytes,
        used_percent: (percent(used_bytes, limit_bytes) * 10.0).round() / 10.0,
    };
    let mut all: Vec<Limit> = sample
        .cgroups
        .iter()
        .map(|c| limit(c.dir.display().to_string(), c.limit_bytes, c.held_bytes, c.cache_bytes))
        .collect();
    if settings.own_limit {
        let p = &sample.process;
        all.push(limit("memory.limit_mib".to_owned(), settings.limit_mib << 20, p.own(), p.file));
    } else if let Some(m) = sample.machine {
        let used = m.total_bytes.saturating_sub(m.available_bytes);
        all.push(limit("machine".to_owned(), m.total_bytes, used, 0));
    }
    all.sort_by(|a, b| b.used_percent.total_cmp(&a.used_percent));
    all
}

/// The thread that looks. Ends when dropped.
#[derive(Debug)]
pub struct MemoryMonitor {
    ended: Shutdown,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryMonitor {
    /// Starts looking, for the process that calls itself `service`. The first look is done when this returns.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        settings: &Settings,
        service: &str,
        supervisor: &Supervisor,
    ) -> std::io::Result<(MemoryMonitor, Pressure)> {
        let pressure = Pressure::watched(settings, service);
        let places = Places::find();
        look(&pressure, &places);
        let (stop, stopped) = channel();
        let shown = pressure.clone();
        let ended = Shutdown::new();
        let look = move || watch(&shown, &places, &stopped);
        let thread = supervisor.thread(Task::Memory, "", &ended, look)?;
        Ok((MemoryMonitor { ended, stop: Some(stop), thread: Some(thread) }, pressure))
    }
}

impl Drop for MemoryMonitor {
    fn drop(&mut self) {
        self.ended.trigger();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panics were reported, and nothing depends on it any more.
            let _ = thread.join();
        }
    }
}

fn watch(pressure: &Pressure, places: &Places, stopped: &Receiver<()>) {
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        look(pressure, places);
    }
}

fn look(pressure: &Pressure, places: &Places) {
    let now = clock::now();
    // The writers of logs show it this too, but not every process has one open all the time.
    clock::receive().observe(now);
    pressure.observe(&places.sample(), now.wall_ns, now.mono_ns);
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
