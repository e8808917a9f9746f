//! The installation itself: API server, CRDs, policy, operator and keys. Pure.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::schema::{crd_documents, deletion_policy};
use kalong_crds::wire::release::ReleaseKeys;
use serde_json::Value;

use super::gather::{Evidence, LEASE, Lookup, POLICY, Server};
use super::schema::{Difference, difference};
use super::{Check, field};
use crate::enrol::trust::Trust;
use crate::moment::{ago, length};

/// Clocks may differ by so much before times in messages mislead.
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// The Date header counts whole seconds.
const DATE_STEP: SignedDuration = SignedDuration::from_secs(1);
/// The oldest minor version of Kubernetes that has everything that Kalong uses.
const OLDEST_MINOR: u32 = 33;
/// So many examples in a line.
const EXAMPLES: usize = 3;

const UPGRADE: &str = "Upgrade the chart kalong-crds (or kalong) to the version of this plugin.";

pub(super) fn judge(evidence: &Evidence) -> Result<Vec<Check>, serde_json::Error> {
    let mut checks = vec![server(&evidence.server)];
    if let Lookup::Hidden(_) | Lookup::Absent = evidence.server {
        return Ok(checks);
    }
    checks.push(clock(&evidence.server));
    checks.push(crds(&evidence.crds, &crd_documents()?));
    checks.push(policy(&evidence.policy, &evidence.binding));
    checks.push(operator(evidence));
    checks.push(lease(evidence));
    checks.extend(trust(evidence));
    checks.extend(field::judge(evidence));
    Ok(checks)
}

fn server(found: &Lookup<Server>) -> Check {
    const NAME: &str = "API server";
    let server = match found {
        Lookup::There(server) => server,
        Lookup::Absent => return Check::fail(NAME, "does not tell its version", "Try `kubectl version`."),
        Lookup::Hidden(why) => {
            return Check::fail(NAME, why.clone(), "Look at the kubeconfig and the way to the API server.");
        }
    };
    let minor = server.version.trim_start_matches('v').split('.').nth(1).and_then(|m| m.parse::<u32>().ok());
    let says = format!("Kubernetes {}", server.version);
    match minor {
        Some(minor) if minor < OLDEST_MINOR => {
            Check::fail(NAME, says, format!("Kalong needs Kubernetes 1.{OLDEST_MINOR} or later: upgrade the cluster."))
        }
        Some(_) => Check::ok(NAME, says),
        None => Check::warn(NAME, says, format!("Make sure that this is Kubernetes 1.{OLDEST_MINOR} or later.")),
    }
}

fn clock(found: &Lookup<Server>) -> Check {
    const NAME: &str = "clock";
    let Lookup::There(Server { clock: Some(theirs), ours, .. }) = found else {
        return Check::warn(
            NAME,
            "the API server sends no Date",
            "Compare the clocks by hand: a proxy may hide the header.",
        );
    };
    let ahead = ours.duration_since(*theirs);
    // The true time of the server lies within the second that it names.
    let skew = if ahead.is_negative() { ahead } else { (ahead - DATE_STEP).max(SignedDuration::ZERO) };
    if skew.abs() <= SKEW {
        return Check::ok(NAME, "this machine and the API server agree within 2 s");
    }
    let way = if skew.is_negative() { "behind" } else { "ahead of" };
    Check::warn(
        NAME,
        format!("this machine is {} {way} the API server", length(skew.abs())),
        "Set the clock that is wrong by a time server: tokens, certificates and ages are judged by it.",
    )
}

fn crds(found: &[(String, Lookup<Value>)], ours: &[Value]) -> Check {
    const NAME: &str = "CRDs";
    let mut absent = Vec::new();
    let mut hidden = None;
    let mut inactive = Vec::new();
    let mut difference_of = Vec::new();
    for (name, found) in found {
        match found {
            Lookup::Absent => absent.push(name.as_str()),
            Lookup::Hidden(why) => hidden = Some(why.clone()),
            Lookup::There(crd) => {
                if !established(crd) {
                    inactive.push(name.as_str());
                }
                let own = ours.iter().find(|o| o.pointer("/metadata/name").and_then(Value::as_str) == Some(name));
                difference_of.extend(own.map(|own| (name.as_str(), difference(crd, own))));
            }
        }
    }
    if !absent.is_empty() {
        let says = format!("{} of {} are not installed: {}", absent.len(), found.len(), absent.join(", "));
        return Check::fail(NAME, says, "Install the chart kalong-crds (or kalong).");
    }
    if let Some(why) = hidden {
        return Check::warn(
            NAME,
            why,
            "Ask for the right to get customresourcedefinitions, or have somebody with it look.",
        );
    }
    if !inactive.is_empty() {
        let says = format!("not served: {}", inactive.join(", "));
        return Check::fail(NAME, says, "Look at the conditions of the CRD: `kubectl describe crd`.");
    }
    compared(NAME, found.len(), &difference_of)
}

fn compared(name: &'static str, count: usize, found: &[(&str, Difference)]) -> Check {
    let examples = |pick: fn(&Difference) -> &Vec<String>| {
        let all: Vec<String> =
            found.iter().flat_map(|(crd, d)| pick(d).iter().map(move |field| format!("{crd} {field}"))).collect();
        let more = all.len().saturating_sub(EXAMPLES);
        let shown = all.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join("; ");
        if more == 0 { shown } else { format!("{shown}; and {more} more") }
    };
    if found.iter().any(|(_, d)| !d.missing.is_empty()) {
        return Check::fail(name, format!("older than this plugin, without {}", examples(|d| &d.missing)), UPGRADE);
    }
    if found.iter().any(|(_, d)| !d.extra.is_empty()) {
        let says = format!("other than this plugin knows them: {}", examples(|d| &d.extra));
        return Check::warn(name, says, "Install the plugin in the version of the charts.");
    }
    Check::ok(name, format!("{count} present, each field and rule as this plugin knows it"))
}

fn established(crd: &Value) -> bool {
    crd.pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
}

fn policy(policy: &Lookup<Value>, binding: &Lookup<Value>) -> Check {
    const NAME: &str = "deletion policy";
    const INSTALL: &str =
        "Install the chart kalong-crds again: without the policy a mistaken prune deletes lanes in service.";
    let (policy, binding) = match (policy, binding) {
        (Lookup::There(policy), Lookup::There(binding)) => (policy, binding),
        (Lookup::Hidden(why), _) | (_, Lookup::Hidden(why)) => {
            return Check::warn(
                NAME,
                why.clone(),
                "Ask for the right to get validatingadmissionpolicies and their bindings.",
            );
        }
        (Lookup::Absent, _) => {
            return Check::fail(NAME, format!("ValidatingAdmissionPolicy {POLICY} is not there"), INSTALL);
        }
        (_, Lookup::Absent) => {
            return Check::fail(NAME, format!("ValidatingAdmissionPolicyBinding {POLICY} is not there"), INSTALL);
        }
    };
    let denies = binding
        .pointer("/spec/validationActions")
        .and_then(Value::as_array)
        .is_some_and(|actions| actions.iter().any(|a| a == "Deny"));
    if !denies {
        return Check::fail(NAME, "its binding does not deny", INSTALL);
    }
    if policy.pointer("/spec/failurePolicy").is_some_and(|p| p != "Fail") {
        return Check::fail(NAME, "it lets pass what it cannot judge", INSTALL);
    }
    let ours = deletion_policy();
    let parts = ["/spec/validations", "/spec/variables", "/spec/matchConditions"];
    let same = ours.first().is_some_and(|own| parts.iter().all(|part| own.pointer(part) == policy.pointer(part)));
    if same {
        Check::ok(NAME, "present and bound: what is in service cannot be deleted")
    } else {
        Check::warn(NAME, "present, and its rules are not those of this version", UPGRADE)
    }
}

fn operator(evidence: &Evidence) -> Check {
    const NAME: &str = "operator";
    let namespace = &evidence.operator_namespace;
    let todo = format!("Look at its Pods: `kubectl get pods -n {namespace}`, and at their logs.");
    let deployments = match &evidence.deployments {
        Lookup::There(list) => list,
        Lookup::Absent => &Vec::new(),
        Lookup::Hidden(why) => {
            return Check::warn(NAME, why.clone(), format!("Ask for the right to list deployments in {namespace}."));
        }
    };
    if deployments.is_empty() {
        return if fresh(evidence) {
            Check::warn(
                NAME,
                format!("no Deployment in {namespace}; it runs outside the cluster"),
                "Nothing to do if that is meant; else install the chart kalong.",
            )
        } else {
            let todo = "Install the chart kalong, or name the operator's namespace with --operator-namespace.";
            Check::fail(NAME, format!("no Deployment in {namespace}"), todo)
        };
    }
    let mut says = Vec::new();
    let (mut ready, mut wanted) = (0, 0);
    for deployment in deployments {
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let want = deployment.spec.replicas.unwrap_or(1);
        let have = deployment.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
        says.push(format!("Deployment {namespace}/{name}: {have} of {want} Pods ready"));
        ready += have;
        wanted += want;
    }
    let says = says.join("; ");
    match (ready, wanted) {
        (0, _) => Check::fail(NAME, says, todo),
        (ready, wanted) if ready < wanted => Check::warn(NAME, says, todo),
        _ => Check::ok(NAME, says),
    }
}

/// The time by which the Lease is judged: the API server's own, if it is known, for its holder writes that one's neighbour.
fn reference(evidence: &Evidence) -> Timestamp {
    match &evidence.server {
        Lookup::There(Server { clock: Some(theirs), ours, .. }) => {
            evidence.now.checked_sub(ours.duration_since(*theirs)).unwrap_or(evidence.now)
        }
        _ => evidence.now,
    }
}

/// How long the Lease still runs, negative when it has run out.
fn left(evidence: &Evidence) -> Option<SignedDuration> {
    let Lookup::There(lease) = &evidence.lease else { return None };
    let spec = lease.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref()?.0;
    let duration = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds?));
    Some(duration - reference(evidence).duration_since(renewed))
}

fn fresh(evidence: &Evidence) -> bool {
    left(evidence).is_some_and(|left| !left.is_negative())
}

fn lease(evidence: &Evidence) -> Check {
    const NAME: &str = "lease";
    let namespace = &evidence.operator_namespace;
    let lease = match &evidence.lease {
        Lookup::There(lease) => lease,
        Lookup::Absent => {
            let todo =
                "No operator has led here yet: look at its log, or name its namespace with --operator-namespace.";
            return Check::fail(NAME, format!("Lease {namespace}/{LEASE} is not there"), todo);
        }
        Lookup::Hidden(why) => {
            return Check::warn(NAME, why.clone(), format!("Ask for the right to get leases in {namespace}."));
        }
    };
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty());
    let term = spec.and_then(|s| s.lease_transitions).unwrap_or_default();
    let todo =
        "No operator leads: agents go on as they were told, and nothing new is done. Look at the operator's log.";
    match (holder, spec.and_then(|s| s.renew_time.as_ref())) {
        (Some(holder), Some(renewed)) => {
            let age = ago(renewed.0, reference(evidence));
            let says = format!("held by {holder} under term {term}, renewed {age} ago");
            if fresh(evidence) { Check::ok(NAME, says) } else { Check::fail(NAME, says, todo) }
        }
        _ => Check::fail(NAME, "held by nobody", todo),
    }
}

fn trust(evidence: &Evidence) -> Vec<Check> {
    const NAME: &str = "trust";
    const KEYS: &str = "release keys";
    let namespace = &evidence.operator_namespace;
    let map = match &evidence.trust {
        Lookup::There(map) => map,
        Lookup::Absent => {
            let says = format!("ConfigMap {namespace}/kalong-trust is not there: no box can be enrolled");
            return vec![Check::fail(NAME, says, "The leading operator writes it: look why none leads.")];
        }
        Lookup::Hidden(why) => {
            return vec![Check::warn(
                NAME,
                why.clone(),
                format!("Ask for the right to get ConfigMaps in {namespace}."),
            )];
        }
    };
    let first = match Trust::read(map) {
        Ok(trust) => Check::ok(NAME, format!("boxes enrol at {}", trust.server())),
        Err(error) => {
            let says = format!("ConfigMap {namespace}/kalong-trust cannot be used: {error}");
            Check::fail(NAME, says, "Restart the operator, which writes it anew.")
        }
    };
    let keys = map.data.as_ref().and_then(|d| d.get("releaseKeys"));
    let keys = keys.and_then(|text| serde_json::from_str::<ReleaseKeys>(text).ok());
    let second = match keys {
        Some(keys) if !keys.keys.is_empty() => {
            let names: Vec<&str> = keys.keys.iter().map(|k| k.key_id.as_str()).collect();
            Check::ok(KEYS, format!("document {} with {}", keys.number, names.join(", ")))
        }
        Some(_) => Check::warn(
            KEYS,
            "no author's key is pinned: no firmware is installed",
            "Make keys with `kubectl kalong release keygen`, and give the operator the key document.",
        ),
        None => Check::warn(
            KEYS,
            "the published key document cannot be read",
            "Restart the operator, which writes it anew.",
        ),
    };
    vec![first, second]
}
