//! The lake as text: the rows of the Parquet lake in the same order, published by the same rules, killed at every step.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};

use super::*;
use lake::LakeFormat;

fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let text = zstd::decode_all(&bytes[..]).unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// Keys of a Parquet file in the order of the file.
fn keys(path: &Path) -> Vec<(i64, i64)> {
    let file = TableFile::open(path).unwrap();
    let mut keys = Vec::new();
    for g in 0..file.groups() {
        for batch in file.batches(g).unwrap() {
            let batch = batch.unwrap();
            let seq = batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>();
            let row = batch.column_by_name("row_in_frame").unwrap().as_primitive::<Int32Type>();
            keys.extend((0..batch.num_rows()).map(|i| (seq.value(i), i64::from(row.value(i)))));
        }
    }
    keys
}

/// Cells of a CSV line; quoted cells keep what they hold.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cells.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn text_lakes_hold_the_rows_of_the_parquet_lake_in_its_order() {
    let parquet = three_hours(2_000);
    let jsonl = parquet.copy_of_log();
    let csv = parquet.copy_of_log();
    parquet.drain();
    jsonl.worker(Mode::Drain, |c| c.lake.format = LakeFormat::Jsonl).run().unwrap();
    csv.worker(Mode::Drain, |c| c.lake.format = LakeFormat::Csv).run().unwrap();
    let (mut files, mut rows) = (0, 0);
    for (part, manifest) in parquet.manifests() {
        for table in Table::ALL.iter().copied().filter(|t| manifest.rows.contains_key(t)) {
            let source = parquet.lake().join(part.file(table));
            if !source.exists() {
                continue;
            }
            files += 1;
            let objects: Vec<serde_json::Map<String, serde_json::Value>> =
                lines(&jsonl.lake().join(part.file_as(table, LakeFormat::Jsonl)))
                    .iter()
                    .map(|l| serde_json::from_str(l).unwrap())
                    .collect();
            let reported: Vec<(i64, i64)> =
                objects.iter().map(|o| (o["seq"].as_i64().unwrap(), o["row_in_frame"].as_i64().unwrap())).collect();
            assert_eq!(reported, keys(&source), "{table}");
            rows += reported.len();
            let text = lines(&csv.lake().join(part.file_as(table, LakeFormat::Csv)));
            // A quoted payload may hold line ends.
            if table == Table::Events || table == Table::Frames {
                continue;
            }
            let names = cells(&text[0]);
            assert_eq!(text.len() - 1, objects.len(), "{table}");
            for (line, object) in text[1..].iter().zip(&objects) {
                let cells = cells(line);
                assert_eq!(cells.len(), names.len());
                for (name, cell) in names.iter().zip(&cells) {
                    let same = match object.get(name) {
                        None => cell.is_empty(),
                        Some(serde_json::Value::String(s)) => s == cell,
                        Some(serde_json::Value::Number(n)) => cell.parse::<f64>().ok() == n.as_f64(),
                        Some(other) => cell.parse::<serde_json::Value>().as_ref().ok() == Some(other),
                    };
                    assert!(same, "{table} {name}: {cell:?} against {:?}", object.get(name));
                }
            }
        }
    }
    assert!(files > 8 && rows > 2_000, "{files} files, {rows} rows");
    for (bed, format) in [(&jsonl, LakeFormat::Jsonl), (&csv, LakeFormat::Csv)] {
        let of_text = bed.manifests();
        assert_eq!(of_text.len(), parquet.manifests().len());
        for (part, m) in &of_text {
            m.check().unwrap();
            assert!(m.files.iter().all(|f| f.path.ends_with(format.extension())), "{part:?}");
            for f in &m.files {
                let bytes = std::fs::read(bed.lake().join(&f.path)).unwrap();
                assert_eq!((lake::hash::sha256_hex(&bytes), bytes.len() as u64), (f.sha256.clone(), f.bytes));
            }
        }
        bed.verify(checkable(bed));
    }
}

/// Parts that the log still holds whole.
fn checkable(bed: &Bed) -> usize {
    let first = wal_format::list_segments(&bed.wal()).unwrap()[0].id.0;
    bed.manifests().iter().filter(|(_, m)| m.first.segment >= first).count()
}

#[test]
fn a_kill_at_every_step_of_publishing_text_gives_the_bytes_of_a_clean_run() {
    let text = |c: &mut Config| {
        c.lake.format = LakeFormat::Jsonl;
        Bed::eager(c);
        c.lake.batch_rows = 400;
    };
    let clean = three_hours(300);
    let log = clean.copy_of_log();
    clean.worker(Mode::Drain, text).run().unwrap();
    let mut met = 0;
    for point in failpoint::list().into_iter().filter(|p| p.starts_with("publish.") || p.starts_with("cut.")) {
        for n in [1, 3] {
            let bed = log.copy_of_log();
            let worker = bed.worker(Mode::Drain, text);
            if armed_for(&point, n, || worker.run().unwrap()).is_none() {
                met += 1;
                bed.worker(Mode::Drain, text).run().unwrap();
            }
            assert_same(&clean, &bed, &format!("{point}:{n}"));
            assert!(bed.no_staging_left());
        }
    }
    assert!(met > 30, "only {met} points were met");
}

#[test]
fn an_hour_that_was_begun_keeps_its_format_and_a_replay_of_both_is_equal() {
    let bed = three_hours(2_000);
    let keep = |c: &mut Config| c.capture.wal.retention_hours = 24 * 365 * 50;
    let killed = bed.worker(Mode::Drain, |c| {
        keep(c);
        Bed::eager(c);
        c.lake.batch_rows = 50;
    });
    assert!(armed_for("session.record", 900, || killed.run().unwrap()).is_none());
    bed.worker(Mode::Drain, |c| {
        keep(c);
        c.lake.format = LakeFormat::Csv;
    })
    .run()
    .unwrap();
    let manifests = bed.manifests();
    let formats: Vec<LakeFormat> = manifests.iter().map(|(_, m)| m.settings.format).collect();
    assert!(formats.contains(&LakeFormat::Parquet) && formats.contains(&LakeFormat::Csv), "{formats:?}");
    bed.verify(manifests.len());
}
