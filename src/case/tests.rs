use super::*;

const ID: &str = "C-20260107T030405678Z-00ff";

fn at(second: i64) -> Timestamp {
    Timestamp::from_ms(1_767_755_045_678 + second * 1000)
}

fn act(user: &str, expect: Option<u32>, step: Step) -> Act {
    Act { id: "x-1".into(), case: ID.into(), expect, user: user.into(), via: Way::Web, step }
}

fn note(text: &str) -> Step {
    Step::Note { text: text.into() }
}

fn close() -> Step {
    Step::Close { reason: "nothing found".into(), keep_until: None }
}

fn opened() -> Case {
    let act = act("eng", None, Step::Open { title: "Bed A03".into(), alert: None });
    Case::open(&act, 10, at(0)).expect("a case")
}

/// Applies a step as record `sequence`, at that second.
fn step(case: &mut Case, sequence: u64, step: Step) -> Result<(), Refused> {
    case.apply(&act("eng", None, step), sequence, at(sequence.cast_signed()))
}

#[test]
fn an_id_is_made_of_the_time_and_is_one() {
    assert_eq!(Case::id_of(at(0), 0xff), ID);
    assert!(is_case_id(ID));
    for wrong in
        ["", "C-", "A-20260107T030405678Z-00ff", "C-20260107T030405678Z-00FF", "C-20260107T030405678Z-00ff1", "C-../../etc"]
    {
        assert!(!is_case_id(wrong), "{wrong}");
    }
}

#[test]
fn every_step_counts_and_an_act_survives_the_journal() {
    let mut case = opened();
    let steps = [
        Step::Add { item: Item::Alert { id: "A-53ee76904a86-20261122T182326412Z".into() } },
        Step::Add { item: Item::Messages { raw: vec!["icu.12".into(), "icu-gw.9".into()] } },
        note("looked at the monitor"),
        Step::Set { field: "device.model".into(), value: "X1".into() },
        Step::Confirm { kind: "serious".into(), known_since: at(-60) },
        Step::Withdraw { kind: "serious".into(), reason: "it was the probe".into() },
        Step::Filed { form: "ministry_it".into(), reference: "2026/1".into() },
        Step::Export { bundle: "C-1.zip".into(), identified: false, sha256: "0".repeat(64) },
        close(),
        Step::Reopen { reason: "new evidence".into() },
    ];
    for (number, one) in steps.into_iter().enumerate() {
        let whole = act("eng", Some(number as u32 + 1), one);
        let back: Act = serde_json::from_slice(&serde_json::to_vec(&whole).unwrap()).unwrap();
        assert_eq!(back, whole);
        case.apply(&back, 11 + number as u64, at(11)).unwrap();
    }
    assert_eq!((case.version, case.sequence, case.state), (11, 20, State::Open));
    assert_eq!(case.records(), Some((9, 12)));
    assert_eq!(case.confirmed().count(), 0);
    let back: Case = serde_json::from_str(&serde_json::to_string(&case).unwrap()).unwrap();
    assert_eq!(back, case);
}

#[test]
fn the_second_who_closes_is_told_who_closed_it_and_when() {
    let mut case = opened();
    case.apply(&act("anna", Some(1), close()), 11, at(5)).unwrap();
    let before = case.clone();
    let told = case.apply(&act("bruno", Some(1), close()), 12, at(6)).unwrap_err();
    assert_eq!(told, Refused::Closed(By { user: "anna".into(), at: at(5) }));
    assert_eq!(told.to_string(), "the case was closed by anna at 2026-01-07T03:04:10.678Z");
    assert_eq!(case, before);
}

#[test]
fn who_saw_an_older_version_changes_nothing() {
    let mut case = opened();
    step(&mut case, 11, note("one")).unwrap();
    let before = case.clone();
    let stale = case.apply(&act("eng", Some(1), note("two")), 12, at(12)).unwrap_err();
    assert_eq!(stale, Refused::Stale { expected: 1, now: 2, at: at(11) });
    assert_eq!(case, before);
}

#[test]
fn a_closed_case_takes_what_is_said_of_it_and_no_evidence() {
    let mut case = opened();
    assert_eq!(step(&mut case, 11, Step::Reopen { reason: "x".into() }), Err(Refused::Open));
    assert_eq!(step(&mut case, 11, Step::Release { reason: "x".into() }), Err(Refused::Open));
    step(&mut case, 11, close()).unwrap();
    let item = Item::SpotCheck { sequence: 5 };
    assert!(matches!(step(&mut case, 12, Step::Add { item }), Err(Refused::Closed(_))));
    assert!(matches!(step(&mut case, 12, Step::Confirm { kind: "x".into(), known_since: at(0) }), Err(Refused::Closed(_))));
    step(&mut case, 12, note("filed today")).unwrap();
    step(&mut case, 13, Step::Filed { form: "ministry_it".into(), reference: "1".into() }).unwrap();
    step(&mut case, 14, Step::Export { bundle: "b.zip".into(), identified: true, sha256: "a".repeat(64) }).unwrap();
}

#[test]
fn evidence_stays_until_it_was_closed_and_the_time_is_over_or_somebody_lets_it_go() {
    let mut case = opened();
    assert!(case.keeps(Timestamp::MAX));
    step(&mut case, 11, Step::Close { reason: "done".into(), keep_until: Some(at(100)) }).unwrap();
    assert!(case.keeps(at(99)) && !case.keeps(at(100)));
    step(&mut case, 12, Step::Release { reason: "the authority has it".into() }).unwrap();
    assert!(!case.keeps(at(50)));
    step(&mut case, 13, Step::Reopen { reason: "again".into() }).unwrap();
    assert!(case.keeps(Timestamp::MAX));
    step(&mut case, 14, close()).unwrap();
    assert!(case.keeps(at(14).plus_s(364.0 * 86_400.0)) && !case.keeps(at(14).plus_s(366.0 * 86_400.0)));
}

#[test]
fn a_clock_starts_once_and_not_in_the_future() {
    let mut case = opened();
    let confirm = |kind: &str, since| Step::Confirm { kind: kind.into(), known_since: at(since) };
    assert!(matches!(step(&mut case, 11, confirm("serious", 12)), Err(Refused::Malformed { what: "known_since", .. })));
    step(&mut case, 11, confirm("serious", -5)).unwrap();
    assert!(matches!(step(&mut case, 12, confirm("serious", -4)), Err(Refused::Confirmed { .. })));
    step(&mut case, 12, Step::Withdraw { kind: "serious".into(), reason: "no".into() }).unwrap();
    assert_eq!(
        step(&mut case, 13, Step::Withdraw { kind: "serious".into(), reason: "no".into() }),
        Err(Refused::NotConfirmed("serious".into()))
    );
    step(&mut case, 13, confirm("serious", -4)).unwrap();
    assert_eq!(case.confirmed().map(|c| c.known_since).collect::<Vec<_>>(), [at(-4)]);
}

#[test]
fn what_is_too_long_or_malformed_changes_nothing() {
    let mut case = opened();
    let before = case.clone();
    let long = "x".repeat(TEXT_CHARS_MAX + 1);
    let range = |from, to, first, last| Step::Add {
        item: Item::Range { ward: "icu".into(), bed: "A03".into(), from: at(from), to: at(to), first, last },
    };
    let bad = [
        note(&long),
        note(" "),
        note("bell \u{7}"),
        Step::Set { field: "device model".into(), value: "x".into() },
        Step::Set { field: "a..b".into(), value: "x".into() },
        Step::Set { field: "a".into(), value: "x".repeat(FIELD_CHARS_MAX + 1) },
        Step::Add { item: Item::Alert { id: "A-1".into() } },
        Step::Add { item: Item::Messages { raw: vec![] } },
        Step::Add { item: Item::Messages { raw: vec!["nonsense".into()] } },
        Step::Add { item: Item::Messages { raw: vec!["icu.1".into(); MESSAGES_MAX + 1] } },
        Step::Add { item: Item::Capture { name: "../x.pcap".into(), sha256: "0".repeat(64), bytes: 1 } },
        Step::Add { item: Item::Capture { name: "x.pcap".into(), sha256: "0".repeat(64), bytes: CAPTURE_BYTES_MAX + 1 } },
        Step::Add { item: Item::Capture { name: "x.pcap".into(), sha256: "Z".repeat(64), bytes: 1 } },
        Step::Add { item: Item::Device { id: "dev-1".into(), record: Value::String("x".into()) } },
        range(5, 4, 1, 2),
        range(4, 5, 2, 1),
        range(0, 7 * 3600, 1, 2),
        Step::Export { bundle: "/etc/x".into(), identified: false, sha256: "0".repeat(64) },
        Step::Close { reason: "x".into(), keep_until: Some(at(30 * 366 * 86_400)) },
    ];
    for one in bad {
        let word = format!("{one:.60?}");
        assert!(step(&mut case, 11, one).is_err(), "{word}");
    }
    assert_eq!(case, before);
    let title = act("eng", None, Step::Open { title: "x".repeat(TITLE_CHARS_MAX + 1), alert: None });
    assert!(Case::open(&title, 1, at(0)).is_err());
}

#[test]
fn at_the_bound_a_step_is_refused_and_nothing_old_goes() {
    let mut case = opened();
    for number in 0..ITEMS_MAX as u64 {
        step(&mut case, 11 + number, Step::Add { item: Item::Action { sequence: number } }).unwrap();
    }
    let before = case.clone();
    let more = Step::Add { item: Item::Action { sequence: 1 << 40 } };
    assert_eq!(step(&mut case, 9_999, more), Err(Refused::TooMany { what: "items of a case", max: ITEMS_MAX }));
    assert_eq!(case, before);
    let mut case = opened();
    step(&mut case, 11, Step::Add { item: Item::Action { sequence: 3 } }).unwrap();
    assert_eq!(step(&mut case, 12, Step::Add { item: Item::Action { sequence: 3 } }), Err(Refused::Known(2)));
}
