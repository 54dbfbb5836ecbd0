//! The store's contract, one fact a test.

use super::*;

fn event(number: u32, seq: u64, priority: &str, previous: Option<&str>) -> EventRow {
    let at = Timestamp::from_ms(1_000 * i64::from(number) + seq as i64);
    EventRow {
        alert: format!("A-{number:012x}-20261122T182326412Z"),
        seq,
        event: if seq == 1 { "raised" } else { "escalated" }.into(),
        at,
        json: format!("{{\"seq\":{seq}}}").into_bytes(),
        alert_json: format!("{{\"id\":{number},\"seq\":{seq}}}").into_bytes(),
        reference: format!("{number:08X}"),
        ward: "icu".into(),
        bed: "A03".into(),
        condition: "T03 flat_line".into(),
        assessment: "tamper".into(),
        priority: priority.into(),
        previous_priority: previous.map(str::to_owned),
        state: "active".into(),
        onset: at,
        raised: Timestamp::from_ms(1_000 * i64::from(number)),
        open: true,
    }
}
fn commit(events: Vec<EventRow>) -> Commit {
    Commit { events, applied_until: Timestamp::from_ms(77), sequence: 5, ..Commit::default() }
}
fn topics(reader: &OutboxReader) -> Vec<String> {
    reader.after(0, 1_000).expect("readable").into_iter().map(|row| row.topic).collect()
}

#[test]
fn a_commit_is_there_after_reopening_and_a_repeated_one_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = Store::open(&path, 100).expect("new");
    assert_eq!(store.applied().expect("readable"), None);
    store.set_boot("boot-1").expect("written");
    use crate::check::{Assessment, Priority};
    assert_eq!(Assessment::Tamper.as_str().to_owned() + Priority::High.as_str(), "tamperhigh");
    // The words of the columns are those of the documents.
    use Assessment::{Advisory, Artefact, Identity, Physiology, Silence, Tamper, Unit, Unverified};
    for assessment in [Tamper, Identity, Artefact, Unit, Silence, Physiology, Advisory, Unverified] {
        assert_eq!(serde_json::json!(assessment), assessment.as_str());
    }
    for priority in [Priority::High, Priority::Medium, Priority::Low, Priority::Info] {
        assert_eq!(serde_json::json!(priority), priority.as_str());
    }
    let step = commit(vec![event(1, 1, "medium", None)]);
    let done = store.commit(&step).expect("written");
    assert_eq!((done.events_new, done.queued), (1, 1));
    drop(store);

    let mut store = Store::open(&path, 100).expect("there");
    let applied = store.applied().expect("readable").expect("there");
    assert_eq!((applied.until.ms(), applied.sequence, applied.boot.as_str()), (77, 5, "boot-1"));
    let again = store.commit(&step).expect("written");
    assert_eq!((again.events_new, again.events_known, again.queued), (0, 1, 0));
    assert_eq!(topics(&store.outbox_reader().expect("a reader")), ["ward/icu/bed/A03/event/medium"]);
    assert_eq!(store.gauge().depth(), 1, "the depth is counted at the start");
}

#[test]
fn a_change_of_priority_goes_to_the_old_topic_and_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&folder.path().join("store.db"), 100).expect("new");
    let mut reader = store.outbox_reader().expect("a reader");
    store.commit(&commit(vec![event(1, 1, "medium", None), event(1, 2, "high", Some("medium"))])).expect("written");
    let rows = reader.after(0, 10).expect("readable");
    let topics: Vec<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    assert_eq!(topics, ["ward/icu/bed/A03/event/medium", "ward/icu/bed/A03/event/medium", "ward/icu/bed/A03/event/high"]);
    assert_eq!(rows[1].event_id, rows[2].event_id);
    assert_eq!(rows[2].event_type.as_deref(), Some("vitalguard.alert.escalated"));
    // What was acknowledged leaves; a number is never used again.
    let last = rows[2].seq;
    reader.mark_sent(&rows.iter().map(|row| row.seq).collect::<Vec<_>>()).expect("marked");
    assert_eq!(store.gauge().depth(), 0);
    store.commit(&commit(vec![event(2, 1, "low", None)])).expect("written");
    assert!(reader.after(0, 10).expect("readable")[0].seq > last);
}

#[test]
fn at_its_bound_the_outbox_drops_the_oldest_and_counts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&folder.path().join("store.db"), 10).expect("new");
    for number in 0..25 {
        store.commit(&commit(vec![event(number, 1, "low", None)])).expect("written");
    }
    let rows = store.outbox_reader().expect("a reader").after(0, 100).expect("readable");
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0].at, Timestamp::from_ms(15_001), "the newest ten are there");
    assert_eq!((store.gauge().depth(), store.gauge().dropped()), (10, 15));
}

#[test]
fn a_full_disk_is_an_error_that_leaves_everything_as_it_was_and_goes_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&folder.path().join("store.db"), 100_000).expect("new");
    store.commit(&commit(vec![event(1, 1, "low", None)])).expect("written");
    let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    let limit = |store: &Store, pages: i64| {
        store.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
    };
    limit(&store, pages + 2).expect("set");
    let mut big = event(2, 1, "low", None);
    big.json = vec![b'x'; 100_000];
    let step = commit(vec![big]);
    assert!(matches!(store.commit(&step), Err(StoreError::Full)), "the error names the disk");
    assert_eq!(store.alert_reader().expect("a reader").open_alerts().expect("readable").len(), 1);
    assert_eq!(store.gauge().depth(), 1);
    limit(&store, 1_000_000).expect("set");
    assert_eq!(store.commit(&step).expect("there is room again").events_new, 1);
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let store = Store::open(&path, 100).expect("new");
    store.connection.pragma_update(None, "user_version", 99).expect("set");
    drop(store);
    assert!(matches!(Store::open(&path, 100), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn alerts_are_found_by_what_they_are_and_paged_without_gaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&folder.path().join("store.db"), 1_000).expect("new");
    let mut events: Vec<_> = (0..25).map(|n| event(n, 1, if n < 5 { "high" } else { "low" }, None)).collect();
    events[0].open = false;
    events[0].state = "cleared".into();
    store.commit(&commit(events)).expect("written");
    let reader = store.alert_reader().expect("a reader");
    assert_eq!(reader.open_alerts().expect("readable").len(), 24);
    let find = |filter: AlertFilter| reader.list(&filter, 100).expect("readable").len();
    assert_eq!(find(AlertFilter { priority: Some("high".into()), ..AlertFilter::default() }), 5);
    assert_eq!(find(AlertFilter { condition: Some("T03".into()), ..AlertFilter::default() }), 25);
    assert_eq!(find(AlertFilter { condition: Some("T0".into()), ..AlertFilter::default() }), 0);
    assert_eq!(find(AlertFilter { reference: Some("00000007".into()), ..AlertFilter::default() }), 1);
    assert_eq!(find(AlertFilter { state: Some("' OR 1=1 --".into()), ..AlertFilter::default() }), 0);
    assert_eq!(find(AlertFilter { from: Some(Timestamp::from_ms(20_000)), ..AlertFilter::default() }), 5);
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = reader.list(&AlertFilter { before, ..AlertFilter::default() }, 10).expect("readable");
        let Some(last) = page.last() else { break };
        before = Some((last.raised.ms(), last.number));
        seen.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().collect::<std::collections::BTreeSet<_>>().len(), 25);
    assert_eq!(store.prune(Timestamp::from_ms(1_000_000), 100).expect("pruned"), 1, "only what is closed");
    assert!(reader.events(&event(0, 1, "low", None).alert).expect("readable").is_empty());
}

#[test]
fn the_last_word_of_each_user_counts_for_the_useful_share() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut store = Store::open(&path, 10).unwrap();
    let reader = store.alert_reader().unwrap();
    let rate = |alert: &str, user: &str, at: i64, useful| Rating {
        alert: alert.into(),
        at: Timestamp::from_ms(at),
        user: user.into(),
        useful,
    };
    assert_eq!(reader.useful_share(Timestamp::MIN).unwrap(), None);
    let ratings =
        vec![rate("A-1", "a", 10, false), rate("A-1", "a", 20, true), rate("A-1", "b", 30, false), rate("A-2", "a", 5, true)];
    store.commit(&Commit { ratings, ..Commit::default() }).unwrap();
    assert_eq!(reader.useful_share(Timestamp::from_ms(10)).unwrap(), Some(0.5));
    // Read again from the journal: nothing changes.
    store.commit(&Commit { ratings: vec![rate("A-1", "a", 10, false)], ..Commit::default() }).unwrap();
    assert_eq!(reader.useful_share(Timestamp::from_ms(10)).unwrap(), Some(0.5));
}

#[test]
fn cleared_topics_and_a_station_are_remembered_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let removed = |topic: &str, at: i64| Removed { topic: topic.into(), ts: Timestamp::from_ms(at) };
    {
        let mut store = Store::open(&path, 10).unwrap();
        assert!(!store.station_known().unwrap());
        store.note_station().unwrap();
        store.note_station().unwrap();
        for entry in [removed("a", 10), removed("b", 20), removed("a", 30)] {
            store.note_removed(&entry).unwrap();
        }
    }
    let mut store = Store::open(&path, 10).unwrap();
    assert!(store.station_known().unwrap());
    assert_eq!(store.removed(Timestamp::from_ms(20)).unwrap(), [removed("b", 20), removed("a", 30)]);
    assert_eq!(store.removed(Timestamp::from_ms(21)).unwrap(), [removed("a", 30)], "what is too old is forgotten");
}
