//! A text as a set of shingles: runs of five words, without what a copyist changes first.
//!
//! What counts as the same:
//!
//! - Case: letters are compared in lower case.
//! - White space: any amount of any kind separates words and means nothing else.
//! - Full-width forms of ASCII are ASCII. Invisible characters, variation selectors and combining accents are skipped.
//!   Otherwise there is no Unicode normalisation (no NFKC): its tables weigh more than they find here, and a text that
//!   is spelt in lookalike letters teaches a model little and is seen by curators.
//! - Quotes, commas, semicolons and apostrophes mean nothing; `.`, `:`, `!`, `?` and `…` only at the end of a word.
//!   Within a word, and every other sign, they count: `2 + 3` is not `2 - 3`, and `a != b` is not `a = b`.
//! - A word is a run of letters and digits. In scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese)
//!   each letter is a word.

/// Words of a shingle. A text of fewer words is one shingle.
pub const SHINGLE_WORDS: usize = 5;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The shingles of a text, as 64-bit hashes, each once, in rising order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shingles(Vec<u64>);

impl Shingles {
    /// Of a text.
    pub fn of(text: &str) -> Self {
        let mut shingles = Self::all(text);
        shingles.sort_unstable();
        shingles.dedup();
        Self(shingles)
    }

    /// How many different ones a text has, and how many with repeats.
    pub(crate) fn distinct(text: &str) -> (usize, usize) {
        let mut shingles = Self::all(text);
        let all = shingles.len();
        shingles.sort_unstable();
        shingles.dedup();
        (shingles.len(), all)
    }

    fn all(text: &str) -> Vec<u64> {
        let mut shingles = Vec::new();
        let mut window = [0u64; SHINGLE_WORDS];
        let mut count = 0usize;
        words(text, |word| {
            window.rotate_left(1);
            window[SHINGLE_WORDS - 1] = word;
            count += 1;
            if count >= SHINGLE_WORDS {
                shingles.push(join(&window));
            }
        });
        if (1..SHINGLE_WORDS).contains(&count) {
            shingles.push(join(&window[SHINGLE_WORDS - count..]));
        }
        shingles
    }

    /// In rising order.
    pub fn hashes(&self) -> &[u64] {
        &self.0
    }

    /// True for a text without words.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many both have, and how many either has.
    pub fn overlap(&self, other: &Self) -> (usize, usize) {
        let (mut a, mut b, mut common) = (self.0.as_slice(), other.0.as_slice(), 0);
        while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
            common += usize::from(x == y);
            (a, b) = (if x <= y { rest_a } else { a }, if y <= x { rest_b } else { b });
        }
        (common, self.0.len() + other.0.len() - common)
    }

    /// True when the Jaccard similarity is at least `parts` thousandths; false for a text without words.
    pub fn is_near(&self, other: &Self, parts: u16) -> bool {
        let (common, union) = self.overlap(other);
        union > 0 && common * 1_000 >= union * usize::from(parts)
    }
}

/// The number of words is part of the hash: a short text is not the end of a longer one.
fn join(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, word| mix(hash.wrapping_mul(PRIME) ^ word))
}

/// What a character does to the words.
enum Role {
    /// It is part of a word.
    Letter(char),
    /// It is a word.
    Alone(char),
    /// It ends a word.
    Gap,
    /// It is as if it were not there.
    Nothing,
    /// Nothing at the end of a word, else a word.
    Stop(char),
}

fn role(c: char) -> Role {
    // Full-width ASCII.
    let c = match u32::from(c) {
        wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap_or(c),
        _ => c,
    };
    match c {
        '.' | ':' | '!' | '?' | '…' => Role::Stop(c),
        '\'' | '’' | 'ʼ' => Role::Nothing,
        ',' | ';' | '"' | '“' | '”' | '„' | '«' | '»' | '‘' | '、' | '。' | '「' | '」' | '『' | '』' | '؟' | '،'
        | '؛' | '।' => Role::Gap,
        _ if c.is_whitespace() || c.is_control() => Role::Gap,
        _ => match u32::from(c) {
            // Soft hyphen, combining accents, joiners, direction marks, variation selectors, byte order mark, tags.
            0x00ad
            | 0x034f
            | 0x061c
            | 0x0300..=0x036f
            | 0x180b..=0x180e
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xe0000..=0xe0fff => Role::Nothing,
            // Thai, Lao, Burmese, Khmer; kana; ideographs; half-width kana.
            0x0e00..=0x0eff
            | 0x1000..=0x109f
            | 0x1780..=0x17ff
            | 0x3040..=0x30ff
            | 0x31f0..=0x31ff
            | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0xff66..=0xff9f
            | 0x20000..=0x3ffff => Role::Alone(c),
            _ if c.is_alphanumeric() => Role::Letter(c),
            _ => Role::Alone(c),
        },
    }
}

fn feed(hash: u64, c: char) -> u64 {
    u32::from(c).to_le_bytes().iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Calls `each` with the hash of every word, in order.
pub(super) fn words(text: &str, mut each: impl FnMut(u64)) {
    let (mut word, mut open) = (OFFSET, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let role = match role(c) {
            // A sentence's end, and dots in a row, end at white space, a quote or nothing.
            Role::Stop(stop) => match rest.peek().map(|next| self::role(*next)) {
                None | Some(Role::Gap | Role::Stop(_) | Role::Nothing) => Role::Gap,
                Some(Role::Letter(_) | Role::Alone(_)) => Role::Alone(stop),
            },
            other => other,
        };
        match role {
            Role::Letter(c) => {
                open = true;
                word =
                    if c.is_ascii() { feed(word, c.to_ascii_lowercase()) } else { c.to_lowercase().fold(word, feed) };
            }
            Role::Nothing => {}
            Role::Gap | Role::Alone(_) | Role::Stop(_) => {
                if open {
                    each(mix(word));
                    (word, open) = (OFFSET, false);
                }
                if let Role::Alone(sign) = role {
                    each(mix(feed(OFFSET, sign)));
                }
            }
        }
    }
    if open {
        each(mix(word));
    }
}
