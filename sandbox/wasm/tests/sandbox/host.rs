//! A node that sells scripted answers and writes down what it was asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use agora_sandbox_api::{
    AgentError, AgentHost, Ask, Batch, Budget, Ended, HttpRequest, HttpResponse, Level, Offer, Paid, Pending,
    QuoteHandle, QuoteTerms, ReceiptView, StreamHandle,
};
use agora_types::{Address, Amount, Code, Hash, ListingId, Prices, Timestamp};

pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
const TOKENS: [&str; 5] = ["Ethanol", " boils", " at", " 78", " °C."];

/// Everything that was asked, and what is kept.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) queries: Vec<String>,
    pub(crate) asks: Vec<(ListingId, Ask)>,
    pub(crate) opened: Vec<ListingId>,
    pub(crate) closed: Vec<StreamHandle>,
    pub batch_sizes: Vec<u32>,
    pub(crate) kept: BTreeMap<String, Vec<u8>>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) fetched: Vec<HttpRequest>,
    /// Tokens delivered on each stream; none after the end.
    streams: Vec<Option<usize>>,
}

pub(crate) struct FakeHost {
    seen: Mutex<Seen>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) budget: Budget,
    /// Nothing ever arrives on a stream.
    pub(crate) silent: bool,
}

/// The listing of this number.
pub(crate) fn listing(number: u8) -> ListingId {
    let mut bytes = [0; 32];
    bytes[31] = number;
    ListingId::new(bytes)
}

pub(crate) fn offer(number: u8, name: &str, title: &str, atoms: u128) -> Offer {
    Offer {
        listing: listing(number),
        name: name.to_owned(),
        title: title.to_owned(),
        description: String::new(),
        owner: Address::ZERO,
        prices: Prices {
            input: Amount::from_atoms(atoms),
            cached: Amount::ZERO,
            output: Amount::from_atoms(atoms),
            hidden: Amount::ZERO,
        },
        context_max: 2_048,
        output_max: 256,
    }
}

impl FakeHost {
    pub(crate) fn new() -> Self {
        let offers = vec![
            offer(1, "chem-small", "Chemistry for beginners", 5),
            offer(2, "chem-large", "Chemistry, all of it", 900),
            offer(3, "law", "Law", 1),
        ];
        let budget =
            Budget { granted: Amount::from_atoms(100_000), used: Amount::ZERO, per_call: Amount::from_atoms(5_000) };
        Self { seen: Mutex::new(Seen::default()), offers, budget, silent: false }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panics with the lock held")
    }

    fn price(&self, listing: &ListingId) -> Result<Prices, AgentError> {
        let offer = self.offers.iter().find(|offer| offer.listing == *listing);
        offer.map(|offer| offer.prices).ok_or_else(|| AgentError::new(Code::ListingNotFound, listing.to_string()))
    }
}

fn ready<'a, T: Send + 'a>(value: Result<T, AgentError>) -> Pending<'a, T> {
    Box::pin(std::future::ready(value))
}

/// What stands at a URL: its path says how it is answered.
fn answered(request: &HttpRequest) -> Result<HttpResponse, AgentError> {
    let path = request.url.rsplit('/').next().unwrap_or_default();
    let (what, amount) = path.split_once('=').unwrap_or((path, "0"));
    let amount = amount.parse::<usize>().expect("a number");
    let paid = Paid {
        amount: Amount::from_atoms(amount as u128),
        payee: Address::ZERO,
        network: None,
        transaction: "0x01".to_owned(),
        receipt: Some("leaf".to_owned()),
    };
    let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    let answer = |status, body: Vec<u8>, paid| Ok(HttpResponse { status, headers, body, paid });
    match what {
        "large" => answer(200, vec![b'x'; amount], None),
        "moved" => answer(302, Vec::new(), None),
        "paid" if amount as u128 <= request.max_spend.atoms() => answer(200, b"bought".to_vec(), Some(paid)),
        "paid" => answer(402, b"pay first".to_vec(), None),
        "refused" => Err(AgentError::new(Code::AgentOverBudget, "the budget")),
        _ => answer(200, b"free".to_vec(), None),
    }
}

/// Ten tokens are asked, and at most as many answered as the question allows.
fn charge_max(prices: &Prices, ask: &Ask) -> Amount {
    Amount::from_atoms(prices.input.atoms() * 10 + prices.output.atoms() * u128::from(ask.output_max))
}

impl AgentHost for FakeHost {
    fn find<'a>(&'a self, query: &'a str, _: u32) -> Pending<'a, Vec<Offer>> {
        self.seen().queries.push(query.to_owned());
        let fits = |offer: &&Offer| query.split(' ').any(|word| offer.title.to_lowercase().contains(word));
        ready(Ok(self.offers.iter().filter(fits).cloned().collect()))
    }

    fn quote<'a>(&'a self, listing: &'a ListingId, ask: &'a Ask) -> Pending<'a, QuoteTerms> {
        ready(self.price(listing).map(|prices| {
            let mut seen = self.seen();
            seen.asks.push((*listing, ask.clone()));
            QuoteTerms {
                handle: QuoteHandle(u32::try_from(seen.asks.len() - 1).expect("few")),
                input_tokens: 10,
                output_max: ask.output_max,
                prices,
                charge_max: charge_max(&prices, ask),
                expires_at: Timestamp::from_nanos((NOW_MS + 30_000) * 1_000_000),
            }
        }))
    }

    fn budget(&self) -> Pending<'_, Budget> {
        ready(Ok(self.budget))
    }

    fn open(&self, quote: QuoteHandle) -> Pending<'_, StreamHandle> {
        let mut seen = self.seen();
        let (listing, ask) = seen.asks[quote.0 as usize].clone();
        let prices = self.price(&listing).expect("it was quoted");
        if charge_max(&prices, &ask) > self.budget.per_call {
            return ready(Err(AgentError::new(Code::AgentOverBudget, "per_call")));
        }
        seen.opened.push(listing);
        seen.streams.push(Some(0));
        ready(Ok(StreamHandle(u32::try_from(seen.streams.len() - 1).expect("few"))))
    }

    fn next_batch(&self, stream: StreamHandle, max: u32) -> Pending<'_, Batch> {
        if self.silent {
            return Box::pin(std::future::pending());
        }
        let mut seen = self.seen();
        seen.batch_sizes.push(max);
        let Some(delivered) = seen.streams[stream.0 as usize] else {
            return ready(Err(AgentError::new(Code::AgentBadHandle, "the stream has ended")));
        };
        let end = TOKENS.len().min(delivered + max as usize);
        let done = end == TOKENS.len();
        seen.streams[stream.0 as usize] = (!done).then_some(end);
        let price = self.price(&seen.opened[stream.0 as usize]).expect("it was quoted").output.atoms();
        let receipt = ReceiptView {
            leaf: Hash::sha256(b"receipt"),
            input_tokens: 10,
            output_tokens: TOKENS.len() as u64,
            charge: Amount::from_atoms(price * (10 + TOKENS.len() as u128)),
        };
        ready(Ok(Batch {
            text: TOKENS[delivered..end].concat(),
            tokens: u32::try_from(end - delivered).expect("few"),
            ended: done.then_some(Ended { receipt: Some(receipt), interrupted: None }),
        }))
    }

    fn close(&self, stream: StreamHandle) -> Pending<'_, ()> {
        self.seen().closed.push(stream);
        ready(Ok(()))
    }

    fn fetch<'a>(&'a self, request: &'a HttpRequest) -> Pending<'a, HttpResponse> {
        self.seen().fetched.push(request.clone());
        ready(answered(request))
    }

    fn get<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Vec<u8>>> {
        ready(Ok(self.seen().kept.get(key).cloned()))
    }

    fn set<'a>(&'a self, key: &'a str, value: &'a [u8]) -> Pending<'a, ()> {
        self.seen().kept.insert(key.to_owned(), value.to_vec());
        ready(Ok(()))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Pending<'a, ()> {
        self.seen().kept.remove(key);
        ready(Ok(()))
    }

    fn keys<'a>(&'a self, prefix: &'a str, limit: u32) -> Pending<'a, Vec<String>> {
        let seen = self.seen();
        let keys = seen.kept.keys().filter(|key| key.starts_with(prefix)).take(limit as usize).cloned().collect();
        drop(seen);
        ready(Ok(keys))
    }

    fn log<'a>(&'a self, level: Level, text: &'a str) -> Pending<'a, ()> {
        self.seen().log.push((level, text.to_owned()));
        ready(Ok(()))
    }

    fn now(&self) -> Pending<'_, Timestamp> {
        ready(Ok(Timestamp::from_nanos(NOW_MS * 1_000_000)))
    }
}
