//! What differs between two configurations, by key; for a service that reads its file again while it runs.
//!
//! Says what changed, never what that means for a service.

use std::collections::BTreeSet;

use super::config::Config;

impl Config {
    /// The keys whose values are others in `newer`, in alphabetical order. A venue that only one of them has is one key,
    /// `venues.<venue>`.
    pub fn changed(&self, newer: &Config) -> Vec<String> {
        let keys: BTreeSet<&String> = self.fingerprints.keys().chain(newer.fingerprints.keys()).collect();
        let differing = keys.into_iter().filter(|key| self.fingerprints.get(*key) != newer.fingerprints.get(*key));
        let mut out: Vec<String> = Vec::new();
        for key in differing {
            let venue = key.strip_prefix("venues.").and_then(|rest| rest.split('.').next());
            let both = |venue: &str| {
                let has = |c: &Config| c.capture.venues.keys().any(|id| id.as_str() == venue);
                has(self) && has(newer)
            };
            let name = match venue {
                Some(venue) if !both(venue) => format!("venues.{venue}"),
                _ => key.clone(),
            };
            if !out.contains(&name) {
                out.push(name);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BASE: &str = "[data]\ndir = \"a\"\n[venues.gate-spot]\nsymbols = [\"A_B\"]\nchannels = [\"trades\"]\n";

    fn changed(newer: &str) -> Vec<String> {
        Config::from_toml(BASE).unwrap().changed(&Config::from_toml(newer).unwrap())
    }

    #[test]
    fn every_key_with_another_value_is_named_and_a_venue_that_came_or_went_is_one_key() {
        assert!(changed(BASE).is_empty());
        assert!(changed(&format!("# a word\n{BASE}")).is_empty());
        assert_eq!(changed(&BASE.replace("A_B", "C_D")), ["venues.gate-spot.symbols"]);
        assert_eq!(
            changed(&format!("{BASE}lines = 2\n[log]\nlevel = \"debug\"\n")),
            ["log.level", "venues.gate-spot.lines"]
        );
        assert_eq!(changed(&BASE.replace("gate-spot", "gate-futures")), ["venues.gate-futures", "venues.gate-spot"]);
    }

    #[test]
    fn another_password_is_another_value_though_neither_is_shown() {
        let with = |password: &str| {
            Config::from_toml(&format!("{BASE}proxy_url = \"socks5h://user:{password}@localhost:1080\"\n")).unwrap()
        };
        let (old, new) = (with("hunter2"), with("hunter3"));
        assert_eq!(old.changed(&new), ["venues.gate-spot.proxy_url"]);
        assert!(!format!("{old:?}").contains("hunter2"));
    }
}
