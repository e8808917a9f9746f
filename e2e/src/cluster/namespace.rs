//! A namespace of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::timeout;

use super::failure::{ControlPlaneError, REQUEST_DEADLINE};
use super::plane::ControlPlane;

/// A namespace that no other test uses. It goes with the control plane; deleting it would take 5 s and prove nothing.
pub struct TestNamespace<'a> {
    plane: &'a ControlPlane,
    client: Client,
    name: String,
}

impl TestNamespace<'static> {
    /// A new namespace on the control plane that the tests of this binary share.
    ///
    /// # Errors
    /// There is no control plane, or it refuses the name.
    pub async fn new(prefix: &str) -> Result<Self, ControlPlaneError> {
        ControlPlane::shared().await?.namespace(prefix).await
    }
}

impl<'a> TestNamespace<'a> {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client of a cluster-admin, of this test's runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The control plane that it is on.
    #[must_use]
    pub fn plane(&self) -> &'a ControlPlane {
        self.plane
    }
}

impl ControlPlane {
    /// A new namespace whose name begins with `prefix`.
    ///
    /// # Errors
    /// The API server refuses the name or does not answer.
    pub async fn namespace(&self, prefix: &str) -> Result<TestNamespace<'_>, ControlPlaneError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let what = "a namespace";
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let client = self.client()?;
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        timeout(REQUEST_DEADLINE, namespaces.create(&PostParams::default(), &namespace))
            .await
            .map_err(|_| ControlPlaneError::RequestDeadline { what })?
            .map_err(|source| ControlPlaneError::Request { what, source: Box::new(source) })?;
        Ok(TestNamespace { plane: self, client, name })
    }
}
