//! The file as a whole: defaults, problems, the commented tables; proxies in their own module.

#![allow(clippy::unwrap_used)]

mod network;

use std::collections::BTreeMap;

use super::*;
use model::{Channel, VenueId};
use venue::Limits;

/// The shipped file with its commented venue tables made real.
fn uncommented() -> Config {
    let text: String = DEFAULT_TOML
        .lines()
        .map(|l| l.strip_prefix("#: ").map_or_else(|| format!("{l}\n"), |rest| format!("{rest}\n")))
        .collect();
    Config::from_toml(&text).unwrap()
}

#[test]
fn a_configuration_file_that_is_a_fifo_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("tapedeck.toml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let problems = Config::load(Some(&fifo), []).unwrap_err().0;
    assert!(problems.iter().any(|p| p.what.contains("a FIFO")), "{problems:?}");
}

#[test]
fn the_shipped_file_is_valid_and_is_the_default() {
    let default = Config::load(None, []).unwrap();
    let again = Config::from_toml(DEFAULT_TOML).unwrap();
    let values = |c: &Config| c.effective.iter().map(|(k, v, _)| format!("{k} = {v}")).collect::<Vec<_>>();
    assert_eq!(values(&default), values(&again));
    assert_eq!(default.capture.wal.segment_mib, 128);
    assert_eq!(default.lake.row_group_rows, 131_072);
    assert_eq!(default.api.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn the_commented_venue_tables_of_the_shipped_file_are_valid_and_say_the_true_defaults() {
    let written = uncommented();
    assert!(written.capture.warnings().is_empty());
    assert!(VenueId::ALL.iter().all(|id| written.capture.venues.contains_key(id)), "every venue stands there");
    for (id, v) in &written.capture.venues {
        let known = venue::venue(*id);
        assert_eq!(v.limits, known.spec.limits, "{id}: a commented limit is not the default");
        // A table with nothing but what it must have gives the same in everything else.
        let bare = Config::from_toml(&format!(
            "[venues.{id}]\nsymbols = [\"X\"]\nchannels = [\"trades\"]\napi_key_env = \"K\"\n"
        ))
        .unwrap();
        let mut bare = bare.capture.venues[id].clone();
        bare.symbols.clone_from(&v.symbols);
        bare.channels.clone_from(&v.channels);
        bare.api_key_env.clone_from(&v.api_key_env);
        assert_eq!(format!("{v:?}"), format!("{bare:?}"), "{id}: a commented value is not the default");
    }
    let spot: Vec<&str> =
        written.effective.iter().filter_map(|(k, ..)| k.strip_prefix("venues.binance-spot.")).collect();
    let missing: Vec<_> = settings::keys_of::<capture::Table>().iter().filter(|k| !spot.contains(k)).collect();
    assert!(missing.is_empty(), "keys that the shipped file does not show: {missing:?}");
}

#[test]
fn the_channels_named_for_a_venue_in_the_shipped_file_are_all_it_has() {
    let mut venue = None;
    let mut named: BTreeMap<VenueId, Vec<Channel>> = BTreeMap::new();
    for line in DEFAULT_TOML.lines().take_while(|l| !l.contains("Default limits by venue")) {
        if let Some(id) = line.strip_prefix("#: [venues.") {
            venue = Some(id.trim_end_matches(']').parse::<VenueId>().unwrap());
        }
        let says =
            line.starts_with("#: channels") || line.starts_with("# Also: ") || line.starts_with("# binance-spot: ");
        if let Some(id) = venue.filter(|_| says) {
            let words = line.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            named.entry(id).or_default().extend(words.filter_map(|w| w.parse::<Channel>().ok()));
        }
    }
    for id in VenueId::ALL {
        let mut named = named.remove(id).unwrap();
        named.sort_unstable();
        named.dedup();
        let mut has = venue::venue(*id).spec.channels.to_vec();
        has.sort_unstable();
        assert_eq!(named, has, "{id}");
    }
}

#[test]
fn every_venue_stands_in_the_table_of_what_is_recorded() {
    let recorded = include_str!("../../../docs/record.md");
    for id in VenueId::ALL {
        assert!(recorded.lines().any(|l| l.starts_with(&format!("| `{id}`"))), "{id}");
    }
}

#[test]
fn the_table_of_default_limits_in_the_shipped_file_is_true() {
    let mut lines = DEFAULT_TOML.lines().skip_while(|l| !l.contains("Default limits by venue")).skip(1);
    let header: Vec<String> =
        lines.next().unwrap().trim_start_matches('#').split_whitespace().map(str::to_owned).collect();
    let mut rows = BTreeMap::new();
    for line in lines.take_while(|l| l.starts_with("#   ")) {
        let mut words = line.trim_start_matches('#').split_whitespace();
        let key = words.next().unwrap();
        rows.insert(key.to_owned(), words.map(|w| w.parse::<u64>().unwrap()).collect::<Vec<_>>());
    }
    for id in VenueId::ALL {
        let column = header
            .iter()
            .position(|h| h == id.as_str() || h.strip_suffix('*').is_some_and(|p| id.as_str().starts_with(p)))
            .unwrap();
        // Names every field, so that a new one cannot be forgotten here.
        let Limits {
            streams_per_connection,
            params_per_subscribe,
            subscribe_delay_ms,
            global_subscribe_delay_ms,
            connect_stagger_ms,
            connects_per_5_min,
            messages_per_s,
            lifetime_s,
            silence_timeout_s,
            stream_silence_s,
            rest_weight_per_window,
            rest_window_s,
            snapshot_levels,
        } = venue::venue(*id).spec.limits.clone();
        let truth = [
            ("streams_per_connection", streams_per_connection as u64),
            ("params_per_subscribe", params_per_subscribe as u64),
            ("subscribe_delay_ms", subscribe_delay_ms),
            ("global_subscribe_delay_ms", global_subscribe_delay_ms),
            ("connect_stagger_ms", connect_stagger_ms),
            ("connects_per_5_min", connects_per_5_min.into()),
            ("messages_per_s", messages_per_s.into()),
            ("lifetime_s", lifetime_s),
            ("silence_timeout_s", silence_timeout_s),
            ("stream_silence_s", stream_silence_s),
            ("rest_weight_per_window", rest_weight_per_window.into()),
            ("rest_window_s", rest_window_s),
            ("snapshot_levels", snapshot_levels.into()),
        ];
        assert_eq!(rows.len(), truth.len());
        for (key, value) in truth {
            assert_eq!(rows.get(key).and_then(|r| r.get(column)), Some(&value), "{id}: {key}");
        }
    }
}

#[test]
fn an_unknown_key_names_the_nearest_one_and_all_problems_come_at_once() {
    let err = Config::from_toml(
        "[wal]\nsegment_mb = 64\nsync = \"sometimes\"\n[venues.binance-usdn]\nsymbols = [\"*\"]\n[lake]\nzstd_level = 99\n",
    )
    .unwrap_err();
    let text = err.to_string();
    assert!(text.contains("segment_mb") && text.contains("segment_mib"), "{text}");
    assert!(text.contains("sync") && text.contains("interval"), "{text}");
    assert!(text.contains("binance-usdn") && text.contains("binance-usdm"), "{text}");
    assert!(text.contains("zstd_level") && text.contains("99"), "{text}");
    assert!(err.0.len() >= 4, "{text}");
}

#[test]
fn every_wrong_value_of_a_section_is_told_with_its_line_and_keeps_no_other_from_being_read() {
    let text = "[wal]\nsegment_mib = 0\nsync = 5\nready_segments = \"x\"\nspill_dirs = [\"/a\", 1, \"b\"]\n[venues.gate-spot]\nsymbols = 3\nlines = 7\nrepair = \"no\"\nchannel = []\nchannels = [\"trade\", \"depth\"]\n";
    let problems = Config::from_toml(text).unwrap_err().0;
    for (key, line, what, fix) in [
        ("wal.segment_mib", 2, "0 is out of range", "write a whole number from 1 to 1024"),
        ("wal.sync", 3, "5 is not text", "write it between double quotes"),
        ("wal.ready_segments", 4, "\"x\" is not a whole number", "write a whole number from 1 to 64"),
        ("wal.spill_dirs", 5, "1 in the list is not text", "write each entry between double quotes"),
        ("venues.gate-spot.symbols", 7, "3 is not a list", "write a list, for example [\"BTCUSDT\"]"),
        ("venues.gate-spot.lines", 8, "7 is out of range", "write a whole number from 1 to 2"),
        ("venues.gate-spot.repair", 9, "\"no\" is neither true nor false", "write true or false"),
        ("venues.gate-spot.channel", 10, "unknown key", "did you mean \"channels\"?"),
        ("venues.gate-spot.channels", 11, "unknown channel \"trade\"", "did you mean \"trades\"?"),
    ] {
        let problem = problems.iter().find(|p| p.key == key && p.what.starts_with(what));
        let problem = problem.unwrap_or_else(|| panic!("{key}: {problems:?}"));
        assert_eq!(
            (problem.origin.as_str(), problem.fix.as_str()),
            (format!("<text>, line {line}").as_str(), fix),
            "{key}"
        );
    }
}

#[test]
fn an_environment_variable_overrides_the_file_and_is_named_when_it_is_wrong() {
    let env = |v: &str| vec![("TAPEDECK__WAL__SEGMENT_MIB".to_owned(), v.to_owned())];
    assert_eq!(Config::load(None, env("64")).unwrap().capture.wal.segment_mib, 64);
    let text = Config::load(None, env("lots")).unwrap_err().to_string();
    assert!(text.contains("TAPEDECK__WAL__SEGMENT_MIB"), "{text}");
    let text = Config::load(None, vec![("TAPEDECK__WAL__SEGMENTMIB".into(), "1".into())]).unwrap_err().to_string();
    assert!(text.contains("segment_mib"), "{text}");
}

#[test]
fn a_row_group_size_that_cannot_fit_the_memory_limit_is_refused_with_one_that_does() {
    let text = Config::from_toml(
        "[memory]\nlimit_mib = 256\n[lake]\nrow_group_rows = 4000000\n[venues.binance-spot]\nsymbols=[\"*\"]\nchannels=[\"trades\"]\n",
    )
    .unwrap_err()
    .to_string();
    assert!(text.contains("row_group_rows") && text.contains("MiB"), "{text}");
}

#[test]
fn what_this_version_cannot_do_is_refused_instead_of_ignored() {
    for (toml, word) in [
        ("[wal]\narchive = \"lz4\"\n", "wal.archive"),
        ("[lake]\nformat = \"avro\"\n", "lake.format"),
        ("[lake]\ndir = \"gs://b/p\"\n", "lake.dir"),
        ("[venues.binance-spot]\nsymbols=[\"*\"]\nchannels=[\"trades\"]\nlines=3\n", "lines"),
    ] {
        let text = Config::from_toml(toml).unwrap_err().to_string();
        assert!(text.contains(word), "{toml}: {text}");
    }
}

#[test]
fn a_time_of_the_day_is_read_as_seconds_and_anything_else_is_refused() {
    let with = |at: &str| {
        Config::from_toml(&format!(
            "[venues.binance-spot]\nsymbols=[\"*\"]\nchannels=[\"trades\"]\nlines=2\nrotate_at={at}\n"
        ))
    };
    let c = with("\"04:30\"").unwrap();
    let v = &c.capture.venues[&VenueId::BinanceSpot];
    assert_eq!((v.rotate_at_s, v.lines), (Some(4 * 3600 + 30 * 60), 2));
    assert_eq!(with("\"\"").unwrap().capture.venues[&VenueId::BinanceSpot].rotate_at_s, None);
    for wrong in ["\"24:00\"", "\"4h\"", "\"04:60\"", "430"] {
        let text = with(wrong).unwrap_err().to_string();
        assert!(text.contains("rotate_at") && text.contains("04:30"), "{wrong}: {text}");
    }
}

#[test]
fn a_segment_waits_for_the_object_store_where_logs_are_shipped_and_for_it_alone_where_nobody_else_reads_them() {
    const SPOT: &str = "[venues.binance-spot]\nsymbols = [\"X\"]\nchannels = [\"trades\"]\n";
    let readers =
        |text: &str| Config::from_toml(&format!("{text}\n{SPOT}")).unwrap().capture.readers(VenueId::BinanceSpot);
    assert_eq!(readers(""), ["lake", "klines"]);
    assert_eq!(readers("[ship]\ndir = \"/else/where\""), ["lake", "klines", "ship"]);
    assert_eq!(readers("[ship]\ndir = \"/else/where\"\nonly = true"), ["ship"]);
    let problems = Config::from_toml(&format!("[ship]\nonly = true\n{SPOT}")).unwrap_err().0;
    assert!(problems.iter().any(|p| p.key == "ship.only"), "{problems:?}");
}

#[test]
fn a_log_that_comes_in_chunks_is_enough_for_a_compactor_and_no_candles_are_made_of_it() {
    let cfg = Config::from_toml("[source.gate-spot]\ndir = \"/else/where\"\n").unwrap();
    assert_eq!(cfg.capture.sources[&VenueId::GateSpot], "/else/where");
    assert!(cfg.capture.venues.contains_key(&VenueId::GateSpot) && cfg.capture.candles.is_empty());
    let problems = Config::from_toml("[source.gate-spot]\nplace = \"x\"\n[source.gate]\ndir = \"x\"\n").unwrap_err().0;
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["source.gate", "source.gate-spot.place", "source.gate-spot.dir"], "{problems:?}");
}
