//! Whom and which device a message speaks of, as far as it says so itself.
//!
//! Nothing is believed or joined here: names are not read at all, ids are copied as sent for the bed to hash, and what looks
//! like no id is none.

use super::super::dialect::{DeviceSource, Identity, Path, Table};
use super::super::{Field, Segment};
use crate::observation::{AgeBand, Device, Report, Subject};
use crate::time::Timestamp;

/// Devices of one message at most; rows of further ones count for the sender's own.
pub const DEVICES_MAX: usize = 256;
/// Bytes kept of an id or a place.
const ID_BYTES_MAX: usize = 128;
/// Bytes kept of the names of one device.
const NAMES_BYTES_MAX: usize = 512;
/// Bytes kept of what a message says of its software.
const SOFTWARE_BYTES_MAX: usize = 1024;

/// Appends a field's text, bounded.
fn put(out: &mut String, field: Field<'_>) {
    if field.is_empty() {
        return;
    }
    let text = field.text();
    let mut end = text.len().min(ID_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push_str(&text[..end]);
}

/// Appends a text as a line of its own, unless it stands there already or there is no room for it whole.
fn put_line(out: &mut String, field: Field<'_>, bytes_max: usize) {
    if field.is_empty() {
        return;
    }
    let text = field.text();
    // A line end in an escape would make two lines of one.
    let line = text[..memchr::memchr(b'\n', text.as_bytes()).unwrap_or(text.len())].trim_end();
    let fits = out.len() + line.len() < bytes_max && line.len() <= ID_BYTES_MAX;
    if fits && !line.is_empty() && !out.as_bytes().split(|byte| *byte == b'\n').any(|known| known == line.as_bytes()) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(line);
    }
}

/// Every component of a field that names a device, in all its repetitions, one a line.
pub fn put_names(out: &mut String, field: Field<'_>) {
    if field.raw().is_empty() {
        return;
    }
    for component in field.repetitions().take(8).flat_map(|repetition| repetition.components()) {
        put_line(out, component, NAMES_BYTES_MAX);
    }
}

/// SFT-1 to SFT-6 (maker, version, product, build, product information, date), one a line; of a maker's name its first
/// component.
pub fn put_software(out: &mut String, sft: Segment<'_>) {
    for (n, field) in sft.fields::<6>().into_iter().enumerate() {
        put_line(out, if n == 0 { field.component(1) } else { field }, SOFTWARE_BYTES_MAX);
    }
}

/// Writes authority and id of a CX, joined by a NUL; whether there is an id.
pub(super) fn put_cx(out: &mut String, repetition: Field<'_>) -> bool {
    let id = repetition.component(1);
    if id.is_empty() {
        return false;
    }
    put(out, repetition.component(4));
    out.push('\0');
    put(out, id);
    true
}

/// Patient, birth and class of a PID, into an empty subject.
pub fn patient(subject: &mut Subject, pid: Segment<'_>, identity: &Identity) {
    let [_, second, ids, fourth, _, _, birth] = pid.fields::<7>();
    let has_id = |repetition: &Field<'_>| !repetition.component(1).is_empty();
    if !ids.is_empty() {
        let preferred = identity.prefer.iter().find_map(|wanted| {
            ids.repetitions().find(|r| has_id(r) && r.component(5).trimmed().eq_ignore_ascii_case(wanted.as_bytes()))
        });
        if let Some(repetition) = preferred.or_else(|| ids.repetitions().find(has_id)) {
            put_cx(&mut subject.patient, repetition);
        }
    }
    if subject.patient.is_empty() {
        for path in &identity.fallback {
            let field = match (&path.segment, path.field) {
                (b"PID", 2) => second,
                (b"PID", 4) => fourth,
                _ => path.of(&pid),
            };
            if looks_like_id(field.component(1)) && put_cx(&mut subject.patient, field) {
                break;
            }
        }
    }
    subject.birth = born(birth);
}

/// An id has a digit, no blank, and some measure: a name in PID-4 is none.
fn looks_like_id(field: Field<'_>) -> bool {
    let raw = field.trimmed();
    (1..=40).contains(&raw.len()) && raw.iter().any(u8::is_ascii_digit) && raw.iter().all(u8::is_ascii_graphic)
}

/// PID-7, from `YYYYMMDD` on; zeros and 1899-12-30 (an empty date of some databases) are unknown.
fn born(field: Field<'_>) -> Option<Timestamp> {
    let digits = field.trimmed().get(..8).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if number == 18_991_230 || number == 0 {
        return None;
    }
    Timestamp::from_civil((number / 10_000) as i16, (number / 100 % 100) as i8, (number % 100) as i8, 0, 0, 0, 0)
}

/// A path's field if it is in this segment.
fn at<'a>(path: Option<Path>, segment: &Segment<'a>) -> Option<Field<'a>> {
    path.filter(|path| segment.is(&path.segment)).map(|path| path.of(segment))
}

/// Place and class, from whichever segment the dialect keeps them in (PV1, PID).
pub fn place(subject: &mut Subject, segment: Segment<'_>, identity: &Identity) {
    if let Some(field) = at(identity.point_of_care, &segment) {
        put(&mut subject.point_of_care, field.subcomponent(1));
    }
    if let Some(field) = at(identity.room, &segment) {
        put(&mut subject.room, field.subcomponent(1));
    }
    if let Some(field) = at(identity.bed, &segment) {
        put(&mut subject.bed, field.subcomponent(1));
    }
    if let Some(field) = at(identity.class, &segment) {
        subject.class = match field.trimmed() {
            b"A" => Some(AgeBand::Adult),
            b"P" => Some(AgeBand::Child),
            b"N" => Some(AgeBand::Neonate),
            words => category(words),
        };
    } else if segment.is(b"PV1") {
        // PV1-18 is the site's own table: only whole words are believed. PV1-2 has no age (its N is "not applicable").
        subject.class = category(segment.field(18).component(1).trimmed());
    }
}

/// A patient category in words.
fn category(word: &[u8]) -> Option<AgeBand> {
    const WORDS: [(&str, AgeBand); 9] = [
        ("ADULT", AgeBand::Adult),
        ("ADU", AgeBand::Adult),
        ("PEDIATRIC", AgeBand::Child),
        ("PAEDIATRIC", AgeBand::Child),
        ("PED", AgeBand::Child),
        ("NEONATE", AgeBand::Neonate),
        ("NEONATAL", AgeBand::Neonate),
        ("NEO", AgeBand::Neonate),
        ("NEWBORN", AgeBand::Neonate),
    ];
    if word.is_empty() {
        return None;
    }
    WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, class)| *class)
}

/// PV1-6, in the layout of PV1-3.
pub fn prior(out: &mut [String; 3], pv1: Segment<'_>, identity: &Identity) {
    let paths = [identity.point_of_care, identity.room, identity.bed];
    for (out, path) in out.iter_mut().zip(paths) {
        if let Some(path) = path.filter(|path| &path.segment == b"PV1" && path.field == 3) {
            put(out, Path { field: 6, ..path }.of(&pv1).subcomponent(1));
        }
    }
}

/// The device that the header or the place speaks of: the sender's own, index 0.
pub fn own_device(device: &mut Device, table: &Table, application: Field<'_>, pv1: Option<Segment<'_>>) {
    put(&mut device.declared, application.component(1));
    for source in &table.identity.devices {
        match source {
            DeviceSource::Msh3Eui => {
                let kind = application.component(3);
                let eui = |text: &[u8]| text.eq_ignore_ascii_case(b"EUI-64") || text.eq_ignore_ascii_case(b"EUI64");
                if eui(kind.trimmed()) {
                    put_key(&mut device.key, application.component(2));
                } else if eui(application.component(2).trimmed()) {
                    put_key(&mut device.key, application.component(1));
                }
            }
            DeviceSource::At(path) => {
                if let Some(field) = pv1.and_then(|pv1| at(Some(*path), &pv1)) {
                    put_key(&mut device.key, field);
                }
            }
            DeviceSource::Obx18 | DeviceSource::Prt10 => {}
        }
        if !device.key.is_empty() {
            return;
        }
    }
}

/// A device's key: upper case; of an EUI-64 with an address glued to it only the EUI-64.
fn put_key(out: &mut String, field: Field<'_>) {
    let raw = field.str();
    if field.is_empty() || raw == "0" {
        return;
    }
    let hex = raw.bytes().take_while(u8::is_ascii_hexdigit).count();
    let raw = if hex >= 16 && raw.len() > 16 && raw[16..].contains('.') { &raw[..16] } else { raw };
    let mut end = raw.len().min(ID_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    out.extend(raw[..end].chars().map(|c| c.to_ascii_uppercase()));
}

/// The index of a device that a row names (OBX-18, PRT-10), added if it is new. What names none is said of the sender's own.
pub fn row_device(report: &mut Report, spare: &mut Vec<Device>, field: Field<'_>) -> u16 {
    let id = if field.component(1).is_empty() { field.component(3) } else { field.component(1) };
    let mut device = spare.pop().unwrap_or_default();
    device.key.clear();
    device.declared.clear();
    device.names.clear();
    put_key(&mut device.key, id);
    put(&mut device.declared, field.component(2));
    let known = if device.key.is_empty() { Some(0) } else { report.devices.iter().position(|known| known.key == device.key) };
    if let Some(known) = known {
        spare.push(device);
        if let Some(device) = report.devices.get_mut(known) {
            put_names(&mut device.names, field);
        }
        return known as u16;
    }
    if report.devices.len() >= DEVICES_MAX {
        spare.push(device);
        return 0;
    }
    put_names(&mut device.names, field);
    report.devices.push(device);
    (report.devices.len() - 1) as u16
}
