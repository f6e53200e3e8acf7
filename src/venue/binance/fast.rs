//! The frequent messages in the documented key order, byte by byte, without allocation.
//!
//! Each function reads as the message does. Years and markets differ in a few keys, which are optional here in
//! their places. Anything else is `None` and the frame goes to the general path; rows are pushed only when the
//! whole frame was as expected.

use super::market::Market;
use super::scan::Scan;
use super::stream::{Book, book_of};

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
        return book_ticker(s, end, false, rows);
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
        return book_ticker(s, end, true, rows);
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

/// `key name = how, ..`: what must stand here, each time a key and the value after it.
macro_rules! fields {
    ($s:ident: $($key:literal $name:pat = $how:ident),+ $(,)?) => {
        $($s.lit($key)?; let $name = $s.$how()?;)+
    };
}

/// The value after a key that may stand here.
macro_rules! maybe {
    ($s:ident: $key:literal $how:ident) => {
        if $s.eat($key) { Some($s.$how()?) } else { None }
    };
}

/// `..E,"s":..,"t":..,"p":..,"q":..,["b":..,"a":..,]"T":..,"m":true,"M":true}`
#[inline(always)]
fn spot_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    fields!(s: br#","s":""# symbol = text, br#","t":"# id = int, br#","p":""# price = num, br#","q":""# amount = num);
    if s.eat(br#","b":"#) {
        s.int()?;
        fields!(s: br#","a":"# _ = int);
    }
    fields!(s: br#","T":"# time = time, br#","m":"# maker = flag, br#","M":"# _ = flag);
    end.here(&mut s)?;
    push_trade(rows, (event, time), symbol, id, (price, amount), maker, None)
}

/// `..E,"T":..,"s":..,"t":..,"p":..,"q":..,["X":..,]"m":true[,"st":1]}`
#[inline(always)]
fn usdm_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    fields!(s: br#","T":"# time = time, br#","s":""# symbol = text, br#","t":"# id = int);
    fields!(s: br#","p":""# price = num, br#","q":""# amount = num);
    let kind = maybe!(s: br#","X":""# text);
    fields!(s: br#","m":"# maker = flag);
    end.family(&mut s);
    end.here(&mut s)?;
    push_trade(rows, (event, time), symbol, id, (price, amount), maker, kind)
}

#[inline(always)]
fn push_trade(
    rows: &mut Rows,
    (event, time): (i64, i64),
    symbol: &str,
    id: i64,
    (price, amount): (Num, Num),
    maker: bool,
    kind: Option<&str>,
) -> Option<Channel> {
    rows.trades.push(Trade {
        symbol: rows.symbols.intern(symbol),
        ts_event_us: Some(event),
        ts_trade_us: Some(time),
        id: Some(id),
        id_str: None,
        price,
        amount,
        side: taker(maker),
        kind: kind.map(|k| rows.symbols.intern(k)),
    });
    Some(Channel::Trades)
}

/// Spot `..E,"s":..,"a":..,"p":..,"q":..,"f":..,"l":..,"T":..,"m":true,"M":true}`;
/// USD-M `..E,"a":..,"s":..,"p":..,"q":..,["nq":..,]"f":..,"l":..,"T":..,"m":true[,"st":1]}`
#[inline(always)]
fn agg_trade(mut s: Scan<'_>, end: End, rows: &mut Rows) -> Option<Channel> {
    let event = s.time()?;
    let (symbol, agg_id) = if s.eat(br#","a":"#) {
        let id = s.int()?;
        fields!(s: br#","s":""# symbol = text);
        (symbol, id)
    } else {
        fields!(s: br#","s":""# symbol = text, br#","a":"# id = int);
        (symbol, id)
    };
    fields!(s: br#","p":""# price = num, br#","q":""# amount = num);
    maybe!(s: br#","nq":""# num);
    fields!(s: br#","f":"# first_id = int, br#","l":"# last_id = int, br#","T":"# time = time, br#","m":"# maker = flag);
    if maybe!(s: br#","M":"# flag).is_none() {
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
        side: taker(maker),
    });
    Some(Channel::AggTrades)
}

/// Spot `..u,"s":..,"b":..,"B":..,"a":..,"A":..}`;
/// USD-M `..u,"s":..,["ps":..,]"b":..,"B":..,"a":..,"A":..,"T":..,"E":..[,"st":1]}`
#[inline(always)]
fn book_ticker(mut s: Scan<'_>, end: End, has_time: bool, rows: &mut Rows) -> Option<Channel> {
    let update_id = s.int()?;
    fields!(s: br#","s":""# symbol = text);
    maybe!(s: br#","ps":""# text);
    fields!(s: br#","b":""# bid_price = num, br#","B":""# bid_amount = num);
    fields!(s: br#","a":""# ask_price = num, br#","A":""# ask_amount = num);
    let mut ts_event_us = None;
    if has_time {
        fields!(s: br#","T":"# _ = time, br#","E":"# event = time);
        ts_event_us = Some(event);
        end.family(&mut s);
    }
    end.here(&mut s)?;
    rows.book_tickers.push(BookTicker {
        symbol: rows.symbols.intern(symbol),
        ts_event_us,
        update_id: Some(update_id),
        bid_price: Some(bid_price),
        bid_amount: Some(bid_amount),
        ask_price: Some(ask_price),
        ask_amount: Some(ask_amount),
    });
    Some(Channel::BookTicker)
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
        fields!(s: br#","T":"# _ = time);
    }
    fields!(s: br#","s":""# symbol = text);
    maybe!(s: br#","ps":""# text);
    end.family(&mut s);
    fields!(s: br#","U":"# first = int, br#","u":"# last = int);
    let prev = maybe!(s: br#","pu":"# int);
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
        fields!(s: br#"[""# price = num, br#",""# amount = num);
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
    fields!(s: br#","s":""# symbol = text, br#","p":""# mark_price = num);
    maybe!(s: br#","ap":""# num);
    let before = maybe!(s: br#","P":""# num);
    let index_price = maybe!(s: br#","i":""# num);
    let settle_price = if before.is_some() { before } else { maybe!(s: br#","P":""# num) };
    fields!(s: br#","r":""# funding_rate = signed_num, br#","T":"# next = time);
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
