//! Sizes of contracts on one connection: decimal texts with the header `X-Gate-Size-Decimal: 1`, else integers with the rest cut off.
//!
//! Only numbers after the keys that hold sizes change; every other byte stays.

/// Keys of sizes in frames of futures.
const KEYS: [&[u8]; 7] =
    [br#""size":"#, br#""s":"#, br#""B":"#, br#""A":"#, br#""v":"#, br#""total_size":"#, br#""volume_24h":"#];

/// The frame with its sizes in the asked form, `None` when they are in it already.
pub(crate) fn converted(frame: &[u8], decimal: bool) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut done = 0;
    let mut at = 0;
    while let Some(colon) = memchr::memchr(b':', frame.get(at..)?) {
        let value_at = at + colon + 1;
        at = value_at;
        let head = frame.get(..value_at)?;
        if !KEYS.iter().any(|key| head.ends_with(key)) {
            continue;
        }
        let rest = frame.get(value_at..)?;
        let is_text = rest.first() == Some(&b'"');
        let digits = rest.get(usize::from(is_text)..)?;
        let bytes = digits.iter().take_while(|byte| matches!(byte, b'-' | b'.' | b'0'..=b'9')).count();
        let number = digits.get(..bytes)?;
        // A symbol, a list, an empty side.
        if bytes == 0 || (is_text && digits.get(bytes) != Some(&b'"')) || is_text == decimal {
            continue;
        }
        let out = out.get_or_insert_with(Vec::new);
        out.extend_from_slice(frame.get(done..value_at)?);
        if decimal {
            out.push(b'"');
            out.extend_from_slice(number);
            out.push(b'"');
        } else {
            out.extend_from_slice(whole(number));
        }
        done = value_at + bytes + usize::from(is_text) * 2;
        at = done;
    }
    let mut out = out?;
    out.extend_from_slice(frame.get(done..)?);
    Some(out)
}

/// A size without the part of a contract; less than one contract is 0, whatever its sign.
pub(crate) fn whole(size: &[u8]) -> &[u8] {
    match size.split(|byte| *byte == b'.').next() {
        Some(b"" | b"-" | b"-0") | None => b"0",
        Some(whole) => whole,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(frame: &str, decimal: bool) -> String {
        converted(frame.as_bytes(), decimal).map_or_else(|| frame.to_owned(), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn sizes_change_form_and_prices_and_symbols_stay() {
        let integers = r#"{"result":{"t":16,"u":6,"s":"PHB_USDT","b":"0.7379","B":814,"a":"0.739","A":677}}"#;
        let decimals = r#"{"result":{"t":16,"u":6,"s":"PHB_USDT","b":"0.7379","B":"814","a":"0.739","A":"677"}}"#;
        assert_eq!(text(integers, true), decimals);
        assert_eq!(text(decimals, true), decimals);
    }

    #[test]
    fn parts_of_a_contract_are_cut_off_without_the_header() {
        let decimals = r#"[{"size":"-108.5","id":2,"price":"96.4"}],"a":[{"p":"1.5","s":"0.5"},{"p":"2","s":"-0.5"}]"#;
        assert_eq!(
            text(decimals, false),
            r#"[{"size":-108,"id":2,"price":"96.4"}],"a":[{"p":"1.5","s":0},{"p":"2","s":0}]"#
        );
    }
}
