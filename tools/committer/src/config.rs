//! What the committer reads of the configuration file that all programs share: `[data] dir`, `[lake]`, `[store]`,
//! `[proxy]`, `[tls]`, `[catalog]` and `[log]`. The other sections are the main programs', and `tapedeck config check` checks them.

use std::path::{Path, PathBuf};

use lake::CatalogSettings;
use ops::telemetry::Log;
use settings::{ConfigErrors, Problem, Secret, Source};
use wal_format::regular;

use crate::error::CommitterError;

/// The sections that the committer acts upon.
pub struct Config {
    /// Section `[lake]`.
    pub lake: lake::Settings,
    /// Section `[store]`.
    pub store: s3::Settings,
    /// Section `[catalog]`.
    pub catalog: CatalogSettings,
    /// Section `[log]`.
    pub log: Log,
}

impl Config {
    /// Reads the defaults, then `file`, then `TAPEDECK__SECTION__KEY` variables.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every problem found in these sections.
    pub fn load(file: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
        let (mut source, mut problems) = (Source::shipped_file(), Vec::new());
        match regular::read_to_string(file, regular::SMALL_BYTES_MAX) {
            Ok(text) => source.overlay_file(file, &text, &mut problems),
            Err(err) => problems.push(Problem {
                key: "--config".into(),
                origin: file.display().to_string(),
                what: format!("cannot read the configuration file: {err}"),
                fix: "name the file that collector and compactor read".into(),
            }),
        }
        source.overlay_env(env, &mut problems);
        let data_dir = source.get("data.dir").and_then(|(value, _)| value.as_str()).unwrap_or("data");
        let lake: lake::Settings = source.section("lake", &mut problems);
        let proxy = source.section::<net::General>("proxy", &mut problems).proxy;
        let tls = source.section("tls", &mut problems);
        let store: s3::Settings = source.section("store", &mut problems);
        let config = Config {
            lake: lake.below(Path::new(data_dir)),
            store: store.completed(proxy.as_ref(), tls),
            catalog: source.section("catalog", &mut problems),
            log: source.section("log", &mut problems),
        };
        if problems.is_empty() && !config.catalog.is_on() {
            problems.push(source.problem("catalog.uri", "is empty".into(), "write the URL of the REST catalog".into()));
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Where the lake is, as tables name its files: an `s3://` URL, or `file://` and the absolute path.
    ///
    /// # Errors
    /// When the working directory is not known.
    pub fn lake_uri(&self) -> std::io::Result<String> {
        let dir = self.lake.dir.display().to_string();
        let dir = dir.trim_end_matches('/');
        match dir.contains("://") {
            true => Ok(dir.to_owned()),
            false => Ok(format!("file://{}", std::path::absolute(PathBuf::from(dir))?.display())),
        }
    }
}

/// The value of an environment variable that a key names; `None` where it names none.
///
/// # Errors
/// When the variable is not set or empty.
pub fn secret_of(key: &str, variable: &str) -> Result<Option<Secret>, CommitterError> {
    if variable.is_empty() {
        return Ok(None);
    }
    match std::env::var(variable).ok().filter(|value| !value.is_empty()) {
        Some(value) => Ok(Some(Secret::new(value))),
        None => {
            let what = format!("{key} names the environment variable {variable}, which is not set: set it");
            Err(CommitterError::unfit(what))
        }
    }
}
