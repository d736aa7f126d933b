//! What no language looks like: almost nothing, one thing over and over, codes instead of letters.

use super::Kind;
use crate::similar::Shingles;

/// Fewer letters and digits than this say nothing.
const LETTERS_MIN: usize = 3;
/// From so many characters on a text is judged for repetition and signs.
const JUDGED_FROM: usize = 200;
/// Of 1,000 characters so many must be letters, digits or white space: code and tables have more signs than prose.
const READABLE_PARTS: usize = 500;
/// A single run without white space of this many characters of ASCII is encoded data.
const RUN_MAX: usize = 1_000;
/// Longest repetition of one character, except space and the signs that rule lines are drawn with.
const SAME_MAX: usize = 64;
/// Of 1,000 runs of five words so many must be different.
const DISTINCT_PARTS: usize = 300;

/// The first thing that is wrong with a text.
pub(super) fn judge(text: &str) -> Option<Kind> {
    let (mut count, mut letters, mut readable, mut broken) = (0usize, 0usize, 0usize, 0usize);
    let (mut run, mut longest, mut same, mut most, mut last) = (0usize, 0usize, 0usize, 0usize, '\0');
    for c in text.chars() {
        count += 1;
        letters += usize::from(c.is_alphanumeric());
        // Beyond ASCII every sign that is not broken is somebody's writing, or a picture.
        readable += usize::from(c.is_alphanumeric() || c.is_whitespace() || (!c.is_ascii() && c != '\u{fffd}'));
        broken += usize::from(c == '\u{fffd}' || (c.is_control() && !matches!(c, '\n' | '\t' | '\r')));
        run = if c.is_ascii() && !c.is_ascii_whitespace() { run + 1 } else { 0 };
        longest = longest.max(run);
        same = if c == last { same + 1 } else { 1 };
        last = c;
        if !matches!(c, ' ' | '\n' | '-' | '=' | '_' | '*' | '#' | '.' | '~') {
            most = most.max(same);
        }
    }
    // One broken sign in a hundred, or any at all in something short, says that this was decoded wrongly.
    if broken * 100 > count || longest > RUN_MAX {
        return Some(Kind::NotText);
    }
    if letters < LETTERS_MIN && !text.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
        return Some(Kind::TooShort);
    }
    if most > SAME_MAX {
        return Some(Kind::Repetitive);
    }
    if count < JUDGED_FROM {
        return None;
    }
    if readable * 1_000 < count * READABLE_PARTS {
        return Some(Kind::NotText);
    }
    is_repetitive(text).then_some(Kind::Repetitive)
}

fn is_repetitive(text: &str) -> bool {
    let (distinct, all) = Shingles::distinct(text);
    all >= 20 && distinct * 1_000 < all * DISTINCT_PARTS
}
