//! Which beds may have had a window of values: the part of the replay index that lies across beds.
//!
//! It holds bed numbers and nothing else. A bed tells of the windows that it picked (one in sixteen at one value a second), and asks
//! who else had them; the one asked looks into its own index, which knows the time. A common run of W + w − 1 slots has a
//! window that both have picked. A chance candidate costs a look and says nothing: 18 of them in 5 240 looks a day at 1.3 ·
//! 10⁻¹² each are 1.2 · 10⁻⁷ false matches a bed-day.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Beds for which a [`Echoes`] has room, at the beginning and at most.
const BEDS_MIN: usize = 16;
pub const BEDS_MAX: usize = 16_384;
/// Of each: all places of the last hours, and every second one of a day. Places of two bytes.
const FRESH: (usize, usize) = (64, 8);
const DAY: (usize, usize) = (256, 10);

/// Which beds may have had a window: bed numbers in buckets, newest first. Whether a bed had it is asked of its own index.
///
/// 6 KB a bed, for at most `BEDS_MAX` beds' worth. Of each bed the last two to three hours at one value a second stand whole,
/// of a day every second place: there a match needs twice as long. When full, a bucket forgets its oldest bed; with more beds
/// than there is room for, it reaches back less. Bed numbers above 65 534 are not taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Echoes {
    fresh: Vec<u16>,
    day: Vec<u16>,
    beds: u32,
}

impl Echoes {
    /// Whether there are more beds than there is room for, and room could be made: [`Echoes::resize`], then put every bed's
    /// places anew, oldest first.
    pub fn is_crowded(&self, beds: usize) -> bool {
        beds > self.beds as usize && (self.beds as usize) < BEDS_MAX
    }

    pub fn resize(&mut self, beds: usize) {
        let beds = beds.clamp(BEDS_MIN, BEDS_MAX).next_power_of_two();
        self.beds = beds as u32;
        self.fresh = vec![0; beds * FRESH.0 * FRESH.1];
        self.day = vec![0; beds * DAY.0 * DAY.1];
    }

    fn bucket(table: usize, ways: usize, key: u64) -> std::ops::Range<usize> {
        // The low 16 bits of a key are not kept by an index, and the one above them is always set.
        let bucket = ((key >> 17) as usize) % (table / ways).max(1);
        bucket * ways..(bucket + 1) * ways
    }

    /// Every second key stands for the whole day.
    fn lasts(key: u64) -> bool {
        key >> 60 & 1 == 0
    }

    pub fn put(&mut self, key: u64, bed: u32) {
        let Ok(bed) = u16::try_from(bed.saturating_add(1)) else { return };
        if self.fresh.is_empty() {
            return;
        }
        let enter = |table: &mut [u16], ways: usize| {
            let bucket = Self::bucket(table.len(), ways, key);
            let bucket = &mut table[bucket];
            let at = bucket.iter().position(|b| *b == bed).unwrap_or(ways - 1);
            bucket[..=at].rotate_right(1);
            bucket[0] = bed;
        };
        enter(&mut self.fresh, FRESH.1);
        if Self::lasts(key) {
            enter(&mut self.day, DAY.1);
        }
    }

    /// Beds that may have had this window: each once.
    pub fn beds(&self, key: u64) -> SmallVec<[u32; 18]> {
        let mut beds = SmallVec::new();
        if self.fresh.is_empty() {
            return beds;
        }
        let day = if Self::lasts(key) { &self.day[Self::bucket(self.day.len(), DAY.1, key)] } else { &[] };
        for bed in self.fresh[Self::bucket(self.fresh.len(), FRESH.1, key)].iter().chain(day).filter(|b| **b != 0) {
            let bed = u32::from(*bed) - 1;
            if !beds.contains(&bed) {
                beds.push(bed);
            }
        }
        beds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fingerprint::kept;

    fn mix(n: u64) -> u64 {
        let h = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (h ^ (h >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (h >> 32)
    }

    #[test]
    fn every_bed_that_had_a_window_is_named() {
        let mut echoes = Echoes::default();
        assert!(echoes.is_crowded(1));
        echoes.resize(100);
        assert!(!echoes.is_crowded(128) && echoes.is_crowded(129));
        let keys: Vec<(u64, u32)> = (0..128 * 200).map(|n| (mix(n + 1), (n % 128) as u32)).collect();
        for (key, bed) in &keys {
            echoes.put(*key, *bed);
        }
        for (key, bed) in &keys {
            // What an index keeps of a key is enough.
            assert!(echoes.beds(kept(*key)).contains(bed) || !Echoes::lasts(*key));
            assert_eq!(echoes.beds(kept(*key)), echoes.beds(*key));
        }
        let found = keys.iter().filter(|(key, bed)| echoes.beds(*key).contains(bed)).count();
        assert!(found * 100 >= keys.len() * 98, "{found} of {}", keys.len());
        echoes.put(keys[0].0, u32::MAX);
    }
}
