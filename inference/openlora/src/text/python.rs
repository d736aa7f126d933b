//! Methods of Python's strings that chat templates call. None makes more text than it was given, and fuel pays for each.

use minijinja::value::{Value, from_args};
use minijinja::{Error, ErrorKind, State};

/// The method of a value, if it is one of these.
pub(crate) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    let text = value.as_str().ok_or_else(unknown)?;
    state.consume_fuel(text.len() as u64 / 8 + 1)?;
    Ok(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (signs,): (Option<&str>,) = from_args(args)?;
            let cut = |sign: char| signs.map_or(sign.is_whitespace(), |signs| signs.contains(sign));
            let text = if name == "rstrip" { text } else { text.trim_start_matches(cut) };
            if name == "lstrip" { text } else { text.trim_end_matches(cut) }.into()
        }
        "startswith" => {
            let (start,): (&str,) = from_args(args)?;
            text.starts_with(start).into()
        }
        "endswith" => {
            let (end,): (&str,) = from_args(args)?;
            text.ends_with(end).into()
        }
        "split" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "an empty separator"));
            }
            // A piece costs far more than its text.
            state.consume_fuel(8 * text.matches(separator).count() as u64)?;
            text.split(separator).map(Value::from).collect()
        }
        _ => return Err(unknown()),
    })
}
