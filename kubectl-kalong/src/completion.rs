//! `kubectl kalong completion`: words for the shell.

use clap_complete::Shell;

use crate::output::{self, OutputError};
use crate::{Outcome, plain_command};

/// Print completions for a shell
///
/// For `kubectl kalong <TAB>` in bash: source the output, and put an executable `kubectl_complete-kalong` on the PATH as
/// kubectl's documentation on plugins says.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, OutputError> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut plain_command(), "kubectl-kalong", &mut text);
    output::print(&String::from_utf8_lossy(&text))?;
    Ok(Outcome::Done)
}
