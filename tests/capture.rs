//! `vitalguard replay` on captures, over the built program, and tshark as a second reader of the same bytes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "support/capture.rs"]
mod build;
use build::{Ng, Packet, Talk, Under, beacon_talk, merged, pcap};

const AT_US: u64 = 1_767_268_800_000_000;

fn vitalguard(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    // The service's own settings, should the machine have some, are not this test's.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VITALGUARD_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the binary was built by cargo")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Replays a capture: standard output (alert events) and standard error (the summary).
fn replay(folder: &Path, name: &str, bytes: &[u8]) -> (String, String) {
    let path = written(folder, name, bytes);
    let output = vitalguard(&["replay", path.to_str().unwrap(), "--alerts", "-", "--quiet"]);
    assert!(output.status.success(), "{}", said(&output));
    (String::from_utf8(output.stdout.clone()).unwrap(), said(&output))
}

/// Alerts that were raised: condition, assessment, priority.
fn raised(alerts: &str) -> Vec<(String, String, String)> {
    let word = |alert: &serde_json::Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    alerts
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|event| event["event"] == "raised")
        .map(|event| {
            let alert = &event["alert"];
            (word(alert, "condition"), word(alert, "assessment"), word(alert, "priority"))
        })
        .collect()
}

#[test]
fn decode_reads_the_messages_of_a_capture_and_nothing_else_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut talk = Talk::new("192.0.2.7:40000", "192.0.2.9:2575", AT_US);
    talk.open();
    for n in 1..=3 {
        talk.exchange(&n.to_string(), 70 + n);
    }
    talk.close();
    let path = written(folder.path(), "talk.pcap", &pcap(1, &talk.packets));
    let output = vitalguard(&["decode", path.to_str().unwrap()]);
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{told}{}", said(&output));
    assert!(
        told.contains("1 files, 3 messages, ") && told.contains("0 unexplained rows") && !told.contains("unreadable"),
        "{told}"
    );
}

#[test]
fn a_beacon_raises_its_indicators_and_names_no_product_for_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let talk = beacon_talk("192.0.2.7:40000", "202.114.4.119:515", AT_US);
    let bytes = pcap(1, &talk.packets);
    let (alerts, summary) = replay(folder.path(), "beacon.pcap", &bytes);
    let low = |condition: &str| (condition.to_owned(), "advisory".to_owned(), "low".to_owned());
    assert_eq!(
        raised(&alerts),
        [low("N02 indicator_address"), low("N03 indicator_frame"), low("N04 identity_in_clear")],
        "{summary}"
    );
    for text in [&alerts, &summary] {
        assert!(!text.contains("192.0.2.7"), "the host's address leaves: {text}");
        assert!(!text.contains("Sample") && !text.contains("INVENTED"), "an identity leaves: {text}");
        assert!(!text.to_lowercase().contains("backdoor"), "{text}");
    }
    let n02 = alerts.lines().find(|line| line.contains("\"N02 ")).unwrap();
    assert!(n02.contains("202.114.4.119") && n02.contains("ICSMA-25-030-01") && !n02.contains("CMS8000"), "{n02}");
    assert!(
        summary.contains("matches the indicator of ICSMA-25-030-01 (N02 indicator_address): 202.114.4.119 port 515"),
        "{summary}"
    );
    // The same file, the same alerts, whatever it is packed in.
    assert_eq!(replay(folder.path(), "again.pcap", &bytes).0, alerts);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &bytes).unwrap();
    let (from_gz, summary) = replay(folder.path(), "beacon.pcap.gz", &packed.finish().unwrap());
    assert_eq!(raised(&from_gz), raised(&alerts));
    assert!(summary.contains("packets (pcap), gzip"), "{summary}");
}

#[test]
fn the_same_frames_at_another_address_raise_the_frame_and_a_print_job_raises_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let talk = beacon_talk("192.0.2.7:40000", "10.1.1.9:515", AT_US);
    let (alerts, _) = replay(folder.path(), "moved.pcap", &pcap(1, &talk.packets));
    let conditions: Vec<String> = raised(&alerts).into_iter().map(|(condition, ..)| condition).collect();
    assert_eq!(conditions, ["N03 indicator_frame", "N04 identity_in_clear"]);
    assert!(!alerts.contains("10.1.1.9"));
    let job = build::print_job("192.0.2.7:40000", "10.1.1.9:515", AT_US);
    let (alerts, summary) = replay(folder.path(), "job.pcap", &pcap(1, &job.packets));
    assert!(alerts.is_empty(), "{alerts}");
    assert!(summary.contains("no indicator of ICSMA-25-030-01 seen"), "{summary}");
}

#[test]
fn a_device_declared_quarantined_that_shows_an_indicator_is_a_high_identity_alert() {
    let folder = tempfile::tempdir().unwrap();
    let talk = beacon_talk("192.0.2.7:40000", "202.114.4.119:515", AT_US);
    let path = written(folder.path(), "beacon.pcap", &pcap(1, &talk.packets));
    let config = written(folder.path(), "vitalguard.toml", b"[[devices.device]]\nid = \"192.0.2.7\"\nstate = \"quarantined\"\n");
    let output =
        vitalguard(&["replay", path.to_str().unwrap(), "--alerts", "-", "--quiet", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let alerts = String::from_utf8(output.stdout).unwrap();
    let high: Vec<String> = raised(&alerts).into_iter().filter(|(_, a, p)| a == "identity" && p == "high").map(|r| r.0).collect();
    assert_eq!(high, ["P17 quarantined_device", "N02 indicator_address", "N03 indicator_frame", "N04 identity_in_clear"]);
    assert!(alerts.contains("declared off the network"), "{alerts}");
}

/// It need not show an indicator of the advisory: it is not to be heard at all.
#[test]
fn whatever_a_quarantined_host_sends_in_a_capture_is_a_high_identity_alert() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path(), "vitalguard.toml", b"[[devices.device]]\nid = \"192.0.2.7\"\nstate = \"quarantined\"\n");
    let judged = |name: &str, packets: &[Packet]| {
        let path = written(folder.path(), name, &pcap(1, packets));
        let output =
            vitalguard(&["replay", path.to_str().unwrap(), "--alerts", "-", "--quiet", "--config", config.to_str().unwrap()]);
        let (alerts, summary) = (String::from_utf8(output.stdout.clone()).unwrap(), said(&output));
        assert!(output.status.success() && !alerts.contains("192.0.2.7") && !summary.contains("192.0.2.7"), "{summary}{alerts}");
        (alerts, summary)
    };
    // A question for a name, which is no TCP and no feed.
    let ask = |from: [u8; 4], to: [u8; 4]| {
        let ip = build::ip(from.into(), to.into(), 17, &build::udp([40000, 53], b"who"));
        Packet::new(AT_US, Under::Ethernet.wrap(&ip))
    };
    let high = ("P17 quarantined_device".to_owned(), "identity".to_owned(), "high".to_owned());
    let (alerts, summary) = judged("udp.pcap", &[ask([192, 0, 2, 7], [192, 0, 2, 1])]);
    assert_eq!(raised(&alerts), std::slice::from_ref(&high), "{summary}");
    assert!(
        summary.contains("is declared quarantined and is heard: 1 packets") && summary.contains("no indicator of"),
        "{summary}"
    );
    let (alerts, _) = judged("asked.pcap", &[ask([192, 0, 2, 1], [192, 0, 2, 7])]);
    assert!(alerts.is_empty(), "a packet to it is none of it: {alerts}");
    // Its messages: of the host and of the bed that they name.
    let mut talk = Talk::new("192.0.2.7:40000", "192.0.2.1:6661", AT_US);
    talk.open().exchange("1", 70).close();
    let (alerts, summary) = judged("feed.pcap", &talk.packets);
    assert_eq!(raised(&alerts), [high.clone(), high], "{summary}");
    assert!(alerts.contains("\"A1\"") && alerts.contains("\"_unassigned-p-"), "{alerts}");
}

#[test]
fn a_capture_is_judged_like_the_recorded_messages() {
    let folder = tempfile::tempdir().unwrap();
    // A heart rate that no heart has, for a minute.
    let mut talk = Talk::new("192.0.2.7:40000", "192.0.2.1:6661", AT_US);
    talk.under = Under::Vlan(12);
    talk.mss = 200;
    talk.open();
    let mut framed = Vec::new();
    for n in 0..90u32 {
        let hr = if n > 30 { 500 } else { 70 + n % 3 };
        framed.extend(build::framed(&build::message(&n.to_string(), "A1", hr, talk.at_us)));
        let began = talk.at_us;
        talk.exchange(&n.to_string(), hr);
        talk.at_us = began + 1_000_000;
    }
    talk.close();
    let (alerts, summary) = replay(folder.path(), "feed.pcap", &pcap(1, &talk.packets));
    let log = written(folder.path(), "feed.mllp", &framed);
    let output = vitalguard(&["replay", log.to_str().unwrap(), "--alerts", "-", "--quiet"]);
    let from_log = String::from_utf8(output.stdout).unwrap();
    assert!(!raised(&alerts).is_empty() && raised(&alerts) == raised(&from_log), "{summary}\n{alerts}\n{from_log}");
    assert!(summary.contains("1 of them with MLLP: 90 messages, 90 acknowledgements (90 accepted"), "{summary}");
    assert!(alerts.contains("replay-6661"), "{alerts}");
}

#[test]
fn a_capture_that_breaks_off_is_used_up_to_there_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut talk = Talk::new("192.0.2.7:40000", "192.0.2.1:2575", AT_US);
    talk.open().exchange("1", 70).exchange("2", 70).exchange("3", 70);
    let bytes = pcap(1, &talk.packets);
    let (_, summary) = replay(folder.path(), "cut.pcap", &bytes[..bytes.len() - 100]);
    assert!(summary.contains("reading stopped: the capture breaks off at byte"), "{summary}");
    assert!(summary.contains("run ") && summary.contains(": 3 messages"), "{summary}");
    let path = written(folder.path(), "head.pcap", &bytes[..20]);
    let output = vitalguard(&["replay", path.to_str().unwrap(), "--quiet"]);
    assert!(!output.status.success() && said(&output).contains("breaks off at byte 0"), "{}", said(&output));
}

#[test]
fn ten_thousand_hosts_in_one_capture_stay_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let to = "202.114.4.119".parse().unwrap();
    let packets: Vec<Packet> = (0..10_000u32)
        .map(|n| {
            let from = std::net::IpAddr::V4(std::net::Ipv4Addr::from(0x0A00_0000 + n));
            Packet::new(AT_US + u64::from(n) * 1000, Under::Ethernet.wrap(&build::ip(from, to, 17, &build::udp([9, 9], b"x"))))
        })
        .collect();
    let (alerts, summary) = replay(folder.path(), "many.pcap", &pcap(1, &packets));
    assert!(raised(&alerts).len() <= 300, "{}", raised(&alerts).len());
    assert!(summary.contains("packets of further hosts with an indicator were only counted"), "{summary}");
}

/// tshark's answer, one value a line; `None` where it is not installed (the suite with `peers` demands it).
fn tshark(arguments: &[&str]) -> Option<Vec<String>> {
    match Command::new("tshark").args(arguments).output() {
        Ok(output) => {
            let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
            Some(lines)
        }
        Err(_) if cfg!(feature = "peers") => panic!("tshark is not installed"),
        Err(_) => {
            println!("tshark is not installed, this part of the test did not run");
            None
        }
    }
}

/// Whether tshark finds every packet well formed.
fn nothing_malformed(path: &Path) -> bool {
    tshark(&["-r", path.to_str().unwrap(), "-Y", "_ws.malformed", "-T", "fields", "-e", "frame.number"])
        .is_none_or(|lines| lines.is_empty())
}

#[test]
fn tshark_reads_our_captures_and_counts_the_same_messages() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Talk::new("192.0.2.7:40000", "192.0.2.1:2575", AT_US);
    let mut second = Talk::new("[2001:db8::7]:40001", "[2001:db8::1]:2575", AT_US + 50);
    second.under = Under::Vlan(3);
    for (talk, mss) in [(&mut first, 1460), (&mut second, 150)] {
        talk.mss = mss;
        talk.open();
        for n in 0..20 {
            talk.exchange(&n.to_string(), 70 + n).wait(1_000_000);
        }
        talk.close();
    }
    // Order changed, and copies.
    let last = first.packets.len() - 4;
    first.packets.swap(last, last - 1);
    let copy = first.packets[3].clone();
    first.packets.insert(5, Packet { at_us: first.packets[5].at_us, ..copy });
    let packets = merged(&[&first, &second]);
    let ng = {
        let mut ng = Ng::new(true);
        ng.interface(1, Some(9), None);
        for packet in &packets {
            ng.enhanced(0, packet.at_us * 1000, packet);
        }
        ng.bytes
    };
    for (name, bytes) in [("feed.pcap", pcap(1, &packets)), ("feed.pcapng", ng)] {
        let (_, summary) = replay(folder.path(), name, &bytes);
        assert!(summary.contains("2 of them with MLLP: 40 messages, 40 acknowledgements (40 accepted"), "{summary}");
        let path = folder.path().join(name);
        let fields = ["-Y", "hl7", "-T", "fields", "-e", "hl7.message.type"];
        let preference = ["-o", "tcp.desegment_tcp_streams:TRUE", "-o", "tcp.reassemble_out_of_order:TRUE"];
        let arguments: Vec<&str> = ["-r", path.to_str().unwrap()]
            .into_iter()
            .chain(preference)
            .chain(["-d", "tcp.port==2575,hl7"])
            .chain(fields)
            .collect();
        if let Some(types) = tshark(&arguments) {
            let count = |wanted: &str| types.iter().flat_map(|line| line.split(',')).filter(|t| t.starts_with(wanted)).count();
            assert_eq!((count("ORU"), count("ACK")), (40, 40), "{types:?}");
            assert!(nothing_malformed(&path));
        }
    }
    // The telemetry is no HL7 for either, and the packets are well formed.
    let beacon = beacon_talk("192.0.2.7:40000", "202.114.4.119:515", AT_US);
    let path = written(folder.path(), "beacon.pcap", &pcap(1, &beacon.packets));
    let filter = ["-Y", "ip.addr==202.114.4.0/24", "-T", "fields", "-e", "frame.number"];
    let arguments: Vec<&str> = ["-r", path.to_str().unwrap()].into_iter().chain(filter).collect();
    if let Some(frames) = tshark(&arguments) {
        assert_eq!(frames.len(), beacon.packets.len());
    }
}

#[test]
fn the_block_list_is_taken_by_what_it_is_for() {
    let list = |format: &str| {
        let output = vitalguard(&["indicators", "--format", format]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list("suricata").contains("sid:9250301") && list("suricata").contains("sid:9250309"));
    assert_eq!(list("csv").lines().count(), 12);
    let bundle: serde_json::Value = serde_json::from_str(&list("stix")).unwrap();
    assert_eq!((bundle["type"].as_str(), bundle["objects"].as_array().map(Vec::len)), (Some("bundle"), Some(10)));
    let output = vitalguard(&["indicators"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("202.114.4.0/24"));
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "block.nft", list("nftables").as_bytes());
    match Command::new("nft").arg("-c").arg("-f").arg(&path).output() {
        Ok(output) => {
            let said = said(&output);
            // Without the right to speak to the kernel it still reads the file first.
            assert!(output.status.success() || said.contains("Operation not permitted"), "{said}");
        }
        Err(_) if cfg!(feature = "peers") => panic!("nft is not installed"),
        Err(_) => println!("nft is not installed, this part of the test did not run"),
    }
}
