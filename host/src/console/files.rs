//! Bytes as they came, for whoever may call the API: of an attachment, of what became a dead letter. They come from strangers: nothing that
//! a browser would run is called by its name, and all of it is to be saved rather than shown.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use crate::egress::percent_encoded;
use crate::model::{DeadSubject, MediaOutcome, MediaState, RawOrigin};

use super::read::{find_dead, find_interaction, find_raw};
use super::{Desk, Refusal};

/// What may be called by its name; the rest is `application/octet-stream`.
const SAFE_TYPES: [&str; 12] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "audio/mpeg",
    "audio/ogg",
    "audio/mp4",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "application/pdf",
    "text/plain",
];
const ANY_TYPE: &str = "application/octet-stream";

/// `/api/v1/interactions/{id}/attachments/{n}`.
pub(super) async fn attachment(State(desk): State<Arc<Desk>>, Path((id, n)): Path<(String, String)>) -> Result<Response, Refusal> {
    let (channel, found) = find_interaction(&desk, &id).await?;
    let attachments = found.entry.new.body.content().map(|content| content.attachments.as_slice()).unwrap_or_default();
    let index: Option<u16> = n.parse().ok();
    let Some((index, attachment)) = index.and_then(|index| Some((index, attachments.get(usize::from(index))?))) else {
        let cure = format!("it has {}, counted from 0; `membrana interaction show {id}` lists them", attachments.len());
        return Err(Refusal::not_found(format!("interaction `{id}` has no attachment `{n}`"), cure));
    };
    let missing = |why: &str, cure: &str| Err(Refusal::not_found(format!("attachment {index} of `{id}` is not here: {why}"), cure));
    match found.media.get(usize::from(index)).and_then(Option::as_ref) {
        Some(MediaState::Settled(MediaOutcome::Stored { .. })) => {}
        Some(MediaState::Settled(MediaOutcome::Failed(reason))) => return missing(reason, "its message is whole without it"),
        Some(MediaState::Pending) => return missing("it waits to be fetched", "ask again in a moment"),
        None => {
            return missing(
                "nobody asked for it, or it is kept no longer",
                "`media` in the channel's section keeps files of what comes from then on",
            );
        }
    }
    let Some(body) = desk.journal.store.media_body(&channel, found.id, index).await? else {
        return missing("it was dropped just now", "ask again in a moment");
    };
    Ok(saved(content_type(&attachment.media_type), attachment.name.as_deref(), body))
}

/// `/api/v1/dead/{id}/raw`: what is kept of what a dead letter is about, as it was received.
pub(super) async fn raw(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let letter = find_dead(&desk, &id).await?;
    let DeadSubject::Raw(place) = letter.subject else {
        let message = format!("dead letter `{id}` is about nothing that was received: it is of stage `{}`", letter.stage);
        return Err(Refusal::not_found(message, format!("`membrana dead show {id}` tells what it is about")));
    };
    let raw = find_raw(&desk, &letter, place).await?;
    if let RawOrigin::Lost { reason } = raw.origin {
        return Err(Refusal::not_found(reason, "`membrana verify` names all that is lost"));
    }
    Ok(saved(ANY_TYPE, None, raw.body))
}

fn saved(content_type: &str, name: Option<&str>, body: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, disposition(name)),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
    ];
    (headers, body).into_response()
}

fn content_type(declared: &str) -> &'static str {
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    SAFE_TYPES.into_iter().find(|known| *known == essence).unwrap_or(ANY_TYPE)
}

/// Without the folders of whoever named it. Source: RFC 6266, RFC 8187.
fn disposition(name: Option<&str>) -> String {
    let file = name.and_then(|name| name.rsplit(['/', '\\']).next()).filter(|file| !file.is_empty() && *file != "." && *file != "..");
    let Some(file) = file else { return "attachment".to_owned() };
    format!("attachment; filename*=UTF-8''{}", percent_encoded(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_is_never_called_by_its_name() {
        assert_eq!(content_type("image/PNG; charset=x"), "image/png");
        for active in ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "", "image/png\r\nx: y", "*/*"] {
            assert_eq!(content_type(active), ANY_TYPE, "{active}");
        }
    }

    #[test]
    fn a_name_from_outside_leads_into_no_folder_and_ends_no_header() {
        assert_eq!(disposition(Some("offerta è.pdf")), "attachment; filename*=UTF-8''offerta%20%C3%A8.pdf");
        assert_eq!(disposition(Some("../../etc/passwd")), "attachment; filename*=UTF-8''passwd");
        assert_eq!(disposition(Some("C:\\x\\a\".exe\r\nset-cookie: a")), "attachment; filename*=UTF-8''a%22.exe%0D%0Aset-cookie%3A%20a");
        for nothing in [None, Some(""), Some(".."), Some("a/")] {
            assert_eq!(disposition(nothing), "attachment");
        }
    }
}
