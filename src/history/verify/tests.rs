//! Numbers of the lake back to decimals.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::rows::Stored;
use model::Num;

proptest! {
    #[test]
    fn doubles_give_back_the_text_they_were_made_of(mantissa in -999_999_999_999_999_i64..=999_999_999_999_999, scale in 0_u8..=12) {
        let n = Num { mantissa: mantissa.into(), scale };
        let stored = Stored::Double(n.to_f64().to_bits());
        prop_assert_eq!(stored.num().unwrap().normalized(), n.normalized());
        prop_assert_eq!(stored.like(mantissa.into(), scale.into()), if mantissa == 0 { Stored::Double(0) } else { stored });
        let exact = Stored::Decimal(n.to_decimal18().unwrap().0);
        prop_assert_eq!(exact.num().unwrap().normalized(), n.normalized());
        prop_assert_eq!(exact.like(mantissa.into(), scale.into()), exact);
    }
}
