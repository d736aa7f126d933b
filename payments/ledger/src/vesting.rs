//! Genesis allocations that are released over time.

use agora_types::command::ReleaseVested;
use agora_types::genesis::{Genesis, Vesting};
use agora_types::{Address, Amount, Code, Timestamp};
use minicbor::{Decode, Encode};

use crate::{Ledger, Posting, SystemAccount};

/// An allocation that vests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// Whose.
    #[n(0)]
    pub account: Address,
    /// In all.
    #[n(1)]
    pub amount: Amount,
    /// Paid out so far.
    #[n(2)]
    pub released: Amount,
    /// When.
    #[n(3)]
    pub vesting: Vesting,
}

impl Grant {
    /// What has vested by `now`, released or not, rounded down.
    pub fn vested(&self, now: Timestamp) -> Amount {
        let Vesting { start, cliff_s, linear_s } = self.vesting;
        let cliff = start.plus_secs(cliff_s);
        if now < cliff {
            return Amount::ZERO;
        }
        let elapsed = (now.as_nanos() - cliff.as_nanos()) / 1_000_000_000;
        if elapsed >= linear_s {
            return self.amount;
        }
        // amount * elapsed / linear in two parts: rest and elapsed are below 2^64, so nothing overflows.
        let (elapsed, linear) = (u128::from(elapsed), u128::from(linear_s));
        let (quotient, rest) = (self.amount.atoms() / linear, self.amount.atoms() % linear);
        Amount::from_atoms(quotient * elapsed + rest * elapsed / linear)
    }
}

impl Ledger {
    /// The ledger of a new network: every allocation issued, to its account or to the vesting account.
    ///
    /// # Errors
    /// `genesis_invalid` when the file breaks a rule.
    pub fn genesis(genesis: &Genesis) -> Result<Self, Code> {
        genesis.check().map_err(|_| Code::GenesisInvalid)?;
        let mut ledger = Self::default();
        for (index, allocation) in (0u32..).zip(&genesis.allocations) {
            if SystemAccount::is_one(&allocation.account) {
                return Err(Code::GenesisInvalid);
            }
            let credit = match allocation.vesting {
                None => allocation.account,
                Some(_) => SystemAccount::Vesting.address(),
            };
            let debit = SystemAccount::Issuance.address();
            ledger.post(&[Posting { debit, credit, amount: allocation.amount }])?;
            if let Some(vesting) = allocation.vesting {
                let grant =
                    Grant { account: allocation.account, amount: allocation.amount, released: Amount::ZERO, vesting };
                ledger.grants.put(index, grant);
            }
        }
        Ok(ledger)
    }

    /// Pays out what has vested and was not released.
    pub fn release_vested(&mut self, command: &ReleaseVested, now: Timestamp) -> Result<(), Code> {
        let grant = self.grants.get(&command.allocation).copied();
        let grant = grant.filter(|grant| grant.account == command.head.signer).ok_or(Code::AllocationNotFound)?;
        let vested = grant.vested(now);
        let amount = vested.checked_sub(grant.released).filter(|due| !due.is_zero()).ok_or(Code::NothingVested)?;
        self.post(&[Posting { debit: SystemAccount::Vesting.address(), credit: grant.account, amount }])?;
        self.grants.put(command.allocation, Grant { released: vested, ..grant });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_before_the_cliff_then_linearly_then_everything() {
        let start = Timestamp::from_secs(1_000).unwrap();
        let grant = |amount, cliff_s, linear_s| Grant {
            account: Address::ZERO,
            amount: Amount::from_atoms(amount),
            released: Amount::ZERO,
            vesting: Vesting { start, cliff_s, linear_s },
        };
        let vested = |grant: Grant, secs| grant.vested(Timestamp::from_secs(secs).unwrap()).atoms();
        let grant_a = grant(1_000, 100, 10);
        assert_eq!(vested(grant_a, 1_099), 0);
        assert_eq!(vested(grant_a, 1_100), 0);
        assert_eq!(vested(grant_a, 1_103), 300);
        assert_eq!(vested(grant_a, 1_110), 1_000);
        assert_eq!(vested(grant_a, u32::MAX.into()), 1_000);
        assert_eq!(vested(grant(1_000, 100, 0), 1_100), 1_000);
        let cap = agora_types::CAP.atoms();
        assert!(vested(grant(cap, 0, u64::MAX), 18_000_000_000) <= cap);
    }
}
