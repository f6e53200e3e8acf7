//! Our bars against the venue's own, field by field and digit by digit. Reads only: a difference is reported, counted
//! and logged, never corrected, because it is unknown yet which of the two is wrong.

use serde::Serialize;
use tracing::warn;

use super::db::{CandleReader, HistoryQuery, Source, StoredBar};
use super::official::{self, VenueClient};
use super::request_error::{RequestError, SeriesError};
use model::Num;
use model::interval::Interval;
use model::kline::{GAP, KlineData, SEEDED, SPARSE, decimal};
use model::row::Candle;
use venue::{KlinesQuery, Venue};

/// Differing bars kept in a report and logged one by one; all are counted.
const EXAMPLES: usize = 20;

/// A field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name in the table.
    pub name: &'static str,
    /// Ours.
    pub ours: String,
    /// The venue's.
    pub venue: String,
}

/// A bar that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Open time, us.
    pub open_time_us: i64,
    /// What differs.
    pub fields: Vec<Field>,
}

/// What a comparison found in one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CompareReport {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval name.
    pub interval: &'static str,
    /// Bars on both sides that were compared.
    pub compared: u64,
    /// Of them, those with a difference.
    pub different: u64,
    /// Differences by field.
    pub by_field: std::collections::BTreeMap<&'static str, u64>,
    /// Bars that only the venue has.
    pub only_venue: u64,
    /// Bars that only we have; flat ones are not counted where the venue leaves those out.
    pub only_ours: u64,
    /// Bars not compared: of which the venue showed nothing, with a gap, of contracts whose size was not known, or not made from our trades.
    pub left_out: u64,
    /// The first differing bars.
    pub examples: Vec<Difference>,
}

/// What to compare.
pub struct CompareJob<'a> {
    /// Venue to request from.
    pub venue: &'a Venue,
    /// The venue's own spelling.
    pub symbol: &'a str,
    /// Interval.
    pub interval: Interval,
    /// First open time, us.
    pub from_us: i64,
    /// End, exclusive, us; candles that are not settled are left out anyway.
    pub to_us: i64,
}

/// The fields in which a bar of ours differs from the venue's candle; fields that the venue does not send agree.
pub fn differences(ours: &KlineData, venue: &Candle) -> Vec<Field> {
    let (p, a) = (ours.price_scale, ours.amount_scale);
    let mut fields = Vec::new();
    let mut check = |name, mantissa: i128, scale: u32, theirs: Option<Num>| {
        let Some(theirs) = theirs else { return };
        let ours = decimal(mantissa, scale, 0);
        let venue = theirs.to_string();
        if ours != venue {
            fields.push(Field { name, ours, venue });
        }
    };
    let (price, amount, quote) = (p.into(), a.into(), u32::from(p) + u32::from(a));
    check("open", ours.open.into(), price, Some(venue.open));
    check("high", ours.high.into(), price, Some(venue.high));
    check("low", ours.low.into(), price, Some(venue.low));
    check("close", ours.close.into(), price, Some(venue.close));
    check("volume", ours.volume, amount, venue.volume);
    check("quote_volume", ours.quote_volume, quote, venue.quote_volume);
    check("trade_count", ours.trade_count.into(), 0, venue.trade_count.map(|n| Num { mantissa: n.into(), scale: 0 }));
    check("taker_buy_volume", ours.taker_buy_volume, amount, venue.taker_buy_volume);
    check("taker_buy_quote_volume", ours.taker_buy_quote_volume, quote, venue.taker_buy_quote_volume);
    fields
}

/// Compares one series. `now_us`: our clock.
///
/// # Errors
/// When the venue does not answer or the database cannot be read.
pub async fn compare(
    db: &mut dyn CandleReader,
    client: &mut impl VenueClient,
    job: &CompareJob<'_>,
    now_us: i64,
) -> Result<CompareReport, SeriesError> {
    let (interval, len) = (job.interval, job.interval.len_us());
    let page = job.venue.spec.klines.ok_or(RequestError::NoCandles(job.venue.id().as_str()))?;
    let rows = page.rows_of(interval);
    let mut report = CompareReport {
        venue: job.venue.id().as_str().to_owned(),
        symbol: job.symbol.to_owned(),
        interval: interval.as_str(),
        ..CompareReport::default()
    };
    let last = official::last_settled(interval, now_us).min(interval.open_of(job.to_us.saturating_sub(1)));
    let mut at = interval.next(interval.open_of(job.from_us.saturating_sub(1)));
    while at <= last {
        let end = (at + (i64::from(rows) - 1) * len).min(last);
        let mut ours = db.stored(&HistoryQuery {
            start_us: Some(at),
            end_us: Some(end),
            ..HistoryQuery::of(&report.venue, &report.symbol, interval, rows as usize)
        })?;
        if !ours.is_empty() {
            let wanted = u32::try_from((end - at) / len + 1).unwrap_or(rows);
            let query = KlinesQuery { symbol: job.symbol, interval, first_us: at, last_us: end, limit: wanted };
            let theirs = official::fetch_whole(client, job.venue, &query).await?;
            let all = ours.len();
            ours.retain(|bar| !theirs.is_unknown(bar.bar.open_time_us));
            report.left_out += (all - ours.len()) as u64;
            report.add(&ours, &theirs.rows, page.omits_empty);
        }
        at = interval.next(end);
    }
    if report.different > 0 {
        warn!(
            venue = report.venue, symbol = report.symbol, interval = report.interval, compared = report.compared,
            different = report.different, by_field = ?report.by_field,
            "candles differ from the venue's"
        );
    }
    Ok(report)
}

impl CompareReport {
    fn add(&mut self, ours: &[StoredBar], theirs: &[Candle], omits_empty: bool) {
        let mut mine = ours.iter().peekable();
        for venue in theirs {
            while let Some(bar) = mine.next_if(|b| b.bar.open_time_us < venue.open_time_us) {
                self.lone(bar, omits_empty);
            }
            match mine.next_if(|b| b.bar.open_time_us == venue.open_time_us) {
                Some(bar) => self.pair(bar, venue),
                None => self.only_venue += 1,
            }
        }
        for bar in mine {
            self.lone(bar, omits_empty);
        }
    }

    fn lone(&mut self, bar: &StoredBar, omits_empty: bool) {
        if !(omits_empty && bar.bar.trade_count == 0) {
            self.only_ours += 1;
        }
    }

    fn pair(&mut self, ours: &StoredBar, venue: &Candle) {
        let is_ours = matches!(ours.source, Source::Live | Source::Rebuilt);
        if !is_ours || !ours.bar.is_final() || ours.bar.flags & (GAP | SEEDED | SPARSE) != 0 {
            self.left_out += 1;
            return;
        }
        self.compared += 1;
        let fields = differences(&ours.bar, venue);
        if fields.is_empty() {
            return;
        }
        self.different += 1;
        for field in &fields {
            *self.by_field.entry(field.name).or_default() += 1;
        }
        if self.examples.len() < EXAMPLES {
            let open_time_us = ours.bar.open_time_us;
            warn!(
                venue = self.venue,
                symbol = self.symbol,
                interval = self.interval,
                open_time_us,
                ?fields,
                "a candle differs from the venue's"
            );
            self.examples.push(Difference { open_time_us, fields });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::{self, Checkpoint};
    use crate::registry::Registered;
    use model::kline::{FINAL, FLAT};
    use model::{Unit, VenueId};
    use venue::{RestRequest, venue};

    const BODY: &[u8] = include_bytes!("../../tests/data/binance-spot/rest-klines-1m-BTCUSDT-2020-05-06.json");

    struct Recorded;

    impl VenueClient for Recorded {
        async fn send(&mut self, _: &RestRequest) -> Result<Vec<u8>, RequestError> {
            Ok(BODY.to_vec())
        }
    }

    #[test]
    fn a_digit_that_is_wrong_is_found_and_a_zero_behind_the_point_is_none() {
        let rows = venue(VenueId::BinanceSpot).rest.parse_klines(BODY).unwrap().rows;
        let mut bars: Vec<KlineData> = rows.iter().map(|k| official::bar(k, Unit::Base).unwrap()).collect();
        bars[3].quote_volume += 1;
        bars[3].trade_count -= 1;
        bars[4].flags |= GAP;
        bars[5] = bars[5].rescaled(9, 9).unwrap();
        let first = bars[0].open_time_us;
        bars.remove(6);
        bars.push(KlineData { open_time_us: first + 60 * 60_000_000, flags: FINAL | FLAT, ..bars[0] });
        let dir = tempfile::tempdir().unwrap();
        let mut database = db::open("sqlite:k.db", dir.path()).unwrap();
        let entry =
            Registered { venue: "binance-spot".to_owned(), symbol: "BTCUSDT".to_owned(), listing_time_ms: None };
        database
            .commit(&Checkpoint {
                feed: "f".to_owned(),
                registry: vec![(0, entry)],
                bars: bars.iter().map(|b| (0, Interval::M1, *b)).collect(),
                ..Checkpoint::default()
            })
            .unwrap();
        let job = CompareJob {
            venue: venue(VenueId::BinanceSpot),
            symbol: "BTCUSDT",
            interval: Interval::M1,
            from_us: first,
            to_us: first + 61 * 60_000_000,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(compare(database.as_mut(), &mut Recorded, &job, i64::MAX / 2)).unwrap();
        assert_eq!((report.compared, report.different, report.left_out), (58, 1, 1));
        assert_eq!((report.only_venue, report.only_ours), (1, 1));
        assert_eq!(report.by_field.into_iter().collect::<Vec<_>>(), [("quote_volume", 1), ("trade_count", 1)]);
        let example = &report.examples[0];
        assert_eq!(example.open_time_us, first + 3 * 60_000_000);
        assert_eq!(example.fields[1].name, "trade_count");
    }
}
