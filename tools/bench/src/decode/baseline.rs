//! What our decoder is compared with.

use std::hint::black_box;

use model::Num;
use serde::Deserialize;

use super::Decoder;

/// The decoders for frames of that name: the scan first.
pub(super) fn of(name: &str) -> Vec<Decoder<'static>> {
    macro_rules! typed {
        ($scan:path, $message:ident) => {
            vec![
                ("scan", Box::new(|f| $scan(f).is_some())),
                #[cfg(feature = "rivals")]
                (
                    "sonic-rs, typed",
                    Box::new(|f| sonic_rs::from_slice::<Combined<'_, $message<'_>>>(f).is_ok_and(|c| c.data.values())),
                ),
                (
                    "serde_json, typed",
                    Box::new(|f| {
                        serde_json::from_slice::<Combined<'_, $message<'_>>>(f).is_ok_and(|c| c.data.values())
                    }),
                ),
            ]
        };
    }
    match name {
        "trade" => typed!(scan_trade, Trade),
        "aggTrade" => typed!(scan_agg_trade, AggTrade),
        "bookTicker" => typed!(scan_book_ticker, BookTicker),
        _ => {
            let mut levels = Vec::new();
            let mut all: Vec<Decoder<'static>> = typed!(scan_nothing, Depth);
            if let Some(first) = all.first_mut() {
                first.1 = Box::new(move |f| scan_depth(f, &mut levels).is_some());
            }
            all
        }
    }
}

#[derive(Deserialize)]
struct Combined<'a, T> {
    #[serde(borrow, rename = "stream")]
    _stream: &'a str,
    data: T,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "E")]
    event: i64,
    s: &'a str,
    t: i64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

impl Trade<'_> {
    fn values(&self) -> bool {
        let (p, q) = (num(self.p), num(self.q));
        black_box((self.s, self.event * 1000, self.time * 1000, self.t, p, q, self.m));
        self.kind == "trade" && p.is_some() && q.is_some()
    }
}

#[derive(Deserialize)]
struct AggTrade<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "E")]
    event: i64,
    s: &'a str,
    a: i64,
    p: &'a str,
    q: &'a str,
    f: i64,
    l: i64,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

impl AggTrade<'_> {
    fn values(&self) -> bool {
        let (p, q) = (num(self.p), num(self.q));
        black_box((self.s, self.event * 1000, self.time * 1000, self.a, self.f, self.l, p, q, self.m));
        self.kind == "aggTrade" && p.is_some() && q.is_some()
    }
}

#[derive(Deserialize)]
struct BookTicker<'a> {
    u: i64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_amount: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_amount: &'a str,
}

impl BookTicker<'_> {
    fn values(&self) -> bool {
        let all = [self.b, self.bid_amount, self.a, self.ask_amount].map(num);
        black_box((self.s, self.u, all));
        all.iter().all(Option::is_some)
    }
}

#[derive(Deserialize)]
struct Depth<'a> {
    #[serde(rename = "e")]
    kind: &'a str,
    #[serde(rename = "E")]
    event: i64,
    s: &'a str,
    #[serde(rename = "U")]
    first: i64,
    u: i64,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
}

impl Depth<'_> {
    fn values(&self) -> bool {
        let levels = self.b.iter().chain(&self.a).map(|(p, q)| (num(p), num(q)));
        let levels: Vec<_> = levels.collect();
        black_box((self.s, self.event * 1000, self.first, self.u, &levels));
        self.kind == "depthUpdate" && levels.iter().all(|(p, q)| p.is_some() && q.is_some())
    }
}

fn num(text: &str) -> Option<Num> {
    Num::parse(text.as_bytes()).ok()
}

/// A cursor that trusts the frame: it goes to the next colon and reads what is there.
struct Scan<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// Starts after `"data":`, wherever that is.
    #[inline(always)]
    fn data(frame: &'a [u8]) -> Option<Self> {
        let at = memchr::memmem::find(frame, b"\"data\":")? + 7;
        Some(Self { frame, at })
    }

    #[inline(always)]
    fn next_value(&mut self) -> Option<()> {
        while *self.frame.get(self.at)? != b':' {
            self.at += 1;
        }
        self.at += 1;
        Some(())
    }

    #[inline(always)]
    fn int(&mut self) -> Option<i64> {
        self.next_value()?;
        let (num, n) = Num::parse_prefix(self.frame.get(self.at..)?)?;
        self.at += n;
        i64::try_from(num.mantissa).ok()
    }

    #[inline(always)]
    fn text(&mut self) -> Option<&'a [u8]> {
        self.next_value()?;
        self.at += 1;
        let start = self.at;
        while *self.frame.get(self.at)? != b'"' {
            self.at += 1;
        }
        self.at += 1;
        self.frame.get(start..self.at - 1)
    }

    /// The decimal after the quote here, read as fast as we know.
    #[inline(always)]
    fn quoted(&mut self) -> Option<Num> {
        self.at += 1;
        let (num, n) = Num::parse_prefix(self.frame.get(self.at..)?)?;
        self.at += n + 1;
        Some(num)
    }

    #[inline(always)]
    fn num(&mut self) -> Option<Num> {
        self.next_value()?;
        self.quoted()
    }

    #[inline(always)]
    fn flag(&mut self) -> Option<bool> {
        self.next_value()?;
        Some(*self.frame.get(self.at)? == b't')
    }
}

fn scan_trade(frame: &[u8]) -> Option<()> {
    let mut s = Scan::data(frame)?;
    s.next_value()?;
    let (event, symbol, id, p, q) = (s.int()?, s.text()?, s.int()?, s.num()?, s.num()?);
    let (time, m) = (s.int()?, s.flag()?);
    black_box((symbol, event * 1000, time * 1000, id, p, q, m));
    Some(())
}

fn scan_agg_trade(frame: &[u8]) -> Option<()> {
    let mut s = Scan::data(frame)?;
    s.next_value()?;
    let (event, symbol, id, p, q) = (s.int()?, s.text()?, s.int()?, s.num()?, s.num()?);
    let (first, last, time, m) = (s.int()?, s.int()?, s.int()?, s.flag()?);
    black_box((symbol, event * 1000, time * 1000, id, first, last, p, q, m));
    Some(())
}

fn scan_book_ticker(frame: &[u8]) -> Option<()> {
    let mut s = Scan::data(frame)?;
    let (id, symbol) = (s.int()?, s.text()?);
    black_box((symbol, id, [s.num()?, s.num()?, s.num()?, s.num()?]));
    Some(())
}

fn scan_nothing(_: &[u8]) -> Option<()> {
    None
}

fn scan_depth(frame: &[u8], levels: &mut Vec<(bool, Num, Num)>) -> Option<()> {
    levels.clear();
    let mut s = Scan::data(frame)?;
    s.next_value()?;
    let (event, symbol, first, last) = (s.int()?, s.text()?, s.int()?, s.int()?);
    for bid in [true, false] {
        s.next_value()?;
        s.at += 1;
        while *s.frame.get(s.at)? == b'[' {
            s.at += 1;
            let price = s.quoted()?;
            s.at += 1;
            levels.push((bid, price, s.quoted()?));
            s.at += 1;
            if *s.frame.get(s.at)? == b',' {
                s.at += 1;
            }
        }
    }
    black_box((symbol, event * 1000, first, last, &levels));
    Some(())
}
