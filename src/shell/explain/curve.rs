//! What a bed's values were, and what was expected of them, around an alert.

use crate::eval::report::Point;
use crate::monitor::{BedId, Monitor};
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::collections::VecDeque;

/// So much is shown before the alert was raised, ms.
const BEFORE_MS: i64 = 900_000;
/// Points of one parameter at most: then every second one goes.
const POINTS_MAX: usize = 4_000;

#[derive(Debug)]
struct Row {
    parameter: Parameter,
    seen: Timestamp,
    points: VecDeque<Point>,
}

/// The values of one bed; the oldest go until [`Curve::hold`].
#[derive(Debug)]
pub(super) struct Curve {
    ward: String,
    bed: String,
    rows: Vec<Row>,
    held: bool,
}

impl Curve {
    pub fn new(ward: String, bed: String) -> Curve {
        Curve { ward, bed, rows: Vec::new(), held: false }
    }
    /// What there is now stays.
    pub fn hold(&mut self) {
        self.held = true;
    }
    /// Takes what is new.
    pub fn note(&mut self, monitor: &Monitor, bed: BedId) {
        if monitor.place(bed) != Some((&self.ward, &self.bed)) {
            return;
        }
        for sample in monitor.samples(bed) {
            let at = match self.rows.iter().position(|row| row.parameter == sample.parameter) {
                Some(at) if self.rows[at].seen >= sample.received_at => continue,
                Some(at) => at,
                None => {
                    self.rows.push(Row { parameter: sample.parameter, seen: Timestamp::MIN, points: VecDeque::new() });
                    self.rows.len() - 1
                }
            };
            let row = &mut self.rows[at];
            row.seen = sample.received_at;
            let t = sample.received_at.ms() as f64 / 1000.0;
            if !self.held {
                let from = t - BEFORE_MS as f64 / 1000.0;
                while row.points.front().is_some_and(|point| point.t < from) {
                    row.points.pop_front();
                }
            }
            let band = monitor.band(bed, sample.parameter, sample.received_at);
            row.points.push_back(Point { t, sent: Some(sample.value), truth: None, band });
            if row.points.len() > POINTS_MAX {
                row.points = row.points.iter().copied().step_by(2).collect();
            }
        }
    }
    /// Points of a parameter; the time is seconds since 1970.
    pub fn points(&self, parameter: Parameter) -> impl Iterator<Item = Point> + '_ {
        self.rows.iter().filter(move |row| row.parameter == parameter).flat_map(|row| row.points.iter().copied())
    }
    /// What was heard, in the catalogue's order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        Parameter::ALL.iter().copied().filter(|p| self.rows.iter().any(|row| row.parameter == *p))
    }
}
