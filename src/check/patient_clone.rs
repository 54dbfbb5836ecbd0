use super::self_replay::Place;
use super::{Arg, Assessment, Verdict, id};
use crate::time::Timestamp;

declare_check! {
    /// ## What it does
    /// Notices that a bed shows, one for one, the values of another bed: now, or of the last 24 h.
    /// ## Why it matters
    /// No two patients share a minute of values. Either one device speaks for two beds, and somebody is treated by the numbers of
    /// another one; or somebody plays the record of a calm patient at this bed.
    /// ## How it decides
    /// The windows of T07, asked of every other bed. Both beds live and not more than two minutes apart, or values of one
    /// device: a question of identity, told at both beds. The past of another bed: tampering, told where it is shown. It ends
    /// when no window matched for three minutes. A device that goes with its patient (ADT of either bed within ten minutes) may
    /// be heard in both; what it sends again with its own times is no match. Never one notice with other beds.
    /// ## Known false alerts
    /// A transfer without ADT, one device that is configured for two beds, simulators of one recording.
    /// ## References
    /// 0 matches between the records of each set at the windows of T07 (8.6 bed-days at 1 s, 48.4 at 60 s); one chance match of 64 s
    /// at 60 s with 8 changes. Ten minutes of another record: 60 of 60 found with two parameters refreshed every 4 s (median 92 s,
    /// 0.83 within 120 s), 141 of 141 with two (94 s, 0.96), 140 of 140 with four (63 s, 1.00). In-sample. The check found two records
    /// of a public collection that share three quarters of their rows.
    "T08" "patient_clone" class=Liveness evidence=true weights=(0, 0, 60) rest=Identity
    {
        /// Both live: the values of the other bed are at most so old, s. Lower: a slow gateway's doubled stream is called tampering. Higher: a short replay of a neighbour is called a mix-up. Design choice.
        live_s: f64 = 120.0;
        /// Over after so long without a match, s; never less than window and width of T07. Lower: a quiet minute closes it. Design choice.
        over_s: f64 = 180.0;
        /// An ADT explains one device in two beds for so long, s. Higher: a stream that stays doubled is told later. Design choice.
        explained_s: f64 = 600.0;
    }
}

/// The other bed as this check sees it.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    pub bed: &'a str,
    pub live: bool,
    /// The values of both beds come from one device.
    pub same_device: bool,
    /// How long ago it showed this window, s; and how long ago that is of this bed's.
    pub age_s: f64,
    pub lag_s: f64,
}

impl Check {
    /// A window of `bed` that another bed has shown.
    pub fn verdict(&self, place: &Place, bed: &str, other: Other<'_>, at: Timestamp) -> Verdict {
        let identity = other.same_device || (other.live && other.lag_s.abs() <= self.live_s);
        Verdict {
            hard: true,
            log10_e: 4.0,
            assessment: Some(if identity { Assessment::Identity } else { Assessment::Tamper }),
            value: Some(other.lag_s.max(0.0)),
            limit: Some(self.live_s),
            unit: "s",
            window_s: place.window_s,
            effective_at: Some(place.own),
            text: if identity { "live" } else { "past" },
            args: [
                ("a", Arg::Text(bed.to_owned())),
                ("b", Arg::Text(other.bed.to_owned())),
                ("s", Arg::Number(place.window_s, 0)),
                ("t", Arg::Time(at.plus_s(-other.age_s - place.window_s))),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::patient_clone, place.params, place.stood_at.plus_s(-place.window_s))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vital::ParamSet;

    #[test]
    fn two_minutes_apart_and_live_is_identity_and_later_or_silent_is_tampering() {
        let at = Timestamp(1_800_000_000_000);
        let place = Place { key: 1, stood_at: at, own: at, window_s: 75.0, changes: 8, params: ParamSet::EMPTY };
        let check = Check::default();
        let said = |lag_s: f64, live: bool, same_device: bool| {
            check.verdict(&place, "A", Other { bed: "B", live, same_device, age_s: lag_s, lag_s }, at).assessment.unwrap()
        };
        assert_eq!(said(120.0, true, false), Assessment::Identity);
        assert_eq!(said(-120.0, true, false), Assessment::Identity, "the other one is behind");
        assert_eq!(said(122.0, true, false), Assessment::Tamper);
        assert_eq!(said(10.0, false, false), Assessment::Tamper);
        assert_eq!(said(3600.0, false, true), Assessment::Identity, "a device reports its own past at another bed");
    }
}
