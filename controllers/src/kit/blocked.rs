//! What every `status.blockedBy` has to obey.

use kalong_crds::blocked::BlockedBy;

/// As many entries as the schema allows.
const LISTED: usize = 16;

/// The first entry of each code and subject, which together are the key of the list, cut to what the schema allows.
pub fn distinct(blocked: Vec<BlockedBy>) -> Vec<BlockedBy> {
    let mut kept: Vec<BlockedBy> = Vec::new();
    for block in blocked {
        if !kept.iter().any(|other| other.code == block.code && other.subject == block.subject) {
            kept.push(block);
        }
    }
    kept.truncate(LISTED);
    kept
}
