//! The catalogue of checks, by name: whoever takes one away is told which.

use std::path::Path;

/// Every check of the scientific basis, and its module.
const CATALOGUE: &str = "\
    A01:hard_range A02:soft_range A03:pressure_order A04:map_form_factor A05:pulse_pressure A06:spo2_scale A07:hr_vs_pr \
    A08:rate_vs_nbp_pulse A09:abp_vs_nbp A10:rr_vs_awrr A11:rr_equals_hr A12:etco2_zero_with_rr A13:awrr_zero_with_etco2 \
    A14:core_skin A15:asystole_with_perfusion A16:pap_vs_abp A17:arterial_pair A18:co_ci A19:svr A20:cpp A21:minute_volume \
    A22:qtc A23:tcco2_vs_etco2 C01:unit_invalid C02:unit_switch C03:time_order C04:structure_drift C05:code_conflict \
    C06:status_conflict C07:segment_injection C08:duplicate_code M01:gap M02:parameter_suppressed M03:device_silence \
    M04:mass_silence M05:selective_loss M06:stale_repeat M07:marks_vanish M08:nbp_overdue N01:advisory_match \
    N02:indicator_address N03:indicator_frame N04:identity_in_clear N05:indicator_nfs P01:control_id_reuse \
    P02:second_sender P03:sender_not_allowed P04:device_change P05:clock_shift P06:impossible_latency P07:cadence_change \
    P08:adt_mismatch P09:identity_binding P10:feed_disagreement P11:alarm_value_coherence P12:limit_change \
    P13:category_change P14:alarm_flood P15:spot_check P16:transport_identity P17:quarantined_device S01:journal_failed \
    S02:outbox_behind S03:publisher_conflict S04:no_station_listening S05:alert_flood S06:advisories_old \
    S07:clock_untrusted T01:step_held T02:spike T03:flat_line T04:single_stuck T05:resolution_change T06:update_lattice \
    T07:self_replay T08:patient_clone T09:delta_replay T10:interpolation T11:digit_preference T12:level_shift \
    T13:drift_alone T14:scale_shift T15:variability_loss T16:coupling_loss T17:swap_step T18:known_pattern";

fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    CATALOGUE.split_whitespace().map(|entry| entry.split_once(':').expect("id:name"))
}

#[test]
fn every_check_is_there_and_has_stories_of_its_own() {
    let known = vitalguard::check::CATALOGUE;
    let mut faults = Vec::new();
    for (id, name) in catalogue() {
        if !known.iter().any(|meta| (meta.id, meta.name) == (id, name)) {
            faults.push(format!("{id} {name}: the program has no such check"));
        }
        // What the installation says of itself (S) and what the network shows (N) is told by stories of the whole program.
        if id.starts_with(['N', 'S']) {
            continue;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/check/{name}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let tests = text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests);
        if !tests.contains("#[test]") {
            faults.push(format!("{id} {name}: {} has no test", file.display()));
        }
    }
    for meta in known.iter().filter(|meta| !catalogue().any(|(id, _)| id == meta.id)) {
        faults.push(format!("{} {}: is not listed here", meta.id, meta.name));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
