//! [`Mirror`]: the operator's copy of firmware, from which agents download.

use futures::stream::BoxStream;
use kalong_crds::condition::Reason;
use kalong_crds::firmware_release::Artifact;

/// How far the copy of an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It is there, and its digest was verified.
    Cached,
    /// It is being fetched, or was not asked for yet.
    Fetching,
    /// It could not be fetched; it is tried again by itself where that can help.
    Failed {
        /// One of the documented reasons.
        reason: Reason,
        /// What is wrong and what to do, as a sentence.
        message: String,
    },
}

/// The seam between releases and the cache of their bytes.
pub trait Mirror: Send + Sync {
    /// How far the copy is; `Fetching` too while nothing was asked for yet.
    fn state(&self, artifact: &Artifact) -> MirrorState;

    /// The artifact of this release shall be there. Saying it again changes nothing and keeps it from being evicted.
    fn want(&self, release: &str, artifact: &Artifact);

    /// Fires after the state of any artifact changed. Several changes may fire once.
    fn changes(&self) -> BoxStream<'static, ()>;
}
