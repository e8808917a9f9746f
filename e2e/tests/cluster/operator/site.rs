//! One site of one test: what is declared there, its boxes, and what the API server shows of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::device::DeviceSpec;
use kalong_crds::property::PropertyType;
use kalong_crds::units::Value as Setting;
use kalong_crds::{Crossing, Device, DeviceModel, EdgeAgent, Lane};
use kalong_e2e::cluster::{Child, ChildSpec, Signal};
use kalong_e2e::scenario::{Binary, Cluster, Program, ScenarioError};
use kalong_e2e::site::layout::Placed;
use kalong_e2e::site::report::DeviceSnapshot;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fixture::{Fixture, fixture, program};
use crate::kit::{SOON, until};

const ENROL_DEADLINE: Duration = Duration::from_secs(30);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A kind with conditions.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug + Send + Sync
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug
        + Send
        + Sync
{
}

/// A namespace that an operator serves. Its boxes are killed when it is dropped.
pub struct TestSite<'a> {
    cluster: &'a Cluster,
    pub client: Client,
    pub name: String,
    operator_namespace: String,
    boxes: Mutex<BTreeMap<String, Child>>,
}

impl Drop for TestSite<'_> {
    fn drop(&mut self) {
        for child in self.boxes.get_mut().values() {
            let _ = child.signal(Signal::Kill);
        }
    }
}

impl<'a> TestSite<'a> {
    pub fn new(cluster: &'a Cluster, name: &str, operator_namespace: &str) -> Self {
        Self {
            cluster,
            client: cluster.client().unwrap(),
            name: name.to_owned(),
            operator_namespace: operator_namespace.to_owned(),
            boxes: Mutex::default(),
        }
    }

    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    pub fn operator_namespace(&self) -> &str {
        &self.operator_namespace
    }

    // What people declare.

    pub async fn create<K: Kind>(&self, object: &K) -> K {
        self.api().create(&PostParams::default(), object).await.unwrap()
    }

    pub async fn create_json<K: Kind>(&self, name: &str, spec: Value) -> K {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        self.create(&serde_json::from_value(object).unwrap()).await
    }

    pub async fn patch<K: Kind>(&self, name: &str, patch: Value) -> K {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap()
    }

    pub async fn get<K: Kind>(&self, name: &str) -> K {
        self.api().get(name).await.unwrap()
    }

    /// What the API server says to a DELETE.
    pub async fn delete<K: Kind>(&self, name: &str) -> Result<(), String> {
        let answer = self.api::<K>().delete(name, &DeleteParams::default()).await;
        answer.map(drop).map_err(|e| e.to_string())
    }

    /// Declares the model of a device, once.
    pub async fn model_of(&self, placed: &Placed) {
        let model = DeviceModel::new(&placed.model.name, placed.model.spec.clone());
        match self.api::<DeviceModel>().create(&PostParams::default(), &model).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn agent(&self, name: &str) {
        self.create_json::<EdgeAgent>(name, json!({})).await;
    }

    /// Declares a simulated device with its model, in no lane, with what Git declares of it but its firmware.
    pub async fn device(&self, placed: &Placed, agent: &str) -> Device {
        self.model_of(placed).await;
        let device = declared(fixture().await, placed, agent);
        self.create(&device).await
    }

    pub async fn crossing(&self, name: &str) {
        let spec = json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"});
        self.create_json::<Crossing>(name, spec).await;
    }

    /// A closed lane with these slots: role and device.
    pub async fn lane(&self, name: &str, crossing: &str, slots: &[(&str, &str)]) -> Lane {
        let slots: Vec<Value> = slots
            .iter()
            .enumerate()
            .map(|(n, (role, device))| json!({"name": format!("s{n}"), "role": role, "need": "Required", "deviceRef": device}))
            .collect();
        let spec = json!({
            "crossingRef": crossing, "direction": "Inbound", "service": "Traditional", "admission": "Closed",
            "ratedPassagesPerHour": 40, "slots": slots,
        });
        self.create_json(name, spec).await
    }

    /// Sets the first number of a device to something else that its model allows, and returns name and value.
    pub async fn change(&self, placed: &Placed) -> (String, Setting) {
        let device: Device = self.get(&placed.name).await;
        let (name, low, high) = number(placed);
        let Some(Setting::Integer(now)) = device.spec.config.get(name).cloned() else { panic!("{name} is declared") };
        let next = if now < high { now + 1 } else { low };
        self.patch::<Device>(&placed.name, json!({"spec": {"config": {name: next}}})).await;
        (name.to_owned(), Setting::Integer(next))
    }

    // What is seen of it.

    pub async fn until<K: Kind>(&self, name: &str, what: &str, within: Duration, look: impl Fn(&K) -> bool) -> K {
        let api = self.api::<K>();
        until(&format!("{name}: {what}"), within, async || match api.get(name).await {
            Ok(object) if look(&object) => Ok(object),
            Ok(object) => Err(serde_json::to_value(&object).unwrap()["status"].to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until what is declared is in force, by the API server's own word.
    pub async fn ready<K: Kind + Conditioned>(&self, name: &str) -> K {
        self.until(name, "Ready", SOON, |object: &K| settled(object) && object.is(ConditionType::Ready)).await
    }

    /// Waits until it is stuck for this reason, and returns the message.
    pub async fn stalled<K: Kind + Conditioned>(&self, name: &str, reason: &str, within: Duration) -> String {
        let what = format!("Stalled, {reason}");
        let stuck = |object: &K| settled(object) && object.reason(ConditionType::Stalled) == reason;
        let object = self.until(name, &what, within, stuck).await;
        object.condition(ConditionType::Stalled).unwrap().message.clone()
    }

    pub async fn gone<K: Kind>(&self, name: &str) {
        let api = self.api::<K>();
        until(&format!("{name} is gone"), SOON, async || match api.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(object) => Err(serde_json::to_string(&object).unwrap()),
        })
        .await;
    }

    /// Waits until the simulated device holds this setting.
    pub async fn holds(&self, placed: &Placed, (name, value): &(String, Setting)) -> DeviceSnapshot {
        let control = fixture().await.control();
        until(&format!("{} holds {name}={value:?}", placed.name), SOON, async || {
            let report = control.device(&placed.name).await.unwrap();
            if report.settings.get(name) == Some(value) { Ok(report) } else { Err(format!("{report:?}")) }
        })
        .await
    }

    // Its boxes.

    pub fn state_of(&self, agent: &str) -> PathBuf {
        self.cluster.directory().join("boxes").join(&self.name).join(agent)
    }

    fn log_of(&self, agent: &str) -> PathBuf {
        self.cluster.directory().join(format!("box-{}-{agent}.log", self.name))
    }

    pub fn box_log(&self, agent: &str) -> String {
        std::fs::read_to_string(self.log_of(agent)).unwrap_or_default()
    }

    /// The words of the command that `kubectl kalong enrol` prints.
    pub async fn ticket(&self, agent: &str) -> Vec<String> {
        let plugin = program(fixture().await, Binary::Plugin);
        let state = self.state_of(agent).display().to_string();
        let text = Program::new(plugin)
            .args(["enrol", agent, "-n", &self.name, "--operator-namespace", &self.operator_namespace])
            .args(["--state", &state, "-o", "json"])
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .run(ENROL_DEADLINE)
            .await
            .unwrap();
        let enrolment: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(enrolment["arguments"].clone()).unwrap()
    }

    /// Enrols a declared box as a person does.
    pub async fn enrol(&self, agent: &str) -> Result<String, ScenarioError> {
        let ticket = self.ticket(agent).await;
        let program = program(fixture().await, Binary::EdgeAgent);
        Program::new(program).args(ticket.into_iter().skip(1)).titled("enrol").run(ENROL_DEADLINE).await
    }

    /// Runs a box that has enrolled.
    pub async fn run(&self, agent: &str) {
        let program = program(fixture().await, Binary::EdgeAgent);
        let spec = ChildSpec::new(format!("box {}.{agent}", self.name), program, self.log_of(agent))
            .args(["run", "--state"])
            .arg(self.state_of(agent).display().to_string())
            .unset("KALONG_LOG")
            .env("NO_COLOR", "1");
        let child = self.cluster.supervisor().spawn(spec).await.unwrap();
        self.boxes.lock().insert(agent.to_owned(), child);
    }

    /// Declares, enrols and runs a box.
    pub async fn working_box(&self, agent: &str) {
        self.agent(agent).await;
        self.enrol(agent).await.unwrap();
        self.run(agent).await;
    }

    pub fn process_of(&self, agent: &str) -> Child {
        self.boxes.lock()[agent].clone()
    }

    pub async fn stop_box(&self, agent: &str) {
        self.process_of(agent).stop(STOP_GRACE).await.unwrap();
    }

    /// Waits until nothing has been heard of the box for the grace time.
    pub async fn silent(&self, agent: &str) {
        let reason = |a: &EdgeAgent| a.reason(ConditionType::Connected) == "AgentUnreachable";
        self.until::<EdgeAgent>(agent, "AgentUnreachable", SOON, reason).await;
    }
}

/// Whether the status speaks of the present generation.
pub fn settled<K: Kind>(object: &K) -> bool {
    let value = serde_json::to_value(object).unwrap();
    value["status"]["observedGeneration"].as_i64() == object.meta().generation
}

/// A simulated device as Git declares it, but in no lane, always live, and with whatever firmware it has.
pub fn declared(fixture: &Fixture, placed: &Placed, agent: &str) -> Device {
    let mut spec: DeviceSpec = serde_json::from_value(json!({
        "modelRef": placed.model.name, "agentRef": agent,
        "connection": {"endpoint": placed.endpoint(fixture.network()).to_string()},
    }))
    .unwrap();
    spec.config = placed.spec.config.clone();
    Device::new(&placed.name, spec)
}

/// The first number that can be set: name, lowest, highest.
pub fn number(placed: &Placed) -> (&str, i64, i64) {
    let setting = placed.model.settings().find(|setting| setting.kind == PropertyType::Integer).unwrap();
    (&setting.name, setting.min.unwrap(), setting.max.unwrap())
}
