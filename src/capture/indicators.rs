//! The network indicators of ICSMA-25-030-01 as a capture shows them, and who was seen with one.
//!
//! Three are strong: any packet to or from the address block of the advisory, a mount of its file server, and the frames of
//! the CMS8000 family's telemetry, at any address. Ports alone are weak: they are counted and never an alert. What is said is
//! always "matches the indicator of the advisory"; an address alone names no product, because the same addresses are printed
//! in manuals of other makers.
//!
//! Limits: [`HOSTS_MAX`] hosts with an indicator; further ones are only counted.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The advisory that names them.
pub const ADVISORY: &str = "ICSMA-25-030-01";
/// The block that its official mitigation says to close.
pub const BLOCK: (Ipv4Addr, u8) = (Ipv4Addr::new(202, 114, 4, 0), 24);
/// Hosts with an indicator remembered by one reader at most.
pub const HOSTS_MAX: usize = 4096;
/// A host that goes on is told again so often, ms.
const AGAIN_MS: i64 = 60_000;

const TELEMETRY: Ipv4Addr = Ipv4Addr::new(202, 114, 4, 119);
const HL7: Ipv4Addr = Ipv4Addr::new(202, 114, 4, 120);

/// Which indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Indicator {
    /// A packet to or from the block: NI-1, NI-2 and NI-3 by the address.
    Address,
    /// Telemetry frames of the CMS8000 family: NI-9.
    Frame,
    /// Such a frame of the type that holds the patient's identity.
    Identity,
    /// The file server at the block's address: NI-5.
    Nfs,
    /// A packet of a host that the site has declared quarantined ([`super::Tap::watch`]): NI-11.
    Quarantined,
}

impl Indicator {
    /// Those of the advisory.
    pub const OF_ADVISORY: [Indicator; 4] = [Indicator::Address, Indicator::Frame, Indicator::Identity, Indicator::Nfs];

    /// The check that tells it.
    pub const fn check(self) -> &'static str {
        match self {
            Indicator::Address => "N02",
            Indicator::Frame => "N03",
            Indicator::Identity => "N04",
            Indicator::Nfs => "N05",
            Indicator::Quarantined => "P17",
        }
    }
    pub const fn as_str(self) -> &'static str {
        match self {
            Indicator::Address => "indicator_address",
            Indicator::Frame => "indicator_frame",
            Indicator::Identity => "identity_in_clear",
            Indicator::Nfs => "indicator_nfs",
            Indicator::Quarantined => "quarantined_device",
        }
    }
}

/// One host seen with one indicator, since it was last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub indicator: Indicator,
    /// The host on our side. Never published, only hashed.
    pub host: IpAddr,
    /// The other side, where it lies in the block of the advisory: that address is public and may be named.
    pub address: Option<Ipv4Addr>,
    /// The port of the other side; 0 where there is none.
    pub port: u16,
    /// Packets (or frames) since it was last told.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Ports that say something only together with an address: counted, listed, never an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weak {
    /// Packets to or from ports 111 and 2049 of other addresses (NI-5 by its ports alone).
    pub nfs_ports: u64,
    /// TCP 516 to 520 of 202.114.4.119 (NI-6, one implementer).
    pub management_ports: u64,
    /// TCP 511 of 202.114.4.120 (NI-7, one implementer).
    pub export_port: u64,
}

/// The address, if it lies in the block; also one that is wrapped into an IPv6 address.
pub fn block_address(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V4(v4) = address.to_canonical() else { return None };
    (u32::from(v4) >> (32 - BLOCK.1) == u32::from(BLOCK.0) >> (32 - BLOCK.1)).then_some(v4)
}

/// Whether an address lies in the block.
pub fn in_block(address: IpAddr) -> bool {
    block_address(address).is_some()
}

#[derive(Debug)]
struct Hit {
    sighting: Sighting,
    told_at: Timestamp,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    hits: BTreeMap<(Indicator, IpAddr), Hit>,
    /// Hosts that should not be heard.
    pub quarantined: BTreeSet<IpAddr>,
    pub weak: Weak,
    /// Sightings of hosts beyond the bound.
    pub refused: u64,
}

impl Watch {
    /// One packet. `ports`: of TCP or UDP, `tcp` says which.
    pub fn packet(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        ports: Option<[u16; 2]>,
        tcp: bool,
        at: Timestamp,
    ) -> [Option<Sighting>; 3] {
        // What it sends: a packet to it does not say that it is there.
        let heard = if self.quarantined.contains(&from.to_canonical()) {
            self.note(Indicator::Quarantined, from, block_address(to), ports.map_or(0, |ports| ports[1]), 1, at)
        } else {
            None
        };
        let nfs = |port: u16| matches!(port, 111 | 2049);
        let (out, back) = (in_block(to), in_block(from));
        if !out && !back {
            self.weak.nfs_ports += u64::from(ports.is_some_and(|ports| ports.into_iter().any(nfs)));
            return [heard, None, None];
        }
        let (host, other) = if out { (from, to) } else { (to, from) };
        let port = ports.map_or(0, |[source, destination]| if out { destination } else { source });
        let address = block_address(other);
        self.weak.management_ports += u64::from(tcp && address == Some(TELEMETRY) && (516..=520).contains(&port));
        self.weak.export_port += u64::from(tcp && address == Some(HL7) && port == 511);
        let named = self.note(Indicator::Address, host, address, port, 1, at);
        let mounted = nfs(port).then(|| self.note(Indicator::Nfs, host, address, port, 1, at)).flatten();
        [heard, named, mounted]
    }

    /// Something was seen; what is to be told now.
    pub fn note(
        &mut self,
        indicator: Indicator,
        host: IpAddr,
        address: Option<Ipv4Addr>,
        port: u16,
        count: u64,
        at: Timestamp,
    ) -> Option<Sighting> {
        let key = (indicator, host);
        if let Some(hit) = self.hits.get_mut(&key) {
            let seen = &mut hit.sighting;
            seen.count += count;
            seen.last = seen.last.max(at);
            (seen.address, seen.port) = (address.or(seen.address), port);
            if at.since_ms(hit.told_at) < AGAIN_MS {
                return None;
            }
            hit.told_at = at;
            let told = seen.clone();
            seen.count = 0;
            return Some(told);
        }
        if self.hits.len() >= HOSTS_MAX {
            self.refused += count;
            return None;
        }
        let sighting = Sighting { indicator, host, address, port, count, first: at, last: at };
        let kept = Sighting { count: 0, ..sighting.clone() };
        self.hits.insert(key, Hit { sighting: kept, told_at: at });
        Some(sighting)
    }

    /// What was seen since it was last told.
    pub fn finish(&mut self) -> Vec<Sighting> {
        let untold = self.hits.values_mut().filter(|hit| hit.sighting.count > 0);
        untold
            .map(|hit| {
                let told = hit.sighting.clone();
                hit.sighting.count = 0;
                told
            })
            .collect()
    }
}

/// Frames in a row that make the signature.
const FRAMES_NEEDED: u32 = 3;
/// Types of telemetry frames.
const TYPES: [u8; 6] = [0x3E, 0x43, 0x45, 0x46, 0x47, 0x49];
/// The type that holds the patient's identity.
const IDENTITY: u8 = 0x3E;

/// Looks for telemetry frames in one direction: u16 little-endian length of what follows, 05, type, payload; three in a row
/// with lengths that fit. A print job of the registered protocol of TCP 515 begins with a command byte and the ASCII name of a
/// queue, and never has 05 in its third place.
///
/// A run begins at the beginning of the stream or at the beginning of a segment: these devices write a frame at once. Within a
/// run frames may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct FrameWatch {
    /// The header that is being read.
    header: [u8; 4],
    have: u8,
    /// Bytes of the current frame that are still to come.
    rest: u32,
    in_run: bool,
    /// Frames of this run.
    run: u32,
    identities: u32,
}

/// Telemetry frames that were completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frames {
    pub frames: u64,
    pub identities: u64,
}

impl FrameWatch {
    /// Bytes in order, as a segment held them.
    pub fn take(&mut self, mut bytes: &[u8]) -> Frames {
        let mut found = Frames::default();
        if !self.in_run {
            self.in_run = true;
            (self.have, self.rest, self.run, self.identities) = (0, 0, 0, 0);
        }
        while !bytes.is_empty() {
            if self.rest > 0 {
                let step = (self.rest as usize).min(bytes.len());
                self.rest -= step as u32;
                bytes = &bytes[step..];
                if self.rest == 0 {
                    self.complete(&mut found);
                }
                continue;
            }
            self.header[usize::from(self.have)] = bytes[0];
            bytes = &bytes[1..];
            self.have += 1;
            let fits = match self.have {
                3 => self.header[2] == 0x05,
                4 => TYPES.contains(&self.header[3]),
                _ => true,
            };
            let len = u16::from_le_bytes([self.header[0], self.header[1]]);
            if !fits || (self.have == 4 && len < 2) {
                self.in_run = false;
                return found;
            }
            if self.have == 4 {
                self.have = 0;
                self.rest = u32::from(len) - 2;
                if self.rest == 0 {
                    self.complete(&mut found);
                }
            }
        }
        found
    }

    /// Bytes are lost: whatever comes begins anew.
    pub fn lost(&mut self) {
        self.in_run = false;
    }

    fn complete(&mut self, found: &mut Frames) {
        self.run += 1;
        self.identities += u32::from(self.header[3] == IDENTITY);
        if self.run < FRAMES_NEEDED {
            return;
        }
        // The first ones of a run count once it is one.
        let first = self.run == FRAMES_NEEDED;
        found.frames += if first { u64::from(FRAMES_NEEDED) } else { 1 };
        found.identities += u64::from(self.identities);
        self.identities = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((payload.len() + 2) as u16).to_le_bytes().to_vec();
        bytes.extend([0x05, kind]);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn three_frames_in_a_row_are_the_signature_however_they_are_cut() {
        let all: Vec<u8> = [frame(0x43, b""), frame(0x3E, &[0x20; 300]), frame(0x46, b"\x14\x05abc"), frame(0x47, b"x")].concat();
        let wanted = Frames { frames: 4, identities: 1 };
        for cut in 1..all.len() {
            let mut watch = FrameWatch::default();
            let (a, b) = (watch.take(&all[..cut]), watch.take(&all[cut..]));
            assert_eq!((a.frames + b.frames, a.identities + b.identities), (wanted.frames, wanted.identities), "{cut}");
        }
    }

    #[test]
    fn two_frames_are_none() {
        let mut watch = FrameWatch::default();
        assert_eq!(watch.take(&[frame(0x43, b""), frame(0x45, b"12"), b"MSH|".to_vec()].concat()), Frames::default());
        assert_eq!(watch.take(b"\x02\x00\x05\x43\x02\x00\x05\x43"), Frames::default());
    }

    #[test]
    fn a_print_job_is_no_telemetry() {
        for job in [&b"\x02lp\n"[..], b"\x03lp 12\n", b"\x05lp root 12\n", b"\x05\n\x05\n\x05\n"] {
            let mut watch = FrameWatch::default();
            assert_eq!(watch.take(job), Frames::default());
        }
    }

    #[test]
    fn the_block_has_256_addresses() {
        for (address, inside) in [
            ("202.114.4.0", true),
            ("202.114.4.119", true),
            ("202.114.4.255", true),
            ("202.114.5.0", false),
            ("202.114.3.255", false),
            ("::ffff:202.114.4.120", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(in_block(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn a_host_is_told_at_once_then_once_a_minute_and_at_the_end() {
        let mut watch = Watch::default();
        let (host, other) = ("192.0.2.7".parse().unwrap(), "202.114.4.119".parse().unwrap());
        let told = |watch: &mut Watch, ms| {
            watch.packet(host, other, Some([40000, 515]), true, Timestamp::from_ms(ms))[1].as_ref().map(|s| s.count)
        };
        assert_eq!(told(&mut watch, 0), Some(1));
        assert_eq!(told(&mut watch, 1000), None);
        assert_eq!(told(&mut watch, 60_000), Some(2));
        assert_eq!(told(&mut watch, 60_001), None);
        let last = watch.finish();
        assert_eq!((last.len(), last[0].count, last[0].first.ms(), last[0].last.ms()), (1, 1, 0, 60_001));
        assert!(watch.finish().is_empty());
    }

    #[test]
    fn ports_alone_are_only_counted() {
        let mut watch = Watch::default();
        let (a, b, hl7) = ("192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap(), "202.114.4.120".parse().unwrap());
        let at = Timestamp::from_ms(0);
        assert_eq!(watch.packet(a, b, Some([900, 2049]), true, at), [None, None, None]);
        let told = watch.packet(a, hl7, Some([900, 511]), true, at);
        assert_eq!((told[1].as_ref().unwrap().indicator, &told[2]), (Indicator::Address, &None));
        assert_eq!(watch.packet(a, hl7, Some([900, 2049]), true, at)[2].as_ref().unwrap().indicator, Indicator::Nfs);
        assert_eq!(watch.weak, Weak { nfs_ports: 1, management_ports: 0, export_port: 1 });
    }

    #[test]
    fn hosts_are_bounded() {
        let mut watch = Watch::default();
        let other = "202.114.4.119".parse().unwrap();
        for n in 0..5000u32 {
            watch.packet(IpAddr::V4(Ipv4Addr::from(n)), other, None, false, Timestamp::from_ms(0));
        }
        assert_eq!((watch.hits.len(), watch.refused), (HOSTS_MAX, 5000 - HOSTS_MAX as u64));
    }

    #[test]
    fn a_quarantined_host_is_seen_by_what_it_sends() {
        let host: IpAddr = "192.0.2.7".parse().unwrap();
        let other = "192.0.2.8".parse().unwrap();
        let mut watch = Watch { quarantined: [host].into(), ..Watch::default() };
        let at = Timestamp::from_ms(0);
        assert_eq!(watch.packet(other, host, Some([1, 2]), true, at), [None, None, None], "somebody asks for it");
        let told = watch.packet("::ffff:192.0.2.7".parse().unwrap(), other, Some([1, 2]), true, at);
        let told = told[0].as_ref().unwrap();
        assert_eq!((told.indicator.check(), told.port, told.address), ("P17", 2, None));
    }
}
