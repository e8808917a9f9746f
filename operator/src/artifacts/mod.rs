//! Firmware artifacts: fetched once by digest, kept on a bounded volume, served to agents by range.

pub mod cache;
pub mod fetch;
pub mod mirror;
pub mod range;
pub mod serve;

pub use cache::ArtifactCache;
pub use fetch::Fetcher;
pub use mirror::ArtifactMirror;
