//! Whole recordings: every frame decodes, by both paths alike, and the ids continue where the venue says so.

use std::collections::BTreeMap;

use super::super::super::gap::GapTracker;
use super::*;

/// The recorder wrote one REST answer between the frames; as a frame it has no symbol.
const REST_IN_LINE: (&str, usize) = ("partial depth: field stream is missing or has the wrong type", 1);

/// Counts per result; asserts that nothing drifted and that the fast path took what it is there for.
fn play(market: Market) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for payload in recorded(market) {
        let (seen, fast) = both(market, &payload);
        assert!(seen.drift.items.is_empty());
        let name = match &seen.result {
            Ok(decoded) => format!("{decoded:?}"),
            Err(e) => format!("{e}"),
        };
        let frequent = ["Trades", "AggTrades", "BookTicker", "Depth"].iter().any(|c| name == format!("Rows({c})"));
        assert_eq!(frequent, fast, "{}", String::from_utf8_lossy(&payload));
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn every_recorded_spot_frame_decodes_alike_by_both_paths() {
    let counts = play(Market::Spot);
    let expected = [
        ("Rows(AggTrades)", 2),
        ("Rows(BookTicker)", 36_139),
        ("Rows(Depth)", 7_557),
        ("Rows(Trades)", 3_144 + 9_757),
        ("Rows(VenueKlines)", 2),
        REST_IN_LINE,
    ];
    assert_eq!(counts, expected.map(|(k, n)| (k.to_owned(), n)).into());
}

#[test]
fn every_recorded_usdm_frame_decodes_alike_by_both_paths() {
    let counts = play(Market::Usdm);
    let expected = [
        ("Rows(AggTrades)", 91),
        ("Rows(BookTicker)", 66_702),
        ("Rows(Depth)", 7_315),
        ("Rows(Trades)", 21_313),
        ("Rows(VenueKlines)", 67),
        REST_IN_LINE,
    ];
    assert_eq!(counts, expected.map(|(k, n)| (k.to_owned(), n)).into());
}

#[test]
fn recorded_ids_continue_without_a_gap_and_one_lost_frame_is_one_gap() {
    for market in [Market::Spot, Market::Usdm] {
        let frames = recorded(market);
        // The spot recordings are of three different times: two channels jump once each between the years.
        let between = if market == Market::Spot { 2 } else { 0 };
        assert_eq!(gaps(market, frames.iter()), between);
        let is_trade = |f: &&Vec<u8>| f.windows(11).any(|w| w == b"\"e\":\"trade\"");
        let lost = frames.iter().filter(is_trade).nth(100).unwrap();
        assert_eq!(gaps(market, frames.iter().filter(|f| *f != lost)), between + 1);
    }
}

fn gaps<'a>(market: Market, frames: impl Iterator<Item = &'a Vec<u8>>) -> usize {
    let mut rows = Rows::new();
    let mut marks = Vec::new();
    let mut tracker = GapTracker::new(of(market));
    let mut gaps = 0;
    for payload in frames {
        rows.clear();
        if of(market).frames.decode(&text(payload), &mut rows).is_ok() {
            tracker.observe_rows(&rows, &mut marks, &mut |e| {
                gaps += usize::from(e.missing > 0);
            });
        }
    }
    gaps
}
