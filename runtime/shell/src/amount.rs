//! Amounts that people type as arguments.

use agora_types::Amount;

use crate::failure::{Failure, Outcome};

/// Reads decimal OPEN such as `0.00042`; for `--amount`, `--max-spend` and their like.
///
/// # Errors
/// `amount.not_decimal`, `amount.too_precise` or `amount.above_cap`, all with exit code 2.
pub fn parse_amount(text: &str) -> Outcome<Amount> {
    text.parse().map_err(Failure::from)
}

#[cfg(test)]
mod tests {
    use agora_types::{CAP, Code};

    use super::*;

    #[test]
    fn a_bad_amount_ends_with_its_own_code_and_exit_code_2() {
        for (text, code) in [
            ("1.0000000000000000001", Code::AmountTooPrecise),
            ("-1", Code::AmountNotDecimal),
            ("+1", Code::AmountNotDecimal),
            ("1e3", Code::AmountNotDecimal),
            ("1,5", Code::AmountNotDecimal),
            ("0x10", Code::AmountNotDecimal),
            ("", Code::AmountNotDecimal),
            (" 1", Code::AmountNotDecimal),
            ("1.", Code::AmountNotDecimal),
            ("NaN", Code::AmountNotDecimal),
            ("1000000000.000000000000000001", Code::AmountAboveCap),
            ("1000000000000000000000000000000", Code::AmountAboveCap),
        ] {
            let failure = parse_amount(text).expect_err(text);
            assert_eq!((failure.code, failure.exit_code()), (code, 2), "{text}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_amount_are_read_exactly() {
        assert_eq!(parse_amount("0.000000000000000001").unwrap().atoms(), 1);
        assert_eq!(parse_amount("1000000000").unwrap(), CAP);
    }
}
