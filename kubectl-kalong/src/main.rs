//! `kubectl kalong`: how people use Kalong from a terminal.
//!
//! A verb is a file. What a program may read goes to stdout; what a person should know beside it goes to stderr.
//! Exit codes: 0 done, 1 not done, 2 wrong arguments, 3 judged and refused.

mod cause;
mod cluster;
mod completion;
mod doctor;
mod drain;
mod enrol;
#[cfg(test)]
#[path = "../tests/golden/mod.rs"]
mod golden;
mod groups;
mod health;
mod moment;
mod output;
mod release;
mod runtime;
mod screen;
mod site;
mod status;
mod terminal;
mod why;
mod words;

use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};
use kalong_crds::Category;

use terminal::Terminal;

/// Kalong's verbs for people at a gate and for those who look after it
#[derive(Parser)]
#[command(name = "kubectl-kalong", bin_name = "kubectl kalong", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 not done, 2 wrong arguments, 3 judged and refused.\n\
                          Plain text when NO_COLOR is set or the output is no terminal.";

#[derive(Subcommand)]
enum Verb {
    Status(status::Arguments),
    Why(why::Arguments),
    Doctor(doctor::Arguments),
    Drain(Box<drain::Arguments>),
    Enrol(enrol::Arguments),
    #[command(subcommand)]
    Release(release::Verb),
    Completion(completion::Arguments),
}

/// How a verb ended that was not hindered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Judged, and the judgement is no.
    Refused,
    /// Looked at, and something does not work.
    Failed,
}

/// Why a verb was hindered.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
enum Failure {
    #[error(transparent)]
    #[strum(transparent)]
    Status(#[from] status::StatusError),
    #[error(transparent)]
    #[strum(transparent)]
    Why(#[from] why::WhyError),
    #[error(transparent)]
    #[strum(transparent)]
    Doctor(#[from] doctor::DoctorError),
    #[error(transparent)]
    #[strum(transparent)]
    Drain(#[from] drain::DrainError),
    #[error(transparent)]
    #[strum(transparent)]
    Enrol(#[from] enrol::EnrolError),
    #[error(transparent)]
    #[strum(transparent)]
    Release(#[from] release::ReleaseError),
    #[error(transparent)]
    #[strum(transparent)]
    Output(#[from] output::OutputError),
}

const NOT_DONE: u8 = 1;
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    // Only fails when a provider is installed already, which is then this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match Arguments::from_arg_matches(&command().get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let terminal = Terminal::detect();
    match run(arguments.verb, &terminal) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(REFUSED),
        Ok(Outcome::Failed) => ExitCode::from(NOT_DONE),
        Err(failure) => {
            terminal.error(failure.category(), &failure);
            ExitCode::from(NOT_DONE)
        }
    }
}

fn run(verb: Verb, terminal: &Terminal) -> Result<Outcome, Failure> {
    match verb {
        Verb::Status(arguments) => Ok(status::run(arguments, terminal)?),
        Verb::Why(arguments) => Ok(why::run(arguments, terminal)?),
        Verb::Doctor(arguments) => Ok(doctor::run(arguments)?),
        Verb::Drain(arguments) => Ok(drain::run(*arguments, terminal)?),
        Verb::Enrol(arguments) => Ok(enrol::run(arguments, terminal)?),
        Verb::Release(verb) => Ok(release::run(verb, terminal)?),
        Verb::Completion(arguments) => Ok(completion::run(&arguments)?),
    }
}

/// The whole command line, as people see it.
pub(crate) fn command() -> clap::Command {
    groups::grouped(plain_command())
}

/// The whole command line, as completions want it: grouping builds it, and they build it themselves, under another name.
pub(crate) fn plain_command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}
