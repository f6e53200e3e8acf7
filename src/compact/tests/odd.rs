//! What of a frame cannot be read costs only itself, is kept with its reason and is accounted for; numbers have up to 38
//! digits; a gap that an unreadable frame explains says so.

use arrow_array::cast::AsArray;

use super::*;
use lake::manifest::Gap;

/// Binary or text column of all rows of a table, lossy.
fn texts(bed: &Bed, table: Table, column: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (part, _) in bed.manifests() {
        let path = bed.lake().join(part.file(table));
        if !path.exists() {
            continue;
        }
        for batch in TableFile::open(&path).unwrap().batches(0).unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name(column).unwrap();
            if let Some(binary) = column.as_binary_opt::<i32>() {
                all.extend(binary.iter().map(|b| String::from_utf8_lossy(b.unwrap_or_default()).into_owned()));
            } else if let Some(text) = column.as_string_opt::<i32>() {
                all.extend(text.iter().map(|t| t.unwrap_or_default().to_owned()));
            } else {
                all.push(format!("{column:?}"));
            }
        }
    }
    all
}

fn log_of(frames: &[&str]) -> Bed {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    for (i, frame) in (0..).zip(frames) {
        log.text(T0 + i * 1_000_000, frame);
    }
    log.writer.close().unwrap();
    bed
}

fn bare(symbol: &str, id: u64, price: &str, amount: &str) -> String {
    format!(
        r#"{{"e":"trade","E":1723161600000,"s":"{symbol}","t":{id},"p":{price},"q":{amount},"T":1723161600000,"m":true,"M":true}}"#
    )
}

fn gaps(bed: &Bed) -> Vec<Gap> {
    bed.manifests().into_iter().flat_map(|(_, m)| m.gaps).collect()
}

#[test]
fn of_a_frame_with_an_odd_trade_the_neighbours_are_rows_and_the_frame_is_kept_once_with_its_reason() {
    let good = |id| bare("BTCUSDT", id, "\"1.5\"", "\"2\"");
    let array = format!("[{},{},{}]", good(1), bare("BTCUSDT", 2, "null", "\"2\""), good(3));
    let bed = log_of(&[&array, &good(4)]);
    bed.drain();
    assert_eq!(bed.keys(Table::Trades).values().sum::<u32>(), 3);
    let (_, m) = bed.manifests().remove(0);
    m.check().unwrap();
    let counts = m.channels.get("trades").unwrap();
    assert_eq!((m.frames, counts.decoded, counts.in_part, counts.undecodable), (2, 2, 1, 0));
    assert_eq!(texts(&bed, Table::Frames, "payload"), [array]);
    let reason = texts(&bed, Table::Frames, "reason").remove(0);
    assert!(reason.contains("decoded in part, 1 left out: item 2: trade: field p is missing"), "{reason}");
    // The id of the odd one is missing, and why is known.
    let reported: Vec<_> = gaps(&bed).into_iter().map(|g| (g.from_id, g.to_id, g.cause)).collect();
    assert_eq!(reported, [(2, 2, "undecodable".to_owned())]);
    bed.verify(1);
}

#[test]
fn a_gap_behind_an_undecodable_frame_says_so_and_others_do_not_over_a_restart_too() {
    let good = |symbol: &str, id| trade(symbol, id, T0 / 1_000_000);
    let bad = good("BTCUSDT", 2).replace("\"p\":\"", "\"p\":\"x");
    let binary = bed_of(&good, &bad);
    let expected = [("BTCUSDT", 2, "undecodable"), ("BTCUSDT", 4, "venue"), ("ETHUSDT", 2, "venue")];
    let of = |bed: &Bed| {
        let mut reported: Vec<_> = gaps(bed).into_iter().map(|g| (g.symbol, g.from_id, g.cause)).collect();
        reported.sort();
        reported
    };
    let owned = expected.map(|(s, id, cause)| (s.to_owned(), id, cause.to_owned()));
    let whole = binary.copy_of_log();
    whole.drain();
    assert_eq!(of(&whole), owned);
    // Stopped between the frame and the id after it.
    let stopped = binary.copy_of_log();
    let eager = stopped.worker(Mode::Drain, Bed::eager);
    assert!(armed_for("session.record", 5, || eager.run().unwrap()).is_none());
    stopped.drain();
    assert_eq!(of(&stopped), owned);
}

/// Ids 1, (2), 3, 5 of BTCUSDT, of which 2 cannot be read and 4 never came; 1 and 3 of ETHUSDT around it.
fn bed_of(good: &impl Fn(&str, u64) -> String, bad: &str) -> Bed {
    log_of(&[
        &good("BTCUSDT", 1),
        &good("ETHUSDT", 1),
        bad,
        &good("BTCUSDT", 3),
        &good("ETHUSDT", 3),
        &good("BTCUSDT", 5),
        &good("BTCUSDT", 6),
        &good("ETHUSDT", 4),
    ])
}

#[test]
fn numbers_of_38_digits_are_exact_decimals_and_flagged_doubles_and_never_undecodable() {
    let wide = "\"12345678901234567890.123456789012345678\"";
    let trades = [
        bare("USDTIDR", 1, "\"0.00000001\"", "\"123456789012.12345678\""),
        bare("USDTIDR", 2, wide, wide),
        bare("USDTIDR", 3, "\"0.00000000000000000001\"", "\"1\""),
        bare("USDTIDR", 4, "\"1\"", "\"123456789012345678901.5\""),
        bare("USDTIDR", 5, "\"1\"", "\"2\""),
    ];
    let bed = log_of(&trades.each_ref().map(String::as_str));
    let exact = bed.copy_of_log();
    bed.drain();
    let (_, m) = bed.manifests().remove(0);
    assert_eq!((m.frames, m.totals().decoded, m.totals().in_part, m.totals().undecodable), (5, 5, 0, 0));
    assert_eq!(bed.keys(Table::Trades).len(), 5);
    // What no DECIMAL(38, 18) holds cannot be a row there: it is kept, and said.
    let worker = exact.worker(Mode::Drain, |c| c.lake.numeric = lake::Numeric::Decimal);
    worker.run().unwrap();
    let (part, m) = exact.manifests().remove(0);
    assert_eq!((m.totals().decoded, m.totals().in_part), (5, 1));
    let file = TableFile::open(&exact.lake().join(part.file(Table::Trades))).unwrap();
    let batch = file.batches(0).unwrap().next().unwrap().unwrap();
    let amounts = batch.column_by_name("amount").unwrap().as_primitive::<arrow_array::types::Decimal128Type>();
    let amounts: Vec<String> = (0..amounts.len()).map(|i| amounts.value_as_string(i)).collect();
    let padded = "123456789012.123456780000000000";
    assert_eq!(amounts[..2], [padded, "12345678901234567890.123456789012345678"]);
    let flags = batch.column_by_name("flags").unwrap().as_primitive::<arrow_array::types::Int32Type>();
    let inexact = |i: usize| flags.value(i) & lake::flags::INEXACT != 0;
    assert_eq!([0, 1, 2, 3].map(inexact), [false, false, true, false], "20 decimals are rounded to 18");
    let reason = texts(&exact, Table::Frames, "reason").remove(0);
    assert!(reason.contains("USDTIDR: a number has more than 20 digits before its point"), "{reason}");
}

#[test]
fn an_odd_entry_of_a_listing_is_kept_as_it_was_sent_and_the_others_are_rows() {
    let bed = Bed::new();
    let mut log = Log::open(&bed.wal(), T0);
    let odd = r#"{"symbol":null,"status":"TRADING"}"#;
    let body = format!(
        r#"{{"symbols":[{{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":[]}},{odd}]}}"#
    );
    let meta = br#"{"channel":"symbols","url":"https://venue.test/","status":200}"#;
    log.writer.append_rest(T0, 2, meta, body.as_bytes()).unwrap();
    log.writer.close().unwrap();
    bed.drain();
    let (_, m) = bed.manifests().remove(0);
    m.check().unwrap();
    let counts = m.channels.get("symbols").unwrap();
    assert_eq!((counts.decoded, counts.in_part), (1, 1));
    assert_eq!(bed.keys(Table::Symbols).len(), 1);
    assert_eq!(texts(&bed, Table::Frames, "payload"), [format!("[{odd}]")]);
}
