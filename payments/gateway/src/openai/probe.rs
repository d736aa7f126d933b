//! Bodies in OpenAI's words, for [`crate::probe`]: what is read keeps the engine's bounds and the client's text.

use agora_economy::ports::pay::ModelCard;
use agora_inference_api::Request;
use agora_types::{Amount, Canonical as _};
use serde_json::Value;

use super::answer::Kind;
use super::ask::Ask;
use crate::probe::refused;

/// The seed of who chooses none.
const SEED: [u8; 8] = [1; 8];
/// Most tokens of the model.
const OUTPUT_MAX: u64 = 300;

pub(crate) fn chat(body: &[u8]) -> bool {
    read(Kind::Chat, body)
}

pub(crate) fn text(body: &[u8]) -> bool {
    read(Kind::Text, body)
}

fn read(kind: Kind, body: &[u8]) -> bool {
    let card = ModelCard {
        id: "m".to_owned(),
        created_s: 0,
        owned_by: String::new(),
        title: String::new(),
        input: Amount::ZERO,
        output: Amount::ZERO,
        context_max: 100,
        output_max: OUTPUT_MAX,
    };
    let request = match Ask::read(kind, body).and_then(|ask| ask.request(&card, &SEED)) {
        Ok(request) => request,
        Err(failure) => return refused(&failure),
    };
    assert_eq!(request.check(), Ok(()), "a request out of its bounds");
    assert!(request.output_max <= OUTPUT_MAX, "more tokens than the model gives");
    // JSON never writes a text shorter than it is: nothing grew on the way.
    let length = |texts: usize| assert!(texts <= body.len(), "{texts} bytes out of {}", body.len());
    length(request.messages.iter().map(|message| message.text.len()).sum());
    length(request.stops.iter().map(String::len).sum());
    assert_eq!(Request::from_bytes(&request.to_bytes()).as_ref(), Ok(&request), "a request changed on its way");
    // How a client spells its JSON changes nothing but the last bit of a fraction.
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        let again = Ask::read(kind, value.to_string().as_bytes()).and_then(|ask| ask.request(&card, &SEED));
        let again = again.map(|again| Request { sampling: request.sampling, schema: request.schema.clone(), ..again });
        assert_eq!(again.as_ref(), Ok(&request), "another spelling is another request");
    }
    true
}
