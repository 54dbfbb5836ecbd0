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
