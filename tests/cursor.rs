//! The reading of messages and frames, held against hl7-parser, against arbitrary bytes, and against a folder of samples.

use proptest::prelude::*;
use std::path::PathBuf;
use vitalguard::hl7::ack::{AckMode, Outcome, answer};
use vitalguard::hl7::time::Dtm;
use vitalguard::hl7::{Field, Message, Scratch, header, is_batch, split_batch, tree, value};
use vitalguard::mllp::{Decoder, Event, FRAME_BYTES_MAX};
use vitalguard::time::Timestamp;

static TABLES: std::sync::LazyLock<std::sync::Arc<vitalguard::hl7::dialect::Tables>> =
    std::sync::LazyLock::new(vitalguard::hl7::dialect::Tables::embedded);

/// Five delimiters, each of its own: the usual ones most of the time.
fn delimiters() -> impl Strategy<Value = [char; 5]> {
    let unusual = prop::sample::subsequence("|^~\\&#!$%*@;<>?[]{}`/=".chars().collect::<Vec<_>>(), 5).prop_shuffle();
    let unusual = unusual.prop_map(|chosen| [chosen[0], chosen[1], chosen[2], chosen[3], chosen[4]]);
    prop_oneof![2 => Just(['|', '^', '~', '\\', '&']), 1 => unusual]
}

/// A field of every depth, with blanks, nulls, escapes, letters beyond ASCII and line ends that end no segment. Written with
/// stand-ins for the delimiters.
fn field() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        6 => "[A-Za-z0-9 .:-]{0,6}",
        1 => "[äßéЖ東☂a]{1,3}",
        1 => prop::sample::select(vec!["\u{5}S\u{5}", "\u{5}F\u{5}", "\u{5}R\u{5}", "\u{5}T\u{5}", "\u{5}E\u{5}", "\u{5}.br\u{5}", "\u{5}X0D4F4258\u{5}", "\u{5}Zq\u{5}"])
            .prop_map(str::to_owned),
        1 => Just("\"\"".to_owned()),
        1 => Just("\u{5}X41".to_owned()),
        1 => Just("one\ntwo".to_owned()),
    ];
    let component = prop::collection::vec(text, 1..3).prop_map(|parts| parts.join("\u{4}"));
    let repetition = prop::collection::vec(component, 1..4).prop_map(|parts| parts.join("\u{2}"));
    prop::collection::vec(repetition, 1..3).prop_map(|parts| parts.join("\u{3}"))
}

/// A message that every reader must understand.
fn well_formed() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        1 => Just("OBX".to_owned()),
        2 => "[A-Z][A-Z0-9]{2}".prop_filter("no header", |name| !["MSH", "FHS", "BHS"].contains(&name.as_str())),
    ];
    let segment =
        (name, prop::collection::vec(field(), 1..22)).prop_map(|(name, fields)| format!("{name}\u{1}{}", fields.join("\u{1}")));
    let header = prop::collection::vec(field(), 1..20).prop_map(|fields| {
        let fields = fields.join("\u{1}").replace('\n', " ");
        format!("MSH\u{1}\u{2}\u{3}\u{5}\u{4}\u{1}{fields}")
    });
    (header, prop::collection::vec(segment, 0..12), any::<bool>(), delimiters()).prop_map(
        |(header, segments, end, delimiters)| {
            let mut text = std::iter::once(header).chain(segments).collect::<Vec<_>>().join("\r");
            if end || !text.contains('\r') {
                // Where no CR stands, an LF would end segments.
                text.push('\r');
            }
            let [field, component, repetition, escape, subcomponent] = delimiters;
            let stand_in = |c: char| match c {
                '\u{1}' => field,
                '\u{2}' => component,
                '\u{3}' => repetition,
                '\u{4}' => subcomponent,
                '\u{5}' => escape,
                other => other,
            };
            text.chars().map(stand_in).collect()
        },
    )
}
/// A message with bytes put in, taken out and changed; or bytes without any sense.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(b"|^~\\&\r\n\0\x0B\x1CMSH\xEF\xBB\xBF\xFF".to_vec())],
        0..3u8,
    );
    let edited = (well_formed(), prop::collection::vec(edit, 0..12)).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (index, byte, kind) in edits {
            let at = index.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
        bytes
    });
    let headed = prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| [b"MSH", &bytes[..]].concat());
    let batch = prop::collection::vec(
        prop::sample::select(vec!["FHS|^~\\&|", "BHS|x", "MSH|^~\\&|A", "PID|1", "BTS|1", "FTS|", "\r", "\n", "\u{feff}", "OBX"]),
        0..20,
    )
    .prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![4 => edited, 1 => headed, 1 => prop::collection::vec(any::<u8>(), 0..300), 1 => batch]
}

/// Looks at everything that a message can be asked for.
fn walk(field: Field<'_>, depth: usize) -> usize {
    let mut sum = field.text().len() + usize::from(field.is_empty()) + field.integer().unwrap_or(0) as usize + field.str().len();
    let _ =
        (value::read(b"SN", field), value::read(b"NM", field), value::limits(field), Dtm::parse(field.raw()), field.is_null());
    if depth > 0 {
        sum += field
            .repetitions()
            .chain(field.components())
            .chain(field.subcomponents())
            .map(|part| walk(part, depth - 1))
            .sum::<usize>();
        sum += field.component(2).raw().len() + field.subcomponent(2).raw().len() + field.component(0).raw().len();
    }
    sum
}

/// Every byte of a message is in a segment, or is a line end or a blank.
fn nothing_is_lost(message: &Message<'_>) {
    let text = message.text();
    let mut at = 0;
    for segment in message.segments() {
        let (bytes, start) = segment.text();
        let between = &text[at..start as usize];
        assert!(between.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0x0B), "between segments: {between:?}");
        at = start as usize + bytes.len();
    }
    let last = &text[at..text.len() - message.rest().len()];
    assert!(last.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, 0x0B | 0x1C)), "behind the last: {last:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cursor_and_hl7_parser_read_alike(text in well_formed()) {
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).unwrap();
        // Copied only where MSH-18 happens to name another set (`L2`); then the copy is what both read.
        let set = message.segments().next().and_then(|header| header.field(18).repetitions().next()).map(|set| set.raw().to_vec());
        let other = set.and_then(|set| encoding_rs::Encoding::for_label(&set)).is_some_and(|set| set != encoding_rs::UTF_8);
        let mismatch = message.flags().names().any(|name| name == "charset_mismatch");
        prop_assert!(std::ptr::eq(message.text(), text.as_bytes()) || mismatch || other);
        let theirs = hl7_parser::Message::parse(std::str::from_utf8(message.text()).unwrap()).unwrap();
        prop_assert_eq!(theirs.segments.len(), message.segment_count());
        nothing_is_lost(&message);
        for (n, (segment, found)) in message.segments().zip(&theirs.segments).enumerate() {
            prop_assert_eq!(segment.name(), found.name.as_bytes());
            prop_assert_eq!(segment.field_count(), found.fields.len());
            let fields = segment.fields::<24>();
            for (f, field) in found.fields().enumerate() {
                let ours = segment.field(f + 1);
                prop_assert_eq!(ours.raw(), field.raw_value().as_bytes());
                prop_assert_eq!(fields[f].raw(), ours.raw());
                prop_assert_eq!(ours.span().of(message.text()), ours.raw());
                if n == 0 && f < 2 {
                    continue;
                }
                prop_assert_eq!(ours.repetitions().count(), field.repeats.len());
                for (repetition, repeat) in ours.repetitions().zip(field.repeats()) {
                    prop_assert_eq!(repetition.raw(), repeat.raw_value().as_bytes());
                    prop_assert_eq!(repetition.components().count(), repeat.components.len());
                    for (c, component) in repeat.components().enumerate() {
                        let part = repetition.component(c + 1);
                        prop_assert_eq!(part.raw(), component.raw_value().as_bytes());
                        for (s, sub) in component.subcomponents().enumerate() {
                            prop_assert_eq!(part.subcomponent(s + 1).raw(), sub.raw_value().as_bytes());
                        }
                    }
                }
            }
            for field in fields.iter().skip(found.fields.len()) {
                prop_assert!(field.raw().is_empty());
            }
        }
        prop_assert_eq!(tree::tree(&message), Ok(tree::Tree::by_cursor(&message)));
        let rows = message.segments().filter(|segment| segment.is(b"OBX")).count();
        prop_assert_eq!(tree::count(&message, "OBX"), Ok(rows));
        prop_assert_eq!(theirs.segments.iter().filter(|segment| segment.name == "OBX").count(), rows);
    }

    /// No well-formed message loses an OBX: whatever its rows say, each becomes one observation or one reject.
    #[test]
    fn every_row_becomes_exactly_one_thing(text in well_formed(), reading in any::<prop::sample::Index>(), table in any::<prop::sample::Index>()) {
        let kind = ["ORU^R01^ORU_R01", "ORU^R40^ORU_R40", "ADT^A01", "ORF^R04", "ORM^O01"][reading.index(5)];
        let kind = kind.replace('^', &text[4..5]);
        // MSH-9 as a sender would write it.
        let field = text[3..4].to_owned();
        let (header, rest) = text.split_once('\r').unwrap();
        let mut fields: Vec<&str> = header.split(field.as_str()).collect();
        fields.resize(fields.len().max(9), "");
        fields[8] = &kind;
        let text = format!("{}\r{rest}", fields.join(&field));
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).unwrap();
        let rows = tree::count(&message, "OBX").unwrap();
        let mut decoder = vitalguard::hl7::decode::Decoder::new("UTC", std::sync::Arc::clone(&TABLES)).unwrap();
        let mut report = vitalguard::observation::Report::default();
        let tables: Vec<_> = TABLES.iter().collect();
        for table in [tables[table.index(tables.len())], tables[reading.index(tables.len())]] {
            let source = vitalguard::observation::Source { dialect: Some(table.name.into()), ..Default::default() };
            decoder.decode(&message, &source, Timestamp::from_ms(0), &mut report);
            let told = vitalguard::hl7::show::rows(&report);
            prop_assert_eq!(told.len(), rows, "{}", table.name);
            prop_assert!(told.iter().zip(0..).all(|(row, at)| row.ordinal() == at), "{}", table.name);
        }
    }

    #[test]
    fn no_bytes_make_the_reading_panic(bytes in hostile()) {
        let mut scratch = Scratch::default();
        if let Ok(message) = Message::read(&bytes, &mut scratch) {
            prop_assert!(std::str::from_utf8(message.text()).is_ok());
            nothing_is_lost(&message);
            for segment in message.segments() {
                for n in 0..segment.field_count() + 2 {
                    walk(segment.field(n), 2);
                }
                prop_assert_eq!(segment.fields::<3>()[2].raw(), segment.field(3).raw());
            }
            let _ = (message.msh(10).text(), message.msh(18).text());
            match tree::tree(&message) {
                Ok(found) => prop_assert_eq!(found, tree::Tree::by_cursor(&message)),
                Err(loss) => prop_assert!(loss != tree::ParserLoss::Panicked),
            }
        }
        let batch = split_batch(&bytes);
        prop_assert!(batch.messages.iter().map(|message| message.len()).sum::<usize>() <= bytes.len());
        prop_assert!(batch.messages.iter().all(|message| message.starts_with(b"MSH")));
        let _ = (is_batch(&bytes), header::class(&bytes));
    }

    #[test]
    fn no_bytes_make_the_answer_panic_or_end_its_frame(bytes in hostile(), unique in any::<u64>(), kind in 0..5usize) {
        let outcomes = [Outcome::Stored, Outcome::NotStored, Outcome::Unsupported, Outcome::Unreadable, Outcome::TooLarge];
        for mode in [AckMode::Auto, AckMode::Original, AckMode::Never] {
            let answer = answer(&bytes, outcomes[kind], mode, unique, Timestamp::from_ms(0));
            prop_assert!(mode != AckMode::Never || answer.messages.is_empty());
            for message in &answer.messages {
                let plain = vitalguard::charset::utf16(message).is_none();
                prop_assert!(!plain || !message.iter().any(|byte| matches!(byte, 0 | 0x0B | 0x1C)));
                // What we say must itself be readable: a header and an MSA with a code.
                let mut scratch = Scratch::default();
                let read = Message::read(message, &mut scratch).unwrap();
                prop_assert_eq!(read.msh(9).component(1).raw(), b"ACK");
                let msa = read.first(b"MSA").unwrap();
                prop_assert!(["AA", "AE", "AR", "CA", "CE", "CR"].contains(&&*msa.field(1).text()));
            }
        }
    }

    #[test]
    fn times_and_values_never_panic(text in "[-+0-9.:TZ ,<>=^~&a-zäµ°]{0,30}") {
        let _ = Dtm::parse(text.as_bytes());
        let frame = format!("MSH|^~\\&|A\rOBX|{text}|");
        let mut scratch = Scratch::default();
        let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
        walk(message.segments().last().unwrap().field(1), 2);
    }
}

fn events(chunks: &[&[u8]], cap: usize) -> Vec<Event> {
    let mut decoder = Decoder::new(cap);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        events.extend(std::iter::from_fn(|| decoder.poll()));
        assert!(decoder.pending() <= cap + 8, "{} bytes kept with a cap of {cap}", decoder.pending());
    }
    events.extend(std::iter::from_fn(|| decoder.finish()));
    events
}

/// Streams made of all that means something to the decoder.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"\x0B",
        b"\x1C",
        b"\x1C\r",
        b"\r",
        b"\n",
        b"\0",
        b"MSH|^~\\&|A\rPID|1\r",
        b"\x0BMSH|^~\\&|B\r\x1C\r",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"M",
        b"MS",
        b"MSH",
        b"x",
        b"GET ",
        b"SSH",
        b"\x16",
        b"\x16\x03",
        b"\x06",
        b"FHS|",
        b"BHS",
        b"M\0S\0H\0|\0",
        b"\xFF\xFE",
        b"a long piece of text without any sense",
    ];
    let piece =
        prop_oneof![8 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec), 1 => any::<u8>().prop_map(|byte| vec![byte])];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_events(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8), small in any::<bool>()) {
        let cap = if small { 12 } else { 4096 };
        let mut decoder = Decoder::new(cap);
        decoder.push(&bytes);
        let mut whole: Vec<Event> = std::iter::from_fn(|| decoder.poll()).collect();
        whole.extend(std::iter::from_fn(|| decoder.finish()));
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for place in places {
            chunks.push(&bytes[from..place]);
            from = place;
        }
        chunks.push(&bytes[from..]);
        prop_assert_eq!(&events(&chunks, cap), &whole);
        let dribbled: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&events(&dribbled, cap), &whole);
    }

    #[test]
    fn good_frames_survive_junk_between_them(junk in prop::collection::vec("[ -LN-~\r\n\0]{0,20}", 1..8)) {
        let mut bytes = Vec::new();
        for (n, junk) in junk.iter().enumerate() {
            bytes.extend_from_slice(format!("{junk}\x0BMSH|^~\\&|{n}\r\x1C\r").as_bytes());
        }
        prop_assume!(!bytes.starts_with(b"GET ") && !bytes.starts_with(b"SSH-"));
        let frames = events(&[&bytes], FRAME_BYTES_MAX).into_iter().filter(|event| matches!(event, Event::Frame { .. })).count();
        prop_assert_eq!(frames, junk.len());
    }
}

/// The guard's bounds: a message of 30 000 rows is whole, what is beyond 50 000 segments or 512 fields is flagged and kept.
#[test]
fn large_messages_are_whole_and_too_large_ones_say_so() {
    use vitalguard::observation::MessageFlags;
    let head = "MSH|^~\\&|MON|ICU|||20260101120000||ORU^R01|1|P|2.6\r";
    let rows = |count: usize| -> String { (1..=count).map(|n| format!("OBX|{n}|NM|x^y^L||{n}|||||F\r")).collect() };
    let read = |text: &str, seen: &mut dyn FnMut(&Message<'_>)| {
        let mut scratch = Scratch::default();
        seen(&Message::read(text.as_bytes(), &mut scratch).unwrap());
    };
    read(&format!("{head}{}", rows(30_000)), &mut |message| {
        assert_eq!(message.segment_count(), 30_001);
        assert_eq!(message.flags(), MessageFlags::default());
        assert!(message.rest().is_empty());
    });
    read(&format!("{head}{}", rows(50_010)), &mut |message| {
        assert_eq!(message.segment_count(), vitalguard::hl7::SEGMENTS_MAX);
        assert!(message.flags().has(MessageFlags::TRUNCATED));
        assert_eq!(lines_named(message.rest(), b"OBX"), 11, "what is not read is not lost from the text");
    });
    let wide = format!("{head}OBX|{}|last\r", "|".repeat(600));
    read(&wide, &mut |message| {
        assert!(message.flags().has(MessageFlags::TRUNCATED));
        let obx = message.first(b"OBX").unwrap();
        assert_eq!(obx.field_count(), vitalguard::hl7::FIELDS_MAX);
        assert!(obx.text().0.ends_with(b"last"));
    });
}

/// Lines of a file that name a segment, counted without our code.
fn lines_named(bytes: &[u8], name: &[u8]) -> usize {
    bytes.split(|&byte| byte == b'\r' || byte == b'\n').filter(|line| line.trim_ascii_start().starts_with(name)).count()
}

/// Reads every message of a folder of samples: every OBX and PID line of a file is a segment of one of its messages. The folder is
/// `VG_TEST_SHARED/hl7`, or `../shared/hl7` beside this package.
#[test]
fn every_sample_is_read_without_loss() {
    let shared = std::env::var_os("VG_TEST_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let folder = shared.join("hl7");
    let Ok(dialects) = std::fs::read_dir(&folder) else {
        println!("skipped: no samples at {}", folder.display());
        return;
    };
    let (mut files, mut messages, mut rows, mut losses, mut headless) = (0, 0, 0, Vec::new(), 0);
    let mut scratch = Scratch::default();
    for path in dialects
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| std::fs::read_dir(entry.path()).unwrap().flatten())
    {
        let bytes = std::fs::read(path.path()).unwrap();
        files += 1;
        let payloads: Vec<Vec<u8>> = if memchr::memchr(0x0B, &bytes).is_some() || memchr::memchr(0x1C, &bytes).is_some() {
            events(&[&bytes], FRAME_BYTES_MAX)
                .into_iter()
                .filter_map(|event| match event {
                    Event::Frame { payload, .. } => Some(payload),
                    _ => None,
                })
                .collect()
        } else {
            vec![bytes.clone()]
        };
        let (mut obx, mut pid, mut found, mut stray) = (0, 0, 0, 0);
        for payload in &payloads {
            let split = split_batch(payload);
            stray += split.faults.stray_lines;
            for part in split.messages {
                let Ok(message) = Message::read(part, &mut scratch) else { continue };
                found += 1;
                nothing_is_lost(&message);
                obx += message.segments().filter(|segment| segment.is(b"OBX")).count();
                pid += message.segments().filter(|segment| segment.is(b"PID")).count();
                match tree::tree(&message) {
                    Ok(tree) => assert_eq!(tree, tree::Tree::by_cursor(&message), "{:?}", path.path()),
                    Err(loss) => println!("{}: the parser cannot: {loss}", path.path().display()),
                }
            }
        }
        messages += found;
        rows += obx;
        if found == 0 {
            headless += 1;
            println!("{}: no message", path.path().display());
            assert_eq!(lines_named(&bytes, b"MSH|"), 0, "{:?}", path.path());
            // Lines between envelopes that belong to no message are counted, and only then may rows be missing.
        } else if stray == 0 && (obx, pid) != (lines_named(&bytes, b"OBX"), lines_named(&bytes, b"PID")) {
            losses.push(format!("{}: {obx} OBX and {pid} PID", path.path().display()));
        }
    }
    println!("{files} files, {messages} messages, {rows} OBX, {headless} files without a message");
    assert!(files > 0);
    assert!(losses.is_empty(), "{losses:#?}");
}
