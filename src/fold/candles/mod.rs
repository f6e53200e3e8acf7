//! From the trades of one symbol to its candles: a pure fold.

pub mod generator;
mod run;

pub use generator::{BarEvent, KEPT, KlineGenerator, What};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::KlineGenerator;
    use model::kline::{NO_ID, SPARSE};
    use model::{Interval, KlineData, Num, Tick, Unit};

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
                let multiplied = before.open_bars()[i].multiplied(unit).unwrap();
                assert_eq!(multiplied, now.open_bars()[i], "{unit:?}");
            }
        }
        let unknown = KlineData { quote_volume: 9, ..KlineData::default() }.multiplied(Unit::Unknown).unwrap();
        assert_eq!((unknown.quote_volume, unknown.flags), (0, SPARSE));
    }
}
