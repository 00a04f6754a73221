//! How webhooks prove themselves. No bytes are believed that the secret did not make.

mod verify;

use crate::model::{Scheme, Timestamp};
use verify::Verdict;

pub use verify::{Challenge, Setup, Verifier};

/// When the seeds were signed.
const NOW: Timestamp = Timestamp(1_614_265_330_000);
const SECRET: &str = "new-secret";

/// A request as received; the host's own.
pub struct Incoming {
    /// Upper case.
    pub method: String,
    /// What follows `/hooks/{channel}`.
    pub path_with_query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As received.
    pub body: Vec<u8>,
}

/// A scheme, a path and headers, a line each, an empty line, and the body.
pub(crate) fn webhook(data: &[u8]) {
    let Some((scheme, mut incoming)) = request(data) else { return };
    let ours = verifier(scheme, vec![SECRET]);
    let is_believed = matches!(ours.verify(&incoming, NOW), Ok(Verdict::Believed(_)));
    if scheme == Scheme::None {
        return assert!(is_believed, "where the admin asks for no proof there is none");
    }
    for secrets in [Vec::new(), vec!["a-stranger's"], vec![""]] {
        let believed = verifier(scheme, secrets.clone()).verify(&incoming, NOW);
        let is_secret_itself = matches!(scheme, Scheme::Telegram | Scheme::FormSecret) && !secrets.is_empty();
        assert!(!matches!(believed, Ok(Verdict::Believed(_))) || is_secret_itself, "{scheme}: believed by {secrets:?}");
    }
    // A challenge is answered before anything is verified, and signs nothing that could be taken for a delivery.
    let query = incoming.path_with_query.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    if let Some(Challenge::Text(text) | Challenge::Json(text)) = ours.challenge(&query) {
        let is_asker_s = url::form_urlencoded::parse(query.as_bytes()).any(|(_, value)| value.contains(SECRET));
        assert!(text.len() <= 8 << 10 && (is_asker_s || !text.contains(SECRET)), "{scheme}: {text}");
    }
    if is_believed {
        incoming.body.push(b' ');
        let is_of_body = !matches!(scheme, Scheme::Telegram | Scheme::FormSecret | Scheme::Twilio);
        assert!(!is_of_body || ours.verify(&incoming, NOW).is_err(), "{scheme}: one byte more is believed as well");
        incoming.body.pop();
        ours.mask(&mut incoming);
        let is_in_body = incoming.body.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(scheme != Scheme::FormSecret || !is_in_body || is_elsewhere(data), "a secret is stored");
    }
}

/// The secret stands there more than once: what somebody writes into other fields is theirs.
fn is_elsewhere(data: &[u8]) -> bool {
    data.windows(SECRET.len()).filter(|part| *part == SECRET.as_bytes()).count() > 1
}

fn request(data: &[u8]) -> Option<(Scheme, Incoming)> {
    let at = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(data.get(..at)?).ok()?, data.get(at + 2..)?.to_vec());
    let mut lines = head.split('\n');
    let scheme = serde_json::from_value(serde_json::Value::String(lines.next()?.to_owned())).ok()?;
    let path_with_query = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Some((scheme, Incoming { method: "POST".to_owned(), path_with_query, headers, body }))
}

fn verifier(scheme: Scheme, secrets: Vec<&str>) -> Verifier {
    let (field, url) = ("secret".to_owned(), "https://mycompany.com/myapp.php".to_owned());
    Verifier::new(Setup { scheme, secrets, verify_tokens: vec!["vt-new"], topics: vec!["https://blog.example/feed".to_owned()], field, url })
}
