use super::{Arg, Assessment, Judge, Verdict, Verdicts, View, id};
use crate::observation::{MessageFlags, ObsFlags, Observation, Validity};
use crate::stats::hold::Hold;
use crate::stats::places::find;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares what a row says of its value (OBX-8, OBX-11) with the value itself, and notices a bed whose monitor is in
    /// demonstration, test or calibration.
    /// ## Why it matters
    /// Numbers of a demonstration look like those of a patient. A mark that does not fit its number was put there by someone else
    /// than the sensor.
    /// ## How it decides
    /// A bed is in use when the feed names its patient, or its monitor sent values within the last hour. On such a bed: a message of its
    /// own monitor that is marked demonstration or test as a whole (the values are taken out, and never judged), or one row that is
    /// marked test; calibration of a value for more than 5 min. On any bed: a number marked invalid that changes three times
    /// while others of the message are valid; a number that stands for "no measurement" (0) with a good status, three times
    /// in a row, from a device that used to mark its drop-outs (three of them) and never sent such a number before.
    /// ## Known false alerts
    /// A habit of the sender (a table of its dialect says so), service of the monitor while the patient is connected.
    /// ## References
    /// HL7 v2 chapter 7 (OBX-8, OBX-11); IHE device profile (INV, TEST, DEMO, CAL). A sender with X beside good numbers in all rows
    /// exists: its table knows.
    "C06" "status_conflict" class=Provenance evidence=true weights=(60, 0, 20) rest=Unverified
    {
        /// Changes of an invalid number, count. Lower: one late value after a mark alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
        /// Marked drop-outs that make a habit, count. Lower: a device that does both alerts. Higher: later. Design choice.
        habit: f64 = 3.0;
        /// Length of a calibration, s. Lower: zeroing of a line alerts. Higher: a value hidden by the mark is told late. Design choice.
        calibration_s: f64 = 300.0;
        /// Without a patient's id a bed is in use for so long after its last value, s. Higher: a demonstration at a free bed alerts. Design choice.
        in_use_s: f64 = 3600.0;
    }
}

/// What the newest row of a parameter was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
enum Was {
    #[default]
    Nothing,
    Value,
    Marked,
}

/// Marks and numbers of one parameter.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Row {
    parameter: Parameter,
    was: Was,
    /// The last number under an invalid mark, how often it changed, and since when.
    invalid: Option<f64>,
    moves: u32,
    since: Timestamp,
    /// Drop-outs that came with a mark, and those that came as a number with a good status.
    marked: u8,
    bare: u8,
    zero: Hold,
    calibrating: Option<Timestamp>,
}

impl Row {
    fn new(parameter: Parameter) -> Row {
        Row {
            parameter,
            was: Was::Nothing,
            invalid: None,
            moves: 0,
            since: Timestamp::MIN,
            marked: 0,
            bare: 0,
            zero: Hold::default(),
            calibrating: None,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    rows: Vec<Row>,
}

impl State {
    fn row(&mut self, parameter: Parameter, next: &mut usize) -> &mut Row {
        let at = find(&self.rows, next, |r| r.parameter == parameter).unwrap_or_else(|| {
            self.rows.push(Row::new(parameter));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }
}

impl Check {
    fn in_use(&self, view: &View<'_>) -> bool {
        let bed = view.bed;
        bed.patient != 0 || (bed.is_measured() && view.now.since_s(bed.heard_at) <= self.in_use_s)
    }

    /// Follows one row; the sentence and the number of its window, where it is in conflict.
    fn follow(&self, row: &mut Row, o: &Observation, others_valid: bool, view: &View<'_>) -> Option<(&'static str, Timestamp)> {
        let numbered = o.validity == Validity::Invalid && o.value.is_finite();
        let explained = o.flags.has(ObsFlags::HELD | ObsFlags::WITHDRAWN);
        let zero = o.validity.usable() && view.profile.is_sentinel(o.parameter, o.value);
        // A value that is no measurement, and says nothing of it.
        if zero {
            row.zero.see(true, view.now);
        } else if row.zero.readings() > 0 {
            row.zero.see(false, view.now);
            row.bare = row.bare.saturating_add(1);
        }
        let marked = !o.validity.usable() && o.validity != Validity::Sentinel;
        if marked && row.was == Was::Value {
            row.marked = row.marked.saturating_add(1);
        }
        if marked {
            row.was = Was::Marked;
        } else if !zero && o.validity.usable() {
            row.was = Was::Value;
        }
        // A number that lives under its mark.
        if numbered && !explained && others_valid {
            match row.invalid {
                Some(last) if last != o.value => row.moves = row.moves.saturating_add(1),
                Some(_) => {}
                None => (row.moves, row.since) = (0, view.now),
            }
            row.invalid = Some(o.value);
        } else {
            row.invalid = None;
        }
        if o.flags.has(ObsFlags::CALIBRATION) {
            row.calibrating.get_or_insert(view.now);
        } else {
            row.calibrating = None;
        }
        if row.invalid.is_some() && f64::from(row.moves) >= self.hold_readings {
            return Some(("invalid", row.since));
        }
        if row.bare == 0 && f64::from(row.marked) >= self.habit && row.zero.reached(self.hold_readings, 0.0) {
            return Some(("bare", row.zero.since()));
        }
        let long = |since: &Timestamp| view.now.since_s(*since) > self.calibration_s;
        row.calibrating.filter(long).filter(|_| self.in_use(view)).map(|since| ("calibration", since))
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.rows, |row| row.since.0 as u64 ^ u64::from(row.moves))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        let n = |params: ParamSet, text: &'static str, onset: Timestamp| Verdict {
            text,
            window_s: view.now.since_s(onset),
            ..Verdict::new(id::status_conflict, params, onset)
        };
        if report.flags.has(MessageFlags::TEST) {
            if self.in_use(view) {
                let params = report.observations.iter().map(|o| o.parameter).collect();
                out.push(Verdict {
                    args: [("n", Arg::Number(report.observations.len() as f64, 0)), view.bed_arg()].into_iter().collect(),
                    ..n(params, "test", view.now)
                });
            }
            return;
        }
        if report.observations.is_empty() || !view.clock.is_live() {
            return;
        }
        let others_valid = report.observations.iter().any(|o| o.validity.usable());
        let (mut found, mut next) = (false, 0);
        for o in report.observations.iter().filter(|o| !o.flags.has(ObsFlags::CHARTED)) {
            if o.validity == Validity::Test {
                if !self.in_use(view) {
                    continue;
                }
                found = true;
                out.push(Verdict {
                    assessment: Some(Assessment::Unverified),
                    set_id: Some(o.set_id),
                    effective_at: Some(o.effective_at),
                    args: [("p", Arg::Parameter(o.parameter)), view.bed_arg()].into_iter().collect(),
                    ..n(ParamSet::of(o.parameter), "sensor", view.now)
                });
                continue;
            }
            let Some((text, onset)) = self.follow(state.row(o.parameter, &mut next), o, others_valid, view) else { continue };
            found = true;
            out.push(Verdict {
                assessment: Some(Assessment::Unverified),
                value: Some(o.value),
                unit: o.parameter.unit().ucum(),
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [
                    ("p", Arg::Parameter(o.parameter)),
                    ("v", Arg::reading(o.parameter, o.value)),
                    ("n", Arg::Number((view.now.since_s(onset) / 60.0).floor(), 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..n(ParamSet::of(o.parameter), text, onset)
            });
        }
        if !found {
            out.pass(id::status_conflict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};

    /// A message with a valid heart rate and this saturation.
    fn send(s: &mut Story<Check>, value: f64, validity: Validity, flags: u32) -> char {
        s.now = s.now.plus_s(1.0);
        let mut o = observation(Parameter::Spo2, value, s.now);
        (o.validity, o.flags) = (validity, ObsFlags(flags));
        let report = s.report(vec![observation(Parameter::Hr, 72.0, s.now), o]);
        s.send(&report)
    }

    fn values(s: &mut Story<Check>, values: &[f64], validity: Validity) -> String {
        values.iter().map(|v| send(s, *v, validity, 0)).collect()
    }

    #[test]
    fn an_invalid_number_that_changes_three_times_is_found_and_one_that_is_held_is_not() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(values(&mut s, &[97.0, 97.0], Validity::Valid), "PP");
        assert_eq!(values(&mut s, &[96.0, 95.0, 95.0, 94.0], Validity::Invalid), "PPPP", "two changes");
        assert_eq!(values(&mut s, &[93.0], Validity::Invalid), "F");
        assert_eq!(s.found.clone().unwrap().text, "invalid");
        assert_eq!(values(&mut s, &[97.0], Validity::Valid), "P");
        assert_eq!(values(&mut s, &[96.0; 60], Validity::Invalid), "P".repeat(60));
    }

    #[test]
    fn a_sender_that_marks_all_rows_and_a_sensor_that_is_reported_off_are_none() {
        let mut s = Story::<Check>::of(&[]);
        for v in 90..99 {
            s.now = s.now.plus_s(1.0);
            let o = Observation { validity: Validity::Invalid, ..observation(Parameter::Spo2, f64::from(v), s.now) };
            let report = s.report(vec![o]);
            assert_eq!(s.send(&report), 'P');
        }
        for v in 90..99 {
            assert_eq!(send(&mut s, f64::from(v), Validity::Invalid, ObsFlags::HELD), 'P');
        }
    }

    #[test]
    fn a_zero_with_a_good_status_is_found_where_drop_outs_were_marked() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..3 {
            values(&mut s, &[97.0], Validity::Valid);
            values(&mut s, &[f64::NAN; 4], Validity::Absent);
        }
        values(&mut s, &[97.0], Validity::Valid);
        assert_eq!(values(&mut s, &[0.0, 0.0, 0.0], Validity::Valid), "PPF");
        assert_eq!(s.found.clone().unwrap().text, "bare");
        assert_eq!(values(&mut s, &[97.0, 0.0, 0.0, 0.0, 0.0], Validity::Valid), "PPPPP", "a device that does both has the habit");
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..2 {
            values(&mut s, &[97.0], Validity::Valid);
            values(&mut s, &[f64::NAN; 4], Validity::Absent);
        }
        values(&mut s, &[97.0], Validity::Valid);
        assert_eq!(values(&mut s, &[0.0; 9], Validity::Valid), "P".repeat(9), "two are no habit");
    }

    #[test]
    fn a_test_of_one_sensor_is_found_at_once_on_a_bed_in_use_only() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(send(&mut s, 97.0, Validity::Test, 0), 'P', "nothing was measured here");
        assert_eq!(send(&mut s, 97.0, Validity::Test, 0), 'F');
        s.now = s.now.plus_s(3601.0);
        assert_eq!(send(&mut s, 97.0, Validity::Test, 0), 'P', "an hour later");
        s.bed.patient = 7;
        s.now = s.now.plus_s(3601.0);
        assert_eq!(send(&mut s, 97.0, Validity::Test, 0), 'F');
        assert_eq!(s.found.unwrap().text, "sensor");
    }

    #[test]
    fn a_demonstration_on_a_bed_with_a_patient_is_found_at_once() {
        let mut s = Story::<Check>::of(&[]);
        let test = |s: &mut Story<Check>| {
            s.now = s.now.plus_s(1.0);
            let o = Observation { validity: Validity::Test, ..observation(Parameter::Hr, 60.0, s.now) };
            let mut report = s.report(vec![o]);
            report.flags.set(MessageFlags::TEST);
            s.send(&report)
        };
        assert_eq!(test(&mut s), '.');
        s.bed.patient = 7;
        assert_eq!(test(&mut s), 'F');
        let verdict = s.found.clone().unwrap();
        assert_eq!((verdict.text, verdict.assessment, verdict.params.len()), ("test", None, 1));
        assert_eq!(send(&mut s, 97.0, Validity::Valid, 0), 'P', "the first good message ends it");
    }

    #[test]
    fn a_calibration_may_take_five_minutes() {
        let mut s = Story::<Check>::of(&[]);
        let flags: String = (0..301).map(|_| send(&mut s, 97.0, Validity::ValidFlagged, ObsFlags::CALIBRATION)).collect();
        assert_eq!(flags, "P".repeat(301));
        assert_eq!(send(&mut s, 97.0, Validity::ValidFlagged, ObsFlags::CALIBRATION), 'F');
        assert_eq!(s.found.clone().unwrap().text, "calibration");
        assert_eq!(send(&mut s, 97.0, Validity::Valid, 0), 'P');
    }
}
