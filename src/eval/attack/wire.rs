//! Attacks on messages: who sends, when, under which id, in which form.

use super::edit::{Edit, change_number, code};
use super::stream::Context;
use super::truth::truth;
use super::{Attacked, Kind, Severity, Tier, Unfit, Vector, donor_bed};
use crate::eval::render::{Rate, Wire, feed, limits, render};
use crate::eval::synth::random::Random;
use crate::time::Timestamp;
use crate::vital::{Parameter, Unit};
use std::fmt::Write as _;

/// Of another sender: application, device.
const OTHER_APPLICATION: &str = "BEDSIDE-LINK";
const OTHER_DEVICE: &str = "02D3A1FFFEEE0001";
/// Messages between a reused id and its first use.
const REUSED_BACK: usize = 30;
/// A message of this size is beyond every intake limit, bytes.
const OVERSIZE: usize = 32 << 20;

/// What the messages of the bed are, and which of them come within the window.
struct Feed<'a> {
    c: &'a Context<'a>,
    wires: Vec<Wire>,
    from: usize,
    to: usize,
}

impl Feed<'_> {
    fn window(&mut self) -> &mut [Wire] {
        &mut self.wires[self.from..self.to]
    }
    fn edit(&mut self, mut change: impl FnMut(&mut Edit)) {
        for wire in self.window() {
            let mut edit = Edit::new(&wire.bytes);
            change(&mut edit);
            wire.bytes = edit.bytes();
        }
    }
    /// Puts further messages in, by arrival.
    fn insert(&mut self, mut more: Vec<Wire>) {
        self.wires.append(&mut more);
        self.wires.sort_by_key(|wire| wire.received_at);
    }
}

pub fn inject(c: &Context<'_>, random: &mut Random) -> Result<Attacked, Unfit> {
    let wires = render(c.recording, c.bed);
    let from = wires.partition_point(|wire| wire.received_at < c.start());
    let to = wires.partition_point(|wire| wire.received_at < c.end());
    if from >= to || from == 0 {
        return Err(Unfit::NoRoom);
    }
    let mut truth = truth(c);
    let mut other_bed = None;
    let mut f = Feed { c, wires, from, to };
    match c.attack.kind {
        Kind::SecondSender => second_sender(&mut f, random)?,
        Kind::SenderChange => {
            let copied = c.attack.tier != Tier::K0;
            f.edit(|edit| {
                if !copied {
                    as_other(edit)
                }
            });
            f.window().iter_mut().for_each(|wire| wire.feed = feed::OTHER);
        }
        Kind::DeviceChange => {
            f.edit(|edit| {
                edit.set("OBX", 18, |text| {
                    if text.is_empty() { String::new() } else { format!("{OTHER_DEVICE}^^{OTHER_DEVICE}^EUI-64") }
                });
            })
        }
        Kind::IdentityChange => f.edit(|edit| {
            edit.set("PID", 3, |_| "OTHER-01^^^SYNTH^PI".into());
            edit.set("PID", 5, |_| "Invented^Other".into());
        }),
        Kind::ControlIdReuse => {
            let messages = match c.attack.severity {
                Severity::Messages(n) => n as usize,
                _ => 1,
            };
            let back = REUSED_BACK.min(f.from);
            for at in f.from..(f.from + messages).min(f.to) {
                let old = Edit::new(&f.wires[at - back].bytes).field("MSH", 10).to_owned();
                let mut edit = Edit::new(&f.wires[at].bytes);
                edit.set("MSH", 10, |_| old.clone());
                f.wires[at].bytes = edit.bytes();
            }
            truth.end = f.wires[(f.from + messages).min(f.to) - 1].received_at.plus_ms(1000);
        }
        Kind::ResentAsNew => {
            let count = (f.to - f.from).min(f.from);
            for n in 0..count {
                let (old, new) = (f.wires[f.from - count + n].bytes.clone(), Edit::new(&f.wires[f.from + n].bytes));
                let mut edit = Edit::new(&old);
                edit.set("MSH", 7, |_| new.field("MSH", 7).into());
                edit.set("MSH", 10, |_| new.field("MSH", 10).into());
                f.wires[f.from + n].bytes = edit.bytes();
            }
        }
        Kind::TimeShift | Kind::Backdate => {
            let Severity::Seconds(by_s) = c.attack.severity else { return Err(Unfit::NoModel) };
            let all = c.attack.kind == Kind::TimeShift;
            f.edit(|edit| edit.move_times(all, true, |at| at.plus_s(by_s)));
        }
        Kind::TimeFrozen => {
            let measured = Edit::new(&f.wires[f.from].bytes).field("OBR", 7).to_owned();
            f.edit(|edit| {
                edit.set("OBR", 7, |_| measured.clone());
                edit.set("OBX", 14, |text| if text.is_empty() { String::new() } else { measured.clone() });
            });
        }
        Kind::SegmentInjection | Kind::Abuse => {
            let Severity::Vector(vector) = c.attack.severity else { return Err(Unfit::NoModel) };
            let wire = &mut f.wires[from];
            wire.bytes = broken(&wire.bytes, vector);
            truth.end = wire.received_at.plus_ms(1000);
        }
        Kind::AlarmFlood => alarm_flood(&mut f)?,
        Kind::AlarmSuppression | Kind::LimitWiden => hide_alarms(&mut f)?,
        Kind::Silence | Kind::MassSilence => {
            f.wires.drain(from..to);
            if c.attack.kind == Kind::MassSilence {
                let mut wires = render(c.donor.ok_or(Unfit::NoDonor)?, &donor_bed(c.bed));
                wires.retain(|wire| wire.received_at < c.start() || wire.received_at >= c.end());
                other_bed = Some(wires);
            }
        }
        Kind::TapDiffers => {
            let by = match c.attack.severity {
                Severity::Units(by) => by,
                _ => 15.0,
            };
            let copies = f.window().iter().map(|wire| {
                let mut edit = Edit::new(&wire.bytes);
                for fields in edit.values() {
                    change_number(fields, |v| v + by);
                }
                Wire { received_at: wire.received_at.plus_ms(120), feed: feed::TAP, bytes: edit.bytes() }
            });
            let copies = copies.collect();
            f.insert(copies);
        }
        Kind::UnitDeclared => {
            let pressures = c.recording.parameters().iter().any(|p| p.unit() == Unit::MmHg);
            if !pressures {
                return Err(Unfit::NoParameter);
            }
            f.edit(|edit| {
                for fields in edit.values().filter(|fields| fields.get(6).is_some_and(|unit| unit.contains("MMHG"))) {
                    change_number(fields, |v| (v / 7.500_62 * 10.0).round() / 10.0);
                    fields[6] = "265987^MDC_DIM_KILO_PASCAL^MDC".into();
                }
            });
        }
        Kind::ProfileChange => f.edit(|edit| {
            edit.set("MSH", 12, |_| "2.3".into());
            edit.set("MSH", 21, |_| String::new());
        }),
        _ => return Err(Unfit::NoModel),
    }
    if let Some(from) = c.from() {
        f.wires.retain(|wire| wire.received_at >= from);
        if let Some(wires) = &mut other_bed {
            wires.retain(|wire| wire.received_at >= from);
        }
    }
    Ok(Attacked { wires: f.wires, truth, other_bed })
}

fn as_other(edit: &mut Edit) {
    edit.set("MSH", 3, |_| format!("{OTHER_APPLICATION}^{OTHER_DEVICE}^EUI-64"));
    edit.set("MSH", 10, |id| format!("L{id}"));
    edit.set("OBX", 18, |text| if text.is_empty() { String::new() } else { format!("{OTHER_DEVICE}^^{OTHER_DEVICE}^EUI-64") });
}

/// Messages between the bed's own: rates higher by a fifth, saturation normal. Who knows the sender writes its names.
fn second_sender(f: &mut Feed<'_>, random: &mut Random) -> Result<(), Unfit> {
    let Severity::Messages(wanted) = f.c.attack.severity else { return Err(Unfit::NoModel) };
    let copied = f.c.attack.tier != Tier::K0;
    let mut more = Vec::new();
    for at in f.from..f.to.min(f.wires.len() - 1) {
        if more.len() >= wanted as usize {
            break;
        }
        let (own, next) = (&f.wires[at], &f.wires[at + 1]);
        let half_ms = (next.received_at.since_ms(own.received_at) / 2).min(20_000);
        let mut edit = Edit::new(&own.bytes);
        if copied {
            edit.set("MSH", 10, |id| format!("{id}1"));
        } else {
            as_other(&mut edit);
        }
        for fields in edit.values() {
            let saturation = code(fields) == "150456";
            let wander = random.below(3) as f64;
            change_number(fields, |v| if saturation { 96.0 + wander } else { (v * 1.2).round() + wander });
        }
        edit.move_times(true, true, |at| at.plus_ms(half_ms.min(700)));
        more.push(Wire { received_at: own.received_at.plus_ms(half_ms.max(1)), feed: feed::OTHER, bytes: edit.bytes() });
    }
    if more.len() < wanted as usize {
        return Err(Unfit::NoRoom);
    }
    f.insert(more);
    Ok(())
}

/// Alarms of the bed, each another one than those of the last minute.
fn alarm_flood(f: &mut Feed<'_>) -> Result<(), Unfit> {
    let Severity::Messages(wanted) = f.c.attack.severity else { return Err(Unfit::NoModel) };
    let present = f.c.recording.parameters();
    let sources: Vec<Parameter> = present.iter().filter(|p| limits(*p).is_some() && p.mdc().is_some()).collect();
    if sources.is_empty() {
        return Err(Unfit::NoParameter);
    }
    let lasts_ms = f.c.end().since_ms(f.c.start());
    let mut more = Vec::new();
    for n in 0..wanted {
        let at = f.c.start().plus_ms(i64::from(n) * lasts_ms / i64::from(wanted.max(1)) + 333);
        let source = sources[n as usize % sources.len()];
        // Kinds of alarm come round after more than a minute.
        let event = 196_648 + 2 * (n % 40);
        more.push(Wire { received_at: at.plus_ms(400), feed: feed::OWN, bytes: alarm(f.c, n, at, event, source) });
    }
    f.insert(more);
    Ok(())
}

/// An alarm report of the bed's own sender.
fn alarm(c: &Context<'_>, number: u32, at: Timestamp, event: u32, source: Parameter) -> Vec<u8> {
    let s = &c.bed.sender;
    let (code, name) = source.mdc().unwrap_or((0, ""));
    let time = at.hl7();
    let mut text = format!(
        "MSH|^~\\&|{}^{}^EUI-64|{}|||{time}||ORU^R40^ORU_R40|{}-A{number}|{}|2.6|||NE|AL||UNICODE UTF-8|||\
         IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO\rPID|||{}^^^SYNTH^PI||Invented^Patient\rPV1||I|{}^^{}\r\
         OBR|1|||196616^MDC_EVT_ALARM^MDC|||{time}\r",
        s.application, s.eui64, s.facility, s.bed, s.processing, s.patient, s.point_of_care, s.bed
    );
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "OBX|1|ST|{event}^MDC_EVT_{event}^MDC|1.3.1.1.1|Limit|||H~PM~SP|||F\r\
         OBX|2|ST|68164^MDC_ATTR_ALERT_SOURCE^MDC|1.3.1.1.2|{code}^{name}^MDC||||||F\r\
         OBX|3|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.3.1.1.3|start||||||F\r\
         OBX|4|ST|68166^MDC_ATTR_ALARM_STATE^MDC|1.3.1.1.4|active||||||F\r"
    );
    text.into_bytes()
}

/// Marks of values beyond their limits are taken away; the limits stay, or are widened past the value.
fn hide_alarms(f: &mut Feed<'_>) -> Result<(), Unfit> {
    if !f.c.bed.limits {
        return Err(Unfit::NoLimits);
    }
    let widen = f.c.attack.kind == Kind::LimitWiden;
    let mut hidden = 0u32;
    f.edit(|edit| {
        for fields in edit.values() {
            if !matches!(fields.get(8).map(String::as_str), Some("H" | "L")) {
                continue;
            }
            hidden += 1;
            fields[8] = String::new();
            let (Ok(value), true) = (fields[5].parse::<f64>(), widen) else { continue };
            let sides: Vec<f64> = fields[7].split('-').filter_map(|side| side.parse().ok()).collect();
            if let [low, high] = sides[..] {
                fields[7] = format!("{}-{}", low.min(value.floor() - 10.0).max(0.0), high.max(value.ceil() + 10.0));
            }
        }
    });
    // A minute and more, or nothing was hidden.
    let least = if f.c.bed.rate == Rate::Native { (90.0 / f.c.recording.interval_s.max(1.0)).ceil() as u32 } else { 2 };
    if hidden < least { Err(Unfit::NothingToHide) } else { Ok(()) }
}

/// A message that is built to hide or to add, or that is none.
fn broken(bytes: &[u8], vector: Vector) -> Vec<u8> {
    const ROW: &str = "OBX|9|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|40|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R";
    let mut edit = Edit::new(bytes);
    match vector {
        Vector::NameObx => edit.set("PID", 5, |name| format!("{name}\r{ROW}")),
        Vector::IdPid => edit.set("PID", 3, |id| format!("{id}\rPID|||9999^^^SYNTH^PI")),
        Vector::SecondHeader => edit.set("PID", 5, |name| format!("{name}\rMSH|^~\\&|A|B\rZZZ")),
        Vector::SecondPlace => edit.set("PID", 5, |name| format!("{name}\rPV1||I|icu^^OTHER\rZZZ")),
        Vector::OrderBroken => edit.set("PV1", 3, |place| format!("{place}\r{ROW}")),
        Vector::Oversize => {
            let note = "X".repeat(OVERSIZE);
            edit.set("PID", 5, |name| format!("{name}{note}"));
        }
        Vector::BrokenOff => {
            let cut = bytes.len() / 3;
            return bytes[..cut].to_vec();
        }
        Vector::WrongEncoding => {
            let mut bytes = bytes.to_vec();
            if let Some(at) = bytes.windows(8).position(|w| w == b"Invented") {
                bytes[at..at + 4].copy_from_slice(&[0xFF, 0xFE, 0x00, 0xD8]);
            }
            return bytes;
        }
    }
    edit.bytes()
}
