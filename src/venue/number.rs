//! Decimal text to exact integers, without floats on the way.
//!
//! A price on the wire is text such as `61837.63000000`. It is kept as the integer 6183763000000 and the
//! scale 8. What the lake writes (double or decimal) is derived from that, and whether a double keeps the
//! text is proved here, value by value ([`Num::survives_f64`]).

use std::fmt;

/// Powers of ten that fit an `i64`.
const POW10: [i64; 19] = {
    let mut t = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// Powers of ten that are exact doubles.
const POW10_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// An exact decimal: `mantissa * 10^-scale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Num {
    /// The digits as an integer, sign included.
    pub mantissa: i64,
    /// Number of digits behind the point, 0..=18.
    pub scale: u8,
}

/// Text that is not a plain decimal of at most 18 significant digits behind and before the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumError {
    /// Empty text or no digit.
    #[error("not a decimal number")]
    NotANumber,
    /// More digits than an `i64` mantissa or 18 decimals can hold.
    #[error("decimal number has too many digits")]
    TooLong,
}

impl Num {
    /// Parses `-?digits[.digits]`; an exponent (`1e-7`, as JSON numbers may carry) is accepted too.
    /// Trailing zeros behind the point are kept when they fit and dropped when they do not.
    ///
    /// # Errors
    /// [`NumError`] for anything else.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Num, NumError> {
        let (negative, digits) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, text),
        };
        let mut mantissa: i64 = 0;
        let mut seen = 0_usize;
        let mut scale = 0_u8;
        let mut point = false;
        for (i, &b) in digits.iter().enumerate() {
            match b {
                b'0'..=b'9' => {
                    // 18 digits always fit; beyond that take the slow path, which drops trailing zeros.
                    if seen >= 18 && mantissa != 0 {
                        return Self::parse_long(negative, digits);
                    }
                    mantissa = mantissa * 10 + i64::from(b - b'0');
                    seen += usize::from(mantissa != 0);
                    if point {
                        scale += 1;
                        if scale > 18 {
                            return Self::parse_long(negative, digits);
                        }
                    }
                }
                b'.' if !point && i > 0 => point = true,
                b'e' | b'E' => return Self::parse_exponent(negative, digits),
                _ => return Err(NumError::NotANumber),
            }
        }
        if digits.is_empty() || digits.last() == Some(&b'.') {
            return Err(NumError::NotANumber);
        }
        Ok(Num {
            mantissa: if negative { -mantissa } else { mantissa },
            scale,
        })
    }

    #[cold]
    fn parse_long(negative: bool, digits: &[u8]) -> Result<Num, NumError> {
        let point = digits.iter().position(|b| *b == b'.');
        let trimmed = match point {
            Some(_) => {
                let end = digits.iter().rposition(|b| *b != b'0').map_or(0, |i| i + 1);
                let kept = digits.get(..end).unwrap_or(digits);
                kept.strip_suffix(b".").unwrap_or(kept)
            }
            None => digits,
        };
        let mut mantissa: i64 = 0;
        let mut scale = 0_u8;
        let mut behind = false;
        for &b in trimmed {
            match b {
                b'0'..=b'9' => {
                    mantissa = mantissa
                        .checked_mul(10)
                        .and_then(|m| m.checked_add(i64::from(b - b'0')))
                        .ok_or(NumError::TooLong)?;
                    scale += u8::from(behind);
                    if scale > 18 {
                        return Err(NumError::TooLong);
                    }
                }
                b'.' if !behind => behind = true,
                _ => return Err(NumError::NotANumber),
            }
        }
        Ok(Num {
            mantissa: if negative { -mantissa } else { mantissa },
            scale,
        })
    }

    #[cold]
    fn parse_exponent(negative: bool, digits: &[u8]) -> Result<Num, NumError> {
        let e = digits
            .iter()
            .position(|b| matches!(b, b'e' | b'E'))
            .ok_or(NumError::NotANumber)?;
        let (head, tail) = digits.split_at(e);
        let exp: i32 = std::str::from_utf8(tail.get(1..).unwrap_or_default())
            .ok()
            .and_then(|t| t.parse().ok())
            .ok_or(NumError::NotANumber)?;
        if head.first() == Some(&b'-') {
            return Err(NumError::NotANumber);
        }
        let base = Self::parse(head)?;
        let scale = i32::from(base.scale)
            .checked_sub(exp)
            .ok_or(NumError::TooLong)?;
        let mut m = base.mantissa;
        let scale = if scale < 0 {
            let up = POW10
                .get(scale.unsigned_abs() as usize)
                .ok_or(NumError::TooLong)?;
            m = m.checked_mul(*up).ok_or(NumError::TooLong)?;
            0
        } else {
            scale
        };
        let mut scale = scale;
        while scale > 18 && m % 10 == 0 && m != 0 {
            m /= 10;
            scale -= 1;
        }
        if scale > 18 {
            return if m == 0 {
                Ok(Num::default())
            } else {
                Err(NumError::TooLong)
            };
        }
        Ok(Num {
            mantissa: if negative { -m } else { m },
            scale: scale as u8,
        })
    }

    /// Without trailing zeros behind the point: two equal values have one normal form.
    #[inline]
    pub fn normalized(self) -> Num {
        if self.mantissa == 0 {
            return Num::default();
        }
        let mut n = self;
        while n.scale > 0 && n.mantissa % 10 == 0 {
            n.mantissa /= 10;
            n.scale -= 1;
        }
        n
    }

    /// The nearest double.
    #[inline]
    pub fn to_f64(self) -> f64 {
        // Both operands are exact doubles, so the division rounds once: the result is the nearest double.
        const EXACT: u64 = 1 << 53;
        if self.mantissa.unsigned_abs() <= EXACT {
            return self.mantissa as f64 / POW10_F64[usize::from(self.scale.min(22))];
        }
        let n = self.normalized();
        if n.mantissa.unsigned_abs() <= EXACT {
            return n.mantissa as f64 / POW10_F64[usize::from(n.scale.min(22))];
        }
        n.to_string().parse().unwrap_or(f64::NAN)
    }

    /// True when text -> double -> shortest text gives the same number back.
    ///
    /// Any decimal of at most 15 significant digits does; longer ones are tried.
    #[inline]
    pub fn survives_f64(self) -> bool {
        const FIFTEEN_DIGITS: u64 = 1_000_000_000_000_000;
        if self.mantissa.unsigned_abs() < FIFTEEN_DIGITS {
            return true;
        }
        let n = self.normalized();
        n.mantissa.unsigned_abs() < FIFTEEN_DIGITS || n.survives_slowly()
    }

    #[cold]
    fn survives_slowly(self) -> bool {
        let back = format!("{}", self.to_f64());
        Num::parse(back.as_bytes()).is_ok_and(|b| b.normalized() == self.normalized())
    }

    /// The value times 10^18, for DECIMAL(38, 18).
    #[inline]
    pub fn to_decimal18(self) -> i128 {
        i128::from(self.mantissa) * i128::from(POW10[usize::from(18 - self.scale.min(18))])
    }

    /// True for zero of any scale.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.normalized();
        if n.scale == 0 {
            return write!(f, "{}", n.mantissa);
        }
        let sign = if n.mantissa < 0 { "-" } else { "" };
        let unit = POW10[usize::from(n.scale.min(18))].unsigned_abs();
        let abs = n.mantissa.unsigned_abs();
        write!(
            f,
            "{sign}{}.{:0width$}",
            abs / unit,
            abs % unit,
            width = usize::from(n.scale)
        )
    }
}
