use super::*;
use crate::observation::{MessageKind, TimeSource};

const T0: Timestamp = Timestamp(1_800_000_000_000);

/// One device that is heard once a second.
struct Device {
    learner: Learner,
    base: Profile,
    population: Population,
    now: Timestamp,
}

impl Device {
    fn new() -> Device {
        let learner = Learner { device: "dev-1".into(), ..Learner::default() };
        Device { learner, base: Profile::default(), population: Population::default(), now: T0 }
    }

    fn say(&mut self, rows: &[(Parameter, f64, Validity)], frozen: bool) {
        let mut report = Report { kind: MessageKind::Vitals, version: "2.6".into(), ..Report::default() };
        for (parameter, value, validity) in rows {
            report.observations.push(Observation {
                parameter: *parameter,
                channel: 0,
                value: *value,
                validity: *validity,
                flags: ObsFlags::default(),
                limits: (f64::NAN, f64::NAN),
                effective_at: self.now,
                time_source: TimeSource::Obx14,
                device: 0,
                ordinal: 0,
                set_id: 0,
                segment: Default::default(),
                value_text: Default::default(),
                unit_hash: 0,
            });
        }
        let at = self.now.plus_s(0.5);
        let doubted = ParamSet::EMPTY;
        let lesson =
            Lesson { report: &report, population: &self.population, base: &self.base, at, doubted, frozen, blind: frozen };
        self.learner.learn(&lesson);
        self.now = self.now.plus_s(1.0);
    }

    fn profile(&self) -> &Profile {
        self.learner.profile(&self.base)
    }

    /// Seconds of an oximeter; now and then it says `lost` in place of a value.
    fn run(&mut self, seconds: i64, lost: f64, validity: Validity) {
        for s in 0..seconds {
            let beat = f64::from((s * s / 7 % 11) as i32);
            let value = if s % 400 < 10 { (lost, validity) } else { (60.0 + beat, Validity::Valid) };
            self.say(&[(Parameter::Pr, value.0, value.1), (Parameter::Spo2, 90.0 + beat / 2.0, Validity::Valid)], false);
        }
    }
}

#[test]
fn an_impossible_number_becomes_a_sentinel_and_is_then_no_measurement() {
    let mut device = Device::new();
    device.run(3600, 511.0, Validity::Valid);
    assert_eq!(device.profile().sentinels(Parameter::Pr), [511.0]);
    assert!(device.profile().is_sentinel(Parameter::Pr, 511.0));
    assert!(!device.profile().is_sentinel(Parameter::Spo2, 511.0));
}

#[test]
fn what_a_patient_can_have_never_becomes_a_sentinel() {
    let mut device = Device::new();
    device.run(7200, 75.0, Validity::Invalid);
    assert!(device.profile().sentinels(Parameter::Pr).is_empty(), "within the soft limits, though marked");
    let mut device = Device::new();
    device.run(7200, 255.0, Validity::Valid);
    assert!(device.profile().sentinels(Parameter::Pr).is_empty(), "not impossible, and not marked");
    let mut device = Device::new();
    device.run(7200, 255.0, Validity::Invalid);
    assert_eq!(device.profile().sentinels(Parameter::Pr), [255.0], "marked each time, and beyond every soft limit");
}

#[test]
fn the_zero_of_apnoea_is_never_one() {
    let mut device = Device::new();
    for s in 0..7200 {
        let (rate, validity) = if s % 300 < 20 { (0.0, Validity::Invalid) } else { (12.0, Validity::Valid) };
        device.say(&[(Parameter::Awrr, rate, validity)], false);
    }
    assert!(!device.profile().is_sentinel(Parameter::Awrr, 0.0));
}

#[test]
fn nothing_is_learned_under_suspicion() {
    let mut device = Device::new();
    for s in 0..7200 {
        let pr = if s % 400 < 10 { 511.0 } else { f64::from(60 + s * s / 7 % 11) };
        device.say(&[(Parameter::Pr, pr, Validity::Valid)], true);
    }
    assert!(device.learner.habits.told().is_empty());
    assert!(device.profile().sentinels(Parameter::Pr).is_empty());
}

#[test]
fn a_reviewed_profile_is_not_changed_by_what_is_learned() {
    let mut device = Device::new();
    device.base = Profile::default().reviewed_by("engineer", "2026-11-24");
    device.run(3600, 511.0, Validity::Valid);
    assert_eq!(device.profile(), &device.base);
    assert!(device.learner.habits.profile(&device.base, "x").is_sentinel(Parameter::Pr, 511.0), "but can be looked at");
}

#[test]
fn what_was_learned_survives_a_snapshot_byte_for_byte() {
    let mut device = Device::new();
    device.run(4000, 511.0, Validity::Valid);
    let bytes = postcard::to_stdvec(&device.learner).unwrap();
    let again: Learner = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
    assert_eq!(again.profile(&device.base), device.profile());
    assert!(bytes.len() < 2600, "{}", bytes.len());
}

#[test]
fn the_mean_that_is_computed_is_told_from_the_one_that_is_measured() {
    let told = |mean: fn(f64, f64) -> f64| {
        let mut device = Device::new();
        for i in 0..100 {
            let (s, d) = (f64::from(110 + i % 17), f64::from(60 + i % 9));
            let rows = [(Parameter::NibpSys, s), (Parameter::NibpDia, d), (Parameter::NibpMean, mean(s, d))];
            device.say(&rows.map(|(p, v)| (p, v, Validity::Valid)), false);
        }
        device.learner.habits.profile(&device.base, "x").pressure[0]
    };
    let computed = told(|s, d| (d + (s - d) / 3.0).round());
    assert!(computed.computed && (computed.k - 0.333).abs() < 0.01, "{computed:?}");
    let measured = told(|s, d| (d + (s - d) * 0.24).round());
    assert!(!measured.computed && (measured.k - 0.24).abs() < 0.01, "{measured:?}");
}

#[test]
fn devices_that_left_are_remembered_up_to_a_bound() {
    let mut aside = Aside::default();
    let mut learner = Learner::default();
    for i in 0..Aside::KEPT + 10 {
        aside.exchange(&mut learner, &format!("dev-{i}"));
    }
    assert_eq!(aside.iter().count(), Aside::KEPT);
    let mut first = Device::new();
    first.run(100, 511.0, Validity::Valid);
    aside.exchange(&mut first.learner, "dev-x");
    assert_eq!(first.learner.device, "dev-x");
    aside.exchange(&mut first.learner, "dev-1");
    assert_eq!(first.learner.habits.exposure().0, 100, "it came back and goes on");
}

#[test]
fn odd_numbers_and_times_do_no_harm() {
    let mut device = Device::new();
    for (i, v) in [f64::NAN, f64::INFINITY, -0.0, 1e300, 70.0, f64::MIN, 71.0].into_iter().cycle().take(500).enumerate() {
        device.now = Timestamp(T0.ms() + [0, 0, -5_000_000, i64::MAX / 2, 3][i % 5]);
        device.say(&[(Parameter::Hr, v, Validity::Valid), (Parameter::StIi, v, Validity::Valid)], false);
    }
    let _ = device.learner.habits.profile(&device.base, "x").to_toml("1.0.0");
}

#[test]
fn the_formula_of_a_device_s_qtc_and_the_order_of_its_rows_are_learned() {
    use Parameter::{Hr, Pr, Qt, Qtc, Spo2};
    let mut device = Device::new();
    for s in 0..60 {
        let hr = 80.0 + f64::from(s % 20);
        let qtc = super::super::Formula::Fridericia.corrected(400.0, hr).round();
        let valid = |p, v| (p, v, Validity::Valid);
        let mut rows = vec![valid(Hr, hr), valid(Pr, hr), valid(Spo2, 97.0), valid(Qt, 400.0), valid(Qtc, qtc)];
        if s % 3 == 0 {
            rows.remove(1);
        }
        device.say(&rows, false);
    }
    let profile = device.learner.habits.profile(&device.base, "dev-1");
    assert_eq!(
        (profile.qtc, profile.order.as_slice()),
        (Some(super::super::Formula::Fridericia), [Hr, Pr, Spo2, Qt, Qtc].as_slice())
    );
    let again = Profile::from_toml(&profile.to_toml("1.0.0")).unwrap();
    assert_eq!((again.qtc, &again.order), (profile.qtc, &profile.order));
    for _ in 0..10 {
        device.say(&[(Spo2, 97.0, Validity::Valid), (Hr, 80.0, Validity::Valid)], false);
    }
    assert!(device.learner.habits.profile(&device.base, "dev-1").order.is_empty(), "it has none");
}

#[test]
fn at_sixty_beats_every_formula_fits_and_none_is_learned() {
    let mut device = Device::new();
    for s in 0..60 {
        let qt = 400.0 + f64::from(s % 5);
        let rows = [(Parameter::Hr, 60.0), (Parameter::Qt, qt), (Parameter::Qtc, qt)].map(|(p, v)| (p, v, Validity::Valid));
        device.say(&rows, false);
    }
    assert_eq!(device.learner.habits.profile(&device.base, "dev-1").qtc, None);
}
