//! Which run of a writer: a random number beside the epoch that counts the runs.
//!
//! A log that is restored from a backup, or cloned, counts on from where the copy was made, so an epoch alone can name
//! two runs that share nothing. Every run therefore draws an [`Incarnation`], and `(epoch, incarnation)` names one run
//! of one writer for ever. Pure; [`crate::lineage()`] knows which runs a log had.

use std::fmt;
use std::str::FromStr;

/// Hex digits of [`Incarnation::short`].
const SHORT_DIGITS: usize = 4;

/// Random and not zero for each run of a writer; 0 for a run of format version 1, which drew none.
///
/// Shown as 16 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// That of every run of format version 1.
    pub const VERSION_1: Incarnation = Incarnation(0);

    /// Draws one. Its short form is never all zeros, so that names made of it are never those of version 1.
    pub(crate) fn draw(entropy: &dyn Fn() -> u64) -> Self {
        // A source that only ever gives zeros there is no source; the last bit replaces it.
        const TRIES: u32 = 64;
        let short_is_zero = |word: &u64| word >> (64 - 4 * SHORT_DIGITS) == 0;
        let drawn = (0..TRIES).map(|_| entropy()).find(|word| !short_is_zero(word));
        Incarnation(drawn.unwrap_or(1 << 63 | 1))
    }

    /// Whether the run was one of format version 1.
    #[must_use]
    pub const fn is_version_1(self) -> bool {
        self.0 == 0
    }

    /// The first 4 of the 16 hex digits, for names of files.
    #[must_use]
    pub fn short(self) -> String {
        format!("{:04x}", self.0 >> (64 - 4 * SHORT_DIGITS))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not an incarnation: expected 16 hex digits")]
pub struct NotAnIncarnation {
    /// As given.
    got: String,
}

impl FromStr for Incarnation {
    type Err = NotAnIncarnation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let word = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        word.map(Incarnation).ok_or_else(|| NotAnIncarnation { got: text.to_owned() })
    }
}

/// One run of a log's writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// Which one, counted from 1.
    pub epoch: u32,
    /// What distinguishes it from a run with the same number in another copy of the log.
    pub incarnation: Incarnation,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.incarnation.is_version_1() {
            write!(f, "run {} (of version 1)", self.epoch)
        } else {
            write!(f, "run {} ({})", self.epoch, self.incarnation)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_drawn_incarnation_is_neither_zero_nor_short_zero_whatever_the_source_gives() {
        let words = [0, 7, 0x0000_ffff_ffff_ffff, 0x0001_0000_0000_0000];
        let at = Cell::new(0);
        let next = || {
            at.set(at.get() + 1);
            words[at.get() - 1]
        };
        assert_eq!(Incarnation::draw(&next), Incarnation(0x0001_0000_0000_0000));
        assert_ne!(Incarnation::draw(&|| 0).short(), "0000");
    }

    #[test]
    fn the_text_form_reads_back_and_begins_with_the_short_one() {
        let incarnation = Incarnation(0x00ab_cdef_0123_4567);
        assert_eq!(incarnation.to_string(), "00abcdef01234567");
        assert_eq!(incarnation.short(), "00ab");
        assert_eq!("00abcdef01234567".parse(), Ok(incarnation));
        assert_eq!("0000000000000000".parse(), Ok(Incarnation::VERSION_1));
        for wrong in ["", "00abcdef0123456", "+0abcdef01234567", "00abcdef012345678"] {
            assert!(wrong.parse::<Incarnation>().is_err(), "{wrong}");
        }
    }
}
