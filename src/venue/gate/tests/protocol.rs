//! Control frames, and whose stream a data frame is.

use super::*;

#[test]
fn control_frames_are_distinguished_from_data() {
    let ack = |id| Some(Control::Ack { id });
    let refused = |id, code, msg: &str, throttled| Some(Control::Error { id, code, msg: msg.to_owned(), throttled });
    let table: [(&str, Option<Control>); 18] = [
        (
            r#"{"time":1,"id":7,"channel":"spot.trades","event":"subscribe","payload":["A_B"],"error":null,"result":{"status":"success"}}"#,
            ack(Some(7)),
        ),
        (r#"{"time":1,"channel":"spot.trades","event":"subscribe","result":{"status":"success"}}"#, ack(None)),
        (r#"{"time":1,"id":8,"channel":"futures.trades","event":"subscribe","error":null}"#, ack(Some(8))),
        (
            r#"{"result":null,"error":{"message":"unknown currency pair X","code":2},"event":"subscribe","channel":"spot.trades","id":9}"#,
            refused(Some(9), 2, "unknown currency pair X", false),
        ),
        (
            r#"{"time":1,"channel":"","event":"","error":{"code":1,"message":"invalid json"},"result":null}"#,
            refused(None, 1, "invalid json", false),
        ),
        (
            r#"{"time":1,"id":3,"channel":"spot.trades","event":"subscribe","error":{"code":3,"message":"Too Many Requests"},"result":null}"#,
            refused(Some(3), 3, "Too Many Requests", true),
        ),
        (
            r#"{"id":3,"channel":"spot.trades","event":"subscribe","error":{"label":"TOO_MANY_REQUESTS"}}"#,
            refused(Some(3), 0, "TOO_MANY_REQUESTS", true),
        ),
        (
            r#"{"id":3,"channel":"spot.trades","event":"subscribe","error":{"code":429,"message":"slow down"}}"#,
            refused(Some(3), 429, "slow down", true),
        ),
        (
            r#"{"id":3,"channel":"spot.trades","event":"update","error":"gone","result":null}"#,
            refused(Some(3), 0, "gone", false),
        ),
        (r#"{"time":1,"channel":"spot.pong","event":"","error":null,"result":null}"#, Some(Control::Pong)),
        (r#"{"time":1,"channel":"futures.pong","event":""}"#, Some(Control::Pong)),
        (
            r#"{"time":1,"channel":"spot.system","event":"update","result":{"type":"upgrade","msg":"soon"}}"#,
            Some(Control::ServerShutdown),
        ),
        (
            r#"{"time":1,"channel":"futures.system","event":"update","result":{"msg":"soon","type":"upgrade"}}"#,
            Some(Control::ServerShutdown),
        ),
        (
            r#"{"time":1,"channel":"spot.system","event":"update","result":{"type":"outdated_sbe_schema_id","msg":""}}"#,
            Some(Control::Other),
        ),
        (r#"{"time":1,"channel":"spot.trades","event":"unsubscribe","result":{"status":"success"}}"#, ack(None)),
        (
            r#"{"time":1,"id":9,"channel":"spot.trades","event":"unsubscribe","error":null,"result":{"status":"success"}}"#,
            Some(Control::Ack { id: Some(9) }),
        ),
        (r#"{"time":1,"channel":"spot.trades","event":"update","result":{"currency_pair":"A_B"}}"#, None),
        ("not json", None),
    ];
    for (frame, expected) in table {
        let market = if frame.contains("futures.") { Market::Futures } else { Market::Spot };
        assert_eq!(of(market).frames.control(frame.as_bytes()), expected, "{frame}");
        let decoded = of(market).frames.decode(&text(frame.as_bytes()), &mut Rows::new());
        assert_eq!(decoded == Ok(Decoded::Control), expected.is_some(), "{frame}");
    }
}

#[test]
fn an_answer_without_an_id_can_only_be_about_the_channel_event_and_payload_it_names() {
    let asked = r#"{"time":1,"id":1,"channel":"spot.trades","event":"subscribe","payload":["A_B","C_B"]}"#;
    let may = |answer: &str| of(Market::Spot).streams.may_answer(answer.as_bytes(), asked);
    for yes in [
        r#"{"time":9,"channel":"spot.trades","event":"subscribe","error":null}"#,
        r#"{"channel":"spot.trades","event":"subscribe","payload":[ "A_B", "C_B" ],"error":{"code":2}}"#,
        r#"{"channel":"","event":"","payload":null,"error":{"code":1}}"#,
        "not json",
    ] {
        assert!(may(yes), "{yes}");
    }
    for no in [
        r#"{"channel":"spot.tickers","event":"subscribe"}"#,
        r#"{"channel":"spot.trades","event":"unsubscribe"}"#,
        r#"{"channel":"spot.trades","event":"subscribe","payload":["A_B"]}"#,
    ] {
        assert!(!may(no), "{no}");
    }
}

/// Channel and symbol of a frame, as text.
fn stream(frame: &str) -> Option<(String, String)> {
    let key = of(Market::Spot).frames.stream_of(frame.as_bytes(), false)?;
    let text = |b: &[u8]| std::str::from_utf8(b).unwrap().to_owned();
    Some((text(key.channel), text(key.symbol)))
}

#[test]
fn the_stream_of_a_frame_is_found_without_parsing() {
    let found = |channel: &str, symbol: &str| Some((channel.to_owned(), symbol.to_owned()));
    for (frame, expected) in [
        // The symbol stands after the levels, whose sizes are called `s` too.
        (
            r#"{"channel":"futures.order_book_update","event":"update","result":{"U":1,"a":[{"p":"0.2","s":"3"},{"p":"1","s":"2"}],"b":[],"s":"RDNT_USDT","t":1}}"#,
            found("futures.order_book_update", "RDNT_USDT"),
        ),
        (
            r#"{"channel":"spot.order_book_update","event":"update","result":{"t":1,"b":[["1","2"],["3","4"]],"a":[],"s":"A_B"}}"#,
            found("spot.order_book_update", "A_B"),
        ),
        (
            r#"{ "result" : [ { "size" : 1 , "contract" : "龙虾_USDT" } ] , "event" : "update" , "channel" : "futures.trades" }"#,
            found("futures.trades", "龙虾_USDT"),
        ),
        (
            r#"{"channel":"futures.tickers","event":"update","result":[[{"last":"1","contract":"A_B"}]]}"#,
            found("futures.tickers", "A_B"),
        ),
        (
            r#"{"channel":"spot.candlesticks","event":"update","result":{"t":"1","n":"1m_A_B"}}"#,
            found("spot.candlesticks", "A_B"),
        ),
        (
            r#"{"channel":"futures.order_book","event":"all","result":{"contract":"A_B"}}"#,
            found("futures.order_book", "A_B"),
        ),
        (
            r#"{"error":null,"channel":"spot.trades","event":"update","result":{"note":"}\"]","currency_pair":"A_B"}}"#,
            found("spot.trades", "A_B"),
        ),
        (r#"{"channel":"spot.trades","event":"subscribe","result":{"currency_pair":"A_B"}}"#, None),
        (r#"{"channel":"spot.trades","event":"update","error":{"code":1},"result":{"currency_pair":"A_B"}}"#, None),
        (r#"{"channel":"spot.trades","event":"update","result":{"currency_pair":""}}"#, None),
        (r#"{"channel":"spot.trades","event":"update","result":{"currency_pair":"A\u005fB"}}"#, None),
        (r#"{"channel":"futures.trades","event":"update","result":[]}"#, None),
        (r#"{"channel":"spot.pong","event":"","result":null}"#, None),
        (r#"{"channel":"spot.trades","event":"upd"#, None),
        ("", None),
    ] {
        assert_eq!(stream(frame), expected, "{frame}");
    }
}

#[test]
fn recorded_frames_carry_the_key_of_the_stream_that_was_subscribed() {
    for market in MARKETS {
        let mut wants = Vec::new();
        for message in sent(market) {
            let message: serde_json::Value = serde_json::from_str(&message).unwrap();
            let words = message["payload"].as_array().unwrap().iter().map(|w| w.as_str().unwrap());
            for symbol in words.filter(|w| w.contains('_')) {
                wants.push(format!("{} {symbol}", message["channel"].as_str().unwrap()));
            }
        }
        let keys: Vec<_> = wants.iter().map(|w| of(market).streams.stream_key(w)).collect();
        let mut known = 0;
        for frame in recorded(market) {
            let key = of(market).frames.stream_of(frame.as_bytes(), false);
            let data = frame.contains(r#""event":"update""#);
            assert_eq!(key.is_some(), data, "{frame}");
            if let Some(key) = key {
                assert!(keys.iter().any(|(c, s)| (c.as_slice(), s.as_slice()) == (key.channel, key.symbol)));
                assert!(of(market).frames.channel_of(key).is_some());
                known += 1;
            }
        }
        assert!(known > 100);
    }
}

#[test]
fn every_channel_of_a_market_has_its_word() {
    for market in MARKETS {
        for channel in of(market).spec.channels {
            let Some(name) = market.channel_name(*channel) else {
                assert_eq!(*channel, Channel::DepthSnapshot);
                continue;
            };
            let (channel_key, symbol) = of(market).streams.stream_key(&format!("{name} A_B"));
            assert_eq!(symbol, b"A_B");
            let key = super::super::super::StreamKey { channel: &channel_key, symbol: &symbol };
            let expected = if *channel == Channel::MarkPrice { Channel::Tickers } else { *channel };
            assert_eq!(of(market).frames.channel_of(key), Some(expected));
        }
        let other = super::super::super::StreamKey::name(b"spot.unheard");
        assert_eq!(of(market).frames.channel_of(other), None);
    }
}
