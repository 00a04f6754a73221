//! Who may call the API: whoever shows the token; without one, callers from this machine that are no web page of another site.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Desk, Refusal, audit};

/// A bearer token. Prints as `***`.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes the text as it is.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    fn is(&self, given: &str) -> bool {
        // Compared by digest, so that neither content nor length shows in the time it takes.
        let (mine, theirs) = (blake3::hash(self.0.as_bytes()), blake3::hash(given.as_bytes()));
        bool::from(mine.as_bytes().ct_eq(theirs.as_bytes()))
    }
}

/// What proxies say of whom they speak for.
const PASSED_ON: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Lets a call through, or refuses it with the cure.
pub(super) async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    match refusal(&desk.tokens.load(), request.headers()) {
        Some(refusal) => {
            audit::denied(&desk, request.method(), request.uri(), refusal.status.as_u16()).await;
            refusal.into_response()
        }
        None => next.run(request).await,
    }
}

fn refusal(tokens: &[Token], headers: &HeaderMap) -> Option<Refusal> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !tokens.is_empty() {
        // Who shows nothing is refused before anything is compared: an empty token must not be one.
        let given = header(AUTHORIZATION).and_then(bearer).filter(|given| !given.is_empty());
        let is_known = given.is_some_and(|given| tokens.iter().any(|token| token.is(given)));
        return (!is_known).then(|| Refusal::unauthorized("send `Authorization: Bearer` with the `admin_token` of membrana.toml"));
    }
    let host = header(HOST).unwrap_or_default();
    let is_other_site = headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site");
    let is_own_page = !is_other_site && header(ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
    // A proxy speaks for somebody else, whatever name it calls us by.
    let is_passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    (!is_local(host) || !is_own_page || is_passed_on)
        .then(|| Refusal::forbidden("call it by its loopback address, or set `admin_token` in `[host]` and send it as a bearer token"))
}

/// The token after the scheme, whose letters may be of any case (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

/// A name that another site's DNS cannot point here.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_local() {
        for local in ["localhost", "localhost:7700", "127.0.0.1:7700", "[::1]:7700", "127.0.0.1"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["", "evil.example", "evil.example:7700", "127.0.0.1.evil.example", "10.0.0.1:7700", "localhost.evil.example"] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_token_matches_itself_alone_and_never_prints() {
        let token = Token::new("s3cret");
        assert!(token.is("s3cret"));
        assert!(!token.is("s3cre") && !token.is(""));
        assert_eq!(format!("{token:?}"), "***");
    }

    #[test]
    fn without_a_header_no_token_matches_and_any_of_a_list_does() {
        let called = |value: Option<&str>, tokens: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:7700".parse().unwrap());
            headers.extend(value.map(|value| (AUTHORIZATION, value.parse().unwrap())));
            let tokens: Vec<Token> = tokens.iter().map(|text| Token::new(text)).collect();
            refusal(&tokens, &headers).map(|refusal| refusal.status.as_u16())
        };
        for nothing in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic x")] {
            assert_eq!(called(nothing, &[""]), Some(401), "{nothing:?}");
        }
        for right in ["Bearer old", "bearer new", "BEARER new"] {
            assert_eq!(called(Some(right), &["old", "new"]), None, "{right}");
        }
        assert_eq!(called(Some("Bearer other"), &["old", "new"]), Some(401));
        assert_eq!(called(None, &[]), None, "loopback without a token");
    }

    #[test]
    fn a_proxy_on_the_same_machine_opens_nothing() {
        for name in PASSED_ON {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:7700".parse().unwrap());
            headers.insert(name, "203.0.113.7".parse().unwrap());
            assert_eq!(refusal(&[], &headers).map(|refusal| refusal.status.as_u16()), Some(403), "{name}");
        }
    }
}
