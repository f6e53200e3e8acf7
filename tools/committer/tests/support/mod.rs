//! A catalog and a store that are real (SeaweedFS), a lake in one of them or in a directory, and the committer's binary.
#![allow(dead_code, clippy::unwrap_used)]

pub mod lake;
pub mod proxy;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ::lake::{Lake, Table};
use committer::Session;
use committer::config::Config;
use committer::schema::Target;
use s3::weed::Weed;

/// The server, and a directory for what a test makes.
pub struct Desk {
    pub weed: Weed,
    pub scratch: tempfile::TempDir,
}

/// A lake and the namespace that it is committed to.
pub struct Tape<'d> {
    desk: &'d Desk,
    pub name: String,
    pub lake: Lake,
    pub place: String,
    pub config: PathBuf,
}

impl Desk {
    /// `None`, said in a line, where the server cannot be had.
    pub fn open() -> Option<Self> {
        let weed = Weed::start()?;
        // No dot at the beginning: no key of a store has a name with one.
        let scratch = tempfile::Builder::new().prefix("committer").tempdir().unwrap();
        let desk = Self { weed, scratch };
        let port = desk.catalog().rsplit_once(':').unwrap().1.parse().unwrap();
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(desk);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the catalog of SeaweedFS does not answer");
    }

    /// The catalog stands beside the store.
    pub fn catalog(&self) -> String {
        let endpoint = self.weed.endpoint();
        let (host, port) = endpoint.rsplit_once(':').unwrap();
        format!("{host}:{}", port.parse::<u16>().unwrap() + 1)
    }

    /// A lake in the store.
    pub fn in_store(&self, name: &str) -> Tape<'_> {
        self.tape(name, format!("s3://lake/{name}"), &self.catalog())
    }

    /// A lake in a directory; its tables are in the store.
    pub fn in_directory(&self, name: &str) -> Tape<'_> {
        self.tape(name, self.scratch.path().join(name).display().to_string(), &self.catalog())
    }

    fn tape(&self, name: &str, place: String, catalog: &str) -> Tape<'_> {
        let settings = self.weed.settings(&self.weed.endpoint());
        let lake = s3::lake_at(Path::new(&place), self.scratch.path(), &settings).unwrap();
        let config = self.config(name, &place, catalog, "");
        Tape { desk: self, name: name.to_owned(), lake, place, config }
    }

    /// A configuration of `name`, with further lines for `[catalog]`.
    pub fn config(&self, name: &str, place: &str, catalog: &str, more: &str) -> PathBuf {
        let store = Weed::section(&self.weed.endpoint());
        let port = catalog.rsplit_once(':').unwrap().1;
        let text = format!(
            "[lake]\ndir = \"{place}\"\n{store}[catalog]\nuri = \"{catalog}\"\nwarehouse = \"warehouse\"\nnamespace = \"{name}\"\n\
             interval_s = 1\ncredential_env = \"TAPE_CATALOG\"\n{more}"
        );
        let path = self.scratch.path().join(format!("{name}-{port}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Tape<'_> {
    /// A configuration that reaches the catalog at another place.
    pub fn over(&self, catalog: &str) -> PathBuf {
        self.desk.config(&self.name, &self.place, catalog, "")
    }

    pub fn command(&self, config: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapedeck-committer"));
        command.arg("--config").arg(config).args(args).env_remove("TAPEDECK_FAILPOINT");
        command.envs(Weed::env()).env("TAPE_CATALOG", Weed::KEYS.join(":")).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(&self.config, args).output().unwrap()
    }

    /// Runs it, and it must end well.
    pub fn well(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let text = said(&out);
        assert!(out.status.success(), "{args:?}: {text}");
        text
    }

    /// Runs one round that is killed at a failpoint, if it comes by; whether it was killed.
    pub fn killed_at(&self, point: &str) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let out = self.command(&self.config, &["once"]).env("TAPEDECK_FAILPOINT", point).output().unwrap();
        out.status.signal() == Some(9)
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(&self.config, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The library's view of it.
    pub fn session(&self) -> Session {
        let settings = self.desk.weed.settings(&self.desk.weed.endpoint());
        let [key, secret] = Weed::KEYS;
        let cfg = Config::load(&self.config, std::env::vars()).unwrap();
        committer::open_as(&Config { store: settings, ..cfg }, Some(&format!("{key}:{secret}"))).unwrap()
    }

    /// Every file of the lake is in its table once and nothing else is, and `check` finds no difference.
    pub fn is_whole(&self) {
        let text = self.well(&["check"]);
        assert!(text.contains(" 0 differences"), "{text}");
        assert!(!text.contains("note:"), "{text}");
        let session = self.session();
        for table in [Table::Trades, Table::BookTicker] {
            let mut wanted: Vec<String> =
                self.lake.list(table.as_str(), None, None).unwrap().into_iter().map(|m| m.key).collect();
            let state = session.load(Target::Lake(table)).unwrap().unwrap();
            let live = state.live(&session, None).unwrap();
            assert!(live.values().all(|entries| entries.len() == 1), "{table}: a file is in it twice");
            let mut has: Vec<String> = live.keys().map(|uri| session.key(uri).unwrap().to_owned()).collect();
            wanted.sort();
            has.sort();
            assert_eq!(has, wanted, "{table}");
        }
    }

    /// Four engines read it row for row; says so in a line where they cannot be had.
    pub fn readers_agree(&self) {
        self.readers_agree_on(&["trades", "book_ticker"]);
    }

    /// The same of these tables.
    pub fn readers_agree_on(&self, tables: &[&str]) {
        let Some(python) = readers() else { return };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/readers.py");
        let [key, secret] = Weed::KEYS;
        let mut command = Command::new(python);
        command.arg(script).args([
            &self.desk.weed.endpoint(),
            &self.desk.catalog(),
            key,
            secret,
            &self.name,
            &self.place,
        ]);
        command.args(tables);
        let out = command.output().unwrap();
        println!("{}", said(&out));
        assert!(out.status.success(), "{}", said(&out));
    }

    /// Runs Python with a pyiceberg catalog `c`, the namespace `ns`.
    pub fn python(&self, code: &str) -> bool {
        let Some(python) = readers() else { return false };
        let [key, secret] = Weed::KEYS;
        let (endpoint, uri, ns) = (self.desk.weed.endpoint(), self.desk.catalog(), &self.name);
        let code = format!(
            "import pyarrow as pa\nfrom pyiceberg.catalog import load_catalog\nns = {ns:?}\n\
             c = load_catalog('c', type='rest', uri={uri:?}, credential='{key}:{secret}', warehouse='warehouse', **{{\
             's3.endpoint': {endpoint:?}, 's3.access-key-id': {key:?}, 's3.secret-access-key': {secret:?}, \
             's3.region': 'us-east-1', 'oauth2-server-uri': {uri:?} + '/v1/oauth/tokens'}})\n{code}"
        );
        let out = Command::new(python).arg("-c").arg(code).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        true
    }
}

/// A Python with the engines: `$TAPEDECK_READERS`, which must have them, or `python3`, which may.
pub fn readers() -> Option<PathBuf> {
    let named = std::env::var_os("TAPEDECK_READERS").map(PathBuf::from);
    let python = named.clone().unwrap_or_else(|| PathBuf::from("python3"));
    let modules = "import duckdb, duckdb_extensions, polars, pyiceberg, chdb, pyarrow";
    let out = Command::new(&python).arg("-c").arg(modules).output();
    match out {
        Ok(out) if out.status.success() => return Some(python),
        out => assert!(named.is_none(), "TAPEDECK_READERS: {out:?}"),
    }
    println!(
        "skipped: no Python with duckdb, polars, pyiceberg and chdb in TAPEDECK_READERS (tools/committer/README.md)"
    );
    None
}

pub fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
