//! How complete and how clean the recording is, per hour or day: sums over manifests, nothing else is read.
//!
//! ```text
//!  manifests of the log      what came, what is missing, how late, what was removed
//!  manifests of its repairs  what was fetched again          --> Quality per venue and span --> text | JSON | page
//! ```
//!
//! A gap counts where it was met; what was fetched again counts for the gap, whenever that happened. The sums are
//! exact: ids expected = present + missing - those of the missing that came late.
//!
//! Each channel is judged in its own unit and none is added to another: trades and aggregates by their ids, depth by the
//! gaps between its messages (a message holds from one to thousands of update ids), and what carries no ids that
//! continue is counted and not judged. The headline is the least complete channel.
#![forbid(unsafe_code)]

mod cache;
mod html;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use lake::find::{manifests_between, venues};
use lake::manifest::{FrameCounts, Line, Repair};
use lake::{Hour, Lake, LakeError, PartManifest, Table};
use model::{Channel, VenueId};
use venue::{Continuity, venue};

pub use cache::Reports;
pub use html::page;

/// Repairs are looked for in this many hours after the span too: a venue may have been away for a day.
const REPAIR_HOURS: i64 = 48;
/// Gaps listed in a report; all of them are counted.
const LISTED_MAX: usize = 1_000;

/// How long a span of the report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An hour each.
    Hour,
    /// A day each, UTC.
    Day,
}

/// What to report.
#[derive(Clone, Debug)]
pub struct Query {
    /// Venue names; empty = every venue of the lake.
    pub venues: Vec<String>,
    /// First hour.
    pub from: Hour,
    /// Hour after the last one.
    pub to: Hour,
    /// Length of a span.
    pub by: By,
}

/// What the completeness of a channel is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// Ids that go up by one from row to row: how many of them are there.
    Ids,
    /// Update ids, of which a message holds many: how often they do not continue.
    Gaps,
    /// Nothing: its messages carry no ids that continue.
    #[default]
    Not,
}

impl Judged {
    /// How a channel of a venue is judged, by their names; `has_ids`: the manifests know ids of it.
    fn of(venue_name: &str, channel: &str, has_ids: bool) -> Judged {
        let Ok(channel) = channel.parse::<Channel>() else { return Judged::Not };
        let rule = venue_name.parse::<VenueId>().map(|id| venue(id).spec.continuity(channel));
        match (rule, channel) {
            (Ok(Continuity::None), _) => Judged::Not,
            (Err(_), _) if !has_ids => Judged::Not,
            (_, Channel::Depth) => Judged::Gaps,
            _ => Judged::Ids,
        }
    }
}

/// One channel over a span. Ids are given where it is judged by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelQuality {
    /// Channel name.
    pub channel: String,
    /// By what it is judged.
    pub judged: Judged,
    /// Messages that became rows.
    pub messages: u64,
    /// Gaps between them.
    pub gaps: u64,
    /// Ids between the first and the last of each symbol.
    pub expected: u64,
    /// Of them those that did not come.
    pub missing: u64,
    /// Of `missing` those that were fetched again over REST.
    pub fetched: u64,
}

impl ChannelQuality {
    /// Ids that are in no row of the lake.
    pub fn lacking(&self) -> u64 {
        self.missing.saturating_sub(self.fetched)
    }

    /// Ids that are in rows of the lake, of those expected; `None` where ids do not judge it.
    pub fn share(&self) -> Option<(u64, u64)> {
        (self.judged == Judged::Ids && self.expected > 0).then(|| (self.expected - self.lacking(), self.expected))
    }

    /// False when something of it is known to be missing for good.
    pub fn is_whole(&self) -> bool {
        match self.judged {
            Judged::Ids => self.lacking() == 0,
            Judged::Gaps => self.gaps == 0,
            Judged::Not => true,
        }
    }
}

/// The ids of one symbol on one channel over a span: of depth update ids, of which a message holds many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SymbolQuality {
    /// Channel name.
    pub channel: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// By what its channel is judged.
    pub judged: Judged,
    /// Gaps.
    pub gaps: u64,
    /// Ids between the first and the last: `present + missing`, `missing` after what came late.
    pub expected: u64,
    /// Ids that came, late ones included.
    pub present: u64,
    /// Ids that did not come.
    pub missing: u64,
    /// Of `missing` those that were fetched again over REST.
    pub fetched: u64,
    /// Rows removed because another line had brought them.
    pub duplicates: u64,
}

impl SymbolQuality {
    /// Ids that are in no row of the lake.
    pub fn lacking(&self) -> u64 {
        self.missing.saturating_sub(self.fetched)
    }
}

/// A gap and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapQuality {
    /// Channel name.
    pub channel: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// First missing id.
    pub from_id: i64,
    /// Last missing id.
    pub to_id: i64,
    /// Time of the last row before it, us, where known.
    pub after_us: Option<i64>,
    /// Why it is there.
    pub cause: String,
    /// Ids of it that came late over the socket.
    pub came_late: u64,
    /// Ids of it that were fetched again.
    pub fetched: u64,
    /// Why the rest was not, as far as it was requested.
    pub why: Option<String>,
}

impl GapQuality {
    /// Ids of the gap.
    pub fn ids(&self) -> u64 {
        u64::try_from(i128::from(self.to_id) - i128::from(self.from_id) + 1).unwrap_or(0)
    }

    /// Ids of it that are in no row of the lake.
    pub fn lacking(&self) -> u64 {
        self.ids().saturating_sub(self.came_late).saturating_sub(self.fetched)
    }
}

/// Receive time minus the venue's event time, so with the difference of the two clocks in it, µs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// Rows counted.
    pub rows: u64,
    /// Smallest; below 0 our clock is behind the venue's.
    pub min_us: i64,
    /// Half of the rows came within this; steps are a quarter of a power of two wide.
    pub p50_us: i64,
    /// 99 of 100 rows.
    pub p99_us: i64,
    /// 999 of 1,000 rows.
    pub p999_us: i64,
    /// Largest.
    pub max_us: i64,
}

/// One venue over one span.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Venue name.
    pub venue: String,
    /// `YYYY-MM-DDTHH` or `YYYY-MM-DD`, UTC.
    pub span: String,
    /// Parts that the sums are of, those of repairs too.
    pub parts: u64,
    /// Parts that the sums are not of, or not wholly: where their manifest is and what is the matter with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unaccounted: Vec<String>,
    /// Data and REST records.
    pub frames: u64,
    /// What became of them.
    pub became: FrameCounts,
    /// Ranges of records that the log lost.
    pub lost_ranges: u64,
    /// Rows by table.
    pub rows: BTreeMap<Table, u64>,
    /// Of them those that were fetched again over REST.
    pub fetched_rows: u64,
    /// Rows removed because they were there, by table.
    pub duplicates: BTreeMap<Table, u64>,
    /// Connections that ended and should not have: the venue closed them, they were lost or silent.
    pub disconnects: u64,
    /// Connections that ended as planned: replaced in time, or with the collector.
    pub planned_ends: u64,
    /// What each line brought.
    pub lines: Vec<Line>,
    /// How late rows came.
    pub delay: Delay,
    /// Unknown fields and types, by what they are.
    pub drift: BTreeMap<String, u64>,
    /// Gaps, all of them.
    pub hole_count: u64,
    /// The first of them.
    pub holes: Vec<GapQuality>,
    /// Every channel of which messages came, the least complete first.
    pub channels: Vec<ChannelQuality>,
    /// Every symbol of every channel that numbers its messages, worst first; those judged by ids before the others.
    pub symbols: Vec<SymbolQuality>,
    #[serde(skip)]
    steps: BTreeMap<i64, u64>,
    #[serde(skip)]
    by_name: BTreeMap<(String, String), SymbolQuality>,
    #[serde(skip)]
    messages: BTreeMap<String, u64>,
}

impl Quality {
    /// The channel that is the least complete of those judged by ids.
    pub fn worst(&self) -> Option<&ChannelQuality> {
        self.channels.first().filter(|c| c.share().is_some())
    }

    /// False when something is known to be missing for good, or not to be in these numbers.
    pub fn is_whole(&self) -> bool {
        self.channels.iter().all(ChannelQuality::is_whole)
            && self.lost_ranges == 0
            && self.became.undecodable + self.became.in_part == 0
            && self.unaccounted.is_empty()
    }

    fn add(&mut self, m: &PartManifest, repairs: &Repairs) {
        self.parts += 1;
        if let Some(rebuilt) = m.rebuilt.as_ref().filter(|r| !r.unknown.is_empty()) {
            let unknown = rebuilt.unknown.join("; ");
            self.unaccounted.push(format!("the manifest of {} was rebuilt, not known are {unknown}", m.hour));
        }
        let of_repairs = !m.repairs.is_empty() || m.records.keys().all(|k| k != "conn_open" && k != "data");
        let became = m.totals();
        self.frames += m.frames;
        self.became.decoded += became.decoded;
        self.became.control += became.control;
        self.became.undecodable += became.undecodable;
        self.became.in_part += became.in_part;
        self.lost_ranges += m.lost.len() as u64;
        let closed = m.records.get("conn_close").copied().unwrap_or(0);
        self.planned_ends += m.planned_closes.min(closed);
        self.disconnects += closed.saturating_sub(m.planned_closes);
        for (table, n) in &m.rows {
            *self.rows.entry(*table).or_default() += n;
            if of_repairs && matches!(table, Table::Trades | Table::AggTrades) {
                self.fetched_rows += n;
            }
        }
        m.duplicates.iter().for_each(|(table, n)| *self.duplicates.entry(*table).or_default() += n);
        m.drift.iter().for_each(|(what, item)| *self.drift.entry(what.clone()).or_default() += item.count);
        for (i, line) in m.lines.iter().enumerate() {
            if self.lines.len() <= i {
                self.lines.push(Line::default());
            }
            if let Some(sum) = self.lines.get_mut(i) {
                let ahead = sum.ahead + line.ahead;
                let late = sum.advantage_us.saturating_mul(sum.ahead) + line.advantage_us.saturating_mul(line.ahead);
                sum.advantage_us = late.checked_div(ahead).unwrap_or(0);
                (sum.frames, sum.first, sum.ahead) = (sum.frames + line.frames, sum.first + line.first, ahead);
            }
        }
        // Rows of repairs come minutes after their events: they say nothing about the line.
        if m.clock.count > 0 && !of_repairs {
            let first = self.delay.rows == 0;
            self.delay.min_us = if first { m.clock.min_us } else { self.delay.min_us.min(m.clock.min_us) };
            self.delay.max_us = if first { m.clock.max_us } else { self.delay.max_us.max(m.clock.max_us) };
            self.delay.rows += m.clock.count;
            m.clock.steps.iter().for_each(|(end, n)| *self.steps.entry(*end).or_default() += n);
        }
        for gap in &m.gaps {
            self.hole_count += 1;
            if self.holes.len() < LISTED_MAX {
                let (fetched, why) = repairs.of(&gap.channel, &gap.symbol, gap.from_id, gap.to_id);
                self.holes.push(GapQuality {
                    channel: gap.channel.clone(),
                    symbol: gap.symbol.clone(),
                    from_id: gap.from_id,
                    to_id: gap.to_id,
                    after_us: gap.after_us,
                    cause: gap.cause.clone(),
                    came_late: gap.filled,
                    fetched,
                    why,
                });
            }
        }
        if !of_repairs {
            self.add_ids(m, repairs);
        }
    }

    fn add_ids(&mut self, m: &PartManifest, repairs: &Repairs) {
        for (channel, counts) in &m.channels {
            *self.messages.entry(channel.clone()).or_default() += counts.decoded;
        }
        for ids in &m.ids {
            let symbol = self.symbol(&ids.channel, &ids.symbol);
            symbol.present += ids.present;
            symbol.missing = (symbol.missing + ids.missing).saturating_sub(ids.filled);
            symbol.expected = symbol.present + symbol.missing;
            symbol.duplicates += ids.duplicates;
        }
        for gap in &m.gaps {
            let (fetched, _) = repairs.of(&gap.channel, &gap.symbol, gap.from_id, gap.to_id);
            let symbol = self.symbol(&gap.channel, &gap.symbol);
            symbol.gaps += 1;
            symbol.fetched = (symbol.fetched + fetched).min(symbol.missing);
        }
    }

    fn symbol(&mut self, channel: &str, symbol: &str) -> &mut SymbolQuality {
        let key = (channel.to_owned(), symbol.to_owned());
        let new = || SymbolQuality { channel: key.0.clone(), symbol: key.1.clone(), ..SymbolQuality::default() };
        self.by_name.entry(key.clone()).or_insert_with(new)
    }

    fn finish(&mut self) {
        let total: u64 = self.steps.values().sum();
        let within = |share: u64| {
            let wanted = total.saturating_mul(share).div_ceil(1_000);
            let mut sum = 0;
            let end = self.steps.iter().find(|(_, n)| {
                sum += **n;
                sum >= wanted
            });
            // Nothing is later than the latest.
            end.map_or(0, |(end, _)| (*end).min(self.delay.max_us))
        };
        let (p50, p99, p999) = (within(500), within(990), within(999));
        (self.delay.p50_us, self.delay.p99_us, self.delay.p999_us) = (p50, p99, p999);
        self.symbols = std::mem::take(&mut self.by_name).into_values().collect();
        let mut channels: BTreeMap<String, ChannelQuality> = BTreeMap::new();
        // Listings and what is of no known channel are no channels to judge.
        let is_one = |(channel, n): &(String, u64)| *n > 0 && channel.parse::<Channel>().is_ok();
        for (channel, messages) in std::mem::take(&mut self.messages).into_iter().filter(is_one) {
            channels.insert(channel.clone(), ChannelQuality { channel, messages, ..ChannelQuality::default() });
        }
        for s in &mut self.symbols {
            s.judged = Judged::of(&self.venue, &s.channel, true);
            let new = || ChannelQuality { channel: s.channel.clone(), ..ChannelQuality::default() };
            let sum = channels.entry(s.channel.clone()).or_insert_with(new);
            (sum.judged, sum.gaps) = (s.judged, sum.gaps + s.gaps);
            if s.judged == Judged::Ids {
                sum.expected += s.expected;
                sum.missing += s.missing;
                sum.fetched += s.fetched;
            }
        }
        for c in channels.values_mut().filter(|c| c.judged == Judged::Not) {
            c.judged = Judged::of(&self.venue, &c.channel, false);
        }
        self.channels = channels.into_values().collect();
        // Of fractions without dividing: a/b < c/d when a * d < c * b.
        self.channels.sort_by(|a, b| {
            let ((pa, ea), (pb, eb)) = (a.share().unwrap_or((1, 1)), b.share().unwrap_or((1, 1)));
            let share = (u128::from(pa) * u128::from(eb)).cmp(&(u128::from(pb) * u128::from(ea)));
            let rank = (a.judged, a.share().is_none()).cmp(&(b.judged, b.share().is_none()));
            rank.then(share).then(b.gaps.cmp(&a.gaps)).then_with(|| a.channel.cmp(&b.channel))
        });
        self.symbols.sort_by(|a, b| {
            let worse = (b.lacking(), b.missing, b.gaps).cmp(&(a.lacking(), a.missing, a.gaps));
            let name = || (&a.channel, &a.symbol).cmp(&(&b.channel, &b.symbol));
            a.judged.cmp(&b.judged).then(worse).then_with(name)
        });
    }
}

/// What was fetched again, by channel and symbol.
#[derive(Default)]
struct Repairs(BTreeMap<(String, String), Vec<Repair>>);

impl Repairs {
    fn add(&mut self, m: &PartManifest) {
        for r in &m.repairs {
            self.0.entry((r.channel.clone(), r.symbol.clone())).or_default().push(r.clone());
        }
    }

    /// Ids of a gap that were fetched again, and why not all.
    fn of(&self, channel: &str, symbol: &str, from: i64, to: i64) -> (u64, Option<String>) {
        let all = self.0.get(&(channel.to_owned(), symbol.to_owned())).map(Vec::as_slice).unwrap_or_default();
        let inside = all.iter().filter(|r| r.from_id >= from && r.to_id <= to);
        inside.fold((0, None), |(rows, why), r| (rows + r.rows, why.or_else(|| r.why.clone())))
    }
}

/// Reports on every venue and span that has a part.
///
/// A manifest that cannot be read is reported in the span of its hour; one of repairs after the range, in the last.
///
/// # Errors
/// When a directory cannot be listed.
pub fn report(lake: &Lake, query: &Query) -> Result<Vec<Quality>, LakeError> {
    Reports::default().report(lake, query)
}

impl Reports {
    /// [`report`] with the manifests that were read before and are still the same.
    ///
    /// # Errors
    /// As [`report`].
    pub fn report(&self, lake: &Lake, query: &Query) -> Result<Vec<Quality>, LakeError> {
        let venues = if query.venues.is_empty() { venues(lake)? } else { query.venues.clone() };
        let mut out = Vec::new();
        for venue in venues {
            let mut loaded = Vec::new();
            let mut repairs = Repairs::default();
            for (part, found) in manifests_between(lake, &venue, query.from, Hour(query.to.0 + REPAIR_HOURS))? {
                match self.manifest(lake, &found) {
                    Ok(manifest) => {
                        repairs.add(&manifest);
                        if part.hour < query.to {
                            loaded.push((part.hour, Ok(manifest)));
                        }
                    }
                    Err(err) => {
                        let hour = Hour(part.hour.0.min(query.to.0 - 1));
                        loaded.push((hour, Err(format!("{err}; tapedeck verify --repair rebuilds it"))));
                    }
                }
            }
            let mut spans: BTreeMap<String, Quality> = BTreeMap::new();
            for (hour, manifest) in &loaded {
                let span = match query.by {
                    By::Hour => hour.to_string(),
                    By::Day => hour.date(),
                };
                let new = || Quality { venue: venue.clone(), span: span.clone(), ..Quality::default() };
                let sum = spans.entry(span.clone()).or_insert_with(new);
                match manifest {
                    Ok(manifest) => sum.add(manifest, &repairs),
                    Err(why) => sum.unaccounted.push(why.clone()),
                }
            }
            out.extend(spans.into_values().map(|mut q| {
                q.finish();
                q
            }));
        }
        Ok(out)
    }
}
