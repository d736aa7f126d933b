//! What measured shares follow from, as a file or a node gives it: read, and tied to the receipts that name it.

use agora_attribution::{AttributionSpec, Evidence, Paid, ReceiptFields};
use agora_receipts::envelope::Enclosed;
use agora_receipts::{Envelope, Receipt, Role, State};
use agora_shell::{Failure, Outcome};
use agora_types::merkle::empty_root;
use agora_types::{Amount, Canonical, Code, Hash};

use crate::control::{Measured, Request, Service};

/// A spec, the evidence, and what the receipts say of both. Nothing follows from another yet.
#[derive(Debug, Clone)]
pub(super) struct Documents {
    pub(super) spec: AttributionSpec,
    pub(super) evidence: Evidence,
    pub(super) fields: ReceiptFields,
    /// Chain id of the network that the receipts are of.
    pub(super) network: u64,
}

/// What there is to be recomputed.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    /// Shares are as a datanet's owner declared them.
    Declared,
    /// Shares are measured, and the documents are here.
    Measured(Box<Documents>),
    /// Shares are measured, and something is missing.
    Missing(&'static str),
    /// An enclosed document is none.
    Malformed(Code, String),
}

impl Claim {
    /// Of an envelope whose receipts are these.
    pub(super) fn of(envelope: &Envelope, first: &Receipt, last: Option<&Receipt>) -> Self {
        if first.attribution.is_declared() {
            return Self::Declared;
        }
        let Some(last) = last else {
            return Self::Missing("there is no final receipt yet: the answer waits to be measured");
        };
        let Some(enclosed) = &envelope.attribution else {
            return Self::Missing("the file holds no evidence: have the host export it with --attribution");
        };
        let spec = read::<AttributionSpec>(enclosed.spec_bytes(), Code::AttributionSpec);
        let evidence = read::<Evidence>(enclosed.evidence_bytes(), Code::AttributionEvidence);
        match (spec, evidence) {
            (Ok(spec), Ok(evidence)) => {
                let (fields, network) = (fields(first, last), first.network);
                Self::Measured(Box::new(Documents { spec, evidence, fields, network }))
            }
            (Err((code, what)), _) | (_, Err((code, what))) => Self::Malformed(code, what),
        }
    }
}

fn read<T: Canonical>(bytes: Option<Vec<u8>>, code: Code) -> Result<T, (Code, String)> {
    let bytes = bytes.ok_or_else(|| (code, format!("{}: no base64, or too much of it", T::TAG)))?;
    T::from_bytes(&bytes).map_err(|error| (code, error.to_string()))
}

/// What both receipts of a call say of its attribution.
pub(super) fn fields(first: &Receipt, last: &Receipt) -> ReceiptFields {
    let said = &last.attribution;
    ReceiptFields {
        spec_hash: last.spec_hash,
        method: said.method.clone(),
        // No root says that nothing was copied.
        verbatim_root: said.verbatim_root.or(Some(empty_root())),
        influence_root: said.influence_root,
        explained: said.explained,
        residual: said.residual,
        totals: said.totals.iter().map(|total| Paid { account: total.account, amount: total.amount }).collect(),
        pool: sum(first, Role::Contributors),
        paid: sum(last, Role::Earnings),
        provisional: match last.state {
            State::Final { index, leaf } => (index, leaf),
            // It is none, and fits nothing.
            State::Provisional => (u64::MAX, Hash::ZERO),
        },
        sampled: said.sampled,
    }
}

/// What the legs of a role pay in all. A receipt whose legs do not sum was refused when it was read.
pub(super) fn sum(receipt: &Receipt, role: Role) -> Amount {
    let legs = receipt.legs.iter().filter(|leg| leg.role == role);
    Amount::checked_sum(legs.map(|leg| leg.amount)).unwrap_or_default()
}

/// The documents of a call that the node measured.
///
/// # Errors
/// `receipt.not_found` when it did not; `wire.malformed`; the service's.
pub(super) async fn measured(service: &dyn Service, index: u64) -> Outcome<(Option<AttributionSpec>, Evidence)> {
    let measured: Measured = service.call(Request::Evidence { index }).await?;
    let malformed = |what: String| Failure::new(Code::WireMalformed, format!("the node's answer: {what}"));
    let bytes = |text: &str| hex::decode(text).map_err(|error| malformed(error.to_string()));
    let spec = measured
        .spec
        .as_deref()
        .map(|spec| AttributionSpec::from_bytes(&bytes(spec)?).map_err(|error| malformed(error.to_string())));
    let evidence = Evidence::from_bytes(&bytes(&measured.evidence)?).map_err(|error| malformed(error.to_string()))?;
    Ok((spec.transpose()?, evidence))
}

/// Puts spec and evidence into an envelope.
///
/// # Errors
/// As `measured`; `attribution.bad_spec` when the node has the spec no more.
pub async fn enclose(service: &dyn Service, envelope: &mut Envelope) -> Outcome<()> {
    let index = envelope.provisional.index;
    let (spec, evidence) = measured(service, index).await?;
    let spec = spec.ok_or_else(|| {
        Failure::new(Code::AttributionSpec, format!("the spec by which call {index} was measured is not here any more"))
            .advise("put the adapter with its attribution index back into the node's folder of adapters")
    })?;
    envelope.attribution = Some(Enclosed::new(&spec.to_bytes(), &evidence.to_bytes()));
    Ok(())
}
