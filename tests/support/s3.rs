//! An archive for a test: a small HTTP server on loopback that lists like S3 (both versions, small pages) and serves
//! files with ranges, entity tags and, where a test says so, faults. It writes down every request.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

/// Folder in the bucket's name's place: listings are path-style.
pub const BUCKET: &str = "bucket";

/// What goes wrong with one request for a file; each is used once, in order.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// This status, and `Retry-After` and `Date` as these texts.
    StatusUntil(u16, &'static str, &'static str),
    /// The connection is reset after this many bytes of the body.
    ResetAfter(usize),
    /// Closed without a word after this many bytes.
    CloseAfter(usize),
    /// `Content-Length` says so many more (or fewer) bytes, and so many come.
    WrongLength(i64),
    /// So many bytes every 200 ms.
    Drip(usize),
    /// Nothing comes any more after this many bytes.
    SilentAfter(usize),
    /// A whole answer, whatever range was asked for.
    IgnoreRange,
    /// One byte of the body is another one.
    Flip,
    /// Reset after so many bytes, and then the file is this one, with its checksum.
    ReplacedAfter(usize, Vec<u8>),
    /// The answer says `200` to a page of HTML.
    Html,
    /// The answer says `200` to a listing that is an error: `SlowDown`.
    SlowDown,
}

/// One request as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub key: String,
    pub range: Option<String>,
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: usize,
    /// All of the body that was announced was sent.
    pub whole: bool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    seen: Vec<Seen>,
    begun: Vec<String>,
    listed: Vec<String>,
    /// Entries of a page.
    page: usize,
    /// Between two pieces of a body.
    pause: Duration,
    /// Bytes of a piece.
    piece: usize,
    with_tags: bool,
    list_faults: VecDeque<Fault>,
    /// Every page says that it goes on, and where it goes on is one of two places in turns.
    goes_round: bool,
    hold: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Archive {
    pub url: String,
    state: Arc<Mutex<State>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn tag(bytes: &[u8]) -> String {
    sha256(bytes)[..32].to_owned()
}

/// Bytes that do not repeat, of a seed.
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut dice = super::Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..n).map(|_| dice.below(256) as u8).collect()
}

impl Archive {
    pub fn start() -> Archive {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { page: 1_000, piece: 16 << 10, with_tags: true, ..State::default() };
        let archive = Archive { url, state: Arc::new(Mutex::new(state)) };
        let me = archive.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let me = me.clone();
                std::thread::spawn(move || {
                    let _ = me.serve(stream);
                });
            }
        });
        archive
    }

    /// Adds or replaces a file and its `.CHECKSUM`.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let name = key.rsplit('/').next().unwrap();
        let line = format!("{}  {name}\n", sha256(&bytes));
        self.put_alone(&format!("{key}.CHECKSUM"), line);
        self.put_alone(key, bytes);
    }

    /// Adds or replaces one object.
    pub fn put_alone(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().files.insert(key.to_owned(), bytes.into());
    }

    /// Takes a file and its `.CHECKSUM` away.
    pub fn withdraw(&self, key: &str) {
        self.state.lock().unwrap().files.retain(|name, _| !name.starts_with(key));
    }

    /// Requests for files wait from now on, or do not any more.
    pub fn hold(&self, hold: bool) {
        self.state.lock().unwrap().hold = hold;
    }

    pub fn fault(&self, key: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.entry(key.to_owned()).or_default().extend(faults);
    }

    pub fn list_fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().list_faults.extend(faults);
    }

    /// Entries of a listing's page.
    pub fn pages_of(&self, n: usize) {
        self.state.lock().unwrap().page = n;
    }

    /// Listings lead back to where they were from now on.
    pub fn goes_round(&self) {
        self.state.lock().unwrap().goes_round = true;
    }

    /// Bodies come in pieces of `n` bytes with a pause between.
    pub fn slow(&self, n: usize, pause: Duration) {
        let mut state = self.state.lock().unwrap();
        (state.piece, state.pause) = (n, pause);
    }

    /// Listings without entity tags, as some recordings show them.
    pub fn without_tags(&self) {
        self.state.lock().unwrap().with_tags = false;
    }

    /// Requests for files, `.CHECKSUM`s too, since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// Requests for files that are no `.CHECKSUM`, since the last call.
    pub fn zips(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| !s.key.ends_with(".CHECKSUM")).collect()
    }

    /// Keys of files, no `.CHECKSUM`s, that were asked for since the last call; known when the request comes, while
    /// [`Archive::seen`] waits for the end of the answer.
    pub fn begun(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().begun)
    }

    /// Queries of listings since the last call.
    pub fn listings(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().listed)
    }

    /// Keys of all files that are no `.CHECKSUM`.
    pub fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().files.keys().filter(|k| !k.ends_with(".CHECKSUM")).cloned().collect()
    }

    pub fn file(&self, key: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[key].clone()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut headers = BTreeMap::new();
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = header.split_once(':') {
                    headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
                }
            }
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let path = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
            let goes_on =
                if path == BUCKET { self.list(&stream, query)? } else { self.give(&stream, &path, &headers)? };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn list(&self, mut stream: &TcpStream, query: &str) -> std::io::Result<bool> {
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.listed.push(query.to_owned());
            state.list_faults.pop_front()
        };
        match fault {
            Some(Fault::Status(status, after)) => return simple(stream, status, after, "no"),
            Some(Fault::ResetAfter(_)) => return reset(stream),
            Some(Fault::Html) => return simple(stream, 200, None, "<html><body>please log in</body></html>"),
            Some(Fault::Drip(n)) => return drip(stream, n),
            Some(Fault::SlowDown) => {
                return simple(stream, 200, None, "<Error><Code>SlowDown</Code><Message>x</Message></Error>");
            }
            _ => {}
        }
        let query: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k, percent_decode_str(v).decode_utf8_lossy().into_owned()))
            .collect();
        let mut xml = self.page(&query);
        if let State { goes_round: true, listed, .. } = &*self.state.lock().unwrap() {
            let two = query.contains_key("list-type");
            let tag = if two { "NextContinuationToken" } else { "NextMarker" };
            let place = format!("{}{}", query["prefix"], if listed.len() % 2 == 0 { "0" } else { "zz" });
            let place = if two { format!("token {place}") } else { place };
            let on = format!("<IsTruncated>true</IsTruncated><{tag}>{place}</{tag}>");
            xml = xml.replace("<IsTruncated>false</IsTruncated>", &on);
        }
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", xml.len())?;
        stream.write_all(xml.as_bytes())?;
        Ok(true)
    }

    /// A page of ListObjects.
    fn page(&self, query: &BTreeMap<&str, String>) -> String {
        let state = self.state.lock().unwrap();
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let two = query.get("list-type").is_some_and(|v| v == "2");
        let from = match (query.get("continuation-token"), query.get(if two { "start-after" } else { "marker" })) {
            (Some(token), _) => token.strip_prefix("token ").unwrap().to_owned(),
            (None, Some(marker)) => marker.clone(),
            (None, None) => String::new(),
        };
        let mut names: BTreeSet<(String, bool)> = BTreeSet::new();
        for key in state.files.keys().filter_map(|k| k.strip_prefix(&prefix)) {
            match key.split_once('/') {
                Some((folder, _)) => names.insert((format!("{prefix}{folder}/"), true)),
                None => names.insert((format!("{prefix}{key}"), false)),
            };
        }
        names.retain(|(name, folder)| *name > from && !(*folder && from.starts_with(name.as_str())));
        let truncated = names.len() > state.page;
        let shown: Vec<(String, bool)> = names.into_iter().take(state.page).collect();
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{BUCKET}</Name><Prefix>{}</Prefix>\
             <MaxKeys>{}</MaxKeys><Delimiter>/</Delimiter><EncodingType>url</EncodingType>\
             <IsTruncated>{truncated}</IsTruncated>",
            encode(&prefix),
            state.page
        );
        if let (true, Some((last, _))) = (truncated, shown.last()) {
            if two {
                xml.push_str(&format!("<NextContinuationToken>token {last}</NextContinuationToken>"));
            } else {
                xml.push_str(&format!("<NextMarker>{}</NextMarker>", encode(last)));
            }
        }
        for (name, folder) in shown {
            if folder {
                xml.push_str(&format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", encode(&name)));
                continue;
            }
            let bytes = &state.files[&name];
            let etag = if state.with_tags { format!("<ETag>&quot;{}&quot;</ETag>", tag(bytes)) } else { String::new() };
            xml.push_str(&format!(
                "<Contents><Key>{}</Key><LastModified>2024-02-03T04:05:06.000Z</LastModified>{etag}<Size>{}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                encode(&name),
                bytes.len()
            ));
        }
        xml.push_str("</ListBucketResult>");
        xml
    }

    /// One file.
    fn give(&self, stream: &TcpStream, key: &str, headers: &BTreeMap<String, String>) -> std::io::Result<bool> {
        if !key.ends_with(".CHECKSUM") {
            self.state.lock().unwrap().begun.push(key.to_owned());
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
        while self.state.lock().unwrap().hold {
            assert!(std::time::Instant::now() < end, "ten minutes later still: self.state.lock().unwrap().hold");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (bytes, fault, piece, pause) = {
            let mut state = self.state.lock().unwrap();
            let fault = state.faults.get_mut(key).and_then(VecDeque::pop_front);
            (state.files.get(key).cloned(), fault, state.piece, state.pause)
        };
        let range = headers.get("range").cloned();
        let note = |status: u16, sent: usize, whole: bool| {
            let seen = Seen { key: key.to_owned(), range: range.clone(), status, sent, whole };
            self.state.lock().unwrap().seen.push(seen);
        };
        if let Some(Fault::Status(status, after)) = fault {
            note(status, 0, false);
            return simple(stream, status, after, "no");
        }
        if let Some(Fault::StatusUntil(status, after, date)) = fault {
            note(status, 0, false);
            let mut out = stream;
            write!(out, "HTTP/1.1 {status} x\r\nretry-after: {after}\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n")?;
            return Ok(true);
        }
        if let Some(Fault::Html) = fault {
            note(200, 0, false);
            return simple(stream, 200, None, "<html><body>please log in</body></html>");
        }
        let Some(mut bytes) = bytes else {
            note(404, 0, false);
            return simple(stream, 404, None, "<Error><Code>NoSuchKey</Code></Error>");
        };
        let etag = format!("\"{}\"", tag(&bytes));
        let mut from = 0;
        if let Some(range) = &range
            && !matches!(fault, Some(Fault::IgnoreRange))
            && headers.get("if-range").is_none_or(|t| *t == etag)
        {
            from = range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap();
        }
        let total = bytes.len();
        if from >= total && total > 0 {
            note(416, 0, false);
            return simple(stream, 416, None, "");
        }
        if matches!(fault, Some(Fault::Flip)) {
            let at = from + (total - from) / 2;
            bytes[at] ^= 1;
        }
        let mut body = bytes[from..].to_vec();
        let mut claimed = body.len();
        if let Some(Fault::WrongLength(by)) = fault {
            claimed = usize::try_from(i64::try_from(claimed).unwrap() + by).unwrap();
            body.resize(claimed, b'x');
        }
        let status = if from > 0 { 206 } else { 200 };
        let mut out = Vec::new();
        write!(out, "HTTP/1.1 {status} x\r\netag: {etag}\r\naccept-ranges: bytes\r\ncontent-length: {claimed}\r\n")?;
        if from > 0 {
            write!(out, "content-range: bytes {from}-{}/{total}\r\n", total - 1)?;
        }
        out.extend_from_slice(b"\r\n");
        let head = out;
        let mut out = stream;
        // Whoever asked may be gone already.
        out.write_all(&head).inspect_err(|_| note(status, 0, false))?;
        let (stop, piece, pause) = match &fault {
            Some(Fault::ResetAfter(n) | Fault::CloseAfter(n) | Fault::SilentAfter(n) | Fault::ReplacedAfter(n, _)) => {
                (Some((*n).min(body.len())), piece, pause)
            }
            Some(Fault::Drip(n)) => (None, *n, Duration::from_millis(200)),
            _ => (None, piece, pause),
        };
        let mut sent = 0;
        for chunk in body[..stop.unwrap_or(body.len())].chunks(piece.max(1)) {
            if out.write_all(chunk).is_err() {
                note(status, sent, false);
                return Ok(false);
            }
            sent += chunk.len();
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        note(status, sent, stop.is_none());
        match fault {
            Some(Fault::ReplacedAfter(_, new)) => {
                self.put(key, new);
                reset(stream)
            }
            Some(Fault::ResetAfter(_)) => reset(stream),
            Some(Fault::CloseAfter(_)) => Ok(false),
            Some(Fault::SilentAfter(_)) => {
                // Until the other side has had enough.
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                let _ = std::io::Read::read(&mut &*stream, &mut [0; 1]);
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

fn simple(mut stream: &TcpStream, status: u16, after: Option<u64>, body: &str) -> std::io::Result<bool> {
    let after = after.map_or_else(String::new, |s| format!("retry-after: {s}\r\n"));
    write!(stream, "HTTP/1.1 {status} x\r\n{after}content-length: {}\r\n\r\n{body}", body.len())?;
    Ok(true)
}

/// So many bytes of an endless body every 200 ms, until somebody hangs up.
fn drip(mut stream: &TcpStream, n: usize) -> std::io::Result<bool> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
    for _ in 0..1_000 {
        stream.write_all(&vec![b' '; n])?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(false)
}

fn reset(stream: &TcpStream) -> std::io::Result<bool> {
    // What was sent should arrive; a close with linger 0 is a reset.
    std::thread::sleep(Duration::from_millis(20));
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}
