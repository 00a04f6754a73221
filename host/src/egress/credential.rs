//! Credentials: added on the way out, for the hosts they are bound to and no other, and taken out of what comes back.
//! What is taken out is replaced by as many `*`: a length that was announced stays true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use zeroize::Zeroizing;

use super::body::filled;
use super::{HostPort, HttpGrant};

/// Shorter texts are in every answer: to take them out would spoil it and hide nothing.
const FORM_MIN: usize = 4;
/// A password inside `user:password` that is shorter is likely a word of its own.
const PASSWORD_MIN: usize = 8;

/// A secret. Prints as `***`, wiped when dropped.
#[derive(Clone)]
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
}

impl Inject {
    /// As manifests write it: `bearer`, `basic`, `header:NAME`, `query:NAME`, `body:/POINTER`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "bearer" => Some(Self::Bearer),
            None if text == "basic" => Some(Self::Basic),
            Some(("header", name)) if !name.is_empty() => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("query", name)) if !name.is_empty() => Some(Self::Query(name.to_owned())),
            Some(("body", pointer)) if pointer.len() > 1 && pointer.starts_with('/') => Some(Self::Body(pointer.to_owned())),
            _ => None,
        }
    }
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
    /// Adds itself to a request. Errors: nothing was added.
    pub(super) fn apply(&self, url: &mut Url, headers: &mut Vec<(String, String)>) -> Result<(), Withheld> {
        let secret = self.secrets.first().ok_or(Withheld::NotConfigured)?.expose();
        if !self.origins.iter().any(|origin| origin.allows(url)) {
            return Err(Withheld::OtherHost);
        }
        match &self.inject {
            Inject::Bearer => headers.push(("authorization".to_owned(), format!("Bearer {secret}"))),
            Inject::Basic => headers.push(("authorization".to_owned(), format!("Basic {}", STANDARD.encode(secret)))),
            Inject::Header(name) => headers.push((name.clone(), secret.to_owned())),
            Inject::Query(name) => {
                url.query_pairs_mut().append_pair(name, secret);
            }
            // Goes into the body, by `fill`.
            Inject::Body(_) => {}
            Inject::Write => return Err(Withheld::NotConfigured),
        }
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

/// Every form in which a server may send a secret back.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let url_encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut forms = vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        url_encoded,
        json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default().to_owned(),
    ];
    forms.retain(|form| form.len() >= FORM_MIN);
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(String::into_bytes).collect()
}

/// What a server that was sent this credential may send back.
pub(super) fn echoes(credential: &Credential) -> Vec<Zeroizing<Vec<u8>>> {
    let mut all = Vec::new();
    for secret in &credential.secrets {
        all.extend(forms(secret.expose()).into_iter().map(Zeroizing::new));
        let password = secret.expose().split_once(':').map(|(_, password)| password).filter(|password| password.len() >= PASSWORD_MIN);
        if let (Inject::Basic, Some(password)) = (&credential.inject, password) {
            all.extend(forms(password).into_iter().map(Zeroizing::new));
        }
    }
    all
}

/// Replaces every secret by as many `*`.
pub(super) fn scrub(credentials: &[Credential], mut bytes: Vec<u8>) -> Vec<u8> {
    for form in credentials.iter().flat_map(echoes) {
        mask(&mut bytes, &form, usize::MAX);
    }
    bytes
}

/// As [`scrub`].
pub(super) fn scrub_text(credentials: &[Credential], text: String) -> String {
    String::from_utf8_lossy(&scrub(credentials, text.into_bytes())).into_owned()
}

/// Replaces `form` wherever it begins before `end`.
pub(super) fn mask(bytes: &mut [u8], form: &[u8], end: usize) {
    if end == 0 {
        return;
    }
    let reach = end.saturating_add(form.len() - form.len().min(1)).min(bytes.len());
    let bytes = bytes.get_mut(..reach).unwrap_or_default();
    let mut from = 0;
    while let Some(rest) = bytes.get_mut(from..).filter(|rest| !form.is_empty() && rest.len() >= form.len()) {
        let Some(at) = rest.windows(form.len()).position(|window| window == form) else { return };
        if let Some(found) = rest.get_mut(at..at + form.len()) {
            found.fill(b'*');
        }
        from += at + form.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> Credential {
        let origins = vec![HttpGrant::parse("https://a.example").unwrap()];
        Credential { name: "token".to_owned(), secrets: vec![Secret::new(secret)], inject: Inject::Bearer, origins, endpoints: Vec::new() }
    }

    #[test]
    fn a_secret_is_scrubbed_in_every_dress() {
        let all = [credential("s3cr&t \"x\"")];
        for dress in ["s3cr&t \"x\"", &STANDARD.encode("s3cr&t \"x\""), "s3cr%26t+%22x%22", "s3cr&t \\\"x\\\""] {
            let clean = scrub_text(&all, format!("before {dress} after"));
            assert_eq!(clean, format!("before {} after", "*".repeat(dress.len())), "{dress}");
        }
        assert_eq!(format!("{:?}", all[0].secrets[0]), "***");
    }

    #[test]
    fn a_credential_goes_to_its_own_hosts_alone() {
        let (credential, mut headers) = (credential("s3cret"), Vec::new());
        let mut other = Url::parse("https://b.example/").unwrap();
        assert_eq!(credential.apply(&mut other, &mut headers), Err(Withheld::OtherHost));
        assert!(headers.is_empty());
        assert_eq!(credential.apply(&mut Url::parse("https://a.example/x").unwrap(), &mut headers), Ok(()));
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
