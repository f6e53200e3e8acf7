//! What a command says on stdout.

use wal_format::plain;

/// Writes to stdout; a reader that went away is the end, not an error. What a terminal would act upon comes out as an
/// escape, whoever put it there; a name that must stay in its line goes through [`plain::line`] before.
pub(crate) fn print_out(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(plain::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
