//! Why a payment is refused: every error text of the protocol, and our own codes where it has none.

use std::fmt;
use std::str::FromStr;

use agora_types::Code;

/// A payment or request that the rules refuse. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// For programs: `invalidReason`, `errorReason`, or the `error` of a 402.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code.into(), code.meaning())
    }
}

/// The text is neither of the protocol nor one of our codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an unknown reason")]
pub struct UnknownReason;

macro_rules! reasons {
    ($($name:ident = $text:literal;)*) => {
        /// A stable text that programs compare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $text, "`")] $name,)*
            /// `agora_<area>_<reason>`: one of our codes, for which the protocol has no text.
            Agora(Code),
        }

        impl Reason {
            /// Every text of the protocol.
            pub const PROTOCOL: &'static [Self] = &[$(Self::$name),*];
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.pad($text),)*
                    Self::Agora(code) => f.pad(&format!("agora_{}", code.text().replace('.', "_"))),
                }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;
            fn from_str(text: &str) -> Result<Self, UnknownReason> {
                match text {
                    $($text => Ok(Self::$name),)*
                    own => {
                        let own = own.strip_prefix("agora_").ok_or(UnknownReason)?;
                        let code = Code::ALL.iter().find(|code| code.text().replace('.', "_") == own);
                        code.copied().map(Self::Agora).ok_or(UnknownReason)
                    }
                }
            }
        }
    };
}

reasons! {
    InsufficientFunds = "insufficient_funds";
    AuthorizationValidAfter = "invalid_exact_evm_payload_authorization_valid_after";
    AuthorizationValidBefore = "invalid_exact_evm_payload_authorization_valid_before";
    AuthorizationValueMismatch = "invalid_exact_evm_payload_authorization_value_mismatch";
    PayloadSignature = "invalid_exact_evm_payload_signature";
    PayloadRecipientMismatch = "invalid_exact_evm_payload_recipient_mismatch";
    InvalidNetwork = "invalid_network";
    InvalidPayload = "invalid_payload";
    InvalidPaymentRequirements = "invalid_payment_requirements";
    InvalidScheme = "invalid_scheme";
    UnsupportedScheme = "unsupported_scheme";
    InvalidX402Version = "invalid_x402_version";
    InvalidTransactionState = "invalid_transaction_state";
    UnexpectedVerifyError = "unexpected_verify_error";
    UnexpectedSettleError = "unexpected_settle_error";
    Signature = "invalid_exact_evm_signature";
    RecipientMismatch = "invalid_exact_evm_recipient_mismatch";
    NonceAlreadyUsed = "invalid_exact_evm_nonce_already_used";
    InsufficientBalance = "invalid_exact_evm_insufficient_balance";
    UptoFacilitatorMismatch = "upto_facilitator_mismatch";
    UptoSettlementExceedsAmount = "invalid_upto_evm_payload_settlement_exceeds_amount";
    SettlementPending = "settlement_pending";
    ChannelNotFound = "invalid_batch_settlement_evm_channel_not_found";
    TokenMismatch = "invalid_batch_settlement_evm_token_mismatch";
    VoucherSignature = "invalid_batch_settlement_evm_voucher_signature";
    CumulativeExceedsBalance = "invalid_batch_settlement_evm_cumulative_exceeds_balance";
    CumulativeBelowClaimed = "invalid_batch_settlement_evm_cumulative_below_claimed";
    CumulativeAmountMismatch = "invalid_batch_settlement_evm_cumulative_amount_mismatch";
    ChannelInsufficientBalance = "invalid_batch_settlement_evm_insufficient_balance";
    PayloadType = "invalid_batch_settlement_evm_payload_type";
    ChannelIdMismatch = "invalid_batch_settlement_evm_channel_id_mismatch";
    ReceiverMismatch = "invalid_batch_settlement_evm_receiver_mismatch";
    ReceiverAuthorizerMismatch = "invalid_batch_settlement_evm_receiver_authorizer_mismatch";
    WithdrawDelayMismatch = "invalid_batch_settlement_evm_withdraw_delay_mismatch";
    WithdrawDelayOutOfRange = "invalid_batch_settlement_evm_withdraw_delay_out_of_range";
    ReceiveAuthorizationSignature = "invalid_batch_settlement_evm_receive_authorization_signature";
    Erc3009AuthorizationRequired = "invalid_batch_settlement_evm_erc3009_authorization_required";
    DepositBelowMinDeposit = "invalid_batch_settlement_evm_deposit_below_min_deposit";
    DepositSimulationFailed = "invalid_batch_settlement_evm_deposit_simulation_failed";
    AuthorizerAddressMismatch = "invalid_batch_settlement_evm_authorizer_address_mismatch";
    ChannelBusy = "invalid_batch_settlement_evm_channel_busy";
    ChargeExceedsSignedCumulative = "invalid_batch_settlement_evm_charge_exceeds_signed_cumulative";
    MissingChannel = "invalid_batch_settlement_evm_missing_channel";
    NothingToSettle = "invalid_batch_settlement_evm_nothing_to_settle";
    RefundPayload = "invalid_batch_settlement_evm_refund_payload";
    RefundNoBalance = "invalid_batch_settlement_evm_refund_no_balance";
    RefundAmountInvalid = "invalid_batch_settlement_evm_refund_amount_invalid";
}

impl Reason {
    /// True for the two texts at which a stock client adopts the channel's state out of the 402 and tries again.
    pub fn is_corrective(self) -> bool {
        self == Self::CumulativeAmountMismatch || self == Self::CumulativeBelowClaimed
    }
}

impl From<Code> for Reason {
    fn from(code: Code) -> Self {
        code.x402().and_then(|text| text.parse().ok()).unwrap_or(Self::Agora(code))
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_reason_that_reads_back() {
        for code in Code::ALL {
            let reason = Reason::from(*code);
            assert_eq!(reason.to_string().parse(), Ok(reason), "{code}");
            assert_eq!(code.x402().is_none(), matches!(reason, Reason::Agora(_)), "{code}");
        }
        for reason in Reason::PROTOCOL {
            assert_eq!(reason.to_string().parse(), Ok(*reason));
        }
        assert_eq!("agora_nothing".parse::<Reason>(), Err(UnknownReason));
        assert_eq!(Reason::from(Code::NotPayer).to_string(), "agora_channel_not_the_payer");
    }
}
