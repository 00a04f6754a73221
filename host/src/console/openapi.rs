//! The API described by itself, OpenAPI 3.1.

use axum::Json as Answer;
use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use crate::model::Role::{self, Admin, Operator, Reader};
use crate::model::{ActionState, TaskState};

const ORDER_OF_ACTIONS: &str = "The outbox; of a `limit` of up to 1000: what needs a person, what is under way, what is settled, newest first";

/// Method, path, operation's name, the role that it is for, summary, and whether it answers one JSON object a line.
const PATHS: [(&str, &str, &str, Role, &str, bool); 35] = [
    ("get", "/api/v1/status", "status", Reader, "The host: version, channels, analyzers, rules, teams, sinks", false),
    ("get", "/api/v1/channels", "listChannels", Reader, "Channels with their state and what waits", true),
    ("post", "/api/v1/channels/{name}/pause", "pauseChannel", Operator, "Hold a channel; webhooks are still made durable", false),
    ("post", "/api/v1/channels/{name}/resume", "resumeChannel", Operator, "Let a paused channel go on", false),
    ("post", "/api/v1/channels/{name}/poll", "pollChannel", Operator, "Ask the network now", false),
    ("get", "/api/v1/interactions", "listInteractions", Reader, "Interactions, newest first", true),
    ("get", "/api/v1/interactions/{id}", "showInteraction", Reader, "One interaction with annotations and decisions", false),
    ("get", "/api/v1/interactions/{id}/explain", "explainInteraction", Reader, "One interaction with everything that happened to it", false),
    ("get", "/api/v1/interactions/{id}/attachments/{n}", "fetchAttachment", Reader, "The bytes of one attachment, counted from 0", false),
    ("get", "/api/v1/tasks", "listTasks", Reader, "Tasks", true),
    ("get", "/api/v1/tasks/{id}", "showTask", Reader, "One task", false),
    ("post", "/api/v1/tasks/{id}/close", "closeTask", Operator, "Close a task", false),
    ("get", "/api/v1/actions", "listActions", Reader, ORDER_OF_ACTIONS, true),
    ("get", "/api/v1/actions/{id}", "showAction", Reader, "One action", false),
    ("post", "/api/v1/actions/{id}/approve", "approveAction", Operator, "Let a draft go out", false),
    ("post", "/api/v1/actions/{id}/reject", "rejectAction", Operator, "Keep a draft from going out", false),
    (
        "post",
        "/api/v1/actions/{id}/retry",
        "retryAction",
        Operator,
        "Try a dead or uncertain action again, with another text where one is given",
        false,
    ),
    ("get", "/api/v1/dead", "listDead", Reader, "Dead letters", true),
    ("get", "/api/v1/dead/{id}", "showDead", Reader, "One dead letter", false),
    ("get", "/api/v1/dead/{id}/raw", "fetchDead", Reader, "What is kept of the bytes that a dead letter is about, as they were received", false),
    ("post", "/api/v1/dead/redrive", "redriveAll", Operator, "Put dead letters back on their way: all, or those of one channel or plugin", false),
    ("post", "/api/v1/dead/{id}/redrive", "redriveDead", Operator, "Put a dead letter back on its way", false),
    ("get", "/api/v1/plugins", "listPlugins", Reader, "What each section's plugin used since its build is in force", true),
    ("post", "/api/v1/plugins/{name}/swap", "swapPlugin", Admin, "Put another build in force; the body is the plugin's file", false),
    (
        "post",
        "/api/v1/plugins/{name}/shadow",
        "beginShadow",
        Admin,
        "Ask another build beside the one in force; the body is the plugin's file",
        false,
    ),
    ("get", "/api/v1/plugins/{name}/shadow", "showShadow", Reader, "In what the shadow differs so far, and what it costs", false),
    ("delete", "/api/v1/plugins/{name}/shadow", "endShadow", Admin, "Ask the shadow no more", false),
    ("post", "/api/v1/plugins/{name}/rollback", "rollBackPlugin", Admin, "Put the build before in force again", false),
    ("get", "/api/v1/plugins/{name}/history", "listBuilds", Reader, "Builds that were put in force, newest first", true),
    ("post", "/api/v1/plugins/{name}/rerun", "beginRerun", Admin, "Ask an analyzer again about what is stored, with the build in force", false),
    ("get", "/api/v1/plugins/{name}/rerun", "showRerun", Reader, "How many entries an analyzer is still to be asked about again", false),
    ("delete", "/api/v1/plugins/{name}/rerun", "stopRerun", Admin, "Ask it about no more of them", false),
    ("post", "/api/v1/backup", "makeBackup", Admin, "Copy all that is kept into a folder of the host's machine, beside its work", false),
    ("get", "/api/v1/backup", "showBackup", Reader, "How far the backup is that is being made", false),
    ("post", "/api/v1/verify", "verify", Operator, "Read the whole store once and name what is damaged", false),
];

/// The role that a call is for. What is only looked at is for all; what the table does not name changes something that only an admin may.
pub(super) fn role_for(method: &Method, path: Option<&str>) -> Role {
    let is_named = |named: &&(&str, &str, &str, Role, &str, bool)| Some(named.1) == path && method.as_str().eq_ignore_ascii_case(named.0);
    match PATHS.iter().find(is_named) {
        Some(named) => named.3,
        None if matches!(*method, Method::GET | Method::HEAD) => Reader,
        None => Admin,
    }
}

/// `/api/v1/openapi.json`.
pub(super) async fn document() -> Answer<Json> {
    let mut paths: Map<String, Json> = Map::new();
    for (method, path, name, role, summary, is_list) in PATHS {
        let media = match name {
            "fetchAttachment" | "fetchDead" => "*/*",
            _ if is_list => "application/x-ndjson",
            _ => "application/json",
        };
        let parameters: Vec<Json> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .chain(queries_of(name))
            .collect();
        let mut operation = json!({
            "operationId": name,
            "summary": summary,
            "description": format!("For callers of the role {}.", role.word()),
            "parameters": parameters,
            "responses": {
                "200": { "description": "Done", "content": { media: { "schema": answer_of(name) } } },
                "default": { "description": "Refused", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } },
            },
        });
        if let (Some(body), Some(operation)) = (body_of(name), operation.as_object_mut()) {
            operation.insert("requestBody".to_owned(), body);
        }
        let entry = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(method.to_owned(), operation);
        }
    }
    Answer(json!({
        "openapi": "3.1.0",
        "info": { "title": "membrana", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    }))
}

/// What a list may be narrowed by.
fn queries_of(name: &str) -> Vec<Json> {
    let names: &[&str] = match name {
        "listChannels" => &["limit"],
        "listInteractions" => &["channel", "kind", "since", "own", "limit"],
        "listTasks" => &["channel", "state", "team", "limit"],
        "listActions" => &["channel", "state", "limit"],
        "listDead" => &["channel", "plugin", "limit"],
        "redriveAll" => &["channel", "plugin"],
        "beginRerun" => &["since"],
        "makeBackup" => &["folder", "by"],
        "swapPlugin" => &["by", "reason", "stays", "another"],
        "rollBackPlugin" => &["by", "reason"],
        "beginShadow" => &["items", "seconds", "another"],
        _ => &[],
    };
    let schema = |key: &str| match (name, key) {
        (_, "limit") => json!({ "type": "integer", "minimum": 0 }),
        (_, "items" | "seconds") => json!({ "type": "integer", "minimum": 1 }),
        (_, "own" | "stays" | "another") => json!({ "type": "boolean" }),
        (_, "since") => json!({ "type": "string", "format": "date-time" }),
        ("listTasks", "state") => json!({ "enum": TaskState::ALL.map(TaskState::word) }),
        ("listActions", "state") => json!({ "enum": ActionState::ALL.map(ActionState::word) }),
        _ => json!({ "type": "string" }),
    };
    names.iter().map(|key| json!({ "name": key, "in": "query", "required": false, "schema": schema(key) })).collect()
}

/// What the body of an order may say.
pub(super) fn keys_of(name: &str) -> &'static [&'static str] {
    match name {
        "pauseChannel" | "rejectAction" => &["by", "reason"],
        "closeTask" => &["by"],
        "retryAction" => &["by", "text"],
        "approveAction" => &["by", "text", "fingerprint"],
        _ => &[],
    }
}

/// The body of an order, if it takes one.
fn body_of(name: &str) -> Option<Json> {
    if matches!(name, "swapPlugin" | "beginShadow") {
        return Some(json!({ "required": true, "content": { "application/wasm": { "schema": { "type": "string", "format": "binary" } } } }));
    }
    let keys = keys_of(name);
    if keys.is_empty() {
        return None;
    }
    let properties: Map<String, Json> = keys.iter().map(|key| ((*key).to_owned(), json!({ "type": ["string", "null"] }))).collect();
    let schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    Some(json!({ "required": false, "content": { "application/json": { "schema": schema } } }))
}

fn answer_of(name: &str) -> Json {
    let schema = match name {
        "listChannels" => "Channel",
        "listInteractions" | "showInteraction" => "Interaction",
        "listTasks" | "showTask" | "closeTask" => "Task",
        "listActions" | "showAction" | "approveAction" | "rejectAction" | "retryAction" => "Action",
        "listDead" | "showDead" => "DeadLetter",
        "swapPlugin" | "rollBackPlugin" | "listBuilds" => "Build",
        "fetchAttachment" | "fetchDead" => return json!({ "type": "string", "format": "binary" }),
        _ => return json!({ "type": "object" }),
    };
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn attachment() -> Json {
    let maybe = || json!({ "type": ["string", "null"] });
    json!({ "type": "object", "required": ["media_type"], "properties": {
        "name": maybe(), "media_type": { "type": "string" }, "size": { "type": ["integer", "null"] }, "url": maybe(),
        "state": { "enum": ["pending", "stored", "failed", null] }, "reason": maybe(), "sha256": maybe(),
    } })
}

fn schemas() -> Json {
    let text = || json!({ "type": "string" });
    let object = |required: &[&str], more: Json| {
        let mut properties: Map<String, Json> = required.iter().map(|key| ((*key).to_owned(), text())).collect();
        properties.extend(more.as_object().cloned().unwrap_or_default());
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let (maybe, list, moment) =
        (json!({ "type": ["string", "null"] }), json!({ "type": "array" }), json!({ "type": "string", "format": "date-time" }));
    let count = |word: &[&str]| object(word, json!({ "times": { "type": "integer" }, "last_at": moment }));
    let counts = |word: &str| json!({ "type": "array", "items": count(&[word]) });
    json!({
        "Channel": object(&["name", "state"], json!({
            "plugin": maybe, "digest": maybe, "build": { "type": ["object", "null"] }, "hook": maybe, "reason": maybe, "since": maybe, "budget": { "type": ["object", "null"] },
            "entries": { "type": "integer" }, "media": { "type": "object" }, "behind": { "type": "object" }, "unknown": counts("kind"),
            "gaps": object(&[], json!({ "filled": { "anyOf": [count(&[]), { "type": "null" }] }, "lost": counts("reason") })),
        })),
        "Error": object(&["error"], json!({ "error": object(&["code", "message", "cure"], json!({})) })),
        "Interaction": object(&["id", "channel", "kind"], json!({
            "native": { "type": "object" }, "author": { "type": ["object", "null"] }, "text": maybe, "url": maybe, "visibility": maybe,
            "received_at": moment, "attachments": { "type": "array", "items": attachment() }, "annotations": list, "missing": list, "decisions": list,
        })),
        "Task": object(&["id", "team", "interaction"], json!({
            "state": { "enum": TaskState::ALL.map(TaskState::word) }, "due_at": maybe, "row": maybe, "assignee": maybe,
            "escalations": list, "consulted": list, "informed": list,
        })),
        "Action": object(&["id", "key", "kind", "channel", "interaction", "text", "fingerprint"], json!({
            "state": { "enum": ActionState::ALL.map(ActionState::word) }, "review": list, "attempts": { "type": "integer" },
            "due_at": moment, "native_id": maybe, "error": maybe,
        })),
        "Build": object(&["name", "act", "by", "from", "to", "outcome"], json!({ "at": moment, "reason": maybe, "stays": { "type": "boolean" }, "pause_us": { "type": ["integer", "null"] } })),
        "DeadLetter": object(&["id", "channel", "stage", "reason"], json!({ "plugin": maybe, "at": moment, "received": { "type": ["object", "null"] } })),
    })
}
