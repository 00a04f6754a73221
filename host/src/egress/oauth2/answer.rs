//! What a token endpoint answers. It never goes further than to who asked here; of its errors only the code is told.
//! Source: RFC 6749 §5; Meta's own shape of errors.

use serde_json::Value as Json;

use crate::model::Timestamp;

use super::Held;
use crate::egress::{HttpResponse, Secret};

/// Of a token. Units: bytes.
const TOKEN_MAX: usize = 16 << 10;
/// A longer life is none. Units: seconds.
const LIFETIME_MAX: u64 = 10 * 366 * 86_400;
/// Of an error's code.
const CODE_MAX: usize = 40;

/// Why there are no tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum No {
    /// `invalid_grant`: the code or the refresh token is good no more.
    Grant(String),
    /// Refused by another code: the client's own proof, a scope.
    Other(String),
    /// Not granted by the admin.
    Denied(String),
    /// Time may mend it; in words.
    Later(String),
}

/// The tokens of an answer to what was asked at this time; `of`: whose they are.
pub(super) fn held(answer: &HttpResponse, of: String, asked_at: Timestamp) -> Result<Held, No> {
    let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer.status, &json));
    }
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    let token = |key: &str| text(key).filter(|token| is_token(token)).map(Secret::new);
    if text("token_type").is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(No::Other("its tokens are not of the type bearer".to_owned()));
    }
    let Some(access) = token("access_token") else {
        return Err(No::Later("the token endpoint answers without an access token".to_owned()));
    };
    let seconds = json.get("expires_in").and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let seconds = seconds.filter(|seconds| (1..LIFETIME_MAX).contains(seconds));
    Ok(Held {
        of: Some(of),
        access,
        refresh: token("refresh_token"),
        obtained: asked_at,
        lifetime_ms: seconds.map(|seconds| seconds * 1000),
        scope: text("scope").map(|scope| scope.chars().filter(|c| !c.is_control()).take(1000).collect()),
    })
}

/// It becomes a header: visible ASCII alone.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOKEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn refusal(status: u16, json: &Json) -> No {
    let code = match json.get("error") {
        Some(Json::String(code)) => Some(code.clone()),
        Some(Json::Object(error)) if error.get("is_transient") != Some(&Json::Bool(true)) => {
            error.get("code").map(|code| format!("code {code}")).or_else(|| error.get("type").and_then(Json::as_str).map(str::to_owned))
        }
        _ => None,
    };
    let is_refused = matches!(status, 400 | 401 | 403);
    // A code is a word; anything else could be an echo of what was sent.
    let is_word = |code: &String| code.len() <= CODE_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_ -".contains(&byte));
    match code.filter(is_word) {
        Some(code) if is_refused && code == "invalid_grant" => No::Grant(code),
        Some(code) if is_refused && !matches!(code.as_str(), "temporarily_unavailable" | "server_error" | "slow_down") => No::Other(code),
        _ => No::Later(format!("the token endpoint answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Result<Held, No> {
        held(&HttpResponse { status, headers: Vec::new(), body: body.as_bytes().to_vec() }, String::new(), Timestamp(1000))
    }

    #[test]
    fn lifetimes_are_numbers_texts_or_absent() {
        for (field, lifetime_ms) in [
            ("\"expires_in\":7200", Some(7_200_000)),
            ("\"expires_in\":\"60\"", Some(60_000)),
            ("\"expires_in\":0", None),
            ("\"expires_in\":-1", None),
            ("\"expires_in\":18446744073709551615", None),
            ("\"created_at\":1", None),
        ] {
            let held = of(200, &format!("{{\"access_token\":\"a\",\"token_type\":\"Bearer\",{field}}}")).ok().unwrap();
            assert_eq!((held.lifetime_ms, held.obtained, held.refresh.is_none()), (lifetime_ms, Timestamp(1000), true), "{field}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_a_mishap_and_nothing_is_echoed() {
        for (status, body, no) in [
            (400, r#"{"error":"invalid_grant","error_description":"r3fresh is no token"}"#, No::Grant("invalid_grant".to_owned())),
            (401, r#"{"error":"invalid_client"}"#, No::Other("invalid_client".to_owned())),
            (400, r#"{"error":{"message":"m","type":"OAuthException","code":190}}"#, No::Other("code 190".to_owned())),
            (400, r#"{"error":{"code":2,"is_transient":true}}"#, No::Later("the token endpoint answers 400".to_owned())),
            (400, r#"{"error":"r3fresh+token/is=echoed"}"#, No::Later("the token endpoint answers 400".to_owned())),
            (503, r#"{"error":"invalid_grant"}"#, No::Later("the token endpoint answers 503".to_owned())),
            (403, "<html>blocked</html>", No::Later("the token endpoint answers 403".to_owned())),
            (200, "<html>", No::Later("the token endpoint answers without an access token".to_owned())),
            (200, r#"{"access_token":"a\r\nb"}"#, No::Later("the token endpoint answers without an access token".to_owned())),
        ] {
            assert_eq!(of(status, body).err(), Some(no), "{status} {body}");
        }
    }
}
