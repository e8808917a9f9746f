//! `Mirror`: the operator's copy of firmware, from which agents download. What is behind it is the operator's affair.

use futures::stream::BoxStream;
use kalong_crds::condition::Reason;
use kalong_crds::firmware_release::Artifact;

/// How far the copy of an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It is there, and its digest was verified.
    Cached,
    /// It is being fetched.
    Fetching,
    /// It could not be fetched; where that can help, it is tried again without being asked.
    Failed {
        /// One of the documented reasons.
        reason: Reason,
        /// What is wrong and what to do, as a sentence.
        message: String,
    },
}

/// The seam between releases and the cache of their bytes.
pub trait Mirror: Send + Sync {
    /// The artifact of this release shall be there. Saying it again changes nothing and keeps it from being evicted.
    fn ensure(&self, release: &str, artifact: &Artifact) -> MirrorState;

    /// Fires after the state of any artifact changed. Several changes may fire once.
    fn changes(&self) -> BoxStream<'static, ()>;
}
