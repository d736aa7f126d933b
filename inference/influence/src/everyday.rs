//! Questions for calibration that are nobody's special field.

/// Everyday questions that a special datanet teaches nothing of: what the base model says to them is what "not explained"
/// means.
pub const EVERYDAY: [&str; 16] = [
    "What is the capital of France?",
    "How many legs does a spider have?",
    "Write a short greeting to a colleague.",
    "What colour is a ripe banana?",
    "Name three musical instruments.",
    "Why is the sky blue?",
    "How do I boil an egg?",
    "What is seven times eight?",
    "Who wrote Romeo and Juliet?",
    "What do plants need to grow?",
    "Explain what a computer program is.",
    "What is the largest planet of the solar system?",
    "Give me a synonym for happy.",
    "How many days has a leap year?",
    "What language is spoken in Brazil?",
    "Describe a cat in one sentence.",
];
