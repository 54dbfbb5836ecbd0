//! The outbox over real sockets, against a broker that writes down what it was given and breaks on purpose.

mod support;

use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{BASE, Door, Recorder, assert_complete, commit_events, options, publish, publish_with, store, wait};
use vitalguard::shell::retained::{Kind, Retained};
use vitalguard::shell::store::Commit;

#[test]
fn nothing_is_lost_while_the_connection_breaks_under_load() {
    const ALERTS: usize = 250;
    const EVENTS: usize = 25_000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = store(folder.path());
    let recorder = Recorder::start(Door::All, 700);
    let outgoing = publish(options(recorder.address, "01a20385-57bb-7c31-9f0a-000000000001"), Some(&store));
    let link = outgoing.publisher.link();
    let begin = Instant::now();
    commit_events(&mut store, ALERTS, EVENTS, 250, |_| link.wake());
    let written = begin.elapsed();
    // It goes on breaking until most is through; the rest shows that a calm connection drains.
    wait("half of the events are through", 120, || link.outbox_depth() < EVENTS as u64 / 2);
    wait("the outbox is empty", 120, || {
        if link.outbox_depth() < 2_000 {
            recorder.breaking.store(false, Ordering::SeqCst);
        }
        link.outbox_depth() == 0
    });
    let total = begin.elapsed();
    let events = recorder.events();
    let repeats = assert_complete(events.iter().map(|r| r.payload.clone()), ALERTS, EVENTS);
    let connections = recorder.connections.load(Ordering::SeqCst);
    println!(
        "{EVENTS} events, {connections} connections, 0 lost, {repeats} repeats; committed in {written:.1?}, delivered in {total:.1?}"
    );
    assert!(connections >= 10, "the connection broke {connections} times");
    assert!(events.iter().all(|r| r.qos == 1 && !r.retain), "events are QoS 1 and never retained");
    outgoing.publisher.stop(Duration::from_secs(2));
}

#[test]
fn after_a_reconnect_the_birth_comes_first_and_the_retained_set_is_complete_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = store(folder.path());
    let recorder = Recorder::start(Door::All, 0);
    let retained = std::sync::Arc::new(Retained::default());
    retained.put("sys/info", Kind::Sys, Bytes::from_static(b"{\"schema\":\"sys-info/1\"}"));
    for bed in 0..100 {
        let kind = if bed % 10 == 0 { Kind::BedWithAlerts } else { Kind::Bed };
        let payload = Bytes::from(format!("{{\"schema\":\"bed-state/1\",\"bed\":\"B{bed}\"}}"));
        retained.put(&format!("ward/icu/bed/B{bed}/state"), kind, payload);
    }
    retained.put("ward/icu/state", Kind::Ward, Bytes::from_static(b"{\"schema\":\"ward-state/1\"}"));
    retained.put("feed/gw/status", Kind::Feed, Bytes::from_static(b"{\"schema\":\"feed-status/1\"}"));
    retained.put("ward/icu/bed/OLD/state", Kind::Bed, Bytes::new());
    store.commit(&Commit { events: vec![support::event(1, 1)], ..Commit::default() }).expect("one event");
    let outgoing = publish_with(options(recorder.address, "01a20385-57bb-7c31-9f0a-000000000001"), Some(&store), retained);
    let link = outgoing.publisher.link();
    let begin = Instant::now();
    wait("the event is through", 20, || link.connected() && link.outbox_depth() == 0);
    assert!(begin.elapsed() > Duration::from_millis(300), "103 documents at 200 a second: paced");
    let records = recorder.records.lock().expect("no panic").clone();
    let kept: Vec<_> = records.iter().filter(|r| r.retain).collect();
    assert_eq!(kept[0].topic, format!("{BASE}/sys/status"));
    assert!(String::from_utf8_lossy(&kept[0].payload).contains("\"online\""));
    assert_eq!(kept[1].topic, format!("{BASE}/sys/info"));
    assert_eq!(kept[2].topic, format!("{BASE}/ward/icu/state"));
    assert_eq!(kept.last().expect("some").topic, format!("{BASE}/feed/gw/status"));
    assert_eq!(kept.len(), 1 + 1 + 1 + 101 + 1);
    let tombstone = kept.iter().find(|r| r.topic.ends_with("/OLD/state")).expect("the tombstone");
    assert!(tombstone.payload.is_empty());
    let place = |needle: &str| records.iter().position(|r| r.topic.contains(needle)).expect("published");
    assert!(place("/event/") > place("feed/gw"), "the outbox comes after the retained documents");
    assert!(place("sys/heartbeat") < place("feed/gw"), "the heartbeat does not wait for them");
    wait("the tombstone is forgotten", 5, || outgoing.retained.get("ward/icu/bed/OLD/state").is_none());
    outgoing.publisher.stop(Duration::from_secs(2));
    let last = recorder.records.lock().expect("no panic").last().cloned().expect("some");
    assert_eq!(last.topic, format!("{BASE}/sys/status"));
    assert!(String::from_utf8_lossy(&last.payload).contains("\"offline\""), "a graceful stop says offline");
}

#[test]
fn a_broker_that_only_speaks_3_1_1_is_spoken_to_in_3_1_1() {
    for door in [Door::RefusesV5, Door::ClosesOnV5] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = store(folder.path());
        let recorder = Recorder::start(door, 0);
        let outgoing = publish(options(recorder.address, "01a20385-57bb-7c31-9f0a-000000000001"), Some(&store));
        let link = outgoing.publisher.link();
        commit_events(&mut store, 10, 500, 100, |_| link.wake());
        wait("the outbox is empty", 20, || link.connected() && link.outbox_depth() == 0);
        assert_eq!(link.protocol(), 4, "{door:?}");
        assert!(recorder.refused_v5.load(Ordering::SeqCst) >= 1, "5 was tried first");
        assert_complete(recorder.events().into_iter().map(|r| r.payload), 10, 500);
        outgoing.publisher.stop(Duration::from_secs(2));
    }
}

#[test]
fn a_broker_that_closes_while_it_starts_is_spoken_to_in_5_in_the_end() {
    for closed in 1..5 {
        let recorder = Recorder::start(Door::ClosesFirst(closed), 0);
        let outgoing = publish(options(recorder.address, "01a20385-57bb-7c31-9f0a-000000000001"), None);
        let link = outgoing.publisher.link();
        wait("connected", 20, || link.resynced());
        assert_eq!(link.protocol(), 5, "after {closed} closed connections");
        outgoing.publisher.stop(Duration::from_secs(1));
    }
}

#[test]
fn a_dead_broker_holds_up_nobody_and_the_outbox_keeps_its_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = vitalguard::shell::store::Store::open(&path, 1_000).expect("a store");
    // A port that accepts and says nothing: worse than one that refuses.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let outgoing = publish(options(address, "01a20385-57bb-7c31-9f0a-000000000001"), Some(&store));
    let link = outgoing.publisher.link();
    let begin = Instant::now();
    commit_events(&mut store, 10, 3_000, 100, |_| link.wake());
    for n in 0..10_000 {
        outgoing.retained.put("ward/icu/bed/A01/state", Kind::Bed, Bytes::from(format!("{{\"n\":{n}}}")));
        link.transient(vitalguard::shell::link::Transient::Vitals, "ward/icu/bed/A01/vitals", Bytes::from_static(b"{}"));
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    assert_eq!(link.outbox_depth(), 1_000);
    assert_eq!(link.dropped().event, 2_000);
    assert_eq!(link.dropped().vitals, 9_999);
    assert!(!link.connected() && !link.ready());
    let begin = Instant::now();
    outgoing.publisher.stop(Duration::from_secs(1));
    assert!(begin.elapsed() < Duration::from_secs(3), "a stop does not wait for a dead broker");
}
