//! The frequent messages in the documented key order, byte by byte, without allocation.
//!
//! Each function reads as the message does. Years and markets differ in a few keys, which are optional here in
//! their places. Anything else is `None` and the frame goes to the general path; rows are pushed only when the
//! whole frame was as expected.

use super::market::Market;
use super::scan::Scan;
use super::stream::Book;
use super::stream::book_of;

use model::Channel;
use model::number::Num;
use model::row::{AggTrade, BookTicker, DepthUpdate, Level, MarkPrice, Rows, Side, Trade};

/// The channel of the row that was pushed, or `None` and `rows` as it was.
#[inline]
pub(super) fn decode(market: Market, payload: &[u8], rows: &mut Rows) -> Option<Channel> {
    let mut s = Scan::new(payload);
    let mut stream: &[u8] = b"";
    let combined = s.eat(br#"{"stream":""#);
    if combined {
        stream = s.inside()?;
        s.lit(br#","data":"#)?;
    }
    let end = End { market, combined };
    if !s.eat(br#"{"e":""#) {
        s.lit(br#"{"u":"#)?;
        return spot_book_ticker(s, end, rows);
    }
    if s.eat(br#"trade","E":"#) {
        return match market {
            Market::Spot => spot_trade(s, end, rows),
            Market::Usdm | Market::Coinm => usdm_trade(s, end, rows),
        };
    }
    if s.eat(br#"depthUpdate","E":"#) {
        return depth(market, s, end, stream, rows);
    }
    if s.eat(br#"bookTicker","u":"#) {
        return usdm_book_ticker(s, end, rows);
    }
    if s.eat(br#"aggTrade","E":"#) {
        return agg_trade(s, end, rows);
    }
    s.lit(br#"markPriceUpdate","E":"#)?;
    mark_price(s, end, rows)
}

/// How a frame ends.
#[derive(Clone, Copy)]
struct End {
    market: Market,
    combined: bool,
}

impl End {
    /// The family of the row may stand here; that of another market is left to the general parser.
    #[inline(always)]
    fn family(self, s: &mut Scan<'_>) {
        match self.market {
            Market::Spot | Market::Usdm => s.eat(br#","st":1"#),
            Market::Coinm => s.eat(br#","st":2"#),
        };
    }

    #[inline(always)]
    fn here(self, s: &mut Scan<'_>) -> Option<()> {
        s.lit(b"}")?;
        if self.combined {
            s.lit(b"}")?;
        }
        s.end()
    }
}

#[inline(always)]
fn taker(buyer_is_maker: bool) -> Side {
    if buyer_is_maker { Side::Sell } else { Side::Buy }
}

/// `..E,"s":..,"t":..,"p":..,"q":..,["b":..,"a":..,]"T":..,"m":true,"M":true}`
#[inline(always)]
fn spot_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    s.lit(br#","s":""#)?;
    let symbol = s.text()?;
    s.lit(br#","t":"#)?;
    let id = s.int()?;
    s.lit(br#","p":""#)?;
    let price = s.num()?;
    s.lit(br#","q":""#)?;
    let amount = s.num()?;
    if s.eat(br#","b":"#) {
        s.int()?;
        s.lit(br#","a":"#)?;
        s.int()?;
    }
    s.lit(br#","T":"#)?;
    let time = s.time()?;
    s.lit(br#","m":"#)?;
    let side = taker(s.flag()?);
    s.lit(br#","M":"#)?;
    s.flag()?;
    end.here(&mut s)?;
    rows.trades.push(Trade {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        ts_trade_us: Some(time),
        id: Some(id),
        id_str: None,
        price,
        amount,
        side,
        kind: None,
    });
    Some(Channel::Trades)
}

/// `..E,"T":..,"s":..,"t":..,"p":..,"q":..,["X":..,]"m":true[,"st":1]}`
#[inline(always)]
fn usdm_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    s.lit(br#","T":"#)?;
    let time = s.time()?;
    s.lit(br#","s":""#)?;
    let symbol = s.text()?;
    s.lit(br#","t":"#)?;
    let id = s.int()?;
    s.lit(br#","p":""#)?;
    let price = s.num()?;
    s.lit(br#","q":""#)?;
    let amount = s.num()?;
    let mut kind = None;
    if s.eat(br#","X":""#) {
        kind = Some(s.text()?);
    }
    s.lit(br#","m":"#)?;
    let side = taker(s.flag()?);
    end.family(&mut s);
    end.here(&mut s)?;
    rows.trades.push(Trade {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        ts_trade_us: Some(time),
        id: Some(id),
        id_str: None,
        price,
        amount,
        side,
        kind: kind.map(|k| rows.symbols.intern(k)),
    });
    Some(Channel::Trades)
}

/// Spot `..E,"s":..,"a":..,"p":..,"q":..,"f":..,"l":..,"T":..,"m":true,"M":true}`;
/// USD-M `..E,"a":..,"s":..,"p":..,"q":..,["nq":..,]"f":..,"l":..,"T":..,"m":true[,"st":1]}`
#[inline(always)]
fn agg_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    let (symbol, agg_id);
    if s.eat(br#","a":"#) {
        agg_id = s.int()?;
        s.lit(br#","s":""#)?;
        symbol = s.text()?;
    } else {
        s.lit(br#","s":""#)?;
        symbol = s.text()?;
        s.lit(br#","a":"#)?;
        agg_id = s.int()?;
    }
    s.lit(br#","p":""#)?;
    let price = s.num()?;
    s.lit(br#","q":""#)?;
    let amount = s.num()?;
    if s.eat(br#","nq":""#) {
        s.num()?;
    }
    s.lit(br#","f":"#)?;
    let first_id = s.int()?;
    s.lit(br#","l":"#)?;
    let last_id = s.int()?;
    s.lit(br#","T":"#)?;
    let time = s.time()?;
    s.lit(br#","m":"#)?;
    let side = taker(s.flag()?);
    if s.eat(br#","M":"#) {
        s.flag()?;
    } else {
        end.family(&mut s);
    }
    end.here(&mut s)?;
    rows.agg_trades.push(AggTrade {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        ts_trade_us: time,
        agg_id,
        first_id,
        last_id,
        price,
        amount,
        side,
    });
    Some(Channel::AggTrades)
}

/// Spot `..u,"s":..,"b":..,"B":..,"a":..,"A":..}`
#[inline(always)]
fn spot_book_ticker(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let best = Best::read(&mut s)?;
    end.here(&mut s)?;
    best.push(None, rows)
}

/// USD-M `..u,"s":..,["ps":..,]"b":..,"B":..,"a":..,"A":..,"T":..,"E":..[,"st":1]}`
#[inline(always)]
fn usdm_book_ticker(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let best = Best::read(&mut s)?;
    s.lit(br#","T":"#)?;
    s.time()?;
    s.lit(br#","E":"#)?;
    let event = s.time()?;
    end.family(&mut s);
    end.here(&mut s)?;
    best.push(Some(event), rows)
}

/// What both markets' best bid and ask have in common.
struct Best<'a> {
    update_id: i64,
    symbol: &'a str,
    bid: (Num, Num),
    ask: (Num, Num),
}

impl<'a> Best<'a> {
    #[inline(always)]
    fn read(s: &mut Scan<'a>) -> Option<Self> {
        let update_id = s.int()?;
        s.lit(br#","s":""#)?;
        let symbol = s.text()?;
        if s.eat(br#","ps":""#) {
            s.text()?;
        }
        s.lit(br#","b":""#)?;
        let bid_price = s.num()?;
        s.lit(br#","B":""#)?;
        let bid_amount = s.num()?;
        s.lit(br#","a":""#)?;
        let ask_price = s.num()?;
        s.lit(br#","A":""#)?;
        let ask_amount = s.num()?;
        Some(Self { update_id, symbol, bid: (bid_price, bid_amount), ask: (ask_price, ask_amount) })
    }

    #[inline(always)]
    fn push(self, ts_event_us: Option<i64>, rows: &mut Rows) -> Option<Channel> {
        rows.book_tickers.push(BookTicker {
            symbol: rows.symbols.intern(self.symbol),
            ts_event_us,
            update_id: Some(self.update_id),
            bid_price: Some(self.bid.0),
            bid_amount: Some(self.bid.1),
            ask_price: Some(self.ask.0),
            ask_amount: Some(self.ask.1),
        });
        Some(Channel::BookTicker)
    }
}

/// Spot `..E,"s":..,"U":..,"u":..,"b":[..],"a":[..]}`;
/// USD-M `..E,"T":..,"s":..,["ps":..,]["st":1,]"U":..,"u":..,"pu":..,"b":[..],"a":[..]}`
#[inline]
fn depth(market: Market, mut s: Scan<'_>, end: End, stream: &[u8], rows: &mut Rows) -> Option<Channel> {
    let is_snapshot = match (market, book_of(stream)) {
        (_, Book::Rpi) => return None,
        (market, book) => market != Market::Spot && book == Book::Whole,
    };
    let event = s.time()?;
    if market != Market::Spot {
        s.lit(br#","T":"#)?;
        s.time()?;
    }
    s.lit(br#","s":""#)?;
    let symbol = s.text()?;
    if s.eat(br#","ps":""#) {
        s.text()?;
    }
    end.family(&mut s);
    s.lit(br#","U":"#)?;
    let first = s.int()?;
    s.lit(br#","u":"#)?;
    let last = s.int()?;
    let mut prev = None;
    if s.eat(br#","pu":"#) {
        prev = Some(s.int()?);
    }
    let start = rows.levels.len();
    let read = (|| {
        s.lit(br#","b":["#)?;
        levels(&mut s, true, &mut rows.levels)?;
        s.lit(br#","a":["#)?;
        levels(&mut s, false, &mut rows.levels)?;
        end.here(&mut s)?;
        Some((u32::try_from(start).ok()?, u32::try_from(rows.levels.len() - start).ok()?))
    })();
    let Some((first_level, level_count)) = read else {
        rows.levels.truncate(start);
        return None;
    };
    rows.depth.push(DepthUpdate {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        first_update_id: Some(first),
        final_update_id: Some(last),
        prev_update_id: prev,
        is_snapshot,
        first_level,
        level_count,
    });
    Some(Channel::Depth)
}

/// `["price","amount"],..]`, the opening bracket already taken.
#[inline(always)]
fn levels(s: &mut Scan<'_>, bid: bool, out: &mut Vec<Level>) -> Option<()> {
    if s.eat(b"]") {
        return Some(());
    }
    let mut level = 0;
    loop {
        s.lit(br#"[""#)?;
        let price = s.num()?;
        s.lit(br#",""#)?;
        let amount = s.num()?;
        out.push(Level { bid, level, price, amount });
        level += 1;
        if s.eat(b"],") {
            continue;
        }
        return s.lit(b"]]");
    }
}

/// `..E,"s":..,"p":..,["ap":..,]["P":..,]["i":..,]["P":..,]"r":..,"T":..[,"st":1]}`
#[inline]
fn mark_price(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    s.lit(br#","s":""#)?;
    let symbol = s.text()?;
    s.lit(br#","p":""#)?;
    let mark_price = s.num()?;
    if s.eat(br#","ap":""#) {
        s.num()?;
    }
    let (mut settle_price, mut index_price) = (None, None);
    if s.eat(br#","P":""#) {
        settle_price = Some(s.num()?);
    }
    if s.eat(br#","i":""#) {
        index_price = Some(s.num()?);
    }
    if settle_price.is_none() && s.eat(br#","P":""#) {
        settle_price = Some(s.num()?);
    }
    s.lit(br#","r":""#)?;
    let funding_rate = s.signed_num()?;
    s.lit(br#","T":"#)?;
    let next = s.time()?;
    end.family(&mut s);
    end.here(&mut s)?;
    rows.mark_prices.push(MarkPrice {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        mark_price: Some(mark_price),
        index_price,
        settle_price,
        funding_rate: Some(funding_rate),
        next_funding_us: Some(next).filter(|t| *t != 0),
    });
    Some(Channel::MarkPrice)
}
