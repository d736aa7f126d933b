//! Accounts and the one way in which their totals change.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use agora_types::{Address, Amount, Code};
use minicbor::{Decode, Encode};

use crate::Ledger;

/// Totals of one account; they only ever grow, except that pending ones are released.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Account {
    /// Reserved debits.
    #[n(0)]
    pub debits_pending: Amount,
    /// Debits that happened.
    #[n(1)]
    pub debits_posted: Amount,
    /// Credits that others have reserved for this account.
    #[n(2)]
    pub credits_pending: Amount,
    /// Credits that happened.
    #[n(3)]
    pub credits_posted: Amount,
}

impl Account {
    /// Posted credits less posted debits; zero for the issuance account.
    pub fn balance(&self) -> Amount {
        self.credits_posted.saturating_sub(self.debits_posted)
    }

    /// The balance less what is reserved.
    pub fn available(&self) -> Amount {
        self.balance().saturating_sub(self.debits_pending)
    }

    /// True when debits, pending ones included, do not exceed credits.
    fn is_covered(&self) -> bool {
        self.debits_posted.checked_add(self.debits_pending).is_some_and(|debits| debits <= self.credits_posted)
    }
}

/// The accounts without a key. Plain transfers may not touch them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemAccount {
    /// Every atom comes from here; the only account that may be overdrawn.
    Issuance,
    /// Deposits of all channels, less what was claimed or refunded.
    Escrow,
    /// Claimed and not yet settled.
    Unsettled,
    /// Contributor parts that wait for their final receipts.
    Suspense,
    /// The unexplained part of contributor shares; spent by governance.
    Commons,
    /// The validators' pool.
    Validators,
    /// The platform.
    Platform,
    /// Gas.
    Gas,
    /// Genesis allocations that have not vested.
    Vesting,
    /// Measured contributor parts that nobody has claimed yet.
    Earnings,
}

impl SystemAccount {
    /// Every system account.
    pub const ALL: [Self; 10] = [
        Self::Issuance,
        Self::Escrow,
        Self::Unsettled,
        Self::Suspense,
        Self::Commons,
        Self::Validators,
        Self::Platform,
        Self::Gas,
        Self::Vesting,
        Self::Earnings,
    ];

    /// Its name inside `agora/system/<name>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuance => "issuance",
            Self::Escrow => "escrow",
            Self::Unsettled => "unsettled",
            Self::Suspense => "suspense",
            Self::Commons => "commons",
            Self::Validators => "validators",
            Self::Platform => "platform",
            Self::Gas => "gas",
            Self::Vesting => "vesting",
            Self::Earnings => "earnings",
        }
    }

    /// Its address.
    pub fn address(self) -> Address {
        ADDRESSES[self as usize]
    }

    /// True for the address of any of them.
    pub fn is_one(address: &Address) -> bool {
        ADDRESSES.contains(address)
    }
}

/// Derived once: every transfer asks for them.
static ADDRESSES: LazyLock<[Address; 10]> =
    LazyLock::new(|| SystemAccount::ALL.map(|account| Address::system(account.name())));

/// One movement: `amount` atoms from `debit` to `credit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// Pays.
    pub debit: Address,
    /// Is paid; opened by its first credit.
    pub credit: Address,
    /// Above zero.
    pub amount: Amount,
}

impl Ledger {
    /// Posts all movements or none.
    ///
    /// # Errors
    /// `amount_must_not_be_zero`, `accounts_must_be_different`, `debit_account_not_found`, `exceeds_credits`,
    /// `overflows_debits`.
    pub fn post(&mut self, postings: &[Posting]) -> Result<(), Code> {
        let changed = self.after(postings)?;
        // After this point, nothing can fail.
        for (address, account) in changed {
            self.accounts.put(address, account);
        }
        Ok(())
    }

    /// Succeeds when [`Ledger::post`] would; changes nothing.
    pub fn check(&self, postings: &[Posting]) -> Result<(), Code> {
        self.after(postings).map(|_| ())
    }

    /// The touched accounts as they would be.
    fn after(&self, postings: &[Posting]) -> Result<BTreeMap<Address, Account>, Code> {
        let mut changed: BTreeMap<Address, Account> = BTreeMap::new();
        let load = |changed: &BTreeMap<Address, Account>, address: &Address| {
            changed.get(address).or_else(|| self.accounts.get(address)).copied()
        };
        for Posting { debit, credit, amount } in postings {
            if amount.is_zero() {
                return Err(Code::AmountZero);
            }
            if debit == credit {
                return Err(Code::SameAccounts);
            }
            let issuance = *debit == SystemAccount::Issuance.address();
            let mut payer = match load(&changed, debit) {
                Some(account) => account,
                None if issuance => Account::default(),
                None => return Err(Code::DebitNotFound),
            };
            payer.debits_posted = payer.debits_posted.checked_add(*amount).ok_or(Code::OverflowsDebits)?;
            changed.insert(*debit, payer);
            let mut payee = load(&changed, credit).unwrap_or_default();
            payee.credits_posted = payee.credits_posted.checked_add(*amount).ok_or(Code::OverflowsDebits)?;
            changed.insert(*credit, payee);
        }
        for (address, account) in &changed {
            if !account.is_covered() && *address != SystemAccount::Issuance.address() {
                return Err(Code::ExceedsCredits);
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Address {
        Address::new([n; 20])
    }

    fn posting(debit: Address, credit: Address, atoms: u128) -> Posting {
        Posting { debit, credit, amount: Amount::from_atoms(atoms) }
    }

    fn funded() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.post(&[posting(SystemAccount::Issuance.address(), address(1), 100)]).unwrap();
        ledger
    }

    #[test]
    fn all_postings_happen_or_none() {
        let mut ledger = funded();
        let before = ledger.clone();
        let too_much = [posting(address(1), address(2), 60), posting(address(1), address(3), 41)];
        assert_eq!(ledger.post(&too_much), Err(Code::ExceedsCredits));
        assert_eq!(ledger, before);
        ledger.post(&[posting(address(1), address(2), 60), posting(address(1), address(3), 40)]).unwrap();
        assert_eq!(ledger.available(&address(1)), Amount::ZERO);
        assert_eq!(ledger.available(&address(2)), Amount::from_atoms(60));
        assert_eq!(ledger.supply(), Amount::from_atoms(100));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let mut ledger = funded();
        assert_eq!(ledger.post(&[posting(address(1), address(2), 0)]), Err(Code::AmountZero));
        assert_eq!(ledger.post(&[posting(address(1), address(1), 1)]), Err(Code::SameAccounts));
        assert_eq!(ledger.post(&[posting(address(9), address(1), 1)]), Err(Code::DebitNotFound));
        assert_eq!(ledger.post(&[posting(address(1), address(2), 101)]), Err(Code::ExceedsCredits));
    }

    #[test]
    fn a_running_total_never_wraps() {
        let mut ledger = Ledger::default();
        let issuance = SystemAccount::Issuance.address();
        ledger.post(&[posting(issuance, address(1), u128::MAX)]).unwrap();
        assert_eq!(ledger.post(&[posting(issuance, address(2), 1)]), Err(Code::OverflowsDebits));
    }

    #[test]
    fn system_accounts_are_known_by_their_addresses() {
        assert!(SystemAccount::is_one(&Address::system("commons")));
        assert!(!SystemAccount::is_one(&address(1)));
        for account in SystemAccount::ALL {
            assert_eq!(account.address(), Address::system(account.name()));
        }
    }
}
