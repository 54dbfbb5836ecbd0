use super::{Arg, Judge, Verdict, Verdicts, View, beyond, id};
use crate::profile::Formula;
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the corrected QT interval follows from QT and heart rate by a formula that this device uses.
    /// ## Why it matters
    /// QTc decides about drugs. It is computed; if it does not follow from the numbers beside it, one of the three is wrong.
    /// ## How it decides
    /// Bazett (QT/√RR), Fridericia (QT/∛RR), Framingham (QT + 154 ms·(1 − RR)) and Hodges (QT + 1.75 ms·(HR − 60)), with RR = 60/HR
    /// in seconds, are tried at every rate of the last two minutes. Only a QTc or QT that differs from the one before is looked
    /// at. None of them within 10 ms + 2 % on three such numbers in a row is a verdict. After ten numbers only those formulas
    /// count that explained nine of ten: then another formula is a contradiction, too. Where the device's profile names its
    /// formula, only that one counts.
    /// ## Known false alerts
    /// A device that averages the rate for longer, or measures QT at another rate than the one it shows; a formula of its own.
    /// ## References
    /// Bazett 1920; Fridericia 1920; Sagie et al. 1992 (Framingham); Hodges et al. 1983. The limits are design choices.
    "A22" "qtc" class=Coherence evidence=true weights=(40, 0, 20) rest=Unverified
    {
        /// Deviation allowed, ms. Lower: rounding and averaging alert. Higher: a small forgery hides. Design choice.
        difference_ms: f64 = 10.0;
        /// And a share of QTc, 1. Lower: averaging alerts at high rates. Higher: a small forgery hides. Design choice.
        share: f64 = 0.02;
        /// What the device may have averaged over, s. Lower: a changing rate alerts. Higher: a restless heart hides more. Design choice.
        window_s: f64 = 120.0;
        /// Numbers in a row, count. Lower: one computation during a change alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
        /// Numbers after which the device's formula is known, count. Lower: a rate near 60 (where all agree) decides. Higher: another formula is accepted longer. Design choice.
        learn_readings: f64 = 10.0;
        /// Share of them that a formula explains, 1. Lower: formulas stay that do not fit. Higher: one slip forgets the device's own. Design choice.
        learn_share: f64 = 0.9;
    }
}

/// QTc by each formula, ms.
fn corrected(qt_ms: f64, hr: f64) -> [f64; 4] {
    Formula::ALL.map(|formula| formula.corrected(qt_ms, hr))
}

/// Readings that any formula explained, and those that each did; halved when there are many.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
    seen: u16,
    fits: [u16; 4],
}

const SEEN_MAX: u16 = 200;

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (Some(qtc), Some(qt)) = (view.fresh(Parameter::Qtc), view.fresh(Parameter::Qt)) else { return };
        if !(view.anew(qtc) || view.anew(qt)) {
            return;
        }
        let Some(hr) = view.range(Parameter::Hr, self.window_s).filter(|hr| hr.0 > 0.0) else { return };
        let (slow, fast) = (corrected(qt.value, hr.0), corrected(qt.value, hr.1));
        let limit = self.difference_ms + self.share * qtc.value.abs();
        // Every formula grows with the rate.
        let apart: [f64; 4] = std::array::from_fn(|f| beyond(qtc.value, (slow[f].min(fast[f]), slow[f].max(fast[f]))));
        let fits = apart.map(|a| a <= limit);
        let learned = f64::from(state.seen) >= self.learn_readings;
        // What the device's profile says stands before what this bed has shown.
        let known = view.profile.qtc.filter(|_| view.settled());
        let is_used = |f: usize| match known {
            Some(formula) => formula == Formula::ALL[f],
            None => !learned || f64::from(state.fits[f]) >= self.learn_share * f64::from(state.seen),
        };
        let used: [bool; 4] = std::array::from_fn(is_used);
        let explained = (0..4).any(|f| fits[f] && used[f]);
        state.hold.see(!explained, view.now);
        if explained {
            if state.seen >= SEEN_MAX {
                state.seen /= 2;
                state.fits.iter_mut().for_each(|n| *n = n.div_ceil(2));
            }
            state.seen += 1;
            for (count, fit) in state.fits.iter_mut().zip(fits) {
                *count = (*count + u16::from(fit)).min(state.seen);
            }
            out.pass(id::qtc);
        } else if state.hold.reached(self.hold_readings, 0.0) {
            let nearest = (0..4).filter(|f| used[*f]).map(|f| apart[f]).fold(f64::INFINITY, f64::min);
            let shown = view.shown(Parameter::Hr).unwrap_or(hr.1);
            out.push(Verdict {
                value: Some(nearest),
                limit: Some(limit),
                unit: "ms",
                window_s: view.now.since_s(state.hold.since()),
                set_id: Some(qtc.set_id),
                effective_at: Some(qtc.effective_at),
                args: [
                    ("v", Arg::Number(qtc.value, 0)),
                    ("qt", Arg::Number(qt.value, 0)),
                    ("hr", Arg::Number(shown, 0)),
                    ("d", Arg::Number(nearest, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(
                    id::qtc,
                    ParamSet::from_slice(&[Parameter::Qtc, Parameter::Qt, Parameter::Hr]),
                    state.hold.since(),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const THREE: [Parameter; 3] = [Parameter::Qtc, Parameter::Qt, Parameter::Hr];

    fn tell(text: &str) -> String {
        Story::<Check>::of(&THREE).every(60.0).tell(text)
    }

    #[test]
    fn each_formula_explains_its_number() {
        // 400 ms at 90 /min: Bazett 490, Fridericia 458, Framingham 451, Hodges 452 (453 with the rounding).
        assert_eq!(corrected(400.0, 90.0).map(f64::round), [490.0, 458.0, 451.0, 453.0]);
        assert_eq!(corrected(400.0, 60.0), [400.0; 4]);
        for qtc in [490, 458, 451, 453] {
            assert_eq!(tell(&format!("{qtc}/400/90")), "P");
        }
    }

    #[test]
    fn beyond_10_ms_and_2_per_cent_of_all_of_them_is_found_at_the_third_number() {
        // Above Bazett's 489.9: 20.2 of 20.2 at 510, 21.1 of 20.2 at 511.
        assert_eq!(tell("510/400/90 509/400/90 510/400/90"), "PPP");
        assert_eq!(tell("511/400/90 512/400/90 513/400/90"), "..F");
        assert_eq!(tell("434/400/90 433/400/90 434/400/90"), "PPP", "below Framingham's 451.3");
        assert_eq!(tell("432/400/90 431/400/90 432/400/90"), "..F");
    }

    #[test]
    fn a_number_that_is_only_sent_again_is_not_looked_at_while_the_rate_moves() {
        assert_eq!(tell("490/400/90 490/400/70x9 490/400/120x9"), "P..");
    }

    #[test]
    fn after_ten_numbers_another_formula_is_a_contradiction() {
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        s.tell("490/400/90 491/401/90 490/400/90 491/401/90 490/400/90 491/401/90 490/400/90 491/401/90 490/400/90");
        assert_eq!(s.tell("458/400/90 490/400/90"), "PP", "nine are too few");
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        for _ in 0..5 {
            s.tell("490/400/90 491/401/90");
        }
        assert_eq!(s.tell("458/400/90 459/401/90 458/400/90"), "..F");
        assert_eq!(s.tell("490/400/90"), "P");
    }

    #[test]
    fn the_formula_of_the_profile_counts_from_the_first_number() {
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        s.profile.qtc = Some(Formula::Fridericia);
        assert_eq!(s.tell("458/400/90 490/400/90 491/401/90 490/400/90"), "P..F");
    }

    #[test]
    fn near_60_nothing_is_learned_against_a_formula_by_one_slip() {
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        for _ in 0..10 {
            s.tell("400/400/60 401/401/60");
        }
        assert_eq!(s.tell("490/400/90 458/400/90 453/400/90"), "PPP");
        assert_eq!(s.tell("-/400/90 490/-/90 491/401/-"), "..P", "the rate of a minute ago stands");
    }
}
