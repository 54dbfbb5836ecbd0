//! When altered readings reach the feed: what a goal that is set in readings runs from.
//!
//! A reading is one measurement of one parameter under its own time, however often it is told; it is altered where the clean twin
//! has another number there, or none. A cuff that measures every quarter of an hour has few of them in an attack.

use super::AFTER_S;
use crate::eval::attack::{Goal, Truth};
use crate::eval::render::Wire;
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch};
use crate::observation::{Observation, Report, Source};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use std::collections::{BTreeMap, BTreeSet};

/// A parameter, its channel, and the time of a measurement.
type Reading = (Parameter, u32, Timestamp);

fn key(o: &Observation) -> Reading {
    (o.parameter, o.channel, o.effective_at)
}

/// Reads messages and shows their numbers with the time of arrival.
fn each(wires: &[Wire], params: ParamSet, mut see: impl FnMut(&Observation, Timestamp)) {
    let mut decoder = Decoder::new("UTC", Tables::embedded()).expect("UTC is a zone of every database");
    let (mut scratch, mut report) = (Scratch::default(), Report::default());
    let source = Source { feed: "feed0".into(), connection: 1, ward: "bench".into(), ..Source::default() };
    for wire in wires {
        let Ok(message) = Message::read(&wire.bytes, &mut scratch) else { continue };
        decoder.decode(&message, &source, wire.received_at, &mut report);
        report
            .observations
            .iter()
            .filter(|o| params.contains(o.parameter) && o.value.is_finite())
            .for_each(|o| see(o, wire.received_at));
    }
}

/// Arrivals of the altered readings of each parameter, in order. Both runs from the attack's start on.
fn altered(attacked: &[Wire], clean: &[Wire], params: ParamSet) -> BTreeMap<Parameter, Vec<Timestamp>> {
    let mut told: BTreeMap<Reading, u64> = BTreeMap::new();
    each(clean, params, |o, _| {
        told.insert(key(o), o.value.to_bits());
    });
    let (mut seen, mut list) = (BTreeSet::new(), BTreeMap::new());
    each(attacked, params, |o, at| {
        if told.get(&key(o)) != Some(&o.value.to_bits()) && seen.insert(key(o)) {
            list.entry(o.parameter).or_insert_with(Vec::new).push(at);
        }
    });
    list
}

/// The seconds from the attack's start that a goal in readings leaves: until so many altered readings of one parameter have come,
/// and the wait of the alert. `None`: so many do not come in time for an alert to count, and nothing can be said of the goal.
pub(super) fn within_s(attacked: &[Wire], clean: &[Wire], truth: &Truth, goal: Goal) -> Option<u32> {
    let readings = goal.readings?;
    let from = |wires: &[Wire]| wires.partition_point(|w| w.received_at < truth.start);
    let late = truth.end.plus_s(AFTER_S);
    let nth = readings.number.saturating_sub(1) as usize;
    let altered = altered(&attacked[from(attacked)..], &clean[from(clean)..], truth.params);
    let at = altered.values().filter_map(|arrivals| arrivals.get(nth)).min()?;
    let over = at.plus_s(f64::from(readings.wait_s));
    (over <= late).then(|| over.since_s(truth.start).ceil() as u32)
}
