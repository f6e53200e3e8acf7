//! A log that grows at a given rate: generated `aggTrade` frames of USD-M symbols, appended as the collector does, in a
//! process of its own. Trades of sampled symbols get their append instant into a table that is written at the end, so
//! that the readers' frames are no different from real ones.

use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use config::Config;
use model::VenueId;
use wal_format::{Append, Kind, LogWriter};

use crate::append::clock;

/// The venue of all generated frames.
pub(crate) const VENUE: VenueId = VenueId::BinanceUsdm;
/// Every so many symbols one is sampled.
const SAMPLED_EVERY: usize = 31;
/// Between two bursts; the kernel's timer slack adds about as much.
const NAP: Duration = Duration::from_micros(50);
const STAMPS: &str = "stamps";

/// What to write; also the arguments of the hidden subcommand `synth`.
#[derive(Clone, clap::Args)]
pub(crate) struct Args {
    /// Data directory, as `[data] dir`.
    pub dir: PathBuf,
    /// Trades per second.
    pub per_s: u64,
    /// How long, s; the first trade of each symbol comes at once.
    pub seconds: u64,
    /// Symbols.
    pub symbols: usize,
}

/// Where the writer runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a process of its own: what is measured.
    Process,
    /// In a thread, for tests.
    #[cfg(test)]
    Thread,
}

/// A running writer.
pub(crate) enum Writer {
    Process(Child),
    Thread(JoinHandle<anyhow::Result<()>>),
}

impl Writer {
    pub(crate) fn start(place: Place, args: &Args) -> anyhow::Result<Writer> {
        if place != Place::Process {
            let args = args.clone();
            return Ok(Writer::Thread(std::thread::spawn(move || write(&args))));
        }
        let child = Command::new(std::env::current_exe()?)
            .arg("synth")
            .arg(&args.dir)
            .args([args.per_s.to_string(), args.seconds.to_string(), args.symbols.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .context("start the writing process")?;
        Ok(Writer::Process(child))
    }

    pub(crate) fn done(&mut self) -> anyhow::Result<bool> {
        Ok(match self {
            Writer::Process(child) => child.try_wait()?.is_some(),
            Writer::Thread(thread) => thread.is_finished(),
        })
    }

    /// Ends it before its time; a thread is waited for.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        match self {
            Writer::Process(mut child) => {
                child.kill()?;
                child.wait()?;
                Ok(())
            }
            thread => thread.join(),
        }
    }

    pub(crate) fn join(self) -> anyhow::Result<()> {
        match self {
            Writer::Process(mut child) => anyhow::ensure!(child.wait()?.success(), "the writing process failed"),
            Writer::Thread(thread) => thread.join().map_err(|_| anyhow::anyhow!("the writing thread panicked"))??,
        }
        Ok(())
    }
}

/// The configuration of everybody in this directory.
pub(crate) fn config(dir: &Path) -> anyhow::Result<Config> {
    Ok(Config::from_toml(&format!(
        "[data]\ndir = {:?}\n[venues.{VENUE}]\nsymbols = [\"*\"]\nchannels = [\"agg_trades\"]\n",
        dir.display().to_string()
    ))?)
}

/// The name of a symbol.
pub(crate) fn name(symbol: usize) -> String {
    format!("S{symbol:04}USDT")
}

/// The symbols whose appends are stamped.
pub(crate) fn sampled(symbols: usize) -> impl Iterator<Item = usize> {
    (0..symbols).step_by(SAMPLED_EVERY)
}

/// Append instants (ns of the monotonic clock) by symbol; the place of one is the trade's id minus 1.
pub(crate) type Stamps = BTreeMap<usize, Vec<u64>>;

/// The table of a writer that has ended.
pub(crate) fn stamps(dir: &Path) -> anyhow::Result<Stamps> {
    let mut bytes = Vec::new();
    std::fs::File::open(dir.join(STAMPS)).context("open the table of stamps")?.read_to_end(&mut bytes)?;
    let mut stamps = Stamps::new();
    for entry in bytes.chunks_exact(16) {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        stamps.entry(word(0) as usize).or_default().push(word(8));
    }
    Ok(stamps)
}

/// Writes at the given rate and ends.
pub(crate) fn write(args: &Args) -> anyhow::Result<()> {
    let cfg = config(&args.dir)?;
    let mut log = LogWriter::open(&cfg.capture.wal_dir(VENUE), cfg.capture.log_options())?;
    let notifier = log.notifier();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut ids = vec![0_u64; args.symbols];
    let mut prices = vec![5_000_000_i64; args.symbols];
    let names: Vec<(String, String)> = (0..args.symbols).map(|s| (name(s).to_lowercase(), name(s))).collect();
    let mut stamped = Vec::with_capacity((args.per_s * args.seconds) as usize / SAMPLED_EVERY * 2);
    let mut frame = Vec::with_capacity(256);
    let (start, total) = (Instant::now(), args.per_s * args.seconds + args.symbols as u64);
    let mut made = 0_u64;
    while made < total {
        let due = args.symbols as u64 + start.elapsed().as_nanos() as u64 * args.per_s / 1_000_000_000;
        let due = due.min(total);
        if made == due {
            std::thread::sleep(NAP);
            continue;
        }
        while made < due {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let r = state;
            let n = args.symbols as u64;
            // All symbols once; then the smaller of two: low numbers come more often.
            let symbol = if made < n { made } else { (r % n).min((r >> 20) % n) } as usize;
            made += 1;
            ids[symbol] += 1;
            prices[symbol] = (prices[symbol] + (r >> 40) as i64 % 21 - 10).max(100);
            let (id, price, amount, (lower, upper)) = (ids[symbol], prices[symbol], 1 + (r >> 52), &names[symbol]);
            let now = clock();
            let ms = now.wall_ns / 1_000_000;
            frame.clear();
            write!(
                frame,
                "{{\"stream\":\"{lower}@aggTrade\",\"data\":{{\"e\":\"aggTrade\",\"E\":{ms},\"a\":{id},\"s\":\"{upper}\",\
                 \"p\":\"{}.{:02}\",\"q\":\"{}.{:03}\",\"f\":{id},\"l\":{id},\"T\":{},\"m\":{}}}}}",
                price / 100,
                price % 100,
                amount / 1_000,
                amount % 1_000,
                ms - 5,
                r & 1 == 0,
            )?;
            if symbol.is_multiple_of(SAMPLED_EVERY) {
                // Read last before the append: making the frame is the venue's part.
                stamped.push((symbol as u64, clock().mono_ns));
            }
            log.append(&Append { ts_recv_ns: now.wall_ns, conn: 1, kind: Kind::Data, flags: 0, payload: &frame })?;
        }
        notifier.notify();
    }
    log.close()?;
    let mut out = BufWriter::new(std::fs::File::create(args.dir.join(STAMPS))?);
    for (symbol, mono_ns) in stamped {
        out.write_all(&symbol.to_le_bytes())?;
        out.write_all(&mono_ns.to_le_bytes())?;
    }
    out.flush()?;
    Ok(())
}
