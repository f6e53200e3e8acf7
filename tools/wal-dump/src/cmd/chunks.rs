//! `verify` and `dump` of a log that was shipped: a directory with its chunks, or one of them.
//!
//! The format alone is linked, no object store: copy chunks out of one, or point at a mounted directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ship::codec::{BODY_BYTES_MAX, Chunk, ChunkName, ChunkStep};
use wal_format::{Position, Seq};

use super::{Filter, PlaceArgs};
use crate::Exit;
use crate::print::{self, Shape};

/// Longest file that is read as a chunk.
const FILE_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + (2 << 20);

/// The chunks that `place` means, in the order of the log; `None` if it means something else.
pub fn find(place: &PlaceArgs) -> anyhow::Result<Option<Vec<(ChunkName, PathBuf)>>> {
    let path = &place.path;
    if path.is_file() {
        return Ok(named(path).map(|chunk| vec![chunk]));
    }
    // Whatever else it is says who looks for a log.
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(None) };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(named(&entry.with_context(|| format!("list {}", path.display()))?.path()));
    }
    all.sort();
    Ok((!all.is_empty()).then_some(all))
}

fn named(path: &Path) -> Option<(ChunkName, PathBuf)> {
    let name = path.file_name()?.to_str()?.parse().ok()?;
    Some((name, path.to_owned()))
}

fn open(name: ChunkName, path: &Path) -> anyhow::Result<Chunk> {
    let read = || format!("read {}", path.display());
    let bytes = wal_format::regular::read(path, FILE_BYTES_MAX).with_context(read)?;
    let chunk = Chunk::open(&bytes).with_context(read)?;
    anyhow::ensure!(chunk.header().name() == name, "{} is {}: it was renamed", path.display(), chunk.header());
    Ok(chunk)
}

/// One line for each chunk, and one for each fault.
pub fn verify(chunks: &[(ChunkName, PathBuf)], json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (mut exit, mut records) = (Exit::Clean, 0_u64);
    // Where the chunk before ended.
    let mut end: Option<Position> = None;
    for (name, path) in chunks {
        let mut faults = Vec::new();
        let mut header = None;
        match open(*name, path) {
            Ok(chunk) => {
                let found = chunk.header().clone();
                let (first, start) = (found.first, found.start.seq);
                if end.is_some_and(|end| start != end.seq) {
                    faults.push(format!(
                        "it follows {start}, and the chunk before it ends before {}",
                        end.map_or(Seq(0), |end| end.seq)
                    ));
                } else if end.is_some_and(|end| first < end.seq) {
                    faults.push("it repeats what the chunk before it has".to_owned());
                }
                if found.lost > 0 {
                    exit = exit.max(Exit::Lost);
                }
                records = records.saturating_add(u64::from(found.records));
                end = Some(chunk.end());
                header = Some(found);
            }
            Err(err) => {
                faults.push(format!("{err:#}"));
                end = Some(Position { seq: name.last.next(), ..Position::START });
            }
        }
        if !faults.is_empty() {
            exit = exit.max(Exit::Lost);
        }
        if json {
            let value = serde_json::json!({
                "chunk": name.to_string(),
                "run": header.as_ref().map(|h| h.run.to_string()),
                "records": header.as_ref().map(|h| h.records),
                "lost_ranges": header.as_ref().map(|h| h.lost),
                "first_seq": name.first.get(),
                "last_seq": name.last.get(),
                "faults": faults,
            });
            writeln!(out, "{value}")?;
            continue;
        }
        match &header {
            Some(h) => writeln!(
                out,
                "chunk {} to {}  {:>9} records, {} lost ranges, {}",
                name.first, name.last, h.records, h.lost, h.run
            )?,
            None => writeln!(out, "chunk {} to {}", name.first, name.last)?,
        }
        for fault in &faults {
            writeln!(out, "  damage: {fault}")?;
        }
    }
    let verdict = if exit == Exit::Clean { "clean" } else { "records are lost, or chunks are damaged or missing" };
    if json {
        let sum =
            serde_json::json!({ "chunks": chunks.len(), "records": records, "exit": exit as u8, "verdict": verdict });
        writeln!(out, "{sum}")?;
    } else {
        writeln!(out, "{} chunks, {records} records: {verdict}", chunks.len())?;
    }
    Ok(exit)
}

/// Prints records and lost ranges; a chunk that cannot be read is named on stderr and passed.
pub fn dump(
    chunks: &[(ChunkName, PathBuf)],
    filter: &Filter,
    shape: Shape,
    limit: Option<u64>,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let (mut exit, mut left) = (Exit::Clean, limit.unwrap_or(u64::MAX));
    for (name, path) in chunks {
        let mut chunk = match open(*name, path) {
            Ok(chunk) => chunk,
            Err(err) => {
                eprintln!("{}", wal_format::plain::message(&format!("{err:#}")));
                exit = exit.max(Exit::Lost);
                continue;
            }
        };
        while left > 0
            && let Some(step) = chunk.next()
        {
            match step {
                ChunkStep::Record(record) => {
                    if filter.after(&record) {
                        return Ok(exit);
                    }
                    if !filter.before(&record) && filter.wants(&record) {
                        print::record(out, shape, &record)?;
                        left -= 1;
                    }
                }
                ChunkStep::Lost(lost, _) => {
                    exit = exit.max(Exit::Lost);
                    print::lost(out, shape, &lost)?;
                }
            }
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(path: &Path) -> PlaceArgs {
        PlaceArgs { path: path.to_owned(), archive: None }
    }

    #[test]
    fn chunks_are_verified_and_a_damaged_one_is_named() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chunks/v1.tdc");
        let dir = tempfile::tempdir().unwrap();
        assert!(find(&place(dir.path())).unwrap().is_none());
        let bytes = std::fs::read(kept).unwrap();
        let name = Chunk::open(&bytes).unwrap().header().name();
        let path = dir.path().join(name.to_string());
        std::fs::write(&path, &bytes).unwrap();
        let said = || {
            let mut out = Vec::new();
            let exit = verify(&find(&place(dir.path())).unwrap().unwrap(), false, &mut out).unwrap();
            (exit, String::from_utf8(out).unwrap())
        };
        let (exit, text) = said();
        assert!(exit == Exit::Lost && text.contains("4 records, 1 lost ranges"), "the log lost some: {text}");
        let mut bad = bytes;
        bad[130] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let (exit, text) = said();
        assert!(exit == Exit::Lost && text.contains("checksum of the chunk"), "{text}");
    }
}
