//! Units as senders write them: code, text or both, read into a [`Dimension`] and from there into a parameter's canonical unit.
//!
//! One contract: [`read`] says what a unit *is*, [`Dimension::into_canonical`] whether a parameter may have it and by what line.
//! What is unknown stays unknown; nothing is guessed from the value (but a fraction of inspired oxygen, which is told apart
//! from a percentage by being at most 1).
//!
//! Sources: MDC_DIM terms of ISO/IEEE 11073-10101 (partition 4: number = 262144 + term; the same terms in hexadecimal after
//! `0004-` are Philips' MDIL), UCUM, and the texts that monitors are known to write.

use crate::vital::{Parameter, Unit};

/// What a unit measures, with its scale: everything that one of our parameters can be written in, and the rest as
/// [`Dimension::Foreign`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    PerMin,
    Percent,
    /// A ratio (`1`, MDC_DIM_DIMLESS).
    One,
    MmHg,
    KiloPascal,
    HectoPascal,
    CmH2O,
    Celsius,
    Fahrenheit,
    Kelvin,
    MilliSecond,
    Second,
    MilliMetre,
    CentiMetre,
    Metre,
    Inch,
    MilliVolt,
    MicroVolt,
    LitrePerMin,
    MilliLitrePerMin,
    LitrePerMinM2,
    KiloGram,
    Gram,
    Pound,
    Litre,
    MilliLitre,
    DynSPerCm5,
    SquareMetre,
    /// Known, and never a unit of one of our parameters (`mg/dL`, `Hz`).
    Foreign,
}

/// The MDC_DIM terms: term, reference id without `MDC_DIM_`, meaning.
const TERMS: &[(u16, &str, Dimension)] = &[
    (512, "DIMLESS", Dimension::One),
    (544, "PERCENT", Dimension::Percent),
    (1280, "M", Dimension::Metre),
    (1297, "CENTI_M", Dimension::CentiMetre),
    (1298, "MILLI_M", Dimension::MilliMetre),
    (1376, "INCH", Dimension::Inch),
    (1472, "SQ_X_M", Dimension::SquareMetre),
    (1600, "L", Dimension::Litre),
    (1618, "MILLI_L", Dimension::MilliLitre),
    (1728, "G", Dimension::Gram),
    (1731, "KILO_G", Dimension::KiloGram),
    (1760, "LB", Dimension::Pound),
    (2112, "G_PER_DL", Dimension::Foreign),
    (2130, "MILLI_G_PER_DL", Dimension::Foreign),
    (2176, "SEC", Dimension::Second),
    (2194, "MILLI_SEC", Dimension::MilliSecond),
    (2496, "HZ", Dimension::Foreign),
    (2528, "PER_MIN", Dimension::PerMin),
    (2720, "BEAT_PER_MIN", Dimension::PerMin),
    (2752, "PULS_PER_MIN", Dimension::PerMin),
    (2784, "RESP_PER_MIN", Dimension::PerMin),
    (2848, "L_PER_MIN_PER_M_SQ", Dimension::LitrePerMinM2),
    (3072, "L_PER_MIN", Dimension::LitrePerMin),
    (3090, "MILLI_L_PER_MIN", Dimension::MilliLitrePerMin),
    (3842, "HECTO_PASCAL", Dimension::HectoPascal),
    (3843, "KILO_PASCAL", Dimension::KiloPascal),
    (3872, "MMHG", Dimension::MmHg),
    (3904, "CM_H2O", Dimension::CmH2O),
    // Its reference id is written so in the standard; dyn·s/cm⁵ is meant.
    (4128, "DYNE_PER_SEC_PER_CM5", Dimension::DynSPerCm5),
    (4274, "MILLI_VOLT", Dimension::MilliVolt),
    (4275, "MICRO_VOLT", Dimension::MicroVolt),
    (4384, "KELVIN", Dimension::Kelvin),
    (4416, "FAHR", Dimension::Fahrenheit),
    (4722, "MILLI_MOLE_PER_L", Dimension::Foreign),
    (6048, "DEGC", Dimension::Celsius),
];

/// UCUM codes and other texts, compared without regard to case and blanks.
const TEXTS: &[(&str, Dimension)] = &[
    ("/min", Dimension::PerMin),
    ("1/min", Dimension::PerMin),
    ("min-1", Dimension::PerMin),
    ("bpm", Dimension::PerMin),
    ("rpm", Dimension::PerMin),
    ("brpm", Dimension::PerMin),
    ("ppm", Dimension::PerMin),
    ("{beat}/min", Dimension::PerMin),
    ("{beats}/min", Dimension::PerMin),
    ("{breath}/min", Dimension::PerMin),
    ("{breaths}/min", Dimension::PerMin),
    ("{resp}/min", Dimension::PerMin),
    ("{pulse}/min", Dimension::PerMin),
    ("beat/min", Dimension::PerMin),
    ("beats/min", Dimension::PerMin),
    ("breaths/min", Dimension::PerMin),
    ("puls/min", Dimension::PerMin),
    ("resp/min", Dimension::PerMin),
    ("%", Dimension::Percent),
    ("percent", Dimension::Percent),
    ("1", Dimension::One),
    ("{ratio}", Dimension::One),
    ("mmhg", Dimension::MmHg),
    ("mm[hg]", Dimension::MmHg),
    ("torr", Dimension::MmHg),
    ("kpa", Dimension::KiloPascal),
    ("hpa", Dimension::HectoPascal),
    ("mbar", Dimension::HectoPascal),
    ("cmh2o", Dimension::CmH2O),
    ("cm[h2o]", Dimension::CmH2O),
    ("cel", Dimension::Celsius),
    ("c", Dimension::Celsius),
    ("°c", Dimension::Celsius),
    ("º c", Dimension::Celsius),
    ("ºc", Dimension::Celsius),
    ("degc", Dimension::Celsius),
    ("[degf]", Dimension::Fahrenheit),
    ("degf", Dimension::Fahrenheit),
    ("°f", Dimension::Fahrenheit),
    ("ºf", Dimension::Fahrenheit),
    ("f", Dimension::Fahrenheit),
    ("k", Dimension::Kelvin),
    ("ms", Dimension::MilliSecond),
    ("msec", Dimension::MilliSecond),
    ("s", Dimension::Second),
    ("mm", Dimension::MilliMetre),
    ("cm", Dimension::CentiMetre),
    ("m", Dimension::Metre),
    ("in", Dimension::Inch),
    ("[in_i]", Dimension::Inch),
    ("mv", Dimension::MilliVolt),
    ("uv", Dimension::MicroVolt),
    ("µv", Dimension::MicroVolt),
    ("l/min", Dimension::LitrePerMin),
    ("lpm", Dimension::LitrePerMin),
    ("ml/min", Dimension::MilliLitrePerMin),
    ("l/(min.m2)", Dimension::LitrePerMinM2),
    ("l/min/m2", Dimension::LitrePerMinM2),
    ("kg", Dimension::KiloGram),
    ("g", Dimension::Gram),
    ("lb", Dimension::Pound),
    ("[lb_av]", Dimension::Pound),
    ("hz", Dimension::Foreign),
    ("ml", Dimension::MilliLitre),
    ("l", Dimension::Litre),
    ("dyn.s/cm5", Dimension::DynSPerCm5),
    ("dyn*s/cm5", Dimension::DynSPerCm5),
    ("dyn.s.cm-5", Dimension::DynSPerCm5),
    ("dyn·s/cm⁵", Dimension::DynSPerCm5),
    ("ds/cm5", Dimension::DynSPerCm5),
    ("m2", Dimension::SquareMetre),
    ("m^2", Dimension::SquareMetre),
    ("m²", Dimension::SquareMetre),
    ("g/dl", Dimension::Foreign),
    ("g/l", Dimension::Foreign),
    ("mg/dl", Dimension::Foreign),
    ("mmol/l", Dimension::Foreign),
    ("ug/l", Dimension::Foreign),
    ("v", Dimension::Foreign),
    ("w", Dimension::Foreign),
];

/// How a number as sent becomes one in the canonical unit: `value * factor + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub factor: f64,
    pub offset: f64,
}

impl Line {
    /// The number as it is.
    pub const SAME: Line = Line { factor: 1.0, offset: 0.0 };

    const fn times(factor: f64) -> Line {
        Line { factor, offset: 0.0 }
    }
    /// The number in the canonical unit.
    pub fn apply(self, value: f64) -> f64 {
        if self.factor == 1.0 && self.offset == 0.0 { value } else { value * self.factor + self.offset }
    }
}

impl Dimension {
    /// The way from this unit to `parameter`'s canonical one; `None` where the parameter cannot be written in it.
    ///
    /// 1 kPa = 7.50062 `mm[Hg]`, 1 `cm[H2O]` = 0.735559 `mm[Hg]` (arithmetic of the UCUM definitions; airway pressures stay in
    /// `cm[H2O]`); ST deviation is converted by the usual gain of 10 mm/mV.
    pub fn into_canonical(self, parameter: Parameter) -> Option<Line> {
        use Dimension as D;
        let line = match (parameter.unit(), self) {
            (Unit::PerMin, D::PerMin)
            | (Unit::Percent, D::Percent)
            | (Unit::MmHg, D::MmHg)
            | (Unit::CmH2O, D::CmH2O)
            | (Unit::Cel, D::Celsius)
            | (Unit::Kelvin, D::Kelvin | D::Celsius)
            | (Unit::Ms, D::MilliSecond)
            | (Unit::Mm, D::MilliMetre)
            | (Unit::MilliVolt, D::MilliVolt)
            | (Unit::LitrePerMin, D::LitrePerMin)
            | (Unit::LitrePerMinM2, D::LitrePerMinM2)
            | (Unit::Cm, D::CentiMetre)
            | (Unit::Kg, D::KiloGram)
            | (Unit::One, D::One)
            | (Unit::MilliLitre, D::MilliLitre)
            | (Unit::DynSPerCm5, D::DynSPerCm5)
            | (Unit::M2, D::SquareMetre) => Line::SAME,
            (Unit::MmHg, D::KiloPascal) => Line::times(7.50062),
            (Unit::MmHg, D::HectoPascal) => Line::times(0.750062),
            (Unit::MmHg, D::CmH2O) => Line::times(0.735559),
            (Unit::CmH2O, D::MmHg) => Line::times(1.0 / 0.735559),
            (Unit::CmH2O, D::HectoPascal) => Line::times(1.019716),
            (Unit::CmH2O, D::KiloPascal) => Line::times(10.19716),
            (Unit::Cel, D::Fahrenheit) => Line { factor: 5.0 / 9.0, offset: -160.0 / 9.0 },
            (Unit::Cel, D::Kelvin) => Line { factor: 1.0, offset: -273.15 },
            (Unit::Kelvin, D::Fahrenheit) => Line::times(5.0 / 9.0),
            (Unit::Ms, D::Second) => Line::times(1000.0),
            (Unit::Mm, D::MilliVolt) => Line::times(10.0),
            (Unit::Mm, D::MicroVolt) => Line::times(0.01),
            (Unit::MilliVolt, D::MicroVolt) => Line::times(0.001),
            (Unit::LitrePerMin, D::MilliLitrePerMin) => Line::times(0.001),
            (Unit::MilliLitre, D::Litre) => Line::times(1000.0),
            (Unit::Cm, D::Metre) => Line::times(100.0),
            (Unit::Cm, D::MilliMetre) => Line::times(0.1),
            (Unit::Cm, D::Inch) => Line::times(2.54),
            (Unit::Kg, D::Gram) => Line::times(0.001),
            (Unit::Kg, D::Pound) => Line::times(0.453_592_37),
            // Counts of a minute are also written without dimension.
            (Unit::PerMin, D::One) if parameter == Parameter::Pvc => Line::SAME,
            // The relative perfusion number (150448) is written without dimension on the same scale as the percentage.
            (Unit::Percent, D::One) if parameter == Parameter::PerfIndex => Line::SAME,
            // A fraction or a percentage: told apart by the value (see `fraction`).
            (Unit::Percent, D::One) if parameter == Parameter::Fio2 => Line::SAME,
            _ => return None,
        };
        Some(line)
    }
}

/// Inspired oxygen without a percent sign: at most 1 is a fraction.
pub fn fraction(parameter: Parameter, read: Read, value: f64) -> f64 {
    let bare = matches!(read, Read::Missing | Read::Known(Dimension::One));
    if parameter == Parameter::Fio2 && bare && value <= 1.0 { value * 100.0 } else { value }
}

/// What an OBX-6 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Nothing was sent.
    Missing,
    Known(Dimension),
    /// The text is known, the code beside it is not a code for it that we know: the text counts, and the conflict is counted.
    KnownByText(Dimension),
    /// Code and text are both known and mean different things (code, text).
    Conflict(Dimension, Dimension),
    /// Something was sent that no table knows.
    Unknown,
}

/// Reads code and text of a unit (first two components of OBX-6, trimmed).
pub fn read(code: &str, text: &str) -> Read {
    match (one(code), one(text)) {
        (Some(a), Some(b)) if a == b => Read::Known(a),
        (Some(a), Some(b)) => Read::Conflict(a, b),
        (Some(a), None) => Read::Known(a),
        (None, Some(b)) if looks_like_code(code) => Read::KnownByText(b),
        (None, Some(b)) => Read::Known(b),
        (None, None) if code.is_empty() && text.is_empty() => Read::Missing,
        (None, None) => Read::Unknown,
    }
}

/// One code or text by itself.
pub fn one(unit: &str) -> Option<Dimension> {
    if unit.is_empty() || unit.len() > 64 {
        return None;
    }
    if let Some(term) = term(unit) {
        return by_term(term);
    }
    if let Some(name) = strip_prefix_fold(unit, "MDC_DIM_") {
        let name = strip_prefix_fold(name, "X_").unwrap_or(name);
        return TERMS.iter().find(|(_, id, _)| id.eq_ignore_ascii_case(name)).map(|row| row.2);
    }
    TEXTS.iter().find(|(text, _)| same_text(text, unit)).map(|row| row.1)
}

fn by_term(term: u16) -> Option<Dimension> {
    TERMS.iter().find(|row| row.0 == term).map(|row| row.2)
}

/// The term of a number of partition 4, written as MDC (`266016`) or as MDIL (`0004-0f20`).
fn term(unit: &str) -> Option<u16> {
    if unit.len() >= 6 && unit.bytes().all(|b| b.is_ascii_digit()) {
        let number: u32 = unit.parse().ok()?;
        return (number >> 16 == 4).then_some((number & 0xffff) as u16);
    }
    let (partition, term) = unit.split_once('-')?;
    let hex = term.len() == 4 && term.bytes().all(|b| b.is_ascii_hexdigit());
    (partition == "0004" && hex).then(|| u16::from_str_radix(term, 16).ok()).flatten()
}

fn looks_like_code(unit: &str) -> bool {
    term(unit).is_some() || (!unit.is_empty() && unit.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

fn strip_prefix_fold<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Equal without regard to case and blanks.
fn same_text(a: &str, b: &str) -> bool {
    let mut left = a.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase());
    let mut right = b.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (a, b) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(parameter: Parameter, unit: &str, value: f64) -> f64 {
        let dimension = one(unit).unwrap_or_else(|| panic!("{unit} is not known"));
        dimension.into_canonical(parameter).unwrap_or_else(|| panic!("{} in {unit}", parameter.key())).apply(value)
    }

    #[test]
    fn the_terms_are_in_order_and_once() {
        assert!(TERMS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_code_of_partition_4_is_read_in_both_writings() {
        for (mdc, mdil, dimension) in [
            ("264864", "0004-0aa0", Dimension::PerMin),
            ("264928", "0004-0ae0", Dimension::PerMin),
            ("264672", "0004-09e0", Dimension::PerMin),
            ("266016", "0004-0f20", Dimension::MmHg),
            ("268192", "0004-17a0", Dimension::Celsius),
            ("262688", "0004-0220", Dimension::Percent),
        ] {
            assert_eq!(one(mdc), Some(dimension), "{mdc}");
            assert_eq!(one(mdil), Some(dimension), "{mdil}");
        }
        assert_eq!(one("147842"), None, "a metric is not a unit");
        assert_eq!(one("999999999999"), None);
    }

    #[test]
    fn every_writing_of_a_unit_is_read() {
        for (text, dimension) in [
            ("BPM", Dimension::PerMin),
            ("{beats}/min", Dimension::PerMin),
            ("/min", Dimension::PerMin),
            ("MDC_DIM_BEAT_PER_MIN", Dimension::PerMin),
            ("MDC_DIM_X_L_PER_MIN", Dimension::LitrePerMin),
            ("mm[Hg]", Dimension::MmHg),
            ("mmhg", Dimension::MmHg),
            ("°C", Dimension::Celsius),
            ("Cel", Dimension::Celsius),
            ("[degF]", Dimension::Fahrenheit),
            ("cm[H2O]", Dimension::CmH2O),
        ] {
            assert_eq!(one(text), Some(dimension), "{text}");
        }
        assert_eq!(read("", "BPM"), Read::Known(Dimension::PerMin));
        assert_eq!(read("", ""), Read::Missing);
        assert_eq!(read("furlong", ""), Read::Unknown);
        assert_eq!(read("mm[Hg]", "mmHg"), Read::Known(Dimension::MmHg));
    }

    #[test]
    fn code_and_text_that_disagree_are_a_conflict() {
        assert_eq!(read("266418", "MDC_DIM_PERCENT"), Read::Conflict(Dimension::MilliVolt, Dimension::Percent));
        assert_eq!(read("0004-1710", "C"), Read::KnownByText(Dimension::Celsius));
    }

    #[test]
    fn pressures_of_blood_become_mmhg_and_of_the_airway_stay() {
        assert!((canonical(Parameter::AbpSys, "kPa", 16.0) - 120.009_92).abs() < 1e-9);
        assert!((canonical(Parameter::Cvp, "cmH2O", 10.0) - 7.355_59).abs() < 1e-9);
        assert_eq!(canonical(Parameter::Peep, "cmH2O", 5.0), 5.0);
    }

    #[test]
    fn volumes_resistances_and_areas_are_read() {
        assert_eq!(canonical(Parameter::Tv, "263762", 430.0), 430.0);
        assert_eq!(canonical(Parameter::Tv, "L", 0.43), 430.0);
        assert_eq!(canonical(Parameter::Svr, "MDC_DIM_X_DYNE_PER_SEC_PER_CM5", 1100.0), 1100.0);
        assert_eq!(canonical(Parameter::Svr, "0004-1020", 1100.0), 1100.0);
        assert_eq!(canonical(Parameter::Bsa, "263616", 1.85), 1.85);
        assert_eq!(one("mL").unwrap().into_canonical(Parameter::Spo2), None);
    }

    #[test]
    fn fahrenheit_becomes_celsius() {
        assert!((canonical(Parameter::Temp, "degF", 98.6) - 37.0).abs() < 1e-9);
        assert!((canonical(Parameter::TempDelta, "degF", 1.8) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_fraction_of_oxygen_becomes_a_percentage() {
        assert_eq!(fraction(Parameter::Fio2, Read::Missing, 0.4), 40.0);
        assert_eq!(fraction(Parameter::Fio2, Read::Missing, 40.0), 40.0);
        assert_eq!(fraction(Parameter::Fio2, Read::Known(Dimension::Percent), 0.4), 0.4);
        assert_eq!(fraction(Parameter::Spo2, Read::Missing, 0.4), 0.4);
    }

    #[test]
    fn a_parameter_refuses_what_it_cannot_be_written_in() {
        assert_eq!(Dimension::Percent.into_canonical(Parameter::Hr), None);
        assert_eq!(Dimension::Foreign.into_canonical(Parameter::Spo2), None);
        assert_eq!(Dimension::One.into_canonical(Parameter::Spo2), None);
    }
}
