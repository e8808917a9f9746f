//! Points at which a test can make the process die as in a power cut: no destructors, no flush.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Every point; a test loops over [`CrashPoint::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CrashPoint { $($(#[doc = $doc])+ $name,)+ }

        impl CrashPoint {
            /// Every point, in the order of a box's life.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word that chooses the point in `KALONG_CRASH_POINT=<name>:<occurrence>`.
            #[cfg(any(test, feature = "crash-points"))]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

points! {
    /// The boot counter was raised and committed.
    EpochRaised,
    /// A desired message arrived and nothing was checked.
    DesiredReceived,
    /// Its signature, fence and digests were right.
    DesiredVerified,
    /// It was committed and nothing was done yet.
    DesiredStored,
    /// An event was committed to the outbox.
    OutboxAppended,
    /// Events were published and not acknowledged.
    OutboxPublished,
    /// Events that the operator acknowledged were removed from the outbox.
    OutboxAcked,
    /// A record of an attempt is about to be committed.
    RecordBefore,
    /// A record of an attempt was committed.
    RecordAfter,
    /// The device was acted on and the outcome is not committed yet.
    DeviceActed,
    /// Bytes of a download are durable and not yet recorded.
    BytesDurable,
    /// Bytes of a download are recorded.
    BytesRecorded,
    /// A staged file has its final name and its folder is not synced yet.
    StagedRenamed,
    /// The folder of a staged file is synced.
    StagedSynced,
    /// The new certificate is stored beside the old one.
    CertificateStored,
    /// The new certificate has replaced the old one.
    CertificateSwitched,
}

/// Dies here when the environment says so.
#[cfg(feature = "crash-points")]
pub fn reach(point: CrashPoint) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Ok(chosen) = std::env::var("KALONG_CRASH_POINT") else { return };
    let (name, occurrence) = chosen.split_once(':').unwrap_or((&chosen, "1"));
    if name == point.name() {
        let count = REACHED.fetch_add(1, Ordering::SeqCst) + 1;
        if occurrence.parse() == Ok(count) {
            std::process::abort();
        }
    }
}

/// Marks a point at which a test can cut the power. Compiles to nothing unless the feature `crash-points` is on.
#[macro_export]
macro_rules! crash_point {
    ($name:ident) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::reach($crate::crash::CrashPoint::$name);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CrashPoint::ALL.iter().map(|p| p.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }
}
