//! Puts the hash of a token into the site's namespace, in place of an older token of the same agent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kalong_crds::units::{AgentId, Digest};
use kalong_crds::wire::enrol::{TOKEN_EXPIRES_KEY, TOKEN_HASH_KEY, token_secret_name};
use kalong_crds::{EdgeAgent, SITE_LABEL};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};

use crate::cluster::{is, within};

/// Times to begin again when somebody else changed the Secret in between.
const ATTEMPTS: usize = 4;
const MANAGER: &str = "kubectl-kalong";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// A token that nobody had used.
    UnusedToken,
}

/// The Secret of this token. It goes with its EdgeAgent.
pub(crate) fn secret(id: &AgentId, agent: &EdgeAgent, hash: &Digest, expires: Timestamp) -> Secret {
    let owner = agent.meta().uid.as_ref().map(|uid| OwnerReference {
        api_version: EdgeAgent::api_version(&()).into_owned(),
        kind: EdgeAgent::kind(&()).into_owned(),
        name: id.name().to_owned(),
        uid: uid.clone(),
        ..OwnerReference::default()
    });
    let labels = [
        ("app.kubernetes.io/part-of", "kalong"),
        ("app.kubernetes.io/component", "enrolment"),
        ("app.kubernetes.io/managed-by", MANAGER),
        (SITE_LABEL, id.namespace()),
    ];
    let data = [(TOKEN_HASH_KEY, hash.to_string()), (TOKEN_EXPIRES_KEY, expires.to_string())];
    Secret {
        metadata: ObjectMeta {
            name: Some(token_secret_name(id.name())),
            namespace: Some(id.namespace().to_owned()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            owner_references: owner.map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            data.map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes()))).into_iter().collect::<BTreeMap<_, _>>(),
        ),
        ..Secret::default()
    }
}

/// Creates the Secret, or replaces the one of an older token.
pub(crate) async fn store(secrets: &Api<Secret>, mut secret: Secret) -> Result<Before, kube::Error> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let mut attempt = 0;
    loop {
        attempt += 1;
        secret.metadata.resource_version = None;
        let error = match within(secrets.create(&params, &secret)).await {
            Ok(_) => return Ok(Before::Nothing),
            Err(error) => error,
        };
        if !is(&error, |s| s.is_already_exists()) {
            return Err(error);
        }
        // The operator may use up the old token between these calls: then there is nothing to replace any more.
        let Some(old) = within(secrets.get_opt(&name)).await? else {
            if attempt < ATTEMPTS { continue } else { return Err(error) }
        };
        secret.metadata.resource_version = old.metadata.resource_version;
        match within(secrets.replace(&name, &params, &secret)).await {
            Ok(_) => return Ok(Before::UnusedToken),
            Err(e) if attempt < ATTEMPTS && is(&e, |s| s.is_conflict() || s.is_not_found()) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_holds_the_hash_and_belongs_to_its_agent() {
        let id: AgentId = "mong-cai.bl2-lane-03".parse().unwrap();
        let mut agent = EdgeAgent::new("bl2-lane-03", serde_json::from_str("{}").unwrap());
        agent.metadata.uid = Some("u-1".into());
        let hash = Digest::of(b"token");
        let made = secret(&id, &agent, &hash, "2026-11-22T08:00:00Z".parse().unwrap());
        let text = serde_json::to_value(&made).unwrap();
        assert_eq!(text["metadata"]["name"], "kalong-enrol-bl2-lane-03");
        assert_eq!(text["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(made.data.unwrap()[TOKEN_HASH_KEY].0, hash.as_str().as_bytes());
    }
}
