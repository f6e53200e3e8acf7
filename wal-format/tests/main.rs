//! The promises of the log through its public face. One binary: eighteen would be linked one after the other.

mod archive;
mod bit_flip;
mod crash_model;
mod faults;
mod follow_live;
mod golden;
mod identity;
mod kill_writer;
mod lost_ranges;
mod odd_files;
mod reader_cases;
mod reader_restart;
mod spill;
mod stale_bytes;
mod support;
mod truncate_anywhere;
mod truncated_live;
mod writer;
mod zeroed_page;
