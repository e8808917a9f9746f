//! Digest and length of an artifact file, read once from front to back.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kalong_crds::units::Digest;
use ring::digest::{Context, SHA256};

use crate::output::OutputError;

const READ_AT_ONCE: usize = 256 * 1024;

/// What is known of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) digest: Digest,
    pub(super) size: i64,
}

/// Reads the whole file. An artifact may be larger than memory.
pub(super) fn measure(path: &Path) -> Result<Measured, OutputError> {
    let failed = |source| OutputError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0_u8; READ_AT_ONCE];
    let mut size = 0_i64;
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        context.update(buffer.get(..read).unwrap_or_default());
        size = size.saturating_add(i64::try_from(read).unwrap_or(i64::MAX));
    }
    Ok(Measured { digest: Digest::from_hash(context.finish().as_ref()), size })
}
