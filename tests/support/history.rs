//! A mirror for a test: a configuration that points at a test's archive, runs of `tapedeck history`, and what lies on
//! the disk afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;

use super::s3::{Archive, BUCKET};
use super::{both, tapedeck};

/// See the module.
pub struct Mirror {
    pub dir: Arc<tempfile::TempDir>,
    pub config: PathBuf,
}

/// What a run came to.
pub struct Run {
    pub code: Option<i32>,
    pub summary: serde_json::Value,
    pub lines: Vec<serde_json::Value>,
    pub text: String,
}

impl Mirror {
    /// With these lines in `[history]` besides those that make tests quick.
    pub fn new(archive: &Archive, history: &str) -> Mirror {
        Mirror::over(&archive.url, &format!("{}/{BUCKET}", archive.url), "", history)
    }

    /// Over these URLs; `sections` stand before `[history]`.
    pub fn over(base_url: &str, list_url: &str, sections: &str, history: &str) -> Mirror {
        Mirror::of(Arc::new(tempfile::tempdir().unwrap()), "tapedeck", base_url, list_url, sections, history)
    }

    /// The same folder, with a configuration of its own.
    pub fn also(&self, name: &str, archive: &Archive, history: &str) -> Mirror {
        let list_url = format!("{}/{BUCKET}", archive.url);
        Mirror::of(Arc::clone(&self.dir), name, &archive.url, &list_url, "", history)
    }

    fn of(
        dir: Arc<tempfile::TempDir>,
        name: &str,
        base_url: &str,
        list_url: &str,
        sections: &str,
        history: &str,
    ) -> Mirror {
        let config = dir.path().join(format!("{name}.toml"));
        let text = format!(
            "[data]\ndir = {:?}\n{sections}\n[history]\nbase_url = {base_url:?}\nlist_url = {list_url:?}\n\
             retry_first_ms = 5\nretry_max_s = 1\nmin_free_mib = 0\nrequests_per_s = 100000\nstall_timeout_s = 2\n{history}\n",
            dir.path()
        );
        // Later lines win here, which TOML itself does not allow.
        let mut keys = std::collections::HashSet::new();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.reverse();
        lines.retain(|line| line.split_once(" = ").is_none_or(|(key, _)| keys.insert(key.to_owned())));
        lines.reverse();
        std::fs::write(&config, lines.join("\n")).unwrap();
        Mirror { dir, config }
    }

    /// Runs `tapedeck history <args> --config ...` to its end.
    pub fn history(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = tapedeck();
        command.arg("history").args(args).arg("--config").arg(&self.config);
        command
    }

    /// Runs `download --json` to its end.
    pub fn download(&self, args: &[&str]) -> Run {
        let out = self.history(&[&["download", "--json"], args].concat());
        let text = both(&out);
        let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
        let lines: Vec<serde_json::Value> =
            stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}\n{text}"))).collect();
        let summary = lines.last().map(|l| l["summary"].clone()).unwrap_or_default();
        Run { code: out.status.code(), summary, lines, text }
    }

    /// Starts a download that a test will kill.
    pub fn start(&self, args: &[&str]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command(&[&["download"], args].concat());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// What `list`, or any action with `--json`, prints, line by line.
    pub fn json(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let out = self.history(&[args, &["--json"]].concat());
        assert!(out.status.success(), "{args:?}: {}", both(&out));
        String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("history")
    }

    /// Every file below `data.binance.vision`, by its path there.
    pub fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.root().join("data.binance.vision");
        let mut files = BTreeMap::new();
        gather(&root, &root, &mut files);
        files
    }

    /// Exactly these files of the archive are here, byte for byte, each with its `.CHECKSUM`, and nothing else.
    pub fn holds_exactly(&self, archive: &Archive, keys: &[String]) {
        let mut expected = BTreeMap::new();
        for key in keys {
            expected.insert(key.clone(), archive.file(key));
            let checksum = format!("{key}.CHECKSUM");
            expected.insert(checksum.clone(), archive.file(&checksum));
        }
        let tree = self.tree();
        let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&tree), names(&expected));
        for (key, bytes) in tree {
            assert!(bytes == expected[&key], "{key} has other bytes");
        }
    }
}

fn gather(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if let Ok(bytes) = std::fs::read(&path) {
            // One that got its final name meanwhile is seen under that, now or next time.
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), bytes);
        }
    }
}
