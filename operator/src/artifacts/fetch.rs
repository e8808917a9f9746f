//! Downloads an artifact from the URL of its release, and verifies its digest.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures::StreamExt;
use kalong_crds::condition::Reason;
use kalong_crds::firmware_release::Artifact;
use kalong_crds::units::Digest;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};
use ring::digest::{Context, SHA256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Bounds the TCP and TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A download fails after this long without a byte.
const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// Bounds a whole download, whatever its size.
const WHOLE_DEADLINE: Duration = Duration::from_secs(3600);
/// Bounds fsync of a download.
const SYNC_DEADLINE: Duration = Duration::from_secs(120);
const REDIRECTS: usize = 3;
const HTTPS_PORT: u16 = 443;

/// A host from which artifacts may be fetched: `host` stands for port 443, `host:port` for that port alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    host: String,
    port: u16,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no host: write host or host:port, without https:// and without a path")]
pub struct AllowedHostError(String);

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, AllowedHostError> {
        let bad = || AllowedHostError(text.chars().take(200).collect());
        let url: Url = format!("https://{text}/").parse().map_err(|_| bad())?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty() && !text.contains('/');
        match url.host_str() {
            Some(host) if bare => Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(HTTPS_PORT) }),
            _ => Err(bad()),
        }
    }
}

impl AllowedHost {
    fn admits(&self, url: &Url) -> bool {
        url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.host_str() == Some(&self.host)
            && url.port().unwrap_or(HTTPS_PORT) == self.port
    }
}

/// Why an artifact cannot be fetched.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum FetchError {
    /// The address is not one.
    #[error("`{0}` is no address: correct `spec.artifact.url` in a new release")]
    BadUrl(String),
    #[error("`{0}` is not an allowed host: add it to --artifact-hosts, or publish the release with another address")]
    HostNotAllowed(String),
    /// A declared size that no file has.
    #[error("{0} bytes is no size of an artifact: correct `spec.artifact.size` in a new release")]
    BadSize(i64),
    /// Larger than the whole cache.
    #[error("{size} bytes do not fit into the cache of {bound} bytes: raise --cache-size")]
    TooLarge { size: u64, bound: u64 },
    /// The server answered with something else.
    #[error("the file server answered {0}: check that the artifact is at `spec.artifact.url`")]
    Status(u16),
    /// The body is not as long as declared.
    #[error("the file is {found} bytes and not {declared}: publish the right file, or a new release")]
    WrongSize {
        /// Bytes seen; the download was stopped there.
        found: u64,
        declared: u64,
    },
    /// The body is another one.
    #[error("the file has digest {found} and not {declared}: publish the right file, or a new release")]
    DigestMismatch { found: Digest, declared: Digest },
    /// Nothing came for too long.
    #[error("the file server sent nothing for {} s: it is tried again", STALL_DEADLINE.as_secs())]
    Stalled,
    /// It took too long altogether.
    #[error("the download took longer than {} s: it is tried again", WHOLE_DEADLINE.as_secs())]
    Deadline,
    /// The network or TLS failed.
    #[error(
        "the file server cannot be reached ({0}): check its name, its certificate and --artifact-ca; it is tried again"
    )]
    Transport(String),
    #[error("the cache cannot be written ({0}): look at the volume of --cache-dir")]
    Disk(#[from] std::io::Error),
    /// The client could not be made.
    #[error("the authorities of --artifact-ca cannot be used ({0}): give a file with certificates in PEM")]
    BadRoots(String),
}

impl FetchError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::HostNotAllowed(_) => Reason::HostNotAllowed,
            Self::TooLarge { .. } => Reason::ArtifactTooLarge,
            Self::WrongSize { .. } | Self::DigestMismatch { .. } => Reason::DigestMismatch,
            Self::BadUrl(_) | Self::BadSize(_) => Reason::InvalidSpec,
            Self::Status(_)
            | Self::Stalled
            | Self::Deadline
            | Self::Transport(_)
            | Self::Disk(_)
            | Self::BadRoots(_) => Reason::FetchFailed,
        }
    }

    /// Whether a retry cannot help before the file, the release or the settings change.
    pub fn is_final(&self) -> bool {
        !matches!(self.reason(), Reason::FetchFailed)
    }
}

/// Fetches artifacts from allowed hosts.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    hosts: Vec<AllowedHost>,
}

impl Fetcher {
    /// `extra_roots` is a PEM file of authorities that are trusted beside those of the system.
    pub fn new(hosts: Vec<AllowedHost>, extra_roots: Option<&Path>) -> Result<Self, FetchError> {
        let allowed = hosts.clone();
        let redirects = Policy::custom(move |attempt| redirect(&allowed, attempt));
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(redirects)
            .connect_timeout(CONNECT_DEADLINE)
            .read_timeout(STALL_DEADLINE)
            .user_agent(concat!("kalong-operator/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = extra_roots {
            let pem = std::fs::read(path).map_err(|e| FetchError::BadRoots(format!("{}: {e}", path.display())))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| FetchError::BadRoots(words(&e)))?;
            if roots.is_empty() {
                return Err(FetchError::BadRoots(format!("{} holds no certificate", path.display())));
            }
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(|e| FetchError::BadRoots(words(&e)))?;
        Ok(Self { client, hosts })
    }

    /// The URL of the artifact, if its host is allowed.
    pub fn admit(&self, artifact: &Artifact) -> Result<Url, FetchError> {
        let shown = || artifact.url.chars().take(200).collect::<String>();
        let url: Url = artifact.url.parse().map_err(|_| FetchError::BadUrl(shown()))?;
        if self.hosts.iter().any(|host| host.admits(&url)) {
            Ok(url)
        } else {
            Err(FetchError::HostNotAllowed(url.host_str().unwrap_or_default().chars().take(200).collect()))
        }
    }

    /// Downloads into this file, which is complete, verified and synced to disk when it returns.
    pub async fn download(&self, artifact: &Artifact, into: &Path) -> Result<(), FetchError> {
        let url = self.admit(artifact)?;
        let declared = u64::try_from(artifact.size).map_err(|_| FetchError::BadSize(artifact.size))?;
        let mut file = File::create(into).await?;
        let body = self.body(url, declared, &mut file);
        let found = timeout(WHOLE_DEADLINE, body).await.map_err(|_| FetchError::Deadline)??;
        if found != artifact.digest {
            return Err(FetchError::DigestMismatch { found, declared: artifact.digest.clone() });
        }
        timeout(SYNC_DEADLINE, file.sync_all())
            .await
            .map_err(|_| FetchError::Disk(std::io::ErrorKind::TimedOut.into()))??;
        Ok(())
    }

    async fn body(&self, url: Url, declared: u64, file: &mut File) -> Result<Digest, FetchError> {
        let response = self.client.get(url).send().await.map_err(|e| transport(&e))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        if let Some(length) = response.content_length()
            && length != declared
        {
            return Err(FetchError::WrongSize { found: length, declared });
        }
        let mut hash = Context::new(&SHA256);
        let mut found: u64 = 0;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = timeout(STALL_DEADLINE, chunks.next()).await.map_err(|_| FetchError::Stalled)? {
            let chunk = chunk.map_err(|e| transport(&e))?;
            found = found.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            // A body without end must not fill the volume.
            if found > declared {
                return Err(FetchError::WrongSize { found, declared });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        if found != declared {
            return Err(FetchError::WrongSize { found, declared });
        }
        file.flush().await?;
        Ok(Digest::from_hash(hash.finish().as_ref()))
    }
}

fn redirect(allowed: &[AllowedHost], attempt: Attempt<'_>) -> Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    // An allowed host must not redirect to one that is not, such as the metadata service of a cloud.
    if allowed.iter().any(|host| host.admits(attempt.url())) {
        attempt.follow()
    } else {
        let host = attempt.url().host_str().unwrap_or_default().to_owned();
        attempt.error(format!("redirect to `{host}`, which is not in --artifact-hosts"))
    }
}

fn transport(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() { FetchError::Stalled } else { FetchError::Transport(words(error)) }
}

/// The innermost cause; reqwest's own messages say little and repeat the URL.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> AllowedHost {
        text.parse().unwrap()
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_allowed_on_its_port_and_over_https_alone() {
        assert!(host("files.example").admits(&url("https://files.example/a")));
        assert!(host("files.example:8443").admits(&url("https://files.example:8443/a")));
        assert!(host("127.0.0.1:9000").admits(&url("https://127.0.0.1:9000/a")));
        for (allowed, asked) in [
            ("files.example", "http://files.example/a"),
            ("files.example", "https://files.example:8443/a"),
            ("files.example:8443", "https://files.example/a"),
            ("files.example", "https://files.example.evil/a"),
            ("files.example", "https://evil.files.example/a"),
            ("files.example", "https://user@files.example/a"),
            ("files.example", "https://169.254.169.254/latest"),
        ] {
            assert!(!host(allowed).admits(&url(asked)), "{allowed} {asked}");
        }
        for bad in ["", "https://a", "a/b", "u@a", "a:b", "a?b"] {
            assert!(bad.parse::<AllowedHost>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_transport_is_worth_another_try() {
        assert!(!FetchError::Status(503).is_final());
        assert!(!FetchError::Stalled.is_final());
        assert!(FetchError::HostNotAllowed("a".into()).is_final());
        assert!(FetchError::WrongSize { found: 1, declared: 2 }.is_final());
    }
}
