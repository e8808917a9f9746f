//! The API server's audit log: the one instrument that counts what was written, and by whom.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{sleep, timeout};

const POLL: Duration = Duration::from_millis(20);

/// Why the audit log could not be read.
#[derive(Debug, Error)]
pub enum AuditError {
    #[error("reading the audit log {path} failed: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("a line of the audit log {path} is not an audit event: {source}")]
    Line {
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// What was waited for did not come.
    #[error("the audit log did not show {what} within {} s", .within.as_secs())]
    Deadline { what: String, within: Duration },
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

impl AuditMark {
    #[must_use]
    pub fn offset(self) -> u64 {
        self.0
    }
}

/// A request that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub user: String,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`, `get`, `list`, `watch`.
    pub verb: String,
    /// The API group; empty for the core group and for paths that are no resource.
    pub group: String,
    /// The resource, such as `devices`; empty for paths that are no resource.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    /// Empty where the request names none.
    pub name: String,
    /// The HTTP status that was answered; 0 where none was.
    pub code: u16,
    pub timestamp: Timestamp,
    /// What the client calls itself.
    pub user_agent: String,
    /// The path and query that were asked.
    pub uri: String,
}

impl AuditEntry {
    /// Whether it was meant to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
            && !self.is_question()
    }

    /// Whether it is about a Lease, the one thing that is written all the time.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        self.group == "coordination.k8s.io" && self.resource == "leases"
    }

    /// Whether the server did what was asked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Created to be answered, never stored: reviews, and tokens.
    fn is_question(&self) -> bool {
        matches!(self.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
            || (self.resource == "serviceaccounts" && self.subresource == "token")
    }
}

/// Reads the log of one API server; the file grows and is never rotated.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// A reader of this file.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The present end. A request that was answered this moment may come after it:
    /// [`ControlPlane::audit_fence`](super::ControlPlane::audit_fence) waits for those.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn mark(&self) -> Result<AuditMark, AuditError> {
        let length = self.path.metadata().map_err(|source| self.unreadable(source))?.len();
        Ok(AuditMark(length))
    }

    /// Every request that ended since a mark, in the order in which they ended.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn entries_since(&self, mark: AuditMark) -> Result<Vec<AuditEntry>, AuditError> {
        self.entries_between(mark, None)
    }

    /// As [`AuditLog::entries_since`], up to another mark.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn entries_between(&self, from: AuditMark, to: Option<AuditMark>) -> Result<Vec<AuditEntry>, AuditError> {
        let bytes = self.read(from, to).map_err(|source| self.unreadable(source))?;
        // The last line may be half written.
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let mut entries = Vec::new();
        for line in lines {
            let event: AuditEvent =
                serde_json::from_slice(line).map_err(|source| AuditError::Line { path: self.path.clone(), source })?;
            // A watch is logged at its start as well; a request counts once, when it is over.
            if event.stage == "ResponseComplete" {
                entries.push(AuditEntry::from(event));
            }
        }
        Ok(entries)
    }

    /// The writes of one user since a mark, without its leases.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn writes_by(&self, user: &str, since: AuditMark) -> Result<Vec<AuditEntry>, AuditError> {
        let mut writes = self.writes_with_leases_by(user, since)?;
        writes.retain(|entry| !entry.is_lease());
        Ok(writes)
    }

    /// The writes of one user since a mark, leases included.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn writes_with_leases_by(&self, user: &str, since: AuditMark) -> Result<Vec<AuditEntry>, AuditError> {
        let mut entries = self.entries_since(since)?;
        entries.retain(|entry| entry.user == user && entry.is_write());
        Ok(entries)
    }

    /// Waits until an entry after the mark is as wanted. `what` is said when it does not come.
    ///
    /// # Errors
    /// The deadline, or an unreadable file.
    pub async fn wait_for(
        &self,
        what: &str,
        since: AuditMark,
        within: Duration,
        wanted: impl Fn(&AuditEntry) -> bool,
    ) -> Result<AuditEntry, AuditError> {
        let found = async {
            loop {
                if let Some(entry) = self.entries_since(since)?.into_iter().find(&wanted) {
                    return Ok(entry);
                }
                sleep(POLL).await;
            }
        };
        timeout(within, found).await.map_err(|_| AuditError::Deadline { what: what.to_owned(), within })?
    }

    fn read(&self, from: AuditMark, to: Option<AuditMark>) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from.0))?;
        let mut bytes = Vec::new();
        let most = to.map_or(u64::MAX, |to| to.0.saturating_sub(from.0));
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn unreadable(&self, source: io::Error) -> AuditError {
        AuditError::Read { path: self.path.clone(), source }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditEvent {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<AuditEvent> for AuditEntry {
    fn from(event: AuditEvent) -> Self {
        let AuditEvent {
            stage: _,
            verb,
            user,
            user_agent,
            uri,
            object_ref,
            response_status,
            request_received_timestamp,
        } = event;
        let ObjectRef { api_group, resource, subresource, namespace, name } = object_ref;
        Self {
            user: user.username,
            verb,
            group: api_group,
            resource,
            subresource,
            namespace,
            name,
            code: response_status.code,
            timestamp: request_received_timestamp,
            user_agent,
            uri,
        }
    }
}
