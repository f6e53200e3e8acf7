//! What to do with a segment that an earlier run left behind: one total table.
//!
//! [`decide`] is pure: facts in, one action out. A unit test walks the whole product of facts and
//! demands that exactly one row matches each, so no crash shape is left to chance. Carrying out
//! the action is `repair`'s job.
//!
//! Nothing here deletes. The strongest action moves a file that nobody can read to
//! `quarantine/`, and only after everything else was tried.

/// How far the header block of a segment can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFact {
    /// Checksum good, and it names this log and this segment.
    Valid,
    /// Damaged, but the records themselves proved the checksum start value (see `scan`).
    Inferred,
    /// Checksum good, but it belongs to another log or to another segment id.
    Foreign,
    /// Damaged, and nothing in the file could replace it.
    Damaged,
}

/// What the data area holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentFact {
    /// Zeros only: prepared and never used.
    Zero,
    /// At least one valid record.
    Records,
    /// Bytes, none of them a valid record.
    Noise,
}

/// What is in the footer place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterFact {
    /// No valid footer.
    Absent,
    /// Valid, written after the data was on disk.
    Synced,
    /// Valid, data not known to be on disk, but the machine has not restarted since.
    UnsyncedThisBoot,
    /// Valid, data not known to be on disk, and the machine has restarted: pages may be missing.
    UnsyncedEarlierBoot,
}

/// Everything the table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// It belongs to the writer that runs now.
    pub owned: bool,
    /// The header block.
    pub header: HeaderFact,
    /// The data area.
    pub content: ContentFact,
    /// A valid SEAL record closes the data.
    pub sealed: bool,
    /// The footer.
    pub footer: FooterFact,
    /// A later segment holds records, or a running writer has moved on to a later one.
    pub later: bool,
    /// Some reader's acknowledged position lies inside it.
    pub acked: bool,
}

/// What `repair` does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The running writer's own: not touched.
    LeaveToWriter,
    /// Prepared, never used, nothing after it: the next writer takes it.
    LeaveReady,
    /// Sealed and proven: not even read.
    Trust,
    /// Sealed, but pages may be missing or the footer is: walk, write HOLE records, write the footer.
    RebuildFooter,
    /// A crash tail: walk, write HOLE records, SEAL and footer.
    SealTail,
    /// Prepared, never used, but the log went on after it: SEAL at the start, so no reader waits.
    SealEmpty,
    /// An unfinished creation: moved to `quarantine/`, nothing lost.
    Quarantine,
    /// Bytes that nobody can read or that are not ours: moved to `quarantine/`, lost range reported.
    QuarantineAndReport,
}

/// One row: a name for logs and tests, when it applies, what follows.
struct Row {
    name: &'static str,
    applies: fn(&Facts) -> bool,
    action: Action,
}

fn readable(f: &Facts) -> bool {
    !f.owned && matches!(f.header, HeaderFact::Valid | HeaderFact::Inferred)
}

fn unproven(f: &Facts) -> bool {
    readable(f) && f.footer == FooterFact::Absent && !f.sealed
}

fn unreadable(f: &Facts) -> bool {
    !f.owned && f.header == HeaderFact::Damaged
}

fn unfinished_creation(f: &Facts) -> bool {
    f.content == ContentFact::Zero && f.footer == FooterFact::Absent && !f.sealed && !f.acked
}

const TABLE: &[Row] = &[
    Row { name: "segment of the running writer", applies: |f| f.owned, action: Action::LeaveToWriter },
    Row {
        name: "file of another log or another id",
        applies: |f| !f.owned && f.header == HeaderFact::Foreign,
        action: Action::QuarantineAndReport,
    },
    Row {
        name: "damaged header, never used",
        applies: |f| unreadable(f) && unfinished_creation(f),
        action: Action::Quarantine,
    },
    Row {
        name: "damaged header over something",
        applies: |f| unreadable(f) && !unfinished_creation(f),
        action: Action::QuarantineAndReport,
    },
    Row {
        name: "footer written after its data was on disk",
        applies: |f| readable(f) && f.footer == FooterFact::Synced,
        action: Action::Trust,
    },
    Row {
        name: "footer of this boot: the page cache still holds the data",
        applies: |f| readable(f) && f.footer == FooterFact::UnsyncedThisBoot,
        action: Action::Trust,
    },
    Row {
        name: "footer of an earlier boot without proof",
        applies: |f| readable(f) && f.footer == FooterFact::UnsyncedEarlierBoot,
        action: Action::RebuildFooter,
    },
    Row {
        name: "seal without footer",
        applies: |f| readable(f) && f.footer == FooterFact::Absent && f.sealed,
        action: Action::RebuildFooter,
    },
    Row { name: "crash tail", applies: |f| unproven(f) && f.content != ContentFact::Zero, action: Action::SealTail },
    Row {
        name: "unused, and the log went on",
        applies: |f| unproven(f) && f.content == ContentFact::Zero && f.later,
        action: Action::SealEmpty,
    },
    Row {
        name: "unused, at the end",
        applies: |f| unproven(f) && f.content == ContentFact::Zero && !f.later,
        action: Action::LeaveReady,
    },
];

/// Looks up what to do and the name of the row that says so.
#[must_use]
pub fn decide(facts: &Facts) -> (Action, &'static str) {
    TABLE.iter().find(|row| (row.applies)(facts)).map_or(
        // Unreachable while the table is total; leaving a segment alone can lose nothing.
        (Action::LeaveToWriter, "no row"),
        |row| (row.action, row.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> Vec<Facts> {
        use ContentFact as C;
        use FooterFact as F;
        use HeaderFact as H;
        let mut all = Vec::new();
        for bits in 0..16_u32 {
            for header in [H::Valid, H::Inferred, H::Foreign, H::Damaged] {
                for content in [C::Zero, C::Records, C::Noise] {
                    for footer in [F::Absent, F::Synced, F::UnsyncedThisBoot, F::UnsyncedEarlierBoot] {
                        all.push(Facts {
                            owned: bits & 1 != 0,
                            header,
                            content,
                            sealed: bits & 2 != 0,
                            footer,
                            later: bits & 4 != 0,
                            acked: bits & 8 != 0,
                        });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn every_combination_of_facts_matches_exactly_one_row() {
        let all = product();
        assert_eq!(all.len(), 768);
        for facts in &all {
            let rows: Vec<_> = TABLE.iter().filter(|row| (row.applies)(facts)).map(|row| row.name).collect();
            assert_eq!(rows.len(), 1, "{facts:?} matches {rows:?}");
        }
    }

    #[test]
    fn every_row_is_reached() {
        let all = product();
        for row in TABLE {
            assert!(all.iter().any(row.applies), "{} is dead", row.name);
        }
    }

    #[test]
    fn readable_records_are_never_moved_away() {
        for facts in product() {
            let readable = matches!(facts.header, HeaderFact::Valid | HeaderFact::Inferred);
            let (action, _) = decide(&facts);
            if readable {
                assert!(!matches!(action, Action::Quarantine | Action::QuarantineAndReport), "{facts:?}");
            }
        }
    }

    #[test]
    fn nothing_with_bytes_or_readers_is_quarantined_without_a_report() {
        for facts in product() {
            if decide(&facts).0 == Action::Quarantine {
                assert_eq!(facts.content, ContentFact::Zero, "{facts:?}");
                assert!(!facts.acked, "{facts:?}");
            }
        }
    }

    #[test]
    fn an_unsealed_segment_with_bytes_always_ends_up_sealed() {
        for facts in product() {
            if !facts.owned
                && facts.header == HeaderFact::Valid
                && facts.footer == FooterFact::Absent
                && facts.content != ContentFact::Zero
            {
                let action = decide(&facts).0;
                assert!(matches!(action, Action::SealTail | Action::RebuildFooter), "{facts:?} gives {action:?}");
            }
        }
    }
}
