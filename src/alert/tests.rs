use super::*;

const BOOT: &str = "01a20b10-0000-7c31-9f0a-2b7d5e81c604";

#[test]
fn an_alert_id_is_made_by_the_recipe_of_the_contract() {
    let onset = Timestamp::from_civil(2026, 11, 22, 18, 23, 26, 412).unwrap();
    let id = alert_id("hsp1", "icu", "A03", "T03", &[Parameter::Spo2, Parameter::Hr], onset);
    assert_eq!(id, "A-53ee76904a86-20261122T182326412Z");
    assert_eq!(reference(&id), "1D15-DB51");
}

#[test]
fn an_event_is_read_back_to_the_same_bytes() {
    let text = concat!(
        r#"{"schema":"alert-event/1","event":"acknowledged","seq":3,"ts":"2026-11-23T09:25:02.118Z","ts_ms":1795425902118,"#,
        r#""boot":"01a20b10-0000-7c31-9f0a-2b7d5e81c604","site":"test","ward":"icu","bed":"B7","use":"advisory","#,
        r#""alert":{"id":"A-000000000000-20261123T092326412Z","ref":"0000-0000","site":"test","ward":"icu","bed":"B7","#,
        r#""condition":"T03 flat_line","assessment":"tamper","priority":"high","state":"acknowledged","params":["hr","spo2"],"#,
        r#""onset":"2026-11-23T09:23:26.412Z","raised":"2026-11-23T09:24:07.412Z","updated":"2026-11-23T09:25:02.118Z","count":1,"#,
        r#""confidence":0.98,"text":{"en":"a","it":"b"},"action":{"en":"c","it":"d"},"args":{"seconds":96,"t":36.6},"evidence":["#,
        r#"{"check":"P01","class":"provenance","score":1,"value":3,"limit":1,"unit":"{messages}","window_s":41,"msg_id":"77","#,
        r#""obx_id":1,"raw":"gw1.18","effective_at":"2026-11-23T09:24:07.400Z","text":{"en":"e","it":"f"}}],"#,
        r#""acked":{"user":"nurse2","at":"2026-11-23T09:25:02.118Z","via":"mqtt"},"because":"A-1","device":"dev-1a2b","#,
        r#""model":"sha256:0123456789abcdef","href":"/api/v1/alerts/A-000000000000-20261123T092326412Z"},"#,
        r#""prev":{"priority":"high","state":"active"},"by":{"user":"nurse2","via":"mqtt"},"cause":"operator"}"#
    );
    let (event, envelope) = AlertEvent::from_json(text).unwrap();
    assert!(envelope.href && envelope.boot == BOOT);
    assert_eq!(event.to_json(&envelope), text);
    let replayed = Envelope {
        replay: Some(ReplayRef { run: "r1".into(), source: "sha256:r1".into() }),
        boot: "replay-r1".into(),
        href: false,
        ..envelope
    };
    let text = event.to_json(&replayed);
    assert!(text.ends_with(r#""cause":"operator","replay":{"run":"r1","source":"sha256:r1"}}"#) && !text.contains("href"));
    assert_eq!(AlertEvent::from_json(&text).unwrap(), (event, replayed));
}

#[test]
fn a_bed_document_is_read_back_to_the_same_bytes() {
    let text = concat!(
        r#"{"schema":"bed-state/1","ts":"2026-11-23T09:24:07.412Z","ts_ms":1795425847412,"boot":"b","rev":7,"#,
        r#""valid_until":"2026-11-23T09:26:37.412Z","site":"test","ward":"icu","bed":"B7","use":"advisory","trust":"stale","learning":false,"#,
        r#""params":{"hr":{"value":72,"unit":"/min","trust":"plausible","age_ms":300,"band":[60,84.5],"code":"147842","name":"MDC_ECG_HEART_RATE","#,
        r#""conditions":["A07"]},"temp":{"value":null,"unit":"Cel","trust":"stale","age_ms":22000,"last_ts":"2026-11-23T09:23:45.412Z","#,
        r#""code":"150344","name":"MDC_TEMP"}},"active":[],"device":{"id":"dev-1a2b","advisories":0}}"#
    );
    let (state, envelope) = BedState::from_json(text).unwrap();
    assert_eq!(state.to_json(&envelope), text);
    assert!(BedState::from_json(&text.replace("\"rev\"", "\"revision\"")).is_err(), "unknown members are refused");
}

#[test]
fn a_ward_is_split_into_parts_of_bounded_size() {
    let beds: Vec<WardBed> = (0..500)
        .map(|n| WardBed {
            bed: format!("B{n}"),
            trust: Trust::Plausible,
            rev: 1,
            alerts: 0,
            priority: None,
            unacked: None,
            top: None,
        })
        .collect();
    let whole = WardState {
        ts: Timestamp::from_ms(1_795_425_847_412),
        rev: 3,
        ward: "icu".into(),
        part: 0,
        parts: 1,
        trust: TrustCounts { plausible: 500, ..TrustCounts::default() },
        alerts: PriorityCounts::default(),
        unacked: PriorityCounts::default(),
        beds,
    };
    let envelope = Envelope { site: "test".into(), boot: "b".into(), replay: None, href: false };
    let parts = WardState::split(whole);
    assert!(parts.len() > 1 && parts.iter().all(|p| p.parts == parts.len() as u32 && p.trust.plausible == 500));
    assert_eq!(parts.iter().map(|p| p.beds.len()).sum::<usize>(), 500);
    for part in &parts {
        let text = part.to_json(&envelope);
        assert!(text.len() < 20_000);
        assert_eq!(WardState::from_json(&text).unwrap().0, *part);
    }
    assert_eq!((parts[0].topic(), parts[1].topic()), ("ward/icu/state".into(), "ward/icu/state/1".into()));
}

#[test]
fn numbers_are_written_as_people_write_them() {
    let flat = Flat {
        ts: Timestamp::from_ms(1_795_425_847_412),
        trust: Trust::Untrusted,
        alerts: 1,
        params: vec![
            (Parameter::Hr, Some(72.0), Trust::Untrusted),
            (Parameter::Temp, None, Trust::Stale),
            (Parameter::AbpMean, Some(90.007_382_1), Trust::Plausible),
        ],
    };
    assert_eq!(
        flat.to_json(),
        r#"{"ts_ms":1795425847412,"trust":3,"alerts":1,"hr":72,"hr_trust":3,"temp_trust":4,"abp_mean":90.0074,"abp_mean_trust":0}"#
    );
}
