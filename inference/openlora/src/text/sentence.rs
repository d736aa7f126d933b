//! Byte-pair encoding over whole sentences: by scores, as SentencePiece does it, or by the list of merges that Hugging Face
//! makes of them.

use std::collections::{HashMap, HashSet};

use agora_inference_api::EngineError;

use super::kind;
use super::merge::merge;
use super::names::Names;
use super::pieces::Pieces;
use crate::failure::{bad_model, quoted, unsupported};

/// What two neighbours become, and how early.
type Merges = HashMap<(u32, u32), (u32, u32)>;

/// What stands for a space.
const SPACE: &str = "\u{2581}";

/// What merges first.
pub(crate) enum Order {
    /// Whatever has the best score; one for each token.
    Scores(Vec<f64>),
    /// The first of these, each two tokens and a space between them.
    Merges(Vec<String>),
}

/// A vocabulary and its order.
#[derive(Debug)]
pub(crate) struct Sentence {
    /// What each token shows; nothing for control tokens.
    pieces: Pieces,
    /// Pieces that merging can make: how early, and their token.
    known: HashMap<Box<str>, (u32, u32)>,
    /// The token of each byte, for signs that have none.
    bytes: [u32; 256],
    /// Where no scores say it.
    merges: Option<Merges>,
    /// Tokens that are taken before anything merges.
    first: Names,
    /// Text begins with a space.
    space: bool,
}

impl Sentence {
    /// From the lists of the file. `special` tokens never come from text.
    pub(crate) fn new(
        tokens: &[String],
        kinds: &[i64],
        order: &Order,
        special: impl Fn(u32) -> bool,
        space: bool,
    ) -> Result<Self, EngineError> {
        let none = || vec![0; tokens.len()];
        let ranks = if let Order::Scores(scores) = order { ranks(scores)? } else { none() };
        if ranks.len() != tokens.len() {
            return Err(bad_model("tokens and their scores differ in number"));
        }
        let (mut pieces, mut known, mut bytes) = (Pieces::default(), HashMap::new(), [None; 256]);
        let mut first = Vec::new();
        for (((id, token), kind), rank) in (0..).zip(tokens).zip(kinds).zip(ranks) {
            let text = token.replace(' ', SPACE);
            let shown = text.replace(SPACE, " ").into_bytes();
            match *kind {
                kind::BYTE => {
                    let byte = byte(token).ok_or_else(|| bad_model(format!("the byte {}", quoted(token))))?;
                    bytes[usize::from(byte)] = Some(id);
                    pieces.push(&[byte]);
                }
                kind::NORMAL | kind::USER => pieces.push(&shown),
                _ => pieces.push(&[]),
            }
            if ![kind::NORMAL, kind::USER].contains(kind) || special(id) {
                continue;
            }
            if *kind == kind::USER {
                let late = matches!(order, Order::Scores(_));
                first.push((if late { text.clone() } else { token.clone() }, id));
            }
            if text.is_empty() || known.insert(text.into(), (rank, id)).is_some() {
                return Err(bad_model(format!("the token {} is empty or stands twice", quoted(token))));
            }
        }
        let merges = if let Order::Merges(merges) = order { Some(table(merges, tokens, &known)?) } else { None };
        pieces.shrink();
        let all: Option<Vec<u32>> = bytes.into_iter().collect();
        let all = all.and_then(|all| all.try_into().ok());
        Ok(Self {
            pieces,
            known,
            bytes: all.ok_or_else(|| unsupported("a vocabulary without a token for every byte"))?,
            merges,
            first: Names::new(first.iter().map(|(name, id)| (name.as_str(), *id))),
            space,
        })
    }

    /// Tokens of the vocabulary.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// What a token shows.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// Adds the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let text = if self.space { format!(" {text}") } else { text.to_owned() };
        // Hugging Face looks for the maker's tokens before it changes spaces, SentencePiece after.
        if self.merges.is_some() {
            return self.first.cut(&text, |before, token| {
                self.run(&before.replace(' ', SPACE), tokens);
                tokens.extend(token);
            });
        }
        self.first.cut(&text.replace(' ', SPACE), |before, token| {
            self.run(before, tokens);
            tokens.extend(token);
        });
    }

    /// Merges the signs of a text.
    fn run(&self, text: &str, tokens: &mut Vec<u32>) {
        if let Some(merges) = &self.merges {
            let mut symbols = Vec::new();
            let mut bytes = [0; 4];
            for sign in text.chars() {
                let sign = &*sign.encode_utf8(&mut bytes);
                match self.known.get(sign) {
                    Some((_, token)) => symbols.push(*token),
                    None => symbols.extend(sign.bytes().map(|byte| self.bytes[usize::from(byte)])),
                }
            }
            tokens.extend(merge(symbols, |left, right| merges.get(&(left, right)).copied()));
            return;
        }
        let signs = text.char_indices().map(|(at, sign)| (at, at + sign.len_utf8())).collect();
        let pieces =
            merge(signs, |(from, _), (_, to)| self.known.get(&text[from..to]).map(|(rank, _)| (*rank, (from, to))));
        for (from, to) in pieces {
            match self.known.get(&text[from..to]) {
                Some((_, token)) => tokens.push(*token),
                None => tokens.extend(text[from..to].bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }
}

/// How early a token with each score is made: the best first.
fn ranks(scores: &[f64]) -> Result<Vec<u32>, EngineError> {
    let mut order: Vec<f64> = scores.to_vec();
    order.sort_unstable_by(|a, b| b.total_cmp(a));
    order.dedup();
    let rank = |score: &f64| u32::try_from(order.partition_point(|earlier| earlier > score));
    scores.iter().map(rank).collect::<Result<_, _>>().map_err(|_| bad_model("too many scores"))
}

/// What two neighbours become, and how early. Nothing merges to a token that never comes from text.
fn table(merges: &[String], tokens: &[String], known: &HashMap<Box<str>, (u32, u32)>) -> Result<Merges, EngineError> {
    let all: HashSet<&str> = tokens.iter().map(String::as_str).collect();
    let mut table = HashMap::new();
    for (rank, merge) in (0..).zip(merges) {
        let bad = || bad_model(format!("the merge {}", quoted(merge)));
        let (left, right) = merge.split_once(' ').ok_or_else(bad)?;
        let whole = format!("{left}{right}");
        if ![left, right, &whole].iter().all(|part| all.contains(part)) {
            return Err(bad());
        }
        let token = |text: &str| known.get(text).map(|(_, token)| *token);
        if let (Some(left), Some(right), Some(whole)) = (token(left), token(right), token(&whole)) {
            table.entry((left, right)).or_insert((rank, whole));
        }
    }
    Ok(table)
}

/// The byte that `<0xNN>` names.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Order, Sentence};

    /// Control, all bytes, then these pieces with the earlier the better; the last is the maker's own.
    fn sentence(pieces: &[&str], space: bool) -> Sentence {
        let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 6));
        let normal = pieces.iter().map(|piece| ((*piece).to_owned(), 1));
        let (tokens, mut kinds): (Vec<_>, Vec<_>) =
            [("<bos>".to_owned(), 3)].into_iter().chain(bytes).chain(normal).unzip();
        *kinds.last_mut().unwrap() = 4;
        let scores: Vec<f64> = (0_u32..).take(tokens.len()).map(|at| -f64::from(at)).collect();
        Sentence::new(&tokens, &kinds, &Order::Scores(scores), |id| id == 0, space).unwrap()
    }

    fn shown(sentence: &Sentence, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        sentence.encode(text, &mut tokens);
        tokens.iter().map(|token| sentence.bytes(*token).escape_ascii().to_string()).collect()
    }

    #[test]
    fn the_best_score_merges_first_and_the_leftmost_of_equals() {
        let sentence = sentence(&["bc", "ab", "aa", "a", "b", "c", "\n"], false);
        assert_eq!(shown(&sentence, "abc"), ["a", "bc"]);
        assert_eq!(shown(&sentence, "aaa"), ["aa", "a"]);
    }

    #[test]
    fn a_sign_without_a_token_becomes_its_bytes_and_they_show_themselves() {
        let sentence = sentence(&["a", "\u{2581}", "\u{2581}a", "\n\n"], false);
        assert_eq!(shown(&sentence, "é a"), ["\\xc3", "\\xa9", " a"]);
        assert_eq!(shown(&sentence, "\n\n\na"), ["\\n\\n", "\\n", "a"]);
        assert_eq!(sentence.bytes(0), b"", "control tokens show nothing");
    }

    #[test]
    fn a_space_stands_before_the_text_if_the_model_wants_it() {
        let pieces = ["a", "\u{2581}", "\u{2581}a", "  "];
        assert_eq!(shown(&sentence(&pieces, true), "a"), [" a"]);
        assert_eq!(shown(&sentence(&pieces, true), " a"), ["  ", "a"]);
        assert_eq!(shown(&sentence(&pieces, false), "a"), ["a"]);
        assert_eq!(shown(&sentence(&pieces, true), ""), Vec::<String>::new());
    }
}
