//! What one unit of a symbol's amounts is worth: on the futures of KuCoin and Gate amounts count contracts, and a quote
//! volume that is no more than price times contracts is off by the size of one. Pure.

use super::data::{KlineData, SPARSE};
use super::registry::Facts;
use crate::venue::{Num, Venue};

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
    /// A contract whose size no listing has told yet: quote volumes are not known.
    Unknown,
}

impl Unit {
    /// Of a symbol, by what its listing says.
    pub fn of(venue: &dyn Venue, facts: Option<&Facts>) -> Unit {
        if !venue.counts_contracts() {
            return Unit::Base;
        }
        let size = facts.and_then(|facts| Num::parse(facts.contract_size.as_deref()?.as_bytes()).ok());
        match (size.map(|size| size.normalized()).filter(|size| size.mantissa > 0), facts) {
            (Some(size), Some(facts)) if facts.kind.starts_with("inverse") => Unit::Inverse(size),
            (Some(size), _) => Unit::Contract(size),
            (None, _) => Unit::Unknown,
        }
    }

    /// Decimals that amounts need more, so that quote volumes are exact at the scale of price and amount.
    pub(super) fn scale(self) -> u8 {
        match self {
            Unit::Contract(size) | Unit::Inverse(size) => size.scale,
            Unit::Base | Unit::Unknown => 0,
        }
    }

    /// What `amount`, at a scale that has room for [`Unit::scale`], is worth at `price`, at the scale of both; 0 when
    /// nobody knows. `price_scale`: that of the price.
    #[inline]
    pub(super) fn quote(self, price: i64, price_scale: u8, amount: i128) -> Option<i128> {
        let contracts = |size: Num| (amount / 10_i128.checked_pow(size.scale.into())?).checked_mul(size.mantissa);
        match self {
            Unit::Base => i128::from(price).checked_mul(amount),
            Unit::Contract(size) => contracts(size)?.checked_mul(i128::from(price)),
            Unit::Inverse(size) => contracts(size)?.checked_mul(10_i128.checked_pow(price_scale.into())?),
            Unit::Unknown => Some(0),
        }
    }

    /// A bar of version 1, whose quote volumes were price times contracts; `None` when a number does not fit.
    pub(super) fn multiplied(self, bar: KlineData) -> Option<KlineData> {
        let of_price = match self {
            Unit::Base => return Some(bar),
            Unit::Unknown => {
                return Some(KlineData {
                    quote_volume: 0,
                    taker_buy_quote_volume: 0,
                    flags: bar.flags | SPARSE,
                    ..bar
                });
            }
            Unit::Contract(size) => Some(size.mantissa),
            Unit::Inverse(_) => None,
        };
        let wide = bar.rescaled(bar.price_scale, bar.amount_scale.checked_add(self.scale())?)?;
        let quote = |quote: i128, amount: i128| match of_price {
            Some(size) => quote.checked_mul(size),
            None => self.quote(0, bar.price_scale, amount),
        };
        Some(KlineData {
            quote_volume: quote(bar.quote_volume, wide.volume)?,
            taker_buy_quote_volume: quote(bar.taker_buy_quote_volume, wide.taker_buy_volume)?,
            ..wide
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kline::data::{NO_ID, Tick};
    use crate::kline::{Interval, KlineGenerator};

    #[test]
    fn bars_of_version_1_are_multiplied_out_to_what_the_fold_gives_today() {
        let size = |text: &str| Num::parse(text.as_bytes()).unwrap();
        for unit in [Unit::Contract(size("0.001")), Unit::Contract(size("100")), Unit::Inverse(size("1")), Unit::Base] {
            let (mut before, mut now) = (KlineGenerator::new(), KlineGenerator::new());
            now.set_unit(unit);
            for id in 1..20 {
                let tick = Tick {
                    symbol_index: 0,
                    ts_us: id,
                    price: Num { mantissa: i128::from(900_005 + id), scale: 1 },
                    amount: Num { mantissa: i128::from(id % 7 + 1), scale: 0 },
                    first_id: id,
                    last_id: id,
                    agg_id: NO_ID,
                    count: 1,
                    taker_buy: id % 3 == 0,
                };
                before.apply(&tick, &mut Vec::new()).unwrap();
                now.apply(&tick, &mut Vec::new()).unwrap();
            }
            for i in 0..Interval::COUNT {
                let multiplied = unit.multiplied(before.open_bars()[i]).unwrap();
                assert_eq!(multiplied, now.open_bars()[i], "{unit:?}");
            }
        }
        let unknown = Unit::Unknown.multiplied(KlineData { quote_volume: 9, ..KlineData::default() }).unwrap();
        assert_eq!((unknown.quote_volume, unknown.flags), (0, SPARSE));
    }
}
