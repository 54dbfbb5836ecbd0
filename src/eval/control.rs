//! Controls: what hospitals do to a feed every week. None of it may become a tamper alert.
//!
//! Each scenario changes the messages of a clean rendering from some time on. The same arguments give the same messages.

use super::attack::Edit;
use super::render::{Bed, Wire, feed};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// No answer came: five messages are sent again, byte for byte.
    Resend,
    /// The network is away for five minutes; what was kept comes in one go, with its own times, while live messages go on.
    StoreAndForward,
    /// The sender writes local time without zone, and its clock goes to summer time.
    DaylightSaving,
    /// The clock of the feed is set back by twelve seconds.
    NtpStep,
    /// The gateway dies, its twin takes over after 20 s: other address, same names.
    FailOver,
    /// Three minutes of silence, then another profile version, another order of rows and one row more.
    FirmwareChange,
    /// The patient moves: ADT A02, three minutes later the monitor of the other bed speaks.
    AdtTransfer,
}

impl Control {
    pub const ALL: [Control; 7] = [
        Control::Resend,
        Control::StoreAndForward,
        Control::DaylightSaving,
        Control::NtpStep,
        Control::FailOver,
        Control::FirmwareChange,
        Control::AdtTransfer,
    ];
    pub const fn as_str(self) -> &'static str {
        match self {
            Control::Resend => "resend",
            Control::StoreAndForward => "store_and_forward",
            Control::DaylightSaving => "daylight_saving",
            Control::NtpStep => "ntp_step",
            Control::FailOver => "fail_over",
            Control::FirmwareChange => "firmware_change",
            Control::AdtTransfer => "adt_transfer",
        }
    }
}

/// Silence before another device or firmware speaks, seconds.
const PAUSE_S: f64 = 180.0;
const OUTAGE_S: f64 = 300.0;
/// What was kept comes one in so many ms.
const BURST_MS: i64 = 20;
const FAIL_OVER_S: f64 = 20.0;
const RESENT: usize = 5;
const STEP_S: f64 = -12.0;
/// The bed that the patient is moved to.
const NEW_BED: &str = "R900";
const NEW_DEVICE: &str = "02D3A1FFFE900001";

/// Plays a control on clean messages of a bed, from a time on.
pub fn play(control: Control, clean: &[Wire], bed: &Bed, at: Timestamp) -> Vec<Wire> {
    let mut wires = clean.to_vec();
    let from = wires.partition_point(|wire| wire.received_at < at);
    match control {
        Control::Resend => {
            let again: Vec<Wire> = wires.iter().skip(from).take(RESENT).cloned().collect();
            wires.extend(again.into_iter().map(|wire| Wire { received_at: wire.received_at.plus_ms(3000), ..wire }));
        }
        Control::StoreAndForward => {
            let back = at.plus_s(OUTAGE_S);
            let kept = wires.iter_mut().skip(from).take_while(|wire| wire.received_at < back);
            for (wire, place) in kept.zip(0..) {
                wire.received_at = back.plus_ms(place * BURST_MS);
            }
        }
        Control::DaylightSaving => edit(&mut wires, |wire, edit| {
            let summer_s = if wire.received_at >= at { 3600.0 } else { 0.0 };
            edit.move_times(true, true, |time| time.plus_s(summer_s));
            // No zone is written.
            for (segment, field) in [("MSH", 7), ("OBR", 7), ("OBX", 14)] {
                edit.set(segment, field, |time| time.trim_end_matches("+0000").into());
            }
        }),
        Control::NtpStep => edit(&mut wires[from..], |_, edit| edit.move_times(true, true, |time| time.plus_s(STEP_S))),
        Control::FailOver => {
            let back = at.plus_s(FAIL_OVER_S);
            wires.retain(|wire| wire.received_at < at || wire.received_at >= back);
            wires.iter_mut().skip(from).for_each(|wire| wire.feed = feed::OTHER);
        }
        Control::FirmwareChange => {
            let back = at.plus_s(PAUSE_S);
            wires.retain(|wire| wire.received_at < at || wire.received_at >= back);
            edit(&mut wires[from..], |_, edit| {
                edit.set("MSH", 21, |_| "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO".into());
                edit.append("OBX|900|ST|67880^MDC_ATTR_ID_MODEL^MDC|1.0.0.1|2.1||||||F");
            });
        }
        Control::AdtTransfer => {
            let back = at.plus_s(PAUSE_S);
            wires.retain(|wire| wire.received_at < at || wire.received_at >= back);
            let sender = &bed.sender;
            edit(&mut wires[from..], |_, edit| {
                edit.set("MSH", 3, |text| text.replace(&sender.eui64, NEW_DEVICE));
                edit.set("OBX", 18, |text| text.replace(&sender.eui64, NEW_DEVICE));
                edit.set("PV1", 3, |text| text.replace(&sender.bed, NEW_BED));
            });
            wires.push(transfer(bed, at));
        }
    }
    wires.sort_by_key(|wire| wire.received_at);
    wires
}

/// ADT A02 from the bed to the new one.
fn transfer(bed: &Bed, at: Timestamp) -> Wire {
    let (s, time) = (&bed.sender, at.hl7());
    let text = format!(
        "MSH|^~\\&|ADT|{facility}|||{time}||ADT^A02^ADT_A02|A02-{id}|P|2.6\rEVN|A02|{time}\rPID|||{patient}^^^SYNTH^PI||\
         Invented^Patient\rPV1||I|{ward}^^{NEW_BED}|||{ward}^^{bed}\r",
        facility = s.facility,
        id = at.compact(),
        patient = s.patient,
        ward = s.point_of_care,
        bed = s.bed,
    );
    Wire { received_at: at, feed: feed::ADT, bytes: text.into_bytes() }
}

fn edit(wires: &mut [Wire], mut change: impl FnMut(&Wire, &mut Edit)) {
    for wire in wires {
        let mut edit = Edit::new(&wire.bytes);
        change(wire, &mut edit);
        wire.bytes = edit.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::recording::Recording;
    use crate::eval::render::render;
    use crate::eval::synth::{Kind, Patient};

    const START: Timestamp = Timestamp::from_ms(1_790_000_000_000);

    fn clean() -> (Bed, Vec<Wire>) {
        let recording = Recording::synthetic("a", Patient::new(Kind::Healthy, 3, START, 1.0), START, 900);
        let bed = Bed::of("synthetic", 1, START);
        let wires = render(&recording, &bed);
        (bed, wires)
    }

    fn played(control: Control) -> (Vec<Wire>, Vec<Wire>) {
        let (bed, clean) = clean();
        let wires = play(control, &clean, &bed, START.plus_s(300.0));
        assert!(wires.is_sorted_by_key(|wire| wire.received_at), "{}", control.as_str());
        (clean, wires)
    }

    fn text(wire: &Wire) -> &str {
        std::str::from_utf8(&wire.bytes).unwrap()
    }

    #[test]
    fn a_resend_repeats_bytes_and_a_backlog_delays_them() {
        let (clean, resent) = played(Control::Resend);
        assert_eq!(resent.len(), clean.len() + 5);
        let (clean, late) = played(Control::StoreAndForward);
        assert_eq!(late.len(), clean.len());
        let (mut a, mut b): (Vec<_>, Vec<_>) =
            (clean.iter().map(|w| &w.bytes).collect(), late.iter().map(|w| &w.bytes).collect());
        a.sort();
        b.sort();
        assert_eq!(a, b, "no byte is changed");
        let silent = late.windows(2).map(|p| p[1].received_at.since_s(p[0].received_at)).fold(0.0, f64::max);
        assert!((299.0..302.0).contains(&silent), "{silent}");
    }

    #[test]
    fn clocks_move_and_say_no_zone_or_keep_it() {
        let (_, summer) = played(Control::DaylightSaving);
        assert!(summer.iter().all(|w| !text(w).contains("+0000")));
        let sent =
            |wire: &Wire| crate::hl7::time::Dtm::parse(text(wire).split('|').nth(6).unwrap().as_bytes()).unwrap().at_offset(0);
        let ahead_s = sent(summer.last().unwrap()).since_s(summer.last().unwrap().received_at);
        assert!((3595.0..3600.0).contains(&ahead_s), "{ahead_s}");
        let (_, set) = played(Control::NtpStep);
        let behind_s = set.last().unwrap().received_at.since_s(sent(set.last().unwrap()));
        assert!((12.0..13.0).contains(&behind_s), "{behind_s}");
    }

    #[test]
    fn a_gateway_a_firmware_and_a_bed_change_after_a_pause() {
        let (_, over) = played(Control::FailOver);
        let (own, other): (Vec<_>, Vec<_>) = over.iter().partition(|w| w.feed == feed::OWN);
        assert!(other[0].received_at.since_s(own.last().unwrap().received_at) > 19.0, "one after the other");
        let (_, new) = played(Control::FirmwareChange);
        assert!(text(new.last().unwrap()).contains("MDC_ATTR_ID_MODEL") && !text(&new[0]).contains("MDC_ATTR_ID_MODEL"));
        let (_, moved) = played(Control::AdtTransfer);
        let adt: Vec<_> = moved.iter().filter(|w| w.feed == feed::ADT).collect();
        assert_eq!(adt.len(), 1);
        assert!(text(adt[0]).contains("\rPV1||I|icu^^R900|||icu^^R001\r"), "{}", text(adt[0]));
        assert!(text(moved.last().unwrap()).contains("\rPV1||I|icu^^R900\r"));
        assert!(!text(moved.last().unwrap()).contains("02D3A1FFFE000001"));
    }
}
