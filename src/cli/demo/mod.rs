//! `tapedeck demo`: the main job in one command, without network or keys.
//!
//! ```text
//!  simulated exchanges --ws/rest--> collector (child) --> data-dir/wal --> compactor (child) --> data-dir/lake
//!  (this process)                                             |                                     |
//!                                                             +------------- accounting ------------+
//! ```
//!
//! The simulator speaks the venues' real protocols on loopback and plays recorded frames; collector and compactor are
//! the very services one runs for real, as two child processes with a configuration file that is left for reading.
//! At the end everything is counted twice, by the simulator and from the lake, and the two must agree.

mod account;
mod child;
mod live;
mod venues;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use venue_sim::{Pace, Repeat, Sim, SimConfig, StartWhen};

use self::venues::{Part, recordings_dir};
use super::exit::Usage;
use config::Config;
use model::VenueId;
use ops::shutdown::Shutdown;
use ops::supervise::Supervisor;
use venue::venue;

/// Arguments of `tapedeck demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after this many seconds; without it the demo runs until Ctrl-C.
    #[arg(long, value_name = "SECONDS", conflicts_with = "once")]
    duration: Option<u64>,
    /// How fast the recordings are played: `recorded`, a multiple such as `10x`, frames per second such as `50000`, or
    /// `max` (as fast as the socket takes them).
    #[arg(long, default_value = "recorded", value_parser = parse_rate)]
    rate: Pace,
    /// Venues to show, separated by commas; without it all of them.
    #[arg(long, value_name = "VENUES", value_delimiter = ',')]
    venues: Vec<String>,
    /// Where log and lake go; without it a new directory below `data/`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Play the recordings once, compact, print the accounting, exit.
    #[arg(long)]
    once: bool,
    /// Print the accounting as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// Understands the values of `--rate`.
fn parse_rate(text: &str) -> Result<Pace, String> {
    match text {
        "recorded" => return Ok(Pace::Recorded),
        "max" => return Ok(Pace::Max),
        _ => {}
    }
    let wrong =
        || format!("{text:?} is none of: recorded, max, a multiple such as 10x, frames per second such as 50000");
    if let Some(times) = text.strip_suffix('x') {
        return match times.parse::<f64>() {
            Ok(t) if t.is_finite() && t > 0.0 => Ok(Pace::Times(t)),
            _ => Err(wrong()),
        };
    }
    match text.parse::<u64>() {
        Ok(n) if n > 0 => Ok(Pace::PerSecond(n)),
        _ => Err(wrong()),
    }
}

fn chosen_venues(args: &Args) -> anyhow::Result<Vec<VenueId>> {
    if args.venues.is_empty() {
        return Ok(VenueId::ALL.to_vec());
    }
    let mut out = Vec::new();
    for word in &args.venues {
        let id = word.trim().parse::<VenueId>().map_err(|err| Usage(err.to_string()))?;
        if !out.contains(&id) {
            out.push(id);
        }
    }
    Ok(out)
}

/// An unused directory, or the requested one if it is empty or new.
fn data_dir(args: &Args) -> anyhow::Result<PathBuf> {
    let dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => {
            let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
            PathBuf::from("data").join(format!("demo-{now}"))
        }
    };
    if dir.exists() && std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?.next().is_some() {
        return Err(Usage(format!(
            "{} is not empty: the demo counts everything it finds there\n  fix:   name a new directory with --data-dir",
            dir.display()
        ))
        .into());
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("resolve {}", dir.display()))
}

/// The page's port when it is free, else any free one.
fn listen_address() -> anyhow::Result<SocketAddr> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    if TcpListener::bind(wanted).is_ok() {
        return Ok(wanted);
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port on loopback")?;
    any.local_addr().context("find a free port on loopback")
}

fn write_config(dir: &Path, listen: SocketAddr, venues: &[VenueId], sim: &Sim) -> anyhow::Result<PathBuf> {
    let mut text = format!(
        "# Written by `tapedeck demo`; the services read exactly this.\n{}\n[data]\ndir = {:?}\n\n[api]\nlisten = \"{listen}\"\n",
        include_str!("../../../config/demo.toml"),
        dir.display().to_string()
    );
    let quoted = |words: Vec<&str>| words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
    for part in venues.iter().filter_map(|id| Part::of(*id)) {
        let id = part.id;
        let names = quoted(part.symbols.to_vec());
        let channels = quoted(part.channels.iter().map(|c| c.as_str()).collect());
        text.push_str(&format!(
            "\n[venues.{id}]\nsymbols = [{names}]\nchannels = [{channels}]\nconnect_stagger_ms = 100\nrest_url = {:?}\n",
            sim.rest_url(id.as_str()),
        ));
        // Where connecting takes a token, its answer names the socket.
        if venue(id).streams.token_request().is_none() {
            text.push_str(&format!("ws_url = {:?}\n", sim.ws_url(id.as_str())));
        }
        if venue(id).spec.needs_api_key() {
            text.push_str(&format!("api_key_env = {:?}\n", child::API_KEY_ENV));
        }
    }
    let path = dir.join("demo.toml");
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Runs the demo.
///
/// # Errors
/// When a service cannot start or fails, or when the two counts do not agree.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::runtime::runtime()?.block_on(demo(args))
}

async fn demo(args: Args) -> anyhow::Result<()> {
    let venues = chosen_venues(&args)?;
    let files = recordings_dir()?;
    let dir = data_dir(&args)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals(&Supervisor::default()).context("cannot listen for signals")?;

    let stage = venues.iter().filter_map(|id| Some(Part::of(*id)?.on_stage(&files, args.once))).collect();
    let mut sim_config = SimConfig::venues(stage);
    sim_config.pace = args.rate;
    sim_config.repeat = if args.once { Repeat::Once } else { Repeat::Forever };
    sim_config.restamp = true;
    // This process holds it; nobody controls it over the wire.
    sim_config.access.control = false;
    // Nothing is played before everything is subscribed, so nothing is missed and the counts can be exact.
    sim_config.start_when = StartWhen::AllStreams;
    let sim = Sim::start(sim_config).await.context("start the simulated exchanges")?;

    let listen = listen_address()?;
    let config_path = write_config(&dir, listen, &venues, &sim)?;
    let cfg = super::config_arg::load(&config_path)?;
    intro(&args, &venues, &dir, &config_path, listen);

    let mut collector = child::Child::spawn("collector", &config_path, &dir)?;
    let mut compactor = child::Child::spawn("compactor", &config_path, &dir)?;
    let played = play(&args, &cfg, &sim, &shutdown, [&mut collector, &mut compactor]).await;

    eprintln!("\nstopping: collector, then compactor, then the rest of the log is published");
    let stopped = async {
        collector.stop().await?;
        compactor.stop().await?;
        child::Child::spawn_with("compactor", &["--drain"], &config_path, &dir)?.finish().await
    }
    .await;
    let report = sim.stop().await;
    played?;
    stopped?;

    let account = account::account(&cfg, &report)?;
    if args.json {
        super::output::print_out(&format!("{}\n", serde_json::to_string_pretty(&account)?))?;
    } else {
        super::output::print_out(&account.to_string())?;
        eprintln!("{}", next_steps(&dir, &config_path));
    }
    account.verdict()
}

/// Watches until the end: played once, the time is over, Ctrl-C, or a child that died.
async fn play(
    args: &Args,
    cfg: &Config,
    sim: &Sim,
    shutdown: &Shutdown,
    mut children: [&mut child::Child; 2],
) -> anyhow::Result<()> {
    let end = args.duration.map(|s| Instant::now() + Duration::from_secs(s));
    let mut live = live::Live::new();
    let mut settled = 0;
    loop {
        tokio::select! {
            () = shutdown.wait() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        for child in &mut children {
            child.check()?;
        }
        let line = live.tick(cfg).await;
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        if args.once && sim.finished() {
            // Everything was handed to the sockets; wait until the log stops growing.
            settled = if line.progressed { 0 } else { settled + 1 };
            if settled >= 2 {
                return Ok(());
            }
        }
    }
}

fn intro(args: &Args, venues: &[VenueId], dir: &Path, config: &Path, listen: SocketAddr) {
    let names = venues.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", ");
    let until = match (args.once, args.duration) {
        (true, _) => "until everything was played once".to_owned(),
        (false, Some(s)) => format!("for {s} s"),
        (false, None) => "until Ctrl-C".to_owned(),
    };
    let made_up: Vec<&str> =
        venues.iter().filter(|id| Part::of(**id).is_some_and(|p| !p.is_recorded())).map(|v| v.as_str()).collect();
    let generated =
        if made_up.is_empty() { String::new() } else { format!("; those of {} are generated", made_up.join(", ")) };
    eprintln!(
        "Tapedeck demo: {names}, played by simulated exchanges on loopback {until}.\n\
         Their frames are real recordings{generated}.\n\
         Two services run as child processes, as they would for real:\n\
         \x20 collector   WebSocket -> {wal}\n\
         \x20 compactor   log -> {lake}, candles\n\
         \x20 the page    http://{listen}/\n\
         Their configuration: {config}   their logs: {logs}\n",
        wal = dir.join("wal").display(),
        lake = dir.join("lake").display(),
        config = config.display(),
        logs = dir.join("logs").display(),
    );
}

fn next_steps(dir: &Path, config: &Path) -> String {
    format!(
        "\nwhat to try next\n\
         \x20 the lake again from the log, byte for byte   cargo run --release -- replay --verify --config {c}\n\
         \x20 what is in a log                             cargo run --release -p wal-dump -- stat {w}/binance-spot\n\
         \x20 the rows                                     duckdb -c \"FROM read_parquet('{l}/trades/**/*.parquet', hive_partitioning = true)\"",
        c = config.display(),
        w = dir.join("wal").display(),
        l = dir.join("lake").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_word_a_multiple_or_frames_per_second() {
        assert!(matches!(parse_rate("recorded"), Ok(Pace::Recorded)));
        assert!(matches!(parse_rate("max"), Ok(Pace::Max)));
        assert!(matches!(parse_rate("2.5x"), Ok(Pace::Times(t)) if (t - 2.5).abs() < 1e-9));
        assert!(matches!(parse_rate("50000"), Ok(Pace::PerSecond(50_000))));
        for bad in ["", "0", "-1", "fast", "x", "0x", "nanx", "1e3"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
