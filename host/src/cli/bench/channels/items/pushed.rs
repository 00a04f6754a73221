//! What is in the raw log before a connector meets it: webhooks and mails. Source: developers.facebook.com, RFC 5322, RFC 2046.

use serde_json::{Value as Json, json};

use crate::model::{NativeId, RawOrigin};

use super::{ACCOUNT, All, ITEMS, Item, PAGE, Sent};

/// Entries in one delivery of Meta's.
const ENTRIES: u32 = 10;
/// Comments under one post.
const COMMENTS: u32 = 50;

fn webhook(signed: (&str, &str), body: &Json) -> (RawOrigin, Vec<u8>) {
    let body = body.to_string().into_bytes();
    let length = body.len().to_string();
    let headers =
        [("accept", "*/*"), ("content-type", "application/json"), ("user-agent", "facebookexternalua"), ("content-length", &length), signed];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    (RawOrigin::Webhook { method: "POST".to_owned(), path_with_query: String::new(), headers }, body)
}

fn deliveries(all: All, object: &str, entry: impl Fn(Item) -> Json) -> Vec<(RawOrigin, Vec<u8>)> {
    let signed = ("x-hub-signature-256", "sha256=6f3fd7a1b7c8e9d0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708");
    let delivery = |from| webhook(signed, &json!({ "object": object, "entry": all.some(from, ENTRIES).map(&entry).collect::<Vec<_>>() }));
    (0..ITEMS).step_by(ENTRIES as usize).map(delivery).collect()
}

fn person(item: Item) -> String {
    (10_150_000_000_000_001 + u64::from(item.author)).to_string()
}

/// Seven comments, three messages.
pub(super) fn facebook(all: All) -> Sent {
    let entry = |item: Item| {
        let seconds = item.at.0 / 1000;
        if item.n % 10 >= 7 {
            let message = json!({ "mid": format!("m_AbCdEfGhIjKlMnOpQrStUvWxYz{}", item.n), "text": item.text });
            let event = json!({ "sender": { "id": person(item) }, "recipient": { "id": PAGE }, "timestamp": item.at.0, "message": message });
            return json!({ "id": PAGE, "time": item.at.0, "messaging": [event] });
        }
        let post = format!("{PAGE}_{}", item.n / COMMENTS);
        let comment = |n: u32| format!("{}_{}", item.n / COMMENTS, 1_000_000 + n);
        let value = json!({
            "item": "comment", "verb": "add", "post_id": post, "comment_id": comment(item.n), "parent_id": item.parent.map_or(post.clone(), comment),
            "created_time": seconds, "from": { "id": person(item), "name": item.name() }, "message": item.text,
            "post": { "status_type": "added_photos", "is_published": true, "updated_time": item.rfc3339(), "promotion_status": "inactive",
                "permalink_url": format!("https://www.facebook.com/acme/posts/{post}"), "id": post },
        });
        json!({ "id": PAGE, "time": seconds, "changes": [{ "field": "feed", "value": value }] })
    };
    Sent { raws: deliveries(all, "page", entry), ..Sent::default() }
}

pub(super) fn instagram(all: All) -> Sent {
    let id = |n: u32| (17_900_000_000_000_000 + u64::from(n)).to_string();
    let entry = |item: Item| {
        let mut value = json!({
            "id": id(item.n), "text": item.text, "from": { "id": person(item), "username": item.username() },
            "media": { "id": (18_000_000_000_000_000 + u64::from(item.n / COMMENTS)).to_string(), "media_product_type": "FEED" },
        });
        if let (Some(fields), Some(parent)) = (value.as_object_mut(), item.parent) {
            fields.insert("parent_id".to_owned(), id(parent).into());
        }
        json!({ "id": ACCOUNT, "time": item.at.0 / 1000, "changes": [{ "field": "comments", "value": value }] })
    };
    let me = super::bytes(&json!({ "id": ACCOUNT, "username": "acme" }));
    Sent { raws: deliveries(all, "instagram", entry), pages: [(format!("/v23.0/{ACCOUNT}#"), vec![me])].into() }
}

pub(super) fn touchpoint(all: All) -> Sent {
    let event = |item: Item| {
        json!({
            "type": "order.commented", "at": item.rfc3339(), "note": item.text, "order": { "id": format!("order-{}", item.n), "total": 12.5, "lines": 3 },
            "customer": { "id": item.author, "name": item.name(), "email": format!("{}@customers.example", item.username()) },
            "shop": { "id": 7, "name": "Via Roma", "city": "Como" },
        })
    };
    let raws = all.some(0, ITEMS).map(|item| webhook(("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="), &event(item)));
    Sent { raws: raws.collect(), ..Sent::default() }
}

pub(super) fn mail(all: All) -> Sent {
    let raw = |item: Item| {
        let native = NativeId { scope: "INBOX;1700000000".to_owned(), id: (item.n + 1).to_string() };
        (RawOrigin::Item { native, is_backfill: false }, letter(item).into_bytes())
    };
    Sent { raws: all.some(0, ITEMS).map(raw).collect(), ..Sent::default() }
}

/// As a webmailer writes it and a provider hands it over, with what it answers below it where it answers something.
fn letter(item: Item) -> String {
    let (n, at, user) = (item.n, item.written("%a, %d %b %Y %H:%M:%S +0000"), item.username());
    let hop = |from: &str| {
        format!(
            "Received: from {from} ({from} [192.0.2.{}])\r\n\tby mx.acme.example with ESMTPS id 4Q{n:08}\r\n\tfor <support@acme.example>; {at}\r\n",
            n % 250
        )
    };
    let head = format!(
        "Return-Path: <{user}@customers.example>\r\nDelivered-To: support@acme.example\r\n{}{}{}\
         Authentication-Results: mx.acme.example; dkim=pass header.d=customers.example; spf=pass smtp.mailfrom={user}@customers.example; dmarc=pass\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=customers.example; s=2026; t={};\r\n\th=from:to:subject:date:message-id; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;\r\n\
         \tb=iBFp+F7lKZ1e0U3h5M0nP0m1m4bZ8Qz8sQ1fZ0Yq1eXK7zJcG4P3v0mQ8s1h3tL5r7w9yBdDfFhHjJlL\r\n",
        hop("out.customers.example"),
        hop("relay.customers.example"),
        hop("web.customers.example"),
        item.at.0 / 1000
    );
    let answers = item.parent.map(|parent| {
        format!("In-Reply-To: <answer-{parent}@acme.example>\r\nReferences: <{parent}@customers.example> <answer-{parent}@acme.example>\r\n")
    });
    let (below, below_html) = match item.parent {
        Some(_) => (
            "\r\nOn Mon, 2 Mar 2026 at 08:00, Acme <support@acme.example> wrote:\r\n\r\n> Buongiorno,\r\n> stiamo verificando e le faremo sapere.\r\n",
            "<br><div class=3D\"gmail_quote\"><div dir=3D\"ltr\" class=3D\"gmail_attr\">On Mon, 2 Mar 2026 at 08:00, Acme wrote:<br></div><blockquote class=3D\"gmail_quote\">Buongiorno,<br>stiamo verificando e le faremo sapere.</blockquote></div>",
        ),
        None => ("", ""),
    };
    let text = quoted_printable(item.text);
    format!(
        "{head}From: {} <{user}@customers.example>\r\nTo: Acme <support@acme.example>\r\nSubject: =?utf-8?Q?Perch=C3=A9_il_pacco_{n}_non_arriva=3F?=\r\n\
         Date: {at}\r\nMessage-ID: <{n}@customers.example>\r\n{}MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"0000000000006a1b2c3d\"\r\n\r\n\
         --0000000000006a1b2c3d\r\nContent-Type: text/plain; charset=\"UTF-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{text}\r\n{below}\r\n\
         --0000000000006a1b2c3d\r\nContent-Type: text/html; charset=\"UTF-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         <div dir=3D\"ltr\">{text}</div>{below_html}\r\n\r\n--0000000000006a1b2c3d--\r\n",
        item.name(),
        answers.unwrap_or_default()
    )
}

/// Soft line ends each 72 bytes or so. Source: RFC 2045 §6.7.
fn quoted_printable(text: &str) -> String {
    let (mut all, mut n_line) = (String::with_capacity(text.len() * 2), 0);
    for byte in text.bytes() {
        let coded = if byte.is_ascii() && byte != b'=' { char::from(byte).to_string() } else { format!("={byte:02X}") };
        if n_line + coded.len() > 72 {
            all.push_str("=\r\n");
            n_line = 0;
        }
        n_line += coded.len();
        all.push_str(&coded);
    }
    all
}
