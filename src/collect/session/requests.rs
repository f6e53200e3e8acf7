//! What is still to be asked of the venue on one connection: in order, by id, again when it was too early.
//!
//! Sends nothing and waits for nothing. A request that waited long is written anew, because some venues check
//! the time that stands in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::venue::{Limits, Venue};

/// A text older than this is written anew before it is sent, s: Gate refuses what is a minute off.
const FRESH_S: i64 = 20;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Subscribe,
    Unsubscribe,
}

impl Verb {
    fn texts(self, venue: &dyn Venue, streams: &[String], limits: &Limits, first_id: u64, now_s: i64) -> Vec<String> {
        match self {
            Verb::Subscribe => venue.subscribe_messages(streams, limits, first_id, now_s),
            Verb::Unsubscribe => venue.unsubscribe_messages(streams, limits, first_id, now_s),
        }
    }
}

/// Streams that were asked for together, kept so that their requests can be written anew.
#[derive(Debug)]
struct Batch {
    verb: Verb,
    streams: Vec<String>,
    first_id: u64,
}

/// One message to the venue.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) text: String,
    written_s: i64,
    batch: Arc<Batch>,
    index: usize,
    /// Not to be sent a second time: what it says does not hold any more.
    overtaken: bool,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    queue: VecDeque<Request>,
    /// Sent and not answered, by id.
    open: BTreeMap<u64, Request>,
    next_id: u64,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), open: BTreeMap::new(), next_id: 1 }
    }

    /// Asks for `streams` behind everything else.
    pub(super) fn ask(&mut self, venue: &dyn Venue, streams: Vec<String>, limits: &Limits, now_s: i64) {
        self.push(Verb::Subscribe, venue, streams, limits, now_s);
    }

    /// Asks for the end of `streams` behind everything else.
    pub(super) fn end(&mut self, venue: &dyn Venue, streams: Vec<String>, limits: &Limits, now_s: i64) {
        self.push(Verb::Unsubscribe, venue, streams, limits, now_s);
    }

    fn push(&mut self, verb: Verb, venue: &dyn Venue, streams: Vec<String>, limits: &Limits, now_s: i64) {
        if streams.is_empty() {
            return;
        }
        // The last word counts: a request of the other kind that is on its way must not be sent again behind it.
        for open in self.open.values_mut().filter(|open| open.batch.verb != verb) {
            open.overtaken |= open.batch.streams.iter().any(|s| streams.contains(s));
        }
        let batch = Arc::new(Batch { verb, streams, first_id: self.next_id });
        let texts = verb.texts(venue, &batch.streams, limits, batch.first_id, now_s);
        for (index, text) in texts.into_iter().enumerate() {
            self.queue.push_back(Request {
                id: self.next_id,
                text,
                written_s: now_s,
                batch: Arc::clone(&batch),
                index,
                overtaken: false,
            });
            self.next_id += 1;
        }
    }

    /// An id for something that is no subscription.
    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Requests that were not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Requests that were sent and not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.open.len()
    }

    /// True when everything was sent and answered.
    pub(super) fn done(&self) -> bool {
        self.queue.is_empty() && self.open.is_empty()
    }

    /// The next text to send now; it counts as sent.
    pub(super) fn send(&mut self, venue: &dyn Venue, limits: &Limits, now_s: i64) -> Option<String> {
        let mut request = self.queue.pop_front()?;
        if now_s.saturating_sub(request.written_s) > FRESH_S {
            let Batch { verb, streams, first_id } = &*request.batch;
            let mut texts = verb.texts(venue, streams, limits, *first_id, now_s);
            if request.index < texts.len() {
                request.text = texts.swap_remove(request.index);
                request.written_s = now_s;
            }
        }
        let text = request.text.clone();
        self.open.insert(request.id, request);
        Some(text)
    }

    /// The venue answered `id`; without an id it is taken to be the oldest one open.
    pub(super) fn answered(&mut self, id: Option<u64>) {
        match id {
            Some(id) => {
                self.open.remove(&id);
            }
            None => {
                self.open.pop_first();
            }
        }
    }

    /// The venue wants to be asked `id` again later; without an id it is taken to be the oldest one open.
    pub(super) fn again(&mut self, id: Option<u64>) {
        let request = match id {
            Some(id) => self.open.remove(&id),
            None => self.open.pop_first().map(|(_, request)| request),
        };
        if let Some(request) = request.filter(|request| !request.overtaken) {
            self.queue.push_front(request);
        }
    }

    /// The venue refused `id`. One bad symbol may spoil a message of many (Gate futures), so the streams of the
    /// message are asked for one by one, behind everything else; returns how many. What is refused alone is given
    /// up, and so is a message whose streams cannot be told.
    pub(super) fn refused(&mut self, id: u64, venue: &dyn Venue, limits: &Limits, now_s: i64) -> usize {
        let Some(request) = self.open.remove(&id).filter(|request| !request.overtaken) else { return 0 };
        let verb = request.batch.verb;
        let alone = Limits { params_per_subscribe: 1, ..limits.clone() };
        let Ok(whole) = serde_json::from_str::<Value>(&request.text) else { return 0 };
        let in_message = |stream: &&String| {
            let one = verb.texts(venue, std::slice::from_ref(*stream), &alone, id, request.written_s);
            matches!(&one[..], [text] if serde_json::from_str(text).is_ok_and(|part| holds(&whole, &part)))
        };
        let streams: Vec<String> = request.batch.streams.iter().filter(in_message).cloned().collect();
        if streams.len() < 2 {
            return 0;
        }
        let again = streams.len();
        for stream in streams {
            self.push(verb, venue, vec![stream], &alone, now_s);
        }
        again
    }

    /// Waits for no answer any longer.
    pub(super) fn give_up(&mut self) {
        self.open.clear();
    }
}

/// True when a request asks for everything that `part` asks for; when and under what id does not matter.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, part)| {
            matches!(key.as_str(), "id" | "time") || whole.get(key).is_some_and(|whole| holds(whole, part))
        }),
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|p| whole.contains(p)),
        _ => whole == part,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::venue::{VenueId, venue};

    fn asked(streams: usize) -> (Requests, &'static dyn Venue, Limits) {
        let venue = venue(VenueId::BinanceSpot);
        let limits = Limits { params_per_subscribe: 2, ..venue.default_limits() };
        let mut r = Requests::new();
        r.ask(venue, (0..streams).map(|n| format!("s{n}@trade")).collect(), &limits, 1_000);
        (r, venue, limits)
    }

    #[test]
    fn a_refused_request_is_sent_again_before_the_others_and_an_answered_one_is_not() {
        let (mut r, v, l) = asked(5);
        assert_eq!(r.waiting(), 3);
        let first = r.send(v, &l, 1_000).unwrap();
        let second = r.send(v, &l, 1_000).unwrap();
        r.answered(Some(1));
        r.again(Some(2));
        assert_eq!((r.waiting(), r.unanswered()), (2, 0));
        assert_eq!(r.send(v, &l, 1_000).unwrap(), second);
        assert_ne!(first, second);
        r.send(v, &l, 1_000).unwrap();
        assert!(!r.done());
        r.answered(None);
        r.answered(Some(3));
        assert!(r.done());
        r.again(Some(3));
        assert!(r.done(), "what was answered is not asked again");
    }

    #[test]
    fn streams_that_come_later_get_ids_of_their_own_behind_pings() {
        let (mut r, v, l) = asked(2);
        assert_eq!(r.take_id(), 2);
        r.ask(v, vec!["late@trade".into()], &l, 1_001);
        r.ask(v, vec![], &l, 1_001);
        r.send(v, &l, 1_001).unwrap();
        let late = r.send(v, &l, 1_001).unwrap();
        assert!(late.contains("late@trade") && late.contains("\"id\":3"), "{late}");
        assert_eq!(r.send(v, &l, 1_001), None);
    }

    #[test]
    fn the_last_word_about_a_stream_holds_even_when_an_earlier_one_comes_back_as_too_early() {
        let (mut r, v, l) = asked(1);
        r.send(v, &l, 1_000).unwrap();
        r.answered(Some(1));
        r.end(v, vec!["s0@trade".into()], &l, 1_000);
        assert!(r.send(v, &l, 1_000).unwrap().contains(r#"{"method":"UNSUBSCRIBE","params":["s0@trade"],"id":2}"#));
        r.again(Some(2));
        assert!(r.send(v, &l, 1_000).unwrap().contains("UNSUBSCRIBE"), "nothing overtook it");
        r.ask(v, vec!["s0@trade".into()], &l, 1_000);
        assert!(r.send(v, &l, 1_000).unwrap().contains(r#"{"method":"SUBSCRIBE","params":["s0@trade"],"id":3}"#));
        r.again(Some(2));
        assert_eq!(r.waiting(), 0, "it would end what is wanted again");
        r.answered(Some(3));
        assert!(r.done());
    }

    #[test]
    fn one_bad_symbol_does_not_take_the_others_of_its_message_along() {
        let venue = venue(VenueId::GateFutures);
        let limits = venue.default_limits();
        let mut r = Requests::new();
        let streams = ["trades A_B", "trades BAD_B", "order_book_update A_B", "tickers A_B", "trades C_B"];
        r.ask(venue, streams.map(|s| format!("futures.{s}")).to_vec(), &limits, 1_000);
        assert_eq!(r.waiting(), 3);
        while r.send(venue, &limits, 1_000).is_some() {}
        r.answered(Some(2));
        r.answered(Some(3));
        assert_eq!(r.refused(1, venue, &limits, 1_030), 3);
        let mut asked = Vec::new();
        while let Some(text) = r.send(venue, &limits, 1_030) {
            asked.push(text);
        }
        assert_eq!(asked.len(), 3);
        for (text, symbol) in asked.iter().zip(["A_B", "BAD_B", "C_B"]) {
            assert!(text.contains(&format!(r#""payload":["{symbol}"]"#)) && text.contains("futures.trades"), "{text}");
        }
        r.answered(Some(4));
        assert_eq!(r.refused(5, venue, &limits, 1_031), 0, "refused alone, so it is the bad one");
        assert!(!r.done());
        r.answered(Some(6));
        assert!(r.done());
        assert_eq!(r.refused(99, venue, &limits, 1_031), 0);
    }
}
