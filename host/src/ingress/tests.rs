//! What of a webhook is stored, and what is not.

use std::sync::Arc;

use crate::model::{RawItem, Scheme};
use crate::testing::Stand;

use super::{Answer, Challenge, Hook, Incoming, Ingress, Setup, Verifier};

const SECRET: &str = "top-secret";
/// HMAC-SHA256 of `{"id":1}` and of `{"id":2}` by [`SECRET`], made elsewhere.
const ONE: &str = "sha256=99c12850cf3acd5e1a2e986e939e54ad5d40a32d1f838d59e52b8171420b2493";
const TWO: &str = "sha256=efd4e5e9476a0c376381c8bb7d8df62ceb06a098824d43cb26b2dd53c6f0d089";

fn ingress(stand: &Stand, scheme: Scheme) -> Ingress {
    let ingress = Ingress::new(stand.journal.clone());
    let verifier = Verifier::new(Setup {
        scheme,
        secrets: vec![SECRET],
        verify_tokens: vec!["vt"],
        topics: vec!["https://blog.example/feed".to_owned()],
        field: "secret".to_owned(),
        url: String::new(),
    });
    ingress.set([Arc::new(Hook { channel: stand.channel.clone(), verifier, methods: vec!["POST".to_owned()] })]);
    ingress
}

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Incoming {
    Incoming {
        method: "POST".to_owned(),
        path_with_query: path.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.as_bytes().to_vec(),
    }
}

async fn stored(stand: &Stand) -> Vec<RawItem> {
    stand.store().read_raw(&stand.channel, 1, 100, 1 << 20).await.unwrap()
}

#[tokio::test]
async fn no_secret_is_stored_in_header_address_or_body() {
    for (scheme, path, headers, body) in [
        (Scheme::Telegram, "/a?b=1", [("x-telegram-bot-api-secret-token", SECRET), ("authorization", "Basic dG9wLXNlY3JldA==")], "{}"),
        (Scheme::FormSecret, "/a?secret=top-secret", [("accept", "*/*"), ("cookie", "top-secret")], "checkin=%7B%7D&secret=top-secret"),
    ] {
        let stand = Stand::new("hooked");
        assert_eq!(ingress(&stand, scheme).accept("hooked", post(path, &headers, body)).await, Answer::Received);
        let raws = stored(&stand).await;
        assert_eq!((raws.len(), raws[0].body.len()), (1, body.len()), "{scheme}");
        let told = format!("{:?} {}", raws[0].origin, String::from_utf8_lossy(&raws[0].body));
        assert!(!told.contains(SECRET) && !told.contains("dG9w"), "{scheme}: {told}");
    }
}

#[tokio::test]
async fn a_ping_and_what_a_hub_signs_wrongly_are_taken_and_not_stored() {
    let stand = Stand::new("hooked");
    let signed = [("x-discourse-event-signature", "sha256=3019f8a495a43bd36ed7ee986505c0fb0f9a55a28822420844f99176b8384e08")];
    assert_eq!(ingress(&stand, Scheme::Discourse).accept("hooked", post("", &signed, r#"{"ping":"OK"}"#)).await, Answer::Received);
    let hub = ingress(&stand, Scheme::WebSub);
    assert_eq!(hub.accept("hooked", post("", &[("x-hub-signature", TWO)], r#"{"id":1}"#)).await, Answer::Ignored);
    assert_eq!(hub.accept("hooked", post("", &[], r#"{"id":1}"#)).await, Answer::Ignored);
    assert_eq!(hub.refused(), [(stand.channel.clone(), 2)]);
    assert_eq!(stored(&stand).await, []);
}

#[tokio::test]
async fn an_unsigned_id_holds_back_a_repeat_and_nothing_else() {
    let stand = Stand::new("hooked");
    let forum = ingress(&stand, Scheme::Discourse);
    let said =
        |id: &'static str, code: &'static str, body: &str| post("", &[("x-discourse-event-id", id), ("x-discourse-event-signature", code)], body);
    assert_eq!(forum.accept("hooked", said("7", ONE, r#"{"id":1}"#)).await, Answer::Received);
    assert_eq!(forum.accept("hooked", said("7", ONE, r#"{"id":1}"#)).await, Answer::Repeat);
    // Somebody caught the first body and names the id of the next event before the forum does.
    assert_eq!(forum.accept("hooked", said("8", ONE, r#"{"id":1}"#)).await, Answer::Received);
    assert_eq!(forum.accept("hooked", said("8", TWO, r#"{"id":2}"#)).await, Answer::Received, "the event itself is not lost");
    assert_eq!(forum.accept("hooked", said("9", TWO, r#"{"id":1}"#)).await, Answer::Unauthorized);
    let bodies: Vec<Vec<u8>> = stored(&stand).await.into_iter().map(|raw| raw.body).collect();
    assert_eq!(bodies, [br#"{"id":1}"#.as_slice(), br#"{"id":1}"#, br#"{"id":2}"#]);
}

#[tokio::test]
async fn a_challenge_is_a_get_of_a_channel_that_is_there_and_is_not_stored() {
    let stand = Stand::new("hooked");
    let page = ingress(&stand, Scheme::Meta);
    let query = "hub.mode=subscribe&hub.verify_token=vt&hub.challenge=42";
    assert_eq!(page.challenge("hooked", "GET", query), Some(Challenge::Text("42".to_owned())));
    assert_eq!(page.challenge("hooked", "GET", &query.replace("vt", "tv")), Some(Challenge::Forbidden));
    assert_eq!(page.challenge("hooked", "POST", query), None);
    assert_eq!(page.challenge("hooked", "GET", "page=2"), None);
    assert_eq!(page.challenge("nobody", "GET", query), None);
    assert_eq!(stored(&stand).await, []);
}
