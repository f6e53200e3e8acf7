//! One round: look at the lake, bring each table on, then the account.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use iceberg::TableRequirement;
use lake::Table;
use ops::backoff;
use tracing::{error, info, warn};

use crate::commit::commit;
use crate::decide::{Decision, decide};
use crate::error::CommitterError;
use crate::hours::{self, Account};
use crate::outbox::{Look, Outbox};
use crate::schema::{self, Target};
use crate::table::{Session, TableState};

/// Attempts of one commit; each begins with a look at the table.
const ATTEMPTS: u32 = 10;
/// The first pause after an answer that was lost, doubled each time up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What a round did.
#[derive(Debug, Default)]
pub struct Report {
    /// Parts that came into the account.
    pub parts: usize,
    /// Parts of the account that were rewritten, and that retention removed.
    pub rewritten: usize,
    /// Of retention.
    pub removed: usize,
    /// Commits to tables of rows.
    pub commits: usize,
    /// Parts that were not committed, and why.
    pub refused: Vec<String>,
    /// Tables that could not be brought on, and why.
    pub failed: Vec<String>,
}

impl Report {
    /// Whether all that is in the lake is in the tables.
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.failed.is_empty()
    }
}

/// Brings the tables to where the lake is. `everything`: looks at all hours. `anyway`: a manifest whose part is added
/// although the position says that it is there.
///
/// # Errors
/// When the lake or the account cannot be read.
pub fn round(
    session: &Session,
    outbox: &mut Outbox,
    everything: bool,
    anyway: Option<&str>,
) -> Result<Report, CommitterError> {
    let mut report = Report::default();
    // Parts that were refused do not come again in this round.
    let mut first = true;
    loop {
        let account = account(session)?;
        let look = outbox.look(session, &account, everything && first, anyway)?;
        first = false;
        for why in &look.refused {
            report.refused.push(why.clone());
        }
        if look.pending.is_empty() && look.removed.is_empty() {
            return Ok(finished(report));
        }
        let more = look.more;
        let advanced = bring_on(session, look, anyway, &mut report)?;
        if !more || !advanced {
            return Ok(finished(report));
        }
    }
}

fn finished(mut report: Report) -> Report {
    report.refused.sort();
    report.refused.dedup();
    for why in &report.refused {
        error!(why = %why, "a part was not committed");
    }
    report
}

/// Commits what was found to every table it concerns, then to the account; whether any of it is in the account now.
fn bring_on(session: &Session, look: Look, anyway: Option<&str>, report: &mut Report) -> Result<bool, CommitterError> {
    let mut tables: BTreeSet<Table> =
        look.pending.iter().flat_map(|p| p.manifest.files.iter().map(|f| f.table)).collect();
    let before = look.pending.iter().filter_map(|p| p.before.as_ref()).chain(look.removed.values());
    tables.extend(before.flat_map(|part| part.files.keys().copied()));
    // Keys of manifests that some table does not have, or still has.
    let mut not_done: BTreeSet<String> = BTreeSet::new();
    for table in tables {
        let done = attempts(session, Target::Lake(table), |state| {
            let Decision { change, refused } = decide(session, state, table, &look.pending, &look.removed, anyway)?;
            let (come, go) = (change.add.len(), change.remove.len());
            if come > 0 || go > 0 {
                commit(session, state, change)?;
                info!(table = %table, come, go, "committed");
            }
            Ok((refused, come > 0 || go > 0))
        });
        match done {
            Ok((refused, committed)) => {
                report.commits = report.commits.saturating_add(usize::from(committed));
                report.refused.extend(refused.iter().map(|(key, why)| format!("{key}: {why}")));
                not_done.extend(refused.into_keys());
            }
            Err(err) => {
                error!(table = %table, error = %ops::chain(&err), "a table could not be brought on");
                report.failed.push(format!("{table}: {}", ops::chain(&err)));
                let concerned = |files: &[lake::manifest::ManifestFile]| files.iter().any(|file| file.table == table);
                let of = look.pending.iter().filter(|p| {
                    concerned(&p.manifest.files) || p.before.as_ref().is_some_and(|b| b.files.contains_key(&table))
                });
                not_done.extend(of.map(|p| p.key.clone()));
                let gone = look.removed.iter().filter(|(_, part)| part.files.contains_key(&table));
                not_done.extend(gone.map(|(key, _)| key.clone()));
            }
        }
    }
    ops::failpoint::hit("round.before_hours");
    let done = look.pending.iter().filter(|p| !not_done.contains(&p.key));
    let put: Account = done.map(|p| (p.key.clone(), p.now.clone())).collect();
    let drop: BTreeSet<String> = look.removed.keys().filter(|key| !not_done.contains(*key)).cloned().collect();
    if put.is_empty() && drop.is_empty() {
        return Ok(false);
    }
    attempts(session, Target::Hours, |state| hours::commit(session, state, &put, &drop))?;
    ops::failpoint::hit("round.after_hours");
    let rewritten = look.pending.iter().filter(|p| p.before.is_some() && put.contains_key(&p.key)).count();
    report.parts = report.parts.saturating_add(put.len().saturating_sub(rewritten));
    report.rewritten = report.rewritten.saturating_add(rewritten);
    report.removed = report.removed.saturating_add(drop.len());
    Ok(true)
}

/// The account as the catalog has it.
fn account(session: &Session) -> Result<Account, CommitterError> {
    attempts(session, Target::Hours, |state| {
        state.position()?;
        Ok(hours::whole(&hours::read(session, state)?))
    })
}

/// Loads the table, made if there is none, and does `work` with it, anew as long as others come first or answers are lost.
fn attempts<T>(
    session: &Session,
    target: Target,
    mut work: impl FnMut(&TableState) -> Result<T, CommitterError>,
) -> Result<T, CommitterError> {
    let mut attempt = 0_u32;
    loop {
        let err = match ready(session, target).and_then(|state| work(&state)) {
            Ok(done) => return Ok(done),
            Err(err) => err,
        };
        attempt = attempt.saturating_add(1);
        if attempt >= ATTEMPTS || !err.is_passing() {
            return Err(err);
        }
        let (first, most) = PAUSES;
        let pause = match err {
            CommitterError::Conflict { .. } => backoff::jittered(first / 4, first, attempt, backoff::random()),
            _ => backoff::jittered(first, most, attempt, backoff::random()),
        };
        warn!(table = target.name(), error = %ops::chain(&err), pause_ms = pause.as_millis() as u64, "looking again");
        std::thread::sleep(pause);
    }
}

/// The table with all columns that this program knows.
fn ready(session: &Session, target: Target) -> Result<TableState, CommitterError> {
    let name = target.name();
    let state = match session.load(target)? {
        Some(state) => state,
        None => {
            let schema = target.schema(session.numeric)?;
            let properties: BTreeMap<String, String> = schema::properties(target, &schema)?;
            session.catalog.create(name, &schema, &target.partitions(&schema)?, &properties)?;
            info!(table = name, "made");
            let made = session.load(target)?;
            made.ok_or_else(|| CommitterError::unfit(format!("table {name} was made and is not there")))?
        }
    };
    // Before anything is changed: a table of others gets no columns.
    state.position()?;
    let updates = schema::evolution(target, session.numeric, &state.metadata)?;
    if updates.is_empty() {
        return Ok(state);
    }
    let requirements = [
        TableRequirement::UuidMatch { uuid: state.metadata.uuid() },
        TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: state.metadata.last_column_id() },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: state.metadata.current_schema_id() },
    ];
    session.catalog.commit(name, &requirements, &updates)?;
    info!(table = name, "has new columns");
    session.load(target)?.ok_or_else(|| CommitterError::unfit(format!("table {name} is gone")))
}
