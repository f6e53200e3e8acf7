//! Both parsers of every kind against each other, examples in the archive's own shapes, and hostile bytes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn slow<R: Row>(line: &str) -> Result<Line<R>, String> {
    let fields = Fields::split(line.trim_end_matches(['\r', '\n']).as_bytes()).ok_or("split")?;
    R::parse(&fields, Origin::new(3, 9)).map_err(|e| e.to_string())
}

fn row<R: Row>(line: &str) -> R {
    match slow::<R>(line).unwrap() {
        Line::Row(r) => r,
        Line::Sentinel => panic!("{line} is a sentinel"),
    }
}

/// The quick parser says the same as the other one, or nothing.
fn agree<R: Row>(line: &str) -> bool {
    let Some((quick, used)) = R::quick(line.as_bytes(), Origin::new(3, 9)) else { return false };
    let slow = row::<R>(line);
    assert_eq!(used, line.len(), "{line}");
    assert_eq!((quick.words(), quick.scales(), quick.origin()), (slow.words(), slow.scales(), slow.origin()), "{line}");
    let mut stored = Vec::new();
    quick.store(&mut stored);
    assert_eq!(stored.len(), R::BYTES);
    assert!(R::load(&stored).unwrap().same(&quick));
    true
}

#[test]
fn lines_as_the_archive_writes_them_take_the_quick_way() {
    assert!(agree::<AggTradeRow>("26129,0.01633102,4.70443515,27781,27781,1498793709153,True,True\n"));
    assert!(agree::<AggTradeRow>("1,43.1,2,7,9,1735689600000001,false\n"));
    assert!(agree::<AggTradeRow>("1,43.1,2,7,9,1735689600000001,false\r\n"));
    assert!(agree::<TradeRow>("28457,4.00000100,12.00000000,48.00001200,1499865549590,True,True\n"));
    assert!(agree::<TradeRow>("3,37000.5,0.001,37.0005,1700000000000,false\n"));
    assert!(agree::<KlineRow>(
        "1735689600000000,93576.0,93702.15,93537.5,93661.2,45.9416,1735689899999999,4301907.4838205,7448,16.87967,1580504.0603142,0\n"
    ));
    assert!(agree::<BookTickerRow>("1,100.1,2,100.2,3,1684195200000,1684195200001\n"));
    assert!(!agree::<AggTradeRow>("26129,0,0,-1,-1,1498793709153,True,True\n"));
    let k: KlineRow = row("1735689600000000,1,2,0.5,1.5,4,1735689899999999,6,7,2,3,junk");
    assert_eq!(k.words().get(..3).unwrap(), [1_735_689_600_000_000, 1_735_689_899_999_000, 7]);
}

#[test]
fn the_other_kinds_read_as_the_archive_writes_them() {
    let d: BookDepthRow = row("2023-01-01 00:00:09,-5,1870.114,29863573.18170000");
    let finer: BookDepthRow = row("2023-01-01 00:00:09,-5.00,1870.114,29863573.1817");
    assert!(d.same(&finer) && d.key() == finer.key() && d.key().1 == -5_000_000);
    let m: MetricsRow = row("2020-09-01 00:05:00,BTCUSDT,40281.5710,471110743.5,,1.27,0.99,\"\"");
    assert_eq!(m.text(), "1598918700000000,40281.571,471110743.5,,1.27,0.99,");
    let f: FundingRow = row("1577836800000,8,-0.00012359");
    assert_eq!(f.text(), "1577836800000000,8,-0.00012359");
    let l: LiquidationRow = row("1687651209334,SELL,LIMIT,IOC,1,30492.4,30584.4,FILLED,1,1");
    assert_eq!(l.text(), "1687651209334000,30492.4,30584.4,1,1,2,sell");
}

#[test]
fn what_is_wrong_is_named() {
    for (line, why) in [
        ("1,2,3", "line: too few columns"),
        ("1,2,3,4,5,6,7,8,9", "line: too many columns"),
        ("x,1,1,1,1,1700000000000,true", "agg_id: not a number"),
        ("1,x,1,1,1,1700000000000,true", "price: not a number"),
        ("1,-1,1,1,1,1700000000000,true", "price: negative"),
        ("1,0,1,1,1,1700000000000,true", "price: zero"),
        ("1,1,1,5,4,1700000000000,true", "first_id: not a range of ids"),
        ("1,1,1,1,1,17,true", "time: a time that cannot be"),
        ("1,1,1,1,1,1700000000000,tru", "is_buyer_maker: neither true nor false"),
        ("1,1,1,1,1,1700000000000,true,", "is_best_match: neither true nor false"),
    ] {
        assert_eq!(slow::<AggTradeRow>(line).unwrap_err(), why, "{line}");
        assert!(AggTradeRow::quick(format!("{line}\n").as_bytes(), Origin::default()).is_none(), "{line}");
    }
    assert!(matches!(slow::<AggTradeRow>("0,0.00000000,0.00000000,-1,-1,1498793709153,True,True"), Ok(Line::Sentinel)));
    assert!(matches!(slow::<TradeRow>("5,0,0,0,1498793709153,True,True"), Ok(Line::Sentinel)));
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,10}(\\.[0-9]{1,8})?",
        "-?[0-9]{0,20}(\\.[0-9]{0,20})?",
        "[0-9]{1,3}[eE][-+]?[0-9]{1,2}",
        Just("0".to_owned()),
        Just("0.00000000".to_owned())
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof!["1[0-9]{12}", "1[0-9]{15}", "[0-9]{1,19}", "-[0-9]{1,3}"]
}

fn boolean() -> impl Strategy<Value = String> {
    prop_oneof!["true|True|false|False|1|0|TRUE", "[a-zA-Z]{0,5}"]
}

proptest! {
    #[test]
    fn the_quick_way_never_says_anything_else(
        id in "[0-9]{1,19}", a in number(), b in number(), c in number(), first in "-?[0-9]{1,19}",
        t in time(), t2 in time(), maker in boolean(), best in boolean(), end in "\n|\r\n|\r| \n|,\n"
    ) {
        agree_or_none::<AggTradeRow>(&format!("{id},{a},{b},{first},{id},{t},{maker},{best}{end}"));
        agree_or_none::<AggTradeRow>(&format!("{id},{a},{b},{first},{id},{t},{maker}{end}"));
        agree_or_none::<TradeRow>(&format!("{id},{a},{b},{c},{t},{maker}{end}"));
        agree_or_none::<KlineRow>(&format!("{t},{a},{b},{c},{a},{b},{t2},{c},{id},{a},{b},{first}{end}"));
        agree_or_none::<BookTickerRow>(&format!("{id},{a},{b},{c},{a},{t},{t2}{end}"));
    }

    #[test]
    fn hostile_bytes_are_rows_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fn both<R: Row>(bytes: &[u8]) {
            let _ = R::quick(bytes, Origin::default());
            if let Some(f) = Fields::split(bytes) {
                let _ = R::parse(&f, Origin::default());
            }
        }
        both::<AggTradeRow>(&bytes);
        both::<TradeRow>(&bytes);
        both::<KlineRow>(&bytes);
        both::<BookTickerRow>(&bytes);
        both::<BookDepthRow>(&bytes);
        both::<MetricsRow>(&bytes);
        both::<FundingRow>(&bytes);
        both::<LiquidationRow>(&bytes);
    }
}

fn agree_or_none<R: Row>(line: &str) {
    agree::<R>(line);
}
