//! What is done about streams that are overdue by their own pace on a connection that is up: pings and acknowledgements
//! prove nothing, and a gateway that forgot a subscription says so nowhere.
//!
//! ```text
//!  overdue --ask for it once more--> still silent --replace the connection, make before break--> silent: a pause, doubled
//!     \--most are: no single one is requested, the connection is replaced sooner--/
//! ```
//! A market that is really halted costs one request and replacements with growing pauses; a stream that delivers again
//! starts again, but replacements because of few streams become rare even so. Where no ids show what is missing, the
//! silence is recorded as an interruption of the stream as well: a market that was quiet for so much longer than usual
//! cannot be distinguished from a gap. Pure: every method gets the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A connection most of whose streams are overdue is replaced when what makes them so has passed this often.
const MOST_TIMES: u64 = 2;
/// So is one with few of them, which were requested again meanwhile.
const FEW_TIMES: u64 = 4;
/// The pause after a replacement, of the connection and of each stream that was silent; that of a stream is doubled
/// with each replacement which did not help.
const PAUSE_FIRST: Duration = Duration::from_secs(300);
/// Upper bound of it.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Replacements because of few streams that are no further apart than this, or than the pause between them, have growing
/// pauses whatever was silent: streams that come and go in bursts gain nothing by them.
const FEW_APART: Duration = Duration::from_secs(3_600);
/// A silence that goes on is written down again when it is half as long again, and this often at least, ns.
const WRITTEN_EVERY_NS: u64 = 600_000_000_000;

/// A stream that is overdue by its own pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overdue<'a> {
    pub(super) name: &'a str,
    /// How often what makes it overdue has passed.
    pub(super) times: u64,
    /// Receive time of its last frame, Unix ns.
    pub(super) last_ns: u64,
}

/// What was done about a stream since its last frame.
#[derive(Clone, Debug)]
struct Tried {
    last_ns: u64,
    asked: bool,
    /// It is no reason for a replacement before that.
    not_before: Instant,
    pause: Duration,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remedy {
    /// To be requested again.
    pub(super) ask: Vec<String>,
    /// The connection is to be replaced.
    pub(super) replace: bool,
}

/// What was done about the silent streams of one line, over its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence {
    tried: BTreeMap<String, Tried>,
    /// The connection is not replaced before that.
    not_before: Option<Instant>,
    /// Nor because of few streams before that, with the pause that made it.
    few: Option<(Instant, Duration)>,
    /// Silences that are written down and go on.
    written: BTreeMap<String, Written>,
}

/// A silence since the frame of `last_ns` that is written down up to `to_ns`, Unix ns.
#[derive(Clone, Copy, Debug)]
struct Written {
    last_ns: u64,
    to_ns: u64,
}

/// Begin and end of an interruption, Unix ns, with its streams.
pub(super) type Silences = BTreeMap<(u64, u64), Vec<String>>;

impl Silence {
    /// What is to be written down at `now_ns` of the silence of the `overdue` streams, and of those that were before: up
    /// to the next frame, or, as long as there is none, every now and then. `ends`: the connection does.
    pub(super) fn write(
        &mut self,
        now_ns: u64,
        overdue: &[Overdue<'_>],
        ends: bool,
        last_ns: impl Fn(&str) -> Option<u64>,
    ) -> Silences {
        let mut silences = Silences::new();
        let mut record = |name: &str, from_ns: u64, to_ns: u64| {
            if from_ns < to_ns {
                silences.entry((from_ns, to_ns)).or_default().push(name.to_owned());
            }
        };
        self.written.retain(|name, written| {
            let Some(heard_ns) = last_ns(name) else { return false };
            if heard_ns != written.last_ns {
                record(name, written.to_ns, heard_ns);
                return false;
            }
            let recorded_ns = written.to_ns.saturating_sub(written.last_ns);
            if ends || now_ns.saturating_sub(written.to_ns) >= (recorded_ns / 2).min(WRITTEN_EVERY_NS) {
                record(name, written.to_ns, now_ns);
                written.to_ns = now_ns;
            }
            true
        });
        for stream in overdue.iter().filter(|stream| stream.last_ns > 0) {
            if !self.written.contains_key(stream.name) {
                record(stream.name, stream.last_ns, now_ns);
                self.written.insert(stream.name.to_owned(), Written { last_ns: stream.last_ns, to_ns: now_ns });
            }
        }
        silences
    }

    /// `overdue`: of `busy` streams whose pace is known. `last_ns`: of any stream, `None` = it is none any more.
    pub(super) fn look(
        &mut self,
        now: Instant,
        overdue: &[Overdue<'_>],
        busy: usize,
        last_ns: impl Fn(&str) -> Option<u64>,
    ) -> Remedy {
        self.tried.retain(|name, tried| last_ns(name) == Some(tried.last_ns));
        let most = overdue.len().saturating_mul(2) > busy;
        let mut remedy = Remedy::default();
        for stream in overdue {
            let new = || Tried { last_ns: stream.last_ns, asked: false, not_before: now, pause: PAUSE_FIRST };
            let tried = self.tried.entry(stream.name.to_owned()).or_insert_with(new);
            if !most && !tried.asked {
                tried.asked = true;
                remedy.ask.push(stream.name.to_owned());
            }
            let times = if most { MOST_TIMES } else { FEW_TIMES };
            remedy.replace |= stream.times >= times && tried.not_before <= now;
        }
        remedy.replace &= self.not_before.is_none_or(|at| at <= now);
        remedy.replace &= most || self.few.is_none_or(|(at, _)| at <= now);
        if remedy.replace {
            self.not_before = Some(now + PAUSE_FIRST);
            if !most {
                let last = self.few.filter(|(at, pause)| now < *at + FEW_APART.max(*pause));
                let pause = last.map_or(PAUSE_FIRST, |(_, pause)| pause.saturating_mul(2).min(PAUSE_MAX));
                self.few = Some((now + pause, pause));
            }
            // Whatever is there is silent.
            for tried in self.tried.values_mut() {
                tried.not_before = now + tried.pause;
                tried.pause = tried.pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
        remedy
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("s{n}@trade")).collect()
    }

    /// The first `count` of `names` have been silent for `times`, and nothing came of any.
    fn look(silence: &mut Silence, now: Instant, names: &[String], count: usize, times: u64) -> (usize, bool) {
        let overdue: Vec<Overdue<'_>> =
            names.iter().take(count).map(|name| Overdue { name, times, last_ns: 7 }).collect();
        let remedy = silence.look(now, &overdue, names.len(), |_| Some(7));
        (remedy.ask.len(), remedy.replace)
    }

    #[test]
    fn a_stream_that_falls_silent_is_asked_for_once_more_and_then_its_connection_is_replaced() {
        let (names, t, mut silence) = (names(10), Instant::now(), Silence::default());
        assert_eq!(look(&mut silence, t, &names, 2, 1), (2, false));
        assert_eq!(look(&mut silence, t + S(60), &names, 2, 3), (0, false), "requested once");
        assert_eq!(look(&mut silence, t + S(120), &names, 2, 4), (0, true));
    }

    #[test]
    fn a_connection_most_of_whose_streams_fell_silent_is_replaced_without_asking_for_each() {
        let (names, t, mut silence) = (names(10), Instant::now(), Silence::default());
        assert_eq!(look(&mut silence, t, &names, 6, 1), (0, false));
        assert_eq!(look(&mut silence, t + S(60), &names, 6, 2), (0, true));
    }

    #[test]
    fn a_halted_market_costs_replacements_with_growing_pauses_and_no_more_requests() {
        let (names, t, mut silence) = (names(1), Instant::now(), Silence::default());
        let replaced: Vec<u64> =
            (0..24 * 60).filter(|m| look(&mut silence, t + S(m * 60), &names, 1, 1_000) == (0, true)).collect();
        assert_eq!(replaced, [0, 5, 15, 35, 75, 155, 315, 635, 995, 1_355], "minutes of a day");
    }

    #[test]
    fn one_halted_stream_does_not_put_off_the_replacement_when_the_others_fall_silent_too() {
        let (names, t, mut silence) = (names(10), Instant::now(), Silence::default());
        for minute in 0..600 {
            look(&mut silence, t + S(minute * 60), &names, 1, 1_000);
        }
        let later = t + S(700 * 60);
        assert_eq!(look(&mut silence, later, &names, 10, 2), (0, true));
        assert!(!look(&mut silence, later + S(299), &names, 10, 2).1, "and not again at once");
    }

    #[test]
    fn a_silence_is_recorded_from_the_last_frame_to_the_next_one_without_a_gap_and_seldom() {
        const NS: u64 = 1_000_000_000;
        let mut silence = Silence::default();
        let mut recorded: Vec<(u64, u64)> = Vec::new();
        let mut second = |s: u64, last: u64, ends: bool| {
            let overdue = [Overdue { name: "a", times: 1, last_ns: last * NS }];
            let overdue = if s.saturating_sub(last) > 60 { &overdue[..] } else { &[] };
            let silences = silence.write(s * NS, overdue, ends, |_| Some(last * NS));
            recorded.extend(silences.into_keys().map(|(from, to)| (from / NS, to / NS)));
        };
        (1_000..8_000).for_each(|s| second(s, 1_000, false));
        second(8_000, 1_000, true);
        (8_001..8_100).for_each(|s| second(s, 8_050.min(s), false));
        assert_eq!((recorded[0], recorded[1]), ((1_000, 1_061), (1_061, 1_092)));
        assert!(recorded.windows(2).all(|two| two[0].1 == two[1].0), "{recorded:?}");
        assert_eq!(recorded.last(), Some(&(8_000, 8_001)));
        assert!(recorded.len() < 25, "{recorded:?}");
    }

    #[test]
    fn what_delivered_again_begins_anew() {
        let (t, mut silence) = (Instant::now(), Silence::default());
        let mut look = |now, last_ns, times| {
            let overdue = [Overdue { name: "a", times, last_ns }];
            silence.look(now, &overdue, 9, |name| (name == "a").then_some(last_ns))
        };
        assert_eq!(look(t, 7, 1), Remedy { ask: vec!["a".to_owned()], replace: false });
        assert!(look(t, 7, 4).replace && !look(t + S(299), 7, 8).replace && look(t + S(300), 7, 8).replace);
        assert_eq!(
            look(t + S(600), 8, 4),
            Remedy { ask: vec!["a".to_owned()], replace: false },
            "few are, twice already"
        );
        assert!(look(t + S(900), 8, 8).replace);
    }

    #[test]
    fn a_stream_that_comes_and_goes_in_bursts_costs_few_replacements() {
        let (t, mut silence) = (Instant::now(), Silence::default());
        let replaced = (0..24 * 60_u64).filter(|minute| {
            let last_ns = minute / 10;
            let overdue = [Overdue { name: "a", times: 4, last_ns }];
            let overdue = if minute % 10 >= 4 { &overdue[..] } else { &[] };
            silence.look(t + S(minute * 60), overdue, 9, |_| Some(last_ns)).replace
        });
        assert_eq!(replaced.count(), 10);
    }
}
