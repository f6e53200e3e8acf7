//! SIGTERM is answered whatever the other side does: floods, or says nothing at all.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::support::venue::{Exchange, market, write_config_for};
use crate::support::{Service, http, wait_until};

const VENUE: &str = "binance-spot";

fn config(root: &Path, exchange: &Exchange, ws_url: &str, extra: &str) -> PathBuf {
    let keys = format!("connect_stagger_ms = 0\n{extra}");
    let config = write_config_for(root, exchange, VENUE, &["BTCUSDT"], &["trades"], &keys);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("ws_url = {:?}", exchange.sim.ws_url(VENUE)), &format!("ws_url = {ws_url:?}"));
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn a_collector_flooded_with_pings_ends_when_it_is_asked_to() {
    let root = tempfile::tempdir().unwrap();
    let exchange = Exchange::start(market(VENUE, 100, None, 3));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn({
        let sent = Arc::clone(&sent);
        async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let sent = Arc::clone(&sent);
                tokio::spawn(async move {
                    let Ok(mut ws) = tokio_tungstenite::accept_async(tcp).await else { return };
                    // Reads nothing: neither pongs nor a close.
                    while ws.feed(Message::Ping(vec![b'p'; 125].into())).await.is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    });
    let collector = Service::start("collector", &config(root.path(), &exchange, &url, ""), &[]);
    wait_until("the flood runs", || sent.load(Ordering::Relaxed) > 20_000);
    collector.stop();
}

#[test]
fn services_end_when_they_are_asked_to_behind_a_proxy_and_a_client_that_say_nothing() {
    let root = tempfile::tempdir().unwrap();
    let exchange = Exchange::start(market(VENUE, 100, None, 3));
    // Accepts by its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("proxy_url = \"socks5://{}\"\n", silent.local_addr().unwrap());
    let config = config(root.path(), &exchange, &exchange.sim.ws_url(VENUE), &proxy);
    let collector = Service::start("collector", &config, &[]);
    let file = root.path().join("data/wal").join(format!("{VENUE}.http"));
    let address = || std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    wait_until("the collector answers", || http::get(&address(), "/health").is_some());
    let compactor = Service::start("compactor", &config, &[]);
    wait_until("the compactor answers", || http::get(&http::api(&config), "/health").is_some());
    // Requests that never end.
    let half = |address: String| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: x\r\n").unwrap();
        stream
    };
    let clients = [half(address()), half(http::api(&config))];
    collector.stop();
    compactor.stop();
    drop((clients, silent));
}
