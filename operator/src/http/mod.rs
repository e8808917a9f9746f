//! What is spoken over HTTP: health and metrics in the clear on every replica; enrolment and artifacts over TLS on the leader.

pub mod plain;
pub mod rate;
pub mod routes;
pub mod stream;
pub mod tls;
