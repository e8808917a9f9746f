//! A box that is switched off misses what is declared, changed and deleted meanwhile, and is right when it returns, without a
//! restart of anything else.

use std::time::Duration;

use kalong_crds::DELETE_IN_SERVICE;
use kalong_crds::protocol::ProtocolName;
use kalong_crds::units::Value;
use kalong_e2e::scenario::{FaultActor, LiveSite};
use serde_json::json;
use tokio::time::sleep;

use super::after::{CONVERGE, settled};
use crate::kit::until;

const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a controller needs to look at three objects.
const MOMENT: Duration = Duration::from_secs(3);

pub async fn right_on_return(site: &mut LiveSite) {
    settled(site).await;
    let operator = site.operator.child().pid();
    let agent = site.live_boxes().into_iter().next().unwrap();
    let behind: Vec<_> = FaultActor::all(site).into_iter().filter(|actor| actor.agent == agent).collect();
    let outside_lanes =
        |actor: &&FaultActor| site.layout.live().any(|device| device.name == actor.name && device.slot.is_none());
    let goes = behind.iter().find(outside_lanes).unwrap().clone();
    let changes = behind.iter().find(|actor| actor.name != goes.name && actor.dial.is_some()).unwrap().clone();
    let dial = changes.dial.as_ref().unwrap();
    // An instrument that stands there and that nobody has declared to be live yet.
    let comes = site.layout.devices.iter().find(|d| !d.is_live() && d.model.protocol() == ProtocolName::GenericHttp);
    let comes = comes.unwrap().clone();
    let code = comes.model.spec.health_codes[0].name.as_str();
    site.simulated.health_of(&comes.name, &[code]).await.unwrap();

    site.agents[&agent].stop().await.unwrap();
    let held = site.truth().await.unwrap();
    let (namespace, new) = (site.namespace().to_owned(), format!("{}-new", comes.name));
    let reason = format!("{DELETE_IN_SERVICE}=test, 2026-11-22, replaced");
    site.cluster.kubectl(["-n", &namespace, "annotate", "device", &goes.name, &reason]).await.unwrap();
    site.cluster.kubectl(["-n", &namespace, "delete", "device", &goes.name, "--wait=false"]).await.unwrap();
    let now = changes.number(&held[&changes.name].settings).unwrap();
    let value = dial.value(now + 1);
    site.patch_setting(&changes.name, &dial.setting, &value).await.unwrap();
    declare(site, &new, &agent, &comes.name).await;
    sleep(MOMENT).await;
    let waiting = site.devices.get(&goes.name).expect("it waits for its box to let go");
    assert!(waiting.metadata.deletion_timestamp.is_some());
    assert_eq!(site.truth().await.unwrap()[&changes.name].settings, held[&changes.name].settings);

    site.restart_agent(&agent).await.unwrap();
    until("the deleted device is gone", CONVERGE, async || match site.devices.get(&goes.name) {
        None => Ok(()),
        Some(device) => Err(format!("{:?}", device.metadata.finalizers)),
    })
    .await;
    let shown = site.devices.until("the new device", DEADLINE, &site.progress, |seen| {
        let status = seen.get(&new).and_then(|device| device.status.clone()).unwrap_or_default();
        let codes = status.health.unwrap_or_default().codes;
        if codes == [code] { Ok(()) } else { Err(format!("its first report is not shown: {codes:?}")) }
    });
    shown.await.unwrap();
    let control = site.simulated.control();
    let holds = async |device: &str, setting: &str, value: &Value| {
        while control.device(device).await.unwrap().settings.get(setting) != Some(value) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let changed = tokio::time::timeout(DEADLINE, holds(&changes.name, &dial.setting, &value)).await;
    assert!(changed.is_ok(), "{} of {} is not {value}", dial.setting, changes.name);
    let after = site.truth().await.unwrap();
    let left = after[&goes.name].counts.since(&held[&goes.name].counts);
    assert_eq!((left.writes, left.reboots), (0, 0), "a device that is let go of stays as it is");
    assert_eq!(site.operator.child().pid(), operator, "the operator was not restarted");
    site.check().unwrap();
}

/// A copy of a planned device that belongs to no phase, behind this box.
async fn declare(site: &LiveSite, name: &str, agent: &str, of: &str) {
    let planned = site.devices.get(of).unwrap();
    let mut spec = serde_json::to_value(&planned.spec).unwrap();
    let fields = spec.as_object_mut().unwrap();
    fields.remove("phase");
    fields.insert("agentRef".into(), json!(agent));
    let object = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "Device",
        "metadata": {"name": name, "namespace": site.namespace()}, "spec": spec,
    });
    site.cluster.kubectl_with_input(["apply", "-f", "-"], &object.to_string()).await.unwrap();
}
