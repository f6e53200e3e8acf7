//! What of the configuration, and of how tight memory is, shapes the bytes of files.

use config::Config;
use lake::{Numeric, WriteSettings};
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
        numeric: if cfg.lake.decimal { Numeric::Decimal } else { Numeric::Double },
        ..WriteSettings::default()
    }
}
