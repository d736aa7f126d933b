//! Datanets: data that people give, the record of who gave what first, and the rule that says whose data a version has.
//!
//! The way of a piece of data, file by file:
//!
//! 1. A reader turns a file into [`Item`]s (`readers`), and the checks look at each (`checks`).
//! 2. The contributor's [`Batch`] commits to them: a Merkle root over salted hashes, which the ledger records before
//!    anybody sees the data (`batch.rs`). What is said of the whole batch is one signed [`Submission`].
//! 3. The data is revealed ([`Reveal`]), compared with the commitment, and stands in the datanet's list from then on as
//!    a [`Contribution`]. The list only grows; [`Position`] says whose commitment came first.
//! 4. Curators judge and contributors withdraw: signed [`Act`]s, a second list that only grows.
//! 5. Near-duplicates are found (`similar`), and a [`Draft`] of both lists gives the [`Membership`]: which
//!    contributions are in, and why each other one is out (`membership.rs`).
//! 6. A [`DatanetVersion`] fixes all of it by roots; [`examples()`] feeds training with what is in, `export` writes it
//!    as Croissant.
//!
//! Everything here is a pure function: time, salts, bytes and texts come in as arguments.

mod act;
mod batch;
mod charter;
pub mod checks;
mod contribution;
mod draft;
mod examples;
pub mod export;
mod item;
mod members;
mod membership;
mod policy;
pub mod readers;
pub mod similar;
mod submission;
mod terms;
mod version;

pub use act::{Act, NOTE_SIZE_MAX, Reason, Ruling, Subject, Verdict, Withdrawal};
pub use agora_types::ContributionKind;
pub use batch::{Batch, BatchSeed, commit, salt};
pub use charter::Charter;
pub use contribution::{Contribution, Position, contributions_root};
pub use draft::{ACTS_MAX, CONTRIBUTIONS_MAX, Draft};
pub use examples::{Example, ExampleError, examples};
pub use item::{ITEM_SIZE_MAX, Item, MESSAGES_MAX, Message, Reveal, Role};
pub use members::{KIND_WEIGHT_MAX, KindWeights, payees_root};
pub use membership::{Counts, Membership, Standing};
pub use policy::{Action, Admission, CURATORS_MAX, Checks, Curator, LICENCES_MAX, Policy};
pub use submission::{Commitment, DECLARED_WEIGHT_MAX, ITEMS_MAX, Submission, licence_hash, submission_root};
pub use terms::Terms;
pub use version::DatanetVersion;
