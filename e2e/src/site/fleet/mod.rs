//! The unmanned vehicles of the simulated site: [`yard`] is where they drive.

pub mod yard;

/// First level of the topics.
pub const INTERFACE: &str = "uagv";
/// Manufacturer of every vehicle.
pub const MANUFACTURER: &str = "kalong-sim";
/// Usable energy of a full battery: 150 km at 1.9 kWh a kilometre.
pub const BATTERY_WATT_HOURS: i64 = 280_000;
