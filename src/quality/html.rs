//! The report as a page of its own: no script, no request but for its style sheet, readable on paper.

use std::fmt::Write;

use super::text::{completeness, delay, fate, headline, percent, time};
use super::{Judged, Quality};

/// Symbols and gaps shown of one span.
const SHOWN: usize = 200;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;\
color-scheme:light dark}table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem;\
font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.15rem .6rem;border-bottom:1px solid #8884}\
th:first-child,td:first-child,.t{text-align:left}.bad{color:#c33;font-weight:600}.ok{color:#2a7a2a}\
section{overflow-x:auto}";

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A whole page.
pub fn page(title: &str, report: &[Quality]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{STYLE}</style></head>\
<body><h1>{0}</h1>",
        escape(title)
    );
    if report.is_empty() {
        out.push_str("<p>Nothing was published in this time.</p>");
    }
    for q in report {
        section(&mut out, q);
    }
    out.push_str("</body></html>\n");
    out
}

fn section(out: &mut String, q: &Quality) {
    let class = match (q.is_whole(), q.worst()) {
        (false, _) => "bad",
        (true, Some(_)) => "ok",
        (true, None) => "t",
    };
    let _ = write!(
        out,
        "<section><h2>{} {}</h2><p class=\"{class}\">{}.</p>",
        escape(&q.venue),
        escape(&q.span),
        escape(&headline(q))
    );
    for what in &q.unaccounted {
        let _ = write!(out, "<p class=\"bad\">Not in these numbers: {}</p>", escape(what));
    }
    let _ = write!(
        out,
        "<p>{} frames = {} decoded ({} in part) + {} control + {} undecodable; {} lost ranges in the log; {} connections \
lost, {} ended as planned.",
        q.frames,
        q.became.decoded,
        q.became.in_part,
        q.became.control,
        q.became.undecodable,
        q.lost_ranges,
        q.disconnects,
        q.planned_ends
    );
    if q.delay.rows > 0 {
        let [min, p50, p99, p999, max] =
            [q.delay.min_us, q.delay.p50_us, q.delay.p99_us, q.delay.p999_us, q.delay.max_us].map(delay);
        let _ = write!(
            out,
            "<br>Received after the event: p50 {p50}, p99 {p99}, p99.9 {p999}; least {min}, most {max}, the difference \
of the clocks in it."
        );
    }
    out.push_str("</p><table><tr><th>Channel<th>messages<th class=\"t\">complete</tr>");
    for c in &q.channels {
        let class = if c.is_whole() { "t" } else { "t bad" };
        let (channel, messages, text) = (escape(&c.channel), c.messages, escape(&completeness(c)));
        let _ = write!(out, "<tr><td>{channel}<td>{messages}<td class=\"{class}\">{text}</tr>");
    }
    out.push_str("</table><table><tr><th>Channel and symbol<th>gaps<th>ids expected<th>came<th>fetched again<th>missing for good<th>complete<th>repeats removed</tr>");
    for s in q.symbols.iter().take(SHOWN) {
        let (name, symbol, gaps) = (escape(&s.channel), escape(&s.symbol), s.gaps);
        let class = if s.lacking() > 0 { " class=\"bad\"" } else { "" };
        let _ = write!(out, "<tr><td>{name} {symbol}<td{class}>{gaps}");
        // Update ids are no unit beside trades: of depth the gaps are shown.
        let _ = match s.judged {
            Judged::Ids => write!(
                out,
                "<td>{}<td>{}<td>{}<td{class}>{}<td>{}<td>{}</tr>",
                s.expected,
                s.present,
                s.fetched,
                s.lacking(),
                percent(s.expected - s.lacking(), s.expected),
                s.duplicates
            ),
            _ => write!(out, "<td>-<td>-<td>-<td>-<td>-<td>{}</tr>", s.duplicates),
        };
    }
    out.push_str("</table>");
    if !q.holes.is_empty() {
        out.push_str("<table><tr><th>Gap<th class=\"t\">ids<th class=\"t\">after<th class=\"t\">cause<th class=\"t\">what became of it</tr>");
        for gap in q.holes.iter().take(SHOWN) {
            let _ = write!(
                out,
                "<tr><td>{} {}<td class=\"t\">{}..{}<td class=\"t\">{}<td class=\"t\">{}<td class=\"t\">{}</tr>",
                escape(&gap.channel),
                escape(&gap.symbol),
                gap.from_id,
                gap.to_id,
                time(gap.after_us),
                escape(&gap.cause),
                escape(&fate(gap))
            );
        }
        out.push_str("</table>");
    }
    out.push_str("</section>");
}
