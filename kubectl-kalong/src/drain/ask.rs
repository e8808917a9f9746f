//! A claim by hand.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::lane_drain::{DrainClass, DrainTarget, LaneDrainSpec, TargetKind};
use kalong_crds::{Kind, LaneDrain, PURPOSE_LABEL, Purpose, Reference, SITE_LABEL};
use kube::Api;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use tokio::time::Instant;

use super::preview::{FloorPreview, floors};
use super::progress::Progress;
use super::{AskArguments, DrainError, name};
use crate::Outcome;
use crate::cluster::{CallError, within};
use crate::moment::stamp;
use crate::output::{self};
use crate::site::{self, Scope, Site};
use crate::terminal::{Terminal, printable};

const MANAGER: &str = "kubectl-kalong";
/// How long the operator may take to say what a new claim waits for.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// Between two looks at a claim.
const LOOK: Duration = Duration::from_millis(500);
/// What a claim that names no other weight gets.
const PRIORITY: i64 = 100;

pub(super) async fn run(arguments: AskArguments, terminal: &Terminal) -> Result<Outcome, DrainError> {
    let target = Reference::of_words(&arguments.target)?;
    let spec = spec(&arguments, &target, Timestamp::now())?;
    let cluster = arguments.cluster.connect().await?;
    let (mut sites, skipped) = site::load(&cluster.client, &Scope::Site(cluster.namespace.clone())).await?;
    for missing in skipped {
        terminal.warn(&format!("{} left out: {}", missing.kind, missing.why));
    }
    let site = sites.pop().unwrap_or_else(|| Site::new(&cluster.namespace));
    if site.object(&target).is_none() {
        return Err(DrainError::Absent(target, cluster.namespace));
    }
    for line in cost(&site, &target, spec.class) {
        terminal.note(&printable(&line));
    }
    if spec.class == DrainClass::Emergency && !arguments.yes {
        confirm(terminal)?;
    }
    let drains: Api<LaneDrain> = Api::namespaced(cluster.client, &cluster.namespace);
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let body = object(&cluster.namespace, &target, spec);
    let mut made = within(drains.create(&parameters, &body)).await.map_err(CallError::of("create the LaneDrain"))?;
    let drain = made.metadata.name.clone().unwrap_or_default();
    // kubectl hides it too.
    made.metadata.managed_fields = None;
    match arguments.output {
        Some(format) => output::print(&output::document(format, &made)?)?,
        None => output::print(&format!("{drain}\n"))?,
    }
    let long = arguments.wait.and_then(|length| Duration::try_from(length).ok());
    follow(&drains, &drain, long, terminal).await
}

/// What the arguments ask for.
pub(super) fn spec(arguments: &AskArguments, target: &Reference, now: Timestamp) -> Result<LaneDrainSpec, DrainError> {
    let kind = match target.kind {
        Kind::Lane => TargetKind::Lane,
        Kind::InspectionStation => TargetKind::InspectionStation,
        Kind::Crossing => TargetKind::Crossing,
        other => return Err(DrainError::Target(other)),
    };
    let end = match (arguments.until, arguments.length) {
        (Some(until), _) => Some(until),
        (None, Some(length)) => Some(now.checked_add(length).unwrap_or(Timestamp::MAX)),
        (None, None) => None,
    };
    if end.is_some_and(|end| end <= now) {
        return Err(DrainError::Past(end.map(stamp).unwrap_or_default()));
    }
    if arguments.emergency && end.is_none() {
        return Err(DrainError::NoEnd);
    }
    Ok(LaneDrainSpec {
        target: DrainTarget { kind, name: target.name.as_str().into() },
        class: if arguments.emergency { DrainClass::Emergency } else { DrainClass::Change },
        requester: arguments.requester.clone(),
        reason: arguments.reason.clone().unwrap_or_default(),
        priority: PRIORITY,
        timeout_seconds: arguments.timeout.map(|t| t.as_secs()),
        deadline: end.map(stamp),
    })
}

/// What a person should know before a claim is made.
pub(super) fn cost(site: &Site, target: &Reference, class: DrainClass) -> Vec<String> {
    let lanes = site.concerned(target);
    let mut said = Vec::new();
    if lanes.is_empty() {
        said.push(format!("{target} has no lane that would be emptied."));
    } else if lanes.len() > 1 {
        let names: Vec<&str> = lanes.iter().filter_map(|l| l.metadata.name.as_deref()).collect();
        said.push(format!("{target} has {} lanes: {}.", lanes.len(), names.join(", ")));
    }
    let broken: Vec<_> = floors(site, target).into_iter().filter(FloorPreview::is_broken).collect();
    match class {
        DrainClass::Emergency if broken.is_empty() => said.push("No floor breaks by this emergency.".to_owned()),
        DrainClass::Emergency => {
            said.push("This emergency breaks:".to_owned());
            said.extend(broken.iter().map(|floor| format!("  {}", floor.sentence())));
        }
        DrainClass::Change => {
            for floor in &broken {
                said.push(format!("It will wait for a floor: {}.", floor.sentence()));
            }
        }
    }
    said
}

fn confirm(terminal: &Terminal) -> Result<(), DrainError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(DrainError::NotConfirmed);
    }
    terminal.note("Drain it all the same? Type `yes`:");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    if read.is_ok() && answer.trim().eq_ignore_ascii_case("yes") { Ok(()) } else { Err(DrainError::Declined) }
}

pub(super) fn object(namespace: &str, target: &Reference, spec: LaneDrainSpec) -> LaneDrain {
    let labels = [
        ("app.kubernetes.io/part-of", "kalong"),
        ("app.kubernetes.io/managed-by", MANAGER),
        (PURPOSE_LABEL, Purpose::Hand.as_str()),
        (SITE_LABEL, namespace),
    ];
    LaneDrain {
        metadata: ObjectMeta {
            generate_name: Some(name::generated(target)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Says what a new claim waits for, and each change of that while somebody waits.
async fn follow(
    drains: &Api<LaneDrain>,
    name: &str,
    long: Option<Duration>,
    terminal: &Terminal,
) -> Result<Outcome, DrainError> {
    let begun = Instant::now();
    let mut said: Option<Progress> = None;
    loop {
        let drain = within(drains.get_opt(name)).await.map_err(CallError::of("show the LaneDrain"))?;
        let Some(drain) = drain.filter(|d| d.metadata.deletion_timestamp.is_none()) else {
            return Err(DrainError::Ended(name.to_owned()));
        };
        let progress = Progress::of(&drain);
        let news = progress != Progress::Unseen && said.as_ref() != Some(&progress);
        if news {
            terminal.note(&printable(&format!("{name}: {}", progress.sentence())));
            said = Some(progress.clone());
        }
        let Some(long) = long else {
            if said.is_some() {
                return Ok(Outcome::Done);
            }
            if begun.elapsed() >= FIRST_WORD {
                terminal.warn(&format!("{name}: {}", progress.sentence()));
                return Ok(Outcome::Done);
            }
            tokio::time::sleep(LOOK).await;
            continue;
        };
        match progress {
            Progress::Holds(_) => return Ok(Outcome::Done),
            Progress::Ended(_) => return Err(DrainError::Ended(name.to_owned())),
            _ if begun.elapsed() >= long => return Err(DrainError::StillWaiting(name.to_owned())),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
