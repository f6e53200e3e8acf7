//! Decoding: our two paths beside a bare field scan, typed sonic-rs and typed serde_json, in one run.
//!
//! All of them end with the same values: symbol, times, ids, exact prices. The scan looks for the next colon and
//! reads what follows; it checks no key, no quote and no end, and interns nothing, so it is what trusting the
//! venue blindly would cost. Frames are generated in the shape of Binance spot with changing values, enough of
//! them that no branch predictor learns them by heart.

mod baseline;

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use model::{Decoded, Rows, VenueId};
use venue::{Frame, FrameKind, Venue, venue};

const FRAMES: usize = 4096;
const ROUNDS: usize = 9;
const PASSES: usize = 16;

/// One way to decode a frame; false when it refuses.
type Decoder<'d> = (&'static str, Box<dyn FnMut(&[u8]) -> bool + 'd>);

/// Prints ns per frame and the ratio to the scan.
///
/// # Errors
/// When a decoder refuses a frame or the scan reads another number than we do.
pub fn run() -> anyhow::Result<()> {
    println!("decode: ns per frame (ratio to the scan), median of {ROUNDS} rounds, one thread");
    let spot = venue(VenueId::BinanceSpot);
    let mut rng = FrameRng(7);
    for (name, frame) in [
        ("trade", FrameRng::trade as fn(&mut FrameRng, usize) -> String),
        ("aggTrade", FrameRng::agg_trade),
        ("bookTicker", FrameRng::book_ticker),
        ("depth, 20 levels", FrameRng::depth),
    ] {
        let frames: Vec<String> = (0..FRAMES).map(|i| frame(&mut rng, i)).collect();
        // A key in front that nobody knows sends the frame down the general path.
        let general: Vec<String> = frames.iter().map(|f| f.replacen('{', "{ ", 1)).collect();
        check(spot, &frames, &general)?;
        let mut results = Vec::new();
        let mut rows = Rows::new();
        let mut other = Rows::new();
        let mut sets: Vec<(Decoder<'_>, &[String])> =
            baseline::of(name).into_iter().map(|d| (d, frames.as_slice())).collect();
        sets.insert(1, (("ours", Box::new(|f| ours(spot, f, &mut rows))), &frames));
        sets.insert(2, (("ours, general path", Box::new(|f| ours(spot, f, &mut other))), &general));
        for ((label, _), _) in &sets {
            results.push((*label, Vec::new()));
        }
        for _ in 0..ROUNDS {
            for (((_, decode), frames), (_, times)) in sets.iter_mut().zip(&mut results) {
                times.push(round(frames, decode)?);
            }
        }
        print(name, frames.iter().map(String::len).sum::<usize>() / FRAMES, results);
    }
    Ok(())
}

fn ours(venue: &Venue, payload: &[u8], rows: &mut Rows) -> bool {
    rows.clear();
    let frame = Frame { kind: FrameKind::Text, payload, rest: None };
    let decoded = venue.frames.decode(&frame, rows);
    black_box(&rows);
    matches!(decoded, Ok(Decoded::Rows(_)))
}

/// Both paths must give the same number of rows before their speed means anything.
fn check(venue: &Venue, frames: &[String], general: &[String]) -> anyhow::Result<()> {
    let mut rows = Rows::new();
    for (a, b) in frames.iter().zip(general) {
        ensure!(ours(venue, a.as_bytes(), &mut rows), "refused {a}");
        let n = rows.len();
        ensure!(ours(venue, b.as_bytes(), &mut rows) && rows.len() == n, "refused {b}");
    }
    Ok(())
}

fn round(frames: &[String], decode: &mut dyn FnMut(&[u8]) -> bool) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut good = 0;
    for _ in 0..PASSES {
        for frame in frames {
            good += usize::from(decode(black_box(frame.as_bytes())));
        }
    }
    let elapsed = start.elapsed();
    ensure!(good == PASSES * frames.len(), "a decoder refused a frame");
    Ok(elapsed.as_nanos() as f64 / good as f64)
}

fn print(name: &str, bytes: usize, results: Vec<(&str, Vec<f64>)>) {
    let medians: Vec<(&str, f64)> = results
        .into_iter()
        .map(|(label, mut times)| {
            times.sort_by(f64::total_cmp);
            (label, times.get(times.len() / 2).copied().unwrap_or(f64::NAN))
        })
        .collect();
    let base = medians.first().map_or(f64::NAN, |m| m.1);
    println!("{name} ({bytes} B)");
    for (label, ns) in medians {
        println!("  {label:<22}{ns:>9.1} ns  {:>6.2}x", ns / base);
    }
}

/// Frames with changing values from a fixed seed.
struct FrameRng(u64);

impl FrameRng {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn symbol(&mut self) -> &'static str {
        const SYMBOLS: [&str; 8] =
            ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "1000SATSUSDT", "BNBBTC", "XRPUSDC", "PEPEUSDT"];
        SYMBOLS[self.roll(8) as usize]
    }

    fn price(&mut self) -> String {
        let whole = 10_u64.pow(self.roll(6) as u32);
        format!("{}.{:08}", whole + self.roll(9 * whole), self.roll(1_000_000) * 100)
    }

    fn amount(&mut self) -> String {
        format!("{}.{:08}", self.roll(100), self.roll(100_000) * 1000)
    }

    fn trade(&mut self, i: usize) -> String {
        let (s, p, q, m) = (self.symbol(), self.price(), self.amount(), self.roll(2) == 0);
        let (stream, id, t) = (s.to_lowercase(), 3_735_683_259 + i, 1_723_161_255_343 + i);
        format!(
            r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":{t},"s":"{s}","t":{id},"p":"{p}","q":"{q}","T":{t},"m":{m},"M":true}}}}"#
        )
    }

    fn agg_trade(&mut self, i: usize) -> String {
        let (s, p, q, m) = (self.symbol(), self.price(), self.amount(), self.roll(2) == 0);
        let (stream, id, t) = (s.to_lowercase(), 640_283_266 + i, 1_723_161_255_343 + i);
        let (f, l) = (id * 3, id * 3 + self.roll(5) as usize);
        format!(
            r#"{{"stream":"{stream}@aggTrade","data":{{"e":"aggTrade","E":{t},"s":"{s}","a":{id},"p":"{p}","q":"{q}","f":{f},"l":{l},"T":{t},"m":{m},"M":true}}}}"#
        )
    }

    fn book_ticker(&mut self, i: usize) -> String {
        let (s, id) = (self.symbol(), 50_093_239_212 + i);
        let (b, bq, a, aq) = (self.price(), self.amount(), self.price(), self.amount());
        let stream = s.to_lowercase();
        format!(
            r#"{{"stream":"{stream}@bookTicker","data":{{"u":{id},"s":"{s}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}"}}}}"#
        )
    }

    fn depth(&mut self, i: usize) -> String {
        let (s, first, t) = (self.symbol(), 50_093_239_212 + i * 20, 1_723_161_255_343 + i);
        let stream = s.to_lowercase();
        let bids = 5 + self.roll(11) as usize;
        let mut level = |_| format!(r#"["{}","{}"]"#, self.price(), self.amount());
        let b = (0..bids).map(&mut level).collect::<Vec<_>>().join(",");
        let a = (bids..20).map(&mut level).collect::<Vec<_>>().join(",");
        let last = first + 19;
        format!(
            r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":{t},"s":"{s}","U":{first},"u":{last},"b":[{b}],"a":[{a}]}}}}"#
        )
    }
}
