//! What parent and supervisor say to each other: one line of JSON each, requests down, reports up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Raised when the lines change, so that a binary of an earlier build is noticed.
pub(super) const PROTOCOL: u32 = 1;

/// The number that the parent gives to a child; a pid may come twice.
pub(super) type ChildId = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSpec {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) unset: Vec<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) log: PathBuf,
}

impl ChildSpec {
    /// A process called `name` in errors, whose output goes to the end of the file `log`.
    #[must_use]
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            unset: Vec::new(),
            directory: None,
            log: log.into(),
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable, beside those that we have ourselves.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// A variable of ours that the process must not see.
    #[must_use]
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.unset.push(name.into());
        self
    }

    /// The folder to start in; ours otherwise.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// A signal for a child and its process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    Terminate,
    Kill,
    Pause,
    Resume,
    Interrupt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    Signal(i32),
    /// Unknown: the supervisor was gone before it could tell.
    Unknown,
}

impl Exit {
    /// Whether it ended by itself and well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown, its supervisor was ended"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Spawn { id: ChildId, spec: ChildSpec },
    Signal { id: ChildId, signal: Signal },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Ready { protocol: u32 },
    Spawned { id: ChildId, pid: u32 },
    SpawnFailed { id: ChildId, message: String },
    Exited { id: ChildId, exit: Exit },
}
