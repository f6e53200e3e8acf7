//! Whatever the other side does, the collector ends when it is asked to; and whatever it says, it is asked again.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::server::{Act, Server};
use super::{Rec, Running, TRADES, of};
use wal_format::Kind;

/// The whole log; fails when the collector does not end. The limit is only there to end a broken test.
async fn ends(running: Running) -> Vec<Rec> {
    tokio::time::timeout(Duration::from_secs(60), running.stop()).await.expect("the collector ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_does_not_put_off_the_end() {
    let ping = Message::Ping(vec![b'p'; 125].into());
    let server = Server::start(vec![vec![Act::Frames(5), Act::Flood(ping)]], vec![]).await;
    let running = Running::start(&server, TRADES);
    running.until("data came", |c| c.frames >= 5).await;
    let records = ends(running).await;
    assert_eq!(of(&records, Kind::ConnClose)[0].json()["cause"], "shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_never_ends_does_not_put_off_silence_and_the_end() {
    // The first piece of a text, then empty pieces for ever: nothing that could be recorded, and never nothing.
    let begin = Message::Frame(Frame::message("{", OpCode::Data(Data::Text), false));
    let piece = Message::Frame(Frame::message("", OpCode::Data(Data::Continue), false));
    let endless = vec![Act::Frames(5), Act::Send(begin), Act::Flood(piece)];
    let server = Server::start(vec![endless.clone(), endless], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nsilence_timeout_s = 1\n");
    running.until("the silence ended the first connection", |c| c.stale >= 1).await;
    let records = ends(running).await;
    assert_eq!(of(&records, Kind::ConnClose)[0].json()["cause"], "stale");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_for_ever_is_an_hour_and_does_not_put_off_the_end() {
    let for_ever = "429 Too Many Requests\r\nRetry-After: 18446744073709551615";
    let server = Server::start(vec![], vec![for_ever]).await;
    let running = Running::start(&server, "channels = [\"trades\", \"depth\", \"depth_snapshot\"]\n");
    running.until("the snapshot was refused, and data flows", |c| c.rest_errors >= 1 && c.frames > 20).await;
    assert_eq!(running.metrics.problems(), Vec::<String>::new(), "no task panicked");
    ends(running).await;
}
