//! Whole numbers near a number, without the call that [`f64::round`] is on processors that are not asked for SSE 4.1: a third of
//! its instructions, some forty times a message.

/// The nearest whole number, halves away from zero: what [`f64::round`] gives, but that a zero has no sign.
#[inline]
pub fn nearest(value: f64) -> f64 {
    // From here on every number is whole, or none.
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    if value.is_nan() || value.abs() >= WHOLE {
        return value;
    }
    let cut = value as i64 as f64;
    let rest = value - cut;
    if rest >= 0.5 {
        cut + 1.0
    } else if rest <= -0.5 {
        cut - 1.0
    } else {
        cut
    }
}

/// 10 to the power of `-places`, as many as 0 to 4.
pub const TENTHS: [f64; 5] = [1.0, 0.1, 0.01, 0.001, 0.0001];

/// 10 to the power of 0 to 4.
pub const TENS: [f64; 5] = [1.0, 10.0, 100.0, 1000.0, 10_000.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_round_gives() {
        let whole = |value: f64| {
            let (a, b) = (nearest(value), value.round());
            assert!(a == b || a.is_nan() && b.is_nan(), "{value} {a} {b}");
        };
        let below_half = 0.499_999_999_999_999_94;
        for value in
            [0.0, 0.5, below_half, 1.5, 2.5, 1e15, 4_503_599_627_370_495.5, 4.6e15, 1e19, f64::INFINITY, f64::NAN, 5e-324]
        {
            whole(value);
            whole(-value);
        }
        let mut noise = 1u64;
        for _ in 0..100_000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            whole(f64::from_bits(noise));
            whole((noise >> 40) as f64 / 8.0 - 1e6);
        }
    }

    #[test]
    fn the_powers_are_those_of_powi() {
        for k in 0..5 {
            assert_eq!((TENTHS[k], TENS[k]), (10f64.powi(-(k as i32)), 10f64.powi(k as i32)));
        }
    }
}
