use super::*;
use crate::check::id;

const T: Timestamp = Timestamp(1_800_000_000_000);

fn bed() -> Bed {
    Bed::new("icu".into(), "A03".into(), T)
}

fn verdict(check: CheckId, params: &[Parameter], log10_e: f64) -> Verdict {
    Verdict { log10_e, ..Verdict::new(check, ParamSet::from_slice(params), T) }
}

fn findings(list: Vec<Verdict>) -> Findings {
    let mut verdicts = Verdicts::default();
    for v in list {
        verdicts.push(v);
    }
    let mut findings = Findings::default();
    findings.observe(&verdicts, T, None, &bed(), &Origin::default);
    findings
}

fn tamper(findings: &Findings) -> Option<Tamper> {
    findings.tamper(T, 600.0, false)
}

use Parameter::{AbpDia, AbpMean, AbpSys, Hr, Pr, Rr, Spo2};

#[test]
fn a_hard_rule_is_tampering_by_itself() {
    let found = findings(vec![Verdict { hard: true, ..verdict(id::control_id_reuse, &[], 4.0) }]);
    let t = tamper(&found).unwrap();
    assert_eq!((t.priority, t.lead), (Priority::High, id::control_id_reuse));
    assert!((0.9..=0.99).contains(&t.confidence));
    let found = findings(vec![Verdict { hard: true, ..verdict(id::control_id_reuse, &[Hr], 4.0) }]);
    assert_eq!(tamper(&found).unwrap().priority, Priority::Medium, "one parameter");
}

#[test]
fn two_families_agree_and_one_alone_stays_with_the_engineers() {
    let stuck = || verdict(id::flat_line, &[Hr], 3.0);
    let drift = || verdict(id::structure_drift, &[], 2.0);
    assert_eq!(tamper(&findings(vec![drift()])), None);
    assert_eq!(tamper(&findings(vec![stuck()])), None, "one sensor");
    let t = tamper(&findings(vec![stuck(), drift()])).unwrap();
    assert_eq!(t.rows.len(), 2);
    assert!(t.confidence >= 0.9);
    assert_eq!(tamper(&findings(vec![stuck(), verdict(id::structure_drift, &[], 1.9)])), None, "e below 100");
    let lone = findings(vec![drift()]);
    assert_eq!(lone.assess(&lone.rows[0], T), Some(Assessment::Unverified));
}

#[test]
fn a_joint_freeze_of_two_sensors_is_tampering_below_certainty() {
    let t = tamper(&findings(vec![verdict(id::flat_line, &[Hr, Spo2], 8.0)])).unwrap();
    assert_eq!(t.priority, Priority::Medium);
    assert!((0.7..0.9).contains(&t.confidence), "{}", t.confidence);
}

#[test]
fn artefact_that_outweighs_is_no_tampering() {
    // Two findings of two families, but the artefact share is the larger one.
    let found =
        findings(vec![verdict(id::pressure_order, &[AbpSys, AbpMean, AbpDia], 4.0), verdict(id::structure_drift, &[], 2.0)]);
    assert_eq!(tamper(&found), None);
    assert_eq!(found.assess(&found.rows[0], T), Some(Assessment::Artefact));
}

#[test]
fn old_evidence_does_not_agree_with_new() {
    let mut found = findings(vec![verdict(id::structure_drift, &[], 2.0)]);
    let later = T.plus_s(601.0);
    let mut verdicts = Verdicts::default();
    verdicts.push(verdict(id::flat_line, &[Hr], 3.0));
    found.observe(&verdicts, later, None, &bed(), &Origin::default);
    assert_eq!(found.tamper(later, 600.0, false), None);
}

#[test]
fn arrows_lead_directly_and_an_impossible_value_is_a_unit_where_the_unit_switched() {
    let found = findings(vec![
        verdict(id::unit_switch, &[AbpMean], 2.0),
        verdict(id::hard_range, &[AbpMean], 2.0),
        verdict(id::gap, &[Rr], 2.0),
    ]);
    let assessed: Vec<_> = found.rows.iter().map(|r| found.assess(r, T).unwrap()).collect();
    assert_eq!(assessed, [Assessment::Unit, Assessment::Unit, Assessment::Silence]);
    let found = findings(vec![verdict(id::hard_range, &[Hr], 2.0)]);
    assert_eq!(found.assess(&found.rows[0], T), Some(Assessment::Artefact));
}

#[test]
fn what_an_alarm_supports_is_physiology_and_is_no_evidence_of_tampering() {
    let mut verdicts = Verdicts::default();
    verdicts.push(verdict(id::step_held, &[Hr], 4.0));
    verdicts.push(verdict(id::structure_drift, &[], 2.0));
    let report = Report {
        alarms: vec![crate::observation::Alarm {
            parameter: Some(Hr),
            ordinal: 0,
            effective_at: T,
            phase: crate::observation::AlarmPhase::Start,
            kind: crate::observation::AlarmKind::Physiological,
            priority: crate::observation::AlarmPriority::Medium,
            inactivated: false,
            key: 1,
        }],
        ..Report::default()
    };
    let mut found = Findings::default();
    found.observe(&verdicts, T, Some(&report), &bed(), &Origin::default);
    assert_eq!(found.assess(&found.rows[0], T), Some(Assessment::Physiology));
    assert_eq!(tamper(&found), None);
    let limits = crate::config::Episodes::default();
    assert_eq!(priority(&found.rows[0], Assessment::Physiology, T, false, &limits).0, Priority::Info);
    assert_eq!(priority(&found.rows[0], Assessment::Physiology, T, true, &limits).0, Priority::Medium);
}

#[test]
fn priorities_are_those_of_the_contract() {
    let limits = crate::config::Episodes::default();
    let of = |v: Verdict, after_s: f64| {
        let found = findings(vec![v]);
        let now = T.plus_s(after_s);
        priority(&found.rows[0], found.assess(&found.rows[0], now).unwrap(), now, false, &limits).0
    };
    assert_eq!(of(verdict(id::hr_vs_pr, &[Hr, Pr], 2.0), 0.0), Priority::Medium);
    assert_eq!(of(verdict(id::hard_range, &[Spo2], 2.0), 299.0), Priority::Low);
    assert_eq!(of(verdict(id::hard_range, &[Spo2], 2.0), 300.0), Priority::Medium);
    assert_eq!(of(verdict(id::hard_range, &[Parameter::Temp], 2.0), 3000.0), Priority::Low);
    assert_eq!(of(verdict(id::unit_switch, &[AbpMean], 2.0), 0.0), Priority::Medium);
    assert_eq!(of(verdict(id::device_silence, &[], 2.0), 0.0), Priority::Medium);
    assert_eq!(of(verdict(id::device_silence, &[], 2.0), 1800.0), Priority::Low);
    assert_eq!(of(verdict(id::gap, &[Spo2], 2.0), 0.0), Priority::Low);
    assert_eq!(of(verdict(id::second_sender, &[], 2.0), 0.0), Priority::Medium);
    assert_eq!(of(verdict(id::unit_invalid, &[Hr], 2.0), 0.0), Priority::Info);
}

#[test]
fn confidence_grows_with_the_evidence_and_is_never_certain() {
    let of = |e: f64| confidence(&findings(vec![verdict(id::hr_vs_pr, &[Hr, Pr], e)]).rows[0]);
    assert!((of(1.0) - 0.68).abs() < 1e-9 && (of(2.0) - 0.9).abs() < 1e-9);
    assert!(of(f64::INFINITY) <= 0.99);
}

/// A pattern on these parameters, seen now.
fn pattern(params: &[Parameter], onset: Timestamp) -> Verdict {
    Verdict { flag: Flag::Suspect, log10_e: 0.0, onset, ..verdict(id::known_pattern, params, 0.0) }
}

#[test]
fn what_a_known_pattern_explains_is_an_artefact_and_no_evidence() {
    let line = [AbpSys, AbpMean, AbpDia];
    let drift = || verdict(id::structure_drift, &[], 4.0);
    let stuck = || Verdict { assessment: Some(Assessment::Unverified), ..verdict(id::single_stuck, &[AbpMean], 4.0) };
    let found = findings(vec![pattern(&line, T), stuck(), drift()]);
    assert_eq!(found.assess(&found.rows[1], T), Some(Assessment::Artefact));
    assert_eq!(found.assess(&found.rows[0], T), None, "a pattern raises nothing");
    let limits = crate::config::Episodes::default();
    assert_eq!(
        priority(&found.rows[1], Assessment::Artefact, T, false, &limits).0,
        Priority::Info,
        "it has no words for the ward"
    );
    // The same finding on another sensor, or long before the pattern, is not explained.
    for other in [pattern(&[Pr, Spo2], T), pattern(&line, T.plus_s(61.0)), pattern(&[AbpMean], T.plus_s(60.0))] {
        let whole = other.params.contains(AbpMean) && other.onset.since_s(T) <= 60.0;
        let found = findings(vec![other, stuck()]);
        assert_eq!(found.is_explained(&found.rows[1]), whole);
    }
    // Of two rates one that is explained is enough.
    let found = findings(vec![pattern(&[Pr, Spo2], T), verdict(id::hr_vs_pr, &[Hr, Pr], 4.0), drift()]);
    assert!(found.is_explained(&found.rows[1]));
    assert_eq!(tamper(&found), None);
}

#[test]
fn a_pattern_is_over_after_a_minute() {
    let mut found = findings(vec![pattern(&[Pr, Spo2], T)]);
    for (after_s, explained) in [(60.0, true), (61.0, false)] {
        let now = T.plus_s(after_s);
        let mut verdicts = Verdicts::default();
        verdicts.push(Verdict { onset: now, ..verdict(id::step_held, &[Pr], 2.0) });
        found.observe(&verdicts, now, None, &bed(), &Origin::default);
        assert_eq!(found.is_explained(found.row(id::step_held).unwrap()), explained);
    }
}

#[test]
fn a_pattern_takes_nothing_from_freeze_beat_resolution_sender_and_physiology() {
    let oximeter = [Pr, Spo2];
    for check in [id::flat_line, id::update_lattice, id::resolution_change, id::second_sender, id::control_id_reuse] {
        let found = findings(vec![pattern(&oximeter, T), verdict(check, &oximeter, 4.0)]);
        assert!(!found.is_explained(&found.rows[1]), "{}", check.meta().id);
    }
    // A fall that another sensor's step supports stays physiology.
    let found = findings(vec![pattern(&[Spo2, Pr], T), verdict(id::step_held, &[Spo2, Hr], 2.0), pattern(&[AbpMean, Hr], T)]);
    assert!(!found.is_explained(&found.rows[1]), "one sensor of two");
    let mut found = findings(vec![pattern(&oximeter, T), verdict(id::step_held, &[Spo2], 2.0)]);
    assert_eq!(found.assess(&found.rows[1], T), Some(Assessment::Artefact));
    found.rows[1].supported_at = T;
    assert_eq!(found.assess(&found.rows[1], T), Some(Assessment::Physiology));
}

#[test]
fn a_reviewed_beat_that_is_lost_is_tampering_and_a_learned_one_is_not() {
    let lost = |assessment| findings(vec![Verdict { assessment, ..verdict(id::update_lattice, &[Pr, Spo2], 6.0) }]);
    let t = lost(None).tamper(T, 600.0, true).expect("decisive");
    assert!((0.7..0.9).contains(&t.confidence) && t.priority == Priority::Medium);
    assert_eq!(lost(None).tamper(T, 600.0, false), None);
    assert_eq!(lost(Some(Assessment::Unverified)).tamper(T, 600.0, true), None);
}

#[test]
fn a_changed_resolution_and_a_changed_configuration_are_one_cause() {
    let grid = || verdict(id::resolution_change, &[Pr, Spo2], 2.0);
    for check in [id::structure_drift, id::cadence_change, id::unit_invalid] {
        assert_eq!(tamper(&findings(vec![grid(), verdict(check, &[], 2.0)])), None, "{}", check.meta().id);
    }
    let found = findings(vec![grid()]);
    assert_eq!(found.assess(&found.rows[0], T), Some(Assessment::Unverified));
    assert!(tamper(&findings(vec![grid(), verdict(id::impossible_latency, &[], 2.0)])).is_some(), "other evidence still joins");
}
