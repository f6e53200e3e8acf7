//! The checked configuration: every section, and what the services read of it.
//!
//! Made by [`crate::read`]; nothing downstream of it checks a value again.

use std::collections::BTreeMap;
use std::sync::Arc;

use capture::Capture;
use ops::telemetry::Log;
use settings::{Origin, Problem};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sections `[data]`, `[wal]`, `[proxy]`, `[tls]` and `[venues.*]`.
    pub capture: Capture,
    /// Section `[lake]`.
    pub lake: lake::Settings,
    /// Section `[catalog]`, which only `tapedeck-committer` acts upon.
    pub catalog: lake::CatalogSettings,
    /// Section `[store]`.
    pub store: s3::Settings,
    /// Section `[collector]`.
    pub collector: collect::Settings,
    /// Section `[klines]`.
    pub klines: kline::Settings,
    /// Section `[api]`.
    pub api: api::Settings,
    /// Section `[history]`.
    pub history: history::Settings,
    /// Section `[memory]`.
    pub memory: ops::memory::Settings,
    /// Section `[log]`.
    pub log: Log,
    /// Every key with its value as TOML text and where it came from, in file order.
    pub effective: Vec<(String, String, Origin)>,
    /// What distinguishes values, secret ones too.
    pub(crate) fingerprints: BTreeMap<String, u64>,
}

impl Config {
    /// What the compactor reads.
    pub fn for_compactor(&self) -> Arc<compact::Config> {
        let (capture, lake, memory) = (self.capture.clone(), self.lake.clone(), self.memory.clone());
        Arc::new(compact::Config { capture, lake, memory, sources: BTreeMap::new(), shipped: None })
    }

    /// What candles read.
    pub fn for_candles(&self) -> Arc<kline::Config> {
        Arc::new(kline::Config { capture: self.capture.clone(), klines: self.klines.clone() })
    }

    /// What the HTTP server of the compactor reads.
    pub fn for_api(&self) -> Arc<api::Config> {
        let (api, capture) = (self.api.clone(), self.capture.clone());
        Arc::new(api::Config { api, capture, klines: self.klines.clone(), lake: self.lake.clone() })
    }

    /// `what` is wrong with the value of `key`, and what would pass.
    pub(crate) fn problem(&self, key: &str, what: String, fix: impl Into<String>) -> Problem {
        let origin = self.effective.iter().find(|(k, ..)| k == key).map_or_else(String::new, |(.., o)| o.to_string());
        Problem { key: key.to_owned(), origin, what, fix: fix.into() }
    }
}
