//! The replay server: one's own recording as an exchange again, so that an unmodified client runs on last Tuesday.
//!
//! ```text
//!  log (live, retained, archived) --LogRecording--> venue_sim: protocols, pacing, REST --ws, http--> any client
//! ```
//!
//! [`recording`] reads the log; who subscribes what, with which messages and at which pace is the simulator's.
//! Frames go out byte for byte as they were recorded, each once although redundant lines or a rotation brought it
//! twice. Nothing of the recording is changed, and what is still to be played is kept from retention meanwhile. Who may
//! ask is for the caller to say.
#![forbid(unsafe_code)]

mod recording;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use venue_sim::{Access, Pace, RecordingSource, Repeat, Sim, SimConfig, SimVenue, Source, StartWhen};

use capture::Capture;
use fold::stored_logs::{StoredLogsError, stored_logs};
use model::VenueId;
use recording::{LogRecording, Range};
use venue::venue;

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// As fast as the slowest subscriber takes it.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
            _ => Err(format!("{text:?} is no speed; use 1, 10, 0.5 or max")),
        }
    }
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Only these; empty = every configured venue that has a log.
    pub venues: Vec<VenueId>,
    /// Frames received from here on, ns since 1970-01-01 UTC.
    pub from_ns: Option<u64>,
    /// Frames received before, ns.
    pub to_ns: Option<u64>,
    /// How fast.
    pub speed: Speed,
    /// Again from the beginning when it is over.
    pub repeat: bool,
    /// Times are moved to now.
    pub restamp: bool,
    /// Playing begins when something is subscribed and nothing new was for so long, ms.
    pub settle_ms: u64,
}

/// A recording cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    /// The address lies beyond loopback and nothing protects it.
    #[error(
        "cannot serve the recording: {why}\n  where: --serve {listen}\n  fix:   name a token by [api] token_env or token_file, write [api] insecure = true where every client that reaches this address may read, or serve at 127.0.0.1:{}",
        listen.port()
    )]
    Open {
        /// What is wrong with it.
        why: String,
        /// Where it should listen.
        listen: SocketAddr,
    },
    /// Logs cannot be listed.
    #[error(transparent)]
    StoredLogs(#[from] StoredLogsError),
    /// Nothing was recorded.
    #[error(
        "there is nothing to serve: no configured venue has a log\n  where: {}\n  fix:   record first, or name the configuration of the recording",
        data_dir.display()
    )]
    Nothing {
        /// Where it would be.
        data_dir: PathBuf,
    },
    /// The server does not start.
    #[error("serve the recording")]
    Start(#[source] Box<dyn Error + Send + Sync>),
}

/// Opens the recordings, listens and serves whom `access` lets in; to be run inside a runtime.
///
/// # Errors
/// When no venue has anything recorded in the range, a log cannot be listed, the address cannot be bound, or lies beyond
/// loopback and nothing protects it.
pub async fn serve(cfg: &Capture, access: Access, args: &ServeArgs) -> Result<Sim, PlaybackError> {
    let open = |why| PlaybackError::Open { why, listen: args.listen };
    access.check_address(args.listen).map_err(open)?;
    let wanted: Vec<VenueId> =
        if args.venues.is_empty() { cfg.venues.keys().copied().collect() } else { args.venues.clone() };
    let range = Range { from_ns: args.from_ns.unwrap_or(0), to_ns: args.to_ns.unwrap_or(u64::MAX) };
    let mut stage = Vec::new();
    for id in wanted {
        let venue = venue(id);
        if args.venues.is_empty() && stored_logs(&cfg.archive_root(), &cfg.wal_dir(id))?.is_empty() {
            tracing::info!(venue = %id, "it has no log and is not served");
            continue;
        }
        let cfg = cfg.clone();
        let source = RecordingSource::new(move |_| Ok(Box::new(LogRecording::open(&cfg, venue, range)?)));
        stage.push(SimVenue::playing(id.as_str(), Source::Recording(source)));
    }
    if stage.is_empty() {
        return Err(PlaybackError::Nothing { data_dir: cfg.data_dir.clone() });
    }
    let mut config = SimConfig::venues(stage);
    config.listen = args.listen;
    config.access = access;
    config.pace = match args.speed {
        Speed::Times(times) => Pace::Times(times),
        Speed::Max => Pace::Max,
    };
    config.repeat = if args.repeat { Repeat::Forever } else { Repeat::Once };
    config.restamp = args.restamp;
    config.start_when = StartWhen::Settled { streams: 1, quiet_ms: args.settle_ms };
    config.extra_symbols = false;
    Sim::start(config).await.map_err(|err| PlaybackError::Start(err.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_positive_number_or_max() {
        assert_eq!("10".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for wrong in ["0", "-1", "fast", "inf", "NaN", ""] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
