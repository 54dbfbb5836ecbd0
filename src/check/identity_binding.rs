use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::MessageKind;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the values of a bed are another patient's all at once, or a patient's values another bed's, and nobody
    /// announced it.
    /// ## Why it matters
    /// A mistyped or forged identity puts values under the wrong name; two senders that take turns under two names hide each other.
    /// ## How it decides
    /// The patient that values name (PID-3 with all its aliases) is another than before, ADT does not have the new one in this
    /// bed, and the gap to the last message was below 60 s: at once. The patient before comes back within ten minutes: two
    /// patients on one bed, hard. Two beds name each other's patient: exchanged, high. A patient whose bed fell silent is heard
    /// in another bed that ADT does not have it in: moved. On a ward without ADT within seven days a gap of 60 s makes it
    /// a new epoch: information. Within ten minutes of an ADT of the bed or the patient: information, and it says so. What was
    /// learned never passes from one patient to another.
    /// ## Known false alerts
    /// An identity typed by hand or corrected at the monitor; a patient carried along without ADT.
    /// ## References
    /// Design choice (10 min, 60 s); patient swap in the taxonomy of attacks on HL7 feeds.
    "P09" "identity_binding" class=Provenance evidence=true weights=(0, 0, 40) rest=Identity
    {
        /// A pause in which a patient may be changed unannounced, s. Lower: a swap hides in a short pause. Higher: bed changes without ADT are told. Design choice.
        gap_s: f64 = 60.0;
        /// The one before is back within, s. Lower: slow alternation is told as single changes. Design choice.
        back_s: f64 = 600.0;
    }
}

/// Patients remembered of one bed; the one named longest ago makes room.
const PATIENTS_MAX: usize = 4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Who was named before, and when last.
    before: Vec<(u64, Timestamp)>,
    /// When the last message came that named the present patient.
    named_at: Timestamp,
}

impl State {
    fn note(&mut self, patient: u64, at: Timestamp) {
        self.before.retain(|(p, _)| *p != patient);
        if self.before.len() >= PATIENTS_MAX {
            self.before.remove(0);
        }
        self.before.push((patient, at));
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let bond = view.bond;
        let Some(report) = view.report else { return };
        if report.kind != MessageKind::Vitals || bond.patient == 0 {
            return;
        }
        let changed = bond.lay != 0 && bond.lay != bond.patient;
        let mut back = false;
        if changed {
            back = state.before.iter().any(|(p, at)| *p == bond.patient && view.now.since_s(*at) <= self.back_s);
            let named_at = state.named_at;
            state.note(bond.lay, named_at);
        }
        state.named_at = view.now;
        if !(changed || bond.moved) || bond.confirmed {
            out.pass(id::identity_binding);
            return;
        }
        let verdict = Verdict {
            value: Some(bond.gap_s).filter(|g| g.is_finite()),
            limit: Some(self.gap_s),
            unit: "s",
            args: [
                view.bed_arg(),
                ("a", Arg::Text(view.bed.bed.clone())),
                ("b", Arg::Text(bond.other.clone())),
                ("s", Arg::Number(bond.gap_s.min(1e6), 0)),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::identity_binding, ParamSet::EMPTY, view.now)
        };
        let information = Verdict { priority: Some(Priority::Info), log10_e: 0.0, ..verdict.clone() };
        out.push(match () {
            () if bond.explained => Verdict { text: "explained", ..information },
            () if changed && bond.swapped => {
                Verdict { hard: true, log10_e: 4.0, priority: Some(Priority::High), text: "swapped", ..verdict }
            }
            () if changed && back => Verdict { hard: true, log10_e: 4.0, text: "alternates", ..verdict },
            () if !bond.adt && (!changed || bond.gap_s >= self.gap_s) => Verdict { text: "after_gap", ..information },
            () if changed => Verdict { text: "changed", ..verdict },
            () => Verdict { text: "moved", ..verdict },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    /// A message a second, each naming this patient; what was found.
    fn named(s: &mut Story<Check>, patients: &[u64]) -> String {
        let mut told = String::new();
        for patient in patients {
            s.bond.lay = s.bond.patient;
            s.bond.patient = *patient;
            s.found = None;
            told += &s.tell("72");
            if let Some(found) = &s.found {
                told += found.text;
                told += match found.priority {
                    Some(priority) => priority.as_str(),
                    None => "",
                };
            }
            told += " ";
        }
        told
    }

    #[test]
    fn a_change_is_told_once_and_a_return_is_two_patients_on_one_bed() {
        let mut s = Story::<Check>::of(&[Hr]);
        s.bond.gap_s = 1.0;
        assert_eq!(named(&mut s, &[1, 1, 2, 2, 1]), "P P Fchanged P Falternates ");
        s.now = s.now.plus_s(601.0);
        assert_eq!(named(&mut s, &[2]), "Fchanged ", "ten minutes later it is one more change");
    }

    #[test]
    fn without_adt_a_pause_of_a_minute_is_a_new_patient_and_with_adt_it_is_none() {
        let mut s = Story::<Check>::of(&[Hr]);
        for (adt, gap_s, told) in [
            (false, 59.9, "Fchanged "),
            (false, 60.0, "Fafter_gapinfo "),
            (true, 60.0, "Fchanged "),
        ] {
            s.state = State::default();
            (s.bond.adt, s.bond.gap_s, s.bond.patient) = (adt, gap_s, 1);
            assert_eq!(named(&mut s, &[2]), told, "{adt} {gap_s}");
        }
    }

    #[test]
    fn what_adt_announced_is_none_or_information() {
        let mut s = Story::<Check>::of(&[Hr]);
        (s.bond.gap_s, s.bond.adt, s.bond.patient, s.bond.confirmed) = (1.0, true, 1, true);
        assert_eq!(named(&mut s, &[2]), "P ");
        (s.bond.confirmed, s.bond.explained) = (false, true);
        assert_eq!(named(&mut s, &[3]), "Fexplainedinfo ");
    }

    #[test]
    fn beds_that_name_each_others_patient_are_high_and_a_silent_move_is_medium_with_adt() {
        let mut s = Story::<Check>::of(&[Hr]);
        (s.bond.gap_s, s.bond.patient, s.bond.swapped) = (1.0, 1, true);
        assert_eq!(named(&mut s, &[2]), "Fswappedhigh ");
        (s.bond.swapped, s.bond.moved, s.bond.adt) = (false, true, true);
        assert_eq!(named(&mut s, &[2]), "Fmoved ");
        s.bond.adt = false;
        assert_eq!(named(&mut s, &[2]), "Fafter_gapinfo ");
    }
}
