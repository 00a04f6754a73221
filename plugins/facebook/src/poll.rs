//! One round of polling: what waits to be read on, then the feed, then conversations; and when nothing waits, the comments of
//! posts known, in turn, and a second look at what was said lately.

use membrana_meta::REFUSED;
use membrana_meta::graph::Graph;
use membrana_meta::messages::Rest;
use membrana_meta::read::{id, moment};
use membrana_meta::shape::{note, unreadable};
use membrana_meta::walk::Walk;
use membrana_meta::watch::{Look, Watched};
use membrana_sdk::connector::{Change, Page};
use membrana_sdk::json;
use membrana_sdk::{Fault, Result, Timestamp, clock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Section;
use crate::posts::{Post, Posts};
use crate::shapes::{COMMENT_FIELDS, POST_FIELDS, comment, post};

/// Items in one page of the API.
const PAGE_MAX: usize = 100;
/// Pages of comments read in one poll.
const CALLS_MAX: usize = 30;
/// Posts whose comments are read again in one poll.
const VISITS: usize = 10;
/// After so many posts whose comments cannot be read no other is visited.
const PUT_OFF_MAX: usize = 3;
/// No call is begun with less time. Units: milliseconds.
const TIME_LEFT_MS: u64 = 8_000;

/// Where to go on.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    feed: Walk,
    conversations: Walk,
    /// Conversations of which more is to be read.
    #[serde(default)]
    rests: Vec<Rest>,
    /// Nothing older is told. Units: milliseconds since 1970.
    floor: Timestamp,
    /// History is still being walked.
    #[serde(default)]
    is_history: bool,
}

impl Cursor {
    fn begin(section: &Section, graph: &Graph) -> Self {
        // By the network's clock, whose dates are seconds.
        let floor = if section.imports() { 0 } else { graph.answered_at() / 1000 * 1000 };
        Self { feed: Walk::since(floor), conversations: Walk::since(floor), rests: Vec::new(), floor, is_history: section.imports() }
    }
}

struct Round<'a> {
    section: &'a Section,
    graph: &'a Graph,
    cursor: Cursor,
    posts: Posts,
    watched: Watched,
    changes: Vec<Change>,
    room: usize,
    n_calls: usize,
    /// Posts whose comments could not be read.
    n_put_off: usize,
}

pub(crate) fn poll(section: &Section, graph: &Graph, cursor: Option<&str>, max_items: u32) -> Result<Page> {
    let parsed = json::cursor::<Cursor>("facebook", cursor)?;
    let is_first = parsed.is_none();
    let mut round = Round {
        section,
        graph,
        cursor: parsed.unwrap_or_else(|| Cursor::begin(section, graph)),
        posts: Posts::read(),
        watched: Watched::read(),
        changes: Vec::new(),
        room: usize::try_from(max_items).unwrap_or(PAGE_MAX).max(1),
        n_calls: 0,
        n_put_off: 0,
    };
    let done = if is_first && !section.imports() { round.begin() } else { round.go() };
    // What was read before a fault is not read again.
    if let (Err(fault), true) = (&done, round.changes.is_empty()) {
        return Err(fault.clone());
    }
    let backfill = round.cursor.is_history;
    // What moved to the front while the history was walked is history, too.
    round.cursor.is_history &= !matches!(done, Ok(true)) || round.cursor.conversations.looks_back_to(round.cursor.floor);
    let more = round.is_unfinished() || round.cursor.is_history;
    round.changes.extend(round.posts.keep());
    round.watched.keep();
    let cursor = json::cursor_text("facebook", &round.cursor)?;
    Ok(Page { changes: round.changes, cursor, more, backfill, next_poll_ms: None, allowance: graph.allowance() })
}

impl Round<'_> {
    /// From now on: posts that are there may be commented on.
    fn begin(&mut self) -> Result<bool> {
        let page = self.graph.list(&[&self.section.page, "feed"], &[("fields", "id,created_time"), ("limit", "100")], None)?;
        self.cursor = Cursor::begin(self.section, self.graph);
        for json in page.items.iter().rev() {
            if let Some(id) = id(json, "id") {
                self.posts.add(Post::known(id, self.cursor.floor).posted_at(moment(json, "created_time").unwrap_or(0)));
            }
        }
        Ok(true)
    }

    fn is_unfinished(&self) -> bool {
        self.posts.next_unread().is_some()
            || self.cursor.feed.next.is_some()
            || self.cursor.conversations.next.is_some()
            || !self.cursor.rests.is_empty()
    }

    fn left(&self) -> usize {
        let has_time = clock::remaining_ms() >= TIME_LEFT_MS && self.n_calls < CALLS_MAX;
        if has_time { self.room.saturating_sub(self.changes.len()) } else { 0 }
    }

    /// Says whether all was read that there was to read.
    fn go(&mut self) -> Result<bool> {
        self.read_unread()?;
        if self.left() == 0 || self.posts.next_unread().is_some() {
            return Ok(false);
        }
        self.read_feed()?;
        // An empty page in the middle is not the end, and nothing to come back for.
        while self.changes.is_empty() && self.cursor.feed.next.is_some() && self.left() > 0 {
            self.read_feed()?;
        }
        self.read_unread()?;
        if self.section.messages {
            if self.left() == 0 {
                return Ok(false);
            }
            self.read_conversations()?;
        }
        let is_over = !self.is_unfinished() && self.cursor.feed.is_over() && self.cursor.conversations.is_over();
        if is_over && !self.cursor.is_history && !self.graph.is_scarce() {
            self.visit_again()?;
            let (section, graph, watched) = (self.section, self.graph, &mut self.watched);
            self.changes.extend(watched.look_again(graph, |id| look(section, graph, id)));
        }
        Ok(is_over)
    }

    fn read_feed(&mut self) -> Result<()> {
        let limit = self.left().min(PAGE_MAX).to_string();
        let since = (self.cursor.feed.since / 1000).to_string();
        let query = [("fields", POST_FIELDS), ("limit", limit.as_str()), ("since", since.as_str())];
        self.n_calls += 1;
        let at = [self.section.page.as_str(), "feed"];
        let Some(page) = self.cursor.feed.page(self.graph, &at, &query, &mut self.changes)? else { return Ok(()) };
        for json in page.items.iter().rev() {
            match post(self.section, json) {
                Some(about) if about.occurred >= self.cursor.floor => {
                    // The second that `since` names is read again each time.
                    if self.posts.add(Post::unread(about.native.id.clone(), self.cursor.floor).posted_at(about.occurred)) {
                        self.changes.push(Change::Upsert(about));
                    }
                }
                Some(_) => {}
                None => self.changes.push(unreadable(
                    json,
                    &self.section.page,
                    &format!("post/{}", id(json, "id").unwrap_or_default()),
                    "a post without an id or a date",
                )),
            }
        }
        self.cursor.feed.step(&page, false, |json| moment(json, "created_time"));
        Ok(())
    }

    /// Comments of posts that were not read to their end.
    fn read_unread(&mut self) -> Result<()> {
        while self.left() > 0 {
            let Some(post) = self.posts.next_unread() else { break };
            self.read_comments(post)?;
        }
        Ok(())
    }

    /// Comments that are new since the last visit, whatever the webhooks told.
    fn visit_again(&mut self) -> Result<()> {
        for mut post in self.posts.turn(self.graph.favours(VISITS)) {
            while self.left() > 0 && self.n_put_off < PUT_OFF_MAX {
                self.read_comments(post.clone())?;
                match self.posts.find(&post.id) {
                    Some(now) if now.next.is_some() && !now.is_put_off() => post = now,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// One page of a post's comments, oldest first, answers among them.
    fn read_comments(&mut self, mut post: Post) -> Result<()> {
        let limit = self.left().clamp(1, PAGE_MAX).to_string();
        let since = (post.newest / 1000).to_string();
        let query = [("filter", "stream"), ("order", "chronological"), ("fields", COMMENT_FIELDS), ("limit", &limit), ("since", &since)];
        self.n_calls += 1;
        let mut page = self.graph.list(&[&post.id, "comments"], &query, post.next.as_ref());
        if matches!(page, Err(Fault::Permanent(_))) && post.next.take().is_some() {
            // The network does not go on from there: on from the newest that was read.
            self.n_calls += 1;
            page = self.graph.list(&[&post.id, "comments"], &query, None);
        }
        let page = match page {
            Ok(page) => page,
            Err(fault) => return self.put_off(post, fault),
        };
        for json in &page.items {
            match comment(self.section, json, &post.id) {
                Some(about) if about.occurred >= self.cursor.floor => {
                    // One that others have pushed out of what is watched is no news for that.
                    let is_told = post.last.as_ref() == Some(&about.native.id) && !self.watched.knows(&about.native.id);
                    if about.occurred >= post.newest {
                        (post.newest, post.last) = (about.occurred, Some(about.native.id.clone()));
                    }
                    if !is_told && self.watched.add(&about) {
                        self.changes.push(Change::Upsert(about));
                    }
                }
                Some(_) => {}
                None => self.changes.push(unreadable(
                    json,
                    &self.section.page,
                    &format!("comment/{}", id(json, "id").unwrap_or_default()),
                    "a comment without an id or a date",
                )),
            }
        }
        post.next = page.next;
        self.posts.visited(post);
        Ok(())
    }

    /// What concerns one post alone keeps no other waiting: it is read from where it was when its turn comes. Of an import that would be told as
    /// if it were new: there it is tried until it can be read, or is refused. What is refused, and cannot wait, is given up.
    /// What may not be read while another post's comments can is a gap, told once; where none can, the token lacks a permission.
    fn put_off(&mut self, post: Post, fault: Fault) -> Result<()> {
        match self.graph.of_one(fault, &self.posts.others(&post.id), "comments", &[("limit", "1")]) {
            Fault::Permanent(detail) if detail.code == "meta.gone" => {
                self.posts.remove(&post.id);
                self.changes.push(Change::Gone(membrana_meta::shape::thing(post.id)));
            }
            Fault::Permanent(detail) if detail.code == REFUSED => {
                // Of an import, what is read later would be told as if it were new.
                let given_up = if self.cursor.is_history { self.graph.answered_at() } else { 0 };
                if self.posts.refuse(&post.id, given_up) {
                    let gap = json!({ "reason": "the comments of a post may not be read", "post": post.id, "answer": detail.message });
                    self.changes.push(note("gap", &gap));
                }
            }
            Fault::Permanent(_) | Fault::Transient(_) if !self.cursor.is_history && self.posts.put_off(&post.id) => self.n_put_off += 1,
            Fault::Permanent(detail) => {
                let gap = json!({ "reason": "the comments of a post cannot be read", "post": post.id, "answer": detail.message });
                self.changes.push(note("gap", &gap));
                self.posts.skip(&post.id, self.graph.answered_at());
            }
            fault => return Err(fault),
        }
        Ok(())
    }

    /// Pages of conversations, as long as there is room.
    fn read_conversations(&mut self) -> Result<()> {
        loop {
            let room = self.left();
            let inbox = self.section.inbox(self.graph);
            let changes = inbox.poll(&mut self.cursor.conversations, &mut self.cursor.rests, self.cursor.floor, room)?;
            self.n_calls += 1;
            self.changes.extend(changes);
            let is_done = self.cursor.conversations.next.is_none() && self.cursor.rests.is_empty();
            if is_done || self.left() == 0 {
                return Ok(());
            }
        }
    }
}

/// A comment as it is now.
fn look(section: &Section, graph: &Graph, id: &str) -> Result<Look> {
    let fields = format!("{COMMENT_FIELDS},object{{id}}");
    let Some(json) = graph.get_if_there(&[id], &[("fields", &fields)])? else { return Ok(Look::Gone) };
    // Where the post is not told, it is in the comment's own id, without its Page.
    let post = membrana_meta::read::id_in(&json, "object").or_else(|| id.split_once('_').map(|(post, _)| format!("{}_{post}", section.page)));
    Ok(post.and_then(|post| comment(section, &json, &post)).map_or(Look::Nothing, |now| Look::There(Box::new(now))))
}
