//! Faults of files: each kind of file that the services leave, and what may happen to it while they are down.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::world::{Data, VENUE, Worlds, files};
use crate::support::logs::copy_tree;

/// Does harm to a data directory; false when there is nothing to do it to.
type Apply = Box<dyn Fn(&Worlds, &Data) -> bool + Send + Sync>;

/// A fault with its name.
pub struct Fault {
    pub name: String,
    pub apply: Apply,
    /// Published rows are damaged or doubled by the fault itself: no drain can undo that, `verify` must name it.
    pub for_verify: bool,
    /// The log holds all that the fault touched: nothing may be missing in the end, and the drain ends well.
    pub heals: bool,
    /// Everything goes back at once: what is gone is gone without a trace, until ids go on after it.
    pub forgets: bool,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    OldestSegment,
    MiddleSegment,
    NewestSegment,
    Epoch,
    Control,
    LakeAck,
    KlinesAck,
    NewestState,
    Piece,
    NewestManifest,
    OldestManifest,
    Published,
    Candles,
}

const TARGETS: [Target; 13] = [
    Target::OldestSegment,
    Target::MiddleSegment,
    Target::NewestSegment,
    Target::Epoch,
    Target::Control,
    Target::LakeAck,
    Target::KlinesAck,
    Target::NewestState,
    Target::Piece,
    Target::NewestManifest,
    Target::OldestManifest,
    Target::Published,
    Target::Candles,
];

/// What happens to one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    FlipMiddle,
    FlipBegin,
    CutHalf,
    Empty,
    Zeroed,
    Garbage,
    Deleted,
    Fifo,
    Directory,
    LostLink,
    Endless,
    Older,
    Foreign,
    Doubled,
}

const HARMS: [Harm; 14] = [
    Harm::FlipMiddle,
    Harm::FlipBegin,
    Harm::CutHalf,
    Harm::Empty,
    Harm::Zeroed,
    Harm::Garbage,
    Harm::Deleted,
    Harm::Fifo,
    Harm::Directory,
    Harm::LostLink,
    Harm::Endless,
    Harm::Older,
    Harm::Foreign,
    Harm::Doubled,
];

fn with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let log = data.join("wal").join(VENUE);
    with_extension(&log, "wal").into_iter().filter(|p| p.parent() == Some(&log)).collect()
}

/// By time of publication: their names carry the first seq.
fn manifests(data: &Path) -> Vec<PathBuf> {
    let mut all = with_extension(&data.join("lake/_manifests").join(format!("exchange={VENUE}")), "json");
    all.sort_by_key(|p| {
        let stem = p.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        stem.rsplit('-').next().unwrap_or_default().to_owned()
    });
    all
}

impl Target {
    fn find(self, data: &Path) -> Option<PathBuf> {
        let log = data.join("wal").join(VENUE);
        let all = segments(data);
        match self {
            Self::OldestSegment => all.first().cloned(),
            Self::MiddleSegment => all.get(all.len() / 2).cloned(),
            // The last one with records: what is after it was prepared and never used.
            Self::NewestSegment => all.iter().rev().find(|p| !super::world::ids_in_logs_of(p).is_empty()).cloned(),
            Self::Epoch => Some(log.join("EPOCH")),
            Self::Control => Some(log.join("CONTROL")),
            Self::LakeAck => Some(log.join("acks/lake.ack")),
            Self::KlinesAck => Some(log.join("acks/klines.ack")),
            Self::NewestState => with_extension(&data.join("lake/.staging"), "json").pop(),
            Self::Piece => with_extension(&data.join("lake/.staging"), "parquet")
                .into_iter()
                .find(|p| p.file_name().is_some_and(|n| n.as_bytes().starts_with(b"trades."))),
            Self::NewestManifest => manifests(data).pop(),
            Self::OldestManifest => manifests(data).into_iter().next(),
            Self::Published => with_extension(&data.join("lake/trades"), "parquet").pop(),
            Self::Candles => Some(data.join("klines.db")),
        }
        .filter(|p| p.exists())
    }
}

/// Does `harm` to `target`; false when there is nothing to do it to.
fn harm(worlds: &Worlds, data: &Data, target: Target, harm: Harm) -> bool {
    let Some(path) = target.find(&data.dir) else { return false };
    let bytes = std::fs::read(&path).unwrap();
    let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    let flip = |at: usize| {
        let mut bad = bytes.clone();
        if let Some(byte) = bad.get_mut(at) {
            *byte ^= 1;
        }
        write(&bad);
    };
    // Where something other than zeros is: middles of slots and segments may be unused.
    let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0);
    match harm {
        Harm::FlipMiddle => flip(used / 2),
        Harm::FlipBegin => flip(9),
        Harm::CutHalf => write(&bytes[..used / 2]),
        Harm::Empty => write(b""),
        Harm::Zeroed => write(&vec![0; bytes.len()]),
        Harm::Garbage => {
            let mut x = 0x9E37_79B9_7F4A_7C15_u64;
            let noise: Vec<u8> = (0..bytes.len())
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    x as u8
                })
                .collect();
            write(&noise);
        }
        Harm::Deleted => std::fs::remove_file(&path).unwrap(),
        Harm::Fifo => {
            std::fs::remove_file(&path).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
        }
        Harm::Directory => {
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }
        Harm::LostLink => {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap();
        }
        Harm::Endless => {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        }
        Harm::Older => {
            let older = worlds.older.join(path.strip_prefix(&data.dir).unwrap());
            if !older.is_file() || std::fs::read(&older).unwrap() == bytes {
                return false;
            }
            std::fs::copy(older, &path).unwrap();
        }
        Harm::Foreign => {
            let Some(other) = target.find(&worlds.stranger) else { return false };
            std::fs::copy(other, &path).unwrap();
        }
        Harm::Doubled => {
            let Some(twin) = twin_of(target, &path) else { return false };
            std::fs::copy(&path, twin).unwrap();
        }
    }
    true
}

/// Another name under which a copy would be believed by somebody who believes names.
fn twin_of(target: Target, path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let twin = match target {
        Target::OldestSegment | Target::MiddleSegment | Target::NewestSegment => {
            let id: u64 = name.strip_suffix(".wal")?.parse().ok()?;
            format!("{:020}.wal", id + 40)
        }
        Target::NewestState => name.replace("state-", "state-0"),
        Target::Piece => name.replace(".000", ".009"),
        Target::NewestManifest | Target::OldestManifest | Target::Published => {
            let (stem, extension) = name.split_once('.')?;
            let (head, seq) = stem.rsplit_once('-')?;
            let seq = u64::from_str_radix(seq, 16).ok()?;
            format!("{head}-{:016x}.{extension}", seq + 3)
        }
        _ => return None,
    };
    Some(path.with_file_name(twin))
}

fn fault(name: &str, apply: impl Fn(&Worlds, &Data) -> bool + Send + Sync + 'static) -> Fault {
    Fault { name: name.to_owned(), apply: Box::new(apply), for_verify: false, heals: false, forgets: false }
}

/// As [`fault`], of something that the log alone can make good.
fn healing(name: &str, apply: impl Fn(&Worlds, &Data) -> bool + Send + Sync + 'static) -> Fault {
    Fault { heals: true, ..fault(name, apply) }
}

/// Replaces `part` of the data directory by that of another one.
fn replaced(part: &'static str, from: fn(&Worlds) -> &Path) -> impl Fn(&Worlds, &Data) -> bool {
    move |worlds, data| {
        let (here, there) = (data.dir.join(part), from(worlds).join(part));
        let _ = std::fs::remove_dir_all(&here);
        let _ = std::fs::remove_file(&here);
        if there.is_dir() {
            copy_tree(&there, &here);
        } else {
            std::fs::copy(there, here).unwrap();
        }
        true
    }
}

/// Removes `part` of the data directory; `mounted` leaves an empty directory, as a disk that is not mounted does.
fn removed(part: &'static str, mounted: bool) -> impl Fn(&Worlds, &Data) -> bool {
    move |_, data| {
        let here = data.dir.join(part);
        std::fs::remove_dir_all(&here).unwrap();
        if mounted {
            std::fs::create_dir_all(&here).unwrap();
        }
        true
    }
}

/// A segment of the stranger beside our own, under this id.
fn stranger_beside(id: fn(&[u64]) -> u64) -> impl Fn(&Worlds, &Data) -> bool {
    move |worlds, data| {
        let ours: Vec<u64> = segments(&data.dir).iter().filter_map(|p| p.file_stem()?.to_str()?.parse().ok()).collect();
        let Some(theirs) = Target::OldestSegment.find(&worlds.stranger) else { return false };
        let to = data.log().join(format!("{:020}.wal", id(&ours)));
        std::fs::copy(theirs, to).unwrap();
        true
    }
}

/// Every fault of files.
pub fn all() -> Vec<Fault> {
    let mut list = Vec::new();
    for target in TARGETS {
        for what in HARMS {
            let for_verify = matches!(
                (target, what),
                // Published rows: the file is the only copy, and a twin doubles what a glob reads.
                (Target::Published, _) | (Target::OldestManifest, _)
            );
            // What is a cache of the log, damaged as a file; what is no file is refused by name instead.
            let heals = matches!(target, Target::Control | Target::LakeAck | Target::NewestState | Target::Piece)
                && !matches!(what, Harm::Fifo | Harm::Directory | Harm::LostLink | Harm::Endless | Harm::Foreign);
            list.push(Fault {
                name: format!("{target:?} {what:?}"),
                apply: Box::new(move |worlds, data| harm(worlds, data, target, what)),
                for_verify,
                heals,
                forgets: false,
            });
        }
    }
    let base: fn(&Worlds) -> &Path = |w| &w.older;
    let stranger: fn(&Worlds) -> &Path = |w| &w.stranger;
    list.push(fault("wal restored from a backup", replaced("wal", base)));
    list.push(fault("lake restored from a backup", replaced("lake", base)));
    list.push(fault("klines.db restored from a backup", replaced("klines.db", base)));
    list.push(Fault {
        forgets: true,
        ..fault("everything restored from a backup", move |w, d| {
            ["wal", "lake", "klines.db"].iter().all(|part| replaced(part, base)(w, d))
        })
    });
    list.push(fault("wal replaced by a stranger's", replaced("wal", stranger)));
    list.push(fault("lake replaced by a stranger's", replaced("lake", stranger)));
    list.push(fault("wal not mounted", removed("wal", true)));
    list.push(fault("lake not mounted", removed("lake", true)));
    list.push(fault("lake deleted", removed("lake", false)));
    list.push(healing("staging deleted", removed("lake/.staging", false)));
    list.push(fault("manifests deleted", removed("lake/_manifests", false)));
    list.push(healing("acks deleted", |_, d| std::fs::remove_dir_all(d.log().join("acks")).is_ok()));
    list.push(healing("acks and staging deleted", |w, d| {
        std::fs::remove_dir_all(d.log().join("acks")).is_ok() && removed("lake/.staging", false)(w, d)
    }));
    list.push(fault("EPOCH, CONTROL and acks deleted", |_, d| {
        std::fs::remove_file(d.log().join("EPOCH")).is_ok()
            && std::fs::remove_file(d.log().join("CONTROL")).is_ok()
            && std::fs::remove_dir_all(d.log().join("acks")).is_ok()
    }));
    list.push(fault("a stranger's segment in front of ours", stranger_beside(|ours| ours[0].saturating_sub(1).max(1))));
    list.push(fault("a stranger's segment in the middle of ours", stranger_beside(|ours| ours[ours.len() / 2])));
    list.push(fault("a stranger's segment after ours", stranger_beside(|ours| ours[ours.len() - 1] + 1)));
    list.push(fault("two segments swapped", |_, d| {
        let all = segments(&d.dir);
        let (Some(a), Some(b)) = (all.get(1), all.get(2)) else { return false };
        let tmp = a.with_extension("swap");
        std::fs::rename(a, &tmp).unwrap();
        std::fs::rename(b, a).unwrap();
        std::fs::rename(tmp, b).unwrap();
        true
    }));
    list.push(fault("all segments deleted", |_, d| {
        segments(&d.dir).iter().for_each(|p| std::fs::remove_file(p).unwrap());
        true
    }));
    list.push(fault("a stranger's staged part beside ours", |w, d| {
        let theirs = w.base.join("lake/.staging");
        let to = d.dir.join("lake/.staging");
        for dir in std::fs::read_dir(theirs).unwrap().flatten() {
            let name = dir.file_name().to_string_lossy().into_owned();
            // The same part, as of a log with another uuid.
            let Some((head, tail)) = name.split_once("10-") else { continue };
            copy_tree(&dir.path(), &to.join(format!("{head}10-0badcafe{}", tail.get(8..).unwrap_or_default())));
        }
        true
    }));
    for (name, slot) in [("first", 0_usize), ("second", 4096)] {
        list.push(fault(&format!("the {name} slot of EPOCH damaged"), move |_, d| {
            let path = d.log().join("EPOCH");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[slot + 40] ^= 0x10;
            std::fs::write(path, bytes).is_ok()
        }));
        list.push(fault(&format!("the {name} slot of the lake's ack damaged"), move |_, d| {
            let path = d.log().join("acks/lake.ack");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[slot + 40] ^= 0x10;
            std::fs::write(path, bytes).is_ok()
        }));
    }
    list
}
