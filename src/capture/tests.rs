//! Whole captures, built here, through the reader.

use super::*;
use build::{ACK, Ng, PSH, Packet, RST, SYN, Talk, Under, framed, message, pcap};
use proptest::prelude::*;

#[path = "../../tests/support/capture.rs"]
mod build;

const AT_US: u64 = 1_767_268_800_000_000;
const MONITOR: &str = "192.0.2.7:40000";
const ENGINE: &str = "192.0.2.1:2575";

/// Every event of a capture, pushed in pieces of `step` bytes.
fn read_by(bytes: &[u8], step: usize) -> (Vec<Event>, Reader) {
    let mut reader = Reader::new(Options::default());
    let mut events = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        reader.push(piece);
        events.extend(std::iter::from_fn(|| reader.poll()));
    }
    reader.finish();
    events.extend(std::iter::from_fn(|| reader.poll()));
    (events, reader)
}

fn read(bytes: &[u8]) -> (Vec<Event>, Reader) {
    read_by(bytes, usize::MAX)
}

/// MSH-10 of every message.
fn ids(events: &[Event]) -> Vec<String> {
    let id = |payload: &[u8]| String::from_utf8_lossy(payload).split('|').nth(9).unwrap_or_default().to_owned();
    events
        .iter()
        .filter_map(|event| match event {
            Event::Frame { payload, .. } => Some(id(payload)),
            _ => None,
        })
        .collect()
}

fn sightings(events: &[Event]) -> Vec<&Sighting> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Sighting { sighting, .. } => Some(sighting),
            _ => None,
        })
        .collect()
}

fn talk() -> Talk {
    let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
    talk.open();
    for n in 1..=3 {
        talk.exchange(&n.to_string(), 70 + n).wait(1_000_000);
    }
    talk.close();
    talk
}

#[test]
fn messages_and_their_answers_are_found_on_any_port() {
    for server in ["192.0.2.1:2575", "192.0.2.1:80", "192.0.2.1:49152"] {
        let mut talk = Talk::new(MONITOR, server, AT_US);
        talk.open().exchange("1", 71).wait(20_000).exchange("2", 72).close();
        let (events, reader) = read(&pcap(1, &talk.packets));
        assert_eq!(ids(&events), ["1", "2"]);
        let opened = Event::Opened {
            flow: 1,
            at: Timestamp::from_ms(AT_US as i64 / 1000),
            client: MONITOR.parse().unwrap(),
            server: server.parse().unwrap(),
            begun: true,
        };
        assert_eq!(events[0], opened);
        assert!(matches!(events.last(), Some(Event::Closed { how: End::Finished, .. })));
        let c = reader.counts();
        assert_eq!((c.feeds, c.messages, c.accepted, c.unasked, c.unanswered), (1, 2, 2, 0, 0));
        assert_eq!((c.gaps, c.conflicts, c.cut, c.early, reader.fault()), (0, 0, 0, 0, None));
    }
}

#[test]
fn every_link_layer_and_both_families_are_read() {
    let unders = [Under::Ethernet, Under::Vlan(7), Under::DoubleVlan(7, 8), Under::Sll, Under::Sll2, Under::Raw, Under::Null];
    for under in unders {
        for (client, server) in [(MONITOR, ENGINE), ("[2001:db8::7]:40000", "[2001:db8::1]:2575")] {
            let mut talk = Talk::new(client, server, AT_US);
            talk.under = under;
            talk.open().exchange("1", 71).close();
            let (events, reader) = read(&pcap(under.link(), &talk.packets));
            assert_eq!(ids(&events), ["1"], "{under:?} {client}: {:?}", reader.counts());
        }
    }
    let (_, reader) = read(&pcap(147, &talk().packets));
    assert_eq!((reader.counts().unknown_link, reader.counts().link), (reader.counts().packets, Some(147)));
}

#[test]
fn every_form_of_a_capture_gives_the_same_events() {
    let packets = talk().packets;
    let expected = read(&pcap(1, &packets)).0;
    assert_eq!(ids(&expected).len(), 3);
    for big in [false, true] {
        for nanos in [false, true] {
            let bytes = build::write_pcap(1, &packets, big, nanos);
            assert_eq!(read(&bytes).0, expected, "{big} {nanos}");
            assert_eq!(read_by(&bytes, 7).0, expected);
        }
        // Microseconds by default, nanoseconds, powers of two, an offset.
        for (resolution, offset) in [(None, None), (Some(9), None), (Some(0x80 | 30), None), (Some(6), Some(3600))] {
            let mut ng = Ng::new(big);
            ng.block(4, b"names, passed over");
            ng.interface(1, resolution, offset);
            for packet in &packets {
                let us = u128::from(packet.at_us) - offset.unwrap_or(0) as u128 * 1_000_000;
                let ticks = match resolution {
                    Some(9) => us * 1000,
                    Some(two) if two & 0x80 != 0 => (us << 30).div_ceil(1_000_000),
                    _ => us,
                };
                ng.enhanced(0, ticks as u64, packet);
                ng.block(0x0BAD, b"x");
            }
            let (events, reader) = read(&ng.bytes);
            assert_eq!(events, expected, "{big} {resolution:?}");
            assert_eq!(reader.records_unreadable(), (0, packets.len() as u64 + 1));
            assert_eq!(read_by(&ng.bytes, 5).0, expected);
        }
    }
}

#[test]
fn interfaces_sections_and_simple_packets() {
    let mut raw = Talk::new(MONITOR, ENGINE, AT_US);
    raw.under = Under::Raw;
    raw.open().exchange("raw", 70);
    let mut ether = Talk::new("192.0.2.8:40001", ENGINE, AT_US);
    ether.open().exchange("ether", 70);
    let mut ng = Ng::new(false);
    // An interface that cannot be read keeps its number.
    ng.interface(1, Some(77), None);
    ng.interface(101, None, None);
    ng.interface(1, None, None);
    for (a, b) in raw.packets.iter().zip(&ether.packets) {
        ng.enhanced(1, a.at_us, a);
        ng.enhanced(2, b.at_us, b);
    }
    ng.enhanced(0, AT_US, &raw.packets[0]);
    ng.enhanced(9, AT_US, &raw.packets[0]);
    let mut second = Ng::new(true);
    second.interface(1, None, None);
    let mut simple = Talk::new("192.0.2.9:40002", ENGINE, AT_US);
    simple.open().exchange("simple", 70);
    for packet in &simple.packets {
        second.simple(packet);
    }
    let (events, reader) = read(&[ng.bytes, second.bytes].concat());
    assert_eq!(ids(&events), ["raw", "ether", "simple"]);
    assert_eq!(reader.records_unreadable(), (3, 0));
}

#[test]
fn a_lost_segment_costs_its_message_and_no_other() {
    let mut packets = talk().packets;
    // The first segment of the second message.
    let lost = packets.iter().position(|p| p.bytes.windows(4).any(|w| w == b"|2|P")).unwrap();
    packets.remove(lost);
    let (events, reader) = read(&pcap(1, &packets));
    assert_eq!(ids(&events), ["1", "3"]);
    let c = reader.counts();
    assert_eq!((c.gaps, c.unasked), (1, 1), "{c:?}");
    assert!(events.iter().any(|e| matches!(e, Event::Gap { from: Side::Client, .. })));
}

#[test]
fn a_hole_in_the_middle_of_a_message_is_resynchronised_at_the_next() {
    let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
    talk.mss = 100;
    talk.open();
    for n in 1..=6 {
        talk.exchange(&n.to_string(), 70).wait(700_000);
    }
    let starts: Vec<usize> = (0..talk.packets.len()).filter(|at| talk.packets[*at].bytes.len() > 100).collect();
    let mut packets = talk.packets.clone();
    packets.remove(starts[8]);
    let (events, reader) = read(&pcap(1, &packets));
    assert_eq!((ids(&events).len(), reader.counts().gaps), (5, 1));
    assert!(reader.counts().cut + u64::from(reader.counts().resync_bytes > 0) > 0);
}

#[test]
fn a_capture_that_begins_in_the_middle_is_read_from_the_next_message() {
    let packets = talk().packets;
    for from in 3..packets.len() {
        let (events, _) = read(&pcap(1, &packets[from..]));
        let ids = ids(&events);
        assert!(["1", "2", "3"].ends_with(&ids.iter().map(String::as_str).collect::<Vec<_>>()), "{from}: {ids:?}");
        if let Some(Event::Opened { client, begun, .. }) = events.first() {
            // Whoever is heard first: the one that tells is the client.
            assert_eq!((client.to_string().as_str(), *begun), (MONITOR, false), "{from}");
        }
    }
}

#[test]
fn a_copy_with_other_bytes_is_told() {
    let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
    talk.open();
    let sequence = talk.next[0];
    talk.exchange("1", 71);
    let at = talk.at_us;
    let forged = framed(&message("1", "A1", 99, at));
    let packet = talk.raw(0, sequence, ACK | PSH, &forged);
    talk.packets.push(packet);
    talk.close();
    let (events, reader) = read(&pcap(1, &talk.packets));
    assert_eq!(ids(&events), ["1"]);
    assert_eq!((reader.counts().conflicts, reader.counts().messages), (1, 1));
    assert!(events.iter().any(|e| matches!(e, Event::Conflict { from: Side::Client, bytes: 2, .. })), "{events:?}");
}

#[test]
fn ports_that_are_used_again_are_another_connection() {
    let mut talk = talk();
    talk.next = [77, 88];
    talk.wait(1_000_000).open().exchange("4", 70);
    // Without an end.
    talk.next = [5_000_000, 6_000_000];
    talk.wait(1_000_000).open().exchange("5", 70);
    let last = talk.raw(0, talk.next[0], RST, b"");
    talk.packets.push(last);
    let (events, reader) = read(&pcap(1, &talk.packets));
    assert_eq!(ids(&events), ["1", "2", "3", "4", "5"]);
    let ends: Vec<End> =
        events.iter().filter_map(|e| if let Event::Closed { how, .. } = e { Some(*how) } else { None }).collect();
    assert_eq!(ends, [End::Finished, End::Reused, End::Reset]);
    assert_eq!((reader.counts().flows, reader.counts().reused), (3, 1));
}

#[test]
fn a_reset_with_a_foreign_number_ends_nothing() {
    let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
    talk.open().exchange("1", 70);
    let forged = talk.raw(1, talk.next[1].wrapping_add(1 << 28), RST, b"");
    talk.packets.push(forged);
    talk.exchange("2", 70);
    let (events, reader) = read(&pcap(1, &talk.packets));
    assert_eq!((ids(&events).len(), reader.counts().flows), (2, 1));
}

#[test]
fn a_packet_cut_by_the_snap_length_is_a_gap() {
    let talk = talk();
    let packets: Vec<Packet> = talk.packets.iter().cloned().map(|p| p.snapped(200)).collect();
    let (events, reader) = read(&pcap(1, &packets));
    assert!(ids(&events).is_empty());
    let c = reader.counts();
    assert_eq!((c.short, c.gaps), (3, 3), "{c:?}");
    assert_eq!(c.accepted, 3);
}

#[test]
fn fragments_are_put_together_or_counted() {
    let mut packets = Vec::new();
    for (id, packet) in (0..).zip(talk().packets) {
        let bytes = packet.bytes[14..].to_vec();
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let mut parts = build::fragments(&bytes[..len], 64, id);
        parts.reverse();
        packets.extend(parts.into_iter().map(|p| Packet::new(packet.at_us, Under::Ethernet.wrap(&p))));
    }
    let (events, reader) = read(&pcap(1, &packets));
    assert_eq!((ids(&events).len(), reader.counts().fragments_lost), (3, 0));
    let part = packets.iter().position(|p| p.bytes.windows(4).any(|w| w == b"PID|")).unwrap();
    packets.remove(part);
    let (events, reader) = read(&pcap(1, &packets));
    assert_eq!(ids(&events).len(), 2);
    assert_eq!(reader.counts().fragments_lost, 1);
}

#[test]
fn a_beacon_is_seen_at_the_address_and_at_any_other() {
    let talk = build::beacon_talk(MONITOR, "202.114.4.119:515", AT_US);
    let (events, reader) = read(&pcap(1, &talk.packets));
    let sum = |wanted| sightings(&events).iter().filter(|s| s.indicator == wanted).map(|s| s.count).sum::<u64>();
    assert_eq!(sum(Indicator::Address), talk.packets.len() as u64);
    assert_eq!(sum(Indicator::Frame), build::beacon().len() as u64);
    assert_eq!((sum(Indicator::Identity), sum(Indicator::Nfs)), (1, 0));
    assert!(sightings(&events).iter().all(|s| s.host.to_string() == "192.0.2.7" && s.address.is_some()));
    assert_eq!(reader.counts().feeds, 0);

    for server in ["10.0.0.9:515", "10.0.0.9:6000", "[2001:db8::9]:515"] {
        let client = if server.starts_with('[') { "[2001:db8::7]:40000" } else { MONITOR };
        let (events, _) = read(&pcap(1, &build::beacon_talk(client, server, AT_US).packets));
        let seen: Vec<_> = sightings(&events).iter().map(|s| (s.indicator, s.address)).collect();
        assert!(seen.contains(&(Indicator::Frame, None)) && seen.contains(&(Indicator::Identity, None)), "{seen:?}");
        assert!(seen.iter().all(|(indicator, _)| *indicator != Indicator::Address));
    }
}

#[test]
fn a_print_job_on_the_same_port_is_none() {
    let (events, _) = read(&pcap(1, &build::print_job(MONITOR, "10.0.0.9:515", AT_US).packets));
    assert!(sightings(&events).is_empty());
}

#[test]
fn the_file_server_is_strong_with_the_address_and_counted_without() {
    let nfs = |server: &str| {
        let (from, to) = ("192.0.2.7".parse().unwrap(), server.parse().unwrap());
        let packet = build::ip(from, to, 17, &build::udp([700, 111], b"portmap"));
        read(&pcap(1, &[Packet::new(AT_US, Under::Ethernet.wrap(&packet))]))
    };
    let (events, _) = nfs("202.114.4.119");
    let seen: Vec<_> = sightings(&events).iter().map(|s| s.indicator).collect();
    assert_eq!(seen, [Indicator::Address, Indicator::Nfs]);
    let (events, reader) = nfs("10.0.0.9");
    assert_eq!((sightings(&events).len(), reader.tap().weak().nfs_ports), (0, 1));
}

#[test]
fn a_question_for_an_address_of_the_block_is_seen() {
    let mut arp = vec![0xFF; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]);
    arp.extend([202, 114, 4, 20, 0, 0, 0, 0, 0, 0, 202, 114, 4, 119]);
    let (events, _) = read(&pcap(1, &[Packet::new(AT_US, arp)]));
    assert_eq!(sightings(&events)[0].address.unwrap().to_string(), "202.114.4.119");
}

#[test]
fn a_capture_cut_anywhere_is_used_up_to_there() {
    let packets = talk().packets;
    let bytes = pcap(1, &packets);
    let mut before = 0;
    for end in 0..=bytes.len() {
        let (events, reader) = read(&bytes[..end]);
        let found = ids(&events).len();
        assert!(found >= before, "{end}");
        before = found;
        if let Some(Fault::Cut { offset, bytes }) = reader.fault() {
            assert_eq!(offset + bytes, end as u64);
        }
    }
    assert_eq!(before, 3);
    let (_, reader) = read(&bytes[..bytes.len() - 5]);
    assert!(reader.fault().unwrap().to_string().starts_with("the capture breaks off at byte"));
}

#[test]
fn a_damaged_length_ends_reading_with_a_reason() {
    let packets = talk().packets;
    let mut bytes = pcap(1, &packets[..10]);
    bytes.extend([0xFF; 40]);
    let (events, reader) = read(&bytes);
    assert!(!events.is_empty());
    assert!(matches!(reader.fault(), Some(Fault::Damaged { .. })), "{:?}", reader.fault());
    assert_eq!(reader.counts().packets, 10);
    assert!(matches!(read(b"not a capture").1.fault(), Some(Fault::Damaged { offset: 0, .. })));
}

#[test]
fn ten_thousand_connections_and_more_stay_within_bounds() {
    let mut tap = Tap::new(Options::default());
    let half = framed(&message("1", "A1", 70, AT_US));
    let mut most = 0;
    for n in 0..70_000u32 {
        let client = format!("10.{}.{}.{}:{}", n >> 16, n >> 8 & 255, n & 255, 1024 + n % 60_000);
        let mut talk = Talk::new(&client, ENGINE, AT_US);
        talk.open().say(0, &half[..half.len() / 2]);
        for packet in &talk.packets {
            tap.packet(Linktype(1), &packet.bytes, Timestamp::from_ms(0));
        }
        most = most.max(tap.held().0);
        assert!(tap.held().1 <= HELD_BYTES_MAX);
        while tap.poll().is_some() {}
    }
    assert_eq!(most, FLOWS_MAX);
    assert!(tap.counts().evicted >= 70_000 - FLOWS_MAX as u64);
    tap.finish();
    assert_eq!(tap.counts().cut, 70_000);
}

#[test]
fn memory_of_all_connections_is_bounded() {
    let mut tap = Tap::new(Options::default());
    let mut most = 0;
    for n in 0..400u32 {
        let client = format!("10.0.{}.{}:1024", n >> 8, n & 255);
        let mut talk = Talk::new(&client, ENGINE, AT_US);
        talk.open().say(0, b"\x0bMSH|^~\\&|").say(0, &vec![b'x'; 1 << 20]);
        for packet in &talk.packets {
            tap.packet(Linktype(1), &packet.bytes, Timestamp::from_ms(0));
            most = most.max(tap.held().1);
        }
    }
    assert!(most <= HELD_BYTES_MAX && most > HELD_BYTES_MAX / 2, "{most}");
    assert!(tap.counts().evicted > 100);
}

/// The packets of a conversation with sent text, in segments that may overlap, be repeated and come in another order.
fn jumbled() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, usize)>, u32)> {
    (3usize..40, any::<u32>()).prop_flat_map(|(messages, isn)| {
        let text: Vec<u8> = (0..messages).flat_map(|n| framed(&message(&n.to_string(), "A1", 60 + n as u32, AT_US))).collect();
        let len = text.len();
        // Thousands of crumbs behind one hole are given up by the bound on what waits.
        let step = 16usize..1500;
        let cover = proptest::collection::vec(step, 1..60).prop_map(move |steps| {
            let (mut cuts, mut at) = (Vec::new(), 0);
            for step in steps.iter().cycle() {
                cuts.push((at, (at + step).min(len)));
                at += step;
                if at >= len {
                    break;
                }
            }
            cuts
        });
        let copies = proptest::collection::vec((0..len, 1usize..800), 0..20)
            .prop_map(move |list| list.into_iter().map(|(at, n)| (at, (at + n).min(len))).collect::<Vec<_>>());
        (Just(text), (cover, copies).prop_map(|(a, b)| [a, b].concat()).prop_shuffle(), Just(isn))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_segments_gives_the_same_messages((text, cuts, isn) in jumbled()) {
        let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
        talk.next[0] = isn;
        talk.open();
        let first = talk.next[0];
        for (from, to) in &cuts {
            let packet = talk.raw(0, first.wrapping_add(*from as u32), ACK | PSH, &text[*from..*to]);
            talk.packets.push(packet);
        }
        let (events, reader) = read(&pcap(1, &talk.packets));
        let expected = text.split(|b| *b == 0x1c).count() - 1;
        prop_assert_eq!(ids(&events), (0..expected).map(|n| n.to_string()).collect::<Vec<_>>());
        prop_assert_eq!((reader.counts().gaps, reader.counts().conflicts), (0, 0));
    }

    #[test]
    fn nothing_in_a_capture_is_a_panic(
        mut bytes in prop_oneof![Just(pcap(1, &talk().packets)), Just({
            let mut ng = Ng::new(false);
            ng.interface(1, Some(9), Some(5));
            for packet in &talk().packets {
                ng.enhanced(0, packet.at_us, packet);
                ng.simple(packet);
            }
            ng.bytes
        })],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        step in 1usize..4000,
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (whole, a) = read(&bytes);
        let (cut, b) = read_by(&bytes, step);
        prop_assert_eq!(whole, cut);
        prop_assert_eq!(a.counts(), b.counts());
    }

    #[test]
    fn no_packet_is_a_panic(link in prop_oneof![Just(0), Just(1), Just(101), Just(113), Just(276), 0..300], bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut tap = Tap::new(Options { data: true, ..Options::default() });
        tap.packet(Linktype(link), &bytes, Timestamp::from_ms(0));
        tap.finish();
    }
}

#[test]
fn captures_may_follow_each_other_in_one_stream() {
    let packets = talk().packets;
    let expected = read(&pcap(1, &packets)).0;
    for at in 1..packets.len() {
        // Rotated in the middle of a connection, and in the other byte order.
        let bytes = [pcap(1, &packets[..at]), build::write_pcap(1, &packets[at..], at % 2 == 0, false)].concat();
        assert_eq!(read(&bytes).0, expected, "{at}");
        assert_eq!(read_by(&bytes, 3).0, expected, "{at}");
    }
}

#[test]
fn tls_is_counted_and_not_read() {
    let mut talk = Talk::new(MONITOR, ENGINE, AT_US);
    talk.open().say(0, &[0x16, 0x03, 0x01, 0x00, 0x05, 1, 2, 3, 4, 5]).close();
    let (events, reader) = read(&pcap(1, &talk.packets));
    assert_eq!((events.len(), reader.counts().tls), (0, 1));
}

#[test]
fn a_syn_behind_its_data_is_the_same_connection() {
    let mut talk = talk();
    talk.packets.swap(0, 3);
    let (events, reader) = read(&pcap(1, &talk.packets));
    assert_eq!((ids(&events).len(), reader.counts().flows), (3, 1));
    let again = Talk::new(MONITOR, ENGINE, AT_US).raw(0, 1000, SYN, b"");
    talk.packets.insert(8, again);
    assert_eq!(read(&pcap(1, &talk.packets)).1.counts().flows, 1);
}

#[test]
fn ids_that_wait_for_an_answer_and_room_for_frames_count_as_memory() {
    let mut talk = talk();
    talk.packets.clear();
    let mut tap = Tap::new(Options::default());
    talk.open();
    let mut packets = std::mem::take(&mut talk.packets);
    for n in 0..200 {
        let id = format!("{n:0>200}");
        let at_us = talk.at_us;
        talk.say(0, &framed(&message(&id, "A1", 70, at_us)));
    }
    packets.append(&mut talk.packets);
    for packet in &packets {
        tap.packet(Linktype(1), &packet.bytes, Timestamp::from_ms(0));
        while tap.poll().is_some() {}
    }
    assert!(tap.held().1 > 200 * 200, "{} bytes told for 200 ids of 200", tap.held().1);
    tap.finish();
    assert_eq!(tap.counts().unanswered, 200);
    assert_eq!(tap.held(), (0, 0));
}
