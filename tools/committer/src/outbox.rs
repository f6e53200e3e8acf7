//! The outbox: manifests of the lake that the account does not have, or has otherwise.
//!
//! Manifests are never removed and rarely replaced, so one that was looked at is read again only when the store says that
//! another one is under its key. After a start those that the account has with the same length are believed to be the same: each
//! revision of a part makes its manifest longer. `check` reads them all.

use std::collections::{BTreeSet, HashMap};

use lake::find::{manifests, manifests_since, venues};
use lake::{Hour, LakeError, LakeFormat, Part, PartManifest, Version};
use serde::Deserialize;

use crate::error::CommitterError;
use crate::hours::{Account, Committed};
use crate::table::Session;

/// Where retention says what it removed: a JSON object with `path` a line (`tapedeck_compact::chain::REMOVED`).
const REMOVED: &str = "_manifests/removed.jsonl";
/// Parts of one commit at most: their footers are read, and a backlog of years goes in steps.
const PARTS_MAX: usize = 256;
/// Hours before the newest one of a venue that are listed at every look; older ones at every full look.
const NEAR_HOURS: i64 = 48;

/// A part that is to be committed.
pub struct Pending {
    /// Key of its manifest.
    pub key: String,
    /// What its name says.
    pub part: Part,
    /// Its manifest.
    pub manifest: PartManifest,
    /// What the account will say of it.
    pub now: Committed,
    /// What it says of it so far: the part was rewritten.
    pub before: Option<Committed>,
}

/// What is to be done.
#[derive(Default)]
pub struct Look {
    /// Parts to commit, in the order of their hours.
    pub pending: Vec<Pending>,
    /// Parts of the account that retention removed, by the keys of their manifests.
    pub removed: Account,
    /// Parts that cannot be committed, and why.
    pub refused: Vec<String>,
    /// There are more.
    pub more: bool,
}

/// What was looked at so far.
#[derive(Default)]
pub struct Outbox {
    /// Manifests: which object, and its SHA-256 if it was read.
    known: HashMap<String, Known>,
    /// The newest hour of a venue.
    newest: HashMap<String, Hour>,
    removed: BTreeSet<String>,
    removed_of: Option<Version>,
}

struct Known {
    version: Version,
    sha256: Option<String>,
    /// Nothing of it is to be committed.
    gone: bool,
}

#[derive(Deserialize)]
struct RemovedLine {
    path: String,
}

impl Outbox {
    /// Looks at the lake; `everything`: also at hours long past. `anyway` is a manifest whose part is pending whatever the
    /// account says.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn look(
        &mut self,
        session: &Session,
        account: &Account,
        everything: bool,
        anyway: Option<&str>,
    ) -> Result<Look, CommitterError> {
        let lake = &session.lake;
        self.read_removed(session)?;
        let mut look = Look::default();
        let mut wanted = Vec::new();
        for venue in venues(lake)? {
            let found = match self.newest.get(&venue) {
                Some(newest) if !everything => {
                    manifests_since(lake, &venue, Hour(newest.0.saturating_sub(NEAR_HOURS)))?
                }
                _ => manifests(lake, &venue)?,
            };
            if let Some((part, _)) = found.last() {
                self.newest.insert(venue, part.hour);
            }
            for (part, meta) in found {
                let has = account.get(&meta.key);
                let known = self.known.get(&meta.key).filter(|known| known.version == meta.version);
                let done = match (known, has) {
                    _ if anyway == Some(meta.key.as_str()) => false,
                    (Some(known), None) => known.gone,
                    (Some(Known { sha256: Some(sha256), .. }), Some(has)) => *sha256 == has.sha256,
                    (_, Some(has)) => has.bytes == meta.bytes,
                    (None, None) => false,
                };
                match done {
                    true if known.is_none() => {
                        let known = Known { version: meta.version, sha256: None, gone: false };
                        self.known.insert(meta.key, known);
                    }
                    true => {}
                    false => wanted.push((part, meta)),
                }
            }
        }
        wanted.sort_by_key(|(part, _)| (part.hour, part.first_seq));
        for (part, meta) in wanted {
            if look.pending.len() == PARTS_MAX {
                look.more = true;
                break;
            }
            let before = account.get(&meta.key).cloned();
            let read = PartManifest::load_proven(lake, &meta.key);
            let (manifest, sha256) = match read {
                Ok(read) => read,
                Err(err @ LakeError::Io { .. }) => return Err(err.into()),
                Err(err) => {
                    look.refused.push(format!("{}: {}", meta.key, ops::chain(&err)));
                    continue;
                }
            };
            let gone = self.is_gone(session, &manifest)?;
            let version = meta.version.clone();
            self.known.insert(meta.key.clone(), Known { version, sha256: Some(sha256.clone()), gone });
            let same = before.as_ref().is_some_and(|before| before.sha256 == sha256);
            if gone || (same && anyway != Some(meta.key.as_str())) {
                continue;
            }
            if let Err(why) = fits(session, &manifest) {
                look.refused.push(format!("{}: {why}", meta.key));
                continue;
            }
            let now = Committed::of(&manifest, part.hour, &sha256, meta.bytes);
            look.pending.push(Pending { key: meta.key, part, manifest, now, before });
        }
        for (key, part) in account {
            let all_listed = !part.files.is_empty() && part.files.values().all(|(path, _)| self.removed.contains(path));
            if all_listed && !self.any_there(session, part.files.values().map(|(path, _)| path.as_str()))? {
                look.removed.insert(key.clone(), part.clone());
            }
        }
        Ok(look)
    }

    /// Every file of it was removed by retention.
    fn is_gone(&self, session: &Session, manifest: &PartManifest) -> Result<bool, CommitterError> {
        let listed = !manifest.files.is_empty() && manifest.files.iter().all(|file| self.removed.contains(&file.path));
        Ok(listed && !self.any_there(session, manifest.files.iter().map(|file| file.path.as_str()))?)
    }

    /// What is listed may be there: the list is written first, and a part can be published again.
    fn any_there<'k>(
        &self,
        session: &Session,
        mut keys: impl Iterator<Item = &'k str>,
    ) -> Result<bool, CommitterError> {
        keys.try_fold(false, |any, key| Ok(any || session.lake.has(key)?))
    }

    fn read_removed(&mut self, session: &Session) -> Result<(), CommitterError> {
        let Some(meta) = session.lake.head(REMOVED)? else { return Ok(()) };
        if self.removed_of.as_ref() == Some(&meta.version) {
            return Ok(());
        }
        let text = session.lake.read(REMOVED)?;
        // A line that is torn names nothing that went.
        let lines =
            text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<RemovedLine>(line).ok());
        self.removed = lines.map(|line| line.path).collect();
        self.removed_of = Some(meta.version);
        Ok(())
    }
}

/// Whether its files can be in the tables.
fn fits(session: &Session, manifest: &PartManifest) -> Result<(), String> {
    let (format, numeric) = (manifest.settings.format, manifest.settings.numeric);
    if format != LakeFormat::Parquet && !manifest.files.is_empty() {
        return Err(format!(
            "its files are {}, which Iceberg cannot read: only parts of [lake] format = \"parquet\" are committed",
            format.extension()
        ));
    }
    if numeric != session.numeric && !manifest.files.is_empty() {
        return Err(format!(
            "its numbers are {numeric}, those of [lake] numeric are {}: a table has one kind; give these parts a lake and a \
             [catalog] namespace of their own",
            session.numeric
        ));
    }
    let tables: BTreeSet<_> = manifest.files.iter().map(|file| file.table).collect();
    match tables.len() == manifest.files.len() {
        true => Ok(()),
        false => Err("it names two files of one table".to_owned()),
    }
}
