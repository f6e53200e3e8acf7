//! Room on the disks: what the log takes before the first frame, and until the part made from it is published. Asked by
//! services and by `config check`, not by [`Config::load`]: the disk is the machine's, not the file's.
//!
//! ```text
//!  open + ready segments of every venue | the log of part_minutes | pieces and the joined part, if the lake is there too
//! ```
//! The rate is measured in the log that is there; before, it is estimated from symbols and channels, which is good for
//! warnings and refuses nothing.

use std::path::Path;

use super::config::Config;
use super::places::device;
use capture::pacing;
use capture::{VenueConfig, Warning};
use lake::Hour;
use model::Channel;
use settings::Problem;

const SEGMENT_KEY: &str = "wal.segment_mib";
const PART_KEY: &str = "lake.part_minutes";
/// Sealed segments that cover less than this say nothing about the rate, ns.
const MEASURED_NS_MIN: u64 = 60_000_000_000;
/// Rows of a part take at most this share of the frames they are made of, twice while they are joined.
const LAKE_SHARE: u64 = 3;
/// Publishing a part takes a while, in which the log goes on.
const PUBLISH_MINUTES: u64 = 5;
/// Symbols of a venue on which most is traded, and how much more.
const MAJOR: (usize, u64) = (5, 15);

/// What the log takes until its part is published.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogRoom {
    /// Bytes of an hour of log, all venues together.
    pub hour_bytes: u64,
    /// Measured in the log that is there; else estimated from symbols and channels.
    pub measured: bool,
    /// Bytes of open and ready segments.
    pub segments_bytes: u64,
    /// Minutes of a part.
    pub part_minutes: u64,
    /// The lake is on the log's disk.
    pub shared: bool,
    /// Bytes that are free, or taken by the log already.
    pub room_bytes: u64,
}

impl LogRoom {
    /// What the logs of `config` need; `None` without a venue or when the disk cannot be asked.
    pub fn of(config: &Config) -> Option<LogRoom> {
        if config.capture.venues.is_empty() {
            return None;
        }
        let free = ops::host::disk(&config.capture.wal_root())?.free_bytes;
        let rates: Vec<(u64, bool)> = config.capture.venues.values().map(|v| rate(config, v)).collect();
        Some(LogRoom {
            hour_bytes: rates.iter().map(|(bytes, _)| bytes).sum(),
            measured: rates.iter().all(|(_, measured)| *measured),
            segments_bytes: first_segments(config) * (config.capture.wal.segment_mib << 20),
            part_minutes: config.lake.part_minutes,
            shared: device(&config.capture.wal_root()) == device(config.lake.work_dir()),
            room_bytes: free + held_bytes(config),
        })
    }

    /// Bytes that parts of `minutes` need on the log's disk.
    fn need(&self, minutes: u64) -> u64 {
        let log = self.hour_bytes.saturating_mul(minutes + PUBLISH_MINUTES) / 60;
        self.segments_bytes + log + if self.shared { 2 * log / LAKE_SHARE } else { 0 }
    }

    /// Hours of log that there is room for.
    pub fn hours(&self) -> Option<u64> {
        self.room_bytes.saturating_sub(self.segments_bytes).checked_div(self.hour_bytes)
    }

    /// For people: what the log takes and what there is.
    pub fn text(&self) -> String {
        format!(
            "the log takes about {:.1} GiB an hour ({}); with open and ready segments{}, parts of {} minutes need {:.1} GiB, and there are {:.1} GiB",
            gib(self.hour_bytes),
            if self.measured { "measured" } else { "estimated" },
            if self.shared { " and the part in the making" } else { "" },
            self.part_minutes,
            gib(self.need(self.part_minutes)),
            gib(self.room_bytes),
        )
    }

    /// What is wrong, and the setting that would pass.
    fn short(&self) -> Option<(String, String)> {
        if self.need(self.part_minutes) <= self.room_bytes {
            return None;
        }
        let shorter = (1..self.part_minutes).rev().filter(|minutes| 60 % minutes == 0);
        let fits = shorter.into_iter().find(|minutes| self.need(*minutes) <= self.room_bytes);
        Some((
            format!("a segment goes when its part is published: {}", self.text()),
            match fits {
                Some(minutes) => format!("write part_minutes = {minutes}, record fewer symbols, or use a larger disk"),
                None => format!(
                    "record fewer symbols or channels, or name a data.dir on a disk with {:.1} GiB",
                    gib(self.need(1))
                ),
            },
        ))
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// What the disk must hold before the first frame: the open segment and the ready ones of every venue.
pub fn first(config: &Config) -> Vec<Problem> {
    let segments = first_segments(config);
    let Some(free) = ops::host::disk(&config.capture.wal_root()).map(|d| d.free_bytes) else { return Vec::new() };
    // What the log holds already it need not find again.
    let room = (free + held_bytes(config)) >> 20;
    room_for(config, segments, room).into_iter().chain(spill(config)).collect()
}

/// The log of a part does not fit, as measured: refused. As estimated: a warning.
pub fn of_a_part(config: &Config) -> (Option<Problem>, Option<Warning>) {
    let Some(room) = LogRoom::of(config) else { return (None, None) };
    let Some((what, fix)) = room.short() else { return (None, None) };
    if room.measured {
        return (Some(config.problem(PART_KEY, what, fix)), None);
    }
    (None, Some(Warning { key: PART_KEY.to_owned(), what, fix }))
}

fn first_segments(config: &Config) -> u64 {
    (1 + config.capture.wal.ready_segments as u64) * config.capture.venues.len() as u64
}

/// Bytes an hour of one venue's log, and whether they were measured.
fn rate(config: &Config, v: &VenueConfig) -> (u64, bool) {
    match measured(&config.capture.wal_dir(v.id)) {
        Some(bytes) => (bytes, true),
        None => (estimated(v), false),
    }
}

/// Bytes an hour of the log in `dir`, over its sealed segments: an interruption between two runs is none of them.
fn measured(dir: &Path) -> Option<u64> {
    let segments = wal_format::list_segments(dir).ok()?;
    let of = segments.iter().filter_map(|s| s.footer.as_ref());
    let (bytes, ns) = of.fold((0_u64, 0_u64), |(bytes, ns), f| {
        (bytes.saturating_add(f.end_offset), ns.saturating_add(f.last_ts_ns.saturating_sub(f.first_ts_ns)))
    });
    let hour_ns = u128::from(Hour(0).end_ns());
    (ns >= MEASURED_NS_MIN).then(|| u64::try_from(u128::from(bytes) * hour_ns / u128::from(ns)).unwrap_or(u64::MAX))
}

/// Bytes an hour that the configured symbols and channels bring, roughly, on a busy day.
fn estimated(v: &VenueConfig) -> u64 {
    if capture::is_simulator(v) {
        return 0;
    }
    let symbols = pacing::symbols_estimate(v);
    let major = symbols.min(MAJOR.0);
    let weight = (symbols - major) as u64 + major as u64 * MAJOR.1;
    let bytes_s: u64 = v.channels.iter().map(|c| bytes_s(*c)).sum();
    bytes_s * weight * u64::from(v.lines.max(1)) * 3_600
}

/// Bytes a second of one channel of a symbol that is traded now and then.
fn bytes_s(channel: Channel) -> u64 {
    match channel {
        Channel::Trades | Channel::AggTrades => 600,
        Channel::BookTicker => 3_500,
        Channel::Depth => 5_000,
        Channel::DepthSnapshot => 100,
        Channel::MarkPrice => 250,
        Channel::Liquidations => 20,
        Channel::Tickers => 500,
        Channel::VenueKlines => 1_000,
    }
}

/// A spill directory on the log's own file system is full when that is.
fn spill(config: &Config) -> Vec<Problem> {
    const KEY: &str = "wal.spill_dirs";
    let own = device(&config.capture.wal_root());
    let useless = config.capture.wal.spill_dirs.iter().filter(|dir| own.is_some() && device(dir) == own);
    let root = config.capture.wal_root();
    let same = |dir: &Path| {
        let what = "is on the same file system as";
        format!("{} {what} {}: it has no room when that has none", dir.display(), root.display())
    };
    let fix = "mount the disk it is meant to be on, name a directory of another one, or write []";
    useless.map(|dir| config.problem(KEY, same(dir), fix)).collect()
}

fn room_for(config: &Config, segments: u64, room_mib: u64) -> Option<Problem> {
    // As much again for what is not compacted yet, and for the lake.
    let need = 2 * segments * config.capture.wal.segment_mib;
    if segments == 0 || need <= room_mib {
        return None;
    }
    let what = format!(
        "{} venue(s) need {segments} segments of {} MiB before the first frame and as much again to work, {need} MiB; the disk of {} has {room_mib} MiB",
        config.capture.venues.len(),
        config.capture.wal.segment_mib,
        config.capture.wal_root().display()
    );
    let fix = match room_mib / (2 * segments) {
        0 => format!("name a data.dir on a disk with at least {} MiB free", 2 * segments),
        fits => format!("write segment_mib = {fits}, record fewer venues, or name a data.dir on a larger disk"),
    };
    Some(config.problem(SEGMENT_KEY, what, fix))
}

/// Bytes of the segments that are there.
fn held_bytes(config: &Config) -> u64 {
    let files = |dir: &Path| -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries.flatten().filter_map(|e| e.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
    };
    config.capture.venues.keys().map(|id| files(&config.capture.wal_dir(*id))).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const VENUE: &str = "[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n";
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_spill_directory_that_is_full_when_the_log_is_full_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let data = format!("[data]\ndir = \"{at}/data\"\n");
        let config =
            Config::from_toml(&format!("{data}[wal]\nspill_dirs = [\"{at}/spill/not/yet\"]\n{VENUE}")).unwrap();
        let problems = spill(&config);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].what.contains("same file system"), "{problems:?}");
        // The kernel's own, which no log lies on.
        let config = Config::from_toml(&format!("{data}[wal]\nspill_dirs = [\"/proc/spill\"]\n{VENUE}")).unwrap();
        assert!(spill(&config).is_empty());
        assert_eq!(config.capture.log_options().spill_dirs, [Path::new("/proc/spill")]);
        let err = Config::from_toml(&format!("[wal]\nspill_dirs = [\"spill\"]\n{VENUE}")).unwrap_err();
        assert!(err.to_string().contains("wal.spill_dirs") && err.to_string().contains("an absolute path"), "{err}");
    }

    #[test]
    fn a_disk_too_small_for_the_first_segments_is_refused_and_the_advice_passes() {
        let mut config = Config::from_toml(VENUE).unwrap();
        assert!(room_for(&config, 3, 768).is_none());
        let problem = room_for(&config, 3, 200).unwrap();
        assert!(problem.what.contains("768 MiB") && problem.what.contains("has 200 MiB"), "{problem:?}");
        assert!(problem.fix.contains("segment_mib = 33,"), "{problem:?}");
        config.capture.wal.segment_mib = 33;
        assert!(room_for(&config, 3, 200).is_none());
        assert!(room_for(&config, 3, 5).unwrap().fix.contains("at least 6 MiB"));
    }

    #[test]
    fn a_disk_that_does_not_hold_the_log_of_a_part_is_reported_with_the_minutes_that_would_pass() {
        let hour = LogRoom {
            hour_bytes: 12 * GIB,
            measured: true,
            segments_bytes: GIB,
            part_minutes: 60,
            shared: false,
            room_bytes: 15 * GIB,
        };
        // 65 minutes of log and the segments.
        assert_eq!((hour.need(60), hour.short(), hour.hours()), (14 * GIB, None, Some(1)));
        let small = LogRoom { room_bytes: 6 * GIB, ..hour.clone() };
        let (what, fix) = small.short().unwrap();
        assert!(what.contains("12.0 GiB an hour (measured)") && what.contains("need 14.0 GiB"), "{what}");
        assert!(what.contains("there are 6.0 GiB") && fix.contains("part_minutes = 20,"), "{what}; {fix}");
        assert_eq!(LogRoom { part_minutes: 20, ..small.clone() }.short(), None);
        // The lake on the same disk takes its share.
        let shared = LogRoom { shared: true, ..small };
        assert!(shared.short().unwrap().1.contains("part_minutes = 10,"), "{:?}", shared.short());
        let none = LogRoom { room_bytes: GIB, ..hour };
        assert!(none.short().unwrap().1.contains("record fewer symbols"), "{:?}", none.short());
    }

    #[test]
    fn the_rate_is_that_of_the_log_that_is_there_and_estimated_before() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\n{VENUE}", dir.path().display().to_string());
        let mut config = Config::from_toml(&text).unwrap();
        let guess = LogRoom::of(&config).unwrap();
        assert!(!guess.measured && guess.hour_bytes > GIB, "{guess:?}");
        // Two runs of ten minutes with 300 kB each, a day apart; the log's own records are stamped now.
        for run in 0..2_u64 {
            let start = ops::clock::wall_ns() + (1 + run * 86_400) * 1_000_000_000;
            let mut log = wal_format::LogWriter::open(
                &config.capture.wal_dir(model::VenueId::BinanceSpot),
                config.capture.log_options(),
            )
            .unwrap();
            for i in 0..=300_u64 {
                let (ts_recv_ns, payload) = (start + i * 2_000_000_000, [b'x'; 1_000]);
                let kind = wal_format::Kind::Data;
                log.append(&wal_format::Append { ts_recv_ns, conn: 1, kind, flags: 0, payload: &payload }).unwrap();
            }
            log.close().unwrap();
        }
        let room = LogRoom::of(&config).unwrap();
        assert!(room.measured && room.hour_bytes < 4 << 20, "{room:?}");
        config.capture.venues.get_mut(&model::VenueId::BinanceSpot).unwrap().rest_url = "http://127.0.0.1:1".into();
        config.capture.venues.get_mut(&model::VenueId::BinanceSpot).unwrap().ws_url = Some("ws://127.0.0.1:1".into());
        std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
        assert_eq!(LogRoom::of(&config).unwrap().hour_bytes, 0, "nobody knows what a simulator sends");
    }

    #[test]
    fn the_small_host_file_publishes_parts_that_its_disk_holds_by_estimate() {
        let config = Config::from_toml(include_str!("../../config/small-host.toml")).unwrap();
        let room = |minutes| LogRoom {
            hour_bytes: config.capture.venues.values().map(estimated).sum(),
            measured: false,
            segments_bytes: first_segments(&config) * (config.capture.wal.segment_mib << 20),
            part_minutes: minutes,
            shared: true,
            room_bytes: 20 * GIB,
        };
        assert!(room(60).short().is_some(), "{}", room(60).text());
        assert_eq!(room(config.lake.part_minutes).short(), None, "{}", room(config.lake.part_minutes).text());
    }
}
