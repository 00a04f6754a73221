//! Who may call the API, and what for: whoever shows a token, as far as its role goes; without one, callers from this machine that are no
//! web page of another site.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::Role;

use super::serve::Peer;
use super::{Desk, Refusal, audit, openapi};

/// A bearer token. Prints as its role and `***`.
pub struct Token(Role, Zeroizing<String>);

impl Token {
    /// Takes the text as it is.
    pub fn new(role: Role, text: &str) -> Self {
        Self(role, Zeroizing::new(text.to_owned()))
    }

    fn is(&self, given: &str) -> bool {
        // Compared by digest, so that neither content nor length shows in the time it takes.
        let (mine, theirs) = (blake3::hash(self.1.as_bytes()), blake3::hash(given.as_bytes()));
        bool::from(mine.as_bytes().ct_eq(theirs.as_bytes()))
    }
}

/// What proxies say of whom they speak for.
const PASSED_ON: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ***", self.0.word())
    }
}

/// Lets a call through with the caller's role, or refuses it with the cure.
pub(super) async fn guard(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let needed = openapi::role_for(request.method(), request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let role = role_of(&desk, &request);
    match role.and_then(|role| if role >= needed { Ok(role) } else { Err(Refusal::beyond(role, needed, enough_for(&desk.tokens.load(), needed))) }) {
        Ok(role) => {
            request.extensions_mut().insert(role);
            next.run(request).await
        }
        Err(refusal) => {
            audit::denied(&desk, request.method(), request.uri(), refusal.status.as_u16()).await;
            refusal.into_response()
        }
    }
}

/// The lowest role that goes so far and has a token.
fn enough_for(tokens: &[Token], needed: Role) -> Role {
    tokens.iter().map(|token| token.0).filter(|role| *role >= needed).min().unwrap_or(needed)
}

/// Who calls. A place that guessed too often is not even compared with.
fn role_of(desk: &Desk, request: &Request) -> Result<Role, Refusal> {
    let tokens = desk.tokens.load();
    if tokens.is_empty() {
        return unknown_caller(request.headers()).map_or(Ok(Role::Admin), Err);
    }
    // Who shows nothing is refused before anything is compared: an empty token must not be one.
    let given = text(request.headers(), AUTHORIZATION).and_then(bearer).filter(|given| !given.is_empty());
    let wrong = || Refusal::unauthorized("send `Authorization: Bearer` with a token that membrana.toml names in `[host]`");
    let Some(given) = given else { return Err(wrong()) };
    let (from, now) = (request.extensions().get::<Peer>().map(|Peer(address)| *address), desk.journal.clock.now());
    if let Some(Err(left_ms)) = from.map(|from| desk.guesses.admit(from, now)) {
        return Err(Refusal::too_many_guesses(left_ms));
    }
    shown(&tokens, given).ok_or_else(|| {
        if let Some(from) = from {
            desk.guesses.wrong(from, given, now);
        }
        wrong()
    })
}

/// The role that goes furthest of those whose token this is; all are compared.
fn shown(tokens: &[Token], given: &str) -> Option<Role> {
    tokens.iter().filter(|token| token.is(given)).map(|token| token.0).max()
}

/// Without any token: why this is not somebody at this machine.
fn unknown_caller(headers: &HeaderMap) -> Option<Refusal> {
    let host = text(headers, HOST).unwrap_or_default();
    let is_other_site = headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site");
    let is_own_page = !is_other_site && text(headers, ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
    // A proxy speaks for somebody else, whatever name it calls us by.
    let is_passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    (!is_local(host) || !is_own_page || is_passed_on)
        .then(|| Refusal::forbidden("call it by its loopback address, or set `admin_token` in `[host]` and send it as a bearer token"))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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
        let token = Token::new(Role::Operator, "s3cret");
        assert!(token.is("s3cret"));
        assert!(!token.is("s3cre") && !token.is(""));
        assert_eq!(format!("{token:?}"), "operator ***");
    }

    #[test]
    fn the_token_is_what_follows_bearer_and_any_of_a_list_counts() {
        for (value, token) in [("Bearer a", Some("a")), ("BEARER  a ", Some("a")), ("Bearer ", Some("")), ("Bearer", None), ("Basic a", None)] {
            assert_eq!(bearer(value), token, "{value}");
        }
        let tokens = [(Role::Admin, "old"), (Role::Admin, "new"), (Role::Reader, "look")].map(|(role, text)| Token::new(role, text));
        assert_eq!(
            ["old", "new", "look", "other", ""].map(|text| shown(&tokens, text)),
            [Some(Role::Admin), Some(Role::Admin), Some(Role::Reader), None, None]
        );
    }

    #[test]
    fn a_proxy_on_the_same_machine_opens_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:7700".parse().unwrap());
        assert!(unknown_caller(&headers).is_none(), "loopback without a token");
        for name in PASSED_ON {
            let mut headers = headers.clone();
            headers.insert(name, "203.0.113.7".parse().unwrap());
            assert_eq!(unknown_caller(&headers).map(|refusal| refusal.status.as_u16()), Some(403), "{name}");
        }
    }
}
