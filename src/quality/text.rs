//! The report for a terminal: what is complete in one line, what is not in as many as it takes.

use std::fmt::{self, Write};

use wal_format::plain::line;

use super::{ChannelQuality, GapQuality, Judged, Quality};

/// Symbols and gaps listed one by one; JSON has all of them.
const SHOWN: usize = 10;

/// A share of ids that is 100 % only when nothing lacks.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "-".to_owned(),
        (p, w) if p >= w => "100 %".to_owned(),
        // Rounded down: the last digit never claims what is not there.
        (p, w) => {
            let millionths = u128::from(p) * 100_000_000 / u128::from(w);
            format!("{}.{:06} %", millionths / 1_000_000, millionths % 1_000_000)
        }
    }
}

/// A delay in the unit that reads best.
pub(super) fn delay(us: i64) -> String {
    match us.unsigned_abs() {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Time of day and fraction of a time in us since 1970, UTC.
pub(super) fn time(us: Option<i64>) -> String {
    let time = us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |t| t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// What became of a gap, as text.
pub(super) fn fate(gap: &GapQuality) -> String {
    let mut words = Vec::new();
    if gap.came_late > 0 {
        words.push(format!("{} came late", gap.came_late));
    }
    if gap.fetched > 0 {
        words.push(format!("{} fetched again", gap.fetched));
    }
    if gap.lacking() > 0 {
        words.push(format!("{} missing for good", gap.lacking()));
        words.extend(gap.why.as_deref().map(|why| line(why).into_owned()));
    }
    words.join(", ")
}

/// How complete a channel is, in its own unit.
pub(super) fn completeness(c: &ChannelQuality) -> String {
    match (c.judged, c.share()) {
        (Judged::Ids, Some((there, expected))) => format!(
            "{} of {expected} ids; {} gaps, {} ids missing, {} fetched again, {} missing for good",
            percent(there, expected),
            c.gaps,
            c.missing,
            c.missing - c.lacking(),
            c.lacking(),
        ),
        (Judged::Gaps, _) => format!("{} gaps in {} messages", c.gaps, c.messages),
        _ => format!("not judged, {} messages without ids that continue", c.messages),
    }
}

/// The one line that a hurried reader reads: the least complete channel, whole recordings as such.
pub(super) fn headline(q: &Quality) -> String {
    let gaps: u64 = q.channels.iter().filter(|c| c.judged == Judged::Gaps).map(|c| c.gaps).sum();
    let depth = if gaps > 0 { format!("; {gaps} gaps in depth") } else { String::new() };
    match q.worst() {
        Some(worst) => format!("{}{depth} ({})", completeness(worst), worst.channel),
        None => format!("not judged: no ids came{depth}"),
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}  {}", line(&self.venue), self.span, headline(self))?;
        for what in &self.unaccounted {
            writeln!(f, "  NOT IN THESE NUMBERS: {}", line(what))?;
        }
        for c in &self.channels {
            writeln!(f, "  {:<14} {}", line(&c.channel), completeness(c))?;
        }
        let b = self.became;
        let in_part = if b.in_part == 0 { String::new() } else { format!(" ({} in part)", b.in_part) };
        writeln!(
            f,
            "  {} frames = {} decoded{in_part} + {} control + {} undecodable; {} lost ranges in the log, {} connections lost, \
             {} ended as planned",
            self.frames, b.decoded, b.control, b.undecodable, self.lost_ranges, self.disconnects, self.planned_ends
        )?;
        let tables = |tables: &std::collections::BTreeMap<lake::Table, u64>| {
            tables.iter().fold(String::new(), |mut out, (table, n)| {
                let _ = write!(out, " {table} {n}");
                out
            })
        };
        writeln!(f, "  rows{}", tables(&self.rows))?;
        if !self.duplicates.is_empty() {
            writeln!(f, "  removed as repeated{}", tables(&self.duplicates))?;
        }
        if let [a, b] = self.lines.as_slice() {
            writeln!(
                f,
                "  lines: the first brought {} of its {} frames first, the second {} of {}",
                a.first, a.frames, b.first, b.frames
            )?;
        }
        let d = &self.delay;
        if d.rows > 0 {
            let [min, p50, p99, p999, max] = [d.min_us, d.p50_us, d.p99_us, d.p999_us, d.max_us].map(delay);
            writeln!(
                f,
                "  received after the event: p50 {p50}, p99 {p99}, p99.9 {p999}; least {min}, most {max} (both clocks in it)"
            )?;
        }
        for (what, n) in &self.drift {
            writeln!(f, "  unknown: {} x {n}", line(what))?;
        }
        let incomplete: Vec<_> = self.symbols.iter().filter(|s| s.missing > 0 || s.gaps > 0).collect();
        for s in incomplete.iter().take(SHOWN) {
            if s.judged != Judged::Ids {
                writeln!(
                    f,
                    "  {} {}: {} gaps, {} update ids missing",
                    s.channel,
                    line(&s.symbol),
                    s.gaps,
                    s.lacking()
                )?;
                continue;
            }
            writeln!(
                f,
                "  {} {}: {} of {} ids came, {} fetched again, {} missing for good ({})",
                s.channel,
                line(&s.symbol),
                s.present,
                s.expected,
                s.fetched,
                s.lacking(),
                percent(s.expected - s.lacking(), s.expected)
            )?;
        }
        if incomplete.len() > SHOWN {
            writeln!(f, "  ... and {} more symbols with gaps", incomplete.len() - SHOWN)?;
        }
        for gap in self.holes.iter().take(SHOWN) {
            writeln!(
                f,
                "  gap {} {} {}..{} after {}, cause {}: {}",
                line(&gap.channel),
                line(&gap.symbol),
                gap.from_id,
                gap.to_id,
                time(gap.after_us),
                line(&gap.cause),
                fate(gap)
            )?;
        }
        if self.hole_count > SHOWN as u64 {
            writeln!(f, "  ... and {} more gaps (--json has them)", self.hole_count - SHOWN as u64)?;
        }
        Ok(())
    }
}
