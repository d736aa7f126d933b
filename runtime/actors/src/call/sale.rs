//! A sale as it stands on disk: what was promised, what was authorised, and every chunk before it was sent.

use agora_catalog::Quote;
use agora_economy::ports::bus::frame::Open;
use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, WRITES_MAX, Write};
use agora_inference_api::{Likelihoods, Request};
use agora_receipts::receipt::Decoding;
use agora_types::authorization::Single;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Command;
use agora_types::{Address, Amount, CallId, Canonical, ChannelId, Code, Timestamp, Usage};
use minicbor::{Decode, Encode};

use super::seller::Seller;
use super::{WINDOW_TOKENS, bill};
use crate::error::CallError;

/// Where a sale stands. Numbers are never reused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// Chunks go out.
    #[n(0)]
    Streaming,
    /// The provisional receipt is signed; settling it may be repeated.
    #[n(1)]
    Signed(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Everything is done; kept a while for a buyer that missed the end.
    #[n(2)]
    Closed {
        /// The provisional receipt.
        #[cbor(n(0), with = "minicbor::bytes")]
        receipt: Vec<u8>,
        /// Since when.
        #[n(1)]
        at: Timestamp,
    },
}

/// The head row of a sale, `agora/seller-call/v1`, by `h` ‖ payer ‖ call id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SellerCall {
    /// The promise.
    #[n(0)]
    pub quote: Quote,
    /// The channel that pays.
    #[n(1)]
    pub config: ChannelConfig,
    /// The salt of both commitments.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// How tokens are chosen.
    #[n(3)]
    pub decoding: Decoding,
    /// The newest accepted voucher.
    #[n(4)]
    pub voucher: Voucher,
    /// What was claimed of the channel before this call.
    #[n(5)]
    pub base: Amount,
    /// Chunks that the buyer has acknowledged.
    #[n(6)]
    pub acknowledged: u64,
    /// When it was held.
    #[n(7)]
    pub opened_at: Timestamp,
    /// Where it stands.
    #[n(8)]
    pub phase: Phase,
    /// The single payment that is held for it, instead of a channel's money.
    #[n(9)]
    pub single: Option<Single>,
}

/// One chunk, `agora/seller-chunk/v1`, by `c` ‖ payer ‖ call id ‖ number (4 bytes, big-endian).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChunkRow {
    /// Tokens so far, this chunk included.
    #[n(0)]
    pub usage: Usage,
    /// The text's bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub data: Vec<u8>,
    /// How likely its token was, where the request asks for it.
    #[n(2)]
    pub likelihoods: Option<Box<Likelihoods>>,
}

impl Canonical for SellerCall {
    const TAG: &'static str = "agora/seller-call/v1";
    const SIZE_MAX: usize = 8 * 1024;
}

impl Canonical for ChunkRow {
    const TAG: &'static str = "agora/seller-chunk/v1";
    const SIZE_MAX: usize = 64 * 1024;
}

/// A sale in work.
pub(crate) struct Sale {
    pub(crate) payer: Address,
    pub(crate) call: CallId,
    pub(crate) record: SellerCall,
    pub(crate) rows: Vec<ChunkRow>,
    /// Rows on disk that no longer count.
    dropped: Vec<u32>,
    /// True when the head row on disk is older than `record`.
    pub(crate) stale: bool,
}

/// First byte of a head row's key and of a chunk's: heads stand together, so that all of them are read without the chunks.
const HEAD: u8 = b'h';
const CHUNK: u8 = b'c';
/// First byte of the key of a request that is kept to be measured.
const REQUEST: u8 = b'q';

fn key(kind: u8, payer: &Address, call: &CallId) -> Vec<u8> {
    [&[kind], payer.as_bytes().as_slice(), call.as_bytes()].concat()
}

fn broken(error: &agora_types::cbor::CborError) -> CallError {
    CallError::new(Code::StoreDamaged, format!("a sale: {error}"))
}

impl Sale {
    /// Writes down that the channel and the voucher cover the first window of this call.
    ///
    /// # Errors
    /// The channel's refusals, `call.deposit_missing`, and faults.
    pub(crate) async fn hold(
        seller: &Seller,
        call: CallId,
        open: &Open,
        quote: Quote,
        request: &Request,
        is_measured: bool,
    ) -> Result<Self, CallError> {
        let (config, network) = (&open.channel, seller.network());
        let id = config.id(&network);
        let refuse = |code: Code| CallError::new(code, id.to_string());
        if config.receiver != Address::listing(&quote.listing) {
            return Err(refuse(Code::ReceiverNotListing));
        }
        if config.receiver_authorizer != seller.account() {
            return Err(refuse(Code::AuthorizerMismatch));
        }
        if config.token != network.asset {
            return Err(refuse(Code::TokenMismatch));
        }
        // What pays, how far it reaches, and what was claimed of it before.
        let (balance, base) = match &open.single {
            Some(single) => {
                if quote.charge_max().is_none_or(|most| most > single.authorization.max()) {
                    return Err(refuse(Code::CallNotHeld));
                }
                (single.authorization.max(), Amount::ZERO)
            }
            None => {
                if let Some(deposit) = &open.deposit {
                    match &deposit.command {
                        Command::Deposit(command) if command.config == *config => {}
                        _ => return Err(refuse(Code::ChannelIdMismatch)),
                    }
                    seller.ledger().commit_one(deposit.clone()).await?;
                }
                let channel = seller.ledger().channel(id).await?.ok_or_else(|| refuse(Code::ChannelNotFound))?;
                if channel.withdraw_requested_at.is_some() {
                    return Err(refuse(Code::WithdrawStarted));
                }
                (channel.balance(), channel.total_claimed)
            }
        };
        let decoding = Decoding {
            temperature_milli: request.sampling.temperature_milli,
            top_k: request.sampling.top_k,
            top_p_milli: request.sampling.top_p_milli,
            seed: request.sampling.seed,
            output_max: quote.caps.output,
            min_p_milli: request.sampling.min_p_milli,
            repetition_milli: request.sampling.repetition_milli,
            hidden_max: quote.caps.hidden,
        };
        let record = SellerCall {
            quote,
            config: config.clone(),
            salt: open.salt,
            decoding,
            voucher: open.voucher.clone(),
            base,
            acknowledged: 0,
            opened_at: seller.now(),
            phase: Phase::Streaming,
            single: open.single.clone(),
        };
        let payer = config.payer;
        let sale = Self { payer, call, record, rows: Vec::new(), dropped: Vec::new(), stale: false };
        let voucher = &open.voucher;
        if voucher.max_claimable < sale.window_end() {
            return Err(refuse(Code::CallNotHeld));
        }
        if voucher.max_claimable > balance {
            return Err(refuse(Code::ExceedsBalance));
        }
        // Last, since it costs the most.
        open.check_consent(&network).map_err(refuse)?;
        if let Some(single) = &open.single {
            bill::hold(seller, single).await?;
        }
        let mut writes = vec![sale.head_row()];
        if is_measured {
            writes.push(Write { table: Table::Seller, key: sale.request_key(), value: Some(request.to_bytes()) });
        }
        seller.parts.journal.commit(writes).await?;
        Ok(sale)
    }

    /// The request, where it was kept to be measured.
    pub(super) async fn request(&self, seller: &Seller) -> Result<Option<Vec<u8>>, CallError> {
        Ok(seller.parts.journal.get(Table::Seller, self.request_key()).await?)
    }

    /// The sale as it stands on disk.
    pub(crate) async fn load(seller: &Seller, payer: Address, call: CallId) -> Result<Option<Self>, CallError> {
        let journal = &seller.parts.journal;
        let Some(head) = journal.get(Table::Seller, key(HEAD, &payer, &call)).await? else { return Ok(None) };
        let record = SellerCall::from_bytes(&head).map_err(|error| broken(&error))?;
        let rows = journal.list(Table::Seller, key(CHUNK, &payer, &call), READ_ROWS_MAX).await?.into_iter();
        let rows = rows.map(|(_, bytes)| ChunkRow::from_bytes(&bytes).map_err(|error| broken(&error)));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { payer, call, record, rows, dropped: Vec::new(), stale: false }))
    }

    /// Succeeds when who opens the call again is who opened it first.
    pub(crate) fn recognise(&self, seller: &Seller, open: &Open) -> Result<(), CallError> {
        if open.channel != self.record.config
            || open.single != self.record.single
            || open.request_hash != self.record.quote.request_commit
        {
            return Err(CallError::new(Code::CallDifferent, self.call.to_string()));
        }
        open.check_consent(&seller.network()).map_err(|code| CallError::new(code, self.call.to_string()))
    }

    pub(crate) fn channel_id(&self, seller: &Seller) -> ChannelId {
        self.record.config.id(&seller.network())
    }

    /// True when nothing was delivered.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What was delivered.
    pub(crate) fn usage(&self) -> Usage {
        let nothing = Usage { input: self.record.quote.caps.input, ..Usage::default() };
        self.rows.last().map_or(nothing, |row| row.usage)
    }

    /// The whole answer's bytes.
    pub(crate) fn response(&self) -> Vec<u8> {
        self.rows.iter().flat_map(|row| row.data.iter().copied()).collect()
    }

    /// What the channel's total is once `usage` is charged.
    pub(crate) fn spent_at(&self, usage: &Usage) -> Amount {
        spent(&self.record.quote, self.record.base, usage)
    }

    /// What the channel's total is so many tokens beyond `usage`.
    pub(crate) fn ahead(&self, usage: &Usage, tokens: u64) -> Amount {
        ahead(&self.record.quote, self.record.base, usage, tokens)
    }

    /// Up to where the next voucher must reach: one window beyond what was delivered.
    pub(crate) fn window_end(&self) -> Amount {
        window_end(&self.record.quote, self.record.base, &self.usage())
    }

    /// Takes a higher voucher; an equal one is fine.
    pub(crate) fn accept(&mut self, seller: &Seller, voucher: Voucher, balance: Amount) -> Result<(), CallError> {
        let refuse = |code: Code| CallError::new(code, voucher.channel_id.to_string());
        if voucher.channel_id != self.channel_id(seller) {
            return Err(refuse(Code::ChannelIdMismatch));
        }
        if voucher.max_claimable < self.record.voucher.max_claimable {
            return Err(refuse(Code::BelowClaimed));
        }
        if voucher.max_claimable == self.record.voucher.max_claimable {
            return Ok(());
        }
        if voucher.max_claimable > balance {
            return Err(refuse(Code::ExceedsBalance));
        }
        let signed = voucher.verify(&seller.network(), &self.record.config.payer_authorizer);
        signed.map_err(|_| refuse(Code::VoucherSignature))?;
        self.record.voucher = voucher;
        self.stale = true;
        Ok(())
    }

    /// Notes how many chunks the buyer has.
    pub(crate) fn acknowledge(&mut self, chunks: u64) {
        let chunks = chunks.min(self.rows.len() as u64);
        if chunks > self.record.acknowledged {
            self.record.acknowledged = chunks;
            self.stale = true;
        }
    }

    /// Forgets the chunks that were not acknowledged, unless a receipt is signed already.
    pub(crate) fn keep_acknowledged(&mut self) {
        if self.record.phase != Phase::Streaming {
            return;
        }
        let keep = usize::try_from(self.record.acknowledged).unwrap_or(usize::MAX);
        let numbers = (0..self.rows.len()).skip(keep).filter_map(|number| u32::try_from(number).ok());
        self.dropped.extend(numbers);
        self.rows.truncate(keep);
    }

    /// Writes a chunk down, with what else has changed. Only then may it be sent.
    pub(crate) async fn write_chunk(&mut self, seller: &Seller, row: ChunkRow) -> Result<(), CallError> {
        let number = u32::try_from(self.rows.len()).map_err(|_| CallError::new(Code::EngineTooLarge, "the answer"))?;
        let mut writes = vec![Write { table: Table::Seller, key: self.chunk_key(number), value: Some(row.to_bytes()) }];
        if self.stale {
            writes.push(self.head_row());
        }
        seller.parts.journal.commit(writes).await?;
        self.stale = false;
        self.rows.push(row);
        Ok(())
    }

    /// Writes the signed receipt down, with its number.
    pub(crate) async fn sign(
        &mut self,
        seller: &Seller,
        make: impl FnOnce(&Self, u64) -> Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        for chunk in std::mem::take(&mut self.dropped).chunks(WRITES_MAX) {
            let writes = chunk.iter().map(|number| self.gone(self.chunk_key(*number))).collect();
            seller.parts.journal.commit(writes).await?;
        }
        let mut receipt = Vec::new();
        let sale = &mut *self;
        seller
            .number(|number| {
                receipt = make(sale, number);
                sale.record.phase = Phase::Signed(receipt.clone());
                sale.head_row()
            })
            .await?;
        Ok(receipt)
    }

    /// Marks the sale as done, together with what its end leaves to do.
    pub(crate) async fn close(
        &mut self,
        seller: &Seller,
        left: impl IntoIterator<Item = Write>,
    ) -> Result<(), CallError> {
        let Phase::Signed(receipt) = &self.record.phase else { return Ok(()) };
        self.record.phase = Phase::Closed { receipt: receipt.clone(), at: seller.now() };
        let writes = [self.head_row(), self.gone(self.request_key())].into_iter().chain(left);
        Ok(seller.parts.journal.commit(writes.collect()).await?)
    }

    /// Ends a sale that delivered nothing: what was held for it is the payer's again, and every row goes.
    pub(crate) async fn abandon(&self, seller: &Seller) -> Result<(), CallError> {
        if let Some(single) = &self.record.single {
            bill::release(seller, single).await?;
        }
        self.forget(seller).await
    }

    /// Removes every row.
    pub(crate) async fn forget(&self, seller: &Seller) -> Result<(), CallError> {
        let numbers = (0..self.rows.len()).filter_map(|number| u32::try_from(number).ok());
        let keys = numbers.chain(self.dropped.iter().copied()).map(|number| self.chunk_key(number));
        let mut writes: Vec<Write> = keys.map(|key| self.gone(key)).collect();
        writes.push(self.gone(self.request_key()));
        // The head goes last: a sale without its head would leave chunks behind.
        writes.push(self.gone(key(HEAD, &self.payer, &self.call)));
        for group in writes.chunks(WRITES_MAX) {
            seller.parts.journal.commit(group.to_vec()).await?;
        }
        Ok(())
    }

    fn head_row(&self) -> Write {
        Write { table: Table::Seller, key: key(HEAD, &self.payer, &self.call), value: Some(self.record.to_bytes()) }
    }

    fn request_key(&self) -> Vec<u8> {
        key(REQUEST, &self.payer, &self.call)
    }

    fn chunk_key(&self, number: u32) -> Vec<u8> {
        [key(CHUNK, &self.payer, &self.call).as_slice(), &number.to_be_bytes()].concat()
    }

    fn gone(&self, key: Vec<u8>) -> Write {
        Write { table: Table::Seller, key, value: None }
    }
}

/// What the channel's total is once `usage` is charged; the most there can be where it does not fit.
pub(crate) fn spent(quote: &Quote, base: Amount, usage: &Usage) -> Amount {
    let charge = quote.prices.charge(usage).and_then(|charge| base.checked_add(charge));
    charge.unwrap_or(Amount::from_atoms(u128::MAX))
}

/// The channel's total one window beyond `usage`, at most what the quote allows. Both sides compute it from what they
/// know to be delivered.
pub(crate) fn window_end(quote: &Quote, base: Amount, usage: &Usage) -> Amount {
    let input = quote.caps.input.saturating_sub(usage.cached);
    ahead(quote, base, &Usage { input, ..*usage }, WINDOW_TOKENS)
}

/// The channel's total so many tokens beyond `usage`, shown or hidden, whichever is dearer, at most what the quote allows.
pub(crate) fn ahead(quote: &Quote, base: Amount, usage: &Usage, tokens: u64) -> Amount {
    let output = usage.output.saturating_add(tokens).min(quote.caps.output);
    let hidden = usage.hidden.saturating_add(tokens).min(quote.caps.hidden);
    spent(quote, base, &Usage { output, ..*usage }).max(spent(quote, base, &Usage { hidden, ..*usage }))
}

/// True when a sale of this payer still runs on the channel. One that is settled only waits for its end, which takes
/// nothing from the channel: a buyer that has its receipt may ask for the rest at once.
pub(crate) async fn open_on(seller: &Seller, payer: &Address, channel: &ChannelId) -> Result<bool, CallError> {
    for (_, call, record) in unfinished(seller, Some(payer)).await? {
        if record.config.id(&seller.network()) == *channel && seller.ledger().call(*payer, call).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The sales, of one payer or of all, that are not closed.
pub(crate) async fn unfinished(
    seller: &Seller,
    payer: Option<&Address>,
) -> Result<Vec<(Address, CallId, SellerCall)>, CallError> {
    let all = all(seller, payer).await?;
    Ok(all.into_iter().filter(|(_, _, record)| !matches!(record.phase, Phase::Closed { .. })).collect())
}

async fn all(seller: &Seller, payer: Option<&Address>) -> Result<Vec<(Address, CallId, SellerCall)>, CallError> {
    let prefix = [&[HEAD][..], payer.map_or(&[][..], |payer| payer.as_bytes())].concat();
    let rows = seller.parts.journal.list(Table::Seller, prefix, READ_ROWS_MAX).await?;
    let mut found = Vec::new();
    for (key, bytes) in rows.into_iter().filter(|(key, _)| key.len() == 1 + Address::SIZE + CallId::SIZE) {
        let (payer, call) = key[1..].split_at(Address::SIZE);
        if let (Some(payer), Some(call)) = (Address::from_slice(payer), CallId::from_slice(call)) {
            found.push((payer, call, SellerCall::from_bytes(&bytes).map_err(|error| broken(&error))?));
        }
    }
    Ok(found)
}

/// Forgets the sales that were closed before `before`.
pub async fn sweep(seller: &Seller, before: Timestamp) -> Result<usize, CallError> {
    let mut count = 0;
    for (payer, call, record) in all(seller, None).await? {
        if matches!(record.phase, Phase::Closed { at, .. } if at < before)
            && let Some(sale) = Sale::load(seller, payer, call).await?
        {
            sale.forget(seller).await?;
            count += 1;
        }
    }
    Ok(count)
}
