//! A person logs in: the authorisation-code flow with PKCE. Source: RFC 6749 §4.1, RFC 7636, RFC 8252 §7.3.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::{Live, Tokens, answer};
use crate::egress::Secret;

/// A login that waits for the person's answer.
#[derive(Debug)]
pub struct Login {
    /// What the person opens.
    pub url: String,
    state: Secret,
    verifier: Secret,
    redirect: String,
}

/// What the network gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// As the network says; absent: what was asked for.
    pub scope: Option<String>,
    /// Of the first access token; absent: not said.
    pub expires_in: Option<Duration>,
    /// The host renews it by itself.
    pub is_renewed: bool,
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The way there cannot be opened.
    #[error("the address for logins cannot be used: {0}")]
    Address(String),
    /// The machine gives none.
    #[error("there are no random numbers")]
    Random,
    /// By the token endpoint, with its code.
    #[error("the network gives no tokens for the login ({0})")]
    Refused(String),
    /// Not granted, with the line that grants it.
    #[error("the token endpoint may not be called: {0}")]
    Denied(String),
    /// No answer, or a strange one.
    #[error("the login did not end: {0}")]
    Later(String),
}

impl Login {
    /// Says whether an answer belongs to this login and no other.
    pub fn has_state(&self, state: &str) -> bool {
        state.as_bytes().ct_eq(self.state.expose().as_bytes()).into()
    }
}

impl Tokens {
    /// Begins a login whose answer comes to `redirect`. `authorize` may have a query of its own.
    pub fn begin_login(&self, authorize: &str, scopes: &[String], redirect: &str) -> Result<Login, LoginError> {
        let (state, verifier) = (random()?, random()?);
        let mut url = Url::parse(authorize).map_err(|error| LoginError::Address(error.to_string()))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client.id.expose())
            .append_pair("redirect_uri", redirect)
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &challenge(verifier.expose()))
            .append_pair("code_challenge_method", "S256");
        if !scopes.is_empty() {
            url.query_pairs_mut().append_pair("scope", &scopes.join(" "));
        }
        // A space as `%20`: not every network reads `+`.
        Ok(Login { url: url.as_str().replace('+', "%20"), state, verifier, redirect: redirect.to_owned() })
    }

    /// Gives the code for tokens and seals them: they are durable when this returns. Cancel: the code is lost.
    pub async fn end_login(self: &Arc<Self>, login: &Login, code: &str) -> Result<LoggedIn, LoginError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", login.redirect.as_str()),
            ("code_verifier", login.verifier.expose()),
        ];
        let held = self.ask(&fields).await.map_err(|no| match no {
            answer::No::Grant(code) | answer::No::Other(code) => LoginError::Refused(code),
            answer::No::Denied(why) => LoginError::Denied(why),
            answer::No::Later(why) => LoginError::Later(why),
        })?;
        self.remember(&held);
        let mut live = self.live.lock().await;
        // A refresh of the old tokens must not write over the new ones.
        let _turn = self.turn().await.map_err(LoginError::Later)?;
        let stamp = self.seal(&held).await.map_err(|error| LoginError::Later(format!("the tokens cannot be kept: {error}")))?;
        let told =
            LoggedIn { scope: held.scope.clone(), expires_in: held.lifetime_ms.map(Duration::from_millis), is_renewed: held.refresh.is_some() };
        *live = Live { stamp: Some(stamp), held: Some(held), ..Live::default() };
        Ok(told)
    }
}

/// 256 bits, in 43 characters that need no escape.
fn random() -> Result<Secret, LoginError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| LoginError::Random)?;
    Ok(Secret::new(&URL_SAFE_NO_PAD.encode(bytes)))
}

/// Source: RFC 7636 §4.2.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    #[test]
    fn the_challenge_of_the_rfc() {
        assert_eq!(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
