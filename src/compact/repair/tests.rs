//! Paging against venues made of a list of ids, and the repair queue.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::pages::Pages;
use super::queue::RepairQueue;
use super::range::MissingRange;
use fold::dedupe::FetchedIds;
use lake::manifest::{Gap, Repair};
use model::row::{Side, Trade};
use model::{Channel, Fill, Num, Rows};
use venue::{Missing, RestRequest};

fn missing(from: i64, to: i64) -> MissingRange {
    MissingRange {
        channel: Channel::Trades,
        symbol: "BTCUSDT".into(),
        from,
        to,
        after_us: Some(from * 1_000),
        before_us: Some(to * 1_000),
    }
}

fn request(url: String, fill: Fill) -> RestRequest {
    RestRequest { fill: Some(fill), ..RestRequest::of("", None, url, 1) }
}

/// Requested by id, `page` rows at most.
fn by_id(m: &Missing<'_>, page: i64) -> Option<RestRequest> {
    let to = m.to.min(m.from + page - 1);
    Some(request(format!("/id?from={}&limit={}", m.from, to - m.from + 1), Fill { from: m.from, to }))
}

/// Requested by time and page number, the newest page first.
fn by_page(m: &Missing<'_>) -> Option<RestRequest> {
    (m.page < 1_100).then(|| request(format!("/time?page={}", m.page), Fill { from: m.from, to: m.to }))
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Rows {
    let mut rows = Rows::new();
    let symbol = rows.symbols.intern("BTCUSDT");
    rows.trades.extend(ids.into_iter().map(|id| Trade {
        symbol,
        ts_event_us: None,
        ts_trade_us: None,
        id: Some(id),
        id_str: None,
        price: Num::default(),
        amount: Num::default(),
        side: Side::Buy,
        kind: None,
    }));
    rows
}

/// Runs one pass over a venue that has `ids`; returns the number of requests.
fn pass(pages: &mut Pages, ids: &BTreeSet<i64>, page: usize, by: &str) -> u32 {
    let mut requests = 0;
    while let Some(r) = pages.next(|m| if by == "id" { by_id(m, page as i64) } else { by_page(m) }) {
        requests += 1;
        assert!(requests < 3_000, "it never ends");
        let fill = r.fill.unwrap();
        let (all, bytes): (Vec<i64>, usize) = match r.path_and_query.strip_prefix("/time?page=") {
            None => {
                let got: Vec<i64> = ids.range(fill.from..).take(page).copied().collect();
                let bytes = 2 + got.len();
                (got, bytes)
            }
            Some(n) => {
                let skip = n.parse::<usize>().unwrap() * page;
                let got: Vec<i64> = ids.iter().rev().skip(skip).take(page).copied().collect();
                let bytes = 2 + 10 * got.len();
                (got, bytes)
            }
        };
        pages.answered(&r, &rows(all.into_iter().filter(|id| fill.holds(*id))), bytes);
    }
    requests
}

proptest! {
    #[test]
    fn every_id_the_venue_has_comes_and_the_asking_ends(
        from in 0..500_i64,
        len in 1..400_i64,
        lacking in prop::collection::btree_set(0..1_000_i64, 0..60),
        page in 1..120_usize,
    ) {
        let gap = missing(from, from + len - 1);
        let has: BTreeSet<i64> = (0..1_000).filter(|id| !lacking.contains(id)).collect();
        let expected = has.range(gap.from..=gap.to).count() as u64;
        for by in ["id", "page"] {
            let mut pages = Pages::new(&gap, &[]);
            pass(&mut pages, &has, page, by);
            prop_assert_eq!(pages.got(), expected, "{}", by);
            prop_assert_eq!(pages.is_complete(), expected == len as u64);
            // What was missing comes with another pass, once the venue has it.
            pages.again();
            pass(&mut pages, &(0..1_000).collect(), page, by);
            prop_assert!(pages.is_complete(), "{}", by);
        }
    }
}

#[test]
fn a_whole_gap_takes_as_few_requests_as_it_has_pages() {
    let all: BTreeSet<i64> = (0..10_000).collect();
    let mut pages = Pages::new(&missing(100, 2_599), &[]);
    assert_eq!(pass(&mut pages, &all, 1_000, "id"), 3);
    assert_eq!(pages.requests(), 3);
    let mut pages = Pages::new(&missing(9_000, 9_999), &[]);
    assert_eq!(pass(&mut pages, &all, 1_000, "page"), 1);
}

#[test]
fn a_gap_that_was_fetched_in_part_is_asked_for_behind_that_only() {
    let all: BTreeSet<i64> = (0..10_000).collect();
    let mut pages = Pages::new(&missing(100, 2_599), &[(50, 1_099), (1_200, 1_250), (2_599, 4_000)]);
    let first = pages.next(|m| by_id(m, 1_000)).unwrap();
    assert_eq!(first.fill, Some(Fill { from: 1_100, to: 2_099 }));
    pages.answered(&first, &rows(1_100..=2_099), 99);
    assert_eq!(pass(&mut pages, &all, 1_000, "id"), 1);
    assert!(pages.is_complete());
    assert!(Pages::new(&missing(100, 2_599), &[(i64::MIN, i64::MAX)]).is_complete());
}

#[test]
fn a_venue_that_cannot_be_asked_is_not_asked() {
    let mut pages = Pages::new(&missing(1, 5), &[]);
    assert!(pages.next(|_| None).is_none());
    assert_eq!(pages.requests(), 0);
}

fn gap(cause: &str, channel: &str, filled: u64) -> Gap {
    Gap {
        channel: channel.into(),
        symbol: "X".into(),
        from_id: 5,
        to_id: 9,
        cause: cause.into(),
        after_us: None,
        before_us: Some(7),
        filled,
    }
}

#[test]
fn only_open_gaps_of_trades_are_fetched() {
    assert!(MissingRange::of(&gap("connection", "trades", 0)).is_some());
    assert!(MissingRange::of(&gap("venue", "agg_trades", 4)).is_some());
    assert!(MissingRange::of(&gap("venue", "agg_trades", 5)).is_none(), "all of it came late");
    assert!(MissingRange::of(&gap("connection", "depth", 0)).is_none());
    assert!(MissingRange::of(&gap("trades_skipped", "agg_trades", 0)).is_none());
}

#[tokio::test]
async fn no_gap_goes_out_before_the_repair_log_was_read_and_none_goes_out_twice() {
    let repair_queue = RepairQueue::default();
    let done = |h: &MissingRange, why: Option<String>| Repair {
        channel: h.channel.to_string(),
        symbol: h.symbol.clone(),
        from_id: h.from,
        to_id: h.to,
        rows: 3,
        why,
    };
    let (a, b, c) = (missing(1, 3), missing(5, 6), missing(8, 9));
    repair_queue.want(a.clone());
    repair_queue.want(b.clone());
    repair_queue.want(b.clone());
    assert_eq!(repair_queue.counts().waiting, 2);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), repair_queue.next()).await;
    assert!(early.is_err(), "the log was not read yet");
    // Reported in any order: what was done is not done again.
    repair_queue.was_done(&done(&a, None));
    repair_queue.was_done(&done(&c, Some("the venue gave 0 of 2 ids".into())));
    repair_queue.want(c);
    repair_queue.ready(FetchedIds::default());
    let first = repair_queue.next().await;
    assert_eq!(first.gap, b);
    repair_queue.again(first, Duration::ZERO);
    assert_eq!(repair_queue.next().await.gap, b);
    repair_queue.finished(&done(&b, None));
    repair_queue.want(a);
    repair_queue.want(b);
    let counts = repair_queue.counts();
    assert_eq!((counts.waiting, counts.repaired, counts.unrepaired, counts.rows), (0, 1, 0, 3));
}

#[tokio::test]
async fn a_gap_that_gets_no_answer_costs_no_other_one_its_turn() {
    let repair_queue = RepairQueue::default();
    repair_queue.ready(FetchedIds::default());
    let (a, b) = (missing(1, 3), missing(5, 6));
    repair_queue.want(a.clone());
    repair_queue.want(b.clone());
    let mut first = repair_queue.next().await;
    let pause = super::pause_after(&mut first, false);
    assert_eq!((first.gap.clone(), pause), (a.clone(), Duration::from_secs(5)));
    repair_queue.again(first, Duration::from_millis(20));
    assert_eq!(repair_queue.next().await.gap, b);
    let again = repair_queue.next().await;
    assert_eq!(again.gap, a);
    repair_queue.again(super::WantedRepair { pages: Some(Pages::new(&a, &[])), ..again }, Duration::ZERO);
    repair_queue.start_over();
    let mut again = repair_queue.next().await;
    assert_eq!(again.pages, None, "the log may have lost what it took");
    let pauses: Vec<u64> = (0..7).map(|_| super::pause_after(&mut again, false).as_secs()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    let mut forbidden = super::WantedRepair { failed: None, ..again };
    let pauses: Vec<u64> = (0..4).map(|_| super::pause_after(&mut forbidden, true).as_secs()).collect();
    assert_eq!(pauses, [60, 480, 3_600, 3_600]);
}

#[tokio::test]
async fn what_got_no_answer_for_a_day_is_asked_for_by_the_next_start_and_what_the_venue_refused_is_not() {
    let repair_queue = RepairQueue::default();
    let of = |h: &MissingRange, why: &str| Repair {
        channel: h.channel.to_string(),
        symbol: h.symbol.clone(),
        from_id: h.from,
        to_id: h.to,
        rows: 0,
        why: Some(why.to_owned()),
    };
    let (a, b) = (missing(1, 3), missing(5, 6));
    repair_queue.was_done(&of(&a, &format!("{}: HTTP status 202", super::queue::NO_ANSWER)));
    repair_queue.was_done(&of(&b, "the venue gave 0 of 2 ids"));
    repair_queue.want(b);
    repair_queue.want(a.clone());
    repair_queue.ready(FetchedIds::default());
    assert_eq!(repair_queue.next().await.gap, a);
    assert_eq!(repair_queue.counts().waiting, 1, "the one in work");
}

#[tokio::test]
async fn holes_beyond_the_bound_are_counted_as_waiting_and_those_that_were_fetched_make_room_before_the_first_goes_out()
{
    let repair_queue = RepairQueue::default();
    for n in 0..100_002 {
        repair_queue.want(missing(2 * n, 2 * n));
    }
    assert_eq!(repair_queue.counts().waiting, 100_002);
    (0..99_999).for_each(|n| fetched(&repair_queue, &missing(2 * n, 2 * n)));
    repair_queue.ready(FetchedIds::default());
    assert_eq!(repair_queue.next().await.gap, missing(2 * 99_999, 2 * 99_999));
    assert_eq!(repair_queue.counts().waiting, 3, "one in work, two left to the next start");
}

/// The repair log says that `h` was fetched.
fn fetched(repair_queue: &RepairQueue, h: &MissingRange) {
    let (channel, symbol) = (h.channel.to_string(), h.symbol.clone());
    repair_queue.was_done(&Repair { channel, symbol, from_id: h.from, to_id: h.to, rows: 1, why: None });
}
