//! A time in an argument.

use super::exit::Usage;

/// `text` as ns since 1970; `name` is that of the argument.
pub(super) fn time(text: &Option<String>, name: &str) -> anyhow::Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse()).or_else(|_| {
        // A date alone is its first instant.
        format!("{text}T00:00:00Z").parse::<jiff::Timestamp>()
    });
    let ts =
        parsed.map_err(|err| Usage(format!("{name} {text:?} is not a time such as 2026-11-21T12:00:00Z: {err}")))?;
    Ok(Some(u64::try_from(ts.as_nanosecond()).map_err(|_| Usage(format!("{name} {text:?} is before 1970")))?))
}
