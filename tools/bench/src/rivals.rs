//! The same records through logs that others use, ns per record: what a user would reach for instead. Built with the
//! feature `rivals` alone, because they are half of what this workspace would compile.
//!
//! A batched one loses its unfinished batch when the process is killed; that is noted beside its name.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use mrecordlog::{MultiRecordLog, SyncPolicy};
use okaywal::{LogVoid, WriteAheadLog};
use raft_engine::{Engine, LogBatch};
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use crate::peers::BATCH;

/// Each of them with what a kill costs it, ns per record.
pub(crate) fn rows(root: &Path, payload: &[u8], records: u64) -> anyhow::Result<Vec<(&'static str, f64)>> {
    Ok(vec![
        ("okaywal, batches of 1,000 (a kill loses the batch)", okaywal(&root.join("okaywal"), payload, records)?),
        ("raft-engine, batches of 1,000 (a kill loses the batch)", raft_engine(&root.join("raft"), payload, records)?),
        ("mrecordlog, each record, fsync every 100 ms", mrecordlog(&root.join("mrecordlog"), payload, records)?),
        ("walrus mmap, each record, fsync every 100 ms", walrus(&root.join("walrus"), true, records)?),
        ("walrus fd, each record, fsync every 100 ms", walrus(&root.join("walrus"), false, records)?),
    ])
}

/// okaywal: one entry of `BATCH` chunks per commit.
fn okaywal(path: &Path, payload: &[u8], records: u64) -> anyhow::Result<f64> {
    let log = WriteAheadLog::recover(path, LogVoid)?;
    let start = Instant::now();
    let mut seq = 0;
    while seq < records {
        let mut entry = log.begin_entry()?;
        for _ in 0..BATCH {
            entry.write_chunk(payload)?;
            seq += 1;
        }
        entry.commit()?;
    }
    let ns = start.elapsed().as_nanos() as f64 / seq as f64;
    drop(log);
    // Its own thread may still write for a moment; the next run clears what is left.
    let _ = std::fs::remove_dir_all(path);
    Ok(ns)
}

/// mrecordlog: one record per call, fsync every 100 ms. It keeps all records in memory, so the run is short.
fn mrecordlog(path: &Path, payload: &[u8], records: u64) -> anyhow::Result<f64> {
    std::fs::create_dir_all(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ns = runtime.block_on(async {
        let policy = SyncPolicy::OnDelay(Duration::from_millis(100));
        let mut log = MultiRecordLog::open_with_prefs(path, policy).await.ok().context("open mrecordlog")?;
        log.create_queue("q").await.ok().context("create a queue")?;
        let start = Instant::now();
        for _ in 0..records {
            log.append_record("q", None, payload).await.ok().context("append")?;
        }
        anyhow::Ok(start.elapsed().as_nanos() as f64 / records as f64)
    })?;
    std::fs::remove_dir_all(path)?;
    Ok(ns)
}

/// raft-engine: `BATCH` keys per log batch, written without waiting for the disk.
fn raft_engine(path: &Path, payload: &[u8], records: u64) -> anyhow::Result<f64> {
    let dir = path.to_str().context("the path is not UTF-8")?.to_owned();
    let engine = Engine::open(raft_engine::Config { dir, ..Default::default() })?;
    let start = Instant::now();
    let mut seq = 0;
    while seq < records {
        let mut batch = LogBatch::with_capacity(BATCH as usize);
        for _ in 0..BATCH {
            batch.put(1, seq.to_be_bytes().to_vec(), payload.to_vec())?;
            seq += 1;
        }
        engine.write(&mut batch, false)?;
    }
    let ns = start.elapsed().as_nanos() as f64 / seq as f64;
    drop(engine);
    std::fs::remove_dir_all(path)?;
    Ok(ns)
}

/// walrus in a process of its own (its folder comes from the environment): one append per record.
fn walrus(path: &Path, mmap: bool, records: u64) -> anyhow::Result<f64> {
    let out = Command::new(std::env::current_exe()?)
        .args(["append", "--walrus", if mmap { "mmap" } else { "fd" }, "--records", &records.to_string()])
        .env("WALRUS_DATA_DIR", path)
        .env("WALRUS_QUIET", "1")
        .output()?;
    let _ = std::fs::remove_dir_all(path);
    let text = String::from_utf8_lossy(&out.stdout);
    let ns = text.lines().find_map(|l| l.strip_prefix("walrus_ns ")).with_context(|| {
        format!("walrus gave no figure: {}", String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("no reason"))
    })?;
    Ok(ns.trim().parse()?)
}

/// The inside of [`walrus`]; prints its figure.
pub(crate) fn walrus_here(backend: &str, payload: &[u8], records: u64) -> anyhow::Result<()> {
    if backend == "mmap" {
        walrus_rust::disable_fd_backend();
    } else {
        walrus_rust::enable_fd_backend();
    }
    let log = Walrus::with_consistency_and_schedule(
        ReadConsistency::AtLeastOnce { persist_every: 1_000_000 },
        FsyncSchedule::Milliseconds(100),
    )?;
    let start = Instant::now();
    for _ in 0..records {
        log.append_for_topic("t", payload)?;
    }
    println!("walrus_ns {}", start.elapsed().as_nanos() as f64 / records as f64);
    Ok(())
}
