//! `kubectl kalong drain`: a claim that a lane, a station's lanes or a crossing be empty, made by hand; its list; its end.

mod ask;
mod list;
mod name;
mod preview;
mod progress;
mod release;
#[cfg(test)]
mod tests;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::Reference;
use kalong_crds::reference::ReferenceError;

use crate::Outcome;
use crate::cluster::{CallError, ClusterArguments, ClusterError, ScopeArguments};
use crate::moment::parse_length;
use crate::output::{Format, OutputError};
use crate::runtime::{self, RuntimeError};
use crate::status::Form;
use crate::terminal::Terminal;

/// Shortest and longest time that a lane may take to become empty, as the schema has them.
const TIMEOUT: std::ops::RangeInclusive<i64> = 10..=14_400;

/// Empty a lane, a station's lanes or a crossing, and keep it empty
///
/// Makes a LaneDrain and says at once what it waits for. A Change waits until the capacity floors of the crossing hold and for
/// its turn. An emergency is accepted at once, whatever breaks, and has an end. The claim lasts until it is released, or until
/// its end; the lane reopens when its last claim ends, and only if Kalong closed it.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        kubectl kalong drain lane/bl2-out-01 -n mong-cai --reason 'barrier arm is bent' --wait\n  \
        kubectl kalong drain crossing/bac-luan-2 --reason 'flood' --emergency --for 6h\n  \
        kubectl kalong drain list -n mong-cai\n  \
        kubectl kalong drain release by-hand-bl2-out-01-x7k2p -n mong-cai"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    ask: AskArguments,
}

#[derive(Subcommand)]
enum Verb {
    List(ListArguments),
    Release(ReleaseArguments),
}

/// A claim by hand
#[derive(clap::Args)]
struct AskArguments {
    /// What is to be empty, as KIND/NAME or KIND NAME: a Lane, an InspectionStation or a Crossing
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    target: Vec<String>,
    /// Why, as one sentence; no person's name
    #[arg(long, value_name = "TEXT", required = true, value_parser = reason)]
    reason: Option<String>,
    /// Accept it at once although floors break; needs --until or --for, and --yes
    #[arg(long)]
    emergency: bool,
    /// When the claim ends by itself, for example 2026-11-22T18:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    until: Option<Timestamp>,
    /// How long the claim lasts at most, for example 2h
    #[arg(id = "length", long = "for", value_name = "TIME", value_parser = parse_length)]
    length: Option<SignedDuration>,
    /// How long a lane may take to become empty, 10s to 4h; without it the lane's own time
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<SignedDuration>,
    /// Who asks, as a role; never a person's name
    #[arg(long, value_name = "ROLE", default_value = "duty-officer", value_parser = requester)]
    requester: String,
    /// Wait until everything is empty and held, 30 min or as long as given
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30m", value_parser = parse_length)]
    wait: Option<SignedDuration>,
    /// Yes, break the floors that are named
    #[arg(long)]
    yes: bool,
    /// Form of the output; without it the name of the LaneDrain
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// List the claims of a site and what each waits for
#[derive(clap::Args)]
#[command(after_help = "Example:\n  kubectl kalong drain list -A")]
struct ListArguments {
    /// Form of the output; without it a table
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    scope: ScopeArguments,
}

/// End a claim: its lanes reopen unless another one holds them
#[derive(clap::Args)]
#[command(after_help = "Example:\n  kubectl kalong drain release by-hand-bl2-out-01-x7k2p -n mong-cai")]
struct ReleaseArguments {
    /// Name of the LaneDrain, as `drain list` shows it
    name: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, as one sentence".to_owned()),
        text if text.chars().count() > 256 => Err("say it in at most 256 characters".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn requester(text: &str) -> Result<String, String> {
    let starts = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-'));
    if starts && plain && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("write a role of letters, digits, `.`, `/` and `-`, for example duty-officer".to_owned())
    }
}

fn timeout(text: &str) -> Result<SignedDuration, String> {
    let length = parse_length(text)?;
    if TIMEOUT.contains(&length.as_secs()) { Ok(length) } else { Err("give 10s to 4h".to_owned()) }
}

/// Why nothing was drained, listed or released.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum DrainError {
    /// The target is not named as kubectl does.
    #[error(transparent)]
    #[strum(to_string = "object")]
    Reference(#[from] ReferenceError),
    /// The kind cannot be emptied.
    #[error("a {0} cannot be emptied: name a Lane, an InspectionStation or a Crossing")]
    #[strum(to_string = "object")]
    Target(kalong_crds::Kind),
    /// The target is not there.
    #[error("there is no {0} in namespace `{1}`: name the site with -n")]
    Absent(Reference, String),
    /// The claim is not there.
    #[error("there is no LaneDrain `{0}` in namespace `{1}`: `kubectl kalong drain list -n {1}` shows those that are")]
    #[strum(to_string = "absent")]
    NoDrain(String, String),
    /// An emergency without an end.
    #[error("an emergency breaks floors and has to end by itself: give --until or --for")]
    #[strum(to_string = "end")]
    NoEnd,
    /// The end is no end.
    #[error("the claim would end at {0}, which is past: give a later --until")]
    #[strum(to_string = "end")]
    Past(String),
    #[error("an emergency breaks floors and nobody can be asked here: look at what is named above, then give --yes")]
    NotConfirmed,
    #[error("nothing was drained")]
    #[strum(to_string = "not-confirmed")]
    Declined,
    /// A claim that the operator makes and takes back.
    #[error(
        "LaneDrain `{0}` was made by the operator for {1} and ends with that work: call that off instead, or the lane would open around it"
    )]
    OperatorMade(String, String),
    /// It takes longer than one wants to wait.
    #[error("it is not empty yet: the claim stays; `kubectl kalong why lanedrain/{0}` says what it waits for")]
    StillWaiting(String),
    /// Somebody ended the claim meanwhile.
    #[error("the claim `{0}` was ended by somebody else")]
    Ended(String),
    #[error(transparent)]
    #[strum(transparent)]
    Cluster(#[from] ClusterError),
    /// The API server did not answer.
    #[error(transparent)]
    #[strum(transparent)]
    Call(#[from] CallError),
    /// The output cannot be written.
    #[error(transparent)]
    #[strum(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    #[strum(to_string = "machine")]
    Runtime(#[from] RuntimeError),
}

pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<Outcome, DrainError> {
    match arguments.verb {
        Some(Verb::List(arguments)) => runtime::run(list::run(arguments, terminal))?,
        Some(Verb::Release(arguments)) => runtime::run(release::run(arguments, terminal))?,
        None => runtime::run(ask::run(arguments.ask, terminal))?,
    }
}
