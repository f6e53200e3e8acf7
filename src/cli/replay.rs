//! `tapedeck replay`: the lake again from the log, the proof that it is the same, or the log as an exchange again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::config_arg::{ConfigArg, load};
use super::exit::Usage;
use super::time::time;
use compact::replay::{ReplayArgs, replay};
use config::Config;
use model::VenueId;
use ops::shutdown::Shutdown;
use ops::supervise::Supervisor;
use playback::{ServeArgs, Speed, serve};
use venue_sim::{Access, Token};

/// Arguments of `tapedeck replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this venue; may be given several times.
    #[arg(long, value_name = "VENUE")]
    venue: Vec<String>,
    /// From this receive time on.
    #[arg(long, value_name = "TIME_UTC")]
    from: Option<String>,
    /// Up to this receive time, exclusive.
    #[arg(long, value_name = "TIME_UTC")]
    to: Option<String>,
    /// Where the rebuilt lake goes; must not exist or be empty.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["verify", "serve", "rewrite"])]
    out: Option<PathBuf>,
    /// With --out: the candles too, into klines.db in that directory.
    #[arg(long, requires = "out")]
    klines: bool,
    /// Compare with the existing lake; exit code 1 on any difference.
    #[arg(long)]
    verify: bool,
    /// Publish again the parts of the existing lake whose rows this version decodes differently.
    #[arg(long, conflicts_with_all = ["out", "verify"])]
    rewrite: bool,
    /// With --rewrite: also parts that would have fewer rows of a table than were published.
    #[arg(long, requires = "rewrite")]
    fewer_rows: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Serve the recording as the exchanges would, at this address, until stopped. Beyond loopback it takes the token of [api]
    /// (or insecure = true there): as `Authorization: Bearer`, as the password of the URL, as `X-MBX-APIKEY` or `?token=`.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:9090",
        conflicts_with_all = ["out", "verify", "rewrite", "json"])]
    serve: Option<SocketAddr>,
    /// With --serve: so many times as fast as recorded, or max.
    #[arg(long, value_name = "TIMES", default_value = "1", requires = "serve")]
    speed: Speed,
    /// With --serve: again from the beginning when it is over.
    #[arg(long = "loop", requires = "serve")]
    repeat: bool,
    /// With --serve: move times to now, and from the second loop on ids too.
    #[arg(long, requires = "serve")]
    restamp: bool,
    /// With --serve: playing begins when nothing new was subscribed for this long, ms.
    #[arg(long, value_name = "MS", default_value = "500", requires = "serve")]
    settle_ms: u64,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    ops::telemetry::init(&cfg.log);
    let mut venues = Vec::new();
    for word in &args.venue {
        venues.push(word.parse::<VenueId>().map_err(|err| Usage(err.to_string()))?);
    }
    let (from, to) = (time(&args.from, "--from")?, time(&args.to, "--to")?);
    if let Some(listen) = args.serve {
        let Args { speed, repeat, restamp, settle_ms, .. } = args;
        let args = ServeArgs { listen, venues, from_ns: from, to_ns: to, speed, repeat, restamp, settle_ms };
        return super::runtime::runtime()?.block_on(play(&cfg, &args));
    }
    let (out, only) = (args.out.clone(), venues.clone());
    let mut report = replay(
        &cfg.for_compactor(),
        &s3::lake(&cfg.lake, &cfg.store)?,
        &ReplayArgs {
            venues,
            from_ns: from,
            to_ns: to,
            out: args.out,
            verify: args.verify,
            rewrite: args.rewrite,
            fewer_rows: args.fewer_rows,
        },
    )
    .context("replay")?;
    if let Some(out) = out.filter(|_| args.klines) {
        let made = kline::replay::replay(&cfg.capture, &only, (from, to), &out).context("replay candles")?;
        report.notes.extend(made.iter().map(ToString::to_string));
    }
    if args.json {
        super::output::print_out(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        super::output::print_out(&report.to_string())?;
    }
    if report.different() > 0 {
        anyhow::bail!(
            "{} of {} compared parts differ from the log; see the lines above",
            report.different(),
            report.checked()
        );
    }
    Ok(())
}

/// Access as for the API; the server is not controlled over the wire.
fn access(api: &api::Settings) -> anyhow::Result<Access> {
    let shipped = Access::default();
    Ok(Access {
        token: api.access()?.token().map(Token::new),
        insecure: api.insecure,
        hosts: api.hosts.clone(),
        origins: api.cors_origins.clone(),
        control: false,
        connections: api.max_connections,
        connections_of_address: api.connections_per_address(),
        // A client may think about what it was played, and holds only its own venue back meanwhile.
        slow_client_s: shipped.slow_client_s.max(api.slow_client_s),
    })
}

/// Serves until a signal.
async fn play(cfg: &Config, args: &ServeArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.on_signals(&Supervisor::default()).context("cannot listen for signals")?;
    let sim = serve(&cfg.capture, access(&cfg.api)?, args).await?;
    let mut text = String::new();
    for venue in sim.venues() {
        text.push_str(&format!(
            "{venue:<17} rest_url = \"{}\"  ws_url = \"{}\"\n",
            sim.rest_url(&venue),
            sim.ws_url(&venue)
        ));
    }
    text.push_str("playing begins with the first subscription; Ctrl-C ends\n");
    super::output::print_out(&text)?;
    let mut announced = false;
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        if !announced && sim.finished() {
            announced = true;
            super::output::print_out("everything was played; REST is still answered\n")?;
        }
    }
    sim.stop().await;
    Ok(())
}
