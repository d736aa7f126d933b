//! From credits to shares, from shares to money: sums are exact, order and identities do not matter.

use std::collections::BTreeMap;

use agora_types::{Address, Amount, CAP, Code};

use crate::fixed::{WHOLE, parts, split};
use crate::rows::{Position, WEIGHT_MAX};

/// What was measured for one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The cluster, by its owner's position.
    pub cluster: Position,
    /// The owner's account.
    pub account: Address,
    /// Governed weight of the contribution's kind, at most [`WEIGHT_MAX`].
    pub weight: u32,
    /// Credit of influence in any unit, below 2^78; only proportions matter.
    pub influence: u128,
    /// Tokens of the answer copied from it.
    pub verbatim_tokens: u32,
}

/// One cluster's part of an answer, everything in parts of 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The cluster.
    pub cluster: Position,
    /// Who is paid.
    pub account: Address,
    /// Part of all influence; these sum to 2^32, or to 0 where there is none.
    pub influence: u64,
    /// Part of all copied tokens; these sum to 2^32, or to 0 where there are none.
    pub verbatim: u64,
    /// The part that is paid; these sum to 2^32, or to 0 where nobody earns.
    pub share: u64,
}

/// The shares of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// In rising order of cluster.
    pub entries: Vec<Share>,
    /// v, the weight of copied text, parts of 2^32.
    pub verbatim_weight: u64,
}

/// w_c = (1 - v) * influence_c + v * verbatim_c, times the kind's weight, normalised to 2^32 exactly; v is the copied
/// fraction of the answer, at most `weight_max` (parts of 2^32). Remainders go to the largest, ties to the lower
/// cluster.
///
/// Kinds' weights are relative: lowering one moves its share to the others. Where only one of the two lanes found
/// something, that one decides alone.
///
/// Bounds: a mixed weight is at most 2^64, times 10,000 below 2^78; 2^32 times that is below 2^110.
///
/// # Errors
/// `attribution.bad_input` for a cluster named twice, a weight or credit out of bounds, or more copied tokens than
/// `output_tokens`.
pub fn shares(standings: &[Standing], output_tokens: u32, weight_max: u64) -> Result<Shares, Code> {
    let mut ordered = standings.to_vec();
    ordered.sort_unstable_by_key(|standing| standing.cluster);
    let copied: u64 = ordered.iter().map(|standing| u64::from(standing.verbatim_tokens)).sum();
    let bounded = |standing: &Standing| standing.weight <= WEIGHT_MAX && standing.influence >> 78 == 0;
    let fits = ordered.windows(2).all(|pair| pair[0].cluster < pair[1].cluster)
        && ordered.iter().all(bounded)
        && copied <= u64::from(output_tokens)
        && weight_max <= WHOLE;
    if !fits {
        return Err(Code::AttributionInput);
    }
    let influence = parts(&ordered.iter().map(|standing| standing.influence).collect::<Vec<_>>());
    let verbatim = parts(&ordered.iter().map(|standing| u128::from(standing.verbatim_tokens)).collect::<Vec<_>>());
    // Copied tokens are at most 2^32, so the shifted number fits.
    let verbatim_weight = if copied == 0 { 0 } else { covered(copied, output_tokens).min(weight_max) };
    let mixed = |at: usize| {
        let measured = u128::from(WHOLE - verbatim_weight) * u128::from(influence[at]);
        let exact = u128::from(verbatim_weight) * u128::from(verbatim[at]);
        (measured + exact) * u128::from(ordered[at].weight)
    };
    let share = parts(&(0..ordered.len()).map(mixed).collect::<Vec<_>>());
    let entry = |(at, standing): (usize, &Standing)| Share {
        cluster: standing.cluster,
        account: standing.account,
        influence: influence[at],
        verbatim: verbatim[at],
        share: share[at],
    };
    Ok(Shares { entries: ordered.iter().enumerate().map(entry).collect(), verbatim_weight })
}

/// The copied fraction of an answer in parts of 2^32, rounded down.
fn covered(copied: u64, output_tokens: u32) -> u64 {
    let part = u128::from(copied) * u128::from(WHOLE) / u128::from(output_tokens);
    u64::try_from(part).expect("no more is copied than there is")
}

/// Where a contributor pool goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// To contributors in all.
    pub paid: Amount,
    /// The rest.
    pub commons: Amount,
    /// For each share, in the order given: its part of its account's amount.
    pub entries: Vec<Amount>,
    /// In rising order of account, each once, none of zero; they sum to `paid`.
    pub accounts: Vec<(Address, Amount)>,
}

/// Pays `pool * grade` (parts of 2^32, rounded down) by shares, the rest to the commons; `paid + commons = pool`,
/// always.
///
/// First by account, so that it does not matter over how many clusters an account's share is spread: largest remainder,
/// ties to the lower account. Then each account's amount over its own shares, ties to the earlier.
///
/// Bounds: a pool is at most 10^27 < 2^90 atoms, so pool * 2^32 is below 2^122.
///
/// # Errors
/// `attribution.bad_input` for a pool above [`CAP`], a grade above one, or shares that sum neither to 2^32 nor to 0.
pub fn payout(pool: Amount, grade: u64, shares: &[(Address, u64)]) -> Result<Payout, Code> {
    let mut by_account: BTreeMap<Address, u128> = BTreeMap::new();
    for (account, share) in shares {
        *by_account.entry(*account).or_default() += u128::from(*share);
    }
    let sum: u128 = by_account.values().sum();
    if pool > CAP || grade > WHOLE || (sum != u128::from(WHOLE) && sum != 0) {
        return Err(Code::AttributionInput);
    }
    let earned = if sum == 0 { 0 } else { (pool.atoms() * u128::from(grade)) >> 32 };
    let weights: Vec<u128> = by_account.values().copied().collect();
    let amounts = split(earned, &weights).unwrap_or_else(|| vec![0; weights.len()]);
    let accounts: Vec<(Address, u128)> = by_account.into_keys().zip(amounts).collect();

    let mut entries = vec![Amount::ZERO; shares.len()];
    let mut places: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
    for (at, (account, _)) in shares.iter().enumerate() {
        places.entry(*account).or_default().push(at);
    }
    for (account, amount) in &accounts {
        let places = &places[account];
        let weights: Vec<u128> = places.iter().map(|at| u128::from(shares[*at].1)).collect();
        for (at, part) in places.iter().zip(split(*amount, &weights).unwrap_or_default()) {
            entries[*at] = Amount::from_atoms(part);
        }
    }
    Ok(Payout {
        paid: Amount::from_atoms(earned),
        commons: Amount::from_atoms(pool.atoms() - earned),
        entries,
        accounts: accounts
            .into_iter()
            .filter(|(_, atoms)| *atoms > 0)
            .map(|(account, atoms)| (account, Amount::from_atoms(atoms)))
            .collect(),
    })
}
