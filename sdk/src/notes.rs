//! Notes that the host counts and shows with the channel.

use serde_json::json;

use crate::connector::Change;
use crate::text::cut;

/// Of a kind. Units: bytes.
const KIND_BYTES_MAX: usize = 128;

/// A payload of a kind that the connector does not know, as the network calls it. Its bytes stay in the raw log.
pub fn unknown_kind(kind: &str) -> Change {
    Change::Note(("unknown-kind".to_owned(), json!({ "kind": cut(kind, KIND_BYTES_MAX) }).to_string()))
}
