//! Simulated exchanges on loopback: the real protocols, recorded or generated frames, exact reports of what was sent.
//!
//! ```text
//!  recordings -- script --> timeline -+                     +--> conn -- ws --> client     (one task per connection)
//!                           restamp --+--> play --batches--+
//!  seed -------- generate ------------+   one per venue    +--> conn -- ws --> client
//!  GET depth, exchangeInfo --> rest (book) --> client           faults: script, frame count or POST /_sim/fault
//! ```
//!
//! Modules in the order of the flow: [`config`] what a simulation is made of; `script` recordings; `slots` and `restamp` times and ids;
//! `generate` and `shapes` a seeded market of Binance, `seeded` one of KuCoin or Gate; `sbe` Binance's binary form; `listing` what is
//! listed just now; `play` pacing; `venue` what the parts of one venue share; `server` the listener, [`access`] who may ask; `conn`, `outbox` and `disorder`
//! one WebSocket; `limits` what an address may do; `protocol` the seam to the exchanges: `binance`, `rest`, `rest_trades` with `tape`,
//! `candles` and `book`; recordings too long to load: [`recording`] what hands them over, `replayer` what plays them, `recall` what REST
//! remembers of them; `kucoin` and `gate` with `names` for subscriptions and `history` for REST; [`faults`] and `closes` what goes wrong;
//! [`report`] what was sent.
//!
//! It knows nothing of the programs under test and shares no code with them. It never loses a frame on its own: a subscriber that
//! does not read holds the venue back.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use venue_sim::{Pace, RecordingFile, Sim, SimConfig};
//! let file = RecordingFile::new("binance-spot", "tests/data/binance-spot/hft-btcusdt_20240808.zst");
//! let sim = Sim::start(SimConfig { pace: Pace::Max, ..SimConfig::recordings(vec![file]) }).await?;
//! println!("{} {}", sim.rest_url("binance-spot"), sim.ws_url("binance-spot"));
//! // .. subscribe, read ..
//! sim.wait_finished().await;
//! let report = sim.stop().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod access;
mod binance;
mod book;
mod candles;
mod closes;
pub mod config;
mod conn;
mod disorder;
pub mod faults;
mod gate;
mod generate;
mod history;
mod http;
mod kucoin;
mod limits;
mod listing;
mod names;
mod outbox;
mod play;
mod protocol;
mod recall;
pub mod recording;
mod replayer;
pub mod report;
mod rest;
mod rest_trades;
mod restamp;
mod sbe;
mod script;
mod seeded;
mod server;
mod shapes;
mod slots;
mod socket;
mod tape;
mod text;
mod venue;
mod ws;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_doors::reachable;
use model::VenueId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use access::{Access, Token};
pub use closes::{CloseReport, Ending};
pub use config::{
    Heartbeat, Limits, Market, Pace, RecordingFile, Repeat, SimConfig, SimVenue, Source, StartWhen, TlsFiles,
};
pub use faults::{Action, Fault, Garbage};
pub use listing::{ListingReport, Standing};
pub use recording::{Entry, Item, Recording, RecordingSource};
pub use report::{ConnReport, LimitsReport, RestReport, SimReport, StreamReport, UsageReport, VenueReport};

use crate::venue::{Material, Venue};
use generate::{FrameGenerator, Generator};
use listing::Listings;
use play::FrameFeed;
use protocol::Exchange;
use report::Transcript;
use script::Timeline;
use seeded::FloorGenerator;
use server::Shared;

/// In a box, the simulator's code is made here, and not again in whoever starts it.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A running simulation. Dropping it ends its tasks at once; [`Sim::stop`] ends it in order.
pub struct Sim {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    stop_asked: watch::Receiver<bool>,
    address: SocketAddr,
    tls: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl Sim {
    /// Loads the source, listens and serves.
    ///
    /// # Errors
    /// An unknown venue, a recording that cannot be read, an address that cannot be bound, or one beyond loopback that
    /// nothing protects.
    pub fn start(config: SimConfig) -> Boxed<anyhow::Result<Sim>> {
        Box::pin(async move {
            config.access.check_address(config.listen).map_err(anyhow::Error::msg)?;
            let tls = config.tls.as_ref().map(tls_acceptor).transpose()?;
            let transcript = config.transcript.as_deref().map(Transcript::create).transpose()?;
            let loading = config.clone();
            // Unpacking and parsing take long enough to hold up whatever else runs on this runtime.
            let loaded = tokio::task::spawn_blocking(move || load(&loading)).await.context("load the source")??;
            let listener =
                TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
            let address = listener.local_addr().context("read the listening address")?;
            let (stop, stopping) = watch::channel(false);
            let (stop_asked_tx, stop_asked) = watch::channel(false);
            let (venues, feeds): (Vec<_>, Vec<_>) =
                loaded.into_iter().map(|(venue, feed)| (Arc::new(venue), feed)).unzip();
            let shared = Arc::new(Shared {
                venues,
                board: faults::Board::default(),
                transcript,
                stop: stopping.clone(),
                stop_asked: stop_asked_tx,
                next_conn: 0.into(),
                open: 0.into(),
                closed: tokio::sync::Notify::new(),
                access: config.access.clone(),
                places: config.access.places(),
                gate: config.access.gate(address),
                failure: std::sync::Mutex::default(),
            });
            for fault in config.faults {
                shared.submit(fault);
            }
            let mut tasks = vec![tokio::spawn(server::accept(listener, tls.clone(), shared.clone()))];
            for (venue, feed) in shared.venues.iter().zip(feeds) {
                tasks.push(tokio::spawn(play::play(venue.clone(), feed, config.start_when, stopping.clone())));
            }
            Ok(Sim { shared, stop, stop_asked, address, tls: tls.is_some(), tasks })
        })
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base of the venue's REST paths as this machine requests them, without a slash at the end.
    pub fn rest_url(&self, venue: &str) -> String {
        format!("{}://{}/{venue}", if self.tls { "https" } else { "http" }, reachable(self.address))
    }

    /// Base of the venue's WebSocket paths, as [`Sim::rest_url`].
    pub fn ws_url(&self, venue: &str) -> String {
        format!("{}://{}/{venue}", if self.tls { "wss" } else { "ws" }, reachable(self.address))
    }

    /// Venue ids, in the order they were given.
    pub fn venues(&self) -> Vec<String> {
        self.shared.venues.iter().map(|venue| venue.id.clone()).collect()
    }

    /// Everything sent so far.
    pub fn report(&self) -> SimReport {
        self.shared.report()
    }

    /// True when every frame of every venue was played, handed to its subscribers' sockets and flushed.
    pub fn finished(&self) -> bool {
        self.shared.venues.iter().all(|venue| venue.finished())
    }

    /// Waits until [`Sim::finished`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait_finished(&self) {
        while !self.finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Adds a fault; gives the number of open connections it was handed to (0 for those that wait; of a listing: venues).
    pub fn fault(&self, fault: Fault) -> usize {
        self.shared.submit(fault)
    }

    /// Waits until someone requests the end over `POST /_sim/stop`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn stop_asked(&self) {
        let mut asked = self.stop_asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The first failure that makes the report worthless (a transcript that could not be written).
    pub fn failure(&self) -> Option<String> {
        report::lock(&self.shared.failure).clone()
    }

    /// Says goodbye to every connection (close 1001), waits for them and gives the final report.
    pub fn stop(mut self) -> Boxed<SimReport> {
        Box::pin(async move {
            self.stop.send_replace(true);
            for task in self.tasks.drain(..) {
                let _ = task.await;
            }
            server::all_closed(&self.shared, Instant::now() + Duration::from_secs(6)).await;
            if let Some(Err(error)) = self.shared.transcript.as_ref().map(Transcript::flush) {
                self.shared.fail(format!("write the transcript: {error}"));
            }
            self.shared.report()
        })
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn load(config: &SimConfig) -> anyhow::Result<Vec<(Venue, FrameFeed)>> {
    let mut wanted = config.venues.clone();
    if let Source::Recordings(files) = &config.source {
        let known: BTreeSet<String> = wanted.iter().map(|venue| venue.id.clone()).collect();
        let named: BTreeSet<String> = files.iter().map(|file| file.venue.clone()).collect();
        if wanted.is_empty() {
            wanted = named.iter().map(|id| SimVenue::new(id)).collect();
        } else if let Some(stray) = named.difference(&known).next() {
            bail!("there are recordings of {stray}, but it is not among the venues to serve");
        }
    }
    if wanted.is_empty() {
        bail!("no venue to serve");
    }
    let timelines = wanted
        .iter()
        .map(|venue| match venue.source.as_ref().unwrap_or(&config.source) {
            Source::Recordings(files) => {
                let paths: Vec<_> = files.iter().filter(|file| file.venue == venue.id).map(|file| &file.path).collect();
                if paths.is_empty() {
                    bail!("{} has no recording to play", venue.id);
                }
                Ok(Some(Arc::new(Timeline::load(&paths)?)))
            }
            Source::Generated(_) | Source::Recording(_) => Ok(None),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let frames_total: usize = timelines.iter().flatten().map(|timeline| timeline.frames.len()).sum();
    let shares = wanted.len() as u64;
    let mut loaded = Vec::new();
    let mut doors: HashMap<&str, Arc<limits::Doors>> = HashMap::new();
    for (share, (wanted, timeline)) in wanted.iter().zip(timelines).enumerate() {
        let Ok(id) = wanted.id.parse::<VenueId>() else {
            let known: Vec<&str> = VenueId::ALL.iter().map(|id| id.as_str()).collect();
            bail!("unknown venue {}: known are {}", wanted.id, known.join(", "));
        };
        let (exchange, rules) = protocol::of_venue(id);
        let (streams, material, feed, listings) = match (timeline, wanted.source.as_ref().unwrap_or(&config.source)) {
            (Some(timeline), _) => {
                // The rate is over all venues: each takes its share, so they end together.
                let pace = match config.pace {
                    Pace::PerSecond(rate) => Pace::PerSecond(
                        ((rate as u128 * timeline.frames.len() as u128 / frames_total.max(1) as u128) as u64).max(1),
                    ),
                    other => other,
                };
                let feed = FrameFeed::recorded(timeline.clone(), pace, config.repeat);
                let listings = Arc::new(Listings::new(&timeline.symbols(), &timeline.streams, &wanted.unlisted));
                (timeline.streams.clone(), Material::Recorded(timeline), feed, listings)
            }
            (None, Source::Generated(market)) => {
                // A market of the venue's own is not split.
                let (share, shares) = if wanted.source.is_some() { (0, 1) } else { (share as u64, shares) };
                let market = &sbe::market_of(exchange, market);
                let paced = |generator: &dyn FrameGenerator| match config.pace {
                    Pace::Recorded => Some(generator.frames_per_s() as f64),
                    Pace::Times(factor) => Some(generator.frames_per_s() as f64 * factor),
                    Pace::PerSecond(rate) => Some(rate as f64 / shares as f64),
                    Pace::Max => None,
                };
                if matches!(exchange, Exchange::Binance | Exchange::BinanceSbe) {
                    let (mut generator, streams) = Generator::new(rules, market, config, share, shares);
                    let market_state = generator.market_state();
                    let listings = Arc::new(Listings::new(&market_state.symbols, &streams, &wanted.unlisted));
                    generator.listings = listings.clone();
                    let frames_per_s = paced(&generator);
                    let feed = FrameFeed::Generated { generator: Box::new(generator), frames_per_s };
                    (streams, Material::Generated(market_state), feed, listings)
                } else {
                    let (mut maker, seeded, streams) =
                        FloorGenerator::new((exchange, rules), market, config, share, shares);
                    let listings = Arc::new(Listings::new(&seeded.symbols, &streams, &wanted.unlisted));
                    maker.listings = listings.clone();
                    let frames_per_s = paced(&maker);
                    let feed = FrameFeed::Generated { generator: Box::new(maker), frames_per_s };
                    (streams, Material::SeededMarket(seeded), feed, listings)
                }
            }
            (None, Source::Recording(source)) => {
                let replayer = replayer::Replayer::new(source.clone(), config.pace, config.repeat, config.restamp)
                    .with_context(|| format!("open the recording of {}", wanted.id))?;
                let material = Material::Recording(replayer.recall.clone());
                (Vec::new(), material, FrameFeed::Streamed(Box::new(replayer)), Arc::default())
            }
            (None, Source::Recordings(_)) => bail!("{} has no recording to play", wanted.id),
        };
        let (streams, feed) = match exchange {
            Exchange::BinanceSbe if !matches!(feed, FrameFeed::Streamed(_)) => {
                let (transcoder, streams) = sbe::Transcoder::new(&streams, material.clone());
                (streams, FrameFeed::Sbe { json: Box::new(feed), transcoder })
            }
            _ => (streams, feed),
        };
        let doors = doors.entry(::venue::venue(id).spec.pace_group).or_default().clone();
        loaded.push((Venue::new(wanted, id, streams, material, config, doors, listings), feed));
    }
    Ok(loaded)
}

fn tls_acceptor(files: &TlsFiles) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("read the certificate {}", files.cert.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).with_context(|| format!("read the key {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("use the certificate with its key")?;
    Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}
