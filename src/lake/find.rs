//! What lies in a lake: manifests and files by venue and hour, in order.

use std::path::Path;

use super::store::Meta;
use super::{Hour, Lake, LakeError, Part, Table};

/// Where manifests are.
const MANIFESTS: &str = "_manifests";

/// Venues that have published something.
///
/// # Errors
/// When they cannot be listed.
pub fn venues(lake: &Lake) -> Result<Vec<String>, LakeError> {
    let folders = lake.folders(MANIFESTS)?;
    Ok(folders.iter().filter_map(|name| name.strip_prefix("exchange=")).map(str::to_owned).collect())
}

/// Manifests of `venue`, of all logs, by hour and first seq.
///
/// # Errors
/// When they cannot be listed.
pub fn manifests(lake: &Lake, venue: &str) -> Result<Vec<(Part, Meta)>, LakeError> {
    manifests_since(lake, venue, Hour(i64::MIN))
}

/// [`manifests`] of `since` and later hours: older ones are not even listed.
///
/// # Errors
/// As [`manifests`].
pub fn manifests_since(lake: &Lake, venue: &str, since: Hour) -> Result<Vec<(Part, Meta)>, LakeError> {
    manifests_between(lake, venue, since, Hour(i64::MAX))
}

/// [`manifests`] from `since` to before `until`: those of other hours are not even listed.
///
/// # Errors
/// As [`manifests`].
pub fn manifests_between(lake: &Lake, venue: &str, since: Hour, until: Hour) -> Result<Vec<(Part, Meta)>, LakeError> {
    let mut found = Vec::new();
    parts_between(lake, MANIFESTS, venue, since, until, &mut found)?;
    found.sort_by(|(a, _), (b, _)| {
        let key = |part: &Part| (part.hour, part.first_seq, part.incarnation);
        (key(a), &a.log8).cmp(&(key(b), &b.log8))
    });
    Ok(found)
}

/// Published files of `venue` of `since` and later hours, table by table.
///
/// # Errors
/// When they cannot be listed.
pub fn files_since(lake: &Lake, venue: &str, since: Hour) -> Result<Vec<(Part, Meta)>, LakeError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        parts_between(lake, table.as_str(), venue, since, Hour(i64::MAX), &mut found)?;
    }
    Ok(found)
}

/// What is named as a part's below `top`, a table or the manifests.
fn parts_between(
    lake: &Lake,
    top: &str,
    venue: &str,
    since: Hour,
    until: Hour,
    found: &mut Vec<(Part, Meta)>,
) -> Result<(), LakeError> {
    let folder = format!("{top}/exchange={venue}");
    // Days have ten characters until the year 10,000, so the order of names is that of hours.
    let at = |hour: Hour| {
        let named = Hour::parse(&hour.date(), &hour.hh()) == Some(hour);
        named.then(|| format!("{folder}/date={}/hour={}", hour.date(), hour.hh()))
    };
    for meta in lake.list(&folder, at(since).as_deref(), at(until).as_deref())? {
        match Part::from_path(Path::new(&meta.key)) {
            Some((_, part)) if part.hour >= since && part.hour < until => found.push((part, meta)),
            _ => {}
        }
    }
    Ok(())
}
