//! Compares catalog, lake and manifests, and tells every difference. Reads metadata alone, and changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lake::find::{manifests, venues};
use lake::{Hour, LakeError, PartManifest, Table};

use crate::error::CommitterError;
use crate::hours::{self, Account};
use crate::schema::{self, Target};
use crate::table::{Live, Session};

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Parts of the lake.
    pub parts: usize,
    /// Files of tables.
    pub files: usize,
    /// Rows of tables.
    pub rows: u64,
    /// What differs, a line each.
    pub differences: Vec<String>,
    /// What is otherwise than this committer left it, and has the same rows.
    pub notes: Vec<String>,
}

/// A file that the lake should have and a table should name.
struct Wanted {
    venue: String,
    hour: Hour,
    bytes: u64,
    rows: u64,
}

/// Compares all tables of the namespace with the lake.
///
/// # Errors
/// When something cannot be read.
pub fn compare(session: &Session) -> Result<Comparison, CommitterError> {
    let mut found = Comparison::default();
    let account = match session.load(Target::Hours)? {
        Some(state) => hours::whole(&hours::read(session, &state)?),
        None => Account::new(),
    };
    let mut wanted: BTreeMap<Table, BTreeMap<String, Wanted>> = BTreeMap::new();
    let mut in_lake = BTreeSet::new();
    for venue in venues(&session.lake)? {
        for (part, meta) in manifests(&session.lake, &venue)? {
            let (manifest, sha256) = match PartManifest::load_hashed(&session.lake, &meta.key) {
                Ok(read) => read,
                Err(err @ LakeError::Io { .. }) => return Err(err.into()),
                Err(err) => {
                    found.differences.push(format!("{}: {}", meta.key, ops::chain(&err)));
                    continue;
                }
            };
            in_lake.insert(meta.key.clone());
            found.parts = found.parts.saturating_add(1);
            let mut there = 0_usize;
            for file in &manifest.files {
                match session.lake.head(&file.path)? {
                    Some(object) => {
                        there = there.saturating_add(1);
                        if object.bytes != file.bytes {
                            let (has, says) = (object.bytes, file.bytes);
                            found.differences.push(format!("{}: has {has} bytes, its manifest says {says}", file.path));
                        }
                    }
                    None => continue,
                }
                let (venue, hour, bytes, rows) = (venue.clone(), part.hour, file.bytes, file.rows);
                wanted.entry(file.table).or_default().insert(file.path.clone(), Wanted { venue, hour, bytes, rows });
            }
            match account.get(&meta.key) {
                // Retention: the manifest stays, its files went.
                None if there == 0 && !manifest.files.is_empty() => {}
                None => found.differences.push(format!("{}: is not in table hours: not committed yet", meta.key)),
                Some(committed) if committed.sha256 != sha256 => {
                    let (is, was) = (manifest.revision, committed.revision);
                    let what = format!("{}: is revision {is}, table hours has revision {was}", meta.key);
                    found.differences.push(what);
                }
                Some(_) => {}
            }
        }
    }
    for key in account.keys().filter(|key| !in_lake.contains(*key)) {
        found.differences.push(format!("{key}: is in table hours, the lake has no such manifest"));
    }
    let empty = BTreeMap::new();
    for table in Table::ALL {
        compare_table(session, *table, wanted.get(table).unwrap_or(&empty), &mut found)?;
    }
    Ok(found)
}

fn compare_table(
    session: &Session,
    table: Table,
    wanted: &BTreeMap<String, Wanted>,
    found: &mut Comparison,
) -> Result<(), CommitterError> {
    let Some(state) = session.load(Target::Lake(table))? else {
        let rows: u64 = wanted.values().map(|w| w.rows).fold(0, u64::saturating_add);
        if rows > 0 {
            found.differences.push(format!("{table}: the catalog has no such table, the lake has {rows} rows"));
        }
        return Ok(());
    };
    if let Err(err) = state.position() {
        found.differences.push(ops::chain(&err));
    }
    let live = state.live(session, None)?;
    // Rows of each venue and hour, by the partitions of the files.
    let mut rows: BTreeMap<(String, Hour), (u64, u64)> = BTreeMap::new();
    let mut others = 0_usize;
    for (uri, entries) in &live {
        found.files = found.files.saturating_add(entries.len());
        if let [_, _, ..] = entries.as_slice() {
            found.differences.push(format!("{table}: {uri} is in the table {} times", entries.len()));
        }
        for Live { entry, .. } in entries {
            found.rows = found.rows.saturating_add(entry.record_count());
            if let Some(at) = partition_of(&state, entry.data_file()) {
                let sum = rows.entry(at).or_default();
                sum.0 = sum.0.saturating_add(entry.record_count());
            }
        }
        let size = entries.first().map_or(0, |live| live.entry.file_size_in_bytes());
        match session.key(uri) {
            Some(key) => match wanted.get(key) {
                Some(file) if file.bytes != size => {
                    let what =
                        format!("{table}: {key} has {} bytes, the table says {size}: it was rewritten", file.bytes);
                    found.differences.push(what);
                }
                Some(_) => {}
                None if session.lake.has(key)? => {
                    found.differences.push(format!("{table}: {key} is in the table, and no manifest names it"));
                }
                None => {
                    found.differences.push(format!("{table}: {key} is in the table, and the lake does not have it"))
                }
            },
            None => {
                others = others.saturating_add(1);
                if session.places.head(uri)?.is_none() {
                    found.differences.push(format!("{table}: {uri} is in the table, and is missing"));
                }
            }
        }
    }
    for file in wanted.values() {
        let sum = rows.entry((file.venue.clone(), file.hour)).or_default();
        sum.1 = sum.1.saturating_add(file.rows);
    }
    let mut differing: HashMap<(String, Hour), ()> = HashMap::new();
    if state.has_row_deletes() {
        found.notes.push(format!("{table}: has row deletes of others, so rows were not compared"));
    } else {
        for ((venue, hour), (catalog, lake)) in rows.into_iter().filter(|(_, (catalog, lake))| catalog != lake) {
            let what = format!("{table}: {venue} {hour} has {catalog} rows in the catalog, {lake} in the lake");
            found.differences.push(what);
            differing.insert((venue, hour), ());
        }
    }
    let mut elsewhere = 0_usize;
    for (key, file) in wanted.iter().filter(|(key, _)| !live.contains_key(&session.uri(key))) {
        match differing.contains_key(&(file.venue.clone(), file.hour)) {
            true => found.differences.push(format!("{table}: {key} is in the lake, and not in the table")),
            false => elsewhere = elsewhere.saturating_add(1),
        }
    }
    if others > 0 || elsewhere > 0 {
        let what =
            format!("{table}: another engine put the rows of {elsewhere} files of the lake into {others} of its own");
        found.notes.push(what);
    }
    Ok(())
}

/// Venue and hour of a file by its partition; `None` where it has none.
fn partition_of(state: &crate::table::TableState, file: &iceberg::spec::DataFile) -> Option<(String, Hour)> {
    let spec = state.spec();
    let literal = |i: usize| file.partition().fields().get(i)?.as_ref()?.as_primitive_literal();
    let venue = spec.fields().iter().position(|field| field.name == schema::EXCHANGE)?;
    let hour = schema::hour_field(spec, state.schema())?;
    match (literal(venue)?, literal(hour)?) {
        (iceberg::spec::PrimitiveLiteral::String(venue), iceberg::spec::PrimitiveLiteral::Int(hour)) => {
            Some((venue, Hour(i64::from(hour))))
        }
        _ => None,
    }
}
