//! An item of a feed as an interaction. Every text is cut to what the contract allows, so that one item never breaks a page.

use membrana_sdk::text::cut;
use std::collections::BTreeSet;

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::{Attachment, NativeId, Place};
use url::Url;

use crate::dates::moment;
use crate::document::{Document, File, Item, Writer};
use crate::forum;
use crate::memory::{CommentFeed, hash};

/// Units: bytes.
const ID_MAX: usize = 1000;
const WORDS_MAX: usize = 500;
const URL_MAX: usize = 2000;

/// Where an item was found.
pub(crate) struct Source<'a> {
    pub(crate) url: &'a str,
    pub(crate) document: &'a Document,
    /// The feed holds comments.
    pub(crate) comments: Option<&'a CommentFeed>,
    pub(crate) is_ours: bool,
    /// Links that say nothing of which item is meant: the site's own, and what several items share.
    shared_links: BTreeSet<&'a str>,
    is_forum: bool,
    /// Hosts of the feed and of the blog.
    host: Option<String>,
    blog_host: Option<String>,
}

/// What an item is known by, and what it says.
pub(crate) struct Mark {
    pub(crate) native: NativeId,
    pub(crate) id: u64,
    pub(crate) content: u32,
    /// What a reader sees, for it is worked out once.
    pub(crate) text: String,
}

impl<'a> Source<'a> {
    pub(crate) fn new(url: &'a str, document: &'a Document, comments: Option<&'a CommentFeed>, is_ours: bool) -> Self {
        let (mut links, mut shared_links) = (BTreeSet::new(), BTreeSet::new());
        for link in document.items.iter().filter_map(|item| item.link.as_deref()) {
            if !links.insert(link) {
                shared_links.insert(link);
            }
        }
        shared_links.extend(document.link.as_deref());
        let (is_forum, host) = (forum::is_forum(url, document), host_of(url));
        let mut source = Self { url, document, comments, is_ours, shared_links, is_forum, host, blog_host: None };
        source.blog_host = host_of(source.blog());
        source
    }

    /// The feed of the posts; ids of posts and of comments are told apart by it.
    fn blog(&self) -> &str {
        self.comments.map(|feed| feed.blog.as_str()).filter(|blog| !blog.is_empty()).unwrap_or(self.url)
    }

    /// The link, where it stands for this item and no other.
    fn own_link<'i>(&self, item: &'i Item) -> Option<&'i String> {
        let link = item.link.as_ref().filter(|link| !item.is_link_foreign && !link.trim().is_empty())?;
        (!self.shared_links.contains(link.as_str())).then_some(link)
    }

    pub(crate) fn mark(&self, item: &Item) -> Mark {
        let title = item.title.as_deref().unwrap_or_default();
        let text = if self.is_forum { forum::text(item) } else { item.text() };
        let author = item.author.name.as_deref().unwrap_or_default();
        let published = item.published.as_deref().unwrap_or_default();
        // An edited text should stay the same item where anything else names it.
        let said = if title.is_empty() && published.is_empty() { text.as_str() } else { "" };
        let whole = || format!("{:016x}", hash(&format!("{title}\0{author}\0{published}\0{said}")));
        let id = item.id.as_ref().filter(|id| !id.trim().is_empty()).or_else(|| self.own_link(item)).cloned().unwrap_or_else(whole);
        let content = hash(&format!("{title}\0{text}"));
        let lasting = self.lasting(&id);
        let native = lasting.clone().unwrap_or_else(|| self.native(&id, self.comments.is_some()));
        let id = lasting.map_or(id, |native| native.id);
        Mark { native, id: hash(&id), content: u32::try_from(content >> 32).unwrap_or(0), text }
    }

    /// A forum's links are its ids, and must stay the same when the board moves: they count from the host that the admin wrote.
    fn lasting(&self, id: &str) -> Option<NativeId> {
        if !self.is_forum {
            return None;
        }
        let now = self.document.link.as_deref().and_then(host_of);
        let link = Url::parse(id).ok().filter(|_| is_on_site(id, self.blog_host.as_deref()) || is_on_site(id, now.as_deref()))?;
        let scope = bare(self.blog_host.as_deref()?).to_owned();
        let id = forum::lasting(&link);
        (id.len() <= ID_MAX).then_some(NativeId { scope, id })
    }

    /// An address on the blog's own host has no scope, so that all feeds of a site mean the same by it; any other id is
    /// whatever the feed's author wrote, and counts in that blog alone. There a post and a comment may both be `1`.
    fn native(&self, id: &str, is_comment: bool) -> NativeId {
        let scope = match (is_on_site(id, self.blog_host.as_deref()), id.contains(':') || !is_comment) {
            (true, _) => String::new(),
            (false, true) => self.blog().to_owned(),
            (false, false) => format!("{}#comments", self.blog()),
        };
        let id = if id.len() > ID_MAX { format!("{}#{:016x}", cut(id, ID_MAX - 20), hash(id)) } else { id.to_owned() };
        NativeId { scope, id }
    }

    pub(crate) fn interaction(&self, item: &Item, mark: &Mark) -> Interaction {
        let native = mark.native.clone();
        let is_comment = self.comments.is_some();
        let published = item.published.as_deref().and_then(moment);
        let updated = item.updated.as_deref().and_then(moment);
        let occurred = published.or(updated).unwrap_or_else(membrana_sdk::clock::now);
        let ancestors = self.ancestors(item);
        let link = item.link.as_ref().filter(|link| is_web(link) && link.len() <= URL_MAX);
        // What comments may answer; a comment's own link may be its bare post, and another site's article is not this post.
        let page = self.own_link(item).filter(|link| !is_comment && link.len() <= URL_MAX && is_on_site(link, self.host.as_deref()));
        Interaction {
            aka: page.map(|page| self.native(page, false)).filter(|aka| *aka != native).into_iter().collect(),
            native,
            kind: if is_comment { "comment" } else { "post" }.to_owned(),
            visibility: "public".to_owned(),
            author: author(self.blog_host.as_deref().unwrap_or_default(), &item.author, is_comment),
            ours: if self.is_ours && !is_comment { Ours::Yes(None) } else { Ours::No },
            automated: "no".to_owned(),
            conversation: None,
            parent: ancestors.first().cloned(),
            refs: ancestors.into_iter().skip(1).collect(),
            // `By: Ada` and the like say nothing.
            subject: item.title.as_ref().filter(|_| !is_comment).map(|title| cut(title, WORDS_MAX).to_owned()),
            text: mark.text.clone(),
            quoted: None,
            // A blog's language is its author's, not its visitors'.
            language: item.language.as_ref().or(self.document.language.as_ref().filter(|_| !is_comment)).and_then(|tag| language(tag)),
            url: link.cloned(),
            attachments: item.files.iter().filter(|file| is_web(&file.url) && file.url.len() <= URL_MAX).map(attachment).collect(),
            place: self.place(),
            side: None,
            campaign: None,
            occurred,
            edited: updated.filter(|updated| *updated > occurred),
            reply_context: None,
            attrs: Vec::new(),
        }
    }

    /// Nearest first: what a comment says that it answers, then the post.
    fn ancestors(&self, item: &Item) -> Vec<NativeId> {
        let Some(feed) = self.comments else { return Vec::new() };
        let answered = item.in_reply_to.as_deref().map(str::trim).filter(|id| !id.is_empty());
        // It may be a comment's id or a post's; the one that nobody has is never met.
        let answered = answered.into_iter().flat_map(|id| match feed.post() {
            Some(post) if post.id == id => vec![post],
            Some(_) => vec![self.native(id, true)],
            None => vec![self.native(id, true), self.native(id, false)],
        });
        let linked = item.link.as_deref().map(|link| link.split_once('#').map_or(link, |(page, _)| page));
        let linked = linked.filter(|page| item.id.as_deref() != Some(*page)).map(|page| self.native(post_of(page), false));
        let post = feed.post().or(linked);
        let mut found: Vec<NativeId> = answered.chain(post).collect();
        found.dedup();
        found
    }

    fn place(&self) -> Option<Place> {
        let name = self.document.title.as_deref().map(|title| cut(title, WORDS_MAX).to_owned())?;
        Some(Place { name: Some(name), native: Some(NativeId { scope: String::new(), id: self.url.to_owned() }), position: None })
    }
}

/// WordPress puts many comments on pages of their own: `…/comment-page-2/`.
fn post_of(page: &str) -> &str {
    page.find("comment-page-").and_then(|at| page.get(..at)).unwrap_or(page)
}

fn is_web(link: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| link.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))
}

fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// A host with or without `www.` is the same site.
fn bare(host: &str) -> &str {
    host.strip_prefix("www.").unwrap_or(host)
}

/// An address on this host.
fn is_on_site(id: &str, host: Option<&str>) -> bool {
    let Some(host) = host.filter(|_| is_web(id)) else { return false };
    host_of(id).is_some_and(|of_id| bare(&of_id) == bare(host))
}

/// A feed knows writers by name alone, so a name is one writer per site. Who writes a post is what the blog says; who writes
/// a comment is what a stranger says, so that the page they claim is nobody's anywhere else.
fn author(site: &str, writer: &Writer, is_comment: bool) -> Option<Author> {
    let email =
        writer.email.as_deref().map(str::trim).filter(|email| email.contains('@') && email.len() <= WORDS_MAX && !forum::is_no_address(email));
    let name = writer.name.as_deref().map(|name| cut(&forum::name(name), WORDS_MAX).to_owned()).filter(|name| !name.is_empty());
    let page = writer.url.as_deref().filter(|page| page.len() <= ID_MAX && is_web(page));
    let site = site.to_owned();
    let native = match (page, &name, email) {
        (Some(page), ..) => NativeId { scope: if is_comment { site } else { String::new() }, id: page.to_owned() },
        (_, Some(name), _) => NativeId { scope: site, id: name.clone() },
        (_, None, Some(email)) => NativeId { scope: site, id: email.to_owned() },
        (_, None, None) => return None,
    };
    Some(Author {
        native,
        handle: None,
        name,
        url: page.map(str::to_owned),
        email: email.map(str::to_owned),
        phone: None,
        assurance: email.map(|_| "stated".to_owned()),
        automated: false,
        metrics: Vec::new(),
    })
}

/// What may be a tag of BCP 47; the host reads `it_IT`, too.
fn language(tag: &str) -> Option<String> {
    let tag = tag.trim();
    (!tag.is_empty() && tag.len() <= 35 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))).then(|| tag.to_owned())
}

fn attachment(file: &File) -> Attachment {
    Attachment { name: None, media_type: cut(&file.media_type, 100).to_owned(), size: file.size, url: Some(file.url.clone()), media_ref: None }
}
