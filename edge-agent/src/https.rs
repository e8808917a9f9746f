//! One HTTPS request at a time over HTTP/1.1 with pinned authorities. Small on purpose: the agent enrols and downloads, no more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest time for name, TCP and TLS together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time from the request to the head of the answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum HttpsError {
    /// The address cannot be read.
    #[error("`{0}` is no https address of host, port and path")]
    Address(String),
    /// The host cannot be resolved or takes no connection.
    #[error("{0} cannot be reached: check the network and the operator's HTTPS address")]
    Connect(String, #[source] std::io::Error),
    /// The server's or the box's certificate is not accepted.
    #[error("{0} did not pass TLS: check that the CA given to this box is the operator's")]
    Tls(String, #[source] std::io::Error),
    /// The deadline for the connection or the response passed.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The connection broke or carried no HTTP.
    #[error("the exchange with {0} broke off")]
    Broken(String, #[source] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
}

/// Host, port and path of an https address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or number of the host.
    pub host: String,
    /// Port, 443 where none is given.
    pub port: u16,
    /// Path with its first slash.
    pub path: String,
}

impl Address {
    /// Parses `https://host[:port][/path]`; every other scheme is refused.
    pub fn parse(text: &str) -> Result<Self, HttpsError> {
        let bad = || HttpsError::Address(text.chars().take(200).collect());
        let uri: hyper::Uri = text.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), path: uri.path().to_owned() })
    }

    /// The same server with one more part of the path.
    pub fn join(&self, part: &str) -> Self {
        Self { path: format!("{}/{part}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

/// Sends a request with these headers and returns the head of the response; the caller reads the body piece by piece.
pub async fn send(
    tls: &Arc<rustls::ClientConfig>,
    address: &Address,
    method: hyper::Method,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Result<Response<Incoming>, HttpsError> {
    let place = format!("{}:{}", address.host, address.port);
    let connect = async {
        let tcp = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|e| HttpsError::Connect(place.clone(), e))?;
        let name = ServerName::try_from(address.host.clone()).map_err(|_| HttpsError::Address(place.clone()))?;
        TlsConnector::from(tls.clone()).connect(name, tcp).await.map_err(|e| HttpsError::Tls(place.clone(), e))
    };
    let stream = timeout(CONNECT_DEADLINE, connect).await.map_err(|_| HttpsError::Timeout(place.clone()))??;
    let broken = |e| HttpsError::Broken(place.clone(), e);
    let mut request = Request::builder().method(method).uri(&address.path).header("host", &place);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(body)).map_err(HttpsError::Request)?;
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The connection lives as long as the body is read; it ends by itself when the body is dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender.send_request(request).await.map_err(broken)
    };
    timeout(ANSWER_DEADLINE, exchange).await.map_err(|_| HttpsError::Timeout(place.clone()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_are_taken() {
        let address = Address::parse("https://10.0.0.1:8443/artifacts").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("10.0.0.1", 8443));
        assert_eq!(address.join("ab").path, "/artifacts/ab");
        assert!(Address::parse("http://10.0.0.1/").is_err());
        assert!(Address::parse("nonsense").is_err());
    }
}
