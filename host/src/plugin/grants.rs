//! What a manifest wants, with the section's values put in; and what of that the admin did not grant, with the line to add.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::egress::{Cidr, HostPort, HttpGrant};
use crate::model::Scheme;

use super::{Kind, Manifest};

/// What an admin's section grants, as written.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The plugin's section.
    pub config: &'a Json,
    /// `grant.http`.
    pub http: &'a [String],
    /// `grant.net`.
    pub net: &'a [String],
    /// `grant.private`.
    pub private: &'a [String],
    /// `grant.personal_data`.
    pub personal_data: bool,
    /// `grant.attachments`.
    pub attachments: bool,
    /// Names of the section's `secrets`.
    pub secrets: &'a [String],
    /// Names of the secrets that its webhooks are verified with; `None`: it takes no webhooks.
    pub hook_secrets: Option<&'a [String]>,
}

/// A wish that the admin did not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    /// In words.
    pub what: String,
    /// What to write. All missing grants have the same: one line, with what is granted already.
    pub cure: String,
    /// Its place is `ingress`.
    pub is_for_webhooks: bool,
}

/// Wishes of a manifest for one section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wished {
    /// URLs, or `host:port`.
    pub named: Vec<String>,
    /// And whatever the admin grants.
    pub is_any: bool,
}

impl Wished {
    /// Wishes with `config:/pointer` replaced by the value there; what is not configured is not wished.
    pub fn of(wishes: &[String], config: &Json) -> Self {
        let mut wished = Self::default();
        for wish in wishes {
            match wish.strip_prefix("config:").map(|pointer| config.pointer(pointer)) {
                None if wish == "any" => wished.is_any = true,
                None => wished.named.push(wish.clone()),
                Some(Some(Json::String(one))) => wished.named.push(one.clone()),
                Some(Some(Json::Array(many))) => wished.named.extend(many.iter().filter_map(Json::as_str).map(str::to_owned)),
                Some(_) => {}
            }
        }
        wished
    }
}

/// What the whole `grant` of a section must be, and in words what of it is missing.
struct Lacking {
    what: Vec<String>,
    http: Vec<String>,
    net: Vec<String>,
    personal_data: bool,
    attachments: bool,
}

/// Every required wish that is not granted, with what to write.
pub fn missing_grants(manifest: &Manifest, asked: &Asked<'_>) -> Vec<MissingGrant> {
    let lacking = Lacking::of(manifest, asked);
    let cure = lacking.cure(asked);
    let mut missing: Vec<MissingGrant> =
        lacking.what.into_iter().map(|what| MissingGrant { what, cure: cure.clone(), is_for_webhooks: false }).collect();
    missing.extend(missing_secrets(manifest, asked));
    // One that polls as well can do without webhooks; the others would never hear of anything.
    if let (Some(ingress), None, false) = (&manifest.wants.ingress, asked.hook_secrets, manifest.polls()) {
        let scheme = ingress.verify.first().copied().unwrap_or(Scheme::None);
        let cure = format!("add ingress = {{ verify = \"{scheme}\" }}");
        missing.push(MissingGrant { what: "to take webhooks".to_owned(), cure, is_for_webhooks: false });
    }
    missing
}

impl Lacking {
    fn of(manifest: &Manifest, asked: &Asked<'_>) -> Self {
        let mut lacking = Self {
            what: Vec::new(),
            // What is no grant is told beside it.
            http: asked.http.iter().filter(|grant| HttpGrant::parse(grant).is_ok()).cloned().collect(),
            net: asked.net.iter().filter(|grant| HostPort::parse(grant).is_ok()).cloned().collect(),
            personal_data: asked.personal_data,
            attachments: asked.attachments,
        };
        let wants = &manifest.wants;
        if let Some(http) = wants.http.as_ref().filter(|http| !http.optional) {
            lacking.add_http(&Wished::of(&http.hosts, asked.config));
        }
        lacking.add_token_endpoints(manifest, asked);
        if let Some(net) = wants.net.as_ref().filter(|net| !net.optional) {
            for endpoint in Wished::of(&net.endpoints, asked.config).named {
                if !lacking.net.iter().any(|grant| leads_to(grant, &endpoint)) {
                    lacking.what.push(format!("to connect to {endpoint}"));
                    lacking.net.push(endpoint);
                }
            }
        }
        if manifest.kind == Kind::Analyzer && wants.personal_data && !asked.personal_data {
            lacking.what.push("to see who wrote".to_owned());
            lacking.personal_data = true;
        }
        if manifest.kind == Kind::Analyzer && wants.attachments && !asked.attachments {
            lacking.what.push("to see attachments".to_owned());
            lacking.attachments = true;
        }
        lacking
    }

    fn add_http(&mut self, wished: &Wished) {
        for url in &wished.named {
            if !self.http.iter().any(|grant| covers(grant, url)) {
                let origin = origin_of(url);
                self.what.push(format!("to call {origin} by HTTP"));
                self.http.push(origin);
            }
        }
        // Nothing is named and nothing granted: without a host of the admin's choice it can do nothing.
        if wished.is_any && self.http.is_empty() {
            self.what.push("to call hosts that you choose by HTTP".to_owned());
            self.http.push("https://HOST".to_owned());
        }
    }

    /// Where the host itself asks for tokens, once there is an application to ask for.
    fn add_token_endpoints(&mut self, manifest: &Manifest, asked: &Asked<'_>) {
        let credentials = manifest.wants.http.iter().flat_map(|http| http.credentials.values());
        let wanted = credentials.filter_map(|credential| credential.oauth2.as_ref()).filter(|oauth2| asked.secrets.contains(&oauth2.client_id));
        for url in wanted.filter_map(|oauth2| manifest.url_of(&oauth2.token, asked.config)) {
            if !self.http.iter().any(|grant| covers(grant, &url)) {
                let origin = origin_of(&url);
                self.what.push(format!("tokens from {origin} by HTTP"));
                self.http.push(origin);
            }
        }
    }

    /// One line with what is granted already and what is missing, so that it can be pasted over the one that is there.
    fn cure(&self, asked: &Asked<'_>) -> String {
        let mut parts = Vec::new();
        let private: Vec<String> = asked.private.iter().filter(|range| Cidr::parse(range).is_ok()).cloned().collect();
        for (key, list) in [("http", &self.http), ("net", &self.net), ("private", &private)] {
            if !list.is_empty() {
                parts.push(format!("{key} = [\"{}\"]", list.join("\", \"")));
            }
        }
        for (key, is_set) in [("personal_data", self.personal_data), ("attachments", self.attachments)] {
            if is_set {
                parts.push(format!("{key} = true"));
            }
        }
        let has_grant = !asked.http.is_empty() || !asked.net.is_empty() || !asked.private.is_empty() || asked.personal_data || asked.attachments;
        format!("{} grant = {{ {} }}", if has_grant { "replace its grant by" } else { "add" }, parts.join(", "))
    }
}

/// One line for all of them.
fn missing_secrets(manifest: &Manifest, asked: &Asked<'_>) -> Vec<MissingGrant> {
    let wants = &manifest.wants;
    let http = wants.http.iter().flat_map(|http| http.credentials.values());
    let net = wants.net.iter().flat_map(|net| net.credentials.values());
    let mut needed: BTreeSet<&String> = http.chain(net).flat_map(|credential| credential.secrets_needed(asked.secrets)).collect();
    let for_webhooks = asked.hook_secrets.unwrap_or_default();
    needed.extend(for_webhooks);
    needed.retain(|name| !asked.secrets.contains(name));
    let lines: Vec<String> = needed.iter().map(|name| format!("{name} = {{ env = \"{}\" }}", name.to_ascii_uppercase().replace('-', "_"))).collect();
    let cure = match asked.secrets.is_empty() {
        true => format!("add secrets = {{ {} }}", lines.join(", ")),
        false => format!("add to its `secrets`: {}", lines.join(", ")),
    };
    let missing = needed.into_iter().map(|name| {
        let is_for_webhooks = for_webhooks.contains(name);
        let use_of_it = if is_for_webhooks { " to verify webhooks with" } else { "" };
        MissingGrant { what: format!("the secret `{name}`{use_of_it}"), cure: cure.clone(), is_for_webhooks }
    });
    missing.collect()
}

fn origin_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

fn covers(grant: &str, url: &str) -> bool {
    match (HttpGrant::parse(grant), url::Url::parse(url)) {
        (Ok(grant), Ok(url)) => grant.allows(&url),
        _ => grant == url,
    }
}

fn leads_to(grant: &str, endpoint: &str) -> bool {
    match (HostPort::parse(grant), HostPort::parse(endpoint)) {
        (Ok(grant), Ok(endpoint)) => grant.has_place_of(&endpoint),
        _ => grant == endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(wants: &str) -> Manifest {
        let head = "name = \"x\"\nversion = \"0.1.0\"\nkind = \"connector\"\nnetwork = \"n\"\ncontract = \"0.1\"\nsummary = \"s\"\nlicense = \"l\"\n";
        Manifest::parse(&format!("{head}{wants}")).unwrap()
    }

    fn missing(wants: &str, config: &Json, http: &[&str], net: &[&str], secrets: &[&str]) -> Vec<MissingGrant> {
        let [http, net, secrets] = [http, net, secrets].map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let asked =
            Asked { config, http: &http, net: &net, private: &[], personal_data: false, attachments: false, secrets: &secrets, hook_secrets: None };
        missing_grants(&manifest(wants), &asked)
    }

    #[test]
    fn the_line_to_add_holds_what_is_granted_and_all_that_is_missing() {
        let wants = "[wants.net]\nendpoints = [\"config:/imap\", \"config:/smtp\"]\n[wants.net.credentials.p]\nsecret = \"p\"\n";
        let config = serde_json::json!({ "imap": "IMAP.a:993", "smtp": "smtp.a:587" });

        let all = missing(wants, &config, &[], &[], &[]);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].cure, "add grant = { net = [\"IMAP.a:993\", \"smtp.a:587\"] }");
        assert_eq!(all[2].cure, "add secrets = { p = { env = \"P\" } }");

        let one = missing(wants, &config, &[], &["imap.A:993"], &["p"]);
        assert_eq!(one.len(), 1, "{one:?}");
        assert_eq!(one[0].cure, "replace its grant by grant = { net = [\"imap.A:993\", \"smtp.a:587\"] }");
    }

    #[test]
    fn a_path_is_covered_as_the_door_covers_it() {
        let wants = "[wants.http]\nhosts = [\"config:/url\"]\n";
        let config = serde_json::json!({ "url": "https://a.example/apix" });
        assert_eq!(missing(wants, &config, &["https://a.example/api"], &[], &[]).len(), 1);
        assert!(missing(wants, &config, &["https://A.example"], &[], &[]).is_empty());
    }

    #[test]
    fn a_login_needs_an_application_or_a_token_and_the_way_to_the_token_endpoint() {
        let wants = "[wants.http]\nhosts = [\"config:/url\"]\n[wants.http.credentials.t]\nsecret = \"token\"\ninject = \"oauth2\"\n\
                     [wants.http.credentials.t.oauth2]\nauthorize = \"{config:/url}/authorize\"\ntoken = \"https://login.example/token\"\n";
        let config = serde_json::json!({ "url": "https://a.example" });
        let with = |http: &[&str], secrets: &[&str]| missing(wants, &config, http, &[], secrets);

        let neither = with(&["https://a.example"], &[]);
        assert_eq!((neither.len(), neither[0].cure.as_str()), (1, "add secrets = { token = { env = \"TOKEN\" } }"));
        assert!(with(&["https://a.example"], &["token"]).is_empty(), "a token alone is asked of nobody");
        let not_there = with(&["https://a.example"], &["client_id"]);
        assert_eq!(not_there[0].cure, "replace its grant by grant = { http = [\"https://a.example\", \"https://login.example\"] }");
        assert!(with(&["https://a.example", "https://login.example/token"], &["client_id"]).is_empty());

        let signed = "[wants.http]\nhosts = [\"config:/url\"]\n[wants.http.credentials.t]\ninject = \"oauth1\"\n\
                      [wants.http.credentials.t.oauth1]\ntoken = \"access_token\"\n";
        let needed = |wants: &str, secrets: &[&str]| -> Vec<String> {
            missing(wants, &config, &["https://a.example"], &[], secrets).into_iter().map(|one| one.what).collect()
        };
        let others = ["the secret `access_token`", "the secret `consumer_secret`", "the secret `token_secret`"];
        assert_eq!(needed(signed, &["consumer_key"]), others);
        let optional = signed.replace("\"oauth1\"", "\"oauth1\"\noptional = true");
        assert_eq!(needed(&optional, &["consumer_key"]), others, "half a signature is none");
        assert!(needed(&optional, &[]).is_empty());
    }

    #[test]
    fn any_host_without_a_grant_is_told() {
        let wants = "[wants.http]\nhosts = [\"any\"]\n";
        assert_eq!(missing(wants, &Json::Null, &[], &[], &[]).len(), 1);
        assert!(missing(wants, &Json::Null, &["https://a.example"], &[], &[]).is_empty());
    }
}
