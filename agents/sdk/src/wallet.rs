//! What this agent may still spend. Grant: `[grants.wallet]`.

use crate::bindings::agora::agent::wallet;
use crate::{Amount, Error};

/// A budget; the host keeps it, and refuses what goes beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Granted in all.
    pub granted: Amount,
    /// Spent or set aside.
    pub used: Amount,
    /// Most of one call.
    pub per_call: Amount,
}

impl Budget {
    /// The most that the next call may cost.
    #[must_use]
    pub fn next_call(&self) -> Amount {
        self.granted.less(self.used).min(self.per_call)
    }
}

/// The budget as it stands now.
///
/// # Errors
/// The event ran out of host calls.
pub fn budget() -> Result<Budget, Error> {
    let budget = wallet::budget()?;
    Ok(Budget { granted: budget.granted.parse()?, used: budget.used.parse()?, per_call: budget.per_call.parse()? })
}
