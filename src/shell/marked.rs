//! A recorded message as it may be seen: identities masked, the fields that an alert doubts marked.

use crate::hl7::mask::{self, Eyes, Shown};
use crate::hl7::{Message, Scratch, is_batch, split_batch};
use crate::shell::store::AlertReader;
use crate::vital::Parameter;
use serde_json::{Value, json};

/// Segments shown at most.
const SEGMENTS_MAX: usize = 500;
/// Messages of one frame (a batch, or what an injected header began) shown at most.
const MESSAGES_MAX: usize = 32;
/// Text shown at most, bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 512 << 10;

/// What an alert says of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Doubt {
    pub ward: String,
    /// Check, OBX-1 and the id of the message, of each evidence that names it.
    pub evidence: Vec<(String, Option<u32>, Option<String>)>,
    pub params: Vec<Parameter>,
}

impl Doubt {
    /// Whatever an alert and its events say of a message.
    pub(crate) fn of(store: &AlertReader, alert: &str, raw: &str) -> Option<Doubt> {
        let row = store.alert(alert).ok()??;
        let mut doubt = Doubt { ward: row.ward.clone(), ..Doubt::default() };
        let events = store.events(alert).ok()?;
        let documents =
            events.iter().filter_map(|json| serde_json::from_slice::<Value>(json).ok()).map(|event| event["alert"].clone());
        for alert in documents.chain(serde_json::from_slice(&row.json).ok()) {
            for evidence in alert["evidence"].as_array().into_iter().flatten().filter(|e| e["raw"] == raw) {
                let id = evidence["obx_id"].as_u64().and_then(|id| u32::try_from(id).ok());
                let text = |member: &str| evidence[member].as_str().map(str::to_owned);
                let found = (text("check").unwrap_or_default(), id, text("msg_id"));
                if !doubt.evidence.contains(&found) {
                    doubt.evidence.push(found);
                }
            }
            for parameter in
                alert["params"].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(Parameter::from_key)
            {
                if !doubt.params.contains(&parameter) {
                    doubt.params.push(parameter);
                }
            }
        }
        Some(doubt)
    }
    /// MSH-10 that may be shown: an alert has published it as it is.
    fn shows_id(&self, id: &str) -> bool {
        self.evidence.iter().any(|(_, _, known)| known.as_deref() == Some(id))
    }
}

/// Which field a check speaks of: segment and field; most speak of a value.
fn spoken_of(check: &str) -> (&'static str, usize) {
    match check {
        "P01" => ("MSH", 10),
        "C03" | "P05" | "P06" => ("MSH", 7),
        "P02" | "P03" | "P04" | "P16" | "P17" => ("MSH", 3),
        "C01" | "C02" => ("OBX", 6),
        "C04" | "C05" | "C08" => ("OBX", 3),
        "C06" => ("OBX", 11),
        "P11" | "P14" => ("OBX", 8),
        "P12" => ("OBX", 7),
        "M06" => ("OBX", 14),
        "P08" | "P09" | "P13" => ("PID", 3),
        "N01" => ("MSH", 3),
        _ => ("OBX", 5),
    }
}

/// One segment with its marks, as JSON. `index`: its place among those of its name, from 1.
fn segment_json(name: &str, index: usize, shown: &Shown, marks: &[usize]) -> Value {
    let marks: Vec<Value> = marks
        .iter()
        .filter_map(|field| shown.field(*field).map(|range| (field, range)))
        .map(|(field, range)| json!({ "field": field, "start": range.start, "end": range.end }))
        .collect();
    json!({ "name": name, "index": index, "text": shown.text, "marks": marks })
}

/// The text of a segment in pieces, each with whether it is marked; places of marks are UTF-16 units.
pub(crate) fn pieces(segment: &Value) -> Vec<(String, bool)> {
    let units: Vec<u16> = segment["text"].as_str().unwrap_or_default().encode_utf16().collect();
    let mut ranges: Vec<(usize, usize)> = segment["marks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mark| Some((mark["start"].as_u64()? as usize, mark["end"].as_u64()? as usize)))
        .filter(|(start, end)| start < end && *end <= units.len())
        .collect();
    ranges.sort_unstable();
    let (mut out, mut at) = (Vec::new(), 0);
    let piece = |from: usize, to: usize| String::from_utf16_lossy(&units[from..to]);
    for (start, end) in ranges {
        if start < at {
            continue;
        }
        out.push((piece(at, start), false));
        out.push((piece(start, end), true));
        at = end;
    }
    out.push((piece(at, units.len()), false));
    out
}

/// The segments of a frame and whether something was left out.
pub(crate) fn segments(payload: &[u8], doubt: &Doubt, whole: bool) -> (Vec<Value>, bool, Option<String>) {
    let (mut list, mut cut, mut bytes, mut id) = (Vec::new(), false, 0, None);
    let messages = if is_batch(payload) { split_batch(payload).messages } else { vec![payload] };
    cut |= messages.len() > MESSAGES_MAX;
    for message in messages.into_iter().take(MESSAGES_MAX) {
        let mut rest = message.to_vec();
        // What follows a second header is shown as the message that it pretends to be.
        for _ in 0..MESSAGES_MAX {
            let mut scratch = Scratch::default();
            let Ok(read) = Message::read(&rest, &mut scratch) else { break };
            let own = String::from_utf8_lossy(read.msh(10).trimmed()).into_owned();
            let shows_id = whole || doubt.shows_id(&own);
            if shows_id && id.is_none() {
                id = Some(own.clone());
            }
            // Of several messages only those are marked that the evidence names.
            let evidence: Vec<_> = doubt
                .evidence
                .iter()
                .filter(|(_, _, id)| id.as_ref().is_none_or(|id| *id == own || id.starts_with("m-")))
                .collect();
            let eyes = if whole { Eyes::Whole } else { Eyes::Masked { id: shows_id } };
            let (shown, more) = mask::message(&read, eyes, SEGMENTS_MAX);
            cut |= more;
            let mut counts = std::collections::HashMap::<String, usize>::new();
            for (segment, (name, shown)) in read.segments().zip(shown) {
                let index = counts.entry(name.clone()).or_default();
                *index += 1;
                bytes += shown.text.len();
                if list.len() >= SEGMENTS_MAX || bytes > TEXT_BYTES_MAX {
                    cut = true;
                    break;
                }
                let mut marks: Vec<usize> = Vec::new();
                for (check, obx, _) in &evidence {
                    let (wanted, field) = spoken_of(check);
                    let here = match (wanted, obx) {
                        // A row is named: what is spoken of there, else its value.
                        (_, Some(obx)) if name == "OBX" => segment.field(1).integer() == Some(*obx),
                        ("OBX", None) => name == "OBX" && doubt.params.iter().any(|p| carries(segment.field(3).raw(), *p)),
                        _ => name == wanted && index == &1,
                    };
                    let field = if name == "OBX" && wanted != "OBX" { 5 } else { field };
                    if here && !marks.contains(&field) {
                        marks.push(field);
                    }
                }
                list.push(segment_json(&name, *index, &shown, &marks));
            }
            let next = read.rest().to_vec();
            if next.is_empty() {
                break;
            }
            rest = next;
        }
    }
    (list, cut, id)
}

/// Whether OBX-3 carries the code by which a parameter is published.
fn carries(code: &[u8], parameter: Parameter) -> bool {
    let Some((number, name)) = parameter.mdc() else { return false };
    let number = number.to_string();
    code.split(|byte| matches!(byte, b'^' | b'~')).any(|part| part == number.as_bytes() || part == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "MSH|^~\\&|MON|ICU|||20260101120000||ORU^R01|8841|P|2.6\rPID|||S-1||SECRET^ADA\r\
                        OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC||72|{beat}/min^^UCUM|||||F\r\
                        OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC||98|%|||||F";

    fn marked(evidence: &[(&str, Option<u32>, Option<&str>)], params: &[Parameter]) -> Vec<(String, u64, String)> {
        let evidence = evidence.iter().map(|(c, o, m)| ((*c).to_owned(), *o, m.map(str::to_owned))).collect();
        let doubt = Doubt { ward: "icu".into(), evidence, params: params.to_vec() };
        let mut list = Vec::new();
        for segment in segments(TEXT.as_bytes(), &doubt, false).0 {
            let text: Vec<u16> = segment["text"].as_str().unwrap().encode_utf16().collect();
            assert!(!String::from_utf16_lossy(&text).contains("SECRET"));
            for mark in segment["marks"].as_array().unwrap() {
                let range = mark["start"].as_u64().unwrap() as usize..mark["end"].as_u64().unwrap() as usize;
                let name = format!("{}{}", segment["name"].as_str().unwrap(), segment["index"]);
                list.push((name, mark["field"].as_u64().unwrap(), String::from_utf16_lossy(&text[range])));
            }
        }
        list
    }

    #[test]
    fn the_field_that_a_check_speaks_of_is_marked() {
        let one = |name: &str, field, text: &str| (name.to_owned(), field, text.to_owned());
        assert_eq!(marked(&[("T03", Some(2), None)], &[]), [one("OBX2", 5, "98")]);
        assert_eq!(marked(&[("C01", Some(1), None)], &[]), [one("OBX1", 6, "{beat}/min^^UCUM")]);
        assert_eq!(marked(&[("P01", None, Some("8841"))], &[]), [one("MSH1", 10, "8841")]);
        assert_eq!(marked(&[("T12", None, None)], &[Parameter::Hr]), [one("OBX1", 5, "72")]);
        assert_eq!(marked(&[("T03", Some(1), Some("another"))], &[]), []);
        assert_eq!(marked(&[], &[]), []);
    }

    #[test]
    fn a_second_header_is_shown_and_masked_too() {
        let text = format!("{TEXT}\r{}", TEXT.replace("8841", "8842"));
        let (list, cut, _) = segments(text.as_bytes(), &Doubt::default(), false);
        assert_eq!((list.len(), cut), (8, false));
        assert!(list.iter().all(|s| !s["text"].as_str().unwrap().contains("SECRET")));
        assert!(segments(b"\x00\x01", &Doubt::default(), false).0.is_empty());
    }
}
