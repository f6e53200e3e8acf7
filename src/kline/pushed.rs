//! Which trades are pushed to subscribers: those that are made now, in the order of the venue. What was fetched
//! again, came late over a second connection, or is worked off after a stop is in the bars and in the recent trades, in
//! its place; as news it would be a wrong last price.

use super::message::Item;
use model::kline::{NO_ID, Tick};

/// The newest trade of each symbol, as far as it was live.
#[derive(Debug, Default)]
pub(super) struct PushedTrades {
    /// Id and time (us) by registry index.
    newest: Vec<(i64, i64)>,
}

impl PushedTrades {
    /// The trades of now among `items`. Only those of a record that was written while it is read come with
    /// [`Item::Received`].
    pub(super) fn of_now(&mut self, items: &[Item]) -> Vec<Tick> {
        let mut made = Vec::new();
        let mut record = Vec::new();
        for item in items {
            match item {
                Item::Tick(tick) => record.push(*tick),
                Item::Received { trades, .. } => {
                    let others = record.len().saturating_sub(*trades as usize);
                    made.extend(record.drain(..).skip(others).filter(|tick| self.is_next(tick)));
                }
                _ => {}
            }
        }
        made
    }

    /// False for one that comes before another one that was there. A lower id with a later time is a count that began
    /// again.
    fn is_next(&mut self, tick: &Tick) -> bool {
        let index = tick.symbol_index as usize;
        if self.newest.len() <= index {
            self.newest.resize(index + 1, (NO_ID, i64::MIN));
        }
        let Some((id, ts_us)) = self.newest.get_mut(index) else { return false };
        if tick.last_id != NO_ID && tick.last_id <= *id && tick.ts_us <= *ts_us {
            return false;
        }
        (*id, *ts_us) = (tick.last_id, tick.ts_us.max(*ts_us));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Num;

    fn trade(id: i64, ts_us: i64) -> Item {
        let one = Num { mantissa: 1, scale: 0 };
        let (price, amount) = (one, one);
        let tick = Tick {
            symbol_index: 3,
            ts_us,
            price,
            amount,
            first_id: id,
            last_id: id,
            agg_id: NO_ID,
            count: 1,
            taker_buy: true,
        };
        Item::Tick(tick)
    }

    #[test]
    fn only_trades_of_now_are_pushed_and_their_ids_never_go_back() {
        let received = |trades| Item::Received { ns: 1, trades };
        let mut pushed = PushedTrades::default();
        let mut ids = |items: &[Item]| pushed.of_now(items).iter().map(|t| t.last_id).collect::<Vec<_>>();
        // A backlog is nobody's news, nor what the repairer fetched between two live records.
        assert!(ids(&[trade(1, 1), trade(2, 2)]).is_empty());
        assert_eq!(ids(&[trade(10, 10), received(1), trade(5, 5), trade(6, 6), trade(11, 11), received(1)]), [10, 11]);
        // Late over a second line; then on.
        assert_eq!(ids(&[trade(9, 9), received(1), trade(12, 12), trade(13, 12), received(2)]), [12, 13]);
        assert_eq!(ids(&[trade(1, 20), trade(2, 20), received(2)]), [1, 2], "a count that begins again");
        assert_eq!(ids(&[trade(NO_ID, 19), received(1)]), [NO_ID], "nobody knows its place");
    }
}
