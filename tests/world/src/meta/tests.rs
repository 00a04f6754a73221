//! The stand-in behaves as the network it stands for.

use serde_json::{Value, json};

use super::{ACCOUNT, Meta, PAGE, Shape, Side, US, sign_hex};
use crate::Next;
use crate::http::call;

const AUTH: (&str, &str) = ("authorization", "Bearer t");
const JSON: (&str, &str) = ("content-type", "application/json");
const DAY: u64 = 86_400_000;

async fn get(meta: &Meta, path: &str) -> Value {
    serde_json::from_str(&call(meta.address(), "GET", &format!("/v23.0/{path}"), &[AUTH], b"").await.unwrap().body).unwrap()
}

async fn post(meta: &Meta, path: &str, body: Value) -> Value {
    let answer = call(meta.address(), "POST", &format!("/v23.0/{path}"), &[AUTH, JSON], body.to_string().as_bytes()).await.unwrap();
    serde_json::from_str(&answer.body).unwrap()
}

fn codes(answer: &Value) -> (u64, u64) {
    let number = |key: &str| answer["error"][key].as_u64().unwrap_or(0);
    (number("code"), number("error_subcode"))
}

#[tokio::test]
async fn only_what_is_asked_for_is_shown_and_dates_have_no_colon() {
    let meta = Meta::start("t", "s").await.unwrap();
    let under = meta.post(US, "avviso");
    let id = meta.comment("anna", &under, "ciao");
    let bare = get(&meta, &format!("{id}?fields=id,message")).await;
    assert_eq!(bare, json!({ "id": id, "message": "ciao" }));
    let whole = get(&meta, &format!("{under}/comments?filter=stream&fields=id,from,created_time,parent%7Bid%7D")).await;
    assert_eq!(whole["data"][0]["from"]["name"], "anna");
    assert_eq!(whole["data"][0]["created_time"], "2026-11-24T10:00:00+0000");
    assert!(whole["data"][0].get("parent").is_none(), "a comment directly under the post has none");
}

#[tokio::test]
async fn toplevel_hides_what_stream_shows() {
    let meta = Meta::start("t", "s").await.unwrap();
    let under = meta.post(US, "avviso");
    let top = meta.comment("anna", &under, "sopra");
    let second = meta.comment("bea", &top, "sotto");
    let third = meta.comment("ivo", &second, "non ancora più sotto");
    let n = async |filter: &str| get(&meta, &format!("{under}/comments?filter={filter}")).await["data"].as_array().unwrap().len();
    assert_eq!((n("toplevel").await, n("stream").await), (1, 3));
    let parent = get(&meta, &format!("{third}?fields=parent")).await;
    assert_eq!(parent["parent"]["id"], json!(top), "there are two levels");
}

#[tokio::test]
async fn an_empty_page_in_the_middle_is_not_the_end() {
    let meta = Meta::start("t", "s").await.unwrap();
    meta.has_holes();
    let under = meta.post(US, "avviso");
    for n in 0..5 {
        meta.comment("anna", &under, &format!("{n}"));
    }
    let (mut sizes, mut path) = (Vec::new(), format!("/v23.0/{under}/comments?limit=2"));
    loop {
        let page: Value = serde_json::from_str(&call(meta.address(), "GET", &path, &[AUTH], b"").await.unwrap().body).unwrap();
        sizes.push(page["data"].as_array().unwrap().len());
        let Some(next) = page["paging"]["next"].as_str() else { break };
        assert!(next.contains("access_token=t") && next.contains("limit=2"));
        path = next.strip_prefix(&meta.url()).unwrap().to_owned();
    }
    assert_eq!(sizes, [2, 0, 2, 0, 1]);
}

#[tokio::test]
async fn tokens_die_and_limits_are_told() {
    let meta = Meta::start("t", "s").await.unwrap();
    meta.expires_after(1);
    assert_eq!(get(&meta, PAGE).await["id"], PAGE);
    assert_eq!(codes(&get(&meta, PAGE).await), (190, 463));
    meta.renew("t");
    meta.throttle(1);
    assert_eq!(codes(&get(&meta, PAGE).await), (4, 0));
    assert_eq!(get(&meta, PAGE).await["id"], PAGE);
    meta.demands_proof();
    assert_eq!(codes(&get(&meta, PAGE).await), (100, 0));
    let proof = sign_hex("s", b"t");
    assert_eq!(get(&meta, &format!("{PAGE}?appsecret_proof={}", proof.trim_start_matches("sha256="))).await["id"], PAGE);
    let other = call(meta.address(), "GET", &format!("/v23.0/{PAGE}?access_token=other"), &[], b"").await.unwrap();
    assert_eq!((other.status, codes(&serde_json::from_str(&other.body).unwrap()).0), (400, 190), "nearly every error is a 400");
}

#[tokio::test]
async fn windows_duplicates_and_private_replies_are_refused_by_code() {
    let meta = Meta::start("t", "s").await.unwrap();
    let messages = format!("{PAGE}/messages");
    let to = |recipient: Value, tag: bool| {
        let kind = if tag { json!("MESSAGE_TAG") } else { json!("RESPONSE") };
        json!({ "recipient": recipient, "messaging_type": kind, "tag": if tag { json!("HUMAN_AGENT") } else { Value::Null }, "message": { "text": "ciao" } })
    };
    for (side, subcode) in [(Side::Messenger, 2_018_278), (Side::Instagram, 2_534_022)] {
        let who = format!("anna {side:?}");
        meta.message(side, &who, "buongiorno");
        let person = json!({ "id": meta.person(&who) });
        assert!(post(&meta, &messages, to(person.clone(), false)).await["message_id"].is_string());
        meta.advance(DAY);
        assert_eq!(codes(&post(&meta, &messages, to(person.clone(), false)).await), (10, subcode));
        assert!(post(&meta, &messages, to(person.clone(), true)).await["message_id"].is_string());
        meta.advance(6 * DAY);
        assert_eq!(codes(&post(&meta, &messages, to(person, true)).await), (10, subcode));
    }
    let under = meta.post(US, "avviso");
    let asked = meta.comment("bea", &under, "?");
    let said = json!({ "message": "Sì" });
    assert!(post(&meta, &format!("{asked}/comments"), said.clone()).await["id"].is_string());
    assert_eq!(codes(&post(&meta, &format!("{asked}/comments"), said.clone()).await), (506, 0));
    assert_eq!(codes(&post(&meta, "10_999/comments", said).await), (100, 33));
    let private = to(json!({ "comment_id": asked }), false);
    assert!(post(&meta, &messages, private.clone()).await["message_id"].is_string());
    assert_eq!(codes(&post(&meta, &messages, private).await), (10_900, 0));
    assert_eq!(meta.sent("bea"), ["ciao"]);
}

#[tokio::test]
async fn instagram_comes_newest_first_with_what_answers_it() {
    let meta = Meta::start("t", "s").await.unwrap();
    let medium = meta.medium("foto");
    let first = meta.comment("anna", &medium, "prima");
    meta.comment("bea", &medium, "seconda");
    meta.comment("ivo", &first, "risposta");
    let page = get(&meta, &format!("{medium}/comments?fields=id,text,replies%7Bid,text%7D")).await;
    assert_eq!((&page["data"][0]["text"], &page["data"][1]["replies"]["data"][0]["text"]), (&json!("seconda"), &json!("risposta")));
    let media = get(&meta, &format!("{ACCOUNT}/media?fields=comments_count")).await;
    assert_eq!(media["data"][0]["comments_count"], 3);
    let elsewhere = meta.tag("anna", "guardate acme");
    let named = meta.comment("anna", &elsewhere, "@acme");
    let told = get(&meta, &format!("{ACCOUNT}?fields=mentioned_comment.comment_id({named})%7Bid,text,media%7D")).await;
    assert_eq!((&told["mentioned_comment"]["text"], &told["mentioned_comment"]["media"]["id"]), (&json!("@acme"), &json!(elsewhere)));
    assert_eq!(get(&meta, &format!("{ACCOUNT}/tags?fields=id")).await["data"][0]["id"], json!(elsewhere));
}

#[tokio::test]
async fn deliveries_are_signed_batches_in_both_shapes() {
    let meta = Meta::start("t", "s").await.unwrap();
    let say = || {
        let (under, medium) = (meta.post("anna", "ciao"), meta.medium("foto"));
        for n in 0..3 {
            meta.comment("bea", &under, &format!("{n}"));
            meta.comment("bea", &medium, &format!("{n}"));
        }
        meta.message(Side::Instagram, "ivo", "salve");
    };
    say();
    let nested: Vec<Value> = meta.deliveries(Shape::Nested).iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert_eq!((nested[0]["object"].as_str(), nested[1]["object"].as_str()), (Some("page"), Some("instagram")));
    assert_eq!(nested[0]["entry"].as_array().unwrap().iter().map(|entry| entry["changes"].as_array().unwrap().len()).collect::<Vec<_>>(), [2, 2]);
    assert!(nested[1]["entry"][2]["time"].as_u64() > Some(1_000_000_000_000) && nested[1]["entry"][0]["time"].as_u64() < Some(10_000_000_000));
    say();
    let flat: Value = serde_json::from_str(&meta.deliveries(Shape::Flat)[1]).unwrap();
    assert!(flat["entry"][0]["field"] == "comments" && flat["entry"][0].get("changes").is_none() && flat["entry"].as_array().unwrap().len() == 4);
    let other = Meta::start("x", "y").await.unwrap();
    say();
    meta.deliver(other.address(), "/hooks/page", Shape::Nested).await.unwrap();
    meta.handshake(other.address(), "/hooks/page", "v", "77").await.unwrap();
    let got = other.ledger().asked("POST /hooks/page");
    assert!(got.len() == 2 && got.iter().all(|asked| asked.header("x-hub-signature-256") == Some(sign_hex("s", asked.body.as_bytes()).as_str())));
    assert_eq!(other.ledger().asked("GET /hooks/page?hub.mode=subscribe&hub.verify_token=v&hub.challenge=77").len(), 1);
    assert_eq!(
        sign_hex("key", b"The quick brown fox jumps over the lazy dog"),
        "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    );
}

#[tokio::test]
async fn it_takes_what_the_vendor_s_library_sends() {
    let meta = Meta::start("t", "s").await.unwrap();
    meta.message(Side::Messenger, "anna", "ciao");
    let body = format!("recipient=%7B%22id%22%3A%22{}%22%7D&message=%7B%22text%22%3A%22salve%22%7D&messaging_type=RESPONSE", meta.person("anna"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = call(meta.address(), "POST", &format!("/v26.0/{PAGE}/messages?access_token=t"), &form, body.as_bytes()).await.unwrap();
    assert!(answer.body.contains("message_id"), "{}", answer.body);
    let under = meta.post(US, "avviso");
    meta.comment("anna", &under, "uno");
    let page = get(&meta, &format!("{under}/comments?summary=true")).await;
    assert_eq!(page["summary"]["total_count"], 1);
    meta.next("GET ", Next::status(500));
    assert_eq!(call(meta.address(), "GET", "/v26.0/me", &[AUTH], b"").await.unwrap().status, 500);
}
