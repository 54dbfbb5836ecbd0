use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::Observation;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Sensor, Unit};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether a value jumps to what the values before would be in another unit, while the unit's text stays.
    /// ## Why it matters
    /// 16 read as mmHg is a patient in shock; as kPa it is 120.
    /// ## How it decides
    /// m is the median of the last five minutes, and the last value lies near it. The new value divided by m is, within 3 % or
    /// what these five minutes spread (2.5 MADs, at most 12 %), 0.1333 or 7.501 (kPa, mmHg), 0.01 or 100 (fraction, per cent), or 0.7356 or 1.3595 (cmH2O, mmHg; venous, airway and
    /// intracranial pressures only, by at least 5 mmHg); or a temperature is within 1 of the other scale. Two readings in a row.
    /// It holds until the values are nearer to the old scale.
    /// ## Known false alerts
    /// °F typed as °C; a changed configuration. A venous pressure that really rises by a third in one reading.
    /// ## References
    /// UCUM; charted temperatures of -17.8 (0 °F), 0 and 1.9 in 8 of 5 814 values.
    "C02" "unit_switch" class=Coherence evidence=true weights=(30, 0, 30) rest=Unit
    {
        /// Readings in a row, count. Lower: one artefact may hit a ratio. Higher: slower. Design choice.
        hold_readings: f64 = 2.0;
        /// How long a change by the cmH2O ratio must hold, s. Lower: a cough of a venous pressure alerts. Design choice.
        hold_cmh2o_s: f64 = 60.0;
        /// Median of so long, s. Lower: an artefact is the reference. Higher: the patient has changed meanwhile. Design choice.
        window_s: f64 = 300.0;
    }
}

/// Ratios of a wrong scale and the sentence that names it.
const KPA: [f64; 2] = [0.133_322, 7.500_62];
const CMH2O: [f64; 2] = [0.735_559, 1.359_51];
const FRACTION: [f64; 2] = [0.01, 100.0];
/// How near to the ratio: at least, at most, and in spreads of the values before.
const TOLERANCE: (f64, f64) = (0.03, 0.12);
const TOLERANCE_SPREADS: f64 = 2.5 * 1.4826;
const TEMPERATURE_TOLERANCE_CEL: f64 = 1.0;
const CMH2O_MIN_MMHG: f64 = 5.0;
/// The last value lies this near to the median, or the change was no switch.
const NEAR: f64 = 0.15;

/// A value on another scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switched {
    /// Which sentence.
    pub text: &'static str,
    /// The median that the value was compared with, and how near to a ratio was near enough.
    pub median: f64,
    pub tolerance: f64,
    /// What the value is in the canonical unit if it was sent in the other one.
    pub meant: f64,
}

fn scales(parameter: Parameter) -> &'static [(&'static str, [f64; 2])] {
    match (parameter.unit(), parameter.sensor()) {
        (Unit::MmHg, Sensor::VenousLine | Sensor::Intracranial) => &[("kpa", KPA), ("cmh2o", CMH2O)],
        (Unit::CmH2O, _) => &[("kpa", KPA), ("cmh2o", CMH2O)],
        (Unit::MmHg, _) => &[("kpa", KPA)],
        (Unit::Percent, _) => &[("fraction", FRACTION)],
        _ => &[],
    }
}

fn compare(parameter: Parameter, median: f64, tolerance: f64, value: f64) -> Option<Switched> {
    if parameter.unit() == Unit::Cel {
        let fahrenheit = 1.8 * median + 32.0;
        let celsius = (median - 32.0) / 1.8;
        if (value - fahrenheit).abs() <= TEMPERATURE_TOLERANCE_CEL {
            return Some(Switched { text: "fahrenheit", median, tolerance, meant: (value - 32.0) / 1.8 });
        }
        if (value - celsius).abs() <= TEMPERATURE_TOLERANCE_CEL {
            return Some(Switched { text: "celsius", median, tolerance, meant: 1.8 * value + 32.0 });
        }
        return None;
    }
    if median <= 0.0 || value <= 0.0 {
        return None;
    }
    for (text, ratios) in scales(parameter) {
        for ratio in ratios {
            let enough = *text != "cmh2o" || (value - median).abs() >= CMH2O_MIN_MMHG;
            // A third more or less is within what a patient does: there the ratio must be exact.
            let near = if *text == "cmh2o" { TOLERANCE.0 } else { tolerance };
            if enough && (value / median / ratio - 1.0).abs() <= near {
                return Some(Switched { text, median, tolerance, meant: value / ratio });
            }
        }
    }
    None
}

fn middle(values: &mut [f64]) -> f64 {
    *values.select_nth_unstable_by(values.len() / 2, f64::total_cmp).1
}

/// Whether a value may be `last` on another scale, however the values before spread: the median lies near to `last`, and the ratio
/// to the median is met within the widest tolerance. Saves both medians for a value that only jumps: a seventh of what the checks cost.
fn may_be(parameter: Parameter, last: f64, value: f64) -> bool {
    /// (1 − 0.12) / 1.15 and (1 + 0.12) / 0.85, and a little.
    const WIDE: (f64, f64) = (0.75, 1.4);
    parameter.unit() == Unit::Cel
        || scales(parameter).iter().any(|(text, ratios)| {
            // The median is at most 0.15 / 0.85 of `last` away from it.
            let enough = *text != "cmh2o" || (value - last).abs() + 0.2 * last.abs() >= CMH2O_MIN_MMHG;
            enough
                && ratios.iter().any(|ratio| {
                    let off = value / last / ratio;
                    WIDE.0 <= off && off <= WIDE.1
                })
        })
}

/// Whether a new value looks like the old ones in another unit. The quick no costs two comparisons.
pub fn other_unit(view: &View<'_>, o: &Observation) -> Option<Switched> {
    let stream = view.bed.channel(o.parameter, o.channel)?;
    let last = stream.last?.value;
    if (o.value - last).abs() <= 0.2 * last.abs() || stream.unit_hash != o.unit_hash || !may_be(o.parameter, last, o.value) {
        return None;
    }
    // The accepted values of the last minutes, newest included: three at least.
    let mut values = [0.0f64; crate::bed::Recent::KEPT];
    let mut count = 0;
    for (value, _) in stream.recent.since(stream.last?.effective_at.plus_s(-Check::default().window_s)) {
        values[count] = value;
        count += 1;
    }
    let values = &mut values[..count];
    if count < 3 {
        return None;
    }
    let median = middle(values);
    if (last - median).abs() > NEAR * median.abs() {
        return None;
    }
    // What is not near enough within the widest tolerance need not be measured by the spread.
    compare(o.parameter, median, TOLERANCE.1, o.value)?;
    for value in &mut *values {
        *value = (*value - median).abs();
    }
    let apart = middle(values);
    let tolerance = (TOLERANCE_SPREADS * apart / median.abs().max(f64::MIN_POSITIVE)).clamp(TOLERANCE.0, TOLERANCE.1);
    compare(o.parameter, median, tolerance, o.value)
}

/// A switch that is being watched or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    parameter: Parameter,
    median: f64,
    tolerance: f64,
    first: f64,
    run: u32,
    since: Timestamp,
    firing: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pending: Vec<Pending>,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for parameter in view.fresh_set().iter() {
            let Some(o) = view.fresh(parameter) else { continue };
            if scales(parameter).is_empty() && parameter.unit() != Unit::Cel {
                continue;
            }
            let position = state.pending.iter().position(|p| p.parameter == parameter);
            let Some(position) = position else {
                match other_unit(view, o) {
                    None => looked = true,
                    Some(hit) => {
                        state.pending.push(Pending {
                            parameter,
                            median: hit.median,
                            tolerance: hit.tolerance,
                            first: o.value,
                            run: 1,
                            since: view.now,
                            firing: false,
                        });
                    }
                }
                continue;
            };
            let mut p = state.pending[position];
            // Until it fires the ratio must hit each time, the patient having gone on; then it holds while the values are nearer to the new scale.
            let hit = if p.firing {
                (o.value - p.first).abs() < (o.value - p.median).abs()
            } else {
                compare(parameter, p.median, 2.0 * p.tolerance, o.value).is_some()
            };
            if !hit {
                state.pending.swap_remove(position);
                looked = true;
                continue;
            }
            p.run = p.run.saturating_add(1);
            let hit = compare(parameter, p.median, p.tolerance, p.first);
            let cmh2o = hit.is_some_and(|h| h.text == "cmh2o");
            let long = !cmh2o || view.now.since_s(p.since) >= self.hold_cmh2o_s;
            p.firing |= f64::from(p.run) >= self.hold_readings && long;
            state.pending[position] = p;
            let (true, Some(hit)) = (p.firing, hit) else { continue };
            let meant = if parameter.unit() == Unit::Cel {
                if hit.text == "fahrenheit" { (o.value - 32.0) / 1.8 } else { 1.8 * o.value + 32.0 }
            } else {
                o.value * hit.meant / p.first
            };
            out.push(Verdict {
                value: Some(o.value),
                limit: Some(p.median),
                unit: parameter.unit().ucum(),
                window_s: self.window_s,
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                text: hit.text,
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("v", Arg::reading(parameter, o.value)),
                    ("w", Arg::reading(parameter, meant)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::unit_switch, ParamSet::of(parameter), p.since)
            });
        }
        if looked && state.pending.is_empty() {
            out.pass(id::unit_switch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn mmhg_sent_as_kpa_is_found_at_the_second_reading() {
        assert_eq!(story::<Check>(&[Parameter::AbpSys], "120x20 16 16.1 16.4x30 121"), "P.FFP");
    }

    #[test]
    fn celsius_sent_as_fahrenheit_is_named_with_both_numbers() {
        let mut s = Story::<Check>::of(&[Parameter::Temp]);
        assert_eq!(s.tell("36.8x20 98.2 98.3"), "P.F");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.text, verdict.value, verdict.limit), ("fahrenheit", Some(98.3), Some(f64::from(36.8f32))));
        assert!(matches!(verdict.args[2], ("w", Arg::Number(w, 1)) if (w - 36.83).abs() < 0.01));
    }

    #[test]
    fn a_saturation_as_a_fraction_is_found_and_a_fall_is_not() {
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98x20 0.98 0.97"), "P.F");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98x20 90 80 70 63"), "PPPPP");
    }

    #[test]
    fn a_pressure_that_really_rises_by_a_third_is_none() {
        assert_eq!(story::<Check>(&[Parameter::AbpSys], "100x20 136 136 137"), "PPPP");
        assert_eq!(story::<Check>(&[Parameter::Cvp], "8x20 11 11 11x90"), "PPPP", "three mmHg are too few to tell");
        assert_eq!(story::<Check>(&[Parameter::Cvp], "16x20 21.8x59 21.8x3"), "P.F");
    }
}
