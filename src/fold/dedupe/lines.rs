//! Which connections are open, on which line, and what time it is in the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// After a connection opened, its streams are expected to come over it and over another one, for this long; ns.
pub(crate) const OPENING_NS: u64 = 120_000_000_000;

/// The open connections of one run of the collector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// Connection number -> line.
    open: BTreeMap<u32, u8>,
    /// Latest receive time so far: never goes back.
    now_ns: u64,
    opening_until_ns: u64,
    /// Connections that subscribed a while ago, and when last; ns.
    subscribed: BTreeMap<u32, u64>,
    both: bool,
    /// The connection of the record before: it is known to be in `open`.
    last: Option<u32>,
}

/// Saved [`Lines`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedLines {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    open: BTreeMap<u32, u8>,
    #[serde(default)]
    now_ns: u64,
    #[serde(default)]
    opening_until_ns: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    subscribed: BTreeMap<u32, u64>,
}

impl Lines {
    pub(super) fn load(saved: &SavedLines) -> Self {
        let mut lines = Self {
            open: saved.open.clone(),
            now_ns: saved.now_ns,
            opening_until_ns: saved.opening_until_ns,
            subscribed: saved.subscribed.clone(),
            ..Self::default()
        };
        lines.changed();
        lines
    }

    pub(super) fn save(&self) -> SavedLines {
        let lasting = self.subscribed.keys().filter_map(|conn| Some((*conn, self.subscribed_ns(*conn)?)));
        SavedLines {
            open: self.open.clone(),
            now_ns: self.now_ns,
            opening_until_ns: self.opening_until_ns,
            subscribed: lasting.collect(),
        }
    }

    /// A record received at `ts_recv_ns`.
    #[inline]
    pub fn record(&mut self, ts_recv_ns: u64) {
        self.now_ns = self.now_ns.max(ts_recv_ns);
    }

    /// Time of the log: the latest receive time so far, ns.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// True when `conn` is the connection of the record before, or open at least.
    #[inline]
    pub(super) fn knows(&mut self, conn: u32) -> bool {
        if self.last == Some(conn) {
            return true;
        }
        let known = self.open.contains_key(&conn);
        if known {
            self.last = Some(conn);
        }
        known
    }

    /// `conn` is open although nothing said so: the beginning of the log is lost.
    pub(super) fn met(&mut self, conn: u32, line: u8) {
        self.open.insert(conn, line);
        self.changed();
    }

    /// `conn` opened.
    pub(super) fn opened(&mut self, conn: u32, payload: &[u8]) {
        #[derive(Deserialize)]
        struct Open {
            #[serde(default)]
            line: u32,
        }
        let line = serde_json::from_slice::<Open>(payload).map_or(0, |o| o.line);
        self.open.insert(conn, u8::from(line > 0));
        self.opening_until_ns = self.now_ns.saturating_add(OPENING_NS);
        self.changed();
    }

    /// `conn` subscribed: what it brought before may come again.
    pub(super) fn subscribed(&mut self, conn: u32) {
        self.subscribed.insert(conn, self.now_ns);
    }

    /// When `conn` subscribed last, if that was at most [`OPENING_NS`] ago; ns.
    pub(super) fn subscribed_ns(&self, conn: u32) -> Option<u64> {
        let at_ns = *self.subscribed.get(&conn)?;
        (self.now_ns < at_ns.saturating_add(OPENING_NS)).then_some(at_ns)
    }

    /// `conn` closed.
    pub(super) fn closed(&mut self, conn: u32) {
        self.open.remove(&conn);
        self.subscribed.remove(&conn);
        self.changed();
    }

    pub(super) fn restart(&mut self) {
        self.open.clear();
        self.subscribed.clear();
        self.opening_until_ns = 0;
        self.changed();
    }

    fn changed(&mut self) {
        self.both = self.open.values().any(|l| *l == 0) && self.open.values().any(|l| *l != 0);
        self.last = None;
    }

    /// True while two connections may carry the same stream.
    #[inline]
    pub(crate) fn may_overlap(&self) -> bool {
        self.both || (self.now_ns < self.opening_until_ns && self.open.len() > 1)
    }

    /// True when no connection is so young that it may not have delivered yet.
    #[inline]
    pub(super) fn settled(&self) -> bool {
        self.now_ns >= self.opening_until_ns
    }
}
