//! `kubectl kalong why`: the chain of what blocks an object, and what to do about it, in words.

mod chain;
mod phrases;
mod render;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use kalong_crds::Reference;
use kalong_crds::reference::ReferenceError;

use crate::Outcome;
use crate::cluster::{CallError, ClusterArguments, ClusterError};
use crate::output::{self, Format, OutputError};
use crate::runtime::{self, RuntimeError};
use crate::screen::Screen;
use crate::site::{self, Scope, Site};
use crate::terminal::Terminal;
use crate::words::Language;

/// Say what blocks an object, on whom it waits, and what to do
///
/// Follows what the object waits for from one object to the next until the root, and explains each reason: what it means,
/// since when, until when, and the next step. The exit code is 0 whether or not something blocks it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  kubectl kalong why lane/bl2-out-01 -n mong-cai\n  \
    kubectl kalong why device bl2-out-01-plate -n mong-cai --lang vi\n  \
    kubectl kalong why phase/phase-2 -o json\n\n\
    Exit codes: 0 whether something blocks it or not, 1 not answered, 2 wrong arguments.")]
pub(crate) struct Arguments {
    /// The object, as KIND/NAME or KIND NAME
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    object: Vec<String>,
    /// Language of the explanations; without it that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_enum)]
    lang: Option<Language>,
    /// Form of the output; without it text
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum WhyError {
    /// The object is not named as kubectl does.
    #[error(transparent)]
    #[strum(to_string = "object")]
    Reference(#[from] ReferenceError),
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
    /// The object is not there.
    #[error("there is no {0} in namespace `{1}`: look at `kubectl kalong status -n {1}`, or name the site with -n")]
    Absent(Reference, String),
}

pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<Outcome, WhyError> {
    let object = Reference::of_words(&arguments.object)?;
    let language = arguments.lang.unwrap_or_else(Language::detect);
    let site = runtime::run(read(arguments.cluster, terminal))??;
    if site.object(&object).is_none() {
        return Err(WhyError::Absent(object, site.namespace));
    }
    let text = explain(&site, &object, language, arguments.output, &Screen::detect(), Timestamp::now())?;
    output::print(&text)?;
    Ok(Outcome::Done)
}

async fn read(cluster: ClusterArguments, terminal: &Terminal) -> Result<Site, WhyError> {
    let cluster = cluster.connect().await?;
    let (mut sites, skipped) = site::load(&cluster.client, &Scope::Site(cluster.namespace.clone())).await?;
    for missing in skipped {
        terminal.warn(&format!("{} left out: {}", missing.kind, missing.why));
    }
    Ok(sites.pop().unwrap_or_else(|| Site::new(&cluster.namespace)))
}

fn explain(
    site: &Site,
    object: &Reference,
    language: Language,
    format: Option<Format>,
    screen: &Screen,
    now: Timestamp,
) -> Result<String, OutputError> {
    let chain = chain::chain(site, object);
    match format {
        Some(format) => output::document(format, &render::document(&site.namespace, &chain, language)),
        None => Ok(screen.text(&render::text(&chain, language, screen, now))),
    }
}
