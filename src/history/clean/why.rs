//! Whether a month is to be cleaned, and why: what is recorded of it against what is here now. Reads; changes nothing.

use lake::Lake;
use serde::Serialize;

use super::record::{InputRecord, Record};

/// Why a month is cleaned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It never was.
    New,
    /// Other files are here than were cleaned: `added`, `changed` or `gone`, and the name.
    Files(Vec<String>),
    /// The settings that shape the bytes are other ones.
    Settings,
    /// An older program cleaned it.
    Program,
    /// The month before has other rows than these were held against.
    MonthBefore,
    /// Files of the lake are missing or have another length: their names.
    Missing(Vec<String>),
    /// It was requested.
    Forced,
}

impl Why {
    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Files(_) => "files",
            Why::Settings => "settings",
            Why::Program => "program",
            Why::MonthBefore => "month_before",
            Why::Missing(_) => "missing",
            Why::Forced => "forced",
        }
    }

    /// The files that it is about.
    pub fn files(&self) -> &[String] {
        match self {
            Why::Files(names) | Why::Missing(names) => names,
            Why::New | Why::Settings | Why::Program | Why::MonthBefore | Why::Forced => &[],
        }
    }
}

/// What a month would be cleaned from now, and how.
pub(super) struct Now<'n> {
    pub inputs: &'n [InputRecord],
    /// [`super::record::revision`].
    pub revision: u32,
    pub fingerprint: &'n str,
    /// [`Record::month_before`].
    pub month_before: Option<&'n str>,
}

/// Why a month is to be cleaned; `None` when its record is true of these files and settings.
pub(super) fn why(lake: &Lake, old: Option<&Record>, now: &Now<'_>, force: bool) -> Option<Why> {
    let Some(old) = old else { return Some(Why::New) };
    let files = differences(&old.inputs, now.inputs);
    if !files.is_empty() {
        return Some(Why::Files(files));
    }
    if old.revision != now.revision {
        return Some(Why::Program);
    }
    if old.settings != now.fingerprint {
        return Some(Why::Settings);
    }
    if old.month_before.as_deref() != now.month_before {
        return Some(Why::MonthBefore);
    }
    let mut missing: Vec<String> =
        old.outputs.iter().filter(|o| bytes_of(lake, &o.path) != Some(o.bytes)).map(|o| o.path.clone()).collect();
    missing.extend(old.aside.iter().filter(|key| bytes_of(lake, key).is_none()).cloned());
    if !missing.is_empty() {
        return Some(Why::Missing(missing));
    }
    force.then_some(Why::Forced)
}

/// What is other in the files of a month; in their order too, of which nothing is said but that it is.
fn differences(old: &[InputRecord], new: &[InputRecord]) -> Vec<String> {
    let same = |a: &InputRecord, b: &InputRecord| {
        a.path == b.path && a.sha256 == b.sha256 && a.published_sha256 == b.published_sha256
    };
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b)) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for input in new {
        match old.iter().find(|o| o.path == input.path) {
            None => all.push(format!("added {}", input.path)),
            Some(o) if !same(o, input) => all.push(format!("changed {}", input.path)),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|o| new.iter().all(|n| n.path != o.path));
    all.extend(gone.map(|o| format!("gone {}", o.path)));
    if all.is_empty() {
        all.extend(new.iter().map(|n| format!("moved {}", n.path)));
    }
    all
}

/// The length of an object that is known to be there.
fn bytes_of(lake: &Lake, key: &str) -> Option<u64> {
    Some(lake.head(key).ok()??.bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::record::OutputRecord;
    use super::*;

    fn input(path: &str, sha256: &str) -> InputRecord {
        InputRecord { path: path.into(), sha256: sha256.into(), ..InputRecord::default() }
    }

    #[test]
    fn every_reason_to_clean_a_month_is_given_and_a_true_record_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(dir.path());
        let inputs = [input("a", "1"), input("b", "2")];
        let mut old = Record {
            revision: 2,
            settings: "s".into(),
            inputs: inputs.to_vec(),
            outputs: vec![OutputRecord { path: "out".into(), bytes: 3, ..OutputRecord::default() }],
            aside: Some("aside".into()),
            month_before: Some("m".into()),
            ..Record::default()
        };
        let ask = |old: &Record, inputs: &[InputRecord], s: &str, force| {
            why(&lake, Some(old), &Now { inputs, revision: 2, fingerprint: s, month_before: Some("m") }, force)
        };
        let first = Now { inputs: &inputs, revision: 2, fingerprint: "s", month_before: None };
        assert_eq!(why(&lake, None, &first, false), Some(Why::New));
        assert_eq!(ask(&old, &inputs, "s", false), Some(Why::Missing(vec!["out".into(), "aside".into()])));
        std::fs::write(dir.path().join("out"), "abc").unwrap();
        std::fs::write(dir.path().join("aside"), "").unwrap();
        assert_eq!(ask(&old, &inputs, "s", false), None);
        assert_eq!(ask(&old, &inputs, "s", true), Some(Why::Forced));
        assert_eq!(ask(&old, &inputs, "t", true), Some(Why::Settings));
        let now = [input("a", "9"), input("c", "3")];
        let changes = ["changed a", "added c", "gone b"].map(str::to_owned).to_vec();
        assert_eq!(ask(&old, &now, "t", true), Some(Why::Files(changes)));
        let turned = [inputs[1].clone(), inputs[0].clone()];
        assert_eq!(ask(&old, &turned, "s", false).unwrap().files().len(), 2);
        old.month_before = None;
        assert_eq!(ask(&old, &inputs, "s", false), Some(Why::MonthBefore));
        old.revision += 1;
        assert_eq!(ask(&old, &inputs, "s", false), Some(Why::Program));
    }
}
