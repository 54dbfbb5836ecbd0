//! `vitalguard verify` against `sha256sum` over the same bytes, in one run on one machine: `cargo bench --bench vault` (`-- 100`
//! for 100 MB of messages instead of 400).
//!
//! A journal is written by the real one: messages of 12 OBX whose values change, sealed by zstd. What is verified (unpacked,
//! every checksum, every link of the chain, every checkpoint) is compared with `sha256sum` over the unpacked bytes, and over the
//! files as they lie. Each twice, the better one counts; from the page cache. Ratios count.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use vitalguard::observation::Source;
use vitalguard::shell::journal::{EncryptionKey, Journal, Options, Record};
use vitalguard::shell::vault::Signer;
use vitalguard::shell::vault::verify::{Options as Asked, verify};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 12 OBX, about 1.6 kB.
fn message(n: usize) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|{n}|P|2.6\rPID|||P{}^^^H^MR||DOE^JOHN\r\
         PV1||I|ICU^^BED{}\rOBR|1||1|VITALS|||20260101120000\r",
        n % 200,
        n % 200
    );
    for k in 1..=12 {
        let value = 60 + (n * 2_654_435_761 + k * 40_503) / 4_096 % 40;
        text += &format!(
            "OBX|{k}|NM|147842^MDC_ECG_HEART_RATE^MDC|1.{k}.1.147842|{value}|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||F|||20260101{:06}.000+0000\r",
            n % 240_000
        );
    }
    text.into_bytes()
}

/// Seconds, the better of two.
fn best(mut run: impl FnMut()) -> f64 {
    (0..2)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn sha256sum(files: &[std::path::PathBuf]) {
    let done = Command::new("sha256sum").args(files).stdout(Stdio::null()).status().expect("sha256sum");
    assert!(done.success());
}

fn main() {
    let wanted: usize = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(400);
    for encryption in [None, Some(Arc::new(EncryptionKey::new([7; 32])))] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let signer = Arc::new(Signer::open_or_create(&folder.path().join("evidence.pem")).expect("a key"));
        let journal_folder = folder.path().join("journal");
        let encrypted = encryption.is_some();
        let options = Options { signer: Some(signer), encryption, ..Options::new(&Default::default(), "bench") };
        let (journal, feed) = Journal::open(&journal_folder, options).expect("journal");
        let consumer = std::thread::spawn(move || feed.iter().count());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let source =
            Source { feed: "icu".into(), peer: "10.0.0.7".into(), connection: 3, ward: "icu".into(), ..Source::default() };
        let mut n = 0;
        while n * message(0).len() < wanted << 20 {
            let records = (n..n + 500).map(|n| Record::Frame { source: source.clone(), payload: message(n) }).collect();
            runtime.block_on(journal.handle().submit_many(records)).expect("stored");
            n += 500;
        }
        journal.close();
        consumer.join().expect("consumer");
        let files: Vec<_> = std::fs::read_dir(&journal_folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().contains(".vgj"))
            .collect();
        let plain = folder.path().join("plain");
        let mut out = std::fs::File::create(&plain).expect("a file");
        let mut lying = 0;
        for file in &files {
            let bytes = std::fs::read(file).expect("a segment");
            lying += bytes.len() as u64;
            let packed = file.extension().is_some_and(|e| e == "zst");
            let bytes = if packed { zstd::decode_all(bytes.as_slice()).expect("zstd") } else { bytes };
            out.write_all(&bytes).expect("written");
        }
        drop(out);
        let bytes = std::fs::metadata(&plain).expect("a file").len();
        let mb = |bytes: u64, seconds: f64| bytes as f64 / seconds / 1e6;
        println!("{n} records, {} segments, {bytes} bytes unpacked, {lying} as they lie, encrypted: {encrypted}", files.len());
        let ours = best(|| {
            let report = verify(&journal_folder, &Asked::default()).expect("a report");
            assert!(report.is_proven() && report.records == n as u64, "{report:#?}");
        });
        let theirs = best(|| sha256sum(std::slice::from_ref(&plain)));
        let as_they_lie = best(|| sha256sum(&files));
        println!("  verify                     {:>7.0} MB/s of unpacked bytes", mb(bytes, ours));
        println!("  sha256sum, unpacked bytes  {:>7.0} MB/s: ratio {:.2}", mb(bytes, theirs), theirs / ours);
        println!(
            "  sha256sum, files           {:>7.0} MB/s of packed bytes: ratio of the times {:.2}",
            mb(lying, as_they_lie),
            as_they_lie / ours
        );
    }
}
