//! Fractions as whole numbers: cosines, exact splits, logarithms.

/// One whole of everything that is stored or paid: 2^32 parts. It does not fit 32 bits, so parts are u64.
pub const WHOLE: u64 = 1 << 32;
/// One whole inside the solver: 2^30 parts.
pub const ONE: i64 = 1 << ONE_BITS;
/// Bits of [`ONE`].
pub(crate) const ONE_BITS: u32 = 30;

/// The square root of an integer squared norm, times 2^32, rounded down; relative error below 2^-32.
///
/// Below 2^47 for norms below 2^30, which int8 vectors of at most 65,536 entries have.
pub(crate) fn root(norm_squared: u32) -> u64 {
    let root = (u128::from(norm_squared) << 64).isqrt();
    u64::try_from(root).expect("the root of a number below 2^96 is below 2^48")
}

/// The cosine of two vectors in parts of [`ONE`], from their dot product and the [`root`]s of their squared norms.
///
/// Rounded to nearest, halves away from zero, never outside -ONE..=ONE; 0 where a vector is zero.
/// Bounds: |dot| <= 2^31 and roots below 2^48, so the dividend is below 2^125 + 2^95.
pub(crate) fn cosine_of(dot: i32, left_root: u64, right_root: u64) -> i64 {
    let whole = u128::from(left_root) * u128::from(right_root);
    if whole == 0 {
        return 0;
    }
    // Both roots carry 2^32: 2^64 for them, 2^30 for the parts.
    let dividend = (u128::from(dot.unsigned_abs()) << (64 + ONE_BITS)) + whole / 2;
    let parts = i64::try_from(dividend / whole).unwrap_or(ONE).min(ONE);
    if dot < 0 { -parts } else { parts }
}

/// The cosine of two vectors in parts of [`ONE`] (2^30), from their dot product and squared norms; see
/// [`crate::Row::norm_squared`]. Rounded to nearest; 0 where a vector is zero.
pub fn cosine(dot: i32, left_norm_squared: u32, right_norm_squared: u32) -> i64 {
    cosine_of(dot, root(left_norm_squared), root(right_norm_squared))
}

/// Splits `total` by weights: rounded down, what is left goes one unit each to the largest remainders, ties to the
/// lower index. The parts sum to `total` exactly. `None` when no weight is above zero: then nobody has a claim.
///
/// Exact: with W the sum of the weights, `total = q * W + r`, and a part is `q * w + r * w / W`.
///
/// # Panics
/// When the weights sum above 2^128, or min(total, their sum) times the largest weight does. Everything here splits
/// 2^32 by weights below 2^96, or at most 10^27 by weights that sum to 2^32.
pub fn split(total: u128, weights: &[u128]) -> Option<Vec<u128>> {
    let sum = |all: &[u128]| all.iter().try_fold(0u128, |sum, one| sum.checked_add(*one));
    let whole = sum(weights).expect("weights sum below 2^128");
    if whole == 0 {
        return None;
    }
    let (quotient, rest) = (total / whole, total % whole);
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let product = rest.checked_mul(*weight).expect("rest times weight is below 2^128");
        parts.push(quotient * weight + product / whole);
        remainders.push((std::cmp::Reverse(product % whole), index));
    }
    let given = sum(&parts).expect("parts sum to at most the total");
    remainders.sort_unstable();
    let left = usize::try_from(total - given).expect("fewer units are left than there are parts");
    for (_, index) in &remainders[..left] {
        parts[*index] += 1;
    }
    Some(parts)
}

/// Parts of [`WHOLE`] by weights, as [`split`] gives them; all 0 when no weight is above zero.
pub(crate) fn parts(weights: &[u128]) -> Vec<u64> {
    let part = |part: u128| u64::try_from(part).expect("a part of 2^32 is at most 2^32");
    split(u128::from(WHOLE), weights)
        .map_or_else(|| vec![0; weights.len()], |parts| parts.into_iter().map(part).collect())
}

/// The binary logarithm of `number` in parts of 2^32, rounded down; 0 for 0 and 1. Error below 2^-26 parts of one.
///
/// By repeated squaring of a mantissa of 63 bits.
pub fn log2(number: u64) -> u64 {
    if number < 2 {
        return 0;
    }
    let exponent = u64::from(number.ilog2());
    // Mantissa in [2^63, 2^64): one to two, with 63 bits behind the point.
    let mut mantissa = number << number.leading_zeros();
    let mut fraction = 0u64;
    for _ in 0..32 {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let carry = u64::from(square >> 127 == 1);
        fraction = fraction << 1 | carry;
        mantissa = u64::try_from(square >> (63 + carry)).expect("the square of one to two, halved when above two");
    }
    exponent << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leftovers_go_to_the_largest_remainders_and_ties_to_the_lower_index() {
        assert_eq!(split(100, &[1, 1, 1]), Some(vec![34, 33, 33]));
        assert_eq!(split(101, &[1, 1, 1]), Some(vec![34, 34, 33]));
        assert_eq!(split(7, &[0, 3]), Some(vec![0, 7]));
        assert_eq!(split(7, &[0, 0]), None);
        assert_eq!(split(7, &[]), None);
        assert_eq!(parts(&[1 << 95, 1 << 95]), [1 << 31, 1 << 31]);
    }

    #[test]
    fn a_cosine_is_exact_at_its_ends() {
        for norm in [1u32, 2, 3, 127 * 127, 1_057_030_144] {
            let dot = i32::try_from(norm).unwrap();
            assert_eq!(cosine(dot, norm, norm), ONE, "{norm}");
            assert_eq!(cosine(-dot, norm, norm), -ONE, "{norm}");
        }
        assert_eq!(cosine(0, 5, 5), 0);
        assert_eq!(cosine(0, 0, 5), 0);
        assert_eq!(cosine(i32::MIN, u32::MAX, u32::MAX), -ONE / 2, "beyond what rows can give");
        assert_eq!(cosine(i32::MIN, 1, 1), -ONE);
    }

    #[test]
    fn logarithms_are_those_of_the_reals() {
        for number in [1u64, 2, 3, 5, 7, 1_000, 123_456_789, u64::MAX] {
            #[allow(clippy::cast_precision_loss, reason = "compared within a tolerance")]
            let (found, real) = (log2(number) as f64 / WHOLE as f64, (number as f64).log2());
            assert!((found - real).abs() < 1e-7, "{number}: {found} for {real}");
        }
        assert_eq!(log2(0), 0);
        assert_eq!(log2(1 << 40), 40 << 32);
    }

    proptest! {
        #[test]
        fn no_unit_is_lost_and_no_part_is_off_by_one(
            total in 0u128..1_000_000_000_000_000_000_000_000_000,
            weights in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let weights: Vec<u128> = weights.into_iter().map(u128::from).collect();
            let whole: u128 = weights.iter().sum();
            prop_assume!(whole > 0);
            let parts = split(total, &weights).unwrap();
            prop_assert_eq!(parts.iter().sum::<u128>(), total);
            for (part, weight) in parts.iter().zip(&weights) {
                let floor = (total / whole) * weight + (total % whole) * weight / whole;
                prop_assert!(*part == floor || *part == floor + 1);
                prop_assert!(*weight > 0 || *part == 0);
            }
        }
    }
}
