//! The simulator from the command line. Prints its addresses as one JSON line on stdout, progress on stderr, and the report at the end.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Parser, ValueEnum};
use venue_sim::{
    Fault, Heartbeat, Limits, Market, Pace, RecordingFile, Repeat, Sim, SimConfig, SimVenue, Source, StartWhen,
    TlsFiles, Token,
};

/// Simulated exchanges on loopback: real protocols, recorded or generated frames, exact reports of what was sent.
#[derive(Parser)]
#[command(version, group(ArgGroup::new("source").required(true).args(["recordings", "generate"])))]
struct Args {
    /// A recording to play; repeat for more. All of a venue are merged by receive time.
    #[arg(long = "recording", value_name = "VENUE=FILE")]
    recordings: Vec<String>,

    /// Generate a market of these symbols instead.
    #[arg(long, value_name = "SYMBOL,..", value_delimiter = ',')]
    generate: Vec<String>,

    /// Venues of a generated market.
    #[arg(long, value_name = "VENUE,..", value_delimiter = ',', default_value = "binance-spot", requires = "generate")]
    venues: Vec<String>,

    /// Channels of a generated market.
    #[arg(
        long,
        value_name = "CHANNEL,..",
        value_delimiter = ',',
        default_value = "trades,agg_trades,book_ticker,depth,mark_price,liquidations,venue_klines"
    )]
    channels: Vec<String>,

    /// Frames per second of a generated market, over all venues.
    #[arg(long, value_name = "FRAMES/S", default_value_t = 1000)]
    rate: u64,

    /// Frames after which a generated market ends; endless without.
    #[arg(long, value_name = "FRAMES")]
    total: Option<u64>,

    /// Time of the first generated frame; without, frames carry the time of sending.
    #[arg(long, value_name = "MS SINCE 1970")]
    start_ms: Option<i64>,

    /// Seed of the generated market.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// The environment variable with the token that whoever asks must show; an address beyond loopback takes one.
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,

    /// An address beyond loopback without a token is meant: everybody who reaches it may connect and control.
    #[arg(long, conflicts_with = "token_env")]
    insecure: bool,

    /// A name under which it may be asked beside localhost and addresses; repeat for more.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,

    /// "recorded", "x10" (ten times faster), "20000/s" (frames per second over all venues) or "max".
    #[arg(long, value_name = "PACE", default_value = "recorded", value_parser = pace)]
    pace: Pace,

    /// Play recordings this many times; 0 = until stopped.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u64,

    /// Shift times to now and ids on from loop to loop.
    #[arg(long)]
    restamp: bool,

    /// When a venue begins.
    #[arg(long, value_enum, default_value_t = Start::Settled)]
    start: Start,

    /// Quiet time after the last new subscription before "settled" starts.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    settle_ms: u64,

    /// A stream that "all" waits for; repeat for more. Without, all streams of the source.
    #[arg(long = "expect", value_name = "VENUE=STREAM")]
    expected: Vec<String>,

    /// A fault, or a list of faults, as JSON; repeat for more.
    #[arg(long = "fault", value_name = "JSON")]
    faults: Vec<String>,

    /// A file with a list of faults as JSON.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Enforce the venue's limits: messages, streams, connects, REST weight.
    #[arg(long)]
    enforce_limits: bool,

    /// REST weight per minute instead of the venue's.
    #[arg(long, value_name = "WEIGHT")]
    rest_weight: Option<u32>,

    /// Limits as JSON, for short windows and bans: {"rest_window_ms":1000,"throttle_ms":500,"ban_ms":2000}; see `Limits`.
    #[arg(long, value_name = "JSON", conflicts_with = "rest_weight")]
    limits: Option<String>,

    /// A symbol that is not listed at the start: the fault {"do":"list","symbol":".."} lists it; repeat for more.
    #[arg(long = "unlisted", value_name = "VENUE=SYMBOL")]
    unlisted: Vec<String>,

    /// The API key of a venue that requires one; without, any key opens it.
    #[arg(long = "api-key", value_name = "VENUE=KEY")]
    api_keys: Vec<String>,

    /// A channel of USD-M that the other of /public and /market serves than is documented; repeat for more.
    #[arg(long = "moved", value_name = "VENUE=CHANNEL")]
    moved: Vec<String>,

    /// Time between two pings instead of the venue's.
    #[arg(long, value_name = "MS")]
    ping_ms: Option<u64>,

    /// Time without a pong after which a connection is closed instead of the venue's.
    #[arg(long, value_name = "MS")]
    pong_timeout_ms: Option<u64>,

    /// List only the symbols that play.
    #[arg(long)]
    no_extra_symbols: bool,

    /// Serve TLS with this certificate chain.
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of the certificate.
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,

    /// Write every message payload that was sent to this file.
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,

    /// Write the report here instead of to stdout.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// End when everything was played and flushed.
    #[arg(long)]
    exit_when_finished: bool,

    /// End after this time.
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Start {
    /// With the first subscription.
    First,
    /// When every expected stream is subscribed.
    All,
    /// When no new subscription came for a while.
    Settled,
}

fn pace(text: &str) -> Result<Pace, String> {
    let rate = || text.strip_suffix("/s").and_then(|rate| rate.parse().ok()).filter(|&rate| rate > 0);
    let factor = || text.strip_prefix('x').and_then(|factor| factor.parse().ok()).filter(|&factor: &f64| factor > 0.0);
    match text {
        "recorded" => Ok(Pace::Recorded),
        "max" => Ok(Pace::Max),
        _ => rate()
            .map(Pace::PerSecond)
            .or_else(|| factor().map(Pace::Times))
            .ok_or_else(|| "give \"recorded\", \"x10\", \"20000/s\" or \"max\"".to_owned()),
    }
}

fn config(args: &Args) -> anyhow::Result<SimConfig> {
    let pair = |text: &str| -> anyhow::Result<(String, String)> {
        let (venue, rest) = text.split_once('=').with_context(|| format!("\"{text}\" is not VENUE=.."))?;
        Ok((venue.to_owned(), rest.to_owned()))
    };
    let mut config = if args.generate.is_empty() {
        let files = args
            .recordings
            .iter()
            .map(|text| pair(text).map(|(venue, path)| RecordingFile::new(&venue, path)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut config = SimConfig::recordings(files);
        if let Source::Recordings(files) = &config.source {
            let mut ids: Vec<&str> = files.iter().map(|file| file.venue.as_str()).collect();
            ids.dedup();
            config.venues = ids.into_iter().map(SimVenue::new).collect();
            config.venues.dedup_by(|a, b| a.id == b.id);
        }
        config
    } else {
        let market = Market {
            symbols: args.generate.clone(),
            channels: args.channels.clone(),
            frames_per_s: args.rate,
            total_frames: args.total,
            start_ms: args.start_ms,
        };
        SimConfig::generated(&args.venues.iter().map(String::as_str).collect::<Vec<_>>(), market)
    };
    let mut of_venue = |texts: &[String], set: fn(&mut SimVenue, String)| -> anyhow::Result<()> {
        for text in texts {
            let (id, value) = pair(text)?;
            let Some(venue) = config.venues.iter_mut().find(|have| have.id == id) else {
                bail!("\"{text}\" names {id}, which is not served");
            };
            set(venue, value);
        }
        Ok(())
    };
    of_venue(&args.expected, |venue, stream| venue.expected.push(stream))?;
    of_venue(&args.unlisted, |venue, symbol| venue.unlisted.push(symbol))?;
    of_venue(&args.api_keys, |venue, key| venue.api_key = Some(key))?;
    of_venue(&args.moved, |venue, channel| venue.moved.push(channel))?;
    let mut faults: Vec<Fault> = Vec::new();
    for text in &args.faults {
        faults.extend(venue_sim::faults::parse(text.as_bytes()).with_context(|| format!("read the fault {text}"))?);
    }
    if let Some(path) = &args.script {
        let text = std::fs::read(path).with_context(|| format!("read the script {}", path.display()))?;
        faults.extend(venue_sim::faults::parse(&text).with_context(|| format!("read the script {}", path.display()))?);
    }
    config.listen = args.listen;
    config.access.insecure = args.insecure;
    config.access.hosts = args.hosts.clone();
    if let Some(name) = &args.token_env {
        let token = std::env::var(name).ok().filter(|token| token.len() >= 16);
        let token = token.with_context(|| format!("the variable {name} holds no token of 16 characters or more"))?;
        config.access.token = Some(Token::new(token));
    }
    config.pace = args.pace;
    config.repeat = match args.repeat {
        0 => Repeat::Forever,
        1 => Repeat::Once,
        times => Repeat::Times(times),
    };
    config.restamp = args.restamp;
    config.start_when = match args.start {
        Start::First => StartWhen::FirstSubscribe,
        Start::All => StartWhen::AllStreams,
        Start::Settled => StartWhen::Settled { streams: 1, quiet_ms: args.settle_ms },
    };
    config.faults = faults;
    config.limits = match &args.limits {
        Some(text) => serde_json::from_str(text).with_context(|| format!("read the limits {text}"))?,
        None => Limits { rest_weight_per_min: args.rest_weight, ..Limits::default() },
    };
    config.limits.enforce |= args.enforce_limits;
    config.heartbeat = Heartbeat { ping_interval_ms: args.ping_ms, pong_timeout_ms: args.pong_timeout_ms };
    config.tls = args.cert.clone().zip(args.key.clone()).map(|(cert, key)| TlsFiles { cert, key });
    config.transcript = args.transcript.clone();
    config.extra_symbols = !args.no_extra_symbols;
    config.seed = args.seed;
    Ok(config)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut interrupt =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).context("listen to SIGINT")?;
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("listen to SIGTERM")?;
    let sim = Sim::start(config(&args)?).await?;
    let urls: serde_json::Map<String, serde_json::Value> = sim
        .venues()
        .into_iter()
        .map(|venue| {
            let urls = serde_json::json!({ "rest_url": sim.rest_url(&venue), "ws_url": sim.ws_url(&venue) });
            (venue, urls)
        })
        .collect();
    say(&serde_json::json!({ "address": sim.address(), "pid": std::process::id(), "venues": urls }).to_string())?;
    let until = args.duration.map(Duration::from_secs_f64);
    let progress = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let totals = sim.report().totals;
            let rate = totals.frames_sent.saturating_sub(before) / 5;
            before = totals.frames_sent;
            eprintln!(
                "venue-sim: {} frames, {rate}/s, {} connections opened, {} REST requests",
                totals.frames_sent, totals.connections, totals.rest_requests
            );
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = sim.stop_asked() => {}
        () = sim.wait_finished(), if args.exit_when_finished => {}
        () = async { tokio::time::sleep(until.unwrap_or_default()).await }, if until.is_some() => {}
        () = progress => {}
    }
    let failure = sim.failure();
    let report = serde_json::to_string_pretty(&sim.stop().await).context("write the report")?;
    match &args.report {
        Some(path) => std::fs::write(path, report).with_context(|| format!("write the report {}", path.display()))?,
        None => say(&report)?,
    }
    match failure {
        Some(failure) => bail!(failure),
        None => Ok(()),
    }
}

/// Prints a line; a closed pipe is not an error.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("write to stdout"),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(run(args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
