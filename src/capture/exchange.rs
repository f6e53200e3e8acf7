//! What the network needs to know of an exchange to ask it.

use net::Proxy;
use net::exchange::{Allowance, Exchange, Exit};
use venue::venue;

use crate::capture::Capture;
use crate::documented::is_simulator;
use crate::venues::VenueConfig;

impl Capture {
    /// How the exchange of `config` is asked from here.
    pub fn exchange(&self, config: &VenueConfig) -> Exchange {
        let known = venue(config.id).spec;
        let allowance = |v: &VenueConfig| Allowance {
            rest_weight_per_window: v.limits.rest_weight_per_window,
            rest_window_s: v.limits.rest_window_s,
            connects_per_5_min: v.limits.connects_per_5_min,
            connect_stagger_ms: v.limits.connect_stagger_ms,
            global_subscribe_delay_ms: v.limits.global_subscribe_delay_ms,
        };
        // Venues of one exchange that leave over the same proxy share what its address may do.
        let exit = |proxy: &Option<Proxy>| {
            let leaves_there = |v: &VenueConfig| v.proxies.iter().take(v.lines.max(1) as usize).any(|p| p == proxy);
            let together = self.venues.values();
            let together = together.filter(|v| venue(v.id).spec.pace_group == known.pace_group && leaves_there(v));
            Exit { proxy: proxy.clone(), allowances: together.chain([config]).map(allowance).collect() }
        };
        Exchange {
            name: known.pace_group,
            is_simulator: is_simulator(config),
            base: config.rest_url.clone(),
            headers: known.headers(None),
            throttling: &known.throttling,
            budget_dir: self.budget_dir.clone(),
            exits: config.proxies.each_ref().map(exit),
        }
    }
}
