//! A bar as a row: the columns of `klines`, and exact decimals as text. Knows no database.

use super::error::{DbError, Result};
use super::{NamedBar, Source, StoredBar};
use model::kline::{KlineData, NO_ID, decimal};
use sql::Value;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Bool,
    /// An exact decimal, handed over as text.
    Number,
}

/// Columns of `klines` in the order of [`bar_values`]; the first four are the key.
pub(super) const COLUMNS: [(&str, Kind); 21] = [
    ("venue", Kind::Text),
    ("symbol", Kind::Text),
    ("\"interval\"", Kind::Text),
    ("open_time", Kind::Int),
    ("\"open\"", Kind::Number),
    ("high", Kind::Number),
    ("low", Kind::Number),
    ("\"close\"", Kind::Number),
    ("volume", Kind::Number),
    ("quote_volume", Kind::Number),
    ("taker_buy_volume", Kind::Number),
    ("taker_buy_quote_volume", Kind::Number),
    ("trade_count", Kind::Int),
    ("first_trade_id", Kind::Int),
    ("last_trade_id", Kind::Int),
    ("is_final", Kind::Bool),
    ("revision", Kind::Int),
    ("flags", Kind::Int),
    ("price_scale", Kind::Int),
    ("amount_scale", Kind::Int),
    ("source", Kind::Text),
];

/// Columns of the key.
pub(super) const KEY: usize = 4;

/// What [`stored`] reads, after the key's own columns.
pub(super) const SELECT: &str = "open_time, CAST(\"open\" AS TEXT), CAST(high AS TEXT), CAST(low AS TEXT), \
    CAST(\"close\" AS TEXT), CAST(volume AS TEXT), CAST(quote_volume AS TEXT), CAST(taker_buy_volume AS TEXT), \
    CAST(taker_buy_quote_volume AS TEXT), trade_count, first_trade_id, last_trade_id, revision, flags, price_scale, \
    amount_scale, source";

/// The row of a bar, in the order of [`COLUMNS`].
pub(super) fn bar_values(named: &NamedBar, source: Source) -> Result<Vec<Value>> {
    let bar = &named.bar;
    let (p, a) = (u32::from(bar.price_scale), u32::from(bar.amount_scale));
    let price = |v: i64| Value::Text(decimal(v.into(), p, p));
    let amount = |v: i128| Value::Text(decimal(v, a, a));
    let quote = |v: i128| Value::Text(decimal(v, p + a, p + a));
    let id = |v: i64| if v == NO_ID { Value::Null } else { Value::Int(v) };
    Ok(vec![
        Value::text(&named.venue),
        Value::text(&named.symbol),
        Value::text(named.interval.as_str()),
        Value::Int(bar.open_time_us),
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        amount(bar.volume),
        quote(bar.quote_volume),
        amount(bar.taker_buy_volume),
        quote(bar.taker_buy_quote_volume),
        Value::Int(i64::try_from(bar.trade_count).map_err(|_| DbError::TooManyTrades)?),
        id(bar.first_trade_id),
        id(bar.last_trade_id),
        Value::Bool(bar.is_final()),
        Value::Int(bar.revision.into()),
        Value::Int(bar.flags.into()),
        Value::Int(p.into()),
        Value::Int(a.into()),
        Value::text(source.as_str()),
    ])
}

/// The bar of a row of [`SELECT`].
pub(super) fn stored(row: &[Value]) -> Result<StoredBar> {
    let [
        open_time,
        open,
        high,
        low,
        close,
        volume,
        quote,
        buy,
        buy_quote,
        count,
        first,
        last,
        revision,
        flags,
        price_scale,
        amount_scale,
        source,
    ] = row
    else {
        return Err(DbError::damaged(format!("a row of klines with {} columns", row.len())));
    };
    let (p, a) = (u8::try_from(price_scale.int()?)?, u8::try_from(amount_scale.int()?)?);
    let price = |v: &Value| -> Result<i64> { Ok(i64::try_from(parse(v.str()?, p.into())?)?) };
    let amount = |v: &Value| parse(v.str()?, a.into());
    let total = |v: &Value| parse(v.str()?, u32::from(p) + u32::from(a));
    let id = |v: &Value| if *v == Value::Null { Ok(NO_ID) } else { v.int() };
    let word = source.str()?;
    Ok(StoredBar {
        bar: KlineData {
            open_time_us: open_time.int()?,
            open: price(open)?,
            high: price(high)?,
            low: price(low)?,
            close: price(close)?,
            volume: amount(volume)?,
            quote_volume: total(quote)?,
            taker_buy_volume: amount(buy)?,
            taker_buy_quote_volume: total(buy_quote)?,
            trade_count: u64::try_from(count.int()?)?,
            first_trade_id: id(first)?,
            last_trade_id: id(last)?,
            revision: u32::try_from(revision.int()?)?,
            flags: u16::try_from(flags.int()?)?,
            price_scale: p,
            amount_scale: a,
        },
        source: Source::parse(word).ok_or_else(|| DbError::damaged(format!("unknown source {word:?} of a bar")))?,
    })
}

/// The mantissa of a decimal text at a scale.
fn parse(text: &str, scale: u32) -> Result<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(DbError::damaged(format!("the database holds {text:?} where a decimal must be")));
    }
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let damaged = || format!("the database holds {text:?} where a decimal of {scale} decimals must be");
    let (kept, zeros) = part.split_at(part.len().min(scale as usize));
    if !zeros.bytes().all(|b| b == b'0') {
        return Err(DbError::damaged(damaged()));
    }
    let mantissa: i128 = format!("{whole}{kept}").parse().map_err(|err| DbError::damaged_by(damaged(), err))?;
    let missing = u32::try_from(scale as usize - kept.len())?;
    let mantissa = 10_i128.checked_pow(missing).and_then(|by| mantissa.checked_mul(by));
    let mantissa = mantissa.ok_or_else(|| DbError::damaged(damaged()))?;
    Ok(if digits.len() < text.len() { -mantissa } else { mantissa })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        #[test]
        fn decimals_read_back_from_their_text(mantissa in proptest::num::i128::ANY, scale in 0_u32..=36) {
            let mantissa = mantissa / 2;
            proptest::prop_assert_eq!(parse(&decimal(mantissa, scale, scale), scale).unwrap(), mantissa);
        }
    }

    #[test]
    fn a_decimal_with_other_decimals_reads_exactly_or_not_at_all() {
        assert_eq!(parse("1.5", 3).unwrap(), 1_500);
        assert_eq!(parse("1.500", 1).unwrap(), 15);
        assert_eq!(parse("-0.05", 2).unwrap(), -5);
        for bad in ["1.55", "", "x", "1.5x", "--1", "+1", "1.2.3", "1.\u{e9}"] {
            assert!(parse(bad, 1).is_err(), "{bad}");
        }
    }
}
