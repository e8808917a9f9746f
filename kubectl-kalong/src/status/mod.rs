//! `kubectl kalong status`: a site as a tree, with problems first and equal things folded into one line.

mod describe;
mod fold;
mod node;
mod object;
mod problems;
mod relations;
#[cfg(test)]
mod tests;
mod tree;

use clap::ValueEnum;
use jiff::Timestamp;
use kalong_crds::Reference;
use kalong_crds::reference::ReferenceError;
use kube::Client;
use serde::Serialize;

use crate::Outcome;
use crate::cluster::{CallError, ClusterError, ScopeArguments};
use crate::output::{self, Format, OutputError};
use crate::runtime::{self, RuntimeError};
use crate::screen::Screen;
use crate::site::{self, Scope, Site};
use crate::terminal::Terminal;
use node::Width;

/// Show a site, or one object with its neighbours, as a tree
///
/// Problems stand first, each with its reason, its message and how long it lasts; what only follows from them is counted. Then
/// the site: phases, crossings, lanes, stations, vehicles, links, agents and devices. Equal healthy things share one line.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  kubectl kalong status -n mong-cai\n  kubectl kalong status -A\n  \
    kubectl kalong status lane/bl2-out-01 -n mong-cai\n  kubectl kalong status -n mong-cai -o wide\n\n\
    Signs: ✓ well, · at rest on purpose, … under way, ! look at it, ? nobody can tell, ✗ failed or stuck.")]
pub(crate) struct Arguments {
    /// One object, as KIND/NAME or KIND NAME; without it the whole site
    #[arg(value_name = "KIND/NAME", num_args = 0..=2)]
    object: Vec<String>,
    /// Form of the output; without it a tree
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    scope: ScopeArguments,
}

/// Form of the output
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A tree with the names of what is folded
    Wide,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

impl Form {
    /// The form of a document, if this is one.
    pub(crate) fn document(self) -> Option<Format> {
        match self {
            Self::Wide => None,
            Self::Json => Some(Format::Json),
            Self::Yaml => Some(Format::Yaml),
        }
    }
}

/// Why no status can be shown.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum StatusError {
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
    #[error("there is no {0} in {1}: look at `kubectl kalong status` without an object, or name the site with -n")]
    Absent(Reference, String),
}

pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<Outcome, StatusError> {
    let object = match arguments.object.as_slice() {
        [] => None,
        words => Some(Reference::of_words(words)?),
    };
    let (sites, scope) = runtime::run(read(arguments.scope, terminal))??;
    let screen = Screen::detect();
    let now = Timestamp::now();
    let text = match object {
        Some(object) => of_object(&sites, &object, &scope, arguments.output, &screen, now)?,
        None => of_sites(&sites, arguments.output, &screen, now)?,
    };
    if sites.iter().all(Site::is_empty) {
        let place = place(&scope);
        terminal.note(&format!(
            "There are no objects of Kalong in {place}: name the site with -n, or look everywhere with -A."
        ));
        if arguments.output.and_then(Form::document).is_none() {
            return Ok(Outcome::Done);
        }
    }
    output::print(&text)?;
    Ok(Outcome::Done)
}

async fn read(scope: ScopeArguments, terminal: &Terminal) -> Result<(Vec<Site>, Scope), StatusError> {
    let (client, scope): (Client, Scope) = scope.connect().await?;
    let (sites, skipped) = site::load(&client, &scope).await?;
    for missing in skipped {
        terminal.warn(&format!("{} left out: {}", missing.kind, missing.why));
    }
    Ok((sites, scope))
}

fn place(scope: &Scope) -> String {
    match scope {
        Scope::Site(namespace) => format!("namespace `{namespace}`"),
        Scope::Everywhere => "any namespace".to_owned(),
    }
}

#[derive(Debug, Serialize)]
struct Sites<'a> {
    sites: Vec<tree::SiteDocument<'a>>,
}

fn of_sites(sites: &[Site], form: Option<Form>, screen: &Screen, now: Timestamp) -> Result<String, StatusError> {
    let width = Width::of(form);
    if let Some(format) = form.and_then(Form::document) {
        let sites = sites.iter().map(|site| tree::document(site, width)).collect();
        return Ok(output::document(format, &Sites { sites })?);
    }
    let pages: Vec<String> =
        sites.iter().filter(|s| !s.is_empty()).map(|site| screen.text(&tree::lines(site, width, now))).collect();
    Ok(pages.join("\n"))
}

fn of_object(
    sites: &[Site],
    object: &Reference,
    scope: &Scope,
    form: Option<Form>,
    screen: &Screen,
    now: Timestamp,
) -> Result<String, StatusError> {
    let width = Width::of(form);
    let pages: Vec<object::Page<'_>> = sites.iter().filter_map(|site| object::page(site, object, width)).collect();
    if pages.is_empty() {
        return Err(StatusError::Absent(object.clone(), place(scope)));
    }
    if let Some(format) = form.and_then(Form::document) {
        return Ok(match (scope, pages.as_slice()) {
            (Scope::Site(_), [one]) => output::document(format, one)?,
            _ => output::document(format, &pages)?,
        });
    }
    let pages: Vec<String> = pages.iter().map(|page| screen.text(&object::lines(page, now))).collect();
    Ok(pages.join("\n"))
}
