use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::clockwork::{Limits, Pace, StepKind};
use crate::vital::ParamSet;

declare_check! {
    /// ## What it does
    /// Watches how the clock of a bed's feed stands to ours.
    /// ## Why it matters
    /// Times that are shifted put a value to the wrong moment: trends, medication and alarms no longer fit, and old values can be
    /// passed off as new ones.
    /// ## How it decides
    /// The latency (receipt minus own time) is learned as a median with its MAD. Three messages in a row more than max(10 s, 6
    /// MADs) above it, or more than 5 s below the smallest latency that was seen (a time from the future), make a verdict. Own
    /// times that come faster than they were measured are a backlog after an outage, single old ones are late: neither is a
    /// shift. If every bed of the sender moves alike, the sender's clock moved: one notice, with the kind of step (an hour near
    /// a change of summer time, a zone, a clock that was set), and the new stand is learned. A constant offset near a multiple
    /// of 15 min is one notice a sender that names the zone. Evidence for tampering is only a bed that moves alone while others
    /// of its sender do not. After ten minutes of a steady new stand that is learned too.
    /// ## Known false alerts
    /// A clock that is set (NTP step, by hand), summer time on one side only.
    /// ## References
    /// Hampel 1974 (median and MAD); the limits are design choices.
    "P05" "clock_shift" class=Provenance evidence=true weights=(20, 0, 50) rest=Silence
    {
        /// Shift of a clock that is told at least, s. Lower: buffering of a gateway is told. Design choice.
        off_s: f64 = 10.0;
        /// Messages in a row, count. Lower: one held message is told. Design choice.
        messages: f64 = 3.0;
    }
}

impl Check {
    /// The same for the learning of clocks.
    pub fn limits(&self) -> Limits {
        Limits { off_ms: (self.off_s * 1000.0) as i64, messages: self.messages as u32 }
    }
}

impl Judge for Check {
    type State = ();

    fn judge(&self, _: &mut (), view: &View<'_>, out: &mut Verdicts) {
        let clock = &view.clock;
        if view.report.is_none() || clock.pace == Pace::Unknown {
            return;
        }
        let step = clock.step.filter(|step| clock.alone && step.kind != StepKind::Zone);
        let shifted = clock.pace == Pace::Off && f64::from(clock.off) >= self.messages;
        let (by_ms, since, text, log10_e) = match step {
            Some(step) if !shifted => (step.to_ms - step.from_ms, step.at, step.kind.as_str(), 0.5),
            _ if shifted => (clock.ahead_ms(), clock.off_since, "default", if clock.contradicted { 2.0 } else { 1.0 }),
            _ => {
                if matches!(clock.pace, Pace::Live | Pace::Late | Pace::Backlog) {
                    out.pass(id::clock_shift);
                }
                return;
            }
        };
        let by_s = by_ms as f64 / 1000.0;
        out.push(Verdict {
            log10_e,
            priority: (text == "dst_step").then_some(Priority::Info),
            value: Some(by_s.abs()),
            limit: Some(clock.limit_ms as f64 / 1000.0),
            unit: "s",
            window_s: view.now.since_s(since),
            effective_at: Some(view.now.plus_ms(-clock.latency_ms)),
            text,
            args: [
                ("n", Arg::Number(by_s.abs(), 0)),
                ("d", Arg::Number(by_s, 0)),
                ("sender", Arg::Text("-".to_owned())),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::clock_shift, ParamSet::EMPTY, since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Clocked, observation};
    use crate::vital::Parameter::Hr;

    fn learned() -> Clocked<Check> {
        let mut c = Clocked::<Check>::of(&[Hr]);
        assert_eq!(c.late_by(&[0.3, 0.6, 0.4], 10), ".".repeat(10) + &"P".repeat(20));
        c
    }

    #[test]
    fn ten_seconds_are_no_shift_and_a_little_more_is_one_at_the_third_message() {
        assert_eq!(learned().late_by(&[10.4], 9), "PPPPPPPPP");
        let mut c = learned();
        assert_eq!(c.late_by(&[10.5], 4), "PPFF", "two might be late");
        let found = c.story.found.clone().unwrap();
        assert_eq!((found.text, found.limit), ("default", Some(10.0)));
        assert!((found.value.unwrap() - 10.1).abs() < 0.11 && found.log10_e < 2.0);
    }

    #[test]
    fn a_future_is_told_at_five_seconds() {
        assert_eq!(learned().late_by(&[-4.7], 4), "PPPP");
        assert_eq!(learned().late_by(&[-4.8], 4), "..FF");
    }

    #[test]
    fn a_clock_that_was_set_is_a_step_and_learned() {
        let mut c = learned();
        assert_eq!(c.late_by(&[-120.0], 8), "..FFFFFF");
        assert_eq!(c.story.found.clone().unwrap().text, "clock_step");
        assert!(c.story.found.clone().unwrap().log10_e < 1.0);
        assert_eq!(c.late_by(&[-120.0], 310).trim_start_matches('F'), "P".repeat(12), "five minutes of news");
    }

    #[test]
    fn a_backlog_and_single_stragglers_are_no_shift() {
        let mut c = learned();
        // Half an hour of outage, then everything at once.
        c.story.now = c.story.now.plus_s(1800.0);
        let mut flags = String::new();
        let start = c.story.now.plus_s(-1800.0);
        for n in 0..1800 {
            c.story.now = c.story.now.plus_s(0.01);
            let own = start.plus_s(f64::from(n));
            flags.push(c.send(vec![observation(Hr, 72.0, own)], own));
        }
        assert!(!flags.contains('F') && flags[1..].starts_with("PPPP"), "{flags}");
        let mut c = learned();
        assert!(!c.late_by(&[0.4, 0.4, 0.4, 60.0], 50).contains('F'));
        assert!(!c.late_by(&[0.4, 0.4, 900.0, 900.0], 2).contains('F'));
    }

    #[test]
    fn a_gateway_that_holds_messages_up_to_a_minute_is_none() {
        let mut c = Clocked::<Check>::of(&[Hr]);
        let mut noise = 7u64;
        let mut flags = String::new();
        for _ in 0..5000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let held = (noise >> 33) as f64 / f64::from(1u32 << 31) * 60.0;
            flags += &c.late_by(&[held], 1);
        }
        assert!(!flags.contains('F'));
    }

    #[test]
    fn a_bed_that_moves_alone_is_evidence() {
        let mut c = learned();
        c.other_bed = true;
        c.late_by(&[0.4], 12);
        assert_eq!(c.late_by(&[300.0], 5), "..FFF");
        assert_eq!(c.story.found.clone().unwrap().log10_e, 2.0);
        assert!(c.late_by(&[300.0], 620).ends_with("PPP"), "after ten minutes it is its clock");
    }
}
