//! Values to types: each key with its range; every failure becomes a [`Problem`], none stops the reading.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Value;

use super::source::{Origin, Source};
use super::{Api, Collector, Config, Lake, Log, Memory, Problem, VenueConfig, Wal};
use crate::venue::{self, Channel, VenueId};

struct Reader<'a> {
    source: &'a Source,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, what: String, fix: String) {
        self.problems.push(Problem { key: key.to_owned(), origin: self.source.origin(key), what, fix });
    }

    fn int(&mut self, key: &str, min: u64, max: u64) -> u64 {
        let fix = format!("write a whole number from {min} to {max}");
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Integer(n)) => match u64::try_from(n) {
                Ok(n) if (min..=max).contains(&n) => n,
                _ => {
                    self.problem(key, format!("{n} is out of range"), fix);
                    min
                }
            },
            Some(other) => {
                self.problem(key, format!("{other} is not a whole number"), fix);
                min
            }
            None => min,
        }
    }

    fn text(&mut self, key: &str) -> String {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::String(s)) => s,
            Some(other) => {
                self.problem(key, format!("{other} is not text"), "write it between double quotes".into());
                String::new()
            }
            None => String::new(),
        }
    }

    fn word(&mut self, key: &str, allowed: &[&str]) -> String {
        let got = self.text(key);
        if !allowed.contains(&got.as_str()) {
            let list = allowed.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
            self.problem(key, format!("{got:?} is not one of its values"), format!("write one of {list}"));
        }
        got
    }

    fn yes(&mut self, key: &str) -> bool {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Boolean(yes)) => yes,
            Some(other) => {
                self.problem(key, format!("{other} is neither true nor false"), "write true or false".into());
                false
            }
            None => false,
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Array(items)) => {
                let mut out = Vec::new();
                for item in items {
                    match item {
                        Value::String(s) => out.push(s),
                        other => self.problem(
                            key,
                            format!("{other} in the list is not text"),
                            "write each entry between double quotes".into(),
                        ),
                    }
                }
                out
            }
            Some(other) => {
                self.problem(key, format!("{other} is not a list"), "write a list, for example [\"BTCUSDT\"]".into());
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Refuses a value that a later version will understand; silence would be a lie.
    fn only(&mut self, key: &str, got: &str, only: &str, why: &str) {
        if got != only {
            self.problem(key, format!("{got:?} is not in this version ({why})"), format!("write {only:?}"));
        }
    }
}

pub(super) fn read(source: &Source, problems: &mut Vec<Problem>) -> Config {
    let mut r = Reader { source, problems };
    let data_dir = PathBuf::from(r.text("data.dir"));
    if data_dir.as_os_str().is_empty() {
        r.problem("data.dir", "is empty".into(), "name a directory".into());
    }
    let wal = wal(&mut r);
    let proxy = r.text("proxy.url");
    r.only("proxy.url", &proxy, "", "SOCKS5 comes with the other venues; connecting directly instead would leak");
    let lake = lake(&mut r, &data_dir);
    klines(&mut r);
    let collector = Collector { listen: listen(&mut r, "collector.listen", 8081) };
    let api = Api { listen: listen(&mut r, "api.listen", 8080) };
    let memory = memory(&mut r);
    let level = r.word("log.level", &["error", "warn", "info", "debug", "trace"]);
    let json = r.word("log.format", &["text", "json"]) == "json";
    let mut venues = std::collections::BTreeMap::new();
    for name in source.venues() {
        if let Ok(id) = name.parse::<VenueId>()
            && let Some(v) = venue_table(&mut r, id)
        {
            venues.insert(id, v);
        }
    }
    Config {
        data_dir,
        wal,
        venues,
        lake,
        collector,
        api,
        memory,
        log: Log { level, json },
        effective: source.effective(),
    }
}

fn wal(r: &mut Reader<'_>) -> Wal {
    let word = r.word("wal.sync", &["never", "roll", "interval", "every"]);
    let interval_ms = r.int("wal.sync_interval_ms", 1, 60_000);
    let bytes = r.int("wal.sync_bytes_mib", 1, 1024) << 20;
    let sync = match word.as_str() {
        "never" => wal_format::SyncPolicy::Never,
        "roll" => wal_format::SyncPolicy::Roll,
        "every" => wal_format::SyncPolicy::Every,
        _ => wal_format::SyncPolicy::Interval { interval_ms, bytes },
    };
    let archive = r.word("wal.archive", &["none", "zstd"]);
    r.only("wal.archive", &archive, "none", "archived segments come later");
    if !r.texts("wal.spill_dirs").is_empty() {
        r.problem("wal.spill_dirs", "spill directories are not in this version".into(), "write []".into());
    }
    Wal {
        segment_mib: r.int("wal.segment_mib", 1, 1024),
        sync,
        ready_segments: r.int("wal.ready_segments", 1, 64) as usize,
        retention_hours: r.int("wal.retention_hours", 0, 24 * 365),
    }
}

fn lake(r: &mut Reader<'_>, data_dir: &std::path::Path) -> Lake {
    let format = r.word("lake.format", &["parquet", "jsonl", "csv"]);
    r.only("lake.format", &format, "parquet", "the other formats come later");
    let dir = r.text("lake.dir");
    if dir.contains("://") {
        r.problem("lake.dir", format!("{dir:?}: object stores are not in this version"), "name a local path".into());
    }
    Lake {
        dir: if dir.is_empty() { data_dir.join("lake") } else { PathBuf::from(dir) },
        decimal: r.word("lake.numeric", &["double", "decimal"]) == "decimal",
        zstd_level: i32::try_from(r.int("lake.zstd_level", 1, 19)).unwrap_or(3),
        row_group_rows: r.int("lake.row_group_rows", 1_000, 16_777_216) as usize,
        batch_rows: r.int("lake.batch_rows", 1, 1_000_000) as usize,
        max_open_writers: r.int("lake.max_open_writers", 1, 100_000) as usize,
        idle_stage_s: r.int("lake.idle_stage_s", 1, 86_400),
        ack_interval_s: r.int("lake.ack_interval_s", 1, 86_400),
    }
}

/// The synthesizer reads these keys from its own issue on; here only their form is checked.
fn klines(r: &mut Reader<'_>) {
    match r.source.get("klines.source").map(|(v, _)| v.clone()) {
        Some(Value::Table(_)) | None => {}
        Some(other) => r.problem(
            "klines.source",
            format!("{other} is not a table"),
            "write { binance-usdm = \"agg_trades\" }".into(),
        ),
    }
    for word in r.texts("klines.intervals") {
        const KNOWN: [&str; 7] = ["1m", "5m", "30m", "1h", "4h", "1d", "1w"];
        if !KNOWN.contains(&word.as_str()) {
            r.problem("klines.intervals", format!("unknown interval {word:?}"), format!("use {}", KNOWN.join(", ")));
        }
    }
    r.int("klines.swap_interval_ms", 1, 60_000);
    r.int("klines.flush_interval_s", 1, 3_600);
    r.int("klines.stats_interval_s", 1, 86_400);
    r.text("klines.database");
}

fn listen(r: &mut Reader<'_>, key: &str, port: u16) -> SocketAddr {
    let text = r.text(key);
    let fallback = SocketAddr::from(([127, 0, 0, 1], port));
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => addr,
        Ok(addr) => {
            r.problem(
                key,
                format!("{addr} is not a loopback address, and this version has no token to protect it"),
                format!("write \"{fallback}\" and put a reverse proxy in front"),
            );
            fallback
        }
        Err(_) => {
            r.problem(key, format!("{text:?} is not an address"), format!("write \"{fallback}\""));
            fallback
        }
    }
}

fn memory(r: &mut Reader<'_>) -> Memory {
    let configured = r.int("memory.limit_mib", 0, 1 << 24);
    let elevated_percent = r.int("memory.elevated_percent", 1, 99);
    let critical_percent = r.int("memory.critical_percent", 1, 100);
    if elevated_percent >= critical_percent {
        r.problem(
            "memory.elevated_percent",
            format!("{elevated_percent} is not below memory.critical_percent ({critical_percent})"),
            "write 75 and 85".into(),
        );
    }
    Memory {
        limit_mib: if configured == 0 { machine_memory_mib() } else { configured },
        elevated_percent,
        critical_percent,
    }
}

/// The cgroup's limit or the machine's memory, whichever is smaller, MiB.
fn machine_memory_mib() -> u64 {
    let total_kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| {
        t.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|l| l.split_whitespace().next()?.parse().ok())
    });
    let machine = total_kib.map_or(4096, |k: u64| k / 1024);
    let cgroup = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse::<u64>().ok());
    cgroup.map_or(machine, |b| machine.min(b >> 20))
}

fn venue_table(r: &mut Reader<'_>, id: VenueId) -> Option<VenueConfig> {
    let key = |k: &str| format!("venues.{id}.{k}");
    let Some(v) = venue::venue(id) else {
        r.problems.push(Problem {
            key: format!("venues.{id}"),
            origin: r.source.origin(&key("symbols")),
            what: "this venue is not in this version".into(),
            fix: "remove the table; this version records binance-spot and binance-usdm".into(),
        });
        return None;
    };
    let has = |r: &Reader<'_>, k: &str| r.source.get(&key(k)).is_some();
    let symbols = r.texts(&key("symbols"));
    if symbols.is_empty() {
        r.problem(&key("symbols"), "no symbols".into(), "write names, globs or [\"*\"]".into());
    }
    for s in &symbols {
        if let Err(err) = globset::Glob::new(s) {
            r.problem(&key("symbols"), format!("{s:?} is not a name or glob: {err}"), "correct the pattern".into());
        }
    }
    let mut channels = Vec::new();
    for word in r.texts(&key("channels")) {
        match word.parse::<Channel>() {
            Ok(c) if v.channels().contains(&c) => {
                if !channels.contains(&c) {
                    channels.push(c);
                }
            }
            Ok(c) => {
                let list = v.channels().iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
                r.problem(&key("channels"), format!("{id} has no channel {c}"), format!("use some of {list}"));
            }
            Err(err) => r.problem(&key("channels"), err.to_string(), format!("did you mean {:?}?", err.nearest)),
        }
    }
    if channels.is_empty() {
        r.problem(&key("channels"), "no channels".into(), "write for example [\"trades\", \"book_ticker\"]".into());
    }
    let mut l = v.default_limits();
    macro_rules! limit {
        ($($field:ident: $min:expr, $max:expr;)*) => {$(
            if has(r, stringify!($field)) {
                // The upper bound of every limit fits its type.
                l.$field = r.int(&key(stringify!($field)), $min, $max) as _;
            }
        )*};
    }
    limit! {
        streams_per_connection: 1, 1024;
        params_per_subscribe: 1, 1024;
        subscribe_delay_ms: 0, 60_000;
        global_subscribe_delay_ms: 0, 60_000;
        connect_stagger_ms: 0, 600_000;
        connects_per_5_min: 1, 100_000;
        messages_per_s: 1, 1_000;
        lifetime_s: 60, 86_400;
        silence_timeout_s: 1, 86_400;
        stream_silence_s: 1, 86_400;
        rest_weight_per_window: 1, 1_000_000;
        rest_window_s: 1, 3_600;
        snapshot_levels: 5, 5_000;
    }
    let lines = if has(r, "lines") { u32::try_from(r.int(&key("lines"), 1, 2)).unwrap_or(1) } else { 1 };
    let rotate_at_s = if has(r, "rotate_at") { time_of_day(r, &key("rotate_at")) } else { None };
    let url = |r: &mut Reader<'_>, k: &str, schemes: [&str; 2]| {
        let text = if has(r, k) { r.text(&key(k)) } else { String::new() };
        let text = text.trim_end_matches('/').to_owned();
        if text.is_empty() {
            return None;
        }
        if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
            r.problem(
                &key(k),
                format!("{text:?} is not such a URL"),
                format!("start it with {} or {}", schemes[0], schemes[1]),
            );
        }
        Some(text)
    };
    let rest_url = url(r, "rest_url", ["https://", "http://"]).unwrap_or_else(|| v.rest_base().to_owned());
    let ws_url = url(r, "ws_url", ["wss://", "ws://"]);
    let api_key_env = has(r, "api_key_env").then(|| r.text(&key("api_key_env"))).filter(|name| !name.is_empty());
    let symbols_refresh_s =
        if has(r, "symbols_refresh_s") { r.int(&key("symbols_refresh_s"), 10, 86_400) } else { 3_600 };
    let repair = !has(r, "repair") || r.yes(&key("repair"));
    Some(VenueConfig {
        id,
        symbols,
        channels,
        limits: l,
        symbols_refresh_s,
        repair,
        rest_url,
        ws_url,
        lines,
        rotate_at_s,
        api_key_env,
    })
}

/// `HH:MM` as seconds since midnight; `""` = none.
fn time_of_day(r: &mut Reader<'_>, key: &str) -> Option<u32> {
    let text = match r.source.get(key).map(|(v, _)| v.clone()) {
        Some(Value::String(s)) => s,
        Some(other) => other.to_string(),
        None => return None,
    };
    if text.is_empty() {
        return None;
    }
    let number = |s: &str, below: u32| (s.len() == 2).then(|| s.parse::<u32>().ok()).flatten().filter(|n| *n < below);
    let time = text.split_once(':').and_then(|(h, m)| Some(number(h, 24)? * 3600 + number(m, 60)? * 60));
    if time.is_none() {
        r.problem(key, format!("{text:?} is not a time of the day"), "write \"04:30\" (UTC), or \"\" for none".into());
    }
    time
}

impl Origin {
    /// True for a value nobody set.
    pub fn is_default(&self) -> bool {
        *self == Origin::Default
    }
}
