//! Packets out of a capture, pushed in as bytes: pcap (both byte orders, µs and ns, and the variant with longer records) and
//! pcapng (several sections and interfaces, enhanced and simple packet blocks, any `if_tsresol`).
//!
//! The contract: packets depend on the bytes alone, never on how they were cut into pushes; whatever stands before the place
//! where a capture is damaged or breaks off is handed out. Blocks that are not needed are skipped, not held. Captures may follow
//! each other in one stream, as rotated ones do when they are put together.
//!
//! Limits: one record of [`RECORD_BYTES_MAX`] in memory; [`INTERFACES_MAX`] interfaces a section.

use super::Fault;
use crate::time::Timestamp;
use pcap_parser::pcapng::{
    parse_enhancedpacketblock_be, parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_simplepacketblock_be, parse_simplepacketblock_le,
};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Linktype, OptionCode};

/// Largest record taken, bytes. libpcap captures at most 262 144 of a packet (`MAXIMUM_SNAPLEN`); more is a damaged length.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Interfaces of one pcapng section remembered; packets of further ones are counted as unreadable.
pub const INTERFACES_MAX: usize = 4096;

const SHB: u32 = 0x0A0D_0D0A;
const IDB: u32 = 1;
const SPB: u32 = 3;
const EPB: u32 = 6;
const MAGIC_LE: u32 = 0x1A2B_3C4D;

/// One captured packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub at: Timestamp,
    pub link: Linktype,
    pub data: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: Linktype,
    snaplen: u32,
    /// Ticks a second.
    resolution: u64,
    offset_s: i64,
}

#[derive(Debug)]
enum Form {
    /// The first bytes have not told yet.
    Unknown,
    Pcap {
        big: bool,
        nanos: bool,
        modified: bool,
        link: Linktype,
    },
    Ng {
        big: bool,
        /// One that cannot be read keeps its number.
        interfaces: Vec<Option<Interface>>,
    },
    /// Nothing further is read.
    Ended,
}

/// A packet's place in the buffer.
struct Found {
    at: Timestamp,
    link: Linktype,
    start: usize,
    len: usize,
}

enum Step {
    Found(Found),
    /// Something was read that is no packet.
    Again,
    More,
}

/// The reader of one capture's bytes.
#[derive(Debug)]
pub(super) struct File {
    form: Form,
    buffer: Vec<u8>,
    taken: usize,
    /// Bytes of the capture before `buffer`.
    gone: u64,
    /// Bytes of a block that are still to be dropped.
    skip: u64,
    last: Timestamp,
    pub fault: Option<Fault>,
    /// Blocks of other types.
    pub blocks_skipped: u64,
    /// Blocks that are too large, broken inside, or of an unknown interface.
    pub unreadable: u64,
    kind: &'static str,
}

impl File {
    pub fn new() -> File {
        File {
            form: Form::Unknown,
            buffer: Vec::new(),
            taken: 0,
            gone: 0,
            skip: 0,
            last: Timestamp::from_ms(0),
            fault: None,
            blocks_skipped: 0,
            unreadable: 0,
            kind: "capture",
        }
    }

    /// `pcap`, `pcapng`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.form, Form::Ended) {
            self.gone += bytes.len() as u64;
            return;
        }
        let bytes = self.skipped(bytes);
        if self.taken > 0 {
            self.gone += self.taken as u64;
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn skipped<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let drop = self.skip.min(bytes.len() as u64) as usize;
        self.skip -= drop as u64;
        self.gone += drop as u64;
        &bytes[drop..]
    }

    /// The next packet; `None` when more bytes are needed.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        let found = loop {
            let step = match self.form {
                Form::Unknown => self.begin(),
                Form::Pcap { .. } => self.record(),
                Form::Ng { .. } => self.block(),
                Form::Ended => return None,
            };
            match step {
                Step::Found(found) => break found,
                Step::Again => {}
                Step::More => return None,
            }
        };
        self.last = found.at;
        let data = &self.buffer[found.start..found.start + found.len];
        Some(Packet { at: found.at, link: found.link, data })
    }

    /// Nothing more comes: what is left over was cut.
    pub fn finish(&mut self) {
        let left = (self.buffer.len() - self.taken) as u64;
        if matches!(self.form, Form::Ended) {
            return;
        }
        if left > 0 || self.skip > 0 {
            self.fault.get_or_insert(Fault::Cut { offset: self.here(), bytes: left });
        }
        self.end();
    }

    fn here(&self) -> u64 {
        self.gone + self.taken as u64
    }

    fn end(&mut self) {
        self.form = Form::Ended;
        self.gone += self.buffer.len() as u64;
        self.buffer = Vec::new();
        self.taken = 0;
    }

    fn damaged(&mut self, what: &'static str) -> Step {
        self.fault.get_or_insert(Fault::Damaged { offset: self.here(), what });
        self.end();
        Step::More
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    fn word(&self, at: usize, big: bool) -> Option<u32> {
        let bytes: [u8; 4] = self.rest().get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn begin(&mut self) -> Step {
        let Some(first) = self.word(0, false) else { return Step::More };
        if first == SHB {
            self.kind = "pcapng";
            self.form = Form::Ng { big: false, interfaces: Vec::new() };
            return Step::Again;
        }
        if !is_capture(&first.to_le_bytes()) {
            return self.damaged("this is no capture");
        }
        self.kind = "pcap";
        match pcap_parser::parse_pcap_header(self.rest()) {
            Ok((_, header)) => {
                self.form = Form::Pcap {
                    big: header.is_bigendian(),
                    nanos: header.is_nanosecond_precision(),
                    modified: header.is_modified_format(),
                    // The upper bits tell the length of a frame check sequence.
                    link: Linktype(header.network.0 & 0xFFFF),
                };
                self.taken += header.size();
                Step::Again
            }
            Err(nom::Err::Incomplete(_)) => Step::More,
            Err(_) => self.damaged("this is no capture"),
        }
    }

    fn record(&mut self) -> Step {
        let Form::Pcap { big, nanos, modified, link } = self.form else { return Step::Again };
        // Another capture begins: its magic number, version 2.4. As a record it would be an empty packet of the year 2055.
        if is_capture(self.rest()) && !self.rest().starts_with(&SHB.to_le_bytes()) {
            match self.rest().get(4..8) {
                None => return Step::More,
                Some([2, 0, 4, 0] | [0, 2, 0, 4]) => {
                    self.form = Form::Unknown;
                    return Step::Again;
                }
                Some(_) => {}
            }
        }
        let header = if modified { 24 } else { 16 };
        let Some(captured) = self.word(8, big) else { return Step::More };
        if captured as usize > RECORD_BYTES_MAX {
            return self.damaged("a record claims more bytes than a packet has");
        }
        let parsed = match (modified, big) {
            (true, _) => pcap_parser::parse_pcap_frame_modified(self.rest()),
            (false, false) => pcap_parser::parse_pcap_frame(self.rest()),
            (false, true) => pcap_parser::parse_pcap_frame_be(self.rest()),
        };
        let (len, fraction, seconds) = match parsed {
            Ok((_, block)) => (block.data.len(), block.ts_usec, block.ts_sec),
            Err(nom::Err::Incomplete(_)) => return Step::More,
            Err(_) => return self.damaged("a record cannot be read"),
        };
        let ms = i64::from(fraction) / if nanos { 1_000_000 } else { 1000 };
        let at = Timestamp::from_ms(i64::from(seconds) * 1000 + ms);
        let start = self.taken + header;
        self.taken = start + len;
        Step::Found(Found { at, link, start, len })
    }

    fn block(&mut self) -> Step {
        let Form::Ng { big, .. } = self.form else { return Step::Again };
        let Some(kind) = self.word(0, big) else { return Step::More };
        if kind == SHB {
            return self.section();
        }
        let Some(len) = self.word(4, big) else { return Step::More };
        if len < 12 || !len.is_multiple_of(4) {
            return self.damaged("a block has a length that no block has");
        }
        if !matches!(kind, IDB | SPB | EPB) || len as usize > RECORD_BYTES_MAX {
            if matches!(kind, IDB | SPB | EPB) {
                self.unreadable += 1;
            } else {
                self.blocks_skipped += 1;
            }
            return self.pass_over(len);
        }
        if self.rest().len() < len as usize {
            return Step::More;
        }
        let start = self.taken;
        self.taken += len as usize;
        let bytes = &self.buffer[start..self.taken];
        let found = match kind {
            IDB => {
                let interface = interface(bytes, big);
                self.unreadable += u64::from(interface.is_none());
                if let Form::Ng { interfaces, .. } = &mut self.form
                    && interfaces.len() < INTERFACES_MAX
                {
                    interfaces.push(interface);
                }
                return Step::Again;
            }
            EPB => self.enhanced(bytes, start, big),
            _ => self.simple(bytes, start, big),
        };
        match found {
            Some(found) => Step::Found(found),
            None => {
                self.unreadable += 1;
                Step::Again
            }
        }
    }

    /// A section begins: its byte order is its own, its interfaces are numbered anew.
    fn section(&mut self) -> Step {
        let Some(order) = self.word(8, false) else { return Step::More };
        let big = match order {
            MAGIC_LE => false,
            order if order.swap_bytes() == MAGIC_LE => true,
            _ => return self.damaged("a section has no byte order"),
        };
        let len = self.word(4, big).unwrap_or(0);
        if len < 28 || !len.is_multiple_of(4) {
            return self.damaged("a section's header has a length that no header has");
        }
        self.form = Form::Ng { big, interfaces: Vec::new() };
        self.pass_over(len)
    }

    fn pass_over(&mut self, len: u32) -> Step {
        let here = (self.rest().len() as u64).min(u64::from(len));
        self.taken += here as usize;
        self.skip = u64::from(len) - here;
        if self.skip > 0 { Step::More } else { Step::Again }
    }

    fn enhanced(&self, bytes: &[u8], start: usize, big: bool) -> Option<Found> {
        let Form::Ng { interfaces, .. } = &self.form else { return None };
        let parsed = if big { parse_enhancedpacketblock_be(bytes) } else { parse_enhancedpacketblock_le(bytes) };
        let (_, block) = parsed.ok()?;
        let interface = interfaces.get(block.if_id as usize)?.as_ref()?;
        let ticks = (u64::from(block.ts_high) << 32) | u64::from(block.ts_low);
        let ms = i128::from(ticks) * 1000 / i128::from(interface.resolution) + i128::from(interface.offset_s) * 1000;
        let at = Timestamp::from_ms(i64::try_from(ms).ok()?.clamp(Timestamp::MIN.ms(), Timestamp::MAX.ms()));
        let len = block.packet_data().len();
        Some(Found { at, link: interface.link, start: start + 28, len })
    }

    /// It has no time of its own and belongs to the first interface.
    fn simple(&self, bytes: &[u8], start: usize, big: bool) -> Option<Found> {
        let Form::Ng { interfaces, .. } = &self.form else { return None };
        let parsed = if big { parse_simplepacketblock_be(bytes) } else { parse_simplepacketblock_le(bytes) };
        let (_, block) = parsed.ok()?;
        let interface = interfaces.first()?.as_ref()?;
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let len = block.packet_data().len().min(snaplen as usize);
        Some(Found { at: self.last, link: interface.link, start: start + 12, len })
    }
}

/// Whether a file begins like a capture: the first four bytes.
pub fn is_capture(head: &[u8]) -> bool {
    let Some(first) = head.get(..4) else { return false };
    matches!(
        first,
        [0xD4, 0xC3, 0xB2, 0xA1]
            | [0xA1, 0xB2, 0xC3, 0xD4]
            | [0x4D, 0x3C, 0xB2, 0xA1]
            | [0xA1, 0xB2, 0x3C, 0x4D]
            | [0x34, 0xCD, 0xB2, 0xA1]
            | [0x0A, 0x0D, 0x0D, 0x0A]
    )
}

fn interface(bytes: &[u8], big: bool) -> Option<Interface> {
    let parsed = if big { parse_interfacedescriptionblock_be(bytes) } else { parse_interfacedescriptionblock_le(bytes) };
    let (_, block) = parsed.ok()?;
    // The crate refuses powers of two and reads the offset in one byte order only: both are read here.
    let option = |code: OptionCode| block.options.iter().find(|o| o.code == code).map(|o| o.value());
    let resolution = match option(OptionCode::IfTsresol).and_then(|v| v.first()).copied() {
        None => 1_000_000,
        Some(two) if two & 0x80 != 0 => 1u64.checked_shl(u32::from(two & 0x7F))?,
        Some(ten) => 10u64.checked_pow(u32::from(ten))?,
    };
    let offset = option(OptionCode::IfTsoffset).and_then(|v| v.get(..8)).and_then(|v| v.try_into().ok());
    let offset_s = offset.map_or(0, |v| if big { i64::from_be_bytes(v) } else { i64::from_le_bytes(v) });
    Some(Interface { link: block.linktype, snaplen: block.snaplen, resolution, offset_s })
}
