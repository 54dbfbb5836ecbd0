use super::{Arg, Judge, REPORT_ONLY_LOG10_E, Verdict, Verdicts, View, id};
use crate::observation::Observation;
use crate::profile::Profile;
use crate::stats::places::find;
use crate::stats::whole::{TENTHS, nearest};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter, Unit};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that a value leaves the grid of numbers on which its device reports, or keeps to a coarser one.
    /// ## Why it matters
    /// A device that reports whole numbers does not begin to report tenths by itself: something on the way averages, smooths,
    /// converts or invents.
    /// ## How it decides
    /// The grid is the profile's quantum where a person has reviewed it and ten changed values in a row have kept to it here, else
    /// the number of decimals that all of 1000 values and 30 min kept to. Three of the last twenty values between the steps of the grid are a verdict. A coarser grid (every
    /// fifth or every tenth step: fives, tens, whole numbers in place of tenths) is one when changed values keep to it longer
    /// than the share of such values before allows (surprise 8). Values that came out of a conversion of units have no grid
    /// and are not looked at, neither is a perfusion index, whose decimals follow its size. Where the values come slower than
    /// they did, something averages: that is told as such and joins no other evidence. After half an hour the new grid is
    /// learned. By itself it goes to the engineers; all beds of a gateway at once are one notice.
    /// ## Known false alerts
    /// Averaging switched on, a new module, an update of the gateway.
    /// ## References
    /// Pulse rate and saturation of two monitors, 8.6 bed-days at 1 s: no value off the whole numbers, no finding. A moving
    /// average of 60 s with one decimal was found in 58 of 58 copies within 2 s under a reviewed grid, in 57 under a learned one.
    "T05" "resolution_change" class=Liveness evidence=true weights=(20, 0, 60) rest=Unverified
    {
        /// Values off the grid, of the last twenty, count. Lower: one slip is told. Higher: slower.
        values: f64 = 3.0;
        /// Changed values in a row that confirm a reviewed grid, count. Lower: a feed that was resampled before is accused.
        confirm_changes: f64 = 10.0;
        /// Values before a grid counts as learned, count. Lower: a quiet start passes for a grid.
        learn_values: f64 = 1000.0;
        /// Surprise of a coarser grid, decimal logarithm. Lower: chance series of fives are told. Higher: slower.
        coarser_log10: f64 = 8.0;
        /// Changed values before a coarser grid is looked for, count. Lower: its usual share is a guess.
        coarser_learn: f64 = 200.0;
        /// Values that come so many times slower than before are averages, 1. Lower: a stumbling network excuses.
        slower: f64 = 1.5;
        /// The new grid is learned after, s. Lower: it is soon forgotten. Higher: a changed configuration is told for longer.
        relearn_s: f64 = 1800.0;
    }
}

/// Values looked back at.
const HISTORY: u32 = (1 << 20) - 1;
/// Parameters followed at most.
const FOLLOWED_MAX: usize = 40;
/// More decimals than a device sends: the value was converted.
const CONVERTED: u8 = 4;
/// Coarser grids that are looked for, in steps of the fine one.
const COARSER: [f64; 2] = [5.0, 10.0];

/// Whether the values of a bed keep to the grid that a person reviewed for such devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Reviewed {
    /// So many changed values in a row did.
    Kept(u8),
    Confirmed,
    /// Something before us resamples: the bed's own grid counts.
    Refuted,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Grid {
    parameter: Parameter,
    /// Most decimals seen, 4: no grid.
    decimals: u8,
    /// What this bed says of the grid that a person reviewed.
    reviewed: Reviewed,
    /// Values that kept to it, and since when.
    kept: u16,
    since: Timestamp,
    /// The last 32 values: off the grid, and late; the newest is the lowest bit.
    off: u32,
    late: u32,
    /// Usual interval while the grid was kept, ms.
    interval_ms: u32,
    /// Changed values, those of them on a coarser grid, and the run of such.
    changed: u16,
    hits: [u16; 2],
    run: [u16; 2],
    /// Since when it fails.
    lost_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    grids: Vec<Grid>,
}

/// Whether a value is a whole number of steps.
fn fits(value: f64, step: f64) -> bool {
    let steps = value / step;
    (steps - nearest(steps)).abs() <= 1e-7 * steps.abs().max(1.0)
}

/// Decimals of a value, 4 where it has more than three.
fn decimals(value: f64) -> u8 {
    (0..CONVERTED).find(|k| fits(value, TENTHS[usize::from(*k)])).unwrap_or(CONVERTED)
}

fn looked_at(parameter: Parameter) -> bool {
    matches!(parameter.nature(), Nature::Continuous | Nature::Episodic) && parameter != Parameter::PerfIndex
}

impl Grid {
    fn new(parameter: Parameter, decimals: u8, at: Timestamp) -> Grid {
        Grid {
            parameter,
            decimals,
            reviewed: Reviewed::Kept(0),
            kept: 0,
            since: at,
            off: 0,
            late: 0,
            interval_ms: 0,
            changed: 0,
            hits: [0; 2],
            run: [0; 2],
            lost_at: None,
        }
    }

    /// Learns anew from here.
    fn renew(&mut self, decimals: u8, at: Timestamp) {
        *self = Grid::new(self.parameter, decimals, at);
    }

    /// One more value on the grid.
    fn confirm(&mut self, enough: f64, changed: bool) {
        if let Reviewed::Kept(run) = &mut self.reviewed {
            *run += u8::from(changed);
            if f64::from(*run) >= enough {
                self.reviewed = Reviewed::Confirmed;
            }
        }
    }

    fn count_off(&self) -> u32 {
        (self.off & HISTORY).count_ones()
    }

    /// Values before came faster than those that are off.
    fn is_averaged(&self) -> bool {
        (self.late & self.off & HISTORY).count_ones() * 2 > self.count_off()
    }

    /// Surprise of the present run on a coarser grid.
    fn surprise(&self, at: usize) -> f64 {
        let share = (f64::from(self.hits[at]) + 2.0) / (f64::from(self.changed) + 10.0);
        let chance = share.max(1.0 / COARSER[at]);
        // What keeps to fives half of the time has another grid than it seems.
        if chance > 0.4 { 0.0 } else { -f64::from(self.run[at]) * chance.log10() }
    }
}

impl Check {
    /// The step of the grid and whether leaving it accuses; `None`: there is none.
    fn step(&self, grid: &Grid, profile: &Profile, now: Timestamp) -> Option<(f64, bool)> {
        if let Some(quantum) = profile.quantum(grid.parameter).filter(|_| profile.reviewed && grid.reviewed != Reviewed::Refuted) {
            return Some((quantum, grid.reviewed == Reviewed::Confirmed));
        }
        let held = f64::from(grid.kept) >= self.learn_values && now.since_s(grid.since) >= Profile::LEARN_S;
        (grid.decimals < CONVERTED).then(|| (TENTHS[usize::from(grid.decimals)], held && profile.learns))
    }

    /// Whether something was found: its sentence, limit (the step) and value.
    fn look(&self, grid: &mut Grid, o: &Observation, before: Option<f64>, view: &View<'_>) -> Option<(&'static str, f64, f64)> {
        let (step, accuses) = self.step(grid, view.profile, view.now)?;
        let off = !fits(o.value, step);
        if off && let Reviewed::Kept(run) = &mut grid.reviewed {
            *run = 0;
        }
        let interval_ms = view.bed.stream(o.parameter).and_then(|s| s.latest).map_or(0, |l| o.effective_at.since_ms(l.effective_at));
        let late = grid.interval_ms > 0 && interval_ms as f64 > self.slower * f64::from(grid.interval_ms);
        grid.off = grid.off << 1 | u32::from(off);
        grid.late = grid.late << 1 | u32::from(late);
        if off {
            grid.run = [0; 2];
        } else {
            grid.kept = grid.kept.saturating_add(1);
            grid.confirm(self.confirm_changes, before.is_some_and(|b| b != o.value));
            if grid.off & HISTORY == 0
                && let Some(delta_s) = view.bed.stream(o.parameter).and_then(|s| s.delta_s())
            {
                grid.interval_ms = (delta_s * 1000.0) as u32;
            }
            self.count_coarser(grid, o, before, step);
        }
        if f64::from(grid.count_off()) >= self.values {
            if accuses {
                return Some((if grid.is_averaged() { "averaged" } else { "finer" }, step, o.value));
            }
            // Nothing may be said yet: the finer grid is what this device does.
            grid.renew(decimals(o.value).max(grid.decimals), view.now);
            grid.reviewed = Reviewed::Refuted;
            return None;
        }
        if !accuses || f64::from(grid.changed) < self.coarser_learn {
            return None;
        }
        let at = (0..COARSER.len()).rev().find(|at| grid.surprise(*at) >= self.coarser_log10)?;
        Some(("coarser", step, step * COARSER[at]))
    }

    fn count_coarser(&self, grid: &mut Grid, o: &Observation, before: Option<f64>, step: f64) {
        if before.is_none_or(|b| b == o.value) || !matches!(o.parameter.unit(), Unit::PerMin | Unit::Percent | Unit::MmHg) {
            return;
        }
        for (at, factor) in COARSER.iter().enumerate() {
            let hit = fits(o.value, step * factor);
            grid.run[at] = if hit { grid.run[at].saturating_add(1) } else { 0 };
            // A run that surprises teaches nothing.
            grid.hits[at] = grid.hits[at].saturating_add(u16::from(hit && grid.run[at] <= 5));
        }
        grid.changed += 1;
        if grid.changed >= 2000 {
            grid.changed /= 2;
            grid.hits = grid.hits.map(|h| h / 2);
        }
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.grids, |grid| u64::from(grid.kept) ^ grid.since.0 as u64)
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (mut looked, mut found) = (false, false);
        let mut next = 0;
        for parameter in view.fresh_set().iter().filter(|p| looked_at(*p)) {
            let Some(o) = view.fresh(parameter) else { continue };
            let at = match find(&state.grids, &mut next, |g| g.parameter == parameter) {
                Some(at) => at,
                None if state.grids.len() < FOLLOWED_MAX => {
                    state.grids.push(Grid::new(parameter, decimals(o.value), view.now));
                    state.grids.len() - 1
                }
                None => continue,
            };
            let grid = &mut state.grids[at];
            let before = view.preceding(parameter).map(|b| b.value);
            looked = true;
            let Some((text, step, value)) = self.look(grid, o, before, view) else {
                grid.lost_at = None;
                continue;
            };
            let since = *grid.lost_at.get_or_insert(view.now);
            let lost_s = view.now.since_s(since);
            let by_review = grid.reviewed == Reviewed::Confirmed && view.profile.reviewed && view.profile.quantum(parameter).is_some();
            if lost_s >= self.relearn_s && !by_review {
                grid.renew(decimals(o.value), view.now);
                continue;
            }
            found = true;
            out.push(Verdict {
                log10_e: if text == "averaged" { REPORT_ONLY_LOG10_E } else { 2.0 },
                value: Some(value),
                limit: Some(step),
                unit: parameter.unit().ucum(),
                window_s: lost_s,
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                text,
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("v", Arg::Number(value, 2)),
                    ("q", Arg::Number(step, 2)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::resolution_change, ParamSet::of(parameter), since)
            });
        }
        if looked && !found {
            out.pass(id::resolution_change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const SHIPPED: &str = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = true\nreviewed_by_role = \"x\"\n\
                           reviewed_on = \"2026-11-30\"\n[quantum]\npr = 1.0\ntemp = 0.1\n";

    fn with_profile() -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Temp]);
        s.profile = Profile::from_toml(SHIPPED).unwrap();
        assert!(!s.tell(&"70/36.6 71/36.7 ".repeat(6)).contains('F'));
        s
    }

    #[test]
    fn a_reviewed_grid_that_nine_changes_kept_to_does_not_accuse_and_ten_do() {
        for (changes, flag) in [(9, 'P'), (10, 'F')] {
            let mut s = Story::<Check>::of(&[Parameter::Pr]);
            s.profile = Profile::from_toml(SHIPPED).unwrap();
            for i in 0..=changes {
                s.tell(&format!("{}", 70 + i));
            }
            assert!(s.tell("70.5 70.6 70.7").ends_with(flag), "{changes}");
        }
        // What was resampled from the beginning has a grid of its own.
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        s.profile = Profile::from_toml(SHIPPED).unwrap();
        s.tell("70 70.5 71 70.3 70.8 71.2");
        assert!(!s.tell(&"70 71 72 71 ".repeat(20)).contains('F'));
        assert!(!s.tell("70.5 70.6 70.7 71").contains('F'));
    }

    /// Whole numbers, each held for four values.
    fn learned(values: u32) -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        for i in 0..values / 4 {
            assert!(!s.tell(&format!("{}x4", 70 + i % 7)).contains('F'));
        }
        s
    }

    #[test]
    fn two_values_between_the_steps_of_a_reviewed_grid_are_none_and_three_are_a_verdict() {
        let mut s = with_profile();
        assert_eq!(s.tell("70/36.6x5 70.5/36.6 71/36.7 70.5/36.7 71/36.8x20"), "PPPPP");
        assert_eq!(s.tell("70.5/36.8 71/36.8 70.2/36.8 70.3/36.8"), "PPPF");
        let found = s.found.clone().unwrap();
        assert_eq!((found.text, found.limit, found.params), ("finer", Some(1.0), ParamSet::of(Parameter::Pr)));
        assert_eq!(s.tell("71/36.85 71/36.85 71/36.85"), "FFF", "also the other parameter");
    }

    #[test]
    fn a_learned_grid_accuses_after_half_an_hour_and_a_thousand_values() {
        let mut s = learned(1780);
        assert!(!s.tell("70.5x10").contains('F'), "not yet");
        assert!(!s.tell("71x500 70.5x1000 71.5x900").contains('F'), "tenths are its grid now");
        let mut s = learned(1804);
        assert_eq!(s.tell("70.5 70.6 70.7"), "PPF");
        let mut s = Story::<Check>::of(&[Parameter::Pr]).every(60.0);
        assert_eq!(s.tell("70x500 71x499 70.5 70.5 70.5"), "PPPPP", "998 values at one a minute");
        assert_eq!(s.tell("70x3"), "P");
    }

    #[test]
    fn only_reviewed_grids_accuse_where_review_is_required() {
        let mut s = learned(2400);
        s.profile.learns = false;
        assert!(!s.tell("70.5x10").contains('F'));
    }

    #[test]
    fn after_half_an_hour_the_new_grid_is_the_grid() {
        let mut s = learned(1804);
        assert_eq!(s.tell("70.5x1800 70.6x5 70.7x900"), "FPP");
    }

    #[test]
    fn whole_numbers_at_one_a_minute_that_become_means_join_no_other_evidence() {
        let mut s = learned(1804);
        s.step_s = 60.0;
        assert_eq!(s.tell("70.1 70.2 70.3"), "PPF");
        let found = s.found.unwrap();
        assert_eq!(found.text, "averaged");
        assert!(found.log10_e < 1.0);
    }

    #[test]
    fn fives_in_place_of_units_are_found_and_a_chance_series_is_none() {
        let mut s = learned(3600);
        assert!(!s.tell("70 75 70 75 70 75 70 75 70 75 70 71").contains('F'));
        // Two of the seven numbers that came were fives: 15 in a row have a chance of about 10⁻⁸.
        let flags = s.tell(&"70 75 80 75 ".repeat(5));
        assert!(flags.starts_with("PPPPPPPPPPPP") && flags.ends_with("FFFF"), "{flags}");
        assert_eq!(s.found.unwrap().text, "coarser");
    }

    #[test]
    fn converted_values_have_no_grid_and_constants_are_none() {
        let mut s = Story::<Check>::of(&[Parameter::AbpMean]);
        for i in 0..2400 {
            assert!(!s.tell(&format!("{}", f64::from(120 + i % 9) * 0.750_061_7)).contains('F'));
        }
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        assert!(!s.tell("60x3600 61 60 62x300 65x20").contains('F'));
    }
}
