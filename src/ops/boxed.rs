//! Futures that one crate writes and another one awaits.
//!
//! The compiler makes the code of an `async fn`, and of all that it awaits, in the crate that polls it: again in every
//! crate that calls it, and last of all in the binary. A crate's entry point returns its future in a box instead, so that this
//! code is made once, where it is written.

use std::pin::Pin;

/// A future in a box, which may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
