//! Section `[history]`: the mirror of Binance's historical data, its download rates, how it is cleaned.

use std::path::{Path, PathBuf};

use ::settings::value::{bytes, filled, int, refuse};
use ::settings::{DatabaseUrl, KeyProblem, Section};
use net::{Proxy, Tls, Way};
use serde::{Deserialize, Deserializer};

/// What one cleaned file of a symbol holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilePer {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// Section `[history]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The mirror: `data.binance.vision/`, `manifests/` and the manifest's file lie here.
    pub dir: PathBuf,
    /// Where cleaned files go: a directory, or the URL of an object store.
    pub lake_dir: PathBuf,
    /// `sqlite:<file below dir>` or `postgres://...`.
    #[serde(deserialize_with = "database")]
    pub manifest: DatabaseUrl,
    /// Name of this machine in a manifest that several share; `None` = its host name.
    #[serde(deserialize_with = "node")]
    pub node: Option<String>,
    /// Where files are fetched: scheme, host and optional path prefix, no slash at the end.
    #[serde(deserialize_with = "url")]
    pub base_url: String,
    /// Where the bucket is listed (path-style S3), no slash at the end.
    #[serde(deserialize_with = "url")]
    pub list_url: String,
    /// S3 ListObjects: 1 (markers) or 2 (tokens).
    #[serde(deserialize_with = "int::<1, 2, _, _>")]
    pub list_version: u64,
    /// The proxy, where it is not that of `[proxy]`.
    #[serde(rename = "proxy_url")]
    way: Way,
    /// The proxy; `None` = direct.
    #[serde(skip)]
    pub proxy: Option<Proxy>,
    /// Section `[tls]`.
    #[serde(skip)]
    pub tls: Tls,
    /// Files fetched at once.
    #[serde(deserialize_with = "int::<1, 256, _, _>")]
    pub download_workers: usize,
    /// Listings asked at once.
    #[serde(deserialize_with = "int::<1, 64, _, _>")]
    pub list_workers: usize,
    /// Bytes per second of all workers together; 0 = no limit.
    #[serde(rename = "rate_mib_per_s", deserialize_with = "bytes::<0, { 1 << 20 }, 20, _, _>")]
    pub bytes_per_s: u64,
    /// Requests per second of all workers together.
    #[serde(deserialize_with = "int::<1, 100_000, _, _>")]
    pub requests_per_s: u64,
    /// Failures in a row after which a file is put on the dead-letter list.
    #[serde(deserialize_with = "int::<1, 1_000, _, _>")]
    pub attempts: u64,
    /// Upper bound of the first wait after a failure, ms; doubled with each further one.
    #[serde(deserialize_with = "int::<1, 3_600_000, _, _>")]
    pub retry_first_ms: u64,
    /// Upper bound of every such wait, s.
    #[serde(deserialize_with = "int::<1, 86_400, _, _>")]
    pub retry_max_s: u64,
    /// A transfer slower than 1 KiB/s over this long is given up, s.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub stall_timeout_s: u64,
    /// A download that is not renewed for this long may be claimed by any worker, s.
    #[serde(deserialize_with = "int::<2, 86_400, _, _>")]
    pub lease_s: u64,
    /// Free space that downloads leave on the disk, bytes.
    #[serde(rename = "min_free_mib", deserialize_with = "bytes::<0, { 1 << 30 }, 20, _, _>")]
    pub min_free_bytes: u64,
    /// Symbols cleaned at once; 0 = one per core.
    #[serde(deserialize_with = "int::<0, 256, _, _>")]
    pub clean_workers: usize,
    /// What one lake file holds.
    pub file_per: FilePer,
    /// Rows handled at once while cleaning.
    #[serde(deserialize_with = "int::<1_000, 10_000_000, _, _>")]
    pub chunk_rows: usize,
    /// A file with more rows is never held whole.
    #[serde(deserialize_with = "int::<1_000, { 1 << 40 }, _, _>")]
    stream_rows: u64,
    #[serde(deserialize_with = "int::<1_000, { 1 << 40 }, _, _>")]
    stream_rows_elevated: u64,
    #[serde(deserialize_with = "int::<1_000, { 1 << 40 }, _, _>")]
    stream_rows_critical: u64,
}

impl Settings {
    /// A file with more rows is never held whole: in normal times, under elevated and under critical pressure.
    pub fn stream_rows(&self) -> [u64; 3] {
        [self.stream_rows, self.stream_rows_elevated, self.stream_rows_critical]
    }

    /// The local directory in which cleaned files are made.
    pub fn lake_work_dir(&self) -> PathBuf {
        if lake::is_url(&self.lake_dir.to_string_lossy()) { self.dir.join("staging") } else { self.lake_dir.clone() }
    }

    /// With what follows from other sections: the mirror below `data_dir`, the proxy of `proxy`, unless set; `tls`.
    pub fn completed(mut self, data_dir: &Path, proxy: Option<&Proxy>, tls: Tls) -> Self {
        if self.dir.as_os_str().is_empty() {
            self.dir = data_dir.join("history");
        }
        if self.lake_dir.as_os_str().is_empty() {
            self.lake_dir = self.dir.join("lake");
        }
        self.proxy = self.way.or(proxy);
        self.tls = tls;
        self
    }
}

impl Section for Settings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let rows = self.stream_rows();
        let what = || format!("{rows:?}: more pressure must not mean more rows in memory");
        let fix = "write 5000000, and 2000000 and 1000000 for stream_rows_elevated and _critical";
        let rows = (!rows.is_sorted_by(|a, b| a >= b)).then(|| KeyProblem::new("stream_rows", what(), fix));
        let place = self.lake_dir.to_string_lossy();
        let unknown = (lake::is_url(&place) && !place.starts_with("s3://")).then(|| {
            let what = format!("{place:?}: this store is not known");
            KeyProblem::new("lake_dir", what, "name a local path, or s3://bucket/prefix")
        });
        rows.into_iter().chain(unknown).collect()
    }
}

fn database<'de, D: Deserializer<'de>>(d: D) -> Result<DatabaseUrl, D::Error> {
    ::settings::value::database(d, "write \"sqlite:manifest.db\" (below history.dir) or")
}

fn node<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let name: Option<String> = filled(d)?;
    match name {
        Some(name) if name.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') => {
            Err(refuse(format!("{name:?} has spaces or colons"), "write one word"))
        }
        name => Ok(name),
    }
}

fn url<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|h| !h.is_empty() && !h.starts_with('/') && !h.contains(['?', '#', ' ', '@'])) {
        return Ok(text.to_owned());
    }
    Err(refuse(
        format!("{text:?} is not an http:// or https:// URL"),
        "write scheme, host and an optional path: \"https://data.binance.vision\"",
    ))
}
