//! `tapedeck config check|show`.

use std::fmt::Write;
use std::path::PathBuf;

use super::config_arg::load_over_default;
use super::output::print_out;
use config::{Config, ConfigErrors, Problem, places, room};

/// Arguments of `tapedeck config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Validates, also against the disks of this machine, and warns of settings that are close to a venue's limits; exit
    /// code 2 with every problem when the configuration cannot be used.
    Check(FileArg),
    /// Prints the effective configuration with where each value came from.
    Show(FileArg),
}

#[derive(Debug, clap::Args)]
struct FileArg {
    /// Configuration file; without it the shipped defaults and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is wrong with the object store of the lake, which is asked, and tried with small objects that are removed again.
pub(super) fn store_problems(cfg: &Config) -> Vec<Problem> {
    if !cfg.lake.is_remote() {
        return Vec::new();
    }
    let origin =
        cfg.effective.iter().find(|(key, ..)| key == "lake.dir").map_or_else(String::new, |(.., o)| o.to_string());
    let problem = |(what, fix)| Problem { key: "lake.dir".to_owned(), origin: origin.clone(), what, fix };
    match s3::probe(&cfg.lake, &cfg.store, true) {
        Ok(probe) => probe.wrong.into_iter().map(problem).collect(),
        Err(err) => vec![problem((err.to_string(), "name a store that is there, in lake.dir and [store]".to_owned()))],
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Check(arg) => {
            let cfg = load_over_default(arg.config.as_deref())?;
            let (short, unwise) = room::of_a_part(&cfg);
            let mut problems = places::check(&cfg);
            problems.extend(room::first(&cfg));
            problems.extend(short);
            problems.extend(places::largest_frame(&cfg));
            problems.extend(store_problems(&cfg));
            if !problems.is_empty() {
                return Err(ConfigErrors(problems).into());
            }
            let warnings: Vec<String> = cfg.capture.warnings().iter().chain(&unwise).map(ToString::to_string).collect();
            if arg.json {
                return print_out(&format!("{}\n", serde_json::json!({ "ok": true, "warnings": warnings })));
            }
            if let Some(room) = room::LogRoom::of(&cfg) {
                print_out(&format!("disk: {}\n", room.text()))?;
            }
            for warning in warnings {
                print_out(&format!("warning: {warning}\n"))?;
            }
            let venues = cfg.capture.venues.keys().map(|v| v.as_str()).collect::<Vec<_>>().join(", ");
            print_out(&format!(
                "ok: {} keys, venues: {}\n",
                cfg.effective.len(),
                if venues.is_empty() { "none" } else { &venues }
            ))
        }
        Command::Show(arg) => {
            let cfg = load_over_default(arg.config.as_deref())?;
            if arg.json {
                let map: serde_json::Map<String, serde_json::Value> = cfg
                    .effective
                    .iter()
                    .map(|(k, v, o)| (k.clone(), serde_json::json!({"value": v, "origin": o.to_string()})))
                    .collect();
                return print_out(&format!("{}\n", serde_json::Value::Object(map)));
            }
            let mut text = String::new();
            for (key, value, origin) in &cfg.effective {
                writeln!(text, "{:<60} # {origin}", format!("{key} = {value}"))?;
            }
            print_out(&text)
        }
    }
}
