//! What the phase of a device lets it do.

use super::*;

fn in_phase(mut observed: Observed, life: LifecycleStage) -> Observed {
    let mut device = observed.device.as_ref().clone();
    device.spec.phase = Some("phase-2".into());
    observed.device = Arc::new(device);
    observed.life = life;
    observed
}

#[test]
fn device_in_commissioning_is_told_and_ready_whatever_is_missing() {
    let observed = late(in_phase(observed(), LifecycleStage::Commissioning));
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.want.is_some());
    let status = result.status.unwrap();
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
    assert!(!status.conditions[0].message.is_empty(), "it says what is missing");
    assert_eq!(condition(&status, ConditionType::Reconciling).0, "absent");
}

#[test]
fn device_in_commissioning_tells_the_truth_about_what_is_proven() {
    let proven = in_phase(observed(), LifecycleStage::Commissioning);
    let proven = status(&reporting(proven, firmware(Step::Idle, "2.0.0")));
    is(&proven, ConditionType::Ready, "True", Reason::Commissioning);
    is(&proven, ConditionType::FirmwareUpToDate, "True", Reason::UpToDate);
    is(&proven, ConditionType::Connected, "True", Reason::DeviceConnected);
    assert!(proven.conditions[0].message.is_empty());
    let failed = in_phase(observed(), LifecycleStage::Commissioning);
    let failed = with(reporting(failed, firmware(Step::Idle, "2.0.0")), |report| {
        facts_of(report).connected = false;
    });
    let failed = status(&failed);
    is(&failed, ConditionType::Ready, "True", Reason::Commissioning);
    is(&failed, ConditionType::Connected, "False", Reason::DeviceUnreachable);
}

#[test]
fn device_of_an_unknown_phase_is_stalled_and_nothing_is_taken_or_told() {
    let observed = in_phase(reporting(observed(), firmware(Step::Idle, "2.0.0")), LifecycleStage::UnknownPhase);
    let (decision, result) = reconciled(&observed);
    assert!(
        decision.placement.want.is_none()
            && decision.placement.remove.is_empty()
            && decision.placement.finalizers.is_none()
    );
    let status = result.status.unwrap();
    is(&status, ConditionType::Stalled, "True", Reason::UnknownPhase);
    is(&status, ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn claim_of_a_device_whose_phase_went_missing_stands() {
    let mut observed = reporting(in_lane(observed()), firmware(Step::AwaitingDrain, "1.0.0"));
    observed.own_claims = vec![drained("device-cam-1-1")];
    let observed = in_phase(observed, LifecycleStage::UnknownPhase);
    let changes = decide(&observed).claims;
    assert!(changes.create.is_empty() && changes.delete.is_empty());
}
