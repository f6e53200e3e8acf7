//! From the shipped file, the user's file and the environment to a [`Config`]: every section is read, then their relations
//! are checked, and all that is wrong is told at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wal_format::regular;

use super::check::check;
use super::config::Config;
use super::problem::{ConfigErrors, Problem};
use super::reader::Reader;
use super::source::Source;
use super::{api, collector, history, klines, lake, memory, network, venues, wal};
use model::VenueId;
use ops::telemetry::Log;

impl Config {
    /// Reads the defaults, then `file`, then `TAPEDECK__SECTION__KEY` variables out of `env`.
    ///
    /// Relative `data.dir` and `lake.dir` are relative to the working directory.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
        let mut source = Source::defaults();
        let mut problems = Vec::new();
        if let Some(path) = file {
            match regular::read_to_string(path, regular::SMALL_BYTES_MAX) {
                Ok(text) => source.overlay_file(path, &text, &mut problems),
                Err(err) => problems.push(Problem {
                    key: "--config".into(),
                    origin: path.display().to_string(),
                    what: format!("cannot read the configuration file: {err}"),
                    fix: "name an existing TOML file; config/tapedeck.toml in the repository is a complete one".into(),
                }),
            }
        }
        source.overlay_env(env, &mut problems);
        let config = read(&source, &mut problems);
        if problems.is_empty() {
            check(&config, &source, &mut problems);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Reads `text` as if it were a file; for tests and the demo.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn from_toml(text: &str) -> Result<Config, ConfigErrors> {
        let mut source = Source::defaults();
        let mut problems = Vec::new();
        source.overlay_file(Path::new("<text>"), text, &mut problems);
        let config = read(&source, &mut problems);
        if problems.is_empty() {
            check(&config, &source, &mut problems);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }
}

/// All sections of `source`.
fn read(source: &Source, problems: &mut Vec<Problem>) -> Config {
    let mut r = Reader { source, problems };
    let data_dir = PathBuf::from(r.text("data.dir"));
    if data_dir.as_os_str().is_empty() {
        r.problem("data.dir", "is empty".into(), "name a directory".into());
    }
    let budget_dir = Some(r.text("data.budget_dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let min_free_gib = r.int("data.min_free_gib", 0, 1 << 30);
    let wal = wal::read(&mut r);
    let proxy = network::proxy(&mut r);
    let tls = network::tls(&mut r);
    let lake = lake::read(&mut r, &data_dir);
    let klines = klines::read(&mut r);
    let collector = collector::read(&mut r);
    let api = api::read(&mut r);
    let history = history::read(&mut r, &data_dir, proxy.as_ref());
    let memory = memory::read(&mut r);
    let level = r.word("log.level", &["error", "warn", "info", "debug", "trace"]);
    let stats = r.yes("log.stats");
    let json = r.word("log.format", &["text", "json"]) == "json";
    let mut venues = BTreeMap::new();
    for name in source.venues() {
        if let Ok(id) = name.parse::<VenueId>()
            && let Some(v) = venues::table(&mut r, id, proxy.as_ref())
        {
            venues.insert(id, v);
        }
    }
    Config {
        data_dir,
        budget_dir,
        wal,
        tls,
        venues,
        min_free_gib,
        lake,
        klines,
        collector,
        api,
        history,
        memory,
        log: Log { level, json, stats },
        effective: source.effective(),
        fingerprints: source.fingerprints(),
    }
}
