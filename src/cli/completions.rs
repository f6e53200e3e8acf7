//! `tapedeck completions` and `tapedeck man`, from the same definitions that parse the arguments.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, print_out};

/// Arguments of `tapedeck completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to complete for.
    shell: Shell,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tapedeck", &mut text);
    print_out(&String::from_utf8_lossy(&text))
}

pub(super) fn man() -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print_out(&String::from_utf8_lossy(&text))
}
