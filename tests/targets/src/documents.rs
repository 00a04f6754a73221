//! Documents that somebody else wrote: mails, feeds, and the table of a rule.

use membrana_feed::Feed;
use membrana_impact_table::ImpactTable;
use membrana_mail::Mail;
use membrana_sdk::connector::{Change, Origin, Page, Raw};
use membrana_sdk::http::Response;
use membrana_sdk::rule::{Event, Exchange, Interaction};
use membrana_sdk::{Annotation, Connector as _, Media as _, NativeId, Rule as _, Severity, Surroundings, Value, testing};
use serde_json::json;

use crate::well_formed;

const MAIL_SECTION: &str = r#"{"imap":"127.0.0.1:143","smtp":"127.0.0.1:587","user":"support","from":"Acme <support@acme.test>"}"#;
const FEED_SECTION: &str = r#"{"urls":["https://blog.test/feed"],"first_fetch":"import"}"#;
/// Pages that one document may take: it has at most a thousand items.
const PAGES_MAX: usize = 32;
const RECEIVED: u64 = 1_795_521_600_000;

/// Whatever a mail holds, it is somebody's mail and arrives, once and first.
pub(crate) fn mail(data: &[u8]) {
    let native = NativeId { scope: "INBOX;1".to_owned(), id: "7".to_owned() };
    let heard = || {
        testing::Host::with_config(MAIL_SECTION).install();
        Mail::receive(Raw { origin: Origin::Item(native.clone()), body: data.to_vec(), received: RECEIVED })
    };
    let changes = heard().expect("a mail arrives");
    well_formed::changes(&changes);
    let [Change::Upsert(first), rest @ ..] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(first.native.id == native.id && rest.iter().all(|change| matches!(change, Change::Note(_))), "{changes:?}");
    assert!(first.attrs.iter().all(|(key, value)| !key.is_empty() && !value.contains(['\r', '\n'])), "{:?}", first.attrs);
    assert_eq!(format!("{changes:?}"), format!("{:?}", heard().expect("a mail arrives")), "the same bytes are the same mail");
    // Without a connection nothing is fetched, whatever is asked for.
    if let Ok(media_ref) = std::str::from_utf8(data) {
        assert!(Mail::fetch(media_ref, 1).is_err());
    }
}

/// What a feed told once it does not tell again, for as long as it is the same.
pub(crate) fn feed(data: &[u8]) {
    let body = data.to_vec();
    let mut host = testing::Host::with_config(FEED_SECTION).on_http(move |_| Ok(Response { status: 200, headers: Vec::new(), body: body.clone() }));
    host.now = RECEIVED;
    host.install();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let Some(page) = polled(cursor) else { return };
        cursor = Some(page.cursor);
        if !page.more {
            let again = polled(cursor).expect("what was read can be read again");
            assert!(again.changes.is_empty(), "told again: {:?}", again.changes);
            return;
        }
    }
    panic!("{PAGES_MAX} pages of one document, and more");
}

fn polled(cursor: Option<String>) -> Option<Page> {
    match Feed::poll(cursor, 64, 1 << 20) {
        Ok(page) => {
            well_formed::page(&page);
            Some(page)
        }
        Err(fault) => {
            well_formed::fault(&fault);
            None
        }
    }
}

/// A table without an error decides on everything, and each mistake has its place in the text.
pub(crate) fn table(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let section = json!({ "table": text }).to_string();
    let findings = ImpactTable::validate(&section, &around());
    let n_lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
    for finding in &findings {
        assert!(finding.line <= n_lines && !finding.message.is_empty(), "{finding:?}");
        assert!(finding.line == 0 || finding.column > 0 || finding.severity != Severity::Error, "{finding:?}");
    }
    let is_refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    testing::Host::with_config(section).install();
    let events: Vec<Event> = [("complaint", -0.9), ("thanks", 0.8), ("", 0.0)].into_iter().map(|(intent, mood)| event(intent, mood)).collect();
    match ImpactTable::decide(&events) {
        Ok(decisions) => {
            assert_eq!(decisions.len(), events.len());
            for decision in decisions {
                assert!((is_refused || decision.row.is_some()) && decision.actions.len() <= 16 && !decision.reasons.is_empty(), "{decision:?}");
                assert!(decision.actions.iter().all(|action| serde_json::from_str::<serde_json::Value>(&action.body).is_ok()), "{decision:?}");
            }
        }
        Err(fault) => {
            well_formed::fault(&fault);
            assert!(is_refused, "`check` finds nothing wrong: {fault:?}");
        }
    }
}

fn around() -> Surroundings {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Surroundings {
        teams: list(&["support", "support-lead", "logistics", "legal"]),
        channels: list(&["acme-x"]),
        analyzers: list(&["language", "intent", "sentiment"]),
        calendars: Vec::new(),
    }
}

fn event(intent: &str, mood: f64) -> Event {
    let said = |key: &str, value| Annotation { key: key.to_owned(), value, confidence: None };
    Event {
        kind: "interaction.arrived".to_owned(),
        at: RECEIVED,
        interaction: Some(Interaction {
            id: "1".to_owned(),
            channel: "acme-x".to_owned(),
            kind: "mention".to_owned(),
            visibility: "public".to_owned(),
            subject: None,
            text: "…".to_owned(),
            language: None,
            automated: "no".to_owned(),
            identity: String::new(),
            author_name: Some("An\nna".to_owned()),
            author_handle: Some("@anna".to_owned()),
            author_metrics: Vec::new(),
            side: None,
            campaign: None,
            place: None,
            occurred: RECEIVED,
            received: RECEIVED,
            backfill: false,
            attrs: Vec::new(),
            annotations: vec![said("intent", Value::Text(intent.to_owned())), said("sentiment", Value::Number(mood))],
            missing: Vec::new(),
        }),
        done: Vec::new(),
        capabilities: "{}".to_owned(),
        exchange: Some(Exchange { version: 1, automatic_replies_last_hour: 0 }),
        conversation: None,
        person: None,
        body: "{}".to_owned(),
    }
}
