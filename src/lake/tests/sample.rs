//! Rows of every table that a venue could send, as a function of a seed: nulls, numbers that do not survive a
//! double, several rows of one frame.
#![allow(clippy::unwrap_used)]

use crate::table::{BookDepth, Event, FrameRow, FundingRate, Kline, Listed, Metrics};
use crate::*;
use model::row::{
    AggTrade, BookTicker, Candle, DepthUpdate, Level, Liquidation, MarkPrice, Side, Ticker, Trade, VenueKline,
};
use model::{Interner, Num, Symbol, SymbolKind};

/// A small generator, so that a row is a function of (seed, number).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn num(&mut self) -> Num {
        match self.below(20) {
            // Does not survive a double: 18 digits.
            0 => Num { mantissa: 123_456_789_012_345_678 + self.below(9) as i128, scale: self.below(19) as u8 },
            1 => Num::default(),
            2 => Num { mantissa: -(self.below(1_000) as i128), scale: 4 },
            // Rarely repeats.
            3..=6 => Num { mantissa: self.below(1 << 50) as i128, scale: 8 },
            _ => Num { mantissa: 6_100_000 + self.below(300) as i128, scale: 2 },
        }
    }

    fn opt<T>(&mut self, v: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(4) != 0).then(|| v(self))
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { Side::Buy } else { Side::Sell }
    }
}

/// Pushes `rows` rows (for depth: messages with up to 5 levels) that a venue could send.
pub(super) fn fill(
    table: Table,
    settings: &WriteSettings,
    rows: usize,
    symbols: u64,
    seed: u64,
) -> (TableBuffer, Interner) {
    let mut d = Dice(seed);
    let mut names = Interner::new();
    let mut buffer = TableBuffer::new(table, settings);
    let mut seq = 5 << 40;
    let mut row_in_frame = 0;
    let mut ns = 1_723_161_255_088_176_367_i64;
    while buffer.len() < rows {
        if d.below(3) == 0 {
            row_in_frame += 1;
        } else {
            seq += 1 + d.below(3) as i64;
            row_in_frame = 0;
            ns += d.below(30_000_000) as i64;
        }
        let c = Common {
            ts_recv_ns: ns,
            seq,
            conn: 1 + d.below(3) as i32,
            flags: if d.below(50) == 0 { flags::LATE } else { 0 },
        };
        let number = d.below(symbols);
        // Interned in any order: the order in the file must not depend on it.
        let symbol = names.intern(&format!("S{}USDT", number.wrapping_mul(2_654_435_761) % 9_973));
        let ts_event_us = d.opt(|_| ns / 1_000_000 * 1_000);
        let ts = ns / 1_000;
        match table {
            Table::Trades => buffer.push(
                &c,
                row_in_frame,
                &Trade {
                    symbol,
                    ts_event_us,
                    ts_trade_us: d.opt(|_| ts),
                    id: d.opt(|d| d.below(1 << 40) as i64),
                    id_str: d.opt(|d| format!("id{}", d.below(40)).into()),
                    price: d.num(),
                    amount: d.num(),
                    side: d.side(),
                    kind: d.opt(|d| names.intern(["MARKET", "INSURANCE_FUND"][d.below(2) as usize])),
                },
            ),
            Table::AggTrades => buffer.push(
                &c,
                row_in_frame,
                &AggTrade {
                    symbol,
                    ts_event_us,
                    ts_trade_us: ts,
                    agg_id: d.below(9_000_000_000) as i64,
                    first_id: seq,
                    last_id: seq + 3,
                    price: d.num(),
                    amount: d.num(),
                    side: d.side(),
                },
            ),
            Table::BookTicker => buffer.push(
                &c,
                row_in_frame,
                &BookTicker {
                    symbol,
                    ts_event_us,
                    update_id: d.opt(|_| seq),
                    bid_price: d.opt(Dice::num),
                    bid_amount: d.opt(Dice::num),
                    ask_price: d.opt(Dice::num),
                    ask_amount: d.opt(Dice::num),
                },
            ),
            Table::Depth => {
                let levels: Vec<Level> = (0..d.below(6))
                    .map(|i| Level { bid: d.below(2) == 0, level: i as i32, price: d.num(), amount: d.num() })
                    .collect();
                let update = DepthUpdate {
                    symbol,
                    ts_event_us,
                    first_update_id: d.opt(|_| seq),
                    final_update_id: Some(seq + 1),
                    prev_update_id: d.opt(|_| seq - 1),
                    is_snapshot: d.below(10) == 0,
                    first_level: 0,
                    level_count: levels.len() as u32,
                };
                let n = buffer.push_depth(&c, row_in_frame, &update, &levels);
                row_in_frame += n as i32;
            }
            Table::MarkPrice => buffer.push(
                &c,
                row_in_frame,
                &MarkPrice {
                    symbol,
                    ts_event_us,
                    mark_price: d.opt(Dice::num),
                    index_price: d.opt(Dice::num),
                    settle_price: d.opt(Dice::num),
                    funding_rate: d.opt(Dice::num),
                    next_funding_us: d.opt(|_| ts),
                },
            ),
            Table::Liquidations => buffer.push(
                &c,
                row_in_frame,
                &Liquidation {
                    symbol,
                    ts_event_us,
                    side: d.opt(Dice::side),
                    price: d.num(),
                    avg_price: d.opt(Dice::num),
                    amount: d.num(),
                    filled: d.opt(Dice::num),
                    status: d.opt(|_| names.intern("FILLED")),
                },
            ),
            Table::Tickers => buffer.push(
                &c,
                row_in_frame,
                &Ticker {
                    symbol,
                    ts_event_us,
                    open: d.opt(Dice::num),
                    high: d.opt(Dice::num),
                    low: d.opt(Dice::num),
                    last: d.opt(Dice::num),
                    volume: d.opt(Dice::num),
                    quote_volume: d.opt(Dice::num),
                    count: d.opt(|d| d.below(99) as i64),
                },
            ),
            Table::Klines
            | Table::VenueKlines
            | Table::MarkPriceKlines
            | Table::IndexPriceKlines
            | Table::PremiumIndexKlines => {
                let bar = VenueKline {
                    symbol,
                    ts_event_us,
                    interval: names.intern(["1m", "5m"][d.below(2) as usize]),
                    close_time_us: ts + 59_999_999,
                    candle: Candle {
                        open_time_us: ts,
                        open: d.num(),
                        high: d.num(),
                        low: d.num(),
                        close: d.num(),
                        volume: d.opt(Dice::num),
                        quote_volume: d.opt(Dice::num),
                        trade_count: d.opt(|_| 3),
                        taker_buy_volume: d.opt(Dice::num),
                        taker_buy_quote_volume: None,
                    },
                    first_trade_id: d.opt(|_| seq),
                    last_trade_id: None,
                    is_final: d.below(2) == 0,
                };
                if table == Table::Klines {
                    let revision = d.below(3) as i32;
                    buffer.push(&c, row_in_frame, &Kline { bar: &bar, source: "live", revision });
                } else if table == Table::VenueKlines {
                    buffer.push(&c, row_in_frame, &bar);
                } else {
                    buffer.push(&c, row_in_frame, &Kline { bar: &bar, source: "archive", revision: 0 });
                }
            }
            Table::Symbols => {
                let row = Symbol {
                    name: names.name(symbol).to_owned(),
                    base: format!("B{}", d.below(5)),
                    quote: "USDT".into(),
                    status: "TRADING".into(),
                    trading: true,
                    listing_time_ms: d.opt(|_| ts / 1_000),
                    end_time_ms: None,
                    tick_size: d.opt(Dice::num),
                    lot_size: d.opt(Dice::num),
                    contract_size: None,
                    kind: SymbolKind::Perpetual,
                    rules: String::new(),
                };
                buffer.push(&c, row_in_frame, &Listed { symbol, entry: &row });
            }
            Table::Events => {
                let detail = format!("{{\"n\":{},\"pad\":\"{}\"}}", d.next(), "x".repeat(d.below(90) as usize));
                buffer.push(
                    &c,
                    row_in_frame,
                    &Event {
                        symbol: d.opt(|_| symbol),
                        ts_event_us,
                        kind: ["gap", "connect"][d.below(2) as usize],
                        detail: &detail,
                    },
                );
            }
            Table::BookDepth => {
                let row = BookDepth { symbol, ts_event_us, percentage: d.num(), depth: d.num(), notional: d.num() };
                buffer.push(&c, row_in_frame, &row);
            }
            Table::Metrics => {
                let values = std::array::from_fn(|_| d.opt(Dice::num));
                buffer.push(&c, row_in_frame, &Metrics { symbol, ts_event_us, values });
            }
            Table::FundingRate => {
                let row = FundingRate { symbol, ts_event_us, interval_hours: 8, funding_rate: d.num() };
                buffer.push(&c, row_in_frame, &row);
            }
            Table::Frames => {
                let payload: Vec<u8> = (0..d.below(3_000)).map(|_| d.next() as u8).collect();
                buffer.push(
                    &c,
                    row_in_frame,
                    &FrameRow {
                        symbol: d.opt(|_| symbol),
                        channel: d.opt(|_| "depth"),
                        encoding: "json",
                        payload: &payload,
                        reason: "malformed at byte 3: expected a colon",
                    },
                );
            }
        }
    }
    (buffer, names)
}
