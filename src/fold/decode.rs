//! One stored frame to rows, or the reason why not. A frame that fails leaves no row behind; of one that holds several
//! independent items (trades in an array, entries of a listing) those that fail are reported in [`Rows::rejects`].
//!
//! Decodes straight from the reader's bytes; what is rare (a REST meta, a channel guess for a damaged frame)
//! allocates, what is frequent does not.

use wal_format::{Kind, RecordRef, record};

use model::{Channel, Decoded, RestMeta, Rows, SymbolId};
use venue::{DecodeError, Frame, FrameKind, Venue};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rows of this channel are in [`FrameDecoder::rows`]; possibly none.
    Rows(Channel),
    /// A listing is in `rows.listings`.
    Symbols,
    /// No rows by nature.
    Control,
    /// Kept as a row of `frames`.
    Undecodable(Undecodable),
}

/// Why a frame has no rows, and what is known about it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The channel it seems to belong to, or `unknown`.
    pub channel: String,
    /// The symbol it seems to be of.
    pub symbol: Option<SymbolId>,
    /// `text`, `binary` or `rest`.
    pub encoding: &'static str,
    /// One sentence.
    pub reason: String,
}

/// Decodes the frames of one venue into one reused [`Rows`].
pub struct FrameDecoder {
    venue: &'static Venue,
    /// Rows of the frame decoded last; empty after anything but `Rows` and `Symbols`.
    pub rows: Rows,
    /// The frame decoded last is a body that was fetched for a gap.
    pub backfilled: bool,
    /// It was so large that the room its rows took is given back.
    was_large: bool,
}

/// A frame above this is rare: what its rows take in memory is not kept for the next one, bytes.
const LARGE_BYTES: usize = 1 << 20;

impl FrameDecoder {
    /// A decoder for `venue`.
    pub fn new(venue: &'static Venue) -> Self {
        Self { venue, rows: Rows::new(), backfilled: false, was_large: false }
    }

    /// The venue.
    pub fn venue(&self) -> &'static Venue {
        self.venue
    }

    /// Decodes a `Data` or `Rest` record.
    pub fn decode(&mut self, record: &RecordRef<'_>) -> Verdict {
        self.rows.clear();
        if std::mem::replace(&mut self.was_large, record.payload.len() > LARGE_BYTES) {
            self.rows.release();
        }
        self.backfilled = false;
        #[cfg(any(test, feature = "testing"))]
        if older::hides(record.payload) {
            let reason = "an older version did not know it".to_owned();
            return Verdict::Undecodable(Undecodable {
                channel: "unknown".into(),
                symbol: None,
                encoding: "text",
                reason,
            });
        }
        if record.kind() == Some(Kind::Rest) {
            return self.decode_rest(record);
        }
        let kind = if record.flags & record::flags::BINARY != 0 { FrameKind::Binary } else { FrameKind::Text };
        let frame = Frame { kind, payload: record.payload, rest: None };
        match self.venue.frames.decode(&frame, &mut self.rows) {
            Ok(Decoded::Control) if !self.rows.rejects.is_empty() => {
                let err = DecodeError::Malformed { at: 0, what: self.rows.rejects.reason() };
                self.undecodable("unknown".into(), None, encoding_of(record), &err)
            }
            Ok(decoded) => verdict(decoded),
            Err(err) => {
                let (channel, symbol) = guess(self.venue, record.payload, kind == FrameKind::Binary);
                self.undecodable(channel, symbol, encoding_of(record), &err)
            }
        }
    }

    fn decode_rest(&mut self, record: &RecordRef<'_>) -> Verdict {
        let Some(rest) = record.rest() else {
            return Verdict::Undecodable(Undecodable {
                channel: "unknown".into(),
                symbol: None,
                encoding: "rest",
                reason: "the record's meta length does not fit its payload".into(),
            });
        };
        let meta: RestMeta = match serde_json::from_slice(rest.meta) {
            Ok(meta) => meta,
            Err(err) => {
                return Verdict::Undecodable(Undecodable {
                    channel: "unknown".into(),
                    symbol: None,
                    encoding: "rest",
                    reason: format!("the record's meta is not readable: {err}"),
                });
            }
        };
        self.backfilled = meta.fill.is_some();
        let frame = Frame { kind: FrameKind::Rest, payload: rest.body, rest: Some(&meta) };
        match self.venue.frames.decode(&frame, &mut self.rows) {
            Ok(decoded) => verdict(decoded),
            Err(err) => self.undecodable(meta.channel.clone(), meta.symbol.clone(), "rest", &err),
        }
    }

    #[cold]
    fn undecodable(
        &mut self,
        channel: String,
        symbol: Option<String>,
        encoding: &'static str,
        err: &DecodeError,
    ) -> Verdict {
        self.rows.clear();
        let symbol = symbol.map(|symbol| self.rows.symbols.intern(&symbol));
        Verdict::Undecodable(Undecodable { channel, symbol, encoding, reason: err.to_string() })
    }
}

fn verdict(decoded: Decoded) -> Verdict {
    match decoded {
        Decoded::Rows(channel) => Verdict::Rows(channel),
        Decoded::Symbols => Verdict::Symbols,
        Decoded::Control => Verdict::Control,
    }
}

/// How the payload of a record is to be read.
pub(super) fn encoding_of(record: &RecordRef<'_>) -> &'static str {
    match record.kind() {
        Some(Kind::Rest) => "rest",
        _ if record.flags & record::flags::BINARY != 0 => "binary",
        _ => "text",
    }
}

/// The channel and the symbol a damaged frame seems to belong to, by what identifies its stream: the channel in
/// venue-neutral names where the venue knows it, else as the venue writes it.
fn guess(venue: &Venue, payload: &[u8], binary: bool) -> (String, Option<String>) {
    let Some(key) = venue.frames.stream_of(payload, binary) else { return ("unknown".into(), None) };
    let channel = match venue.frames.channel_of(key) {
        Some(channel) => channel.as_str().into(),
        None => String::from_utf8_lossy(key.channel).chars().take(64).collect(),
    };
    (channel, venue.frames.symbol_of(key))
}

/// A decoder of an older version, for tests: it does not know frames that contain a text.
#[cfg(any(test, feature = "testing"))]
pub mod older {
    use std::cell::RefCell;

    thread_local! {
        static HIDDEN: RefCell<Option<Hidden>> = const { RefCell::new(None) };
    }

    struct Hidden {
        text: Vec<u8>,
        /// Frames with the text that are still known.
        known: u64,
    }

    /// Runs `work` with a decoder that does not know frames with `text` in them.
    pub fn without<T>(text: &str, work: impl FnOnce() -> T) -> T {
        without_behind(0, text, work)
    }

    /// As [`without`], but the first `known` frames with `text` in them are known.
    pub fn without_behind<T>(known: u64, text: &str, work: impl FnOnce() -> T) -> T {
        HIDDEN.set(Some(Hidden { text: text.as_bytes().to_vec(), known }));
        let done = work();
        HIDDEN.set(None);
        done
    }

    /// True for a payload that this decoder does not know.
    pub(crate) fn hides(payload: &[u8]) -> bool {
        HIDDEN.with_borrow_mut(|hidden| {
            let Some(hidden) = hidden.as_mut().filter(|h| memchr::memmem::find(payload, &h.text).is_some()) else {
                return false;
            };
            let hides = hidden.known == 0;
            hidden.known = hidden.known.saturating_sub(1);
            hides
        })
    }
}
