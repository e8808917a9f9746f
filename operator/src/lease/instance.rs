//! The identity of this process in the Lease, and the lock that keeps two processes of one name apart outside Kubernetes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::PathBuf;

use kalong_crds::units::hex;
use ring::rand::{SecureRandom, SystemRandom};

use super::decide::HolderIdentity;
use crate::settings::Instance;

/// Why this process has no identity.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The lock file or its folder cannot be used.
    #[error("the lock {path} cannot be opened ({source}): give a writable --state-dir")]
    Lock {
        /// Path of the lock file.
        path: PathBuf,
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("another process runs as --instance {0}: end it, or choose another name")]
    Taken(String),
    /// The system's random source failed.
    #[error("the system gave no random number")]
    Random,
}

/// An identity, and the lock that guards it until this is dropped.
#[derive(Debug)]
pub struct ClaimedIdentity {
    pub identity: HolderIdentity,
    _lock: Option<File>,
}

/// Claims the identity of this process.
///
/// A Pod's UID is never shared by two living processes. A name outside Kubernetes could be, hence the lock: an earlier
/// process of the same name is taken over at once, which is safe only when it is dead.
pub fn claim(instance: &Instance) -> Result<ClaimedIdentity, InstanceError> {
    let mut random = [0_u8; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| InstanceError::Random)?;
    let (owner, lock) = match instance {
        Instance::Pod { uid, .. } => (uid, None),
        Instance::Local { name, state_dir } => {
            let path = state_dir.join(format!("{name}.lock"));
            let opened = std::fs::create_dir_all(state_dir)
                .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(&path));
            let file = opened.map_err(|source| InstanceError::Lock { path: path.clone(), source })?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(InstanceError::Taken(name.clone())),
                Err(TryLockError::Error(source)) => return Err(InstanceError::Lock { path, source }),
            }
            (name, Some(file))
        }
    };
    Ok(ClaimedIdentity { identity: HolderIdentity::new(owner, &hex(&random)), _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_claimed_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::Local { name: "demo".into(), state_dir: folder.path().join("state") };
        let first = claim(&instance).unwrap();
        assert!(matches!(claim(&instance), Err(InstanceError::Taken(name)) if name == "demo"));
        let text = first.identity.text();
        drop(first);
        assert_ne!(claim(&instance).unwrap().identity.text(), text);
    }
}
