//! An item of a feed as an interaction. Every text is cut to what the contract allows, so that one item never breaks a page.

use membrana_sdk::connector::{Author, Interaction, Ours};
use membrana_sdk::{Attachment, NativeId, Place};
use url::Url;

use crate::dates::moment;
use crate::document::{Document, File, Item, Writer, clipped};
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
}

/// What an item is known by, and what it says.
pub(crate) struct Mark {
    pub(crate) native: NativeId,
    pub(crate) id: u64,
    pub(crate) content: u32,
}

impl Source<'_> {
    pub(crate) fn mark(&self, item: &Item) -> Mark {
        let (title, text) = (item.title.as_deref().unwrap_or_default(), item.text());
        let author = item.author.name.as_deref().unwrap_or_default();
        let whole = || format!("{:016x}", hash(&format!("{title}\0{author}\0{}\0{text}", item.published.as_deref().unwrap_or_default())));
        let id = [&item.id, &item.link].into_iter().flatten().find(|id| !id.trim().is_empty()).cloned().unwrap_or_else(whole);
        // phpBB counts views inside the text.
        let counts_views = self.document.generator.as_deref().is_some_and(|generator| generator.contains("phpBB"));
        let content = match &item.updated {
            Some(updated) if counts_views => hash(&format!("{title}\0{updated}")),
            _ => hash(&format!("{title}\0{text}")),
        };
        Mark { native: self.native(&id), id: hash(&id), content: u32::try_from(content >> 32).unwrap_or(0) }
    }

    /// An id that is unique in the whole network has no scope.
    fn native(&self, id: &str) -> NativeId {
        let is_absolute =
            id.contains("://") || ["urn:", "tag:"].iter().any(|scheme| id.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(scheme)));
        let scope = if is_absolute { String::new() } else { self.url.to_owned() };
        let id = if id.len() > ID_MAX { format!("{}#{:016x}", clipped(id, ID_MAX - 20), hash(id)) } else { id.to_owned() };
        NativeId { scope, id }
    }

    pub(crate) fn interaction(&self, item: &Item, native: NativeId) -> Interaction {
        let is_comment = self.comments.is_some();
        let published = item.published.as_deref().and_then(moment);
        let updated = item.updated.as_deref().and_then(moment);
        let occurred = published.or(updated).unwrap_or_else(membrana_sdk::clock::now);
        let ancestors = self.ancestors(item);
        let link = item.link.as_ref().filter(|link| !link.is_empty() && link.len() <= URL_MAX);
        Interaction {
            aka: link.map(|link| self.native(link)).filter(|aka| *aka != native).into_iter().collect(),
            native,
            kind: if is_comment { "comment" } else { "post" }.to_owned(),
            visibility: "public".to_owned(),
            author: author(self.url, &item.author),
            ours: if self.is_ours && !is_comment { Ours::Yes(None) } else { Ours::No },
            automated: "no".to_owned(),
            conversation: None,
            parent: ancestors.first().cloned(),
            refs: ancestors.into_iter().skip(1).collect(),
            // `By: Ada` and the like say nothing.
            subject: item.title.as_ref().filter(|_| !is_comment).map(|title| clipped(title, WORDS_MAX).to_owned()),
            text: item.text(),
            quoted: None,
            language: item.language.as_ref().or(self.document.language.as_ref()).and_then(|tag| language(tag)),
            url: link.cloned(),
            attachments: item.files.iter().filter(|file| file.url.len() <= URL_MAX).map(attachment).collect(),
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
        let answered = item.in_reply_to.as_deref().map(str::trim).filter(|id| !id.is_empty()).map(|id| self.native(id));
        let linked = item.link.as_deref().and_then(|link| link.split_once('#')).map(|(page, _)| self.native(post_of(page)));
        let post = feed.post().or(linked);
        let mut found: Vec<NativeId> = answered.into_iter().chain(post).collect();
        found.dedup();
        found
    }

    fn place(&self) -> Option<Place> {
        let name = self.document.title.as_deref().map(|title| clipped(title, WORDS_MAX).to_owned())?;
        Some(Place { name: Some(name), native: Some(NativeId { scope: String::new(), id: self.url.to_owned() }), position: None })
    }
}

/// WordPress puts many comments on pages of their own: `…/comment-page-2/`.
fn post_of(page: &str) -> &str {
    page.find("comment-page-").and_then(|at| page.get(..at)).unwrap_or(page)
}

/// A feed knows writers by name alone, so a name is one writer per site.
fn author(url: &str, writer: &Writer) -> Option<Author> {
    let email = writer.email.as_deref().map(str::trim).filter(|email| email.contains('@') && email.len() <= WORDS_MAX);
    let name = writer.name.as_deref().map(|name| clipped(name.trim(), WORDS_MAX).to_owned()).filter(|name| !name.is_empty());
    let page = writer.url.as_deref().filter(|page| page.len() <= ID_MAX && !page.is_empty());
    let site = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let native = match (page, &name, email) {
        (Some(page), ..) if page.contains("://") => NativeId { scope: String::new(), id: page.to_owned() },
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

/// `it_IT` and `it-it ` are meant as BCP 47.
fn language(tag: &str) -> Option<String> {
    let tag = tag.trim().replace('_', "-");
    (!tag.is_empty() && tag.len() <= 35 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(tag)
}

fn attachment(file: &File) -> Attachment {
    Attachment { name: None, media_type: clipped(&file.media_type, 100).to_owned(), size: file.size, url: Some(file.url.clone()), media_ref: None }
}
