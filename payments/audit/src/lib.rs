//! An independent recount of the ledger from its log, sharing no code with apply.
