//! Helpers named as verbs: make a world, start services, wait, kill, count.

pub mod archive;
pub mod candles;
#[path = "../../src/sql/cluster.rs"]
pub mod cluster;
pub mod history;
pub mod http;
pub mod lake;
pub mod log;
pub mod logs;
pub mod market;
pub mod proxy;
pub mod s3;
pub mod venue;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub fn tapedeck() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
    c.env_remove("TAPEDECK_FAILPOINT");
    c.env_remove("TAPEDECK_PANIC");
    c
}

/// The recordings that are committed with the tests.
pub fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The seed of a random test: printed, and replayable with `TAPEDECK_SEED`.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("TAPEDECK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64)
    });
    println!("{test}: seed {seed} (replay with TAPEDECK_SEED={seed})");
    seed
}

/// How often a random test runs: `TAPEDECK_RUNS` or `default`.
pub fn runs(default: usize) -> usize {
    std::env::var("TAPEDECK_RUNS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// A small generator for test decisions (xorshift64*); quality does not matter, replayability does.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n.max(1)
    }
}

/// Polls until `condition` is true; the limit is generous and only there so that a broken build ends.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(600);
    while !condition() {
        assert!(Instant::now() < end, "waited ten minutes for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A service that is killed when the test ends.
pub struct Service {
    pub child: Child,
    pub log: PathBuf,
}

impl Service {
    /// Starts `tapedeck <name> --config <config>` with its output in `<dir>/<name>.log`.
    pub fn start(name: &str, config: &Path, extra: &[(&str, &str)]) -> Service {
        Service::start_with(name, &[], config, extra)
    }

    pub fn start_with(name: &str, args: &[&str], config: &Path, env: &[(&str, &str)]) -> Service {
        let log = config.with_file_name(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = tapedeck()
            .arg(name)
            .arg("--config")
            .arg(config)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Service { child, log }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: nothing of the process runs after this.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the service must end with success.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.wait();
        assert!(status.success(), "the service ended with {status}:\n{}", self.said());
    }

    /// SIGHUP: read your configuration anew.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Waits for an end that the service chose itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + Duration::from_secs(600);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the service does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `tapedeck` to its end.
pub fn run(args: &[&str]) -> Output {
    tapedeck().args(args).stdin(Stdio::null()).output().unwrap()
}

/// stdout and stderr of a finished run, for messages.
pub fn both(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// A free port on loopback.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
