//! A whole site, running: cluster, charts, operator, simulated devices, uplinks, boxes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kalong_crds::units::Value;
use kalong_crds::wire::enrol::TRUST_CONFIG_MAP;
use kalong_crds::{
    BilateralLink, Crossing, Device, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain, Phase,
};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::sleep;

use super::agents::{Agent, enrol};
use super::artifact_shelf::ArtifactShelf;
use super::binaries::{Binaries, Binary};
use super::cluster::{Cluster, asked};
use super::failure::ScenarioError;
use super::install::{self, OPERATOR_NAMESPACE, SERVICE_ACCOUNT};
use super::journal::Journal;
use super::operator::{Listens, Operator, OperatorOrder};
use super::progress::ProgressLog;
use super::simulated::Simulated;
use super::uplink::{Destinations, UplinkProxy};
use crate::site::report::DeviceSnapshot;
use crate::site::{Layout, Preset};

/// Beats are ten times as frequent as by default.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
pub const GRACE: Duration = Duration::from_secs(9);
/// From its start until it leads and has published what boxes pin.
const LEAD_DEADLINE: Duration = Duration::from_secs(60);
/// A box that looked in vain for a minute waits up to another before it tries again (edge-agent/src/uplink/session.rs).
const HEARD_DEADLINE: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(200);
/// More at once only wait for each other on two cores.
const ENROL_AT_ONCE: usize = 4;
/// Name of the operator's Lease.
const LEASE: &str = "kalong-operator";

/// Everything that runs. Dropping it ends every process and removes the folder of the run.
pub struct LiveSite {
    /// What the API server shows of devices.
    pub devices: Journal<Device>,
    pub lanes: Journal<Lane>,
    pub crossings: Journal<Crossing>,
    pub boxes: Journal<EdgeAgent>,
    pub releases: Journal<FirmwareRelease>,
    pub drains: Journal<LaneDrain>,
    pub phases: Journal<Phase>,
    pub stations: Journal<InspectionStation>,
    pub igvs: Journal<IGV>,
    pub links: Journal<BilateralLink>,
    pub layout: Layout,
    /// The lines between boxes and operator.
    pub uplink: UplinkProxy,
    /// The file server of the authors.
    pub shelf: ArtifactShelf,
    pub simulated: Simulated,
    pub operator: Operator,
    pub agents: BTreeMap<String, Agent>,
    pub cluster: Cluster,
    pub binaries: Binaries,
    pub progress: ProgressLog,
    /// When the site was declared, boxes included.
    pub declared: Instant,
}

impl LiveSite {
    /// Brings it all up, from an empty cluster to boxes that are enrolled and running.
    ///
    /// # Errors
    /// Whatever part did not come up.
    pub async fn start(cluster: Cluster, preset: Preset, progress: &ProgressLog) -> Result<Self, ScenarioError> {
        Self::prepare(cluster, preset, progress).await?.with_agents().await
    }

    /// Everything but the boxes: devices that nobody looks at yet, and an operator that leads.
    ///
    /// # Errors
    /// Whatever part did not come up.
    pub async fn prepare(cluster: Cluster, preset: Preset, progress: &ProgressLog) -> Result<Self, ScenarioError> {
        let binaries = Binaries::obtain(progress).await?.pinned(cluster.directory())?;
        let source = preset.source();
        let layout = Layout::read(&source)?;
        progress.line(&format!("starting the simulated site: {} devices", layout.devices.len()));
        let simulated = Simulated::start(&binaries, preset).await?;
        let shelf = ArtifactShelf::start(cluster.directory()).await?;
        progress.line("installing Kalong with Helm and declaring the site");
        let keys = install::install(&cluster, &source, &layout, simulated.network(), &shelf).await?;
        let declared = Instant::now();
        let listens = Listens::choose()?;
        let uplink = UplinkProxy::start(Destinations { gateway: listens.mqtt, https: listens.https }).await?;
        let order = OperatorOrder {
            program: binaries.path(Binary::Operator),
            kubeconfig: cluster.service_account_kubeconfig(OPERATOR_NAMESPACE, SERVICE_ACCOUNT).await?,
            namespace: OPERATOR_NAMESPACE.to_owned(),
            directory: cluster.directory().join("operator"),
            listens,
            advertise_https: uplink.https(),
            advertise_gateway: uplink.gateway(),
            artifact_host: shelf.host(),
            artifact_ca: shelf.ca().to_owned(),
            release_keys: keys,
            heartbeat: HEARTBEAT,
        };
        progress.line("starting the operator as its ServiceAccount");
        let operator = Operator::start(cluster.supervisor(), order).await?;
        let (client, namespace) = (cluster.client()?, layout.site().to_owned());
        let site = Self {
            devices: Journal::start(Api::namespaced(client.clone(), &namespace)),
            lanes: Journal::start(Api::namespaced(client.clone(), &namespace)),
            crossings: Journal::start(Api::namespaced(client.clone(), &namespace)),
            boxes: Journal::start(Api::namespaced(client.clone(), &namespace)),
            releases: Journal::start(Api::namespaced(client.clone(), &namespace)),
            drains: Journal::start(Api::namespaced(client.clone(), &namespace)),
            phases: Journal::start(Api::namespaced(client.clone(), &namespace)),
            stations: Journal::start(Api::namespaced(client.clone(), &namespace)),
            igvs: Journal::start(Api::namespaced(client.clone(), &namespace)),
            links: Journal::start(Api::namespaced(client, &namespace)),
            layout,
            uplink,
            shelf,
            simulated,
            operator,
            agents: BTreeMap::new(),
            cluster,
            binaries,
            progress: progress.clone(),
            declared,
        };
        site.wait_leader().await?;
        Ok(site)
    }

    /// Enrols every box of the live phase as a person would, and starts it.
    ///
    /// # Errors
    /// A box does not enrol or does not start.
    pub async fn with_agents(mut self) -> Result<Self, ScenarioError> {
        self.enrol_all().await?;
        Ok(self)
    }

    /// Ends every process and removes the folder of the run.
    ///
    /// # Errors
    /// It took too long; then they were killed.
    pub async fn stop(self) -> Result<(), ScenarioError> {
        self.cluster.stop().await
    }

    /// The namespace of the site.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.layout.site()
    }

    /// Names of the boxes of the live phase.
    #[must_use]
    pub fn live_boxes(&self) -> Vec<String> {
        self.layout.live_agents().map(|agent| agent.name_any()).collect()
    }

    /// The identity of a box.
    #[must_use]
    pub fn agent_id(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace())
    }

    /// Who the operator is to the API server.
    #[must_use]
    pub fn operator_user(&self) -> String {
        format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{SERVICE_ACCOUNT}")
    }

    /// An error with the end of its log when the operator or a box has died.
    ///
    /// # Errors
    /// Which, and why.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.operator.child().check()?;
        for agent in self.agents.values() {
            agent.child().check()?;
        }
        Ok(())
    }

    /// Waits until every box that runs is connected to the operator, over a line that was opened after this moment.
    ///
    /// # Errors
    /// One is not in time, or has died.
    pub async fn heard_since(&self, when: Instant) -> Result<(), ScenarioError> {
        let begun = Instant::now();
        loop {
            let silent = self.agents.keys().find(|name| !self.uplink.meter(name).is_used_since(when));
            let Some(silent) = silent else { return Ok(()) };
            self.check()?;
            let seen = format!("{silent} is not connected yet");
            if begun.elapsed() > HEARD_DEADLINE {
                let what = "edge agents at the operator".to_owned();
                return Err(ScenarioError::Deadline { what, within: HEARD_DEADLINE, seen });
            }
            self.progress.now_and_then(&format!("edge agents at the operator: {seen}"));
            sleep(POLL).await;
        }
    }

    async fn wait_leader(&self) -> Result<(), ScenarioError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.cluster.client()?, OPERATOR_NAMESPACE);
        let begun = Instant::now();
        while asked("show the trust ConfigMap", maps.get_opt(TRUST_CONFIG_MAP)).await?.is_none() {
            self.operator.child().check()?;
            if begun.elapsed() > LEAD_DEADLINE {
                let seen = self.operator.child().log_tail(20);
                return Err(ScenarioError::Deadline {
                    what: "the operator to lead".into(),
                    within: LEAD_DEADLINE,
                    seen,
                });
            }
            self.progress.now_and_then("waiting until the operator leads");
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn enrol_all(&mut self) -> Result<(), ScenarioError> {
        let names = self.live_boxes();
        let (cluster, binaries, namespace) = (&self.cluster, &self.binaries, self.namespace());
        let (uplink, progress, total) = (&self.uplink, &self.progress, names.len());
        let mut started = futures::stream::iter(names)
            .map(|name| async move {
                enrol(cluster, binaries, namespace, &name).await?;
                let agent = Agent::start(cluster, binaries, &name).await?;
                uplink.knows(&name, agent.child().pid());
                Ok::<_, ScenarioError>(agent)
            })
            .buffer_unordered(ENROL_AT_ONCE);
        let mut agents = BTreeMap::new();
        while let Some(agent) = started.try_next().await? {
            agents.insert(agent.name().to_owned(), agent);
            progress.line(&format!("enrolled and started {} of {total} edge agents", agents.len()));
        }
        drop(started);
        self.agents = agents;
        Ok(())
    }

    /// Enrols one more box as a person would, and starts it.
    ///
    /// # Errors
    /// It does not enrol or does not start.
    pub async fn add_agent(&mut self, name: &str) -> Result<(), ScenarioError> {
        enrol(&self.cluster, &self.binaries, self.namespace(), name).await?;
        let agent = Agent::start(&self.cluster, &self.binaries, name).await?;
        self.uplink.knows(name, agent.child().pid());
        self.agents.insert(name.to_owned(), agent);
        Ok(())
    }

    /// Starts a stopped box again.
    ///
    /// # Errors
    /// There is no such box, or it does not start.
    pub async fn restart_agent(&mut self, name: &str) -> Result<(), ScenarioError> {
        let agent =
            self.agents.get_mut(name).ok_or_else(|| ScenarioError::shape("a box", format!("{name} never ran")))?;
        agent.restart(self.cluster.supervisor()).await?;
        self.uplink.knows(name, agent.child().pid());
        Ok(())
    }

    /// The term of the operator's Lease.
    ///
    /// # Errors
    /// The API server does not show it.
    pub async fn term(&self) -> Result<i64, ScenarioError> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client()?, OPERATOR_NAMESPACE);
        let lease = asked("show the Lease", leases.get(LEASE)).await?;
        Ok(lease.spec.and_then(|spec| spec.lease_transitions).map(i64::from).unwrap_or_default())
    }

    /// Every Event of the site, oldest first as the store knows it.
    ///
    /// # Errors
    /// The API server does not list them.
    pub async fn events(&self) -> Result<Vec<Event>, ScenarioError> {
        let events: Api<Event> = Api::namespaced(self.cluster.client()?, self.namespace());
        let mut list = asked("list Events", events.list(&ListParams::default())).await?.items;
        list.sort_by_key(super::journal::version);
        Ok(list)
    }

    /// What every simulated device holds now.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn truth(&self) -> Result<BTreeMap<String, DeviceSnapshot>, ScenarioError> {
        self.simulated.devices().await
    }

    /// Changes one setting of a device as a person would: `kubectl patch`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn patch_setting(&self, device: &str, name: &str, value: &Value) -> Result<(), ScenarioError> {
        let patch = serde_json::json!({"spec": {"config": {name: value}}}).to_string();
        self.patch("device", device, &patch).await
    }

    /// `kubectl patch --type merge`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn patch(&self, kind: &str, name: &str, patch: &str) -> Result<(), ScenarioError> {
        let args = ["-n", self.namespace(), "patch", kind, name, "--type", "merge", "-p", patch];
        self.cluster.kubectl(args).await.map(drop)
    }
}
