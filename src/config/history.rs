//! Section `[history]`: the mirror of the exchange's archive, how hard it may be asked, how it is cleaned.

use std::path::{Path, PathBuf};

use super::network;
use super::proxy::Proxy;
use super::reader::Reader;
use super::secret::DatabaseUrl;

/// Section `[history]`.
#[derive(Clone, Debug)]
pub struct History {
    /// The mirror: `data.binance.vision/`, `manifests/` and the manifest's file lie here.
    pub dir: PathBuf,
    /// `sqlite:<file below dir>` or `postgres://...`.
    pub manifest: DatabaseUrl,
    /// Name of this machine in a manifest that several share; `None` = its host name.
    pub node: Option<String>,
    /// Where files are fetched: scheme, host and optional path prefix, no slash at the end.
    pub base_url: String,
    /// Where the bucket is listed (path-style S3), no slash at the end.
    pub list_url: String,
    /// S3 ListObjects: 1 (markers) or 2 (tokens).
    pub list_version: u64,
    /// The way out; `None` = direct.
    pub proxy: Option<Proxy>,
    /// Files fetched at once.
    pub download_workers: usize,
    /// Listings asked at once.
    pub list_workers: usize,
    /// Bytes per second of all workers together; 0 = no limit.
    pub bytes_per_s: u64,
    /// Requests per second of all workers together.
    pub requests_per_s: u64,
    /// Failures in a row after which a file is put on the dead-letter list.
    pub attempts: u64,
    /// Upper bound of the first wait after a failure, ms; doubled with each further one.
    pub retry_first_ms: u64,
    /// Upper bound of every such wait, s.
    pub retry_max_s: u64,
    /// A transfer slower than 1 KiB/s over this long is given up, s.
    pub stall_timeout_s: u64,
    /// A download that is not renewed for this long is anybody's, s.
    pub lease_s: u64,
    /// Free space that downloads leave on the disk, bytes.
    pub min_free_bytes: u64,
    /// Symbols cleaned at once; 0 = one per core.
    pub clean_workers: usize,
    /// One lake file per day or per month.
    pub file_per_month: bool,
    /// Rows handled at once while cleaning.
    pub chunk_rows: usize,
    /// A file with more rows is never held whole: in normal times, under elevated and under critical pressure.
    pub stream_rows: [u64; 3],
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path, proxy: Option<&Proxy>) -> History {
    let dir = r.text("history.dir");
    let manifest = r.database("history.manifest", "write \"sqlite:manifest.db\" (below history.dir) or");
    let node = r.text("history.node");
    if node.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') {
        r.problem("history.node", format!("{node:?} has spaces or colons"), "write one word".into());
    }
    let list_version = r.int("history.list_version", 1, 2);
    let stream_rows = [
        r.int("history.stream_rows", 1_000, 1 << 40),
        r.int("history.stream_rows_elevated", 1_000, 1 << 40),
        r.int("history.stream_rows_critical", 1_000, 1 << 40),
    ];
    if !stream_rows.is_sorted_by(|a, b| a >= b) {
        r.problem(
            "history.stream_rows",
            format!("{stream_rows:?}: more pressure must not mean more rows in memory"),
            "write 5000000, and 2000000 and 1000000 for stream_rows_elevated and _critical".into(),
        );
    }
    let size = |r: &mut Reader<'_>, key: &str, min: u64, max: u64| r.int(key, min, max) as usize;
    History {
        dir: if dir.is_empty() { data_dir.join("history") } else { PathBuf::from(dir) },
        manifest,
        node: (!node.is_empty()).then_some(node),
        base_url: url(r, "history.base_url"),
        list_url: url(r, "history.list_url"),
        list_version,
        proxy: network::one_proxy(r, "history.proxy_url", proxy.cloned()),
        download_workers: size(r, "history.download_workers", 1, 256),
        list_workers: size(r, "history.list_workers", 1, 64),
        bytes_per_s: r.int("history.rate_mib_per_s", 0, 1 << 20) << 20,
        requests_per_s: r.int("history.requests_per_s", 1, 100_000),
        attempts: r.int("history.attempts", 1, 1_000),
        retry_first_ms: r.int("history.retry_first_ms", 1, 3_600_000),
        retry_max_s: r.int("history.retry_max_s", 1, 86_400),
        stall_timeout_s: r.int("history.stall_timeout_s", 1, 3_600),
        lease_s: r.int("history.lease_s", 2, 86_400),
        min_free_bytes: r.int("history.min_free_mib", 0, 1 << 30) << 20,
        clean_workers: size(r, "history.clean_workers", 0, 256),
        file_per_month: r.word("history.file_per", &["day", "month"]) == "month",
        chunk_rows: size(r, "history.chunk_rows", 1_000, 10_000_000),
        stream_rows,
    }
}

fn url(r: &mut Reader<'_>, key: &str) -> String {
    let text = r.text(key);
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if !host.is_some_and(|h| !h.is_empty() && !h.starts_with('/') && !h.contains(['?', '#', ' ', '@'])) {
        r.problem(
            key,
            format!("{text:?} is no http:// or https:// URL"),
            "write scheme, host and an optional path: \"https://data.binance.vision\"".into(),
        );
    }
    text.to_owned()
}
