//! Which symbols of a listing the configured patterns choose. Pure.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

use crate::Symbol;

/// The symbols that the patterns choose from a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, sorted.
    pub symbols: BTreeSet<String>,
    /// Patterns without a single match.
    pub unmatched: Vec<String>,
    /// Names that were written out, exist and do not trade, with the venue's status word.
    pub not_trading: Vec<(String, String)>,
}

/// Chooses the trading symbols that `patterns` name. A pattern that equals a symbol's name is that name, even
/// if it contains glob characters.
pub fn select(patterns: &[String], listing: &[Symbol]) -> Selection {
    let mut selection = Selection::default();
    for pattern in patterns {
        if let Some(symbol) = listing.iter().find(|s| s.name == *pattern) {
            if symbol.trading {
                selection.symbols.insert(symbol.name.clone());
            } else {
                selection.not_trading.push((symbol.name.clone(), symbol.status.clone()));
            }
            continue;
        }
        let matcher = matcher(pattern);
        let mut any = false;
        for symbol in listing {
            if symbol.trading && matcher.as_ref().is_some_and(|m| m.is_match(&symbol.name)) {
                any = true;
                selection.symbols.insert(symbol.name.clone());
            }
        }
        if !any {
            selection.unmatched.push(pattern.clone());
        }
    }
    selection
}

/// True when `pattern` is a name, not a glob.
pub fn is_exact(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', ']', '{', '}'])
}

/// True when `patterns` name `symbol`, whether or not it trades.
pub fn names(patterns: &[String], symbol: &str) -> bool {
    patterns.iter().any(|p| p == symbol || matcher(p).is_some_and(|m| m.is_match(symbol)))
}

fn matcher(pattern: &str) -> Option<GlobMatcher> {
    // Symbols are no paths: `*` matches a slash too.
    GlobBuilder::new(pattern).literal_separator(false).build().ok().map(|g| g.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SymbolKind;

    fn listing(entries: &[(&str, bool)]) -> Vec<Symbol> {
        entries
            .iter()
            .map(|(name, trading)| Symbol {
                name: (*name).to_owned(),
                base: String::new(),
                quote: String::new(),
                status: if *trading { "TRADING" } else { "BREAK" }.to_owned(),
                trading: *trading,
                listing_time_ms: None,
                end_time_ms: None,
                tick_size: None,
                lot_size: None,
                contract_size: None,
                kind: SymbolKind::Spot,
                rules: String::new(),
            })
            .collect()
    }

    fn chosen(patterns: &[&str], listing: &[Symbol]) -> Selection {
        select(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), listing)
    }

    #[test]
    fn globs_choose_what_trades_and_names_that_do_not_match_are_reported() {
        let l = listing(&[("BTCUSDT", true), ("ETHUSDT", true), ("ETHBTC", true), ("LUNAUSDT", false)]);
        let s = chosen(&["ETH*", "BTCUSDT", "NOPEUSDT", "LUNAUSDT", "X*"], &l);
        assert_eq!(s.symbols.iter().collect::<Vec<_>>(), ["BTCUSDT", "ETHBTC", "ETHUSDT"]);
        assert_eq!(s.unmatched, ["NOPEUSDT", "X*"]);
        assert_eq!(s.not_trading, [("LUNAUSDT".to_owned(), "BREAK".to_owned())]);
        assert!(is_exact("NOPEUSDT") && !is_exact("X*"));
    }

    #[test]
    fn a_star_chooses_all_that_trade_and_names_outside_ascii_work() {
        let l = listing(&[("币安人生USDT", true), ("BTCUSDT", true), ("OLDUSDT", false)]);
        assert_eq!(chosen(&["*"], &l).symbols.len(), 2);
        assert_eq!(chosen(&["币安*"], &l).symbols.len(), 1);
        assert_eq!(chosen(&["币安人生USDT"], &l).symbols.len(), 1);
    }

    #[test]
    fn a_name_with_glob_characters_is_that_name() {
        let l = listing(&[("A*", true), ("AB", true)]);
        assert_eq!(chosen(&["A*"], &l).symbols.iter().collect::<Vec<_>>(), ["A*"]);
    }
}
