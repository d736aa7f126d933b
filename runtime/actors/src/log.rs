//! The public receipt log: tiles and signed checkpoints (C2SP), and a call's receipts as a file that verifies offline.
//!
//! The truth is the ledger's; what stands here is made from it again at every start. A publication goes in one order:
//!
//! 1. read the newest published checkpoint, under the log's own key;
//! 2. read the leaves that are new, and compare the tree with the ledger's root and with that checkpoint;
//! 3. write the tiles and entries that are new or wider;
//! 4. sign and write the checkpoint;
//! 5. forget the partial tiles whose full ones stand there now.
//!
//! What a crash leaves behind:
//!
//! | the power fails | published | after the restart |
//! |---|---|---|
//! | before 3 | the old checkpoint | published as if nothing had been |
//! | during 3, or before 4 | the old checkpoint with its tiles, and tiles that nobody vouches for | written again or anew: a tile that the old checkpoint needs is never among them |
//! | during 4 | the old checkpoint or the new one, whole, each with its tiles | read in 1; both are true |
//! | during 5 | the new checkpoint, and partial tiles that are only in the way | they stay; a tile has 255 at most |
//!
//! One log, one story: a checkpoint that contradicts an older one would cost the operator every reader's trust. Where the
//! ledger, the tree and the published checkpoint do not agree, nothing is signed and the actor stops with a fault. Give it
//! a restart limit: a start anew helps against a flipped bit in memory, not against a folder of another log.

mod actor;
mod export;
mod handle;
mod publisher;

pub use actor::{Export, LogActor, LogSettings, Newest, Publish};
pub use handle::LogHandle;
pub use publisher::{LEAVES_MAX, Published};
