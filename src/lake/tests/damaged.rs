//! Files that are not what was written: whatever a disk, a copy or a program made of them, reading one gives rows, or an
//! error that names it, and never a panic.
//!
//! Pages have no checksum of their own. That values in one are others is what the CRC-32 of a piece and the SHA-256 in a
//! manifest are for.

use std::ops::Range;

use bytes::Bytes;

use super::sample::Dice;
use super::*;

type Cells = Vec<Vec<(&'static str, String)>>;

/// Every Parquet file of the golden lakes, by path.
fn golden() -> Vec<(PathBuf, Vec<u8>)> {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/lake")];
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    assert!(found.len() > 10);
    found
}

/// All rows of a file.
fn read(path: &Path, bytes: &[u8]) -> Result<Cells, LakeError> {
    let file = TableFile::of(path, Object::Memory(Bytes::copy_from_slice(bytes)))?;
    (0..file.groups()).map(|group| Ok(cells(&file.chunk(group)?))).collect()
}

/// Where the footer and the page index in front of it begin: after the last page.
fn end_of_pages(path: &Path, bytes: &[u8]) -> usize {
    let file = TableFile::of(path, Object::Memory(Bytes::copy_from_slice(bytes))).unwrap();
    let columns = file.metadata().row_groups().iter().flat_map(|group| group.columns());
    columns.map(|column| column.byte_range()).map(|(start, len)| (start + len) as usize).max().unwrap()
}

/// A bit, a few bytes, a range or the end of it is lost; where that begins, and in words.
fn damage(bytes: &mut Vec<u8>, within: Range<usize>, dice: &mut Dice) -> (usize, String) {
    let at = within.start + dice.below(within.len() as u64) as usize;
    let end = (at + 1 + dice.below(64) as usize).min(bytes.len());
    match dice.below(8) {
        0..=3 => {
            let bit = dice.below(8);
            bytes[at] ^= 1 << bit;
            (at, format!("bit {bit} of byte {at} is another"))
        }
        4 => {
            bytes[at..end].iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
            (at, format!("bytes {at}..{end} are others"))
        }
        5 => {
            bytes[at..end].fill(0);
            (at, format!("bytes {at}..{end} are zero"))
        }
        6 => {
            bytes.truncate(at);
            (at, format!("it ends at {at}"))
        }
        _ => {
            bytes.drain(at..end);
            (at, format!("bytes {at}..{end} are missing"))
        }
    }
}

#[test]
fn a_damaged_file_gives_its_rows_or_an_error_that_names_it() {
    let env = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = env("TAPEDECK_SEED");
    let runs = env("TAPEDECK_RUNS").unwrap_or(if first.is_some() { 1 } else { 400 });
    let first = first.unwrap_or_else(|| u64::from(std::process::id()) << 32);
    let files: Vec<_> = golden()
        .into_iter()
        .map(|(path, bytes)| (read(&path, &bytes).unwrap(), end_of_pages(&path, &bytes), path, bytes))
        .collect();
    println!("TAPEDECK_SEED={first}, and {} after it", runs - 1);
    let (mut refused, mut panicked, mut as_it_was) = (0, 0, 0);
    for seed in first..first + runs {
        let mut dice = Dice(seed);
        let (rows, pages, path, good) = &files[dice.below(files.len() as u64) as usize];
        let mut bytes = good.clone();
        // What says where things are is the smaller part, and the one that misleads.
        let within = if dice.below(4) == 0 { 0..*pages } else { *pages..good.len() };
        let (at, what) = damage(&mut bytes, within, &mut dice);
        let what = format!("TAPEDECK_SEED={seed}: {}: {what}", path.display());
        match ops::supervise::catch(|| read(path, &bytes)).unwrap_or_else(|panic| panic!("{what}: {panic}")) {
            Err(err) => {
                let err = err.to_string();
                (refused, panicked) = (refused + 1, panicked + u64::from(err.contains("library panicked")));
                assert!(err.contains(path.to_str().unwrap()), "{what}: {err}");
            }
            Ok(found) if found == *rows => as_it_was += 1,
            Ok(found) => {
                let count = |cells: &Cells| cells.iter().map(|group| group[0].1.len()).sum::<usize>();
                assert!(at < *pages, "{what}: {} cells became others, {}", count(rows), count(&found));
            }
        }
    }
    println!("{refused} of {runs} were refused, at {panicked} the library panicked, {as_it_was} read as they were");
    assert!(runs < 100 || refused > 50 && as_it_was > 0, "{refused} of {runs} refused, {as_it_was} read as they were");
}

#[test]
fn a_page_index_that_tells_of_more_pages_than_memory_holds_is_refused() {
    let (path, mut bytes) = golden().remove(0);
    let offset = {
        let file = TableFile::of(&path, Object::Memory(Bytes::copy_from_slice(&bytes))).unwrap();
        file.metadata().row_group(0).column(0).offset_index_offset().unwrap() as usize
    };
    // A list of 2^31 - 1 structs.
    bytes[offset + 1..offset + 7].copy_from_slice(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let err = read(&path, &bytes).unwrap_err().to_string();
    assert!(err.contains("more pages than it has bytes") && err.contains(path.to_str().unwrap()), "{err}");
}
