//! A cursor over the bytes of a frame that expects exactly what Binance documents.
//!
//! Every method either consumes what it names or answers `None`; then the caller gives the whole frame to the
//! general parser. So nothing here decides that a frame is bad, and what is accepted here reads the same there:
//! strings without escapes, integers without a sign or leading zeros, plain decimals.

use super::super::json::MAX_WORD;
use model::number::{Num, leading_digits};

/// What is left of a frame.
pub(super) struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame }
    }

    /// These bytes come next.
    #[inline(always)]
    pub(super) fn lit<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        if head != literal {
            return None;
        }
        self.rest = tail;
        Some(())
    }

    /// Takes these bytes if they come next.
    #[inline(always)]
    pub(super) fn eat<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        self.lit(literal).is_some()
    }

    /// The frame ends here.
    #[inline(always)]
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// The inside of a string, up to and with its closing quote: 1 to [`MAX_WORD`] bytes of UTF-8, no escapes.
    #[inline(always)]
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.inside()?).ok()
    }

    /// As [`Scan::text`], without making a `str` of it.
    #[inline(always)]
    pub(super) fn inside(&mut self) -> Option<&'a [u8]> {
        let mut n = 0;
        while let Some(chunk) = self.rest.get(n..).and_then(|r| r.first_chunk::<8>()) {
            let at = first_special(u64::from_le_bytes(*chunk));
            n += at;
            if at < 8 {
                break;
            }
        }
        if n == 0 || n > MAX_WORD || self.rest.get(n) != Some(&b'"') {
            return self.inside_slowly();
        }
        let (inside, rest) = self.rest.split_at(n);
        self.rest = &rest[1..];
        Some(inside)
    }

    /// Near the end of the frame, or with other letters than ASCII.
    #[cold]
    fn inside_slowly(&mut self) -> Option<&'a [u8]> {
        let n = self.rest.iter().take(MAX_WORD + 1).position(|b| *b == b'"')?;
        let (inside, rest) = self.rest.split_at(n);
        let plain = inside.iter().all(|b| *b >= 0x20 && *b != b'\\');
        if n == 0 || !plain || std::str::from_utf8(inside).is_err() {
            return None;
        }
        self.rest = &rest[1..];
        Some(inside)
    }

    /// A JSON integer that is not negative, of at most 18 digits.
    #[inline(always)]
    pub(super) fn int(&mut self) -> Option<i64> {
        let (value, n) = leading_digits(self.rest);
        if n == 0 || n > 18 || (n > 1 && self.rest[0] == b'0') {
            return None;
        }
        self.rest = self.rest.get(n..)?;
        Some(value as i64)
    }

    /// A point in time as µs, whether sent in ms or µs.
    #[inline(always)]
    pub(super) fn time(&mut self) -> Option<i64> {
        super::field::to_micros(self.int()?)
    }

    /// A decimal inside a string, up to and with its closing quote.
    #[inline(always)]
    pub(super) fn num(&mut self) -> Option<Num> {
        let (num, n) = Num::parse_prefix(self.rest)?;
        let (quote, rest) = self.rest.get(n..)?.split_first()?;
        if *quote != b'"' {
            return None;
        }
        self.rest = rest;
        Some(num)
    }

    /// A decimal inside a string that may carry a sign.
    #[inline(always)]
    pub(super) fn signed_num(&mut self) -> Option<Num> {
        let negative = self.eat(b"-");
        let num = self.num()?;
        Some(Num { mantissa: if negative { -num.mantissa } else { num.mantissa }, scale: num.scale })
    }

    /// `true` or `false`.
    #[inline(always)]
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.eat(b"true") {
            return Some(true);
        }
        self.lit(b"false").map(|()| false)
    }
}

/// Index of the first byte of a little-endian chunk that is a quote, a backslash, a control character or not
/// ASCII; 8 when there is none.
#[inline(always)]
fn first_special(chunk: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // A borrow can only come from a byte that is itself special, so the lowest bit found is right.
    let zero_in = |v: u64| v.wrapping_sub(ONES) & !v;
    let quote = zero_in(chunk ^ (0x22 * ONES));
    let backslash = zero_in(chunk ^ (0x5c * ONES));
    let control = chunk.wrapping_sub(0x20 * ONES);
    let special = (quote | backslash | control | chunk) & HIGH;
    (special.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        #[test]
        fn eight_bytes_at_a_time_find_what_one_at_a_time_finds(
            bytes in prop_oneof![any::<[u8; 8]>(), prop::array::uniform8(prop::sample::select(&b"A\"\\\x1f #![]\x7f\x80\xff"[..]))],
        ) {
            let special = |b: &u8| matches!(b, b'"' | b'\\' | 0x80..) || *b < 0x20;
            let expected = bytes.iter().position(special).unwrap_or(8);
            prop_assert_eq!(first_special(u64::from_le_bytes(bytes)), expected);
        }

        #[test]
        fn a_text_is_what_stands_before_the_first_quote(text in "\\PC{0,140}", tail in "[\",a]{0,10}") {
            let frame = format!("{text}\"{tail}");
            let inside = frame.split('"').next().unwrap();
            let plain = !inside.is_empty() && inside.len() <= MAX_WORD && !inside.contains('\\');
            let mut scan = Scan::new(frame.as_bytes());
            prop_assert_eq!(scan.text(), plain.then_some(inside));
            if plain {
                prop_assert_eq!(scan.rest, &frame.as_bytes()[inside.len() + 1..]);
            }
        }
    }
}
