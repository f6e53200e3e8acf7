//! One file per subcommand: its arguments and a call into the room that does the work.
//!
//! Exit codes: 0 success, 1 failure with one plain sentence and what to do, 2 usage (arguments or configuration), from
//! 10 on what a service manager may want to tell apart, 130 stopped by a signal where work can go on (`history`). The
//! constants below are all of them; README has the table.
//! Data goes to stdout, everything else to stderr; a closed pipe is not an error.

mod collector;
mod compactor;
mod completions;
mod config;
pub mod demo;
mod doctor;
mod history;
mod klines;
mod quality;
mod replay;
mod status;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Parser, Subcommand};
use wal_format::plain;

use ::config::{Config, ConfigErrors, Problem, places};
use collect::Reload;
use compact::resume::EvidenceMissing;
use ops::shutdown::Shutdown;
use ops::supervise::{Fatal, Panicked, Supervisor, Task};

/// Success.
pub const EXIT_OK: u8 = 0;
/// Something failed.
pub const EXIT_FAILURE: u8 = 1;
/// Arguments or configuration are wrong.
pub const EXIT_USAGE: u8 = 2;
/// A log stopped because what it was acknowledged for is missing, or cannot be believed: a person has to look.
pub const EXIT_EVIDENCE: u8 = 10;
/// A task panicked without which the service cannot go on, or which a drain needs: start it again.
pub const EXIT_PANICKED: u8 = 11;
/// A mapped file was cut by somebody, or its disk cannot read it (SIGBUS); stderr says which and where. Start again.
pub const EXIT_BUS: u8 = 12;
/// Somebody stopped it (Ctrl-C); it can go on.
pub const EXIT_STOPPED: u8 = 130;

/// Records the public market-data tape of crypto exchanges, loses nothing, and plays it back.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole path in one go: simulated exchanges on loopback, a collector, a compactor, the accounting.
    Demo(demo::Args),
    /// Service 1: sockets into the log.
    Collector(collector::Args),
    /// Service 2: the log into the lake.
    Compactor(compactor::Args),
    /// Rebuilds the lake from the log, or proves that the published one is what the log says.
    Replay(replay::Args),
    /// The exchange's archive: lists, mirrors, tells what is here.
    History(history::Args),
    /// How complete and how clean the recording is, per hour or day.
    Quality(quality::Args),
    /// Proves that nothing in the lake was altered since it was published.
    Verify(verify::Args),
    /// Fills, compares and exports stored candles.
    Klines(klines::Args),
    /// Checks a configuration, or shows the one that holds and where each value came from.
    Config(config::Args),
    /// Whether this machine is fit to record: limits, clock, disk, memory, kernel, ports.
    Doctor(doctor::Args),
    /// What runs, how far behind, how much disk.
    Status(status::Args),
    /// Prints completions for a shell.
    Completions(completions::Args),
    /// Prints the manual page.
    Man,
}

/// Runs one subcommand.
///
/// # Errors
/// Whatever stopped it; [`explain`] makes it readable and [`exit_code`] says how the process should end.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Collector(args) => collector::run(args),
        Command::Compactor(args) => compactor::run(args),
        Command::Replay(args) => replay::run(args),
        Command::History(args) => history::run(args),
        Command::Quality(args) => quality::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Klines(args) => klines::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Status(args) => status::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man => completions::man(),
    }
}

/// The chain of causes, one plain line each.
pub fn explain(err: &anyhow::Error) -> String {
    let mut text = format!("error: {}", plain::message(&err.to_string()));
    let mut last = err.to_string();
    for cause in err.chain().skip(1) {
        let cause = cause.to_string();
        // Library errors often repeat their source in their own text.
        if !last.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&plain::message(&cause));
        }
        last = cause;
    }
    text
}

/// 2 for a configuration that cannot be used, 10 where evidence is missing, 11 after a panic, 130 for work that was stopped, 1 for everything else.
pub fn exit_code(err: &anyhow::Error) -> u8 {
    if err.is::<Stopped>() {
        return EXIT_STOPPED;
    }
    if err.chain().any(|c| c.is::<EvidenceMissing>()) {
        return EXIT_EVIDENCE;
    }
    if err.chain().any(|c| c.is::<Panicked>() || c.is::<Fatal>()) {
        return EXIT_PANICKED;
    }
    if err.chain().any(|c| c.is::<ConfigErrors>() || c.is::<Usage>()) { EXIT_USAGE } else { EXIT_FAILURE }
}

/// Somebody stopped work that can go on later.
#[derive(Debug, thiserror::Error)]
#[error("stopped; the same command goes on where it was")]
pub struct Stopped;

/// Arguments that clap cannot judge.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The configuration argument that every service has.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// Configuration file (TOML); config/tapedeck.toml in the repository is a complete, commented one.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// The arguments of a long-running service.
#[derive(Debug, clap::Args)]
pub struct ServiceArg {
    #[command(flatten)]
    config: ConfigArg,
    /// Stop cleanly when stdin closes (for a parent process that may die).
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl ServiceArg {
    /// Reads the configuration anew at every SIGHUP; call it before anything that takes time.
    fn reload(&self, supervisor: &Supervisor, shutdown: &Shutdown) -> anyhow::Result<Reload> {
        use anyhow::Context;
        let asked = ops::hangup::hangups(shutdown, supervisor).context("cannot listen for SIGHUP")?;
        let path = self.config.config.clone();
        Ok(Reload::new(asked, move || {
            let cfg = load(&path)?;
            need_venues(&cfg, &path)?;
            Ok(cfg)
        }))
    }

    /// Configuration, logging and the request to stop, ready for the service.
    fn prepare(&self, service: &str) -> anyhow::Result<(Arc<Config>, Shutdown, Supervisor)> {
        let cfg = load(&self.config.config)?;
        need_venues(&cfg, &self.config.config)?;
        ops::telemetry::init(&cfg.log);
        let venues = cfg.venues.keys().map(|v| v.as_str()).collect::<Vec<_>>().join(" ");
        tracing::info!(service, version = env!("CARGO_PKG_VERSION"), venues, data = %cfg.data_dir.display(), "starting");
        let wrong = places::check(&cfg).into_iter().chain(places::largest_frame(&cfg));
        for Problem { key, what, fix, .. } in wrong {
            tracing::warn!(key, fix, "{what}");
        }
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::of_service(shutdown.clone());
        if self.stop_with_stdin {
            stop_with_parent(&shutdown, &supervisor)?;
        }
        Ok((cfg, shutdown, supervisor))
    }
}

/// Reads and checks a configuration file with the environment over it.
pub(crate) fn load(path: &Path) -> anyhow::Result<Arc<Config>> {
    Config::load(
        Some(path),
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
    )
    .map(Arc::new)
    .map_err(anyhow::Error::new)
}

/// A service needs at least one venue; commands that only look do not.
pub(crate) fn need_venues(cfg: &Config, path: &Path) -> anyhow::Result<()> {
    if cfg.venues.is_empty() {
        return Err(Usage(format!(
            "no venue is configured in {}; add for example\n  [venues.binance-spot]\n  symbols = [\"BTCUSDT\"]\n  channels = [\"trades\", \"book_ticker\"]",
            path.display()
        ))
        .into());
    }
    Ok(())
}

/// The runtime of a service: the machine's cores, named threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tapedeck")
        .build()
        .context("cannot start the async runtime")
}

/// Runs a service. Helper threads that hang when it has ended (a resolver, a dead mount) do not keep the process.
fn serve(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(service);
    runtime.shutdown_timeout(HELPERS_PATIENCE);
    outcome
}

/// Nobody waits for them any more.
const HELPERS_PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// Signs of life for the service manager, and the word when the service was asked to stop.
pub(crate) fn be_supervised(supervisor: &Supervisor, shutdown: &Shutdown) {
    // Alive until the process ends: a long last flush is no hang.
    let never = Shutdown::new();
    supervisor.spawn(Task::Notify, "alive", &never.clone(), move || ops::notify::watchdog(never.clone()));
    let asked = shutdown.clone();
    supervisor.spawn(Task::Notify, "stopping", shutdown, move || {
        let asked = asked.clone();
        async move {
            asked.wait().await;
            ops::notify::stopping();
        }
    });
}

/// Stops a service when the process that started it goes away: its stdin closes.
fn stop_with_parent(shutdown: &Shutdown, supervisor: &Supervisor) -> anyhow::Result<()> {
    use anyhow::Context;
    let asked = shutdown.clone();
    let watch = supervisor.thread(Task::Parent, "", shutdown, move || {
        // Whatever ends it: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        asked.trigger();
    });
    watch.map(drop).context("watch the parent process")
}

/// Writes to stdout; a reader that went away is the end, not an error. What a terminal would act upon comes out as an
/// escape, whoever put it there; a name that must stay in its line goes through [`plain::line`] before.
pub(crate) fn print_out(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(plain::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_of_the_readme_is_understood() {
        let readme = include_str!("../../README.md");
        let mut lines = 0;
        for line in readme.lines().filter_map(|l| l.strip_prefix("target/release/tapedeck ")) {
            let line = line.split(" #").next().unwrap_or_default();
            let words = line.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(err) = Cli::try_parse_from(std::iter::once("tapedeck").chain(words)) {
                panic!("{line}: {err}");
            }
            lines += 1;
        }
        assert!(lines > 10, "{lines}");
    }

    #[test]
    fn what_an_error_quotes_of_others_neither_acts_upon_a_terminal_nor_looks_like_a_line_of_ours() {
        let err =
            anyhow::anyhow!("{}", "HTTP 400: \u{1b}[2J\nerror: all fine\n  fix: nothing").context("read the listing");
        let text = explain(&err);
        assert!(!text.contains('\u{1b}') && text.contains("\\u001b[2J"), "{text}");
        assert_eq!(text.lines().filter(|l| !l.starts_with(' ')).count(), 1, "{text}");
    }
}
