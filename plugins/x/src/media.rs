//! Pictures and films of a post: those of v2 stand beside it by key, those of v1.1 inside it. One that X does not show is an
//! attachment without an address, never a reason to lose the post.

use membrana_sdk::Attachment;
use serde_json::Value as Json;

use crate::post::{Includes, attachment};
use crate::shapes::{NAME_BYTES_MAX, URL_BYTES_MAX, WORD_BYTES_MAX, list, text, whole};

/// The contract allows 64.
const MEDIA_MAX: usize = 16;
const UNKNOWN: &str = "application/octet-stream";

pub(crate) fn of_post(json: &Json, includes: &Includes<'_>) -> Vec<Attachment> {
    let keys = json.get("attachments").map(|attachments| list(attachments, "media_keys")).unwrap_or_default();
    let by_key = keys.iter().filter_map(Json::as_str).map(|key| includes.media(key).map_or_else(|| attachment(None, UNKNOWN, None), one));
    let long = json.get("extended_tweet").unwrap_or(json);
    let inside = [long, json].into_iter().filter_map(|of| of.get("extended_entities")).map(|entities| list(entities, "media")).next();
    by_key.chain(inside.unwrap_or_default().iter().map(one)).take(MEDIA_MAX).collect()
}

/// One medium in either generation.
pub(crate) fn one(media: &Json) -> Attachment {
    let name = text(media, "alt_text", NAME_BYTES_MAX).or_else(|| text(media, "ext_alt_text", NAME_BYTES_MAX));
    let variants = media.get("video_info").unwrap_or(media);
    if let Some((media_type, url)) = best(list(variants, "variants")) {
        return attachment(name, media_type, Some(url));
    }
    let picture = ["url", "media_url_https", "preview_image_url"];
    // `url` of v1.1 is a short link to the post.
    let keys = if media.get("media_url_https").is_some() { picture.get(1..).unwrap_or_default() } else { &picture[..] };
    let url = keys.iter().find_map(|key| whole(media, key, URL_BYTES_MAX));
    attachment(name, url.map_or(UNKNOWN, picture_type), url)
}

/// The film with the most bits a second, of those that are one file.
fn best(variants: &[Json]) -> Option<(&str, &str)> {
    let films = variants.iter().filter(|one| text(one, "content_type", WORD_BYTES_MAX).is_some_and(|kind| kind.starts_with("video/")));
    let rate = |one: &&Json| one.get("bit_rate").or_else(|| one.get("bitrate")).and_then(Json::as_u64).unwrap_or(0);
    let film = films.max_by_key(rate)?;
    Some((whole(film, "content_type", WORD_BYTES_MAX)?, whole(film, "url", URL_BYTES_MAX)?))
}

fn picture_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let format = url.split_once("format=").map(|(_, rest)| rest.split('&').next().unwrap_or_default()).unwrap_or_default();
    match path.rsplit('.').next().unwrap_or_default() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ if format == "jpg" => "image/jpeg",
        _ if format == "png" => "image/png",
        _ => UNKNOWN,
    }
}
