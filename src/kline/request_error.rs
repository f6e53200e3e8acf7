//! Why the venue's own candles, or the trades before the first recorded one, cannot be had.

use model::Channel;
use model::interval::Interval;
use net::dial::TlsError;
use net::rest::RestError;
use venue::DecodeError;

/// A request for candles or trades got no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Requests cannot be set up.
    #[error("set up requests")]
    Runtime(#[source] std::io::Error),
    /// An extra root certificate is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The venue refused.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// It did not answer for as long as the request was repeated.
    #[error("no answer for {patience_s} s: {last}")]
    NoAnswer {
        /// How long, s.
        patience_s: u64,
        /// What became of the last request.
        last: RestError,
    },
    /// It has no candles.
    #[error("{0} has no candles over REST")]
    NoCandles(&'static str),
    /// It has no candles of this length.
    #[error("{venue} has no candles of {interval} over REST")]
    NoInterval {
        /// Venue name.
        venue: &'static str,
        /// The length.
        interval: Interval,
    },
    /// The body is something else.
    #[error("{venue} answered something else than candles of {symbol}")]
    NotCandles {
        /// Venue name.
        venue: &'static str,
        /// What was requested.
        symbol: String,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// One candle cannot be read.
    #[error("{venue} answered a candle of {symbol} that cannot be read: {why}")]
    OddCandle {
        /// Venue name.
        venue: &'static str,
        /// What was requested.
        symbol: String,
        /// What is wrong with it.
        why: String,
    },
    /// A candle opens where none of ours does.
    #[error("{venue} opens a candle of {interval} at {open_us} us, which none of ours does")]
    OddOpen {
        /// Venue name.
        venue: &'static str,
        /// The length.
        interval: Interval,
        /// Where it opens, us.
        open_us: i64,
    },
    /// Candles are not in order.
    #[error("{venue} answered candles of {symbol} out of order")]
    OutOfOrder {
        /// Venue name.
        venue: &'static str,
        /// What was requested.
        symbol: String,
    },
    /// Some candles of a range are missing.
    #[error("{got} {interval} candles of {symbol} where {due} are due")]
    TooFew {
        /// How many came.
        got: usize,
        /// How many there must be.
        due: i64,
        /// The length.
        interval: Interval,
        /// What was requested.
        symbol: String,
    },
    /// Numbers do not fit a candle.
    #[error("{0} with more digits than {1} can hold")]
    Digits(&'static str, &'static str),
    /// A candle of a file does not fit.
    #[error("a candle of {0} has more digits than one can hold")]
    CandleDigits(String),
    /// First bars of this channel cannot be made whole.
    #[error("{venue} cannot be seeded from {source_channel}")]
    NoSeeds {
        /// Venue name.
        venue: &'static str,
        /// What candles are made of.
        source_channel: Channel,
    },
    /// The unit of its amounts is unknown.
    #[error("no listing has said yet what a contract of {0} is worth")]
    UnknownUnit(String),
    /// Trades cannot be requested.
    #[error("the venue serves no trades by id")]
    NoTrades,
    /// Trades cannot be read.
    #[error("the trades of {symbol} before the first recorded one")]
    NotTrades {
        /// What was requested.
        symbol: String,
        /// What is wrong with the body.
        source: DecodeError,
    },
    /// One trade cannot be read.
    #[error("a trade of {symbol} cannot be read: {why}")]
    OddTrade {
        /// What was requested.
        symbol: String,
        /// What is wrong with it.
        why: String,
    },
    /// Trades next to others are missing.
    #[error("trades of {symbol} {side} id {id} are missing")]
    Missing {
        /// What was requested.
        symbol: String,
        /// Where they are missing.
        side: &'static str,
        /// Next to this one.
        id: i64,
    },
    /// A trade lacks what a seed needs.
    #[error("a trade without {0}")]
    Lacks(&'static str),
    /// Too many trades.
    #[error("the minute before the first recorded trade of {0} has too many trades to request")]
    TooMany(String),
    /// A count is out of range.
    #[error(transparent)]
    Range(#[from] std::num::TryFromIntError),
}

/// A series of stored candles could not be filled or compared.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The venue.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The database.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
}

/// What cannot be done after an error either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    /// Nothing else: other intervals of the symbol may be had.
    Series,
    /// The symbol's other intervals.
    Symbol,
    /// The other symbols of the venue.
    Venue,
    /// Anything.
    Run,
}

impl SeriesError {
    /// How much more it costs than its own series.
    pub fn costs(&self) -> Costs {
        match self {
            // Refused for good: delisted between the listing and now, or without candles.
            Self::Request(RequestError::Rest(_)) => Costs::Symbol,
            Self::Request(RequestError::NoAnswer { .. } | RequestError::NoCandles(_)) => Costs::Venue,
            Self::Request(_) => Costs::Series,
            Self::Db(_) => Costs::Run,
        }
    }
}
