//! The rules of a channel as functions: record and command in, next record and moved atoms out, or a refusal.

use agora_types::channel::{WITHDRAW_DELAY_MAX_S, WITHDRAW_DELAY_MIN_S};
use agora_types::command::{Deposit, Refund};
use agora_types::{Address, Amount, Code, Hash, Timestamp};

use crate::Channel;

/// The governed bounds that a deposit is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// The network's asset.
    pub asset: Address,
    /// Smallest deposit and top-up.
    pub deposit_min: Amount,
    /// `validBefore` is at most this far ahead, seconds.
    pub authorization_s: u32,
}

/// A claim's effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The record that follows.
    pub channel: Channel,
    /// Atoms that leave the channel; zero for a repeat.
    pub delta: Amount,
}

/// Opens a channel or tops it up: the record that follows. `command.amount` atoms enter.
///
/// # Errors
/// `token_mismatch`, `withdraw_delay_out_of_range`, `deposit_below_min`, and the authorization's window.
pub fn deposit(
    before: Option<&Channel>,
    command: &Deposit,
    windows: &Windows,
    now: Timestamp,
) -> Result<Channel, Code> {
    let config = &command.config;
    if config.token != windows.asset {
        return Err(Code::TokenMismatch);
    }
    if !(WITHDRAW_DELAY_MIN_S..=WITHDRAW_DELAY_MAX_S).contains(&config.withdraw_delay) {
        return Err(Code::DelayRange);
    }
    if command.amount.is_zero() || command.amount < windows.deposit_min {
        return Err(Code::DepositBelowMin);
    }
    let seconds = now.as_secs();
    if command.valid_before <= seconds {
        return Err(Code::AuthorizationExpired);
    }
    if command.valid_after > seconds {
        return Err(Code::AuthorizationEarly);
    }
    if command.valid_before - seconds > u64::from(windows.authorization_s) {
        return Err(Code::AuthorizationTooLate);
    }
    let mut channel = before.cloned().unwrap_or_else(|| Channel::new(config.clone()));
    channel.deposited = channel.deposited.checked_add(command.amount).ok_or(Code::OverflowsDebits)?;
    Ok(channel)
}

/// Claims up to a cumulative total that a voucher covers. A total that is reached already is a repeat.
///
/// # Errors
/// `charge_exceeds_voucher` above the voucher, `cumulative_exceeds_balance` for a voucher above the balance.
pub fn claim(before: &Channel, max_claimable: Amount, total: Amount) -> Result<Claimed, Code> {
    if total > max_claimable {
        return Err(Code::ChargeExceedsVoucher);
    }
    if total <= before.total_claimed {
        return Ok(Claimed { channel: before.clone(), delta: Amount::ZERO });
    }
    if max_claimable > before.balance() {
        return Err(Code::ExceedsBalance);
    }
    let delta = total.checked_sub(before.total_claimed).ok_or(Code::BelowClaimed)?;
    Ok(Claimed { channel: Channel { total_claimed: total, ..before.clone() }, delta })
}

/// Gives unclaimed money back with the receiver's consent: the record that follows, or `None` for a repeat.
///
/// # Errors
/// `refund_nonce`, `refund_no_balance`, `refund_amount_invalid`.
pub fn refund(before: &Channel, command: &Refund, digest: &Hash) -> Result<Option<Channel>, Code> {
    if command.nonce.checked_add(1) == Some(before.refund_nonce) && before.last_refund == Some(*digest) {
        return Ok(None);
    }
    if command.nonce != before.refund_nonce {
        return Err(Code::RefundNonce);
    }
    let unclaimed = before.unclaimed();
    if unclaimed.is_zero() {
        return Err(Code::RefundNoBalance);
    }
    if command.amount.is_zero() || command.amount > unclaimed {
        return Err(Code::RefundAmount);
    }
    let refunded = before.refunded.checked_add(command.amount).ok_or(Code::OverflowsDebits)?;
    let refund_nonce = before.refund_nonce.checked_add(1).ok_or(Code::RefundNonce)?;
    Ok(Some(Channel { refunded, refund_nonce, last_refund: Some(*digest), ..before.clone() }))
}

fn may_withdraw(channel: &Channel, signer: &Address) -> Result<(), Code> {
    let config = &channel.config;
    if *signer == config.payer || *signer == config.payer_authorizer { Ok(()) } else { Err(Code::NotPayer) }
}

/// Announces a withdrawal.
///
/// # Errors
/// `not_the_payer`, `withdraw_already_started`.
pub fn withdraw_start(before: &Channel, signer: &Address, now: Timestamp) -> Result<Channel, Code> {
    may_withdraw(before, signer)?;
    if before.withdraw_requested_at.is_some() {
        return Err(Code::WithdrawStarted);
    }
    Ok(Channel { withdraw_requested_at: Some(now), ..before.clone() })
}

/// Takes everything unclaimed back after the delay: the record that follows and the atoms that leave.
///
/// # Errors
/// `not_the_payer`, `withdraw_not_started`, `withdraw_too_early`.
pub fn withdraw_finish(before: &Channel, signer: &Address, now: Timestamp) -> Result<(Channel, Amount), Code> {
    may_withdraw(before, signer)?;
    let since = before.withdraw_requested_at.ok_or(Code::WithdrawNotStarted)?;
    if now < since.plus_secs(u64::from(before.config.withdraw_delay)) {
        return Err(Code::WithdrawTooEarly);
    }
    let amount = before.unclaimed();
    let refunded = before.refunded.checked_add(amount).ok_or(Code::OverflowsDebits)?;
    Ok((Channel { refunded, withdraw_requested_at: None, ..before.clone() }, amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agora_types::channel::ChannelConfig;

    const ASSET: Address = Address::new([9; 20]);

    fn config() -> ChannelConfig {
        ChannelConfig {
            payer: Address::new([1; 20]),
            payer_authorizer: Address::new([2; 20]),
            receiver: Address::new([3; 20]),
            receiver_authorizer: Address::new([4; 20]),
            token: ASSET,
            withdraw_delay: 900,
            salt: Hash::ZERO,
        }
    }

    fn atoms(atoms: u128) -> Amount {
        Amount::from_atoms(atoms)
    }

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    fn windows() -> Windows {
        Windows { asset: ASSET, deposit_min: atoms(10), authorization_s: 3_600 }
    }

    fn deposit_of(amount: u128) -> Deposit {
        Deposit { config: config(), amount: atoms(amount), valid_after: 0, valid_before: 2_000, salt: Hash::ZERO }
    }

    fn funded() -> Channel {
        deposit(None, &deposit_of(100), &windows(), secs(1_000)).unwrap()
    }

    fn refund_of(nonce: u64, amount: u128) -> Refund {
        Refund { config: config(), nonce, amount: atoms(amount) }
    }

    #[test]
    fn deposits_add_up_and_bad_ones_are_refused_by_name() {
        let channel = deposit(Some(&funded()), &deposit_of(50), &windows(), secs(1_000)).unwrap();
        assert_eq!((channel.balance(), channel.unclaimed()), (atoms(150), atoms(150)));
        let refused = |change: &dyn Fn(&mut Deposit)| {
            let mut command = deposit_of(100);
            change(&mut command);
            deposit(None, &command, &windows(), secs(1_000)).unwrap_err()
        };
        assert_eq!(refused(&|d| d.config.token = Address::ZERO), Code::TokenMismatch);
        assert_eq!(refused(&|d| d.config.withdraw_delay = 899), Code::DelayRange);
        assert_eq!(refused(&|d| d.config.withdraw_delay = 2_592_001), Code::DelayRange);
        assert_eq!(refused(&|d| d.amount = atoms(9)), Code::DepositBelowMin);
        assert_eq!(refused(&|d| d.valid_before = 1_000), Code::AuthorizationExpired);
        assert_eq!(refused(&|d| d.valid_after = 1_001), Code::AuthorizationEarly);
        assert_eq!(refused(&|d| d.valid_before = 4_601), Code::AuthorizationTooLate);
    }

    #[test]
    fn a_claim_takes_the_difference_and_an_old_voucher_takes_nothing() {
        let first = claim(&funded(), atoms(60), atoms(40)).unwrap();
        assert_eq!(first.delta, atoms(40));
        let again = claim(&first.channel, atoms(60), atoms(40)).unwrap();
        assert_eq!((again.delta, &again.channel), (Amount::ZERO, &first.channel));
        assert_eq!(claim(&first.channel, atoms(30), atoms(20)).unwrap().delta, Amount::ZERO);
        assert_eq!(claim(&first.channel, atoms(60), atoms(61)), Err(Code::ChargeExceedsVoucher));
        assert_eq!(claim(&first.channel, atoms(101), atoms(50)), Err(Code::ExceedsBalance));
        assert_eq!(claim(&first.channel, atoms(100), atoms(100)).unwrap().delta, atoms(60));
    }

    #[test]
    fn a_refund_is_for_what_is_unclaimed_and_its_repeat_moves_nothing() {
        let channel = claim(&funded(), atoms(40), atoms(40)).unwrap().channel;
        let digest = Hash::sha256("first");
        assert_eq!(refund(&channel, &refund_of(0, 61), &digest), Err(Code::RefundAmount));
        assert_eq!(refund(&channel, &refund_of(0, 0), &digest), Err(Code::RefundAmount));
        assert_eq!(refund(&channel, &refund_of(1, 1), &digest), Err(Code::RefundNonce));
        let after = refund(&channel, &refund_of(0, 60), &digest).unwrap().unwrap();
        assert_eq!((after.unclaimed(), after.refund_nonce), (Amount::ZERO, 1));
        assert_eq!(refund(&after, &refund_of(0, 60), &digest), Ok(None));
        assert_eq!(refund(&after, &refund_of(0, 60), &Hash::sha256("other")), Err(Code::RefundNonce));
        assert_eq!(refund(&after, &refund_of(1, 1), &digest), Err(Code::RefundNoBalance));
    }

    #[test]
    fn the_payer_gets_the_rest_back_after_the_delay_and_old_vouchers_stay_dead() {
        let channel = claim(&funded(), atoms(40), atoms(40)).unwrap().channel;
        let payer = config().payer;
        assert_eq!(withdraw_start(&channel, &config().receiver, secs(10)), Err(Code::NotPayer));
        assert_eq!(withdraw_finish(&channel, &payer, secs(10)), Err(Code::WithdrawNotStarted));
        let started = withdraw_start(&channel, &config().payer_authorizer, secs(10)).unwrap();
        assert_eq!(withdraw_start(&started, &payer, secs(11)), Err(Code::WithdrawStarted));
        assert_eq!(withdraw_finish(&started, &payer, secs(909)), Err(Code::WithdrawTooEarly));
        let (drained, amount) = withdraw_finish(&started, &payer, secs(910)).unwrap();
        assert_eq!((amount, drained.unclaimed()), (atoms(60), Amount::ZERO));
        let reopened = deposit(Some(&drained), &deposit_of(100), &windows(), secs(1_000)).unwrap();
        assert_eq!(claim(&reopened, atoms(40), atoms(40)).unwrap().delta, Amount::ZERO);
        assert_eq!(reopened.total_claimed, atoms(40));
    }
}
