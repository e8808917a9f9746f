//! The updater against a device in memory, with the power cut at every commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::device::Step;
use kalong_crds::device_model::{DeviceClass, Interlock, Recertification};
use kalong_crds::firmware_release::{Artifact, FirmwareReleaseSpec};
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::wire::order::Permit;
use kalong_crds::wire::release::{ReleaseKeys, sign};
use kalong_crds::wire::reported::About;
use kalong_crds::wire::signature::Signer;

use super::*;
use crate::clock::{ClockJudge, Now};
use crate::lane::reading::LaneReading;
use crate::lane::table::LaneDuringChange;
use crate::reported::ReportedState;
use crate::store::Store;
use crate::store::attempt::Mark;
use crate::store::tests::{Fuse, Side, reopen};
use crate::testing::{Scripted, ScriptedImage, Vice, order, stored_device, stored_lane};

const OLD: &[u8] = b"the image that ran before";
const NEW: &[u8] = b"the image that the release names";
const UID: &str = "cam";
const VISITS: u32 = 4000;

fn old() -> ScriptedImage {
    (Digest::of(OLD), "1.0.0".into())
}

fn new() -> ScriptedImage {
    (Digest::of(NEW), "2.0.0".into())
}

struct Setup {
    folder: tempfile::TempDir,
    author: Signer,
    device: Scripted,
    order: DeviceOrder,
    permits: bool,
    open_lane: bool,
}

/// One run of the agent, from its start to its end or a power cut.
struct AgentRun {
    shared: Arc<UpdateContext>,
    updater: FirmwareUpdater,
}

impl Setup {
    fn new(slots: UpdateSlots, vice: Vice) -> Self {
        let author = Signer::from_pkcs8("author", &Signer::generate().unwrap()).unwrap();
        let device = Scripted::new(slots, old(), &[old(), new()], vice);
        let mut order = order();
        order.update.slots = slots;
        order.update.soak_seconds = 3;
        let mut setup =
            Self { folder: tempfile::tempdir().unwrap(), author, device, order, permits: true, open_lane: false };
        setup.order.firmware = Some(setup.firmware(release()));
        let artifacts = setup.folder.path().join("artifacts");
        std::fs::create_dir(&artifacts).unwrap();
        for bytes in [OLD, NEW] {
            std::fs::write(artifacts.join(Digest::of(bytes).hex()), bytes).unwrap();
        }
        setup
    }

    fn firmware(&self, mut spec: FirmwareReleaseSpec) -> FirmwareOrder {
        spec.signatures = vec![sign(&self.author, &spec.document().unwrap())];
        FirmwareOrder {
            release: spec.signed("r").unwrap(),
            counter_floor: 0,
            retry: None,
            release_quarantine: None,
            permit: None,
        }
    }

    async fn start(&self) -> (AgentRun, Option<Record>) {
        let opened = reopen(self.folder.path()).await;
        let record = opened.records.get(UID).cloned();
        let durable = opened.durable.get(UID).cloned().unwrap_or_default();
        let shared = Arc::new(updates(self.folder.path(), opened.store, &self.author));
        shared.agent.presence.up();
        let admission = if self.open_lane { Admission::Open } else { Admission::Closed };
        let lane = stored_lane("lane", "plc", &["plc", UID, "other"], admission, Service::Smart);
        shared.lanes.with(|table| table.put(lane, &DurableState::default(), &Now::of(&shared.agent.clock)));
        let stored = stored_device(UID, 1, &self.order);
        let updater = FirmwareUpdater::new(shared.clone(), &stored, Some(&self.order), record.clone(), durable);
        (AgentRun { shared, updater }, record)
    }

    /// One look at the device, as its task would take it.
    async fn visit(&self, run: &mut AgentRun) -> Result<(), StoreError> {
        let admission = if self.open_lane { LaneAdmission::Open } else { LaneAdmission::Closed };
        let seen = LaneReading { admission, occupancy: Some(0) };
        run.shared.lanes.with(|table| table.observe("plc", Some(seen), &Now::of(&run.shared.agent.clock)));
        let mut driver = self.device.clone();
        let identity = driver.identify().await.ok();
        let reading = driver.read().await.ok();
        let mut order = self.order.clone();
        if let (true, Some(firmware), Some(record)) = (self.permits, order.firmware.as_mut(), &run.updater.record) {
            firmware.permit = Some(Permit { attempt: record.attempt, until: "2199-01-01T00:00:00Z".into() });
        }
        let visit = Visit { order: &order, driver: Some(&mut driver), identity, reading: reading.as_ref() };
        let result = run.updater.advance(visit).await;
        self.hold_invariants(run);
        tokio::time::advance(Duration::from_secs(1)).await;
        self.let_downloads_run(run).await;
        result
    }

    /// Downloads are tasks of their own, on threads that the paused clock knows nothing of.
    async fn let_downloads_run(&self, run: &AgentRun) {
        let busy = || {
            run.updater.record.as_ref().is_some_and(|r| r.step == Step::Downloading) && run.shared.downloads.is_busy()
        };
        for _ in 0..500 {
            if !busy() {
                break;
            }
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// Visits until this holds.
    async fn until(&self, run: &mut AgentRun, holds: impl Fn(&Record) -> bool) {
        for _ in 0..VISITS {
            if run.updater.record.as_ref().is_some_and(&holds) {
                return;
            }
            self.visit(run).await.unwrap();
        }
        panic!("it never came to that: {:?}", run.updater.record);
    }

    fn hold_invariants(&self, run: &AgentRun) {
        if run.updater.is_writing() {
            assert!(
                !run.shared.lanes.with(|table| table.may_begin_change("other", LaneDrainNeed::NotNeeded)),
                "no second device of a lane in work"
            );
            let open = LaneReading { admission: LaneAdmission::Open, occupancy: None };
            let wanted =
                run.shared.lanes.with(|table| table.observe("plc", Some(open), &Now::of(&run.shared.agent.clock)));
            assert_eq!(wanted, Some(Admission::Closed), "the lane of a device in work is kept closed");
        }
        self.device.with(|d| assert!([old(), new()].contains(&d.running), "never two bad images"));
    }

    /// Visits until nothing moves any more.
    async fn settle(&self, run: &mut AgentRun) -> Result<Step, StoreError> {
        for _ in 0..VISITS {
            self.visit(run).await?;
            let step = run.updater.record.as_ref().map_or(Step::Idle, |r| r.step);
            if !is_active(step) && run.updater.record.is_some() {
                return Ok(step);
            }
        }
        panic!("the machine never came to rest: {:?}", run.updater.record);
    }

    fn running(&self) -> ScriptedImage {
        self.device.with(|d| d.running.clone())
    }
}

fn release() -> FirmwareReleaseSpec {
    FirmwareReleaseSpec {
        kind: Default::default(),
        models: vec!["cam-x".into()],
        hardware_revisions: vec![],
        version: new().1,
        security_counter: 3,
        artifact: Artifact {
            url: "https://a.example/b".into(),
            digest: new().0,
            size: i64::try_from(NEW.len()).unwrap(),
        },
        requires: vec![],
        signatures: vec![],
        expires: None,
    }
}

fn updates(folder: &Path, store: Store, author: &Signer) -> UpdateContext {
    let downloads = Downloads::new(folder.join("artifacts"), store.clone()).unwrap();
    let reported = ReportedState::new(About::default(), kalong_crds::wire::digest::Rev::empty(), Default::default());
    let clock = ClockJudge::new("2026-01-01T00:00:00Z".parse().unwrap());
    let agent = Arc::new(AgentContext::new("mc.box".parse().unwrap(), store, reported, clock));
    UpdateContext {
        lanes: Arc::new(Lanes::new(agent.clone())),
        agent,
        downloads: Arc::new(downloads),
        release_keys: ReleaseKeys { number: 1, keys: vec![author.public()] },
    }
}

/// The end that each failure must lead to, and the image that then runs.
fn expected(slots: UpdateSlots, vice: Vice) -> (Step, ScriptedImage) {
    match (vice, slots) {
        (Vice::None, _) => (Step::Idle, new()),
        // The only image hangs and nothing below it answers: a person has to go there.
        (Vice::Hangs, UpdateSlots::Single) => (Step::Quarantined, new()),
        _ => (Step::Failed, old()),
    }
}

async fn run_with_cut(slots: UpdateSlots, vice: Vice, fuse: Option<Fuse>) -> bool {
    let setup = Setup::new(slots, vice);
    let (mut run, _) = setup.start().await;
    if let Some(fuse) = fuse {
        run.shared.agent.store.light(fuse).await;
    }
    let mut last = None;
    let mut first = None;
    for visits in 0.. {
        assert!(visits < VISITS, "the machine never came to rest: {last:?}");
        if setup.visit(&mut run).await.is_err() {
            break;
        }
        last = run.updater.record.clone();
        first = last.as_ref().map(|r| r.step).filter(|step| !is_active(*step));
        if first.is_some() {
            break;
        }
    }
    let (was_cut, counter) = (first.is_none(), run.updater.durable.counter);
    let step = match first {
        Some(step) => step,
        None => {
            drop(run);
            let (again, found) = setup.start().await;
            run = again;
            let place = |r: &Option<Record>| r.as_ref().map_or((0, 0), |r| (r.attempt, r.seq));
            assert!(place(&found) >= place(&last), "a record was lost after its commit returned");
            setup.settle(&mut run).await.unwrap()
        }
    };
    let context = format!("{slots:?} {vice:?} {fuse:?}: {:?}", run.updater.record);
    assert_eq!((step, setup.running()), expected(slots, vice), "{context}");
    assert!(run.updater.durable.counter >= counter, "{context}");
    assert_eq!(run.updater.durable.counter, if vice == Vice::None { 3 } else { 0 }, "{context}");
    setup.device.with(|d| {
        assert!(d.flashes.get(&new().0).copied().unwrap_or(0) <= 1, "flashed more than once: {context}");
        assert!(d.committed || step == Step::Quarantined, "{context}");
    });
    let before = setup.device.with(|d| (d.flashes.clone(), d.boots));
    for _ in 0..5 {
        setup.visit(&mut run).await.unwrap();
    }
    assert_eq!(setup.device.with(|d| (d.flashes.clone(), d.boots)), before, "the end is not the end: {context}");
    was_cut
}

async fn cut_everywhere(slots: UpdateSlots, vice: Vice) {
    for side in [Side::Before, Side::After] {
        let mut left = 1;
        while run_with_cut(slots, vice, Some(Fuse { left, side })).await {
            left += 1;
        }
        assert!(left > 5, "the power was cut at {left} commits only");
    }
}

#[tokio::test(start_paused = true)]
async fn power_cut_at_any_commit_ends_well_with_two_slots() {
    for vice in [Vice::None, Vice::FailsSelfTest, Vice::FallsBack, Vice::Hangs] {
        cut_everywhere(UpdateSlots::Dual, vice).await;
    }
}

#[tokio::test(start_paused = true)]
async fn power_cut_at_any_commit_ends_well_with_one_slot() {
    for vice in [Vice::None, Vice::WrongVersion, Vice::FlashError, Vice::Hangs] {
        cut_everywhere(UpdateSlots::Single, vice).await;
    }
}

#[tokio::test(start_paused = true)]
async fn power_cut_around_a_refused_transfer_ends_in_failed() {
    cut_everywhere(UpdateSlots::Dual, Vice::RefusesTransfer).await;
}

#[tokio::test(start_paused = true)]
async fn every_fault_leads_to_its_end_without_a_cut() {
    for slots in [UpdateSlots::Dual, UpdateSlots::Single] {
        for vice in [
            Vice::None,
            Vice::FailsSelfTest,
            Vice::WrongVersion,
            Vice::FallsBack,
            Vice::FlashError,
            Vice::RefusesTransfer,
            Vice::Hangs,
        ] {
            run_with_cut(slots, vice, None).await;
        }
    }
}

/// The failure with which an order ends without touching the device.
async fn refusal(change: impl FnOnce(&mut Setup)) -> String {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
    change(&mut setup);
    let (mut run, _) = setup.start().await;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Failed);
    setup.device.with(|d| assert_eq!((d.transfers, d.boots), (0, 1)));
    run.updater.record.unwrap().failure.unwrap().reason
}

#[tokio::test(start_paused = true)]
async fn releases_that_may_not_be_installed_are_refused_with_their_reason() {
    type Change = fn(&mut Setup);
    let cases: [(&str, Change); 7] = [
        ("SignatureInvalid", |w| w.author = Signer::from_pkcs8("author", &Signer::generate().unwrap()).unwrap()),
        ("SignatureInvalid", |w| w.order.class = DeviceClass::Barrier),
        ("Incompatible", |w| w.order.model = "another".into()),
        ("Incompatible", |w| {
            w.order.firmware =
                Some(w.firmware(FirmwareReleaseSpec { hardware_revisions: vec!["B".into()], ..release() }));
        }),
        ("Incompatible", |w| {
            w.order.firmware = Some(w.firmware(FirmwareReleaseSpec { requires: vec!["1.9.0".into()], ..release() }));
        }),
        ("Expired", |w| {
            let expires = Some("2026-01-02T00:00:00Z".into());
            w.order.firmware = Some(w.firmware(FirmwareReleaseSpec { expires, ..release() }));
        }),
        ("CounterTooLow", |w| {
            if let Some(firmware) = &mut w.order.firmware {
                firmware.counter_floor = 4;
            }
        }),
    ];
    for (reason, change) in cases {
        assert_eq!(refusal(change).await, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn device_that_runs_the_declared_image_is_left_alone() {
    let setup = Setup::new(UpdateSlots::Dual, Vice::None);
    setup.device.with(|d| d.running = new());
    let (mut run, _) = setup.start().await;
    for _ in 0..5 {
        setup.visit(&mut run).await.unwrap();
    }
    assert!(run.updater.record.is_none());
    assert_eq!(run.updater.status().unwrap().step, Step::Idle);
}

async fn wait_at(setup: &Setup, run: &mut AgentRun) -> Step {
    for _ in 0..60 {
        setup.visit(run).await.unwrap();
    }
    run.updater.record.as_ref().unwrap().step
}

#[tokio::test(start_paused = true)]
async fn without_a_permit_the_device_waits_and_with_an_open_lane_it_is_not_touched() {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
    setup.permits = false;
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::AwaitingDrain);
    (setup.permits, setup.open_lane) = (true, true);
    assert_eq!(wait_at(&setup, &mut run).await, Step::Draining);
    setup.device.with(|d| assert_eq!(d.transfers, 0));
    setup.open_lane = false;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
}

#[tokio::test(start_paused = true)]
async fn unsafe_interlock_holds_the_device_back() {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
    setup.order.regulatory.interlocks = vec![Interlock { name: "sourceState".into(), safe: "Off".into() }];
    setup.device.with(|d| d.settings.insert("sourceState".into(), "On".into()));
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::Draining);
    setup.device.with(|d| d.settings.insert("sourceState".into(), "Off".into()));
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
}

#[tokio::test(start_paused = true)]
async fn second_device_of_a_lane_waits_for_the_first() {
    let setup = Setup::new(UpdateSlots::Dual, Vice::None);
    let (mut run, _) = setup.start().await;
    run.shared.lanes.with(|table| table.mark_change("other", Some(LaneDuringChange::Closed)));
    assert_eq!(wait_at(&setup, &mut run).await, Step::AwaitingDrain);
    run.shared.lanes.with(|table| table.mark_change("other", None));
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
}

#[tokio::test(start_paused = true)]
async fn order_taken_back_before_the_device_is_touched_cancels_and_later_does_not() {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
    setup.permits = false;
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::AwaitingDrain);
    let firmware = setup.order.firmware.take();
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
    setup.device.with(|d| assert_eq!(d.transfers, 0));
    let image = setup.folder.path().join("artifacts").join(new().0.hex());
    assert!(!image.exists(), "nobody needs it any more");
    std::fs::write(image, NEW).unwrap();
    (setup.order.firmware, setup.permits) = (firmware, true);
    setup.order.update.soak_seconds = 60;
    setup.until(&mut run, |r| r.step.touches_device()).await;
    setup.order.firmware = None;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
    assert_eq!(setup.running(), new());
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_while_the_operator_is_not_reached_and_what_has_begun_ends() {
    let setup = Setup::new(UpdateSlots::Dual, Vice::None);
    let (mut run, _) = setup.start().await;
    run.shared.agent.presence.down();
    tokio::time::advance(OPERATOR_SEEN).await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::Staged);
    run.shared.agent.presence.up();
    setup.until(&mut run, |r| r.step.touches_device()).await;
    run.shared.agent.presence.down();
    tokio::time::advance(OPERATOR_SEEN).await;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
}

#[tokio::test(start_paused = true)]
async fn failed_attempt_stays_failed_until_a_person_asks_and_then_has_the_next_number() {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::FailsSelfTest);
    let (mut run, _) = setup.start().await;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Failed);
    setup.device.with(|d| d.vice = Vice::None);
    assert_eq!(wait_at(&setup, &mut run).await, Step::Failed);
    if let Some(firmware) = &mut setup.order.firmware {
        firmware.retry = Some(1);
    }
    setup.visit(&mut run).await.unwrap();
    assert_eq!(run.updater.record.as_ref().unwrap().attempt, 2);
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
    assert_eq!(setup.running(), new());
}

#[tokio::test(start_paused = true)]
async fn quarantine_outlives_a_restart_and_ends_by_a_person_and_probes() {
    let mut setup = Setup::new(UpdateSlots::Single, Vice::Hangs);
    let (mut run, _) = setup.start().await;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Quarantined);
    drop(run);
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::Quarantined);
    assert!(
        !run.shared.lanes.with(|table| table.may_begin_change("other", LaneDrainNeed::NotNeeded)),
        "the lane of a quarantined device stays out of service"
    );
    setup.device.with(|d| d.vice = Vice::None);
    assert_eq!(wait_at(&setup, &mut run).await, Step::Quarantined);
    if let Some(firmware) = &mut setup.order.firmware {
        firmware.release_quarantine = Some(1);
    }
    setup.visit(&mut run).await.unwrap();
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
}

#[tokio::test(start_paused = true)]
async fn verified_instrument_waits_for_its_seal() {
    let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
    setup.order.regulatory.recertification = Recertification::Verified;
    let (mut run, _) = setup.start().await;
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::AwaitingRecertification);
    assert_eq!(setup.running(), new());
}

#[tokio::test(start_paused = true)]
async fn device_restarting_once_in_the_soak_is_proven_anew_and_twice_is_rolled_back() {
    for (restarts, end) in [(1, Step::Idle), (2, Step::Failed)] {
        let mut setup = Setup::new(UpdateSlots::Dual, Vice::None);
        setup.order.update.soak_seconds = 20;
        let (mut run, _) = setup.start().await;
        for _ in 0..restarts {
            setup.until(&mut run, |r| (r.step, r.mark) == (Step::Probation, Mark::Done)).await;
            setup.device.with(|d| d.boots += 1);
            setup.visit(&mut run).await.unwrap();
        }
        assert_eq!(setup.settle(&mut run).await.unwrap(), end);
    }
}

#[tokio::test(start_paused = true)]
async fn lost_store_makes_nothing_current_before_its_probes() {
    for (vice, end) in [(Vice::None, Step::Idle), (Vice::FailsSelfTest, Step::Quarantined)] {
        let setup = Setup::new(UpdateSlots::Dual, vice);
        setup.device.with(|d| d.running = new());
        let (mut run, _) = setup.start().await;
        run.updater.durable.doubt = true;
        assert_eq!(run.updater.status().map(|s| s.step), None);
        for _ in 0..3 {
            setup.visit(&mut run).await.unwrap();
        }
        assert_eq!(run.updater.status().unwrap().step, end);
    }
}

#[tokio::test(start_paused = true)]
async fn vendors_tool_brings_the_image_of_an_external_device() {
    let mut setup = Setup::new(UpdateSlots::External, Vice::None);
    setup.order.update.rollback = Rollback::None;
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::Activating);
    setup.device.with(|d| {
        d.running = new();
        d.boots += 1;
    });
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Idle);
    setup.device.with(|d| assert_eq!(d.transfers, 0));
}

#[tokio::test(start_paused = true)]
async fn running_image_that_cannot_be_had_is_not_overwritten() {
    let setup = Setup::new(UpdateSlots::Single, Vice::None);
    std::fs::remove_file(setup.folder.path().join("artifacts").join(old().0.hex())).unwrap();
    let (mut run, _) = setup.start().await;
    assert_eq!(wait_at(&setup, &mut run).await, Step::Downloading);
    assert_eq!(setup.settle(&mut run).await.unwrap(), Step::Failed);
    let (state, failure) = run.updater.last_failure().unwrap();
    assert!(failure.message.contains("put back") && failure.transport && state == ItemState::Failed);
    assert!(run.updater.record.as_ref().unwrap().retry_at.is_some());
    setup.device.with(|d| assert_eq!(d.transfers, 0));
}
