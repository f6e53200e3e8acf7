//! What the kernel says about memory now: this process, its cgroups, the machine, and who waits.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{self, Cgroup, Usage};
use crate::host::{Machine, Process};

/// Pressure stall information: the share of the last 10 s, percent. Source: kernel documentation, "PSI".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// In which some task waited for memory.
    pub some: f64,
    /// In which every task did.
    pub full: f64,
}

impl Stall {
    /// Out of the text of a `memory.pressure`; `None` when it is none.
    pub fn parse(text: &str) -> Option<Stall> {
        let avg10 = |word: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(word))?;
            line.split_whitespace().find_map(|f| f.strip_prefix("avg10="))?.parse::<f64>().ok()
        };
        Some(Stall { some: avg10("some ")?, full: avg10("full ").unwrap_or(0.0) })
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// This process.
    pub process: Process,
    /// Cgroups with a limit, the innermost first.
    pub cgroups: Vec<Usage>,
    /// The machine; `None` when it does not say.
    pub machine: Option<Machine>,
    /// Who waits in our cgroup (the machine, where there is none); `None` without PSI in the kernel.
    pub stall: Option<Stall>,
}

/// Where to look. Found once: a process that is moved to another cgroup keeps the old view until its restart.
#[derive(Clone, Debug)]
pub struct Places {
    proc: PathBuf,
    cgroups: Vec<Cgroup>,
    pressure: Vec<PathBuf>,
}

impl Places {
    /// Of this process.
    pub fn find() -> Places {
        Self::below(Path::new("/proc"))
    }

    /// With another /proc, for tests.
    fn below(proc: &Path) -> Places {
        let text = |file: &str| std::fs::read_to_string(proc.join(file)).unwrap_or_default();
        let (cgroups, pressure) = cgroup::find(&text("self/cgroup"), &text("self/mountinfo"));
        let own = pressure.map(|dir| dir.join("memory.pressure"));
        let pressure = own.into_iter().chain([proc.join("pressure/memory")]).collect();
        Places { proc: proc.to_owned(), cgroups, pressure }
    }

    /// What holds now. What cannot be read is left out.
    pub fn sample(&self) -> Sample {
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        Sample {
            process: text(&self.proc.join("self/status")).map(|t| Process::parse(&t)).unwrap_or_default(),
            cgroups: self.cgroups.iter().filter_map(Cgroup::usage).collect(),
            machine: text(&self.proc.join("meminfo")).and_then(|t| Machine::parse(&t)),
            stall: self.pressure.iter().find_map(|p| Stall::parse(&text(p)?)),
        }
    }

    /// The smallest limit over this process that is not its own setting: cgroups and machine, bytes.
    pub fn limit_bytes(&self) -> Option<u64> {
        let machine = std::fs::read_to_string(self.proc.join("meminfo")).ok().and_then(|t| Machine::parse(&t));
        self.cgroups.iter().filter_map(Cgroup::limit_bytes).chain(machine.map(|m| m.total_bytes)).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_shares_of_the_last_ten_seconds_are_read_and_a_kernel_without_them_is_none() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(Stall::parse(text), Some(Stall { some: 1.5, full: 0.25 }));
        assert_eq!(Stall::parse(""), None);
    }

    #[test]
    fn the_smallest_limit_is_the_one_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (proc, group) = (dir.path().join("proc"), dir.path().join("cg"));
        for d in [proc.join("self"), group.join("a/b")] {
            std::fs::create_dir_all(d).unwrap();
        }
        let put = |path: PathBuf, text: &str| std::fs::write(path, text).unwrap();
        put(proc.join("meminfo"), "MemTotal: 4096 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n");
        put(proc.join("self/cgroup"), "0::/a/b\n");
        put(proc.join("self/mountinfo"), &format!("1 2 0:3 / {} rw - cgroup2 none rw\n", group.display()));
        put(group.join("a/memory.max"), "2097152\n");
        put(group.join("a/memory.current"), "1048576\n");
        put(group.join("a/b/memory.max"), "3145728\n");
        put(group.join("a/b/memory.pressure"), "some avg10=3.00 avg60=0.00\nfull avg10=2.00 avg60=0.00\n");
        let places = Places::below(&proc);
        assert_eq!(places.limit_bytes(), Some(2 << 20));
        let sample = places.sample();
        assert_eq!(sample.machine, Some(Machine { total_bytes: 4 << 20, available_bytes: 1 << 20 }));
        assert_eq!(sample.stall, Some(Stall { some: 3.0, full: 2.0 }));
        // The inner one does not say what it uses: the outer one does.
        assert_eq!(sample.cgroups.iter().map(|c| c.limit_bytes).collect::<Vec<_>>(), [2 << 20]);
    }
}
