//! The life of connections against the scripted exchange: ceremonies, refusals, redundancy, replacement, and
//! listings that change while it runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use wal_format::{Kind, flags};

use super::formal::FORMAL;
use super::server::{Act, LISTING, Server};
use super::{Rec, Running, TRADES, data, events, of, read, settings};
use ops::status::ConnState;

pub(super) const NOTICE: &str = r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#;

fn params(request: &str) -> Vec<String> {
    let request: Value = serde_json::from_str(request).unwrap();
    request["params"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

/// Every connection's messages, in whatever order the connections were opened.
fn same(records: &[Rec], server: &Server) -> bool {
    let (mut logged, mut sent) = (data(records), server.sent());
    logged.sort();
    sent.sort();
    logged == sent
}

async fn formal(server: &Server) -> Running {
    // The endpoint is the token's, and the key comes out of an environment variable that every process has.
    let change = |v: &mut capture::VenueConfig| {
        v.ws_url = None;
        v.api_key_env = Some("PATH".into());
    };
    Running::start_with(server, TRADES, change, Some(&FORMAL)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connect_has_a_token_of_its_own_and_nothing_is_asked_before_the_welcome() {
    let server = Server::start(vec![vec![Act::Frames(10), Act::Drop]], vec![]).await;
    server.manners.lock().unwrap().welcome_after = Some(Duration::from_millis(300));
    let running = formal(&server).await;
    running.until("the second connection delivers", |c| c.connects == 2 && c.frames > 40).await;
    let records = running.stop().await;

    assert_eq!(server.manners.lock().unwrap().offences, Vec::<String>::new());
    assert!(same(&records, &server), "the log is what the server sent");
    let seen = server.seen.lock().unwrap();
    for (n, head) in seen.upgrades.iter().enumerate() {
        assert!(head.contains(&format!("token=secret{n}&connectId=tapedeck")), "{head}");
        let key = std::env::var("PATH").unwrap();
        assert!(head.to_lowercase().contains(&format!("x-key: {}", key.to_lowercase())), "{head}");
    }
    assert_ne!(seen.upgrades[0].lines().next(), seen.upgrades[1].lines().next());
    let tokens: Vec<_> = of(&records, Kind::Rest).into_iter().filter_map(|r| r.rest).collect();
    assert_eq!(tokens.iter().filter(|(meta, _)| meta.channel == "token").count(), 2);
    for r in records.iter().filter(|r| r.kind != Kind::Rest) {
        assert!(!String::from_utf8_lossy(&r.payload).contains("secret"), "{:?}", String::from_utf8_lossy(&r.payload));
    }
    assert!(of(&records, Kind::ConnOpen)[0].json()["url"].as_str().unwrap().ends_with("?token=..."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_go_out_at_the_tokens_interval_and_a_missing_pong_ends_the_connection() {
    let server = Server::start(vec![], vec![]).await;
    server.manners.lock().unwrap().welcome_after = Some(Duration::from_millis(10));
    let running = formal(&server).await;
    let seen = server.seen.clone();
    running.until("pings came", |_| seen.lock().unwrap().pings.first().is_some_and(|n| *n >= 5)).await;
    assert_eq!(running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().connects, 1);
    server.manners.lock().unwrap().pongs = false;
    running.until("data alone does not save it", |c| c.stale >= 1).await;
    server.manners.lock().unwrap().pongs = true;
    running.until("another one is opened", |c| c.connects >= 2).await;
    let records = running.stop().await;
    let close = of(&records, Kind::ConnClose)[0].json();
    assert_eq!(close["cause"], "stale");
    assert!(close["error"].as_str().unwrap().contains("ping was not answered"), "{close}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_came_too_early_is_sent_again_later() {
    let server = Server::start(vec![], vec![]).await;
    {
        let mut manners = server.manners.lock().unwrap();
        (manners.throttle, manners.welcome_after) = (2, Some(Duration::from_millis(10)));
    }
    let running = formal(&server).await;
    running.until("data flows", |c| c.frames > 20 && c.throttled == 2).await;
    let records = running.stop().await;
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.requests.len(), 1, "the same connection");
    assert_eq!(seen.requests[0].len(), 3);
    assert!(seen.requests[0].windows(2).all(|w| w[0] == w[1]), "{:?}", seen.requests);
    assert_eq!(of(&records, Kind::Subscribe).len(), 3, "each of them is in the log");
    let waits: Vec<Value> = events(&records, "throttled").iter().map(|e| e["detail"]["wait_ms"].clone()).collect();
    assert_eq!(waits, [1_000, 2_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_asked_about_before_it_ends_a_connection() {
    // Reads and answers pings by itself, and sends nothing of its own for longer than the silence time-out.
    let quiet = vec![Act::Frames(3), Act::PingPong, Act::Quiet(Duration::from_secs(5)), Act::Stream];
    let server = Server::start(vec![quiet], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nsilence_timeout_s = 3\n");
    running.until("data goes on", |c| c.frames > 30).await;
    assert_eq!(running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().connects, 1);
    assert!(server.seen.lock().unwrap().probes[0] >= 1);
    assert!(same(&running.stop().await, &server), "the log is what the server sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_answers_pings_and_delivers_no_more_is_replaced() {
    let zombie = vec![Act::Frames(30), Act::Quiet(Duration::from_secs(600))];
    let server = Server::start(vec![zombie], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nstream_silence_s = 1\n");
    running.until("another connection delivers", |c| c.connects == 2 && c.frames > 600).await;
    let records = running.stop().await;
    assert_eq!(events(&records, "rotate")[0]["detail"]["reason"], "silent");
    assert_eq!(of(&records, Kind::ConnClose)[0].json()["cause"], "rotate", "make before break");
    assert_eq!(server.seen.lock().unwrap().requests[0].len(), 1, "one request for each would only take longer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silence_of_a_stream_without_ids_is_an_interruption_from_its_last_frame_to_its_next_one() {
    let frame = |s: &str| Act::Send(Message::text(format!(r#"{{"stream":"btcusdt@{s}","data":{{}}}}"#)));
    let mut script = Vec::new();
    for _ in 0..20 {
        script.extend([frame("bookTicker"), frame("trade")]);
    }
    script.extend([Act::Quiet(Duration::from_millis(2_500)), frame("bookTicker"), frame("trade")]);
    script.push(Act::Quiet(Duration::from_secs(600)));
    let server = Server::start(vec![script, vec![Act::Quiet(Duration::from_secs(600))]], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\", \"book_ticker\"]\nstream_silence_s = 1\n");
    running.until("all came", |c| c.frames > 42).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let records = running.stop().await;
    let gaps: Vec<Value> = of(&records, Kind::Gap).iter().map(Rec::json).collect();
    assert!(gaps.iter().all(|g| g["reason"] == "silent"), "{gaps:?}");
    assert!(
        gaps.iter().all(|g| g["streams"] == serde_json::json!(["btcusdt@bookTicker"])),
        "of trades ids show it: {gaps:?}"
    );
    let spans: Vec<(u64, u64)> =
        gaps.iter().map(|g| (g["from_ns"].as_u64().unwrap(), g["to_ns"].as_u64().unwrap())).collect();
    assert!(spans.len() >= 2 && spans[0].1 - spans[0].0 > 1_000_000_000, "{spans:?}");
    assert_eq!(spans[0].1, spans[1].0, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fell_silent_is_asked_for_again_and_then_its_connection_is_replaced() {
    let frame = r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade"}}"#;
    let mut one = vec![Act::Send(Message::text(frame)); 20];
    one.push(Act::Stream);
    let server = Server::start(vec![one], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\", \"agg_trades\"]\nstream_silence_s = 1\n");
    let asked = || server.seen.lock().unwrap().requests.first().map_or(0, Vec::len);
    running.until("it is requested again", |_| asked() == 2).await;
    running.until("the connection is replaced", |c| c.rotations == 1 && c.connects == 2).await;
    let records = running.stop().await;
    let seen = server.seen.lock().unwrap();
    assert!(seen.requests[0][1].contains(r#"["btcusdt@aggTrade"]"#), "{}", seen.requests[0][1]);
    assert_eq!(events(&records, "stream_asked_again")[0]["detail"]["streams"][0], "btcusdt@aggTrade");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lines_record_everything_twice_and_a_cut_of_one_of_them_is_no_gap() {
    let dropped = vec![Act::Frames(5), Act::Peers(2), Act::Frames(5), Act::Drop];
    let server = Server::start(vec![dropped], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nlines = 2\n");
    running.until("the dropped line is back", |c| c.connects == 3 && c.disconnects == 1).await;
    running.until("it is subscribed", |_| server.seen.lock().unwrap().requests.iter().all(|r| !r.is_empty())).await;
    let covered = |r: &[Rec]| events(r, "covered").len();
    let before = running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().frames;
    running.until("data goes on", |c| c.frames > before + 50).await;
    let records = running.stop().await;

    assert!(same(&records, &server), "the log is what the server sent");
    let open: Vec<(u32, u64)> =
        of(&records, Kind::ConnOpen).iter().map(|r| (r.conn, r.json()["line"].as_u64().unwrap())).collect();
    assert_eq!(open.len(), 3);
    let lines: Vec<u64> = open.iter().map(|(_, line)| *line).collect();
    assert!(lines.contains(&0) && lines.contains(&1), "{lines:?}");
    for r in of(&records, Kind::Data) {
        let line = open.iter().find(|(conn, _)| *conn == r.conn).unwrap().1;
        assert_eq!(r.flags & flags::SECOND_LINE != 0, line == 1, "conn {}", r.conn);
    }
    assert!(of(&records, Kind::Gap).is_empty(), "the other line covered it");
    assert_eq!(covered(&records), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lines_are_replaced_one_after_the_other() {
    let notified = || vec![Act::Peers(2), Act::Send(Message::text(NOTICE)), Act::Stream];
    let server = Server::start(vec![notified(), notified()], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nlines = 2\n");
    let seen = server.seen.clone();
    running
        .until("both were replaced", |c| {
            c.rotations == 2 && seen.lock().unwrap().closes.iter().filter(|c| c.is_some()).count() == 2
        })
        .await;
    let records = running.stop().await;
    assert!(same(&records, &server), "the log is what the server sent");
    assert!(of(&records, Kind::Gap).is_empty() && events(&records, "covered").is_empty());
    // Between the two decisions the first replacement was opened and subscribed.
    let rotate: Vec<usize> = records
        .iter()
        .enumerate()
        .filter(|(_, r)| r.kind == Kind::Event && r.json()["kind"] == "rotate")
        .map(|(i, _)| i)
        .collect();
    let between = &records[rotate[0]..rotate[1]];
    let line = records[rotate[0]].json()["detail"]["line"].clone();
    assert!(between.iter().any(|r| r.kind == Kind::ConnOpen && r.json()["line"] == line));
    assert!(between.iter().any(|r| r.kind == Kind::Subscribe));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_replaced_before_its_life_ends_and_without_a_gap() {
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start_with(&server, TRADES, |v| v.limits.lifetime_s = 2, None).await;
    running.until("two replacements", |c| c.rotations >= 2 && c.connects >= 3).await;
    let records = running.stop().await;
    assert!(same(&records, &server), "the log is what the server sent");
    assert_eq!(events(&records, "rotate")[0]["detail"]["reason"], "lifetime");
    assert!(of(&records, Kind::Gap).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_never_answered_is_asked_again_and_never_called_subscribed() {
    let server = Server::start(vec![], vec![]).await;
    let trades = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    {
        let mut manners = server.manners.lock().unwrap();
        (manners.listing, manners.deaf_to) = (trades, Some("oldusdt@trade"));
    }
    let extra = "channels = [\"trades\"]\nparams_per_subscribe = 1\n";
    let running = Running::start(&server, extra);
    let seen = server.seen.clone();
    let asked = || seen.lock().unwrap().requests.first().map_or(0, Vec::len);
    running.until("it was requested twice more", |_| asked() >= 4).await;
    let state = || {
        let connection = &running.metrics.status().venues[0].connections[0];
        (connection.state, connection.why.clone().unwrap_or_default(), connection.streams[1].why.clone())
    };
    running.until("that is reported", |_| state().1.contains("did not answer 1")).await;
    let (open, _, stream) = state();
    assert!(open == ConnState::Subscribing && stream.unwrap().contains("for the venue's answer"));
    assert!(running.metrics.problems().iter().any(|p| p.contains("did not answer")), "/health is red");
    assert!(running.metrics.status().venues[0].connections[0].streams[0].why.is_none(), "the other one flows");
    server.manners.lock().unwrap().deaf_to = None;
    running.until("all is subscribed", |_| state().0 == ConnState::Live).await;
    let records = running.stop().await;
    let asked: Vec<Value> = of(&records, Kind::Subscribe).iter().map(|r| r.json()["request"].clone()).collect();
    let of_old = asked.iter().filter(|r| r.as_str().unwrap().contains("oldusdt")).count();
    assert_eq!((asked.len() - of_old, of_old >= 3), (1, true), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_answers_nothing_more_is_replaced_by_one_that_does() {
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start_with(&server, TRADES, |v| v.symbols_refresh_s = 1, None).await;
    running.until("the first stream flows", |c| c.frames > 20).await;
    {
        let mut manners = server.manners.lock().unwrap();
        manners.deaf_on = Some(0);
        manners.listing = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    }
    let seen = server.seen.clone();
    running.until("it is replaced", |_| seen.lock().unwrap().closes.first().is_some_and(Option::is_some)).await;
    let records = running.stop().await;
    assert_eq!(events(&records, "rotate")[0]["detail"]["reason"], "unanswered");
    assert_eq!(params(&seen.lock().unwrap().requests[1][0]), ["btcusdt@trade", "oldusdt@trade"]);
    assert!(of(&records, Kind::Gap).is_empty());
}

/// Both symbols were subscribed and flowed until the connection was dropped; now nobody answers what names the second one.
async fn one_symbol_unanswered_after_a_cut(dir_of_books: &str) -> (Server, Running) {
    let dropped = vec![Act::Quiet(Duration::from_millis(700)), Act::Frames(20), Act::Drop];
    let server = Server::start(vec![dropped], vec![]).await;
    server.manners.lock().unwrap().listing = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    let extra = format!("channels = [\"trades\"{dir_of_books}]\nparams_per_subscribe = 1\n");
    let running = Running::start_with(&server, &extra, |v| v.limits.subscribe_delay_ms = 0, None).await;
    let asked = if dir_of_books.is_empty() { 2 } else { 4 };
    let seen = server.seen.clone();
    running.until("all is subscribed", |_| seen.lock().unwrap().requests.first().map_or(0, Vec::len) == asked).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.manners.lock().unwrap().deaf_to = Some("oldusdt@");
    running.until("it is connected again", |c| c.connects == 2).await;
    (server, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_after_a_cut_ends_its_gap_and_gets_its_book_while_the_rest_goes_on() {
    let (server, running) = one_symbol_unanswered_after_a_cut(", \"depth\", \"depth_snapshot\"").await;
    let books = |symbol: &str| {
        let seen = server.seen.lock().unwrap();
        seen.rest.iter().filter(|path| path.contains("depth") && path.contains(symbol)).count()
    };
    running.until("the book of what is answered is requested", |_| books("BTCUSDT") == 2).await;
    assert_eq!(books("OLDUSDT"), 1, "of what is not subscribed none is requested");
    let log = running.dir.path().join("wal/binance-spot");
    let gaps = |records: &[Rec]| of(records, Kind::Gap).iter().map(Rec::json).collect::<Vec<Value>>();
    let first = gaps(&read(&log));
    assert_eq!(first.len(), 1, "{first:?}");
    server.manners.lock().unwrap().deaf_to = None;
    running.until("and then that of the rest", |_| books("OLDUSDT") == 2).await;
    let is_live = || running.metrics.status().venues[0].connections[0].state == ConnState::Live;
    running.until("all is subscribed again", |_| is_live()).await;
    let before = running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().frames;
    running.until("and flows", |c| c.frames > before + 20).await;
    let records = running.stop().await;

    let all = gaps(&records);
    let streams = |gaps: &[Value]| {
        let names = gaps.iter().flat_map(|gap| gap["streams"].as_array().unwrap());
        let mut names: Vec<String> = names.map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(all[0], first[0]);
    assert_eq!(streams(&all[..1]), r#""btcusdt@depth@100ms" "btcusdt@trade""#);
    assert_eq!(streams(&all[1..]), r#""oldusdt@depth@100ms" "oldusdt@trade""#, "each once, as it is answered");
    for rest in &all[1..] {
        assert_eq!((&all[0]["from_ns"], &all[0]["reason"]), (&rest["from_ns"], &rest["reason"]), "one interruption");
        assert!(all[0]["to_ns"].as_u64() < rest["to_ns"].as_u64(), "{all:?}");
    }
    let frame = |r: &Rec| r.kind == Kind::Data && r.payload.starts_with(br#"{"stream":"oldusdt"#);
    let (last, end) = (records.iter().rposition(frame), records.iter().rposition(|r| r.kind == Kind::Gap));
    assert!(end < last, "the rest flows again after the end of its gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_a_connection_never_ended_is_ended_by_the_one_that_replaces_it() {
    let (server, running) = one_symbol_unanswered_after_a_cut("").await;
    let seen = server.seen.clone();
    running.until("it is to be replaced", |c| c.rotations == 1).await;
    server.manners.lock().unwrap().deaf_to = None;
    running.until("it is", |_| seen.lock().unwrap().closes.iter().any(Option::is_some)).await;
    let records = running.stop().await;
    assert_eq!(events(&records, "rotate")[0]["detail"]["reason"], "unanswered");
    let gaps: Vec<Value> = of(&records, Kind::Gap).iter().map(Rec::json).collect();
    let streams: Vec<String> = gaps.iter().map(|gap| gap["streams"].to_string()).collect();
    assert_eq!(streams, [r#"["btcusdt@trade"]"#, r#"["oldusdt@trade"]"#]);
    assert_eq!(gaps[0]["from_ns"], gaps[1]["from_ns"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_stays_until_the_new_one_has_answered_and_delivered() {
    let notified = vec![Act::Frames(5), Act::Send(Message::text(NOTICE)), Act::Stream];
    // Answered at once, and then nothing for a while.
    let server =
        Server::start(vec![notified, vec![Act::Quiet(Duration::from_millis(1_200)), Act::Stream]], vec![]).await;
    let running = Running::start(&server, TRADES);
    let seen = server.seen.clone();
    running
        .until("the new one is asked", |_| seen.lock().unwrap().requests.get(1).is_some_and(|r| !r.is_empty()))
        .await;
    running.until("the old one is closed", |_| seen.lock().unwrap().closes.first().is_some_and(Option::is_some)).await;
    let records = running.stop().await;
    assert!(same(&records, &server), "the log is what the server sent");
    let data_of =
        |conn: u32| move |r: &Rec| r.kind == Kind::Data && r.conn == conn && r.payload.starts_with(b"{\"stream\"");
    let open: Vec<u32> = of(&records, Kind::ConnOpen).iter().map(|r| r.conn).collect();
    let first = records.iter().position(data_of(open[1])).unwrap();
    let last = records.iter().rposition(data_of(open[0])).unwrap();
    assert!(first < last, "both delivered before the old one was closed");
    assert!(of(&records, Kind::Gap).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_that_answers_and_does_not_deliver_never_takes_over() {
    let notified = vec![Act::Frames(5), Act::Send(Message::text(NOTICE)), Act::Stream];
    let server = Server::start(vec![notified, vec![Act::Quiet(Duration::from_secs(60))]], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nstream_silence_s = 1\n");
    let seen = server.seen.clone();
    running.until("a third one took over", |_| seen.lock().unwrap().closes.first().is_some_and(Option::is_some)).await;
    let records = running.stop().await;
    let closes: Vec<Value> = of(&records, Kind::ConnClose).iter().map(Rec::json).collect();
    let unfit = closes.iter().find(|c| c["cause"] == "stale").unwrap();
    assert!(unfit["error"].as_str().unwrap().contains("are silent on it: btcusdt@trade"), "{unfit}");
    assert_eq!((of(&records, Kind::ConnOpen).len(), events(&records, "rotate").len()), (3, 1));
    assert!(of(&records, Kind::Gap).is_empty());
    assert_eq!(seen.lock().unwrap().closes[0], Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_notice_that_comes_while_the_new_connection_waits_is_followed_when_it_counts() {
    let notified = || vec![Act::Send(Message::text(NOTICE)), Act::Quiet(Duration::from_millis(300)), Act::Stream];
    let server = Server::start(vec![notified(), notified()], vec![]).await;
    let running = Running::start(&server, TRADES);
    running.until("both were replaced", |c| c.rotations == 2 && c.connects == 3).await;
    let seen = server.seen.clone();
    running
        .until("the second one is closed", |_| seen.lock().unwrap().closes.get(1).is_some_and(Option::is_some))
        .await;
    assert!(of(&running.stop().await, Kind::Gap).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_that_a_token_names_is_tried() {
    let server = Server::start(vec![], vec![]).await;
    let dead = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("ws://{}", free.local_addr().unwrap())
    };
    {
        let mut manners = server.manners.lock().unwrap();
        (manners.welcome_after, manners.servers) = (Some(Duration::from_millis(10)), vec![dead.clone(), dead.clone()]);
    }
    let running = formal(&server).await;
    running.until("data flows", |c| c.frames > 20).await;
    let tokens = server.seen.lock().unwrap().rest.iter().filter(|p| p.contains("token")).count();
    assert_eq!(tokens, 1, "one token is enough");
    let records = running.stop().await;
    let failed = events(&records, "server_failed");
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|e| e["detail"]["url"].as_str().unwrap().starts_with(&dead)), "{failed:?}");
    assert!(!format!("{failed:?}").contains("secret"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_token_that_does_not_welcome_gives_way_to_the_next_one() {
    let mute = Server::start(vec![vec![Act::Silent]], vec![]).await;
    mute.manners.lock().unwrap().welcome_after = Some(Duration::from_secs(3_600));
    let server = Server::start(vec![], vec![]).await;
    {
        let mut manners = server.manners.lock().unwrap();
        manners.welcome_after = Some(Duration::from_millis(10));
        manners.servers = vec![format!("ws://{}", mute.address)];
    }
    let running = formal(&server).await;
    running.until("data flows", |c| c.frames > 20).await;
    assert_eq!(mute.seen.lock().unwrap().upgrades.len(), 1);
    let close = of(&running.stop().await, Kind::ConnClose)[0].json();
    assert!(close["error"].as_str().unwrap().contains("did not welcome"), "{close}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_that_punishes_again_is_left_alone_for_a_while() {
    let punish = || vec![Act::Frames(5), Act::Close(1008, "Too many requests")];
    let server = Server::start(vec![punish(), punish()], vec![]).await;
    let running = Running::start(&server, TRADES);
    running.until("it was punished twice", |c| c.disconnects == 2).await;
    let why = || running.metrics.problems().join("\n");
    for _ in 0..1_000 {
        if why().contains("waits") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let said = why();
    let seconds: u64 = said.split("waits ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(seconds > 20 && said.contains("1008"), "{said}");
    let records = running.stop().await;
    assert_eq!(of(&records, Kind::ConnOpen).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_that_come_and_go_are_subscribed_and_left_out_without_a_restart() {
    let server = Server::start(vec![], vec![]).await;
    // OLDUSDT is written out in the configuration and does not trade at the start.
    let trades = LISTING.replace(r#""symbol":"OLDUSDT","status":"BREAK""#, r#""symbol":"OLDUSDT","status":"TRADING""#);
    let running = Running::start_with(&server, TRADES, |v| v.symbols_refresh_s = 1, None).await;
    running.until("the first listing is recorded", |c| c.frames > 20).await;

    server.manners.lock().unwrap().listing = trades.clone();
    let seen = server.seen.clone();
    let requests = |conn: usize| seen.lock().unwrap().requests.get(conn).cloned().unwrap_or_default();
    running.until("the new one is requested", |_| requests(0).len() == 2).await;
    assert_eq!(params(&requests(0)[1]), ["oldusdt@trade"]);
    let flows = || {
        let status = running.metrics.status();
        let streams = &status.venues[0].connections[0].streams;
        streams.iter().any(|s| s.stream == "oldusdt@trade" && s.frames > 0 && s.why.is_none())
    };
    running.until("it flows", |_| flows()).await;

    server.manners.lock().unwrap().listing = LISTING.to_owned();
    let before = running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().rest_ok;
    running.until("it was delisted", |c| c.rest_ok >= before + 2).await;
    assert_eq!(requests(0).len(), 2, "it stays where it is");
    assert!(flows());
    server.manners.lock().unwrap().listing = trades;
    running.until("it is listed again", |_| requests(0).len() == 3).await;
    assert_eq!(params(&requests(0)[2]), ["oldusdt@trade"]);
    let records = running.stop().await;

    assert!(same(&records, &server), "the log is what the server sent");
    assert_eq!(of(&records, Kind::ConnOpen).len(), 1, "all on one connection");
    let symbols = |kind: &str| events(&records, kind).iter().map(|e| e["detail"]["symbol"].clone()).collect::<Vec<_>>();
    assert_eq!(symbols("symbol_added"), ["OLDUSDT", "OLDUSDT"]);
    assert_eq!(symbols("symbol_removed"), ["OLDUSDT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delisted_symbol_is_not_subscribed_by_the_next_connection_and_a_full_one_gets_a_neighbour() {
    let notice = vec![Act::Wait(Duration::from_secs(4)), Act::Send(Message::text(NOTICE)), Act::Stream];
    let server = Server::start(vec![notice], vec![]).await;
    let trades = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    server.manners.lock().unwrap().listing = trades.clone();
    let extra = "channels = [\"trades\"]\nstreams_per_connection = 2\nconnects_per_5_min = 50\n";
    let running = Running::start_with(&server, extra, |v| v.symbols_refresh_s = 1, None).await;
    running.until("both are recorded", |c| c.rest_ok >= 1 && c.connects == 1).await;
    server.manners.lock().unwrap().listing = LISTING.to_owned();
    let seen = Arc::clone(&server.seen);
    running
        .until("the replacement is subscribed", |_| seen.lock().unwrap().requests.get(1).is_some_and(|r| !r.is_empty()))
        .await;
    {
        let seen = seen.lock().unwrap();
        assert_eq!(params(&seen.requests[0][0]), ["btcusdt@trade", "oldusdt@trade"]);
        assert_eq!(params(&seen.requests[1][0]), ["btcusdt@trade"]);
    }
    running.until("the old one is closed", |_| seen.lock().unwrap().closes.first().is_some_and(Option::is_some)).await;
    // Room for one of the two that come now.
    let more = trades.replace("OLDUSDT", "BTCONE");
    let third = more.replace("]}]}", "]},{\"symbol\":\"BTCTWO\",\"status\":\"TRADING\",\"baseAsset\":\"B\",\"baseAssetPrecision\":8,\"quoteAsset\":\"U\",\"quotePrecision\":8,\"quoteAssetPrecision\":8,\"isSpotTradingAllowed\":true,\"permissions\":[],\"permissionSets\":[],\"filters\":[]}]}");
    server.manners.lock().unwrap().listing = third;
    running.until("a third connection", |_| seen.lock().unwrap().requests.get(2).is_some_and(|r| !r.is_empty())).await;
    running.until("the second one has another stream", |_| seen.lock().unwrap().requests[1].len() == 2).await;
    let records = running.stop().await;
    let seen = seen.lock().unwrap();
    assert_eq!(params(&seen.requests[1][1]), ["btcone@trade"]);
    assert_eq!(params(&seen.requests[2][0]), ["btctwo@trade"]);
    assert!(of(&records, Kind::Gap).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_for_an_order_book_is_taken_and_fetched() {
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\", \"depth\", \"depth_snapshot\"]\n");
    running.until("the book after the connect", |c| c.rest_ok == 2).await;
    let request = running.dir.path().join("wal/binance-spot/requests/snapshot-BTCUSDT");
    std::fs::create_dir_all(request.parent().unwrap()).unwrap();
    std::fs::write(&request, "").unwrap();
    running.until("the book that was wished for", |c| c.rest_ok == 3).await;
    assert!(!request.exists());
    let records = running.stop().await;
    let books = of(&records, Kind::Rest).into_iter().filter_map(|r| r.rest).filter(|(m, _)| m.channel != "symbols");
    assert_eq!(books.map(|(m, _)| m.symbol.unwrap()).collect::<Vec<_>>(), ["BTCUSDT", "BTCUSDT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collector_reports_its_streams_over_http_also_when_its_port_is_taken() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(vec![], vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let cfg = Running::config(dir.path(), &server, TRADES);
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = crate::Settings { listen: taken.local_addr().unwrap(), ..settings() };
    let root = cfg.wal_root();
    let shutdown = super::Shutdown::new();
    let task = tokio::spawn(crate::run(
        Arc::new(cfg),
        settings,
        shutdown.clone(),
        ops::memory::Pressure::default(),
        None,
        ops::supervise::Supervisor::default(),
    ));
    let mut flows = None;
    for _ in 0..3_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Some(address) = ops::status::address(&root, super::VenueId::BinanceSpot) else { continue };
        assert_ne!(address, taken.local_addr().unwrap());
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"GET /v1/status HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let status: crate::status::Status = serde_json::from_str(body).unwrap();
        let streams = status.venues.into_iter().flat_map(|v| v.connections).flat_map(|c| c.streams);
        flows = streams.into_iter().find(|s| s.why.is_none());
        if flows.is_some() {
            break;
        }
    }
    let stream = flows.unwrap();
    assert_eq!(stream.stream, "btcusdt@trade");
    assert!(stream.age_ms.is_some() && stream.frames > 0);
    // A page that the operator looks at gets nothing, under whatever name it asks.
    let address = ops::status::address(&root, super::VenueId::BinanceSpot).unwrap();
    for (path, headers, status) in [
        ("/v1/status", "host: localhost\r\n", "200"),
        ("/v1/status", "host: evil.example:8081\r\n", "421"),
        ("/metrics", "host: evil.example\r\norigin: http://evil.example\r\n", "421"),
        ("/health", "host: localhost\r\norigin: http://evil.example\r\n", "403"),
        ("/", "host: localhost\r\nhost: localhost\r\n", "400"),
    ] {
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert_eq!(&answer[9..12], status, "{path} {headers}");
    }
    shutdown.trigger();
    task.await.unwrap().unwrap();
    assert_eq!(ops::status::address(&root, super::VenueId::BinanceSpot), None, "nobody answers there any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_that_ends_before_its_replacement_is_open_is_one_gap_and_one_close() {
    let server = Server::start(
        vec![vec![Act::Frames(10), Act::Send(Message::text(NOTICE)), Act::Wait(Duration::from_millis(500)), Act::Drop]],
        vec![],
    )
    .await;
    // The replacement has to wait for its turn, so that the old one ends first.
    let running = Running::start_with(&server, TRADES, |v| v.limits.connect_stagger_ms = 1_500, None).await;
    running.until("the replacement delivers", |c| c.connects == 2 && c.frames > 40).await;
    let records = running.stop().await;
    assert!(same(&records, &server), "the log is what the server sent");
    let causes: Vec<Value> = of(&records, Kind::ConnClose).iter().map(|r| r.json()["cause"].clone()).collect();
    assert_eq!(causes, ["lost", "shutdown"]);
    let gaps = of(&records, Kind::Gap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].json()["reason"], "lost");
    assert_eq!(events(&records, "rotate").len(), 1);
}
