//! Logs on other machines: what a log holds goes into an object store in *chunks*, and is read there like the log itself.
#![forbid(unsafe_code)]

pub mod codec;
