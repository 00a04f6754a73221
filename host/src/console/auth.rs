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

use super::{Desk, Refusal};

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

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Lets a call through, or refuses it with the cure.
pub(super) async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    match refusal(desk.token.as_ref(), request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(token: Option<&Token>, headers: &HeaderMap) -> Option<Refusal> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(token) = token {
        let given = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        return (!token.is(given)).then(|| Refusal::unauthorized("send `Authorization: Bearer` with the `admin_token` of membrana.toml"));
    }
    let host = header(HOST).unwrap_or_default();
    let is_own_page = header(ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
    (!is_local(host) || !is_own_page)
        .then(|| Refusal::forbidden("call it by its loopback address, or set `admin_token` in `[host]` and send it as a bearer token"))
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
}
