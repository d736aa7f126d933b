//! The registry of stable codes: every refusal a user, a peer or a program can meet, numbered once and never reused.
//!
//! A code has a text `area.reason`, a number in its area's range, an HTTP status, a process exit code and, where stock
//! x402 clients act on one, an x402 text. The `ledger` numbers are 1000 + TigerBeetle's where it has the same result.

use std::fmt;

/// A refusal by the rules: nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .code.text(), .code.meaning())]
pub struct Rejection {
    /// Why.
    pub code: Code,
}

impl From<Code> for Rejection {
    fn from(code: Code) -> Self {
        Self { code }
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal, $http:literal, $exit:literal, $x402:expr, $meaning:literal;)*) => {
        /// A stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code { $(#[doc = $meaning] $name = $number,)* }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// `area.reason`, for people and programs.
            pub const fn text(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// What happened and what to do next.
            pub const fn meaning(self) -> &'static str { match self { $(Self::$name => $meaning,)* } }

            /// The HTTP status it is answered with.
            pub const fn http_status(self) -> u16 { match self { $(Self::$name => $http,)* } }

            /// The exit code a command ends with (0 ok, 1 failure, 2 usage, 3 not found, 4 denied, 5 payment required
            /// or insufficient funds, 6 timeout or no responders, 7 conflict, 8 verification failed).
            pub const fn exit_code(self) -> u8 { match self { $(Self::$name => $exit,)* } }

            /// The x402 `errorReason`, where stock clients or the specification know one.
            pub const fn x402(self) -> Option<&'static str> { match self { $(Self::$name => $x402,)* } }

            /// The number in logs and batches.
            pub const fn number(self) -> u16 { self as u16 }

            /// From its number.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    AmountNotDecimal = 101, "amount.not_decimal", 400, 2, None, "write digits and at most one point, without sign or exponent";
    AmountTooPrecise = 102, "amount.too_precise", 400, 2, None, "OPEN has 18 decimal places; round the amount";
    AmountAboveCap = 103, "amount.above_cap", 400, 2, None, "no more than 1000000000 OPEN can exist";
    AmountOverflow = 104, "amount.overflow", 400, 1, None, "the sum does not fit; split the operation";

    WireMalformed = 201, "wire.malformed", 400, 2, Some("invalid_payload"), "the bytes are not a message of this kind";
    WireNotCanonical = 202, "wire.not_canonical", 400, 2, Some("invalid_payload"), "encode the message in deterministic CBOR";
    WireTooLarge = 203, "wire.too_large", 413, 2, Some("invalid_payload"), "the message is over its size limit; send less";
    WireUnsupported = 204, "wire.unsupported_version", 400, 2, Some("invalid_payload"), "this version of the format is not known here; update";

    KeyBadSignature = 301, "key.bad_signature", 401, 8, Some("invalid_exact_evm_signature"), "the signature does not match signer and content; sign again for this network";
    KeyNotRegistered = 302, "key.not_registered", 403, 4, None, "register the key with RegisterKey first";
    KeyRevoked = 303, "key.revoked", 403, 4, None, "the key was revoked; use another";
    KeyRegistered = 304, "key.already_registered", 409, 7, None, "the key is registered already; nothing to do, or use another key";
    KeyBadProof = 305, "key.bad_proof", 400, 8, None, "the new key must sign the registration statement";
    KeyExpired = 306, "key.expired", 403, 4, None, "the key's validity has ended; register a new one";
    KeyWrongLength = 307, "key.wrong_length", 400, 2, None, "give 20 bytes for an address and 32 for an Ed25519 key";
    KeyTooMany = 308, "key.too_many", 429, 4, None, "an owner has at most 64 keys; revoke one first";

    LinkedFailed = 1001, "ledger.linked_event_failed", 409, 1, None, "another command of the linked chain was refused; see its code";
    LinkedOpen = 1002, "ledger.linked_event_chain_open", 400, 2, None, "the last command of a chain must not be linked";
    IdZero = 1005, "ledger.id_must_not_be_zero", 400, 2, None, "choose a time-ordered id";
    SameAccounts = 1012, "ledger.accounts_must_be_different", 400, 2, None, "debit and credit must be two accounts";
    TimeoutReserved = 1017, "ledger.timeout_reserved_for_pending_transfer", 400, 2, None, "give a timeout only to a pending transfer";
    AmountZero = 1018, "ledger.amount_must_not_be_zero", 400, 2, None, "give an amount above zero";
    DebitNotFound = 1021, "ledger.debit_account_not_found", 402, 5, Some("insufficient_funds"), "fund the account first";
    CreditNotFound = 1022, "ledger.credit_account_not_found", 404, 3, None, "check the address";
    PendingNotFound = 1025, "ledger.pending_transfer_not_found", 404, 3, None, "check signer and id of the pending transfer";
    ExceedsPending = 1031, "ledger.exceeds_pending_transfer_amount", 400, 1, None, "post at most the reserved amount";
    PendingPosted = 1033, "ledger.pending_transfer_already_posted", 409, 7, None, "it is done already";
    PendingVoided = 1034, "ledger.pending_transfer_already_voided", 409, 7, None, "it was released already";
    PendingExpired = 1035, "ledger.pending_transfer_expired", 409, 6, None, "the reservation ran out; reserve again";
    ExistsDifferent = 1036, "ledger.exists_with_different_fields", 409, 7, None, "this id was used for another command; choose a new id";
    OverflowsDebits = 1051, "ledger.overflows_debits", 400, 1, None, "a running total would not fit";
    ExceedsCredits = 1054, "ledger.exceeds_credits", 402, 5, Some("insufficient_funds"), "the account has too little; fund it or spend less";
    AccountClosed = 1065, "ledger.debit_account_already_closed", 403, 4, None, "the account is frozen or closed";
    IdFailed = 1068, "ledger.id_already_failed", 409, 7, None, "a command with this id was refused before; use a new id";
    CommandExpired = 1101, "ledger.command_expired", 408, 6, None, "sign again with a later expiresAt";
    ExpiresTooLate = 1102, "ledger.expires_too_late", 400, 2, None, "expiresAt is at most 10 minutes ahead";
    NotSettler = 1103, "ledger.not_the_settler", 403, 4, None, "only the named settler posts a pending transfer";
    SystemAccount = 1104, "ledger.system_account", 403, 4, None, "no transfer may touch this system account";
    TimeoutRange = 1105, "ledger.timeout_out_of_range", 400, 2, None, "a pending transfer lives 1 second to 30 days";
    ChainTooLong = 1106, "ledger.chain_too_long", 400, 2, None, "link at most 16 commands";
    GasUnpaid = 1107, "ledger.gas_unpaid", 402, 5, Some("insufficient_funds"), "the submitter cannot pay the gas; fund its account";
    AllocationNotFound = 1108, "ledger.allocation_not_found", 404, 3, None, "no vesting allocation of this signer has that index";
    NothingVested = 1109, "ledger.nothing_vested", 409, 5, None, "nothing more has vested yet; try later";
    ReceiptNotFound = 1110, "ledger.receipt_not_found", 404, 3, None, "the transfer names a receipt index that does not exist";
    SubmitterUnknown = 1111, "ledger.submitter_unknown", 403, 4, None, "only the operator submits without a signature";
    GenesisInvalid = 1201, "ledger.genesis_invalid", 400, 2, None, "the genesis file breaks a rule; see the message";
    TimeNotRising = 1202, "ledger.time_not_rising", 409, 7, None, "batch time must rise; check the clock of the sequencer";
    AuditFinding = 1203, "ledger.audit_finding", 500, 8, None, "the log does not add up: keep a copy of it, trust no balance, and show it to the operator";

    ChannelNotFound = 2001, "channel.not_found", 404, 3, Some("invalid_batch_settlement_evm_channel_not_found"), "deposit first";
    TokenMismatch = 2002, "channel.token_mismatch", 400, 2, Some("invalid_batch_settlement_evm_token_mismatch"), "the channel must hold this network's asset";
    VoucherSignature = 2003, "channel.voucher_signature", 401, 8, Some("invalid_batch_settlement_evm_voucher_signature"), "the voucher is not signed by the payer's authorizer";
    ExceedsBalance = 2004, "channel.cumulative_exceeds_balance", 402, 5, Some("invalid_batch_settlement_evm_cumulative_exceeds_balance"), "top the channel up";
    BelowClaimed = 2005, "channel.cumulative_below_claimed", 409, 7, Some("invalid_batch_settlement_evm_cumulative_below_claimed"), "sign a voucher above what was claimed already";
    DelayRange = 2006, "channel.withdraw_delay_out_of_range", 400, 2, Some("invalid_batch_settlement_evm_withdraw_delay_out_of_range"), "the withdraw delay is 900 to 2592000 seconds";
    DepositBelowMin = 2007, "channel.deposit_below_min", 400, 2, Some("invalid_batch_settlement_evm_deposit_below_min_deposit"), "deposit at least the governed minimum";
    AuthorizationExpired = 2008, "channel.authorization_expired", 408, 6, Some("invalid_exact_evm_payload_authorization_valid_before"), "sign a new authorization";
    AuthorizationEarly = 2009, "channel.authorization_not_yet_valid", 400, 2, Some("invalid_exact_evm_payload_authorization_valid_after"), "wait until validAfter";
    AuthorizationTooLate = 2010, "channel.authorization_valid_too_long", 400, 2, None, "validBefore is at most 1 hour ahead";
    NonceUsed = 2011, "channel.nonce_already_used", 409, 7, Some("invalid_exact_evm_nonce_already_used"), "this authorization was used with other content; sign a new one";
    RefundNonce = 2012, "channel.refund_nonce", 409, 7, Some("invalid_batch_settlement_evm_refund_payload"), "read the channel's refundNonce and sign again";
    RefundAmount = 2013, "channel.refund_amount_invalid", 400, 2, Some("invalid_batch_settlement_evm_refund_amount_invalid"), "refund between one atom and what is unclaimed";
    RefundNoBalance = 2014, "channel.refund_no_balance", 409, 5, Some("invalid_batch_settlement_evm_refund_no_balance"), "everything is claimed or refunded already";
    NothingToSettle = 2015, "channel.nothing_to_settle", 409, 7, Some("invalid_batch_settlement_evm_nothing_to_settle"), "claim before settling";
    AttributedReceiver = 2016, "channel.attributed_receiver", 403, 4, None, "a listing's channel is claimed by SettleCall only";
    WithdrawNotStarted = 2017, "channel.withdraw_not_started", 409, 7, None, "send WithdrawStart first";
    WithdrawTooEarly = 2018, "channel.withdraw_too_early", 409, 6, None, "wait for the channel's withdraw delay";
    WithdrawStarted = 2019, "channel.withdraw_already_started", 409, 7, None, "finish the withdrawal that runs, after its delay";
    NotPayer = 2020, "channel.not_the_payer", 403, 4, None, "only payer or payer's authorizer may do this";
    AuthorizerMismatch = 2021, "channel.receiver_authorizer_mismatch", 403, 4, Some("invalid_batch_settlement_evm_receiver_authorizer_mismatch"), "all claims of a batch have the one authorizer that signed it";
    ClaimCount = 2022, "channel.claim_count", 400, 2, None, "a batch has 1 to 100 claims";
    PayerIsSystem = 2023, "channel.payer_is_system", 403, 4, None, "a system account has no key and cannot pay";
    ChannelIdMismatch = 2024, "channel.channel_id_mismatch", 400, 2, Some("invalid_batch_settlement_evm_channel_id_mismatch"), "the voucher names another channel than its config";

    ChannelBusy = 2025, "channel.busy", 409, 6, Some("invalid_batch_settlement_evm_channel_busy"), "another call runs on this channel; wait for it, or open a channel with another salt";

    SellerUnknown = 2101, "payment.seller_unknown", 401, 4, None, "only the seller that is paid may ask this; send its token, see `agora payment seller`";
    TooManyHolds = 2102, "payment.too_many_holds", 429, 6, None, "too many payments of this payer are held; settle some, or wait until they run out";
    PaymentInFlight = 2103, "payment.in_flight", 409, 6, None, "the request of this payment is being answered; ask again in a moment";
    PaymentOther = 2104, "payment.other_request", 409, 7, None, "this payment was sent with another request; sign a new one";
    PaymentUncertain = 2105, "payment.uncertain", 503, 6, None, "nobody knows yet whether the payment was made; send the very same request again";
    SellerExists = 2106, "payment.seller_exists", 409, 7, None, "a seller of this name exists; remove it first, or choose another name";
    SellerNotFound = 2107, "payment.seller_not_found", 404, 3, None, "no seller has this name; see `agora payment seller list`";
    ApiKeyUnknown = 2108, "payment.key_unknown", 401, 4, None, "no such API key; make one with `agora payment key add`";
    ApiKeyExists = 2109, "payment.key_exists", 409, 7, None, "an API key of this name exists; remove it first, or choose another name";
    ApiKeyOverBudget = 2110, "payment.key_over_budget", 402, 5, None, "the API key's budget does not cover this call; ask for less, or make a key with a larger budget";
    PaymentRequired = 2111, "payment.required", 402, 5, None, "this costs money: pay with an x402 client such as `agora call`, or give an API key";

    CallNotFound = 3001, "call.not_found", 404, 3, None, "no provisional receipt has this call id";
    CallDifferent = 3002, "call.settled_differently", 409, 7, None, "this call id was settled with another charge or receipt";
    CallFinal = 3003, "call.already_final", 409, 7, None, "the call has its final receipt already";
    CallTooLate = 3004, "call.final_too_late", 408, 6, None, "the suspense ran out; the contributor part is in the commons";
    ReceiptInvalid = 3005, "call.receipt_invalid", 400, 8, None, "the receipt is malformed or its signature is wrong";
    ReceiptMismatch = 3006, "call.receipt_mismatch", 400, 8, None, "the receipt does not say what the command does";
    SplitMismatch = 3007, "call.split_mismatch", 400, 8, None, "the legs are not the governed split of the charge";
    HostNotListed = 3008, "call.host_not_listed", 403, 4, None, "the listing does not name this host";
    HostKeyUnknown = 3009, "call.host_key_unknown", 403, 4, None, "register the host's receipt key first";
    ChargeExceedsVoucher = 3010, "call.charge_exceeds_voucher", 402, 5, Some("invalid_batch_settlement_evm_charge_exceeds_signed_cumulative"), "the voucher does not cover the charge";
    ReceiverNotListing = 3011, "call.receiver_not_listing", 400, 2, None, "the channel must pay the account of the listing";
    CumulativeMismatch = 3012, "call.cumulative_mismatch", 409, 7, Some("invalid_batch_settlement_evm_cumulative_amount_mismatch"), "read the channel's state: charge and cumulative do not meet";
    CallIdZero = 3013, "call.id_must_not_be_zero", 400, 2, None, "choose a time-ordered call id";
    CallInProgress = 3014, "call.in_progress", 409, 6, None, "this call is being answered; wait, then ask again with the same id";
    CallSilent = 3015, "call.silent", 504, 6, None, "the other side fell silent; what was delivered is settled, the rest is not charged";
    CallOvercharge = 3016, "call.overcharge", 402, 5, None, "the host asked for more than quote and delivery allow; nothing more was signed";
    CallResponse = 3017, "call.response_mismatch", 400, 8, None, "the receipt commits to another answer than the one that arrived; keep the receipt as evidence";
    CallNoAnswer = 3018, "call.no_answer", 502, 1, None, "the host delivered nothing; nothing was charged";
    CallNotHeld = 3019, "call.deposit_missing", 402, 5, Some("invalid_batch_settlement_evm_insufficient_balance"), "the channel or the voucher does not cover the first window; deposit, and sign for the first window";

    ListingNotFound = 4001, "listing.not_found", 404, 3, None, "no such listing; look for it with `agora model list`";
    ListingTerms = 4002, "listing.bad_terms", 400, 2, None, "a listing has a name of 1 to 64 bytes, 1 to 16 hosts, and by declared weights 1 to 12 members over its datanets; a measured one names datanets and its method";
    DatanetNotFound = 4101, "datanet.not_found", 404, 3, None, "register the datanet first";
    DatanetTerms = 4102, "datanet.bad_terms", 400, 2, None, "a datanet has a name of 1 to 64 bytes and at most 12 members with weights above zero, each once";
    DatanetVersion = 4103, "datanet.version_not_next", 409, 7, None, "versions follow one another; read the newest first";
    DatanetRecord = 4104, "datanet.record_mismatch", 400, 8, None, "the record does not say what its contributions do; get both anew from the owner";
    ContributionInvalid = 4105, "datanet.bad_contribution", 400, 2, None, "a contribution does not fit its submission, or stands in the list already";
    SubmissionInvalid = 4106, "datanet.bad_submission", 400, 2, None, "a submission names its network and datanet, 1 to 65536 items, a weight of 1 to 10000, an SPDX licence id and a title, under a commitment of its own";
    ItemInvalid = 4107, "datanet.bad_item", 400, 2, None, "an item says something and has at most 524288 bytes; split it";
    NotCommitted = 4108, "datanet.not_committed", 400, 8, None, "the data is not what was committed to; reveal what the batch was made of, with its own salts, for the account that committed";
    PolicyInvalid = 4109, "datanet.bad_policy", 400, 2, None, "a policy names at most 32 curators, asks for no more of them than there are, and has a similarity of 500 to 1000 and sizes up to 524288";
    ActInvalid = 4110, "datanet.bad_act", 400, 2, None, "a verdict or withdrawal names its network and datanet, a reason that fits, and one line as note";
    DataInvalid = 4111, "datanet.bad_input", 400, 2, None, "the file cannot be read as items; see the lines that are named";
    ItemRefused = 4112, "datanet.item_refused", 400, 2, None, "the datanet's policy refuses this item; see what was found in it";
    DatanetEmpty = 4113, "datanet.empty_version", 409, 7, None, "no contribution is in; accept some, then make the version";
    DatanetCommitted = 4150, "datanet.already_committed", 409, 7, None, "this account committed to these contributions in this datanet before; that commitment stands";
    CommitmentInvalid = 4151, "datanet.bad_commitment", 400, 2, None, "a commitment has 1 to 65536 contributions, and its account a key";

    QuoteExpired = 4201, "quote.expired", 410, 6, None, "the quote ran out; ask for another";
    QuoteUsed = 4202, "quote.used", 409, 7, None, "a quote opens one call; ask for another";
    QuoteUnknown = 4203, "quote.unknown", 404, 3, None, "this host gave no such quote, or it was used or ran out; ask for another";
    QuoteTooMany = 4204, "quote.too_many_outstanding", 429, 6, None, "use or let run out the quotes you have; then ask again";
    QuoteMismatch = 4205, "quote.mismatch", 400, 8, None, "the quote is not the one that was given; send it unchanged";
    QuoteInvalid = 4206, "quote.invalid", 400, 2, None, "a quote lives 30 seconds at most, allows output, and can be priced";

    AttributionSpec = 4301, "attribution.bad_spec", 400, 2, None, "the attribution spec breaks a bound, or its hash is not the one that was named; get it anew from the model's owner";
    AttributionMatrix = 4302, "attribution.bad_matrix", 400, 8, None, "the matrix or its table of rows is malformed, or does not fit the spec; fetch both again";
    AttributionEvidence = 4303, "attribution.bad_evidence", 400, 8, None, "the evidence of a final receipt breaks a bound; get it anew from the host";
    AttributionMismatch = 4304, "attribution.mismatch", 400, 8, None, "recomputing gives another result than was stated; keep receipt and evidence, they show which of the two is wrong";
    AttributionInput = 4305, "attribution.bad_input", 400, 2, None, "what is to be attributed breaks a bound; see the message";

    EarningsEpoch = 4401, "earnings.epoch_not_next", 409, 7, None, "epochs follow one another, and a claim names the newest; read the host's distributor first";
    EarningsTotal = 4402, "earnings.total_out_of_range", 409, 7, None, "a published total is not less than the one before, and not more than final receipts have set aside";
    EarningsNotFound = 4403, "earnings.not_found", 404, 3, None, "this host has set nothing aside; see `agora earnings show`";
    EarningsProof = 4404, "earnings.bad_proof", 400, 8, None, "the proof does not lead to the newest published root; ask the host for a new one";
    EarningsClaimed = 4405, "earnings.nothing_to_claim", 409, 7, None, "everything that was published for this account is claimed already";

    StoreFenced = 5001, "store.fenced", 409, 7, None, "another writer appended to this log; stop this node, and run only one";
    StoreDamaged = 5002, "store.damaged", 500, 8, None, "what is on disk is not what was written; restore the data folder from a copy";
    StoreFailed = 5003, "store.failed", 500, 1, None, "the disk or the system failed; see the message, then start again: repeats are safe";
    StoreLocked = 5004, "store.locked", 409, 7, None, "another process has the data folder; stop it, or choose another folder";
    StoreTooLarge = 5005, "store.too_large", 413, 2, None, "the value is over the store's limit; send less";
    LogForeign = 5006, "store.foreign_log", 500, 8, None, "the log was not written by these rules, or it is damaged; run the release that wrote it, or restore a copy";
    LedgerBusy = 5007, "store.busy", 503, 6, None, "too many commands wait for a commit; try again in a moment";

    EngineUnknownAdapter = 6001, "engine.unknown_adapter", 404, 3, None, "no such adapter is loaded; load it, or ask for the base model";
    EngineBadModel = 6002, "engine.bad_model", 400, 8, None, "the model file is malformed or damaged; fetch it again";
    EngineBadAdapter = 6003, "engine.bad_adapter", 400, 8, None, "the adapter does not fit this base model, or its file is malformed";
    EngineContext = 6004, "engine.context_exceeded", 400, 2, None, "prompt and answer do not fit the model's context; shorten the prompt or ask for less";
    EngineBusy = 6005, "engine.busy", 503, 6, None, "the engine's queue is full; try again in a moment";
    EngineNotFinite = 6006, "engine.not_finite", 500, 1, None, "the model computed a value that is not a number; the model or adapter is unusable";
    EngineBadRequest = 6007, "engine.bad_request", 400, 2, None, "the request breaks a bound; see the message";
    EngineStopped = 6008, "engine.stopped", 503, 6, None, "the engine has stopped; start the node again";
    EngineUnsupported = 6009, "engine.unsupported", 400, 2, None, "this architecture, tokenizer or tensor format is not supported; use a model of the Llama, Qwen 2 or 3, or Gemma 3 family";
    EngineFileMissing = 6010, "engine.file_not_found", 404, 3, None, "there is no such model file; fetch it with `agora model fetch`";
    EngineWrongHash = 6011, "engine.wrong_hash", 400, 8, None, "the file is not the one that was promised (SHA-256 differs); fetch it again";
    EngineTooLarge = 6012, "engine.too_large", 413, 2, None, "the file is over the engine's limits";
    EngineNoDevice = 6013, "engine.no_device", 503, 1, None, "there is no such device, or its driver is missing; compute on the processor, or install the driver";
    FactorySettings = 6101, "factory.bad_settings", 400, 2, None, "a setting of the training is out of its bounds; see the message";
    FactoryExamples = 6102, "factory.bad_examples", 400, 2, None, "the examples cannot be learnt from; see the message";
    FactoryCheckpoint = 6103, "factory.bad_checkpoint", 400, 8, None, "the checkpoint is damaged, or of another training; remove it to begin anew";
    FactoryDiverged = 6104, "factory.diverged", 500, 1, None, "the training's numbers grew out of all bounds; lower the learning rate";
    FactoryStopped = 6105, "factory.stopped", 409, 7, None, "the training was stopped; give the same command again, it goes on from its checkpoint";
    FactoryExists = 6106, "factory.adapter_exists", 409, 7, None, "there is another adapter of this name; train under another name, or remove its folder";

    AgentDenied = 7001, "agent.denied", 403, 4, None, "the agent's manifest does not grant this; grant it in agent.toml and deploy again";
    AgentOverBudget = 7002, "agent.over_budget", 402, 5, None, "the agent's budget does not cover it; raise the budget or wait";
    AgentOutOfTime = 7003, "agent.out_of_time", 504, 6, None, "the agent computed or waited for too long and was stopped; raise limits in agent.toml, or ask again";
    AgentOutOfMemory = 7004, "agent.out_of_memory", 507, 1, None, "the agent asked for more memory than its manifest grants";
    AgentTrapped = 7005, "agent.trapped", 500, 1, None, "the agent's code failed; see its log";
    AgentBadComponent = 7006, "agent.bad_component", 400, 2, None, "the file is not a WebAssembly component of the world agora:agent";
    AgentBadManifest = 7007, "agent.bad_manifest", 400, 2, None, "agent.toml breaks a rule; see the message";
    AgentImport = 7008, "agent.import_not_granted", 403, 4, None, "the component imports what its manifest does not grant";
    AgentTooManyCalls = 7009, "agent.too_many_calls", 429, 4, None, "the agent made more host calls in one event than it may";
    AgentTooLarge = 7010, "agent.too_large", 413, 2, None, "a value of the agent is over its limit";
    AgentNotFound = 7011, "agent.not_found", 404, 3, None, "no agent has this name; see `agora agent list`";
    AgentExists = 7012, "agent.exists", 409, 7, None, "an agent of this name belongs to somebody else; choose another name";
    AgentFailed = 7013, "agent.failed", 500, 1, None, "the agent answered with an error; see its log";
    AgentStopped = 7014, "agent.stopped", 409, 7, None, "the agent is stopped; deploy it again";
    AgentBadHandle = 7015, "agent.bad_handle", 400, 2, None, "the agent used a quote or stream that it does not have";
    AgentSuspended = 7016, "agent.suspended", 503, 6, None, "the agent failed too often in a row; see its log, then deploy it again";
    AgentBadRequest = 7017, "agent.bad_request", 400, 2, None, "the request breaks a rule; see the message";
    AgentBusy = 7018, "agent.busy", 503, 6, None, "as many requests wait for the agent as may; ask again in a moment, with the same id";
    AgentServedOther = 7019, "agent.served_otherwise", 409, 7, None, "a request with this id and other content was answered; choose another id";
    AgentSellsNothing = 7020, "agent.sells_nothing", 404, 3, None, "the agent answers its owner only; its manifest has no table `serve`";

    BusBadSubject = 8001, "bus.bad_subject", 400, 2, None, "a subject is agora.v1.NETWORK.PEER.VERB; each part has 1 to 64 of A-Z a-z 0-9 _ -";
    BusFrameTooLarge = 8002, "bus.frame_too_large", 413, 2, None, "a frame has at most 65536 bytes; send several";
    BusNoResponders = 8003, "bus.no_responders", 503, 6, None, "nobody listens there; look for another host, or try later";
    BusTimeout = 8004, "bus.timeout", 504, 6, None, "no message came in time; ask again with the same id";
    BusClosed = 8005, "bus.closed", 503, 6, None, "the bus has stopped; connect again";
    BusFull = 8006, "bus.full", 429, 6, None, "the bus holds as many subscriptions or keys as it may; drop some";
    BusNoCredit = 8007, "bus.no_credit", 429, 6, None, "the receiver has not granted more chunks; wait for its credit";
    BusGap = 8008, "bus.gap", 409, 7, None, "chunks are missing; close the stream and settle what was received";
    BusRepeated = 8009, "bus.repeated", 409, 7, None, "this chunk came before; ignore it";

    NodePortInUse = 9001, "node.port_in_use", 409, 7, None, "another program listens on this port; stop it, or give another with --port";
    NodeNoNetwork = 9002, "node.no_network", 404, 3, None, "there is no network of this name here; start one with `agora up`";
    NodeNotRunning = 9003, "node.not_running", 503, 6, None, "no node answers; start one with `agora up`";
    NodeNotLoopback = 9004, "node.not_loopback", 403, 4, None, "a dev network binds loopback addresses only";
    NodeUnauthorized = 9005, "node.unauthorized", 401, 4, None, "the request lacks this node's token; run as the user who started the node";
    NodeConfig = 9006, "node.bad_config", 400, 2, None, "a setting is wrong; see the message";
    NodeFormat = 9007, "node.folder_format", 500, 8, None, "the data folder was written by another release; run that release";
    NodeIo = 9008, "node.io", 500, 1, None, "a file or the system refused; see the message";
    NodeBusy = 9009, "node.busy", 503, 6, None, "the node is starting or stopping; try again in a moment";
    FileMissing = 9010, "node.file_not_found", 404, 3, None, "there is no such file; check the path";
    KeystorePassphrase = 9101, "keystore.bad_passphrase", 401, 4, None, "the passphrase does not open this key";
    KeystoreMalformed = 9102, "keystore.malformed", 400, 8, None, "the file is not an Ethereum keystore of version 3";
    KeystoreMissing = 9103, "keystore.not_found", 404, 3, None, "there is no such key; make one with `agora wallet new`";
    KeystoreExists = 9104, "keystore.exists", 409, 7, None, "a key of this name exists; choose another name";
    KeystorePermissions = 9105, "keystore.permissions", 403, 4, None, "others may read this key; make the file private (mode 0600)";
    SpendLimit = 9106, "wallet.over_max_spend", 402, 5, None, "this command may not spend so much; raise --max-spend if you mean it";
    ModelFetch = 9201, "model.fetch_failed", 502, 6, None, "the model could not be fetched; see the message, then try again";
    ToolMissing = 9202, "tool.missing", 500, 1, None, "a program that this needs is not installed; see the message";
    ReceiptUnknown = 9301, "receipt.not_found", 404, 3, None, "no receipt has this index or call id; see `agora receipt list`";
    ReceiptUntrusted = 9302, "receipt.untrusted_key", 403, 8, None, "the file is signed by keys that are not pinned; add the network to trust.toml if you know it";
    ReceiptProof = 9303, "receipt.bad_proof", 400, 8, None, "the receipt is not in the log that the checkpoint commits to";
    ReceiptEnvelope = 9304, "receipt.bad_envelope", 400, 8, None, "the file is not an exported receipt";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}
