//! The configuration that a command is given: the argument, the file read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Usage;
use config::{Config, ConfigErrors};

/// The configuration argument that every service has.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// Configuration file (TOML); config/tapedeck.toml in the repository is a complete, commented one.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Reads and checks a configuration file with the environment over it.
pub(crate) fn load(path: &Path) -> Result<Arc<Config>, ConfigErrors> {
    load_over_default(Some(path))
}

/// [`load`]; without a file the shipped defaults alone.
pub(crate) fn load_over_default(path: Option<&Path>) -> Result<Arc<Config>, ConfigErrors> {
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::load(path, env).map(Arc::new)
}

/// A service needs at least one venue; commands that only look do not.
pub(crate) fn need_venues(cfg: &Config, path: &Path) -> anyhow::Result<()> {
    if cfg.capture.venues.is_empty() {
        return Err(Usage(format!(
            "no venue is configured in {}; add for example\n  [venues.binance-spot]\n  symbols = [\"BTCUSDT\"]\n  channels = [\"trades\", \"book_ticker\"]",
            path.display()
        ))
        .into());
    }
    Ok(())
}
