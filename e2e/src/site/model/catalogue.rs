//! The list of simulated models. Poll intervals: what runs a lane 0.5 to 1 s, what stands in it 2 s, what watches it 5 s.

use kalong_crds::device_model::{
    Calibration, DeviceClass, LaneDrainNeed, ProtocolName, Recertification, Severity, UpdateSlots,
};

use super::{Fixed, Login, Model, Reading, SelfTestOffer, Setting, Shape};

/// Size of a camera's factory image in the simulation: real ones have 60 to 150 MB.
const CAMERA_IMAGE: usize = 300 * 1024;
/// Size of every other factory image in the simulation.
const SMALL_IMAGE: usize = 16 * 1024;
const OFF_ON: &[&str] = &["Off", "On"];
const CLOSED_OPEN: &[&str] = &["Closed", "Open"];

/// What most Modbus instruments have in common: the vendor's own tool updates them.
const MODBUS: Model = Model {
    name: "",
    class: DeviceClass::PowerMeter,
    hardware: "r1",
    protocol: ProtocolName::ModbusTcp,
    poll_millis: 2000,
    version: "1.0.0",
    slots: UpdateSlots::External,
    lane_drain: LaneDrainNeed::Needed,
    downtime_seconds: 3,
    image_size: SMALL_IMAGE,
    settings: &[],
    readings: &[],
    codes: &[],
    self_test: SelfTestOffer::None,
    calibration: Calibration::NotRequired,
    recertification: Recertification::None,
    interlock: None,
    seal: None,
    login: Login::Open,
};

/// What most HTTP instruments have in common: one image slot and a test of their own.
const HTTP: Model = Model {
    protocol: ProtocolName::GenericHttp,
    poll_millis: 5000,
    slots: UpdateSlots::Single,
    self_test: SelfTestOffer::Offered,
    ..MODBUS
};

/// What the ONVIF cameras have in common: they tell little of themselves and take their time from a server.
const ONVIF: Model = Model {
    class: DeviceClass::Camera,
    protocol: ProtocolName::OnvifHttp,
    poll_millis: 5000,
    slots: UpdateSlots::Single,
    image_size: CAMERA_IMAGE,
    settings: &[
        Setting {
            name: "dateTimeType",
            shape: Shape::Words(&["Manual", "NTP"]),
            factory: Fixed::Word("Manual"),
            declared: Fixed::Word("NTP"),
        },
        Setting {
            name: "ntpServer",
            shape: Shape::Text,
            factory: Fixed::Word(""),
            declared: Fixed::Word("192.0.2.123"),
        },
    ],
    codes: &[("ClockSkew", Severity::Degraded)],
    login: Login::Password,
    ..MODBUS
};

const fn number(
    name: &'static str,
    (unit, min, max): (&'static str, i64, i64),
    factory: i64,
    declared: i64,
) -> Setting {
    Setting {
        name,
        shape: Shape::Number(unit, min, max),
        factory: Fixed::Number(factory),
        declared: Fixed::Number(declared),
    }
}

const fn switch(name: &'static str, factory: &'static str, declared: &'static str) -> Setting {
    Setting { name, shape: Shape::Words(OFF_ON), factory: Fixed::Word(factory), declared: Fixed::Word(declared) }
}

const fn shows(name: &'static str, values: &'static [&'static str], shown: &'static str) -> Reading {
    Reading { name, shape: Shape::Words(values), shown: Fixed::Word(shown) }
}

/// Every simulated model, by place: what a lane has first.
pub const CATALOGUE: &[Model] = &[
    Model {
        name: "lane-plc",
        class: DeviceClass::LanePlc,
        hardware: "s2",
        poll_millis: 500,
        version: "3.2.0",
        settings: &[number("clearanceMillis", ("ms", 500, 60_000), 5000, 3000), switch("guideLights", "Off", "On")],
        codes: &[("LoopStuck", Severity::Degraded), ("EmergencyStop", Severity::Faulty)],
        self_test: SelfTestOffer::Offered,
        ..MODBUS
    },
    Model {
        name: "barrier",
        class: DeviceClass::Barrier,
        hardware: "g4",
        poll_millis: 1000,
        version: "2.4.1",
        settings: &[
            number("openingTimeMillis", ("ms", 600, 10_000), 2000, 1500),
            number("holdOpenMillis", ("ms", 1000, 120_000), 90_000, 8000),
        ],
        readings: &[shows("arm", &["Down", "Up"], "Down")],
        codes: &[("ArmBroken", Severity::Faulty), ("MotorHot", Severity::Degraded)],
        self_test: SelfTestOffer::Offered,
        ..MODBUS
    },
    Model {
        name: "radiation-portal",
        class: DeviceClass::RadiationPortal,
        version: "5.1.3",
        settings: &[number("alarmMarginPermille", ("[ppth]", 50, 2000), 500, 300)],
        codes: &[("BackgroundLow", Severity::Faulty), ("BackgroundHigh", Severity::Degraded)],
        self_test: SelfTestOffer::Offered,
        calibration: Calibration::Required,
        ..MODBUS
    },
    Model {
        name: "power-meter",
        class: DeviceClass::PowerMeter,
        version: "1.8.0",
        lane_drain: LaneDrainNeed::NotNeeded,
        readings: &[shows("housingSeal", &["Intact", "Broken"], "Intact")],
        seal: Some(("housingSeal", "Intact")),
        settings: &[number("underVoltage", ("V", 100, 230), 180, 205)],
        codes: &[("OnBattery", Severity::Degraded), ("BatteryLow", Severity::Faulty)],
        ..MODBUS
    },
    Model {
        name: "weighbridge",
        class: DeviceClass::Weighbridge,
        protocol: ProtocolName::ToledoContinuous,
        poll_millis: 1000,
        version: "",
        readings: &[
            Reading { name: "weight", shape: Shape::Number("kg", -1000, 99_999), shown: Fixed::Number(0) },
            Reading { name: "validWeight", shape: Shape::Number("kg", 0, 99_999), shown: Fixed::Number(0) },
            shows("motion", &["Stable", "Moving"], "Stable"),
            shows("weightState", &["Empty", "Settling", "Valid", "AwaitingZero"], "Empty"),
        ],
        codes: &[
            ("NoSignal", Severity::Faulty),
            ("OverCapacity", Severity::Degraded),
            ("UnderZero", Severity::Degraded),
            ("ZeroNotCaptured", Severity::Faulty),
            ("LineNoise", Severity::Degraded),
        ],
        recertification: Recertification::Verified,
        ..MODBUS
    },
    Model {
        name: "plate-camera",
        class: DeviceClass::AnprCamera,
        hardware: "a2",
        version: "4.0.2",
        image_size: CAMERA_IMAGE,
        settings: &[
            number("exposureMicros", ("us", 50, 20_000), 1000, 400),
            number("infraredPercent", ("%", 0, 100), 100, 80),
        ],
        codes: &[("LensDirty", Severity::Degraded), ("ReadRateLow", Severity::Faulty)],
        login: Login::Password,
        ..HTTP
    },
    Model { name: "container-camera", class: DeviceClass::OcrPortal, hardware: "c4", version: "2.7.0", ..ONVIF },
    Model { name: "dome-camera", hardware: "d1", version: "1.4.2", ..ONVIF },
    Model {
        name: "code-reader",
        class: DeviceClass::CodeReader,
        version: "1.2.5",
        settings: &[number("transmitPower", ("dBm", 0, 33), 27, 30)],
        codes: &[("AntennaFault", Severity::Faulty)],
        ..HTTP
    },
    Model {
        name: "driver-reader",
        class: DeviceClass::BiometricReader,
        version: "6.0.1",
        settings: &[number("timeoutMillis", ("ms", 1000, 60_000), 20_000, 15_000)],
        codes: &[("SensorDirty", Severity::Degraded)],
        slots: UpdateSlots::Dual,
        ..HTTP
    },
    Model {
        name: "display",
        class: DeviceClass::Display,
        version: "1.1.0",
        lane_drain: LaneDrainNeed::NotNeeded,
        settings: &[number("brightnessPercent", ("%", 0, 100), 100, 70)],
        codes: &[("PixelsDead", Severity::Degraded)],
        ..HTTP
    },
    Model {
        name: "e-gate",
        class: DeviceClass::EGate,
        hardware: "e1",
        poll_millis: 1000,
        version: "7.3.0",
        slots: UpdateSlots::Dual,
        settings: &[
            number("doorHoldMillis", ("ms", 1000, 15_000), 6000, 4000),
            Setting {
                name: "language",
                shape: Shape::Words(&["English", "Vietnamese", "Chinese"]),
                factory: Fixed::Word("English"),
                declared: Fixed::Word("Vietnamese"),
            },
        ],
        codes: &[("DoorBlocked", Severity::Faulty), ("ReaderDirty", Severity::Degraded)],
        login: Login::Password,
        ..HTTP
    },
    Model {
        name: "network-switch",
        class: DeviceClass::NetworkSwitch,
        version: "9.4.0",
        slots: UpdateSlots::Dual,
        settings: &[switch("stormControl", "Off", "On")],
        codes: &[("PortDown", Severity::Degraded), ("PowerFault", Severity::Faulty)],
        ..HTTP
    },
    Model {
        name: "ups",
        class: DeviceClass::Ups,
        poll_millis: 5000,
        version: "2.0.4",
        lane_drain: LaneDrainNeed::NotNeeded,
        settings: &[number("lowBatteryPercent", ("%", 5, 80), 20, 30)],
        codes: &[("OnBattery", Severity::Degraded), ("BatteryLow", Severity::Faulty)],
        ..MODBUS
    },
    Model {
        name: "x-ray-scanner",
        class: DeviceClass::XRayScanner,
        version: "8.1.0",
        slots: UpdateSlots::Dual,
        settings: &[number("idleOffSeconds", ("s", 10, 600), 120, 60)],
        readings: &[shows("beam", OFF_ON, "Off"), shows("doorInterlock", CLOSED_OPEN, "Closed")],
        codes: &[("InterlockOpen", Severity::Faulty), ("TubeHot", Severity::Degraded)],
        recertification: Recertification::Traced,
        interlock: Some(("doorInterlock", "Closed")),
        login: Login::Password,
        ..HTTP
    },
    Model {
        name: "conveyor",
        class: DeviceClass::Conveyor,
        version: "1.5.0",
        settings: &[number("beltMillimetresPerSecond", ("mm/s", 50, 1200), 400, 600)],
        codes: &[("BeltSlack", Severity::Degraded), ("EmergencyStop", Severity::Faulty)],
        ..MODBUS
    },
    Model {
        name: "disinfection",
        class: DeviceClass::Disinfection,
        version: "2.2.0",
        settings: &[number("doseMillilitres", ("mL", 10, 2000), 200, 350)],
        // Whoever mixes what is sprayed must not be sprayed.
        readings: &[shows("doorInterlock", CLOSED_OPEN, "Closed")],
        interlock: Some(("doorInterlock", "Closed")),
        codes: &[("DisinfectantLow", Severity::Degraded), ("PumpFault", Severity::Faulty)],
        ..MODBUS
    },
    Model {
        name: "charger",
        class: DeviceClass::Charger,
        version: "4.4.0",
        settings: &[number("currentLimit", ("A", 10, 500), 250, 200)],
        codes: &[("CableFault", Severity::Faulty)],
        ..MODBUS
    },
    Model {
        name: "guidance-beacon",
        class: DeviceClass::GuidanceBeacon,
        poll_millis: 5000,
        version: "1.0.7",
        settings: &[number("transmitPower", ("dBm", -20, 20), 0, -4)],
        codes: &[("BatteryLow", Severity::Degraded)],
        ..MODBUS
    },
    Model {
        name: "fleet-controller",
        class: DeviceClass::IgvFleetController,
        version: "3.0.0",
        slots: UpdateSlots::Dual,
        settings: &[number("vehiclesAtOnce", ("{count}", 0, 100), 1, 5)],
        codes: &[("LocalisationLost", Severity::Faulty)],
        login: Login::Password,
        ..HTTP
    },
];

/// The model with this name.
pub fn find(name: &str) -> Option<&'static Model> {
    CATALOGUE.iter().find(|m| m.name == name)
}
