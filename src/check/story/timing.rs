//! The checks of values over time on recorded patients: what they say of clean records, and of copies that were smoothed or
//! replaced. Where the folder is not present nothing is run.

use super::observation;
use super::recordings::{Encoding, Noise, T0, Ward, files, read};
use crate::check::Flag;
use crate::observation::{Observation, Validity};
use crate::profile::Profile;
use crate::vital::Parameter;
use std::collections::BTreeMap;
use std::path::Path;

/// What is done to pulse rate and saturation from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// A mean of the last 60 s, one decimal or whole numbers.
    Smooth { rounded: bool },
    /// An autoregressive series, renewed every so many seconds.
    Invented { every_s: f64 },
    /// A straight line from value to value of so many seconds, one decimal.
    Line { every_s: f64 },
    /// One reading of 200.
    Spike,
}

/// Episodes (300 s apart) by check; seconds from the change to the first finding of each check.
#[derive(Debug, Default)]
struct Outcome {
    days: f64,
    episodes: BTreeMap<&'static str, u32>,
    found_s: BTreeMap<&'static str, f64>,
}

/// The monitor of one set, as a person would have reviewed it.
fn beat_of_four() -> Profile {
    Profile::from_toml(
        "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = true\nreviewed_by_role = \"x\"\n\
         reviewed_on = \"2026-11-30\"\nperiod_s = 4.0\nzero_is_measured = [\"awrr\", \"etco2\"]\n\
         [quantum]\npr = 1.0\nspo2 = 1.0\netco2 = 0.1\n",
    )
    .expect("a profile")
}

const IDS: [&str; 7] = ["T02", "T04", "T05", "T06", "T10", "T11", "T18"];

/// Plays a record; `None` where the values at the start of the change are not there, or too few after it.
fn play(path: &Path, encoding: Encoding, profile: &Profile, change: Option<(f64, Change)>) -> Option<Outcome> {
    let moments = read(path);
    let start_s = change.map_or(f64::INFINITY, |c| c.0);
    if let Some((start_s, _)) = change {
        let last = moments.iter().rev().find(|m| m.0 < start_s)?;
        let whole = [Parameter::Pr, Parameter::Spo2].iter().all(|p| last.1.iter().any(|(q, v)| q == p && v.is_some()));
        if !whole || moments.last()?.0 < start_s + 600.0 {
            return None;
        }
    }
    let mut ward = Ward::new(T0);
    ward.profile = profile.clone();
    let mut outcome = Outcome::default();
    let mut last_at: BTreeMap<(&'static str, Option<Parameter>), f64> = BTreeMap::new();
    let mut recent: BTreeMap<Parameter, std::collections::VecDeque<(f64, f64)>> = BTreeMap::new();
    let mut series: BTreeMap<Parameter, (f64, f64, f64)> = BTreeMap::new();
    let mut noise = Noise(20_261_130);
    let (mut before, mut rows) = (0.0, Vec::<Observation>::new());
    for (t, values) in &moments {
        if *t >= start_s + 600.0 {
            break;
        }
        if encoding == Encoding::Minute && *t > 0.0 && t - before < 60.0 {
            continue;
        }
        let now = T0.plus_s(*t);
        rows.clear();
        for (parameter, value) in values {
            let mut o = observation(*parameter, value.unwrap_or(f64::NAN), now);
            if encoding == Encoding::Minute {
                o.value = o.value.round();
            }
            if value.is_none() {
                o.validity = Validity::Absent;
            }
            if let Some((_, change)) = change
                && matches!(parameter, Parameter::Pr | Parameter::Spo2)
            {
                let kept = recent.entry(*parameter).or_default();
                if let Some(v) = value {
                    kept.push_back((*t, *v));
                }
                while kept.front().is_some_and(|(at, _)| t - at >= 60.0) {
                    kept.pop_front();
                }
                let mean = kept.iter().map(|k| k.1).sum::<f64>() / kept.len().max(1) as f64;
                // A spike is put upon what was recorded; whoever smooths or invents fills the drop-outs, too.
                let altered = value.is_some() || change != Change::Spike;
                if *t >= start_s && altered && !kept.is_empty() {
                    o.validity = Validity::Valid;
                    o.value = alter(change, *parameter, t - start_s, mean, value.unwrap_or(mean), &mut series, &mut noise);
                }
            }
            rows.push(o);
        }
        ward.send(now.plus_ms(200 + (*t as i64).wrapping_mul(7919).rem_euclid(600)), &rows);
        outcome.days += (t - before).clamp(0.0, 60.0) / 86_400.0;
        before = *t;
        for v in ward.verdicts.list.iter().filter(|v| v.flag >= Flag::Suspect) {
            let id = v.check.meta().id;
            let key = (id, v.params.iter().next());
            if last_at.get(&key).is_none_or(|at| t - at > 300.0) {
                *outcome.episodes.entry(id).or_default() += 1;
                if IDS.contains(&id) && !matches!(id, "T02" | "T18") && std::env::var_os("VG_TEST_SAY").is_some() {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    println!("  {name} {t} {id} {} {:?} value {:?} {:?}", v.text, v.params.iter().next(), v.value, v.window_s);
                }
            }
            last_at.insert(key, *t);
            if *t >= start_s {
                outcome.found_s.entry(id).or_insert(t - start_s);
            }
        }
    }
    Some(outcome)
}

/// The value that is sent in place of the recorded one, `t` seconds after the change began.
fn alter(
    change: Change,
    parameter: Parameter,
    t: f64,
    mean: f64,
    value: f64,
    series: &mut BTreeMap<Parameter, (f64, f64, f64)>,
    noise: &mut Noise,
) -> f64 {
    match change {
        Change::Smooth { rounded: false } => (mean * 10.0).round() / 10.0,
        Change::Smooth { rounded: true } => mean.round(),
        Change::Spike if t < 4.0 && parameter == Parameter::Pr => 200.0,
        Change::Spike => value,
        Change::Invented { every_s } => {
            // Level, present deviation, time of the next one.
            let (level, deviation, next) = series.entry(parameter).or_insert((mean, 0.0, 0.0));
            if t >= *next {
                let spread = if parameter == Parameter::Pr { 1.7 } else { 0.9 };
                *deviation = 0.9 * *deviation + spread * noise.next();
                *next = t + every_s;
            }
            let most = if parameter == Parameter::Pr { 300.0 } else { 100.0 };
            (*level + *deviation).round().min(most)
        }
        Change::Line { every_s } => {
            let (from, to, began) = series.entry(parameter).or_insert((value, value, t));
            if t - *began >= every_s {
                (*from, *to, *began) = (*to, value + 4.0 * noise.next(), t);
            }
            ((*from + (*to - *from) * (t - *began) / every_s) * 10.0).round() / 10.0
        }
    }
}

fn total(outcomes: &[Outcome]) -> (f64, BTreeMap<&'static str, (u32, usize)>) {
    let mut counts: BTreeMap<&'static str, (u32, usize)> = BTreeMap::new();
    for (id, n) in outcomes.iter().flat_map(|o| &o.episodes) {
        let count = counts.entry(id).or_default();
        *count = (count.0 + n, count.1 + 1);
    }
    counts.retain(|id, _| IDS.contains(id));
    (outcomes.iter().map(|o| o.days).sum(), counts)
}

/// `cargo test --lib timing -- --ignored --nocapture`: episodes and records by check.
#[test]
#[ignore = "minutes: every record"]
fn clean_records_lose_no_grid_and_no_beat() {
    let mut learned = Profile::default();
    learned.learns = true;
    for (set, encoding) in [
        ("hfno_tcco2", Encoding::Status),
        ("ipi_capno", Encoding::Status),
        ("uw_hypoxia", Encoding::Status),
        ("mimic3_pap", Encoding::Status),
        ("mimic3_wdb_sample", Encoding::Status),
        ("pap_wave_1s", Encoding::Status),
        ("hfno_tcco2", Encoding::Minute),
        ("ipi_capno", Encoding::Minute),
        ("mimic3_pap", Encoding::Minute),
    ] {
        let profile = if set == "hfno_tcco2" && encoding == Encoding::Status { beat_of_four() } else { learned.clone() };
        for profile in [&learned, &profile] {
            let outcomes: Vec<Outcome> =
                files(set).unwrap_or_default().iter().filter_map(|f| play(f, encoding, profile, None)).collect();
            let (days, counts) = total(&outcomes);
            println!("{set} {encoding:?} {}: {} records, {days:.2} bed-days: {counts:?}", profile.name, outcomes.len());
            for id in ["T05", "T06"] {
                assert!(!counts.contains_key(id), "{set} {encoding:?}: {id} {counts:?}");
            }
            if profile.name == "generic" && profile == &learned && !(set == "hfno_tcco2" && encoding == Encoding::Status) {
                break;
            }
        }
    }
}

/// Copies with a change of ten minutes in pulse rate and saturation.
fn changed(set: &str, change: Change, profile: &Profile, id: &str, least: f64) {
    let mut outcomes = Vec::new();
    for file in files(set).unwrap_or_default() {
        for start_s in [2400.0, 4800.0] {
            outcomes.extend(play(&file, Encoding::Status, profile, Some((start_s, change))));
        }
    }
    if outcomes.is_empty() {
        return;
    }
    for check in IDS {
        let mut delays: Vec<f64> = outcomes.iter().filter_map(|o| o.found_s.get(check)).copied().collect();
        if delays.is_empty() {
            continue;
        }
        delays.sort_by(f64::total_cmp);
        let at = |q: f64| delays[((delays.len() as f64 * q) as usize).min(delays.len() - 1)];
        let share = delays.len() as f64 / outcomes.len() as f64;
        println!(
            "{set} {} {change:?}: {check} in {} of {} ({share:.2}), median {} s, 95 % {} s",
            profile.name,
            delays.len(),
            outcomes.len(),
            at(0.5),
            at(0.95)
        );
    }
    let found = outcomes.iter().filter(|o| o.found_s.contains_key(id)).count();
    assert!(found as f64 >= least * outcomes.len() as f64, "{set} {change:?}: {id} {found} of {}", outcomes.len());
}

#[test]
#[ignore = "minutes: every record"]
fn smoothed_and_invented_values_are_found() {
    let (reviewed, learned) = (beat_of_four(), Profile::default());
    for profile in [&reviewed, &learned] {
        changed("hfno_tcco2", Change::Smooth { rounded: false }, profile, "T05", 0.95);
        changed("hfno_tcco2", Change::Invented { every_s: 1.0 }, profile, "T06", if profile.reviewed { 0.95 } else { 0.9 });
        changed("hfno_tcco2", Change::Smooth { rounded: true }, profile, "T06", 0.7);
    }
    changed("hfno_tcco2", Change::Invented { every_s: 4.0 }, &reviewed, "T06", 0.0);
    changed("hfno_tcco2", Change::Line { every_s: 60.0 }, &reviewed, "T05", 0.5);
    changed("hfno_tcco2", Change::Spike, &reviewed, "T02", 0.0);
    changed("ipi_capno", Change::Smooth { rounded: false }, &learned, "T05", 0.9);
    changed("ipi_capno", Change::Line { every_s: 60.0 }, &learned, "T10", 0.0);
}
