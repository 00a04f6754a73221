//! What forums do in their feeds that blogs do not: ids that are links and move with the board, a paragraph of statistics that
//! changes at every look, and writers in strange dress. Seen at phpBB, MyBB, SMF, vBulletin, XenForo, PunBB and FluxBB.

use url::Url;

use crate::document::{Document, Item};
use membrana_markup::plain;

/// What forums call themselves.
const GENERATORS: [&str; 8] = ["phpbb", "mybb", "simple machines", "smf", "vbulletin", "xenforo", "fluxbb", "punbb"];
/// Where their feeds lie.
const FEEDS: [&str; 6] = ["/app.php/feed", "/syndication.php", "/external.php?type=", "/extern.php?action=feed", "action=.xml", "/-/index.rss"];
/// And how their links look.
const LINKS: [&str; 4] = ["/viewtopic.php", "/showthread.php", "/index.php?topic=", "/threads/"];
/// Of a query: whose visit it is, not what is visited.
const SESSIONS: [&str; 4] = ["sid", "s", "PHPSESSID", "hash"];

/// Is this the feed of a forum? One odd link must not change what its ids are, so that all links must look like it.
pub(crate) fn is_forum(url: &str, document: &Document) -> bool {
    let generator = document.generator.as_deref().unwrap_or_default().to_lowercase();
    let mut links = document.items.iter().filter_map(|item| item.link.as_deref()).peekable();
    let has_links = links.peek().is_some();
    FEEDS.iter().any(|mark| url.contains(mark))
        || GENERATORS.iter().any(|name| generator.contains(name))
        || has_links && links.all(|link| LINKS.iter().any(|mark| link.contains(mark)))
}

/// What stays of a link when the board moves to `https` or to another host, and whoever visits it.
pub(crate) fn lasting(link: &Url) -> String {
    let kept = link.query_pairs().filter(|(name, _)| !SESSIONS.contains(&name.as_ref()));
    let query: Vec<String> = kept.map(|(name, value)| format!("{name}={value}")).collect();
    let part = |mark: &str, text: &str| if text.is_empty() { String::new() } else { format!("{mark}{text}") };
    format!("{}{}{}", link.path(), part("?", &query.join("&")), part("#", link.fragment().unwrap_or_default()))
}

/// What a reader sees of an item, without the paragraph in which phpBB counts its views: the last, before a line.
pub(crate) fn text(item: &Item) -> String {
    let body = item.body.text.trim_end();
    let above = ["<hr />", "<hr/>", "<hr>"].iter().find_map(|line| body.strip_suffix(line)).map(str::trim_end).filter(|_| item.body.is_html);
    let last = above.filter(|above| above.ends_with("</p>")).and_then(|above| above.get(..above.rfind("<p>")?));
    last.map_or_else(|| item.text(), plain)
}

/// Addresses that stand where none is to be told.
pub(crate) fn is_no_address(email: &str) -> bool {
    let (name, host) = email.split_once('@').unwrap_or((email, ""));
    let is_nobody = ["invalid", "noreply", "no-reply", "nobody"].iter().any(|nobody| name.eq_ignore_ascii_case(nobody));
    is_nobody || host == "example" || ["example.com", "example.org", "example.net"].contains(&host) || host.ends_with(".invalid")
}

/// MyBB writes a name as a link to its profile.
pub(crate) fn name(name: &str) -> String {
    if name.contains("</") { plain(name).replace('\n', " ") } else { name.trim().to_owned() }
}
