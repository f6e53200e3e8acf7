//! Tests of the backfill: a made-up venue that speaks Binance's or KuCoin's candles, and counts its requests.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use super::*;
use crate::db;
use model::VenueId;
use model::kline::{FINAL, FLAT, GAP};
use model::unit::Unit;
use venue::{RestRequest, venue};

const MIN: i64 = 60_000_000;
/// 2024-08-05 00:00 UTC, a Monday.
const T0: i64 = 1_722_816_000_000_000;

/// Has candles from `first` on, at every minute for which `trades` is true.
struct Fake {
    first: i64,
    trades: fn(i64) -> bool,
    requests: Cell<u32>,
    fails_at: u32,
}

fn number(path: &str, name: &str) -> i64 {
    path.split(['?', '&']).find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap()
}

impl VenueClient for Fake {
    async fn send(&mut self, request: &RestRequest) -> Result<Vec<u8>, RequestError> {
        self.requests.set(self.requests.get() + 1);
        if self.requests.get() == self.fails_at {
            return Err(RequestError::Runtime(std::io::Error::other("the network is gone")));
        }
        let path = &request.path_and_query;
        let is_binance = path.starts_with("/api/v3/klines");
        let (from, to, limit) = if is_binance {
            (number(path, "startTime") * 1000, number(path, "endTime") * 1000, number(path, "limit"))
        } else {
            (number(path, "startAt") * 1_000_000, number(path, "endAt") * 1_000_000, 1_500)
        };
        let mut rows = Vec::new();
        let mut open = Interval::M1.next(Interval::M1.open_of(from.max(self.first) - 1));
        while open <= to && (rows.len() as i64) < limit {
            if (self.trades)((open - T0) / MIN) {
                let price = (open - T0) / MIN + 100;
                rows.push(if is_binance {
                    format!(
                        "[{},\"{price}.0\",\"{price}.0\",\"{price}.0\",\"{price}.0\",\"2.0\",{},\"4.00\",1,\"0.0\",\"0.00\",\"0\"]",
                        open / 1000,
                        (open + MIN) / 1000 - 1
                    )
                } else {
                    format!("[\"{}\",\"{price}\",\"{price}\",\"{price}\",\"{price}\",\"2\",\"4\"]", open / 1_000_000)
                });
            }
            open += MIN;
        }
        Ok(if is_binance {
            format!("[{}]", rows.join(","))
        } else {
            rows.reverse();
            format!("{{\"code\":\"200000\",\"data\":[{}]}}", rows.join(","))
        }
        .into_bytes())
    }
}

fn fake(first: i64) -> Fake {
    Fake { first, trades: |_| true, requests: Cell::new(0), fails_at: 0 }
}

fn job(id: VenueId, from: i64, to: i64) -> BackfillJob<'static> {
    BackfillJob {
        venue: venue(id),
        symbol: "BTCUSDT".to_owned(),
        interval: Interval::M1,
        from_us: Some(from),
        to_us: Some(to),
        gaps: false,
        unit: Unit::Base,
    }
}

fn database() -> (tempfile::TempDir, Box<dyn CandleDb>) {
    let dir = tempfile::tempdir().unwrap();
    let db = db::open("sqlite:k.db", dir.path()).unwrap();
    (dir, db)
}

fn run(
    db: &mut dyn CandleDb,
    client: &mut impl VenueClient,
    job: &BackfillJob<'_>,
    now: i64,
) -> Result<Done, SeriesError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(fill(db, client, job, now, &mut |_| ()))
}

fn stored(db: &mut dyn CandleDb, id: VenueId) -> Vec<KlineData> {
    db.newest(id.as_str(), "BTCUSDT", Interval::M1, 100_000).unwrap()
}

#[test]
fn a_gap_is_filled_page_by_page_and_a_second_run_requests_nothing() {
    let (_dir, mut db) = database();
    let mut client = fake(0);
    let job = job(VenueId::BinanceSpot, T0, T0 + 2_500 * MIN);
    let done = run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).unwrap();
    assert_eq!((done.missing, done.inserted, done.absent, client.requests.get()), (2_500, 2_500, 0, 3));
    let bars = stored(db.as_mut(), VenueId::BinanceSpot);
    assert_eq!(bars.len(), 2_500);
    assert!(bars.windows(2).all(|w| w[1].open_time_us == w[0].open_time_us + MIN));
    assert_eq!((bars[7].open, bars[7].price_scale, bars[7].flags), (1_070, 1, FINAL));
    let again = run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).unwrap();
    assert_eq!((again.missing, again.inserted, client.requests.get()), (0, 0, 3));
}

/// A venue with a candle whose open price is null, at this minute.
struct Odd(Fake, i64);

impl VenueClient for Odd {
    async fn send(&mut self, request: &RestRequest) -> Result<Vec<u8>, RequestError> {
        let body = String::from_utf8(self.0.send(request).await?).unwrap();
        let price = self.1 + 100;
        let null = [format!("\"{price}\",\"{price}\""), format!("\"{price}.0\",\"{price}.0\"")];
        Ok(null.iter().fold(body, |body, prices| body.replacen(prices.as_str(), "null,\"1\"", 1)).into_bytes())
    }
}

#[test]
fn a_candle_that_cannot_be_read_costs_only_itself_and_no_silence_is_made_of_it() {
    for (id, expected) in [
        (VenueId::BinanceSpot, vec![0, 1, 4, 6, 8]),
        // Two silent minutes are flat, and so is the one after the odd candle.
        (VenueId::KucoinSpot, vec![0, 1, 2, 3, 4, 6, 7, 8]),
    ] {
        let (_dir, mut db) = database();
        let mut client = Odd(Fake { trades: |minute| ![2, 3, 7].contains(&minute), ..fake(0) }, 5);
        let done = run(db.as_mut(), &mut client, &job(id, T0, T0 + 9 * MIN), T0 + 9_999 * MIN).unwrap();
        let minutes: Vec<i64> = stored(db.as_mut(), id).iter().map(|b| (b.open_time_us - T0) / MIN).collect();
        assert_eq!(minutes, expected, "{id}");
        assert_eq!(done.absent, 9 - minutes.len() as u64);
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let (_dir, mut db) = database();
    let mut client = Fake { fails_at: 2, ..fake(0) };
    let job = job(VenueId::BinanceSpot, T0, T0 + 2_000 * MIN);
    assert!(run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).is_err());
    assert_eq!(stored(db.as_mut(), VenueId::BinanceSpot).len(), 1_000);
    let done = run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).unwrap();
    assert_eq!((done.missing, done.inserted, client.requests.get()), (1_000, 1_000, 3));
}

#[test]
fn only_what_is_missing_is_requests_for_and_gaps_only_when_requests() {
    let (_dir, mut db) = database();
    let ours = |minute: i64, flags| {
        let close = KlineData::flat(T0 + minute * MIN, 5, 0, 0);
        (0, Interval::M1, KlineData { flags, ..close })
    };
    let mut c = db::Checkpoint { feed: "binance-spot".to_owned(), ..db::Checkpoint::default() };
    let entry =
        crate::Registered { venue: "binance-spot".to_owned(), symbol: "BTCUSDT".to_owned(), listing_time_ms: None };
    c.registry = vec![(0, entry)];
    c.bars = (0..50).map(|m| ours(m, if m == 20 { FINAL | GAP } else { FINAL })).collect();
    c.bars.retain(|(_, _, b)| ![30, 31].contains(&((b.open_time_us - T0) / MIN)));
    db.commit(&c).unwrap();
    let mut client = fake(0);
    // Without a start: from the oldest stored bar. Without an end: up to what is settled.
    let mut job = BackfillJob { from_us: None, to_us: None, ..job(VenueId::BinanceSpot, 0, 0) };
    let now = T0 + 52 * MIN + 1;
    let done = run(db.as_mut(), &mut client, &job, now).unwrap();
    assert_eq!((done.missing, done.inserted, done.replaced), (3, 3, 0), "30, 31 and 50; 51 is not settled");
    job.gaps = true;
    let done = run(db.as_mut(), &mut client, &job, now).unwrap();
    assert_eq!((done.missing, done.inserted, done.replaced), (1, 0, 1));
    let bars = stored(db.as_mut(), VenueId::BinanceSpot);
    assert_eq!(bars.len(), 51);
    assert_eq!((bars[20].open, bars[20].revision, bars[20].flags), (1_200, 1, FINAL));
    assert_eq!((bars[19].open, bars[30].open, bars[32].open), (5, 1_300, 5), "ours stay");
}

#[test]
fn time_before_the_listing_costs_one_request() {
    let (_dir, mut db) = database();
    let mut client = fake(T0 + 40_000 * MIN);
    let job = job(VenueId::BinanceSpot, T0, T0 + 40_010 * MIN);
    let done = run(db.as_mut(), &mut client, &job, T0 + 99_999 * MIN).unwrap();
    assert_eq!((done.missing, done.inserted, done.absent), (40_010, 10, 40_000));
    assert_eq!(client.requests.get(), 4, "empty twice, where do they begin, the ten");
}

#[test]
fn silence_on_a_venue_that_leaves_it_out_becomes_flat_bars() {
    let (_dir, mut db) = database();
    // Nothing between minute 1,490 and 1,510: the border of two pages lies in it.
    let mut client = Fake { trades: |m| !(3..6).contains(&m) && !(1_490..1_510).contains(&m), ..fake(0) };
    let job = job(VenueId::KucoinSpot, T0, T0 + 1_600 * MIN);
    let done = run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).unwrap();
    let bars = stored(db.as_mut(), VenueId::KucoinSpot);
    assert_eq!((bars.len(), client.requests.get()), (1_600, 4), "both sides of the border are requested again");
    assert_eq!((done.inserted, done.absent), (1_600, 0));
    assert_eq!((bars[4].close, bars[4].flags & FLAT, bars[4].trade_count), (102, FLAT, 0));
    assert_eq!((bars[1_505].close, bars[1_505].flags & FLAT), (100 + 1_489, FLAT));
    assert_eq!(bars[6].close, 106);
    let again = run(db.as_mut(), &mut client, &job, T0 + 9_999 * MIN).unwrap();
    assert_eq!((again.missing, client.requests.get()), (0, 4));
}

/// A venue that gives no more than so many candles to a request, the newest or the oldest ones, and none to these.
struct TruncatedVenue {
    venue: Fake,
    rows: usize,
    newest: bool,
    empty: std::ops::Range<u32>,
}

impl VenueClient for TruncatedVenue {
    async fn send(&mut self, request: &RestRequest) -> Result<Vec<u8>, RequestError> {
        let mut body: serde_json::Value = serde_json::from_slice(&self.venue.send(request).await?).unwrap();
        let is_binance = body.is_array();
        let rows = if is_binance { body.as_array_mut() } else { body["data"].as_array_mut() }.unwrap();
        let spare = rows.len().saturating_sub(self.rows);
        // Binance's are oldest first, KuCoin's newest first.
        match is_binance == self.newest {
            true => drop(rows.drain(..spare)),
            false => rows.truncate(self.rows),
        }
        if self.empty.contains(&self.venue.requests.get()) {
            rows.clear();
        }
        Ok(body.to_string().into_bytes())
    }
}

#[test]
fn a_truncated_page_is_requested_again_and_made_into_no_silence() {
    for id in [VenueId::KucoinSpot, VenueId::BinanceSpot] {
        for newest in [false, true] {
            let (_dir, mut db) = database();
            // One silent time across a border of what the venue gives.
            let venue = Fake { trades: |m| !(180..230).contains(&m), ..fake(0) };
            let mut client = TruncatedVenue { venue, rows: 200, newest, empty: 0..0 };
            let done = run(db.as_mut(), &mut client, &job(id, T0, T0 + 2_600 * MIN), T0 + 9_999 * MIN).unwrap();
            let bars = stored(db.as_mut(), id);
            let flat: Vec<i64> =
                bars.iter().filter(|b| b.flags & FLAT != 0).map(|b| (b.open_time_us - T0) / MIN).collect();
            let expected: Vec<i64> = if id == VenueId::KucoinSpot { (180..230).collect() } else { Vec::new() };
            assert_eq!(flat, expected, "{id} {newest}");
            assert_eq!((bars.len(), done.absent), (2_550 + flat.len(), 50 - flat.len() as u64), "{id} {newest}");
        }
    }
}

#[test]
fn an_answer_without_a_candle_is_requests_for_again_and_never_becomes_flat_bars() {
    for (empty, expected) in [(2..3, 4_000), (2..4, 2_500)] {
        let (_dir, mut db) = database();
        let mut client = TruncatedVenue { venue: fake(0), rows: 1_500, newest: true, empty };
        let done = run(db.as_mut(), &mut client, &job(VenueId::KucoinSpot, T0, T0 + 4_000 * MIN), T0 + 9_999 * MIN);
        let bars = stored(db.as_mut(), VenueId::KucoinSpot);
        assert!(bars.iter().all(|b| b.flags & FLAT == 0));
        assert_eq!((bars.len(), done.unwrap().absent), (expected, 4_000 - expected as u64));
        // What stayed missing is requested the next time.
        let again = run(db.as_mut(), &mut client, &job(VenueId::KucoinSpot, T0, T0 + 4_000 * MIN), T0 + 9_999 * MIN);
        assert_eq!(
            (again.unwrap().missing, stored(db.as_mut(), VenueId::KucoinSpot).len()),
            (4_000 - expected as u64, 4_000)
        );
    }
}
