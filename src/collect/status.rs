//! What the collector says about itself: every connection, every stream with its age, and why one does not flow.
//!
//! Computed on request. `tapedeck status` prints it, `/v1/status` serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use tokio::time::Instant;

use super::metrics::{Connection, Metrics, Place, RequestCounts, VenueMetrics};
use super::watchdog::StreamStat;
use model::VenueId;
use ops::clock;
use ops::health::Reason;
use ops::status::ConnState;
pub use ops::status::{ConnStatus, Status, StreamStatus, VenueStatus};

impl Metrics {
    /// Everything now.
    pub fn status(&self) -> Status {
        let (now_ns, now) = (clock::receive_ns(), Instant::now());
        let venues = self.venues().map(|(id, v)| v.status(id, now_ns, now)).collect();
        Status { venues, memory: Some(self.pressure().report()), conditions: self.conditions().list() }
    }

    /// One sentence per reason why something does not flow; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut all = self.conditions().problems();
        all.extend(self.pressure().problems());
        all.extend(self.health().map(|h| h.problems()).unwrap_or_default());
        for (id, flow) in self.flows() {
            all.extend(flow.problems().into_iter().map(|what| format!("{id}: {what}")));
        }
        for venue in self.status().venues {
            all.extend(venue.failed.map(|why| format!("{}: {why}", venue.venue)));
            all.extend(venue.no_listing.map(|why| format!("{}: no listing of symbols: {why}", venue.venue)));
            for c in venue.connections {
                let (slot, line) = (c.slot, c.line);
                all.extend(c.why.map(|why| format!("{}: connection {slot}.{line}: {why}", venue.venue)));
            }
        }
        all
    }
}

/// The streams of one venue, each once however many lines carry it.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// All.
    pub(super) streams: usize,
    /// Those that are overdue on every live line that carries them, with how long they have been silent, ns.
    pub(super) silent: Vec<(String, u64)>,
    /// Those that are overdue on one line and flow on another, with how long they have been silent there, ns.
    pub(super) one_line: Vec<(String, u64)>,
    /// Those that the venue refuses on every line, with its words.
    pub(super) refused: Vec<(String, String)>,
}

impl Flow {
    /// Streams named in the sentence; the others are counted.
    const NAMED: usize = 5;

    fn problems(&self) -> Vec<String> {
        let silence = |(name, ns): &(String, u64)| format!("{name} for {} s", ns / 1_000_000_000);
        let refused = self.refused.iter().map(|(name, why)| format!("{name} ({why})"));
        let all = [
            self.sentence("owe frames and are silent", self.silent.iter().map(silence)),
            self.sentence("flow on one line and are silent on the other", self.one_line.iter().map(silence)),
            self.sentence("are refused by the venue and requested again", refused),
        ];
        all.into_iter().flatten().collect()
    }

    fn sentence(&self, what: &str, of: impl ExactSizeIterator<Item = String>) -> Option<String> {
        let count = of.len();
        let named = of.take(Self::NAMED).collect::<Vec<_>>().join(", ");
        let more = match count.saturating_sub(Self::NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        (count > 0).then(|| format!("{count} of {} streams {what}: {named}{more}", self.streams))
    }
}

impl Metrics {
    /// By venue.
    pub(super) fn flows(&self) -> Vec<(VenueId, Flow)> {
        let now_ns = clock::receive_ns();
        self.venues().map(|(id, v)| (id, v.flow(now_ns))).collect()
    }
}

impl VenueMetrics {
    /// The streams at `wall_ns`. Those of connections that are not live are that connection's problem.
    fn flow(&self, wall_ns: u64) -> Flow {
        let silence_ns = self.expected.lock().unwrap_or_else(PoisonError::into_inner).stream_silence_ns;
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        /// One stream over all connections that carry it.
        #[derive(Default)]
        struct All<'a> {
            flows: bool,
            overdue_ns: Option<u64>,
            refused: Option<&'a String>,
            accepted: bool,
        }
        let mut streams: BTreeMap<&str, All<'_>> = BTreeMap::new();
        for c in connections.values() {
            let leaving = c.stream_table.leaving();
            for s in c.wanted().filter(|s| !leaving.contains(&s.name)) {
                let overdue = s.overdue_ns(wall_ns, silence_ns).filter(|_| c.state == ConnState::Live);
                let all = streams.entry(&s.name).or_default();
                // One that delivers is enough for the stream to flow; one that never did says nothing about the others.
                all.flows |= overdue.is_none() && s.last_ns() > 0;
                all.overdue_ns = all.overdue_ns.into_iter().chain(overdue).min();
                let refused = c.refused_streams.get(&s.name);
                all.accepted |= refused.is_none();
                all.refused = all.refused.or(refused);
            }
        }
        let overdue = streams.iter().filter_map(|(name, all)| Some((all.flows, ((*name).to_owned(), all.overdue_ns?))));
        let (one_line, silent): (Vec<_>, Vec<_>) = overdue.partition(|(flows, _)| *flows);
        let named = |of: Vec<(bool, (String, u64))>| of.into_iter().map(|(_, silence)| silence).collect();
        let refused = streams.iter().filter(|(_, all)| !all.accepted);
        let refused = refused.filter_map(|(name, all)| Some(((*name).to_owned(), all.refused?.clone()))).collect();
        Flow { streams: streams.len(), silent: named(silent), one_line: named(one_line), refused }
    }

    fn status(&self, venue: VenueId, wall_ns: u64, now: Instant) -> VenueStatus {
        let expected = *self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = self.failed();
        VenueStatus {
            venue: venue.as_str().to_owned(),
            counts: self.counts(),
            connections: connections
                .iter()
                .map(|(place, c)| {
                    let why = failed.clone().map_or_else(|| c.why_not(now), |why| Some(format!("the log: {why}")));
                    c.status(*place, why, wall_ns, expected.stream_silence_ns)
                })
                .collect(),
            banned: self.supervisor().conditions().text(Reason::Banned, venue.as_str()),
            no_listing: self.no_listing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            failed,
        }
    }
}

impl Connection {
    /// Why the connection as a whole does not deliver.
    fn why_not(&self, now: Instant) -> Option<String> {
        let because = || self.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        match self.state {
            // New streams of a connection that delivers, most often.
            ConnState::Live if self.request_counts.asked_again == 0 => None,
            ConnState::Live | ConnState::Subscribing => Some(match self.request_counts {
                RequestCounts { waiting: 0, unanswered: 0, .. } => "is open; nothing is requested yet".to_owned(),
                RequestCounts { waiting, unanswered, asked_again } => {
                    let again = match asked_again {
                        0 => String::new(),
                        n => format!("; the venue did not answer {n} of them, they are asked again"),
                    };
                    format!(
                        "is open; {waiting} requests wait for their pace, {unanswered} for the venue's answer{again}"
                    )
                }
            }),
            ConnState::Connecting => Some(format!("is being opened{}", because())),
            ConnState::Waiting => Some(match self.until.map(|at| at.saturating_duration_since(now).as_secs()) {
                Some(s) => format!("waits {s} s before it connects{}", because()),
                None => format!("waits for its turn to connect{}", because()),
            }),
            ConnState::Stopped => Some(format!("stopped{}", because())),
        }
    }

    fn status(&self, place: Place, why: Option<String>, wall_ns: u64, silence_ns: u64) -> ConnStatus {
        let leaving = self.stream_table.leaving();
        let streams = self.wanted().map(|s| self.stream(s, why.as_deref(), &leaving, wall_ns, silence_ns));
        ConnStatus {
            slot: place.number,
            line: place.line,
            conn: self.conn,
            state: self.state,
            streams: streams.collect(),
            why,
        }
    }

    fn stream(
        &self,
        s: &StreamStat,
        conn_why: Option<&str>,
        leaving: &BTreeSet<String>,
        wall_ns: u64,
        silence_ns: u64,
    ) -> StreamStatus {
        let age_ns = (s.last_ns() > 0).then(|| wall_ns.saturating_sub(s.last_ns()));
        let old = age_ns.is_none_or(|age| age >= silence_ns);
        let is_open = matches!(self.state, ConnState::Live | ConnState::Subscribing);
        let why = if is_open && s.frames() > 0 && !old {
            None
        } else if let Some(refused) = self.refused_streams.get(&s.name) {
            Some(format!("the venue refuses it: {refused}"))
        } else if let Some(why) = conn_why {
            Some(why.to_owned())
        } else if !old {
            None
        } else if leaving.contains(&s.name) {
            Some("the symbol does not trade any more".to_owned())
        } else if s.quiet {
            Some("nothing happened; this channel is quiet by nature".to_owned())
        } else if s.frames() > 0 {
            Some(format!("silent for {} s", age_ns.unwrap_or_default() / 1_000_000_000))
        } else if let Some(refused) = &self.refused {
            Some(format!("nothing was ever delivered; the venue refused a request of this connection: {refused}"))
        } else {
            Some("acknowledged, but nothing was ever delivered on this connection".to_owned())
        };
        StreamStatus {
            stream: s.name.clone(),
            frames: s.frames(),
            last_ns: s.last_ns(),
            age_ms: age_ns.map(|ns| ns / 1_000_000),
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::stream_table::StreamTable;
    use super::super::watchdog::Streams;
    use super::*;
    use model::Channel;
    use venue::{ConnectionPlan, StreamKey, Want};

    const S: u64 = 1_000_000_000;
    const PLACE: Place = Place { number: 0, line: 0 };

    fn world() -> (Metrics, Arc<Streams>, Arc<StreamTable>) {
        let names = ["a@trade", "b@trade", "c@forceOrder", "gone@trade"];
        let want = |n: &&str| Want { symbol: n.split('@').next().unwrap().into(), channel: Channel::Trades };
        let plan = ConnectionPlan {
            path_and_query: String::new(),
            streams: names.map(String::from).to_vec(),
            wants: names.iter().map(|n| vec![want(n)]).collect(),
        };
        let stream_table = Arc::new(StreamTable::new(plan, 1));
        let streams = Streams::new(names.map(|n| (n, n.contains("force"))), |s| (s.into(), Vec::new()));
        let m = Metrics::new([VenueId::BinanceSpot]);
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        v.expects(60);
        let streams = Arc::new(streams);
        v.slot(PLACE, &streams, &stream_table);
        (m, streams, stream_table)
    }

    fn whys(m: &Metrics, wall_ns: u64) -> Vec<(Option<u64>, Option<String>)> {
        let v = m.venue(VenueId::BinanceSpot).unwrap().status(VenueId::BinanceSpot, wall_ns, Instant::now());
        v.connections[0].streams.iter().map(|s| (s.age_ms, s.why.clone())).collect()
    }

    #[test]
    fn every_stream_has_its_age_and_whoever_does_not_flow_a_reason_of_its_own() {
        let (m, streams, stream_table) = world();
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        v.connection(PLACE, 4, &streams, &stream_table);
        v.state(PLACE, ConnState::Live);
        let gone = Want { symbol: "gone".into(), channel: Channel::Trades };
        stream_table.leave(&BTreeSet::from([gone]), &BTreeSet::new());
        streams.hit(StreamKey::name(b"a@trade"), 1_000 * S);
        let got = whys(&m, 1_002 * S);
        assert_eq!(got[0], (Some(2_000), None));
        assert!(got[1].1.as_ref().unwrap().contains("acknowledged"), "{got:?}");
        assert!(got[2].1.as_ref().unwrap().contains("quiet by nature"), "{got:?}");
        assert!(got[3].1.as_ref().unwrap().contains("does not trade"), "{got:?}");
        assert_eq!(whys(&m, 1_090 * S)[0].1.as_deref(), Some("silent for 90 s"));
        v.refused_streams(PLACE, BTreeMap::from([("b@trade".to_owned(), "2 unknown contract b".to_owned())]));
        assert!(whys(&m, 1_002 * S)[1].1.as_ref().unwrap().contains("refuses it: 2 unknown contract b"));
        let problems = m.problems();
        assert!(
            problems.iter().any(|p| p.contains("1 of 3 streams are refused") && p.contains("b@trade")),
            "{problems:?}"
        );
        v.refused_streams(PLACE, BTreeMap::new());
        v.refusal(PLACE, "2 Invalid request".into());
        assert!(whys(&m, 1_002 * S)[1].1.as_ref().unwrap().contains("2 Invalid request"));
    }

    #[test]
    fn a_stream_that_flows_on_one_line_and_is_silent_on_the_other_is_red() {
        let (m, streams, stream_table) = world();
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        let second = Arc::new(Streams::new([("a@trade", false)], |s| (s.into(), Vec::new())));
        let lines = [(PLACE, &streams), (PLACE.other(), &second)];
        for (place, streams) in lines {
            v.connection(place, 4, streams, &stream_table);
            v.state(place, ConnState::Live);
        }
        let t = second.all().next().unwrap().since_ns() + S;
        for i in 0..200 {
            streams.hit(StreamKey::name(b"a@trade"), t + i * S);
            second.hit(StreamKey::name(b"a@trade"), t + i * S / 10);
        }
        let flow = v.flow(t + 200 * S);
        assert!(flow.silent.is_empty());
        assert_eq!(flow.one_line, [("a@trade".to_owned(), 180 * S + S / 10)]);
        assert!(flow.problems()[0].contains("silent on the other: a@trade for 180 s"), "{:?}", flow.problems());
    }

    #[test]
    fn a_connection_that_is_not_open_gives_its_reason_to_all_its_streams() {
        let (m, streams, stream_table) = world();
        let v = m.venue(VenueId::BinanceSpot).unwrap();
        let until = Instant::now() + Duration::from_secs(100);
        v.waits(PLACE, Some(until), Some("upgrade: HTTP status 429".into()));
        let got = whys(&m, 1_000 * S);
        assert!(got.iter().all(|(_, why)| why.as_ref().unwrap().contains("status 429")), "{got:?}");
        assert!(
            got[0].1.as_ref().unwrap().contains("waits 99 s") || got[0].1.as_ref().unwrap().contains("waits 100 s")
        );
        assert_eq!(m.problems().len(), 1);
        v.connection(PLACE, 5, &streams, &stream_table);
        v.state(PLACE, ConnState::Live);
        assert!(m.problems().is_empty());
        v.fail("disk full");
        v.fail("a later reason");
        assert!(whys(&m, 1_000 * S)[0].1.as_ref().unwrap().contains("disk full"));
        assert_eq!(m.status().venues[0].failed.as_deref(), Some("disk full"));
    }
}
