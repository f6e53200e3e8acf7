//! An error in one line.

use std::error::Error;

/// An error and its causes in one line: `publish 12: open segment 41: permission denied`.
pub fn chain(err: &(dyn Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}
