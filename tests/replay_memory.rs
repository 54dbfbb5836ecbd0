//! Replay reads recordings of any size in bounded memory. Alone in its process: the peak of the process is what is measured.

#[test]
fn a_log_of_any_size_is_read_in_little_memory() {
    // What is held is bound by one message, not by the file (over 100 MB): the peak of this process tells.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.log");
    let once = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recordings/engine_log.txt")).unwrap();
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    for _ in 0..4000 {
        std::io::Write::write_all(&mut out, &once).unwrap();
    }
    drop(out);
    let (status, size) = (peak_kib(), std::fs::metadata(&file).unwrap().len());
    use vitalguard::shell::replay::{input, merge::Merged};
    let inputs = input::gather(&[file]).unwrap();
    let mut merged = Merged::new(&inputs, jiff::tz::TimeZone::UTC, 1 << 20, Default::default(), Vec::new());
    let mut count = 0;
    while merged.next_due().is_some() {
        count += 1;
    }
    assert_eq!(count, 24 * 4000);
    if let (Some(before), Some(after)) = (status, peak_kib()) {
        assert!(after - before < 32 << 10, "{size} bytes read, peak memory grew by {} KiB", after - before);
    }
}

/// The largest resident size so far, KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}
