//! Who may ask: whoever has the node's token and is not a web page.
//!
//! A page in the user's browser can send requests to loopback addresses too. It cannot read the token, but it is kept
//! from trying: browsers name the page in `Origin`, and a page that had its own name resolve to a loopback address
//! (DNS rebinding) names itself in `Host`.

use std::fmt;
use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use agora_types::Code;

use crate::answer::{Answer, refusal, refusal_with};

/// The shared secret of a node and its user's commands: 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The text is not a token. It is not repeated, since it may be one with a typing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenError;

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token has 64 lower-case hexadecimal digits")
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// From its text.
    ///
    /// # Errors
    /// For anything but 64 lower-case hexadecimal digits.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(digit) { Ok(Self(text.to_owned())) } else { Err(TokenError) }
    }

    /// Its text, which goes into the beacon file and the `Authorization` header, and nowhere else.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    fn fits(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(given).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        own.len() == given.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Lets a request pass, or says why not; before any of its body is read.
pub(crate) fn admit(request: &HttpRequest, token: &Token, bound: IpAddr) -> Result<(), Answer> {
    // Both headers are looked at first: a page learns nothing, not even whether its token was wrong.
    if request.headers().contains_key(ORIGIN) {
        return Err(refusal_with(403, Code::NodeUnauthorized, "requests of web pages are refused"));
    }
    let host = only(request, HOST).unwrap_or_default();
    if !names_this_machine(host, bound) {
        return Err(refusal_with(403, Code::NodeUnauthorized, "the Host header must name a loopback address"));
    }
    let given = only(request, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if token.fits(given.as_bytes()) { Ok(()) } else { Err(refusal(Code::NodeUnauthorized, "the token is wrong")) }
}

/// A header that stands there exactly once.
fn only(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    let mut values = request.headers().get_all(name);
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// True for `localhost`, loopback addresses, and the very address that the port is bound to, with or without port. An
/// address cannot be made to point elsewhere, as a name can.
fn names_this_machine(host: &str, bound: IpAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback() || address == bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_cannot_be_rebound_name_this_machine() {
        let bound: IpAddr = "10.1.2.3".parse().unwrap();
        for host in
            ["localhost", "LOCALHOST:7402", "127.0.0.1", "127.0.0.1:7402", "127.9.9.9", "[::1]:7402", "10.1.2.3:1"]
        {
            assert!(names_this_machine(host, bound), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7402", "10.1.2.4", "[::2]:1", "["]
        {
            assert!(!names_this_machine(host, bound), "{host}");
        }
    }

    #[test]
    fn a_token_fits_itself_only_and_never_shows_itself() {
        let token = Token::new(&"ab".repeat(32)).unwrap();
        assert!(token.fits("ab".repeat(32).as_bytes()));
        let mut other = "ab".repeat(32);
        other.replace_range(63.., "c");
        for given in ["", "ab", &other, &"ab".repeat(33), &"AB".repeat(32)] {
            assert!(!token.fits(given.as_bytes()), "{given}");
        }
        assert!(!format!("{token:?}").contains("ab"));
        for text in ["", "ab", &"AB".repeat(32), &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(Token::new(text), Err(TokenError));
        }
    }
}
