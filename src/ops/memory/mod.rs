//! Memory: how much is used of what, how tight that is, and what is given up for it. Never capture.
//!
//! ```text
//!  /proc, cgroups, PSI --sample--> readings --gauge--> Level --> tasks that can do with less ask Pressure::level
//!                                                        |
//!                      parts (estimates) --> MemoryReport <+--> log line, counter, `pressure` event
//! ```
//! - [`sample`] and [`cgroup`]: what the kernel says; [`level`]: readings to levels; [`shed`]: what a level costs.
//! - [`parts`]: who holds how much; [`report`]: what is said about it; [`monitor`]: the thread, and [`Pressure`].
//!
//! What counts as used is what the kernel cannot take back and would kill for: of a cgroup all but clean page
//! cache, of a process all but mapped files. The log is a mapped file: it makes RSS large and nothing tight.
//! There is one monitor per process, started by its command.

pub mod cgroup;
pub mod level;
pub mod monitor;
pub mod parts;
pub mod report;
pub mod sample;
pub mod shed;

pub use level::Level;
pub use monitor::{Change, MemoryMonitor, Pressure, Settings};
pub use parts::{Held, Part};
pub use report::MemoryReport;

/// What this process may use when nothing is configured: the smallest of its cgroups' limits and the machine's
/// memory, MiB; 4096 when neither can be read.
pub fn found_limit_mib() -> u64 {
    sample::Places::find().limit_bytes().map_or(4_096, |bytes| bytes >> 20)
}
