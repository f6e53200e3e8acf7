//! What is still to be asked of the venue on one connection: in order, by id, again when it was too early, when no
//! answer came, or when it was refused a while ago.
//!
//! Sends nothing and waits for nothing: every method gets the time. Only an answer makes a request answered, or data
//! of all its streams: giving up on an answer would call subscribed what is not. A request that waited long is written
//! again, because some venues check the time in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use venue::{Limits, SubscribeMessage, Venue, Verb};

/// A text older than this is written again before it is sent, s: Gate refuses what is a minute off.
const FRESH_S: i64 = 20;
/// An answer takes less than this; what has none by then is requested again, and then after twice the time, and so on.
pub(super) const ANSWER_WITHIN: Duration =
    if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(10) };
/// Asked so often without an answer (for 150 s in all), the connection is not worth more questions.
const ASKED_MAX: u32 = 4;
/// What the venue refused alone is requested again after this, and then after twice the time, and so on: a listing may
/// be ahead of the sockets.
const REFUSED_FIRST: Duration = Duration::from_secs(60);
/// Upper bound of it.
const REFUSED_MAX: Duration = Duration::from_secs(3_600);

/// What requests are written with, and when.
#[derive(Clone, Copy)]
pub(super) struct RequestContext<'a> {
    pub(super) venue: &'a Venue,
    pub(super) limits: &'a Limits,
    pub(super) now: Instant,
    pub(super) now_ns: u64,
}

impl RequestContext<'_> {
    fn now_s(&self) -> i64 {
        i64::try_from(self.now_ns / 1_000_000_000).unwrap_or(i64::MAX)
    }
}

/// One message to the venue.
#[derive(Clone, Debug)]
struct Request {
    verb: Verb,
    id: u64,
    text: String,
    streams: Vec<String>,
    written_s: i64,
    /// Not to be sent a second time: what it says does not hold any more.
    overtaken: bool,
    /// How often it was sent without an answer.
    asked: u32,
    sent_ns: u64,
    /// Without an answer by then it is asked again.
    due: Option<Instant>,
}

/// A stream that the venue refused when it was requested alone.
#[derive(Debug)]
struct Refused {
    why: String,
    /// When it was refused last, ns since epoch.
    at_ns: u64,
    times: u32,
    /// When it is requested again; `None` = it is being requested.
    again: Option<Instant>,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    queue: VecDeque<Request>,
    /// Sent and not answered, in the order of sending.
    open: Vec<Request>,
    refused: BTreeMap<String, Refused>,
    next_id: u64,
}

/// An answer as far as it says what it is about.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) id: Option<u64>,
    /// The whole frame.
    pub(super) payload: &'a [u8],
    /// The venue's words, where it refused something.
    pub(super) msg: &'a str,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), open: Vec::new(), refused: BTreeMap::new(), next_id: 1 }
    }

    /// Requests `streams` after everything else.
    pub(super) fn ask(&mut self, context: RequestContext<'_>, streams: &[String]) {
        self.push(Verb::Subscribe, context, streams);
    }

    /// Requests the end of `streams` after everything else.
    pub(super) fn end(&mut self, context: RequestContext<'_>, streams: &[String]) {
        self.refused.retain(|stream, _| !streams.contains(stream));
        self.push(Verb::Unsubscribe, context, streams);
    }

    fn push(&mut self, verb: Verb, context: RequestContext<'_>, streams: &[String]) {
        if streams.is_empty() {
            return;
        }
        // The last word counts: a request of the other kind that is on its way must not be sent again after it.
        for open in self.open.iter_mut().filter(|open| open.verb != verb) {
            open.overtaken |= open.streams.iter().any(|s| streams.contains(s));
        }
        for SubscribeMessage { text, streams } in
            context.venue.streams.messages(verb, streams, context.limits, self.next_id, context.now_s())
        {
            self.queue.push_back(Request {
                verb,
                id: self.next_id,
                text,
                streams,
                written_s: context.now_s(),
                overtaken: false,
                asked: 0,
                sent_ns: 0,
                due: None,
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

    /// Requests that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Requests that were sent and not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.open.len()
    }

    /// Streams that are requested and not answered. Those that the venue refused and that are requested once more are
    /// none of them.
    pub(super) fn pending(&self) -> BTreeSet<String> {
        let asked = self.queue.iter().chain(&self.open).filter(|r| r.verb == Verb::Subscribe && !r.overtaken);
        asked.flat_map(|r| &r.streams).filter(|stream| !self.refused.contains_key(*stream)).cloned().collect()
    }

    /// Requests that were asked before, without an answer.
    pub(super) fn asked_again(&self) -> usize {
        self.open.iter().filter(|r| r.asked > 1).count() + self.queue.iter().filter(|r| r.asked > 0).count()
    }

    /// True when everything was sent and answered.
    pub(super) fn done(&self) -> bool {
        self.queue.is_empty() && self.open.is_empty()
    }

    /// Streams that the venue refuses, with its words.
    pub(super) fn refused_streams(&self) -> BTreeMap<String, String> {
        self.refused.iter().map(|(stream, refused)| (stream.clone(), refused.why.clone())).collect()
    }

    /// The next text to send now; it counts as sent.
    pub(super) fn send(&mut self, context: RequestContext<'_>) -> Option<String> {
        let mut request = self.queue.pop_front()?;
        if context.now_s().saturating_sub(request.written_s) > FRESH_S {
            let fresh = context.venue.streams.messages(
                request.verb,
                &request.streams,
                context.limits,
                request.id,
                context.now_s(),
            );
            if let [message] = &fresh[..] {
                request.text.clone_from(&message.text);
                request.written_s = context.now_s();
            }
        }
        let text = request.text.clone();
        request.due = Some(context.now + ANSWER_WITHIN.saturating_mul(1 << request.asked.min(16)));
        request.sent_ns = context.now_ns;
        request.asked += 1;
        self.open.push(request);
        Some(text)
    }

    /// Takes the request that `answer` is about from those without one. Where it says no id of ours, it is the oldest
    /// one that it can be about; one whose streams its words name comes first.
    fn take(&mut self, venue: &Venue, answer: Answer<'_>) -> Option<Request> {
        let at = match answer.id.filter(|id| (1..self.next_id).contains(id)) {
            Some(id) => self.open.iter().position(|r| r.id == id)?,
            None => {
                let fits = |r: &&Request| venue.streams.may_answer(answer.payload, &r.text);
                let named = |r: &&Request| r.streams.iter().any(|s| names(venue, answer.msg, s));
                let best = self.open.iter().filter(fits).find(named).or_else(|| self.open.iter().find(fits))?.id;
                self.open.iter().position(|r| r.id == best)?
            }
        };
        Some(self.open.remove(at))
    }

    /// The venue did what it was asked.
    pub(super) fn answered(&mut self, venue: &Venue, answer: Answer<'_>) {
        if let Some(request) = self.take(venue, answer) {
            self.refused.retain(|stream, _| !request.streams.contains(stream));
        }
    }

    /// The venue wants to be asked again later.
    pub(super) fn again(&mut self, venue: &Venue, answer: Answer<'_>) {
        if let Some(mut request) = self.take(venue, answer).filter(|request| !request.overtaken) {
            // That was an answer.
            request.asked = 0;
            self.queue.push_front(request);
        }
    }

    /// The venue refused something. One bad symbol may spoil a message of many (Gate futures), so the streams of the
    /// message are requested one by one, after everything else; returns how many. What is refused alone is requested
    /// again after a while.
    pub(super) fn refused(&mut self, context: RequestContext<'_>, answer: Answer<'_>, why: &str) -> usize {
        let Some(request) = self.take(context.venue, answer).filter(|request| !request.overtaken) else { return 0 };
        match &request.streams[..] {
            [] => 0,
            [alone] => {
                // Where an end is refused there is nothing to be ended.
                if request.verb == Verb::Subscribe {
                    let refused = self.refused.entry(alone.clone()).or_insert(Refused {
                        why: String::new(),
                        at_ns: 0,
                        times: 0,
                        again: None,
                    });
                    let wait = REFUSED_FIRST.saturating_mul(1 << refused.times.min(16)).min(REFUSED_MAX);
                    refused.times = refused.times.saturating_add(1);
                    (refused.why, refused.again) = (why.to_owned(), Some(context.now + wait));
                    refused.at_ns = context.now_ns;
                }
                0
            }
            many => {
                for stream in many {
                    self.push(request.verb, context, std::slice::from_ref(stream));
                }
                many.len()
            }
        }
    }

    /// Asks again for what was not answered in time, and for what was refused a while ago. What `delivered` since it was
    /// requested needs no answer, and is refused no more. True = the venue had its chances on this connection.
    pub(super) fn ask_again(&mut self, context: RequestContext<'_>, delivered: impl Fn(&str, u64) -> bool) -> bool {
        // A venue may refuse what is subscribed already.
        self.refused.retain(|stream, refused| !delivered(stream, refused.at_ns));
        let mut hopeless = false;
        let (late, open) =
            std::mem::take(&mut self.open).into_iter().partition(|r| r.due.is_some_and(|d| d <= context.now));
        self.open = open;
        for request in late {
            let is_proven = request.verb == Verb::Subscribe
                && request.streams.iter().all(|stream| delivered(stream, request.sent_ns));
            if !is_proven && !request.overtaken {
                hopeless |= request.asked >= ASKED_MAX;
                self.queue.push_back(request);
            }
        }
        let due = |r: &Refused| r.again.is_some_and(|at| at <= context.now);
        let again: Vec<String> =
            self.refused.iter().filter(|(_, r)| due(r)).map(|(stream, _)| stream.clone()).collect();
        for stream in again {
            if let Some(refused) = self.refused.get_mut(&stream) {
                refused.again = None;
            }
            self.push(Verb::Subscribe, context, &[stream]);
        }
        hopeless
    }
}

/// True when `text` names the stream, or the symbol in it.
fn names(venue: &Venue, text: &str, stream: &str) -> bool {
    let (channel, symbol) = venue.streams.stream_key(stream);
    let name = if symbol.is_empty() { channel } else { symbol };
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    std::str::from_utf8(&name).ok().filter(|name| !name.is_empty()).is_some_and(|name| {
        text.match_indices(name).any(|(at, _)| {
            let before = text.get(..at).and_then(|t| t.chars().next_back());
            let after = text.get(at + name.len()..).and_then(|t| t.chars().next());
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::VenueId;
    use venue::venue;

    /// Requests of one connection, and a clock that the test moves.
    struct World {
        r: Requests,
        venue: &'static Venue,
        limits: Limits,
        start: Instant,
        ms: u64,
    }

    impl World {
        fn new(id: VenueId, params: usize) -> World {
            let venue = venue(id);
            let limits = Limits { params_per_subscribe: params, ..venue.spec.limits.clone() };
            World { r: Requests::new(), venue, limits, start: Instant::now(), ms: 0 }
        }

        fn binance(streams: usize) -> World {
            let mut w = World::new(VenueId::BinanceSpot, 2);
            let streams: Vec<String> = (0..streams).map(|n| format!("s{n}@trade")).collect();
            w.ask(&streams.iter().map(String::as_str).collect::<Vec<_>>());
            w
        }

        fn context(&self) -> (Instant, u64) {
            (self.start + Duration::from_millis(self.ms), (1_000_000 + self.ms) * 1_000_000)
        }

        fn with<T>(&mut self, act: impl FnOnce(&mut Requests, RequestContext<'_>) -> T) -> T {
            let (now, now_ns) = self.context();
            act(&mut self.r, RequestContext { venue: self.venue, limits: &self.limits, now, now_ns })
        }

        fn ask(&mut self, streams: &[&str]) {
            let streams: Vec<String> = streams.iter().map(|s| (*s).to_owned()).collect();
            self.with(|r, context| r.ask(context, &streams));
        }

        fn end(&mut self, stream: &str) {
            self.with(|r, context| r.end(context, &[stream.to_owned()]));
        }

        fn send(&mut self) -> Option<String> {
            self.with(Requests::send)
        }

        fn send_all(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.send()).collect()
        }

        fn answered(&mut self, id: Option<u64>) {
            let venue = self.venue;
            self.with(|r, _| r.answered(venue, Answer { id, payload: b"{}", msg: "" }));
        }

        fn again(&mut self, id: u64) {
            let venue = self.venue;
            self.with(|r, _| r.again(venue, Answer { id: Some(id), payload: b"{}", msg: "" }));
        }

        fn refused(&mut self, id: Option<u64>, payload: &str, msg: &str) -> usize {
            let answer = Answer { id, payload: payload.as_bytes(), msg };
            self.with(|r, context| r.refused(context, answer, msg))
        }

        fn ask_again(&mut self, delivered: &[&str]) -> bool {
            self.with(|r, context| r.ask_again(context, |stream, _| delivered.contains(&stream)))
        }
    }

    #[test]
    fn a_refused_request_is_sent_again_before_the_others_and_an_answered_one_is_not() {
        let mut w = World::binance(5);
        assert_eq!(w.r.waiting(), 3);
        let first = w.send().unwrap();
        let second = w.send().unwrap();
        w.answered(Some(1));
        w.again(2);
        assert_eq!((w.r.waiting(), w.r.unanswered()), (2, 0));
        assert_eq!(w.send().unwrap(), second);
        assert_ne!(first, second);
        w.send().unwrap();
        assert!(!w.r.done());
        w.answered(None);
        w.answered(Some(3));
        assert!(w.r.done());
        w.again(3);
        assert!(w.r.done(), "what was answered is not asked again");
    }

    #[test]
    fn what_is_not_answered_is_asked_again_with_growing_pauses_and_is_never_done() {
        let mut w = World::binance(3);
        let all = w.send_all();
        w.answered(Some(2));
        let mut asked_at = Vec::new();
        for ms in 1..10_000 {
            w.ms = ms;
            if w.ask_again(&[]) {
                break;
            }
            for text in w.send_all() {
                assert_eq!(text, all[0], "what was answered is not asked again");
                asked_at.push(ms);
            }
            assert!(!w.r.done());
        }
        assert_eq!((asked_at, w.ms), (vec![200, 600, 1_400], 3_000), "then the connection is given up");
        assert!(!w.r.done() && w.r.asked_again() == 1);
    }

    #[test]
    fn a_late_answer_counts_and_data_of_all_its_streams_is_one() {
        let mut w = World::binance(2);
        w.send().unwrap();
        w.ms += 200;
        w.ask_again(&["s0@trade"]);
        assert_eq!(w.r.waiting(), 1, "one of its streams is missing");
        w.send().unwrap();
        w.answered(Some(1));
        assert!(w.r.done());

        let mut w = World::binance(2);
        w.send().unwrap();
        w.ms += 200;
        w.ask_again(&["s0@trade", "s1@trade"]);
        assert!(w.r.done());
        w.end("s0@trade");
        w.send().unwrap();
        w.ms += 200;
        w.ask_again(&["s0@trade"]);
        assert!(w.send().unwrap().contains("UNSUBSCRIBE"), "frames do not prove an end");
    }

    #[test]
    fn streams_that_come_later_get_ids_of_their_own_behind_pings() {
        let mut w = World::binance(2);
        assert_eq!(w.r.take_id(), 2);
        w.ask(&["late@trade"]);
        w.ask(&[]);
        w.send().unwrap();
        let late = w.send().unwrap();
        assert!(late.contains("late@trade") && late.contains("\"id\":3"), "{late}");
        assert_eq!(w.send(), None);
    }

    #[test]
    fn the_last_word_about_a_stream_holds_even_when_an_earlier_one_comes_back_as_too_early_or_stays_unanswered() {
        let mut w = World::binance(1);
        w.send().unwrap();
        w.answered(Some(1));
        w.end("s0@trade");
        assert!(w.send().unwrap().contains(r#"{"method":"UNSUBSCRIBE","params":["s0@trade"],"id":2}"#));
        w.again(2);
        assert!(w.send().unwrap().contains("UNSUBSCRIBE"), "nothing overtook it");
        w.ask(&["s0@trade"]);
        assert!(w.send().unwrap().contains(r#"{"method":"SUBSCRIBE","params":["s0@trade"],"id":3}"#));
        w.again(2);
        assert_eq!(w.r.waiting(), 0, "it would end what is wanted again");
        w.answered(Some(3));
        assert!(w.r.done());

        w.end("s0@trade");
        w.send().unwrap();
        w.ask(&["s0@trade"]);
        w.send().unwrap();
        w.answered(Some(5));
        w.ms += 200;
        w.ask_again(&[]);
        assert!(w.r.done(), "the end that was never answered is not requested again");
    }

    #[test]
    fn one_bad_symbol_does_not_take_the_others_of_its_message_along() {
        let mut w = World::new(VenueId::GateFutures, 100);
        let streams = ["trades A_B", "trades BAD_B", "order_book_update A_B", "tickers A_B", "trades C_B"];
        let streams = streams.map(|s| format!("futures.{s}"));
        w.ask(&streams.each_ref().map(String::as_str));
        assert_eq!(w.send_all().len(), 3);
        w.answered(Some(2));
        w.answered(Some(3));
        w.ms += 30_000;
        assert_eq!(w.refused(Some(1), "{}", "no"), 3);
        let asked = w.send_all();
        assert_eq!(asked.len(), 3);
        for (text, symbol) in asked.iter().zip(["A_B", "BAD_B", "C_B"]) {
            assert!(text.contains(&format!(r#""payload":["{symbol}"]"#)) && text.contains("futures.trades"), "{text}");
        }
        w.answered(Some(4));
        assert_eq!(w.refused(Some(5), "{}", "unknown"), 0, "refused alone, so it is the bad one");
        assert!(!w.r.done());
        w.answered(Some(6));
        assert!(w.r.done());
        assert_eq!(w.refused(Some(99), "{}", "no"), 0);
        assert_eq!(w.r.refused_streams(), BTreeMap::from([("futures.trades BAD_B".into(), "unknown".into())]));
    }

    #[test]
    fn an_error_without_an_id_is_matched_to_its_request_by_what_it_is_about() {
        let mut w = World::new(VenueId::GateFutures, 100);
        w.ask(&["futures.tickers A_B", "futures.tickers C_B", "futures.trades A_B", "futures.trades BAD_B"]);
        w.send_all();
        let error = r#"{"time":1,"channel":"futures.trades","event":"subscribe","error":{"code":2,"message":"unknown contract BAD_B"},"result":null}"#;
        // The id of nobody is no id.
        assert_eq!(w.refused(Some(0), error, "unknown contract BAD_B"), 2);
        let asked = w.send_all();
        assert!(asked.len() == 2 && asked.iter().all(|text| text.contains("futures.trades")), "{asked:?}");
        assert_eq!(w.refused(None, error, "unknown contract BAD_B"), 0);
        let refused: Vec<String> = w.r.refused_streams().into_keys().collect();
        assert_eq!(refused, ["futures.trades BAD_B"], "the one that its words name, not the oldest one");
        w.answered(Some(3));
        let ack = r#"{"time":1,"channel":"futures.tickers","event":"subscribe","payload":["A_B","C_B"],"error":null}"#;
        let venue = w.venue;
        w.with(|r, _| r.answered(venue, Answer { id: None, payload: ack.as_bytes(), msg: "" }));
        assert!(w.r.done());
        // Of a venue that says nothing else it is the oldest one.
        let mut w = World::binance(4);
        w.send_all();
        assert_eq!(w.refused(None, r#"{"code":3,"msg":"Invalid JSON"}"#, "Invalid JSON"), 2);
        assert!(w.send_all()[0].contains("s0@trade"));
    }

    #[test]
    fn a_stream_that_is_refused_alone_is_requested_again_later_and_reported_until_it_is_accepted() {
        let mut w = World::binance(1);
        w.send().unwrap();
        w.refused(Some(1), "{}", "no such stream");
        assert!(w.r.done());
        let mut asked_at = Vec::new();
        for s in 1..600 {
            w.ms = s * 1_000;
            w.ask_again(&[]);
            if w.send().is_some() {
                asked_at.push(s);
                let id = w.r.next_id - 1;
                w.refused(Some(id), "{}", "still not");
            }
        }
        assert_eq!(asked_at, [60, 180, 420]);
        assert_eq!(w.r.refused_streams()["s0@trade"], "still not");
        w.ms = 1_000_000;
        w.ask_again(&[]);
        w.send().unwrap();
        w.answered(Some(w.r.next_id - 1));
        assert!(w.r.done() && w.r.refused_streams().is_empty());
    }

    #[test]
    fn a_request_that_waited_is_written_anew_with_the_same_streams() {
        let mut w = World::new(VenueId::GateSpot, 3);
        let names: Vec<String> = (0..8).map(|n| format!("spot.trades {}{n}_USDT", "N".repeat(1_500))).collect();
        w.ask(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let waiting = w.r.waiting();
        assert_eq!(waiting, 4, "two of these fit into a message");
        w.ms += 60_000;
        let texts = w.send_all();
        for name in &names {
            let symbol = name.split_once(' ').unwrap().1;
            assert_eq!(texts.iter().filter(|t| t.contains(&format!("\"{symbol}\""))).count(), 1);
        }
        assert!(texts.iter().all(|t| t.contains("\"time\":1060,") && t.len() <= venue::REQUEST_BYTES_MAX));
    }
}
