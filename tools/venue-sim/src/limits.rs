//! What an IP address may do at a venue: REST weight, upgrades, client messages; and what happens to it when it does more.
//!
//! Over a limit the address is throttled: REST and upgrades get 429 with `Retry-After` until the window is over. Connections closed for
//! too many messages throttle it too, from a few on. Who knocks on while throttled is banned: 418, each ban twice as long as the one
//! before, and knocking on while banned bans again. ("LIMITS" of Binance's rest-api.md: 429, then 418 with bans "from 2 minutes to 3
//! days".) Assumed, because no document says it: how many knocks and strikes it takes. Counted always, enforced only when asked.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;

use venue::{Per, REQUEST_BYTES_MAX, VenueSpec};

use crate::config::Limits;
use crate::report::{LimitsReport, UsageReport, lock};

/// With header and mask; where none is documented, as many as no venue is sent more of.
const MESSAGE_BYTES: usize = REQUEST_BYTES_MAX + 8;

/// The limits of one venue as configured, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub enforce: bool,
    /// Client messages, pings and pongs included, in any window of `message_window_ms` on one connection.
    pub messages: u32,
    pub message_window_ms: u64,
    /// Bytes of a text message, header and mask included.
    pub message_bytes: usize,
    /// REST weight per window of `weight_window_ms`, cut at whole multiples of it.
    pub weight: u32,
    pub weight_window_ms: u64,
    pub connects: usize,
    pub connect_window_ms: u64,
    pub streams: usize,
    strikes: u32,
    throttle_ms: u64,
    knocks: u32,
    ban_ms: u64,
    ban_max_ms: u64,
}

impl Allowance {
    /// What the venue documents, with what is configured instead. What is not documented is not limited.
    pub fn of(spec: &VenueSpec, limits: &Limits) -> Allowance {
        let documented = &spec.documented;
        let window_ms = |per: Per<u32>| u64::from(per.window_s) * 1_000;
        let messages = documented.messages.unwrap_or(Per { most: u32::MAX, window_s: 1 });
        Allowance {
            enforce: limits.enforce,
            messages: limits.messages_per_s.unwrap_or(messages.most),
            message_window_ms: limits.message_window_ms.unwrap_or(window_ms(messages)).max(1),
            message_bytes: limits.message_bytes.or(documented.message_bytes).unwrap_or(MESSAGE_BYTES),
            weight: limits.rest_weight_per_min.unwrap_or(documented.rest.most),
            weight_window_ms: limits.rest_window_ms.unwrap_or(window_ms(documented.rest)).max(1),
            connects: limits.connects_per_5_min,
            connect_window_ms: limits.connect_window_ms.max(1),
            streams: limits.streams_per_connection.min(documented.streams_per_connection.unwrap_or(usize::MAX)),
            strikes: limits.strikes.max(1),
            throttle_ms: limits.throttle_ms,
            knocks: limits.knocks.max(1),
            ban_ms: limits.ban_ms.max(1),
            ban_max_ms: limits.ban_max_ms,
        }
    }
}

/// What someone requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    Rest { weight: u32 },
    Upgrade,
}

/// What someone gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// 429 for so long.
    Throttled {
        wait_ms: u64,
    },
    /// 418 until then, ms since 1970.
    Banned {
        until_ms: i64,
    },
}

/// One group of venues, by address.
#[derive(Debug, Default)]
pub(crate) struct Doors(Mutex<HashMap<IpAddr, Door>>);

impl Doors {
    /// Lets a request in or not; gives the weight used in this window as well.
    pub fn knock(
        &self,
        from: IpAddr,
        knock: Knock,
        allowance: &Allowance,
        now_ms: i64,
        counts: &mut LimitsReport,
    ) -> (u32, Verdict) {
        let mut doors = lock(&self.0);
        let door = doors.entry(from).or_default();
        let verdict = door.knock(knock, allowance, now_ms, counts);
        match verdict {
            Verdict::Pass => {}
            Verdict::Throttled { .. } | Verdict::Banned { .. } => counts.throttles += 1,
        }
        (door.used, verdict)
    }

    /// Somebody else at every address known so far, or at this machine, spends weight.
    pub fn spend(&self, weight: u32, allowance: &Allowance, now_ms: i64) {
        let mut doors = lock(&self.0);
        doors.entry(IpAddr::from([127, 0, 0, 1])).or_default();
        for door in doors.values_mut() {
            door.spend(weight, allowance, now_ms);
        }
    }

    /// The most that any address used of what it may.
    pub fn usage(&self, allowance: &Allowance) -> UsageReport {
        let doors = lock(&self.0);
        let most = |of: fn(&Door) -> u64| doors.values().map(of).max().unwrap_or(0);
        UsageReport {
            weight: allowance.weight.into(),
            weight_window_ms: allowance.weight_window_ms,
            weight_most: most(|door| door.used_most.into()),
            weight_most_rolling: most(|door| door.rolling_most),
            connects: allowance.connects as u64,
            connect_window_ms: allowance.connect_window_ms,
            connects_most: most(|door| door.connects_most as u64),
        }
    }

    /// Notes a connection that was closed for too many messages.
    pub fn strike(&self, from: IpAddr, allowance: &Allowance, now_ms: i64) {
        let mut doors = lock(&self.0);
        let door = doors.entry(from).or_default();
        expire(&mut door.strikes, allowance.connect_window_ms, now_ms);
        door.strikes.push_back(now_ms);
        if door.strikes.len() >= allowance.strikes as usize {
            door.throttle(now_ms + allowance.throttle_ms as i64);
        }
    }
}

fn expire(times: &mut VecDeque<i64>, window_ms: u64, now_ms: i64) {
    while times.front().is_some_and(|&at| now_ms - at >= window_ms as i64) {
        times.pop_front();
    }
}

#[derive(Debug, Default)]
struct Door {
    window: i64,
    used: u32,
    connects: VecDeque<i64>,
    strikes: VecDeque<i64>,
    throttled_until_ms: i64,
    banned_until_ms: i64,
    /// Requests since the door closed.
    knocks: u32,
    bans: u32,
    /// Weight of the last window of any position: when, how much; and its sum.
    spent: VecDeque<(i64, u32)>,
    rolling: u64,
    /// The most so far.
    used_most: u32,
    rolling_most: u64,
    connects_most: usize,
}

impl Door {
    fn throttle(&mut self, until_ms: i64) {
        self.throttled_until_ms = self.throttled_until_ms.max(until_ms);
        self.knocks = 0;
    }

    fn ban(&mut self, allowance: &Allowance, now_ms: i64, counts: &mut LimitsReport) {
        let doubled = allowance.ban_ms.saturating_mul(1 << self.bans.min(30));
        self.banned_until_ms = now_ms + doubled.min(allowance.ban_max_ms.max(allowance.ban_ms)) as i64;
        (self.bans, self.knocks) = (self.bans + 1, 0);
        counts.bans += 1;
    }

    /// Counts weight; gives the number of the window.
    fn spend(&mut self, weight: u32, allowance: &Allowance, now_ms: i64) -> i64 {
        let window = now_ms.div_euclid(allowance.weight_window_ms as i64);
        if self.window != window {
            (self.window, self.used) = (window, 0);
        }
        self.used = self.used.saturating_add(weight);
        let is_over = |(at, _): &(i64, u32)| now_ms - at >= allowance.weight_window_ms as i64;
        while let Some((_, gone)) = self.spent.pop_front_if(|first| is_over(first)) {
            self.rolling -= u64::from(gone);
        }
        if weight > 0 {
            self.spent.push_back((now_ms, weight));
            self.rolling += u64::from(weight);
        }
        self.used_most = self.used_most.max(self.used);
        self.rolling_most = self.rolling_most.max(self.rolling);
        window
    }

    fn knock(&mut self, knock: Knock, allowance: &Allowance, now_ms: i64, counts: &mut LimitsReport) -> Verdict {
        let window = self.spend(0, allowance, now_ms);
        if now_ms < self.banned_until_ms.max(self.throttled_until_ms) {
            self.knocks += 1;
            if self.knocks > allowance.knocks {
                self.ban(allowance, now_ms, counts);
            }
            return if now_ms < self.banned_until_ms {
                Verdict::Banned { until_ms: self.banned_until_ms }
            } else {
                Verdict::Throttled { wait_ms: (self.throttled_until_ms - now_ms) as u64 }
            };
        }
        let until_ms = match knock {
            Knock::Rest { weight } => {
                self.spend(weight, allowance, now_ms);
                if self.used <= allowance.weight {
                    return Verdict::Pass;
                }
                counts.weight_over += 1;
                (window + 1) * allowance.weight_window_ms as i64
            }
            Knock::Upgrade => {
                expire(&mut self.connects, allowance.connect_window_ms, now_ms);
                let is_over = self.connects.len() >= allowance.connects;
                if !is_over || !allowance.enforce {
                    self.connects.push_back(now_ms);
                    self.connects_most = self.connects_most.max(self.connects.len());
                }
                if !is_over {
                    return Verdict::Pass;
                }
                counts.connects_over += 1;
                self.connects.front().map_or(now_ms, |&first| first) + allowance.connect_window_ms as i64
            }
        };
        if !allowance.enforce {
            return Verdict::Pass;
        }
        self.throttle(until_ms);
        Verdict::Throttled { wait_ms: (until_ms - now_ms).max(0) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_015_000;

    fn allowance(limits: Limits) -> Allowance {
        Allowance::of(&venue::binance::spot::SPEC, &Limits { enforce: true, knocks: 2, ban_ms: 1_000, ..limits })
    }

    #[test]
    fn weight_over_the_limit_waits_for_the_next_minute_and_going_on_is_banned_longer_each_time() {
        let allowance = allowance(Limits { rest_weight_per_min: Some(100), ..Limits::default() });
        let (mut door, mut counts) = (Door::default(), LimitsReport::default());
        let mut ask = |weight, now_ms| door.knock(Knock::Rest { weight }, &allowance, now_ms, &mut counts);
        assert_eq!(ask(90, NOW), Verdict::Pass);
        assert_eq!(ask(20, NOW), Verdict::Throttled { wait_ms: 45_000 });
        assert_eq!(ask(1, NOW), Verdict::Throttled { wait_ms: 45_000 });
        assert_eq!(ask(1, NOW + 1), Verdict::Throttled { wait_ms: 44_999 });
        assert_eq!(ask(1, NOW), Verdict::Banned { until_ms: NOW + 1_000 });
        assert_eq!(ask(1, NOW + 500), Verdict::Banned { until_ms: NOW + 1_000 });
        assert_eq!(ask(1, NOW + 500), Verdict::Banned { until_ms: NOW + 1_000 });
        assert_eq!(ask(1, NOW + 500), Verdict::Banned { until_ms: NOW + 2_500 }, "the second ban is twice as long");
        assert_eq!(ask(1, NOW + 50_000), Verdict::Pass);
        assert_eq!((counts.weight_over, counts.bans), (1, 2));
    }

    #[test]
    fn upgrades_count_in_a_rolling_window() {
        let allowance = allowance(Limits { connects_per_5_min: 2, ..Limits::default() });
        let (mut door, mut counts) = (Door::default(), LimitsReport::default());
        let mut ask = |now_ms| door.knock(Knock::Upgrade, &allowance, now_ms, &mut counts);
        assert_eq!([ask(NOW), ask(NOW + 1_000)], [Verdict::Pass; 2]);
        assert_eq!(ask(NOW + 2_000), Verdict::Throttled { wait_ms: 298_000 });
        assert_eq!(ask(NOW + 300_000), Verdict::Pass);
        assert_eq!(ask(NOW + 300_001), Verdict::Throttled { wait_ms: 999 });
        assert_eq!(counts.connects_over, 2);
    }

    #[test]
    fn repeated_strikes_throttle_the_address_and_no_other() {
        let allowance = allowance(Limits { strikes: 2, throttle_ms: 5_000, ..Limits::default() });
        let (doors, mut counts) = (Doors::default(), LimitsReport::default());
        let (guilty, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut ask = |from, now_ms| doors.knock(from, Knock::Upgrade, &allowance, now_ms, &mut counts).1;
        doors.strike(guilty, &allowance, NOW);
        assert_eq!(ask(guilty, NOW), Verdict::Pass);
        doors.strike(guilty, &allowance, NOW);
        assert_eq!(ask(guilty, NOW), Verdict::Throttled { wait_ms: 5_000 });
        assert_eq!(ask(other, NOW), Verdict::Pass);
        assert_eq!(ask(guilty, NOW + 5_000), Verdict::Pass);
    }

    #[test]
    fn the_most_that_was_used_is_reported_for_full_minutes_and_for_any_minute_with_what_others_spent() {
        let allowance = allowance(Limits { rest_weight_per_min: Some(100), ..Limits::default() });
        let (doors, mut counts) = (Doors::default(), LimitsReport::default());
        let me = IpAddr::from([127, 0, 0, 1]);
        let mut ask = |weight, now_ms| doors.knock(me, Knock::Rest { weight }, &allowance, now_ms, &mut counts);
        // NOW is 15 s after the full minute.
        assert_eq!(ask(40, NOW), (40, Verdict::Pass));
        doors.spend(30, &allowance, NOW + 40_000);
        assert_eq!(ask(10, NOW + 40_000), (80, Verdict::Pass), "a report of the used weight includes that of others");
        assert_eq!(ask(50, NOW + 50_000), (50, Verdict::Pass));
        let usage = doors.usage(&allowance);
        assert_eq!((usage.weight, usage.weight_most, usage.weight_most_rolling), (100, 80, 130));
        ask(1, NOW + 110_000);
        assert_eq!(doors.usage(&allowance).weight_most_rolling, 130);
    }

    #[test]
    fn without_enforcement_everything_passes_and_is_counted() {
        let limits = Limits { rest_weight_per_min: Some(1), connects_per_5_min: 0, ..Limits::default() };
        let allowance = Allowance::of(&venue::binance::spot::SPEC, &limits);
        let (mut door, mut counts) = (Door::default(), LimitsReport::default());
        for knock in [Knock::Rest { weight: 5 }, Knock::Upgrade, Knock::Upgrade] {
            assert_eq!(door.knock(knock, &allowance, NOW, &mut counts), Verdict::Pass);
        }
        assert_eq!((counts.weight_over, counts.connects_over, counts.bans), (1, 2, 0));
    }
}
