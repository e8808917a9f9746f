//! Everything that is judged, read at once.

use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kalong_crds::wire::enrol::TRUST_CONFIG_MAP;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;

use super::DoctorError;
use crate::cluster::{CallError, ScopeArguments, is, within};
use crate::site::{self, Scope, Site, Skipped};
use crate::terminal::printable;

/// Name of the operator's Lease in its namespace.
pub(super) const LEASE: &str = "kalong-operator";
/// Name of the policy that refuses to delete what is in service, and of its binding.
pub(super) const POLICY: &str = "kalong-in-service";
/// The label that the chart puts on the operator's Deployment.
const OPERATOR_LABELS: &str = "app.kubernetes.io/part-of=kalong,app.kubernetes.io/component=operator";

/// What was found of one thing.
#[derive(Clone, Debug)]
pub(super) enum Lookup<T> {
    There(T),
    Absent,
    /// It could not be seen, and why.
    Hidden(String),
}

/// What the API server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) version: String,
    /// Its clock, to the second.
    pub(super) clock: Option<Timestamp>,
    /// Our clock when it answered.
    pub(super) ours: Timestamp,
}

pub(super) struct Evidence {
    pub(super) operator_namespace: String,
    pub(super) now: Timestamp,
    pub(super) server: Lookup<Server>,
    /// By the name of the CRD.
    pub(super) crds: Vec<(String, Lookup<Value>)>,
    pub(super) policy: Lookup<Value>,
    pub(super) binding: Lookup<Value>,
    pub(super) deployments: Lookup<Vec<Deployment>>,
    pub(super) lease: Lookup<Lease>,
    pub(super) trust: Lookup<ConfigMap>,
    pub(super) sites: Lookup<Vec<Site>>,
    pub(super) skipped: Vec<Skipped>,
}

/// Reads everything. What cannot be read is said, not an error: a doctor looks at ill installations.
pub(super) async fn gather(scope: ScopeArguments, operator_namespace: String) -> Result<Evidence, DoctorError> {
    let (client, scope) = scope.connect().await?;
    let server = server(&client).await;
    if let Lookup::Hidden(_) = server {
        return Ok(unreachable(operator_namespace, server));
    }
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), &operator_namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &operator_namespace);
    let (crds, policy, binding, deployments, lease, trust, sites) = futures::join!(
        crds(&client),
        get(&policies, POLICY),
        get(&bindings, POLICY),
        deployments(&client, &operator_namespace),
        get(&leases, LEASE),
        get(&maps, TRUST_CONFIG_MAP),
        sites(&client, &scope),
    );
    let (sites, skipped) = sites;
    Ok(Evidence {
        operator_namespace,
        now: Timestamp::now(),
        server,
        crds: crds?,
        policy: document(policy)?,
        binding: document(binding)?,
        deployments,
        lease,
        trust,
        sites,
        skipped,
    })
}

fn unreachable(operator_namespace: String, server: Lookup<Server>) -> Evidence {
    Evidence {
        operator_namespace,
        now: Timestamp::now(),
        server,
        crds: Vec::new(),
        policy: Lookup::Absent,
        binding: Lookup::Absent,
        deployments: Lookup::Absent,
        lease: Lookup::Absent,
        trust: Lookup::Absent,
        sites: Lookup::Absent,
        skipped: Vec::new(),
    }
}

fn found<T>(answer: Result<Option<T>, kube::Error>) -> Lookup<T> {
    match answer {
        Ok(Some(object)) => Lookup::There(object),
        Ok(None) => Lookup::Absent,
        Err(error) if is(&error, |s| s.is_not_found()) => Lookup::Absent,
        Err(kube::Error::Api(status)) => Lookup::Hidden(printable(&status.message)),
        Err(error) => Lookup::Hidden(CallError::of("show it")(error).to_string()),
    }
}

fn document<T: Serialize>(found: Lookup<T>) -> Result<Lookup<Value>, serde_json::Error> {
    Ok(match found {
        Lookup::There(object) => Lookup::There(serde_json::to_value(object)?),
        Lookup::Absent => Lookup::Absent,
        Lookup::Hidden(why) => Lookup::Hidden(why),
    })
}

async fn get<K>(api: &Api<K>, name: &str) -> Lookup<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    found(within(api.get_opt(name)).await)
}

async fn server(client: &Client) -> Lookup<Server> {
    let version = match within(client.apiserver_version()).await {
        Ok(version) => version.git_version,
        Err(error) => {
            let said = CallError::of("tell its version")(error);
            let cause = std::error::Error::source(&said).map_or(String::new(), |c| format!(" ({c})"));
            return Lookup::Hidden(format!("{said}{cause}"));
        }
    };
    // Asked again for the header alone, on the connection that stands now: the way there and back is short.
    let before = Timestamp::now();
    let clock = match Request::get("/version").body(Body::empty()) {
        Ok(request) => within(client.send(request)).await.ok().and_then(|answer| {
            let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
            Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())
        }),
        Err(_) => None,
    };
    let way = Timestamp::now().duration_since(before);
    let ours = before.checked_add(way / 2).unwrap_or(before);
    Lookup::There(Server { version, clock, ours })
}

async fn crds(client: &Client) -> Result<Vec<(String, Lookup<Value>)>, serde_json::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = kalong_crds::schema::crds()?.into_iter().filter_map(|crd| crd.metadata.name);
    let answers = futures::future::join_all(names.map(|name| {
        let api = api.clone();
        async move { (get(&api, &name).await, name) }
    }))
    .await;
    answers.into_iter().map(|(found, name)| Ok((name, document(found)?))).collect()
}

async fn deployments(client: &Client, namespace: &str) -> Lookup<Vec<Deployment>> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    found(within(api.list(&ListParams::default().labels(OPERATOR_LABELS))).await.map(|list| Some(list.items)))
}

async fn sites(client: &Client, scope: &Scope) -> (Lookup<Vec<Site>>, Vec<Skipped>) {
    match site::load(client, scope).await {
        Ok((sites, skipped)) => (Lookup::There(sites), skipped),
        Err(error) => (Lookup::Hidden(error.to_string()), Vec::new()),
    }
}
