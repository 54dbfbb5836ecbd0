//! What a tee adds to the clinical path: lock-step round trips with and without it, in one run on one machine:
//! `cargo bench --bench tee`.
//!
//! The receiver answers at once, so that what is measured is the path and nothing behind it. The relay is the real process,
//! started by the real service; the service is measured running, stopped (SIGSTOP) and killed (SIGKILL). Rounds of the direct
//! path and of the tee alternate. Differences and ratios count; absolute numbers belong to the machine, whose cores sender,
//! receiver, relay and service share here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vitalguard::shell::tee::{self, Request};

/// 12 OBX, about 1.6 kB.
fn frame(id: u64) -> Vec<u8> {
    let mut text = format!(
        "\u{b}MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|BENCH{id}|P|2.6\rPID|||P1^^^H^MR||DOE^JOHN\r\
         PV1||I|ICU^^BED1\rOBR|1||1|VITALS|||20260101120000\r"
    );
    for n in 1..=12 {
        text += &format!(
            "OBX|{n}|NM|147842^MDC_ECG_HEART_RATE^MDC|1.{n}.1.147842|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||F|||20260101120000.000+0000\r"
        );
    }
    text += "\u{1c}\r";
    text.into_bytes()
}

fn receiver() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    std::thread::spawn(move || {
        for mut stream in socket.incoming().flatten() {
            std::thread::spawn(move || {
                let answer = b"\x0bMSH|^~\\&|R|H|MON|ICU|20260101120000||ACK|1|P|2.6\rMSA|AA|BENCH\r\x1c\r";
                let _ = stream.set_nodelay(true);
                let mut buffer = vec![0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    for _ in 0..buffer[..n].iter().filter(|byte| **byte == 0x1c).count() {
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Round trips of one connection, microseconds.
fn rounds(stream: &mut TcpStream, count: u64, times: &mut Vec<f64>) {
    let mut buffer = [0; 4096];
    for id in 0..count {
        let frame = frame(id);
        let sent = Instant::now();
        stream.write_all(&frame).expect("write");
        loop {
            let n = stream.read(&mut buffer).expect("read");
            assert!(n > 0, "closed");
            if buffer[..n].contains(&0x1c) {
                break;
            }
        }
        times.push(sent.elapsed().as_nanos() as f64 / 1000.0);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

fn compare(what: &str, direct: SocketAddr, through: SocketAddr, messages: u64) {
    let (mut one, mut other) = (connect(direct), connect(through));
    let (mut plain, mut teed) = (Vec::new(), Vec::new());
    rounds(&mut one, 200, &mut Vec::new());
    rounds(&mut other, 200, &mut Vec::new());
    for _ in 0..10 {
        rounds(&mut one, messages / 10, &mut plain);
        rounds(&mut other, messages / 10, &mut teed);
    }
    plain.sort_by(f64::total_cmp);
    teed.sort_by(f64::total_cmp);
    let at = |times: &[f64], q: f64| times[((times.len() - 1) as f64 * q) as usize];
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let (a, b) = (at(&plain, q), at(&teed, q));
        println!("  {what:<28} {name}  direct {a:>7.1} us   tee {b:>7.1} us   added {:>7.1} us   ratio {:.2}", b - a, b / a);
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.expect("kill is there").success());
}

fn main() {
    let messages: u64 = std::env::var("BENCH_MESSAGES").ok().and_then(|s| s.parse().ok()).unwrap_or(10_000);
    let folder = tempfile::tempdir().expect("temporary folder");
    let direct = receiver();
    let config = folder.path().join("v.toml");
    let text = format!(
        "[[mllp]]\nfeed = \"bench\"\nlisten = \"127.0.0.1:0\"\nplacement = \"tee\"\nforward_to = \"{direct}\"\n\
         [mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&config, text).expect("configuration");
    let data = folder.path().join("data");
    let mut service = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built by cargo");
    let out = BufReader::new(service.stdout.take().expect("piped"));
    let line = out.lines().map_while(Result::ok).find(|line| line.starts_with("listening mllp ")).expect("it listens");
    let through: SocketAddr = line.split(' ').nth(2).and_then(|a| a.parse().ok()).expect("an address");
    let relay = tee::ask_now(&tee::control(&data, "bench"), Request::Status).expect("a relay").pid;
    println!("frame {} bytes, lock-step, {messages} round trips each", frame(0).len());
    compare("judge running", direct, through, messages);
    signal(&service, "STOP");
    std::thread::sleep(Duration::from_millis(200));
    compare("judge stopped (SIGSTOP)", direct, through, messages);
    signal(&service, "CONT");
    service.kill().expect("our child");
    let _ = service.wait();
    compare("judge killed (SIGKILL)", direct, through, messages);
    let stats = tee::ask_now(&tee::control(&data, "bench"), Request::Status).expect("the same relay").stats;
    println!(
        "  relay: {} us (p50), {} us (p99) from read to write; {} copies dropped while no judge took them",
        stats.relay_p50_us, stats.relay_p99_us, stats.copies_dropped
    );
    let _ = Command::new("kill").args(["-9", &relay.to_string()]).status();
}
