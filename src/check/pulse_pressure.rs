use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::{ObsFlags, Observation};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether an arterial line shows a pulse that a heart makes.
    /// ## Why it matters
    /// A flushed, clamped, damped or opened line shows numbers that are not the patient's pressure.
    /// ## How it decides
    /// On two readings in a row: the pulse pressure S − D is below 10 mmHg (S below 100), 15 (100 to 150), 30 (150 to 200) or 50
    /// (from 200); or S or D is 10 or less; or the mean is negative; or it is 140 or more while the line's S and D are lost. A
    /// mean of 140 with a good pulse is a hypertension and nothing else. A bed that has never shown a good pulse may have a pump
    /// in place of one: there a small pulse stays a quiet mark. Without a unit nothing is said.
    /// ## Known false alerts
    /// Flushing, sampling, clamping. Left ventricular assist device and ECMO, where a small pulse is true, when they begin under
    /// monitoring. Severe tamponade or shock.
    /// ## References
    /// PMC7015776, table 1; Lehman et al. 2013. Charted lines, two in a row: small pulse 7 events in 10 517 readings (300
    /// records) and 1 in 3 482 (68); this check: 8 and 3 episodes, and 1 in 24.1 bed-days of means (55 records). A mean of 140 came with a good pulse in 36 of the 42 charted triples that had one.
    "A05" "pulse_pressure" class=Coherence evidence=true weights=(85, 15, 0) rest=Unverified
    {
        /// Readings in a row, count. Lower: 54 in 10 517 charted readings alert instead of 7. Higher: slower.
        hold_readings: f64 = 2.0;
        /// Smallest pulse pressure with S below 100, mmHg. Higher: weak pulses alert. PMC7015776.
        below_100_mmhg: f64 = 10.0;
        /// Smallest pulse pressure with S from 100, mmHg. Higher: weak pulses alert. PMC7015776.
        from_100_mmhg: f64 = 15.0;
        /// Smallest pulse pressure with S from 150, mmHg. Higher: stiff and vasoconstricted arteries alert. PMC7015776.
        from_150_mmhg: f64 = 30.0;
        /// Smallest pulse pressure with S from 200, mmHg. Higher: as above. PMC7015776.
        from_200_mmhg: f64 = 50.0;
        /// S or D at or below is a line open to air, mmHg. Higher: shock alerts. PMC7015776.
        open_mmhg: f64 = 10.0;
        /// A mean from here on without S and D is a flush, mmHg. Lower: lost pulses of a hypertensive patient alert.
        flush_mmhg: f64 = 140.0;
        /// Good pulses before a small one is told as a fault of the line, count. Lower: a pump in place of the pulse is told.
        known_readings: f64 = 10.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
    /// Good pulses of this epoch.
    good: u32,
}

const LINE: [Parameter; 3] = [Parameter::AbpSys, Parameter::AbpMean, Parameter::AbpDia];

impl Check {
    fn smallest(&self, systolic: f64) -> f64 {
        match systolic {
            s if s < 100.0 => self.below_100_mmhg,
            s if s < 150.0 => self.from_100_mmhg,
            s if s < 200.0 => self.from_150_mmhg,
            _ => self.from_200_mmhg,
        }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let [s, m, d] = LINE.map(|p| view.fresh(p).filter(|o| !o.flags.has(ObsFlags::UNIT_UNKNOWN)));
        let mean = m.map(|m| m.value);
        // What is looked at: value, limit, sentence. `None` is a good line.
        let found = match (s, d) {
            (Some(s), Some(d)) => {
                let (pulse, smallest) = (s.value - d.value, self.smallest(s.value));
                if s.value <= self.open_mmhg || d.value <= self.open_mmhg {
                    Some((s.value.min(d.value), self.open_mmhg, "open"))
                } else if mean.is_some_and(|m| m < 0.0) {
                    Some((mean.unwrap_or(0.0), 0.0, "open"))
                } else if pulse < smallest {
                    Some((pulse, smallest, "small"))
                } else {
                    None
                }
            }
            (None, None) => match mean {
                Some(m) if m < 0.0 => Some((m, 0.0, "mean")),
                Some(m) if m >= self.flush_mmhg && view.bed.stream(Parameter::AbpSys).is_some() => {
                    Some((m, self.flush_mmhg, "mean"))
                }
                // A mean alone says nothing of the pulse.
                Some(_) => {
                    state.hold.end();
                    return;
                }
                None => return,
            },
            _ => return,
        };
        state.good = state.good.saturating_add(u32::from(found.is_none()));
        let lasts = view.lasts(&mut state.hold, &LINE, found.is_some(), (self.hold_readings, 0.0), id::pulse_pressure, out);
        let Some((value, limit, text)) = found.filter(|_| lasts) else { return };
        let pump = text == "small" && f64::from(state.good) < self.known_readings;
        let row = m.or(s);
        let number = |o: Option<&Observation>| Arg::Number(o.map_or(0.0, |o| o.value), 0);
        out.push(Verdict {
            priority: pump.then_some(Priority::Low),
            value: Some(value),
            limit: Some(limit),
            unit: "mm[Hg]",
            window_s: state.hold.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            text,
            args: [("s", number(s)), ("m", number(m)), ("d", number(d)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::pulse_pressure, ParamSet::from_slice(&LINE), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_small_pulse_is_found_at_the_second_reading_by_the_height_of_the_pressure() {
        assert_eq!(story::<Check>(&LINE, "99/92/89 99/94/90 99/94/90"), "P.F");
        assert_eq!(story::<Check>(&LINE, "100/90/85 100/90/86 100/90/86"), "P.F");
        assert_eq!(story::<Check>(&LINE, "150/130/120 150/130/121 150/130/121"), "P.F");
        assert_eq!(story::<Check>(&LINE, "200/170/150 200/170/151 200/170/151"), "P.F");
    }

    #[test]
    fn a_line_open_to_air_and_one_that_reads_below_zero_are_found() {
        assert_eq!(story::<Check>(&LINE, "11/11/11x2"), "F");
        assert_eq!(story::<Check>(&LINE, "120/50/11 120/50/10 120/50/10"), "P.F");
        assert_eq!(story::<Check>(&LINE, "_/-1/_ _/-4/_"), ".F");
    }

    #[test]
    fn a_mean_of_140_is_a_flush_only_where_the_pulse_was_lost() {
        assert_eq!(story::<Check>(&LINE, "220/147/110x5"), "P", "hypertension");
        assert_eq!(story::<Check>(&LINE, "120/85/65 0/139/0x3 0/140/0x2"), "P.F");
        assert_eq!(story::<Check>(&LINE, "_/150/_x9"), ".", "a feed of means alone");
    }

    #[test]
    fn one_reading_and_one_after_a_pause_are_none() {
        assert_eq!(story::<Check>(&LINE, "120/118/117 120/85/65 120/118/117 ~x31 120/118/117"), ".P...");
    }

    #[test]
    fn where_no_pulse_was_ever_seen_it_stays_a_quiet_mark() {
        let mut s = Story::<Check>::of(&LINE);
        s.tell("85/80/78x2");
        assert_eq!(s.found.take().unwrap().priority, Some(Priority::Low));
        s.tell("120/85/65x10 85/80/78x2");
        assert_eq!(s.found.unwrap().priority, None);
    }

    #[test]
    fn a_device_that_is_not_known_yet_is_not_accused() {
        let mut s = Story::<Check>::of(&LINE);
        s.profile.reviewed = false;
        assert_eq!(s.tell("120/85/65x900 85/80/78x895 85/80/78x10"), "..F", "after half an hour");
    }
}
