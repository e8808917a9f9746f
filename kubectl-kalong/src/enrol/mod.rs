//! `kubectl kalong enrol`: a single-use token for a box, and the one command to run on it.
//!
//! Only the token's hash goes into the cluster; the token itself is in the printed command and nowhere else.

mod store;
mod token;
pub(crate) mod trust;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::enrol::TRUST_CONFIG_MAP;
use kalong_crds::{ABANDON, EdgeAgent};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use crate::Outcome;
use crate::cluster::{CallError, ClusterArguments, ClusterError, within};
use crate::output::{self, Format, OutputError};
use crate::runtime::{self, RuntimeError};
use crate::terminal::Terminal;
use store::Before;
use token::{Life, Token};
use trust::{Trust, TrustError};

/// Print the one command that enrols a box
///
/// Makes a single-use token for the EdgeAgent AGENT, stores its hash in the site's namespace, and prints the command to run
/// on the box. The command is shown once; an older token that nobody used is replaced.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  kubectl kalong enrol bl2-lane-03 -n mong-cai --ttl 2h")]
pub(crate) struct Arguments {
    /// Name of the EdgeAgent
    agent: String,
    /// How long the token may be used, at most 24h
    #[arg(long, default_value = "1h", value_parser = Life::parse)]
    ttl: Life,
    /// Folder on the box in which the agent keeps what it holds
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kalong", value_parser = plain_path)]
    state: String,
    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = "kalong-system")]
    operator_namespace: String,
    /// Form of the output; without it the bare command
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// The state folder stands unquoted in a command for a shell.
fn plain_path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.starts_with('/') && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write an absolute path of letters, digits, `/`, `.`, `-` and `_`".to_owned())
    }
}

/// Why a box cannot be enrolled.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum EnrolError {
    /// The name gives no identity.
    #[error(transparent)]
    Identity(#[from] AgentIdError),
    #[error(transparent)]
    #[strum(transparent)]
    Cluster(#[from] ClusterError),
    /// The output cannot be written.
    #[error(transparent)]
    #[strum(transparent)]
    Output(#[from] OutputError),
    #[error("there is no EdgeAgent `{1}` in namespace `{0}`: declare it first, or name the site with -n")]
    NotDeclared(String, String),
    /// The box is shut out.
    #[error("EdgeAgent `{0}` is suspended: set `spec.suspend: false` where it is declared, then enrol again")]
    Suspended(AgentId),
    /// The box was given up.
    #[error(
        "EdgeAgent `{0}` is given up for good: take the annotation {ABANDON} away where it is declared, then enrol again"
    )]
    Abandoned(AgentId),
    /// The box is being removed.
    #[error("EdgeAgent `{0}` is being deleted: wait until it is gone, declare it again, then enrol")]
    Deleting(AgentId),
    /// The leader has not published what to pin.
    #[error(
        "ConfigMap `{0}/{TRUST_CONFIG_MAP}` does not exist: is the operator running there? Name its namespace with --operator-namespace"
    )]
    #[strum(to_string = "trust")]
    NoTrust(String),
    /// What is published cannot be used.
    #[error("ConfigMap `{0}/{TRUST_CONFIG_MAP}` cannot be used: restart the operator, which writes it anew")]
    #[strum(to_string = "trust")]
    BadTrust(String, #[source] TrustError),
    /// The machine has no randomness.
    #[error("this machine gives no random bytes: run the command on another one")]
    #[strum(to_string = "machine")]
    Random,
    /// The API server did not answer as it should.
    #[error(transparent)]
    #[strum(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    #[strum(to_string = "machine")]
    Runtime(#[from] RuntimeError),
}

/// The result as a program reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Enrolment {
    agent: AgentId,
    /// End of the token's life, in RFC 3339 with UTC.
    expires: String,
    /// The words of the command, unquoted.
    arguments: Vec<String>,
    /// The command as one line for a shell.
    command: String,
}

pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<Outcome, EnrolError> {
    runtime::run(enrol(arguments, terminal))?
}

async fn enrol(arguments: Arguments, terminal: &Terminal) -> Result<Outcome, EnrolError> {
    let Arguments { agent, ttl, state, operator_namespace, output, cluster } = arguments;
    let cluster = cluster.connect().await?;
    let id = AgentId::new(&cluster.namespace, &agent)?;
    let declared = declared(&cluster.client, &id).await?;
    let trust = published(&cluster.client, operator_namespace).await?;

    let token = Token::generate().ok_or(EnrolError::Random)?;
    let expires = ttl.end(Timestamp::now());
    let secrets: Api<Secret> = Api::namespaced(cluster.client, id.namespace());
    let before = store::store(&secrets, store::secret(&id, &declared, &token.hash(), expires))
        .await
        .map_err(CallError::of("take the token's Secret"))?;

    if let Some(certificate) = declared.status.as_ref().and_then(|s| s.certificate.as_ref()) {
        terminal.warn(&format!(
            "{id} has a certificate until {}: if another box runs with it, switch that one off first, or the two shut each other out",
            certificate.not_after
        ));
    }
    if before == Before::UnusedToken {
        terminal.warn("an older token for this box was not used yet: it is void now");
    }
    let enrolment = compose(id, &trust, &token, expires, &state);
    match output {
        Some(format) => output::print(&output::document(format, &enrolment)?)?,
        None => {
            terminal.note(&format!("Run this once on the box, before {}. It is shown only here.", enrolment.expires));
            output::print(&format!("{}\n", enrolment.command))?;
        }
    }
    Ok(Outcome::Done)
}

async fn declared(client: &Client, id: &AgentId) -> Result<EdgeAgent, EnrolError> {
    let agents: Api<EdgeAgent> = Api::namespaced(client.clone(), id.namespace());
    let agent = within(agents.get_opt(id.name()))
        .await
        .map_err(CallError::of("show the EdgeAgent"))?
        .ok_or_else(|| EnrolError::NotDeclared(id.namespace().to_owned(), id.name().to_owned()))?;
    if agent.metadata.deletion_timestamp.is_some() {
        return Err(EnrolError::Deleting(id.clone()));
    }
    if agent.spec.suspend {
        return Err(EnrolError::Suspended(id.clone()));
    }
    if agent.annotations().contains_key(ABANDON) {
        return Err(EnrolError::Abandoned(id.clone()));
    }
    Ok(agent)
}

async fn published(client: &Client, namespace: String) -> Result<Trust, EnrolError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let map = within(maps.get_opt(TRUST_CONFIG_MAP)).await.map_err(CallError::of("show what the box has to pin"))?;
    match map {
        Some(map) => Trust::read(&map).map_err(|e| EnrolError::BadTrust(namespace, e)),
        None => Err(EnrolError::NoTrust(namespace)),
    }
}

fn compose(id: AgentId, trust: &Trust, token: &Token, expires: Timestamp, state: &str) -> Enrolment {
    let mut arguments: Vec<String> = ["kalong-edge-agent", "enrol", "--server", &trust.server, "--agent", id.as_str()]
        .into_iter()
        .chain(["--token", token.reveal(), "--ca", &trust.authority_word()])
        .map(str::to_owned)
        .collect();
    for key in &trust.operator_keys {
        arguments.extend(["--operator-key".to_owned(), format!("{}:{}", key.key_id, key.public_key)]);
    }
    arguments.extend(["--state".to_owned(), state.to_owned()]);
    let command = arguments.join(" ");
    Enrolment { agent: id, expires: expires.to_string(), arguments, command }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn composed() -> Enrolment {
        let trust = Trust::read(&trust::tests::published(&[])).unwrap();
        let token = Token::fixed("dGhlIHRva2VuIHRoYXQgdGhlIHRlc3RzIGFsd2F5cyB1c2U");
        let expires = "2026-11-22T08:00:00Z".parse().unwrap();
        compose("mong-cai.bl2-lane-03".parse().unwrap(), &trust, &token, expires, "/var/lib/kalong")
    }

    #[test]
    fn command_is_one_line_that_needs_no_quoting() {
        let command = composed().command;
        let safe = |c: char| c.is_ascii_alphanumeric() || " /.:=+_-[]".contains(c);
        assert!(command.chars().all(safe), "{command}");
        golden::compare("enrol.txt", &format!("{command}\n"));
    }

    #[test]
    fn every_operator_key_is_in_the_command() {
        let two = r#"[{"keyId":"op-1","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},{"keyId":"op-2","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]"#;
        let trust = Trust::read(&trust::tests::published(&[("operator.pub", Some(two))])).unwrap();
        let made = compose("a.b".parse().unwrap(), &trust, &Token::fixed("t"), Timestamp::UNIX_EPOCH, "/s");
        assert_eq!(made.arguments.iter().filter(|a| *a == "--operator-key").count(), 2);
    }

    #[test]
    fn json_and_yaml_are_as_documented() {
        golden::compare("enrol.json", &output::document(Format::Json, &composed()).unwrap());
        golden::compare("enrol.yaml", &output::document(Format::Yaml, &composed()).unwrap());
    }

    #[test]
    fn state_folder_cannot_carry_shell_words() {
        assert!(plain_path("/var/lib/kalong").is_ok());
        for bad in ["relative", "/a b", "/a;b", "/$(x)", ""] {
            assert!(plain_path(bad).is_err(), "{bad}");
        }
    }
}
