//! From the shipped file, the user's file and the environment to a [`Config`]: every section is read, then their relations
//! are checked, and all that is wrong is told at once.

use std::path::{Path, PathBuf};

use net::General;
use serde::Deserialize;
use settings::value::{filled, int};
use settings::{ConfigErrors, Problem, Section, Source, Wrong};
use wal_format::regular;

use super::check::check;
use super::config::Config;
use super::history::History;
use super::venues;

impl Config {
    /// Reads the defaults, then `file`, then `TAPEDECK__SECTION__KEY` variables out of `env`.
    ///
    /// Relative `data.dir` and `lake.dir` are relative to the working directory.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
        let mut source = Source::shipped_file();
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
        read(&source, problems)
    }

    /// Reads `text` as if it were a file; for tests and the demo.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn from_toml(text: &str) -> Result<Config, ConfigErrors> {
        let mut source = Source::shipped_file();
        let mut problems = Vec::new();
        source.overlay_file(Path::new("<text>"), text, &mut problems);
        read(&source, problems)
    }
}

/// Section `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    dir: PathBuf,
    #[serde(deserialize_with = "filled")]
    budget_dir: Option<PathBuf>,
    #[serde(deserialize_with = "int::<0, { 1 << 30 }, _, _>")]
    min_free_gib: u64,
}

impl Section for Data {
    fn settle(&mut self) -> Vec<Wrong> {
        let is_empty = self.dir.as_os_str().is_empty();
        is_empty.then(|| Wrong::new("dir", "is empty", "name a directory")).into_iter().collect()
    }
}

/// All sections of `source`, and their relations if each is well alone.
fn read(source: &Source, mut problems: Vec<Problem>) -> Result<Config, ConfigErrors> {
    let p = &mut problems;
    let data: Data = source.section("data", p);
    let wal = source.section("wal", p);
    let proxy = source.section::<General>("proxy", p).proxy;
    let config = Config {
        wal,
        tls: source.section("tls", p),
        lake: source.section::<lake::Settings>("lake", p).below(&data.dir),
        klines: source.section("klines", p),
        collector: source.section("collector", p),
        api: source.section("api", p),
        history: source.section::<History>("history", p).completed(&data.dir, proxy.as_ref()),
        memory: source.section("memory", p),
        log: source.section("log", p),
        venues: source.venues().into_iter().map(|id| (id, venues::table(source, id, proxy.as_ref(), p))).collect(),
        data_dir: data.dir,
        budget_dir: data.budget_dir,
        min_free_gib: data.min_free_gib,
        effective: source.effective(),
        fingerprints: source.fingerprints(),
    };
    if problems.is_empty() {
        check(&config, source, &mut problems);
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
}
