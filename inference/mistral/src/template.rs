//! The chat template: the file's Jinja, with fuel and a bound on what it writes.

use std::io::{self, Write};

use agora_inference_api::{EngineError, Message, Role};
use agora_types::Code;
use minijinja::{Environment, Error, ErrorKind, context};

/// Longest template in bytes.
const TEMPLATE_SIZE_MAX: usize = 64 << 10;
/// Instructions of one rendering, beside what it pays for the messages' own bytes.
const FUEL: u64 = 200_000;
/// Instructions for each byte of the messages.
const FUEL_PER_BYTE: u64 = 16;
/// Most bytes that a rendering writes beside the messages.
const EXTRA_SIZE_MAX: usize = 256 << 10;

/// A checked template.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) source: String,
    begin: Option<String>,
    end: Option<String>,
}

impl Template {
    /// Checks that the template renders a question.
    ///
    /// # Errors
    /// `engine.bad_model`.
    pub(crate) fn new(source: String, begin: Option<String>, end: Option<String>) -> Result<Self, EngineError> {
        let bad = |what: String| EngineError::new(Code::EngineBadModel, what);
        if source.len() > TEMPLATE_SIZE_MAX {
            return Err(bad(format!("a chat template of {} bytes", source.len())));
        }
        let template = Self { source, begin, end };
        template.render(&[Message { role: Role::User, text: "Hello".to_owned() }]).map_err(|error| bad(error.what))?;
        Ok(template)
    }

    /// Renders a conversation that awaits an answer. The date and whatever else a template may ask for is undefined: the
    /// same messages give the same prompt on any day.
    ///
    /// # Errors
    /// `engine.bad_request`, with the template's own words.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, EngineError> {
        let refused = |what: String| EngineError::new(Code::EngineBadRequest, format!("the chat template: {what}"));
        let size: usize = messages.iter().map(|message| message.text.len()).sum();
        let role = |role: Role| match role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let list: Vec<_> = messages
            .iter()
            .map(|message| context! { role => role(message.role), content => message.text.as_str() })
            .collect();
        let values = context! {
            messages => list,
            add_generation_prompt => true,
            bos_token => self.begin,
            eos_token => self.end,
        };
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL.saturating_add(FUEL_PER_BYTE.saturating_mul(size as u64))));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |what: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, what))
        });
        let mut out = Bounded { bytes: Vec::new(), left: size.saturating_add(EXTRA_SIZE_MAX) };
        environment
            .template_from_str(&self.source)
            .and_then(|template| template.render_captured_to(values, &mut out).map(drop))
            .map_err(|error| refused(error.to_string()))?;
        String::from_utf8(out.bytes).map_err(|_| refused("not UTF-8".to_owned()))
    }
}

/// A writer that refuses more than it was allowed.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("it writes too much"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Result<Template, EngineError> {
        Template::new(source.to_owned(), Some("<s>".to_owned()), None)
    }

    #[test]
    fn a_template_renders_and_refuses_in_its_own_words() {
        let source = "{{ bos_token }}{% for message in messages %}\n{% if message.role == 'system' %}\n\
                      {{ raise_exception('no system here') }}\n{% endif %}\n[{{ message.content.strip() }}]{% endfor %}";
        let template = template(source).unwrap();
        let say = |role, text: &str| Message { role, text: text.to_owned() };
        assert_eq!(template.render(&[say(Role::User, " a "), say(Role::Assistant, "b")]).unwrap(), "<s>[a][b]");
        let error = template.render(&[say(Role::System, "a")]).unwrap_err();
        assert_eq!(error.code, Code::EngineBadRequest);
        assert!(error.what.contains("no system here"), "{error}");
    }

    #[test]
    fn a_template_that_runs_or_writes_forever_is_a_bad_model() {
        let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        let chatty = "{% for a in range(9000) %}{{ '0123456789012345678901234567890123456789' }}{% endfor %}";
        for source in [endless, chatty, "{% if %}"] {
            assert_eq!(template(source).unwrap_err().code, Code::EngineBadModel, "{source}");
        }
    }
}
