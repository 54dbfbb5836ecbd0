//! A capture against tshark, in one run on one machine: `cargo bench --bench capture` (`-- 200` for 200 MB instead of 1000).
//!
//! The capture is written to a temporary file: gateways with messages of 12 OBX, each acknowledged, on 64 connections, with
//! VLAN tags, copies, changed order and losses, and a quarter of other traffic. Three readers of the same file, each from the
//! page cache: `tshark -r FILE -q`, our reader alone (packets, streams, messages, indicators), and `vitalguard replay`, which
//! also judges every message. Ratios count; absolute numbers belong to the machine. Peak memory is that of the whole process.

use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vitalguard::capture::{Event, Options, Reader};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "../tests/support/capture.rs"]
mod build;
use build::{Packet, Talk, Under, framed};

/// 12 OBX, about 1.6 kB.
fn message(id: usize, bed: usize, at_us: u64) -> Vec<u8> {
    let second = at_us / 1_000_000 % 86_400;
    let t = format!("20260101{:02}{:02}{:02}+0000", second / 3600, second / 60 % 60, second % 60);
    let mut text = format!(
        "MSH|^~\\&|MON|ICU|VG|H|{t}||ORU^R01^ORU_R01|{id}|P|2.6\rPID|||INVENTED-{bed}^^^H^MR||Sample^Ada\r\
         PV1||I|ICU^^B{bed}\rOBR|1||1|VITALS|||{t}\r"
    );
    let codes =
        ["147842^MDC_ECG_HEART_RATE", "150456^MDC_PULS_OXIM_SAT_O2", "151562^MDC_RESP_RATE", "149530^MDC_PULS_OXIM_PULS_RATE"];
    let units =
        ["264864^MDC_DIM_BEAT_PER_MIN", "262688^MDC_DIM_PERCENT", "264928^MDC_DIM_RESP_PER_MIN", "264864^MDC_DIM_BEAT_PER_MIN"];
    for n in 0..12 {
        let value = [70 + id % 5, 95 + id % 3, 14 + id % 3, 70 + id % 5][n % 4];
        text += &format!(
            "OBX|{}|NM|{}^MDC|1.{}.1.1|{value}|{}^MDC|50-120||||F|||{t}\r",
            n + 1,
            codes[n % 4],
            n / 4 + 1,
            units[n % 4]
        );
    }
    text.into_bytes()
}

/// Writes a capture of at least so many bytes; how many messages are in it.
fn write(path: &Path, bytes: u64) -> std::io::Result<usize> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    out.write_all(&build::pcap(1, &[]))?;
    let at_us = 1_767_268_800_000_000;
    let mut talks: Vec<Talk> = (0..64)
        .map(|n| {
            let mut talk = Talk::new(&format!("10.0.{n}.7:{}", 40_000 + n), &format!("10.1.0.{}:2575", n % 4), at_us + n);
            talk.under = if n % 2 == 0 { Under::Ethernet } else { Under::Vlan(12) };
            talk.open();
            talk
        })
        .collect();
    let mut other = Talk::new("10.9.0.1:50000", "10.9.0.2:443", at_us);
    other.open();
    let noise: Vec<u8> = (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut written, mut messages) = (0, 0);
    while written < bytes {
        let mut round: Vec<Packet> = Vec::new();
        for (bed, talk) in talks.iter_mut().enumerate() {
            messages += 1;
            let began = talk.at_us;
            talk.say(0, &framed(&message(messages, bed, began)));
            talk.say(1, &framed(&build::acknowledgement(&messages.to_string())));
            talk.at_us = began + 1_000_000;
            let mut packets = std::mem::take(&mut talk.packets);
            match messages % 1000 {
                // Lost, sent twice, out of order.
                1 => drop(packets.remove(0)),
                2 => packets.insert(1, packets[0].clone()),
                3 => packets.swap(0, 1),
                _ => {}
            }
            round.extend(packets);
        }
        other.at_us = talks[0].at_us;
        other.say(1, &noise);
        round.append(&mut other.packets);
        let block = &build::pcap(1, &round)[24..];
        out.write_all(block)?;
        written += block.len() as u64;
    }
    out.flush()?;
    Ok(messages)
}

/// Peak resident memory of the processes waited for, or of this one, MB.
fn peak_mb(children: bool) -> f64 {
    // `VmHWM` of /proc is this process's own; a child tells it through its own status before it ends, so it is watched.
    if children {
        return 0.0;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Runs a program to its end: how long, and its peak memory, MB.
fn timed(command: &mut Command) -> Option<(Duration, f64)> {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0.0f64;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
            peak_kb = peak_kb.max(line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0.0));
        }
        if let Ok(Some(code)) = child.try_wait() {
            return code.success().then(|| (began.elapsed(), peak_kb / 1024.0));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() -> std::io::Result<()> {
    let megabytes = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(1000);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench.pcap");
    let messages = write(&path, megabytes * 1_000_000)?;
    let bytes = std::fs::metadata(&path)?.len() as f64;
    println!("{:.0} MB, {messages} messages; writing the capture took this process to {:.0} MB", bytes / 1e6, peak_mb(false));
    // Everything reads from the page cache.
    let mut buffer = vec![0u8; 256 << 10];
    let mut file = std::fs::File::open(&path)?;
    while file.read(&mut buffer)? > 0 {}

    let began = Instant::now();
    let mut file = std::fs::File::open(&path)?;
    let mut reader = Reader::new(Options::default());
    let mut frames = 0;
    let mut held = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            reader.finish();
        }
        reader.push(&buffer[..read]);
        while let Some(event) = reader.poll() {
            frames += usize::from(matches!(event, Event::Frame { .. }));
        }
        held = held.max(reader.tap().held().1);
        if read == 0 {
            break;
        }
    }
    let alone = began.elapsed();
    let counts = reader.counts();
    let rate = |took: Duration| bytes / 1e6 / took.as_secs_f64();
    println!(
        "reader alone: {:.2} s, {:.0} MB/s, {} packets ({:.2} M/s), {frames} messages, {} gaps; connections held {:.1} MB, process {:.0} MB",
        alone.as_secs_f64(),
        rate(alone),
        counts.packets,
        counts.packets as f64 / alone.as_secs_f64() / 1e6,
        counts.gaps,
        held as f64 / 1e6,
        peak_mb(false)
    );
    assert!(frames + messages / 100 > messages, "{frames} of {messages}");

    let mut replay = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    replay.arg("replay").arg(&path).args(["--alerts", "/dev/null", "--quiet"]);
    let judged = timed(&mut replay);
    if let Some((took, peak)) = judged {
        println!("vitalguard replay: {:.2} s, {:.0} MB/s, peak {peak:.0} MB", took.as_secs_f64(), rate(took));
    }
    match timed(Command::new("tshark").arg("-r").arg(&path).arg("-q")) {
        Some((took, peak)) => {
            println!("tshark -r FILE -q: {:.2} s, {:.0} MB/s, peak {peak:.0} MB", took.as_secs_f64(), rate(took));
            println!("reader alone is {:.1} times as fast as tshark", took.as_secs_f64() / alone.as_secs_f64());
            if let Some((judged, _)) = judged {
                let ratio = took.as_secs_f64() / judged.as_secs_f64();
                println!("replay with judging is {ratio:.1} times as fast as tshark (the bar is 0.5)");
                assert!(ratio >= 0.5, "slower than the bar");
            }
        }
        None => println!("tshark is not installed: there is no ratio in this run"),
    }
    Ok(())
}
