//! What goes wrong on request: when, where, what. The board keeps what is armed; sockets are handled elsewhere.
//!
//! The text form is JSON, on the command line, in a script file and at `POST /_sim/fault`:
//! `{"do":"close","code":1001,"reason":"bye","after_frames":500,"venue":"binance-spot","conn":1}`.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::closes::Ending;

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Happens this long after the start of the simulation, ms. With neither this nor `after_frames`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Happens on a connection right after its data frame of this number (exactly: the next one is not sent before).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_frames: Option<u64>,
    /// Only on this venue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue: Option<String>,
    /// Only on the connection of this number, counted per venue from 1 in the order of opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u32>,
    /// Only where the request path contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many connections (`after_frames`) or requests it hits before it is spent.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// A fault that happens at once, everywhere, one time.
    pub fn now(action: Action) -> Fault {
        Fault { after_ms: None, after_frames: None, venue: None, conn: None, path: None, times: 1, action }
    }

    /// The same, on one connection, after its data frame number `frames`.
    #[must_use]
    pub fn after_frames(mut self, frames: u64) -> Fault {
        self.after_frames = Some(frames);
        self
    }

    /// The same, only on this venue.
    #[must_use]
    pub fn on_venue(mut self, venue: &str) -> Fault {
        self.venue = Some(venue.to_owned());
        self
    }

    /// The same, hitting so many connections or requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.times = times;
        self
    }

    /// Whether it concerns a connection or request of this venue, number and path.
    pub fn concerns(&self, venue: &str, conn: Option<u32>, path: &str) -> bool {
        self.venue.as_deref().is_none_or(|wanted| wanted == venue)
            && self.conn.is_none_or(|wanted| conn == Some(wanted))
            && self.path.as_deref().is_none_or(|wanted| path.contains(wanted))
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Close frame, then the orderly end.
    Close {
        /// Close code.
        #[serde(default = "going_away")]
        code: u16,
        /// Reason.
        #[serde(default)]
        reason: String,
    },
    /// TCP reset. Everything sent before has reached the peer's kernel; `half_frame` puts half of the next frame after it.
    Cut {
        /// Send the first half of the next frame before the reset (counted as `unconfirmed`).
        #[serde(default = "yes")]
        half_frame: bool,
    },
    /// The socket stays open and carries no data. Frames of that time are not sent later.
    Silence {
        /// How long, ms. `None` = for ever.
        #[serde(default)]
        for_ms: Option<u64>,
        /// Keep sending pings.
        #[serde(default = "yes")]
        pings: bool,
        /// Only this stream.
        #[serde(default)]
        stream: Option<String>,
    },
    /// Messages that no venue should send.
    Garbage {
        /// Which.
        what: Garbage,
        /// How many.
        #[serde(default = "once")]
        count: u32,
    },
    /// Ends many connections of each venue it concerns at random, drawn from a seed (module `closes`). Needs `over_frames` or `over_ms`.
    RandomCloses {
        /// How many connections of a venue are ended.
        count: u32,
        /// Spread over so many data frames, summed over the connections of the venue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over_frames: Option<u64>,
        /// Spread over so much time, ms. Counts only without `over_frames`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over_ms: Option<u64>,
        /// What is drawn from. Empty = all.
        #[serde(default)]
        endings: Vec<Ending>,
        /// Share of the closes that the exchange's event announces (`serverShutdown`), 0 to 1. Where it has none, none is announced.
        #[serde(default)]
        notice_share: f64,
        /// Time from the event to the close, ms.
        #[serde(default = "notice")]
        notice_ms: u64,
        /// Seed.
        #[serde(default)]
        seed: u64,
    },
    /// Lists a symbol of the source that is not listed ([`crate::SimVenue::unlisted`]) or does not trade: it plays from now on.
    List {
        /// Symbol in the venue's spelling.
        symbol: String,
    },
    /// Ends the trading of a symbol: it plays no more.
    Delist {
        /// Symbol in the venue's spelling.
        symbol: String,
        /// No longer listed at all, instead of listed as halted.
        #[serde(default)]
        gone: bool,
    },
    /// The `serverShutdown` event.
    ServerShutdown,
    /// No answer to client pings, no server pings, until the connection ends.
    StopPong,
    /// Sends so slowly that messages arrive in pieces.
    Drip {
        /// Bytes per second.
        bytes_per_s: u32,
        /// How long, ms. `None` = for ever.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// Leaves the next data frames out, so that ids jump.
    Drop {
        /// How many.
        frames: u64,
        /// Only of this stream.
        #[serde(default)]
        stream: Option<String>,
    },
    /// Sends each of the next data frames twice.
    Duplicate {
        /// How many.
        frames: u64,
    },
    /// Client messages that subscribe or unsubscribe streams are lost: neither done nor answered. `times` of them.
    Unanswered,
    /// Answers WebSocket upgrades with this status instead.
    Refuse {
        /// HTTP status.
        status: u16,
    },
    /// Accepts a TCP connection for a WebSocket upgrade and never answers.
    HangUpgrade,
    /// Answers REST requests with this status and the venue's error body.
    Rest {
        /// HTTP status: 429 and 418 carry `Retry-After`.
        status: u16,
        /// Seconds for `Retry-After`.
        #[serde(default = "once")]
        retry_after_s: u32,
    },
    /// Answers REST requests, or upgrades, exactly so: throttles in any form that a venue or a gateway has.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers, such as `Retry-After`.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Body.
        #[serde(default)]
        body: String,
        /// WebSocket upgrades instead of REST requests.
        #[serde(default)]
        upgrades: bool,
    },
    /// Somebody else at every address that was here spends so much REST weight.
    Spend {
        /// Weight.
        weight: u32,
    },
    /// Answers REST requests this much later; longer than the client waits = a timeout.
    RestDelay {
        /// Delay, ms.
        ms: u64,
    },
}

fn yes() -> bool {
    true
}

fn notice() -> u64 {
    200
}

fn going_away() -> u16 {
    1001
}

impl Action {
    /// True when it acts on open WebSocket connections, false when it waits for requests.
    pub fn is_for_connections(&self) -> bool {
        !matches!(
            self,
            Action::Refuse { .. }
                | Action::HangUpgrade
                | Action::Rest { .. }
                | Action::RestDelay { .. }
                | Action::Answer { .. }
                | Action::Spend { .. }
                | Action::Unanswered
        )
    }
}

/// Kinds of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// Text that is not JSON.
    InvalidJson,
    /// A data frame cut in the middle.
    TruncatedJson,
    /// JSON of a shape that no stream has.
    UnknownEvent,
    /// A binary message.
    Binary,
    /// An empty text message.
    Empty,
}

impl Garbage {
    /// The payload, and whether it goes as binary.
    pub fn payload(self) -> (Vec<u8>, bool) {
        match self {
            Garbage::InvalidJson => (b"<html><body>502 Bad Gateway</body></html>".to_vec(), false),
            Garbage::TruncatedJson => {
                (br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCU"#.to_vec(), false)
            }
            Garbage::UnknownEvent => (
                br#"{"stream":"btcusdt@neverSeen","data":{"e":"neverSeen","E":1723161255343,"s":"BTCUSDT","x":[1,2]}}"#
                    .to_vec(),
                false,
            ),
            Garbage::Binary => (vec![0, 159, 146, 150, 255, 0, 1], true),
            Garbage::Empty => (Vec::new(), false),
        }
    }
}

/// Reads one fault or a list of faults.
///
/// # Errors
/// Text that is neither.
pub fn parse(text: &[u8]) -> Result<Vec<Fault>, serde_json::Error> {
    match serde_json::from_slice(text)? {
        list @ serde_json::Value::Array(_) => serde_json::from_value(list),
        one => Ok(vec![serde_json::from_value(one)?]),
    }
}

/// Faults that wait for their moment.
#[derive(Debug, Default)]
pub struct Board {
    armed: Mutex<Vec<Armed>>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    left: u32,
}

/// Names an armed fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(usize);

impl Board {
    // A std mutex: held for a scan of a short list, never across an await.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Arms a fault that waits for a request or a frame count.
    pub fn arm(&self, fault: Fault) -> FaultId {
        let mut armed = self.lock();
        let left = fault.times;
        armed.push(Armed { fault, left });
        FaultId(armed.len() - 1)
    }

    /// Frame-count faults that may concern a connection, by frame count.
    pub fn triggers(&self, venue: &str, conn: u32, path: &str) -> Vec<(u64, FaultId)> {
        let mut triggers: Vec<(u64, FaultId)> = self
            .lock()
            .iter()
            .enumerate()
            .filter(|(_, armed)| armed.left > 0 && armed.fault.concerns(venue, Some(conn), path))
            .filter_map(|(id, armed)| armed.fault.after_frames.map(|frames| (frames, FaultId(id))))
            .collect();
        triggers.sort_by_key(|(frames, _)| *frames);
        triggers
    }

    /// Uses one firing of a fault; `None` when it is spent.
    pub fn fire(&self, id: FaultId) -> Option<Action> {
        let mut armed = self.lock();
        let armed = armed.get_mut(id.0)?;
        armed.left = armed.left.checked_sub(1)?;
        Some(armed.fault.action.clone())
    }

    /// Uses one firing of the first request fault that fits.
    pub fn take_for_request(&self, venue: &str, path: &str, fits: impl Fn(&Action) -> bool) -> Option<Action> {
        self.take(venue, None, path, fits)
    }

    /// Uses one firing of the first fault that fits a message on a connection.
    pub fn take_for_message(
        &self,
        venue: &str,
        conn: u32,
        path: &str,
        fits: impl Fn(&Action) -> bool,
    ) -> Option<Action> {
        self.take(venue, Some(conn), path, fits)
    }

    fn take(&self, venue: &str, conn: Option<u32>, path: &str, fits: impl Fn(&Action) -> bool) -> Option<Action> {
        let mut armed = self.lock();
        let armed = armed
            .iter_mut()
            .find(|armed| armed.left > 0 && fits(&armed.fault.action) && armed.fault.concerns(venue, conn, path))?;
        armed.left -= 1;
        Some(armed.fault.action.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fault_reads_from_short_json_with_its_defaults() {
        let fault: Fault = serde_json::from_str(r#"{"do":"close","after_frames":500,"venue":"binance-spot"}"#).unwrap();
        let expected =
            Fault::now(Action::Close { code: 1001, reason: String::new() }).after_frames(500).on_venue("binance-spot");
        assert_eq!(fault, expected);
        let cut: Fault = serde_json::from_str(r#"{"do":"cut"}"#).unwrap();
        assert_eq!(cut.action, Action::Cut { half_frame: true });
    }

    #[test]
    fn a_fault_is_spent_after_its_times() {
        let board = Board::default();
        board.arm(Fault::now(Action::Rest { status: 429, retry_after_s: 1 }).times(2));
        let take = || board.take_for_request("binance-spot", "/api/v3/depth", |a| matches!(a, Action::Rest { .. }));
        assert!(take().is_some() && take().is_some() && take().is_none());
    }

    #[test]
    fn triggers_name_only_what_concerns_the_connection() {
        let board = Board::default();
        let far = board.arm(Fault::now(Action::StopPong).after_frames(9));
        let near = board.arm(Fault::now(Action::ServerShutdown).after_frames(3));
        board.arm(Fault::now(Action::StopPong).after_frames(1).on_venue("binance-usdm"));
        assert_eq!(board.triggers("binance-spot", 1, "/stream"), vec![(3, near), (9, far)]);
        assert!(board.fire(near).is_some());
        assert_eq!(board.fire(near), None);
    }
}
