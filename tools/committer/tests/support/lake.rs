//! Small lakes as the compactor publishes them: a part is its files, then its manifest.

use std::path::Path;

use lake::manifest::{LogPosition, ManifestFile};
use lake::{
    Body, Common, Hour, Lake, Part, PartManifest, SchemaVersion, Table, TableBuffer, WriteSettings, join_pieces,
};
use model::row::{BookTicker, Side, Trade};
use model::{Interner, Num};

/// One part of a log: `rows` trades and half as many best bids and asks.
#[derive(Clone)]
pub struct PartOf {
    pub venue: &'static str,
    /// The log's uuid: 32 hex digits.
    pub log: &'static str,
    pub hour: i64,
    pub first_seq: u64,
    pub rows: u64,
    /// How often it was rewritten; each revision has one row more.
    pub revision: u32,
    pub version: SchemaVersion,
}

impl PartOf {
    /// Part number `n` of a log of a venue, an hour each.
    pub fn of(venue: &'static str, log: &'static str, n: u64) -> Self {
        let hour = 480_000 + i64::try_from(n).unwrap();
        let version = if n % 3 == 2 { SchemaVersion::SECOND } else { SchemaVersion::FIRST };
        Self { venue, log, hour, first_seq: (1 << 40) + n * 1_000, rows: 20 + n % 7, revision: 0, version }
    }

    /// The same, rewritten once more.
    pub fn rewritten(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    fn part(&self) -> Part {
        Part {
            venue: self.venue.to_owned(),
            hour: Hour(self.hour),
            log8: self.log[..8].to_owned(),
            incarnation: 0xabcd,
            first_seq: self.first_seq,
        }
    }

    /// Key of its manifest.
    pub fn manifest(&self) -> String {
        self.part().manifest()
    }

    /// Key of its file of `table`.
    pub fn file(&self, table: Table) -> String {
        self.part().file(table)
    }

    /// Publishes it; a rewritten part takes the place of the one of before.
    pub fn publish(&self, lake: &Lake, scratch: &Path) {
        let settings = WriteSettings { schema_version: self.version, ..WriteSettings::default() };
        let hour = Hour(self.hour);
        let mut m = PartManifest::new(self.log.to_owned(), self.venue.to_owned(), hour.to_string(), settings.clone());
        m.revision = self.revision;
        m.supersedes = (0..self.revision).map(|i| format!("{i:064x}")).collect();
        m.first = LogPosition { segment: 0, offset: 0, seq: self.first_seq };
        m.end = LogPosition { segment: 0, offset: 1, seq: self.first_seq + 900 };
        let buffers = [self.trades(&settings), self.tickers(&settings)];
        for (table, buffer, _) in &buffers {
            m.rows.insert(*table, buffer.len() as u64);
        }
        let digest = m.digest().unwrap();
        let kv = [("manifest_sha256".to_owned(), digest)];
        for (table, mut buffer, names) in buffers {
            let rows = buffer.len();
            if rows == 0 {
                continue;
            }
            let tmp = scratch.join(format!("made-{table}.parquet"));
            let info = join_pieces(&tmp, table, &[], Some(buffer.take_first(rows, &names)), &settings, &kv).unwrap();
            let path = self.file(table);
            lake.replace(&path, Body::File(&tmp), None).unwrap();
            m.files.push(ManifestFile { table, path, bytes: info.bytes, rows: info.rows, sha256: info.sha256 });
        }
        m.files.sort_by(|a, b| a.path.cmp(&b.path));
        lake.replace(&self.manifest(), Body::Bytes(&m.to_json().unwrap()), None).unwrap();
    }

    fn common(&self, i: u64) -> Common {
        Common {
            ts_recv_ns: self.hour * 3_600_000_000_000 + i64::try_from(i).unwrap() * 1_000_001_000,
            seq: i64::try_from(self.first_seq + i).unwrap(),
            conn: 1,
            flags: 0,
        }
    }

    fn trades(&self, settings: &WriteSettings) -> (Table, TableBuffer, Interner) {
        let (mut buffer, mut names) = (TableBuffer::new(Table::Trades, settings), Interner::new());
        for i in 0..self.rows + u64::from(self.revision) {
            let common = self.common(i);
            let symbol = names.intern(["BTCUSDT", "ETHUSDT", "SOLUSDT"][(i % 3) as usize]);
            let trade = Trade {
                symbol,
                ts_event_us: (i % 4 != 0).then_some(common.ts_recv_ns / 1_000 - 5_000),
                ts_trade_us: Some(common.ts_recv_ns / 1_000 - 7_000),
                id: Some(i64::try_from(self.first_seq % 1_000_000 + i).unwrap()),
                id_str: (i % 5 == 0).then(|| format!("t{i}").into()),
                price: Num { mantissa: 6_100_000 + i128::from(i) + i128::from(self.revision) * 7, scale: 2 },
                amount: Num { mantissa: 1 + i128::from(i), scale: 3 },
                side: if i % 2 == 0 { Side::Buy } else { Side::Sell },
                kind: None,
            };
            buffer.push(&common, 0, &trade);
        }
        (Table::Trades, buffer, names)
    }

    fn tickers(&self, settings: &WriteSettings) -> (Table, TableBuffer, Interner) {
        let (mut buffer, mut names) = (TableBuffer::new(Table::BookTicker, settings), Interner::new());
        // Every fourth part has none: a table that a part has no file of.
        let rows = if self.first_seq / 1_000 % 4 == 3 { 0 } else { self.rows / 2 };
        for i in 0..rows {
            let symbol = names.intern(["BTCUSDT", "ETHUSDT"][(i % 2) as usize]);
            let n = |m: u64| Num { mantissa: i128::from(m), scale: 1 };
            let row = BookTicker {
                symbol,
                ts_event_us: None,
                update_id: Some(i64::try_from(i).unwrap()),
                bid_price: Some(n(600 + i)),
                bid_amount: Some(n(i)),
                ask_price: Some(n(601 + i)),
                ask_amount: Some(n(2 * i)),
            };
            buffer.push(&self.common(i), 0, &row);
        }
        (Table::BookTicker, buffer, names)
    }
}
