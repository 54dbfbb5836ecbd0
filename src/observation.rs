//! What a message says, once decoded: a [`Report`] of [`Observation`]s, alarms and [`Reject`]s.
//!
//! A `Report` is made to be reused: [`Report::clear`] keeps its memory, so that a steady feed allocates nothing. Texts of an
//! observation stay in the frame; an observation holds [`Span`]s into it.

use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// A stretch of bytes inside the decoded text of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// The bytes it names; empty where the frame is shorter than it says.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start.saturating_add(self.len as usize)).unwrap_or_default()
    }
}

/// Where a message came from, as the transport knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The feed: the slug of the listener or of the recorded log.
    pub feed: String,
    /// The peer's address without its port; the file's name for a recorded log. Never published, only hashed.
    pub peer: String,
    /// Number of the connection within this run; identity of some dialects lives in the connection.
    pub connection: u64,
    /// The listener's ward, for senders that name none.
    pub ward: String,
    /// A dialect forced for this listener.
    pub dialect: Option<String>,
    /// The listener's zone for times without offset, by its IANA name; `None`: the site's zone.
    pub zone: Option<String>,
    /// The connection was TLS.
    pub encrypted: bool,
    /// Whom the client's certificate names (`CN=… sha256:…`); `None`: none was shown. Never published, only hashed.
    pub certificate: Option<String>,
}

/// What kind of message it is, and so what is done with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Numeric vital signs.
    Vitals,
    /// Waveforms: counted, journalled, no numerics.
    Waveform,
    /// Alarms of the bedside monitor (ORU^R40 and private kinds).
    Alarm,
    /// Admission, transfer, discharge, update, merge.
    Adt,
    /// A header alone: a sign of life.
    KeepAlive,
    /// A query to us, which we do not answer with data.
    Query,
    /// An acknowledgement or a query response: never answered.
    Ack,
    /// Accepted, counted by type, not observed.
    #[default]
    Other,
}

impl MessageKind {
    /// The word by which summaries name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageKind::Vitals => "vitals",
            MessageKind::Waveform => "waveform",
            MessageKind::Alarm => "alarm",
            MessageKind::Adt => "adt",
            MessageKind::KeepAlive => "keep_alive",
            MessageKind::Query => "query",
            MessageKind::Ack => "ack",
            MessageKind::Other => "other",
        }
    }
}

/// Why a value may or may not be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    #[default]
    Valid,
    /// Usable with a mark (questionable, early, X with a number).
    ValidFlagged,
    Invalid,
    Absent,
    /// Switched off by the user.
    SwitchedOff,
    /// Test, demonstration or calibration data: never a patient's.
    Test,
    /// Beyond the end of the scale.
    OffScale,
    /// A value that the dialect or the device's profile knows to mean "no measurement".
    Sentinel,
}

impl Validity {
    /// The word by which rows and summaries name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Validity::Valid => "valid",
            Validity::ValidFlagged => "valid_flagged",
            Validity::Invalid => "invalid",
            Validity::Absent => "absent",
            Validity::SwitchedOff => "switched_off",
            Validity::Test => "test",
            Validity::OffScale => "off_scale",
            Validity::Sentinel => "sentinel",
        }
    }
    /// Whether checks may use the value.
    pub const fn usable(self) -> bool {
        matches!(self, Validity::Valid | Validity::ValidFlagged)
    }
}

/// Where `effective_at` was taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    Obx14,
    Obr7,
    /// Another OBR field that the dialect names.
    ObrOther,
    Msh7,
    #[default]
    Received,
}

/// Marks on an observation, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObsFlags(pub u32);

impl ObsFlags {
    /// Resolved by reference id because the number meant nothing.
    pub const CODE_BY_REFID: u32 = 1;
    /// Unit code and unit text disagree.
    pub const UNIT_CONFLICT: u32 = 1 << 1;
    /// No unit was sent, and the dialect fixes none: range checks are off.
    pub const UNIT_UNKNOWN: u32 = 1 << 2;
    /// A unit is missing where this dialect always sends one, or is not one that the parameter can have.
    pub const UNIT_INVALID: u32 = 1 << 3;
    /// The time had no zone and the site's was assumed.
    pub const ZONE_ASSUMED: u32 = 1 << 4;
    /// The time field could not be read; the next source was used.
    pub const TIME_INVALID: u32 = 1 << 5;
    /// The monitor says that this value is in alarm (OBX-8).
    pub const IN_ALARM: u32 = 1 << 6;
    /// The monitor says that alarming is inhibited (OBX-8).
    pub const ALARM_INHIBITED: u32 = 1 << 7;
    /// Calibration going on: shown, checks off.
    pub const CALIBRATION: u32 = 1 << 8;
    /// Episodic by its own mark (OBX-13 or OBX-17 APERIODIC).
    pub const EPISODIC: u32 = 1 << 9;
    /// A technical alarm, in this message or another, says that the sensor does not measure.
    pub const HELD: u32 = 1 << 10;
    /// OBX-11 = C: a correction of an earlier value.
    pub const CORRECTION: u32 = 1 << 11;
    /// OBX-11 = D or W: an earlier value is withdrawn.
    pub const WITHDRAWN: u32 = 1 << 12;
    /// OBX-11 is empty.
    pub const STATUS_MISSING: u32 = 1 << 13;
    /// From a clinical system that the site has named as one, not from a monitor: a slow second source, seen by a person.
    pub const CHARTED: u32 = 1 << 14;
    /// Shown, and never judged or learned from.
    pub const SHOWN_ONLY: u32 = Self::CALIBRATION | Self::CHARTED;

    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
    pub const fn set(&mut self, flag: u32) {
        self.0 |= flag;
    }
}

/// One value of one parameter, in its canonical unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub parameter: Parameter,
    /// Which of several channels of one parameter (a hash of OBX-4 containment, OBX-17 or the module id); 0 is the only one.
    pub channel: u32,
    /// The value in `parameter.unit()`; NaN unless `validity.usable()` or a number was sent with a mark.
    pub value: f64,
    pub validity: Validity,
    pub flags: ObsFlags,
    /// Alarm limits as sent in OBX-7, in the canonical unit; NaN for a side that was not sent.
    pub limits: (f64, f64),
    pub effective_at: Timestamp,
    pub time_source: TimeSource,
    /// Key of the device that measured it: index into [`Report::devices`].
    pub device: u16,
    /// Position of the OBX among the message's OBX segments, from 0.
    pub ordinal: u16,
    /// OBX-1 as sent; 0 where empty.
    pub set_id: u32,
    /// The OBX segment in the decoded text.
    pub segment: Span,
    /// OBX-5 in the decoded text.
    pub value_text: Span,
    /// OBX-6 as sent, hashed: a change of the unit text is an event of its own.
    pub unit_hash: u32,
}

/// Why an OBX did not become an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// No table knows the code.
    UnknownCode,
    /// No table speaks of the coding system.
    UnknownSystem,
    /// The dialect's table knows the code as none of our parameters.
    Unused,
    /// Number and name, or code and alternate code, mean different parameters.
    CodeConflict,
    /// One code twice with nothing to tell the rows apart.
    AmbiguousChannel,
    /// OBX-5 is not a number by the grammar.
    ValueNotNumeric,
    /// The unit is not one that this parameter can have.
    UnitInvalid,
    /// A structure row (containment, attribute): no value was meant.
    Structure,
    /// A waveform row.
    Waveform,
    /// Text, coded or encapsulated data.
    NotNumeric,
    /// An alarm or alarm attribute row.
    AlarmRow,
    /// A setting or configuration row.
    Setting,
    /// A demographic (height, weight) inside a message that is not vitals.
    Demographic,
    /// The message is not one whose OBX are observed.
    NotObserved,
    /// Scaled integers whose scale is unclear.
    ScaleUnknown,
    /// The row lacks what an OBX needs.
    Malformed,
}

impl RejectReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectReason::UnknownCode => "unknown_code",
            RejectReason::UnknownSystem => "unknown_system",
            RejectReason::Unused => "unused",
            RejectReason::CodeConflict => "code_conflict",
            RejectReason::AmbiguousChannel => "ambiguous_channel",
            RejectReason::ValueNotNumeric => "value_not_numeric",
            RejectReason::UnitInvalid => "unit_invalid",
            RejectReason::Structure => "structure",
            RejectReason::Waveform => "waveform",
            RejectReason::NotNumeric => "not_numeric",
            RejectReason::AlarmRow => "alarm_row",
            RejectReason::Setting => "setting",
            RejectReason::Demographic => "demographic",
            RejectReason::NotObserved => "not_observed",
            RejectReason::ScaleUnknown => "scale_unknown",
            RejectReason::Malformed => "malformed",
        }
    }
}

/// An OBX that did not become an [`Observation`], and why: counted and shown, never an `Err`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    pub reason: RejectReason,
    pub ordinal: u16,
    pub set_id: u32,
    pub segment: Span,
    /// OBX-3 in the decoded text (codes are not identities).
    pub code: Span,
    /// The parameter it seemed to be, where one was recognised before the row was refused.
    pub parameter: Option<Parameter>,
}

/// Rows of one parameter that nothing tells apart: all of them were refused. Smallest and largest value, canonical unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    pub parameter: Parameter,
    /// OBX-1 of the first of them.
    pub set_id: u32,
    pub low: f64,
    pub high: f64,
}

/// Where an alarm stands in its life, as the sender says (IHE ACM event phase).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmPhase {
    /// It began, or the sender says only that it is there.
    #[default]
    Start,
    /// It goes on (continue, update, escalate, de-escalate).
    Continue,
    /// It is over.
    End,
}

/// What an alarm is about, as the sender says (IHE ACM alert type: SP, ST, SA).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The patient's values.
    Physiological,
    /// The device or its sensors (INOP).
    Technical,
    /// Advice only.
    Advisory,
    #[default]
    Unknown,
}

/// How urgent the bedside monitor calls its alarm (IHE ACM: PH, PM, PL, PI, PN). Never re-labelled by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmPriority {
    High,
    Medium,
    Low,
    None,
    #[default]
    Unknown,
}

/// A bedside monitor's own alarm, as far as it is understood.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What it is about, where the source is a known parameter.
    pub parameter: Option<Parameter>,
    pub ordinal: u16,
    pub effective_at: Timestamp,
    pub phase: AlarmPhase,
    pub kind: AlarmKind,
    pub priority: AlarmPriority,
    /// Alarming is paused, silenced or off, as the sender says (inactivation state).
    pub inactivated: bool,
    /// Tells alarms of one device apart: a hash of event and source codes. The same alarm has the same key in each phase.
    pub key: u32,
}

/// Marks on a message, one bit each; every one of them is counted by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFlags(pub u64);

macro_rules! message_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl MessageFlags {
            $($(#[$doc])* pub const $name: u64 = 1 << $bit;)*
            /// The names of the marks that are set, for counters and reports.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$((Self::$name, $text),)*].into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
            }
        }
    };
}

message_flags! {
    /// LF or CRLF ended the segments.
    LF_SEGMENTS = 0, "lf_segments";
    CRLF_SEGMENTS = 1, "crlf_segments";
    BLANK_LINE = 2, "blank_line";
    MISNAMED_SEGMENT = 3, "misnamed_segment";
    TEXT_CONTINUED = 4, "text_continued";
    /// The bytes are not of the declared character set.
    CHARSET_MISMATCH = 5, "charset_mismatch";
    CHARSET_UNKNOWN = 6, "charset_unknown";
    /// A second MSH at a line start.
    SECOND_MSH = 7, "segment_injection";
    /// A second PID outside ADT.
    SECOND_PID = 8, "second_pid";
    /// MSH-2 is unusual.
    DELIMITERS = 9, "unusual_delimiters";
    CONTROL_ID_MISSING = 10, "control_id_missing";
    /// The header's fields stand one or two places off.
    MSH_SHIFTED = 11, "msh_shifted";
    NUL_BYTES = 12, "nul_bytes";
    BOM = 13, "bom";
    /// MSH-11 is T or D, or the rows are marked test or demonstration.
    TEST = 14, "test";
    /// OBR/OBX/PID/PV1 in an order that this dialect does not have.
    SEGMENT_ORDER = 15, "segment_order";
    /// From a clinical system that the site has named as one: what people have charted.
    CHARTED = 16, "charted";
    /// Segments or fields beyond the bound were not read.
    TRUNCATED = 17, "truncated";
    /// Two offsets inside one message.
    ZONES_DIFFER = 18, "zones_differ";
    /// The body is that of a message that was heard before (resent).
    RESENT = 19, "resent";
    /// EVN-1 and MSH-9 name different events.
    EVENT_DIFFERS = 20, "event_differs";
    /// The sender says that its clock is not synchronised.
    CLOCK_UNSYNCHRONISED = 21, "clock_unsynchronised";
    UTF16 = 22, "utf16";
    /// A second PV1 outside ADT.
    SECOND_PV1 = 23, "second_pv1";
}

impl MessageFlags {
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    pub const fn set(&mut self, flag: u64) {
        self.0 |= flag;
    }
}

/// How old the patient is, as far as it matters for limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgeBand {
    Neonate,
    Infant,
    Child,
    Adolescent,
    Adult,
    /// The union of all bands.
    #[default]
    Unknown,
}

/// Whom the values belong to, as the message says. Names are never kept; ids only as given here, hashed at once by the bed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Subject {
    /// Authority and id of the preferred PID-3 repetition, joined by a NUL; empty if none.
    pub patient: String,
    /// Point of care, room and bed of PV1-3 (or where the dialect keeps them), trimmed.
    pub point_of_care: String,
    pub room: String,
    pub bed: String,
    /// PID-7, used for the age band only.
    pub birth: Option<Timestamp>,
    /// The patient category of the monitor (PV1-18 or where the dialect has it): adult, neonate, or [`AgeBand::Child`] for
    /// "paediatric", which spans infants to adolescents.
    pub class: Option<AgeBand>,
}

impl Subject {
    pub fn clear(&mut self) {
        self.patient.clear();
        self.point_of_care.clear();
        self.room.clear();
        self.bed.clear();
        self.birth = None;
        self.class = None;
    }
}

/// What an ADT message says beyond its first patient. Filled for [`MessageKind::Adt`] only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AdtDetail {
    /// PV1-6: where the patient was (point of care, room, bed in that order).
    pub prior: [String; 3],
    /// EVN-2, when the event was recorded: what puts the events of one patient in order.
    pub recorded_at: Option<Timestamp>,
    /// Every repetition of PID-3 (authority and id joined by a NUL): all of them name the one patient.
    pub aliases: Vec<String>,
    /// The second PID and PV1 (swap, link); empty where there is none.
    pub second: Subject,
    /// Every repetition of the second PID-3.
    pub second_aliases: Vec<String>,
    /// Each MRG with the PID before it, in the order of the message.
    pub merges: Vec<Merge>,
}

/// One MRG of a merge, move or change of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// Ids of the PID that stands before it: who it is from now on.
    pub into: Vec<String>,
    /// Ids of MRG-1; the authority is empty where a bare id was sent.
    pub from: Vec<String>,
}

impl AdtDetail {
    pub fn clear(&mut self) {
        for part in &mut self.prior {
            part.clear();
        }
        self.recorded_at = None;
        self.aliases.clear();
        self.second.clear();
        self.second_aliases.clear();
        self.merges.clear();
    }
}

/// A device that a message names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The key of `feeds.md` 7 (EUI-64, MAC, address): never published, only hashed. Empty: (peer, MSH-3, MSH-4) stand in.
    pub key: String,
    /// What it calls itself; declared, never proof.
    pub declared: String,
    /// Every component of MSH-3 and MSH-4 (of the sender's own device), OBX-18 and PRT-10 that names it, one a line, bounded: what advisories are looked up by.
    pub names: String,
}

/// One decoded message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub kind: MessageKind,
    /// Name of the dialect that was chosen; not part of its stored form.
    #[serde(skip)]
    pub dialect: &'static str,
    /// Number of the site's sender rule that fitted; `None`: none did, or there are none.
    pub rule: Option<u16>,
    /// MSH-3 and MSH-4 as sent.
    pub application: String,
    pub facility: String,
    /// Fields 1 to 6 of every SFT, one a line, bounded: the software as it declares itself; empty where none is sent.
    pub software: String,
    /// MSH-10 as sent, byte for byte; empty if missing.
    pub control_id: String,
    /// Whether this dialect's MSH-10 is an id at all.
    pub control_id_is_id: bool,
    /// Whether MSH-10 may be published as it is (false: it may hold a serial or a name).
    pub control_id_is_plain: bool,
    /// Whether two messages of this sender can never have the same body: its dialect puts a time into the body, and this one
    /// holds one. Where false, an equal body is no proof of a resent message.
    pub body_is_unique: bool,
    /// This dialect keeps identity in the connection, and the message itself named nobody.
    pub identity_in_connection: bool,
    /// `ORU`, `R01`.
    pub message_type: String,
    pub trigger: String,
    /// MSH-11.1 and MSH-12.1.
    pub processing: String,
    pub version: String,
    pub sent_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub subject: Subject,
    pub adt: AdtDetail,
    /// At least one: index 0 is the sender's own.
    pub devices: Vec<Device>,
    pub observations: Vec<Observation>,
    pub alarms: Vec<Alarm>,
    pub rejects: Vec<Reject>,
    /// Of the rows that were refused as [`RejectReason::AmbiguousChannel`] and hold usable numbers.
    pub twins: Vec<Twin>,
    pub flags: MessageFlags,
    /// Keyed hash of everything but MSH-7 and MSH-10: tells bodies apart, proves nothing.
    pub body_hash: [u8; 16],
    /// Hash of the set and order of OBX-3 codes.
    pub structure: Vec<u32>,
}

impl Report {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.kind = MessageKind::Other;
        self.dialect = "";
        self.rule = None;
        self.application.clear();
        self.facility.clear();
        self.software.clear();
        self.control_id.clear();
        self.control_id_is_id = true;
        self.control_id_is_plain = true;
        self.body_is_unique = false;
        self.identity_in_connection = false;
        self.message_type.clear();
        self.trigger.clear();
        self.processing.clear();
        self.version.clear();
        self.sent_at = None;
        self.received_at = Timestamp::MIN;
        self.subject.clear();
        self.adt.clear();
        self.devices.clear();
        self.observations.clear();
        self.alarms.clear();
        self.rejects.clear();
        self.twins.clear();
        self.flags = MessageFlags::default();
        self.body_hash = [0; 16];
        self.structure.clear();
    }
}
