//! The judging thread's part: values into buckets.

use super::{Row, Told};
use crate::monitor::{BedId, Monitor};
use crate::shell::store::{BUCKET_MS, Bucket};
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

/// Beds whose history is kept at most; a further one is shown without.
const BEDS_MAX: usize = 4_000;

#[derive(Debug, Default)]
struct Open {
    start_ms: i64,
    values: Vec<(Parameter, Bucket)>,
    /// Newest value taken of each parameter.
    seen: Vec<(Parameter, Timestamp)>,
}

/// Collects the values of every bed.
#[derive(Debug)]
pub struct Gatherer {
    beds: Vec<Open>,
    out: SyncSender<Told>,
    /// While the journal is read again there is time to wait.
    patient: bool,
    dropped: Arc<AtomicU64>,
}

impl Gatherer {
    pub(super) fn new(out: SyncSender<Told>, dropped: Arc<AtomicU64>) -> Gatherer {
        Gatherer { beds: Vec::new(), out, patient: true, dropped }
    }

    /// From now on nothing is waited for.
    pub fn go_live(&mut self) {
        self.patient = false;
    }

    /// A bed has changed: takes what is new.
    pub fn note(&mut self, monitor: &Monitor, bed: BedId) {
        let number = bed.0 as usize;
        if number >= BEDS_MAX {
            return;
        }
        if self.beds.len() <= number {
            self.beds.resize_with(number + 1, Open::default);
        }
        for sample in monitor.samples(bed) {
            let open = &mut self.beds[number];
            match open.seen.iter_mut().find(|(p, _)| *p == sample.parameter) {
                Some((_, seen)) if *seen >= sample.received_at => continue,
                Some((_, seen)) => *seen = sample.received_at,
                None => open.seen.push((sample.parameter, sample.received_at)),
            }
            let start_ms = sample.received_at.ms().div_euclid(BUCKET_MS) * BUCKET_MS;
            if start_ms != open.start_ms {
                self.close(monitor, number);
                self.beds[number].start_ms = start_ms;
            }
            let open = &mut self.beds[number];
            match open.values.iter_mut().find(|(p, _)| *p == sample.parameter) {
                Some((_, bucket)) => bucket.add(Bucket::of(sample.value, None)),
                None => {
                    let band = monitor.band(bed, sample.parameter, sample.received_at);
                    open.values.push((sample.parameter, Bucket::of(sample.value, band)));
                }
            }
        }
    }

    /// It is `now`: what is over by then is handed on. Once a second.
    pub fn tick(&mut self, monitor: &Monitor, now: Timestamp) {
        for number in 0..self.beds.len() {
            if !self.beds[number].values.is_empty() && self.beds[number].start_ms + BUCKET_MS <= now.ms() {
                self.close(monitor, number);
            }
        }
    }

    /// Before a snapshot: all that was taken so far, finished or not.
    pub fn flush(&mut self, monitor: &Monitor) {
        for number in 0..self.beds.len() {
            let open = &self.beds[number];
            if !open.values.is_empty() {
                let values = open.values.clone();
                self.send(monitor, number, values);
            }
        }
        let _ = self.out.try_send(Told::Flush);
    }

    fn close(&mut self, monitor: &Monitor, number: usize) {
        let values = std::mem::take(&mut self.beds[number].values);
        if !values.is_empty() {
            self.send(monitor, number, values);
        }
    }

    fn send(&mut self, monitor: &Monitor, number: usize, values: Vec<(Parameter, Bucket)>) {
        let Some((ward, bed)) = monitor.place(BedId(number as u32)) else { return };
        let row = Row { ward: ward.to_owned(), bed: bed.to_owned(), start_ms: self.beds[number].start_ms, values };
        if self.patient {
            // A writer that has ended takes nothing: the histories are not worth the service.
            let _ = self.out.send(Told::Row(row));
        } else if matches!(self.out.try_send(Told::Row(row)), Err(TrySendError::Full(_))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
