//! Starts, hangs and power cuts of a simulated device.

use std::sync::Arc;
use std::time::Duration;

use super::device::{Device, DeviceState, SelfTestState};
use crate::site::image::Behaviour;
use crate::site::report::{CutPoint, Fault, FaultOrder, Power, Switch};
use crate::site::traffic::TouchKind;

/// A device in a reboot loop is there for so long between two starts.
const UP_IN_A_LOOP: Duration = Duration::from_millis(300);

impl Device {
    /// The device goes away and starts again.
    pub fn restart(self: &Arc<Self>) {
        let mut state = self.state();
        self.restart_from(&mut state);
    }

    /// As [`Device::restart`], with the state already in hand.
    pub fn restart_from(self: &Arc<Self>, state: &mut DeviceState) {
        self.touched(TouchKind::Restart);
        state.power = Power::Starting;
        state.leaving = false;
        state.flashing = None;
        self.cut_connections(state);
        self.after(self.timing.boot(), state, Self::started);
    }

    /// Loses power if the fault asks for it at this point; the fault is used up by that.
    pub fn power_cut_at(self: &Arc<Self>, point: CutPoint, state: &mut DeviceState) -> Cut {
        if state.faults.power_cut != Some(point) {
            return Cut::No;
        }
        state.faults.power_cut = None;
        match point {
            CutPoint::Install => state.slots.spoil(),
            CutPoint::Activate => state.slots.lose_trial(),
            CutPoint::Upload | CutPoint::Commit => {}
        }
        if point == CutPoint::Install {
            state.upload = None;
        }
        self.restart_from(state);
        Cut::Yes
    }

    /// Does something later, unless the device starts again or is cut off before.
    fn after(self: &Arc<Self>, wait: Duration, state: &DeviceState, then: fn(&Arc<Self>, &mut DeviceState)) {
        let (device, session) = (Arc::clone(self), state.session());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let mut state = device.state();
            if state.session() == session {
                then(&device, &mut state);
            }
        });
    }

    fn started(self: &Arc<Self>, state: &mut DeviceState) {
        state.slots.start();
        state.boot_count += 1;
        state.counts.reboots += 1;
        state.self_test = SelfTestState::NotRun;
        let behaviour = &state.slots.running.behaviour;
        let hangs = state.faults.hang || behaviour.contains(&Behaviour::Hang);
        let loops = state.faults.reboot_loop || behaviour.contains(&Behaviour::RebootLoop);
        state.power = if hangs { Power::Hung } else { Power::On };
        self.publish(state);
        if hangs && state.slots.has_way_back() {
            // The watchdog of a device with two slots.
            self.after(self.timing.boot() * 2, state, Self::restart_from);
        } else if loops {
            self.after(UP_IN_A_LOOP, state, Self::restart_from);
        }
    }

    /// Puts a fault on or takes it off.
    ///
    /// # Errors
    /// The device cannot have it, and why.
    pub fn fault(self: &Arc<Self>, order: FaultOrder) -> Result<(), String> {
        let on = order.state == Switch::On;
        let mut state = self.state();
        match order.fault {
            Fault::Hang if on => {
                state.faults.hang = true;
                state.power = Power::Hung;
                self.publish(&state);
            }
            Fault::Hang => {
                state.faults.hang = false;
                self.restart_from(&mut state);
            }
            Fault::RebootLoop => {
                state.faults.reboot_loop = on;
                self.restart_from(&mut state);
            }
            Fault::WrongVersionAfterUpdate => state.faults.wrong_version = on,
            Fault::FlashError => state.faults.flash_error = on,
            Fault::DirtyLens if self.has_code("LensDirty") => {
                if on {
                    state.codes.insert("LensDirty".into());
                } else {
                    state.codes.remove("LensDirty");
                }
            }
            Fault::DirtyLens => return Err(self.cannot("say that its lens is dirty: take a plate-camera")),
            Fault::ClockStep { seconds } if self.has_code("ClockSkew") => {
                state.clock_ahead = if on { seconds } else { 0 }
            }
            Fault::ClockStep { .. } => return Err(self.cannot("show its clock: take an ONVIF camera")),
            Fault::PowerCutAt { point } => state.faults.power_cut = on.then_some(point),
            Fault::Unreachable => {
                state.faults.unreachable = on;
                self.unplug(&mut state);
            }
            Fault::Slow { millis } => state.faults.slow = Duration::from_millis(if on { millis } else { 0 }),
        }
        Ok(())
    }

    /// The cable changes: connections are lost, but the device runs on. A start under way must not be lost with them.
    fn unplug(self: &Arc<Self>, state: &mut DeviceState) {
        let starting = state.power == Power::Starting;
        self.cut_connections(state);
        if starting {
            self.after(self.timing.boot(), state, Self::started);
        }
    }

    fn cannot(&self, what: &str) -> String {
        format!("{} is a {} and cannot {what}", self.placed.name, self.model().name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It did: whatever was going on is over.
    Yes,
    No,
}
