//! The API described by itself, OpenAPI 3.1.

use axum::Json as Answer;
use serde_json::{Map, Value as Json, json};

/// Method, path, operation's name, summary, and whether it answers one JSON object a line.
const PATHS: [(&str, &str, &str, &str, bool); 20] = [
    ("get", "/api/v1/status", "status", "The host: version, channels, analyzers, rules, teams, sinks", false),
    ("get", "/api/v1/channels", "listChannels", "Channels with their state and what waits", true),
    ("post", "/api/v1/channels/{name}/pause", "pauseChannel", "Hold a channel; webhooks are still made durable", false),
    ("post", "/api/v1/channels/{name}/resume", "resumeChannel", "Let a paused channel go on", false),
    ("post", "/api/v1/channels/{name}/poll", "pollChannel", "Ask the network now", false),
    ("get", "/api/v1/interactions", "listInteractions", "Interactions, newest first; query: channel, kind, since, own, limit", true),
    ("get", "/api/v1/interactions/{id}", "showInteraction", "One interaction with annotations and decisions", false),
    ("get", "/api/v1/interactions/{id}/explain", "explainInteraction", "One interaction with everything that happened to it", false),
    ("get", "/api/v1/tasks", "listTasks", "Tasks; query: channel, state, team, limit", true),
    ("get", "/api/v1/tasks/{id}", "showTask", "One task", false),
    ("post", "/api/v1/tasks/{id}/close", "closeTask", "Close a task; body: by", false),
    ("get", "/api/v1/actions", "listActions", "The outbox; query: channel, state, limit", true),
    ("get", "/api/v1/actions/{id}", "showAction", "One action", false),
    ("post", "/api/v1/actions/{id}/approve", "approveAction", "Let a draft go out; body: by, text", false),
    ("post", "/api/v1/actions/{id}/reject", "rejectAction", "Keep a draft from going out; body: by, reason", false),
    ("post", "/api/v1/actions/{id}/retry", "retryAction", "Try a dead or uncertain action again", false),
    ("get", "/api/v1/dead", "listDead", "Dead letters; query: channel, limit", true),
    ("get", "/api/v1/dead/{id}", "showDead", "One dead letter", false),
    ("post", "/api/v1/dead/{id}/redrive", "redriveDead", "Put a dead letter back on its way", false),
    ("post", "/api/v1/verify", "verify", "Read the whole store once and name what is damaged", false),
];

/// `/api/v1/openapi.json`.
pub(super) async fn document() -> Answer<Json> {
    let mut paths: Map<String, Json> = Map::new();
    for (method, path, name, summary, is_list) in PATHS {
        let media = if is_list { "application/x-ndjson" } else { "application/json" };
        let parameters: Vec<Json> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let operation = json!({
            "operationId": name,
            "summary": summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": "Done", "content": { media: { "schema": { "type": "object" } } } },
                "default": { "description": "Refused", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } },
            },
        });
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
            "schemas": { "Error": {
                "type": "object",
                "required": ["error"],
                "properties": { "error": { "type": "object", "required": ["code", "message", "cure"], "properties": {
                    "code": { "type": "string" }, "message": { "type": "string" }, "cure": { "type": "string" },
                } } },
            } },
        },
    }))
}
