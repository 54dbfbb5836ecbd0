//! What else goes wrong on the wire, by the numbers that the wire's rules have in this project (W1 to W32). Those that the 25
//! checks hold already are not repeated: W1 (4, 5), W2 (6, 7), W3 (8, 9), W5 (14), W23 (19), W30 (15). W26, a peer that is gone
//! without a word, is the system's keep-alive and takes minutes.

use super::Check;
use super::checks::tells;
use super::talk::{Target, changed, frame, framed, noted, plain};
use std::io::Write;
use std::time::{Duration, Instant};

/// Every name of HL7 table 0211 and what senders make of them.
pub const CHARSETS: &[&str] = &[
    "",
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
    "8859/10",
    "8859/11",
    "8859/13",
    "8859/14",
    "8859/15",
    "ISO IR6",
    "ISO IR14",
    "ISO IR87",
    "ISO IR159",
    "GB 18030-2000",
    "KS X 1001",
    "CNS 11643-1992",
    "BIG-5",
    "UNICODE",
    "UNICODE UTF-8",
    "UNICODE UTF-16",
    "UNICODE UTF-32",
    "UTF-8",
    "windows-1252",
    "ISO 8859-1",
    "KLINGON",
];

pub const ALL: &[Check] = &[
    tells("W4", "NUL padding", "40 NUL before FS, 90 NUL between two frames", "AA P1, AA P2", |t| {
        t.ask(&[open("P1"), vec![0; 40], b"\x1c\r".to_vec(), vec![0; 90], frame("P2")].concat(), 2)
    }),
    tells("W6", "FS without CR before more", "FS VT; FS LF; FS CR", "AA F61, AA F62, AA F63", |t| {
        t.ask(&[open("F61"), b"\x1c".to_vec(), open("F62"), b"\x1c\n".to_vec(), frame("F63")].concat(), 3)
    }),
    tells("W7", "last segment without CR", "FS follows the last field", "AA F7", |t| {
        let payload = plain("F7");
        t.ask(&framed(&payload[..payload.len() - 1]), 1)
    }),
    tells("W8", "no VT", "MSH first, FS CR at the end", "AA V8", |t| t.ask(&[plain("V8"), b"\x1c\r".to_vec()].concat(), 1)),
    tells("W9", "no framing", "a message, then the sender's side is closed", "AA V9, closed", |t| {
        let mut talk = t.connect();
        talk.send(&plain("V9"));
        let _ = talk.stream.shutdown(std::net::Shutdown::Write);
        talk.said(1)
    }),
    tells("W10", "byte order mark", "before VT; after VT", "AA M1; AA M2", |t| {
        let mark = b"\xef\xbb\xbf".to_vec();
        let before = t.ask(&[mark.clone(), frame("M1")].concat(), 1);
        format!("{before}; {}", t.ask(&framed(&[mark, plain("M2")].concat()), 1))
    }),
    tells("W11", "FS inside a field", "FS followed by a letter", "AA I1", |t| t.ask(&framed(&noted("I1", "", b"a\x1cb")), 1)),
    tells("W12", "VT inside a frame", "a cut frame and a whole one; VT VT; VT as data", "AA U2; AA U3; AA U4", |t| {
        let cut = t.ask(&[open("U1")[..80].to_vec(), frame("U2")].concat(), 1);
        let twice = t.ask(&[b"\x0b".to_vec(), frame("U3")].concat(), 1);
        format!("{cut}; {twice}; {}", t.ask(&framed(&noted("U4", "", b"a\x0bb")), 1))
    }),
    tells("W13", "frame over the cap", "a frame of more than 8 MiB, then a small one", "AR H1, AA H2", |t| {
        let huge = framed(&noted("H1", "", &vec![b'x'; t.frame_bytes_max + 1]));
        let mut talk = t.connect();
        talk.send(&huge);
        talk.send(&frame("H2"));
        talk.said_within(2, t.patience + Duration::from_secs(8).min(t.patience * 4))
    }),
    tells("W14", "second MSH inside a frame", "J1 and J2 in one frame", "AA J1", |t| {
        t.ask(&framed(&[plain("J1"), plain("J2")].concat()), 1)
    }),
    tells("W15", "batch", "FHS, BHS, two messages, a trailer that counts three", "AA Y1, AA Y2", |t| {
        let head = b"FHS|^~\\&|X\rBHS|^~\\&|X\r".to_vec();
        t.ask(&framed(&[head, plain("Y1"), plain("Y2"), b"BTS|3\rFTS|1\r".to_vec()].concat()), 2)
    }),
    tells("W16", "CRLF segments", "segments ended by CR LF; by CR, with LF in a note", "AA L1; AA L2", |t| {
        let both = t.ask(&framed(&changed("L1", "\r", "\r\n")), 1);
        format!("{both}; {}", t.ask(&framed(&noted("L2", "", b"first line\nsecond line")), 1))
    }),
    tells("W17", "odd lines", "blank line, leading blanks, bare name, unknown segment", "AA O1", |t| {
        t.ask(&framed(&changed("O1", "PID|", "\r  NTE|1\rZZZ\rUNKNOWN|1\rPID|")), 1)
    }),
    tells("W18", "broken lines", "text goes on after CR without a segment's name", "AA O2", |t| {
        t.ask(&framed(&noted("O2", "", b"first line\rand a second one\rNTE|2||third")), 1)
    }),
    tells(
        "W19",
        "character sets",
        "each name in MSH-18, with bytes of it and with bytes that it has not",
        "AA for all 32 names",
        charsets,
    ),
    tells("W20", "UTF-16", "little and big endian, with and without byte order mark", "4 x AA in UTF-16", |t| {
        let mut said = Vec::new();
        for (n, (big, mark)) in [(false, true), (true, true), (false, false), (true, false)].into_iter().enumerate() {
            let id = format!("X{n}");
            let text = String::from_utf8(noted(&id, "UNICODE UTF-16", "Müller 東京".as_bytes())).expect("it is UTF-8");
            let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
            let bytes: Vec<u8> = units.flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect();
            let mut talk = t.connect();
            talk.send(&framed(&bytes));
            let list = talk.answers(1);
            let right = list.len() == 1 && list[0].wide && list[0].code == "AA" && list[0].id == id;
            said.push(if right { String::new() } else { format!("{id}: {list:?}") });
        }
        alike(&said, "AA in UTF-16")
    }),
    tells("W21", "odd MSH-2", "2, 3 and 5 characters; backslash twice; three empty fields after it", "5 x AA", |t| {
        let mut said = Vec::new();
        for (n, odd) in ["|^~|", "|^~\\|", "|^~\\&#|", "|^~\\\\&|", "|^~\\&|||"].into_iter().enumerate() {
            let id = format!("N{n}");
            let found = t.ask(&framed(&changed(&id, "|^~\\&|", odd)), 1);
            said.push(if found == format!("AA {id}") { String::new() } else { format!("{odd}: {found}") });
        }
        alike(&said, "AA")
    }),
    tells("W22", "escapes", "\\X0D\\, an unknown one, one that never ends", "AA O3", |t| {
        t.ask(&framed(&noted("O3", "", b"\\X0D\\MSH|^~\\&|X \\Zodd\\ \\")), 1)
    }),
    tells("W24", "other protocols", "HTTP, TLS and SSH on the plain port", "no answer, closed (all three)", |t| {
        let mut said = Vec::new();
        for hello in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"[..],
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        ] {
            said.push(t.ask(hello, 1));
        }
        said.dedup();
        if said.len() == 1 { format!("{} (all three)", said[0]) } else { said.join("; ") }
    }),
    tells("W25", "connect and close", "20 connections without a byte, then a frame", "AA O4", |t| {
        for _ in 0..20 {
            drop(t.connect());
        }
        t.ask(&frame("O4"), 1)
    }),
    tells("W27", "dribbling sender", "a byte now and then and no end; a frame on another connection", "closed; AA O5", slow),
    tells("W28", "cut in the middle", "20 connections closed or reset inside a frame, then a frame", "AA O6", |t| {
        for n in 0..20 {
            let mut talk = t.connect();
            talk.send(&open("R28")[..100]);
            if n % 2 == 0 {
                // Reset in place of FIN.
                let _ = socket2::SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO));
            }
        }
        t.ask(&frame("O6"), 1)
    }),
    tells(
        "W29",
        "answers are not read",
        "frames without end and never a read; a frame on another connection",
        "not read on; AA O7",
        deaf,
    ),
    tells("W31", "resent", "the same frame twice, and again on a new connection", "AA D1, AA D1; AA D1", |t| {
        let twice = t.ask(&[frame("D1"), frame("D1")].concat(), 2);
        format!("{twice}; {}", t.ask(&frame("D1"), 1))
    }),
    tells("W32", "answers sent to us", "commit bytes ACK and NAK, an ACK message, then a frame", "AA O8", |t| {
        let ack = b"MSH|^~\\&|A|B|C|D|20260101||ACK^R01|77|P|2.6\rMSA|AA|1\r";
        t.ask(&[framed(b"\x06"), framed(b"\x15"), framed(ack), frame("O8")].concat(), 1)
    }),
];

/// VT and a message, without its end.
fn open(id: &str) -> Vec<u8> {
    [b"\x0b".to_vec(), plain(id)].concat()
}

/// `n x what` where every entry is empty, else the entries that are not.
fn alike(said: &[String], what: &str) -> String {
    let odd: Vec<&str> = said.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
    if odd.is_empty() { format!("{} x {what}", said.len()) } else { odd.join("; ") }
}

fn charsets(target: &Target) -> String {
    let mut odd = Vec::new();
    for (n, name) in CHARSETS.iter().enumerate() {
        // One connection a name: right bytes where the set has ASCII, then bytes that hardly any set allows.
        let mut talk = target.connect();
        let (first, second) = (format!("C{n}a"), format!("C{n}b"));
        talk.send(&framed(&noted(&first, name, b"plain")));
        talk.send(&framed(&noted(&second, name, b"\xff\xfe\x81\xe9 \xc3")));
        let list = talk.answers(2);
        let echoed = list.iter().all(|a| {
            let sent = a.text.split('\r').next().unwrap_or_default().split('|').nth(17).unwrap_or_default();
            sent == *name
        });
        let said = super::talk::words(&list);
        if said != format!("AA {first}, AA {second}") || !echoed || talk.closed {
            odd.push(format!("{name}: {}", if said.is_empty() { "no answer" } else { &said }));
        }
    }
    if odd.is_empty() {
        return format!("AA for all {} names", CHARSETS.len());
    }
    odd.dedup_by(|a, b| a.ends_with("no answer") && b.ends_with("no answer"));
    odd.join("; ")
}

fn slow(target: &Target) -> String {
    let Some(timeout) = target.message_timeout else { return "not asked: it takes the server's own timeout".into() };
    let mut talk = target.connect();
    talk.send(b"\x0bMSH|^~\\&|");
    let begun = Instant::now();
    while !talk.closed && begun.elapsed() < timeout + Duration::from_secs(2) {
        talk.send(b"x");
        talk.answers_within(1, Duration::from_millis(50));
    }
    let early = begun.elapsed() < timeout.mul_f64(0.8);
    let end = match (talk.closed, early) {
        (true, false) => "closed",
        (true, true) => "closed too early",
        (false, _) => "kept",
    };
    format!("{end}; {}", target.ask(&frame("O5"), 1))
}

fn deaf(target: &Target) -> String {
    let talk = target.connect();
    // A sign of life with a long id: its answer is as long, and the buffers between us are soon full.
    let long = "7".repeat(2000);
    let alive = framed(format!("MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01|{long}|P|2.6\r").as_bytes()).repeat(20);
    talk.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = socket2::SockRef::from(&talk.stream).set_recv_buffer_size(4096);
    let (mut blocked, mut sent) = (false, 0);
    while !blocked && sent < 24 << 20 {
        blocked = (&talk.stream).write_all(&alive).is_err();
        sent += alive.len();
    }
    let end = if blocked { "not read on" } else { "read on and on" };
    let said = format!("{end}; {}", target.ask(&frame("O7"), 1));
    drop(talk);
    said
}
