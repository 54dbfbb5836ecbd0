//! One hostile sender that invents ten thousand of everything.

use super::stories::adt;
use super::*;

const MANY: u64 = 10_000;

#[test]
fn ten_thousand_invented_devices_beds_patients_and_ids_stay_within_bounds() {
    let beds = crate::config::Beds { beds_max: Some(500), ..crate::config::Beds::default() };
    let mut w = Ward::with(Settings { site: "hsp1".into(), beds, ..Settings::default() });
    w.live(&["A01"], 120);
    let settled = w.monitor.snapshot().len();
    let row: [Row; 1] = [(HR, "hr", 72.0)];
    for n in 0..MANY {
        // New device, new patient and new control id in a new bed, then all of that in one known bed.
        for bed in [format!("X{n}"), "A01".to_owned()] {
            let bytes = frame(&bed, &format!("C{n}-{bed}"), &format!("M{n}^{n:016X}^EUI-64"), w.now, &row);
            let text = String::from_utf8(bytes).unwrap().replace(&format!("P-{bed}^"), &format!("P-{n}^"));
            w.send(text.as_bytes());
        }
        if n % 50 == 0 {
            w.wait(1.0);
        }
    }
    let sizes = w.monitor.registry.sizes();
    assert_eq!((sizes.ids, sizes.stays, sizes.pending), (0, 0, 0), "values teach nothing about admissions");
    assert!(sizes.aside <= 1, "only who has learned something is put aside: {sizes:?}");
    assert_eq!(w.monitor.cells.len() - w.monitor.cells.iter().filter(|c| c.reserved).count(), 500);
    assert!(w.monitor.fleet.patients() as u64 <= MANY + 1);
    assert!(w.monitor.device_counts().0 as u64 <= MANY + 1);
    // 500 beds of one value each, and the remembered devices and patients.
    let snapshot = w.monitor.snapshot().len() - settled;
    assert!(snapshot < 500 * 60_000 + MANY as usize * 120, "{snapshot} bytes");
    // And what was known before is known still.
    w.live(&["A01"], 2);
    let bed = w.monitor.bed_id("icu", "A01").unwrap();
    assert!(w.monitor.bed_state(bed, w.now).unwrap().params.0.iter().all(|(_, p)| p.value.is_some()));
}

#[test]
fn a_flood_of_admissions_merges_and_links_opens_no_bed_and_forgets_no_one_who_lies_in_one() {
    let mut w = Ward::new();
    w.live(&["A01"], 70);
    // P-A01 has another name that must survive.
    let t = w.now.hl7();
    let merge = format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^A40|K1|P|2.6\rEVN||{t}\rPID|||P-A01^^^HOSP^MR\rMRG|TRUE-1^^^HOSP^MR\r");
    w.send(merge.as_bytes());
    for n in 0..MANY {
        let text = adt("A01", &format!("Y{n}"), "", &format!("Q{n}"), w.now);
        w.send(&text);
        let ids: Vec<String> = (0..4).map(|k| format!("Q{n}-{k}^^^A{k}")).collect();
        let merge = format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^A40|M{n}|P|2.6\rEVN||{t}\rPID|||{}\rMRG|R{n}~S{n}\r", ids.join("~"));
        w.send(merge.as_bytes());
        if n % 100 == 0 {
            w.wait(1.0);
        }
    }
    let sizes = w.monitor.registry.sizes();
    assert!(sizes.ids <= 65_536 && sizes.stays <= 32_768 && sizes.pending <= 8192, "{sizes:?}");
    assert_eq!(w.monitor.beds().count(), 1);
    let snapshot = w.monitor.snapshot().len();
    assert!(snapshot < 4_000_000, "{snapshot} bytes");
    let (true_id, first) = (w.monitor.keyed.patient("HOSP\0TRUE-1"), w.monitor.cells[0].bed.patient);
    assert_eq!(w.monitor.registry.aliases.resolve(true_id), first);
    assert!(w.told().iter().all(|t| t.contains("M03") && t.contains("A01")), "{:?}", w.told());
}
