//! The bodies of the fuzz targets, with some thousand inputs each: our own samples with bytes put in, taken out, moved and
//! repeated, and bytes without any sense. `cargo +nightly fuzz run monitor` (in `fuzz/`) goes on from here.

#[path = "../fuzz/bodies.rs"]
mod bodies;
#[path = "support/capture.rs"]
mod build;

use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

/// Every sample message of every dialect, each ended by CR.
static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/messages");
    let mut files: Vec<_> = std::fs::read_dir(root)
        .expect("the samples are part of the project")
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten())
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "hl7"))
        .collect();
    files.sort();
    let mut samples = Vec::new();
    for file in files {
        let text = std::fs::read(&file).expect("a sample");
        for part in vitalguard::cli::decode::payloads(&text) {
            samples.push(part.iter().map(|byte| if *byte == b'\n' { b'\r' } else { *byte }).collect());
        }
    }
    assert!(samples.len() > 20, "the samples are not found");
    samples
});

/// What means something to one of the readers.
const WORDS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\0",
    b"\x0B",
    b"\x1C",
    b"\x1C\r",
    b"|",
    b"^",
    b"~",
    b"\\",
    b"&",
    b"MSH|^~\\&|",
    b"\rOBX|1|NM|",
    b"\rPID|",
    b"\rPV1|",
    b"\rOBR|",
    b"FHS|",
    b"BHS|",
    b"\xFF\xFE",
    b"\xEF\xBB\xBF",
    b"\\X0D\\",
    b"\\H\\",
    b"\"\"",
    b"99999999999999999999",
    b"-0",
    b"1e308",
    b"NaN",
    b"20260101000000+9999",
    b"00000000",
    b"ORU^R40",
    b"ADT^A17",
    b"MDC_EVT_INOP",
    b"\xC3\xA9",
    b"\xED\xA0\x80",
];

/// Bytes that a failure shows as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Put(prop::sample::Index, Vec<u8>),
    Take(prop::sample::Index, u8),
    Change(prop::sample::Index, u8),
    /// A stretch again at another place.
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), prop::sample::select(WORDS)).prop_map(|(i, word)| Edit::Put(i, word.to_vec())),
        (at(), any::<u8>()).prop_map(|(i, n)| Edit::Take(i, n)),
        (at(), any::<u8>()).prop_map(|(i, byte)| Edit::Change(i, byte)),
        (at(), at(), any::<u8>()).prop_map(|(i, j, n)| Edit::Copy(i, j, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: Edit) {
    let place = |i: prop::sample::Index, len: usize| i.index(len + 1);
    match edit {
        Edit::Put(i, word) => {
            let at = place(i, bytes.len());
            bytes.splice(at..at, word);
        }
        Edit::Take(i, n) => {
            let at = place(i, bytes.len());
            let to = (at + usize::from(n)).min(bytes.len());
            bytes.drain(at..to);
        }
        Edit::Change(i, byte) => {
            let at = place(i, bytes.len());
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        Edit::Copy(i, j, n) => {
            let at = place(i, bytes.len());
            let piece = bytes[at..(at + usize::from(n)).min(bytes.len())].to_vec();
            let to = place(j, bytes.len());
            bytes.splice(to..to, piece);
        }
    }
}

/// One to four samples, edited; `between` stands between two of them.
fn messages(between: &'static [u8]) -> impl Strategy<Value = Shown> {
    let samples = prop::collection::vec(any::<prop::sample::Index>(), 1..5);
    let edited = (samples, prop::collection::vec(edit(), 0..10)).prop_map(move |(samples, edits)| {
        let parts: Vec<&[u8]> = samples.iter().map(|i| SAMPLES[i.index(SAMPLES.len())].as_slice()).collect();
        let mut bytes = parts.join(between);
        for edit in edits {
            apply(&mut bytes, edit);
        }
        bytes
    });
    let senseless = prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"|^~\\&\rMSHOBX0123".to_vec())], 0..400);
    prop_oneof![6 => edited, 1 => senseless].prop_map(Shown)
}

fn framed() -> impl Strategy<Value = Shown> {
    (any::<u8>(), messages(b"\x1C\r\x0B")).prop_map(|(step, bytes)| Shown([&[step, 0x0B][..], &bytes.0, b"\x1C\r"].concat()))
}

fn commands() -> impl Strategy<Value = Shown> {
    let good = concat!(
        "icu-wall\nack\n",
        r#"{"request_id":"r-1","alert":"A-0123456789ab-20260302T090000000Z","rev":3,"comment":"seen","expires":"2026-03-02T10:00:00Z"}"#
    );
    let edited = prop::collection::vec(edit(), 0..6).prop_map(move |edits| {
        let mut bytes = good.as_bytes().to_vec();
        for edit in edits {
            apply(&mut bytes, edit);
        }
        bytes
    });
    prop_oneof![4 => edited, 1 => prop::collection::vec(any::<u8>(), 0..300)].prop_map(Shown)
}

/// Captures of conversations, telemetry, fragments and file mounts in every form, edited; the first byte cuts them.
fn captures() -> impl Strategy<Value = Shown> {
    let at_us = 1_767_268_800_000_000;
    let mut talk = build::Talk::new("192.0.2.7:40000", "192.0.2.1:2575", at_us);
    talk.mss = 90;
    talk.open().exchange("1", 70).exchange("2", 71).close();
    let mut six = build::Talk::new("[2001:db8::7]:40000", "[2001:db8::1]:6661", at_us);
    six.under = build::Under::Vlan(7);
    six.open().exchange("1", 70).close();
    let beacon = build::beacon_talk("192.0.2.7:40000", "202.114.4.119:515", at_us);
    let whole = build::ip([192, 0, 2, 7].into(), [192, 0, 2, 1].into(), 17, &build::udp([1, 2], &[7; 300]));
    let pieces = build::fragments(&whole, 64, 9).into_iter();
    let pieces: Vec<_> = pieces.map(|ip| build::Packet::new(at_us, build::Under::Ethernet.wrap(&ip))).collect();
    let mut files: Vec<Vec<u8>> = [&talk.packets, &six.packets, &beacon.packets, &pieces]
        .into_iter()
        .flat_map(|packets| [build::pcap(1, packets), build::write_pcap(1, packets, true, true)])
        .collect();
    for big in [false, true] {
        let mut ng = build::Ng::new(big);
        ng.interface(1, Some(9), Some(3600));
        ng.interface(1, Some(0x8A), None);
        for (n, packet) in talk.packets.iter().enumerate() {
            ng.enhanced(n as u32 % 2, packet.at_us * 1000, packet);
            ng.simple(packet);
        }
        files.push(ng.bytes);
    }
    let edited =
        (any::<u8>(), prop::sample::select(files), prop::collection::vec(edit(), 0..6)).prop_map(|(step, file, edits)| {
            let mut bytes = file;
            for edit in edits {
                apply(&mut bytes, edit);
            }
            [&[step][..], &bytes].concat()
        });
    // Packets of its own: the second half of the body.
    let packets =
        (any::<u8>(), prop::collection::vec((prop::sample::select(talk.packets), edit()), 0..20)).prop_map(|(step, list)| {
            let mut bytes = vec![step & 0xF8];
            for (packet, edit) in list {
                let mut packet = packet.bytes;
                apply(&mut packet, edit);
                packet.truncate(255);
                bytes.extend([packet.len() as u8, 3]);
                bytes.extend(packet);
            }
            bytes
        });
    prop_oneof![3 => edited, 2 => packets, 1 => prop::collection::vec(any::<u8>(), 0..300)].prop_map(Shown)
}

/// Most begin where the last one ended, so that messages come about.
fn segmented() -> impl Strategy<Value = Shown> {
    let isn = prop_oneof![Just(1000u32), Just(u32::MAX - 700), any::<u32>()];
    let op = (any::<[u8; 6]>(), 0..4u8, any::<bool>());
    (isn, prop::collection::vec(op, 1..120)).prop_map(|(isn, ops)| {
        let mut bytes = isn.to_le_bytes().to_vec();
        let mut next = [0u16; 4];
        for (mut op, jump, plain) in ops {
            let who = usize::from(op[0] % 4);
            if plain {
                (op[0], op[4]) = (0x40 | who as u8, op[4] % 4);
            }
            if jump > 0 {
                [op[1], op[2]] = next[who].to_le_bytes();
            }
            next[who] = u16::from_le_bytes([op[1], op[2]]).wrapping_add(u16::from(op[3]) * 4);
            bytes.extend(op);
        }
        Shown(bytes)
    })
}

const ADVISORIES: &str = r#"schema = "advisories/1"
data_date = "2026-02-01"
[[advisory]]
id = "SITE-1"
title = "Sample"
date = "2025-01-30"
revised = "2025-02-20"
vendor = "Contec"
kind = "bedside monitor"
products = [{ product = "CMS8000", versions = ["< 1.7.15", ">= 4.01 | <= 4.34", "all versions"] }]
cves = [{ id = "CVE-2025-0626", cvss3 = 7.7, cvss3_vector = "CVSS:3.1/AV:N/AC:H/PR:L/UI:N/S:C/C:N/I:H/A:L" }]
summary = "s"
why_it_matters_here = "w"
known_exploited = false
patterns = [{ confidence = "exact", regex = '(?i)\bcms\s?-?8000\b' }, { confidence = "vendor", regex = '(?i)\bcontec\b' }]
pattern_tests = { match = ["CMS8000"], no_exact_match = ["CMS8001"] }
url = "https://example.org"
source = "s"
"#;

const CONFIG: &str = r#"site = "sample"
zone = "Europe/Rome"
[devices]
[[devices.device]]
id = "00:a0:37:12:34:56"
model = "CMS8000"
state = "quarantined"
[[mllp]]
feed = "icu"
listen = "127.0.0.1:2575"
[senders]
closed = true
[[senders.sender]]
peer = "192.0.2.0/24"
application = "MON"
zone = "+05:30"
dialect = "ihe_pcd01"
[[senders.sender]]
certificate = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
encrypted = true
"#;

/// A text with slips of the pen.
fn slips(good: &'static str) -> impl Strategy<Value = Shown> {
    let words: Vec<&'static str> = vec![
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "=",
        "\n",
        "{",
        "}",
        ",",
        "#",
        "0",
        "-1",
        "nan",
        "1e999",
        "(",
        ")",
        "*",
        "{1000}",
        "\\",
        "(?i)",
        ".*",
        "2026-02-30",
        "é",
        "\u{202e}",
        "\u{0}",
        "true",
        "/33",
        "::",
        "id",
        "regex",
        "Europe/Nowhere",
        "cve",
        "x = 1\n",
    ];
    let put =
        (any::<prop::sample::Index>(), prop::sample::select(words)).prop_map(|(i, word)| Edit::Put(i, word.as_bytes().to_vec()));
    prop::collection::vec(prop_oneof![2 => put, 1 => edit()], 0..4).prop_map(move |edits| {
        let mut bytes = good.as_bytes().to_vec();
        for edit in edits {
            apply(&mut bytes, edit);
        }
        Shown(bytes)
    })
}

#[test]
fn the_texts_that_slips_are_made_in_are_sound() {
    vitalguard::advisory::Advisories::read(ADVISORIES, "site.toml").unwrap();
    let loaded = vitalguard::cli::load::read(CONFIG, "v.toml").unwrap_or_else(|refused| panic!("{:?}", refused.0));
    assert!(loaded.config.senders.closed);
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn framing_depends_on_the_bytes_alone(bytes in framed()) {
        bodies::framing(&bytes.0);
    }
    #[test]
    fn messages_are_shown_and_answered(bytes in messages(b"\r")) {
        bodies::message(&bytes.0);
    }
    #[test]
    fn commands_are_refused_or_understood(bytes in commands()) {
        bodies::command(&bytes.0);
    }
    #[test]
    fn recordings_come_to_an_end(bytes in messages(b"\n")) {
        bodies::recording(&bytes.0);
    }
    #[test]
    fn captures_depend_on_the_bytes_alone(bytes in captures()) {
        bodies::capture(&bytes.0);
    }
    #[test]
    fn segments_make_no_message_that_was_not_said(bytes in segmented()) {
        bodies::segments(&bytes.0);
    }
    #[test]
    fn advisories_are_refused_by_name_or_understood(bytes in slips(ADVISORIES)) {
        bodies::advisories(&bytes.0);
    }
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn every_row_is_an_observation_or_a_reject(bytes in messages(b"\0")) {
        bodies::decode(&bytes.0);
    }
    #[test]
    fn a_configuration_is_refused_line_by_line_or_sound(bytes in slips(CONFIG)) {
        bodies::config(&bytes.0);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_core_answers_alike_and_from_a_snapshot(bytes in messages(b"\0")) {
        bodies::monitor(&bytes.0);
    }
}
