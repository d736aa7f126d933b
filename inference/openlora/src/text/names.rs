//! Tokens that stand in a text under their own name.

use std::collections::HashMap;

/// Longest name in bytes.
const NAME_SIZE_MAX: usize = 128;

/// Names and their tokens.
#[derive(Debug)]
pub(crate) struct Names {
    tokens: HashMap<Box<str>, u32>,
    /// Lengths that occur, the longest first.
    sizes: Vec<usize>,
    /// Whether a name begins with this byte.
    first: [bool; 256],
}

impl Names {
    /// The names of these tokens. Empty and very long ones are left out; of equal ones the first counts.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let (mut tokens, mut sizes, mut first) = (HashMap::new(), Vec::new(), [false; 256]);
        for (name, token) in names {
            if let Some(byte) = name.bytes().next()
                && name.len() <= NAME_SIZE_MAX
            {
                tokens.entry(name.into()).or_insert(token);
                sizes.push(name.len());
                first[usize::from(byte)] = true;
            }
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        Self { tokens, sizes, first }
    }

    /// The name of a token.
    pub(crate) fn name(&self, token: u32) -> Option<&str> {
        self.tokens.iter().filter(|(_, named)| **named == token).map(|(name, _)| &**name).min()
    }

    /// The names with which a text begins, the longest first: their sizes and tokens.
    pub(crate) fn at<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, u32)> + 'a {
        let begins = text.bytes().next().is_some_and(|byte| self.first[usize::from(byte)]);
        let sizes: &[usize] = if begins { &self.sizes } else { &[] };
        sizes.iter().filter_map(|size| Some((*size, *self.tokens.get(text.get(..*size)?)?)))
    }

    /// Cuts a text at every name, the leftmost first, the longest of those: what stands before it and its token, and in
    /// the end the rest.
    pub(crate) fn cut<'a>(&self, text: &'a str, mut piece: impl FnMut(&'a str, Option<u32>)) {
        let (mut from, mut at) = (0, 0);
        while let Some(sign) = text[at..].chars().next() {
            if let Some((size, token)) = self.at(&text[at..]).next() {
                piece(&text[from..at], Some(token));
                at += size;
                from = at;
            } else {
                at += sign.len_utf8();
            }
        }
        piece(&text[from..], None);
    }
}
