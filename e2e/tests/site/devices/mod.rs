//! The simulated devices answer their protocols as the standards and `docs/device-contract` say. Everything here is spoken
//! by hand, byte by byte: it shares no protocol code with the simulator, nor with the edge agent.

mod bench;
mod faults;
mod fleet;
mod generic;
mod guards;
mod modbus;
mod onvif;
mod peer;
mod process;
mod toledo;
mod traffic;
