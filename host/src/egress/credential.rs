//! Credentials: added on the way out, for the hosts they are bound to and no other, and taken out of what comes back.
//! What is taken out is replaced by as many `*`: a length that was announced stays true.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use ring::hmac;
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::body::filled;
use super::oauth1::{Signed, Signer, encoded as percent_encoded};
use super::oauth2::{Cause, Refused, Tokens};
use super::{HostPort, HttpGrant};

/// Shorter texts are in every answer: to take them out would spoil it and hide nothing.
const FORM_MIN: usize = 4;
/// A password inside `user:password` that is shorter is likely a word of its own.
const PASSWORD_MIN: usize = 8;

/// Meta's proof that who has a token also has the application's secret. Source: Graph API, "Secure Graph API calls".
const PROOF: &str = "appsecret_proof";

/// A secret. Prints as `***`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How a credential goes into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inject {
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// A header of this name.
    Header(String),
    /// A query parameter of this name.
    Query(String),
    /// The empty text at this JSON pointer of the body.
    Body(String),
    /// Written into a stream where the guest asks for it.
    Write,
    /// As `Bearer`, the token kept fresh by the host.
    OAuth2,
    /// Every request is signed.
    OAuth1,
}

impl Inject {
    /// As manifests write it: `bearer`, `basic`, `header:NAME`, `query:NAME`, `body:/POINTER`, `oauth2`, `oauth1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "bearer" => Some(Self::Bearer),
            None if text == "basic" => Some(Self::Basic),
            None if text == "oauth2" => Some(Self::OAuth2),
            None if text == "oauth1" => Some(Self::OAuth1),
            Some(("header", name)) if is_header_for_secrets(name) => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("query", name)) if is_for_secrets(name) => Some(Self::Query(name.to_owned())),
            Some(("body", pointer)) if pointer.rsplit_once('/').is_some_and(|(_, last)| is_for_secrets(last)) && pointer.starts_with('/') => {
                Some(Self::Body(pointer.to_owned()))
            }
            _ => None,
        }
    }
}

/// Fields that networks read credentials from, and show to nobody. Another one could be a text that they publish: whoever has an account
/// of its own there would read it.
pub const FIELDS: [&str; 9] = ["access_token", "api_key", "apikey", "api-key", "client_secret", "key", "password", "secret", "token"];

fn is_for_secrets(field: &str) -> bool {
    FIELDS.iter().any(|known| known.eq_ignore_ascii_case(field))
}

/// One of these is a word of the name of a header that networks read credentials from.
pub const HEADER_WORDS: [&str; 8] = ["auth", "authentication", "authorization", "key", "apikey", "password", "secret", "token"];

/// As for fields: what a network notes of a caller (`user-agent`, `referer`) it may show to whoever has an account.
fn is_header_for_secrets(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
        && name.split(['-', '_']).any(|word| HEADER_WORDS.contains(&word))
        && !name.starts_with("proxy-")
}

/// A credential that guests name and never see.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What guests call it.
    pub name: String,
    /// The first is used; all are scrubbed.
    pub secrets: Vec<Secret>,
    /// Where in a request or stream it goes.
    pub inject: Inject,
    /// Where requests with it may go.
    pub origins: Vec<HttpGrant>,
    /// Where streams with it may lead.
    pub endpoints: Vec<HostPort>,
    /// Key of the `appsecret_proof` that goes with the token.
    pub proof: Option<Secret>,
    /// OAuth 2.0: where the token comes from; a plain secret stands in while there is none.
    pub tokens: Option<Arc<Tokens>>,
    /// OAuth 1.0a: what signs.
    pub signer: Option<Signer>,
}

/// A request that a credential is added to.
pub(super) struct Outgoing<'r> {
    pub(super) method: &'r str,
    pub(super) body: &'r [u8],
    pub(super) url: &'r mut Url,
    pub(super) headers: &'r mut Vec<(String, String)>,
}

/// Why a credential was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withheld {
    /// It is none for this, or has no secret.
    NotConfigured,
    /// Other hosts are to have it.
    OtherHost,
}

impl Credential {
    /// A credential with a secret of the configuration and nothing else.
    pub fn plain(name: &str, secrets: Vec<Secret>, inject: Inject, origins: Vec<HttpGrant>, endpoints: Vec<HostPort>) -> Self {
        Self { name: name.to_owned(), secrets, inject, origins, endpoints, proof: None, tokens: None, signer: None }
    }

    /// Says whether it may go to this URL.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        self.origins.iter().any(|origin| origin.allows(url))
    }

    /// Asks with a fresh token; a token that the network refuses is renewed once, and what was refused is asked again.
    /// Errors: no token, and nothing was asked.
    pub(super) async fn with_token<T, E, F: Future<Output = Result<T, E>> + Send>(
        &self,
        tokens: &Arc<Tokens>,
        deadline: Instant,
        ask: impl Fn(Option<Secret>) -> F + Send,
        is_refused: impl Fn(&Result<T, E>) -> bool + Send,
    ) -> Result<Result<T, E>, Refused> {
        let later = || Err(Refused::Later("no token in time".to_owned()));
        let is_taken = |answer: &Result<T, E>| answer.is_ok() && !is_refused(answer);
        let first = match timeout_at(deadline, tokens.access()).await.unwrap_or_else(|_| later()) {
            Ok(first) => first,
            Err(Refused::Nobody(_)) if !self.secrets.is_empty() => return Ok(ask(None).await),
            Err(refused) => return Err(refused),
        };
        let answer = ask(Some(first.clone())).await;
        if is_taken(&answer) {
            tokens.proved();
        }
        if !is_refused(&answer) {
            return Ok(answer);
        }
        // A 401 is no outcome: whatever was asked was not done.
        match timeout_at(deadline, tokens.renew(&first, Cause::Refused)).await.unwrap_or_else(|_| later()) {
            Ok(second) => {
                let answer = ask(Some(second)).await;
                if is_taken(&answer) {
                    tokens.proved();
                }
                Ok(answer)
            }
            Err(Refused::Useless) => Ok(answer),
            Err(refused) => Err(refused),
        }
    }

    /// Adds itself to a request; `token` in place of the configured secret. Errors: nothing was added.
    pub(super) fn apply(&self, token: Option<&Secret>, request: &mut Outgoing<'_>) -> Result<(), Withheld> {
        if self.inject == Inject::OAuth1 {
            return self.sign(request);
        }
        let secret = token.or(self.secrets.first()).ok_or(Withheld::NotConfigured)?.expose();
        if !self.is_for(request.url) {
            return Err(Withheld::OtherHost);
        }
        match &self.inject {
            Inject::Bearer | Inject::OAuth2 => authorize(request.headers, format!("Bearer {secret}")),
            Inject::Basic => authorize(request.headers, format!("Basic {}", STANDARD.encode(secret))),
            Inject::Header(name) => {
                anonymous(request.headers);
                request.headers.push((name.clone(), secret.to_owned()));
            }
            Inject::Query(name) => {
                anonymous(request.headers);
                request.url.query_pairs_mut().append_pair(name, secret);
            }
            // Goes into the body, by `fill`.
            Inject::Body(_) => anonymous(request.headers),
            Inject::Write | Inject::OAuth1 => return Err(Withheld::NotConfigured),
        }
        if let Some(key) = &self.proof {
            request.url.query_pairs_mut().append_pair(PROOF, &proof(key, secret));
        }
        Ok(())
    }

    fn sign(&self, request: &mut Outgoing<'_>) -> Result<(), Withheld> {
        let signer = self.signer.as_ref().ok_or(Withheld::NotConfigured)?;
        if !self.is_for(request.url) {
            return Err(Withheld::OtherHost);
        }
        let signed = Signed { method: request.method, headers: request.headers, body: request.body };
        let value = signer.authorization(request.url, &signed).map_err(|_| Withheld::NotConfigured)?;
        authorize(request.headers, value);
        Ok(())
    }

    /// The body as it goes out, once the credential may: with the secret in its place, where this is how it goes.
    /// Errors: in words; the body has no place for it.
    pub(super) fn fill(&self, body: Vec<u8>) -> Result<Vec<u8>, String> {
        match (&self.inject, self.secrets.first()) {
            (Inject::Body(pointer), Some(secret)) => filled(&body, pointer, secret),
            _ => Ok(body),
        }
    }

    /// The bytes to write into a stream to this host. See the contract for the encodings.
    pub(super) fn written(&self, host: &str, port: u16, encoding: &str) -> Result<Zeroizing<Vec<u8>>, Withheld> {
        if self.inject != Inject::Write {
            return Err(Withheld::NotConfigured);
        }
        if !self.endpoints.iter().any(|endpoint| endpoint.allows(host, port)) {
            return Err(Withheld::OtherHost);
        }
        self.encoded(encoding).ok_or(Withheld::NotConfigured)
    }

    fn encoded(&self, encoding: &str) -> Option<Zeroizing<Vec<u8>>> {
        let secret = self.secrets.first()?.expose();
        let text = match encoding.split_once(':').unwrap_or((encoding, "")) {
            ("raw", _) => secret.to_owned(),
            ("quoted", _) => format!("\"{}\"", secret.replace('\\', "\\\\").replace('"', "\\\"")),
            ("base64", _) => STANDARD.encode(secret),
            ("sasl-plain", user) => STANDARD.encode(format!("\0{user}\0{secret}")),
            ("xoauth2", user) => STANDARD.encode(format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}")),
            _ => return None,
        };
        Some(Zeroizing::new(text.into_bytes()))
    }
}

/// Without who the guest says it is: another account's request must not carry the credential.
fn anonymous(headers: &mut Vec<(String, String)>) {
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
}

/// A guest's own `Authorization` makes room.
fn authorize(headers: &mut Vec<(String, String)>, value: String) {
    anonymous(headers);
    headers.push(("authorization".to_owned(), value));
}

fn proof(key: &Secret, token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    hmac::sign(&key, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every form in which a server may send a secret back.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let url_encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut forms = vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        url_encoded,
        percent_encoded(secret),
        json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default().to_owned(),
    ];
    forms.retain(|form| form.len() >= FORM_MIN);
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(String::into_bytes).collect()
}

/// What a server that was sent this credential may send back.
pub(super) fn echoes(credential: &Credential) -> Vec<Zeroizing<Vec<u8>>> {
    let mut secrets = credential.secrets.clone();
    secrets.extend(credential.tokens.iter().flat_map(|tokens| tokens.seen()));
    if let Some(signer) = &credential.signer {
        secrets.extend([&signer.consumer_secret, &signer.token, &signer.token_secret].map(Clone::clone));
    }
    if let Some(key) = &credential.proof {
        let proofs: Vec<Secret> = secrets.iter().map(|secret| Secret::new(&proof(key, secret.expose()))).collect();
        secrets.extend(proofs);
        secrets.push(key.clone());
    }
    let mut all = Vec::new();
    for secret in &secrets {
        all.extend(forms(secret.expose()).into_iter().map(Zeroizing::new));
        let password = secret.expose().split_once(':').map(|(_, password)| password).filter(|password| password.len() >= PASSWORD_MIN);
        if let (Inject::Basic, Some(password)) = (&credential.inject, password) {
            all.extend(forms(password).into_iter().map(Zeroizing::new));
        }
    }
    all
}

/// Replaces every secret by as many `*`.
pub(super) struct Scrub(Vec<Zeroizing<Vec<u8>>>);

impl Scrub {
    /// Of all these credentials.
    pub(super) fn of(credentials: &[Credential]) -> Self {
        // The longest first: a secret that begins with another one must not be left half masked.
        let mut all: Vec<_> = credentials.iter().flat_map(echoes).collect();
        all.sort_by_key(|form| std::cmp::Reverse(form.len()));
        all.dedup();
        Self(all)
    }

    pub(super) fn bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().for_each(|form| mask(&mut bytes, form, usize::MAX));
        bytes
    }

    pub(super) fn text(&self, text: String) -> String {
        String::from_utf8_lossy(&self.bytes(text.into_bytes())).into_owned()
    }
}

/// Replaces `form` wherever it begins before `end`.
pub(super) fn mask(bytes: &mut [u8], form: &[u8], end: usize) {
    if end == 0 || form.is_empty() {
        return;
    }
    let reach = end.saturating_add(form.len() - 1).min(bytes.len());
    let bytes = bytes.get_mut(..reach).unwrap_or_default();
    // Every answer is searched for every secret: a look at each place would cost as much as all else that is done with it.
    let finder = memmem::Finder::new(form);
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
        let (start, next) = (from + at, from + at + form.len());
        if let Some(found) = bytes.get_mut(start..next) {
            found.fill(b'*');
        }
        from = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> Credential {
        let origins = vec![HttpGrant::parse("https://a.example").unwrap()];
        Credential::plain("token", vec![Secret::new(secret)], Inject::Bearer, origins, Vec::new())
    }

    /// Where a GET would go, and its headers; the guest brings an `Authorization` of its own.
    fn sent(credential: &Credential, url: &str) -> Result<(String, Vec<(String, String)>), Withheld> {
        let (mut url, mut headers) = (Url::parse(url).unwrap(), vec![("Authorization".to_owned(), "Bearer of-the-guest".to_owned())]);
        credential.apply(None, &mut Outgoing { method: "GET", body: b"", url: &mut url, headers: &mut headers })?;
        Ok((url.to_string(), headers))
    }

    #[test]
    fn a_credential_goes_only_where_networks_read_credentials_from() {
        for place in ["header:api-key", "header:X-Auth-Token", "header:PRIVATE-TOKEN", "query:access_token", "body:/auth/password"] {
            assert!(Inject::parse(place).is_some(), "{place}");
        }
        for place in [
            "header:user-agent",
            "header:host",
            "header:cookie",
            "header:my token",
            "header:x-author",
            "header:keywords",
            "header:",
            "query:status",
            "body:/status",
        ] {
            assert!(Inject::parse(place).is_none(), "{place}");
        }
    }

    /// The key and message of RFC 4231 §4.3, whose HMAC-SHA256 is known.
    #[test]
    fn a_token_goes_with_its_proof_and_neither_comes_back() {
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let with_proof = Credential { proof: Some(Secret::new("Jefe")), ..credential("what do ya want for nothing?") };

        let (url, _) = sent(&with_proof, "https://a.example/me?fields=id").unwrap();

        assert_eq!(url, format!("https://a.example/me?fields=id&appsecret_proof={known}"));
        let echoed = Scrub::of(&[with_proof]).text(format!("next: {url}"));
        assert_eq!(echoed, format!("next: https://a.example/me?fields=id&appsecret_proof={}", "*".repeat(64)));
        assert!(!sent(&credential("t0ken"), "https://a.example/me").unwrap().0.contains("proof"), "only where it is configured");
    }

    #[test]
    fn a_signature_goes_to_its_own_hosts_and_its_secrets_do_not_come_back() {
        let secret = |name: &str| Secret::new(&format!("the-{name}"));
        let signer = Signer {
            consumer_key: secret("consumer-key"),
            consumer_secret: secret("consumer-secret"),
            token: secret("token"),
            token_secret: secret("token-secret"),
            clock: crate::clock::Clock::system(),
        };
        let signed = Credential { inject: Inject::OAuth1, secrets: Vec::new(), signer: Some(signer), ..credential("") };

        assert_eq!(sent(&signed, "https://b.example/x"), Err(Withheld::OtherHost));
        let (_, headers) = sent(&signed, "https://a.example/x").unwrap();

        assert_eq!(headers.len(), 1, "{headers:?}");
        assert!(headers[0].1.starts_with("OAuth oauth_consumer_key=\"the-consumer-key\""), "{headers:?}");
        let echoed = Scrub::of(&[signed]).text("the-token the-token-secret the-consumer-secret".to_owned());
        assert!(echoed.bytes().all(|byte| byte == b'*' || byte == b' '), "{echoed}");
    }

    #[test]
    fn a_secret_is_scrubbed_in_every_dress() {
        let all = [credential("s3cr&t \"x\"")];
        for dress in ["s3cr&t \"x\"", &STANDARD.encode("s3cr&t \"x\""), "s3cr%26t+%22x%22", "s3cr%26t%20%22x%22", "s3cr&t \\\"x\\\""] {
            let clean = Scrub::of(&all).text(format!("before {dress} after"));
            assert_eq!(clean, format!("before {} after", "*".repeat(dress.len())), "{dress}");
        }
        assert_eq!(format!("{:?}", all[0].secrets[0]), "***");
    }

    #[test]
    fn a_credential_goes_to_its_own_hosts_alone() {
        let credential = credential("s3cret");
        assert_eq!(sent(&credential, "https://b.example/"), Err(Withheld::OtherHost));
        let (url, headers) = sent(&credential, "https://a.example/x").unwrap();
        assert_eq!((url.as_str(), headers), ("https://a.example/x", vec![("authorization".to_owned(), "Bearer s3cret".to_owned())]));
        assert_eq!(credential.written("a.example", 443, "raw"), Err(Withheld::NotConfigured), "one for HTTP is never written");
        let endpoints = vec![HostPort::parse("a.example:143").unwrap()];
        let written = Credential { inject: Inject::Write, endpoints, ..credential };
        assert_eq!(written.written("b.example", 143, "raw"), Err(Withheld::OtherHost));
        assert_eq!(written.written("a.example", 143, "raw").unwrap().as_slice(), b"s3cret");
    }

    #[test]
    fn mail_s_encodings_are_those_of_the_contract() {
        let credential = credential("p\"w");
        assert_eq!(credential.encoded("quoted").unwrap().as_slice(), b"\"p\\\"w\"");
        assert_eq!(credential.encoded("sasl-plain:anna").unwrap().as_slice(), STANDARD.encode("\0anna\0p\"w").as_bytes());
        assert!(credential.encoded("rot13").is_none());
    }
}
