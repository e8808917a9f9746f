//! What the API server says of a manifest.

use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// An answer of the API server.
#[derive(Debug)]
pub struct Verdict {
    pub code: u16,
    pub body: Value,
    /// What it warned of in its headers.
    pub warnings: Vec<String>,
}

impl Verdict {
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code) && self.warnings.is_empty()
    }

    /// Whether it was refused at this field with these words.
    pub fn refuses(&self, field: &str, words: &str) -> bool {
        let causes = self.body["details"]["causes"].as_array().into_iter().flatten();
        let fits = |cause: &Value| cause["field"] == field && cause["message"].as_str().unwrap().contains(words);
        self.code == 422 && causes.into_iter().any(fits)
    }

    pub fn message(&self) -> String {
        let message = self.body["message"].as_str().unwrap_or_default();
        format!("{} {message} {:?}", self.code, self.warnings)
    }
}

/// Asks as a person would with `kubectl --dry-run=server --validate=strict`.
pub async fn ask(client: &Client, method: Method, path: &str, manifest: Option<&Value>) -> Verdict {
    let body = manifest.map(|manifest| serde_json::to_vec(manifest).unwrap()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let answer = async {
        let response = client.send(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let warnings =
            parts.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        let bytes = body.collect_bytes().await.unwrap();
        Verdict {
            code: parts.status.as_u16(),
            body: serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()),
            warnings,
        }
    };
    timeout(REQUEST_DEADLINE, answer).await.unwrap_or_else(|_| panic!("no answer to {path} within 30 s"))
}

/// The query of a question that changes nothing.
pub const DRY: &str = "dryRun=All&fieldValidation=Strict";
/// The query of a change that is meant.
pub const REAL: &str = "fieldValidation=Strict";
