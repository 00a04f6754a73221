//! Proofs that lie in forms: Twilio's code over URL and fields, and a secret that is a field itself, masked before it is stored.

use std::borrow::Cow;
use std::ops::Range;

use url::Url;
use url::form_urlencoded::parse;

use crate::ingress::Incoming;

use super::mac::{Hash, from_base64, from_hex, has_sha256, is_same};
use super::{Refusal, Verdict, Verifier, header};

/// More fields are no form of a network that we know, and sorting them is work done for strangers.
const FIELDS_MAX: usize = 1000;
const FORM: &str = "application/x-www-form-urlencoded";
const MASK: u8 = b'*';

impl Verifier {
    /// Over the public URL and the fields, sorted, each name before its value. A body that is no form is covered by its digest in
    /// the query. Source: Twilio, "Validating requests".
    pub(super) fn twilio(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        let name = "x-twilio-signature";
        let given = header(incoming, name).and_then(from_base64).ok_or(Refusal::Header(name))?;
        let fields = twilio_fields(incoming)?;
        let is_right = |secret: &[u8]| {
            let is_of =
                |url: &String| Hash::Sha1.is_made_by(secret, &[url.as_bytes(), incoming.path_with_query.as_bytes(), fields.as_bytes()], &given);
            self.urls.iter().any(is_of)
        };
        self.by_one_of_the_secrets(is_right).map(|()| Verdict::Believed(None))
    }

    /// One field of the form is the secret. Named twice it is refused: who reads the form later might believe the other one.
    pub(super) fn form_secret(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        let spans = values_of(&incoming.body, &self.field);
        let [span] = spans.as_slice() else { return Err(Refusal::Field) };
        let value = incoming.body.get(span.clone()).unwrap_or_default();
        let value = decoded(value);
        self.by_one_of_the_secrets(|secret| is_same(secret, value.as_bytes())).map(|()| Verdict::Believed(None))
    }

    /// Puts stars over the secret wherever a field of its name stands, in as many bytes.
    pub(super) fn mask_form_secret(&self, incoming: &mut Incoming) {
        for span in values_of(&incoming.body, &self.field) {
            incoming.body.get_mut(span).unwrap_or_default().fill(MASK);
        }
        let Some((path, query)) = incoming.path_with_query.split_once('?') else { return };
        let mut query = query.as_bytes().to_vec();
        for span in values_of(&query, &self.field) {
            query.get_mut(span).unwrap_or_default().fill(MASK);
        }
        incoming.path_with_query = format!("{path}?{}", String::from_utf8_lossy(&query));
    }
}

/// The URLs that may have been signed: as it is configured, and with and without its port, for senders differ in that.
pub(super) fn urls_of(hook: &str) -> Vec<String> {
    let mut urls = vec![hook.to_owned()];
    if let Ok(url) = Url::parse(hook)
        && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
    {
        urls.push(format!("{}://{host}{}", url.scheme(), url.path()));
        urls.push(format!("{}://{host}:{port}{}", url.scheme(), url.path()));
    }
    urls.dedup();
    urls
}

/// What the signature covers beside the URL.
fn twilio_fields(incoming: &Incoming) -> Result<String, Refusal> {
    let query = incoming.path_with_query.split_once('?').map(|(_, query)| query).unwrap_or_default();
    if let Some((_, digest)) = parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256") {
        let is_covered = from_hex(&digest).is_some_and(|digest| has_sha256(&incoming.body, &digest));
        return if is_covered { Ok(String::new()) } else { Err(Refusal::Signature) };
    }
    if incoming.body.is_empty() {
        return Ok(String::new());
    }
    let media_type = header(incoming, "content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case(FORM) {
        // The URL alone would be signed, and the body be anybody's.
        return Err(Refusal::Uncovered);
    }
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = parse(&incoming.body).take(FIELDS_MAX + 1).collect();
    if fields.len() > FIELDS_MAX {
        return Err(Refusal::Uncovered);
    }
    fields.sort_unstable();
    fields.dedup();
    Ok(fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect())
}

/// Where the values of this field are, as they stand in the form.
fn values_of(form: &[u8], field: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for pair in form.split(|byte| *byte == b'&') {
        let end = start + pair.len();
        let name_len = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        // An escape takes three bytes for one.
        let may_be = (field.len()..=3 * field.len()).contains(&name_len);
        if may_be && decoded(pair.get(..name_len).unwrap_or_default()) == field {
            spans.push((start + name_len + 1).min(end)..end);
        }
        start = end + 1;
    }
    spans
}

/// A name or value of a form as it is meant.
fn decoded(raw: &[u8]) -> String {
    let escaped: Vec<u8> = [b"=", raw].concat();
    parse(&escaped).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
