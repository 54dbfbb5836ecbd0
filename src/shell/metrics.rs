//! Metrics: their names, descriptions and units in one place, and the recorder whose text `/metrics` serves.
//!
//! One contract: every name that leaves stands in [`describe`], by the conventions of Prometheus (`vitalguard_` first, base units,
//! `_total` for counters). Labels are feeds, wards and closed word lists: never a bed, a person or a peer's address.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Messages received, by feed.
pub const MESSAGES: &str = "vitalguard_messages_total";
/// Acknowledgements sent, by feed and code.
pub const ACKS: &str = "vitalguard_acks_total";
/// Received to durable, seconds, by feed.
pub const DURABLE_SECONDS: &str = "vitalguard_durable_seconds";
/// Received to judged, seconds, by feed.
pub const LAG_SECONDS: &str = "vitalguard_lag_seconds";
/// Rows that did not become observations, by reason.
pub const REJECTS: &str = "vitalguard_rejects_total";
/// Open connections, by feed.
pub const CONNECTIONS: &str = "vitalguard_connections";
/// Beds, by trust.
pub const BEDS: &str = "vitalguard_beds";
/// Open alerts, by priority.
pub const ALERTS_OPEN: &str = "vitalguard_alerts_open";
/// Alert events, by word and priority.
pub const ALERT_EVENTS: &str = "vitalguard_alert_events_total";
/// Events that wait for the broker.
pub const OUTBOX: &str = "vitalguard_outbox_events";
/// Documents not published, by kind.
pub const DROPPED: &str = "vitalguard_dropped_total";
/// Publishes handed to the broker, by kind.
pub const PUBLISHED: &str = "vitalguard_mqtt_published_total";
/// Connections to the broker that ended in an error.
pub const RECONNECTS: &str = "vitalguard_mqtt_disconnects_total";
/// 1 while the broker is connected.
pub const CONNECTED: &str = "vitalguard_mqtt_connected";
/// Commands, by verb and result.
pub const COMMANDS: &str = "vitalguard_commands_total";
/// One store transaction, seconds.
pub const COMMIT_SECONDS: &str = "vitalguard_store_commit_seconds";
/// Store transactions that failed.
pub const COMMIT_ERRORS: &str = "vitalguard_store_errors_total";
/// HTTP requests, by route and status class.
pub const HTTP_REQUESTS: &str = "vitalguard_http_requests_total";

/// Bounds of the histograms, seconds: a memory write up to a broken minute.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder of this process (the first call counts) and gives the handle that renders it.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?;
    let handle = match builder.install_recorder() {
        Ok(handle) => handle,
        // Another thread was first.
        Err(error) => return HANDLE.get().cloned().ok_or(error),
    };
    describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(MESSAGES, "HL7 messages received, by feed");
    describe_counter!(ACKS, "Acknowledgements sent, by feed and code");
    describe_histogram!(DURABLE_SECONDS, Unit::Seconds, "Time from a complete frame to its place on disk, by feed");
    describe_histogram!(LAG_SECONDS, Unit::Seconds, "Time from a complete frame to its judgement, by feed");
    describe_counter!(REJECTS, "OBX rows that did not become observations, by reason");
    describe_gauge!(CONNECTIONS, "Open MLLP connections, by feed");
    describe_gauge!(BEDS, "Beds, by trust");
    describe_gauge!(ALERTS_OPEN, "Open alerts, by priority");
    describe_counter!(ALERT_EVENTS, "Alert events, by event and priority");
    describe_gauge!(OUTBOX, "Events that wait for the broker");
    describe_counter!(DROPPED, "Documents not published, by kind (vitals, flat, ward, event)");
    describe_counter!(PUBLISHED, "Publishes handed to the broker, by kind");
    describe_counter!(RECONNECTS, "Broker connections that ended in an error");
    describe_gauge!(CONNECTED, "1 while the broker is connected");
    describe_counter!(COMMANDS, "Commands received over MQTT, by verb and result");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Duration of a store transaction");
    describe_counter!(COMMIT_ERRORS, "Store transactions that failed");
    describe_counter!(HTTP_REQUESTS, "HTTP requests, by route and status class");
}

/// One received message.
pub fn message(feed: &str) {
    metrics::counter!(MESSAGES, "feed" => feed.to_owned()).increment(1);
}

/// One acknowledgement.
pub fn ack(feed: &str, code: &'static str) {
    metrics::counter!(ACKS, "feed" => feed.to_owned(), "code" => code).increment(1);
}

/// Time from frame to judgement, seconds.
pub fn lag(feed: &str, seconds: f64) {
    metrics::histogram!(LAG_SECONDS, "feed" => feed.to_owned()).record(seconds);
}

/// Time from frame to disk, seconds.
pub fn durable(feed: &str, seconds: f64) {
    metrics::histogram!(DURABLE_SECONDS, "feed" => feed.to_owned()).record(seconds);
}

/// Rows that became no observation.
pub fn reject(reason: &'static str, count: u64) {
    metrics::counter!(REJECTS, "reason" => reason).increment(count);
}

/// Documents dropped.
pub fn dropped(kind: &'static str, count: u64) {
    metrics::counter!(DROPPED, "kind" => kind).increment(count);
}

/// One publish handed to the broker.
pub fn published(kind: &'static str) {
    metrics::counter!(PUBLISHED, "kind" => kind).increment(1);
}

/// One command and what became of it at the door.
pub fn command(verb: &'static str, result: &'static str) {
    metrics::counter!(COMMANDS, "verb" => verb, "result" => result).increment(1);
}

/// Open alerts and beds, for the gauges.
pub fn pulse(pulse: &crate::document::Pulse) {
    let beds = &pulse.beds;
    for (trust, count) in [
        ("plausible", beds.plausible),
        ("learning", beds.learning),
        ("questioned", beds.questioned),
        ("untrusted", beds.untrusted),
        ("stale", beds.stale),
        ("nofeed", beds.nofeed),
        ("off", beds.off),
    ] {
        metrics::gauge!(BEDS, "trust" => trust).set(count);
    }
    let alerts = &pulse.alerts;
    for (priority, count) in [("high", alerts.high), ("medium", alerts.medium), ("low", alerts.low), ("info", alerts.info)] {
        metrics::gauge!(ALERTS_OPEN, "priority" => priority).set(count);
    }
}

/// One alert event.
pub fn alert_event(event: &'static str, priority: &'static str) {
    metrics::counter!(ALERT_EVENTS, "event" => event, "priority" => priority).increment(1);
}

/// One store transaction, seconds.
pub fn commit(seconds: f64) {
    metrics::histogram!(COMMIT_SECONDS).record(seconds);
}

/// One store transaction that failed.
pub fn commit_error() {
    metrics::counter!(COMMIT_ERRORS).increment(1);
}

/// Events that wait for the broker.
pub fn outbox(depth: u64) {
    metrics::gauge!(OUTBOX).set(depth as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_its_description() {
        let handle = install().expect("the recorder installs once a process");
        message("icu-gw1");
        lag("icu-gw1", 0.004);
        let text = handle.render();
        assert!(text.contains("vitalguard_messages_total{feed=\"icu-gw1\"} "), "{text}");
        assert!(text.contains("# HELP vitalguard_messages_total HL7 messages received, by feed"), "{text}");
        assert!(text.contains("vitalguard_lag_seconds_bucket{feed=\"icu-gw1\",le=\"0.005\"} "), "{text}");
        assert!(install().is_ok(), "a second call gives the same handle");
    }
}
