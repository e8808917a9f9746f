//! Reads keys periodically: a renewed server certificate or a second authority is used without a restart.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::wire::release::ReleaseKeys;
use kube::Client;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{KeyStore, Keys, trust};
use crate::metrics::Metrics;
use crate::settings::Advertise;

/// Interval between reads of the keys; each is two small requests.
const EVERY: Duration = Duration::from_secs(600);

/// The periodic refresh of keys.
pub struct Refresh {
    pub store: KeyStore,
    /// Writes the ConfigMap of trust.
    pub client: Client,
    pub namespace: String,
    /// Release keys that agents pin.
    pub release_keys: ReleaseKeys,
    pub advertise: Advertise,
    pub metrics: Arc<Metrics>,
}

impl Refresh {
    /// Keeps the keys in this channel current until `end`.
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
                    tracing::info!(end = %fresh.server.not_after, "Keys changed; the new ones are in use.");
                    announce(&self.metrics, &fresh);
                    keys.send_replace(Arc::new(fresh));
                }
                Err(error) => {
                    self.metrics.key_refresh_failed(error.category());
                    tracing::warn!(category = error.category(), %error, "Keys could not be read again; the old ones stay in use.");
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

/// Publishes the expiry of the certificates as metrics.
pub fn announce(metrics: &Metrics, keys: &Keys) {
    metrics.certificate_end("server", keys.server.not_after);
    metrics.certificate_end("authority", keys.authority.not_after);
}

fn same(old: &Keys, new: &Keys) -> bool {
    old.server.chain_pem == new.server.chain_pem && old.authority.bundle_pem() == new.authority.bundle_pem()
}
