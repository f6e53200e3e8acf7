//! Against moto, an S3-compatible server of others (PyPI `moto[server]`), where it is installed: listing with markers
//! and tokens over more than one page, ranges, tags.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::history::Mirror;
use crate::support::s3::{noise, sha256};
use crate::support::{free_port, recordings, wait_until};

const BUCKET: &str = "data.binance.vision";

struct Moto {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Moto {
    fn start() -> Option<Moto> {
        let program = std::env::var("TAPEDECK_MOTO").unwrap_or_else(|_| "moto_server".to_owned());
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(log).spawn().ok()?;
        wait_until("moto listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Moto { child, port, dir })
    }

    fn put(&self, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(stream, "PUT /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nx-amz-acl: public-read\r\nconnection: close\r\n\r\n")
            .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }

    /// How often the server was asked so.
    fn asked(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|l| l.contains("GET") && l.contains(what)).count()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_s3_server_of_others_is_mirrored_in_both_versions_of_listing() {
    let Some(moto) = Moto::start() else {
        eprintln!("skipped: no moto_server here (pip install 'moto[server]')");
        return;
    };
    moto.put(BUCKET, b"");
    // More than one page of 1,000 keys, two keys a day.
    let mut day = jiff::civil::date(2022, 1, 1);
    let folder = format!("{BUCKET}/data/spot/daily/trades/BTCUSDT");
    for n in 0..560 {
        let name = format!("BTCUSDT-trades-{day}.zip");
        let body = noise(n, 500);
        moto.put(&format!("{folder}/{name}"), &body);
        moto.put(&format!("{folder}/{name}.CHECKSUM"), format!("{}  {name}\n", sha256(&body)).as_bytes());
        day = day.tomorrow().unwrap();
    }
    for date in ["2020-01-01", "2020-01-03"] {
        let name = format!("BTCUSDT-1m-{date}.zip");
        for name in [name.clone(), format!("{name}.CHECKSUM")] {
            let body = std::fs::read(recordings().join("archive").join(&name)).unwrap();
            moto.put(&format!("{BUCKET}/data/spot/daily/klines/BTCUSDT/1m/{name}"), &body);
        }
    }
    let base = format!("http://127.0.0.1:{}/{BUCKET}", moto.port);
    let mut trees = Vec::new();
    for (version, goes_on) in [(1, "marker="), (2, "continuation-token=")] {
        let mirror = Mirror::over(&base, &base, "", &format!("list_version = {version}"));
        let run = mirror.download(&["--market", "spot", "--kind", "klines,trades"]);
        assert_eq!((run.code, &run.summary["ok"]), (Some(0), &562.into()), "{}", run.text);
        assert!(moto.asked(goes_on) > 0, "version {version} goes on by {goes_on}");
        let again = mirror.download(&["--market", "spot", "--kind", "klines,trades"]);
        assert_eq!((&again.summary["skipped"], &again.summary["received_bytes"]), (&562.into(), &0.into()));
        trees.push(mirror.tree());
    }
    assert!(trees[0] == trees[1] && trees[0].len() == 2 * 562);
}
