//! Logs of a seeded market, made without sockets: three venues over a day and a half of pretended time, with what goes
//! wrong on the way. Trades that come seconds, minutes and hours late; ids that are lost, fetched again by the
//! repairer or never; trades that two connections bring; a market that falls silent for more than a day; decimals that
//! appear in the middle; a collector that is started again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter, flags};

use super::{Dice, recordings};

/// 2026-11-14T20:00:00Z in ms: a Saturday, so the second night begins a week.
pub const START_MS: u64 = 1_794_686_400_000;
/// Length of the pretended time, ms: into Monday.
pub const SPAN_MS: u64 = 33 * 3_600_000;
/// Venues, with their symbols and the channel that candles are made of.
pub const VENUES: [(&str, &str, [&str; 4]); 3] = [
    ("binance-spot", "trades", ["BTCUSDT", "ETHUSDT", "DOGEUSDT", "XRPUSDT"]),
    ("binance-usdm", "agg_trades", ["BTCUSDT", "ETHUSDT", "XRPUSDT", "TRXUSDT"]),
    ("kucoin-spot", "trades", ["BTC-USDT", "ETH-USDT", "KCS-USDT", "XRP-USDT"]),
];

/// What becomes of a trade on its way.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Delivered,
    Twice,
    /// So many ms late.
    Late(u64),
    /// Fetched again so many ms later.
    Repaired(u64),
    Lost,
}

struct Trade {
    symbol: usize,
    id: u64,
    /// Trades in an aggregate: its first and last.
    ids: (u64, u64),
    ts_ms: u64,
    price: String,
    amount: String,
    maker: bool,
    fate: Fate,
}

/// One record in the making.
struct Record {
    at_ms: u64,
    conn: u32,
    kind: Kind,
    flags: u8,
    payload: Vec<u8>,
}

/// Writes the logs of all venues, and of their repairers, below `wal`: `trades` of each venue.
pub fn record(wal: &Path, seed: u64, trades: usize) {
    for (number, (venue, channel, symbols)) in VENUES.iter().enumerate() {
        let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(number as u64) << 1);
        let made = make(&mut dice, trades);
        let (mut main, mut repairs) = (listing(venue), Vec::new());
        for t in &made {
            let frame = frame(venue, symbols[t.symbol], t);
            let way = dice.below(150);
            let mut data = |at_ms, conn, flags| {
                main.push(Record { at_ms, conn, kind: Kind::Data, flags, payload: frame.clone().into_bytes() });
            };
            match t.fate {
                Fate::Delivered => data(t.ts_ms + way, 1, 0),
                Fate::Twice => {
                    data(t.ts_ms + way, 1, 0);
                    data(t.ts_ms + dice.below(400), 2, flags::SECOND_LINE);
                }
                Fate::Late(by) => data(t.ts_ms + by, 1, 0),
                Fate::Repaired(after) => repairs.push(repaired(channel, symbols[t.symbol], t, t.ts_ms + after)),
                Fate::Lost => {}
            }
        }
        write(&wal.join(venue), main, true);
        if !repairs.is_empty() && *venue != "kucoin-spot" {
            write(&wal.join(format!("{venue}.repair")), repairs, false);
        }
    }
}

fn make(dice: &mut Dice, trades: usize) -> Vec<Trade> {
    let mut state = [(1_000_000_u64, 50_000_u64, 500_000_u64); 4];
    let mut out: Vec<Trade> = Vec::with_capacity(trades);
    let mut fate_of_run = (0, Fate::Delivered);
    for n in 0..trades {
        let ts_ms = START_MS + SPAN_MS * n as u64 / trades as u64 + dice.below(50);
        let since = ts_ms - START_MS;
        let mut symbol = dice.below(4) as usize;
        // One is silent for longer than flat bars are made, another for an hour at a time.
        let silent = |s: usize| match s {
            3 => (2 * 3_600_000..29 * 3_600_000).contains(&since),
            2 => (since / 3_600_000) % 5 == 2,
            _ => false,
        };
        if silent(symbol) {
            symbol = 0;
        }
        let (trade_id, row_id, price) = &mut state[symbol];
        *price = (*price + dice.below(41) - 20).max(1_000);
        let count = 1 + dice.below(3);
        let ids = (*trade_id + 1, *trade_id + count);
        (*trade_id, *row_id) = (ids.1, *row_id + 1);
        // From the middle on the venue quotes finer.
        let price = if since < SPAN_MS / 2 {
            format!("{}.{:02}", *price / 100, *price % 100)
        } else {
            format!("{}.{:02}{}", *price / 100, *price % 100, dice.below(10))
        };
        let amount = format!("{}.{:0width$}", dice.below(4), 1 + dice.below(900), width = 3 + dice.below(3) as usize);
        if fate_of_run.0 == 0 {
            fate_of_run = match dice.below(1_000) {
                0..900 => (1, Fate::Delivered),
                900..940 => (1, Fate::Twice),
                940..960 => (1, Fate::Late(500 + dice.below(4_000))),
                960..972 => (1 + dice.below(3), Fate::Late(60_000 + dice.below(600_000))),
                972..978 => (1 + dice.below(3), Fate::Late(7_000_000 + dice.below(20_000_000))),
                978..992 => (1 + dice.below(6), Fate::Repaired(5_000 + dice.below(60_000))),
                992..996 => (1 + dice.below(6), Fate::Repaired(3_000_000 + dice.below(20_000_000))),
                _ => (1 + dice.below(4), Fate::Lost),
            };
        }
        fate_of_run.0 -= 1;
        let maker = dice.below(2) == 0;
        out.push(Trade { symbol, id: *row_id, ids, ts_ms, price, amount, maker, fate: fate_of_run.1 });
    }
    out
}

fn frame(venue: &str, symbol: &str, t: &Trade) -> String {
    let Trade { id, ids: (first, last), ts_ms, price, amount, maker, .. } = t;
    let lower = symbol.to_lowercase();
    match venue {
        "binance-spot" => format!(
            r#"{{"stream":"{lower}@trade","data":{{"e":"trade","E":{ts_ms},"s":"{symbol}","t":{id},"p":"{price}","q":"{amount}","T":{ts_ms},"m":{maker},"M":true}}}}"#
        ),
        "binance-usdm" => format!(
            r#"{{"stream":"{lower}@aggTrade","data":{{"e":"aggTrade","E":{ts_ms},"a":{id},"s":"{symbol}","p":"{price}","q":"{amount}","f":{first},"l":{last},"T":{ts_ms},"m":{maker}}}}}"#
        ),
        _ => {
            let side = if *maker { "sell" } else { "buy" };
            format!(
                r#"{{"type":"message","topic":"/market/match:{symbol}","subject":"trade.l3match","data":{{"makerOrderId":"m{id}","price":"{price}","sequence":"{id}","side":"{side}","size":"{amount}","symbol":"{symbol}","takerOrderId":"t{id}","time":"{ts_ms}000000","tradeId":"{id:024x}","type":"match"}}}}"#
            )
        }
    }
}

/// A response of REST as a record: its meta, then the body.
fn rest(at_ms: u64, meta: &serde_json::Value, body: &[u8]) -> Record {
    let meta = meta.to_string();
    let mut payload = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    payload.extend_from_slice(meta.as_bytes());
    payload.extend_from_slice(body);
    Record { at_ms, conn: 0, kind: Kind::Rest, flags: 0, payload }
}

/// The whole recorded listing of the venue that has the most to announce; the others' symbols are met unannounced.
fn listing(venue: &str) -> Vec<Record> {
    if venue != "binance-usdm" {
        return Vec::new();
    }
    let file = std::fs::File::open(recordings().join("binance-usdm/cryptofeed-BINANCE_FUTURES.0.exchangeInfo.zst"));
    let text = String::from_utf8(zstd::decode_all(file.unwrap()).unwrap()).unwrap();
    let body = text.lines().next().unwrap().split_once(": ").unwrap().1;
    let meta = json!({"channel": "symbols", "symbol": "", "url": "u", "status": 200});
    vec![rest(START_MS, &meta, body.as_bytes()), rest(START_MS + SPAN_MS / 3, &meta, body.as_bytes())]
}

fn repaired(channel: &str, symbol: &str, t: &Trade, at_ms: u64) -> Record {
    let Trade { id, ids: (first, last), ts_ms, price, amount, maker, .. } = t;
    let meta = json!({"channel": channel, "symbol": symbol, "url": "u", "status": 200, "fill": {"from": id, "to": id}});
    let row = if channel == "trades" {
        json!([{"id": id, "price": price, "qty": amount, "quoteQty": "0", "time": ts_ms, "isBuyerMaker": maker, "isBestMatch": true}])
    } else {
        json!([{"a": id, "p": price, "q": amount, "f": first, "l": last, "T": ts_ms, "m": maker}])
    };
    rest(at_ms, &meta, row.to_string().as_bytes())
}

/// Appends the records in the order of their receive times, in two runs of the writer when `restarted`.
fn write(dir: &Path, mut records: Vec<Record>, restarted: bool) {
    records.sort_by_key(|r| r.at_ms);
    let now = Arc::new(AtomicU64::new(0));
    let runs = if restarted { 2 } else { 1 };
    let share = records.len().div_ceil(runs);
    for part in records.chunks(share.max(1)) {
        now.store(part[0].at_ms * 1_000_000, Ordering::Relaxed);
        let clock = Arc::clone(&now);
        let mut options = LogOptions::new(Arc::new(move || {
            let wall_ns = clock.load(Ordering::Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns - START_MS * 1_000_000 + 1 }
        }));
        options.segment_bytes = 1 << 20;
        let mut log = LogWriter::open(dir, options).unwrap();
        let mut append = |at_ms: u64, conn, kind, flags, payload: &[u8]| {
            let ts_recv_ns = at_ms * 1_000_000;
            now.store(ts_recv_ns, Ordering::Relaxed);
            log.append(&Append { ts_recv_ns, conn, kind, flags, payload }).unwrap();
        };
        for conn in [1, 2] {
            append(part[0].at_ms, conn, Kind::ConnOpen, 0, br#"{"url":"ws://recording/stream","streams":4}"#);
        }
        for r in part {
            append(r.at_ms, r.conn, r.kind, r.flags, &r.payload);
        }
        log.close().unwrap();
    }
}
