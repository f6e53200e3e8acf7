//! What the lake promises, across its files: every row comes back, a join does not depend on how its part was
//! staged, and one symbol is read from few pages.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

mod damaged;
mod sample;

use sample::fill;

use super::column::Column;
use super::read::{TableFile, key};
use super::table::{Event, FrameRow};
use super::*;
use model::row::{AggTrade, BookTicker, Side};
use model::{Interner, Num};

fn rows_of(table: Table, numeric: Numeric, rows: usize, seed: u64) -> RowsChunk {
    rows_with(table, &settings(numeric), rows, seed)
}

fn rows_with(table: Table, settings: &WriteSettings, rows: usize, seed: u64) -> RowsChunk {
    let (mut buffer, names) = fill(table, settings, rows, 40, seed);
    buffer.take_first(rows, &names)
}

/// Every cell of a chunk, columns by name, texts resolved.
fn cells(c: &RowsChunk) -> Vec<(&'static str, String)> {
    let words = |v: &Vec<u32>| v.iter().map(|w| c.words.get(*w as usize).map(|w| w.to_string())).collect::<Vec<_>>();
    c.specs()
        .iter()
        .zip(&c.columns)
        .map(|(s, column)| {
            let text = match column {
                Column::Word(v) => format!("{:?}", words(v)),
                Column::Text(t) => {
                    format!("{:?}", (0..c.rows).map(|i| t.get(i).map(<[u8]>::to_vec)).collect::<Vec<_>>())
                }
                other => format!("{other:?}"),
            };
            (s.name, text)
        })
        .collect()
}

/// A file of one table with rows as a venue could send them.
pub(crate) fn one_file(table: Table, numeric: Numeric, rows: usize, seed: u64, path: &Path) {
    write_piece(path, &rows_of(table, numeric, rows, seed), &settings(numeric), &[]).unwrap();
}

fn settings(numeric: Numeric) -> WriteSettings {
    WriteSettings { row_group_rows: 500, page_rows: 64, numeric, ..WriteSettings::default() }
}

const NUMERICS: [Numeric; 2] = [Numeric::Double, Numeric::Decimal];

#[test]
fn every_table_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for (table, numeric) in Table::ALL.iter().flat_map(|table| NUMERICS.map(|numeric| (table, numeric))) {
        for schema_version in SchemaVersion::NEWEST.all().map(SchemaVersion) {
            let settings = WriteSettings { schema_version, ..settings(numeric) };
            let chunk = rows_with(*table, &settings, 500, 7);
            let path = dir.path().join(format!("{table}-{numeric}.parquet"));
            let info = write_piece(&path, &chunk, &settings, &[]).unwrap();
            assert_eq!(info.rows, 500);
            assert_eq!(info.bytes, std::fs::metadata(&path).unwrap().len());
            assert_eq!(info.inexact, chunk.inexact());
            let file = TableFile::open(&path).unwrap();
            assert_eq!((file.table(), file.numeric(), file.version()), (*table, numeric, schema_version));
            assert_eq!(file.inexact(), chunk.inexact());
            let back = file.chunk(0).unwrap();
            for (a, b) in cells(&chunk).iter().zip(cells(&back)) {
                assert_eq!(*a, b, "{table} {numeric} {schema_version}");
            }
        }
    }
}

#[test]
fn rows_of_a_group_are_sorted_by_symbol_then_by_receive_order() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let chunk = rows_of(Table::Trades, Numeric::Double, 500, 3);
    write_piece(&path, &chunk, &settings(Numeric::Double), &[]).unwrap();
    let mut keys = vec![];
    for batch in TableFile::open(&path).unwrap().batches(0).unwrap() {
        let b = batch.unwrap();
        let ns = b.column(3).as_primitive::<Int64Type>();
        let us = b.column(2).as_primitive::<TimestampMicrosecondType>();
        for i in 0..b.num_rows() {
            assert_eq!(us.value(i), ns.value(i) / 1_000);
            keys.push((
                b.column(0).as_string::<i32>().value(i).to_owned(),
                b.column(4).as_primitive::<Int64Type>().value(i),
                b.column(5).as_primitive::<Int32Type>().value(i),
            ));
        }
    }
    assert_eq!(keys.len(), 500);
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn doubles_that_do_not_survive_are_flagged_and_counted() {
    let names = &mut Interner::new();
    let mut buffer = TableBuffer::new(Table::BookTicker, &WriteSettings::default());
    let long = Num::parse(b"12345.6789012345678").unwrap();
    let short = Num::parse(b"0.10").unwrap();
    for (i, (bid, ask)) in [(short, short), (long, long), (short, long)].into_iter().enumerate() {
        let row = BookTicker {
            symbol: names.intern("A"),
            ts_event_us: None,
            update_id: None,
            bid_price: Some(bid),
            bid_amount: None,
            ask_price: Some(ask),
            ask_amount: Some(short),
        };
        buffer.push(&Common { seq: i as i64, ..Common::default() }, 0, &row);
    }
    assert_eq!(buffer.inexact(), 3);
    let first = buffer.take_first(2, names);
    assert_eq!((first.inexact(), buffer.inexact()), (2, 1));
    let Column::Int32(bits) = &first.columns[table_flags()] else {
        panic!("flags are INT32");
    };
    assert_eq!(*bits, [0, flags::INEXACT]);
}

fn table_flags() -> usize {
    let specs = Table::BookTicker.specs(SchemaVersion::WRITTEN);
    specs.iter().position(|s| s.name == "flags").unwrap()
}

#[test]
fn decimals_are_exact_and_never_flagged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let names = &mut Interner::new();
    let mut buffer = TableBuffer::new(Table::AggTrades, &settings(Numeric::Decimal));
    let price = Num { mantissa: i64::MAX.into(), scale: 0 };
    let amount = Num { mantissa: -1, scale: 18 };
    buffer.push(
        &Common::default(),
        0,
        &AggTrade {
            symbol: names.intern("A"),
            ts_event_us: None,
            ts_trade_us: 0,
            agg_id: i64::MAX,
            first_id: -1,
            last_id: 0,
            price,
            amount,
            side: Side::Buy,
        },
    );
    assert_eq!(buffer.inexact(), 0);
    write_piece(&path, &buffer.take_first(1, names), &settings(Numeric::Decimal), &[]).unwrap();
    let back = TableFile::open(&path).unwrap().chunk(0).unwrap();
    let numbers: Vec<i128> = back
        .columns
        .iter()
        .filter_map(|c| match c {
            Column::Decimal(v) => v.first().copied(),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [price, amount].map(|n| n.to_decimal18().unwrap().0));
}

/// Stages `chunk` in pieces of the given sizes (the rest is the tail) and joins them.
fn join_split(dir: &Path, chunk: &RowsChunk, sizes: &[usize], settings: &WriteSettings) -> (Vec<u8>, FileInfo) {
    let mut rest = chunk.clone();
    let mut pieces: Vec<PieceFile> = vec![];
    for (i, n) in sizes.iter().enumerate() {
        let piece = rest.take_first(*n);
        if piece.rows() == 0 {
            break;
        }
        let path = dir.join(format!("{i}.parquet"));
        // Pieces are written with other key-values than the file: those must not matter.
        let info = write_piece(&path, &piece, settings, &[("piece".into(), i.to_string())]).unwrap();
        pieces.push(PieceFile { path, crc32: Some(info.crc32) });
    }
    let dest = dir.join("joined.parquet");
    let tail = (rest.rows() > 0).then_some(rest);
    let kv = [("log_uuid".to_owned(), "0badcafe".to_owned())];
    let info = join_pieces(&dest, chunk.table(), &pieces, tail, settings, &kv).unwrap();
    (std::fs::read(&dest).unwrap(), info)
}

#[test]
fn joined_bytes_do_not_depend_on_how_the_part_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let sizes = prop::collection::vec(prop_oneof![Just(100_usize), 1_usize..100, Just(1_usize)], 0..14);
    runner
        .run(
            &(sizes, 1_usize..900, 0..Table::ALL.len(), any::<bool>(), any::<u64>()),
            |(sizes, rows, table, decimal, seed)| {
                let numeric = NUMERICS[usize::from(decimal)];
                let s = WriteSettings { row_group_rows: 100, page_rows: 16, ..settings(numeric) };
                let chunk = rows_of(Table::ALL[table], numeric, rows, seed);
                let (whole, plain) = join_split(dir.path(), &chunk, &[], &s);
                let (split, info) = join_split(dir.path(), &chunk, &sizes, &s);
                prop_assert_eq!(plain.copied, 0);
                prop_assert_eq!(plain.groups, chunk.rows().div_ceil(100));
                prop_assert_eq!(&plain.sha256, &info.sha256);
                prop_assert_eq!(plain.inexact, chunk.inexact());
                prop_assert!(whole == split, "split {sizes:?} of {rows} rows gives other bytes");
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn full_groups_are_copied_and_the_result_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for table in Table::ALL {
        let s = WriteSettings { row_group_rows: 100, ..settings(Numeric::Double) };
        let chunk = rows_of(*table, Numeric::Double, 350, 11);
        let (whole, _) = join_split(dir.path(), &chunk, &[], &s);
        let (split, info) = join_split(dir.path(), &chunk, &[100, 100, 100, 50], &s);
        assert_eq!((info.groups, info.copied), (4, 3), "{table}");
        assert_eq!(info.sha256, piece::hex(&<sha2::Sha256 as sha2::Digest>::digest(&split)));
        assert!(whole == split, "{table}");
    }
}

#[test]
fn pieces_of_other_settings_are_encoded_again() {
    let dir = tempfile::tempdir().unwrap();
    let s = WriteSettings { row_group_rows: 100, ..settings(Numeric::Double) };
    let other = WriteSettings { zstd_level: 1, ..s.clone() };
    let mut chunk = rows_of(Table::Trades, Numeric::Double, 200, 5);
    let (whole, _) = join_split(dir.path(), &chunk, &[], &s);
    let first = dir.path().join("first.parquet");
    write_piece(&first, &chunk.take_first(100), &other, &[]).unwrap();
    let dest = dir.path().join("j.parquet");
    let kv = [("log_uuid".to_owned(), "0badcafe".to_owned())];
    let first = PieceFile { path: first, crc32: None };
    let info = join_pieces(&dest, Table::Trades, &[first], Some(chunk), &s, &kv).unwrap();
    assert_eq!(info.copied, 0);
    assert!(std::fs::read(&dest).unwrap() == whole);
}

#[test]
fn pieces_that_overlap_or_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let s = WriteSettings { row_group_rows: 100, ..settings(Numeric::Double) };
    let chunk = rows_of(Table::Trades, Numeric::Double, 100, 5);
    let piece = dir.path().join("0.parquet");
    let crc32 = Some(write_piece(&piece, &chunk, &s, &[]).unwrap().crc32);
    let piece = PieceFile { path: piece, crc32 };
    let dest = dir.path().join("j.parquet");
    let join = |table, pieces: &[PieceFile], tail, s: &WriteSettings| {
        join_pieces(&dest, table, pieces, tail, s, &[]).unwrap_err()
    };
    let twice = [piece.clone(), piece.clone()];
    assert!(matches!(join(Table::Trades, &twice, None, &s), LakeError::OutOfOrder { .. }));
    let once = [piece];
    assert!(matches!(join(Table::Trades, &once, Some(chunk.clone()), &s), LakeError::OutOfOrder { .. }));
    assert!(matches!(join(Table::Depth, &once, None, &s), LakeError::Foreign { .. }));
    let decimal = WriteSettings { numeric: Numeric::Decimal, ..s.clone() };
    assert!(matches!(join(Table::Trades, &once, None, &decimal), LakeError::Foreign { .. }));
    assert!(matches!(join(Table::Trades, &[], None, &s), LakeError::GroupSize { .. }));
    let small = WriteSettings { row_group_rows: 99, ..s };
    assert!(matches!(
        write_piece(&dest, &chunk, &small, &[]).unwrap_err(),
        LakeError::GroupSize { rows: 100, max: 99, .. }
    ));
}

#[test]
fn a_piece_with_any_byte_changed_or_missing_is_an_error_and_not_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let s = settings(Numeric::Double);
    let path = dir.path().join("0.parquet");
    let info = write_piece(&path, &rows_of(Table::Depth, Numeric::Double, 300, 5), &s, &[]).unwrap();
    let join = |crc32| {
        let piece = PieceFile { path: path.clone(), crc32 };
        join_pieces(&dir.path().join("j"), Table::Depth, &[piece], None, &s, &[])
    };
    join(Some(info.crc32)).unwrap();
    let good = std::fs::read(&path).unwrap();
    for cut in [0, 3, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(matches!(join(Some(info.crc32)), Err(LakeError::Damaged { .. })), "cut at {cut}");
        // One of version 1, without a sum.
        assert!(join(None).is_err(), "cut at {cut}");
    }
    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(join(Some(info.crc32)), Err(LakeError::Damaged { .. })), "byte {at}");
    }
}

#[test]
fn footers_say_what_the_file_is_and_carry_the_callers_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let s = WriteSettings { version: "9.9.9".into(), ..settings(Numeric::Double) };
    let kv = [("log".to_owned(), "u".to_owned()), ("manifest".to_owned(), "d".to_owned())];
    let chunk = rows_of(Table::Depth, Numeric::Double, 10, 1);
    write_piece(&path, &chunk, &s, &kv).unwrap();
    let f = TableFile::open(&path).unwrap();
    assert_eq!(f.metadata().file_metadata().created_by(), Some("tapedeck 9.9.9"));
    assert_eq!(
        f.key_values(),
        [
            (key::TABLE, "depth".to_owned()),
            (key::SCHEMA_VERSION, "1".to_owned()),
            (key::SETTINGS, "row_group_rows=500 page_rows=64 zstd_level=3 numeric=double".to_owned()),
            (key::INEXACT_VALUES, chunk.inexact().to_string()),
            ("log", "u".to_owned()),
            ("manifest", "d".to_owned()),
            // Only a piece says so.
            (key::WHOLE_GROUP, "false".to_owned())
        ]
        .map(|(k, v)| (k.to_owned(), v))
    );
}

/// 500 symbols of very different size; whichever is read, the column index leaves few pages.
#[test]
fn one_of_500_symbols_is_read_from_less_than_a_tenth_of_the_pages() {
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let s = WriteSettings { row_group_rows: 40_000, page_rows: 2_500, ..WriteSettings::default() };
    let (mut buffer, names) = fill(Table::AggTrades, &s, 40_000, 500, 9);
    write_piece(&path, &buffer.take_first(40_000, &names), &s, &[]).unwrap();
    let f = TableFile::open(&path).unwrap();
    let index = f.metadata().page_index().unwrap();
    let offsets = index.offset_index(0, 0).unwrap();
    let pages = offsets.page_locations().len();
    let ColumnIndexMetaData::BYTE_ARRAY(column) = index.column_index(0, 0).unwrap() else {
        panic!("symbol is a text");
    };
    assert!(index.column_index(0, 0).unwrap().is_sorted());
    assert!((12..=32).contains(&pages), "{pages}");
    let (mut all, mut worst) = (0, 0);
    for i in 0..names.len() {
        let name = names.name(model::SymbolId(i as u32)).as_bytes();
        let hit = (0..pages)
            .filter(|p| column.min_value(*p).unwrap() <= name && name <= column.max_value(*p).unwrap())
            .count();
        assert!(hit > 0);
        worst = worst.max(hit);
        all += hit;
        // Every column is cut at the same rows, so the same share is read of each.
        assert_eq!(index.offset_index(0, 11).unwrap().page_locations().len(), pages);
    }
    assert_eq!(names.len(), 500);
    assert!(worst * 10 < pages, "worst symbol: {worst} of {pages} pages");
    assert_eq!(all, 500, "no page shares a symbol with its neighbour");
}

#[test]
fn statistics_bound_every_column() {
    use parquet::file::statistics::Statistics;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let chunk = rows_of(Table::BookTicker, Numeric::Double, 400, 2);
    write_piece(&path, &chunk, &settings(Numeric::Double), &[]).unwrap();
    let f = TableFile::open(&path).unwrap();
    for (spec, (c, column)) in chunk.specs().iter().zip(f.metadata().row_group(0).columns().iter().zip(&chunk.columns))
    {
        let s = c.statistics().unwrap();
        match (s, column) {
            (Statistics::Double(s), Column::Double(v)) => {
                let values: Vec<f64> = v.iter().filter(|x| **x != u64::MAX).map(|x| f64::from_bits(*x)).collect();
                let min = values.iter().copied().fold(f64::INFINITY, f64::min);
                let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!((s.min_opt(), s.max_opt()), (Some(&min), Some(&max)), "{}", spec.name);
                assert_eq!(s.null_count_opt(), Some((v.len() - values.len()) as u64));
            }
            (Statistics::Int64(s), Column::Int64(v)) => {
                let min = v.iter().filter(|x| **x != i64::MIN).min();
                assert_eq!((s.min_opt(), s.max_opt()), (min, v.iter().max()), "{}", spec.name);
            }
            _ => assert!(s.min_bytes_opt().is_some(), "{}", spec.name),
        }
    }
}

#[test]
fn a_row_of_another_table_is_a_bug_that_shows() {
    let r = std::panic::catch_unwind(|| {
        let mut b = TableBuffer::new(Table::Trades, &WriteSettings::default());
        b.push(&Common::default(), 0, &Event { symbol: None, ts_event_us: None, kind: "x", detail: "{}" });
    });
    assert!(r.is_err());
}

#[test]
fn differences_of_two_lakes_are_found_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let part = Part { venue: "x".into(), hour: Hour(0), log8: "00000000".into(), incarnation: 0, first_seq: 0 };
    let write = |lake: &str, table, chunk: &RowsChunk, s: &WriteSettings| {
        let path = dir.path().join(lake).join(part.file(table));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        join_pieces(&path, table, &[], Some(chunk.clone()), s, &[]).unwrap();
    };
    let s = settings(Numeric::Double);
    let chunk = rows_of(Table::Trades, Numeric::Double, 700, 1);
    for lake in ["a", "b"] {
        write(lake, Table::Trades, &chunk, &s);
        write(lake, Table::Events, &rows_of(Table::Events, Numeric::Double, 10, 1), &s);
    }
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    assert_eq!(diff_trees(&Lake::open(&a), &Lake::open(&b)).unwrap(), []);

    // Equal rows, other bytes.
    write("b", Table::Trades, &chunk, &WriteSettings { row_group_rows: 300, ..s.clone() });
    let trades = PathBuf::from(part.file(Table::Trades));
    assert_eq!(diff_trees(&Lake::open(&a), &Lake::open(&b)).unwrap(), [Difference::Bytes(trades.clone())]);

    // A missing row, a changed row.
    let mut changed = chunk.clone();
    let mut fewer = changed.take_first(650);
    changed.take_first(1);
    if let Column::Double(v) = &mut changed.columns[10] {
        v[3] = 1.0_f64.to_bits();
    }
    assert!(fewer.append(changed));
    write("b", Table::Trades, &fewer, &s);
    let found = diff_trees(&Lake::open(&a), &Lake::open(&b)).unwrap();
    let key = chunk.key(650).unwrap();
    assert_eq!(
        found,
        [Difference::Rows {
            path: trades,
            only_a: 1,
            only_b: 0,
            changed: 1,
            first: format!("seq {} row {} only in the first", key.0, key.1),
        }]
    );

    std::fs::remove_file(b.join(part.file(Table::Events))).unwrap();
    std::fs::create_dir_all(b.join(".staging")).unwrap();
    std::fs::write(b.join(".staging/x"), "hidden").unwrap();
    assert!(
        diff_trees(&Lake::open(&a), &Lake::open(&b))
            .unwrap()
            .contains(&Difference::OnlyInA(part.file(Table::Events).into()))
    );
}

/// Writes one file of every table for other readers to look at: `LAKE_SAMPLES=dir cargo test samples`.
#[test]
fn samples_for_other_readers() {
    let keep = std::env::var("LAKE_SAMPLES").ok().map(PathBuf::from);
    let dir = tempfile::tempdir().unwrap();
    let dir = keep.unwrap_or(dir.path().to_owned());
    for table in Table::ALL {
        for numeric in NUMERICS {
            let chunk = rows_of(*table, numeric, 2_000, 7);
            let s = WriteSettings { row_group_rows: 700, ..settings(numeric) };
            let path = dir.join(format!("{table}.{numeric}.parquet"));
            let info = join_pieces(&path, *table, &[], Some(chunk), &s, &[]).unwrap();
            assert_eq!((info.rows, info.groups), (2_000, 3));
        }
    }
}

#[test]
fn row_groups_of_large_rows_end_by_their_bytes_however_the_part_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let s = WriteSettings { row_group_rows: 40, ..settings(Numeric::Double) };
    // From 1 KiB to 3 MiB, some MiB more than two groups hold.
    let payload = |i: usize| vec![b'a' + (i % 26) as u8; if i.is_multiple_of(3) { 1 << 10 } else { (1 + i % 3) << 20 }];
    let rows = |range: std::ops::Range<usize>| {
        let mut buffer = TableBuffer::new(Table::Frames, &WriteSettings::default());
        for i in range {
            let payload = payload(i);
            let row = FrameRow { symbol: None, channel: None, encoding: "text", payload: &payload, reason: "no" };
            buffer.push(&Common { seq: i as i64, ..Common::default() }, 0, &row);
        }
        buffer
    };
    let whole = rows(0..25).take_first(usize::MAX, &Interner::new());
    let dest = dir.path().join("whole");
    let plain = join_pieces(&dest, Table::Frames, &[], Some(whole), &s, &[]).unwrap();
    let file = TableFile::open(&dest).unwrap();
    let groups: Vec<usize> = (0..file.groups()).map(|g| file.group_rows(g)).collect();
    assert_eq!(groups, [11, 10, 4], "each ends with the row that brings it to 16 MiB");
    for cuts in [vec![11, 21], vec![3, 11, 15, 21, 22], vec![11, 14]] {
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in &cuts {
            let path = dir.path().join(format!("{}-{cut}", cuts.len()));
            let mut buffer = rows(from..*cut);
            let info = write_piece(&path, &buffer.take_first(usize::MAX, &Interner::new()), &s, &[]).unwrap();
            pieces.push(PieceFile { path, crc32: Some(info.crc32) });
            from = *cut;
        }
        let tail = rows(from..25).take_first(usize::MAX, &Interner::new());
        let joined = join_pieces(&dir.path().join("joined"), Table::Frames, &pieces, Some(tail), &s, &[]).unwrap();
        assert_eq!((&joined.sha256, joined.groups), (&plain.sha256, 3), "{cuts:?}");
        assert_eq!(joined.copied, usize::from(cuts[0] == 11) + usize::from(cuts == [11, 21]), "{cuts:?}");
    }
    // What is staged counts, and what fills a group is known before the row after it comes.
    let mut filled = Filled::default();
    assert_eq!(rows(0..25).full(filled, 40), Some(11));
    assert_eq!(rows(0..10).full(filled, 40), None);
    filled.add(3, rows(0..3).text_bytes(3), 40);
    assert_eq!(rows(3..11).full(filled, 40), Some(8));
    assert_eq!(rows(3..11).full(filled, 5), Some(2));
}

/// `side` of liquidations may be null since Gate's says nothing of it; files of before have it in every row.
#[test]
fn a_file_whose_column_could_not_be_null_yet_is_read_and_one_that_lacks_what_must_be_there_is_not() {
    use std::sync::Arc;

    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("now.parquet");
    let read = |path: &std::path::Path| {
        let file = std::fs::File::open(path).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.build().unwrap().next().unwrap().unwrap()
    };
    let full = |seed: &u64| {
        let chunk = rows_of(Table::Liquidations, Numeric::Double, 3, *seed);
        write_piece(&path, &chunk, &settings(Numeric::Double), &[]).unwrap();
        arrow_array::Array::null_count(read(&path).column_by_name("side").unwrap()) == 0
    };
    (1..100).find(full).unwrap();
    let (now, batch) = (TableFile::open(&path).unwrap(), read(&path));
    let words: Vec<KeyValue> = now.key_values().into_iter().map(|(k, v)| KeyValue::new(k, v)).collect();
    let rewritten = |name: &str, nullable: bool| {
        let change = |f: &arrow_schema::FieldRef| match f.name() == name {
            true => (**f).clone().with_nullable(nullable),
            false => (**f).clone(),
        };
        let fields: Vec<_> = batch.schema().fields().iter().map(change).collect();
        let schema = Arc::new(arrow_schema::Schema::new(fields));
        let batch = arrow_array::RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap();
        let path = dir.path().join(format!("{name}-{nullable}.parquet"));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(words.clone())).build();
        let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        TableFile::open(&path)
    };
    let before = rewritten("side", false).unwrap();
    assert_eq!(cells(&before.chunk(0).unwrap()), cells(&now.chunk(0).unwrap()));
    assert!(rewritten("price", true).is_err(), "what may be null there must be there");
}

fn of(schema_version: SchemaVersion) -> WriteSettings {
    WriteSettings { row_group_rows: 100, schema_version, ..settings(Numeric::Double) }
}

#[test]
fn what_is_newest_is_written_but_for_the_second_version_which_nobody_fills_yet() {
    let written = SchemaVersion::WRITTEN;
    assert!(written == SchemaVersion::NEWEST || SchemaVersion::NEWEST == SchemaVersion::SECOND, "{written}");
}

#[test]
fn a_version_adds_columns_behind_those_of_the_one_before_and_older_rows_are_null_there() {
    let ts = |c: &RowsChunk| cells(c).into_iter().find(|(name, _)| *name == "ts").map(|(_, values)| values);
    for table in Table::ALL {
        let first = rows_with(*table, &of(SchemaVersion::FIRST), 100, 3);
        let second = rows_with(*table, &of(SchemaVersion::SECOND), 100, 3);
        let widened = first.clone().of_version(SchemaVersion::SECOND).unwrap();
        assert_eq!(cells(&second)[..first.columns.len()], cells(&first), "{table}");
        assert_eq!(cells(&widened)[..first.columns.len()], cells(&first), "{table}");
        assert_eq!(widened.specs().len(), widened.columns.len());
        assert_eq!(ts(&widened), Some(format!("{:?}", Column::Int64(vec![column::NULL_I64; 100]))), "{table}");
        assert!(!ts(&second).unwrap().contains(&column::NULL_I64.to_string()), "{table}: every row has a time");
        assert!(second.of_version(SchemaVersion::FIRST).is_none(), "what a newer version says is not lost in silence");
    }
}

#[test]
fn a_part_that_was_begun_in_an_older_version_is_joined_as_it_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    for table in Table::ALL {
        let s = of(SchemaVersion::FIRST);
        let chunk = rows_with(*table, &s, 350, 11);
        let (whole, _) = join_split(dir.path(), &chunk, &[], &s);
        let (split, info) = join_split(dir.path(), &chunk, &[100, 70, 100], &s);
        assert!(whole == split && info.copied == 1, "{table}");
        let joined = TableFile::open(&dir.path().join("joined.parquet")).unwrap();
        assert_eq!(joined.version(), SchemaVersion::FIRST);
        assert_eq!(joined.key_value(key::SCHEMA_VERSION), Some("1"));
    }
}

#[test]
fn a_piece_of_an_older_version_fits_into_a_newer_part_and_never_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (of(SchemaVersion::FIRST), of(SchemaVersion::SECOND));
    let join = |begun: &WriteSettings, part: &WriteSettings| {
        let mut chunk = rows_with(Table::Trades, begun, 200, 5);
        let path = dir.path().join("piece.parquet");
        let crc32 = Some(write_piece(&path, &chunk.take_first(100), begun, &[]).unwrap().crc32);
        let tail = chunk.of_version(part.schema_version);
        let dest = dir.path().join("j.parquet");
        join_pieces(&dest, Table::Trades, &[PieceFile { path, crc32 }], tail, part, &[]).map(|info| (info, dest))
    };
    let (info, dest) = join(&old, &new).unwrap();
    assert_eq!((info.rows, info.copied), (200, 0), "its columns are not those of the part");
    let widened = rows_with(Table::Trades, &old, 200, 5).of_version(SchemaVersion::SECOND).unwrap();
    let file = TableFile::open(&dest).unwrap();
    assert_eq!(cells(&file.chunk(0).unwrap()), cells(&widened.clone().take_first(100)));
    assert!(matches!(join(&new, &old), Err(LakeError::Foreign { .. })));
}

#[test]
fn files_of_two_versions_differ_in_bytes_and_not_in_rows() {
    let dir = tempfile::tempdir().unwrap();
    for (lake, version) in [("a", SchemaVersion::FIRST), ("b", SchemaVersion::SECOND)] {
        std::fs::create_dir_all(dir.path().join(lake)).unwrap();
        for table in Table::ALL {
            let path = dir.path().join(lake).join(format!("{table}.parquet"));
            write_piece(&path, &rows_with(*table, &of(version), 100, 9), &of(version), &[]).unwrap();
        }
    }
    let found = diff_trees(&Lake::open(&dir.path().join("a")), &Lake::open(&dir.path().join("b"))).unwrap();
    assert_eq!(found.len(), Table::ALL.len());
    assert!(found.iter().all(|d| matches!(d, Difference::Bytes(_))), "{found:?}");
}

#[test]
fn a_file_of_a_version_that_is_not_known_yet_names_itself_and_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    write_piece(&path, &rows_with(Table::Depth, &of(SchemaVersion::FIRST), 10, 1), &of(SchemaVersion::FIRST), &[])
        .unwrap();
    // The footer is Thrift: a value of one digit is as long as another one.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(14).rposition(|w| w == b"schema_version").unwrap();
    let digit = (at + 14..at + 24).find(|i| bytes[*i] == b'1').unwrap();
    bytes[digit] = b'9';
    std::fs::write(&path, &bytes).unwrap();
    let err = TableFile::open(&path).unwrap_err();
    assert!(matches!(err, LakeError::Newer { found: 9, .. }), "{err}");
    let err = err.to_string();
    assert!(err.contains("t.parquet") && err.contains("schema version is 9, this program knows up to 2"), "{err}");
}
