//! Numbers against 128-bit arithmetic and the float parser of the standard library.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Num, NumError> {
    Num::parse(text.as_bytes())
}

/// What the text says, by the book: mantissa and scale without trailing zeros after the point.
fn reference(text: &str) -> Result<(i128, i64), NumError> {
    let (negative, body) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
    let (digits, exponent) = match body.split_once(['e', 'E']) {
        None => (body, 0),
        Some((digits, exponent)) => {
            let plain = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NumError::NotANumber);
            }
            (digits, exponent.parse::<i64>().unwrap_or(i64::from(i32::MAX)))
        }
    };
    let (before, behind) = digits.split_once('.').unwrap_or((digits, "0"));
    if [before, behind].iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err(NumError::NotANumber);
    }
    let all = format!("{before}{behind}");
    let kept = all.trim_end_matches('0');
    let mut scale = behind.len() as i64 - exponent - (all.len() - kept.len()) as i64;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return Ok((0, 0));
    }
    if kept.len() > 38 || scale > 38 {
        return Err(NumError::TooLong);
    }
    let mut mantissa: i128 = kept.parse().unwrap();
    while scale < 0 {
        mantissa = mantissa.checked_mul(10).filter(|m| *m < 10_i128.pow(38)).ok_or(NumError::TooLong)?;
        scale += 1;
    }
    Ok((if negative { -mantissa } else { mantissa }, scale))
}

fn check(text: &str) {
    let got = parse(text).map(|n| {
        let n = n.normalized();
        (n.mantissa, i64::from(n.scale))
    });
    let Ok(num) = parse(text) else {
        assert_eq!(got, reference(text), "{text:?}");
        return;
    };
    assert!(num.scale <= 38 && num.mantissa.unsigned_abs() < 10_u128.pow(38));
    // The nearest double, as the standard library reads the same text.
    let float: f64 = text.parse().unwrap();
    if reference(text) == Err(NumError::TooLong) {
        // Cut: near enough, and never taken for what a double holds.
        assert!(!num.survives_f64(), "{text:?}");
        assert!((num.to_f64() - float).abs() <= float.abs() * 1e-15, "{text:?}");
        return;
    }
    assert_eq!(got, reference(text), "{text:?}");
    assert_eq!(num.to_f64(), float, "{text:?}");
    let shortest = format!("{float}");
    let survives = reference(&shortest) == reference(text);
    assert_eq!(num.survives_f64(), survives, "{text:?} as a double is {shortest}");
    // The canonical text says the same and is canonical.
    let canonical = num.to_string();
    assert_eq!(reference(&canonical), reference(text));
    assert_eq!(parse(&canonical).unwrap().to_string(), canonical);
    let (mantissa, scale) = reference(text).unwrap();
    let decimal = match 18 - scale {
        up @ 0.. => mantissa.checked_mul(10_i128.pow(up as u32)).map(|m| (m, true)),
        down => {
            let unit = 10_i128.pow(-down as u32);
            let half = unit / 2 * mantissa.signum();
            Some(((mantissa + half) / unit, mantissa % unit == 0))
        }
    };
    assert_eq!(num.to_decimal18(), decimal.filter(|(m, _)| m.unsigned_abs() < 10_u128.pow(38)), "{text:?}");
    let narrow = num.narrow().map(|(m, s)| Num { mantissa: m.into(), scale: s }.normalized());
    let fits = i64::try_from(mantissa).is_ok() && scale <= 18;
    assert_eq!(narrow, fits.then(|| num.normalized()), "{text:?}");
}

#[test]
fn edge_cases_are_read_by_the_book() {
    for text in [
        "0",
        "-0",
        "0.0",
        "-0.00",
        "1",
        "-1",
        "00012",
        "0001.50",
        "1.",
        ".1",
        ".",
        "-",
        "",
        "+1",
        "--1",
        "1-",
        "1..2",
        "1.2.3",
        " 1",
        "1 ",
        "1e",
        "1e+",
        "1e-",
        "e5",
        "-e5",
        "1.e5",
        "1e5",
        "1E5",
        "1e+5",
        "1e-7",
        "-1.5e-8",
        "1.5e1",
        "1e18",
        "1e19",
        "9e18",
        "1e-18",
        "1e-19",
        "10e-19",
        "0e100",
        "0e-100",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "1e5.0",
        "1e5e5",
        "NaN",
        "inf",
        "Infinity",
        "1_000",
        "0x10",
        "999999999999999999",
        "1000000000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "0.000000000000000001",
        "0.0000000000000000001",
        "0.0000000000000000010",
        "1.000000000000000000",
        "12.345678901234567890",
        "1.2345678901234567890",
        "1.2345678901234567891",
        "9007199254740992",
        "9007199254740993",
        "0.1",
        "0.30000000000000004",
        "123456789.123456789",
        "61837.63000000",
        "0.00000638",
        "00000000000000000000000000000001.5",
        "1.50000000000000000000000000000000",
        "0.00000000000000000000000000000000",
        "92233720368.54775807",
        "92233720368.547758079",
        "12345678",
        "1234567.8",
        "12345678.9",
        "123456789",
        "1234567890123456",
        "12345678901234567",
        "1234567890123456.78",
        "1.12345678",
        "1.123456789",
        "1.1234567890123456",
        "1.12345678901234567",
        "1/2",
        "1:2",
        "１",
        "12345678901234567890.123456789012345678",
        "-99999999999999999999.999999999999999999",
        "99999999999999999999999999999999999999",
        "100000000000000000000000000000000000000",
        "999999999999999999999999999999999999990",
        "12345678901234567890123456789012345678.5",
        "12345678901234567890123456789012345670.5",
        "0.00000000000000000001",
        "0.00000000000000000000000000000000000001",
        "0.000000000000000000000000000000000000001",
        "0.1000000000000000055511151231257827021181583404541015625",
        "0.0000000000000000000000000000000000000100000000001",
        "0.00000000000000000005",
        "0.0000000000000000005",
        "1e37",
        "1e38",
        "1e-38",
        "1e-39",
        "123456789012.12345678",
        "814503210987.12345678",
        "1\u{0}",
        "1\u{ff}",
    ] {
        check(text);
    }
}

#[test]
fn scale_and_zeros_are_kept_as_written_when_they_fit() {
    assert_eq!(parse("1.50"), Ok(Num { mantissa: 150, scale: 2 }));
    assert_eq!(parse("0.00000000"), Ok(Num { mantissa: 0, scale: 8 }));
    assert_eq!(parse("1.0000000000000000000"), Ok(Num { mantissa: 1, scale: 0 }));
    assert_eq!(parse("1e-7"), Ok(Num { mantissa: 1, scale: 7 }));
    assert_eq!(parse("1.50").unwrap().normalized(), parse("1.5").unwrap());
}

#[test]
fn a_prefix_ends_where_the_number_does() {
    let prefix = |t: &str| Num::parse_prefix(t.as_bytes()).map(|(n, used)| (n.to_string(), used));
    assert_eq!(prefix("61837.63000000\",\"q\":"), Some(("61837.63".to_owned(), 14)));
    assert_eq!(prefix("12\"]"), Some(("12".to_owned(), 2)));
    assert_eq!(prefix("1.5.5"), Some(("1.5".to_owned(), 3)));
    assert_eq!(prefix("123456789012345678\""), Some(("123456789012345678".to_owned(), 18)));
    for refused in ["", "-1", "\"", ".5", "1.", "1.\"", "1234567890123456789", "1.123456789012345678"] {
        assert_eq!(prefix(refused), None, "{refused}");
    }
}

/// The number at the start of a text, one byte after the other.
fn prefix_by_the_book(text: &[u8]) -> Option<(i128, u8, usize)> {
    let run = |from: usize| text.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let before = run(0);
    let behind = if text.get(before) == Some(&b'.') { Some(run(before + 1)) } else { None };
    if before == 0 || behind == Some(0) || before + behind.unwrap_or(0) > 18 {
        return None;
    }
    let end = before + behind.map_or(0, |n| n + 1);
    let digits = text.iter().take(end).filter(|b| **b != b'.');
    let mantissa = digits.fold(0_i128, |m, b| m * 10 + i128::from(b - b'0'));
    Some((mantissa, behind.unwrap_or(0) as u8, end))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn decimals_are_read_by_the_book(text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?") {
        check(&text);
    }

    #[test]
    fn decimals_of_up_to_38_digits_and_more_are_read_by_the_book(text in "-?[0-9]{0,40}(\\.[0-9]{0,42})?") {
        check(&text);
    }

    #[test]
    fn prices_are_read_by_the_book(text in "(0|[1-9][0-9]{0,9})\\.[0-9]{1,8}") {
        check(&text);
    }

    #[test]
    fn exponents_are_read_by_the_book(text in "-?[0-9]{0,12}(\\.[0-9]{1,8})?[eE][+-]?[0-9]{0,3}") {
        check(&text);
    }

    #[test]
    fn anything_else_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(num) = Num::parse(&bytes) {
            check(std::str::from_utf8(&bytes).unwrap());
            prop_assert!(num.scale <= 38);
        }
    }

    #[test]
    fn a_prefix_is_read_by_the_book_whatever_follows(
        text in "[0-9]{0,7}(\\.[0-9]{0,7})?",
        tail in prop_oneof![Just(b",1,2,3,4\n".to_vec()), prop::collection::vec(any::<u8>(), 0..12)],
    ) {
        let text = [text.as_bytes(), &tail].concat();
        let got = Num::parse_prefix(&text).map(|(n, used)| (n.mantissa, n.scale, used));
        prop_assert_eq!(got, prefix_by_the_book(&text));
    }

    #[test]
    fn eight_bytes_of_digits_points_and_anything_are_read_by_the_book(
        text in prop::collection::vec(prop_oneof![4 => b'0'..=b'9', 1 => Just(b'.'), 1 => Just(b','), 1 => any::<u8>()], 8..20),
    ) {
        let got = Num::parse_prefix(&text).map(|(n, used)| (n.mantissa, n.scale, used));
        prop_assert_eq!(got, prefix_by_the_book(&text));
    }

    #[test]
    fn digit_runs_stop_at_the_first_other_byte(
        digits in "[0-9]{0,18}",
        tail in prop::collection::vec(any::<u8>().prop_filter("no digit", |b| !b.is_ascii_digit()), 0..12),
    ) {
        let text = [digits.as_bytes(), &tail].concat();
        prop_assert_eq!(leading_digits(&text), (digits.parse().unwrap_or(0), digits.len()));
    }

    #[test]
    fn every_number_survives_its_own_text(
        mantissa in prop_oneof![any::<i64>().prop_map(i128::from), -(10_i128.pow(38) - 1)..10_i128.pow(38)],
        scale in 0..=38_u8,
    ) {
        let num = Num { mantissa, scale };
        prop_assert_eq!(parse(&num.to_string()).unwrap().normalized(), num.normalized());
        prop_assert_eq!(num.to_f64(), num.to_string().parse::<f64>().unwrap());
    }
}
