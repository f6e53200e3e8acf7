//! The cgroups this process is in, and what they may use: every limit on the way up counts, the innermost is not
//! always the tightest. Reads cgroup v2 and, where memory is still counted there, v1.
//!
//! Sources: kernel documentation, "Control Group v2" (memory.max, memory.high, memory.current, memory.stat,
//! memory.pressure) and "Memory Resource Controller" (v1).

use std::path::{Path, PathBuf};

/// A limit of v1 from which on it is none: it is written as the largest page-aligned number.
const V1_UNLIMITED: u64 = 1 << 60;

/// One cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its directory.
    pub dir: PathBuf,
    /// True for version 2.
    pub v2: bool,
}

/// Use of one cgroup that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its directory.
    pub dir: PathBuf,
    /// memory.max or memory.high, whichever is smaller, bytes.
    pub limit_bytes: u64,
    /// All that is charged, page cache included, bytes.
    pub current_bytes: u64,
    /// What the kernel cannot drop when it needs room, bytes: what it would kill for.
    pub held_bytes: u64,
    /// Clean page cache, bytes: the log's mapped segments are mostly this.
    pub cache_bytes: u64,
}

/// The cgroups with memory accounting this process is in, the innermost first, and the directory of v2 whose
/// `memory.pressure` reports it. `cgroup` and `mountinfo` are the texts of /proc/self/cgroup and mountinfo.
pub fn find(cgroup: &str, mountinfo: &str) -> (Vec<Cgroup>, Option<PathBuf>) {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let path_of = |wanted: fn(&str, &str) -> bool| {
        cgroup.lines().find_map(|l| {
            let mut fields = l.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            wanted(id, controllers).then_some(path)
        })
    };
    let mut chain = Vec::new();
    let mut pressure = None;
    if let Some(path) = path_of(|id, controllers| id == "0" && controllers.is_empty())
        && let Some(mount) = mounts.iter().find(|m| m.v2)
    {
        let dirs = mount.dirs(path);
        pressure = dirs.first().cloned();
        chain.extend(dirs.into_iter().map(|dir| Cgroup { dir, v2: true }));
    }
    if let Some(path) = path_of(|_, controllers| controllers.split(',').any(|c| c == "memory"))
        && let Some(mount) = mounts.iter().find(|m| !m.v2 && m.memory)
    {
        chain.extend(mount.dirs(path).into_iter().map(|dir| Cgroup { dir, v2: false }));
    }
    (chain, pressure)
}

struct Mount {
    v2: bool,
    memory: bool,
    /// The part of the hierarchy that is mounted.
    root: String,
    point: PathBuf,
}

impl Mount {
    /// One line of mountinfo (proc(5)): id, parent, device, root, mount point, options, optional fields, a dash,
    /// type, source, options of the file system.
    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1).unwrap_or_default());
        let v2 = kind == "cgroup2";
        (v2 || kind == "cgroup").then(|| Mount {
            v2,
            memory: options.split(',').any(|o| o == "memory"),
            root: root.to_owned(),
            point: PathBuf::from(point),
        })
    }

    /// The directories of `path` and of all above it inside this mount.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let below = if self.root == "/" { Some(path) } else { path.strip_prefix(self.root.as_str()) };
        // A path out of another namespace names nothing here: the mount itself is the nearest that is known.
        let below = below.filter(|p| !p.split('/').any(|s| s == "..")).unwrap_or("/");
        let inner = self.point.join(below.trim_start_matches('/'));
        inner.ancestors().take_while(|dir| dir.starts_with(&self.point)).map(Path::to_owned).collect()
    }
}

impl Cgroup {
    /// Its limit, bytes; `None` = none, or it cannot be read.
    pub fn limit_bytes(&self) -> Option<u64> {
        if !self.v2 {
            return self.number("memory.limit_in_bytes").filter(|n| *n < V1_UNLIMITED);
        }
        // Above memory.high nothing is killed, but every allocation waits: for capture that is as bad.
        let (max, high) = (self.number("memory.max"), self.number("memory.high"));
        max.into_iter().chain(high).min()
    }

    /// Its use; `None` when it has no limit.
    pub fn usage(&self) -> Option<Usage> {
        let limit_bytes = self.limit_bytes()?;
        let current = self.number(if self.v2 { "memory.current" } else { "memory.usage_in_bytes" })?;
        let stat = std::fs::read_to_string(self.dir.join("memory.stat")).unwrap_or_default();
        let cache_bytes = reclaimable(&stat, self.v2).min(current);
        Some(Usage {
            dir: self.dir.clone(),
            limit_bytes,
            current_bytes: current,
            held_bytes: current - cache_bytes,
            cache_bytes,
        })
    }

    /// The number in a file; `None` for `max` too.
    fn number(&self, file: &str) -> Option<u64> {
        std::fs::read_to_string(self.dir.join(file)).ok()?.trim().parse().ok()
    }
}

/// What the kernel can drop at once: page cache that is not waiting to be written, and caches of its own.
fn reclaimable(stat: &str, v2: bool) -> u64 {
    let value = |name: &str| {
        let line = stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    if v2 {
        let file = value("inactive_file") + value("active_file");
        file.saturating_sub(value("file_dirty") + value("file_writeback")) + value("slab_reclaimable")
    } else {
        // total_: with the cgroups below, as usage_in_bytes counts them.
        let file = value("total_inactive_file") + value("total_active_file");
        file.saturating_sub(value("total_dirty") + value("total_writeback"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn every_limit_on_the_way_up_is_found_with_the_use_of_its_own_cgroup() {
        let root = tempfile::tempdir().unwrap();
        let stat = "anon 100\nfile 700\ninactive_file 300\nactive_file 400\nfile_dirty 50\nfile_writeback 10\nslab_reclaimable 20\n";
        let slice = root.path().join("system.slice");
        write(&slice, &[("memory.max", "1000\n"), ("memory.current", "900\n"), ("memory.stat", stat)]);
        let service = slice.join("tapedeck.service");
        write(&service, &[("memory.max", "max\n"), ("memory.high", "2000"), ("memory.current", "800\n")]);
        let mountinfo =
            format!("31 23 0:27 / {} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", root.path().display());
        let (chain, pressure) = find("0::/system.slice/tapedeck.service\n", &mountinfo);
        assert_eq!(chain.len(), 3);
        assert_eq!(pressure.as_deref(), Some(service.as_path()));
        let usage: Vec<Usage> = chain.iter().filter_map(Cgroup::usage).collect();
        assert_eq!(usage.len(), 2);
        assert_eq!((usage[0].limit_bytes, usage[0].held_bytes), (2000, 800));
        // 300 + 400 of page cache, of which 60 wait for the disk, and 20 of the kernel's.
        let outer = Usage { dir: slice, limit_bytes: 1000, current_bytes: 900, held_bytes: 240, cache_bytes: 660 };
        assert_eq!(usage[1], outer);
    }

    #[test]
    fn memory_is_found_where_version_1_still_counts_it() {
        let root = tempfile::tempdir().unwrap();
        let (v1, v2) = (root.path().join("memory"), root.path().join("unified"));
        let inner = v1.join("box");
        write(
            &inner,
            &[
                ("memory.limit_in_bytes", "1048576\n"),
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.stat", "active_file 1\ntotal_inactive_file 500\ntotal_active_file 200\ntotal_dirty 100\n"),
            ],
        );
        write(&v1, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        write(&v2, &[]);
        let mountinfo = format!(
            "35 31 0:32 / {} rw,relatime - cgroup cgroup rw,memory\n41 31 0:38 / {} rw,relatime - cgroup2 cgroup2 rw\n",
            v1.display(),
            v2.display()
        );
        let (chain, pressure) = find("4:memory:/box\n0::/\n", &mountinfo);
        assert_eq!(pressure, Some(v2));
        let usage: Vec<Usage> = chain.iter().filter_map(Cgroup::usage).collect();
        assert_eq!(usage.len(), 1);
        assert_eq!((usage[0].limit_bytes, usage[0].held_bytes), (1 << 20, 400));
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_hierarchy() {
        let line = "30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let dirs = |path: &str| find(&format!("0::{path}"), line).0;
        assert_eq!(dirs("/docker/abc/inner")[0].dir, Path::new("/sys/fs/cgroup/inner"));
        // A path of another namespace, or none of ours: the mount itself.
        for path in ["/../other", "/elsewhere", "/docker/abc/../x"] {
            assert_eq!(dirs(path).len(), 1, "{path}");
        }
        assert!(find("", line).0.is_empty());
        assert!(find("garbage", "garbage - x").0.is_empty());
    }
}
