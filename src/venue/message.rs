//! What the decoders of all JSON venues share: fields to typed values with a reason when they are wrong, drift
//! noted once per frame, and the encoding of request parameters. Knows no message of any venue.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{DecodeError, REQUEST_BYTES_MAX, SubscribeMessage, json};
use model::number::Num;
use model::row::Rows;

/// Distinct unknown names noted for one frame.
pub(super) const MAX_NOTES: usize = 64;
/// Bytes of such a name.
const MAX_NOTE: usize = 64;
/// Digits of an id.
const ID_DIGITS_MAX: usize = 38;

pub(super) type Result<T> = std::result::Result<T, DecodeError>;
/// The raw text of a value, where the key was there.
pub(super) type Raw<'a> = Option<&'a str>;

/// What decoding a frame needs at hand; `M` distinguishes the markets of a venue.
pub(super) struct Context<'f, 'r, M> {
    pub(super) market: M,
    /// Where rows go.
    pub(super) rows: &'r mut Rows,
    /// Name of the stream (topic) of the frame.
    pub(super) stream: Option<Cow<'f, str>>,
    frame: &'f [u8],
    noted: Vec<String>,
}

impl<'f, 'r, M> Context<'f, 'r, M> {
    pub(super) fn new(market: M, frame: &'f [u8], rows: &'r mut Rows) -> Self {
        Self { market, rows, stream: None, frame, noted: Vec::new() }
    }

    /// Counts something unknown, once per frame and name.
    pub(super) fn drift(&mut self, what: &str) {
        if self.noted.len() < MAX_NOTES && !self.noted.iter().any(|n| n == what) {
            self.noted.push(what.to_owned());
            self.rows.drift.note(what, self.frame);
        }
    }

    /// Reads the elements of an array that do not depend on each other: one that cannot be read costs only itself, and
    /// is reported in the [`Rows`]. The elements of an array inside the array count as its own.
    ///
    /// # Errors
    /// When it is no array that ends, or not one element can be read.
    pub(super) fn items<'a>(
        &mut self,
        array: &'a str,
        read: &mut dyn FnMut(&mut Self, &'a str) -> Result<()>,
    ) -> Result<()> {
        let mut found = ItemCounts::default();
        json::array(array, &mut |element| {
            if json::is_array(element) {
                return json::array(element, &mut |inner| {
                    self.item(inner, read, &mut found);
                    Ok(())
                });
            }
            self.item(element, read, &mut found);
            Ok(())
        })?;
        match found.first {
            Some(err) if found.good == 0 => Err(err),
            _ => Ok(()),
        }
    }

    fn item<'a>(
        &mut self,
        raw: &'a str,
        read: &mut dyn FnMut(&mut Self, &'a str) -> Result<()>,
        found: &mut ItemCounts,
    ) {
        found.all += 1;
        let checkpoint = self.rows.checkpoint();
        let Err(err) = read(self, raw) else {
            found.good += 1;
            return;
        };
        self.rows.rollback_to(checkpoint);
        let symbol = symbol_of(raw).map(|symbol| self.rows.symbols.intern(&symbol));
        self.rows.rejects.note(symbol, &format!("item {}: {err}", found.all));
        found.first.get_or_insert(err);
    }

    /// The fields of a message; unknown ones are drift, `null` ones absent.
    pub(super) fn fields<'a, const N: usize>(
        &mut self,
        message: &str,
        text: &'a str,
        keys: &[&str; N],
    ) -> Result<json::Values<'a, N>> {
        let values = json::object(text, keys, &mut |key| {
            self.drift(&format!("field {message}.{}", clip(key)));
        })?;
        Ok(values.map(|v| v.filter(|v| *v != "null")))
    }
}

/// What became of the items of an array.
#[derive(Default)]
struct ItemCounts {
    all: u64,
    good: u64,
    /// Why the first one that cannot be read cannot.
    first: Option<DecodeError>,
}

/// The symbol of an item that cannot be read, under the names that venues have for it.
fn symbol_of(raw: &str) -> Option<Cow<'_, str>> {
    let names = json::object(raw, &["s", "symbol", "contract", "currency_pair"], &mut |_| ()).ok()?;
    names.into_iter().flatten().find_map(json::word)
}

/// The name of a message, to say which field of what is wrong.
#[derive(Clone, Copy)]
pub(super) struct MessageName(pub(super) &'static str);

impl MessageName {
    pub(super) fn wrong<T>(self, field: &'static str) -> Result<T> {
        let message = self.0;
        Err(DecodeError::Field { message, field })
    }

    pub(super) fn int(self, field: &'static str, raw: Raw<'_>) -> Result<i64> {
        raw.and_then(json::int).map_or_else(|| self.wrong(field), Ok)
    }

    pub(super) fn opt_int(self, field: &'static str, raw: Raw<'_>) -> Result<Option<i64>> {
        raw.map(|_| self.int(field, raw)).transpose()
    }

    /// The id of a trade, in quotes or not: a number, or, where that is too large for one, its digits.
    pub(super) fn id(self, field: &'static str, raw: Raw<'_>) -> Result<(Option<i64>, Option<Box<str>>)> {
        let Some(text) = raw.map(json::text_or_raw) else { return self.wrong(field) };
        if let Some(id) = json::int(&text) {
            return Ok((Some(id), None));
        }
        let digits = (1..=ID_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits { Ok((None, Some(text.into()))) } else { self.wrong(field) }
    }

    pub(super) fn num(self, field: &'static str, raw: Raw<'_>) -> Result<Num> {
        let message = self.0;
        match raw.and_then(json::num) {
            None => self.wrong(field),
            Some(num) => num.map_err(|source| DecodeError::Number { message, field, source }),
        }
    }

    /// A number that may be absent or an empty text.
    pub(super) fn opt_num(self, field: &'static str, raw: Raw<'_>) -> Result<Option<Num>> {
        match raw {
            None | Some("\"\"") => Ok(None),
            Some(_) => self.num(field, raw).map(Some),
        }
    }

    pub(super) fn flag(self, field: &'static str, raw: Raw<'_>) -> Result<bool> {
        raw.and_then(json::flag).map_or_else(|| self.wrong(field), Ok)
    }

    /// The elements of an array, at most `N`; those that are not there or `null` are `None`.
    pub(super) fn elements<'a, const N: usize>(self, field: &'static str, raw: &'a str) -> Result<[Raw<'a>; N]> {
        self.elements_and(field, raw, &mut |_| ())
    }

    /// As [`MessageName::elements`]; `more` hears of those after the `N`.
    pub(super) fn elements_and<'a, const N: usize>(
        self,
        field: &'static str,
        raw: &'a str,
        more: &mut dyn FnMut(&str),
    ) -> Result<[Raw<'a>; N]> {
        if !json::is_array(raw) {
            return self.wrong(field);
        }
        let mut all = [None; N];
        let mut slots = all.iter_mut();
        json::array(raw, &mut |element| {
            match slots.next() {
                Some(slot) => *slot = Some(element).filter(|e| *e != "null"),
                None => more(element),
            }
            Ok(())
        })?;
        Ok(all)
    }

    pub(super) fn word<'a>(self, field: &'static str, raw: Raw<'a>) -> Result<Cow<'a, str>> {
        raw.and_then(json::word).map_or_else(|| self.wrong(field), Ok)
    }
}

pub(super) fn unknown_type<T>(word: &str) -> Result<T> {
    Err(DecodeError::UnknownType(clip(word).to_owned()))
}

/// The start of a name, so that a hostile one stays small.
pub(super) fn clip(name: &str) -> &str {
    let end = (0..=name.len().min(MAX_NOTE)).rev().find(|i| name.is_char_boundary(*i));
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Messages that subscribe `items`, each a name of the message and the stream it stands for: at most `most` of them and
/// [`REQUEST_BYTES_MAX`] bytes in each. `write` gives the text of some words under an id; ids count up from `id`.
pub(super) fn subscribe_messages(
    items: &[(&str, &str)],
    most: usize,
    id: &mut u64,
    write: impl Fn(&[&str], u64) -> String,
) -> Vec<SubscribeMessage> {
    // Whatever the ids are, the cuts are the same: a message that is rewritten holds the same streams.
    let frame_bytes = write(&[], u64::MAX).len();
    let bytes = |word: &str| serde_json::Value::from(word).to_string().len() + 1;
    let mut messages = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut total = frame_bytes;
        let fits = rest.iter().take(most.max(1)).take_while(|(word, _)| {
            total += bytes(word);
            total <= REQUEST_BYTES_MAX
        });
        // One that is too long alone goes alone; the venue will say what it thinks of it.
        let (now, later) = rest.split_at(fits.count().max(1));
        let words: Vec<&str> = now.iter().map(|(word, _)| *word).collect();
        let streams = now.iter().map(|(_, stream)| (*stream).to_owned()).collect();
        messages.push(SubscribeMessage { text: write(&words, *id), streams });
        *id = id.saturating_add(1);
        rest = later;
    }
    messages
}

/// The frame as text.
pub(super) fn utf8(payload: &[u8]) -> Result<&str> {
    std::str::from_utf8(payload)
        .map_err(|e| DecodeError::Malformed { at: e.valid_up_to(), what: "not UTF-8".to_owned() })
}

/// Percent-encodes every byte that RFC 3986 does not leave free.
pub fn percent_encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}
