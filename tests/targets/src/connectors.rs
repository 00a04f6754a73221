//! What networks answer and send: the same bytes as a webhook, as a stream's frame, and as the answer to whatever is asked.

use std::cell::Cell;
use std::rc::Rc;

use membrana_discourse::Discourse;
use membrana_facebook::Facebook;
use membrana_feed::Feed;
use membrana_instagram::Instagram;
use membrana_mastodon::Mastodon;
use membrana_misago::Misago;
use membrana_sdk::connector::{Origin, Raw, RequestHead};
use membrana_sdk::http::Response;
use membrana_sdk::{Connector, Fault, testing};
use membrana_touchpoint::Touchpoint;
use membrana_x::X;

use crate::well_formed;

/// Requests of one call, whatever is answered: more than any connector needs, and far fewer than would hold a lane.
const REQUESTS_MAX: u32 = 256;
/// Pages read one after the other.
const PAGES_MAX: usize = 3;
const NOW: u64 = 1_795_521_600_000;

const X_SECTION: &str = r#"{"base_url":"https://api.x.test","query":"acme","first_fetch":"import"}"#;
const FACEBOOK_SECTION: &str = r#"{"page":"7","base_url":"https://graph.test","first_fetch":"import"}"#;
const INSTAGRAM_SECTION: &str = r#"{"account":"17841405309211844","page":"7","base_url":"https://graph.test","first_fetch":"import"}"#;
const DISCOURSE_SECTION: &str = r#"{"base_url":"https://forum.test","username":"Support","first_fetch":"import"}"#;
const MASTODON_SECTION: &str = r#"{"base_url":"https://social.test"}"#;
const MISAGO_SECTION: &str = r#"{"base_url":"https://forum.test","username":"support"}"#;
const FEED_SECTION: &str = r#"{"urls":["https://blog.test/feed"],"first_fetch":"import"}"#;
const TOUCHPOINT_SECTION: &str = r#"{"kind":"checkin","id":"/id","items":"/items","text":"/note","subject":"/title","author_id":"/by/id",
    "author_name":"/by/name","author_email":"/by/mail","author_phone":"/by/tel","conversation_id":"/thread","place_name":"/shop","place_lat":"/lat",
    "place_lon":"/lon","campaign":"/campaign","occurred_at":"/at","edited_at":"/edited","url":"/url","language":"/language","attrs":{"total":"/total"}}"#;

pub(crate) fn x(data: &[u8]) {
    network::<X>(X_SECTION, data);
}

pub(crate) fn meta(data: &[u8]) {
    network::<Facebook>(FACEBOOK_SECTION, data);
    network::<Instagram>(INSTAGRAM_SECTION, data);
}

pub(crate) fn discourse(data: &[u8]) {
    network::<Discourse>(DISCOURSE_SECTION, data);
}

pub(crate) fn mastodon(data: &[u8]) {
    network::<Mastodon>(MASTODON_SECTION, data);
}

pub(crate) fn misago(data: &[u8]) {
    network::<Misago>(MISAGO_SECTION, data);
}

pub(crate) fn touchpoint(data: &[u8]) {
    network::<Touchpoint>(TOUCHPOINT_SECTION, data);
}

/// A stored cursor that another build wrote, or nobody: it may be refused, and what is given for it can be given back.
pub(crate) fn cursor(data: &[u8]) {
    let Ok(cursor) = std::str::from_utf8(data) else { return };
    for (section, poll) in [
        (X_SECTION, poll::<X> as fn(&str, &[u8], Option<String>)),
        (FACEBOOK_SECTION, poll::<Facebook>),
        (INSTAGRAM_SECTION, poll::<Instagram>),
        (DISCOURSE_SECTION, poll::<Discourse>),
        (MASTODON_SECTION, poll::<Mastodon>),
        (MISAGO_SECTION, poll::<Misago>),
        (FEED_SECTION, poll::<Feed>),
    ] {
        poll(section, b"{}", Some(cursor.to_owned()));
        poll(section, b"[]", Some(cursor.to_owned()));
    }
}

fn network<C: Connector>(section: &str, data: &[u8]) {
    let head = RequestHead { method: "POST".to_owned(), path_with_query: String::new(), headers: events() };
    for origin in [Origin::Webhook(head), Origin::Frame] {
        let heard = || {
            install(section, data);
            C::receive(Raw { origin: origin.clone(), body: data.to_vec(), received: NOW })
        };
        let first = heard();
        match &first {
            Ok(changes) => well_formed::changes(changes),
            Err(fault) => well_formed::fault(fault),
        }
        assert_eq!(format!("{first:?}"), format!("{:?}", heard()), "the same bytes are understood in the same way");
    }
    poll::<C>(section, data, None);
}

/// What Discourse says the body is.
fn events() -> Vec<(String, String)> {
    vec![("x-discourse-event-type".to_owned(), "post".to_owned()), ("x-discourse-event".to_owned(), "post_created".to_owned())]
}

fn poll<C: Connector>(section: &str, data: &[u8], cursor: Option<String>) {
    let n_asked = install(section, data);
    let mut cursor = cursor;
    for n in 0..PAGES_MAX {
        n_asked.set(0);
        match C::poll(cursor.take(), 64, 1 << 20) {
            Ok(page) => {
                well_formed::page(&page);
                cursor = Some(page.cursor);
            }
            Err(fault) => {
                well_formed::fault(&fault);
                let is_own_cursor = n > 0 && matches!(&fault, Fault::Permanent(detail) if detail.code.ends_with(".bad-cursor"));
                assert!(!is_own_cursor, "its own cursor is refused: {fault:?}");
                return;
            }
        }
    }
}

/// Without an answer to these no connector goes on.
const WHO_WE_ARE: [(&str, &str); 2] =
    [("/2/users/me", r#"{"data":{"id":"1","username":"acme"}}"#), ("/verify_credentials", r#"{"id":"1","acct":"acme"}"#)];

/// A network that gives these bytes to whatever else it is asked. Gives the count of what it was asked.
fn install(section: &str, data: &[u8]) -> Rc<Cell<u32>> {
    let (n_asked, body) = (Rc::new(Cell::new(0)), data.to_vec());
    let counted = Rc::clone(&n_asked);
    let mut host = testing::Host::with_config(section).on_http(move |request| {
        counted.set(counted.get() + 1);
        assert!(counted.get() <= REQUESTS_MAX, "over {REQUESTS_MAX} requests in one call");
        let known = WHO_WE_ARE.iter().find(|(path, _)| request.url.contains(path)).map(|(_, answer)| answer.as_bytes().to_vec());
        Ok(Response { status: 200, headers: Vec::new(), body: known.unwrap_or_else(|| body.clone()) })
    });
    host.now = NOW;
    host.install();
    n_asked
}
