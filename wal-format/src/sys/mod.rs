//! The only folder with `unsafe`; everything it offers is safe to call.
//!
//! Rules for whoever edits here:
//! - memory that another process may change is reached through raw pointers and atomics, never
//!   through a reference that outlives one call, except for published records, which the format
//!   makes immutable (`ReadMap::published`);
//! - every block says in `SAFETY:` lines who guarantees what;
//! - nothing here knows what a record means beyond its commit word.
//!
//! [`map`] owns mappings and stores; [`whole`] maps files that are complete; [`alloc`] owns real allocation and ranged writeback; [`bus`] reports a mapping
//! whose file was truncated.
#![allow(unsafe_code)]

pub mod alloc;
#[doc(hidden)]
pub mod baseline;
pub mod bus;
pub mod map;
pub mod whole;

pub use map::{Appender, OBSERVE, PUBLISH, ReadMap, Window};
pub use whole::WholeFile;
