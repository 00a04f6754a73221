//! Commands that look at the store or order something: each is one call of the API.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::call::Caller;
use super::outcome::{Failure, say};
use super::{ChannelCommand, Command, DeadCommand, InteractionCommand, ListArgs, OutboxCommand, TaskCommand, show};

/// Rows that a terminal shows where no limit is given.
const ROWS: usize = 20;

/// Title and JSON pointer.
type Columns = &'static [(&'static str, &'static str)];

const CHANNELS: Columns = &[
    ("NAME", "/name"),
    ("PLUGIN", "/plugin"),
    ("STATE", "/state"),
    ("ENTRIES", "/entries"),
    ("TO ANALYSE", "/behind/analysis"),
    ("TO DECIDE", "/behind/rules"),
    ("REASON", "/reason"),
];
const INTERACTIONS: Columns = &[
    ("ID", "/id"),
    ("CHANNEL", "/channel"),
    ("KIND", "/kind"),
    ("AUTHOR", "/author/name"),
    ("RECEIVED", "/received_at"),
    ("ROW", "/decisions/0/row"),
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

enum Wish {
    List(String, Columns),
    Get(String),
    Post(String, Json),
}

/// Carries out a command on the store.
pub(super) async fn call(file: &Path, is_json: bool, command: Command) -> Result<(), Failure> {
    let wish = wish_of(command, is_json);
    let caller = Caller::open(file).await?;
    let done = carry_out(&caller, wish, is_json).await;
    caller.close().await?;
    done
}

async fn carry_out(caller: &Caller, wish: Wish, is_json: bool) -> Result<(), Failure> {
    match wish {
        Wish::List(path, _) if is_json => caller.lines("GET", &path, None, &mut |line| say(line)).await,
        Wish::List(path, columns) => {
            let mut rows: Vec<Json> = Vec::new();
            caller.lines("GET", &path, None, &mut |line| rows.extend(serde_json::from_str::<Json>(line).ok())).await?;
            show::table(&rows, columns);
            Ok(())
        }
        Wish::Get(path) => {
            let answer = caller.thing("GET", &path, None).await?;
            tell(&answer, is_json);
            Ok(())
        }
        Wish::Post(path, body) => {
            let answer = caller.thing("POST", &path, Some(body)).await?;
            tell(&answer, is_json);
            match answer.get("sound") {
                Some(Json::Bool(false)) => {
                    Err(Failure::failed("the store is damaged", "stop the host, keep a copy of the data folder, and restore the last backup"))
                }
                _ => Ok(()),
            }
        }
    }
}

fn tell(answer: &Json, is_json: bool) {
    if is_json { say(answer) } else { show::thing(answer) }
}

fn wish_of(command: Command, is_json: bool) -> Wish {
    let post = |path: String, body: Json| Wish::Post(path, body);
    match command {
        Command::Channel(ChannelCommand::Pause { name }) => post(format!("/api/v1/channels/{name}/pause"), json!({})),
        Command::Channel(ChannelCommand::Resume { name }) => post(format!("/api/v1/channels/{name}/resume"), json!({})),
        Command::Channel(ChannelCommand::Poll { name }) => post(format!("/api/v1/channels/{name}/poll"), json!({})),
        Command::Channel(ChannelCommand::List) => Wish::List("/api/v1/channels".to_owned(), CHANNELS),
        Command::Interaction(InteractionCommand::List { list, kind, since, own }) => {
            let own = own.then(|| "true".to_owned());
            Wish::List(path("interactions", &list, is_json, &[("kind", &kind), ("since", &since), ("own", &own)]), INTERACTIONS)
        }
        Command::Interaction(InteractionCommand::Export { list }) => {
            Wish::List(path("interactions", &list, true, &[("own", &Some("true".to_owned()))]), INTERACTIONS)
        }
        Command::Interaction(InteractionCommand::Show { id }) => Wish::Get(format!("/api/v1/interactions/{id}")),
        Command::Interaction(InteractionCommand::Explain { id }) => Wish::Get(format!("/api/v1/interactions/{id}/explain")),
        Command::Task(TaskCommand::List { list, state, team }) => {
            Wish::List(path("tasks", &list, is_json, &[("state", &state), ("team", &team)]), TASKS)
        }
        Command::Task(TaskCommand::Show { id }) => Wish::Get(format!("/api/v1/tasks/{id}")),
        Command::Task(TaskCommand::Close { id, by }) => post(format!("/api/v1/tasks/{id}/close"), json!({ "by": by })),
        Command::Outbox(OutboxCommand::List { list, state }) => Wish::List(path("actions", &list, is_json, &[("state", &state)]), ACTIONS),
        Command::Outbox(OutboxCommand::Approve { id, by, text }) => post(format!("/api/v1/actions/{id}/approve"), json!({ "by": by, "text": text })),
        Command::Outbox(OutboxCommand::Reject { id, by, reason }) => {
            post(format!("/api/v1/actions/{id}/reject"), json!({ "by": by, "reason": reason }))
        }
        Command::Outbox(OutboxCommand::Retry { id }) => post(format!("/api/v1/actions/{id}/retry"), json!({})),
        Command::Dead(DeadCommand::List { list }) => Wish::List(path("dead", &list, is_json, &[]), DEAD),
        Command::Dead(DeadCommand::Show { id }) => Wish::Get(format!("/api/v1/dead/{id}")),
        Command::Dead(DeadCommand::Redrive { id }) => post(format!("/api/v1/dead/{id}/redrive"), json!({})),
        Command::Verify => post("/api/v1/verify".to_owned(), json!({})),
        // Only commands on the store come here; the rest is carried out before.
        _ => Wish::Get("/api/v1/status".to_owned()),
    }
}

fn path(of: &str, list: &ListArgs, is_json: bool, more: &[(&str, &Option<String>)]) -> String {
    let is_short = !is_json && std::io::stdout().is_terminal();
    let limit = list.limit.or_else(|| is_short.then_some(ROWS)).map(|n| n.to_string());
    let pairs = [("channel", &list.channel), ("limit", &limit)].into_iter().chain(more.iter().copied());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.filter_map(|(key, value)| value.as_ref().map(|value| (key, value))))
        .finish();
    format!("/api/v1/{of}?{query}")
}
