//! What a configuration asks for and this machine, or this version, does not give: `config check` and `doctor` name it,
//! with what would pass.

use std::path::{Path, PathBuf};

use crate::support::{both, free_port, run};

fn config(dir: &Path, more: &str) -> String {
    let path = dir.join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[collector]\nlisten = \"127.0.0.1:{}\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.gate-spot]\nsymbols = [\"BTC_USDT\"]\nchannels = [\"trades\"]\n{more}",
        dir.join("data").display().to_string(),
        free_port(),
        free_port(),
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// `config check` ends with 2 and `doctor` with 1; both say these words.
#[track_caller]
fn found_by_both(config: &str, words: &[&str]) {
    for (command, code) in [(&["config", "check"][..], 2), (&["doctor"], 1)] {
        let out = run(&[command, &["--config", config]].concat());
        let said = both(&out);
        assert_eq!(out.status.code(), Some(code), "{command:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{command:?} does not name {word:?}: {said}");
        }
    }
}

#[test]
fn a_table_folder_on_another_file_system_is_found() {
    let (dir, Ok(other)) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm")) else {
        println!("skipped: there is no /dev/shm");
        return;
    };
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    if device(dir.path()) == device(other.path()) {
        println!("skipped: one file system");
        return;
    }
    let path = config(dir.path(), "");
    let lake: PathBuf = dir.path().join("data/lake");
    std::fs::create_dir_all(&lake).unwrap();
    let well = both(&run(&["config", "check", "--config", &path]));
    assert!(well.contains("ok: ") && well.contains("disk: the log takes"), "{well}");
    std::os::unix::fs::symlink(other.path(), lake.join("trades")).unwrap();
    found_by_both(&path, &["lake/trades is on another file system", "rename", "without a link"]);
}

#[test]
fn a_segment_smaller_than_the_largest_frame_is_found_with_the_setting_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "[wal]\nsegment_mib = 4\n");
    found_by_both(&path, &["segment of 4 MiB", "16777216", "write segment_mib = "]);
}

#[test]
fn a_data_directory_that_is_a_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "");
    std::fs::write(dir.path().join("data"), b"a file").unwrap();
    let out = run(&["config", "check", "--config", &path]);
    assert!(out.status.code() == Some(2) && both(&out).contains("is no directory"), "{}", both(&out));
}

#[test]
fn what_would_not_be_honoured_is_refused_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, words) in [
        ("[klines]\nintervals = [\"1m\", \"1h\"]\n", ["klines.intervals", "5m, 30m, 4h, 1d, 1w left out", "\"1w\"]"]),
        ("[klines]\nintervals = [\"2m\"]\n", ["klines.intervals", "unknown interval \"2m\"", "\"1w\"]"]),
        ("[lake]\npart_minutes = 7\n", ["lake.part_minutes", "7 is no divisor of 60", "10, 12, 15, 20, 30, 60"]),
    ] {
        let path = config(dir.path(), keys);
        for command in [&["config", "check"][..], &["compactor", "--drain"]] {
            let out = run(&[command, &["--config", &path]].concat());
            let said = both(&out);
            assert_eq!(out.status.code(), Some(2), "{said}");
            words.iter().for_each(|word| assert!(said.contains(word), "{word}: {said}"));
        }
    }
}
