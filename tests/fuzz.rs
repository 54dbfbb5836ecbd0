//! The bodies of the fuzz targets, with some thousand inputs each: our own samples with bytes put in, taken out, moved and
//! repeated, and bytes without any sense. `cargo +nightly fuzz run monitor` (in `fuzz/`) goes on from here.

#[path = "../fuzz/bodies.rs"]
mod bodies;

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
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn every_row_is_an_observation_or_a_reject(bytes in messages(b"\0")) {
        bodies::decode(&bytes.0);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_core_answers_alike_and_from_a_snapshot(bytes in messages(b"\0")) {
        bodies::monitor(&bytes.0);
    }
}
