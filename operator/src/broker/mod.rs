//! The embedded gateway: TLS, identity and MQTT 3.1.1 towards the edge agents, in front of an in-process router. A
//! [`transport`](crate::transport).
//!
//! This is the only folder that names rumqttd. Its router carries what goes to agents; what comes from them goes straight to the
//! [`SessionHandler`](crate::transport::SessionHandler), so that no reader can fall behind a log. The stock network server is never started:
//! one silent connection would stop it for good (`docs/decisions/0002`).
//!
//! A connection goes through `gateway` (accept, TLS, identity) and `session` (CONNECT, then frames in both directions). `registry` lets
//! one session of an identity live at a time, `access` lists what it may publish and subscribe, `outbox` queues what goes to it.

pub mod metrics;
pub mod tls;

mod access;
mod gateway;
mod limits;
mod outbox;
mod registry;
mod router;
mod session;
mod shared;

pub use gateway::{Gateway, GatewayConfig, GatewayError};
pub use limits::Limits;
pub use metrics::GatewayMetrics;
pub use router::RouterFailure;
