//! What each fact about the machine means. Pure: facts in, one finding out.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Works, and could be better.
    Unwise,
    /// Recording would fail or lose data.
    Bad,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub what: &'static str,
    pub verdict: Verdict,
    /// The facts.
    pub says: String,
    /// What to do, if anything.
    pub fix: Option<String>,
}

impl Finding {
    pub fn ok(what: &'static str, says: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Ok, says: says.into(), fix: None }
    }

    pub fn unwise(what: &'static str, says: String, fix: String) -> Finding {
        Finding { what, verdict: Verdict::Unwise, says, fix: Some(fix) }
    }

    pub fn bad(what: &'static str, says: String, fix: String) -> Finding {
        Finding { what, verdict: Verdict::Bad, says, fix: Some(fix) }
    }

    /// For people: one line, and one more where something is to be done.
    pub fn text(&self) -> String {
        let word = match self.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Unwise => "unwise ",
            Verdict::Bad => "BAD    ",
        };
        let fix = self.fix.as_ref().map_or_else(String::new, |fix| format!("        fix: {fix}\n"));
        format!("{word} {}: {}\n{fix}", self.what, self.says)
    }
}

/// File systems by their number (statfs(2)).
pub(super) fn file_system(kind: Option<u64>) -> Finding {
    const WHAT: &str = "file system";
    let other = "name a data.dir on a local disk with ext4 or xfs".to_owned();
    match kind {
        Some(0x0102_1994 | 0x8584_58f6) => {
            Finding::bad(WHAT, "memory: everything is gone after a restart of the machine".into(), other)
        }
        Some(0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b | 0x0065_735546 | 0x0102_1997) => Finding::bad(
            WHAT,
            "a network or user-space file system: locks and mapped files cannot be relied on".into(),
            other,
        ),
        Some(0x9123_683e) => Finding::unwise(
            WHAT,
            "btrfs: copy on write makes a log that is written in place slow and large".into(),
            "chattr +C on the empty log directory, or ext4 or xfs".into(),
        ),
        Some(0xef53) => Finding::ok(WHAT, "ext4"),
        Some(0x5846_5342) => Finding::ok(WHAT, "xfs"),
        Some(other) => Finding::ok(WHAT, format!("number {other:#x}, no known trouble")),
        None => Finding::unwise(WHAT, "is unknown".into(), "see whether the directory of data.dir can be made".into()),
    }
}

/// How long a sync takes decides what `sync = "interval"` can promise.
pub(super) fn sync(times: &[Duration]) -> Finding {
    const WHAT: &str = "disk writes";
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let worst = sorted.last().copied().unwrap_or_default();
    let says = format!(
        "4 KiB are on the disk after {:.1} ms, at worst {:.1} ms",
        middle.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3
    );
    if middle > Duration::from_millis(100) {
        return Finding::unwise(
            WHAT,
            says,
            "a power cut costs more than sync_interval_ms promises: use a faster disk, or raise it knowingly".into(),
        );
    }
    Finding::ok(WHAT, says)
}

/// Sockets, segments, files being written.
pub(super) fn open_files(limit: Option<u64>, connections: usize, venues: usize) -> Finding {
    const WHAT: &str = "open files";
    let need = 512 + connections as u64 + 64 * venues as u64;
    match limit {
        Some(limit) if limit < need => Finding::bad(
            WHAT,
            format!("{limit} may be open, about {need} are needed for {connections} connections of {venues} venues"),
            format!("ulimit -n {}, or LimitNOFILE= in the unit", need.next_power_of_two().max(4_096)),
        ),
        Some(limit) => Finding::ok(WHAT, format!("{limit} may be open, about {need} are needed")),
        None => Finding::ok(WHAT, "no limit"),
    }
}

/// Every frame is stamped: a clock that needs a system call for each is slow.
pub(super) fn clock_source(name: Option<&str>) -> Finding {
    const WHAT: &str = "clock source";
    match name.map(str::trim) {
        Some(name @ ("tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page")) => {
            Finding::ok(WHAT, name)
        }
        Some(name) => Finding::unwise(
            WHAT,
            format!("{name}: each time stamp is a system call"),
            "boot with clocksource=tsc where the machine has one".into(),
        ),
        None => Finding::ok(WHAT, "this kernel does not say"),
    }
}

/// Receive times are only worth something with a synchronized clock.
pub(super) fn time_service(running: &[String]) -> Finding {
    const WHAT: &str = "time service";
    const KNOWN: [&str; 6] = ["chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys", "openntpd"];
    match running.iter().find(|name| KNOWN.contains(&name.as_str())) {
        Some(name) => Finding::ok(WHAT, name.clone()),
        None => Finding::unwise(
            WHAT,
            "none of chrony, ntpd, systemd-timesyncd, ptp4l runs here: receive times drift".into(),
            "apt-get install chrony (in a container: on its host)".into(),
        ),
    }
}

pub(super) fn memory(found_mib: Option<u64>, limit_mib: u64, estimate_mib: u64) -> Finding {
    const WHAT: &str = "memory";
    let says = format!("{limit_mib} MiB for each service, the compactor's rows need about {estimate_mib} MiB");
    match found_mib {
        Some(found) if limit_mib > found => Finding::bad(
            WHAT,
            format!("memory.limit_mib is {limit_mib}, this machine or cgroup has {found} MiB"),
            format!("write limit_mib = {} or 0", found / 2),
        ),
        _ => Finding::ok(WHAT, says),
    }
}

pub(super) fn pressure_information(there: bool) -> Finding {
    const WHAT: &str = "pressure information";
    if there {
        return Finding::ok(WHAT, "the kernel says who waits for memory");
    }
    Finding::unwise(
        WHAT,
        "this kernel does not say who waits for memory; levels go by use alone".into(),
        "boot with psi=1".into(),
    )
}

/// What the kernel holds for a collector that does not get its turn.
pub(super) fn receive_buffer(max: Option<u64>, tuned_max: Option<u64>, want: u64) -> Finding {
    const WHAT: &str = "receive buffers";
    let most = max.map(|m| m.saturating_mul(2)).max(tuned_max).unwrap_or(0);
    let says = format!("up to {} KiB for each connection", most >> 10);
    if most < want / 2 {
        return Finding::unwise(
            WHAT,
            says,
            format!("sysctl -w net.core.rmem_max={want}: bursts wait there while the disk does"),
        );
    }
    Finding::ok(WHAT, says)
}

pub(super) fn port(what: &'static str, listen: SocketAddr, taken: Option<String>, ours: bool) -> Finding {
    match taken {
        None => Finding::ok(what, format!("{listen} is free")),
        Some(_) if ours => Finding::ok(what, format!("{listen}: a service of ours answers there")),
        Some(why) => Finding::unwise(
            what,
            format!("{listen} cannot be had: {why}"),
            "stop what listens there, or write another port".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(f: Finding) -> Verdict {
        // Every finding that reports a problem also says what to do.
        assert_eq!(f.verdict == Verdict::Ok, f.fix.is_none(), "{f:?}");
        assert!(f.text().starts_with(match f.verdict {
            Verdict::Ok => "ok",
            Verdict::Unwise => "unwise",
            Verdict::Bad => "BAD",
        }));
        f.verdict
    }

    #[test]
    fn what_would_lose_data_is_bad_and_what_only_hurts_is_unwise() {
        use Verdict::{Bad, Ok, Unwise};
        assert_eq!(
            [Some(0x0102_1994), Some(0x6969), Some(0x9123_683e), Some(0xef53), None].map(|k| verdict(file_system(k))),
            [Bad, Bad, Unwise, Ok, Unwise]
        );
        let ms = Duration::from_millis;
        assert_eq!(verdict(sync(&[ms(1), ms(2), ms(900)])), Ok);
        assert_eq!(verdict(sync(&[ms(150), ms(2), ms(160)])), Unwise);
        assert_eq!([Some(256), Some(65_536), None].map(|n| verdict(open_files(n, 30, 3))), [Bad, Ok, Ok]);
        assert_eq!([Some("tsc\n"), Some("hpet"), None].map(|n| verdict(clock_source(n))), [Ok, Unwise, Ok]);
        assert_eq!(verdict(time_service(&["init".into(), "chronyd".into()])), Ok);
        assert_eq!(verdict(time_service(&["init".into()])), Unwise);
        assert_eq!([Some(1_000), Some(5_000), None].map(|m| verdict(memory(m, 4_096, 200))), [Bad, Ok, Ok]);
        assert_eq!([true, false].map(|t| verdict(pressure_information(t))), [Ok, Unwise]);
        assert_eq!(verdict(receive_buffer(Some(212_992), Some(6 << 20), 8 << 20)), Ok);
        assert_eq!(verdict(receive_buffer(Some(212_992), Some(1 << 20), 8 << 20)), Unwise);
        let at: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 1));
        let taken = || Some("in use".to_owned());
        assert_eq!(
            [(None, false), (taken(), true), (taken(), false)].map(|(t, o)| verdict(port("p", at, t, o))),
            [Ok, Ok, Unwise]
        );
    }
}
