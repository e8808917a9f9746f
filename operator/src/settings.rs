//! What the operator is told at its start: flags and environment, parsed once at the edge and trusted afterwards.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::artifacts::fetch::AllowedHost;

/// Smallest and largest heartbeat: below, a site drowns in beats; above, the grace of three of them hides an outage.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
/// Where a server listens for agents when nothing else is said.
const MQTT_PORT: u16 = 8883;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "kalong-operator", version, about = "The control plane of Kalong")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArguments>),
    /// Write the CRDs and the policy that guards deletion, one YAML file each.
    Crds(GenerateArguments),
    /// Write the JSON Schemas of what operator and agent say to each other.
    Schema(GenerateArguments),
}

/// Where generated files go, and whether to write or to compare them.
#[derive(Args, Clone, Debug)]
pub struct GenerateArguments {
    /// Folder of the files; the default is the place in the repository, relative to its root.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write nothing; end with 1 and name the file if one differs.
    #[arg(long)]
    pub check: bool,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Flags of `run`, as typed.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Kubeconfig to use; without it KUBECONFIG, or the Pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the operator's own Lease and Secrets.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kalong-system")]
    namespace: String,
    /// UID of the Pod: who holds the Lease.
    #[arg(long, env = "POD_UID", conflicts_with = "instance")]
    pod_uid: Option<String>,
    /// Name of the Pod, which is labelled while it leads so that the Services for agents find it.
    #[arg(long, env = "POD_NAME", requires = "pod_uid")]
    pod_name: Option<String>,
    /// Name of this operator outside Kubernetes: who holds the Lease. Needs --state-dir.
    #[arg(long, requires = "state_dir")]
    instance: Option<String>,
    /// Folder with the file lock that keeps two processes of one --instance apart.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Sites (namespaces) to serve; empty serves all.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Address of /livez, /readyz and /metrics, without TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    http_listen: SocketAddr,
    /// Address of /enrol and /artifacts, with TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    https_listen: SocketAddr,
    /// Address of the gateway for agents.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8883")]
    mqtt_listen: SocketAddr,
    /// How agents reach /enrol and /artifacts; without it the first server name.
    #[arg(long, value_name = "URL")]
    advertise_https: Option<String>,
    /// How agents reach the gateway; without it the first server name.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_gateway: Option<String>,
    /// Names and addresses in the server certificate; without it the Service's name.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    server_names: Vec<String>,
    /// Folder of cached artifacts.
    #[arg(long, value_name = "DIR", default_value = "/var/cache/kalong")]
    cache_dir: PathBuf,
    /// Bound of that folder in bytes; an artifact that is larger is refused.
    #[arg(long, value_name = "BYTES", default_value_t = 8 * 1024 * 1024 * 1024)]
    cache_size: u64,
    /// Hosts from which artifacts may be fetched, as host or host:port; none means that nothing is fetched.
    #[arg(long, value_name = "H1,H2", value_delimiter = ',')]
    artifact_hosts: Vec<AllowedHost>,
    /// Further authorities to trust when fetching, in PEM.
    #[arg(long, value_name = "FILE")]
    artifact_ca: Option<PathBuf>,
    /// Key document by which releases are judged, in JSON.
    #[arg(long, value_name = "FILE")]
    release_keys: Option<PathBuf>,
    /// How often an agent beats; it counts as silent after three of these.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    heartbeat: u64,
    /// Most requests a second to the API server; without it only its own fairness limits them.
    #[arg(long, value_name = "N")]
    api_budget: Option<std::num::NonZeroU32>,
    /// How a line of the log looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Levels of the log, such as `info` or `info,kalong_operator=debug`.
    #[arg(long, value_name = "LEVELS", env = "KALONG_LOG", default_value = "info")]
    log: String,
}

/// Who this process is to the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// A Pod.
    Pod {
        /// Its UID.
        uid: String,
        /// Its name, to label it.
        name: Option<String>,
    },
    /// A process outside Kubernetes, guarded by a lock file in this folder.
    Local {
        /// Its name.
        name: String,
        /// Folder of the lock.
        state_dir: PathBuf,
    },
}

/// Which sites are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sites {
    /// Every namespace.
    All,
    /// These namespaces.
    Some(Vec<String>),
}

impl Sites {
    /// Whether objects of this namespace are ours.
    pub fn serves(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|n| n == namespace),
        }
    }
}

/// The three addresses that are listened on.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// Health and metrics.
    pub http: SocketAddr,
    /// Enrolment and artifacts.
    pub https: SocketAddr,
    /// The gateway.
    pub mqtt: SocketAddr,
}

/// How agents reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Base address of enrolment and artifacts, without a slash at its end.
    pub https: String,
    /// Host and port of the gateway.
    pub gateway: String,
}

/// Where artifacts come from and where they are kept.
#[derive(Clone, Debug)]
pub struct ArtifactSettings {
    /// Folder of the cache.
    pub dir: PathBuf,
    /// Bound of the cache in bytes.
    pub bytes: u64,
    /// Hosts that may be asked.
    pub hosts: Vec<AllowedHost>,
    /// Further authorities.
    pub extra_roots: Option<PathBuf>,
}

/// How the log looks.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Shape of a line.
    pub format: LogFormat,
    /// Levels.
    pub levels: String,
}

/// Everything that `run` is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// The operator's own namespace.
    pub namespace: String,
    /// Who it is.
    pub instance: Instance,
    /// What it serves.
    pub sites: Sites,
    /// Where it listens.
    pub listen: Listen,
    /// How it is reached.
    pub advertise: Advertise,
    /// Names in the server certificate, at least one.
    pub server_names: Vec<String>,
    /// Artifacts.
    pub artifacts: ArtifactSettings,
    /// File of the release key document.
    pub release_keys: Option<PathBuf>,
    /// Heartbeat of agents.
    pub heartbeat: Duration,
    /// Requests a second to the API server.
    pub api_budget: Option<std::num::NonZeroU32>,
    /// Log.
    pub log: LogSettings,
}

/// What is wrong with what was typed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nobody knows who this process is.
    #[error(
        "who holds the Lease is unknown: set POD_UID (or --pod-uid) in a Pod, or --instance NAME and --state-dir DIR elsewhere"
    )]
    NoIdentity,
    /// A name that Kubernetes would not take.
    #[error("`{1}` is no value for {0}: use lower-case letters, digits and hyphens, at most 63")]
    BadName(&'static str, String),
    /// Not a server name.
    #[error("`{0}` is no server name: write a DNS name or an IP address")]
    BadServerName(String),
    /// Not an address that agents can use.
    #[error("`{0}` is no value for --advertise-https: write https://host:port without a path")]
    BadUrl(String),
    /// Not host and port.
    #[error("`{0}` is no value for --advertise-gateway: write host:port")]
    BadEndpoint(String),
    /// Out of bounds.
    #[error("--heartbeat {0} is out of bounds: choose 1 to 300 seconds")]
    BadHeartbeat(u64),
    /// Nothing could be cached.
    #[error("--cache-size 0 keeps nothing: choose the size of the largest firmware or more")]
    NoCache,
}

impl SettingsError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        "settings"
    }
}

impl RunArguments {
    /// The settings, once everything typed was checked.
    pub fn validate(self) -> Result<Settings, SettingsError> {
        name("--namespace", &self.namespace)?;
        for site in &self.namespaces {
            name("--namespaces", site)?;
        }
        if !HEARTBEAT_SECONDS.contains(&self.heartbeat) {
            return Err(SettingsError::BadHeartbeat(self.heartbeat));
        }
        if self.cache_size == 0 {
            return Err(SettingsError::NoCache);
        }
        let instance = instance(self.pod_uid, self.pod_name, self.instance, self.state_dir)?;
        let server_names = server_names(self.server_names, &self.namespace)?;
        let advertise = Advertise {
            https: match self.advertise_https {
                Some(url) => base_url(&url)?,
                None => format!("https://{}", endpoint(&server_names, self.https_listen.port())),
            },
            gateway: match self.advertise_gateway {
                Some(text) => host_and_port(&text)?,
                None => endpoint(&server_names, self.mqtt_listen.port()),
            },
        };
        Ok(Settings {
            kubeconfig: self.kubeconfig,
            namespace: self.namespace,
            instance,
            sites: if self.namespaces.is_empty() { Sites::All } else { Sites::Some(self.namespaces) },
            listen: Listen { http: self.http_listen, https: self.https_listen, mqtt: self.mqtt_listen },
            advertise,
            server_names,
            artifacts: ArtifactSettings {
                dir: self.cache_dir,
                bytes: self.cache_size,
                hosts: self.artifact_hosts,
                extra_roots: self.artifact_ca,
            },
            release_keys: self.release_keys,
            heartbeat: Duration::from_secs(self.heartbeat),
            api_budget: self.api_budget,
            log: LogSettings { format: self.log_format, levels: self.log },
        })
    }
}

fn instance(
    pod_uid: Option<String>,
    pod_name: Option<String>,
    local: Option<String>,
    state_dir: Option<PathBuf>,
) -> Result<Instance, SettingsError> {
    match (pod_uid, local, state_dir) {
        (None, Some(local), Some(state_dir)) => {
            name("--instance", &local)?;
            Ok(Instance::Local { name: local, state_dir })
        }
        (Some(uid), ..) => {
            name("--pod-uid", &uid)?;
            Ok(Instance::Pod { uid, name: pod_name.filter(|n| !n.is_empty()) })
        }
        _ => Err(SettingsError::NoIdentity),
    }
}

fn name(flag: &'static str, text: &str) -> Result<(), SettingsError> {
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err(SettingsError::BadName(flag, text.chars().take(80).collect())) }
}

fn server_names(given: Vec<String>, namespace: &str) -> Result<Vec<String>, SettingsError> {
    if given.is_empty() {
        return Ok(vec![
            format!("kalong-agents.{namespace}.svc"),
            format!("kalong-agents.{namespace}.svc.cluster.local"),
        ]);
    }
    for text in &given {
        rustls::pki_types::ServerName::try_from(text.as_str())
            .map_err(|_| SettingsError::BadServerName(text.chars().take(80).collect()))?;
    }
    Ok(given)
}

fn endpoint(server_names: &[String], port: u16) -> String {
    let host = server_names.first().map_or("localhost", String::as_str);
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn base_url(text: &str) -> Result<String, SettingsError> {
    let bad = || SettingsError::BadUrl(text.chars().take(200).collect());
    let trimmed = text.trim_end_matches('/');
    let uri: http::Uri = trimmed.parse().map_err(|_| bad())?;
    let bare = uri.path_and_query().is_none_or(|p| p.as_str() == "/");
    if uri.scheme_str() == Some("https") && uri.host().is_some_and(|h| !h.is_empty()) && bare {
        Ok(trimmed.to_owned())
    } else {
        Err(bad())
    }
}

fn host_and_port(text: &str) -> Result<String, SettingsError> {
    let bad = || SettingsError::BadEndpoint(text.chars().take(200).collect());
    let authority: http::uri::Authority = text.parse().map_err(|_| bad())?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(bad());
    }
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(MQTT_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let line = ["kalong-operator", "run"].iter().chain(flags).copied();
        let arguments = Arguments::try_parse_from(line).map_err(|e| e.to_string())?;
        let Command::Run(run) = arguments.command else { panic!("run was typed") };
        run.validate().map_err(|e| e.to_string())
    }

    #[test]
    fn identity_is_a_pod_or_a_named_instance_with_a_lock_folder() {
        assert!(matches!(settings(&["--pod-uid", "0f-1"]).unwrap().instance, Instance::Pod { .. }));
        let local = settings(&["--instance", "demo", "--state-dir", "/tmp/x"]).unwrap().instance;
        assert!(matches!(local, Instance::Local { .. }));
        assert!(settings(&[]).unwrap_err().contains("POD_UID"));
        assert!(settings(&["--instance", "demo"]).is_err());
    }

    #[test]
    fn addresses_for_agents_follow_from_the_first_server_name() {
        let s =
            settings(&["--pod-uid", "a", "--server-names", "gate.example,127.0.0.1", "--mqtt-listen", "0.0.0.0:9999"]);
        let s = s.unwrap();
        assert_eq!(s.advertise.https, "https://gate.example:8443");
        assert_eq!(s.advertise.gateway, "gate.example:9999");
    }

    #[test]
    fn bad_input_is_refused_with_what_to_write_instead() {
        for (flags, words) in [
            (&["--heartbeat", "0"][..], "1 to 300"),
            (&["--cache-size", "0"], "largest firmware"),
            (&["--advertise-https", "http://a:1"], "https://host:port"),
            (&["--advertise-https", "https://a:1/path"], "https://host:port"),
            (&["--advertise-gateway", "a b"], "host:port"),
            (&["--server-names", "a_b c"], "DNS name"),
            (&["--namespaces", "Mong-Cai"], "lower-case"),
            (&["--artifact-hosts", "https://a/"], "host:port"),
        ] {
            let all = [&["--pod-uid", "a"][..], flags].concat();
            let message = settings(&all).unwrap_err();
            assert!(message.contains(words), "{flags:?}: {message}");
        }
    }

    #[test]
    fn only_named_sites_are_served() {
        assert!(Sites::All.serves("mong-cai"));
        let some = Sites::Some(vec!["mong-cai".into()]);
        assert!(some.serves("mong-cai") && !some.serves("lang-son"));
    }
}
