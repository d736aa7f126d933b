//! Statements inside the extensions of a 402 and of a paid answer.

use agora_types::key::WalletKey;
use agora_types::{Address, Timestamp};

use super::{
    NAME, OFFERS_MAX, OfferPayload, SignedOffer, SignedOffers, SignedReceipt, SignedReceiptInfo, StatementError,
};
use crate::extensions::{extension, info};
use crate::wire::{Accept, Object, PaymentRequired, WireError, object};

impl SignedOffers {
    /// Signs every offer of a 402 that is in known words, and puts them into its extensions.
    pub fn attach(required: &mut PaymentRequired, valid_until: u64, key: &WalletKey) {
        let url = &required.resource.url;
        let offers = (0u32..).zip(&required.accepts).filter_map(|(index, accept)| {
            let offer = accept.known()?;
            Some(SignedOffer::sign(OfferPayload::of(url, offer, valid_until), Some(index), key))
        });
        let info = object(&Self { offers: offers.collect() });
        required.extensions.insert(NAME.to_owned(), extension(info, None));
    }

    /// Out of a 402; `None` when the seller signs none.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn read(extensions: &Object) -> Result<Option<Self>, WireError> {
        let found: Option<Self> = info(NAME, extensions)?;
        match &found {
            Some(signed) if signed.offers.len() > OFFERS_MAX => {
                Err(WireError::Shape { what: NAME, why: format!("more than {OFFERS_MAX} offers") })
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Succeeds when one of them is a good offer of `accept` by `expected`.
    ///
    /// # Errors
    /// The last [`StatementError`] met.
    pub fn verify(
        &self,
        expected: &Address,
        resource_url: &str,
        accept: &Accept,
        now: Timestamp,
    ) -> Result<(), StatementError> {
        let offer = accept.known().ok_or(StatementError::Other("offer"))?;
        let mut last = Err(StatementError::Other("offer"));
        for signed in &self.offers {
            last = signed.verify(expected, resource_url, offer, now);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

impl SignedReceipt {
    /// Into the extensions of a paid answer.
    pub fn write(&self, extensions: &mut Object) {
        let info = object(&SignedReceiptInfo { receipt: self.clone() });
        extensions.insert(NAME.to_owned(), extension(info, None));
    }

    /// Out of a paid answer; `None` when the seller signs none.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn read(extensions: &Object) -> Result<Option<Self>, WireError> {
        Ok(info::<SignedReceiptInfo>(NAME, extensions)?.map(|info| info.receipt))
    }
}
