//! Records that are copies of another one: public collections hold them, and a copy would be on both sides of every split.
//!
//! Two records of the same columns that share `SHARED` windows of joint values, each with enough changes that chance does not
//! repeat it, are one recording. Windows of the first are stored one beside the other and every window of the second is asked,
//! so that a common stretch of two windows is found whatever the offset.

use crate::eval::recording::{Cell, Recording};
use std::collections::HashMap;

/// Rows of a window, and changes inside it: below one value in 30 s, and from there on.
const WINDOW: [(usize, usize); 2] = [(120, 8), (12, 8)];
/// Windows that must be shared.
const SHARED: usize = 2;

/// The joint values of one record, one number an instant.
fn instants(recording: &Recording) -> Vec<u64> {
    let mut list: Vec<u64> = Vec::new();
    let mut at = None;
    for row in &recording.rows {
        let cell = match row.cell {
            Cell::Number(value) => value.to_bits(),
            Cell::Absent => u64::MAX,
        };
        let part = (cell ^ (u64::from(row.column) << 56)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        if at == Some(row.at_ms) && !list.is_empty() {
            // Rows of one instant, whatever their order.
            let last = list.len() - 1;
            list[last] = list[last].wrapping_add(part);
        } else {
            at = Some(row.at_ms);
            list.push(part);
        }
    }
    list
}

/// Every window of a record with enough changes: where it begins, and its hash.
fn windows(list: &[u64], length: usize, changes: usize) -> Vec<(usize, u64)> {
    const BASE: u64 = 0x0100_0000_01B3;
    if list.len() < length {
        return Vec::new();
    }
    let top = (1..length).fold(1u64, |p, _| p.wrapping_mul(BASE));
    let mut hash = list[..length].iter().fold(0u64, |h, v| h.wrapping_mul(BASE).wrapping_add(*v));
    let mut moved = list[..length].windows(2).filter(|w| w[0] != w[1]).count();
    let mut found = Vec::new();
    for start in 0..=list.len() - length {
        if start > 0 {
            hash = hash.wrapping_sub(list[start - 1].wrapping_mul(top)).wrapping_mul(BASE).wrapping_add(list[start + length - 1]);
            moved -= usize::from(list[start - 1] != list[start]);
            moved += usize::from(list[start + length - 2] != list[start + length - 1]);
        }
        if moved >= changes {
            found.push((start, hash));
        }
    }
    found
}

/// Copies and what they are copies of, as `set/record`; of two records the later one in order is the copy.
pub fn find(list: &[&Recording]) -> Vec<(String, String)> {
    let name = |r: &Recording| format!("{}/{}", r.set, r.name);
    let mut known: HashMap<u64, usize> = HashMap::new();
    let mut copies = Vec::new();
    for (number, recording) in list.iter().enumerate() {
        let (length, changes) = WINDOW[usize::from(recording.interval_s >= 30.0)];
        let all = windows(&instants(recording), length, changes);
        let mut hits: HashMap<usize, Vec<usize>> = HashMap::new();
        for (start, hash) in &all {
            if let Some(other) = known.get(hash) {
                let starts = hits.entry(*other).or_default();
                if starts.last().is_none_or(|last| start - last >= length / 2) {
                    starts.push(*start);
                }
            }
        }
        let same = |other: &usize| list[*other].columns.len() == recording.columns.len();
        let mut best: Vec<(usize, usize)> = hits.iter().filter(|(o, _)| same(o)).map(|(o, starts)| (starts.len(), *o)).collect();
        best.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        match best.first() {
            Some((count, other)) if *count >= SHARED => copies.push((name(recording), name(list[*other]))),
            _ => {
                let mut free = 0;
                for (start, hash) in all {
                    if start >= free {
                        known.entry(hash).or_insert(number);
                        free = start + length / 2;
                    }
                }
            }
        }
    }
    copies
}
