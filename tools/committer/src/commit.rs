//! One commit: files come, files go, the position moves on, in one snapshot upon the one that it was decided upon.
//!
//! ```text
//!  <location>/metadata/tapedeck-<ms>-<random>-m<n>.avro      new files; a manifest without those that go; small ones merged
//!  <location>/metadata/tapedeck-<ms>-<random>-list.avro      the snapshot
//!  POST .../tables/<table>   assert-ref-snapshot-id main = the one loaded   <- the commit
//! ```
//!
//! `iceberg` 0.10 has a transaction for appends alone, so the snapshot is made here of its parts: manifests, their list,
//! requirements and updates are the crate's types, and the catalog checks them. An append merges small manifests as it comes by,
//! so that a table of a year of hours is planned with a few requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileWrite, MemoryStorage, OutputFile, Storage};
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter,
    ManifestWriterBuilder, Operation, PartitionSpec, SchemaRef, Snapshot, SnapshotReference, SnapshotRetention,
    Summary,
};
use iceberg::{TableRequirement, TableUpdate};
use ops::failpoint;

use crate::error::CommitterError;
use crate::table::{Live, OTHERS, POSITION, Session, TableState};

/// As many small manifests become one.
const MERGE_AT: usize = 48;
/// A manifest of this size is merged no more: planners read manifests side by side.
const LARGE_BYTES: i64 = 4 << 20;

/// What a commit does to a table.
#[derive(Default)]
pub struct Change {
    /// Files that come.
    pub add: Vec<DataFile>,
    /// Files that go, all that have this path.
    pub remove: HashMap<String, Vec<Live>>,
    /// The position after it, of all logs.
    pub position: BTreeMap<String, u64>,
}

/// Commits `change` to the table as it was loaded.
///
/// # Errors
/// [`CommitterError::Conflict`] and most others: nothing was done. [`CommitterError::Unclear`]: load and look.
pub fn commit(session: &Session, table: &TableState, change: Change) -> Result<(), CommitterError> {
    let name = table.target.name();
    let metadata = &table.metadata;
    let now_ms = ops::clock::wall_ms();
    let stem =
        format!("{}/metadata/tapedeck-{now_ms:013}-{:016x}", metadata.location().trim_end_matches('/'), random());
    let snapshot_id = loop {
        let id = i64::try_from(random() >> 1).unwrap_or(1).max(1);
        if metadata.snapshot_by_id(id).is_none() {
            break id;
        }
    };
    let mut made = Made { session, stem: &stem, snapshot_id, count: 0, memory: MemoryStorage::new() };
    let summary = summary(table, &change);
    failpoint::hit("commit.before_manifests");
    let mut manifests = made.kept(table, &change.remove)?;
    if !change.add.is_empty() {
        let mut writer = made.writer(table.schema().clone(), (**table.spec()).clone())?;
        for file in change.add {
            writer.add_file(file, -1).map_err(CommitterError::iceberg("describe a file"))?;
        }
        manifests.push(made.finish(writer)?);
    }
    failpoint::hit("commit.after_manifests");
    let parent = metadata.current_snapshot_id();
    let sequence = metadata.next_sequence_number();
    let list_uri = format!("{stem}-list.avro");
    let list = made.list(manifests, parent, sequence)?;
    session.places.write_new(&list_uri, &list)?;
    failpoint::hit("commit.after_list");
    // Not before the parent, whatever our clock says.
    let after = metadata.current_snapshot().map_or(0, |s| s.timestamp_ms().saturating_add(1));
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(now_ms.max(after).max(metadata.last_updated_ms()))
        .with_manifest_list(list_uri)
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
    let requirements = [
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.to_owned(), snapshot_id: parent },
    ];
    let updates = [
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
    ];
    let done = session.catalog.commit(name, &requirements, &updates);
    failpoint::hit("commit.after_answer");
    done
}

/// What the snapshot says of itself.
fn summary(table: &TableState, change: &Change) -> Summary {
    let operation = match (change.add.is_empty(), change.remove.is_empty()) {
        (_, true) => Operation::Append,
        (true, false) => Operation::Delete,
        (false, false) => Operation::Overwrite,
    };
    let removed = || change.remove.values().flatten().map(|live| live.entry.data_file());
    let rows =
        |files: &mut dyn Iterator<Item = &DataFile>| files.map(DataFile::record_count).fold(0, u64::saturating_add);
    let bytes = |files: &mut dyn Iterator<Item = &DataFile>| {
        files.map(DataFile::file_size_in_bytes).fold(0, u64::saturating_add)
    };
    let before = table.metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let total = |key: &str| match before {
        None => Some(0),
        Some(before) => before.get(key)?.parse::<u64>().ok(),
    };
    let mut properties: HashMap<String, String> =
        change.position.iter().map(|(log8, seq)| (format!("{POSITION}{log8}"), seq.to_string())).collect();
    properties.insert(OTHERS.to_owned(), table.others().to_string());
    for (what, total_key, come, go) in [
        ("data-files", "total-data-files", change.add.len() as u64, removed().count() as u64),
        ("records", "total-records", rows(&mut change.add.iter()), rows(&mut removed())),
        ("files-size", "total-files-size", bytes(&mut change.add.iter()), bytes(&mut removed())),
    ] {
        for (key, n) in
            [(format!("added-{what}"), come), (format!("deleted-{what}").replace("deleted-files", "removed-files"), go)]
        {
            if n > 0 {
                properties.insert(key, n.to_string());
            }
        }
        // Where the snapshot before does not say, nor does this one.
        if let Some(n) = total(total_key) {
            properties.insert(total_key.to_owned(), n.saturating_add(come).saturating_sub(go).to_string());
        }
    }
    Summary { operation, additional_properties: properties }
}

/// Files of one snapshot, as they are made.
struct Made<'s> {
    session: &'s Session,
    stem: &'s str,
    snapshot_id: i64,
    count: u32,
    /// Where a manifest is before it is written.
    memory: MemoryStorage,
}

impl Made<'_> {
    /// The manifests of before without what goes, small ones merged.
    fn kept(
        &mut self,
        table: &TableState,
        remove: &HashMap<String, Vec<Live>>,
    ) -> Result<Vec<ManifestFile>, CommitterError> {
        let touched: BTreeSet<usize> = remove.values().flatten().map(|live| live.manifest).collect();
        let spec_id = table.metadata.default_partition_spec_id();
        let is_small = |file: &ManifestFile| {
            file.content == ManifestContentType::Data
                && file.partition_spec_id == spec_id
                && file.manifest_length < LARGE_BYTES
        };
        let untouched = |i: &usize| !touched.contains(i);
        let small: Vec<usize> = (0..table.manifests.len())
            .filter(untouched)
            .filter(|i| table.manifests.get(*i).is_some_and(is_small))
            .collect();
        let mut merged: BTreeSet<usize> = BTreeSet::new();
        if small.len() >= MERGE_AT {
            let mut bytes = 0_i64;
            for i in small {
                bytes = bytes.saturating_add(table.manifests.get(i).map_or(0, |file| file.manifest_length));
                if bytes > LARGE_BYTES.saturating_mul(2) {
                    break;
                }
                merged.insert(i);
            }
        }
        let mut kept = Vec::new();
        for (i, file) in table.manifests.iter().enumerate() {
            if touched.contains(&i) {
                kept.push(self.without(file, remove)?);
            } else if !merged.contains(&i) {
                kept.push(file.clone());
            }
        }
        if !merged.is_empty() {
            let mut writer = self.writer(table.schema().clone(), (**table.spec()).clone())?;
            for file in merged.iter().filter_map(|i| table.manifests.get(*i)) {
                self.carry(&mut writer, file, &HashMap::new())?;
            }
            kept.push(self.finish(writer)?);
        }
        Ok(kept)
    }

    /// A manifest without the files that go: they stand in it as deleted.
    fn without(
        &mut self,
        file: &ManifestFile,
        remove: &HashMap<String, Vec<Live>>,
    ) -> Result<ManifestFile, CommitterError> {
        let manifest = self.session.manifest(file)?;
        let (schema, spec) = (manifest.metadata().schema().clone(), manifest.metadata().partition_spec().clone());
        let mut writer = self.writer(schema, spec)?;
        self.carry(&mut writer, file, remove)?;
        self.finish(writer)
    }

    fn carry(
        &self,
        writer: &mut ManifestWriter,
        file: &ManifestFile,
        remove: &HashMap<String, Vec<Live>>,
    ) -> Result<(), CommitterError> {
        for entry in self.session.manifest(file)?.entries().iter().filter(|entry| entry.is_alive()) {
            let failed = CommitterError::iceberg(format!("carry on {}", entry.file_path()));
            let data = entry.data_file().clone();
            let sequence = entry.sequence_number().unwrap_or(file.sequence_number);
            let file_sequence = entry.file_sequence_number.or(Some(file.sequence_number));
            let carried = match remove.contains_key(entry.file_path()) {
                true => writer.add_delete_file(data, sequence, file_sequence),
                false => {
                    let added_by = entry.snapshot_id().unwrap_or(file.added_snapshot_id);
                    writer.add_existing_file(data, added_by, sequence, file_sequence)
                }
            };
            carried.map_err(failed)?;
        }
        Ok(())
    }

    fn writer(&mut self, schema: SchemaRef, spec: PartitionSpec) -> Result<ManifestWriter, CommitterError> {
        let uri = format!("{}-m{}.avro", self.stem, self.count);
        self.count = self.count.saturating_add(1);
        let output = OutputFile::new(Arc::new(self.memory.clone()), uri);
        Ok(ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec).build_v2_data())
    }

    /// Writes a manifest where readers find it.
    fn finish(&self, writer: ManifestWriter) -> Result<ManifestFile, CommitterError> {
        let made = self.session.runtime.block_on(async {
            let file = writer.write_manifest_file().await?;
            let bytes = self.memory.read(&file.manifest_path).await?;
            self.memory.delete(&file.manifest_path).await?;
            Ok((file, bytes))
        });
        let (file, bytes) = made.map_err(CommitterError::iceberg("write a manifest"))?;
        self.session.places.write_new(&file.manifest_path, &bytes)?;
        Ok(file)
    }

    /// The bytes of the list.
    fn list(
        &self,
        manifests: Vec<ManifestFile>,
        parent: Option<i64>,
        sequence: i64,
    ) -> Result<Vec<u8>, CommitterError> {
        let written = Written::default();
        let mut writer = ManifestListWriter::v2(Box::new(written.clone()), self.snapshot_id, parent, sequence);
        let done =
            writer.add_manifests(manifests.into_iter()).and_then(|()| self.session.runtime.block_on(writer.close()));
        done.map_err(CommitterError::iceberg("write the list of manifests"))?;
        Ok(written.take())
    }
}

/// Bytes that a writer of the crate leaves here.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl FileWrite for Written {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}

/// Not the clock's: two committers begin in the same millisecond.
pub(crate) fn random() -> u64 {
    rand::random()
}
