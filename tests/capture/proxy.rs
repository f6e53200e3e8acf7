//! The collector behind a proxy: REST and WebSocket, plain and TLS, addresses and names, against real proxies where
//! they are installed. Whatever is wrong with the proxy, nothing ever goes around it.
//!
//! A few cells of the matrix here; `TAPEDECK_MATRIX=full` (`tests/campaigns/socks5.sh`) runs them all.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use venue_sim::TlsFiles;
use wal_format::Kind as RecordKind;

use crate::support::log::read_all;
use crate::support::proxy::{Kind, NAME, PASSWORD, Proxy, USER};
use crate::support::venue::{Exchange, market, transcript};
use crate::support::{Service, both, recordings, run, wait_until};

const VENUE: &str = "binance-spot";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    V4,
    V6,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    None,
    Right,
    Wrong,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    proxy: Kind,
    auth: Auth,
    place: Place,
    tls: bool,
}

fn exchange(cell: Cell, dir: &Path) -> Option<Exchange> {
    let mut sim = market(VENUE, 2_000, Some(1_000), 11);
    sim.transcript = Some(dir.join("sent"));
    if cell.place == Place::V6 {
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("skipped: {cell:?}: this machine has no ::1");
            return None;
        }
        sim.listen = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    }
    if cell.tls {
        let tls = recordings().join("tls");
        sim.tls = Some(TlsFiles { cert: tls.join("cert.pem"), key: tls.join("key.pem") });
    }
    if cell.place == Place::Name {
        sim.access.hosts = vec![NAME.to_owned()];
    }
    Some(Exchange::start(sim))
}

fn config(cell: Cell, dir: &Path, exchange: &Exchange, proxy_url: &str) -> PathBuf {
    let path = dir.join("tape.toml");
    let place = |url: String| if cell.place == Place::Name { url.replace("127.0.0.1", NAME) } else { url };
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\nretention_hours = 8760\n[log]\nlevel = \"trace\"\n[proxy]\nurl = {proxy_url:?}\n[tls]\nextra_ca_file = {:?}\n[collector]\nlisten = \"127.0.0.1:{}\"\n[venues.{VENUE}]\nsymbols = [\"BTCUSDT\", \"ETHUSDT\", \"币安*\"]\nchannels = [\"trades\", \"agg_trades\", \"book_ticker\", \"depth\", \"depth_snapshot\"]\nconnect_stagger_ms = 0\nrest_url = {:?}\nws_url = {:?}\n",
        dir.join("data").display().to_string(),
        recordings().join("tls/ca.pem").display().to_string(),
        crate::support::free_port(),
        place(exchange.sim.rest_url(VENUE)),
        place(exchange.sim.ws_url(VENUE)),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Payloads that arrived, sorted; the log's other records as one text.
fn logged(dir: &Path) -> (Vec<Vec<u8>>, String) {
    let (records, lost) = read_all(&dir.join("data/wal").join(VENUE));
    assert_eq!(lost, 0);
    let mut frames = Vec::new();
    let mut others = String::new();
    for r in records {
        match r.kind {
            Some(RecordKind::Data) => frames.push(r.payload),
            Some(RecordKind::Rest) => {}
            _ => others.push_str(&String::from_utf8_lossy(&r.payload)),
        }
    }
    frames.sort();
    (frames, others)
}

fn play(cell: Cell) {
    if !cell.proxy.installed() {
        println!("skipped: {cell:?}: not installed");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let proxy = Proxy::start(cell.proxy, cell.auth != Auth::None, dir);
    if cell.place == Place::Name && !proxy.knows_the_name(dir) {
        println!("skipped: {cell:?}: the proxy cannot be given a hosts file of its own (needs the right to mount)");
        return;
    }
    let Some(exchange) = exchange(cell, dir) else { return };
    let credentials = match cell.auth {
        Auth::None => None,
        Auth::Right => Some((USER, PASSWORD)),
        Auth::Wrong => Some((USER, "wrong-pa55word")),
    };
    let config = config(cell, dir, &exchange, &proxy.url(credentials));
    let collector = Service::start("collector", &config, &[("ALL_PROXY", "socks5://127.0.0.1:9")]);
    let address = format!("127.0.0.1:{}", proxy.port);
    if cell.auth == Auth::Wrong {
        wait_until(&format!("{cell:?}: the refusal is told\n"), || collector.said().contains("authentication failed"));
    } else {
        wait_until(&format!("{cell:?}: the market was played"), || exchange.sim.finished());
        wait_until(&format!("{cell:?}: snapshots were fetched"), || {
            exchange.sim.report().venues.get(VENUE).is_some_and(|v| v.rest.requests >= 4)
        });
    }
    let said_file = collector.log.clone();
    collector.stop();
    let said = std::fs::read_to_string(said_file).unwrap();
    let report = exchange.stop();
    let (frames, others) = logged(dir);
    if cell.auth == Auth::Wrong {
        let seen = report.venues.get(VENUE).map_or(0, |v| v.connections.len() as u64 + v.rest.requests);
        assert_eq!(seen, 0, "{cell:?}: something reached the exchange without the proxy");
        assert!(said.contains(&address) && others.contains("authentication failed"), "{cell:?}:\n{said}\n{others}");
        assert!(others.contains("\"kind\":\"proxy\""), "{cell:?}: {others}");
    } else {
        let mut sent: Vec<Vec<u8>> = transcript(&dir.join("sent")).into_iter().map(|(_, p)| p).collect();
        sent.sort();
        assert!(frames.len() >= 1_000, "{cell:?}: {} frames", frames.len());
        assert!(frames == sent, "{cell:?}: the log differs from what was sent");
        assert!(others.contains(&format!("\"proxy\":\"{address}\"")), "{cell:?}: {others}");
    }
    // Also at the finest level of logging.
    for secret in [PASSWORD, &PASSWORD.replace('-', "%2D"), "pa55word"] {
        assert!(!said.contains(secret) && !others.contains(secret), "{cell:?}: the password is shown");
    }
    println!("passed: {cell:?}");
}

fn best() -> Kind {
    if Kind::Microsocks.installed() { Kind::Microsocks } else { Kind::Own }
}

#[test]
fn everything_goes_through_socks5_to_a_name_that_only_the_proxy_resolves() {
    play(Cell { proxy: best(), auth: Auth::Right, place: Place::Name, tls: true });
    play(Cell { proxy: Kind::Own, auth: Auth::None, place: Place::Name, tls: false });
}

#[test]
fn everything_goes_through_socks5_to_addresses_of_both_families() {
    play(Cell { proxy: best(), auth: Auth::None, place: Place::V4, tls: false });
    play(Cell { proxy: best(), auth: Auth::Right, place: Place::V6, tls: true });
}

#[test]
fn everything_goes_through_an_http_connect_proxy() {
    play(Cell { proxy: Kind::Tinyproxy, auth: Auth::Right, place: Place::V4, tls: true });
}

#[test]
fn a_wrong_password_is_told_and_nothing_goes_around_the_proxy() {
    play(Cell { proxy: best(), auth: Auth::Wrong, place: Place::V4, tls: false });
}

#[test]
fn every_cell_of_the_matrix() {
    if std::env::var("TAPEDECK_MATRIX").as_deref() != Ok("full") {
        println!("skipped: TAPEDECK_MATRIX is not full; a few cells are tests of their own");
        return;
    }
    for proxy in [Kind::Microsocks, Kind::Dante, Kind::Tinyproxy, Kind::Own] {
        assert!(proxy.installed(), "the full matrix needs {proxy:?}");
        for auth in [Auth::None, Auth::Right, Auth::Wrong] {
            if proxy == Kind::Dante && auth != Auth::None {
                // Dante knows users of the system only.
                continue;
            }
            for place in [Place::V4, Place::V6, Place::Name] {
                for tls in [false, true] {
                    play(Cell { proxy, auth, place, tls });
                }
            }
        }
    }
}

/// Ports of all outgoing connections in a trace of `connect` calls.
fn connected_ports(trace: &str) -> BTreeSet<u16> {
    trace.lines().filter_map(|l| l.split_once("htons(")?.1.split_once(')')?.0.parse().ok()).collect()
}

#[test]
fn the_only_address_that_the_collector_connects_to_is_the_proxy() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed (Debian package strace)");
        return;
    }
    let cell = Cell { proxy: Kind::Own, auth: Auth::None, place: Place::Name, tls: true };
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let proxy = Proxy::start(cell.proxy, false, dir);
    let exchange = exchange(cell, dir).unwrap();
    let config = config(cell, dir, &exchange, &proxy.url(None));
    let trace = dir.join("trace");
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=connect,sendto", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_tapedeck"))
        .args(["collector", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    wait_until("the market was played", || exchange.sim.finished());
    // Both: a killed strace lets the collector go on.
    rustix::process::kill_process_group(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL)
        .unwrap();
    child.wait().unwrap();
    exchange.stop();
    let ports = connected_ports(&std::fs::read_to_string(trace).unwrap());
    assert_eq!(ports, BTreeSet::from([proxy.port]), "53 would be a name asked for here, any other a bypass");
}

#[test]
fn two_lines_go_through_two_proxies_and_fetch_their_tokens_there() {
    let venue = "kucoin-spot";
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let proxies = [Proxy::start(best(), true, dir), Proxy::start(Kind::Own, false, dir)];
    let mut sim = market(venue, 1_000, None, 12);
    sim.start_when = venue_sim::StartWhen::FirstSubscribe;
    if let venue_sim::Source::Generated(market) = &mut sim.source {
        market.symbols = vec!["BTC-USDT".into()];
        market.channels = vec!["trades".into()];
    }
    let exchange = Exchange::start(sim);
    let path = dir.join("tape.toml");
    std::fs::write(
        &path,
        format!(
            "[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\nretention_hours = 8760\n[collector]\nlisten = \"127.0.0.1:{}\"\n[venues.{venue}]\nsymbols = [\"BTC-USDT\"]\nchannels = [\"trades\"]\nlines = 2\nconnect_stagger_ms = 0\nproxy_url = {:?}\nproxy_url_2 = {:?}\nrest_url = {:?}\n",
            dir.join("data").display().to_string(),
            crate::support::free_port(),
            proxies[0].url(Some((USER, PASSWORD))),
            proxies[1].url(None),
            exchange.sim.rest_url(venue),
        ),
    )
    .unwrap();
    let collector = Service::start("collector", &path, &[]);
    wait_until("both lines deliver", || {
        let report = exchange.sim.report();
        report.venues.get(venue).is_some_and(|v| v.connections.iter().filter(|c| c.frames_sent > 50).count() == 2)
    });
    collector.stop();
    exchange.stop();
    let (records, _) = read_all(&dir.join("data/wal").join(venue));
    let opened: BTreeSet<(u64, String)> = records
        .iter()
        .filter(|r| r.kind == Some(RecordKind::ConnOpen))
        .map(|r| serde_json::from_slice::<serde_json::Value>(&r.payload).unwrap())
        .map(|v| (v["line"].as_u64().unwrap(), v["proxy"].as_str().unwrap().to_owned()))
        .collect();
    let place = |p: &Proxy| format!("127.0.0.1:{}", p.port);
    assert_eq!(opened, BTreeSet::from([(0, place(&proxies[0])), (1, place(&proxies[1]))]));
    // REST goes with the first line. A token must come from the address that its socket comes from: the second
    // proxy carried one of each.
    assert_eq!(proxies[1].served(), Some(2));
}

#[test]
fn config_show_hides_user_and_password_wherever_they_come_from() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("tape.toml");
    std::fs::write(
        &path,
        "[proxy]\nurl = \"socks5://sesame:open@127.0.0.1:1080\"\n[venues.binance-spot]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\nproxy_url = \"http://sesame:open@127.0.0.1:3128\"\nproxy_url_2 = \"socks5://sesame:open@[::1]:1080\"\n",
    )
    .unwrap();
    let path = path.display().to_string();
    for args in [&["config", "show", "--config", &path][..], &["config", "show", "--json", "--config", &path]] {
        let out = run(args);
        let said = both(&out);
        assert!(out.status.success(), "{said}");
        for place in ["socks5://***@127.0.0.1:1080", "http://***@127.0.0.1:3128", "socks5://***@[::1]:1080"] {
            assert!(said.contains(place), "{said}");
        }
        assert!(!said.contains("sesame"), "{said}");
    }
    let out = crate::support::tapedeck()
        .args(["config", "show"])
        .env("TAPEDECK__PROXY__URL", "socks5://sesame:open@127.0.0.1:1080")
        .output()
        .unwrap();
    assert!(both(&out).contains("socks5://***@127.0.0.1:1080") && !both(&out).contains("sesame"), "{}", both(&out));
}
