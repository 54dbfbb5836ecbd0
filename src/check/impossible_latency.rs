use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::clockwork::Pace;
use crate::vital::ParamSet;

declare_check! {
    /// ## What it does
    /// Notices messages that arrive sooner after their own time than this feed can deliver them.
    /// ## Why it matters
    /// A way through monitor, gateway and network takes its time. What arrives faster did not take that way, or carries a time
    /// that was made.
    /// ## How it decides
    /// Three messages in a row whose latency (receipt minus own time) lies more than max(2 s, 3 MADs) below the smallest of the
    /// last 256 to 512 of this sender at this bed. Ten in a row are the new latency of the feed, and learned.
    /// ## Known false alerts
    /// A clock that drifts and is set, a gateway that buffers less than before.
    /// ## References
    /// Hampel 1974 (median and MAD). Many senders cut times to whole seconds, hence 2 s; the limits are design choices.
    "P06" "impossible_latency" class=Provenance evidence=true weights=(15, 0, 50) rest=Unverified
    {
        /// Messages in a row, count. Lower: one message with a wrong time is told. Higher than 10: never told. Design choice.
        messages: f64 = 3.0;
    }
}

impl Judge for Check {
    type State = ();

    fn judge(&self, _: &mut (), view: &View<'_>, out: &mut Verdicts) {
        let clock = &view.clock;
        if view.report.is_none() || clock.pace == Pace::Unknown {
            return;
        }
        if clock.early == 0 {
            out.pass(id::impossible_latency);
            return;
        }
        if f64::from(clock.early) < self.messages {
            return;
        }
        let (latency_s, low_s) = (clock.latency_ms as f64 / 1000.0, clock.low_ms as f64 / 1000.0);
        out.push(Verdict {
            log10_e: if clock.contradicted { 2.0 } else { 1.0 },
            value: Some(latency_s),
            limit: Some(clock.early_ms as f64 / 1000.0),
            unit: "s",
            window_s: view.now.since_s(clock.early_since),
            effective_at: Some(view.now.plus_ms(-clock.latency_ms)),
            args: [("s", Arg::Number(latency_s, 1)), ("l", Arg::Number(low_s, 1)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::impossible_latency, ParamSet::EMPTY, clock.early_since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Clocked;
    use crate::vital::Parameter::Hr;

    #[test]
    fn two_seconds_below_the_minimum_are_possible_and_more_is_not() {
        let mut c = Clocked::<Check>::of(&[Hr]);
        assert!(c.late_by(&[4.0, 4.5, 4.2, 4.1], 20).ends_with("PPPP"));
        assert_eq!(c.late_by(&[2.0], 5), "PPPPP");
        let mut c = Clocked::<Check>::of(&[Hr]);
        c.late_by(&[4.0, 4.5, 4.2, 4.1], 20);
        assert_eq!(c.late_by(&[1.9], 4), "..FF");
        let found = c.story.found.clone().unwrap();
        assert_eq!((found.value, found.limit), (Some(1.9), Some(2.0)));
        assert!(c.late_by(&[1.9], 12).ends_with("PPPPP"), "then it is the feed's own");
    }

    #[test]
    fn whole_seconds_and_wide_jitter_are_possible() {
        let mut c = Clocked::<Check>::of(&[Hr]);
        assert!(!c.late_by(&[0.999, 0.0, 0.5, 0.25], 200).contains('F'));
        let mut c = Clocked::<Check>::of(&[Hr]);
        assert!(!c.late_by(&[20.0, 45.0, 60.0, 33.0, 8.0, 51.0, 3.0, 27.0, 0.4], 60).contains('F'));
    }
}
