//! Durable intake against a raw loopback reply, in one run on one machine: `cargo bench --bench intake`.
//!
//! The raw server reads to the end of a frame and writes a fixed answer: what the sockets alone allow. The durable one is the
//! real listener with the real journal (framing, header, hash chain, group commit with `fdatasync`, answer). Ratios count;
//! absolute numbers belong to the machine. Client and server share its cores. What chain and signing cost is at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use vitalguard::config::Mllp;
use vitalguard::shell::journal::{Journal, JournalHandle, Options};
use vitalguard::shell::listener::bind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 12 OBX, about 1.6 kB.
fn frame() -> Vec<u8> {
    let mut text = String::from(
        "\u{b}MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|BENCH1|P|2.6\rPID|||P1^^^H^MR||DOE^JOHN\r\
         PV1||I|ICU^^BED1\rOBR|1||1|VITALS|||20260101120000\r",
    );
    for n in 1..=12 {
        text += &format!(
            "OBX|{n}|NM|147842^MDC_ECG_HEART_RATE^MDC|1.{n}.1.147842|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||F|||20260101120000.000+0000\r"
        );
    }
    text += "\u{1c}\r";
    text.into_bytes()
}

async fn raw_server(socket: TcpListener) {
    loop {
        let Ok((mut stream, _)) = socket.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let answer =
                b"\x0bMSH|^~\\&|PLAUS|H|MON|ICU|20260101120000.000+0000||ACK^R01^ACK|1|P|2.6\rMSA|AA|BENCH1\r\x1c\r".as_slice();
            let (mut buffer, mut last) = (vec![0; 8192], 0);
            loop {
                let Ok(n) = stream.read(&mut buffer).await else { return };
                if n == 0 {
                    return;
                }
                let mut out = Vec::new();
                for byte in &buffer[..n] {
                    if last == 0x1c && *byte == b'\r' {
                        out.extend_from_slice(answer);
                    }
                    last = *byte;
                }
                if !out.is_empty() && stream.write_all(&out).await.is_err() {
                    return;
                }
            }
        });
    }
}

struct Figures {
    per_s: f64,
    p50_us: u64,
    p99_us: u64,
}

/// Lock-step senders: each sends a frame, waits for its answer, sends the next. With `depth` > 1: so many frames at once.
fn load(address: SocketAddr, connections: usize, depth: usize, seconds: f64) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let stop = Arc::new(AtomicBool::new(false));
    let batch: Arc<Vec<u8>> = Arc::new(frame().repeat(depth));
    let (mut times, took) = runtime.block_on(async {
        let mut tasks = Vec::new();
        let begun = Instant::now();
        for _ in 0..connections {
            let (stop, batch) = (stop.clone(), batch.clone());
            tasks.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("connect");
                stream.set_nodelay(true).expect("nodelay");
                let (mut buffer, mut times) = (vec![0; 65536], Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    stream.write_all(&batch).await.expect("write");
                    let mut got = 0;
                    while got < depth {
                        let n = stream.read(&mut buffer).await.expect("read");
                        assert!(n > 0, "closed");
                        got += buffer[..n].iter().filter(|b| **b == 0x1c).count();
                    }
                    times.push(sent.elapsed().as_micros() as u64);
                }
                times
            }));
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("client"));
        }
        (times, begun.elapsed())
    });
    times.sort_unstable();
    let quantile = |q: f64| times.get(((times.len() - 1) as f64 * q) as usize).copied().unwrap_or(0);
    Figures { per_s: (times.len() * depth) as f64 / took.as_secs_f64(), p50_us: quantile(0.5), p99_us: quantile(0.99) }
}

fn print(name: &str, figures: &Figures) {
    println!("  {name:<28} {:>9.0}/s   p50 {:>6} us   p99 {:>6} us", figures.per_s, figures.p50_us, figures.p99_us);
}

fn main() {
    let seconds: f64 = std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let folder = tempfile::tempdir().expect("temporary folder");
    let begun = Instant::now();
    let (journal, feed) = Journal::open(folder.path(), Options::new(&Default::default(), "bench")).expect("journal");
    let opened = begun.elapsed();
    let consumer = std::thread::spawn(move || feed.iter().count());
    let config = Mllp { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Mllp::default() };
    let (raw, durable, stop) = runtime.block_on(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let raw = socket.local_addr().expect("address");
        tokio::spawn(raw_server(socket));
        let bound = bind(&config).expect("bind");
        let (durable, stop) = (bound.local_addr, CancellationToken::new());
        tokio::spawn(bound.serve(journal.handle(), stop.clone()));
        (raw, durable, stop)
    });
    println!("frame {} bytes; {} s each; journal opened (64 MiB of zeros) in {} ms", frame().len(), seconds, opened.as_millis());
    let sync = |handle: &JournalHandle| {
        let stats = handle.stats();
        (stats.groups, stats.sync_total_us, stats.records)
    };
    let handle = journal.handle();
    for (connections, depth) in [(1, 1), (16, 1), (256, 1), (16, 64)] {
        println!("{connections} connections, {depth} at a time");
        let reply = load(raw, connections, depth, seconds);
        print("raw reply", &reply);
        let before = sync(&handle);
        let stored = load(durable, connections, depth, seconds);
        let after = sync(&handle);
        print("durable before the answer", &stored);
        let groups = (after.0 - before.0).max(1);
        println!(
            "  ratio {:.0} %; fdatasync {} us mean, {:.1} records a group",
            100.0 * stored.per_s / reply.per_s,
            after.1.saturating_sub(before.1) / groups,
            (after.2 - before.2) as f64 / groups as f64
        );
    }
    evidence(&runtime, seconds);
    stop.cancel();
    drop(runtime);
    journal.close();
    consumer.join().expect("consumer");
}

/// What chain and signing take of durable intake at 256 connections: the hashing of one record, by its rate; and the rate with
/// a checkpoint every second (sixty times as often as in service) by the rate without, in turns.
fn evidence(runtime: &tokio::runtime::Runtime, seconds: f64) {
    use sha2::{Digest as _, Sha256};
    println!("chain and signing");
    let (payload, mut head) = (frame(), [0_u8; 32]);
    let (began, rounds) = (Instant::now(), 200_000);
    for _ in 0..rounds {
        let mut hasher = Sha256::new();
        hasher.update(head);
        // Fixed header and where it came from.
        hasher.update([7_u8; 96]);
        hasher.update(Sha256::digest(std::hint::black_box(&payload)));
        head = hasher.finalize().into();
    }
    let chain_s = began.elapsed().as_secs_f64() / f64::from(rounds);
    std::hint::black_box(head);
    let folder = tempfile::tempdir().expect("temporary folder");
    let signer = Arc::new(vitalguard::shell::vault::Signer::open_or_create(&folder.path().join("evidence.pem")).expect("a key"));
    let mut rates = [0.0, 0.0];
    for round in 0..6 {
        let signed = round % 2 == 1;
        let options = Options {
            signer: signed.then(|| signer.clone()),
            checkpoint_every: Duration::from_secs(1),
            ..Options::new(&Default::default(), "bench")
        };
        let (journal, feed) = Journal::open(&folder.path().join(round.to_string()), options).expect("journal");
        let consumer = std::thread::spawn(move || feed.iter().count());
        let config = Mllp { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Mllp::default() };
        let (address, stop) = runtime.block_on(async {
            let bound = bind(&config).expect("bind");
            let (address, stop) = (bound.local_addr, CancellationToken::new());
            tokio::spawn(bound.serve(journal.handle(), stop.clone()));
            (address, stop)
        });
        rates[usize::from(signed)] += load(address, 256, 1, seconds).per_s / 3.0;
        stop.cancel();
        journal.close();
        consumer.join().expect("consumer");
    }
    println!(
        "  chain {:.2} us a record: {:.1} % of the time of one core at that rate",
        chain_s * 1e6,
        100.0 * chain_s * rates[0]
    );
    println!(
        "  not signed {:.0}/s, signed {:.0}/s: signing costs {:.1} %",
        rates[0],
        rates[1],
        100.0 - 100.0 * rates[1] / rates[0]
    );
}
