//! The words of a question that say what it is about.

/// Most words of a query.
const WORDS_MAX: usize = 12;
/// Longest word; longer ones say nothing about a topic.
const WORD_SIZE_MAX: usize = 32;

/// Words that fit every question.
const COMMON: &[&str] = &[
    "about", "and", "any", "are", "best", "but", "can", "could", "did", "does", "explain", "find", "for", "from",
    "give", "has", "have", "how", "into", "its", "know", "like", "many", "may", "me", "most", "much", "not", "one",
    "our", "out", "please", "say", "should", "show", "some", "tell", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "was", "were", "what", "when", "where", "which", "who", "why", "will",
    "with", "would", "write", "you", "your",
];

/// Lower-case words of at least three letters, each once, without the common ones; of a question that has none, all.
pub(crate) fn words(question: &str) -> Vec<String> {
    let all = split(question);
    let telling: Vec<String> =
        all.iter().filter(|word| word.chars().count() >= 3 && !COMMON.contains(&word.as_str())).cloned().collect();
    let mut words = if telling.is_empty() { all } else { telling };
    words.truncate(WORDS_MAX);
    words
}

fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        let word = word.to_lowercase();
        if !word.is_empty() && word.len() <= WORD_SIZE_MAX && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn common_words_and_repeats_say_nothing() {
        assert_eq!(words("What are the boiling points of ethanol and of Ethanol?"), ["boiling", "points", "ethanol"]);
        assert_eq!(words("who are you"), ["who", "are", "you"]);
        assert!(words("?!").is_empty());
    }
}
