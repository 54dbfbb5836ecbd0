//! Metrics: their names, descriptions and units in one place, and the recorder whose text `/metrics` serves.
//!
//! One contract: every name that leaves stands in `describe`, by the conventions of Prometheus (`vitalguard_` first, base units,
//! `_total` for counters). Labels are feeds, wards and closed word lists: never a bed, a person or a peer's address.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Messages received by a listener, by feed.
pub const RECEIVED: &str = "vitalguard_messages_received_total";
/// Answers sent, by feed and code (a commit code counts with its application code).
pub const ANSWERS: &str = "vitalguard_answers_total";
/// Wire faults survived, by feed and fault.
pub const WIRE_FAULTS: &str = "vitalguard_wire_faults_total";
/// Bytes received, by feed.
pub const RECEIVED_BYTES: &str = "vitalguard_received_bytes_total";
/// Message read to answer written, seconds, by feed.
pub const ACK_SECONDS: &str = "vitalguard_ack_seconds";
/// Messages judged, by feed and kind.
pub const MESSAGES: &str = "vitalguard_messages_total";
/// Messages with a mark (duplicate, charset_mismatch, …), by feed and mark.
pub const MARKED: &str = "vitalguard_messages_marked_total";
/// Values understood, by feed.
pub const OBSERVATIONS: &str = "vitalguard_observations_total";
/// Journal to judgement, seconds.
pub const LAG_SECONDS: &str = "vitalguard_lag_seconds";
/// Rows that did not become observations, by feed and reason.
pub const REJECTS: &str = "vitalguard_rejects_total";
/// Gauge: a feed's clock (MSH-7) minus ours, seconds, median of its last messages. Labels: `feed`.
pub const FEED_SKEW: &str = "vitalguard_feed_skew_seconds";
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
pub const QUARANTINED: &str = "vitalguard_records_quarantined_total";
/// HTTP requests, by route and status class.
pub const HTTP_REQUESTS: &str = "vitalguard_http_requests_total";
/// Streams over HTTP whose reader was too slow.
pub const HTTP_STREAMS_CUT: &str = "vitalguard_http_streams_cut_total";

/// The receiver's answers in a tap or tee, by feed and MSA-1.
pub const PATH_ANSWERS: &str = "vitalguard_path_answers_total";
/// Messages in a tap or tee whose answer did not come, by feed.
pub const PATH_MISSING: &str = "vitalguard_path_answers_missing_total";
/// Answers in a tap or tee to messages that were not seen, by feed.
pub const PATH_UNASKED: &str = "vitalguard_path_answers_unasked_total";
/// From a message whole to its answer whole on the clinical path, seconds, by feed.
pub const PATH_SECONDS: &str = "vitalguard_path_seconds";
/// Holes in what a tap or tee has seen, and their bytes, by feed.
pub const PATH_GAPS: &str = "vitalguard_path_gaps_total";
pub const PATH_GAP_BYTES: &str = "vitalguard_path_gap_bytes_total";
/// Directions of connections that are not understood (TLS, HTTP, SSH), by feed.
pub const PATH_OPAQUE: &str = "vitalguard_path_opaque_total";
/// Records of a tap or tee that the journal did not take, by feed.
pub const PATH_NOT_STORED: &str = "vitalguard_path_not_stored_total";
/// Bytes passed on by the relay of a tee, by feed and direction.
pub const PATH_BYTES: &str = "vitalguard_path_bytes_total";
/// Connections, resets, senders turned away (receiver unreachable, too many), by feed.
pub const PATH_CONNECTIONS_TOTAL: &str = "vitalguard_path_connections_total";
pub const PATH_RESETS: &str = "vitalguard_path_resets_total";
pub const PATH_UNREACHABLE: &str = "vitalguard_path_unreachable_total";
pub const PATH_REFUSED: &str = "vitalguard_path_refused_total";
/// Copies that the judge did not take in time, and their bytes, by feed; bytes held now.
pub const COPIES_DROPPED: &str = "vitalguard_copies_dropped_total";
pub const COPIES_DROPPED_BYTES: &str = "vitalguard_copies_dropped_bytes_total";
pub const COPIES_HELD_BYTES: &str = "vitalguard_copies_held_bytes";
/// 1 while the stream of packets of a tap is there; packets read, and those whose headers are cut or wrong, by feed.
pub const PACKETS_UP: &str = "vitalguard_packets_up";
pub const PACKETS: &str = "vitalguard_packets_total";
pub const PACKETS_UNREADABLE: &str = "vitalguard_packets_unreadable_total";
/// 1 while the relay of a tee is there, by feed.
pub const RELAY_UP: &str = "vitalguard_relay_up";
/// From bytes read by the relay to the same bytes handed on, seconds, by feed and quantile.
pub const RELAY_SECONDS: &str = "vitalguard_relay_hold_seconds";

/// ACM reports, by result: accepted, refused (AR), failed (AE, given up), error (AE, tried again), unanswered (tried again),
/// outdated (never told and over), unreadable.
pub const ACM_MESSAGES: &str = "vitalguard_acm_messages_total";
/// Events that the alert manager was not told yet, and 1 while it is connected.
pub const ACM_WAITING: &str = "vitalguard_acm_waiting_events";
pub const ACM_LEFT_OUT: &str = "vitalguard_acm_left_out_alerts";
pub const ACM_CONNECTED: &str = "vitalguard_acm_connected";

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
    describe_counter!(RECEIVED, "HL7 messages received, by feed");
    describe_counter!(ANSWERS, "Answers sent, by feed and MSA-1 (CA counts as AA)");
    describe_counter!(WIRE_FAULTS, "Wire faults survived, by feed and fault");
    describe_counter!(RECEIVED_BYTES, Unit::Bytes, "Bytes received, by feed");
    describe_histogram!(ACK_SECONDS, Unit::Seconds, "Time from a message read to its answer written, by feed");
    describe_counter!(MESSAGES, "HL7 messages judged, by feed and kind");
    describe_counter!(MARKED, "HL7 messages with a mark, by feed and mark");
    describe_counter!(OBSERVATIONS, "Values understood, by feed");
    describe_histogram!(LAG_SECONDS, Unit::Seconds, "Time from the journal to the judgement");
    describe_counter!(REJECTS, "OBX rows that did not become observations, by feed and reason");
    describe_gauge!(FEED_SKEW, Unit::Seconds, "A feed's clock (MSH-7) minus ours, median of its last messages");
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
    describe_counter!(QUARANTINED, "Records that could not be judged and are left out");
    describe_counter!(PATH_ANSWERS, "The receiver's answers in a tap or tee, by feed and MSA-1");
    describe_counter!(PATH_MISSING, "Messages in a tap or tee whose answer did not come, by feed");
    describe_counter!(PATH_UNASKED, "Answers in a tap or tee to messages that were not seen, by feed");
    describe_histogram!(PATH_SECONDS, Unit::Seconds, "From a message whole to its answer whole on the clinical path, by feed");
    describe_counter!(PATH_GAPS, "Holes in what a tap or tee has seen, by feed");
    describe_counter!(PATH_GAP_BYTES, Unit::Bytes, "Bytes that a tap or tee has not seen, as far as known, by feed");
    describe_counter!(PATH_OPAQUE, "Directions of connections that are not understood (TLS, HTTP, SSH), by feed");
    describe_counter!(PATH_NOT_STORED, "Records of a tap or tee that the journal did not take, by feed");
    describe_counter!(PATH_BYTES, Unit::Bytes, "Bytes passed on by the relay of a tee, by feed and direction");
    describe_counter!(PATH_CONNECTIONS_TOTAL, "Connections through the relay of a tee, by feed");
    describe_counter!(PATH_RESETS, "Connections through the relay that a side has reset, by feed");
    describe_counter!(PATH_UNREACHABLE, "Senders turned away since the receiver could not be reached, by feed");
    describe_counter!(PATH_REFUSED, "Senders turned away beyond connections_max, by feed");
    describe_counter!(COPIES_DROPPED, "Copies that the judge did not take in time, by feed");
    describe_counter!(COPIES_DROPPED_BYTES, Unit::Bytes, "Bytes of copies that the judge did not take in time, by feed");
    describe_gauge!(COPIES_HELD_BYTES, Unit::Bytes, "Copies that the relay holds for the judge, by feed");
    describe_gauge!(PACKETS_UP, "1 while the stream of packets of a tap is there, by feed");
    describe_counter!(PACKETS, "Packets read by a tap, by feed");
    describe_counter!(PACKETS_UNREADABLE, "Packets of a tap whose headers are cut or wrong, by feed");
    describe_gauge!(RELAY_UP, "1 while the relay of a tee is there, by feed");
    describe_gauge!(
        RELAY_SECONDS,
        Unit::Seconds,
        "From bytes read by the relay to the same bytes handed on, by feed and quantile"
    );
    describe_counter!(ACM_MESSAGES, "Reports to the alert manager, by result");
    describe_gauge!(ACM_WAITING, "Alert events that the alert manager was not told yet");
    describe_gauge!(ACM_LEFT_OUT, "Open alerts whose start the alert manager refused or failed at: it does not know them");
    describe_gauge!(ACM_CONNECTED, "1 while the alert manager is connected");
    describe_counter!(HTTP_REQUESTS, "HTTP requests, by route and status class");
    describe_counter!(HTTP_STREAMS_CUT, "Event streams over HTTP that were cut because their reader was too slow");
}

/// What the core has counted of one feed.
pub fn feed(counts: &crate::monitor::FeedCounts) {
    let feed = counts.feed.as_str();
    let kinds = [
        ("vitals", counts.vitals),
        ("waveform", counts.waveforms),
        ("alarm", counts.alarms),
        ("adt", counts.adt),
        ("keep_alive", counts.keep_alive),
        ("other", counts.other),
        ("unreadable", counts.unreadable),
    ];
    for (kind, count) in kinds {
        metrics::counter!(MESSAGES, "feed" => feed.to_owned(), "kind" => kind).absolute(count);
    }
    for (what, count) in [("duplicate", counts.duplicates), ("out_of_order", counts.out_of_order), ("test", counts.test)] {
        metrics::counter!(MARKED, "feed" => feed.to_owned(), "mark" => what).absolute(count);
    }
    for (mark, count) in &counts.marks {
        metrics::counter!(MARKED, "feed" => feed.to_owned(), "mark" => mark.clone()).absolute(*count);
    }
    metrics::counter!(OBSERVATIONS, "feed" => feed.to_owned()).absolute(counts.observations);
    for (reason, count) in &counts.rejects {
        metrics::counter!(REJECTS, "feed" => feed.to_owned(), "reason" => reason.clone()).absolute(*count);
    }
}

/// A feed's clock minus ours, median.
pub fn feed_skew(feed: &str, skew_ms: i64) {
    metrics::gauge!(FEED_SKEW, "feed" => feed.to_owned()).set(skew_ms as f64 / 1000.0);
}

/// Time from the journal to the end of the judgement, seconds, of the last record of a group.
pub fn lag(seconds: f64) {
    metrics::histogram!(LAG_SECONDS).record(seconds);
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

/// One record that made the judge panic and is left out.
pub fn quarantined() {
    metrics::counter!(QUARANTINED).increment(1);
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
        let mut counts = crate::monitor::FeedCounts::default();
        (counts.feed, counts.vitals) = ("icu-gw1".into(), 7);
        feed(&counts);
        lag(0.004);
        let text = handle.render();
        assert!(text.contains("vitalguard_messages_total{feed=\"icu-gw1\",kind=\"vitals\"} 7"), "{text}");
        assert!(text.contains("# HELP vitalguard_messages_total HL7 messages judged, by feed and kind"), "{text}");
        assert!(text.contains("vitalguard_lag_seconds_bucket{le=\"0.005\"} "), "{text}");
        assert!(install().is_ok(), "a second call gives the same handle");
    }
}
