//! Which of the two markets something is about, and how that market calls its channels.

use model::Channel;

/// Which of the two markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Futures,
}

impl Market {
    /// What the name of every channel of the market begins with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Spot => "spot.",
            Self::Futures => "futures.",
        }
    }

    /// Path of its sockets.
    pub(super) fn ws_path(self) -> &'static str {
        match self {
            Self::Spot => "/ws/v4/",
            Self::Futures => "/v4/ws/usdt",
        }
    }

    /// Name of the WebSocket channel; `None` where there is none.
    pub(super) fn channel_name(self, channel: Channel) -> Option<&'static str> {
        Some(match (self, channel) {
            (Self::Spot, Channel::Trades) => "spot.trades",
            (Self::Spot, Channel::BookTicker) => "spot.book_ticker",
            (Self::Spot, Channel::Depth) => "spot.order_book_update",
            (Self::Spot, Channel::Tickers) => "spot.tickers",
            (Self::Spot, Channel::VenueKlines) => "spot.candlesticks",
            (Self::Futures, Channel::Trades) => "futures.trades",
            (Self::Futures, Channel::BookTicker) => "futures.book_ticker",
            (Self::Futures, Channel::Depth) => "futures.order_book_update",
            // Mark price and funding are sent nowhere else.
            (Self::Futures, Channel::Tickers | Channel::MarkPrice) => "futures.tickers",
            (Self::Futures, Channel::Liquidations) => "futures.public_liquidates",
            (Self::Futures, Channel::VenueKlines) => "futures.candlesticks",
            (Self::Spot, Channel::MarkPrice | Channel::Liquidations) => return None,
            (_, Channel::AggTrades | Channel::DepthSnapshot) => return None,
        })
    }

    /// The channel that a WebSocket channel feeds; [`Channel::Tickers`] where it feeds two.
    pub(super) fn channel_named(self, name: &[u8]) -> Option<Channel> {
        let all = [
            Channel::Trades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::Tickers,
            Channel::VenueKlines,
            Channel::Liquidations,
        ];
        all.into_iter().find(|c| self.channel_name(*c).is_some_and(|n| n.as_bytes() == name))
    }
}
