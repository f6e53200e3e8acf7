//! What of some parts is to be done to one table, from the table alone: the same whoever asks, as often as they ask.
//!
//! | The part's file of this table | Then |
//! |---|---|
//! | is in it as it should be | nothing |
//! | is in it otherwise: of an earlier revision, or twice | replaced |
//! | is not in it, and the part is after the position | added |
//! | is not in it, the part is not after the position, and only committers ever wrote to the table | added: it came late |
//! | the same, and others wrote to it too: an older snapshot has the file | nothing: others put its rows elsewhere |
//! | the same, and no older snapshot ever had it | added |
//! | the same, and older snapshots are gone | refused: nobody can know |
//! | is not in it, and an earlier revision was, says the account or an older snapshot | refused: the old rows cannot be found |

use std::collections::{BTreeMap, BTreeSet};

use lake::read::TableFile;
use lake::{Hour, LakeError, Table};

use crate::commit::Change;
use crate::data_file;
use crate::error::CommitterError;
use crate::hours::{Account, advance, last_seq};
use crate::outbox::Pending;
use crate::schema;
use crate::table::{Session, TableState};

/// What is to be done, and to which parts nothing is done.
#[derive(Default)]
pub struct Decision {
    /// Nothing when it neither adds nor removes.
    pub change: Change,
    /// Keys of manifests, and why their part is refused.
    pub refused: BTreeMap<String, String>,
}

/// Decides for `table`. `anyway` is the manifest of a part that is added although the position says that it is there.
///
/// # Errors
/// When the table or a file of the lake cannot be read.
pub fn decide(
    session: &Session,
    state: &TableState,
    table: Table,
    parts: &[Pending],
    removed: &Account,
    anyway: Option<&str>,
) -> Result<Decision, CommitterError> {
    let position = state.position()?;
    let others = state.others();
    let hours: BTreeSet<Hour> =
        parts.iter().map(|p| p.part.hour).chain(removed.values().map(|part| part.hour)).collect();
    let live = state.live(session, Some(&hours))?;
    let mut decision = Decision { change: Change { position, ..Change::default() }, ..Decision::default() };
    let change = &mut decision.change;
    let before = change.position.clone();
    // Files that are not there, of parts that are not after the position, in a table that others wrote to.
    let in_doubt = |part: &Pending| {
        let file = part.manifest.files.iter().find(|file| file.table == table)?;
        let uri = session.uri(&file.path);
        let asked = others > 0
            && part.before.is_none()
            && anyway != Some(part.key.as_str())
            && !live.contains_key(&uri)
            && !is_after(&before, part);
        asked.then_some((uri, part.part.hour))
    };
    let (uris, of_hours): (BTreeSet<String>, BTreeSet<Hour>) = parts.iter().filter_map(in_doubt).unzip();
    let had = state.had(session, &uris, &of_hours)?;
    for part in parts {
        let file = part.manifest.files.iter().find(|file| file.table == table);
        if let Some((path, _)) = part.before.as_ref().and_then(|before| before.files.get(&table))
            && file.is_none_or(|file| file.path != *path)
            && let Some((uri, old)) = live.get_key_value(&session.uri(path))
        {
            change.remove.insert(uri.clone(), old.clone());
        }
        let Some(file) = file else { continue };
        let uri = session.uri(&file.path);
        let described = match describe(session, state, part, &uri, &file.path, (file.bytes, file.rows))? {
            Ok(described) => described,
            Err(why) => {
                decision.refused.insert(part.key.clone(), why);
                continue;
            }
        };
        match live.get(&uri).map(Vec::as_slice) {
            Some([one]) if data_file::same(one.entry.data_file(), &described) => {}
            Some(old) => {
                change.remove.insert(uri, old.to_vec());
                change.add.push(described);
            }
            None => {
                // Of another revision than is in the account, or than was committed before the account could be.
                let earlier =
                    part.before.is_some() || had.files.get(&uri).is_some_and(|was| *was != (file.bytes, file.rows));
                if anyway != Some(part.key.as_str()) && earlier {
                    let why = format!(
                        "the part was rewritten, and table {table} has its file no more: another engine put its rows into \
                         other files, where only that engine can replace them. Delete the rows of this exchange, hour and range \
                         of seq with it, then run `tapedeck-committer add {}` (docs/iceberg.md)",
                        part.key
                    );
                    decision.refused.insert(part.key.clone(), why);
                    continue;
                }
                if uris.contains(&uri) && !had.files.contains_key(&uri) && !had.whole {
                    let why = format!(
                        "the position of table {table} is past this part, its file is not there, others have rewritten the \
                         table, and older snapshots are gone: whether its rows are there is not known. Count the rows of this \
                         exchange, hour and range of seq; if there are none, run `tapedeck-committer add {}`",
                        part.key
                    );
                    decision.refused.insert(part.key.clone(), why);
                    continue;
                }
                if !had.files.contains_key(&uri) {
                    change.add.push(described);
                }
            }
        }
        advance(&mut change.position, &part.now.log, last_seq(&part.manifest));
    }
    for part in removed.values() {
        if let Some((path, _)) = part.files.get(&table)
            && let Some((uri, old)) = live.get_key_value(&session.uri(path))
        {
            change.remove.insert(uri.clone(), old.clone());
        }
    }
    Ok(decision)
}

/// Whether the position is before all of the part.
fn is_after(position: &BTreeMap<String, u64>, part: &Pending) -> bool {
    let log8 = part.now.log.get(..8).unwrap_or_default();
    position.get(log8).is_none_or(|at| last_seq(&part.manifest) > *at)
}

/// Describes a file of the lake for the table; or says why it must not be in one.
fn describe(
    session: &Session,
    state: &TableState,
    part: &Pending,
    uri: &str,
    key: &str,
    (bytes, rows): (u64, u64),
) -> Result<Result<iceberg::spec::DataFile, String>, CommitterError> {
    let Some(meta) = session.lake.head(key)? else {
        return Ok(Err(format!("{key} is missing in the lake: run `tapedeck verify`")));
    };
    let footer = match TableFile::get(&session.lake, key) {
        Ok(footer) => footer,
        Err(err @ LakeError::Io { .. }) => return Err(err.into()),
        Err(err) => return Ok(Err(ops::chain(&err))),
    };
    if (meta.bytes, footer.rows()) != (bytes, rows) {
        return Ok(Err(format!(
            "{key} has {} bytes and {} rows, its manifest says {bytes} and {rows}: it is being rewritten, or run `tapedeck verify`",
            meta.bytes,
            footer.rows()
        )));
    }
    let account = part.manifest.account_sha256()?;
    if footer.key_value("manifest_sha256").is_some_and(|declared| declared != account) {
        let why =
            "was published with another account than its manifest: it is being rewritten, or run `tapedeck verify`";
        return Ok(Err(format!("{key} {why}")));
    }
    let (schema, spec) = (state.schema(), state.spec());
    let partition = schema::partition(spec, schema, &part.part.venue, part.part.hour)?;
    data_file::describe(uri, bytes, footer.metadata(), schema, (spec.spec_id(), partition)).map(Ok)
}
