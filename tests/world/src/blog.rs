//! A blog: posts and comments, told by RSS, with ETags.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::form::{Form, escaped};
use crate::server::{Ahead, Server, front, locked};
use crate::trouble::Manner;

#[derive(Debug, Clone)]
struct Entry {
    guid: String,
    link: String,
    title: String,
    author: String,
    html: String,
}

#[derive(Debug, Default)]
struct Content {
    posts: Vec<Entry>,
    comments: Vec<Entry>,
    version: u64,
    /// Guids count on, whatever is deleted.
    n_made: usize,
    /// Served instead of the posts, as it is.
    raw: Option<Vec<u8>>,
}

type Shared = Arc<Mutex<Content>>;

/// See the module.
pub struct Blog {
    server: Server,
    content: Shared,
    time: Ahead,
}

front!(Blog);

impl Blog {
    /// Starts an empty blog.
    pub async fn start() -> std::io::Result<Self> {
        let (content, time) = (Shared::default(), Ahead::default());
        let router = Router::new()
            .route("/feed/", get(posts))
            .route("/comments/feed/", get(comments))
            .route("/comment", post(comment))
            .with_state(Arc::clone(&content));
        Ok(Self { server: Server::start_as(Manner::Plain, Some(time.clock()), router).await?, content, time })
    }

    /// Moves its clock on.
    pub fn advance(&self, by: Duration) {
        self.time.advance(by);
    }

    /// Serves these bytes as its feed; `None` ends that.
    pub fn serve_raw(&self, bytes: Option<Vec<u8>>) {
        let mut content = locked(&self.content);
        content.version += 1;
        content.raw = bytes;
    }

    /// Publishes a post; gives its guid.
    pub fn post(&self, title: &str, author: &str, html: &str) -> String {
        let mut content = locked(&self.content);
        content.version += 1;
        content.n_made += 1;
        let n = content.n_made;
        let guid = format!("{}/?p={n}", self.url());
        content.posts.push(Entry {
            guid: guid.clone(),
            link: format!("{}/{n}/", self.url()),
            title: title.to_owned(),
            author: author.to_owned(),
            html: html.to_owned(),
        });
        guid
    }

    /// Changes a post's text.
    pub fn edit(&self, guid: &str, html: &str) {
        let mut content = locked(&self.content);
        content.version += 1;
        if let Some(entry) = content.posts.iter_mut().find(|entry| entry.guid == guid) {
            html.clone_into(&mut entry.html);
        }
    }

    /// Takes a post or a comment back.
    pub fn delete(&self, guid: &str) {
        let mut content = locked(&self.content);
        content.version += 1;
        content.posts.retain(|entry| entry.guid != guid);
        content.comments.retain(|entry| entry.guid != guid);
    }

    /// Somebody comments the latest post.
    pub fn comment(&self, author: &str, html: &str) -> String {
        add_comment(&self.content, &self.url(), author, html)
    }
}

fn add_comment(content: &Shared, url: &str, author: &str, html: &str) -> String {
    let mut content = locked(content);
    content.version += 1;
    content.n_made += 1;
    let (post, n) = (content.posts.len().max(1), content.n_made);
    let guid = format!("{url}/?p={post}#comment-{n}");
    content.comments.push(Entry {
        guid: guid.clone(),
        link: format!("{url}/{post}/#comment-{n}"),
        title: format!("By: {author}"),
        author: author.to_owned(),
        html: html.to_owned(),
    });
    guid
}

/// A form: `author=…&text=…`.
async fn comment(State(content): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let form = Form::read(&body);
    match form.get("text") {
        Some(text) => {
            let guid = add_comment(&content, &format!("http://{host}"), form.or("author", "You"), &escaped(text));
            (StatusCode::CREATED, format!("{guid}\n")).into_response()
        }
        None => (StatusCode::BAD_REQUEST, "send text=…\n").into_response(),
    }
}

async fn posts(State(content): State<Shared>, headers: HeaderMap) -> Response {
    let content = locked(&content);
    match &content.raw {
        Some(raw) => ([(CONTENT_TYPE, "application/rss+xml")], raw.clone()).into_response(),
        None => feed(&headers, content.version, "Acme's blog", &content.posts),
    }
}

async fn comments(State(content): State<Shared>, headers: HeaderMap) -> Response {
    let content = locked(&content);
    feed(&headers, content.version, "Comments for Acme's blog", &content.comments)
}

fn feed(headers: &HeaderMap, version: u64, title: &str, entries: &[Entry]) -> Response {
    let etag = format!("\"{version}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let items: String = entries
        .iter()
        .rev()
        .map(|entry| {
            format!(
                "<item><title>{}</title><link>{}</link><guid isPermaLink=\"false\">{}</guid><dc:creator>{}</dc:creator><content:encoded><![CDATA[{}]]></content:encoded></item>",
                escaped(&entry.title), escaped(&entry.link), escaped(&entry.guid), escaped(&entry.author), entry.html
            )
        })
        .collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><rss version=\"2.0\"><channel><title>{}</title><generator>https://wordpress.org/?v=6.8</generator>{items}</channel></rss>",
        escaped(title)
    );
    ([(CONTENT_TYPE, "application/rss+xml; charset=UTF-8".to_owned()), (ETAG, etag)], body).into_response()
}
