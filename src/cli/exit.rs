//! How a command ends: its exit codes, the errors that only the command line knows, and an error as people read it.

use compact::CompactError;
use config::ConfigErrors;
use kline::KlineError;
use ops::supervise::{Fatal, Panicked};
use wal_format::plain;

/// Success.
pub const EXIT_OK: u8 = 0;
/// Something failed.
pub const EXIT_FAILURE: u8 = 1;
/// Arguments or configuration are wrong.
pub const EXIT_USAGE: u8 = 2;
/// A log stopped because what it was acknowledged for is missing, or cannot be believed: a person has to look.
pub const EXIT_DATA_MISSING: u8 = 10;
/// A task panicked without which the service cannot go on, or which a drain needs: start it again.
pub const EXIT_PANICKED: u8 = 11;
/// A mapped file was truncated, or its disk cannot read it (SIGBUS); stderr says which and where. Start again.
pub const EXIT_SIGBUS: u8 = 12;
/// Stopped by Ctrl-C; it can go on.
pub const EXIT_STOPPED: u8 = 130;

/// The chain of causes, one plain line each.
pub fn explain(err: &anyhow::Error) -> String {
    let mut text = format!("error: {}", plain::message(&err.to_string()));
    let mut last = err.to_string();
    for cause in err.chain().skip(1) {
        let cause = cause.to_string();
        // Library errors often repeat their source in their own text.
        if !last.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&plain::message(&cause));
        }
        last = cause;
    }
    text
}

/// 2 for a configuration that cannot be used, 10 where evidence is missing, 11 after a panic, 130 for work that was stopped, 1 for everything else.
pub fn exit_code(err: &anyhow::Error) -> u8 {
    let compacting = || err.chain().filter_map(|c| c.downcast_ref::<CompactError>());
    let stopped = |c: &(dyn std::error::Error + 'static)| c.downcast_ref().is_some_and(KlineError::stopped);
    if err.is::<Stopped>() || err.chain().any(stopped) || compacting().any(CompactError::stopped) {
        return EXIT_STOPPED;
    }
    if compacting().any(|c| c.evidence().is_some()) {
        return EXIT_DATA_MISSING;
    }
    let candles = |c: &(dyn std::error::Error + 'static)| c.downcast_ref().is_some_and(KlineError::panicked);
    if err.chain().any(|c| c.is::<Panicked>() || c.is::<Fatal>() || candles(c))
        || compacting().any(CompactError::panicked)
    {
        return EXIT_PANICKED;
    }
    if err.chain().any(|c| c.is::<ConfigErrors>() || c.is::<Usage>()) { EXIT_USAGE } else { EXIT_FAILURE }
}

/// Stopped work that can go on later.
#[derive(Debug, thiserror::Error)]
#[error("stopped; the same command goes on where it was")]
pub struct Stopped;

/// Arguments that clap cannot judge.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use compact::EvidenceMissing;

    #[test]
    fn what_failed_first_decides_the_code_whatever_was_being_done() {
        let of = |cause: CompactError| {
            let part = CompactError::Step { doing: "publish", source: Box::new(cause) };
            let venue = CompactError::Of { id: model::VenueId::GateSpot, source: Box::new(part) };
            exit_code(&anyhow::Error::from(venue).context("drain"))
        };
        assert_eq!(of(EvidenceMissing::Taken { path: "trades/a.parquet".into() }.into()), EXIT_DATA_MISSING);
        assert_eq!(of(Panicked { message: "no".into(), place: "here".into() }.into()), EXIT_PANICKED);
        assert_eq!(of(CompactError::Blocked("a FIFO".into())), EXIT_FAILURE);
        assert_eq!(of(CompactError::Stopped { name: "gate-spot".into() }), EXIT_STOPPED);
    }

    #[test]
    fn what_an_error_quotes_of_others_neither_acts_upon_a_terminal_nor_looks_like_a_line_of_ours() {
        let err =
            anyhow::anyhow!("{}", "HTTP 400: \u{1b}[2J\nerror: all fine\n  fix: nothing").context("read the listing");
        let text = explain(&err);
        assert!(!text.contains('\u{1b}') && text.contains("\\u001b[2J"), "{text}");
        assert_eq!(text.lines().filter(|l| !l.starts_with(' ')).count(), 1, "{text}");
    }
}
