//! An exchange as it is asked from here: under which name it counts requests, what it may be asked, the ways out.

use std::path::PathBuf;

use model::Throttling;

use crate::dial::Dialer;
use crate::proxy::Proxy;

/// What one venue may ask from one address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// REST weight in a window.
    pub rest_weight_per_window: u32,
    /// The window, s.
    pub rest_window_s: u64,
    /// Upgrades in 5 minutes.
    pub connects_per_5_min: u32,
    /// Between two upgrades, ms.
    pub connect_stagger_ms: u64,
    /// Between two control messages over all connections, ms.
    pub global_subscribe_delay_ms: u64,
}

/// An exit: an address that requests leave by.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Over it; `None` = direct.
    pub proxy: Option<Proxy>,
    /// Of all clients of this exchange over this proxy; at least one.
    pub allowances: Vec<Allowance>,
}

/// One exchange, as one venue of it asks.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Venues of one name share what an address may do.
    pub name: &'static str,
    /// A simulator on this machine: it is not the exchange.
    pub is_simulator: bool,
    /// Scheme and host of its REST API, and a path prefix.
    pub base: String,
    /// What every request shows.
    pub headers: Vec<(&'static str, String)>,
    /// How it reports its limits.
    pub throttling: &'static Throttling,
    /// Where processes share their budgets.
    pub budget_dir: PathBuf,
    /// Of line 0 and line 1.
    pub exits: [Exit; 2],
}

impl Exchange {
    /// How line 0 and line 1 go out.
    pub fn dialers(&self) -> [Dialer; 2] {
        self.exits.each_ref().map(|exit| Dialer::new(exit.proxy.clone()))
    }
}
