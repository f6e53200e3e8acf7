//! A table as the catalog has it: its files, and the position up to which the lake is in it.
//!
//! Each snapshot of ours has properties `tapedeck.pos.<log8>`: the seq of the last record of every log that any snapshot so far
//! was made of. Snapshots of others (compaction, deletes) carry none, so the position is the first one found on the way
//! from the current snapshot to its parents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    FormatVersion, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList, PartitionSpecRef,
    SchemaRef, Snapshot, SnapshotRef, TableMetadata,
};
use lake::{Hour, Lake, Numeric};

use crate::error::CommitterError;
use crate::place::Places;
use crate::rest::Catalog;
use crate::schema::{self, Target};

/// What a position's property begins with.
pub const POSITION: &str = "tapedeck.pos.";
/// How many snapshots of others there were so far; 0 = whatever is not in the table never was.
pub const OTHERS: &str = "tapedeck.others";

/// One lake and one namespace of a catalog.
pub struct Session {
    /// The catalog.
    pub catalog: Catalog,
    /// Files of its tables.
    pub places: Places,
    /// The lake.
    pub lake: Lake,
    /// What keys of the lake are appended to in the tables, without `/` at its end.
    pub lake_uri: String,
    /// How its numbers are written.
    pub numeric: Numeric,
    /// Avro is written and read through futures that never wait.
    pub runtime: tokio::runtime::Runtime,
}

impl Session {
    /// The lake's file `key` as tables name it.
    pub fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.lake_uri)
    }

    /// The lake's key of a file that a table names; `None` when it is no file of the lake.
    pub fn key<'u>(&self, uri: &'u str) -> Option<&'u str> {
        uri.strip_prefix(&self.lake_uri)?.strip_prefix('/')
    }

    /// The table, if there is one.
    ///
    /// # Errors
    /// When that is not known, or its metadata cannot be read.
    pub fn load(&self, target: Target) -> Result<Option<TableState>, CommitterError> {
        let Some(loaded) = self.catalog.load(target.name())? else { return Ok(None) };
        if loaded.metadata.format_version() != FormatVersion::V2 {
            let what = format!(
                "table {} is of format version {}: the committer writes version 2",
                self.catalog.called(target.name()),
                loaded.metadata.format_version()
            );
            return Err(CommitterError::unfit(what));
        }
        let manifests = match loaded.metadata.current_snapshot() {
            Some(snapshot) => self.manifest_list(snapshot)?,
            None => Vec::new(),
        };
        Ok(Some(TableState { target, metadata: loaded.metadata, manifests }))
    }

    /// The manifests of a snapshot.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn manifest_list(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>, CommitterError> {
        let uri = snapshot.manifest_list();
        let list = ManifestList::parse_with_version(&self.places.read(uri)?, FormatVersion::V2);
        let list = list.map_err(CommitterError::iceberg(uri))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// What a manifest of a list holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest(&self, file: &ManifestFile) -> Result<Manifest, CommitterError> {
        let uri = &file.manifest_path;
        let bytes = self.places.read(uri)?;
        let parsed = self.runtime.block_on(async {
            let memory = FileIO::new_with_memory();
            memory.new_output(uri)?.write(bytes.into()).await?;
            file.load_manifest(&memory).await
        });
        parsed.map_err(CommitterError::iceberg(uri))
    }
}

/// A table of the catalog at one moment.
pub struct TableState {
    /// Which.
    pub target: Target,
    /// Its metadata.
    pub metadata: TableMetadata,
    /// The manifests of its current snapshot.
    pub manifests: Vec<ManifestFile>,
}

/// A file that is in the table now.
#[derive(Clone)]
pub struct Live {
    /// Which of [`TableState::manifests`] names it.
    pub manifest: usize,
    /// As it is named there.
    pub entry: ManifestEntryRef,
}

/// What the snapshots that are left had of some files.
pub struct Had {
    /// Bytes and rows of those that one of them had, in the newest that did.
    pub files: BTreeMap<String, (u64, u64)>,
    /// All snapshots are left, as far as it was necessary to look.
    pub whole: bool,
}

impl TableState {
    /// Its current schema.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.current_schema()
    }

    /// How new files are partitioned.
    pub fn spec(&self) -> &PartitionSpecRef {
        self.metadata.default_partition_spec()
    }

    /// The snapshots from the current one to its oldest ancestor that is left.
    pub fn ancestors(&self) -> impl Iterator<Item = &SnapshotRef> {
        let parent = |s: &&SnapshotRef| self.metadata.snapshot_by_id(s.parent_snapshot_id()?);
        // A circle of parents is no table; it must not be one of ours that never ends.
        std::iter::successors(self.metadata.current_snapshot(), parent).take(self.metadata.snapshots().len())
    }

    /// Last seq of every log in the table, by the first 8 hex digits of its uuid.
    ///
    /// # Errors
    /// [`CommitterError::NoPosition`].
    pub fn position(&self) -> Result<BTreeMap<String, u64>, CommitterError> {
        if self.metadata.current_snapshot().is_none() {
            // Rolled back to nothing by hand: then nothing is in it.
            return Ok(BTreeMap::new());
        }
        let table = || self.target.name().to_owned();
        let of_ours = self.ancestors().find(|snapshot| carries_position(snapshot));
        let snapshot = of_ours.ok_or_else(|| CommitterError::NoPosition { table: table() })?;
        let mut position = BTreeMap::new();
        for (key, value) in &snapshot.summary().additional_properties {
            if let Some(log8) = key.strip_prefix(POSITION) {
                let seq = value.parse().map_err(|_| {
                    CommitterError::unfit(format!("table {}: property {key} = {value:?} is no position", table()))
                })?;
                position.insert(log8.to_owned(), seq);
            }
        }
        Ok(position)
    }

    /// Snapshots of others on the way to the root, as far as any committer saw them.
    pub fn others(&self) -> u64 {
        let fresh = self.ancestors().take_while(|snapshot| !carries_position(snapshot)).count() as u64;
        let of_ours = self.ancestors().find(|snapshot| carries_position(snapshot));
        let noted = of_ours.and_then(|s| s.summary().additional_properties.get(OTHERS)?.parse::<u64>().ok());
        fresh.saturating_add(noted.unwrap_or(0))
    }

    /// Live files of these receive hours, by path; of all hours without any. A path that is there twice is an error of
    /// others, and both are returned.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn live(
        &self,
        session: &Session,
        hours: Option<&BTreeSet<Hour>>,
    ) -> Result<HashMap<String, Vec<Live>>, CommitterError> {
        let mut found: HashMap<String, Vec<Live>> = HashMap::new();
        for (manifest, file) in self.manifests.iter().enumerate() {
            if file.content != ManifestContentType::Data || !hours.is_none_or(|hours| self.may_hold(file, hours)) {
                continue;
            }
            for entry in session.manifest(file)?.entries().iter().filter(|entry| entry.is_alive()) {
                found.entry(entry.file_path().to_owned()).or_default().push(Live { manifest, entry: entry.clone() });
            }
        }
        Ok(found)
    }

    /// Which of these files, of these hours, a snapshot that is left had. Every manifest is read once at most, and no more of
    /// them than it takes to find the files.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn had(
        &self,
        session: &Session,
        uris: &BTreeSet<String>,
        hours: &BTreeSet<Hour>,
    ) -> Result<Had, CommitterError> {
        let (mut files, mut looked) = (BTreeMap::new(), BTreeSet::new());
        let mut whole = true;
        for snapshot in self.ancestors() {
            if files.len() == uris.len() {
                break;
            }
            whole = snapshot.parent_snapshot_id().is_none();
            for file in session.manifest_list(snapshot)? {
                let is_data = file.content == ManifestContentType::Data;
                if is_data && self.may_hold(&file, hours) && looked.insert(file.manifest_path.clone()) {
                    let manifest = session.manifest(&file)?;
                    for entry in manifest.entries().iter().filter(|entry| uris.contains(entry.file_path())) {
                        // The newest snapshot that had it comes first.
                        let was = (entry.file_size_in_bytes(), entry.record_count());
                        files.entry(entry.file_path().to_owned()).or_insert(was);
                    }
                }
            }
        }
        Ok(Had { files, whole })
    }

    /// Whether there are files of row deletes, which only engines of others write.
    pub fn has_row_deletes(&self) -> bool {
        self.manifests.iter().any(|file| file.content == ManifestContentType::Deletes)
    }

    /// By its summary of partitions; true where that says nothing.
    fn may_hold(&self, file: &ManifestFile, hours: &BTreeSet<Hour>) -> bool {
        let bounds = || {
            let spec = self.metadata.partition_spec_by_id(file.partition_spec_id)?;
            let summary = file.partitions.as_ref()?.get(schema::hour_field(spec, self.schema())?)?;
            let hour = |bytes: &[u8]| Some(Hour(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))));
            Some((hour(summary.lower_bound.as_ref()?)?, hour(summary.upper_bound.as_ref()?)?))
        };
        bounds().is_none_or(|(low, high)| low <= high && hours.range(low..=high).next().is_some())
    }
}

/// Whether a snapshot was made by a committer.
pub fn carries_position(snapshot: &Arc<Snapshot>) -> bool {
    snapshot.summary().additional_properties.keys().any(|key| key.starts_with(POSITION))
}
