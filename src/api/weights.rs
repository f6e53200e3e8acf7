//! What requests weigh, and what each address has used of it.
//!
//! Weights are the exchange's own (Binance API documentation, weights of the single endpoints), counted per address
//! and minute and shown in `X-MBX-USED-WEIGHT-1M`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses remembered; beyond it those of minutes before are forgotten first, then all.
const ADDRESSES: usize = 10_000;

/// Weight used per address in the running minute.
#[derive(Default)]
pub(super) struct Weights {
    used: Mutex<HashMap<IpAddr, (i64, u32)>>,
}

impl Weights {
    /// Adds a request; returns what the address has used in this minute, this request included.
    pub fn add(&self, address: IpAddr, minute: i64, weight: u32) -> u32 {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= ADDRESSES && !used.contains_key(&address) {
            used.retain(|_, (m, _)| *m == minute);
            if used.len() >= ADDRESSES {
                used.clear();
            }
        }
        let entry = used.entry(address).or_insert((minute, 0));
        if entry.0 != minute {
            *entry = (minute, 0);
        }
        entry.1 = entry.1.saturating_add(weight);
        entry.1
    }
}

/// What a request weighs; `None` = not counted.
pub(super) fn weight(path: &str, one_symbol: bool) -> Option<u32> {
    let path = if path == "/quality" { "/v1/quality" } else { path };
    let (family, rest) = ["/api/v3/", "/fapi/v1/", "/fapi/v2/", "/dapi/v1/", "/v1/"]
        .iter()
        .find_map(|prefix| Some((*prefix, path.strip_prefix(prefix)?)))?;
    Some(match rest {
        "exchangeInfo" if family == "/api/v3/" => 20,
        "klines" | "uiKlines" | "continuousKlines" => 2,
        "aggTrades" if family == "/api/v3/" => 4,
        "aggTrades" => 20,
        "trades" | "historicalTrades" if family == "/api/v3/" => 25,
        "trades" => 5,
        "historicalTrades" => 20,
        "ticker/price" if one_symbol => 2,
        "ticker/price" => 4,
        "ticker/24hr" if one_symbol => 2,
        "ticker/24hr" => 80,
        "ticker" | "ticker/tradingDay" if one_symbol => 4,
        "ticker" | "ticker/tradingDay" => 200,
        "snapshot" => 10,
        "quality" => 20,
        "gaps" => 5,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn weight_is_counted_per_address_and_minute_and_memory_stays_bounded() {
        let w = Weights::default();
        let a = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        assert_eq!((w.add(a(1), 5, 2), w.add(a(1), 5, 20), w.add(a(2), 5, 1), w.add(a(1), 6, 1)), (2, 22, 1, 1));
        for n in 0..30_000 {
            w.add(a(n), 7, 1);
        }
        assert!(w.used.lock().is_ok_and(|used| used.len() <= ADDRESSES));
        assert_eq!(weight("/api/v3/exchangeInfo", false), Some(20));
        assert_eq!(weight("/health", false), None);
    }
}
