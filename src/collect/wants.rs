//! What to subscribe: symbols times channels are wants, which the venue splits into connections. Pure; what a later
//! listing changes is the supervisor's business.

use std::collections::BTreeSet;

use model::Channel;
use venue::Want;

/// Symbols times channels, symbol by symbol.
pub(crate) fn wants(symbols: &BTreeSet<String>, channels: &[Channel]) -> Vec<Want> {
    symbols
        .iter()
        .flat_map(|symbol| channels.iter().map(|channel| Want { symbol: symbol.clone(), channel: *channel }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_are_every_symbol_on_every_channel() {
        let symbols = ["B", "A"].map(str::to_owned).into_iter().collect();
        let w = wants(&symbols, &[Channel::Trades, Channel::Depth]);
        let text: Vec<String> = w.iter().map(|w| format!("{}/{}", w.symbol, w.channel)).collect();
        assert_eq!(text, ["A/trades", "A/depth", "B/trades", "B/depth"]);
    }
}
