//! Every defect that archives have, made by the test: each ends in the right rows, and `stats.json` names it.

use history::clean::pack::{pack, store};

use crate::support::archive::Archive;

const UM: &str = "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08-";
const UM_MONTH: &str = "data/futures/um/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08.zip";
const AGG: &str = "agg_trades/exchange=binance-usdm/BTCUSDT";
/// 2024-08-08 00:00 UTC, ms.
const DAY: i64 = 1_723_075_200_000;
const DAY_MS: i64 = 86_400_000;

fn day(n: u32) -> String {
    format!("{UM}{n:02}.zip")
}

/// An aggregate as the archive writes it, `at` ms after 2024-08-08; trade ids are three times the aggregate's.
fn agg(id: i64, at: i64) -> String {
    format!("{id},{}.5,0.25,{},{},{},true\n", 60_000 + id, id * 3, id * 3 + 2, DAY + at)
}

fn aggs(ids: impl IntoIterator<Item = i64>) -> String {
    ids.into_iter().map(|id| agg(id, id * 10)).collect()
}

/// One defect.
struct Case {
    name: &'static str,
    files: Vec<(String, Content)>,
    /// Ids that are in the lake then.
    ids: Vec<i64>,
    /// Defects that `stats.json` must name, with their counts; it names no others.
    defects: Vec<(&'static str, u64)>,
    /// Line and reason of what was put aside.
    aside: Vec<(u64, &'static str)>,
}

enum Content {
    Csv(String),
    Zip(Vec<u8>),
    /// With a `.CHECKSUM` of other bytes.
    WrongChecksum(String),
    NoChecksum(String),
}

use Content::{Csv, NoChecksum, WrongChecksum, Zip};

fn case(
    name: &'static str,
    files: Vec<(String, Content)>,
    ids: impl IntoIterator<Item = i64>,
    defects: &[(&'static str, u64)],
    aside: &[(u64, &'static str)],
) -> Case {
    Case { name, files, ids: ids.into_iter().collect(), defects: defects.to_vec(), aside: aside.to_vec() }
}

const HEADER: &str = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n";

fn zip_of(csv: &str) -> Vec<u8> {
    pack("BTCUSDT-aggTrades-2024-08-08.csv", csv.as_bytes()).unwrap()
}

fn cases() -> Vec<Case> {
    let next_day = |ids: std::ops::Range<i64>| -> String { ids.map(|id| agg(id, DAY_MS + id * 10)).collect() };
    let truncated = {
        let zip = zip_of(&aggs(0..4_000));
        zip[..zip.len() * 2 / 3].to_vec()
    };
    let bit_flipped = {
        let mut zip = zip_of(&aggs(0..4_000));
        let at = zip.len() / 2;
        zip[at] ^= 0x10;
        zip
    };
    let bomb = pack("BTCUSDT-aggTrades-2024-08-08.csv", &vec![b'\n'; 32 << 20]).unwrap();
    let named = |name: &str| Zip(pack(name, aggs(0..5).as_bytes()).unwrap());
    let several = store(&[("README.txt", b"hello"), ("BTCUSDT-aggTrades-2024-08-08.csv", aggs(0..5).as_bytes())]);
    vec![
        case("a usual file", vec![(day(8), Csv(aggs(0..5)))], 0..5, &[], &[]),
        case("a header", vec![(day(8), Csv(format!("{HEADER}{}", aggs(0..5))))], 0..5, &[], &[]),
        case(
            "a header in one file of a series only",
            vec![
                (day(8), Csv(aggs(0..5))),
                (day(9), Csv(format!("{HEADER}{}", next_day(5..7)))),
                (day(10), Csv(agg(7, 2 * DAY_MS))),
            ],
            0..8,
            &[("header_comes_and_goes", 1)],
            &[],
        ),
        case(
            "a header again inside a file",
            vec![(day(8), Csv(format!("{HEADER}{}{HEADER}{}", aggs(0..3), aggs(3..5))))],
            0..5,
            &[("headers_inside", 1)],
            &[],
        ),
        case(
            "columns in another order",
            vec![
                (
                    day(8),
                    Csv(format!("{}{}", HEADER.replace("first_trade_id,last", "last_trade_id,first"), aggs(0..3))),
                ),
                (day(9), Csv(format!("{HEADER}{}", next_day(3..5)))),
            ],
            3..5,
            &[("refused_zip", 1)],
            &[],
        ),
        case(
            "columns with names that nobody knows",
            vec![(day(8), Csv(format!("{}{}", HEADER.replace("transact_time", "match_time"), aggs(0..3))))],
            0..3,
            &[],
            &[],
        ),
        case(
            "microseconds among milliseconds",
            vec![(day(8), Csv(format!("{}2,60002.5,0.25,6,8,{}000,true\n{}", aggs(0..2), DAY + 20, aggs(3..5))))],
            0..5,
            &[("mixed_time_units", 1)],
            &[],
        ),
        case(
            "every spelling of true",
            vec![(
                day(8),
                Csv(aggs(0..6)
                    .lines()
                    .zip(["true", "True", "TRUE", "1", "false", "0"])
                    .map(|(l, b)| format!("{}{b}\n", l.strip_suffix("true").unwrap()))
                    .collect()),
            )],
            0..6,
            &[],
            &[],
        ),
        case(
            "place-holders",
            vec![(day(8), Csv(format!("{}5,0.00000000,0.00000000,-1,-1,{DAY},True\n{}", aggs(0..5), aggs(6..8))))],
            [0, 1, 2, 3, 4, 6, 7],
            &[("sentinel_rows", 1), ("missing_ids", 1), ("missing_trade_ids", 3)],
            &[],
        ),
        case(
            "rows out of order",
            vec![(day(8), Csv(aggs([3, 0, 1, 4, 2, 5])))],
            0..6,
            &[("rows_out_of_order", 3)],
            &[],
        ),
        case(
            "the same rows again",
            vec![(day(8), Csv(aggs([0, 1, 1, 2, 2, 2, 3])))],
            0..4,
            &[("duplicate_rows", 3)],
            &[],
        ),
        case(
            "the same rows again, later",
            vec![(day(8), Csv(aggs([0, 1, 2, 3, 0, 1])))],
            0..4,
            &[("duplicate_rows", 2), ("rows_out_of_order", 2)],
            &[],
        ),
        case(
            "other values under the same id",
            vec![(day(8), Csv(format!("{}1,1.5,9,3,5,{DAY},true\n{}", aggs(0..2), aggs(2..4))))],
            0..4,
            &[("conflicting_rows", 1)],
            &[(3, "line: other values under the key that was taken as line 2")],
        ),
        case(
            "a truncated zip, and a whole one of the next day",
            vec![(day(8), Zip(truncated)), (day(9), Csv(next_day(4_000..4_003)))],
            4_000..4_003,
            &[("damaged_zip", 1)],
            &[],
        ),
        case("a flipped bit", vec![(day(8), Zip(bit_flipped))], [], &[("damaged_zip", 1)], &[]),
        case(
            "a CSV that ends inside a line",
            vec![(day(8), Csv(aggs(0..5).trim_end_matches("ue\n").to_owned()))],
            0..4,
            &[("last_line_without_end", 1), ("lines_put_aside", 1)],
            &[(5, "is_buyer_maker: neither true nor false")],
        ),
        case(
            "a CSV whose last line is whole but has no end",
            vec![(day(8), Csv(aggs(0..5).trim_end().to_owned()))],
            0..5,
            &[("last_line_without_end", 1)],
            &[],
        ),
        case("a wrong checksum", vec![(day(8), WrongChecksum(aggs(0..5)))], [], &[("wrong_checksum", 1)], &[]),
        case("no checksum", vec![(day(8), NoChecksum(aggs(0..5)))], 0..5, &[("no_checksum", 1)], &[]),
        case("a bomb", vec![(day(8), Zip(bomb))], [], &[("refused_zip", 1)], &[]),
        case("a path out of the folder", vec![(day(8), named("../../x.csv"))], [], &[("refused_zip", 1)], &[]),
        case("an absolute path", vec![(day(8), named("/tmp/x.csv"))], [], &[("refused_zip", 1)], &[]),
        case("several entries", vec![(day(8), Zip(several))], 0..5, &[("further_entries_in_zip", 1)], &[]),
        case("another name inside", vec![(day(8), named("x.csv"))], 0..5, &[("other_name_in_zip", 1)], &[]),
        case(
            "mark, CR LF, blanks, quotes, exponents",
            vec![(
                day(8),
                Csv(format!(
                    "\u{feff}{}\r\n \n\"1\", 6.00015E4 ,\"0.25\",3,5,{},True\r\n{}",
                    agg(0, 0).replace('\n', "\r\n"),
                    DAY + 10,
                    agg(2, 20)
                )),
            )],
            0..3,
            &[("byte_order_mark", 1), ("crlf_lines", 1), ("blank_lines", 2)],
            &[],
        ),
        case(
            "lines that are no rows",
            vec![(day(8), Csv(format!("{}garbage\n2,x,1,6,8,{DAY},true\n{}\u{0}\n", aggs(0..2), aggs(3..5))))],
            [0, 1, 3, 4],
            &[("lines_put_aside", 3), ("missing_ids", 1), ("missing_trade_ids", 3)],
            &[(3, "line: too few columns"), (4, "price: not a number"), (7, "line: too few columns")],
        ),
        case(
            "missing ids",
            vec![(day(8), Csv(format!("{}{}", aggs(0..3), aggs(6..8))))],
            [0, 1, 2, 6, 7],
            &[("missing_ids", 3), ("missing_trade_ids", 9)],
            &[],
        ),
        case(
            "a row of another month, and one of the day after",
            vec![(day(8), Csv(format!("{}{}{}", aggs(0..2), agg(2, 40 * DAY_MS), agg(3, DAY_MS + 5))))],
            [0, 1, 3],
            &[("lines_put_aside", 1), ("rows_outside_the_period", 1), ("missing_ids", 1), ("missing_trade_ids", 3)],
            &[(3, "time: outside the period of the file")],
        ),
        case(
            "a month and its days, each with rows that the other lacks",
            vec![
                (UM_MONTH.to_owned(), Csv(format!("{}{}", aggs(0..3), next_day(6..9)))),
                (day(8), Csv(aggs(2..6))),
                (day(9), Csv(next_day(6..10))),
            ],
            0..10,
            &[("monthly_lacks_rows", 4)],
            &[],
        ),
        case(
            "a damaged month and its days",
            vec![(UM_MONTH.to_owned(), Zip(b"PK".to_vec())), (day(8), Csv(aggs(0..6))), (day(9), Csv(next_day(6..9)))],
            0..9,
            &[("damaged_zip", 1)],
            &[],
        ),
    ]
}

#[test]
fn every_defect_ends_in_the_right_rows_and_is_named() {
    for case in cases() {
        let archive = Archive::new();
        for (path, content) in &case.files {
            match content {
                Csv(csv) => archive.put(path, csv),
                Zip(zip) => archive.put_zip(path, zip),
                WrongChecksum(csv) => {
                    archive.put(path, "other");
                    let checksum = archive.place(&format!("{path}.CHECKSUM"));
                    let line = std::fs::read(&checksum).unwrap();
                    archive.put(path, csv);
                    std::fs::write(checksum, line).unwrap();
                }
                NoChecksum(csv) => {
                    archive.put(path, csv);
                    std::fs::remove_file(archive.place(&format!("{path}.CHECKSUM"))).unwrap();
                }
            }
        }
        let name = case.name;
        let summary = archive.clean();
        assert!(summary.failed.is_empty(), "{name}: {:?}", summary.failed);
        assert_eq!(archive.ints(AGG, "agg_id"), case.ids, "{name}");
        let stats = archive.stats(AGG);
        let named: Vec<(String, u64)> = stats["defects"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v["count"].as_u64().unwrap()))
            .collect();
        let mut expected: Vec<(String, u64)> = case.defects.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        expected.sort();
        assert_eq!(named, expected, "{name}");
        let aside: Vec<(u64, String)> = archive
            .aside(AGG, "2024-08")
            .iter()
            .map(|l| (l["line"].as_u64().unwrap(), l["reason"].as_str().unwrap().to_owned()))
            .collect();
        let expected: Vec<(u64, String)> = case.aside.iter().map(|(n, why)| (*n, (*why).to_owned())).collect();
        assert_eq!(aside, expected, "{name}");
        archive.record(AGG, "2024-08");
        // The second run finds nothing to do, a forced one gives the same bytes.
        let tree = archive.tree();
        let again = archive.clean();
        assert_eq!((again.cleaned, again.unchanged), (0, summary.months), "{name}");
        archive.clean_as(crate::support::archive::How { force: true, ..Default::default() });
        assert!(archive.tree() == tree, "{name}: other bytes the second time");
    }
}

#[test]
fn a_file_that_was_uploaded_again_is_cleaned_again_and_its_old_digest_is_kept() {
    let archive = Archive::new();
    archive.put(&day(8), aggs(0..5));
    archive.clean();
    let old = archive.record(AGG, "2024-08").inputs[0].sha256.clone();
    archive.put(&day(8), aggs(0..9));
    let summary = archive.clean();
    assert_eq!((summary.cleaned, summary.unchanged), (1, 0));
    assert_eq!(archive.ints(AGG, "agg_id"), (0..9).collect::<Vec<_>>());
    let stats = archive.stats(AGG);
    assert_eq!(stats["defects"]["uploaded_again"]["count"], 1);
    assert_eq!(stats["checksums"][0]["former_sha256"][0], old.as_str());
}

#[test]
fn a_file_that_broke_after_it_was_cleaned_does_not_take_its_rows_away() {
    let archive = Archive::new();
    archive.put(&day(8), aggs(0..5));
    archive.clean();
    let tree = archive.tree();
    archive.put_zip(&day(8), b"PK broken");
    let summary = archive.clean();
    assert_eq!(summary.failed.len(), 1);
    let why = summary.failed.values().next().unwrap();
    assert!(why.contains("stays as it was cleaned before"), "{why}");
    assert!(archive.tree() == tree);
}

#[test]
fn rows_do_not_leave_the_lake_with_their_files_unless_that_is_meant() {
    type Spoil<'s> = &'s dyn Fn(&Archive);
    let of_day = |n: i64| (n * 5..n * 5 + 5).map(|id| agg(id, (n - 8) * DAY_MS + id)).collect::<String>();
    let gone = |archive: &Archive| {
        std::fs::remove_file(archive.place(&day(8))).unwrap();
        archive.put(&day(10), of_day(10));
    };
    let no_record = |archive: &Archive| {
        let record = archive.lake().join("_manifests").join(AGG).join("2024-08.json");
        std::fs::write(record, "{").unwrap();
        gone(archive);
    };
    let spoils: [(&str, Spoil<'_>); 5] = [
        ("gone", &gone),
        ("gone, and the record is damaged", &no_record),
        ("uploaded again, empty", &|archive| archive.put(&day(8), String::new())),
        ("uploaded again, names of columns", &|archive| archive.put(&day(8), HEADER)),
        ("uploaded again, no line is a row", &|archive| archive.put(&day(8), "<html>oops</html>\n".repeat(9))),
    ];
    for (name, spoil) in spoils {
        let archive = Archive::new();
        archive.put(&day(8), of_day(8));
        archive.put(&day(9), of_day(9));
        archive.clean();
        let rows = archive.ints(AGG, "agg_id");
        spoil(&archive);
        let summary = archive.clean();
        assert_eq!(summary.failed.len(), 1, "{name}");
        let why = summary.failed.values().next().unwrap();
        assert!(why.contains("--forget-gone") && why.contains("08-08"), "{name}: {why}");
        assert_eq!(archive.ints(AGG, "agg_id"), rows, "{name}");
        let meant = archive.clean_as(crate::support::archive::How { forget_gone: true, ..Default::default() });
        assert_eq!((meant.failed.len(), meant.cleaned), (0, 1), "{name}");
        assert!(!archive.ints(AGG, "agg_id").contains(&40), "{name}");
    }
}

#[test]
fn days_may_go_once_their_month_is_here() {
    let archive = Archive::new();
    archive.put(&day(8), aggs(0..5));
    archive.clean();
    let rows = archive.ints(AGG, "agg_id");
    std::fs::remove_file(archive.place(&day(8))).unwrap();
    archive.put(UM_MONTH, aggs(0..5));
    assert_eq!((archive.clean().cleaned, archive.ints(AGG, "agg_id")), (1, rows));
}

#[test]
fn a_symbol_in_chinese_letters_is_a_symbol() {
    let archive = Archive::new();
    let s = "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT";
    archive.put(&format!("data/futures/um/daily/aggTrades/{s}/{s}-aggTrades-2024-08-08.zip"), aggs(0..3));
    archive.clean();
    let series = format!("agg_trades/exchange=binance-usdm/{s}");
    assert_eq!(archive.ints(&series, "agg_id"), [0, 1, 2]);
    assert_eq!(archive.texts(&series, "symbol"), [s, s, s]);
}
