//! What the order books of all JSON venues share: two sides of entries become levels, and the message learns where its own
//! are. Judges no sequence.

use super::json;
use super::message::{Context, MessageName, Raw, Result};
use model::Num;
use model::row::{DepthUpdate, Level};

/// Price and amount of an entry, or `None` where it is no level.
pub(super) type Read = Result<Option<(Num, Num)>>;

impl<M> Context<'_, '_, M> {
    /// Pushes the levels of both sides, each a field and its array, then `row`. `entry` reads one.
    pub(super) fn book<'a>(
        &mut self,
        of: MessageName,
        bids: (&'static str, Raw<'a>),
        asks: (&'static str, Raw<'a>),
        row: DepthUpdate,
        entry: &mut dyn FnMut(&mut Self, &'static str, &'a str) -> Read,
    ) -> Result<()> {
        let start = self.rows.levels.len();
        for (bid, (field, raw)) in [(true, bids), (false, asks)] {
            let Some(raw) = raw.filter(|r| json::is_array(r)) else {
                return of.wrong(field);
            };
            let mut level = 0_i32;
            json::array(raw, &mut |text| {
                if let Some((price, amount)) = entry(self, field, text)? {
                    self.rows.levels.push(Level { bid, level, price, amount });
                }
                level = level.saturating_add(1);
                Ok(())
            })?;
        }
        self.with_levels(of, start, row)
    }

    /// Pushes `row`, whose levels are those from `start` on.
    pub(super) fn with_levels(&mut self, of: MessageName, start: usize, row: DepthUpdate) -> Result<()> {
        let (first, count) = (u32::try_from(start), u32::try_from(self.rows.levels.len().saturating_sub(start)));
        let (Ok(first_level), Ok(level_count)) = (first, count) else {
            return of.wrong("levels: too many");
        };
        self.rows.depth.push(DepthUpdate { first_level, level_count, ..row });
        Ok(())
    }
}
