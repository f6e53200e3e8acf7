//! No segment is unlinked before the Parquet made from it is fsynced, renamed and its directory fsynced: read off a
//! system-call trace of the real binary. Needs `strace`; without it the test says so and passes nothing as proven.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::logs::{frames, record};

/// What matters of one traced call, in order.
#[derive(Debug)]
enum Call {
    Fsync(String),
    Rename(String, String),
    Unlink(String),
}

fn quoted(line: &str) -> Vec<String> {
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The path that `strace -y` prints after a descriptor.
fn of_descriptor(line: &str) -> Option<String> {
    let rest = line.split_once('<')?.1;
    Some(rest.split_once('>')?.0.to_owned())
}

fn parse(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for line in trace.lines().filter(|l| l.ends_with("= 0") || l.contains(" = 0")) {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        if call.starts_with("fsync(") || call.starts_with("fdatasync(") {
            calls.extend(of_descriptor(call).map(Call::Fsync));
        } else if call.starts_with("rename") {
            let q = quoted(call);
            if let [from, to] = q.as_slice() {
                calls.push(Call::Rename(from.clone(), to.clone()));
            }
        } else if call.starts_with("unlink") {
            let dir = of_descriptor(call).filter(|_| call.starts_with("unlinkat"));
            if let Some(name) = quoted(call).into_iter().next() {
                let path = if name.starts_with('/') { name } else { format!("{}/{name}", dir.unwrap_or_default()) };
                calls.push(Call::Unlink(path));
            }
        }
    }
    calls
}

#[test]
fn no_segment_is_unlinked_before_its_parquet_is_fsynced_renamed_and_its_directory_fsynced() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed (Debian package strace)");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let data = root.join("data");
    let all = frames("binance-spot/hft-btcusdt_20240808.zst");
    record(&data.join("wal/binance-spot"), &all[..20_000], 2, 1 << 20);
    let config = root.join("tape.toml");
    std::fs::write(
        &config,
        format!(
            "[data]\ndir = {:?}\n[venues.binance-spot]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\n",
            data.display().to_string()
        ),
    )
    .unwrap();
    let trace = root.join("trace");
    let out = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "4096", "-o"])
        .arg(&trace)
        .args(["-e", "trace=fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"])
        .arg(env!("CARGO_BIN_EXE_tapedeck"))
        .args(["compactor", "--drain", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", crate::support::both(&out));
    judge(&parse(&std::fs::read_to_string(&trace).unwrap()), &data);
}

fn judge(calls: &[Call], data: &Path) {
    let lake = data.join("lake").display().to_string();
    let wal = data.join("wal").display().to_string();
    let mut synced: BTreeSet<&str> = BTreeSet::new();
    // Published files whose directory entry is not yet known to be durable.
    let mut entries_pending: BTreeSet<&str> = BTreeSet::new();
    let mut published = 0;
    let mut unlinked = 0;
    for call in calls {
        match call {
            Call::Fsync(path) => {
                synced.insert(path);
                entries_pending.retain(|p| Path::new(p).parent() != Some(Path::new(path)));
            }
            Call::Rename(from, to) if to.starts_with(&lake) && !to.contains("/.staging/") => {
                assert!(synced.contains(from.as_str()), "{to} was renamed into place before {from} was fsynced");
                entries_pending.insert(to);
                published += 1;
            }
            Call::Unlink(path) if path.starts_with(&wal) && path.ends_with(".wal") => {
                assert!(published > 0, "{path} was deleted before anything was published");
                assert!(
                    entries_pending.is_empty(),
                    "{path} was deleted while the directories of {entries_pending:?} were not fsynced"
                );
                unlinked += 1;
            }
            _ => {}
        }
    }
    println!("{published} files published, {unlinked} segments unlinked, all in order");
    assert!(published >= 4 && unlinked >= 2, "published {published}, unlinked {unlinked}: the test saw too little");
}
