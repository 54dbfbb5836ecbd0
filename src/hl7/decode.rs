//! From a [`Message`] to a [`Report`]: kind, dialect, identity, times, observations and rejects.
//!
//! Contract: every OBX of a message becomes exactly one [`Observation`], or one [`Reject`] with its reason; nothing is dropped
//! and nothing is guessed. The same messages in the same order give the same reports; what is remembered between messages is
//! either a pure function of tables and bytes (the look-ups) or [`State`] (part of the snapshot). In the steady state of a
//! known sender nothing is allocated.
//!
//! Limits: the bounds of [`codes`], [`state`] and [`identity`]; ordinals count to 65 535. Rows after a second patient or a
//! second place in one message are refused: a value is never given to whoever came first.

use super::dialect::{Choice, Firsts, Role, RowRef, Scaled, Table, Tables, contains_word};
use super::time::Zone;
use super::{Field, Message, Segment};
use crate::observation::{
    AlarmKind, AlarmPhase, Device, MessageFlags, MessageKind, ObsFlags, Observation, Reject, RejectReason, Report, Source, Span,
    TimeSource, Twin, Validity,
};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use codes::{Code, Memory, Outcome};
use rows::{Obx, Reading, When};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use times::{Times, Told, Zones};
use twox_hash::XxHash3_128;
use validity::{Marks, Status};
use waves::Waves;

mod adt;
pub mod alarms;
pub mod codes;
pub mod identity;
pub mod rows;
pub mod scale;
pub mod state;
pub mod times;
pub mod validity;
pub mod waves;

use state::Place;
pub use state::State;

/// Headers whose dialect is remembered at most; when full, all are forgotten and chosen anew.
const CHOICES_MAX: usize = 4096;
/// Longer headers are looked at every time.
const CHOICE_BYTES_MAX: usize = 1024;

/// SFT segments looked at in one message.
const SOFTWARE_MAX: usize = 8;

/// The site's zone is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no time zone `{0}` (an IANA name such as Europe/Berlin is needed)")]
pub struct UnknownZone(pub String);

/// What the site says of one of its senders that its messages do not say themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advice {
    /// Number of the dialect, in place of recognising it; stands above the listener's.
    pub dialect: Option<u16>,
    /// Zone of times without offset; stands above the listener's.
    pub zone: Option<Zone>,
    /// MSH-11 = T or D marks no test data: some gateways are delivered so.
    pub allow_test: bool,
}

/// Turns messages into reports.
#[derive(Debug)]
pub struct Decoder {
    tables: Arc<Tables>,
    site: Zone,
    zones: Zones,
    /// By the number of the site's rule.
    advice: Vec<Advice>,
    state: State,
    memory: Memory,
    choices: FxHashMap<Box<[u8]>, Option<u16>>,
    header_key: Vec<u8>,
    /// Devices whose memory is used again.
    spare: Vec<Device>,
    /// Of every observation: its key, its place in the report, its OBX-4, its code.
    order: Vec<Stream>,
    hits: Option<BTreeSet<RowRef>>,
    /// Seed of the body hash.
    body_key: u64,
}

/// What tells the rows of one message apart.
#[derive(Debug, Clone, Copy)]
struct Stream {
    key: (u8, u16, u32, i64),
    at: u32,
    place: Span,
    code: u32,
    name: Span,
}

/// What a message is by its header; the rows of an observed one decide further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Observed,
    Kind(MessageKind),
}

impl Decoder {
    /// A decoder for a site in the zone of that IANA name.
    pub fn new(site_zone: &str, tables: Arc<Tables>) -> Result<Decoder, UnknownZone> {
        let site = Zone::named(site_zone).ok_or_else(|| UnknownZone(site_zone.to_owned()))?;
        Ok(Decoder {
            tables,
            site,
            zones: Zones::default(),
            advice: Vec::new(),
            state: State::default(),
            memory: Memory::default(),
            choices: FxHashMap::default(),
            header_key: Vec::new(),
            spare: Vec::new(),
            order: Vec::new(),
            hits: None,
            body_key: 0,
        })
    }

    /// The site's own seed of the body hash: who does not know it cannot make two bodies that look the same.
    pub fn set_body_key(&mut self, key: u64) {
        self.body_key = key;
    }

    /// What the site's sender rules say, in their order ([`Decoder::decode_by`]).
    pub fn set_advice(&mut self, advice: Vec<Advice>) {
        self.advice = advice;
    }

    /// What has to be in a snapshot.
    pub fn state(&self) -> &State {
        &self.state
    }
    /// Goes on from a snapshot.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }
    /// A connection was closed: the identity that lived in it is forgotten.
    pub fn close(&mut self, connection: u64) {
        self.state.close(connection);
    }
    /// No connection is open any more (a restart).
    pub fn close_all(&mut self) {
        self.state.close_all();
    }
    pub fn tables(&self) -> &Tables {
        &self.tables
    }
    /// How well every dialect fits a message, best first, with the features that decide: for people.
    pub fn explain_dialect(&self, message: &Message<'_>) -> Vec<Choice> {
        self.tables.choose(message)
    }
    /// MSH-7 as an instant, without decoding the rest: a recorded message's nearest thing to a time of receipt.
    pub fn sent_at(&self, rule: Option<usize>, message: &Message<'_>, source: &Source) -> Option<Timestamp> {
        let listener = source.zone.as_deref().and_then(Zone::named);
        let zone = self.advice_zone(rule).or(listener.as_ref());
        Times::new(&self.site, zone, self.state.last_sent(source.connection)).header(message.msh(7))
    }
    /// Notes from now on which rows of the tables are used.
    pub fn record_hits(&mut self) {
        self.hits.get_or_insert_default();
    }
    fn advice_zone(&self, rule: Option<usize>) -> Option<&Zone> {
        self.advice.get(rule?)?.zone.as_ref()
    }
    /// The rows used since [`Decoder::record_hits`].
    pub fn hits(&self) -> impl Iterator<Item = RowRef> + '_ {
        self.hits.iter().flatten().copied()
    }

    /// Decodes one message into `report`, which is emptied first.
    pub fn decode(&mut self, message: &Message<'_>, source: &Source, received_at: Timestamp, report: &mut Report) {
        self.decode_by(None, message, source, received_at, report);
    }

    /// The same for a sender that one of the site's rules fits: `rule` is its number.
    pub fn decode_by(
        &mut self,
        rule: Option<usize>,
        message: &Message<'_>,
        source: &Source,
        received_at: Timestamp,
        report: &mut Report,
    ) {
        self.spare.append(&mut report.devices);
        self.spare.truncate(identity::DEVICES_MAX);
        report.clear();
        report.received_at = received_at;
        report.rule = rule.and_then(|rule| u16::try_from(rule).ok());
        report.flags = message.flags();
        let advice = rule.and_then(|rule| self.advice.get(rule));
        let (told, allow_test) = advice.map_or((None, false), |advice| (advice.dialect, advice.allow_test));

        let header = Header::of(message);
        header.fill(report);
        let parts = Parts::of(message);
        let tables = Arc::clone(&self.tables);
        let chosen = match told {
            Some(dialect) => dialect,
            None => self.choose(&header, message, source),
        };
        let table = tables.table(chosen);
        report.dialect = table.name;
        // A message cannot excuse itself from being judged: that its sender is a clinical system is for the site to say.
        if table.charted && (told.is_some() || source.dialect.as_deref() == Some(table.name)) {
            report.flags.set(MessageFlags::CHARTED);
        }
        report.control_id_is_id = table.control_id.is_id && !report.control_id.is_empty();
        report.control_id_is_plain = table.control_id.plain;
        let marked = table.test_processing.iter().any(|value| value.eq_ignore_ascii_case(&report.processing));
        let test = marked && !allow_test;
        if test {
            report.flags.set(MessageFlags::TEST);
        }
        if report.control_id.is_empty() {
            report.flags.set(MessageFlags::CONTROL_ID_MISSING);
        }
        report.body_hash = body_hash(message, &header, self.body_key);

        let by_id = table.kinds.iter().enumerate().find(|(_, row)| row.control_id == report.control_id);
        if let (Some((n, _)), Some(hits)) = (by_id, &mut self.hits) {
            hits.insert(RowRef::kind(chosen, n));
        }
        let by_id = by_id.map(|(_, row)| row);
        let alarm_kind = by_id.map(|row| row.alarm).unwrap_or_default();
        let base = match (base(report, message), by_id.map(|row| row.kind)) {
            (Base::Observed | Base::Kind(MessageKind::Adt), Some(MessageKind::Vitals)) => Base::Observed,
            (Base::Observed | Base::Kind(MessageKind::Adt), Some(kind)) => Base::Kind(kind),
            (base, _) => base,
        };
        if let Base::Kind(kind) = base {
            report.kind = kind;
        }

        let mut own = self.spare.pop().unwrap_or_default();
        own.key.clear();
        own.declared.clear();
        own.names.clear();
        identity::own_device(&mut own, table, header.application, parts.pv1);
        identity::put_names(&mut own.names, header.application);
        identity::put_names(&mut own.names, header.facility);
        report.devices.push(own);
        self.identify(report, &parts, table, source);
        for sft in parts.software.into_iter().flatten() {
            identity::put_software(&mut report.software, sft);
        }

        let zone = match rule.and_then(|rule| self.advice.get(rule)).and_then(|advice| advice.zone.as_ref()) {
            None => self.zones.of(source),
            zone => zone,
        };
        let connection = self.state.connection(source.connection);
        let mut times = Times::new(&self.site, zone, connection.near(received_at));
        report.sent_at = times.header(header.time);
        if report.kind == MessageKind::Adt {
            adt::detail(report, message, parts.pv1, &table.identity, &mut times);
        }
        if let Some(sent_at) = report.sent_at {
            connection.sent = Some((sent_at, received_at));
        }
        let sent_assumed = matches!(times.read(header.time), Told::At { zone_assumed: true, .. });
        let place = connection.place(parts.pv1.map(|pv1| pv1.field(3)).filter(|place| !place.is_empty()));
        let mut walk = Walk {
            report,
            memory: &mut self.memory,
            state: &mut self.state,
            spare: &mut self.spare,
            order: &mut self.order,
            hits: self.hits.as_mut(),
            tables: &tables,
            chosen,
            base,
            test,
            times,
            sent_assumed,
            connection: source.connection,
            place,
            alarm_kind,
            alarms: alarms::Group::default(),
            waves: Waves::default(),
        };
        walk.run(message);
    }

    /// The listener's dialect, else the best fit, else the connection's last one, else the fallback.
    fn choose(&mut self, header: &Header<'_>, message: &Message<'_>, source: &Source) -> u16 {
        if let Some(forced) = source.dialect.as_deref().and_then(|name| self.tables.position(name)) {
            return forced;
        }
        self.header_key.clear();
        let shifted = message.flags().has(MessageFlags::MSH_SHIFTED);
        let firsts = Firsts::of(message);
        let best = if shifted {
            self.tables.best(&firsts)
        } else {
            header.key(&firsts, &self.tables, &mut self.header_key);
            match self.choices.get(self.header_key.as_slice()) {
                Some(best) => *best,
                None => {
                    let best = self.tables.best(&firsts);
                    if self.header_key.len() <= CHOICE_BYTES_MAX {
                        if self.choices.len() >= CHOICES_MAX {
                            self.choices.clear();
                        }
                        self.choices.insert(self.header_key.as_slice().into(), best);
                    }
                    best
                }
            }
        };
        let connection = self.state.connection(source.connection);
        match best {
            Some(best) => {
                let name = self.tables.table(best).name;
                if connection.dialect != name {
                    connection.dialect.clear();
                    connection.dialect.push_str(name);
                }
                best
            }
            None => self.tables.position(&connection.dialect).unwrap_or(self.tables.generic()),
        }
    }

    /// Fills the subject from the message, or from the connection where that is where the dialect keeps it.
    fn identify(&mut self, report: &mut Report, parts: &Parts<'_>, table: &Table, source: &Source) {
        if let Some(pid) = parts.pid {
            identity::patient(&mut report.subject, pid, &table.identity);
            identity::place(&mut report.subject, pid, &table.identity);
        }
        if let Some(pv1) = parts.pv1 {
            identity::place(&mut report.subject, pv1, &table.identity);
        }
        if !table.identity.per_connection {
            return;
        }
        let connection = self.state.connection(source.connection);
        if parts.pid.is_some() || parts.pv1.is_some() {
            let mut known = state::Known::keep(&report.subject, &report.devices[0].key);
            if report.message_type == "ADT" && report.trigger == "A03" {
                // The monitor discharged its patient: what comes next over this connection is nobody's yet.
                known.forget_patient();
            }
            connection.subject = Some(known);
            return;
        }
        report.identity_in_connection = true;
        if let Some(known) = &connection.subject {
            known.fill(&mut report.subject);
            if report.devices[0].key.is_empty() {
                report.devices[0].key.push_str(&known.device);
            }
        }
    }
}

/// The header's fields.
struct Header<'a> {
    application: Field<'a>,
    facility: Field<'a>,
    time: Field<'a>,
    kind: Field<'a>,
    control_id: Field<'a>,
    processing: Field<'a>,
    version: Field<'a>,
    segment: Segment<'a>,
}

impl<'a> Header<'a> {
    fn of(message: &Message<'a>) -> Header<'a> {
        let segment = message.header();
        if message.flags().has(MessageFlags::MSH_SHIFTED) {
            let [application, facility, time, kind, control_id, processing, version] =
                [3, 4, 7, 9, 10, 11, 12].map(|n| message.msh(n));
            return Header { application, facility, time, kind, control_id, processing, version, segment };
        }
        let [_, _, application, facility, _, _, time, _, kind, control_id, processing, version] = segment.fields::<12>();
        Header { application, facility, time, kind, control_id, processing, version, segment }
    }

    fn fill(&self, report: &mut Report) {
        report.application.push_str(self.application.str());
        report.facility.push_str(self.facility.str());
        report.control_id.push_str(std::str::from_utf8(self.control_id.raw()).unwrap_or_default());
        report.message_type.push_str(self.kind.component(1).str());
        report.trigger.push_str(self.kind.component(2).str());
        report.processing.push_str(self.processing.component(1).str());
        report.version.push_str(self.version.component(1).str());
    }

    /// Everything that a dialect is recognised by, but what differs from message to message. Two messages with one key have one
    /// choice: what is remembered is what would be found anew.
    fn key(&self, firsts: &Firsts<'_>, tables: &Tables, out: &mut Vec<u8>) {
        let (text, start) = self.segment.text();
        let offset = |field: Field<'_>| (field.span().start - start) as usize;
        let end = |field: Field<'_>| (field.span().start + field.span().len - start) as usize;
        // The length goes before each part: no two lists of parts are one key.
        let mut part = |bytes: &[u8]| {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        part(&text[..offset(self.time)]);
        part(&text[end(self.time)..offset(self.control_id)]);
        part(&text[end(self.control_id)..]);
        part(&[u8::from(firsts.obr.is_some()), u8::from(firsts.obx.is_some())]);
        if let Some(obr) = firsts.obr {
            part(obr.field(4).raw());
        }
        if let Some(obx) = firsts.obx {
            let [_, _, code, _, _, unit] = obx.fields::<6>();
            part(code.raw());
            part(unit.raw());
        }
        // MSH-10 differs from message to message; what the tables ask of it does not.
        out.extend(tables.control_id_features(self.control_id, firsts));
    }
}

/// The first segment of every kind that identity and dialect need.
struct Parts<'a> {
    pid: Option<Segment<'a>>,
    pv1: Option<Segment<'a>>,
    software: [Option<Segment<'a>>; SOFTWARE_MAX],
}

impl<'a> Parts<'a> {
    fn of(message: &Message<'a>) -> Parts<'a> {
        let mut parts = Parts { pid: None, pv1: None, software: [None; SOFTWARE_MAX] };
        // To the end: a PID that stands after the rows is in the wrong place, and still the patient's.
        for segment in message.segments() {
            let part = match segment.name() {
                b"PID" => &mut parts.pid,
                b"PV1" => &mut parts.pv1,
                b"SFT" => match parts.software.iter_mut().find(|place| place.is_none()) {
                    Some(place) => place,
                    None => continue,
                },
                _ => continue,
            };
            part.get_or_insert(segment);
        }
        parts
    }
}

/// The kind by MSH-9.
fn base(report: &Report, message: &Message<'_>) -> Base {
    use MessageKind as Kind;
    let (kind, trigger) = (report.message_type.as_str(), report.trigger.as_str());
    let kind = match kind {
        "ACK" | "ORA" | "RSP" | "MCF" => Kind::Ack,
        "QBP" | "QRY" | "QCN" | "QVR" | "QSB" => Kind::Query,
        "ADT" => Kind::Adt,
        "" => Kind::Other,
        _ if message.segments().len() == 1 => Kind::KeepAlive,
        "ORU" if matches!(trigger, "R40" | "R42") => Kind::Alarm,
        "ORU" if trigger == "W01" => Kind::Waveform,
        "ORU" | "ORF" => return Base::Observed,
        // Whatever its type, it answers something.
        _ if message.first(b"MSA").is_some() => Kind::Ack,
        _ => Kind::Other,
    };
    Base::Kind(kind)
}

/// XXH3-128 under the site's seed of everything but MSH-7 and MSH-10: tells bodies apart. Evidence is the journal's SHA-256.
fn body_hash(message: &Message<'_>, header: &Header<'_>, key: u64) -> [u8; 16] {
    let text = message.text();
    let text = &text[..text.len() - message.rest().len()];
    let mut left_out = [header.time.span(), header.control_id.span()];
    left_out.sort_by_key(|span| span.start);
    // Each piece is hashed under the result of the one before it; the first under the key.
    let mut hash = u128::from(key);
    let mut from = 0;
    let mut piece = |bytes: &[u8]| {
        hash = XxHash3_128::oneshot_with_seed((hash >> 64) as u64 ^ hash as u64, bytes);
    };
    for span in left_out {
        let (start, end) = (span.start as usize, (span.start + span.len) as usize);
        if start >= from && end <= text.len() {
            piece(&text[from..start]);
            from = end;
        }
    }
    piece(&text[from..]);
    hash.to_le_bytes()
}

/// One pass over the segments of a message.
struct Walk<'d, 'm> {
    report: &'d mut Report,
    memory: &'d mut Memory,
    state: &'d mut State,
    spare: &'d mut Vec<Device>,
    order: &'d mut Vec<Stream>,
    hits: Option<&'d mut BTreeSet<RowRef>>,
    tables: &'d Tables,
    chosen: u16,
    base: Base,
    test: bool,
    times: Times<'d, 'm>,
    sent_assumed: bool,
    connection: u64,
    /// Where technical alarms hold.
    place: Place,
    /// What the alarms of this kind of message are about.
    alarm_kind: AlarmKind,
    /// The alarm whose rows are being read.
    alarms: alarms::Group,
    waves: Waves<'m>,
}

impl<'m> Walk<'_, 'm> {
    fn run(&mut self, message: &Message<'m>) {
        let table = self.tables.table(self.chosen);
        let observed = self.base == Base::Observed;
        let mut ordinal: usize = 0;
        let mut rank = 0;
        let mut first_patient: Option<&[u8]> = None;
        let mut first_place: Option<&[u8]> = None;
        let (mut foreign, mut elsewhere, mut grouped) = (false, false, false);
        let mut group = Group::default();
        let mut device: (u16, &[u8]) = (0, &[]);
        let (mut waveforms, mut alarms, mut known, mut tested, mut body_time) = (0u32, 0u32, 0u32, 0u32, false);
        self.order.clear();

        for segment in message.segments() {
            let name = segment.name();
            if observed && !table.order.is_empty() {
                rank = self.follow(table, name, rank);
            }
            match name {
                b"PID" => {
                    let ids = segment.field(3).raw();
                    match first_patient {
                        None => first_patient = Some(ids),
                        Some(first) if self.report.kind != MessageKind::Adt => {
                            self.report.flags.set(MessageFlags::SECOND_PID);
                            foreign = ids != first;
                        }
                        Some(_) => {}
                    }
                    continue;
                }
                b"PV1" => {
                    let place = segment.field(3).raw();
                    match first_place {
                        None => first_place = Some(place),
                        Some(first) if self.report.kind != MessageKind::Adt => {
                            self.report.flags.set(MessageFlags::SECOND_PV1);
                            elsewhere = place != first;
                        }
                        Some(_) => {}
                    }
                    continue;
                }
                b"OBR" => {
                    // A row in front of the first group belongs to none.
                    if observed && !grouped && ordinal > 0 && !table.order.is_empty() {
                        self.report.flags.set(MessageFlags::SEGMENT_ORDER);
                    }
                    grouped = true;
                    self.end_alarm();
                    group = self.group(table, segment);
                    body_time |= group.time.is_some();
                    device = (0, &[]);
                    continue;
                }
                b"PRT" => {
                    let id = segment.field(10);
                    if !id.is_empty() {
                        let at = identity::row_device(self.report, self.spare, id);
                        let ordinal = ordinal.saturating_sub(1) as u16;
                        if let Some(last) = self.report.observations.last_mut().filter(|last| last.ordinal == ordinal) {
                            last.device = at;
                        }
                    }
                    continue;
                }
                b"OBX" => {}
                _ => continue,
            }
            let obx = Obx::new(segment, ordinal.min(u16::MAX as usize) as u16);
            ordinal += 1;
            let code = self.memory.code(self.tables, self.chosen, obx.field(3));
            if let Some(hits) = self.hits.as_deref_mut() {
                hits.extend(code.rows.iter().flatten());
            }
            self.report.structure.push(code.hash);
            let named = obx.field(18).raw();
            if !named.is_empty() && named != device.1 {
                device = (identity::row_device(self.report, self.spare, obx.field(18)), named);
            }
            let status = Status::read(&obx.fields);
            let obx14 = self.times.read(obx.field(status.time_field));
            body_time |= matches!(obx14, Told::At { .. });
            let when = When {
                obx14,
                group: group.time,
                group_unreadable: group.unreadable,
                sent_at: self.report.sent_at.map(|at| (at, self.sent_assumed)),
                received_at: self.report.received_at,
            };
            if code.outcome == Outcome::Role(Role::TimeSync) {
                let value = obx.field(5);
                if value.component(1).trimmed() == b"532224" || value.component(2).trimmed() == b"MDC_TIME_SYNC_NONE" {
                    self.report.flags.set(MessageFlags::CLOCK_UNSYNCHRONISED);
                }
            }
            let marks = Marks::read(obx.field(8));
            tested += u32::from(marks.test());
            if marks.demo() {
                self.report.flags.set(MessageFlags::TEST);
            }
            let alarm_row = match self.base {
                Base::Observed => matches!(code.outcome, Outcome::Role(Role::Alarm | Role::Inop)),
                // An event that no table knows is text; a number without a known code is what an alarm is about.
                Base::Kind(MessageKind::Alarm) => match code.outcome {
                    Outcome::Role(Role::Alarm | Role::Inop) => !obx.field(5).is_empty(),
                    Outcome::Unknown => !obx.numeric_type() && !obx.field(5).is_empty(),
                    _ => false,
                },
                Base::Kind(_) => false,
            };
            if obx.waveform_type() || code.outcome == Outcome::Role(Role::Waveform) {
                self.waves.samples(table, obx.field(3), obx.field(4), obx.field(5));
            } else if code.outcome == Outcome::Role(Role::InopMark)
                && let Some(wave) = self.waves.inop(obx.field(4), obx.field(5))
                && let Some(hits) = self.hits.as_deref_mut()
            {
                hits.insert(RowRef::wave(self.chosen, wave));
            }
            if alarm_row {
                alarms += 1;
                self.alarm(table, &obx, code, &when);
            } else if self.base == Base::Kind(MessageKind::Alarm) {
                self.about_alarm(&obx, code);
            }
            match self.base {
                Base::Kind(kind) => {
                    self.unobserved(kind, &obx, code.outcome);
                }
                Base::Observed if foreign || elsewhere => {
                    self.report.rejects.push(obx.reject(RejectReason::NotObserved, None));
                }
                Base::Observed => {
                    let reading = Reading {
                        table,
                        code,
                        unit: self.memory.unit(obx.field(6)),
                        marks,
                        test: self.test,
                        charted: self.report.flags.has(MessageFlags::CHARTED),
                        laboratory: group.laboratory,
                        device: device.0,
                        scaled: self.scaled(table, &obx, code),
                        moved: self.moved(table, &obx, code),
                    };
                    match rows::read(&obx, &reading, status, &when) {
                        Ok(observation) => {
                            if observation.flags.has(ObsFlags::IN_ALARM) && self.report.alarms.len() < alarms::ALARMS_MAX {
                                self.report.alarms.push(alarms::of_value(&observation, &obx, code.hash));
                            }
                            self.observe(observation, &obx, code.hash);
                        }
                        Err(reject) => {
                            waveforms += u32::from(reject.reason == RejectReason::Waveform);
                            let other = matches!(reject.reason, RejectReason::NotObserved | RejectReason::Waveform);
                            known += u32::from(reject.parameter.is_some() && !other);
                            self.report.rejects.push(reject);
                        }
                    }
                }
            }
        }

        self.report.body_is_unique = self.tables.table(self.chosen).control_id.body_unique && body_time;
        if self.times.differ {
            self.report.flags.set(MessageFlags::ZONES_DIFFER);
        }
        self.end_alarm();
        for (wave, measured) in self.waves.told(table) {
            self.state.hold((self.connection, self.place.here), wave.parameters, !measured, self.report.received_at);
        }
        if !observed {
            return;
        }
        self.tell_apart(message);
        self.hold();
        // A test of one sensor keeps only its own values from being judged.
        if tested > 0 && self.report.observations.iter().all(|o| o.validity == Validity::Test) {
            self.report.flags.set(MessageFlags::TEST);
        }
        let recognised = !self.report.observations.is_empty() || known > 0;
        self.report.kind = match () {
            () if recognised => MessageKind::Vitals,
            () if waveforms > 0 => MessageKind::Waveform,
            () if alarms > 0 => MessageKind::Alarm,
            () if table.monitor && ordinal > 0 => MessageKind::Vitals,
            () if table.monitor => MessageKind::KeepAlive,
            () => MessageKind::Other,
        };
    }

    /// Follows the dialect's order of segments; a new group may begin after rows.
    fn follow(&mut self, table: &Table, name: &[u8], rank: usize) -> usize {
        let Some(at) = table.order.iter().position(|known| known == name) else { return rank };
        if at < rank && !matches!(name, b"OBR" | b"ORC") {
            self.report.flags.set(MessageFlags::SEGMENT_ORDER);
        }
        at
    }

    /// Reads an OBR: the time of its rows, and whether they are a laboratory's.
    fn group(&mut self, table: &Table, obr: Segment<'m>) -> Group {
        let mut group = Group::default();
        for n in &table.obr_time {
            match self.times.read(obr.field(*n)) {
                Told::At { at, zone_assumed } => {
                    let source = if *n == 7 { TimeSource::Obr7 } else { TimeSource::ObrOther };
                    group.time = Some((at, source, zone_assumed));
                    break;
                }
                Told::Unreadable => group.unreadable = true,
                Told::Nothing => {}
            }
        }
        if !table.laboratory.is_empty() {
            let service = obr.field(4).str();
            group.laboratory = table.laboratory.iter().any(|word| contains_word(service, word));
        }
        group
    }

    /// An OBX of a message whose rows are no vitals.
    fn unobserved(&mut self, kind: MessageKind, obx: &Obx<'_>, outcome: Outcome) {
        let parameter = match outcome {
            Outcome::Parameter { parameter, .. } => Some(parameter),
            _ => None,
        };
        let reason = match kind {
            MessageKind::Alarm => RejectReason::AlarmRow,
            MessageKind::Adt => RejectReason::Demographic,
            MessageKind::Waveform if obx.waveform_type() => RejectReason::Waveform,
            MessageKind::Waveform => RejectReason::Structure,
            _ => RejectReason::NotObserved,
        };
        self.report.rejects.push(obx.reject(reason, parameter));
    }

    fn observe(&mut self, observation: Observation, obx: &Obx<'_>, code: u32) {
        let key = (observation.parameter as u8, observation.device, observation.channel, observation.effective_at.ms());
        let at = self.report.observations.len() as u32;
        self.order.push(Stream { key, at, place: obx.field(4).span(), code, name: obx.field(3).span() });
        self.report.observations.push(observation);
    }

    /// What tells the scale of a row's integers, and the scale as far as it is clear.
    fn scaled(&mut self, table: &Table, obx: &Obx<'_>, code: Code) -> Option<(Scaled, Option<u8>)> {
        if !table.scales {
            return None;
        }
        let Outcome::Parameter { parameter, .. } = code.outcome else { return None };
        let scaled = self.tables.row(code.rows[0]?).scaled?;
        let limits = rows::limits(obx.field(7));
        Some((scaled, self.state.connection(self.connection).scales.exponent(parameter, &scaled, limits)))
    }

    /// The parameter that a row's place in the device makes it.
    fn moved(&mut self, table: &Table, obx: &Obx<'_>, code: Code) -> Option<Parameter> {
        if table.places.is_empty() {
            return None;
        }
        let Outcome::Parameter { parameter, .. } = code.outcome else { return None };
        let place = obx.field(4).trimmed();
        let at = table.places.iter().position(|row| row.from == parameter && place.starts_with(row.place.as_bytes()))?;
        if let Some(hits) = self.hits.as_deref_mut() {
            hits.insert(RowRef::place(self.chosen, at));
        }
        Some(table.places[at].to)
    }

    /// An alarm's row: a new alarm of the message.
    fn alarm(&mut self, table: &Table, obx: &Obx<'_>, code: Code, when: &When) {
        if self.alarms.is_full() {
            self.end_alarm();
        }
        let alarm = alarms::Reading {
            table,
            code,
            row: code.rows[0].map(|row| self.tables.row(row).alarm).unwrap_or_default(),
            kind: self.alarm_kind,
            at: when.effective().0,
        };
        let value = obx.field(5);
        let named =
            alarms::named_in_text(self.memory, self.tables, self.chosen, obx).and_then(|row| self.tables.row(row).parameter());
        let alarm = alarms::event(obx, &alarm, named);
        // Some senders write in the event's own value what it is about.
        if let Some((parameter, hash)) = alarms::named_in_value(self.memory, self.tables, self.chosen, value) {
            self.alarms.source(parameter, hash);
        }
        if alarm.kind == AlarmKind::Technical {
            let mut parameters = ParamSet::EMPTY;
            for n in alarms::not_measured(table, value) {
                parameters = parameters.union(table.technical[n].parameters);
                if let Some(hits) = self.hits.as_deref_mut() {
                    hits.insert(RowRef::technical(self.chosen, n));
                }
            }
            if !parameters.is_empty() {
                self.state.hold(
                    (self.connection, self.place.here),
                    parameters,
                    alarm.phase != AlarmPhase::End,
                    self.report.received_at,
                );
            }
        }
        if self.report.alarms.len() < alarms::ALARMS_MAX {
            self.report.alarms.push(alarm);
        }
    }

    /// A row of an alarm report that is no event: its source, or an attribute.
    fn about_alarm(&mut self, obx: &Obx<'_>, code: Code) {
        match code.outcome {
            Outcome::Role(Role::AlarmSource) => {
                if let Some((parameter, hash)) = alarms::named_in_value(self.memory, self.tables, self.chosen, obx.field(5)) {
                    self.alarms.source(parameter, hash);
                }
            }
            Outcome::Role(role) if role.of_attribute() => self.alarms.attribute(role, obx.field(5)),
            Outcome::Parameter { parameter, .. } => self.alarms.source(Some(parameter), code.hash),
            Outcome::Unknown if obx.numeric_type() => self.alarms.source(None, code.hash),
            _ => {}
        }
    }

    /// The rows of one alarm are over.
    fn end_alarm(&mut self) {
        self.alarms.end(&mut self.report.alarms);
        self.alarms = alarms::Group::begin(self.report.alarms.len());
    }

    /// Rows of one parameter, channel, device and time: told apart by OBX-4 or code, else both refused.
    fn tell_apart(&mut self, message: &Message<'_>) {
        self.order.sort_unstable_by_key(|stream| (stream.key, stream.at));
        let text = message.text();
        let mut ambiguous = false;
        for run in self.order.chunk_by_mut(|a, b| a.key == b.key).filter(|run| run.len() > 1) {
            let first = run[0].at;
            let mut both: Option<Twin> = None;
            run.sort_by(|a, b| (a.code, a.place.of(text), a.at).cmp(&(b.code, b.place.of(text), b.at)));
            for at in 0..run.len() {
                let this = run[at];
                let twin = |other: &Stream| other.code == this.code && other.place.of(text) == this.place.of(text);
                let observation = &mut self.report.observations[this.at as usize];
                if (at > 0 && twin(&run[at - 1])) || run.get(at + 1).is_some_and(twin) {
                    self.report.rejects.push(Reject {
                        reason: RejectReason::AmbiguousChannel,
                        ordinal: observation.ordinal,
                        set_id: observation.set_id,
                        segment: observation.segment,
                        code: this.name,
                        parameter: Some(observation.parameter),
                    });
                    if observation.validity.usable() && observation.value.is_finite() {
                        let Observation { parameter, set_id, value, .. } = *observation;
                        let twin = both.get_or_insert(Twin { parameter, set_id, low: value, high: value });
                        (twin.low, twin.high) = (twin.low.min(value), twin.high.max(value));
                    }
                    observation.device = AMBIGUOUS;
                    ambiguous = true;
                } else if this.at != first {
                    observation.channel = rows::whole_place(this.place.of(text), this.code);
                }
            }
            self.report.twins.extend(both);
        }
        if ambiguous {
            self.report.observations.retain(|observation| observation.device != AMBIGUOUS);
            self.report.rejects.sort_by_key(|reject| reject.ordinal);
        }
    }

    /// Values of sensors that are reported off do not hold.
    fn hold(&mut self) {
        let held = self.state.held(self.connection, self.place, self.report.received_at);
        if held.is_empty() {
            return;
        }
        for observation in &mut self.report.observations {
            if held.contains(observation.parameter) && observation.validity.usable() {
                observation.validity = Validity::Invalid;
                observation.flags.set(ObsFlags::HELD);
            }
        }
    }
}

/// Mark of a row that is to be taken out (no message has so many devices).
const AMBIGUOUS: u16 = u16::MAX;

/// What an OBR says about its rows.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    time: Option<(Timestamp, TimeSource, bool)>,
    unreadable: bool,
    laboratory: bool,
}
