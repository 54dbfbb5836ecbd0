//! What one packet says: link layer, IP, and what it carries. Headers are read by `etherparse`, leniently: a packet that was
//! cut short in capturing still shows what is left of it.
//!
//! Link layers: Ethernet with up to three VLAN tags, Linux cooked v1 and v2, raw IP, BSD loopback. Checksums are not looked
//! at: network cards fill them in after the capture has seen the packet.

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice, UdpSlice};
use pcap_parser::Linktype;
use std::net::{IpAddr, Ipv4Addr};

/// One TCP segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub ports: [u16; 2],
    pub sequence: u32,
    pub acknowledged: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub data: &'a [u8],
    /// Bytes of the segment that the capture did not keep.
    pub missing: u32,
}

/// A piece of an IP packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub identification: u32,
    pub protocol: u8,
    pub offset: etherparse::IpFragOffset,
    pub more: bool,
    pub data: &'a [u8],
    /// The capture did not keep all of it.
    pub incomplete: bool,
}

/// What an IP packet carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    Tcp(Segment<'a>),
    Udp([u16; 2]),
    Fragment(Fragment<'a>),
    /// A question for an address, or an answer.
    Arp,
    Other,
}

/// One packet between two addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub body: Body<'a>,
}

/// Why a packet shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blind {
    /// Neither IP nor ARP: nothing is missed.
    OtherProtocol,
    /// Its headers are cut or wrong.
    Unreadable,
    /// A link layer that is not known here.
    Link,
}

/// Reads one packet.
pub(super) fn read<'a>(link: Linktype, data: &'a [u8]) -> Result<Seen<'a>, Blind> {
    let ether = |at: usize, from: usize| -> Result<LaxSlicedPacket<'a>, Blind> {
        let kind: [u8; 2] = data.get(at..at + 2).and_then(|b| b.try_into().ok()).ok_or(Blind::Unreadable)?;
        let rest = data.get(from..).ok_or(Blind::Unreadable)?;
        Ok(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(kind)), rest))
    };
    let ip = |from: usize| -> Result<LaxSlicedPacket<'a>, Blind> {
        let rest = data.get(from..).ok_or(Blind::Unreadable)?;
        LaxSlicedPacket::from_ip(rest).map_err(|_| Blind::Unreadable)
    };
    let sliced = match link.0 {
        // Ethernet
        1 => LaxSlicedPacket::from_ethernet(data).map_err(|_| Blind::Unreadable)?,
        // BSD loopback: the address family in the byte order of the machine; what follows says its version itself.
        0 | 108 => ip(4)?,
        // Raw IP, under each of its numbers
        12 | 14 | 101 | 228 | 229 => ip(0)?,
        // Linux cooked
        113 => ether(14, 16)?,
        276 => ether(0, 20)?,
        _ => return Err(Blind::Link),
    };
    seen(&sliced)
}

fn seen<'a>(sliced: &LaxSlicedPacket<'a>) -> Result<Seen<'a>, Blind> {
    let blind = if sliced.stop_err.is_some() { Blind::Unreadable } else { Blind::OtherProtocol };
    let (from, to, fragment, start, declared) = match sliced.net.as_ref().ok_or(blind)? {
        LaxNetSlice::Arp(arp) => {
            let address = |bytes: &[u8]| -> Result<IpAddr, Blind> {
                let bytes: [u8; 4] = bytes.try_into().map_err(|_| Blind::OtherProtocol)?;
                Ok(IpAddr::V4(Ipv4Addr::from(bytes)))
            };
            let from = address(arp.sender_protocol_addr())?;
            let to = address(arp.target_protocol_addr())?;
            return Ok(Seen { from, to, body: Body::Arp });
        }
        LaxNetSlice::Ipv4(v4) => {
            let header = v4.header();
            let fragment = header
                .is_fragmenting_payload()
                .then(|| (u32::from(header.identification()), header.fragments_offset(), header.more_fragments()));
            let start = header.slice().as_ptr() as usize;
            let (from, to) = (header.source_addr(), header.destination_addr());
            (IpAddr::V4(from), IpAddr::V4(to), fragment, start, usize::from(header.total_len()))
        }
        LaxNetSlice::Ipv6(v6) => {
            let header = v6.header();
            let extensions = v6.extensions();
            let fragment = extensions.first_header().and_then(|first| fragment_of(first, extensions.slice()));
            let start = header.slice().as_ptr() as usize;
            let declared = header.slice().len() + usize::from(header.payload_length());
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), fragment, start, declared)
        }
    };
    let payload = sliced.ip_payload().ok_or(Blind::Unreadable)?;
    let protocol = payload.ip_number.0;
    if let Some((identification, offset, more)) = fragment {
        let fragment = Fragment { identification, protocol, offset, more, data: payload.payload, incomplete: payload.incomplete };
        return Ok(Seen { from, to, body: Body::Fragment(fragment) });
    }
    // What the length field counts and the capture does not hold.
    let held = payload.payload.as_ptr() as usize + payload.payload.len() - start;
    let missing = if payload.incomplete { declared.saturating_sub(held) } else { 0 };
    let body = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Body::Tcp(segment(tcp, missing)),
        Some(TransportSlice::Udp(udp)) => Body::Udp([udp.source_port(), udp.destination_port()]),
        _ => Body::Other,
    };
    Ok(Seen { from, to, body })
}

/// The fragment header among the extension headers of an IPv6 packet: identification, offset, whether more follow.
///
/// The crate's own iterator trusts the number of a header that was cut away and reads behind the packet: it is not used.
fn fragment_of(first: IpNumber, extensions: &[u8]) -> Option<(u32, etherparse::IpFragOffset, bool)> {
    let (mut kind, mut rest) = (first, extensions);
    loop {
        let len = match kind {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = etherparse::Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
                if header.is_fragmenting_payload() {
                    return Some((header.identification(), header.fragment_offset(), header.more_fragments()));
                }
                8
            }
            // RFC 8200 4.3: the length is in units of eight bytes, without the first.
            IpNumber::IPV6_HEADER_HOP_BY_HOP | IpNumber::IPV6_ROUTE_HEADER | IpNumber::IPV6_DESTINATION_OPTIONS => {
                (usize::from(*rest.get(1)?) + 1) * 8
            }
            // RFC 4302 2.2: in units of four, without the first two.
            IpNumber::AUTHENTICATION_HEADER => (usize::from(*rest.get(1)?) + 2) * 4,
            _ => return None,
        };
        kind = IpNumber(*rest.first()?);
        rest = rest.get(len..)?;
    }
}

fn segment<'a>(tcp: &TcpSlice<'a>, missing: usize) -> Segment<'a> {
    Segment {
        ports: [tcp.source_port(), tcp.destination_port()],
        sequence: tcp.sequence_number(),
        acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        data: tcp.payload(),
        missing: missing as u32,
    }
}

/// What a packet carries that was put together from its fragments.
pub(super) fn whole(protocol: u8, data: &[u8]) -> Body<'_> {
    match IpNumber(protocol) {
        IpNumber::TCP => match TcpSlice::from_slice(data) {
            Ok(tcp) => Body::Tcp(segment(&tcp, 0)),
            Err(_) => Body::Other,
        },
        IpNumber::UDP => match UdpSlice::from_slice_lax(data) {
            Ok(udp) => Body::Udp([udp.source_port(), udp.destination_port()]),
            Err(_) => Body::Other,
        },
        _ => Body::Other,
    }
}
