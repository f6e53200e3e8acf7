//! The four known messages to rows. All or nothing per book: the caller drops the rows of a refused frame.
//!
//! A number is `mantissa * 10^exponent`; the exponents belong to the frame and may change with every one. Times
//! are us since 1970. The smallest i64 is SBE's null and is never a value here.

use super::super::super::DecodeError;
use super::layout::{Body, Group, Message, i8_at, i64_at};
use model::Channel;
use model::number::{Num, NumError};
use model::row::{BookTicker, DepthUpdate, Level, Rows, Side, Trade};

type Result<T> = std::result::Result<T, DecodeError>;

/// SBE's null of an int64.
const NULL: i64 = i64::MIN;

/// Rows of a message; `frame` is the sample for what drifts.
#[inline]
pub(super) fn decode(message: &Message<'_>, frame: &[u8], rows: &mut Rows) -> Result<Channel> {
    if message.version != 0 || message.longer {
        note(message, frame, rows);
    }
    let of = MessageName(message.template.name());
    match message.body {
        Body::Trades { root, trades } => {
            let row = Trade {
                symbol: rows.symbols.intern(message.symbol),
                ts_event_us: Some(of.time("eventTime", i64_at::<0, _>(root))?),
                ts_trade_us: Some(of.time("transactTime", i64_at::<8, _>(root))?),
                id: None,
                id_str: None,
                price: Num::default(),
                amount: Num::default(),
                side: Side::Buy,
                kind: None,
            };
            let (price, amount) = (i8_at::<16, _>(root), i8_at::<17, _>(root));
            rows.trades.reserve(trades.iter().len());
            // Trades do not depend on each other: one that cannot be read costs only itself.
            let (mut odd, before) = (None, rows.trades.len());
            for (n, entry) in trades.iter().enumerate() {
                let read = || {
                    Ok(Trade {
                        id: Some(of.id("id", i64_at::<0, _>(entry))?),
                        price: of.num("price", i64_at::<8, _>(entry), price)?,
                        amount: of.num("qty", i64_at::<16, _>(entry), amount)?,
                        side: of.taker(entry[24])?,
                        ..row.clone()
                    })
                };
                match read() {
                    Ok(trade) => rows.trades.push(trade),
                    Err(err) => {
                        rows.rejects.note(Some(row.symbol), &format!("item {}: {err}", n + 1));
                        odd.get_or_insert(err);
                    }
                }
            }
            if let Some(err) = odd.filter(|_| rows.trades.len() == before) {
                return Err(err);
            }
        }
        Body::BestBidAsk { root } => {
            let (price, amount) = (i8_at::<16, _>(root), i8_at::<17, _>(root));
            let row = BookTicker {
                symbol: rows.symbols.intern(message.symbol),
                ts_event_us: Some(of.time("eventTime", i64_at::<0, _>(root))?),
                update_id: Some(of.id("bookUpdateId", i64_at::<8, _>(root))?),
                bid_price: of.opt_num("bidPrice", i64_at::<18, _>(root), price)?,
                bid_amount: of.opt_num("bidQty", i64_at::<26, _>(root), amount)?,
                ask_price: of.opt_num("askPrice", i64_at::<34, _>(root), price)?,
                ask_amount: of.opt_num("askQty", i64_at::<42, _>(root), amount)?,
            };
            rows.book_tickers.push(row);
        }
        Body::DepthSnapshot { root, bids, asks } => {
            let id = of.id("bookUpdateId", i64_at::<8, _>(root))?;
            let row = DepthUpdate {
                symbol: rows.symbols.intern(message.symbol),
                ts_event_us: Some(of.time("eventTime", i64_at::<0, _>(root))?),
                first_update_id: Some(id),
                final_update_id: Some(id),
                prev_update_id: None,
                is_snapshot: true,
                first_level: 0,
                level_count: 0,
            };
            of.book(row, bids, asks, (i8_at::<16, _>(root), i8_at::<17, _>(root)), rows)?;
        }
        Body::DepthDiff { root, bids, asks } => {
            let row = DepthUpdate {
                symbol: rows.symbols.intern(message.symbol),
                ts_event_us: Some(of.time("eventTime", i64_at::<0, _>(root))?),
                first_update_id: Some(of.id("firstBookUpdateId", i64_at::<8, _>(root))?),
                final_update_id: Some(of.id("lastBookUpdateId", i64_at::<16, _>(root))?),
                prev_update_id: None,
                is_snapshot: false,
                first_level: 0,
                level_count: 0,
            };
            of.book(row, bids, asks, (i8_at::<24, _>(root), i8_at::<25, _>(root)), rows)?;
        }
    }
    Ok(message.template.channel())
}

/// Counts what a newer message has that we skip.
#[cold]
fn note(message: &Message<'_>, frame: &[u8], rows: &mut Rows) {
    let name = message.template.name();
    if message.version != 0 {
        rows.drift.note(&format!("SBE {name} of version {}", message.version), frame);
    }
    if message.longer {
        rows.drift.note(&format!("SBE {name} with more fields"), frame);
    }
}

/// The name of a message, to say which field of what is wrong.
#[derive(Clone, Copy)]
struct MessageName(&'static str);

impl MessageName {
    #[cold]
    fn wrong<T>(self, field: &'static str) -> Result<T> {
        Err(DecodeError::Field { message: self.0, field })
    }

    #[inline]
    fn id(self, field: &'static str, sent: i64) -> Result<i64> {
        if sent == NULL { self.wrong(field) } else { Ok(sent) }
    }

    #[inline]
    fn time(self, field: &'static str, sent: i64) -> Result<i64> {
        if sent < 0 { self.wrong(field) } else { Ok(sent) }
    }

    /// `isBuyerMaker`: 1 says that the taker sold.
    #[inline]
    fn taker(self, sent: u8) -> Result<Side> {
        match sent {
            0 => Ok(Side::Buy),
            1 => Ok(Side::Sell),
            _ => self.wrong("isBuyerMaker"),
        }
    }

    #[inline]
    fn num(self, field: &'static str, mantissa: i64, exponent: i8) -> Result<Num> {
        if mantissa == NULL {
            return self.wrong(field);
        }
        decimal(mantissa, exponent).map_err(|source| DecodeError::Number { message: self.0, field, source })
    }

    #[inline]
    fn opt_num(self, field: &'static str, mantissa: i64, exponent: i8) -> Result<Option<Num>> {
        if mantissa == NULL { Ok(None) } else { self.num(field, mantissa, exponent).map(Some) }
    }

    fn book(
        self,
        row: DepthUpdate,
        bids: Group<'_, 16>,
        asks: Group<'_, 16>,
        (price, amount): (i8, i8),
        rows: &mut Rows,
    ) -> Result<()> {
        let first = rows.levels.len();
        for (bid, side) in [(true, bids), (false, asks)] {
            for (level, entry) in (0_i32..).zip(side.iter()) {
                let price = self.num("price", i64_at::<0, _>(entry), price)?;
                let amount = self.num("qty", i64_at::<8, _>(entry), amount)?;
                rows.levels.push(Level { bid, level, price, amount });
            }
        }
        let count = rows.levels.len() - first;
        let (Ok(first), Ok(count)) = (u32::try_from(first), u32::try_from(count)) else {
            return self.wrong("levels: too many");
        };
        rows.depth.push(DepthUpdate { first_level: first, level_count: count, ..row });
        Ok(())
    }
}

/// `mantissa * 10^exponent` exactly, or that it has too many digits.
#[inline]
fn decimal(mantissa: i64, exponent: i8) -> std::result::Result<Num, NumError> {
    match exponent {
        -18..=0 => Ok(Num { mantissa: mantissa.into(), scale: exponent.unsigned_abs() }),
        _ => far_decimal(mantissa, exponent),
    }
}

/// Exponents that no market has: more than 18 decimals, or zeros before the point.
#[cold]
fn far_decimal(mantissa: i64, exponent: i8) -> std::result::Result<Num, NumError> {
    Num::parse(format!("{mantissa}e{exponent}").as_bytes())
}
