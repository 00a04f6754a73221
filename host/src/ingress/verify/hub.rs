//! Codes in hex over the body alone: Meta, Discourse, WebSub, Zammad; and LinkedIn, whose code may cover its own label.

use crate::ingress::Incoming;
use crate::model::Digest;

use super::mac::{Hash, from_hex, labelled};
use super::{ID_BYTES_MAX, Refusal, Verdict, Verifier, challenge, header};

/// What Discourse posts to see whether somebody is there.
const DISCOURSE_PING: &[u8] = br#"{"ping":"OK"}"#;
const LINKEDIN_LABEL: &str = "hmacsha256=";

impl Verifier {
    /// `LABEL=HEX` in a header, over the body, by one of these hashes.
    pub(super) fn labelled_hex(&self, incoming: &Incoming, name: &'static str, hashes: &[Hash]) -> Result<Verdict, Refusal> {
        let (hash, code) = header(incoming, name).and_then(labelled).ok_or(Refusal::Header(name))?;
        if !hashes.contains(&hash) {
            return Err(Refusal::Hash);
        }
        let given = from_hex(code).ok_or(Refusal::Header(name))?;
        self.by_one_of_the_secrets(|secret| hash.is_made_by(secret, &[&incoming.body], &given)).map(|()| Verdict::Believed(None))
    }

    /// The id of an event is not signed. So it counts only together with the body: else somebody who once caught one signed body
    /// could use up the ids of events to come, and those would be taken for repeats.
    pub(super) fn discourse(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        self.labelled_hex(incoming, "x-discourse-event-signature", &[Hash::Sha256])?;
        if incoming.body == DISCOURSE_PING {
            return Ok(Verdict::Ping);
        }
        let id = header(incoming, "x-discourse-event-id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
        Ok(Verdict::Believed(id.map(|id| format!("{id} {}", Digest::of(&incoming.body)))))
    }

    /// Two forms are met: the label before the code, over the body; and the label before the body, inside the code.
    pub(super) fn linkedin(&self, incoming: &Incoming) -> Result<Verdict, Refusal> {
        let name = "x-li-signature";
        let text = header(incoming, name).map(str::trim).ok_or(Refusal::Header(name))?;
        let (label, code): (&[u8], &str) = match text.strip_prefix(LINKEDIN_LABEL) {
            Some(code) => (b"", code),
            None => (LINKEDIN_LABEL.as_bytes(), text),
        };
        let given = from_hex(code).ok_or(Refusal::Header(name))?;
        challenge::never_signed_by_us(&incoming.body)?;
        let is_right = |secret: &[u8]| Hash::Sha256.is_made_by(secret, &[label, &incoming.body], &given);
        self.by_one_of_the_secrets(is_right).map(|()| Verdict::Believed(None))
    }
}
