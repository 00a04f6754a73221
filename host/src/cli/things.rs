//! Commands that look at the store or order something: each is one call of the API.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::app::{find, process_env};

use super::call::{Caller, Purpose};
use super::outcome::{Failure, aside, put, put_bytes, put_json};
use super::{ChannelCommand, Command, DeadCommand, InteractionCommand, ListArgs, OutboxCommand, TaskCommand, show};

/// Rows that a terminal shows where no limit is given.
const ROWS: usize = 20;
/// Rows of a table that are laid out together.
const PAGE: usize = 500;

/// Title and JSON pointer.
type Columns = &'static [(&'static str, &'static str)];

const CHANNELS: Columns = &[
    ("NAME", "/name"),
    ("PLUGIN", "/plugin"),
    ("STATE", "/state"),
    ("ENTRIES", "/entries"),
    ("TO ANALYSE", "/behind/analysis"),
    ("TO DECIDE", "/behind/rules"),
    ("UNKNOWN KINDS", "/unknown"),
    ("GAPS FILLED", "/gaps/filled"),
    ("GAPS LOST", "/gaps/lost"),
    ("HOOK", "/hook"),
    ("REASON", "/reason"),
];
/// As many are counted; more are only said to be more.
const WAITING_MAX: usize = 1000;
/// What waits for a person: how `status` calls it, and the list that holds it.
const WAITING: [(&str, &str); 3] = [("tasks", "tasks?state=open"), ("drafts", "actions?state=awaiting-approval"), ("dead", "dead?")];
const INTERACTIONS: Columns = &[
    ("ID", "/id"),
    ("CHANNEL", "/channel"),
    ("KIND", "/kind"),
    ("AUTHOR", "/author/name"),
    ("RECEIVED", "/received_at"),
    ("ROW", "/decisions/-/row"),
    ("TEXT", "/text"),
];
const TASKS: Columns = &[
    ("ID", "/id"),
    ("TEAM", "/team"),
    ("STATE", "/state"),
    ("DUE", "/due_at"),
    ("CHANNEL", "/channel"),
    ("ROW", "/row"),
    ("INTERACTION", "/interaction"),
];
const ACTIONS: Columns =
    &[("ID", "/id"), ("STATE", "/state"), ("CHANNEL", "/channel"), ("REVIEW", "/review"), ("TEXT", "/text"), ("ERROR", "/error")];
const DEAD: Columns = &[("ID", "/id"), ("CHANNEL", "/channel"), ("STAGE", "/stage"), ("PLUGIN", "/plugin"), ("AT", "/at"), ("REASON", "/reason")];

const HISTORY: Columns =
    &[("AT", "/at"), ("ACT", "/act"), ("BY", "/by"), ("FROM", "/from"), ("TO", "/to"), ("OUTCOME", "/outcome"), ("REASON", "/reason")];

/// Of interactions, as bundled connectors bring them; the vocabulary is open.
const KINDS: [&str; 11] = ["post", "reply", "comment", "mention", "direct", "mail", "review", "reaction", "share", "checkin", "status"];

enum Wish {
    /// With how many of them are shown.
    List(String, Columns, usize),
    /// Always one JSON object a line.
    Lines(String),
    Get(String, fn(&Json) -> Result<(), Failure>),
    Status,
    /// Another build.
    Act(String, Bytes),
    /// Bytes, as they are.
    Bytes(String),
    Post(String, Bytes),
    Delete(String),
}

/// Carries out a command on the store.
pub(super) async fn call(file: &Path, is_json: bool, command: Command) -> Result<(), Failure> {
    let is_of_states = matches!(command, Command::Channel(ChannelCommand::List { .. }) | Command::Status);
    let is_verify = matches!(command, Command::Verify);
    let wish = wish_of(command, is_json)?;
    let purpose = match &wish {
        Wish::List(..) | Wish::Lines(_) | Wish::Get(..) | Wish::Status | Wish::Bytes(_) => Purpose::Look,
        Wish::Post(..) if is_verify => Purpose::Judge,
        Wish::Post(..) | Wish::Act(..) | Wish::Delete(_) => Purpose::Order,
    };
    let caller = Caller::open(file, purpose).await?;
    if is_of_states && caller.is_in_process() {
        aside("no host runs; states are as the last one left them");
    }
    let done = carry_out(&caller, wish, is_json).await;
    caller.close().await?;
    done
}

async fn carry_out(caller: &Caller, wish: Wish, is_json: bool) -> Result<(), Failure> {
    match wish {
        Wish::Lines(path) => caller.lines("GET", &path, None, &mut |line| put_json(line)).await,
        Wish::List(path, ..) if is_json => caller.lines("GET", &path, None, &mut |line| put_json(line)).await,
        Wish::List(path, columns, rows_max) => tables(caller, &path, columns, rows_max).await,
        Wish::Bytes(path) => caller.bytes(&path, &mut |bytes| put_bytes(bytes)).await,
        Wish::Get(path, show) => {
            let answer = caller.thing("GET", &path, None).await?;
            if is_json { put_json(answer) } else { show(&answer) }
        }
        Wish::Delete(path) => {
            let answer = caller.thing("DELETE", &path, None).await?;
            if is_json { put_json(answer) } else { show::thing(&answer) }
        }
        Wish::Status => {
            let mut answer = caller.thing("GET", "/api/v1/status", None).await?;
            if let Some(status) = answer.as_object_mut() {
                status.insert("waiting".to_owned(), waiting(caller).await?);
            }
            if is_json { put_json(answer) } else { status(&answer) }
        }
        Wish::Act(path, body) => {
            let answer = caller.thing("POST", &path, Some(body)).await?;
            if is_json { put_json(answer) } else { show::act(&answer) }
        }
        Wish::Post(path, body) => {
            let answer = caller.thing("POST", &path, Some(body)).await?;
            if is_json {
                put_json(&answer)?
            } else {
                show::thing(&answer)?
            }
            match answer.get("sound") {
                Some(Json::Bool(false)) => {
                    let is_of_audit = |damage: &Json| damage.as_str().is_some_and(|words| words.starts_with("audit.log"));
                    let is_audit_alone = answer.get("damage").and_then(Json::as_array).is_some_and(|all| all.iter().all(is_of_audit));
                    Err(if is_audit_alone {
                        Failure::failed("the audit log is not as it was written", "compare it with a copy; the store itself is sound")
                    } else {
                        Failure::failed(
                            "the store is damaged",
                            "stop the host, and put the last backup in its place: `membrana restore BACKUP`; what is there is kept aside",
                        )
                    })
                }
                _ => Ok(()),
            }
        }
    }
}

/// A long list is told in pages, so that it is never whole in memory.
async fn tables(caller: &Caller, path: &str, columns: Columns, rows_max: usize) -> Result<(), Failure> {
    let (mut rows, mut n_told, mut is_cut): (Vec<Json>, usize, bool) = (Vec::new(), 0, false);
    let mut row = |line: &str| {
        if n_told + rows.len() == rows_max {
            is_cut = true;
            return Ok(());
        }
        rows.extend(serde_json::from_str::<Json>(line).ok());
        if rows.len() == PAGE {
            n_told += rows.len();
            show::table(&rows, columns)?;
            rows.clear();
        }
        Ok(())
    };
    caller.lines("GET", path, None, &mut row).await?;
    let shown = match (rows.is_empty(), n_told, unusual_kind(path)) {
        (true, 0, _) if columns == HISTORY => put("no other build was ever put in force: the one that the configuration names is"),
        (true, 0, Some(kind)) => put(format_args!("nothing of kind `{kind}`; usual ones: {}", KINDS.join(", "))),
        (true, 1.., _) => Ok(()),
        _ => show::table(&rows, columns),
    };
    shown?;
    if is_cut {
        aside(format_args!("the first {rows_max}; `--limit N` shows more, `--json` all"));
    }
    Ok(())
}

/// A kind that the path asks for and no bundled connector brings: it may be another's, or a slip.
fn unusual_kind(path: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    let (_, kind) = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "kind")?;
    Some(kind.into_owned()).filter(|kind| !KINDS.contains(&kind.as_str()))
}

/// Reasons stand below the table, which has no room for them.
fn status(status: &Json) -> Result<(), Failure> {
    let columns: Vec<_> = CHANNELS.iter().copied().filter(|(_, pointer)| *pointer != "/reason").collect();
    show::status(status, &columns)
}

/// How much waits for a person.
async fn waiting(caller: &Caller) -> Result<Json, Failure> {
    let mut waiting = serde_json::Map::new();
    for (name, list) in WAITING {
        let mut n = 0;
        let mut count = |_: &str| {
            n += 1;
            Ok(())
        };
        caller.lines("GET", &format!("/api/v1/{list}&limit={}", WAITING_MAX + 1), None, &mut count).await?;
        waiting.insert(name.to_owned(), if n > WAITING_MAX { json!(format!("over {WAITING_MAX}")) } else { json!(n) });
    }
    Ok(Json::Object(waiting))
}

fn wish_of(command: Command, is_json: bool) -> Result<Wish, Failure> {
    let post = |path: String, body: Json| Wish::Post(path, Bytes::from(body.to_string()));
    Ok(match command {
        Command::Channel(ChannelCommand::Pause { name }) => post(one("channels", &name, "/pause"), json!({})),
        Command::Channel(ChannelCommand::Resume { name }) => post(one("channels", &name, "/resume"), json!({})),
        Command::Channel(ChannelCommand::Poll { name }) => post(one("channels", &name, "/poll"), json!({})),
        Command::Channel(ChannelCommand::List { limit }) => {
            let query = limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
            Wish::List(format!("/api/v1/channels{query}"), CHANNELS, usize::MAX)
        }
        Command::Interaction(InteractionCommand::List { list, kind, since, own }) => {
            let own = own.then(|| "true".to_owned());
            list_of("interactions", &list, is_json, &[("kind", &kind), ("since", &since), ("own", &own)], INTERACTIONS)
        }
        Command::Interaction(InteractionCommand::Export { list }) => {
            Wish::Lines(path("interactions", &list, list.limit, &[("own", &Some("true".to_owned()))]))
        }
        Command::Interaction(InteractionCommand::Show { id, attachment: Some(n) }) => {
            Wish::Bytes(one("interactions", &id, &format!("/attachments/{n}")))
        }
        Command::Interaction(InteractionCommand::Show { id, attachment: None }) => Wish::Get(one("interactions", &id, ""), show::thing),
        Command::Interaction(InteractionCommand::Explain { id }) => Wish::Get(one("interactions", &id, "/explain"), show::story),
        Command::Task(TaskCommand::List { list, state, team }) => list_of("tasks", &list, is_json, &[("state", &state), ("team", &team)], TASKS),
        Command::Task(TaskCommand::Show { id }) => Wish::Get(one("tasks", &id, ""), show::thing),
        Command::Task(TaskCommand::Close { id, by }) => post(one("tasks", &id, "/close"), json!({ "by": by })),
        Command::Outbox(OutboxCommand::List { list, state }) => list_of("actions", &list, is_json, &[("state", &state)], ACTIONS),
        Command::Outbox(OutboxCommand::Show { id }) => Wish::Get(one("actions", &id, ""), show::thing),
        Command::Outbox(OutboxCommand::Approve { id, by, text, fingerprint }) => {
            post(one("actions", &id, "/approve"), json!({ "by": by, "text": text, "fingerprint": fingerprint }))
        }
        Command::Outbox(OutboxCommand::Reject { id, by, reason }) => post(one("actions", &id, "/reject"), json!({ "by": by, "reason": reason })),
        Command::Outbox(OutboxCommand::Retry { id, by, text }) => post(one("actions", &id, "/retry"), json!({ "by": by, "text": text })),
        Command::Dead(DeadCommand::List { list, plugin }) => list_of("dead", &list, is_json, &[("plugin", &plugin)], DEAD),
        Command::Dead(DeadCommand::Show { id, raw: true }) => Wish::Bytes(one("dead", &id, "/raw")),
        Command::Dead(DeadCommand::Show { id, raw: false }) => Wish::Get(one("dead", &id, ""), show::thing),
        Command::Dead(DeadCommand::Redrive { id: Some(id), .. }) => post(one("dead", &id, "/redrive"), json!({})),
        Command::Dead(DeadCommand::Redrive { id: None, plugin, channel, .. }) => {
            post(with_query("/api/v1/dead/redrive", [("plugin", plugin), ("channel", channel)]), json!({}))
        }
        Command::Swap { name, file, reason, stays, another, .. } => {
            let path = build_path(&name, "/swap", reason, [flag("stays", stays), flag("another", another)]);
            Wish::Act(path, Bytes::from_owner(build(&file)?))
        }
        Command::Rollback { name, reason } => Wish::Act(build_path(&name, "/rollback", reason, []), Bytes::new()),
        Command::Rerun { name, progress: true, .. } => Wish::Get(one("plugins", &name, "/rerun"), show::thing),
        Command::Rerun { name, stop: true, .. } => Wish::Delete(one("plugins", &name, "/rerun")),
        Command::Rerun { name, since, .. } => post(with_query(&one("plugins", &name, "/rerun"), [("since", since)]), json!({})),
        Command::History { name } => Wish::List(one("plugins", &name, "/history"), HISTORY, usize::MAX),
        Command::Verify => post("/api/v1/verify".to_owned(), json!({})),
        // Only commands on the store come here; the rest is carried out before.
        _ => Wish::Status,
    })
}

/// A plugin's file by its path, or a bundled one by its name.
pub(super) fn build(file: &str) -> Result<Arc<[u8]>, Failure> {
    let found = find(file, Path::new(""));
    let found = found.map_err(|(message, _)| Failure::failed(message, "name a file by its path, with .wasm, or one of `membrana plugin list`"))?;
    Ok(found.bytes)
}

/// The path of an order about a build, with who gives it.
pub(super) fn build_path(name: &str, order: &str, reason: Option<String>, more: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let by = [("by", process_env()("USER")), ("reason", reason)];
    with_query(&one("plugins", name, order), by.into_iter().chain(more))
}

/// A key of a query that is there or not.
pub(super) fn flag(key: &'static str, is_set: bool) -> (&'static str, Option<String>) {
    (key, is_set.then(|| "true".to_owned()))
}

/// A path with what of these there is.
pub(super) fn with_query<'k>(path: &str, pairs: impl IntoIterator<Item = (&'k str, Option<String>)>) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))))
        .finish();
    format!("{path}?{query}")
}

/// A terminal is shown some where no limit is given. One more is asked for, to know whether there is.
fn list_of(of: &str, list: &ListArgs, is_json: bool, more: &[(&str, &Option<String>)], columns: Columns) -> Wish {
    let is_short = list.limit.is_none() && !is_json && std::io::stdout().is_terminal();
    let limit = if is_short { Some(ROWS + 1) } else { list.limit };
    Wish::List(path(of, list, limit, more), columns, if is_short { ROWS } else { usize::MAX })
}

fn path(of: &str, list: &ListArgs, limit: Option<usize>, more: &[(&str, &Option<String>)]) -> String {
    let limit = limit.map(|n| n.to_string());
    let pairs = [("channel", &list.channel), ("limit", &limit)].into_iter().chain(more.iter().copied());
    with_query(&format!("/api/v1/{of}"), pairs.map(|(key, value)| (key, value.clone())))
}

/// The path of one thing, whatever its name is made of.
pub(super) fn one(of: &str, name: &str, order: &str) -> String {
    let mut path = format!("/api/v1/{of}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path + order
}
