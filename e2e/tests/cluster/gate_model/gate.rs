//! A gate small enough to reason about, in a real API server, with the real controllers beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use kalong_controllers::kit::clock::SystemClock;
use kalong_controllers::kit::context::Settings;
use kalong_controllers::kit::metrics::Metrics;
use kalong_controllers::kit::mirror::{Mirror, MirrorState};
use kalong_controllers::{Controllers, Parts, start, warm};
use kalong_crds::firmware_release::Artifact;
use kalong_crds::{EdgeAgent, Lane, LaneDrain};
use kalong_e2e::cluster::TestNamespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::boxes::Boxes;

/// Lanes in, declared open but the last; two of them must always be open.
pub const INBOUND: [&str; 4] = ["in-1", "in-2", "in-3", "in-4"];
/// Lanes out; one of them must always be open.
pub const OUTBOUND: [&str; 2] = ["out-1", "out-2"];
/// Lanes that must stay open of a direction.
pub const FLOORS: [(&[&str], usize); 2] = [(&INBOUND, 2), (&OUTBOUND, 1)];
/// The device whose interlock closes `in-3`.
pub const SCANNER: &str = "scanner";

const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// Nothing was written for this long: the controllers have nothing more to say.
const CALM: Duration = Duration::from_millis(700);
const TICK: Duration = Duration::from_millis(25);

/// Firmware is no part of this model.
struct NoMirror;

impl Mirror for NoMirror {
    fn state(&self, _: &Artifact) -> MirrorState {
        MirrorState::Fetching
    }

    fn want(&self, _: &str, _: &Artifact) {}

    fn changes(&self) -> BoxStream<'static, ()> {
        Box::pin(futures::stream::pending())
    }
}

pub struct Gate<'a> {
    pub namespace: TestNamespace<'a>,
    pub boxes: Arc<Boxes>,
    controllers: Option<Controllers>,
}

impl<'a> Gate<'a> {
    /// Declares the gate and lets the controllers begin.
    pub async fn new(namespace: TestNamespace<'a>) -> Self {
        let mut gate = Self { namespace, boxes: Arc::default(), controllers: None };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests()}).to_string();
        gate.namespace
            .plane()
            .kubectl_with_input(["-n", gate.namespace.name(), "apply", "-f", "-"], &list)
            .await
            .unwrap();
        // As the operator leaves it after an enrolment.
        let status = json!({"status": {"observedGeneration": 1, "certificate":
            {"serial": "01", "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2036-01-01T00:00:00Z"}}});
        let agents: Api<EdgeAgent> = gate.api();
        agents.patch_status("box", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        gate.begin().await;
        gate
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.namespace.client(), self.namespace.name())
    }

    async fn begin(&mut self) {
        let namespaces = [self.namespace.name().to_owned()];
        let warm = warm(&self.namespace.client(), &namespaces).await.unwrap();
        let parts = Parts {
            client: self.namespace.client(),
            link: self.boxes.clone(),
            mirror: Arc::new(NoMirror),
            clock: Arc::new(SystemClock),
            settings: Settings {
                heartbeat: Duration::from_secs(3),
                release_keys: Default::default(),
                sealing_seed: [7; 32],
            },
            metrics: Metrics::new(&Registry::new()).unwrap(),
            instance: "model".to_owned(),
        };
        self.controllers = Some(start(warm, parts));
    }

    /// The operator dies and another begins; what the boxes do goes on.
    pub async fn restart(&mut self) {
        if let Some(controllers) = self.controllers.take() {
            controllers.stop().await;
        }
        self.boxes.forget_listeners();
        self.boxes.tick();
        self.begin().await;
    }

    /// Lets the gate run until nobody has anything to say, and looks at it after every moment.
    pub async fn settle(&self, mut look: impl FnMut(&Boxes)) {
        let begun = Instant::now();
        let mut last = (String::new(), Instant::now());
        loop {
            self.boxes.tick();
            look(&self.boxes);
            sleep(TICK).await;
            let now = format!("{}{:?}", self.versions().await, self.boxes.truth());
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > CALM {
                return;
            }
            assert!(begun.elapsed() < SETTLE_DEADLINE, "the gate does not come to rest: {}", last.0);
        }
    }

    async fn versions(&self) -> String {
        let all = ListParams::default();
        let lanes = self.api::<Lane>().list_metadata(&all).await.unwrap().items;
        let drains = self.api::<LaneDrain>().list_metadata(&all).await.unwrap().items;
        let version = |object: &dyn Fn() -> (String, Option<String>)| {
            let (name, version) = object();
            format!("{name}={} ", version.unwrap_or_default())
        };
        let lanes = lanes.iter().map(|o| version(&|| (o.name_any(), o.resource_version())));
        let drains = drains.iter().map(|o| version(&|| (o.name_any(), o.resource_version())));
        lanes.chain(drains).collect()
    }

    pub async fn drains(&self) -> Vec<LaneDrain> {
        self.api::<LaneDrain>().list(&ListParams::default()).await.unwrap().items
    }

    pub async fn lane(&self, name: &str) -> Lane {
        self.api::<Lane>().get(name).await.unwrap()
    }

    pub async fn declare(&self, lane: &str, admission: &str) {
        let patch = json!({"spec": {"admission": admission}});
        self.api::<Lane>().patch(lane, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn claim(&self, name: &str, lane: &str, class: &str) {
        let mut spec = json!({"target": {"kind": "Lane", "name": lane}, "class": class, "requester": "duty-officer",
            "reason": "A model asks.", "timeoutSeconds": 10});
        if class == "Emergency" {
            spec["deadline"] = json!("2099-01-01T00:00:00Z");
        }
        let drain =
            json!({"apiVersion": "kalong.dev/v1alpha1", "kind": "LaneDrain", "metadata": {"name": name}, "spec": spec});
        let drain: LaneDrain = serde_json::from_value(drain).unwrap();
        self.api::<LaneDrain>().create(&PostParams::default(), &drain).await.unwrap();
    }

    pub async fn release(&self, name: &str) {
        self.api::<LaneDrain>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn end(mut self) {
        if let Some(controllers) = self.controllers.take() {
            controllers.stop().await;
        }
    }
}

fn manifests() -> Vec<Value> {
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "kalong.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let property = |name: &str, kind: &str, access: &str| json!({"name": name, "type": kind, "access": access});
    let update = json!({"slots": "External", "laneDrain": "Needed", "rollback": "None"});
    let floor = |direction: &str, lanes: usize| json!({"service": "Smart", "direction": direction, "minOpenLanes": lanes, "minPassagesPerHour": 0});
    let mut all = vec![
        object("EdgeAgent", "box", json!({})),
        object(
            "Crossing",
            "bridge",
            json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh", "capacityFloors": [floor("Inbound", 2), floor("Outbound", 1)]}),
        ),
        object(
            "DeviceModel",
            "plc",
            json!({"class": "LanePlc", "protocol": {"name": "GenericHttp"}, "update": update,
                "properties": [property("admission", "Text", "ReadWrite"), property("admissionState", "Text", "ReadOnly")]}),
        ),
        object(
            "DeviceModel",
            "xray",
            json!({"class": "XRayScanner", "protocol": {"name": "GenericHttp"}, "update": update,
                "properties": [property("beam", "Text", "ReadOnly")], "regulatory": {"interlocks": [{"name": "beam", "safe": "Off"}]}}),
        ),
        object(
            "Device",
            SCANNER,
            json!({"modelRef": "xray", "agentRef": "box", "connection": {"endpoint": "10.0.0.9:80"}}),
        ),
        object(
            "InspectionStation",
            "xray",
            json!({"crossingRef": "bridge", "type": "XRay", "capacityPerHour": 20, "slots": [{"name": "scanner", "deviceRef": SCANNER}],
                "servesLanes": [{"name": "in-3"}], "licence": {"number": "BX-1", "validUntil": "2099-12-31"}}),
        ),
    ];
    for (direction, lanes) in [("Inbound", INBOUND.as_slice()), ("Outbound", OUTBOUND.as_slice())] {
        for (number, lane) in (1..).zip(lanes) {
            let plc = format!("plc-{lane}");
            let endpoint = format!("10.0.{}.{number}:80", if direction == "Inbound" { 1 } else { 2 });
            all.push(object(
                "Device",
                &plc,
                json!({"modelRef": "plc", "agentRef": "box", "connection": {"endpoint": endpoint}}),
            ));
            let admission = if *lane == "in-4" { "Closed" } else { "Open" };
            all.push(object(
                "Lane",
                lane,
                json!({"crossingRef": "bridge", "direction": direction, "service": "Smart", "admission": admission,
                    "ratedPassagesPerHour": 60, "slots": [{"name": "plc", "role": "Controller", "deviceRef": plc}]}),
            ));
        }
    }
    all
}
