//! What of the configuration, and of how tight memory is, shapes the bytes of files.

use config::Config;
use lake::{SchemaVersion, WriteSettings};
use ops::memory::Level;

/// Settings that shape the files' bytes.
pub fn write_settings(cfg: &Config) -> WriteSettings {
    write_settings_at(cfg, Level::Normal)
}

/// [`write_settings`] of parts that begin while memory is this tight. They stand in the part's state and manifest,
/// which is what a restart and a replay go by.
pub fn write_settings_at(cfg: &Config, level: Level) -> WriteSettings {
    WriteSettings {
        row_group_rows: level.row_group_rows(cfg.lake.row_group_rows),
        zstd_level: level.zstd_level(cfg.lake.zstd_level),
        format: cfg.lake.format,
        part_minutes: cfg.lake.part_minutes,
        schema_version: written(),
        numeric: cfg.lake.numeric,
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
