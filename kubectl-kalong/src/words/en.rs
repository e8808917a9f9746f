//! English. What a reason means stands at the word itself; here is what to do about it.

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::Reason;

use super::Entry;

pub(super) const NOTHING: &str = "Nothing to do.";
/// For work that goes on by itself.
const WAIT: &str = "Wait: it goes on by itself.";

macro_rules! reasons {
    ($($word:ident: $todo:expr;)+) => { &[$((Reason::$word, $todo),)+] };
}

macro_rules! codes {
    ($($word:ident: $means:literal, $todo:literal;)+) => {
        &[$((BlockCode::$word, Entry { means: $means, todo: $todo }),)+]
    };
}

pub(super) const REASONS: &[(Reason, &str)] = reasons! {
    Initializing: "Wait a minute; if it stays, look whether the operator runs: `kubectl kalong doctor`.";
    InForce: NOTHING;
    Serving: NOTHING;
    Planned: "Nothing to do until its phase is commissioned; that is a change of `spec.state` of the Phase in Git.";
    Suspended: "Set `spec.suspend` to false where it is declared, when it is to take part again.";
    Disabled: "Set `spec.admin` to Enabled where the device is declared, when it is to take part again.";
    Applying: "Wait: the agent confirms within seconds; if it does not, ask why of the agent.";
    AgentUnreachable: "Look at the box at the gate: its power, its network cable, its uplink. The lane goes on as it was last told.";
    NotEnrolled: "Run `kubectl kalong enrol <agent>` and the printed command on the box.";
    AgentConnected: NOTHING;
    DeviceConnected: NOTHING;
    DeviceUnreachable: "Look at the device: its power, its cable, its address in `spec.connection.endpoint`.";
    DeviceFaulty: "Read the health codes of the device and call its maintenance.";
    DeviceDegraded: "It still serves; read the health codes and plan maintenance.";
    MissingReference: "Declare the named object, or correct the name where it is used.";
    InvalidSpec: "Correct what is declared, as the message says.";
    InvalidConfig: "Correct `spec.config`: the model lists the settings and their bounds.";
    IdentityTooLong: "Declare it anew under a shorter name: namespace and name together have 63 characters at most.";
    SlotConflict: "Take the device out of one of the two slots: it fills one place only.";
    RejectedByAgent: "Read the message of the agent, and correct what is declared.";
    FailedOnDevice: "The agent tries again; if it stays, look at the device, as the message says.";
    ConfigInForce: NOTHING;
    UpToDate: NOTHING;
    NotDeclared: "Nothing to do; name a release in `spec.firmware` when a certain version is wanted.";
    Verifying: WAIT;
    Downloading: "Wait; if it takes long, look at the uplink of the box.";
    Staged: "Wait for its turn; what it waits for stands under blockedBy.";
    AwaitingDrain: "Wait: the lane is emptied in its turn, as soon as the floors of the crossing allow it.";
    Draining: "Wait until the vehicles inside have left; at its deadline the lane reopens by itself.";
    Drained: "Nothing to do: the lane reopens when the last claim on it ends.";
    Transferring: "Wait, and do not switch the device off.";
    Installing: "Wait, and do not switch the device off.";
    Activating: "Wait, and do not switch the device off.";
    Probation: "Wait until the soak is over.";
    Committing: "Wait, and do not switch the device off.";
    RollingBack: "Wait, and do not switch the device off.";
    RolledBack: "Read why the attempt failed (`status.firmware.lastError`); then declare a better release.";
    AttemptFailed: "Read `status.firmware.lastError`; declare another release, or annotate the device with kalong.dev/retry to try again.";
    Cancelled: "Nothing to do; declare the release again if it is still wanted.";
    Quarantined: "Send somebody to the device; when it is sound, annotate it with kalong.dev/release-quarantine.";
    AwaitingRecertification: "Have the metrology authority seal the instrument; until then it may not be used for trade.";
    SignatureInvalid: "Do not install it: have the release signed again by its authors, and find out where it came from.";
    DigestMismatch: "Do not install it: the bytes are not those that were signed. Publish the right artifact.";
    ArtifactTooLarge: "Give the operator a larger cache, or publish a smaller artifact.";
    HostNotAllowed: "Add the host to the operator's list of artifact hosts, or move the artifact to one that is on it.";
    FetchFailed: "Look whether the artifact's server answers; the operator tries again by itself.";
    Fetching: WAIT;
    Cached: NOTHING;
    SignatureValid: NOTHING;
    CounterTooLow: "Publish the wanted version as a new release with a higher security counter.";
    Incompatible: "Declare a release that is made for this model and hardware revision.";
    Expired: "Publish a new release with a later date of expiry.";
    ProbeFailed: "Read which probe failed; the old version runs again. Have the release corrected.";
    WrongVersion: "Have the author correct the version in the release or in the image.";
    Revoked: "Declare another release: a withdrawn one is not installed, even if Git still asks for it.";
    NotRevoked: NOTHING;
    CalibrationValid: NOTHING;
    CalibrationExpired: "Have the instrument calibrated and the new date recorded on it.";
    AllDevicesReady: NOTHING;
    DeviceNotReady: "Look at the devices that the message names.";
    DeviceNotAvailable: "Look at the devices that the message names: the lane cannot serve without them.";
    Open: NOTHING;
    Closed: "Nothing to do; set `spec.admission` to Open when the lane is to be used.";
    AdmissionPending: "Wait: the lane is opening or closing; if it stays, look at its controller at the gate.";
    FloorsHold: NOTHING;
    FloorBroken: "Open or repair lanes of this service and direction; until then nothing more is drained.";
    NoFloor: "Nothing to do; declare `spec.capacityFloors` if some capacity must never be lost.";
    AuthorityValid: NOTHING;
    AuthorityExpired: "Have the authority extend the legal act and record it in `spec.authority`; until then use the traditional lanes.";
    NoAuthority: "Nothing to do; record the legal act in `spec.authority` if there is one.";
    NoCounterpart: "Nothing to do; name a BilateralLink in `spec.linkRef` when there is one.";
    NoLiveLane: "Open the phase of its lanes, or declare lanes.";
    LaneNotReady: "Look at the lanes that the message names.";
    StationNotReady: "Look at the stations that the message names.";
    NoOpenLane: "Open or repair a lane of this service and direction.";
    InSync: NOTHING;
    OutOfSync: "Wait: the agent is being told; if it stays, look at its uplink.";
    ClockSynchronised: NOTHING;
    ClockUnsynchronised: "Give the box a time server that it can reach.";
    CertificateCurrent: NOTHING;
    CertificateEnding: "Look whether the box is connected: it renews by itself. If the certificate has ended, enrol it again.";
    OutboxDraining: NOTHING;
    OutboxFull: "Restore the uplink of the box, so that it can send what it keeps.";
    DuplicateIdentity: "Find the second box with this identity and switch it off; then enrol the right one again.";
    TermImplausible: "Enrol the agent anew: its store is damaged, or somebody forged it.";
    Orphaned: "Declare the item again if it belongs here; to remove it, declare it and then delete it.";
    Enrolled: NOTHING;
    CertificateRenewed: NOTHING;
    AttemptStarted: WAIT;
    FirmwareProven: NOTHING;
    DeviceRecovered: NOTHING;
    OfflinePolicyClosed: "Restore the uplink of the box: the lane opens again by itself.";
    OfflinePolicyEnded: NOTHING;
    Terminating: "Wait until its agent has let go of it; what it waits for stands under blockedBy.";
    NoReleaseKeys: "Give the operator the authors' key document (`releaseKeys` of the chart).";
    ModelValid: NOTHING;
    ReleaseUsable: NOTHING;
    Commissioning: "Nothing to do for traffic: its lanes stay closed until the phase is opened in Git.";
    UnknownPhase: "Declare the Phase that it names, or correct `spec.phase`.";
    DrainAccepted: WAIT;
    EmergencyAccepted: "Tell the people at the crossing which floors are broken, and release the claim as soon as possible.";
    CapacityFloor: "Open or repair another lane of this service and direction, or wait until one comes back.";
    DrainInProgress: "Wait for its turn: one lane of a service and direction is drained at a time.";
    DrainTimedOut: "Send the waiting vehicles on and clear the lane; it is asked again later by itself.";
    DrainRefused: "Read why the agent refuses, and clear that at the lane.";
    DrainLapsed: "Nothing to do; delete the claim, or make a new one if the lane has to be empty again.";
    DrainHolds: "Release the claim when the work is done: `kubectl kalong drain release <name>`.";
    NothingToDrain: "Look whether the claim names the right target; delete it if it is not needed.";
    Reopened: NOTHING;
    GateRefused: "Bring what the named gate misses, or put `spec.state` of the Phase back in Git.";
    GatesMet: NOTHING;
    GateFailed: "Bring what the gate misses, as its message says, before the phase is asked for.";
    GateVoided: "The phase stays open; restore what the gate misses, or move the phase back in Git.";
    PhaseOpen: NOTHING;
    PhaseComplete: NOTHING;
    PhaseNotOpen: "Nothing to do until the phase is opened in Git.";
    PhaseClosing: "Wait until its lanes are empty.";
    MilestonePassed: "Bring what is missing, or agree on a new date and change the milestone in Git.";
    OnTime: NOTHING;
    InterlockOpen: "Go to the station, make it safe, and close the interlock; its lanes reopen by themselves.";
    InterlocksClosed: NOTHING;
    InterlockUnknown: "Restore the connection to the device; its own controller keeps people safe meanwhile.";
    NoInterlock: NOTHING;
    SealBroken: "Stop using the instrument, and have the authority look at it and seal it again.";
    LicenceValid: NOTHING;
    LicenceEnding: "Have the licence renewed before it ends, and record the new date.";
    LicenceExpired: "Stop using the station until the licence is renewed and recorded.";
    NoLicence: "Nothing to do; record the licence if the law asks for one.";
    FallbackServes: "Send the traffic to the fallback, and repair this station.";
    VehicleOnline: NOTHING;
    VehicleNotSeen: "Look whether the vehicle is switched on and known to the fleet under the declared serial number.";
    VehicleOffline: "Nothing to do if it was switched off on purpose; else switch it on.";
    VehicleConnectionBroken: "Look for the vehicle in the yard, and at the radio network there.";
    StateStale: "Look at the vehicle and at the fleet's controller: it is connected and says nothing.";
    FleetUnreachable: "Look at the fleet's broker, and at the network between it and the box.";
    VehicleFaulty: "Go to the vehicle, clear the error that it reports, and bring it back into service.";
    NotAutomatic: "Set the vehicle to automatic when nobody works at it any more.";
    PositionKnown: NOTHING;
    PositionLost: "Bring the vehicle to a place that it knows, and let it localise itself.";
    MapsEnabled: NOTHING;
    MapsDiffer: "Have the fleet's controller load and enable the declared maps.";
    NothingDeclared: NOTHING;
    AtServiceNode: NOTHING;
    NotSafeToChange: "Bring the vehicle home to a service node, empty and charged, when it is to be changed.";
    DryRun: "Nothing to do: nothing is sent until an agreement is in force and recorded in `spec.agreements`.";
    AgreementValid: NOTHING;
    NoAgreement: "Have the authorities of both sides agree, and record the agreement in `spec.agreements`.";
    PeerAnswers: NOTHING;
    PeerUnreachable: "Ask the other side whether its gateway runs, and look at the line between.";
    ClocksAgree: NOTHING;
    ClockSkewed: "Agree with the other side on a time source, and correct the clock that is wrong.";
    NotExchanging: NOTHING;
    InternalError: "It is tried again by itself; if it stays, send the operator's log to its maintainers.";
};

pub(super) const CODES: &[(BlockCode, Entry)] = codes! {
    AgentUnreachable:
        "It waits for an edge agent that has been silent for longer than the grace time.",
        "Look at the box at the gate: its power, its network cable, its uplink.";
    AgentNotEnrolled:
        "It waits for a box that has never been enrolled.",
        "Run `kubectl kalong enrol <agent>` and the printed command on the box.";
    AgentConfirmation:
        "It waits for the edge agent to confirm what it was told.",
        "Wait; if it stays, look whether the agent is connected.";
    LaneDrain:
        "It waits until its lane is empty and held.",
        "Wait for the LaneDrain, or look at what that waits for.";
    CapacityFloor:
        "It waits because a capacity floor of the crossing would break.",
        "Open or repair another lane of this service and direction, or wait until one comes back.";
    DrainInProgress:
        "It waits for its turn: another lane of the same service and direction is drained for a change.",
        "Wait until the other claim ends, or release it if nobody needs it any more.";
    LaneNotEmpty:
        "It waits until the vehicles or people inside have left the lane.",
        "Look at the lane and send on what stands in it.";
    InterlockOpen:
        "It waits for an interlock that is open.",
        "Go to the station, make it safe, and close the interlock.";
    PhaseGate:
        "It waits for a gate of the phase that is not met.",
        "Bring what the gate misses, as its message says.";
    Agreement:
        "It waits for an agreement between the two sides.",
        "Have the authorities of both sides agree, and record the agreement where the link is declared.";
    MissingReference:
        "It waits for an object that does not exist.",
        "Declare the named object, or correct the name where it is used.";
    StillReferenced:
        "It cannot go while other objects still name it.",
        "Move or delete the objects that name it.";
    Quarantine:
        "It waits for a person to look at the device.",
        "Send somebody to the device; when it is sound, annotate it with kalong.dev/release-quarantine.";
    Retry:
        "Something failed, and the next try is due later.",
        "Wait until the time that is shown; meanwhile remove what made it fail.";
    Recertification:
        "It waits for the seal of the metrology authority.",
        "Have the metrology authority seal the instrument; until then it may not be used for trade.";
};
