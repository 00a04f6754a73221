//! The stand-in behaves as the forum it stands for.

use serde_json::{Value, json};

use super::Discourse;
use crate::Next;
use crate::http::{Answer, call};

const AUTH: [(&str, &str); 2] = [("api-key", "k"), ("api-username", "support")];

async fn get(forum: &Discourse, path: &str) -> Answer {
    call(forum.address(), "GET", path, &AUTH, b"").await.unwrap()
}

async fn json(forum: &Discourse, path: &str) -> Value {
    serde_json::from_str(&get(forum, path).await.body).unwrap()
}

async fn write(forum: &Discourse, body: Value) -> Result<Answer, String> {
    let headers = [AUTH[0], AUTH[1], ("content-type", "application/json")];
    call(forum.address(), "POST", "/posts.json", &headers, body.to_string().as_bytes()).await
}

fn ids(page: &Value) -> Vec<u64> {
    page["latest_posts"].as_array().unwrap().iter().map(|post| post["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_list_runs_down_and_shows_neither_whispers_nor_private_messages() {
    let forum = Discourse::start("k", "support").await.unwrap();
    let topic = forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let posts: Vec<u64> = (0..60).map(|n| forum.answer("bob", topic.id, Some(1), &format!("Anche io {n}"))).collect();
    forum.whisper("carla", topic.id, "questo è un cliente difficile");
    forum.open_private("anna", "Privato", "Il mio IBAN è …");
    let first = json(&forum, "/posts.json").await;
    assert_eq!((ids(&first).len(), ids(&first)[0]), (50, posts[59]));
    let lowest = *ids(&first).last().unwrap();
    let second = json(&forum, &format!("/posts.json?before={lowest}")).await;
    assert_eq!(ids(&second), posts[..10].iter().rev().copied().chain([topic.post]).collect::<Vec<_>>());
    assert_eq!((&first["latest_posts"][0]["reply_to_post_number"], &second["latest_posts"][10]["reply_to_post_number"]), (&json!("1"), &Value::Null));
}

#[tokio::test]
async fn the_same_words_are_refused_for_five_minutes_of_its_clock() {
    let forum = Discourse::start("k", "support").await.unwrap();
    let topic = forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let body = json!({ "raw": "Ci dispiace molto.", "topic_id": topic.id });
    forum.next("POST /posts.json", Next::LoseAnswer);
    assert!(write(&forum, body.clone()).await.is_err());
    let refused = write(&forum, body.clone()).await.unwrap();
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("too similar"), "{}", refused.body);
    forum.advance(301);
    assert_eq!(write(&forum, body).await.unwrap().status, 200);
    assert_eq!(forum.own().len(), 2);
}

#[tokio::test]
async fn it_refuses_as_the_real_one() {
    let forum = Discourse::start("k", "support").await.unwrap();
    let topic = forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let wrong = call(forum.address(), "GET", "/posts.json", &[("api-key", "x"), ("api-username", "support")], b"").await.unwrap();
    assert_eq!((wrong.status, wrong.body.contains("invalid_access")), (403, true));
    assert_eq!(write(&forum, json!({ "raw": "x", "topic_id": topic.id })).await.unwrap().status, 422);
    forum.delete(topic.post);
    assert_eq!(get(&forum, &format!("/posts/{}.json", topic.post)).await.status, 404);
    forum.limit(4);
    get(&forum, "/posts.json").await;
    get(&forum, "/posts.json").await;
    let limited = get(&forum, "/posts.json").await;
    assert_eq!((limited.status, limited.body.contains("\"wait_seconds\":60")), (429, true), "{}", limited.body);
    forum.advance(60);
    assert_eq!(get(&forum, "/posts.json").await.status, 200);
}

#[tokio::test]
async fn a_webhook_tells_a_deletion_by_its_header_alone() {
    let forum = Discourse::start("k", "support").await.unwrap();
    let topic = forum.open("anna", "Bolletta doppia", "Ho pagato due volte.");
    let (created, destroyed) = (forum.webhook("post_created", topic.post, "s"), forum.webhook("post_destroyed", topic.post, "s"));
    assert_eq!(created.body, destroyed.body);
    let header = |name: &str| created.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    assert!(header("x-discourse-event-signature").starts_with("sha256=") && header("x-discourse-event-signature").len() == 7 + 64);
    assert_ne!(created.clone().signed_wrongly().headers, created.headers);
    assert_eq!(header("x-discourse-event"), "post_created");
}
