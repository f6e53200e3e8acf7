//! The database of candles as a reader behind the program's back sees it: every row of the table, the symbols, how far
//! each log is read, and what the feeds remember.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cluster;

/// Everything of a database of candles that a restart goes on from.
#[derive(Debug, Default, PartialEq)]
pub struct Stored {
    /// Rows of `klines` as text, in the order of the key.
    pub bars: Vec<String>,
    /// Symbols by venue, in the order of their indices.
    pub symbols: BTreeMap<String, Vec<String>>,
    /// Place in each log.
    pub positions: Vec<String>,
    /// By feed.
    pub states: BTreeMap<String, serde_json::Value>,
}

const BARS: &str = "venue, symbol, \"interval\", open_time, \"open\", high, low, \"close\", volume, quote_volume, \
    taker_buy_volume, taker_buy_quote_volume, trade_count, first_trade_id, last_trade_id, is_final, revision, flags, \
    price_scale, amount_scale, source";

/// Where candles are stored.
#[derive(Clone)]
pub enum Place {
    File(PathBuf),
    Server(String),
}

impl Place {
    /// As `[klines] database` names it.
    pub fn url(&self) -> String {
        match self {
            Place::File(_) => "sqlite:klines.db".to_owned(),
            Place::Server(url) => url.clone(),
        }
    }

    /// What is stored now; nothing while there is no database yet.
    pub fn read(&self) -> Stored {
        let bars = self.rows(&format!("SELECT {BARS} FROM klines ORDER BY venue, symbol, \"interval\", open_time"), 21);
        let mut stored = Stored { bars: bars.into_iter().map(|r| r.join("|")).collect(), ..Stored::default() };
        // A server sorts by its own rules.
        stored.bars.sort();
        for row in self.rows("SELECT venue, symbol, listing_time_ms FROM symbols_index ORDER BY symbol_index", 3) {
            stored.symbols.entry(row[0].clone()).or_default().push(row[1..].join(" "));
        }
        stored.positions = self.positions();
        for row in self.rows("SELECT feed, state FROM feeds", 2) {
            stored.states.insert(row[0].clone(), serde_json::from_str(&row[1]).unwrap());
        }
        stored
    }

    /// Place in each log.
    pub fn positions(&self) -> Vec<String> {
        let sql = "SELECT feed, log, log_uuid, segment, byte_offset, seq FROM positions ORDER BY feed, log";
        self.rows(sql, 6).into_iter().map(|r| r.join(" ")).collect()
    }

    fn rows(&self, sql: &str, columns: usize) -> Vec<Vec<String>> {
        match self {
            Place::File(path) if !path.exists() => Vec::new(),
            Place::File(path) => sqlite(path, sql, columns).unwrap_or_else(|e| absent(&e.to_string())),
            Place::Server(url) => postgres(url, sql).unwrap_or_else(|e| absent(&format!("{e:?}"))),
        }
    }
}

/// A program that was killed early has made no tables yet; anything else is an error.
fn absent(error: &str) -> Vec<Vec<String>> {
    assert!(error.contains("no such table") || error.contains("does not exist"), "{error}");
    Vec::new()
}

fn sqlite(path: &Path, sql: &str, columns: usize) -> rusqlite::Result<Vec<Vec<String>>> {
    // What a kill left in the journal belongs to the database: whoever reads it must be able to recover it.
    let db = rusqlite::Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(20))?;
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let value = |i| match row.get_ref(i).unwrap() {
            rusqlite::types::ValueRef::Integer(v) => v.to_string(),
            rusqlite::types::ValueRef::Text(v) => String::from_utf8(v.to_vec()).unwrap(),
            other => format!("{other:?}"),
        };
        out.push((0..columns).map(value).collect());
    }
    Ok(out)
}

fn postgres(url: &str, sql: &str) -> Result<Vec<Vec<String>>, postgres::Error> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    let messages = client.simple_query(sql)?;
    let rows = messages.into_iter().filter_map(|m| match m {
        postgres::SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("Null").to_owned()).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// A throw-away Postgres server.
pub struct Server(cluster::Cluster);

impl Server {
    /// `None` without Postgres on this machine.
    pub fn start() -> Option<Server> {
        Some(Server(cluster::Cluster::start()?))
    }

    /// A new, empty database.
    pub fn place(&mut self) -> Place {
        Place::Server(self.0.database())
    }

    /// Where the server lives.
    pub fn dir(&self) -> &Path {
        self.0.dir()
    }
}
