//! What an ADT message says beyond its first patient: when, where from, who is swapped or linked, which ids are merged.
//!
//! Bounds: [`ALIASES_MAX`] ids of one PID or MRG, [`MERGES_MAX`] merges of one message; what is beyond is not read.

use super::super::dialect::Identity;
use super::super::{Message, Segment};
use super::identity;
use super::times::Times;
use crate::observation::{Merge, MessageFlags, Report};

/// Repetitions of one PID-3 or MRG-1 at most.
pub const ALIASES_MAX: usize = 32;
/// MRG segments of one message at most.
pub const MERGES_MAX: usize = 32;

/// Fills [`Report::adt`]; `pv1` is the first one.
pub fn detail<'m>(
    report: &mut Report,
    message: &Message<'m>,
    pv1: Option<Segment<'_>>,
    paths: &Identity,
    times: &mut Times<'_, 'm>,
) {
    if let Some(pv1) = pv1 {
        identity::prior(&mut report.adt.prior, pv1, paths);
    }
    let (mut patients, mut visits) = (0, 0);
    let mut pid = None;
    for segment in message.segments() {
        match segment.name() {
            b"EVN" => {
                let event = segment.field(1);
                if !event.is_empty() && event.component(1).trimmed() != report.trigger.as_bytes() {
                    report.flags.set(MessageFlags::EVENT_DIFFERS);
                }
                report.adt.recorded_at = times.aside(segment.field(2));
            }
            b"PID" => {
                patients += 1;
                pid = Some(segment);
                match patients {
                    1 => ids(&mut report.adt.aliases, segment, 3),
                    2 => {
                        identity::patient(&mut report.adt.second, segment, paths);
                        ids(&mut report.adt.second_aliases, segment, 3);
                    }
                    _ => {}
                }
            }
            b"PV1" => {
                visits += 1;
                if visits == 2 {
                    identity::place(&mut report.adt.second, segment, paths);
                }
            }
            b"MRG" if report.adt.merges.len() < MERGES_MAX => {
                let mut merge = Merge::default();
                if let Some(pid) = pid {
                    ids(&mut merge.into, pid, 3);
                }
                ids(&mut merge.from, segment, 1);
                report.adt.merges.push(merge);
            }
            _ => {}
        }
    }
}

/// Every repetition of a field that has an id.
fn ids(out: &mut Vec<String>, segment: Segment<'_>, field: usize) {
    for repetition in segment.field(field).repetitions().take(ALIASES_MAX) {
        let mut id = String::new();
        if identity::put_cx(&mut id, repetition) {
            out.push(id);
        }
    }
}
