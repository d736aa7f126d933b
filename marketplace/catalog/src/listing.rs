//! A listing: a base model, perhaps with an adapter, at a price, served by named hosts.

use agora_types::command::{DatanetShare, HOSTS_MAX, Head, Measure, NAME_SIZE_MAX, RegisterListing};
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, Canonical, Code, DatanetId, Hash, ListingId, Prices, Timestamp, Usage};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest title in bytes.
const TITLE_SIZE_MAX: usize = 120;
/// Longest description in bytes.
const DESCRIPTION_SIZE_MAX: usize = 2_000;
/// Most topics, and the longest in bytes.
const TOPICS_MAX: usize = 16;
/// Most words of a search.
const WORDS_MAX: usize = 32;

/// Who serves a listing, and the key that signs its quotes and receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct ListingHost {
    /// The account that settles calls.
    #[n(0)]
    pub account: Address,
    /// Its registered receipt key.
    #[n(1)]
    pub key: StatementKey,
}

/// A datanet's part in a listing's contributor share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct DatanetPart {
    /// The datanet.
    #[n(0)]
    pub datanet: DatanetId,
    /// Above zero; relative to the listing's other datanets.
    #[n(1)]
    pub weight: u32,
}

/// A listing, signed by an owner's statement key; its hash stands in the ledger's `RegisterListing`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Listing {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// Who offers it.
    #[n(1)]
    pub owner: Address,
    /// Unique per owner: the id is derived from both and survives every change.
    #[n(2)]
    pub name: String,
    /// One line for people.
    #[n(3)]
    pub title: String,
    /// A paragraph for people.
    #[n(4)]
    pub description: String,
    /// Words to be found by, lower case.
    #[n(5)]
    pub topics: Vec<String>,
    /// Receives the model owner's part.
    #[n(6)]
    pub model_owner: Address,
    /// 1 to 16.
    #[n(7)]
    pub hosts: Vec<ListingHost>,
    /// SHA-256 of the base model's file.
    #[n(8)]
    pub base_hash: Hash,
    /// Hash of the adapter, if any.
    #[n(9)]
    pub adapter_hash: Option<Hash>,
    /// Whose data taught the model.
    #[n(10)]
    pub datanets: Vec<DatanetPart>,
    /// Atoms per token.
    #[n(11)]
    pub prices: Prices,
    /// Most tokens of prompt and answer together.
    #[n(12)]
    pub context_max: u64,
    /// Most tokens of an answer.
    #[n(13)]
    pub output_max: u64,
    /// When this version was made; the newest of a listing counts.
    #[n(14)]
    pub time: Timestamp,
    /// How answers are attributed; absent: by the weights that the datanets declare.
    #[n(15)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
}

impl Canonical for Listing {
    const TAG: &'static str = "agora/listing/v1";
    const SIZE_MAX: usize = 8 * 1024;
}

impl Listing {
    /// The listing's id.
    pub fn id(&self) -> ListingId {
        ListingId::derive(&self.owner, &self.name)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// `listing.bad_terms`.
    pub fn check(&self) -> Result<(), Code> {
        let sized = |text: &str, limit: usize| text.len() <= limit && !text.chars().any(char::is_control);
        let good = (1..=NAME_SIZE_MAX).contains(&self.name.len())
            && sized(&self.name, NAME_SIZE_MAX)
            && sized(&self.title, TITLE_SIZE_MAX)
            && self.description.len() <= DESCRIPTION_SIZE_MAX
            && self.topics.len() <= TOPICS_MAX
            && self.topics.iter().all(|topic| !topic.is_empty() && sized(topic, NAME_SIZE_MAX))
            && (1..=HOSTS_MAX).contains(&self.hosts.len())
            && self.datanets.len() <= HOSTS_MAX
            && self.datanets.iter().all(|part| part.weight > 0)
            && self.output_max > 0
            && self.output_max <= self.context_max;
        if good { Ok(()) } else { Err(Code::ListingTerms) }
    }

    /// What the dearest call costs: a full context of which the longest answer is a part, hidden tokens included. `None`
    /// where that is no amount.
    pub fn charge_max(&self) -> Option<Amount> {
        let (input, output) = (self.context_max.saturating_sub(self.output_max), self.output_max);
        let dearest = Prices { output: self.prices.output.max(self.prices.hidden), ..self.prices };
        dearest.charge(&Usage { input, output, ..Usage::default() })
    }

    /// The command that puts this listing's money terms on the ledger; `terms` is the hash of the signed listing.
    pub fn registration(&self, head: Head, terms: Hash) -> RegisterListing {
        RegisterListing {
            head,
            name: self.name.clone(),
            model_owner: self.model_owner,
            hosts: self.hosts.iter().map(|host| host.account).collect(),
            datanets: self
                .datanets
                .iter()
                .map(|part| DatanetShare { datanet: part.datanet, weight: part.weight })
                .collect(),
            base_hash: self.base_hash,
            adapter_hash: self.adapter_hash,
            terms,
            measure: self.measure.clone(),
        }
    }

    /// How well the listing fits the words: 4 for a topic, 2 for a word of name or title, 1 for one of the description.
    fn score(&self, words: &[String]) -> u32 {
        let has = |text: &str, word: &str| {
            text.split(|c: char| !c.is_alphanumeric()).any(|part| part.to_lowercase() == *word)
        };
        let one = |word: &String| {
            4 * u32::from(self.topics.iter().any(|topic| topic.to_lowercase() == *word))
                + 2 * u32::from(has(&self.name, word) || has(&self.title, word))
                + u32::from(has(&self.description, word))
        };
        words.iter().map(one).sum()
    }
}

/// The listings that fit the words of `text`, best first, ties by id; at most `limit`. Without words: all, by id.
pub fn find<'a>(listings: impl IntoIterator<Item = &'a Listing>, text: &str, limit: usize) -> Vec<&'a Listing> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.take(WORDS_MAX).map(str::to_lowercase).collect();
    let mut found: Vec<(std::cmp::Reverse<u32>, ListingId, &Listing)> = listings
        .into_iter()
        .map(|listing| (std::cmp::Reverse(listing.score(&words)), listing.id(), listing))
        .filter(|(score, ..)| words.is_empty() || score.0 > 0)
        .collect();
    found.sort_by_key(|(score, id, _)| (*score, *id));
    found.into_iter().take(limit).map(|(.., listing)| listing).collect()
}
