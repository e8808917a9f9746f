//! What programs read: stdout, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

/// Form of the output
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// What went wrong with a file or with stdout.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub(crate) enum OutputError {
    /// A file cannot be read.
    #[error("cannot read {}: check the path and your rights", path.display())]
    #[strum(to_string = "unreadable-file")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file is far larger than anything that belongs here.
    #[error("{} is larger than {limit} bytes: is it the right file?", path.display())]
    #[strum(to_string = "unreadable-file")]
    TooLarge { path: PathBuf, limit: u64 },
    /// A file cannot be written.
    #[error("cannot write {}: check the folder and your rights", path.display())]
    #[strum(to_string = "unwritable-file")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file is there that must not be overwritten.
    #[error("{} exists and is not overwritten: choose another name, or move the old key to a safe place first", _0.display())]
    #[strum(to_string = "file-exists")]
    Exists(PathBuf),
    /// Nobody reads stdout any more.
    #[error("cannot write to stdout: is the program after the pipe still there?")]
    #[strum(to_string = "unwritable-file")]
    Stdout(#[source] std::io::Error),
    /// The value has no JSON form.
    #[error("the result cannot be written as JSON")]
    #[strum(to_string = "internal")]
    Json(#[source] serde_json::Error),
    /// The value has no YAML form.
    #[error("the result cannot be written as YAML")]
    #[strum(to_string = "internal")]
    Yaml(#[source] Box<serde_saphyr::SerializeError>),
}

pub(crate) fn print(text: &str) -> Result<(), OutputError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(OutputError::Stdout)
}

/// The text of a value in this form, with a line feed at its end.
pub(crate) fn document<T: Serialize>(format: Format, value: &T) -> Result<String, OutputError> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(value).map_err(OutputError::Json)? + "\n"),
        Format::Yaml => yaml(value),
    }
}

/// The YAML text of a value.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, OutputError> {
    // Folded text would tear signatures and commands apart, which people copy and reviewers compare.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(value, options).map_err(|e| OutputError::Yaml(Box::new(e)))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// The text of a file that may not be larger than `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, OutputError> {
    let failed = |source| OutputError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let read = File::open(path).map_err(failed)?.take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > limit {
        return Err(OutputError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(text)
}

/// Puts text into a file in one step: a reader sees the old or the new, never a half.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), OutputError> {
    let failed = |source| OutputError::Write { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(|source| {
        let _ = fs::remove_file(&beside);
        failed(source)
    })
}

/// Makes a file that only its owner may read, and never overwrites one.
pub(crate) fn create_private(path: &Path, text: &str) -> Result<(), OutputError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => OutputError::Exists(path.to_owned()),
        _ => OutputError::Write { path: path.to_owned(), source },
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| OutputError::Write { path: path.to_owned(), source })
}
