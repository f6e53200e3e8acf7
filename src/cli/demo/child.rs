//! One service as a child process: started from this very binary, stopped like an operator would, never orphaned.
//!
//! A child watches its stdin: when this process dies, however it dies, the pipe closes and the child stops cleanly.
//! It has a process group of its own, so Ctrl-C reaches only the demo, which then stops the children in order.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long a service may take to stop before it is killed and that is reported.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// Variable with the key that the simulated SBE market requires; any value opens it.
pub(super) const API_KEY_ENV: &str = "TAPEDECK_DEMO_API_KEY";

pub(super) struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    pub(super) fn spawn(name: &'static str, config: &Path, dir: &Path) -> anyhow::Result<Child> {
        Child::spawn_with(name, &[], config, dir)
    }

    pub(super) fn spawn_with(name: &'static str, extra: &[&str], config: &Path, dir: &Path) -> anyhow::Result<Child> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
        let log = logs.join(format!("{name}.log"));
        let file =
            File::options().create(true).append(true).open(&log).with_context(|| format!("open {}", log.display()))?;
        let exe = std::env::current_exe().context("find this binary")?;
        let process = std::process::Command::new(exe)
            .arg(name)
            .arg("--config")
            .arg(config)
            .arg("--stop-with-stdin")
            .args(extra)
            .env(API_KEY_ENV, "demo")
            .stdin(Stdio::piped())
            .stdout(file.try_clone().context("share the log file")?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start the {name}"))?;
        Ok(Child { name, process, log })
    }

    /// An error when the service is no longer running.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait().with_context(|| format!("watch the {}", self.name))? {
            None => Ok(()),
            Some(status) => Err(self.died(status)),
        }
    }

    fn died(&self, status: ExitStatus) -> anyhow::Error {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(8).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n    ");
        anyhow::anyhow!("the {} stopped ({status}); its last output in {}:\n    {tail}", self.name, self.log.display())
    }

    /// SIGTERM, then waits; an exit code other than 0 is an error.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.process);
        // A child that is already gone cannot be signalled; `finish` says how it ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.wait().await
    }

    /// Waits for a child that ends by itself.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        self.wait().await
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + STOP_LIMIT;
        loop {
            match self.process.try_wait().with_context(|| format!("wait for the {}", self.name))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.died(status)),
                None if Instant::now() > end => {
                    // Dead already, then.
                    let _ = self.process.kill();
                    bail!(
                        "the {} did not stop within {} s and was killed; see {}",
                        self.name,
                        STOP_LIMIT.as_secs(),
                        self.log.display()
                    );
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Closing stdin (when the handle is dropped) makes the child stop by itself; a test or a panic must not
        // leave it behind even if it does not listen.
        drop(self.process.stdin.take());
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Dead already, then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
