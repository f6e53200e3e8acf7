//! What a download did: counts that all workers share, the summary at its end, and the same for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use ops::exposition;
use serde::Serialize;

/// Counts while it runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Files that the archive lists and that are meant.
    pub listed: AtomicU64,
    /// Files that are here already.
    pub skipped: AtomicU64,
    /// Files on the dead-letter list that were not requested again.
    pub dead_before: AtomicU64,
    /// Files that the archive uploaded again.
    pub changed: AtomicU64,
    /// Files queued.
    pub queued: AtomicU64,
    /// Bytes of them, as listed.
    pub queued_bytes: AtomicU64,
    /// Files downloaded and proven.
    pub ok: AtomicU64,
    /// Bytes of them.
    pub ok_bytes: AtomicU64,
    /// Files that lay here whole and were only proven.
    pub proven: AtomicU64,
    /// Files put on the dead-letter list.
    pub failed: AtomicU64,
    /// Attempts that failed and were, or will be, tried again.
    pub retries: AtomicU64,
    /// Leases lost to other workers.
    pub lost: AtomicU64,
    /// Bytes received, those of failed attempts too.
    pub received_bytes: AtomicU64,
}

/// Counts at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// See [`Tally`]; so for all counts.
    pub listed: u64,
    /// See [`Tally`].
    pub skipped: u64,
    /// See [`Tally`].
    pub dead_before: u64,
    /// See [`Tally`].
    pub changed: u64,
    /// See [`Tally`].
    pub ok: u64,
    /// See [`Tally`].
    pub ok_bytes: u64,
    /// See [`Tally`].
    pub proven: u64,
    /// See [`Tally`].
    pub failed: u64,
    /// See [`Tally`].
    pub retries: u64,
    /// See [`Tally`].
    pub lost: u64,
    /// See [`Tally`].
    pub received_bytes: u64,
    /// Folders that could not be listed.
    pub unlisted: u64,
    /// Names of the archive that are not understood: what they are is not downloaded.
    pub unknown: u64,
    /// The first of them.
    pub unknown_keys: Vec<String>,
    /// How long it took.
    pub seconds: u64,
    /// True when it was stopped.
    pub stopped: bool,
}

impl Tally {
    /// Counts one more.
    pub(super) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            listed: get(&self.listed),
            skipped: get(&self.skipped),
            dead_before: get(&self.dead_before),
            changed: get(&self.changed),
            ok: get(&self.ok),
            ok_bytes: get(&self.ok_bytes),
            proven: get(&self.proven),
            failed: get(&self.failed),
            retries: get(&self.retries),
            lost: get(&self.lost),
            received_bytes: get(&self.received_bytes),
            ..Summary::default()
        }
    }
}

impl Summary {
    /// Prometheus text, for the text-file collector of the node exporter.
    pub fn prometheus(&self, now_s: u64) -> String {
        exposition::text(|out| {
            let files = [
                ("ok", self.ok),
                ("proven", self.proven),
                ("failed", self.failed),
                ("skipped", self.skipped),
                ("dead_before", self.dead_before),
            ];
            let files = files.map(|(result, n)| ([("result", result)], n));
            out.series("tapedeck_history_download_files", "Files of the last download run, by result.", files);
            for (name, help, n) in [
                ("bytes", "Bytes received by the last download run.", self.received_bytes),
                ("seconds", "Duration of the last download run.", self.seconds),
                ("retries", "Attempts of the last download run that failed and were tried again.", self.retries),
                ("unlisted_folders", "Folders that the last download run could not list.", self.unlisted),
                ("unknown_keys", "Names of the archive that the last download run did not understand.", self.unknown),
                ("finished_timestamp_seconds", "End of the last download run.", now_s),
            ] {
                out.one(format!("tapedeck_history_download_{name}"), help, n);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_given_to_prometheus_with_every_result() {
        let text = Summary { ok: 3, failed: 1, received_bytes: 9, ..Summary::default() }.prometheus(77);
        for line in [
            "tapedeck_history_download_files{result=\"ok\"} 3\n",
            "tapedeck_history_download_files{result=\"failed\"} 1\n",
            "tapedeck_history_download_bytes 9\n",
            "tapedeck_history_download_finished_timestamp_seconds 77\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
