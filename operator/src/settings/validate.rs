//! Checks the arguments of `run` and fills in what follows from others.

use std::path::PathBuf;
use std::time::Duration;

use super::{Advertise, ArtifactSettings, Instance, Listen, LogSettings, RunArguments, ServedSites, Settings};

/// Heartbeats that are accepted, in seconds: below, a site drowns in beats; above, the grace of three of them hides an outage.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
/// Port of the gateway if `--advertise-gateway` names none.
const MQTT_PORT: u16 = 8883;

/// What is wrong with what was typed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Neither a Pod nor a named instance.
    #[error(
        "who holds the Lease is unknown: set POD_UID (or --pod-uid) in a Pod, or --instance NAME and --state-dir DIR elsewhere"
    )]
    NoIdentity,
    /// A name that Kubernetes would not take.
    #[error("`{1}` is no value for {0}: use lower-case letters, digits and hyphens, at most 63")]
    BadName(&'static str, String),
    /// Neither a DNS name nor an address.
    #[error("`{0}` is no server name: write a DNS name or an IP address")]
    BadServerName(String),
    /// Not an https URL without path.
    #[error("`{0}` is no value for --advertise-https: write https://host:port without a path")]
    BadUrl(String),
    /// Not of the form `host:port`.
    #[error("`{0}` is no value for --advertise-gateway: write host:port")]
    BadEndpoint(String),
    /// Outside of 1 to 300 seconds.
    #[error("--heartbeat {0} is out of bounds: choose 1 to 300 seconds")]
    BadHeartbeat(u64),
    /// A cache of no size.
    #[error("--cache-size 0 keeps nothing: choose the size of the largest firmware or more")]
    NoCache,
}

impl RunArguments {
    /// Checks everything that was typed; nothing else reads the arguments.
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
            sites: if self.namespaces.is_empty() { ServedSites::All } else { ServedSites::Some(self.namespaces) },
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
    use clap::Parser;

    use super::super::{Arguments, Command};
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
        assert!(ServedSites::All.serves("mong-cai"));
        let some = ServedSites::Some(vec!["mong-cai".into()]);
        assert!(some.serves("mong-cai") && !some.serves("lang-son"));
    }
}
