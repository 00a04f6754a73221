//! The stand-in behaves as the network it stands for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::X;
use super::hooks::sign;
use crate::http::{Answer, call};

const NOW_MS: u64 = 1_777_716_000_000;
const APP: (&str, &str) = ("authorization", "Bearer app");
const USER: (&str, &str) = ("authorization", "Bearer user");

async fn start() -> X {
    X::start("app", "user", NOW_MS).await.unwrap()
}

async fn get(x: &X, path: &str) -> Value {
    serde_json::from_str(&call(x.address(), "GET", path, &[APP], b"").await.unwrap().body).unwrap()
}

async fn write(x: &X, who: (&str, &str), path: &str, body: Value) -> Answer {
    call(x.address(), "POST", path, &[who, ("content-type", "application/json")], body.to_string().as_bytes()).await.unwrap()
}

fn texts(page: &Value) -> Vec<&str> {
    page["data"].as_array().map(|all| all.iter().filter_map(|post| post["text"].as_str()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn lists_are_newest_first_beyond_since_id_and_have_no_data_where_empty() {
    let x = start().await;
    for n in 0..12 {
        x.say("anna", &format!("acme {n}"), None);
    }
    let first = get(&x, "/2/tweets/search/recent?query=acme&max_results=10").await;
    assert_eq!((texts(&first).len(), texts(&first)[0]), (10, "acme 11"));
    let token = first["meta"]["next_token"].as_str().unwrap();
    let second = get(&x, &format!("/2/tweets/search/recent?query=acme&max_results=10&next_token={token}")).await;
    assert_eq!((texts(&second), second["meta"].get("next_token")), (vec!["acme 1", "acme 0"], None));
    let newest = first["meta"]["newest_id"].as_str().unwrap();
    let none = get(&x, &format!("/2/tweets/search/recent?query=acme&since_id={newest}")).await;
    assert_eq!(none, json!({ "meta": { "result_count": 0 } }));
    assert!(first["data"][0].get("author_id").is_none(), "what was not asked for is not told");
    x.advance(Duration::from_secs(8 * 86_400));
    let late = call(x.address(), "GET", &format!("/2/tweets/search/recent?query=acme&since_id={newest}"), &[APP], b"").await.unwrap();
    assert!(late.status == 400 && late.body.contains("since_id"));
}

#[tokio::test]
async fn mentions_posts_by_id_and_partial_errors_speak_both_languages() {
    let x = start().await;
    let gone = x.say("bob", "gone", None);
    let id = x.say("anna", "@acme ciao", Some(&gone));
    x.delete(&gone);
    let acme = x.account("acme");
    let new = get(&x, &format!("/2/users/{acme}/mentions?post.fields=entities&expansions=author_id,referenced_posts")).await;
    assert_eq!((&new["data"][0]["referenced_posts"][0]["id"], &new["includes"]["users"][0]["username"]), (&json!(gone), &json!("anna")));
    assert_eq!((&new["errors"][0]["resource_id"], &new["data"][0]["entities"]["mentions"][0]["id"]), (&json!(gone), &json!(acme)));
    let old = get(&x, &format!("/2/tweets?ids={id},{gone}&tweet.fields=referenced_tweets")).await;
    assert_eq!((&old["data"][0]["referenced_tweets"][0]["type"], &old["data"][0]["edit_history_tweet_ids"]), (&json!("replied_to"), &json!([id])));
    assert_eq!(old["errors"].as_array().unwrap().iter().filter(|error| error["parameter"] == "ids").count(), 1);
}

#[tokio::test]
async fn a_window_of_fifteen_minutes_ends_by_the_clock_that_tests_move() {
    let x = start().await;
    x.limit("GET /2/tweets/search/recent", 2);
    let status = async || call(x.address(), "GET", "/2/tweets/search/recent?query=a", &[APP], b"").await.unwrap().status;
    assert_eq!((status().await, status().await, status().await), (200, 200, 429));
    x.advance(Duration::from_secs(899));
    assert_eq!(status().await, 429);
    x.advance(Duration::from_secs(1));
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn it_refuses_as_the_real_one() {
    let x = start().await;
    let (asked, not_asked) = (x.say("anna", "@acme open?", None), x.say("anna", "acme open?", None));
    let reply = |to: &str, text: &str| json!({ "text": text, "reply": { "in_reply_to_tweet_id": to } });
    assert_eq!(write(&x, USER, "/2/tweets", reply(&asked, "yes")).await.status, 201);
    let refusals = [reply(&asked, "yes"), reply(&not_asked, "hello"), reply("7", "what"), json!({ "text": "x".repeat(281) })];
    for (body, word) in refusals.into_iter().zip(["duplicate", "mentioned or quoted", "deleted", "shorter"]) {
        let answer = write(&x, USER, "/2/tweets", body).await;
        assert!(answer.status == 403 && answer.body.contains(word), "{}", answer.body);
    }
    assert_eq!(write(&x, USER, "/2/tweets", json!({})).await.status, 400);
    assert_eq!(write(&x, APP, "/2/tweets", reply(&asked, "a")).await.status, 403);
    assert_eq!(write(&x, ("authorization", "Bearer other"), "/2/tweets", reply(&asked, "a")).await.status, 401);
    assert_eq!(x.own().len(), 1);
}

#[tokio::test]
async fn an_edit_takes_the_old_version_s_place() {
    let x = start().await;
    let first = x.say("anna", "acme one", None);
    let second = x.edit(&first, "acme two");
    let page = get(&x, "/2/tweets/search/recent?query=acme").await;
    assert_eq!((texts(&page), &page["data"][0]["edit_history_post_ids"]), (vec!["acme two"], &json!([first, second])));
    x.delete(&first);
    assert!(texts(&get(&x, "/2/tweets/search/recent?query=acme").await).is_empty());
}

/// Reads until the text is there or the end.
async fn until(stream: &mut TcpStream, seen: &mut String, wanted: Option<&str>) {
    let mut buffer = [0; 4096];
    while wanted.is_none_or(|wanted| !seen.contains(wanted)) {
        let n = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        if n == 0 {
            assert!(wanted.is_none(), "it ended before `{wanted:?}`: {seen}");
            return;
        }
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

#[tokio::test]
async fn the_stream_tells_matching_posts_lives_and_is_cut() {
    let x = start().await;
    let path = "/2/tweets/search/stream";
    assert_eq!(call(x.address(), "GET", path, &[APP], b"").await.unwrap().status, 409);
    write(&x, APP, "/2/tweets/search/stream/rules", json!({ "add": [{ "value": "acme", "tag": "t" }] })).await;
    let mut stream = TcpStream::connect(x.address()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer app\r\n\r\n").as_bytes()).await.unwrap();
    let mut seen = String::new();
    until(&mut stream, &mut seen, Some("\r\n\r\n")).await;
    assert_eq!(call(x.address(), "GET", path, &[APP], b"").await.unwrap().status, 429, "one connection at a time");
    x.stream_line("");
    let id = x.say("anna", "acme by stream", None);
    x.say("anna", "nobody asked for this", None);
    x.stream_line(r#"{"errors":[{"title":"operational-disconnect"}]}"#);
    x.cut_stream();
    until(&mut stream, &mut seen, Some("operational-disconnect")).await;
    assert!(seen.contains(&id) && seen.contains("matching_rules") && !seen.contains("nobody asked"));
}

#[tokio::test]
async fn rules_are_made_once_and_taken_away() {
    let x = start().await;
    let path = "/2/tweets/search/stream/rules";
    let add = json!({ "add": [{ "value": "acme", "tag": "t" }, { "value": "((", "tag": "t" }, { "value": "acme" }] });
    let made: Value = serde_json::from_str(&write(&x, APP, path, add).await.body).unwrap();
    assert_eq!((made["data"].as_array().unwrap().len(), made["errors"].as_array().unwrap().len()), (1, 2));
    let id = &get(&x, path).await["data"][0]["id"];
    write(&x, APP, path, json!({ "delete": { "ids": [id] } })).await;
    assert!(get(&x, path).await.get("data").is_none() && x.rules().is_empty());
}

#[test]
fn signatures_are_base64_of_the_body_s_hmac() {
    // Source: RFC 4231, test case 2.
    assert_eq!(sign("Jefe", b"what do ya want for nothing?"), "sha256=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
}
