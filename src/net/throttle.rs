//! Throttling by the exchange: bans and their length, used request weight, and whether a response is the exchange's own.
//! The only place that reads `Retry-After`. Pure: headers and bytes in, durations out.
//!
//! ```text
//! Retry-After: 7 | 1.5 | Sun, 06 Nov 1994 08:49:37 GMT | 1796008942 | 1796008942123      seconds, a date, the time of the reset
//! ```
//! What an exchange says in its own format is in its [`Throttling`].

use std::time::Duration;

use model::{Ban, Throttling};
use tokio_tungstenite::tungstenite::http::HeaderMap;

/// The longest ban that an exchange documents (Binance: "from 2 minutes to 3 days").
const BAN_MAX: Duration = Duration::from_secs(3 * 86_400);
/// The wait where one longer than any ban is sent: a slip of the exchange, which must not stop recording for years.
const ABSURD: Duration = Duration::from_secs(3_600);
/// A ban lasts at least this long.
const BAN_MIN: Duration = Duration::from_secs(1);
/// The wait where none is sent.
const UNSAID: Duration = Duration::from_secs(60);
/// Numbers from here on are no delay but a time: 2001-09-09, in seconds since 1970.
const TIME_S: f64 = 1e9;
/// Refusals are short; what is longer is an answer.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// Whether a response is one of the exchange's API: a whole JSON document and, without success, one that gives the reason in
/// `code` or `label`. Pages of a CDN, a firewall or a proxy are not, nor is a body that is empty or cut, whatever the status.
pub(crate) fn from_exchange(status: u16, body: &[u8]) -> bool {
    if (200..300).contains(&status) {
        let is_document = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        return is_document && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    }
    Said::of(body).is_some_and(|said| said.text("code").or_else(|| said.text("label")).is_some())
}

/// The ban that a response announces: too many requests (429, 418 and what means the same with another status), or an
/// address that is not allowed (403, 451). Requests during a ban extend it. `is_per_symbol`: the exchange's own response to
/// a request about one symbol, whose 403 says nothing about the address.
pub(crate) fn ban(
    known: &Throttling,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now_ms: i64,
    is_per_symbol: bool,
) -> Option<Ban> {
    let said = (!(200..300).contains(&status) || body.len() <= REFUSAL_BYTES_MAX).then(|| Said::of(body)).flatten();
    let code = said.as_ref().and_then(|said| said.throttled(known));
    let why = match (status, &code) {
        (200..300, Some(code)) => format!("code {code} with HTTP status {status}"),
        (403, None) if is_per_symbol => return None,
        (403 | 418 | 429 | 451, _) => format!("HTTP status {status}"),
        (_, Some(code)) => format!("HTTP status {status}, code {code}"),
        _ => return None,
    };
    let until =
        said.and_then(|said| said.until_ms(known)).map(|ms| sane(ms.saturating_sub(now(headers, now_ms)) as f64 / 1e3));
    let said = retry_after(known, headers, now_ms).max(until);
    // A 418 whose wait is over on arrival is not believed: a request each second would extend the ban.
    let wait = said.filter(|wait| status != 418 || !wait.is_zero()).unwrap_or(UNSAID).max(BAN_MIN);
    Some(Ban { wait, why })
}

/// The longest wait that the headers demand. `now_ms`: our clock, for answers without a
/// `Date` of their own.
pub(crate) fn retry_after(known: &Throttling, headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let now_ms = now(headers, now_ms);
    let names = [("retry-after", 1)].iter().chain(known.resets);
    let said = names.flat_map(|(name, per_s)| headers.get_all(*name).into_iter().map(|value| (value, *per_s)));
    said.filter_map(|(value, per_s)| wait(value.to_str().ok()?.trim(), now_ms, per_s.into())).max()
}

/// The `Date` of the answer, else our clock, ms since 1970.
fn now(headers: &HeaderMap, now_ms: i64) -> i64 {
    date_ms(headers).unwrap_or(now_ms)
}

/// When an answer says that it was made, ms since 1970.
pub(crate) fn date_ms(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get("date").and_then(|value| value.to_str().ok());
    date.and_then(|text| http_date_s(text.trim())).map(|s| s.saturating_mul(1_000))
}

/// A delay in units of which `per_s` are a second, or a time as HTTP writes it or as a number of s, ms, us or ns since 1970.
fn wait(text: &str, now_ms: i64, per_s: f64) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let seconds = http_date_s(text)?.saturating_mul(1_000).saturating_sub(now_ms) as f64 / 1e3;
        return Some(sane(seconds));
    }
    let number: f64 = text.parse().ok()?;
    // From ten digits on: each further three are a smaller unit. The largest that are a time in this century are ns.
    let since_1970_s =
        [1.0, 1e3, 1e6, 1e9].into_iter().map(|unit| number / unit).find(|s| (TIME_S..TIME_S * 10.0).contains(s));
    Some(sane(match since_1970_s {
        Some(s) => s - now_ms as f64 / 1e3,
        None => number / per_s,
    }))
}

/// Seconds as a wait that can be kept.
fn sane(seconds: f64) -> Duration {
    match Duration::try_from_secs_f64(seconds.max(0.0)) {
        Ok(wait) if wait <= BAN_MAX => wait,
        _ => ABSURD,
    }
}

/// An HTTP date in seconds since 1970: as it is sent today, and the two obsolete forms that are still to be read (RFC
/// 9110, 5.6.7).
fn http_date_s(text: &str) -> Option<i64> {
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |form: &&str| jiff::civil::DateTime::strptime(form, text).ok();
    let date = forms.iter().find_map(read)?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The body of a refusal.
struct Said(serde_json::Map<String, serde_json::Value>);

impl Said {
    fn of(body: &[u8]) -> Option<Said> {
        let body = body.get(..body.len().min(REFUSAL_BYTES_MAX))?;
        if body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(body).ok().map(Said)
    }

    fn text(&self, field: &str) -> Option<String> {
        match self.0.get(field)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The code that means too many requests, if it has one.
    fn throttled(&self, known: &Throttling) -> Option<String> {
        let is = |said: &str, pattern: &str| {
            said.len() == pattern.len() && said.bytes().zip(pattern.bytes()).all(|(s, p)| p == b'?' || s == p)
        };
        known.refusals.iter().find_map(|(field, pattern)| self.text(field).filter(|said| is(said, pattern)))
    }

    /// The end of the ban, ms since 1970.
    fn until_ms(&self, known: &Throttling) -> Option<i64> {
        let (field, before) = known.ban_until?;
        self.text(field)?.split_once(before)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// What an exchange counted for our address, by all processes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Weight, within `window`.
    pub weight: u64,
    /// How much is left of it, where that is said.
    pub left: Option<u64>,
    /// The window of the count.
    pub window: Duration,
}

/// Reads the headers that report the used weight.
pub(crate) fn used(known: &Throttling, headers: &HeaderMap) -> Option<Used> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    known.used.iter().find_map(|used| {
        let counted = number(used.header)?;
        let left = match used.left {
            Some(name) => Some(number(name)?),
            None => None,
        };
        let weight = counted.saturating_sub(left.unwrap_or(0));
        Some(Used { weight, left, window: Duration::from_secs(used.window_s) })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::UsedWeight;

    const NOW_MS: i64 = 1_796_000_000_000;
    /// In one what several exchanges say.
    const KNOWN: Throttling = Throttling {
        resets: &[("gw-ratelimit-reset", 1_000), ("X-Gate-RateLimit-Reset-Timestamp", 1)],
        refusals: &[("code", "-1003"), ("code", "429???"), ("label", "TOO_MANY_REQUESTS")],
        ban_until: Some(("msg", "banned until ")),
        used: &[
            UsedWeight { header: "X-MBX-USED-WEIGHT-1M", left: None, window_s: 60 },
            UsedWeight { header: "gw-ratelimit-limit", left: Some("gw-ratelimit-remaining"), window_s: 30 },
        ],
    };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn after(said: &str, date: Option<&str>) -> Option<f64> {
        let mut pairs = vec![("retry-after", said)];
        pairs.extend(date.map(|d| ("date", d)));
        retry_after(&KNOWN, &headers(&pairs), NOW_MS).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn a_retry_after_is_seconds_a_fraction_or_a_date_of_any_form_that_counts_from_the_answers_own_date() {
        // The three spellings of one second in RFC 9110, 5.6.7.
        let date = Some("Sun, 06 Nov 1994 08:48:37 GMT");
        for same in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(after(same, date), Some(60.0), "{same}");
            assert_eq!(after(same, None), Some(0.0), "it is over: {same}");
        }
        assert_eq!([" 7 ", "1.5", "0", "0.25", ".5"].map(|s| after(s, date)), [7.0, 1.5, 0.0, 0.25, 0.5].map(Some));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT", Some("nonsense")), Some(0.0));
        for none in
            ["", "soon", "-3", "1e3", "inf", "NaN", ".", "1.2.3", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(after(none, date), None, "{none}");
        }
        assert_eq!(retry_after(&KNOWN, &HeaderMap::new(), NOW_MS), None);
    }

    #[test]
    fn a_retry_after_that_is_the_time_of_the_reset_is_the_time_until_then_in_any_unit() {
        for same in ["1796000090", "1796000090000", "1796000090000000", "1796000090000000000", "1796000090.0"] {
            let got = after(same, None).unwrap();
            assert!((got - 90.0).abs() < 0.001, "{same}: {got}");
        }
        assert_eq!(after("1795000000", None), Some(0.0), "it is over");
        // 1795996800.
        assert_eq!(after("1795996890", Some("Mon, 30 Nov 2026 00:00:00 GMT")), Some(90.0), "by the answer's own date");
    }

    #[test]
    fn days_are_kept_as_said_and_years_are_an_hour_in_every_spelling() {
        assert_eq!(
            ["7200", "259200"].map(|s| after(s, None)),
            [7_200.0, 259_200.0].map(Some),
            "bans last up to three days"
        );
        let max = u64::MAX.to_string();
        let more = format!("{max}0");
        let endless = "9".repeat(400);
        for said in ["259201", "315360000", &max, &more, &endless, "Thu, 31 Dec 9998 23:59:59 GMT", "3000000000000"] {
            assert_eq!(after(said, None), Some(3_600.0), "{said}");
        }
    }

    #[test]
    fn the_longest_wait_that_was_said_counts() {
        let now = NOW_MS + 90_000;
        let body =
            format!(r#"{{"code":-1003,"msg":"Way too much request weight used; IP banned until {now}. Please"}}"#);
        let wait = |pairs: &[(&'static str, &str)], body: &str| {
            ban(&KNOWN, 418, &headers(pairs), body.as_bytes(), NOW_MS, false).unwrap().wait.as_secs_f64()
        };
        assert_eq!(wait(&[("retry-after", "30")], &body), 90.0);
        assert_eq!(wait(&[("retry-after", "120")], &body), 120.0);
        assert_eq!(wait(&[("retry-after", "5"), ("retry-after", "9")], "{}"), 9.0);
        assert_eq!(wait(&[("gw-ratelimit-reset", "12500")], ""), 12.5);
        assert_eq!(wait(&[("x-gate-ratelimit-reset-timestamp", "1796000007")], ""), 7.0);
        assert_eq!(wait(&[], "<html>"), 60.0, "none was said");
        assert_eq!(wait(&[("retry-after", "0")], ""), 60.0, "a ban is not over when it is said");
        let over = r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1795999999000."}"#;
        assert_eq!(wait(&[], over), 60.0);
        let busy = ban(&KNOWN, 429, &headers(&[("retry-after", "0")]), b"", NOW_MS, false).unwrap();
        assert_eq!(busy.wait.as_secs_f64(), 1.0);
    }

    #[test]
    fn a_throttle_is_one_whatever_its_http_status_and_an_answer_is_none() {
        let why =
            |status, body: &str| ban(&KNOWN, status, &HeaderMap::new(), body.as_bytes(), NOW_MS, true).map(|r| r.why);
        for code in [r#""429000""#, "429000", r#""429001""#, r#""429002""#] {
            let body = format!(r#"{{"code":{code},"msg":"Too many requests in a short period of time"}}"#);
            assert!(why(200, &body).unwrap().starts_with("code 42900"), "{body}");
        }
        assert_eq!(
            why(200, r#"{"label":"TOO_MANY_REQUESTS","message":"x"}"#).unwrap(),
            "code TOO_MANY_REQUESTS with HTTP status 200"
        );
        assert_eq!(why(400, r#"{"code":-1003,"msg":"Too many requests"}"#).unwrap(), "HTTP status 400, code -1003");
        for status in [418, 429, 451] {
            assert_eq!(why(status, "").unwrap(), format!("HTTP status {status}"));
        }
        let forbidden = |body: &[u8], is_per_symbol| {
            ban(&KNOWN, 403, &HeaderMap::new(), body, NOW_MS, is_per_symbol).map(|ban| ban.why)
        };
        let its_own = br#"{"label":"FORBIDDEN","message":"x"}"#;
        assert_eq!(forbidden(its_own, true), None, "of one symbol only");
        assert!(forbidden(its_own, false).is_some() && forbidden(b"<html>", false).is_some());
        assert!(forbidden(br#"{"code":"429000"}"#, true).is_some());
        let long = format!(r#"{{"code":"429000","data":"{}"}}"#, "x".repeat(5_000));
        for (status, body) in [
            (200, r#"{"code":"200000","data":{"code":"429000"}}"#),
            (200, r#"[{"code":"429000"}]"#),
            (200, &long),
            (400, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
            (404, ""),
            (500, "{"),
            (503, "busy"),
        ] {
            assert_eq!(why(status, body), None, "{status} {body:.60}");
        }
        let body = br#"{"code":"429000"}"#;
        assert_eq!(ban(&Throttling::NONE, 200, &HeaderMap::new(), body, NOW_MS, false), None, "of another exchange");
    }

    #[test]
    fn a_page_of_a_cdn_or_proxy_is_no_response_of_the_exchange_whatever_its_status() {
        let html = "<html><body>maintenance</body></html>";
        for (status, body) in [
            (200, html),
            (200, ""),
            (202, ""),
            (200, r#"[{"id":1},{"id""#),
            (200, "\"ok\""),
            (302, ""),
            (403, html),
            (404, html),
            (404, "{}"),
            (403, r#"{"message":"Forbidden"}"#),
        ] {
            assert!(!from_exchange(status, body.as_bytes()), "{status} {body}");
        }
        for (status, body) in [
            (200, " []"),
            (200, r#"{"lastUpdateId":7,"bids":[],"asks":[]}"#),
            (200, r#"{"code":-1000,"msg":"x"}"#),
            (400, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
            (403, r#"{"label":"FORBIDDEN","message":"x"}"#),
        ] {
            assert!(from_exchange(status, body.as_bytes()), "{status} {body}");
        }
    }

    #[test]
    fn the_used_weight_is_read_as_a_count_or_as_what_is_left_of_a_limit() {
        let of = |pairs: &[(&'static str, &str)]| {
            used(&KNOWN, &headers(pairs)).map(|u| (u.weight, u.left, u.window.as_secs()))
        };
        assert_eq!(of(&[("x-mbx-used-weight", "1"), ("x-mbx-used-weight-1m", "1234")]), Some((1_234, None, 60)));
        assert_eq!(
            of(&[("gw-ratelimit-limit", "2000"), ("gw-ratelimit-remaining", "1400")]),
            Some((600, Some(1_400), 30))
        );
        for none in [
            &[][..],
            &[("x-mbx-used-weight-1m", "-1")],
            &[("x-mbx-used-weight-1m", "many")],
            &[("gw-ratelimit-limit", "9")],
        ] {
            assert_eq!(of(none), None);
        }
    }
}
