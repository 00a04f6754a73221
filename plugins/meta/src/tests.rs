//! What both connectors rest on.

use membrana_sdk::connector::Change;
use membrana_sdk::http::Response;
use membrana_sdk::testing;
use membrana_sdk::text::cut;
use serde_json::{Value as Json, json};

use crate::graph::{Graph, listed, usage};
use crate::hooks::{What, events};
use crate::latest::Latest;
use crate::read::{id, in_ms, moment};
use crate::remembered::{Bounds, keep};
use crate::walk::Walk;

#[test]
fn dates_without_a_colon_are_dates() {
    for (value, expected) in [
        (json!("2026-11-24T10:00:00+0000"), Some(1_795_514_400_000)),
        (json!("2026-11-24T11:00:00+0100"), Some(1_795_514_400_000)),
        (json!("2026-11-24T10:00:00Z"), Some(1_795_514_400_000)),
        (json!("2026-11-24T10:00:00+00:00"), Some(1_795_514_400_000)),
        (json!(1_795_514_400), Some(1_795_514_400_000)),
        (json!(1_795_514_400_123_u64), Some(1_795_514_400_123)),
        (json!("1795514400"), Some(1_795_514_400_000)),
        (json!("yesterday"), None),
        (json!(null), None),
        (json!(-5), None),
    ] {
        assert_eq!(moment(&json!({ "t": value }), "t"), expected, "{value}");
    }
    assert_eq!((in_ms(1_700_000_000), in_ms(1_700_000_000_123)), (1_700_000_000_000, 1_700_000_000_123));
}

#[test]
fn ids_are_never_floats_and_cuts_never_split_a_character() {
    let json: Json = serde_json::from_str(r#"{"a":18446744073709551615,"b":"9007199254740993","c":1.5e30,"d":true,"e":""}"#).unwrap();
    assert_eq!(id(&json, "a").as_deref(), Some("18446744073709551615"));
    assert_eq!(id(&json, "b").as_deref(), Some("9007199254740993"));
    assert!(["c", "d", "e", "f"].iter().all(|key| id(&json, key).is_none()));
    assert_eq!((cut("aè", 2), cut("aè", 3), cut("", 5)), ("a", "aè", ""));
}

#[test]
fn a_delivery_is_taken_apart_whatever_its_shape() {
    let body = json!([
        { "object": "page", "entry": [
            { "id": "7", "time": 1_700_000_000, "changes": [{ "field": "feed", "value": 1 }, { "field": "mention", "value": 2 }] },
            { "id": "7", "time": 1_700_000_000_123_u64, "messaging": [{ "a": 1 }], "standby": [{ "b": 2 }] },
        ] },
        { "object": "instagram", "entry": [{ "id": 8, "time": 1_700_000_001, "field": "comments", "value": { "id": "1" } }] },
    ]);
    let told = events(&body, 5);
    let shapes: Vec<(&str, &str, u64)> = told.iter().map(|event| (event.object.as_str(), event.owner.as_str(), event.at)).collect();
    assert_eq!(shapes.len(), 5);
    assert_eq!(
        (shapes[0], shapes[2], shapes[4]),
        (("page", "7", 1_700_000_000_000), ("page", "7", 1_700_000_000_123), ("instagram", "8", 1_700_000_001_000))
    );
    assert!(matches!(&told[1].what, What::Field(field, value) if field == "mention" && **value == 2));
    assert!(matches!(&told[4].what, What::Field(field, _) if field == "comments"));
    assert!(matches!(told[3].what, What::Messaging(_)));
}

#[test]
fn of_a_next_address_only_the_place_is_kept() {
    let at = |next: &str| listed(&json!({ "data": [], "paging": { "cursors": { "after": "MTA" }, "next": next } })).map(|page| page.next);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        at("https://g.test/v1/7/feed?access_token=secret&until=5&__paging_token=x%3D&limit=9").unwrap(),
        Some(vec![pair("until", "5"), pair("__paging_token", "x=")])
    );
    assert_eq!(at("nonsense").unwrap(), Some(vec![pair("after", "MTA")]));
    assert_eq!(at("https://elsewhere.test/?since=1").unwrap(), Some(vec![pair("since", "1"), pair("after", "MTA")]));
    assert!(
        listed(&json!({ "data": [1], "paging": { "cursors": { "after": "MTA" } } })).unwrap().next.is_none(),
        "a cursor without `next` is the end"
    );
}

#[test]
fn the_tightest_usage_counts() {
    let answer = |headers: &[(&str, &str)]| Response {
        status: 200,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: Vec::new(),
    };
    let told = usage(&answer(&[
        ("x-app-usage", r#"{"call_count":28,"total_time":25,"total_cputime":25}"#),
        (
            "x-business-use-case-usage",
            r#"{"7":[{"type":"pages","call_count":40,"total_cputime":95,"total_time":20,"estimated_time_to_regain_access":19}]}"#,
        ),
    ]))
    .unwrap();
    assert!((told.allowance.left - 0.05).abs() < 1e-9 && told.allowance.resets_in_ms == 1_140_000 && told.minutes == 19, "{:?}", told.allowance);
    let calm = usage(&answer(&[("x-app-usage", r#"{"call_count":28,"total_time":3,"total_cputime":1}"#)])).unwrap();
    assert!((calm.allowance.left - 0.72).abs() < 1e-9 && calm.minutes == 0);
    for rubbish in ["", "[]", "{}", r#"{"call_count":"many"}"#, "7"] {
        assert!(usage(&answer(&[("x-app-usage", rubbish), ("x-business-use-case-usage", rubbish)])).is_none(), "{rubbish}");
    }
}

#[test]
fn a_walk_ends_where_the_last_began_and_an_empty_page_ends_nothing() {
    let page = |times: &[u64], next: Option<&str>| {
        let paging = next.map_or(json!({}), |next| json!({ "next": format!("https://g.test/?after={next}") }));
        listed(&json!({ "data": times.iter().map(|t| json!({ "t": t })).collect::<Vec<_>>(), "paging": paging })).unwrap()
    };
    let mut walk = Walk::since(in_ms(100));
    let mut step = |times: &[u64], next: Option<&str>| {
        walk.step(&page(times, next), true, |item| moment(item, "t"));
        (walk.since / 1000, walk.next.is_some())
    };
    assert_eq!(step(&[300, 90], Some("a")), (100, true), "an old thing in front ends nothing");
    assert_eq!(step(&[], Some("b")), (100, true));
    assert_eq!(step(&[100, 99], Some("c")), (300, false));
    assert_eq!(step(&[400], None), (400, false));
}

#[test]
fn only_what_came_to_the_front_after_a_walk_had_begun_is_read_further_back() {
    // given two pages, whose answers take two seconds each
    let mut host = testing::Host::default().on_http(|request| {
        testing::with_host(|host| host.now += 2_000);
        let page = match request.url.contains("after=2") {
            true => r#"{"data":[{"t":300}]}"#,
            false => r#"{"data":[{"t":400}],"paging":{"next":"https://g.test/?after=2"}}"#,
        };
        Ok(Response { status: 200, headers: Vec::new(), body: page.into() })
    });
    host.now = 1_795_514_400_700;
    host.install();
    let graph = Graph::new("https://g.test", "v1").unwrap();

    // when
    let mut walk = Walk::since(in_ms(100));
    for _ in 0..2 {
        let page = walk.page(&graph, &["7", "conversations"], &[], &mut Vec::new()).unwrap().unwrap();
        walk.step(&page, true, |item| moment(item, "t"));
    }

    // then
    let back_to = |walk: &Walk, at| walk.back_to(at) / 1000;
    assert_eq!([None, Some(1_795_514_400_000), Some(1_795_514_399_999)].map(|at| back_to(&walk, at)), [100, 100, 400]);
    let before: Walk = serde_json::from_str(r#"{"since":400000,"newest":0,"last_since":100000}"#).unwrap();
    assert_eq!(back_to(&before, Some(1)), 100, "a cursor that does not tell when it began");
}

#[test]
fn what_was_heard_lately_survives_the_call_and_is_bounded() {
    testing::Host::default().install();
    let mut latest = Latest::read();
    for n in 0..1_000_u64 {
        latest.note(&format!("id {n}"), n, n % 2 == 0);
    }
    latest.keep();
    let read = Latest::read();
    assert!(!read.is_overtaken("id 1", 0), "the oldest are forgotten");
    assert!(read.is_overtaken("id 999", 998) && !read.is_overtaken("id 999", 999), "an edit does not overtake itself");
    assert!(read.is_overtaken("id 998", 998) && !read.is_overtaken("id 998", 999), "what is gone comes back with a later word alone");
}

#[test]
fn what_waits_to_be_read_and_is_forgotten_is_a_gap() {
    for (n_posts, n_lost, first) in [(5, 0, 0), (6, 1, 1), (30, 25, 25)] {
        testing::Host::default().install();
        let mut posts: Vec<u32> = (0..n_posts).collect();
        let gap = keep("posts", &mut posts, b"", &Bounds { newest_max: 3, older_max: 2 }, |_| true);
        assert_eq!((posts.len(), posts.first()), (5, Some(&first)));
        let told =
            gap.map(|gap| if let Change::Note((kind, body)) = gap { (kind, body.contains(&format!(r#""posts":{n_lost}"#))) } else { panic!() });
        assert_eq!(told, (n_lost > 0).then(|| ("gap".to_owned(), true)));
    }
    testing::Host::default().install();
    let mut read: Vec<u32> = (0..30).collect();
    let gap = keep("posts", &mut read, b"", &Bounds { newest_max: 3, older_max: 2 }, |_| false);
    assert!(gap.is_none() && read == [27, 28, 29]);
}
