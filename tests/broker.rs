//! The embedded broker over real sockets: who may do what, and what a late joiner is told.
#![cfg(feature = "broker")]

#[path = "support/client.rs"]
mod client;
mod support;

use bytes::Bytes;
use client::{Client, endpoint};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::{BASE, origin, publish_with, wait};
use vitalguard::config::{Config, Tls, User};
use vitalguard::shell::broker::{Broker, BrokerError};
use vitalguard::shell::mqtt::Ack;
use vitalguard::shell::publisher::{Inbound, Options};
use vitalguard::shell::retained::{Kind, Retained};

fn config(users: Vec<User>) -> Config {
    let mut config = Config { site: support::SITE.into(), ..Config::default() };
    config.mqtt.listen = "127.0.0.1:0".parse().expect("an address");
    config.mqtt.users = users;
    config
}

fn user(name: &str, password: &str, wards: &[&str], verbs: &[&str]) -> User {
    let digest: String = Sha256::digest(password.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    User {
        name: name.into(),
        role: None,
        password_sha256: Some(digest),
        wards: wards.iter().map(|w| (*w).to_owned()).collect(),
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
    }
}

fn beds(retained: &Retained, count: usize) {
    for bed in 0..count {
        let ward = if bed % 2 == 0 { "icu" } else { "er" };
        let payload = format!("{{\"schema\":\"bed-state/1\",\"bed\":\"B{bed:03}\",\"text\":\"{}\"}}", "x".repeat(1500));
        retained.put(&format!("ward/{ward}/bed/B{bed:03}/state"), Kind::Bed, Bytes::from(payload));
    }
}

fn embedded(config: &Config, broker: &Broker) -> Options {
    let origin = origin("01a20385-57bb-7c31-9f0a-000000000001");
    Options::from_config(config, origin, Some(broker.internal())).expect("options")
}

#[test]
fn a_late_joiner_gets_the_whole_retained_set_byte_for_byte_in_both_protocols() {
    let config = config(Vec::new());
    let broker = Broker::start(&config).expect("a broker");
    let retained = Arc::new(Retained::default());
    beds(&retained, 300);
    let outgoing = publish_with(embedded(&config, &broker), None, Arc::clone(&retained));
    let link = outgoing.publisher.link();
    wait("the retained set is published", 30, || link.resynced());
    std::thread::sleep(Duration::from_millis(300));
    for (v5, at_least_once) in [(true, true), (false, true), (false, false)] {
        let name = format!("late-{v5}-{at_least_once}");
        let client = Client::start(endpoint(broker.address(), &name, None), v5, &["vitalguard/#"], at_least_once);
        wait("300 documents", 20, || client.with(|h| h.messages.iter().filter(|m| m.topic.contains("/bed/")).count() >= 300));
        client.with(|heard| {
            let got: BTreeMap<&str, &[u8]> =
                heard.messages.iter().filter(|m| m.retain).map(|m| (m.topic.as_str(), &m.payload[..])).collect();
            for (topic, document) in retained.all() {
                assert_eq!(got.get(format!("{BASE}/{topic}").as_str()), Some(&&document.payload[..]), "{topic}");
            }
            let status = got.get(format!("{BASE}/sys/status").as_str()).expect("a birth");
            assert!(String::from_utf8_lossy(status).contains("online"));
        });
    }
    outgoing.publisher.stop(Duration::from_secs(1));
    let client = Client::start(endpoint(broker.address(), "after", None), true, &["vitalguard/v1/+/sys/status"], true);
    wait("offline stands there", 5, || {
        client.with(|h| h.messages.iter().any(|m| String::from_utf8_lossy(&m.payload).contains("offline")))
    });
}

#[test]
fn a_user_reads_its_wards_and_commands_its_verbs_and_nothing_else() {
    let config = config(vec![user("nurse7", "secret", &["icu"], &["ack"]), user("wall", "other", &[], &[])]);
    let broker = Broker::start(&config).expect("a broker");
    let retained = Arc::new(Retained::default());
    beds(&retained, 20);
    let mut outgoing = publish_with(embedded(&config, &broker), None, Arc::clone(&retained));
    let link = outgoing.publisher.link();
    wait("published", 30, || link.resynced());

    let nurse = Client::start(endpoint(broker.address(), "n", Some(("nurse7", "secret"))), true, &["vitalguard/#"], true);
    wait("its ward is heard", 10, || nurse.with(|h| h.messages.iter().filter(|m| m.topic.contains("/ward/icu/")).count() == 10));
    let wall = Client::start(endpoint(broker.address(), "w", Some(("wall", "other"))), false, &["vitalguard/#"], true);
    wait("all wards are heard", 10, || wall.with(|h| h.messages.iter().filter(|m| m.topic.contains("/bed/")).count() == 20));
    nurse.with(|h| assert!(!h.messages.iter().any(|m| m.topic.contains("/ward/er/")), "another ward's bed was delivered"));

    for filter in ["vitalguard/v1/hsp1/ward/er/#", "vitalguard/v1/hsp1/cmd/#", "$SYS/#", "other/#"] {
        let denied = Client::start(endpoint(broker.address(), "d", Some(("nurse7", "secret"))), true, &[filter], true);
        wait("an answer", 10, || denied.with(|h| h.subscribed.is_some()));
        assert_eq!(denied.with(|h| h.subscribed), Some(false), "{filter}");
    }

    let good = r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z"}"#;
    nurse.say(&format!("{BASE}/cmd/nurse7/ack"), good, false);
    wait("the command arrives", 10, || matches!(outgoing.inbound.try_recv(), Ok(Inbound::Command(c)) if c.user == "nurse7"));
    for (topic, retain) in [
        (format!("{BASE}/cmd/nurse7/comment"), false),
        (format!("{BASE}/cmd/wall/ack"), false),
        (format!("{BASE}/cmd/nurse7/ack"), true),
        (format!("{BASE}/ward/icu/bed/B000/state"), true),
        (format!("{BASE}/sys/status"), true),
        ("anything".to_owned(), false),
    ] {
        let before = nurse.with(|h| h.acks.len());
        nurse.say(&topic, good, retain);
        wait("an answer", 10, || nurse.with(|h| h.acks.len() > before));
        assert!(matches!(nurse.with(|h| h.acks.last().cloned()), Some(Ack::NotNow(r)) if r == "NotAuthorized"), "{topic}");
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(!outgoing.ran(), "a denied command came through");

    // A will is a publish too.
    let mut sly = endpoint(broker.address(), "s", Some(("nurse7", "secret")));
    sly.will = Some((format!("{BASE}/sys/status"), b"forged".to_vec()));
    let sly = Client::start(sly, true, &[], true);
    wait("the will is refused", 10, || sly.with(|h| h.error.is_some()));
    // A session is not taken over by its name alone.
    let thief = Client::start(endpoint(broker.address(), "n", Some(("wall", "other"))), true, &[], true);
    wait("the foreign client id is refused", 10, || thief.with(|h| h.error.is_some()));
    assert!(nurse.with(|h| h.error.is_none()));
    outgoing.publisher.stop(Duration::from_secs(1));
}

/// The CONNACK to a CONNECT of 3.1.1 (level 4) or 5.
fn connack(address: SocketAddr, level: u8, name: &str, password: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("open");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let text = |t: &str| [&(t.len() as u16).to_be_bytes()[..], t.as_bytes()].concat();
    let mut body = [&text("MQTT")[..], &[level, 0xc2, 0, 30]].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend([text(&format!("c{level}{name}")), text(name), text(password)].concat());
    stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat()).expect("sent");
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    answer
}

#[test]
fn a_wrong_password_is_told_by_the_code_of_the_protocol() {
    let config = config(vec![user("nurse7", "secret", &[], &[])]);
    let broker = Broker::start(&config).expect("a broker");
    let address = broker.address();
    assert_eq!(connack(address, 4, "nurse7", "secret")[3], 0);
    assert_eq!(connack(address, 4, "nurse7", "wrong")[3], 4, "3.1.1: bad user name or password");
    assert_eq!(connack(address, 5, "nurse7", "wrong")[3], 0x86, "5: bad user name or password");
    assert_eq!(connack(address, 5, "nobody", "secret")[3], 0x86);
    let (internal, password) = broker.internal();
    assert_eq!(connack(address, 5, "_vitalguard", &password)[3], 0x87, "the internal account is refused outside");
    assert_eq!(connack(internal, 5, "nurse7", "secret")[3], 0x87, "and others inside");
}

#[test]
fn a_retained_command_is_refused_where_no_users_are_configured_too() {
    let config = config(Vec::new());
    let broker = Broker::start(&config).expect("a broker");
    let mut outgoing = publish_with(embedded(&config, &broker), None, Arc::default());
    let link = outgoing.publisher.link();
    wait("connected", 10, || link.connected());
    let filter = format!("{BASE}/rsp/local/+");
    let local = Client::start(endpoint(broker.address(), "l", None), true, &[&filter], true);
    wait("subscribed", 10, || local.with(|h| h.subscribed == Some(true)));
    local.say(&format!("{BASE}/cmd/local/ack"), r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z"}"#, true);
    wait("an answer", 10, || local.with(|h| !h.acks.is_empty()));
    assert!(matches!(local.with(|h| h.acks[0].clone()), Ack::NotNow(_)));
    local.say(&format!("{BASE}/cmd/local/fly"), r#"{"request_id":"r2"}"#, false);
    wait("a refusal", 10, || local.with(|h| h.messages.iter().any(|m| m.topic.ends_with("/rsp/local/r2"))));
    local.with(|h| {
        let text = String::from_utf8_lossy(&h.messages[0].payload).into_owned();
        assert!(text.contains(r#""status":"rejected","code":"UNKNOWN_VERB""#), "{text}");
    });
    assert!(!outgoing.ran(), "only the audit hears of it");
    outgoing.publisher.stop(Duration::from_secs(1));
}

#[test]
fn what_is_not_safe_does_not_start() {
    let mut config = config(Vec::new());
    config.mqtt.listen = "0.0.0.0:0".parse().expect("an address");
    assert!(matches!(Broker::start(&config), Err(BrokerError::Plaintext(_))));
    config.mqtt.plaintext = Some(vitalguard::config::Plaintext::Allowed);
    assert!(matches!(Broker::start(&config), Err(BrokerError::NoUsers(_))));
    config.mqtt.users = vec![user("_vitalguard", "x", &[], &[])];
    assert!(matches!(Broker::start(&config), Err(BrokerError::Name(_))));
    config.mqtt.users[0].name = "nurse7".into();
    config.mqtt.users[0].password_sha256 = None;
    assert!(matches!(Broker::start(&config), Err(BrokerError::NoPassword(_))));
}

#[test]
fn a_thousand_clients_hear_one_event() {
    let config = config(Vec::new());
    let broker = Broker::start(&config).expect("a broker");
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = support::store(folder.path());
    let outgoing = publish_with(embedded(&config, &broker), Some(&store), Arc::default());
    let outgoing_link = outgoing.publisher.link();
    wait("connected", 10, || outgoing_link.connected());
    let begin = std::time::Instant::now();
    // Raw sockets: a thousand threads would measure the test.
    let mut streams = Vec::new();
    for number in 0..1000_u16 {
        let mut stream = TcpStream::connect(broker.address()).expect("open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let id = format!("c{number:04}");
        let mut connect = vec![0x10, 17, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 5];
        connect.extend(id.as_bytes());
        stream.write_all(&connect).expect("sent");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("a CONNACK");
        assert_eq!(answer, [0x20, 2, 0, 0]);
        let filter = "vitalguard/v1/+/ward/+/bed/+/event/#";
        let mut subscribe = vec![0x82, (filter.len() + 5) as u8, 0, 1, 0, filter.len() as u8];
        subscribe.extend(filter.as_bytes());
        subscribe.push(0);
        stream.write_all(&subscribe).expect("sent");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("a SUBACK");
        streams.push(stream);
    }
    let connected = begin.elapsed();
    let begin = std::time::Instant::now();
    support::commit_events(&mut store, 1, 1, 1, |_| outgoing_link.wake());
    for stream in &mut streams {
        let mut head = [0; 1];
        stream.read_exact(&mut head).expect("the event");
        assert_eq!(head[0] >> 4, 3);
    }
    println!("1000 clients connected in {connected:.1?}; an event reached all in {:.1?}", begin.elapsed());
    outgoing.publisher.stop(Duration::from_secs(1));
}

#[test]
fn a_client_certificate_is_the_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("an authority");
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let issue = |name: &str, file: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("parameters");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
        let (pem, key_pem) = (folder.path().join(format!("{file}.pem")), folder.path().join(format!("{file}.key")));
        std::fs::write(&pem, certificate.pem()).expect("written");
        std::fs::write(&key_pem, key.serialize_pem()).expect("written");
        (pem, key_pem)
    };
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("written");
    let (certificate, key) = issue("localhost", "server");
    let mut config =
        config(vec![User { name: "icu-wall".into(), role: None, password_sha256: None, wards: vec![], verbs: vec![] }]);
    config.mqtt.tls = Some(Tls { certificate, key, client_ca: Some(ca.clone()) });
    let broker = Broker::start(&config).expect("a broker");
    let retained = Arc::new(Retained::default());
    beds(&retained, 4);
    let outgoing = publish_with(embedded(&config, &broker), None, retained);
    let link = outgoing.publisher.link();
    wait("published", 10, || link.resynced());

    let connect = |name: &str, file: &str, certificate: bool| {
        let (pem, key) = issue(name, file);
        let mut external = Config::default();
        external.mqtt.url = Some(format!("mqtts://localhost:{}", broker.address().port()));
        external.mqtt.ca = Some(ca.clone());
        external.mqtt.client = certificate.then_some(vitalguard::config::ClientIdentity { certificate: pem, key });
        let options = Options::from_config(&external, origin("x"), None).expect("options");
        let mut endpoint = endpoint(broker.address(), name, None);
        endpoint.host = "localhost".into();
        endpoint.tls = options.tls;
        Client::start(endpoint, true, &["vitalguard/#"], true)
    };
    let wall = connect("icu-wall", "wall", true);
    wait("the wall hears the beds", 10, || wall.with(|h| h.messages.iter().filter(|m| m.topic.contains("/bed/")).count() == 4));
    let stranger = connect("stranger", "stranger", true);
    wait("a certificate of nobody we know is refused", 10, || stranger.with(|h| h.error.is_some()));
    let bare = connect("icu-wall2", "bare", false);
    wait("no certificate, no connection", 10, || bare.with(|h| h.error.is_some()));
    outgoing.publisher.stop(Duration::from_secs(1));
}
