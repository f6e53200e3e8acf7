//! A cursor over the bytes of a frame that expects exactly what Binance documents.
//!
//! Every method either consumes what it names or answers `None`; then the caller gives the whole frame to the
//! general parser. So nothing here decides that a frame is bad, and what is accepted here reads the same there:
//! strings without escapes, integers without a sign or leading zeros, plain decimals.

use super::super::number::{Num, leading_digits};

/// Longest symbol or word taken as one; Binance's longest are about 20 bytes.
pub(super) const MAX_WORD: usize = 128;

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
        let mut n = 0;
        loop {
            let b = *self.rest.get(n)?;
            if b == b'"' {
                break;
            }
            if b == b'\\' || b < 0x20 || n == MAX_WORD {
                return None;
            }
            n += 1;
        }
        let (inside, rest) = self.rest.split_at(n);
        if n == 0 {
            return None;
        }
        self.rest = &rest[1..];
        std::str::from_utf8(inside).ok()
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
        super::to_micros(self.int()?)
    }

    /// A decimal inside a string, up to and with its closing quote.
    #[inline(always)]
    pub(super) fn num(&mut self) -> Option<Num> {
        let (num, n) = Num::parse_prefix(self.rest)?;
        if self.rest.get(n) != Some(&b'"') {
            return None;
        }
        self.rest = &self.rest[n + 1..];
        Some(num)
    }

    /// A decimal inside a string that may carry a sign.
    #[inline(always)]
    pub(super) fn signed_num(&mut self) -> Option<Num> {
        let negative = self.eat(b"-");
        let num = self.num()?;
        Some(Num { mantissa: if negative { -num.mantissa } else { num.mantissa }, ..num })
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
