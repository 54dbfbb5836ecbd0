use super::*;
use crate::config::{DeviceEntry, DeviceState};
use crate::observation::Source;
use serde_json::json;

const ALERT: &str = "A-000000000000-20260107T030405678Z";

fn at(n: i64) -> Timestamp {
    Timestamp::from_ms(1_767_268_800_000 + n * 1_000)
}

fn message(n: i64) -> Vec<u8> {
    let at = format!("202601011200{n:02}");
    format!(
        "MSH|^~\\&|MON^00A0370000000001^EUI-64|H|||{at}+0000||ORU^R01^ORU_R01|M{n}|P|2.6\rPV1||I|icu^^A01\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}+0000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.147842|7{n}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||{at}+0000\r"
    )
    .into_bytes()
}

/// A bed with a past, and what it was told since.
struct Bed {
    settings: String,
    state: Vec<u8>,
    heard: Vec<u8>,
    model: String,
}

impl Bed {
    fn new() -> Bed {
        let settings = settings(&Config::default(), FIXED_KEY).unwrap();
        let elsewhere = toml::from_str::<Deciding>(&settings).unwrap().settings(Models::shipped());
        let mut live = Monitor::new(elsewhere.clone());
        let source = Source { feed: "mllp".into(), connection: 1, ..Source::default() };
        for n in 0..3 {
            live.handle_frame(&source, n as u64, &message(n), at(n));
        }
        while live.poll_output().is_some() {}
        let state = live.snapshot_apart("icu", "A01", &elsewhere);
        live.record("icu", "A01", true);
        live.handle_frame(&source, 3, &message(3), at(3));
        let heard = postcard::to_stdvec(&live.recorded().pop().expect("it was heard")).unwrap();
        Bed { settings, state, heard, model: format!("sha256:{}", &live.model_hash()[..16]) }
    }
    fn heard(&self) -> Input {
        Input::Heard(Box::new(postcard::from_bytes(&self.heard).unwrap()))
    }
    /// Why it cannot be judged, and that this is said soon.
    fn refused(&self, to: Timestamp, inputs: Vec<Input>, within: Duration) -> String {
        let plan = Plan { alert: ALERT.into(), model: self.model.clone(), last: 1, to, inputs };
        let inputs = postcard::to_stdvec(&plan).unwrap();
        let parts = Parts { settings: &self.settings, models: Vec::new(), state: &self.state, inputs: &inputs };
        let begun = Instant::now();
        let judged = judge(&parts, ALERT, Published { alert: &Value::Null, events: &[] }, begun + within);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let Judged::Not { why } = judged else { panic!("{judged:?}") };
        why
    }
}

#[test]
fn a_plan_that_is_meant_to_never_end_is_refused_within_seconds() {
    let (bed, soon) = (Bed::new(), Duration::from_secs(60));
    let start = |applied_until| Input::Start { at: at(5), applied_until };
    assert_eq!(bed.refused(at(9), vec![bed.heard(), start(at(4))], soon), "the bundle holds no event of it");
    assert_eq!(bed.refused(at(9), vec![start(Timestamp::MIN)], soon), "the bundle holds no event of it");
    for ahead in [at(6), Timestamp::MAX, Timestamp::from_ms(i64::MAX)] {
        assert!(bed.refused(at(9), vec![start(ahead)], soon).contains("out of order"));
    }
    assert!(bed.refused(Timestamp::MAX, vec![bed.heard()], soon).contains("out of order"));
    let many = |count: usize| (0..count).map(|_| bed.heard()).collect::<Vec<_>>();
    assert_eq!(bed.refused(at(9), many(HEARD_MAX + 1), soon), TOO_MUCH);
    let starts = (0..=OTHERS_MAX).map(|_| start(at(4))).collect();
    assert_eq!(bed.refused(at(9), starts, soon), TOO_MUCH);
    // Time stands still; the clock does not. Reading them takes longer than this.
    assert_eq!(bed.refused(at(9), many(HEARD_MAX), Duration::from_millis(20)), TOO_LONG);
}

#[test]
fn more_than_a_bundle_of_ours_holds_is_not_read() {
    let bed = Bed::new();
    let state = vec![0; STATE_BYTES_MAX + 1];
    let parts = Parts { settings: &bed.settings, models: Vec::new(), state: &state, inputs: &[] };
    let until = Instant::now() + Duration::from_secs(60);
    let nothing = Published { alert: &Value::Null, events: &[] };
    assert_eq!(judge(&parts, ALERT, nothing, until), not(TOO_MUCH));
    // An alert that is listed many times is judged once, and not more than a case holds.
    let id = |n: usize| format!("A-{n:012x}-20260107T030405678Z");
    let mut listed: Vec<Value> = (0..50_000).map(|_| json!({ "alert": { "id": ALERT }, "events": [] })).collect();
    listed.extend((1..5_000).map(|n| json!({ "alert": { "id": id(n) } })));
    listed.push(json!({ "alert": { "id": "\u{1b}[2J" } }));
    let list = json!({ "alerts": listed }).to_string();
    let (large, folder) = (vec![b' '; MODEL_BYTES_MAX + 1], folder(ALERT));
    let names = ["state.bin", "inputs.bin", "models/x.toml"].map(|name| format!("{folder}/{name}"));
    let mut files = BTreeMap::from([("alerts.json", list.as_bytes()), (SETTINGS, bed.settings.as_bytes())]);
    files.extend(names.iter().map(String::as_str).zip([bed.state.as_slice(), &[], &large]));
    let begun = Instant::now();
    let judged = judge_all(&files);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(judged.len(), ITEMS_MAX);
    assert_eq!(judged[0], (ALERT.into(), not(TOO_MUCH)));
    assert!(judged.iter().all(|(id, _)| is_alert_id(id)));
}

#[test]
fn settings_name_no_device_no_sender_and_no_folder() {
    let mut config = Config::default();
    let entry = |id: &str| DeviceEntry { id: id.into(), state: DeviceState::Quarantined, ..DeviceEntry::default() };
    config.devices.device = vec![entry("00A0370000TOKEN1"), entry("192.0.2.7"), entry("dev-0a0b0c0d")];
    config.devices.advisories = Some("/TOKEN/advisories.toml".into());
    config.senders.sender.push(SenderRule {
        peer: Some("192.0.2.8".into()),
        certificate: Some("CN=TOKEN".into()),
        application: Some("TOKEN".into()),
        zone: Some("Europe/Rome".into()),
        ..SenderRule::default()
    });
    let text = settings(&config, b"secret").unwrap();
    assert!(["TOKEN", "00A037", "192.0.2."].iter().all(|word| !text.contains(word)), "{text}");
    let deciding: Deciding = toml::from_str(&text).unwrap();
    let id = published_device(b"secret", "00A0370000TOKEN1");
    assert!(deciding.devices.entry("", &id).is_some_and(|entry| entry.state == DeviceState::Quarantined), "{text}");
    assert!(deciding.devices.entry("", "dev-0a0b0c0d").is_some() && deciding.devices.entry("", "dev-0a0b0c0e").is_none());
    assert_eq!(deciding.senders.sender[0].zone.as_deref(), Some("Europe/Rome"));
}

#[test]
fn a_state_of_one_bed_among_two_thousand_is_no_more_than_is_read() {
    let mut live = Monitor::new(Settings::default());
    let source = Source { feed: "mllp".into(), connection: 1, ..Source::default() };
    let mut sizes = Vec::new();
    for n in 0..41 {
        let text = String::from_utf8(message(n % 10)).unwrap().replace("^^A01", &format!("^^B{n:03}"));
        live.handle_frame(&source, n as u64, text.as_bytes(), at(n));
        while live.poll_output().is_some() {}
        sizes.push(live.snapshot_apart("icu", "B000", &Settings::default()).len());
    }
    let (first, each) = (sizes[0], (sizes[40] - sizes[0]) / 40);
    assert!(first + 2_000 * each < STATE_BYTES_MAX, "{first} bytes, and {each} for every other bed");
}
