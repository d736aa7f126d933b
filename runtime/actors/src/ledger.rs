//! The ledger of a node: one owner of state and log, which commits first and answers then.
//!
//! What a crash leaves behind:
//!
//! | the power fails | on disk | the caller | after the restart |
//! |---|---|---|---|
//! | before the append | nothing | no answer | repeats with the same id; it happens once |
//! | during the append | the whole batch or nothing of it | no answer | repeats; it happens once, or gets the first answer |
//! | after the append, before the answer | the batch | no answer | repeats; gets the first answer |

mod actor;
mod handle;
mod node;

pub use actor::{LedgerActor, LedgerError, LedgerSettings, Look, Submit};
pub use handle::LedgerHandle;
pub use node::{Answers, LedgerFault, LedgerNode};
