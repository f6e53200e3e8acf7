//! Fills gaps in the stored candles with the venue's own. Requests only what is missing, stores page by page: a
//! run that was stopped goes on where it was, and a second run requests nothing.
//!
//! ```text
//!  stored open times --> what is missing --> pages --REST--> bars --put_history--> database
//! ```
//! Where a venue leaves candles without a trade out, the silence between two of its candles becomes flat bars: silence
//! that an answer shows, never what an answer did not reach.

use std::collections::HashSet;

use serde::Serialize;
use tracing::warn;

use super::db::{CandleDb, DbError, HistoryQuery, NamedBar, Series, Source};
use super::official::{self, VenueClient};
use super::request_error::{RequestError, SeriesError};
use model::interval::Interval;
use model::kline::KlineData;
use model::unit::Unit;
use venue::{KlinesQuery, RejectedKline, Venue};

/// Bars looked at in one query.
const CHUNK: i64 = 50_000;
/// Bars requested of a series without any, when no start is given.
const FIRST: i64 = 1_000;

/// What to fill.
pub struct BackfillJob<'a> {
    /// Venue to request from.
    pub venue: &'a Venue,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
    /// From this time on, us; `None`: from the oldest stored bar, or 1,000 bars back where there is none.
    pub from_us: Option<i64>,
    /// Up to this time, exclusive, us.
    pub to_us: Option<i64>,
    /// Bars with a gap, and those never closed, are replaced too.
    pub gaps: bool,
    /// What one of the symbol's amounts is worth, where candles do not say it.
    pub unit: Unit,
}

/// What was done, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval name.
    pub interval: &'static str,
    /// Bars missing at the start, in what was looked at so far.
    pub missing: u64,
    /// Bars stored where there was none.
    pub inserted: u64,
    /// Bars replaced.
    pub replaced: u64,
    /// Missing bars that the venue does not have either.
    pub absent: u64,
    /// How far it is, us.
    pub at_us: i64,
    /// Where it ends, us.
    pub end_us: i64,
}

/// Fills one series. `now_us`: our clock; `report` hears of every page.
///
/// # Errors
/// When the venue does not answer or the database refuses; what was stored stays.
pub async fn fill(
    db: &mut dyn CandleDb,
    client: &mut impl VenueClient,
    job: &BackfillJob<'_>,
    now_us: i64,
    report: &mut dyn FnMut(&Done),
) -> Result<Done, SeriesError> {
    let (interval, len) = (job.interval, job.interval.len_us());
    let venue = job.venue.id().as_str();
    let facts = job.venue.spec.klines.ok_or(RequestError::NoCandles(venue))?;
    let page_rows = facts.rows_of(interval);
    let series = Series { venue: venue.to_owned(), symbol: job.symbol.clone(), interval };
    let settled = official::last_settled(interval, now_us);
    // The last bar that opens before `to`.
    let last = job.to_us.map_or(settled, |to| settled.min(interval.open_of(to.saturating_sub(1))));
    let first = match job.from_us {
        Some(from) => interval.next(interval.open_of(from.saturating_sub(1))),
        None => oldest(db, &series)?.unwrap_or(last - (FIRST - 1) * len),
    };
    let mut done = Done {
        venue: series.venue.clone(),
        symbol: series.symbol.clone(),
        interval: interval.as_str(),
        at_us: first,
        end_us: interval.next(last),
        ..Done::default()
    };
    // The newest bar of the page before, when the next page begins right after that page.
    let mut before: Option<KlineData> = None;
    // What it lacked, as counted.
    let mut absent: Vec<i64> = Vec::new();
    let mut at = first;
    while at <= last {
        let chunk_last = (at + (CHUNK - 1) * len).min(last);
        let stored: HashSet<i64> = db.opens(&series, at, chunk_last, !job.gaps)?.into_iter().collect();
        let lacks = |open: &i64| !stored.contains(open);
        let opens = |from: i64| std::iter::successors(Some(from), |o| Some(interval.next(*o)));
        while at <= chunk_last {
            let Some(start) = opens(at).take_while(|o| *o <= chunk_last).find(lacks) else {
                (at, before) = (interval.next(chunk_last), None);
                break;
            };
            if start != at {
                before = None;
            }
            let end = (start + (i64::from(page_rows) - 1) * len).min(chunk_last);
            let end = opens(start).take_while(|o| *o <= end).filter(lacks).last().unwrap_or(end);
            let wanted = u32::try_from((end - start) / len + 1).unwrap_or(page_rows);
            let missing: Vec<i64> = opens(start).take_while(|o| *o <= end).filter(lacks).collect();
            let query = |last_us, limit| KlinesQuery { symbol: &job.symbol, interval, first_us: start, last_us, limit };
            let mut page = official::fetch_whole(client, job.venue, &query(end, wanted)).await?;
            if page.rows.is_empty() && facts.from_the_start {
                // Before the listing, or a long halt: where do candles go on?
                let next = official::fetch(client, job.venue, &query(last, 1)).await?;
                let until = next.first().map_or(interval.next(last), |k| k.open_time_us);
                let skipped = opens(at).take_while(|o| *o < until.min(interval.next(chunk_last))).filter(lacks).count();
                done.missing += skipped as u64;
                done.absent += skipped as u64;
                (at, before) = (until.max(interval.next(end)), None);
                done.at_us = at;
                report(&done);
                continue;
            }
            let mut bars: Vec<KlineData> = Vec::with_capacity(page.rows.len());
            for row in std::mem::take(&mut page.rows) {
                let Some(bar) = official::bar(&row, job.unit) else {
                    let why = "more digits than a candle can hold".to_owned();
                    warn!(venue, symbol = job.symbol, open_time_us = row.open_time_us, why, "a candle is left out");
                    page.odd.push(RejectedKline { open_time_us: Some(row.open_time_us), why });
                    continue;
                };
                let silent = |before: &&KlineData| {
                    facts.omits_empty && page.is_silent_between(before.open_time_us, bar.open_time_us)
                };
                if let Some(before) = before.as_ref().filter(silent) {
                    bars.extend(official::flats(interval, before, bar.open_time_us));
                }
                bars.push(bar);
                before = Some(bar);
            }
            // An empty page, or the end of one, in which nothing showed that there is nothing.
            before = before.filter(|bar| page.is_silent_between(bar.open_time_us, i64::MAX));
            let named = bars.iter().map(|bar| NamedBar {
                venue: series.venue.clone(),
                symbol: series.symbol.clone(),
                interval,
                bar: *bar,
            });
            let filled = db.put_history(&named.collect::<Vec<_>>(), Source::Official, job.gaps)?;
            let given: HashSet<i64> = bars.iter().map(|b| b.open_time_us).collect();
            done.missing += missing.len() as u64;
            // Silence at the end of the page before is known by now.
            done.absent -= absent.iter().filter(|open| given.contains(open)).count() as u64;
            absent = missing.into_iter().filter(|open| !given.contains(open)).collect();
            done.absent += absent.len() as u64;
            done.inserted += filled.inserted;
            done.replaced += filled.replaced;
            at = interval.next(end);
            done.at_us = at;
            report(&done);
        }
    }
    done.at_us = done.end_us;
    Ok(done)
}

/// Open time of the oldest stored bar.
fn oldest(db: &mut dyn CandleDb, series: &Series) -> Result<Option<i64>, DbError> {
    let q = HistoryQuery::of(&series.venue, &series.symbol, series.interval, 1);
    Ok(db.query(&q)?.first().map(|bar| bar.open_time_us))
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;
