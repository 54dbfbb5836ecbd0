//! Beds with 12 parameters, made by a seeded generator: what the benchmarks of the core and of explanations are fed.

use std::fmt::Write as _;
use vitalguard::time::Timestamp;

/// The feed begins then.
pub const BEGIN: Timestamp = Timestamp::from_ms(1_795_371_600_000);

const CODES: [(&str, &str, f64, u64); 12] = [
    ("147842^MDC_ECG_HEART_RATE^MDC", "264864^MDC_DIM_BEAT_PER_MIN^MDC", 70.0, 7),
    ("149530^MDC_PULS_OXIM_PULS_RATE^MDC", "264864^MDC_DIM_BEAT_PER_MIN^MDC", 70.0, 7),
    ("150456^MDC_PULS_OXIM_SAT_O2^MDC", "262688^MDC_DIM_PERCENT^MDC", 95.0, 4),
    ("151562^MDC_RESP_RATE^MDC", "264928^MDC_DIM_RESP_PER_MIN^MDC", 14.0, 5),
    ("151594^MDC_CO2_RESP_RATE^MDC", "264928^MDC_DIM_RESP_PER_MIN^MDC", 14.0, 5),
    ("151708^MDC_CONC_AWAY_CO2_ET^MDC", "266016^MDC_DIM_MMHG^MDC", 35.0, 5),
    ("150037^MDC_PRESS_BLD_ART_ABP_SYS^MDC", "266016^MDC_DIM_MMHG^MDC", 118.0, 8),
    ("150038^MDC_PRESS_BLD_ART_ABP_DIA^MDC", "266016^MDC_DIM_MMHG^MDC", 68.0, 6),
    ("150039^MDC_PRESS_BLD_ART_ABP_MEAN^MDC", "266016^MDC_DIM_MMHG^MDC", 85.0, 5),
    ("150087^MDC_PRESS_BLD_VEN_CENT_MEAN^MDC", "266016^MDC_DIM_MMHG^MDC", 7.0, 4),
    ("153611^MDC_PRESS_INTRA_CRAN_MEAN^MDC", "266016^MDC_DIM_MMHG^MDC", 10.0, 4),
    ("150344^MDC_TEMP^MDC", "268192^MDC_DIM_DEGC^MDC", 36.0, 2),
];

pub struct Noise(pub u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// One message of a bed, 12 OBX.
pub fn frame(bed: usize, number: u64, at: Timestamp, noise: &mut Noise) -> Vec<u8> {
    let t = at.hl7();
    let mut text = format!(
        "MSH|^~\\&|GW^0012210000000001^EUI-64|HOSP|||{t}||ORU^R01^ORU_R01|{number}|P|2.6|||NE|AL|||||PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||P{bed}^^^HOSP^MR\rPV1||I|ICU^^B{bed}\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||{t}\r"
    );
    for (n, (code, unit, base, span)) in CODES.iter().enumerate() {
        let value = base + noise.below(*span) as f64;
        let _ = write!(text, "OBX|{}|NM|{code}|1.1.1.{}|{value}|{unit}|||||F|||{t}\r", n + 1, n + 1);
    }
    text.into_bytes()
}
