//! In the steady state a message costs no allocation: counted, not timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use vitalguard::eval::synth::message::Sender;
use vitalguard::eval::synth::{Kind, Patient};
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::Source;
use vitalguard::time::Timestamp;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator; the counter changes nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_message_of_a_quiet_bed_allocates_nothing() {
    const WARM_S: usize = 2400;
    const MEASURED_S: usize = 50;
    let start = Timestamp::from_ms(1_795_371_600_000);
    let mut patient = Patient::new(Kind::Healthy, 7, start, 0.0);
    let sender = Sender {
        application: "QUIET".into(),
        facility: "SYNTH".into(),
        eui64: "0012210000000001".into(),
        point_of_care: "ICU".into(),
        bed: "B01".into(),
        patient: "P1".into(),
        born: String::new(),
        processing: 'P',
    };
    let frames: Vec<(Timestamp, Vec<u8>)> = (0..WARM_S + MEASURED_S)
        .map(|second| {
            let at = start.plus_ms(second as i64 * 1000);
            (at.plus_ms(300), sender.write(&format!("Q{second:06}"), at.plus_ms(200), patient.step()))
        })
        .collect();
    let source = Source { feed: "gw".into(), peer: "192.0.2.1".into(), connection: 1, ward: "main".into(), ..Source::default() };
    let mut monitor = Monitor::new(Settings::default());
    let mut alerts = Vec::new();
    let mut feed = |(at, frame): &(Timestamp, Vec<u8>), sequence: usize| {
        monitor.handle_frame(&source, sequence as u64, frame, *at);
        while let Some(output) = monitor.poll_output() {
            if let Output::Alert(event) = output {
                alerts.push(event.alert.condition.clone());
            }
        }
    };
    let (warm, measured) = frames.split_at(WARM_S);
    for (sequence, frame) in warm.iter().enumerate() {
        feed(frame, sequence);
    }
    let before = COUNT.load(Ordering::Relaxed);
    for (sequence, frame) in measured.iter().enumerate() {
        feed(frame, WARM_S + sequence);
    }
    let allocations = COUNT.load(Ordering::Relaxed) - before;
    assert!(alerts.is_empty(), "a quiet bed: {alerts:?}");
    // A ring that grows once, a map that splits a node: not with every message.
    assert!(allocations <= MEASURED_S as u64 / 10, "{allocations} allocations in {MEASURED_S} messages");
}
