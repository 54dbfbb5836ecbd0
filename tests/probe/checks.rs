//! The 25 checks: 17 that a server passes or fails, 8 whose answer is worth knowing.

use super::talk::{Ack, Target, changed, frame, framed, message, noted, plain, words};
use super::{Check, Kind};
use std::time::{Duration, Instant};

const fn must(id: &'static str, name: &'static str, sent: &'static str, ours: &'static str, run: fn(&Target) -> String) -> Check {
    Check { id, name, sent, ours, kind: Kind::Must(|answer, ours| answer == ours), run }
}
pub const fn tells(
    id: &'static str,
    name: &'static str,
    sent: &'static str,
    ours: &'static str,
    run: fn(&Target) -> String,
) -> Check {
    Check { id, name, sent, ours, kind: Kind::Tells, run }
}

pub const ALL: &[Check] = &[
    must("1", "basic", "one frame", "AA B1", |t| t.ask(&frame("B1"), 1)),
    Check {
        id: "2",
        name: "header of the answer",
        sent: "one frame",
        ours: "MSH-3 to 6: PLAUS, H, MON, ICU; MSH-9: ACK^R01^ACK; MSH-12: 2.6",
        kind: Kind::Must(|answer, _| answer.starts_with("MSH-3 to 6: PLAUS, H, MON, ICU;")),
        run: header,
    },
    must(
        "3",
        "five in sequence",
        "five frames on one connection, each after the answer",
        "AA Q0, AA Q1, AA Q2, AA Q3, AA Q4",
        |t| {
            let mut talk = t.connect();
            let mut list = Vec::new();
            for n in 0..5 {
                talk.send(&frame(&format!("Q{n}")));
                list.extend(talk.answers(1));
            }
            words(&list)
        },
    ),
    must("4", "two frames, one write", "T1 and T2 together", "AA T1, AA T2", |t| t.ask(&[frame("T1"), frame("T2")].concat(), 2)),
    must("5", "twenty frames, one write", "N0 to N19 together", "20 x AA in order", |t| {
        let mut talk = t.connect();
        talk.send(&(0..20).flat_map(|n| frame(&format!("N{n}"))).collect::<Vec<_>>());
        in_order(&talk.answers(20), "N")
    }),
    must("6", "byte by byte", "one byte a write, 1 ms apart", "AA S1", |t| {
        let mut talk = t.connect();
        for byte in frame("S1") {
            talk.send(&[byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        talk.said_within(1, t.patience + Duration::from_secs(3).min(t.patience * 4))
    }),
    must("7", "FS and CR apart", "a frame, its last CR 0.15 s later", "AA S2", |t| {
        let mut talk = t.connect();
        let bytes = frame("S2");
        talk.send(&bytes[..bytes.len() - 1]);
        std::thread::sleep(Duration::from_millis(150));
        talk.send(b"\r");
        talk.said(1)
    }),
    must("8", "junk before VT", "CR LF NUL NUL, a frame", "AA L1", |t| t.ask(&[b"\r\n\0\0".to_vec(), frame("L1")].concat(), 1)),
    must("9", "junk between frames", "a frame, NUL CR LF, a frame", "AA G1, AA G2", |t| {
        t.ask(&[frame("G1"), b"\0\r\n".to_vec(), frame("G2")].concat(), 2)
    }),
    must("10", "latin-1", "M\u{fc}ller in ISO 8859/1, declared", "AA E1", |t| {
        t.ask(&framed(&noted("E1", "8859/1", b"M\xfcller \xe9")), 1)
    }),
    must("11", "UTF-8", "M\u{fc}ller \u{6771}\u{4eac} in UTF-8, declared", "AA E2", |t| {
        t.ask(&framed(&noted("E2", "UNICODE UTF-8", "Müller 東京".as_bytes())), 1)
    }),
    Check {
        id: "12",
        name: "invalid UTF-8",
        sent: "FF FE FA in a note, no character set declared",
        ours: "AA E3",
        kind: Kind::Must(|answer, _| !answer.starts_with("no answer")),
        run: |t| t.ask(&framed(&noted("E3", "", b"\xff\xfe\xfa")), 1),
    },
    Check {
        id: "13",
        name: "big",
        sent: "30 000 further OBX, 1.1 MB",
        ours: "AA K1",
        kind: Kind::Must(|answer, _| answer.ends_with(" K1")),
        run: |t| {
            let rows: Vec<u8> = (2..30_002).flat_map(|n| format!("OBX|{n}|NM|1^X^L||1||||||F\r").into_bytes()).collect();
            let mut talk = t.connect();
            talk.send(&framed(&message("K1", "", "", "", &rows)));
            talk.said_within(1, t.patience + Duration::from_secs(8).min(t.patience * 4))
        },
    },
    Check {
        id: "14",
        name: "empty, then good",
        sent: "VT FS CR, a frame",
        ours: "AA Z1",
        kind: Kind::Must(|answer, _| answer.ends_with(" Z1")),
        run: |t| t.ask(&[b"\x0b\x1c\r".to_vec(), frame("Z1")].concat(), 1),
    },
    must("15", "200 idle connections", "200 connections, a frame on the last", "AA W1", |t| {
        let mut idle: Vec<_> = (0..200).map(|_| t.connect()).collect();
        let last = idle.last_mut().expect("there are 200");
        last.send(&frame("W1"));
        last.said(1)
    }),
    must("16", "half a frame", "VT and 60 bytes, left open; a frame on another connection", "AA H2", |t| {
        let mut half = t.connect();
        half.send(&frame("H1")[..61]);
        t.ask(&frame("H2"), 1)
    }),
    tells("17", "FS without CR", "a frame that ends with FS", "AA C1 after a pause", |t| {
        let begun = Instant::now();
        let said = t.ask(&[b"\x0b".to_vec(), plain("C1"), b"\x1c".to_vec()].concat(), 1);
        match begun.elapsed() {
            _ if said.starts_with("no answer") => said,
            quick if quick < Duration::from_millis(150) => format!("{said} at once"),
            _ => format!("{said} after a pause"),
        }
    }),
    tells("18", "LF segments", "segments ended by LF", "AA F1", |t| t.ask(&framed(&changed("F1", "\r", "\n")), 1)),
    tells("19", "not HL7", "the frame \"this is not hl7\"", "AR", |t| t.ask(&framed(b"this is not hl7"), 1)),
    tells("20", "empty MSH-10", "a frame without control id", "AA", |t| t.ask(&frame(""), 1)),
    tells("21", "unknown version", "MSH-12 = 2.9.9", "AA V1", |t| t.ask(&framed(&changed("V1", "|2.6|", "|2.9.9|")), 1)),
    tells("22", "other delimiters", "# for the pipe and @ for the caret", "AA D1, delimiters as received throughout", |t| {
        let text = String::from_utf8(plain("D1")).expect("it is ASCII").replace('|', "#").replace('^', "@");
        let mut talk = t.connect();
        talk.send(&framed(text.as_bytes()));
        let list = talk.answers(1);
        let kept = |a: &Ack| a.text.starts_with("MSH#@~\\&#") && !a.text.contains(['|', '^']);
        match list.first() {
            None => "no answer".into(),
            Some(ack) => format!("{}, delimiters {}", words(&list), if kept(ack) { "as received throughout" } else { "changed" }),
        }
    }),
    tells("23", "commit acknowledgement", "MSH-15 AL, MSH-16 NE", "CA X1", |t| {
        t.ask(&framed(&message("X1", "AL", "NE", "", b"")), 1)
    }),
    tells("24", "no acknowledgement", "MSH-15 NE, MSH-16 NE; 1 s", "no answer", |t| {
        let mut talk = t.connect();
        talk.send(&framed(&message("X2", "NE", "NE", "", b"")));
        talk.said_within(1, Duration::from_secs(1).min(t.patience))
    }),
    must("25", "still alive", "a frame, after all the others", "AA AF", |t| {
        std::thread::sleep(Duration::from_millis(200));
        t.ask(&frame("AF"), 1)
    }),
];

fn header(target: &Target) -> String {
    let mut talk = target.connect();
    talk.send(&frame("Y1"));
    let Some(ack) = talk.answers(1).into_iter().next() else { return "no answer".into() };
    let fields: Vec<&str> = ack.text.split('\r').next().unwrap_or_default().split('|').collect();
    let field = |n: usize| fields.get(n - 1).copied().unwrap_or_default();
    format!("MSH-3 to 6: {}, {}, {}, {}; MSH-9: {}; MSH-12: {}", field(3), field(4), field(5), field(6), field(9), field(12))
}

/// `20 x AA in order`, or the answers where they are anything else.
fn in_order(list: &[Ack], prefix: &str) -> String {
    let right = list.iter().enumerate().all(|(n, a)| a.code == "AA" && a.id == format!("{prefix}{n}"));
    match list {
        [] => "no answer".into(),
        list if right => format!("{} x AA in order", list.len()),
        list => words(list),
    }
}
