//! Section `[memory]`: what a process may use, and from when on that is tight.

use super::reader::Reader;
use ops::memory::Settings;

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>) -> Settings {
    let configured = r.int("memory.limit_mib", 0, 1 << 24);
    let elevated_percent = r.int("memory.elevated_percent", 1, 99);
    let critical_percent = r.int("memory.critical_percent", 1, 100);
    if elevated_percent >= critical_percent {
        r.problem(
            "memory.elevated_percent",
            format!("{elevated_percent} is not below memory.critical_percent ({critical_percent})"),
            "write 75 and 85".into(),
        );
    }
    Settings {
        limit_mib: if configured == 0 { ops::memory::found_limit_mib() } else { configured },
        own_limit: configured != 0,
        elevated_percent,
        critical_percent,
    }
}
