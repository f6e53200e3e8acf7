//! What a replay did, part by part, as text and as JSON.

use std::fmt;

use serde::Serialize;

use lake::Part;

/// What became of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Rebuilt, not compared.
    Rebuilt,
    /// Every byte is the same.
    Equal,
    /// Every row is the same; another version of the program wrote other bytes.
    EqualRows,
    /// Its rows came out different and it was rewritten.
    Rewritten,
    /// Something differs, or its manifest cannot be read.
    Different,
    /// The log no longer holds all of it, or the part before it is missing.
    NotCheckable,
}

/// One part.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    /// Venue name.
    pub venue: String,
    /// `YYYY-MM-DDTHH`.
    pub hour: String,
    /// `<log>-<first seq>`.
    pub part: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Rows rebuilt.
    pub rows: u64,
    /// Why, or what differs.
    pub details: Vec<String>,
}

/// What a replay did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayReport {
    /// Every part, by venue and log order.
    pub parts: Vec<PartReport>,
    /// Notes that concern no single part.
    pub notes: Vec<String>,
}

impl ReplayReport {
    fn count(&self, wanted: &[Verdict]) -> usize {
        self.parts.iter().filter(|p| wanted.contains(&p.verdict)).count()
    }

    /// Parts compared.
    pub fn checked(&self) -> usize {
        self.count(&[Verdict::Equal, Verdict::EqualRows, Verdict::Rewritten, Verdict::Different])
    }

    /// Parts rewritten.
    pub fn rewritten(&self) -> usize {
        self.count(&[Verdict::Rewritten])
    }

    /// Parts that differ.
    pub fn different(&self) -> usize {
        self.count(&[Verdict::Different])
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.parts {
            let word = match p.verdict {
                Verdict::Rebuilt => "rebuilt",
                Verdict::Equal => "equal",
                Verdict::EqualRows => "equal rows, other bytes",
                Verdict::Rewritten => "rewritten",
                Verdict::Different => "DIFFERENT",
                Verdict::NotCheckable => "not checkable",
            };
            writeln!(f, "{} {} {}  {word}, {} rows", p.venue, p.hour, p.part, p.rows)?;
            for d in &p.details {
                writeln!(f, "    {d}")?;
            }
        }
        for n in &self.notes {
            writeln!(f, "{n}")?;
        }
        let rebuilt = self.count(&[Verdict::Rebuilt]);
        if rebuilt > 0 {
            let rows: u64 = self.parts.iter().map(|p| p.rows).sum();
            writeln!(f, "{rebuilt} parts rebuilt, {rows} rows")?;
        }
        let gone = self.count(&[Verdict::NotCheckable]);
        if self.checked() + gone > 0 {
            writeln!(
                f,
                "{} parts checked: {} equal, {} different; {gone} not checkable",
                self.checked(),
                self.count(&[Verdict::Equal, Verdict::EqualRows]),
                self.different()
            )?;
            if self.rewritten() > 0 {
                writeln!(f, "{} parts were different and have been rewritten", self.rewritten())?;
            }
        } else if rebuilt == 0 {
            writeln!(f, "nothing to replay: there is no log or no part in this range")?;
        }
        Ok(())
    }
}

pub(super) fn part_report(part: Part, verdict: Verdict, rows: u64, details: Vec<String>) -> PartReport {
    PartReport { hour: part.hour.to_string(), part: part.stem(), venue: part.venue, verdict, rows, details }
}

/// A part whose manifest cannot be read.
pub(super) fn unreadable_part(part: &Part, why: &str) -> PartReport {
    let why = format!("{why}; tapedeck verify --repair rebuilds it");
    part_report(part.clone(), Verdict::Different, 0, vec![why])
}
