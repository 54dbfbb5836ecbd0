//! One short test for every fault that was found in the running program.

mod common;

use common::{Client, Served, wait_for};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use vitalguard::config::{SenderRule, Senders};
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::{Message, Scratch};
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::{Report, Source};
use vitalguard::time::Timestamp;

/// A self-signed certificate of localhost under a file name, and its key.
fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

/// Whether the listener shows exactly the certificate in this file.
fn shows(address: SocketAddr, certificate: &Path) -> bool {
    let config = vitalguard::shell::tls::client_config(Some(certificate), None).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

fn tls_everywhere(folder: &Path) -> std::path::PathBuf {
    let pair = format!("certificate = \"{0}/live.pem\"\nkey = \"{0}/live.key\"\n", folder.display());
    let text = format!("[[mllp]]\n[mllp.tls]\n{pair}[mqtt.tls]\n{pair}[http.tls]\n{pair}");
    let path = folder.join("tls.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_renewed_certificate_is_shown_by_all_three_listeners() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "live");
    certificate(folder.path(), "next");
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(file("live.pem"), file("first.pem")).unwrap();
    let config = tls_everywhere(folder.path());
    let served = Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let listeners = [served.mllp, served.mqtt.unwrap(), served.http];
    for address in listeners {
        assert!(shows(address, &file("first.pem")));
    }
    std::fs::copy(file("next.key"), file("live.key")).unwrap();
    std::fs::copy(file("next.pem"), file("live.pem")).unwrap();
    common::signal(served.child.id(), "HUP");
    for address in listeners {
        // The broker's port is closed for a moment.
        wait_for("the new certificate", || {
            (TcpStream::connect(address).is_ok() && shows(address, &file("next.pem"))).then_some(())
        });
    }
    // What cannot be used does not replace what works.
    std::fs::write(file("live.pem"), "broken").unwrap();
    common::signal(served.child.id(), "HUP");
    wait_for("the complaint", || served.log.lock().unwrap().contains("the old one stays").then_some(()));
    for address in listeners {
        assert!(shows(address, &file("next.pem")));
    }
}

/// Runs a command of the binary; exit code and everything it said.
fn said(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    let out = command.args(arguments).envs(environment.iter().copied()).output().expect("the binary was built by cargo");
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_doctor_finds_a_service_whose_certificate_an_authority_signed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["vg.example".into()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    std::fs::write(file("ca.pem"), authority.pem()).unwrap();
    std::fs::write(file("live.pem"), server.pem()).unwrap();
    std::fs::write(file("live.key"), server_key.serialize_pem()).unwrap();
    let config = tls_everywhere(folder.path());
    // HTTP and MLLP want a client's certificate as well.
    let text = std::fs::read_to_string(&config).unwrap();
    let authority = format!("client_ca = \"{}/ca.pem\"\n", folder.path().display());
    let text = text.replace("[mqtt.tls]", &format!("{authority}[mqtt.tls]")) + &authority;
    std::fs::write(&config, text).unwrap();
    let (config, data) = (config.to_str().unwrap().to_owned(), file("data"));
    let served = Served::start(&data, &["--config", &config]);
    let address = |a: SocketAddr| a.to_string();
    let (mllp, mqtt, http) = (address(served.mllp), address(served.mqtt.unwrap()), address(served.http));
    let data = data.to_str().unwrap();
    let mut arguments = vec!["doctor", "--config", &config, "--data", data, "--mllp", &mllp];
    arguments.extend(["--mqtt-listen", &mqtt, "--http", &http]);
    let (code, text) = said(&arguments, &[]);
    assert_eq!(code, Some(0), "{text}");
    for found in ["is ready", "answered AA", "the message was judged", "heartbeat heard"] {
        assert!(text.contains(found), "{found}:\n{text}");
    }
}

#[test]
fn a_configuration_is_told_what_is_known_where_nothing_is_near() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = folder.path().join("v.toml");
        std::fs::write(&path, text).unwrap();
        let (code, said) = said(&["config", "check", "--config", path.to_str().unwrap()], &[]);
        assert_eq!(code, Some(2), "{said}");
        said
    };
    assert!(check("[mqtt]\nlisten_addr = \"x\"\n").contains("did you mean mqtt.listen?"));
    let text = check("[[mllp]]\nport = 3\n");
    assert!(text.contains("mllp.0.port: unknown key; known here:") && text.contains("listen"), "{text}");
    assert!(check("[checks.nope]\na = 3\n").contains("hr_vs_pr"));
    let text = check("[[mllp]]\ndialect = \"philps\"\n");
    assert!(text.contains("no dialect \"philps\"") && text.contains("philips_mdil"), "{text}");
    assert!(check("[log]\nfilter = \"==\"\n").contains("log.filter"));
}

#[test]
fn the_first_listener_can_be_named_by_its_position_in_the_environment() {
    let (code, text) = said(&["config", "show"], &[("VITALGUARD_MLLP__0__FEED", "gw1"), ("VITALGUARD_MLLP__WARD", "icu")]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("feed = \"gw1\" # VITALGUARD_MLLP__0__FEED") && text.contains("ward = \"icu\""), "{text}");
}

#[test]
fn a_frame_over_the_cap_is_received_and_refused() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start_with(data.path(), &[], &[("VITALGUARD_MLLP__FRAME_BYTES_MAX", "2000")]);
    let mut client = Client::connect(served.mllp);
    let mut long = b"MSH|^~\\&|A|B|C|D|20260101000000||ORU^R01|m1|P|2.6\rNTE|1||".to_vec();
    long.extend(std::iter::repeat_n(b'x', 5_000));
    assert_eq!(client.ask(&long).unwrap(), ("AR".into(), "m1".into()));
    let counted = served.get("/metrics").1;
    assert!(counted.contains("vitalguard_messages_received_total{feed=\"mllp\"} 1"), "{counted}");
}

#[test]
fn a_feed_whose_clock_is_days_ahead_or_that_is_refused_is_degraded() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let state = || {
        let text = served.get("/api/v1/feeds").1;
        let feeds: serde_json::Value = serde_json::from_str(&text).unwrap();
        feeds["feeds"][0]["state"].as_str().map(str::to_owned)
    };
    let mut client = Client::connect(served.mllp);
    let values = [(common::HR, "72", common::BPM)];
    client.ask(&common::pcd01("GW", "ICU", "B1", "m1", &common::now_hl7(), &values)).unwrap();
    wait_for("up", || (state()? == "up").then_some(()));
    // What is not HL7 is refused: an error of this feed.
    assert_eq!(client.ask(b"this is not hl7").unwrap().0, "AR");
    wait_for("degraded by a refusal", || (state()? == "degraded").then_some(()));
    drop(served);

    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    client.ask(&common::pcd01("GW", "ICU", "B1", "m1", "20990101000000", &values)).unwrap();
    wait_for("degraded by the clock", || served.get("/api/v1/feeds").1.contains("\"state\":\"degraded\"").then_some(()));
    let metrics = served.get("/metrics").1;
    assert!(metrics.lines().any(|l| l.starts_with("vitalguard_feed_skew_seconds{feed=\"mllp\"} ")), "{metrics}");
}

#[test]
fn every_document_fits_the_schema_that_is_served() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    // A value that no monitor can measure: an alert after its annunciation delay.
    for n in 0..3 {
        let values = [(common::HR, "999", common::BPM), (common::SPO2, "97", common::PERCENT)];
        client.ask(&common::pcd01("GW", "ICU", "B1", &format!("m{n}"), &common::now_hl7(), &values)).unwrap();
    }
    let events = wait_for("an alert", || {
        let lines = served.get("/api/v1/alerts?format=jsonl").1;
        (!lines.trim().is_empty()).then_some(lines)
    });
    let state: serde_json::Value = wait_for("the alert in the state", || {
        let text = served.get("/api/v1/state").1;
        text.contains("A01").then(|| serde_json::from_str(&text).unwrap())
    });
    let mut documents: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    documents.extend(state["documents"].as_array().unwrap().iter().map(|entry| entry["payload"].clone()));
    let mut kinds = std::collections::BTreeSet::new();
    for document in &documents {
        let kind = document["schema"].as_str().expect("every document says what it is");
        let (status, text) = served.get(&format!("/api/v1/schemas/{}.json", kind.replace('/', "-")));
        assert_eq!(status, 200, "{kind}");
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut found = Vec::new();
        common::validate(&schema, &schema, document, kind, &mut found);
        assert!(found.is_empty(), "{found:#?}\n{document}");
        kinds.insert(kind.to_owned());
    }
    for kind in ["alert-event/1", "bed-state/1", "ward-state/1", "feed-status/1", "sys-info/1"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    // What the validator is worth: a member too many and one too few are found.
    let schema: serde_json::Value = serde_json::from_str(&served.get("/api/v1/schemas/sys-status-1.json").1).unwrap();
    let mut found = Vec::new();
    common::validate(
        &schema,
        &schema,
        &serde_json::json!({"schema":"sys-status/1","ts":"t","ts_ms":1,"boot":"b","state":"on","x":1}),
        "",
        &mut found,
    );
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(served.get("/api/v1/asyncapi.json").0, 200);
}

/// The embedded broker once gave every document without an expiry one hour: a late joiner then found no `sys/status`.
#[cfg(feature = "peers")]
#[test]
fn what_is_retained_without_an_expiry_gets_none_from_the_embedded_broker() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let port = served.mqtt.unwrap().port().to_string();
    let heard = wait_for("the retained status", || {
        let out = Command::new("mosquitto_sub")
            .args(["-V", "5", "-p", &port, "-t", "vitalguard/v1/+/sys/status", "-F", "expiry=%E", "-C", "1", "-W", "2"])
            .output()
            .expect("mosquitto-clients is installed");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.contains("expiry").then_some(text)
    });
    assert_eq!(heard.trim(), "expiry=");
}

#[test]
fn a_row_whose_name_ends_in_a_stray_line_end_is_one_row_for_everybody() {
    let frame = b"MSH|^~\\&|GW|X|||20260302100000||ORU^R01|1|P|2.5\rOBX\r|1|NM|8867-4^Heart rate^LN||72|/min|||||F\r";
    let mut scratch = vitalguard::hl7::Scratch::default();
    let message = vitalguard::hl7::Message::read(frame, &mut scratch).unwrap();
    let named = message.segments().filter(|segment| segment.name() == b"OBX").count();
    assert_eq!(message.segments().filter(|segment| segment.is(b"OBX")).count(), named);
}

#[test]
fn a_recorded_message_is_never_larger_than_a_message_may_be() {
    use vitalguard::shell::replay::text::{Found, Text};
    for length in [98, 99, 100, 101, 102] {
        let line = format!("MSH|^~\\&|{}\r", "A".repeat(length - 9));
        for ended in [&line[..], line.trim_end()] {
            match Text::new(ended.as_bytes(), 100).next_found().unwrap() {
                Some(Found::Message(piece)) => assert!(piece.payload.len() <= 100, "{length}"),
                Some(Found::TooLarge { .. }) => assert!(length >= 100, "{length}"),
                other => panic!("{length}: {other:?}"),
            }
        }
    }
}

/// A frame of the smallest messages once held its records and its answers all at once: thirty times its own size.
#[cfg(target_os = "linux")]
#[test]
fn a_batch_of_the_smallest_messages_is_stored_and_answered_in_steps() {
    use std::io::{Read, Write};
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let peak_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let message = b"MSH|^~\\&|A||||||A^B\r";
    let batch_of = |count: usize| {
        let mut stream = TcpStream::connect(served.mllp).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        stream.write_all(&[b"\x0bBHS|^~\\&|X\r", &message.repeat(count)[..], b"\x1c\r"].concat()).unwrap();
        let (mut answers, mut buffer) = (0, vec![0; 1 << 20]);
        while answers < count {
            let len = stream.read(&mut buffer).expect("every message has its answer");
            assert!(len > 0, "closed after {answers} answers");
            answers += buffer[..len].iter().filter(|byte| **byte == 0x1c).count();
        }
        assert_eq!(answers, count);
    };
    // What the start and a first batch take is not counted.
    batch_of(5_000);
    let mut before = 0;
    while peak_kib() > before {
        before = peak_kib();
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    batch_of((6 << 20) / message.len());
    // (The system counts in pieces: the peak may read a little lower than before.)
    let grown = peak_kib().saturating_sub(before);
    println!("{grown} KiB more for a frame of 6 MiB");
    assert!(grown < 60 << 10, "{grown} KiB more for a frame of 6 MiB");
}

/// An IPv6 packet that was cut within its extension headers once had the packet reader look behind its end: the first header says
/// that another one follows, and that one is not in the capture.
#[test]
fn an_ipv6_packet_cut_within_its_extension_headers_is_read_to_its_end() {
    use vitalguard::capture::{Linktype, Options, Tap};
    let mut packet = vec![0x60, 0, 0, 0, 0, 100, 0, 64];
    packet.extend([0x20; 32]);
    // Hop-by-hop; each of the others is announced and not there.
    for announced in [0, 43, 44, 51, 60] {
        for (kind, header) in [(0u8, [announced, 0, 1, 4, 0, 0, 0, 0]), (60, [announced, 0, 1, 4, 0, 0, 0, 0])] {
            packet[6] = kind;
            let whole = [&packet[..], &header[..]].concat();
            for cut in 0..=whole.len() {
                let mut tap = Tap::new(Options::default());
                tap.packet(Linktype(101), &whole[..cut], vitalguard::time::Timestamp::from_ms(0));
                assert_eq!((tap.counts().packets, tap.counts().tcp), (1, 0));
            }
        }
    }
}

#[test]
fn a_pattern_that_may_be_empty_somewhere_names_no_device() {
    let shipped = include_str!("../data/advisories.toml");
    assert!(vitalguard::advisory::Advisories::read(shipped, "advisories.toml").is_ok());
    let first = shipped.lines().find(|line| line.contains("regex = '")).expect("the file has patterns");
    let at = first.find("regex = '").expect("found just now") + 9;
    let broken = format!("{}|\\b{}", &first[..at], &first[at..]);
    let error =
        vitalguard::advisory::Advisories::read(&shipped.replacen(first, &broken, 1), "site.toml").unwrap_err().to_string();
    assert!(error.contains("matches the empty text"), "{error}");
}

fn start() -> Timestamp {
    Timestamp::from_civil(2026, 3, 2, 9, 0, 0, 0).unwrap()
}

/// What a monitor says of a message, and the beds that it has then.
fn told(monitor: &mut Monitor, (connection, message): (u64, &str), n: u64) -> String {
    let source = Source { feed: "icu".into(), peer: "192.0.2.1".into(), connection, ward: "icu".into(), ..Source::default() };
    monitor.handle_frame(&source, n, message.as_bytes(), start().plus_s(n as f64));
    let mut all = String::new();
    while let Some(output) = monitor.poll_output() {
        match output {
            Output::BedChanged(bed) => all.push_str(&format!("{bed:?}\n")),
            other => all.push_str(&format!("{other:?}\n")),
        }
    }
    let beds: Vec<String> = monitor.beds().map(|place| format!("{}/{}", place.ward, place.bed)).collect();
    all + &beds.join(" ")
}

/// The last message is answered alike by who heard those before it and by who knows them from a snapshot.
fn alike_after_a_restart(settings: impl Fn() -> Settings, messages: &[(u64, &str)]) -> String {
    let (last, before) = messages.split_last().unwrap();
    let mut one = Monitor::new(settings());
    for (n, message) in before.iter().enumerate() {
        told(&mut one, *message, n as u64 + 1);
    }
    let snapshot = one.snapshot();
    let mut two = Monitor::restore(settings(), &snapshot).unwrap();
    let n = messages.len() as u64;
    let said = told(&mut one, *last, n);
    assert_eq!(said, told(&mut two, *last, n));
    assert_eq!(one.snapshot(), two.snapshot());
    said
}

const VITALS: &str = "MSH|^~\\&|MON|ICU|||20260302090001||ORU^R01|1|P|2.5\rPID|||V-1\rPV1||I|ICU^^A03\r\
                      OBX|1|NM|8867-4^Heart rate^LN||70|/min|||||F\r";

#[test]
fn test_data_in_the_name_of_a_bed_find_their_bed_after_a_restart() {
    let test = VITALS.replace("|1|P|", "|2|T|").replace("||70|", "||71|");
    let said = alike_after_a_restart(Settings::default, &[(1, VITALS), (1, &test)]);
    assert!(said.starts_with("BedId(0)\nBedId(1)\n"), "{said}");
}

#[test]
fn a_sender_that_may_not_speak_is_told_of_at_the_bed_it_names_after_a_restart() {
    let settings = || {
        let rule = SenderRule { application: Some("MON".into()), ..SenderRule::default() };
        Settings { senders: Senders { closed: true, sender: vec![rule] }, ..Settings::default() }
    };
    let foreign = "MSH|^~\\&|ADM|ICU|||20260302090002||ADT^A01|2|P|2.5\rPID|||V-2\rPV1||I|ICU^^A03\r";
    let said = alike_after_a_restart(settings, &[(1, VITALS), (2, foreign)]);
    assert!(!said.contains("_unassigned"), "{said}");
}

/// The last message as it is read after the others, and as it is read first.
fn read_first_and_last(dialect: Option<&str>, messages: &[&str]) -> [Report; 2] {
    let mut reports = [Report::default(), Report::default()];
    let last = messages.len() - 1;
    for (report, from) in reports.iter_mut().zip([0, last]) {
        let mut decoder = Decoder::new("UTC", Tables::embedded()).unwrap();
        for (n, message) in messages.iter().enumerate().skip(from) {
            let mut scratch = Scratch::default();
            let message = Message::read(message.as_bytes(), &mut scratch).unwrap();
            // Each over a connection of its own: what one of them says is none of the next one's.
            let dialect = dialect.map(Into::into);
            let source = Source { feed: "icu".into(), connection: n as u64, dialect, ..Source::default() };
            decoder.decode(&message, &source, start(), report);
        }
    }
    reports
}

#[test]
fn what_a_code_means_does_not_depend_on_another_message_with_other_delimiters() {
    let other = VITALS.replace("MSH|^~\\&|", "MSH|!~\\&|").replace("ORU^R01", "ORU!R01").replace("ICU^^A03", "ICU!!A03");
    let [after, first] = read_first_and_last(Some("loinc"), &[&other, VITALS]);
    assert_eq!(after.observations.len(), 1, "a heart rate: {:?}", after.rejects);
    assert_eq!(format!("{after:?}"), format!("{first:?}"));
}

#[test]
fn the_dialect_does_not_depend_on_another_message_whose_group_stands_behind_its_rows() {
    let header = "MSH|^~\\&|X|NIHON KOHDEN|||20260302090001||ORU^R01|1|P|2.4\r";
    let (row, group) = ("OBX|1|NM|8867-4^Heart rate^LN||70|/min|||||F\r", "OBR|1|||VITAL\r");
    let [after, first] = read_first_and_last(None, &[&format!("{header}{row}{group}"), &format!("{header}{group}{row}")]);
    assert_eq!((after.dialect, first.dialect), ("nihon_kohden", "nihon_kohden"));
}
