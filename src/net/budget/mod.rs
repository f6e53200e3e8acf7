//! One budget and one ban for each exchange and exit address, for all clients: collector, repairer, seeder, nightly comparison,
//! command line; in one process or in several.
//!
//! ```text
//!   upgrade, REST request --> banned? wait --> reserve --> wait --> still good? --> go
//!                               ^                 |                                  |
//!                               |                 v                                  v answer
//!      a refusal of any of them +---- ledger (data/budget/<group>.<exit>) <---- used weight
//! ```
//! - [`ledger`]: what was spent and may be, pure; [`file`]: how processes share it.
//!
//! Exchanges count for an IP address: venues of one exchange ([`Exchange::name`]) that leave over the same proxy, or over
//! none, share one [`Budget`], and those that leave elsewhere do not. What an exchange says of the weight it counted corrects
//! ours, so that others at our address are seen too. A ban is waited for before anything is reserved, by REST and by
//! upgrades alike; after it upgrades come as far apart as always.
//!
//! Where the file cannot be used (another user's, a disk that fails) the process goes on with what it knows, and says so.

mod file;
mod ledger;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tracing::warn;

use self::file::SharedFile;
pub use self::ledger::Class;
use self::ledger::{BAN_MAX_NS, Grant, Ledger, Quota, Slot, What};
use crate::exchange::{Allowance, Exchange};
use crate::pace::Pacer;
use crate::proxy::Proxy;
use crate::throttle::Used;
use model::Ban;
use ops::telemetry::RateLimited;
use ops::{clock, supervise};

/// Upgrades are counted in this window.
const UPGRADES_PER: Duration = Duration::from_secs(300);
/// A turn to connect is used at once, or it is taken again.
const FRESH: Duration = Duration::from_secs(1);
/// Of the weight, what background work may spend: one of so many parts.
const SHARE: u64 = 2;

static ALONE: RateLimited = RateLimited::new(Duration::from_secs(60));
static WAITS: RateLimited = RateLimited::new(Duration::from_secs(30));

/// What one address may do at one exchange. See the module.
#[derive(Debug)]
pub struct Budget {
    /// Exchange and exit, for people.
    name: String,
    rest: Quota,
    upgrades: Quota,
    // A std mutex: held for a short computation or one look at a small file, never across an await.
    state: Mutex<State>,
    /// The ban of `state`, for those who may not wait.
    seen: Mutex<Option<ledger::Ban>>,
    /// Promises that are not waited for any more.
    abandoned: Mutex<Vec<u64>>,
    is_shared: bool,
    /// Control messages to the exchange over all connections of this process.
    pub control: Pacer,
}

#[derive(Debug, Default)]
struct State {
    /// As it was last seen.
    ledger: Ledger,
    file: Option<SharedFile>,
}

/// The right to do one thing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    what: What,
    at_ns: i64,
    bans: u64,
}

/// The budgets of the process, by file: one instance each.
static ALL: Mutex<BTreeMap<PathBuf, Weak<Budget>>> = Mutex::new(BTreeMap::new());

/// The budget of line `line` (0 or 1) to an exchange.
pub fn of(exchange: &Exchange, line: usize) -> Arc<Budget> {
    let [first, second] = &exchange.exits;
    let exit = if line == 0 { first } else { second };
    let name = name(exchange.name, exchange.is_simulator, exit.proxy.as_ref());
    let path = exchange.budget_dir.join(&name);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(budget) = all.get(&path).and_then(Weak::upgrade) {
        return budget;
    }
    all.retain(|_, budget| budget.strong_count() > 0);
    let budget = Arc::new(Budget::new(name, &exit.allowances, Some(SharedFile::new(path.clone()))));
    all.insert(path, Arc::downgrade(&budget));
    budget
}

/// `kucoin.direct`, `gate.via-proxy.example-1080-5f3a91c2`: a name of a file that shows no secret and distinguishes exits, also those
/// that differ by the user name alone. A simulator on this machine is not the exchange.
fn name(group: &str, is_simulator: bool, exit: Option<&Proxy>) -> String {
    let simulated = if is_simulator { ".simulated" } else { "" };
    let exit = exit.map_or_else(
        || "direct".to_owned(),
        |proxy| {
            let (user, password) =
                proxy.credentials.as_ref().map_or(("", ""), |c| (c.user.reveal(), c.password.reveal()));
            let all = crc32fast::hash(format!("{:?} {proxy} {user} {password}", proxy.kind).as_bytes());
            let shown: String = proxy
                .to_string()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
                .take(80)
                .collect();
            format!("via-{shown}-{all:08x}")
        },
    );
    format!("{group}{simulated}.{exit}")
}

impl Budget {
    /// What all of `limits` allow: of every kind the strictest.
    fn new(name: String, limits: &[Allowance], file: Option<SharedFile>) -> Self {
        let ms = Duration::from_millis;
        let ns = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let most = |f: fn(&Allowance) -> u64| limits.iter().map(f).max().unwrap_or(0);
        let rate = |l: &Allowance| f64::from(l.rest_weight_per_window) / (l.rest_window_s.max(1) as f64);
        let (weight, window_s) = limits
            .iter()
            .min_by(|a, b| rate(a).total_cmp(&rate(b)))
            .map_or((1, 1), |l| (u64::from(l.rest_weight_per_window), l.rest_window_s.max(1)));
        let limit = weight.max(1);
        let connects = limits.iter().map(|l| u64::from(l.connects_per_5_min)).min().unwrap_or(1).max(1);
        Self {
            name,
            rest: Quota {
                limit,
                background: (limit / SHARE).max(1),
                per_ns: ns(Duration::from_secs(window_s)),
                gap_ns: 0,
            },
            upgrades: Quota {
                limit: connects,
                background: 0,
                per_ns: ns(UPGRADES_PER),
                gap_ns: ns(ms(most(|l| l.connect_stagger_ms))),
            },
            is_shared: file.is_some(),
            state: Mutex::new(State { ledger: Ledger::default(), file }),
            seen: Mutex::default(),
            abandoned: Mutex::default(),
            control: Pacer::new(u32::MAX, Duration::from_secs(1), ms(most(|l| l.global_subscribe_delay_ms))),
        }
    }

    /// Waits until a request of `weight` may be sent.
    ///
    /// # Cancel safety
    /// The promise is void when the future is dropped.
    pub async fn request(self: &Arc<Self>, weight: u32, class: Class) -> Turn {
        self.turn(What::Rest(u64::from(weight), class), |_| ()).await
    }

    /// Waits until a WebSocket may be opened; `on_ban` hears of a ban that is waited for.
    ///
    /// # Cancel safety
    /// As [`Budget::request`].
    pub async fn upgrade(self: &Arc<Self>, on_ban: impl Fn(&Ban) + Send) -> Turn {
        self.turn(What::Upgrade, on_ban).await
    }

    /// A turn to connect that may have become old while something else was waited for: the same where it still is good, else
    /// another one.
    ///
    /// # Cancel safety
    /// As [`Budget::request`].
    pub async fn renew(self: &Arc<Self>, turn: Turn) -> Turn {
        let holds = self.change(move |budget, ledger, now_ns| {
            let age = Duration::from_nanos(now_ns.saturating_sub(turn.at_ns).unsigned_abs());
            let holds = ledger.bans() == turn.bans && ledger.banned(now_ns).is_none() && age <= FRESH;
            if !holds && ledger.bans() == turn.bans {
                ledger.give_back(turn.at_ns, turn.what, budget.quota(turn.what));
            }
            holds
        });
        if holds.await { turn } else { self.turn(turn.what, |_| ()).await }
    }

    /// The answer of a request is there; `used`: what the exchange counted.
    pub async fn answered(self: &Arc<Self>, turn: Turn, used: Option<Used>) {
        let What::Rest(weight, class) = turn.what else { return };
        self.change(move |budget, ledger, now_ns| {
            let quota = &budget.rest;
            if ledger.bans() == turn.bans {
                ledger.answered(now_ns, turn.at_ns, weight, class, quota);
            }
            if let Some(used) = used {
                let window_ns = i64::try_from(used.window.as_nanos()).unwrap_or(i64::MAX);
                ledger.counted(now_ns, used.weight, used.left, window_ns, quota);
            }
        })
        .await;
    }

    /// The exchange wants to be left alone for so long.
    pub async fn ban(self: &Arc<Self>, Ban { wait, why }: Ban) {
        let wait_ns = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX).min(BAN_MAX_NS);
        let (is_news, why) =
            self.change(move |_, ledger, now_ns| (ledger.ban(now_ns, now_ns.saturating_add(wait_ns), &why), why)).await;
        if is_news {
            warn!(
                exchange = self.name,
                wait_ms = wait.as_millis(),
                why,
                "the exchange wants to be left alone; nothing is asked of it until then"
            );
        }
    }

    /// The ban that holds, as this process knows it.
    pub fn banned(&self) -> Option<Ban> {
        let now_ns = mono_ns();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().filter(|ban| ban.until_ns > now_ns).map(|ban| banned(ban, now_ns))
    }

    fn quota(&self, what: What) -> &Quota {
        match what {
            What::Rest(..) => &self.rest,
            What::Upgrade => &self.upgrades,
        }
    }

    async fn turn(self: &Arc<Self>, what: What, on_ban: impl Fn(&Ban) + Send) -> Turn {
        let mut granted: Option<Waiting<'_>> = None;
        loop {
            let slot = granted.as_ref().map(|waiting| waiting.slot);
            let (grant, now_ns) = self
                .change(move |budget, ledger, now_ns| {
                    let quota = budget.quota(what);
                    let grant = match slot {
                        None => ledger.ask(now_ns, what, quota),
                        Some(slot) => ledger.confirm(now_ns, slot, what, quota),
                    };
                    (grant, now_ns)
                })
                .await;
            granted = match grant {
                Grant::At(Slot { at_ns, bans, .. }) if at_ns <= now_ns => return Turn { what, at_ns, bans },
                Grant::At(slot) => {
                    let waiting = Waiting { budget: self, slot };
                    sleep_ns(slot.at_ns - now_ns).await;
                    Some(waiting)
                }
                Grant::Banned(ban) => {
                    let ban = banned(&ban, now_ns);
                    if let Some(suppressed) = WAITS.allow() {
                        warn!(
                            exchange = self.name,
                            wait_ms = ban.wait.as_millis(),
                            why = ban.why,
                            suppressed,
                            "waiting until the exchange may be asked again"
                        );
                    }
                    on_ban(&ban);
                    tokio::time::sleep(ban.wait).await;
                    None
                }
            };
        }
    }

    /// Changes the ledger of all processes, or ours alone where that cannot be had.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Budget, &mut Ledger, i64) -> T + Send + 'static,
    ) -> T {
        if !self.is_shared {
            return self.change_now(work);
        }
        let budget = Arc::clone(self);
        // A disk may make it wait.
        supervise::blocking(move || budget.change_now(work)).await
    }

    fn change_now<T>(&self, work: impl FnOnce(&Budget, &mut Ledger, i64) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.change_state(&mut state, work);
        let ban = state.ledger.banned(mono_ns()).cloned();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = ban;
        result
    }

    fn change_state<T>(&self, state: &mut State, work: impl FnOnce(&Budget, &mut Ledger, i64) -> T) -> T {
        let State { ledger, file } = state;
        let abandoned = std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        let work = |ledger: &mut Ledger, now_ns: i64| {
            ledger.abandon(&abandoned);
            work(self, ledger, now_ns)
        };
        let alone = |file: &SharedFile, error: &std::io::Error| {
            if let Some(suppressed) = ALONE.allow() {
                warn!(file = %file.path().display(), %error, suppressed,
                    "what other processes ask of the exchange is not known; make the directory writable for all of them");
            }
        };
        let work = match file {
            None => work,
            Some(file) => match file.change(work) {
                Ok(changed) => {
                    if let Some(error) = &changed.unwritten {
                        alone(file, error);
                    }
                    *ledger = changed.ledger;
                    return changed.result;
                }
                Err((error, work)) => {
                    alone(file, &error);
                    work
                }
            },
        };
        let now_ns = mono_ns();
        ledger.tidy(now_ns);
        work(ledger, now_ns)
    }
}

/// A promise that a request waits for.
struct Waiting<'a> {
    budget: &'a Budget,
    slot: Slot,
}

impl Drop for Waiting<'_> {
    /// Used, or waited for no more: the next change of the ledger takes it out.
    fn drop(&mut self) {
        self.budget.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot.number);
    }
}

fn banned(ban: &ledger::Ban, now_ns: i64) -> Ban {
    Ban { wait: Duration::from_nanos(u64::try_from(ban.until_ns - now_ns).unwrap_or(0)), why: ban.why.clone() }
}

fn mono_ns() -> i64 {
    i64::try_from(clock::mono_ns()).unwrap_or(i64::MAX)
}

async fn sleep_ns(ns: i64) {
    tokio::time::sleep(Duration::from_nanos(u64::try_from(ns).unwrap_or(0))).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exchange::Exit;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn limits() -> Allowance {
        Allowance {
            rest_weight_per_window: 100,
            rest_window_s: 3_600,
            connects_per_5_min: 3,
            connect_stagger_ms: 0,
            global_subscribe_delay_ms: 150,
        }
    }

    /// As each process has its own.
    fn process(dir: &tempfile::TempDir) -> Arc<Budget> {
        Arc::new(Budget::new("x".into(), &[limits()], Some(SharedFile::new(dir.path().join("x.direct")))))
    }

    /// Whether it has to wait; what it waits for here takes an hour.
    async fn waits<T>(turn: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(50), turn).await.is_err()
    }

    #[tokio::test]
    async fn collector_repairs_candles_and_command_line_share_one_budget_also_between_processes() {
        let dir = tempfile::tempdir().unwrap();
        let [collector, compactor, by_hand] = [(); 3].map(|()| process(&dir));
        collector.request(40, Class::Live).await;
        compactor.request(30, Class::Background).await;
        by_hand.request(20, Class::Background).await;
        assert!(waits(by_hand.request(1, Class::Background)).await, "the background has its half");
        collector.request(10, Class::Live).await;
        assert!(waits(collector.request(1, Class::Live)).await, "and all of them the whole");
        for _ in 0..3 {
            collector.upgrade(|_| ()).await;
        }
        assert!(waits(compactor.upgrade(|_| ())).await, "so it is with upgrades");
    }

    #[tokio::test]
    async fn used_weight_that_the_exchange_counted_is_not_asked_for_by_any_process() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = [(); 2].map(|()| process(&dir));
        let turn = a.request(10, Class::Live).await;
        a.answered(turn, Some(Used { weight: 95, left: None, window: HOUR })).await;
        b.request(5, Class::Live).await;
        assert!(waits(b.request(1, Class::Live)).await);
    }

    #[tokio::test]
    async fn a_ban_that_one_process_got_holds_rest_and_upgrades_of_all_before_anything_is_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = [(); 2].map(|()| process(&dir));
        a.ban(Ban { wait: HOUR, why: "HTTP status 418".into() }).await;
        a.ban(Ban { wait: Duration::from_secs(1), why: "HTTP status 429".into() }).await;
        let banned = Mutex::new(None);
        assert!(waits(b.upgrade(|ban| *banned.lock().unwrap() = Some(ban.clone()))).await);
        let banned = banned.into_inner().unwrap().unwrap();
        assert_eq!(banned.why, "HTTP status 418", "the longest that was said");
        assert!(banned.wait > HOUR - Duration::from_secs(600));
        assert_eq!(b.banned().unwrap().why, "HTTP status 418");
        assert!(waits(b.request(1, Class::Live)).await && waits(a.request(1, Class::Background)).await);
        let ledger = |budget: &Budget| budget.state.lock().unwrap().ledger.clone();
        let mut expected = Ledger::default();
        expected.ban(0, 0, "");
        expected.ban(0, 0, "");
        assert_eq!(format!("{:?}", ledger(&b)).matches("Spent").count(), 0, "{:?}", ledger(&b));
        assert_eq!(ledger(&b).bans(), expected.bans());
    }

    #[tokio::test]
    async fn a_turn_that_is_old_or_was_granted_before_a_ban_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let a = process(&dir);
        let turn = a.upgrade(|_| ()).await;
        assert_eq!(a.renew(turn).await, turn);
        let old = Turn { at_ns: turn.at_ns - 2_000_000_000, ..turn };
        assert_ne!(a.renew(old).await.at_ns, old.at_ns);
        let turn = a.upgrade(|_| ()).await;
        a.ban(Ban { wait: HOUR, why: "HTTP status 429".into() }).await;
        assert!(waits(a.renew(turn)).await);
    }

    #[tokio::test]
    async fn who_waits_no_more_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let far = Allowance { connect_stagger_ms: 3_600_000, connects_per_5_min: 100, ..limits() };
        let a = Arc::new(Budget::new("x".into(), &[far], Some(SharedFile::new(dir.path().join("x.direct")))));
        a.upgrade(|_| ()).await;
        for _ in 0..3 {
            assert!(waits(a.upgrade(|_| ())).await);
        }
        assert!(waits(a.upgrade(|_| ())).await);
        let promised = format!("{:?}", a.state.lock().unwrap().ledger).matches("Promised(").count();
        assert!(promised <= 1, "{promised} turns are kept for nobody");
    }

    #[tokio::test]
    async fn a_process_that_cannot_have_the_file_goes_on_with_what_it_knows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("x.direct")).unwrap();
        let a = process(&dir);
        a.request(100, Class::Live).await;
        assert!(waits(a.request(1, Class::Live)).await);
        a.ban(Ban { wait: HOUR, why: "HTTP status 429".into() }).await;
        assert!(waits(a.upgrade(|_| ())).await);
    }

    #[tokio::test]
    async fn venues_of_one_exchange_share_the_strictest_limits_of_them() {
        let slow = Allowance { connect_stagger_ms: 3_600_000, rest_weight_per_window: 50, ..limits() };
        let fast = Allowance { rest_weight_per_window: 100_000, rest_window_s: 1, ..limits() };
        let budget = Arc::new(Budget::new("x".into(), &[fast, slow], None));
        budget.request(50, Class::Live).await;
        assert!(waits(budget.request(1, Class::Live)).await);
        budget.upgrade(|_| ()).await;
        assert!(waits(budget.upgrade(|_| ())).await);
    }

    #[test]
    fn a_budget_is_of_an_exchange_and_an_exit_and_its_name_shows_no_secret() {
        let exit = |user: Option<&str>| Exit {
            proxy: user.map(|u| Proxy::parse(&format!("socks5://{u}:secret@proxy.example:1080")).unwrap()),
            allowances: vec![limits()],
        };
        let exchange = |name: &'static str, exits| Exchange {
            name,
            is_simulator: false,
            base: "https://exchange.example".into(),
            headers: Vec::new(),
            throttling: &model::Throttling::NONE,
            budget_dir: "/nowhere/q3".into(),
            exits,
        };
        let spot = exchange("kucoin", [exit(None), exit(Some("a"))]);
        let futures =
            Exchange { base: "https://futures.example".into(), ..exchange("kucoin", [exit(None), exit(None)]) };
        assert!(Arc::ptr_eq(&of(&spot, 0), &of(&futures, 0)));
        assert_eq!(of(&spot, 0).name, "kucoin.direct");
        let away = of(&spot, 1);
        assert!(
            away.name.starts_with("kucoin.via-proxy.example-1080-") && !away.name.contains("secret"),
            "{}",
            away.name
        );
        let other = exchange("gate", [exit(Some("a")), exit(Some("b"))]);
        assert_ne!(of(&other, 0).name, of(&other, 1).name, "another user, another exit");
        let local = Exchange { is_simulator: true, ..spot };
        assert_eq!(of(&local, 0).name, "kucoin.simulated.direct");
    }
}
