//! A Postgres server for one test: made by initdb in a temporary folder, reachable by its socket only, gone at the
//! end. Says so when the machine has no Postgres.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postgres::NoTls;

/// See the module.
pub struct Cluster {
    dir: tempfile::TempDir,
    server: Child,
    databases: u32,
}

/// Folder with initdb and postgres.
fn binaries() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|v| v.path().join("bin")));
    folders.into_iter().find(|f| f.join("initdb").exists() && f.join("postgres").exists())
}

/// User and group of `postgres`: the server refuses to run as root.
fn user() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = passwd.lines().find(|l| l.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Cluster {
    /// `None` without Postgres on this machine.
    pub fn start() -> Option<Self> {
        let folder = binaries()?;
        let dir = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let root = rustix::process::geteuid().is_root();
        let as_user = if root { Some(user()?) } else { None };
        if let Some((uid, gid)) = as_user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let command = |name: &str| {
            let mut c = Command::new(folder.join(name));
            if let Some((uid, gid)) = as_user {
                c.uid(uid).gid(gid);
            }
            c.current_dir(dir.path()).stdout(Stdio::null());
            c
        };
        let data = dir.path().join("data");
        let made = command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = command("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .stderr(log)
            .spawn()
            .unwrap();
        let cluster = Self { dir, server, databases: 0 };
        for _ in 0..600 {
            if postgres::Client::connect(&cluster.url("postgres"), NoTls).is_ok() {
                return Some(cluster);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("postgres does not answer: {}", std::fs::read_to_string(cluster.dir.path().join("log")).unwrap());
    }

    fn url(&self, database: &str) -> String {
        let host = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{database}")
    }

    /// URL of a new, empty database.
    pub fn database(&mut self) -> String {
        self.databases += 1;
        let name = format!("t{}", self.databases);
        let mut admin = postgres::Client::connect(&self.url("postgres"), NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.url(&name)
    }

    /// Its folder, where logs are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Dead already, then.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
