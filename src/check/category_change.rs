use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::AgeBand;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the monitor's patient category (adult, paediatric, neonatal) changes for the same patient, or contradicts
    /// the birth date.
    /// ## Why it matters
    /// The category sets the monitor's own limits, its cuff pressure and its algorithms. A silent change can make it blind in fact.
    /// ## How it decides
    /// The category sent is another one than before in the same epoch, and no ADT of the bed or the patient came within ten
    /// minutes. Without a named patient a gap of 60 s makes it a new patient: information. A category that contradicts PID-7
    /// (adult under 12 years, neonatal from one year on, …) is information for as long as it holds; limits of every age count then.
    /// ## Known false alerts
    /// Staff who correct the category; a birth date that was typed wrongly.
    /// ## References
    /// Design choice; configuration tampering in the taxonomy of attacks on HL7 feeds.
    "P13" "category_change" class=Provenance evidence=true weights=(20, 0, 40) rest=Identity
    {
        /// A pause after which an unnamed patient may be another one, s. Lower: a change hides in a short pause. Design choice.
        gap_s: f64 = 60.0;
        /// A change is told for so long before a contradiction is, s. Lower: the change is lowered before it is read. Design choice.
        told_s: f64 = 300.0;
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    class: Option<AgeBand>,
    changed_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State { class: None, changed_at: Timestamp::MIN }
    }
}

fn word(class: AgeBand) -> Arg {
    Arg::Text(
        match class {
            AgeBand::Adult => "A",
            AgeBand::Neonate => "N",
            _ => "P",
        }
        .to_owned(),
    )
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let bond = view.bond;
        let Some(class) = bond.class.filter(|_| view.report.is_some()) else { return };
        let before = state.class.replace(class);
        let verdict = |before: AgeBand| Verdict {
            args: [view.bed_arg(), ("a", word(before)), ("c", word(class))].into_iter().collect(),
            ..Verdict::new(id::category_change, ParamSet::EMPTY, view.now)
        };
        let information = |before: AgeBand| Verdict { priority: Some(Priority::Info), log10_e: 0.0, ..verdict(before) };
        let before = before.filter(|before| *before != class);
        if before.is_some() {
            state.changed_at = view.now;
        }
        match before {
            Some(before) => out.push(match () {
                () if bond.explained => Verdict { text: "explained", ..information(before) },
                () if bond.patient == 0 && bond.gap_s >= self.gap_s => Verdict { text: "after_gap", ..information(before) },
                () => verdict(before),
            }),
            None if bond.contradiction && view.now.since_s(state.changed_at) <= self.told_s => {}
            None if bond.contradiction => out.push(Verdict { text: "contradiction", ..information(class) }),
            None => out.pass(id::category_change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    fn class(s: &mut Story<Check>, class: Option<AgeBand>) -> String {
        s.bond.class = class;
        s.found = None;
        let flag = s.tell("72");
        flag + s.found.as_ref().map_or("", |f| f.text)
    }

    #[test]
    fn a_change_is_told_once_and_a_category_that_is_not_sent_is_none() {
        let mut s = Story::<Check>::of(&[Hr]);
        s.bond.gap_s = 1.0;
        assert_eq!(class(&mut s, Some(AgeBand::Adult)), "P");
        assert_eq!(class(&mut s, None), ".");
        assert_eq!(class(&mut s, Some(AgeBand::Neonate)), "Fdefault");
        assert_eq!(s.found.clone().unwrap().priority, None);
        assert_eq!(class(&mut s, Some(AgeBand::Neonate)), "P");
    }

    #[test]
    fn adt_or_a_pause_of_an_unnamed_patient_explains_it() {
        let mut s = Story::<Check>::of(&[Hr]);
        class(&mut s, Some(AgeBand::Adult));
        s.bond.gap_s = 59.9;
        assert_eq!(class(&mut s, Some(AgeBand::Child)), "Fdefault");
        s.bond.gap_s = 60.0;
        assert_eq!(class(&mut s, Some(AgeBand::Adult)), "Fafter_gap");
        s.bond.patient = 7;
        assert_eq!(class(&mut s, Some(AgeBand::Child)), "Fdefault", "a named patient stays who it is");
        s.bond.explained = true;
        assert_eq!(class(&mut s, Some(AgeBand::Adult)), "Fexplained");
        assert_eq!(s.found.clone().unwrap().priority, Some(Priority::Info));
    }

    #[test]
    fn a_contradiction_with_the_birth_date_is_information() {
        let mut s = Story::<Check>::of(&[Hr]);
        (s.bond.contradiction, s.bond.gap_s) = (true, 1.0);
        assert_eq!(class(&mut s, Some(AgeBand::Adult)), "Fcontradiction");
        assert_eq!(s.found.clone().unwrap().priority, Some(Priority::Info));
        s.bond.contradiction = false;
        assert_eq!(class(&mut s, Some(AgeBand::Adult)), "P");
        assert_eq!(class(&mut s, Some(AgeBand::Neonate)), "Fdefault");
        s.bond.contradiction = true;
        s.now = s.now.plus_s(299.0);
        assert_eq!(class(&mut s, Some(AgeBand::Neonate)), ".", "the change is told first");
        assert_eq!(class(&mut s, Some(AgeBand::Neonate)), "Fcontradiction");
    }
}
