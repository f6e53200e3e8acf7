//! What an address spent at an exchange, what it promised to spend, and until when it is banned. Pure: times are handed in.
//!
//! ```text
//!   |<------------------ per ------------------>|
//!   spent . . . . . . . . . . . . . . . . . .  now . . reserved . . .
//!                                                      ^ nothing here while a ban holds
//! ```
//! A token bucket lets a burst through that an exchange counts as one window too many; a rolling window does not. A request
//! counts from its answer on where that came late: the exchange may have counted it that late too. What would take more
//! than [`PIECES`] entries for a window is merged into the later one, which errs on the slow side, and so does what was
//! reserved and never used.
//!
//! Times are ns of the monotonic clock, of this boot; what was written before it is negative.

use serde::{Deserialize, Serialize};

/// Entries for a window at least kept apart.
const PIECES: i64 = 256;
/// But none closer than this, ns.
const PIECE_NS: i64 = 120_000_000;
/// Between the exchange's count and our reading of it, ns.
const SLACK_NS: i64 = 2_000_000_000;
/// What is spent is remembered for this long at least, ns: the longest window that an exchange reports the count of.
const MEMORY_NS: i64 = 62_000_000_000;
/// And for this long at most, ns: the longest window that can be configured, and more.
const MEMORY_MAX_NS: i64 = 3_700_000_000_000;
/// Nothing is promised for later than this, ns; what says so is damaged.
const AHEAD_NS: i64 = 7_200_000_000_000;
/// No ban is longer, ns: what a file says beyond it is damaged.
pub(super) const BAN_MAX_NS: i64 = 3 * 86_400 * 1_000_000_000;

/// Who spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The collector: whatever is left.
    Live,
    /// Repairs, seeds of candles, comparisons, the command line: all of them together a share, so that the collector
    /// always finds room.
    Background,
}

impl Class {
    fn is_background(self) -> bool {
        self == Class::Background
    }
}

/// How much in any `per_ns`, and at least `gap_ns` between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub limit: u64,
    /// Of it, for [`Class::Background`].
    pub background: u64,
    pub per_ns: i64,
    pub gap_ns: i64,
}

/// What was spent: when, how much, in the background. One entry for each piece of time and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent(i64, u64, bool);

/// What will be spent, the number of the promise, and the process that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Promised(u64, Spent, Owner);

/// A process: its number and when it began. A promise to one that is gone is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Owner(pub u32, pub u64);

/// A rolling window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    spent: Vec<Spent>,
    promised: Vec<Promised>,
    /// The last that was spent.
    last_ns: Option<i64>,
}

impl Window {
    /// The first time from `now_ns` on at which `cost` may be spent: spent at once, or promised.
    fn reserve(&mut self, now_ns: i64, cost: u64, class: Class, promise: (u64, Owner), quota: &Quota) -> i64 {
        // First come, first served within a class.
        let own = self.promised.iter().filter(|p| p.1.2 == class.is_background()).map(|p| p.1.0);
        let behind = own.max().map_or(now_ns, |at| at.max(now_ns));
        let last = self.promised.iter().map(|p| p.1.0).chain(self.last_ns).max();
        let apart = last.filter(|_| quota.gap_ns > 0).map_or(now_ns, |last| last + quota.gap_ns);
        let at = self.first_room(behind.max(apart), cost, class, quota);
        self.take(now_ns, at, cost, class, promise, quota);
        at
    }

    fn take(&mut self, now_ns: i64, at: i64, cost: u64, class: Class, promise: (u64, Owner), quota: &Quota) {
        let spent = Spent(at, cost.min(quota.limit), class.is_background());
        if at > now_ns {
            self.promised.push(Promised(promise.0, spent, promise.1));
        } else {
            self.last_ns = Some(self.last_ns.map_or(at, |last| last.max(at)));
            self.spend(spent, quota.per_ns);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Spent> {
        self.spent.iter().chain(self.promised.iter().map(|p| &p.1))
    }

    /// The first time from `from` on at which `cost` fits.
    fn first_room(&self, from: i64, cost: u64, class: Class, quota: &Quota) -> i64 {
        let has_room = |at: &i64| self.has_room(*at, cost.min(quota.limit), class.is_background(), quota);
        if has_room(&from) {
            return from;
        }
        let mut leaves: Vec<i64> = self.all().map(|s| s.0 + quota.per_ns).filter(|at| *at > from).collect();
        leaves.sort_unstable();
        // After everything that is known there is capacity.
        leaves.iter().copied().find(has_room).or(leaves.last().copied()).unwrap_or(from)
    }

    /// Whether every window that `at` lies in has room, also those that end with what is promised for later.
    fn has_room(&self, at: i64, cost: u64, background: bool, quota: &Quota) -> bool {
        let ends = self.all().map(|s| s.0).filter(|t| (at + 1..at + quota.per_ns).contains(t));
        std::iter::once(at).chain(ends).all(|end| {
            let (mut all, mut share) = (cost, cost.min(quota.background));
            for s in self.all().filter(|s| s.0 > end - quota.per_ns && s.0 <= end) {
                all += s.1;
                share += if s.2 { s.1 } else { 0 };
            }
            all <= quota.limit && (!background || share <= quota.background)
        })
    }

    fn spend(&mut self, spent: Spent, per_ns: i64) {
        match self.piece_of(&spent, per_ns) {
            Some(s) => *s = Spent(s.0.max(spent.0), s.1.saturating_add(spent.1), s.2),
            None => self.spent.push(spent),
        }
    }

    /// Takes back what was spent at `at`.
    fn take_back(&mut self, at: i64, cost: u64, class: Class, per_ns: i64) {
        if let Some(s) = self.piece_of(&Spent(at, cost, class.is_background()), per_ns) {
            s.1 = s.1.saturating_sub(cost);
        }
        self.spent.retain(|s| s.1 > 0);
    }

    fn piece_of(&mut self, spent: &Spent, per_ns: i64) -> Option<&mut Spent> {
        let piece = |t: i64| t.div_euclid((per_ns / PIECES).max(PIECE_NS));
        self.spent.iter_mut().find(|s| s.2 == spent.2 && piece(s.0) == piece(spent.0))
    }

    fn sum(&self, from_ns: i64, to_ns: i64) -> u64 {
        self.all().filter(|s| s.0 > from_ns && s.0 <= to_ns).map(|s| s.1).sum()
    }

    /// Forgets what is over.
    fn forget(&mut self, now_ns: i64, per_ns: i64) {
        let since = now_ns - per_ns.max(MEMORY_NS);
        self.spent.retain(|s| s.0 > since);
        self.promised.retain(|p| p.1.0 > since);
    }

    /// Forgets what cannot be.
    fn tidy(&mut self, now_ns: i64) {
        let can_be = now_ns - MEMORY_MAX_NS..=now_ns + AHEAD_NS;
        self.spent.retain(|s| can_be.contains(&s.0));
        self.promised.retain(|p| can_be.contains(&p.1.0));
        self.last_ns = self.last_ns.filter(|last| can_be.contains(last));
    }

    fn shift(&mut self, by_ns: i64) {
        let moved = self.spent.iter_mut().chain(self.promised.iter_mut().map(|p| &mut p.1));
        moved.for_each(|s| s.0 = s.0.saturating_add(by_ns));
        self.last_ns = self.last_ns.map(|last| last.saturating_add(by_ns));
    }
}

/// A ban.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ban {
    pub until_ns: i64,
    pub why: String,
}

/// All of one address at one exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    rest: Window,
    upgrades: Window,
    ban: Option<Ban>,
    /// Bans so far: what was granted before a ban does not hold after it.
    bans: u64,
    /// Promises so far.
    promises: u64,
    /// Who asks; of this process alone.
    #[serde(skip)]
    pub(super) owner: Owner,
}

/// What is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// REST.
    Rest(u64, Class),
    /// A WebSocket.
    Upgrade,
}

impl What {
    fn cost(self) -> (u64, Class) {
        match self {
            What::Rest(weight, class) => (weight, class),
            What::Upgrade => (1, Class::Live),
        }
    }
}

/// A time that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub at_ns: i64,
    /// Bans before it.
    pub bans: u64,
    /// Of the promise.
    pub number: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Nothing was reserved.
    Banned(Ban),
    /// Act then; where that is later, [`Ledger::confirm`] before.
    At(Slot),
}

impl Ledger {
    /// The ban that holds now.
    pub(super) fn banned(&self, now_ns: i64) -> Option<&Ban> {
        self.ban.as_ref().filter(|ban| ban.until_ns > now_ns)
    }

    /// Bans so far.
    pub(super) fn bans(&self) -> u64 {
        self.bans
    }

    fn window(&mut self, what: What) -> &mut Window {
        match what {
            What::Rest(..) => &mut self.rest,
            What::Upgrade => &mut self.upgrades,
        }
    }

    fn slot(&mut self, at_ns: i64) -> Slot {
        Slot { at_ns, bans: self.bans, number: self.promises }
    }

    /// Reserves; nothing while a ban holds.
    pub(super) fn ask(&mut self, now_ns: i64, what: What, quota: &Quota) -> Grant {
        if let Some(ban) = self.banned(now_ns) {
            return Grant::Banned(ban.clone());
        }
        self.promises += 1;
        let (promise, (cost, class)) = ((self.promises, self.owner), what.cost());
        let window = self.window(what);
        window.forget(now_ns, quota.per_ns);
        let at_ns = window.reserve(now_ns, cost, class, promise, quota);
        Grant::At(self.slot(at_ns))
    }

    /// The time that was granted has come: whether it still holds. A ban may have come meanwhile, and an answer that was late.
    /// He keeps his place in the queue.
    pub(super) fn confirm(&mut self, now_ns: i64, slot: Slot, what: What, quota: &Quota) -> Grant {
        let is_kept = self.window(what).promised.iter().any(|p| p.0 == slot.number);
        if slot.bans != self.bans || self.banned(now_ns).is_some() || !is_kept {
            return self.ask(now_ns, what, quota);
        }
        self.promises += 1;
        let (promise, (cost, class)) = ((self.promises, self.owner), what.cost());
        let window = self.window(what);
        window.promised.retain(|p| p.0 != slot.number);
        // Upgrades were counted when they were promised, and nothing makes them come later.
        let at_ns = if quota.gap_ns > 0 { now_ns } else { window.first_room(now_ns, cost, class, quota) };
        window.take(now_ns, at_ns, cost, class, promise, quota);
        Grant::At(self.slot(at_ns))
    }

    /// These promises are not waited for any more.
    pub(super) fn abandon(&mut self, numbers: &[u64]) {
        self.keep_promises(|number, _| !numbers.contains(&number));
    }

    /// Promises to processes that are gone are void.
    pub(super) fn forget_dead(&mut self, is_alive: impl Fn(Owner) -> bool) {
        let mut known = std::collections::BTreeMap::new();
        self.keep_promises(|_, owner| *known.entry(owner).or_insert_with(|| is_alive(owner)));
    }

    fn keep_promises(&mut self, mut keep: impl FnMut(u64, Owner) -> bool) {
        for window in [&mut self.rest, &mut self.upgrades] {
            window.promised.retain(|p| keep(p.0, p.2));
        }
    }

    /// Takes back what was granted and not used.
    pub(super) fn give_back(&mut self, at_ns: i64, what: What, quota: &Quota) {
        let (cost, class) = what.cost();
        self.window(what).take_back(at_ns, cost.min(quota.limit), class, quota.per_ns);
    }

    /// A request that was granted for `at_ns` has its answer.
    pub(super) fn answered(&mut self, now_ns: i64, at_ns: i64, weight: u64, class: Class, quota: &Quota) {
        if now_ns > at_ns {
            let weight = weight.min(quota.limit);
            self.rest.take_back(at_ns, weight, class, quota.per_ns);
            self.rest.spend(Spent(now_ns, weight, class.is_background()), quota.per_ns);
        }
    }

    /// The exchange counted `weight` within `window_ns`, and says how much is left: what is more than we know of was spent by
    /// other processes at this address, or costs more than we think. Never less: its window is cut at the full minute, ours
    /// is not.
    pub(super) fn counted(&mut self, now_ns: i64, weight: u64, left: Option<u64>, window_ns: i64, quota: &Quota) {
        let known = self.rest.sum(now_ns - window_ns - SLACK_NS, now_ns);
        let more = weight.min(quota.limit).saturating_sub(known);
        let within = self.rest.sum(now_ns - quota.per_ns, now_ns);
        let short = left.map_or(0, |left| quota.limit.saturating_sub(left).saturating_sub(within));
        let add = more.max(short);
        if add > 0 {
            self.rest.spend(Spent(now_ns, add, false), quota.per_ns);
        }
    }

    /// Nothing before `until_ns`, nor before what an earlier ban said; what is reserved for later is void. True when it is
    /// longer than the one before.
    pub(super) fn ban(&mut self, now_ns: i64, until_ns: i64, why: &str) -> bool {
        // Nothing that was promised holds any more.
        self.rest.promised.clear();
        self.upgrades.promised.clear();
        self.bans += 1;
        let longer = self.banned(now_ns).is_none_or(|ban| ban.until_ns < until_ns);
        if longer {
            self.ban = Some(Ban { until_ns, why: why.to_owned() });
        }
        longer
    }

    /// Forgets what is over, and what cannot be.
    pub(super) fn tidy(&mut self, now_ns: i64) {
        self.rest.tidy(now_ns);
        self.upgrades.tidy(now_ns);
        if self.ban.as_ref().is_some_and(|ban| ban.until_ns <= now_ns || ban.until_ns > now_ns + BAN_MAX_NS) {
            self.ban = None;
        }
    }

    /// The clock that the times are of has restarted.
    pub(super) fn shift(&mut self, by_ns: i64) {
        self.rest.shift(by_ns);
        self.upgrades.shift(by_ns);
        if let Some(ban) = &mut self.ban {
            ban.until_ns = ban.until_ns.saturating_add(by_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1_000 * MS;
    const MINUTE: Quota = Quota { limit: 100, background: 50, per_ns: 60 * S, gap_ns: 0 };
    const SPREAD: Quota = Quota { limit: 5, background: 0, per_ns: 300 * S, gap_ns: S };

    fn at(ledger: &mut Ledger, now: i64, what: What, quota: &Quota) -> i64 {
        match ledger.ask(now, what, quota) {
            Grant::At(slot) => slot.at_ns,
            Grant::Banned(ban) => panic!("{ban:?}"),
        }
    }

    fn rest(ledger: &mut Ledger, now: i64, weight: u64, class: Class) -> i64 {
        at(ledger, now, What::Rest(weight, class), &MINUTE)
    }

    #[test]
    fn whoever_works_in_the_background_leaves_half_of_the_weight_to_the_collector() {
        let mut l = Ledger::default();
        assert_eq!((rest(&mut l, 0, 30, Class::Background), rest(&mut l, S, 20, Class::Background)), (0, S));
        assert_eq!(rest(&mut l, 2 * S, 20, Class::Background), 60 * S, "the share is spent");
        assert_eq!(rest(&mut l, 3 * S, 50, Class::Live), 3 * S, "and the collector does not wait behind it");
        assert_eq!(rest(&mut l, 4 * S, 1, Class::Live), 60 * S, "all is spent");
    }

    #[test]
    fn what_is_promised_to_one_is_not_given_to_another() {
        let mut l = Ledger::default();
        rest(&mut l, 0, 50, Class::Live);
        rest(&mut l, 10 * S, 50, Class::Background);
        // At 60 s the 50 of the collector leave, at 70 s those of the background.
        assert_eq!(rest(&mut l, 20 * S, 50, Class::Background), 70 * S);
        assert_eq!(rest(&mut l, 20 * S, 60, Class::Live), 130 * S, "60 and 50 would be too many at 70 s");
    }

    #[test]
    fn a_weight_above_the_limit_waits_for_an_empty_window_instead_of_for_ever() {
        let mut l = Ledger::default();
        assert_eq!(rest(&mut l, 0, 250, Class::Live), 0);
        assert_eq!(rest(&mut l, 0, 250, Class::Background), 60 * S);
        assert_eq!(rest(&mut l, 0, 1, Class::Live), 120 * S);
    }

    #[test]
    fn requests_in_an_even_stream_leave_the_window_one_by_one() {
        let mut l = Ledger::default();
        let times: Vec<i64> = (0..700).map(|n| rest(&mut l, n * 100 * MS, 1, Class::Live)).collect();
        assert_eq!(times[..100], (0..100).map(|n| n * 100 * MS).collect::<Vec<_>>());
        let late = times[200] - 120 * S;
        assert!((0..S).contains(&late), "{late}");
        let (mut l, much) = (Ledger::default(), Quota { limit: 1_000_000, ..MINUTE });
        for n in 0..10_000 {
            at(&mut l, n * 10 * MS, What::Rest(1, Class::Live), &much);
        }
        assert!(l.rest.spent.len() < 300, "and are not kept one by one: {}", l.rest.spent.len());
    }

    #[test]
    fn a_request_counts_until_a_window_after_its_answer() {
        let mut l = Ledger::default();
        rest(&mut l, 0, 100, Class::Live);
        l.answered(9 * S, 0, 100, Class::Live, &MINUTE);
        assert_eq!(rest(&mut l, 10 * S, 1, Class::Live), 69 * S);
    }

    #[test]
    fn the_weight_that_the_exchange_counted_corrects_ours_and_never_to_less() {
        let mut l = Ledger::default();
        rest(&mut l, 0, 20, Class::Live);
        l.counted(S, 90, None, 60 * S, &MINUTE);
        assert_eq!(rest(&mut l, 2 * S, 10, Class::Live), 2 * S);
        assert_eq!(l.clone().rest.sum(-S, 2 * S), 100);
        // A new minute there: nothing is forgotten here.
        l.counted(3 * S, 1, None, 60 * S, &MINUTE);
        assert_eq!(rest(&mut l.clone(), 3 * S, 1, Class::Live), 60 * S);
        // What an exchange claims is bounded.
        l.counted(4 * S, u64::MAX, Some(0), 60 * S, &MINUTE);
        assert!(rest(&mut l, 5 * S, 1, Class::Live) <= 65 * S);
    }

    #[test]
    fn what_is_left_counts_also_where_the_exchange_allows_less_than_we_think() {
        let mut l = Ledger::default();
        rest(&mut l, 0, 10, Class::Live);
        // 10 of 40 used: 30 are left, not 90.
        l.counted(S, 10, Some(30), 60 * S, &MINUTE);
        assert_eq!(rest(&mut l, S, 30, Class::Live), S);
        assert_eq!(rest(&mut l, S, 1, Class::Live), 60 * S);
    }

    #[test]
    fn a_ban_lasts_the_longest_that_was_said_and_nothing_is_reserved_meanwhile() {
        let mut l = Ledger::default();
        assert!(l.ban(0, 60 * S, "418"));
        assert!(!l.ban(S, 5 * S, "429"));
        assert_eq!(l.banned(10 * S).unwrap().why, "418");
        let before = l.clone();
        for what in [What::Rest(1, Class::Live), What::Rest(1, Class::Background), What::Upgrade] {
            assert!(matches!(l.ask(59 * S, what, &SPREAD), Grant::Banned(ban) if ban.until_ns == 60 * S));
        }
        assert_eq!(l, before);
        assert!(l.ban(2 * S, 70 * S, "418 again"));
        assert_eq!(l.banned(69 * S).unwrap().until_ns, 70 * S);
        assert_eq!(l.banned(70 * S), None);
        assert_eq!(rest(&mut l, 70 * S, 1, Class::Live), 70 * S);
    }

    #[test]
    fn upgrades_are_spread_before_and_after_a_ban_and_those_promised_before_it_do_not_count() {
        let mut l = Ledger::default();
        let ask = |l: &mut Ledger, now| at(l, now, What::Upgrade, &SPREAD);
        assert_eq!([0, 0, 0].map(|now| ask(&mut l, now)), [0, S, 2 * S]);
        assert!(l.ban(S / 2, 10 * S, "429"));
        assert_eq!(l.bans(), 1, "who waits for his turn sees that it does not hold any more");
        assert_eq!([10 * S; 3].map(|now| ask(&mut l, now)), [10 * S, 11 * S, 12 * S]);
        assert_eq!(ask(&mut l, 12 * S), 13 * S, "the fifth of five minutes, with the one before the ban");
        assert_eq!(ask(&mut l, 13 * S), 300 * S);
    }

    #[test]
    fn turns_of_who_is_gone_or_waits_no_more_are_nobodys_and_those_who_come_do_not_wait_behind_them() {
        let mut l = Ledger { owner: Owner(7, 1), ..Ledger::default() };
        let ask = |l: &mut Ledger| match l.ask(0, What::Upgrade, &SPREAD) {
            Grant::At(slot) => slot,
            Grant::Banned(ban) => panic!("{ban:?}"),
        };
        let dead: Vec<Slot> = (0..4).map(|_| ask(&mut l)).collect();
        assert_eq!(dead[3].at_ns, 3 * S);
        l.owner = Owner(7, 2);
        l.forget_dead(|owner| owner == Owner(7, 2));
        let [first, second] = [(); 2].map(|()| ask(&mut l));
        assert_eq!((first.at_ns, second.at_ns), (S, 2 * S), "after the one that was used");
        l.abandon(&[second.number]);
        assert_eq!(ask(&mut l).at_ns, 2 * S);
        // Whose promise was taken for a dead one's asks again.
        let Grant::At(again) = l.confirm(S, dead[1], What::Upgrade, &SPREAD) else { panic!("nobody bans") };
        assert_eq!(again.at_ns, 3 * S);
    }

    #[test]
    fn a_turn_that_is_given_back_is_nobodys() {
        let mut l = Ledger::default();
        let quota = Quota { limit: 1, ..SPREAD };
        assert_eq!(at(&mut l, 0, What::Upgrade, &quota), 0);
        l.give_back(0, What::Upgrade, &quota);
        assert_eq!(at(&mut l, S, What::Upgrade, &quota), S);
    }

    #[test]
    fn what_cannot_be_is_forgotten_and_a_reboot_keeps_the_rest() {
        let mut l = Ledger::default();
        rest(&mut l, 0, 100, Class::Live);
        l.ban(0, 50 * S, "418");
        // The machine was away for 10 s; its clock begins at 3 s.
        l.shift(-10 * S + 3 * S);
        l.tidy(3 * S);
        assert_eq!(l.banned(3 * S).unwrap().until_ns, 43 * S);
        assert_eq!(rest(&mut l.clone(), 43 * S, 1, Class::Live), 53 * S);
        l.ban = Some(Ban { until_ns: i64::MAX, why: String::new() });
        l.rest.spent.push(Spent(i64::MAX, 100, false));
        l.rest.promised.push(Promised(1, Spent(i64::MAX, 100, false), Owner::default()));
        l.tidy(3 * S);
        assert_eq!(l.banned(3 * S), None);
        assert!(rest(&mut l, 4 * S, 1, Class::Live) <= 60 * S);
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Answer { at_ns: i64 },
        Wake,
        Arrive,
    }

    proptest! {
        #[test]
        fn no_window_of_the_exchange_ever_holds_more_than_the_limit_wherever_it_counts_a_request(
            asks in prop::collection::vec((0..2_000_i64, 1..60_u64, any::<bool>(), 0..5_000_i64), 1..100),
        ) {
            let mut l = Ledger::default();
            let mut events = std::collections::BTreeSet::new();
            let mut start = 0;
            for (i, ask) in asks.iter().enumerate() {
                start += ask.0 * MS;
                events.insert((start, Event::Arrive, i));
            }
            let (mut sent, mut slots) = (Vec::new(), std::collections::BTreeMap::new());
            while let Some((now, event, i)) = events.pop_first() {
                let (_, weight, live, late) = asks[i];
                let class = if live { Class::Live } else { Class::Background };
                let what = What::Rest(weight, class);
                l.tidy(now);
                let grant = match event {
                    Event::Arrive => l.ask(now, what, &MINUTE),
                    Event::Wake => l.confirm(now, slots[&i], what, &MINUTE),
                    Event::Answer { at_ns } => {
                        l.answered(now, at_ns, weight, class, &MINUTE);
                        continue;
                    }
                };
                let Grant::At(slot) = grant else { panic!("nobody bans") };
                let at_ns = slot.at_ns;
                prop_assert!(at_ns >= now);
                if at_ns > now {
                    slots.insert(i, slot);
                    events.insert((at_ns, Event::Wake, i));
                } else {
                    events.insert((now + late * MS, Event::Answer { at_ns }, i));
                    sent.push((now, now + late * MS, weight, live));
                }
            }
            prop_assert_eq!(sent.len(), asks.len());
            for end in &sent {
                // Counted as late as can be.
                let inside = sent.iter().filter(|s| s.0 <= end.0 && s.1 > end.0 - 60 * S);
                let (all, share): (u64, u64) = inside.fold((0, 0), |(a, b), s| (a + s.2, b + if s.3 { 0 } else { s.2.min(50) }));
                prop_assert!(all <= 100, "{} in the minute before {}", all, end.0);
                prop_assert!(share <= 50 || asks.iter().any(|a| a.1 > 50), "{} in the background", share);
            }
        }
    }
}
