//! The stand-in behaves as the server it stands for.

use serde_json::{Value, json};

use super::Mastodon;
use crate::Next;
use crate::http::{Answer, call};

const AUTH: (&str, &str) = ("authorization", "Bearer t");

async fn get(server: &Mastodon, path: &str) -> Value {
    serde_json::from_str(&call(server.address(), "GET", path, &[AUTH], b"").await.unwrap().body).unwrap()
}

async fn publish(server: &Mastodon, key: &str, body: Value) -> Result<Answer, String> {
    let headers = [AUTH, ("idempotency-key", key), ("content-type", "application/json")];
    call(server.address(), "POST", "/api/v1/statuses", &headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn notifications_walk_forward_by_min_id_newest_first_inside() {
    let server = Mastodon::start("t").await.unwrap();
    for n in 0..5 {
        server.say("anna@people.example", &format!("@acme {n}"), "public", None);
    }
    server.say("anna@people.example", "to nobody", "public", None);
    let texts = |page: &Value| page.as_array().unwrap().iter().map(|one| one["status"]["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let first = get(&server, "/api/v1/notifications?types[]=mention&limit=2&min_id=0").await;
    assert_eq!(texts(&first), ["<p>@acme 1</p>", "<p>@acme 0</p>"]);
    let newest = get(&server, "/api/v1/notifications?limit=1").await;
    assert_eq!(texts(&newest), ["<p>@acme 4</p>"]);
    let next = get(&server, &format!("/api/v1/notifications?limit=9&min_id={}", first[0]["id"].as_str().unwrap())).await;
    assert_eq!(next.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_makes_a_repeat_the_same_post_even_when_the_answer_was_lost() {
    let server = Mastodon::start("t").await.unwrap();
    let asked = server.say("anna@people.example", "@acme ciao", "unlisted", None);
    let body = json!({ "status": "@anna@people.example Ciao", "in_reply_to_id": asked, "visibility": "unlisted" });
    server.next("POST /api/v1/statuses", Next::LoseAnswer);
    assert!(publish(&server, "k1", body.clone()).await.is_err());
    assert_eq!(publish(&server, "k1", body.clone()).await.unwrap().status, 200);
    assert_eq!(server.answers(&asked).len(), 1);
    let tries = server.ledger().asked("POST /api/v1/statuses");
    assert_eq!(tries.iter().map(|asked| asked.header("idempotency-key")).collect::<Vec<_>>(), [Some("k1"), Some("k1")]);
    let context = get(&server, &format!("/api/v1/statuses/{asked}/context")).await;
    assert_eq!(
        (&context["descendants"][0]["visibility"], &context["descendants"][0]["mentions"][0]["acct"]),
        (&json!("unlisted"), &json!("anna@people.example"))
    );
}

#[tokio::test]
async fn it_refuses_as_the_real_one() {
    let server = Mastodon::start("t").await.unwrap();
    let status = async |path: &str, headers: &[(&str, &str)]| call(server.address(), "GET", path, headers, b"").await.unwrap().status;
    assert_eq!(status("/api/v1/notifications", &[]).await, 401);
    assert_eq!(status("/api/v1/notifications", &[("authorization", "Bearer other")]).await, 401);
    assert_eq!(status("/api/v1/statuses/1", &[AUTH]).await, 404);
    assert_eq!(publish(&server, "a", json!({ "status": "" })).await.unwrap().status, 422);
    assert_eq!(publish(&server, "b", json!({ "status": "x".repeat(501) })).await.unwrap().status, 422);
    assert_eq!(publish(&server, "c", json!({ "status": "x", "in_reply_to_id": "1" })).await.unwrap().status, 404);
    server.next("GET /api/v1/notifications", Next::CutBody(1));
    assert!(call(server.address(), "GET", "/api/v1/notifications", &[AUTH], b"").await.is_err());
    call(server.address(), "POST", "/_ctl/next", &[], b"do=answer&status=429&retry-after=3").await.unwrap();
    assert_eq!(status("/api/v1/notifications", &[AUTH]).await, 429);
}
