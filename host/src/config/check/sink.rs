//! `[[sink]]`: where events go, signed with what.

use base64::Engine as _;
use toml::Spanned;

use super::super::shape::{Table, nearest};
use super::super::{Place, Sink};
use super::Checker;

const EVENTS: [&str; 10] = [
    "*",
    "interaction.received",
    "interaction.edited",
    "interaction.gone",
    "task.opened",
    "task.changed",
    "task.done",
    "task.escalated",
    "action.sent",
    "action.failed",
];

impl Checker<'_> {
    pub(super) fn sink(&mut self, table: &mut Table<'_, '_>, place: Place) -> Option<(Spanned<String>, Sink)> {
        let name = table.required(&mut self.reading, "name", "write name = \"crm\"");
        if let Some(name) = &name {
            self.name_shape(name);
        }
        let url = table.required(&mut self.reading, "url", "write url = \"https://crm.example.org/hooks\"");
        let n_before = self.reading.report.findings.len();
        let url = url.map(|url| self.sink_url(url));
        let is_whole = self.reading.report.findings.len() == n_before;
        let secrets = table.value("secret").map(|value| (self.secrets_of("secret", value), value.span()));
        if secrets.is_none() {
            self.reading.report.error(
                name.as_ref().map_or(place, |name| self.reading.lines.place(&name.span())),
                "a sink needs a `secret` to sign with",
                "add secret = { env = \"CRM_SECRET\" }, holding whsec_ and base64",
            );
        }
        let (secrets, span) = secrets.unwrap_or_default();
        for secret in &secrets {
            let decoded = secret.expose().strip_prefix("whsec_").and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
            if !decoded.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
                self.reading.error(
                    &span,
                    "the secret is not `whsec_` and base64 of 24 to 64 bytes",
                    "make one: echo whsec_$(openssl rand -base64 32)",
                );
            }
        }
        let private = self.ranges(table, "private");
        let mut events: Vec<String> = Vec::new();
        for event in table.texts(&mut self.reading, "events") {
            if !EVENTS.contains(&event.get_ref().as_str()) {
                let cure = nearest(event.get_ref(), &EVENTS)
                    .map_or_else(|| format!("events: {}", EVENTS.join(", ")), |near| format!("did you mean \"{near}\"?"));
                self.reading.error(&event.span(), format!("there is no event \"{}\"", event.get_ref()), cure);
            }
            events.push(event.into_inner());
        }
        if events.is_empty() {
            events.push("*".to_owned());
        }
        let (name, url) = (name?, url?);
        let sink = Sink { name: name.get_ref().clone(), url, secrets, private, events, is_whole };
        Some((name, sink))
    }

    /// A sink's way out opens to its own address, so that must have the form of a grant.
    fn sink_url(&mut self, text: Spanned<String>) -> String {
        let origin = url::Url::parse(text.get_ref()).map(|mut url| {
            url.set_query(None);
            url.set_fragment(None);
            url
        });
        match origin {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => {
                if let Err(error) = crate::egress::HttpGrant::parse(url.as_str()) {
                    let cure = format!("{}; the receiver knows us by the signature", error.cure);
                    self.reading.error(&text.span(), "events cannot be sent to this `url`", cure);
                }
                text.into_inner()
            }
            _ => self.url(text),
        }
    }

    /// Each name once.
    pub(super) fn sinks(&mut self, sinks: Vec<(Spanned<String>, Sink)>) -> Vec<Sink> {
        let mut all: Vec<Sink> = Vec::new();
        for (name, sink) in sinks {
            if all.iter().any(|known| known.name == sink.name) {
                self.reading.error(&name.span(), format!("two sinks are named `{}`", sink.name), "give each its own name");
            }
            all.push(sink);
        }
        all
    }
}
