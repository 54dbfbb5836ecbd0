//! A message taken apart into segments and fields, changed, and put together again: what someone in the path would do.

use crate::hl7::time::Dtm;
use crate::time::Timestamp;

/// One message; fields are counted as HL7 counts them (MSH-1 is the separator).
pub struct Edit {
    segments: Vec<Vec<String>>,
}

impl Edit {
    pub fn new(bytes: &[u8]) -> Edit {
        let text = String::from_utf8_lossy(bytes);
        let segments = text.split('\r').filter(|line| !line.is_empty());
        Edit { segments: segments.map(|line| line.split('|').map(str::to_owned).collect()).collect() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for segment in &self.segments {
            text.push_str(&segment.join("|"));
            text.push('\r');
        }
        text.into_bytes()
    }

    /// A segment at the end.
    pub fn append(&mut self, segment: &str) {
        self.segments.push(segment.split('|').map(str::to_owned).collect());
    }

    fn place(segment: &[String], field: usize) -> usize {
        if segment.first().is_some_and(|name| name == "MSH") { field - 1 } else { field }
    }

    /// A field of the first segment of this name; empty where it is not.
    pub fn field(&self, name: &str, field: usize) -> &str {
        let segment = self.segments.iter().find(|segment| segment[0] == name);
        segment.and_then(|segment| segment.get(Edit::place(segment, field))).map_or("", String::as_str)
    }

    /// Changes a field of every segment of this name.
    pub fn set(&mut self, name: &str, field: usize, mut value: impl FnMut(&str) -> String) {
        for segment in self.segments.iter_mut().filter(|segment| segment[0] == name) {
            let at = Edit::place(segment, field);
            if let Some(text) = segment.get_mut(at) {
                *text = value(text);
            }
        }
    }

    /// Rows with a value: their fields.
    pub fn values(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        self.segments.iter_mut().filter(|segment| segment[0] == "OBX" && segment.get(2).is_some_and(|kind| kind == "NM"))
    }

    /// Moves times: MSH-7 if `sent`, OBR-7 and OBX-14 if `measured`.
    pub fn move_times(&mut self, sent: bool, measured: bool, moved: impl Fn(Timestamp) -> Timestamp) {
        let moved = |text: &str| match Dtm::parse(text.as_bytes()) {
            Ok(dtm) => moved(dtm.at_offset(0)).hl7(),
            Err(_) => text.to_owned(),
        };
        if sent {
            self.set("MSH", 7, moved);
        }
        if measured {
            self.set("OBR", 7, moved);
            self.set("OBX", 14, moved);
        }
    }
}

/// The MDC code of a row of values.
pub fn code(fields: &[String]) -> &str {
    fields.get(3).and_then(|field| field.split('^').next()).unwrap_or("")
}

/// A row's number, changed.
pub fn change_number(fields: &mut [String], new: impl Fn(f64) -> f64) {
    if let Some(text) = fields.get_mut(5)
        && let Ok(value) = text.parse::<f64>()
    {
        *text = new(value).to_string();
    }
}
