//! Writes a recorded conversation as a capture file (pcap, raw IPv4): handshake, segments, end. One packet a segment of at most
//! 1 400 bytes; each is acknowledged by the next one of the other side.

use super::conversation::Chunk;

/// Where our side listens in the capture: the port that IANA has for HL7, by which dissectors know it.
pub const PORT: u16 = 2575;
const CLIENT_PORT: u16 = 40_000;
const SEGMENT_BYTES: usize = 1400;
const SYN: u8 = 2;
const FIN: u8 = 1;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// The next sequence number of the client and of ours.
struct Flow {
    file: Vec<u8>,
    next: [u32; 2],
    at_us: u32,
}

impl Flow {
    fn packet(&mut self, ours: bool, flags: u8, data: &[u8]) {
        let (side, other) = (usize::from(ours), usize::from(!ours));
        let (from, to) = if ours { (PORT, CLIENT_PORT) } else { (CLIENT_PORT, PORT) };
        let mut tcp = Vec::with_capacity(20 + data.len());
        tcp.extend_from_slice(&from.to_be_bytes());
        tcp.extend_from_slice(&to.to_be_bytes());
        tcp.extend_from_slice(&self.next[side].to_be_bytes());
        let acknowledged = if flags & ACK == 0 { 0 } else { self.next[other] };
        tcp.extend_from_slice(&acknowledged.to_be_bytes());
        tcp.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(data);
        let addresses = if ours { [10, 0, 0, 2, 10, 0, 0, 1] } else { [10, 0, 0, 1, 10, 0, 0, 2] };
        let len = u16::try_from(tcp.len()).expect("a segment is small");
        let pseudo = [&addresses[..], &[0, 6], &len.to_be_bytes(), &tcp].concat();
        let sum = checksum(&pseudo);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut ip = vec![0x45, 0];
        ip.extend_from_slice(&(len + 20).to_be_bytes());
        ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend_from_slice(&addresses);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend_from_slice(&tcp);
        self.at_us += 100;
        let len = ip.len() as u32;
        for number in [1_767_268_800 + self.at_us / 1_000_000, self.at_us % 1_000_000, len, len] {
            self.file.extend_from_slice(&number.to_le_bytes());
        }
        self.file.extend_from_slice(&ip);
        let counts = data.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[side] = self.next[side].wrapping_add(counts);
    }
}

/// The checksum of IP and TCP.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub fn file(chunks: &[Chunk]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Longest packet, and the link: raw IP.
    file.extend_from_slice(&65_535_u32.to_le_bytes());
    file.extend_from_slice(&101_u32.to_le_bytes());
    let mut flow = Flow { file, next: [1000, 5000], at_us: 0 };
    flow.packet(false, SYN, &[]);
    flow.packet(true, SYN | ACK, &[]);
    flow.packet(false, ACK, &[]);
    for chunk in chunks {
        for data in chunk.bytes.chunks(SEGMENT_BYTES) {
            flow.packet(chunk.ours, PSH | ACK, data);
        }
    }
    flow.packet(false, FIN | ACK, &[]);
    flow.packet(true, FIN | ACK, &[]);
    flow.packet(false, ACK, &[]);
    flow.file
}
