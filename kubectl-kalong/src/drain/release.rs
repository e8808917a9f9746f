//! The end of a claim.

use kalong_crds::{Lane, LaneDrain};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};

use super::{DrainError, ReleaseArguments};
use crate::Outcome;
use crate::cluster::{CallError, within};
use crate::output;
use crate::terminal::{Terminal, printable};

pub(super) async fn run(arguments: ReleaseArguments, terminal: &Terminal) -> Result<Outcome, DrainError> {
    let cluster = arguments.cluster.connect().await?;
    // `drain list` and `get` print names in these forms too.
    let name = arguments.name.rsplit('/').next().unwrap_or_default().to_owned();
    let drains: Api<LaneDrain> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = within(drains.get_opt(&name)).await.map_err(CallError::of("show the LaneDrain"))?;
    let Some(drain) = found else { return Err(DrainError::NoDrain(name, cluster.namespace)) };
    releasable(&drain)?;
    let exactly = Preconditions { uid: drain.metadata.uid.clone(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    within(drains.delete(&name, &parameters)).await.map_err(CallError::of("delete the LaneDrain"))?;
    output::print(&format!("{name} released\n"))?;
    let lanes: Api<Lane> = Api::namespaced(cluster.client, &cluster.namespace);
    // Only for the sentence: whoever may end a claim may not be allowed to list lanes.
    if let Ok(lanes) = within(lanes.list(&ListParams::default())).await {
        for line in after(&drain, &lanes.items) {
            terminal.note(&printable(&line));
        }
    }
    Ok(Outcome::Done)
}

/// Whether a person may end this claim.
pub(super) fn releasable(drain: &LaneDrain) -> Result<(), DrainError> {
    if drain.is_made_by_operator() {
        return Err(DrainError::OperatorMade(drain.name_any(), drain.spec.requester.clone()));
    }
    Ok(())
}

/// What happens to the lanes that the claim held.
pub(super) fn after(drain: &LaneDrain, lanes: &[Lane]) -> Vec<String> {
    let name = drain.name_any();
    let held = lanes.iter().filter_map(|lane| {
        let by = &lane.status.as_ref()?.held_by;
        by.iter().any(|d| d.as_str() == name).then_some((lane, by))
    });
    held.map(|(lane, by)| {
        let others: Vec<&str> = by.iter().map(|d| d.as_str()).filter(|d| *d != name).collect();
        match (others.is_empty(), lane.spec.admission) {
            (false, _) => format!("Lane/{} stays held by {}.", lane.name_any(), others.join(", ")),
            (true, kalong_crds::lane::Admission::Open) => format!("Lane/{} reopens.", lane.name_any()),
            (true, kalong_crds::lane::Admission::Closed) => {
                format!("Lane/{} stays closed, as it is declared.", lane.name_any())
            }
        }
    })
    .collect()
}
