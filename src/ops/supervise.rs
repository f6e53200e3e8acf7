//! Every task and thread of both services runs under this roof, so that none of them ends unnoticed.
//!
//! ```text
//!  keep:    work -> panics, or ends unasked -> reported -> pause (1 s .. 30 s) -> work again -> ... -> asked to stop
//!  once:    work -> panics                  -> reported -> the owner decides: restarts it, or leaves it
//!  needed:  work -> panics, or ends unasked -> reported -> the service stops in order, exit code 11
//! ```
//! *Reported* is an error line with the task's name, the panic's message and its place; `tapedeck_task_panics_total`; and a
//! red condition ([`Reason::TaskDown`]) which stays until the task has run well for a minute. [`Task`] is the list of
//! all of them: what each does, and what becomes of it.
//!
//! Outside of it are only the tasks of libraries that a caller waits for: kept HTTP connections, whose requests fail then,
//! and the threads of a log's writer, after which its owner looks ([`Task::Writer`]).
//!
//! A panic on a helper thread ([`blocking`], [`crate::chore`]) is the panic of the task that waits for the answer.
//!
//! Panics that a test asks for: [`crate::rehearsal`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::backoff::{Backoff, random};
use crate::boxed::BoxFuture;
use crate::exposition::Exposition;
use crate::health::{Conditions, Reason};
use crate::rehearsal::Rehearsal;
use crate::shutdown::Shutdown;

/// A task that has run this long after a panic is trusted again.
const WELL: Duration = Duration::from_secs(60);
/// Between two looks of a thread whether it is to stop while it pauses.
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of a task that panicked, or ended before it was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It restarts after a pause that grows; all others go on.
    Again,
    /// It is reported, and the service goes on without it: others of its kind come.
    MayEnd,
    /// What it held cannot be built again in this process: the service stops in order with
    /// exit code 11, and the service manager starts it again.
    Exit,
}

macro_rules! tasks {
    ($($(#[$doc:meta])* $task:ident: $name:literal, $then:ident;)+) => {
        /// All tasks and threads of both services. The names are used in metrics and alerts: never rename, never reuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Task { $($(#[$doc])* $task,)+ }

        impl Task {
            /// Every one.
            pub const ALL: &[Task] = &[$(Task::$task,)+];

            /// The name in log lines, metrics and `TAPEDECK_PANIC`.
            pub fn name(self) -> &'static str {
                match self { $(Task::$task => $name,)+ }
            }

            /// What becomes of it.
            pub fn then(self) -> Then {
                match self { $(Task::$task => Then::$then,)+ }
            }
        }
    };
}

tasks! {
    /// Both: SIGINT and SIGTERM.
    Signals: "signals", Again;
    /// Both: SIGHUP.
    Hangup: "hangup", Again;
    /// Both: what SIGHUP requests.
    Reload: "reload", Again;
    /// Both: signs of life for the service manager.
    Notify: "notify", Again;
    /// Both: stdin, which closes when the parent dies (thread).
    Parent: "parent", Again;
    /// Both: how tight memory is (thread).
    Memory: "memory", Again;
    /// Both: disks that fill up, logs without a consumer.
    Disks: "disks", Again;
    /// Collector: `/health`, `/metrics`, `/v1/status`.
    Status: "status", Again;
    /// Collector: pressure on memory as events of the logs.
    Pressure: "pressure", Again;
    /// Collector: everything of one venue; its log is opened as a new run where the panic was inside the writer.
    Venue: "venue", Again;
    /// Collector: one line of a planned connection.
    Connection: "venue.connection", Again;
    /// Collector: the closing handshake of a replaced connection.
    Closing: "venue.closing", MayEnd;
    /// Collector: clock records, a venue's line of statistics.
    Clock: "venue.clock", Again;
    /// Collector: listings and delistings; the whole venue restarts.
    Listing: "venue.listing", Again;
    /// Collector: the threads of a log's writer, which syncs and makes segments; the log is opened as a new run.
    Writer: "venue.writer", Again;
    /// Collector: order books over REST.
    Snapshots: "venue.snapshots", Again;
    /// Collector: what other processes request.
    Requests: "venue.requests", Again;
    /// Collector and shipper: one log into an object store (thread); restarts from what is acknowledged.
    Ship: "ship", Again;
    /// Compactor: one log into the lake (thread); restarts from what is durable. In a drain: exit code 11.
    Compact: "compact", Again;
    /// Compactor: segments into archives (thread).
    Archive: "archive", Again;
    /// Compactor: whether the object store of the lake answers.
    Store: "store", Again;
    /// Compactor: age and size of archive and lake.
    Retention: "retention", Again;
    /// Compactor: gaps over REST, one per venue.
    Repair: "repair", Again;
    /// Compactor: whether an exchange bans it.
    Bans: "bans", Again;
    /// Compactor: its lines of statistics.
    Stats: "stats", Again;
    /// Compactor: the port of API and page.
    Api: "api", Again;
    /// Compactor: one client of the API, which sees its connection end.
    Client: "api.client", MayEnd;
    /// Compactor: candles to WebSocket clients.
    Push: "api.push", Again;
    /// Compactor: trades into candles of one venue (thread); restarts from its last checkpoint.
    Candles: "klines", Again;
    /// Compactor: all open bars (thread).
    Bars: "klines.bars", Exit;
    /// Compactor: the database of candles (thread).
    CandleDb: "klines.db", Exit;
    /// Compactor: when changed bars are shown (thread).
    Swap: "klines.swap", Again;
    /// Compactor: statistics of the candles (thread).
    CandleStats: "klines.stats", Again;
    /// Compactor: seeds of bars, one per venue (thread); what was requested of it stays marked until the next start.
    Seeds: "klines.seeds", Again;
    /// Compactor: the nightly comparison with the venue's candles.
    Nightly: "klines.nightly", Again;
}

/// A panic that was caught: what it said, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("panicked at {place}: {message}")]
pub struct Panicked {
    /// Its message.
    pub message: String,
    /// File, line and column.
    pub place: String,
}

thread_local! {
    /// How many watched pieces of work are on this thread's stack.
    static WATCHED: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic of a watched piece of work was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Watch;

impl Watch {
    fn begin() -> Watch {
        WATCHED.set(WATCHED.get().saturating_add(1));
        Watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(WATCHED.get().saturating_sub(1));
    }
}

/// The hook notes the place of a panic under watch, whose owner reports it; all others are reported as before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let known = PLACE.with_borrow(Option::is_some);
            if WATCHED.get() == 0 || known {
                // A second one before the first was reported ends the process: both must be read somewhere.
                return before(info);
            }
            let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
            PLACE.set(Some(place));
        }));
    });
}

impl Panicked {
    /// Of what [`catch_unwind`] gave, on the thread that panicked.
    fn of(cause: Box<dyn Any + Send>) -> Panicked {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        // One that was caught elsewhere and handed on knows its own place.
        let cause = match cause.downcast::<Panicked>() {
            Ok(panicked) => return *panicked,
            Err(cause) => cause,
        };
        let message = cause.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let message = message.or_else(|| cause.downcast_ref::<String>().cloned());
        Panicked { message: message.unwrap_or_else(|| "(no message)".to_owned()), place }
    }
}

/// Runs `work`; its panic becomes an error. Reports nothing: see [`Supervisor::attempt`].
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    install_hook();
    let watch = Watch::begin();
    let result = catch_unwind(AssertUnwindSafe(work));
    drop(watch);
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    let result = result.map_err(|cause| match cause.is::<crate::failpoint::Killed>() {
        // It stands for SIGKILL, which nobody survives.
        true => resume_unwind(cause),
        false => cause,
    });
    result.map_err(Panicked::of)
}

/// Runs `work` on a thread that may wait; its panic is the caller's.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (reply, answer) = oneshot::channel();
    // In a box: one kind of task for all that is run so.
    let job: Box<dyn FnOnce() + Send> = Box::new(move || {
        // Nobody waits any more: the service stops.
        let _ = reply.send(catch(work));
    });
    tokio::task::spawn_blocking(job);
    match answer.await {
        Ok(Ok(value)) => value,
        Ok(Err(panicked)) => resume_unwind(Box::new(panicked)),
        // The runtime ends, and with it whoever waits here.
        Err(_) => std::future::pending().await,
    }
}

/// Watches the tasks of one service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Inner>);

/// What tasks count that the service's own metrics do not know.
struct Counted(Box<dyn Fn(&mut Exposition) + Send + Sync>);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

#[derive(Debug, Default)]
struct Inner {
    conditions: Conditions,
    /// Stops the service when a task ends that it cannot do without.
    service: Shutdown,
    panics: Mutex<BTreeMap<Task, u64>>,
    fatal: Mutex<Option<String>>,
    counted: Mutex<Vec<Counted>>,
    rehearsal: Option<Rehearsal>,
}

/// The service cannot go on without a task that panicked.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}\n  fix:   start the service again; nothing is lost that the log has. If it comes again, report the line above"
)]
pub struct Fatal(String);

impl Supervisor {
    /// Of the service that `service` stops.
    pub fn of_service(service: Shutdown) -> Supervisor {
        Supervisor(Arc::new(Inner { service, rehearsal: Rehearsal::of_environment(), ..Inner::default() }))
    }

    /// One whose tasks panic as `TAPEDECK_PANIC` would have it.
    #[cfg(any(test, feature = "testing"))]
    pub fn rehearsing(text: &str) -> Supervisor {
        Supervisor(Arc::new(Inner { rehearsal: Some(Rehearsal::read(text)), ..Inner::default() }))
    }

    /// What is wrong now.
    pub fn conditions(&self) -> &Conditions {
        &self.0.conditions
    }

    /// # Errors
    /// When the service stopped because it cannot do without a task that panicked.
    pub fn verdict(&self) -> Result<(), Fatal> {
        match self.0.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            None => Ok(()),
            Some(why) => Err(Fatal(why)),
        }
    }

    /// Tasks of this service count something: `expose` shows it with the service's metrics.
    pub fn counts(&self, expose: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner).push(Counted(Box::new(expose)));
    }

    /// For Prometheus.
    pub fn expose(&self, out: &mut Exposition) {
        for Counted(expose) in self.0.counted.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            expose(out);
        }
        let panics = self.0.panics.lock().unwrap_or_else(PoisonError::into_inner);
        out.series(
            "tapedeck_task_panics_total",
            "Panics of tasks and threads, all of them survived or the end of the process. Must stay 0.",
            Task::ALL.iter().map(|task| ([("task", task.name())], panics.get(task).copied().unwrap_or_default())),
        );
    }

    /// Runs a future to its end; a panic of it is reported and returned.
    pub async fn once<T>(&self, task: Task, of: &str, work: impl Future<Output = T>) -> Result<T, Panicked> {
        install_hook();
        let mut work = pin!(self.rehearsed(task, of, work));
        let result = poll_fn(|cx| {
            let watch = Watch::begin();
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
            drop(watch);
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
                Err(cause) => Poll::Ready(Err(Panicked::of(cause))),
            }
        });
        result.await.inspect_err(|panicked| self.panicked(task, of, panicked))
    }

    /// Runs what `work` makes until `stop`: after a panic or an unexpected end, again after a pause.
    pub async fn keep<F: Future<Output = ()>>(
        &self,
        task: Task,
        of: &str,
        stop: &Shutdown,
        mut work: impl FnMut() -> F,
    ) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let ended = self.once(task, of, work()).await;
            if stop.requested() || !self.goes_on(task, of, ended.is_ok()) {
                return;
            }
            backoff.good(started.elapsed());
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = tokio::time::sleep(backoff.next(&mut random)) => {}
            }
            self.again(task, of);
        }
    }

    /// [`Supervisor::keep`] as a task of its own.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: Task,
        of: &str,
        stop: &Shutdown,
        mut work: impl FnMut() -> F + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.spawn_boxed(task, of.to_owned(), stop.clone(), Box::new(move || Box::pin(work())))
    }

    /// One task for all kinds of work: each kind would bring a task of tokio's of its own to compile.
    fn spawn_boxed(
        &self,
        task: Task,
        of: String,
        stop: Shutdown,
        work: Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>,
    ) -> tokio::task::JoinHandle<()> {
        let me = self.clone();
        tokio::spawn(async move { me.keep(task, &of, &stop, work).await })
    }

    /// Hands what is `received` to `take`, one after the other, until `shutdown` or until the senders are gone. What panics on
    /// one goes on with the next.
    pub fn each<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        &self,
        task: Task,
        received: mpsc::Receiver<T>,
        shutdown: &Shutdown,
        take: impl Fn(T) -> F + Send + Sync + 'static,
    ) {
        let all = Arc::new((tokio::sync::Mutex::new(received), take));
        let stop = shutdown.clone();
        self.spawn(task, "", shutdown, move || {
            let (all, stop) = (Arc::clone(&all), stop.clone());
            async move {
                let (received, take) = &*all;
                let mut received = received.lock().await;
                loop {
                    let next = tokio::select! {
                        () = stop.wait() => return,
                        next = received.recv() => next,
                    };
                    let Some(next) = next else { return };
                    take(next).await;
                }
            }
        });
    }

    /// Runs `work` here; a panic of it is reported and returned.
    ///
    /// # Errors
    /// The panic.
    pub fn attempt<T>(&self, task: Task, of: &str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
        let rehearsed = || {
            if let Some(rehearsal) = &self.0.rehearsal {
                rehearsal.come_by(task.name(), of);
            }
            work()
        };
        catch(rehearsed).inspect_err(|panicked| self.panicked(task, of, panicked))
    }

    /// [`Supervisor::keep`] for a thread, which is called like the task.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn thread(
        &self,
        task: Task,
        of: &str,
        stop: &Shutdown,
        mut work: impl FnMut() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let (me, of, stop) = (self.clone(), of.to_owned(), stop.clone());
        let name = if of.is_empty() { task.name().to_owned() } else { format!("{}-{of}", task.name()) };
        std::thread::Builder::new().name(name).spawn(move || {
            let mut backoff = Backoff::default();
            loop {
                let started = Instant::now();
                let ended = me.attempt(task, &of, &mut work);
                if stop.requested() || !me.goes_on(task, &of, ended.is_ok()) {
                    return;
                }
                backoff.good(started.elapsed());
                let until = Instant::now() + backoff.next(&mut random);
                while Instant::now() < until {
                    if stop.requested() {
                        return;
                    }
                    std::thread::sleep(LOOK);
                }
                me.again(task, &of);
            }
        })
    }

    /// The task works again; it is trusted when it has done so for a while.
    pub fn again(&self, task: Task, of: &str) {
        self.conditions().clear_after(Reason::TaskDown, &place(task, of), WELL);
    }

    /// Counts and reports a panic that its owner noticed by itself.
    pub fn report(&self, task: Task, of: &str, message: &str) {
        let place = "a place that its own line on stderr names".to_owned();
        self.panicked(task, of, &Panicked { message: message.to_owned(), place });
    }

    /// Counts and reports a panic.
    fn panicked(&self, task: Task, of: &str, panicked: &Panicked) {
        let mut panics = self.0.panics.lock().unwrap_or_else(PoisonError::into_inner);
        let times = panics.entry(task).or_default();
        *times = times.saturating_add(1);
        let times = *times;
        drop(panics);
        let Panicked { message, place } = panicked;
        error!(task = task.name(), of, at = place, times, then = ?task.then(), "a task panicked: {message}");
        match task.then() {
            Then::Again => self.down(task, of, &panicked.to_string()),
            // Nothing is missing: red for a while, so that somebody reads the line.
            Then::MayEnd => {
                self.down(task, of, &panicked.to_string());
                self.again(task, of);
            }
            Then::Exit => self.exit(task, of, &panicked.to_string()),
        }
    }

    /// After an end: whether the task restarts. One that `ended` without a panic is reported here.
    fn goes_on(&self, task: Task, of: &str, ended: bool) -> bool {
        if ended && task.then() != Then::MayEnd {
            let what = "ended although nobody asked it to";
            error!(task = task.name(), of, then = ?task.then(), "a task {what}");
            match task.then() {
                Then::Exit => self.exit(task, of, what),
                Then::Again | Then::MayEnd => self.down(task, of, what),
            }
        }
        task.then() == Then::Again
    }

    fn down(&self, task: Task, of: &str, what: &str) {
        self.conditions().raise(Reason::TaskDown, &place(task, of), what);
    }

    fn exit(&self, task: Task, of: &str, what: &str) {
        self.down(task, of, what);
        let why = format!("{} {what}; the service stops, because it cannot go on without it", place(task, of));
        self.0.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.0.service.trigger();
    }

    /// `work`, which panics after a while where that is rehearsed.
    async fn rehearsed<T>(&self, task: Task, of: &str, work: impl Future<Output = T>) -> T {
        let Some(rehearsal) = &self.0.rehearsal else { return work.await };
        let Some(after) = rehearsal.due(task.name(), of) else { return work.await };
        let mut work = pin!(work);
        tokio::select! {
            done = work.as_mut() => return done,
            // Does not panic when the last panic was another's.
            () = tokio::time::sleep(after) => rehearsal.come_by(task.name(), of),
        }
        work.await
    }
}

/// How a task is called in conditions.
fn place(task: Task, of: &str) -> String {
    if of.is_empty() { format!("task {}", task.name()) } else { format!("task {} of {of}", task.name()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exposition;

    #[test]
    fn every_task_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Task::ALL.iter().map(|t| t.name()).collect();
        assert_eq!(names.len(), Task::ALL.len());
    }

    #[tokio::test]
    async fn a_panic_is_reported_with_task_message_and_place_and_is_red_until_the_task_has_run_well() {
        let s = Supervisor::default();
        let number = 7;
        let panic = s.once(Task::Clock, "gate-spot", async move { assert_eq!(number % 2, 0, "odd {number}") });
        let panic = panic.await.unwrap_err();
        assert!(panic.message.contains("odd 7") && panic.place.starts_with("src/ops/supervise.rs:"), "{panic}");
        let problems = s.conditions().problems();
        assert!(
            problems[0].starts_with("task venue.clock of gate-spot: panicked at src/ops/supervise.rs:"),
            "{problems:?}"
        );
        assert!(exposition::text(|out| s.expose(out)).contains("tapedeck_task_panics_total{task=\"venue.clock\"} 1\n"));
        assert!(exposition::text(|out| s.expose(out)).contains("tapedeck_task_panics_total{task=\"api\"} 0\n"));
        s.again(Task::Clock, "gate-spot");
        assert_eq!(s.conditions().problems(), problems, "it is not trusted yet");
        assert!(s.verdict().is_ok());
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_unasked_begins_anew_with_pauses_until_it_is_asked_to_stop() {
        let (s, stop) = (Supervisor::default(), Shutdown::new());
        let (runs, asked) = (std::cell::Cell::new(0), stop.clone());
        s.keep(Task::Api, "", &stop, || {
            runs.set(runs.get() + 1);
            let (n, asked) = (runs.get(), asked.clone());
            async move {
                match n {
                    1 => panic!("the first time"),
                    2 => {}
                    _ => asked.trigger(),
                }
            }
        })
        .await;
        assert_eq!(runs.get(), 3);
        assert_eq!(s.conditions().problems(), ["task api: ended although nobody asked it to"]);
        assert!(exposition::text(|out| s.expose(out)).contains("tapedeck_task_panics_total{task=\"api\"} 1\n"));
    }

    #[test]
    fn a_thread_that_panics_begins_anew_and_one_the_service_needs_stops_it_with_a_verdict() {
        let service = Shutdown::new();
        let s = Supervisor::of_service(service.clone());
        let (stop, mut runs) = (Shutdown::new(), 0);
        let asked = stop.clone();
        let again = s.thread(Task::Archive, "", &stop, move || {
            runs += 1;
            match runs {
                1 => panic!("once"),
                _ => asked.trigger(),
            }
        });
        again.unwrap().join().unwrap();
        assert!(!service.requested() && s.verdict().is_ok());
        s.thread(Task::Bars, "", &service, || panic!("all bars are gone")).unwrap().join().unwrap();
        assert!(service.requested());
        let why = s.verdict().unwrap_err().to_string();
        assert!(why.contains("task klines.bars panicked at") && why.contains("all bars are gone"), "{why}");
    }

    #[tokio::test]
    async fn a_panic_on_a_helper_thread_is_reported_as_the_panic_of_whoever_waits_with_its_own_place() {
        let s = Supervisor::default();
        let waits = s.once(Task::Requests, "", async { blocking(|| -> u8 { panic!("in the depth") }).await });
        let panic = waits.await.unwrap_err();
        assert!(panic.message == "in the depth" && panic.place.starts_with("src/ops/supervise.rs:"), "{panic}");
        assert!(s.once(Task::Requests, "", async { blocking(|| 5).await }).await.is_ok_and(|n| n == 5));
    }

    #[tokio::test]
    async fn a_rehearsed_panic_comes_as_often_as_asked_for_and_only_where() {
        let s = Supervisor::rehearsing("venue.clock@gate-spot:2:5");
        let work = || async { tokio::time::sleep(Duration::from_millis(200)).await };
        assert!(s.once(Task::Clock, "kucoin-spot", work()).await.is_ok());
        assert!(s.once(Task::Listing, "gate-spot", work()).await.is_ok());
        for _ in 0..2 {
            assert!(s.once(Task::Clock, "gate-spot", work()).await.is_err());
        }
        assert!(s.once(Task::Clock, "gate-spot", work()).await.is_ok());
        let s = Supervisor::rehearsing("venue.clock:1:5");
        let (one, two) = tokio::join!(s.once(Task::Clock, "a", work()), s.once(Task::Clock, "b", work()));
        assert!(one.is_ok() != two.is_ok(), "whoever does not panic goes on");
        let s = Supervisor::rehearsing("archive");
        assert!(s.attempt(Task::Archive, "", || 1).is_err());
        assert!(s.attempt(Task::Archive, "", || 1).is_ok());
    }
}
