//! What a look at all chains says: each chain, what is wrong, and both as text.

use std::fmt;

use serde::Serialize;

/// One chain: the parts of one log from the first, or from where it was restored or cloned, to a head.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chain {
    /// Venue name.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// The part after which another chain of the same log goes on too: it was restored or cloned there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_behind: Option<String>,
    /// Hour of the first part, `YYYY-MM-DDTHH`.
    pub first_hour: String,
    /// Hour of the newest part.
    pub last_hour: String,
    /// Parts.
    pub parts: u64,
    /// Files that are there and as their manifest says.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that retention removed, as the list beside the manifests records.
    pub removed: u64,
    /// Parts that were rewritten since, because a later decoder reads other rows.
    pub rewritten: u64,
    /// Parts whose manifest was rebuilt.
    pub rebuilt: u64,
    /// SHA-256 of the newest manifest: note it where writers of the lake cannot write.
    pub head: String,
    /// What is wrong, one plain sentence each.
    pub faults: Vec<String>,
}

/// What [`super::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChainReport {
    /// Every chain, by venue and first hour.
    pub chains: Vec<Chain>,
    /// Faults of no chain: manifests that cannot be read, files that no manifest names, noted heads that are nowhere.
    pub faults: Vec<String>,
    /// What is going on and is no fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ChainReport {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.fault_count() == 0
    }

    /// How many things are wrong.
    pub fn fault_count(&self) -> usize {
        self.faults.len() + self.chains.iter().map(|c| c.faults.len()).sum::<usize>()
    }
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in &self.chains {
            writeln!(
                f,
                "{} log {} {}..{}: {} parts, {} files, {} bytes",
                c.venue,
                c.log.get(..8).unwrap_or(&c.log),
                c.first_hour,
                c.last_hour,
                c.parts,
                c.files,
                c.bytes
            )?;
            if let Some(behind) = &c.forked_behind {
                writeln!(f, "    restored or cloned: another chain of this log goes on after {behind} too")?;
            }
            if c.removed > 0 {
                writeln!(f, "    {} files were removed by retention", c.removed)?;
            }
            if c.rewritten > 0 {
                writeln!(f, "    {} parts were rewritten (replay --rewrite)", c.rewritten)?;
            }
            if c.rebuilt > 0 {
                writeln!(f, "    {} manifests were rebuilt (verify --repair)", c.rebuilt)?;
            }
            writeln!(f, "    head {}", c.head)?;
            for fault in &c.faults {
                writeln!(f, "    WRONG {fault}")?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "WRONG {fault}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        if self.chains.is_empty() && self.faults.is_empty() {
            return writeln!(f, "nothing is published yet");
        }
        match self.fault_count() {
            0 => writeln!(f, "nothing was altered"),
            n => writeln!(f, "{n} things are wrong"),
        }
    }
}
