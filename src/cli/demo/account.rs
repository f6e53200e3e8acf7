//! The accounting of the demo: what the simulator says it sent, what the log holds, what the lake says it made of it.
//!
//! Three independent counts that must agree. Payloads are compared too: per connection, SHA-256 over all messages in
//! order, taken by the simulator when it sent them and here from the log.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wal_format::{Kind, Position, SegmentDirs};

use super::live::{grouped, size};
use config::Config;
use fold::source::{RecordSource, RecordedLog, Step};
use lake::PartManifest;
use lake::hash::hex;
use model::VenueId;

/// Everything that was counted.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    /// By venue.
    pub venues: BTreeMap<&'static str, VenueAccount>,
    /// Bytes of all Parquet files.
    pub lake_bytes: u64,
    /// Parquet files.
    pub lake_files: u64,
}

/// The counts of one venue.
#[derive(Debug, Default, Serialize)]
pub(super) struct VenueAccount {
    /// Market data messages the simulator sent.
    pub sent_data: u64,
    /// Acknowledgements, errors and garbage (bytes that a fault made it send) it sent.
    pub sent_control: u64,
    /// REST requests it answered.
    pub sent_rest: u64,
    /// Messages that stood half written in a socket that was cut; they may or may not have arrived.
    pub unconfirmed: u64,
    /// WebSocket and REST frames in the log.
    pub in_log: u64,
    /// Payload bytes in the log.
    pub payload_bytes: u64,
    /// Frames that became rows.
    pub decoded: u64,
    /// Frames without rows by nature.
    pub control: u64,
    /// Frames that did not decode and are rows of `frames`.
    pub undecodable: u64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Gaps in ids.
    pub gaps: usize,
    /// Lost ranges that log and manifests report; not a number of records.
    pub lost_ranges: usize,
    /// Connections the simulator served.
    pub connections: usize,
    /// Connections whose payloads in the log are those that were sent, byte for byte.
    pub identical_connections: usize,
}

impl VenueAccount {
    fn sent(&self) -> u64 {
        self.sent_data + self.sent_control + self.sent_rest
    }

    fn agrees(&self) -> bool {
        let frames = self.decoded + self.control + self.undecodable;
        self.sent() == self.in_log
            && self.in_log == frames
            && self.lost_ranges == 0
            && self.identical_connections == self.connections
    }
}

/// Counts everything after the services have stopped.
pub(super) fn account(cfg: &Config, report: &venue_sim::SimReport) -> anyhow::Result<Account> {
    let mut account = Account { venues: BTreeMap::new(), lake_bytes: 0, lake_files: 0 };
    for id in cfg.capture.venues.keys() {
        let mut v = VenueAccount::default();
        let mut sent_digests = Vec::new();
        if let Some(sent) = report.venues.get(id.as_str()) {
            v.sent_rest = sent.rest.requests;
            for c in &sent.connections {
                v.sent_data += c.frames_sent;
                v.sent_control += c.control_sent + c.garbage_sent;
                v.unconfirmed += c.unconfirmed;
                if c.frames_sent + c.control_sent + c.garbage_sent > 0 {
                    sent_digests.push(c.sha256.clone());
                }
            }
        }
        let logged = read_log(cfg, *id, &mut v)?;
        v.connections = sent_digests.len();
        let mut left = logged;
        for digest in sent_digests {
            if let Some(i) = left.iter().position(|d| *d == digest) {
                left.swap_remove(i);
                v.identical_connections += 1;
            }
        }
        account.venues.insert(id.as_str(), v);
    }
    let lake = s3::lake(&cfg.lake, &cfg.store)?;
    for at in lake.list("_manifests", None, None)?.iter().filter(|at| at.key.ends_with(".json")) {
        let manifest = PartManifest::load(&lake, &at.key)?;
        for f in &manifest.files {
            account.lake_files += 1;
            account.lake_bytes += f.bytes;
        }
        let Some(v) = account.venues.get_mut(manifest.venue.as_str()) else { continue };
        let totals = manifest.totals();
        v.decoded += totals.decoded;
        v.control += totals.control;
        v.undecodable += totals.undecodable;
        v.gaps += manifest.gaps.len();
        v.lost_ranges += manifest.lost.len();
        for (table, rows) in &manifest.rows {
            *v.rows.entry(table.as_str().to_owned()).or_default() += rows;
        }
    }
    Ok(account)
}

/// Counts frames and returns one digest per WebSocket connection.
fn read_log(cfg: &Config, id: VenueId, v: &mut VenueAccount) -> anyhow::Result<Vec<String>> {
    let dir = cfg.capture.wal_dir(id);
    let what = || format!("read {}", dir.display());
    let mut log = RecordedLog::open(&SegmentDirs::new(&dir), Position::START).with_context(what)?;
    let mut digests: BTreeMap<u64, Sha256> = BTreeMap::new();
    loop {
        match log.next().with_context(what)? {
            Step::Record(r) => match r.kind() {
                Some(Kind::Data) => {
                    v.in_log += 1;
                    v.payload_bytes += r.payload.len() as u64;
                    let conn = u64::from(r.seq.epoch()) << 32 | u64::from(r.conn);
                    digests.entry(conn).or_default().update(r.payload);
                }
                Some(Kind::Rest) => {
                    v.in_log += 1;
                    v.payload_bytes += r.rest().map_or(0, |rest| rest.body.len() as u64);
                }
                _ => {}
            },
            Step::Lost(_) => v.lost_ranges += 1,
            Step::Tail | Step::Blocked { .. } | Step::End => break,
        }
    }
    Ok(digests.into_values().map(|d| hex(&d.finalize())).collect())
}

impl Account {
    /// An error when the counts do not agree.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let wrong: Vec<&str> = self.venues.iter().filter(|(_, v)| !v.agrees()).map(|(id, _)| *id).collect();
        anyhow::ensure!(
            wrong.is_empty(),
            "the counts of {} do not agree: see the lines above, and the services' own log files",
            wrong.join(", ")
        );
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, v) in &self.venues {
            writeln!(f, "\n{id}")?;
            writeln!(
                f,
                "  sent        {:>12} = {} data + {} control + {} REST{}",
                grouped(v.sent()),
                grouped(v.sent_data),
                grouped(v.sent_control),
                grouped(v.sent_rest),
                if v.unconfirmed > 0 { format!(" (+ {} half written)", v.unconfirmed) } else { String::new() },
            )?;
            writeln!(
                f,
                "  in the log  {:>12}   payloads of {} of {} connections identical byte for byte, {}",
                grouped(v.in_log),
                v.identical_connections,
                v.connections,
                size(v.payload_bytes),
            )?;
            writeln!(
                f,
                "  in the lake {:>12} = {} decoded + {} control + {} undecodable; gaps {}, lost {}",
                grouped(v.decoded + v.control + v.undecodable),
                grouped(v.decoded),
                grouped(v.control),
                grouped(v.undecodable),
                v.gaps,
                v.lost_ranges,
            )?;
            let rows: Vec<String> = v.rows.iter().map(|(t, n)| format!("{t} {}", grouped(*n))).collect();
            writeln!(f, "  rows        {}", rows.join(", "))?;
            writeln!(f, "  {}", if v.agrees() { "all counts agree" } else { "THE COUNTS DO NOT AGREE" })?;
        }
        writeln!(f, "\nlake: {} Parquet files, {}", self.lake_files, size(self.lake_bytes))
    }
}
