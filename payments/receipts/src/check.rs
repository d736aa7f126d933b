//! What a receipt must say to be one, judged from itself alone.

use agora_types::command::METHOD_SIZE_MAX;
use agora_types::{Amount, Code, SAMPLE_MAX};

use crate::receipt::{Attribution, DECLARED_WEIGHTS, LIST_MAX, Receipt, Role, State, WHOLE};

impl Receipt {
    /// Checks bounds and arithmetic: charge = prices x usage, legs in order and summing to what they must.
    ///
    /// Whether the split is the governed one, and whether the key may speak, needs the network's rules.
    ///
    /// # Errors
    /// `wire.unsupported_version`, `call.receipt_invalid` for bounds and order, `call.receipt_mismatch` for a charge that
    /// is not price times usage, `call.split_mismatch` for legs that do not sum.
    pub fn check(&self) -> Result<(), Code> {
        if self.version != 1 {
            return Err(Code::WireUnsupported);
        }
        let short = [self.parents.len(), self.datanets.len(), self.legs.len(), self.attribution.totals.len()];
        if short.iter().any(|length| *length > LIST_MAX) {
            return Err(Code::ReceiptInvalid);
        }
        if self.legs.iter().any(|leg| leg.amount.is_zero()) {
            return Err(Code::ReceiptInvalid);
        }
        let ordered =
            self.legs.windows(2).all(|pair| (pair[0].role, pair[0].account) < (pair[1].role, pair[1].account));
        if !ordered || !self.attribution.is_whole(self.is_final()) {
            return Err(Code::ReceiptInvalid);
        }
        if self.prices.charge(&self.usage) != Some(self.charge) || self.cumulative < self.charge {
            return Err(Code::ReceiptMismatch);
        }
        let final_role = |role| matches!(role, Role::Contributor | Role::Commons | Role::Earnings);
        if self.legs.iter().any(|leg| final_role(leg.role) != self.is_final()) {
            return Err(Code::SplitMismatch);
        }
        let sum = Amount::checked_sum(self.legs.iter().map(|leg| leg.amount));
        let fits = match self.state {
            State::Provisional => sum == Some(self.charge),
            State::Final { .. } => sum.is_some_and(|sum| sum <= self.charge),
        };
        if fits { Ok(()) } else { Err(Code::SplitMismatch) }
    }

    /// True for the second receipt of a call.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Final { .. })
    }
}

impl Attribution {
    /// True when the shares were declared by a datanet's owner and not measured; every view must say so.
    pub fn is_declared(&self) -> bool {
        self.method == DECLARED_WEIGHTS
    }

    /// Bounds, order, and explained + residual = 2^32 in a final receipt, nothing but the method in a provisional one.
    fn is_whole(&self, is_final: bool) -> bool {
        let named = (1..=METHOD_SIZE_MAX).contains(&self.method.len());
        let ordered = self.totals.windows(2).all(|pair| pair[0].account < pair[1].account);
        let sum = self.explained.checked_add(self.residual);
        let shares = if is_final { sum == Some(WHOLE) } else { sum == Some(0) && self.totals.is_empty() };
        // Only measured shares can be those of a sample.
        let sampled = self
            .sampled
            .is_none_or(|sample| is_final && !self.is_declared() && (2..=SAMPLE_MAX).contains(&sample.calls));
        named && ordered && shares && sampled
    }
}
