//! JSON objects by name, exactly: numbers stay text until a decimal or an integer is made of them.
//!
//! The decoders of every JSON venue are built on this. It takes any key order, white space and escapes, meets
//! unknown fields without failing, and holds memory in proportion to nothing but the known fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::DecodeError;
use model::number::Num;

/// Longest symbol or word taken as one; the longest known are about 20 bytes.
pub(super) const MAX_WORD: usize = 128;

/// Characters of the parser's words that are kept.
const MAX_REASON: usize = 200;

/// The raw text of the values of known keys, in the order of the requested keys.
pub(super) type Values<'a, const N: usize> = [Option<&'a str>; N];

/// Splits an object. Unknown keys go to `unknown`; a known key that comes twice is an error, because nobody can
/// tell which one is meant. A `null` is a value here.
pub(super) fn object<'a, const N: usize>(
    text: &'a str,
    keys: &[&str; N],
    unknown: &mut dyn FnMut(&str),
) -> Result<Values<'a, N>, DecodeError> {
    struct Object<'k, 'u, const N: usize> {
        keys: &'k [&'k str; N],
        unknown: &'u mut dyn FnMut(&str),
    }
    impl<'de, const N: usize> Visitor<'de> for Object<'_, '_, N> {
        type Value = Values<'de, N>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = [None; N];
            let mut given = [false; N];
            while let Some(Text(key)) = map.next_key()? {
                let value: &'de RawValue = map.next_value()?;
                let slot = self.keys.iter().position(|k| *k == key);
                match slot.and_then(|i| Some((values.get_mut(i)?, given.get_mut(i)?))) {
                    None => (self.unknown)(&key),
                    Some((_, true)) => return Err(de::Error::custom("a key that comes twice")),
                    Some((value_slot, given)) => {
                        *given = true;
                        *value_slot = Some(value.get());
                    }
                }
            }
            Ok(values)
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let values = de::Deserializer::deserialize_map(&mut json, Object { keys, unknown })
        .and_then(|values| json.end().map(|()| values));
    values.map_err(|e| malformed(&e))
}

/// Calls `each` with the raw text of every element of an array, in order.
pub(super) fn array<'a>(
    text: &'a str,
    each: &mut dyn FnMut(&'a str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    struct Array<'e, 'f> {
        each: &'e mut dyn FnMut(&'f str) -> Result<(), DecodeError>,
        failed: &'e mut Option<DecodeError>,
    }
    impl<'de> Visitor<'de> for Array<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element::<&'de RawValue>()? {
                if let Err(e) = (self.each)(element.get()) {
                    *self.failed = Some(e);
                    return Err(de::Error::custom("element"));
                }
            }
            Ok(())
        }
    }
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let visitor = Array { each, failed: &mut failed };
    let done = de::Deserializer::deserialize_seq(&mut json, visitor).and_then(|()| json.end());
    match (failed, done) {
        (Some(e), _) => Err(e),
        (None, Err(e)) => Err(malformed(&e)),
        (None, Ok(())) => Ok(()),
    }
}

/// A key: borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(v)))
            }

            fn visit_str<E>(self, v: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        d.deserialize_str(AnyText)
    }
}

/// The text of a raw string value; `None` when the value is no string.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inside = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// A text short enough to be a symbol or another word, and not empty.
pub(super) fn word(raw: &str) -> Option<Cow<'_, str>> {
    text(raw).filter(|t| !t.is_empty() && t.len() <= MAX_WORD)
}

/// A whole JSON number.
pub(super) fn int(raw: &str) -> Option<i64> {
    raw.parse().ok()
}

/// A whole number, in quotes or not: venues write ids and times both ways.
pub(super) fn quoted_int<T: std::str::FromStr>(raw: &str) -> Option<T> {
    text(raw).map_or_else(|| raw.parse().ok(), |text| text.parse().ok())
}

/// The text of a string value, or the value as it is written.
pub(super) fn text_or_raw(raw: &str) -> Cow<'_, str> {
    text(raw).unwrap_or(Cow::Borrowed(raw))
}

/// `true` or `false`.
pub(super) fn flag(raw: &str) -> Option<bool> {
    match raw {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A decimal in a string or as a JSON number; `None` when the value is neither.
pub(super) fn num(raw: &str) -> Option<Result<Num, model::number::NumError>> {
    if let Some(text) = text(raw) {
        return Some(Num::parse(text.as_bytes()));
    }
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| Num::parse(raw.as_bytes()))
}

/// True when the text is a JSON array.
pub(super) fn is_array(raw: &str) -> bool {
    raw.trim_start().starts_with('[')
}

/// What the parser says, cut short: it may quote the frame.
pub(super) fn malformed(e: &serde_json::Error) -> DecodeError {
    DecodeError::Malformed { at: e.column().saturating_sub(1), what: e.to_string().chars().take(MAX_REASON).collect() }
}
