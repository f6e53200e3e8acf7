//! Listings, entry by entry: what cannot be read of one entry costs nothing but that.
//!
//! An entry with a usable name is a symbol, and whatever else of it cannot be read is missing in it; one without is
//! left out. Both are reported, as they were sent. Venues add fields and markets every week, and a recorder that stops for
//! an entry nobody wanted would record nothing.

use std::collections::HashMap;

use super::message::{MessageName, Raw, Result};
use super::{DecodeError, json};
use model::number::Num;
use model::{Listing, RejectedEntry, Symbol};

/// The status of a symbol whose own cannot be read. It counts as trading: to subscribe a stream that stays silent costs
/// less than to miss one that does not.
pub const UNKNOWN: &str = "unknown";

/// Characters of what is wrong with an entry.
const WHY_CHARS_MAX: usize = 400;

/// Reads single fields of an entry and notes what is wrong with them.
pub(super) struct Entry {
    of: MessageName,
    wrong: Vec<String>,
}

impl Entry {
    /// Notes that are kept of one entry.
    const NOTES_MAX: usize = 8;

    /// The value, or `None` and a note.
    pub(super) fn or_note<T>(&mut self, read: Result<T>) -> Option<T> {
        read.map_err(|err| self.note(err.to_string())).ok()
    }

    fn note(&mut self, what: String) {
        if self.wrong.len() < Self::NOTES_MAX {
            self.wrong.push(what);
        }
    }

    /// Notes that a field is wrong.
    pub(super) fn wrong(&mut self, field: &'static str) {
        let wrong: Result<()> = self.of.wrong(field);
        self.or_note(wrong);
    }

    /// The name of the symbol.
    ///
    /// # Errors
    /// When it cannot be used: without a name there is no entry.
    pub(super) fn name(&self, field: &'static str, raw: Raw<'_>) -> Result<String> {
        let name = self.of.word(field, raw)?.into_owned();
        // The replacement character stands for bytes that were no text.
        if name.contains(|c: char| c.is_control() || c == '\u{fffd}') { self.of.wrong(field) } else { Ok(name) }
    }

    /// A word that must be there.
    pub(super) fn word(&mut self, field: &'static str, raw: Raw<'_>) -> Option<String> {
        let word = self.of.word(field, raw).map(std::borrow::Cow::into_owned);
        self.or_note(word)
    }

    /// A text that may be empty.
    pub(super) fn text(&mut self, field: &'static str, raw: Raw<'_>) -> Option<String> {
        match raw.and_then(json::text) {
            Some(text) => Some(text.into_owned()),
            None => {
                self.wrong(field);
                None
            }
        }
    }

    /// A flag; absent is `None`.
    pub(super) fn flag(&mut self, field: &'static str, raw: Raw<'_>) -> Option<bool> {
        raw?;
        let flag = self.of.flag(field, raw);
        self.or_note(flag)
    }

    /// A step or size; absent and empty is `None`.
    pub(super) fn num(&mut self, field: &'static str, raw: Raw<'_>) -> Option<Num> {
        let num = self.of.opt_num(field, raw);
        self.or_note(num).flatten().map(Num::normalized)
    }

    /// A whole number, in quotes or not; absent and `null` is `None`.
    pub(super) fn int(&mut self, field: &'static str, raw: Raw<'_>) -> Option<i64> {
        let raw = raw.filter(|raw| *raw != "null")?;
        let int = json::quoted_int(raw);
        if int.is_none() {
            self.wrong(field);
        }
        int
    }
}

/// Reads the entries of an array. `symbol` fails only for an entry without a name.
///
/// # Errors
/// When it is no array, or has entries and none of them has a name.
pub(super) fn read(
    of: MessageName,
    array: &str,
    symbol: impl Fn(&mut Entry, &str) -> Result<Symbol>,
) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    json::array(array, &mut |raw| {
        let mut entry = Entry { of, wrong: Vec::new() };
        let read = symbol(&mut entry, raw);
        let name = entry.or_note(read).map(|symbol| {
            let name = symbol.name.clone();
            match places.get(&name).and_then(|at| listing.symbols.get_mut(*at)) {
                None => {
                    places.insert(name.clone(), listing.symbols.len());
                    listing.symbols.push(symbol);
                }
                Some(first) => {
                    entry.note("it is in the list twice".to_owned());
                    if symbol.trading && !first.trading {
                        *first = symbol;
                    }
                }
            }
            name
        });
        if !entry.wrong.is_empty() {
            let why = entry.wrong.join("; ").chars().take(WHY_CHARS_MAX).collect();
            listing.rejects.push(RejectedEntry { name, why, raw: raw.to_owned() });
        }
        Ok(())
    })?;
    match listing.rejects.first() {
        Some(first) if listing.symbols.is_empty() => {
            let why: String = first.why.chars().take(WHY_CHARS_MAX / 4).collect();
            let what = format!("none of {} entries has a usable name; the first: {why}", listing.rejects.len());
            Err(DecodeError::Malformed { at: 0, what })
        }
        _ => Ok(listing),
    }
}
