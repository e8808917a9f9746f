//! Arguments of the agent's command line.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kalong_crds::units::AgentId;
use kalong_crds::wire::signature::PublicKey;

use crate::probe;

/// The edge agent of Kalong: the one process beside the devices of a gate.
#[derive(Parser, Debug)]
#[command(name = "kalong-edge-agent", version, about)]
pub struct Settings {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// EnrolArguments this box once; `kubectl kalong enrol` prints the whole line.
    Enrol(EnrolArguments),
    /// Realise what is declared, for ever.
    Run(RunArguments),
    /// RunArguments the conformance list against one device, with no cluster.
    Probe(probe::Arguments),
}

/// Arguments of the command `enrol`.
#[derive(Args)]
pub struct EnrolArguments {
    /// HTTPS address of the operator.
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// Identity of this box, namespace.name.
    #[arg(long, value_name = "ID")]
    pub agent: AgentId,
    /// Single-use token. One in 64 begins with a hyphen.
    #[arg(long, env = "KALONG_TOKEN", hide_env_values = true, allow_hyphen_values = true)]
    pub token: String,
    /// Certificate authority of the operator: its PEM in base64.
    #[arg(long, value_name = "BASE64", value_parser = authority)]
    pub ca: String,
    /// Signing key of the operator: its name, a colon, the key in base64url.
    #[arg(long, value_name = "NAME:KEY", value_parser = operator_key)]
    pub operator_key: PublicKey,
    /// Folder in which this box keeps everything.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
}

impl std::fmt::Debug for EnrolArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolArguments")
            .field("server", &self.server)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Arguments of the command `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Folder in which this box keeps everything.
    #[arg(long, value_name = "DIR", env = "KALONG_STATE")]
    pub state: PathBuf,
    /// How logs are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which logs are written, for example `info` or `info,rumqttc=debug`.
    #[arg(long, value_name = "LEVELS", env = "KALONG_LOG", default_value = "info")]
    pub log: String,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

fn authority(text: &str) -> Result<String, String> {
    STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|pem| pem.contains("BEGIN CERTIFICATE"))
        .ok_or_else(|| "it must be a certificate in PEM, in base64 on one line".to_owned())
}

fn operator_key(text: &str) -> Result<PublicKey, String> {
    match text.split_once(':') {
        Some((name, key)) if !name.is_empty() && key.len() == 43 => {
            Ok(PublicKey { key_id: name.to_owned(), public_key: key.to_owned() })
        }
        _ => Err("it must be a name, a colon and 43 characters of base64url".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn token_that_begins_with_a_hyphen_is_a_token() {
        let ca = STANDARD.encode("-----BEGIN CERTIFICATE-----");
        let key = format!("op-1:{}", "a".repeat(43));
        let line = ["kalong-edge-agent", "enrol", "--server", "https://k.example:8443", "--agent", "mong-cai.gate"];
        let rest = ["--token", "-8Xy", "--ca", &ca, "--operator-key", &key, "--state", "/var/lib/kalong"];
        assert!(Settings::try_parse_from(line.into_iter().chain(rest)).is_ok());
    }

    #[test]
    fn what_a_person_pastes_is_checked_before_anything_is_sent() {
        assert!(authority("bm9uc2Vuc2U=").is_err());
        assert!(authority(&STANDARD.encode("-----BEGIN CERTIFICATE-----")).is_ok());
        assert!(operator_key("op-1").is_err());
        assert!(operator_key(&format!("op-1:{}", "a".repeat(43))).is_ok());
    }
}
