//! Down: questions, acknowledgements and certificates; and the request that a certificate answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A control message of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Report the whole.
    Resync {},
    /// Events up to and including this one are safely handled; drop them.
    Ack {
        /// Epoch in which the event was made.
        epoch: u64,
        /// Its sequence number within that epoch.
        upto: u64,
    },
    /// A new certificate for the key of the request.
    Certificate {
        /// The certificate in PEM.
        certificate: String,
        /// The authorities to trust from now on, in PEM.
        authorities: String,
    },
    /// A request that cannot be answered, and what to do.
    Refused {
        /// What was refused and why.
        message: String,
    },
}

/// An agent's request for a new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// The certificate request in PEM, signed with the new key.
    pub csr: String,
}
