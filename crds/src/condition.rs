//! Conditions: their types, their documented reasons, and how a new set is made from an old one without moving its times.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use strum::IntoStaticStr;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word as it stands in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// The word that this text is, if it is one.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().find(|word| word.as_str() == text).copied()
            }

            /// What the word means, as one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The condition types of all kinds.
    ConditionType {
        /// What is declared is in force.
        Ready,
        /// It can serve now.
        Available,
        /// Work is under way; present only while true.
        Reconciling,
        /// A person or a change of spec is needed; present only while true.
        Stalled,
        /// Its edge agent reaches it.
        Connected,
        /// The declared firmware runs and was proven.
        FirmwareUpToDate,
        /// The declared configuration was read back from the device.
        ConfigApplied,
        /// The calibration that its model asks for is valid.
        Calibrated,
        /// The devices of all slots are Ready.
        DevicesReady,
        /// The lane runs the declared set of firmware.
        UpToDate,
        /// Every capacity floor of the crossing holds.
        FloorsMet,
        /// The legal authority to operate is valid today.
        Authorised,
        /// The other side of the border agrees with what is declared here.
        CounterpartAligned,
        /// The agent holds exactly what it was told.
        Synced,
        /// The clock of the agent is synchronised.
        ClockTrusted,
        /// The certificate of the agent is valid and not about to end.
        CertificateValid,
        /// The outbox of the agent has room.
        OutboxHealthy,
        /// The author's signatures are right.
        Verified,
        /// The artifact is in the operator's cache.
        Mirrored,
        /// The release must not be installed any more.
        Revoked,
        /// The claim was accepted: the floors hold with it, or a person took the risk.
        Accepted,
        /// Everything that the claim concerns is empty and held.
        Drained,
        /// The claim has ended and holds nothing any more.
        Released,
        /// Every entry gate of the phase is met.
        EntryMet,
        /// The phase is in service.
        Open,
        /// Every exit gate of the phase is met.
        ExitMet,
        /// A milestone of the phase has passed its day without what was expected.
        Late,
        /// Every interlock of the station is safe.
        InterlocksSafe,
        /// The licence of the station is in force.
        Licensed,
        /// The vehicle knows where it is.
        Localised,
        /// The vehicle stands where, and as, it may be changed.
        SafeToChange,
        /// The vehicle has the declared maps and zones enabled.
        MapsCurrent,
        /// At least one agreement is in force today.
        AgreementInForce,
        /// The gateway of the other side answers.
        PeerReachable,
        /// Both sides have proven who they are.
        MutuallyAuthenticated,
        /// Both sides speak the same version.
        SchemaCompatible,
        /// The clocks of both sides agree.
        ClockSynchronised,
        /// What waits to be sent stays within its bound.
        BacklogWithinLimit,
        /// What was sent is acknowledged in time.
        ReceiptsTimely,
    }
}

words! {
    /// The documented reasons of conditions, Events and refusals.
    Reason {
        /// Nothing was heard or judged yet.
        Initializing,
        /// Everything that is declared is in force.
        InForce,
        /// It serves.
        Serving,
        /// The object belongs to a phase that is not open; no device is contacted.
        Planned,
        /// A person suspended it; nothing is sent or received.
        Suspended,
        /// A person disabled the device.
        Disabled,
        /// What was declared has been sent and is not yet confirmed.
        Applying,
        /// The edge agent has been silent for longer than the grace time.
        AgentUnreachable,
        /// The edge agent has not enrolled yet.
        NotEnrolled,
        /// The edge agent is connected.
        AgentConnected,
        /// The edge agent reaches the device.
        DeviceConnected,
        /// The device does not answer its edge agent.
        DeviceUnreachable,
        /// The device reports a fault.
        DeviceFaulty,
        /// The device serves with a reported limitation.
        DeviceDegraded,
        /// A named object does not exist.
        MissingReference,
        /// The spec contradicts itself or another object.
        InvalidSpec,
        /// A setting is not one that the model knows, or is out of its bounds.
        InvalidConfig,
        /// The identity made of namespace and name is longer than 63 characters.
        IdentityTooLong,
        /// A device fills slots of two lanes.
        SlotConflict,
        /// The agent refused what it was told.
        RejectedByAgent,
        /// The agent could not do what it was told and tries again.
        FailedOnDevice,
        /// The configuration read back equals the declared one.
        ConfigInForce,
        /// The firmware read back equals the declared one.
        UpToDate,
        /// No firmware is declared; what runs is left as it is.
        NotDeclared,
        /// Signature, counter and compatibility of the release are being checked.
        Verifying,
        /// The artifact is being downloaded to the agent.
        Downloading,
        /// The artifact is on the agent and waits for its turn.
        Staged,
        /// The lane has to be empty before the device may be touched.
        AwaitingDrain,
        /// The lane is being emptied.
        Draining,
        /// The lane is empty and held.
        Drained,
        /// The image is being sent to the device.
        Transferring,
        /// The device writes the image.
        Installing,
        /// The device switches to the new image.
        Activating,
        /// The new image runs and is being proven.
        Probation,
        /// The new image was proven and is being made permanent.
        Committing,
        /// The previous image is being put back.
        RollingBack,
        /// The previous image runs again after a failed attempt.
        RolledBack,
        /// The attempt ended without success; the device works on its old version.
        AttemptFailed,
        /// The attempt was called off before the device was touched.
        Cancelled,
        /// The device is in an unknown state and a person is needed.
        Quarantined,
        /// The instrument may not be used for trade until the new seal is recorded.
        AwaitingRecertification,
        /// A signature of the release is missing or wrong.
        SignatureInvalid,
        /// The artifact is not the one that the release names.
        DigestMismatch,
        /// The artifact is larger than the cache of the operator.
        ArtifactTooLarge,
        /// The artifact's host is not on the allow-list.
        HostNotAllowed,
        /// The artifact could not be fetched.
        FetchFailed,
        /// The artifact is being fetched into the cache.
        Fetching,
        /// The artifact is in the cache.
        Cached,
        /// The signatures are right.
        SignatureValid,
        /// The security counter is lower than the one on the device.
        CounterTooLow,
        /// The release is not made for this model or hardware revision.
        Incompatible,
        /// The release has passed its date of expiry.
        Expired,
        /// The device failed a probe after the new image had started.
        ProbeFailed,
        /// The device reports another version than the one installed.
        WrongVersion,
        /// The release was withdrawn for this model.
        Revoked,
        /// The release is not withdrawn.
        NotRevoked,
        /// The calibration is valid.
        CalibrationValid,
        /// The calibration has ended or was never recorded.
        CalibrationExpired,
        /// All slots are filled with devices that are Ready.
        AllDevicesReady,
        /// A device in a slot is not Ready.
        DeviceNotReady,
        /// A device in a required slot cannot serve.
        DeviceNotAvailable,
        /// The lane admits traffic.
        Open,
        /// The lane is closed as declared.
        Closed,
        /// The lane is not in the declared admission yet.
        AdmissionPending,
        /// Every floor holds.
        FloorsHold,
        /// Fewer lanes are open than a floor asks for.
        FloorBroken,
        /// No floor is declared.
        NoFloor,
        /// The authority is valid today.
        AuthorityValid,
        /// The authority is not valid today.
        AuthorityExpired,
        /// No authority is declared.
        NoAuthority,
        /// No counterpart is declared.
        NoCounterpart,
        /// No lane is live.
        NoLiveLane,
        /// A lane is not Ready.
        LaneNotReady,
        /// A station is not Ready.
        StationNotReady,
        /// No lane is open for a service that has a floor.
        NoOpenLane,
        /// The agent holds exactly what it was told.
        InSync,
        /// The agent does not yet hold what it was told.
        OutOfSync,
        /// The clock is synchronised.
        ClockSynchronised,
        /// The clock of the agent is not synchronised.
        ClockUnsynchronised,
        /// The certificate is valid.
        CertificateCurrent,
        /// The certificate ends soon or has ended.
        CertificateEnding,
        /// The outbox has room.
        OutboxDraining,
        /// The outbox is full and the agent keeps back what must not be lost.
        OutboxFull,
        /// Two boxes use one identity.
        DuplicateIdentity,
        /// The agent claims a term that cannot be true.
        TermImplausible,
        /// The agent holds an item that nobody declares any more.
        Orphaned,
        /// The agent enrolled and got its certificate.
        Enrolled,
        /// The certificate of the agent was renewed.
        CertificateRenewed,
        /// The attempt began.
        AttemptStarted,
        /// The new version runs and was proven.
        FirmwareProven,
        /// The device serves again without a reported fault.
        DeviceRecovered,
        /// The offline policy closed the lane.
        OfflinePolicyClosed,
        /// The offline policy gave the lane back.
        OfflinePolicyEnded,
        /// The object is being removed.
        Terminating,
        /// Release keys were not given to the operator.
        NoReleaseKeys,
        /// The model is complete and consistent.
        ModelValid,
        /// The release is verified and cached.
        ReleaseUsable,
        /// The object belongs to a phase in commissioning: it is contacted and proven, and does not serve yet.
        Commissioning,
        /// The phase that the object names does not exist; nothing is changed until it does.
        UnknownPhase,
        /// The claim was accepted.
        DrainAccepted,
        /// The claim was accepted although a floor breaks: a person declared an emergency.
        EmergencyAccepted,
        /// A capacity floor would break, so the change waits.
        CapacityFloor,
        /// Another lane of the same service and direction is drained for a change; one goes at a time.
        DrainInProgress,
        /// The lane did not become empty in time; it was reopened and is asked again later.
        DrainTimedOut,
        /// The agent refuses to empty the lane.
        DrainRefused,
        /// The claim has passed its deadline and ended by itself.
        DrainLapsed,
        /// The claim holds; it ends when it is deleted or passes its deadline.
        DrainHolds,
        /// The target of the claim has nothing to empty.
        NothingToDrain,
        /// The lane serves again after its last claim ended.
        Reopened,
        /// The phase is asked for a state whose gate is not met; everything stays as it is.
        GateRefused,
        /// Every gate is met.
        GatesMet,
        /// A gate is not met.
        GateFailed,
        /// A gate that let an open phase pass is no longer met.
        GateVoided,
        /// The phase is in service.
        PhaseOpen,
        /// The phase is complete.
        PhaseComplete,
        /// The phase is not in service.
        PhaseNotOpen,
        /// Lanes of the phase are drained before it goes back.
        PhaseClosing,
        /// A milestone has passed its day.
        MilestonePassed,
        /// No milestone has passed its day unmet.
        OnTime,
        /// An interlock is open; the lanes that depend on it are closed.
        InterlockOpen,
        /// Every interlock is safe.
        InterlocksClosed,
        /// An interlock cannot be read.
        InterlockUnknown,
        /// The station has no interlock.
        NoInterlock,
        /// A seal is broken.
        SealBroken,
        /// The licence is in force.
        LicenceValid,
        /// The licence is in force and ends within weeks.
        LicenceEnding,
        /// The licence has ended.
        LicenceExpired,
        /// No licence is declared.
        NoLicence,
        /// The station cannot serve and its fallback does.
        FallbackServes,
        /// The vehicle is connected and its state is fresh.
        VehicleOnline,
        /// The vehicle was never heard.
        VehicleNotSeen,
        /// The vehicle said goodbye to its fleet.
        VehicleOffline,
        /// The vehicle's link to its fleet broke.
        VehicleConnectionBroken,
        /// The vehicle is connected and has sent no state for too long.
        StateStale,
        /// The fleet's broker is not reached.
        FleetUnreachable,
        /// The vehicle reports an error that stops it.
        VehicleFaulty,
        /// The vehicle is not in a mode in which it takes orders.
        NotAutomatic,
        /// The vehicle knows where it is.
        PositionKnown,
        /// The vehicle does not know where it is.
        PositionLost,
        /// The declared maps are enabled.
        MapsEnabled,
        /// A declared map is missing, or another version of it is enabled.
        MapsDiffer,
        /// Nothing is declared that could be compared.
        NothingDeclared,
        /// The vehicle stands at a service node, empty, charged and at home.
        AtServiceNode,
        /// The vehicle is not where it may be changed, or carries a load, or is low on charge.
        NotSafeToChange,
        /// No agreement is in force: the link is watched, and nothing is sent.
        DryRun,
        /// An agreement is in force.
        AgreementValid,
        /// No agreement is in force.
        NoAgreement,
        /// The other side answers.
        PeerAnswers,
        /// The other side does not answer.
        PeerUnreachable,
        /// The clocks agree within two seconds.
        ClocksAgree,
        /// The clocks differ by more than two seconds.
        ClockSkewed,
        /// It is judged once messages are exchanged.
        NotExchanging,
        /// An internal step failed and is tried again.
        InternalError,
    }
}

/// The status of a condition, as the API writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known.
    Unknown,
}

impl ConditionStatus {
    /// The word as it stands in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// True or False.
    pub fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What a check found: one condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Which condition.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, from the documented words.
    pub reason: Reason,
    /// The next step as a sentence; empty while healthy.
    pub message: String,
}

impl ConditionUpdate {
    /// A condition that holds and needs no words.
    pub fn yes(kind: ConditionType, reason: Reason) -> Self {
        Self { kind, status: ConditionStatus::True, reason, message: String::new() }
    }

    /// A condition that does not hold, and what to do about it.
    pub fn no(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: ConditionStatus::False, reason, message: message.into() }
    }

    /// A condition that nobody can judge now, and what would end that.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: ConditionStatus::Unknown, reason, message: message.into() }
    }
}

/// A kind whose status carries `observedGeneration` and `conditions`.
pub trait Conditioned {
    /// The conditions as last written; empty before the first visit.
    fn conditions(&self) -> &[Condition];

    /// The condition of this type, if it was ever written.
    fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions().iter().find(|c| c.type_ == kind.as_str())
    }

    /// Whether the condition of this type is True.
    fn is(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some_and(|c| c.status == ConditionStatus::True.as_str())
    }

    /// The reason of this condition, or an empty text.
    fn reason(&self, kind: ConditionType) -> &str {
        self.condition(kind).map_or("", |c| c.reason.as_str())
    }
}

/// The conditions to write: the updated ones in their order, times kept where the status did not change.
///
/// A long message is cut at 1,024 characters, and a Reconciling or Stalled that was not judged True disappears.
pub fn settle(previous: &[Condition], updates: &[ConditionUpdate], generation: i64, now: Timestamp) -> Vec<Condition> {
    updates
        .iter()
        .filter(|j| {
            !matches!(j.kind, ConditionType::Reconciling | ConditionType::Stalled) || j.status == ConditionStatus::True
        })
        .map(|j| {
            let since = previous
                .iter()
                .find(|old| old.type_ == j.kind.as_str() && old.status == j.status.as_str())
                .map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone());
            Condition {
                type_: j.kind.as_str().to_owned(),
                status: j.status.as_str().to_owned(),
                reason: j.reason.as_str().to_owned(),
                message: j.message.chars().take(1024).collect(),
                observed_generation: Some(generation),
                last_transition_time: since,
            }
        })
        .collect()
}

/// The moment as the API writes it: in whole seconds.
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_only_with_status() {
        let first = settle(&[], &[ConditionUpdate::no(ConditionType::Ready, Reason::Applying, "a")], 1, at(100));
        let same =
            settle(&first, &[ConditionUpdate::no(ConditionType::Ready, Reason::AgentUnreachable, "b")], 2, at(200));
        assert_eq!(same[0].last_transition_time, Time(at(100)));
        let turned = settle(&same, &[ConditionUpdate::yes(ConditionType::Ready, Reason::InForce)], 2, at(300));
        assert_eq!(turned[0].last_transition_time, Time(at(300)));
    }

    #[test]
    fn stalled_disappears_when_it_is_over() {
        let gone = ConditionUpdate::no(ConditionType::Stalled, Reason::InForce, "");
        assert!(settle(&[], &[gone], 1, at(1)).is_empty());
    }

    #[test]
    fn every_word_has_a_meaning() {
        for word in Reason::ALL {
            assert!(word.meaning().trim().split(' ').count() >= 2, "{word}");
        }
    }
}
