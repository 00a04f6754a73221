//! How a channel's webhooks prove themselves: what its section says, what its plugin can live with, and what each scheme needs. A
//! scheme that could believe nobody, or everybody, is told before anything runs.

use crate::config::{Channel, Config, Host, Ingress, Place, Secret};
use crate::ingress::{Setup, Verifier};
use crate::model::Scheme;
use crate::plugin::{Manifest, Wished};
use crate::sinks;

/// Where the plugin's manifest names no other.
const SECRET: &str = "webhook";
/// What Meta is given to say at the handshake.
const VERIFY_TOKEN: &str = "verify_token";
/// `form-secret`: what Foursquare calls it.
const FIELD: &str = "secret";
/// Units: bytes. Source: WebSub, 5.1; Telegram, `setWebhook`.
const WEBSUB_SECRET_BYTES_MAX: usize = 199;
const TELEGRAM_TOKEN_BYTES_MAX: usize = 256;

/// One thing that is wrong with a channel's webhooks.
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) cure: String,
}

/// What a network calls a channel's webhooks by. A path alone where `public_url` is not set.
pub(super) fn url_of(host: &Host, channel: &str) -> String {
    let base = host.public_url.as_deref().unwrap_or_default().trim_end_matches('/');
    format!("{base}/hooks/{channel}")
}

/// The scheme that is written, or the only one that the plugin can live with; `none` is never taken for granted.
fn scheme_of(ingress: &Ingress, manifest: &Manifest) -> Option<Scheme> {
    ingress.verify.or_else(|| match manifest.wants.ingress.as_ref()?.verify.as_slice() {
        [only] if *only != Scheme::None => Some(*only),
        _ => None,
    })
}

fn secret_name(manifest: &Manifest) -> &str {
    manifest.wants.ingress.as_ref().and_then(|ingress| ingress.secret.as_deref()).unwrap_or(SECRET)
}

/// The secrets that a channel must have for its webhooks; `None` where it takes none.
pub(super) fn secrets_needed(channel: &Channel, manifest: &Manifest) -> Option<Vec<String>> {
    let ingress = channel.ingress.as_ref()?;
    let scheme = scheme_of(ingress, manifest).filter(|_| manifest.wants.ingress.is_some());
    Some(match scheme {
        None | Some(Scheme::None) => Vec::new(),
        Some(Scheme::Meta) => vec![secret_name(manifest).to_owned(), VERIFY_TOKEN.to_owned()],
        Some(_) => vec![secret_name(manifest).to_owned()],
    })
}

/// The secrets that webhooks of such a plugin can be verified with.
pub(super) fn secrets_known(manifest: &Manifest) -> Vec<&str> {
    let Some(ingress) = &manifest.wants.ingress else { return Vec::new() };
    let has_token = ingress.verify.is_empty() || ingress.verify.contains(&Scheme::Meta);
    std::iter::once(secret_name(manifest)).chain(has_token.then_some(VERIFY_TOKEN)).collect()
}

/// `config:/pointer` of the manifest is read in the channel's own section.
fn topics_of(channel: &Channel, ingress: &Ingress, manifest: &Manifest) -> Vec<String> {
    if !ingress.topics.is_empty() {
        return ingress.topics.clone();
    }
    manifest.wants.ingress.as_ref().map(|wants| Wished::of(&wants.topics, &channel.plugin.config).named).unwrap_or_default()
}

/// What believes the channel's webhooks, once nothing is wrong with them.
pub(super) fn verifier(config: &Config, channel: &Channel, manifest: &Manifest) -> Option<Verifier> {
    let ingress = channel.ingress.as_ref()?;
    let live = |name: &str| channel.plugin.secrets.get(name).map(Vec::as_slice).unwrap_or_default().iter().map(Secret::expose);
    Some(Verifier::new(Setup {
        scheme: scheme_of(ingress, manifest)?,
        secrets: live(secret_name(manifest)).collect(),
        verify_tokens: live(VERIFY_TOKEN).collect(),
        topics: topics_of(channel, ingress, manifest),
        field: ingress.field.clone().unwrap_or_else(|| FIELD.to_owned()),
        url: url_of(&config.host, &channel.plugin.name),
    }))
}

/// Everything that is wrong but secrets that are not there: those are told with the plugin's others.
pub(super) fn mistakes(host: &Host, channel: &Channel, manifest: &Manifest) -> Vec<Mistake> {
    let Some(ingress) = channel.ingress.as_ref().filter(|ingress| ingress.is_whole) else { return Vec::new() };
    let (name, plugin) = (&channel.plugin.name, &channel.plugin.plugin);
    let mistake = |message: String, cure: String| Mistake { place: ingress.place.clone(), message, cure };
    let Some(wants) = &manifest.wants.ingress else {
        let message = format!("`{name}` has `ingress`, but its plugin `{plugin}` takes no webhooks");
        return vec![mistake(message, "leave `ingress` out".to_owned())];
    };
    let known = if wants.verify.is_empty() { Scheme::ALL.to_vec() } else { wants.verify.clone() };
    let listed = || known.iter().map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>().join(", ");
    let write = |scheme: Scheme| format!("write ingress = {{ verify = \"{scheme}\" }}");
    let first = known.first().copied().unwrap_or(Scheme::None);
    let Some(scheme) = scheme_of(ingress, manifest) else {
        let why = if known.len() == 1 { "must be written out" } else { "are several" };
        return vec![mistake(format!("`{name}` does not say how its webhooks prove themselves: {} {why}", listed()), write(first))];
    };
    if !known.contains(&scheme) {
        let message = format!("`{name}` verifies webhooks by `{scheme}`, but its plugin `{plugin}` can live with {} only", listed());
        return vec![mistake(message, write(first))];
    }
    let mut all = Vec::new();
    let mut wrong = |is_wrong: bool, message: String, cure: &str| {
        if is_wrong {
            all.push(mistake(message, cure.to_owned()));
        }
    };
    wrong(
        scheme == Scheme::Twilio && host.public_url.is_none(),
        format!("`{name}`: `twilio` signs the address that it calls, and nothing says what that is"),
        "write under [host]: public_url = \"https://hooks.example.org\", as the network's form has it, without /hooks",
    );
    let topics = topics_of(channel, ingress, manifest);
    wrong(
        scheme == Scheme::WebSub && topics.is_empty(),
        format!("`{name}`: `websub` takes only topics that are named, and none is"),
        "write ingress = { verify = \"websub\", topics = [\"https://blog.example.org/feed\"] }: the feed's own `self` links",
    );
    wrong(scheme != Scheme::WebSub && !ingress.topics.is_empty(), format!("`{name}`: `topics` are for `websub` alone"), "leave `topics` out");
    wrong(scheme != Scheme::FormSecret && ingress.field.is_some(), format!("`{name}`: `field` is for `form-secret` alone"), "leave `field` out");
    wrong(ingress.field.as_deref() == Some(""), format!("`{name}`: `field` is empty"), "write the name of the form's field: field = \"secret\"");
    for secret in channel.plugin.secrets.get(secret_name(manifest)).into_iter().flatten() {
        if let Some((why, cure)) = misshapen(scheme, secret.expose()) {
            wrong(true, format!("`{name}`: its secret `{}` {why}", secret_name(manifest)), cure);
        }
    }
    all
}

/// A secret of which a network would make another one, or that only looks like one.
fn misshapen(scheme: Scheme, secret: &str) -> Option<(&'static str, &'static str)> {
    let secret = secret.trim();
    let is_telegram = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match scheme {
        Scheme::StandardWebhooks if secret.starts_with("whsec_") && sinks::Secret::parse(secret).is_err() => {
            Some(("begins with `whsec_` and is none", "after `whsec_` comes base64 of 24 to 64 bytes: copy it again, whole"))
        }
        Scheme::WebSub if secret.len() > WEBSUB_SECRET_BYTES_MAX => {
            Some(("is longer than a hub takes", "take a secret of 32 to 199 bytes, and subscribe again"))
        }
        Scheme::Telegram if secret.len() > TELEGRAM_TOKEN_BYTES_MAX || !secret.bytes().all(is_telegram) => {
            Some(("is no token that Telegram sends", "take 1 to 256 of A-Z, a-z, 0-9, `_` and `-`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "[[channel]]\nname = \"a\"\nplugin = \"p\"\n";

    /// A channel with this `ingress` and the secrets `webhook` and `app`, on a plugin that wants these webhooks.
    fn told(host: &str, ingress: &str, wants: &str) -> (Vec<String>, Option<Vec<String>>, Option<Scheme>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("membrana.toml");
        let text = format!(
            "[host]\n{host}\n{FIRST}{ingress}\nconfig = {{ urls = [\"https://blog.example/feed\"] }}\nsecrets = {{ webhook = {{ env = \"A\" }}, app = {{ env = \"B\" }} }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let (config, report) = crate::config::read_what_is_there(&file, &|name| Some(if name == "A" { "a b".to_owned() } else { "s".repeat(200) }));
        assert!(!report.has_errors(), "{report}");
        let head = "name = \"p\"\nversion = \"0.1.0\"\nkind = \"connector\"\nnetwork = \"n\"\ncontract = \"0.1\"\nsummary = \"s\"\nlicense = \"l\"\n";
        let manifest = Manifest::parse(&format!("{head}{wants}")).unwrap();
        let config = config.unwrap();
        let channel = &config.channels[0];
        let mistakes = mistakes(&config.host, channel, &manifest);
        let place = &channel.ingress.as_ref().unwrap().place;
        assert!(mistakes.iter().all(|mistake| mistake.place == *place && place.line == 6), "{place:?}");
        let verifier = verifier(&config, channel, &manifest).map(|verifier| verifier.scheme());
        (
            mistakes.into_iter().map(|mistake| format!("{} | {}", mistake.message, mistake.cure)).collect(),
            secrets_needed(channel, &manifest),
            verifier,
        )
    }

    fn wants(verify: &str) -> String {
        format!("[wants.ingress]\nverify = [{verify}]\n")
    }

    #[test]
    fn the_only_scheme_of_a_plugin_need_not_be_named_but_none_must() {
        let webhook = || Some(vec!["webhook".to_owned()]);
        assert_eq!(told("", "ingress = {}", &wants("\"x\"")), (Vec::new(), webhook(), Some(Scheme::X)));
        assert_eq!(told("", "ingress = { verify = \"zammad\" }", &wants("")), (Vec::new(), webhook(), Some(Scheme::Zammad)), "any");
        let (mistakes, needed, verifier) = told("", "ingress = {}", &wants("\"none\""));
        assert!(mistakes[0].contains("`none` must be written out | write ingress = { verify = \"none\" }"), "{mistakes:?}");
        assert_eq!((mistakes.len(), needed, verifier), (1, Some(Vec::new()), None));
        let (mistakes, ..) = told("", "ingress = {}", &wants("\"meta\", \"x\""));
        assert!(mistakes[0].contains("`meta`, `x` are several | write ingress = { verify = \"meta\" }"), "{mistakes:?}");
    }

    #[test]
    fn each_scheme_names_the_secrets_it_needs() {
        let meta = format!("{}secret = \"app\"\n", wants("\"meta\""));
        let (mistakes, needed, _) = told("", "ingress = {}", &meta);
        assert_eq!((mistakes, needed), (Vec::new(), Some(vec!["app".to_owned(), "verify_token".to_owned()])));
        assert_eq!(told("", "ingress = { verify = \"none\" }", &wants("\"none\"")).1, Some(Vec::new()));
    }

    #[test]
    fn what_cannot_work_is_told_with_its_cure() {
        let app = |verify: &str| format!("{}secret = \"app\"\n", wants(verify));
        let cases = [
            (
                "",
                "ingress = { verify = \"x\" }",
                wants("\"meta\", \"none\""),
                vec!["can live with `meta`, `none` only | write ingress = { verify = \"meta\" }"],
            ),
            ("", "ingress = { verify = \"x\" }", String::new(), vec!["takes no webhooks | leave `ingress` out"]),
            ("", "ingress = {}", wants("\"twilio\""), vec!["nothing says what that is | write under [host]: public_url ="]),
            ("public_url = \"https://a.example\"", "ingress = {}", wants("\"twilio\""), vec![]),
            ("", "ingress = {}", wants("\"websub\""), vec!["none is | write ingress = { verify = \"websub\", topics = ["]),
            ("", "ingress = { topics = [\"https://a.example\"] }", wants("\"websub\""), vec![]),
            ("", "ingress = {}", format!("{}topics = [\"config:/urls\"]\n", wants("\"websub\"")), vec![]),
            (
                "",
                "ingress = {}",
                format!("{}topics = [\"config:/urls\"]\n", app("\"websub\"")),
                vec!["longer than a hub takes | take a secret of 32 to 199"],
            ),
            ("", "ingress = {}", wants("\"telegram\""), vec!["no token that Telegram sends | take 1 to 256"]),
            ("", "ingress = { field = \"s\", topics = [\"t\"] }", wants("\"x\""), vec!["`topics` are for `websub`", "`field` is for `form-secret`"]),
            ("", "ingress = { field = \"\" }", wants("\"form-secret\""), vec!["`field` is empty"]),
            ("", "ingress = { field = \"push\" }", wants("\"form-secret\""), vec![]),
        ];
        for (host, ingress, wants, expected) in cases {
            let (mistakes, ..) = told(host, ingress, &wants);
            assert_eq!(mistakes.len(), expected.len(), "{ingress} {wants}: {mistakes:?}");
            for (mistake, expected) in mistakes.iter().zip(expected) {
                assert!(mistake.contains(expected), "{ingress} {wants}: {mistake}");
            }
        }
    }
}
