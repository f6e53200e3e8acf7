//! What Prometheus gets beside the plain counters: the log's writers, connections, streams.

use wal_format::WriterStats;

use super::metrics::Metrics;
use super::status::Flow;
use ops::exposition::{Exposition, Value};
use ops::status::ConnState;
use ops::values;

fn seconds(ns: u64) -> Value {
    Value::Measure(ns as f64 / 1e9)
}

impl Metrics {
    /// What the writers of the logs count.
    pub(super) fn writers(&self, out: &mut Exposition) {
        type Get = fn(&WriterStats) -> Value;
        let writers: Vec<_> = self.venues().filter_map(|(id, v)| Some((id, v.writer_stats()?))).collect();
        let mut one = |name: &str, help, get: Get| {
            out.series(format!("tapedeck_log_{name}"), help, writers.iter().map(|(id, s)| ([("venue", id)], get(s))));
        };
        values!(one, s:
            "records_total", "Records in the log, the log's own included." => s.records.get();
            "written_bytes_total", "Bytes in the log, headers and padding included." => s.bytes.get();
            "clamped_total", "Receive times raised to the one before; a rise means that the clock went back." => s.clamped.get();
            "syncs_total", "Times the log was forced to disk." => s.syncs.get();
            "sync_errors_total", "Times that failed. Must stay 0." => s.sync_errors.get();
            "rolls_total", "Segments begun." => s.rolls.get();
            "roll_stalls_total", "Appends that waited for a segment to be allocated; a rise means that the disk is too slow." => s.roll_stalls.get();
            "out_of_space_total", "Appends refused because the disk was full. Must stay 0." => s.out_of_space.get();
            "prepare_errors_total", "Segments that could not be allocated ahead of need." => s.prepare_errors.get();
            "spilled_total", "Segments made in wal.spill_dirs; a rise means that the log's own disk is full or fails." => s.spilled.get();
            "ready_segments", "Segments allocated ahead of need." => s.ready.get();
            "prefaulted_bytes_total", "Bytes made resident ahead of the log's end." => s.prefaulted_bytes.get();
            "sync_seconds_total", "Time spent forcing the log to disk." => seconds(s.sync_total_ns.get());
            "sync_longest_seconds", "The longest of them since the start." => seconds(s.sync_longest_ns.get());
            "append_longest_seconds", "The longest append since the start." => seconds(s.stall_longest_ns.get());
        );
        let stalls = writers.iter().flat_map(|(id, s)| {
            [("0.001", &s.stalls_1ms), ("0.01", &s.stalls_10ms), ("0.1", &s.stalls_100ms)]
                .map(|(over, n)| ([("venue", id.as_str()), ("over_seconds", over)], n.get()))
        });
        out.series("tapedeck_log_stalls_total", "Appends that took longer than this.", stalls);
        out.histogram(
            "tapedeck_log_append_seconds",
            "Time of one append with its wait for the lock, of every sixteenth.",
            self.venues().map(|(id, v)| ([("venue", id)], v.appends.counted())),
        );
    }

    /// Connections by state, streams, and whether all is well.
    pub(super) fn flow(&self, out: &mut Exposition) {
        let states = [
            (ConnState::Waiting, "waiting"),
            (ConnState::Connecting, "connecting"),
            (ConnState::Subscribing, "subscribing"),
            (ConnState::Live, "live"),
        ];
        let connections = self.venues().flat_map(|(id, v)| {
            states.map(|(state, word)| ([("venue", id.as_str()), ("state", word)], v.connections_in(state)))
        });
        out.series("tapedeck_collector_connections", "Connections by what they do.", connections);
        let flows: Vec<_> = self.flows();
        let mut one = |name: &str, help, get: fn(&Flow) -> usize| {
            let all = flows.iter().map(|(id, f)| ([("venue", id)], get(f)));
            out.series(format!("tapedeck_collector_{name}"), help, all);
        };
        one("streams", "Streams subscribed, each once however many lines carry it.", |f| f.streams);
        one("streams_silent", "Streams that owe frames and are silent for far longer than is usual for them.", |f| {
            f.silent.len()
        });
        let problems = self.problems();
        let up = self.venues().map(|(id, _)| {
            let ill = problems.iter().any(|p| p.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with(": ")));
            ([("venue", id)], usize::from(!ill))
        });
        out.series("tapedeck_collector_up", "1 while this venue is recorded as it should be.", up);
    }
}
