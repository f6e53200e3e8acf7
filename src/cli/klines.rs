//! `tapedeck klines`: fills the stored candles from the venue, compares them with it, writes them to files.

use std::collections::HashMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use wal_format::plain;

use super::config_arg::{ConfigArg, load};
use super::exit::Usage;
use super::output::print_out;
use super::runtime::runtime;
use capture::VenueConfig;
use config::Config;
use history::clean::candles::candles;
use history::clean::place;
use history::stats::records;
use history::verify::series as cleaned;
use history::{Kind, Selection, Symbols};
use kline::client::RetryingClient;
use kline::db::{self, Series};
use kline::export::{ExportError, Format, export};
use kline::official::VenueClient;
use kline::{Costs, Facts, SeriesError, archive, backfill, compare};
use model::{Interval, Unit, VenueId, is_exact, select};
use ops::clock;
use venue::{Venue, venue};

/// Most failures that the last line names; each has a line of its own.
const SHOWN: usize = 20;

/// Arguments of `tapedeck klines`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fills gaps in the stored candles with the venue's own, over REST; goes on where it was stopped.
    Backfill {
        #[command(flatten)]
        choice: Choice,
        /// Replace bars with a gap, and those never closed, too.
        #[arg(long)]
        gaps: bool,
        /// Take them from what `tapedeck history clean` made of Binance's historical data; asks no venue.
        #[arg(long)]
        from_history: bool,
    },
    /// Writes stored candles to a file.
    Export {
        #[command(flatten)]
        choice: Choice,
        /// What to write; without it what the end of the file's name says.
        #[arg(long, value_parser = PossibleValuesParser::new(Format::ALL.iter().map(|f| f.as_str())).try_map(|f| f.parse::<Format>()))]
        format: Option<Format>,
        /// New file; `-` for standard output (not Parquet).
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Compares our final candles with the venue's own; exit code 1 on any difference.
    Compare {
        #[command(flatten)]
        choice: Choice,
    },
}

/// Which candles.
#[derive(Debug, clap::Args)]
struct Choice {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue; may be given several times.
    #[arg(long, value_name = "VENUE")]
    venue: Vec<String>,
    /// Only these symbols: names or globs, separated by commas. Default: those of the configuration.
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<String>,
    /// Only these intervals, separated by commas.
    #[arg(long, value_name = "INTERVALS", value_delimiter = ',')]
    interval: Vec<String>,
    /// From this time on (UTC).
    #[arg(long, value_name = "TIME_UTC")]
    from: Option<String>,
    /// Up to this time, exclusive (UTC).
    #[arg(long, value_name = "TIME_UTC")]
    to: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A checked [`Choice`].
struct Chosen {
    cfg: Arc<Config>,
    venues: Vec<VenueId>,
    symbols: Vec<String>,
    intervals: Vec<Interval>,
    from_us: Option<i64>,
    to_us: Option<i64>,
    json: bool,
}

fn micros(text: &Option<String>, name: &str) -> Result<Option<i64>> {
    Ok(super::time::time(text, name)?.map(|ns| i64::try_from(ns / 1_000).unwrap_or(i64::MAX)))
}

impl Choice {
    fn check(self) -> Result<Chosen> {
        let cfg = load(&self.config.config)?;
        ops::telemetry::init(&cfg.log);
        let mut venues = Vec::new();
        for word in &self.venue {
            venues.push(word.parse::<VenueId>().map_err(|err| Usage(err.to_string()))?);
        }
        let mut intervals = Vec::new();
        for word in &self.interval {
            let known = Interval::ALL.map(Interval::as_str).join(", ");
            intervals
                .push(Interval::parse(word).ok_or_else(|| Usage(format!("unknown interval {word:?}; use {known}")))?);
        }
        if intervals.is_empty() {
            intervals = Interval::ALL.to_vec();
        }
        let (from_us, to_us) = (micros(&self.from, "--from")?, micros(&self.to, "--to")?);
        if let (Some(from), Some(to)) = (from_us, to_us)
            && from >= to
        {
            return Err(Usage("--from is not before --to".to_owned()).into());
        }
        Ok(Chosen { cfg, venues, symbols: self.symbols, intervals, from_us, to_us, json: self.json })
    }
}

impl Chosen {
    fn open(&self) -> Result<Box<dyn db::CandleDb>> {
        wal_format::durable::create_dir_all(&self.cfg.capture.data_dir)
            .with_context(|| format!("make {}", self.cfg.capture.data_dir.display()))?;
        Ok(db::open(self.cfg.klines.database.reveal(), &self.cfg.capture.data_dir)?)
    }

    /// The venues to ask, as configured.
    fn configured(&self) -> Result<Vec<(&VenueConfig, &'static Venue)>> {
        for id in &self.venues {
            if !self.cfg.capture.venues.contains_key(id) {
                return Err(Usage(format!("venue {id} is not in the configuration; add [venues.{id}]")).into());
            }
        }
        let wanted = |id: &VenueId| self.venues.is_empty() || self.venues.contains(id);
        let chosen = self.cfg.capture.venues.values().filter(|v| wanted(&v.id));
        Ok(chosen.map(|v| (v, venue(v.id))).collect())
    }

    /// The symbols of a venue that the patterns name; requests the listing only where there are globs.
    async fn symbols_of(
        &self,
        config: &VenueConfig,
        venue: &Venue,
        client: &mut impl VenueClient,
    ) -> Result<Vec<String>> {
        let patterns = if self.symbols.is_empty() { &config.symbols } else { &self.symbols };
        if patterns.iter().all(|p| is_exact(p)) {
            return Ok(patterns.clone());
        }
        let body = client.send(&venue.rest.listing_request()).await.context("the listing of symbols")?;
        let listing = venue.rest.parse_listing(&body)?;
        for entry in &listing.rejects {
            tracing::warn!(symbol = entry.name, why = entry.why, "an entry of the listing cannot be read");
        }
        let chosen = select(patterns, &listing.symbols);
        // A name written out is meant, also when it does not trade any more.
        Ok(chosen.symbols.into_iter().chain(chosen.not_trading.into_iter().map(|(name, _)| name)).collect())
    }

    /// What amounts of the symbols are worth, where the venue's candles count contracts and have all but their worth.
    async fn units_of(&self, venue: &Venue, client: &mut impl VenueClient) -> Result<HashMap<String, Unit>> {
        if !venue.spec.counts_contracts || venue.spec.seeding.is_empty() {
            return Ok(HashMap::new());
        }
        let body = client.send(&venue.rest.listing_request()).await.context("the listing of symbols")?;
        let symbols = venue.rest.parse_listing(&body)?.symbols;
        Ok(symbols.iter().map(|s| (s.name.clone(), Facts::unit(venue, Some(&Facts::from(s))))).collect())
    }
}

fn now_us() -> i64 {
    i64::try_from(clock::wall_ns() / 1_000).unwrap_or(i64::MAX)
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.what {
        What::Backfill { choice, gaps, from_history: true } => from_history(&choice.check()?, gaps),
        What::Backfill { choice, gaps, from_history: false } => runtime()?.block_on(fill(&choice.check()?, gaps)),
        What::Export { choice, format, out } => write(&choice.check()?, format, &out),
        What::Compare { choice } => runtime()?.block_on(differ(&choice.check()?)),
    }
}

/// What could not be done. Each is logged when it happens, and the others go on.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn warn(&mut self, what: String, err: &anyhow::Error) {
        eprintln!("{}", plain::line(&format!("could not {what}: {err:#}")));
        self.0.push(what);
    }

    fn end(self) -> Result<()> {
        let named = self.0.iter().take(SHOWN).map(|what| plain::line(what)).collect::<Vec<_>>().join("; ");
        anyhow::ensure!(self.0.is_empty(), "{} could not be done, see above: {named}", self.0.len());
        Ok(())
    }
}

/// One series to be filled or compared.
struct Wanted<'w> {
    venue: &'static Venue,
    symbol: &'w str,
    interval: Interval,
    unit: Unit,
}

/// Does `each` with every chosen series; `doing` names it. A venue, symbol or interval that fails costs
/// no other one.
async fn each_series(
    chosen: &Chosen,
    (doing, counts_units): (&str, bool),
    mut each: impl AsyncFnMut(&mut RetryingClient, Wanted<'_>) -> Result<()>,
) -> Result<Failures> {
    let mut failures = Failures::default();
    'venues: for (config, venue) in chosen.configured()? {
        let mut client = RetryingClient::new(&chosen.cfg.capture, config)?;
        let listed = async |client: &mut RetryingClient| {
            let units = if counts_units { chosen.units_of(venue, client).await? } else { HashMap::new() };
            anyhow::Ok((units, chosen.symbols_of(config, venue, client).await?))
        };
        let (units, symbols) = match listed(&mut client).await {
            Ok(listed) => listed,
            Err(err) => {
                failures.warn(format!("{doing} candles of {}", config.id), &err);
                continue;
            }
        };
        'symbols: for symbol in &symbols {
            for interval in chosen.intervals.iter().copied() {
                let unit = units.get(symbol).copied().unwrap_or_default();
                let Err(err) = each(&mut client, Wanted { venue, symbol, interval, unit }).await else { continue };
                let costs = err.downcast_ref::<SeriesError>().map_or(Costs::Run, SeriesError::costs);
                let what = format!("{doing} {interval} candles of {symbol} on {}", config.id);
                if costs == Costs::Run {
                    return Err(err.context(what));
                }
                failures.warn(what, &err);
                match costs {
                    Costs::Series | Costs::Run => {}
                    Costs::Symbol => continue 'symbols,
                    Costs::Venue => continue 'venues,
                }
            }
        }
    }
    Ok(failures)
}

async fn fill(chosen: &Chosen, gaps: bool) -> Result<()> {
    let mut database = chosen.open()?;
    let mut all = Vec::new();
    let shows = std::io::stderr().is_terminal() && !chosen.json;
    let failures = each_series(chosen, ("fill", true), async |client, Wanted { venue, symbol, interval, unit }| {
        if !venue.has_klines(interval) {
            tracing::warn!(venue = %venue.id(), %interval, "the venue has no such candles over REST");
            return Ok(());
        }
        let (symbol, from_us, to_us) = (symbol.to_owned(), chosen.from_us, chosen.to_us);
        let job = backfill::BackfillJob { venue, symbol, interval, from_us, to_us, gaps, unit };
        let mut on_progress = |d: &backfill::Done| {
            if shows {
                let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", line(d));
            }
        };
        let done = backfill::fill(database.as_mut(), client, &job, now_us(), &mut on_progress).await;
        if shows {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
        let done = done?;
        if !chosen.json {
            print_out(&format!("{}\n", line(&done)))?;
        }
        all.push(done);
        Ok(())
    })
    .await?;
    if chosen.json {
        print_out(&format!("{}\n", serde_json::to_string(&all)?))?;
    }
    failures.end()
}

fn from_history(chosen: &Chosen, gaps: bool) -> Result<()> {
    let symbols = Symbols::new(&chosen.symbols).map_err(|err| Usage(err.to_string()))?;
    let selection = Selection { kinds: [Kind::Klines].into(), symbols, ..Selection::default() };
    let history = &chosen.cfg.history;
    let (mirror, lake) = (&history.dir, s3::lake_at(&history.lake_dir, &history.lake_work_dir(), &chosen.cfg.store)?);
    let mut database = chosen.open()?;
    let (mut all, mut failures) = (Vec::new(), Failures::default());
    let found = cleaned(&lake, &selection)?;
    for (path, why) in &found.damaged {
        eprintln!("{}", plain::line(&format!("{path}: {why}")));
    }
    for series in found.series {
        let interval = series.interval.and_then(|i| Interval::parse(i.as_str()));
        let venue = place::venue(series.market);
        let Some(interval) = interval.filter(|i| chosen.intervals.contains(i)) else { continue };
        let wanted = chosen.venues.is_empty() || chosen.venues.iter().any(|v| v.as_str() == venue);
        if !wanted {
            continue;
        }
        let between = (chosen.from_us, chosen.to_us);
        let files =
            records(&lake, &series)?.into_iter().map(|record| candles(mirror, &record).map_err(anyhow::Error::from));
        let loaded: Result<_> =
            archive::load(database.as_mut(), (venue, &series.symbol, interval), files, between, gaps);
        let l = match loaded {
            Ok(loaded) => loaded,
            Err(err) if err.is::<db::DbError>() => return Err(err),
            Err(err) => {
                failures.warn(format!("load candles of {} on {venue}", series.name()), &err);
                continue;
            }
        };
        if !chosen.json {
            print_out(&format!(
                "{} {} {}: {} candles of the archive, {} stored, {} replaced, {} left alone\n",
                l.venue,
                plain::line(&l.symbol),
                l.interval,
                l.candles,
                l.inserted,
                l.replaced,
                l.kept
            ))?;
        }
        all.push(l);
    }
    if chosen.json {
        print_out(&format!("{}\n", serde_json::to_string(&all)?))?;
    }
    anyhow::ensure!(found.damaged.is_empty(), "{} records are damaged: see above", found.damaged.len());
    failures.end()?;
    anyhow::ensure!(!all.is_empty(), "no such candles were cleaned; `tapedeck history clean --kind klines` first");
    Ok(())
}

fn line(d: &backfill::Done) -> String {
    let until = jiff::Timestamp::from_microsecond(d.at_us).map(|t| t.to_string()).unwrap_or_default();
    format!(
        "{} {} {}: {} missing, {} stored, {} replaced, {} not at the venue; up to {until}",
        d.venue,
        plain::line(&d.symbol),
        d.interval,
        d.missing,
        d.inserted,
        d.replaced,
        d.absent
    )
}

/// The requested format, or the one that the file's name says.
fn format_of(given: Option<Format>, path: &std::path::Path) -> Result<Format> {
    let named = || path.extension()?.to_str()?.to_ascii_lowercase().parse().ok();
    let unknown = || Usage(format!("{} names no format: add --format parquet, csv or jsonl", path.display()));
    Ok(given.or_else(named).ok_or_else(unknown)?)
}

fn write(chosen: &Chosen, format: Option<Format>, path: &std::path::Path) -> Result<()> {
    let format = format_of(format, path)?;
    let mut reader = db::open_reader(chosen.cfg.klines.database.reveal(), &chosen.cfg.capture.data_dir)
        .context("there are no candles yet: run the compactor or `tapedeck klines backfill` first")?;
    let patterns = &chosen.symbols;
    let is_named = |symbol: &str| {
        patterns.is_empty()
            || patterns
                .iter()
                .any(|p| p == symbol || globset::Glob::new(p).is_ok_and(|g| g.compile_matcher().is_match(symbol)))
    };
    let mut series: Vec<Series> = reader.series()?;
    series.retain(|s| {
        let venue = chosen.venues.is_empty() || chosen.venues.iter().any(|v| v.as_str() == s.venue);
        venue && is_named(&s.symbol) && chosen.intervals.contains(&s.interval)
    });
    series.sort();
    let between = (chosen.from_us, chosen.to_us);
    if path.as_os_str() == "-" {
        if format == Format::Parquet {
            return Err(Usage("Parquet needs a file: --out FILE".to_owned()).into());
        }
        let stdout = std::io::stdout();
        let out: Box<dyn Write + Send> = match stdout.is_terminal() {
            true => Box::new(plain::Plain(BufWriter::new(stdout))),
            false => Box::new(BufWriter::new(stdout)),
        };
        let closed =
            |err: &ExportError| matches!(err, ExportError::Io(err) if err.kind() == std::io::ErrorKind::BrokenPipe);
        match export(reader.as_mut(), &series, between, format, out) {
            Err(err) if !closed(&err) => return Err(err.into()),
            _ => {}
        }
        return Ok(());
    }
    let file = std::fs::File::create_new(path)
        .with_context(|| format!("cannot make {}: name a file that does not exist yet", path.display()))?;
    let written = export(reader.as_mut(), &series, between, format, BufWriter::new(&file))
        .and_then(|n| Ok((n, file.sync_all()?)));
    let (bars, ()) = match written {
        Ok(written) => written,
        Err(err) => {
            // Half a file would pass for a whole one.
            let _ = std::fs::remove_file(path);
            return Err(anyhow::Error::from(err).context(format!("write {}", path.display())));
        }
    };
    if chosen.json {
        let report = serde_json::json!({ "bars": bars, "series": series.len(), "file": path });
        return print_out(&format!("{report}\n"));
    }
    print_out(&format!("{bars} bars of {} series in {}\n", series.len(), path.display()))
}

async fn differ(chosen: &Chosen) -> Result<()> {
    const DAY_US: i64 = 86_400_000_000;
    let mut reader = db::open_reader(chosen.cfg.klines.database.reveal(), &chosen.cfg.capture.data_dir)
        .context("there are no candles yet: run the compactor first")?;
    // Yesterday by default.
    let midnight = Interval::D1.open_of(now_us());
    let to_us = chosen.to_us.unwrap_or(midnight);
    let from_us = chosen.from_us.unwrap_or(to_us - DAY_US);
    let mut reports = Vec::new();
    let failures = each_series(chosen, ("compare", false), async |client, Wanted { venue, symbol, interval, .. }| {
        if !venue.has_klines(interval) {
            return Ok(());
        }
        let job = compare::CompareJob { venue, symbol, interval, from_us, to_us };
        let report = compare::compare(reader.as_mut(), client, &job, now_us()).await?;
        if !chosen.json {
            print_out(&format!(
                "{} {} {interval}: {} compared, {} different {:?}, {} only ours, {} only the venue's, {} left out\n",
                venue.id(),
                plain::line(symbol),
                report.compared,
                report.different,
                report.by_field,
                report.only_ours,
                report.only_venue,
                report.left_out
            ))?;
        }
        reports.push(report);
        Ok(())
    })
    .await?;
    if chosen.json {
        print_out(&format!("{}\n", serde_json::to_string(&reports)?))?;
    }
    let different: u64 = reports.iter().map(|r| r.different).sum();
    if different > 0 {
        let compared: u64 = reports.iter().map(|r| r.compared).sum();
        anyhow::bail!("{different} of {compared} compared candles differ from the venue's; see the lines above");
    }
    failures.end()
}
