//! Credentials: added on the way out, for granted hosts only, and taken out of what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use zeroize::Zeroizing;

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
    /// Written into a stream where the guest asks for it.
    Write,
}

impl Inject {
    /// As manifests write it: `bearer`, `basic`, `header:NAME`, `query:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "bearer" => Some(Self::Bearer),
            None if text == "basic" => Some(Self::Basic),
            Some(("header", name)) if !name.is_empty() => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("query", name)) if !name.is_empty() => Some(Self::Query(name.to_owned())),
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
    /// Where it goes.
    pub inject: Inject,
}

impl Credential {
    /// Adds itself to a request. `None`: it cannot be used by HTTP, or has no secret.
    pub(super) fn apply(&self, url: &mut Url, headers: &mut Vec<(String, String)>) -> Option<()> {
        let secret = self.secrets.first()?.expose();
        match &self.inject {
            Inject::Bearer => headers.push(("authorization".to_owned(), format!("Bearer {secret}"))),
            Inject::Basic => headers.push(("authorization".to_owned(), format!("Basic {}", STANDARD.encode(secret)))),
            Inject::Header(name) => headers.push((name.clone(), secret.to_owned())),
            Inject::Query(name) => {
                url.query_pairs_mut().append_pair(name, secret);
            }
            Inject::Write => return None,
        }
        Some(())
    }

    /// The bytes to write into a stream. See the contract for the encodings.
    pub(super) fn encoded(&self, encoding: &str) -> Option<Zeroizing<Vec<u8>>> {
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
    forms.retain(|form| form.len() >= 4);
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(String::into_bytes).collect()
}

/// Replaces every secret by `***`.
pub(super) fn scrub(credentials: &[Credential], bytes: Vec<u8>) -> Vec<u8> {
    let secrets = credentials.iter().flat_map(|credential| &credential.secrets);
    secrets.flat_map(|secret| forms(secret.expose())).fold(bytes, |bytes, form| replace(bytes, &form))
}

/// As [`scrub`].
pub(super) fn scrub_text(credentials: &[Credential], text: String) -> String {
    String::from_utf8_lossy(&scrub(credentials, text.into_bytes())).into_owned()
}

fn replace(bytes: Vec<u8>, form: &[u8]) -> Vec<u8> {
    if bytes.len() < form.len() || !bytes.windows(form.len()).any(|window| window == form) {
        return bytes;
    }
    let (mut clean, mut rest) = (Vec::with_capacity(bytes.len()), bytes.as_slice());
    while let Some(at) = rest.windows(form.len()).position(|window| window == form) {
        let (before, after) = rest.split_at(at);
        clean.extend_from_slice(before);
        clean.extend_from_slice(b"***");
        rest = after.get(form.len()..).unwrap_or_default();
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> Credential {
        Credential { name: "token".to_owned(), secrets: vec![Secret::new(secret)], inject: Inject::Bearer }
    }

    #[test]
    fn a_secret_is_scrubbed_in_every_dress() {
        let all = [credential("s3cr&t \"x\"")];
        for dress in ["s3cr&t \"x\"", &STANDARD.encode("s3cr&t \"x\""), "s3cr%26t+%22x%22", "s3cr&t \\\"x\\\""] {
            let clean = scrub_text(&all, format!("before {dress} after"));
            assert_eq!(clean, "before *** after", "{dress}");
        }
        assert_eq!(format!("{:?}", all[0].secrets[0]), "***");
    }

    #[test]
    fn mail_s_encodings_are_those_of_the_contract() {
        let credential = credential("p\"w");
        assert_eq!(credential.encoded("quoted").unwrap().as_slice(), b"\"p\\\"w\"");
        assert_eq!(credential.encoded("sasl-plain:anna").unwrap().as_slice(), STANDARD.encode("\0anna\0p\"w").as_bytes());
        assert!(credential.encoded("rot13").is_none());
    }
}
