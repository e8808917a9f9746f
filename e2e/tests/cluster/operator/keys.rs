//! What the first leader makes is what every later one finds.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kalong_crds::wire::enrol::TRUST_CONFIG_MAP;
use kalong_e2e::scenario::plain_http::get;
use kube::Api;

use super::fixture::fixture;
use super::home::Home;

/// Seconds from 2026 to any day on which this runs.
const LEAST_TERM: i32 = 20_000_000;

async fn first_leader_makes_keys_and_a_restart_keeps_them() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "keys", &["keys"]).await;
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let term = home.term().await;
    assert!(term > LEAST_TERM, "a new Lease begins at the seconds since 2026: {term}");
    let client = fixture.cluster.client().unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &home.namespace);
    let keys = async || {
        let mut all = Vec::new();
        for (secret, key) in [("kalong-ca", "tls.crt"), ("kalong-server", "tls.crt"), ("kalong-signing", "keyId")] {
            all.push(secrets.get(secret).await.unwrap().data.unwrap()[key].0.clone());
        }
        all
    };
    let made = keys().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.namespace);
    let trust = maps.get(TRUST_CONFIG_MAP).await.unwrap().data.unwrap();
    assert_eq!(trust["ca.crt"].as_bytes(), made[0]);
    assert_eq!(trust["enrol-url"], format!("https://{}/enrol", operator.listens.https));

    operator.kill().await;
    operator.start().await;
    operator.serves().await;
    assert_eq!(keys().await, made);
    let (_, metrics) = get(operator.listens.http, "/metrics").await.unwrap();
    assert!(metrics.contains(&format!("kalong_lease_term {}", home.term().await)), "{metrics}");
    assert!(!metrics.contains("code=\"403\""), "a right is missing:\n{metrics}");
}

crate::tests![first_leader_makes_keys_and_a_restart_keeps_them];
