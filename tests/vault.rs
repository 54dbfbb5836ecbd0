//! The journal as evidence: what was signed is found again, and whatever was changed since is named.

mod common;
#[path = "common/still.rs"]
mod still;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use still::{copy, ending, files};
use vitalguard::observation::Source;
use vitalguard::shell::journal::{
    self, EncryptionKey, Feed, Journal, JournalError, Options, Reader, Record, hold, write_snapshot,
};
use vitalguard::shell::vault::verify::{Kept, Options as Asked, Report, verify};
use vitalguard::shell::vault::{CHECKPOINTS, Signer, Verifier, checkpoint_after, checkpoint_now, checkpoints, links};

fn frame(n: usize, bytes: usize) -> Record {
    let source = Source { feed: "icu".into(), peer: "10.0.0.7".into(), connection: 3, ward: "icu".into(), ..Source::default() };
    let mut payload = format!("MSH|^~\\&|MON|{n}|\rPID|||INVENTED-{n}|").into_bytes();
    payload.resize(payload.len().max(bytes), b'x');
    Record::Frame { source, payload }
}

fn signer(folder: &Path) -> Arc<Signer> {
    Arc::new(Signer::open_or_create(&folder.join("evidence.pem")).unwrap())
}

/// Keys stand beside the journal's folder, as in a data folder.
struct Site {
    folder: tempfile::TempDir,
    signer: Arc<Signer>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(folder.path());
        Site { folder, signer }
    }
    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }
    fn options(&self, boot: &str) -> Options {
        let config = vitalguard::config::Journal { segment_bytes: 4 << 10, ..Default::default() };
        Options {
            signer: Some(Arc::clone(&self.signer)),
            origin: "vitalguard/test".into(),
            checkpoint_every: Duration::from_secs(3_600),
            ..Options::new(&config, boot)
        }
    }
    fn open(&self, options: Options) -> (Journal, std::thread::JoinHandle<Vec<Feed>>) {
        let (journal, feed) = Journal::open(&self.journal(), options).unwrap();
        (journal, std::thread::spawn(move || feed.iter().collect()))
    }
    /// So many records in one run, a checkpoint on demand after each fifth.
    fn run(&self, options: Options, records: usize) {
        let (journal, feeds) = self.open(options);
        for n in 0..records {
            journal.handle().submit_blocking(frame(n, 300)).unwrap();
            if n % 5 == 4 {
                journal.handle().checkpoint().unwrap();
            }
        }
        journal.close();
        feeds.join().unwrap();
    }
    fn keys(&self) -> Asked {
        Asked { keys: Verifier::from_pem(&self.signer.public_pem()), ..Asked::default() }
    }
    fn verify(&self) -> Report {
        verify(&self.journal(), &self.keys()).unwrap()
    }
    /// What is said of a folder that was changed.
    fn faults(&self) -> String {
        let report = self.verify();
        assert!(!report.is_proven(), "{report:#?}");
        report.faults.iter().map(|f| format!("{f}\n")).collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn notes(site: &Site) -> Vec<String> {
    checkpoints(&site.journal()).unwrap().iter().map(|c| c.note()).collect()
}

fn write_notes(site: &Site, notes: &[String]) {
    std::fs::write(site.journal().join(CHECKPOINTS), notes.join("\n")).unwrap();
}

#[test]
fn what_was_written_is_proven_also_while_the_service_runs() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    site.run(site.options("run-2"), 12);
    let report = site.verify();
    assert!(report.is_proven(), "{report:#?}");
    assert_eq!((report.range, report.records, report.signed_until, report.unsigned_records), (Some((1, 24)), 24, 24, 0));
    assert_eq!(report.keys.keys().collect::<Vec<_>>(), [&site.signer.key_id()]);
    assert!(report.segments > 2 && report.footers_unsigned == report.segments && report.strangers.is_empty(), "{report:#?}");
    let (journal, _feeds) = site.open(site.options("run-3"));
    for n in 0..7 {
        journal.handle().submit_blocking(frame(n, 300)).unwrap();
    }
    let report = site.verify();
    assert!(report.is_proven(), "{report:#?}");
    assert_eq!(report.records, 31);
    let now = journal.handle().checkpoint().unwrap();
    assert_eq!((now.size, hex(&now.head)), (31, site.verify().head));
    assert_eq!(journal.handle().checkpoint().unwrap(), now, "nothing new to sign");
    journal.close();
    let last = checkpoints(&site.journal()).unwrap().pop().unwrap();
    assert_eq!((last.size, last.why.as_str(), last.boot.as_str()), (31, "stop", "run-3"));
    assert_eq!(checkpoint_after(&site.journal(), 31).unwrap().map(|c| c.size), Some(31));
    assert_eq!(checkpoint_now(&site.journal(), "vitalguard/test", "tool", &site.signer).unwrap(), last);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_head_is_signed_now_and_then_while_records_come() {
    let site = Site::new();
    let options = Options { checkpoint_every: Duration::from_millis(50), ..site.options("run-1") };
    let (journal, _feeds) = site.open(options);
    let begun = std::time::Instant::now();
    while checkpoints(&site.journal()).unwrap_or_default().iter().filter(|c| c.why == "minute").count() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        journal.handle().submit_blocking(frame(1, 10)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = checkpoints(&site.journal()).unwrap().len();
    std::thread::sleep(Duration::from_millis(200));
    assert!(checkpoints(&site.journal()).unwrap().len() <= after + 1, "nothing came, nothing is signed");
    journal.close();
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_stop_the_intake() {
    let site = Site::new();
    std::fs::create_dir_all(site.journal().join(CHECKPOINTS)).unwrap();
    let (journal, feeds) = site.open(site.options("run-1"));
    for n in 0..30 {
        assert_eq!(journal.handle().submit_blocking(frame(n, 300)), Ok(n as u64 + 1));
    }
    assert!(journal.handle().checkpoint().is_err());
    std::fs::remove_dir(site.journal().join(CHECKPOINTS)).unwrap();
    assert_eq!(journal.handle().checkpoint().unwrap().size, 30, "it is tried again");
    journal.close();
    feeds.join().unwrap();
    assert!(site.verify().is_proven());
}

/// Every file, every seventh byte and the first and last of each; of checkpoints and small files every byte.
fn flip_everything(site: &Site, asked: &Asked) {
    let report = verify(&site.journal(), asked).unwrap();
    assert!(report.is_proven(), "{report:#?}");
    let mut checked = 0;
    for path in files(&site.journal()) {
        let good = std::fs::read(&path).unwrap();
        let step = if good.len() > 2_000 { 7 } else { 1 };
        for at in (0..good.len()).filter(|at| at % step == 0 || at + 40 > good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, bad).unwrap();
            let report = verify(&site.journal(), asked).unwrap();
            assert!(report.faults.iter().any(|f| f.file == name(&path)), "byte {at} of {path:?}: {report:#?}");
            checked += 1;
        }
        std::fs::write(&path, good).unwrap();
    }
    assert!(checked > 2_000, "{checked}");
}

fn fill(site: &Site, options: &dyn Fn(&str) -> Options, encryption: Option<&EncryptionKey>) {
    site.run(options("run-1"), 14);
    hold(&site.journal(), "case-1", 10, 12).unwrap();
    std::fs::write(site.journal().join("quarantine"), "").unwrap();
    vitalguard::shell::quarantine::Quarantine::read(&site.journal()).unwrap().add(7).unwrap();
    write_snapshot(&site.journal(), 9, b"the core's state", encryption).unwrap();
    // A crash in the middle of a write: its end is cut at the next start and kept.
    let (journal, _feeds) = site.open(options("run-1b"));
    journal.handle().submit_blocking(frame(20, 300)).unwrap();
    journal.handle().checkpoint().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(&site.journal(), crashed.path());
    journal.close();
    std::fs::remove_dir_all(site.journal()).unwrap();
    copy(crashed.path(), &site.journal());
    for path in ending(&site.journal(), ".tmp") {
        std::fs::remove_file(path).unwrap();
    }
    let last = ending(&site.journal(), ".vgj").pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 2;
    bytes[used..used + 20].copy_from_slice(b"the rest of a write.");
    std::fs::write(&last, bytes).unwrap();
}

#[test]
fn one_flipped_byte_anywhere_is_found_and_named() {
    let site = Site::new();
    fill(&site, &|boot| site.options(boot), None);
    let (journal, _feeds) = site.open(Options { retain_days: 1e9, ..site.options("run-2") });
    journal.close();
    flip_everything(&site, &site.keys());
}

#[test]
fn one_flipped_byte_of_an_encrypted_journal_is_found_and_named() {
    let site = Site::new();
    let key = Arc::new(EncryptionKey::new([9; 32]));
    let options = |boot: &str| Options { encryption: Some(Arc::clone(&key)), ..site.options(boot) };
    fill(&site, &options, Some(&key));
    let (journal, _feeds) = site.open(options("run-2"));
    journal.close();
    flip_everything(&site, &site.keys());
}

#[test]
fn what_a_crash_left_beside_a_sealed_segment_goes_at_the_next_start() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    let sealed = ending(&site.journal(), ".zst").remove(0);
    let twin = sealed.with_extension("");
    std::fs::write(&twin, zstd::decode_all(std::fs::read(&sealed).unwrap().as_slice()).unwrap()).unwrap();
    let report = site.verify();
    assert!(report.is_proven() && report.strangers == [name(&twin)], "{report:#?}");
    site.run(site.options("run-2"), 1);
    assert!(!twin.exists() && site.verify().is_proven());
}

#[test]
fn cut_missing_and_exchanged_segments_are_named() {
    let site = Site::new();
    site.run(site.options("run-1"), 40);
    let sealed = ending(&site.journal(), ".zst");
    assert!(sealed.len() > 3);
    let change = |change: &dyn Fn(&Site)| -> String {
        let other = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
        copy(&site.journal(), &other.journal());
        assert!(other.verify().is_proven());
        change(&other);
        other.faults()
    };
    let at = |site: &Site, n: usize| ending(&site.journal(), ".zst")[n].clone();
    for cut in [1, 30, 400] {
        let told = change(&|site| {
            let path = at(site, 1);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        });
        assert!(told.contains(&name(&sealed[1])), "{told}");
    }
    let told = change(&|site| std::fs::remove_file(at(site, 0)).unwrap());
    assert!(told.contains("offset 0, record 1: segments before record") && told.contains("are missing"), "{told}");
    let told = change(&|site| std::fs::remove_file(at(site, 1)).unwrap());
    assert!(told.contains("missing"), "{told}");
    let told = change(&|site| std::fs::remove_file(ending(&site.journal(), ".vgj").pop().unwrap()).unwrap());
    assert!(told.contains("the journal ends here; record 40 was signed"), "{told}");
    let told = change(&|site| {
        let last = ending(&site.journal(), ".vgj").pop().unwrap();
        let entries: Vec<_> = Reader::open(&site.journal(), 0).unwrap().map(|e| e.unwrap()).collect();
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..entries[39].offset as usize]).unwrap();
    });
    assert!(told.contains("record 40: the journal ends here; record 40 was signed"), "{told}");
    let told = change(&|site| {
        let (a, b, c) = (at(site, 1), at(site, 2), site.folder.path().join("c"));
        std::fs::rename(&a, &c).unwrap();
        std::fs::rename(&b, &a).unwrap();
        std::fs::rename(&c, &b).unwrap();
    });
    assert!(told.contains("the header belongs to another file name"), "{told}");
    // Another segment of the same numbers, whole in itself.
    let told = change(&|site| {
        let other = Site::new();
        other.run(other.options("run-9"), 40);
        std::fs::copy(at(&other, 1), at(site, 1)).unwrap();
    });
    assert!(told.contains("does not continue the chain") && told.contains("is not the record whose hash was signed"), "{told}");
}

#[test]
fn a_tail_that_was_written_again_is_named() {
    let site = Site::new();
    site.run(site.options("run-1"), 30);
    // Cut back to record 20, without the key written again, longer than before; also by somebody with a key of his own.
    let third = ending(&site.journal(), ".zst");
    let kept = third.iter().filter(|p| name(p)[..20].parse::<u64>().unwrap() <= 15).count();
    for path in third[kept..].iter().chain(&ending(&site.journal(), ".vgj")) {
        std::fs::remove_file(path).unwrap();
    }
    let other = Site::new();
    for signer in [None, Some(Arc::clone(&other.signer))] {
        let forged = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
        copy(&site.journal(), &forged.journal());
        let (journal, feeds) = forged.open(Options { signer: signer.clone(), ..forged.options("run-x") });
        for n in 0..60 {
            journal.handle().submit_blocking(frame(1_000 + n, 200)).unwrap();
        }
        journal.close();
        feeds.join().unwrap();
        let told = forged.faults();
        assert!(told.contains("is not the record whose hash was signed"), "{told}");
        assert_eq!(told.contains("is not among the keys that are believed"), signer.is_some(), "{told}");
    }
}

#[test]
fn checkpoints_that_were_removed_are_missed() {
    let site = Site::new();
    site.run(site.options("run-1"), 30);
    let all = notes(&site);
    assert!(all.len() > 5);
    let without = |range: std::ops::Range<usize>| {
        let mut kept = all.clone();
        kept.drain(range);
        write_notes(&site, &kept);
        site.faults()
    };
    assert!(without(0..all.len()).contains("there is no checkpoint"));
    assert!(without(0..2).contains("those before it were removed"), "the first ones");
    assert!(without(2..3).contains("some were removed or exchanged"), "one in between");
    assert!(without(1..all.len()).contains("later ones were removed"), "all but that of the first start");
    assert!(without(all.len() - 2..all.len()).contains("later ones were removed"), "the last ones");
    let mut changed = all.clone();
    changed.swap(2, 3);
    write_notes(&site, &changed);
    assert!(site.faults().contains("some were removed or exchanged"));
    std::fs::remove_file(site.journal().join(CHECKPOINTS)).unwrap();
    assert!(site.faults().contains("there is no checkpoint"));
    assert!(verify(&site.journal(), &Asked { unsigned: true, ..site.keys() }).unwrap().is_proven());
    write_notes(&site, &all);
    assert!(site.verify().is_proven());
}

#[test]
fn minutes_without_a_checkpoint_are_missed() {
    let site = Site::new();
    let wall = Arc::new(std::sync::atomic::AtomicI64::new(1_767_225_600_000));
    let clock = Arc::clone(&wall);
    let clock: journal::Clock =
        Arc::new(move || journal::Now { wall_ms: clock.fetch_add(20_000, std::sync::atomic::Ordering::SeqCst), mono_ns: 0 });
    let config = vitalguard::config::Journal { segment_bytes: 1 << 20, ..Default::default() };
    let options = Options { clock, segment_bytes: config.segment_bytes, ..site.options("run-1") };
    let (journal, _feeds) = site.open(options);
    for n in 0..60 {
        journal.handle().submit_blocking(frame(n, 30)).unwrap();
        if n % 10 == 0 {
            journal.handle().checkpoint().unwrap();
        }
    }
    let crashed = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
    copy(&site.journal(), &crashed.journal());
    journal.close();
    assert!(crashed.verify().is_proven(), "{:#?}", crashed.verify());
    assert_eq!(crashed.verify().unsigned_records, 9);
    let all = notes(&crashed);
    write_notes(&crashed, &all[..all.len() - 2]);
    assert!(crashed.faults().contains("are behind the last checkpoint"));
}

#[test]
fn a_folder_that_was_set_back_is_told_by_a_head_that_was_kept() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    let old = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
    copy(&site.journal(), &old.journal());
    site.run(site.options("run-2"), 12);
    let last = checkpoints(&site.journal()).unwrap().pop().unwrap();
    assert!(old.verify().is_proven(), "it fits itself");
    let ask = |site: &Site, kept: Kept| verify(&site.journal(), &Asked { kept: vec![kept], ..site.keys() }).unwrap();
    for kept in [Kept::Head(24, last.head[..8].to_vec()), Kept::Checkpoint(Box::new(last.clone()))] {
        assert!(ask(&site, kept.clone()).is_proven());
        let told = format!("{:?}", ask(&old, kept).faults);
        assert!(told.contains("record 24 was signed"), "{told}");
    }
    assert!(!ask(&site, Kept::Head(24, vec![0; 8])).is_proven());
    // With its newer checkpoints, or a newer snapshot, it does not even fit itself.
    let back = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
    copy(&old.journal(), &back.journal());
    write_snapshot(&back.journal(), 24, b"state", None).unwrap();
    assert!(back.faults().contains("holds the state after record 24; the journal ends at record 12"));
    copy(&old.journal(), &back.journal());
    std::fs::remove_file(ending(&back.journal(), ".bin").pop().unwrap()).unwrap();
    std::fs::copy(site.journal().join(CHECKPOINTS), back.journal().join(CHECKPOINTS)).unwrap();
    assert!(back.faults().contains("record 24 was signed"));
    // A service that goes on from there says so for ever.
    back.run(back.options("run-3"), 20);
    assert!(back.faults().contains("goes back to record"), "{}", back.faults());
}

#[test]
fn each_kind_of_key_has_its_own_complaint() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    let other = Site::new();
    let told = |keys: Verifier| {
        let report = verify(&site.journal(), &Asked { keys: Some(keys), ..Asked::default() }).unwrap();
        report.faults.iter().map(|f| format!("{f}\n")).collect::<String>()
    };
    assert!(told(Verifier::default()).contains("is not among the keys that are believed (none)"));
    let missing = told(Verifier::from_pem(&other.signer.public_pem()).unwrap());
    assert!(missing.contains(&format!("is not among the keys that are believed ({})", other.signer.key_id())), "{missing}");
    let key = Verifier::from_pem(&site.signer.public_pem()).unwrap().keys()[0].clone();
    let at = |ms| Some(vitalguard::time::Timestamp::from_ms(ms));
    let mut old = key.clone();
    old.until = at(1_000_000);
    assert!(told(Verifier::new(vec![old.clone()])).contains("was valid until 1970-01-01T00:16:40.000Z, and signed 20"));
    let mut young = key.clone();
    young.from = at(i64::MAX / 4);
    assert!(told(Verifier::new(vec![young])).contains("is not valid before"));
    assert_eq!(told(Verifier::new(vec![old, key])), "", "one of its times fits");
    // The right key and a changed statement.
    let text = std::fs::read_to_string(site.journal().join(CHECKPOINTS)).unwrap();
    std::fs::write(site.journal().join(CHECKPOINTS), text.replace("boot run-1", "boot run-2")).unwrap();
    assert!(site.faults().contains("the signature is not that of key"));
}

#[test]
fn retention_keeps_what_is_held_and_stays_proven() {
    let site = Site::new();
    site.run(site.options("run-1"), 60);
    hold(&site.journal(), "case-1", 10, 12).unwrap();
    write_snapshot(&site.journal(), 50, b"state", None).unwrap();
    site.run(Options { retain_bytes: 0, ..site.options("run-2") }, 1);
    let report = site.verify();
    assert!(report.is_proven(), "{report:#?}");
    assert!(!report.gaps.is_empty() && report.range.unwrap().0 > 1 && report.range.unwrap().0 <= 10, "{report:#?}");
    assert!(report.checkpoints_past > 0 && report.records < 50, "{report:#?}");
    let held: Vec<u64> = links(&site.journal(), 10, 12).unwrap().map(|l| l.unwrap().sequence).collect();
    assert_eq!(held, [10, 11, 12]);
    let last = checkpoints(&site.journal()).unwrap().pop().unwrap();
    assert_eq!(last.oldest, report.range.unwrap().0, "what went is signed");
    journal::release(&site.journal(), "case-1").unwrap();
    site.run(Options { retain_bytes: 0, ..site.options("run-3") }, 1);
    let report = site.verify();
    assert!(report.is_proven() && report.gaps.is_empty() && report.range.unwrap().0 > 12, "{report:#?}");
}

#[test]
fn numbers_and_files_as_large_as_they_get_are_faults_and_nothing_worse() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    let whole = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
    copy(&site.journal(), &whole.journal());
    let max = u64::MAX.to_string();
    let last = checkpoints(&site.journal()).unwrap().pop().unwrap();
    let note = last.note();
    for (from, to) in [
        (format!("\n{}\n", last.size), format!("\n{max}\n")),
        (format!("\noldest {}\n", last.oldest), format!("\noldest {max}\n")),
        (format!("\nnumber {}\n", last.number), format!("\nnumber {max}\n")),
    ] {
        let mut list = notes(&site);
        let wrong = note.replacen(&from, &to, 1);
        assert_ne!(wrong, note);
        // Alone, and followed by what was signed.
        *list.last_mut().unwrap() = wrong;
        list.push(note.clone());
        for length in [list.len() - 1, list.len()] {
            write_notes(&site, &list[..length]);
            assert!(!site.faults().is_empty());
            let (code, told) = vitalguard(&[
                "verify",
                &site.journal().display().to_string(),
                "--head",
                &format!("{max}:sha256:0011223344556677"),
            ]);
            assert_eq!(code, 1, "{told}");
        }
    }
    let segment = files(&whole.journal()).into_iter().find(|path| name(path).contains(".vgj")).unwrap();
    let ending = name(&segment).split_once('.').unwrap().1.to_owned();
    for number in [0, u64::MAX] {
        let site = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::clone(&site.signer) };
        copy(&whole.journal(), &site.journal());
        std::fs::copy(&segment, site.journal().join(format!("{number:020}.{ending}"))).unwrap();
        assert!(site.faults().contains("the header belongs to another file name"));
    }
    // Without blocks on the disk, and not read into memory.
    for big in ["hold-case-1", "quarantine", "key-0011223344556677.pem"] {
        std::fs::File::create(whole.journal().join(big)).unwrap().set_len(1 << 40).unwrap();
    }
    let faults = whole.faults();
    for told in ["this hold is damaged", "records that are not judged is damaged", "not the public key that its name says"] {
        assert!(faults.contains(told), "{faults}");
    }
}

#[test]
fn links_prove_themselves_up_to_a_checkpoint() {
    use sha2::{Digest, Sha256};
    let key = Arc::new(EncryptionKey::new([5; 32]));
    for encryption in [None, Some(key)] {
        let site = Site::new();
        site.run(Options { encryption, ..site.options("run-1") }, 20);
        let end = checkpoint_after(&site.journal(), 13).unwrap().unwrap();
        let list: Vec<_> = links(&site.journal(), 8, end.size).unwrap().map(|l| l.unwrap()).collect();
        assert_eq!((list[0].sequence, list.last().unwrap().sequence), (8, end.size));
        for pair in list.windows(2) {
            let mut hasher = Sha256::new();
            hasher.update(pair[0].hash);
            hasher.update(&pair[1].header);
            hasher.update(pair[1].payload_sha256);
            assert_eq!(hasher.finalize()[..], pair[1].hash);
            assert_eq!(Sha256::digest(pair[1].payload.as_ref().unwrap())[..], pair[1].payload_sha256);
        }
        assert_eq!(list.last().unwrap().hash, end.head);
    }
}

fn vitalguard(arguments: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap_or(-1), text)
}

#[test]
fn an_encrypted_journal_says_nothing_without_its_key_and_proves_what_it_can() {
    let site = Site::new();
    let bytes = [0xA5; 32];
    let key = Arc::new(EncryptionKey::new(bytes));
    let (good, wrong) = (site.folder.path().join("good.key"), site.folder.path().join("wrong.key"));
    std::fs::write(&good, hex(&bytes)).unwrap();
    std::fs::write(&wrong, hex(&[1; 32])).unwrap();
    site.run(Options { encryption: Some(Arc::clone(&key)), ..site.options("run-1") }, 20);
    write_snapshot(&site.journal(), 20, b"PID INVENTED-7 state", Some(&key)).unwrap();
    for path in files(&site.journal()) {
        let raw = std::fs::read(&path).unwrap();
        let unpacked = if name(&path).ends_with(".zst") { zstd::decode_all(raw.as_slice()).unwrap() } else { raw };
        assert!(!unpacked.windows(8).any(|w| w == b"INVENTED"), "{path:?}");
    }
    // This process knows the key: it has written with it. Others do not.
    let (folder, public) = (site.journal().display().to_string(), site.folder.path().join("pub.pem"));
    std::fs::write(&public, site.signer.public_pem()).unwrap();
    let public = public.display().to_string();
    let (code, told) = vitalguard(&["verify", &folder, "--key", &public]);
    let locked = format!("21 payloads are encrypted with key {}, which was not given", key.id());
    assert!(code == 0 && told.contains(&locked), "{code} {told}");
    let (code, told) = vitalguard(&["verify", &folder, "--key", &public, "--encryption-key", &wrong.display().to_string()]);
    assert!(code == 0 && told.contains(&locked), "a key that is another one opens nothing: {code} {told}");
    let (code, told) = vitalguard(&["verify", &folder, "--key", &public, "--encryption-key", &good.display().to_string()]);
    assert!(code == 0 && told.contains("proven") && !told.contains("locked"), "{code} {told}");
    let data = site.folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    copy(&site.journal(), &data.join("journal"));
    std::fs::write(data.join("site.key"), "0123456789abcdef0123456789abcdef").unwrap();
    let (code, told) = vitalguard(&["devices", "--data", &data.display().to_string()]);
    assert!(
        code == 1 && told.contains(&format!("is encrypted with key {}, which is not known here (known: none)", key.id())),
        "{told}"
    );
    // Sealed bytes that somebody changed, checksum and all: the chain is over the plain digest and does not see it, the key does.
    let last = ending(&site.journal(), ".vgj").pop().unwrap();
    let mut raw = std::fs::read(&last).unwrap();
    let entry = Reader::open(&site.journal(), 20).unwrap().next().unwrap().unwrap();
    let (start, at) = (entry.offset as usize, entry.offset as usize + 8 + entry.header.len() + 60);
    raw[at] ^= 1;
    let length = u32::from_le_bytes(raw[start..start + 4].try_into().unwrap()) as usize;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(length as u32).to_le_bytes());
    crc.update(&raw[start + 8..start + 8 + length]);
    raw[start + 4..start + 8].copy_from_slice(&crc.finalize().to_le_bytes());
    std::fs::write(&last, raw).unwrap();
    assert!(site.faults().contains("record 20: the content does not open with its key"), "{}", site.faults());
    assert!(matches!(Reader::open(&site.journal(), 20).unwrap().next(), Some(Err(JournalError::Damaged(_)))));
}

#[test]
fn the_command_says_what_it_found_and_by_its_exit_code() {
    let site = Site::new();
    site.run(site.options("run-1"), 12);
    let folder = site.folder.path().display().to_string();
    let (code, told) = vitalguard(&["verify", &folder]);
    assert!(code == 0 && told.contains("records       1 to 12 (12 in ") && told.contains("from the folder itself"), "{told}");
    let (code, told) = vitalguard(&["verify", &folder, "--json"]);
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &value["proven"], &value["records"]), (0, &true.into(), &12.into()), "{told}");
    let head = format!("12:sha256:{}", &value["head"].as_str().unwrap()[..16]);
    assert_eq!(vitalguard(&["verify", &folder, "--head", &head]).0, 0);
    let (code, told) = vitalguard(&["verify", &folder, "--head", "13:sha256:0011223344556677"]);
    assert!(code == 1 && told.contains("NOT PROVEN") && told.contains("record 13 was signed"), "{told}");
    for usage in
        [vec!["/nowhere"], vec![&folder, "--key", "/nowhere.pem"], vec![&folder, "--head", "x"], vec![&folder, "--head", "1:zz"]]
    {
        let (code, told) = vitalguard(&[&["verify"], usage.as_slice()].concat());
        assert_eq!(code, 2, "{usage:?} {told}");
    }
}

/// A key that OpenSSL makes signs, and OpenSSL finds our signatures good.
#[cfg(feature = "peers")]
#[test]
fn openssl_makes_our_keys_and_verifies_our_signatures() {
    let openssl = |arguments: &[&str]| {
        let out = Command::new("openssl").args(arguments).output().expect("openssl");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (done, told) = openssl(&["genpkey", "-algorithm", "ed25519", "-out", &path("theirs.pem")]);
    assert!(done, "{told}");
    let ours = Signer::open_or_create(&folder.path().join("ours.pem")).unwrap();
    let theirs = Signer::open(&folder.path().join("theirs.pem")).unwrap();
    for (name, signer) in [("ours", ours), ("theirs", theirs)] {
        let (done, public) = openssl(&["pkey", "-in", &path(&format!("{name}.pem")), "-pubout"]);
        assert!(done && public == signer.public_pem(), "{public}");
        let site = Site { folder: tempfile::tempdir().unwrap(), signer: Arc::new(signer) };
        site.run(site.options("run-1"), 6);
        let last = checkpoints(&site.journal()).unwrap().pop().unwrap();
        std::fs::write(path("body"), last.body()).unwrap();
        std::fs::write(path("signature"), last.signature).unwrap();
        std::fs::write(path("public.pem"), site.signer.public_pem()).unwrap();
        let check = || {
            openssl(&[
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                &path("public.pem"),
                "-rawin",
                "-in",
                &path("body"),
                "-sigfile",
                &path("signature"),
            ])
        };
        let (good, told) = check();
        assert!(good && told.contains("Verified Successfully"), "{told}");
        std::fs::write(path("body"), last.body().replace("why stop", "why stoq")).unwrap();
        assert!(!check().0);
    }
}

#[test]
fn clean_ends_and_kills_of_a_service_leave_a_journal_that_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    for life in 0..4 {
        let mut served = common::Served::start(folder.path(), &[]);
        let mut client = common::Client::connect(served.mllp);
        for n in 0..5 {
            let id = format!("L{life}N{n}");
            client.ask(&common::pcd01("GW", "icu", "B01", &id, &common::now_hl7(), &[(common::HR, "72", common::BPM)])).unwrap();
        }
        if life % 2 == 0 {
            assert!(served.terminate().success());
        } else {
            served.kill();
        }
    }
    let (code, told) = vitalguard(&["verify", folder.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
}
