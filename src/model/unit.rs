//! What one unit of a symbol's amounts is worth: on the futures of KuCoin and Gate amounts count contracts, and a quote
//! volume that is no more than price times contracts is off by the size of one. Pure.

use crate::Num;

/// See the module. Volumes stay in the venue's unit; quote volumes are multiplied out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// One of the base asset.
    #[default]
    Base,
    /// A contract over so much of the base asset.
    Contract(Num),
    /// A contract over so much of the quote asset, whatever the price.
    Inverse(Num),
    /// A contract whose size no listing has reported yet: quote volumes are not known.
    Unknown,
}

impl Unit {
    /// Of contracts whose size a listing reports, or not yet. `inverse`: a size in the quote asset.
    pub fn of_contracts(size: Option<&str>, inverse: bool) -> Unit {
        let size = size.and_then(|size| Num::parse(size.as_bytes()).ok()).map(|size| size.normalized());
        match size.filter(|size| size.mantissa > 0) {
            Some(size) if inverse => Unit::Inverse(size),
            Some(size) => Unit::Contract(size),
            None => Unit::Unknown,
        }
    }

    /// Decimals that amounts need more, so that quote volumes are exact at the scale of price and amount.
    pub fn scale(self) -> u8 {
        match self {
            Unit::Contract(size) | Unit::Inverse(size) => size.scale,
            Unit::Base | Unit::Unknown => 0,
        }
    }

    /// What `amount`, at a scale that has room for [`Unit::scale`], is worth at `price`, at the scale of both; 0 when
    /// unknown. `price_scale`: that of the price.
    #[inline]
    pub fn quote(self, price: i64, price_scale: u8, amount: i128) -> Option<i128> {
        let contracts = |size: Num| (amount / 10_i128.checked_pow(size.scale.into())?).checked_mul(size.mantissa);
        match self {
            Unit::Base => match i64::try_from(amount) {
                // Nearly all of them. No two of 64 bits overflow 128.
                Ok(amount) => Some(i128::from(price).wrapping_mul(i128::from(amount))),
                Err(_) => i128::from(price).checked_mul(amount),
            },
            Unit::Contract(size) => contracts(size)?.checked_mul(i128::from(price)),
            Unit::Inverse(size) => contracts(size)?.checked_mul(10_i128.checked_pow(price_scale.into())?),
            Unit::Unknown => Some(0),
        }
    }
}
