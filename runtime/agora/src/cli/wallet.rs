//! `agora wallet`: keys, balances, transfers.

use agora_shell::{Outcome, parse_amount, text};
use agora_types::Amount;

use super::args::Paying;
use super::context::Context;
use super::documents::{Balance, Sent};
use super::keys::Keys;
use super::payment::Payment;
use crate::control::{Account, Request, Secret, Service};

/// `agora wallet balance` and `agora ledger balance`.
///
/// # Errors
/// `node.bad_config` for a malformed address, `keystore.not_found` for an unknown name; the service's.
pub async fn balance(context: &Context, service: &dyn Service, account: &str) -> Outcome<Balance> {
    let address = Keys::of(context)?.account(account)?;
    let wallet = (!account.starts_with("0x")).then(|| account.to_owned());
    let Account { address, exists, balance, available } = service.call(Request::Account { address }).await?;
    Ok(Balance { wallet, address, exists, balance, available })
}

/// What is wrong with a transfer before any service is asked.
///
/// # Errors
/// `amount.*`, `wallet.over_max_spend`, `node.no_network`, `keystore.*`, `node.bad_config`.
pub fn prepare(context: &Context, to: &str, amount: &str, paying: &Paying) -> Outcome<Transfer> {
    let amount = parse_amount(amount)?;
    context.allow(amount)?;
    let keys = Keys::of(context)?;
    let to = keys.account(to)?;
    let from = keys.address(&paying.from)?;
    Ok(Transfer { from, to, amount })
}

/// A transfer whose parts are known to be well formed and allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Who pays.
    pub from: agora_types::Address,
    /// Who is paid.
    pub to: agora_types::Address,
    /// How much.
    pub amount: Amount,
}

/// `agora wallet send`.
///
/// # Errors
/// `node.bad_config` when nobody says yes; opening the key's; the ledger's refusal; see [`Payment::commit`].
pub async fn send(
    context: &Context,
    service: &dyn Service,
    transfer: Transfer,
    paying: &Paying,
    dry_run: bool,
) -> Outcome<Sent> {
    let Transfer { from, to, amount } = transfer;
    let sent = |payment: Option<&Payment>| Sent {
        from,
        to,
        amount,
        committed: payment.is_some(),
        id: payment.map(|payment| payment.id),
    };
    if dry_run {
        // The ledger decides; what it would certainly refuse is said now.
        let account: Account = service.call(Request::Account { address: from }).await?;
        if account.available < amount {
            let what = format!("{from} can spend {} only", text::amount(account.available));
            return Err(agora_shell::Failure::new(agora_types::Code::ExceedsCredits, what));
        }
        return Ok(sent(None));
    }
    context.confirm(&format!("Send {amount} OPEN to {to}?"), paying.yes)?;
    let key = Keys::of(context)?.open(&paying.from)?;
    let payment = Payment::sign(&context.genesis()?, &key, to, amount)?;
    payment.commit(service).await?;
    Ok(sent(Some(&payment)))
}

/// `agora payment key add`: the key, then its money. A key whose funding fails stays; it is funded with `agora wallet send`.
///
/// # Errors
/// As [`send`]; the service's.
pub async fn add_key(
    context: &Context,
    service: &dyn Service,
    name: String,
    budget: Amount,
    paying: &Paying,
) -> Outcome<Secret> {
    context.allow(budget)?;
    context.confirm(&format!("Fund API key `{name}` with {budget} OPEN?"), paying.yes)?;
    let key = Keys::of(context)?.open(&paying.from)?;
    let made: Secret = service.call(Request::ApiKeyAdd { name, budget }).await?;
    Payment::sign(&context.genesis()?, &key, made.account, budget)?.commit(service).await?;
    Ok(made)
}
