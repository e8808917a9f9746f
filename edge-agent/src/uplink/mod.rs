//! The connection to the operator: enrolment, the session, verification of what comes down, and what goes up.
//!
//! Everything that goes up is made from the store and the image at the moment of sending; nothing waits in a queue that a
//! broken connection could lose. Everything that comes down is verified before it is parsed, and stored before it is acked.

pub mod enrol;
pub mod renewal;
pub mod session;
pub mod verify;

mod publish;
