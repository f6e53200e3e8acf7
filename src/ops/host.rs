//! What the kernel says of this machine: free space of a disk, memory of a process and of all.
//!
//! Own memory is what the kernel cannot reclaim: anonymous and shared pages and what of them is swapped out. Mapped
//! files are page cache: the log's segments are mapped, written back, and dropped by the kernel when it needs room,
//! so they count in RSS and in no limit that kills.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What a process without privileges may still write.
    pub free_bytes: u64,
    /// Size.
    pub total_bytes: u64,
}

/// The file system that holds `path` (or its nearest existing parent).
pub fn disk(path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Disk { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
}

/// This machine's name, `localhost` where it has none.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Memory of a process, bytes. Source: proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Heap and stacks.
    pub anonymous: u64,
    /// Mapped files, the log's segments above all: page cache.
    pub file: u64,
    /// Shared memory.
    pub shared: u64,
    /// Swapped out.
    pub swap: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Threads, a count.
    pub threads: u64,
}

impl Process {
    /// What this process keeps until it frees it, bytes.
    pub fn own(&self) -> u64 {
        self.anonymous + self.shared + self.swap + self.page_tables
    }

    /// Resident set, bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.anonymous + self.file + self.shared
    }

    /// Out of the text of `/proc/<pid>/status`.
    pub fn parse(status: &str) -> Process {
        let kib = |name: &str| number(status, name).unwrap_or(0).saturating_mul(1_024);
        Process {
            anonymous: kib("RssAnon"),
            file: kib("RssFile"),
            shared: kib("RssShmem"),
            swap: kib("VmSwap"),
            page_tables: kib("VmPTE"),
            threads: number(status, "Threads").unwrap_or(0),
        }
    }
}

/// The number after `name:`, as in `VmRSS:  123 kB` (proc(5)).
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory of one process for people, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// All that is resident.
    pub resident_bytes: u64,
    /// Its own: heap and stacks.
    pub own_bytes: u64,
    /// Pages of mapped files, the log's above all; the kernel takes them back when it needs them.
    pub mapped_bytes: u64,
}

/// Memory of a process; `None` where the kernel does not tell (Linux does).
pub fn process_memory(pid: u32) -> Option<ProcessMemory> {
    let p = Process::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?);
    // One that has ended and waits for its parent has none.
    (p.resident() > 0).then_some(ProcessMemory {
        resident_bytes: p.resident(),
        own_bytes: p.anonymous,
        mapped_bytes: p.file.saturating_add(p.shared),
    })
}

/// When a process began, in the kernel's own ticks since boot: with its number, who it is. `None` where there is none (or
/// the kernel does not tell; Linux does). Source: proc_pid_stat(5), field 22.
pub fn process_began(pid: u32) -> Option<u64> {
    began(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// After the name, which may hold blanks and parentheses, fields are numbers.
fn began(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Memory of the machine, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// All there is.
    pub total_bytes: u64,
    /// What processes could still get without swapping.
    pub available_bytes: u64,
}

impl Machine {
    /// Out of the text of /proc/meminfo.
    pub fn parse(meminfo: &str) -> Option<Machine> {
        let bytes = |name| number(meminfo, name)?.checked_mul(1_024);
        Some(Machine { total_bytes: bytes("MemTotal")?, available_bytes: bytes("MemAvailable")? })
    }
}

/// Memory of the machine; `None` where the kernel does not tell.
pub fn machine_memory() -> Option<Machine> {
    Machine::parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_distinguished_from_a_later_one_of_its_number() {
        let own = process_began(std::process::id()).unwrap();
        assert_eq!(process_began(std::process::id()), Some(own));
        assert_eq!(began("7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"), Some(4_711));
        assert_eq!([began(""), began("7 (x) S 1"), process_began(u32::MAX)], [None; 3]);
    }

    #[test]
    fn the_kernel_tells_of_this_process_and_of_every_disk() {
        let own = process_memory(std::process::id()).unwrap();
        assert!(own.own_bytes > 0 && own.resident_bytes >= own.own_bytes, "{own:?}");
        assert_eq!(process_memory(u32::MAX), None);
        let here = disk(Path::new("/no/such/place")).unwrap();
        assert!(here.total_bytes >= here.free_bytes && here.total_bytes > 0);
    }

    #[test]
    fn own_memory_is_what_nobody_else_can_take_and_the_mapped_log_is_not_of_it() {
        let p = Process::parse(
            "VmHWM:\t 900000 kB\nRssAnon:\t   30000 kB\nRssFile:\t  800000 kB\nRssShmem:\t 8 kB\nVmPTE:\t 100 kB\nVmSwap:\t 12 kB\nThreads:\t9\n",
        );
        assert_eq!(p.own(), (30_000 + 8 + 12 + 100) << 10);
        assert_eq!(p.resident(), 830_008 << 10);
        assert_eq!(p.threads, 9);
        assert_eq!(Process::parse("no such lines"), Process::default());
    }
}
