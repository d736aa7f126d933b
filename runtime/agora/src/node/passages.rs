//! Where tokens of an answer stand in its text.

use std::ops::Range;

use agora_openlora::weights::Weights;

/// The bytes of an answer under runs of its tokens, each by its first token and their number, as attribution counts them.
/// Whole characters, in the runs' order, none overlapping; `None` where the tokens do not show the text again.
pub(crate) fn passages(weights: &Weights, answer: &str, runs: &[(u32, u32)]) -> Option<Vec<Range<usize>>> {
    // What surrounds an answer is neither taught nor measured.
    let said = answer.trim();
    let before = answer.len() - answer.trim_start().len();
    let tokens = weights.encode(said);
    let shown: Vec<&[u8]> = tokens.iter().map(|token| weights.shown(*token)).collect();
    let found = within(&shown, said, runs)?;
    Some(found.into_iter().map(|bytes| bytes.start + before..bytes.end + before).collect())
}

fn within(shown: &[&[u8]], text: &str, runs: &[(u32, u32)]) -> Option<Vec<Range<usize>>> {
    let whole = shown.concat();
    // Vocabularies of sentences begin a text with a space.
    let lead = whole.len().checked_sub(text.len()).filter(|lead| *lead <= 1)?;
    if whole[lead..] != *text.as_bytes() || !b" ".starts_with(&whole[..lead]) {
        return None;
    }
    let mut ends = vec![0];
    ends.extend(shown.iter().scan(0, |end, bytes| {
        *end += bytes.len();
        Some(*end)
    }));
    // Behind the last token of the text there is only the one that ends the answer, which shows nothing.
    let place = |token: usize| ends[token.min(shown.len())].saturating_sub(lead);
    let mut free = 0;
    let mut found = Vec::with_capacity(runs.len());
    for (start, length) in runs {
        let (start, end) = (*start as usize, (*start as usize).saturating_add(*length as usize));
        let from = text.floor_char_boundary(place(start)).max(free);
        free = text.ceil_char_boundary(place(end)).max(from);
        found.push(from..free);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_tokens_become_the_bytes_that_they_show() {
        let shown: [&[u8]; 4] = [b"The", b" light", b" keeps", b" on"];
        let found = within(&shown, "The light keeps on", &[(0, 1), (1, 2), (3, 1)]);
        assert_eq!(found, Some(vec![0..3, 3..15, 15..18]));
        let found = within(&shown, "The light keeps on", &[(2, 3)]);
        assert_eq!(found, Some(std::iter::once(9..18).collect()), "the token that ends an answer shows nothing");
        assert_eq!(
            within(&shown, "The light keeps on", &[(u32::MAX, u32::MAX)]),
            Some(std::iter::once(18..18).collect())
        );
    }

    #[test]
    fn the_space_that_a_vocabulary_puts_before_a_text_is_not_the_texts() {
        let shown: [&[u8]; 2] = [b" The", b" light"];
        assert_eq!(within(&shown, "The light", &[(0, 1), (1, 1)]), Some(vec![0..3, 3..9]));
        assert_eq!(within(&shown, "The lights", &[(0, 1)]), None);
        assert_eq!(within(&[b"xThe"], "The", &[(0, 1)]), None);
        assert_eq!(within(&[], "", &[]), Some(vec![]));
        assert_eq!(within(&[b"T"], "The", &[(0, 1)]), None);
    }

    #[test]
    fn a_character_that_is_spread_over_tokens_is_never_cut_nor_marked_twice() {
        // The euro sign is e2 82 ac.
        let shown: [&[u8]; 4] = [b"1", &[0xe2], &[0x82, 0xac], b"!"];
        let found = within(&shown, "1\u{20ac}!", &[(0, 2), (2, 1), (3, 1)]);
        assert_eq!(found, Some(vec![0..4, 4..4, 4..5]));
    }
}
