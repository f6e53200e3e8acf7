//! Streams that are silent where they are subscribed, on venues that split their streams over several paths: a stream asked
//! for on the wrong path is acknowledged and stays silent, and which path is the right one has changed before.
//!
//! Such a stream is subscribed on the other path as well. The path that delivers first keeps it, and it is ended on the
//! other one; as long as neither does, both stay. Nothing is ended before something else delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::stream_table::StreamTable;

/// Connections (by their numbers) and silent streams of theirs, as sessions find them.
#[derive(Debug, Default)]
pub(super) struct Strays(Mutex<BTreeSet<(usize, String)>>);

impl Strays {
    /// `stream` of the planned connection `number` is silent.
    pub(super) fn found(&self, number: usize, stream: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((number, stream.to_owned()));
    }

    /// What was found since the last call.
    pub(super) fn take(&self) -> BTreeSet<(usize, String)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A planned connection and its number.
pub(super) type Numbered = (usize, Arc<StreamTable>);

/// A stream on two paths until one of them delivers.
pub(super) struct Trial {
    /// Where it was silent.
    pub(super) home: Numbered,
    /// Where it is tried.
    pub(super) away: Numbered,
    /// Since when, ns since epoch.
    pub(super) since_ns: u64,
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is served where it was.
    Stays,
    /// It is served on the other path.
    Moves,
    /// It is no longer wanted.
    Over,
}

impl Trial {
    /// `last_ns`: when a stream was last heard on the planned connection of a number.
    pub(super) fn verdict(&self, stream: &str, last_ns: impl Fn(usize, &str) -> u64) -> Option<Verdict> {
        let (home, away) = (&self.home, &self.away);
        if home.1.wants_of(stream).is_none() || away.1.wants_of(stream).is_none() {
            return Some(Verdict::Over);
        }
        if last_ns(home.0, stream) > self.since_ns {
            return Some(Verdict::Stays);
        }
        (last_ns(away.0, stream) > self.since_ns).then_some(Verdict::Moves)
    }
}

/// By stream.
pub(super) type Trials = BTreeMap<String, Trial>;

#[cfg(test)]
mod tests {
    use super::*;
    use model::Channel;
    use venue::{ConnectionPlan, Want};

    #[test]
    fn the_path_that_delivers_first_keeps_the_stream_and_until_then_both_do() {
        let stream_table = |path: &str| {
            let want = Want { symbol: "A".into(), channel: Channel::Trades };
            let plan = ConnectionPlan {
                path_and_query: path.into(),
                streams: vec!["a@trade".into()],
                wants: vec![vec![want]],
            };
            Arc::new(StreamTable::new(plan, 1))
        };
        let trial = Trial { home: (0, stream_table("/public")), away: (1, stream_table("/market")), since_ns: 100 };
        let heard = |home, away| move |number: usize, _: &str| if number == 0 { home } else { away };
        assert_eq!(trial.verdict("a@trade", heard(100, 0)), None);
        assert_eq!(trial.verdict("a@trade", heard(100, 101)), Some(Verdict::Moves));
        assert_eq!(trial.verdict("a@trade", heard(101, 0)), Some(Verdict::Stays));
        assert_eq!(trial.verdict("a@trade", heard(101, 101)), Some(Verdict::Stays), "where it is documented to be");
        trial.home.1.moved("a@trade");
        assert_eq!(trial.verdict("a@trade", heard(101, 0)), Some(Verdict::Over));
    }
}
