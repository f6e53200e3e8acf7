//! Missing trades fetched over REST, into a log of their own. Runs beside the compactor of a venue.
//!
//! ```text
//!  compactor --(gaps that stayed open)--> repair queue --> repairer --REST--> venue
//!      ^                                    ^          |
//!      |                                    |          v bodies (meta.fill), then one event per gap
//!      +--(what was requested already)------+    wal/<venue>.repair/  --compactor--> lake, BACKFILLED
//! ```
//!
//! - [`range`]: what a gap lacks; [`queue`]: what is to be fetched and what was; [`pages`]: which request is next, pure; [`log`]: the log.
//!
//! The repair log is a log like any other: a second compactor session makes parts and manifests of it, so a
//! replay sees the same rows, and nothing in a part of the main log depends on when a gap was repaired.
//!
//! Exactly once: a body is appended before its gap's event, and the event ends the gap. After a stop or a crash between
//! the two fetching goes on after the bodies that the log has; a row that is fetched again all the same has an id of
//! the gap in work, and is removed ([`fold::dedupe`]). A gap whose event is in the log is not requested again. Rows
//! that the main log delivers after all, later than a gap is reported, are in both logs; its manifest counts them
//! (`filled` of the gap).
//!
//! It spends of the share of the venue's REST weight that all work in the background has together ([`net::budget`]);
//! the collector, which is another process, always finds the rest.

mod log;
mod pages;
pub mod queue;
pub(crate) mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use wal_format::error_chain;

use self::log::RepairLog;
use self::pages::Pages;
use self::queue::{NO_ANSWER, RepairQueue, WantedRepair};
use self::range::MissingRange;
use crate::error::CompactError;
use crate::settings::Config;
use capture::VenueConfig;
use lake::manifest::Repair;
use model::{RestMeta, Rows};
use net::budget::Class;
use net::rest::RestClient;
use ops::backoff::{Backoff, after_refusal, random};
use ops::clock;
use ops::shutdown::Shutdown;
use venue::gap::count;
use venue::{Frame, FrameKind, RestRequest, Venue};

/// Gaps with more ids are not requested: that takes hours.
const IDS_MAX: u64 = 2_000_000;
/// The log is closed when nothing was repaired for this long: its hour can be published then.
const IDLE: Duration = Duration::from_secs(10);
/// A gap that gets no answer is requested again for this long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// A request that fails is repeated for this long before other gaps have their turn.
const TURN: Duration = Duration::from_secs(20);
/// The pause of a gap after such a turn, doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// Upper bound of it.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The pause while the log takes nothing.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// An answer that lacks ids of a fresh gap may be behind the stream: requested again after these pauses.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// What is fresh, us.
const FRESH_US: i64 = 60_000_000;

/// Fetches what is missing of one venue.
pub struct Repairer {
    venue: &'static Venue,
    repair_queue: Arc<RepairQueue>,
    rest: RestClient,
    log: RepairLog,
    shutdown: Shutdown,
}

/// Why a gap or a request was left.
enum Left {
    /// Asked to stop: it is requested again after the next start.
    Stopped,
    /// The log takes nothing (a full disk): it is requested again later.
    Log(CompactError),
    /// No usable response: requested again later, much later with `give_up_on_request`; other gaps go on meanwhile.
    Unanswered { why: String, give_up_on_request: bool },
    /// The venue refused for good.
    Refused(String),
}

/// How long a gap waits that got no answer once more.
fn pause_after(wanted: &mut WantedRepair, give_up_on_request: bool) -> Duration {
    let (times, since) = wanted.failed.unwrap_or((0, Instant::now()));
    wanted.failed = Some((times.saturating_add(1), since));
    match give_up_on_request {
        true => after_refusal(times),
        false => PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(times)).min(PAUSE_MAX),
    }
}

impl Repairer {
    /// A repairer of `config`'s venue.
    ///
    /// # Errors
    /// When an extra root certificate is none.
    pub fn new(
        cfg: &Config,
        config: &VenueConfig,
        venue: &'static Venue,
        repair_queue: Arc<RepairQueue>,
        shutdown: Shutdown,
    ) -> Result<Self, CompactError> {
        let tls = net::dial::tls_config(&cfg.capture.tls.extra_roots)?;
        let mut options = cfg.capture.log_options();
        options.segment_bytes = options.segment_bytes.min(16 << 20);
        options.ready_segments = 1;
        Ok(Self {
            venue,
            repair_queue,
            rest: RestClient::new(&cfg.capture.exchange(config), &tls, Class::Background),
            log: RepairLog::new(cfg.capture.repair_dir(config.id), options),
            shutdown,
        })
    }

    /// Repairs until asked to stop.
    ///
    /// # Cancel safety
    /// What was appended stays; the next run goes on with a gap that was in the middle of its pages.
    pub async fn run(mut self) {
        loop {
            let is_open = self.log.is_open();
            let idle = async {
                match is_open {
                    true => tokio::time::sleep(IDLE).await,
                    false => std::future::pending().await,
                }
            };
            let mut wanted = tokio::select! {
                biased;
                () = self.shutdown.wait() => break,
                wanted = self.repair_queue.next() => wanted,
                () = idle => {
                    if !self.log.close().await {
                        self.repair_queue.start_over();
                    }
                    continue;
                }
            };
            match self.repair(&mut wanted).await {
                Ok(()) => {}
                Err(Left::Log(err)) => {
                    warn!(venue = %self.venue.id(), error = %error_chain(&err), "a repair cannot be logged");
                    self.log.close().await;
                    self.repair_queue.again(wanted, Duration::ZERO);
                    self.repair_queue.start_over();
                    if self.pause(LOG_PAUSE).await {
                        break;
                    }
                }
                Err(Left::Unanswered { why, give_up_on_request }) => {
                    let pause = pause_after(&mut wanted, give_up_on_request);
                    let MissingRange { symbol, from, to, .. } = &wanted.gap;
                    warn!(venue = %self.venue.id(), symbol, from, to, error = why, again_s = pause.as_secs(),
                        "a repair got no answer and waits, others go on");
                    self.repair_queue.again(wanted, pause);
                }
                Err(Left::Stopped | Left::Refused(_)) => break,
            }
        }
        self.log.close().await;
    }

    /// Fetches one gap and logs what became of it.
    async fn repair(&mut self, wanted: &mut WantedRepair) -> Result<(), Left> {
        let done = self.fill(wanted).await?;
        let gap = &wanted.gap;
        let kind = if done.why.is_none() { "repaired" } else { "unrepaired" };
        self.log.event(kind, &done).await.map_err(Left::Log)?;
        info!(venue = %self.venue.id(), channel = %gap.channel, symbol = gap.symbol, from = gap.from,
            to = gap.to, rows = done.rows, why = done.why.as_deref().unwrap_or(""), kind);
        self.repair_queue.finished(&done);
        Ok(())
    }

    /// Fetches one gap as far as the venue has it.
    async fn fill(&mut self, wanted: &mut WantedRepair) -> Result<Repair, Left> {
        let WantedRepair { gap, failed, pages } = wanted;
        let asked = count(gap.from, gap.to);
        let done = |rows: u64, why: Option<String>| Repair {
            channel: gap.channel.as_str().to_owned(),
            symbol: gap.symbol.clone(),
            from_id: gap.from,
            to_id: gap.to,
            rows,
            why,
        };
        if asked > IDS_MAX {
            return Ok(done(0, Some(format!("{asked} ids are too many to request"))));
        }
        let pages = pages.get_or_insert_with(|| Pages::new(gap, &self.repair_queue.fetched(gap)));
        let mut pauses = AGAIN_AFTER.iter();
        loop {
            match self.pass(pages).await {
                Ok(()) => {}
                Err(Left::Unanswered { why, give_up_on_request }) => {
                    pages.again();
                    if failed.is_some_and(|(_, since)| since.elapsed() > PATIENCE) {
                        // Of one that was fetched in part the next start would fetch that part twice.
                        let why = match pages.got() {
                            0 => format!("{NO_ANSWER}: {why}"),
                            got => format!("the venue gave {got} of {asked} ids, then {NO_ANSWER}: {why}"),
                        };
                        return Ok(done(pages.got(), Some(why)));
                    }
                    return Err(Left::Unanswered { why, give_up_on_request });
                }
                Err(Left::Refused(why)) => return Ok(done(pages.got(), Some(why))),
                Err(left) => return Err(left),
            }
            if pages.is_complete() {
                return Ok(done(pages.got(), None));
            }
            if pages.requests() == 0 {
                return Ok(done(0, Some("the venue has no request for them".to_owned())));
            }
            let age_us = (clock::wall_ns() / 1_000) as i64 - gap.before_us.unwrap_or(0);
            match pauses.next().filter(|_| age_us < FRESH_US) {
                None => {
                    let why = format!("the venue gave {} of {asked} ids", pages.got());
                    return Ok(done(pages.got(), Some(why)));
                }
                Some(pause) => {
                    if self.pause(*pause).await {
                        return Err(Left::Stopped);
                    }
                    pages.again();
                }
            }
        }
    }

    /// All pages once.
    async fn pass(&mut self, pages: &mut Pages) -> Result<(), Left> {
        let mut rows = Rows::new();
        while let Some(request) = pages.next(|missing| self.venue.repair_request(missing)) {
            let (meta, body, stamp_ns) = self.ask(&request).await?;
            rows.clear();
            let frame = Frame { kind: FrameKind::Rest, payload: &body, rest: Some(&meta) };
            if let Err(err) = self.venue.frames.decode(&frame, &mut rows) {
                let why = format!("the answer does not decode: {err}");
                // Rows come in lists. An object says why there are none.
                let is_refusal = body.trim_ascii_start().starts_with(b"{");
                return Err(if is_refusal {
                    Left::Refused(why)
                } else {
                    Left::Unanswered { why, give_up_on_request: false }
                });
            }
            let new = pages.answered(&request, &rows, body.len());
            if new > 0 {
                self.log.body(stamp_ns, &meta, &body).await.map_err(Left::Log)?;
            }
        }
        Ok(())
    }

    /// One answer, as often as it takes within a turn.
    async fn ask(&self, request: &RestRequest) -> Result<(RestMeta, Vec<u8>, u64), Left> {
        let since = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let answer = tokio::select! {
                biased;
                () = self.shutdown.wait() => return Err(Left::Stopped),
                answer = self.rest.ask(request) => answer,
            };
            let (why, give_up_on_request) = match answer {
                Ok(a) => return Ok((request.meta(a.url, a.status), a.body, a.stamp.0)),
                Err(err) if err.is_final() => return Err(Left::Refused(err.to_string())),
                Err(err) => (err.to_string(), err.give_up_on_request()),
            };
            let wait = backoff.next(&mut random).max(self.rest.banned_for());
            if give_up_on_request || since.elapsed() + wait > TURN {
                return Err(Left::Unanswered { why, give_up_on_request });
            }
            warn!(venue = %self.venue.id(), error = why, wait_s = wait.as_secs(), "a repair waits for the venue");
            if self.pause(wait).await {
                return Err(Left::Stopped);
            }
        }
    }

    /// True when asked to stop meanwhile.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.wait() => true,
            () = tokio::time::sleep(pause) => false,
        }
    }
}
