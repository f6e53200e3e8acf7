//! A simulated exchange for one test, on a runtime of its own, and configurations that point at it.

use std::path::{Path, PathBuf};

use venue_sim::{Market, Sim, SimConfig, SimReport, StartWhen};

/// The simulator while a test runs.
pub struct Exchange {
    runtime: tokio::runtime::Runtime,
    pub sim: Sim,
}

impl Exchange {
    pub fn start(config: SimConfig) -> Exchange {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sim = runtime.block_on(Sim::start(config)).unwrap();
        Exchange { runtime, sim }
    }

    pub fn stop(self) -> SimReport {
        self.runtime.block_on(self.sim.stop())
    }
}

/// A seeded market on `venue` that starts with the first subscription.
pub fn market(venue: &str, frames_per_s: u64, total_frames: Option<u64>, seed: u64) -> SimConfig {
    let mut config = SimConfig::generated(
        &[venue],
        Market {
            symbols: vec!["BTCUSDT".into(), "ETHUSDT".into(), "币安人生USDT".into()],
            channels: vec!["trades".into(), "agg_trades".into(), "book_ticker".into(), "depth".into()],
            frames_per_s,
            total_frames,
            start_ms: None,
        },
    );
    config.start_when = StartWhen::Settled { streams: 12, quiet_ms: 200 };
    config.seed = seed;
    config
}

/// Writes a configuration that records all of [`market`] from the simulator.
pub fn write_config(dir: &Path, exchange: &Exchange, venue: &str, extra: &str) -> PathBuf {
    let channels = ["trades", "agg_trades", "book_ticker", "depth", "depth_snapshot"];
    let extra = format!("connect_stagger_ms = 0\n{extra}");
    write_config_for(dir, exchange, venue, &["BTCUSDT", "ETHUSDT", "币安*"], &channels, &extra)
}

/// Writes a configuration with the venue's own pace.
pub fn write_config_for(
    dir: &Path,
    exchange: &Exchange,
    venue: &str,
    symbols: &[&str],
    channels: &[&str],
    extra: &str,
) -> PathBuf {
    let path = dir.join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\nretention_hours = 8760\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.{venue}]\nsymbols = {symbols:?}\nchannels = {channels:?}\nrest_url = {:?}\nws_url = {:?}\n{extra}",
        dir.join("data").display().to_string(),
        super::free_port(),
        exchange.sim.rest_url(venue),
        exchange.sim.ws_url(venue),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// One message of a transcript: connection number and payload.
pub fn transcript(path: &Path) -> Vec<(u32, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= 16 {
        let conn = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        let len = u32::from_le_bytes(rest[12..16].try_into().unwrap()) as usize;
        out.push((conn, rest[16..16 + len].to_vec()));
        rest = &rest[16 + len..];
    }
    out
}
