//! `tapedeck doctor` on the machine that runs the tests: it answers, leaves nothing behind, and refuses memory for a disk.

use std::path::Path;

use serde_json::Value;

use crate::support::{both, free_port, run};

fn doctor(dir: &Path) -> (bool, Value, String) {
    let path = dir.join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\n[collector]\nlisten = \"127.0.0.1:{}\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.gate-spot]\nsymbols = [\"BTC_USDT\"]\nchannels = [\"trades\"]\n",
        dir.join("data").display().to_string(),
        free_port(),
        free_port(),
    );
    std::fs::write(&path, text).unwrap();
    let out = run(&["doctor", "--json", "--config", &path.display().to_string()]);
    let answer = serde_json::from_slice(&out.stdout).unwrap_or_else(|err| panic!("{err}: {}", both(&out)));
    (out.status.success(), answer, both(&run(&["doctor", "--config", &path.display().to_string()])))
}

#[test]
fn every_check_says_something_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (well, answer, text) = doctor(dir.path());
    assert_eq!(answer["fit"].as_bool(), Some(well), "{text}");
    let findings = answer["findings"].as_array().unwrap();
    for what in [
        "disk room", "directories", "largest frame", "file system", "disk writes", "open files", "time service",
        "memory", "receive buffers", "[api] listen",
    ] {
        let finding = findings.iter().find(|f| f["what"] == what).unwrap_or_else(|| panic!("{what}: {text}"));
        assert!(!finding["says"].as_str().unwrap().is_empty() && text.contains(what), "{text}");
        assert_eq!(finding["verdict"] == "ok", finding["fix"].is_null(), "{finding}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tape.toml"]);
}

#[test]
fn a_data_directory_in_memory_is_no_place_for_a_tape() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no /dev/shm");
        return;
    };
    let (well, answer, text) = doctor(dir.path());
    assert!(!well && answer["fit"] == false, "{text}");
    assert!(
        text.contains("BAD     file system: memory") && text.contains("fix: name a data.dir on a local disk"),
        "{text}"
    );
}
