//! A cluster that the user already has: left alone where Kalong is in it, and as it was when we are done.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, GROUP, IGV, InspectionStation, Lane,
    LaneDrain, Phase, schema,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::cluster::{Cluster, asked};
use super::failure::ScenarioError;
use super::install::{OPERATOR_NAMESPACE, RELEASE};
use super::progress::ProgressLog;

/// A namespace goes once its controllers emptied it.
const GONE_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(300);
const AT_ONCE: usize = 8;
/// Under which boxes ask for certificates.
const SIGNER: &str = "kalong.dev/edge-agent";

/// An error where the cluster has Kalong, or a namespace that we would make and remove.
///
/// # Errors
/// [`ScenarioError::Occupied`], or the cluster does not answer.
pub async fn refuse_if_occupied(cluster: &Cluster, site: &str) -> Result<(), ScenarioError> {
    let client = cluster.client()?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crds = asked("list CRDs", crds.list_metadata(&ListParams::default())).await?;
    if let Some(ours) = crds.items.iter().map(ResourceExt::name_any).find(|name| name.ends_with(&format!(".{GROUP}"))) {
        return Err(ScenarioError::Occupied(format!("the CRD {ours}")));
    }
    let namespaces: Api<Namespace> = Api::all(client);
    for name in [OPERATOR_NAMESPACE, site] {
        if asked("show a namespace", namespaces.get_opt(name)).await?.is_some() {
            return Err(ScenarioError::Occupied(format!("the namespace {name}")));
        }
    }
    Ok(())
}

/// Removes what a demo made in a cluster, whatever state it is in. It needs no operator: finalizers are taken off.
pub struct Undo {
    client: Result<Client, ScenarioError>,
    site: String,
}

impl Undo {
    /// For this cluster and this site.
    #[must_use]
    pub fn of(cluster: &Cluster, site: &str) -> Self {
        Self { client: cluster.client(), site: site.to_owned() }
    }

    /// Removes it, and says what is being removed.
    ///
    /// # Errors
    /// The cluster does not answer, or something does not go.
    pub async fn run(self, progress: &ProgressLog) -> Result<(), ScenarioError> {
        let client = self.client?;
        progress.line("removing what was made in your cluster");
        // Without the policy, what is in service may go too.
        remove::<ValidatingAdmissionPolicyBinding>(&client, "kalong-in-service").await?;
        remove::<ValidatingAdmissionPolicy>(&client, "kalong-in-service").await?;
        release::<LaneDrain>(&client, &self.site).await?;
        release::<Device>(&client, &self.site).await?;
        release::<IGV>(&client, &self.site).await?;
        release::<BilateralLink>(&client, &self.site).await?;
        release::<InspectionStation>(&client, &self.site).await?;
        release::<Lane>(&client, &self.site).await?;
        release::<EdgeAgent>(&client, &self.site).await?;
        release::<Crossing>(&client, &self.site).await?;
        release::<DeviceModel>(&client, &self.site).await?;
        release::<FirmwareRelease>(&client, &self.site).await?;
        release::<Phase>(&client, &self.site).await?;
        for namespace in [self.site.as_str(), OPERATOR_NAMESPACE] {
            progress.now_and_then(&format!("removing namespace {namespace}"));
            remove_and_wait::<Namespace>(&client, namespace).await?;
        }
        for crd in schema::crds().map_err(|e| ScenarioError::shape("a CRD", e))? {
            remove_and_wait::<CustomResourceDefinition>(&client, &crd.name_any()).await?;
        }
        let of_the_chart = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
        remove_listed::<ClusterRoleBinding>(&client, &of_the_chart, |_| true).await?;
        remove_listed::<ClusterRole>(&client, &of_the_chart, |_| true).await?;
        remove_listed::<CertificateSigningRequest>(&client, &ListParams::default(), |request| {
            request.spec.signer_name == SIGNER
        })
        .await?;
        progress.line("your cluster is as it was");
        Ok(())
    }
}

/// One that is not there, or whose kind is not there, is as good as removed.
async fn remove<K>(client: &Client, name: &str) -> Result<(), ScenarioError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    match asked(&format!("delete {} {name}", K::kind(&())), absent(api.delete(name, &DeleteParams::default()))).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn remove_and_wait<K>(client: &Client, name: &str) -> Result<(), ScenarioError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    remove::<K>(client, name).await?;
    let api: Api<K> = Api::all(client.clone());
    let begun = Instant::now();
    while asked("show what is being deleted", absent(api.get(name))).await?.is_some() {
        if begun.elapsed() > GONE_DEADLINE {
            let what = format!("{} {name} to be gone", K::kind(&()));
            return Err(ScenarioError::Deadline { what, within: GONE_DEADLINE, seen: "it is still there".into() });
        }
        sleep(POLL).await;
    }
    Ok(())
}

async fn remove_listed<K>(client: &Client, which: &ListParams, ours: impl Fn(&K) -> bool) -> Result<(), ScenarioError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    for object in asked("list what was made", api.list(which)).await?.items.iter().filter(|object| ours(object)) {
        remove::<K>(client, &object.name_any()).await?;
    }
    Ok(())
}

/// Takes the finalizers off every object of this kind.
async fn release<K>(client: &Client, namespace: &str) -> Result<(), ScenarioError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let Some(list) = asked("list objects", absent(api.list_metadata(&ListParams::default()))).await? else {
        return Ok(());
    };
    let held = list.items.into_iter().filter(|object| !object.finalizers().is_empty()).map(|object| object.name_any());
    let patch = Patch::Merge(serde_json::json!({"metadata": {"finalizers": null}}));
    futures::stream::iter(held)
        .map(|name| {
            let (api, patch) = (api.clone(), &patch);
            async move {
                let released = absent(api.patch_metadata(&name, &PatchParams::default(), patch)).await;
                released.map(drop).map_err(ScenarioError::api(format!("take the finalizer off {name}")))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// None for what is not there.
async fn absent<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<Option<T>, kube::Error> {
    match request.await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
