use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::MessageKind;
use crate::stats::fingerprint::{Chain, Grid, Index, Joint, Print, SLOTS_MAX, Slot, Step, WINNOW_MAX, Window, Winnow};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

declare_check! {
    /// ## What it does
    /// Notices that the values of a bed repeat, one for one, what the same bed has shown before within 24 h.
    /// ## Why it matters
    /// Who plays old values again shows a calm patient whatever happens at the bedside. New message ids and new times hide it from
    /// every look at a message; that no living patient repeats a minute exactly does not change.
    /// ## How it decides
    /// The live values of each interval are one slot. Windows of slots are hashed; picked ones are remembered for 24 h (a common
    /// run of W + 31 s has at least one), every window is looked up. At one value a second: four parameters 45 s with 8 changes,
    /// two 75 s with 6. From 10 s on: two parameters 8 values with 5 changes, one parameter 12 values with 8. A match that is
    /// older than the window itself is a replay. A constant stretch has no changes and is none; neither is a resend, whose
    /// values carry the own times of then. Values moved by one step, or of another interval, are not found; neither is a bed
    /// with one parameter at one value a second.
    /// ## Known false alerts
    /// A simulator, a monitor in demonstration, a generator of test values: they do repeat themselves.
    /// ## References
    /// Schleimer 2003 (winnowing). Recorded patients: 0 false in 8.6 bed-days at 1 s (263 records) and 48.4 at 60 s (integers, joint
    /// or alone; 6 samples with 5 changes of one parameter are false). Ten minutes of the own past under new times, another phase
    /// and jitter: 60 of 60 found with two parameters refreshed every 4 s (median 88 s, 0.83 within 120 s), 145 of 145 with two
    /// (81 s, 0.96) and with four (54 s, 1.00). In-sample. The chance of a wrong hash is 1.1e-7 a bed-day.
    "T07" "self_replay" class=Liveness evidence=true weights=(0, 0, 100) rest=Unverified
    {
        /// Window with four parameters, s. Lower: unmeasured. Higher: slower.
        four_s: f64 = 45.0;
        /// Changes in it, count. Lower: quiet stretches resemble each other. Higher: quiet patients are not watched.
        four_changes: f64 = 8.0;
        /// Window with two or three parameters, s. Lower: 2 false in 3.68 bed-days between patients at 45 s. Higher: slower.
        two_s: f64 = 75.0;
        /// Changes in it, count. Lower: quiet stretches resemble each other. Higher: fewer found in time (0.80 instead of 0.87 at 8).
        two_changes: f64 = 6.0;
        /// From this interval on windows are counted in values, s. Lower: 75 s hold too few values. Design choice.
        slow_s: f64 = 10.0;
        /// Window of two or more parameters then, count. Lower: 3 false between patients at 6 in 8 bed-days. Higher: slower.
        slow_values: f64 = 8.0;
        /// Changes in it, count. Lower: quiet stretches resemble each other.
        slow_changes: f64 = 5.0;
        /// Window of one parameter then, count. Lower: 2 to 4 false at 8. Higher: slower.
        lone_values: f64 = 12.0;
        /// Changes in it, count. Lower: small integers repeat by chance.
        lone_changes: f64 = 8.0;
        /// One window is remembered of so many seconds' worth, s. Lower: more memory, less than a day. Higher: later found.
        winnow_s: f64 = 32.0;
        /// Own times nearer than this to those of then are a resend, s; never less than three intervals. Higher: a replay that keeps its times is left to P01.
        same_time_s: f64 = 5.0;
    }
}

/// The live parameters of flat_line but the skin CO2, with which replays were not measured.
fn followed() -> ParamSet {
    ParamSet::from_slice(super::flat_line::LIVE).minus(ParamSet::of(Parameter::Tcco2))
}

/// Intervals that are told apart, s: a window has the same number of slots however exactly Δ is known.
const LADDER_S: [f64; 16] = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// Δ is looked at every so many messages.
const LOOK_EVERY: u8 = 32;

/// A bed's messages as slots.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Slots {
    grid: Grid,
    pub joint: Joint,
    /// Usual interval between new values as measured, and its step of the ladder; 0: not known.
    delta_ms: u32,
    step_ms: u32,
    messages: u8,
    /// Own time of the newest value.
    pub own: Timestamp,
}

/// What a message did to the slots.
#[derive(Debug, Default)]
pub struct Heard {
    /// Slots that ended.
    pub slots: SmallVec<[Slot; 6]>,
    /// After them a new run begins.
    pub breaks: bool,
    /// With windows for this interval, s.
    pub interval_s: Option<f64>,
}

impl Slots {
    /// Takes a message; `None`: it has no new live value.
    pub fn hear(&mut self, view: &View<'_>) -> Option<Heard> {
        let report = view.report.filter(|r| r.kind == MessageKind::Vitals)?;
        let fresh = view.fresh_set().minus(view.fresh_set().minus(followed()));
        if fresh.is_empty() || report.observations.is_empty() {
            return None;
        }
        let mut heard = Heard::default();
        self.messages = self.messages.wrapping_add(1) % LOOK_EVERY;
        if self.messages == 0 || self.step_ms == 0 {
            let known = fresh.iter().filter_map(|p| view.bed.stream(p)?.delta_s());
            let delta_s = known.fold(f64::INFINITY, f64::min);
            if !delta_s.is_finite() {
                return None;
            }
            self.delta_ms = (delta_s * 1000.0).clamp(100.0, 3_600_000.0) as u32;
            let off = f64::from(self.delta_ms) / f64::from(self.step_ms);
            if !(0.7..=1.4).contains(&off) {
                let distance = |s: &f64| (s / delta_s).ln().abs();
                let step = LADDER_S.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(1.0);
                if (step * 1000.0) as u32 != self.step_ms {
                    self.step_ms = (step * 1000.0) as u32;
                    heard.interval_s = Some(step);
                    heard.breaks = true;
                    self.grid = Grid::default();
                }
            }
        }
        let values = || fresh.iter().filter_map(|p| view.fresh(p));
        let own = values().map(|o| o.effective_at).max()?;
        let began = heard.breaks;
        match self.grid.step(own, f64::from(self.delta_ms)) {
            Step::Same => {}
            Step::Next(slots) => heard.slots.extend((0..slots).map(|_| self.joint.close())),
            Step::Break => {
                if !began {
                    heard.slots.push(self.joint.close());
                }
                heard.breaks = true;
                self.joint.clear();
            }
        }
        self.own = own;
        self.joint.hear_all(values().map(|o| (o.parameter, o.value)));
        Some(heard)
    }

    /// Usual interval, s.
    pub fn delta_s(&self) -> f64 {
        f64::from(self.delta_ms) / 1000.0
    }
}

/// A window that was picked, for those who look across beds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub key: u64,
    /// When it stood, by our clock and by its own.
    pub stood_at: Timestamp,
    pub own: Timestamp,
    /// Its length, s.
    pub window_s: f64,
    pub changes: u8,
    pub params: ParamSet,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    slots: Slots,
    chain: Chain,
    winnow: Winnow,
    /// The windows of a day.
    pub index: Index,
    /// The last match, and the first of those that followed each other.
    matched_at: Timestamp,
    since: Timestamp,
    /// A window that this message has picked.
    pub place: Option<Place>,
}

impl Default for State {
    fn default() -> Self {
        State {
            slots: Slots::default(),
            chain: Chain::default(),
            winnow: Winnow::default(),
            index: Index::default(),
            matched_at: Timestamp::MIN,
            since: Timestamp::MIN,
            place: None,
        }
    }
}

impl State {
    /// Longest window and width, s: so long after a match it may go on unseen.
    pub fn unseen_s(&self) -> f64 {
        f64::from(self.chain.longest() + self.winnow.width()) * self.slots.delta_s()
    }
}

impl Check {
    /// Windows for an interval, and among how many one is picked.
    fn windows(&self, interval_s: f64) -> ([Window; 2], u8) {
        let slots = |seconds: f64| (seconds / interval_s).round().clamp(8.0, SLOTS_MAX as f64) as u8;
        let window = |slots: u8, parameters: u8, changes: f64| Window { slots, parameters, changes: changes.clamp(1.0, 255.0) as u8 };
        let windows = if interval_s >= self.slow_s {
            let count = |values: f64| values.clamp(2.0, SLOTS_MAX as f64) as u8;
            [window(count(self.slow_values), 2, self.slow_changes), window(count(self.lone_values), 1, self.lone_changes)]
        } else {
            let two = window(slots(self.two_s), 2, self.two_changes);
            // A change in every slot would have to be there: four values at a few seconds are looked at as two are.
            let four = slots(self.four_s);
            if f64::from(four) < 2.0 * self.four_changes { [two, Window::default()] } else { [window(four, 4, self.four_changes), two] }
        };
        (windows, (self.winnow_s / interval_s).ceil().clamp(1.0, WINNOW_MAX as f64) as u8)
    }

    /// Whether values of this own time are those of a window that stood at `stood_at`, sent again.
    pub fn is_resend(&self, own: Timestamp, stood_at: Timestamp, level_ms: i64, delta_s: f64) -> bool {
        let then = stood_at.plus_ms(level_ms.saturating_neg());
        own.since_s(then).abs() <= self.same_time_s.max(3.0 * delta_s)
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        state.slots.joint.touch() ^ state.chain.touch() ^ state.winnow.touch()
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        state.place = None;
        let Some(heard) = state.slots.hear(view) else { return };
        let delta_s = state.slots.delta_s();
        let mut found: Option<(Print, f64)> = None;
        let count = heard.slots.len();
        for (at, slot) in heard.slots.into_iter().enumerate() {
            state.index.tend(view.now);
            // The slot that ended last ended one interval ago.
            let ended_s = (count - at) as f64 * delta_s;
            let print = state.chain.push(slot);
            if let Some(print) = print
                && let Some(age_s) = state.index.get(print.key(), view.now)
                // A look back that overlaps itself is a rhythm of the values.
                && age_s - ended_s >= f64::from(print.window.slots) * delta_s
                && !self.is_resend(state.slots.own, view.now.plus_s(-age_s), view.clock.level_ms, delta_s)
            {
                found = Some((print, age_s));
            }
            if let Some((hash, back)) = state.winnow.push(print.map(|p| p.hash)) {
                let ago_s = ended_s + f64::from(back) * delta_s;
                // What repeats itself is not remembered a second time.
                let repeats = found.is_some() || view.now.since_s(state.matched_at) <= state.unseen_s();
                let window = print.map_or(Window::default(), |p| p.window);
                let present = print.map_or(0, |p| p.present);
                let place = Place {
                    key: Print { hash, window, changes: 0, present: 0 }.key(),
                    stood_at: view.now.plus_s(-ago_s),
                    own: state.slots.own.plus_s(-ago_s),
                    window_s: f64::from(state.chain.longest()) * delta_s,
                    changes: print.map_or(0, |p| p.changes),
                    params: state.slots.joint.parameters(present).collect(),
                };
                if !repeats {
                    state.index.put(place.key, view.now, ago_s);
                }
                state.place = Some(place);
            }
        }
        if let Some(interval_s) = heard.interval_s {
            let (windows, width) = self.windows(interval_s);
            state.chain.configure(windows);
            state.winnow.configure(width);
        }
        if heard.breaks {
            state.chain.restart();
            state.winnow.restart();
        }
        let Some((print, age_s)) = found else {
            if count > 0 && view.now.since_s(state.matched_at) > state.unseen_s() {
                out.pass(id::self_replay);
            }
            return;
        };
        if !view.profile.usable(view.bed.epoch_at, view.now) {
            return;
        }
        let window_s = f64::from(print.window.slots) * delta_s;
        if view.now.since_s(state.matched_at) > state.unseen_s() {
            state.since = view.now.plus_s(-window_s);
        }
        state.matched_at = view.now;
        out.push(Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(f64::from(print.changes)),
            limit: Some(f64::from(print.window.changes)),
            unit: "{changes}",
            window_s,
            effective_at: Some(state.slots.own),
            args: [
                ("t", Arg::Time(view.now.plus_s(-age_s - window_s))),
                ("s", Arg::Number(window_s, 0)),
                ("n", Arg::Number(f64::from(print.changes), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::self_replay, state.slots.joint.parameters(print.present).collect(), state.since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};

    const FOUR: [Parameter; 4] = [Parameter::Pr, Parameter::Spo2, Parameter::Awrr, Parameter::Etco2];
    const TWO: [Parameter; 2] = [Parameter::Pr, Parameter::Spo2];

    struct Noise(u64);

    impl Noise {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    /// Values of a living patient for so many messages, one token each.
    fn living(noise: &mut Noise, parameters: usize, messages: usize) -> Vec<String> {
        let mut values = [72i64, 96, 15, 36];
        let step = [1, 1, 1, 2];
        (0..messages)
            .map(|_| {
                for (v, s) in values.iter_mut().zip(step).take(parameters) {
                    if noise.below(4) == 0 {
                        *v += noise.below(2 * s + 1) as i64 - s as i64;
                        *v = (*v).clamp(10, 99);
                    }
                }
                let row: Vec<String> = values[..parameters].iter().map(i64::to_string).collect();
                row.join("/")
            })
            .collect()
    }

    fn tell(story: &mut Story<Check>, tokens: &[String]) -> String {
        story.tell(&tokens.join(" "))
    }

    /// After how many messages of a replay it is found.
    fn found_after(story: &mut Story<Check>, tokens: &[String]) -> Option<usize> {
        tell(story, tokens).find('F').map(|at| at + 1)
    }

    #[test]
    fn four_values_that_come_again_are_found_within_45_and_32_seconds() {
        let mut noise = Noise(1);
        let past = living(&mut noise, 4, 400);
        let between = living(&mut noise, 4, 300);
        let mut s = Story::<Check>::of(&FOUR);
        assert!(!tell(&mut s, &past).contains('F'));
        assert!(!tell(&mut s, &between).contains('F'));
        let after = found_after(&mut s, &past[200..300]).unwrap();
        // A slot ends when the next one begins.
        assert!((46..=45 + 31 + 1).contains(&after), "{after}");
        let found = s.found.clone().unwrap();
        assert!(found.hard && found.params.len() == 4 && found.window_s == 45.0 && found.value.unwrap() >= 8.0);
        let t = found.args.iter().find(|a| a.0 == "t").unwrap();
        let told = match t.1 { Arg::Time(t) => t, _ => panic!() };
        // 1 800 000 000 s + 10 until the interval is known is where the stretch began.
        assert!((told.since_s(Timestamp(1_800_000_000_000)) - 200.0).abs() <= 35.0);
        // Life goes on: it is over after the window and its width.
        let later = living(&mut noise, 4, 200);
        let flags = tell(&mut s, &later);
        assert!(!flags.contains('F') && flags.ends_with('P'), "{flags}");
    }

    #[test]
    fn a_stretch_shorter_than_the_window_is_none_and_a_longer_one_is() {
        let mut noise = Noise(2);
        let past = living(&mut noise, 2, 600);
        let mut s = Story::<Check>::of(&TWO);
        tell(&mut s, &past);
        assert_eq!(found_after(&mut s, &past[100..174]), None, "74 s");
        tell(&mut s, &living(&mut noise, 2, 200));
        let after = found_after(&mut s, &past[300..300 + 75 + 31 + 1]).unwrap();
        assert!((76..=75 + 31 + 1).contains(&after), "{after}");
    }

    #[test]
    fn five_changes_in_75_s_are_too_few_and_six_are_not() {
        for (changes, found) in [(5, false), (6, true)] {
            let mut s = Story::<Check>::of(&TWO);
            let mut noise = Noise(3);
            tell(&mut s, &living(&mut noise, 2, 100));
            // Six changes and then nothing but the last value: every window has at most as many.
            let mut quiet: Vec<String> = (0..=changes).map(|i| format!("{}/97", 60 + i * i)).collect();
            quiet.extend(vec![format!("{}/97", 60 + changes * changes); 100]);
            // So that the changes are inside of the window.
            quiet.insert(0, "60/97".to_owned());
            tell(&mut s, &quiet);
            tell(&mut s, &living(&mut noise, 2, 300));
            assert_eq!(tell(&mut s, &quiet).contains('F'), found, "{changes}");
        }
    }

    #[test]
    fn constant_values_are_no_replay() {
        let mut s = Story::<Check>::of(&FOUR);
        assert!(!s.tell("70/96/15/35x2000 71/96/15/35x2000 70/96/15/35x2000").contains('F'));
        let mut s = Story::<Check>::of(&TWO);
        let toggling = "0/97x20 -/-x7 _/_x9 0/97x30 -/97x40 ".repeat(40);
        assert!(!s.tell(&toggling).contains('F'), "a mark that comes and goes is no change");
    }

    #[test]
    fn other_ids_other_times_and_another_phase_do_not_hide_it() {
        let mut noise = Noise(4);
        let past = living(&mut noise, 2, 400);
        let mut s = Story::<Check>::of(&TWO);
        tell(&mut s, &past);
        // Half a second and some, then each message up to 0.3 s early or late.
        s.now = s.now.plus_ms(617);
        let mut flags = String::new();
        for (at, token) in past[50..200].iter().enumerate() {
            let jitter = (at as i64 * 7919) % 600 - 300;
            s.now = s.now.plus_ms(jitter);
            flags += &s.tell(token);
            s.now = s.now.plus_ms(-jitter);
        }
        assert!(flags.contains('F'), "{flags}");
    }

    #[test]
    fn lost_messages_and_values_delay_it_by_a_window_at_most() {
        let mut noise = Noise(5);
        let past = living(&mut noise, 2, 500);
        let mut s = Story::<Check>::of(&TWO);
        tell(&mut s, &past);
        let mut again = past[100..400].to_vec();
        again[40] = "~".to_owned();
        again[41] = "_/97".to_owned();
        again[42] = "-/-".to_owned();
        let after = found_after(&mut s, &again).unwrap();
        assert!(after <= 43 + 75 + 32 + 6, "{after}");
        // A stretch with a pause in it, and the same without: found behind it.
        let mut s = Story::<Check>::of(&TWO);
        let mut holed = past.clone();
        holed[150] = "~".to_owned();
        tell(&mut s, &holed);
        assert!(found_after(&mut s, &past[100..400]).unwrap() <= 51 + 75 + 32);
    }

    #[test]
    fn eight_values_at_one_a_minute_are_enough_and_seven_are_not() {
        let mut noise = Noise(6);
        let past = living(&mut noise, 2, 300);
        let busy: Vec<String> = past.iter().enumerate().map(|(i, t)| format!("{}/{}", 60 + (i * 37) % 29, t.split('/').nth(1).unwrap())).collect();
        let mut s = Story::<Check>::of(&TWO).every(60.0);
        tell(&mut s, &busy);
        assert_eq!(found_after(&mut s, &busy[100..107]), None);
        let busy_now: Vec<String> = (0..60).map(|i| format!("{}/{}", 61 + (i * 41) % 31, 90 + i % 7)).collect();
        tell(&mut s, &busy_now);
        assert_eq!(found_after(&mut s, &busy[150..160]), Some(9), "the ninth ends the eighth");
    }

    #[test]
    fn twelve_integers_of_one_parameter_at_one_a_minute_are_enough() {
        let mut noise = Noise(8);
        let past: Vec<String> = (0..200).map(|_| (60 + noise.below(40)).to_string()).collect();
        let mut s = Story::<Check>::of(&[Parameter::Hr]).every(60.0);
        assert!(!tell(&mut s, &past).contains('F'));
        assert_eq!(found_after(&mut s, &past[50..70]), Some(13));
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        tell(&mut s, &past);
        assert_eq!(found_after(&mut s, &past[20..180]), None, "one parameter at one a second is not looked at");
    }

    #[test]
    fn a_resend_with_its_own_times_is_none() {
        let mut noise = Noise(9);
        let past = living(&mut noise, 4, 400);
        let mut s = Story::<Check>::of(&FOUR);
        let mut sent = Vec::new();
        for token in &past {
            s.now = s.now.plus_s(1.0);
            let rows: Vec<_> = FOUR.iter().zip(token.split('/')).map(|(p, v)| observation(*p, v.parse().unwrap(), s.now)).collect();
            let report = s.report(rows);
            assert_ne!(s.send(&report), 'F');
            sent.push(report);
        }
        // At our pace, an hour later, under new ids: the times of the values are those of then.
        s.now = s.now.plus_s(3600.0);
        for old in &sent[100..300] {
            s.now = s.now.plus_s(1.0);
            let report = s.report(old.observations.clone());
            assert_ne!(s.send(&report), 'F');
        }
    }

    #[test]
    fn a_learned_profile_accuses_after_half_an_hour() {
        let mut noise = Noise(10);
        let past = living(&mut noise, 4, 400);
        let mut s = Story::<Check>::of(&FOUR);
        s.profile.reviewed = false;
        tell(&mut s, &past);
        assert_eq!(found_after(&mut s, &past[100..300]), None);
        tell(&mut s, &living(&mut noise, 4, 1800));
        assert!(found_after(&mut s, &past[100..300]).is_some());
    }

    #[test]
    fn a_day_of_changing_values_stays_in_its_memory_and_comes_back_from_a_snapshot() {
        let mut noise = Noise(12);
        let mut s = Story::<Check>::of(&TWO);
        let day = living(&mut noise, 2, 30_000);
        for tokens in day.chunks(1000) {
            assert!(!tell(&mut s, tokens).contains('F'));
        }
        let bytes = postcard::to_stdvec(&s.state).unwrap();
        let back: State = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&back).unwrap(), bytes);
        s.state = back;
        assert!(found_after(&mut s, &day[3000..3120]).is_some());
    }
}
