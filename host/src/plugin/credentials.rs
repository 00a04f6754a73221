//! What a manifest says of its credentials: where each comes from, how the host adds it, and which hosts may have it.

use serde::Deserialize;
use serde_json::Value as Json;
use url::Url;

use crate::egress::{ClientAuth, FIELDS, HEADER_WORDS, Inject};

use super::{Kind, Manifest};

/// A credential that the host adds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsCredential {
    /// Key of the section's `secrets`; empty for `oauth1`, which names four.
    #[serde(default)]
    pub secret: String,
    /// `bearer`, `basic`, `header:NAME`, `query:NAME`, `body:/POINTER`, `oauth2`, `oauth1`; absent for `net`.
    pub inject: Option<String>,
    /// Where it may go, written as the wishes beside it; empty: to all of those that are named there.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Loads without the secret.
    #[serde(default)]
    pub optional: bool,
    /// Key of the section's `secrets`: the application's secret, of which Meta's `appsecret_proof` is made. Without the secret
    /// there is no proof.
    pub proof: Option<String>,
    /// Where an account logs in, for `oauth2`.
    pub oauth2: Option<WantsOauth2>,
    /// What signs, for `oauth1`.
    pub oauth1: Option<WantsOauth1>,
}

/// Where an account logs in. URLs are written whole, or begin with `{config:/pointer}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsOauth2 {
    /// What the person opens.
    pub authorize: String,
    /// Where the host gets tokens.
    pub token: String,
    /// What is asked for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Key of `secrets`: the application's name at the network.
    #[serde(default = "client_id")]
    pub client_id: String,
    /// Key of `secrets`: the application's secret; a public client has none.
    #[serde(default = "client_secret")]
    pub client_secret: String,
    /// `basic` or `body`: how the application proves itself.
    #[serde(default = "client_auth")]
    pub client_auth: String,
}

/// Keys of `secrets` of which requests are signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantsOauth1 {
    /// The application's name.
    #[serde(default = "consumer_key")]
    pub consumer_key: String,
    /// The application's secret.
    #[serde(default = "consumer_secret")]
    pub consumer_secret: String,
    /// The account's name.
    #[serde(default = "token")]
    pub token: String,
    /// The account's secret.
    #[serde(default = "token_secret")]
    pub token_secret: String,
}

fn client_id() -> String {
    "client_id".to_owned()
}

fn client_secret() -> String {
    "client_secret".to_owned()
}

fn client_auth() -> String {
    "basic".to_owned()
}

fn consumer_key() -> String {
    "consumer_key".to_owned()
}

fn consumer_secret() -> String {
    "consumer_secret".to_owned()
}

fn token() -> String {
    "token".to_owned()
}

fn token_secret() -> String {
    "token_secret".to_owned()
}

impl WantsCredential {
    /// The secrets that must be there, beside those that are: an account's login stands in for its token.
    pub(super) fn secrets_needed(&self, there: &[String]) -> Vec<&String> {
        let can_log_in = self.oauth2.as_ref().is_some_and(|oauth2| there.contains(&oauth2.client_id));
        match &self.oauth1 {
            // Who names the application means to sign: half a signature is none.
            Some(oauth1) if !self.optional || there.contains(&oauth1.consumer_key) => {
                vec![&oauth1.consumer_key, &oauth1.consumer_secret, &oauth1.token, &oauth1.token_secret]
            }
            None if !self.optional && !can_log_in => vec![&self.secret],
            _ => Vec::new(),
        }
    }

    /// Every secret that it can use.
    fn secrets_known(&self) -> Vec<&String> {
        let of_oauth1 = self.oauth1.iter().flat_map(|keys| [&keys.consumer_key, &keys.consumer_secret, &keys.token, &keys.token_secret]);
        let of_oauth2 = self.oauth2.iter().flat_map(|oauth2| [&oauth2.client_id, &oauth2.client_secret]);
        let own = (!self.secret.is_empty()).then_some(&self.secret);
        own.into_iter().chain(of_oauth1).chain(of_oauth2).chain(&self.proof).collect()
    }
}

impl Manifest {
    /// Every secret that its credentials can use.
    pub fn secrets_known(&self) -> impl Iterator<Item = &String> {
        let http = self.wants.http.iter().flat_map(|http| http.credentials.values());
        http.chain(self.wants.net.iter().flat_map(|net| net.credentials.values())).flat_map(WantsCredential::secrets_known)
    }

    /// A URL as manifests write it, with `{config:/pointer}` replaced by the section's value or its schema's default. None: there
    /// is no value, or it makes no URL.
    pub fn url_of(&self, written: &str, config: &Json) -> Option<String> {
        let Some((pointer, rest)) = template(written) else { return Url::parse(written).ok().map(|_| written.to_owned()) };
        let schema = format!("{}/default", pointer.replace('/', "/properties/"));
        let value = config.pointer(pointer).or_else(|| self.config.pointer(&schema)).and_then(Json::as_str)?;
        let url = format!("{}{rest}", value.trim_end_matches('/'));
        Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).map(|_| url)
    }
}

/// The pointer of `{config:/pointer}/rest`, and the rest.
fn template(written: &str) -> Option<(&str, &str)> {
    written.strip_prefix("{config:").and_then(|inside| inside.split_once('}'))
}

/// What is wrong with the credentials of a manifest, in words.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    for (name, credential) in manifest.wants.http.iter().flat_map(|http| &http.credentials) {
        check_one(manifest, name, credential)?;
    }
    for (name, credential) in manifest.wants.net.iter().flat_map(|net| &net.credentials) {
        if credential.inject.is_some() || credential.proof.is_some() || credential.oauth1.is_some() || credential.oauth2.is_some() {
            return Err(format!("credential `{name}` of `wants.net` has `inject`: leave it out, it is written by `write-secret`"));
        }
        if credential.secret.is_empty() {
            return Err(format!("credential `{name}` has no `secret`: name a key of the section's `secrets`"));
        }
    }
    Ok(())
}

fn check_one(manifest: &Manifest, name: &str, credential: &WantsCredential) -> Result<(), String> {
    let written = credential.inject.as_deref().unwrap_or("bearer");
    let Some(inject) = Inject::parse(written) else {
        return Err(format!(
            "credential `{name}` has `inject = \"{written}\"`: write bearer, basic, header:NAME, query:NAME, body:/POINTER, oauth2 or oauth1; a query's NAME and the pointer's end are one of {}; a header's NAME has one of these as a word: {}",
            FIELDS.join(", "),
            HEADER_WORDS.join(", ")
        ));
    };
    let wishes = if credential.hosts.is_empty() { manifest.wants.http.as_ref().map(|http| &http.hosts) } else { Some(&credential.hosts) };
    if !wishes.is_some_and(|wishes| wishes.iter().any(|wish| wish != "any")) {
        return Err(format!("credential `{name}` is bound to no host: name some in its `hosts`, `any` is not enough"));
    }
    let place = format!("[wants.http.credentials.{name}");
    for (word, kind, is_there) in [("oauth2", Inject::OAuth2, credential.oauth2.is_some()), ("oauth1", Inject::OAuth1, credential.oauth1.is_some())] {
        if is_there != (inject == kind) {
            return Err(format!("credential `{name}`: `inject = \"{word}\"` and the table {place}.{word}] go together"));
        }
    }
    if credential.secret.is_empty() != (inject == Inject::OAuth1) {
        return Err(format!("credential `{name}`: write `secret`, a key of the section's `secrets`; only oauth1 has none, but four in its table"));
    }
    if credential.proof.is_some() && !matches!(inject, Inject::Bearer | Inject::OAuth2) {
        return Err(format!("credential `{name}` has `proof`: it goes with bearer and oauth2 alone"));
    }
    credential.oauth2.as_ref().map_or(Ok(()), |oauth2| check_oauth2(manifest, name, oauth2))
}

fn check_oauth2(manifest: &Manifest, name: &str, oauth2: &WantsOauth2) -> Result<(), String> {
    if manifest.kind != Kind::Connector {
        return Err(format!("credential `{name}`: `membrana channel login` is for connectors, so is oauth2"));
    }
    if ClientAuth::parse(&oauth2.client_auth).is_none() {
        return Err(format!("credential `{name}` has `client_auth = \"{}\"`: write basic or body", oauth2.client_auth));
    }
    for (key, written) in [("authorize", &oauth2.authorize), ("token", &oauth2.token)] {
        let sample = template(written).map_or_else(
            || written.clone(),
            |(pointer, rest)| if pointer.starts_with('/') { format!("https://a.example{rest}") } else { String::new() },
        );
        if !Url::parse(&sample).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none()) {
            return Err(format!("credential `{name}` has `{key} = \"{written}\"`: write https://host/path or {{config:/pointer}}/path"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"x\"\nversion = \"0.1.0\"\nkind = \"connector\"\nnetwork = \"n\"\ncontract = \"0.1\"\nsummary = \"s\"\nlicense = \"l\"\n\
                        [config]\ntype = \"object\"\nproperties.base = { type = \"string\", default = \"https://api.example\" }\n\
                        [wants.http]\nhosts = [\"https://api.example\"]\n[wants.http.credentials.t]\n";
    const OAUTH2: &str = "secret = \"token\"\ninject = \"oauth2\"\n[wants.http.credentials.t.oauth2]\nauthorize = \"https://x.example/auth?a=b\"\n";

    #[test]
    fn a_login_s_addresses_are_whole_or_begin_with_a_value_of_the_section() {
        let manifest = Manifest::parse(&format!("{HEAD}{OAUTH2}token = \"{{config:/base}}/oauth/token\"\n")).unwrap();
        let oauth2 = manifest.wants.http.as_ref().unwrap().credentials["t"].oauth2.clone().unwrap();
        let of = |config: Json| manifest.url_of(&oauth2.token, &config);

        assert_eq!(of(serde_json::json!({ "base": "http://127.0.0.1:1/" })).as_deref(), Some("http://127.0.0.1:1/oauth/token"));
        assert_eq!(of(serde_json::json!({})).as_deref(), Some("https://api.example/oauth/token"), "the schema's default");
        assert_eq!(of(serde_json::json!({ "base": "ftp://a" })), None);
        assert_eq!(manifest.url_of(&oauth2.authorize, &Json::Null).as_deref(), Some("https://x.example/auth?a=b"));
        assert_eq!((oauth2.client_id.as_str(), oauth2.client_secret.as_str(), oauth2.client_auth.as_str()), ("client_id", "client_secret", "basic"));
    }

    #[test]
    fn a_wrong_credential_says_what_is_wrong() {
        for (table, part) in [
            ("secret = \"t\"\ninject = \"oauth3\"\n".to_owned(), "oauth3"),
            ("secret = \"t\"\ninject = \"oauth2\"\n".to_owned(), "go together"),
            ("secret = \"t\"\ninject = \"oauth1\"\n[wants.http.credentials.t.oauth1]\n".to_owned(), "only oauth1 has none"),
            ("inject = \"bearer\"\n".to_owned(), "write `secret`"),
            ("secret = \"t\"\ninject = \"header:x-key\"\nproof = \"app\"\n".to_owned(), "`proof`"),
            (format!("{OAUTH2}token = \"/oauth/token\"\n"), "`token = \"/oauth/token\"`"),
            (format!("{OAUTH2}token = \"{{config:base}}/token\"\n"), "{config:/pointer}/path"),
            (format!("{OAUTH2}token = \"https://a.example\"\nclient_auth = \"jwt\"\n"), "basic or body"),
        ] {
            let error = Manifest::parse(&format!("{HEAD}{table}")).unwrap_err().to_string();
            assert!(error.contains(part), "{table}\n{error}");
        }
        let analyzer = format!("{HEAD}{OAUTH2}token = \"https://a.example\"\n").replace("\"connector\"", "\"analyzer\"");
        assert!(Manifest::parse(&analyzer).unwrap_err().to_string().contains("for connectors"));
    }
}
