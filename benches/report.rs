//! How long a message of 12 OBX takes from bytes to a `Report`: `cargo bench --bench report`.
//!
//! Prints nanoseconds a message of reading alone, of SHA-256 over the same bytes, and of read + decode together, the best and the
//! median of several rounds, for a sender whose time, id and values change with every message.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::{Message, Scratch};
use vitalguard::observation::{Report, Source};
use vitalguard::time::Timestamp;

/// One message of an invented monitor, second `n`.
fn message(n: usize) -> Vec<u8> {
    let time = format!("202603021{:01}{:02}{:02}+0100", n / 3600 % 10, n / 60 % 60, n % 60);
    let mut text = format!(
        "MSH|^~\\&|NORDGATE^0A1B2CFFFE3D4E5F^EUI-64|NORDMED|||{time}||ORU^R01^ORU_R01|NG{n:08}|P|2.6|||NE|AL||UNICODE UTF-8|||\
         PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\rPID|||V-7001^^^Klinik Nord^MR||Muster^Ada^^^^^L||19710405|F\r\
         PV1||I|ICU^^A03\rOBR|1|NG{n}|NG{n}|182777000^monitoring of patient^SCT|||{time}\r"
    );
    const ROWS: [(&str, &str, usize, &str); 12] = [
        ("147842^MDC_ECG_HEART_RATE", "1.5.1.1", 70, "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
        ("148066^MDC_ECG_V_P_C_RATE", "1.5.1.2", 0, "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
        ("151562^MDC_RESP_RATE", "1.6.1.1", 14, "264928^MDC_DIM_RESP_PER_MIN^MDC"),
        ("150456^MDC_PULS_OXIM_SAT_O2", "1.3.1.1", 96, "262688^MDC_DIM_PERCENT^MDC"),
        ("149530^MDC_PULS_OXIM_PULS_RATE", "1.3.1.2", 70, "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
        ("150037^MDC_PRESS_BLD_ART_ABP_SYS", "1.13.1.1", 120, "266016^MDC_DIM_MMHG^MDC"),
        ("150038^MDC_PRESS_BLD_ART_ABP_DIA", "1.13.1.2", 70, "266016^MDC_DIM_MMHG^MDC"),
        ("150039^MDC_PRESS_BLD_ART_ABP_MEAN", "1.13.1.3", 88, "266016^MDC_DIM_MMHG^MDC"),
        ("150087^MDC_PRESS_BLD_VEN_CENT_MEAN", "1.13.2.1", 7, "266016^MDC_DIM_MMHG^MDC"),
        ("150344^MDC_TEMP", "1.26.1.1", 37, "268192^MDC_DIM_DEGC^MDC"),
        ("151708^MDC_CONC_AWAY_CO2_ET", "1.8.1.1", 36, "266016^MDC_DIM_MMHG^MDC"),
        ("151594^MDC_CO2_RESP_RATE", "1.8.1.2", 14, "264928^MDC_DIM_RESP_PER_MIN^MDC"),
    ];
    for (at, (code, place, value, unit)) in ROWS.iter().enumerate() {
        let value = value + n % 3;
        let _ = write!(text, "OBX|{}|NM|{code}^MDC|{place}|{value}|{unit}|||||R|||{time}||||0A1B2CFFFE000001^NORDMON\r", at + 1);
    }
    text.into_bytes()
}

/// Nanoseconds a call: best and median of the rounds.
fn measure(rounds: usize, frames: &[Vec<u8>], mut call: impl FnMut(&[u8])) -> (f64, f64) {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            frames.iter().for_each(|frame| call(frame));
            started.elapsed().as_nanos() as f64 / frames.len() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[rounds / 2])
}

fn main() {
    let frames: Vec<Vec<u8>> = (0..20_000).map(message).collect();
    let source = Source {
        feed: "bench".into(),
        peer: "192.0.2.1".into(),
        connection: 1,
        ward: "main".into(),
        dialect: None,
        zone: None,
        ..Source::default()
    };
    let mut decoder = Decoder::new("Europe/Rome", Tables::embedded()).expect("an IANA name");
    let mut report = Report::default();
    let mut scratch = Scratch::default();
    let at = Timestamp::from_ms(1_772_442_030_000);
    let say = |what: &str, (best, median): (f64, f64)| {
        println!("{what:<28} best {best:>7.0} ns, median {median:>7.0} ns ({:.0} a second)", 1e9 / median);
    };
    println!("{} bytes, 12 OBX", frames[0].len());
    say(
        "read",
        measure(15, &frames, |frame| {
            black_box(Message::read(frame, &mut scratch).is_ok());
        }),
    );
    say(
        "SHA-256 of the same bytes",
        measure(15, &frames, |frame| {
            black_box(Sha256::digest(frame));
        }),
    );
    let together = measure(15, &frames, |frame| {
        let message = Message::read(frame, &mut scratch).expect("a message");
        decoder.decode(&message, &source, at, &mut report);
        black_box(report.observations.len());
    });
    assert_eq!(report.observations.len(), 12);
    say("read and decode", together);
}
