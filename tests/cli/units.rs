//! The systemd units: accepted by systemd's own tools, and the services speak the protocol the units ask for.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Service, both, free_port, wait_until};

fn units() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    let mut units: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    units.sort();
    units
}

#[test]
fn systemd_accepts_the_units_and_finds_little_they_could_be_abused_for() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd-analyze is not here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let units = units();
    assert_eq!(units.len(), 2);
    for unit in &units {
        // What is not installed here would be the only complaint: the binary and the manual page.
        let text = std::fs::read_to_string(unit).unwrap();
        let text = text
            .replace("/usr/local/bin/tapedeck", env!("CARGO_BIN_EXE_tapedeck"))
            .replace("man:tapedeck(1)", "man:systemd(1)");
        std::fs::write(dir.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    for unit in &units {
        let path = dir.path().join(unit.file_name().unwrap()).display().to_string();
        let out = Command::new("systemd-analyze").args(["verify", "--man=no", &path]).output().unwrap();
        assert!(out.status.success() && both(&out).trim().is_empty(), "{}", both(&out));
        let out = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", &path])
            .output()
            .unwrap();
        assert!(out.status.success(), "exposed more than 2.0:\n{}", both(&out));
    }
}

#[test]
fn both_services_say_when_they_are_ready_that_they_live_and_that_they_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\n[collector]\nlisten = \"127.0.0.1:{}\"\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.gate-spot]\nsymbols = [\"A_B\"]\nchannels = [\"trades\"]\nrest_url = \"http://127.0.0.1:1\"\nws_url = \"ws://127.0.0.1:1\"\n",
        dir.path().join("data").display().to_string(),
        free_port(),
        free_port(),
    );
    std::fs::write(&path, text).unwrap();
    for name in ["collector", "compactor"] {
        let address = dir.path().join(format!("{name}.sock"));
        let socket = UnixDatagram::bind(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let env = [("NOTIFY_SOCKET", address.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
        let service = Service::start(name, &path, &env);
        let (mut heard, mut bytes) = (Vec::new(), [0; 100]);
        let mut hear = |wanted: &str, times: usize| {
            wait_until(wanted, || {
                if let Ok(n) = socket.recv(&mut bytes) {
                    heard.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
                }
                heard.iter().filter(|h| *h == wanted).count() >= times
            });
        };
        hear("READY=1", 1);
        hear("WATCHDOG=1", 3);
        service.stop();
        hear("STOPPING=1", 1);
    }
}
