use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::bed::Misplaced;
use crate::vital::ParamSet;

declare_check! {
    /// ## What it does
    /// Holds where values come from against where ADT says that patients lie: one patient live in two beds, values of a
    /// patient whom ADT has in another bed or has not admitted, values after the discharge.
    /// ## Why it matters
    /// Values under the wrong name are treated as the right patient's.
    /// ## How it decides
    /// One patient (all ids that PID-3 and merges join) heard in two beds for 60 s, each within the last minute: hard, on both
    /// beds, with ADT or without. On a ward from which ADT was heard within seven days, after 15 min: the patient named by the
    /// values lies in another bed by ADT, or came while ADT was heard and was never admitted. Values 15 min after the discharge
    /// with nobody else admitted: information. Within 10 min of an ADT of the bed or the patient everything is information, and
    /// says so.
    /// ## Known false alerts
    /// A discharge that is typed before the patient leaves; ADT of some units only; a patient moved before it is typed.
    /// ## References
    /// Design choice; two patients on one bed are a known failure of systems that are keyed by bed.
    "P08" "adt_mismatch" class=Provenance evidence=true weights=(0, 0, 40) rest=Identity
    {
        /// One patient in two beds for, s. Lower: a bed that hands over is told. Design choice.
        two_beds_s: f64 = 60.0;
        /// Values after discharge or without admission for, s. Lower: paper is slower than people. Design choice.
        late_s: f64 = 900.0;
    }
}

impl Judge for Check {
    type State = ();

    fn judge(&self, _state: &mut (), view: &View<'_>, out: &mut Verdicts) {
        let bond = view.bond;
        if view.report.is_none() {
            return;
        }
        let other = || Arg::Text(bond.other.clone());
        let number = |s: f64| Arg::Number((s / 60.0).floor(), 0);
        let verdict = |text: &'static str, s: f64, limit_s: f64| Verdict {
            text,
            value: Some(s),
            limit: Some(limit_s),
            unit: "s",
            window_s: s,
            args: [view.bed_arg(), ("a", Arg::Text(view.bed.bed.clone())), ("b", other()), ("n", number(s))].into_iter().collect(),
            ..Verdict::new(id::adt_mismatch, ParamSet::EMPTY, view.now.plus_s(-s))
        };
        if bond.two_beds {
            let verdict = verdict("two_beds", self.two_beds_s, self.two_beds_s);
            out.push(match bond.explained {
                true => Verdict { priority: Some(Priority::Info), log10_e: 0.0, text: "explained", ..verdict },
                false => Verdict { hard: true, log10_e: 4.0, ..verdict },
            });
            return;
        }
        let (text, s) = match bond.misplaced {
            Misplaced::Elsewhere(s) => ("elsewhere", s),
            Misplaced::Unadmitted(s) => ("unadmitted", s),
            Misplaced::Discharged(s) => ("discharged", s),
            Misplaced::No => {
                out.pass(id::adt_mismatch);
                return;
            }
        };
        if s <= self.late_s {
            out.pass(id::adt_mismatch);
            return;
        }
        let verdict = verdict(text, s, self.late_s);
        out.push(match text {
            "discharged" => Verdict { priority: Some(Priority::Info), log10_e: 0.0, ..verdict },
            _ if bond.explained => Verdict { priority: Some(Priority::Info), log10_e: 0.0, text: "explained", ..verdict },
            _ => verdict,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    #[test]
    fn one_patient_in_two_beds_is_hard_and_with_a_matching_adt_information() {
        let mut s = Story::<Check>::of(&[Hr]);
        assert_eq!(s.tell("72"), "P");
        s.bond.two_beds = true;
        s.bond.other = "A07".into();
        assert_eq!(s.tell("72"), "F");
        let found = s.found.clone().unwrap();
        assert_eq!((found.hard, found.priority, found.text), (true, None, "two_beds"));
        s.bond.explained = true;
        assert_eq!(s.tell("72"), "F");
        let found = s.found.clone().unwrap();
        assert_eq!((found.hard, found.priority, found.text), (false, Some(Priority::Info), "explained"));
    }

    #[test]
    fn fifteen_minutes_are_no_finding_and_a_second_more_is_one() {
        let mut s = Story::<Check>::of(&[Hr]);
        for (misplaced, text, priority) in [
            (Misplaced::Elsewhere as fn(f64) -> Misplaced, "elsewhere", None),
            (Misplaced::Unadmitted, "unadmitted", None),
            (Misplaced::Discharged, "discharged", Some(Priority::Info)),
        ] {
            s.bond.misplaced = misplaced(900.0);
            assert_eq!(s.tell("72"), "P");
            s.bond.misplaced = misplaced(901.0);
            assert_eq!(s.tell("72"), "F");
            let found = s.found.clone().unwrap();
            assert_eq!((found.text, found.priority, found.value), (text, priority, Some(901.0)));
        }
    }
}
