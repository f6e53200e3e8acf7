//! Candles, as KuCoin computes them: their odd order, and the intervals in words of the `venue_klines` table.

use super::super::message::{MessageName, Result};
use super::field::{Context, intern, opt_time, time};
use super::market::Market;

use model::row::{Candle, VenueKline};

/// `{"symbol":"BTC-USDT","candles":["1619378280","open","close","high","low","volume","turnover"],"time":ns}`:
/// open, CLOSE, high, low. No flag marks the last message of a candle. On futures the seventh element counts lots;
/// the sixth is documented as wrong: it repeated the lots, and has been the turnover since.
pub(super) fn candle(cx: &mut Context<'_, '_>, topic: &str, data: &str) -> Result<()> {
    const OF: MessageName = MessageName("candles");
    let [named, candles, at] = cx.fields(OF.0, data, &["symbol", "candles", "time"])?;
    let Some(candles) = candles else {
        return OF.wrong("candles");
    };
    let Some((symbol, word)) = topic.rsplit_once('_') else {
        return OF.wrong("interval of the topic");
    };
    let Some((interval, seconds)) = interval(word) else {
        return OF.wrong("interval of the topic");
    };
    let [start, open, close, high, low, sixth, seventh] = OF.elements("candles", candles)?;
    let open_time_us = time(OF, "candles.0", start)?;
    let (volume, quote_volume) = match cx.market {
        Market::Spot => (OF.num("candles.5", sixth)?, OF.opt_num("candles.6", seventh)?),
        Market::Futures => {
            let (lots, turnover) = (OF.num("candles.6", seventh)?, OF.opt_num("candles.5", sixth)?);
            (lots, turnover.filter(|t| t.normalized() != lots.normalized()))
        }
    };
    let prices = [
        OF.num("candles.1", open)?,
        OF.num("candles.3", high)?,
        OF.num("candles.4", low)?,
        OF.num("candles.2", close)?,
    ];
    let row = VenueKline {
        symbol: intern(cx, OF, named, symbol)?,
        ts_event_us: opt_time(OF, "time", at)?,
        interval: cx.rows.symbols.intern(interval),
        // The last ms of the candle.
        close_time_us: open_time_us.saturating_add(seconds * 1_000_000 - 1000),
        candle: Candle::of(open_time_us, prices, Some(volume), quote_volume),
        first_trade_id: None,
        last_trade_id: None,
        is_final: false,
    };
    cx.rows.venue_klines.push(row);
    Ok(())
}

/// KuCoin's interval in the words of the `venue_klines` table, with its length in seconds.
fn interval(word: &str) -> Option<(&'static str, i64)> {
    Some(match word {
        "1min" => ("1m", 60),
        "3min" => ("3m", 180),
        "5min" => ("5m", 300),
        "15min" => ("15m", 900),
        "30min" => ("30m", 1800),
        "1hour" => ("1h", 3600),
        "2hour" => ("2h", 7200),
        "4hour" => ("4h", 14_400),
        "6hour" => ("6h", 21_600),
        "8hour" => ("8h", 28_800),
        "12hour" => ("12h", 43_200),
        "1day" => ("1d", 86_400),
        "1week" => ("1w", 604_800),
        _ => return None,
    })
}
