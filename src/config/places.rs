//! Directories and what lies on them: a publication is a rename, so everything that it moves between is on one file
//! system; what is written to is a directory that this user may write to; the largest frame fits into a segment.
//! Asked by `config check`, `doctor` and the services at their start.

use std::path::{Path, PathBuf};

use super::config::Config;
use lake::Table;
use settings::Problem;

/// Everything that is wrong with where things are.
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = directories(config);
    problems.extend(file_systems(config));
    problems
}

/// The file system of `path` or of its nearest parent; links are followed.
pub(super) fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(nearest(path)?.metadata().ok()?.dev())
}

/// `path`, or the nearest directory above it that is there.
fn nearest(path: &Path) -> Option<&Path> {
    let above = |p: &&Path| !p.as_os_str().is_empty() && p.exists();
    path.ancestors().find(above).or_else(|| path.is_relative().then_some(Path::new(".")))
}

/// The key that names the directory in which files of the lake are made.
fn work_key(config: &Config) -> &'static str {
    if config.lake.is_remote() { "lake.staging_dir" } else { "lake.dir" }
}

/// What is no directory, or cannot be written to.
fn directories(config: &Config) -> Vec<Problem> {
    let logs =
        config.capture.venues.keys().flat_map(|id| [config.capture.wal_dir(*id), config.capture.repair_dir(*id)]);
    let mut all: Vec<(&str, PathBuf)> =
        vec![("data.dir", config.capture.data_dir.clone()), ("data.dir", config.capture.wal_root())];
    all.extend(logs.map(|dir| ("data.dir", dir)));
    all.push((work_key(config), config.lake.work_dir().to_owned()));
    all.extend(config.capture.wal.archive_level().map(|_| ("data.dir", config.capture.archive_root())));
    all.extend(config.capture.wal.spill_dirs.iter().map(|dir| ("wal.spill_dirs", dir.clone())));
    let mut problems: Vec<Problem> = Vec::new();
    for (key, dir) in all {
        let Some(there) = nearest(&dir) else { continue };
        let what = if !there.is_dir() {
            format!("{} is no directory", there.display())
        } else if let Err(err) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
            format!("nothing can be written to {}: {err}", there.display())
        } else {
            continue;
        };
        // A parent is reported once, whatever is to be made below it.
        if problems.iter().all(|p| p.what != what) {
            let fix = "name a directory that this user may write to, or mount its disk for writing";
            problems.push(config.problem(key, what, fix));
        }
    }
    problems
}

/// What a rename moves things to from another file system.
fn file_systems(config: &Config) -> Vec<Problem> {
    let venues: Vec<String> = config.capture.venues.keys().map(|id| format!("exchange={id}")).collect();
    let tables = Table::ALL.iter().map(|t| t.as_str()).chain(["_manifests"]);
    let mut inside: Vec<PathBuf> = [".staging", ".rewrite", ".set-aside"].map(PathBuf::from).to_vec();
    for table in tables {
        inside.push(table.into());
        inside.extend(venues.iter().map(|venue| Path::new(table).join(venue)));
    }
    let mut problems = on_one(config, work_key(config), config.lake.work_dir(), &inside);
    for id in config.capture.venues.keys() {
        for log in [config.capture.wal_dir(*id), config.capture.repair_dir(*id)] {
            problems.extend(on_one(config, "data.dir", &log, &["quarantine".into(), "acks".into()]));
        }
    }
    problems
}

/// The directories of `inside` that are on another file system than `dir`.
fn on_one(config: &Config, key: &str, dir: &Path, inside: &[PathBuf]) -> Vec<Problem> {
    let Some(own) = device(dir).filter(|_| dir.exists()) else { return Vec::new() };
    let other = |path: &PathBuf| path.exists() && device(path).is_some_and(|other| other != own);
    let mut found: Vec<PathBuf> = inside.iter().map(|name| dir.join(name)).filter(other).collect();
    // What is below one of them is reported with it.
    let all = found.clone();
    found.retain(|path| path.parent().is_none_or(|above| !all.iter().any(|p| p == above)));
    let dir = dir.display();
    let fix = format!("move what is in it to a directory below {dir}, without a link or mount");
    let why = "files are moved there by a rename, which works within one only";
    let what = |path: PathBuf| format!("{} is on another file system than {dir}: {why}", path.display());
    found.into_iter().map(|path| config.problem(key, what(path), fix.as_str())).collect()
}

/// A segment that the largest frame a venue may send does not fit into.
pub fn largest_frame(config: &Config) -> Option<Problem> {
    const KEY: &str = "wal.segment_mib";
    if config.capture.venues.values().all(capture::is_simulator) {
        return None;
    }
    let most = model::MESSAGE_BYTES_MAX;
    let takes = |mib: u64| {
        let mut options = config.capture.log_options();
        options.segment_bytes = mib << 20;
        options.payload_bytes_max()
    };
    let room = takes(config.capture.wal.segment_mib);
    (room < most).then(|| {
        let what = format!(
            "a segment of {} MiB takes frames of up to {room} bytes, and {most} may come: a larger one is not recorded, only that it came",
            config.capture.wal.segment_mib
        );
        let fix = (1..=1_024).find(|mib| takes(*mib) >= most).unwrap_or(32);
        config.problem(KEY, what, format!("write segment_mib = {fix}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(dir: &Path, more: &str) -> Config {
        Config::from_toml(&format!(
            "[data]\ndir = {:?}\n{more}[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n",
            dir.join("data").display().to_string()
        ))
        .unwrap()
    }

    #[test]
    fn what_a_rename_could_not_reach_is_named_also_behind_a_link() {
        let (dir, Ok(other)) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm")) else {
            println!("skipped: there is no /dev/shm");
            return;
        };
        let cfg = config(dir.path(), "");
        if device(dir.path()) == device(other.path()) {
            println!("skipped: one file system");
            return;
        }
        let (lake, log) = (cfg.lake.dir.clone(), cfg.capture.wal_dir(model::VenueId::BinanceSpot));
        let at = ["trades", "_manifests", ".staging", "depth/exchange=binance-spot", "depth/exchange=gate-spot"];
        std::fs::create_dir_all(lake.join("depth")).unwrap();
        std::fs::create_dir_all(&log).unwrap();
        assert!(check(&cfg).is_empty(), "{:?}", check(&cfg));
        let link = |to: PathBuf| std::os::unix::fs::symlink(other.path(), to).unwrap();
        at.iter().for_each(|name| link(lake.join(name)));
        // Below one that is reported, and on the same disk as it.
        std::fs::create_dir_all(other.path().join("exchange=binance-spot")).unwrap();
        ["quarantine", "acks"].iter().for_each(|name| link(log.join(name)));
        let problems = check(&cfg);
        let reported =
            |path: &Path| problems.iter().any(|p| p.what.starts_with(&format!("{} is on another", path.display())));
        for name in &at[..4] {
            assert!(reported(&lake.join(name)), "{name}: {problems:?}");
        }
        assert!(reported(&log.join("quarantine")) && reported(&log.join("acks")), "{problems:?}");
        assert_eq!(problems.len(), 6, "a venue that is not recorded is not checked: {problems:?}");
        assert!(problems.iter().all(|p| p.what.contains("rename") && p.fix.contains("move")), "{problems:?}");
    }

    #[test]
    fn a_file_where_a_directory_must_be_and_a_directory_that_cannot_be_written_are_named_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), b"a file").unwrap();
        let problems = check(&config(dir.path(), ""));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.ends_with("data is no directory") && problems[0].key == "data.dir", "{problems:?}");
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        if rustix::process::geteuid().is_root() {
            println!("skipped: everything may be written to");
            return;
        }
        let lake = format!("[lake]\ndir = {:?}\n", closed.join("not/yet").display().to_string());
        let problems = check(&config(dir.path(), &lake));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].key == "lake.dir" && problems[0].what.contains("closed"), "{problems:?}");
    }

    #[test]
    fn a_segment_smaller_than_the_largest_frame_is_refused_with_both_numbers_and_the_advice_passes() {
        let dir = tempfile::tempdir().unwrap();
        let problem = largest_frame(&config(dir.path(), "[wal]\nsegment_mib = 4\n")).unwrap();
        assert!(problem.what.contains("segment of 4 MiB") && problem.what.contains("16777216 may come"), "{problem:?}");
        let mib = problem.fix.rsplit(' ').next().unwrap();
        assert_eq!(largest_frame(&config(dir.path(), &format!("[wal]\nsegment_mib = {mib}\n"))), None);
        let less = mib.parse::<u64>().unwrap() - 1;
        assert!(largest_frame(&config(dir.path(), &format!("[wal]\nsegment_mib = {less}\n"))).is_some());
        let mut sim = config(dir.path(), "[wal]\nsegment_mib = 1\n");
        let venue = sim.capture.venues.values_mut().next().unwrap();
        (venue.rest_url, venue.ws_url) = ("http://127.0.0.1:1".into(), Some("ws://127.0.0.1:1".into()));
        assert_eq!(largest_frame(&sim), None, "whoever simulates knows what is sent");
    }
}
