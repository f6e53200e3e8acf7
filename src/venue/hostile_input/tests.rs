//! Recorded frames of every venue, whole, cut, spliced and changed.
//!
//! `TAPEDECK_FUZZ_SEEDS=folder` makes one of these tests write the recorded frames there, as seeds for
//! `tests/campaigns/fuzz.sh`.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::super::binance;
use super::{What, exercise, input};
use model::{Channel, Decoded, VenueId};

/// Frames of one shape kept from one file, and bytes of the longest.
const PER_FILE: usize = 60;
const LONGEST: usize = 8_000;

/// The text of a file of `tests/data`, unpacked.
fn text(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    match path.extension().is_some_and(|e| e == "zst") {
        true => zstd::Decoder::new(file).unwrap().take(4_000_000).read_to_end(&mut bytes).unwrap(),
        false => std::io::BufReader::new(file).read_to_end(&mut bytes).unwrap(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A long body (a listing, a book) with two entries left in every array; empty when it is no JSON.
fn shortened(json: &str) -> String {
    fn shorten(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.truncate(2);
                items.iter_mut().for_each(shorten);
            }
            Value::Object(map) => map.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str(json) else { return String::new() };
    shorten(&mut value);
    value.to_string()
}

/// The JSON of every line of a file whose keys and lengths were not there before: what stands from the first
/// bracket on, in all the formats of `tests/data`.
fn shapes(path: &Path) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for line in text(path).lines() {
        let Some(json) = line.find(['{', '[']).and_then(|at| line.get(at..)) else { continue };
        let json = if json.len() <= LONGEST { Cow::Borrowed(json) } else { Cow::Owned(shortened(json)) };
        let shape: String = json.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
        if json.len() <= LONGEST && found.len() < PER_FILE && seen.insert(shape) {
            found.push(json.as_bytes().to_vec());
        }
    }
    found
}

/// Inputs of every venue: recorded JSON, and binary frames of the tests.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
        let mut seeds = Vec::new();
        for id in VenueId::ALL.iter().copied() {
            let folder = if id == VenueId::BinanceSpotSbe { "binance-spot" } else { id.as_str() };
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(data.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
            files.sort();
            for json in files.iter().flat_map(|f| shapes(f)) {
                let body = What::ALL.into_iter().filter(|w| matches!(w, What::Body(_)));
                // Most are messages; which of the others are bodies, their venue finds out.
                let kinds: Vec<What> = match id {
                    VenueId::BinanceSpotSbe => body.collect(),
                    _ => std::iter::once(What::Text).chain(body).collect(),
                };
                let taken = |what: &What| *what == What::Text || exercise(&input(id, *what, &json)).unwrap().is_ok();
                seeds.extend(kinds.into_iter().filter(taken).map(|what| input(id, what, &json)));
            }
        }
        let binary = binance::binary_samples().into_iter();
        seeds.extend(binary.map(|frame| input(VenueId::BinanceSpotSbe, What::Binary, &frame)));
        seeds
    })
}

/// Pieces of text that parsers are known to fall over.
const PIECES: [&str; 24] = [
    "null", "-", "-0", "1e999", "1e-999", "9223372036854775807", "-9223372036854775808", "18446744073709551616",
    "0.0000000000000000001", "99999999999999999999.9", "\"\"", "\\u0000", "\\ud800", "\u{feff}", "[[[[", "{\"e\":{",
    "}", "]", ",", "\u{202e}", "true", "{}", "[]", "\0",
];

#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index),
    Drop(Index, Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
    /// A run of digits becomes this.
    Number(Index, &'static str),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, b)| Change::Byte(at, b)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Drop(a, b)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Repeat(a, b)),
        2 => (any::<Index>(), select(&PIECES[..])).prop_map(|(at, p)| Change::Insert(at, p)),
        4 => (any::<Index>(), select(&PIECES[..])).prop_map(|(at, p)| Change::Number(at, p)),
    ];
    prop::collection::vec(change, 0..5)
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let size = bytes.len();
    if size == 0 {
        return;
    }
    let range = |a: &Index, b: &Index| {
        let (a, b) = (a.index(size), b.index(size));
        a.min(b)..a.max(b).min(a.min(b) + 400)
    };
    match change {
        Change::Byte(at, byte) => bytes[at.index(size)] = *byte,
        Change::Cut(at) => bytes.truncate(at.index(size)),
        Change::Drop(a, b) => drop(bytes.drain(range(a, b))),
        Change::Repeat(a, b) => {
            let again = bytes[range(a, b)].to_vec();
            bytes.extend(again);
        }
        Change::Insert(at, piece) => drop(bytes.splice(at.index(size)..at.index(size), piece.bytes())),
        Change::Number(at, piece) => {
            let from = at.index(size);
            let Some(start) = (from..size).find(|i| bytes[*i].is_ascii_digit()) else { return };
            let end = (start..size).find(|i| !bytes[*i].is_ascii_digit()).unwrap_or(size);
            bytes.splice(start..end, piece.bytes());
        }
    }
}

#[test]
fn the_recorded_frames_are_read_by_every_venue_and_on_all_of_its_streams() {
    let mut read: BTreeMap<usize, HashSet<String>> = BTreeMap::new();
    for seed in seeds() {
        if let Some(Ok(decoded)) = exercise(seed) {
            let word = match decoded {
                Decoded::Rows(channel) => channel.as_str().to_owned(),
                other => format!("{other:?}"),
            };
            read.entry(usize::from(seed[0])).or_default().insert(word);
        }
    }
    for (i, id) in VenueId::ALL.iter().enumerate() {
        let words = read.get(&i).unwrap_or_else(|| panic!("{id} reads none of its seeds"));
        for channel in [Channel::Trades, Channel::Depth, Channel::BookTicker, Channel::DepthSnapshot] {
            assert!(words.contains(channel.as_str()), "{id} has no seed of {channel}: {words:?}");
        }
        // No listing of KuCoin futures was found.
        assert!(words.contains("Symbols") || *id == VenueId::KucoinFutures, "{id} has no listing: {words:?}");
    }
}

#[test]
fn every_cut_of_a_frame_is_survived() {
    for seed in seeds().iter().filter(|s| s.len() < 500) {
        for end in 0..seed.len() {
            exercise(&seed[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_frames_are_survived_by_their_venue_and_by_every_other(
        seed in any::<Index>(),
        changes in changes(),
        venue in prop::option::weighted(0.2, any::<u8>()),
        what in prop::option::weighted(0.2, any::<u8>()),
    ) {
        let mut input = seeds()[seed.index(seeds().len())].clone();
        let mut bytes = input.split_off(2);
        changes.iter().for_each(|c| apply(c, &mut bytes));
        let head = [venue.unwrap_or(input[0]), what.unwrap_or(input[1])];
        exercise(&[&head[..], &bytes].concat());
    }

    #[test]
    fn two_frames_in_one_are_survived(a in any::<Index>(), b in any::<Index>(), at in any::<Index>()) {
        let (a, b) = (&seeds()[a.index(seeds().len())], &seeds()[b.index(seeds().len())]);
        let at = 2 + at.index(a.len() - 1);
        exercise(&[&a[..at], &b[2..], &a[at..]].concat());
    }
}

#[test]
fn seeds_for_the_fuzzer_are_written_where_they_are_asked_for() {
    let Some(folder) = std::env::var_os("TAPEDECK_FUZZ_SEEDS") else {
        eprintln!("skipped: TAPEDECK_FUZZ_SEEDS is not set");
        return;
    };
    std::fs::create_dir_all(&folder).unwrap();
    for (i, seed) in seeds().iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("recorded-{i:04}")), seed).unwrap();
    }
}
