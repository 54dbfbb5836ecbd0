//! Writes captures: Ethernet, VLAN, Linux cooked, IPv4 and IPv6, TCP conversations in any order, fragments; pcap and pcapng.
//! Everything in them is invented.
#![allow(dead_code)]

use std::net::{IpAddr, SocketAddr};

/// A captured packet: time (µs), bytes as captured, and how long it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub at_us: u64,
    pub bytes: Vec<u8>,
    pub wire_len: u32,
}

impl Packet {
    pub fn new(at_us: u64, bytes: Vec<u8>) -> Packet {
        Packet { at_us, wire_len: bytes.len() as u32, bytes }
    }
    /// As a capture with this snap length keeps it.
    pub fn snapped(mut self, snaplen: usize) -> Packet {
        self.bytes.truncate(snaplen);
        self
    }
}

/// What stands under IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    Ethernet,
    /// 802.1Q.
    Vlan(u16),
    /// 802.1ad and 802.1Q.
    DoubleVlan(u16, u16),
    Sll,
    Sll2,
    Raw,
    Null,
}

impl Under {
    pub fn link(self) -> u32 {
        match self {
            Under::Ethernet | Under::Vlan(_) | Under::DoubleVlan(..) => 1,
            Under::Sll => 113,
            Under::Sll2 => 276,
            Under::Raw => 101,
            Under::Null => 0,
        }
    }

    pub fn wrap(self, ip: &[u8]) -> Vec<u8> {
        let kind: u16 = if ip[0] >> 4 == 4 { 0x0800 } else { 0x86DD };
        let mut out = Vec::with_capacity(ip.len() + 24);
        let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match self {
            Under::Ethernet => out.extend(macs),
            Under::Vlan(id) => {
                out.extend(macs);
                out.extend(0x8100u16.to_be_bytes());
                out.extend(id.to_be_bytes());
            }
            Under::DoubleVlan(outer, inner) => {
                out.extend(macs);
                out.extend(0x88A8u16.to_be_bytes());
                out.extend(outer.to_be_bytes());
                out.extend(0x8100u16.to_be_bytes());
                out.extend(inner.to_be_bytes());
            }
            Under::Sll => out.extend([0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]),
            Under::Sll2 => {
                out.extend(kind.to_be_bytes());
                out.extend([0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
                out.extend(ip);
                return out;
            }
            Under::Raw => return ip.to_vec(),
            Under::Null => {
                out.extend(if kind == 0x0800 { 2u32 } else { 24 }.to_le_bytes());
                out.extend(ip);
                return out;
            }
        }
        out.extend(kind.to_be_bytes());
        out.extend(ip);
        // Short frames are filled up.
        if matches!(self, Under::Ethernet) && out.len() < 60 {
            out.resize(60, 0);
        }
        out
    }
}

/// One IP packet.
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from.octets(), to.octets(), protocol, 7, 0, payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // A hop-by-hop header first: real ones have such things.
            let mut out = vec![0x60, 0, 0, 0];
            out.extend((payload.len() as u16 + 8).to_be_bytes());
            out.extend([0, 64]);
            out.extend(from.octets());
            out.extend(to.octets());
            out.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
            out.extend(payload);
            out
        }
        _ => panic!("one family a packet"),
    }
}

fn ipv4(from: [u8; 4], to: [u8; 4], protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0];
    out.extend((payload.len() as u16 + 20).to_be_bytes());
    out.extend(id.to_be_bytes());
    out.extend(fragment.to_be_bytes());
    out.extend([64, protocol, 0, 0]);
    out.extend(from);
    out.extend(to);
    let sum: u32 = out.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let sum = !((folded & 0xFFFF) + (folded >> 16)) as u16;
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(payload);
    out
}

/// An IPv4 packet in fragments of at most `step` bytes (a multiple of eight).
pub fn fragments(whole: &[u8], step: usize, id: u16) -> Vec<Vec<u8>> {
    let payload = &whole[20..];
    let pieces: Vec<&[u8]> = payload.chunks(step).collect();
    let part = |n: usize, piece: &[u8]| {
        let more = if n + 1 < pieces.len() { 0x2000 } else { 0 };
        let from = whole[12..16].try_into().expect("four bytes");
        let to = whole[16..20].try_into().expect("four bytes");
        ipv4(from, to, whole[9], id, more | (n * step / 8) as u16, piece)
    };
    pieces.iter().enumerate().map(|(n, piece)| part(n, piece)).collect()
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// One TCP segment.
pub fn tcp(ports: [u16; 2], sequence: u32, acknowledged: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 20);
    out.extend(ports[0].to_be_bytes());
    out.extend(ports[1].to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(acknowledged.to_be_bytes());
    out.extend([0x50, flags]);
    out.extend([0xFF, 0xFF, 0, 0, 0, 0]);
    out.extend(data);
    out
}

/// One UDP datagram.
pub fn udp(ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(ports[0].to_be_bytes());
    out.extend(ports[1].to_be_bytes());
    out.extend((data.len() as u16 + 8).to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
    out
}

/// A TCP conversation, written packet by packet.
pub struct Talk {
    pub under: Under,
    pub ends: [SocketAddr; 2],
    /// The next sequence number of each side.
    pub next: [u32; 2],
    pub at_us: u64,
    pub mss: usize,
    pub packets: Vec<Packet>,
}

impl Talk {
    /// Client and server; nothing was said yet.
    pub fn new(client: &str, server: &str, at_us: u64) -> Talk {
        let ends = [client.parse().expect("an address"), server.parse().expect("an address")];
        Talk { under: Under::Ethernet, ends, next: [1000, 9_000_000], at_us, mss: 1460, packets: Vec::new() }
    }

    /// One segment of `side` (0: client) at its place, without moving on.
    pub fn raw(&self, side: usize, sequence: u32, flags: u8, data: &[u8]) -> Packet {
        let (from, to) = (self.ends[side], self.ends[1 - side]);
        let segment = tcp([from.port(), to.port()], sequence, self.next[1 - side], flags, data);
        Packet::new(self.at_us, self.under.wrap(&ip(from.ip(), to.ip(), 6, &segment)))
    }

    fn push(&mut self, side: usize, flags: u8, data: &[u8]) {
        let packet = self.raw(side, self.next[side], flags, data);
        self.packets.push(packet);
        self.next[side] = self.next[side].wrapping_add(data.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        self.at_us += 100;
    }

    pub fn open(&mut self) -> &mut Talk {
        self.push(0, SYN, b"");
        self.push(1, SYN | ACK, b"");
        self.push(0, ACK, b"");
        self
    }

    /// Data of one side, in segments, each acknowledged.
    pub fn say(&mut self, side: usize, data: &[u8]) -> &mut Talk {
        for piece in data.chunks(self.mss) {
            self.push(side, ACK | PSH, piece);
        }
        self.push(1 - side, ACK, b"");
        self
    }

    /// A message and its acknowledgement.
    pub fn exchange(&mut self, id: &str, hr: u32) -> &mut Talk {
        let at_us = self.at_us;
        self.say(0, &framed(&message(id, "A1", hr, at_us)));
        self.say(1, &framed(&acknowledgement(id)))
    }

    pub fn wait(&mut self, us: u64) -> &mut Talk {
        self.at_us += us;
        self
    }

    pub fn close(&mut self) -> &mut Talk {
        self.push(0, FIN | ACK, b"");
        self.push(1, FIN | ACK, b"");
        self.push(0, ACK, b"");
        self
    }
}

/// A payload as a block.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    [b"\x0b", payload, b"\x1c\r"].concat()
}

/// `YYYYMMDDhhmmss+0000` of a time, µs since 1970.
fn dtm(at_us: u64) -> String {
    let seconds = at_us / 1_000_000;
    let days = (seconds / 86_400) as i64;
    // Civil date from days (Howard Hinnant's algorithm).
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}{h:02}{m:02}{s:02}+0000")
}

/// A message of a bed with a heart rate and a saturation; identities are invented.
pub fn message(id: &str, bed: &str, hr: u32, at_us: u64) -> Vec<u8> {
    let t = dtm(at_us);
    format!(
        "MSH|^~\\&|MON|ICU|VG|H|{t}||ORU^R01^ORU_R01|{id}|P|2.6\rPID|||INVENTED-1^^^H^MR||Sample^Ada\rPV1||I|ICU^^{bed}\r\
         OBR|1||1|VITALS|||{t}\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{hr}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||{t}\r\
         OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.1.2|97|262688^MDC_DIM_PERCENT^MDC|||||F|||{t}\r"
    )
    .into_bytes()
}

pub fn acknowledgement(id: &str) -> Vec<u8> {
    format!("MSH|^~\\&|VG|H|MON|ICU|20260101120000||ACK^R01^ACK|A{id}|P|2.6\rMSA|AA|{id}\r").into_bytes()
}

/// A frame of the CMS8000 family's telemetry.
pub fn telemetry(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u16 + 2).to_le_bytes().to_vec();
    out.extend([0x05, kind]);
    out.extend(payload);
    out
}

/// What such a device sends when a patient is connected: patient, bed, and some seconds of values. The identity is invented.
pub fn beacon() -> Vec<Vec<u8>> {
    let mut patient = vec![0u8; 400];
    for (at, text) in [(0, "Ward"), (32, "Bed 1"), (64, "Sample Ada"), (96, "INVENTED-1")] {
        patient[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let mut frames = vec![telemetry(0x3E, &patient), telemetry(0x45, b"\x01\x00"), telemetry(0x43, b"")];
    for n in 0..5u8 {
        frames.push(telemetry(0x46, &[0x14, n, 72, 0, 16, 0, 1, 2, 3]));
        frames.push(telemetry(0x46, &[0x15, n, 97, 0, 72, 0]));
        frames.push(telemetry(0x47, b"\x00"));
    }
    frames
}

/// A monitor that speaks to `server`: connection, frames, one a segment, and the end.
pub fn beacon_talk(client: &str, server: &str, at_us: u64) -> Talk {
    let mut talk = Talk::new(client, server, at_us);
    talk.open();
    for frame in beacon() {
        talk.say(0, &frame).wait(200_000);
    }
    talk.close();
    talk
}

/// A print job of the protocol that TCP 515 is registered for (RFC 1179).
pub fn print_job(client: &str, server: &str, at_us: u64) -> Talk {
    let mut talk = Talk::new(client, server, at_us);
    talk.open().say(0, b"\x02lp\n").say(1, b"\0");
    let control = b"Hws1\nPclinic\nJdischarge.ps\nldfA001ws1\n";
    talk.say(0, format!("\x02{} cfA001ws1\n", control.len()).as_bytes()).say(1, b"\0");
    talk.say(0, &[control.as_slice(), b"\0"].concat()).say(1, b"\0");
    let data: Vec<u8> = (0..20_000u32).map(|n| (n * 7 % 251) as u8).collect();
    talk.say(0, format!("\x03{} dfA001ws1\n", data.len()).as_bytes()).say(1, b"\0");
    talk.say(0, &data).say(0, b"\0").say(1, b"\0").close();
    talk
}

/// A pcap file.
pub fn pcap(link: u32, packets: &[Packet]) -> Vec<u8> {
    write_pcap(link, packets, false, false)
}

/// A pcap file in either byte order and resolution.
pub fn write_pcap(link: u32, packets: &[Packet], big: bool, nanos: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = Vec::new();
    out.extend(word(if nanos { 0xA1B2_3C4D } else { 0xA1B2_C3D4 }));
    out.extend(half(2));
    out.extend(half(4));
    for n in [0, 0, 262_144, link] {
        out.extend(word(n));
    }
    for packet in packets {
        let fraction = (packet.at_us % 1_000_000) as u32 * if nanos { 1000 } else { 1 };
        for n in [(packet.at_us / 1_000_000) as u32, fraction, packet.bytes.len() as u32, packet.wire_len] {
            out.extend(word(n));
        }
        out.extend(&packet.bytes);
    }
    out
}

/// Writes pcapng block by block.
pub struct Ng {
    pub bytes: Vec<u8>,
    pub big: bool,
}

impl Ng {
    pub fn new(big: bool) -> Ng {
        let mut ng = Ng { bytes: Vec::new(), big };
        ng.section();
        ng
    }
    fn word(&self, n: u32) -> [u8; 4] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn half(&self, n: u16) -> [u8; 2] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    pub fn section(&mut self) {
        let mut body = Vec::new();
        body.extend(self.word(0x1A2B_3C4D));
        body.extend(self.half(1));
        body.extend(self.half(0));
        body.extend([0xFF; 8]);
        self.block(0x0A0D_0D0A, &body);
    }
    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().div_ceil(4) * 4;
        let len = padded as u32 + 12;
        let (kind, len) = (self.word(kind), self.word(len));
        self.bytes.extend(kind);
        self.bytes.extend(len);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len() + padded - body.len(), 0);
        self.bytes.extend(len);
    }
    /// An interface; `resolution` is the byte of `if_tsresol`.
    pub fn interface(&mut self, link: u16, resolution: Option<u8>, offset_s: Option<i64>) {
        let mut body = Vec::new();
        body.extend(self.half(link));
        body.extend([0, 0]);
        body.extend(self.word(262_144));
        if let Some(resolution) = resolution {
            body.extend(self.half(9));
            body.extend(self.half(1));
            body.extend([resolution, 0, 0, 0]);
        }
        if let Some(offset) = offset_s {
            body.extend(self.half(14));
            body.extend(self.half(8));
            body.extend(if self.big { offset.to_be_bytes() } else { offset.to_le_bytes() });
        }
        body.extend([0, 0, 0, 0]);
        self.block(1, &body);
    }
    /// A packet; `ticks` in the interface's resolution.
    pub fn enhanced(&mut self, interface: u32, ticks: u64, packet: &Packet) {
        let mut body = Vec::new();
        for n in [interface, (ticks >> 32) as u32, ticks as u32, packet.bytes.len() as u32, packet.wire_len] {
            body.extend(self.word(n));
        }
        body.extend(&packet.bytes);
        self.block(6, &body);
    }
    pub fn simple(&mut self, packet: &Packet) {
        let mut body = self.word(packet.wire_len).to_vec();
        body.extend(&packet.bytes);
        self.block(3, &body);
    }
}

/// Several conversations as one capture, in the order of time.
pub fn merged(talks: &[&Talk]) -> Vec<Packet> {
    let mut packets: Vec<Packet> = talks.iter().flat_map(|talk| talk.packets.iter().cloned()).collect();
    packets.sort_by_key(|packet| packet.at_us);
    packets
}
