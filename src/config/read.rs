//! From the shipped file, the user's file and the environment to a [`Config`]: every section is read, then their relations
//! are checked, and all that is wrong is reported at once.

use std::path::Path;

use settings::{ConfigErrors, Problem, Source};
use wal_format::regular;

use super::check::check;
use super::config::Config;

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
        let config = read(&source, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Reads `text` as if it were a file; for tests and the demo.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found.
    pub fn from_toml(text: &str) -> Result<Config, ConfigErrors> {
        settings::from_text(text, read)
    }
}

/// All sections of `source`, and their relations if each is well alone.
fn read(source: &Source, p: &mut Vec<Problem>) -> Config {
    let kline::Config { capture, klines } = kline::Config::read(source, p);
    let lake = source.section::<lake::Settings>("lake", p).below(&capture.data_dir);
    let (part_minutes, ack_interval_s) = (lake.part_minutes, lake.ack_interval_s);
    let collector = source.section("collector", p);
    let api: api::Settings = source.section("api", p);
    let config = Config {
        collector: collect::Settings { hosts: api.hosts.clone(), part_minutes, ack_interval_s, ..collector },
        history: source.section::<history::Settings>("history", p).completed(
            &capture.data_dir,
            capture.proxy.as_ref(),
            capture.tls.clone(),
        ),
        store: source.section::<s3::Settings>("store", p).completed(capture.proxy.as_ref(), capture.tls.clone()),
        memory: source.section("memory", p),
        log: source.section("log", p),
        catalog: source.section("catalog", p),
        capture,
        klines,
        lake,
        api,
        effective: source.effective(),
        fingerprints: source.fingerprints(),
    };
    if p.is_empty() {
        check(&config, source, p);
    }
    config
}
