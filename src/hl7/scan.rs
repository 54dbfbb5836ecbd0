//! Where one byte stands in a text, 64 bytes at a time and without a branch per byte.
//!
//! Fields are short: a search that starts anew behind every separator, or a loop that asks every byte, spends its time on
//! branches that no processor can foresee. Here a word of eight bytes becomes eight bits by arithmetic alone.

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;

/// The bits of the bytes of `word` (the first byte is the lowest) that are `wanted`, given in every byte.
#[inline]
fn bits(word: u64, wanted: u64) -> u64 {
    let differs = word ^ wanted;
    // The high bit of every byte that is zero.
    let equal = !(((differs & LOW) + LOW) | differs | LOW);
    (equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// One bit for each of up to 64 bytes.
#[inline]
fn mask(block: &[u8], byte: u8) -> u64 {
    let wanted = ONES * u64::from(byte);
    let (words, rest) = block.as_chunks::<8>();
    let mut mask = 0;
    for (n, word) in words.iter().enumerate() {
        mask |= bits(u64::from_le_bytes(*word), wanted) << (8 * n);
    }
    if !rest.is_empty() {
        let found = match block.last_chunk::<8>() {
            // The last eight bytes once more; those that were looked at fall out.
            Some(word) => bits(u64::from_le_bytes(*word), wanted) >> (8 - rest.len()),
            None => rest.iter().rev().fold(0, |bits, &other| bits << 1 | u64::from(other == byte)),
        };
        mask |= found << (8 * words.len());
    }
    mask
}

/// Calls `found` with every place where `byte` stands, in order, until it says `false`.
#[inline]
pub fn each(text: &[u8], byte: u8, mut found: impl FnMut(usize) -> bool) {
    for (n, block) in text.chunks(64).enumerate() {
        let mut mask = mask(block, byte);
        while mask != 0 {
            if !found(n * 64 + mask.trailing_zeros() as usize) {
                return;
            }
            mask &= mask - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_and_no_other() {
        for len in 0..200usize {
            for step in 1..9 {
                // 0x00, 0x7C and its neighbours, 0xFC: what carries could spoil.
                let text: Vec<u8> = (0..len).map(|n| [b'|', 0, 0x7B, 0x7D, 0xFC, 0xFF, 0x80, b'|', 1][(n * step) % 9]).collect();
                for byte in [b'|', 0, 0x80, 0xFF, 1] {
                    let mut found = Vec::new();
                    each(&text, byte, |at| {
                        found.push(at);
                        true
                    });
                    assert!(found.iter().copied().eq(memchr::memchr_iter(byte, &text)), "{len} {step} {byte}");
                }
            }
        }
        let mut count = 0;
        each(b"||||", b'|', |_| {
            count += 1;
            count < 2
        });
        assert_eq!(count, 2);
    }
}
