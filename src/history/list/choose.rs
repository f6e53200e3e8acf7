//! Which of the listed files are wanted when the period is left open: monthly where it is, daily for the rest. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::manifest::Listed;
use crate::select::Selection;

/// A monthly file stands for all days of its month, so daily ones of that month are left out. A month that is asked
/// for in part comes as daily files when there is one for every asked day.
pub(crate) fn monthly_first(monthly: Vec<Listed>, daily: Vec<Listed>, selection: &Selection) -> Vec<Listed> {
    let mut by_month: BTreeMap<Date, Vec<Listed>> = BTreeMap::new();
    for file in daily {
        by_month.entry(file.path.first_day.first_of_month()).or_default().push(file);
    }
    let mut chosen = Vec::new();
    for month in monthly {
        let days = by_month.get(&month.path.first_day).map_or(&[][..], Vec::as_slice);
        if !selection.holds_all_days(&month.path) && covers(days, &month, selection) {
            continue;
        }
        by_month.remove(&month.path.first_day);
        chosen.push(month);
    }
    chosen.extend(by_month.into_values().flatten());
    chosen.sort_by_cached_key(|file| file.path.to_string());
    chosen
}

/// True when there is a daily file for every day of the requested month.
fn covers(days: &[Listed], month: &Listed, selection: &Selection) -> bool {
    let first = selection.from.map_or(month.path.first_day, |from| from.max(month.path.first_day));
    let last = selection.to.map_or(month.path.last_day(), |to| to.min(month.path.last_day()));
    let there: BTreeSet<Date> = days.iter().map(|file| file.path.first_day).collect();
    let mut day = first;
    while day <= last {
        if !there.contains(&day) {
            return false;
        }
        match day.tomorrow() {
            Ok(next) => day = next,
            Err(_) => break,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn files(period: &str, dates: &[&str]) -> Vec<Listed> {
        dates
            .iter()
            .map(|date| Listed {
                path: format!("data/spot/{period}/trades/A/A-trades-{date}.zip").parse().unwrap(),
                etag: None,
                size: 1,
                last_modified: String::new(),
                checksum_tag: None,
            })
            .collect()
    }

    fn names(from: Option<&str>, to: Option<&str>, months: &[&str], days: &[&str]) -> Vec<String> {
        let selection = Selection {
            from: from.map(|d| d.parse().unwrap()),
            to: to.map(|d| d.parse().unwrap()),
            ..Selection::default()
        };
        let chosen = monthly_first(files("monthly", months), files("daily", days), &selection);
        chosen.iter().map(|f| f.path.name().replace("A-trades-", "").replace(".zip", "")).collect()
    }

    #[test]
    fn whole_months_come_as_one_file_and_the_rest_as_days() {
        let days = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02"];
        assert_eq!(names(None, None, &["2024-01"], &days), ["2024-02-01", "2024-02-02", "2024-01"]);
        assert_eq!(names(None, None, &[], &days).len(), 4);
    }

    #[test]
    fn a_part_of_a_month_comes_as_days_when_all_of_them_are_there() {
        let days = ["2024-01-30", "2024-01-31"];
        assert_eq!(names(Some("2024-01-30"), None, &["2024-01"], &days), ["2024-01-30", "2024-01-31"]);
        assert_eq!(names(Some("2024-01-29"), None, &["2024-01"], &days), ["2024-01"]);
        assert_eq!(names(Some("2024-01-01"), Some("2024-01-31"), &["2024-01"], &days), ["2024-01"]);
        assert_eq!(names(Some("2024-01-15"), Some("2024-01-15"), &["2024-01"], &["2024-01-15"]), ["2024-01-15"]);
    }
}
