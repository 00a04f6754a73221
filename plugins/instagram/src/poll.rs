//! One round of polling: media and the number of their comments, comments where that changed, media that name us,
//! conversations; and when nothing waits, some media in turn and a second look at what was said lately.

use membrana_sdk::json;
use std::collections::VecDeque;

use membrana_meta::REFUSED;
use membrana_meta::graph::{Graph, Next};
use membrana_meta::messages::Rest;
use membrana_meta::read::{edge, id, id_in, moment};
use membrana_meta::shape::{note, thing, unreadable};
use membrana_meta::walk::Walk;
use membrana_meta::watch::{Look, Watched};
use membrana_sdk::connector::{Change, Page};
use membrana_sdk::{Fault, Result, Timestamp, clock};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::Section;
use crate::media::{Media, Medium};
use crate::shapes::{COMMENT_FIELDS, MEDIA_FIELDS, Me, comment, medium};

/// Items in one page of the API.
const PAGE_MAX: usize = 50;
/// Pages of comments read in one poll.
const CALLS_MAX: usize = 30;
/// Media visited in turn in one poll.
const VISITS: usize = 3;
/// Media that name us, remembered: they are dated by their own making, not by the mention.
const TAGS_MAX: usize = 200;
/// After so many media whose comments cannot be read no other is visited.
const PUT_OFF_MAX: usize = 3;
/// No call is begun with less time. Units: milliseconds.
const TIME_LEFT_MS: u64 = 8_000;

/// Where to go on.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    media: Walk,
    conversations: Walk,
    #[serde(default)]
    rests: Vec<Rest>,
    /// Media that name us and are known, oldest first.
    #[serde(default)]
    tags: VecDeque<String>,
    /// A walk over them that is not done.
    #[serde(default)]
    tags_walk: Option<TagsWalk>,
    /// Nothing older is told. Units: milliseconds since 1970.
    floor: Timestamp,
    #[serde(default)]
    is_history: bool,
}

/// Where a walk over the media that name us goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TagsWalk {
    next: Next,
    /// What it told, newest first: known once it is done.
    new: Vec<String>,
}

impl Cursor {
    fn begin(section: &Section, graph: &Graph) -> Self {
        // By the network's clock, whose dates are seconds.
        let floor = if section.imports() { 0 } else { graph.answered_at() / 1000 * 1000 };
        let (media, conversations) = (Walk::since(floor), Walk::since(floor));
        Self { media, conversations, rests: Vec::new(), tags: VecDeque::new(), tags_walk: None, floor, is_history: section.imports() }
    }
}

/// Why not all that answers a comment was read.
enum Cut {
    /// The poll has no calls left, or no time.
    Calls,
    Fault(Fault),
}

impl Cut {
    /// Says whether another try would bring no more. `is_first`: the poll had all its calls. `is_again`: it failed the last time.
    fn is_final(&self, is_first: bool, is_again: bool) -> bool {
        match self {
            Self::Calls => is_first,
            Self::Fault(Fault::Permanent(_)) => true,
            // The comment could be read.
            Self::Fault(Fault::Auth(detail)) => detail.code == REFUSED,
            Self::Fault(Fault::Transient(_)) => is_again,
            Self::Fault(_) => false,
        }
    }
}

struct Round<'a> {
    section: &'a Section,
    graph: &'a Graph,
    me: Me,
    cursor: Cursor,
    media: Media,
    watched: Watched,
    changes: Vec<Change>,
    room: usize,
    n_calls: usize,
    /// Media whose comments could not be read.
    n_put_off: usize,
}

pub(crate) fn poll(section: &Section, graph: &Graph, cursor: Option<&str>, max_items: u32) -> Result<Page> {
    let parsed = json::cursor::<Cursor>("instagram", cursor)?;
    let is_first = parsed.is_none();
    let mut round = Round {
        section,
        graph,
        me: Me::ask(section, graph)?,
        cursor: parsed.unwrap_or_else(|| Cursor::begin(section, graph)),
        media: Media::read(),
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
    round.changes.extend(round.media.keep());
    round.watched.keep();
    let cursor = json::cursor_text("instagram", &round.cursor)?;
    Ok(Page { changes: round.changes, cursor, more, backfill, next_poll_ms: None, allowance: graph.allowance() })
}

impl Round<'_> {
    /// From now on: media that are there may be commented on, and name us already.
    fn begin(&mut self) -> Result<bool> {
        let query = [("fields", "id,timestamp,comments_count"), ("limit", "50")];
        let page = self.graph.list(&[&self.section.account, "media"], &query, None)?;
        self.cursor = Cursor::begin(self.section, self.graph);
        for json in page.items.iter().rev() {
            if let Some(id) = id(json, "id") {
                let count = count(json);
                let at = moment(json, "timestamp").unwrap_or(0);
                self.media.add(Medium::new(id, count, count, self.cursor.floor, clock::now().max(1)).published_at(at));
            }
        }
        let tags = self.graph.list(&[&self.section.account, "tags"], &[("fields", "id"), ("limit", "50")], None)?;
        self.cursor.tags = tags.items.iter().rev().filter_map(|json| id(json, "id")).collect();
        Ok(true)
    }

    fn is_unfinished(&self) -> bool {
        self.media.next_due().is_some()
            || self.cursor.media.next.is_some()
            || self.cursor.conversations.next.is_some()
            || !self.cursor.rests.is_empty()
            || self.cursor.tags_walk.is_some()
    }

    fn has_calls(&self) -> bool {
        clock::remaining_ms() >= TIME_LEFT_MS && self.n_calls < CALLS_MAX
    }

    fn left(&self) -> usize {
        if self.has_calls() { self.room.saturating_sub(self.changes.len()) } else { 0 }
    }

    /// Says whether all was read that there was to read.
    fn go(&mut self) -> Result<bool> {
        self.read_due()?;
        if self.left() == 0 || self.media.next_due().is_some() {
            return Ok(false);
        }
        self.read_media()?;
        // An empty page in the middle is not the end, and nothing to come back for.
        while self.changes.is_empty() && self.cursor.media.next.is_some() && self.left() > 0 {
            self.read_media()?;
        }
        self.read_due()?;
        if self.left() == 0 {
            return Ok(false);
        }
        self.read_tags()?;
        if self.section.messages {
            if self.left() == 0 {
                return Ok(false);
            }
            self.read_conversations()?;
        }
        let is_over = !self.is_unfinished() && self.cursor.media.is_over() && self.cursor.conversations.is_over();
        if is_over && !self.cursor.is_history && !self.graph.is_scarce() {
            for medium in self.media.turn(self.graph.favours(VISITS)) {
                if self.left() > 0 && self.n_put_off < PUT_OFF_MAX {
                    self.read_comments(medium)?;
                }
            }
            let (graph, me, watched) = (self.graph, &self.me, &mut self.watched);
            self.changes.extend(watched.look_again(graph, |id| look(graph, me, id)));
        }
        Ok(is_over)
    }

    fn read_media(&mut self) -> Result<()> {
        let limit = self.left().min(PAGE_MAX).to_string();
        let query = [("fields", MEDIA_FIELDS), ("limit", limit.as_str())];
        self.n_calls += 1;
        let at = [self.section.account.as_str(), "media"];
        let Some(page) = self.cursor.media.page(self.graph, &at, &query, &mut self.changes)? else { return Ok(()) };
        for json in page.items.iter().rev() {
            let Some(about) = medium(&self.me, json, false) else {
                self.changes.push(self.odd(json, "medium"));
                continue;
            };
            let is_told = about.occurred >= self.cursor.floor;
            let (newest, visited) = if is_told { (self.cursor.floor, 0) } else { (self.cursor.floor, clock::now().max(1)) };
            let count = count(json);
            let medium = Medium::new(about.native.id.clone(), count, if is_told { 0 } else { count }, newest, visited);
            let is_new = self.media.add(medium.published_at(about.occurred));
            if is_told && is_new {
                self.changes.push(Change::Upsert(about));
            }
        }
        self.cursor.media.step(&page, true, |json| moment(json, "timestamp"));
        Ok(())
    }

    fn odd(&self, json: &Json, what: &str) -> Change {
        let at = format!("{what}/{}", id(json, "id").unwrap_or_default());
        unreadable(json, &self.section.account, &at, "without an id or a date")
    }

    fn read_due(&mut self) -> Result<()> {
        while self.left() > 0 {
            let Some(medium) = self.media.next_due() else { break };
            self.read_comments(medium)?;
        }
        Ok(())
    }

    /// One page of comments, newest first, each with what answers it.
    fn read_comments(&mut self, mut of: Medium) -> Result<()> {
        let limit = (self.left() / 2).clamp(1, PAGE_MAX).to_string();
        let fields = format!("{COMMENT_FIELDS},replies.limit(50){{{COMMENT_FIELDS}}}");
        let query = [("fields", fields.as_str()), ("limit", limit.as_str())];
        self.n_calls += 1;
        let page = match self.graph.list(&[&of.id, "comments"], &query, of.next.as_ref()) {
            Ok(page) => page,
            Err(fault) => return self.put_off(of, fault),
        };
        let (is_first, mut cut) = (self.n_calls == 1, None);
        for top in &page.items {
            self.tell(&mut of, top, None);
            let (answers, cut_by) = self.answers(top);
            for answer in answers {
                self.tell(&mut of, &answer, id(top, "id"));
            }
            match cut_by {
                None => {}
                // What is refused, or fails a second time, keeps back nothing of what follows.
                Some(cut_by) if cut_by.is_final(is_first, of.is_put_off()) => {
                    self.changes.push(note("gap", &json!({ "reason": "not all that answers a comment can be read", "comment": id(top, "id") })));
                }
                Some(cut_by) => cut = cut.or(Some(cut_by)),
            }
        }
        match cut {
            Some(Cut::Fault(fault)) => return self.put_off(of, fault),
            // The next poll begins with it.
            Some(Cut::Calls) => {
                self.media.make_due(&of.id);
                return Ok(());
            }
            None => {}
        }
        let oldest = page.items.iter().filter_map(|json| moment(json, "timestamp")).min();
        let is_end = page.next.is_none() || of.has_all(oldest);
        of.next = page.next;
        if is_end {
            of.end();
        }
        self.media.put(of);
        Ok(())
    }

    /// What concerns one medium alone keeps no other waiting: it is read from the beginning when its turn comes. Of an import that would be told as
    /// if it were new: there it is tried until it can be read, or is refused. What is refused, and cannot wait, is given up.
    /// What may not be read while another medium's comments can is a gap, told once; where none can, the token lacks a permission.
    fn put_off(&mut self, of: Medium, fault: Fault) -> Result<()> {
        match self.graph.of_one(fault, &self.media.others(&of.id), "comments", &[("limit", "1")]) {
            Fault::Permanent(detail) if detail.code == "meta.gone" => {
                self.media.remove(&of.id);
                self.changes.push(Change::Gone(thing(of.id)));
            }
            Fault::Permanent(detail) if detail.code == REFUSED => {
                // Of an import, what is read later would be told as if it were new.
                let given_up = if self.cursor.is_history { self.graph.answered_at() } else { 0 };
                if self.media.refuse(&of.id, given_up) {
                    let gap = json!({ "reason": "the comments of a medium may not be read", "medium": of.id, "answer": detail.message });
                    self.changes.push(note("gap", &gap));
                }
            }
            Fault::Permanent(_) | Fault::Transient(_) if !self.cursor.is_history && self.media.put_off(&of.id) => self.n_put_off += 1,
            Fault::Permanent(detail) => {
                let gap = json!({ "reason": "the comments of a medium cannot be read", "medium": of.id, "answer": detail.message });
                self.changes.push(note("gap", &gap));
                self.media.skip(&of.id, self.graph.answered_at());
            }
            fault => return Err(fault),
        }
        Ok(())
    }

    /// All that answers a comment, also what did not come with it; or what there is of it, and what ended it.
    fn answers(&mut self, top: &Json) -> (Vec<Json>, Option<Cut>) {
        let mut answers = edge(top, "replies").to_vec();
        let mut listed = top.get("replies").map_or(Ok(None), |replies| membrana_meta::graph::listed(replies).map(|listed| listed.next));
        let Some(id) = id(top, "id") else { return (answers, None) };
        loop {
            let from = match listed {
                Ok(Some(from)) if self.has_calls() => from,
                Ok(Some(_)) => return (answers, Some(Cut::Calls)),
                Ok(None) => return (answers, None),
                // The comment went in this moment.
                Err(Fault::Permanent(detail)) if detail.code == "meta.gone" => return (answers, None),
                Err(fault) => return (answers, Some(Cut::Fault(fault))),
            };
            self.n_calls += 1;
            let page = self.graph.list(&[&id, "replies"], &[("fields", COMMENT_FIELDS), ("limit", "50")], Some(&from));
            listed = page.map(|page| {
                answers.extend(page.items);
                page.next
            });
        }
    }

    fn tell(&mut self, of: &mut Medium, json: &Json, parent: Option<String>) {
        let Some(about) = comment(&self.me, json, Some(of.id.clone()), parent, None) else {
            self.changes.push(self.odd(json, "comment"));
            return;
        };
        if about.occurred > of.newest {
            of.n_found += 1;
        }
        of.newest_now = of.newest_now.max(about.occurred);
        if about.occurred >= self.cursor.floor.max(of.floor) && self.watched.add(&about) {
            self.changes.push(Change::Upsert(about));
        }
    }

    /// Media of others that name us, newest first, until a page holds one that is known.
    fn read_tags(&mut self) -> Result<()> {
        let (mut next, mut new) = self.cursor.tags_walk.clone().map_or((None, Vec::new()), |walk| (Some(walk.next), walk.new));
        loop {
            let limit = self.left().clamp(1, PAGE_MAX).to_string();
            let query = [("fields", MEDIA_FIELDS), ("limit", limit.as_str())];
            let page = self.graph.list(&[&self.section.account, "tags"], &query, next.as_ref());
            self.n_calls += 1;
            if let (Err(Fault::Permanent(_)), Some(_)) = (&page, &next) {
                self.changes.push(note("gap", &json!({ "reason": "tags: the network does not go on from where the last poll ended" })));
                next = None;
                break;
            }
            let page = page?;
            let fresh: Vec<&Json> = page.items.iter().filter(|json| id(json, "id").is_none_or(|id| !self.cursor.tags.contains(&id))).collect();
            let is_known = fresh.len() < page.items.len();
            for json in fresh {
                self.changes.push(medium(&self.me, json, true).map_or_else(|| self.odd(json, "mention"), Change::Upsert));
                new.extend(id(json, "id"));
            }
            next = page.next.filter(|_| !is_known);
            if next.is_none() || self.left() == 0 {
                break;
            }
        }
        new.truncate(TAGS_MAX);
        if let Some(next) = next {
            self.cursor.tags_walk = Some(TagsWalk { next, new });
            return Ok(());
        }
        self.cursor.tags_walk = None;
        self.cursor.tags.extend(new.into_iter().rev());
        let n_over = self.cursor.tags.len().saturating_sub(TAGS_MAX);
        self.cursor.tags.drain(..n_over);
        Ok(())
    }

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

fn count(json: &Json) -> u64 {
    json.get("comments_count").and_then(Json::as_u64).unwrap_or(0)
}

/// A comment as it is now.
fn look(graph: &Graph, me: &Me, id: &str) -> Result<Look> {
    let fields = format!("{COMMENT_FIELDS},media");
    let Some(json) = graph.get_if_there(&[id], &[("fields", &fields)])? else { return Ok(Look::Gone) };
    let media = id_in(&json, "media");
    Ok(media.and_then(|media| comment(me, &json, Some(media), None, None)).map_or(Look::Nothing, |now| Look::There(Box::new(now))))
}
