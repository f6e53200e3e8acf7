//! The part of the Prometheus text that is not a plain counter: the log's writers, connections, streams.

use std::fmt::Write as _;

use wal_format::WriterStats;

use super::metrics::Metrics;
use ops::status::ConnState;

impl Metrics {
    /// What the writers of the logs count.
    pub(super) fn writers(&self, out: &mut String) {
        type Get = fn(&WriterStats) -> String;
        const fn ns(get: fn(&WriterStats) -> u64) -> fn(&WriterStats) -> u64 {
            get
        }
        let seconds = |n: u64| format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000);
        let plain: [(&str, &str, &str, Get); 12] = [
            ("records_total", "counter", "Records in the log, the log's own included.", |s| {
                s.records.get().to_string()
            }),
            ("written_bytes_total", "counter", "Bytes in the log, headers and padding included.", |s| {
                s.bytes.get().to_string()
            }),
            (
                "clamped_total",
                "counter",
                "Receive times raised to the one before; a rise means that the clock went back.",
                |s| s.clamped.get().to_string(),
            ),
            ("syncs_total", "counter", "Times the log was forced to disk.", |s| s.syncs.get().to_string()),
            ("sync_errors_total", "counter", "Times that failed. Must stay 0.", |s| s.sync_errors.get().to_string()),
            ("rolls_total", "counter", "Segments begun.", |s| s.rolls.get().to_string()),
            (
                "roll_stalls_total",
                "counter",
                "Appends that waited for a segment to be allocated; a rise means that the disk is too slow.",
                |s| s.roll_stalls.get().to_string(),
            ),
            ("out_of_space_total", "counter", "Appends refused because the disk was full. Must stay 0.", |s| {
                s.out_of_space.get().to_string()
            }),
            ("prepare_errors_total", "counter", "Segments that could not be allocated ahead of need.", |s| {
                s.prepare_errors.get().to_string()
            }),
            (
                "spilled_total",
                "counter",
                "Segments made in wal.spill_dirs; a rise means that the log's own disk is full or fails.",
                |s| s.spilled.get().to_string(),
            ),
            ("ready_segments", "gauge", "Segments allocated ahead of need.", |s| s.ready.get().to_string()),
            ("prefaulted_bytes_total", "counter", "Bytes made resident ahead of the log's end.", |s| {
                s.prefaulted_bytes.get().to_string()
            }),
        ];
        let writers: Vec<_> = self.venues().filter_map(|(id, v)| Some((id, v.writer_stats()?))).collect();
        // Writing to a String cannot fail.
        for (name, kind, help, get) in plain {
            let _ = writeln!(out, "# HELP tapedeck_log_{name} {help}\n# TYPE tapedeck_log_{name} {kind}");
            for (id, s) in &writers {
                let _ = writeln!(out, "tapedeck_log_{name}{{venue=\"{id}\"}} {}", get(s));
            }
        }
        for (name, kind, help, get) in [
            ("sync_seconds_total", "counter", "Time spent forcing the log to disk.", ns(|s| s.sync_total_ns.get())),
            ("sync_longest_seconds", "gauge", "The longest of them since the start.", ns(|s| s.sync_longest_ns.get())),
            (
                "append_longest_seconds",
                "gauge",
                "The longest append since the start.",
                ns(|s| s.stall_longest_ns.get()),
            ),
        ] {
            let _ = writeln!(out, "# HELP tapedeck_log_{name} {help}\n# TYPE tapedeck_log_{name} {kind}");
            for (id, s) in &writers {
                let _ = writeln!(out, "tapedeck_log_{name}{{venue=\"{id}\"}} {}", seconds(get(s)));
            }
        }
        let name = "tapedeck_log_stalls_total";
        let _ = writeln!(out, "# HELP {name} Appends that took longer than this.\n# TYPE {name} counter");
        for (id, s) in &writers {
            for (over, n) in [("0.001", &s.stalls_1ms), ("0.01", &s.stalls_10ms), ("0.1", &s.stalls_100ms)] {
                let _ = writeln!(out, "{name}{{venue=\"{id}\",over_seconds=\"{over}\"}} {}", n.get());
            }
        }
        let name = "tapedeck_log_append_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} Time of one append with its wait for the lock, of every sixteenth.\n# TYPE {name} histogram"
        );
        for (id, v) in self.venues() {
            v.appends.prometheus(out, name, &format!("venue=\"{id}\""));
        }
    }

    /// Connections by state, streams, and whether all is well.
    pub(super) fn flow(&self, out: &mut String) {
        let states = [
            (ConnState::Waiting, "waiting"),
            (ConnState::Connecting, "connecting"),
            (ConnState::Subscribing, "subscribing"),
            (ConnState::Live, "live"),
        ];
        let name = "tapedeck_collector_connections";
        let _ = writeln!(out, "# HELP {name} Connections by what they do.\n# TYPE {name} gauge");
        for (id, v) in self.venues() {
            for (state, word) in states {
                let _ = writeln!(out, "{name}{{venue=\"{id}\",state=\"{word}\"}} {}", v.connections_in(state));
            }
        }
        let flows: Vec<_> = self.flows();
        for (name, help, get) in [
            (
                "streams",
                "Streams subscribed, each once however many lines carry it.",
                (|f| f.streams) as fn(&super::status::Flow) -> usize,
            ),
            ("streams_silent", "Streams that owe frames and are silent for far longer than is usual for them.", |f| {
                f.silent.len()
            }),
        ] {
            let _ = writeln!(out, "# HELP tapedeck_collector_{name} {help}\n# TYPE tapedeck_collector_{name} gauge");
            for (id, f) in &flows {
                let _ = writeln!(out, "tapedeck_collector_{name}{{venue=\"{id}\"}} {}", get(f));
            }
        }
        let name = "tapedeck_collector_up";
        let _ = writeln!(out, "# HELP {name} 1 while this venue is recorded as it should be.\n# TYPE {name} gauge");
        let problems = self.problems();
        for (id, _) in self.venues() {
            let well = !problems.iter().any(|p| p.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with(": ")));
            let _ = writeln!(out, "{name}{{venue=\"{id}\"}} {}", u8::from(well));
        }
    }
}
