//! Reads keys again from time to time: a renewed server certificate or a second authority is served without a restart.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::wire::release::ReleaseKeys;
use kube::Client;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{KeyStore, Keys, trust};
use crate::metrics::Metrics;
use crate::settings::Advertise;

/// How often keys are read again; two small reads.
const EVERY: Duration = Duration::from_secs(600);

/// What the refresh needs beside the keys.
pub struct Refresh {
    /// Where keys are.
    pub store: KeyStore,
    /// To publish what agents pin.
    pub client: Client,
    /// The operator's namespace.
    pub namespace: String,
    /// What agents pin for releases.
    pub release_keys: ReleaseKeys,
    /// How agents reach us.
    pub advertise: Advertise,
    /// Counts failures.
    pub metrics: Arc<Metrics>,
}

impl Refresh {
    /// Keeps the keys of this channel current until the end.
    pub async fn run(self, keys: watch::Sender<Arc<Keys>>, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            let current = Arc::clone(&keys.borrow());
            match self.once(&current).await {
                Ok(fresh) if same(&current, &fresh) => {}
                Ok(fresh) => {
                    tracing::info!(end = %fresh.server.not_after, "keys changed and are in use");
                    announce(&self.metrics, &fresh);
                    keys.send_replace(Arc::new(fresh));
                }
                Err(error) => {
                    self.metrics.key_refresh_failed(error.category());
                    tracing::warn!(category = error.category(), %error, "keys could not be read again; the old ones stay in use");
                }
            }
        }
    }

    async fn once(&self, current: &Keys) -> Result<Keys, super::KeysError> {
        let fresh = self.store.reload(current).await?;
        trust::publish(&self.client, &self.namespace, &fresh, &self.release_keys, &self.advertise).await?;
        Ok(fresh)
    }
}

/// Says when the certificates end.
pub fn announce(metrics: &Metrics, keys: &Keys) {
    metrics.certificate_end("server", keys.server.not_after);
    metrics.certificate_end("authority", keys.authority.not_after);
}

fn same(old: &Keys, new: &Keys) -> bool {
    old.server.chain_pem == new.server.chain_pem && old.authority.bundle_pem() == new.authority.bundle_pem()
}
