//! Splitting an amount by weights without losing an atom.

use agora_types::Amount;

/// Parts of `amount` by `weights`: rounded down, what is left goes one atom each to the largest remainders, ties to the
/// lower index. The parts sum to `amount` exactly.
///
/// Exact for every amount: with W the sum of at most 2^16 weights, `amount = q * W + r`, and `r * w < 2^48 * 2^32`.
///
/// # Panics
/// When there are no weights above zero, or more than 65,536 weights: the caller decides where such money goes.
pub fn split(amount: Amount, weights: &[u32]) -> Vec<Amount> {
    assert!(weights.len() <= 1 << 16, "at most 65,536 parts");
    let whole: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    assert!(whole > 0, "an amount is split by weights above zero");
    let (quotient, rest) = (amount.atoms() / whole, amount.atoms() % whole);
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let weight = u128::from(*weight);
        parts.push(quotient * weight + rest * weight / whole);
        remainders.push((std::cmp::Reverse(rest * weight % whole), index));
    }
    let given: u128 = parts.iter().sum();
    remainders.sort_unstable();
    let left = usize::try_from(amount.atoms() - given).expect("fewer atoms are left than there are parts");
    for (_, index) in &remainders[..left] {
        parts[*index] += 1;
    }
    parts.into_iter().map(Amount::from_atoms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atoms(amount: u128, weights: &[u32]) -> Vec<u128> {
        split(Amount::from_atoms(amount), weights).into_iter().map(Amount::atoms).collect()
    }

    #[test]
    fn leftovers_go_to_the_largest_remainders_and_ties_to_the_lower_index() {
        assert_eq!(atoms(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(atoms(101, &[1, 1, 1]), [34, 34, 33]);
        assert_eq!(atoms(10, &[5_000, 2_000, 2_000, 500, 500]), [5, 2, 2, 1, 0]);
        assert_eq!(atoms(7, &[0, 3]), [0, 7]);
        assert_eq!(atoms(0, &[1, 2]), [0, 0]);
        assert_eq!(atoms(u128::MAX, &[1]), [u128::MAX]);
    }

    proptest! {
        #[test]
        fn no_atom_is_lost_and_no_part_is_off_by_one(
            amount in any::<u128>(),
            weights in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let whole: u128 = weights.iter().map(|w| u128::from(*w)).sum();
            prop_assume!(whole > 0);
            let parts = atoms(amount, &weights);
            prop_assert_eq!(parts.iter().sum::<u128>(), amount);
            for (part, weight) in parts.iter().zip(&weights) {
                // part = floor(amount * weight / whole) or one more, without overflow.
                let floor = (amount / whole) * u128::from(*weight) + (amount % whole) * u128::from(*weight) / whole;
                prop_assert!(*part == floor || *part == floor + 1);
                prop_assert!(*weight > 0 || *part == 0);
            }
        }
    }
}
