//! `tapedeck completions` and `tapedeck man`, from the same definitions that parse the arguments.

use clap_complete::Shell;

use super::output::print_out;

/// Arguments of `tapedeck completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to complete for.
    shell: Shell,
}

pub(super) fn run(args: Args, command: &mut clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, command, "tapedeck", &mut text);
    print_out(&String::from_utf8_lossy(&text))
}

pub(super) fn man(command: clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    print_out(&String::from_utf8_lossy(&text))
}
