//! Answers that were given: whole ones are kept for a repeat of their request, of the others the receipt remains.

use agora_economy::ports::pay::{Answered, KEPT_BODY_MAX, Kept, ReceiptRef, Trouble};
use agora_economy::ports::state::{Table, Write};
use agora_receipts::Receipt;
use agora_types::{Address, CallId, Canonical as _, Code, Signed, Timestamp};
use agora_x402::wire::SettleResponse;
use minicbor::{Decode, Encode};

use super::super::rows::{KeptRow, load, put};
use super::super::single::Stop;
use super::{Inner, NodeModels};
use crate::error::CallError;

/// A whole answer that was given, `agora/completed/v1`, by `a` ‖ payer ‖ call id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CompletedRow {
    /// The answer.
    #[n(0)]
    pub kept: KeptRow,
    /// What `PAYMENT-RESPONSE` said: the JSON of a `SettleResponse`.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub response: Vec<u8>,
    /// When it was given.
    #[n(2)]
    pub at: Timestamp,
}

impl agora_types::Canonical for CompletedRow {
    const TAG: &'static str = "agora/completed/v1";
    const SIZE_MAX: usize = KEPT_BODY_MAX + 16_384;
}

/// First byte of a completed answer's key in [`Table::Till`].
const COMPLETED: u8 = b'a';
/// Answers are kept so long for a repeat of their requests.
const COMPLETED_KEPT_S: u64 = 7_200;
/// Rows that one round of forgetting looks at.
const SWEEP_MAX: usize = 1_024;

fn completed_key(payer: &Address, call: &CallId) -> Vec<u8> {
    [&[COMPLETED], payer.as_bytes().as_slice(), call.as_bytes()].concat()
}

/// A call that has ended, as its receipt says.
pub(super) struct Past {
    pub(super) receipt: ReceiptRef,
    pub(super) said: Receipt,
}

impl NodeModels {
    /// Forgets whole answers that are two hours old: whoever repeats such a request is served by the host, as long as it
    /// remembers the call. To be called now and then.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn sweep(&self) -> Result<usize, CallError> {
        let (journal, now) = (&self.0.buyer.journal, self.0.buyer.clock.now());
        let rows = journal.list(Table::Till, vec![COMPLETED], SWEEP_MAX).await?;
        let old =
            |bytes: &[u8]| CompletedRow::from_bytes(bytes).map_or(true, |row| now > row.at.plus_secs(COMPLETED_KEPT_S));
        let gone = rows.into_iter().filter(|(_, bytes)| old(bytes));
        let writes: Vec<Write> = gone.map(|(key, _)| Write { table: Table::Till, key, value: None }).collect();
        let count = writes.len();
        if count > 0 {
            journal.commit(writes).await?;
        }
        Ok(count)
    }
}

impl Inner {
    /// The receipt of a call, once it has one.
    pub(super) async fn past(&self, payer: Address, call: CallId) -> Result<Option<Past>, Stop> {
        let Some(record) = self.buyer.ledger.call(payer, call).await? else { return Ok(None) };
        let damaged = || CallError::new(Code::StoreDamaged, format!("the receipt of call {call}"));
        let bytes = self.buyer.ledger.receipt(record.index).await?.ok_or_else(damaged)?;
        let said = Signed::<Receipt>::from_bytes(&bytes).map_err(|_| damaged())?.payload().clone();
        let receipt = ReceiptRef { leaf: record.leaf, call, payer, charge: said.charge, salt: self.salt(&call) };
        Ok(Some(Past { receipt, said }))
    }

    /// The whole answer that was given before for this very payment and request. `deposit` is the transaction of the
    /// deposit that the payment brings: an answer that was paid with another one is not repeated.
    pub(super) async fn answered(&self, past: &Past, deposit: Option<&str>) -> Result<Option<Answered>, Stop> {
        let key = completed_key(&past.receipt.payer, &past.receipt.call);
        let Some(row) = load::<CompletedRow>(self.buyer.journal.as_ref(), key).await? else { return Ok(None) };
        let response: SettleResponse = serde_json::from_slice(&row.response)
            .map_err(|error| CallError::new(Code::StoreDamaged, error.to_string()))?;
        if deposit.is_some_and(|deposit| deposit != response.transaction) {
            return Ok(None);
        }
        Ok(Some(Answered { kept: Some(row.kept.kept()), response, receipt: Some(past.receipt.clone()) }))
    }

    /// Keeps a whole answer for a repeat; one that is too long is not kept.
    pub(super) async fn keep(
        &self,
        payer: Address,
        call: CallId,
        kept: Kept,
        response: &SettleResponse,
    ) -> Result<(), Trouble> {
        let Some(kept) = KeptRow::of(Some(kept)) else { return Ok(()) };
        let response = serde_json::to_vec(response).unwrap_or_default();
        let row = CompletedRow { kept, response, at: self.buyer.clock.now() };
        let write = put(completed_key(&payer, &call), row.to_bytes());
        self.buyer.journal.commit(vec![write]).await.map_err(|fault| CallError::from(fault).into())
    }
}
