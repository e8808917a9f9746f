//! What the listener and all connections of a gateway share.

use std::collections::HashMap;
use std::sync::Arc;

use kalong_crds::units::AgentId;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{Limits, TokenBucket};
use super::metrics::GatewayMetrics;
use super::registry::Registry;
use super::router::Router;
use crate::transport::SessionHandler;

pub(super) struct GatewayShared {
    pub handler: Arc<dyn SessionHandler>,
    pub router: Router,
    pub registry: Arc<Registry>,
    pub limits: Limits,
    pub metrics: Arc<GatewayMetrics>,
    pub stopping: CancellationToken,
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// Bounds the handshakes that are computed at once.
    pub handshakes: Semaphore,
    sites: Mutex<HashMap<String, Arc<Mutex<TokenBucket>>>>,
}

impl GatewayShared {
    pub fn new(
        handler: Arc<dyn SessionHandler>,
        router: Router,
        limits: Limits,
        metrics: Arc<GatewayMetrics>,
        tls: watch::Receiver<Arc<ServerConfig>>,
    ) -> Self {
        Self {
            handler,
            router,
            registry: Arc::default(),
            handshakes: Semaphore::new(limits.handshakes),
            limits,
            metrics,
            stopping: CancellationToken::new(),
            tls,
            sites: Mutex::default(),
        }
    }

    /// The rate limit that all agents of this agent's site share.
    pub fn site_bucket(&self, agent: &AgentId) -> Arc<Mutex<TokenBucket>> {
        let mut sites = self.sites.lock();
        let new = || Arc::new(Mutex::new(TokenBucket::new(self.limits.site, Instant::now())));
        Arc::clone(sites.entry(agent.namespace().to_owned()).or_insert_with(new))
    }
}
