//! Disturbances of a running compactor: the n-th and every later error of each system call that it makes on files, a kill
//! at every step of publishing, a clock that is wrong.
//!
//! Errors of system calls are injected by strace; where it is not installed those disturbances are left out, and said.

use std::process::{Command, Output, Stdio};

use super::world::{Data, limited};
use crate::support::tapedeck;

/// A drain that is disturbed.
pub struct Disturbance {
    pub name: String,
    how: How,
}

enum How {
    /// strace: calls, error, when.
    Calls(&'static str, &'static str, &'static str),
    /// A kill at this point.
    Kill(String),
    /// Environment of the process.
    Env(&'static str, String),
}

/// The calls that matter to files, with an error that each may give.
const CALLS: [(&str, &str); 12] = [
    ("openat", "EIO"),
    ("openat", "EMFILE"),
    ("read", "EIO"),
    ("pread64", "EIO"),
    ("write", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fsync,fdatasync", "EIO"),
    ("rename,renameat,renameat2", "EIO"),
    ("unlink,unlinkat", "EACCES"),
    ("mkdir,mkdirat", "ENOSPC"),
    ("mmap", "ENOMEM"),
    ("flock", "EIO"),
];

/// When: once early, once later, from there on for ever. Start-up itself needs some calls of each kind to come so far.
const WHENS: [(&str, &str); 4] =
    [("the 12th", "12"), ("the 40th", "40"), ("from the 25th on", "25+"), ("every 30th", "30+30")];

pub fn all() -> Vec<Disturbance> {
    let mut list = Vec::new();
    if has_strace() {
        for (call, error) in CALLS {
            for (word, when) in WHENS {
                let name = format!("{error} of {word} {}", call.split(',').next().unwrap_or(call));
                list.push(Disturbance { name, how: How::Calls(call, error, when) });
            }
        }
    } else {
        println!("strace is not installed: no errors of system calls");
    }
    if cfg!(debug_assertions) {
        for point in compact::failpoint::list() {
            list.push(Disturbance { name: format!("killed at {point}"), how: How::Kill(point) });
        }
        for task in ops::supervise::Task::ALL.iter().map(|t| t.name()) {
            list.push(Disturbance {
                name: format!("a panic of {task}"),
                how: How::Env("TAPEDECK_PANIC", task.to_owned()),
            });
        }
    }
    list
}

pub fn has_strace() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

impl Disturbance {
    /// Drains, disturbed.
    pub fn drain(&self, data: &Data) -> Output {
        let command = match &self.how {
            How::Calls(call, error, when) => {
                let mut c = Command::new("strace");
                c.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e"])
                    .arg(format!("trace={call}"))
                    .arg("-e")
                    .arg(format!("inject={call}:error={error}:when={when}"))
                    .arg(env!("CARGO_BIN_EXE_tapedeck"));
                c
            }
            How::Kill(point) => {
                let mut c = tapedeck();
                c.env("TAPEDECK_FAILPOINT", point);
                c
            }
            How::Env(name, value) => {
                let mut c = tapedeck();
                c.env(name, value);
                c
            }
        };
        let mut command = command;
        command.args(["compactor", "--drain", "--config"]).arg(&data.config);
        limited(command)
    }

    /// The process was killed on purpose: nothing is expected of its exit code or of what it said.
    pub fn kills(&self) -> bool {
        matches!(self.how, How::Kill(_))
    }
}
