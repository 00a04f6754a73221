//! What a login of a channel needs, put together from the configuration and the manifest, without loading the plugin.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::egress::{Egress, Renewals, SystemResolver, Tokens};
use crate::model::shown;
use crate::plugin::{Manifest, WantsOauth2, inspect};
use crate::telemetry::chain;

use super::doors::Doors;
use super::find;

/// Where an account of a channel logs in.
pub struct LoginPlace {
    /// The credential that the login is for.
    pub credential: String,
    /// What the person opens.
    pub authorize: String,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Where the tokens go.
    pub tokens: Arc<Tokens>,
}

/// A sentence and the next step.
pub type Wrong = (String, String);

/// The place of a channel's login; of this credential, where the plugin has several. Errors: in words, with the next step.
pub fn login_place(config: &Config, channel: &str, credential: Option<&str>) -> Result<LoginPlace, Wrong> {
    let known: Vec<&str> = config.channels.iter().map(|channel| channel.plugin.name.as_str()).collect();
    let section = config.channels.iter().map(|channel| &channel.plugin).find(|section| section.name == channel);
    let section = section.ok_or_else(|| (format!("there is no channel `{channel}`"), shown::there_are(&known)))?;
    let found = find(&section.plugin, &config.host.plugins)?;
    let inspection = inspect(&found.bytes).map_err(|error| (format!("plugin `{}`: {}", section.plugin, chain(&error)), String::new()))?;
    let manifest = &inspection.manifest;
    let (credential, want) = wanted(manifest, &section.plugin, credential)?;
    let no_address = |key: &str, written: &str| {
        let cure = "write what it needs into `config` of the channel; `membrana check` tells all that is missing".to_owned();
        (format!("the manifest's `{key} = \"{written}\"` gives no address for `{channel}`"), cure)
    };
    let authorize = manifest.url_of(&want.authorize, &section.config).ok_or_else(|| no_address("authorize", &want.authorize))?;
    let token = manifest.url_of(&want.token, &section.config).ok_or_else(|| no_address("token", &want.token))?;
    if section.secrets.get(&want.client_id).is_none_or(Vec::is_empty) {
        let cure = format!("add to its `secrets`: {0} = {{ env = \"{1}\" }}", want.client_id, want.client_id.to_ascii_uppercase());
        return Err((format!("channel `{channel}` has no secret `{}`: as which application should it log in?", want.client_id), cure));
    }
    let clock = Clock::system();
    let egress = Egress::new(&config.host.ca_pem, Arc::new(SystemResolver)).map_err(|error| (error.to_string(), String::new()))?;
    let renewals = Arc::new(Renewals::default());
    let tokens = Doors::new(&egress, &clock, &renewals, &config.host.data).tokens(manifest, section, &credential);
    let tokens = tokens.ok_or_else(|| no_address("token", &token))?;
    Ok(LoginPlace { credential, authorize, scopes: want.scopes.clone(), tokens })
}

/// The one credential with a login, or the one that is named.
fn wanted<'m>(manifest: &'m Manifest, plugin: &str, named: Option<&str>) -> Result<(String, &'m WantsOauth2), Wrong> {
    let all = manifest.wants.http.iter().flat_map(|http| &http.credentials);
    let mut with_login: Vec<(&String, &WantsOauth2)> = all.filter_map(|(name, want)| Some((name, want.oauth2.as_ref()?))).collect();
    let names = with_login.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    with_login.retain(|(name, _)| named.is_none_or(|named| named == *name));
    match (with_login.as_slice(), named) {
        ([(name, want)], _) => Ok(((*name).clone(), want)),
        ([], _) if names.is_empty() => Err((format!("plugin `{plugin}` has no login"), "put its secrets into `secrets` of the channel".to_owned())),
        ([], Some(named)) => Err((format!("plugin `{plugin}` has no login for a credential `{named}`"), format!("--credential: {names}"))),
        _ => Err((format!("plugin `{plugin}` has several logins"), format!("say which by --credential: {names}"))),
    }
}
