//! The bedside monitor's alarms against its values, as a person sees it: the built program on a recorded log of numerics
//! (ORU^R01) and alarms (ORU^R40) of five invented beds.
//!
//! `VG_TEST_BLESS=1 cargo test --test alarms` writes `data/recordings/alarms.hl7.gz` anew.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HR: &str = "147842^MDC_ECG_HEART_RATE^MDC";
const SPO2: &str = "150456^MDC_PULS_OXIM_SAT_O2^MDC";
const GATEWAY: &str = "NORDGATE^0A1B2CFFFE3D4E5F^EUI-64";
/// 2026-03-02 10:00:00 +0100.
const START_MS: i64 = 1_772_442_000_000;

struct Log {
    text: String,
    messages: u32,
}

impl Log {
    fn header(&mut self, t: u32, bed: u32, trigger: &str, profile: &str) {
        let at = vitalguard::time::Timestamp::from_ms(START_MS + i64::from(t) * 1000).hl7();
        self.messages += 1;
        let _ = write!(
            self.text,
            "MSH|^~\\&|{GATEWAY}|NORDMED|||{at}||ORU^{trigger}^ORU_{trigger}|NG{:06}|P|2.6|||NE|AL||UNICODE UTF-8|||{profile}^IHE PCD\r\
             PID|||V-70{bed:02}^^^Klinik Nord^MR\rPV1||I|ICU^^B{bed}\r",
            self.messages
        );
        let code = if trigger == "R40" { "196616^MDC_EVT_ALARM^MDC" } else { "182777000^monitoring of patient^SCT" };
        let _ = write!(self.text, "OBR|1|||{code}|||{at}\r");
    }

    fn values(&mut self, t: u32, bed: u32, spo2: u32, limits: &str) {
        self.header(t, bed, "R01", "PCD_DEC_001");
        let hr = 70 + (t / 5 * 7 + bed) % 6;
        let _ = write!(
            self.text,
            "OBX|1|NM|{HR}|1.7.4.1|{hr}|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||F\r\
             OBX|2|NM|{SPO2}|1.3.1.1|{spo2}|262688^MDC_DIM_PERCENT^MDC|{limits}||||F\r"
        );
    }

    fn alarm(&mut self, t: u32, bed: u32, event: &str, source: &str, phase: &str) {
        self.header(t, bed, "R40", "IHE_PCD_ACM_001");
        let _ = write!(
            self.text,
            "OBX|1|ST|{event}^MDC|1.3.1.1.1|Limit|||L~PM~SP|||F\r\
             OBX|2|ST|68164^MDC_ATTR_ALERT_SOURCE^MDC|1.3.1.1.2|{source}||||||F\r\
             OBX|3|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.3.1.1.3|{phase}||||||F\r"
        );
    }
}

const LOW: &str = "196674^MDC_EVT_LO_VAL_LT_LIM";

/// Twenty minutes, a message of each bed every five seconds. Every bed is low at 100 to 200 s and has its alarm.
/// B1: low again at 500 to 700 s, and no alarm comes. B2: an alarm at 800 to 950 s, and no value is low. B3: as B1, and the alarm
/// comes. B4: as B3, and at 600 s the limit is moved below the value. B5: a flood of alarms at 500 s without a value outside.
fn recording() -> String {
    let mut log = Log { text: String::new(), messages: 0 };
    for step in 0..240 {
        let t = step * 5;
        let first = (100..200).contains(&t);
        let second = (500..700).contains(&t);
        for bed in 1..=5 {
            let low = first || second && matches!(bed, 1 | 3 | 4);
            let limits = if bed == 4 && t >= 600 { "80-100" } else { "90-100" };
            log.values(t, bed, if low { 87 } else { 96 + (step + bed) % 3 }, limits);
            let (start, end) = match (t, bed) {
                (110, _) | (510, 3 | 4) | (800, 2) => (true, false),
                (205, _) | (705, 3 | 4) | (950, 2) => (false, true),
                _ => (false, false),
            };
            if start || end {
                log.alarm(t, bed, LOW, SPO2, if start { "start" } else { "end" });
            }
        }
        if (500..560).contains(&t) {
            let (event, source) = (196_648 + 2 * (t / 10), if step % 2 == 0 { HR } else { SPO2 });
            log.alarm(t, 5, &format!("{event}^MDC_EVT_{t}"), source, "start");
        }
        if t == 560 {
            log.alarm(t, 5, LOW, SPO2, "end");
        }
    }
    log.text
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recordings/alarms.hl7.gz")
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VITALGUARD_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_recording_is_what_its_story_says() {
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packed, recording().as_bytes()).unwrap();
        std::fs::write(file(), packed.finish().unwrap()).unwrap();
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file()).unwrap()).read_to_string(&mut text).unwrap();
    assert!(text == recording(), "VG_TEST_BLESS=1 cargo test --test alarms writes the recording anew");
}

#[test]
fn alarms_that_do_not_come_come_without_cause_or_are_moved_away_are_told_and_nothing_else_is() {
    let done = program().args(["replay", "--quiet", "--alerts", "-"]).arg(file()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    let raised: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("every line is JSON"))
        .filter(|event| event["event"] == "raised")
        .collect();
    let told: Vec<String> = raised
        .iter()
        .map(|e| format!("{} {}", e["bed"].as_str().unwrap_or("?"), e["alert"]["condition"].as_str().unwrap_or("?")))
        .collect();
    let mut sorted = told.clone();
    sorted.sort();
    let expected = ["B1 P11 alarm_value_coherence", "B2 P11 alarm_value_coherence", "B4 P12 limit_change", "B5 P14 alarm_flood"];
    assert_eq!(sorted, expected, "{lines}");
    let of = |bed: &str| &raised[told.iter().position(|t| t.starts_with(bed)).unwrap()]["alert"];
    let missing = of("B1");
    assert_eq!(missing["onset"], "2026-03-02T09:08:20.000Z");
    assert!(missing.to_string().contains("below the transmitted limit 90"), "{missing}");
    assert!(of("B2").to_string().contains("no value was outside"), "{}", of("B2"));
    assert!(of("B4").to_string().contains("moved from 90 to 80"), "{}", of("B4"));
    // Nothing of this is presented as the bedside monitor's own alarm, and none of it goes to the ward by itself.
    for event in &raised {
        let assessment = event["alert"]["assessment"].as_str();
        assert!(matches!(assessment, Some("unverified" | "artefact")), "{event}");
    }
}
