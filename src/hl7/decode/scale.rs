//! Numbers that are sent as scaled integers: how many times too large they are is learned from the alarm limits beside them.
//!
//! A row that says so in its table names the alarm limits that a person could have set for its parameter. The one power of ten
//! that brings the limits sent into those bounds is the scale of the number too, provided that the number then is one the
//! parameter can have. Whatever is left unclear is refused ([`RejectReason::ScaleUnknown`](crate::observation::RejectReason)),
//! never guessed. What was learned holds for the connection; two scales on one connection are none.

use super::super::dialect::Scaled;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Powers of ten that a scaled integer may be too large by.
const EXPONENTS: [u8; 4] = [0, 1, 2, 3];

/// The scales of one connection, by parameter: at most one each; `None` where they contradict each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scales(BTreeMap<Parameter, Option<u8>>);

/// What a row's limits say of its scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// There are none, or both are 0.
    Nothing,
    Exponent(u8),
    /// None or several powers of ten fit.
    Unclear,
}

fn said(scaled: &Scaled, (low, high): (f64, f64)) -> Said {
    let sent = |limit: f64| !limit.is_nan();
    if (!sent(low) || low == 0.0) && (!sent(high) || high == 0.0) {
        return Said::Nothing;
    }
    let fits = |exponent: &u8| {
        let at = |limit: f64, bounds: (f64, f64)| !sent(limit) || (bounds.0..=bounds.1).contains(&times(limit, *exponent));
        at(low, scaled.low) && at(high, scaled.high)
    };
    let mut fitting = EXPONENTS.iter().filter(|exponent| fits(exponent));
    match (fitting.next(), fitting.next()) {
        (Some(exponent), None) => Said::Exponent(*exponent),
        _ => Said::Unclear,
    }
}

/// The number without its scale.
pub fn times(number: f64, exponent: u8) -> f64 {
    number / [1.0, 10.0, 100.0, 1000.0][usize::from(exponent.min(3))]
}

impl Scales {
    /// The exponent of a row's number, learned from its limits or known from before; `None`: unclear.
    pub fn exponent(&mut self, parameter: Parameter, scaled: &Scaled, limits: (f64, f64)) -> Option<u8> {
        match said(scaled, limits) {
            Said::Exponent(exponent) => {
                let known = self.0.entry(parameter).or_insert(Some(exponent));
                if *known != Some(exponent) {
                    *known = None;
                }
                *known
            }
            Said::Unclear => None,
            Said::Nothing => match self.0.get(&parameter) {
                Some(known) => *known,
                None => scaled.like.and_then(|like| self.0.get(&like).copied().flatten()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMP: Scaled = Scaled { low: (25.0, 38.0), high: (30.0, 45.0), values: (20.0, 45.0), like: None };
    const NONE: (f64, f64) = (f64::NAN, f64::NAN);

    #[test]
    fn limits_tell_the_scale_and_it_is_kept() {
        let mut scales = Scales::default();
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, NONE), None, "nothing was said yet");
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (3600.0, 3900.0)), Some(2));
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, NONE), Some(2));
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (0.0, 0.0)), Some(2), "limits that are not set");
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (f64::NAN, 3850.0)), Some(2), "one side is enough");
        assert_eq!(times(3712.0, 2), 37.12);
    }

    #[test]
    fn what_is_unclear_is_refused() {
        let mut scales = Scales::default();
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (16_000.0, 0.0)), None, "limits that nobody can have set");
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (360.0, 390.0)), Some(1));
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, (3600.0, 3900.0)), None, "two scales on one connection");
        assert_eq!(scales.exponent(Parameter::Temp, &TEMP, NONE), None, "and so it stays");
    }

    #[test]
    fn a_rate_takes_the_scale_of_its_sibling() {
        let rate = Scaled { low: (0.0, 120.0), high: (80.0, 300.0), values: (0.0, 350.0), like: Some(Parameter::Pr) };
        let mut scales = Scales::default();
        assert_eq!(scales.exponent(Parameter::Hr, &rate, NONE), None);
        assert_eq!(scales.exponent(Parameter::Pr, &Scaled { like: None, ..rate }, (50.0, 120.0)), Some(0));
        assert_eq!(scales.exponent(Parameter::Hr, &rate, NONE), Some(0));
    }
}
