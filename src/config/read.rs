//! Values to types: each key with its range; every failure becomes a [`Problem`], none stops the reading.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Value;

use super::secret::redact;
use super::source::{self, Origin, Source};
use super::{Collector, Config, DatabaseUrl, Klines, Lake, Log, Memory, Problem, Wal, api, history, network, venues};
use lake::LakeFormat;
use model::Interval;
use model::{Channel, VenueId};

pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn problem(&mut self, key: &str, what: String, fix: String) {
        let what = if source::may_be_secret(key) { redact(&what) } else { what };
        self.problems.push(Problem { key: key.to_owned(), origin: self.source.origin(key), what, fix });
    }

    pub(super) fn int(&mut self, key: &str, min: u64, max: u64) -> u64 {
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

    pub(super) fn text(&mut self, key: &str) -> String {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::String(s)) => s,
            Some(other) => {
                let what = if source::may_be_secret(key) { "it".to_owned() } else { other.to_string() };
                self.problem(key, format!("{what} is not text"), "write it between double quotes".into());
                String::new()
            }
            None => String::new(),
        }
    }

    /// The name of an environment variable that holds a secret; messages show it, so it must not be the secret itself.
    pub(super) fn variable(&mut self, key: &str) -> Option<String> {
        let name = self.text(key);
        if name.is_empty() {
            return None;
        }
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 40;
        let is_random = name.len() >= 16 && !name.contains('_') && name.contains(|c: char| c.is_ascii_digit());
        if is_name && !is_random && !name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(name);
        }
        let what = "is no name of an environment variable; is it the secret itself?".into();
        self.problem(key, what, "write the name of a variable that holds it, of letters, digits and _".into());
        None
    }

    /// The URL of a database; `file` begins what would pass, with an embedded one.
    pub(super) fn database(&mut self, key: &str, file: &str) -> DatabaseUrl {
        let text = self.text(key);
        let fix = format!("{file} \"postgres://user@host/name\"");
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
            self.problem(key, format!("{text:?} is no database"), fix);
        } else if text.split_once("://").is_some_and(|(_, rest)| rest.matches('@').count() > 1) {
            // The client would take the rest of the password for the host, and name it.
            self.problem(key, "has an @ in its user name or password".into(), "write it as %40".into());
        }
        DatabaseUrl::new(text)
    }

    pub(super) fn word(&mut self, key: &str, allowed: &[&str]) -> String {
        let got = self.text(key);
        if !allowed.contains(&got.as_str()) {
            let list = allowed.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
            self.problem(key, format!("{got:?} is not one of its values"), format!("write one of {list}"));
        }
        got
    }

    pub(super) fn yes(&mut self, key: &str) -> bool {
        match self.source.get(key).map(|(v, _)| v.clone()) {
            Some(Value::Boolean(yes)) => yes,
            Some(other) => {
                self.problem(key, format!("{other} is neither true nor false"), "write true or false".into());
                false
            }
            None => false,
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
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
}

pub(super) fn read(source: &Source, problems: &mut Vec<Problem>) -> Config {
    let mut r = Reader { source, problems };
    let data_dir = PathBuf::from(r.text("data.dir"));
    if data_dir.as_os_str().is_empty() {
        r.problem("data.dir", "is empty".into(), "name a directory".into());
    }
    let budget_dir = Some(r.text("data.budget_dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let min_free_gib = r.int("data.min_free_gib", 0, 1 << 30);
    let wal = wal(&mut r);
    let proxy = network::proxy(&mut r);
    let tls = network::tls(&mut r);
    let lake = lake(&mut r, &data_dir);
    let klines = klines(&mut r);
    let collector = Collector { listen: listen(&mut r, "collector.listen", 8081) };
    let api = api::read(&mut r);
    let history = history::read(&mut r, &data_dir, proxy.as_ref());
    let memory = memory(&mut r);
    let level = r.word("log.level", &["error", "warn", "info", "debug", "trace"]);
    let stats = r.yes("log.stats");
    let json = r.word("log.format", &["text", "json"]) == "json";
    let mut venues = std::collections::BTreeMap::new();
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
    let archive_level = i32::try_from(r.int("wal.archive_level", 1, 19)).unwrap_or(1);
    let spill_dirs: Vec<PathBuf> = r.texts("wal.spill_dirs").into_iter().map(PathBuf::from).collect();
    for dir in spill_dirs.iter().filter(|dir| !dir.is_absolute()) {
        // A link of the log leads there, wherever a service was started.
        r.problem(
            "wal.spill_dirs",
            format!("{:?} does not begin with a slash", dir.display().to_string()),
            "write the whole path".into(),
        );
    }
    Wal {
        segment_mib: r.int("wal.segment_mib", 1, 1024),
        sync,
        ready_segments: r.int("wal.ready_segments", 1, 64) as usize,
        spill_dirs,
        retention_hours: r.int("wal.retention_hours", 0, 24 * 365),
        archive: (archive == "zstd").then_some(archive_level),
        archive_retention_hours: r.int("wal.archive_retention_hours", 0, 24 * 365 * 100),
        archive_max_gib: r.int("wal.archive_max_gib", 0, 1 << 30),
    }
}

fn lake(r: &mut Reader<'_>, data_dir: &std::path::Path) -> Lake {
    let format = r.word("lake.format", &["parquet", "jsonl", "csv"]);
    let dir = r.text("lake.dir");
    if dir.contains("://") {
        r.problem("lake.dir", format!("{dir:?}: object stores are not in this version"), "name a local path".into());
    }
    Lake {
        dir: if dir.is_empty() { data_dir.join("lake") } else { PathBuf::from(dir) },
        retention_hours: r.int("lake.retention_hours", 0, 24 * 365 * 100),
        max_gib: r.int("lake.max_gib", 0, 1 << 30),
        format: match format.as_str() {
            "jsonl" => LakeFormat::Jsonl,
            "csv" => LakeFormat::Csv,
            _ => LakeFormat::Parquet,
        },
        decimal: r.word("lake.numeric", &["double", "decimal"]) == "decimal",
        zstd_level: i32::try_from(r.int("lake.zstd_level", 1, 19)).unwrap_or(3),
        row_group_rows: r.int("lake.row_group_rows", 1_000, 16_777_216) as usize,
        batch_rows: r.int("lake.batch_rows", 1, 1_000_000) as usize,
        max_open_writers: r.int("lake.max_open_writers", 1, 100_000) as usize,
        idle_stage_s: r.int("lake.idle_stage_s", 1, 86_400),
        ack_interval_s: r.int("lake.ack_interval_s", 1, 86_400),
        part_minutes: part_minutes(r),
    }
}

/// Parts of one length tile the hour: anything but a divisor of it is refused.
fn part_minutes(r: &mut Reader<'_>) -> u64 {
    const KEY: &str = "lake.part_minutes";
    let minutes = r.int(KEY, 1, 60);
    if 60 % minutes != 0 {
        let divisors = (1..=60).filter(|n| 60 % n == 0).map(|n: u64| n.to_string()).collect::<Vec<_>>().join(", ");
        r.problem(KEY, format!("{minutes} is no divisor of 60"), format!("write one of {divisors}"));
        return 60;
    }
    minutes
}

fn klines(r: &mut Reader<'_>) -> Klines {
    let mut source = std::collections::BTreeMap::new();
    let fix = "write { binance-usdm = \"agg_trades\", binance-spot = \"trades\" }; \"none\" = no candles of it";
    match r.source.get("klines.source").map(|(v, _)| v.clone()) {
        Some(Value::Table(table)) => {
            for (name, value) in table {
                let word = value.as_str().unwrap_or_default();
                match (name.parse::<VenueId>(), word) {
                    (Ok(id), "trades") => drop(source.insert(id, Some(Channel::Trades))),
                    (Ok(id), "agg_trades") => drop(source.insert(id, Some(Channel::AggTrades))),
                    (Ok(id), "none") => drop(source.insert(id, None)),
                    (Ok(_), _) => r.problem(
                        "klines.source",
                        format!("{value} is no source of candles for {name}"),
                        "write \"trades\", \"agg_trades\" or \"none\"".into(),
                    ),
                    (Err(err), _) => r.problem("klines.source", err.to_string(), fix.into()),
                }
            }
        }
        None => {}
        Some(other) => r.problem("klines.source", format!("{other} is not a table"), fix.into()),
    }
    intervals(r);
    let database = r.database("klines.database", "write \"sqlite:klines.db\" (below data.dir) or");
    Klines {
        source,
        swap_interval_ms: r.int("klines.swap_interval_ms", 1, 60_000),
        flush_interval_s: r.int("klines.flush_interval_s", 1, 3_600),
        stats_interval_s: r.int("klines.stats_interval_s", 1, 86_400),
        seed: r.yes("klines.seed"),
        database,
    }
}

/// All intervals are made, stored and served, or none: a list that leaves one out would not be honoured.
fn intervals(r: &mut Reader<'_>) {
    const KEY: &str = "klines.intervals";
    let all = Interval::ALL.map(Interval::as_str);
    let given = r.texts(KEY);
    let fix = format!("write {all:?} or leave the key out");
    for word in given.iter().filter(|word| !all.contains(&word.as_str())) {
        r.problem(KEY, format!("unknown interval {word:?}"), fix.clone());
    }
    let missing: Vec<&str> = all.into_iter().filter(|word| given.iter().all(|w| w != word)).collect();
    if !missing.is_empty() {
        let what = format!("{} left out, but all intervals are always made, stored and served", missing.join(", "));
        r.problem(KEY, what, fix);
    }
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
        limit_mib: if configured == 0 { ops::memory::found_limit_mib() } else { configured },
        own_limit: configured != 0,
        elevated_percent,
        critical_percent,
    }
}

impl Origin {
    /// True for a value nobody set.
    pub fn is_default(&self) -> bool {
        *self == Origin::Default
    }
}
