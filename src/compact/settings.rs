//! What the compactor reads of the configuration, and what of it, and of how tight memory is, shapes the bytes of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use capture::Capture;
use lake::{LakeStore, SchemaVersion, WriteSettings};
use model::VenueId;
use ops::memory::Level;

/// What the compactor reads of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is recorded and where it lies.
    pub capture: Capture,
    /// Section `[lake]`.
    pub lake: lake::Settings,
    /// Where chunks of logs of other machines lie: sections `[source.<venue>]`.
    pub sources: BTreeMap<VenueId, Arc<dyn LakeStore>>,
    /// Where chunks of the logs of this machine lie: section `[ship]`.
    pub shipped: Option<Arc<dyn LakeStore>>,
    /// Section `[memory]`.
    pub memory: ops::memory::Settings,
}

/// Settings that shape the files' bytes.
pub fn write_settings(lake: &lake::Settings) -> WriteSettings {
    write_settings_at(lake, Level::Normal)
}

/// [`write_settings`] of parts that begin while memory is this tight. They are in the part's state and manifest,
/// which is what a restart and a replay go by.
pub fn write_settings_at(lake: &lake::Settings, level: Level) -> WriteSettings {
    WriteSettings {
        row_group_rows: level.row_group_rows(lake.row_group_rows),
        zstd_level: level.zstd_level(lake.zstd_level),
        format: lake.format,
        part_minutes: lake.part_minutes,
        schema_version: written(),
        numeric: lake.numeric,
        ..WriteSettings::default()
    }
}

/// The version of the schema that parts which begin now are written in.
fn written() -> SchemaVersion {
    #[cfg(test)]
    if let Some(version) = of_test::WRITTEN.get() {
        return version;
    }
    SchemaVersion::to_write()
}

#[cfg(test)]
pub(crate) mod of_test {
    use std::cell::Cell;

    use lake::SchemaVersion;

    thread_local! {
        pub(super) static WRITTEN: Cell<Option<SchemaVersion>> = const { Cell::new(None) };
    }

    /// Runs `f` as a program that writes this version.
    pub(crate) fn writing<T>(version: SchemaVersion, f: impl FnOnce() -> T) -> T {
        WRITTEN.set(Some(version));
        let done = f();
        WRITTEN.set(None);
        done
    }
}
