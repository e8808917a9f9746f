//! The simulated gateway of the other country: plain HTTP, a clock, and a count of whoever called.

use std::sync::Arc;
use std::time::Duration;

use http::header::{DATE, HeaderValue};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use tokio::net::TcpListener;

use super::http::{HttpAnswer, json as as_json, serve as serve_http};
use crate::site::report::{PeerOrder, PeerReport, Switch};

const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct CounterpartGateway {
    held: Mutex<(PeerOrder, PeerReport)>,
}

impl CounterpartGateway {
    fn held(&self) -> MutexGuard<'_, (PeerOrder, PeerReport)> {
        self.held.lock()
    }

    pub fn report(&self) -> PeerReport {
        self.held().1
    }

    pub fn order(&self, order: PeerOrder) {
        self.held().0 = order;
    }

    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let (peer, state) = (Arc::clone(&self), {
                let mut held = self.held();
                held.1.connections += 1;
                held.0.state
            });
            // Switched off, it takes no call: the connection is dropped at once.
            if state == Switch::On {
                tokio::spawn(serve_http(stream, move |request| answer(Arc::clone(&peer), request)));
            }
        }
    }
}

async fn answer(peer: Arc<CounterpartGateway>, _request: Request<Incoming>) -> HttpAnswer {
    let ahead = {
        let mut held = peer.held();
        held.1.requests += 1;
        held.0.ahead_seconds
    };
    let now = Timestamp::now();
    let shown = now.saturating_add(SignedDuration::from_secs(ahead)).unwrap_or(now);
    let mut answer = as_json(StatusCode::OK, &json!({ "time": shown.to_string() }));
    if let Ok(date) = HeaderValue::from_str(&shown.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        answer.headers_mut().insert(DATE, date);
    }
    answer
}
