//! How rings and tables stand in a snapshot, where every number is written with a length of its own: a hash of eight bytes would
//! take ten.

/// Words of eight bytes each, in groups of eight behind a byte that says which of them are not zero: an empty place of a table is
/// one bit.
pub mod words {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Words of a table at most: the largest of ours has 5 632 places.
    pub const WORDS_MAX: usize = 8_192;

    pub fn serialize<S: Serializer>(words: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(4 + words.len() * 8 + words.len().div_ceil(8));
        bytes.extend((words.len() as u32).to_le_bytes());
        for group in words.chunks(8) {
            bytes.push(group.iter().rev().fold(0u8, |mask, word| mask << 1 | u8::from(*word != 0)));
            bytes.extend(group.iter().filter(|word| **word != 0).flat_map(|word| word.to_le_bytes()));
        }
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        unpack(&bytes).ok_or_else(|| D::Error::custom("a table that is cut off"))
    }

    fn unpack(bytes: &[u8]) -> Option<Vec<u64>> {
        let (len, mut rest) = bytes.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        // A group has one byte at least: what is longer than that was cut off.
        if len > WORDS_MAX || len.div_ceil(8) > rest.len() {
            return None;
        }
        let mut words = Vec::with_capacity(len);
        while words.len() < len {
            let (mask, after) = rest.split_first()?;
            rest = after;
            for at in 0..(len - words.len()).min(8) {
                let mut word = 0;
                if mask & 1 << at != 0 {
                    let (eight, after) = rest.split_first_chunk::<8>()?;
                    (word, rest) = (u64::from_le_bytes(*eight), after);
                }
                words.push(word);
            }
        }
        Some(words)
    }
}

/// Numbers of a ring with the low half of their times: of each time only how long it is after the one before.
pub mod timed {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(entries: &[(f32, u32)], serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        serializer.collect_seq(entries.iter().map(|(value, at)| (*value, at.wrapping_sub(std::mem::replace(&mut before, *at)))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(f32, u32)>, D::Error> {
        let mut entries = Vec::<(f32, u32)>::deserialize(deserializer)?;
        let mut before = 0u32;
        for (_, at) in &mut entries {
            before = before.wrapping_add(*at);
            *at = before;
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Kept {
        #[serde(with = "super::words")]
        words: Vec<u64>,
        #[serde(with = "super::timed")]
        timed: Vec<(f32, u32)>,
    }

    #[test]
    fn what_was_packed_comes_back() {
        let words = vec![0, 1, u64::MAX, 1 << 63, 0, 0, 0, 0, 0, 9, 0];
        // A ring that has come round, and times that have.
        let timed = vec![(70.5, 5000), (71.0, 6000), (-0.0, 1000), (f32::MAX, u32::MAX), (1e-9, 3)];
        let kept = Kept { words, timed };
        let bytes = postcard::to_stdvec(&kept).unwrap();
        assert_eq!(postcard::from_bytes::<Kept>(&bytes).unwrap(), kept);
        for cut in 1..bytes.len() {
            assert!(postcard::from_bytes::<Kept>(&bytes[..cut]).is_err(), "{cut}");
        }
        const { assert!(crate::stats::fingerprint::Index::PLACES_MAX <= super::words::WORDS_MAX) };
        let large = |words: usize| postcard::to_stdvec(&Kept { words: vec![0; words], timed: Vec::new() }).unwrap();
        assert!(postcard::from_bytes::<Kept>(&large(super::words::WORDS_MAX)).is_ok());
        for words in [super::words::WORDS_MAX + 1, 1 << 24] {
            assert!(postcard::from_bytes::<Kept>(&large(words)).is_err(), "{words}");
        }
        let empty = Kept { words: vec![0; 4096], timed: Vec::new() };
        assert!(postcard::to_stdvec(&empty).unwrap().len() < 4096 / 8 + 10);
        let minute = Kept { words: Vec::new(), timed: (0..128).map(|i| (1.0, 1_800_000_000 + 1000 * i)).collect() };
        assert!(postcard::to_stdvec(&minute).unwrap().len() <= 5 + 2 + 128 * 6 + 3);
    }
}
