//! Metrics of the process, with typed methods and labels from enums.

use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramVec, IntCounterVec, IntGauge, Registry, TextEncoder, exponential_buckets,
    histogram_opts, opts,
};
use strum::IntoStaticStr;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric could not be registered or encoded.
#[derive(Debug, thiserror::Error)]
#[error("a metric cannot be registered: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Why a certificate was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Issue {
    Enrolment,
    Renewal,
}

impl Issue {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    named: Registry,
    api_requests: IntCounterVec,
    api_duration: HistogramVec,
    leader: IntGauge,
    term: IntGauge,
    certificates: IntCounterVec,
    http_requests: IntCounterVec,
    connections_refused: IntCounterVec,
    fetches: IntCounterVec,
    cache_bytes: IntGauge,
    certificate_end: GaugeVec,
    key_failures: IntCounterVec,
}

impl Metrics {
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new_custom(Some("kalong".into()), None)?;
        // Names as they are, without our prefix: those of the process, which common dashboards look for.
        let named = Registry::new();
        named.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, MetricsError> {
            let counter = IntCounterVec::new(opts!(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, MetricsError> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        // 5 ms to 10.24 s: a write on a healthy server takes 3.5 ms, the deadline is 10 s.
        let buckets = exponential_buckets(0.005, 2.0, 12)?;
        let api_duration = HistogramVec::new(
            histogram_opts!(
                "api_request_duration_seconds",
                "Time to the first byte of an API server's answer.",
                buckets
            ),
            &["verb"],
        )?;
        registry.register(Box::new(api_duration.clone()))?;
        let certificate_end =
            GaugeVec::new(opts!("certificate_end_seconds", "End of a certificate, as Unix time."), &["certificate"])?;
        registry.register(Box::new(certificate_end.clone()))?;
        Ok(Self {
            api_requests: counters("api_requests_total", "Requests to the API server.", &["verb", "code"])?,
            leader: gauge("leader", "1 while this process holds the Lease.")?,
            term: gauge("lease_term", "Term under which this process tells agents what to do.")?,
            certificates: counters("certificates_total", "Certificates asked for.", &["issue", "result"])?,
            http_requests: counters("http_requests_total", "Answered requests.", &["route", "code"])?,
            connections_refused: counters(
                "connections_refused_total",
                "TLS connections that came to nothing.",
                &["reason"],
            )?,
            fetches: counters("artifact_fetches_total", "Artifacts fetched.", &["result"])?,
            cache_bytes: gauge("artifact_cache_bytes", "Bytes of cached artifacts.")?,
            key_failures: counters("key_refresh_failures_total", "Keys that could not be read again.", &["reason"])?,
            certificate_end,
            api_duration,
            registry,
            named,
        })
    }

    /// Where parts register metrics whose names get the prefix `kalong_`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where parts register metrics whose names are complete.
    pub fn named(&self) -> &Registry {
        &self.named
    }

    pub fn text(&self) -> Result<String, MetricsError> {
        let mut families = self.registry.gather();
        families.extend(self.named.gather());
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&families, &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    /// A request to the API server was answered, or not.
    pub fn api_request(&self, verb: &str, code: &str, took: Duration) {
        self.api_requests.with_label_values(&[verb, code]).inc();
        self.api_duration.with_label_values(&[verb]).observe(took.as_secs_f64());
    }

    /// Requests to the API server so far, of this verb and code.
    #[cfg(test)]
    pub fn api_requests(&self, verb: &str, code: &str) -> u64 {
        self.api_requests.with_label_values(&[verb, code]).get()
    }

    /// This process leads under this term.
    pub fn leads(&self, term: u64) {
        self.leader.set(1);
        self.term.set(i64::try_from(term).unwrap_or(i64::MAX));
    }

    /// This process stopped leading.
    pub fn stopped_leading(&self) {
        self.leader.set(0);
    }

    /// A certificate was asked for; `result` is `issued` or the category of the refusal.
    pub fn certificate(&self, issue: Issue, result: &'static str) {
        self.certificates.with_label_values(&[issue.as_str(), result]).inc();
    }

    pub fn http_request(&self, route: &'static str, code: http::StatusCode) {
        self.http_requests.with_label_values(&[route, code.as_str()]).inc();
    }

    /// A connection came to nothing.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// An artifact was fetched; `result` is `cached` or the category of the failure.
    pub fn artifact_fetch(&self, result: &'static str) {
        self.fetches.with_label_values(&[result]).inc();
    }

    /// The cache holds so many bytes.
    pub fn cache_bytes(&self, bytes: u64) {
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn certificate_end(&self, certificate: &'static str, end: jiff::Timestamp) {
        self.certificate_end.with_label_values(&[certificate]).set(end.as_duration().as_secs_f64());
    }

    /// Keys could not be read again; the old ones stay in use.
    pub fn key_refresh_failed(&self, reason: &'static str) {
        self.key_failures.with_label_values(&[reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_prefix_and_the_text_can_be_scraped() {
        let metrics = Metrics::new().unwrap();
        metrics.api_request("get", "200", Duration::from_millis(3));
        metrics.certificate(Issue::Enrolment, "issued");
        metrics.leads(7);
        let text = metrics.text().unwrap();
        for line in [
            "kalong_api_requests_total{code=\"200\",verb=\"get\"} 1",
            "kalong_certificates_total{issue=\"enrolment\",result=\"issued\"} 1",
            "kalong_lease_term 7",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
